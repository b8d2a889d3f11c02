//! The atomic batch: what can be changed, and what a store answers.

use std::sync::Arc;
use std::time::SystemTime;

use jid::{BareJid, Jid};

use super::{
    ArchiveCursor, Feed, GapRecord, LogId, MessageFlags, NewMessage, OutboxEntry, Position, Secret, SentUpdate, SessionRecord,
    StoredText, StoredXml,
};

/// Changes that are made together or not at all, in this order; see [`AccountStore::apply`](super::AccountStore::apply).
///
/// ```
/// use std::time::SystemTime;
/// use xmppkit::store::{Batch, Direction, MessageRecord, NewMessage, Origin};
/// let now = SystemTime::now();
/// let romeo: xmppkit::jid::BareJid = "romeo@montague.example".parse()?;
/// let record = MessageRecord::new(romeo, Direction::Incoming, "<message xmlns='jabber:client'/>", now);
/// let batch = Batch::new()
///     .append(NewMessage::new(record, Origin::Live))
///     .handled(17, Vec::new(), now)
///     .put("urn:example:stats", "messages", "1");
/// assert_eq!(batch.changes().len(), 3);
/// # Ok::<(), xmppkit::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: Vec<Change>,
}

/// One change. What it means stands at the method of [`Batch`] that adds it.
///
/// A variant's fields are never given more that must be kept: that becomes a new variant. So a store that knows a variant
/// keeps all of it, and one that does not answers [`ErrorKind::StoreTooOld`](crate::ErrorKind::StoreTooOld).
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly all that are many are messages, and a batch is one piece of memory")]
pub enum Change {
    /// [`Batch::append`].
    Append(NewMessage),
    /// [`Batch::set_flags`].
    #[non_exhaustive]
    SetFlags {
        /// Which message.
        id: LogId,
        /// The marks to set.
        set: MessageFlags,
        /// The marks to clear.
        clear: MessageFlags,
    },
    /// [`Batch::set_content`].
    #[non_exhaustive]
    SetContent {
        /// Which message.
        id: LogId,
        /// The stanza that takes its place.
        xml: StoredXml,
        /// The text that takes its place.
        text: Option<StoredText>,
    },
    /// [`Batch::remove_message`].
    RemoveMessage(LogId),
    /// [`Batch::prune`].
    Prune(SystemTime),
    /// [`Batch::release`].
    Release(Option<Jid>),
    /// [`Batch::gap`].
    Gap(Box<GapRecord>),
    /// [`Batch::fill_gap`].
    FillGap(Position),
    /// [`Batch::acknowledge`].
    #[non_exhaustive]
    Acknowledge {
        /// The durable subscription's name.
        name: Arc<str>,
        /// The prefix.
        through: Position,
        /// Positions above it.
        above: Vec<Position>,
    },
    /// [`Batch::remove_cursor`].
    RemoveCursor(Arc<str>),
    /// [`Batch::archive_cursor`].
    ArchiveCursor(BareJid, ArchiveCursor),
    /// [`Batch::remove_archive_cursor`].
    RemoveArchiveCursor(BareJid),
    /// [`Batch::send`].
    Send(Box<OutboxEntry>),
    /// [`Batch::update_sent`].
    UpdateSent(Box<SentUpdate>),
    /// [`Batch::forget_sent`].
    ForgetSent(String),
    /// [`Batch::session`].
    #[non_exhaustive]
    Session {
        /// The session.
        record: Box<SessionRecord>,
        /// When it began.
        now: SystemTime,
    },
    /// [`Batch::handled`].
    #[non_exhaustive]
    Handled {
        /// The count.
        h: u32,
        /// Numbers above it.
        above: Vec<u32>,
        /// When.
        now: SystemTime,
    },
    /// [`Batch::put_session_row`], [`Batch::delete_session_row`].
    SessionRow(RowChange),
    /// [`Batch::forget_numbers`].
    ForgetNumbers,
    /// [`Batch::end_session`].
    EndSession,
    /// [`Batch::replace_roster`].
    #[non_exhaustive]
    ReplaceRoster {
        /// The new version.
        version: Option<String>,
        /// All contacts.
        items: Vec<(BareJid, StoredXml)>,
    },
    /// [`Batch::put_contact`].
    #[non_exhaustive]
    PutContact {
        /// The contact.
        jid: BareJid,
        /// Its `<item/>`.
        item: StoredXml,
        /// The roster's new version.
        version: Option<String>,
    },
    /// [`Batch::remove_contact`].
    #[non_exhaustive]
    RemoveContact {
        /// The contact.
        jid: BareJid,
        /// The roster's new version.
        version: Option<String>,
    },
    /// [`Batch::put_caps`].
    #[non_exhaustive]
    PutCaps {
        /// The key.
        key: String,
        /// What the hash stands for.
        info: StoredXml,
        /// When it was learnt.
        now: SystemTime,
    },
    /// [`Batch::put_credential`].
    #[non_exhaustive]
    PutCredential {
        /// Its name.
        name: String,
        /// The secret.
        secret: Secret,
    },
    /// [`Batch::delete_credential`].
    DeleteCredential(String),
    /// [`Batch::put`], [`Batch::delete`].
    Row(RowChange),
    /// [`Batch::delete_all`].
    #[non_exhaustive]
    DeleteRows {
        /// The namespace.
        namespace: Arc<str>,
        /// What the keys begin with.
        prefix: String,
    },
    /// [`Batch::schema`].
    #[non_exhaustive]
    Schema {
        /// The namespace.
        namespace: Arc<str>,
        /// The version of its rows.
        version: u32,
    },
    /// A change that no store knows: the conformance suite sees by it that unknown changes are refused.
    #[doc(hidden)]
    Unknown,
}

