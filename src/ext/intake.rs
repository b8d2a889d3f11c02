//! What an extension fetched, on its way into the log.

use std::fmt;
use std::time::SystemTime;

use crate::store::{ArchiveId, Batch, Feed, LogId, Origin};
use crate::xml::Stanza;

/// Messages an extension fetched (a page of an archive), to be taken in as if they had arrived; see
/// [`Ctx::take_in`](crate::ext::Ctx::take_in).
///
/// They are in the order of where they come from, the oldest first, and keep that order in the timeline: those that are
/// known keep their place, the others are put between them, by their stamps as far as that leaves a choice.
#[must_use = "nothing is taken in before it is given to take_in"]
pub struct Intake {
    pub(crate) messages: Vec<Fetched>,
    pub(crate) feed: Feed,
    pub(crate) after: Option<i64>,
    pub(crate) before: Option<i64>,
    pub(crate) changes: Batch,
    pub(crate) committed: Option<Box<dyn FnOnce() + Send>>,
}

/// One message of an [`Intake`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fetched {
    /// The message itself: what is inside the result.
    pub stanza: Stanza,
    /// The way it came.
    pub origin: Origin,
    /// When it was sent or received, as whoever keeps it says.
    pub stamp: Option<SystemTime>,
    /// The id of the archive it is from.
    pub archive_id: Option<ArchiveId>,
}

/// What became of a message of an [`Intake`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenIn {
    /// Its name in the log; `None` if it is not kept there, because of what it is or because a stage discarded it.
    pub log_id: Option<LogId>,
    /// Whether it was not known before. What the log does not keep is always new.
    pub is_new: bool,
    /// Its key in the timeline, or the one it would have.
    pub order: i64,
}

impl Intake {
    /// Nothing yet. What is taken in is history (R19) unless [`feed`](Self::feed) says otherwise.
    pub fn new() -> Self {
        Self { messages: Vec::new(), feed: Feed::History, after: None, before: None, changes: Batch::new(), committed: None }
    }

    /// Adds a message behind those before.
    pub fn message(mut self, message: Fetched) -> Self {
        self.messages.push(message);
        self
    }

    /// Whether durable subscriptions get what is new. With [`Feed::Deliver`] live subscriptions get it as well.
    pub fn feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// They stand behind this key in the timeline: that of the last message of the page before.
    pub fn after(mut self, order: Option<i64>) -> Self {
        self.after = order;
        self
    }

    /// They stand before this key in the timeline: that of the first message of the page behind.
    pub fn before(mut self, order: Option<i64>) -> Self {
        self.before = order;
        self
    }

    /// Makes these changes in the same transaction, after the messages are appended.
    pub fn changes(mut self, changes: Batch) -> Self {
        self.changes = self.changes.and(changes);
        self
    }

    /// Calls this when everything is stored, before any other message passes the stages: what stages go by from then on is
    /// switched here. It is not called if the store fails.
    pub fn committed(mut self, switch: impl FnOnce() + Send + 'static) -> Self {
        self.committed = Some(Box::new(switch));
        self
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("messages", &self.messages.len()).field("feed", &self.feed).finish_non_exhaustive()
    }
}

impl Fetched {
    /// A message that came this way.
    #[must_use]
    pub fn new(stanza: Stanza, origin: Origin) -> Self {
        Self { stanza, origin, stamp: None, archive_id: None }
    }

    /// A result of an archive.
    #[must_use]
    pub fn archived(stanza: Stanza, id: ArchiveId, stamp: Option<SystemTime>) -> Self {
        Self { stanza, origin: Origin::Archive, stamp, archive_id: Some(id) }
    }
}

impl TakenIn {
    pub(crate) fn new(log_id: Option<LogId>, is_new: bool, order: i64) -> Self {
        Self { log_id, is_new, order }
    }
}
