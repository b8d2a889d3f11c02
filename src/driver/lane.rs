//! The message lane: batches are dispatched one at a time, in order, and how far they lag is bounded (R2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::driver::Numbered;

/// Bytes of stanzas that may wait to be taken over before reading pauses.
const MAX_LAG_BYTES: usize = 16 * 1024 * 1024;
/// Stanzas that may be dealt with before that is noted, where nothing else is.
const MAX_UNNOTED: usize = 50;
/// How long that may be put off.
const MAX_UNNOTED_TIME: Duration = Duration::from_secs(2);

/// How far acknowledging (XEP-0198) may lag behind reading while messages wait for slow subscribers, or for the first one.
///
/// At a bound the connection is read no further; after the pause whoever holds it up is cut off with a gap, and reading goes
/// on. Servers do not like to wait: Prosody keeps 500 stanzas unacknowledged and then gives the session's resumption up without a word,
/// and tells its push modules after 30 s; ejabberd ends the stream after 5,000 stanzas or 60 s; Openfire after 10,000
/// stops acknowledging. What is on its way or comes during a cut counts as well, so stay far below.
///
/// ```
/// use std::time::Duration;
/// use xmppkit::client::Lag;
/// let patient = Lag::default().stanzas(400).time(Duration::from_secs(20));
/// # let _ = patient;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Stanzas that may wait. Default 200; what one read of at most 16 KiB brings may come on top. Messages that nobody
    /// subscribed to wait for their first subscriber up to three quarters of this.
    pub stanzas: usize,
    /// How long the oldest may wait. Default 10 s. Messages that nobody subscribed to wait up to four fifths of this.
    pub time: Duration,
    /// How long reading pauses before whoever holds it up is cut off. Default 5 s.
    pub pause: Duration,
}

impl Lag {
    /// Sets [`stanzas`](field@Self::stanzas).
    #[must_use]
    pub fn stanzas(mut self, stanzas: usize) -> Self {
        self.stanzas = stanzas;
        self
    }

    /// Sets [`time`](field@Self::time).
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Sets [`pause`](field@Self::pause).
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

impl Default for Lag {
    fn default() -> Self {
        Self { stanzas: 200, time: Duration::from_secs(10), pause: Duration::from_secs(5) }
    }
}

pub(super) struct Lane {
    bounds: Lag,
    backlog: Vec<Numbered>,
    /// How many were dispatched last: there may be as many again.
    last_batch: usize,
    pub(super) running: Option<BoxFuture<'static, Vec<u64>>>,
    /// Stanzas not taken over yet, oldest first.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    paused_since: Option<Instant>,
    /// Numbers of stanzas that are dealt with, and not noted yet (R8).
    dealt_with: Vec<u64>,
    dealt_with_since: Option<Instant>,
}

struct Waiting {
    seq: u64,
    since: Instant,
    bytes: usize,
    is_request: bool,
}

/// What is dispatched at once.
pub(super) struct Batch {
    pub(super) messages: Vec<Numbered>,
    /// Other stanzas that are dealt with.
    pub(super) others: Vec<u64>,
}

impl Batch {
    /// The numbers of all of them.
    pub(super) fn seqs(&self) -> Vec<u64> {
        self.messages.iter().map(|message| message.seq).chain(self.others.iter().copied()).collect()
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self::new(Lag::default())
    }
}

impl Lane {
    pub(super) fn new(bounds: Lag) -> Self {
        Self {
            bounds,
            backlog: Vec::new(),
            last_batch: 0,
            running: None,
            waiting: VecDeque::new(),
            bytes: 0,
            paused_since: None,
            dealt_with: Vec::new(),
            dealt_with_since: None,
        }
    }

    pub(super) fn add(&mut self, message: Numbered, now: Instant) {
        let bytes = message.stanza.byte_len();
        self.bytes += bytes;
        self.waiting.push_back(Waiting { seq: message.seq, since: now, bytes, is_request: false });
        if self.backlog.capacity() == 0 {
            self.backlog.reserve(self.last_batch);
        }
        self.backlog.push(message);
    }

    /// A request that is being answered.
    pub(super) fn add_request(&mut self, seq: u64, now: Instant) {
        self.waiting.push_back(Waiting { seq, since: now, bytes: 0, is_request: true });
    }

    /// A stanza is dealt with, and counts once that is noted.
    pub(super) fn dealt_with(&mut self, seq: u64, now: Instant) {
        self.dealt_with.push(seq);
        self.dealt_with_since.get_or_insert(now);
    }

