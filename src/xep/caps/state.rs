//! Whose capabilities are known, as a value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jid::Jid;

use crate::ext::Observe;
use crate::xep::disco::Info;

/// Whose capabilities are known, at one moment: what [`Caps::watch`](crate::xep::caps::Caps::watch) begins with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CapsState {
    known: BTreeMap<Jid, Arc<Info>>,
}

/// One step of a [`CapsState`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CapsChange {
    /// What this address is and can do is known now, or is another thing now.
    Known(Jid, Arc<Info>),
    /// It is no longer known: it is gone, or announces something new that is not known yet.
    Unknown(Jid),
}

impl CapsState {
    /// What an address is and can do, if it is known.
    #[must_use]
    pub fn get(&self, jid: &Jid) -> Option<&Arc<Info>> {
        self.known.get(jid)
    }

    /// Everybody whose capabilities are known, sorted by address.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Jid, &Arc<Info>)> {
        self.known.iter()
    }
}

impl Observe for CapsState {
    type Change = CapsChange;

    fn apply(&mut self, change: &CapsChange) {
        match change {
            CapsChange::Known(jid, info) => drop(self.known.insert(jid.clone(), Arc::clone(info))),
            CapsChange::Unknown(jid) => drop(self.known.remove(jid)),
        }
    }

    fn size(&self) -> usize {
        self.known.len()
    }
}

impl fmt::Debug for CapsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapsState").field("known", &self.known.len()).finish()
    }
}
