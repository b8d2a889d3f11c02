//! Messages accepted and not yet known to have arrived, and the records of those that were.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use hashbrown::HashMap;
use jid::{BareJid, Jid};
use tokio::sync::Notify;

use crate::client::sent::{Sent, SentState};
use crate::driver::{Outgoing, Signal};
use crate::error::{ErrorKind, Result};
use crate::store::{ArchiveId, OutboxEntry, SendFailure, SendStatus, SentUpdate};
use crate::xml::{OutStanza, escape_attr, format_datetime, ns};

#[cfg(test)]
mod tests;

/// Messages the outbox keeps.
const CAPACITY: usize = 10_000;
/// Records of messages that are no trouble.
const FEW: usize = 64;
/// Bytes of messages the outbox keeps.
const CAPACITY_BYTES: usize = 16 * 1024 * 1024;

/// The messages on their way. One stands in one of three places: in the queue until the driver takes it; with the driver until
/// the server has it; or, after a lost session, among those of which nobody can tell, until that is found out (R10 to R13).
#[derive(Default)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    waiting: Signal,
    room: Notify,
}

#[derive(Default)]
struct Inner {
    last_token: u64,
    queue: VecDeque<Queued>,
    bytes: usize,
    /// Given to the driver, in order: until written, or where the server acknowledges, until acknowledged.
    taken: VecDeque<Queued>,
    managed: bool,
    /// Those of which nobody can tell, in the order they were sent.
    unresolved: Vec<Doubtful>,
    /// When the session was cut that can be resumed.
    cut: Option<SystemTime>,
    /// Messages to the addresses of those: they must not overtake them (R11).
    parked: VecDeque<Queued>,
    records: HashMap<String, Weak<SentState>>,
    /// How many there may be before those are looked for that nobody holds any more.
    records_at_most: usize,
    closed: bool,
}

struct Queued {
    token: u64,
    stanza: OutStanza,
    ephemeral: bool,
    /// An earlier process left it; its number in the session that one had, if it was written there (R8).
    left: Option<Option<u32>>,
    /// When the session was cut that an earlier process wrote it in and lost.
    cut: Option<SystemTime>,
    /// The newest message the own archive was known to have before this one was first written (R12).
    archive_after: Option<ArchiveId>,
    record: Arc<SentState>,
}

/// A message that was written in a session that is lost.
struct Doubtful {
    queued: Queued,
    /// When that session was cut.
    cut: SystemTime,
    /// The server's last count is known, and this message is behind it.
    counted: bool,
}

/// A message of a lost session of which nobody can tell whether the server has it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unresolved {
    /// Its id, which is its origin-id too.
    pub id: String,
    /// To whom it went.
    pub to: Option<Jid>,
    /// When it was first written.
    pub written: SystemTime,
    /// The newest message that the account's archive was known to have before that, where it was noted: with a store that
    /// outlives the process.
    pub archive_after: Option<ArchiveId>,
    /// When the connection was cut, or what an earlier process left was found: for some seconds after that the server may still
    /// be reading what was written.
    pub cut: SystemTime,
    /// The server said how much of the lost session it had handled, and this is not of it (R10): it reads no more of that session,
    /// and without any better evidence this one is missing.
    pub counted: bool,
}

/// What was found out about an [`Unresolved`] message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resolution {
    /// The server has it.
    Arrived,
    /// The server does not have it: it is sent again.
    Missing,
    /// Nobody can tell: it is sent again, and its record says so (R13).
    Unknown,
}

impl Outbox {
    /// Takes in what an earlier process left, in the order it was accepted.
    pub(crate) fn restore(&self, entries: Vec<OutboxEntry>) {
        let mut inner = self.lock();
        for entry in entries {
            let Some(stanza) = entry.xml.as_ref().and_then(|xml| OutStanza::from_xml(xml.as_str()).ok()) else {
                tracing::error!(id = entry.id, "a message in the outbox cannot be read");
                continue;
            };
            let mut queued = inner.accept(entry.id, stanza, entry.ephemeral, SendStatus::clone(&entry.status));
            (queued.left, queued.cut, queued.archive_after) = (Some(entry.number), entry.cut, entry.archive_after);
            inner.push(queued);
        }
    }

