//! What an application does with frames, at three depths: route them, read what a chat application reads, convert every
//! payload to its type.

pub(crate) mod tally;
pub(crate) mod typed;

use std::collections::HashMap;
use std::fmt::Debug;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use xmppkit::jid::{BareJid, Jid};
use xmppkit::minidom::Element;
use xmppkit::xml::{Frame, Framer, Limits, Node, Stanza, StanzaKind, StreamItem, ns, parse_datetime};
use xmppkit::xmpp_parsers as xp;
use xmppkit::xso::FromXml;

use tally::{Field, Tally};

/// Feeds a stream in reads of 8,192 bytes and hands out its elements.
pub(crate) fn each_frame(stream: &[u8], mut take: impl FnMut(Frame)) {
    let mut framer = Framer::new(Limits::default());
    for read in stream.chunks(8192) {
        framer.push(read);
        while let Some(item) = framer.next_item().expect("a well-formed stream") {
            if let StreamItem::Element(frame) = item {
                take(frame);
            }
        }
    }
}

/// Payloads by name, and under each name by namespace, as a dispatcher keeps them.
pub(crate) struct Routes(HashMap<&'static str, Vec<(&'static str, u64)>>);

impl Routes {
    /// The twenty-four payloads of the corpus that a client listens for.
    pub(crate) fn new() -> Self {
        let mut routes: HashMap<_, Vec<_>> = HashMap::new();
        let registered = [
            (ns::CLIENT, "body"),
            (ns::CLIENT, "thread"),
            (ns::SID, "stanza-id"),
            (ns::SID, "origin-id"),
            (ns::RECEIPTS, "request"),
            (ns::RECEIPTS, "received"),
            (ns::CHAT_MARKERS, "markable"),
            (ns::CHAT_MARKERS, "displayed"),
            (ns::CHAT_STATES, "active"),
            (ns::CHAT_STATES, "composing"),
            (ns::CHAT_STATES, "paused"),
            (ns::CARBONS, "sent"),
            (ns::CARBONS, "received"),
            (ns::MAM, "result"),
            (ns::DELAY, "delay"),
            (ns::OCCUPANT_ID, "occupant-id"),
            (ns::MUC_USER, "x"),
            (ns::CAPS, "c"),
            (xp::ns::VCARD_UPDATE, "x"),
            (ns::ROSTER, "query"),
            (ns::PUBSUB_EVENT, "event"),
            (ns::MESSAGE_CORRECT, "replace"),
            (xp::ns::LEGACY_OMEMO, "encrypted"),
            (ns::HINTS, "no-store"),
        ];
        for (route, (ns, name)) in registered.into_iter().enumerate() {
            routes.entry(name).or_default().push((ns, route as u64));
        }
        Self(routes)
    }

    /// Which of them this is, if it is one.
    pub(crate) fn of(&self, name: &str, is_in: impl Fn(&str) -> bool) -> Option<u64> {
        self.0.get(name)?.iter().find(|(ns, _)| is_in(ns)).map(|(_, route)| *route)
    }

    /// Looks at the header, and at where the payloads go.
    pub(crate) fn route(&self, frame: &Frame, tally: &mut Tally) {
        let Some(stanza) = frame.stanza() else { return };
        count(&stanza, tally);
        tally.some(Field::From, stanza.from());
        tally.some(Field::Id, stanza.id());
        for child in stanza.children() {
            if let Some(route) = self.of(child.name(), |ns| child.has_ns(ns)) {
                tally.payloads += 1;
                tally.number(Field::Route, route.cast_signed());
            }
        }
    }
}

fn count(stanza: &Stanza, tally: &mut Tally) {
    match stanza.kind() {
        StanzaKind::Message => tally.messages += 1,
        StanzaKind::Presence => tally.presences += 1,
        _ => tally.iqs += 1,
    }
}

/// Reads what a chat application reads of each stanza.
pub(crate) fn read(frame: &Frame, tally: &mut Tally) {
    let Some(stanza) = frame.stanza() else { return };
    count(&stanza, tally);
    match stanza.kind() {
        StanzaKind::Message => read_message(&stanza, tally),
        StanzaKind::Presence => read_presence(&stanza, tally),
        _ => read_iq(&stanza, tally),
    }
}

fn read_message(message: &Stanza, tally: &mut Tally) {
    tally.some(Field::From, message.from_jid().map(Jid::as_str));
    tally.some(Field::Id, message.id());
    tally.text(Field::Type, message.stanza_type().as_deref().unwrap_or("normal"));
    for child in message.children() {
        tally.payloads += 1;
        match child.name() {
            "body" if child.has_ns(ns::CLIENT) => tally.text(Field::Body, &child.text()),
            "stanza-id" if child.has_ns(ns::SID) => {
                tally.some(Field::Id, child.attr("id"));
                tally.some(Field::By, child.attr("by"));
            }
            "origin-id" if child.has_ns(ns::SID) => tally.some(Field::Id, child.attr("id")),
            "delay" if child.has_ns(ns::DELAY) => read_delay(child, tally),
            "received" if child.has_ns(ns::RECEIPTS) => tally.some(Field::Id, child.attr("id")),
            "displayed" if child.has_ns(ns::CHAT_MARKERS) => tally.some(Field::Id, child.attr("id")),
            "request" if child.has_ns(ns::RECEIPTS) => tally.number(Field::Other, 1),
            "markable" if child.has_ns(ns::CHAT_MARKERS) => tally.number(Field::Other, 2),
            "active" if child.has_ns(ns::CHAT_STATES) => tally.number(Field::Other, 3),
            "composing" if child.has_ns(ns::CHAT_STATES) => tally.number(Field::Other, 4),
            "paused" if child.has_ns(ns::CHAT_STATES) => tally.number(Field::Other, 5),
            "occupant-id" if child.has_ns(ns::OCCUPANT_ID) => tally.some(Field::Id, child.attr("id")),
            "sent" | "received" if child.has_ns(ns::CARBONS) => read_forwarded(child, tally),
            "result" if child.has_ns(ns::MAM) => {
                tally.some(Field::Id, child.attr("id"));
                read_forwarded(child, tally);
            }
            "event" if child.has_ns(ns::PUBSUB_EVENT) => read_event(child, tally),
            _ => tally.payloads -= 1,
        }
    }
}

