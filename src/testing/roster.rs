//! Rosters (RFC 6121 §2).

use std::collections::{BTreeMap, BTreeSet};

use jid::{BareJid, Jid, NodePart};

use super::dialect::{OwnFrom, PushTo, Versioning};
use super::iq::{Answer, Request, Scope};
use super::routing::{cancel, modify};
use super::state::{State, random_id};
use super::tree::{Element, ns};
use crate::error::{StanzaError, StanzaErrorType};

/// The longest name and group accepted, in bytes (RFC 6121 §2.3.3 leaves the limit to the server).
const MAX_NAME: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Roster {
    pub(super) items: BTreeMap<BareJid, Item>,
    /// Grows with each change.
    version: u64,
    /// When what is no longer there was removed.
    removed: BTreeMap<BareJid, u64>,
}

/// A contact in an account's roster (RFC 6121 §2.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contact {
    /// The contact's address.
    pub jid: BareJid,
    /// The name the user gave it.
    pub name: Option<String>,
    /// The groups it is in.
    pub groups: BTreeSet<String>,
    /// The state of the subscriptions.
    pub subscription: Subscription,
    /// Whether the user asked for a subscription and waits for the answer.
    pub ask: bool,
    /// Whether the user approved a subscription nobody asked for yet.
    pub approved: bool,
}

/// Who is subscribed to whose presence, as the roster's owner sees it (RFC 6121 §2.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Subscription {
    /// Nobody.
    #[default]
    None,
    /// The user to the contact's.
    To,
    /// The contact to the user's.
    From,
    /// Both.
    Both,
}

impl Contact {
    /// A contact without a name, groups and subscriptions.
    #[must_use]
    pub fn new(jid: BareJid) -> Self {
        Self { jid, name: None, groups: BTreeSet::new(), subscription: Subscription::None, ask: false, approved: false }
    }

    /// With this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// In this group too.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.insert(group.into());
        self
    }

    /// With subscriptions in this state.
    #[must_use]
    pub fn subscription(mut self, subscription: Subscription) -> Self {
        self.subscription = subscription;
        self
    }
}

/// A contact as it is kept; the states of RFC 6121 appendix A.1, except for what is pending inbound, are made of the three flags.
#[derive(Debug, Clone, Default)]
pub(super) struct Item {
    pub(super) name: Option<String>,
    pub(super) groups: BTreeSet<String>,
    /// The user is subscribed to the contact.
    pub(super) to: bool,
    /// The contact is subscribed to the user.
    pub(super) from: bool,
    /// The user has asked, and waits for the contact's answer.
    pub(super) ask: bool,
    /// The user has approved a subscription nobody asked for yet (RFC 6121 §3.4).
    pub(super) approved: bool,
    version: u64,
}

impl Item {
    fn subscription(&self) -> Subscription {
        match (self.to, self.from) {
            (false, false) => Subscription::None,
            (true, false) => Subscription::To,
            (false, true) => Subscription::From,
            (true, true) => Subscription::Both,
        }
    }

    fn to_element(&self, jid: &BareJid) -> Element {
        let groups = self.groups.iter().map(|group| Element::with_text("group", ns::ROSTER, group));
        let subscription = match self.subscription() {
            Subscription::None => "none",
            Subscription::To => "to",
            Subscription::From => "from",
            Subscription::Both => "both",
        };
        Element::new("item", ns::ROSTER)
            .attr("jid", jid.as_str())
            .attr("subscription", subscription)
            .maybe_attr("name", self.name.clone())
            .maybe_attr("ask", self.ask.then_some("subscribe"))
            .maybe_attr("approved", self.approved.then_some("true"))
            .children_from(groups)
    }
}

impl Roster {
    /// The item, made if it is not there.
    pub(super) fn entry(&mut self, jid: &BareJid) -> &mut Item {
        self.items.entry(jid.clone()).or_default()
    }

