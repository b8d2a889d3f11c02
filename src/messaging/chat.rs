//! Sending to one contact.

use std::fmt;
use std::future::IntoFuture;

use futures::future::BoxFuture;
use jid::{BareJid, Jid};
use xmpp_parsers::message::{self, Lang, Message};
use xso::AsXml;

use super::{ChatMessage, ChatState, MessageType, MessagingService};
use crate::client::{Client, Sent, WeakClient};
use crate::error::{Error, ErrorKind, Result};

/// The conversation with one contact; see [`Messages::chat`](super::Messages::chat). A cheap handle that does not keep the
/// client alive.
///
/// Messages go to the contact's bare JID until a message comes from one of the contact's resources; from then on they go to
/// that resource, until another one writes, or any resource of the contact changes its presence (RFC 6121 §5.1). All
/// handles to the same contact, and [`ChatMessage::reply`], go by the same rules together.
///
/// ```no_run
/// use xmppkit::prelude::*;
///
/// # async fn run(client: Client) -> xmppkit::Result<()> {
/// let chat = client.chat(&"juliet@example.org".parse()?);
/// chat.send("Art thou there?").await?;
/// let sent = chat.send("Wherefore not?").subject("Night").lang("en").await?;
/// println!("{} was accepted at {:?}", sent.id(), sent.status().queued);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Chat {
    client: WeakClient,
    contact: BareJid,
}

impl Chat {
    pub(super) fn new(client: &Client, contact: &BareJid) -> Self {
        Self { client: client.downgrade(), contact: contact.clone() }
    }

    /// The contact.
    #[must_use]
    pub fn contact(&self) -> &BareJid {
        &self.contact
    }

    /// Where the next message goes: the contact's bare JID, or the resource the conversation is locked to.
    #[must_use]
    pub fn address(&self) -> Jid {
        let messaging = self.client.upgrade().and_then(|client| client.ext::<MessagingService>());
        messaging.map_or_else(|| self.contact.clone().into(), |messaging| messaging.address(&self.contact.clone().into()))
    }

    /// Sends a message of type `chat` when it is awaited.
    pub fn send(&self, body: impl Into<String>) -> SendMessage {
        SendMessage::new(self.client.clone(), self.contact.clone().into(), Some(body.into()))
    }

    /// Sends a message of type `chat` that has this payload and no body, when it is awaited: a sign, a call's signal,
    /// something for programs. It goes where [`send`](Self::send) sends to.
    ///
    /// The other side gets no [`ChatMessage`], which has a body, but an event of its own: one whose
    /// [route](crate::event::Event::route) names the payload. [`SendMessage::payload`] adds a payload to a message with a
    /// body.
    ///
    /// ```no_run
    /// use xmppkit::prelude::*;
    /// use xmppkit::xso::AsXml;
    ///
    /// #[derive(AsXml)]
    /// #[xml(namespace = "urn:xmpp:attention:0", name = "attention")]
    /// struct Attention;
    ///
    /// # async fn run(client: Client) -> xmppkit::Result<()> {
    /// client.chat(&"juliet@example.org".parse()?).send_payload(&Attention).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_payload<P: AsXml>(&self, payload: &P) -> SendMessage {
        SendMessage::new(self.client.clone(), self.contact.clone().into(), None).payload(payload)
    }

    /// Tells the contact what the user is doing (XEP-0085): `Composing` when they begin to write, `Paused` when they stop.
    /// Messages themselves say that writing is over.
    ///
    /// `false` if nothing was sent: the contact was told the same last, or has answered without chat states and so wants
    /// none, or the client is not online. It tells whoever it is sent to that somebody is there.
    ///
    /// ```no_run
    /// use xmppkit::messaging::ChatState;
    /// use xmppkit::prelude::*;
    ///
    /// # async fn run(client: Client) -> xmppkit::Result<()> {
    /// client.chat(&"juliet@example.org".parse()?).send_state(ChatState::Composing).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`SendMessage`].
    pub async fn send_state(&self, state: ChatState) -> Result<bool> {
        let client = self.client.upgrade().ok_or(ErrorKind::ClientClosed)?;
        let messaging = client.ext::<MessagingService>().ok_or(ErrorKind::ExtensionMissing("MessagingService"))?;
        if !client.state().is_online() || !messaging.may_tell(&self.contact, state) {
            return Ok(false);
        }
        let to = messaging.address(&self.contact.clone().into());
        client.send(Message::chat(to).with_payload(state.to_wire())).await?;
        Ok(true)
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("contact", &self.contact).finish_non_exhaustive()
    }
}

