//! One subscriber's bounded queue.
//!
//! What fits is taken over: the subscriber has it. What does not fit is *held* (R2): it keeps its place behind the queue,
//! and the stanza's number is not reported as taken over until it moves up or the subscriber is cut off with a gap.

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::event::hub::Hold;
use crate::event::{Gap, GapKind, Inbound, Route};
use crate::store::Position;

/// Items a mailbox takes over before it holds.
pub(crate) const CAPACITY: usize = 1024;
/// Bytes of stanzas a mailbox takes over before it holds.
pub(crate) const CAPACITY_BYTES: usize = 8 * 1024 * 1024;

pub(crate) enum Entry {
    /// A stanza; where it counts as taken over only when it is handled, with what keeps it from that.
    Item(Inbound, Option<Arc<Hold>>),
    Value(Arc<dyn Any + Send + Sync>),
    Gap(Gap),
}

impl Entry {
    /// What keeps it from counting as handled.
    pub(crate) fn hold(&self) -> Option<Arc<Hold>> {
        match self {
            Self::Item(_, hold) => hold.clone(),
            Self::Value(_) | Self::Gap(_) => None,
        }
    }
}

pub(crate) struct Mailbox {
    pub(crate) route: Route,
    pub(crate) event: TypeId,
    capacity: usize,
    capacity_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Entry>,
    bytes: usize,
    held: VecDeque<(Inbound, Arc<Hold>)>,
    /// What is queued is held too, until the subscriber is done with it.
    handled: bool,
    waker: Option<Waker>,
    reader: Reader,
    /// For a reader of the log: something was delivered since it looked last.
    news: bool,
    /// Cut off for being slow: nothing is held for it again, and nothing queued, until it has read half of what it has.
    cut_off: bool,
    outlasting: bool,
    ended: bool,
    paused: bool,
}

/// Who empties the mailbox.
#[derive(Default)]
enum Reader {
    /// A stream, woken by its waker.
    #[default]
    Stream,
    /// A handler: its task is spawned when there is something to do (D34).
    Handler { spawn: Arc<dyn Fn() + Send + Sync>, running: bool },
    /// A durable subscription, which reads the log: nothing is queued here, it is only woken.
    Log,
}

impl Mailbox {
    pub(crate) fn new(route: Route, event: TypeId, capacity: usize, capacity_bytes: usize) -> Self {
        Self { route, event, capacity: capacity.max(1), capacity_bytes: capacity_bytes.max(1), inner: Mutex::default() }
    }

    /// Queues a stanza; if it does not fit, holds it where `hold` allows, and notes a gap where not.
    pub(crate) fn push(&self, inbound: &Inbound, hold: Option<&mut dyn FnMut() -> Arc<Hold>>) {
        let mut inner = self.lock();
        if matches!(inner.reader, Reader::Log) {
            inner.news = true;
        } else if inner.held.is_empty() && !inner.cut_off && self.fits(&inner, inbound) {
            let hold = hold.filter(|_| inner.handled).map(|hold| hold());
            inner.add(inbound.clone(), hold);
        } else if let Some(hold) = hold.filter(|_| !inner.cut_off) {
            inner.held.push_back((inbound.clone(), hold()));
        } else {
            inner.add_gap(1);
        }
        wake(inner);
    }

    /// Queues an event that an extension reported.
    pub(crate) fn push_value(&self, value: Arc<dyn Any + Send + Sync>) {
        let mut inner = self.lock();
        if matches!(inner.reader, Reader::Log) {
            // What an extension reports is in no log.
        } else if inner.queue.len() < self.capacity {
            inner.queue.push_back(Entry::Value(value));
        } else {
            inner.add_gap(1);
        }
        wake(inner);
    }

