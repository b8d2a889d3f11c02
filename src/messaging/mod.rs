//! One-to-one messages (RFC 6121 §5).
//!
//! [`Messages`] is the way in: `client.messages()` is what arrives, as [`ChatMessage`] values; `client.chat(&contact)` sends;
//! [`ChatMessage::reply`] answers. What was sent has a token, [`Sent`](crate::client::Sent), that fills up with what is heard
//! of it: receipts (XEP-0184), markers (XEP-0333), errors.
//!
//! ```no_run
//! use xmppkit::client::Milestone;
//! use xmppkit::prelude::*;
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("romeo@example.org".parse()?).password("secret").build().await?;
//! // By a handler …
//! let answer = |message: ChatMessage| async move {
//!     if message.direction() == Direction::Incoming {
//!         message.reply("Speak again, bright angel!").await?;
//!     }
//!     Ok::<_, xmppkit::Error>(())
//! };
//! client.on(answer).detach();
//! client.connect().await?;
//! // … and by hand.
//! let sent = client.chat(&"juliet@example.org".parse()?).send("But soft!").await?;
//! sent.wait_for(Milestone::Written).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The arrival of a message that asks for it is confirmed to contacts who see our presence ([`Confirm`]); that it was displayed
//! says the application, with [`ChatMessage::mark_displayed`], and what its user is doing with [`Chat::send_state`].
//!
//! The wire format of anything else in a message is reached with [`ChatMessage::payload`] and [`SendMessage::payload`], by
//! type; a message that has only a payload is sent with [`Chat::send_payload`].

mod chat;
mod confirm;
mod event;
mod message;
mod news;
mod service;
mod state;
#[cfg(test)]
mod tests;
mod wire;

pub use chat::{Chat, SendMessage};
pub use event::{Bounce, ChatStateEvent};
pub use message::{ChatMessage, ForwardedMessage};
pub use service::MessagingService;
pub use wire::{ChatState, Delay, Marker, MarkerKind, Text, Thread};

pub use crate::store::{Direction, MessageKind as MessageType, Origin};

use jid::BareJid;

use crate::client::Client;
use crate::event::Subscription;

/// Messages of a client: what `client.messages()` and `client.chat(..)` come from.
pub trait Messages {
    /// Subscribes to messages; see [`Subscription`]. Made before [`connect`](Client::connect) it misses nothing.
    fn messages(&self) -> Subscription<ChatMessage>;

    /// The conversation with this contact.
    fn chat(&self, contact: &BareJid) -> Chat;
}

impl Messages for Client {
    fn messages(&self) -> Subscription<ChatMessage> {
        self.subscribe()
    }

    fn chat(&self, contact: &BareJid) -> Chat {
        Chat::new(self, contact)
    }
}

/// What can be set of [`MessagingService`], with [`ClientBuilder::setting`](crate::client::ClientBuilder::setting).
///
/// ```
/// use xmppkit::Client;
/// use xmppkit::messaging::{Confirm, MessagingSettings};
/// # fn example(account: xmppkit::jid::BareJid) {
/// let discreet = MessagingSettings::new().confirm(Confirm::Nobody);
/// let builder = Client::builder(account).setting(discreet);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessagingSettings {
    /// Whether chat messages ask to be told that they arrived (XEP-0184). They do unless this is off.
    pub request_receipts: bool,
    /// Whether chat messages ask to be told that they were displayed (XEP-0333). They do not unless this is on.
    pub request_markers: bool,
    /// Who is told that their messages arrived and were displayed, if they ask. [`Confirm::Contacts`] unless set.
    pub confirm: Confirm,
    /// Whether chat messages say `active` (XEP-0085), which tells the other side that it may send chat states. They do not
    /// unless this is on.
    pub chat_states: bool,
}

/// Who is told that their messages arrived (XEP-0184) and were [displayed](ChatMessage::mark_displayed) (XEP-0333).
///
/// Either tells them that somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Confirm {
    /// Nobody.
    Nobody,
    /// Contacts who see our presence.
    #[default]
    Contacts,
    /// Everybody who asks.
    Everybody,
}

impl MessagingSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { request_receipts: true, request_markers: false, confirm: Confirm::default(), chat_states: false }
    }

    /// Whether chat messages ask to be told that they arrived (XEP-0184).
    #[must_use]
    pub fn request_receipts(mut self, request: bool) -> Self {
        self.request_receipts = request;
        self
    }

    /// Whether chat messages ask to be told that they were displayed (XEP-0333).
    #[must_use]
    pub fn request_markers(mut self, request: bool) -> Self {
        self.request_markers = request;
        self
    }

    /// Who is told that their messages arrived and were displayed, if they ask.
    #[must_use]
    pub fn confirm(mut self, whom: Confirm) -> Self {
        self.confirm = whom;
        self
    }

    /// Whether chat messages say `active` (XEP-0085).
    #[must_use]
    pub fn chat_states(mut self, say: bool) -> Self {
        self.chat_states = say;
        self
    }
}

impl Default for MessagingSettings {
    fn default() -> Self {
        Self::new()
    }
}
