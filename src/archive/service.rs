//! The archive extension: what it recognises in what arrives, and when it catches up.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures::FutureExt;
use jid::{BareJid, Jid};

use super::catch_up::{CatchUp, Phase};
use super::running::{Running, Verdict};
use super::server::no_payload;
use super::wire::{self, ArchiveResult, Filter, Paging};
use crate::client::Client;
use crate::error::Result;
use crate::ext::{BoxFuture, Ctx, Extension, InboundDraft, Observable, Position, Registrar, SessionKind, Watch, inbound};
use crate::messaging::MessagingService;
use crate::store::{ArchiveCursor, Change, Feed, IdentityKey, Origin};
use crate::xep::carbons::CarbonsService;
use crate::xep::disco::{DiscoService, Discos};
use crate::xml::{ns, parse_datetime};

/// The extension's rows: what the account's archive announced, and whether a session was left open.
pub(super) const ROWS: &str = "xmppkit:archive";
/// The last id of the page that the first session took as history.
pub(super) const HISTORY: &str = "history";
/// When the first session of all began, until it knows where history ends.
pub(super) const BEGUN: &str = "begun";
const ANNOUNCED: &str = "announced";
const SESSION: &str = "session";

/// How the extension behaves; give it to [`ClientBuilder::setting`](crate::client::ClientBuilder::setting).
///
/// ```
/// use xmppkit::{Client, archive::ArchiveSettings};
/// # fn example(account: xmppkit::jid::BareJid) {
/// let builder = Client::builder(account).setting(ArchiveSettings::new().first_page(20));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveSettings {
    /// Whether each fresh session begins with what the archive has of the time between. It does unless this is off; then
    /// only live messages, carbons and offline storage are sources, and messages may be missed.
    pub catch_up: bool,
    /// How many of the newest messages the first session of all takes as history; 0 takes none. Default 100.
    pub first_page: usize,
    /// How many messages a page has, where a query does not say. Default 100.
    pub page_size: usize,
}

impl ArchiveSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { catch_up: true, first_page: 100, page_size: 100 }
    }

    /// Whether sessions begin with a catch-up.
    #[must_use]
    pub fn catch_up(mut self, catch_up: bool) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// How many of the newest messages the first session of all takes as history.
    #[must_use]
    pub fn first_page(mut self, messages: usize) -> Self {
        self.first_page = messages;
        self
    }

    /// How many messages a page has, where a query does not say.
    #[must_use]
    pub fn page_size(mut self, messages: usize) -> Self {
        self.page_size = messages.max(1);
        self
    }
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// The extension behind [`Client::archive`](super::Archives::archive). Every client has it.
#[derive(Clone)]
pub struct ArchiveService {
    running: Arc<Running>,
    pub(super) state: Observable<CatchUp>,
    known: Arc<Mutex<Known>>,
}

/// What is known of the account's archive, and of this session.
#[derive(Default)]
pub(super) struct Known {
    /// What the archive announced, in this or an earlier session.
    pub(super) announced: Option<Announced>,
    /// It was not asked in this session yet.
    pub(super) is_remembered: bool,
    pub(super) cursor: Option<ArchiveCursor>,
    pub(super) phase: Phase,
    /// Where the first session of all began, while it does not know where history ends.
    pub(super) begun: Option<SystemTime>,
    /// The last id of the page that the first session of all took as history.
    pub(super) history: Option<String>,
    /// How often the connection was cut.
    pub(super) cuts: u64,
    /// The first page of the catch-up, asked for before presence, and how many cuts there had been.
    pub(super) pending: Option<(u64, PageFuture)>,
    /// What other archives announced in this session.
    others: HashMap<BareJid, Announced>,
}

pub(super) type PageFuture = BoxFuture<'static, Result<Page>>;

/// What an archive says that it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Announced {
    pub(super) archive: bool,
    pub(super) extended: bool,
    pub(super) stanza_ids: bool,
    pub(super) tells_rooms: bool,
}

/// A page of results.
#[derive(Debug)]
pub(super) struct Page {
    /// As they came: in the archive's order, the oldest first.
    pub(super) results: Vec<ArchiveResult>,
    pub(super) complete: bool,
    pub(super) stable: bool,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

impl Page {
    /// The page that comes next in the same direction, if there is one.
    pub(super) fn next(&self, paging: &Paging) -> Option<Paging> {
        if self.complete {
            return None;
        }
        // An archive that goes on where it was would go on for ever.
        match paging {
            Paging::Forwards { after } => {
                self.last.clone().filter(|last| Some(last) != after.as_ref()).map(|last| Paging::Forwards { after: Some(last) })
            }
            Paging::Backwards { before } => self
                .first
                .clone()
                .filter(|first| Some(first) != before.as_ref())
                .map(|first| Paging::Backwards { before: Some(first) }),
        }
    }
}

impl Announced {
    /// What stands in a row.
    fn to_row(self) -> String {
        let words = [
            (self.archive, "archive"),
            (self.extended, "extended"),
            (self.stanza_ids, "stanza-ids"),
            (self.tells_rooms, "rooms"),
        ];
        words.into_iter().filter_map(|(is, word)| is.then_some(word)).collect::<Vec<_>>().join(" ")
    }

