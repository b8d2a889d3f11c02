//! What is to be sent, bounded, and the records of what was.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::store::{OutboxEntry, SendStatus, SentUpdate};

/// What an entry costs beside its texts.
const OVERHEAD: usize = 256;

#[derive(Debug)]
pub(super) struct Outbox {
    entries: HashMap<String, OutboxEntry>,
    queue: BTreeMap<u64, String>,
    /// Settled ones, the oldest first; they may hold ids that were forgotten since.
    settled: VecDeque<String>,
    next_place: u64,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    max_settled: usize,
}

impl Outbox {
    pub(super) fn new(max_messages: usize, max_bytes: usize, max_settled: usize) -> Self {
        Self {
            entries: HashMap::new(),
            queue: BTreeMap::new(),
            settled: VecDeque::new(),
            next_place: 1,
            bytes: 0,
            max_messages,
            max_bytes,
            max_settled,
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&OutboxEntry> {
        self.entries.get(id)
    }

    pub(super) fn status(&self, id: &str) -> Option<Arc<SendStatus>> {
        self.entries.get(id).map(|entry| entry.status.clone())
    }

    pub(super) fn queued(&self, after: u64, limit: usize) -> Vec<OutboxEntry> {
        let behind = self.queue.range(after.saturating_add(1)..).take(limit);
        behind.filter_map(|(_, id)| self.entries.get(id).cloned()).collect()
    }

    /// What the outbox would be like, for checking a batch before it is made.
    pub(super) fn trial(&self) -> Trial<'_> {
        Trial { outbox: self, messages: self.queue.len(), bytes: self.bytes, seen: HashMap::new() }
    }

    pub(super) fn send(&mut self, mut entry: OutboxEntry) {
        (entry.place, entry.settled) = (self.next_place, false);
        self.next_place += 1;
        self.bytes += cost(&entry);
        self.queue.insert(entry.place, entry.id.clone());
        self.entries.insert(entry.id.clone(), entry);
    }

    pub(super) fn update(&mut self, update: &SentUpdate) {
        let Some(entry) = self.entries.get_mut(&update.id) else { return };
        let (was_settled, before) = (entry.settled, cost(entry));
        entry.update(update);
        if entry.settled && !was_settled {
            self.bytes -= before;
            self.queue.remove(&entry.place);
            self.settled.push_back(update.id.clone());
            if self.settled.len() > self.max_settled
                && let Some(oldest) = self.settled.pop_front()
            {
                // An id may have been forgotten and used anew: then it is no settled one.
                if self.entries.get(&oldest).is_some_and(|entry| entry.settled) {
                    self.entries.remove(&oldest);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id).filter(|entry| !entry.settled) {
            self.bytes -= cost(&entry);
            self.queue.remove(&entry.place);
        }
    }

    pub(super) fn clear_numbers(&mut self) {
        for id in self.queue.values() {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.number = None;
            }
        }
    }
}

/// Whether an id is known and, if it is queued, what it costs.
#[derive(Clone, Copy)]
struct Seen {
    known: bool,
    queued: Option<usize>,
}

pub(super) struct Trial<'a> {
    outbox: &'a Outbox,
    messages: usize,
    bytes: usize,
    seen: HashMap<&'a str, Seen>,
}

impl<'a> Trial<'a> {
    pub(super) fn send(&mut self, entry: &'a OutboxEntry) -> Result<()> {
        if self.state(&entry.id).known {
            return Err(ErrorKind::DuplicateId(entry.id.clone()).into());
        }
        let cost = cost(entry);
        self.messages += 1;
        self.bytes += cost;
        if self.messages > self.outbox.max_messages || self.bytes > self.outbox.max_bytes {
            return Err(ErrorKind::OutboxFull.into());
        }
        self.seen.insert(&entry.id, Seen { known: true, queued: Some(cost) });
        Ok(())
    }

    pub(super) fn leave(&mut self, id: &'a str, forget: bool) {
        let state = self.state(id);
        if let Some(cost) = state.queued {
            self.messages -= 1;
            self.bytes -= cost;
        }
        let known = state.known && !forget;
        self.seen.insert(id, Seen { known, queued: None });
    }

    fn state(&self, id: &str) -> Seen {
        if let Some(seen) = self.seen.get(id) {
            return *seen;
        }
        let entry = self.outbox.entries.get(id);
        Seen { known: entry.is_some(), queued: entry.filter(|entry| !entry.settled).map(cost) }
    }
}

fn cost(entry: &OutboxEntry) -> usize {
    OVERHEAD + entry.id.len() + entry.xml.as_ref().map_or(0, |xml| xml.byte_len())
}
