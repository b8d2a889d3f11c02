//! Stream management (XEP-0198) from the server's side.

use std::time::Duration;

use tokio::time::timeout;
use xmppkit::testing::{Builder, Cut, Dialect, Misbehaviour, Moment, Server, Target, Way};
use xmppkit::xml::Frame;

use super::client::{Client, LONG, Read, SASL};

const SM: &str = "urn:xmpp:sm:3";

fn builder() -> Builder {
    Server::builder().domain("example.org").account("romeo", "secret").account("juliet", "secret")
}

async fn start() -> Server {
    builder().start().await.unwrap()
}

fn h(frame: &Frame) -> u32 {
    frame.attr("h").expect("a count").parse().expect("a number")
}

fn failed(frame: &Frame) -> String {
    assert!(frame.is(SM, "failed"), "{}", frame.to_standalone_xml());
    frame.children().next().expect("a condition").name().to_owned()
}

/// Online and managed; with the id of the session.
async fn managed(server: &Server, name: &str) -> (Client, String) {
    let mut client = Client::online(server, name, "r").await;
    client.send(&format!("<enable xmlns='{SM}' resume='true'/>")).await;
    let enabled = client.element().await;
    assert!(enabled.is(SM, "enabled"), "{}", enabled.to_standalone_xml());
    let id = enabled.attr("id").expect("an id").into_owned();
    (client, id)
}

/// Logged in, with no resource bound.
async fn unbound(server: &Server, name: &str) -> Client {
    let (mut client, features) = Client::secured(server).await;
    let mechanism = features.root().child(SASL, "mechanisms").unwrap().children().next().unwrap().text().into_owned();
    client.authenticate(&mechanism, name, "secret").await.unwrap();
    let features = client.open().await;
    assert!(features.child(SM, "sm").is_some());
    client
}

async fn resume(server: &Server, name: &str, id: &str, h: u32) -> (Client, Frame) {
    let mut client = unbound(server, name).await;
    client.send(&format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>")).await;
    let answer = client.element().await;
    (client, answer)
}

fn say(server: &Server, text: &str) {
    let xml = format!("<message type='chat' from='juliet@example.org/j' to='romeo@example.org/r'><body>{text}</body></message>");
    server.route_stanza(&xml).unwrap();
}

/// The next elements, as their names or the texts they say.
async fn next(client: &mut Client, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        let frame = client.element().await;
        let body = frame.child("jabber:client", "body").map(|body| body.text().into_owned());
        names.push(body.unwrap_or_else(|| frame.name().to_owned()));
    }
    names
}

async fn until_detached(server: &Server) {
    timeout(LONG, server.wait_for(|s| s.sessions().iter().any(|session| !session.connected))).await.unwrap();
}

#[tokio::test]
async fn both_sides_count_and_one_question_is_open_at_a_time() {
    let server = start().await;
    let (mut romeo, _) = managed(&server, "romeo").await;
    ["one", "two", "three"].into_iter().for_each(|text| say(&server, text));
    assert_eq!(next(&mut romeo, 4).await, ["one", "r", "two", "three"]);
    assert_eq!(server.sessions()[0].unacknowledged, 3);
    romeo.send(&format!("<a xmlns='{SM}' h='1'/>")).await;
    assert_eq!(next(&mut romeo, 1).await, ["r"], "two more were sent behind the question");
    // What was asked about is not asked about again, though it is not acknowledged.
    romeo.send(&format!("<a xmlns='{SM}' h='2'/>")).await;
    assert!(romeo.sync().await.is_empty());
    romeo.send(&format!("<a xmlns='{SM}' h='4'/><r xmlns='{SM}'/>")).await;
    let frames = [romeo.element().await, romeo.element().await];
    let answer = frames.iter().find(|frame| frame.name() == "a").expect("an answer");
    assert_eq!(h(answer), 1, "the ping");
}