    /// Waits for room while `online`; offline there is room now or it is full.
    pub(crate) async fn room_for(&self, bytes: usize, online: impl Fn() -> bool) -> Result<()> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let inner = self.lock();
                if inner.closed {
                    return Err(ErrorKind::ClientClosed.into());
                }
                if inner.has_room(bytes) {
                    return Ok(());
                }
            }
            if !online() {
                return Err(ErrorKind::OutboxFull.into());
            }
            room.await;
        }
    }

    /// Puts a message at the end.
    pub(crate) fn add(&self, id: String, stanza: OutStanza, ephemeral: bool, queued: SystemTime) -> Result<Sent> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(ErrorKind::ClientClosed.into());
        }
        let status = SendStatus { queued: Some(queued), ..SendStatus::default() };
        let queued = inner.accept(id, stanza, ephemeral, status);
        let sent = Sent::new(Arc::clone(&queued.record));
        inner.push(queued);
        drop(inner);
        self.waiting.raise();
        Ok(sent)
    }

    /// The next message to write.
    pub(crate) fn next(&self) -> Option<Outgoing> {
        let mut inner = self.lock();
        let queued = inner.queue.pop_front()?;
        inner.bytes -= queued.stanza.byte_len();
        let outgoing = Outgoing::Stanza { token: queued.token, stanza: queued.stanza.clone() };
        inner.taken.push_back(queued);
        drop(inner);
        self.room.notify_waiters();
        Some(outgoing)
    }

    /// Waits until there may be a next message.
    pub(crate) fn poll_waiting(&self, cx: &mut Context<'_>) -> Poll<()> {
        while self.lock().queue.is_empty() {
            ready!(self.waiting.poll_raised(cx));
        }
        Poll::Ready(())
    }

    /// Waits until every message was given to the driver. Cancel-safe.
    pub(crate) async fn emptied(&self) {
        loop {
            let taken = self.room.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.lock().queue.is_empty() {
                return;
            }
            taken.await;
        }
    }

    /// The client is not online any more: nobody waits for room any longer.
    pub(crate) fn offline(&self) {
        self.room.notify_waiters();
    }

    /// Whether the server acknowledges what it gets from now on.
    pub(crate) fn set_managed(&self, managed: bool) {
        self.lock().managed = managed;
    }

    /// A message was handed to the transport.
    pub(crate) fn written(&self, token: u64) {
        let mut inner = self.lock();
        let Some(at) = inner.taken.iter().rposition(|queued| queued.token == token) else { return };
        let record = inner.taken.get(at).map(|queued| Arc::clone(&queued.record));
        if !inner.managed {
            inner.taken.remove(at);
        }
        drop(inner);
        if let Some(record) = record {
            record.merge(&SentUpdate::new("").written(None, SystemTime::now()).status);
        }
    }

    /// The server has these messages; gives their ids.
    pub(crate) fn acked(&self, tokens: &[u64], at: SystemTime) -> Vec<String> {
        let mut inner = self.lock();
        let mut done = Vec::with_capacity(tokens.len());
        for token in tokens {
            // They are acknowledged in the order in which they were taken.
            if let Some(at) = inner.taken.iter().position(|queued| queued.token == *token) {
                done.extend(inner.taken.remove(at));
            }
        }
        drop(inner);
        done.into_iter().map(|queued| queued.acked(at)).collect()
    }

    /// The session goes on. Of what an earlier process left: what was numbered up to the server's count has arrived; what has a
    /// higher number is written again; of what has none and was written, in a session before, nobody can tell. Gives the ids of
    /// those that have arrived.
    pub(crate) fn resumed_at(&self, h: u32, at: SystemTime) -> Vec<String> {
        let mut inner = self.lock();
        inner.cut = None;
        // What is in the hands of the driver was written again, and may have arrived when the session is lost after all.
        for queued in &inner.taken {
            queued.record.merge(&SentUpdate::new("").written(None, at).status);
        }
        let mut arrived = Vec::new();
        for mut queued in std::mem::take(&mut inner.queue) {
            match queued.left.take() {
                Some(Some(number)) if is_within(number, h) => arrived.push(queued),
                Some(None) if queued.record.is_written() => {
                    let cut = queued.cut.unwrap_or(at);
                    inner.unresolved.push(Doubtful { queued, cut, counted: false });
                }
                _ => inner.queue.push_back(queued),
            }
        }
        inner.park();
        drop(inner);
        self.room.notify_waiters();
        arrived.into_iter().map(|queued| queued.acked(at)).collect()
    }

    /// The connection is cut; the session may go on.
    pub(crate) fn cut(&self) {
        self.lock().cut = Some(SystemTime::now());
    }

    /// The session is lost; `h` is how much of it the server had handled, if it says so (R10). What was not written goes back to
    /// its place; of what was, nobody can tell, unless the server does not acknowledge anyway. Gives what is to be noted: of
    /// those that have arrived, of ephemeral messages, which are given up (R1), and when the others were cut off.
    pub(crate) fn session_lost(&self, h: Option<u32>) -> Vec<SentUpdate> {
        let now = SystemTime::now();
        let mut inner = self.lock();
        inner.managed = false;
        let cut = inner.cut.take().unwrap_or(now);
        let mut arrived = Vec::new();
        let mut dropped = Vec::new();
        let mut doubtful = Vec::new();
        let taken = std::mem::take(&mut inner.taken);
        #[cfg(xmppkit_sabotage)]
        let taken = if crate::sabotage::is("clear-unacked") { Default::default() } else { taken };
        let queue = std::mem::take(&mut inner.queue);
        for mut queued in taken.into_iter().chain(queue) {
            let (is_left, number) = (queued.left.is_some(), queued.left.take().flatten());
            let arrives = h.zip(number).is_some_and(|(h, number)| is_within(number, h));
            if arrives {
                arrived.push(queued);
            } else if !(number.is_some() || queued.record.is_written()) {
                inner.queue.push_back(queued);
            } else if queued.ephemeral {
                dropped.push(queued);
            } else {
                // What has no number was written in a session before, of which this count does not tell.
                let counted = h.is_some() && (number.is_some() || !is_left);
                let cut = queued.cut.filter(|_| is_left && number.is_none()).unwrap_or(cut);
                doubtful.push(SentUpdate::new(queued.record.id()).cut(cut));
                inner.unresolved.push(Doubtful { queued, cut, counted });
            }
        }
        inner.park();
        drop(inner);
        self.room.notify_waiters();
        let arrived = arrived.into_iter().map(|queued| SentUpdate::new(queued.acked(now)).acked(now));
        let dropped = dropped.into_iter().map(|queued| {
            let id = queued.failed(SendFailure::Ephemeral, now);
            SentUpdate::new(id).failed(SendFailure::Ephemeral, now)
        });
        arrived.chain(dropped).chain(doubtful).collect()
    }

    /// Those of which nobody can tell.
    pub(crate) fn unresolved(&self) -> Vec<Unresolved> {
        let inner = self.lock();
        let describe = |Doubtful { queued, cut, counted }: &Doubtful| Unresolved {
            id: queued.record.id().to_owned(),
            to: queued.record.to().cloned(),
            written: queued.record.first_time().unwrap_or(SystemTime::UNIX_EPOCH),
            archive_after: queued.archive_after.clone(),
            cut: *cut,
            counted: *counted,
        };
        inner.unresolved.iter().map(describe).collect()
    }

    /// What was found out. What is to be sent again goes out before anything newer (R11). Gives what is to be noted.
    pub(crate) fn resolve(&self, found: &std::collections::HashMap<String, Resolution>) -> Vec<SentUpdate> {
        let now = SystemTime::now();
        let mut updates = Vec::new();
        let mut inner = self.lock();
        let mut again = VecDeque::new();
        let mut arrived = Vec::new();
        for Doubtful { mut queued, counted, .. } in std::mem::take(&mut inner.unresolved) {
            let otherwise = if counted { Resolution::Missing } else { Resolution::Unknown };
            let resolution = found.get(queued.record.id()).copied().unwrap_or(otherwise);
            if resolution == Resolution::Arrived {
                updates.push(SentUpdate::new(queued.record.id()).acked(now));
                arrived.push(queued);
                continue;
            }
            if resolution == Resolution::Unknown {
                let mut update = SentUpdate::new(queued.record.id());
                update.status.resent_unverified = Some(now);
                queued.record.merge(&update.status);
                updates.push(update);
            }
            queued.stanza = delayed(&queued.stanza, queued.record.first_time());
            again.push_back(queued);
        }
        again.extend(std::mem::take(&mut inner.parked));
        again.extend(std::mem::take(&mut inner.queue));
        inner.queue = again;
        inner.count_bytes();
        drop(inner);
        for queued in arrived {
            queued.acked(now);
        }
        self.waiting.raise();
        updates
    }

    /// A message is given up; gives its id.
    pub(crate) fn fail(&self, token: u64, why: SendFailure) -> Option<String> {
        let mut inner = self.lock();
        let at = inner.taken.iter().position(|queued| queued.token == token)?;
        let queued = inner.taken.remove(at)?;
        drop(inner);
        Some(queued.failed(why, SystemTime::now()))
    }

    /// Every message on its way is given up; gives their ids. For a client that is stopped.
    pub(crate) fn fail_all(&self, why: &SendFailure, at: SystemTime) -> Vec<String> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.bytes = 0;
        let unresolved = std::mem::take(&mut inner.unresolved).into_iter().map(|doubtful| doubtful.queued);
        let waiting = [&mut inner.taken, &mut inner.parked, &mut inner.queue].map(std::mem::take).into_iter().flatten();
        unresolved.chain(waiting).map(|queued| queued.failed(why.clone(), at)).collect()
    }

    /// These messages, which the driver has, are about to be written under these numbers, and their archive is known to have this
    /// one; gives what is to be noted (R8).
    pub(crate) fn numbered(&self, numbers: &[(u64, u32)], archive_after: Option<&ArchiveId>, at: SystemTime) -> Vec<SentUpdate> {
        let mut inner = self.lock();
        let mut note = |(token, number): &(u64, u32)| {
            let queued = inner.taken.iter_mut().rev().find(|queued| queued.token == *token)?;
            // Where it was written before it may be found behind what was known then.
            if !queued.record.is_written() {
                queued.archive_after = archive_after.cloned();
            }
            let mut update = SentUpdate::new(queued.record.id()).written(Some(*number), at);
            update.archive_after.clone_from(&queued.archive_after);
            Some(update)
        };
        numbers.iter().filter_map(&mut note).collect()
    }

    /// Adds to a message's record.
    pub(crate) fn update(&self, update: &SentUpdate) {
        let record = self.lock().records.get(&update.id).and_then(Weak::upgrade);
        if let Some(record) = record {
            record.merge(&update.status);
        }
    }

    /// The token of a message that was sent by this client.
    pub(crate) fn sent(&self, id: &str) -> Option<Sent> {
        self.lock().records.get(id).and_then(Weak::upgrade).map(Sent::new)
    }

    /// The token of a message that was settled before, as the store has its record.
    pub(crate) fn known(&self, entry: &OutboxEntry) -> Sent {
        let mut inner = self.lock();
        if let Some(record) = inner.records.get(&entry.id).and_then(Weak::upgrade) {
            return Sent::new(record);
        }
        let record = Arc::new(SentState::new(entry.id.clone(), entry.to.clone(), SendStatus::clone(&entry.status)));
        inner.remember(&record);
        Sent::new(record)
    }

    /// The client is gone.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let records: Vec<_> = inner.records.drain().filter_map(|(_, record)| record.upgrade()).collect();
        inner.queue.clear();
        inner.taken.clear();
        inner.unresolved.clear();
        inner.parked.clear();
        drop(inner);
        records.iter().for_each(|record| record.abandon());
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.queue.len() + self.parked.len();
        waiting == 0 || (waiting < CAPACITY && self.bytes + bytes <= CAPACITY_BYTES)
    }

    fn accept(&mut self, id: String, stanza: OutStanza, ephemeral: bool, status: SendStatus) -> Queued {
        let record = Arc::new(SentState::new(id, stanza.to_jid().cloned(), status));
        self.remember(&record);
        self.last_token += 1;
        Queued { token: self.last_token, stanza, ephemeral, left: None, cut: None, archive_after: None, record }
    }

    fn push(&mut self, queued: Queued) {
        self.bytes += queued.stanza.byte_len();
        if self.unresolved.iter().any(|other| other.queued.address() == queued.address()) {
            self.parked.push_back(queued);
        } else {
            self.queue.push_back(queued);
        }
    }

    /// What waits for the addresses of doubtful messages keeps its place behind them (R11).
    fn park(&mut self) {
        let blocked: HashSet<_> = self.unresolved.iter().map(|doubtful| doubtful.queued.address()).collect();
        let (parked, queue): (VecDeque<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(|queued| blocked.contains(&queued.address()));
        self.queue = queue;
        self.parked.extend(parked);
        self.count_bytes();
    }

    fn count_bytes(&mut self) {
        self.bytes = self.queue.iter().chain(&self.parked).map(|queued| queued.stanza.byte_len()).sum();
    }

    fn remember(&mut self, record: &Arc<SentState>) {
        // What is remembered of those that nobody holds any more goes in time.
        if self.records.len() >= self.records_at_most.max(FEW) {
            self.records.retain(|_, record| record.strong_count() > 0);
            self.records_at_most = 2 * self.records.len();
        }
        self.records.insert(record.id().to_owned(), Arc::downgrade(record));
    }
}

