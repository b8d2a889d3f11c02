//! What a message carries, read from the stanza when asked for.

use std::borrow::Cow;
use std::time::SystemTime;

use jid::{BareJid, Jid};

use crate::xml::{Node, Stanza, ns, parse_datetime};

/// One of the versions of a body or a subject (RFC 6121 §5.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Text<'a> {
    /// Its language (`xml:lang`, inherited where it has none of its own); none if undefined.
    pub lang: Option<Cow<'a, str>>,
    /// The text.
    pub text: Cow<'a, str>,
}

/// Says that a message was sent earlier than it came (XEP-0203).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delay {
    /// When it was sent, or first received by whoever says so.
    pub stamp: SystemTime,
    /// Who says so: the server, a room, or the sender.
    pub from: Option<Jid>,
    /// Why it is late, for people.
    pub reason: Option<String>,
}

/// The thread a message belongs to (RFC 6121 §5.2.5): opaque, compared as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Thread {
    /// The thread.
    pub id: String,
    /// The thread it branches off from.
    pub parent: Option<String>,
}

/// A sign that a message got somewhere (XEP-0333).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Marker<'a> {
    /// How far it got.
    pub kind: MarkerKind,
    /// The id of the message it is about; that message and those before it.
    pub id: Cow<'a, str>,
}

/// How far a message got (XEP-0333).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MarkerKind {
    /// It was received by a client; of earlier versions of the specification.
    Received,
    /// It was displayed to its reader.
    Displayed,
    /// Its reader acknowledged it; of earlier versions of the specification.
    Acknowledged,
}

/// What the other side is doing in a conversation (XEP-0085).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChatState {
    /// Paying attention.
    Active,
    /// Writing.
    Composing,
    /// Was writing, and has stopped.
    Paused,
    /// Has not looked for a while.
    Inactive,
    /// Has left the conversation.
    Gone,
}

impl ChatState {
    pub(super) fn to_wire(self) -> xmpp_parsers::chatstates::ChatState {
        use xmpp_parsers::chatstates::ChatState as Wire;
        match self {
            Self::Active => Wire::Active,
            Self::Composing => Wire::Composing,
            Self::Paused => Wire::Paused,
            Self::Inactive => Wire::Inactive,
            Self::Gone => Wire::Gone,
        }
    }
}

/// Every version of a body or subject, in order.
pub(super) fn texts<'a>(stanza: &'a Stanza, name: &'static str) -> impl Iterator<Item = Text<'a>> {
    stanza.children().filter(move |child| child.is(ns::CLIENT, name)).map(|child| Text { lang: child.lang(), text: child.text() })
}

/// The version in the stanza's own language, else the first.
pub(super) fn text<'a>(stanza: &'a Stanza, name: &'static str) -> Option<Cow<'a, str>> {
    let mut versions = stanza.children().filter(|child| child.is(ns::CLIENT, name));
    let first = versions.next()?;
    let lang = stanza.lang();
    if first.lang() == lang {
        return Some(first.text());
    }
    Some(versions.find(|version| version.lang() == lang).unwrap_or(first).text())
}

/// The version that serves a reader of this language: of the language itself, else of the nearest more general one
/// (RFC 4647 §3.4: `de` for `de-CH`), else of a more special one.
pub(super) fn text_in<'a>(stanza: &'a Stanza, name: &'static str, lang: &str) -> Option<Cow<'a, str>> {
    let find = |fits: &dyn Fn(&str) -> bool| {
        let mut versions = stanza.children().filter(|child| child.is(ns::CLIENT, name));
        versions.find(|version| version.lang().is_some_and(|lang| fits(&lang))).map(Node::text)
    };
    let mut range = lang;
    while !range.is_empty() {
        if let Some(text) = find(&|lang| lang.eq_ignore_ascii_case(range)) {
            return Some(text);
        }
        range = range.rfind('-').map_or("", |end| &range[..end]);
    }
    find(&|other| {
        other.len() > lang.len() && other.is_char_boundary(lang.len()) && {
            let (start, rest) = other.split_at(lang.len());
            start.eq_ignore_ascii_case(lang) && rest.starts_with('-')
        }
    })
}

pub(super) fn thread(stanza: &Stanza) -> Option<Thread> {
    let thread = stanza.child(ns::CLIENT, "thread")?;
    let id = thread.text().trim().to_owned();
    (!id.is_empty()).then(|| Thread { id, parent: thread.attr("parent").map(Into::into) })
}

