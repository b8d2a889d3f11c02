//! Extensions and other code of the application's that panics, and stores that fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use xmppkit::client::{State, WeakClient};
use xmppkit::error::{ErrorKind, Result};
use xmppkit::event::{Event, Inbound, Route};
use xmppkit::ext::{Answer, Ctx, Extension, IqRefusal, IqRequest, Position, Registrar, SessionKind, inbound};
use xmppkit::messaging::Messages as _;
use xmppkit::xmpp_parsers::ping::Ping;
use xmppkit::xmpp_parsers::presence::Presence;

use super::store::{Faulty, HANGS, PANICS, WORKS};
use super::{ping, quick, says};
use crate::common::{builder, online, server, within};

const NS: &str = "urn:example:panics";

/// Panics in one place.
struct Panics(&'static str);

impl Panics {
    fn here(&self, place: &str) {
        assert!(self.0 != place, "as asked");
    }
}

fn no_answer(_: IqRequest<()>, _: Ctx) -> std::future::Ready<Result<Answer, IqRefusal>> {
    panic!("as asked")
}

impl Extension for Panics {
    fn register(&self, reg: &mut Registrar<'_>) {
        let place = self.0;
        let here = move |at: &str| assert!(place != at, "as asked");
        reg.own_presence(move |_, _| here("own_presence"));
        reg.inbound_stage("panics", Position::After(inbound::UNWRAP), move |_, _| here("inbound_stage"));
        reg.on_route(Route::message(), move |_, _| here("consumer"));
        if place == "route" {
            reg.on_route(Route::message().when(|_| panic!("as asked")), |_, _| {});
        }
        if place == "claim" {
            reg.claim(Route::message().when(|_| panic!("as asked")));
        }
        reg.on_iq_get_named(NS, "question", no_answer);
    }

    fn before_presence<'a>(&'a self, _: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        self.here("before_presence");
        async {
            self.here("before_presence, later");
            Ok(())
        }
        .boxed()
    }

    fn session<'a>(&'a self, _: &'a Ctx, _: SessionKind) -> BoxFuture<'a, Result<()>> {
        self.here("session");
        async {
            self.here("session, later");
            Ok(())
        }
        .boxed()
    }

    fn session_lost(&self, _: &Ctx) {
        self.here("session_lost");
    }

    fn closing<'a>(&'a self, _: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        self.here("closing");
        async {
            self.here("closing, later");
            Ok(())
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_panic_in_an_extension_costs_the_client_nothing() {
    let server = server().start().await.expect("a server");
    for place in [
        "own_presence",
        "inbound_stage",
        "consumer",
        "route",
        "claim",
        "before_presence",
        "before_presence, later",
        "session",
        "session, later",
        "session_lost",
        "closing",
        "closing, later",
    ] {
        let client = builder(&server, "juliet").reconnect(quick()).with(Panics(place)).build().await.expect("a client");
        let mut states = client.states();
        within(place, client.connect().into_future()).await.expect(place);
        let mut texts = client.messages().events();
        server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "hi")).expect("routed");
        assert_eq!(within(place, texts.next()).await.and_then(|text| text.body().map(String::from)).as_deref(), Some("hi"));
        ping(&client).await;
        server.forget_sessions();
        server.cut(client.account(), xmppkit::testing::Cut::Rst);
        let mut sessions = 0;
        within(place, async {
            while sessions < 2 {
                sessions += usize::from(states.next().await.expect("a state").is_online());
            }
        })
        .await;
        within(place, client.close()).await;
        assert!(matches!(client.state(), State::Closed), "{place}: {:?}", client.state());
    }
}

#[tokio::test]
async fn a_request_whose_handler_panics_is_answered() {
    let server = server().start().await.expect("a server");
    let juliet = builder(&server, "juliet").with(Panics("")).build().await.expect("a client");
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    server
        .route_stanza(&format!(
            "<iq xmlns='jabber:client' type='get' id='q1' from='romeo@example.org/b' to='{jid}'><question xmlns='{NS}'/></iq>"
        ))
        .expect("routed");
    let answered = |stanza: &String| stanza.contains("q1") && stanza.contains("internal-server-error");
    within("the answer", server.wait_for(|server| server.received(&jid).iter().any(answered))).await;
    juliet.close().await;
}

/// An event whose test panics.
#[derive(Clone, Debug)]
struct Unlucky;

impl Event for Unlucky {
    fn route() -> Route {
        Route::message().when(|_| panic!("as asked"))
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        Some(Self)
    }
}

