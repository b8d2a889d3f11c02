//! Which stanzas an event is interested in, decided without building anything.

use std::borrow::Cow;

use crate::event::Inbound;
use crate::xml::StanzaKind;

/// A cheap test that a stanza may be a given event.
///
/// A route looks at kind and payload, and so takes stanzas of type `error` too, which carry back the payloads of what could
/// not be delivered, in the name of whoever could not be reached. An event that speaks for its sender excludes them by
/// [`when`](Self::when).
///
/// ```
/// use xmppkit::event::Route;
/// // every message that carries this payload
/// let route = Route::message().payload("urn:xmpp:attention:0", "attention");
/// // and was not returned with an error
/// let route = route.when(|inbound| inbound.stanza().stanza_type().as_deref() != Some("error"));
/// ```
#[derive(Clone, Debug)]
pub struct Route {
    kind: Option<StanzaKind>,
    payload: Option<Payload>,
    filter: Option<fn(&Inbound) -> bool>,
    emitted: bool,
}

#[derive(Clone, Debug)]
struct Payload {
    ns: Cow<'static, str>,
    name: Option<Cow<'static, str>>,
}

impl Route {
    const fn of(kind: Option<StanzaKind>) -> Self {
        Self { kind, payload: None, filter: None, emitted: false }
    }

    /// Every message.
    #[must_use]
    pub const fn message() -> Self {
        Self::of(Some(StanzaKind::Message))
    }

    /// Every presence stanza.
    #[must_use]
    pub const fn presence() -> Self {
        Self::of(Some(StanzaKind::Presence))
    }

    /// No stanza: the event is only ever reported by an extension.
    #[must_use]
    pub const fn emitted() -> Self {
        Self { kind: None, payload: None, filter: None, emitted: true }
    }

    /// Only those with a child of this namespace and name.
    #[must_use]
    pub fn payload(mut self, ns: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>) -> Self {
        self.payload = Some(Payload { ns: ns.into(), name: Some(name.into()) });
        self
    }

    /// Only those with a child of this namespace, whatever its name.
    #[must_use]
    pub fn payload_ns(mut self, ns: impl Into<Cow<'static, str>>) -> Self {
        self.payload = Some(Payload { ns: ns.into(), name: None });
        self
    }

    /// Only those that also pass this test. It runs on the path of every stanza of the kind: look, do not parse.
    #[must_use]
    pub const fn when(mut self, filter: fn(&Inbound) -> bool) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Whether a stanza takes this route.
    #[must_use]
    pub fn matches(&self, inbound: &Inbound) -> bool {
        if self.emitted || self.kind.is_some_and(|kind| kind != inbound.stanza().kind()) {
            return false;
        }
        let payload = match &self.payload {
            None => true,
            Some(Payload { ns, name: Some(name) }) => inbound.stanza().child(ns, name).is_some(),
            Some(Payload { ns, name: None }) => inbound.stanza().children().any(|child| child.ns() == *ns),
        };
        payload && self.filter.is_none_or(|filter| passes(filter, inbound))
    }
}

/// Runs an application's test; one that panics takes nothing.
fn passes(filter: fn(&Inbound) -> bool, inbound: &Inbound) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| filter(inbound))).unwrap_or_else(|_| {
        tracing::error!("the test of a route panicked");
        false
    })
}
