//! A store of your own in the place of the library's: here a journal, to which every batch is appended, and which is read again
//! when an account is opened.
//!
//! ```text
//! cargo run --example own_store
//! ```
//!
//! What answers is a [`MemoryStore`] without bounds; the journal brings it to where it was. So opening takes as long as reading
//! all that ever happened, all of it is in memory, and nothing is ever given back: an account of a few thousand messages, or a
//! bot with a little state, is what it is good for. It shows what a store must do, on your own database too:
//!
//! * `apply` takes its place among the others when it is *called*, resolves when the batch is kept, and makes it wholly or not
//!   at all. Here a batch that was cut off by the death of the process is cut off the journal when that is opened.
//! * An account is open once, across processes too.
//!
//! What it does not do well: it writes on the thread that calls, which a busy client should not; and it does not wait for the
//! disk, so that batches outlive the death of the process, but the last ones not that of the machine. `tests/it/examples.rs`
//! runs the contract of a store on it (`store_conformance!`), as your tests should on yours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use xmppkit::error::{Error, ErrorKind, Result};
use xmppkit::jid::Jid;
use xmppkit::prelude::*;
use xmppkit::store::{
    AccountStore, Applied, ArchiveCursor, Batch, Conversation, Cursor, FeedItem, GapRecord, IdentityKey, LogId, LoggedMessage,
    MemoryStore, MessagePage, MessageQuery, OutboxEntry, Place, Position, Roster, Row, Secret, Store, StoredSession, StoredXml,
};
use xmppkit::testing::Server;

/// A folder with one journal for each account.
#[derive(Debug)]
pub struct JournalStore {
    folder: PathBuf,
}

impl JournalStore {
    /// The folder must exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The journal of this account, locked, at its end; with all that is in it done again.
    fn open(&self, account: &BareJid) -> Result<JournalAccount> {
        let mut journal = locked(&self.path(account), account)?;
        let memory = MemoryStore::new().max_messages(usize::MAX).max_bytes(usize::MAX).max_outbox(usize::MAX, usize::MAX);
        // A memory store is done with everything when it returns, so there is nothing to wait for.
        let memory = done(memory.open_account(account))?;
        let mut bytes = Vec::new();
        journal.read_to_end(&mut bytes).map_err(failed)?;
        let mut rest = &bytes[..];
        while let Some((batch, behind)) = entry(rest) {
            // A batch that was refused then is refused again.
            let _ = done(memory.apply(Batch::from_bytes(batch)?));
            rest = behind;
        }
        // What is left was being written when the process died.
        let whole = (bytes.len() - rest.len()) as u64;
        journal.set_len(whole).map_err(failed)?;
        journal.seek(SeekFrom::Start(whole)).map_err(failed)?;
        Ok(JournalAccount { memory, journal: Mutex::new(journal) })
    }

    fn path(&self, account: &BareJid) -> PathBuf {
        // Two different addresses never get one name, and none leads out of the folder.
        let name: String = account.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.journal"))
    }

    fn delete(&self, account: &BareJid) -> Result<()> {
        let path = self.path(account);
        if !path.exists() {
            return Ok(());
        }
        let _journal = locked(&path, account)?;
        fs::remove_file(path).map_err(failed)
    }

    fn list(&self) -> Result<Vec<BareJid>> {
        let mut accounts = Vec::new();
        for file in fs::read_dir(&self.folder).map_err(failed)? {
            let name = file.map_err(failed)?.file_name().into_string().unwrap_or_default();
            let hex = name.strip_suffix(".journal").unwrap_or_default();
            let bytes = (0..hex.len() / 2).map_while(|n| u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok()).collect();
            accounts.extend(String::from_utf8(bytes).ok().and_then(|account| account.parse().ok()));
        }
        accounts.sort();
        Ok(accounts)
    }
}

impl Store for JournalStore {
    fn persistent(&self) -> bool {
        true
    }

    // The number, not the library's constant: if a later release knows more changes, it must see that this store does not.
    fn version(&self) -> u32 {
        1
    }

