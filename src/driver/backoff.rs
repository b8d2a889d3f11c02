//! When to try again, and when not to (R15, C3).

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// How reconnecting is paced: exponential back-off with full jitter.
///
/// The n-th delay is drawn evenly from zero to `min(cap, base · 2ⁿ)`, so that a thousand clients of a server that was
/// restarted do not come back at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconnect {
    /// The bound of the first delay. Default 1 s.
    pub base: Duration,
    /// The highest bound. Default 2 min.
    pub cap: Duration,
    /// After this time online the pace starts from `base` again. Default 30 s.
    pub stable: Duration,
    /// The least delay after the server said that it has too much to do (`policy-violation`, `resource-constraint`).
    /// Default 15 s.
    pub overload: Duration,
}

impl Reconnect {
    /// Sets [`base`](field@Self::base).
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets [`cap`](field@Self::cap).
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets [`stable`](field@Self::stable).
    #[must_use]
    pub fn stable(mut self, stable: Duration) -> Self {
        self.stable = stable;
        self
    }

    /// Sets [`overload`](field@Self::overload).
    #[must_use]
    pub fn overload(mut self, overload: Duration) -> Self {
        self.overload = overload;
        self
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(120),
            stable: Duration::from_secs(30),
            overload: Duration::from_secs(15),
        }
    }
}

/// A session that ended after less than this ended soon.
const SOON: Duration = Duration::from_secs(60);

/// What a broken connection or attempt means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stop,
    Retry(Duration),
}

/// Remembers what is needed to decide.
pub(super) struct Backoff {
    pace: Reconnect,
    failures: u32,
    overload: Option<(String, u32)>,
    /// The last session was replaced soon after it had been resumed.
    replaced: bool,
}

impl Backoff {
    pub(super) fn new(pace: Reconnect) -> Self {
        Self { pace, failures: 0, overload: None, replaced: false }
    }

    /// Whether a session that was online for this long counts as one that held.
    pub(super) fn is_stable(&self, online_for: Duration) -> bool {
        online_for >= self.pace.stable
    }

    /// Decides after an error. `online_since` is when the session that ended had come online, and `resumed` whether it had gone
    /// on there; `random` is uniform.
    pub(super) fn decide(
        &mut self,
        error: &Error,
        online_since: Option<Instant>,
        resumed: bool,
        now: Instant,
        random: u64,
    ) -> Verdict {
        let online_for = online_since.map(|since| now.saturating_duration_since(since));
        if online_for.is_some_and(|time| self.is_stable(time)) {
            self.failures = 0;
            self.replaced = false;
        }
        if !error.is_retryable() && !self.may_have_replaced_itself(error, online_for.filter(|_| resumed)) {
            return Verdict::Stop;
        }
        let overloaded = self.note_overload(error, online_for);
        if overloaded.is_some_and(|times| times >= 3) {
            return Verdict::Stop;
        }
        let bound = self.pace.base.saturating_mul(2u32.saturating_pow(self.failures.min(30))).min(self.pace.cap);
        self.failures = self.failures.saturating_add(1);
        let delay = jitter(bound, random);
        Verdict::Retry(if overloaded.is_some() { delay + self.pace.overload } else { delay })
    }

    /// Whether a `conflict` may come from this account's own earlier attempt to resume, of this process or of one that was killed:
    /// a server that is slow reads it after the later one, and the session goes on over there. Believed once.
    fn may_have_replaced_itself(&mut self, error: &Error, online_for: Option<Duration>) -> bool {
        let is_conflict = matches!(error.kind(), ErrorKind::Stream(stream) if stream.condition == "conflict");
        is_conflict && online_for.is_some_and(|time| time < SOON) && !std::mem::replace(&mut self.replaced, true)
    }

    /// What drew the server's anger is gone (C7).
    pub(super) fn forget_overload(&mut self) {
        self.overload = None;
    }

    /// How often in a row the server ended a session that was online for less than a minute with the same overload.
    fn note_overload(&mut self, error: &Error, online_for: Option<Duration>) -> Option<u32> {
        let ErrorKind::Stream(stream) = error.kind() else {
            if online_for.is_some() {
                self.overload = None;
            }
            return None;
        };
        if !matches!(stream.condition.as_str(), "policy-violation" | "resource-constraint") {
            self.overload = None;
            return None;
        }
        let soon = online_for.is_some_and(|time| time < SOON);
        let times = match &self.overload {
            Some((condition, times)) if soon && *condition == stream.condition => times + 1,
            Some((condition, times)) if online_for.is_none() && *condition == stream.condition => *times,
            _ => u32::from(soon),
        };
        self.overload = Some((stream.condition.clone(), times));
        Some(times)
    }
}

