//! Presence (RFC 6121 §4).

use jid::{BareJid, FullJid, Jid, NodePart};

use super::routing::modify;
use super::state::{ConnectionId, State};
use super::subscription::Kind;
use super::tree::{Element, ns};

impl State {
    /// Presence from a client, `from` already in it.
    pub(super) fn handle_presence(&mut self, id: ConnectionId, own: &FullJid, stanza: Element, to: Option<Jid>) {
        let Some(account) = own.node().map(ToOwned::to_owned) else { return };
        match (stanza.get("type"), to) {
            (None, None) => self.become_available(id, own, &account, stanza),
            (Some("unavailable"), None) => self.become_unavailable(id, own, &account, &stanza),
            (None, Some(to)) => {
                if let Some(bound) = self.bound_mut(id) {
                    bound.directed.insert(to.clone());
                }
                self.route(stanza, &to);
            }
            (Some("unavailable"), Some(to)) => {
                if let Some(bound) = self.bound_mut(id) {
                    bound.directed.remove(&to);
                }
                self.route(stanza, &to);
            }
            (Some("probe" | "error"), Some(to)) => self.route(stanza, &to),
            (Some(kind), Some(to)) => match Kind::parse(kind) {
                Some(kind) => self.subscription_out(&account, kind, stanza, &to.to_bare()),
                None => self.bounce(&stanza, modify("bad-request")),
            },
            (Some(_), None) => self.bounce(&stanza, modify("bad-request")),
        }
    }

    /// Presence for an address of this server.
    pub(super) fn route_presence(&mut self, stanza: Element, to: &Jid) {
        let (Some(account), Some(Ok(from))) = (self.local_account(to), stanza.get("from").map(Jid::new)) else { return };
        match stanza.get("type") {
            None | Some("unavailable" | "error") => match to.try_as_full() {
                Ok(full) => {
                    self.deliver(&stanza, full);
                }
                Err(_) => {
                    for id in self.available(&account) {
                        self.send(id, &stanza);
                    }
                }
            },
            Some("probe") => self.answer_probe(&account, &from),
            Some(kind) => {
                if let Some(kind) = Kind::parse(kind) {
                    self.subscription_in(&account, kind, &stanza, &from.to_bare());
                }
            }
        }
    }

    fn become_available(&mut self, id: ConnectionId, own: &FullJid, account: &NodePart, stanza: Element) {
        let priority = stanza.find_text("priority", ns::CLIENT).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let Some(bound) = self.bound_mut(id) else { return };
        let initial = bound.presence.is_none();
        let was_reachable = !initial && bound.priority >= 0;
        bound.presence = Some(stanza.clone());
        bound.priority = priority;

        self.broadcast(id, account, &stanza, true);
        if initial {
            self.show_contacts(id, own, account);
        }
        if priority >= 0 && !was_reachable {
            self.deliver_offline(id, account);
        }
    }

    fn become_unavailable(&mut self, id: ConnectionId, own: &FullJid, account: &NodePart, stanza: &Element) {
        let Some(bound) = self.bound_mut(id) else { return };
        let was_available = bound.presence.take().is_some();
        let directed = std::mem::take(&mut bound.directed);
        if was_available {
            self.note_left(account, stanza.find_text("status", ns::CLIENT).unwrap_or_default());
            self.broadcast(id, account, stanza, true);
        }
        for to in directed {
            if !(was_available && self.sees(&to, account)) {
                self.route(stanza.clone().attr("from", own.as_str()), &to);
            }
        }
    }

    /// What the server says for a session that ends without saying it (RFC 6121 §4.5.1).
    pub(super) fn leave(&mut self, id: ConnectionId) {
        let Some(own) = self.bound(id).map(|bound| bound.jid.clone()) else { return };
        let Some(account) = own.node().map(ToOwned::to_owned) else { return };
        let stanza = Element::new("presence", ns::CLIENT).attr("type", "unavailable").attr("from", own.as_str());
        let Some(bound) = self.bound_mut(id) else { return };
        let was_available = bound.presence.take().is_some();
        let directed = std::mem::take(&mut bound.directed);
        if was_available {
            self.note_left(&account, String::new());
            self.broadcast(id, &account, &stanza, false);
        }
        for to in directed {
            if !(was_available && self.sees(&to, &account)) {
                self.route(stanza.clone(), &to);
            }
        }
    }

    fn note_left(&mut self, account: &NodePart, status: String) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.left = Some((super::clock::unix_now(), status));
        }
    }

    /// Sends a resource's presence to the account's other resources and to everyone subscribed; and back to itself.
    fn broadcast(&mut self, id: ConnectionId, account: &NodePart, stanza: &Element, echo: bool) {
        let echo = echo && self.differences().echo_own_presence;
        for (other, bound) in self.sessions_of(account) {
            if if other == id { echo } else { bound.presence.is_some() } {
                self.send(other, &stanza.clone().attr("to", bound.jid.as_str()));
            }
        }
        for contact in self.subscribers(account) {
            self.route(stanza.clone(), &contact.into());
        }
    }

    fn subscribers(&self, account: &NodePart) -> Vec<BareJid> {
        let Some(found) = self.accounts.get(account) else { return Vec::new() };
        found.roster.items.iter().filter(|(_, item)| item.from).map(|(jid, _)| jid.clone()).collect()
    }

    /// A resource that came online is told who else is, and what it has missed.
    fn show_contacts(&mut self, id: ConnectionId, own: &FullJid, account: &NodePart) {
        for (other, bound) in self.sessions_of(account) {
            if let Some(presence) = bound.presence.as_ref().filter(|_| other != id) {
                self.send(id, &presence.clone().attr("to", own.as_str()));
            }
        }
        let Some(found) = self.accounts.get(account) else { return };
        let requests: Vec<_> = found.requests.values().cloned().collect();
        let watched: Vec<_> = found.roster.items.iter().filter(|(_, item)| item.to).map(|(jid, _)| jid.clone()).collect();
        let probe = Element::new("presence", ns::CLIENT).attr("type", "probe").attr("from", own.as_str());
        for contact in watched {
            self.route(probe.clone(), &contact.into());
        }
        for request in requests {
            self.send(id, &request);
        }
    }

    /// RFC 6121 §4.3.2.
    fn answer_probe(&mut self, account: &NodePart, prober: &Jid) {
        if !self.sees(prober, account) {
            let own = self.bare(account);
            let reply = Element::new("presence", ns::CLIENT).attr("type", "unsubscribed").attr("from", own.as_str());
            return self.route(reply, &prober.to_bare().into());
        }
        let presences: Vec<_> = self.sessions_of(account).filter_map(|(_, bound)| bound.presence.clone()).collect();
        for presence in presences {
            self.route(presence, prober);
        }
    }

    /// A new subscriber is told who is online.
    pub(super) fn show_presence(&mut self, account: &NodePart, contact: &BareJid) {
        let presences: Vec<_> = self.sessions_of(account).filter_map(|(_, bound)| bound.presence.clone()).collect();
        for presence in presences {
            self.route(presence, &contact.clone().into());
        }
    }

    /// Who is no subscriber any more sees the account's resources go.
    pub(super) fn hide_presence(&mut self, account: &NodePart, contact: &BareJid) {
        let resources: Vec<_> =
            self.sessions_of(account).filter(|(_, b)| b.presence.is_some()).map(|(_, b)| b.jid.to_string()).collect();
        for resource in resources {
            let stanza = Element::new("presence", ns::CLIENT).attr("type", "unavailable").attr("from", resource);
            self.route(stanza, &contact.clone().into());
        }
    }
}
