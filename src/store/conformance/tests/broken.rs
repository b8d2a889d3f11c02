//! A memory store that is broken in one chosen way: it spoils batches on their way in, or answers on their way out.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use jid::{BareJid, Jid};

use crate::error::{Error, ErrorKind, Result};
use crate::store::{
    AccountStore, Applied, ArchiveCursor, Batch, Change, Conversation, Cursor, Direction, Feed, FeedItem, GapRecord, IdentityKey,
    LogId, LoggedMessage, MemoryStore, MessageFlags, MessageKind, MessagePage, MessageQuery, MessageRecord, NewMessage,
    OutboxEntry, PageFrom, Place, Position, Roster, Row, RowChange, Secret, SentUpdate, Store, StoredSession, StoredXml,
};

/// The ways to be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    SharesAnOpenAccount,
    NeverReleases,
    OneAccountForAll,
    DeletesNothing,
    DeletesWhatIsOpen,
    ClaimsAnotherVersion,
    ForgetsOnClosing,
    ChangeByChange,
    SkipsTheUnknown,
    CallsItAnotherError,
    MadeWhenPolled,
    HalfMadeWhenDropped,
    MadeBackwards,
    DropsField(u8),
    WholeSeconds,
    UsesIdsAgain,
    NeverMarks,
    ClearsAllMarks,
    KeepsContent,
    KeepsText,
    OrdersByArrival,
    NewestFirst,
    PageOverlaps,
    AlwaysMore,
    NeverMore,
    PageNeedsItsMessage,
    OrdersByStamp,
    IgnoresFilter(u8),
    FiltersThePage,
    FindsWholeWords,
    CaseMatters,
    FindsPhrases,
    WordsArePatterns,
    FindsIdsAnywhere,
    FindsOneKindOfId,
    ListsReceipts,
    ListsByName,
    NeverUnread,
    NoDuplicates,
    OneKeyForAll,
    CopyAddsNothing,
    CopyReplaces,
    OnlyFirstKey,
    CopyTeachesNoKey,
    LastKeyDecides,
    BatchIsBlindToItself,
    SimilarIsEnough,
    SimilarIsNothing,
    RemovedComesBack,
    CountsCopies,
    FeedsHistory,
    FeedIgnoresItsStart,
    FeedIgnoresItsLimit,
    FeedBackwards,
    HoldsNothing,
    ReleasesAll,
    ReleasesNothing,
    NeverRaises,
    LowersTheFeed,
    NotesNoGap,
    FillsNoGap,
    RemovalIsALoss,
    LosesInSilence,
    PrunesHeld,
    PrunesNothing,
    CursorMovesBack,
    CursorForgetsAbove,
    CursorOverflows,
    OneArchive,
    OutboxBackwards,
    ForgetsTheNumber,
    NeverSettles,
    SettledIsForgotten,
    LastRecordWins,
    SendsAnIdTwice,
    DropsWhenFull,
    HidesTheRecord,
    CountsNothing,
    ForgetsWhatIsAbove,
    SessionRowsStay,
    NumbersStay,
    RosterOnlyGrows,
    RosterVersionStays,
    CapsIgnoreCase,
    PrefixIsIgnored,
    NamespacesIgnoreCase,
    RowsBackwards,
    RowsIgnoreTheirLimit,
    PrefixIsAPattern,
    KeepsOnlyText,
    TrimsKeys,
    DeletesOneRow,
    DeletesTheSchema,
    SchemaAtOnce,
    ShortPages,
}

use Fault::*;

/// Says that it is persistent, which a memory store behind it is as long as this value lives.
#[derive(Debug, Clone)]
pub(super) struct BrokenStore {
    inner: MemoryStore,
    fault: Option<Fault>,
    open: Arc<Mutex<HashMap<BareJid, Weak<dyn AccountStore>>>>,
    held: Arc<Mutex<Vec<Arc<dyn AccountStore>>>>,
}

