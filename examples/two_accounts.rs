//! Two accounts in one program: they share resolver, TLS configuration and store, and what comes to the first is forwarded to
//! somebody by the second. Without arguments it shows itself on a server inside the program.
//!
//! ```text
//! cargo run --example two_accounts
//! cargo run --example two_accounts -- --from old@example.org --from-password secret --through new@example.net \
//!     --through-password secret --to me@example.com [--server HOST:PORT] [--ca FILE]
//! ```
//!
//! On servers of yours it forwards until Ctrl+C.

use std::sync::Arc;

use xmppkit::Error;
use xmppkit::connection::Shared;
use xmppkit::prelude::*;
use xmppkit::store::{MemoryStore, Store};
use xmppkit::testing::Server;

/// What is told on the command line.
#[derive(Debug, Default)]
pub struct Options {
    /// The account whose messages are forwarded, and its password.
    pub from: (String, String),
    /// The account that forwards them, and its password.
    pub through: (String, String),
    /// To whom.
    pub to: String,
    /// The servers' host and port, where DNS is not to be asked.
    pub server: Option<(String, u16)>,
    /// A certificate authority of one's own, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// Forwards until `stop` resolves, or one of the connections has failed for good. Gives the number of messages forwarded.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> xmppkit::Result<usize> {
    // One resolver and one TLS configuration, and one store that keeps the accounts apart.
    let network = Shared::new();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let client = async |(jid, password): (String, String)| {
        let mut builder = Client::builder(jid.parse()?).password(password).shared(&network).store(Arc::clone(&store));
        if let Some((host, port)) = options.server.clone() {
            builder = builder.server(host, port, TlsMode::StartTls);
        }
        if let Some(pem) = &options.ca {
            builder = builder.trust(Trust::only_ca(pem.clone())?);
        }
        builder.build().await
    };
    let (from, through) = (client(options.from).await?, client(options.through).await?);
    let to: BareJid = options.to.parse()?;

    let mut messages = std::pin::pin!(from.messages().events().take_until(stop));
    let (online, also_online) = futures::future::join(from.connect().into_future(), through.connect().into_future()).await;
    online.and(also_online)?;

    let mut forwarded = 0;
    while let Some(message) = messages.next().await {
        // Not what the account itself sent from another client, and nothing round in a circle.
        if message.direction() == Direction::Incoming && message.contact() != *through.account() {
            let text = format!("{}: {}", message.contact(), message.body().unwrap_or_default());
            // While the second connection is down, what it is to send waits for the next one.
            through.chat(&to).send(text).await?;
            forwarded += 1;
        }
    }
    for client in [from, through] {
        if let State::Failed(error) = client.state() {
            return Err(error);
        }
        client.close().await;
    }
    println!("{:?} are in the store", store.accounts().await?.iter().map(ToString::to_string).collect::<Vec<_>>());
    Ok(forwarded)
}

/// Somebody writes to the old account, and reads it under the new one.
pub async fn show() -> xmppkit::Result<usize> {
    let mut builder = Server::builder().domain("example.org");
    for name in ["old", "new", "romeo", "juliet"] {
        builder = builder.account(name, "secret");
    }
    let server = builder.start().await?;
    let account = |name: &str| (format!("{name}@example.org"), "secret".to_owned());
    let options = Options {
        from: account("old"),
        through: account("new"),
        to: "juliet@example.org".to_owned(),
        server: Some((server.address().ip().to_string(), server.address().port())),
        ca: Some(server.ca_pem().to_vec()),
    };
    let (romeo, juliet) = (server.client("romeo")?.build().await?, server.client("juliet")?.build().await?);
    let mut read = juliet.messages().events();
    romeo.connect().await?;
    juliet.connect().await?;
    let talk = async {
        for text in ["O, speak again!", "Shall I hear more?"] {
            romeo.chat(&server.jid("old")?).send(text).await?;
            if let Some(message) = read.next().await {
                println!("{} wrote: {}", message.contact(), message.body().unwrap_or_default());
            }
        }
        Ok::<_, Error>(())
    };
    let mut result = Ok(());
    let forwarded = run(options, async { result = talk.await }).await?;
    result?;
    romeo.close().await;
    juliet.close().await;
    Ok(forwarded)
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let mut options = Options::default();
    let mut flags = std::env::args().skip(1).peekable();
    if flags.peek().is_none() {
        println!("{} messages were forwarded", show().await?);
        return Ok(());
    }
    while let Some(flag) = flags.next() {
        let value = flags.next().ok_or_else(|| Error::other(format!("{flag} needs a value")))?;
        match flag.as_str() {
            "--from" => options.from.0 = value,
            "--from-password" => options.from.1 = value,
            "--through" => options.through.0 = value,
            "--through-password" => options.through.1 = value,
            "--to" => options.to = value,
            "--server" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| Error::other("--server HOST:PORT"))?;
                options.server = Some((host.to_owned(), port.parse().map_err(Error::other)?));
            }
            "--ca" => options.ca = Some(std::fs::read(value)?),
            _ => {
                let known = "--from, --from-password, --through, --through-password, --to, --server and --ca";
                return Err(Error::other(format!("{flag}? {known} are known")));
            }
        }
    }
    let interrupted = async {
        // Where signals cannot be heard it forwards until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    println!("{} messages were forwarded", run(options, interrupted).await?);
    Ok(())
}
