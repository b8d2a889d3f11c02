//! The tour: two accounts are made, log in over TLS, become contacts, see one another on every device, and talk. What they said is
//! read back from the server's archive; then both start again on the SQLite file they kept, as a new process would, and find
//! everything there.
//!
//! Without flags the server is one inside the program. With flags the same happens on a real server; accounts that were given are
//! left as they were found, those that were registered are deleted in the end.
//!
//! ```text
//! cargo run --example tour
//! cargo run --example tour -- --domain chat.example --register [--server HOST:PORT [--direct-tls]] [--ca FILE | --pin FINGERPRINT]
//! cargo run --example tour -- --domain chat.example --account romeo:password --account juliet:password
//! ```

mod file;
pub(crate) mod options;
mod restart;

use std::future::IntoFuture;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use xmppkit::client::{Milestone, TlsMode, Trust};
use xmppkit::error::{Error, ErrorKind, Result};
use xmppkit::event::Events;
use xmppkit::prelude::*;
use xmppkit::roster::Subscription;
use xmppkit::store::{SqliteStore, Store};
use xmppkit::testing::Server;

use self::file::File;
pub use self::options::Options;

/// The tour on a server inside the program.
pub async fn run_inside() -> Result<()> {
    let server = Server::builder().domain("verona.example").start().await?;
    let address = server.address();
    say("server", &format!("listens inside this program at {address}, for {}", server.domain()));
    run(Options {
        domain: server.domain().to_owned(),
        server: Some((address.ip().to_string(), address.port())),
        tls: TlsMode::StartTls,
        trust: Trust::only_ca(server.ca_pem())?,
        accounts: None,
    })
    .await
}

/// The tour on any server.
pub async fn run(options: Options) -> Result<()> {
    let fresh = |role: &str| (format!("{role}-{}", &random()[..6]), random() + &random());
    let accounts = options.accounts.clone().unwrap_or_else(|| [fresh("romeo"), fresh("juliet")]);
    let register = options.accounts.is_none();
    let file = File::new()?;
    let mut tour = Tour::prepare(&options, &accounts, &file).await?;
    let mut result = tour.arrive(register).await;
    if result.is_ok() {
        result = tour.play().await;
        if result.is_ok() {
            tour.close().await;
            tour = Tour::prepare(&options, &accounts, &file).await?;
            result = tour.start_again().await;
        }
        result = result.and(tour.part().await);
    }
    for (who, client) in [("romeo", &tour.romeo), ("juliet", &tour.juliet)] {
        if register && client.state().is_online() {
            result = result.and(step(who, "deletes the account", client.delete_account()).await);
        }
    }
    tour.close().await;
    result
}

/// Everybody in the play. A client is one session: Juliet's phone is a second client of her account.
struct Tour {
    romeo: Client,
    juliet: Client,
    phone: Client,
    requests: Events<SubscriptionRequest>,
    at_juliet: Events<ChatMessage>,
    at_romeo: UnboundedReceiver<ChatMessage>,
}

impl Tour {
    async fn prepare(options: &Options, [first, second]: &[(String, String); 2], file: &File) -> Result<Self> {
        // Both accounts are kept in one file; the phone keeps nothing.
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(file.path()).await?);
        let romeo = options.client(first)?.store(Arc::clone(&store)).build().await?;
        let juliet = options.client(second)?.store(store).build().await?;
        let phone = options.client(second)?.build().await?;

