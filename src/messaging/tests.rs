//! The view, accessor by accessor.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jid::{BareJid, Jid};

use super::*;
use crate::client::WeakClient;
use crate::event::{Event, Inbound};
use crate::xml::Frame;

const RECEIVED: SystemTime = UNIX_EPOCH;

fn inbound(origin: Origin, xml: &str) -> Inbound {
    let stanza = Frame::parse(xml).expect("XML").stanza().expect("a stanza");
    let mut inbound = Inbound::new(stanza.clone(), 1, RECEIVED);
    inbound.replace(stanza, origin);
    inbound
}

fn weak() -> WeakClient {
    WeakClient::from_weak(Weak::new(), Arc::new(BareJid::new("romeo@example.net").expect("a JID")))
}

fn message_by(origin: Origin, xml: &str) -> ChatMessage {
    ChatMessage::from_inbound(&inbound(origin, xml), &weak()).expect("a message")
}

/// A message from Juliet with this in it.
fn message(attributes: &str, content: &str) -> ChatMessage {
    message_by(
        Origin::Live,
        &format!(
            "<message xmlns='jabber:client' from='juliet@example.com/balcony' to='romeo@example.net/orchard' {attributes}>{content}</message>"
        ),
    )
}

fn jid(text: &str) -> Jid {
    Jid::new(text).expect("a JID")
}

fn day(days: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(days * 86_400)
}

#[test]
fn addresses_are_read_normalised() {
    let m = message_by(
        Origin::Live,
        "<message xmlns='jabber:client' from='JULIET@Example.com/Balcony' to='romeo@example.net'><body>Hi</body></message>",
    );
    assert_eq!(*m.from(), jid("juliet@example.com/Balcony"));
    assert_eq!(m.to(), Some(jid("romeo@example.net")));
    assert_eq!(m.conversation(), jid("juliet@example.com"));
    assert_eq!(m.direction(), Direction::Incoming);
    assert_eq!(m.origin(), Origin::Live);
}

#[test]
fn direction_and_conversation_follow_the_own_address_and_the_way() {
    let stanza = |from: &str, to: &str| {
        let attribute = |name: &str, value: &str| if value.is_empty() { String::new() } else { format!("{name}='{value}'") };
        let (from, to) = (attribute("from", from), attribute("to", to));
        format!("<message xmlns='jabber:client' {from} {to}><body>Hi</body></message>")
    };
    let (juliet, me, my_phone) = ("juliet@example.com/balcony", "romeo@example.net", "romeo@example.net/phone");
    let (incoming, outgoing) = (Direction::Incoming, Direction::Outgoing);
    for (origin, from, to, direction, conversation) in [
        (Origin::Live, juliet, me, incoming, "juliet@example.com"),
        (Origin::Offline, juliet, me, incoming, "juliet@example.com"),
        (Origin::Carbon, juliet, my_phone, incoming, "juliet@example.com"),
        (Origin::Carbon, my_phone, juliet, outgoing, "juliet@example.com"),
        (Origin::Archive, my_phone, "juliet@example.com", outgoing, "juliet@example.com"),
        // What this client sent, read back from the log: it had no `from` yet.
        (Origin::Live, "", "juliet@example.com", outgoing, "juliet@example.com"),
        // A note to oneself.
        (Origin::Live, my_phone, me, outgoing, me),
        (Origin::Carbon, my_phone, me, outgoing, me),
        // The server, in the name of the account.
        (Origin::Live, "", "", incoming, me),
    ] {
        let m = message_by(origin, &stanza(from, to));
        assert_eq!((m.direction(), m.conversation()), (direction, jid(conversation)), "{origin:?} {from:?} → {to:?}");
        assert_eq!(m.contact().as_str(), conversation, "{origin:?} {from:?} → {to:?}");
    }
}

