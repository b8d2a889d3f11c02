//! What to connect to, and how.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Connector, Shared, TcpConnector, Trust};

/// What [`connect`](super::connect) and [`start_tls`](super::start_tls) need to know: the domain, and everything that has
/// a default.
///
/// ```
/// use xmppkit::connection::{ConnectOptions, TlsMode, Trust};
///
/// // By DNS, trusting the system's certificate authorities:
/// let _ = ConnectOptions::new("example.org");
///
/// // A server on a known address, with a certificate from an authority of one's own:
/// fn lab(ca_pem: &str) -> xmppkit::Result<ConnectOptions> {
///     Ok(ConnectOptions::new("example.org")
///         .host("192.0.2.7", 5223, TlsMode::Direct)
///         .trust(Trust::only_ca(ca_pem)?))
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The domain of the JID: what DNS is asked for, and what the certificate must be for. An IP literal (IPv6 in
    /// brackets or without) and `localhost` are allowed (R43).
    pub domain: String,
    /// Where to connect, if DNS is not to be asked for the service. The certificate is still verified against `domain`.
    pub host: Option<ExplicitHost>,
    /// The DNS servers to ask instead of the system's.
    pub nameservers: Vec<SocketAddr>,
    /// Which certificates are accepted.
    pub trust: Trust,
    /// Whether a connection may go on without TLS.
    pub tls: TlsPolicy,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// What opens byte streams; TCP by default.
    pub connector: Arc<dyn Connector>,
    /// The resolver and the TLS configuration, which several clients may share.
    pub shared: Shared,
}

impl ConnectOptions {
    /// Options for this domain, everything else by default.
    #[must_use]
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            host: None,
            nameservers: Vec::new(),
            trust: Trust::system(),
            tls: TlsPolicy::Required,
            timeouts: Timeouts::default(),
            connector: Arc::new(TcpConnector),
            shared: Shared::new(),
        }
    }

    /// Connects to this host and port instead of asking DNS for the domain's service. `host` is a name or an IP literal.
    /// The certificate must still be for the domain.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>, port: u16, mode: TlsMode) -> Self {
        self.host = Some(ExplicitHost { host: host.into(), port, mode });
        self
    }

    /// Asks these DNS servers instead of the system's. With an empty list, the system's.
    #[must_use]
    pub fn nameservers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.nameservers = servers.into_iter().collect();
        self
    }

    /// Sets which certificates are accepted.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Allows a connection without TLS where the server offers none. Everything on it can be read and changed by
    /// anybody on the way: for tests and closed networks only.
    #[must_use]
    pub fn dangerous_plaintext(mut self) -> Self {
        self.tls = TlsPolicy::DangerousPlaintext;
        self
    }

    /// Sets how long each step may take.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Opens byte streams by this connector instead of TCP.
    #[must_use]
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = connector;
        self
    }

    /// Uses this resolver and TLS configuration, shared with others.
    #[must_use]
    pub fn shared(mut self, shared: &Shared) -> Self {
        self.shared = shared.clone();
        self
    }
}

/// A host and port given by the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplicitHost {
    /// A host name or an IP literal.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How TLS starts there.
    pub mode: TlsMode,
}

/// How TLS starts on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsMode {
    /// The stream starts in plain text and is upgraded (RFC 6120 §5); port 5222 by custom.
    StartTls,
    /// TLS from the first byte (XEP-0368); port 5223 by custom.
    Direct,
}

/// Whether a connection may go on without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TlsPolicy {
    /// Never.
    #[default]
    Required,
    /// Where the server offers none ([`ConnectOptions::dangerous_plaintext`]). Where it offers TLS, TLS is used and
    /// its certificate verified all the same.
    DangerousPlaintext,
}

/// How long the steps of connecting may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// One round of DNS: the SRV lookups together, then the addresses of each host. 5 s by default.
    pub resolve: Duration,
    /// Opening a TCP connection to one address. 10 s by default.
    pub attempt: Duration,
    /// A TLS handshake. 10 s by default.
    pub tls_handshake: Duration,
    /// Everything [`connect`](super::connect) does. 60 s by default.
    pub total: Duration,
}

impl Timeouts {
    /// Sets [`resolve`](field@Self::resolve).
    #[must_use]
    pub fn resolve(mut self, resolve: Duration) -> Self {
        self.resolve = resolve;
        self
    }

    /// Sets [`attempt`](field@Self::attempt).
    #[must_use]
    pub fn attempt(mut self, attempt: Duration) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets [`tls_handshake`](field@Self::tls_handshake).
    #[must_use]
    pub fn tls_handshake(mut self, tls_handshake: Duration) -> Self {
        self.tls_handshake = tls_handshake;
        self
    }

    /// Sets [`total`](field@Self::total).
    #[must_use]
    pub fn total(mut self, total: Duration) -> Self {
        self.total = total;
        self
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            attempt: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(10),
            total: Duration::from_secs(60),
        }
    }
}
