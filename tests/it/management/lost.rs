//! Sessions that are lost, and servers that keep none.

use std::time::Duration;

use futures::StreamExt as _;
use xmppkit::client::{Client, Milestone, Sent, State};
use xmppkit::error::ErrorKind;
use xmppkit::messaging::Messages as _;
use xmppkit::store::SendFailure;
use xmppkit::testing::{Cut, Dialect, Misbehaviour, Server, Target, Way};
use xmppkit::xmpp_parsers::ping::Ping;

use super::{nothing_more, online, quick, texts, until};
use crate::common::{server, within};

/// Says these, of which the server tells nothing, and waits until they are written.
async fn say(from: &Client, to: &Client, texts: &[&str]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for text in texts {
        sent.push(from.chat(to.account()).send(*text).await.expect("accepted"));
    }
    for token in &sent {
        within("the writing", token.wait_for(Milestone::Written)).await.expect("written");
    }
    sent
}

/// The messages that the server got from this account, by their text, with whether they say when they were sent first.
fn got(server: &Server, from: &Client) -> Vec<(String, bool)> {
    let messages = server.received(from.account()).into_iter().filter(|xml| xml.starts_with("<message"));
    let text = |xml: &str| xml.split_once("<body>").map(|(_, rest)| rest.split_once('<').expect("its end").0.to_owned());
    messages.filter_map(|xml| Some((text(&xml)?, xml.contains("urn:xmpp:delay")))).collect()
}

#[tokio::test]
async fn a_count_in_the_refusal_settles_what_the_server_had() {
    let server = server().dialect(Dialect::Prosody).start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    let mut at_juliet = juliet.messages().events();
    let mut states = romeo.states();
    until(&mut states, "online").await;
    server.misbehave(Misbehaviour::NeverAcknowledge);
    let handled = say(&romeo, &juliet, &["one", "two"]).await;
    assert_eq!(texts(&mut at_juliet, 2).await, ["one", "two"]);
    server.stall(romeo.account(), Way::FromClient);
    let unread = say(&romeo, &juliet, &["three", "four"]).await;
    assert!(handled.iter().chain(&unread).all(|token| token.status().acked.is_none()));
    server.expire_sessions();
    server.behave();
    server.cut(romeo.account(), Cut::Rst);
    assert_eq!(until(&mut states, "online").await, ["suspended", "waiting", "connecting", "online"]);
    let late = romeo.chat(juliet.account()).send("five").await.expect("accepted");
    assert_eq!(texts(&mut at_juliet, 3).await, ["three", "four", "five"]);
    for token in handled.iter().chain(&unread).chain([&late]) {
        within("the acknowledgement", token.wait_for(Milestone::Acked)).await.expect("acknowledged");
    }
    assert!(handled.iter().all(|token| token.status().resent_unverified.is_none()));
    let got = got(&server, &romeo);
    let plain = |text: &str| (text.to_owned(), false);
    let delayed = |text: &str| (text.to_owned(), true);
    assert_eq!(got, [plain("one"), plain("two"), delayed("three"), delayed("four"), plain("five")]);
    nothing_more(&romeo, &juliet, &mut at_juliet).await;
    assert_eq!(server.counters().failed_resumes, 1);
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn without_a_count_it_is_sent_again_the_token_says_so_and_the_copy_is_dropped() {
    for dialect in [Dialect::Strict, Dialect::Openfire] {
        let server = server().dialect(dialect).start().await.expect("a server");
        let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
        let mut at_juliet = juliet.messages().events();
        let mut states = romeo.states();
        until(&mut states, "online").await;
        server.misbehave(Misbehaviour::NeverAcknowledge);
        let handled = say(&romeo, &juliet, &["one", "two"]).await;
        assert_eq!(texts(&mut at_juliet, 2).await, ["one", "two"]);
        server.stall(romeo.account(), Way::FromClient);
        let unread = say(&romeo, &juliet, &["three"]).await;
        server.forget_sessions();
        server.behave();
        server.cut(romeo.account(), Cut::Rst);
        until(&mut states, "online").await;
        let late = romeo.chat(juliet.account()).send("four").await.expect("accepted");
        assert_eq!(texts(&mut at_juliet, 2).await, ["three", "four"], "{dialect:?}: one and two were copies");
        for token in handled.iter().chain(&unread) {
            within("the acknowledgement", token.wait_for(Milestone::Acked)).await.expect("acknowledged");
            assert!(token.status().resent_unverified.is_some(), "{dialect:?}: {token:?}");
        }
        assert!(late.status().resent_unverified.is_none());
        let got: Vec<_> = got(&server, &romeo).into_iter().map(|(text, delayed)| format!("{text} {delayed}")).collect();
        assert_eq!(got, ["one false", "two false", "one true", "two true", "three true", "four false"], "{dialect:?}");
        nothing_more(&romeo, &juliet, &mut at_juliet).await;
        romeo.close().await;
        juliet.close().await;
    }
}

#[tokio::test]
async fn a_request_that_waits_when_the_session_is_lost_fails_and_says_that_it_was_sent() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let domain = server.domain().parse::<jid::Jid>().expect("a JID");
    server.stall(Target::All, Way::ToClient);
    let seen = server.received(romeo.account()).len();
    let waiting = tokio::spawn(romeo.iq_get(domain, &Ping).into_future());
    within("the request", server.wait_for(|server| server.received(romeo.account()).len() > seen)).await;
    server.resume(Target::All, Way::FromClient);
    server.forget_sessions();
    server.cut(Target::All, Cut::Rst);
    server.resume(Target::All, Way::Both);
    let error = within("the loss", waiting).await.expect("no panic").expect_err("lost");
    assert_eq!(error.kind(), &ErrorKind::SessionLost { sent: true });
    romeo.close().await;
}

