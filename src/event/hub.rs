//! Every mailbox of a client, and the default one for what nobody subscribed to yet (R22).

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::TakenOver;
use crate::event::mailbox::Mailbox;
use crate::event::{Event, Inbound};

/// Messages the default mailbox keeps.
const DEFAULT_CAPACITY: usize = 150;
/// Bytes of messages the default mailbox keeps.
const DEFAULT_CAPACITY_BYTES: usize = 4 * 1024 * 1024;
/// How long the default mailbox keeps a message (R2's bound of 10 s, with room to report it).
const DEFAULT_WAIT: Duration = Duration::from_secs(8);

/// Keeps a stanza from counting as taken over while somebody still holds it.
pub(crate) struct Hold {
    number: u64,
    sink: Arc<TakenOver>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.sink.add(self.number);
    }
}

pub(crate) struct Hub {
    mailboxes: Mutex<Arc<Vec<Arc<Mailbox>>>>,
    unclaimed: Mutex<Unclaimed>,
    taken_over: Arc<TakenOver>,
    dropped: AtomicU64,
    /// Names of the durable subscriptions that are open.
    pub(crate) durable: Mutex<BTreeSet<String>>,
    /// With a persistent store a message is taken over at the commit, and nobody holds it (R2).
    holding: bool,
}

#[derive(Default)]
struct Unclaimed {
    queue: VecDeque<(Inbound, Arc<Hold>, Instant)>,
    bytes: usize,
    ended: bool,
}

impl Hub {
    pub(crate) fn new(holding: bool) -> Self {
        Self {
            mailboxes: Mutex::default(),
            unclaimed: Mutex::default(),
            taken_over: Arc::default(),
            dropped: AtomicU64::new(0),
            durable: Mutex::default(),
            holding,
        }
    }

    pub(crate) fn taken_over(&self) -> &Arc<TakenOver> {
        &self.taken_over
    }

