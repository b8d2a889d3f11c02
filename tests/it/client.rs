//! The client's life: before, during and after a connection, on the in-process server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use xmppkit::client::{Client, ConnectionInfo, Lag, LastDrop, Milestone, Reconnect, Reply, State};
use xmppkit::error::{ErrorKind, Phase};
use xmppkit::event::{Event, GapKind, Inbound, Incoming, Origin, Route};
use xmppkit::ext::Ctx;
use xmppkit::jid::Jid;
use xmppkit::messaging::{ChatMessage, Messages as _};
use xmppkit::presence::{Presences as _, Show};
use xmppkit::register::Registers as _;
use xmppkit::roster::{Rosters as _, SubscriptionRequest};
use xmppkit::store::MemoryStore;
use xmppkit::testing::{Builder, Cut, Server, Target, Way};
use xmppkit::xmpp_parsers::message::Message;
use xmppkit::xmpp_parsers::ping::Ping;
use xmppkit::xmpp_parsers::presence::Presence;

use crate::common::{DOMAIN, builder, client, in_every_dialect, online, server, within};

in_every_dialect![
    a_subscription_made_before_connecting_gets_what_the_server_kept,
    the_states_are_told_in_order_through_a_cut,
    closing_ends_the_session_in_an_orderly_way,
    suspending_drops_the_connection_and_leaves_the_stream_open,
    requests_are_answered_refused_timed_out_and_lost,
    a_message_sent_offline_goes_out_when_online_and_its_token_tells,
    a_session_the_server_ends_is_begun_anew,
    a_client_whose_password_or_trust_was_wrong_is_put_right_without_building_it_anew,
    a_dead_connection_is_noticed_and_made_anew,
];

/// Any message with a body.
#[derive(Debug, Clone)]
struct Text(String);

impl Event for Text {
    fn route() -> Route {
        Route::message().payload("jabber:client", "body")
    }

    fn from_inbound(inbound: &Inbound, _: &xmppkit::client::WeakClient) -> Option<Self> {
        Some(Self(inbound.stanza().child_text("jabber:client", "body")?.into_owned()))
    }
}

fn says(from: &str, to: impl std::fmt::Display, text: &str) -> String {
    format!("<message xmlns='jabber:client' from='{from}' to='{to}' type='chat'><body>{text}</body></message>")
}

fn quick() -> Reconnect {
    Reconnect::default().base(Duration::from_millis(20))
}

fn describe(state: &State) -> &'static str {
    match state {
        State::Offline { .. } => "offline",
        State::Connecting { .. } => "connecting",
        State::Online { .. } => "online",
        State::Suspended { .. } => "suspended",
        State::Waiting { .. } => "waiting",
        State::Failed(_) => "failed",
        State::Closed => "closed",
        _ => "?",
    }
}

async fn a_subscription_made_before_connecting_gets_what_the_server_kept(server: Builder) {
    let server = server.start().await.expect("a server");
    let juliet = server.jid("juliet").expect("a JID");
    server.route_stanza(&says("romeo@example.org/balcony", &juliet, "art thou there?")).expect("routed");
    let client = client(&server, "juliet").await;
    let mut texts = client.subscribe::<Text>();
    client.connect().await.expect("online");
    let Some(Incoming::Item(item)) = within("the message", texts.next()).await else { panic!("no item") };
    assert_eq!((item.0.as_str(), item.origin()), ("art thou there?", Origin::Offline));
    client.close().await;
}

#[tokio::test]
async fn a_message_that_came_before_anybody_subscribed_goes_to_the_first_who_does() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let jid = client.jid().expect("bound");
    server.route_stanza(&says("romeo@example.org/b", &jid, "early")).expect("routed");
    let _pong = client.iq_get(Some(server.domain().parse().expect("a JID")), &Ping).await.expect("a pong");
    let mut first = client.subscribe::<Text>().events();
    let mut second = client.subscribe::<Text>().events();
    assert_eq!(within("the message", first.next()).await.map(|text| text.0).as_deref(), Some("early"));
    server.route_stanza(&says("romeo@example.org/b", &jid, "late")).expect("routed");
    assert_eq!(within("the message", second.next()).await.map(|text| text.0).as_deref(), Some("late"));
    assert_eq!(client.dropped_messages(), 0);
    client.close().await;
}

