//! The bridge to xmpp-parsers and to types of one's own (D4, D5, D6).

use xmpp_parsers as xp;
use xmpp_parsers::ns::DEFAULT_NS;
use xso::{AsXml, FromXml};

use crate::error::{Error, ErrorKind};
use crate::xml::{Frame, Framer, Limits, PayloadName, Stanza, StreamItem, ns, write_element};

fn stanza(xml: &str) -> Stanza {
    Frame::parse(xml).expect("well-formed").stanza().expect("a stanza")
}

#[derive(FromXml, AsXml, Debug, PartialEq)]
#[xml(namespace = "urn:example", name = "thing")]
struct Thing {
    #[xml(attribute)]
    size: u32,
    #[xml(lang)]
    lang: Option<String>,
    #[xml(text)]
    text: String,
}

/// Two variants of one name: xso 0.4 loses the namespace of such a type's matcher (D6).
#[derive(FromXml, AsXml, Debug, PartialEq)]
#[xml()]
enum Either {
    #[xml(namespace = "urn:either", name = "b")]
    First,
    #[xml(namespace = "urn:either", name = "b")]
    #[allow(dead_code, reason = "only its matcher counts")]
    Second,
}

#[test]
fn a_payload_is_the_first_child_of_its_name_whatever_stands_around() {
    let stanza = stanza(
        "<message xmlns='jabber:client' xml:lang='en'><thing xmlns='urn:other' size='9'/><body>x</body>\
         <thing xmlns='urn:example' size='1'>a&amp;<![CDATA[b]]>\r\n</thing><p:thing xmlns:p='urn:example' p:x='' size='2' xml:lang='de'/></message>",
    );
    // Attributes that the type does not know are its affair; xso's default is to take them.
    let things: Vec<Thing> = stanza.payloads().collect::<Result<_, _>>().expect("things");
    assert_eq!(things[0], Thing { size: 1, lang: Some("en".into()), text: "a&b\n".into() });
    assert_eq!((things[1].size, things[1].lang.as_deref(), things.len()), (2, Some("de"), 2));
    assert_eq!(stanza.payload::<Thing>().expect("a thing").map(|t| t.size), Some(1));
    assert_eq!(stanza.payload::<xp::ping::Ping>().expect("no error").map(|_| ()), None);
}

#[test]
fn a_malformed_payload_is_an_error_that_names_it() {
    let stanza = stanza("<message xmlns='jabber:client'><thing xmlns='urn:example' size='huge'/><body/></message>");
    let error = stanza.payload::<Thing>().expect_err("not a number");
    assert_eq!((error.ns.as_str(), error.name.as_str()), ("urn:example", "thing"));
    let error = Error::from(error);
    assert_eq!(*error.kind(), ErrorKind::Payload { ns: "urn:example".into(), name: "thing".into() });
    let missing = Frame::parse("<thing xmlns='urn:example'/>").expect("well-formed").payload::<Thing>();
    assert!(missing.is_err());
    let other = Frame::parse("<other xmlns='urn:example'/>").expect("well-formed").payload::<Thing>();
    assert!(matches!(other.expect_err("another name").source, xso::error::Error::TypeMismatch));
    // Children of a type that has none, text where none belongs: errors, no panics.
    for inside in ["<x/>", "<x><y/></x>", "text<x/>text"] {
        let xml = format!("<ping xmlns='urn:xmpp:ping'>{inside}</ping>");
        let _ = Frame::parse(&xml).expect("well-formed").payload::<xp::ping::Ping>();
    }
}

