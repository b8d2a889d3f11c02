//! Presence subscriptions: the tables of RFC 6121 appendix A.

use jid::{BareJid, Jid, NodePart};

use super::roster::Item;
use super::state::{ConnectionId, State};
use super::tree::{Element, ns};

/// What a subscription stanza says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

impl Kind {
    pub(super) fn parse(kind: &str) -> Option<Self> {
        match kind {
            "subscribe" => Some(Self::Subscribe),
            "subscribed" => Some(Self::Subscribed),
            "unsubscribe" => Some(Self::Unsubscribe),
            "unsubscribed" => Some(Self::Unsubscribed),
            _ => None,
        }
    }
}

impl State {
    /// A subscription stanza one of the account's clients sends (appendix A.2).
    pub(super) fn subscription_out(&mut self, account: &NodePart, kind: Kind, mut stanza: Element, contact: &BareJid) {
        let own = self.bare(account);
        stanza.set_attr("from", own.as_str());
        let pre_approval = self.differences().pre_approval;
        let Some(found) = self.accounts.get_mut(account) else { return };
        let pending_in = found.requests.contains_key(contact);
        let before = found.roster.items.get(contact).cloned().unwrap_or_default();
        let mut after = before.clone();
        let route = match kind {
            Kind::Subscribe => {
                after.ask |= !after.to;
                true
            }
            Kind::Unsubscribe => {
                after.ask = false;
                after.to = false;
                true
            }
            Kind::Subscribed if pending_in => {
                after.from = true;
                true
            }
            Kind::Subscribed => {
                after.approved |= pre_approval && !after.from;
                false
            }
            Kind::Unsubscribed => {
                after.from = false;
                after.approved = false;
                pending_in || before.from
            }
        };
        if matches!(kind, Kind::Subscribed | Kind::Unsubscribed) {
            found.requests.remove(contact);
        }
        self.store_subscription(account, contact, &before, after.clone());
        if route {
            self.route(stanza, &contact.clone().into());
        }
        match kind {
            Kind::Subscribed if after.from && !before.from => self.show_presence(account, contact),
            Kind::Unsubscribed if before.from => self.hide_presence(account, contact),
            _ => {}
        }
    }

    /// A subscription stanza for the account (appendix A.3).
    pub(super) fn subscription_in(&mut self, account: &NodePart, kind: Kind, stanza: &Element, contact: &BareJid) {
        let Some(found) = self.accounts.get_mut(account) else { return };
        let pending_in = found.requests.contains_key(contact);
        let before = found.roster.items.get(contact).cloned().unwrap_or_default();
        let mut after = before.clone();
        match kind {
            Kind::Subscribe if before.from => self.reply(account, contact, "subscribed"),
            Kind::Subscribe if before.approved => {
                after.from = true;
                self.reply(account, contact, "subscribed");
                self.store_subscription(account, contact, &before, after);
                self.show_presence(account, contact);
            }
            Kind::Subscribe if pending_in => {}
            Kind::Subscribe => {
                found.requests.insert(contact.clone(), stanza.clone());
                for id in self.available(account) {
                    self.send(id, stanza);
                }
            }
            Kind::Unsubscribe if before.from || pending_in => {
                found.requests.remove(contact);
                after.from = false;
                self.tell_interested(account, stanza);
                self.store_subscription(account, contact, &before, after);
                self.reply(account, contact, "unsubscribed");
                if before.from {
                    self.hide_presence(account, contact);
                }
            }
            Kind::Subscribed if before.ask => {
                after.ask = false;
                after.to = true;
                self.tell_interested(account, stanza);
                self.store_subscription(account, contact, &before, after);
            }
            Kind::Unsubscribed if before.to || before.ask => {
                after.ask = false;
                after.to = false;
                self.tell_interested(account, stanza);
                self.store_subscription(account, contact, &before, after);
            }
            // What changes nothing is not delivered.
            Kind::Unsubscribe | Kind::Subscribed | Kind::Unsubscribed => {}
        }
    }

    /// Removing a contact ends the subscriptions of both directions (RFC 6121 §2.5.2).
    pub(super) fn end_subscriptions(&mut self, account: &NodePart, contact: &BareJid, removed: &Item) {
        let requested = self.accounts.get_mut(account).is_some_and(|a| a.requests.remove(contact).is_some());
        if removed.to || removed.ask {
            self.reply(account, contact, "unsubscribe");
        }
        if removed.from || requested {
            self.reply(account, contact, "unsubscribed");
        }
        if removed.from {
            self.hide_presence(account, contact);
        }
    }

    fn store_subscription(&mut self, account: &NodePart, contact: &BareJid, before: &Item, after: Item) {
        let flags = |item: &Item| (item.to, item.from, item.ask, item.approved);
        if flags(before) == flags(&after) {
            return;
        }
        if let Some(found) = self.accounts.get_mut(account) {
            *found.roster.entry(contact) = after;
        }
        self.push(account, contact);
    }

    /// Sends a subscription stanza in the account's name.
    fn reply(&mut self, account: &NodePart, contact: &BareJid, kind: &str) {
        let own = self.bare(account);
        let stanza = Element::new("presence", ns::CLIENT).attr("type", kind).attr("from", own.as_str());
        self.route(stanza, &Jid::from(contact.clone()));
    }

    fn tell_interested(&self, account: &NodePart, stanza: &Element) {
        for (id, bound) in self.sessions_of(account) {
            if bound.interested {
                self.send(id, stanza);
            }
        }
    }

    pub(super) fn available(&self, account: &NodePart) -> Vec<ConnectionId> {
        self.sessions_of(account).filter(|(_, bound)| bound.presence.is_some()).map(|(id, _)| id).collect()
    }
}