async fn the_states_are_told_in_order_through_a_cut(server: Builder) {
    let server = server.start().await.expect("a server");
    let client = builder(&server, "romeo").reconnect(quick()).build().await.expect("a client");
    let mut states = client.states();
    client.connect().await.expect("online");
    assert_eq!(server.cut(Target::All, Cut::Rst), 1);
    let mut seen = Vec::new();
    within("the second session", async {
        while seen.iter().filter(|state| **state == "online").count() < 2 {
            seen.push(describe(&states.next().await.expect("a state")));
        }
    })
    .await;
    assert_eq!(seen, ["offline", "connecting", "online", "suspended", "waiting", "connecting", "online"]);
    client.close().await;
    assert_eq!(describe(&within("the end", states.next()).await.expect("a state")), "closed");
}

async fn closing_ends_the_session_in_an_orderly_way(server: Builder) {
    let server = server.start().await.expect("a server");
    let client = online(&server, "romeo").await;
    within("the end", client.close()).await;
    assert!(matches!(client.state(), State::Closed));
    within("the server's side", server.wait_for(|server| server.sessions().is_empty() && server.connections() == 0)).await;
    // and it can be connected again
    client.connect().await.expect("online again");
    client.close().await;
}

async fn suspending_drops_the_connection_and_leaves_the_stream_open(server: Builder) {
    let server = server.start().await.expect("a server");
    let client = online(&server, "romeo").await;
    within("the end", client.suspend()).await;
    assert!(client.state().is_stopped());
    within("the server's side", server.wait_for(|server| server.connections() == 0)).await;
}

#[tokio::test]
async fn streams_end_when_the_client_is_closed_and_go_on_when_it_connects_again() {
    let server = server().start().await.expect("a server");
    let client = client(&server, "juliet").await;
    let mut texts = client.subscribe::<Text>().events();
    assert!(texts.next().now_or_never().is_none(), "before connecting it waits");
    client.connect().await.expect("online");
    client.close().await;
    assert!(within("the end", texts.next()).await.is_none());
    client.connect().await.expect("online again");
    server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "again")).expect("routed");
    assert_eq!(within("the message", texts.next()).await.map(|text| text.0).as_deref(), Some("again"));
    client.close().await;
}

/// The server lives on a runtime of its own, so that the client's tasks can be counted.
fn server_elsewhere() -> (tokio::runtime::Runtime, Server) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let server = runtime.block_on(server().start()).expect("a server");
    (runtime, server)
}

