//! One error type for the whole library: what went wrong ([`ErrorKind`]), in which phase, and what lay beneath.
//!
//! Callers act on the kind's payload (`ErrorKind::Register(RegisterError::Conflict)`) or on the predicates
//! ([`Error::is_auth`], [`Error::is_timeout`], [`Error::is_retryable`]); people read the `Display` text, which names the
//! cause and, where there is one, the way out.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

mod display;
mod form;

pub use form::{AccountForm, FieldKind, FormField, FormOption, Media};

/// What every fallible call of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;
type SharedSource = Arc<dyn StdError + Send + Sync>;

/// Why something failed: a [kind](ErrorKind), an optional sentence of context, and the error beneath.
///
/// ```
/// use xmppkit::{Error, ErrorKind, Phase};
/// let error = Error::from(ErrorKind::Timeout(Phase::Features));
/// assert!(error.is_timeout() && error.is_retryable());
/// ```
///
/// Cloning is cheap: a connection state and the call that waited for it hold the same error.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    context: Option<Cow<'static, str>>,
    source: Option<SharedSource>,
}

impl Error {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self { inner: Arc::new(Inner { kind, context: None, source: None }) }
    }

    /// An application's own error, so that handlers can use `?` on anything.
    pub fn other(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Other).with_source(source)
    }

    /// Adds the error beneath, for [`source`](StdError::source).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.inner).source = Some(Arc::from(source.into()));
        self
    }

    /// Adds a sentence that says more about the cause; it follows the kind's own text after a colon.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<Cow<'static, str>>) -> Self {
        Arc::make_mut(&mut self.inner).context = Some(context.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.inner.kind
    }

    /// Whether the server refused the credentials, or the authentication could not be trusted.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::Auth(_))
    }

    /// Whether a deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Timeout(_)
                | ErrorKind::RequestTimeout(_)
                | ErrorKind::Connect(ConnectError { reason: ConnectReason::TimedOut, .. })
        )
    }

    /// Whether there is no session (any more) in which it could be done: a later one may do it.
    #[must_use]
    pub fn is_session_over(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::SessionLost { .. } | ErrorKind::NotOnline | ErrorKind::ClientClosed)
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    ///
    /// For errors that end a connection this is the reconnect table: `false` stops the reconnect loop, `true` keeps it
    /// going. [`AuthError::CredentialsExpired`] is `false`: other credentials are needed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.inner.kind {
            ErrorKind::Connect(e) => e.reason != ConnectReason::InvalidName,
            ErrorKind::Tls(TlsError::HandshakeFailed | TlsError::StartTlsRefused) => true,
            ErrorKind::Timeout(_)
            | ErrorKind::RequestTimeout(_)
            | ErrorKind::Closed(_)
            | ErrorKind::SessionLost { .. }
            | ErrorKind::Io => true,
            ErrorKind::Auth(e) => matches!(e, AuthError::TemporaryFailure),
            ErrorKind::Stream(e) => e.is_retryable(),
            ErrorKind::Protocol(e) => {
                !matches!(e, ProtocolError::InvalidNamespace | ProtocolError::UnsupportedVersion | ProtocolError::InvalidBinding)
            }
            ErrorKind::Stanza(e) | ErrorKind::Bind(e) => e.error_type == StanzaErrorType::Wait,
            ErrorKind::Register(e) => matches!(e, RegisterError::TooSoon | RegisterError::Closed),
            ErrorKind::OutboxFull | ErrorKind::StoreInUse => true,
            _ => false,
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl From<Source> for Error {
    fn from(source: Source) -> Self {
        Self::other(source)
    }
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io).with_source(source)
    }
}

impl From<jid::Error> for Error {
    fn from(source: jid::Error) -> Self {
        Self::new(ErrorKind::InvalidJid).with_source(source)
    }
}

/// `{:?}` is the text with its causes, for a `main` that returns a [`Result`]; `{:#?}` shows the structure.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            write!(f, "{self}")?;
            let mut source = StdError::source(self);
            if self.shows_source() {
                source = source.and_then(StdError::source);
            }
            while let Some(cause) = source {
                write!(f, "; caused by: {cause}")?;
                source = cause.source();
            }
            return Ok(());
        }
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.inner.kind);
        if let Some(context) = &self.inner.context {
            out.field("context", context);
        }
        if let Some(source) = &self.inner.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

