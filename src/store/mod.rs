//! What outlives a connection: accounts with typed areas, and one atomic way to change them.
//!
//! A [`Store`] holds accounts. [`Store::open_account`] gives one [`AccountStore`], exclusively (R24): it has reads by area,
//! and one write door, [`AccountStore::apply`], which takes a [`Batch`] of changes of any areas and makes all of them or
//! none (D1). A received message, its identity keys, the stream management count `h` and the rows that extensions derive
//! from it are one batch, so they stand or fall together even when the process is killed.
//!
//! There is always a store. [`MemoryStore`] is the default: bounded, and gone with the process
//! ([`Store::persistent`] is `false`). What the documentation promises "with a store" needs a persistent one:
//! `SqliteStore` (feature `sqlite`, or `sqlite-bundled`), or one of the application's own.
//!
//! | area | read by | changed by |
//! |---|---|---|
//! | message log | [`messages`](AccountStore::messages), [`message`](AccountStore::message), [`find`](AccountStore::find), [`messages_with_id`](AccountStore::messages_with_id), [`conversations`](AccountStore::conversations) | [`Batch::append`], [`Batch::set_flags`], [`Batch::set_content`], [`Batch::remove_message`], [`Batch::prune`] |
//! | feed: what durable subscriptions read | [`feed`](AccountStore::feed), [`feed_head`](AccountStore::feed_head) | [`Batch::append`], [`Batch::release`], [`Batch::gap`], [`Batch::fill_gap`] |
//! | cursors of durable subscriptions | [`cursor`](AccountStore::cursor), [`cursors`](AccountStore::cursors) | [`Batch::acknowledge`], [`Batch::remove_cursor`] |
//! | archive cursors | [`archive_cursor`](AccountStore::archive_cursor) | [`Batch::archive_cursor`], [`Batch::remove_archive_cursor`] |
//! | outbox, and what became of sent messages | [`outbox`](AccountStore::outbox), [`sent`](AccountStore::sent) | [`Batch::send`], [`Batch::update_sent`], [`Batch::forget_sent`] |
//! | session (XEP-0198) | [`session`](AccountStore::session), [`session_rows`](AccountStore::session_rows) | [`Batch::session`], [`Batch::handled`], [`Batch::put_session_row`], [`Batch::delete_session_row`], [`Batch::end_session`] |
//! | roster | [`roster`](AccountStore::roster) | [`Batch::replace_roster`], [`Batch::put_contact`], [`Batch::remove_contact`] |
//! | entity capabilities | [`caps`](AccountStore::caps) | [`Batch::put_caps`] |
//! | credentials | [`credential`](AccountStore::credential), [`credentials`](AccountStore::credentials) | [`Batch::put_credential`], [`Batch::delete_credential`] |
//! | rows of an extension | [`extension_row`](AccountStore::extension_row), [`extension_rows`](AccountStore::extension_rows), [`extension_schema`](AccountStore::extension_schema) | [`Batch::put`], [`Batch::delete`], [`Batch::delete_all`], [`Batch::schema`] |
//!
//! # An extension of your own
//!
//! Any extension, a foreign one too, has keyed rows under a namespace of its own, with a schema version of its own, in the
//! same atomic batches as everything else:
//!
//! ```
//! use xmppkit::store::{AccountStore, Batch, ExtensionRows, MemoryStore, Store};
//! # futures::executor::block_on(async {
//! let store = MemoryStore::new();
//! let account = store.open_account(&"juliet@capulet.example".parse()?).await?;
//!
//! const NOTES: &str = "urn:example:notes";
//! let notes = ExtensionRows::new(account.clone(), NOTES);
//! // Before use: bring what an earlier version of the extension left to the form of this one.
//! notes.migrate(2, |from, rows| {
//!     assert!(from < 2);
//!     Ok(rows.into_iter().map(|(key, value)| (format!("contact/{key}"), value)).collect())
//! }).await?;
//!
//! notes.put("contact/romeo@montague.example", "met at the ball").await?;
//! assert_eq!(notes.rows("contact/").await?.len(), 1);
//!
//! // Together or not at all: two rows, one here and one in a second namespace.
//! let batch = Batch::new()
//!     .delete(NOTES, "contact/romeo@montague.example")
//!     .put("urn:example:trash", "romeo@montague.example", "met at the ball");
//! account.apply(batch).await?;
//! assert_eq!(notes.get("contact/romeo@montague.example").await?, None);
//! # Ok::<(), xmppkit::Error>(()) }).unwrap();
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::BoxFuture;
use jid::{BareJid, Jid};

