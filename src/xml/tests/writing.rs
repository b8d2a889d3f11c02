//! What is written: escaped, with as few declarations as it needs, and never what XML cannot carry.

use xmpp_parsers::message::{Lang, Message, MessageType, Thread};
use xso::AsXml;

use crate::error::ErrorKind;
use crate::xml::{Frame, Framer, Limits, OutStanza, StanzaKind, StreamItem, escape_attr, escape_text, ns, write_element};

fn written(element: &impl AsXml, content_ns: &str) -> String {
    let mut out = Vec::new();
    write_element(&mut out, element, content_ns).expect("written");
    String::from_utf8(out).expect("UTF-8")
}

fn element(xml: &str) -> minidom::Element {
    Frame::parse(xml).expect("well-formed").root().to_element()
}

#[test]
fn namespaces_are_declared_where_they_change_and_nowhere_else() {
    for (xml, in_client_stream, alone) in [
        (
            "<message xmlns='jabber:client'><body>x</body></message>",
            "<message><body>x</body></message>",
            "<message xmlns='jabber:client'><body>x</body></message>",
        ),
        (
            "<m:message xmlns:m='jabber:client'><a xmlns='urn:a'><b/><m:message><m:body/></m:message><b/></a></m:message>",
            "<message><a xmlns='urn:a'><b/><message xmlns='jabber:client'><body/></message><b/></a></message>",
            "<message xmlns='jabber:client'><a xmlns='urn:a'><b/><message xmlns='jabber:client'><body/></message><b/></a></message>",
        ),
        (
            "<a xmlns='urn:a'><b xmlns=''><c/></b></a>",
            "<a xmlns='urn:a'><b xmlns=''><c/></b></a>",
            "<a xmlns='urn:a'><b xmlns=''><c/></b></a>",
        ),
        ("<a/>", "<a xmlns=''/>", "<a/>"),
        (
            "<s:features xmlns:s='http://etherx.jabber.org/streams'><s:x/><y xmlns='urn:y'><s:z/></y></s:features>",
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><stream:x/><y xmlns='urn:y'><stream:z/></y></stream:features>",
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><stream:x/><y xmlns='urn:y'><stream:z/></y></stream:features>",
        ),
        ("<a xmlns='urn:a' xmlns:x='urn:x' xmlns:y='urn:y' x:b='1' y:b='2' b='3' xml:lang='en'/>", "", ""),
    ] {
        let element = element(xml);
        if in_client_stream.is_empty() {
            // Prefixed attributes come in minidom's order, under prefixes of ours.
            let frame = Frame::parse(&written(&element, "")).expect("well-formed");
            let value = |ns: &str| frame.root().attr_ns(ns, "b").map(|v| v.into_owned());
            assert_eq!([value("urn:x"), value("urn:y"), value("")].map(|v| v.expect("a value")), ["1", "2", "3"]);
            assert_eq!(frame.root().attr_ns(ns::XML, "lang").as_deref(), Some("en"));
            continue;
        }
        assert_eq!(written(&element, ns::CLIENT), in_client_stream);
        assert_eq!(written(&element, ""), alone);
    }
}

#[test]
fn every_allowed_character_survives_in_text_and_attributes() {
    let all: String =
        (1..0x3000u32).chain(0xFFF0..0x1_0010).filter_map(char::from_u32).filter(|c| crate::xml::chars::is_char(*c)).collect();
    let mut element = minidom::Element::bare("a", "urn:a");
    element.append_text_node(all.clone());
    element.set_attr(rxml::Namespace::NONE, "b".try_into().expect("a name"), all.clone());
    let frame = Frame::parse(&written(&element, "")).expect("well-formed");
    assert_eq!(frame.root().text(), all);
    assert_eq!(frame.attr("b").as_deref(), Some(&*all));
    for text in [all.as_str(), "]]>", "<![CDATA[", "&amp;", "\r\n"] {
        let text_back = Frame::parse(&format!("<a>{}</a>", escape_text(text))).expect("well-formed");
        assert_eq!(text_back.root().text(), text);
        for quote in ["'", "\""] {
            let attr_back = Frame::parse(&format!("<a b={quote}{}{quote}/>", escape_attr(text))).expect("well-formed");
            assert_eq!(attr_back.attr("b").as_deref(), Some(text));
        }
    }
}

#[test]
fn what_xml_cannot_carry_is_an_error_and_leaves_no_trace() {
    for bad in ["\0", "a\u{8}", "\u{B}b", "\u{1F}", "\u{FFFE}", "x\u{FFFF}"] {
        let message = Message::chat(None).with_body(Lang::new(), bad.to_owned());
        let mut out = b"before".to_vec();
        let error = write_element(&mut out, &message, ns::CLIENT).expect_err("a character that XML does not allow");
        assert!(matches!(error.kind(), ErrorKind::Payload { .. }), "{error}");
        assert_eq!(out, b"before");
        assert!(OutStanza::message(&message).is_err());
        let mut in_attribute = minidom::Element::bare("a", "urn:a");
        in_attribute.set_attr(rxml::Namespace::NONE, "b".try_into().expect("a name"), bad.to_owned());
        assert!(write_element(&mut Vec::new(), &in_attribute, "").is_err());
    }
}

