//! From the call to being ready, with a large roster: `cargo bench --bench login`. One line for each figure.
//!
//! Without arguments the server is one inside the program. With them an account is registered on a real one, given its contacts,
//! and deleted in the end: `cargo bench --bench login -- HOST:PORT DOMAIN CA-FILE`.

#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use xmppkit::client::XmlDirection;
use xmppkit::prelude::*;
use xmppkit::store::SqliteStore;
use xmppkit::testing::{Contact, Server, Subscription};

const COUNTS: [usize; 2] = [10_000, 20_000];
const ROUNDS: usize = 5;
/// How many contacts are added at once.
const AT_ONCE: usize = 64;

fn main() -> xmppkit::Result<()> {
    // Cargo's own argument is `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let folder = std::env::temp_dir().join(format!("xmppkit-bench-login-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match arguments.as_slice() {
            [] => inside(&folder).await,
            [server, domain, ca] => real(&folder, server, domain, ca).await,
            _ => Err(xmppkit::Error::other("HOST:PORT DOMAIN CA-FILE, or nothing")),
        }
    });
    std::fs::remove_dir_all(folder)?;
    result
}

/// Where the account is, and how it logs in.
struct Account {
    jid: BareJid,
    address: (String, u16),
    trust: Trust,
}

impl Account {
    /// A client with this file, and how many bytes it received.
    async fn client(&self, file: &Path) -> xmppkit::Result<(Client, Arc<AtomicUsize>)> {
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let client = Client::builder(self.jid.clone())
            .password("secret")
            .server(self.address.0.as_str(), self.address.1, TlsMode::StartTls)
            .trust(self.trust.clone())
            .store(Arc::new(SqliteStore::open(file).await?))
            .xml_log(move |direction, xml| {
                if direction == XmlDirection::Received {
                    count.fetch_add(xml.len(), Ordering::Relaxed);
                }
            })
            .build()
            .await?;
        Ok((client, received))
    }

    /// Opens the file, logs in and waits until everything is there, then closes; the time until it was, and the bytes received.
    async fn log_in(&self, file: &Path, contacts: usize) -> xmppkit::Result<(Duration, usize)> {
        // The client before has just been closed, and its last task may still hold the file: building waits for that.
        drop(self.client(file).await?);
        let start = Instant::now();
        let (client, received) = self.client(file).await?;
        client.connect().await?;
        assert_eq!(client.roster().snapshot().len(), contacts);
        let done = (start.elapsed(), received.load(Ordering::Relaxed));
        client.close().await;
        Ok(done)
    }

    /// Prints the figures for this many contacts; the medians are given back.
    async fn measure(&self, folder: &Path, contacts: usize) -> xmppkit::Result<[Duration; 2]> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let file = folder.join(format!("{contacts}-{round}.db"));
            first.push(self.log_in(&file, contacts).await?);
            second.push(self.log_in(&file, contacts).await?);
        }
        let mut medians = [Duration::ZERO; 2];
        for ((what, times), median) in [("first", first), ("second", second)].into_iter().zip(&mut medians) {
            let mut times = times;
            times.sort();
            let (middle, bytes) = times[ROUNDS / 2];
            let (best, worst) = (milliseconds(times[0].0), milliseconds(times[ROUNDS - 1].0));
            println!(
                "{contacts} contacts, {what} login: {:.0} ms ({best:.0} to {worst:.0}), {bytes} bytes received",
                milliseconds(middle)
            );
            *median = middle;
        }
        Ok(medians)
    }
}

async fn inside(folder: &Path) -> xmppkit::Result<()> {
    let mut all = Vec::new();
    for contacts in COUNTS {
        let server = Server::builder().domain("example.org").account("juliet", "secret").start().await?;
        let jid = server.jid("juliet")?;
        for n in 0..contacts {
            let contact = Contact::new(contact(n)).name(name(n)).group("Verona").subscription(Subscription::Both);
            server.add_contact(&jid, contact);
        }
        let address = (server.address().ip().to_string(), server.address().port());
        let account = Account { jid, address, trust: Trust::only_ca(server.ca_pem())? };
        all.push(account.measure(folder, contacts).await?);
    }
    print_ratios(&all);
    Ok(())
}

async fn real(folder: &Path, server: &str, domain: &str, ca: &str) -> xmppkit::Result<()> {
    let (host, port) = server.rsplit_once(':').ok_or_else(|| xmppkit::Error::other("HOST:PORT"))?;
    let address = (host.to_owned(), port.parse().map_err(xmppkit::Error::other)?);
    let jid = format!("bench-{:x}@{domain}", std::process::id()).parse()?;
    let account = Account { jid, address, trust: Trust::only_ca(std::fs::read(ca)?)? };
    let (owner, _) = account.client(&folder.join("owner.db")).await?;
    owner.register().await?;
    let mut all = Vec::new();
    let mut there = 0;
    for contacts in COUNTS {
        let start = Instant::now();
        let add = |n| owner.roster().add(contact(n)).name(name(n)).group("Verona").into_future();
        let mut added = futures::stream::iter((there..contacts).map(add)).buffer_unordered(AT_ONCE);
        while let Some(result) = added.next().await {
            result?;
        }
        drop(added);
        println!("{} contacts added in {:.1} s", contacts - there, start.elapsed().as_secs_f64());
        there = contacts;
        all.push(account.measure(folder, contacts).await?);
    }
    print_ratios(&all);
    owner.delete_account().await
}

fn print_ratios(all: &[[Duration; 2]]) {
    for (what, way) in [("first", 0), ("second", 1)] {
        let ratio = all[1][way].as_secs_f64() / all[0][way].as_secs_f64();
        println!("{} contacts take {ratio:.2} times as long as {}, {what} login", COUNTS[1], COUNTS[0]);
    }
}

fn contact(n: usize) -> BareJid {
    format!("contact{n}@montague.example").parse().expect("a JID")
}

fn name(n: usize) -> String {
    format!("Contact {n} of the house of Montague")
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
