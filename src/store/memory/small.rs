//! A sorted map that is small where it holds little: most accounts have a handful of each thing, and a process may have many
//! accounts.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How many entries stand in a vector, which has room for no more than are there.
const FEW: usize = 8;

/// A sorted map.
#[derive(Debug)]
pub(super) enum SmallMap<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

impl<K: Ord, V> SmallMap<K, V> {
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(few) => Some(&few[place(few, key).ok()?].1),
            Self::Many(many) => many.get(key),
        }
    }

    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(few) => {
                let at = place(few, key).ok()?;
                Some(&mut few[at].1)
            }
            Self::Many(many) => many.get_mut(key),
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        let few = match self {
            Self::Many(many) => return drop(many.insert(key, value)),
            Self::Few(few) => few,
        };
        match place(few, &key) {
            Ok(at) => few[at].1 = value,
            Err(at) if few.len() < FEW => {
                few.reserve_exact(1);
                few.insert(at, (key, value));
            }
            Err(_) => {
                let mut many: BTreeMap<K, V> = std::mem::take(few).into_iter().collect();
                many.insert(key, value);
                *self = Self::Many(many);
            }
        }
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(few) => {
                if let Ok(at) = place(few, key) {
                    few.remove(at);
                }
            }
            Self::Many(many) => drop(many.remove(key)),
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        match self {
            Self::Few(few) => few.retain(|(key, _)| keep(key)),
            Self::Many(many) => many.retain(|key, _| keep(key)),
        }
    }

    /// The entries from this key on, in order.
    pub(super) fn range<'a, Q: Ord + ?Sized>(&'a self, from: Bound<&'a Q>) -> impl Iterator<Item = (&'a K, &'a V)>
    where
        K: Borrow<Q>,
    {
        let (few, many) = match self {
            Self::Few(few) => {
                let before = |key: &Q| match from {
                    Bound::Included(from) => key < from,
                    Bound::Excluded(from) => key <= from,
                    Bound::Unbounded => false,
                };
                (&few[few.partition_point(|(key, _)| before(key.borrow()))..], None)
            }
            Self::Many(many) => (&[][..], Some(many.range::<Q, _>((from, Bound::Unbounded)))),
        };
        few.iter().map(|(key, value)| (key, value)).chain(many.into_iter().flatten())
    }
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// Where a key stands, or where it would.
fn place<K: Borrow<Q>, V, Q: Ord + ?Sized>(few: &[(K, V)], key: &Q) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same is done to one of these and to a `BTreeMap`, below the bound, over it, and back.
    #[test]
    fn it_holds_what_a_sorted_map_holds() {
        let (mut small, mut model) = (SmallMap::default(), BTreeMap::new());
        let mut seed = 7_u64;
        for step in 0..2_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bound = if step < 1_000 { 12 } else { 40 };
            let (key, kind) = ((seed >> 33) % bound, (seed >> 60) % 4);
            if kind < 2 {
                small.insert(key, step);
                model.insert(key, step);
            } else {
                small.remove(&key);
                model.remove(&key);
            }
            assert_eq!(small.get(&key), model.get(&key));
            assert_eq!(small.get_mut(&(key / 2)).copied(), model.get(&(key / 2)).copied());
            for from in [Bound::Unbounded, Bound::Included(&key), Bound::Excluded(&key)] {
                assert!(small.range(from).eq(model.range((from, Bound::Unbounded))));
            }
        }
        assert!(matches!(small, SmallMap::Many(_)));
        small.retain(|key| key % 2 == 0);
        model.retain(|key, _| key % 2 == 0);
        assert!(small.range(Bound::Unbounded).eq(&model));
    }

    #[test]
    fn few_take_no_more_room_than_they_need() {
        let mut small = SmallMap::default();
        for key in [3, 1, 2] {
            small.insert(key, ());
            let SmallMap::Few(few) = &small else { panic!("there are few") };
            assert_eq!(few.capacity(), few.len());
        }
    }
}