    pub(super) fn contacts(&self) -> Vec<Contact> {
        let contact = |(jid, item): (&BareJid, &Item)| Contact {
            jid: jid.clone(),
            name: item.name.clone(),
            groups: item.groups.clone(),
            subscription: item.subscription(),
            ask: item.ask,
            approved: item.approved,
        };
        self.items.iter().map(contact).collect()
    }

    /// Notes that an item has changed or gone.
    fn touch(&mut self, jid: &BareJid) {
        self.version += 1;
        match self.items.get_mut(jid) {
            Some(item) => {
                item.version = self.version;
                self.removed.remove(jid);
            }
            None => {
                self.removed.insert(jid.clone(), self.version);
            }
        }
    }

    fn version(&self) -> String {
        // Opaque to clients; "1" is the version of a roster nobody touched.
        (self.version + 1).to_string()
    }

    /// Items changed or removed after a version, oldest change first; `None` if that version never was.
    fn changes_since(&self, version: &str) -> Option<Vec<(u64, BareJid)>> {
        let since = version.parse::<u64>().ok()?.checked_sub(1).filter(|v| *v <= self.version)?;
        let changed = self.items.iter().map(|(jid, item)| (item.version, jid.clone()));
        let removed = self.removed.iter().map(|(jid, version)| (*version, jid.clone()));
        let mut all: Vec<_> = changed.chain(removed).filter(|(version, _)| *version > since).collect();
        all.sort();
        Some(all)
    }
}

pub(super) fn handle(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    let Scope::Own(account) = &request.scope else {
        // RFC 6121 §2.3.3: the roster belongs to the account alone.
        return Err(StanzaError::new(StanzaErrorType::Auth, "forbidden"));
    };
    if request.is_set { set(state, request, account) } else { get(state, request, account) }
}

fn get(state: &mut State, request: &Request, account: &NodePart) -> Result<Answer, StanzaError> {
    if let Some(bound) = request.session.and_then(|id| state.bound_mut(id)) {
        bound.interested = true;
    }
    let versioning = state.differences().roster_versioning;
    let asked = request.payload.get("ver").filter(|_| versioning != Versioning::Off);
    let Some(roster) = state.accounts.get(account).map(|a| &a.roster) else { return Err(cancel("item-not-found")) };

    if asked.is_some_and(|version| version == roster.version()) {
        return Ok(Answer::Result(None));
    }
    if versioning == Versioning::Pushes
        && let Some(changes) = asked.and_then(|version| roster.changes_since(version))
    {
        let pushes: Vec<_> = changes.into_iter().filter_map(|(version, jid)| state.push_stanza(account, &jid, version)).collect();
        state.answer(request, None);
        for push in pushes {
            if let Some(id) = request.session {
                state.send_push(id, push);
            }
        }
        return Ok(Answer::Sent);
    }
    let query = Element::new("query", ns::ROSTER)
        .maybe_attr("ver", (versioning != Versioning::Off).then(|| roster.version()))
        .children_from(roster.items.iter().map(|(jid, item)| item.to_element(jid)));
    Ok(Answer::Result(Some(query)))
}

fn set(state: &mut State, request: &Request, account: &NodePart) -> Result<Answer, StanzaError> {
    let mut items = request.payload.elements().filter(|e| e.is("item", ns::ROSTER));
    let (Some(item), None) = (items.next(), items.next()) else { return Err(modify("bad-request")) };
    let jid = item.get("jid").and_then(|jid| Jid::new(jid).ok()).ok_or_else(|| modify("bad-request"))?;
    let jid = jid.try_into_full().err().ok_or_else(|| modify("bad-request"))?;
    if jid == state.bare(account) {
        return Err(cancel("not-allowed"));
    }

    if item.get("subscription") == Some("remove") {
        let removed = state.accounts.get_mut(account).and_then(|a| a.roster.items.remove(&jid));
        let removed = removed.ok_or_else(|| cancel("item-not-found"))?;
        confirm(state, request, account, &jid);
        state.end_subscriptions(account, &jid, &removed);
        return Ok(Answer::Sent);
    }

    let (name, groups) = read_item(item)?;
    let Some(found) = state.accounts.get_mut(account) else { return Err(cancel("item-not-found")) };
    let stored = found.roster.entry(&jid);
    stored.name = name;
    stored.groups = groups;
    confirm(state, request, account, &jid);
    Ok(Answer::Sent)
}

