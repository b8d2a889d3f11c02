//! Finding out that a connection is dead, cheaply, and not waiting where there is no need to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use xmppkit::client::{Client, KeepAlive, Reconnect, State, XmlDirection};
use xmppkit::messaging::Messages as _;
use xmppkit::testing::{Cut, Server, Target};
use xmppkit::xmpp_parsers::ping::Ping;

use super::{describe, quick, until};
use crate::common::{builder, server, within};

const HOUR: Duration = Duration::from_secs(3600);

/// Neither question is asked while messages come; in silence one is, and an answer is enough.
#[tokio::test]
async fn while_traffic_flows_nothing_is_asked() {
    let interval = Duration::from_secs(2);
    for managed in [true, false] {
        let server = if managed { server() } else { server().no_stream_management() };
        let server = server.start().await.expect("a server");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let romeo =
            quick(&server, "romeo").keep_alive(KeepAlive::new(interval, Duration::from_secs(20))).xml_log(move |way, xml| {
                let questions = xml.matches("<r ").count() + xml.matches("urn:xmpp:ping").count();
                if way == XmlDirection::Sent {
                    count.fetch_add(questions, Ordering::SeqCst);
                }
            });
        let romeo = romeo.build().await.expect("a client");
        let mut messages = romeo.messages().events();
        romeo.connect().await.expect("online");
        server.wait_online(romeo.account()).await;
        let jid = romeo.jid().expect("bound");
        // The login has asked how much of it had arrived.
        romeo.iq_get(None, &Ping).await.expect("a pong");
        let at_first = asked.load(Ordering::SeqCst);
        let began = Instant::now();
        let mut passed = 0;
        while began.elapsed() < 2 * interval {
            server
                .route_stanza(&format!("<message from='m@example.org/x' to='{jid}'><body>hi</body></message>"))
                .expect("routed");
            within("a message", messages.next()).await.expect("a message");
            passed += 1;
        }
        assert_eq!(asked.load(Ordering::SeqCst), at_first, "managed: {managed}, {passed} messages");
        within("a question", async {
            while asked.load(Ordering::SeqCst) == at_first {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(began.elapsed() > 5 * interval / 2, "managed: {managed}");
        assert!(romeo.state().is_online());
        romeo.close().await;
    }
}

/// Waits an hour between attempts, unless it is told not to.
async fn patient(server: &Server) -> Client {
    let pace = Reconnect::default().base(1000 * HOUR).cap(1000 * HOUR);
    let romeo = builder(server, "romeo").reconnect(pace).build().await.expect("a client");
    romeo.connect().await.expect("online");
    romeo
}

#[tokio::test]
async fn a_hint_ends_the_wait_between_two_attempts() {
    let server = server().start().await.expect("a server");
    let romeo = patient(&server).await;
    let mut states = romeo.states();
    until(&mut states, "online").await;
    for what in ["the network changed", "now"] {
        server.cut(romeo.account(), Cut::Rst);
        assert_eq!(describe(&within(what, states.next()).await.expect("a state")), "suspended", "{what}");
        let Some(State::Waiting { until: end, .. }) = within(what, states.next()).await else { panic!("not waiting") };
        assert!(end.saturating_duration_since(Instant::now()) > Duration::from_secs(60), "{what}: the wait is long");
        if what == "now" {
            romeo.start()
        } else {
            romeo.network_changed()
        }
        assert_eq!(until(&mut states, "online again").await, ["connecting", "online again"], "{what}");
    }
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "waiting").await;
    within("the next session", romeo.connect().into_future()).await.expect("online");
    romeo.close().await;
}

/// What was connected before the network changed may be dead, and nobody says so: the server is asked at once.
#[tokio::test]
async fn a_connection_that_the_network_left_behind_is_found_out_by_the_hint() {
    // Where an acknowledgement is waited for, that would find it out as well.
    let server = server().no_stream_management().start().await.expect("a server");
    let romeo = quick(&server, "romeo").keep_alive(KeepAlive::new(HOUR, Duration::from_secs(3))).build().await.expect("a client");
    romeo.connect().await.expect("online");
    server.wait_online(romeo.account()).await;
    let mut states = romeo.states();
    until(&mut states, "online").await;
    romeo.network_changed();
    romeo.iq_get(None, &Ping).await.expect("a pong");
    assert!(romeo.state().is_online(), "a connection that lives answers");
    server.cut(Target::from(romeo.account()), Cut::Drop);
    romeo.network_changed();
    assert_eq!(until(&mut states, "online").await, ["waiting", "connecting", "online"]);
    romeo.close().await;
}