use crate::error::Result;

mod batch;
#[cfg(feature = "testing")]
pub mod conformance;
mod content;
pub mod credential;
mod encoding;
mod extension;
mod identity;
mod log;
mod memory;
mod outbox;
mod query;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;

mod stored_jid;
mod text;

pub use self::batch::{Appended, Applied, Batch, Change, RowChange};
pub(crate) use self::content::with_content;
pub use self::credential::Secret;
pub use self::extension::ExtensionRows;
pub(crate) use self::identity::KeyLife;
pub use self::identity::{IdentityKey, IdentityKeys};
pub use self::log::{
    ArchiveCursor, ArchiveId, Copies, Cursor, Direction, Feed, FeedItem, GapKind, GapRecord, LogId, LoggedMessage, MessageFlags,
    MessageKind, MessageRecord, NewMessage, Origin, Place, Position,
};
pub use self::memory::MemoryStore;
pub use self::outbox::{OutboxEntry, Receipt, SendFailure, SendStatus, SentUpdate};
pub use self::query::{Conversation, MessagePage, MessageQuery, PageFrom};
pub use self::session::{Roster, SessionRecord, StoredSession};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteOptions, SqliteStore, Synchronous};
pub use self::stored_jid::StoredJid;
pub use self::text::{StoredText, StoredXml};

/// The version of the alphabet of [`Change`]s, and of this module's contracts, that this release speaks.
///
/// It grows when a [`Change`] is added. See [`Store::version`].
pub const VERSION: u32 = 1;

/// A keyed row: its key and its value.
pub type Row = (String, Vec<u8>);

/// Where accounts are kept.
///
/// Implement it to keep everything in a database of your own; the suite behind `xmppkit::store_conformance!` (feature
/// `testing`) tells whether an implementation keeps the contract. Methods that later versions add to this trait and to
/// [`AccountStore`] have default bodies.
pub trait Store: Send + Sync + fmt::Debug {
    /// Whether what is written outlives the process.
    ///
    /// It must then outlive the death of the process at any moment (R55); whether it outlives the loss of power is up to
    /// the store, which says so in its documentation. A client keeps its session and its outbox only in such a store, and gives
    /// others [keys](IdentityKey) that mean something in this process alone; a store around another one answers as that does.
    fn persistent(&self) -> bool;

    /// The [`VERSION`] this store was written against. An implementation returns the number, not the constant: a newer
    /// release of this library then sees that the store does not know its newer changes.
    fn version(&self) -> u32;

    /// Opens an account, and creates it where there is none.
    ///
    /// The account is released when the last clone of what is returned is dropped, or the process dies.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StoreInUse`](crate::ErrorKind::StoreInUse) while it is open, here or in another process;
    /// [`ErrorKind::StoreTooNew`](crate::ErrorKind::StoreTooNew) when it was written by a newer release;
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) when the store fails.
    fn open_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<Arc<dyn AccountStore>>>;

    /// The accounts there are, sorted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) when the store fails.
    fn accounts(&self) -> BoxFuture<'_, Result<Vec<BareJid>>>;

    /// Deletes all that is kept of an account. An account that does not exist is no error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StoreInUse`](crate::ErrorKind::StoreInUse) while it is open;
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) when the store fails.
    fn delete_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<()>>;
}

/// One account's areas, open exclusively.
///
/// Times are kept to the microsecond at least. Names, keys and texts may hold any character but NUL.
///
/// Every read may fail with [`ErrorKind::Store`](crate::ErrorKind::Store). A read sees at least every batch whose
/// `apply` had resolved before the read was called. Dropping a read's future is harmless.
pub trait AccountStore: Send + Sync + fmt::Debug {
    /// Whose account this is.
    fn account(&self) -> &BareJid;

    /// Makes all changes of the batch, in their order, or none: the one write door.
    ///
    /// * A batch takes its place among the others when `apply` is *called*, not when its future is first polled: two
    ///   batches applied one after the other are made in that order, whichever future is awaited first.
    /// * It resolves when the batch is kept: where the store is [persistent](Store::persistent), the death of the process
    ///   no longer loses it. Only then may what depends on it (an `<a/>` with its `h`, R8) leave.
    /// * Cancel-safe: if the future is dropped, the batch is made wholly or not at all.
    ///
    /// # Errors
    ///
    /// Each leaves everything as it was, also what stands earlier in the batch:
    /// [`ErrorKind::StoreTooOld`](crate::ErrorKind::StoreTooOld) if the store does not know a [`Change`];
    /// [`ErrorKind::OutboxFull`](crate::ErrorKind::OutboxFull) if the store bounds its outbox and that is full;
    /// [`ErrorKind::DuplicateId`](crate::ErrorKind::DuplicateId) if a message is to be [sent](Batch::send) under an id
    /// that was used before; [`ErrorKind::Store`](crate::ErrorKind::Store) if a [cursor](Cursor) would hold more than
    /// [`Cursor::MAX_ABOVE`] positions, or when the store fails.
    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied>>;

