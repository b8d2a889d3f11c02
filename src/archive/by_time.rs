//! Archives whose ids are times, and put messages where they belong only after a while: ejabberd's.
//!
//! Its ids are the time in microseconds at which a message was taken up for the archive, and under load one is put there seconds behind
//! others that are newer; then a search behind the newest id would miss it for ever, and what is given out as it is read would be out of
//! order [V: 23.01, 24.12]. Ids have no form (XEP-0313 §3.1), so this is a hint: with it the archive is asked once more from a little
//! before where it was read to, and the youngest results wait for one another. Without it nothing is lost that another archive
//! would not lose.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::wire::ArchiveResult;
use crate::store::ArchiveCursor;

/// How much older than the newest a result is when no other is expected to come before it.
const SETTLED: Duration = Duration::from_secs(30);
/// The most results that wait.
const MAX_WAITING: usize = 10_000;

/// The time that an id is, if it is one.
pub(super) fn time_in_id(id: &str) -> Option<SystemTime> {
    let is_time = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_digit());
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(id.parse().ok().filter(|_| is_time)?))
}

/// The time of the last message that is known.
pub(super) fn time_of_last(cursor: &ArchiveCursor) -> Option<SystemTime> {
    cursor.last.as_deref().and_then(time_in_id)
}

pub(super) fn is_by_time(cursor: &ArchiveCursor) -> bool {
    time_of_last(cursor).is_some()
}

/// Results that wait until nothing is expected before them.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// By their ids, which are equally long, and so in the order of time.
    waiting: BTreeMap<String, ArchiveResult>,
}

impl Settling {
    /// Takes the results of a page, and gives those that nothing is expected before, in order: with `all`, all of them. The reading
    /// has taken so long `since` it began. Results without a time in their id wait for nothing.
    pub(super) fn settle(&mut self, results: Vec<ArchiveResult>, since: Duration, all: bool) -> Vec<ArchiveResult> {
        if results.iter().any(|result| time_in_id(&result.id).is_none()) {
            let before = std::mem::take(&mut self.waiting).into_values();
            return before.chain(results).collect();
        }
        self.waiting.extend(results.into_iter().map(|result| (result.id.clone(), result)));
        let newest = self.waiting.last_key_value().and_then(|(id, _)| time_in_id(id));
        let is_old = |id: &str| newest.zip(time_in_id(id)).is_some_and(|(newest, time)| time + SETTLED + since < newest);
        let mut settled = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let is_settled = all || is_old(first.key());
            let value = if is_settled { first.remove() } else { break };
            settled.push(value);
        }
        while self.waiting.len() > MAX_WAITING {
            settled.extend(self.waiting.pop_first().map(|(_, result)| result));
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str) -> ArchiveResult {
        ArchiveResult { id: id.to_owned(), stamp: None, message: None }
    }

    /// An id so many seconds after some moment.
    fn at(seconds: u64) -> String {
        format!("{}", 1_795_735_000_000_000 + seconds * 1_000_000)
    }

    fn settled(settling: &mut Settling, seconds: &[u64], all: bool) -> Vec<String> {
        let results = seconds.iter().map(|seconds| result(&at(*seconds))).collect();
        settling.settle(results, Duration::ZERO, all).into_iter().map(|result| result.id).collect()
    }

    fn ids(seconds: &[u64]) -> Vec<String> {
        seconds.iter().map(|seconds| at(*seconds)).collect()
    }

    #[test]
    fn the_youngest_wait_for_those_that_come_late_and_none_waits_for_ever() {
        let mut settling = Settling::default();
        assert_eq!(settled(&mut settling, &[0, 1, 40, 39, 10], false), ids(&[0, 1]), "10 is not old enough");
        assert_eq!(settled(&mut settling, &[5, 40, 41], false), ids(&[5, 10]));
        assert_eq!(settled(&mut settling, &[38], false), ids(&[]));
        assert_eq!(settled(&mut settling, &[], true), ids(&[38, 39, 40, 41]), "each once");
        assert!(settled(&mut settling, &[], true).is_empty());
        // What may have come late while it was read is older by the time that took.
        let results = [0, 35, 41].map(|seconds| result(&at(seconds))).into();
        assert!(settling.settle(results, Duration::from_secs(11), false).is_empty());
        assert_eq!(settling.settle(Vec::new(), Duration::from_secs(10), false).len(), 1);
    }

    #[test]
    fn what_has_no_time_waits_for_nothing() {
        let mut settling = Settling::default();
        assert!(settled(&mut settling, &[0], false).is_empty());
        let given: Vec<_> =
            settling.settle(vec![result("x"), result("a")], Duration::ZERO, false).into_iter().map(|result| result.id).collect();
        assert_eq!(given, [at(0).as_str(), "x", "a"]);
    }

    #[test]
    fn only_so_many_wait() {
        let mut settling = Settling::default();
        let ids = (0..MAX_WAITING as u64 + 5).map(|n| result(&(1_795_735_000_000_000 + n).to_string())).collect();
        assert_eq!(settling.settle(ids, Duration::ZERO, false).len(), 5);
    }

    #[test]
    fn a_time_has_sixteen_digits() {
        assert_eq!(time_in_id(&at(0)), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_735_000)));
        for other in ["", "179573500000000", "17957350000000000", "179573500000000x", "2f9a1c1e-0d3b-4a55", "+795735000000000"] {
            assert_eq!(time_in_id(other), None, "{other}");
        }
    }
}
