//! What a subscriber costs that has stopped reading, while messages pass.
//!
//! Three processes: this one judges, one is the server, one the client, whose resident memory is what is looked at. The client has two
//! subscriptions: one reads everything, the other nothing. The first fills its mailbox (1,024 messages) and is then cut off; from
//! there on memory must stay where it is. Without a store that outlives the process the log is bounded too (`MemoryStore`), and is full
//! before the first figure that is compared. `--sqlite` keeps the log on disk; the stopped subscription is a durable one then, and reads
//! at the end what it missed.
//!
//! `scripts/soak --memory` makes 1,000,000 messages pass; `cargo test` a short run.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use xmppkit::client::{Client, TlsMode, Trust};
use xmppkit::event::Incoming;
use xmppkit::jid::Jid;
use xmppkit::messaging::{ChatMessage, Messages as _};
use xmppkit::store::{MemoryStore, SqliteStore, Store};
use xmppkit::testing::Server;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The short run.
const SHORT: u64 = 50_000;
/// The long one.
const FULL: u64 = 1_000_000;
/// Of the messages: the mailbox and the bounded log are full, and what is compared begins.
const BASE: f64 = 0.25;
/// By how much the resident memory may rise after that, in KiB: allocators are not exact.
const MARGIN: u64 = 4 * 1024;
/// And with SQLite, whose three connections fill caches of 2 MB each.
const CACHES: u64 = 6 * 1024;
/// Messages that the log in memory keeps.
const LOG: usize = 2_000;
/// Messages the server sends before it waits until they were read.
const WINDOW: u64 = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--help") {
        println!("stopped_subscriber [--full] [--sqlite]: resident memory with a subscriber that reads nothing");
        return ExitCode::SUCCESS;
    }
    // Filters of `cargo test` are for its tests, of which this is one.
    let is_child = arguments.first().is_some_and(|first| first.starts_with("be-"));
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).filter(|_| !is_child);
    if has("--list") || filter.is_some_and(|filter| !"stopped_subscriber".contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    if !std::path::Path::new("/proc/self/status").exists() {
        eprintln!("stopped_subscriber: SKIPPED: this system does not tell a process's memory in /proc");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = runtime.block_on(async {
        match arguments.first().map(String::as_str) {
            Some("be-server") => be_server().await.map(|()| true),
            Some("be-client") => be_client(&arguments[1..]).await.map(|()| true),
            // `cargo test` runs both kinds short.
            _ if has("--full") => run(FULL, has("--sqlite")).await,
            _ => Ok(run(SHORT, false).await? & run(SHORT / 5, true).await?),
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stopped_subscriber: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A child process, told and telling line by line.
struct Process {
    child: Child,
    told: ChildStdin,
    tells: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let told = child.stdin.take().ok_or("no stdin")?;
        let tells = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        Ok(Self { child, told, tells })
    }

    async fn tell(&mut self, line: &str) -> Result<(), Failure> {
        Ok(self.told.write_all(format!("{line}\n").as_bytes()).await?)
    }

    async fn next(&mut self) -> Result<String, Failure> {
        let line = tokio::time::timeout(Duration::from_secs(300), self.tells.next_line()).await.map_err(|_| "a process hangs")?;
        line?.ok_or_else(|| "a process ended".into())
    }

    /// Resident memory in KiB.
    fn resident(&self) -> Result<u64, Failure> {
        let id = self.child.id().ok_or("a process ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

async fn run(messages: u64, sqlite: bool) -> Result<bool, Failure> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("stopped-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure(messages, sqlite, &folder).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn measure(messages: u64, sqlite: bool, folder: &std::path::Path) -> Result<bool, Failure> {
    let began = Instant::now();
    let mut server = Process::start(&["be-server"])?;
    let address = server.next().await?;
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, server.next().await?.replace('|', "\n"))?;
    let path = folder.join("chat.db");
    let store = if sqlite { path.to_str().ok_or("a path")? } else { "memory" };
    let mut client = Process::start(&["be-client", &address, ca.to_str().ok_or("a path")?, store])?;
    server.tell(&client.next().await?).await?;
    let kind = if sqlite { "a durable one, SQLite" } else { "in memory" };
    println!("resident memory of a client with a stopped subscriber ({kind}), {messages} messages");
    let marks: Vec<u64> = [0.0, 0.1, BASE, 0.5, 0.75, 1.0].iter().map(|part| (messages as f64 * part) as u64).collect();
    let (mut passed, mut base, mut highest) = (0, 0, 0);
    for mark in marks {
        while passed < mark {
            let count = WINDOW.min(mark - passed);
            server.tell(&count.to_string()).await?;
            passed += count;
            client.tell(&passed.to_string()).await?;
            if client.next().await? != passed.to_string() {
                return Err("the reading subscriber missed something".into());
            }
        }
        let resident = client.resident()?;
        println!("{mark:>9} messages: {resident:>7} KiB");
        match mark {
            _ if mark < (messages as f64 * BASE) as u64 => {}
            _ if base == 0 => base = resident,
            _ => highest = highest.max(resident),
        }
    }
    client.tell("end").await?;
    let missed = client.next().await?;
    let margin = if sqlite { MARGIN + CACHES } else { MARGIN };
    let flat = highest <= base + margin;
    let rise = highest as i64 - base as i64;
    println!("rise: {rise} KiB (at most {margin}); {missed}; {:.0} s", began.elapsed().as_secs_f64());
    Ok(flat && missed.ends_with(&format!("{messages} accounted for")))
}

/// Sends as many messages as it is told, after the address to send them to.
async fn be_server() -> Result<(), Failure> {
    let server = Server::builder().account("juliet", "secret").differences(|d| d.archive = false).start().await?;
    println!("{}", server.address());
    println!("{}", String::from_utf8_lossy(server.ca_pem()).replace('\n', "|"));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let to = lines.next_line().await?.ok_or("no address")?;
    server.wait_online(to.parse::<Jid>()?).await;
    let mut number = 0_u64;
    while let Some(line) = lines.next_line().await? {
        for _ in 0..line.parse::<u64>()? {
            number += 1;
            server.route_stanza(&format!(
                "<message from='romeo@localhost/orchard' to='{to}' type='chat' id='m{number}'><body>{number} {}</body></message>",
                "x".repeat(200)
            ))?;
        }
    }
    Ok(())
}

async fn be_client(arguments: &[String]) -> Result<(), Failure> {
    let [address, ca, store] = arguments else { return Err("address, CA and store".into()) };
    let address: std::net::SocketAddr = address.parse()?;
    let on_disk = store != "memory";
    let store: Arc<dyn Store> =
        if on_disk { Arc::new(SqliteStore::open(store).await?) } else { Arc::new(MemoryStore::new().max_messages(LOG)) };
    let client = Client::builder("juliet@localhost".parse()?)
        .password("secret")
        .server(address.ip().to_string(), address.port(), TlsMode::StartTls)
        .trust(Trust::only_ca(&std::fs::read(ca)?)?)
        .store(store)
        .build()
        .await?;
    let mut reading = client.messages().events();
    let mut stopped = client.messages();
    let mut durable = if on_disk { Some(client.messages().durable("stopped").await?) } else { None };
    client.connect().await?;
    println!("{}", client.jid().ok_or("not bound")?);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut read = 0_u64;
    while let Some(line) = lines.next_line().await? {
        let Ok(until) = line.parse::<u64>() else { break };
        while read < until {
            reading.next().await.ok_or("the subscription ended")?;
            read += 1;
        }
        println!("{read}");
    }
    if let Some(durable) = &mut durable {
        for number in 1..=read {
            let Some(Incoming::Item(item)) = durable.next().await else { return Err("a gap in a durable subscription".into()) };
            if number_of(&item) != Some(number) {
                return Err("out of order".into());
            }
            item.ack().await?;
        }
        println!("the durable subscription got what it missed: {read} accounted for");
        return Ok(());
    }
    let (mut items, mut missing) = (0, 0);
    while let Some(Some(incoming)) = futures::FutureExt::now_or_never(stopped.next()) {
        match incoming {
            Incoming::Item(item) if number_of(&item) == Some(items + missing + 1) => items += 1,
            Incoming::Gap(gap) => missing += gap.count.unwrap_or_default(),
            _ => return Err("not where the gap says".into()),
        }
    }
    println!("{items} kept and a gap of {missing}: {} accounted for", items + missing);
    Ok(())
}

fn number_of(message: &ChatMessage) -> Option<u64> {
    message.body()?.split_once(' ')?.0.parse().ok()
}
