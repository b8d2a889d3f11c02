//! What a frame costs in memory: allocations, counted.

use allocation_counter::{AllocationInfo, measure};

use super::corpus::HEADER;
use crate::xml::{Framer, Limits, StreamItem};

/// What it takes to make a frame of this element, once the framer has seen one like it: its buffers have grown by then.
fn cost(element: &str) -> AllocationInfo {
    let mut framer = Framer::new(Limits::default());
    framer.push(HEADER.as_bytes());
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    let mut take = || {
        framer.push(element.as_bytes());
        let mut frame = None;
        let info = measure(|| frame = framer.next_item().expect("XML"));
        assert!(matches!(frame, Some(StreamItem::Element(_))), "{element}");
        info
    };
    take();
    take()
}

fn message(inside: &str) -> String {
    format!("<message from='romeo@example.org/a' to='juliet@example.org' id='1' type='chat'>{inside}</message>")
}

#[test]
fn a_frame_is_two_allocations_its_text_and_the_rest() {
    let text = "<body>But soft, what light through yonder window breaks?</body>";
    for inside in [
        "".to_owned(),
        text.to_owned(),
        format!("{text}<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>"),
        format!("<a>{}</a>", "<b c='d'><e/></b>".repeat(100)),
        "<x xmlns:p='urn:p'><p:y/></x>".to_owned(),
        "<a/>".repeat(8),
        "x".repeat(100_000),
    ] {
        assert_eq!(cost(&message(&inside)).count_total, 2, "{inside:.100}");
    }
}

#[test]
fn more_than_eight_children_and_more_than_one_prefix_are_an_allocation_each() {
    assert_eq!(cost(&message(&"<a/>".repeat(9))).count_total, 3);
    assert_eq!(cost(&message(&"<a/>".repeat(16))).count_total, 3);
    let prefixes = "<x xmlns:p='urn:p' xmlns:q='urn:q'/>";
    assert_eq!(cost(&message(prefixes)).count_total, 3);
    assert_eq!(cost(&message(&prefixes.repeat(9))).count_total, 4);
}
