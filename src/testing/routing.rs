//! Where stanzas go (RFC 6120 §10, RFC 6121 §8), and how they come back.

use jid::{FullJid, Jid};

use super::connection::Failure;
use super::state::{ConnectionId, State};
use super::tree::{Element, ns};
use crate::error::{StanzaError, StanzaErrorType};

/// A stanza error of type `cancel`.
pub(super) fn cancel(condition: &str) -> StanzaError {
    StanzaError::new(StanzaErrorType::Cancel, condition)
}

/// A stanza error of type `modify`.
pub(super) fn modify(condition: &str) -> StanzaError {
    StanzaError::new(StanzaErrorType::Modify, condition)
}

pub(super) fn error_element(error: &StanzaError) -> Element {
    let kind = match error.error_type {
        StanzaErrorType::Auth => "auth",
        StanzaErrorType::Continue => "continue",
        StanzaErrorType::Modify => "modify",
        StanzaErrorType::Wait => "wait",
        _ => "cancel",
    };
    let text = error.text.as_deref().map(|text| Element::with_text("text", ns::STANZA_ERRORS, text));
    let application = error.application.as_ref().map(|(namespace, name)| Element::new(name, namespace));
    Element::new("error", ns::CLIENT)
        .attr("type", kind)
        .child(Element::new(&error.condition, ns::STANZA_ERRORS))
        .children_from(text)
        .children_from(application)
}

impl State {
    /// A stanza from a client that has bound a resource.
    pub(super) fn handle(&mut self, id: ConnectionId, mut stanza: Element) -> Result<(), Failure> {
        let Some(own) = self.bound(id).map(|bound| bound.jid.clone()) else { return Ok(()) };
        if let Some(done) = self.manage(id, &stanza) {
            return done;
        }
        if self.client_state(id, &stanza) {
            return Ok(());
        }
        if stanza.ns() != ns::CLIENT || !matches!(stanza.name(), "message" | "presence" | "iq") {
            return Err(Failure::new("unsupported-stanza-type", None));
        }
        self.count_in(id);
        self.note_received(own.clone(), stanza.to_document());
        self.check_from(&own, &stanza)?;
        stanza.set_attr("from", own.as_str());
        let Ok(to) = stanza.get("to").map(Jid::new).transpose() else {
            self.bounce(&stanza, modify("jid-malformed"));
            return Ok(());
        };
        match stanza.name() {
            "message" => {
                // RFC 6121 §8.1.1.1: without an address, to the sender's own account.
                let to = to.unwrap_or_else(|| own.to_bare().into());
                self.send_message(id, &own, stanza, &to);
            }
            "presence" => self.handle_presence(id, &own, stanza, to),
            _ => self.handle_iq(id, &own, stanza, to),
        }
        Ok(())
    }

    /// A message of a client: the archive and the account's other clients get it before it goes its way.
    fn send_message(&mut self, id: ConnectionId, own: &FullJid, mut stanza: Element, to: &Jid) {
        stanza.set_attr("to", to.as_str());
        let account = own.node().map(ToOwned::to_owned);
        // What an account sends to itself comes back to it, and is kept then.
        if let Some(account) = account.filter(|_| own.to_bare() != to.to_bare()) {
            let archive_id = self.archive(&account, &stanza, to);
            self.carbons_sent(id, own, &stanza, archive_id.as_deref());
        }
        self.route(stanza, to);
    }

    fn check_from(&self, own: &FullJid, stanza: &Element) -> Result<(), Failure> {
        let Some(from) = stanza.get("from").filter(|_| self.differences().checks_from) else { return Ok(()) };
        match Jid::new(from) {
            Ok(from) if from == *own || from == own.to_bare() => Ok(()),
            _ => Err(Failure::new("invalid-from", None)),
        }
    }

    /// Takes a stanza with `from` to whom it is for.
    pub(super) fn route(&mut self, mut stanza: Element, to: &Jid) {
        stanza.set_attr("to", to.as_str());
        if !self.is_local(to) {
            if stanza.name() != "presence" || stanza.get("type") == Some("subscribe") {
                self.bounce(&stanza, cancel("remote-server-not-found"));
            }
            return;
        }
        match stanza.name() {
            "message" => self.route_message(stanza, to),
            "presence" => self.route_presence(stanza, to),
            _ => self.route_iq(stanza, to),
        }
    }

    /// Delivers to exactly this resource, if it is there.
    pub(super) fn deliver(&self, stanza: &Element, to: &FullJid) -> bool {
        match self.session(to) {
            Some(id) => {
                self.send(id, stanza);
                true
            }
            None => false,
        }
    }

    /// Sends a stanza back to its sender as an error, unless it was one, or a result (RFC 6120 §8.3.1).
    pub(super) fn bounce(&mut self, stanza: &Element, error: StanzaError) {
        let kind = stanza.get("type");
        if kind == Some("error") || (stanza.name() == "iq" && kind == Some("result")) {
            return;
        }
        let Some(Ok(sender)) = stanza.get("from").map(FullJid::new) else { return };
        let reply = self.error_reply(stanza, &error).maybe_attr("from", stanza.get("to")).attr("to", sender.as_str());
        self.deliver(&reply, &sender);
    }

    /// The answer to a stanza that is refused, without addresses.
    pub(super) fn error_reply(&self, stanza: &Element, error: &StanzaError) -> Element {
        let echoed = self.differences().errors_echo_payload;
        Element::new(stanza.name(), ns::CLIENT)
            .attr("type", "error")
            .maybe_attr("id", stanza.get("id"))
            .children_from(stanza.elements().filter(|_| echoed).cloned())
            .child(error_element(error))
    }
}
