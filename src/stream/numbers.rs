//! The numbers of inbound stanzas, and how far they have been taken over (R3).

use std::collections::BTreeSet;

/// Every inbound stanza gets the next number as it is read; responsibility for it is taken over in any order.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    read: u64,
    /// The longest prefix taken over: XEP-0198's `h`, counted without wrapping.
    handled: u64,
    /// Numbers above `handled + 1` that were taken over already.
    ahead: BTreeSet<u64>,
}

impl Numbers {
    /// The number of the stanza that was just read; the first is 1.
    pub(super) fn next(&mut self) -> u64 {
        self.read += 1;
        self.read
    }

    /// Notes that this stanza was taken over. Numbers that were never given, and those taken over before, change nothing.
    pub(super) fn taken_over(&mut self, seq: u64) {
        if seq <= self.handled || seq > self.read {
            return;
        }
        if seq != self.handled + 1 {
            self.ahead.insert(seq);
            return;
        }
        self.handled = seq;
        while self.ahead.first() == Some(&(self.handled + 1)) {
            self.ahead.pop_first();
            self.handled += 1;
        }
    }

    pub(super) fn handled(&self) -> u64 {
        self.handled
    }

    /// How many stanzas were read and not taken over yet, those ahead of the prefix included.
    pub(super) fn lag(&self) -> u64 {
        self.read - self.handled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handled_is_the_longest_prefix_whatever_the_order() {
        let mut n = Numbers::default();
        for _ in 0..6 {
            n.next();
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
        assert_eq!(n.next(), 1);
        assert_eq!((n.handled(), n.lag()), (0, 1));
        n.taken_over(u64::MAX);
        n.taken_over(1);
        n.taken_over(1);
        assert_eq!((n.handled(), n.lag()), (1, 0));
    }
}
