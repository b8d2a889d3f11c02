//! The threads of one file: one that writes, and some that read. An async worker never waits for the disk, and nothing polls.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures::channel::oneshot;
use rusqlite::{Connection, TransactionBehavior};

use super::apply::apply;
use super::failure::{Failure, Outcome};
use super::file::Lock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Applied, Batch};

/// The most batches that are committed together.
const MAX_GROUP: usize = 1_024;

/// The way to the threads, which end when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Threads {
    path: Arc<Path>,
    writer: Sender<Write>,
    reader: Sender<Read>,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

enum Write {
    Apply(Apply),
    Other(Box<dyn FnOnce(&mut Connection) + Send>),
}

struct Apply {
    account: i64,
    batch: Batch,
    /// The account stays locked while there is a batch to be written for it.
    lock: Arc<Lock>,
    reply: oneshot::Sender<Result<Applied>>,
}

/// What the threads work with.
pub(super) struct Connections {
    pub(super) path: PathBuf,
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
}

impl Threads {
    /// Starts the writing thread, which opens the file, and then the reading ones.
    pub(super) async fn start(path: PathBuf, open: impl FnOnce(&Path) -> Outcome<Connections> + Send + 'static) -> Result<Self> {
        let given = path.clone();
        let (reply, opened) = oneshot::channel();
        let (write_sender, write_receiver) = channel();
        let (read_sender, read_receiver) = channel();
        let start = move || {
            let Connections { path, writer, readers } = open(&path)?;
            let reads = Arc::new(Mutex::new(read_receiver));
            for reader in readers {
                let reads = reads.clone();
                spawn(move || read_all(&reader, &reads))?;
            }
            Ok((Arc::<Path>::from(path), writer))
        };
        let run = move || match start() {
            Ok((path, mut connection)) => {
                if reply.send(Ok(path.clone())).is_ok() {
                    write_all(&mut connection, &path, &write_receiver);
                }
            }
            Err(failure) => drop(reply.send(Err(failure))),
        };
        spawn(run).map_err(|failure| failure.at(&given))?;
        let path = opened.await.map_err(|_| ended(&given))?.map_err(|failure: Failure| failure.at(&given))?;
        Ok(Self { path, writer: write_sender, reader: read_sender })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a batch behind those that were put before, and answers when it is committed.
    pub(super) fn apply(
        &self,
        account: i64,
        batch: Batch,
        lock: Arc<Lock>,
    ) -> impl Future<Output = Result<Applied>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let sent = self.writer.send(Write::Apply(Apply { account, batch, lock, reply }));
        self.answer(sent.is_ok(), answer)
    }

    /// Does something else between two commits.
    pub(super) fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Outcome<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let job = Box::new(move |connection: &mut Connection| {
            drop(reply.send(job(connection).map_err(|failure| failure.at(&path))));
        });
        self.answer(self.writer.send(Write::Other(job)).is_ok(), answer)
    }

    /// Reads from one state of the file.
    pub(super) fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let job = Box::new(move |connection: &Connection| {
            if reply.is_canceled() {
                return;
            }
            let read = || job(&*connection.unchecked_transaction()?);
            drop(reply.send(read().map_err(|failure: Failure| failure.at(&path))));
        });
        self.answer(self.reader.send(job).is_ok(), answer)
    }

    fn answer<T: Send + 'static>(
        &self,
        is_sent: bool,
        answer: oneshot::Receiver<Result<T>>,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let path = self.path.clone();
        async move { if is_sent { answer.await.map_err(|_| ended(&path))? } else { Err(ended(&path)) } }
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> Outcome<()> {
    let spawned = thread::Builder::new().name("xmppkit-sqlite".to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| Failure::Io("no thread can be started".to_owned(), error))
}

fn ended(path: &Path) -> Error {
    Error::new(ErrorKind::Store).with_context(format!("{}: the thread that works on it has ended", path.display()))
}

fn read_all(connection: &Connection, reads: &Mutex<Receiver<Read>>) {
    loop {
        // Whoever has the lock waits for the next job, the others wait for the lock.
        let job = reads.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        job(connection);
    }
}

fn write_all(connection: &mut Connection, path: &Path, jobs: &Receiver<Write>) {
    let mut group = Vec::new();
    while let Ok(mut job) = jobs.recv() {
        loop {
            match job {
                Write::Apply(apply) => group.push(apply),
                Write::Other(job) => {
                    commit(connection, path, &mut group);
                    job(connection);
                }
            }
            if group.len() >= MAX_GROUP {
                break;
            }
            match jobs.try_recv() {
                Ok(next) => job = next,
                Err(_) => break,
            }
        }
        commit(connection, path, &mut group);
    }
}

/// Commits these batches together. If that fails, each is committed alone, so that only those fail that are at fault.
///
/// A savepoint for each batch would do as well, but FTS5 writes a segment of its index at each.
fn commit(connection: &mut Connection, path: &Path, group: &mut Vec<Apply>) {
    let mut results: Vec<Result<Applied>> = match together(connection, group) {
        Ok(applied) => applied.into_iter().map(Ok).collect(),
        Err(failure) if group.len() == 1 => vec![Err(failure.at(path))],
        Err(_) => {
            let alone = |apply| together(connection, std::slice::from_ref(apply)).map_err(|failure| failure.at(path));
            group.iter().map(alone).map(|applied| applied.map(|mut applied| applied.pop().unwrap_or_default())).collect()
        }
    };
    for (apply, result) in group.drain(..).zip(results.drain(..)) {
        // First the lock: whoever has the answer may drop the account, and open it again.
        drop(apply.lock);
        drop(apply.reply.send(result));
    }
}

fn together(connection: &mut Connection, group: &[Apply]) -> Outcome<Vec<Applied>> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let applied = group.iter().map(|one| apply(&transaction, one.account, &one.batch)).collect::<Outcome<_>>()?;
    transaction.commit()?;
    Ok(applied)
}
