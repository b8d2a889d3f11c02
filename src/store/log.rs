//! The message log, its feed, and the cursors that move over them.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jid::{BareJid, Jid};

use super::{IdentityKey, IdentityKeys, KeyLife, RowChange, SendStatus, StoredJid, StoredText, StoredXml};
use crate::error::{Error, ErrorKind, Result};

/// Names a message in the log for as long as it is there. Given by the store, never reused, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(u64);

impl LogId {
    /// From a number, for stores and for links that an application kept.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A place in the feed that durable subscriptions read. Given by the store, never reused, rising; the first is 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// Before everything.
    pub const START: Self = Self(0);

    /// From a number, for stores.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Where a message stands in the timeline of its conversation, and among all messages: by `order`, then by `id`.
///
/// It survives the message, so a page can be continued from it although the message was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Place {
    /// The order key; see [`NewMessage::at`].
    pub order: i64,
    /// What decides between equal keys.
    pub id: LogId,
}

impl Place {
    /// The place of this message under this key.
    #[must_use]
    pub const fn new(order: i64, id: LogId) -> Self {
        Self { order, id }
    }

    /// The order key a time stands for: microseconds since 1970, negative before.
    #[must_use]
    pub fn order_of(time: SystemTime) -> i64 {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        }
    }
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// To this account.
    Incoming,
    /// From this account, by this or another of its clients.
    Outgoing,
}

/// Where a copy of a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// From the session, as it was sent; also an own message, sent here.
    Live,
    /// A carbon of another client of this account (XEP-0280).
    Carbon,
    /// A result from an archive (XEP-0313).
    Archive,
    /// From offline storage, or a room's history, marked by `<delay/>` (XEP-0203).
    Offline,
}

/// The set of [`Origin`]s from which copies of one message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Copies(u8);

impl Copies {
    /// Only this origin.
    #[must_use]
    pub const fn of(origin: Origin) -> Self {
        Self(match origin {
            Origin::Live => 1,
            Origin::Carbon => 2,
            Origin::Archive => 4,
            Origin::Offline => 8,
        })
    }

    /// Of what is kept elsewhere: by an archive, or in offline storage.
    pub(crate) const fn kept_elsewhere() -> Self {
        Self::of(Origin::Archive).with(Origin::Offline)
    }

    /// This set and one origin more.
    #[must_use]
    pub const fn with(self, origin: Origin) -> Self {
        Self(self.0 | Self::of(origin).0)
    }

    /// Whether a copy came from there.
    #[must_use]
    pub const fn contains(self, origin: Origin) -> bool {
        self.0 & Self::of(origin).0 != 0
    }

    /// Whether both sets have an origin in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set as a number, for stores.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set of this number.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

/// The `type` of a message (RFC 6121 §5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MessageKind {
    /// Outside a conversation; what no or an unknown type means.
    #[default]
    Normal,
    /// One-to-one chat.
    Chat,
    /// In a room.
    Groupchat,
    /// Not to be answered.
    Headline,
    /// A bounce.
    Error,
}

impl MessageKind {
    /// From the attribute's value.
    #[must_use]
    pub fn from_attribute(value: Option<&str>) -> Self {
        match value {
            Some("chat") => Self::Chat,
            Some("groupchat") => Self::Groupchat,
            Some("headline") => Self::Headline,
            Some("error") => Self::Error,
            _ => Self::Normal,
        }
    }

    /// The attribute's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Chat => "chat",
            Self::Groupchat => "groupchat",
            Self::Headline => "headline",
            Self::Error => "error",
        }
    }
}

/// Marks on a message in the log. The upper 16 bits are the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MessageFlags(u32);

impl MessageFlags {
    /// No mark.
    pub const NONE: Self = Self(0);
    /// The account's user has seen it, here or on another client.
    pub const READ: Self = Self(1);
    /// [`stamp`](MessageRecord::stamp) is what a server or a sender said (XEP-0203), not when it arrived here.
    pub const STAMPED: Self = Self(1 << 1);
    /// It came encrypted from end to end; what is kept is the plain text.
    pub const ENCRYPTED: Self = Self(1 << 2);
    /// Its author or a moderator took it back; what is kept no longer holds its text.
    pub const RETRACTED: Self = Self(1 << 3);

    /// The application's mark of this number, from 0 to 15.
    #[must_use]
    pub const fn application(number: u8) -> Option<Self> {
        if number < 16 { Some(Self(1 << (16 + number as u32))) } else { None }
    }

