//! [`ChatMessage`]: a message as a chat application reads it.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use jid::{BareJid, Jid};
use xso::FromXml;

use super::wire::{self, ChatState, Delay, Marker, Text, Thread};
use super::{Direction, MessageType, MessagingService, Origin, SendMessage, confirm};
use crate::client::{Sent, WeakClient};
use crate::error::{ErrorKind, Result};
use crate::event::{Event, Inbound, Route};
use crate::xml::{Stanza, belongs_to, ns};

/// A message with a body between this account and another (RFC 6121 §5): of type `chat` or `normal`.
///
/// A view of the stanza: nothing is decoded before it is asked for, and cloning is cheap. What other clients of the same
/// account sent is among them as well ([`direction`](Self::direction)), where carbons are on or an archive was read.
///
/// ```no_run
/// use xmppkit::prelude::*;
///
/// # async fn run(client: Client) -> xmppkit::Result<()> {
/// let mut messages = client.messages().events();
/// client.connect().await?;
/// while let Some(message) = messages.next().await {
///     if message.direction() == Direction::Incoming {
///         println!("{}: {}", message.from(), message.body().unwrap_or_default());
///         message.reply("Got it.").await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ChatMessage {
    stanza: Stanza,
    from: Jid,
    origin: Origin,
    /// When it was sent, where that is said outside of it.
    sent_at: Option<SystemTime>,
    received_at: SystemTime,
    client: WeakClient,
}

impl ChatMessage {
    /// The sender: a full JID as a rule.
    #[must_use]
    pub fn from(&self) -> &Jid {
        &self.from
    }

    /// To whom it is addressed: one of this account's addresses, or for an outgoing message the contact's. None if it names
    /// nobody, which means the own account (RFC 6120 §8.1.1.1).
    #[must_use]
    pub fn to(&self) -> Option<Jid> {
        self.stanza.to_jid()
    }

    /// The other side, whichever direction the message went: whom [`client.chat(..)`](super::Messages::chat) writes to and
    /// [`roster().get(..)`](crate::roster::Roster::get) looks up. It need not be in the roster. For a message to oneself it
    /// is the own account.
    #[must_use]
    pub fn contact(&self) -> BareJid {
        self.conversation().into_bare()
    }

    /// The conversation it belongs to, as the store names it: the bare JID of the other side, whichever direction the
    /// message went. [`contact`](Self::contact) is what other calls take.
    #[must_use]
    pub fn conversation(&self) -> Jid {
        let other = match self.direction() {
            Direction::Outgoing => self.to().unwrap_or_else(|| self.client.account().clone().into()),
            _ => self.from.clone(),
        };
        other.into_bare().into()
    }

