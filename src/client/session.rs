//! The session as the store keeps it, and what a lost one leaves to be found out (R8 to R13).

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use xmpp_parsers::presence::{Presence, Type};

use crate::client::dispatch::guard;
use crate::client::outbox::Resolution;
use crate::client::sent::Sent;
use crate::client::shared::Shared;
use crate::driver::{Resumption, Suspended};
use crate::error::Result;
use crate::ext::Ctx;
use crate::store::{AccountStore, ArchiveId, Batch, OutboxEntry, SendFailure, SentUpdate, SessionRecord, StoredSession};

/// Where the client keeps rows of its own that live as long as the session.
pub(super) const SESSION_ROWS: &str = "xmppkit:session";
/// The row that says that the session had come online: what its login fetched is in the store.
pub(super) const COMPLETE: &str = "complete";

/// The row with the highest count of what was delivered, where it need not be handled yet.
pub(super) const DELIVERED: &str = "delivered";

/// How long after it was last heard of a session is asked for. Past the time a server keeps it, that costs one round trip, and
/// the refusal may say how much of what was sent had arrived (R10).
const ASKED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries of the outbox read at once.
const PAGE: usize = 500;
/// How long it may take to find out what became of messages. Then nobody can tell.
const RESOLVING: Duration = Duration::from_secs(120);

/// What an earlier process left.
#[derive(Default)]
pub(super) struct Left {
    pub(super) suspended: Option<Suspended>,
    /// It had come online.
    pub(super) complete: bool,
    /// Up to this number its messages were delivered, though not all of them handled.
    pub(super) delivered: u64,
    pub(super) outbox: Vec<OutboxEntry>,
}

impl Left {
    pub(super) async fn load(store: &dyn AccountStore) -> Result<Self> {
        let mut outbox: Vec<OutboxEntry> = Vec::new();
        loop {
            let page = store.outbox(outbox.last().map_or(0, |entry| entry.place), PAGE).await?;
            let is_last = page.len() < PAGE;
            outbox.extend(page);
            if is_last {
                break;
            }
        }
        let stored = store.session().await?;
        let h = stored.as_ref().map_or(0, |stored| stored.h);
        let suspended = stored.and_then(restored);
        let rows = store.session_rows(SESSION_ROWS, "").await?;
        let complete = rows.iter().any(|(key, _)| key == COMPLETE);
        let delivered = rows.iter().find(|(key, _)| key == DELIVERED).and_then(|(_, value)| count_in(value)).unwrap_or(h);
        // The numbers of a session that goes on begin with its count.
        let ahead = delivered.wrapping_sub(h);
        let delivered = if ahead > u32::MAX / 2 { 0 } else { u64::from(h) + u64::from(ahead) };
        Ok(Self { suspended, complete, delivered, outbox })
    }
}

