//! A memory store whose writes fail while it is broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use futures::future::BoxFuture;
use jid::{BareJid, Jid};

use crate::error::{ErrorKind, Result};
use crate::store::{
    AccountStore, Applied, ArchiveCursor, Batch, Conversation, Cursor, FeedItem, GapRecord, IdentityKey, LogId, LoggedMessage,
    MemoryStore, MessagePage, MessageQuery, OutboxEntry, Place, Position, Roster, Row, Secret, Store, StoredSession, StoredXml,
};

#[derive(Debug)]
pub(super) struct Failing {
    pub(super) inner: Arc<MemoryStore>,
    pub(super) broken: Arc<AtomicBool>,
}

impl Store for Failing {
    fn persistent(&self) -> bool {
        false
    }

    fn version(&self) -> u32 {
        self.inner.version()
    }

    fn open_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<Arc<dyn AccountStore>>> {
        Box::pin(async move {
            let inner = self.inner.open_account(account).await?;
            Ok(Arc::new(Account { inner, broken: Arc::clone(&self.broken) }) as Arc<dyn AccountStore>)
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
    broken: Arc<AtomicBool>,
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
        if self.broken.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(ErrorKind::Store.into())));
        }
        self.inner.apply(batch)
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
