//! One stanza as the dispatcher hands it on.

use std::time::SystemTime;

use crate::store::{Origin, Position};
use crate::xml::Stanza;

/// A stanza that arrived, with what is known about its way.
#[derive(Clone, Debug)]
pub struct Inbound {
    stanza: Stanza,
    number: u64,
    origin: Origin,
    position: Option<Position>,
    received: SystemTime,
    redelivered: bool,
}

impl Inbound {
    /// A stanza with the number it was read under in this session.
    pub(crate) fn new(stanza: Stanza, number: u64, received: SystemTime) -> Self {
        Self { stanza, number, origin: Origin::Live, position: None, received, redelivered: false }
    }

    /// A stanza read back from the message log.
    pub(crate) fn from_log(stanza: Stanza, origin: Origin, position: Position, received: SystemTime, redelivered: bool) -> Self {
        Self { stanza, number: 0, origin, position: Some(position), received, redelivered }
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

    /// Whether a durable subscription may have handed it out before.
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

    pub(crate) fn set_position(&mut self, position: Position) {
        self.position = Some(position);
    }
}
