//! A client of the soak: a process that sends numbers, and says each that it sent and got. Its lines are the journal by which it is
//! judged; each is written before the next thing happens, so that nothing that happened is missing when it is killed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{mpsc, watch};
use xmppkit::client::{Client, KeepAlive, Milestone, Reconnect, Sent, TlsMode, Trust};
use xmppkit::event::{GapKind, Incoming};
use xmppkit::jid::BareJid;
use xmppkit::messaging::{Direction, Messages as _};
use xmppkit::store::SqliteStore;
use xmppkit::xmpp_parsers::message::{Id, Message};

/// The first argument of a client.
pub(crate) const ARGUMENT: &str = "--client";

/// Where the client's log has the XML.
const XML: &str = "soak::xml";

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a client is started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) jid: BareJid,
    pub(crate) peer: BareJid,
    pub(crate) password: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) ca: PathBuf,
    pub(crate) store: PathBuf,
    /// The last number of which it is known that it was sent.
    pub(crate) sent: u64,
    /// After how long a silence it asks, and how long it waits for the answer.
    pub(crate) keep_alive: [Duration; 2],
}

impl Settings {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let path = |path: &PathBuf| path.display().to_string();
        let texts = [self.jid.to_string(), self.peer.to_string(), self.password.clone(), self.host.clone()];
        let [silence, wait] = self.keep_alive.map(|time| time.as_millis().to_string());
        let rest = [self.port.to_string(), path(&self.ca), path(&self.store), self.sent.to_string(), silence, wait];
        std::iter::once(ARGUMENT.to_owned()).chain(texts).chain(rest).collect()
    }

    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let [jid, peer, password, host, port, ca, store, sent, silence, wait] = arguments else {
            return Err("ten arguments".into());
        };
        Ok(Self {
            jid: jid.parse()?,
            peer: peer.parse()?,
            password: password.clone(),
            host: host.clone(),
            port: port.parse()?,
            ca: ca.into(),
            store: store.into(),
            sent: sent.parse()?,
            keep_alive: [Duration::from_millis(silence.parse()?), Duration::from_millis(wait.parse()?)],
        })
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// The session is there; whether it is the one from before.
    Online(bool),
    /// It is about to send this number; it has sent it: from here on it may not get lost.
    Try(u64),
    Sent(u64),
    /// The server has it.
    Ok(u64),
    /// It came out of the subscription, and whether it is said to have done so before.
    Got(u64, bool),
    /// That was acknowledged.
    Acked(u64),
    /// At the end: how many messages were sent again although nobody could tell.
    Unverified(u64),
    /// Something that must not happen.
    Fault(String),
}

impl Line {
    fn say(&self) {
        let text = match self {
            Self::Online(resumed) => format!("online {}\n", u8::from(*resumed)),
            Self::Try(number) => format!("try {number}\n"),
            Self::Sent(number) => format!("sent {number}\n"),
            Self::Ok(number) => format!("ok {number}\n"),
            Self::Got(number, again) => format!("got {number} {}\n", u8::from(*again)),
            Self::Acked(number) => format!("acked {number}\n"),
            Self::Unverified(count) => format!("unverified {count}\n"),
            Self::Fault(what) => format!("fault {}\n", what.replace('\n', " ")),
        };
        // Whoever reads it has ended if this fails, and then so does this process.
        let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let mut numbers = rest.split(' ').map(str::parse::<u64>);
        let mut number = || numbers.next()?.ok();
        Some(match word {
            "online" => Self::Online(number()? == 1),
            "try" => Self::Try(number()?),
            "sent" => Self::Sent(number()?),
            "ok" => Self::Ok(number()?),
            "got" => Self::Got(number()?, number()? == 1),
            "acked" => Self::Acked(number()?),
            "unverified" => Self::Unverified(number()?),
            "fault" => Self::Fault(rest.to_owned()),
            _ => return None,
        })
    }
}