#[derive(Debug)]
struct BrokenAccount {
    jid: BareJid,
    inner: Arc<dyn AccountStore>,
    fault: Option<Fault>,
    removals: AtomicU64,
    removed: Mutex<Vec<Position>>,
}

impl BrokenStore {
    pub(super) fn new(inner: MemoryStore, fault: Option<Fault>) -> Self {
        Self { inner, fault, open: Arc::default(), held: Arc::default() }
    }

    pub(super) fn reopen(&self) -> Self {
        let mut store = self.clone();
        if self.fault == Some(ForgetsOnClosing) {
            store.inner = MemoryStore::new();
        }
        store
    }

    fn open(&self, account: &BareJid) -> Result<Arc<dyn AccountStore>> {
        let one: BareJid = "one@for.all".parse().expect("a JID");
        let name = if self.fault == Some(OneAccountForAll) { &one } else { account };
        let mut open = self.open.lock().expect("lock");
        let shared = matches!(self.fault, Some(SharesAnOpenAccount | OneAccountForAll));
        let inner = match open.get(name).and_then(Weak::upgrade).filter(|_| shared) {
            Some(inner) => inner,
            None => now(self.inner.open_account(name))?,
        };
        open.insert(name.clone(), Arc::downgrade(&inner));
        if self.fault == Some(NeverReleases) {
            self.held.lock().expect("lock").push(inner.clone());
        }
        let (removals, removed) = (AtomicU64::new(0), Mutex::default());
        Ok(Arc::new(BrokenAccount { jid: account.clone(), inner, fault: self.fault, removals, removed }))
    }
}

/// What a memory store answers, it answers at once.
fn now<T>(future: BoxFuture<'_, T>) -> T {
    future.now_or_never().expect("a memory store does not wait")
}

impl Store for BrokenStore {
    fn persistent(&self) -> bool {
        true
    }

    fn version(&self) -> u32 {
        if self.fault == Some(ClaimsAnotherVersion) { crate::store::VERSION + 1 } else { self.inner.version() }
    }

    fn open_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<Arc<dyn AccountStore>>> {
        ready(self.open(account)).boxed()
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<BareJid>>> {
        self.inner.accounts()
    }

    fn delete_account<'a>(&'a self, account: &'a BareJid) -> BoxFuture<'a, Result<()>> {
        match self.fault {
            Some(DeletesNothing) if self.open.lock().expect("lock").get(account).is_none_or(|a| a.strong_count() == 0) => {
                ready(Ok(())).boxed()
            }
            Some(DeletesWhatIsOpen) => self.inner.delete_account(account).map(|_| Ok(())).boxed(),
            _ => self.inner.delete_account(account),
        }
    }
}

impl BrokenAccount {
    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn known(&self, message: &NewMessage) -> Option<LoggedMessage> {
        message.keys().iter().find_map(|key| now(self.inner.find(key)).expect("find"))
    }

    fn every_message(&self) -> Vec<LoggedMessage> {
        now(self.inner.messages(&MessageQuery::new().limit(usize::MAX))).expect("messages").messages
    }

    /// The batch, spoilt.
    fn spoil(&self, batch: Batch) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut keys_before: Vec<IdentityKey> = Vec::new();
        for change in batch.into_changes() {
            match change {
                Change::Append(mut message) => {
                    let keys = message.keys().into_owned();
                    let before = self.spoil_message(&mut message, &keys_before);
                    changes.push(Change::Append(message));
                    changes.extend(before);
                    keys_before.extend(keys.iter());
                }
                change => self.spoil_change(change, &mut changes),
            }
        }
        if self.is(MadeBackwards) {
            changes.reverse();
        }
        changes
    }

