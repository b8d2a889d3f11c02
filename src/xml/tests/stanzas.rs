//! Stanzas: what they are, what they say when they say little, and their errors.

use jid::Jid;

use super::corpus::HEADER;
use crate::error::{Error, ErrorKind, StanzaErrorType};
use crate::xml::{Children, Frame, Framer, Limits, Node, OutStanza, Stanza, StanzaKind, StreamItem, XmlErrorKind, ns};

fn stanza(xml: &str) -> Stanza {
    Frame::parse(xml).expect("well-formed").stanza().expect("a stanza")
}

#[test]
fn frames_and_stanzas_may_go_to_other_threads_and_outlive_everything() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<Frame>();
    check::<Stanza>();
    check::<OutStanza>();
    fn check_cursor<T: Copy + Send + Sync>() {}
    check_cursor::<Node<'static>>();
}

#[test]
fn a_stanza_is_one_of_three_names_in_a_content_namespace() {
    for (xml, kind) in [
        ("<message xmlns='jabber:client'/>", Some(StanzaKind::Message)),
        ("<presence xmlns='jabber:component:accept'/>", Some(StanzaKind::Presence)),
        ("<c:iq xmlns:c='jabber:server'/>", Some(StanzaKind::Iq)),
        ("<message/>", None),
        ("<message xmlns='urn:x'/>", None),
        ("<Message xmlns='jabber:client'/>", None),
        ("<query xmlns='jabber:client'/>", None),
    ] {
        let frame = Frame::parse(xml).expect("well-formed");
        assert_eq!(frame.stanza_kind(), kind, "{xml}");
        assert_eq!(frame.stanza().map(|s| s.kind()), kind, "{xml}");
    }
}

#[test]
fn a_stanza_without_addresses_or_with_bad_ones_has_no_jids() {
    let bare = stanza("<message xmlns='jabber:client'/>");
    assert_eq!((bare.from(), bare.to(), bare.id(), bare.stanza_type(), bare.lang()), (None, None, None, None, None));
    assert_eq!((bare.from_jid(), bare.to_jid(), bare.error().is_some()), (None, None, false));
    assert_eq!((bare.children().count(), bare.child(ns::CLIENT, "body").is_some(), bare.root().text().len()), (0, false, 0));
    for odd in ["", "@", "a@", "@b", "a@b/", "a b@c", "/r", "a@b@c", "\u{FFFD}@\u{2}x"] {
        let odd = crate::xml::escape_attr(odd).replace('\u{2}', "");
        let stanza = stanza(&format!("<presence xmlns='jabber:client' from='{odd}' to='{odd}'/>"));
        assert!(stanza.from().is_some() && stanza.from_jid().is_none() && stanza.to_jid().is_none(), "{odd}");
    }
    let good = stanza("<iq xmlns='jabber:client' from='ROMEO@Montague.example/Orchard' to='capulet.example' id='' type='get'/>");
    assert_eq!(good.from_jid().map(|j| j.to_string()).as_deref(), Some("romeo@montague.example/Orchard"));
    assert_eq!(good.to_jid().map(|j| j.to_string()).as_deref(), Some("capulet.example"));
    assert_eq!(good.id().as_deref(), Some(""));
}