/// Name and groups of a roster set; whatever it says of subscriptions is not the client's to say (RFC 6121 §2.1.2).
fn read_item(item: &Element) -> Result<(Option<String>, BTreeSet<String>), StanzaError> {
    let name = item.get("name").filter(|name| !name.is_empty()).map(ToOwned::to_owned);
    if name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
        return Err(modify("not-acceptable"));
    }
    let mut groups = BTreeSet::new();
    for group in item.elements().filter(|e| e.is("group", ns::ROSTER)) {
        let group = group.text();
        if group.is_empty() || group.len() > MAX_NAME {
            return Err(modify("not-acceptable"));
        }
        if !groups.insert(group) {
            return Err(modify("bad-request"));
        }
    }
    Ok((name, groups))
}

/// Result and push of a roster set, in the dialect's order.
fn confirm(state: &mut State, request: &Request, account: &NodePart, jid: &BareJid) {
    if state.differences().push_before_result {
        state.push(account, jid);
        state.answer(request, None);
    } else {
        state.answer(request, None);
        state.push(account, jid);
    }
}

impl State {
    /// Puts a contact into a roster as it is.
    pub(super) fn put_contact(&mut self, account: &NodePart, contact: Contact) {
        let Some(found) = self.accounts.get_mut(account) else { return };
        let item = found.roster.entry(&contact.jid);
        *item = Item {
            name: contact.name,
            groups: contact.groups,
            to: matches!(contact.subscription, Subscription::To | Subscription::Both),
            from: matches!(contact.subscription, Subscription::From | Subscription::Both),
            ask: contact.ask,
            approved: contact.approved,
            version: item.version,
        };
        self.push(account, &contact.jid);
    }

    /// Notes an item's change and tells the account's interested resources.
    pub(super) fn push(&mut self, account: &NodePart, jid: &BareJid) {
        let Some(found) = self.accounts.get_mut(account) else { return };
        found.roster.touch(jid);
        let version = found.roster.version;
        let interested: Vec<_> = self.sessions_of(account).filter(|(_, bound)| bound.interested).map(|(id, _)| id).collect();
        let Some(push) = self.push_stanza(account, jid, version) else { return };
        for id in interested {
            self.send_push(id, push.clone());
        }
    }

    fn push_stanza(&self, account: &NodePart, jid: &BareJid, version: u64) -> Option<Element> {
        let roster = &self.accounts.get(account)?.roster;
        let item = match roster.items.get(jid) {
            Some(item) => item.to_element(jid),
            None => Element::new("item", ns::ROSTER).attr("jid", jid.as_str()).attr("subscription", "remove"),
        };
        let versioned = self.differences().roster_versioning != Versioning::Off;
        let query = Element::new("query", ns::ROSTER).maybe_attr("ver", versioned.then(|| (version + 1).to_string())).child(item);
        Some(Element::new("iq", ns::CLIENT).attr("type", "set").child(query))
    }

    fn send_push(&self, id: super::state::ConnectionId, push: Element) {
        let Some(bound) = self.bound(id) else { return };
        let bare = bound.jid.to_bare();
        let differences = self.differences();
        let from = (differences.push_from == OwnFrom::Bare).then(|| bare.to_string());
        let to = match differences.push_to {
            PushTo::Absent => None,
            PushTo::Bare => Some(bare.to_string()),
            PushTo::Full => Some(bound.jid.to_string()),
        };
        self.send(id, &push.attr("id", random_id()).maybe_attr("from", from).maybe_attr("to", to));
    }

    /// Whether this entity may see the account's presence.
    pub(super) fn sees(&self, who: &Jid, account: &NodePart) -> bool {
        let who = who.to_bare();
        who == self.bare(account)
            || self.accounts.get(account).and_then(|a| a.roster.items.get(&who)).is_some_and(|item| item.from)
    }
}
