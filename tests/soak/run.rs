//! A run: the server, the two clients, the faults one after the other, and the last line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::{Failure, Line, Settings};
use crate::faults::Fault;
use crate::journal::Journal;
use crate::options::{Options, Random};
use crate::support::Kind;
use crate::target::{PASSWORD, Target};

/// How long a client may take to come back.
const COMES_BACK: Duration = Duration::from_secs(60);
/// In how many slices the messages of a fault are let go until some are under way both ways, and how long one slice has for it.
const SLICES: u64 = 8;
const UNDER_WAY: Duration = Duration::from_millis(150);

/// The real servers of a run with `--servers`.
const SERVERS: [Kind; 4] = [Kind::Prosody13, Kind::Prosody012, Kind::Ejabberd24, Kind::Ejabberd23];

/// Does the runs that were asked for, and says whether all were as they must be.
pub(crate) async fn run(options: &Options) -> Result<bool, Failure> {
    println!("soak: seed={} {options:?}", options.seed);
    if !options.servers {
        return on(Target::in_process(options.archive, options.dialect).await?, options).await;
    }
    let mut good = true;
    for kind in SERVERS {
        let asked_for = options.only.as_ref().is_none_or(|only| kind.to_string().to_lowercase().contains(only));
        if !asked_for {
            continue;
        }
        good &= match Target::real(kind).await? {
            Some(target) => on(target, options).await.unwrap_or_else(|error| {
                println!("soak: {kind}: {error}");
                false
            }),
            None => !crate::support::servers_required(),
        };
    }
    Ok(good)
}

/// Does one run, prints its last line, and says whether it was as it must be.
async fn on(target: Target, options: &Options) -> Result<bool, Failure> {
    let began = Instant::now();
    let mut random = Random::new(options.seed);
    let mut kinds = target.faults();
    if let Some(names) = &options.kinds {
        let is_named = |fault: Fault| names.split(',').any(|name| format!("{fault:?}").eq_ignore_ascii_case(name));
        kinds.retain(|(fault, _)| is_named(*fault));
    }
    println!("soak: a silence is looked into after {:?}, for {:?}", target.keep_alive()[0], target.keep_alive()[1]);
    let plan = Fault::plan(&kinds, options.faults, &mut random);
    let mut soak = Soak::start(target, options).await?;
    for (done, fault) in plan.iter().enumerate() {
        soak.flow().await?;
        let limit = options.messages * (done as u64 + 1) / plan.len() as u64;
        soak.fault(*fault, limit, &mut random).await?;
    }
    soak.allow(options.messages).await?;
    soak.settle(options).await?;
    println!("soak: took {:?}", began.elapsed());
    soak.end(options)
}

struct Soak {
    target: Target,
    folder: PathBuf,
    clients: Vec<Client>,
    lines: mpsc::UnboundedReceiver<(usize, Option<Line>)>,
    said: mpsc::UnboundedSender<(usize, Option<Line>)>,
    limit: u64,
    verbose: bool,
    struck: BTreeMap<Fault, usize>,
    in_flight: usize,
    began: Instant,
}

/// A client, through all its processes.
struct Client {
    settings: Settings,
    process: Child,
    orders: ChildStdin,
    journal: Journal,
    /// Its process has said all that it will say.
    silent: bool,
}

