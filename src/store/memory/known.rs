//! Which identity keys belong to which message (R17), also for some time after it left the log.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use smallvec::SmallVec;

use super::hash::Digests;
use crate::store::{Copies, IdentityKey, LogId, NewMessage, Origin};

#[derive(Debug)]
pub(super) struct Known {
    exact: HashMap<IdentityKey, LogId, Digests>,
    similar: HashMap<IdentityKey, SmallVec<[LogId; 2]>, Digests>,
    /// Of messages that left the log, by log id.
    gone: VecDeque<(LogId, Identity)>,
    max_gone: usize,
}

/// What is known of one message.
#[derive(Debug)]
pub(super) struct Identity {
    keys: SmallVec<[IdentityKey; 2]>,
    copies: Copies,
    stamp: SystemTime,
}

impl Identity {
    pub(super) fn copies(&self) -> Copies {
        self.copies
    }
}

impl Known {
    pub(super) fn new(max_gone: usize) -> Self {
        Self { exact: HashMap::default(), similar: HashMap::default(), gone: VecDeque::new(), max_gone }
    }

    pub(super) fn exact(&self, key: &IdentityKey) -> Option<LogId> {
        self.exact.get(key).copied()
    }

    /// The message this is a copy of; `logged` gives what is known of those in the log.
    pub(super) fn matching<'a>(&'a self, message: &NewMessage, logged: impl Fn(LogId) -> Option<&'a Identity>) -> Option<LogId> {
        message.keys.iter().find_map(|key| {
            if key.is_exact() {
                return self.exact(key);
            }
            self.similar.get(key)?.iter().copied().find(|id| {
                logged(*id).or_else(|| self.gone(*id)).is_some_and(|known| {
                    IdentityKey::similar_match(known.copies, known.stamp, message.origin, message.record.stamp)
                })
            })
        })
    }

    /// A new message.
    pub(super) fn add(&mut self, id: LogId, keys: Vec<IdentityKey>, origin: Origin, stamp: SystemTime) -> Identity {
        let mut identity = Identity { keys: SmallVec::new(), copies: Copies::of(origin), stamp };
        self.learn(id, &mut identity, keys);
        identity
    }

    /// A copy of a message; `logged` is what is known of it if it is in the log.
    pub(super) fn merge(&mut self, id: LogId, logged: Option<&mut Identity>, keys: Vec<IdentityKey>, origin: Origin) {
        if let Some(identity) = logged {
            identity.copies = identity.copies.with(origin);
            self.learn(id, identity, keys);
        } else if let Ok(index) = self.gone.binary_search_by_key(&id, |(id, _)| *id) {
            // Taken out for the time it takes, because `learn` needs the rest.
            let Some((_, mut identity)) = self.gone.remove(index) else { return };
            identity.copies = identity.copies.with(origin);
            self.learn(id, &mut identity, keys);
            self.gone.insert(index, (id, identity));
        }
    }

    /// A message left the log. Its keys stay known until enough others have followed it.
    pub(super) fn leave(&mut self, id: LogId, identity: Identity) {
        let index = match self.gone.back() {
            Some((last, _)) if *last > id => self.gone.partition_point(|(gone, _)| *gone < id),
            _ => self.gone.len(),
        };
        self.gone.insert(index, (id, identity));
        if self.gone.len() > self.max_gone
            && let Some((oldest, identity)) = self.gone.pop_front()
        {
            self.forget(oldest, identity);
        }
    }

    /// Notes keys that are not known yet.
    fn learn(&mut self, id: LogId, identity: &mut Identity, keys: Vec<IdentityKey>) {
        for key in keys {
            let is_new = if key.is_exact() {
                *self.exact.entry(key).or_insert(id) == id && !identity.keys.contains(&key)
            } else {
                let owners = self.similar.entry(key).or_default();
                let is_new = !owners.contains(&id);
                if is_new {
                    owners.push(id);
                }
                is_new
            };
            if is_new {
                identity.keys.push(key);
            }
        }
    }

    fn forget(&mut self, id: LogId, identity: Identity) {
        for key in identity.keys {
            if key.is_exact() {
                self.exact.remove(&key);
            } else if let Some(owners) = self.similar.get_mut(&key) {
                owners.retain(|owner| *owner != id);
                if owners.is_empty() {
                    self.similar.remove(&key);
                }
            }
        }
    }

    fn gone(&self, id: LogId) -> Option<&Identity> {
        let index = self.gone.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.gone[index].1)
    }
}

#[cfg(test)]
impl Known {
    /// How many keys of either kind, and how many messages that left the log.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        assert!(self.gone.len() <= self.max_gone && self.gone.iter().map(|(id, _)| id).is_sorted());
        (self.exact.len(), self.similar.len(), self.gone.len())
    }
}