fn count_in(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn restored(stored: StoredSession) -> Option<Suspended> {
    let record = stored.record;
    let age = SystemTime::now().duration_since(stored.last_contact).unwrap_or_default();
    if age > record.max.unwrap_or_default().max(ASKED_FOR) {
        return None;
    }
    let mut resumption = Resumption::new(&record.namespace, record.id, record.jid, record.max)?;
    resumption.location = record.location;
    Some(Suspended::restored(resumption, stored.h, &stored.above, crate::driver::now()))
}

pub(super) fn record_of(resumption: Resumption) -> SessionRecord {
    let mut record = SessionRecord::new(resumption.id, resumption.jid);
    record.namespace = resumption.namespace.to_owned();
    record.location = resumption.location;
    record.max = Some(resumption.max);
    record
}

impl Shared {
    /// What comes before the client is online: the extensions' login steps, then initial presence.
    pub(super) async fn log_in(self: &Arc<Self>) {
        let cx = Ctx::new(Arc::clone(self));
        for (name, extension) in self.registry.extensions() {
            let step = AssertUnwindSafe(async { extension.before_presence(&cx).await }).catch_unwind();
            match tokio::time::timeout(self.config.login_step, step).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(extension = name, %error, "a login step failed"),
                Ok(Err(_)) => tracing::error!(extension = name, "a login step panicked"),
                Err(_) => tracing::warn!(extension = name, "a login step took too long"),
            }
        }
        if self.config.initial_presence
            && let Err(error) = self.send_initial_presence().await
        {
            tracing::warn!(%error, "initial presence could not be sent");
        }
    }

    /// The session goes on, but not all that belongs to it was kept: it is built up as if it were new (R9). The server tells
    /// all presence again to who becomes available.
    pub(super) async fn rebuild(self: &Arc<Self>) {
        tracing::info!("the session was resumed, and what belongs to it is fetched anew");
        if let Err(error) = self.send_presence(Presence::new(Type::Unavailable)).await {
            tracing::warn!(%error, "presence could not be taken back");
        }
        self.log_in().await;
    }

    /// What extensions know from the server in this session is void.
    pub(super) fn forget_session(&self) {
        let Some(cx) = self.ctx() else { return };
        for (name, extension) in self.registry.extensions().rev() {
            guard(name, || extension.session_lost(&cx));
        }
    }

    /// Writes something down; if that fails, says what is not written.
    pub(super) async fn note(&self, what: &str, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.write(batch).await {
            tracing::error!(%error, what, "could not be stored");
        }
    }

    /// Writes something down on which nothing waits.
    pub(super) fn note_soon(&self, batch: Batch) {
        let (true, false, Some(shared)) = (self.persistent, batch.is_empty(), self.weak.upgrade()) else { return };
        self.runtime.spawn(async move { shared.note("what became of messages", batch).await });
    }

    pub(super) fn note_acked(&self, ids: Vec<String>, at: SystemTime) {
        self.note_soon(ids.into_iter().fold(Batch::new(), |batch, id| batch.update_sent(SentUpdate::new(id).acked(at))));
    }

    /// Adds to the record of a message that was sent, in this run or an earlier one.
    pub(crate) fn update_sent(&self, update: &SentUpdate) {
        self.outbox.update(update);
        self.note_soon(Batch::new().update_sent(update.clone()));
    }

    /// The token of a message that was sent, in this run or an earlier one.
    pub(crate) async fn find_sent(&self, id: &str) -> Result<Option<Sent>> {
        if let Some(sent) = self.outbox.sent(id) {
            return Ok(Some(sent));
        }
        let entry = if self.persistent { self.store.sent(id).await? } else { None };
        Ok(entry.map(|entry| self.outbox.known(&entry)))
    }

    pub(super) fn note_sent_soon(&self, updates: Vec<SentUpdate>) {
        self.note_soon(updates.into_iter().fold(Batch::new(), Batch::update_sent));
    }

    /// No message that is on its way goes out any more.
    pub(super) async fn give_up_sending(&self, why: &SendFailure) {
        let now = SystemTime::now();
        let fail = |batch: Batch, id| batch.update_sent(SentUpdate::new(id).failed(why.clone(), now));
        let batch = self.outbox.fail_all(why, now).into_iter().fold(Batch::new(), fail);
        if self.persistent && !batch.is_empty() {
            self.note("that messages were given up", batch).await;
        }
    }

    /// The newest message the own archive is known to have (R12).
    pub(super) async fn newest_in_archive(&self) -> Option<ArchiveId> {
        let cursor = self.store.archive_cursor(&self.account).await.ok().flatten()?;
        Some(ArchiveId::new(jid::BareJid::clone(&self.account), cursor.last?))
    }

    /// Finds out what became of the messages of a lost session, and sends again what did not arrive.
    pub(super) async fn resolve_sent(&self) {
        let _alone = self.resolving.lock().await;
        let unresolved = self.outbox.unresolved();
        let Some(cx) = self.ctx().filter(|_| !unresolved.is_empty()) else { return };
        let mut found: HashMap<String, Resolution> = HashMap::new();
        for resolver in &self.registry.resolvers {
            let open: Vec<_> = unresolved.iter().filter(|message| !found.contains_key(&message.id)).cloned().collect();
            let asked = AssertUnwindSafe(async { resolver(open, cx.clone()).await }).catch_unwind();
            match tokio::time::timeout(RESOLVING, asked).await {
                Ok(Ok(Err(error))) if error.is_session_over() => {
                    tracing::debug!(%error, "what became of messages is left to the next session");
                    return;
                }
                Ok(Ok(Err(error))) => tracing::warn!(%error, "what became of messages could not be found out"),
                Ok(Ok(Ok(answers))) => found.extend(answers.into_iter().filter(|(_, answer)| *answer != Resolution::Unknown)),
                Ok(Err(_)) => tracing::error!("an extension panicked while it looked for messages of a lost session"),
                Err(_) => tracing::warn!("what became of messages of a lost session could not be found out in time"),
            }
        }
        tracing::debug!(messages = unresolved.len(), known = found.len(), "messages of a lost session");
        let updates = self.outbox.resolve(&found);
        if self.persistent {
            self.note("what became of messages", updates.into_iter().fold(Batch::new(), Batch::update_sent)).await;
        }
    }
}
