//! Requests from others: what a handler gets and what it answers (lane 2).

use std::fmt;

use minidom::Element;
use xmpp_parsers::iq::Iq;
use xso::AsXml;

use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
use crate::xml::{OutStanza, Stanza};

/// An IQ request of type `get` or `set` with its payload (RFC 6120 §8.2.3).
pub struct IqRequest<P> {
    stanza: Stanza,
    payload: P,
}

impl<P> IqRequest<P> {
    pub(crate) fn new(stanza: Stanza, payload: P) -> Self {
        Self { stanza, payload }
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &P {
        &self.payload
    }

    /// The payload, taken out.
    #[must_use]
    pub fn into_payload(self) -> P {
        self.payload
    }

    /// The whole stanza.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }

    /// Who asks; `None` is the own account (RFC 6120 §8.1.2.1).
    #[must_use]
    pub fn from(&self) -> Option<jid::Jid> {
        self.stanza.from_jid().cloned()
    }
}

impl<P: fmt::Debug> fmt::Debug for IqRequest<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IqRequest").field("stanza", &self.stanza).field("payload", &self.payload).finish()
    }
}

/// The result a handler answers a request with: empty, or a payload.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    payload: Option<Element>,
}

impl Answer {
    /// A result without payload.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A result with this payload.
    ///
    /// # Errors
    /// [`IqRefusal`] with `internal-server-error`, if the value cannot be written as XML.
    pub fn payload<T: AsXml>(payload: &T) -> Result<Self, IqRefusal> {
        match xso::transform::<Element, T>(payload) {
            Ok(element) => Ok(Self { payload: Some(element) }),
            Err(error) => Err(IqRefusal::from(Error::other(error))),
        }
    }

    /// A result with this element.
    #[must_use]
    pub fn element(payload: Element) -> Self {
        Self { payload: Some(payload) }
    }
}

/// The error a handler answers a request with (RFC 6120 §8.3). Made from a [`StanzaError`], or from any [`Error`]:
/// an error that is a stanza error is passed on, every other one becomes `internal-server-error`.
#[derive(Debug, Clone)]
pub struct IqRefusal {
    error: StanzaError,
}

impl From<StanzaError> for IqRefusal {
    fn from(error: StanzaError) -> Self {
        Self { error }
    }
}

impl From<Error> for IqRefusal {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Stanza(error) => Self { error: error.clone() },
            _ => {
                tracing::warn!(%error, "a request could not be answered");
                Self { error: StanzaError::new(StanzaErrorType::Wait, "internal-server-error") }
            }
        }
    }
}

/// The reply stanza to a request; `None` where the request cannot be answered (no id).
pub(crate) fn reply(request: &Stanza, answer: Result<Answer, IqRefusal>) -> Option<Result<OutStanza>> {
    let id = request.id()?.into_owned();
    let to = request.from_jid().cloned();
    let iq = match answer {
        Ok(answer) => Iq::Result { from: None, to, id, payload: answer.payload },
        Err(refusal) => Iq::Error { from: None, to, id, payload: None, error: to_wire(&refusal.error) },
    };
    Some(OutStanza::iq(&iq))
}

/// The wire form of a stanza error. An unknown condition becomes `undefined-condition`.
fn to_wire(error: &StanzaError) -> xmpp_parsers::stanza_error::StanzaError {
    use xmpp_parsers::stanza_error::{DefinedCondition as C, ErrorType as T, StanzaError as Wire};
    let type_ = match error.error_type {
        StanzaErrorType::Auth => T::Auth,
        StanzaErrorType::Cancel => T::Cancel,
        StanzaErrorType::Continue => T::Continue,
        StanzaErrorType::Modify => T::Modify,
        StanzaErrorType::Wait => T::Wait,
    };
    let condition = match error.condition.as_str() {
        "bad-request" => C::BadRequest,
        "conflict" => C::Conflict,
        "feature-not-implemented" => C::FeatureNotImplemented,
        "forbidden" => C::Forbidden,
        "internal-server-error" => C::InternalServerError,
        "item-not-found" => C::ItemNotFound,
        "jid-malformed" => C::JidMalformed,
        "not-acceptable" => C::NotAcceptable,
        "not-allowed" => C::NotAllowed,
        "not-authorized" => C::NotAuthorized,
        "policy-violation" => C::PolicyViolation,
        "recipient-unavailable" => C::RecipientUnavailable,
        "registration-required" => C::RegistrationRequired,
        "remote-server-not-found" => C::RemoteServerNotFound,
        "remote-server-timeout" => C::RemoteServerTimeout,
        "resource-constraint" => C::ResourceConstraint,
        "service-unavailable" => C::ServiceUnavailable,
        "subscription-required" => C::SubscriptionRequired,
        "unexpected-request" => C::UnexpectedRequest,
        _ => C::UndefinedCondition,
    };
    Wire::new(type_, condition, "en", error.text.clone().unwrap_or_default())
}
