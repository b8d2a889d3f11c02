//! Hashing of keys that are spread already: digests, and numbers that were counted.

use std::hash::{BuildHasherDefault, Hasher};

/// For [identity keys](crate::store::IdentityKey): a digest's first bytes serve as its hash. Whoever makes many messages whose digests
/// begin alike makes the store compare some of them, of the few thousand that it keeps.
pub(super) type Digests = BuildHasherDefault<FirstBytes>;

/// For numbers that the store itself gives.
pub(super) type Numbers = BuildHasherDefault<Multiplied>;

#[derive(Debug, Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_u8(&mut self, _: u8) {}

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug, Default)]
pub(super) struct Multiplied(u64);

impl Hasher for Multiplied {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: neighbours are spread over the upper bits, by which a table tells its entries apart, and the lower.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
