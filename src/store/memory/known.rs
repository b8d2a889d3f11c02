//! Which identity keys belong to which message (R17), also for some time after it left the log.

use std::time::SystemTime;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::sorted::{Keyed, Sorted};
use crate::store::{Copies, IdentityKey, LogId, NewMessage, Origin};

#[derive(Debug)]
pub(super) struct Known {
    owners: Index,
    /// Of messages that left the log.
    gone: Sorted<(LogId, Identity)>,
    max_gone: usize,
    /// The number of the newest message.
    newest: u64,
    /// The latest stamp of those of which there is a copy from an archive or offline storage.
    latest_kept: Option<SystemTime>,
}

/// Who has which key. The keys themselves are with the messages: this is small enough to stay at hand.
#[derive(Debug, Default)]
struct Index {
    exact: Owners,
    /// Of similar keys: made when one is looked for, since what only comes live is compared with nothing by them.
    similar: Option<Owners>,
    /// How many messages came since one was looked for.
    unused: usize,
}

/// The same of keys of one sort.
#[derive(Debug, Default)]
struct Owners {
    young: HashTable<Owner>,
    /// Those of messages that are no longer known are left in here, for to find each takes longer than all that is done for it
    /// before; they go together.
    old: HashTable<Owner>,
    /// How many are of messages that are known.
    live: usize,
}

/// That a message has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    /// The key's beginning.
    key: u32,
    /// The end of the message's number: there never are so many messages at once that two have the same.
    id: u32,
}

impl Owner {
    fn new(key: &IdentityKey, id: LogId) -> Self {
        Self { key: beginning(key), id: id.get() as u32 }
    }

    fn message(self, newest: u64) -> LogId {
        LogId::new(newest - u64::from((newest as u32).wrapping_sub(self.id)))
    }
}

