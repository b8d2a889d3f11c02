//! What a persistent store keeps when its process is killed; see [`store_crash_conformance!`](crate::store_crash_conformance).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures::stream::FuturesOrdered;
use futures::{Future, StreamExt};

use super::{Setup, apply, at, bare, jid, live, open};
use crate::store::{AccountStore, Batch, Direction, IdentityKey, MessageQuery, OutboxEntry, SentUpdate, SessionRecord, Store};

/// In the child's environment: the folder it works in.
const FOLDER: &str = "XMPPKIT_STORE_CRASH_FOLDER";

/// How many times a process is killed, unless the environment says otherwise.
const ROUNDS: &str = "XMPPKIT_STORE_CRASH_ROUNDS";

const NS: &str = "urn:example:crash";

/// How many batches wait at once, so that stores that commit them together do.
const WAITING: usize = 8;

/// Expands to a `#[test]` that kills a process while it writes, many times, and looks each time at what is there: every batch
/// whose `apply` had resolved, and no batch in part.
///
/// It takes a function that opens the store in a folder (`&Path`), which is empty at first. The process is the test's own
/// executable, run for this one test. It is for stores that are [persistent](crate::store::Store::persistent). With the
/// environment variable `XMPPKIT_STORE_CRASH_ROUNDS` it goes on for so many rounds.
///
/// ```
/// # // There is nothing to run outside of tests.
/// mod crash {
///     xmppkit::store_crash_conformance!(|folder: &std::path::Path| {
///         let path = folder.join("chat.db");
///         async move { xmppkit::store::SqliteStore::open(path).await.expect("the file opens") }
///     });
/// }
/// ```
#[macro_export]
macro_rules! store_crash_conformance {
    ($open:expr $(,)?) => {
        #[test]
        fn what_was_applied_outlives_a_killed_process() {
            let name = concat!(module_path!(), "::what_was_applied_outlives_a_killed_process");
            $crate::store::conformance::crash::run(name, $open);
        }
    };
}

/// The body of [`store_crash_conformance!`](crate::store_crash_conformance); `test` is the whole name of the test, crate first.
///
/// # Panics
///
/// Where the store does not keep what it must.
pub fn run<O, F, S>(test: &str, open: O)
where
    O: Fn(&Path) -> F + Clone + 'static,
    F: Future<Output = S> + 'static,
    S: Store + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = PathBuf::from(folder);
        runtime.block_on(write_until_killed(&Setup::new(move || open(&folder))));
        return;
    }
    let folder = Folder::new();
    let path = folder.0.clone();
    let setup = Setup::new(move || open(&path));
    let rounds = std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(25);
    let mut judged = 0;
    for round in 0..rounds {
        // Another point of the way each time; some are soon after the start, when files are made or recovered.
        let told = kill_after(test, &folder.0, 1 + (round * 7) % 40);
        judged = runtime.block_on(judge(&setup, judged, told));
    }
    runtime.block_on(judge(&setup, 0, judged));
}

/// Runs the test in a process of its own, kills that after it told of so many batches, and gives the last one it told of.
fn kill_after(test: &str, folder: &Path, batches: usize) -> u64 {
    let (_, name) = test.split_once("::").expect("a path of modules");
    let mut child = Command::new(std::env::current_exe().expect("this executable"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let mut told = Vec::new();
    while told.len() < batches {
        let Some(line) = lines.next() else { panic!("the process ended by itself: {:?}", child.wait()) };
        told.extend(number(&line));
    }
    child.kill().expect("it is running");
    // What it told before it died, and was not read yet, counts as well.
    told.extend(lines.filter_map(|line| number(&line)));
    child.wait().expect("it is dead");
    told.into_iter().max().expect("it told something")
}

fn number(line: &str) -> Option<u64> {
    line.strip_prefix("applied ")?.parse().ok()
}

/// Applies batch after batch, and tells of each whose `apply` resolved.
async fn write_until_killed(setup: &Setup) {
    let account = setup.account().await;
    let mut next = last(&*account).await;
    let start = SessionRecord::new("s1", "juliet@capulet.example/balcony".parse().expect("a full JID"));
    if next == 0 {
        apply(&*account, Batch::new().session(start, at(0))).await;
    }
    let mut waiting = FuturesOrdered::new();
    loop {
        while waiting.len() < WAITING {
            next += 1;
            let (number, applied) = (next, account.apply(batch(next)));
            waiting.push_back(async move { applied.await.map(|_| number) });
        }
        let applied = waiting.next().await.expect("some wait").expect("the batch is made");
        // Without print!, which tests may capture. If nobody reads it, the parent is gone.
        let mut out = std::io::stdout().lock();
        if writeln!(out, "\napplied {applied}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

async fn last(account: &dyn AccountStore) -> u64 {
    let last = account.extension_row(NS, "last").await.expect("row");
    last.map_or(0, |last| String::from_utf8(last).expect("a number").parse().expect("a number"))
}

/// The batch of this number: something in several areas, small or large, and something of the one before.
fn batch(number: u64) -> Batch {
    let padding = "soft, what light ".repeat(usize::try_from(number * 37 % 100).expect("small"));
    let mut message = live(&format!("batch({number}) {padding}"), 0).key(IdentityKey::own(&number.to_string()));
    message.record.direction = Direction::Outgoing;
    message.record.id = Some(number.to_string().into());
    let entry = OutboxEntry::new(number.to_string(), Some(jid("romeo@montague.example")), message.record.xml.clone(), at(0));
    Batch::new()
        .append(message)
        .send(entry)
        .update_sent(SentUpdate::new((number - 1).to_string()).acked(at(1)))
        .handled(u32::try_from(number).expect("small"), Vec::new(), at(2))
        .put(NS, format!("row {number}"), padding)
        .put(NS, "last", number.to_string())
        .put_contact(bare("romeo@montague.example"), "<item xmlns='jabber:iq:roster'/>", Some(number.to_string()))
}

/// Looks at all batches behind `judged`; gives the last one that is there, which is `told` or later.
async fn judge(setup: &Setup, judged: u64, told: u64) -> u64 {
    // The lock of a process that died is gone.
    let store = setup.store().await;
    let account = open(&*store).await;
    let last = last(&*account).await;
    assert!(last >= told, "batch {told} was applied, but the last that is there is {last}");
    for number in judged + 1..=last + 2 * WAITING as u64 {
        let key = IdentityKey::own(&number.to_string());
        let message = account.find(&key).await.expect("find");
        let query = MessageQuery::new().text(format!("batch({number})"));
        let found = account.messages(&query).await.expect("a page").messages;
        let sent = account.sent(&number.to_string()).await.expect("sent");
        let row = account.extension_row(NS, &format!("row {number}")).await.expect("row");
        let there = [message.is_some(), found.len() == 1, sent.is_some(), row.is_some()];
        assert_eq!(there, [number <= last; 4], "batch {number}, where the last is {last}");
        assert_eq!(sent.is_some_and(|sent| sent.settled), number < last, "batch {number}, where the last is {last}");
    }
    let session = account.session().await.expect("session").map_or(0, |session| u64::from(session.h));
    let queued = account.outbox(0, 100).await.expect("the outbox").len();
    let version = account.roster().await.expect("the roster").version.unwrap_or_default();
    let expected = (last, usize::from(last > 0), if last > 0 { last.to_string() } else { String::new() });
    assert_eq!((session, queued, version), expected);
    last
}

/// A folder for one test, removed behind it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xmppkit-crash-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