#[test]
fn the_senders_of_a_stream_are_who_they_say_they_are() {
    let written = |n: usize| match n % 4 {
        0 => format!("user{}@example.org/Phone", n % 7),
        1 => format!("USER{}@Example.org/Phone", n % 90),
        2 => format!("user{}@example.org/phone", n % 7),
        _ => format!("user{}@@example.org", n % 3),
    };
    let mut framer = Framer::new(Limits::default());
    framer.push(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>");
    (0..2_000).for_each(|n| framer.push(format!("<presence from='{}'/>", written(n)).as_bytes()));
    let mut count = 0;
    while let Some(item) = framer.next_item().expect("XML") {
        let StreamItem::Element(frame) = item else { continue };
        let stanza = frame.stanza().expect("a stanza");
        assert_eq!(stanza.from_jid(), Jid::new(&written(count)).ok().as_ref(), "{}", written(count));
        count += 1;
    }
    assert_eq!(count, 2_000);
}

#[test]
fn a_child_is_found_by_its_whole_name_wherever_it_stands() {
    let others: String = (0..7).map(|n| format!("<other{n} xmlns='urn:b'/>")).collect();
    let xml = format!(
        "<message xmlns='jabber:client' xmlns:a='urn:a'><item xmlns='urn:b' n='1'/>{others}<a:item n='2'/><item n='3'/>\
         <a:item n='4'/><far xmlns='urn:b' n='5'/></message>"
    );
    let stanza = stanza(&xml);
    let found = |ns: &str, name: &str| stanza.child(ns, name).and_then(|child| child.attr("n")).map(String::from);
    for (ns, name, n) in
        [("urn:b", "item", Some("1")), ("urn:a", "item", Some("2")), (ns::CLIENT, "item", Some("3")), ("urn:b", "far", Some("5"))]
    {
        assert_eq!(found(ns, name).as_deref(), n, "{ns} {name}");
    }
    for (ns, name) in [("urn:c", "item"), ("urn:a", "far"), ("urn:b", "items"), ("urn:b", "ite"), ("urn:b", "a:item")] {
        assert!(stanza.child(ns, name).is_none(), "{ns} {name}");
    }
}

#[test]
fn an_attribute_with_a_prefix_is_no_header() {
    let stanza = stanza("<message xmlns='jabber:client' xmlns:x='urn:x' x:from='a@b' x:id='1' xml:type='chat' to='c@d'/>");
    assert_eq!((stanza.from(), stanza.id(), stanza.stanza_type()), (None, None, None));
    assert_eq!(stanza.to().as_deref(), Some("c@d"));
    assert_eq!(stanza.root().attr("x:from"), None);
    assert_eq!(stanza.root().attr_ns("urn:x", "from").as_deref(), Some("a@b"));
    assert_eq!(stanza.root().attrs().count(), 4);
}

#[test]
fn an_inner_stanza_is_like_a_whole_one_and_shares_its_bytes() {
    let outer = "<message xmlns='jabber:client' xmlns:p='urn:p' xml:lang='en' from='a@b' id='1'>\
        <forwarded xmlns='urn:xmpp:forward:0'><p:x/>text<message xmlns='jabber:client' from='c@d' type='chat' id='2'>\
        <body>inner</body><p:y/><error type='wait'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>\
        <message from='foreign'/></forwarded></message>";
    let whole = stanza(outer);
    let forwarded = whole.child(ns::FORWARD, "forwarded").expect("forwarded");
    let inner = whole.inner(forwarded.child(ns::CLIENT, "message").expect("a message")).expect("a stanza");
    assert!(inner.is_inner() && !whole.is_inner());
    assert_eq!((inner.kind(), inner.from().as_deref(), inner.id().as_deref()), (StanzaKind::Message, Some("c@d"), Some("2")));
    assert_eq!((inner.stanza_type().as_deref(), inner.lang().as_deref()), (Some("chat"), Some("en")));
    assert_eq!(inner.child_text(ns::CLIENT, "body").as_deref(), Some("inner"));
    assert!(inner.child("urn:p", "y").is_some());
    assert_eq!(inner.error().map(|e| e.condition).as_deref(), Some("gone"));
    assert!(inner.byte_len() < whole.byte_len());
    assert!(std::ptr::eq(inner.frame().name(), whole.frame().name()));
    // A message in another namespace is none.
    assert!(whole.inner(forwarded.child(ns::FORWARD, "message").expect("an element")).is_none());

    let alone = stanza(&inner.to_standalone_xml());
    assert_eq!((alone.from().as_deref(), alone.lang().as_deref(), alone.is_inner()), (Some("c@d"), Some("en"), false));
    assert!(alone.child("urn:p", "y").is_some() && alone.root().attr_ns(ns::XML, "lang").is_some());
}

#[test]
fn nodes_beyond_the_inline_index_are_there_too() {
    let children: String = (0..40).map(|i| format!("<c{i} xmlns='urn:c'><d>{i}</d></c{i}>")).collect();
    let frame = Frame::parse(&format!("<message xmlns='jabber:client'>{children}</message>")).expect("well-formed");
    assert_eq!(frame.children().count(), 40);
    for i in 0..40 {
        let child = frame.child("urn:c", &format!("c{i}")).expect("a child");
        assert_eq!(child.child("urn:c", "d").expect("a grandchild").text(), i.to_string());
    }
}

#[test]
fn a_stanza_error_is_read_whatever_is_missing() {
    let error = |inside: &str| {
        stanza(&format!("<iq xmlns='jabber:client' type='error'>{inside}</iq>")).error().map(|e| {
            let application = e.application.map(|(ns, name)| format!("{{{ns}}}{name}"));
            (e.error_type, e.condition, e.text, application)
        })
    };
    let ns = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'";
    assert_eq!(error(""), None);
    assert_eq!(error("<error/>"), Some((StanzaErrorType::Cancel, "undefined-condition".into(), None, None)));
    assert_eq!(
        error(&format!(
            "<error type='modify'><x xmlns='urn:x'/><text {ns}>no &amp; no</text><bad-request {ns}/><conflict {ns}/></error>"
        )),
        Some((StanzaErrorType::Modify, "bad-request".into(), Some("no & no".into()), Some("{urn:x}x".into())))
    );
    for (written, read) in [
        ("auth", StanzaErrorType::Auth),
        ("cancel", StanzaErrorType::Cancel),
        ("continue", StanzaErrorType::Continue),
        ("wait", StanzaErrorType::Wait),
        ("nonsense", StanzaErrorType::Cancel),
    ] {
        assert_eq!(error(&format!("<error type='{written}'/>")).map(|e| e.0), Some(read));
    }
}

#[test]
fn another_stream_on_the_same_connection_may_be_read_from_what_was_pushed_already() {
    let mut framer = Framer::new(Limits::default());
    framer.push([HEADER, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/> \n", HEADER, "<a/>"].concat().as_bytes());
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Element(_)))));
    framer.restart_keeping_input();
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Element(_)))));
    assert!(matches!(framer.next_item(), Ok(None)));
}

