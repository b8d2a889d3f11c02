//! Queries that wait for their results, and the results that come for them.
//!
//! A result is believed if its query is open and it comes from the archive that was asked (XEP-0313 §8.2, R19).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jid::{BareJid, Jid};
use tokio::sync::Notify;

use super::wire::{self, ArchiveResult};
use crate::error::{Error, ErrorKind, Result};
use crate::xml::Stanza;

/// How long results may take that were sent before the end of their page.
const STRAGGLERS: Duration = Duration::from_secs(30);
/// The most bytes of results that one page may have.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// How many more results than were asked for a page may have: some servers count in their own way.
const EXTRA: usize = 1_000;

/// The queries that are open.
#[derive(Debug)]
pub(super) struct Running {
    open: Mutex<HashMap<String, Collected>>,
    count: AtomicU64,
    salt: u64,
}

#[derive(Debug)]
struct Collected {
    archive: BareJid,
    results: Vec<ArchiveResult>,
    bytes: usize,
    max: usize,
    overflow: bool,
    more: Arc<Notify>,
}

/// What a message is to the open queries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No result of an archive.
    Nothing,
    /// A result of one of them; it is kept for it.
    Taken,
    /// A result that nobody asked for, or not there.
    Stray,
}

impl Running {
    pub(super) fn new() -> Self {
        // Only that the ids of two runs differ matters; without random numbers there is no connection either.
        let mut salt = [0; 8];
        let _ = getrandom::fill(&mut salt);
        Self { open: Mutex::default(), count: AtomicU64::new(0), salt: u64::from_le_bytes(salt) }
    }

    /// Opens a query of this archive, for a page of at most `max` results.
    pub(super) fn open(self: &Arc<Self>, archive: BareJid, max: usize) -> Open {
        let id = format!("{:x}-{}", self.salt, self.count.fetch_add(1, Ordering::Relaxed));
        let max = max.saturating_add(EXTRA);
        let more = Arc::new(Notify::new());
        let collected = Collected { archive, results: Vec::new(), bytes: 0, max, overflow: false, more: Arc::clone(&more) };
        self.lock().insert(id.clone(), collected);
        Open { id, running: Arc::clone(self), more }
    }