    /// Whether it came to this account, or was sent by it: here, or by another of its clients. A message of the account to
    /// itself was sent by it, so that whoever answers only incoming ones never answers oneself.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let account = self.client.account();
        let is_own = |jid: &Jid| belongs_to(jid, account);
        // Without a sender it is what this client sent, read back from the log, or the server speaks for the account.
        let sent = is_own(&self.from) && (self.stanza.from().is_some() || self.to().is_some_and(|to| !is_own(&to)));
        if sent { Direction::Outgoing } else { Direction::Incoming }
    }

    /// The way it took to get here.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The body in the language of the message, else the first one.
    #[must_use]
    pub fn body(&self) -> Option<Cow<'_, str>> {
        wire::text(&self.stanza, "body")
    }

    /// The body for a reader of this language (RFC 5646, for example `de-CH`): exactly in it, else in the nearest more
    /// general one (`de`), else in a more special one. None if there is none of these.
    #[must_use]
    pub fn body_in(&self, lang: &str) -> Option<Cow<'_, str>> {
        wire::text_in(&self.stanza, "body", lang)
    }

    /// Every version of the body, in order.
    pub fn bodies(&self) -> impl Iterator<Item = Text<'_>> {
        wire::texts(&self.stanza, "body")
    }

    /// The subject in the language of the message, else the first one.
    #[must_use]
    pub fn subject(&self) -> Option<Cow<'_, str>> {
        wire::text(&self.stanza, "subject")
    }

    /// Every version of the subject, in order.
    pub fn subjects(&self) -> impl Iterator<Item = Text<'_>> {
        wire::texts(&self.stanza, "subject")
    }

    /// The thread it belongs to.
    #[must_use]
    pub fn thread(&self) -> Option<Thread> {
        wire::thread(&self.stanza)
    }

    /// The attribute `id`: the sender's name for it, unique only among the sender's messages, if at all.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.stanza.id()
    }

    /// The id that its first sender gave it, and that stays on all copies (XEP-0359). Anybody can copy it from another's
    /// message.
    #[must_use]
    pub fn origin_id(&self) -> Option<Cow<'_, str>> {
        self.stanza.child(ns::SID, "origin-id")?.attr("id")
    }

    /// The id that this archive gave it (XEP-0359): `by` is the own account's bare JID, or a room.
    ///
    /// Believe it only if that entity announces stanza ids; other servers let senders write what they like.
    #[must_use]
    pub fn stanza_id(&self, by: &Jid) -> Option<Cow<'_, str>> {
        wire::stanza_id(&self.stanza, by)
    }

    /// What is said about its being late (XEP-0203): by the account's own server if it says something, else by the first who
    /// does, which may be the sender.
    #[must_use]
    pub fn delay(&self) -> Option<Delay> {
        wire::delay(&self.stanza, self.client.account())
    }

    /// When it was sent: the stamp of its [`delay`](Self::delay), else when it was received here.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.sent_at.or_else(|| self.delay().map(|delay| delay.stamp)).unwrap_or(self.received_at)
    }

    /// Its type.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        MessageType::from_attribute(self.stanza.stanza_type().as_deref())
    }

    /// Whether the sender wants to be told that it arrived (XEP-0184).
    #[must_use]
    pub fn receipt_requested(&self) -> bool {
        self.stanza.child(ns::RECEIPTS, "request").is_some()
    }

    /// The id of the message whose arrival it confirms (XEP-0184).
    #[must_use]
    pub fn receipt(&self) -> Option<Cow<'_, str>> {
        wire::receipt(&self.stanza)
    }

    /// Whether the sender wants to be told that it was displayed (XEP-0333).
    #[must_use]
    pub fn is_markable(&self) -> bool {
        self.stanza.child(ns::CHAT_MARKERS, "markable").is_some()
    }

    /// How far another message got (XEP-0333).
    #[must_use]
    pub fn marker(&self) -> Option<Marker<'_>> {
        wire::marker(&self.stanza)
    }

    /// What the sender is doing (XEP-0085).
    #[must_use]
    pub fn chat_state(&self) -> Option<ChatState> {
        wire::chat_state(&self.stanza)
    }

    /// The id of the message that it corrects (XEP-0308). It counts only if the same sender sent both.
    #[must_use]
    pub fn replaces(&self) -> Option<Cow<'_, str>> {
        self.stanza.child(ns::MESSAGE_CORRECT, "replace")?.attr("id")
    }

    /// The message it passes on (XEP-0297).
    #[must_use]
    pub fn forwarded(&self) -> Option<ForwardedMessage> {
        let (stanza, delay) = wire::forwarded(&self.stanza)?;
        let message = Self {
            from: stanza.from_jid()?.clone(),
            stanza,
            origin: self.origin,
            sent_at: delay.as_ref().map(|delay| delay.stamp),
            received_at: self.received_at,
            client: self.client.clone(),
        };
        Some(ForwardedMessage { message, delay })
    }

    /// The first payload of this type; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Payload`](crate::ErrorKind::Payload) if a payload has the name of the type and not its shape.
    pub fn payload<T: FromXml>(&self) -> Result<Option<T>> {
        Ok(self.stanza.payload()?)
    }

    /// The stanza itself.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }

    /// Replies: to the address RFC 6121 §5.1 says (see [`Chat`](super::Chat)), with the same type, in the same thread.
    ///
    /// The reply to an outgoing message goes to the conversation it belongs to, not to oneself.
    ///
    /// ```no_run
    /// # async fn example(message: xmppkit::messaging::ChatMessage) -> xmppkit::Result<()> {
    /// let sent = message.reply("Certainly.").lang("en").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply(&self, body: impl Into<String>) -> SendMessage {
        SendMessage::reply(self, body.into())
    }

    /// Tells the sender that the message was displayed to its reader (XEP-0333), and with it those before it: of several that
    /// are displayed together, say it of the last.
    ///
    /// `None` if nothing was sent: the sender did not [ask](Self::is_markable), is not to know
    /// ([`Confirm`](super::Confirm)), or is the account itself.
    ///
    /// ```no_run
    /// # async fn example(message: xmppkit::messaging::ChatMessage) -> xmppkit::Result<()> {
    /// message.mark_displayed().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`SendMessage`].
    pub async fn mark_displayed(&self) -> Result<Option<Sent>> {
        let client = self.client.upgrade().ok_or(ErrorKind::ClientClosed)?;
        let messaging = client.ext::<MessagingService>().ok_or(ErrorKind::ExtensionMissing("MessagingService"))?;
        let Some(id) = self.id().filter(|_| self.is_markable() && self.marker().is_none()) else { return Ok(None) };
        if self.direction() != Direction::Incoming || !confirm::may_know(&client.ctx(), &self.contact()) {
            return Ok(None);
        }
        // Every device of the sender may want to know.
        let to = messaging.address(&self.conversation());
        confirm::confirm(&client, &to, self.message_type(), (ns::CHAT_MARKERS, "displayed"), &id).await.map(Some)
    }

    pub(super) fn client(&self) -> &WeakClient {
        &self.client
    }
}

impl Event for ChatMessage {
    fn route() -> Route {
        Route::message().payload(ns::CLIENT, "body").when(|inbound| {
            let type_ = MessageType::from_attribute(inbound.stanza().stanza_type().as_deref());
            matches!(type_, MessageType::Chat | MessageType::Normal)
        })
    }

    fn from_inbound(inbound: &Inbound, client: &WeakClient) -> Option<Self> {
        let stanza = inbound.stanza();
        let from = match stanza.from() {
            Some(_) => stanza.from_jid()?.clone(),
            // RFC 6120 §8.1.2.1: without it, the account's own.
            None => client.account().clone().into(),
        };
        Some(Self {
            stanza: stanza.clone(),
            from,
            origin: inbound.origin(),
            sent_at: inbound.stamp(),
            received_at: inbound.received(),
            client: client.clone(),
        })
    }
}

impl fmt::Debug for ChatMessage {
    /// Names the way and the stanza; what is said is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatMessage")
            .field("from", &self.from)
            .field("direction", &self.direction())
            .field("origin", &self.origin)
            .field("stanza", &self.stanza)
            .finish()
    }
}

/// A message inside another (XEP-0297).
///
/// Whoever forwards it can make it up: it is only as credible as the message around it.
#[derive(Debug, Clone)]
pub struct ForwardedMessage {
    message: ChatMessage,
    delay: Option<Delay>,
}

impl ForwardedMessage {
    /// The message.
    #[must_use]
    pub fn message(&self) -> &ChatMessage {
        &self.message
    }

    /// When it was sent, according to whoever forwards it.
    #[must_use]
    pub fn delay(&self) -> Option<&Delay> {
        self.delay.as_ref()
    }
}
