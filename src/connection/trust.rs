//! Which certificates are accepted.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, ErrorKind, Result, TlsError};

/// Which certificates are accepted: the system's certificate authorities, one's own, or pinned certificates (R44).
///
/// Authorities vouch for a *name*: the certificate must be for the domain of the JID, must be valid today and must be
/// signed by one of them. A pin stands for *one certificate* and needs none of that: it is accepted because somebody
/// said so, whatever its name, its signer or its dates, and nothing else is. That is how to talk to a server with a
/// self-signed certificate safely: let the first connection fail, show the user what the error carries, and pin it.
///
/// ```
/// use xmppkit::connection::{ConnectOptions, Trust, connect};
/// use xmppkit::ErrorKind;
///
/// async fn connect_asking_the_user(
///     ask: impl Fn(&[String], &str) -> bool,
/// ) -> xmppkit::Result<xmppkit::connection::Connection> {
///     let options = ConnectOptions::new("chat.example.org");
///     let error = match connect(&options).await {
///         Ok(connection) => return Ok(connection),
///         Err(error) => error,
///     };
///     if let ErrorKind::Certificate(refused) = error.kind()
///         && let Some(fingerprint) = refused.fingerprint_hex()
///         && ask(&refused.names, &fingerprint)
///     {
///         // Keep the fingerprint, and give it to every later connection as well.
///         return connect(&options.trust(Trust::pin_hex(&fingerprint)?)).await;
///     }
///     Err(error)
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Trust(Arc<Inner>);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Inner {
    Authorities { system: bool, own: Vec<Vec<u8>> },
    Pins(Vec<[u8; 32]>),
}

impl Trust {
    /// The certificate authorities of the operating system: the default.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Inner::Authorities { system: true, own: Vec::new() }))
    }

    /// Only this authority, or these: PEM with one certificate or more, or one in DER.
    ///
    /// # Errors
    /// [`TlsError::InvalidMaterial`] if it is neither.
    pub fn only_ca(certificates: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self(Arc::new(Inner::Authorities { system: false, own: read_certificates(certificates.as_ref())? })))
    }

    /// This authority, or these, as well: PEM with one certificate or more, or one in DER. On a trust of pins, the pins
    /// are replaced.
    ///
    /// # Errors
    /// [`TlsError::InvalidMaterial`] if it is neither.
    pub fn also_ca(self, certificates: impl AsRef<[u8]>) -> Result<Self> {
        let mut more = read_certificates(certificates.as_ref())?;
        let (system, mut all) = match &*self.0 {
            Inner::Authorities { system, own } => (*system, own.clone()),
            Inner::Pins(_) => (false, Vec::new()),
        };
        all.append(&mut more);
        Ok(Self(Arc::new(Inner::Authorities { system, own: all })))
    }

    /// Exactly the certificate whose DER has this SHA-256, whatever its name, signer or dates, and no other. The
    /// comparison happens after the handshake, before a byte is sent.
    #[must_use]
    pub fn pin(fingerprint: [u8; 32]) -> Self {
        Self::pins([fingerprint])
    }

    /// As [`pin`](Self::pin), with the fingerprint written out: 64 hexadecimal digits; colons and spaces between them do
    /// not count. OpenSSL prints it so, and [`CertificateError::fingerprint_hex`](crate::error::CertificateError::fingerprint_hex).
    ///
    /// # Errors
    /// [`TlsError::InvalidMaterial`] if it is not that.
    pub fn pin_hex(fingerprint: &str) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Tls(TlsError::InvalidMaterial)).with_context("a SHA-256 fingerprint has 64 hexadecimal digits")
        };
        let digits = fingerprint.chars().filter(|c| !matches!(c, ':' | ' ')).map(|c| c.to_digit(16));
        let digits = digits.collect::<Option<Vec<u32>>>().filter(|digits| digits.len() == 64).ok_or_else(invalid)?;
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] << 4 | pair[1]).unwrap_or_default();
        }
        Ok(Self::pin(pin))
    }

    /// Exactly the certificates with these fingerprints, for instance the present one and the next.
    #[must_use]
    pub fn pins(fingerprints: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self(Arc::new(Inner::Pins(fingerprints.into_iter().collect())))
    }
}

#[cfg(feature = "native-tls")]
impl Trust {
    /// Whether the system's authorities are among the trusted.
    pub(super) fn has_system(&self) -> bool {
        matches!(&*self.0, Inner::Authorities { system: true, .. })
    }

    /// The application's own authorities (DER).
    pub(super) fn own_authorities(&self) -> &[Vec<u8>] {
        match &*self.0 {
            Inner::Authorities { own, .. } => own,
            Inner::Pins(_) => &[],
        }
    }

    /// The pins, if it stands on pins.
    pub(super) fn pinned(&self) -> Option<&[[u8; 32]]> {
        match &*self.0 {
            Inner::Authorities { .. } => None,
            Inner::Pins(pins) => Some(pins),
        }
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Inner::Authorities { system, own } => {
                f.debug_struct("Trust").field("system", system).field("own_authorities", &own.len()).finish()
            }
            Inner::Pins(pins) => f.debug_struct("Trust").field("pins", &pins.len()).finish(),
        }
    }
}

/// PEM or DER to a list of DER.
fn read_certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let invalid = |why: &'static str| Error::new(ErrorKind::Tls(TlsError::InvalidMaterial)).with_context(why);
    let certificates = match std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN)) {
        None => vec![bytes.to_vec()],
        Some(text) => text
            .split(BEGIN)
            .skip(1)
            .map(|block| {
                let (body, _) = block.split_once(END).ok_or_else(|| invalid("a PEM certificate does not end"))?;
                let body: String = body.split_whitespace().collect();
                STANDARD.decode(body).map_err(|e| invalid("a PEM certificate is no base64").with_source(e))
            })
            .collect::<Result<_>>()?,
    };
    #[cfg(feature = "native-tls")]
    if !certificates.iter().all(|der| super::certificate::is_readable(der)) {
        return Err(invalid("it is no certificate"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CertificateError, CertificateErrorKind};

    #[test]
    fn debug_counts_and_shows_nothing() {
        assert_eq!(format!("{:?}", Trust::pins([[7; 32], [8; 32]])), "Trust { pins: 2 }");
        assert_eq!(format!("{:?}", Trust::system()), "Trust { system: true, own_authorities: 0 }");
    }

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let mut refused = CertificateError::new(CertificateErrorKind::UnknownIssuer, "");
        assert_eq!(refused.fingerprint_hex(), None);
        let pin: [u8; 32] = std::array::from_fn(|i| (i * 8) as u8);
        refused.fingerprint = Some(pin);
        let hex = refused.fingerprint_hex().unwrap();
        assert!(hex.starts_with("00:08:10:") && hex.ends_with(":F0:F8"), "{hex}");
        for text in [hex.clone(), hex.to_lowercase(), hex.replace(':', ""), hex.replace(':', " ")] {
            assert_eq!(Trust::pin_hex(&text).unwrap(), Trust::pin(pin), "{text}");
        }
        for wrong in ["", "00", &hex[1..], &format!("{hex}:00"), &hex.replace('F', "G")] {
            let error = Trust::pin_hex(wrong).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Tls(TlsError::InvalidMaterial), "{wrong}");
        }
    }

    #[test]
    fn equal_trust_is_one_configuration() {
        assert_eq!(Trust::system(), Trust::default());
        assert_eq!(Trust::pin([1; 32]), Trust::pins([[1; 32]]));
        assert_ne!(Trust::pin([1; 32]), Trust::pin([2; 32]));
    }
}
