//! Finding out that a connection is dead: a network that is gone says nothing.

use std::time::{Duration, Instant};

/// How a dead connection is found out: when nothing came for `interval`, the server is asked (for an acknowledgement, XEP-0198,
/// or by a ping, XEP-0199), and when nothing at all comes for `timeout` after that, the connection is given up.
///
/// Whatever the server sends counts, an error as well; where traffic flows nothing is asked. A message that was sent asks for an
/// acknowledgement anyway, so while messages go out silence is noticed after `timeout`. After
/// [`Client::network_changed`](crate::client::Client::network_changed) the server is asked at once.
///
/// ```
/// use std::time::Duration;
/// use xmppkit::client::KeepAlive;
/// let phone = KeepAlive::new(Duration::from_secs(300), Duration::from_secs(30));
/// let never = KeepAlive::new(Duration::MAX, Duration::MAX);
/// # let _ = (phone, never);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepAlive {
    /// How long the server may be silent before it is asked. Default 60 s; [`Duration::MAX`] never asks.
    pub interval: Duration,
    /// How long it may stay silent then. Default 20 s.
    pub timeout: Duration,
}

impl KeepAlive {
    /// Asks after `interval`, gives up `timeout` later.
    #[must_use]
    pub const fn new(interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self::new(Duration::from_secs(60), Duration::from_secs(20))
    }
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ask,
    GiveUp,
}

/// One connection's pulse.
pub(super) struct Pulse {
    pace: KeepAlive,
    heard: Instant,
    asked: Option<Instant>,
    /// To be asked at the next opportunity.
    doubted: Option<Instant>,
    /// When an acknowledgement was asked for last.
    question: Option<Instant>,
}

impl Pulse {
    pub(super) fn new(pace: KeepAlive, now: Instant) -> Self {
        Self { pace, heard: now, asked: None, doubted: None, question: None }
    }

    /// An acknowledgement is being waited for since then: the server owes a sign of life.
    pub(super) fn waits_since(&mut self, question: Option<Instant>) {
        let is_new = question != self.question;
        self.question = question;
        if let Some(at) = question.filter(|at| is_new && *at >= self.heard) {
            self.asked.get_or_insert(at);
        }
    }

    /// Something came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// Asks at the next opportunity, however recently something came: that may have been under way before.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.doubted = Some(now);
    }

    /// When something may be due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.asked {
            Some(asked) => asked.checked_add(self.pace.timeout),
            None => self.doubted.or_else(|| self.heard.checked_add(self.pace.interval)),
        }
    }

    /// What is due; [`Due::Ask`] is given once.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Due::Nothing;
        }
        if self.asked.is_some() {
            return Due::GiveUp;
        }
        (self.asked, self.doubted) = (Some(now), None);
        Due::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_asked_about_once_and_then_given_up() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KeepAlive::new(60 * SECOND, 20 * SECOND), start);
        assert_eq!(pulse.due(start + 59 * SECOND), Due::Nothing);
        assert_eq!(pulse.due(start + 60 * SECOND), Due::Ask);
        assert_eq!(pulse.due(start + 61 * SECOND), Due::Nothing);
        assert_eq!(pulse.due(start + 80 * SECOND), Due::GiveUp);
    }

    #[test]
    fn traffic_is_enough_and_an_answer_begins_the_count_anew() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KeepAlive::new(60 * SECOND, 20 * SECOND), start);
        for second in 0..1_000 {
            pulse.heard(start + second * SECOND);
            assert_eq!(pulse.due(start + second * SECOND + SECOND / 2), Due::Nothing);
        }
        assert_eq!(pulse.due(start + 1_059 * SECOND), Due::Ask);
        pulse.heard(start + 1_070 * SECOND);
        assert_eq!(pulse.due(start + 1_100 * SECOND), Due::Nothing);
    }

    #[test]
    fn a_question_that_is_asked_anyway_counts_until_anything_comes() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KeepAlive::new(60 * SECOND, 20 * SECOND), start);
        pulse.waits_since(Some(start + SECOND));
        assert_eq!(pulse.due(start + 20 * SECOND), Due::Nothing);
        pulse.heard(start + 20 * SECOND);
        pulse.waits_since(Some(start + SECOND));
        assert_eq!(pulse.due(start + 79 * SECOND), Due::Nothing, "something came since: the server lives");
        pulse.waits_since(Some(start + 79 * SECOND));
        assert_eq!(pulse.due(start + 99 * SECOND), Due::GiveUp);
    }

    #[test]
    fn doubt_asks_at_once_and_never_is_never() {
        let start = Instant::now() + 1_000 * SECOND;
        let mut pulse = Pulse::new(KeepAlive::new(60 * SECOND, 20 * SECOND), start);
        pulse.doubt(start);
        pulse.heard(start);
        assert_eq!(pulse.due(start), Due::Ask);
        pulse.heard(start + SECOND);
        assert_eq!(pulse.due(start + 2 * SECOND), Due::Nothing, "asked once");
        let mut never = Pulse::new(KeepAlive::new(Duration::MAX, Duration::MAX), start);
        assert_eq!((never.deadline(), never.due(start + 1_000_000 * SECOND)), (None, Due::Nothing));
        never.doubt(start);
        assert_eq!((never.due(start), never.due(start + 1_000_000 * SECOND)), (Due::Ask, Due::Nothing));
    }
}
