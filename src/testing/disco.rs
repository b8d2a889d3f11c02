//! Small services: disco (XEP-0030) and capabilities (XEP-0115), ping (XEP-0199), version (XEP-0092), time (XEP-0202), last
//! activity (XEP-0012), and RFC 3921's session.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest as _, Sha1};

use super::archive;
use super::clock;
use super::iq::{self, Answer, Request, Scope};
use super::routing::cancel;
use super::state::State;
use super::tree::{Element, ns};
use crate::error::{StanzaError, StanzaErrorType};

pub(super) fn info(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if request.is_set {
        return Err(cancel("feature-not-implemented"));
    }
    let (identities, features) = match &request.scope {
        Scope::Server => server(state),
        Scope::Own(_) => {
            let (identities, features) = account();
            let push = state.differences().push.then_some(ns::PUSH);
            (identities, features.into_iter().chain(archive::features(state)).chain(push).collect())
        }
        Scope::Other(Some(account_of)) if state.sees(&request.from, account_of) => account(),
        // XEP-0030 §8: who is not subscribed learns nothing, not even whether the account exists.
        Scope::Other(_) => return Err(cancel("service-unavailable")),
    };
    let node = request.payload.get("node");
    if node.is_some_and(|node| request.scope != Scope::Server || node != caps_node(state)) {
        return Err(cancel("item-not-found"));
    }
    let feature = |var| Element::new("feature", ns::DISCO_INFO).attr("var", var);
    let query = Element::new("query", ns::DISCO_INFO).maybe_attr("node", node);
    Ok(Answer::Result(Some(query.children_from(identities).children_from(features.into_iter().map(feature)))))
}

/// What the server is, and what it can do.
fn server(state: &State) -> (Vec<Element>, Vec<&'static str>) {
    let own = identity("server", "im").attr("name", state.differences().software.0.clone());
    let caps = state.differences().announces_caps.then_some(ns::CAPS);
    let carbons = state.differences().carbons.then_some(ns::CARBONS);
    (vec![own], iq::features().chain(["msgoffline"]).chain(caps).chain(carbons).collect())
}

fn account() -> (Vec<Element>, Vec<&'static str>) {
    (vec![identity("account", "registered")], vec![ns::DISCO_INFO])
}

/// `<c/>` among the stream features (XEP-0115 §6.3).
pub(super) fn caps(state: &State) -> Option<Element> {
    let c = || Element::new("c", ns::CAPS).attr("hash", "sha-1").attr("node", CAPS_NODE).attr("ver", ver(state));
    state.differences().announces_caps.then(c)
}

const CAPS_NODE: &str = "urn:xmppkit:testing";

fn caps_node(state: &State) -> String {
    format!("{CAPS_NODE}#{}", ver(state))
}

/// XEP-0115 §5.1, of one identity without language and no forms.
fn ver(state: &State) -> String {
    let (identities, mut features) = server(state);
    let mut text = String::new();
    for own in identities {
        let part = |name| own.get(name).unwrap_or_default();
        text += &format!("{}/{}//{}<", part("category"), part("type"), part("name"));
    }
    features.sort_unstable();
    for feature in features {
        text += feature;
        text.push('<');
    }
    BASE64.encode(Sha1::digest(text))
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

pub(super) fn time(_: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if request.scope != Scope::Server || request.is_set {
        return Err(cancel("service-unavailable"));
    }
    let time = Element::new("time", ns::TIME).child(Element::with_text("tzo", ns::TIME, "+00:00")).child(Element::with_text(
        "utc",
        ns::TIME,
        &clock::stamp(clock::unix_now()),
    ));
    Ok(Answer::Result(Some(time)))
}

pub(super) fn last(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if request.is_set {
        return Err(cancel("service-unavailable"));
    }
    let query = Element::new("query", ns::LAST);
    let since = |then: i64| (clock::unix_now() - then).max(0).to_string();
    let query = match &request.scope {
        Scope::Server => query.attr("seconds", since(state.started)),
        Scope::Own(_) => query.attr("seconds", "0"),
        Scope::Other(Some(account)) if state.sees(&request.from, account) => {
            let is_there = state.sessions_of(account).any(|(_, bound)| bound.presence.is_some());
            match state.accounts.get(account).and_then(|account| account.left.as_ref()) {
                _ if is_there => query.attr("seconds", "0"),
                Some((when, status)) => query.attr("seconds", since(*when)).text_node(status),
                // Nobody ever left.
                None => return Err(cancel("service-unavailable")),
            }
        }
        Scope::Other(_) => return Err(StanzaError::new(StanzaErrorType::Auth, "forbidden")),
    };
    Ok(Answer::Result(Some(query)))
}

pub(super) fn session(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if !state.differences().session_feature || !request.is_set || matches!(request.scope, Scope::Other(_)) {
        return Err(cancel("service-unavailable"));
    }
    Ok(Answer::Result(None))
}
