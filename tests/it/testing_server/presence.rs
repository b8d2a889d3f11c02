use xmppkit::testing::{Cut, Dialect, Server, Subscription};

use super::client::{Client, LONG};

async fn start(dialect: Dialect) -> Server {
    let builder = Server::builder().dialect(dialect).domain("example.org");
    builder.account("romeo", "secret").account("juliet", "secret").start().await.unwrap()
}

fn own(kind: &str, from: &str) -> (String, String) {
    (kind.into(), from.into())
}

#[tokio::test]
async fn a_subscription_is_asked_for_accepted_and_ended_in_every_dialect() {
    for dialect in Dialect::ALL {
        let server = start(dialect).await;
        let (romeo_jid, juliet_jid) = (server.jid("romeo").unwrap(), server.jid("juliet").unwrap());
        let mut romeo = Client::online(&server, "romeo", "r").await;
        let mut juliet = Client::online(&server, "juliet", "j").await;

        romeo.send("<presence type='subscribe' to='juliet@example.org'/>").await;
        romeo.sync().await;
        assert_eq!(juliet.presences().await, [own("subscribe", "romeo@example.org")]);
        assert!(server.roster(&romeo_jid)[0].ask);
        assert!(server.roster(&juliet_jid).is_empty(), "a request alone makes no contact");

        juliet.send("<presence type='subscribed' to='romeo@example.org'/>").await;
        juliet.sync().await;
        let seen = romeo.presences().await;
        assert_eq!(seen, [own("subscribed", "juliet@example.org"), own("", "juliet@example.org/j")], "{dialect:?}");
        assert_eq!(server.roster(&romeo_jid)[0].subscription, Subscription::To);
        assert_eq!(server.roster(&juliet_jid)[0].subscription, Subscription::From);

        juliet.send("<presence><show>away</show></presence>").await;
        juliet.sync().await;
        assert_eq!(romeo.presences().await, [own("", "juliet@example.org/j")]);

        juliet.send("<presence type='unsubscribed' to='romeo@example.org'/>").await;
        juliet.sync().await;
        let seen = romeo.presences().await;
        assert_eq!(seen, [own("unsubscribed", "juliet@example.org"), own("unavailable", "juliet@example.org/j")]);
        assert_eq!(server.roster(&romeo_jid)[0].subscription, Subscription::None);
        assert_eq!(server.roster(&juliet_jid)[0].subscription, Subscription::None);
    }
}

#[tokio::test]
async fn a_request_waits_for_its_answer_over_logins() {
    let server = start(Dialect::Strict).await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    romeo.send("<presence type='subscribe' to='juliet@example.org'><nick xmlns='http://jabber.org/protocol/nick'>R</nick></presence>").await;
    romeo.sync().await;
    for resource in ["a", "b"] {
        let mut juliet = Client::login(&server, "juliet", "secret", resource).await;
        juliet.send("<presence/>").await;
        let frames = juliet.sync().await;
        let request = frames.iter().find(|f| f.attr("type").as_deref() == Some("subscribe")).unwrap();
        assert!(request.child("http://jabber.org/protocol/nick", "nick").is_some());
    }
    let mut juliet = Client::online(&server, "juliet", "c").await;
    juliet.send("<presence type='unsubscribed' to='romeo@example.org'/>").await;
    juliet.sync().await;
    assert_eq!(romeo.presences().await, [own("unsubscribed", "juliet@example.org")]);
    let mut juliet = Client::login(&server, "juliet", "secret", "d").await;
    juliet.send("<presence/>").await;
    assert!(juliet.presences().await.iter().all(|(kind, _)| kind != "subscribe"));
}

#[tokio::test]
async fn approval_before_the_request_answers_it_where_the_dialect_has_it() {
    for (dialect, approves) in [(Dialect::Strict, true), (Dialect::OldEjabberd, false)] {
        let server = start(dialect).await;
        let mut juliet = Client::online(&server, "juliet", "j").await;
        juliet.send("<presence type='subscribed' to='romeo@example.org'/>").await;
        juliet.sync().await;
        assert_eq!(server.roster(&server.jid("juliet").unwrap()).len(), usize::from(approves));
        let mut romeo = Client::online(&server, "romeo", "r").await;
        romeo.send("<presence type='subscribe' to='juliet@example.org'/>").await;
        let seen = romeo.presences().await;
        assert_eq!(seen.contains(&own("subscribed", "juliet@example.org")), approves, "{dialect:?}");
        assert_eq!(seen.contains(&own("", "juliet@example.org/j")), approves, "{dialect:?}");
    }
}

