//! What one presence stanza says about one resource.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jid::{BareJid, Jid};
use xmpp_parsers::date::DateTime;
use xmpp_parsers::presence::Show as WireShow;

use crate::xml::{Node, Stanza, belongs_to, ns};

/// How available somebody is (RFC 6121 §4.7.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Show {
    /// Available, and glad to chat.
    Chat,
    /// Available: no `<show/>` at all.
    #[default]
    Available,
    /// Away for a while.
    Away,
    /// Away for longer ("extended away").
    Xa,
    /// Busy: do not disturb.
    Dnd,
}

impl Show {
    /// The value of a `<show/>`; one that is none of the known says nothing.
    fn from_text(text: &str) -> Self {
        match text.trim() {
            "chat" => Self::Chat,
            "away" => Self::Away,
            "xa" => Self::Xa,
            "dnd" => Self::Dnd,
            _ => Self::Available,
        }
    }

    pub(super) fn to_wire(self) -> Option<WireShow> {
        match self {
            Self::Chat => Some(WireShow::Chat),
            Self::Available => None,
            Self::Away => Some(WireShow::Away),
            Self::Xa => Some(WireShow::Xa),
            Self::Dnd => Some(WireShow::Dnd),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Available => "available",
            Self::Away => "away",
            Self::Xa => "xa",
            Self::Dnd => "dnd",
        }
    }

    /// Readiest to talk first.
    fn rank(self) -> u8 {
        match self {
            Self::Chat => 0,
            Self::Available => 1,
            Self::Away => 2,
            Self::Xa => 3,
            Self::Dnd => 4,
        }
    }
}

impl fmt::Display for Show {
    /// The word on the wire; `available`, which has none there, is called so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An available resource of a contact or of the own account, as its last presence says.
///
/// `Ord` puts the best one first: higher priority, then readier to talk, then the one that spoke last.
/// Cloning counts a reference.
#[derive(Clone)]
pub struct ResourcePresence {
    fields: Arc<Fields>,
}

struct Fields {
    /// Whose resource it is.
    bare: BareJid,
    show: Show,
    priority: i8,
    since: SystemTime,
    own: bool,
    stanza: Stanza,
}

impl ResourcePresence {
    /// What an available presence stanza says; none without a sender. `received` counts where no
    /// [delay](https://xmpp.org/extensions/xep-0203.html) says when it was sent.
    pub(super) fn read(stanza: &Stanza, received: SystemTime, account: &BareJid) -> Option<Self> {
        let jid = stanza.from_jid()?;
        let fields = Fields {
            bare: jid.clone().into_bare(),
            show: show(stanza),
            priority: priority(stanza),
            since: sent(stanza).map_or(received, |sent| sent.min(received)),
            own: belongs_to(jid, account),
            stanza: stanza.clone(),
        };
        Some(Self { fields: Arc::new(fields) })
    }

    /// Whose resource it is.
    pub(super) fn bare(&self) -> &BareJid {
        &self.fields.bare
    }

    /// The resource's full JID. Gateways also have presence without a resource.
    #[must_use]
    pub fn jid(&self) -> &Jid {
        // Without a sender none was read.
        self.fields.stanza.from_jid().unwrap_or(&self.fields.bare)
    }

    /// Whether it is one of the own account's: this client, or another of the user's devices.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.fields.own
    }

    /// How available it is.
    #[must_use]
    pub fn show(&self) -> Show {
        self.fields.show
    }

    /// Its priority, from -128 to 127. A resource with a negative one gets no messages sent to the bare JID.
    #[must_use]
    pub fn priority(&self) -> i8 {
        self.fields.priority
    }

    /// When it said so: when the stanza was sent where the server tells (XEP-0203), else when it was received.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.fields.since
    }

    /// What it says in words: the text in the stanza's own language, or the first.
    #[must_use]
    pub fn status(&self) -> Option<Cow<'_, str>> {
        status(&self.fields.stanza)
    }

    /// What it says in this language (a language tag, compared without case).
    #[must_use]
    pub fn status_in(&self, lang: &str) -> Option<Cow<'_, str>> {
        status_in(&self.fields.stanza, lang)
    }

    /// What it says, with each text's language where one is given.
    pub fn statuses(&self) -> impl Iterator<Item = (Option<Cow<'_, str>>, Cow<'_, str>)> {
        statuses(&self.fields.stanza)
    }

    /// The stanza, for everything else in it.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.fields.stanza
    }
}

impl Ord for ResourcePresence {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |presence: &Self| (Reverse(presence.priority()), presence.show().rank(), Reverse(presence.since()));
        key(self).cmp(&key(other)).then_with(|| self.jid().cmp(other.jid()))
    }
}

impl PartialOrd for ResourcePresence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ResourcePresence {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ResourcePresence {}

impl fmt::Debug for ResourcePresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePresence")
            .field("jid", &self.jid().as_str())
            .field("show", &self.show())
            .field("priority", &self.priority())
            .finish_non_exhaustive()
    }
}

pub(super) fn show(stanza: &Stanza) -> Show {
    stanza.child_text(ns::CLIENT, "show").map_or(Show::Available, |text| Show::from_text(&text))
}

/// Zero where none is given, or none that is a priority (RFC 6121 §4.7.2.3).
pub(super) fn priority(stanza: &Stanza) -> i8 {
    stanza.child_text(ns::CLIENT, "priority").and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

pub(super) fn statuses(stanza: &Stanza) -> impl Iterator<Item = (Option<Cow<'_, str>>, Cow<'_, str>)> {
    status_nodes(stanza).map(|node| (node.lang(), node.text()))
}

pub(super) fn status(stanza: &Stanza) -> Option<Cow<'_, str>> {
    let own = status_nodes(stanza).find(|node| node.attr_ns(ns::XML, "lang").is_none());
    own.or_else(|| status_nodes(stanza).next()).map(Node::text).filter(|text| !text.is_empty())
}

pub(super) fn status_in<'a>(stanza: &'a Stanza, lang: &str) -> Option<Cow<'a, str>> {
    let of_lang = |node: &Node<'_>| node.lang().is_some_and(|own| own.eq_ignore_ascii_case(lang));
    status_nodes(stanza).find(of_lang).map(Node::text)
}

fn status_nodes(stanza: &Stanza) -> impl Iterator<Item = Node<'_>> {
    stanza.children().filter(|child| child.is(ns::CLIENT, "status"))
}

/// When a delayed stanza was sent (XEP-0203).
fn sent(stanza: &Stanza) -> Option<SystemTime> {
    let stamp: DateTime = stanza.child(ns::DELAY, "delay")?.attr("stamp")?.parse().ok()?;
    let millis = u64::try_from(stamp.0.timestamp_millis()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}
