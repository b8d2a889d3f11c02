//! Prints the roster, and then every change of it as it comes; adds, removes and accepts as told. Without arguments two users
//! show it on a server inside the program.
//!
//! ```text
//! cargo run --example roster_watch
//! cargo run --example roster_watch -- --jid juliet@example.com --password secret \
//!     [--add JID]... [--remove JID]... [--accept JID]... [--server HOST:PORT] [--ca FILE]
//! ```
//!
//! On a server of yours it watches until Ctrl+C.

use futures::FutureExt;
use futures::channel::oneshot;
use xmppkit::Error;
use xmppkit::prelude::*;
use xmppkit::roster::Contact;
use xmppkit::testing::Server;

/// What is told on the command line.
#[derive(Debug, Default)]
pub struct Options {
    /// The account.
    pub jid: String,
    /// Its password.
    pub password: String,
    /// What to do first.
    pub orders: Vec<Order>,
    /// The server's host and port, where DNS is not to be asked.
    pub server: Option<(String, u16)>,
    /// A certificate authority of one's own, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// Something to do with the roster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Order {
    /// Add a contact, and ask to see its presence.
    Add(BareJid),
    /// Remove a contact.
    Remove(BareJid),
    /// Let this one see our presence: now if they ask already, else when they do.
    Accept(BareJid),
}

/// Watches until `stop` resolves, or the connection has failed for good. `say` shows a line.
pub async fn run(options: Options, stop: impl Future<Output = ()>, mut say: impl FnMut(String)) -> xmppkit::Result<()> {
    let mut builder = Client::builder(options.jid.parse()?).password(options.password);
    if let Some((host, port)) = options.server {
        builder = builder.server(host, port, TlsMode::StartTls);
    }
    if let Some(pem) = options.ca {
        builder = builder.trust(Trust::only_ca(pem)?);
    }
    let client = builder.build().await?;

    // The first item is the roster as it is: nothing yet, or what a store kept from the last session.
    let mut changes = client.roster().watch();
    let mut states = client.states();
    client.connect().await?;

    let mut accepted = Vec::new();
    for order in options.orders {
        match order {
            Order::Add(jid) => client.roster().add(jid).and_subscribe().await?,
            Order::Remove(jid) => client.roster().remove(&jid).await?,
            Order::Accept(jid) => accepted.push(jid),
        }
    }
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            Some(observed) = changes.next() => {
                let asking: Vec<SubscriptionRequest> = match observed {
                    Observed::Reset(roster) => {
                        say(format!("{} contacts", roster.len()));
                        roster.contacts().for_each(|contact| say(line(contact)));
                        roster.requests().cloned().collect()
                    }
                    Observed::Change(RosterChange::Contact(contact)) => { say(line(&contact)); Vec::new() }
                    Observed::Change(RosterChange::Removed(jid)) => { say(format!("{jid} is no contact any more")); Vec::new() }
                    Observed::Change(RosterChange::Request(request)) => vec![request],
                    Observed::Change(RosterChange::RequestGone(jid)) => { say(format!("{jid} is answered")); Vec::new() }
                    _ => Vec::new(),
                };
                for request in asking {
                    say(format!("{} asks to see our presence", request.nick().as_deref().unwrap_or(request.from().as_str())));
                    if accepted.contains(request.from()) {
                        request.accept().await?;
                    }
                }
            }
            Some(state) = states.next() => if let State::Failed(error) = state { return Err(error) },
            () = &mut stop => break,
        }
    }
    client.close().await;
    Ok(())
}

/// A contact, with who sees whom, and what it waits for.
fn line(contact: &Contact) -> String {
    let groups: Vec<&str> = contact.groups().collect();
    let asked = if contact.is_asked() { ", asked" } else { "" };
    let name = contact.name().unwrap_or("-");
    format!("{} {name} ({}{asked}) [{}]", contact.jid(), contact.subscription(), groups.join(", "))
}

/// Juliet watches while Romeo becomes her contact, is given a name and a group by her other client, and goes.
pub async fn show() -> xmppkit::Result<Vec<String>> {
    let mut builder = Server::builder().domain("example.org");
    for name in ["romeo", "juliet", "nurse"] {
        builder = builder.account(name, "secret");
    }
    let server = builder.start().await?;
    let (juliet, romeo) = (server.client("juliet")?.build().await?, server.client("romeo")?.build().await?);
    let romeo_jid = romeo.account().clone();
    let options = Options {
        jid: juliet.account().to_string(),
        password: "secret".to_owned(),
        orders: vec![Order::Accept(romeo_jid.clone()), Order::Add(server.jid("nurse")?)],
        server: Some((server.address().ip().to_string(), server.address().port())),
        ca: Some(server.ca_pem().to_vec()),
    };
    let play = async {
        juliet.connect().await?;
        romeo.connect().await?;
        romeo.roster().add(juliet.account().clone()).nick("Romeo").await?;
        let is_seen = |contact: &Contact| contact.subscription().includes_to();
        romeo.roster().watch().wait_for(|roster| roster.get(juliet.account()).is_some_and(is_seen)).await?;
        juliet.roster().add(romeo_jid.clone()).name("Romeo").group("Montagues").await?;
        juliet.roster().remove(&romeo_jid).await
    };
    let (gone, is_gone) = oneshot::channel();
    let (mut seen, mut gone) = (Vec::new(), Some(gone));
    let watch = run(options, is_gone.map(drop), |line| {
        println!("{line}");
        if line.ends_with("no contact any more") {
            gone.take().map(|gone| gone.send(()));
        }
        seen.push(line);
    });
    futures::future::try_join(Box::pin(watch), play).await?;
    juliet.close().await;
    romeo.close().await;
    Ok(seen)
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let mut options = Options::default();
    let mut flags = std::env::args().skip(1).peekable();
    if flags.peek().is_none() {
        return show().await.map(drop);
    }
    while let Some(flag) = flags.next() {
        let value = flags.next().ok_or_else(|| Error::other(format!("{flag} needs a value")))?;
        match flag.as_str() {
            "--jid" => options.jid = value,
            "--password" => options.password = value,
            "--add" => options.orders.push(Order::Add(value.parse()?)),
            "--remove" => options.orders.push(Order::Remove(value.parse()?)),
            "--accept" => options.orders.push(Order::Accept(value.parse()?)),
            "--server" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| Error::other("--server HOST:PORT"))?;
                options.server = Some((host.to_owned(), port.parse().map_err(Error::other)?));
            }
            "--ca" => options.ca = Some(std::fs::read(value)?),
            _ => return Err(Error::other(format!("{flag}? --jid, --password, --add, --remove, --accept, --server, --ca"))),
        }
    }
    let interrupted = async {
        // Where signals cannot be heard it watches until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    run(options, interrupted, |line| println!("{line}")).await
}
