//! What was read of a stream, as counts and a checksum: two readers that print the same have read the same.

use std::fmt;

/// Counts by kind, and a sum over every value that was read.
///
/// Each value goes in with the number of its stanza and with what it is; the order inside a stanza does not matter, for
/// readers go through it in orders of their own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages, not those inside others.
    pub(crate) messages: u64,
    pub(crate) presences: u64,
    pub(crate) iqs: u64,
    /// Messages inside carbons and archive results.
    pub(crate) inner: u64,
    /// Payloads that were read, or converted.
    pub(crate) payloads: u64,
    pub(crate) checksum: u64,
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    From = 1,
    To,
    Id,
    Type,
    Body,
    Name,
    By,
    Stamp,
    Node,
    Ver,
    Show,
    Status,
    Priority,
    Jid,
    Subscription,
    Group,
    Route,
    Other,
}

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl Tally {
    /// Stanzas, without those inside others.
    pub(crate) fn stanzas(&self) -> u64 {
        self.messages + self.presences + self.iqs
    }

    /// This and the other: what two readers found who share the work.
    #[allow(dead_code, reason = "not every benchmark has two")]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            presences: self.presences + other.presences,
            iqs: self.iqs + other.iqs,
            inner: self.inner + other.inner,
            payloads: self.payloads + other.payloads,
            checksum: self.checksum.wrapping_add(other.checksum),
        }
    }

    pub(crate) fn text(&mut self, field: Field, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(crate) fn some(&mut self, field: Field, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.text(field, value.as_ref());
        }
    }

    pub(crate) fn bytes(&mut self, field: Field, value: &[u8]) {
        let mut sum = self.seed(field) ^ value.len() as u64;
        let (words, rest) = value.as_chunks::<8>();
        for word in words {
            sum = mix(sum, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.checksum = self.checksum.wrapping_add(mix(sum, u64::from_le_bytes(last)));
    }

    pub(crate) fn number(&mut self, field: Field, value: i64) {
        self.checksum = self.checksum.wrapping_add(mix(self.seed(field), value.cast_unsigned()));
    }

    fn seed(&self, field: Field) -> u64 {
        self.stanzas().wrapping_mul(FACTOR) ^ ((field as u64) << 56)
    }
}

fn mix(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word).wrapping_mul(FACTOR);
    product ^ (product >> 29)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, presences, iqs, inner, payloads, checksum } = self;
        write!(
            f,
            "messages={messages} presences={presences} iqs={iqs} inner={inner} payloads={payloads} checksum={checksum:016x}"
        )
    }
}