/// A change of one keyed row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowChange {
    /// Whose row: by convention the extension's XML namespace.
    pub namespace: Arc<str>,
    /// Its key.
    pub key: String,
    /// Its new value; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

impl RowChange {
    /// Puts a row, in the place of one with the same key.
    pub fn put(namespace: impl Into<Arc<str>>, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { namespace: namespace.into(), key: key.into(), value: Some(value.into()) }
    }

    /// Deletes a row; one that is not there is no error.
    pub fn delete(namespace: impl Into<Arc<str>>, key: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), key: key.into(), value: None }
    }
}

impl Batch {
    /// A batch without changes; applying it changes nothing and succeeds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_room_for(changes: usize) -> Self {
        Self { changes: Vec::with_capacity(changes) }
    }

    /// The changes, in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The changes, in order, for stores. The keys of its messages are made: a record may be changed before it is kept.
    #[must_use]
    pub fn into_changes(mut self) -> Vec<Change> {
        for change in &mut self.changes {
            if let Change::Append(message) = change {
                message.make_keys();
            }
        }
        self.changes
    }

    /// The same, with keys that are made later left for later.
    pub(super) fn into_changes_as_they_are(self) -> Vec<Change> {
        self.changes
    }

    /// Whether there is no change in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds a change at the end.
    pub fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Adds the changes of another batch at the end.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.changes.extend(other.changes);
        self
    }

    /// Appends a message to the log, unless it is known.
    ///
    /// It is known if one of its [keys](NewMessage::keys), tried in their order, belongs to a message: an
    /// [exact](super::IdentityKey::is_exact) key that is equal, or a similar one for which
    /// [`similar_match`](super::IdentityKey::similar_match) holds as well. The first key that does decides; of several
    /// messages under one similar key the oldest that matches is taken.
    ///
    /// * A new message gets the next [`LogId`], and the next [`Position`] if its [`feed`](NewMessage::feed) is
    ///   [`Feed::Deliver`](super::Feed::Deliver). Its keys become known, and [`when_new`](NewMessage::when_new) is done.
    /// * A known one takes from the copy what it lacks: keys that are not known yet, archive ids, the place it came from,
    ///   marks, `origin_id`. Its feed rises if the copy's is more; a held message or history that rises to `Deliver` gets
    ///   its position now. Everything else stays as the first copy had it.
    /// * Keys stay known after the message was removed: a copy is then a duplicate without a message. A store that is
    ///   not persistent may forget the keys of what left its log long ago.
    ///
    /// [`Applied::appended`] says which it was.
    #[must_use]
    pub fn append(self, message: NewMessage) -> Self {
        self.with(Change::Append(message))
    }

    /// Sets and clears marks of a message. One that is not there is no error.
    #[must_use]
    pub fn set_flags(self, id: LogId, set: MessageFlags, clear: MessageFlags) -> Self {
        self.with(Change::SetFlags { id, set, clear })
    }

    /// Puts another stanza and text in the place of a message's: when it was taken back, or could be decrypted at last.
    /// One that is not there is no error.
    #[must_use]
    pub fn set_content(self, id: LogId, xml: impl Into<StoredXml>, text: Option<StoredText>) -> Self {
        self.with(Change::SetContent { id, xml: xml.into(), text })
    }

    /// Removes a message from log and feed, because its user wants it gone: not a loss. One that is not there is no
    /// error. Its keys stay known, so that no archive brings it back.
    #[must_use]
    pub fn remove_message(self, id: LogId) -> Self {
        self.with(Change::RemoveMessage(id))
    }

    /// Removes the messages that were received before this time, except held ones. What durable subscriptions had not
    /// read becomes [`FeedItem::Lost`](super::FeedItem::Lost). Keys stay known.
    #[must_use]
    pub fn prune(self, received_before: SystemTime) -> Self {
        self.with(Change::Prune(received_before))
    }

    /// Gives the held messages of this conversation, or of all, their positions, in the order they were appended (R16).
    #[must_use]
    pub fn release(self, conversation: Option<Jid>) -> Self {
        self.with(Change::Release(conversation))
    }

    /// Notes a gap at the end of the feed; [`Applied::gaps`] has its position.
    #[must_use]
    pub fn gap(self, gap: GapRecord) -> Self {
        self.with(Change::Gap(Box::new(gap)))
    }

    /// Takes a gap out of the feed: it was filled, or will never be. One that is not there is no error.
    #[must_use]
    pub fn fill_gap(self, position: Position) -> Self {
        self.with(Change::FillGap(position))
    }

    /// Moves a durable subscription's cursor: all up to `through` is acknowledged, and each of `above` (D11). It never
    /// moves back, and what was acknowledged stays so; a name that is new gets a cursor. See [`Cursor`](super::Cursor)
    /// for the bound.
    #[must_use]
    pub fn acknowledge(self, name: impl Into<Arc<str>>, through: Position, above: Vec<Position>) -> Self {
        self.with(Change::Acknowledge { name: name.into(), through, above })
    }

    /// Forgets a durable subscription. One that is not there is no error.
    #[must_use]
    pub fn remove_cursor(self, name: impl Into<Arc<str>>) -> Self {
        self.with(Change::RemoveCursor(name.into()))
    }

    /// Notes how far an archive has been fetched (R18), in the batch that stores the page.
    #[must_use]
    pub fn archive_cursor(self, archive: BareJid, cursor: ArchiveCursor) -> Self {
        self.with(Change::ArchiveCursor(archive, cursor))
    }

    /// Forgets how far an archive has been fetched.
    #[must_use]
    pub fn remove_archive_cursor(self, archive: BareJid) -> Self {
        self.with(Change::RemoveArchiveCursor(archive))
    }

    /// Puts a message at the end of the outbox.
    ///
    /// An id that the outbox, or the record of a settled message, has already makes the batch fail with
    /// [`ErrorKind::DuplicateId`](crate::ErrorKind::DuplicateId).
    #[must_use]
    pub fn send(self, entry: OutboxEntry) -> Self {
        self.with(Change::Send(Box::new(entry)))
    }

    /// Adds to the record of a sent message (R23): fields of its status that are set stay as they are, the number and
    /// the archive id are replaced if given. A settled one leaves the queue, keeps its record, and is never unsettled.
    /// One that is not there is no error.
    #[must_use]
    pub fn update_sent(self, update: SentUpdate) -> Self {
        self.with(Change::UpdateSent(Box::new(update)))
    }

    /// Takes a message out of the outbox and forgets its record. One that is not there is no error.
    #[must_use]
    pub fn forget_sent(self, id: impl Into<String>) -> Self {
        self.with(Change::ForgetSent(id.into()))
    }

    /// Begins a session, in the place of the one that was kept: what [`end_session`](Self::end_session) does comes first.
    /// Its `h` is 0.
    #[must_use]
    pub fn session(self, record: SessionRecord, now: SystemTime) -> Self {
        self.with(Change::Session { record: Box::new(record), now })
    }

    /// Replaces the inbound count of the session, the numbers above it that are taken over already, and the time of the
    /// last contact (R3, R8). Without a session it changes nothing.
    #[must_use]
    pub fn handled(self, h: u32, above: Vec<u32>, now: SystemTime) -> Self {
        self.with(Change::Handled { h, above, now })
    }

    /// Puts a row that lives as long as the session: presence, rooms, what is switched on (R9). An extension's session
    /// rows and its [rows](Self::put) are apart.
    #[must_use]
    pub fn put_session_row(self, namespace: impl Into<Arc<str>>, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.with(Change::SessionRow(RowChange::put(namespace, key, value)))
    }

    /// Deletes a row that lives as long as the session. One that is not there is no error.
    #[must_use]
    pub fn delete_session_row(self, namespace: impl Into<Arc<str>>, key: impl Into<String>) -> Self {
        self.with(Change::SessionRow(RowChange::delete(namespace, key)))
    }

    /// The session was resumed by another process, which numbers what it sends anew (R8): forgets the numbers of the messages in
    /// the outbox.
    #[must_use]
    pub fn forget_numbers(self) -> Self {
        self.with(Change::ForgetNumbers)
    }

    /// The session is over: forgets it, its rows, and the numbers of the messages in the outbox.
    #[must_use]
    pub fn end_session(self) -> Self {
        self.with(Change::EndSession)
    }

    /// Replaces the roster and its version.
    #[must_use]
    pub fn replace_roster(self, version: Option<String>, items: Vec<(BareJid, StoredXml)>) -> Self {
        self.with(Change::ReplaceRoster { version, items })
    }

    /// Puts a contact, in the place of the one with the same JID; a version, if given, replaces the roster's.
    #[must_use]
    pub fn put_contact(self, jid: BareJid, item: impl Into<StoredXml>, version: Option<String>) -> Self {
        self.with(Change::PutContact { jid, item: item.into(), version })
    }

    /// Removes a contact; a version, if given, replaces the roster's. One that is not there is no error.
    #[must_use]
    pub fn remove_contact(self, jid: BareJid, version: Option<String>) -> Self {
        self.with(Change::RemoveContact { jid, version })
    }

    /// Keeps what a hash of entity capabilities stands for, once it was verified (XEP-0115).
    #[must_use]
    pub fn put_caps(self, key: impl Into<String>, info: impl Into<StoredXml>, now: SystemTime) -> Self {
        self.with(Change::PutCaps { key: key.into(), info: info.into(), now })
    }

    /// Keeps a secret, in the place of the one with the same name; see [`credential`](super::credential) for names.
    #[must_use]
    pub fn put_credential(self, name: impl Into<String>, secret: Secret) -> Self {
        self.with(Change::PutCredential { name: name.into(), secret })
    }

    /// Deletes a secret. One that is not there is no error.
    #[must_use]
    pub fn delete_credential(self, name: impl Into<String>) -> Self {
        self.with(Change::DeleteCredential(name.into()))
    }

    /// Puts a row in an extension's namespace, in the place of one with the same key.
    #[must_use]
    pub fn put(self, namespace: impl Into<Arc<str>>, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.with(Change::Row(RowChange::put(namespace, key, value)))
    }

    /// Deletes a row of an extension's namespace. One that is not there is no error.
    #[must_use]
    pub fn delete(self, namespace: impl Into<Arc<str>>, key: impl Into<String>) -> Self {
        self.with(Change::Row(RowChange::delete(namespace, key)))
    }

    /// Deletes the rows of an extension's namespace whose keys begin with `prefix`; all for an empty one. The schema
    /// version stays.
    #[must_use]
    pub fn delete_all(self, namespace: impl Into<Arc<str>>, prefix: impl Into<String>) -> Self {
        self.with(Change::DeleteRows { namespace: namespace.into(), prefix: prefix.into() })
    }

    /// Notes the schema version of an extension's namespace, in the batch that brings its rows there.
    #[must_use]
    pub fn schema(self, namespace: impl Into<Arc<str>>, version: u32) -> Self {
        self.with(Change::Schema { namespace: namespace.into(), version })
    }

    fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}

