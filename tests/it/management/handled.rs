//! The application decides by acknowledging what counts as handled ([`AckPolicy::Handled`]).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use xmppkit::client::{Client, ClientBuilder, Lag, State, XmlDirection};
use xmppkit::event::{AckPolicy, Delivery, Incoming, Subscription};
use xmppkit::messaging::{ChatMessage, Messages as _};
use xmppkit::testing::{Cut, Server, SessionInfo};
use xmppkit::xmpp_parsers::ping::Ping;

use super::process::{Disk, Process};
use super::{online, quick, until};
use crate::common::{server, within};

/// The counts that a client told the server.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u32>>>);

impl Told {
    fn watch(&self, builder: ClientBuilder) -> ClientBuilder {
        let told = self.clone();
        builder.xml_log(move |direction, xml| {
            let count = |rest: &str| rest.split_once("h='")?.1.split_once('\'')?.0.parse::<u32>().ok();
            if direction == XmlDirection::Sent {
                told.0.lock().expect("no panic").extend(xml.split("<a ").skip(1).filter_map(count));
            }
        })
    }

    fn last(&self) -> u32 {
        self.0.lock().expect("no panic").last().copied().unwrap_or_default()
    }
}

/// Everything sent so far was read, and the server has asked how much of it counts, and was told.
async fn settle(client: &Client) {
    for _ in 0..3 {
        client.iq_get(None, &Ping).await.expect("a pong");
    }
}

async fn next(messages: &mut Subscription<ChatMessage>) -> Delivery<ChatMessage> {
    match within("a message", messages.next()).await {
        Some(Incoming::Item(item)) => item,
        other => panic!("{other:?}"),
    }
}

fn unacknowledged(server: &Server, client: &Client) -> usize {
    let own = |session: &&SessionInfo| session.jid.to_bare() == *client.account();
    server.sessions().iter().filter(own).map(|session| session.unacknowledged).sum()
}

async fn say(from: &Client, to: &Client, texts: &[&str]) {
    for text in texts {
        from.chat(to.account()).send(*text).await.expect("accepted");
    }
}

#[tokio::test]
async fn the_count_goes_over_what_was_acknowledged_alone_and_a_resume_brings_nothing_twice() {
    let server = server().start().await.expect("a server");
    let told = Told::default();
    let romeo = told.watch(quick(&server, "romeo").ack_policy(AckPolicy::Handled)).build().await.expect("a client");
    let juliet = online(&server, "juliet").await;
    let mut at_romeo = romeo.messages();
    let mut states = romeo.states();
    romeo.connect().await.expect("online");
    server.wait_online(romeo.account()).await;
    say(&juliet, &romeo, &["one", "two", "three"]).await;
    let (one, two, three) = (next(&mut at_romeo).await, next(&mut at_romeo).await, next(&mut at_romeo).await);
    settle(&romeo).await;
    let stuck = told.last();
    two.ack().await.expect("noted");
    settle(&romeo).await;
    assert_eq!(told.last(), stuck, "the one before it is not acknowledged");
    one.ack().await.expect("noted");
    settle(&romeo).await;
    assert_eq!(told.last(), stuck + 2, "one and two count, three and what is behind it do not");

    until(&mut states, "online").await;
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online again").await;
    settle(&romeo).await;
    assert!(at_romeo.next().now_or_never().is_none(), "the application has three already");
    assert!(!three.redelivered());
    three.ack().await.expect("noted");
    settle(&romeo).await;
    within("the rest to count", server.wait_for(|server| unacknowledged(server, &romeo) <= 1)).await;
    assert!(told.last() > stuck + 3, "and what came behind three");
    say(&juliet, &romeo, &["the last"]).await;
    assert_eq!(next(&mut at_romeo).await.body().as_deref(), Some("the last"));
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_to_the_next_process_and_says_so() {
    let server = server().start().await.expect("a server");
    let handled = |server: &Server| quick(server, "romeo").ack_policy(AckPolicy::Handled);
    let romeo = Process::new(handled(&server), Disk::new()).await;
    let juliet = online(&server, "juliet").await;
    let mut at_romeo = romeo.client.messages();
    romeo.client.connect().await.expect("online");
    server.wait_online(romeo.client.account()).await;
    say(&juliet, &romeo.client, &["one", "two", "three", "four"]).await;
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(next(&mut at_romeo).await);
    }
    for handled in [0, 2] {
        taken[handled].ack().await.expect("noted");
    }
    settle(&romeo.client).await;
    // Noted with the next message or within two seconds; told to the server then.
    within("the count", server.wait_for(|server| unacknowledged(server, &romeo.client) >= 3)).await;
    say(&juliet, &romeo.client, &["five"]).await;
    taken.push(next(&mut at_romeo).await);
    let disk = romeo.kill(&server).await;
    drop((taken, at_romeo));

    let romeo = Process::new(handled(&server), disk).await;
    let mut at_romeo = romeo.client.messages();
    say(&juliet, &romeo.client, &["six"]).await;
    romeo.client.connect().await.expect("online");
    assert!(matches!(romeo.client.state(), State::Online { resumed: true, .. }), "{:?}", romeo.client.state());
    for (text, again) in [("two", true), ("four", true), ("five", true), ("six", false)] {
        let item = next(&mut at_romeo).await;
        assert_eq!((item.body().as_deref(), item.redelivered()), (Some(text), again));
        assert!(item.position().is_some());
        item.ack().await.expect("noted");
    }
    settle(&romeo.client).await;
    assert!(at_romeo.next().now_or_never().is_none(), "nothing else");
    let log = romeo.client.store().feed(xmppkit::store::Position::START, 100).await.expect("read");
    assert_eq!(log.len(), 6, "nothing is in the log twice");
    within("all to count", server.wait_for(|server| unacknowledged(server, &romeo.client) <= 1)).await;
    let disk = romeo.kill(&server).await;
    drop(at_romeo);

    let romeo = Process::new(handled(&server), disk).await;
    let mut at_romeo = romeo.client.messages();
    romeo.client.connect().await.expect("online");
    say(&juliet, &romeo.client, &["seven"]).await;
    let item = next(&mut at_romeo).await;
    assert_eq!((item.body().as_deref(), item.redelivered()), (Some("seven"), false), "what was acknowledged does not come again");
    romeo.client.close().await;
    juliet.close().await;
}

/// R2: however long the application takes, the count does not lag further than this.
#[tokio::test]
async fn an_application_that_is_never_done_holds_the_count_back_no_further_than_the_bounds() {
    let server = server().start().await.expect("a server");
    let lag = Lag::default().stanzas(8).pause(Duration::from_millis(200));
    let romeo = quick(&server, "romeo").ack_policy(AckPolicy::Handled).lag(lag).build().await.expect("a client");
    let juliet = online(&server, "juliet").await;
    let mut at_romeo = romeo.messages();
    romeo.connect().await.expect("online");
    server.wait_online(romeo.account()).await;
    let texts: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    say(&juliet, &romeo, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut kept = Vec::new();
    for text in &texts {
        kept.push(next(&mut at_romeo).await);
        assert_eq!(kept.last().and_then(|item| item.body()).as_deref(), Some(text.as_str()));
    }
    settle(&romeo).await;
    // Those it has are within the bound; all others count, although the application has every one of them.
    let at_most = lag.stanzas + 4;
    within("the others to count", server.wait_for(|server| unacknowledged(server, &romeo) <= at_most)).await;
    drop(kept);
    settle(&romeo).await;
    within("all to count", server.wait_for(|server| unacknowledged(server, &romeo) <= 1)).await;
    romeo.close().await;
    juliet.close().await;
}