    /// The next batch to dispatch, if none is being dispatched. What is dealt with goes along; alone it goes when it is
    /// `pressing`, or there is much of it, or it has waited for long.
    pub(super) fn next_batch(&mut self, pressing: bool, now: Instant) -> Option<Batch> {
        let long = self.dealt_with_since.is_some_and(|since| now.saturating_duration_since(since) >= MAX_UNNOTED_TIME);
        let alone = !self.dealt_with.is_empty() && (pressing || long || self.dealt_with.len() >= MAX_UNNOTED);
        if self.running.is_some() || (self.backlog.is_empty() && !alone) {
            return None;
        }
        self.dealt_with_since = None;
        self.last_batch = self.backlog.len();
        Some(Batch { messages: std::mem::take(&mut self.backlog), others: std::mem::take(&mut self.dealt_with) })
    }

    /// Requests whose answers take too long: they count as taken over.
    pub(super) fn give_up_requests(&mut self) -> Vec<u64> {
        self.waiting.iter().filter(|waiting| waiting.is_request).map(|waiting| waiting.seq).collect()
    }

    pub(super) fn taken_over(&mut self, number: u64) {
        // Rising, since they are added as they are read.
        let at = self.waiting.binary_search_by_key(&number, |waiting| waiting.seq);
        if let Some(gone) = at.ok().and_then(|at| self.waiting.remove(at)) {
            self.bytes -= gone.bytes;
            if self.waiting.is_empty() {
                self.waiting.clear();
            }
        }
    }

    /// Whether to read on: not while the lane lags too far.
    pub(super) fn may_read(&mut self, now: Instant) -> bool {
        if !self.lags(now) {
            self.paused_since = None;
        } else if self.paused_since.is_none() {
            self.paused_since = Some(now);
        }
        self.paused_since.is_none()
    }

    /// Whether the pause has been as long as it may; it is then over.
    pub(super) fn pause_is_over(&mut self, now: Instant) -> bool {
        let over = self.paused_since.is_some_and(|since| now.saturating_duration_since(since) >= self.bounds.pause);
        if over {
            self.paused_since = None;
        }
        over
    }

    /// When something may be due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let lag = match self.paused_since {
            Some(since) => Some(since + self.bounds.pause),
            None => self.waiting.front().map(|oldest| oldest.since + self.bounds.time),
        };
        let unnoted = self.dealt_with_since.filter(|_| self.running.is_none()).map(|since| since + MAX_UNNOTED_TIME);
        lag.into_iter().chain(unnoted).min()
    }

    fn lags(&self, now: Instant) -> bool {
        let old = |waiting: &Waiting| now.saturating_duration_since(waiting.since) >= self.bounds.time;
        self.waiting.len() >= self.bounds.stanzas || self.bytes >= MAX_LAG_BYTES || self.waiting.front().is_some_and(old)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::xml::Frame;

    fn message(seq: u64, bytes: usize) -> Numbered {
        let xml = format!("<message xmlns='jabber:client'><body>{}</body></message>", "x".repeat(bytes));
        let stanza = Frame::parse(&xml).ok().and_then(|frame| frame.stanza()).expect("a message");
        Numbered { seq, stanza, received: SystemTime::now() }
    }

    #[test]
    fn reading_pauses_at_the_bounds_of_number_time_and_bytes_and_goes_on_when_they_are_met() {
        let start = Instant::now();
        let mut lane = Lane::new(Lag::default());
        let (time, pause) = (Duration::from_secs(10), Duration::from_secs(5));
        for seq in 0..199 {
            lane.add(message(seq, 1), start);
        }
        assert!(lane.may_read(start));
        lane.add(message(199, 1), start);
        assert!(!lane.may_read(start));
        lane.taken_over(50);
        assert!(lane.may_read(start), "one was taken over");
        assert!(!lane.may_read(start + time), "the oldest waits too long");
        assert!(!lane.pause_is_over(start + time));
        assert!(lane.pause_is_over(start + time + pause));
        (0..200).for_each(|seq| lane.taken_over(seq));
        assert!(lane.may_read(start + 2 * time) && lane.bytes == 0);
        (0..20).for_each(|seq| lane.add(message(200 + seq, 1_000_000), start));
        assert!(!lane.may_read(start), "twenty large ones are too much");
    }

    #[test]
    fn the_bounds_are_those_of_the_application() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut lane = Lane::new(Lag::default().stanzas(2).time(3 * second).pause(second));
        lane.add(message(0, 1), start);
        assert!(lane.may_read(start + 2 * second) && lane.deadline() == Some(start + 3 * second));
        assert!(!lane.may_read(start + 3 * second), "the oldest waits too long");
        assert!(lane.pause_is_over(start + 4 * second));
        lane.taken_over(0);
        (1..3).for_each(|seq| lane.add(message(seq, 1), start));
        assert!(!lane.may_read(start), "two are too many");
    }
}
