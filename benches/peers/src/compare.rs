//! The table: every work in one rotation of the sides, in processes of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{chart, corpus};

const USAGE: &str = "compare [--quick] [--rounds N] [--only WORD] [--json FILE] [--chart FILE] [--strophe PROGRAM]";

/// The longest that one run of a side may take.
const MOST: Duration = Duration::from_secs(300);

/// What one run of a side said.
struct Outcome {
    figure: f64,
    /// Counts and checksum of what it read.
    found: String,
}

type Side = Box<dyn Fn(&Bench) -> Result<Outcome, String>>;

/// What decides.
#[derive(Clone, Copy)]
pub(crate) enum Required {
    /// Theirs must be so many times ours.
    Times(f64),
    /// Ours must be no more.
    AtMost(f64),
    /// Ours must be no less.
    AtLeast(f64),
    /// Nothing is: it is shown beside another row.
    Nothing,
}

struct Row {
    work: &'static str,
    peer: &'static str,
    unit: &'static str,
    required: Required,
    ours: Side,
    /// None where the figure stands alone.
    theirs: Option<Side>,
}

/// A line of the table.
pub(crate) struct Line {
    pub(crate) work: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) theirs: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) required: Required,
    pub(crate) ok: bool,
    pub(crate) note: String,
}

struct Bench {
    stanzas: usize,
    folder: PathBuf,
    strophe: Option<PathBuf>,
    /// Messages and presence stanzas of the live corpus.
    live: (usize, usize),
    quick: bool,
}

/// Reads the arguments, measures, prints.
pub(crate) fn run(args: &[&str]) {
    let (mut quick, mut rounds, mut only, mut json, mut chart, mut strophe) = (false, None, None, None, None, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().copied().unwrap_or_else(|| panic!("{USAGE}"));
        match *arg {
            "--quick" => quick = true,
            "--rounds" => rounds = Some(value().parse().expect("a number of rounds")),
            "--only" => only = Some(value()),
            "--json" => json = Some(value()),
            "--chart" => chart = Some(value()),
            "--strophe" => strophe = Some(PathBuf::from(value())),
            _ => panic!("{USAGE}"),
        }
    }
    let rounds: usize = rounds.unwrap_or(if quick { 3 } else { 5 }).max(1);
    let bench = Bench::new(quick, strophe);
    println!("{}", circumstances(bench.stanzas, rounds));
    let chosen = |row: &Row| only.is_none_or(|word| row.work.contains(word) || row.peer.contains(word));
    let lines: Vec<Line> = rows().into_iter().filter(chosen).map(|row| bench.measure(row, rounds)).collect();
    println!("{}", table(&lines));
    let objects: Vec<String> = lines.iter().map(Line::to_json).collect();
    println!("{}", objects.join("\n"));
    if let Some(path) = json {
        std::fs::write(path, objects.join("\n") + "\n").expect("the file is written");
    }
    if let Some(path) = chart {
        std::fs::write(path, chart::svg(&lines)).expect("the file is written");
    }
    std::fs::remove_dir_all(&bench.folder).expect("the folder is removed");
    std::process::exit(i32::from(!lines.iter().all(|line| line.ok)));
}