    fn spoil_message(&self, message: &mut NewMessage, keys_before: &[IdentityKey]) -> Vec<Change> {
        let mut more = Vec::new();
        let Some(fault) = self.fault else { return more };
        let known = self.known(message);
        let mut keys = message.keys().into_owned();
        let record = &mut message.record;
        match fault {
            DropsField(0) => record.from = None,
            DropsField(1) => record.id = None,
            DropsField(2) => record.origin_id = None,
            DropsField(3) => record.archive_ids.truncate(1),
            DropsField(4) => record.kind = MessageKind::Chat,
            DropsField(5) => record.flags = MessageFlags::from_bits(record.flags.bits() & 0xFFFF),
            DropsField(6) => record.direction = Direction::Incoming,
            DropsField(7) => record.received = record.stamp,
            DropsField(8) => record.xml = StoredXml::new(record.xml.as_str().replace("&amp;", "&")),
            WholeSeconds => (record.stamp, record.received) = (whole(record.stamp), whole(record.received)),
            OrdersByArrival => message.order = None,
            OrdersByStamp => message.order = message.order.or(Some(Place::order_of(record.stamp))),
            ListsReceipts => record.text = Some(record.text.take().unwrap_or_else(|| "".into())),
            NoDuplicates => keys.retain(|_| false),
            OneKeyForAll => keys.iter_mut().for_each(|key| *key = IdentityKey::from_bytes([0; 16], key.is_exact())),
            CopyAddsNothing if known.is_some() => {
                (record.archive_ids, record.flags, record.origin_id) = (Vec::new(), MessageFlags::NONE, None);
            }
            CopyReplaces => {
                let replace =
                    |m: LoggedMessage| Change::SetContent { id: m.log_id, xml: record.xml.clone(), text: record.text.clone() };
                more.extend(known.map(replace));
            }
            OnlyFirstKey => keys = keys.iter().copied().take(1).collect(),
            CopyTeachesNoKey if known.is_some() => {
                keys.retain(|key| now(self.inner.find(key)).expect("find").is_some());
            }
            LastKeyDecides => keys.reverse(),
            BatchIsBlindToItself => keys.retain(|key| !keys_before.contains(key)),
            SimilarIsEnough => {
                keys.iter_mut().for_each(|key| *key = IdentityKey::from_bytes(*key.as_bytes(), true));
            }
            SimilarIsNothing => keys.retain(IdentityKey::is_exact),
            RemovedComesBack => {
                let salt = self.removals.load(Ordering::Relaxed) as u8;
                for key in keys.iter_mut() {
                    let mut bytes = *key.as_bytes();
                    bytes[0] ^= salt;
                    *key = IdentityKey::from_bytes(bytes, key.is_exact());
                }
            }
            CountsCopies => more.extend(mem::take(&mut message.when_new).into_iter().map(Change::Row)),
            FeedsHistory if message.feed == Feed::History => message.feed = Feed::Deliver,
            HoldsNothing if message.feed == Feed::Hold => message.feed = Feed::Deliver,
            NeverRaises if known.is_some() => message.feed = Feed::History,
            LowersTheFeed => {
                let lower = known.filter(|known| message.feed < known.feed);
                more.extend(lower.map(|known| Change::RemoveMessage(known.log_id)));
            }
            _ => {}
        }
        message.set_keys(keys);
        more
    }

