//! Reads conversations and their history from a store, without any connection.
//!
//! ```text
//! cargo run --example offline_reader
//! ```
//!
//! A client that was built and never connected reads everything an earlier session left. Here that session is one on a server
//! inside the program, which is stopped before the reading begins.

use std::sync::Arc;

use xmppkit::archive::TimelineItem;
use xmppkit::prelude::*;
use xmppkit::store::{MemoryStore, Store};
use xmppkit::testing::Server;

/// Prints the conversations of an account, each with its last few messages, and marks them as read.
pub async fn run(account: &BareJid, store: Arc<dyn Store>, mut print: impl FnMut(String)) -> xmppkit::Result<()> {
    // The password is for connecting, which never happens here.
    let client = Client::builder(account.clone()).password("").store(store).build().await?;
    let archive = client.archive();
    let mut conversations = archive.conversations();
    while let Some(conversation) = conversations.next().await {
        let conversation = conversation?;
        print(format!("{} ({} unread)", conversation.jid, conversation.unread));

        // The last three messages; `before` the first of them is where the page above begins.
        let page = archive.messages().with(&conversation.jid).page_size(3).page().await?;
        if page.more {
            print("  …".to_owned());
        }
        for message in &page.messages {
            let who = if message.direction() == Direction::Outgoing { "me" } else { "they" };
            print(format!("  {who}: {}", message.body().unwrap_or_default()));
        }
        if let Some(newest) = page.messages.last() {
            archive.mark_read(&conversation.jid, Some(newest.place())).await?;
        }
    }

    // Everything with a word in it, in all conversations, and where something may be missing.
    let mut found = archive.messages().text("night").timeline().await?;
    while let Some(item) = found.next().await {
        match item? {
            TimelineItem::Message(message) => {
                print(format!("night: {} in {}", message.body().unwrap_or_default(), message.contact()))
            }
            TimelineItem::Gap(gap) => print(format!("something may be missing here: {:?}", gap.kind)),
            _ => {}
        }
    }
    Ok(())
}

/// A session on a server inside the program leaves something to read.
pub async fn show(print: impl FnMut(String)) -> xmppkit::Result<()> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let server = Server::builder().domain("example.org").account("juliet", "secret").account("romeo", "secret").start().await?;
    let juliet = server.client("juliet")?.store(Arc::clone(&store)).build().await?;
    let romeo = server.client("romeo")?.build().await?;
    let mut at_juliet = juliet.messages().events();
    juliet.connect().await?;
    romeo.connect().await?;
    for text in ["But soft!", "What light?", "O that I were a glove", "Good night!"] {
        romeo.chat(juliet.account()).send(text).await?;
        at_juliet.next().await;
    }
    juliet.chat(romeo.account()).send("A thousand times good night!").await?;
    let account = juliet.account().clone();
    drop(at_juliet);
    juliet.close().await;
    romeo.close().await;
    server.stop().await?;
    // A store has each account open once.
    drop(juliet);
    run(&account, store, print).await
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    show(|line| println!("{line}")).await
}
