//! The store in an SQLite file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jid::BareJid;
use rusqlite::{Connection, OpenFlags};

use self::account::SqliteAccount;
use self::failure::Outcome;
use self::file::Lock;
use self::thread::{Connections, Threads};
use super::encoding::damaged;
use super::{AccountStore, Store};
use crate::error::Result;

mod account;
mod apply;
mod failure;
mod file;
mod log;
mod page;
mod read;
mod schema;
mod search;
mod sent;
mod thread;

#[cfg(test)]
mod tests;

/// How many threads read. Two, so that a long search does not keep a short read waiting.
const READERS: usize = 2;

/// How long SQLite waits for another process that writes to the same file.
const BUSY: Duration = Duration::from_secs(30);

/// How many prepared statements a connection keeps: about as many as there are.
const STATEMENTS: usize = 128;

/// Keeps accounts in an SQLite file (feature `sqlite`, or `sqlite-bundled` with an SQLite of its own).
///
/// ```
/// use xmppkit::store::{Batch, MessageQuery, SqliteStore, Store};
/// # futures::executor::block_on(async {
/// # let folder = std::env::temp_dir().join(format!("xmppkit-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("chat.db");
/// let store = SqliteStore::open(&path).await?;
/// let account = store.open_account(&"juliet@capulet.example".parse()?).await?;
/// account.apply(Batch::new().put("urn:example:app", "theme", "dark")).await?;
/// let found = account.messages(&MessageQuery::new().text("balcony")).await?;
/// assert!(found.messages.is_empty());
/// # drop((account, store));
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), xmppkit::Error>(()) }).unwrap();
/// ```
///
/// A client gets it by [`ClientBuilder::store`](crate::client::ClientBuilder::store).
///
/// # What is promised
///
/// It is [persistent](Store::persistent): when [`apply`](AccountStore::apply) has resolved, the batch outlives the death of the
/// process, however it died (R55). Whether it outlives the loss of power is chosen by
/// [`synchronous`](SqliteOptions::synchronous). A batch is there wholly or not at all in any case.
///
/// Batches that wait are committed together, by the one thread of this value that writes; others read. Nothing waits for the
/// disk on a thread of the async runtime, and none is needed. The threads end when the value, its clones and its open accounts
/// are dropped and what they were given is done.
///
/// # Files
///
/// Beside the file SQLite keeps `-wal` and `-shm` while it is open, and this store keeps empty `-lock` files, which stay. All of
/// them are made for their owner only (mode 0600 on Unix); the mode of a file that exists is not changed. The folder must exist,
/// on a local disk: not every network file system locks files well enough for SQLite. The file is not encrypted, and holds
/// messages and secrets as they are.
///
/// Several processes, or several values in one, may have one file open; an account is open once among all of them.
///
/// # Errors
///
/// All name the file. [`ErrorKind::Store`](crate::ErrorKind::Store): what SQLite or the operating system says is the
/// [source](std::error::Error::source). A full disk makes the batches fail that do not fit; what was committed stays, and the
/// store goes on once there is room.
#[derive(Clone)]
pub struct SqliteStore {
    threads: Threads,
}

/// How a file is opened; see [`SqliteStore::options`].
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    path: PathBuf,
    synchronous: Synchronous,
}

/// When the disk is made to keep what was written (SQLite's `PRAGMA synchronous`, in its write-ahead log).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Synchronous {
    /// Now and then. What was committed outlives the death of the process. If the machine loses power, the last batches may be
    /// gone, although they were committed; none is half there, and the file is whole.
    #[default]
    Normal,
    /// At every commit, so that it outlives the loss of power as well, if the disk does what it says. A commit then takes as long
    /// as the disk needs to do so; batches that wait meanwhile are committed together.
    Full,
}

impl SqliteStore {
    /// Opens a file, and creates it where there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StoreTooNew`](crate::ErrorKind::StoreTooNew) when it was written by a newer release;
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) when it cannot be opened or created, its folder does not exist, it is no
    /// database of this library, or SQLite is older than 3.40 or built without FTS5. A file that is refused is not changed.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::options(path).open().await
    }

    /// How to open a file.
    ///
    /// ```no_run
    /// # async fn example() -> xmppkit::Result<()> {
    /// use xmppkit::store::{SqliteStore, Synchronous};
    /// let store = SqliteStore::options("chat.db").synchronous(Synchronous::Full).open().await?;
    /// # Ok(()) }
    /// ```
    pub fn options(path: impl Into<PathBuf>) -> SqliteOptions {
        SqliteOptions { path: path.into(), synchronous: Synchronous::default() }
    }

    /// The file, as an absolute path without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.threads.path()
    }
}

impl SqliteOptions {
    /// When the disk is made to keep what was written; [`Synchronous::Normal`] where this is not called.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Opens the file, and creates it where there is none.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteStore::open`].
    pub async fn open(self) -> Result<SqliteStore> {
        let synchronous = self.synchronous;
        let threads = Threads::start(self.path, move |path| connect(path, synchronous)).await?;
        Ok(SqliteStore { threads })
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn persistent(&self) -> bool {
        true
    }

    fn version(&self) -> u32 {
        1
    }

    fn open_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<Arc<dyn AccountStore>>> {
        let (threads, jid) = (self.threads.clone(), account.clone());
        let opened = self.threads.write(move |connection| {
            let lock = Arc::new(Lock::account(threads.path(), &jid)?);
            let account = apply::open_account(connection, jid.as_str())?;
            Ok(SqliteAccount { jid, account, threads, lock })
        });
        async move { Ok(Arc::new(opened.await?) as Arc<dyn AccountStore>) }.boxed()
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<BareJid>>> {
        let read = self.threads.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT jid FROM account")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut accounts = Vec::new();
            for name in names {
                accounts.push(name?.parse::<BareJid>().map_err(|_| damaged("a JID"))?);
            }
            accounts.sort();
            Ok(accounts)
        });
        read.boxed()
    }

    fn delete_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<()>> {
        let (path, jid) = (self.path().to_owned(), account.clone());
        let deleted = self.threads.write(move |connection| {
            let _lock = Lock::account(&path, &jid)?;
            apply::delete_account(connection, jid.as_str())
        });
        deleted.boxed()
    }
}

/// Opens what the threads need, while nobody else opens the same file.
fn connect(given: &Path, synchronous: Synchronous) -> Outcome<Connections> {
    let path = file::resolve(given)?;
    let _opening = Lock::opening(&path)?;
    file::create(&path)?;
    let mut writer = connection(&path)?;
    schema::prepare(&mut writer, schema::STEPS)?;
    let synchronous = match synchronous {
        Synchronous::Normal => "NORMAL",
        Synchronous::Full => "FULL",
    };
    // Deleted messages and secrets are overwritten where that costs nothing.
    writer
        .execute_batch(&format!("PRAGMA synchronous = {synchronous}; PRAGMA secure_delete = FAST; PRAGMA cache_size = -8000;"))?;
    let reader = || {
        let reader = connection(&path)?;
        reader.execute_batch("PRAGMA query_only = ON;")?;
        Ok(reader)
    };
    let readers = (0..READERS).map(|_| reader()).collect::<Outcome<_>>()?;
    Ok(Connections { path, writer, readers })
}

fn connection(path: &Path) -> Outcome<Connection> {
    // Each connection is used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}