/// What went wrong, with what a caller acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client could not be built: the configuration or the extensions do not fit together.
    Build(BuildError),
    /// A text that should be a JID is none (RFC 7622).
    InvalidJid,
    /// A text given as XML is not acceptable: not exactly one well-formed element or stanza, restricted by RFC 6120 §11.1, or
    /// beyond limits. The source is the [`XmlError`](crate::xml::XmlError). What a server sends so is
    /// [`Protocol`](Self::Protocol).
    InvalidXml,
    /// No transport connection could be made; every attempt is listed.
    Connect(ConnectError),
    /// TLS could not be negotiated.
    Tls(TlsError),
    /// The server's certificate was refused.
    Certificate(CertificateError),
    /// Authentication failed (RFC 6120 §6).
    Auth(AuthError),
    /// The server ended the stream with a stream error (RFC 6120 §4.9).
    Stream(StreamError),
    /// The server broke the protocol; the stream was ended from this side.
    Protocol(ProtocolError),
    /// The server said nothing within this phase's deadline.
    Timeout(Phase),
    /// The server closed the connection in this phase without a stream error.
    Closed(Phase),
    /// Binding a resource was refused (RFC 6120 §7).
    Bind(StanzaError),
    /// An account could not be made, changed or removed in band (XEP-0077).
    Register(RegisterError),
    /// The account was deleted, as asked for: there is nothing to connect to any more.
    AccountDeleted,
    /// An IQ request was answered with an error, or a message bounced (RFC 6120 §8.3).
    Stanza(StanzaError),
    /// A request was not answered within this time.
    RequestTimeout(Duration),
    /// The session ended before the answer came; `sent` says whether the request may have been executed.
    SessionLost {
        /// Whether the request had been written to the server.
        sent: bool,
    },
    /// A payload does not have the shape its specification asks for.
    Payload {
        /// The payload's namespace.
        ns: String,
        /// The payload's element name.
        name: String,
    },
    /// A stanza is larger than the server accepts.
    StanzaTooLarge {
        /// Its size in bytes, serialised.
        size: usize,
        /// The most that is accepted, in bytes.
        limit: usize,
    },
    /// The outbox holds as many unsent messages as it may.
    OutboxFull,
    /// Another client, here or in another process, has this account's store open.
    StoreInUse,
    /// The store does not know a change it was asked to make; nothing was written.
    StoreTooOld,
    /// What is kept was written by a newer release, or by a newer version of an extension, and cannot be read safely.
    StoreTooNew,
    /// A message was sent under this id before; ids are used once.
    DuplicateId(String),
    /// The store failed.
    Store,
    /// A durable subscription of this name is open already.
    SubscriptionInUse(String),
    /// The extension of this name was removed from the client, or never added.
    ExtensionMissing(&'static str),
    /// The server, or whoever was asked, does not offer this.
    NotOffered(String),
    /// The call was made outside a tokio runtime.
    NoRuntime,
    /// What ran the connection is gone: its runtime was shut down, its [`Driver`](crate::client::Driver) was dropped, or it
    /// panicked.
    Abandoned,
    /// The client is closed, or its last handle was dropped.
    ClientClosed,
    /// The call needs a session, and the client is not online.
    NotOnline,
    /// The call needs a client that is not running; close it first.
    AlreadyRunning,
    /// The message was given up; no server accepted it.
    NotSent,
    /// Reading or writing the connection failed.
    Io,
    /// An application's own error ([`Error::other`]).
    Other,
}

/// Where in the life of a connection something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Looking up where to connect.
    Resolve,
    /// Opening the TCP connection.
    Connect,
    /// The TLS handshake.
    TlsHandshake,
    /// Waiting for the server's stream header (RFC 6120 §4.7).
    Header,
    /// Waiting for stream features (RFC 6120 §4.3.2).
    Features,
    /// Waiting for the answer to STARTTLS (RFC 6120 §5).
    StartTls,
    /// IQs before authentication: account registration.
    Register,
    /// SASL (RFC 6120 §6).
    Auth,
    /// Resource binding (RFC 6120 §7).
    Bind,
    /// Bound: login steps and everything after.
    Session,
    /// Waiting for the server's `</stream:stream>`.
    Closing,
}

/// Why a client could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// Two extensions claim the same payload.
    Conflict {
        /// What both claim, for example `iq get {urn:xmpp:ping}ping`.
        what: String,
        /// The first claimant's type name.
        first: &'static str,
        /// The second claimant's type name.
        second: &'static str,
    },
    /// An extension requires one that is not there.
    MissingRequirement {
        /// Who asks.
        extension: &'static str,
        /// What is missing.
        requires: &'static str,
    },
    /// Extensions, stages or login steps require one another in a circle.
    Cycle(Vec<&'static str>),
    /// A stage is to stand before or after one that does not exist.
    UnknownStage {
        /// Who asks.
        extension: &'static str,
        /// The stage that is missing.
        stage: String,
    },
    /// A payload type without a name of its own cannot be routed (its matcher accepts any element).
    UnroutablePayload {
        /// Who asks.
        extension: &'static str,
        /// The payload's type name.
        payload: &'static str,
    },
    /// The same extension type was added twice.
    DuplicateExtension(&'static str),
    /// No password and no mechanism was given.
    NoCredentials,
    /// A value was given that cannot be used; the text names the builder method and the reason.
    InvalidOption(String),
}

/// No transport connection: the reason of the most telling attempt, and all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectError {
    /// The reason that says most.
    pub reason: ConnectReason,
    /// Every attempt that was made, in order.
    pub attempts: Vec<Attempt>,
}

