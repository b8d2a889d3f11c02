//! Stream management (XEP-0198): counting, acknowledging, resuming, and what a lost session leaves.

use std::time::Duration;

use super::support::*;
use crate::error::{ErrorKind, Phase};
use crate::stream::{CoreConfig, Ended, Framing, Input, Resumption, StreamCore, Suspended};
use crate::xml::OutStanza;

const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";
const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3' id='s1' resume='true' max='600'/>";

fn server() -> Server {
    let mut server = Server::new(Framing::Tcp);
    server.authenticated.push_str(SM);
    server
}

/// A managed session; nothing is left to look at.
fn managed_with(change: impl FnOnce(&mut CoreConfig)) -> Bench {
    let mut bench = Bench::log_in(
        with(|config| {
            direct_tls(config);
            change(config);
        }),
        &mut server(),
    );
    assert!(bench.sent.concat().ends_with("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"), "{:?}", bench.sent);
    bench.feed(ENABLED);
    assert_eq!(bench.lines().last().map(String::as_str), Some("managed, resumable by s1"));
    bench.sent.clear();
    bench
}

fn managed() -> Bench {
    managed_with(|_| ())
}

fn message(text: &str) -> OutStanza {
    OutStanza::from_xml(&format!("<message xmlns='jabber:client' to='r@x'><body>{text}</body></message>")).unwrap()
}

fn send(bench: &mut Bench, token: u64) {
    bench.input(Input::Send { token, stanza: message(&token.to_string()) });
}

/// Bodies of the messages written since this was asked last.
fn bodies(bench: &mut Bench) -> Vec<u64> {
    let written = bench.written();
    written.split("<body>").skip(1).map(|rest| rest.split('<').next().unwrap().parse().unwrap()).collect()
}

fn cut(bench: &mut Bench) -> Suspended {
    bench.input(Input::Eof);
    assert!(matches!(bench.ended(), Ended::Failed(error) if *error.kind() == ErrorKind::Closed(Phase::Session)));
    bench.out.clear();
    bench.core.suspend().expect("a session that can be resumed")
}

/// A new connection on which the session is asked for, up to the server's answer.
fn reconnect(suspended: Suspended, old: &Bench, change: impl FnOnce(&mut CoreConfig)) -> Bench {
    let mut config = with(direct_tls);
    change(&mut config);
    let mut bench = Bench::around(StreamCore::resuming(config.clone(), suspended, old.now).unwrap(), old.now, &config);
    bench.start();
    bench.talk(&mut server());
    bench.out.clear();
    bench
}

fn resume(suspended: Suspended, old: &Bench, resumed: &str) -> Bench {
    let mut bench = reconnect(suspended, old, |_| ());
    bench.sent.clear();
    bench.feed(resumed);
    bench
}

#[test]
fn messages_are_acknowledged_by_the_servers_count() {
    let mut bench = managed();
    send(&mut bench, 7);
    send(&mut bench, 8);
    let written = bench.written();
    assert_eq!(written.matches("<r xmlns='urn:xmpp:sm:3'/>").count(), 1, "one question at a time: {written}");
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    assert_eq!(bench.lines(), ["acked [7]"]);
    assert_eq!(bench.written(), "<r xmlns='urn:xmpp:sm:3'/>", "8 was written behind the first question");
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    assert_eq!((bench.lines(), bench.core.unacknowledged()), (vec!["acked [8]".to_owned()], 0));
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='2'/><a xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='x'/>");
    assert_eq!(bench.written(), "", "nothing is left to ask about");
}

#[test]
fn what_is_no_message_is_asked_about_after_a_while_or_in_number() {
    let presence = || OutStanza::from_xml("<presence xmlns='jabber:client'/>").unwrap();
    let mut bench = managed();
    bench.input(Input::Send { token: 0, stanza: presence() });
    assert_eq!(bench.written(), "<presence/>");
    bench.after(Duration::from_secs(10));
    assert_eq!(bench.written(), "<r xmlns='urn:xmpp:sm:3'/>");
    let mut bench = managed();
    for _ in 0..20 {
        bench.input(Input::Send { token: 0, stanza: presence() });
    }
    assert_eq!(bench.written().matches("<r ").count(), 1);
}