#[test]
fn dropping_the_last_handle_ends_every_task() {
    let (_elsewhere, server) = server_elsewhere();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive(), 0);
        let client = client(&server, "juliet").await;
        assert_eq!(alive(), 0, "building spawns nothing");
        let handled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&handled);
        client
            .on(move |_: Text, cx: Ctx| {
                let (count, _client) = (Arc::clone(&count), cx.client());
                async move {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
            .detach();
        let mut texts = client.subscribe::<Text>().events();
        client.connect().await.expect("online");
        let second = client.clone();
        server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "hi")).expect("routed");
        within("the message", texts.next()).await;
        drop(client);
        assert_eq!(handled.load(Ordering::SeqCst), 1);
        assert!(second.state().is_online(), "one handle is left");
        drop(second);
        assert!(within("the end", texts.next()).await.is_none());
        within("the end of every task", async {
            while alive() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
    let gone = async { within("the server's side", server.wait_for(|server| server.connections() == 0)).await };
    runtime.block_on(gone);
}

#[tokio::test]
async fn a_driver_can_be_polled_by_whoever_likes() {
    let server = server().start().await.expect("a server");
    let (client, driver) = builder(&server, "romeo").build_with_driver().await.expect("a client");
    let drive = tokio::spawn(driver);
    client.connect().await.expect("online");
    drop(client);
    within("the driver's end", drive).await.expect("no panic");
}

#[tokio::test]
async fn one_account_of_one_store_is_open_once() {
    let server = server().start().await.expect("a server");
    let store = Arc::new(MemoryStore::new());
    let first = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
    let second = builder(&server, "romeo").store(store.clone()).build().await.expect_err("in use");
    assert_eq!(second.kind(), &ErrorKind::StoreInUse);
    let _other = builder(&server, "juliet").store(store.clone()).build().await.expect("another account");
    drop(first);
    let third = builder(&server, "romeo").store(store.clone()).build().await.expect("free again");

    // A client that runs ends some time after its last handle; the next one waits for that.
    third.connect().await.expect("online");
    drop(third);
    let _fourth = builder(&server, "romeo").store(store).build().await.expect("free soon");
}

#[test]
fn outside_a_runtime_building_is_a_typed_error() {
    let builder = Client::builder("romeo@example.org".parse().expect("a JID")).password("secret");
    let result = futures::executor::block_on(builder.build());
    assert_eq!(result.expect_err("an error").kind(), &ErrorKind::NoRuntime);
}

async fn requests_are_answered_refused_timed_out_and_lost(server: Builder) {
    let server = server.start().await.expect("a server");
    let client = builder(&server, "romeo").reconnect(quick()).build().await.expect("a client");
    let domain = Some(server.domain().parse::<Jid>().expect("a JID"));
    let offline = client.iq_get(domain.clone(), &Ping).await.expect_err("offline");
    assert_eq!(offline.kind(), &ErrorKind::NotOnline);
    client.connect().await.expect("online");
    client.iq_get(domain.clone(), &Ping).await.expect("a pong");
    let refused = client.iq_get("juliet@example.org/nowhere".parse::<Jid>().ok(), &Ping).await;
    assert!(
        matches!(refused.expect_err("no such resource").kind(), ErrorKind::Stanza(error) if error.condition == "service-unavailable")
    );

    server.stall(Target::All, Way::FromClient);
    let late = client.iq_get(domain.clone(), &Ping).timeout(Duration::from_millis(50)).await.expect_err("too late");
    assert_eq!(late.kind(), &ErrorKind::RequestTimeout(Duration::from_millis(50)));
    let lost = tokio::spawn(client.iq_get(domain, &Ping).into_future());
    tokio::task::yield_now().await;
    server.forget_sessions();
    server.cut(Target::All, Cut::Rst);
    server.resume(Target::All, Way::FromClient);
    let lost = within("the loss", lost).await.expect("no panic").expect_err("lost");
    assert!(matches!(lost.kind(), ErrorKind::SessionLost { .. }), "{lost}");
    client.close().await;
}

async fn a_message_sent_offline_goes_out_when_online_and_its_token_tells(server: Builder) {
    let server = server.start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let mut texts = juliet.subscribe::<Text>().events();
    let romeo = client(&server, "romeo").await;
    let to = juliet.account().clone();
    let mut tokens = Vec::new();
    for number in 0..20 {
        let message = Message::chat(Some(to.clone().into())).with_body("".into(), number.to_string());
        tokens.push(romeo.send(message).await.expect("accepted"));
    }
    assert!(tokens.iter().all(|token| token.status().queued.is_some() && token.status().written.is_none()));
    romeo.connect().await.expect("online");
    for number in 0..20 {
        assert_eq!(within("a message", texts.next()).await.map(|text| text.0), Some(number.to_string()));
    }
    within("the token", tokens[19].wait_for(Milestone::Written)).await.expect("written");
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn a_stanza_too_large_for_any_server_is_refused_before_it_costs_the_stream() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "romeo").await;
    let message = Message::chat("juliet@example.org".parse().ok()).with_body("".into(), "x".repeat(300_000));
    let error = client.send(message).await.expect_err("too large");
    assert!(matches!(error.kind(), ErrorKind::StanzaTooLarge { limit: 262_144, .. }), "{error}");
    assert!(client.state().is_online());
    client.close().await;
}

/// What the server says it takes goes (XEP-0478, R7), and what the application says goes before that.
#[tokio::test]
async fn the_limit_of_a_stanza_is_the_servers_unless_the_application_sets_one() {
    let text = |bytes| Message::chat("juliet@example.org".parse().ok()).with_body("".into(), "x".repeat(bytes));
    let limit = async |client: &Client| match client.send(text(2_000_000)).await.expect_err("too large").kind() {
        ErrorKind::StanzaTooLarge { limit, .. } => *limit,
        other => panic!("{other:?}"),
    };
    for (advertised, bytes, expected) in [(true, 50_000, 50_000), (true, 1_000_000, 1_000_000), (false, 1_000_000, 262_144)] {
        let differences = move |d: &mut xmppkit::testing::Differences| {
            (d.advertises_limits, d.max_stanza_bytes) = (advertised, bytes);
        };
        let server = server().differences(differences).start().await.expect("a server");
        let client = client(&server, "romeo").await;
        assert_eq!(limit(&client).await, 262_144, "nothing is known yet");
        client.connect().await.expect("online");
        assert_eq!(limit(&client).await, expected);
        let sent = client.send(text(expected - 1_000)).await.expect("accepted");
        within("the token", sent.wait_for(Milestone::Written)).await.expect("written");
        client.iq_get(Some(DOMAIN.parse().expect("a JID")), &Ping).await.expect("the stream lives");
        client.close().await;
        assert_eq!(limit(&client).await, expected, "the next session will be like the last");

        let bold = builder(&server, "juliet").max_stanza_bytes(300_000).build().await.expect("a client");
        bold.connect().await.expect("online");
        assert_eq!(limit(&bold).await, 300_000);
        bold.close().await;
    }
}

/// R26: the stream is closed, or left open for a resumption.
#[tokio::test]
async fn when_the_last_handle_is_dropped_the_session_ends_as_the_builder_chose() {
    for (chosen, closes) in [(None, true), (Some(LastDrop::Close), true), (Some(LastDrop::Suspend), false)] {
        let server = server().start().await.expect("a server");
        let said = Arc::new(std::sync::Mutex::new(String::new()));
        let log = Arc::clone(&said);
        let builder = builder(&server, "romeo").xml_log(move |direction, xml| {
            if direction == xmppkit::client::XmlDirection::Sent {
                log.lock().expect("the log").push_str(xml);
            }
        });
        let builder = if let Some(chosen) = chosen { builder.on_last_drop(chosen) } else { builder };
        let client = builder.build().await.expect("a client");
        let mut texts = client.subscribe::<Text>();
        client.connect().await.expect("online");
        drop(client);
        assert!(within("the end", texts.next()).await.is_none());
        within("the server's side", server.wait_for(|server| server.connections() == 0)).await;
        assert_eq!(said.lock().expect("the log").contains("</stream:stream>"), closes, "{chosen:?}");
    }
}

/// R2: of 21 messages that wait beyond a full mailbox, 20 are as many as may.
#[tokio::test]
async fn a_slow_subscriber_is_cut_off_at_the_bound_the_application_chose() {
    const SENT: usize = 1_024 + 30;
    let server = server().start().await.expect("a server");
    let lag = Lag::default().stanzas(20).pause(Duration::from_millis(50));
    let client = builder(&server, "juliet").lag(lag).build().await.expect("a client");
    let mut slow = client.subscribe::<Text>();
    let mut quick = client.subscribe::<Text>().events();
    client.connect().await.expect("online");
    let jid = client.jid().expect("bound");
    for number in 0..SENT {
        server.route_stanza(&says("romeo@example.org/b", &jid, &number.to_string())).expect("routed");
    }
    for _ in 0..SENT {
        within("a message", quick.next()).await.expect("a message");
    }
    let mut gaps = 0;
    while let Some(Some(incoming)) = slow.next().now_or_never() {
        gaps += usize::from(matches!(incoming, Incoming::Gap(_)));
    }
    assert_eq!(gaps, 1);
    client.close().await;
}

#[tokio::test]
async fn handlers_keep_order_can_fail_can_panic_and_can_be_removed() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let jid = client.jid().expect("bound");
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let guard = client.on(move |text: Text| {
        let sender = sender.clone();
        async move {
            assert!(text.0 != "panic", "as asked");
            sender.send(text.0.clone()).map_err(xmppkit::Error::other)?;
            if text.0 == "fail" { Err(ErrorKind::NotOnline.into()) } else { Ok(()) }
        }
    });
    for text in ["one", "panic", "fail", "two"] {
        server.route_stanza(&says("romeo@example.org/b", &jid, text)).expect("routed");
    }
    for text in ["one", "fail", "two"] {
        assert_eq!(within("a call", receiver.recv()).await.as_deref(), Some(text));
    }
    drop(guard);
    assert_eq!(within("the removal", receiver.recv()).await, None, "the closure is dropped with the guard");
    client.close().await;
}

