//! What each server supports, as the run saw it: one table of all servers and dialects the suite ran on (docs/testing.md).

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use xmppkit::error::ErrorKind;
use xmppkit::jid::BareJid;
use xmppkit::prelude::*;
use xmppkit::xep::push::PushTarget;

use super::{Outcome, Report, accounts, client};
use crate::support::{Failure, ServerUnderTest, report};

/// How a feature shows.
enum Shown {
    /// It is tried by this case of the suite.
    By(&'static str),
    /// It was tried, or can only be seen, while [`look`] asked for everything.
    Here,
}
use Shown::{By, Here};

/// The rows: a feature, and what shows it.
const ROWS: &[(&str, Shown)] = &[
    ("STARTTLS", By("starttls_is_offered_and_then_mechanisms")),
    ("direct TLS (XEP-0368)", By("direct_tls_offers_mechanisms")),
    ("mechanism of the login", Here),
    ("stream limits (XEP-0478)", Here),
    ("registration (XEP-0077)", By("registration_and_login_are_one_call")),
    ("changed password", By("a_password_is_changed")),
    ("deleted account", By("a_deleted_account_is_gone")),
    ("roster versions", By("a_roster_that_has_not_changed_is_not_sent_again")),
    ("pre-approval", By("an_approval_waits_for_its_request")),
    ("offline messages", By("a_message_sent_to_an_offline_account_is_there_at_the_next_login")),
    ("stream management (XEP-0198)", Here),
    ("resumed sessions", By("a_cut_session_goes_on_and_nothing_is_lost_or_comes_twice")),
    ("client state (XEP-0352)", Here),
    ("carbons (XEP-0280)", By("two_clients_of_one_account_see_the_same_conversation")),
    ("archive (XEP-0313)", By("the_log_is_what_the_archive_of_the_server_is")),
    ("archive: catch-up", By("what_was_sent_while_away_comes_exactly_once_and_in_order")),
    ("archive: flipped pages, ids", Here),
    ("archive: metadata", Here),
    ("archive: preferences (XEP-0441)", By("preferences_and_metadata_are_told_or_typed_errors")),
    ("archive: full text", Here),
    ("stanza ids (XEP-0359)", Here),
    ("server's capabilities (XEP-0115)", Here),
    ("contacts' capabilities", By("a_contacts_capabilities_are_verified_and_known")),
    ("ping (XEP-0199)", Here),
    ("version (XEP-0092)", Here),
    ("time (XEP-0202)", Here),
    ("last activity (XEP-0012)", Here),
    ("push (XEP-0357)", Here),
];

const LIMITS: &str = "urn:xmpp:stream-limits:0";

const LEGEND: &str = "\
yes: it was tried and worked; announced: it is offered and nothing tried it here; -: it is not offered; FAILED: its case failed.
Versions, names and sizes are the server's.";

/// What a server said of a feature: nothing, or that it has it, in these words.
type Seen = Vec<(&'static str, String)>;

/// The columns of this process, by their headings.
static COLUMNS: Mutex<Vec<(String, Vec<String>)>> = Mutex::new(Vec::new());

/// Puts a server's column into the table, from what its cases showed and from what it says when it is asked.
pub(crate) async fn add(heading: &str, server: &ServerUnderTest, cases: &Report) -> Result<(), Failure> {
    let seen = look(server).await?;
    let column = ROWS.iter().map(|(feature, shown)| cell(feature, shown, &seen, cases)).collect::<Result<_, _>>()?;
    let mut columns = COLUMNS.lock().unwrap_or_else(PoisonError::into_inner);
    columns.retain(|(other, _)| other != heading);
    columns.push((heading.to_owned(), column));
    // Real servers first.
    columns.sort_by_key(|(heading, _)| (heading.starts_with("as "), heading.clone()));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("support.txt");
    std::fs::write(&path, table(&columns))?;
    report(&format!("what {heading} supports is in {}", path.display()));
    Ok(())
}

fn cell(feature: &str, shown: &Shown, seen: &Seen, cases: &Report) -> Result<String, Failure> {
    let said = seen.iter().find(|(name, _)| *name == feature).map(|(_, words)| words.clone());
    let By(case) = shown else { return Ok(said.unwrap_or_else(|| "-".to_owned())) };
    Ok(match cases.outcome(case) {
        Some(Ok(Outcome::Passed)) => said.unwrap_or_else(|| "yes".to_owned()),
        Some(Ok(Outcome::Skipped(_))) => said.map_or_else(|| "-".to_owned(), |_| "announced".to_owned()),
        Some(Err(_)) => "FAILED".to_owned(),
        None => return Err(format!("the case {case} did not run").into()),
    })
}

fn table(columns: &[(String, Vec<String>)]) -> String {
    let wide = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or_default();
    let first = wide(&mut ROWS.iter().map(|(feature, _)| *feature));
    let widths: Vec<_> =
        columns.iter().map(|(heading, cells)| wide(&mut cells.iter().chain([heading]).map(String::as_str))).collect();
    let mut text = String::from("What the servers support, as the suite saw it:\n\n");
    let mut line = |name: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.zip(&widths).map(|(cell, width)| format!("  {cell:width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", format!("{name:first$}{cells}").trim_end());
    };
    line("", &mut columns.iter().map(|(heading, _)| heading.as_str()));
    for (row, (feature, _)) in ROWS.iter().enumerate() {
        line(feature, &mut columns.iter().map(|(_, cells)| cells[row].as_str()));
    }
    text + "\n" + LEGEND + "\n"
}

/// Asks the server for everything it may have, and tries what no case does.
async fn look(server: &ServerUnderTest) -> Result<Seen, Failure> {
    let Some([account]) = accounts(server).await? else { return Ok(Seen::new()) };
    let juliet = client(server, &account)?.build().await?;
    juliet.connect().await?;
    let stream = juliet.stream_features().ok_or("online without features")?;
    let (host, own) = (juliet.disco().server().await?, juliet.disco().account().await?);
    let domain: BareJid = server.domain.parse()?;
    let mut seen = Seen::new();
    let mut note = |feature: &'static str, words: Option<String>| {
        debug_assert!(ROWS.iter().any(|(name, _)| *name == feature), "{feature}");
        seen.extend(words.map(|words| (feature, words)));
    };
    let yes = |is: bool| is.then(|| "yes".to_owned());
    let announces = |ns: &str, name: &str| stream.child(ns, name).is_some();
    let has = |feature: &str| host.supports(feature) || own.supports(feature);

    note("mechanism of the login", juliet.mechanism());
    let limits = stream.child(LIMITS, "limits").and_then(|limits| limits.child(LIMITS, "max-bytes"));
    note("stream limits (XEP-0478)", limits.map(|bytes| format!("{} bytes", bytes.text())));
    note("roster versions", yes(announces("urn:xmpp:features:rosterver", "ver")));
    note("pre-approval", yes(announces("urn:xmpp:features:pre-approval", "sub")));
    let managed: Vec<_> = ["3", "2"].into_iter().filter(|version| announces(&format!("urn:xmpp:sm:{version}"), "sm")).collect();
    note("stream management (XEP-0198)", (!managed.is_empty()).then(|| format!("sm:{}", managed.join(", "))));
    note("offline messages", yes(has("msgoffline")));
    note("carbons (XEP-0280)", yes(has("urn:xmpp:carbons:2")));
    note("server's capabilities (XEP-0115)", yes(announces("http://jabber.org/protocol/caps", "c")));
    note("stanza ids (XEP-0359)", yes(has("urn:xmpp:sid:0")));

    let versions = host.features().iter().chain(own.features()).filter_map(|feature| feature.strip_prefix("urn:xmpp:mam:"));
    let newest = versions.filter(|version| version.bytes().all(|byte| byte.is_ascii_digit())).max();
    note("archive (XEP-0313)", newest.map(|version| format!("mam:{version}")));
    if newest.is_some() {
        let archive = juliet.archive().server();
        note("archive: flipped pages, ids", yes(has("urn:xmpp:mam:2#extended")));
        note("archive: metadata", tried(archive.metadata().await)?);
        let fields = archive.fields().await?;
        note("archive: full text", fields.into_iter().find(|field| field.contains("text")));
    }
    if announces("urn:xmpp:csi:0", "csi") {
        juliet.set_inactive(true).await?;
        juliet.set_inactive(false).await?;
        // A server that took offence has ended the stream.
        juliet.ping_server().await?;
        note("client state (XEP-0352)", yes(true));
    }
    note("ping (XEP-0199)", yes(juliet.ping_server().await?.supported));
    note("version (XEP-0092)", tried(juliet.software_version(domain.clone()).await)?);
    note("time (XEP-0202)", tried(juliet.entity_time(domain.clone()).await)?);
    note("last activity (XEP-0012)", tried(juliet.last_activity().of(domain).await)?);
    if has("urn:xmpp:push:0") {
        let service: BareJid = format!("push.{}", server.domain).parse().unwrap_or_else(|_| juliet.account().clone());
        juliet.push().enable(PushTarget::new(service.clone()).node("support")).await?;
        juliet.push().disable(&service, Some("support")).await?;
        note("push (XEP-0357)", yes(true));
    }
    juliet.close().await;
    Ok(seen)
}

/// What came of asking for something: a refusal says that it is not there.
fn tried<T>(result: xmppkit::Result<T>) -> Result<Option<String>, Failure> {
    match result {
        Ok(_) => Ok(Some("yes".to_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::Stanza(_) | ErrorKind::NotOffered(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn a_cell_says_what_came_of_the_case_and_what_was_announced() {
    let line = |name, result| (name, std::time::Duration::ZERO, result);
    let cases = Report {
        server: "a server".to_owned(),
        lines: vec![
            line("passes", Ok(Outcome::Passed)),
            line("skips", Ok(Outcome::Skipped("it has none"))),
            line("fails", Err("why".to_owned())),
        ],
    };
    let seen = vec![("announced", "v2".to_owned())];
    let cell = |feature, shown| cell(feature, &shown, &seen, &cases);
    for (feature, shown, expected) in [
        ("announced", By("passes"), "v2"),
        ("unannounced", By("passes"), "yes"),
        ("announced", By("skips"), "announced"),
        ("unannounced", By("skips"), "-"),
        ("announced", By("fails"), "FAILED"),
        ("announced", Here, "v2"),
        ("unannounced", Here, "-"),
    ] {
        assert_eq!(cell(feature, shown).unwrap(), expected);
    }
    assert!(cell("announced", By("unknown")).is_err(), "a case that is not there shows nothing");
    let column = |words: &str| vec![words.to_owned(); ROWS.len()];
    let text = table(&[("Long name".to_owned(), column("-")), ("as Strict".to_owned(), column("yes"))]);
    let mut lines = text.lines().skip(2);
    assert!(lines.next().is_some_and(|line| line.ends_with("  Long name  as Strict")), "{text}");
    assert!(lines.next().is_some_and(|line| line.starts_with("STARTTLS ") && line.ends_with("  -          yes")), "{text}");
}
