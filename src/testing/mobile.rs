//! What clients on phones ask of a server: client states (XEP-0352) and push notifications (XEP-0357), asked for and never sent.

use jid::BareJid;

use super::iq::{Answer, Request, Scope};
use super::routing::{cancel, modify};
use super::state::{ConnectionId, State};
use super::tree::{Element, ns};
use crate::error::StanzaError;

impl State {
    /// A client says whether somebody is looking; `false` if it says something else.
    pub(super) fn client_state(&mut self, id: ConnectionId, element: &Element) -> bool {
        let inactive = match (element.ns(), element.name()) {
            (ns::CSI, "active") => false,
            (ns::CSI, "inactive") => true,
            _ => return false,
        };
        if !self.differences().client_states {
            return false;
        }
        if let Some(bound) = self.bound_mut(id) {
            bound.client_states.push(inactive);
        }
        true
    }
}

/// Switches the notifications of a push service on or off.
pub(super) fn push(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    let (Scope::Own(account), true, true) = (&request.scope, request.is_set, state.differences().push) else {
        return Err(cancel("service-unavailable"));
    };
    let payload = &request.payload;
    let Some(Ok(service)) = payload.get("jid").map(BareJid::new) else { return Err(modify("bad-request")) };
    let node = payload.get("node").map(ToOwned::to_owned);
    let Some(account) = state.accounts.get_mut(account) else { return Err(cancel("item-not-found")) };
    if payload.name() == "enable" {
        let key = (service, node.unwrap_or_default());
        account.push.insert(key, payload.to_document());
    } else {
        account.push.retain(|(other, at), _| *other != service || node.as_ref().is_some_and(|node| node != at));
    }
    Ok(Answer::Result(None))
}
