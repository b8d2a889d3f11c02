//! One stanza as the dispatcher hands it on.

use std::time::SystemTime;

use crate::error::Result;
use crate::store::{Copies, LoggedMessage, MessageFlags, Origin, Position};
use crate::xml::Stanza;

/// A stanza that arrived, with what is known about its way.
#[derive(Clone, Debug)]
pub struct Inbound {
    stanza: Stanza,
    number: u64,
    origin: Origin,
    position: Option<Position>,
    received: SystemTime,
    stamp: Option<SystemTime>,
    redelivered: bool,
}

impl Inbound {
    /// A stanza with the number it was read under in this session.
    pub(crate) fn new(stanza: Stanza, number: u64, received: SystemTime) -> Self {
        Self { stanza, number, origin: Origin::Live, position: None, received, stamp: None, redelivered: false }
    }

    /// A message read back from the log, for [`Event::from_inbound`](crate::event::Event::from_inbound): so a view of a
    /// stanza shows what is kept as it shows what arrives.
    ///
    /// ```
    /// use xmppkit::client::Client;
    /// use xmppkit::event::{Event, Inbound};
    /// use xmppkit::messaging::ChatMessage;
    /// use xmppkit::store::{LogId, LoggedMessage};
    ///
    /// async fn kept(client: &Client, id: LogId) -> xmppkit::Result<Option<ChatMessage>> {
    ///     let Some(kept) = client.store().message(id).await? else { return Ok(None) };
    ///     Ok(ChatMessage::from_inbound(&Inbound::of_logged(&kept)?, &client.downgrade()))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if what is kept is no stanza.
    pub fn of_logged(message: &LoggedMessage) -> Result<Self> {
        Ok(Self {
            stanza: message.xml.stanza()?,
            number: 0,
            origin: first_origin(message.copies),
            position: message.position,
            received: message.received,
            stamp: message.flags.contains(MessageFlags::STAMPED).then_some(message.stamp),
            redelivered: false,
        })
    }

    /// The stanza: for a carbon or an archived message the one inside.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }

    /// The way the message took.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its place in the message log, if it is logged.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// When it was received here.
    #[must_use]
    pub fn received(&self) -> SystemTime {
        self.received
    }

    /// When it was sent, where that is said outside of the stanza: by the archive it is from, or by the carbon around it.
    #[must_use]
    pub fn stamp(&self) -> Option<SystemTime> {
        self.stamp
    }

    /// Whether a subscription may have handed it out before, in an earlier process.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn replace(&mut self, stanza: Stanza, origin: Origin) {
        self.stanza = stanza;
        self.origin = origin;
    }

    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    pub(crate) fn set_stamp(&mut self, stamp: SystemTime) {
        self.stamp = Some(stamp);
    }

    pub(crate) fn set_redelivered(&mut self, redelivered: bool) {
        self.redelivered = redelivered;
    }

    pub(crate) fn set_position(&mut self, position: Position) {
        self.position = Some(position);
    }
}

/// The way of the copy that came first, as far as the log tells.
fn first_origin(copies: Copies) -> Origin {
    [Origin::Live, Origin::Carbon, Origin::Offline, Origin::Archive]
        .into_iter()
        .find(|origin| copies.contains(*origin))
        .unwrap_or(Origin::Live)
}