#[test]
fn the_body_is_the_one_in_the_language_of_the_message_else_the_first() {
    assert_eq!(message("", "<body>Hi</body>").body().as_deref(), Some("Hi"));
    assert_eq!(message("", "<body/>").body().as_deref(), Some(""));
    let versions = "<body xml:lang='cs'>Ahoj</body><body>Hi</body><body xml:lang='de'>Hallo</body>";
    assert_eq!(message("xml:lang='en'", versions).body().as_deref(), Some("Hi"));
    let versions = "<body xml:lang='cs'>Ahoj</body><body xml:lang='de'>Hallo</body>";
    assert_eq!(message("xml:lang='en'", versions).body().as_deref(), Some("Ahoj"));
    assert_eq!(message("xml:lang='de'", versions).body().as_deref(), Some("Hallo"));
    assert_eq!(message("", versions).body().as_deref(), Some("Ahoj"));
    assert_eq!(message("", "<body>a &lt; b &amp;&#x20;<![CDATA[<c>]]></body>").body().as_deref(), Some("a < b & <c>"));
    // A body of another namespace is none.
    assert_eq!(message("", "<body xmlns='urn:x'>no</body><body>yes</body>").body().as_deref(), Some("yes"));
}

#[test]
fn bodies_are_found_by_language() {
    let m = message(
        "xml:lang='en'",
        "<body>Hi</body><body xml:lang='de'>Hallo</body><body xml:lang='pt-BR'>Oi</body><body xml:lang='zh-Hant'>你好</body>",
    );
    for (lang, expected) in [
        ("en", Some("Hi")),
        ("EN", Some("Hi")),
        ("en-GB", Some("Hi")),
        ("de-CH-1996", Some("Hallo")),
        ("pt-BR", Some("Oi")),
        ("pt", Some("Oi")),
        ("zh-Hant-TW", Some("你好")),
        ("zh", Some("你好")),
        ("p", None),
        ("fr", None),
        ("", None),
        ("-", None),
        ("é", None),
    ] {
        assert_eq!(m.body_in(lang).as_deref(), expected, "{lang:?}");
    }
    let all: Vec<_> = m.bodies().map(|t| (t.lang.unwrap_or_default().into_owned(), t.text.into_owned())).collect();
    let expected = [("en", "Hi"), ("de", "Hallo"), ("pt-BR", "Oi"), ("zh-Hant", "你好")];
    assert_eq!(all, expected.map(|(lang, text)| (lang.to_owned(), text.to_owned())));
}

#[test]
fn subject_and_thread_are_read() {
    let m = message(
        "xml:lang='en'",
        "<subject xml:lang='cs'>Prosba</subject><subject>Plea</subject><body>Hi</body><thread parent='p'> t </thread>",
    );
    assert_eq!(m.subject().as_deref(), Some("Plea"));
    assert_eq!(m.subjects().count(), 2);
    assert_eq!(m.thread(), Some(Thread { id: "t".into(), parent: Some("p".into()) }));
    let m = message("", "<body>Hi</body><thread/>");
    assert_eq!((m.subject(), m.thread()), (None, None));
}

#[test]
fn ids_are_read_and_stanza_ids_only_from_whom_they_are_asked_of() {
    let m = message(
        "id='i&amp;1'",
        "<body>Hi</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/><stanza-id xmlns='urn:xmpp:sid:0' by='evil@example.com' id='e'/>\
         <stanza-id xmlns='urn:xmpp:sid:0' id='nobody'/><stanza-id xmlns='urn:xmpp:sid:0' by='ROMEO@example.net' id='s1'/>",
    );
    assert_eq!(m.id().as_deref(), Some("i&1"));
    assert_eq!(m.origin_id().as_deref(), Some("o1"));
    assert_eq!(m.stanza_id(&jid("romeo@example.net")).as_deref(), Some("s1"));
    assert_eq!(m.stanza_id(&jid("example.net")), None);
    let m = message("", "<body>Hi</body>");
    assert_eq!((m.id(), m.origin_id(), m.stanza_id(&jid("romeo@example.net"))), (None, None, None));
}

#[test]
fn the_time_is_what_the_own_server_says_else_the_first_who_says_so_else_now() {
    let m = message("", "<body>Hi</body>");
    assert_eq!((m.delay(), m.time()), (None, RECEIVED));
    let theirs = "<delay xmlns='urn:xmpp:delay' from='juliet@example.com/balcony' stamp='1970-01-02T00:00:00Z'>Away</delay>";
    let m = message("", &format!("<body>Hi</body>{theirs}"));
    let delay = m.delay().expect("a delay");
    assert_eq!(
        (delay.stamp, delay.from.as_ref(), delay.reason.as_deref()),
        (day(1), Some(&jid("juliet@example.com/balcony")), Some("Away"))
    );
    let ours = "<delay xmlns='urn:xmpp:delay' from='example.net' stamp='1970-01-03T02:00:00.000+02:00'/>";
    let m = message("", &format!("<body>Hi</body>{theirs}{ours}"));
    assert_eq!((m.time(), m.delay().and_then(|delay| delay.reason)), (day(2), None));
}

