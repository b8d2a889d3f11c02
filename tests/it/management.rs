//! Stream management (XEP-0198) as an application sees it, on the in-process server: what a cut costs, and what it does not.

mod elsewhere;
mod handled;
mod login;
mod lost;
mod mobile;
mod pace;
mod process;
mod restart;
mod resume;

use std::time::Duration;

use futures::{Stream, StreamExt};
use xmppkit::client::{Client, ClientBuilder, Reconnect, State};
use xmppkit::messaging::{ChatMessage, Messages as _};
use xmppkit::testing::Server;

use crate::common::{builder, within};

/// A client that comes back at once.
fn quick(server: &Server, name: &str) -> ClientBuilder {
    let mut pace = Reconnect::default().base(Duration::from_millis(10)).cap(Duration::from_millis(20));
    pace.overload = Duration::from_millis(20);
    // What an archive can tell of a lost session is its own tests' matter.
    builder(server, name).reconnect(pace).without::<xmppkit::archive::ArchiveService>()
}

async fn online(server: &Server, name: &str) -> Client {
    let client = quick(server, name).build().await.expect("a client");
    client.connect().await.expect("online");
    server.wait_online(client.account()).await;
    client
}

fn describe(state: &State) -> &'static str {
    match state {
        State::Offline { .. } => "offline",
        State::Connecting { .. } => "connecting",
        State::Online { resumed: true, .. } => "online again",
        State::Online { .. } => "online",
        State::Suspended { .. } => "suspended",
        State::Waiting { .. } => "waiting",
        State::Failed(_) => "failed",
        State::Closed => "closed",
        _ => "?",
    }
}

/// The states up to this one.
async fn until(states: &mut (impl Stream<Item = State> + Unpin), last: &str) -> Vec<&'static str> {
    let mut seen = Vec::new();
    within(last, async {
        while seen.last() != Some(&last) {
            seen.push(describe(&states.next().await.expect("a state")));
        }
    })
    .await;
    seen
}

/// The texts of the next messages.
async fn texts(messages: &mut (impl Stream<Item = ChatMessage> + Unpin), count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let message = within("a message", messages.next()).await.expect("a message");
        texts.push(message.body().expect("a body").into_owned());
    }
    texts
}

/// All messages sent before have arrived, and none of them twice: a last one comes right behind those expected.
async fn nothing_more(from: &Client, to: &Client, messages: &mut (impl Stream<Item = ChatMessage> + Unpin)) {
    from.chat(to.account()).send("the last").await.expect("accepted");
    assert_eq!(texts(messages, 1).await, ["the last"]);
}