/// Keys are digests and so spread already. Whoever makes many messages whose keys begin alike makes the store compare some of them, of
/// the few thousand that it keeps.
fn beginning(key: &IdentityKey) -> u32 {
    let [a, b, c, d, ..] = *key.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A table looks at the upper bits as well.
fn hash(beginning: u32) -> u64 {
    u64::from(beginning).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Index {
    fn of(&self, key: &IdentityKey) -> Option<&Owners> {
        if key.is_exact() { Some(&self.exact) } else { self.similar.as_ref() }
    }

    fn add(&mut self, key: &IdentityKey, id: LogId) {
        let owners = if key.is_exact() { Some(&mut self.exact) } else { self.similar.as_mut() };
        if let Some(owners) = owners {
            owners.add(Owner::new(key, id));
        }
    }

    /// A message that had these keys is no longer known.
    fn forget(&mut self, keys: &[IdentityKey], is_known: impl Fn(Owner) -> bool) {
        let exact = keys.iter().filter(|key| key.is_exact()).count();
        self.exact.forget(exact, &is_known);
        if let Some(similar) = &mut self.similar {
            similar.forget(keys.len() - exact, &is_known);
        }
    }
}

impl Owners {
    /// All that may have a key that begins so.
    fn alike(&self, beginning: u32) -> impl Iterator<Item = &Owner> {
        let tables = [&self.young, &self.old].into_iter();
        tables.flat_map(move |table| table.iter_hash(hash(beginning))).filter(move |owner| owner.key == beginning)
    }

    fn add(&mut self, owner: Owner) {
        self.live += 1;
        insert(&mut self.young, owner);
    }

    /// A message that had so many keys is no longer known.
    fn forget(&mut self, keys: usize, is_known: impl Fn(Owner) -> bool) {
        self.live -= keys;
        // Twice at most: then those that are known are all there are.
        while self.young.len() + self.old.len() > 2 * self.live.max(LEFT) {
            let Self { young, old, .. } = self;
            for owner in old.drain().filter(|owner| is_known(*owner)) {
                insert(young, owner);
            }
            std::mem::swap(young, old);
        }
    }
}

/// How many owners may be left over in any case.
const LEFT: usize = 64;

fn insert(table: &mut HashTable<Owner>, owner: Owner) {
    table.insert_unique(hash(owner.key), owner, |other| hash(other.key));
}

impl Keyed for (LogId, Identity) {
    type Key = LogId;

    fn key(&self) -> LogId {
        self.0
    }

    fn between(first: LogId, id: LogId) -> usize {
        id.get().saturating_sub(first.get()) as usize
    }
}

/// What is known of one message.
#[derive(Debug)]
pub(super) struct Identity {
    /// Those that are made.
    keys: SmallVec<[IdentityKey; 2]>,
    /// Whether its similar key is not made.
    is_similar_unmade: bool,
    copies: Copies,
    stamp: SystemTime,
}

impl Identity {
    /// Without keys as yet.
    pub(super) fn new(origin: Origin, stamp: SystemTime) -> Self {
        Self { keys: SmallVec::new(), is_similar_unmade: false, copies: Copies::of(origin), stamp }
    }

    pub(super) fn is_similar_unmade(&self) -> bool {
        self.is_similar_unmade
    }

    /// Its stamp, if there is a copy of it from an archive or offline storage.
    fn kept_elsewhere(&self) -> Option<SystemTime> {
        self.copies.intersects(Copies::kept_elsewhere()).then_some(self.stamp)
    }

    fn learn(&mut self, key: IdentityKey, id: LogId, owners: &mut Index) {
        // It may have been proposed twice.
        if !self.keys.contains(&key) {
            owners.add(&key, id);
            self.keys.push(key);
        }
    }

    pub(super) fn copies(&self) -> Copies {
        self.copies
    }

    pub(super) fn stamp(&self) -> SystemTime {
        self.stamp
    }
}

impl Known {
    pub(super) fn new(max_gone: usize) -> Self {
        Self { owners: Index::default(), gone: Sorted::default(), max_gone, newest: 0, latest_kept: None }
    }

    /// The message that this key proves to be the same, if it alone proves any; `logged` gives what is known of those in the log.
    pub(super) fn exact<'a>(&'a self, key: &IdentityKey, logged: impl Fn(LogId) -> Option<&'a Identity>) -> Option<LogId> {
        if key.is_exact() { self.having(key, logged).next().map(|(id, _)| id) } else { None }
    }

    /// The message this is a copy of; `logged` gives what is known of one in the log. Where one [may be similar](Self::may_be_similar),
    /// such keys have been made and [indexed](Self::index_similar).
    pub(super) fn matching<'a>(&'a self, message: &NewMessage, logged: impl Fn(LogId) -> Option<&'a Identity>) -> Option<LogId> {
        message.made_keys().iter().find_map(|key| {
            if key.is_exact() {
                return self.exact(key, &logged);
            }
            if !self.may_be_similar(message) {
                return None;
            }
            let is_copy =
                |known: &Identity| IdentityKey::similar_match(known.copies, known.stamp, message.origin, message.record.stamp);
            self.having(key, &logged).filter(|(_, known)| is_copy(known)).map(|(id, _)| id).min()
        })
    }

    /// Whether there may be a message that is similar to this one: what comes live is only to what is kept elsewhere, of the same time.
    pub(super) fn may_be_similar(&self, message: &NewMessage) -> bool {
        let apart = |latest: SystemTime| message.record.stamp.duration_since(latest).unwrap_or_default();
        Copies::kept_elsewhere().contains(message.origin)
            || self.latest_kept.is_some_and(|latest| apart(latest) <= IdentityKey::SIMILAR_WITHIN)
    }

    /// Whether messages are found by their similar keys: then each in the log has its own made.
    pub(super) fn has_similar(&self) -> bool {
        self.owners.similar.is_some()
    }

    /// Similar keys are looked for: `logged` are all messages in the log, with those keys made.
    pub(super) fn index_similar<'a>(&mut self, logged: impl Iterator<Item = (LogId, &'a Identity)>) {
        let Index { similar, unused, .. } = &mut self.owners;
        *unused = 0;
        if similar.is_some() {
            return;
        }
        let owners = similar.insert(Owners::default());
        let mut index = |id: LogId, identity: &Identity| {
            identity.keys.iter().filter(|key| !key.is_exact()).for_each(|key| owners.add(Owner::new(key, id)));
        };
        self.gone.iter().for_each(|(id, identity)| index(*id, identity));
        logged.for_each(|(id, identity)| index(id, identity));
    }

    /// The similar key of a message, that was not made before; none if what is kept does not say it.
    pub(super) fn make_similar(&mut self, id: LogId, identity: &mut Identity, key: Option<IdentityKey>) {
        identity.is_similar_unmade = false;
        key.into_iter().for_each(|key| identity.learn(key, id, &mut self.owners));
    }

    /// These keys are looked up next, one after the other. Where each stands is far away in memory: here the processor waits for
    /// all of them at once.
    pub(super) fn expect<'a>(&self, keys: impl Iterator<Item = &'a IdentityKey>) {
        let alike = |key: &IdentityKey| self.owners.of(key).map_or(0, |owners| owners.alike(beginning(key)).count());
        std::hint::black_box(keys.map(alike).sum::<usize>());
    }

    /// The keys of a new message: one that [`matching`](Self::matching) did not find.
    pub(super) fn add(&mut self, id: LogId, identity: &mut Identity, message: &NewMessage) {
        self.newest = id.get();
        for key in message.made_keys() {
            identity.learn(*key, id, &mut self.owners);
        }
        identity.is_similar_unmade = message.is_similar_unmade();
        self.latest_kept = self.latest_kept.max(identity.kept_elsewhere());
        self.owners.unused += 1;
        if self.owners.unused > self.max_gone {
            self.owners.similar = None;
        }
    }

    /// Those of the keys of a copy that its message lacks. One that proves another message to be the same stays with that.
    pub(super) fn lacking<'a>(
        &'a self,
        id: LogId,
        keys: &[IdentityKey],
        logged: impl Fn(LogId) -> Option<&'a Identity>,
    ) -> Vec<IdentityKey> {
        let known = self.identity(id, &logged);
        let has = |key: &IdentityKey| known.is_some_and(|known| known.keys.contains(key));
        let is_had = |key: &IdentityKey| has(key) || (key.is_exact() && self.having(key, &logged).next().is_some());
        keys.iter().copied().filter(|key| !is_had(key)).collect()
    }

    /// A copy of a message brings keys that it [lacks](Self::lacking); `logged` is what is known of it if it is in the log.
    pub(super) fn merge(&mut self, id: LogId, logged: Option<&mut Identity>, lacking: Vec<IdentityKey>, origin: Origin) {
        let Self { owners, gone, latest_kept, .. } = self;
        let Some(identity) = logged.or_else(|| gone.get_mut(id).map(|(_, identity)| identity)) else { return };
        identity.copies = identity.copies.with(origin);
        lacking.into_iter().for_each(|key| identity.learn(key, id, owners));
        *latest_kept = (*latest_kept).max(identity.kept_elsewhere());
    }

    /// A message left the log. Its keys stay known until enough others have followed it; `is_logged` tells of those in the log, of
    /// which this is the first.
    pub(super) fn leave(&mut self, id: LogId, identity: Identity, first: Option<LogId>, is_logged: impl Fn(LogId) -> bool) {
        self.gone.insert((id, identity));
        if self.gone.len() > self.max_gone
            && let Some((_, forgotten)) = self.gone.take_first()
        {
            let (newest, gone) = (self.newest, &self.gone);
            let oldest = first.into_iter().chain(gone.first().map(|(id, _)| *id)).min();
            self.owners.forget(&forgotten.keys, |owner| {
                let id = owner.message(newest);
                // Nearly all are older.
                oldest.is_some_and(|oldest| id >= oldest) && (is_logged(id) || gone.contains(id))
            });
        }
    }

    /// The messages that have this key.
    fn having<'a>(
        &'a self,
        key: &IdentityKey,
        logged: impl Fn(LogId) -> Option<&'a Identity>,
    ) -> impl Iterator<Item = (LogId, &'a Identity)> {
        let key = *key;
        let alike = self.owners.of(&key).into_iter().flat_map(move |owners| owners.alike(beginning(&key)));
        alike.filter_map(move |owner| {
            let id = owner.message(self.newest);
            let known = self.identity(id, &logged)?;
            known.keys.contains(&key).then_some((id, known))
        })
    }

    /// What is known of a message, be it in the log or not.
    fn identity<'a>(&'a self, id: LogId, logged: impl Fn(LogId) -> Option<&'a Identity>) -> Option<&'a Identity> {
        logged(id).or_else(|| self.gone.get(id).map(|(_, identity)| identity))
    }
}

