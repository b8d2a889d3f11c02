//! Durable subscriptions: a position in the store, moved by acknowledging (D11, R21).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt};
use xmppkit::client::{Client, WeakClient};
use xmppkit::error::ErrorKind;
use xmppkit::event::{Delivery, Event, GapKind, HandlerGaveUp, Inbound, Incoming, Route};
use xmppkit::ext::Ctx;
use xmppkit::store::MemoryStore;
use xmppkit::testing::{Builder, Server};
use xmppkit::xmpp_parsers::ping::Ping;

use crate::common::{builder, in_every_dialect, server, within};

in_every_dialect![what_was_not_acknowledged_comes_again_to_the_next_client_and_says_so,];

#[derive(Debug, Clone)]
struct Text(String);

impl Event for Text {
    fn route() -> Route {
        Route::message().payload("jabber:client", "body")
    }

    fn from_inbound(inbound: &Inbound, _: &WeakClient) -> Option<Self> {
        Some(Self(inbound.stanza().child_text("jabber:client", "body")?.into_owned()))
    }
}

async fn online(server: &Server, store: &Arc<MemoryStore>) -> Client {
    let client = builder(server, "juliet").store(Arc::clone(store) as _).build().await.expect("a client");
    client.connect().await.expect("online");
    crate::archive::caught_up(&client).await;
    client
}

fn say(server: &Server, client: &Client, text: &str) {
    let to = client.jid().expect("bound");
    let xml = format!("<message from='romeo@example.org/b' to='{to}' type='chat'><body>{text}</body></message>");
    server.route_stanza(&xml).expect("routed");
}

/// Everything sent so far has arrived and is in the log.
async fn settle(server: &Server, client: &Client) {
    client.iq_get(Some(server.domain().parse().expect("a JID")), &Ping).await.expect("a pong");
}

async fn next<S: futures::Stream<Item = Incoming<Text>> + Unpin>(stream: &mut S) -> Delivery<Text> {
    match within("an item", stream.next()).await {
        Some(Incoming::Item(item)) => item,
        other => panic!("{other:?}"),
    }
}

async fn what_was_not_acknowledged_comes_again_to_the_next_client_and_says_so(server: Builder) {
    let server = server.start().await.expect("a server");
    let store = Arc::new(MemoryStore::new());
    let client = online(&server, &store).await;
    let mut texts = client.subscribe::<Text>().durable("ui").await.expect("open");
    for text in ["one", "two", "three"] {
        say(&server, &client, text);
    }
    let one = next(&mut texts).await;
    let two = next(&mut texts).await;
    let three = next(&mut texts).await;
    assert!(!one.redelivered() && !two.redelivered());
    one.ack().await.expect("stored");
    three.ack().await.expect("stored");
    drop((two, texts));
    client.close().await;
    drop(client);

    let client = online(&server, &store).await;
    let mut texts = client.subscribe::<Text>().durable("ui").await.expect("open");
    let again = next(&mut texts).await;
    assert_eq!((again.0.as_str(), again.redelivered()), ("two", true));
    again.ack().await.expect("stored");
    say(&server, &client, "four");
    let four = next(&mut texts).await;
    assert_eq!((four.0.as_str(), four.redelivered()), ("four", false));
    client.close().await;
}

#[tokio::test]
async fn a_name_is_open_once_and_free_again_when_dropped() {
    let server = server().start().await.expect("a server");
    let client = online(&server, &Arc::default()).await;
    let first = client.subscribe::<Text>().durable("ui").await.expect("open");
    let second = client.subscribe::<Text>().durable("ui").await.expect_err("in use");
    assert_eq!(second.kind(), &ErrorKind::SubscriptionInUse("ui".into()));
    let _other = client.subscribe::<Text>().durable("log").await.expect("another name");
    drop(first);
    let _third = client.subscribe::<Text>().durable("ui").await.expect("free");
    client.close().await;
}