    fn spoil_change(&self, change: Change, changes: &mut Vec<Change>) {
        let Some(fault) = self.fault else { return changes.push(change) };
        let spoilt = match (fault, change) {
            (SkipsTheUnknown, Change::Unknown)
            | (NeverMarks, Change::SetFlags { .. })
            | (KeepsContent, Change::SetContent { .. })
            | (ReleasesNothing, Change::Release(_))
            | (NotesNoGap, Change::Gap(_))
            | (FillsNoGap, Change::FillGap(_))
            | (PrunesNothing, Change::Prune(_))
            | (CountsNothing, Change::Handled { .. }) => return,
            (ClearsAllMarks, Change::SetFlags { id, set, .. }) => {
                Change::SetFlags { id, set, clear: MessageFlags::from_bits(u32::MAX) }
            }
            (KeepsText, Change::SetContent { id, xml, .. }) => {
                let text = now(self.inner.message(id)).expect("message").and_then(|m| m.text.clone());
                Change::SetContent { id, xml, text }
            }
            (RemovedComesBack | UsesIdsAgain | RemovalIsALoss, Change::RemoveMessage(id)) => {
                let position = now(self.inner.message(id)).expect("message").and_then(|m| m.position);
                self.removed.lock().expect("lock").extend(position);
                self.removals.fetch_add(1, Ordering::Relaxed);
                Change::RemoveMessage(id)
            }
            (ReleasesAll, Change::Release(_)) => Change::Release(None),
            (PrunesHeld, Change::Prune(before)) => {
                let held = self.every_message().into_iter().filter(|m| m.feed == Feed::Hold && m.received < before);
                changes.extend(held.map(|m| Change::RemoveMessage(m.log_id)));
                Change::Prune(before)
            }
            (CursorMovesBack, Change::Acknowledge { name, through, above }) => {
                changes.push(Change::RemoveCursor(name.clone()));
                Change::Acknowledge { name, through, above }
            }
            (CursorForgetsAbove, Change::Acknowledge { name, through, .. }) => {
                Change::Acknowledge { name, through, above: Vec::new() }
            }
            (OneArchive, Change::ArchiveCursor(_, cursor)) => Change::ArchiveCursor(self.jid.clone(), cursor),
            (ForgetsTheNumber, Change::UpdateSent(mut update)) => {
                update.number = None;
                Change::UpdateSent(update)
            }
            (NeverSettles, Change::UpdateSent(mut update)) => {
                update.settled = false;
                Change::UpdateSent(update)
            }
            (SettledIsForgotten, Change::UpdateSent(update)) if update.settled => Change::ForgetSent(update.id),
            (LastRecordWins, Change::UpdateSent(update)) => match now(self.inner.sent(&update.id)).expect("sent") {
                Some(mut entry) => {
                    let mut status = update.status.clone();
                    status.merge(&entry.status);
                    entry.status = Arc::new(status);
                    changes.push(Change::ForgetSent(update.id.clone()));
                    changes.push(Change::Send(Box::new(entry)));
                    Change::UpdateSent(update)
                }
                None => Change::UpdateSent(update),
            },
            (SendsAnIdTwice, Change::Send(entry)) => {
                changes.push(Change::ForgetSent(entry.id.clone()));
                Change::Send(entry)
            }
            (ForgetsWhatIsAbove, Change::Handled { h, now, .. }) => Change::Handled { h, above: Vec::new(), now },
            (SessionRowsStay, Change::SessionRow(mut row)) => {
                row.namespace = format!("session {}", row.namespace).into();
                Change::Row(row)
            }
            (NumbersStay, change @ (Change::ForgetNumbers | Change::EndSession | Change::Session { .. })) => {
                changes.push(change);
                for entry in now(self.inner.outbox(0, usize::MAX)).expect("outbox") {
                    let mut update = SentUpdate::new(entry.id);
                    update.number = entry.number;
                    changes.push(Change::UpdateSent(Box::new(update)));
                }
                return;
            }
            (RosterOnlyGrows, Change::ReplaceRoster { version, items }) => {
                let put = |(jid, item)| Change::PutContact { jid, item, version: version.clone() };
                return changes.extend(items.into_iter().map(put));
            }
            (RosterVersionStays, Change::PutContact { jid, item, .. }) => Change::PutContact { jid, item, version: None },
            (CapsIgnoreCase, Change::PutCaps { key, info, now }) => Change::PutCaps { key: key.to_lowercase(), info, now },
            (NamespacesIgnoreCase, Change::Row(mut row)) => {
                row.namespace = row.namespace.to_lowercase().into();
                Change::Row(row)
            }
            (NamespacesIgnoreCase, Change::DeleteRows { namespace, prefix }) => {
                Change::DeleteRows { namespace: namespace.to_lowercase().into(), prefix }
            }
            (KeepsOnlyText, Change::Row(RowChange { namespace, key, value: Some(value) })) => {
                Change::Row(RowChange::put(namespace, key, String::from_utf8_lossy(&value).into_owned()))
            }
            (TrimsKeys, Change::Row(mut row)) => {
                row.key = row.key.trim().to_owned();
                Change::Row(row)
            }
            (DeletesOneRow, Change::DeleteRows { namespace, prefix }) => Change::Row(RowChange::delete(namespace, prefix)),
            (DeletesTheSchema, Change::DeleteRows { namespace, prefix }) => {
                changes.push(Change::Schema { namespace: namespace.clone(), version: 0 });
                Change::DeleteRows { namespace, prefix }
            }
            (SchemaAtOnce, Change::Schema { namespace, version }) => {
                now(self.inner.apply(Batch::new().schema(namespace, version))).expect("schema");
                return;
            }
            (_, change) => change,
        };
        changes.push(spoilt);
    }

