//! The phase before authentication (R47).

use super::support::*;
use crate::error::{ErrorKind, Phase, ProtocolError};
use crate::stream::{Answer, Ask, AskId, BeforeAuth, Framing, Output};

const GET: &str = "<iq type='get' id='reg1'><query xmlns='jabber:iq:register'/></iq>";
const SET: &str = "<iq type='set' id='reg2'><query xmlns='jabber:iq:register'><username>juliet</username></query></iq>";

fn registering() -> Bench {
    let mut bench = Bench::new(with(|c| c.before_auth = true));
    bench.start();
    let mut server = Server::new(Framing::Tcp);
    bench.talk(&mut server);
    bench.written();
    bench
}

/// The question that is open, which must be the last thing that came out.
fn question(bench: &mut Bench) -> (AskId, BeforeAuth) {
    match bench.out.pop() {
        Some(Output::Ask(id, Ask::BeforeAuth(question))) => (id, question),
        other => panic!("{:?} in {:?}", other.as_ref().map(describe), bench.core.phase()),
    }
}

#[test]
fn requests_pass_inside_tls_and_the_login_follows_on_the_same_stream() {
    let mut bench = registering();
    let (id, BeforeAuth::Ready { features }) = question(&mut bench) else { panic!() };
    assert!(features.child("urn:ietf:params:xml:ns:xmpp-sasl", "mechanisms").is_some());
    assert_eq!(bench.lines(), ["start tls", "secured"]);

    bench.answer(id, Answer::Iq(iq(GET)));
    assert!(bench.written().contains("jabber:iq:register"));
    bench.feed("<iq type='result' id='reg1'><query xmlns='jabber:iq:register'><username/></query></iq>");
    let (id, BeforeAuth::Reply { stanza }) = question(&mut bench) else { panic!() };
    assert!(stanza.child("jabber:iq:register", "query").is_some());

    bench.answer(id, Answer::Iq(iq(SET)));
    bench.written();
    bench.feed(&format!("<iq type='error' id='reg2' from='{DOMAIN}'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"));
    let (id, BeforeAuth::Reply { stanza }) = question(&mut bench) else { panic!() };
    assert_eq!(stanza.stanza_type().as_deref(), Some("error"), "errors are the application's to judge");

    bench.answer(id, Answer::Authenticate);
    let mut server = Server::new(Framing::Tcp);
    server.secured = SCRAM.to_owned();
    bench.talk(&mut server);
    assert!(bench.core.is_bound(), "{:?}", bench.lines());
    assert!(!bench.written().contains(" from="), "the account is never named in a header");
}

#[test]
fn the_application_may_give_up() {
    let mut bench = registering();
    let (id, _) = question(&mut bench);
    bench.answer(id, Answer::Abort);
    assert_eq!(bench.written(), "</stream:stream>");
    bench.out.clear();
    bench.feed("</stream:stream>");
    assert_eq!(bench.lines(), ["closed"]);
}

#[test]
fn only_the_server_answers_and_only_what_was_asked() {
    let mut bench = registering();
    let (id, _) = question(&mut bench);
    bench.answer(id, Answer::Iq(iq(GET)));
    for ignored in [
        "<iq type='result' id='other'/>",
        "<iq type='result' id='reg1' from='evil.example'/>",
        "<iq type='result' id='reg1' from='juliet@im.example.com'/>",
    ] {
        bench.feed(ignored);
        assert!(matches!(bench.out.last(), None | Some(Output::Event(_)) | Some(Output::StartTls)), "{ignored}");
        assert_eq!(bench.core.phase(), Phase::Register);
    }
    bench.feed("<message/>");
    assert_eq!(bench.failure(), ErrorKind::Protocol(ProtocolError::Unexpected(Phase::Register)));
}

#[test]
fn answers_that_make_no_sense_end_the_stream() {
    let answers: [fn() -> Answer; 4] = [
        || Answer::Iq(iq("<iq type='result' id='x'/>")),
        || Answer::Iq(iq("<iq type='get'><query xmlns='jabber:iq:register'/></iq>")),
        || Answer::Random(Vec::new()),
        || Answer::Iq(crate::xml::OutStanza::from_xml("<message xmlns='jabber:client' id='x'/>").unwrap()),
    ];
    for answer in answers {
        let mut bench = registering();
        let (id, _) = question(&mut bench);
        bench.answer(id, answer());
        assert_eq!(bench.failure(), ErrorKind::Other);
    }
}

#[test]
fn an_answer_to_an_old_question_is_ignored() {
    let mut bench = registering();
    let (old, _) = question(&mut bench);
    bench.answer(old, Answer::Iq(iq(GET)));
    bench.written();
    bench.answer(old, Answer::Abort);
    assert_eq!(bench.written(), "");
    assert_eq!(bench.core.phase(), Phase::Register);
}