    /// The marks of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These marks without the other's.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all marks of the other are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The marks as a number, for stores.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The marks of this number.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// The id an archive gave a message (XEP-0313, XEP-0359).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ArchiveId {
    /// Whose archive: the own account's, or a room's.
    pub by: BareJid,
    /// Its id there: opaque, and in no order.
    pub id: StoredText,
}

impl ArchiveId {
    /// An id and who gave it.
    pub fn new(by: BareJid, id: impl Into<StoredText>) -> Self {
        Self { by, id: id.into() }
    }
}

/// A message as the log keeps it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MessageRecord {
    /// The conversation: the other side's bare JID, a room's bare JID, or the full JID of an occupant.
    pub conversation: StoredJid,
    /// Which way it went.
    pub direction: Direction,
    /// Its type.
    pub kind: MessageKind,
    /// Its sender as far as it is known: a full JID, in rooms the occupant's.
    pub from: Option<StoredJid>,
    /// Its `id` attribute.
    pub id: Option<StoredText>,
    /// The id its sender gave it for good (XEP-0359).
    pub origin_id: Option<StoredText>,
    /// The ids archives gave it, at most one per archive except where its sender sent it twice (R1).
    pub archive_ids: Vec<ArchiveId>,
    /// When it was sent, as far as it is known: the oldest trusted `<delay/>`, else when it arrived.
    pub stamp: SystemTime,
    /// When its first copy arrived here, or when it was accepted for sending.
    pub received: SystemTime,
    /// The stanza.
    pub xml: StoredXml,
    /// What text search looks at: bodies and subject. `None` for what has no text.
    pub text: Option<StoredText>,
    /// Marks.
    pub flags: MessageFlags,
}

impl MessageRecord {
    /// A chat message without ids, that came or was sent at this time; fill in the other fields.
    pub fn new(conversation: impl Into<StoredJid>, direction: Direction, xml: impl Into<StoredXml>, at: SystemTime) -> Self {
        Self {
            conversation: conversation.into(),
            direction,
            kind: MessageKind::Chat,
            from: None,
            id: None,
            origin_id: None,
            archive_ids: Vec::new(),
            stamp: at,
            received: at,
            xml: xml.into(),
            text: None,
            flags: MessageFlags::NONE,
        }
    }

    /// The key that says which stanzas are similar to it (R17 4), for [this process](KeyLife::InProcess); `None` if its sender is not known.
    pub(super) fn similar_key(&self) -> Option<IdentityKey> {
        let (from, stanza) = (self.from.as_ref()?, self.xml.stanza().ok()?);
        let to = stanza.to_jid();
        let to = to.as_ref().map_or("", Jid::as_str);
        let (id, text) = (self.id.as_deref(), self.text.as_deref());
        Some(IdentityKey::similar_in(KeyLife::InProcess, &stanza, from.as_str(), to, self.kind, id, text))
    }

    /// Whether there is something to read in it: it has text and is no bounce. Lists of conversations count these.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.text.is_some() && self.kind != MessageKind::Error
    }
}

/// Whether durable subscriptions get a message. A later variant is more than an earlier one, and a message's only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feed {
    /// It is history: in the log, but no durable subscription gets it (R19).
    History,
    /// It waits, in the log, until its conversation's catch-up is over and [`Batch::release`](super::Batch::release)
    /// gives it its position (R16).
    Hold,
    /// It has its position at once.
    Deliver,
}

/// A message for the log, with what decides whether it is one (see [`Batch::append`](super::Batch::append)).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewMessage {
    /// What is kept.
    pub record: MessageRecord,
    /// Where this copy came from.
    pub origin: Origin,
    /// Those of its keys that are made.
    keys: IdentityKeys,
    /// Whether its record's similar key is one that is not made yet, and the last.
    is_similar_unmade: bool,
    /// Whether durable subscriptions get it.
    pub feed: Feed,
    /// Its key in the timeline; `None` puts it at the end of its conversation. See [`at`](Self::at).
    pub order: Option<i64>,
    /// Changes of extension rows that are made only if the message is new.
    pub when_new: Vec<RowChange>,
}

impl NewMessage {
    /// A message for the end of its conversation, which durable subscriptions get at once.
    #[must_use]
    pub fn new(record: MessageRecord, origin: Origin) -> Self {
        Self {
            record,
            origin,
            keys: IdentityKeys::default(),
            is_similar_unmade: false,
            feed: Feed::Deliver,
            order: None,
            when_new: Vec::new(),
        }
    }