#[test]
fn logs_show_no_content() {
    let xml = "<message xmlns='jabber:client' from='romeo@montague.example' type='chat'><body>secret</body></message>";
    let frame = Frame::parse(xml).expect("well-formed");
    let stanza = frame.stanza().expect("a stanza");
    let out = OutStanza::from_stanza(&stanza).expect("written");
    let shown = format!("{frame:?} {stanza:?} {out:?} {:?} {:?}", frame.root(), frame.children());
    assert!(!shown.contains("secret") && !shown.contains("romeo") && shown.contains("message"), "{shown}");
}

#[test]
fn what_is_no_stanza_cannot_be_sent_as_one() {
    for (xml, kind) in [
        ("<message/>", XmlErrorKind::NotAStanza),
        ("<r xmlns='urn:xmpp:sm:3'/>", XmlErrorKind::NotAStanza),
        ("<message xmlns='jabber:client'>", XmlErrorKind::Incomplete),
        ("<message xmlns='jabber:client'/></stream:stream>", XmlErrorKind::AfterEnd),
    ] {
        let error = OutStanza::from_xml(xml).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, kind, "{xml}");
        // The server has no part in it.
        let error = Error::from(error);
        assert_eq!(*error.kind(), ErrorKind::InvalidXml, "{xml}");
        assert!(!error.is_retryable() && error.to_string().contains(&kind.to_string()), "{error}");
    }
}

#[test]
fn an_inner_stanza_is_read_as_the_element_that_it_is() {
    for inside in
        ["", "text", "<body>a</body>", "<a xmlns='urn:a'><b/>c</a> <body>x &amp; <![CDATA[</body>]]></body><b xmlns='urn:a'/>"]
    {
        for message in [format!("<message id='1' xml:lang='de'>{inside}</message>"), "<message/>".to_owned()] {
            let xml =
                format!("<message xmlns='jabber:client'><x xmlns='urn:x'><y xmlns='jabber:client'>{message}</y></x> </message>");
            let frame = Frame::parse(&xml).expect("XML");
            let node =
                frame.child("urn:x", "x").and_then(|x| x.child(ns::CLIENT, "y")).and_then(|y| y.child(ns::CLIENT, "message"));
            let node = node.expect("an element");
            let stanza = node.stanza().expect("a stanza");
            assert_eq!(stanza.byte_len(), message.len());
            let all = |children: Children<'_>| {
                children.map(|c| (c.name().to_owned(), c.ns().into_owned(), c.text().into_owned())).collect::<Vec<_>>()
            };
            // Twice: the second time it is known where they stand.
            for _ in 0..2 {
                assert_eq!(all(stanza.children()), all(node.children()), "{message}");
                assert_eq!(stanza.byte_len(), message.len());
                assert_eq!(stanza.to_standalone_xml(), node.to_standalone_xml());
                for (ns, name) in [(ns::CLIENT, "body"), ("urn:a", "a"), ("urn:a", "b"), ("urn:b", "b")] {
                    assert_eq!(stanza.child_text(ns, name), node.child(ns, name).map(Node::text));
                }
            }
        }
    }
}
