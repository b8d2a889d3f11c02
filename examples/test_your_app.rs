//! How an application tests itself with `xmppkit::testing`: a server inside the test, and everything that can go wrong with one.
//!
//! The application is a bot that numbers its visitors. The test lets it log in, talks to it as another client and by hand, cuts
//! its connection, and looks at what the server saw. Nothing is installed, nothing sleeps, and no port is fixed.
//!
//! ```text
//! cargo run --example test_your_app
//! ```
//!
//! In a project of your own the test is a `#[tokio::test]` in `tests/`, and the server comes with
//!
//! ```toml
//! [dev-dependencies]
//! xmppkit = { version = "0.1", features = ["testing"] }
//! ```

use std::time::Duration;

use xmppkit::prelude::*;
use xmppkit::testing::{Cut, Server};

/// The application: tells everybody who writes which visitor they are. Runs until the client is closed.
///
/// It takes a client that somebody else has built, which is all it needs to be tested.
async fn number_visitors(client: Client) -> xmppkit::Result<u32> {
    let mut visitors = 0;
    let mut messages = client.messages().events();
    client.connect().await?;
    while let Some(message) = messages.next().await {
        if message.direction() == Direction::Incoming {
            visitors += 1;
            message.reply(format!("Welcome, visitor {visitors}!")).await?;
        }
    }
    Ok(visitors)
}

/// The test.
pub async fn run() -> xmppkit::Result<()> {
    // A server with two accounts, and the application on it.
    let server = Server::builder().domain("example.org").account("bot", "secret").account("juliet", "secret").start().await?;
    let bot = server.client("bot")?.build().await?;
    let app = tokio::spawn(number_visitors(bot.clone()));
    within("the bot's login", server.wait_online(bot.account())).await;

    // Another client talks to it.
    let juliet = server.client("juliet")?.build().await?;
    let mut replies = juliet.messages().events();
    juliet.connect().await?;
    juliet.chat(bot.account()).send("Anybody home?").await?;
    let reply = within("a reply", replies.next()).await.expect("a reply");
    assert_eq!(reply.body().as_deref(), Some("Welcome, visitor 1!"));
    println!("a message is answered");

    // Or nobody does: the server plays a visitor from elsewhere, and keeps what the bot sends.
    server.route_stanza(
        "<message from='romeo@montague.example/garden' to='bot@example.org' type='chat'><body>Is Juliet in?</body></message>",
    )?;
    let answered = |server: &Server| server.received(bot.account()).iter().any(|xml| xml.contains("visitor 2!"));
    within("the answer to Romeo", server.wait_for(answered)).await;
    println!("a message from another server is answered");

    // The network fails. What is sent meanwhile waits on the server; the client comes back by itself, and the bot, which knows
    // nothing of all this, answers.
    let mut states = bot.states();
    server.refuse_connections(true).await?;
    server.cut(bot.account(), Cut::Rst);
    within("the bot to notice", async { while !matches!(states.next().await, Some(State::Waiting { .. })) {} }).await;
    juliet.chat(bot.account()).send("Still there?").await?;
    let waits = |server: &Server| {
        server.sessions().iter().any(|s| s.jid.to_bare() == *bot.account() && !s.connected && s.unacknowledged > 0)
    };
    within("the message to wait", server.wait_for(waits)).await;
    server.refuse_connections(false).await?;
    let reply = within("a reply", replies.next()).await.expect("a reply");
    assert_eq!(reply.body().as_deref(), Some("Welcome, visitor 3!"));
    println!("a message that came while the network was down is answered");

    // A password that was changed behind its back is the end, and the application sees why.
    server.add_account("bot", "another")?;
    server.cut(bot.account(), Cut::Rst);
    let visitors = within("the bot's end", app).await.expect("no panic")?;
    assert_eq!(visitors, 3);
    assert!(bot.state().error().is_some_and(|error| error.is_auth()), "{:?}", bot.state());
    println!("a password that no longer holds ends the bot: {}", bot.state().error().expect("an error"));

    juliet.close().await;
    Ok(())
}

/// A test that waits in vain says for what, and does not hang.
async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), wait).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> xmppkit::Result<()> {
    run().await
}