    /// The proofs of identity that apply, the strongest first (R17); [`Batch::append`](super::Batch::append) says what they decide. Where
    /// the store is not [persistent](super::Store::persistent), the last may be one that this call makes from the record;
    /// [`Batch::into_changes`](super::Batch::into_changes) makes it for good.
    #[must_use]
    pub fn keys(&self) -> Cow<'_, IdentityKeys> {
        match self.unmade_key() {
            None => Cow::Borrowed(&self.keys),
            Some(similar) => {
                let mut keys = self.keys.clone();
                keys.push(similar);
                Cow::Owned(keys)
            }
        }
    }

    /// Gives it these proofs of identity, the strongest first, in place of those it has.
    pub fn set_keys(&mut self, keys: IdentityKeys) {
        (self.keys, self.is_similar_unmade) = (keys, false);
    }

    /// The keys that are made: all, or all but the last.
    pub(crate) fn made_keys(&self) -> &IdentityKeys {
        &self.keys
    }

    /// The same as [`keys`](Self::keys), made for good.
    pub(crate) fn make_keys(&mut self) -> &IdentityKeys {
        self.keys.extend(self.unmade_key());
        self.is_similar_unmade = false;
        &self.keys
    }

    /// Its last key is the similar one of its record, for [this process](KeyLife::InProcess), made only where it is looked for: most
    /// messages are found by a stronger one, or are compared with nothing.
    pub(crate) fn make_similar_later(&mut self) {
        self.is_similar_unmade = true;
    }

    pub(crate) fn is_similar_unmade(&self) -> bool {
        self.is_similar_unmade
    }

    fn unmade_key(&self) -> Option<IdentityKey> {
        if self.is_similar_unmade { self.record.similar_key() } else { None }
    }

    /// Adds a proof of identity, weaker than those before.
    #[must_use]
    pub fn key(mut self, key: IdentityKey) -> Self {
        self.make_keys();
        self.keys.push(key);
        self
    }

    /// Says whether durable subscriptions get it.
    #[must_use]
    pub fn feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// Puts it under this key in the timeline instead of at the end.
    ///
    /// Keys are microseconds since 1970 by convention ([`Place::order_of`]). Without one a message gets the key of its
    /// stamp, or if that is not above the conversation's highest, the highest plus one. For a page of an archive the
    /// caller gives keys that rise in the archive's order, from the key of the message before: stamps may be equal, and
    /// clocks may differ.
    #[must_use]
    pub fn at(mut self, order: i64) -> Self {
        self.order = Some(order);
        self
    }

    /// Adds a change of an extension's row that is made only if the message is new, so that a duplicate is not counted
    /// twice.
    #[must_use]
    pub fn when_new(mut self, change: RowChange) -> Self {
        self.when_new.push(change);
        self
    }
}

/// A message in the log. Cloning is cheap.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoggedMessage {
    /// Its name in the log; its `id` attribute is in the [record](MessageRecord::id).
    pub log_id: LogId,
    /// Its key in the timeline.
    pub order: i64,
    /// Whether durable subscriptions get it.
    pub feed: Feed,
    /// Where it stands in the feed; `None` unless [`feed`](Self::feed) is [`Feed::Deliver`].
    pub position: Option<Position>,
    /// Where its copies came from.
    pub copies: Copies,
    /// What is kept.
    pub record: Arc<MessageRecord>,
    /// What became of it, if it was sent here and the record is still there.
    pub status: Option<Arc<SendStatus>>,
}

impl LoggedMessage {
    /// A message in the log, for stores: history, until `feed` and `position` say more.
    #[must_use]
    pub fn new(log_id: LogId, order: i64, copies: Copies, record: Arc<MessageRecord>) -> Self {
        Self { log_id, order, feed: Feed::History, position: None, copies, record, status: None }
    }

    /// Its place in the timeline, from which [pages](super::MessageQuery) continue.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(self.order, self.log_id)
    }
}

impl Deref for LoggedMessage {
    type Target = MessageRecord;

    fn deref(&self) -> &MessageRecord {
        &self.record
    }
}