    /// The next entry; `Ready(None)` at the end.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Entry>> {
        let mut inner = self.lock();
        let released = self.take(&mut inner);
        let poll = match released {
            (Some(entry), holds) => {
                drop(inner);
                drop(holds);
                return Poll::Ready(Some(entry));
            }
            (None, _) if inner.ended || inner.paused => Poll::Ready(None),
            (None, _) => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        };
        drop(inner);
        poll
    }

    /// From now on the mailbox only tells its reader that there is something in the log.
    pub(crate) fn set_log_reader(&self) {
        self.lock().reader = Reader::Log;
    }

    /// The reader goes on while the client is stopped: it may be started again.
    pub(crate) fn set_outlasting(&self) {
        let mut inner = self.lock();
        inner.outlasting = true;
        wake(inner);
    }

    /// Tells a reader of the log that there may be something new in it.
    pub(crate) fn news(&self) {
        let mut inner = self.lock();
        if matches!(inner.reader, Reader::Log) {
            inner.news = true;
            wake(inner);
        }
    }

    /// Waits until there may be something new in the log; `false` at the end. Cancel-safe.
    pub(crate) fn poll_news(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.news) {
            Poll::Ready(true)
        } else if inner.ended || (inner.paused && !inner.outlasting) {
            Poll::Ready(false)
        } else {
            inner.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    /// The next entry for a handler's task; at `None` the task must end, another will be spawned.
    pub(crate) fn next_for_handler(&self) -> Option<Entry> {
        let mut inner = self.lock();
        let (entry, holds) = self.take(&mut inner);
        if entry.is_none()
            && let Reader::Handler { running, .. } = &mut inner.reader
        {
            *running = false;
        }
        drop(inner);
        drop(holds);
        entry
    }

    /// From now on a handler's task empties the mailbox.
    pub(crate) fn set_handler(&self, spawn: Arc<dyn Fn() + Send + Sync>) {
        let mut inner = self.lock();
        inner.reader = Reader::Handler { spawn, running: false };
        wake(inner);
    }

    /// The place in the log of the first message that waits here.
    pub(crate) fn first_position(&self) -> Option<Position> {
        let inner = self.lock();
        let queued = inner.queue.iter().filter_map(|entry| match entry {
            Entry::Item(inbound, _) => inbound.position(),
            Entry::Value(_) | Entry::Gap(_) => None,
        });
        queued.chain(inner.held.iter().filter_map(|(inbound, _)| inbound.position())).min()
    }

    /// What is queued is held until it is handled.
    pub(crate) fn set_handled(&self) {
        self.lock().handled = true;
    }

    /// Whether something is held.
    pub(crate) fn holds(&self) -> bool {
        !self.lock().held.is_empty()
    }

    /// Gives up what is held: the subscriber gets a gap instead.
    pub(crate) fn cut_off(&self) -> u64 {
        let mut inner = self.lock();
        let held = std::mem::take(&mut inner.held);
        let count = held.len() as u64;
        if count > 0 {
            inner.cut_off = true;
            inner.add_gap(count);
        }
        wake(inner);
        drop(held);
        count
    }

    /// The subscriber is gone, or the client: nothing more is kept.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        let held = std::mem::take(&mut inner.held);
        inner.reader = Reader::Stream;
        wake(inner);
        drop(held);
    }

    /// While paused an empty mailbox ends its stream instead of waiting: the client is closed or failed for good.
    pub(crate) fn pause(&self, paused: bool) {
        let mut inner = self.lock();
        inner.paused = paused;
        wake(inner);
    }

    fn fits(&self, inner: &Inner, inbound: &Inbound) -> bool {
        let bytes = inbound.stanza().byte_len();
        inner.queue.is_empty() || (inner.queue.len() < self.capacity && inner.bytes + bytes <= self.capacity_bytes)
    }

    /// Takes the next entry and moves up what was held; the holds are to be dropped after the lock.
    fn take(&self, inner: &mut Inner) -> (Option<Entry>, Vec<Arc<Hold>>) {
        let entry = inner.queue.pop_front();
        if inner.queue.is_empty() {
            // It begins anew where it is, and does not go through all the memory that it once had need of.
            inner.queue.clear();
        }
        if let Some(Entry::Item(inbound, _)) = &entry {
            inner.bytes -= inbound.stanza().byte_len();
        }
        if inner.cut_off && inner.queue.len() <= self.capacity / 2 {
            inner.cut_off = false;
        }
        let mut holds = Vec::new();
        while inner.held.front().is_some_and(|(inbound, _)| self.fits(inner, inbound)) {
            if let Some((inbound, hold)) = inner.held.pop_front() {
                let kept = inner.handled.then(|| Arc::clone(&hold));
                inner.add(inbound, kept);
                holds.push(hold);
            }
        }
        (entry, holds)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, inbound: Inbound, hold: Option<Arc<Hold>>) {
        self.bytes += inbound.stanza().byte_len();
        self.queue.push_back(Entry::Item(inbound, hold));
    }

    fn add_gap(&mut self, more: u64) {
        if let Some(Entry::Gap(Gap { kind: GapKind::Overflow, count: Some(count) })) = self.queue.back_mut() {
            *count += more;
        } else {
            self.queue.push_back(Entry::Gap(Gap::new(GapKind::Overflow, Some(more))));
        }
    }
}

/// Wakes the reader, after the lock is released.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let has_work = !inner.queue.is_empty();
    let waker = inner.waker.take();
    let spawn = match &mut inner.reader {
        Reader::Handler { spawn, running } if has_work && !*running => {
            *running = true;
            Some(Arc::clone(spawn))
        }
        _ => None,
    };
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
    if let Some(spawn) = spawn {
        spawn();
    }
}
