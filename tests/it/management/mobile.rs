//! What a client on a phone tells its server: that nobody is looking (XEP-0352), and whom to notify (XEP-0357), as R52 has it.

use std::time::Duration;

use xmppkit::client::Client;
use xmppkit::error::ErrorKind;
use xmppkit::testing::{Builder, Cut, Server};
use xmppkit::xep::csi::ClientStates as _;
use xmppkit::xep::push::{PushTarget, Pushes as _};
use xmppkit::xmpp_parsers::ping::Ping;

use super::process::{Disk, Process};
use super::{online, quick, until};
use crate::common::{in_every_dialect, server, within};

in_every_dialect![
    a_client_that_nobody_looks_at_says_so_in_every_session_and_after_every_resume,
    who_is_to_be_notified_is_told_once_a_session_where_the_server_can,
];

/// What romeo's session said of its state.
fn said(server: &Server, romeo: &Client) -> Vec<bool> {
    let jid = romeo.jid();
    let own = server.sessions().into_iter().find(|session| session.connected && Some(&session.jid) == jid.as_ref());
    own.map(|session| session.client_states).unwrap_or_default()
}

async fn has_said(server: &Server, romeo: &Client, expected: &[bool]) {
    within("what is said", server.wait_for(|server| said(server, romeo) == expected)).await;
    romeo.iq_get(None, &Ping).await.expect("a pong");
    assert_eq!(said(server, romeo), expected, "and nothing else");
}

async fn a_client_that_nobody_looks_at_says_so_in_every_session_and_after_every_resume(server: Builder) {
    let server = server.start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut states = romeo.states();
    until(&mut states, "online").await;
    romeo.set_inactive(true).await.expect("said");
    romeo.set_inactive(true).await.expect("known");
    has_said(&server, &romeo, &[true]).await;
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online again").await;
    has_said(&server, &romeo, &[true, true]).await;
    romeo.set_inactive(false).await.expect("said");
    has_said(&server, &romeo, &[true, true, false]).await;
    // A session begins active.
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online again").await;
    has_said(&server, &romeo, &[true, true, false]).await;
    romeo.set_inactive(true).await.expect("said");
    server.forget_sessions();
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online").await;
    has_said(&server, &romeo, &[true]).await;
    romeo.close().await;
    romeo.set_inactive(false).await.expect("noted");
    romeo.connect().await.expect("online");
    has_said(&server, &romeo, &[]).await;
    romeo.close().await;
}

#[tokio::test]
async fn where_it_is_not_offered_nothing_is_said_of_the_clients_state() {
    let server = server().differences(|d| d.client_states = false).start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    romeo.set_inactive(true).await.expect("noted");
    // The server ends a stream on which it gets what it does not know.
    romeo.iq_get(None, &Ping).await.expect("a pong");
    assert!(romeo.state().is_online() && romeo.is_inactive());
    assert_eq!(server.counters().logins, 1);
    romeo.close().await;
}

fn target() -> PushTarget {
    PushTarget::new("push.example.net".parse().expect("a JID")).node("phone").secret("s3cret").option("topic", "chat")
}

/// How often romeo asked for notifications.
fn asked(server: &Server, romeo: &Client) -> usize {
    server.received(romeo.account()).iter().filter(|xml| xml.contains("<enable") && xml.contains("urn:xmpp:push:0")).count()
}

async fn who_is_to_be_notified_is_told_once_a_session_where_the_server_can(server: Builder) {
    let server = server.start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut states = romeo.states();
    until(&mut states, "online").await;
    if let Err(error) = romeo.push().enable(target()).await {
        assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "service-unavailable"), "{error}");
        assert_eq!(romeo.push().targets(), [], "what is refused is not asked for again");
        romeo.close().await;
        return;
    }
    let wanted = server.push_targets(romeo.account());
    assert_eq!(wanted.len(), 1);
    for part in
        ["push.example.net", "phone", "http://jabber.org/protocol/pubsub#publish-options", "secret", "s3cret", "topic", "chat"]
    {
        assert!(wanted[0].contains(part), "{part}: {wanted:?}");
    }
    assert_eq!(asked(&server, &romeo), 1);
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online again").await;
    romeo.iq_get(None, &Ping).await.expect("a pong");
    assert_eq!(asked(&server, &romeo), 1, "a session that goes on is still notified");
    server.forget_sessions();
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online").await;
    within("the question", server.wait_for(|server| asked(server, &romeo) == 2)).await;
    assert_eq!(server.push_targets(romeo.account()), wanted);
    romeo.push().disable(&"push.example.net".parse().expect("a JID"), Some("phone")).await.expect("off");
    assert_eq!((server.push_targets(romeo.account()), romeo.push().targets()), (vec![], vec![]));
    romeo.close().await;
    romeo.connect().await.expect("online");
    tokio::time::timeout(Duration::from_secs(5), romeo.iq_get(None, &Ping).into_future())
        .await
        .expect("in time")
        .expect("a pong");
    assert_eq!(asked(&server, &romeo), 2, "nobody is to be notified any more");
    romeo.close().await;
}

#[tokio::test]
async fn the_next_process_asks_for_the_same_notifications() {
    let server = server().start().await.expect("a server");
    let romeo = Process::new(quick(&server, "romeo"), Disk::new()).await;
    romeo.client.connect().await.expect("online");
    romeo.client.push().enable(target()).await.expect("on");
    let wanted = server.push_targets(romeo.client.account());
    let disk = romeo.kill(&server).await;
    server.forget_sessions();
    let romeo = Process::new(quick(&server, "romeo"), disk).await;
    assert_eq!(romeo.client.push().targets(), [target()], "options and all");
    romeo.client.connect().await.expect("online");
    within("the question", server.wait_for(|server| asked(server, &romeo.client) == 2)).await;
    assert_eq!(server.push_targets(romeo.client.account()), wanted);
    romeo.client.close().await;
}
