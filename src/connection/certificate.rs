//! What stands in a certificate: names, dates, fingerprint.

use std::net::IpAddr;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::host::Host;
use crate::error::{CertificateError, CertificateErrorKind};

/// The fingerprint [`Trust::pin`](super::Trust::pin) takes.
pub(super) fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// Whether this is a certificate at all.
pub(super) fn is_readable(der: &[u8]) -> bool {
    x509_cert::Certificate::from_der(der).is_ok()
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
    /// The subject's common name: for people, never for the check (RFC 6125 §6.4.4, R43).
    common_name: Option<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Contents {
    /// Reads a certificate. `None`: it cannot be read.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let mut contents = Self {
            dns_names: Vec::new(),
            addresses: Vec::new(),
            common_name: tbs.subject().common_name().ok().flatten().map(|name| printable(&name.value())),
            not_before: tbs.validity().not_before.to_system_time(),
            not_after: tbs.validity().not_after.to_system_time(),
        };
        if let Some((_, names)) = tbs.get_extension::<SubjectAltName>().ok()? {
            for name in names.0 {
                match name {
                    GeneralName::DnsName(name) => contents.dns_names.push(printable(name.as_str())),
                    GeneralName::IpAddress(octets) => contents.addresses.extend(address(octets.as_bytes())),
                    _ => {}
                }
            }
        }
        Some(contents)
    }

    /// Whether the certificate is for this host, by its subject alternative names alone (R43).
    pub(super) fn is_for(&self, host: &Host) -> bool {
        match host {
            Host::Ip(ip) => self.addresses.contains(ip),
            Host::Name(name) => self.dns_names.iter().any(|pattern| matches(pattern, name)),
        }
    }

    fn names(&self) -> Vec<String> {
        let names: Vec<_> = self.dns_names.iter().cloned().chain(self.addresses.iter().map(ToString::to_string)).collect();
        if names.is_empty() { self.common_name.iter().cloned().collect() } else { names }
    }
}

/// The error for a refused certificate, with everything that can be said about it.
pub(super) fn refused(kind: CertificateErrorKind, der: Option<Vec<u8>>, text: impl Into<String>) -> CertificateError {
    let mut error = CertificateError::new(kind, text);
    if let Some(der) = der {
        if let Some(contents) = Contents::read(&der) {
            error.names = contents.names();
            error.not_before = Some(contents.not_before);
            error.not_after = Some(contents.not_after);
        }
        error.fingerprint = Some(fingerprint(&der));
        error.der = Some(der);
    }
    error
}

/// Why a platform that does not tell refused this certificate, as far as the certificate itself shows it.
pub(super) fn guess(der: &[u8], host: &Host, now: SystemTime) -> CertificateErrorKind {
    match Contents::read(der) {
        Some(contents) if !contents.is_for(host) => CertificateErrorKind::WrongName { wanted: host.to_string() },
        Some(contents) if now < contents.not_before || now > contents.not_after => CertificateErrorKind::Expired,
        _ => CertificateErrorKind::Other,
    }
}

/// A DNS name of a certificate against a host name, both in ASCII form; `*` stands for the whole first label
/// (RFC 6125 §6.4.3).
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(_, rest)| parent.contains('.') && rest.eq_ignore_ascii_case(parent)),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

/// What is shown to people must not steer their terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(names: &[&str], common_name: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2050, 1, 1);
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn only_alternative_names_count() {
        let contents =
            Contents::read(&certificate(&["Example.org", "*.chat.example.org", "192.0.2.1", "::1"], "other.org")).unwrap();
        for good in ["example.org", "a.chat.example.org", "192.0.2.1", "[::1]"] {
            assert!(contents.is_for(&host(good)), "{good}");
        }
        for bad in ["other.org", "a.example.org", "chat.example.org", "b.a.chat.example.org", "192.0.2.2", "::2"] {
            assert!(!contents.is_for(&host(bad)), "{bad}");
        }
        assert!(!Contents::read(&certificate(&[], "example.org")).unwrap().is_for(&host("example.org")));
    }

    #[test]
    fn wildcards_cover_no_top_level_domain_and_no_part_of_a_label() {
        assert!(matches("*.example.org", "a.example.org"));
        for (pattern, name) in [("*.org", "example.org"), ("*", "localhost"), ("a*.example.org", "ab.example.org"), ("*.", "a.")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn the_common_name_is_shown_where_there_is_nothing_else_and_cannot_steer_a_terminal() {
        assert_eq!(refused(CertificateErrorKind::Other, Some(certificate(&["a.example"], "b")), "").names, ["a.example"]);
        let shown = refused(CertificateErrorKind::Other, Some(certificate(&[], "evil\u{1b}[2J.example")), "");
        assert_eq!(shown.names, ["evil\u{fffd}[2J.example"]);
    }

    #[test]
    fn a_silent_platform_is_understood_from_the_certificate() {
        let der = certificate(&["example.org"], "");
        let at = |years: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(years * 31_557_600);
        assert_eq!(guess(&der, &host("example.org"), at(60)), CertificateErrorKind::Other);
        assert_eq!(guess(&der, &host("example.org"), at(49)), CertificateErrorKind::Expired);
        assert_eq!(guess(&der, &host("example.org"), at(81)), CertificateErrorKind::Expired);
        assert_eq!(guess(&der, &host("a.org"), at(81)), CertificateErrorKind::WrongName { wanted: "a.org".into() });
        assert_eq!(guess(b"no certificate", &host("a.org"), at(60)), CertificateErrorKind::Other);
    }

    #[test]
    fn no_certificate_makes_it_panic() {
        let der = certificate(&["example.org", "192.0.2.1"], "example.org");
        for cut in 0..der.len() {
            assert_eq!(Contents::read(&der[..cut]), None);
        }
        let mut seed = 7u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize
        };
        for _ in 0..20_000 {
            let mut changed = der.clone();
            for _ in 0..=random() % 3 {
                let at = random() % changed.len();
                changed[at] = random().to_le_bytes()[0];
            }
            let error = refused(CertificateErrorKind::Other, Some(changed), "");
            assert!(error.fingerprint.is_some());
        }
    }
}