#[tokio::test]
async fn a_handler_of_incoming_sees_items_as_a_stream_does() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    client
        .on(move |incoming: Incoming<Text>, _cx: Ctx| {
            let sender = sender.clone();
            async move { sender.send(incoming.item().map(|item| item.0.clone())).map_err(xmppkit::Error::other) }
        })
        .detach();
    server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "hi")).expect("routed");
    assert_eq!(within("a call", receiver.recv()).await, Some(Some("hi".to_owned())));
    client.close().await;
}

/// Reading pauses at the bound of R2, the slow one is cut off and told, the quick one misses nothing.
#[tokio::test]
async fn a_slow_subscriber_is_cut_off_with_a_gap_and_costs_the_others_nothing() {
    const SENT: usize = 1_600;
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let jid = client.jid().expect("bound");
    let slow = client.subscribe::<Text>();
    let mut quick = client.subscribe::<Text>().events();
    for number in 0..SENT {
        server.route_stanza(&says("romeo@example.org/b", &jid, &number.to_string())).expect("routed");
    }
    for number in 0..SENT {
        assert_eq!(within("a message", quick.next()).await.map(|text| text.0), Some(number.to_string()));
    }
    let mut slow = Box::pin(slow);
    let (mut items, mut missing) = (0, 0);
    while let Some(Some(incoming)) = slow.next().now_or_never() {
        match incoming {
            Incoming::Item(item) => {
                assert_eq!(item.0, (items + missing).to_string(), "what is missing is missing where the gap says");
                items += 1;
            }
            Incoming::Gap(gap) => {
                assert_eq!(gap.kind, GapKind::Overflow);
                missing += usize::try_from(gap.count.expect("a count")).expect("a count");
            }
            _ => panic!("something else"),
        }
    }
    assert!(items >= 1024, "{items}");
    assert!(missing > 0);
    assert_eq!(items + missing, SENT);
    client.close().await;
}