/// What the server refuses by ending the stream is not sent for ever, and takes nothing with it (R7).
#[tokio::test]
async fn a_message_that_ends_the_stream_is_given_up_and_the_others_arrive() {
    let server = server().max_stanza_bytes(20_000).differences(|d| d.advertises_limits = false);
    let server = server.start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let mut at_juliet = juliet.messages().events();
    let romeo = quick(&server, "romeo").max_stanza_bytes(1_000_000).build().await.expect("a client");
    romeo.connect().await.expect("online");
    let before = romeo.chat(juliet.account()).send("before").await.expect("accepted");
    let poison = romeo.chat(juliet.account()).send("x".repeat(50_000)).await.expect("accepted");
    let behind = romeo.chat(juliet.account()).send("behind").await.expect("accepted");
    assert_eq!(texts(&mut at_juliet, 2).await, ["before", "behind"]);
    let error = within("the end", poison.wait_for(Milestone::Acked)).await.expect_err("given up");
    assert!(matches!(error.kind(), ErrorKind::NotSent), "{error}");
    assert!(matches!(&poison.status().failed, Some((SendFailure::Poison(why), _)) if why.contains("policy-violation")));
    for token in [before, behind] {
        within("the acknowledgement", token.wait_for(Milestone::Acked)).await.expect("acknowledged");
    }
    nothing_more(&romeo, &juliet, &mut at_juliet).await;
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn a_server_without_stream_management_or_that_refuses_it_is_used_as_it_is() {
    for refuses in [false, true] {
        let server = if refuses {
            server().misbehave(Misbehaviour::RefuseManagement("internal-server-error".into()))
        } else {
            server().no_stream_management()
        };
        let server = server.start().await.expect("a server");
        let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
        let mut at_juliet = juliet.messages().events();
        let mut states = romeo.states();
        until(&mut states, "online").await;
        say(&romeo, &juliet, &["one"]).await;
        assert_eq!(texts(&mut at_juliet, 1).await, ["one"]);
        server.cut(romeo.account(), Cut::Rst);
        assert_eq!(until(&mut states, "online").await, ["waiting", "connecting", "online"], "refuses: {refuses}");
        say(&romeo, &juliet, &["two"]).await;
        assert_eq!(texts(&mut at_juliet, 1).await, ["two"]);
        nothing_more(&romeo, &juliet, &mut at_juliet).await;
        romeo.close().await;
        juliet.close().await;
    }
}

/// Past the time the server said, no resume is tried: it could only be refused.
#[tokio::test]
async fn a_session_whose_time_is_over_is_lost_while_offline() {
    let server = server().resume_timeout(Duration::from_secs(1)).start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut states = romeo.states();
    until(&mut states, "online").await;
    server.refuse_connections(true).await.expect("refused");
    server.cut(Target::All, Cut::Rst);
    let Some(State::Suspended { until: end, .. }) = within("a state", states.next()).await else { panic!("not suspended") };
    within("the end of the session", server.wait_for(|server| server.sessions().is_empty())).await;
    tokio::time::sleep_until(end.into()).await;
    server.refuse_connections(false).await.expect("open");
    romeo.network_changed();
    until(&mut states, "online").await;
    assert_eq!((server.counters().resumes, server.counters().failed_resumes), (0, 0));
    romeo.close().await;
}

#[tokio::test]
async fn a_message_survives_being_sent_elsewhere() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    let mut at_juliet = juliet.messages().events();
    server.stall(romeo.account(), Way::FromClient);
    say(&romeo, &juliet, &["one"]).await;
    let elsewhere = format!(
        "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{}</see-other-host></stream:error></stream:stream>",
        server.address()
    );
    server.inject(Target::from(romeo.account()), elsewhere);
    assert_eq!(texts(&mut at_juliet, 1).await, ["one"]);
    nothing_more(&romeo, &juliet, &mut at_juliet).await;
    romeo.close().await;
    juliet.close().await;
}