impl From<RowChange> for Change {
    fn from(row: RowChange) -> Self {
        Self::Row(row)
    }
}

impl Extend<Change> for Batch {
    fn extend<I: IntoIterator<Item = Change>>(&mut self, changes: I) {
        self.changes.extend(changes);
    }
}

impl FromIterator<Change> for Batch {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self { changes: changes.into_iter().collect() }
    }
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Applied {
    /// What became of each message that was to be appended, in the batch's order.
    pub appended: Vec<Appended>,
    /// The positions of the gaps that were noted, in the batch's order.
    pub gaps: Vec<Position>,
    /// The feed's head after the batch: where it rose, there is something new for durable subscriptions.
    pub head: Position,
}

impl Applied {
    /// A batch that appended nothing, for stores.
    #[must_use]
    pub fn new(head: Position) -> Self {
        Self { appended: Vec::new(), gaps: Vec::new(), head }
    }
}

/// What became of a message that was to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// Its name in the log; of a duplicate, the name of the message it is a copy of (which may have been removed).
    pub id: LogId,
    /// Where it stands in the feed, if it does.
    pub position: Option<Position>,
    /// Whether it was known already.
    pub duplicate: bool,
    /// Of a duplicate whose message is in the log: whether durable subscriptions got it before this copy came. History that
    /// a copy raised to [`Feed::Deliver`] is news.
    pub known_feed: Option<Feed>,
}

impl Appended {
    /// For stores.
    #[must_use]
    pub const fn new(id: LogId, position: Option<Position>, duplicate: bool) -> Self {
        Self { id, position, duplicate, known_feed: None }
    }

    /// For stores: what the feed of the message was before this copy.
    #[must_use]
    pub const fn known_as(mut self, feed: Feed) -> Self {
        self.known_feed = Some(feed);
        self
    }

    /// Whether subscribers hear of the message by this copy, which came with this feed, for the first time: it is new, or was
    /// history so far.
    #[must_use]
    pub fn is_news(&self, feed: Feed) -> bool {
        !self.duplicate || (self.known_feed == Some(Feed::History) && feed > Feed::History)
    }
}