    /// Looks at a message: a result that is asked for is kept for its query.
    pub(super) fn offer(&self, stanza: &Stanza, account: &BareJid) -> Verdict {
        let Some((query_id, result)) = wire::result(stanza) else { return Verdict::Nothing };
        let mut open = self.lock();
        let Some(query) = query_id.and_then(|id| open.get_mut(&id)) else { return Verdict::Stray };
        let is_from_there = match stanza.from() {
            None => query.archive == *account,
            Some(from) => Jid::new(&from).is_ok_and(|from| from == query.archive),
        };
        if !is_from_there {
            return Verdict::Stray;
        }
        query.bytes += stanza.byte_len();
        query.overflow |= query.bytes > MAX_BYTES || query.results.len() >= query.max;
        if !query.overflow {
            query.results.push(result);
        }
        query.more.notify_one();
        Verdict::Taken
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Collected>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open query. Dropped, it takes no more results.
#[derive(Debug)]
pub(super) struct Open {
    id: String,
    running: Arc<Running>,
    more: Arc<Notify>,
}

impl Open {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The results of the page, whose first and last ones are these. Replies overtake messages, so they may still be on their way.
    pub(super) async fn results(self, first: Option<&str>, last: Option<&str>) -> Result<Vec<ArchiveResult>> {
        let all = async {
            loop {
                let more = self.more.notified();
                if let Some(results) = self.take([first, last])? {
                    return Ok(results);
                }
                more.await;
            }
        };
        match tokio::time::timeout(STRAGGLERS, all).await {
            Ok(results) => results,
            Err(_) => Err(Error::new(ErrorKind::RequestTimeout(STRAGGLERS)).with_context("the page's results did not come")),
        }
    }

    fn take(&self, ends: [Option<&str>; 2]) -> Result<Option<Vec<ArchiveResult>>> {
        let mut open = self.running.lock();
        let Some(query) = open.get_mut(&self.id) else { return Ok(Some(Vec::new())) };
        if query.overflow {
            let error = ErrorKind::Protocol(crate::error::ProtocolError::LimitExceeded);
            return Err(Error::new(error).with_context("an archive sent more results than were asked for"));
        }
        let is_there = |end: &str| query.results.iter().any(|result| result.id == end);
        let all_there = ends.into_iter().flatten().all(is_there);
        Ok(all_there.then(|| std::mem::take(&mut query.results)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::xml::Frame;

    const ACCOUNT: &str = "juliet@capulet.example";

    fn offer(running: &Running, from: &str, query_id: &str, id: &str) -> Verdict {
        let from = if from.is_empty() { String::new() } else { format!("from='{from}'") };
        let xml = format!(
            "<message xmlns='jabber:client' {from}><result xmlns='urn:xmpp:mam:2' queryid='{query_id}' id='{id}'/></message>"
        );
        let stanza = Frame::parse(&xml).expect("XML").stanza().expect("a stanza");
        running.offer(&stanza, &ACCOUNT.parse().expect("a JID"))
    }

    #[tokio::test]
    async fn results_count_only_from_the_archive_that_was_asked_and_while_it_is() {
        let running = Arc::new(Running::new());
        let own = running.open(ACCOUNT.parse().expect("a JID"), 10);
        let room = running.open("garden@rooms.example".parse().expect("a JID"), 10);
        for (from, query, verdict) in [
            ("", own.id(), Verdict::Taken),
            ("Juliet@capulet.example", own.id(), Verdict::Taken),
            ("juliet@capulet.example/balcony", own.id(), Verdict::Stray),
            ("capulet.example", own.id(), Verdict::Stray),
            ("romeo@montague.example", own.id(), Verdict::Stray),
            ("garden@rooms.example", own.id(), Verdict::Stray),
            ("garden@rooms.example", room.id(), Verdict::Taken),
            ("garden@rooms.example/juliet", room.id(), Verdict::Stray),
            ("", room.id(), Verdict::Stray),
            ("", "another", Verdict::Stray),
        ] {
            assert_eq!(offer(&running, from, query, "1"), verdict, "{from} {query}");
        }
        let id = own.id().to_owned();
        assert_eq!(own.results(None, None).await.expect("results").len(), 2);
        assert_eq!(offer(&running, "", &id, "2"), Verdict::Stray, "the query is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_waits_for_its_last_result_and_not_for_ever() {
        let running = Arc::new(Running::new());
        let open = running.open(ACCOUNT.parse().expect("a JID"), 10);
        let id = open.id().to_owned();
        let mut page = Box::pin(open.results(Some("1"), Some("3")));
        assert!((&mut page).now_or_never().is_none());
        offer(&running, "", &id, "1");
        assert!((&mut page).now_or_never().is_none());
        offer(&running, "", &id, "3");
        assert_eq!(page.await.expect("results").len(), 2);
        // The first may come last.
        let open = running.open(ACCOUNT.parse().expect("a JID"), 10);
        let id = open.id().to_owned();
        let mut page = Box::pin(open.results(Some("1"), Some("3")));
        offer(&running, "", &id, "3");
        assert!((&mut page).now_or_never().is_none());
        offer(&running, "", &id, "1");
        assert_eq!(page.await.expect("results").len(), 2);

        let open = running.open(ACCOUNT.parse().expect("a JID"), 10);
        let error = open.results(None, Some("2")).await.expect_err("it never comes");
        assert!(error.is_timeout(), "{error}");
    }

    #[tokio::test]
    async fn a_page_without_end_is_refused() {
        let running = Arc::new(Running::new());
        let open = running.open(ACCOUNT.parse().expect("a JID"), 10);
        for n in 0..10 + EXTRA + 1 {
            assert_eq!(offer(&running, "", open.id(), &n.to_string()), Verdict::Taken);
        }
        assert!(open.results(None, Some("0")).await.is_err());
    }
}
