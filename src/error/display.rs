//! The texts people read.

use super::*;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An application's own error speaks for itself.
        if let (ErrorKind::Other, None, Some(source)) = (&self.inner.kind, &self.inner.context, &self.inner.source) {
            return write!(f, "{source}");
        }
        write!(f, "{}", self.inner.kind)?;
        if let Some(context) = &self.inner.context {
            write!(f, ": {context}")?;
        }
        if self.shows_source()
            && let Some(source) = &self.inner.source
        {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl Error {
    /// Whether the kind alone says too little, so that the text goes on with the error beneath.
    pub(super) fn shows_source(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Other | ErrorKind::Io | ErrorKind::Store | ErrorKind::InvalidJid | ErrorKind::InvalidXml
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(e) => write!(f, "the client cannot be built: {e}"),
            Self::InvalidJid => f.write_str("not a valid JID"),
            Self::InvalidXml => f.write_str("not acceptable as XML"),
            Self::Connect(e) => write!(f, "{e}"),
            Self::Tls(e) => write!(f, "{e}"),
            Self::Certificate(e) => write!(f, "{e}"),
            Self::Auth(e) => write!(f, "authentication failed: {e}"),
            Self::Stream(e) => write!(f, "the server ended the stream: {e}"),
            Self::Protocol(e) => write!(f, "the server broke the protocol: {e}"),
            Self::Timeout(phase) => write!(f, "no answer from the server in time while {phase}"),
            Self::Closed(phase) => write!(f, "the server closed the connection while {phase}"),
            Self::Bind(e) => write!(f, "the server bound no resource: {e}"),
            Self::Register(e) => write!(f, "in-band registration failed: {e}"),
            Self::AccountDeleted => f.write_str("the account was deleted"),
            Self::Stanza(e) => write!(f, "{e}"),
            Self::RequestTimeout(after) => write!(f, "no reply within {after:?}"),
            Self::SessionLost { sent: true } => {
                f.write_str("the session ended before the reply came; the request may have been executed")
            }
            Self::SessionLost { sent: false } => f.write_str("the session ended before the request was sent"),
            Self::Payload { ns, name } if ns.is_empty() => write!(f, "malformed payload <{name}>"),
            Self::Payload { ns, name } => write!(f, "malformed payload <{name} xmlns='{ns}'>"),
            Self::StanzaTooLarge { size, limit } => write!(f, "the stanza has {size} bytes, the server accepts {limit}"),
            Self::OutboxFull => f.write_str("the outbox is full"),
            Self::StoreInUse => f.write_str("another client has this account's store open"),
            Self::StoreTooOld => f.write_str("the store does not know this kind of change; nothing was written"),
            Self::StoreTooNew => f.write_str("what the store keeps was written by a newer release; nothing was touched"),
            Self::DuplicateId(id) => write!(f, "a message was sent under the id {id:?} before"),
            Self::Store => f.write_str("the store failed"),
            Self::SubscriptionInUse(name) => write!(f, "the durable subscription {name:?} is open already"),
            Self::NotOffered(what) => write!(f, "not offered: {what}"),
            Self::ExtensionMissing(name) => write!(f, "this client is built without the extension {name}"),
            Self::NoRuntime => f.write_str("called outside a tokio runtime"),
            Self::Abandoned => f.write_str("what ran the connection is gone"),
            Self::ClientClosed => f.write_str("the client is closed"),
            Self::NotOnline => f.write_str("the client is not online"),
            Self::AlreadyRunning => f.write_str("the client is running; close it first"),
            Self::NotSent => f.write_str("the message was given up"),
            Self::Io => f.write_str("input/output error"),
            Self::Other => f.write_str("application error"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "looking up the server",
            Self::Connect => "connecting",
            Self::TlsHandshake => "negotiating TLS",
            Self::Header => "opening the stream",
            Self::Features => "waiting for stream features",
            Self::StartTls => "starting TLS",
            Self::Register => "registering",
            Self::Auth => "authenticating",
            Self::Bind => "binding a resource",
            Self::Session => "online",
            Self::Closing => "closing the stream",
        })
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { what, first, second } => write!(f, "{first} and {second} both claim {what}"),
            Self::MissingRequirement { extension, requires } => {
                write!(f, "{extension} requires {requires}, which was not added or was removed")
            }
            Self::Cycle(names) => write!(f, "these require one another in a circle: {}", names.join(" → ")),
            Self::UnknownStage { extension, stage } => write!(f, "{extension} names the stage {stage:?}, which does not exist"),
            Self::UnroutablePayload { extension, payload } => {
                write!(f, "{extension} claims {payload}, which matches any element and cannot be routed")
            }
            Self::DuplicateExtension(name) => write!(f, "the extension {name} was added twice"),
            Self::NoCredentials => f.write_str("no credentials: call password() or mechanism()"),
            Self::InvalidOption(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect: {}", self.reason)?;
        for (i, attempt) in self.attempts.iter().enumerate() {
            write!(f, "{} {attempt}", if i == 0 { "; tried" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        if let Some(address) = self.address {
            write!(f, " [{address}]")?;
        }
        write!(f, " ({}", self.reason)?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for ConnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidName => "the domain is no host name",
            Self::UnknownHost => "no such host",
            Self::DnsFailed => "DNS could not be asked",
            Self::NoService => "the domain offers no such service",
            Self::Refused => "connection refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "no answer in time",
            Self::Other => "connection failed",
        })
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOffered => "the server offers no TLS, and a connection without it is refused",
            Self::StartTlsRefused => "the server refused to start TLS",
            Self::HandshakeFailed => "the TLS handshake failed",
            Self::NoBackend => "this build has no TLS backend: enable the feature native-tls",
            Self::InvalidMaterial => "a certificate or key that was given cannot be read",
        })
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's certificate is refused: {}", self.kind)?;
        if !self.names.is_empty() {
            write!(f, "; it names {}", self.names.join(", "))?;
        }
        if let Some(fingerprint) = self.fingerprint_hex() {
            write!(f, "; SHA-256 {fingerprint}")?;
        }
        if !self.text.is_empty() {
            write!(f, " ({})", self.text)?;
        }
        Ok(())
    }
}