#[test]
fn the_content_namespace_of_every_stream_is_what_xmpp_parsers_takes_for_it() {
    for content_ns in [ns::CLIENT, ns::COMPONENT_ACCEPT, ns::SERVER] {
        let mut framer = Framer::new(Limits::default());
        framer.push(
            format!(
                "<stream:stream xmlns='{content_ns}' xmlns:stream='http://etherx.jabber.org/streams'>\
                 <message from='a@b' type='chat'><body>out</body><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                 <message xmlns='jabber:client' from='c@d'><body>in</body></message></forwarded></received></message>"
            )
            .as_bytes(),
        );
        assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
        let Ok(Some(StreamItem::Element(frame))) = framer.next_item() else { panic!("no element") };
        let stanza = frame.stanza().expect("a stanza");
        assert_eq!(stanza.child_text(ns::CLIENT, "body").as_deref(), Some("out"));
        let message: xp::message::Message = stanza.decode().expect("a message");
        assert_eq!(message.bodies.values().next().map(String::as_str), Some("out"));
        let carbon = stanza.payload::<xp::carbons::Received>().expect("a carbon").expect("there is one");
        assert_eq!(carbon.forwarded.message.bodies.values().next().map(String::as_str), Some("in"));
        assert_eq!(stanza.root().to_element().ns(), DEFAULT_NS);

        let mut out = Vec::new();
        write_element(&mut out, &message, content_ns).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.starts_with("<message from='a@b'"), "{text}");
    }
}

#[test]
fn types_without_a_name_of_their_own_cannot_be_routed_and_are_probed() {
    assert_eq!(PayloadName::of::<minidom::Element>(), None);
    assert_eq!(PayloadName::of::<Either>(), None, "D6");
    let stanza = stanza("<message xmlns='jabber:client'><a xmlns='urn:either'/><b xmlns='urn:either'/></message>");
    assert_eq!(stanza.payload::<Either>().expect("no error"), Some(Either::First));
    let first = stanza.payload::<minidom::Element>().expect("no error").expect("any element");
    assert_eq!(first.name(), "a");
    assert_eq!(stanza.payload_element("urn:either", "b").map(|e| e.ns()).as_deref(), Some("urn:either"));
}

#[test]
fn a_payload_name_matches_by_the_names_that_nodes_have() {
    let frame = Frame::parse(
        "<message xmlns='jabber:component:accept'><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
    );
    let frame = frame.expect("well-formed");
    let message = PayloadName::of::<xp::message::Message>().expect("a name");
    assert_eq!((&*message.ns, message.name.as_deref()), (ns::CLIENT, Some("message")));
    assert!(message.matches(frame.root()));
    let state = PayloadName::of::<xp::chatstates::ChatState>().expect("a namespace");
    assert_eq!((&*state.ns, state.name.as_deref()), (ns::CHAT_STATES, None));
    assert!(frame.children().all(|child| state.matches(child)) && !state.matches(frame.root()));
}