    fn from_row(row: &[u8]) -> Self {
        let row = String::from_utf8_lossy(row);
        let has = |word| row.split(' ').any(|w| w == word);
        Self { archive: has("archive"), extended: has("extended"), stanza_ids: has("stanza-ids"), tells_rooms: has("rooms") }
    }
}

impl ArchiveService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self { running: Arc::new(Running::new()), state: Observable::new(CatchUp::Waiting), known: Arc::default() }
    }

    pub(super) fn watch(&self) -> Watch<CatchUp> {
        self.state.watch()
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn page_size(&self, client: &Client) -> usize {
        client.setting::<ArchiveSettings>().map_or(100, |settings| settings.page_size)
    }

    pub(super) fn cursor(&self) -> Option<ArchiveCursor> {
        self.known().cursor.clone()
    }

    /// The cursor when history begins with this page.
    pub(super) fn begun_earlier(&self, page: &Page) -> Option<ArchiveCursor> {
        let mut cursor = self.cursor()?;
        cursor.first = page.first.clone().or(cursor.first);
        cursor.reached_start = page.complete;
        Some(cursor)
    }

    /// That page is stored. How far the run goes on the other side may have changed meanwhile.
    pub(super) fn begin_earlier(&self, begun: ArchiveCursor) {
        if let Some(cursor) = &mut self.known().cursor {
            (cursor.first, cursor.reached_start) = (begun.first, begun.reached_start);
        }
    }

    /// Asks an archive for a page. It is sent when the future is polled first.
    pub(super) fn ask(
        &self,
        client: &Client,
        archive: Option<&BareJid>,
        filter: &Filter,
        paging: &Paging,
        max: usize,
    ) -> impl Future<Output = Result<Page>> + Send + use<> {
        let open = self.running.open(archive.unwrap_or(client.account()).clone(), max);
        let query = wire::query(open.id(), filter, paging, max);
        let request = client.iq_set(archive.cloned().map(Jid::from), &query);
        async move {
            let reply = request.await?;
            let fin = wire::fin(reply.stanza()).ok_or_else(|| no_payload("fin"))?;
            let results = open.results(fin.first.as_deref(), fin.last.as_deref()).await?;
            Ok(Page { results, complete: fin.complete, stable: fin.stable, first: fin.first, last: fin.last })
        }
    }

    /// What an archive announces; `None` is the own account's.
    pub(super) async fn announced_by(&self, client: &Client, archive: Option<&BareJid>) -> Result<Announced> {
        let remembered = match archive {
            None => self.known().announced,
            Some(archive) => self.known().others.get(archive).copied(),
        };
        if let Some(announced) = remembered {
            return Ok(announced);
        }
        let announced = ask_what_it_can(client, archive.unwrap_or(client.account())).await?;
        match archive {
            None => self.remember(client, announced).await?,
            Some(archive) => drop(self.known().others.insert(archive.clone(), announced)),
        }
        Ok(announced)
    }

    /// Asks the own archive anew, whatever is remembered.
    pub(super) async fn learn(&self, client: &Client) -> Result<Announced> {
        let announced = ask_what_it_can(client, client.account()).await?;
        self.remember(client, announced).await?;
        Ok(announced)
    }

    async fn remember(&self, client: &Client, announced: Announced) -> Result<()> {
        let before = {
            let mut known = self.known();
            known.is_remembered = false;
            known.announced.replace(announced)
        };
        if before == Some(announced) { Ok(()) } else { client.ctx().rows(ROWS).put(ANNOUNCED, announced.to_row()).await }
    }

    /// Takes results out of what arrives, for the queries that asked for them; what nobody asked for is nobody's (R19).
    fn results(&self, draft: &mut InboundDraft, cx: &Ctx) {
        match self.running.offer(draft.stanza(), cx.account()) {
            Verdict::Nothing => {}
            Verdict::Taken => draft.discard("a result of an archive, which is taken in with its page"),
            Verdict::Stray => {
                tracing::debug!(from = ?draft.stanza().from(), "a result of an archive that was not asked for");
                draft.discard("a result of an archive that was not asked for");
            }
        }
    }

    /// Knows a message by the id that the own archive gave it, and holds it back while what is older is being fetched.
    fn identify(&self, draft: &mut InboundDraft, cx: &Ctx) {
        if draft.origin() == Origin::Archive {
            return;
        }
        let mut known = self.known();
        let may_be_behind = known.phase == Phase::Undecided
            && known.cursor.is_some()
            && cx.setting::<ArchiveSettings>().is_some_and(|settings| settings.catch_up);
        if known.phase == Phase::CatchingUp || may_be_behind {
            draft.set_feed(Feed::Hold);
        }
        let announced = known.announced.unwrap_or_default();
        if !announced.archive && !announced.stanza_ids {
            return;
        }
        let Some(id) = wire::own_stanza_id(draft.stanza(), cx.account()) else { return };
        draft.add_key(IdentityKey::archive(&id.by, &id.id));
        if !announced.archive {
            return;
        }
        // Only where nothing can have gone by unseen: not the account's other clients, not what was older than the session.
        if known.phase == Phase::UpToDate
            && draft.origin() != Origin::Offline
            && cx.ext::<CarbonsService>().is_some_and(|carbons| carbons.is_enabled())
            && let Some(cursor) = &known.cursor
        {
            let cursor = wire::moved(cursor, Some(&id.id), Some(draft.received()));
            draft.also(Change::ArchiveCursor(id.by.clone(), cursor.clone()));
            known.cursor = Some(cursor);
        }
        draft.add_archive_id(id);
    }

    async fn load(&self, cx: &Ctx) -> Result<()> {
        let announced = cx.rows(ROWS).get(ANNOUNCED).await?.map(|row| Announced::from_row(&row));
        let cursor = cx.store().archive_cursor(cx.account()).await?;
        let begun = if cursor.is_none() { cx.rows(ROWS).get(BEGUN).await? } else { None };
        let history = cx.rows(ROWS).get(HISTORY).await?;
        let mut known = self.known();
        known.history = history.and_then(|id| String::from_utf8(id.to_vec()).ok());
        known.is_remembered = announced.is_some();
        (known.announced, known.cursor) = (announced, cursor);
        known.begun = begun.and_then(|begun| parse_datetime(std::str::from_utf8(&begun).ok()?));
        Ok(())
    }
}