    /// The query, spoilt, and what is left to filter by.
    fn spoil_query(&self, query: &MessageQuery) -> (MessageQuery, Option<MessageQuery>) {
        let mut spoilt = query.clone();
        let mut rest = None;
        match self.fault {
            Some(IgnoresFilter(0)) => spoilt.conversation = None,
            Some(IgnoresFilter(1)) => spoilt.sender = None,
            Some(IgnoresFilter(2)) => spoilt.direction = None,
            Some(IgnoresFilter(3)) => spoilt.kinds.truncate(1),
            Some(IgnoresFilter(4)) => spoilt.since = spoilt.since.map(|t| t + Duration::from_micros(1)),
            Some(IgnoresFilter(5)) => spoilt.until = spoilt.until.map(|t| t + Duration::from_micros(1)),
            Some(IgnoresFilter(6)) => spoilt.with_flags = MessageFlags::NONE,
            Some(IgnoresFilter(7)) => spoilt.without_flags = MessageFlags::NONE,
            Some(PageOverlaps) => {
                if let PageFrom::Before(place) = query.page {
                    spoilt.page = PageFrom::Before(Place::new(place.order, LogId::new(place.id.get() + 1)));
                }
            }
            Some(FiltersThePage) => {
                spoilt = MessageQuery::new().limit(query.limit);
                spoilt.page = query.page;
                rest = Some(query.clone());
            }
            Some(FindsWholeWords | CaseMatters | FindsPhrases | WordsArePatterns) => spoilt.text = None,
            _ => {}
        }
        (spoilt, rest)
    }

    fn finds(&self, words: &str, record: &MessageRecord) -> bool {
        let text = record.text.as_deref().unwrap_or_default();
        let (lower, mut words_of) = (text.to_lowercase(), words.split_whitespace());
        match self.fault {
            Some(FindsWholeWords) => {
                words_of.all(|word| lower.split(|c: char| !c.is_alphanumeric()).any(|t| t == word.to_lowercase()))
            }
            Some(CaseMatters) => words_of.all(|word| text.contains(word)),
            Some(FindsPhrases) => lower.contains(&words.trim().to_lowercase()),
            Some(WordsArePatterns) => words_of.all(|word| word.to_lowercase().split('%').all(|part| lower.contains(part))),
            _ => true,
        }
    }

    fn namespace(&self, namespace: &str) -> String {
        if self.is(NamespacesIgnoreCase) { namespace.to_lowercase() } else { namespace.to_owned() }
    }
}

fn whole(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs())
}

