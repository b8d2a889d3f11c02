//! Copies for an account's other clients (XEP-0280).

use jid::{FullJid, NodePart};

use super::archive::stanza_id;
use super::iq::{Answer, Request, Scope};
use super::routing::cancel;
use super::state::{ConnectionId, State};
use super::tree::{Element, ns};
use crate::error::StanzaError;

/// `<enable/>` and `<disable/>`.
pub(super) fn switch(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    let (Scope::Own(_), true, Some(id), true) = (&request.scope, request.is_set, request.session, state.differences().carbons)
    else {
        return Err(cancel("service-unavailable"));
    };
    let enable = request.payload.name() == "enable";
    if let Some(bound) = state.bound_mut(id) {
        bound.carbons = enable;
    }
    Ok(Answer::Result(None))
}

impl State {
    /// Copies a message that some of the account's clients got to the others (XEP-0280 §7).
    pub(super) fn carbons_received(&self, account: &NodePart, stanza: &Element, delivered: &[ConnectionId]) {
        self.copy("received", account, stanza, delivered);
    }

    /// Copies what a client sent to the account's others (XEP-0280 §8), with the id that the archive gave it.
    pub(super) fn carbons_sent(&self, id: ConnectionId, own: &FullJid, stanza: &Element, archive_id: Option<&str>) {
        let Some(account) = own.node() else { return };
        let archive_id = archive_id.filter(|_| self.differences().stanza_ids);
        let stanza = stanza.clone().children_from(archive_id.map(|id| stanza_id(&own.to_bare(), id)));
        self.copy("sent", &account.to_owned(), &stanza, &[id]);
    }

    fn copy(&self, way: &str, account: &NodePart, stanza: &Element, except: &[ConnectionId]) {
        let is_private = stanza.find("private", ns::CARBONS).is_some();
        let is_eligible = match stanza.get("type") {
            Some("chat") => true,
            None | Some("normal") => stanza.find("body", ns::CLIENT).is_some(),
            _ => false,
        };
        if is_private || !is_eligible {
            return;
        }
        let bare = self.bare(account);
        for (id, bound) in self.sessions_of(account).filter(|(id, bound)| bound.carbons && !except.contains(id)) {
            let forwarded = Element::new("forwarded", ns::FORWARD).child(stanza.clone());
            let carbon = Element::new("message", ns::CLIENT)
                .attr("from", bare.as_str())
                .attr("to", bound.jid.as_str())
                .maybe_attr("type", stanza.get("type"))
                .child(Element::new(way, ns::CARBONS).child(forwarded));
            self.send(id, &carbon);
        }
    }
}