impl ConnectError {
    /// An error with its attempts.
    #[must_use]
    pub fn new(reason: ConnectReason, attempts: Vec<Attempt>) -> Self {
        Self { reason, attempts }
    }
}

/// Why no transport connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectReason {
    /// The domain is no host name.
    InvalidName,
    /// DNS knows no such host.
    UnknownHost,
    /// DNS could not be asked: failure or silence.
    DnsFailed,
    /// DNS says that this domain offers no such service (an SRV target of `.`, RFC 2782).
    NoService,
    /// The port refused the connection.
    Refused,
    /// The host or its network cannot be reached.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The operating system refused for another reason.
    Other,
}

/// One attempt to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The host name or address tried, with its port, or the DNS name asked for.
    pub target: String,
    /// The socket address, where it came that far.
    pub address: Option<SocketAddr>,
    /// Why it failed.
    pub reason: ConnectReason,
    /// The text beneath.
    pub text: String,
}

impl Attempt {
    /// An attempt that failed.
    #[must_use]
    pub fn new(target: impl Into<String>, address: Option<SocketAddr>, reason: ConnectReason, text: impl Into<String>) -> Self {
        Self { target: target.into(), address, reason, text: text.into() }
    }
}

/// Why there is no TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsError {
    /// The server offers no TLS, and none is refused.
    NotOffered,
    /// The server offered STARTTLS and then refused it.
    StartTlsRefused,
    /// The handshake failed, not because of the certificate.
    HandshakeFailed,
    /// This build has no TLS backend.
    NoBackend,
    /// A key or certificate that was given cannot be read.
    InvalidMaterial,
}

/// Why a certificate was refused, with what an application needs to ask its user and pin it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateError {
    /// The reason.
    pub kind: CertificateErrorKind,
    /// The names the certificate is for, where they could be read.
    pub names: Vec<String>,
    /// From when it is valid, where that could be read.
    pub not_before: Option<SystemTime>,
    /// Until when it is valid, where that could be read.
    pub not_after: Option<SystemTime>,
    /// SHA-256 of the certificate, for the trust setting `pin`, where it could be had.
    pub fingerprint: Option<[u8; 32]>,
    /// The certificate (DER), where it could be had.
    pub der: Option<Vec<u8>>,
    /// The platform's text.
    pub text: String,
}

impl CertificateError {
    /// A certificate error that knows only its reason.
    #[must_use]
    pub fn new(kind: CertificateErrorKind, text: impl Into<String>) -> Self {
        Self { kind, names: Vec::new(), not_before: None, not_after: None, fingerprint: None, der: None, text: text.into() }
    }

    /// The fingerprint as people compare it and settings keep it, and as [`Trust::pin_hex`](crate::client::Trust::pin_hex)
    /// reads it: 64 hexadecimal digits in pairs, with colons between them.
    #[must_use]
    pub fn fingerprint_hex(&self) -> Option<String> {
        let pairs: Vec<String> = self.fingerprint?.iter().map(|byte| format!("{byte:02X}")).collect();
        Some(pairs.join(":"))
    }
}

/// The reason a certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateErrorKind {
    /// Nobody trusted has signed it (self-signed included).
    UnknownIssuer,
    /// It is for other names.
    WrongName {
        /// The name that was wanted: the domain of the JID.
        wanted: String,
    },
    /// It is not valid now.
    Expired,
    /// It is not the pinned one.
    NotPinned,
    /// Another reason; the text has it.
    Other,
}