/// The delay that our own server states, else the first one.
pub(super) fn delay(stanza: &Stanza, account: &BareJid) -> Option<Delay> {
    let mut delays = stanza.children().filter_map(read_delay);
    let ours = |delay: &Delay| delay.from.as_ref().is_some_and(|from| *from == *account || is_server(from, account));
    let first = delays.next()?;
    if ours(&first) {
        return Some(first);
    }
    Some(delays.find(ours).unwrap_or(first))
}

/// Whether an address is the account's server.
pub(super) fn is_server(jid: &Jid, account: &BareJid) -> bool {
    jid.node().is_none() && jid.resource().is_none() && jid.domain() == account.domain()
}

pub(super) fn read_delay(node: Node<'_>) -> Option<Delay> {
    if !node.is(ns::DELAY, "delay") {
        return None;
    }
    let reason = node.text().trim().to_owned();
    Some(Delay {
        stamp: parse_datetime(&node.attr("stamp")?)?,
        from: node.attr("from").and_then(|from| Jid::new(&from).ok()),
        reason: (!reason.is_empty()).then_some(reason),
    })
}

/// The id that `by` gave the message (XEP-0359).
pub(super) fn stanza_id<'a>(stanza: &'a Stanza, by: &Jid) -> Option<Cow<'a, str>> {
    let given_by = |child: &Node<'_>| child.attr("by").and_then(|by| Jid::new(&by).ok()).is_some_and(|jid| jid == *by);
    stanza.children().filter(|child| child.is(ns::SID, "stanza-id")).find(given_by)?.attr("id")
}

pub(super) fn marker(stanza: &Stanza) -> Option<Marker<'_>> {
    stanza.children().find_map(|child| Some(Marker { kind: marker_kind(child)?, id: child.attr("id")? }))
}

fn marker_kind(child: Node<'_>) -> Option<MarkerKind> {
    if !child.has_ns(ns::CHAT_MARKERS) {
        return None;
    }
    match child.name() {
        "received" => Some(MarkerKind::Received),
        "displayed" => Some(MarkerKind::Displayed),
        "acknowledged" => Some(MarkerKind::Acknowledged),
        _ => None,
    }
}

pub(super) fn chat_state(stanza: &Stanza) -> Option<ChatState> {
    stanza.children().find_map(read_state)
}

fn read_state(child: Node<'_>) -> Option<ChatState> {
    if !child.has_ns(ns::CHAT_STATES) {
        return None;
    }
    match child.name() {
        "active" => Some(ChatState::Active),
        "composing" => Some(ChatState::Composing),
        "paused" => Some(ChatState::Paused),
        "inactive" => Some(ChatState::Inactive),
        "gone" => Some(ChatState::Gone),
        _ => None,
    }
}

/// What a message carries, seen in one look at its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Carried {
    pub(super) body: bool,
    /// A chat state.
    pub(super) state: bool,
    /// Asks for a receipt, and is none.
    pub(super) asks: bool,
    /// A receipt or a marker.
    pub(super) progress: bool,
}

impl Carried {
    pub(super) fn by(stanza: &Stanza) -> Self {
        let mut carried = Self::default();
        let mut is_receipt = false;
        for child in stanza.children() {
            match child.name() {
                "body" => carried.body |= child.has_ns(ns::CLIENT),
                "request" => carried.asks |= child.has_ns(ns::RECEIPTS),
                "received" | "displayed" | "acknowledged" => {
                    is_receipt |= child.is(ns::RECEIPTS, "received");
                    carried.progress |= marker_kind(child).is_some();
                }
                _ => carried.state |= read_state(child).is_some(),
            }
        }
        carried.asks &= !is_receipt;
        carried.progress |= is_receipt;
        carried
    }
}

/// The message a receipt is for (XEP-0184).
pub(super) fn receipt(stanza: &Stanza) -> Option<Cow<'_, str>> {
    stanza.child(ns::RECEIPTS, "received")?.attr("id")
}

/// The stanza inside `<forwarded/>` (XEP-0297), a carbon's too (XEP-0280), with what is said about its time.
pub(super) fn forwarded(stanza: &Stanza) -> Option<(Stanza, Option<Delay>)> {
    let forwarded = stanza.children().find_map(|child| {
        if child.is(ns::FORWARD, "forwarded") {
            Some(child)
        } else if child.has_ns(ns::CARBONS) && matches!(child.name(), "received" | "sent") {
            child.child(ns::FORWARD, "forwarded")
        } else {
            None
        }
    })?;
    let inner = forwarded.child(ns::CLIENT, "message").and_then(|message| stanza.inner(message))?;
    Some((inner, forwarded.children().find_map(read_delay)))
}