fn rows() -> Vec<Row> {
    const DECODE: &str = "tokio-xmpp, decoding to Stanza";
    const CONVERT: &str = "tokio-xmpp and conversion";
    vec![
        Row::new(
            "frames, routed by kind and payload",
            DECODE,
            Required::Times(12.0),
            memory("ours-frames"),
            memory("theirs-frames"),
        ),
        Row::new("what a chat application reads", CONVERT, Required::Times(6.0), memory("ours-chat"), memory("theirs-chat")),
        Row::new("every payload converted", CONVERT, Required::Times(2.0), memory("ours-typed"), memory("theirs-typed")),
        Row::new("whole client over TCP", "tokio-xmpp Client", Required::Times(5.0), whole(None), whole(Some("theirs-whole"))),
        Row::new("whole client over TCP", "libstrophe", Required::Times(3.5), whole(None), strophe_whole()),
        Row::new(
            "whole client over TLS",
            "tokio-xmpp Client",
            Required::Times(4.0),
            whole_tls("ours-whole"),
            whole_tls("theirs-whole"),
        ),
        Row::new(
            "encode a prepared chat message",
            "tokio-xmpp XmlStream::feed",
            Required::Times(5.0),
            memory("ours-encode"),
            memory("theirs-encode"),
        ),
        Row::new(
            "encode a chat message from its value",
            "tokio-xmpp XmlStream::feed",
            Required::Nothing,
            memory("ours-encode-typed"),
            memory("theirs-encode"),
        ),
        Row::new(
            "allocations of a routed stanza",
            "tokio-xmpp, decoding to Stanza",
            Required::AtMost(3.0),
            allocations("ours"),
            allocations("theirs"),
        )
        .unit(""),
        Row::new(
            "memory of an idle connection",
            "tokio-xmpp Client",
            Required::AtMost(14.0),
            idle("ours-idle", usize::MAX),
            idle("theirs-idle", usize::MAX),
        )
        .unit("kB"),
        Row::new(
            "memory of an idle connection",
            "libstrophe",
            Required::AtMost(14.0),
            idle("ours-idle", STROPHE_CONNECTIONS),
            strophe_idle(),
        )
        .unit("kB"),
        Row::alone(
            "catch-up into SQLite, outside of it",
            "share of CPU",
            Required::AtMost(0.3),
            Box::new(|bench| {
                let count = bench.stanzas / 2;
                let (before, after) = (bench.server(&["archive", "1"])?, bench.server(&["archive", &(count + 1).to_string()])?);
                let file = bench.path("chat.db");
                let caught_up = bench.own(&["catch-up", &before.port, &after.port, &count.to_string(), &file]);
                for name in ["chat.db", "chat.db-wal", "chat.db-shm"] {
                    let _ = std::fs::remove_file(bench.path(name));
                }
                caught_up
            }),
        ),
        Row::alone(
            "login with twice the roster",
            "time of the single one",
            Required::AtMost(2.2),
            Box::new(|bench| {
                // The least of three: what disturbs only adds, and it would count twice in a ratio.
                let login = |contacts: usize| {
                    let (contacts, resources) = (contacts.to_string(), (3 * contacts).to_string());
                    let server = bench.server(&["roster", &contacts, &resources])?;
                    let mut least = bench.own(&["roster", &server.port, &contacts, &resources])?;
                    for _ in 0..2 {
                        let again = bench.own(&["roster", &server.port, &contacts, &resources])?;
                        if again.figure < least.figure {
                            least = again;
                        }
                    }
                    Ok::<_, String>(least)
                };
                let contacts = bench.stanzas / 20;
                let (single, double) = (login(contacts)?, login(2 * contacts)?);
                Ok(Outcome { figure: double.figure / single.figure, found: double.found })
            }),
        ),
        Row::alone(
            "99 subscribers beside a slow one",
            "throughput without it",
            Required::AtLeast(0.9),
            Box::new(|bench| {
                let rate = |slow| {
                    let server = bench.server(&["blast", &bench.path("live.xml")])?;
                    bench.own(&["subscribers", &server.port, slow, &bench.live.0.to_string()])
                };
                let (without, with) = (rate("all")?, rate("slow")?);
                if without.found != with.found {
                    return Err(format!("they got different things: {} and {}", without.found, with.found));
                }
                Ok(Outcome { figure: with.figure / without.figure, found: with.found })
            }),
        ),
    ]
}

fn memory(work: &'static str) -> Side {
    Box::new(move |bench| bench.own(&[work, &bench.path("corpus.xml")]))
}

fn allocations(side: &'static str) -> Side {
    Box::new(move |bench| {
        let program = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("allocations");
        outcome(Command::new(program).args([side, &bench.path("corpus.xml")]))
    })
}

fn whole(side: Option<&'static str>) -> Side {
    Box::new(move |bench| {
        let server = bench.server(&["blast", &bench.path("live.xml")])?;
        let (messages, presences) = bench.live;
        bench.own(&[side.unwrap_or("ours-whole"), &server.port, "plain", &messages.to_string(), &presences.to_string()])
    })
}

fn whole_tls(side: &'static str) -> Side {
    Box::new(move |bench| {
        let certificate = bench.path("certificate.pem");
        let server = bench.server(&["blast", &bench.path("live.xml"), &certificate])?;
        let (messages, presences) = bench.live;
        let mut command = bench.command(&[side, &server.port, "tls", &messages.to_string(), &presences.to_string()]);
        outcome(command.env("SSL_CERT_FILE", certificate))
    })
}

