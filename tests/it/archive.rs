//! History, local and on the in-process server, in every dialect.

mod catching_up;
mod local;
mod query;

use std::sync::Arc;

use futures::StreamExt;
use xmppkit::archive::{Archives, CatchUp, HistoryMessage};
use xmppkit::client::Client;
use xmppkit::jid::{BareJid, Jid};
use xmppkit::messaging::Messages;
use xmppkit::store::{Copies, MemoryStore, Origin};
use xmppkit::testing::{Dialect, Server, Target};
use xmppkit::xmpp_parsers::ping::Ping;

use crate::common::{builder, server, within};

pub(crate) async fn started(dialect: Dialect) -> Server {
    server().dialect(dialect).start().await.expect("a server")
}

/// A client with this store, that has looked at its archive.
pub(crate) async fn with_store(server: &Server, name: &str, store: &Arc<MemoryStore>) -> Client {
    let client = builder(server, name).store(Arc::clone(store) as _).build().await.expect("a client");
    client.connect().await.expect("online");
    server.wait_online(Target::Session(client.jid().expect("bound"))).await;
    caught_up(&client).await;
    client
}

/// Waits until the archive has been looked at, or it is known that there is none.
pub(crate) async fn caught_up(client: &Client) -> CatchUp {
    let done = |state: &CatchUp| !matches!(state, CatchUp::Waiting | CatchUp::Running);
    let state = within("the catch-up", client.archive().catch_up().wait_for(done)).await.expect("a client");
    // Carbons are switched on by then as well, and what was sent so far has arrived.
    settle(client).await;
    state
}

/// Everything sent so far has arrived and is in the log.
pub(crate) async fn settle(client: &Client) {
    let domain: Jid = client.account().domain().as_str().parse().expect("a JID");
    client.iq_get(Some(domain.clone()), &Ping).await.expect("a pong");
    client.iq_get(Some(domain), &Ping).await.expect("a pong");
}

/// What somebody says to an address, by way of the server.
pub(crate) fn say(server: &Server, from: &str, to: impl std::fmt::Display, text: &str, ids: &str) {
    let xml = format!("<message from='{from}' to='{to}' type='chat' {ids}><body>{text}</body></message>");
    server.route_stanza(&xml).expect("routed");
}

pub(crate) fn bare(server: &Server, name: &str) -> BareJid {
    server.jid(name).expect("a JID")
}

/// Texts of everything in the log, the oldest first.
pub(crate) async fn log_of(client: &Client) -> Vec<String> {
    texts(client.archive().messages().forwards()).await
}

pub(crate) async fn texts(messages: impl futures::Stream<Item = xmppkit::Result<HistoryMessage>>) -> Vec<String> {
    let messages: Vec<_> = within("messages", messages.collect()).await;
    messages.into_iter().map(|message| message.expect("read").body().unwrap_or_default().into_owned()).collect()
}

pub(crate) const ROMEO: &str = "romeo@example.org/orchard";