impl fmt::Display for CertificateErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str("nobody trusted has signed it"),
            Self::WrongName { wanted } => write!(f, "it is not for {wanted}"),
            Self::Expired => f.write_str("it is not valid now"),
            Self::NotPinned => f.write_str("it is not the pinned one"),
            Self::Other => f.write_str("it was not accepted"),
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAuthorized => f.write_str("wrong password, or no such account"),
            Self::AccountDisabled => f.write_str("the account is disabled"),
            Self::CredentialsExpired => f.write_str("the credentials have expired"),
            Self::EncryptionRequired => f.write_str("the server wants TLS first"),
            Self::InvalidAuthzid => f.write_str("the authorization identity is not accepted"),
            Self::TemporaryFailure => f.write_str("the server could not check the credentials now"),
            Self::Refused(condition) => write!(f, "refused with {condition}"),
            Self::NoMechanism { offered } if offered.is_empty() => f.write_str("the server offers no mechanism"),
            Self::NoMechanism { offered } => write!(f, "no mechanism in common; the server offers {}", offered.join(", ")),
            Self::Downgrade => {
                f.write_str("the server offers only weaker mechanisms than before, or its offer was changed on the way")
            }
            Self::ChannelBindingMismatch => f.write_str("the channel binding does not fit this connection"),
            Self::SuccessBeforeProof => f.write_str("the server claimed success without proving that it knows the password"),
            Self::WrongServerSignature => f.write_str("the server's proof is wrong: it does not know the password"),
            Self::Malformed => f.write_str("the server sent a malformed message"),
            Self::WrongNonce => f.write_str("the server's nonce does not extend ours"),
            Self::IterationsTooLow { asked, minimum } => {
                write!(f, "the server asks for {asked} iterations, at least {minimum} are required")
            }
            Self::IterationsTooHigh { asked, maximum } => {
                write!(f, "the server asks for {asked} iterations, at most {maximum} are accepted")
            }
            Self::InvalidCredentials => f.write_str("the user name or password holds forbidden characters"),
        }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_condition(f, &self.condition, self.text.as_deref())
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWellFormed => f.write_str("its XML is not well-formed"),
            Self::RestrictedXml => f.write_str("its XML holds a construct that XMPP forbids"),
            Self::LimitExceeded => f.write_str("its XML passes a limit"),
            Self::InvalidNamespace => f.write_str("wrong namespace"),
            Self::UnsupportedVersion => f.write_str("it does not speak XMPP 1.0"),
            Self::Unexpected(phase) => write!(f, "an element that does not belong there came while {phase}"),
            Self::InvalidBinding => f.write_str("the address it bound cannot be used"),
        }
    }
}

impl fmt::Display for StanzaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side answered with the error ")?;
        write_condition(f, &self.condition, self.text.as_deref())
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("the server offers none"),
            Self::Conflict => f.write_str("the user name is taken"),
            Self::NotAcceptable(text) if text.is_empty() => f.write_str("the server does not accept the values"),
            Self::NotAcceptable(text) => write!(f, "the server does not accept the values: {text}"),
            Self::NotAllowed => f.write_str("the server's policy forbids it"),
            Self::TooSoon => f.write_str("too many registrations from this address; try later"),
            Self::FormRequired(_) => f.write_str("the server's form asks for more than was given"),
            Self::Captcha(_) => f.write_str("the server asks a question that only people can answer"),
            Self::OutOfBand(place) => write!(f, "accounts are made elsewhere: {place}"),
            Self::Closed => f.write_str("the server closed the stream while the form was open"),
            Self::Abandoned => f.write_str("the form was not filled in"),
        }
    }
}

fn write_condition(f: &mut fmt::Formatter<'_>, condition: &str, text: Option<&str>) -> fmt::Result {
    f.write_str(condition)?;
    match text {
        Some(text) if !text.is_empty() => write!(f, " ({text})"),
        _ => Ok(()),
    }
}