#[test]
fn a_count_that_is_too_high_ends_the_stream_with_what_it_was() {
    let mut bench = managed();
    send(&mut bench, 1);
    bench.sent.clear();
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    let written = bench.written();
    assert!(written.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/>"), "{written}");
    assert!(written.ends_with("</stream:stream>"), "{written}");
    assert!(matches!(bench.failure(), ErrorKind::Protocol(_)));
}

#[test]
fn an_acknowledgement_that_does_not_come_ends_the_stream_although_other_things_come() {
    let mut bench = managed();
    send(&mut bench, 1);
    for _ in 0..11 {
        bench.after(Duration::from_secs(5));
        bench.feed("<message/>");
    }
    assert!(bench.core.is_bound());
    bench.after(Duration::from_secs(5));
    assert_eq!(bench.failure(), ErrorKind::Timeout(Phase::Session));
}

#[test]
fn the_server_is_answered_at_once_and_told_again_when_more_was_taken_over() {
    let mut bench = managed();
    bench.feed("<message/><message/><r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(bench.written(), "<a xmlns='urn:xmpp:sm:3' h='0'/>");
    assert!(bench.core.owes_ack());
    bench.input(Input::TakenOver(2));
    assert_eq!(bench.written(), "");
    bench.input(Input::TakenOver(3));
    bench.input(Input::TakenOver(1));
    assert_eq!((bench.written().as_str(), bench.core.owes_ack()), ("<a xmlns='urn:xmpp:sm:3' h='2'/>", false));
}

#[test]
fn the_server_is_told_in_time_without_asking_and_before_the_end() {
    let mut bench = managed();
    bench.feed(&"<message/>".repeat(120));
    (1..=120).for_each(|seq| bench.input(Input::TakenOver(seq)));
    assert_eq!(bench.written(), "<a xmlns='urn:xmpp:sm:3' h='50'/><a xmlns='urn:xmpp:sm:3' h='100'/>");
    bench.input(Input::Close);
    assert_eq!(bench.written(), "<a xmlns='urn:xmpp:sm:3' h='120'/></stream:stream>");
    bench.feed("</stream:stream>");
    assert!(matches!(bench.ended(), Ended::Clean));
    assert!(bench.core.suspend().is_none(), "what was closed cannot be resumed");
}

#[test]
fn stanzas_before_the_stream_is_managed_do_not_count() {
    let mut bench = Bench::log_in(with(direct_tls), &mut server());
    bench.sent.clear();
    bench.feed(&format!("<message/>{ENABLED}<message/><r xmlns='urn:xmpp:sm:3'/>"));
    bench.sent.clear();
    bench.input(Input::TakenOver(1));
    assert_eq!(bench.written(), "");
    bench.input(Input::TakenOver(2));
    assert_eq!(bench.written(), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
}

#[test]
fn a_server_that_refuses_or_says_nothing() {
    let mut bench = Bench::log_in(with(direct_tls), &mut server());
    assert_eq!(bench.core.is_managed(), None);
    bench.out.clear();
    bench.feed("<failed xmlns='urn:xmpp:sm:3'/>");
    assert_eq!((bench.lines(), bench.core.is_managed()), (vec!["not managed".to_owned()], Some(false)));
    send(&mut bench, 1);
    assert!(!bench.written().contains("<r "));
    bench.input(Input::Eof);
    assert!(bench.core.suspend().is_none());

    let mut bench = Bench::log_in(with(direct_tls), &mut server());
    bench.after(Duration::from_secs(20));
    assert_eq!(bench.failure(), ErrorKind::Timeout(Phase::Session));

    let unwanted = with(|config| {
        direct_tls(config);
        config.management = false;
    });
    let bench = Bench::log_in(unwanted, &mut server());
    assert!(!bench.sent.concat().contains("<enable"));
}

#[test]
fn after_a_resume_what_the_server_had_not_handled_is_written_again_in_order() {
    let mut bench = managed();
    (1..=5).for_each(|token| send(&mut bench, token));
    bench.input(Input::Request { token: 6, stanza: iq("<iq type='get' id='q'><p xmlns='p'/></iq>"), timeout: None });
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    let suspended = cut(&mut bench);
    let mut bench = reconnect(suspended, &bench, |_| ());
    let written = bench.written();
    assert!(written.ends_with("<resume xmlns='urn:xmpp:sm:3' h='0' previd='s1'/>"), "{written}");
    bench.feed("<resumed xmlns='urn:xmpp:sm:3' h='3' previd='s1'/>");
    assert_eq!(bench.lines(), [format!("resumed {FULL}, h 3, acked [2, 3]")]);
    let written = bench.written();
    assert!(written.find("<body>4").unwrap() < written.find("<body>5").unwrap(), "{written}");
    assert!(written.find("<body>5").unwrap() < written.find("id='q'").unwrap(), "{written}");
    assert!(!written.contains("<body>3") && !written.contains("<enable"), "{written}");
    bench.feed("<iq type='result' id='q'/><a xmlns='urn:xmpp:sm:3' h='6'/>");
    assert!(matches!(&bench.replies()[..], [(6, Ok(_))]));
    assert_eq!((bench.lines(), bench.core.unacknowledged()), (vec!["acked [4, 5]".to_owned()], 0));
}

#[test]
fn after_a_resume_nothing_comes_twice() {
    let mut bench = managed();
    bench.input(Input::Request { token: 9, stanza: iq("<iq type='get' id='q'><p xmlns='p'/></iq>"), timeout: None });
    bench.feed("<message id='1'/><presence id='2'/><iq type='result' id='q'/><message id='4'/>");
    bench.input(Input::TakenOver(2));
    bench.lines();
    let suspended = cut(&mut bench);
    let mut bench = resume(suspended, &bench, "<resumed xmlns='urn:xmpp:sm:3' h='1' previd='s1'/>");
    bench.lines();
    // The server repeats all behind h = 0, and goes on.
    bench.feed("<message id='1'/><presence id='2'/><iq type='result' id='q'/><message id='4'/><message id='5'/>");
    let lines = bench.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("inbound 5 ") && lines[0].contains("'5'"), "{lines:?}");
    bench.sent.clear();
    [1, 4].into_iter().for_each(|seq| bench.input(Input::TakenOver(seq)));
    bench.feed("<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(bench.written(), "<a xmlns='urn:xmpp:sm:3' h='4'/>");
}

#[test]
fn requests_deadlines_stand_still_while_suspended() {
    let mut bench = managed();
    bench.input(Input::Request {
        token: 1,
        stanza: iq("<iq type='get' id='q'><p xmlns='p'/></iq>"),
        timeout: Some(Duration::from_secs(30)),
    });
    bench.after(Duration::from_secs(20));
    let suspended = cut(&mut bench);
    bench.now += Duration::from_secs(200);
    let mut bench = resume(suspended, &bench, "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='s1'/>");
    bench.after(Duration::from_secs(9));
    assert!(bench.replies().is_empty());
    bench.after(Duration::from_secs(1));
    assert!(
        matches!(&bench.replies()[..], [(1, Err(error))] if *error.kind() == ErrorKind::RequestTimeout(Duration::from_secs(30)))
    );
}

#[test]
fn a_refused_resume_settles_what_the_server_counted_and_binds_on_the_same_stream() {
    let rows = [
        (
            "<failed xmlns='urn:xmpp:sm:3' h='2'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
            "Some(2)",
            "[1, 2]",
            "[3]",
        ),
        ("<failed xmlns='urn:xmpp:sm:3'/>", "None", "[]", "[1, 2, 3]"),
        ("<failed xmlns='urn:xmpp:sm:3' h='99'/>", "Some(99)", "[]", "[1, 2, 3]"),
    ];
    for (failed, h, acked, unresolved) in rows {
        let mut bench = managed();
        (1..=3).for_each(|token| send(&mut bench, token));
        bench.input(Input::Request { token: 4, stanza: iq("<iq type='get' id='q'><p xmlns='p'/></iq>"), timeout: None });
        bench.feed("<message/>");
        bench.lines();
        let suspended = cut(&mut bench);
        let mut bench = resume(suspended, &bench, failed);
        assert_eq!(
            bench.lines(),
            [
                "reply 4 SessionLost { sent: true }".to_owned(),
                format!("session lost, h {h}, acked {acked}, unresolved {unresolved}")
            ]
        );
        let written = bench.written();
        assert!(written.contains("<bind "), "{written}");
        bench.feed(&format!(
            "<iq type='result' id='bind-1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{FULL}</jid></bind></iq>{ENABLED}<message/>"
        ));
        let lines = bench.lines();
        assert!(lines.iter().any(|line| line.starts_with("inbound 2 ")), "numbers go on: {lines:?}");
        assert!(!bench.written().contains("<body>"), "what is unresolved is not written by the core");
    }
}

#[test]
fn a_server_that_no_longer_offers_it_has_lost_the_session() {
    let mut bench = managed();
    send(&mut bench, 1);
    let suspended = cut(&mut bench);
    let mut config = with(direct_tls);
    config.numbers_after = suspended.numbered();
    let mut bench = Bench::around(StreamCore::resuming(config.clone(), suspended, bench.now).unwrap(), bench.now, &config);
    bench.start();
    bench.talk(&mut Server::new(Framing::Tcp));
    let lines = bench.lines();
    let lost = lines.iter().position(|line| line == "session lost, h None, acked [], unresolved [1]").expect("lost");
    assert!(lines[lost + 1].starts_with("bound "), "{lines:?}");
}

#[test]
fn an_attempt_that_fails_before_the_answer_leaves_the_session_for_the_next() {
    let mut bench = managed();
    send(&mut bench, 1);
    let suspended = cut(&mut bench);
    let mut bench = reconnect(suspended, &bench, |_| ());
    bench.input(Input::Eof);
    let suspended = bench.core.suspend().expect("still there");
    let mut bench = resume(suspended, &bench, "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='s1'/>");
    assert_eq!(bodies(&mut bench), [1]);
}

#[test]
fn an_answer_for_another_session_ends_the_stream() {
    for answer in [
        "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='other'/>",
        "<resumed xmlns='urn:xmpp:sm:3' previd='s1'/>",
        "<resumed xmlns='urn:xmpp:sm:2' h='0' previd='s1'/>",
        "<message/>",
    ] {
        let mut bench = managed();
        let suspended = cut(&mut bench);
        let mut bench = resume(suspended, &bench, answer);
        assert!(matches!(bench.failure(), ErrorKind::Protocol(_)), "{answer}");
    }
    let mut bench = managed();
    send(&mut bench, 1);
    let suspended = cut(&mut bench);
    let mut bench = resume(suspended, &bench, "<resumed xmlns='urn:xmpp:sm:3' h='2' previd='s1'/>");
    assert!(bench.written().contains("handled-count-too-high"));
}

#[test]
fn the_first_stanza_can_be_taken_out_and_those_behind_it_move_up() {
    let mut bench = managed();
    (1..=3).for_each(|token| send(&mut bench, token));
    let mut suspended = cut(&mut bench);
    assert_eq!(suspended.first_unacknowledged().map(|(token, _)| token), Some(1));
    assert!(suspended.remove_first().is_empty());
    let mut bench = resume(suspended, &bench, "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='s1'/>");
    assert_eq!(bodies(&mut bench), [2, 3]);
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    assert!(bench.lines().contains(&"acked [2]".to_owned()));
}

#[test]
fn where_numbers_are_noted_a_message_is_written_only_then() {
    let mut bench = managed_with(|config| config.record = true);
    send(&mut bench, 1);
    send(&mut bench, 2);
    bench.input(Input::Request { token: 3, stanza: iq("<iq type='get' id='q'><p xmlns='p'/></iq>"), timeout: None });
    assert_eq!(bench.written(), "", "what comes behind keeps its place");
    assert_eq!(bench.lines(), ["record [(1, 1)]", "record [(2, 2)]"]);
    bench.input(Input::Recorded(1));
    assert_eq!(bodies(&mut bench), [1]);
    bench.input(Input::Recorded(2));
    let written = bench.written();
    assert!(written.contains("<body>2") && written.contains("id='q'"), "{written}");
    bench.feed("<iq type='result' id='q'/>");
    assert_eq!(bench.lines().first().map(String::as_str), Some("done 1"), "the driver notes the count first");
    bench.feed("<r xmlns='urn:xmpp:sm:3'/>");
    assert!(bench.written().contains("h='0'"));
    assert_eq!(bench.core.handled_with(&[1]), Some((1, vec![])));
    bench.input(Input::TakenOver(1));
    assert!(bench.written().contains("h='1'"));
}

#[test]
fn a_number_that_was_not_noted_before_the_cut_is_asked_for_again() {
    let mut bench = managed_with(|config| config.record = true);
    send(&mut bench, 1);
    bench.lines();
    let suspended = cut(&mut bench);
    let mut bench = reconnect(suspended, &bench, |config| config.record = true);
    bench.sent.clear();
    bench.feed("<resumed xmlns='urn:xmpp:sm:3' h='0' previd='s1'/>");
    assert_eq!(bench.lines(), [format!("resumed {FULL}, h 0, acked []"), "record [(1, 1)]".to_owned()]);
    assert!(bodies(&mut bench).is_empty());
    bench.input(Input::Recorded(1));
    assert_eq!(bodies(&mut bench), [1]);
}

#[test]
fn in_another_process_the_servers_count_is_taken_as_it_is() {
    let resumption = |namespace: &str| Resumption::new(namespace, "s1".to_owned(), FULL.parse().unwrap(), None);
    assert!(resumption("urn:xmpp:sm:9").is_none());
    let old = managed();
    let suspended = Suspended::restored(resumption("urn:xmpp:sm:3").unwrap(), 10, &[12], old.now);
    let mut bench = reconnect(suspended, &old, |_| ());
    assert!(bench.written().ends_with("<resume xmlns='urn:xmpp:sm:3' h='10' previd='s1'/>"));
    bench.feed("<resumed xmlns='urn:xmpp:sm:3' h='77' previd='s1'/>");
    assert_eq!(bench.lines(), [format!("resumed {FULL}, h 77, acked []")]);
    bench.feed("<message id='11'/><message id='12'/><message id='13'/>");
    let lines = bench.lines();
    let seqs: Vec<_> = lines.iter().map(|line| line.split(" <").next().unwrap()).collect();
    assert_eq!(seqs, ["inbound 11", "inbound 13"], "12 was taken over by the process before");
    send(&mut bench, 5);
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='78'/>");
    assert_eq!(bench.lines(), ["acked [5]"], "the count goes on from the server's");
}

#[test]
fn counts_go_round_at_two_to_the_32() {
    let resumption = Resumption::new("urn:xmpp:sm:3", "s1".to_owned(), FULL.parse().unwrap(), None).unwrap();
    let old = managed();
    let mut bench = reconnect(Suspended::restored(resumption, u32::MAX, &[], old.now), &old, |_| ());
    bench.feed("<resumed xmlns='urn:xmpp:sm:3' h='4294967295' previd='s1'/>");
    bench.lines();
    send(&mut bench, 1);
    send(&mut bench, 2);
    bench.feed("<a xmlns='urn:xmpp:sm:3' h='1'/><message/>");
    assert!(bench.lines().contains(&"acked [1, 2]".to_owned()));
    bench.sent.clear();
    bench.input(Input::TakenOver(1 << 32));
    bench.feed("<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(bench.written(), "<a xmlns='urn:xmpp:sm:3' h='0'/>");
}
