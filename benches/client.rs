//! Whole clients on a server inside the program: messages to subscribers, one of them slow, and a catch-up into SQLite.
//!
//! `cargo bench --bench client`. The times have the server's part in them, and are to be compared with those of an earlier run; what a
//! client costs beside other libraries is measured by `scripts/compare`.

#![allow(missing_docs, reason = "a benchmark has no callers")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use tokio::runtime::Runtime;
use xmppkit::archive::CatchUp;
use xmppkit::event::Events;
use xmppkit::messaging::ChatMessage;
use xmppkit::prelude::*;
use xmppkit::store::SqliteStore;
use xmppkit::testing::Server;

const MESSAGES: usize = 1_000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// So many messages with ids of their own, from this number on.
fn messages(to: &BareJid, from: usize, count: usize) -> Vec<String> {
    let message = |n: usize| {
        format!(
            "<message xmlns='jabber:client' type='chat' id='m{n}' from='romeo@montague.example/orchard' to='{to}'>\
             <body>But, soft! what light through yonder window breaks? {n}</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='o{n}'/></message>"
        )
    };
    (from..from + count).map(message).collect()
}

async fn read(subscriber: &mut Events<ChatMessage>, count: usize) {
    for _ in 0..count {
        subscriber.next().await.expect("a message");
    }
}

/// A client with so many subscribers, and who sends to it.
struct Busy {
    server: Server,
    account: BareJid,
    _client: Client,
    subscribers: Vec<Events<ChatMessage>>,
    sent: usize,
}

impl Busy {
    async fn new(subscribers: usize) -> Self {
        let server = Server::builder().account("juliet", "secret").start().await.expect("a server");
        let account = server.jid("juliet").expect("an account");
        let client = server.client("juliet").expect("an account").build().await.expect("a client");
        let subscribers = (0..subscribers).map(|_| client.messages().events()).collect();
        client.connect().await.expect("a session");
        Self { server, account, _client: client, subscribers, sent: 0 }
    }

    async fn round(&mut self) {
        let text = messages(&self.account, self.sent, MESSAGES).concat();
        self.sent += MESSAGES;
        assert_eq!(self.server.inject(&self.account, text), 1);
        join_all(self.subscribers.iter_mut().map(|subscriber| read(subscriber, MESSAGES))).await;
    }
}

fn live(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("messages");
    group.throughput(Throughput::Elements(MESSAGES as u64)).sample_size(20).measurement_time(Duration::from_secs(5));
    for (name, subscribers, slow) in
        [("to one subscriber", 1, false), ("to 100", 100, false), ("to 99 beside a slow one", 99, true)]
    {
        let mut busy = runtime.block_on(Busy::new(subscribers));
        let _slow = slow.then(|| busy._client.messages());
        // By then it is cut off.
        (0..if slow { 3 } else { 0 }).for_each(|_| runtime.block_on(busy.round()));
        group.bench_function(name, |b| b.iter(|| runtime.block_on(busy.round())));
    }
    group.finish();
}

/// What came while the client was away, into the store, from the call until it is all there.
fn catch_up(c: &mut Criterion) {
    let runtime = runtime();
    let folder = Folder::new();
    let (server, account, mut sent) = runtime.block_on(async {
        let server = Server::builder().account("juliet", "secret").start().await.expect("a server");
        let account = server.jid("juliet").expect("an account");
        // The first session of all takes history, and begins the catch-up of those that follow.
        messages(&account, 0, 1).iter().for_each(|message| server.route_stanza(message).expect("a message"));
        caught_up(&server, &folder).await;
        (server, account, 1)
    });
    let mut group = c.benchmark_group("catch-up");
    group.throughput(Throughput::Elements(MESSAGES as u64)).sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("into SQLite", |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let missed = messages(&account, sent, MESSAGES);
                missed.iter().for_each(|message| server.route_stanza(message).expect("a message"));
                sent += MESSAGES;
                took += runtime.block_on(caught_up(&server, &folder));
                server.expire_archive(&account, MESSAGES);
            }
            took
        });
    });
    group.finish();
}

async fn caught_up(server: &Server, folder: &Folder) -> Duration {
    let store = Arc::new(SqliteStore::open(folder.0.join("juliet.db")).await.expect("a store"));
    let client = server.client("juliet").expect("an account").store(store).build().await.expect("a client");
    let start = Instant::now();
    client.connect().await.expect("a session");
    client.archive().catch_up().wait_for(|state| matches!(state, CatchUp::Complete)).await.expect("the archive");
    let took = start.elapsed();
    client.close().await;
    took
}

/// A folder that is gone when the benchmark is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("xmppkit-bench-client-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

criterion_group!(benches, live, catch_up);
criterion_main!(benches);
