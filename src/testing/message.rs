//! Messages and their offline storage (RFC 6121 §8.5, XEP-0160).

use jid::{Jid, NodePart};

use super::clock;
use super::dialect::MessageRouting;
use super::routing::cancel;
use super::state::{ConnectionId, State};
use super::tree::{Element, ns};

/// A message that waits for its account to come online.
pub(super) struct Stored {
    stanza: Element,
    /// When it came, in seconds since 1970.
    at: i64,
}

impl State {
    /// A message for an address of this server; the cases of RFC 6121 §8.5.4, table 1.
    pub(super) fn route_message(&mut self, stanza: Element, to: &Jid) {
        let kind = match stanza.get("type") {
            Some(kind @ ("chat" | "groupchat" | "headline" | "error")) => kind.to_owned(),
            _ => "normal".to_owned(),
        };
        let Some(account) = self.local_account(to) else {
            // A message to the server itself is nobody's; to an unknown account it is refused.
            if to.node().is_some() && kind != "headline" {
                self.bounce(&stanza, cancel("service-unavailable"));
            }
            return;
        };
        let is_chat = matches!(kind.as_str(), "chat" | "normal");
        if let Ok(full) = to.try_as_full() {
            if let Some(id) = self.session(full) {
                let stanza = if is_chat { self.archive_incoming(&account, stanza) } else { stanza };
                self.send(id, &stanza);
                return self.carbons_received(&account, &stanza, &[id]);
            }
            let falls_back = kind == "chat" || (kind == "normal" && self.differences().full_jid_fallback);
            if !falls_back {
                return self.bounce(&stanza, cancel("service-unavailable"));
            }
        }
        match kind.as_str() {
            "error" => {}
            "groupchat" => self.bounce(&stanza, cancel("service-unavailable")),
            "headline" => {
                for id in self.reachable(&account, MessageRouting::AllNonNegative) {
                    self.send(id, &stanza);
                }
            }
            _ => {
                let stanza = self.archive_incoming(&account, stanza);
                let reachable = self.reachable(&account, self.differences().message_routing);
                if reachable.is_empty() {
                    return self.store_offline(&account, stanza, clock::unix_now());
                }
                for id in &reachable {
                    self.send(*id, &stanza);
                }
                self.carbons_received(&account, &stanza, &reachable);
            }
        }
    }

    /// The resources that get messages to the bare JID.
    pub(super) fn reachable(&self, account: &NodePart, routing: MessageRouting) -> Vec<ConnectionId> {
        let candidates: Vec<_> = self
            .sessions_of(account)
            .filter(|(_, bound)| bound.presence.is_some() && bound.priority >= 0)
            .map(|(id, bound)| (bound.priority, id))
            .collect();
        let highest = candidates.iter().map(|(priority, _)| *priority).max();
        let best = candidates.iter().filter(|(priority, _)| Some(*priority) == highest);
        match routing {
            MessageRouting::AllNonNegative => candidates.iter().map(|(_, id)| *id).collect(),
            MessageRouting::HighestPriority => best.map(|(_, id)| *id).collect(),
            MessageRouting::MostRecent => best.map(|(_, id)| *id).max().into_iter().collect(),
        }
    }

    /// Keeps a message that came at this time, in seconds since 1970.
    pub(super) fn store_offline(&mut self, account: &NodePart, stanza: Element, at: i64) {
        // XEP-0160 §3, XEP-0334 §4: what says nothing by itself is not kept, and not refused either.
        let is_state = |e: &Element| e.ns() == ns::CHAT_STATES;
        let only_states = stanza.elements().any(is_state) && stanza.elements().all(|e| is_state(e) || e.is("thread", ns::CLIENT));
        if only_states || stanza.find("no-store", ns::HINTS).is_some() {
            return;
        }
        if let Some(found) = self.accounts.get_mut(account) {
            found.offline.push(Stored { stanza, at });
        }
    }

    pub(super) fn deliver_offline(&mut self, id: ConnectionId, account: &NodePart) {
        let asked = self.bound(id).is_some_and(|bound| bound.archive_queries > 0);
        let replaced = asked && self.differences().archive_replaces_offline;
        let Some(found) = self.accounts.get_mut(account) else { return };
        if replaced {
            return found.offline.clear();
        }
        for stored in std::mem::take(&mut found.offline) {
            if stored.stanza.find("delay", ns::DELAY).is_some() {
                self.send(id, &stored.stanza);
                continue;
            }
            let mut delay =
                Element::new("delay", ns::DELAY).attr("from", self.domain.as_str()).attr("stamp", clock::stamp(stored.at));
            if let Some(text) = &self.differences().offline_delay_text {
                delay = delay.text_node(text);
            }
            self.send(id, &stored.stanza.child(delay));
        }
    }
}
