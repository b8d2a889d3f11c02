//! What a core is told before it starts.

use std::sync::Arc;
use std::time::Duration;

use jid::{BareJid, DomainPart, ResourcePart};

use crate::auth::{ChannelBinding, Credentials, MechanismFactory, Pin, Policy, ScramKeys};
use crate::error::{BuildError, Error, ErrorKind};
use crate::xml::Limits;

/// How elements are laid into bytes (D3): a value, chosen when the core is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Framing {
    /// One XML document per direction over a byte stream (RFC 6120 §4).
    #[default]
    Tcp,
    /// One element per message, `<open/>` and `<close/>` in the place of `<stream:stream>` (RFC 7395). TLS is the
    /// transport's matter.
    WebSocket,
    /// HTTP bodies (XEP-0206). Not available yet.
    Bosh,
}

impl Framing {
    /// Whether STARTTLS can be negotiated inside the stream.
    #[must_use]
    pub fn can_starttls(self) -> bool {
        self == Self::Tcp
    }
}

/// What this side is to the server (D3): a value, chosen when the core is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Role {
    /// A client (RFC 6120).
    #[default]
    Client,
    /// An external component (XEP-0114). Not available yet.
    Component,
}

/// What is asked of the connection before anything secret is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TlsRule {
    /// TLS by STARTTLS, or no connection.
    #[default]
    Required,
    /// The transport is encrypted already: direct TLS (XEP-0368), or a secure WebSocket.
    AlreadySecured {
        /// Every channel binding the TLS backend can give for this connection; empty if none.
        bindings: Vec<ChannelBinding>,
    },
    /// No TLS at all, whatever the server offers. Everything can be read and changed on the way; PLAIN stays refused.
    DangerousPlaintext,
}

/// How long each phase may take. A phase that passes its deadline ends the stream with
/// [`ErrorKind::Timeout`] of that phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// From our stream header to the server's. Default 15 s.
    pub header: Duration,
    /// From the server's stream header to its features. Default 15 s.
    pub features: Duration,
    /// From `<starttls/>` to its answer. Default 15 s.
    pub start_tls: Duration,
    /// The TLS handshake. Default 20 s.
    pub tls_handshake: Duration,
    /// From an IQ before authentication to its reply. Default 30 s.
    pub register: Duration,
    /// How long the application may think about [`Ask::BeforeAuth`](super::Ask::BeforeAuth), for example while somebody
    /// fills in a form. Default 10 min; servers may have less patience.
    pub register_answer: Duration,
    /// From `<auth/>`, or from the end of a key derivation, to success or failure. Default 30 s.
    pub auth: Duration,
    /// From the request for a resource to its reply. Default 20 s.
    pub bind: Duration,
    /// From our closing of the stream to the server's. Default 5 s.
    pub closing: Duration,
    /// From a request for an acknowledgement (XEP-0198) to the acknowledgement, whatever else comes meanwhile. Default 60 s.
    /// Where nothing comes at all, [`KeepAlive`](crate::client::KeepAlive) is shorter.
    pub ack: Duration,
}

impl Deadlines {
    /// Sets [`header`](field@Self::header).
    #[must_use]
    pub fn header(mut self, header: Duration) -> Self {
        self.header = header;
        self
    }

    /// Sets [`features`](field@Self::features).
    #[must_use]
    pub fn features(mut self, features: Duration) -> Self {
        self.features = features;
        self
    }

    /// Sets [`start_tls`](field@Self::start_tls).
    #[must_use]
    pub fn start_tls(mut self, start_tls: Duration) -> Self {
        self.start_tls = start_tls;
        self
    }

    /// Sets [`tls_handshake`](field@Self::tls_handshake).
    #[must_use]
    pub fn tls_handshake(mut self, tls_handshake: Duration) -> Self {
        self.tls_handshake = tls_handshake;
        self
    }

    /// Sets [`register`](field@Self::register).
    #[must_use]
    pub fn register(mut self, register: Duration) -> Self {
        self.register = register;
        self
    }

    /// Sets [`register_answer`](field@Self::register_answer).
    #[must_use]
    pub fn register_answer(mut self, register_answer: Duration) -> Self {
        self.register_answer = register_answer;
        self
    }

    /// Sets [`auth`](field@Self::auth).
    #[must_use]
    pub fn auth(mut self, auth: Duration) -> Self {
        self.auth = auth;
        self
    }

    /// Sets [`bind`](field@Self::bind).
    #[must_use]
    pub fn bind(mut self, bind: Duration) -> Self {
        self.bind = bind;
        self
    }

    /// Sets [`closing`](field@Self::closing).
    #[must_use]
    pub fn closing(mut self, closing: Duration) -> Self {
        self.closing = closing;
        self
    }

    /// Sets [`ack`](field@Self::ack).
    #[must_use]
    pub fn ack(mut self, ack: Duration) -> Self {
        self.ack = ack;
        self
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(15),
            features: Duration::from_secs(15),
            start_tls: Duration::from_secs(15),
            tls_handshake: Duration::from_secs(20),
            register: Duration::from_secs(30),
            register_answer: Duration::from_secs(600),
            auth: Duration::from_secs(30),
            bind: Duration::from_secs(20),
            closing: Duration::from_secs(5),
            ack: Duration::from_secs(60),
        }
    }
}