/// Asks an archive what it can do (XEP-0313 §7).
async fn ask_what_it_can(client: &Client, archive: &BareJid) -> Result<Announced> {
    let info = client.disco().info(archive.clone()).await?;
    Ok(Announced {
        archive: info.supports(ns::MAM),
        extended: info.supports("urn:xmpp:mam:2#extended"),
        tells_rooms: info.supports("urn:xmpp:mam:2#groupchat-field"),
        stanza_ids: info.supports(ns::SID),
    })
}

impl Extension for ArchiveService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.requires::<CarbonsService>();
        reg.requires::<MessagingService>();
        reg.uses::<DiscoService>();
        reg.setting(ArchiveSettings::default());
        reg.store_namespace(ROWS, 1, |_, rows| Ok(rows));
        reg.inbound_stage("archive:results", Position::Before(inbound::UNWRAP), |draft, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                service.results(draft, cx);
            }
        });
        reg.resolve_sent(super::resolve::resolve);
        reg.inbound_stage("archive:identify", Position::Before(inbound::IDENTIFY), |draft, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                service.identify(draft, cx);
            }
        });
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.load(cx))
    }

    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // What a session that was not closed leaves behind is this row.
            let rows = cx.rows(ROWS);
            let was_cut = rows.get(SESSION).await?.is_some();
            rows.put(SESSION, "open").await?;
            self.begin(cx, was_cut).await
        })
    }

    fn session<'a>(&'a self, cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        self.go_on(cx, kind).boxed()
    }

    fn suspended(&self, _: &Ctx) {
        self.cut();
    }

    fn session_lost(&self, _: &Ctx) {
        let mut known = self.known();
        known.phase = Phase::Undecided;
        known.is_remembered = known.announced.is_some();
        known.others.clear();
        let pending = known.pending.take();
        drop(known);
        drop(pending);
        self.show(CatchUp::Waiting);
    }

    fn closing<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { cx.rows(ROWS).delete(SESSION).await })
    }
}

impl Default for ArchiveService {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ArchiveService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveService").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_read_as_it_was_written() {
        for bits in 0..16_u8 {
            let bit = |n: u8| bits & (1 << n) != 0;
            let announced = Announced { archive: bit(0), extended: bit(1), stanza_ids: bit(2), tells_rooms: bit(3) };
            assert_eq!(Announced::from_row(announced.to_row().as_bytes()), announced);
        }
    }

    #[test]
    fn an_archive_that_does_not_go_on_is_not_asked_for_ever() {
        let page = |complete, first: Option<&str>, last: Option<&str>| Page {
            results: Vec::new(),
            complete,
            stable: true,
            first: first.map(String::from),
            last: last.map(String::from),
        };
        let forwards = |after: Option<&str>| Paging::Forwards { after: after.map(String::from) };
        let backwards = |before: Option<&str>| Paging::Backwards { before: before.map(String::from) };
        for (page, paging, next) in [
            (page(false, Some("a"), Some("b")), forwards(None), Some(forwards(Some("b")))),
            (page(false, Some("a"), Some("b")), forwards(Some("b")), None),
            (page(true, Some("a"), Some("b")), forwards(None), None),
            (page(false, None, None), forwards(Some("b")), None),
            (page(false, Some("a"), Some("b")), backwards(None), Some(backwards(Some("a")))),
            (page(false, Some("a"), Some("b")), backwards(Some("a")), None),
        ] {
            assert_eq!(page.next(&paging), next, "{page:?} {paging:?}");
        }
    }
}
