//! Payloads as the types of xmpp-parsers, whichever reader they come from.

use std::fmt::Debug;

use xmppkit::minidom::Element;
use xmppkit::xml::ns;
use xmppkit::xmpp_parsers as xp;
use xmppkit::xmpp_parsers::forwarding::Forwarded;
use xmppkit::xmpp_parsers::message::Message;
use xmppkit::xso::FromXml;

use super::tally::{Field, Tally};

/// An element that can be converted to a type.
pub(crate) trait Payload: Sized {
    fn name(&self) -> &str;
    fn is_in(&self, ns: &str) -> bool;
    fn convert<T: FromXml + TryFrom<Element, Error: Debug>>(self) -> T;
}

impl Payload for Element {
    fn name(&self) -> &str {
        self.name()
    }

    fn is_in(&self, ns: &str) -> bool {
        self.has_ns(ns)
    }

    fn convert<T: FromXml + TryFrom<Self, Error: Debug>>(self) -> T {
        self.try_into().expect("a well-formed payload")
    }
}

/// Converts the payload to its type, and what a carbon or an archive result carries as well.
pub(crate) fn convert(payload: impl Payload, tally: &mut Tally) {
    let is = |ns: &str| payload.is_in(ns);
    match payload.name() {
        "stanza-id" if is(ns::SID) => take::<xp::stanza_id::StanzaId>(payload, tally),
        "origin-id" if is(ns::SID) => take::<xp::stanza_id::OriginId>(payload, tally),
        "request" if is(ns::RECEIPTS) => take::<xp::receipts::Request>(payload, tally),
        "received" if is(ns::RECEIPTS) => take::<xp::receipts::Received>(payload, tally),
        "markable" if is(ns::CHAT_MARKERS) => take::<xp::displayed_markers::Markable>(payload, tally),
        "displayed" if is(ns::CHAT_MARKERS) => take::<xp::displayed_markers::Displayed>(payload, tally),
        "active" | "composing" | "paused" if is(ns::CHAT_STATES) => take::<xp::chatstates::ChatState>(payload, tally),
        "delay" if is(ns::DELAY) => take::<xp::delay::Delay>(payload, tally),
        "occupant-id" if is(ns::OCCUPANT_ID) => take::<xp::occupant_id::OccupantId>(payload, tally),
        "replace" if is(ns::MESSAGE_CORRECT) => take::<xp::message_correct::Replace>(payload, tally),
        "x" if is(ns::OOB) => take::<xp::oob::Oob>(payload, tally),
        "x" if is(ns::MUC_USER) => take::<xp::muc::MucUser>(payload, tally),
        "x" if is(xp::ns::VCARD_UPDATE) => take::<xp::vcard_update::VCardUpdate>(payload, tally),
        "encryption" if is(xp::ns::EME) => take::<xp::eme::ExplicitMessageEncryption>(payload, tally),
        "encrypted" if is(xp::ns::LEGACY_OMEMO) => take::<xp::legacy_omemo::Encrypted>(payload, tally),
        "reactions" if is(xp::ns::REACTIONS) => take::<xp::reactions::Reactions>(payload, tally),
        "event" if is(ns::PUBSUB_EVENT) => take::<xp::pubsub::Event>(payload, tally),
        "c" if is(ns::CAPS) => take::<xp::caps::Caps>(payload, tally),
        "idle" if is(xp::ns::IDLE) => take::<xp::idle::Idle>(payload, tally),
        "query" if is(ns::ROSTER) => take::<xp::roster::Roster>(payload, tally),
        "sent" if is(ns::CARBONS) => take::<xp::carbons::Sent>(payload, tally),
        "received" if is(ns::CARBONS) => take::<xp::carbons::Received>(payload, tally),
        "result" if is(ns::MAM) => take::<xp::mam::Result_>(payload, tally),
        _ => {}
    }
}

fn take<T: FromXml + TryFrom<Element, Error: Debug> + Digest>(payload: impl Payload, tally: &mut Tally) {
    tally.payloads += 1;
    payload.convert::<T>().digest(tally);
}

/// Reads values of a converted payload, or all of it.
trait Digest {
    fn digest(self, tally: &mut Tally);
}

macro_rules! digests {
    ($($ty:ty: |$value:ident, $tally:ident| $body:block)+) => { $(
        impl Digest for $ty {
            fn digest(self, $tally: &mut Tally) {
                let $value = self;
                $body
            }
        }
    )+ };
}