#[tokio::test]
async fn a_new_name_begins_with_what_waited_for_its_first_subscriber_and_not_with_history() {
    let server = server().start().await.expect("a server");
    let client = online(&server, &Arc::default()).await;
    let live = client.subscribe::<Text>();
    say(&server, &client, "history");
    settle(&server, &client).await;
    drop(live);
    say(&server, &client, "waiting");
    settle(&server, &client).await;
    let mut texts = client.subscribe::<Text>().durable("ui").await.expect("open");
    assert_eq!(next(&mut texts).await.0, "waiting");
    assert_eq!(client.dropped_messages(), 0);
    client.close().await;
}

#[tokio::test]
async fn the_short_form_acknowledges_when_the_next_one_is_asked_for() {
    let server = server().start().await.expect("a server");
    let store = Arc::new(MemoryStore::new());
    let client = online(&server, &store).await;
    let mut texts = client.subscribe::<Text>().durable("ui").await.expect("open").events();
    for text in ["one", "two"] {
        say(&server, &client, text);
    }
    assert_eq!(within("an event", texts.next()).await.map(|text| text.0).as_deref(), Some("one"));
    assert_eq!(within("an event", texts.next()).await.map(|text| text.0).as_deref(), Some("two"));
    drop(texts);
    let mut texts = client.subscribe::<Text>().durable("ui").await.expect("open").events();
    assert_eq!(within("an event", texts.next()).await.map(|text| text.0).as_deref(), Some("two"), "one was acknowledged");
    client.close().await;
}

#[tokio::test]
async fn too_many_acknowledged_above_one_that_is_not_make_the_stream_wait_for_it() {
    let server = server().start().await.expect("a server");
    let client = online(&server, &Arc::default()).await;
    let mut texts = client.subscribe::<Text>().durable("ui").await.expect("open");
    for number in 0..1_030 {
        say(&server, &client, &number.to_string());
    }
    let oldest = next(&mut texts).await;
    for _ in 0..1_024 {
        next(&mut texts).await.ack().await.expect("stored");
    }
    settle(&server, &client).await;
    assert!(texts.next().now_or_never().is_none(), "it waits");
    oldest.ack().await.expect("stored");
    assert_eq!(next(&mut texts).await.0, "1025");
    client.close().await;
}

#[tokio::test]
async fn what_left_a_bounded_log_before_it_was_read_is_a_gap() {
    let server = server().start().await.expect("a server");
    let store = Arc::new(MemoryStore::new().max_messages(10));
    let client = online(&server, &store).await;
    let mut texts = client.subscribe::<Text>().durable("ui").await.expect("open");
    for number in 0..30 {
        say(&server, &client, &number.to_string());
    }
    settle(&server, &client).await;
    let Some(Incoming::Gap(gap)) = within("a gap", texts.next()).await else { panic!("no gap") };
    assert_eq!((gap.kind, gap.count), (GapKind::Retention, Some(20)));
    assert_eq!(next(&mut texts).await.0, "20");
    client.close().await;
}

#[tokio::test]
async fn a_durable_handler_is_called_again_when_it_fails_and_gives_up_in_the_end() {
    let server = server().start().await.expect("a server");
    let store = Arc::new(MemoryStore::new());
    let client = online(&server, &store).await;
    let mut given_up = client.subscribe::<HandlerGaveUp>().events();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    client
        .subscribe::<Text>()
        .durable("bot")
        .await
        .expect("open")
        .on(move |text: Text, _cx: Ctx| {
            let (count, sender) = (Arc::clone(&count), sender.clone());
            async move {
                if text.0 == "bad" {
                    count.fetch_add(1, Ordering::SeqCst);
                    return Err(xmppkit::Error::from(ErrorKind::NotOnline));
                }
                sender.send(text.0).map_err(xmppkit::Error::other)
            }
        })
        .detach();
    say(&server, &client, "bad");
    say(&server, &client, "good");
    let report = within("the report", given_up.next()).await.expect("a report");
    assert_eq!((report.name.as_str(), report.error.kind()), ("bot", &ErrorKind::NotOnline));
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    assert_eq!(within("the next one", receiver.recv()).await.as_deref(), Some("good"));
    client.close().await;
}

