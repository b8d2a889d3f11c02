//! The message lane: batches are dispatched one at a time, in order, and how far they lag is bounded (R2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::driver::Numbered;

/// Stanzas `h` may lag before reading pauses (R2).
const MAX_LAG: usize = 200;
/// Bytes of stanzas that may wait to be taken over before reading pauses.
const MAX_LAG_BYTES: usize = 16 * 1024 * 1024;
/// How long the oldest stanza may wait to be taken over before reading pauses (R2).
const MAX_LAG_TIME: Duration = Duration::from_secs(10);
/// Stanzas that may be dealt with before that is noted, where nothing else is.
const MAX_UNNOTED: usize = 50;
/// How long that may be put off.
const MAX_UNNOTED_TIME: Duration = Duration::from_secs(2);
/// How long reading pauses before whoever holds it is cut off (R2).
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Lane {
    backlog: Vec<Numbered>,
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

impl Lane {
    pub(super) fn add(&mut self, message: Numbered, now: Instant) {
        let bytes = message.stanza.byte_len();
        self.bytes += bytes;
        self.waiting.push_back(Waiting { seq: message.seq, since: now, bytes, is_request: false });
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
        let over = self.paused_since.is_some_and(|since| now.saturating_duration_since(since) >= MAX_PAUSE);
        if over {
            self.paused_since = None;
        }
        over
    }

    /// When something may be due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let lag = match self.paused_since {
            Some(since) => Some(since + MAX_PAUSE),
            None => self.waiting.front().map(|oldest| oldest.since + MAX_LAG_TIME),
        };
        let unnoted = self.dealt_with_since.filter(|_| self.running.is_none()).map(|since| since + MAX_UNNOTED_TIME);
        lag.into_iter().chain(unnoted).min()
    }

    fn lags(&self, now: Instant) -> bool {
        let old = |waiting: &Waiting| now.saturating_duration_since(waiting.since) >= MAX_LAG_TIME;
        self.waiting.len() >= MAX_LAG || self.bytes >= MAX_LAG_BYTES || self.waiting.front().is_some_and(old)
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
        let mut lane = Lane::default();
        for seq in 0..199 {
            lane.add(message(seq, 1), start);
        }
        assert!(lane.may_read(start));
        lane.add(message(199, 1), start);
        assert!(!lane.may_read(start));
        lane.taken_over(50);
        assert!(lane.may_read(start), "one was taken over");
        assert!(!lane.may_read(start + MAX_LAG_TIME), "the oldest waits too long");
        assert!(!lane.pause_is_over(start + MAX_LAG_TIME));
        assert!(lane.pause_is_over(start + MAX_LAG_TIME + MAX_PAUSE));
        (0..200).for_each(|seq| lane.taken_over(seq));
        assert!(lane.may_read(start + 2 * MAX_LAG_TIME) && lane.bytes == 0);
        (0..20).for_each(|seq| lane.add(message(200 + seq, 1_000_000), start));
        assert!(!lane.may_read(start), "twenty large ones are too much");
    }
}
