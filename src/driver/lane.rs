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
}

struct Waiting {
    seq: u64,
    since: Instant,
    bytes: usize,
}

impl Lane {
    pub(super) fn add(&mut self, message: Numbered, now: Instant) {
        let bytes = message.stanza.byte_len();
        self.bytes += bytes;
        self.waiting.push_back(Waiting { seq: message.seq, since: now, bytes });
        self.backlog.push(message);
    }

    /// The next batch to dispatch, if none is being dispatched.
    pub(super) fn next_batch(&mut self) -> Option<Vec<Numbered>> {
        (self.running.is_none() && !self.backlog.is_empty()).then(|| std::mem::take(&mut self.backlog))
    }

    pub(super) fn taken_over(&mut self, number: u64) {
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
        match self.paused_since {
            Some(since) => Some(since + MAX_PAUSE),
            None => self.waiting.front().map(|oldest| oldest.since + MAX_LAG_TIME),
        }
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
