//! What the suite runs against: a server the tests started, or any server named by environment variables.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Failure;

/// Which certificate a client accepts.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// One that the system trusts, for the domain.
    System,
    /// One signed by this authority (PEM), for the domain.
    Ca(String),
    /// The one with this SHA-256 fingerprint.
    Pin([u8; 32]),
    /// Any. Only for looking at what a server presents.
    Unverified,
}

impl Trust {
    /// The same for the library.
    pub(crate) fn for_client(&self) -> Result<xmppkit::client::Trust, Failure> {
        Ok(match self {
            Self::System => xmppkit::client::Trust::system(),
            Self::Ca(pem) => xmppkit::client::Trust::only_ca(pem)?,
            Self::Pin(fingerprint) => xmppkit::client::Trust::pin(*fingerprint),
            Self::Unverified => return Err("the library accepts no certificate blindly".into()),
        })
    }
}

/// An account on the server, with its password.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) password: String,
}

impl Account {
    /// The bare JID.
    pub(crate) fn jid(&self) -> String {
        format!("{}@{}", self.name, self.domain)
    }
}

/// A server that the suite runs against.
#[derive(Debug, Clone)]
pub(crate) struct ServerUnderTest {
    /// For people.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) direct_tls_port: Option<u16>,
    pub(crate) domain: String,
    /// The mechanism a client logs in with that has everything the default TLS backend gives, where that is known.
    pub(crate) mechanism: Option<&'static str>,
    /// Another domain of the same server and its mechanism, where it is known to have one.
    pub(crate) second_domain: Option<(String, &'static str)>,
    pub(crate) trust: Trust,
    /// Accounts that exist; empty: the server allows registration.
    pub(crate) accounts: Vec<Account>,
}

impl ServerUnderTest {
    /// A server on which everybody may register.
    pub(crate) fn with_registration(
        name: String,
        host: &str,
        port: u16,
        direct_tls_port: Option<u16>,
        domain: &str,
        trust: Trust,
    ) -> Self {
        let (host, domain) = (host.to_owned(), domain.to_owned());
        Self { name, host, port, direct_tls_port, domain, mechanism: None, second_domain: None, trust, accounts: Vec::new() }
    }

    pub(crate) fn with_mechanism(mut self, mechanism: &'static str) -> Self {
        self.mechanism = Some(mechanism);
        self
    }

    pub(super) fn with_second_domain(mut self, domain: &str, mechanism: &'static str) -> Self {
        self.second_domain = Some((domain.to_owned(), mechanism));
        self
    }

    /// The server that `XMPPKIT_SERVER_*` describe, if they do. docs/testing.md has the table.
    pub(crate) fn from_env() -> Result<Option<Self>, Failure> {
        Self::from_variables(&|name| std::env::var(format!("XMPPKIT_SERVER_{name}")).ok().filter(|v| !v.is_empty()))
    }

    pub(crate) fn from_variables(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Failure> {
        let Some(domain) = get("DOMAIN") else { return Ok(None) };
        let host = get("HOST").unwrap_or_else(|| domain.clone());
        let port = get("PORT").map_or(Ok(5222), |v| v.parse()).map_err(|e| format!("XMPPKIT_SERVER_PORT: {e}"))?;
        let direct = get("DIRECT_TLS_PORT").map(|v| v.parse()).transpose();
        let direct = direct.map_err(|e| format!("XMPPKIT_SERVER_DIRECT_TLS_PORT: {e}"))?;
        let trust = match (get("CA"), get("PIN")) {
            (Some(_), Some(_)) => return Err("of XMPPKIT_SERVER_CA and XMPPKIT_SERVER_PIN, set one".into()),
            (Some(file), None) => {
                Trust::Ca(std::fs::read_to_string(&file).map_err(|e| format!("XMPPKIT_SERVER_CA: {file}: {e}"))?)
            }
            (None, Some(hex)) => Trust::Pin(fingerprint(&hex).ok_or("XMPPKIT_SERVER_PIN: 64 hexadecimal digits (SHA-256)")?),
            (None, None) => Trust::System,
        };
        let accounts = match (get("ACCOUNTS"), get("REGISTER").is_some_and(|v| v != "0")) {
            (Some(list), false) => accounts(&list, &domain)?,
            (None, true) => Vec::new(),
            _ => {
                return Err(
                    "set either XMPPKIT_SERVER_REGISTER=1 or XMPPKIT_SERVER_ACCOUNTS='name:password name:password …'".into()
                );
            }
        };
        let name = format!("the server for {domain} at {host}:{port}");
        let server = Self::with_registration(name, &host, port, direct, &domain, trust);
        Ok(Some(Self { accounts, ..server }))
    }

    /// Whether accounts may be registered; otherwise there are just those in `accounts`.
    pub(crate) fn registers(&self) -> bool {
        self.accounts.is_empty()
    }

    /// A name and a password that nobody used before, to be registered. The password has what must be escaped or prepared.
    pub(crate) fn fresh_account(&self) -> Account {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("x{now:x}-{:x}-{n}", std::process::id());
        Account { name, domain: self.domain.clone(), password: format!("<p,w=&é{n}>") }
    }
}

/// Reads `name:password` entries apart by white space. A password may hold colons.
fn accounts(list: &str, domain: &str) -> Result<Vec<Account>, Failure> {
    list.split_whitespace()
        .map(|entry| {
            let (name, password) = entry.split_once(':').ok_or("XMPPKIT_SERVER_ACCOUNTS: an entry is name:password")?;
            Ok(Account { name: name.to_owned(), domain: domain.to_owned(), password: password.to_owned() })
        })
        .collect()
}

/// Reads a SHA-256 fingerprint; colons between the bytes, as OpenSSL prints them, are welcome.
fn fingerprint(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = hex.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    bytes.try_into().ok().filter(|_| digits.len() == 64)
}

#[test]
fn a_server_is_read_from_variables_or_the_mistake_is_named() {
    let read = |set: &[(&str, &str)]| {
        let set: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ServerUnderTest::from_variables(&move |name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
            .map_err(|e| e.to_string())
    };
    assert!(read(&[("HOST", "h")]).unwrap().is_none());
    let server = read(&[("DOMAIN", "d.test"), ("REGISTER", "1")]).unwrap().unwrap();
    assert_eq!((server.host.as_str(), server.port, server.registers()), ("d.test", 5222, true));
    assert!(matches!(server.trust, Trust::System));
    let pin = "AB:".repeat(31) + "cd";
    let set = [("DOMAIN", "d.test"), ("HOST", "127.0.0.1"), ("PORT", "15222"), ("PIN", &pin), ("ACCOUNTS", "a:x b:y:z")];
    let server = read(&set).unwrap().unwrap();
    assert!(matches!(server.trust, Trust::Pin(p) if p[0] == 0xab && p[31] == 0xcd));
    assert_eq!((server.accounts[1].jid().as_str(), server.accounts[1].password.as_str()), ("b@d.test", "y:z"));
    for (set, word) in [
        (&[("DOMAIN", "d")][..], "REGISTER"),
        (&[("DOMAIN", "d"), ("REGISTER", "1"), ("PIN", "abc")], "PIN"),
        (&[("DOMAIN", "d"), ("REGISTER", "1"), ("PORT", "x")], "PORT"),
        (&[("DOMAIN", "d"), ("REGISTER", "1"), ("CA", "/nonexistent")], "CA"),
        (&[("DOMAIN", "d"), ("ACCOUNTS", "a")], "ACCOUNTS"),
    ] {
        assert!(read(set).unwrap_err().contains(word), "{set:?}");
    }
}
