//! tokio-xmpp's side: what it decodes, read as an application of it reads it.

use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{SinkExt, Stream};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::chatstates::ChatState;
use tokio_xmpp::parsers::forwarding::Forwarded;
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::message::{Message, MessageType};
use tokio_xmpp::parsers::presence::{Presence, Show, Type};
use tokio_xmpp::parsers::stanza::Stanza;
use tokio_xmpp::parsers::{self as xp, pubsub, roster::Subscription};
use tokio_xmpp::xmlstream::{ReadError, StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmppkit::xml::ns;

use crate::measure::timed;
use crate::messages::{ROUNDS, messages, said};
use crate::reading::Routes;
use crate::reading::tally::{Field, Tally};
use crate::reading::typed;

/// A stream in memory, in reads of 8,192 bytes; what is written is kept or dropped.
struct Memory<'a> {
    stream: &'a [u8],
    /// How much of it lies in the current read.
    read: usize,
    kept: Option<Vec<u8>>,
}

impl<'a> Memory<'a> {
    fn new(stream: &'a [u8]) -> Self {
        Self { stream, read: 0, kept: None }
    }

    fn keeping(stream: &'a [u8]) -> Self {
        Self { kept: Some(Vec::new()), ..Self::new(stream) }
    }
}

impl AsyncRead for Memory<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(read) = self.as_mut().poll_fill_buf(cx)? else { return Poll::Pending };
        let count = read.len().min(buffer.remaining());
        buffer.put_slice(&read[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Memory<'_> {
    fn poll_fill_buf(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.read == 0 {
            self.read = self.stream.len().min(8192);
        }
        let this = self.get_mut();
        Poll::Ready(Ok(&this.stream[..this.read]))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.stream = &self.stream[count..];
        self.read -= count;
    }
}

impl AsyncWrite for Memory<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        Poll::Ready(Ok(std::hint::black_box(bytes).len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn open(stream: Memory<'_>) -> XmlStream<Memory<'_>, Stanza> {
    let header = StreamHeader { to: None, from: None, id: None };
    initiate_stream(stream, ns::CLIENT, header, Timeouts::default()).await.expect("a stream header").skip_features()
}

/// Decodes the stream and hands out its stanzas.
fn each_stanza(stream: &[u8], mut take: impl FnMut(Stanza)) {
    runtime().block_on(async {
        let mut stream = Box::pin(open(Memory::new(stream)).await);
        loop {
            match poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                Some(Ok(stanza)) => take(stanza),
                Some(Err(ReadError::StreamFooterReceived)) | None => return,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn count(stanza: &Stanza, tally: &mut Tally) {
    match stanza {
        Stanza::Message(_) => tally.messages += 1,
        Stanza::Presence(_) => tally.presences += 1,
        Stanza::Iq(_) => tally.iqs += 1,
    }
}

pub(crate) fn frames(stream: &[u8]) -> Tally {
    let routes = Routes::new();
    let mut tally = Tally::default();
    each_stanza(stream, |stanza| route(&stanza, &routes, &mut tally));
    tally
}

/// Looks at the header, and at where the payloads go.
fn route(stanza: &Stanza, routes: &Routes, tally: &mut Tally) {
    count(stanza, tally);
    let mut to = |route: Option<u64>| {
        if let Some(route) = route {
            tally.payloads += 1;
            tally.number(Field::Route, route.cast_signed());
        }
    };
    let mut payload = |payload: &Element| to(routes.of(payload.name(), |ns| payload.has_ns(ns)));
    let (from, id) = match stanza {
        Stanza::Message(message) => {
            message.payloads.iter().for_each(&mut payload);
            message.bodies.iter().for_each(|_| to(routes.of("body", |ns| ns == ns::CLIENT)));
            message.thread.iter().for_each(|_| to(routes.of("thread", |ns| ns == ns::CLIENT)));
            (&message.from, message.id.as_ref().map(|id| &id.0))
        }
        Stanza::Presence(presence) => {
            presence.payloads.iter().for_each(&mut payload);
            (&presence.from, presence.id.as_ref())
        }
        Stanza::Iq(iq) => {
            if let Iq::Get { payload: query, .. } | Iq::Set { payload: query, .. } = iq {
                payload(query);
            }
            (iq_from(iq), Some(iq_id(iq)))
        }
    };
    tally.some(Field::From, from.as_ref().map(|from| from.as_str()));
    tally.some(Field::Id, id);
}

fn iq_from(iq: &Iq) -> &Option<xp::jid::Jid> {
    match iq {
        Iq::Get { from, .. } | Iq::Set { from, .. } | Iq::Result { from, .. } | Iq::Error { from, .. } => from,
    }
}

fn iq_to(iq: &Iq) -> &Option<xp::jid::Jid> {
    match iq {
        Iq::Get { to, .. } | Iq::Set { to, .. } | Iq::Result { to, .. } | Iq::Error { to, .. } => to,
    }
}

fn iq_id(iq: &Iq) -> &String {
    match iq {
        Iq::Get { id, .. } | Iq::Set { id, .. } | Iq::Result { id, .. } | Iq::Error { id, .. } => id,
    }
}

pub(crate) fn chat(stream: &[u8]) -> Tally {
    let mut tally = Tally::default();
    each_stanza(stream, |stanza| read(stanza, &mut tally));
    tally
}

/// Reads what a chat application reads, and converts only the payloads that this takes.
fn read(stanza: Stanza, tally: &mut Tally) {
    count(&stanza, tally);
    match stanza {
        Stanza::Message(message) => read_message(message, tally),
        Stanza::Presence(presence) => read_presence(presence, tally),
        Stanza::Iq(iq) => {
            tally.some(Field::From, iq_from(&iq).as_ref().map(|from| from.as_str()));
            if let Iq::Set { payload, .. } = iq
                && payload.is("query", ns::ROSTER)
            {
                read_roster(to(payload), tally);
            }
        }
    }
}

fn to<T: TryFrom<Element, Error: Debug>>(element: Element) -> T {
    element.try_into().expect("a well-formed payload")
}

fn read_message(message: Message, tally: &mut Tally) {
    tally.some(Field::From, message.from.as_ref().map(|from| from.as_str()));
    tally.some(Field::Id, message.id.as_ref().map(|id| &id.0));
    tally.text(
        Field::Type,
        match message.type_ {
            MessageType::Chat => "chat",
            MessageType::Error => "error",
            MessageType::Groupchat => "groupchat",
            MessageType::Headline => "headline",
            MessageType::Normal => "normal",
        },
    );
    // Not their languages: what is converted from a tree has lost the one of the stream.
    for body in message.bodies.into_values() {
        tally.payloads += 1;
        tally.text(Field::Body, &body);
    }
    for payload in message.payloads {
        tally.payloads += 1;
        let is = |ns: &str| payload.has_ns(ns);
        match payload.name() {
            "stanza-id" if is(ns::SID) => {
                let id: xp::stanza_id::StanzaId = to(payload);
                tally.text(Field::Id, &id.id);
                tally.text(Field::By, id.by.as_str());
            }
            "origin-id" if is(ns::SID) => tally.text(Field::Id, &to::<xp::stanza_id::OriginId>(payload).id),
            "delay" if is(ns::DELAY) => read_delay(&to(payload), tally),
            "received" if is(ns::RECEIPTS) => tally.text(Field::Id, &to::<xp::receipts::Received>(payload).id),
            "displayed" if is(ns::CHAT_MARKERS) => {
                tally.text(Field::Id, &to::<xp::displayed_markers::Displayed>(payload).id.0);
            }
            "request" if is(ns::RECEIPTS) => {
                to::<xp::receipts::Request>(payload);
                tally.number(Field::Other, 1);
            }
            "markable" if is(ns::CHAT_MARKERS) => {
                to::<xp::displayed_markers::Markable>(payload);
                tally.number(Field::Other, 2);
            }
            "active" | "composing" | "paused" if is(ns::CHAT_STATES) => match to(payload) {
                ChatState::Active => tally.number(Field::Other, 3),
                ChatState::Composing => tally.number(Field::Other, 4),
                ChatState::Paused => tally.number(Field::Other, 5),
                _ => {}
            },
            "occupant-id" if is(ns::OCCUPANT_ID) => {
                tally.text(Field::Id, &to::<xp::occupant_id::OccupantId>(payload).id);
            }
            "sent" if is(ns::CARBONS) => read_forwarded(to::<xp::carbons::Sent>(payload).forwarded, tally),
            "received" if is(ns::CARBONS) => read_forwarded(to::<xp::carbons::Received>(payload).forwarded, tally),
            "result" if is(ns::MAM) => {
                let result: xp::mam::Result_ = to(payload);
                tally.text(Field::Id, &result.id);
                read_forwarded(result.forwarded, tally);
            }
            "event" if is(ns::PUBSUB_EVENT) => {
                if let pubsub::event::Payload::Items { node, published, .. } = to::<pubsub::Event>(payload).payload {
                    tally.text(Field::Node, &node.0);
                    for item in published {
                        tally.some(Field::Id, item.id.map(|id| id.0));
                        tally.some(Field::Name, item.payload.as_ref().map(Element::name));
                    }
                }
            }
            _ => tally.payloads -= 1,
        }
    }
}

fn read_delay(delay: &xp::delay::Delay, tally: &mut Tally) {
    tally.number(Field::Stamp, delay.stamp.0.timestamp_millis());
}

fn read_forwarded(forwarded: Forwarded, tally: &mut Tally) {
    if let Some(delay) = &forwarded.delay {
        read_delay(delay, tally);
    }
    tally.inner += 1;
    read_message(forwarded.message, tally);
}

fn presence_type(presence: &Presence) -> Option<&'static str> {
    match presence.type_ {
        Type::None => None,
        Type::Error => Some("error"),
        Type::Probe => Some("probe"),
        Type::Subscribe => Some("subscribe"),
        Type::Subscribed => Some("subscribed"),
        Type::Unavailable => Some("unavailable"),
        Type::Unsubscribe => Some("unsubscribe"),
        Type::Unsubscribed => Some("unsubscribed"),
    }
}

/// What presence says by elements of its own.
fn read_shown(presence: &Presence, tally: &mut Tally) {
    let show = presence.show.as_ref().map(|show| match show {
        Show::Away => "away",
        Show::Chat => "chat",
        Show::Dnd => "dnd",
        Show::Xa => "xa",
    });
    tally.some(Field::Show, show);
    for status in presence.statuses.values() {
        tally.text(Field::Status, status);
    }
    if presence.priority.0 != 0 {
        tally.number(Field::Priority, presence.priority.0.into());
    }
}

fn read_presence(presence: Presence, tally: &mut Tally) {
    tally.some(Field::From, presence.from.as_ref().map(|from| from.as_str()));
    tally.some(Field::Type, presence_type(&presence));
    read_shown(&presence, tally);
    for payload in presence.payloads {
        if payload.is("c", ns::CAPS) {
            tally.payloads += 1;
            let caps: xp::caps::Caps = to(payload);
            tally.text(Field::Node, &caps.node);
            tally.bytes(Field::Ver, &caps.ver);
        } else if payload.is("occupant-id", ns::OCCUPANT_ID) {
            tally.payloads += 1;
            tally.text(Field::Id, &to::<xp::occupant_id::OccupantId>(payload).id);
        }
    }
}

fn read_roster(roster: xp::roster::Roster, tally: &mut Tally) {
    tally.payloads += 1;
    for item in roster.items {
        tally.text(Field::Jid, item.jid.as_str());
        tally.some(Field::Name, item.name);
        tally.text(
            Field::Subscription,
            match item.subscription {
                Subscription::None => "none",
                Subscription::From => "from",
                Subscription::To => "to",
                Subscription::Both => "both",
                Subscription::Remove => "remove",
            },
        );
        for group in item.groups {
            tally.text(Field::Group, &group.0);
        }
    }
}

pub(crate) fn typed(stream: &[u8]) -> Tally {
    let mut tally = Tally::default();
    each_stanza(stream, |stanza| {
        count(&stanza, &mut tally);
        convert(stanza, &mut tally);
    });
    tally
}

/// Converts every payload to its type.
fn convert(stanza: Stanza, tally: &mut Tally) {
    let (from, to, id, payloads) = match stanza {
        Stanza::Message(message) => return typed::message(message, tally),
        Stanza::Presence(presence) => {
            read_shown(&presence, tally);
            (presence.from, presence.to, presence.id, presence.payloads)
        }
        Stanza::Iq(iq) => {
            let (from, to, id) = (iq_from(&iq).clone(), iq_to(&iq).clone(), iq_id(&iq).clone());
            let payloads = match iq {
                Iq::Get { payload, .. } | Iq::Set { payload, .. } => vec![payload],
                _ => Vec::new(),
            };
            (from, to, Some(id), payloads)
        }
    };
    tally.some(Field::From, from.as_ref().map(|from| from.as_str()));
    tally.some(Field::To, to.as_ref().map(|to| to.as_str()));
    tally.some(Field::Id, id);
    for payload in payloads {
        typed::convert(payload, tally);
    }
}

/// Writes messages from their typed values into the stream.
pub(crate) fn encode(stream: &[u8]) {
    let messages = messages(stream);
    let runtime = runtime();
    let said = runtime.block_on(async {
        let mut xml = open(Memory::keeping(stream)).await;
        let header = xml.get_stream().kept.as_ref().map_or(0, Vec::len);
        write(&mut xml, &messages).await;
        said(&xml.get_stream().kept.as_ref().expect("what was written")[header..])
    });
    let mut xml = runtime.block_on(open(Memory::new(stream)));
    timed(|| {
        runtime.block_on(async {
            for _ in 0..ROUNDS {
                write(&mut xml, &messages).await;
            }
        });
        said
    });
}

async fn write(xml: &mut XmlStream<Memory<'_>, Stanza>, messages: &[Message]) {
    for message in messages {
        xml.feed(message).await.expect("it takes everything");
    }
    SinkExt::<&Message>::flush(xml).await.expect("it takes everything");
}
