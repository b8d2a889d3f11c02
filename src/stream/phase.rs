//! The phases of a stream (D33). Each consumes itself when the next begins, and its fields are private to this file, so that
//! nothing that needs TLS can be reached without it: a step of SASL runs on a [`Secured`], and there are two ways to one.

use std::sync::Arc;

use jid::FullJid;

use super::config::{CoreConfig, TlsRule};
use super::iq::Own;
use super::management::Suspended;
use super::numbers::Numbers;
use super::session::Session;
use super::step::{Bits, Step};
use super::steps::before_auth::BeforeAuthStep;
use super::steps::bind::Bind;
use super::steps::plaintext::{OnPurpose, Plaintext};
use super::steps::resume::Resume;
use super::steps::sasl::{Proof, Sasl};
use super::steps::start_tls::{Proceed, StartTls};
use crate::auth::ChannelBinding;
use crate::error::{AuthError, Error, ErrorKind, ProtocolError, TlsError};

/// A phase in which features are negotiated.
pub(super) trait Level: Sized + 'static {
    /// What a step can give that ends this phase.
    type Grant;

    /// What the stream has, to compare with what steps require and forbid.
    fn bits(&self) -> Bits;

    /// The steps of this phase, in the order in which they are preferred.
    fn steps(&self, config: &Arc<CoreConfig>) -> Vec<Box<dyn Step<Self>>>;

    /// Why the stream cannot go on when no step fits the features.
    fn exhausted(&self) -> Error;
}

/// Nothing is protected yet.
pub(super) struct Plain(());

/// TLS is up, or the application asked for a dangerous connection without.
pub(super) struct Secured {
    channel: Channel,
}

enum Channel {
    Tls { bindings: Vec<ChannelBinding> },
    Plaintext,
}

/// The server has accepted the credentials, and proved what the mechanism lets it prove.
pub(super) struct Authenticated {
    encrypted: bool,
}

/// STARTTLS was accepted; nothing may be said or heard until TLS is up.
pub(super) struct Handshake(Plain);

impl Plain {
    /// The beginning: a transport that is not encrypted.
    pub(super) fn new() -> Self {
        Self(())
    }

    pub(super) fn handshake(self, _proceed: Proceed) -> Handshake {
        Handshake(self)
    }

    pub(super) fn in_the_open(self, _on_purpose: OnPurpose) -> Secured {
        Secured { channel: Channel::Plaintext }
    }
}

impl Handshake {
    pub(super) fn done(self, bindings: Vec<ChannelBinding>) -> Secured {
        let Self(Plain(())) = self;
        Secured { channel: Channel::Tls { bindings } }
    }
}

impl Secured {
    /// The beginning where the transport brings its own TLS.
    pub(super) fn by_transport(bindings: Vec<ChannelBinding>) -> Self {
        Self { channel: Channel::Tls { bindings } }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.channel, Channel::Tls { .. })
    }

    pub(super) fn bindings(&self) -> &[ChannelBinding] {
        match &self.channel {
            Channel::Tls { bindings } => bindings,
            Channel::Plaintext => &[],
        }
    }

    pub(super) fn authenticated(self, _proof: Proof) -> Authenticated {
        Authenticated { encrypted: self.is_encrypted() }
    }
}

impl Authenticated {
    pub(super) fn bound(self, jid: FullJid, numbers: Numbers) -> Session {
        Session::new(Own::new(jid), numbers)
    }

    pub(super) fn resumed(self, suspended: Suspended) -> Session {
        Session::resumed(suspended)
    }
}

/// What ends [`Authenticated`].
pub(super) enum Entry {
    /// A new session, at this address.
    Bound(FullJid),
    /// The session there was, and the server's count.
    Resumed { suspended: Box<Suspended>, h: u32 },
}

/// What ends [`Plain`].
pub(super) enum PlainGrant {
    /// The server waits for the handshake.
    Tls(Proceed),
    /// The configuration asks for a connection without TLS.
    InTheOpen(OnPurpose),
}

impl Level for Plain {
    type Grant = PlainGrant;

    fn bits(&self) -> Bits {
        Bits::NONE
    }

    fn steps(&self, config: &Arc<CoreConfig>) -> Vec<Box<dyn Step<Self>>> {
        match config.tls {
            TlsRule::DangerousPlaintext => vec![Box::new(Plaintext)],
            TlsRule::Required | TlsRule::AlreadySecured { .. } => vec![Box::new(StartTls::new(config))],
        }
    }

    fn exhausted(&self) -> Error {
        ErrorKind::Tls(TlsError::NotOffered).into()
    }
}

impl Level for Secured {
    type Grant = Proof;

    fn bits(&self) -> Bits {
        if self.is_encrypted() { Bits::ENCRYPTED } else { Bits::NONE }
    }

    fn steps(&self, config: &Arc<CoreConfig>) -> Vec<Box<dyn Step<Self>>> {
        let mut steps: Vec<Box<dyn Step<Self>>> = Vec::new();
        if config.before_auth {
            steps.push(Box::new(BeforeAuthStep::new(config)));
        }
        steps.push(Box::new(Sasl::new(config)));
        steps
    }

    fn exhausted(&self) -> Error {
        ErrorKind::Auth(AuthError::NoMechanism { offered: Vec::new() }).into()
    }
}

impl Level for Authenticated {
    type Grant = Entry;

    fn bits(&self) -> Bits {
        if self.encrypted { Bits::ENCRYPTED | Bits::AUTHENTICATED } else { Bits::AUTHENTICATED }
    }

    fn steps(&self, config: &Arc<CoreConfig>) -> Vec<Box<dyn Step<Self>>> {
        vec![Box::new(Resume::new(config)), Box::new(Bind::new(config))]
    }

    fn exhausted(&self) -> Error {
        Error::from(ErrorKind::Protocol(ProtocolError::InvalidBinding)).with_context("the server offers no resource binding")
    }
}