#[tokio::test]
async fn a_session_waits_for_its_client_and_gives_what_was_not_acknowledged() {
    for dialect in Dialect::ALL {
        let server = builder().dialect(dialect).start().await.unwrap();
        let mut juliet = Client::online(&server, "juliet", "j").await;
        server.befriend(&server.jid("romeo").unwrap(), &server.jid("juliet").unwrap());
        let (mut romeo, id) = managed(&server, "romeo").await;
        juliet.sync().await;
        say(&server, "one");
        say(&server, "two");
        assert_eq!(next(&mut romeo, 3).await, ["one", "r", "two"]);
        romeo.send("<message type='chat' to='juliet@example.org/j'><body>hi</body></message>").await;
        assert_eq!(juliet.element().await.name(), "message");
        server.cut(server.jid("romeo").unwrap(), Cut::Rst);
        until_detached(&server).await;
        assert_eq!(server.connections(), 1);
        say(&server, "three");
        assert!(juliet.sync().await.is_empty(), "nobody left: {dialect:?}");

        let (mut romeo, resumed) = resume(&server, "romeo", &id, 1).await;
        assert_eq!((resumed.name(), h(&resumed), resumed.attr("previd").as_deref()), ("resumed", 1, Some(&*id)), "{dialect:?}");
        assert_eq!(next(&mut romeo, 3).await, ["two", "three", "r"]);
        romeo.sync().await;
        say(&server, "four");
        assert_eq!(next(&mut romeo, 1).await, ["four"]);
        assert_eq!((server.sessions().len(), server.counters().resumes), (2, 1));
        assert!(juliet.sync().await.is_empty());
    }
}

#[tokio::test]
async fn a_session_whose_time_is_over_leaves_and_its_messages_are_kept() {
    let server = builder().resume_timeout(Duration::from_secs(1)).start().await.unwrap();
    let mut juliet = Client::online(&server, "juliet", "j").await;
    server.befriend(&server.jid("romeo").unwrap(), &server.jid("juliet").unwrap());
    let (mut romeo, id) = managed(&server, "romeo").await;
    juliet.sync().await;
    romeo.send("<iq type='result' id='1' to='example.org'/><iq type='result' id='2' to='example.org'/>").await;
    say(&server, "kept");
    romeo.sync().await;
    server.cut(server.jid("romeo").unwrap(), Cut::Fin);
    until_detached(&server).await;
    assert_eq!(juliet.element().await.attr("type").as_deref(), Some("unavailable"));
    assert_eq!(server.offline_messages(&server.jid("romeo").unwrap()), 1);

    let (mut romeo, answer) = resume(&server, "romeo", &id, 0).await;
    assert_eq!((failed(&answer).as_str(), h(&answer)), ("item-not-found", 3));
    romeo.bind("r").await;
    romeo.send("<presence/>").await;
    let frames = romeo.sync().await;
    let message = frames.iter().find(|frame| frame.name() == "message").expect("what was kept");
    assert!(message.child("urn:xmpp:delay", "delay").is_some());
}

#[tokio::test]
async fn resumes_that_are_refused() {
    let server = start().await;
    let (mut romeo, id) = managed(&server, "romeo").await;
    romeo.send(&format!("<resume xmlns='{SM}' previd='{id}' h='0'/>")).await;
    assert_eq!(failed(&romeo.element().await), "unexpected-request", "already bound");
    let (mut juliet, answer) = resume(&server, "juliet", &id, 0).await;
    assert_eq!((failed(&answer).as_str(), answer.attr("h")), ("item-not-found", None), "somebody else's");
    juliet.send(&format!("<resume xmlns='{SM}' previd='{id}'/>")).await;
    assert_eq!(failed(&juliet.element().await), "bad-request");

    server.forget_sessions();
    server.cut(server.jid("romeo").unwrap(), Cut::Rst);
    timeout(LONG, server.wait_for(|s| s.sessions().is_empty())).await.unwrap();
    let (_, answer) = resume(&server, "romeo", &id, 0).await;
    assert_eq!((failed(&answer).as_str(), answer.attr("h")), ("item-not-found", None), "forgotten");

    for (dialect, tells) in [(Dialect::Prosody, true), (Dialect::OldEjabberd, true), (Dialect::Openfire, false)] {
        let server = builder().dialect(dialect).start().await.unwrap();
        let (_romeo, id) = managed(&server, "romeo").await;
        server.cut(Target::All, Cut::Rst);
        until_detached(&server).await;
        server.expire_sessions();
        let (_, answer) = resume(&server, "romeo", &id, 0).await;
        assert_eq!((failed(&answer).as_str(), answer.attr("h").is_some()), ("item-not-found", tells), "{dialect:?}");
    }
}

