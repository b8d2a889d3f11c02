//! Our own presence: what is kept of it, and the calls that change it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;

use futures::future::BoxFuture;
use jid::Jid;
use xmpp_parsers::message::Lang;
use xmpp_parsers::presence::{Presence as WirePresence, Priority, Type};

use crate::error::Result;
use crate::presence::{Presence, Show};

/// Our own presence, as it is told to contacts while the client is online.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnPresence {
    pub(super) available: bool,
    show: Show,
    pub(super) priority: i8,
    statuses: BTreeMap<String, String>,
}

impl OwnPresence {
    /// Whether we are available. A client that is not has no initial presence.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.available
    }

    /// How available we are.
    #[must_use]
    pub fn show(&self) -> Show {
        self.show
    }

    /// Our priority.
    #[must_use]
    pub fn priority(&self) -> i8 {
        self.priority
    }

    /// What we say in words, in the stream's language.
    #[must_use]
    pub fn status(&self) -> Option<&str> {
        self.statuses.get("").map(String::as_str)
    }

    /// What we say in words, by language; the stream's own is the empty one.
    pub fn statuses(&self) -> impl Iterator<Item = (&str, &str)> {
        self.statuses.iter().map(|(lang, text)| (lang.as_str(), text.as_str()))
    }

    /// Makes a presence stanza say this.
    pub(super) fn fill(&self, presence: &mut WirePresence) {
        presence.type_ = if self.available { Type::None } else { Type::Unavailable };
        presence.show = if self.available { self.show.to_wire() } else { None };
        presence.priority = Priority(if self.available { self.priority } else { 0 });
        presence.statuses = self.statuses.iter().map(|(lang, text)| (Lang(lang.clone()), text.clone())).collect();
    }

    pub(super) fn to_wire(&self, to: Option<Jid>) -> WirePresence {
        let mut presence = WirePresence::available();
        presence.to = to;
        self.fill(&mut presence);
        presence
    }
}

impl Default for OwnPresence {
    fn default() -> Self {
        Self { available: true, show: Show::Available, priority: 0, statuses: BTreeMap::new() }
    }
}

impl fmt::Debug for OwnPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnPresence")
            .field("available", &self.available)
            .field("show", &self.show)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// Changes our presence, or sends some to one address, when it is awaited; see [`Presence::set`], [`Presence::send_to`].
#[must_use = "nothing is sent until it is awaited"]
pub struct SetPresence {
    presence: Presence,
    to: Option<Jid>,
    own: OwnPresence,
    priority: Option<i8>,
}

impl SetPresence {
    pub(super) fn new(presence: Presence, show: Option<Show>) -> Self {
        let own = OwnPresence { available: show.is_some(), show: show.unwrap_or_default(), ..OwnPresence::default() };
        Self { presence, to: None, own, priority: None }
    }

    pub(super) fn directed(presence: Presence, to: Jid) -> Self {
        let own = presence.own();
        Self { presence, to: Some(to), priority: Some(own.priority), own }
    }

    /// How available we say we are.
    pub fn show(mut self, show: Show) -> Self {
        (self.own.available, self.own.show) = (true, show);
        self
    }

    /// No longer available.
    pub fn unavailable(mut self) -> Self {
        self.own.available = false;
        self
    }

    /// What we say in words, in the stream's language.
    pub fn status(self, text: impl Into<String>) -> Self {
        self.status_in("", text)
    }

    /// What we say in words, in this language (a language tag).
    pub fn status_in(mut self, lang: impl Into<String>, text: impl Into<String>) -> Self {
        self.own.statuses.insert(lang.into(), text.into());
        self
    }

    /// Our priority among the user's devices (RFC 6121 §4.7.2.3): messages to the bare JID go to the highest, and not to
    /// one below zero. Without this it stays what it was.
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = Some(priority);
        self
    }
}

impl IntoFuture for SetPresence {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { presence, to, mut own, priority } = self;
            let service = presence.service()?;
            match to {
                Some(to) => {
                    own.priority = priority.unwrap_or(own.priority);
                    presence.client.send_presence(own.to_wire(Some(to))).await
                }
                None => {
                    service.keep(own, priority);
                    service.announce_if_online(&presence.client).await
                }
            }
        })
    }
}

impl fmt::Debug for SetPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetPresence").field("to", &self.to).field("own", &self.own).finish_non_exhaustive()
    }
}