/// Why authentication failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// `not-authorized`: wrong password or unknown user.
    NotAuthorized,
    /// `account-disabled`.
    AccountDisabled,
    /// `credentials-expired`.
    CredentialsExpired,
    /// `encryption-required`.
    EncryptionRequired,
    /// `invalid-authzid`.
    InvalidAuthzid,
    /// `temporary-auth-failure`: the server could not check now.
    TemporaryFailure,
    /// Another SASL failure, by its condition's name.
    Refused(String),
    /// No mechanism the server offers is accepted here.
    NoMechanism {
        /// What the server offers.
        offered: Vec<String>,
    },
    /// The server offers only mechanisms weaker than one this account used before, or its offer was tampered with on the
    /// way (XEP-0474).
    ///
    /// It may be an attacker in between, or a server whose operator renewed its certificate and gave up channel binding
    /// at once. Where a user decides for the second, what was proved before is deleted from the account's store, while no client
    /// has it open: the credentials [`SCRAM_SEEN`](crate::store::credential::SCRAM_SEEN) and
    /// [`channel_binding_seen("native-tls")`](crate::store::credential::channel_binding_seen).
    Downgrade,
    /// The server's channel binding does not fit the connection, or its offer of it contradicts itself.
    ChannelBindingMismatch,
    /// The server claimed success before it proved that it knows the password.
    SuccessBeforeProof,
    /// The server's proof is wrong: it does not know the password.
    WrongServerSignature,
    /// A message of the mechanism is malformed.
    Malformed,
    /// The server's nonce does not extend ours.
    WrongNonce,
    /// The server asks for fewer PBKDF2 iterations than the policy allows.
    IterationsTooLow {
        /// What the server asked for.
        asked: u32,
        /// The least that is accepted.
        minimum: u32,
    },
    /// The server asks for more PBKDF2 iterations than the policy allows.
    IterationsTooHigh {
        /// What the server asked for.
        asked: u32,
        /// The most that is accepted.
        maximum: u32,
    },
    /// The user name or password holds characters that SASLprep forbids (RFC 4013).
    InvalidCredentials,
}

/// A stream error the server sent (RFC 6120 §4.9.3), with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamError {
    /// The defined condition's element name, for example `host-unknown`.
    pub condition: String,
    /// The human-readable text, if the server gave one.
    pub text: Option<String>,
}

impl StreamError {
    /// A stream error of this condition.
    #[must_use]
    pub fn new(condition: impl Into<String>, text: Option<String>) -> Self {
        Self { condition: condition.into(), text }
    }

    /// Whether reconnecting may help. Unknown conditions are retried.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self.condition.as_str(),
            "host-unknown" | "conflict" | "not-authorized" | "unsupported-version" | "invalid-namespace"
        )
    }
}

/// How the server broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The XML is not well-formed, or not UTF-8.
    NotWellFormed,
    /// The XML holds what XMPP forbids: a DTD, comment, processing instruction or entity (RFC 6120 §11.1).
    RestrictedXml,
    /// A limit on size, depth or attributes was passed.
    LimitExceeded,
    /// The stream or its elements are in a wrong namespace.
    InvalidNamespace,
    /// The server speaks no version 1.0.
    UnsupportedVersion,
    /// The server sent an element that does not belong in this phase.
    Unexpected(Phase),
    /// The server bound no usable address.
    InvalidBinding,
}

/// The error in a stanza of type `error` (RFC 6120 §8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StanzaError {
    /// What the sender of the request should do.
    pub error_type: StanzaErrorType,
    /// The defined condition's element name, for example `item-not-found`.
    pub condition: String,
    /// The human-readable text, if there was one.
    pub text: Option<String>,
    /// Namespace and name of the application-specific condition, if there was one.
    pub application: Option<(String, String)>,
}

impl StanzaError {
    /// A stanza error.
    #[must_use]
    pub fn new(error_type: StanzaErrorType, condition: impl Into<String>) -> Self {
        Self { error_type, condition: condition.into(), text: None, application: None }
    }

    /// With a text for people.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }
}

/// What the sender of a refused stanza should do (RFC 6120 §8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StanzaErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Proceed: it was only a warning.
    Continue,
    /// Retry after changing the data.
    Modify,
    /// Retry after waiting.
    Wait,
}

/// Why an account could not be registered (XEP-0077).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The server offers no registration.
    NotOffered,
    /// The user name is taken.
    Conflict,
    /// The server did not accept the values; its text says why (a weak password, a missing field).
    NotAcceptable(String),
    /// The server's policy forbids it.
    NotAllowed,
    /// Too many registrations from this address; try later.
    TooSoon,
    /// The server asks for more than was given: this is its form.
    FormRequired(Box<AccountForm>),
    /// The server asks a question that only people can answer (XEP-0158); the field with media has it. Ask for the form, and
    /// have somebody answer it.
    Captcha(Box<AccountForm>),
    /// Accounts are made on this web page; where the server names none, these are its instructions.
    OutOfBand(String),
    /// The server closed the stream while the form was open.
    Closed,
    /// The form was dropped without being filled in.
    Abandoned,
}
