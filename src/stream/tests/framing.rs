//! The seam between framing and core (R28): the same core over a byte stream and over messages by RFC 7395.

use super::support::*;
use crate::error::{ErrorKind, Phase, ProtocolError};
use crate::stream::{CoreConfig, Framing, Input};
use crate::xml::{Frame, OutStanza};

fn over(framing: Framing) -> CoreConfig {
    with(|c| {
        direct_tls(c);
        c.framing = framing;
    })
}

/// In an RFC 7395 message the prefix `stream` and the content namespace are declared where they are used.
fn framed(framing: Framing, xml: &str) -> String {
    match framing {
        Framing::WebSocket => xml
            .replacen("<iq ", "<iq xmlns='jabber:client' ", 1)
            .replacen("<stream:error>", "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>", 1)
            .replacen("</stream:stream>", "", 1),
        _ => xml.to_owned(),
    }
}

#[test]
fn both_framings_give_the_same_outputs_whatever_the_server_does() {
    let rows: Vec<(&str, Option<(Moment, String)>)> = vec![
        ("a login", None),
        ("forged success", Some((Moment::Auth, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned()))),
        ("forged signature", Some((Moment::Response, sasl("success", "v=Zm9yZ2Vk")))),
        ("wrong password", Some((Moment::Response, sasl_failure("not-authorized")))),
        ("later, please", Some((Moment::Auth, sasl_failure("temporary-auth-failure")))),
        ("no base64", Some((Moment::Auth, "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%</challenge>".to_owned()))),
        ("a stream error", Some((Moment::Auth, stream_error("system-shutdown")))),
        ("another address", Some((Moment::Bind, bound("bind-1").replace(FULL, "x@y/z")))),
        ("no address", Some((Moment::Bind, "<iq type='result' id='bind-1'/>".to_owned()))),
        ("out of order", Some((Moment::Bind, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned()))),
        (
            "a refused binding",
            Some((
                Moment::Bind,
                "<iq type='error' id='bind-1'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
                    .to_owned(),
            )),
        ),
        ("no XML", Some((Moment::Auth, "<a></b>".to_owned()))),
    ];
    for (name, twist) in rows {
        let run = |framing| {
            let mut server = Server::new(framing);
            if let Some((moment, text)) = &twist {
                server = server.instead(*moment, framed(framing, text));
            }
            let mut bench = Bench::log_in(over(framing), &mut server);
            if bench.core.is_bound() {
                bench.feed(&framed(framing, "<iq type='get' from='romeo@example.net' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"));
                bench.feed(&framed(framing, "<iq type='set' from='romeo@example.net' id='2'/>"));
                bench.input(Input::Request { token: 1, stanza: iq("<iq type='get' id='a'><p xmlns='q'/></iq>"), timeout: None });
                bench.feed(&framed(framing, "<iq type='result' id='a'><p xmlns='q'/></iq>"));
                bench.sent.clear();
                bench.input(Input::Close);
                bench.talk(&mut server);
            }
            bench.lines()
        };
        let (tcp, messages) = (run(Framing::Tcp), run(Framing::WebSocket));
        assert_eq!(tcp, messages, "{name}");
        assert!(tcp.last().unwrap().starts_with("closed"), "{name}: {tcp:?}");
    }
}