#[tokio::test]
async fn a_resource_learns_who_is_online_and_is_missed_when_it_is_cut_off() {
    let server = start(Dialect::Strict).await;
    server.befriend(&server.jid("romeo").unwrap(), &server.jid("juliet").unwrap());
    let mut juliet = Client::online(&server, "juliet", "j").await;
    let mut away = Client::online(&server, "juliet", "away").await;
    juliet.sync().await;
    let mut romeo = Client::login(&server, "romeo", "secret", "r").await;
    romeo.send("<presence/>").await;
    let mut seen = romeo.presences().await;
    seen.sort();
    assert_eq!(seen, [own("", "juliet@example.org/away"), own("", "juliet@example.org/j"), own("", "romeo@example.org/r")]);
    assert_eq!(juliet.presences().await, [own("", "romeo@example.org/r")]);

    assert_eq!(server.cut(server.jid("romeo").unwrap(), Cut::Rst), 1);
    tokio::time::timeout(LONG, server.wait_for(|s| s.sessions().len() == 2)).await.unwrap();
    assert_eq!(juliet.presences().await, [own("unavailable", "romeo@example.org/r")]);

    away.send("<presence type='unavailable'/>").await;
    away.sync().await;
    assert_eq!(juliet.presences().await, [own("unavailable", "juliet@example.org/away")]);
}

#[tokio::test]
async fn directed_presence_reaches_strangers_and_is_taken_back() {
    let server = start(Dialect::Strict).await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let mut juliet = Client::online(&server, "juliet", "j").await;
    romeo.send("<presence to='juliet@example.org/j'/>").await;
    romeo.sync().await;
    assert_eq!(juliet.presences().await, [own("", "romeo@example.org/r")]);
    drop(romeo);
    tokio::time::timeout(LONG, server.wait_for(|s| s.sessions().len() == 1)).await.unwrap();
    assert_eq!(juliet.presences().await, [own("unavailable", "romeo@example.org/r")]);
}

#[tokio::test]
async fn a_contact_elsewhere_can_be_played_by_the_test() {
    let server = start(Dialect::Strict).await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    server
        .route_stanza("<presence xmlns='jabber:client' type='subscribe' from='nurse@far.example' to='romeo@example.org'/>")
        .unwrap();
    assert_eq!(romeo.presences().await, [own("subscribe", "nurse@far.example")]);
    romeo.send("<presence type='subscribed' to='nurse@far.example'/>").await;
    romeo.sync().await;
    assert_eq!(server.roster(&server.jid("romeo").unwrap())[0].subscription, Subscription::From);
    let sent = server.received(server.jid("romeo").unwrap());
    assert!(sent.iter().any(|xml| xml.contains("subscribed") && xml.contains("nurse@far.example")), "{sent:?}");
    server.route_stanza("<presence/>").unwrap_err();
    server.route_stanza("<presence xmlns='jabber:client' to='romeo@example.org'/>").unwrap_err();
}

#[tokio::test]
async fn a_removed_contact_loses_both_subscriptions() {
    let server = start(Dialect::Strict).await;
    let (romeo_jid, juliet_jid) = (server.jid("romeo").unwrap(), server.jid("juliet").unwrap());
    server.befriend(&romeo_jid, &juliet_jid);
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let mut juliet = Client::online(&server, "juliet", "j").await;
    juliet.sync().await;
    romeo.sync().await;
    romeo.ask("set", "<query xmlns='jabber:iq:roster'><item jid='juliet@example.org' subscription='remove'/></query>").await;
    let seen = juliet.presences().await;
    let from = "romeo@example.org";
    assert_eq!(seen, [own("unsubscribe", from), own("unsubscribed", from), own("unavailable", "romeo@example.org/r")]);
    assert_eq!(server.roster(&juliet_jid)[0].subscription, Subscription::None);
    assert_eq!(romeo.presences().await, [own("unavailable", "juliet@example.org/j")]);
}

#[tokio::test]
async fn an_account_or_a_session_is_waited_for_until_the_server_has_its_presence() {
    let server = start(Dialect::Strict).await;
    let (account, session) = (server.jid("romeo").unwrap(), server.jid("romeo").unwrap().with_resource_str("b").unwrap());
    let mut waiting = std::pin::pin!(server.wait_online(&account));
    assert!(futures::poll!(&mut waiting).is_pending(), "nobody is there");
    let mut first = Client::login(&server, "romeo", "secret", "a").await;
    assert!(futures::poll!(&mut waiting).is_pending(), "logged in is not available");
    first.send("<presence/>").await;
    tokio::time::timeout(LONG, waiting).await.unwrap();

    let mut waiting = std::pin::pin!(server.wait_online(&session));
    assert!(futures::poll!(&mut waiting).is_pending(), "that is another session");
    let _second = Client::online(&server, "romeo", "b").await;
    tokio::time::timeout(LONG, waiting).await.unwrap();
}
