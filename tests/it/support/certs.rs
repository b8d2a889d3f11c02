//! Certificates for a started server: a certificate authority of its own, and the good or bad certificate it serves.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::Failure;

/// Which certificate a server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cert {
    /// Signed by the server's own authority, for its domains.
    Valid,
    /// For its domains, but signed by nobody.
    SelfSigned,
    /// Signed by the authority, but for `wrong.invalid`.
    WrongName,
    /// Signed by the authority for its domains, valid until yesterday.
    Expired,
}

/// The files a server reads, as they were written into its directory, and what a client must see of them.
pub(super) struct Material {
    pub(super) ca_pem: String,
    /// The certificate the server presents (DER).
    pub(super) leaf_der: Vec<u8>,
}

/// Keeps the authority over restarts, so that a client's trust outlives a change of certificate.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(super) fn new() -> Result<Self, Failure> {
        let key = KeyPair::generate()?;
        let mut params = params(Vec::new(), -1, 3650)?;
        params.distinguished_name.push(DnType::CommonName, "xmppkit test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Writes `cert.pem`, `key.pem`, `full.pem` (both, for ejabberd) and `ca.pem` into `dir`.
    pub(super) fn write(&self, dir: &Path, cert: Cert, domains: &[&str]) -> Result<Material, Failure> {
        let names: Vec<String> = match cert {
            Cert::WrongName => vec!["wrong.invalid".into()],
            _ => domains.iter().flat_map(|d| [(*d).to_owned(), format!("*.{d}")]).collect(),
        };
        let key = KeyPair::generate()?;
        let common_name = names[0].clone();
        let mut params = if cert == Cert::Expired { params(names, -30, -1)? } else { params(names, -1, 3650)? };
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = match cert {
            Cert::SelfSigned => params.self_signed(&key)?,
            _ => params.signed_by(&key, &self.issuer)?,
        };
        std::fs::write(dir.join("cert.pem"), leaf.pem())?;
        std::fs::write(dir.join("key.pem"), key.serialize_pem())?;
        std::fs::write(dir.join("full.pem"), leaf.pem() + &key.serialize_pem())?;
        std::fs::write(dir.join("ca.pem"), &self.pem)?;
        Ok(Material { ca_pem: self.pem.clone(), leaf_der: leaf.der().to_vec() })
    }
}

/// Parameters with a period of validity in days from now. rcgen's own period ends in 4096, too far off for ejabberd's timers.
fn params(names: Vec<String>, from_day: i64, to_day: i64) -> Result<CertificateParams, Failure> {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut params = CertificateParams::new(names)?;
    let at = |days: i64| if days < 0 { now - day * days.unsigned_abs() as u32 } else { now + day * days as u32 };
    (params.not_before, params.not_after) = (at(from_day), at(to_day));
    Ok(params)
}