    /// Adds a mailbox and gives it first what waited for one like it.
    pub(crate) fn add(&self, mailbox: &Arc<Mailbox>) {
        let mut unclaimed = self.unclaimed();
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut mailboxes).push(Arc::clone(mailbox));
        drop(mailboxes);
        let mut claimed = Vec::new();
        let (mine, others) =
            std::mem::take(&mut unclaimed.queue).into_iter().partition(|(inbound, ..)| mailbox.route.matches(inbound));
        unclaimed.queue = others;
        let mine: VecDeque<(Inbound, Arc<Hold>, Instant)> = mine;
        for (inbound, hold, _) in mine {
            unclaimed.bytes -= inbound.stanza().byte_len();
            mailbox.push(&inbound, Some(&mut || Arc::clone(&hold)));
            claimed.push(hold);
        }
        drop(unclaimed);
    }

    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox>) {
        {
            let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut mailboxes).retain(|other| !Arc::ptr_eq(other, mailbox));
        }
        mailbox.end();
    }

    /// Hands a message to every mailbox whose route it takes; without one it waits, unless an extension `claimed` it.
    /// Returns whether it is taken over already; if not, its number comes through [`TakenOver`] later.
    pub(crate) fn deliver_message(&self, inbound: &Inbound, now: Instant, claimed: impl FnOnce() -> bool) -> bool {
        let mut hold: Option<Arc<Hold>> = None;
        let mut make = || Arc::clone(hold.get_or_insert_with(|| Arc::new(self.hold(inbound))));
        let mut matched = false;
        let mut deliver = || {
            for mailbox in self.list().iter().filter(|mailbox| mailbox.route.matches(inbound)) {
                matched = true;
                mailbox.push(inbound, if self.holding { Some(&mut make) } else { None });
            }
            matched
        };
        if !deliver() && !claimed() {
            let unclaimed = self.unclaimed();
            // Somebody may have subscribed since: nobody can while the lock is held.
            if !deliver() {
                self.keep_unclaimed(unclaimed, inbound, now, &mut make);
            }
        }
        hold.is_none()
    }

    /// Hands a presence stanza on: a mailbox that is full gets a gap, for presence is state and is not held.
    pub(crate) fn deliver_presence(&self, inbound: &Inbound) {
        for mailbox in self.list().iter().filter(|mailbox| mailbox.route.matches(inbound)) {
            mailbox.push(inbound, None);
        }
    }

    /// Hands on an event that an extension reports.
    pub(crate) fn emit<E: Event>(&self, event: E) {
        let mut value: Option<Arc<dyn Any + Send + Sync>> = None;
        for mailbox in self.list().iter().filter(|mailbox| mailbox.event == TypeId::of::<E>()) {
            let value = value.get_or_insert_with(|| Arc::new(event.clone()));
            mailbox.push_value(Arc::clone(value));
        }
    }

    /// Drops unclaimed messages that waited long enough. Returns how many.
    pub(crate) fn expire_unclaimed(&self, now: Instant) -> u64 {
        let mut unclaimed = self.unclaimed();
        let mut expired = Vec::new();
        while unclaimed.queue.front().is_some_and(|(.., since)| now.saturating_duration_since(*since) >= DEFAULT_WAIT) {
            expired.extend(unclaimed.pop());
        }
        drop(unclaimed);
        self.count_dropped(expired.len())
    }

    /// When the oldest unclaimed message will have waited long enough.
    pub(crate) fn unclaimed_deadline(&self) -> Option<Instant> {
        self.unclaimed().queue.front().map(|(.., since)| *since + DEFAULT_WAIT)
    }

    /// Cuts off every subscriber that holds stanzas back. Returns how many stanzas they lost.
    pub(crate) fn cut_off_slow(&self) -> u64 {
        self.list().iter().filter(|mailbox| mailbox.holds()).map(|mailbox| mailbox.cut_off()).sum()
    }

    /// How many messages nobody subscribed to were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// While paused, streams end once they are empty.
    pub(crate) fn pause(&self, paused: bool) {
        self.list().iter().for_each(|mailbox| mailbox.pause(paused));
    }

    /// The client is gone: every stream ends, every handler is dropped.
    pub(crate) fn end(&self) {
        let mailboxes = std::mem::take(&mut *self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner));
        mailboxes.iter().for_each(|mailbox| mailbox.end());
        let mut unclaimed = self.unclaimed();
        unclaimed.ended = true;
        let queue = std::mem::take(&mut unclaimed.queue);
        drop(unclaimed);
        drop(queue);
    }

    fn keep_unclaimed(
        &self,
        mut unclaimed: MutexGuard<'_, Unclaimed>,
        inbound: &Inbound,
        now: Instant,
        hold: &mut dyn FnMut() -> Arc<Hold>,
    ) {
        let bytes = inbound.stanza().byte_len();
        if unclaimed.ended {
            return;
        }
        unclaimed.bytes += bytes;
        unclaimed.queue.push_back((inbound.clone(), hold(), now));
        let mut dropped = Vec::new();
        while unclaimed.queue.len() > DEFAULT_CAPACITY || (unclaimed.bytes > DEFAULT_CAPACITY_BYTES && unclaimed.queue.len() > 1)
        {
            dropped.extend(unclaimed.pop());
        }
        drop(unclaimed);
        self.count_dropped(dropped.len());
    }

    fn count_dropped(&self, count: usize) -> u64 {
        let count = count as u64;
        if count > 0 {
            let total = self.dropped.fetch_add(count, Ordering::Relaxed) + count;
            tracing::warn!(count, total, "messages dropped: nobody subscribed to them");
        }
        count
    }

    fn hold(&self, inbound: &Inbound) -> Hold {
        Hold { number: inbound.number(), sink: Arc::clone(&self.taken_over) }
    }

    fn list(&self) -> Arc<Vec<Arc<Mailbox>>> {
        Arc::clone(&self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unclaimed(&self) -> MutexGuard<'_, Unclaimed> {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unclaimed {
    fn pop(&mut self) -> Option<(Inbound, Arc<Hold>, Instant)> {
        let entry = self.queue.pop_front()?;
        self.bytes -= entry.0.stanza().byte_len();
        Some(entry)
    }
}
