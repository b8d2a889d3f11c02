//! Small services: disco (XEP-0030), ping (XEP-0199), version (XEP-0092), and RFC 3921's session.

use super::archive;
use super::iq::{self, Answer, Request, Scope};
use super::routing::cancel;
use super::state::State;
use super::tree::{Element, ns};
use crate::error::StanzaError;

pub(super) fn info(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if request.is_set {
        return Err(cancel("feature-not-implemented"));
    }
    if request.payload.get("node").is_some() {
        return Err(cancel("item-not-found"));
    }
    let query = Element::new("query", ns::DISCO_INFO);
    let feature = |var: &str| Element::new("feature", ns::DISCO_INFO).attr("var", var);
    let query = match &request.scope {
        Scope::Server => query
            .child(identity("server", "im").attr("name", state.differences().software.0.clone()))
            .child(feature("msgoffline"))
            .children_from(iq::features().map(feature))
            .children_from(state.differences().carbons.then(|| feature(ns::CARBONS))),
        Scope::Own(_) => query
            .child(identity("account", "registered"))
            .child(feature(ns::DISCO_INFO))
            .children_from(archive::features(state).into_iter().map(feature)),
        Scope::Other(Some(account)) if state.sees(&request.from, account) => {
            query.child(identity("account", "registered")).child(feature(ns::DISCO_INFO))
        }
        // XEP-0030 §8: who is not subscribed learns nothing, not even whether the account exists.
        Scope::Other(_) => return Err(cancel("service-unavailable")),
    };
    Ok(Answer::Result(Some(query)))
}

fn identity(category: &str, kind: &str) -> Element {
    Element::new("identity", ns::DISCO_INFO).attr("category", category).attr("type", kind)
}

pub(super) fn items(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if request.is_set {
        return Err(cancel("feature-not-implemented"));
    }
    let query = Element::new("query", ns::DISCO_ITEMS);
    let resources = |account| {
        state.sessions_of(account).filter(|(_, bound)| bound.presence.is_some()).map(|(_, bound)| bound.jid.to_string()).collect()
    };
    let items: Vec<String> = match &request.scope {
        Scope::Server => Vec::new(),
        Scope::Own(account) => resources(account),
        Scope::Other(Some(account)) if state.sees(&request.from, account) => resources(account),
        Scope::Other(_) => return Err(cancel("service-unavailable")),
    };
    let items = items.into_iter().map(|jid| Element::new("item", ns::DISCO_ITEMS).attr("jid", jid));
    Ok(Answer::Result(Some(query.children_from(items))))
}

pub(super) fn ping(_: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    match &request.scope {
        Scope::Server | Scope::Own(_) if !request.is_set => Ok(Answer::Result(None)),
        _ => Err(cancel("service-unavailable")),
    }
}

pub(super) fn version(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if request.scope != Scope::Server || request.is_set {
        return Err(cancel("service-unavailable"));
    }
    let (name, version) = &state.differences().software;
    let query = Element::new("query", ns::VERSION)
        .child(Element::with_text("name", ns::VERSION, name))
        .child(Element::with_text("version", ns::VERSION, version));
    Ok(Answer::Result(Some(query)))
}

pub(super) fn session(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if !state.differences().session_feature || !request.is_set || matches!(request.scope, Scope::Other(_)) {
        return Err(cancel("service-unavailable"));
    }
    Ok(Answer::Result(None))
}
