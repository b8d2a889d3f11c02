//! The suite that runs unchanged against every real server: the four the tests start, and any other that is named by
//! environment variables (docs/testing.md).

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};

use crate::support::{Failure, RawStream, ServerUnderTest};

/// How long one case may take; the machine may be busy with a build.
const CASE: Duration = Duration::from_secs(120);
/// How many cases run at once where every case makes its own accounts.
const AT_ONCE: usize = 4;

/// One case, by name. It makes its accounts with [`ServerUnderTest::fresh_account`], or takes the first of those that are given
/// and leaves them as they were.
struct Case {
    name: &'static str,
    run: for<'a> fn(&'a ServerUnderTest) -> BoxFuture<'a, Result<Outcome, Failure>>,
}

/// What came of a case that did not fail.
enum Outcome {
    Passed,
    /// It does not apply to this server, and why.
    Skipped(&'static str),
}

/// A case is an `async fn(&ServerUnderTest) -> Result<Outcome, Failure>`; its name is the function's.
macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$(Case { name: stringify!($name), run: |server| $name(server).boxed() }),*] };
}

const CASES: &[Case] =
    cases![starttls_is_offered_and_then_mechanisms, direct_tls_offers_mechanisms, an_account_is_registered_once];

/// What came of every case.
pub(crate) struct Report {
    server: String,
    lines: Vec<(&'static str, Duration, Result<Outcome, String>)>,
}

impl Report {
    /// The failed cases, as one text; none: all is well.
    pub(crate) fn failures(&self) -> Option<String> {
        let failed = self.lines.iter().filter_map(|(name, _, result)| Some(format!("{name}: {}", result.as_ref().err()?)));
        let failed: Vec<_> = failed.collect();
        (!failed.is_empty()).then(|| failed.join("\n"))
    }

    /// One line per case.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}:\n", self.server);
        for (name, time, result) in &self.lines {
            let result = match result {
                Ok(Outcome::Passed) => "ok".to_owned(),
                Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
                Err(_) => "FAILED".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {:>6.2} s  {name}: {result}", time.as_secs_f64());
        }
        text
    }
}

/// Runs every case; with given accounts one after the other, since they share them.
pub(crate) async fn run(server: &ServerUnderTest) -> Report {
    let at_once = if server.registers() { AT_ONCE } else { 1 };
    let lines = stream::iter(CASES).map(|case| run_case(case, server)).buffered(at_once).collect().await;
    Report { server: server.name.clone(), lines }
}

async fn run_case(case: &Case, server: &ServerUnderTest) -> (&'static str, Duration, Result<Outcome, String>) {
    let start = Instant::now();
    let result = match tokio::time::timeout(CASE, AssertUnwindSafe((case.run)(server)).catch_unwind()).await {
        Ok(Ok(result)) => result.map_err(|e| e.to_string()),
        Ok(Err(_)) => Err("panicked; its message is above".to_owned()),
        Err(_) => Err(format!("not done after {} s", CASE.as_secs())),
    };
    (case.name, start.elapsed(), result)
}

async fn starttls_is_offered_and_then_mechanisms(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let mut stream = RawStream::starttls(&server.host, server.port, &server.domain, &server.trust).await?;
    let features = stream.open().await?;
    assert!(features.contains("<mechanism>SCRAM-SHA-1</mechanism>"), "{features}");
    Ok(Outcome::Passed)
}

async fn direct_tls_offers_mechanisms(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some(port) = server.direct_tls_port else { return Ok(Outcome::Skipped("no port for direct TLS is known")) };
    let mut stream = RawStream::direct_tls(&server.host, port, &server.domain, &server.trust).await?;
    let features = stream.open().await?;
    assert!(features.contains("<mechanism>SCRAM-SHA-1</mechanism>"), "{features}");
    Ok(Outcome::Passed)
}

async fn an_account_is_registered_once(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    if !server.registers() {
        return Ok(Outcome::Skipped("accounts are given, not registered"));
    }
    let account = server.fresh_account();
    for expected in ["", "conflict"] {
        let mut stream = RawStream::starttls(&server.host, server.port, &server.domain, &server.trust).await?;
        stream.open().await?;
        let error = stream.register(&account.name, &account.password).await.err().map_or(String::new(), |e| e.to_string());
        assert!(error.is_empty() == expected.is_empty() && error.contains(expected), "expected {expected:?}: {error:?}");
    }
    Ok(Outcome::Passed)
}