#[tokio::test]
async fn the_connection_that_is_replaced_is_told_of_the_conflict() {
    let server = start().await;
    let (mut old, id) = managed(&server, "romeo").await;
    let (mut new, resumed) = resume(&server, "romeo", &id, 0).await;
    assert_eq!(resumed.name(), "resumed");
    assert_eq!(old.stream_error().await, "conflict");
    new.sync().await;
    assert_eq!(server.sessions().len(), 1);
    timeout(LONG, server.wait_for(|s| s.connections() == 1)).await.unwrap();
}

#[tokio::test]
async fn an_orderly_end_leaves_nothing_to_resume() {
    let server = start().await;
    let (mut romeo, id) = managed(&server, "romeo").await;
    romeo.send("</stream:stream>").await;
    while !matches!(romeo.next().await, Read::End { .. }) {}
    assert!(server.sessions().is_empty());
    let (_, answer) = resume(&server, "romeo", &id, 0).await;
    assert_eq!(failed(&answer), "item-not-found");
    let (_romeo, id) = managed(&server, "romeo").await;
    server.restart().await.unwrap();
    let (_, answer) = resume(&server, "romeo", &id, 0).await;
    assert_eq!((failed(&answer).as_str(), answer.attr("h")), ("item-not-found", None));
}

#[tokio::test]
async fn wrong_counts_are_met_as_each_server_does() {
    for (dialect, low_closes) in [(Dialect::Strict, true), (Dialect::Prosody, true), (Dialect::OldEjabberd, false)] {
        let server = builder().dialect(dialect).start().await.unwrap();
        let (mut romeo, _) = managed(&server, "romeo").await;
        romeo.send(&format!("<a xmlns='{SM}' h='7'/>")).await;
        assert_eq!(romeo.stream_error().await, "undefined-condition", "{dialect:?}");
        let (mut romeo, _) = managed(&server, "romeo").await;
        say(&server, "one");
        romeo.send(&format!("<a xmlns='{SM}' h='1'/><a xmlns='{SM}' h='0'/>")).await;
        if low_closes {
            assert_eq!(romeo.stream_error().await, "undefined-condition", "{dialect:?}");
        } else {
            romeo.sync().await;
        }
    }
}

#[tokio::test]
async fn too_much_that_is_not_acknowledged_is_met_as_each_server_does() {
    for dialect in [Dialect::Prosody, Dialect::OldEjabberd, Dialect::Openfire] {
        let server = builder().dialect(dialect).differences(|d| d.management.max_unacknowledged = 3).start().await.unwrap();
        let (mut romeo, id) = managed(&server, "romeo").await;
        ["1", "2", "3", "4"].into_iter().for_each(|text| say(&server, text));
        match dialect {
            Dialect::Prosody => {
                let (_, answer) = resume(&server, "romeo", &id, 0).await;
                assert_eq!(failed(&answer), "resource-constraint");
            }
            Dialect::OldEjabberd => assert_eq!(romeo.stream_error().await, "policy-violation"),
            _ => {
                romeo.send(&format!("<r xmlns='{SM}'/>")).await;
                assert!(romeo.sync().await.iter().all(|frame| frame.name() != "a"), "it says nothing any more");
            }
        }
    }
}

#[tokio::test]
async fn a_server_without_it_one_that_refuses_and_one_that_never_answers() {
    let server = builder().no_stream_management().start().await.unwrap();
    let mut romeo = Client::online(&server, "romeo", "r").await;
    romeo.send(&format!("<enable xmlns='{SM}'/>")).await;
    assert_eq!(romeo.stream_error().await, "unsupported-stanza-type");

    let server = start().await;
    server.misbehave(Misbehaviour::RefuseManagement("internal-server-error".into()));
    let mut romeo = Client::online(&server, "romeo", "r").await;
    romeo.send(&format!("<enable xmlns='{SM}'/>")).await;
    assert_eq!(failed(&romeo.element().await), "internal-server-error");
    server.behave();
    romeo.send(&format!("<enable xmlns='{SM}'/>")).await;
    let enabled = romeo.element().await;
    assert_eq!((enabled.name(), enabled.attr("id")), ("enabled", None), "no resumption was asked for");
    server.misbehave(Misbehaviour::NeverAcknowledge);
    romeo.send(&format!("<r xmlns='{SM}'/>")).await;
    assert!(romeo.sync().await.iter().all(|frame| frame.name() != "a"));
    server.cut(Target::All, Cut::Rst);
    timeout(LONG, server.wait_for(|s| s.sessions().is_empty())).await.unwrap();
}