pub(crate) fn main(arguments: Vec<String>) -> ExitCode {
    // `RUST_LOG` says what the client's own log, on standard error, has; `soak::xml=trace` adds what goes over the wire.
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = runtime.block_on(async { run(Settings::parse(&arguments)?).await });
    if let Err(error) = result {
        Line::Fault(error.to_string()).say();
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn run(settings: Settings) -> Result<(), Failure> {
    let store = SqliteStore::open(&settings.store).await?;
    let pace = Reconnect::default().base(Duration::from_millis(10)).cap(Duration::from_millis(100));
    let builder = Client::builder(settings.jid.clone());
    #[cfg(xmppkit_sabotage)]
    let builder = builder.with(crate::sabotage::CursorByLive);
    let builder = if tracing::enabled!(target: XML, tracing::Level::TRACE) {
        let account = settings.jid.clone();
        builder.xml_log(move |direction, xml| tracing::trace!(target: XML, "{account} {direction} {xml}"))
    } else {
        builder
    };
    let client = builder
        .password(settings.password.as_str())
        .server(settings.host.clone(), settings.port, TlsMode::StartTls)
        .trust(Trust::only_ca(&std::fs::read(&settings.ca)?)?)
        .reconnect(pace.overload(Duration::from_millis(50)))
        .keep_alive(KeepAlive::new(settings.keep_alive[0], settings.keep_alive[1]))
        .store(Arc::new(store))
        .build()
        .await?;
    let inbox = client.messages().durable("soak").await?;
    let mut states = client.states();
    let (limit, allowed) = watch::channel(settings.sent);
    let (tokens, sent) = mpsc::unbounded_channel();
    client.start();
    let sending = send(&client, &settings, allowed, &tokens);
    let telling = async {
        while let Some(state) = states.next().await {
            match state {
                xmppkit::client::State::Online { resumed, .. } => Line::Online(resumed).say(),
                xmppkit::client::State::Failed(error) => Line::Fault(error.to_string()).say(),
                _ => {}
            }
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        ended = listen(&limit) => ended?,
        ended = sending => ended?,
        ended = telling => ended?,
        ended = acknowledged(sent) => ended?,
        ended = receive(inbox) => ended?,
    }
    let mut unverified = 0;
    for number in 1..=*limit.borrow() {
        match client.find_sent(&id(&settings.jid, number)).await? {
            Some(sent) if sent.status().acked.is_some() => unverified += u64::from(sent.status().resent_unverified.is_some()),
            other => Line::Fault(format!("{number} was never acknowledged: {other:?}")).say(),
        }
    }
    Line::Unverified(unverified).say();
    client.close().await;
    Ok(())
}

/// Up to which number may be sent, line by line, until `end`.
async fn listen(limit: &watch::Sender<u64>) -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.parse() {
            Ok(number) => drop(limit.send(number)),
            Err(_) => return Ok(()),
        }
    }
    // Whoever started this process is gone.
    std::process::exit(1)
}

fn id(jid: &BareJid, number: u64) -> String {
    format!("{jid}-{number}")
}

async fn send(
    client: &Client,
    settings: &Settings,
    mut allowed: watch::Receiver<u64>,
    tokens: &mpsc::UnboundedSender<(u64, Sent)>,
) -> Result<(), Failure> {
    let mut number = settings.sent;
    loop {
        allowed.wait_for(|limit| *limit > number).await?;
        number += 1;
        let id = id(&settings.jid, number);
        // A process that was killed may have sent it and had no time to say so.
        let known = if number == settings.sent + 1 { client.find_sent(&id).await? } else { None };
        let sent = match known {
            Some(sent) => sent,
            None => {
                Line::Try(number).say();
                let mut message = Message::chat(Some(settings.peer.clone().into()));
                message.id = Some(Id(id));
                client.send(message.with_body("".into(), number.to_string())).await?
            }
        };
        Line::Sent(number).say();
        tokens.send((number, sent))?;
    }
}

async fn acknowledged(mut tokens: mpsc::UnboundedReceiver<(u64, Sent)>) -> Result<(), Failure> {
    while let Some((number, sent)) = tokens.recv().await {
        match sent.wait_for(Milestone::Acked).await {
            Ok(()) => Line::Ok(number).say(),
            Err(error) => Line::Fault(format!("{number} was given up: {error}")).say(),
        }
    }
    Ok(())
}

async fn receive(mut inbox: xmppkit::event::Durable<xmppkit::messaging::ChatMessage>) -> Result<(), Failure> {
    while let Some(item) = inbox.next().await {
        match item {
            Incoming::Item(message) if message.direction() == Direction::Incoming => {
                let number = message.body().and_then(|body| body.parse().ok()).ok_or("a message that is no number")?;
                Line::Got(number, message.redelivered()).say();
                message.ack().await?;
                Line::Acked(number).say();
            }
            Incoming::Item(message) => message.ack().await?,
            // Without an archive nobody can say what came between two sessions.
            Incoming::Gap(gap) if gap.kind == GapKind::NoArchive => {}
            Incoming::Gap(gap) => Line::Fault(format!("a gap: {gap:?}")).say(),
            _ => {}
        }
    }
    Ok(())
}
