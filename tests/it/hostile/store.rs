//! A memory store whose writes hang or panic on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::SystemTime;

use futures::future::BoxFuture;
use xmppkit::error::Result;
use xmppkit::jid::{BareJid, Jid};
use xmppkit::store::{
    AccountStore, Applied, ArchiveCursor, Batch, Conversation, Cursor, FeedItem, GapRecord, IdentityKey, LogId, LoggedMessage,
    MemoryStore, MessagePage, MessageQuery, OutboxEntry, Place, Position, Roster, Row, Secret, Store, StoredSession, StoredXml,
};

pub(crate) const WORKS: u8 = 0;
pub(crate) const HANGS: u8 = 1;
pub(crate) const PANICS: u8 = 2;

#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: MemoryStore,
    mode: Arc<Mode>,
}

#[derive(Debug, Default)]
pub(crate) struct Mode {
    mode: AtomicU8,
    faults: AtomicUsize,
}

impl Mode {
    pub(crate) fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// How many writes came to grief.
    pub(crate) fn faults(&self) -> usize {
        self.faults.load(Ordering::SeqCst)
    }
}

impl Faulty {
    pub(crate) fn mode(&self) -> Arc<Mode> {
        Arc::clone(&self.mode)
    }
}

impl Store for Faulty {
    fn persistent(&self) -> bool {
        false
    }

    fn version(&self) -> u32 {
        self.inner.version()
    }

    fn open_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<Arc<dyn AccountStore>>> {
        Box::pin(async move {
            let inner = self.inner.open_account(account).await?;
            Ok(Arc::new(Account { inner, mode: Arc::clone(&self.mode) }) as Arc<dyn AccountStore>)
        })
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<BareJid>>> {
        self.inner.accounts()
    }

    fn delete_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<()>> {
        self.inner.delete_account(account)
    }
}

#[derive(Debug)]
struct Account {
    inner: Arc<dyn AccountStore>,
    mode: Arc<Mode>,
}

macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name<'a>(&'a self, $($argument: $type),*) -> BoxFuture<'a, Result<$output>> {
            self.inner.$name($($argument),*)
        })*
    };
}

impl AccountStore for Account {
    fn account(&self) -> &BareJid {
        self.inner.account()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied>> {
        match self.mode.mode.load(Ordering::SeqCst) {
            HANGS => {
                self.mode.faults.fetch_add(1, Ordering::SeqCst);
                Box::pin(std::future::pending())
            }
            PANICS => {
                self.mode.faults.fetch_add(1, Ordering::SeqCst);
                panic!("the store panics, as asked")
            }
            _ => self.inner.apply(batch),
        }
    }

    delegate! {
        feed(after: Position, limit: usize) -> Vec<FeedItem>;
        feed_head() -> Position;
        message(id: LogId) -> Option<LoggedMessage>;
        find(key: &'a IdentityKey) -> Option<LoggedMessage>;
        messages_with_id(conversation: &'a Jid, id: &'a str) -> Vec<LoggedMessage>;
        messages(query: &'a MessageQuery) -> MessagePage;
        conversations(after: Option<Place>, limit: usize) -> Vec<Conversation>;
        cursor(name: &'a str) -> Option<Cursor>;
        cursors() -> Vec<(String, Cursor)>;
        archive_cursor(archive: &'a BareJid) -> Option<ArchiveCursor>;
        gaps() -> Vec<(Position, GapRecord)>;
        outbox(after: u64, limit: usize) -> Vec<OutboxEntry>;
        sent(id: &'a str) -> Option<OutboxEntry>;
        session() -> Option<StoredSession>;
        session_rows(namespace: &'a str, prefix: &'a str) -> Vec<Row>;
        roster() -> Roster;
        caps(key: &'a str) -> Option<(StoredXml, SystemTime)>;
        credential(name: &'a str) -> Option<Secret>;
        credentials(prefix: &'a str) -> Vec<(String, Secret)>;
        extension_row(namespace: &'a str, key: &'a str) -> Option<Vec<u8>>;
        extension_rows(namespace: &'a str, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Vec<Row>;
        extension_schema(namespace: &'a str) -> u32;
    }
}
