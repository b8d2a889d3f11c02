//! Host names as people and JIDs write them, made ready for DNS and TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// A host: an address or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// An IP literal.
    Ip(IpAddr),
    /// A name in ASCII form (A-labels), lower case, without a final dot.
    Name(String),
}

impl Host {
    /// Reads the domain of a JID, or a host an application named. `None`: it is no host name (RFC 7622 §3.2 allows more
    /// than DNS does).
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return literal.parse::<Ipv6Addr>().ok().map(|ip| Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self::Ip(ip));
        }
        let ascii = Uts46::new().to_ascii(text.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Ignore).ok()?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        let labels_fit = name.split('.').all(|label| (1..=63).contains(&label.len()));
        // `127.1` and `256.0.0.1` are no names: whoever asks DNS for them gets surprises.
        let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        (labels_fit && name.len() <= 253 && !numeric).then(|| Self::Name(name.to_owned()))
    }

    /// Whether this is `localhost` or a name under it: never asked of DNS (RFC 6761 §6.3).
    pub(super) fn is_localhost(&self) -> bool {
        matches!(self, Self::Name(name) if name == "localhost" || name.ends_with(".localhost"))
    }

    /// Whether only the operating system's own ways (search domains, multicast DNS) may know this name.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Name(name) if !name.contains('.') || name.ends_with(".local"))
    }

    /// The addresses of a host that needs no DNS.
    pub(super) fn fixed_addresses(&self) -> Option<Vec<IpAddr>> {
        match self {
            Self::Ip(ip) => Some(vec![*ip]),
            Self::Name(_) if self.is_localhost() => Some(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]),
            Self::Name(_) => None,
        }
    }

    /// `host:port`, with brackets where they are needed.
    pub(super) fn with_port(&self, port: u16) -> String {
        match self {
            Self::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            _ => format!("{self}:{port}"),
        }
    }
}

/// Without brackets, as TLS and resolvers want it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<Host> {
        Some(Host::Name(text.to_owned()))
    }

    #[test]
    fn names_become_lower_case_a_labels_without_a_final_dot() {
        assert_eq!(Host::parse("Example.ORG."), name("example.org"));
        assert_eq!(Host::parse("münchen.example"), name("xn--mnchen-3ya.example"));
        assert_eq!(Host::parse("xn--mnchen-3ya.example"), name("xn--mnchen-3ya.example"));
        assert_eq!(Host::parse("chat_server.lan"), name("chat_server.lan"));
    }

    #[test]
    fn ip_literals_are_addresses_with_and_without_brackets() {
        assert_eq!(Host::parse("192.0.2.1"), Some(Host::Ip("192.0.2.1".parse().unwrap())));
        assert_eq!(Host::parse("[2001:db8::1]"), Some(Host::Ip("2001:db8::1".parse().unwrap())));
        assert_eq!(Host::parse("2001:db8::1"), Some(Host::Ip("2001:db8::1".parse().unwrap())));
        assert_eq!(Host::parse("[2001:db8::1]").unwrap().with_port(5222), "[2001:db8::1]:5222");
        assert_eq!(Host::parse("[::1]").unwrap().to_string(), "::1");
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = vec!["a".repeat(60); 5].join(".");
        for bad in
            ["", ".", "a..b", ".a", "a b", "a/b", "a@b", "127.1", "256.0.0.1", "[127.0.0.1]", "[::1", &long_label, &long_name]
        {
            assert_eq!(Host::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn localhost_and_names_under_it_need_no_dns() {
        for text in ["localhost", "LOCALHOST.", "anon.localhost"] {
            let host = Host::parse(text).unwrap();
            assert_eq!(host.fixed_addresses().unwrap().len(), 2, "{text}");
        }
        assert!(Host::parse("localhost.example").unwrap().fixed_addresses().is_none());
    }

    #[test]
    fn single_labels_and_dot_local_are_local() {
        assert!(Host::parse("nas").unwrap().is_local());
        assert!(Host::parse("nas.local").unwrap().is_local());
        assert!(!Host::parse("nas.local.example").unwrap().is_local());
    }
}
