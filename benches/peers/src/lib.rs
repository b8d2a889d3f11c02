//! xmppkit beside other XMPP libraries: the same work in processes of their own, in one rotation. `scripts/compare` runs it.

mod archive;
mod chart;
mod compare;
#[path = "../../corpus/mod.rs"]
mod corpus;
mod measure;
mod messages;
mod ours;
mod ours_online;
#[path = "../../reading/mod.rs"]
mod reading;
mod server;
mod tokio_xmpp_online;
mod tokio_xmpp_side;

use archive::Archive;
use measure::timed;
use server::Script;

/// The program `compare`: the table, or one of the parts that are measured.
pub fn run() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["server", ref script @ ..] => serve(script),
        // For who looks into one side alone, with a profiler.
        ["live-corpus", count] => print!("{}", corpus::generate_live(number(count) as usize)),
        [side @ ("ours-whole" | "theirs-whole"), port, tls, messages, presences] => {
            let whole = if side == "ours-whole" { ours_online::whole } else { tokio_xmpp_online::whole };
            whole(number(port) as u16, tls == "tls", number(messages), number(presences));
        }
        ["ours-idle", port, count] => ours_online::idle(number(port) as u16, number(count) as usize),
        ["theirs-idle", port, count] => tokio_xmpp_online::idle(number(port) as u16, number(count) as usize),
        ["catch-up", before, after, count, file] => {
            ours_online::catch_up(number(before) as u16, number(after) as u16, number(count), file);
        }
        ["roster", port, contacts, resources] => {
            ours_online::roster(number(port) as u16, number(contacts) as usize, number(resources) as usize);
        }
        ["subscribers", port, slow, messages] => ours_online::subscribers(number(port) as u16, slow == "slow", number(messages)),
        [work, path] if !work.starts_with("--") => in_memory(work, path),
        _ => compare::run(&args),
    }
}

/// The program `allocations`: how many allocations a routed stanza takes, counted by the given function.
pub fn allocations(count: impl FnOnce(&mut dyn FnMut()) -> u64) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [side, path] = &args[..] else { panic!("allocations ours|theirs CORPUS") };
    let stream = stream(path);
    let mut tally = reading::tally::Tally::default();
    let allocations = count(&mut || {
        tally = if side == "ours" { ours::frames(&stream) } else { tokio_xmpp_side::frames(&stream) };
    });
    measure::report(allocations as f64 / tally.stanzas() as f64, tally);
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// The stanzas of the file with what begins and ends a stream.
fn stream(path: &str) -> Vec<u8> {
    let stanzas = std::fs::read_to_string(path).expect("the corpus");
    [corpus::HEADER, &stanzas, "</stream:stream>"].concat().into_bytes()
}

fn serve(script: &[&str]) {
    let nothing = Script { blast: None, contacts: 0, resources: 0, archive: None };
    match *script {
        ["idle"] => server::serve(nothing, None),
        ["blast", path, ref certificate @ ..] => {
            let blast = Some(std::fs::read(path).expect("the corpus"));
            server::serve(Script { blast, ..nothing }, certificate.first().copied());
        }
        ["archive", count] => {
            server::serve(Script { archive: Some(Archive::new(number(count) as usize)), ..nothing }, None);
        }
        ["roster", contacts, resources] => {
            server::serve(Script { contacts: number(contacts) as usize, resources: number(resources) as usize, ..nothing }, None);
        }
        _ => panic!("{script:?}"),
    }
}

fn in_memory(work: &str, path: &str) {
    let stream = stream(path);
    match work {
        "ours-frames" => timed(|| ours::frames(&stream)),
        "theirs-frames" => timed(|| tokio_xmpp_side::frames(&stream)),
        "ours-chat" => timed(|| ours::chat(&stream)),
        "theirs-chat" => timed(|| tokio_xmpp_side::chat(&stream)),
        "ours-typed" => timed(|| ours::typed(&stream)),
        "theirs-typed" => timed(|| tokio_xmpp_side::typed(&stream)),
        "ours-encode" => ours::encode(&stream),
        "ours-encode-typed" => ours::encode_typed(&stream),
        "theirs-encode" => tokio_xmpp_side::encode(&stream),
        _ => panic!("{work}"),
    }
}