/// D6: whatever a type's matcher says, it must match what the type serialises to, or payloads vanish silently.
#[test]
fn the_matcher_of_each_payload_type_matches_what_it_serialises_to() {
    fn check<T: FromXml + AsXml>(xml: &str) {
        let name = std::any::type_name::<T>();
        let frame = Frame::parse(xml).expect("well-formed");
        let value: T = frame.payload().unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut out = Vec::new();
        write_element(&mut out, &value, "").unwrap_or_else(|e| panic!("{name}: {e}"));
        let written = String::from_utf8(out).expect("UTF-8");
        let read = Frame::parse(&written).unwrap_or_else(|e| panic!("{name}: {e}: {written}"));
        if let Some(matcher) = PayloadName::of::<T>() {
            assert!(matcher.matches(read.root()), "{name} does not match {written}");
        }
        let stanza = stanza(&format!("<message xmlns='jabber:client'>{written}</message>"));
        assert!(stanza.payload::<T>().unwrap_or_else(|e| panic!("{name}: {e}")).is_some(), "{name} vanished: {written}");
    }
    check::<xp::stanza_id::StanzaId>("<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='a@b'/>");
    check::<xp::stanza_id::OriginId>("<origin-id xmlns='urn:xmpp:sid:0' id='1'/>");
    check::<xp::receipts::Request>("<request xmlns='urn:xmpp:receipts'/>");
    check::<xp::receipts::Received>("<received xmlns='urn:xmpp:receipts' id='1'/>");
    check::<xp::chatstates::ChatState>("<composing xmlns='http://jabber.org/protocol/chatstates'/>");
    check::<xp::delay::Delay>("<delay xmlns='urn:xmpp:delay' stamp='2024-06-07T12:00:00Z' from='a@b'>late</delay>");
    check::<xp::occupant_id::OccupantId>("<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>");
    check::<xp::displayed_markers::Markable>("<markable xmlns='urn:xmpp:chat-markers:0'/>");
    check::<xp::displayed_markers::Displayed>("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>");
    check::<xp::message_correct::Replace>("<replace xmlns='urn:xmpp:message-correct:0' id='1'/>");
    check::<xp::oob::Oob>("<x xmlns='jabber:x:oob'><url>https://x.example/</url></x>");
    check::<xp::eme::ExplicitMessageEncryption>("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:x'/>");
    check::<xp::reactions::Reactions>("<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>👍</reaction></reactions>");
    check::<xp::muc::MucUser>(
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant'/></x>",
    );
    check::<xp::muc::Muc>("<x xmlns='http://jabber.org/protocol/muc'/>");
    check::<xp::caps::Caps>(
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>",
    );
    check::<xp::vcard_update::VCardUpdate>("<x xmlns='vcard-temp:x:update'><photo/></x>");
    check::<xp::idle::Idle>("<idle xmlns='urn:xmpp:idle:1' since='2024-06-07T12:00:00Z'/>");
    check::<xp::roster::Roster>(
        "<query xmlns='jabber:iq:roster'><item jid='a@b' subscription='both'><group>x</group></item></query>",
    );
    check::<xp::pubsub::Event>(
        "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'><item id='1'><x xmlns='urn:x'/></item></items></event>",
    );
    check::<xp::carbons::Received>(
        "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded></received>",
    );
    check::<xp::carbons::Enable>("<enable xmlns='urn:xmpp:carbons:2'/>");
    check::<xp::mam::Query>("<query xmlns='urn:xmpp:mam:2' queryid='q'/>");
    check::<xp::mam::Fin>("<fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='http://jabber.org/protocol/rsm'/></fin>");
    check::<xp::disco::DiscoInfoQuery>("<query xmlns='http://jabber.org/protocol/disco#info'/>");
    check::<xp::disco::DiscoInfoResult>(
        "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc'/><feature var='urn:x'/></query>",
    );
    check::<xp::disco::DiscoItemsQuery>("<query xmlns='http://jabber.org/protocol/disco#items'/>");
    check::<xp::ping::Ping>("<ping xmlns='urn:xmpp:ping'/>");
    check::<xp::version::VersionQuery>("<query xmlns='jabber:iq:version'/>");
    check::<xp::version::VersionResult>("<query xmlns='jabber:iq:version'><name>n</name><version>1</version></query>");
    check::<xp::time::TimeQuery>("<time xmlns='urn:xmpp:time'/>");
    check::<xp::time::TimeResult>("<time xmlns='urn:xmpp:time'><tzo>+01:00</tzo><utc>2024-06-07T12:00:00Z</utc></time>");
    check::<xp::bind::BindQuery>("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind>");
    check::<xp::bind::BindResponse>("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@b/r</jid></bind>");
    check::<xp::data_forms::DataForm>(
        "<x xmlns='jabber:x:data' type='form'><title>t</title><field var='v' type='text-single'><value>1</value></field></x>",
    );
    check::<xp::blocking::BlocklistRequest>("<blocklist xmlns='urn:xmpp:blocking'/>");
    check::<xp::nick::Nick>("<nick xmlns='http://jabber.org/protocol/nick'>n</nick>");
    check::<xp::message::Message>("<message xmlns='jabber:client' type='chat'><body>b</body></message>");
    check::<xp::presence::Presence>("<presence xmlns='jabber:client'><show>away</show></presence>");
    check::<xp::iq::Iq>("<iq xmlns='jabber:client' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>");
}