#[test]
fn stamps_that_are_none_are_no_delay() {
    for stamp in ["", "yesterday", "20020910T23:08:25", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00", "99999999-01-01T00:00:00Z"]
    {
        let m = message("", &format!("<body>Hi</body><delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>"));
        assert_eq!((m.delay(), m.time()), (None, RECEIVED), "{stamp:?}");
    }
    let m =
        message("", "<body>Hi</body><delay xmlns='urn:xmpp:delay'/><delay xmlns='urn:xmpp:delay' stamp='1969-12-31T00:00:00Z'/>");
    assert_eq!(m.time(), UNIX_EPOCH - Duration::from_secs(86_400));
}

#[test]
fn receipts_markers_and_states_are_read() {
    let m = message("", "<body>Hi</body><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>");
    assert!(m.receipt_requested() && m.is_markable());
    assert_eq!((m.receipt(), m.marker(), m.chat_state(), m.replaces()), (None, None, None, None));
    let m = message(
        "",
        "<body>Hi</body><received xmlns='urn:xmpp:receipts' id='a'/><composing xmlns='http://jabber.org/protocol/chatstates'/>\
         <replace xmlns='urn:xmpp:message-correct:0' id='bad1'/><markable xmlns='urn:xmpp:chat-markers:0'/>\
         <displayed xmlns='urn:xmpp:chat-markers:0' id='b'/>",
    );
    assert_eq!(m.receipt().as_deref(), Some("a"));
    assert_eq!(m.marker(), Some(Marker { kind: MarkerKind::Displayed, id: "b".into() }));
    assert_eq!(m.chat_state(), Some(ChatState::Composing));
    assert_eq!(m.replaces().as_deref(), Some("bad1"));
    assert!(!m.receipt_requested());
    for (name, kind) in [("received", MarkerKind::Received), ("acknowledged", MarkerKind::Acknowledged)] {
        let m = message("", &format!("<body>Hi</body><{name} xmlns='urn:xmpp:chat-markers:0' id='b'/>"));
        assert_eq!(m.marker().map(|marker| marker.kind), Some(kind));
    }
    for (name, state) in [
        ("active", ChatState::Active),
        ("paused", ChatState::Paused),
        ("inactive", ChatState::Inactive),
        ("gone", ChatState::Gone),
    ] {
        let m = message("", &format!("<body>Hi</body><{name} xmlns='http://jabber.org/protocol/chatstates'/>"));
        assert_eq!(m.chat_state(), Some(state));
    }
    // Without its id it says nothing.
    let m = message("", "<body>Hi</body><received xmlns='urn:xmpp:receipts'/><displayed xmlns='urn:xmpp:chat-markers:0'/>");
    assert_eq!((m.receipt(), m.marker()), (None, None));
}

#[test]
fn types_are_as_the_rfc_has_them() {
    assert_eq!(message("type='chat'", "<body>Hi</body>").message_type(), MessageType::Chat);
    assert_eq!(message("", "<body>Hi</body>").message_type(), MessageType::Normal);
    assert_eq!(message("type='letter'", "<body>Hi</body>").message_type(), MessageType::Normal);
}

#[test]
fn only_chat_and_normal_messages_with_a_body_are_chat_messages() {
    let route = ChatMessage::route();
    let matches = |attributes: &str, content: &str| {
        route.matches(&inbound(Origin::Live, &format!("<message xmlns='jabber:client' {attributes}>{content}</message>")))
    };
    for attributes in ["", "type='chat'", "type='normal'", "type='other'"] {
        assert!(matches(attributes, "<body>Hi</body>"), "{attributes}");
        assert!(!matches(attributes, "<subject>Hi</subject>"), "{attributes}");
    }
    for attributes in ["type='error'", "type='groupchat'", "type='headline'"] {
        assert!(!matches(attributes, "<body>Hi</body>"), "{attributes}");
    }
    assert!(!matches("", "<body xmlns='urn:x'>Hi</body>"));
    assert!(!route.matches(&inbound(Origin::Live, "<presence xmlns='jabber:client'><body>Hi</body></presence>")));
}

#[test]
fn a_message_from_an_address_that_is_none_is_no_message() {
    let stanza = inbound(Origin::Live, "<message xmlns='jabber:client' from='@' type='chat'><body>Hi</body></message>");
    assert!(ChatMessage::from_inbound(&stanza, &weak()).is_none());
}

#[test]
fn what_is_forwarded_is_the_same_kind_of_message() {
    let inner = "<delay xmlns='urn:xmpp:delay' stamp='1970-01-02T00:00:00Z'/>\
                 <message xmlns='jabber:client' from='romeo@example.net/phone' to='juliet@example.com' type='chat' id='f1'>\
                 <body>Words</body><thread>t</thread></message>";
    let m = message("xml:lang='en'", &format!("<body>See</body><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>"));
    let forwarded = m.forwarded().expect("a forwarded message");
    assert_eq!(forwarded.delay().map(|delay| delay.stamp), Some(day(1)));
    let inside = forwarded.message();
    assert_eq!((inside.body().as_deref(), inside.id().as_deref(), inside.time()), (Some("Words"), Some("f1"), day(1)));
    assert_eq!((inside.direction(), inside.conversation()), (Direction::Outgoing, jid("juliet@example.com")));
    assert_eq!(inside.thread().map(|thread| thread.id).as_deref(), Some("t"));
    assert!(inside.forwarded().is_none());

    for name in ["sent", "received"] {
        let carbon = format!(
            "<body/><{name} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></{name}>"
        );
        assert_eq!(message("", &carbon).forwarded().expect("a carbon").message().body().as_deref(), Some("Words"));
    }
    for nothing in [
        "",
        "<forwarded xmlns='urn:xmpp:forward:0'/>",
        "<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client'/></forwarded>",
    ] {
        assert!(message("", &format!("<body>Hi</body>{nothing}")).forwarded().is_none());
    }
    // Nobody in particular said it.
    let anonymous = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded>";
    assert!(message("", &format!("<body>Hi</body>{anonymous}")).forwarded().is_none());
}

#[test]
fn payloads_are_read_by_type() {
    use xmpp_parsers::oob::Oob;
    let m = message("", "<body>Hi</body><x xmlns='jabber:x:oob'><url>https://example.org/</url></x>");
    assert_eq!(m.payload::<Oob>().expect("well-formed").expect("there").url, "https://example.org/");
    assert!(message("", "<body>Hi</body>").payload::<Oob>().expect("well-formed").is_none());
    assert!(message("", "<body>Hi</body><x xmlns='jabber:x:oob'/>").payload::<Oob>().is_err());
    assert_eq!(m.stanza().to().as_deref(), Some("romeo@example.net/orchard"));
}

#[test]
fn what_is_said_is_kept_out_of_logs() {
    let m = message("", "<body>Secret</body><subject>Private</subject>");
    let printed = format!("{m:?} {:?}", m.reply("Hidden").subject("Covert"));
    assert!(!["Secret", "Private", "Hidden", "Covert"].iter().any(|text| printed.contains(text)), "{printed}");
}

#[test]
fn bounces_and_chat_states_are_events_of_their_own() {
    let bounce = inbound(
        Origin::Live,
        "<message xmlns='jabber:client' type='error' id='m1' from='juliet@example.com'><body>Hi</body>\
         <error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
    );
    assert!(Bounce::route().matches(&bounce) && !ChatMessage::route().matches(&bounce));
    let event = Bounce::from_inbound(&bounce, &weak()).expect("a bounce");
    assert_eq!((event.error().condition.as_str(), event.id().as_deref()), ("item-not-found", Some("m1")));
    assert_eq!(event.from(), Some(jid("juliet@example.com")));
    assert!(event.sent().is_none());

    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let with = |attributes: &str| {
        format!("<message xmlns='jabber:client' from='juliet@example.com/balcony' {attributes}>{typing}</message>")
    };
    let state = inbound(Origin::Live, &with("type='chat'"));
    assert!(ChatStateEvent::route().matches(&state));
    let event = ChatStateEvent::from_inbound(&state, &weak()).expect("a state");
    assert_eq!((event.from, event.state), (jid("juliet@example.com/balcony"), ChatState::Composing));
    assert!(!ChatStateEvent::route().matches(&inbound(Origin::Live, &with("type='error'"))));
    assert!(!ChatStateEvent::route().matches(&inbound(Origin::Archive, &with("type='chat'"))), "what was typed long ago");
}