#[tokio::test]
async fn a_second_copy_of_a_message_under_the_same_origin_id_is_dropped() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let jid = client.jid().expect("bound");
    let mut texts = client.subscribe::<Text>().events();
    let copy = |from: &str, text: &str| {
        format!(
            "<message xmlns='jabber:client' from='{from}' to='{jid}'><body>{text}</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>"
        )
    };
    for stanza in [
        copy("romeo@example.org/a", "once"),
        copy("romeo@example.org/b", "once"),
        copy("mercutio@example.org/a", "once"),
        copy("romeo@example.org/a", "something else"),
    ] {
        server.route_stanza(&stanza).expect("routed");
    }
    for expected in ["once", "once", "something else"] {
        assert_eq!(within("a message", texts.next()).await.map(|text| text.0).as_deref(), Some(expected));
    }
    let log = client.store().feed(xmppkit::store::Position::START, 10).await.expect("a read");
    assert_eq!(log.len(), 3);
    client.close().await;
}

#[tokio::test]
async fn nothing_said_before_tls_is_believed_after_it() {
    let injected = says("mallory@example.org/x", "juliet@example.org", "believe me");
    let server = server().misbehave(xmppkit::testing::Misbehaviour::InjectBeforeTls(injected)).start().await.expect("a server");
    let client = client(&server, "juliet").await;
    let mut texts = client.subscribe::<Text>().events();
    client.connect().await.expect("online");
    let _pong = client.iq_get(Some(server.domain().parse().expect("a JID")), &Ping).await.expect("a pong");
    assert!(texts.next().now_or_never().is_none());
    client.close().await;
}

