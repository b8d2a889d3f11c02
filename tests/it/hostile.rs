//! What hostile servers, failing stores, panicking extensions and careless callers do to a client: it may lose the
//! connection, but it says so, ends when it is told to, and keeps its secrets.

mod calls;
mod extensions;
mod secrets;
mod server;
mod store;
mod valve;

use std::time::Duration;

use xmppkit::client::{Client, Deadlines, Reconnect};
use xmppkit::jid::Jid;
use xmppkit::xmpp_parsers::ping::Ping;

use crate::common::within;

fn quick() -> Reconnect {
    let mut pace = Reconnect::default();
    (pace.base, pace.cap) = (Duration::from_millis(20), Duration::from_millis(20));
    pace
}

fn impatient() -> Deadlines {
    let mut deadlines = Deadlines::default();
    deadlines.closing = Duration::from_millis(200);
    deadlines
}

fn says(from: &str, to: impl std::fmt::Display, text: &str) -> String {
    format!("<message xmlns='jabber:client' from='{from}' to='{to}' type='chat'><body>{text}</body></message>")
}

/// A round trip: everything the server sent before has been read.
async fn ping(client: &Client) {
    let domain: Jid = client.account().domain().as_str().parse().expect("a JID");
    within("a pong", client.iq_get(Some(domain), &Ping).into_future()).await.expect("a pong");
}
