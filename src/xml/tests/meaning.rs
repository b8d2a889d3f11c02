//! What a frame means: namespaces, language, decoding, inner stanzas, other transports (R29).

use crate::xml::*;
use xmpp_parsers::delay::Delay;
use xmpp_parsers::message::Message;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:d='urn:xmpp:delay' from='example.org' id='s1' version='1.0' xml:lang='en'>";

fn stream(header: &str, body: &str) -> Vec<Frame> {
    let mut framer = Framer::new(Limits::default());
    framer.push(header.as_bytes());
    framer.push(body.as_bytes());
    let mut frames = Vec::new();
    while let Some(item) = framer.next_item().expect("well-formed") {
        if let StreamItem::Element(frame) = item {
            frames.push(frame);
        }
    }
    frames
}

fn one(body: &str) -> Frame {
    let mut frames = stream(HEADER, body);
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

#[test]
fn the_header_says_what_it_declares() {
    let mut framer = Framer::new(Limits::default());
    framer.push(HEADER.as_bytes());
    let Ok(Some(StreamItem::Open(header))) = framer.next_item() else { panic!("no header") };
    assert_eq!((header.name(), header.ns(), header.content_ns()), ("stream", ns::STREAM, ns::CLIENT));
    assert_eq!((header.from(), header.to(), header.id()), (Some("example.org"), None, Some("s1")));
    assert_eq!((header.version(), header.lang()), (Some("1.0"), Some("en")));
}

#[test]
fn a_prefix_declared_only_on_the_stream_header_resolves() {
    let frame = one("<message><d:delay stamp='2024-06-07T12:00:00Z'/></message>");
    let stanza = frame.stanza().expect("a stanza");
    let delay = stanza.child(ns::DELAY, "delay").expect("the delay");
    assert_eq!(delay.ns(), ns::DELAY);
    assert!(stanza.payload::<Delay>().expect("a delay").is_some());
    let alone = Frame::parse(&delay.to_standalone_xml()).expect("standalone");
    assert!(alone.is(ns::DELAY, "delay"));
    let whole = Frame::parse(&frame.to_standalone_xml()).expect("standalone");
    assert!(whole.stanza().expect("a stanza").payload::<Delay>().expect("a delay").is_some());
}

#[test]
fn a_prefix_redeclared_in_a_child_means_what_the_child_says() {
    let frame = one(
        "<message xmlns:p='urn:one'><p:a p:x='1'/><b xmlns='urn:b' xmlns:p='urn:two'><p:c p:x='2'><p:e/></p:c></b><p:f/></message>",
    );
    let names: Vec<_> = frame.children().map(|c| (c.ns().into_owned(), c.name())).collect();
    assert_eq!(names, [("urn:one".into(), "a"), ("urn:b".into(), "b"), ("urn:one".into(), "f")]);
    let c = frame.child("urn:b", "b").and_then(|b| b.child("urn:two", "c")).expect("c");
    assert_eq!(c.attr_ns("urn:two", "x").as_deref(), Some("2"));
    assert_eq!(c.attr("x"), None);
    assert!(c.child("urn:two", "e").is_some());
    let alone = Frame::parse(&c.to_standalone_xml()).expect("standalone");
    assert!(alone.is("urn:two", "c") && alone.child("urn:two", "e").is_some());
    assert_eq!(alone.root().attr_ns("urn:two", "x").as_deref(), Some("2"));
}

#[test]
fn an_unprefixed_child_may_be_in_no_namespace() {
    let frame = one("<message><a xmlns='urn:a'><b xmlns=''><c/></b></a><d xmlns=''/></message>");
    let b = frame.child("urn:a", "a").and_then(|a| a.child("", "b")).expect("b");
    assert!(b.child("", "c").is_some());
    assert!(frame.child("", "d").is_some());
    let alone = b.to_standalone_xml();
    assert!(Frame::parse(&alone).expect("standalone").is("", "b"), "{alone}");
}

#[test]
fn language_is_inherited_and_overridden() {
    let frame = one(
        "<message><body>a</body><body xml:lang='de'>b</body><x xmlns='urn:x' xml:lang='fr'><y/><z xml:lang=''/></x></message>",
    );
    let stanza = frame.stanza().expect("a stanza");
    assert_eq!(stanza.lang().as_deref(), Some("en"));
    let langs: Vec<_> = stanza.children().map(|c| c.lang().map(|l| l.into_owned())).collect();
    assert_eq!(langs, [Some("en".to_owned()), Some("de".to_owned()), Some("fr".to_owned())]);
    let x = stanza.child("urn:x", "x").expect("x");
    assert_eq!(x.child("urn:x", "y").expect("y").lang().as_deref(), Some("fr"));
    assert_eq!(x.child("urn:x", "z").expect("z").lang(), None);
    assert!(x.child("urn:x", "y").expect("y").to_standalone_xml().contains("xml:lang='fr'"));
    assert!(frame.to_standalone_xml().contains("xml:lang='en'"));
    let message: Message = stanza.decode().expect("a message");
    assert_eq!(message.bodies.keys().map(|l| l.as_str()).collect::<Vec<_>>(), ["de", "en"]);
}

#[test]
fn header_values_and_text_are_decoded() {
    let frame = one(
        "<message to='a&amp;b@x' from=\"it's\" id='1&#x9;2\n3'><body>a\r\nb\rc &lt;&#x1F600;&gt; <![CDATA[<&amp;\r\n]]>!</body><e xmlns='urn:e'/></message>",
    );
    let stanza = frame.stanza().expect("a stanza");
    assert_eq!(stanza.to().as_deref(), Some("a&b@x"));
    assert_eq!(stanza.from().as_deref(), Some("it's"));
    assert_eq!(stanza.id().as_deref(), Some("1\t2 3"));
    assert_eq!(stanza.child_text(ns::CLIENT, "body").as_deref(), Some("a\nb\nc <\u{1F600}> <&amp;\n!"));
    assert_eq!(stanza.child_text("urn:e", "e").as_deref(), Some(""));
    assert_eq!(stanza.child_text("urn:e", "f"), None);
}

#[test]
fn a_text_says_the_same_whenever_it_is_asked_for_and_whatever_was_before() {
    let long = "&amp;".repeat(20_000);
    let stanza = |first: &str, second: &str| {
        let frame = one(&format!(
            "<message><body>{first}</body><subject>plain</subject><subject>{second}</subject>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>&lt;in</body></message></forwarded></message>"
        ));
        frame.stanza().expect("a stanza")
    };
    let texts =
        [("a &amp; b", "a & b".to_owned()), ("c &gt; d", "c > d".to_owned()), (&*long, "&".repeat(20_000)), ("", String::new())];
    // In an order of its own for each: the frames before are gone, and their memory is used again.
    for (n, ((first, said_first), (second, said_second))) in
        texts.iter().flat_map(|first| texts.iter().map(move |second| (first, second))).enumerate()
    {
        let stanza = stanza(first, second);
        let nodes: Vec<_> = stanza.children().collect();
        let inside = nodes[3].child(ns::CLIENT, "message").and_then(|m| m.child(ns::CLIENT, "body")).expect("a body");
        let expected = [&**said_first, "plain", said_second, "<in"];
        let all = [nodes[0], nodes[1], nodes[2], inside];
        for turn in 0..8 {
            let at = (n * (turn + 1) + turn) % 4;
            assert_eq!(all[at].text(), expected[at], "{n} {turn}");
        }
    }
}

#[test]
fn a_stanza_moves_from_tcp_to_websocket() {
    let frame = one("<message to='a@b'><body>1 &lt; 2</body><d:delay stamp='2024-06-07T12:00:00Z'/>\
         <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='c@d'><body>in</body></message></forwarded></message>");
    let out = OutStanza::from_stanza(&frame.stanza().expect("a stanza")).expect("written");
    let (mut tcp, mut websocket) = (Vec::new(), Vec::new());
    out.write_to(&mut tcp, None);
    out.write_to(&mut websocket, Some(ns::CLIENT));
    assert_eq!(tcp.len(), out.byte_len());
    let tcp = String::from_utf8(tcp).expect("UTF-8");
    let websocket = String::from_utf8(websocket).expect("UTF-8");
    assert!(
        tcp.starts_with("<message xml:lang='en' to='a@b'>")
            && websocket.starts_with("<message xmlns='jabber:client' xml:lang='en' to='a@b'>"),
        "{tcp} {websocket}"
    );
    let other = stream("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", &tcp);
    for frame in [other[0].clone(), Frame::parse(&websocket).expect("one element")] {
        let stanza = frame.stanza().expect("a stanza");
        assert_eq!(stanza.child_text(ns::CLIENT, "body").as_deref(), Some("1 < 2"));
        assert!(stanza.payload::<Delay>().expect("a delay").is_some());
        let forwarded = stanza.child(ns::FORWARD, "forwarded").expect("forwarded");
        let inner = stanza.inner(forwarded.child(ns::CLIENT, "message").expect("inner")).expect("a stanza");
        assert_eq!(inner.from().as_deref(), Some("c@d"));
        assert_eq!(inner.child_text(ns::CLIENT, "body").as_deref(), Some("in"));
    }
}

#[test]
fn references_and_line_ends_are_decoded_wherever_they_stand() {
    for before in 0..20 {
        let plain = "é".repeat(before / 2) + &"x".repeat(before % 2);
        for (written, meant) in [
            ("&lt;", "<"),
            ("&amp;&gt;", "&>"),
            ("&quot;&apos;", "\"'"),
            ("&#x20AC;&#38;", "€&"),
            ("\r\n", "\n"),
            ("\r", "\n"),
            ("", ""),
        ] {
            let xml = format!("<a b='{plain}{written}{plain}'>{plain}{written}{plain}{written}</a>");
            let frame = Frame::parse(&xml).expect("well-formed");
            assert_eq!(frame.root().text(), format!("{plain}{meant}{plain}{meant}"));
            // In an attribute a line end is a space.
            assert_eq!(frame.attr("b").as_deref(), Some(&*format!("{plain}{}{plain}", meant.replace('\n', " "))));
        }
    }
}
