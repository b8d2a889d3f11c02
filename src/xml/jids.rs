//! Addresses that came on a stream, so that those that come often are not looked at letter by letter each time.

use std::sync::{Arc, Mutex, PoisonError};

use jid::Jid;

use super::address::bare_of;

/// How many addresses are remembered at first, and at most: powers of two.
const FIRST: usize = 8;
const MOST: usize = 1_024;

/// An address of a stanza.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) jid: Arc<Jid>,
    /// Without the resource, if that is at hand.
    bare: Option<Arc<Jid>>,
}

impl Address {
    /// One that is not remembered.
    pub(super) fn of(jid: Jid) -> Self {
        Self { jid: Arc::new(jid), bare: None }
    }

    pub(super) fn bare(&self) -> Arc<Jid> {
        self.bare.clone().unwrap_or_else(|| bare(&self.jid))
    }
}

fn bare(jid: &Arc<Jid>) -> Arc<Jid> {
    if jid.is_bare() { Arc::clone(jid) } else { Arc::new(bare_of(jid).into()) }
}

/// Each address has two places, which it shares with others: those that came last have them.
#[derive(Debug, Default)]
pub(super) struct Jids(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    pairs: Vec<[Option<Address>; 2]>,
    /// How often one has put out another since there were more places.
    evicted: usize,
}

impl Jids {
    /// The JID that this is (RFC 7622).
    pub(super) fn address(&self, address: &str) -> Option<Address> {
        let at = hash(address);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(at, address);
        if known.is_some() {
            return known;
        }
        let mut known = Address::of(Jid::new(address).ok()?);
        // Only what is written as it is normalised is found again by what is written.
        if known.jid.as_str() == address {
            known.bare = Some(bare(&known.jid));
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(at, &known);
        }
        Some(known)
    }
}

impl Places {
    fn get(&self, at: usize, address: &str) -> Option<Address> {
        let pair = self.pairs.get(at & self.pairs.len().wrapping_sub(1))?;
        pair.iter().flatten().find(|known| known.jid.as_str() == address).cloned()
    }

    fn put(&mut self, at: usize, address: &Address) {
        let len = self.pairs.len();
        if len == 0 {
            self.pairs.resize(FIRST / 2, [const { None }; 2]);
        } else if self.evicted >= len && 2 * len < MOST {
            self.evicted = 0;
            for known in std::mem::replace(&mut self.pairs, vec![[const { None }; 2]; 2 * len]).into_iter().flatten().flatten() {
                self.put(hash(known.jid.as_str()), &known);
            }
        }
        let at = at & (self.pairs.len() - 1);
        let [first, second] = &mut self.pairs[at];
        std::mem::swap(first, second);
        self.evicted += usize::from(first.replace(address.clone()).is_some());
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
                assert_eq!(jids.address(&address).map(|known| known.jid).as_deref(), Jid::new(&address).ok().as_ref());
            }
            for odd in ["JULIET@Capulet.Example/x", "a@b./c", "b", "b/", "", "@", "a@b/c/d@e", "\u{212b}@x", "a@b/\u{212b}"] {
                assert_eq!(jids.address(odd).map(|known| known.jid).as_deref(), Jid::new(odd).ok().as_ref(), "{odd}");
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
                assert!(jids.address(address).is_some());
            }
        }
        assert_eq!(jids.0.lock().expect("nobody panicked").pairs.len(), FIRST / 2);
    }
}