#[test]
fn a_message_is_written_as_its_type_says() {
    use MessageType::{Chat, Error, Groupchat, Headline, Normal};
    let payload = "<x xmlns='urn:x' a='1' xml:lang='de' b='&lt;&apos;'>1 &amp; <y xmlns='urn:y' p:q='r' xmlns:p='urn:p'><z/>u</y>v\
                   <body xmlns='jabber:client'><html xmlns='http://www.w3.org/1999/xhtml'/></body></x>";
    let full = Message {
        from: Some("romeo@montague.example/or'chard".parse().expect("a JID")),
        to: Some("juliet@capulet.example".parse().expect("a JID")),
        id: Some(xmpp_parsers::message::Id("<1>".to_owned())),
        type_: Chat,
        bodies: [("", "Hi & bye"), ("de", "Hallo\r\n")].map(|(lang, text)| (Lang(lang.to_owned()), text.to_owned())).into(),
        subjects: [("fr", ""), ("en", "a > b")].map(|(lang, text)| (Lang(lang.to_owned()), text.to_owned())).into(),
        thread: Some(Thread { parent: Some("p".to_owned()), id: "t".to_owned() }),
        payloads: vec![element(payload), element("<active xmlns='http://jabber.org/protocol/chatstates'/>")],
    };
    let mut messages = vec![full.clone(), Message { thread: Some(Thread { parent: None, id: "t".to_owned() }), ..full.clone() }];
    messages.extend([Chat, Error, Groupchat, Headline, Normal].map(|kind| Message::new_with_type(kind, None)));
    for message in messages {
        let standalone = OutStanza::message(&message).expect("written").to_standalone_xml();
        assert_eq!(standalone, written(&message, ""));
    }
    for bad in
        [minidom::Element::bare("a b='c'", "urn:x"), minidom::Element::bare("", "urn:x"), minidom::Element::bare("p:a", "urn:x")]
    {
        let mut message = full.clone();
        message.payloads.push(bad);
        assert!(matches!(OutStanza::message(&message).expect_err("no name").kind(), ErrorKind::Payload { .. }));
    }
}

#[test]
fn a_type_that_does_not_serialise_to_one_element_is_an_error() {
    use rxml::{Namespace, NcName};
    use std::borrow::Cow;
    use xso::Item;

    struct Items(Vec<u8>);
    impl AsXml for Items {
        type ItemIter<'x> = std::vec::IntoIter<Result<Item<'x>, xso::error::Error>>;

        fn as_xml_iter(&self) -> Result<Self::ItemIter<'_>, xso::error::Error> {
            let name = || NcName::try_from("a").expect("a name");
            let item = |b: &u8| match b {
                b'<' => Item::ElementHeadStart(Namespace::NONE, Cow::Owned(name())),
                b'=' => Item::Attribute(Namespace::NONE, Cow::Owned(name()), "1".into()),
                b'>' => Item::ElementHeadEnd,
                b't' => Item::Text("t".into()),
                _ => Item::ElementFoot,
            };
            Ok(self.0.iter().map(|b| Ok(item(b))).collect::<Vec<_>>().into_iter())
        }
    }
    for good in ["</", "<>/", "<=>t/", "<t</<>//", "<=/"] {
        let mut out = Vec::new();
        write_element(&mut out, &Items(good.into()), "").unwrap_or_else(|e| panic!("{good}: {e}"));
        assert!(Frame::parse(&String::from_utf8(out).expect("UTF-8")).is_ok(), "{good}");
    }
    for bad in ["", "t", "/", "=", "<", "<>t", "<//", "</</", "</t", "t</", "<>t=/"] {
        let mut out = Vec::new();
        assert!(write_element(&mut out, &Items(bad.into()), "").is_err(), "{bad}");
        assert!(out.is_empty(), "{bad}");
    }
    // Two attributes of one name: only a reader notices, so what goes out as a stanza is read first.
    let mut out = Vec::new();
    write_element(&mut out, &Items("<==/".into()), "").expect("written");
    assert!(Frame::parse(&String::from_utf8(out).expect("UTF-8")).is_err());
}

#[test]
fn a_prepared_stanza_knows_its_header_and_goes_out_on_any_stream() {
    let out = OutStanza::from_xml(
        "<p:iq xmlns:p='jabber:component:accept' to='a&amp;b@c' id=\"it's\" type='set'><p:x/><q xmlns='urn:q'><p:iq/></q></p:iq>",
    )
    .expect("a stanza");
    assert_eq!((out.kind(), out.id(), out.to(), out.stanza_type()), (StanzaKind::Iq, Some("it's"), Some("a&b@c"), Some("set")));
    assert_eq!(out.to_stanza().to().as_deref(), Some("a&b@c"));
    for content_ns in [ns::CLIENT, ns::COMPONENT_ACCEPT, "urn:o'dd"] {
        let mut tcp = Vec::new();
        out.write_to(&mut tcp, None);
        assert_eq!(tcp.len(), out.byte_len());
        let mut declared = b"x".to_vec();
        out.write_to(&mut declared, Some(content_ns));
        let declared = String::from_utf8(declared).expect("UTF-8");
        assert!(declared.starts_with(&format!("x<iq xmlns='{}' ", escape_attr(content_ns))), "{declared}");
        let mut framer = Framer::new(Limits::default());
        framer.push(format!("<s:s xmlns='{}' xmlns:s='urn:s'>", escape_attr(content_ns)).as_bytes());
        framer.push(&tcp);
        assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
        let Ok(Some(StreamItem::Element(frame))) = framer.next_item() else { panic!("no element") };
        let stanza = frame.stanza().expect("a stanza");
        assert!(stanza.child(ns::CLIENT, "x").is_some(), "{content_ns}");
        let inner = stanza.child("urn:q", "q").and_then(|q| q.child(ns::CLIENT, "iq")).expect("the inner one");
        assert!(inner.stanza().is_some());
    }
    assert_eq!(Frame::parse(&out.to_standalone_xml()).expect("one element").stanza_kind(), Some(StanzaKind::Iq));
}
