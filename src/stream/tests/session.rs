//! A session: what comes in, its numbers, and what is refused.

use super::support::*;
use crate::stream::{Event, Input, Output};

#[test]
fn every_stanza_is_numbered_replies_included() {
    let mut bench = Bench::online();
    bench.input(Input::Request { token: 1, stanza: iq("<iq type='get' id='a'><p xmlns='q'/></iq>"), timeout: None });
    bench.feed(
        "<message/><presence/><iq type='result' id='a'/><iq type='result' id='nobody'/><r xmlns='urn:xmpp:sm:3'/><message/>",
    );
    let lines = bench.lines();
    let starts: Vec<_> = lines.iter().map(|l| l.split(" <").next().unwrap()).collect();
    assert_eq!(starts, ["inbound 1", "inbound 2", "reply 1", "nonza", "inbound 5"], "{lines:?}");
}

#[test]
fn handled_counts_the_longest_prefix_taken_over() {
    let mut bench = Bench::online();
    bench.feed("<message/><message/><iq type='result' id='x'/><message/>");
    assert_eq!((bench.core.handled(), bench.core.lag()), (0, 4));
    bench.input(Input::TakenOver(2));
    assert_eq!(bench.core.handled(), 0);
    bench.input(Input::TakenOver(1));
    assert_eq!(bench.core.handled(), 3, "the ignored reply was the core's own to take over");
    bench.input(Input::TakenOver(17));
    bench.input(Input::TakenOver(4));
    assert_eq!((bench.core.handled(), bench.core.lag()), (4, 0));
}

/// RFC 6120 §8.2.3: what is no IQ, and how it is answered.
#[test]
fn broken_requests_are_refused_and_replies_never() {
    let error = |rest: &str| {
        format!(
            "<iq type='error' id='1'{rest}><error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
    };
    let to_romeo = error(" to='romeo@example.net/x'");
    let rows = [
        ("<iq type='get' id='1' from='romeo@example.net/x'/>", to_romeo.clone()),
        ("<iq type='set' id='1' from='romeo@example.net/x'><a xmlns='b'/><c xmlns='d'/></iq>", to_romeo.clone()),
        ("<iq id='1' from='romeo@example.net/x'><a xmlns='b'/></iq>", to_romeo.clone()),
        ("<iq type='chat' id='1' from='romeo@example.net/x'><a xmlns='b'/></iq>", to_romeo),
        ("<iq type='get' id='1'/>", error("")),
        ("<iq type='get' from='romeo@example.net/x'><a xmlns='b'/></iq>", String::new()),
        ("<iq/>", String::new()),
        ("<iq type='result' id='1' from='romeo@example.net/x'/>", String::new()),
        ("<iq type='error' id='1' from='romeo@example.net/x'><a xmlns='b'/><c xmlns='d'/></iq>", String::new()),
    ];
    for (broken, answer) in rows {
        let mut bench = Bench::online();
        bench.feed(broken);
        assert!(bench.lines().is_empty(), "{broken}: nothing for the application");
        assert_eq!(bench.core.handled(), 1, "{broken}: it is numbered, and done with");
        let said = bench.written().replace('"', "'");
        assert_eq!(said.is_empty(), answer.is_empty(), "{broken}: {said}");
        if !answer.is_empty() {
            for part in ["type='error'", "id='1'", "<error type='modify'><bad-request "] {
                assert!(said.contains(part), "{broken}: {said}");
            }
            assert_eq!(said.contains("to='romeo@example.net/x'"), answer.contains("to="), "{broken}: {said}");
        }
    }
}

#[test]
fn an_answer_to_a_broken_request_cannot_be_used_to_inject() {
    let mut bench = Bench::online();
    bench.feed("<iq type='get' id='&apos;/&gt;&lt;message/&gt;&quot;' from='a&amp;b@x'/>");
    let said = bench.written();
    assert!(!said.contains("<message"), "{said}");
    assert!(said.contains("a&amp;b@x"), "{said}");
}

#[test]
fn good_requests_go_to_the_application() {
    let mut bench = Bench::online();
    bench.feed("<iq type='get' id='1' from='romeo@example.net/x'> <ping xmlns='urn:xmpp:ping'/> </iq>");
    assert!(matches!(&bench.out[..], [Output::Event(Event::Inbound { seq: 1, stanza })] if stanza.id().as_deref() == Some("1")));
    assert_eq!(bench.written(), "");
}

#[test]
fn stanzas_go_out_in_order_and_together() {
    let mut bench = Bench::online();
    for n in 0..3 {
        let stanza = iq(&format!("<iq type='result' id='{n}'/>"));
        bench.core.handle(Input::Send { token: n, stanza }, bench.now);
    }
    let mut out = Vec::new();
    assert!(bench.core.take_transmit(&mut out));
    let text = String::from_utf8(out).unwrap().replace('"', "'");
    let ids: Vec<_> = text.split("<iq").skip(1).map(|s| attribute(s, "id")).collect();
    assert_eq!(ids, ["0", "1", "2"], "{text}");
    assert!(!bench.core.take_transmit(&mut Vec::new()));
}

#[test]
fn transmitted_bytes_are_appended_to_what_the_driver_has() {
    let mut bench = Bench::online();
    bench.core.handle(Input::KeepAlive, bench.now);
    let mut out = b"before".to_vec();
    assert!(bench.core.take_transmit(&mut out));
    assert_eq!(out, b"before ");
}

#[test]
fn a_flood_is_handed_out_one_by_one() {
    // The core must not keep a thousand decoded events where one buffer of bytes will do.
    let mut bench = Bench::online();
    let flood = "<message from='romeo@example.net'><body>hi</body></message>".repeat(1000);
    bench.core.handle(Input::Bytes(flood.as_bytes()), bench.now);
    for n in 1..=1000 {
        assert!(bench.core.queued_outputs() <= 1);
        assert!(matches!(bench.core.poll_output(), Some(Output::Event(Event::Inbound { seq, .. })) if seq == n));
        bench.core.handle(Input::TakenOver(n), bench.now);
        bench.core.handle(Input::Send { token: n, stanza: iq("<iq type='result' id='x'/>") }, bench.now);
    }
    assert!(bench.core.poll_output().is_none());
}

#[test]
fn other_inputs_come_after_what_was_read_before_them() {
    let mut bench = Bench::online();
    bench.input(Input::Request { token: 1, stanza: iq("<iq type='get' id='a'><p xmlns='q'/></iq>"), timeout: None });
    bench.core.handle(Input::Bytes(b"<iq type='result' id='a'/><message/>"), bench.now);
    bench.input(Input::Eof);
    let lines = bench.lines();
    assert!(lines[0].starts_with("reply 1 <iq") && lines[1].starts_with("inbound 2"), "{lines:?}");
    assert_eq!(lines.len(), 3);
}