#[tokio::test]
async fn a_subscription_whose_test_panics_does_not_end_the_connection() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let _unlucky = client.subscribe::<Unlucky>();
    let mut texts = client.messages().events();
    server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "hi")).expect("routed");
    assert!(within("the message", texts.next()).await.is_some());
    ping(&client).await;
    within("the end", client.close()).await;
}

/// An event that panics while it is read from the first stanza.
#[derive(Clone, Debug)]
struct Late;

static FIRST: AtomicBool = AtomicBool::new(true);

impl Event for Late {
    fn route() -> Route {
        Route::message()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        assert!(!FIRST.swap(false, Ordering::SeqCst), "as asked");
        Some(Self)
    }
}

#[tokio::test]
async fn a_handler_outlives_an_event_that_panics() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    client.on(move |_: Late| std::future::ready(sender.send(()).map_err(xmppkit::Error::other))).detach();
    for text in ["one", "two"] {
        server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), text)).expect("routed");
        ping(&client).await;
    }
    within("a call", receiver.recv()).await.expect("a call");
    client.close().await;
}

#[tokio::test]
async fn an_xml_log_that_panics_does_not_end_the_connection() {
    let server = server().start().await.expect("a server");
    let client = builder(&server, "juliet").xml_log(|_, _| panic!("as asked")).build().await.expect("a client");
    within("a session", client.connect().into_future()).await.expect("online");
    ping(&client).await;
    within("the end", client.close()).await;
}

/// Says goodbye and waits for the answer.
#[derive(Default)]
struct Polite(Arc<Mutex<Option<std::result::Result<(), String>>>>);

impl Extension for Polite {
    fn register(&self, _: &mut Registrar<'_>) {}

    fn closing<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        async move {
            cx.send_presence(Presence::unavailable()).await?;
            let said = cx.client().iq_get(None, &Ping).await.map(drop).map_err(|error| error.to_string());
            *self.0.lock().expect("no panic") = Some(said);
            Ok(())
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_closing_hook_can_send_and_ask() {
    let server = server().start().await.expect("a server");
    let polite = Polite::default();
    let said = Arc::clone(&polite.0);
    let client = builder(&server, "juliet").with(polite).build().await.expect("a client");
    client.connect().await.expect("online");
    within("the end", client.close()).await;
    let said = said.lock().expect("no panic").take();
    assert!(said.is_some(), "the hook ran into the deadline");
}

#[tokio::test]
async fn a_store_that_hangs_does_not_keep_the_client_from_closing() {
    let server = server().start().await.expect("a server");
    let store = Faulty::default();
    let mode = store.mode();
    let client = builder(&server, "juliet").deadlines(super::impatient()).store(Arc::new(store)).build().await.expect("a client");
    client.connect().await.expect("online");
    mode.set(HANGS);
    server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "hi")).expect("routed");
    within("the write", async {
        while mode.faults() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    ping(&client).await;
    within("the end", client.close()).await;
    assert!(matches!(client.state(), State::Closed));
}

#[tokio::test]
async fn a_store_that_panics_costs_the_log_and_not_the_connection() {
    let server = server().start().await.expect("a server");
    let store = Faulty::default();
    let mode = store.mode();
    let client = builder(&server, "juliet").store(Arc::new(store)).build().await.expect("a client");
    client.connect().await.expect("online");
    let mut texts = client.messages().events();
    mode.set(PANICS);
    server.route_stanza(&says("romeo@example.org/b", client.jid().expect("bound"), "hi")).expect("routed");
    assert!(within("the message", texts.next()).await.is_some());
    mode.set(WORKS);
    ping(&client).await;
    within("the end", client.close()).await;
}

/// Hangs in its step before presence until the session ends.
struct Hangs(Arc<AtomicBool>);

impl Extension for Hangs {
    fn register(&self, _: &mut Registrar<'_>) {}

    fn before_presence<'a>(&'a self, _: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        async {
            self.0.store(true, Ordering::SeqCst);
            std::future::pending().await
        }
        .boxed()
    }
}

#[tokio::test]
async fn closing_does_not_wait_for_a_login_step_that_hangs() {
    let server = server().start().await.expect("a server");
    let reached = Arc::new(AtomicBool::new(false));
    let client = builder(&server, "juliet")
        .login_step_deadline(Duration::from_secs(3_600))
        .deadlines(super::impatient())
        .with(Hangs(Arc::clone(&reached)))
        .build()
        .await
        .expect("a client");
    client.start();
    within("the step", async {
        while !reached.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!client.state().is_online());
    let ask = client.connect().into_future();
    within("the end", client.close()).await;
    drop(ask);
    let error = client.iq_get(None, &Ping).await.expect_err("offline");
    assert_eq!(error.kind(), &ErrorKind::NotOnline);
}
