//! What a frame costs in memory: allocations, counted.

use allocation_counter::{AllocationInfo, measure};

use super::corpus::HEADER;
use crate::xml::{Frame, Framer, Limits, StreamItem};

/// What it takes to make a frame of this element, once the framer has seen one like it: its buffers have grown by then. And
/// what the frame gives back when it is dropped.
fn cost(element: &str) -> [AllocationInfo; 2] {
    let mut limits = Limits::default();
    (limits.max_children, limits.max_prefixes) = (u16::MAX, u16::MAX);
    let mut framer = Framer::new(limits);
    framer.push(HEADER.as_bytes());
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    let mut take = || {
        framer.push(element.as_bytes());
        let mut frame = None;
        let made = measure(|| frame = framer.next_item().expect("XML"));
        assert!(matches!(frame, Some(StreamItem::Element(_))), "{element}");
        [made, measure(|| drop(frame))]
    };
    take();
    take()
}

fn message(inside: &str) -> String {
    format!("<message from='romeo@example.org/a' to='juliet@example.org' id='1' type='chat'>{inside}</message>")
}

#[test]
fn making_a_frame_is_two_allocations() {
    let text = "<body>But soft, what light through yonder window breaks?</body>";
    for inside in [
        "".to_owned(),
        text.to_owned(),
        format!("{text}<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>"),
        format!("<a>{}</a>", "<b c='d'><e/></b>".repeat(100)),
        "<x xmlns:p='urn:p'><p:y/></x>".to_owned(),
        "<x xmlns:p='urn:p' xmlns:q='urn:q'/>".repeat(9),
        "<a/>".repeat(8),
        "<a/>".repeat(32),
        "x".repeat(100_000),
    ] {
        assert_eq!(cost(&message(&inside))[0].count_total, 2, "{inside:.100}");
    }
}

#[test]
fn a_frame_owns_two_allocations_whatever_is_in_it() {
    for children in [0, 8, 9, 200, 5000] {
        for prefixes in [0, 1, 2, 7, 300] {
            let declarations = (0..prefixes).map(|n| format!("<x xmlns:p{n}='urn:p:{n}'/>")).collect::<String>();
            let inside = "<a/>".repeat(children) + "<last>" + &declarations + "</last>";
            let [_, dropped] = cost(&message(&inside));
            assert_eq!((dropped.count_current, dropped.count_total), (-2, 0), "{children} children, {prefixes} prefixes");
        }
    }
}

#[test]
fn what_has_no_room_in_a_frame_is_read_as_what_has() {
    let child = |n: usize| {
        format!(
            "<q{n}:c xmlns:q{n}='urn:q:{n}' xmlns='urn:d:{n}' xml:lang='l{n}' a='{n}'><q{n}:in/><in q{n}:b='{n}'/>t{n}</q{n}:c>"
        )
    };
    let inside: String = (0..200).map(child).collect();
    let frame = Frame::parse(&format!("<message xmlns='jabber:client' xmlns:o='urn:o'>{inside}<o:end/></message>")).expect("XML");
    assert_eq!(frame.children().count(), 201);
    for (n, child) in frame.children().take(200).enumerate() {
        let (q, d) = (format!("urn:q:{n}"), format!("urn:d:{n}"));
        assert!(child.is(&q, "c") && child.child(&q, "in").is_some(), "{n}");
        assert_eq!((child.lang().as_deref(), child.text().as_ref()), (Some(format!("l{n}").as_str()), format!("t{n}").as_str()));
        assert_eq!(child.child(&d, "in").and_then(|inner| inner.attr_ns(&q, "b")).as_deref(), Some(n.to_string().as_str()));
        let alone = Frame::parse(&child.to_standalone_xml()).expect("XML");
        assert!(
            alone.is(&q, "c") && alone.child(&d, "in").is_some() && alone.attr("a").as_deref() == Some(&*n.to_string()),
            "{n}"
        );
    }
    assert!(frame.child("urn:o", "end").is_some() && frame.byte_len() == frame.to_standalone_xml().len());
}
