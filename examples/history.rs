//! Exports a conversation as JSON lines, one message each, however long it is: nothing is loaded whole.
//!
//! ```text
//! cargo run --example history
//! cargo run --example history -- --jid juliet@example.org --password secret --with romeo@example.net [--server HOST:PORT] [--ca FILE]
//! ```
//!
//! It asks the server's archive first, so that what other clients wrote and got is among it, and then reads what the store has.
//! Without arguments it does so on a server inside the program.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use xmppkit::archive::HistoryMessage;
use xmppkit::prelude::*;
use xmppkit::store::{MemoryStore, Store};
use xmppkit::testing::Server;
use xmppkit::xml::format_datetime;

/// Whose conversation with whom to export.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// The account.
    pub jid: String,
    /// Its password.
    pub password: String,
    /// The other side.
    pub with: String,
    /// The server's host and port, where DNS is not to be asked.
    pub server: Option<(String, u16)>,
    /// A certificate authority of one's own, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// Fetches what the server has of the conversation, then writes all of it. Returns how many messages it wrote.
pub async fn run(options: Options, store: Arc<dyn Store>, out: &mut impl Write) -> xmppkit::Result<u64> {
    let mut builder = Client::builder(options.jid.parse()?).password(options.password).store(store);
    if let Some((host, port)) = options.server {
        builder = builder.server(host, port, TlsMode::StartTls);
    }
    if let Some(pem) = options.ca {
        builder = builder.trust(Trust::only_ca(pem)?);
    }
    let client = builder.build().await?;
    client.connect().await?;
    let contact: BareJid = options.with.parse()?;

    // What is fetched joins the store, and what is known already is not kept twice. Newest first: a program that did this
    // before could stop at the first message it knows.
    let mut fetched = client.archive().server().query().with(&contact).backwards();
    while let Some(message) = fetched.next().await {
        if let Err(error) = message {
            eprintln!("the server's archive could not be read: {error}");
            break;
        }
    }
    drop(fetched);
    let count = export(&client, &contact, out).await?;
    client.close().await;
    Ok(count)
}

/// Writes what the store has of a conversation, the oldest message first.
pub async fn export(client: &Client, contact: &BareJid, out: &mut impl Write) -> xmppkit::Result<u64> {
    let mut messages = client.archive().messages().with(contact).forwards();
    let mut count = 0;
    while let Some(message) = messages.next().await {
        writeln!(out, "{}", json_line(&message?))?;
        count += 1;
    }
    Ok(count)
}

/// One message as a JSON object.
fn json_line(message: &HistoryMessage) -> String {
    let way = if message.direction() == Direction::Outgoing { "out" } else { "in" };
    let fields = [
        ("time", Some(format_datetime(message.time()))),
        ("way", Some(way.to_owned())),
        ("from", Some(message.from().to_string())),
        ("id", message.id().map(String::from)),
        ("subject", message.subject().map(String::from)),
        ("body", message.body().map(String::from)),
    ];
    let given = fields.iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", json_string(value.as_deref()?))));
    format!("{{{}}}", given.collect::<Vec<_>>().join(","))
}

/// A text as JSON writes it (RFC 8259 §7).
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line separators are control characters to programs that read JSON as JavaScript.
            c if c < ' ' || matches!(c, '\u{7f}' | '\u{2028}' | '\u{2029}') => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A conversation on a server inside the program, exported.
pub async fn show(out: &mut impl Write) -> xmppkit::Result<u64> {
    let server = Server::builder().domain("example.org").account("juliet", "secret").account("romeo", "secret").start().await?;
    let (romeo, juliet) = (server.client("romeo")?.build().await?, server.client("juliet")?.build().await?);
    let mut at_juliet = juliet.messages().events();
    romeo.connect().await?;
    juliet.connect().await?;
    for (question, answer) in
        [("Shall I hear more?", "\"Wherefore\"\nart thou?"), ("Call me but love.", "How cam'st thou hither?")]
    {
        romeo.chat(juliet.account()).send(question).await?;
        if let Some(message) = at_juliet.next().await {
            message.reply(answer).await?;
        }
    }
    juliet.close().await;
    romeo.close().await;

    let options = Options {
        jid: "juliet@example.org".to_owned(),
        password: "secret".to_owned(),
        with: "romeo@example.org".to_owned(),
        server: Some((server.address().ip().to_string(), server.address().port())),
        ca: Some(server.ca_pem().to_vec()),
    };
    // A new store: everything comes from the server. With one that is kept, later runs fetch what is new.
    run(options, Arc::new(MemoryStore::new()), out).await
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let mut options = Options::default();
    let mut flags = std::env::args().skip(1).peekable();
    if flags.peek().is_none() {
        show(&mut std::io::stdout()).await?;
        return Ok(());
    }
    while let (Some(flag), value) = (flags.next(), flags.next().unwrap_or_default()) {
        match flag.as_str() {
            "--jid" => options.jid = value,
            "--password" => options.password = value,
            "--with" => options.with = value,
            "--server" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| xmppkit::Error::other("--server HOST:PORT"))?;
                options.server = Some((host.to_owned(), port.parse().map_err(xmppkit::Error::other)?));
            }
            "--ca" => options.ca = Some(std::fs::read(value)?),
            _ => return Err(xmppkit::Error::other(format!("{flag}? --jid, --password, --with, --server and --ca are known"))),
        }
    }
    run(options, Arc::new(MemoryStore::new()), &mut std::io::stdout()).await?;
    Ok(())
}