#[tokio::test]
async fn a_resume_can_be_cut_at_each_of_its_moments() {
    for (moment, answered) in [(Moment::ResumeRead, false), (Moment::ResumeDone, false), (Moment::Resumed, true)] {
        let server = start().await;
        let (_romeo, id) = managed(&server, "romeo").await;
        say(&server, "one");
        server.cut(Target::All, Cut::Rst);
        until_detached(&server).await;
        server.cut_at(moment, Cut::Fin);
        let mut romeo = unbound(&server, "romeo").await;
        romeo.send(&format!("<resume xmlns='{SM}' previd='{id}' h='0'/>")).await;
        if answered {
            assert_eq!(romeo.element().await.name(), "resumed");
        }
        assert!(matches!(romeo.next().await, Read::End { .. }), "{moment:?}");
        let (mut romeo, resumed) = resume(&server, "romeo", &id, 0).await;
        assert_eq!(resumed.name(), "resumed", "{moment:?}");
        assert_eq!(next(&mut romeo, 2).await, ["one", "r"]);
    }
    let server = start().await;
    server.cut_at(Moment::TlsHandshake, Cut::Rst);
    let tcp = tokio::net::TcpStream::connect(server.direct_tls_address()).await.unwrap();
    assert!(super::client::handshake(&server, tcp).await.is_err());
    Client::connect_direct(&server).await;
}

#[tokio::test]
async fn a_connection_is_cut_in_the_middle_of_a_stanza() {
    let server = start().await;
    let (mut romeo, id) = managed(&server, "romeo").await;
    assert_eq!(server.cut_after(Target::All, Way::ToClient, 30, Cut::Fin), 1);
    say(&server, "half of this arrives");
    assert!(matches!(romeo.next().await, Read::End { .. }));
    until_detached(&server).await;
    let (mut romeo, _) = resume(&server, "romeo", &id, 0).await;
    assert_eq!(next(&mut romeo, 2).await, ["half of this arrives", "r"]);

    let whole = "<message to='juliet@example.org'><body>whole</body></message>";
    server.cut_after(Target::All, Way::FromClient, whole.len() + 30, Cut::Fin);
    romeo.send(&whole.repeat(2)).await;
    until_detached(&server).await;
    let (_, resumed) = resume(&server, "romeo", &id, 1).await;
    assert_eq!((h(&resumed), server.offline_messages(&server.jid("juliet").unwrap())), (1, 1));
}

#[tokio::test]
async fn a_dropped_connection_says_nothing_and_notices_nothing() {
    let server = start().await;
    let (mut romeo, id) = managed(&server, "romeo").await;
    assert_eq!(server.cut(Target::All, Cut::Drop), 1);
    say(&server, "unheard");
    romeo.send("<message to='juliet@example.org'><body>lost</body></message>").await;
    assert!(timeout(Duration::from_millis(200), romeo.next()).await.is_err());
    drop(romeo);
    assert!(timeout(Duration::from_millis(200), server.wait_for(|s| s.connections() == 0)).await.is_err());
    assert!(server.sessions()[0].connected);
    let (mut romeo, resumed) = resume(&server, "romeo", &id, 0).await;
    assert_eq!(h(&resumed), 0);
    assert_eq!(next(&mut romeo, 2).await, ["unheard", "r"]);
    assert_eq!(server.offline_messages(&server.jid("juliet").unwrap()), 0);
    timeout(LONG, server.wait_for(|s| s.connections() == 1)).await.unwrap();

    server.cut(Target::All, Cut::Drop);
    server.forget_sessions();
    timeout(LONG, server.wait_for(|s| s.connections() == 0 && s.sessions().is_empty())).await.unwrap();
}
