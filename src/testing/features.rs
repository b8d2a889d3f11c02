//! Stream features (RFC 6120 §4.3.2).

use super::dialect::Versioning;
use super::options::{Mechanism, Misbehaviour, Registration};
use super::sasl::Authenticated;
use super::state::State;
use super::tree::{Element, ns};

/// What is offered on a stream in this state.
pub(super) fn of(state: &State, secure: bool, who: Option<&Authenticated>) -> Element {
    let features = Element::new("features", ns::STREAM);
    match who {
        None => before_login(state, features, secure),
        Some(_) => after_login(state, features),
    }
}

/// Whether the server has this client log in without TLS.
pub(super) fn plain_text_allowed(state: &State) -> bool {
    !state.config.tls_offered || !state.config.tls_required || stripped(state)
}

/// The mechanisms offered now, strongest dialect order kept.
pub(super) fn mechanisms(state: &State, secure: bool) -> Vec<&Mechanism> {
    if !secure && !plain_text_allowed(state) {
        return Vec::new();
    }
    // PLAIN without TLS only where there is no TLS at all.
    let plain = secure || !state.config.tls_offered || stripped(state);
    state.differences().mechanisms.iter().filter(|m| plain || **m != Mechanism::Plain).collect()
}

fn stripped(state: &State) -> bool {
    state.config.misbehaviours.contains(&Misbehaviour::StripTls)
}

fn before_login(state: &State, mut features: Element, secure: bool) -> Element {
    if !secure && state.config.tls_offered && !stripped(state) {
        let mut starttls = Element::new("starttls", ns::TLS);
        if state.config.tls_required {
            starttls = starttls.child(Element::new("required", ns::TLS));
        }
        features = features.child(starttls);
    }
    let mechanisms = mechanisms(state, secure);
    if !mechanisms.is_empty() {
        let names = mechanisms.iter().map(|m| Element::with_text("mechanism", ns::SASL, m.name()));
        features = features.child(Element::new("mechanisms", ns::SASL).children_from(names));
    }
    let announced = state.differences().announces_registration && state.config.registration != Registration::Closed;
    if (secure || plain_text_allowed(state)) && announced {
        features = features.child(Element::new("register", ns::REGISTER_FEATURE));
    }
    limits(state, features)
}

fn after_login(state: &State, features: Element) -> Element {
    let differences = state.differences();
    let mut features = features.child(Element::new("bind", ns::BIND).child(Element::new("required", ns::BIND)));
    if differences.session_feature {
        features = features.child(Element::new("session", ns::SESSION).child(Element::new("optional", ns::SESSION)));
    }
    features = features.children_from(differences.management.versions.iter().map(|version| Element::new("sm", version)));
    if differences.roster_versioning != Versioning::Off {
        features = features.child(Element::new("ver", ns::ROSTER_VER));
    }
    if differences.pre_approval {
        features = features.child(Element::new("sub", ns::PRE_APPROVAL));
    }
    let client_states = differences.client_states.then(|| Element::new("csi", ns::CSI));
    limits(state, features.children_from(client_states).children_from(super::disco::caps(state)))
}

fn limits(state: &State, features: Element) -> Element {
    if !state.differences().advertises_limits {
        return features;
    }
    let max = Element::with_text("max-bytes", ns::LIMITS, &state.differences().max_stanza_bytes.to_string());
    features.child(Element::new("limits", ns::LIMITS).child(max))
}