/// That the server shuts down is not over what was sent, however often it does, and holds nothing up (R7).
#[tokio::test]
async fn a_message_is_not_given_up_for_a_server_that_shuts_down() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    let mut at_juliet = juliet.messages().events();
    let mut states = romeo.states();
    until(&mut states, "online").await;
    server.misbehave(Misbehaviour::NeverAcknowledge);
    let unacknowledged = say(&romeo, &juliet, &["one"]).await;
    assert_eq!(texts(&mut at_juliet, 1).await, ["one"]);
    for _ in 0..3 {
        server.restart().await.expect("it restarts");
        until(&mut states, "online").await;
    }
    // Not one at a time: the server acknowledges none of them.
    let rest = say(&romeo, &juliet, &["two", "three"]).await;
    server.behave();
    server.cut(romeo.account(), Cut::Rst);
    for token in unacknowledged.iter().chain(&rest) {
        within("the acknowledgement", token.wait_for(Milestone::Acked)).await.expect("acknowledged");
        assert!(token.status().failed.is_none(), "{token:?}");
    }
    romeo.close().await;
    juliet.close().await;
}

/// Messages go one at a time only until what was suspected is acknowledged, however short the sessions are (R7).
#[tokio::test]
async fn suspicion_ends_when_what_was_suspected_is_acknowledged() {
    let server = server().max_stanza_bytes(20_000).differences(|d| d.advertises_limits = false);
    let server = server.start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let romeo = quick(&server, "romeo").max_stanza_bytes(1_000_000).build().await.expect("a client");
    let mut states = romeo.states();
    romeo.connect().await.expect("online");
    until(&mut states, "online").await;
    server.misbehave(Misbehaviour::NeverAcknowledge);
    let suspected = say(&romeo, &juliet, &["one", "two"]).await;
    // A request that ends the stream; nobody waits for it afterwards.
    let big = format!("<message xmlns='jabber:client' to='{}'><body>{}</body></message>", juliet.account(), "x".repeat(50_000));
    romeo.send_raw(&big).await.expect("accepted");
    until(&mut states, "waiting").await;
    server.behave();
    until(&mut states, "online").await;
    for token in &suspected {
        within("the acknowledgement", token.wait_for(Milestone::Acked)).await.expect("acknowledged");
    }
    server.misbehave(Misbehaviour::NeverAcknowledge);
    // One at a time the second would wait for ever.
    say(&romeo, &juliet, &["three", "four"]).await;
    romeo.close().await;
    juliet.close().await;
}