impl AccountStore for BrokenAccount {
    fn account(&self) -> &BareJid {
        &self.jid
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied>> {
        let mut changes = self.spoil(batch);
        match self.fault {
            Some(ChangeByChange) => {
                let mut all = Applied::default();
                for change in changes {
                    match now(self.inner.apply([change].into_iter().collect())) {
                        Ok(applied) => {
                            all.head = applied.head;
                            all.appended.extend(applied.appended);
                            all.gaps.extend(applied.gaps);
                        }
                        Err(error) => return ready(Err(error)).boxed(),
                    }
                }
                ready(Ok(all)).boxed()
            }
            Some(MadeWhenPolled) => async move { self.inner.apply(changes.into_iter().collect()).await }.boxed(),
            Some(HalfMadeWhenDropped) if changes.len() > 1 => {
                let second = changes.split_off(changes.len() / 2);
                let first = now(self.inner.apply(changes.into_iter().collect()));
                async move {
                    let mut all = first?;
                    let rest = self.inner.apply(second.into_iter().collect()).await?;
                    all.appended.extend(rest.appended);
                    Ok(all)
                }
                .boxed()
            }
            _ => ready(self.answer(now(self.inner.apply(changes.into_iter().collect())))).boxed(),
        }
    }

    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>>> {
        let after = if self.is(FeedIgnoresItsStart) { Position::START } else { after };
        let limit = if self.is(FeedIgnoresItsLimit) { usize::MAX } else { limit };
        let mut items = now(self.inner.feed(after, limit)).expect("feed");
        match self.fault {
            Some(FeedBackwards) => items.reverse(),
            Some(LosesInSilence) => items.retain(|item| !matches!(item, FeedItem::Lost { .. })),
            Some(RemovalIsALoss) => {
                items.extend(self.removed.lock().expect("lock").iter().map(|p| FeedItem::lost(*p, *p)));
                items.sort_by_key(FeedItem::position);
            }
            _ => {}
        }
        ready(Ok(items)).boxed()
    }

    fn feed_head(&self) -> BoxFuture<'_, Result<Position>> {
        self.inner.feed_head()
    }

