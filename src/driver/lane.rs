//! The message lane: batches are dispatched one at a time, in order, and how far they lag is bounded (R2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::driver::Numbered;

/// Stanzas `h` may lag before reading pauses (R2).
const MAX_LAG: usize = 200;
/// How long the oldest stanza may wait to be taken over before reading pauses (R2).
const MAX_LAG_TIME: Duration = Duration::from_secs(10);
/// How long reading pauses before whoever holds it is cut off (R2).
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Lane {
    backlog: Vec<Numbered>,
    pub(super) running: Option<BoxFuture<'static, Vec<u64>>>,
    /// Stanzas not taken over yet, oldest first.
    waiting: VecDeque<(u64, Instant)>,
    paused_since: Option<Instant>,
}

impl Lane {
    pub(super) fn add(&mut self, message: Numbered, now: Instant) {
        self.waiting.push_back((message.seq, now));
        self.backlog.push(message);
    }

    /// The next batch to dispatch, if none is being dispatched.
    pub(super) fn next_batch(&mut self) -> Option<Vec<Numbered>> {
        (self.running.is_none() && !self.backlog.is_empty()).then(|| std::mem::take(&mut self.backlog))
    }

    pub(super) fn taken_over(&mut self, number: u64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&number, |(seq, _)| *seq) {
            self.waiting.remove(at);
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
            None => self.waiting.front().map(|(_, oldest)| *oldest + MAX_LAG_TIME),
        }
    }

    fn lags(&self, now: Instant) -> bool {
        let old = |(_, since): &(u64, Instant)| now.saturating_duration_since(*since) >= MAX_LAG_TIME;
        self.waiting.len() >= MAX_LAG || self.waiting.front().is_some_and(old)
    }
}