fn strophe_whole() -> Side {
    Box::new(|bench| {
        let program = bench.strophe()?;
        let server = bench.server(&["blast", &bench.path("live.xml")])?;
        let (messages, presences) = bench.live;
        outcome(Command::new(program).args(["whole", &server.port, &messages.to_string(), &presences.to_string()]))
    })
}

/// libstrophe waits by select(), which knows of 1,024 descriptors and aborts the process at the next.
const STROPHE_CONNECTIONS: usize = 1_000;

fn idle(side: &'static str, most: usize) -> Side {
    Box::new(move |bench| {
        let server = bench.server(&["idle"])?;
        bench.own(&[side, &server.port, &bench.connections().min(most).to_string()])
    })
}

fn strophe_idle() -> Side {
    Box::new(|bench| {
        let program = bench.strophe()?;
        let server = bench.server(&["idle"])?;
        let connections = bench.connections().min(STROPHE_CONNECTIONS);
        outcome(Command::new(program).args(["idle", &server.port, &connections.to_string()]))
    })
}

impl Row {
    fn new(work: &'static str, peer: &'static str, required: Required, ours: Side, theirs: Side) -> Self {
        Self { work, peer, unit: "s", required, ours, theirs: Some(theirs) }
    }

    /// A figure that no peer is beside.
    fn alone(work: &'static str, peer: &'static str, required: Required, ours: Side) -> Self {
        Self { work, peer, unit: "ratio", required, ours, theirs: None }
    }

    fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }
}