    fn message(&self, id: LogId) -> BoxFuture<'_, Result<Option<LoggedMessage>>> {
        let hides = self.is(HidesTheRecord);
        let hide = move |mut message: LoggedMessage| {
            message.status = message.status.filter(|_| !hides);
            message
        };
        self.inner.message(id).map(move |found| found.map(|message| message.map(hide))).boxed()
    }

    fn find<'a>(&'a self, key: &'a IdentityKey) -> BoxFuture<'a, Result<Option<LoggedMessage>>> {
        self.inner.find(key)
    }

    fn messages_with_id<'a>(&'a self, conversation: &'a Jid, id: &'a str) -> BoxFuture<'a, Result<Vec<LoggedMessage>>> {
        match self.fault {
            Some(FindsIdsAnywhere) => {
                let mut found = self.every_message();
                found.retain(|m| m.id.as_deref() == Some(id) || m.origin_id.as_deref() == Some(id));
                ready(Ok(found)).boxed()
            }
            Some(FindsOneKindOfId) => {
                let mut found = now(self.inner.messages_with_id(conversation, id)).expect("messages");
                found.retain(|m| m.record.id.as_deref() == Some(id));
                ready(Ok(found)).boxed()
            }
            _ => self.inner.messages_with_id(conversation, id),
        }
    }

    fn messages<'a>(&'a self, query: &'a MessageQuery) -> BoxFuture<'a, Result<MessagePage>> {
        let (spoilt, rest) = self.spoil_query(query);
        let mut page = now(self.inner.messages(&spoilt)).expect("messages");
        page.messages.retain(|message| rest.as_ref().is_none_or(|rest| rest.matches(message)));
        if let Some(words) = &query.text {
            page.messages.retain(|message| self.finds(words, message));
        }
        match self.fault {
            Some(NewestFirst) => page.messages.reverse(),
            Some(AlwaysMore) => page.more = true,
            Some(NeverMore) => page.more = false,
            Some(PageNeedsItsMessage) => {
                let from = match query.page {
                    PageFrom::Before(place) | PageFrom::After(place) => Some(place.id),
                    _ => None,
                };
                if from.is_some_and(|id| now(self.inner.message(id)).expect("message").is_none()) {
                    page.messages.clear();
                }
            }
            _ => {}
        }
        ready(Ok(page)).boxed()
    }

    fn conversations(&self, after: Option<Place>, limit: usize) -> BoxFuture<'_, Result<Vec<Conversation>>> {
        let mut found = now(self.inner.conversations(after, limit)).expect("conversations");
        match self.fault {
            Some(ListsByName) => found.sort_by(|a, b| a.jid.cmp(&b.jid)),
            Some(NeverUnread) => found.iter_mut().for_each(|conversation| conversation.unread = 0),
            _ => {}
        }
        ready(Ok(found)).boxed()
    }

    fn cursor<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>>> {
        self.inner.cursor(name)
    }

    fn cursors(&self) -> BoxFuture<'_, Result<Vec<(String, Cursor)>>> {
        self.inner.cursors()
    }

    fn archive_cursor<'a>(&'a self, archive: &'a BareJid) -> BoxFuture<'a, Result<Option<ArchiveCursor>>> {
        self.inner.archive_cursor(if self.is(OneArchive) { &self.jid } else { archive })
    }

    fn gaps(&self) -> BoxFuture<'_, Result<Vec<(Position, GapRecord)>>> {
        self.inner.gaps()
    }

    fn outbox(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxEntry>>> {
        let mut entries = now(self.inner.outbox(after, limit)).expect("outbox");
        if self.is(OutboxBackwards) {
            entries.reverse();
        }
        ready(Ok(entries)).boxed()
    }

    fn sent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<OutboxEntry>>> {
        self.inner.sent(id)
    }

    fn session(&self) -> BoxFuture<'_, Result<Option<StoredSession>>> {
        self.inner.session()
    }

    fn session_rows<'a>(&'a self, namespace: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Row>>> {
        if self.is(SessionRowsStay) {
            let rows = now(self.inner.extension_rows(&format!("session {namespace}"), prefix, None, usize::MAX));
            return ready(rows).boxed();
        }
        self.inner.session_rows(namespace, prefix)
    }

    fn roster(&self) -> BoxFuture<'_, Result<Roster>> {
        self.inner.roster()
    }

    fn caps<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(StoredXml, SystemTime)>>> {
        let key = if self.is(CapsIgnoreCase) { key.to_lowercase() } else { key.to_owned() };
        ready(now(self.inner.caps(&key))).boxed()
    }

    fn credential<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Secret>>> {
        self.inner.credential(name)
    }

    fn credentials<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Secret)>>> {
        self.inner.credentials(if self.is(PrefixIsIgnored) { "" } else { prefix })
    }

    fn extension_row<'a>(&'a self, namespace: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        let key = if self.is(TrimsKeys) { key.trim() } else { key };
        ready(now(self.inner.extension_row(&self.namespace(namespace), key))).boxed()
    }

    fn extension_rows<'a>(
        &'a self,
        namespace: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>>> {
        let limit = match self.fault {
            Some(ShortPages) => limit.min(500),
            Some(RowsIgnoreTheirLimit) => usize::MAX,
            _ => limit,
        };
        let (namespace, pattern) = (self.namespace(namespace), self.is(PrefixIsAPattern) && prefix.ends_with('_'));
        let mut rows = now(self.inner.extension_rows(&namespace, if pattern { "" } else { prefix }, after, limit)).expect("rows");
        if pattern {
            rows.retain(|(key, _)| key.len() >= prefix.len() && key.starts_with(&prefix[..prefix.len() - 1]));
        }
        if self.is(RowsBackwards) {
            rows.reverse();
        }
        ready(Ok(rows)).boxed()
    }

    fn extension_schema<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<u32>> {
        self.inner.extension_schema(namespace)
    }
}

impl BrokenAccount {
    /// The answer to a batch, spoilt.
    fn answer(&self, answer: Result<Applied>) -> Result<Applied> {
        match (self.fault, answer) {
            (Some(CallsItAnotherError), Err(error)) if *error.kind() == ErrorKind::StoreTooOld => {
                Err(Error::new(ErrorKind::Store))
            }
            (Some(CursorOverflows), Err(error)) if *error.kind() == ErrorKind::Store => Ok(Applied::default()),
            (Some(DropsWhenFull), Err(error)) if *error.kind() == ErrorKind::OutboxFull => Ok(Applied::default()),
            (Some(UsesIdsAgain), Ok(mut applied)) => {
                let removals = self.removals.load(Ordering::Relaxed);
                for appended in &mut applied.appended {
                    appended.id = LogId::new(appended.id.get() - removals);
                }
                Ok(applied)
            }
            (_, answer) => answer,
        }
    }
}
