//! The numbers of inbound stanzas, and how far they have been taken over (R3).

use std::collections::BTreeSet;

/// Every inbound stanza gets the next number as it is read; responsibility for it is taken over in any order.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    read: u64,
    /// The longest prefix taken over, counted without wrapping.
    handled: u64,
    /// Numbers above `handled + 1` that were taken over already.
    ahead: BTreeSet<u64>,
    /// Up to here stanzas were passed on already, on an earlier connection of this session.
    passed_on: u64,
    /// The number of the last stanza that does not count for XEP-0198: it came before the stream was managed.
    base: u64,
}

/// The number of a stanza that was just read.
pub(super) struct Numbered {
    pub(super) seq: u64,
    /// It is a second copy of a stanza that was passed on before the connection was cut: it counts, and nothing else.
    pub(super) again: bool,
}

impl Numbers {
    /// Numbers that go on behind this one.
    pub(super) fn after(number: u64) -> Self {
        Self { read: number, handled: number, base: number, ..Self::default() }
    }

    /// The numbers of a session that an earlier process had: `h`, and what was taken over above it.
    pub(super) fn restored(h: u32, above: &[u32]) -> Self {
        let handled = u64::from(h);
        let ahead = above.iter().map(|number| handled + u64::from(number.wrapping_sub(h))).filter(|n| *n > handled).collect();
        Self { read: handled, handled, ahead, ..Self::default() }
    }

    /// The stream is managed from here on: what came before does not count.
    pub(super) fn begin_count(&mut self) {
        self.base = self.read;
    }

    /// The session goes on with a new connection, on which the server begins behind the number it was told.
    pub(super) fn resume(&mut self, told: u64) {
        self.passed_on = self.highest();
        self.read = told;
    }

    /// The number of the stanza that was just read.
    pub(super) fn next(&mut self) -> Numbered {
        self.read += 1;
        let again = self.read <= self.passed_on.max(self.handled) || self.ahead.contains(&self.read);
        #[cfg(xmppkit_sabotage)]
        if crate::sabotage::is("ack-on-parse") {
            self.taken_over(self.read);
        }
        Numbered { seq: self.read, again }
    }

    /// Notes that this stanza was taken over. Numbers that were never given, and those taken over before, change nothing.
    pub(super) fn taken_over(&mut self, seq: u64) {
        if seq <= self.handled || seq > self.highest() {
            return;
        }
        if seq == self.handled + 1 && self.ahead.is_empty() {
            // The usual case: nothing is to be kept of it.
            self.handled = seq;
            return;
        }
        self.ahead.insert(seq);
        while self.ahead.first() == Some(&(self.handled + 1)) {
            self.ahead.pop_first();
            self.handled += 1;
        }
    }

    pub(super) fn handled(&self) -> u64 {
        self.handled
    }

    /// XEP-0198's count: what came on the managed stream and was taken over, modulo 2³².
    pub(super) fn h(&self) -> u32 {
        wrapped(self.handled.saturating_sub(self.base))
    }

    /// The count as it will be when these stanzas are taken over as well, and the numbers above it that are taken over then.
    pub(super) fn h_with(&self, seqs: &[u64]) -> (u32, Vec<u32>) {
        let mut ahead: BTreeSet<u64> = self.ahead.iter().chain(seqs).copied().filter(|seq| *seq > self.handled).collect();
        let mut handled = self.handled;
        while ahead.first() == Some(&(handled + 1)) {
            ahead.pop_first();
            handled += 1;
        }
        let count = |number: u64| wrapped(number.saturating_sub(self.base));
        (count(handled), ahead.into_iter().filter(|number| *number > self.base).map(count).collect())
    }

    /// The highest number given so far.
    pub(super) fn highest(&self) -> u64 {
        self.read.max(self.passed_on).max(self.handled)
    }

    /// How many stanzas were read and not taken over yet, those ahead of the prefix included.
    pub(super) fn lag(&self) -> u64 {
        self.highest() - self.handled
    }
}

/// XEP-0198 §4: counts are modulo 2³².
pub(super) fn wrapped(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handled_is_the_longest_prefix_whatever_the_order() {
        let mut n = Numbers::default();
        for _ in 0..6 {
            assert!(!n.next().again);
        }
        for (seq, handled) in [(2, 0), (4, 0), (1, 2), (6, 2), (3, 4), (3, 4), (5, 6)] {
            n.taken_over(seq);
            assert_eq!(n.handled(), handled, "after {seq}");
        }
        assert!(n.ahead.is_empty());
        assert_eq!(n.lag(), 0);
    }

    #[test]
    fn numbers_never_given_are_not_counted() {
        let mut n = Numbers::default();
        n.taken_over(1);
        n.taken_over(0);
        assert_eq!(n.next().seq, 1);
        assert_eq!((n.handled(), n.lag()), (0, 1));
        n.taken_over(u64::MAX);
        n.taken_over(1);
        n.taken_over(1);
        assert_eq!((n.handled(), n.lag()), (1, 0));
    }

    #[test]
    fn after_a_resume_what_was_passed_on_counts_and_is_not_passed_on_again() {
        let mut n = Numbers::after(10);
        n.next();
        n.begin_count();
        for _ in 0..4 {
            n.next();
        }
        // 11 came before the stream was managed; 12 and 14 are taken over, 13 and 15 are not.
        [11, 12, 14].into_iter().for_each(|seq| n.taken_over(seq));
        assert_eq!((n.h(), n.handled()), (1, 12));
        n.resume(n.handled());
        let copies: Vec<(u64, bool)> = (0..4).map(|_| n.next()).map(|next| (next.seq, next.again)).collect();
        assert_eq!(copies, [(13, true), (14, true), (15, true), (16, false)]);
        n.taken_over(13);
        assert_eq!((n.h(), n.lag()), (3, 2));
        [15, 16].into_iter().for_each(|seq| n.taken_over(seq));
        assert_eq!((n.h(), n.lag()), (5, 0));
    }

    #[test]
    fn what_was_taken_over_late_counts_before_its_copy_comes() {
        let mut n = Numbers::default();
        n.next();
        n.resume(0);
        n.taken_over(1);
        assert_eq!((n.h(), n.lag()), (1, 0));
        assert!(n.next().again);
        assert!(!n.next().again);
    }

    #[test]
    fn counts_wrap_and_what_lies_above_the_wrap_is_kept() {
        let mut n = Numbers::restored(u32::MAX, &[1]);
        assert!(!n.next().again, "number 0 of the new round");
        assert_eq!((n.h_with(&[1 << 32]), n.h_with(&[])), ((1, vec![]), (u32::MAX, vec![1])));
        n.taken_over(1 << 32);
        assert_eq!(n.h(), 1, "and 1 was there");
        assert!(n.next().again);
    }

    #[test]
    fn a_count_can_be_foretold() {
        let mut n = Numbers::default();
        (0..6).for_each(|_| assert!(!n.next().again));
        n.taken_over(3);
        assert_eq!(n.h_with(&[1, 2, 6]), (3, vec![6]));
        assert_eq!((n.h(), n.h_with(&[5])), (0, (0, vec![3, 5])));
    }
}
