//! What the log has, read without asking anybody.

use std::sync::Arc;

use futures::StreamExt;
use xmppkit::archive::{Archives, TimelineItem};
use xmppkit::client::Client;
use xmppkit::messaging::{Direction, Messages};
use xmppkit::store::{Batch, GapKind, GapRecord, MemoryStore, MessageFlags, Place};
use xmppkit::testing::Dialect;

use super::{ROMEO, bare, log_of, say, settle, started, texts, with_store};
use crate::common::builder;

/// A client that is offline, with a conversation of nine messages and another of one in its store.
async fn reader() -> (Client, xmppkit::testing::Server) {
    let server = started(Dialect::Strict).await;
    let store = Arc::new(MemoryStore::new());
    let client = with_store(&server, "juliet", &store).await;
    let jid = client.jid().expect("bound");
    for n in 0..8 {
        say(&server, ROMEO, &jid, &format!("{n} words"), &format!("id='{n}'"));
    }
    settle(&client).await;
    client.chat(&bare(&server, "romeo")).send("8 words sent").await.expect("accepted");
    say(&server, "tybalt@example.org/x", &jid, "Peace?", "");
    server
        .route_stanza(&format!("<message from='{ROMEO}' to='{jid}'><received xmlns='urn:xmpp:receipts' id='1'/></message>"))
        .expect("routed");
    settle(&client).await;
    client.close().await;
    drop(client);
    (builder(&server, "juliet").store(store as _).build().await.expect("a client"), server)
}

#[tokio::test]
async fn messages_are_read_offline_by_contact_text_time_and_place_both_ways() {
    let (client, server) = reader().await;
    let romeo = bare(&server, "romeo");
    let all: Vec<String> = (0..8).map(|n| format!("{n} words")).chain(["8 words sent".to_owned()]).collect();
    let query = || client.archive().messages().with(&romeo).page_size(2);
    assert_eq!(texts(query().forwards()).await, all);
    assert_eq!(texts(query().backwards()).await, all.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(texts(client.archive().messages().text("PEACE").forwards()).await, ["Peace?"]);
    assert_eq!(texts(query().text("words sent").forwards()).await, ["8 words sent"]);
    assert_eq!(texts(query().direction(Direction::Outgoing).forwards()).await, ["8 words sent"]);
    assert_eq!(texts(query().from(&ROMEO.parse().expect("a JID")).forwards()).await, all[..8]);

    let messages: Vec<_> = query().forwards().map(|message| message.expect("read")).collect().await;
    let (third, sixth) = (messages[2].place(), messages[5].place());
    assert_eq!(texts(query().after(third).before(sixth).forwards()).await, all[3..5]);
    assert_eq!(texts(query().after(third).before(sixth).backwards()).await, [all[4].clone(), all[3].clone()]);
    assert_eq!(texts(query().since(messages[7].logged().stamp).forwards()).await, all[7..]);
    assert_eq!(texts(query().until(messages[1].logged().stamp).forwards()).await, all[..1]);

    let page = query().page_size(3).page().await.expect("a page");
    assert_eq!((page.messages.len(), page.more), (3, true));
    let page = query().page_size(7).before(page.messages[0].place()).page().await.expect("a page");
    assert_eq!((page.messages.len(), page.more), (6, false));
    let page = query().after(third).before(sixth).page_size(50).page().await.expect("a page");
    assert_eq!((page.messages.len(), page.more), (2, false));

    // A receipt has nothing to read.
    assert_eq!(client.archive().messages().everything().forwards().count().await, log_of(&client).await.len() + 1);
    let sent = &messages[8];
    assert!(client.archive().message(sent.log_id()).await.expect("read").is_some_and(|again| again.id() == sent.id()));
    assert_eq!((sent.direction(), sent.contact()), (Direction::Outgoing, romeo));
}

#[tokio::test]
async fn conversations_count_what_is_unread_until_it_is_marked() {
    let (client, server) = reader().await;
    let romeo = bare(&server, "romeo");
    let list = || async {
        let conversations: Vec<_> = client.archive().conversations().map(|found| found.expect("read")).collect().await;
        let line = |found: &xmppkit::archive::Conversation| {
            format!("{} {} {}", found.jid, found.newest.body().unwrap_or_default(), found.unread)
        };
        conversations.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(list().await, ["tybalt@example.org Peace? 1", "romeo@example.org 8 words sent 8"]);
    let messages: Vec<_> = client.archive().messages().with(&romeo).forwards().map(|m| m.expect("read")).collect().await;
    messages[7].mark_read().await.expect("marked");
    assert_eq!(client.archive().mark_read(&romeo, Some(messages[2].place())).await.expect("marked"), 3);
    assert_eq!(list().await[1], "romeo@example.org 8 words sent 4");
    let unread = texts(client.archive().messages().with(&romeo).unread().forwards()).await;
    assert_eq!(unread, ["3 words", "4 words", "5 words", "6 words"]);
    assert_eq!(client.archive().mark_read(&romeo, None).await.expect("marked"), 4);
    assert_eq!(list().await[1], "romeo@example.org 8 words sent 0");
    let again = client.archive().message(messages[0].log_id()).await.expect("read").expect("it is there");
    assert!(again.is_read() && again.flags().contains(MessageFlags::READ) && !messages[0].is_read());
}

#[tokio::test]
async fn a_timeline_shows_gaps_where_they_are() {
    let (client, server) = reader().await;
    let romeo = bare(&server, "romeo");
    let messages: Vec<_> = client.archive().messages().with(&romeo).forwards().map(|m| m.expect("read")).collect().await;
    let gap = |since, conversation| {
        let mut gap = GapRecord::new(GapKind::CatchUpFailed);
        (gap.since, gap.conversation) = (since, conversation);
        gap
    };
    let other = Some(bare(&server, "tybalt").into());
    let stamp = messages[2].logged().stamp;
    assert!(Place::order_of(stamp) < messages[3].place().order, "they have places of their own");
    let batch = Batch::new().gap(gap(Some(stamp), None)).gap(gap(Some(stamp), other)).gap(gap(None, Some(romeo.clone().into())));
    client.store().apply(batch).await.expect("stored");
    let timeline = client.archive().messages().with(&romeo).page_size(2).timeline().await.expect("read");
    let items: Vec<_> = timeline
        .map(|item| match item.expect("read") {
            TimelineItem::Message(message) => message.body().unwrap_or_default().chars().take(1).collect(),
            TimelineItem::Gap(gap) => format!("{:?}", gap.kind),
            _ => "?".to_owned(),
        })
        .collect()
        .await;
    assert_eq!(items, ["0", "1", "2", "CatchUpFailed", "3", "4", "5", "6", "7", "8", "CatchUpFailed"]);
}
