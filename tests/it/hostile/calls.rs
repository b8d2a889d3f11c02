//! Callers who drop, repeat and mix up their calls.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select};
use futures::{FutureExt, StreamExt};
use xmppkit::client::{Client, State};
use xmppkit::error::ErrorKind;
use xmppkit::ext::Ctx;
use xmppkit::messaging::{ChatMessage, Messages as _};
use xmppkit::xmpp_parsers::message::Message;
use xmppkit::xmpp_parsers::ping::Ping;

use super::{ping, quick, says};
use crate::common::{builder, client, online, server, within};

#[tokio::test]
async fn what_was_sent_before_close_is_written_before_the_stream_ends() {
    let server = server().start().await.expect("a server");
    let juliet = server.jid("juliet").expect("a JID");
    for round in 0..10 {
        let romeo = online(&server, "romeo").await;
        let mut tokens = Vec::new();
        for _ in 0..5 {
            let message = Message::chat(Some(juliet.clone().into())).with_body("".into(), "good night".into());
            tokens.push(romeo.send(message).await.expect("accepted"));
        }
        within("the end", romeo.close()).await;
        let written = tokens.iter().filter(|token| token.status().written.is_some()).count();
        assert_eq!(written, 5, "in round {round}");
    }
    within("the messages", server.wait_for(|server| server.offline_messages(&juliet) == 50)).await;
}

#[tokio::test]
async fn a_send_that_waits_for_room_ends_when_the_client_is_closed() {
    let valve = Arc::new(super::valve::Valve::default());
    let server = server().start().await.expect("a server");
    let romeo = builder(&server, "romeo")
        .deadlines(super::impatient())
        .connector(Arc::new(super::valve::Through(Arc::clone(&valve))))
        .build()
        .await
        .expect("a client");
    romeo.connect().await.expect("online");
    valve.shut();
    let message = || Message::chat("juliet@example.org".parse().ok()).with_body("".into(), "x".repeat(200_000));
    let mut senders = Vec::new();
    for _ in 0..100 {
        let (romeo, message) = (romeo.clone(), message());
        senders.push(tokio::spawn(async move { romeo.send(message).await.map(drop) }));
    }
    within("the end", romeo.close()).await;
    let results = within("the senders", join_all(senders)).await;
    let refused = results.into_iter().filter(|result| match result.as_ref().expect("no panic") {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.kind(), &ErrorKind::OutboxFull);
            true
        }
    });
    assert!(refused.count() > 0);
}

#[tokio::test]
async fn futures_may_be_dropped_at_any_time() {
    let server = server().start().await.expect("a server");
    let client = builder(&server, "romeo").reconnect(quick()).deadlines(super::impatient()).build().await.expect("a client");
    let domain = || Some(server.domain().parse().expect("a JID"));
    for step in 0..40 {
        let connect = client.connect().into_future();
        // dropped after so many polls of everything
        let mut steps = 0;
        let stop = futures::future::poll_fn(|cx| {
            steps += 1;
            cx.waker().wake_by_ref();
            if steps > step { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        drop(select(connect, stop).await);
        let _ = client.close().now_or_never();
        if step % 2 == 0 {
            let _ = client.connect().into_future().now_or_never();
            let _ = client.iq_get(domain(), &Ping).into_future().now_or_never();
            let _ = client.send(Message::chat("juliet@example.org".parse().ok())).now_or_never();
        }
        if step % 3 == 0 {
            within("the end", client.close()).await;
        }
    }
    within("the end", client.close()).await;
    within("a session", client.connect().into_future()).await.expect("online");
    ping(&client).await;
    within("the end", client.close()).await;
    within("the server's side", server.wait_for(|server| server.connections() == 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connecting_and_closing_from_everywhere_ends_in_a_state_that_is_true() {
    let server = server().iterations(4096).start().await.expect("a server");
    let client = builder(&server, "romeo").reconnect(quick()).build().await.expect("a client");
    for _ in 0..8 {
        let tasks = (0..8).map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                for turn in 0..6 {
                    match (number + turn) % 4 {
                        0 => client.start(),
                        1 => client.close().await,
                        2 => drop(client.connect().await),
                        _ => client.suspend().await,
                    }
                }
            })
        });
        for task in within("everybody", join_all(tasks)).await {
            task.expect("no panic");
        }
        within("the end", client.close()).await;
        assert!(client.state().is_stopped(), "{:?}", client.state());
        within("the server's side", server.wait_for(|server| server.connections() == 0)).await;
        within("a session", client.connect().into_future()).await.expect("online");
        assert!(client.state().is_online());
        within("the end", client.close()).await;
    }
}

#[tokio::test]
async fn two_connects_at_once_are_one_session() {
    let server = server().start().await.expect("a server");
    let client = client(&server, "romeo").await;
    let (one, two) = futures::join!(client.connect().into_future(), client.connect().into_future());
    one.expect("online");
    two.expect("online");
    assert_eq!(server.sessions().len(), 1);
    let closed = futures::join!(client.close(), client.close(), client.suspend());
    let ((), (), ()) = closed;
    assert!(client.state().is_stopped());
}

#[tokio::test]
async fn a_handler_may_close_the_client_and_hold_its_last_handle() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let jid = client.jid().expect("bound");
    client
        .on(|_: ChatMessage, cx: Ctx| async move {
            cx.client().close().await;
        })
        .detach();
    let mut states = client.states();
    server.route_stanza(&says("romeo@example.org/b", &jid, "end")).expect("routed");
    within("the end", async { while !matches!(states.next().await, Some(State::Closed)) {} }).await;

    client.connect().await.expect("online again");
    let jid = client.jid().expect("bound");
    let (held, holder) = tokio::sync::oneshot::channel::<Client>();
    let holder = std::sync::Mutex::new(Some(holder));
    client
        .on(move |_: ChatMessage| {
            let holder = holder.lock().expect("no panic").take();
            async move {
                if let Some(holder) = holder {
                    drop(holder.await);
                }
            }
        })
        .detach();
    server.route_stanza(&says("romeo@example.org/b", &jid, "last")).expect("routed");
    held.send(client).expect("the handler waits, or will");
    within("the states' end", async { while states.next().await.is_some() {} }).await;
    within("the server's side", server.wait_for(|server| server.connections() == 0)).await;
}

#[tokio::test]
async fn a_thousand_subscriptions_that_come_and_go_leave_nothing() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let jid = client.jid().expect("bound");
    for round in 0..1_000 {
        drop(client.messages().events());
        drop(client.on(|_: ChatMessage| async {}));
        drop(client.states());
        if round % 100 == 0 {
            server.route_stanza(&says("romeo@example.org/b", &jid, "hi")).expect("routed");
        }
    }
    let mut last = client.messages().events();
    server.route_stanza(&says("romeo@example.org/b", &jid, "the last")).expect("routed");
    within("the last message", async {
        while let Some(message) = last.next().await {
            if message.body().as_deref() == Some("the last") {
                return;
            }
        }
        panic!("no message")
    })
    .await;
    client.close().await;
}

