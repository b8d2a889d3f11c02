//! Presence as it arrives.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use jid::Jid;

use crate::client::WeakClient;
use crate::error::StanzaError;
use crate::event::{Event, Inbound, Route};
use crate::presence::{Show, resource};
use crate::xml::{Stanza, ns};

/// Somebody's presence has arrived: available, unavailable, or an error that came back for a presence of ours.
///
/// A view of the stanza that reads what it is asked for. The picture the updates add up to is
/// [`Client::presence`](crate::presence::Presences::presence), and already says what the update says. Not among them are
/// requests to subscribe and their answers ([`SubscriptionRequest`](crate::roster::SubscriptionRequest)), and presence of
/// the occupants of rooms (XEP-0045).
#[derive(Clone)]
pub struct PresenceUpdate {
    stanza: Stanza,
    from: Jid,
    received: SystemTime,
}

impl PresenceUpdate {
    /// Whose presence it is; for an error, to whom ours could not be delivered.
    #[must_use]
    pub fn from(&self) -> &Jid {
        &self.from
    }

    /// Whether they are available.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.stanza.stanza_type().is_none()
    }

    /// How available they are; none if they are not.
    #[must_use]
    pub fn show(&self) -> Option<Show> {
        self.is_available().then(|| resource::show(&self.stanza))
    }

    /// Their priority, from -128 to 127.
    #[must_use]
    pub fn priority(&self) -> i8 {
        resource::priority(&self.stanza)
    }

    /// What they say in words: the text in the stanza's own language, or the first. Also those who leave may say something.
    #[must_use]
    pub fn status(&self) -> Option<Cow<'_, str>> {
        resource::status(&self.stanza)
    }

    /// What they say in this language (a language tag, compared without case).
    #[must_use]
    pub fn status_in(&self, lang: &str) -> Option<Cow<'_, str>> {
        resource::status_in(&self.stanza, lang)
    }

    /// The error, if this is one.
    #[must_use]
    pub fn error(&self) -> Option<StanzaError> {
        self.stanza.stanza_type().is_some_and(|kind| kind == "error").then(|| self.stanza.error()).flatten()
    }

    /// When it was received.
    #[must_use]
    pub fn received(&self) -> SystemTime {
        self.received
    }

    /// The stanza, for everything else in it.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }
}

impl Event for PresenceUpdate {
    fn route() -> Route {
        Route::presence().when(is_update)
    }

    fn from_inbound(inbound: &Inbound, _: &WeakClient) -> Option<Self> {
        let from = inbound.stanza().from_jid()?.clone();
        Some(Self { stanza: inbound.stanza().clone(), from, received: inbound.received() })
    }
}

impl fmt::Debug for PresenceUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceUpdate").field("from", &self.from.as_str()).field("show", &self.show()).finish_non_exhaustive()
    }
}

/// Whether a presence stanza says how available somebody is. Occupants of rooms are no contacts: they have one address
/// for many people.
pub(super) fn is_update(inbound: &Inbound) -> bool {
    let stanza = inbound.stanza();
    matches!(stanza.stanza_type().as_deref(), None | Some("unavailable" | "error")) && stanza.child(ns::MUC_USER, "x").is_none()
}
