//! The message log and its feed, bounded.
//!
//! Log ids and positions come from one counter, so a message that is delivered at once has equal ones, and the age of
//! what is kept is one order: what stands in the feed by its position, what does not by its log id.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;
use jid::Jid;
use slab::Slab;

use super::known::{Identity, Known};
use super::outbox::Outbox;
use super::packed::{Packed, Slot};
use super::sorted::{Keyed, Sorted};
use crate::store::{
    Appended, Change, Conversation, Direction, Feed, FeedItem, GapRecord, IdentityKey, LogId, LoggedMessage, MessageFlags,
    MessagePage, MessageQuery, MessageRecord, NewMessage, PageFrom, Place, Position, RowChange, StoredJid, StoredText, StoredXml,
};

/// What a message costs beside its bytes, and what a gap does.
const OVERHEAD: usize = 256;

#[derive(Debug)]
pub(super) struct Log {
    counter: u64,
    head: Position,
    /// By their ids, which rise.
    messages: Sorted<Entry>,
    /// Messages that have no position, held and history.
    unfed: BTreeSet<LogId>,
    feed: Sorted<(Position, Fed)>,
    /// Ranges of positions that left by retention, first to last; their last is always one that did.
    lost: BTreeMap<Position, Position>,
    /// Where each stands among the timelines, by its name.
    conversations: HashMap<Arc<str>, usize>,
    timelines: Slab<Timeline>,
    known: Known,
    packed: Packed,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    id: LogId,
    order: i64,
    feed: Feed,
    position: Option<Position>,
    identity: Identity,
    /// Of its conversation.
    timeline: usize,
    received: SystemTime,
    flags: MessageFlags,
    is_incoming: bool,
    is_readable: bool,
    record: Slot,
}

impl Entry {
    fn is_unread(&self) -> bool {
        self.is_incoming && self.is_readable && !self.flags.contains(MessageFlags::READ)
    }

    /// What it costs of the bytes there are.
    fn cost(&self) -> usize {
        OVERHEAD + self.record.len()
    }
}

impl Keyed for Entry {
    type Key = LogId;

    fn key(&self) -> LogId {
        self.id
    }

    fn between(first: LogId, id: LogId) -> usize {
        id.get().saturating_sub(first.get()) as usize
    }
}

#[derive(Debug)]
enum Fed {
    Message(LogId),
    Gap(Box<GapRecord>),
}

#[derive(Debug)]
struct Timeline {
    /// Of the conversation.
    name: Arc<str>,
    places: Sorted<Place>,
    unread: u64,
}

impl Timeline {
    fn new(name: Arc<str>) -> Self {
        Self { name, places: Sorted::default(), unread: 0 }
    }
}

impl Keyed for Place {
    type Key = Self;

    fn key(&self) -> Self {
        *self
    }
}

impl Keyed for (Position, Fed) {
    type Key = Position;

    fn key(&self) -> Position {
        self.0
    }
}

/// Why a message leaves the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// Its user wants it gone.
    Removed,
    /// There is no room for it, or it is too old: durable subscriptions must learn of it.
    Lost,
}

