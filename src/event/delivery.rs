//! What a subscription yields: items, and gaps where items are missing (R21, R27, D12).

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::error::Result;
use crate::event::hub::Hold;
use crate::event::{Inbound, Origin};
use crate::store::Position;

/// An item of a message subscription: an event, or the place where events are missing.
///
/// [`Subscription::events`](crate::event::Subscription::events) is the short form for whom gaps do not matter.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming<E> {
    /// An event.
    Item(Delivery<E>),
    /// Here items are missing.
    Gap(Gap),
}

impl<E> Incoming<E> {
    /// The item, unless this is a gap.
    #[must_use]
    pub fn item(self) -> Option<Delivery<E>> {
        match self {
            Self::Item(item) => Some(item),
            Self::Gap(_) => None,
        }
    }
}

/// One event, handed to one subscriber; dereferences to the event.
///
/// On a durable subscription [`ack`](Self::ack) says that it is dealt with and need not come again; on a live one there
/// is nothing to acknowledge and it does nothing.
pub struct Delivery<E> {
    event: E,
    origin: Origin,
    position: Option<Position>,
    redelivered: bool,
    ack: Option<Arc<dyn Acknowledge>>,
    /// Keeps the message from counting as handled.
    hold: Mutex<Option<Arc<Hold>>>,
}

/// Moves the position of a durable subscription.
pub(crate) trait Acknowledge: Send + Sync {
    fn acknowledge(&self, position: Position) -> BoxFuture<'_, Result<()>>;
}

impl<E> Delivery<E> {
    pub(crate) fn new(event: E, inbound: &Inbound) -> Self {
        Self {
            event,
            origin: inbound.origin(),
            position: inbound.position(),
            redelivered: inbound.redelivered(),
            ack: None,
            hold: Mutex::default(),
        }
    }

    pub(crate) fn emitted(event: E) -> Self {
        Self { event, origin: Origin::Live, position: None, redelivered: false, ack: None, hold: Mutex::default() }
    }

    pub(crate) fn with_ack(mut self, ack: Arc<dyn Acknowledge>) -> Self {
        self.ack = Some(ack);
        self
    }

    pub(crate) fn held_by(mut self, hold: Option<Arc<Hold>>) -> Self {
        self.hold = Mutex::new(hold);
        self
    }

    /// The event, and what keeps the message from counting as handled.
    pub(crate) fn into_parts(self) -> (E, Option<Arc<Hold>>) {
        (self.event, self.hold.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The event itself.
    #[must_use]
    pub fn into_inner(self) -> E {
        self.event
    }

    /// The way it came.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its place in the message log, if it is logged.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Whether this durable subscription may have handed it out before, to a process that ended before it acknowledged. Under
    /// [`AckPolicy::Handled`](crate::event::AckPolicy::Handled) a live one says the same of its items.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Acknowledges the item, so that it does not come again. On a live subscription it says that the message is dealt with,
    /// which matters under [`AckPolicy::Handled`](crate::event::AckPolicy::Handled) alone.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the position could not be written down; the item will then come again after a restart.
    pub async fn ack(&self) -> Result<()> {
        drop(self.hold.lock().unwrap_or_else(PoisonError::into_inner).take());
        match (&self.ack, self.position) {
            (Some(ack), Some(position)) => ack.acknowledge(position).await,
            _ => Ok(()),
        }
    }
}

impl<E> Deref for Delivery<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

impl<E: fmt::Debug> fmt::Debug for Delivery<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("event", &self.event)
            .field("origin", &self.origin)
            .field("position", &self.position)
            .field("redelivered", &self.redelivered)
            .finish()
    }
}

/// A place in a subscription where items are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Why they are missing.
    pub kind: GapKind,
    /// How many stanzas are missing, where that is known. Not each of them need have been an event of this kind.
    pub count: Option<u64>,
}

impl Gap {
    pub(crate) fn new(kind: GapKind, count: Option<u64>) -> Self {
        Self { kind, count }
    }
}

/// Why items are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapKind {
    /// The subscriber read too slowly and its mailbox was full.
    Overflow,
    /// The messages left the bounded log before the subscriber asked for them.
    Retention,
    /// The archive no longer knows the message from which the catch-up was to go on.
    Expired,
    /// The catch-up from the archive failed.
    CatchUpFailed,
    /// A fresh session, and no archive that could tell what was missed.
    NoArchive,
}