    fn open_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<Arc<dyn AccountStore>>> {
        ready(self.open(account).map(|account| Arc::new(account) as Arc<dyn AccountStore>)).boxed()
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<BareJid>>> {
        ready(self.list()).boxed()
    }

    fn delete_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<()>> {
        ready(self.delete(account)).boxed()
    }
}

#[derive(Debug)]
struct JournalAccount {
    memory: Arc<dyn AccountStore>,
    journal: Mutex<File>,
}

impl JournalAccount {
    /// Writes first, then does: a batch that was not written must not be seen.
    fn write(&self, batch: Batch) -> Result<Applied> {
        let mut journal = self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes = batch.to_bytes();
        let mut entry = Vec::with_capacity(bytes.len() + HEADER);
        entry.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        entry.extend_from_slice(&checksum(&bytes).to_le_bytes());
        entry.extend_from_slice(&bytes);
        let start = journal.stream_position().map_err(failed)?;
        if let Err(error) = journal.write_all(&entry) {
            // The disk is full: part of it may be there.
            journal.set_len(start).and_then(|()| journal.seek(SeekFrom::Start(start)).map(drop)).map_err(failed)?;
            return Err(failed(error));
        }
        done(self.memory.apply(batch))
    }
}

impl Drop for JournalAccount {
    fn drop(&mut self) {
        // Closing the file would do, but for a child process that was just forked and still has it.
        let _ = fs4::FileExt::unlock(self.journal.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

/// Every read is the memory store's.
macro_rules! reads {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => { $(
        fn $name<'a>(&'a self $(, $argument: $type)*) -> BoxFuture<'a, Result<$answer>> {
            self.memory.$name($($argument),*)
        }
    )* };
}

impl AccountStore for JournalAccount {
    fn account(&self) -> &BareJid {
        self.memory.account()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied>> {
        ready(self.write(batch)).boxed()
    }

    reads! {
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

/// Length and checksum, before each batch.
const HEADER: usize = 16;

/// The first entry, if all of it is there, and what is behind it.
fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (batch, behind) = bytes.get(HEADER..)?.split_at_checked(usize::try_from(number(0)?).ok()?)?;
    (number(8)? == checksum(batch)).then_some((batch, behind))
}

/// FNV-1a: enough to know an entry that is whole from one that is not.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Opens a file for this process alone. The operating system takes the lock back when the process dies.
fn locked(path: &Path, account: &BareJid) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(Error::new(ErrorKind::StoreInUse).with_context(account.to_string())),
        Err(fs4::TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Store).with_source(error)
}

fn done<T>(future: BoxFuture<'_, Result<T>>) -> Result<T> {
    future.now_or_never().unwrap_or_else(|| Err(Error::new(ErrorKind::Store).with_context("the memory store never waits")))
}

/// Two runs of an application: the second has what the first received.
pub async fn run() -> Result<Vec<String>> {
    let folder = std::env::temp_dir().join(format!("xmppkit-own-store-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let server = Server::builder().domain("example.org").account("juliet", "secret").account("romeo", "secret").start().await?;
    let juliet = || Ok::<_, Error>(server.client("juliet")?.store(Arc::new(JournalStore::new(&folder))));

    let client = juliet()?.build().await?;
    let mut messages = client.messages().durable("window").await?;
    client.connect().await?;
    let romeo = server.client("romeo")?.build().await?;
    romeo.connect().await?;
    for text in ["But soft, what light", "It is the east"] {
        romeo.chat(client.account()).send(text).await?;
    }
    // The application shows both, and ends before it has acknowledged the second.
    for acknowledged in [true, false] {
        if let Some(Incoming::Item(message)) = messages.next().await {
            println!("first run: {}", message.body().unwrap_or_default());
            if acknowledged {
                message.ack().await?;
            }
        }
    }
    romeo.close().await;
    client.close().await;
    drop((messages, client));

    // Another process, another day. Nothing is connected, and what was not acknowledged comes again.
    let client = juliet()?.build().await?;
    let mut messages = client.messages().durable("window").await?;
    let mut seen = Vec::new();
    if let Some(Incoming::Item(message)) = messages.next().await {
        seen.push(message.body().unwrap_or_default().into_owned());
        message.ack().await?;
    }
    println!("second run: {}", seen.join(", "));
    drop((messages, client));
    fs::remove_dir_all(folder)?;
    Ok(seen)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    run().await.map(drop)
}