/// What stands at a position of the feed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FeedItem {
    /// A message.
    Message(LoggedMessage),
    /// A gap that is not filled yet.
    Gap {
        /// Where it stands.
        position: Position,
        /// What is known of it.
        gap: GapRecord,
    },
    /// Messages left the log before they were read here: a bounded store had no room for them.
    #[non_exhaustive]
    Lost {
        /// The first position that is gone.
        first: Position,
        /// The last position that is gone.
        last: Position,
    },
}

impl FeedItem {
    /// What a bounded store gives for positions that are gone.
    #[must_use]
    pub const fn lost(first: Position, last: Position) -> Self {
        Self::Lost { first, last }
    }

    /// Where it stands; the last position of what was lost. Reading goes on behind it.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            // A message in the feed has a position; START would only make the reader read again.
            Self::Message(message) => message.position.unwrap_or(Position::START),
            Self::Gap { position, .. } => *position,
            Self::Lost { last, .. } => *last,
        }
    }
}

/// Why messages may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapKind {
    /// The archive no longer knows the message from which the catch-up was to go on (R18).
    Expired,
    /// The catch-up failed.
    CatchUpFailed,
    /// A fresh session, and no archive to ask (R20).
    NoArchive,
}

impl GapKind {
    /// Its name, for stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::CatchUpFailed => "catch-up-failed",
            Self::NoArchive => "no-archive",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Expired, Self::CatchUpFailed, Self::NoArchive].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A gap in what was received, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GapRecord {
    /// Why.
    pub kind: GapKind,
    /// In which conversation; `None` where it may be any.
    pub conversation: Option<Jid>,
    /// The archive that may fill it.
    pub archive: Option<BareJid>,
    /// The archive id of the last message before the gap.
    pub after: Option<String>,
    /// The archive id of the first message behind the gap.
    pub before: Option<String>,
    /// From when.
    pub since: Option<SystemTime>,
    /// Until when.
    pub until: Option<SystemTime>,
}

impl GapRecord {
    /// A gap of which nothing else is known; fill in the other fields.
    #[must_use]
    pub fn new(kind: GapKind) -> Self {
        Self { kind, conversation: None, archive: None, after: None, before: None, since: None, until: None }
    }
}

/// How far a durable subscription has come (D11): all up to `through`, and some above.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Cursor {
    /// Everything up to here is acknowledged.
    pub through: Position,
    /// What is acknowledged above: rising, without repetition, at most [`MAX_ABOVE`](Self::MAX_ABOVE).
    pub above: Vec<Position>,
}

impl Cursor {
    /// The most positions that are kept above the acknowledged prefix.
    pub const MAX_ABOVE: usize = 1024;

    /// A cursor that has acknowledged all up to here.
    #[must_use]
    pub fn new(through: Position) -> Self {
        Self { through, above: Vec::new() }
    }

    /// Whether this position is acknowledged.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        position <= self.through || self.above.binary_search(&position).is_ok()
    }

    /// Acknowledges all up to `through`, and these positions above; what was acknowledged stays so. What
    /// [`Batch::acknowledge`](super::Batch::acknowledge) does, for stores.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Store`] if more than [`MAX_ABOVE`](Self::MAX_ABOVE) positions were above the prefix; the cursor is
    /// then unchanged.
    pub fn acknowledge(&mut self, through: Position, above: &[Position]) -> Result<()> {
        let through = self.through.max(through);
        let mut merged: Vec<Position> = self.above.iter().chain(above).copied().filter(|p| *p > through).collect();
        merged.sort_unstable();
        merged.dedup();
        if merged.len() > Self::MAX_ABOVE {
            let error = Error::new(ErrorKind::Store);
            return Err(error.with_context("a durable subscription's cursor holds too many positions above its prefix"));
        }
        (self.through, self.above) = (through, merged);
        Ok(())
    }
}

/// How far an archive has been fetched, without a gap (R18).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveCursor {
    /// The id of the newest message of the run: where a catch-up goes on.
    pub last: Option<String>,
    /// The id of the oldest message of the run: where history goes on backwards.
    pub first: Option<String>,
    /// Whether the run reaches back to the archive's first message.
    pub reached_start: bool,
    /// The time of the newest message of the run, to go on by time if its id has expired.
    pub stamp: SystemTime,
}

impl ArchiveCursor {
    /// A run that ends here; fill in the other fields.
    pub fn new(last: Option<String>, stamp: SystemTime) -> Self {
        Self { last, first: None, reached_start: false, stamp }
    }
}
