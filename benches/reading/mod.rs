//! What an application does with frames, at three depths: route them, read what a chat application reads, convert every
//! payload to its type.

use std::collections::HashMap;
use std::hint::black_box;

use xmppkit::xml::{Frame, Framer, Limits, Node, Stanza, StanzaKind, StreamItem, ns};
use xmppkit::xmpp_parsers as xp;
use xmppkit::xso::FromXml;

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

    /// Where the frame's payloads go: a checksum over stanza kind and routes.
    pub(crate) fn route(&self, frame: &Frame) -> u64 {
        let Some(kind) = frame.stanza_kind() else { return 0 };
        let mut sum = kind as u64;
        for child in frame.children() {
            let Some(candidates) = self.0.get(child.name()) else { continue };
            sum += candidates.iter().find(|(ns, _)| child.has_ns(ns)).map_or(0, |(_, route)| *route);
        }
        sum
    }
}

/// What was read: enough for two readers to compare.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Stanzas, inner ones included.
    pub(crate) stanzas: u64,
    /// Payloads that were read, or converted.
    pub(crate) payloads: u64,
    /// The lengths of the values that were read.
    pub(crate) bytes: u64,
}

impl Tally {
    fn value(&mut self, value: Option<impl AsRef<str>>) {
        self.bytes += black_box(value).map_or(0, |v| v.as_ref().len() as u64);
    }

    /// Reads what a chat application reads of each stanza.
    pub(crate) fn read(&mut self, frame: &Frame) {
        let Some(stanza) = frame.stanza() else { return };
        match stanza.kind() {
            StanzaKind::Message => self.read_message(&stanza),
            StanzaKind::Presence => self.read_presence(&stanza),
            _ => self.read_iq(&stanza),
        }
    }

    fn read_message(&mut self, message: &Stanza) {
        self.stanzas += 1;
        self.value(message.from());
        self.value(message.to());
        self.value(message.id());
        self.value(message.stanza_type());
        for child in message.children() {
            self.payloads += 1;
            match (child.name(), &*child.ns()) {
                ("body", ns::CLIENT) => {
                    self.value(child.lang());
                    self.value(Some(child.text()));
                }
                ("stanza-id" | "origin-id", ns::SID) => {
                    self.value(child.attr("id"));
                    self.value(child.attr("by"));
                }
                ("delay", ns::DELAY) => self.value(child.attr("stamp")),
                ("received", ns::RECEIPTS) | ("displayed", ns::CHAT_MARKERS) => self.value(child.attr("id")),
                ("request", ns::RECEIPTS) | ("markable", ns::CHAT_MARKERS) | (_, ns::CHAT_STATES) => self.bytes += 1,
                ("occupant-id", ns::OCCUPANT_ID) => self.value(child.attr("id")),
                ("sent" | "received", ns::CARBONS) => self.read_forwarded(child),
                ("result", ns::MAM) => {
                    self.value(child.attr("id"));
                    self.read_forwarded(child);
                }
                ("event", ns::PUBSUB_EVENT) => self.read_event(child),
                _ => self.payloads -= 1,
            }
        }
    }

    fn read_forwarded(&mut self, wrapper: Node<'_>) {
        let Some(forwarded) = wrapper.child(ns::FORWARD, "forwarded") else { return };
        for child in forwarded.children() {
            if child.is(ns::DELAY, "delay") {
                self.value(child.attr("stamp"));
            } else if let Some(stanza) = child.stanza() {
                self.read_message(&stanza);
            }
        }
    }

    fn read_event(&mut self, event: Node<'_>) {
        let Some(items) = event.child(ns::PUBSUB_EVENT, "items") else { return };
        self.value(items.attr("node"));
        for item in items.children() {
            self.value(item.attr("id"));
            self.value(item.children().next().map(Node::name));
        }
    }

    fn read_presence(&mut self, presence: &Stanza) {
        self.stanzas += 1;
        self.value(presence.from());
        self.value(presence.stanza_type());
        for child in presence.children() {
            self.payloads += 1;
            match (child.name(), &*child.ns()) {
                ("show" | "status" | "priority", ns::CLIENT) => self.value(Some(child.text())),
                ("c", ns::CAPS) => {
                    self.value(child.attr("node"));
                    self.value(child.attr("ver"));
                }
                ("occupant-id", ns::OCCUPANT_ID) => self.value(child.attr("id")),
                _ => self.payloads -= 1,
            }
        }
    }