impl Log {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            counter: 0,
            head: Position::START,
            messages: Sorted::default(),
            unfed: BTreeSet::new(),
            feed: Sorted::default(),
            lost: BTreeMap::new(),
            conversations: HashMap::new(),
            timelines: Slab::new(),
            known: Known::new(max_messages),
            packed: Packed::default(),
            bytes: 0,
            max_messages,
            max_bytes,
        }
    }

    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// These changes come next.
    pub(super) fn expect(&self, changes: &[Change]) {
        let messages = changes.iter().filter_map(|change| match change {
            Change::Append(message) => Some(message),
            _ => None,
        });
        self.known.expect(messages.flat_map(NewMessage::made_keys));
    }

    pub(super) fn append(&mut self, message: &mut NewMessage) -> (Appended, Vec<RowChange>) {
        if self.known.may_be_similar(message) {
            self.look_for_similar();
        }
        if self.known.has_similar() {
            message.make_keys();
        }
        if let Some(id) = self.known.matching(message, |id| self.messages.get(id).map(|entry| &entry.identity)) {
            return (self.merge(id, message), Vec::new());
        }
        let when_new = std::mem::take(&mut message.when_new);
        let NewMessage { record, origin, feed, order, .. } = &*message;
        let (origin, feed) = (*origin, *feed);
        let id = LogId::new(self.count());
        let at = self.timeline_of(record.conversation.as_str());
        let timeline = &mut self.timelines[at];
        let end = timeline.places.last().map_or(i64::MIN, |place| place.order.saturating_add(1));
        let order = order.unwrap_or_else(|| Place::order_of(record.stamp).max(end));
        let position = (feed == Feed::Deliver).then_some(Position::new(id.get()));
        let entry = Entry {
            id,
            order,
            feed,
            position,
            identity: Identity::new(origin, record.stamp),
            timeline: at,
            received: record.received,
            flags: record.flags,
            is_incoming: record.direction == Direction::Incoming,
            is_readable: record.is_readable(),
            record: Slot::NOTHING,
        };
        timeline.places.insert(Place::new(order, id));
        timeline.unread += u64::from(entry.is_unread());
        self.messages.insert(entry);
        match position {
            Some(position) => {
                self.feed.insert((position, Fed::Message(id)));
                self.head = position;
            }
            None => drop(self.unfed.insert(id)),
        }
        // In its place and last, so that nothing waits until all of it has found its way into memory.
        if let Some(entry) = self.messages.last_mut() {
            self.known.add(id, &mut entry.identity, message);
            entry.record = self.packed.put(&message.record);
            self.bytes += entry.cost();
        }
        (Appended::new(id, position, false), when_new)
    }

    /// Similar keys are looked for, so each message in the log has to have its own.
    fn look_for_similar(&mut self) {
        if !self.known.has_similar() {
            let unmade: Vec<_> =
                self.messages.iter().filter(|entry| entry.identity.is_similar_unmade()).map(|entry| entry.id).collect();
            unmade.into_iter().for_each(|id| self.make_similar(id));
        }
        self.known.index_similar(self.messages.iter().map(|entry| (entry.id, &entry.identity)));
    }

    /// Makes the similar key of a message, if it is there and is not made: of what it says as long as it says it.
    fn make_similar(&mut self, id: LogId) {
        let Some(entry) = self.messages.get(id).filter(|entry| entry.identity.is_similar_unmade()) else { return };
        let key = self.record(entry).and_then(|record| record.similar_key());
        if let Some(entry) = self.messages.get_mut(id) {
            self.known.make_similar(id, &mut entry.identity, key);
        }
    }

    /// Where the timeline of a conversation stands, that there is or a new one.
    fn timeline_of(&mut self, conversation: &str) -> usize {
        if let Some(at) = self.conversations.get(conversation) {
            return *at;
        }
        let name: Arc<str> = conversation.into();
        let at = self.timelines.insert(Timeline::new(Arc::clone(&name)));
        self.conversations.insert(name, at);
        at
    }

    fn timeline(&self, conversation: &Jid) -> Option<&Timeline> {
        self.timelines.get(*self.conversations.get(conversation.as_str())?)
    }

    /// A copy of a message that is known: takes from it what the message lacks.
    fn merge(&mut self, id: LogId, copy: &mut NewMessage) -> Appended {
        let lacking = self.known.lacking(id, copy.make_keys(), |id| self.messages.get(id).map(|entry| &entry.identity));
        let NewMessage { record, origin, feed, .. } = copy;
        let (origin, feed) = (*origin, *feed);
        self.known.merge(id, self.messages.get_mut(id).map(|entry| &mut entry.identity), lacking, origin);
        self.set_flags(id, record.flags, MessageFlags::NONE);
        if !record.archive_ids.is_empty() || record.origin_id.is_some() {
            self.modify(id, |known| {
                for archive_id in std::mem::take(&mut record.archive_ids) {
                    if !known.archive_ids.contains(&archive_id) {
                        known.archive_ids.push(archive_id);
                    }
                }
                known.origin_id = known.origin_id.take().or_else(|| record.origin_id.take());
            });
        }
        let known_feed = self.messages.get(id).map(|entry| entry.feed);
        let rises = self.messages.get_mut(id).is_some_and(|entry| {
            let rises = feed > entry.feed;
            entry.feed = entry.feed.max(feed);
            rises && feed == Feed::Deliver
        });
        if rises {
            let position = Position::new(self.count());
            self.deliver(id, position);
        }
        let appended = Appended::new(id, self.messages.get(id).and_then(|entry| entry.position), true);
        known_feed.map_or(appended, |feed| appended.known_as(feed))
    }

    /// Sets marks of a message and clears others, if it is there.
    pub(super) fn set_flags(&mut self, id: LogId, set: MessageFlags, clear: MessageFlags) {
        self.change(id, |entry, _| entry.flags = entry.flags.without(clear).union(set));
    }

    /// Gives a message another content, if it is there.
    pub(super) fn set_content(&mut self, id: LogId, xml: StoredXml, text: Option<StoredText>) {
        self.make_similar(id);
        self.modify(id, |record| (record.xml, record.text) = (xml, text));
    }

    /// Changes what is kept of a message beside its marks, if it is there.
    fn modify(&mut self, id: LogId, change: impl FnOnce(&mut MessageRecord)) {
        let Some(mut record) = self.messages.get(id).and_then(|entry| self.record(entry)) else { return };
        change(&mut record);
        self.change(id, |entry, packed| {
            packed.remove(entry.record);
            (entry.record, entry.is_readable) = (packed.put(&record), record.is_readable());
        });
    }

    fn change(&mut self, id: LogId, change: impl FnOnce(&mut Entry, &mut Packed)) {
        let Some(entry) = self.messages.get_mut(id) else { return };
        let (bytes, unread) = (entry.cost(), entry.is_unread());
        change(entry, &mut self.packed);
        self.bytes = self.bytes - bytes + entry.cost();
        if let Some(timeline) = self.timelines.get_mut(entry.timeline) {
            timeline.unread = timeline.unread - u64::from(unread) + u64::from(entry.is_unread());
        }
    }

    pub(super) fn remove(&mut self, id: LogId) {
        self.make_similar(id);
        self.leave(id, Leaving::Removed);
    }

    pub(super) fn prune(&mut self, before: SystemTime) {
        let old = self.messages.iter().filter(|entry| entry.feed != Feed::Hold && entry.received < before);
        let mut old: Vec<_> = old.map(|entry| (entry.position, entry.id)).collect();
        // In the order of positions, so that what is lost joins into few ranges.
        old.sort_unstable();
        for (_, id) in old {
            self.leave(id, Leaving::Lost);
        }
    }

    pub(super) fn release(&mut self, conversation: Option<&Jid>) {
        let wanted = match conversation.map(|conversation| self.conversations.get(conversation.as_str())) {
            None => None,
            Some(Some(at)) => Some(*at),
            Some(None) => return,
        };
        let held = self.unfed.iter().filter(|id| {
            let entry = self.messages.get(**id);
            entry.is_some_and(|entry| entry.feed == Feed::Hold && wanted.is_none_or(|at| at == entry.timeline))
        });
        for id in held.copied().collect::<Vec<_>>() {
            let position = Position::new(self.count());
            self.deliver(id, position);
        }
    }

    pub(super) fn gap(&mut self, gap: GapRecord) -> Position {
        let position = Position::new(self.count());
        self.feed.insert((position, Fed::Gap(Box::new(gap))));
        self.bytes += OVERHEAD;
        self.head = position;
        position
    }

    pub(super) fn fill_gap(&mut self, position: Position) {
        self.close_gap(position, Leaving::Removed);
    }

    /// Lets the oldest go until what is left is within bounds.
    pub(super) fn retain_within_bounds(&mut self) {
        while self.feed.len() + self.unfed.len() > self.max_messages || self.bytes > self.max_bytes {
            let fed = self.feed.first();
            let unfed = self.unfed.first().copied();
            match (fed, unfed) {
                (Some((position, _)), Some(id)) if id.get() < position.get() => self.leave(id, Leaving::Lost),
                (Some((_, Fed::Message(id))), _) => self.leave(*id, Leaving::Lost),
                (Some((position, Fed::Gap(_))), _) => self.close_gap(*position, Leaving::Lost),
                (None, Some(id)) => self.leave(id, Leaving::Lost),
                (None, None) => break,
            }
        }
        if self.packed.is_sparse() {
            let mut packed = Packed::default();
            self.messages.each_to_change().for_each(|entry| entry.record = packed.copy(&self.packed, entry.record));
            self.packed = packed;
        }
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn deliver(&mut self, id: LogId, position: Position) {
        if let Some(entry) = self.messages.get_mut(id) {
            (entry.feed, entry.position) = (Feed::Deliver, Some(position));
            self.unfed.remove(&id);
            self.feed.insert((position, Fed::Message(id)));
            self.head = position;
        }
    }

    fn leave(&mut self, id: LogId, leaving: Leaving) {
        if leaving == Leaving::Lost && self.messages.get(id).is_some_and(|entry| entry.feed == Feed::Hold) {
            // It was to be delivered; its place in the feed is where durable subscriptions learn that it is lost.
            let position = Position::new(self.count());
            self.deliver(id, position);
        }
        let Some(entry) = self.messages.remove(id) else { return };
        self.bytes -= entry.cost();
        self.packed.remove(entry.record);
        match entry.position {
            Some(position) => self.leave_feed(position, leaving),
            None => drop(self.unfed.remove(&id)),
        }
        if let Some(timeline) = self.timelines.get_mut(entry.timeline) {
            timeline.places.remove(Place::new(entry.order, id));
            timeline.unread -= u64::from(entry.is_unread());
            if timeline.places.is_empty() {
                self.conversations.remove(&timeline.name);
                self.timelines.remove(entry.timeline);
            }
        }
        let first = self.messages.first().map(|entry| entry.id);
        self.known.leave(id, entry.identity, first, |id| self.messages.contains(id));
    }

    fn close_gap(&mut self, position: Position, leaving: Leaving) {
        if matches!(self.feed.get(position), Some((_, Fed::Gap(_)))) {
            self.bytes -= OVERHEAD;
            self.leave_feed(position, leaving);
        }
    }

    fn leave_feed(&mut self, position: Position, leaving: Leaving) {
        self.feed.remove(position);
        if leaving == Leaving::Lost {
            let begun = self.lost.range_mut(..position).next_back();
            match begun {
                // The oldest leave first, so this is the rule: nothing is left before it.
                Some((_, last)) if *last < position && self.feed.first().is_none_or(|(first, _)| *first > position) => {
                    *last = position
                }
                _ => {
                    self.lost.insert(position, position);
                    self.join_losses(Position::new(position.get().saturating_sub(1)));
                }
            }
        }
        self.join_losses(position);
    }

    /// Joins the losses up to this position with those behind it, if nothing is left between them.
    fn join_losses(&mut self, position: Position) {
        let Some((&first, &last)) = self.lost.range(..=position).next_back() else { return };
        let behind = self.lost.range((Bound::Excluded(position), Bound::Unbounded)).next();
        let Some((&behind_first, &behind_last)) = behind else { return };
        if self.feed.from(last).next().is_none_or(|(position, _)| *position >= behind_first) {
            self.lost.remove(&behind_first);
            self.lost.insert(first, behind_last);
        }
    }

    pub(super) fn feed(&self, after: Position, limit: usize, outbox: &Outbox) -> Vec<FeedItem> {
        let next = Position::new(after.get().saturating_add(1));
        // A range may have begun before `after` and end behind it.
        let begun = self.lost.range(..next).next_back().filter(|(_, last)| **last >= next).map(|(_, last)| (next, *last));
        let mut lost = begun.into_iter().chain(self.lost.range(next..).map(|(first, last)| (*first, *last))).peekable();
        let mut fed = self.feed.from(next).peekable();
        let mut items = Vec::new();
        while items.len() < limit {
            let lost_first = lost.peek().map(|(first, _)| *first);
            let fed_first = fed.peek().map(|(position, _)| *position);
            let lost_is_next = lost_first.is_some_and(|first| fed_first.is_none_or(|position| first < position));
            if lost_is_next {
                items.extend(lost.next().map(|(first, last)| FeedItem::lost(first, last)));
                continue;
            }
            match fed.next() {
                Some((_, Fed::Message(id))) => items.extend(self.get(*id, outbox).map(FeedItem::Message)),
                Some((position, Fed::Gap(gap))) => items.push(FeedItem::Gap { position: *position, gap: GapRecord::clone(gap) }),
                None => break,
            }
        }
        items
    }

    pub(super) fn gaps(&self) -> Vec<(Position, GapRecord)> {
        let gaps = self.feed.iter().filter_map(|(position, fed)| match fed {
            Fed::Gap(gap) => Some((*position, GapRecord::clone(gap))),
            Fed::Message(_) => None,
        });
        gaps.collect()
    }

    pub(super) fn get(&self, id: LogId, outbox: &Outbox) -> Option<LoggedMessage> {
        let entry = self.messages.get(id)?;
        let record = self.record(entry)?;
        let status = match (record.direction, &record.id) {
            (Direction::Outgoing, Some(id)) => outbox.status(id),
            _ => None,
        };
        Some(LoggedMessage {
            log_id: id,
            order: entry.order,
            feed: entry.feed,
            position: entry.position,
            copies: entry.identity.copies(),
            record: Arc::new(record),
            status,
        })
    }

    /// What is kept of a message.
    fn record(&self, entry: &Entry) -> Option<MessageRecord> {
        let conversation: StoredJid = self.timelines.get(entry.timeline)?.name.parse().ok()?;
        let direction = if entry.is_incoming { Direction::Incoming } else { Direction::Outgoing };
        let mut record = MessageRecord::new(conversation, direction, "", entry.identity.stamp());
        (record.received, record.flags) = (entry.received, entry.flags);
        self.packed.unpack_into(entry.record, &mut record)?;
        Some(record)
    }

    pub(super) fn find(&self, key: &IdentityKey) -> Option<LogId> {
        self.known.exact(key, |id| self.messages.get(id).map(|entry| &entry.identity))
    }

    pub(super) fn with_id(&self, conversation: &Jid, id: &str, outbox: &Outbox) -> Vec<LoggedMessage> {
        let Some(timeline) = self.timeline(conversation) else { return Vec::new() };
        let has_id = |message: &LoggedMessage| {
            message.id.as_deref() == Some(id)
                || message.origin_id.as_deref() == Some(id)
                || message.archive_ids.iter().any(|archive_id| archive_id.id == id)
        };
        timeline.places.iter().filter_map(|place| self.get(place.id, outbox)).filter(has_id).collect()
    }

    pub(super) fn page(&self, query: &MessageQuery, outbox: &Outbox) -> MessagePage {
        let every;
        let empty = Sorted::default();
        let places = match &query.conversation {
            Some(conversation) => self.timeline(conversation).map_or(&empty, |timeline| &timeline.places),
            None => {
                every = self.messages.iter().map(|entry| Place::new(entry.order, entry.id)).collect();
                &every
            }
        };
        let read = |place: &Place| self.get(place.id, outbox).filter(|message| query.matches(message));
        let wanted = query.limit.saturating_add(1);
        let (mut messages, backwards): (Vec<_>, bool) = match query.page {
            PageFrom::Newest => (places.iter().rev().filter_map(read).take(wanted).collect(), true),
            PageFrom::Before(place) => (places.before(place).rev().filter_map(read).take(wanted).collect(), true),
            PageFrom::Oldest => (places.iter().filter_map(read).take(wanted).collect(), false),
            PageFrom::After(place) => (places.after(place).filter_map(read).take(wanted).collect(), false),
        };
        let more = messages.len() > query.limit;
        messages.truncate(query.limit);
        if backwards {
            messages.reverse();
        }
        MessagePage::new(messages, more)
    }

    pub(super) fn conversations(&self, after: Option<Place>, limit: usize, outbox: &Outbox) -> Vec<Conversation> {
        let newest = |timeline: &Timeline| {
            let readable = |place: &&Place| self.messages.get(place.id).is_some_and(|entry| entry.is_readable);
            timeline.places.iter().rev().find(readable).copied()
        };
        let mut found: Vec<_> = self.timelines.iter().filter_map(|(_, t)| Some((newest(t)?, t.unread))).collect();
        found.retain(|(place, _)| after.is_none_or(|after| *place < after));
        found.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
        let page = found.into_iter().take(limit);
        let read = |(place, unread): (Place, u64)| {
            let newest = self.get(place.id, outbox)?;
            Some(Conversation::new(newest.conversation.clone().into(), newest, unread))
        };
        page.filter_map(read).collect()
    }
}

