//! Messages accepted and not yet written, and the records of those that were.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use jid::Jid;
use tokio::sync::Notify;

use crate::client::sent::{Sent, SentState};
use crate::driver::Outgoing;
use crate::error::{ErrorKind, Result};
use crate::store::{SendStatus, SentUpdate};
use crate::xml::OutStanza;

/// Messages the outbox keeps.
const CAPACITY: usize = 10_000;
/// Bytes of messages the outbox keeps.
const CAPACITY_BYTES: usize = 16 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    waiting: Notify,
    room: Notify,
}

#[derive(Default)]
struct Inner {
    last_token: u64,
    queue: VecDeque<Queued>,
    bytes: usize,
    /// Given to the driver and not written yet, in order.
    taken: VecDeque<Queued>,
    records: HashMap<String, Weak<SentState>>,
    closed: bool,
}

struct Queued {
    token: u64,
    stanza: OutStanza,
    record: Arc<SentState>,
}

impl Outbox {
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
    pub(crate) fn add(&self, id: String, stanza: OutStanza) -> Result<Sent> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(ErrorKind::ClientClosed.into());
        }
        let sent = inner.push(id, stanza);
        drop(inner);
        self.waiting.notify_one();
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

    /// Waits until there may be a next message. Cancel-safe.
    pub(crate) async fn waiting(&self) {
        loop {
            if !self.lock().queue.is_empty() {
                return;
            }
            self.waiting.notified().await;
        }
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

    /// A message was handed to the transport.
    pub(crate) fn written(&self, token: u64) {
        let mut inner = self.lock();
        let Some(at) = inner.taken.iter().position(|queued| queued.token == token) else { return };
        let Some(queued) = inner.taken.remove(at) else { return };
        drop(inner);
        queued.record.merge(&SentUpdate::new("").written(None, SystemTime::now()).status);
    }

    /// The session ended: what was not written goes back to its place.
    pub(crate) fn session_lost(&self) {
        let mut inner = self.lock();
        while let Some(queued) = inner.taken.pop_back() {
            inner.bytes += queued.stanza.byte_len();
            inner.queue.push_front(queued);
        }
        drop(inner);
        self.room.notify_waiters();
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

    /// The client is gone.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let records: Vec<_> = inner.records.drain().filter_map(|(_, record)| record.upgrade()).collect();
        inner.queue.clear();
        inner.taken.clear();
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
        self.queue.is_empty() || (self.queue.len() < CAPACITY && self.bytes + bytes <= CAPACITY_BYTES)
    }

    fn push(&mut self, id: String, stanza: OutStanza) -> Sent {
        if self.records.len() >= 2 * CAPACITY {
            self.records.retain(|_, record| record.strong_count() > 0);
        }
        let status = SendStatus { queued: Some(SystemTime::now()), ..SendStatus::default() };
        let record = Arc::new(SentState::new(id.clone(), stanza.to().and_then(|to| Jid::new(to).ok()), status));
        self.records.insert(id, Arc::downgrade(&record));
        self.last_token += 1;
        self.bytes += stanza.byte_len();
        self.queue.push_back(Queued { token: self.last_token, stanza, record: Arc::clone(&record) });
        Sent::new(record)
    }
}