async fn a_session_the_server_ends_is_begun_anew(server: Builder) {
    let server = server.start().await.expect("a server");
    let client = builder(&server, "romeo").reconnect(quick()).build().await.expect("a client");
    let mut states = client.states();
    client.connect().await.expect("online");
    for condition in ["system-shutdown", "reset", "connection-timeout"] {
        server.kick(Target::All, condition);
        within("the next session", async {
            loop {
                match states.next().await.expect("a state") {
                    State::Waiting { cause, .. } => {
                        assert!(matches!(cause.kind(), ErrorKind::Stream(error) if error.condition == condition), "{cause}");
                        break;
                    }
                    _ => continue,
                }
            }
            while !client.state().is_online() {
                states.next().await;
            }
        })
        .await;
    }
    server.kick(Target::All, "conflict");
    within("the end", async { while !matches!(states.next().await, Some(State::Failed(_))) {} }).await;
}

/// Everything public that is a future can move between threads.
#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: T) {}
    #[allow(dead_code, unreachable_code, clippy::diverging_sub_expression, reason = "only the types matter")]
    fn all(client: &Client, sent: &xmppkit::client::Sent, server: &Server) {
        is_send(client.connect().into_future());
        is_send(client.close());
        is_send(client.suspend());
        is_send(client.send(Message::chat(None)));
        is_send(client.iq_get(None, &Ping).into_future());
        is_send(client.subscribe::<Text>());
        is_send(client.states());
        is_send(sent.wait_for(Milestone::Written));
        is_send(server.restart());
        is_send(Client::builder("a@b".parse().expect("a JID")).build());
        is_send(Client::builder("a@b".parse().expect("a JID")).build_with_driver());
        is_send(client.send_presence(Presence::available()));
        is_send(client.subscribe::<Text>().durable("name"));
        is_send(client.subscribe::<Text>().healed());
        is_send(client.register().into_future());
        is_send(client.registration().into_future());
        let jid = client.account();
        let roster = client.roster();
        is_send(roster.add(jid.clone()).into_future());
        is_send(roster.rename(jid, ""));
        is_send(roster.set_groups(jid, [""]));
        is_send(roster.remove(jid));
        is_send(roster.subscribe(jid).into_future());
        is_send(roster.unsubscribe(jid));
        is_send(roster.cancel(jid));
        is_send(roster.preapprove(jid));
        is_send(roster.watch().wait_for(|_| true));
        is_send(client.presence().set(Show::Away).into_future());
        is_send(client.presence().send_to(jid.clone()).into_future());
        is_send(client.chat(jid).send("").into_future());
    }
    #[allow(dead_code, reason = "only the types matter")]
    fn values(
        form: xmppkit::register::RegistrationForm,
        request: &SubscriptionRequest,
        message: &ChatMessage,
        item: &xmppkit::event::Delivery<Text>,
        durable: xmppkit::event::Durable<Text>,
        logged: xmppkit::event::Logged<Text>,
    ) {
        is_send(form.submit());
        is_send(request.accept());
        is_send(request.accept_and_subscribe());
        is_send(request.deny());
        is_send(message.reply("").into_future());
        is_send(item.ack());
        is_send(durable.events());
        is_send(logged.events());
    }
    fn is_sync<T: Send + Sync + 'static>() {}
    is_sync::<Client>();
    is_sync::<Reply>();
    is_sync::<ConnectionInfo>();
    is_sync::<xmppkit::Error>();
    let _ = Phase::Session;
}

