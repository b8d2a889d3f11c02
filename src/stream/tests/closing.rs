//! The close handshake (RFC 6120 §4.4), both ways, and what becomes of requests.

use std::time::Duration;

use super::support::*;
use crate::error::{ErrorKind, Phase, StreamError};
use crate::stream::{Ended, Framing, Input, Output, SeeOther};

fn request(token: u64, id: &str) -> Input<'static> {
    let stanza = iq(&format!("<iq type='get' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>"));
    Input::Request { token, stanza, timeout: None }
}

#[test]
fn closing_waits_for_the_server_and_still_hears_it() {
    let mut bench = Bench::online();
    bench.input(request(1, "a"));
    bench.input(request(2, "b"));
    bench.written();
    bench.input(Input::Close);
    assert_eq!(bench.written(), "</stream:stream>");
    bench.feed("<message from='romeo@example.net'><body>wait</body></message><iq type='result' id='a'/><unknown xmlns='x'/>");
    bench.input(Input::TakenOver(1));
    assert_eq!(bench.core.handled(), 2, "what comes late is taken over as well");
    bench.feed("<iq type='get' from='romeo@example.net' id='q'/>");
    assert_eq!(bench.written(), "", "our side is closed: nothing is answered");
    bench.feed("</stream:stream>");
    let lines = bench.lines();
    assert!(lines[0].starts_with("inbound 1 "), "{lines:?}");
    assert!(lines[1].starts_with("reply 1 <iq"), "{lines:?}");
    assert_eq!(lines[2..], ["reply 2 SessionLost { sent: true }", "closed"]);
    assert_eq!(bench.written(), "");
}

#[test]
fn the_server_may_close_first() {
    let mut bench = Bench::online();
    bench.input(request(1, "a"));
    bench.written();
    bench.feed("</stream:stream>");
    assert_eq!(bench.written(), "</stream:stream>");
    assert_eq!(bench.failure(), ErrorKind::Closed(Phase::Session));
    assert_eq!(bench.lines(), ["reply 1 SessionLost { sent: true }"]);
}

#[test]
fn a_stream_error_while_closing_is_reported() {
    let mut bench = Bench::online();
    bench.input(Input::Close);
    bench.feed(&stream_error("conflict"));
    assert_eq!(bench.failure(), ErrorKind::Stream(StreamError::new("conflict", None)));
    assert_eq!(bench.written(), "</stream:stream>", "closed once");
}

#[test]
fn requests_that_were_never_written_are_told_apart() {
    let mut bench = Bench::online();
    bench.input(request(1, "a"));
    bench.core.handle(request(2, "b"), bench.now);
    // The driver has not taken the second one when the connection breaks.
    bench.input(Input::Eof);
    assert_eq!(bench.failure(), ErrorKind::Closed(Phase::Session));
    assert_eq!(bench.lines(), ["reply 1 SessionLost { sent: true }", "reply 2 SessionLost { sent: false }"]);
    assert!(!bench.written().contains("id='b'"));
}

#[test]
fn requests_outside_a_session_are_refused_at_once() {
    let mut bench = Bench::new(config());
    bench.input(request(1, "a"));
    bench.start();
    bench.input(request(2, "b"));
    bench.input(Input::Send { token: 3, stanza: iq("<iq type='result' id='c'/>") });
    assert_eq!(bench.lines(), ["reply 1 NotOnline", "reply 2 NotOnline", "not sent 3"]);
    let mut bench = Bench::online();
    bench.input(Input::Close);
    bench.input(request(4, "d"));
    assert_eq!(bench.lines(), ["reply 4 SessionLost { sent: false }"]);
    bench.feed("</stream:stream>");
    bench.out.clear();
    bench.input(request(5, "e"));
    assert_eq!(bench.lines(), ["reply 5 NotOnline"], "nobody waits for ever");
}

#[test]
fn closing_before_the_start_and_twice() {
    let mut bench = Bench::new(config());
    bench.input(Input::Close);
    assert!(matches!(bench.ended(), Ended::Clean));
    bench.start();
    bench.input(Input::Close);
    bench.input(Input::Eof);
    bench.feed("<stream");
    assert_eq!((bench.written(), bench.lines()), (String::new(), vec![]), "nothing comes after the end");
}

#[test]
fn what_arrives_after_the_end_is_not_looked_at() {
    let mut bench = Bench::online();
    bench.feed(&format!("{}<message/><iq/>", stream_error("reset")));
    assert_eq!(bench.lines(), ["closed: Stream(StreamError { condition: \"reset\", text: None })"]);
    bench.feed("<message/>");
    bench.after(Duration::from_secs(1000));
    assert!(bench.lines().is_empty());
}

#[test]
fn a_websocket_server_may_close_with_another_address() {
    let mut bench = Bench::new(with(|c| {
        direct_tls(c);
        c.framing = Framing::WebSocket;
    }));
    bench.start();
    bench.feed("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' see-other-uri='wss://other.example/ws'/>");
    match bench.ended() {
        Ended::SeeOther(SeeOther::Uri(uri)) => assert_eq!(uri, "wss://other.example/ws"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.sent.last().unwrap(), "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
}

#[test]
fn every_end_is_said_exactly_once() {
    let ends: [fn(&mut Bench); 4] =
        [|b| b.input(Input::Eof), |b| b.feed("</stream:stream>"), |b| b.feed("<a></b>"), |b| b.feed(&stream_error("reset"))];
    for first in ends {
        for second in ends {
            let mut bench = Bench::online();
            first(&mut bench);
            second(&mut bench);
            let closed = bench.out.iter().filter(|o| matches!(o, Output::Closed(_))).count();
            assert_eq!(closed, 1);
            assert!(bench.written().matches("</stream:stream>").count() <= 1);
        }
    }
}
