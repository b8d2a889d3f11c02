//! A bot that says what it is told. Without arguments it shows itself on a server inside the program.
//!
//! ```text
//! cargo run --example echo_bot
//! cargo run --example echo_bot -- --jid bot@example.org --password secret [--server HOST:PORT] [--ca FILE]
//! ```
//!
//! On a server of yours it runs until Ctrl+C.

use xmppkit::prelude::*;
use xmppkit::testing::Server;

/// What the bot is told on its command line.
#[derive(Debug, Default)]
pub struct Options {
    /// Its account.
    pub jid: String,
    /// Its password.
    pub password: String,
    /// The server's host and port, where DNS is not to be asked.
    pub server: Option<(String, u16)>,
    /// A certificate authority of one's own, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// Echoes until `stop` resolves, or the connection has failed for good.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> xmppkit::Result<()> {
    let mut builder = Client::builder(options.jid.parse()?).password(options.password);
    if let Some((host, port)) = options.server {
        builder = builder.server(host, port, TlsMode::StartTls);
    }
    if let Some(pem) = options.ca {
        builder = builder.trust(Trust::only_ca(pem)?);
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

/// Somebody talks to the bot, on a server inside the program.
pub async fn show() -> xmppkit::Result<()> {
    let server = Server::builder().domain("example.org").account("bot", "secret").account("juliet", "secret").start().await?;
    let options = Options {
        jid: "bot@example.org".to_owned(),
        password: "secret".to_owned(),
        server: Some((server.address().ip().to_string(), server.address().port())),
        ca: Some(server.ca_pem().to_vec()),
    };
    let juliet = server.client("juliet")?.build().await?;
    let mut echoes = juliet.messages().events();
    juliet.connect().await?;
    let chat = juliet.chat(&server.jid("bot")?);
    let talk = async {
        for text in ["Good night!", "Parting is such sweet sorrow."] {
            println!("juliet: {text}");
            match chat.send(text).await {
                Ok(_) => println!("bot: {}", echoes.next().await.as_ref().and_then(|echo| echo.body()).unwrap_or_default()),
                Err(error) => println!("{error}"),
            }
        }
    };
    run(options, talk).await?;
    juliet.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let mut options = Options::default();
    let mut flags = std::env::args().skip(1).peekable();
    if flags.peek().is_none() {
        return show().await;
    }
    while let (Some(flag), value) = (flags.next(), flags.next().unwrap_or_default()) {
        match flag.as_str() {
            "--jid" => options.jid = value,
            "--password" => options.password = value,
            "--server" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| xmppkit::Error::other("--server HOST:PORT"))?;
                options.server = Some((host.to_owned(), port.parse().map_err(xmppkit::Error::other)?));
            }
            "--ca" => options.ca = Some(std::fs::read(value)?),
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