    fn read_iq(&mut self, iq: &Stanza) {
        self.stanzas += 1;
        self.value(iq.from());
        let Some(query) = iq.child(ns::ROSTER, "query") else { return };
        self.payloads += 1;
        for item in query.children() {
            self.value(item.attr("jid"));
            self.value(item.attr("name"));
            self.value(item.attr("subscription"));
            for group in item.children() {
                self.value(Some(group.text()));
            }
        }
    }

    /// Converts each payload to its type of xmpp-parsers; carbons and archive results to the payloads of what they carry.
    pub(crate) fn convert(&mut self, frame: &Frame) {
        let Some(stanza) = frame.stanza() else { return };
        self.convert_stanza(&stanza);
    }

    fn convert_stanza(&mut self, stanza: &Stanza) {
        self.stanzas += 1;
        black_box((stanza.from_jid(), stanza.to_jid(), stanza.id()));
        for child in stanza.children() {
            match (child.name(), &*child.ns()) {
                (_, ns::CLIENT) => self.value(Some(child.text())),
                ("stanza-id", ns::SID) => self.converted::<xp::stanza_id::StanzaId>(child),
                ("origin-id", ns::SID) => self.converted::<xp::stanza_id::OriginId>(child),
                ("request", ns::RECEIPTS) => self.converted::<xp::receipts::Request>(child),
                ("received", ns::RECEIPTS) => self.converted::<xp::receipts::Received>(child),
                (_, ns::CHAT_STATES) => self.converted::<xp::chatstates::ChatState>(child),
                ("delay", ns::DELAY) => self.converted::<xp::delay::Delay>(child),
                ("occupant-id", ns::OCCUPANT_ID) => self.converted::<xp::occupant_id::OccupantId>(child),
                ("markable", ns::CHAT_MARKERS) => self.converted::<xp::displayed_markers::Markable>(child),
                ("displayed", ns::CHAT_MARKERS) => self.converted::<xp::displayed_markers::Displayed>(child),
                ("replace", ns::MESSAGE_CORRECT) => self.converted::<xp::message_correct::Replace>(child),
                ("x", ns::OOB) => self.converted::<xp::oob::Oob>(child),
                ("encryption", xp::ns::EME) => self.converted::<xp::eme::ExplicitMessageEncryption>(child),
                ("encrypted", xp::ns::LEGACY_OMEMO) => self.converted::<xp::legacy_omemo::Encrypted>(child),
                ("reactions", xp::ns::REACTIONS) => self.converted::<xp::reactions::Reactions>(child),
                ("x", ns::MUC_USER) => self.converted::<xp::muc::MucUser>(child),
                ("event", ns::PUBSUB_EVENT) => self.converted::<xp::pubsub::Event>(child),
                ("c", ns::CAPS) => self.converted::<xp::caps::Caps>(child),
                ("x", xp::ns::VCARD_UPDATE) => self.converted::<xp::vcard_update::VCardUpdate>(child),
                ("idle", xp::ns::IDLE) => self.converted::<xp::idle::Idle>(child),
                ("query", ns::ROSTER) => self.converted::<xp::roster::Roster>(child),
                ("sent" | "received", ns::CARBONS) | ("result", ns::MAM) => self.convert_forwarded(child),
                _ => {}
            }
        }
    }

    fn convert_forwarded(&mut self, wrapper: Node<'_>) {
        let Some(forwarded) = wrapper.child(ns::FORWARD, "forwarded") else { return };
        for child in forwarded.children() {
            if child.is(ns::DELAY, "delay") {
                self.converted::<xp::delay::Delay>(child);
            } else if let Some(stanza) = child.stanza() {
                self.payloads += 1;
                self.convert_stanza(&stanza);
            }
        }
    }

    fn converted<T: FromXml>(&mut self, node: Node<'_>) {
        black_box(&node.payload::<T>().expect("a well-formed payload"));
        self.payloads += 1;
    }
}