impl Bench {
    fn new(quick: bool, strophe: Option<PathBuf>) -> Self {
        let stanzas = if quick { 20_000 } else { 200_000 };
        let folder = std::env::temp_dir().join(format!("xmppkit-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("corpus.xml"), corpus::generate(stanzas)).expect("the corpus is written");
        let live = corpus::generate_live(stanzas);
        std::fs::write(folder.join("live.xml"), &live).expect("the corpus is written");
        // Those inside carbons declare the namespace; nothing else begins so.
        let carried = live.matches("<message xmlns=").count();
        let live = (live.matches("<message ").count() - carried, live.matches("<presence ").count());
        Self { stanzas, folder, strophe, live, quick }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("a path").to_owned()
    }

    fn connections(&self) -> usize {
        if self.quick { 500 } else { 2000 }
    }

    fn strophe(&self) -> Result<&Path, String> {
        self.strophe.as_deref().ok_or_else(|| "skipped: libstrophe is not there".to_owned())
    }

    /// This program, in another part.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(args);
        command
    }

    fn own(&self, args: &[&str]) -> Result<Outcome, String> {
        outcome(&mut self.command(args))
    }

    fn server(&self, args: &[&str]) -> Result<Server, String> {
        let mut child = self.command(&["server"]).args(args).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let mut port = String::new();
        let read = BufReader::new(child.stdout.take().expect("its output")).read_line(&mut port);
        let server = Server { child, port: port.trim().to_owned() };
        read.map_err(|e| e.to_string())?;
        if server.port.is_empty() { Err("the server did not start".to_owned()) } else { Ok(server) }
    }

    fn measure(&self, row: Row, rounds: usize) -> Line {
        let (mut ours, mut theirs, mut ratios, mut note) = (Vec::new(), Vec::new(), Vec::new(), String::new());
        for round in 1..=rounds {
            eprint!("\r{}, {}: {round} of {rounds}      ", row.work, row.peer);
            let _ = std::io::stderr().flush();
            match (row.round(self), &mut note) {
                (Ok((our, their)), note) => {
                    ours.push(our.figure);
                    let Some(their) = their else { continue };
                    theirs.push(their.figure);
                    ratios.push(their.figure / our.figure);
                    if our.found != their.found {
                        *note = format!("they read different things: ours {}, theirs {}", our.found, their.found);
                    }
                }
                (Err(why), note) => {
                    *note = why;
                    break;
                }
            }
        }
        eprintln!();
        let is_skipped = note.starts_with("skipped");
        let (ours, theirs, ratio) = (median(ours), median(theirs), median(ratios));
        let reached = match (row.required, ours, ratio) {
            (Required::Times(times), _, Some(ratio)) => ratio >= times,
            (Required::AtMost(most), Some(ours), _) => ours <= most,
            (Required::AtLeast(least), Some(ours), _) => ours >= least,
            (Required::Nothing, Some(_), _) => true,
            _ => false,
        };
        Line {
            work: row.work,
            peer: row.peer,
            unit: row.unit,
            ours: ours.unwrap_or(f64::NAN),
            theirs,
            ratio,
            required: row.required,
            ok: is_skipped || (note.is_empty() && reached),
            note,
        }
    }
}

impl Row {
    fn round(&self, bench: &Bench) -> Result<(Outcome, Option<Outcome>), String> {
        // Theirs may have to be skipped: then ours is not run for nothing.
        let theirs = self.theirs.as_ref().map(|theirs| theirs(bench)).transpose()?;
        Ok(((self.ours)(bench)?, theirs))
    }
}

/// A scripted server that runs; killed when dropped.
struct Server {
    child: Child,
    port: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a side, which says little: its output waits in the pipe until it has ended.
fn outcome(command: &mut Command) -> Result<Outcome, String> {
    let program = format!("{command:?}");
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let end = Instant::now() + MOST;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} took more than {} s", MOST.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let said = std::io::read_to_string(child.stdout.take().expect("its output")).map_err(failed)?;
    let last = said.lines().last().unwrap_or_default();
    let parts = last.strip_prefix("figure=").and_then(|rest| rest.split_once(' '));
    match parts {
        Some((figure, found)) if status.success() => {
            let figure = figure.parse().map_err(|_| format!("{program} said {last}"))?;
            Ok(Outcome { figure, found: found.to_owned() })
        }
        _ => Err(format!("{program} failed: {status}")),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

impl Line {
    fn to_json(&self) -> String {
        let number = |value: Option<f64>| match value {
            Some(value) if value.is_finite() => format!("{value:.4}"),
            _ => "null".to_owned(),
        };
        let mut object = format!(
            "{{\"work\":\"{}\",\"peer\":\"{}\",\"ours\":{},\"theirs\":{},\"ratio\":{},\"required\":{},\"ok\":{}",
            self.work,
            self.peer,
            number(Some(self.ours)),
            number(self.theirs),
            number(self.ratio),
            number(self.required.figure()),
            self.ok,
        );
        if !self.note.is_empty() {
            object += &format!(",\"note\":{:?}", self.note);
        }
        object + "}"
    }
}

impl Required {
    fn figure(self) -> Option<f64> {
        match self {
            Self::Times(figure) | Self::AtMost(figure) | Self::AtLeast(figure) => Some(figure),
            Self::Nothing => None,
        }
    }
}

fn table(lines: &[Line]) -> String {
    let mut out = format!("{:38} {:31} {:>11} {:>11} {:>8} {:>9}\n", "work", "peer", "ours", "theirs", "ratio", "required");
    for line in lines {
        let figure = |value: f64| match line.unit {
            _ if value.is_nan() => "-".to_owned(),
            "s" => format!("{value:.3} s"),
            "ratio" => format!("{value:.2}"),
            unit => format!("{value:.1} {unit}").trim_end().to_owned(),
        };
        let required = match line.required {
            Required::Times(times) => format!("{times}x"),
            Required::AtMost(most) => format!("≤ {most}"),
            Required::AtLeast(least) => format!("≥ {least}"),
            Required::Nothing => "-".to_owned(),
        };
        let verdict = if line.ok { line.note.clone() } else { format!("NOT REACHED {}", line.note) };
        out += &format!(
            "{:38} {:31} {:>11} {:>11} {:>8} {:>9} {}\n",
            line.work,
            line.peer,
            figure(line.ours),
            line.theirs.map_or("-".to_owned(), figure),
            line.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.1}x")),
            required,
            verdict,
        );
    }
    out
}

/// What the figures depend on.
fn circumstances(stanzas: usize, rounds: usize) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown").trim_start_matches(['\t', ':', ' ']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let say = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let (compiler, date) = (say("rustc", &["--version"]), say("date", &["+%Y-%m-%d"]));
    format!("{model}, {cores} cores, {compiler}, {date}; {stanzas} stanzas, medians of {rounds} rotations, CPU seconds")
}
