//! Addresses that came on a stream, so that those who write often are not looked at letter by letter each time.

use std::sync::{Arc, Mutex, PoisonError};

use jid::Jid;

/// How many addresses are remembered at first, and at most: powers of two.
const FIRST: usize = 8;
const MOST: usize = 512;

/// Each address has one place, which it shares with others: who came last has it.
#[derive(Debug, Default)]
pub(super) struct Senders(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    jids: Vec<Option<Arc<Jid>>>,
    /// How often one has put out another since there were more places.
    evicted: usize,
}

impl Senders {
    /// The JID that this is (RFC 7622).
    pub(super) fn jid(&self, address: &str) -> Option<Arc<Jid>> {
        let at = hash(address);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(at, address);
        if known.is_some() {
            return known;
        }
        let jid = Arc::new(Jid::new(address).ok()?);
        // Only what is written as it is normalised is found again by what is written.
        if jid.as_str() == address {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(at, &jid);
        }
        Some(jid)
    }
}

impl Places {
    fn get(&self, at: usize, address: &str) -> Option<Arc<Jid>> {
        let place = self.jids.get(at & self.jids.len().wrapping_sub(1))?;
        place.as_ref().filter(|jid| jid.as_str() == address).cloned()
    }

    fn put(&mut self, at: usize, jid: &Arc<Jid>) {
        if self.jids.is_empty() {
            self.jids.resize(FIRST, None);
        } else if self.evicted >= self.jids.len() && self.jids.len() < MOST {
            self.evicted = 0;
            let places = 2 * self.jids.len();
            for jid in std::mem::replace(&mut self.jids, vec![None; places]).into_iter().flatten() {
                let at = hash(jid.as_str()) & (places - 1);
                self.jids[at] = Some(jid);
            }
        }
        let at = at & (self.jids.len() - 1);
        self.evicted += usize::from(self.jids[at].replace(Arc::clone(jid)).is_some());
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
        let senders = Senders::default();
        for _ in 0..3 {
            for n in 0..2_000 {
                let address = format!("contact{n}@montague.example/Balcony {}", n % 3);
                assert_eq!(senders.jid(&address).as_deref(), Jid::new(&address).ok().as_ref());
            }
            for odd in ["JULIET@Capulet.Example/x", "a@b./c", "b", "b/", "", "@", "a@b/c/d@e", "\u{212b}@x", "a@b/\u{212b}"] {
                assert_eq!(senders.jid(odd).as_deref(), Jid::new(odd).ok().as_ref(), "{odd}");
            }
        }
        let places = senders.0.lock().expect("nobody panicked");
        assert_eq!(places.jids.len(), MOST);
        let known = places.jids.iter().flatten().count();
        assert!(known > MOST * 9 / 10, "{known} have a place");
    }

    #[test]
    fn who_hears_from_few_remembers_few() {
        let senders = Senders::default();
        for _ in 0..1_000 {
            for address in ["a@b/c", "d@e/f"] {
                assert!(senders.jid(address).is_some());
            }
        }
        assert_eq!(senders.0.lock().expect("nobody panicked").jids.len(), FIRST);
    }
}