        // Subscribed before anybody connects, so that nothing is missed. Juliet reads streams …
        let requests = juliet.subscribe::<SubscriptionRequest>().events();
        let at_juliet = juliet.messages().events();
        // … and Romeo has handlers: closures, called for as long as the client lives.
        let (heard, at_romeo) = unbounded();
        romeo
            .on(move |message: ChatMessage| {
                let heard = heard.clone();
                async move { heard.unbounded_send(message).map_err(Error::other) }
            })
            .detach();
        let beloved = juliet.account().clone();
        romeo
            .on(move |request: SubscriptionRequest| {
                let is_she = *request.from() == beloved;
                async move { if is_she { request.accept().await } else { Ok(()) } }
            })
            .detach();
        Ok(Self { romeo, juliet, phone, requests, at_juliet, at_romeo })
    }

    /// Both log in, and must not know one another yet.
    async fn arrive(&self, register: bool) -> Result<()> {
        arrive("romeo", &self.romeo, register).await?;
        arrive("juliet", &self.juliet, register).await?;
        let (romeo, juliet) = (self.romeo.account(), self.juliet.account());
        if self.romeo.roster().get(juliet).is_some() || self.juliet.roster().get(romeo).is_some() {
            return Err(Error::other("the two are contacts already, which the tour would end: take other accounts"));
        }
        Ok(())
    }

    async fn play(&mut self) -> Result<()> {
        self.meet().await?;
        self.look().await?;
        let said = self.talk().await?;
        self.read_back(&said).await
    }

    /// The two are strangers again.
    async fn part(&self) -> Result<()> {
        let (romeo, juliet) = (&self.romeo, &self.juliet);
        let result = step("romeo", "removes juliet from the roster", romeo.roster().remove(juliet.account())).await;
        result.and(step("juliet", "removes romeo from the roster", juliet.roster().remove(romeo.account())).await)
    }

    /// Everybody goes, and the file is closed.
    async fn close(self) {
        for client in [self.phone, self.juliet, self.romeo] {
            client.close().await;
        }
    }

    /// Romeo asks to see Juliet's presence; she accepts, and asks in turn.
    async fn meet(&mut self) -> Result<()> {
        let (romeo, juliet) = (self.romeo.account(), self.juliet.account());
        let add = self.romeo.roster().add(juliet.clone()).name("Juliet").group("Capulets").text("Have not saints lips?");
        step("romeo", "adds juliet to the roster, and asks to see her presence", add).await?;
        let request = find(&mut self.requests, |request| request.from() == romeo);
        let request = step("juliet", "is asked", request).await?;
        say("", &format!("{}: {}", request.from(), request.text().unwrap_or_default()));
        step("juliet", "accepts, and asks in turn", request.accept_and_subscribe()).await?;
        for (who, client, other) in [("romeo", &self.romeo, juliet), ("juliet", &self.juliet, romeo)] {
            let both = client
                .roster()
                .watch()
                .wait_for(|roster| roster.get(other).is_some_and(|contact| contact.subscription() == Subscription::Both));
            step(who, "has the other as a contact, subscribed both ways", both).await?;
        }
        Ok(())
    }

    /// Juliet comes online on a second device, and Romeo sees both.
    async fn look(&mut self) -> Result<()> {
        let juliet = self.juliet.account();
        // A negative priority keeps messages to her account away from this device.
        self.phone.presence().set(Show::Away).status("on the balcony").priority(-1).await?;
        step("juliet", "logs in on the phone as well", self.phone.connect()).await?;
        let devices = |count| self.romeo.presence().watch().wait_for(move |presence| presence.of(juliet).len() == count);
        let presence = step("romeo", "sees both devices", devices(2)).await?;
        for device in presence.of(juliet) {
            say("", &format!("{}: {:?}, {}", device.jid(), device.show(), device.status().unwrap_or("no words".into())));
        }
        self.phone.close().await;
        step("romeo", "sees that the phone is gone", devices(1)).await?;
        Ok(())
    }

    /// A message and the reply, one read from a stream, one by a handler. Gives their ids.
    async fn talk(&mut self) -> Result<[String; 2]> {
        let send = async {
            let sent = self.romeo.chat(self.juliet.account()).send("Wilt thou leave me so unsatisfied?").await?;
            // Accepted is not sent yet: the token says how far it gets.
            sent.wait_for(Milestone::Written).await?;
            Ok(sent)
        };
        let sent = step("romeo", "sends a message", send).await?;
        let message = find(&mut self.at_juliet, |message| message.id().as_deref() == Some(sent.id()));
        let message = step("juliet", "reads it from the stream", message).await?;
        say("", &format!("{}: {}", message.from(), message.body().unwrap_or_default()));
        let reply = step("juliet", "replies", message.reply("What satisfaction canst thou have tonight?")).await?;
        let message = find(&mut self.at_romeo, |message| message.id().as_deref() == Some(reply.id()));
        let message = step("romeo", "gets the reply in the handler", message).await?;
        say("", &format!("{}: {}", message.from(), message.body().unwrap_or_default()));
        Ok([sent.id().to_owned(), reply.id().to_owned()])
    }
}

/// Logs in, with a new account or an old one, and shows what there is then.
async fn arrive(who: &str, client: &Client, register: bool) -> Result<()> {
    match register {
        true => step(who, &format!("registers {} and logs in", client.account()), client.register()).await?,
        false => step(who, &format!("logs in as {}", client.account()), client.connect()).await?,
    }
    let (jid, info) = client.jid().zip(client.connection_info()).ok_or(ErrorKind::NotOnline)?;
    let tls = if info.direct_tls { "direct TLS" } else { "STARTTLS" };
    say("", &format!("{jid}, by {tls} at {}", info.target));
    let contacts = client.roster().contacts();
    say(who, &format!("has fetched the roster: {} contacts", contacts.len()));
    contacts.iter().for_each(|contact| say("", &format!("{} ({:?})", contact.jid(), contact.subscription())));
    Ok(())
}

/// The first item of a stream that is as wanted: on a real server there may be others.
async fn find<T>(mut stream: impl Stream<Item = T> + Unpin, wanted: impl Fn(&T) -> bool) -> Result<T> {
    while let Some(item) = stream.next().await {
        if wanted(&item) {
            return Ok(item);
        }
    }
    Err(ErrorKind::ClientClosed.into())
}

/// Says what is done, does it, and says how it went.
async fn step<T>(who: &str, what: &str, work: impl IntoFuture<Output = Result<T>>) -> Result<T> {
    print!("{who:<8}{what} … ");
    let _ = std::io::stdout().flush();
    let result = tokio::time::timeout(Duration::from_secs(30), work.into_future()).await;
    let result = result.unwrap_or_else(|_| Err(Error::other(format!("{who} {what}: nothing came for half a minute"))));
    println!("{}", if result.is_ok() { "ok" } else { "failed" });
    result
}

fn say(who: &str, what: &str) {
    println!("{who:<8}{what}");
}

/// 16 digits that nobody can guess.
fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|flag| matches!(flag.as_str(), "-h" | "--help")) {
        println!("{}", options::HELP);
        return ExitCode::SUCCESS;
    }
    let result = match options::flags(std::env::args().skip(1)) {
        Ok(Some(options)) => run(options).await,
        Ok(None) => run_inside().await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => {
            println!("tour: ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}
