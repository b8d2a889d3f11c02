//! A sorted queue: nearly everything comes in at its end and leaves at its beginning.

use std::collections::VecDeque;

/// Values in order, no two with one key. What comes last costs nothing to put in and what comes first nothing to take out; elsewhere the
/// rest moves.
#[derive(Debug)]
pub(super) struct Sorted<T>(VecDeque<T>);

/// What a value is sorted by.
pub(super) trait Keyed {
    type Key: Ord + Copy;

    fn key(&self) -> Self::Key;

    /// How many keys there may be from the first up to this one, where keys are numbers that are given out in turn.
    fn between(_first: Self::Key, _key: Self::Key) -> usize {
        0
    }
}

impl<T: Keyed> Sorted<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.0.front()
    }

    pub(super) fn take_first(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.0.back()
    }

    /// To change it, but for its key.
    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.0.back_mut()
    }

    pub(super) fn get(&self, key: T::Key) -> Option<&T> {
        self.0.get(self.at(key)?)
    }

    /// To change it, but for its key.
    pub(super) fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let at = self.at(key)?;
        self.0.get_mut(at)
    }

    pub(super) fn insert(&mut self, value: T) {
        let key = value.key();
        if self.0.back().is_none_or(|last| last.key() < key) {
            return self.0.push_back(value);
        }
        match self.0.binary_search_by_key(&key, T::key) {
            Ok(at) => self.0[at] = value,
            Err(at) => self.0.insert(at, value),
        }
    }

    pub(super) fn remove(&mut self, key: T::Key) -> Option<T> {
        self.0.remove(self.at(key)?)
    }

    /// From the first to the last.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter()
    }

    /// From the first to the last, to change them, but for their keys.
    pub(super) fn each_to_change(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// Those before this key.
    pub(super) fn before(&self, key: T::Key) -> impl DoubleEndedIterator<Item = &T> {
        self.0.range(..self.0.partition_point(|value| value.key() < key))
    }

    /// Those from this key on.
    pub(super) fn from(&self, key: T::Key) -> impl DoubleEndedIterator<Item = &T> {
        self.0.range(self.0.partition_point(|value| value.key() < key)..)
    }

    /// Those behind this key.
    pub(super) fn after(&self, key: T::Key) -> impl DoubleEndedIterator<Item = &T> {
        self.0.range(self.0.partition_point(|value| value.key() <= key)..)
    }

    /// Whether there is one with this key.
    pub(super) fn contains(&self, key: T::Key) -> bool {
        let (Some(first), Some(last)) = (self.0.front().map(T::key), self.0.back().map(T::key)) else { return false };
        let is_every_one_there = T::between(first, last) + 1 == self.0.len();
        (first..=last).contains(&key) && (is_every_one_there || self.at(key).is_some())
    }

    fn at(&self, key: T::Key) -> Option<usize> {
        let expected = T::between(self.0.front()?.key(), key);
        if self.0.get(expected).is_some_and(|value| value.key() == key) {
            return Some(expected);
        }
        self.0.binary_search_by_key(&key, T::key).ok()
    }
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Keyed> FromIterator<T> for Sorted<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort_unstable_by_key(T::key);
        values.dedup_by_key(|value| value.key());
        Self(values.into())
    }
}
