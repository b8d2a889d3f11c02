//! What is to be sent, and what became of it (R23).

use std::sync::Arc;
use std::time::SystemTime;

use jid::Jid;

use super::{ArchiveId, StoredXml};
use crate::error::StanzaError;

/// A message that was accepted for sending, and its record.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// Its place in the order of sending, given by the store; ignored when it is put there.
    pub place: u64,
    /// Its `id` attribute, under which its record is found; never used twice.
    pub id: String,
    /// To whom.
    pub to: Option<Jid>,
    /// The stanza; `None` once it is settled.
    pub xml: Option<StoredXml>,
    /// Whether it is dropped instead of sent again after a lost session (R1: chat states, no-store).
    pub ephemeral: bool,
    /// Its number among the outbound stanzas of the session that is kept (XEP-0198), once it was written (R8).
    pub number: Option<u32>,
    /// The newest id that the archive which would hold it was known to have before it was written (R12).
    pub archive_after: Option<ArchiveId>,
    /// When the session was cut in which it was last written, and which is lost: what a later process may ask the archive after
    /// (R12).
    pub cut: Option<SystemTime>,
    /// Whether it has left the queue.
    pub settled: bool,
    /// What became of it.
    pub status: Arc<SendStatus>,
}

impl OutboxEntry {
    /// A message accepted at this time.
    pub fn new(id: impl Into<String>, to: Option<Jid>, xml: impl Into<StoredXml>, queued: SystemTime) -> Self {
        Self {
            place: 0,
            id: id.into(),
            to,
            xml: Some(xml.into()),
            ephemeral: false,
            number: None,
            archive_after: None,
            cut: None,
            settled: false,
            status: Arc::new(SendStatus { queued: Some(queued), ..SendStatus::default() }),
        }
    }

    /// Dropped instead of sent again after a lost session.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.ephemeral = true;
        self
    }

    /// Makes an update, as [`Batch::update_sent`](super::Batch::update_sent) does, for stores.
    pub fn update(&mut self, update: &SentUpdate) {
        if update.number.is_some() {
            self.number = update.number;
            self.cut = None;
        }
        if update.cut.is_some() {
            self.cut = update.cut;
        }
        if update.archive_after.is_some() {
            self.archive_after.clone_from(&update.archive_after);
        }
        if update.settled {
            self.settled = true;
            self.xml = None;
            self.number = None;
        }
        if update.status != SendStatus::default() {
            Arc::make_mut(&mut self.status).merge(&update.status);
        }
    }
}

/// The record of R23: each field is set at most once, and none excludes another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SendStatus {
    /// When it was accepted.
    pub queued: Option<SystemTime>,
    /// When it was first written to a connection.
    pub written: Option<SystemTime>,
    /// When the server acknowledged it, or was found to have it.
    pub acked: Option<SystemTime>,
    /// When its room reflected it.
    pub reflected: Option<SystemTime>,
    /// The first receipt for it (XEP-0184).
    pub received: Option<Receipt>,
    /// The first sign that it was displayed (XEP-0333).
    pub displayed: Option<Receipt>,
    /// The error it came back with.
    pub bounced: Option<(StanzaError, SystemTime)>,
    /// Why it was given up (C1).
    pub failed: Option<(SendFailure, SystemTime)>,
    /// When it was sent again although neither counter nor archive could tell whether the server has it (R13).
    pub resent_unverified: Option<SystemTime>,
}

impl SendStatus {
    /// Sets the fields that the other has and this has not.
    pub fn merge(&mut self, other: &Self) {
        fn set<T: Clone>(field: &mut Option<T>, other: &Option<T>) {
            if field.is_none() {
                field.clone_from(other);
            }
        }
        set(&mut self.queued, &other.queued);
        set(&mut self.written, &other.written);
        set(&mut self.acked, &other.acked);
        set(&mut self.reflected, &other.reflected);
        set(&mut self.received, &other.received);
        set(&mut self.displayed, &other.displayed);
        set(&mut self.bounced, &other.bounced);
        set(&mut self.failed, &other.failed);
        set(&mut self.resent_unverified, &other.resent_unverified);
    }
}

/// Who said that a message arrived, and when that was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The sender of the receipt.
    pub by: Jid,
    /// When the receipt was sent, as far as it is known.
    pub at: SystemTime,
}

impl Receipt {
    /// A receipt.
    #[must_use]
    pub fn new(by: Jid, at: SystemTime) -> Self {
        Self { by, at }
    }
}

/// Why a message was given up; as far as is known, no server has accepted it (C1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendFailure {
    /// It is larger than the server accepts.
    TooLarge,
    /// The server ended the stream over it, twice (R7); with the stream error's condition.
    Poison(String),
    /// It was withdrawn from the outbox.
    Withdrawn,
    /// It was ephemeral, and the session was lost (R1).
    Ephemeral,
    /// The account was deleted. If it was written before, the server may have accepted it and could not say so any more.
    AccountGone,
    /// An outbound stage refused it; with its reason.
    Refused(String),
}

/// A change of a sent message's record; see [`Batch::update_sent`](super::Batch::update_sent).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentUpdate {
    /// Which message.
    pub id: String,
    /// Its number among the session's outbound stanzas.
    pub number: Option<u32>,
    /// The newest archive id known before it was written.
    pub archive_after: Option<ArchiveId>,
    /// When the lost session was cut in which it was last written; a number voids it.
    pub cut: Option<SystemTime>,
    /// Fields to set where they are not set yet.
    pub status: SendStatus,
    /// Whether it leaves the queue.
    pub settled: bool,
}

impl SentUpdate {
    /// An update that changes nothing yet; fill in `status`.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), number: None, archive_after: None, cut: None, status: SendStatus::default(), settled: false }
    }

    /// It is about to be written under this number of the session's count, at this time.
    #[must_use]
    pub fn written(mut self, number: Option<u32>, at: SystemTime) -> Self {
        self.number = number;
        self.status.written = Some(at);
        self
    }

    /// The session it was written in is lost, and was cut at this time.
    #[must_use]
    pub fn cut(mut self, at: SystemTime) -> Self {
        self.cut = Some(at);
        self
    }

    /// The server has it since this time; it leaves the queue.
    #[must_use]
    pub fn acked(mut self, at: SystemTime) -> Self {
        self.status.acked = Some(at);
        self.settled()
    }

    /// It is given up; it leaves the queue.
    #[must_use]
    pub fn failed(mut self, why: SendFailure, at: SystemTime) -> Self {
        self.status.failed = Some((why, at));
        self.settled()
    }

    /// It leaves the queue.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.settled = true;
        self
    }
}
