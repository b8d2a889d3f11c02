//! Hashing of keys that are spread already.

use std::hash::{BuildHasherDefault, Hasher};

/// For [identity keys](crate::store::IdentityKey): a digest's first bytes serve as its hash. Whoever makes many messages whose digests
/// begin alike makes the store compare some of them, of the few thousand that it keeps.
pub(super) type Digests = BuildHasherDefault<FirstBytes>;

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
