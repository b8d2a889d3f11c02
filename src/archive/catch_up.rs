//! Fetching what came while there was no session (R16, R18, R19, R20).

use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt;

use super::by_time::{Settling, is_by_time, time_in_id, time_of_last};
use super::server::take_in;
use super::service::{Announced, ArchiveService, ArchiveSettings, BEGUN, HISTORY, Page, PageFuture, ROWS};
use super::wire::{self, Filter, Paging};
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::ext::{Ctx, Intake, Observe, SessionKind};
use crate::store::{ArchiveCursor, Batch, Feed, GapKind, GapRecord, IdentityKey, MessageQuery};
use crate::xml::format_datetime;

/// How far before the last known message a search by time begins, for clocks may differ (R18).
const OVERLAP: Duration = Duration::from_secs(600);
/// The same where the time is the archive's own.
const LATE: Duration = Duration::from_secs(10);
/// How often that is asked for anew at the end of several pages: messages may go on to come.
const PASSES: u32 = 3;
/// How often a page is asked for again that was cut, or that lacks a message that was there or was spoken of.
const TRIES: u32 = 3;
/// How long it takes until that, at first.
const PAUSE: Duration = Duration::from_millis(200);
/// A server that takes so long for a page has much to do.
const BUSY: Duration = Duration::from_secs(1);

/// How far a client has caught up with the archive of its account.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CatchUp {
    /// There is no session.
    Waiting,
    /// The archive is being asked.
    Running,
    /// Everything the archive had is in the log.
    Complete,
    /// The archive could not be asked, and this is why. There is a gap in the timeline until a later session fills it.
    Failed(Error),
    /// The server keeps no archive for the account.
    NoArchive,
    /// It is [switched off](ArchiveSettings::catch_up).
    Off,
}

impl Observe for CatchUp {
    type Change = Self;

    fn apply(&mut self, change: &Self) {
        self.clone_from(change);
    }
}

/// What the session's messages are to the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// No session, or one of which it is not known yet what there is to do: what arrives is held where there may be something
    /// older, for an earlier process may have left messages that are held.
    #[default]
    Undecided,
    /// A session that does not look at the archive; live ids say nothing.
    Idle,
    /// The first session of all: the newest page is still to be fetched.
    First,
    /// What is older than the session is being fetched: what arrives is held.
    CatchingUp,
    /// There is no hole between the cursor and what arrives.
    UpToDate,
}

impl ArchiveService {
    pub(super) fn show(&self, state: CatchUp) {
        let same = |shown: &CatchUp| std::mem::discriminant(shown) == std::mem::discriminant(&state);
        self.state.update(|shown| ((), (!same(shown)).then(|| state.clone())));
    }

    fn enter(&self, phase: Phase, state: CatchUp) {
        self.known().phase = phase;
        self.show(state);
    }