/// What a core is told before it starts. Made by [`new`](Self::new) or [`anonymous`](Self::anonymous); every field may
/// then be changed.
#[derive(Clone)]
#[non_exhaustive]
pub struct CoreConfig {
    /// The domain of the service: `to` in the stream header, and the only domain an address may be bound in.
    pub domain: DomainPart,
    /// The account; `None` for an anonymous login, or before there is one.
    pub account: Option<BareJid>,
    /// The resource to ask for. It is a wish: the server may give another, and does where this one is in use. `None`
    /// lets the server choose.
    pub resource: Option<ResourcePart>,
    /// What this side is. Default [`Role::Client`].
    pub role: Role,
    /// How elements are laid into bytes. Default [`Framing::Tcp`].
    pub framing: Framing,
    /// The language for people, as `xml:lang` of our stream (RFC 6120 §4.7.4). Default none.
    pub lang: Option<String>,
    /// What is asked of the connection. Default [`TlsRule::Required`].
    pub tls: TlsRule,
    /// What to log in with.
    pub credentials: Credentials,
    /// Which mechanisms are acceptable.
    pub policy: Policy,
    /// The application's own mechanisms.
    pub mechanisms: Vec<Arc<dyn MechanismFactory>>,
    /// What earlier logins proved the server able to do.
    pub pin: Pin,
    /// The keys an earlier login left, to spare the derivation.
    pub cached_keys: Option<ScramKeys>,
    /// Whether stream management (XEP-0198) is wanted where the server offers it. Default `true`.
    pub management: bool,
    /// Whether the numbers of messages on a session that can be resumed are noted before they are written, so that another
    /// process can resume it (R8): [`Event::Record`](super::Event::Record). Default `false`.
    pub record: bool,
    /// The number behind which those of inbound stanzas begin, where the session is new. Default 0.
    pub numbers_after: u64,
    /// What the peer's XML may cost.
    pub limits: Limits,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// Whether to ask [`Ask::BeforeAuth`](super::Ask::BeforeAuth) before authenticating (registration). The stream
    /// headers then do not name the account (R47). Default `false`.
    pub before_auth: bool,
    /// How long a request waits that names no time of its own. Default 60 s.
    pub request_timeout: Duration,
}

impl CoreConfig {
    /// The configuration for an account, with every other field at its default.
    #[must_use]
    pub fn new(account: BareJid, credentials: Credentials) -> Self {
        let domain = account.domain().to_owned();
        Self { account: Some(account), ..Self::for_domain(domain, credentials) }
    }

    /// The configuration for a temporary account of this domain (RFC 6120 §6.3.11, RFC 4505).
    #[must_use]
    pub fn anonymous(domain: DomainPart) -> Self {
        Self::for_domain(domain, Credentials::anonymous())
    }

    fn for_domain(domain: DomainPart, credentials: Credentials) -> Self {
        Self {
            domain,
            account: None,
            resource: None,
            role: Role::default(),
            framing: Framing::default(),
            lang: None,
            tls: TlsRule::default(),
            credentials,
            policy: Policy::default(),
            mechanisms: Vec::new(),
            pin: Pin::default(),
            cached_keys: None,
            management: true,
            record: false,
            numbers_after: 0,
            limits: Limits::default(),
            deadlines: Deadlines::default(),
            before_auth: false,
            request_timeout: Duration::from_secs(60),
        }
    }

    /// Refuses combinations that cannot work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(ErrorKind::Build(BuildError::InvalidOption(text.to_owned())).into());
        match (self.framing, self.role) {
            (Framing::Bosh, _) => return refuse("framing: BOSH is not available yet"),
            (_, Role::Component) => return refuse("role: components are not available yet"),
            (Framing::Tcp | Framing::WebSocket, Role::Client) => {}
        }
        if self.tls == TlsRule::Required && !self.framing.can_starttls() {
            return refuse("tls: this transport has no STARTTLS; it must be secured before the stream starts");
        }
        if self.before_auth && self.tls == TlsRule::DangerousPlaintext {
            return refuse("before_auth: registration needs TLS");
        }
        Ok(())
    }
}

/// What a session goes by: all that is kept of the configuration when the login is over.
pub(super) struct SessionConfig {
    pub(super) management: bool,
    pub(super) record: bool,
    pub(super) numbers_after: u64,
    pub(super) request_timeout: Duration,
    pub(super) bind: Duration,
    pub(super) closing: Duration,
    pub(super) ack: Duration,
}

impl SessionConfig {
    pub(super) fn of(config: &CoreConfig) -> Self {
        let Deadlines { bind, closing, ack, .. } = config.deadlines;
        let CoreConfig { management, record, numbers_after, request_timeout, .. } = *config;
        Self { management, record, numbers_after, request_timeout, bind, closing, ack }
    }
}