fn jitter(bound: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(if nanos == u64::MAX { random } else { random % (nanos + 1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{AuthError, Phase, StreamError};

    fn stream(condition: &str) -> Error {
        ErrorKind::Stream(StreamError::new(condition, None)).into()
    }

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_starts_anew_after_a_stable_time() {
        let closed = Error::from(ErrorKind::Closed(Phase::Session));
        let now = Instant::now();
        // Two that are told the same, apart from what they draw: that the first draws the bound itself, and the second, one
        // further, nothing, holds for this bound alone.
        let mut two = [0, 1].map(|beyond| (Backoff::new(Reconnect::default()), beyond));
        let mut assert_bound = |seconds: u64, online_since: Option<Instant>, now: Instant| {
            let nanos = Duration::from_secs(seconds).as_nanos() as u64;
            let drawn =
                two.each_mut().map(|(backoff, beyond)| backoff.decide(&closed, online_since, false, now, nanos + *beyond));
            assert_eq!(drawn, [Verdict::Retry(Duration::from_secs(seconds)), Verdict::Retry(Duration::ZERO)], "{seconds} s");
        };
        for seconds in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
            assert_bound(seconds, None, now);
        }
        assert_bound(120, Some(now), now + Duration::from_secs(29));
        assert_bound(1, Some(now), now + Duration::from_secs(30));
        assert_bound(2, None, now);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        let bound = Duration::from_secs(8);
        assert_eq!(jitter(bound, 0), Duration::ZERO);
        assert_eq!(jitter(bound, 8_000_000_000), bound);
        assert!(jitter(bound, u64::MAX) <= bound);
    }

    #[test]
    fn what_cannot_succeed_is_not_retried() {
        let mut backoff = Backoff::new(Reconnect::default());
        for error in [ErrorKind::Auth(AuthError::NotAuthorized).into(), stream("host-unknown"), stream("conflict")] {
            assert_eq!(backoff.decide(&error, None, false, Instant::now(), 0), Verdict::Stop, "{error}");
        }
        assert_eq!(backoff.decide(&stream("system-shutdown"), None, false, Instant::now(), 0), Verdict::Retry(Duration::ZERO));
        assert_eq!(backoff.decide(&stream("something-new"), None, false, Instant::now(), 0), Verdict::Retry(Duration::ZERO));
    }

    #[test]
    fn the_third_overload_within_a_minute_of_being_online_stops() {
        let mut backoff = Backoff::new(Reconnect::default());
        let since = Instant::now();
        let now = since + Duration::from_secs(5);
        let overload = stream("policy-violation");
        assert_eq!(backoff.decide(&overload, Some(since), false, now, 0), Verdict::Retry(Duration::from_secs(15)));
        assert_eq!(backoff.decide(&overload, Some(since), false, now, 0), Verdict::Retry(Duration::from_secs(15)));
        assert_eq!(backoff.decide(&overload, Some(since), false, now, 0), Verdict::Stop);
    }

    #[test]
    fn an_overload_after_a_long_session_is_counted_from_one_again() {
        let mut backoff = Backoff::new(Reconnect::default());
        let since = Instant::now();
        let (soon, late) = (since + Duration::from_secs(5), since + Duration::from_secs(500));
        let overload = stream("resource-constraint");
        for now in [soon, soon, late, soon, soon] {
            assert_ne!(backoff.decide(&overload, Some(since), false, now, 0), Verdict::Stop);
        }
        assert_eq!(backoff.decide(&overload, Some(since), false, soon, 0), Verdict::Stop);
    }

    #[test]
    fn a_session_replaced_soon_after_its_resumption_may_have_replaced_itself_once() {
        let mut backoff = Backoff::new(Reconnect::default());
        let since = Instant::now();
        let (soon, late) = (since + Duration::from_secs(1), since + Duration::from_secs(60));
        let conflict = stream("conflict");
        for resumed in [true, false] {
            assert_eq!(backoff.decide(&conflict, None, resumed, soon, 0), Verdict::Stop, "it was not online");
        }
        assert_eq!(backoff.decide(&conflict, Some(since), false, soon, 0), Verdict::Stop, "another client has its resource");
        assert_eq!(backoff.decide(&conflict, Some(since), true, late, 0), Verdict::Stop, "nothing is so late");
        assert_ne!(backoff.decide(&conflict, Some(since), true, soon, 0), Verdict::Stop);
        assert_eq!(backoff.decide(&conflict, Some(since), true, soon, 0), Verdict::Stop, "two clients would go on for ever");
        let closed = Error::from(ErrorKind::Closed(Phase::Session));
        backoff.decide(&closed, Some(since), true, late, 0);
        assert_ne!(backoff.decide(&conflict, Some(since), true, soon, 0), Verdict::Stop, "a session had held in between");
    }
}