#[tokio::test]
async fn a_subscription_from_a_position_begins_behind_it_and_goes_on_with_what_comes() {
    let server = server().start().await.expect("a server");
    let client = online(&server, &Arc::default()).await;
    let mut live = client.subscribe::<Text>();
    for text in ["one", "two", "three"] {
        say(&server, &client, text);
    }
    let one = next(&mut live).await.position().expect("in the log");
    settle(&server, &client).await;
    let mut later = client.subscribe::<Text>().from(one);
    for text in ["two", "three"] {
        let item = next(&mut later).await;
        assert_eq!((item.0.as_str(), item.redelivered()), (text, false));
        item.ack().await.expect("nothing to do");
    }
    assert!(later.next().now_or_never().is_none(), "it waits");
    say(&server, &client, "four");
    assert_eq!(next(&mut later).await.0, "four");
    let mut all = client.subscribe::<Text>().from(xmppkit::store::Position::START).events();
    for text in ["one", "two", "three", "four"] {
        assert_eq!(within("an event", all.next()).await.map(|text| text.0).as_deref(), Some(text));
    }
    client.close().await;
    assert!(within("the end", later.next()).await.is_none());
    client.connect().await.expect("online");
    say(&server, &client, "five");
    assert_eq!(next(&mut later).await.0, "five", "it goes on");
    client.close().await;
}

/// A live subscription would be cut off with a gap.
#[tokio::test]
async fn a_healed_subscription_is_as_slow_as_it_likes_and_misses_nothing() {
    const SENT: usize = 1_600;
    let server = server().start().await.expect("a server");
    let client = online(&server, &Arc::default()).await;
    say(&server, &client, "history");
    settle(&server, &client).await;
    let mut early = client.subscribe::<Text>();
    assert_eq!(next(&mut early).await.0, "history");
    say(&server, &client, "waiting");
    settle(&server, &client).await;
    let mut healed = early.healed().await.expect("a reader");
    let mut quick = client.subscribe::<Text>().events();
    for number in 0..SENT {
        say(&server, &client, &number.to_string());
    }
    for _ in 0..SENT {
        within("a message", quick.next()).await.expect("a message");
    }
    assert_eq!(next(&mut healed).await.0, "waiting");
    for number in 0..SENT {
        assert_eq!(next(&mut healed).await.0, number.to_string());
    }
    assert!(healed.next().now_or_never().is_none());
    client.close().await;
}

/// A subscriber that was cut off knows the last position before its gap: what is missing is read from there.
#[tokio::test]
async fn the_gap_of_a_slow_subscriber_is_filled_from_the_log() {
    const SENT: usize = 1_600;
    let server = server().start().await.expect("a server");
    let client = online(&server, &Arc::default()).await;
    let mut slow = client.subscribe::<Text>();
    let mut quick = client.subscribe::<Text>().events();
    for number in 0..SENT {
        say(&server, &client, &number.to_string());
    }
    for _ in 0..SENT {
        within("a message", quick.next()).await.expect("a message");
    }
    let (mut seen, mut last, mut gaps) = (Vec::new(), None, 0);
    while let Some(Some(incoming)) = slow.next().now_or_never() {
        match incoming {
            Incoming::Item(item) => {
                last = item.position();
                seen.push(item.0.clone());
            }
            Incoming::Gap(gap) => {
                gaps += 1;
                let mut missing = client.subscribe::<Text>().from(last.expect("something came before the gap"));
                for _ in 0..gap.count.expect("a count") {
                    seen.push(next(&mut missing).await.0.clone());
                }
            }
            _ => panic!("something else"),
        }
    }
    assert!(gaps > 0);
    assert_eq!(seen, (0..SENT).map(|number| number.to_string()).collect::<Vec<_>>());
    client.close().await;
}
