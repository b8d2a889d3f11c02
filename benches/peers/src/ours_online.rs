//! xmppkit's side of what takes a connection: default extensions, one live subscription to messages.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmppkit::archive::CatchUp;
use xmppkit::client::{ClientBuilder, WeakClient};
use xmppkit::event::{Inbound, Route};
use xmppkit::prelude::*;
use xmppkit::store::SqliteStore;
use xmppkit::xml::ns;

use crate::measure::{cpu, report, resident_kb, thread_cpu};
use crate::reading::tally::{Field, Tally};
use crate::server::{DOMAIN, PASSWORD};

fn builder(user: &str, port: u16, tls: bool) -> ClientBuilder {
    let account = format!("{user}@{DOMAIN}").parse().expect("a JID");
    let builder = Client::builder(account).password(PASSWORD).server("127.0.0.1", port, TlsMode::StartTls);
    if tls { builder } else { builder.dangerous_plaintext() }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Every message, whatever it carries.
#[derive(Clone)]
struct AnyMessage(Inbound);

impl Event for AnyMessage {
    fn route() -> Route {
        Route::message()
    }

    fn from_inbound(inbound: &Inbound, _: &WeakClient) -> Option<Self> {
        Some(Self(inbound.clone()))
    }
}

/// Every presence stanza.
#[derive(Clone)]
struct AnyPresence(Inbound);

impl Event for AnyPresence {
    fn route() -> Route {
        Route::presence()
    }

    fn from_inbound(inbound: &Inbound, _: &WeakClient) -> Option<Self> {
        Some(Self(inbound.clone()))
    }
}

/// The whole life of a client that is sent so many messages and presence stanzas. Roster pushes are requests: it answers them, and
/// no application sees them as stanzas.
pub(crate) fn whole(port: u16, tls: bool, messages: u64, presences: u64) {
    let tally = runtime().block_on(async {
        let client = builder("juliet", port, tls).build().await.expect("a client");
        let mut all = client.subscribe::<AnyMessage>().events();
        let read = tokio::spawn(async move {
            let mut tally = Tally::default();
            while tally.messages < messages {
                let AnyMessage(message) = all.next().await.expect("the client is there");
                let stanza = message.stanza();
                tally.messages += 1;
                tally.some(Field::From, stanza.from());
                tally.some(Field::Body, stanza.child_text(ns::CLIENT, "body"));
            }
            tally
        });
        let mut seen = client.subscribe::<AnyPresence>().events();
        let see = tokio::spawn(async move {
            let mut tally = Tally::default();
            while tally.presences < presences {
                let AnyPresence(presence) = seen.next().await.expect("the client is there");
                tally.presences += 1;
                tally.some(Field::From, presence.stanza().from());
            }
            tally
        });
        client.connect().await.expect("a session");
        let (read, see) = futures::join!(read, see);
        read.expect("it ends").and(see.expect("it ends"))
    });
    report(cpu().as_secs_f64(), tally);
    std::process::exit(0);
}

/// So many clients in one process, logged in and idle: kilobytes for each.
pub(crate) fn idle(port: u16, count: usize) {
    let each = runtime().block_on(async {
        let network = xmppkit::connection::Shared::new();
        let login = async |number: usize| {
            let client = builder(&format!("user{number}"), port, false).shared(&network).build().await.expect("a client");
            let messages = client.subscribe::<AnyMessage>();
            client.connect().await.expect("a session");
            (client, messages)
        };
        // The first ones bring what all share.
        let mut clients = Vec::with_capacity(count + 10);
        for number in 0..10 {
            clients.push(login(number).await);
        }
        settle().await;
        let before = resident_kb();
        for number in 0..count {
            clients.push(login(10 + number).await);
        }
        settle().await;
        assert!(clients.iter().all(|(client, _)| client.state().is_online()));
        (resident_kb() - before) / count as f64
    });
    report(each, format_args!("connections={count}"));
    std::process::exit(0);
}

/// What a login leaves to do is done within this.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// Fetches what came while there was no session into an SQLite store: the share of CPU that is spent outside the database.
pub(crate) fn catch_up(before: u16, after: u16, count: u64, file: &str) {
    let (outside, each, tally) = runtime().block_on(async {
        let store = Arc::new(SqliteStore::open(file).await.expect("a store"));
        let client = builder("juliet", before, false).store(store.clone()).build().await.expect("a client");
        caught_up(&client).await;
        client.close().await;
        drop(client);
        let client = builder("juliet", after, false).store(store).build().await.expect("a client");
        let mut all = client.subscribe::<AnyMessage>().events();
        let read = tokio::spawn(async move {
            let mut tally = Tally::default();
            while let Some(AnyMessage(message)) = all.next().await {
                tally.messages += 1;
                tally.some(Field::From, message.stanza().from());
                if tally.messages == count {
                    break;
                }
            }
            tally
        });
        let (whole, database) = (cpu(), thread_cpu(DATABASE));
        caught_up(&client).await;
        let tally = read.await.expect("it ends");
        let (whole, database) = ((cpu() - whole).as_secs_f64(), thread_cpu(DATABASE) - database);
        ((whole - database) / whole, whole / count as f64, tally)
    });
    report(outside, format_args!("{tally} microseconds_each={:.1}", each * 1e6));
    std::process::exit(0);
}

/// The store's thread.
const DATABASE: &str = "xmppkit-sqlite";

async fn caught_up(client: &Client) {
    let mut watch = client.archive().catch_up();
    client.connect().await.expect("a session");
    loop {
        let (Observed::Reset(state) | Observed::Change(state)) = watch.next().await.expect("the client is there") else {
            continue;
        };
        match state {
            CatchUp::Complete => return,
            CatchUp::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

/// A login with a roster and the presence of so many resources: CPU seconds until all of it is there.
pub(crate) fn roster(port: u16, contacts: usize, resources: usize) {
    runtime().block_on(async {
        let client = builder("juliet", port, false).build().await.expect("a client");
        let _messages = client.subscribe::<AnyMessage>();
        let mut watch = client.presence().watch();
        client.connect().await.expect("a session");
        assert_eq!(client.roster().contacts().len(), contacts);
        // A watcher that falls behind is shown the whole state, so resources are counted there.
        let mut there = HashSet::new();
        while there.len() < resources {
            match watch.next().await.expect("the client is there") {
                Observed::Reset(state) => {
                    there = state.iter().flat_map(|(_, of)| of).map(|presence| presence.jid().clone()).collect();
                }
                Observed::Change(PresenceChange::Available(presence)) => drop(there.insert(presence.jid().clone())),
                _ => {}
            }
        }
    });
    report(cpu().as_secs_f64(), format_args!("resources={resources} contacts={contacts} kilobytes={}", resident_kb()));
    std::process::exit(0);
}

/// Messages after which throughput is measured: by then one who reads nothing has made the connection wait, once and for 5 s at
/// most, and is cut off.
const BY_THEN_CUT_OFF: u64 = 5_000;

/// A hundred subscribers, of whom one may read nothing: messages a second that each of the others gets, from then on.
pub(crate) fn subscribers(port: u16, slow: bool, messages: u64) {
    let (rate, tally) = runtime().block_on(async {
        let client = builder("juliet", port, false).build().await.expect("a client");
        let _slow = slow.then(|| client.subscribe::<AnyMessage>());
        let others: Vec<_> = (0..if slow { 99 } else { 100 })
            .map(|_| {
                let mut all = client.subscribe::<AnyMessage>().events();
                tokio::spawn(async move {
                    let (mut tally, mut start) = (Tally::default(), Instant::now());
                    while tally.messages < messages {
                        let AnyMessage(message) = all.next().await.expect("the client is there");
                        tally.messages += 1;
                        tally.some(Field::From, message.stanza().from());
                        if tally.messages == BY_THEN_CUT_OFF {
                            start = Instant::now();
                        }
                    }
                    (tally, start)
                })
            })
            .collect();
        client.connect().await.expect("a session");
        let (tallies, starts): (Vec<_>, Vec<_>) =
            futures::future::join_all(others).await.into_iter().map(|other| other.expect("it ends")).unzip();
        let first = starts.into_iter().min().expect("a subscriber");
        let rate = (messages - BY_THEN_CUT_OFF) as f64 / first.elapsed().as_secs_f64();
        let tally = tallies[0];
        assert!(tallies.into_iter().all(|other| other == tally));
        (rate, tally)
    });
    report(rate, tally);
    std::process::exit(0);
}