#[cfg(test)]
impl Known {
    /// How many keys there are that a message is found by, and how many messages that left the log.
    pub(super) fn counts(&self) -> (usize, usize) {
        assert!(self.gone.len() <= self.max_gone && self.gone.iter().map(|(id, _)| id).is_sorted());
        let counted = |Owners { young, old, live }: &Owners| {
            let all = young.len() + old.len();
            assert!((*live..=2 * (live + LEFT)).contains(&all), "{live} of {all}");
            *live
        };
        (counted(&self.owners.exact) + self.owners.similar.as_ref().map_or(0, counted), self.gone.len())
    }

    /// How many keys this message has that it is found by; each of them leads to it.
    pub(super) fn keys_of(&self, id: LogId, identity: &Identity) -> usize {
        let found = identity.keys.iter().filter_map(|key| Some((key, self.owners.of(key)?)));
        let check = |(key, owners): (&IdentityKey, &Owners)| {
            let owner = Owner::new(key, id);
            assert!(owners.alike(owner.key).any(|other| *other == owner));
        };
        found.map(check).count()
    }

    pub(super) fn keys_of_gone(&self) -> usize {
        self.gone.iter().map(|(id, identity)| self.keys_of(*id, identity)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Direction, MessageRecord};

    fn message<const N: usize>(keys: [IdentityKey; N], origin: Origin) -> NewMessage {
        let romeo: jid::Jid = "romeo@montague.example".parse().expect("a JID");
        let record = MessageRecord::new(romeo, Direction::Incoming, "<message xmlns='jabber:client'/>", SystemTime::UNIX_EPOCH);
        keys.into_iter().fold(NewMessage::new(record, origin), NewMessage::key)
    }

    /// Nothing is in the log.
    fn nothing<'a>(_: LogId) -> Option<&'a Identity> {
        None
    }

    #[test]
    fn keys_that_begin_alike_and_numbers_that_end_alike_are_told_apart() {
        let key = |last: u8, exact: bool| {
            let mut bytes = [7; 16];
            bytes[15] = last;
            IdentityKey::from_bytes(bytes, exact)
        };
        // Numbers go over the end of what is kept of them.
        let first = u64::from(u32::MAX) - 3;
        let ids: Vec<_> = (first..first + 8).map(LogId::new).collect();
        let mut known = Known::new(8);
        for (n, id) in ids.iter().enumerate() {
            let mut identity = Identity::new(Origin::Live, SystemTime::UNIX_EPOCH);
            known.add(*id, &mut identity, &message([key(n as u8, true), key(0, false)], Origin::Live));
            known.leave(*id, identity, None, |_| false);
        }
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(known.exact(&key(n as u8, true), nothing), Some(*id));
            assert_eq!(known.exact(&key(n as u8 + 100, true), nothing), None);
            assert_eq!(known.matching(&message([key(n as u8, true)], Origin::Live), nothing), Some(*id));
        }
        // The oldest of those that are alike takes the copy, and each takes one.
        known.index_similar([].into_iter());
        for id in &ids {
            let copy = message([key(0, false)], Origin::Archive);
            assert_eq!(known.matching(&copy, nothing), Some(*id));
            let lacking = known.lacking(*id, copy.made_keys(), nothing);
            assert!(lacking.is_empty());
            known.merge(*id, None, lacking, Origin::Archive);
        }
        assert_eq!(known.matching(&message([key(0, false)], Origin::Archive), nothing), None);
        // A key that proves another message to be the same stays with it.
        let copy = [key(0, true), key(1, true), key(50, true), key(50, true)];
        let lacking = known.lacking(ids[0], &copy, nothing);
        assert_eq!(lacking, [key(50, true), key(50, true)]);
        known.merge(ids[0], None, lacking, Origin::Carbon);
        assert_eq!(known.exact(&key(50, true), nothing), Some(ids[0]));
        assert_eq!((known.counts(), known.keys_of_gone()), ((17, 8), 17));
        // They are forgotten in the order in which they came.
        let others = LogId::new(first + 8);
        let mut identity = Identity::new(Origin::Live, SystemTime::UNIX_EPOCH);
        known.add(others, &mut identity, &message([key(200, true)], Origin::Live));
        known.leave(others, identity, None, |_| false);
        assert_eq!((known.exact(&key(0, true), nothing), known.exact(&key(50, true), nothing)), (None, None));
        assert_eq!(known.exact(&key(1, true), nothing), Some(ids[1]));
        assert_eq!((known.counts(), known.keys_of_gone()), ((15, 8), 15));
    }
}