#[cfg(test)]
impl Log {
    /// Compares what is counted along the way with what is there.
    pub(super) fn check(&self) {
        let keys = self.messages.iter().map(|entry| self.known.keys_of(entry.id, &entry.identity)).sum::<usize>();
        assert_eq!(self.known.counts().0, keys + self.known.keys_of_gone());
        let gaps = self.feed.iter().filter(|(_, fed)| matches!(fed, Fed::Gap(_))).count();
        let bytes: usize = self.messages.iter().map(Entry::cost).sum();
        assert_eq!(self.bytes, bytes + gaps * OVERHEAD);
        assert!(self.bytes <= self.max_bytes && self.feed.len() + self.unfed.len() <= self.max_messages);
        assert_eq!(self.messages.len(), self.feed.len() - gaps + self.unfed.len());
        for entry in self.messages.iter() {
            assert_eq!(entry.position.is_some(), entry.feed == Feed::Deliver);
            assert_eq!(self.unfed.contains(&entry.id), entry.position.is_none());
            assert!(self.timelines[entry.timeline].places.get(Place::new(entry.order, entry.id)).is_some());
        }
        for entry in self.messages.iter() {
            let record = self.record(entry).expect("what is kept is readable");
            assert_eq!(record.is_readable(), entry.is_readable);
        }
        assert_eq!(
            self.timelines.iter().map(|(_, timeline)| timeline.unread).sum::<u64>(),
            self.messages.iter().filter(|entry| entry.is_unread()).count() as u64
        );
        assert_eq!(self.timelines.iter().map(|(_, t)| t.places.len()).sum::<usize>(), self.messages.len());
        assert!(self.timelines.iter().all(|(at, t)| !t.places.is_empty() && self.conversations[&t.name] == at));
        assert_eq!(self.timelines.len(), self.conversations.len());
        let lost: Vec<_> = self.lost.iter().flat_map(|(first, last)| [*first, *last]).collect();
        assert!(lost.is_sorted(), "{lost:?}");
        assert!(self.lost.iter().all(|(first, last)| self.feed.from(*first).next().is_none_or(|(position, _)| position > last)));
        let between = self.lost.values().zip(self.lost.keys().skip(1));
        for (last, next) in between {
            assert!(
                self.feed.from(*last).next().is_some_and(|(position, _)| position < next),
                "losses with nothing between them are one"
            );
        }
    }

    pub(super) fn packed(&self) -> (usize, usize) {
        self.packed.sizes()
    }

    pub(super) fn known_keys(&self) -> usize {
        self.known.counts().0
    }
}
