//! The default store: bounded, and gone with the process.

use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use jid::{BareJid, Jid};

use self::areas::Areas;
use self::small::SmallMap;
use super::{
    AccountStore, Applied, ArchiveCursor, Batch, Conversation, Cursor, FeedItem, GapRecord, IdentityKey, LogId, LoggedMessage,
    MessagePage, MessageQuery, OutboxEntry, Place, Position, Roster, Row, Secret, Store, StoredSession, StoredXml,
};
use crate::error::{Error, ErrorKind, Result};

mod areas;
mod known;
mod log;
mod outbox;
mod packed;
mod small;
mod sorted;

#[cfg(test)]
mod tests;

/// Keeps accounts in memory, within bounds: the default store.
///
/// Accounts last as long as the value or a clone of it; opening one again continues it. It is not
/// [persistent](Store::persistent).
///
/// What is bounded: the message log and the gaps in it, by count and by bytes, the oldest leave first; the outbox, which
/// refuses what is too much with [`ErrorKind::OutboxFull`]; the records of settled messages, by as many as the log may
/// hold; the identity keys of messages that left the log, likewise (the [similar](IdentityKey::similar) ones of those that had text and
/// no exact key, and of others if such keys were looked for before they left); capabilities, to 1,000. Rows of
/// extensions, roster and credentials are as many as their owners put there.
///
/// Every call is done when it returns: no task, no waiting but for a short lock.
///
/// ```
/// use xmppkit::store::{Batch, MemoryStore, Store};
/// # futures::executor::block_on(async {
/// let store = MemoryStore::new().max_messages(1_000).max_bytes(1 << 20);
/// let account = store.open_account(&"juliet@capulet.example".parse()?).await?;
/// account.apply(Batch::new().put("urn:example:app", "theme", "dark")).await?;
/// assert_eq!(account.extension_row("urn:example:app", "theme").await?.as_deref(), Some(&b"dark"[..]));
/// # Ok::<(), xmppkit::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    accounts: Arc<Mutex<SmallMap<BareJid, Slot>>>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    log_messages: usize,
    log_bytes: usize,
    outbox_messages: usize,
    outbox_bytes: usize,
}

struct Slot {
    areas: Arc<Mutex<Areas>>,
    open: bool,
}

struct MemoryAccount {
    jid: BareJid,
    areas: Arc<Mutex<Areas>>,
    store: MemoryStore,
}

impl MemoryStore {
    /// An empty store with the default bounds: a log of 10,000 messages and 16 MiB, an outbox of 1,000 messages and
    /// 8 MiB, per account.
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits { log_messages: 10_000, log_bytes: 16 << 20, outbox_messages: 1_000, outbox_bytes: 8 << 20 };
        Self { accounts: Arc::default(), limits }
    }

    /// Bounds each account's message log to this many messages. Accounts that exist keep their bounds.
    #[must_use]
    pub fn max_messages(mut self, messages: usize) -> Self {
        self.limits.log_messages = messages;
        self
    }

    /// Bounds each account's message log to this many bytes, of text and overhead. Accounts that exist keep their bounds.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.log_bytes = bytes;
        self
    }

    /// Bounds each account's outbox. Accounts that exist keep their bounds.
    #[must_use]
    pub fn max_outbox(mut self, messages: usize, bytes: usize) -> Self {
        self.limits.outbox_messages = messages;
        self.limits.outbox_bytes = bytes;
        self
    }

    fn open(&self, account: &BareJid) -> Result<Arc<dyn AccountStore>> {
        let mut accounts = lock(&self.accounts);
        let areas = match accounts.get_mut(account) {
            Some(slot) if slot.open => return Err(Error::new(ErrorKind::StoreInUse).with_context(account.to_string())),
            Some(slot) => {
                slot.open = true;
                Arc::clone(&slot.areas)
            }
            None => {
                let areas = Arc::new(Mutex::new(Areas::new(self.limits)));
                accounts.insert(account.clone(), Slot { areas: Arc::clone(&areas), open: true });
                areas
            }
        };
        Ok(Arc::new(MemoryAccount { jid: account.clone(), areas, store: self.clone() }))
    }

    fn delete(&self, account: &BareJid) -> Result<()> {
        let mut accounts = lock(&self.accounts);
        if accounts.get(account).is_some_and(|slot| slot.open) {
            return Err(Error::new(ErrorKind::StoreInUse).with_context(account.to_string()));
        }
        accounts.remove(account);
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn persistent(&self) -> bool {
        false
    }

    fn version(&self) -> u32 {
        1
    }

    fn open_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<Arc<dyn AccountStore>>> {
        ready(self.open(account)).boxed()
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<BareJid>>> {
        let accounts: Vec<_> = lock(&self.accounts).range::<BareJid>(Bound::Unbounded).map(|(jid, _)| jid.clone()).collect();
        done(accounts)
    }

    fn delete_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<()>> {
        ready(self.delete(account)).boxed()
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        if let Some(slot) = lock(&self.store.accounts).get_mut(&self.jid) {
            slot.open = false;
        }
    }
}

impl fmt::Debug for MemoryAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAccount").field("jid", &self.jid).finish_non_exhaustive()
    }
}