#[tokio::test]
async fn a_message_that_comes_live_as_a_carbon_offline_and_from_the_archive_is_in_the_log_once() {
    for dialect in Dialect::ALL {
        let server = started(dialect).await;
        let has_archive = dialect.differences().archive;
        let (store, juliet) = (Arc::new(MemoryStore::new()), bare(&server, "juliet"));
        let client = with_store(&server, "juliet", &store).await;
        let desk = with_store(&server, "juliet", &Arc::default()).await;
        let romeo = with_store(&server, "romeo", &Arc::default()).await;
        // What nobody takes is not acknowledged, and would come again from offline storage.
        let _readers = (client.messages(), desk.messages());

        say(&server, ROMEO, client.jid().expect("bound"), "live", "id='1'");
        say(&server, ROMEO, desk.jid().expect("bound"), "by carbon", "id='2'");
        desk.chat(romeo.account()).send("from the desk").await.expect("accepted");
        within("the desk's message", server.wait_for(|s| s.received(desk.account()).iter().any(|x| x.contains("from the desk"))))
            .await;
        settle(&client).await;
        client.chat(romeo.account()).send("from here").await.expect("accepted");
        within("the own message", server.wait_for(|s| s.received(client.account()).iter().any(|x| x.contains("from here"))))
            .await;
        settle(&client).await;
        assert_eq!(log_of(&client).await, ["live", "by carbon", "from the desk", "from here"], "{dialect:?}");
        client.close().await;
        desk.close().await;
        drop(client);
        within("the end of both sessions", server.wait_for(|s| s.sessions().len() == 1)).await;

        say(&server, ROMEO, &juliet, "while away", "id='3'");
        let client = with_store(&server, "juliet", &store).await;
        let expected = ["live", "by carbon", "from the desk", "from here", "while away"];
        assert_eq!(log_of(&client).await, expected, "{dialect:?}");
        if has_archive {
            // All of it again, from the server.
            let fetched = texts(client.archive().server().query().page_size(2).forwards()).await;
            assert_eq!(fetched, expected, "{dialect:?}");
            assert_eq!(log_of(&client).await, expected, "{dialect:?}");
            let kept: Vec<_> = client.archive().messages().forwards().map(|message| message.expect("read")).collect().await;
            let ways =
                [Origin::Live, Origin::Carbon, Origin::Carbon, Origin::Live].map(|way| Copies::of(way).with(Origin::Archive));
            assert_eq!(kept.iter().take(4).map(|message| message.copies()).collect::<Vec<_>>(), ways, "{dialect:?}");
            assert!(kept.iter().all(|message| message.archive_ids().len() == 1), "{dialect:?}: {kept:?}");
        }
        client.close().await;
        romeo.close().await;
    }
}

#[tokio::test]
async fn two_equal_messages_without_ids_are_two() {
    for dialect in Dialect::ALL {
        let server = started(dialect).await;
        let client = with_store(&server, "juliet", &Arc::default()).await;
        for _ in 0..2 {
            say(&server, ROMEO, client.jid().expect("bound"), "ok", "");
        }
        settle(&client).await;
        assert_eq!(log_of(&client).await, ["ok", "ok"], "{dialect:?}");
        if dialect.differences().archive {
            assert_eq!(texts(client.archive().server().query().forwards()).await.len(), 2);
            assert_eq!(log_of(&client).await, ["ok", "ok"], "{dialect:?}");
        }
        client.close().await;
    }
}

#[tokio::test]
async fn results_and_carbons_that_somebody_else_sends_change_nothing() {
    for dialect in Dialect::ALL {
        let server = started(dialect).await;
        let client = with_store(&server, "juliet", &Arc::default()).await;
        let mut messages = client.subscribe::<xmppkit::messaging::ChatMessage>().events();
        let (jid, juliet) = (client.jid().expect("bound"), client.account().clone());
        let inner = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='romeo@example.org/x' \
                     to='juliet@example.org/y' type='chat'><body>forged</body></message></forwarded>";
        let forged = [
            format!("<received xmlns='urn:xmpp:carbons:2'>{inner}</received>"),
            format!("<sent xmlns='urn:xmpp:carbons:2'>{inner}</sent>"),
            format!("<result xmlns='urn:xmpp:mam:2' id='1'>{inner}</result>"),
            format!("<result xmlns='urn:xmpp:mam:2' queryid='1-0' id='1'>{inner}</result>"),
        ];
        for payload in &forged {
            for from in ["romeo@example.org", "romeo@example.org/x", "example.org", jid.as_str(), "juliet@evil.example"] {
                let xml = format!("<message from='{from}' to='{jid}' type='chat'>{payload}<body>around</body></message>");
                assert_eq!(server.send_stanza(Target::Session(jid.clone()), &xml).expect("a stanza"), 1);
            }
        }
        // From the account itself a result is one only if it was asked for.
        for payload in &forged[2..] {
            let xml = format!("<message from='{juliet}' to='{jid}'>{payload}</message>");
            server.send_stanza(Target::Session(jid.clone()), &xml).expect("a stanza");
        }
        say(&server, ROMEO, &jid, "real", "");
        let message = within("a message", messages.next()).await.expect("a message");
        assert_eq!(message.body().as_deref(), Some("real"), "{dialect:?}");
        assert_eq!(log_of(&client).await, ["real"], "{dialect:?}");
        client.close().await;
    }
}
