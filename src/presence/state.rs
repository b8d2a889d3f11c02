//! Everybody's presence as a value, and the steps from one state to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jid::{BareJid, Jid};

use crate::ext::Observe;
use crate::presence::ResourcePresence;

/// Who is available, at one moment: what [`Presence::watch`](crate::presence::Presence::watch) begins with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PresenceState {
    /// The resources of each address, the best first; never empty.
    available: BTreeMap<BareJid, Arc<[ResourcePresence]>>,
    stale: bool,
}

/// One step of a [`PresenceState`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PresenceChange {
    /// A resource is available, or says something new. The own account's are told as well: see
    /// [`is_own`](ResourcePresence::is_own).
    Available(ResourcePresence),
    /// This resource is no longer available; for a bare JID none of it is. It may be one of the own account's.
    Unavailable(Jid),
    /// The connection is cut while the session may go on: everything is as it was, and may be out of date (`true`); or it
    /// is up to date again (`false`).
    Stale(bool),
}

impl PresenceState {
    /// The available resources of an address, the best first; none if it is not available, or not known to be.
    #[must_use]
    pub fn of(&self, jid: &BareJid) -> &[ResourcePresence] {
        self.available.get(jid).map_or(&[], |resources| resources)
    }

    /// The best resource of an address: the one with the highest priority, and among those the readiest to talk, and
    /// among those the one that spoke last.
    #[must_use]
    pub fn best(&self, jid: &BareJid) -> Option<&ResourcePresence> {
        self.of(jid).first()
    }

    /// Everybody who is available, sorted by JID, with their resources, the best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&BareJid, &[ResourcePresence])> {
        self.available.iter().map(|(jid, resources)| (jid, &resources[..]))
    }

    /// Whether the connection is cut, so that this may be out of date.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }
}

impl Observe for PresenceState {
    type Change = PresenceChange;

    fn apply(&mut self, change: &PresenceChange) {
        match change {
            PresenceChange::Available(new) => {
                let Some(resources) = self.available.get_mut(new.bare()) else {
                    self.available.insert(new.bare().clone(), Arc::new([new.clone()]));
                    return;
                };
                if resources.iter().any(|resource| resource.jid() == new.jid()) {
                    let resources = Arc::make_mut(resources);
                    resources.iter_mut().filter(|resource| resource.jid() == new.jid()).for_each(|old| *old = new.clone());
                    resources.sort();
                } else {
                    let at = resources.partition_point(|resource| resource < new);
                    let (before, after) = resources.split_at(at);
                    *resources = before.iter().chain([new]).chain(after).cloned().collect();
                }
            }
            PresenceChange::Unavailable(jid) => {
                let bare = jid.clone().into_bare();
                let Some(resources) = self.available.get_mut(&bare) else { return };
                if !jid.is_bare() {
                    *resources = resources.iter().filter(|resource| resource.jid() != jid).cloned().collect();
                }
                if jid.is_bare() || resources.is_empty() {
                    self.available.remove(&bare);
                }
            }
            PresenceChange::Stale(stale) => self.stale = *stale,
        }
    }

    fn size(&self) -> usize {
        self.available.len()
    }
}

impl fmt::Debug for PresenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceState").field("available", &self.available.len()).field("stale", &self.stale).finish()
    }
}
