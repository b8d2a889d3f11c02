//! The server's CA, its certificate, and the acceptors made from them (always rustls with `ring`, D20).

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::clock;
use super::options::CertificateKind;
use crate::error::{Error, ErrorKind, Result, TlsError};

const DAY: i64 = 86_400;

/// Key material of one server; each server has a CA of its own, so that trusting one trusts no other.
pub(super) struct Identity {
    pub(super) ca_pem: String,
    pub(super) ca_der: Vec<u8>,
    pub(super) fingerprint: [u8; 32],
    /// For STARTTLS.
    pub(super) starttls: TlsAcceptor,
    /// For direct TLS, where ALPN may be answered.
    pub(super) direct: TlsAcceptor,
}

impl Identity {
    pub(super) fn new(domain: &str, kind: CertificateKind, alpn: bool) -> Result<Self> {
        let ca_key = KeyPair::generate().map_err(invalid)?;
        let mut ca = CertificateParams::new(Vec::new()).map_err(invalid)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, format!("Test CA of {domain}"));
        set_dates(&mut ca, -30, 365);
        let ca_certificate = ca.self_signed(&ca_key).map_err(invalid)?;
        let issuer = Issuer::from_params(&ca, &ca_key);

        let name = if kind == CertificateKind::WrongName { "wrong.invalid" } else { domain };
        let key = KeyPair::generate().map_err(invalid)?;
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).map_err(invalid)?;
        leaf.distinguished_name.push(DnType::CommonName, name);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        match kind {
            CertificateKind::Expired => set_dates(&mut leaf, -30, -1),
            _ => set_dates(&mut leaf, -1, 90),
        }
        let certificate = match kind {
            CertificateKind::SelfSigned => leaf.self_signed(&key),
            _ => {
                leaf.use_authority_key_identifier_extension = true;
                leaf.signed_by(&key, &issuer)
            }
        }
        .map_err(invalid)?;

        let chain = vec![certificate.der().clone()];
        Ok(Self {
            ca_pem: ca_certificate.pem(),
            ca_der: ca_certificate.der().to_vec(),
            fingerprint: Sha256::digest(certificate.der()).into(),
            starttls: acceptor(chain.clone(), &key, false)?,
            direct: acceptor(chain, &key, alpn)?,
        })
    }
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: &KeyPair, alpn: bool) -> Result<TlsAcceptor> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e: rustls::Error| invalid(e))?;
    if alpn {
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Sets validity from and until this many days from today.
fn set_dates(params: &mut CertificateParams, from: i64, until: i64) {
    let at = |days: i64| {
        let (year, month, day) = clock::date(clock::unix_now() + days * DAY);
        rcgen::date_time_ymd(year, month, day)
    };
    params.not_before = at(from);
    params.not_after = at(until);
}

fn invalid(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Tls(TlsError::InvalidMaterial)).with_source(source)
}