    /// Before presence: finds out what there is to do, and asks for the first page (R20). `was_cut` says that the session
    /// before was not closed.
    pub(super) async fn begin(&self, cx: &Ctx, was_cut: bool) -> Result<()> {
        if !catches_up(cx) {
            // What an earlier session held back waits for nothing any more.
            return self.let_go(cx, Batch::new(), CatchUp::Off).await;
        }
        let announced = match self.announced_by(&cx.client(), None).await {
            Ok(announced) => announced,
            Err(error) if error.is_session_over() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the account could not be asked whether it has an archive");
                Announced::default()
            }
        };
        if !announced.archive {
            return self.no_archive(cx, was_cut).await;
        }
        if self.begin_with_archive(&cx.client(), announced) == Phase::First {
            // What comes from now on is no history, should this session be cut before it knows where that ends.
            let now = SystemTime::now();
            cx.rows(ROWS).put(BEGUN, format_datetime(now)).await?;
            self.known().begun = Some(now);
        }
        Ok(())
    }

    fn begin_with_archive(&self, client: &Client, announced: Announced) -> Phase {
        let cursor = {
            let mut known = self.known();
            let begun = known.begun.map(|begun| ArchiveCursor::new(None, begun));
            known.cursor = known.cursor.take().or(begun);
            known.cursor.clone()
        };
        let Some(cursor) = cursor else {
            self.enter(Phase::First, CatchUp::Running);
            return Phase::First;
        };
        self.enter(Phase::CatchingUp, CatchUp::Running);
        let start = self.start(&cursor, Duration::ZERO);
        let after = if start.is_none() { cursor.last } else { None };
        let mut page: PageFuture = self.next_page(client, announced, after, start).boxed();
        // Polled once it is on its way, ahead of presence; the answer is read when the client is online.
        if let Some(done) = (&mut page).now_or_never() {
            page = std::future::ready(done).boxed();
        }
        let mut known = self.known();
        known.pending = Some((known.cuts, page));
        Phase::CatchingUp
    }

    fn next_page(
        &self,
        client: &Client,
        announced: Announced,
        after: Option<String>,
        start: Option<SystemTime>,
    ) -> impl Future<Output = Result<Page>> + Send + use<> {
        // Rooms have archives of their own.
        let filter = Filter { start, rooms: announced.tells_rooms.then_some(false), ..Filter::default() };
        self.ask(client, None, &filter, &Paging::Forwards { after }, self.page_size(client))
    }

    /// Without an archive offline storage is all there is, and what was on its way when a session was cut is gone (R20).
    async fn no_archive(&self, cx: &Ctx, was_cut: bool) -> Result<()> {
        if !was_cut {
            return self.let_go(cx, Batch::new(), CatchUp::NoArchive).await;
        }
        let newest = cx.store().messages(&MessageQuery::new().limit(1)).await?.messages.pop();
        let mut gap = GapRecord::new(GapKind::NoArchive);
        gap.since = newest.map(|message| message.stamp);
        gap.until = Some(SystemTime::now());
        self.let_go(cx, Batch::new().gap(gap), CatchUp::NoArchive).await
    }

    /// From now on nothing is held; what was is given its place, behind these changes.
    async fn let_go(&self, cx: &Ctx, changes: Batch, state: CatchUp) -> Result<()> {
        let service = self.clone();
        let intake = Intake::new().changes(changes.release(None)).committed(move || service.known().phase = Phase::Idle);
        let result = cx.take_in(intake).await.map(drop);
        self.enter(Phase::Idle, state);
        result
    }

    /// The connection is cut. ejabberd may bring what came meanwhile in another order when the session goes on: what was on its way
    /// to the old connection comes behind what is newer [V: 24.12, under load]. There what comes is held until the archive, which
    /// has the order, was asked.
    pub(super) fn cut(&self) {
        let mut known = self.known();
        known.cuts += 1;
        if known.phase == Phase::UpToDate && known.cursor.as_ref().is_some_and(is_by_time) {
            known.phase = Phase::CatchingUp;
        }
    }

    /// Online, or resumed: does what is left to do.
    pub(super) async fn go_on(&self, cx: &Ctx, kind: SessionKind) -> Result<()> {
        let phase = self.known().phase;
        match kind {
            SessionKind::Resumed if phase == Phase::CatchingUp => self.show(CatchUp::Running),
            SessionKind::Resumed if phase == Phase::Undecided && catches_up(cx) && self.is_by_time() => {
                self.enter(Phase::CatchingUp, CatchUp::Running);
            }
            // The earlier process that began this session had caught up.
            SessionKind::Resumed if phase == Phase::Undecided => self.let_go(cx, Batch::new(), self.state.get()).await?,
            // The login step was given up before it knew.
            _ if phase == Phase::Undecided => self.begin(cx, true).await?,
            _ => {}
        }
        self.work(cx).await;
        let (is_remembered, known) = {
            let known = self.known();
            (known.is_remembered, known.announced)
        };
        if !is_remembered {
            return Ok(());
        }
        let announced = self.learn(&cx.client()).await?;
        if announced.archive && !known.is_some_and(|known| known.archive) {
            tracing::info!("the account has an archive now");
            if matches!(self.state.get(), CatchUp::NoArchive) {
                self.begin_with_archive(&cx.client(), announced);
                self.work(cx).await;
            }
        }
        Ok(())
    }

    async fn work(&self, cx: &Ctx) {
        let (phase, pending) = {
            let mut known = self.known();
            (known.phase, known.pending.take())
        };
        let result = match phase {
            Phase::First => self.first_page(cx).await,
            Phase::CatchingUp => self.catch_up(cx, pending).await,
            Phase::Undecided | Phase::Idle | Phase::UpToDate => return,
        };
        match result {
            Ok(()) => {}
            // The session after this one goes on from the last page that was stored.
            Err(error) if error.is_session_over() => tracing::debug!(%error, "the session ended while it caught up"),
            Err(error) => self.failed(cx, error).await,
        }
    }

    /// The newest page, as history (R19).
    async fn first_page(&self, cx: &Ctx) -> Result<()> {
        let settings = cx.setting::<ArchiveSettings>();
        // A page of one says where the archive ends, if nothing of it is wanted.
        let wanted = settings.map_or(0, |settings| settings.first_page);
        let paging = Paging::Backwards { before: None };
        let cuts = self.known().cuts;
        let mut page = self.ask(&cx.client(), None, &Filter::default(), &paging, wanted.max(1)).await?;
        let stamp = page.results.iter().rev().find_map(|result| result.stamp);
        let mut cursor = ArchiveCursor::new(page.last.clone(), stamp.unwrap_or_else(SystemTime::now));
        cursor.reached_start = page.complete && wanted > 0;
        cursor.first = page.first.clone();
        if wanted == 0 {
            page.results.clear();
        }
        let changes = Batch::new().archive_cursor(cx.account().clone(), cursor.clone());
        if let Some(last) = &page.last {
            cx.rows(ROWS).put(HISTORY, last.as_str()).await?;
            self.known().history = Some(last.clone());
        }
        let service = self.clone();
        let intake = Intake::new().committed(move || service.switch(cursor, Some(cuts)));
        take_in(&cx.client(), cx.account(), page, intake, changes).await?;
        self.show(CatchUp::Complete);
        Ok(())
    }

    /// From the cursor on, page by page, until there is no more (R18).
    async fn catch_up(&self, cx: &Ctx, mut pending: Option<(u64, PageFuture)>) -> Result<()> {
        let client = cx.client();
        let announced = self.known().announced.unwrap_or_default();
        let cursor = self.known().cursor.clone();
        let (mut start, mut expired) = (cursor.and_then(|cursor| self.start(&cursor, Duration::ZERO)), false);
        let mut order = self.order_of_last(cx).await?;
        let (mut pages, mut passes) = (0, 0);
        let (mut cut_pages, mut tries, mut expirations) = (0, 0, 0);
        // The page before said that there is more.
        let mut expects_more = false;
        let mut settling = Settling::default();
        // Of this look at the archive.
        let mut began = Instant::now();
        // How far was read; the cursor is how far is in the store.
        let mut reached: Option<ArchiveCursor> = None;
        loop {
            let Some(cursor) = self.known().cursor.clone() else { return Ok(()) };
            let read = reached.clone().unwrap_or_else(|| cursor.clone());
            let after = if start.is_none() { read.last.clone() } else { None };
            let (asked, asked_at) = (after.clone(), Instant::now());
            let before_page = self.known().cuts;
            let (cuts, page) = match pending.take() {
                Some((cuts, page)) => (cuts, page.await),
                None => (before_page, self.next_page(&client, announced, after, start).await),
            };
            // What was on its way to the old connection comes behind the rest of the page, and behind its end.
            let was_cut = self.known().cuts != cuts;
            let is_suspect = page.as_ref().map_or_else(Error::is_timeout, |_| true);
            if was_cut && is_suspect && is_by_time(&cursor) && cut_pages < TRIES {
                tracing::debug!("the connection was cut while a page of the archive came; it is asked for again");
                cut_pages += 1;
                continue;
            }
            let mut page = match page {
                // Once is what happens; an archive that knows none of the ids it gave would be asked for ever.
                Err(error) if start.is_none() && asked.is_some() && is_item_not_found(&error) && expirations < TRIES => {
                    expirations += 1;
                    tracing::info!("the archive no longer knows the last message; what follows is asked for by its time");
                    (start, expired, reached) = (Some(before(cursor.stamp, OVERLAP)), true, None);
                    continue;
                }
                page => page?,
            };
            // It was asked for from before a message that was there. ejabberd says now and then that there is nothing [V: 23.01, under
            // load]; else the message is gone, and others may be with it.
            let last = time_of_last(&read);
            let asked_for_last = start.is_some_and(|start| last.is_some_and(|last| start <= last)) && !announced.tells_rooms;
            let lacks_last = page.results.first().is_none_or(|first| time_in_id(&first.id) > last);
            if asked_for_last && lacks_last && !expired {
                if tries < TRIES {
                    tracing::debug!("the archive did not give its last known message; it is asked again");
                    tries += 1;
                    tokio::time::sleep(PAUSE * tries).await;
                    continue;
                }
                tracing::info!("the archive no longer has the last message");
                expired = true;
            }
            // Nor is there nothing where the page before said that there is more [V: 24.12, under load].
            if expects_more && page.results.is_empty() && is_by_time(&cursor) && tries < TRIES {
                tracing::debug!("the archive did not give what it said that there is; it is asked again");
                tries += 1;
                tokio::time::sleep(PAUSE * tries).await;
                continue;
            }
            if let Some(start) = start.filter(|_| !expired && is_by_time(&cursor)) {
                // A server may know seconds alone. What the first page had is history, and stays it.
                let history = self.end_of_history();
                page.results.retain(|result| {
                    time_in_id(&result.id).is_none_or(|time| time >= start && history.is_none_or(|end| time > end))
                });
            }
            (cut_pages, tries) = (0, 0);
            let gap = if std::mem::take(&mut expired) { self.hole(cx, &cursor, &page).await? } else { None };
            let next = self.after(&read, &page);
            pages += 1;
            let has_next = page.next(&Paging::Forwards { after: asked }).is_some();
            // What came after a cut, while several pages were read, or on a server that is busy, may stand before this page's end.
            let is_busy = pages > 1 || asked_at.elapsed() >= BUSY;
            let anew = is_by_time(&next) && (was_cut || (!has_next && is_busy && passes < PASSES));
            if anew {
                (pages, passes) = (0, passes + 1);
            }
            expects_more = has_next && !anew;
            // Where the first page was read something may have come since; that is as long ago as this look has taken.
            start = if anew { self.start(&next, began.elapsed()) } else { None };
            let goes_on = has_next || anew;
            let next = if is_by_time(&next) {
                page.results = settling.settle(std::mem::take(&mut page.results), began.elapsed(), !goes_on);
                let last = page.results.last().filter(|last| time_in_id(&last.id) > time_of_last(&cursor));
                reached = Some(next.clone());
                match last {
                    _ if !goes_on => next,
                    Some(last) => wire::moved(&cursor, Some(&last.id), last.stamp),
                    None => cursor.clone(),
                }
            } else {
                next
            };
            if anew {
                began = Instant::now();
            }
            let mut changes = Batch::new();
            if next != cursor {
                changes = changes.archive_cursor(cx.account().clone(), next.clone());
            }
            if !goes_on {
                changes = self.filled(cx).await?.into_iter().fold(changes, Batch::fill_gap).release(None);
            }
            if let Some(gap) = gap {
                // Ahead of what stands behind it.
                cx.commit(Batch::new().gap(gap)).await?;
            }
            let service = self.clone();
            let switch = move || service.switch(next, (!goes_on).then_some(cuts));
            let intake = Intake::new().feed(Feed::Deliver).after(order).committed(switch);
            let taken = take_in(&client, cx.account(), page, intake, changes).await?;
            order = taken.last().map(|taken| taken.order).or(order);
            if goes_on {
                continue;
            }
            let (phase, cursor) = {
                let known = self.known();
                (known.phase, known.cursor.clone())
            };
            if phase != Phase::CatchingUp {
                self.show(CatchUp::Complete);
                return Ok(());
            }
            // The connection was cut after the last page had come.
            (start, reached, pages) = (cursor.and_then(|cursor| self.start(&cursor, began.elapsed())), None, 0);
            began = Instant::now();
        }
    }

    /// Where a search begins that does not begin behind the cursor's id: there is none, for the first session was cut before it had
    /// one; or it is an id of [`time_in_id`], and the search begins so much `earlier` than a little before it.
    fn start(&self, cursor: &ArchiveCursor, earlier: Duration) -> Option<SystemTime> {
        match &cursor.last {
            Some(last) => time_in_id(last)
                .map(|time| before(time, LATE + earlier).max(self.end_of_history().unwrap_or(SystemTime::UNIX_EPOCH))),
            None => self.known().begun.map(|begun| before(begun, OVERLAP)),
        }
    }

    /// The time of the last message that the first session took as history.
    fn end_of_history(&self) -> Option<SystemTime> {
        self.known().history.as_deref().and_then(time_in_id)
    }

    fn is_by_time(&self) -> bool {
        self.known().cursor.as_ref().is_some_and(is_by_time)
    }

    /// The key in the timeline of the message behind which the catch-up goes on.
    async fn order_of_last(&self, cx: &Ctx) -> Result<Option<i64>> {
        let last = self.known().cursor.as_ref().and_then(|cursor| cursor.last.clone());
        let Some(last) = last else { return Ok(None) };
        let known = cx.store().find(&IdentityKey::archive(cx.account(), &last)).await?;
        Ok(known.map(|known| known.order))
    }

    /// A page is stored: what arrives from now on is seen from there. The `last` page comes with how many cuts there had been when
    /// it was asked for.
    fn switch(&self, cursor: ArchiveCursor, last: Option<u64>) {
        let mut known = self.known();
        if known.phase == Phase::First || cursor.last.is_some() {
            known.begun = None;
        }
        let is_by_time = is_by_time(&cursor);
        known.cursor = Some(cursor);
        let is_last = last.is_some_and(|cuts| cuts == known.cuts || !is_by_time);
        if is_last && !matches!(known.phase, Phase::Undecided | Phase::Idle) {
            known.phase = Phase::UpToDate;
        }
    }

    /// The cursor behind a page. What an archive calls unstable may change, and is asked for again (XEP-0313 §4.3.2).
    fn after(&self, cursor: &ArchiveCursor, page: &Page) -> ArchiveCursor {
        if !page.stable {
            return cursor.clone();
        }
        let stamp = page.results.iter().rev().find_map(|result| result.stamp);
        wire::moved(cursor, page.last.as_deref(), stamp)
    }

    /// The hole before a page that was asked for by time, unless it begins with what is known.
    async fn hole(&self, cx: &Ctx, cursor: &ArchiveCursor, page: &Page) -> Result<Option<GapRecord>> {
        if let Some(first) = page.results.first()
            && cx.store().find(&IdentityKey::archive(cx.account(), &first.id)).await?.is_some()
        {
            return Ok(None);
        }
        let mut gap = GapRecord::new(GapKind::Expired);
        gap.archive = Some(cx.account().clone());
        gap.after.clone_from(&cursor.last);
        gap.before = page.results.first().map(|result| result.id.clone());
        gap.since = Some(cursor.stamp);
        gap.until = page.results.first().and_then(|result| result.stamp);
        let is_known = cx.store().gaps().await?.iter().any(|(_, known)| known.kind == gap.kind && known.after == gap.after);
        Ok((!is_known).then_some(gap))
    }

    /// The gaps that a complete catch-up fills.
    async fn filled(&self, cx: &Ctx) -> Result<Vec<crate::store::Position>> {
        let failed = |gap: &GapRecord| gap.kind == GapKind::CatchUpFailed && gap.archive.as_ref() == Some(cx.account());
        Ok(cx.store().gaps().await?.into_iter().filter(|(_, gap)| failed(gap)).map(|(position, _)| position).collect())
    }

    /// The catch-up ends without being complete: what was held back follows a gap (R16).
    async fn failed(&self, cx: &Ctx, error: Error) {
        tracing::warn!(%error, "the archive could not be read; messages may be missing until a later session");
        let cursor = self.known().cursor.clone();
        let mut changes = Batch::new();
        if let Some(cursor) = cursor {
            let mut gap = GapRecord::new(GapKind::CatchUpFailed);
            gap.archive = Some(cx.account().clone());
            (gap.after, gap.since, gap.until) = (cursor.last, Some(cursor.stamp), Some(SystemTime::now()));
            // One gap stands for it, however many sessions fail.
            let known = self.filled(cx).await.unwrap_or_default();
            changes = known.into_iter().fold(changes, Batch::fill_gap).gap(gap);
        }
        if let Err(error) = self.let_go(cx, changes, CatchUp::Failed(error)).await {
            tracing::error!(%error, "what was held back while the archive was read could not be released");
        }
    }
}

fn before(stamp: SystemTime, overlap: Duration) -> SystemTime {
    stamp.checked_sub(overlap).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn catches_up(cx: &Ctx) -> bool {
    cx.setting::<ArchiveSettings>().is_some_and(|settings| settings.catch_up)
}

pub(super) fn is_item_not_found(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "item-not-found")
}