impl Queued {
    /// The address within which the order is kept.
    fn address(&self) -> Option<BareJid> {
        self.record.to().map(Jid::to_bare)
    }

    fn acked(self, at: SystemTime) -> String {
        self.record.merge(&SentUpdate::new("").written(None, at).acked(at).status);
        self.record.id().to_owned()
    }

    fn failed(self, why: SendFailure, at: SystemTime) -> String {
        self.record.merge(&SentUpdate::new("").failed(why, at).status);
        self.record.id().to_owned()
    }
}

/// Whether the count had come to this number, modulo 2^32.
fn is_within(number: u32, h: u32) -> bool {
    h.wrapping_sub(number) <= u32::MAX / 2
}

/// The message with the time of its first sending (R11, XEP-0203); as it is if it says so already.
fn delayed(stanza: &OutStanza, first: Option<SystemTime>) -> OutStanza {
    let text = stanza.to_stanza().to_standalone_xml();
    let (Some(first), Some(open)) = (first, text.strip_suffix("</message>")) else { return stanza.clone() };
    if stanza.to_stanza().child(ns::DELAY, "delay").is_some() {
        return stanza.clone();
    }
    let stamp = escape_attr(&format_datetime(first)).into_owned();
    OutStanza::from_xml(&format!("{open}<delay xmlns='{}' stamp='{stamp}'/></message>", ns::DELAY)).unwrap_or_else(|error| {
        tracing::warn!(%error, "a message goes out again without the time of its first sending");
        stanza.clone()
    })
}
