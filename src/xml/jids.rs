//! Addresses that came on a stream, so that those that come often are not looked at letter by letter each time.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jid::Jid;

use super::address::bare_of;

/// How many addresses are remembered at first, and at most: powers of two.
const FIRST: usize = 8;
const MOST: usize = 1_024;

/// An address that is shared by all who have to do with it.
#[derive(Clone)]
pub(crate) struct SharedJid(Arc<Named>);

struct Named {
    jid: Jid,
    /// The same without its resource, once somebody asked.
    bare: OnceLock<SharedJid>,
}

impl SharedJid {
    pub(crate) fn bare(&self) -> Self {
        if self.is_bare() { self.clone() } else { self.0.bare.get_or_init(|| Jid::from(bare_of(self)).into()).clone() }
    }

    pub(crate) fn into_jid(self) -> Jid {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.jid.clone(), |named| named.jid)
    }
}

impl From<Jid> for SharedJid {
    fn from(jid: Jid) -> Self {
        Self(Arc::new(Named { jid, bare: OnceLock::new() }))
    }
}

impl Deref for SharedJid {
    type Target = Jid;

    fn deref(&self) -> &Jid {
        &self.0.jid
    }
}

impl fmt::Debug for SharedJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.jid.fmt(f)
    }
}

/// Each address has two places, which it shares with others: those that came last have them.
#[derive(Debug, Default)]
pub(super) struct Jids(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    pairs: Vec<[Option<SharedJid>; 2]>,
    /// How often one has put out another since there were more places.
    evicted: usize,
}

impl Jids {
    /// The JID that this is (RFC 7622).
    pub(super) fn jid(&self, address: &str) -> Option<SharedJid> {
        let at = hash(address);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(at, address);
        if known.is_some() {
            return known;
        }
        let jid = SharedJid::from(Jid::new(address).ok()?);
        // Only what is written as it is normalised is found again by what is written.
        if jid.as_str() == address {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(at, &jid);
        }
        Some(jid)
    }
}

impl Places {
    fn get(&self, at: usize, address: &str) -> Option<SharedJid> {
        let pair = self.pairs.get(at & self.pairs.len().wrapping_sub(1))?;
        pair.iter().flatten().find(|jid| jid.as_str() == address).cloned()
    }

    fn put(&mut self, at: usize, jid: &SharedJid) {
        let len = self.pairs.len();
        if len == 0 {
            self.pairs.resize(FIRST / 2, [const { None }; 2]);
        } else if self.evicted >= len && 2 * len < MOST {
            self.evicted = 0;
            for jid in std::mem::replace(&mut self.pairs, vec![[const { None }; 2]; 2 * len]).into_iter().flatten().flatten() {
                self.put(hash(jid.as_str()), &jid);
            }
        }
        let at = at & (self.pairs.len() - 1);
        let [first, second] = &mut self.pairs[at];
        std::mem::swap(first, second);
        self.evicted += usize::from(first.replace(jid.clone()).is_some());
    }
}

/// Whoever makes addresses that share a place puts them out, and no more.
fn hash(address: &str) -> usize {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let (words, rest) = address.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mix = |hash: u64, word: &[u8; 8]| (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
    let hash = mix(words.iter().fold(address.len() as u64, mix), &last);
    (hash >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_jid_the_first_time_and_again() {
        let jids = Jids::default();
        for _ in 0..3 {
            for n in 0..2_000 {
                let address = format!("contact{n}@montague.example/Balcony {}", n % 3);
                assert_eq!(jids.jid(&address).as_deref(), Jid::new(&address).ok().as_ref());
            }
            for odd in ["JULIET@Capulet.Example/x", "a@b./c", "b", "b/", "", "@", "a@b/c/d@e", "\u{212b}@x", "a@b/\u{212b}"] {
                assert_eq!(jids.jid(odd).as_deref(), Jid::new(odd).ok().as_ref(), "{odd}");
            }
        }
        let places = jids.0.lock().expect("nobody panicked");
        assert_eq!(places.pairs.len(), MOST / 2);
        let known = places.pairs.iter().flatten().flatten().count();
        assert!(known > MOST * 9 / 10, "{known} have a place");
    }

    #[test]
    fn who_hears_from_few_remembers_few() {
        let jids = Jids::default();
        for _ in 0..1_000 {
            for address in ["a@b/c", "d@e/f"] {
                assert!(jids.jid(address).is_some());
            }
        }
        assert_eq!(jids.0.lock().expect("nobody panicked").pairs.len(), FIRST / 2);
    }
}
