//! A bot that says what it is told.
//!
//! ```text
//! cargo run --example echo_bot -- --jid bot@example.org --password secret [--server HOST:PORT] [--ca FILE]
//! ```
//!
//! It stops at Ctrl+C.

use std::path::PathBuf;

use xmppkit::client::{State, TlsMode, Trust};
use xmppkit::messaging::Direction;
use xmppkit::prelude::*;

/// What the bot is told on its command line.
#[derive(Debug, Default)]
pub struct Options {
    /// Its account.
    pub jid: String,
    /// Its password.
    pub password: String,
    /// The server's host and port, where DNS is not to be asked.
    pub server: Option<(String, u16)>,
    /// A certificate authority of one's own, as PEM.
    pub ca: Option<PathBuf>,
}

/// Echoes until `stop` resolves, or the connection has failed for good.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> xmppkit::Result<()> {
    let mut builder = Client::builder(options.jid.parse()?).password(options.password);
    if let Some((host, port)) = options.server {
        builder = builder.server(host, port, TlsMode::StartTls);
    }
    if let Some(path) = options.ca {
        builder = builder.trust(Trust::only_ca(std::fs::read(path)?)?);
    }
    let client = builder.build().await?;

    // Subscribed before it connects, the bot also hears what came while it was away.
    let mut messages = std::pin::pin!(client.messages().events().take_until(stop));
    client.connect().await?;
    println!("echoing as {}", client.account());

    while let Some(message) = messages.next().await {
        // What the account's other clients send is among the messages. Answering it would be talking to oneself.
        if message.direction() == Direction::Incoming {
            message.reply(message.body().unwrap_or_default()).await?;
        }
    }
    if let State::Failed(error) = client.state() {
        return Err(error);
    }
    client.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let mut options = Options::default();
    let mut flags = std::env::args().skip(1);
    while let (Some(flag), value) = (flags.next(), flags.next().unwrap_or_default()) {
        match flag.as_str() {
            "--jid" => options.jid = value,
            "--password" => options.password = value,
            "--server" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| xmppkit::Error::other("--server HOST:PORT"))?;
                options.server = Some((host.to_owned(), port.parse().map_err(xmppkit::Error::other)?));
            }
            "--ca" => options.ca = Some(value.into()),
            _ => return Err(xmppkit::Error::other(format!("{flag}? --jid, --password, --server and --ca are known"))),
        }
    }
    let interrupted = async {
        // Where signals cannot be heard the bot runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    run(options, interrupted).await
}