digests! {
    xp::stanza_id::StanzaId: |id, tally| {
        tally.text(Field::Id, &id.id);
        tally.text(Field::By, id.by.as_str());
    }
    xp::stanza_id::OriginId: |id, tally| { tally.text(Field::Id, &id.id); }
    xp::receipts::Request: |_request, tally| { tally.number(Field::Other, 1); }
    xp::receipts::Received: |receipt, tally| { tally.text(Field::Id, &receipt.id); }
    xp::displayed_markers::Markable: |_markable, tally| { tally.number(Field::Other, 2); }
    xp::displayed_markers::Displayed: |displayed, tally| { tally.text(Field::Id, &displayed.id.0); }
    xp::chatstates::ChatState: |state, tally| { tally.number(Field::Other, 3 + state as i64); }
    xp::delay::Delay: |delay, tally| {
        tally.some(Field::By, delay.from.as_ref().map(|from| from.as_str()));
        tally.number(Field::Stamp, delay.stamp.0.timestamp_millis());
    }
    xp::occupant_id::OccupantId: |occupant, tally| { tally.text(Field::Id, &occupant.id); }
    xp::message_correct::Replace: |replace, tally| { tally.text(Field::Id, &replace.id.0); }
    xp::oob::Oob: |oob, tally| { tally.text(Field::Other, &oob.url); }
    xp::muc::MucUser: |user, tally| {
        for item in user.items {
            tally.some(Field::Jid, item.jid.as_ref().map(|jid| jid.as_str()));
            tally.number(Field::Type, item.affiliation as i64);
        }
    }
    xp::vcard_update::VCardUpdate: |update, tally| {
        if let Some(data) = update.photo.and_then(|photo| photo.data) {
            tally.bytes(Field::Other, &data);
        }
    }
    xp::eme::ExplicitMessageEncryption: |encryption, tally| {
        tally.text(Field::Other, &encryption.namespace);
        tally.some(Field::Name, encryption.name);
    }
    xp::legacy_omemo::Encrypted: |encrypted, tally| {
        tally.number(Field::Id, encrypted.header.sid.into());
        for key in encrypted.header.keys {
            tally.number(Field::Id, key.rid.into());
            tally.bytes(Field::Other, &key.data);
        }
        if let Some(payload) = encrypted.payload {
            tally.bytes(Field::Body, &payload.data);
        }
    }
    xp::reactions::Reactions: |reactions, tally| {
        tally.text(Field::Id, &reactions.id);
        for reaction in reactions.reactions {
            tally.text(Field::Other, &reaction.emoji);
        }
    }
    xp::pubsub::Event: |event, tally| {
        if let xp::pubsub::event::Payload::Items { node, published, .. } = event.payload {
            tally.text(Field::Node, &node.0);
            for item in published {
                tally.some(Field::Id, item.id.map(|id| id.0));
                tally.some(Field::Name, item.payload.as_ref().map(Element::name));
            }
        }
    }
    xp::caps::Caps: |caps, tally| {
        tally.text(Field::Node, &caps.node);
        tally.bytes(Field::Ver, &caps.ver);
    }
    xp::idle::Idle: |idle, tally| { tally.number(Field::Stamp, idle.since.0.timestamp_millis()); }
    xp::roster::Roster: |roster, tally| {
        for item in roster.items {
            tally.text(Field::Jid, item.jid.as_str());
            tally.some(Field::Name, item.name);
            tally.number(Field::Subscription, item.subscription as i64);
            for group in item.groups {
                tally.text(Field::Group, &group.0);
            }
        }
    }
    xp::carbons::Sent: |sent, tally| { sent.forwarded.digest(tally); }
    xp::carbons::Received: |received, tally| { received.forwarded.digest(tally); }
    xp::mam::Result_: |result, tally| {
        tally.text(Field::Id, &result.id);
        result.forwarded.digest(tally);
    }
    Forwarded: |forwarded, tally| {
        if let Some(delay) = forwarded.delay {
            delay.digest(tally);
        }
        tally.inner += 1;
        message(forwarded.message, tally);
    }
}

/// Reads a message that was converted, and converts its payloads.
pub(crate) fn message(message: Message, tally: &mut Tally) {
    tally.some(Field::From, message.from.as_ref().map(|from| from.as_str()));
    tally.some(Field::To, message.to.as_ref().map(|to| to.as_str()));
    tally.some(Field::Id, message.id.map(|id| id.0));
    for body in message.bodies.into_values() {
        tally.text(Field::Body, &body);
    }
    tally.some(Field::Other, message.thread.map(|thread| thread.id));
    for payload in message.payloads {
        convert(payload, tally);
    }
}
