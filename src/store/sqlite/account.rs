//! One account of a file.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jid::{BareJid, Jid};

use super::apply;
use super::failure::Outcome;
use super::file::Lock;
use super::read::Reading;
use super::thread::Threads;
use super::{log, page, sent};
use crate::error::Result;
use crate::store::{
    AccountStore, Applied, ArchiveCursor, Batch, Conversation, Cursor, FeedItem, GapRecord, IdentityKey, LogId, LoggedMessage,
    MessagePage, MessageQuery, OutboxEntry, Place, Position, Roster, Row, Secret, StoredSession, StoredXml,
};

pub(super) struct SqliteAccount {
    pub(super) jid: BareJid,
    pub(super) account: i64,
    pub(super) threads: Threads,
    pub(super) lock: Arc<Lock>,
}

impl SqliteAccount {
    /// Reads on a thread for it. The call is made at once, and needs nothing of `self` any more.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reading<'_>) -> Outcome<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let account = self.account;
        self.threads.read(move |connection| read(&Reading { connection, account })).boxed()
    }
}

impl fmt::Debug for SqliteAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteAccount").field("path", &self.threads.path()).field("jid", &self.jid).finish_non_exhaustive()
    }
}

impl AccountStore for SqliteAccount {
    fn account(&self) -> &BareJid {
        &self.jid
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied>> {
        self.threads.apply(self.account, batch, self.lock.clone()).boxed()
    }

    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>>> {
        self.read(move |reading| reading.feed(after, limit))
    }

    fn feed_head(&self) -> BoxFuture<'_, Result<Position>> {
        self.read(|reading| Ok(Position::new(apply::head(reading.connection, reading.account)?.unsigned_abs())))
    }

    fn message(&self, id: LogId) -> BoxFuture<'_, Result<Option<LoggedMessage>>> {
        self.read(move |reading| reading.message(apply::int(id.get())))
    }

    fn find<'a>(&'a self, key: &'a IdentityKey) -> BoxFuture<'a, Result<Option<LoggedMessage>>> {
        let key = *key;
        self.read(move |reading| {
            let found = if key.is_exact() { log::find(reading.connection, reading.account, &key)? } else { None };
            found.map_or(Ok(None), |id| reading.message(id))
        })
    }

    fn messages_with_id<'a>(&'a self, conversation: &'a Jid, id: &'a str) -> BoxFuture<'a, Result<Vec<LoggedMessage>>> {
        let (conversation, id) = (conversation.clone(), id.to_owned());
        self.read(move |reading| reading.messages_with_id(&conversation, &id))
    }

    fn messages<'a>(&'a self, query: &'a MessageQuery) -> BoxFuture<'a, Result<MessagePage>> {
        let query = query.clone();
        self.read(move |reading| page::page(reading.connection, reading.account, &query))
    }

    fn conversations(&self, after: Option<Place>, limit: usize) -> BoxFuture<'_, Result<Vec<Conversation>>> {
        self.read(move |reading| reading.conversations(after, limit))
    }

    fn cursor<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>>> {
        let name = name.to_owned();
        self.read(move |reading| apply::cursor(reading.connection, reading.account, &name))
    }

    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(String, Cursor)>>> {
        self.read(|reading| reading.cursors())
    }

    fn archive_cursor<'a>(&'a self, archive: &'a BareJid) -> BoxFuture<'a, Result<Option<ArchiveCursor>>> {
        let archive = archive.clone();
        self.read(move |reading| reading.archive_cursor(&archive))
    }

    fn gaps(&self) -> BoxFuture<'_, Result<Vec<(Position, GapRecord)>>> {
        self.read(|reading| reading.gaps(0, usize::MAX))
    }

    fn outbox(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxEntry>>> {
        self.read(move |reading| sent::queued(reading.connection, reading.account, after, limit))
    }

    fn sent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<OutboxEntry>>> {
        let id = id.to_owned();
        self.read(move |reading| sent::sent(reading.connection, reading.account, &id))
    }

    fn session(&self) -> BoxFuture<'_, Result<Option<StoredSession>>> {
        self.read(|reading| reading.session())
    }

    fn session_rows<'a>(&'a self, namespace: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Row>>> {
        let (namespace, prefix) = (namespace.to_owned(), prefix.to_owned());
        self.read(move |reading| reading.session_rows(&namespace, &prefix))
    }

    fn roster(&self) -> BoxFuture<'_, Result<Roster>> {
        self.read(|reading| reading.roster())
    }

    fn caps<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(StoredXml, SystemTime)>>> {
        let key = key.to_owned();
        self.read(move |reading| reading.caps(&key))
    }

    fn credential<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Secret>>> {
        let name = name.to_owned();
        self.read(move |reading| reading.credential(&name))
    }

    fn credentials<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Secret)>>> {
        let prefix = prefix.to_owned();
        self.read(move |reading| reading.credentials(&prefix))
    }

    fn extension_row<'a>(&'a self, namespace: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.read(move |reading| reading.extension_row(&namespace, &key))
    }

    fn extension_rows<'a>(
        &'a self,
        namespace: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>>> {
        let (namespace, prefix, after) = (namespace.to_owned(), prefix.to_owned(), after.map(str::to_owned));
        self.read(move |reading| reading.extension_rows(&namespace, &prefix, after.as_deref(), limit))
    }

    fn extension_schema<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<u32>> {
        let namespace = namespace.to_owned();
        self.read(move |reading| reading.extension_schema(&namespace))
    }
}