impl Soak {
    async fn start(target: Target, options: &Options) -> Result<Self, Failure> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, target.ca_pem())?;
        let (said, lines) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        for (index, (name, peer)) in [("romeo", "juliet"), ("juliet", "romeo")].into_iter().enumerate() {
            let (host, port) = target.address(index);
            let settings = Settings {
                jid: target.jid(name)?,
                peer: target.jid(peer)?,
                password: PASSWORD.to_owned(),
                host,
                port,
                ca: ca.clone(),
                store: folder.join(format!("{name}.db")),
                sent: 0,
                keep_alive: target.keep_alive(),
            };
            clients.push(Client::start(index, settings, Journal::default(), &said)?);
        }
        let (struck, verbose) = (BTreeMap::new(), options.verbose);
        let mut soak =
            Self { target, folder, clients, lines, said, limit: 0, verbose, struck, in_flight: 0, began: Instant::now() };
        soak.until("both clients to come online", COMES_BACK, |soak| soak.clients.iter().all(|client| client.journal.fresh > 0))
            .await?;
        soak.allow(1).await?;
        soak.until("a message each way", COMES_BACK, |soak| soak.clients.iter().all(|client| client.journal.received() > 0))
            .await?;
        Ok(soak)
    }

    /// Lets both clients send up to this number.
    async fn allow(&mut self, limit: u64) -> Result<(), Failure> {
        self.limit = limit;
        for client in &mut self.clients {
            client.order(&limit.to_string()).await?;
        }
        Ok(())
    }

    /// Waits until not too much is behind, but not for ever: a fault may strike while a client finds out what a lost session had
    /// sent, but not all of them may.
    async fn flow(&mut self) -> Result<(), Failure> {
        let (backlog, limit) = self.target.backlog();
        let little = |soak: &Self| {
            let behind = |from: usize| soak.clients[from].journal.sent.saturating_sub(soak.clients[1 - from].journal.received());
            behind(0) < backlog && behind(1) < backlog
        };
        self.wait(limit, little).await.map(drop)
    }

    /// One fault amid messages up to this number, and the victim's way back.
    async fn fault(&mut self, fault: Fault, limit: u64, random: &mut Random) -> Result<(), Failure> {
        let victim = random.below(2);
        let jid = self.clients[victim].settings.jid.clone();
        let under_way = |soak: &Self| {
            let (journal, peer) = (&soak.clients[victim].journal, &soak.clients[1 - victim].journal);
            journal.sent > journal.ok && soak.target.waits_for(&jid).unwrap_or(peer.sent > journal.received())
        };
        let (mut in_flight, before) = (false, self.limit);
        for slice in 1..=SLICES {
            self.allow(before + (limit - before) * slice / SLICES).await?;
            in_flight = self.wait(UNDER_WAY, under_way).await?;
            if in_flight {
                break;
            }
        }
        self.in_flight += usize::from(in_flight);
        *self.struck.entry(fault).or_default() += 1;
        let number: usize = self.struck.values().sum();
        if self.verbose {
            let after = self.began.elapsed().as_secs_f32();
            println!("soak: {after:.1} s: fault {number}: {fault:?} to {jid}, in flight: {in_flight}, at {}", self.progress());
        }
        let online = |soak: &Self| soak.clients.iter().map(|c| c.journal.resumed + c.journal.fresh).collect::<Vec<_>>();
        let before = online(self);
        match fault {
            Fault::Kill => self.kill(victim).await?,
            fault => self.target.strike(fault, victim, &jid, random).await?,
        }
        self.allow(limit).await?;
        let what = format!("{jid} to come back from fault {number}, {fault:?}");
        self.until(&what, COMES_BACK, |soak| {
            let now = online(soak);
            (0..2).all(|i| now[i] > before[i] || (i != victim && fault != Fault::Restart))
        })
        .await
    }

    async fn kill(&mut self, victim: usize) -> Result<(), Failure> {
        let client = &mut self.clients[victim];
        client.process.kill().await?;
        // What it had said is read to the end.
        self.until("a killed client's last words", COMES_BACK, |soak| soak.clients[victim].silent).await?;
        let client = &mut self.clients[victim];
        client.journal.killed();
        client.settings.sent = client.journal.sent;
        let (settings, journal) = (client.settings.clone(), std::mem::take(&mut client.journal));
        *client = Client::start(victim, settings, journal, &self.said)?;
        let limit = self.limit.to_string();
        self.clients[victim].order(&limit).await
    }

    /// All messages arrive, and the clients close.
    async fn settle(&mut self, options: &Options) -> Result<(), Failure> {
        let all = |soak: &Self| {
            let journals: Vec<_> = soak.clients.iter().map(|client| &client.journal).collect();
            journals.iter().all(|journal| journal.ok == options.messages)
                && journals[0].received() >= journals[1].sent
                && journals[1].received() >= journals[0].sent
        };
        if !self.wait(options.settle, all).await? {
            println!("soak: not all arrived in time: {}", self.progress());
        }
        for client in &mut self.clients {
            client.order("end").await?;
        }
        self.until("the clients to end", COMES_BACK, |soak| soak.clients.iter().all(|client| client.silent)).await
    }

    /// The judgement.
    fn end(&self, options: &Options) -> Result<bool, Failure> {
        let journals: Vec<&Journal> = self.clients.iter().map(|client| &client.journal).collect();
        let missing = [journals[1].missing(journals[0].sent), journals[0].missing(journals[1].sent)];
        for journal in &journals {
            journal.faults.iter().take(20).for_each(|fault| println!("soak: {fault}"));
        }
        for (client, missing) in self.clients.iter().zip(&missing).filter(|(_, missing)| !missing.is_empty()) {
            println!("soak: lost on the way from {}: {:?}", client.settings.jid, &missing[..missing.len().min(20)]);
        }
        let sum = |f: fn(&Journal) -> u64| journals.iter().map(|journal| f(journal)).sum::<u64>();
        let lost: usize = missing.iter().map(Vec::len).sum();
        let (duplicated, out_of_order) = (sum(|j| j.duplicated), sum(|j| j.out_of_order));
        let unverified = sum(|j| j.unverified.unwrap_or_default());
        // Each account's first session had none to resume.
        let (resumes, failed_resumes) = (sum(|j| j.resumed), sum(|j| j.fresh.saturating_sub(1)));
        let faults: usize = self.struck.values().sum();
        let count = |fault| self.struck.get(&fault).copied().unwrap_or_default();
        println!("soak: {:?}, redelivered={}", self.struck, sum(|j| j.redelivered));
        let mut good = journals.iter().all(|journal| journal.faults.is_empty() && journal.unverified.is_some());
        for (what, found, least) in [
            ("faults while messages were under way both ways", self.in_flight, faults * 4 / 5),
            ("kills", count(Fault::Kill), options.share(20)),
            ("resumes", resumes as usize, options.share(100)),
            ("failed resumes", failed_resumes as usize, options.share(20)),
        ] {
            if found < least && options.is_whole() {
                println!("soak: only {found} {what}, which is no test");
                good = false;
            }
        }
        if options.is_whole()
            && let Some((rare, _)) = self.target.faults().into_iter().find(|(fault, _)| count(*fault) < options.share(5).max(1))
        {
            println!("soak: too few of {rare:?}");
            good = false;
        }
        let may_come_twice = if options.archive { 0 } else { unverified };
        good &= lost == 0 && duplicated <= may_come_twice && out_of_order == 0;
        let target = self.target.name();
        println!(
            "soak: target={target} sent={}+{} received={}+{} faults={faults} in_flight_faults={} kills={} restarts={} resumes={resumes} \
             failed_resumes={failed_resumes} resent_unverified={unverified} lost={lost} duplicated={duplicated} out_of_order={out_of_order}",
            journals[0].sent,
            journals[1].sent,
            journals[1].received(),
            journals[0].received(),
            self.in_flight,
            count(Fault::Kill),
            count(Fault::Restart),
        );
        if good {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
        Ok(good)
    }

    fn progress(&self) -> String {
        let of = |client: &Client| {
            let journal = &client.journal;
            format!("{} sent {} ok {} got {}", client.settings.jid, journal.sent, journal.ok, journal.received())
        };
        self.clients.iter().map(of).collect::<Vec<_>>().join(", ")
    }

    async fn until(&mut self, what: &str, limit: Duration, condition: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        if self.wait(limit, condition).await? {
            return Ok(());
        }
        let faults: Vec<_> = self.clients.iter().flat_map(|client| &client.journal.faults).collect();
        let (progress, about) = (self.progress(), self.target.about());
        Err(format!("waited in vain for {what}: {faults:?}, {progress}, {about}").into())
    }

    /// Reads what the clients say until this is so; `false` if it is not so in time.
    async fn wait(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        let end = Instant::now() + limit;
        while !condition(self) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // What is under way at the server changes without a line: look again soon.
            match timeout(left.min(Duration::from_millis(5)), self.lines.recv()).await {
                Ok(Some((from, Some(line)))) => self.clients[from].journal.read(line),
                Ok(Some((from, None))) => {
                    self.clients[from].silent = true;
                    if self.clients[from].process.try_wait()?.is_some_and(|status| status.code().is_some_and(|code| code != 0)) {
                        return Err(format!("a client ended: {:?}", self.clients[from].journal.faults).into());
                    }
                }
                Ok(None) | Err(_) => {}
            }
        }
        Ok(true)
    }
}

impl Client {
    fn start(
        index: usize,
        settings: Settings,
        journal: Journal,
        said: &mpsc::UnboundedSender<(usize, Option<Line>)>,
    ) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(settings.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (orders, words) = (process.stdin.take().ok_or("no stdin")?, process.stdout.take().ok_or("no stdout")?);
        let said = said.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(words).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The last line of a killed process may be half there.
                if let Some(line) = Line::parse(&line) {
                    let _ = said.send((index, Some(line)));
                }
            }
            let _ = said.send((index, None));
        });
        Ok(Self { settings, process, orders, journal, silent: false })
    }

    async fn order(&mut self, line: &str) -> Result<(), Failure> {
        Ok(self.orders.write_all(format!("{line}\n").as_bytes()).await?)
    }
}
