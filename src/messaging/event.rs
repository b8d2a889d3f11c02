//! Events beside [`ChatMessage`](super::ChatMessage): what came back, and what the other side is doing.

use std::borrow::Cow;

use jid::Jid;

use super::service::is_error;
use super::wire::{self, ChatState};
use super::{MessageType, Origin};
use crate::client::{Sent, WeakClient};
use crate::error::StanzaError;
use crate::event::{Event, Inbound, Route};
use crate::xml::{Stanza, ns};

/// A message that came back with an error (RFC 6120 §8.3).
///
/// What this client sent has it in its token as well ([`SendStatus::bounced`](crate::store::SendStatus)), and only there it
/// is certain that the error comes from where the message went. An error need not be the end of the message: servers send
/// errors for one device while another has it.
///
/// The error rarely repeats what was said. To show it with the message, keep what the user sees and its token under the token's
/// id:
///
/// ```no_run
/// use std::collections::HashMap;
/// use xmppkit::messaging::Bounce;
/// use xmppkit::prelude::*;
///
/// # async fn run(client: Client) -> xmppkit::Result<()> {
/// let mut bounces = client.subscribe::<Bounce>().events();
/// let mut shown = HashMap::new();
/// let text = "Art thou there?";
/// let sent = client.chat(&"juliet@example.org".parse()?).send(text).await?;
/// shown.insert(sent.id().to_owned(), (sent, text));
///
/// while let Some(bounce) = bounces.next().await {
///     // Anybody can send an error with an id; there is a token if this one counts.
///     if let Some(sent) = bounce.sent() {
///         println!("{:?}: {}", shown.get(sent.id()).map(|(_, text)| text), bounce.error());
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// Whoever holds the token and waits for nothing else can look at [`Sent::status`] instead.
#[derive(Debug, Clone)]
pub struct Bounce {
    stanza: Stanza,
    error: StanzaError,
    client: WeakClient,
}

impl Bounce {
    /// Who says so: the address the message was sent to, or a server. None if it is the own server.
    #[must_use]
    pub fn from(&self) -> Option<Jid> {
        self.stanza.from_jid().cloned()
    }

    /// The id of the message that came back: what [`Sent::id`] said when it was sent.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.stanza.id()
    }

    /// Why.
    #[must_use]
    pub fn error(&self) -> &StanzaError {
        &self.error
    }

    /// The token of the message, if this error counts for it and somebody still holds it. `None` for a message of an
    /// earlier run, and for one whose token was dropped: [`id`](Self::id) still names it.
    #[must_use]
    pub fn sent(&self) -> Option<Sent> {
        let sent = self.client.upgrade()?.sent(&self.id()?)?;
        sent.status().bounced.is_some().then_some(sent)
    }

    /// The stanza itself.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }
}

impl Event for Bounce {
    fn route() -> Route {
        Route::message().when(|inbound| is_error(inbound.stanza()))
    }

    fn from_inbound(inbound: &Inbound, client: &WeakClient) -> Option<Self> {
        let stanza = inbound.stanza().clone();
        Some(Self { error: stanza.error()?, stanza, client: client.clone() })
    }
}

/// Somebody began to write, paused, or left (XEP-0085).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChatStateEvent {
    /// Who.
    pub from: Jid,
    /// What they are doing.
    pub state: ChatState,
}

impl Event for ChatStateEvent {
    fn route() -> Route {
        Route::message().payload_ns(ns::CHAT_STATES).when(|inbound| {
            let type_ = MessageType::from_attribute(inbound.stanza().stanza_type().as_deref());
            matches!(type_, MessageType::Chat | MessageType::Normal) && inbound.origin() == Origin::Live
        })
    }

    fn from_inbound(inbound: &Inbound, _client: &WeakClient) -> Option<Self> {
        Some(Self { from: inbound.stanza().from_jid()?.clone(), state: wire::chat_state(inbound.stanza())? })
    }
}