fn read_delay(delay: Node<'_>, tally: &mut Tally) {
    let stamp = delay.attr("stamp").and_then(|stamp| parse_datetime(&stamp));
    if let Some(since) = stamp.and_then(|stamp| stamp.duration_since(std::time::UNIX_EPOCH).ok()) {
        tally.number(Field::Stamp, since.as_millis() as i64);
    }
}

fn read_forwarded(wrapper: Node<'_>, tally: &mut Tally) {
    let Some(forwarded) = wrapper.child(ns::FORWARD, "forwarded") else { return };
    for child in forwarded.children() {
        if child.is(ns::DELAY, "delay") {
            read_delay(child, tally);
        } else if let Some(stanza) = child.stanza() {
            tally.inner += 1;
            read_message(&stanza, tally);
        }
    }
}

fn read_event(event: Node<'_>, tally: &mut Tally) {
    let Some(items) = event.child(ns::PUBSUB_EVENT, "items") else { return };
    tally.some(Field::Node, items.attr("node"));
    for item in items.children() {
        tally.some(Field::Id, item.attr("id"));
        tally.some(Field::Name, item.children().next().map(Node::name));
    }
}

fn read_presence(presence: &Stanza, tally: &mut Tally) {
    tally.some(Field::From, presence.from_jid().map(Jid::as_str));
    tally.some(Field::Type, presence.stanza_type());
    for child in presence.children() {
        match child.name() {
            "show" if child.has_ns(ns::CLIENT) => tally.text(Field::Show, &child.text()),
            "status" if child.has_ns(ns::CLIENT) => tally.text(Field::Status, &child.text()),
            "priority" if child.has_ns(ns::CLIENT) => read_priority(child, tally),
            "c" if child.has_ns(ns::CAPS) => {
                tally.payloads += 1;
                tally.some(Field::Node, child.attr("node"));
                let ver = child.attr("ver").and_then(|ver| BASE64.decode(&*ver).ok());
                tally.bytes(Field::Ver, &ver.unwrap_or_default());
            }
            "occupant-id" if child.has_ns(ns::OCCUPANT_ID) => {
                tally.payloads += 1;
                tally.some(Field::Id, child.attr("id"));
            }
            _ => {}
        }
    }
}

/// None is the same as 0 (RFC 6121 §4.7.2.3).
fn read_priority(priority: Node<'_>, tally: &mut Tally) {
    match priority.text().parse::<i8>() {
        Ok(0) | Err(_) => {}
        Ok(priority) => tally.number(Field::Priority, priority.into()),
    }
}

fn read_iq(iq: &Stanza, tally: &mut Tally) {
    tally.some(Field::From, iq.from_jid().map(Jid::as_str));
    let Some(query) = iq.child(ns::ROSTER, "query") else { return };
    tally.payloads += 1;
    for item in query.children() {
        let jid = item.attr("jid").and_then(|jid| BareJid::new(&jid).ok());
        tally.some(Field::Jid, jid.as_ref().map(|jid| jid.as_str()));
        tally.some(Field::Name, item.attr("name"));
        tally.some(Field::Subscription, item.attr("subscription"));
        for group in item.children() {
            tally.text(Field::Group, &group.text());
        }
    }
}

/// Reads the header and converts every payload to its type.
pub(crate) fn convert(frame: &Frame, tally: &mut Tally) {
    let Some(stanza) = frame.stanza() else { return };
    count(&stanza, tally);
    tally.some(Field::From, stanza.from_jid().map(Jid::as_str));
    tally.some(Field::To, stanza.to_jid().as_ref().map(Jid::as_str));
    tally.some(Field::Id, stanza.id());
    for child in stanza.children() {
        if !child.has_ns(ns::CLIENT) {
            typed::convert(child, tally);
            continue;
        }
        match child.name() {
            "body" => tally.text(Field::Body, &child.text()),
            "show" => tally.text(Field::Show, &child.text()),
            "status" => tally.text(Field::Status, &child.text()),
            "priority" => read_priority(child, tally),
            _ => tally.text(Field::Other, &child.text()),
        }
    }
}

impl typed::Payload for Node<'_> {
    fn name(&self) -> &str {
        (*self).name()
    }

    fn is_in(&self, ns: &str) -> bool {
        self.has_ns(ns)
    }

    fn convert<T: FromXml + TryFrom<Element, Error: Debug>>(self) -> T {
        self.payload().expect("a well-formed payload")
    }
}