impl MemoryAccount {
    fn areas(&self) -> MutexGuard<'_, Areas> {
        lock(&self.areas)
    }
}

/// Nothing of ours panics while it holds a lock, and a batch is checked before its first change is made, so what a
/// poisoned lock guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn done<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T>> {
    ready(Ok(value)).boxed()
}

impl AccountStore for MemoryAccount {
    fn account(&self) -> &BareJid {
        &self.jid
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied>> {
        ready(self.areas().apply(batch)).boxed()
    }

    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>>> {
        let areas = self.areas();
        done(areas.log.feed(after, limit, &areas.outbox))
    }

    fn feed_head(&self) -> BoxFuture<'_, Result<Position>> {
        done(self.areas().log.head())
    }

    fn message(&self, id: LogId) -> BoxFuture<'_, Result<Option<LoggedMessage>>> {
        let areas = self.areas();
        done(areas.log.get(id, &areas.outbox))
    }

    fn find<'a>(&'a self, key: &'a IdentityKey) -> BoxFuture<'a, Result<Option<LoggedMessage>>> {
        let areas = self.areas();
        done(areas.log.find(key).and_then(|id| areas.log.get(id, &areas.outbox)))
    }

    fn messages_with_id<'a>(&'a self, conversation: &'a Jid, id: &'a str) -> BoxFuture<'a, Result<Vec<LoggedMessage>>> {
        let areas = self.areas();
        done(areas.log.with_id(conversation, id, &areas.outbox))
    }

    fn messages<'a>(&'a self, query: &'a MessageQuery) -> BoxFuture<'a, Result<MessagePage>> {
        let areas = self.areas();
        done(areas.log.page(query, &areas.outbox))
    }

    fn conversations(&self, after: Option<Place>, limit: usize) -> BoxFuture<'_, Result<Vec<Conversation>>> {
        let areas = self.areas();
        done(areas.log.conversations(after, limit, &areas.outbox))
    }

    fn cursor<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>>> {
        done(self.areas().cursors.get(name).cloned())
    }

    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(String, Cursor)>>> {
        done(self.areas().cursors.iter().map(|(name, cursor)| (name.to_string(), cursor.clone())).collect())
    }

    fn archive_cursor<'a>(&'a self, archive: &'a BareJid) -> BoxFuture<'a, Result<Option<ArchiveCursor>>> {
        done(self.areas().archives.get(archive).cloned())
    }

    fn gaps(&self) -> BoxFuture<'_, Result<Vec<(Position, GapRecord)>>> {
        done(self.areas().log.gaps())
    }

    fn outbox(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxEntry>>> {
        done(self.areas().outbox.queued(after, limit))
    }

    fn sent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<OutboxEntry>>> {
        done(self.areas().outbox.get(id).cloned())
    }

    fn session(&self) -> BoxFuture<'_, Result<Option<StoredSession>>> {
        done(self.areas().session.clone())
    }

    fn session_rows<'a>(&'a self, namespace: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Row>>> {
        done(self.areas().session_rows.page(namespace, prefix, None, usize::MAX))
    }

    fn roster(&self) -> BoxFuture<'_, Result<Roster>> {
        done(self.areas().roster())
    }

    fn caps<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(StoredXml, SystemTime)>>> {
        done(self.areas().caps.get(key).cloned())
    }

    fn credential<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Secret>>> {
        done(self.areas().credentials.get(name).cloned())
    }

    fn credentials<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Secret)>>> {
        let areas = self.areas();
        let begins = areas.credentials.range(Bound::Included(prefix)).take_while(|(name, _)| name.starts_with(prefix));
        done(begins.map(|(name, secret)| (name.clone(), secret.clone())).collect())
    }

    fn extension_row<'a>(&'a self, namespace: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        done(self.areas().rows.get(namespace, key))
    }

    fn extension_rows<'a>(
        &'a self,
        namespace: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>>> {
        done(self.areas().rows.page(namespace, prefix, after, limit))
    }

    fn extension_schema<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<u32>> {
        done(self.areas().schemas.get(namespace).copied().unwrap_or(0))
    }
}