#[test]
fn a_runtime_that_is_shut_down_takes_the_connection_with_it_and_the_state_says_so() {
    let theirs = tokio::runtime::Runtime::new().expect("a runtime");
    let server = theirs.block_on(server().start()).expect("a server");
    let first = tokio::runtime::Runtime::new().expect("a runtime");
    let client = first.block_on(online(&server, "romeo"));
    let mut states = client.states();
    drop(first);
    assert!(client.state().is_stopped(), "{:?}", client.state());
    theirs.block_on(async {
        within("the end of the states", async { while !states.next().await.expect("a state").is_stopped() {} }).await;
        let error = within("an answer", client.iq_get(None, &Ping).into_future()).await.expect_err("offline");
        assert_eq!(error.kind(), &ErrorKind::NotOnline);
        within("the end", client.close()).await;
        within("the server's side", server.wait_for(|server| server.connections() == 0)).await;
    });
}

#[tokio::test]
async fn a_driver_that_nobody_polls_any_more_fails_the_client_instead_of_hanging_it() {
    let server = server().start().await.expect("a server");
    let (client, driver) = builder(&server, "romeo").build_with_driver().await.expect("a client");
    let mut driver = Box::pin(driver);
    {
        let connect = client.connect().into_future();
        let driven = select(driver.as_mut(), connect);
        assert!(matches!(within("a session", driven).await, futures::future::Either::Right((Ok(()), _))));
    }
    let ask = tokio::spawn(client.iq_get(None, &Ping).into_future());
    tokio::task::yield_now().await;
    drop(driver);
    assert!(client.state().is_stopped(), "{:?}", client.state());
    assert!(within("the request", ask).await.expect("no panic").is_err());
    assert!(within("the second connection", client.connect().into_future()).await.is_err());
    within("the end", client.close()).await;
}

#[tokio::test]
async fn a_request_ends_in_time_while_nothing_can_be_written() {
    let valve = Arc::new(super::valve::Valve::default());
    let server = server().start().await.expect("a server");
    let romeo = builder(&server, "romeo")
        .deadlines(super::impatient())
        .connector(Arc::new(super::valve::Through(Arc::clone(&valve))))
        .build()
        .await
        .expect("a client");
    romeo.connect().await.expect("online");
    valve.shut();
    for _ in 0..3 {
        let message = Message::chat("juliet@example.org".parse().ok()).with_body("".into(), "x".repeat(100_000));
        romeo.send(message).await.expect("accepted");
    }
    let limit = Duration::from_millis(100);
    let requests = (0..200).map(|_| tokio::spawn(romeo.iq_get(None, &Ping).timeout(limit).into_future()));
    for result in within("the requests", join_all(requests)).await {
        let error = result.expect("no panic").expect_err("nobody can answer");
        assert_eq!(error.kind(), &ErrorKind::RequestTimeout(limit));
    }
    assert!(romeo.state().is_online());
    valve.open();
    ping(&romeo).await;
    valve.shut();
    within("the end", romeo.close()).await;
}
