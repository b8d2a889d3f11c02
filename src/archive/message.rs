//! What history is read as.

use std::fmt;
use std::ops::Deref;
use std::time::SystemTime;

use jid::BareJid;

use crate::client::WeakClient;
use crate::error::{ErrorKind, Result};
use crate::event::{Event, Inbound};
use crate::messaging::ChatMessage;
use crate::store::{self, ArchiveId, Batch, Copies, GapKind, GapRecord, LogId, LoggedMessage, MessageFlags, Place, SendStatus};

/// A message in the log: dereferences to [`ChatMessage`], which reads what is in it.
///
/// It is what the log had when it was read. Cloning is cheap.
#[derive(Clone)]
pub struct HistoryMessage {
    message: ChatMessage,
    logged: LoggedMessage,
    client: WeakClient,
}

impl HistoryMessage {
    /// `None` for what has no sender that is an address.
    pub(super) fn new(logged: LoggedMessage, client: &WeakClient) -> Result<Option<Self>> {
        let message = ChatMessage::from_inbound(&Inbound::of_logged(&logged)?, client);
        Ok(message.map(|message| Self { message, logged, client: client.clone() }))
    }

    /// Its name in the log, for as long as it is there.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.logged.log_id
    }

    /// Where it stands in the timeline: from where pages go on.
    #[must_use]
    pub fn place(&self) -> Place {
        self.logged.place()
    }

    /// The marks on it.
    #[must_use]
    pub fn flags(&self) -> MessageFlags {
        self.logged.flags
    }

    /// Whether the account's user has seen it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.flags().contains(MessageFlags::READ)
    }

    /// From where copies of it came.
    #[must_use]
    pub fn copies(&self) -> Copies {
        self.logged.copies
    }

    /// The ids that archives gave it.
    #[must_use]
    pub fn archive_ids(&self) -> &[ArchiveId] {
        &self.logged.archive_ids
    }

    /// What became of it, if it was sent by this client and that is still known.
    #[must_use]
    pub fn status(&self) -> Option<&SendStatus> {
        self.logged.status.as_deref()
    }

    /// Marks it as read.
    ///
    /// # Errors
    /// [`ErrorKind::ClientClosed`] when the client is gone; [`ErrorKind::Store`].
    pub async fn mark_read(&self) -> Result<()> {
        self.set_flags(MessageFlags::READ, MessageFlags::NONE).await
    }

    /// Sets and clears marks; this value goes on showing those it was read with.
    ///
    /// # Errors
    /// As [`mark_read`](Self::mark_read).
    pub async fn set_flags(&self, set: MessageFlags, clear: MessageFlags) -> Result<()> {
        let client = self.client.upgrade().ok_or(ErrorKind::ClientClosed)?;
        client.store().apply(Batch::new().set_flags(self.log_id(), set, clear)).await.map(drop)
    }

    /// What the log keeps.
    #[must_use]
    pub fn logged(&self) -> &LoggedMessage {
        &self.logged
    }
}

impl Deref for HistoryMessage {
    type Target = ChatMessage;

    fn deref(&self) -> &ChatMessage {
        &self.message
    }
}

impl fmt::Debug for HistoryMessage {
    /// Names the message and its place; what is said is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryMessage").field("message", &self.message).field("place", &self.place()).finish_non_exhaustive()
    }
}

/// A page of [`LocalQuery`](super::LocalQuery).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The messages, the oldest first.
    pub messages: Vec<HistoryMessage>,
    /// Whether there are more in the direction the page was taken: newer ones where [`after`](super::LocalQuery::after) says
    /// from where, else older ones.
    pub more: bool,
}

/// A conversation, as a list of them shows it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Conversation {
    /// The other side, a room, or an occupant of one.
    pub jid: jid::Jid,
    /// Its newest message with something to read.
    pub newest: HistoryMessage,
    /// How many incoming messages in it are not read.
    pub unread: u64,
}

impl Conversation {
    pub(super) fn new(conversation: store::Conversation, client: &WeakClient) -> Result<Option<Self>> {
        let store::Conversation { jid, newest, unread, .. } = conversation;
        Ok(HistoryMessage::new(newest, client)?.map(|newest| Self { jid, newest, unread }))
    }
}

/// An item of a [timeline](super::LocalQuery::timeline).
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "nearly all items are messages, so a box would cost an allocation for each")]
pub enum TimelineItem {
    /// A message.
    Message(HistoryMessage),
    /// Here messages may be missing.
    Gap(TimelineGap),
}

/// A place in a timeline where messages may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimelineGap {
    /// Why.
    pub kind: GapKind,
    /// From when, as far as it is known.
    pub since: Option<SystemTime>,
    /// Until when, as far as it is known.
    pub until: Option<SystemTime>,
    /// The archive that may fill it.
    pub archive: Option<BareJid>,
}

impl From<GapRecord> for TimelineGap {
    fn from(gap: GapRecord) -> Self {
        Self { kind: gap.kind, since: gap.since, until: gap.until, archive: gap.archive }
    }
}