/// PLAIN where SCRAM succeeded before is a downgrade, for another process too (R37, C4).
#[tokio::test]
async fn what_a_login_proved_is_remembered_in_the_store() {
    let server = server().start().await.expect("a server");
    let store = Arc::new(MemoryStore::new());
    let first = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
    first.connect().await.expect("online");
    first.close().await;
    drop(first);
    let weak = crate::common::server().mechanisms([xmppkit::testing::Mechanism::Plain]).start().await.expect("a server");
    let downgraded = builder(&weak, "romeo").store(store).build().await.expect("a client");
    let error = downgraded.connect().await.expect_err("a downgrade");
    assert_eq!(error.kind(), &ErrorKind::Auth(xmppkit::error::AuthError::Downgrade), "{error}");
    let unknowing = builder(&weak, "romeo").build().await.expect("a client");
    unknowing.connect().await.expect("PLAIN inside TLS is accepted by who knows no better");
}

async fn a_client_whose_password_or_trust_was_wrong_is_put_right_without_building_it_anew(server: Builder) {
    let server = server.start().await.expect("a server");
    let client =
        builder(&server, "juliet").password("wrong").trust(xmppkit::client::Trust::pin([7; 32])).build().await.expect("a client");
    let mut texts = client.subscribe::<Text>().events();
    assert!(matches!(client.connect().await.expect_err("not pinned").kind(), ErrorKind::Certificate(_)));
    client.set_trust(xmppkit::client::Trust::pin(server.certificate_fingerprint()));
    assert!(client.connect().await.expect_err("wrong password").is_auth());
    client.set_password(crate::common::PASSWORD);
    client.connect().await.expect("online");
    assert!(client.mechanism().is_some_and(|mechanism| mechanism.starts_with("SCRAM-")));
    server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "hi")).expect("routed");
    assert_eq!(within("the message", texts.next()).await.map(|text| text.0).as_deref(), Some("hi"));
    // A password that is wrong now is noticed, although keys of the right one were there.
    client.close().await;
    client.set_password("wrong again");
    assert!(client.connect().await.expect_err("wrong password").is_auth());
}

#[tokio::test]
async fn the_error_of_a_request_says_what_was_asked_of_whom() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "romeo").await;
    let error = client.iq_get("juliet@example.org/nowhere".parse::<Jid>().ok(), &Ping).await.expect_err("nobody there");
    assert!(error.to_string().ends_with("get <ping xmlns='urn:xmpp:ping'> to juliet@example.org/nowhere"), "{error}");
    client.close().await;
}

/// A network that is gone sends neither FIN nor RST.
async fn a_dead_connection_is_noticed_and_made_anew(server: Builder) {
    let server = server.no_stream_management().start().await.expect("a server");
    let pace = xmppkit::client::KeepAlive::new(Duration::from_millis(200), Duration::from_millis(800));
    let client = builder(&server, "romeo").keep_alive(pace).reconnect(quick()).build().await.expect("a client");
    let mut states = client.states();
    client.connect().await.expect("online");
    // A server that answers is not given up, however long nobody says anything else.
    let pings = || server.received(Target::All).iter().filter(|stanza| stanza.contains("urn:xmpp:ping")).count();
    within("three pings", server.wait_for(|_| pings() >= 3)).await;
    assert!(client.state().is_online());
    server.stall(client.jid().expect("bound"), Way::Both);
    let cause = within("the end", async {
        loop {
            if let State::Waiting { cause, .. } = states.next().await.expect("a state") {
                return cause;
            }
        }
    })
    .await;
    assert_eq!(cause.kind(), &ErrorKind::Timeout(Phase::Session), "{cause}");
    within("the next session", async { while !states.next().await.expect("a state").is_online() {} }).await;
    client.close().await;
}
