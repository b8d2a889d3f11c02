//! The roster as a value: contacts and pending requests, and the steps from one state to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jid::BareJid;

use crate::ext::Observe;
use crate::roster::{Contact, SubscriptionRequest};

/// The roster at one moment: what [`Roster::watch`](crate::roster::Roster::watch) begins with.
#[derive(Clone, Default)]
pub struct RosterState {
    contacts: BTreeMap<BareJid, Contact>,
    requests: BTreeMap<BareJid, SubscriptionRequest>,
}

/// One step of a [`RosterState`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RosterChange {
    /// A contact is new or has changed.
    Contact(Contact),
    /// This contact is no longer in the roster.
    Removed(BareJid),
    /// Somebody asks to see our presence.
    Request(SubscriptionRequest),
    /// The request of this address is answered or withdrawn.
    RequestGone(BareJid),
}

impl RosterState {
    pub(super) fn new(contacts: impl IntoIterator<Item = Contact>, requests: BTreeMap<BareJid, SubscriptionRequest>) -> Self {
        let contacts = contacts.into_iter().map(|contact| (contact.jid().clone(), contact)).collect();
        Self { contacts, requests }
    }

    /// The contacts, sorted by JID.
    pub fn contacts(&self) -> impl ExactSizeIterator<Item = &Contact> {
        self.contacts.values()
    }

    /// One contact.
    #[must_use]
    pub fn get(&self, jid: &BareJid) -> Option<&Contact> {
        self.contacts.get(jid)
    }

    /// How many contacts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.contacts.len()
    }

    /// Whether there are no contacts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty()
    }

    /// The groups that have contacts in them.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&str> {
        self.contacts.values().flat_map(Contact::groups).collect()
    }

    /// The subscription requests that wait for an answer, sorted by JID.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = &SubscriptionRequest> {
        self.requests.values()
    }

    /// The pending request of this address.
    #[must_use]
    pub fn request(&self, from: &BareJid) -> Option<&SubscriptionRequest> {
        self.requests.get(from)
    }

    pub(super) fn has_contacts(&self, other: &Self) -> bool {
        self.contacts == other.contacts
    }

    pub(super) fn cloned_requests(&self) -> BTreeMap<BareJid, SubscriptionRequest> {
        self.requests.clone()
    }
}

impl Observe for RosterState {
    type Change = RosterChange;

    fn apply(&mut self, change: &RosterChange) {
        match change {
            RosterChange::Contact(contact) => drop(self.contacts.insert(contact.jid().clone(), contact.clone())),
            RosterChange::Removed(jid) => drop(self.contacts.remove(jid)),
            RosterChange::Request(request) => drop(self.requests.insert(request.from().clone(), request.clone())),
            RosterChange::RequestGone(jid) => drop(self.requests.remove(jid)),
        }
    }

    fn size(&self) -> usize {
        self.contacts.len() + self.requests.len()
    }
}

impl fmt::Debug for RosterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RosterState").field("contacts", &self.contacts.len()).field("requests", &self.requests.len()).finish()
    }
}