    /// What durable subscriptions read: at most `limit` items behind `after`, in the order of their positions.
    ///
    /// Messages that are [held](Feed::Hold) or [history](Feed::History) are not among them. What left the log before it
    /// was read stands there as one [`FeedItem::Lost`]. An empty answer means that there is nothing behind `after`.
    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>>>;

    /// The highest position given so far; [`Position::START`] where there is none.
    fn feed_head(&self) -> BoxFuture<'_, Result<Position>>;

    /// A message by its place in the log.
    fn message(&self, id: LogId) -> BoxFuture<'_, Result<Option<LoggedMessage>>>;

    /// The message known under this [identity key](IdentityKey).
    ///
    /// Only [exact](IdentityKey::is_exact) keys are found by this.
    fn find<'a>(&'a self, key: &'a IdentityKey) -> BoxFuture<'a, Result<Option<LoggedMessage>>>;

    /// The messages of a conversation whose `id` attribute, origin-id or archive id is this, oldest first.
    ///
    /// For references (corrections, reactions, replies, markers): several senders may use one id, so the caller checks
    /// which of them may be meant.
    fn messages_with_id<'a>(&'a self, conversation: &'a Jid, id: &'a str) -> BoxFuture<'a, Result<Vec<LoggedMessage>>>;

    /// One page of messages in timeline order; see [`MessageQuery`].
    fn messages<'a>(&'a self, query: &'a MessageQuery) -> BoxFuture<'a, Result<MessagePage>>;

    /// The conversations that have something to read ([`MessageRecord::is_readable`]) in the log, the one with the newest
    /// such message (by [`Place`]) first: at most `limit`, of those whose newest stands before `after`.
    fn conversations(&self, after: Option<Place>, limit: usize) -> BoxFuture<'_, Result<Vec<Conversation>>>;

    /// The cursor of a durable subscription, or `None` where the name is new.
    fn cursor<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>>>;

    /// All durable subscriptions' cursors, sorted by name.
    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(String, Cursor)>>>;

    /// How far the archive of this address (the own account's, or a room's) has been fetched.
    fn archive_cursor<'a>(&'a self, archive: &'a BareJid) -> BoxFuture<'a, Result<Option<ArchiveCursor>>>;

    /// The gaps that are still open, in feed order.
    fn gaps(&self) -> BoxFuture<'_, Result<Vec<(Position, GapRecord)>>>;

    /// Messages still to be sent or acknowledged, in the order they were accepted: at most `limit` behind `after`
    /// (an [`OutboxEntry::place`]; 0 is the start).
    fn outbox(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxEntry>>>;

    /// The record of a message that was sent, or is to be sent, under this `id`.
    ///
    /// A store that is not persistent may forget settled ones, the oldest first.
    fn sent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<OutboxEntry>>>;

    /// The session that may be resumed, if one is kept.
    fn session(&self) -> BoxFuture<'_, Result<Option<StoredSession>>>;

    /// The rows of a namespace that live as long as the session, sorted by key: those whose key begins with `prefix`.
    fn session_rows<'a>(&'a self, namespace: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Row>>>;

    /// The roster with its version; empty and without version where none was ever stored.
    fn roster(&self) -> BoxFuture<'_, Result<Roster>>;

    /// What is kept under this key of entity capabilities (XEP-0115), with the time it was put there.
    ///
    /// It is a cache: a store may drop any of it.
    fn caps<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(StoredXml, SystemTime)>>>;

    /// A secret by its name; see [`credential`].
    fn credential<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Secret>>>;

    /// The secrets whose names begin with `prefix`, sorted by name.
    fn credentials<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Secret)>>>;

    /// The value of one row in an extension's namespace.
    fn extension_row<'a>(&'a self, namespace: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// The rows of an extension's namespace whose keys begin with `prefix`, sorted by key (by bytes): at most `limit`
    /// behind the key `after`.
    fn extension_rows<'a>(
        &'a self,
        namespace: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>>>;

    /// The schema version an extension gave its namespace; 0 where it never did.
    fn extension_schema<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<u32>>;
}
