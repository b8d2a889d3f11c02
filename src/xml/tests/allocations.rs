//! What a frame costs in memory: allocations, counted.

use allocation_counter::{AllocationInfo, measure};

use super::corpus::HEADER;
use crate::xml::{Frame, Framer, Limits, StreamItem};

/// What it takes to make each of these frames of this element, after one that is kept: the framer's buffers have grown by then. And what
/// they give back when they are dropped together. On a thread of its own, which has no memory of frames that are gone.
fn costs(element: &str, frames: usize) -> (Vec<AllocationInfo>, AllocationInfo) {
    let run = || {
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
            (made, frame)
        };
        let _kept = take();
        let (made, taken): (Vec<_>, Vec<_>) = (0..frames).map(|_| take()).unzip();
        (made, measure(|| drop(taken)))
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
}

fn cost(element: &str) -> [AllocationInfo; 2] {
    let (made, dropped) = costs(element, 1);
    [made[0], dropped]
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
            // So large that its memory is not kept for another.
            let inside = "<a/>".repeat(children) + "<last>" + &declarations + &"x".repeat(5_000) + "</last>";
            let (_, dropped) = costs(&message(&inside), 1);
            // And the vector that the test had them in.
            assert_eq!((dropped.count_current, dropped.count_total), (-3, 0), "{children} children, {prefixes} prefixes");
        }
    }
}

#[test]
fn a_frame_takes_the_memory_of_one_that_is_gone_and_has_nothing_of_it() {
    let run = || {
        // From large to small and back, with and without what has no room in a frame, prefixes, a language, a sender.
        let inside = |n: usize| match n % 5 {
            0 => "<a/>".repeat(n % 40),
            1 => "<x xmlns:p='urn:p' xmlns:q='urn:q'><p:y/></x>".repeat(n % 7),
            2 => "x".repeat(n * 37 % 3_000),
            3 => "<body xml:lang='de'>a</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>".to_owned(),
            _ => String::new(),
        };
        let element = |n: usize| match n % 3 {
            0 => format!("<presence from='juliet{n}@example.org/a' xml:lang='en'>{}</presence>", inside(n)),
            1 => message(&inside(n)),
            _ => format!("<iq xmlns:o='urn:o' id='{n}'>{}<o:z/></iq>", inside(n)),
        };
        let mut framer = Framer::new(Limits::default());
        framer.push(HEADER.as_bytes());
        assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
        let mut take = |n: usize| {
            framer.push(element(n).as_bytes());
            match framer.next_item() {
                Ok(Some(StreamItem::Element(frame))) => frame,
                other => panic!("{other:?}"),
            }
        };
        let mut kept = Vec::new();
        for n in 0..2_000 {
            let frame = take(n);
            let from = frame.stanza().expect("a stanza").from_jid().map(ToString::to_string);
            assert_eq!(from, frame.attr("from").map(|from| from.into_owned()), "{n}");
            if n % 11 == 0 {
                kept.push((n, frame));
            }
        }
        // What is kept has not changed, and is what it is in memory of its own.
        for (n, frame) in kept {
            let fresh = std::thread::scope(|scope| {
                let read = || {
                    let mut framer = Framer::new(Limits::default());
                    framer.push([HEADER, &element(n)].concat().as_bytes());
                    framer.next_item().expect("a header");
                    framer.next_item().expect("an element")
                };
                scope.spawn(read).join().expect("no panic")
            });
            assert!(matches!(fresh, Some(StreamItem::Element(fresh)) if fresh.same_as(&frame)), "{n}");
        }
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"));
}

#[test]
fn what_a_thread_keeps_of_frames_that_are_gone_is_bounded() {
    const KEPT: i64 = 24;
    let element = message("<body>But soft</body>");
    let (made, dropped) = costs(&element, 100);
    assert!(made.iter().all(|made| made.count_total == 2));
    // But for those kept, all give both back, and the vector of the test; what is kept stands in one.
    assert_eq!(dropped.count_current, -2 * (100 - KEPT) - 1 + 1);
    let again = || {
        let frame = || Frame::parse("<message xmlns='jabber:client'/>").expect("XML");
        drop(frame());
        measure(|| drop(frame())).count_total
    };
    let counted = std::thread::scope(|scope| scope.spawn(again).join().expect("no panic"));
    let alone = std::thread::scope(|scope| {
        let run = || {
            let kept = Frame::parse("<message xmlns='jabber:client'/>").expect("XML");
            let counted = measure(|| drop(Frame::parse("<message xmlns='jabber:client'/>").expect("XML"))).count_total;
            drop(kept);
            counted
        };
        scope.spawn(run).join().expect("no panic")
    });
    // The scanner's, without the two of a frame, and without the vector of what is kept.
    assert_eq!(counted + 3, alone);
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