/// A message that is sent when it is awaited; it gives the token that tells what becomes of it.
///
/// Awaited one after another, messages arrive in that order. Dropping the future before it resolves leaves open whether the
/// message is sent.
///
/// # Errors
/// Those of [`Client::send`]; [`ErrorKind::ClientClosed`] when the client is gone; [`ErrorKind::ExtensionMissing`] in a client
/// built without [`MessagingService`]; [`ErrorKind::Payload`] for a payload that cannot be written as XML.
#[must_use = "nothing is sent until it is awaited"]
pub struct SendMessage {
    client: WeakClient,
    /// The conversation: a bare JID, to which the rules of addressing apply, or a full one, which is the address.
    peer: Jid,
    body: Option<String>,
    lang: Option<String>,
    subject: Option<String>,
    /// Type, thread, payloads, and versions of the body in other languages.
    message: Message,
    failed: Option<Error>,
}

impl SendMessage {
    fn new(client: WeakClient, peer: Jid, body: Option<String>) -> Self {
        Self { client, peer, body, lang: None, subject: None, message: Message::chat(None), failed: None }
    }

    pub(super) fn reply(to: &ChatMessage, body: String) -> Self {
        let mut reply = Self::new(to.client().clone(), to.conversation(), Some(body));
        if to.message_type() == MessageType::Normal {
            reply.message.type_ = message::MessageType::Normal;
        }
        reply.message.thread = to.thread().map(|thread| message::Thread { id: thread.id, parent: thread.parent });
        reply
    }

    /// The language of the body and the subject (RFC 5646, for example `en`).
    pub fn lang(mut self, lang: impl Into<String>) -> Self {
        self.lang = Some(lang.into());
        self
    }

    /// The same body in another language; each language once (RFC 6121 §5.2.3).
    pub fn body_in(mut self, lang: impl Into<String>, body: impl Into<String>) -> Self {
        self.message.bodies.insert(Lang(lang.into()), body.into());
        self
    }

    /// A subject (RFC 6121 §5.2.4).
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The thread it belongs to (RFC 6121 §5.2.5): an opaque text that says nothing about its author.
    pub fn thread(mut self, id: impl Into<String>) -> Self {
        self.message.thread = Some(message::Thread { id: id.into(), parent: None });
        self
    }

    /// Adds a payload.
    pub fn payload<P: AsXml>(mut self, payload: &P) -> Self {
        match xso::transform::<minidom::Element, P>(payload) {
            Ok(element) => self.message.payloads.push(element),
            Err(error) => {
                let kind = ErrorKind::Payload { ns: String::new(), name: std::any::type_name::<P>().to_owned() };
                self.failed.get_or_insert(Error::new(kind).with_source(error));
            }
        }
        self
    }

    async fn run(self) -> Result<Sent> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let client = self.client.upgrade().ok_or(ErrorKind::ClientClosed)?;
        let messaging = client.ext::<MessagingService>().ok_or(ErrorKind::ExtensionMissing("MessagingService"))?;
        let mut message = self.message;
        let lang = Lang(self.lang.unwrap_or_default());
        if let Some(subject) = self.subject {
            message.subjects.insert(lang.clone(), subject);
        }
        message.bodies.extend(self.body.map(|body| (lang, body)));
        message.to = Some(messaging.address(&self.peer));
        client.send(message).await
    }
}

impl IntoFuture for SendMessage {
    type Output = Result<Sent>;
    type IntoFuture = BoxFuture<'static, Result<Sent>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for SendMessage {
    /// Names the conversation; what is said is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendMessage").field("peer", &self.peer).finish_non_exhaustive()
    }
}