#[test]
fn every_message_is_one_document_of_its_own() {
    let mut server = Server::new(Framing::WebSocket);
    let mut bench = Bench::log_in(over(Framing::WebSocket), &mut server);
    assert!(bench.core.is_bound(), "{:?}", bench.lines());
    bench.input(Input::KeepAlive);
    let message = OutStanza::from_xml("<message xmlns='jabber:client' to='romeo@example.net'><body>hi</body></message>").unwrap();
    bench.core.handle(Input::Send { token: 1, stanza: message }, bench.now);
    bench.core.handle(Input::Send { token: 2, stanza: iq("<iq type='result' id='x'/>") }, bench.now);
    bench.feed("<iq xmlns='jabber:client' type='get' id='1' from='x@y'/>");
    bench.input(Input::Close);
    assert_eq!(bench.sent.len(), 9, "{:?}", bench.sent);
    for message in &bench.sent {
        assert!(message.starts_with('<'), "{message}");
        let frame = Frame::parse(message).unwrap_or_else(|e| panic!("{message}: {e}"));
        assert_ne!(frame.ns(), "", "{message}");
        if ["iq", "message"].contains(&frame.name()) {
            assert_eq!(frame.ns(), "jabber:client", "{message}");
        }
    }
    let names: Vec<_> = bench.sent.iter().map(|m| Frame::parse(m).unwrap().name().to_owned()).collect();
    assert_eq!(names, ["open", "auth", "response", "open", "iq", "message", "iq", "iq", "close"]);
}

#[test]
fn messages_that_break_the_framing_are_refused() {
    use ProtocolError::*;
    let rows = [
        ("whitespace first", " <message xmlns='jabber:client'/>", NotWellFormed),
        ("nothing", "", NotWellFormed),
        ("two elements", "<message xmlns='jabber:client'/><message xmlns='jabber:client'/>", NotWellFormed),
        ("half an element", "<message xmlns='jabber:client'>", NotWellFormed),
        ("a comment", "<!-- x --><message xmlns='jabber:client'/>", RestrictedXml),
        ("an opening of something else", "<open xmlns='urn:other'/>", InvalidNamespace),
        ("a closing of something else", "<close/>", InvalidNamespace),
        ("a second opening", "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>", Unexpected(Phase::Session)),
    ];
    for (name, message, expected) in rows {
        let mut bench = Bench::log_in(over(Framing::WebSocket), &mut Server::new(Framing::WebSocket));
        bench.sent.clear();
        bench.feed(message);
        assert_eq!(bench.failure(), ErrorKind::Protocol(expected), "{name}");
        assert_eq!(bench.sent.len(), 2, "{name}: a stream error, and the closing");
        assert!(Frame::parse(&bench.sent[0]).unwrap().is("http://etherx.jabber.org/streams", "error"), "{name}");
    }
    let mut bench = Bench::log_in(over(Framing::WebSocket), &mut Server::new(Framing::WebSocket));
    bench.input(Input::Bytes(b"<message xmlns='jabber:client'>\xff</message>"));
    assert_eq!(bench.failure(), ErrorKind::Protocol(NotWellFormed));
}

#[test]
fn a_limit_holds_for_messages_too() {
    let mut config = over(Framing::WebSocket);
    config.limits.max_stanza_bytes = 1000;
    let mut bench = Bench::log_in(config, &mut Server::new(Framing::WebSocket));
    bench.feed(&format!("<message xmlns='jabber:client'><body>{}</body></message>", "x".repeat(1000)));
    assert_eq!(bench.failure(), ErrorKind::Protocol(ProtocolError::LimitExceeded));
}

#[test]
fn starttls_is_ignored_where_the_transport_has_its_own() {
    // RFC 7395 §3.9, and a server that goes on announcing it on direct TLS.
    for framing in [Framing::WebSocket, Framing::Tcp] {
        let mut server = Server::new(framing);
        server.secured = format!("{STARTTLS}{SCRAM}");
        server.plain = server.secured.clone();
        let mut bench = Bench::log_in(over(framing), &mut server);
        assert!(bench.core.is_bound(), "{:?}", bench.lines());
        assert!(!bench.written().contains("starttls"));
    }
}

#[test]
fn whitespace_keeps_a_byte_stream_alive_and_is_ignored_on_it() {
    let mut bench = Bench::online();
    bench.input(Input::KeepAlive);
    assert_eq!(bench.written(), " ");
    bench.feed(" \n ");
    bench.feed("<message/>");
    assert_eq!(bench.lines().len(), 1);
}
