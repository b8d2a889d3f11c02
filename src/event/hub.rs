//! Every mailbox of a client, and the default one for what nobody subscribed to yet (R22).

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::client::WeakClient;
use crate::driver::{Lag, TakenOver};
use crate::event::mailbox::Mailbox;
use crate::event::{Event, HandlerSpec, Inbound, Route};
use crate::xml::ns;

/// Bytes of messages the default mailbox keeps.
const UNCLAIMED_BYTES: usize = 4 * 1024 * 1024;

/// About how many messages there can be that subscribers are not done with (R2).
const OUTSTANDING: usize = 200;

/// How often drops are reported, once dropping has begun.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Keeps a stanza from counting as taken over while somebody still holds it.
pub(crate) struct Hold {
    number: u64,
    sink: Arc<TakenOver>,
    released: AtomicBool,
}

impl Hold {
    /// The stanza counts as taken over although somebody still holds it; `false` if it did already.
    fn release(&self) -> bool {
        let held = !self.released.swap(true, Ordering::Relaxed);
        if held {
            self.sink.add(self.number);
        }
        held
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

/// When a message counts as taken over, so that the server need not keep it any longer (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AckPolicy {
    /// When it is in the store, or without a store that outlives the process in every subscriber's queue.
    #[default]
    TakenOver,
    /// When every live subscriber is done with it: the [`Delivery`](crate::event::Delivery) was acknowledged or dropped, the next
    /// of [`events`](crate::event::Subscription::events) was asked for, the handler has ended. What was not is sent again by the
    /// server if the process dies, and comes [redelivered](crate::event::Delivery::redelivered) to the next one, where the store
    /// outlives the process and the session goes on. Where the session may be lost as well, only a
    /// [durable](crate::event::Subscription::durable) subscription gets everything. After 200 such messages, or when one has
    /// waited for 10 s, reading pauses for at most 5 s; then all of them count as taken over, and that is reported at warn level.
    Handled,
}

pub(crate) struct Hub {
    /// Handlers that extensions registered, and the mailbox of each, made when the first item comes for it: most of them
    /// have nothing to do in a client's life.
    handlers: Arc<[Arc<HandlerSpec>]>,
    handling: Box<[OnceLock<Arc<Mailbox>>]>,
    client: WeakClient,
    ended: AtomicBool,
    mailboxes: Mutex<Arc<Vec<Arc<Mailbox>>>>,
    unclaimed: Mutex<Unclaimed>,
    taken_over: Arc<TakenOver>,
    dropped: AtomicU64,
    reports: Mutex<Reports>,
    /// Names of the durable subscriptions that are open.
    pub(crate) durable: Mutex<BTreeSet<String>>,
    /// With a persistent store a message is taken over at the commit, and nobody holds it (R2), unless the policy says so.
    holding: bool,
    policy: AckPolicy,
    /// What subscribers have and are not done with, where that counts.
    outstanding: Mutex<Vec<Weak<Hold>>>,
    /// How many messages the default mailbox keeps, and for how long: within the bounds of R2, with room to spare, so that
    /// they are dropped with a report before reading pauses because of them (C2).
    unclaimed_capacity: usize,
    unclaimed_wait: Duration,
}

/// A message nobody subscribed to yet, and since when it waits.
type Waiting = (Inbound, Arc<Hold>, Instant);

#[derive(Default)]
struct Unclaimed {
    queue: VecDeque<Waiting>,
    bytes: usize,
    ended: bool,
}

impl Hub {
    pub(crate) fn new(
        client: WeakClient,
        handlers: Arc<[Arc<HandlerSpec>]>,
        persistent: bool,
        policy: AckPolicy,
        lag: &Lag,
    ) -> Self {
        Self {
            handling: handlers.iter().map(|_| OnceLock::new()).collect(),
            handlers,
            client,
            ended: AtomicBool::new(false),
            policy,
            outstanding: Mutex::default(),
            unclaimed_capacity: (lag.stanzas / 4 * 3).max(1),
            unclaimed_wait: lag.time / 5 * 4,
            mailboxes: Mutex::default(),
            unclaimed: Mutex::default(),
            taken_over: Arc::default(),
            dropped: AtomicU64::new(0),
            reports: Mutex::default(),
            durable: Mutex::default(),
            holding: !persistent || policy == AckPolicy::Handled,
        }
    }

    pub(crate) fn taken_over(&self) -> &Arc<TakenOver> {
        &self.taken_over
    }

    /// Adds a mailbox and gives it first what waited for one like it.
    pub(crate) fn add(&self, mailbox: &Arc<Mailbox>) {
        if self.is_by_handling() {
            mailbox.set_handled();
        }
        let mut unclaimed = self.unclaimed();
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut mailboxes).push(Arc::clone(mailbox));
        drop(mailboxes);
        let mut claimed = Vec::new();
        let (mine, others) =
            std::mem::take(&mut unclaimed.queue).into_iter().partition(|(inbound, ..)| mailbox.route.matches(inbound));
        unclaimed.queue = others;
        let mine: VecDeque<Waiting> = mine;
        for (inbound, hold, _) in mine {
            unclaimed.bytes -= inbound.stanza().byte_len();
            mailbox.push(&inbound, Some(&mut || Arc::clone(&hold)));
            claimed.push(hold);
        }
        drop(unclaimed);
    }

    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox>) {
        {
            let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut mailboxes).retain(|other| !Arc::ptr_eq(other, mailbox));
        }
        mailbox.end();
    }

    /// Hands a message to every mailbox whose route it takes; without one it waits, unless an extension `claimed` it.
    /// Returns whether it is taken over already; if not, its number comes through [`TakenOver`] later.
    pub(crate) fn deliver_message(&self, inbound: &Inbound, now: Instant, claimed: impl FnOnce() -> bool) -> bool {
        let (_, held) = self.deliver(inbound, now, claimed, &self.taken_over, self.holding);
        !held
    }

    /// Hands a message that was fetched to every mailbox whose route it takes. Returns whether they have all taken it; if
    /// not, `slow` hears of it when they have: whoever fetches waits for them, with a persistent store too.
    pub(crate) fn deliver_fetched(
        &self,
        inbound: &Inbound,
        now: Instant,
        slow: &Arc<TakenOver>,
        claimed: impl FnOnce() -> bool,
    ) -> bool {
        let (matched, held) = self.deliver(inbound, now, claimed, slow, true);
        !(matched && held)
    }

    /// Wakes durable subscriptions: there may be something new in the log.
    pub(crate) fn news(&self) {
        self.list().iter().for_each(|mailbox| mailbox.news());
    }

    /// Whether somebody subscribed to it, and whether somebody holds it.
    fn deliver(
        &self,
        inbound: &Inbound,
        now: Instant,
        claimed: impl FnOnce() -> bool,
        sink: &Arc<TakenOver>,
        holding: bool,
    ) -> (bool, bool) {
        let mut hold: Option<Arc<Hold>> = None;
        let number = inbound.number();
        let mut make = || {
            let new = || Arc::new(Hold { number, sink: Arc::clone(sink), released: AtomicBool::new(false) });
            Arc::clone(hold.get_or_insert_with(new))
        };
        let mut matched = false;
        let mut deliver = || {
            self.each(
                |route, _| route.matches(inbound),
                |mailbox| {
                    matched = true;
                    mailbox.push(inbound, if holding { Some(&mut make) } else { None });
                },
            );
            matched
        };
        if !deliver() && !claimed() {
            let unclaimed = self.unclaimed();
            // Somebody may have subscribed since: nobody can while the lock is held.
            if !deliver() {
                self.keep_unclaimed(unclaimed, inbound, now, &mut make);
            }
        }
        if let Some(hold) = hold.as_ref().filter(|_| self.is_by_handling()) {
            let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
            if outstanding.len() >= 2 * OUTSTANDING {
                outstanding.retain(|hold| hold.strong_count() > 0);
            }
            outstanding.push(Arc::downgrade(hold));
        }
        (matched, hold.is_some())
    }

    /// Whether messages may count as taken over later than they are stored.
    pub(crate) fn is_by_handling(&self) -> bool {
        self.policy == AckPolicy::Handled
    }

    /// Hands a presence stanza on: a mailbox that is full gets a gap, for presence is state and is not held.
    pub(crate) fn deliver_presence(&self, inbound: &Inbound) {
        self.each(|route, _| route.matches(inbound), |mailbox| mailbox.push(inbound, None));
    }

    /// Hands on an event that an extension reports.
    pub(crate) fn emit<E: Event>(&self, event: E) {
        let mut value: Option<Arc<dyn Any + Send + Sync>> = None;
        self.each(
            |_, of| of == TypeId::of::<E>(),
            |mailbox| {
                let value = value.get_or_insert_with(|| Arc::new(event.clone()));
                mailbox.push_value(Arc::clone(value));
            },
        );
    }

    /// Drops unclaimed messages that waited long enough. Returns how many.
    pub(crate) fn expire_unclaimed(&self, now: Instant) -> u64 {
        let mut unclaimed = self.unclaimed();
        let mut expired = Vec::new();
        while unclaimed.queue.front().is_some_and(|(.., since)| now.saturating_duration_since(*since) >= self.unclaimed_wait) {
            expired.extend(unclaimed.pop());
        }
        drop(unclaimed);
        self.count_dropped(&expired, now)
    }

    /// When the oldest unclaimed message will have waited long enough.
    pub(crate) fn unclaimed_deadline(&self) -> Option<Instant> {
        self.unclaimed().queue.front().map(|(.., since)| *since + self.unclaimed_wait)
    }

    /// Cuts off every subscriber that holds stanzas back. Returns how many stanzas they lost. What they have and are not done
    /// with counts as taken over.
    pub(crate) fn cut_off_slow(&self) -> u64 {
        let outstanding = std::mem::take(&mut *self.outstanding.lock().unwrap_or_else(PoisonError::into_inner));
        let released = outstanding.iter().filter_map(Weak::upgrade).filter(|hold| hold.release()).count();
        if released > 0 {
            tracing::warn!(released, "messages that nobody was done with in time count as handled");
        }
        let list = self.list();
        self.handling().chain(list.iter()).filter(|mailbox| mailbox.holds()).map(|mailbox| mailbox.cut_off()).sum()
    }

    /// How many messages nobody subscribed to were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// While paused, streams end once they are empty.
    pub(crate) fn pause(&self, paused: bool) {
        self.list().iter().for_each(|mailbox| mailbox.pause(paused));
    }

    /// The client is gone: every stream ends, every handler is dropped.
    pub(crate) fn end(&self) {
        let mailboxes = std::mem::take(&mut *self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner));
        mailboxes.iter().for_each(|mailbox| mailbox.end());
        self.ended.store(true, Ordering::SeqCst);
        self.handling().for_each(|mailbox| mailbox.end());
        let mut unclaimed = self.unclaimed();
        unclaimed.ended = true;
        let queue = std::mem::take(&mut unclaimed.queue);
        drop(unclaimed);
        drop(queue);
    }

    fn keep_unclaimed(
        &self,
        mut unclaimed: MutexGuard<'_, Unclaimed>,
        inbound: &Inbound,
        now: Instant,
        hold: &mut dyn FnMut() -> Arc<Hold>,
    ) {
        let bytes = inbound.stanza().byte_len();
        if unclaimed.ended {
            return;
        }
        unclaimed.bytes += bytes;
        unclaimed.queue.push_back((inbound.clone(), hold(), now));
        let mut dropped = Vec::new();
        while unclaimed.queue.len() > self.unclaimed_capacity || (unclaimed.bytes > UNCLAIMED_BYTES && unclaimed.queue.len() > 1)
        {
            dropped.extend(unclaimed.pop());
        }
        drop(unclaimed);
        self.count_dropped(&dropped, now);
    }

    /// Says it once when it begins, naming what nobody subscribed to, and then how many it was from time to time.
    fn count_dropped(&self, dropped: &[Waiting], now: Instant) -> u64 {
        let count = dropped.len() as u64;
        let Some((first, ..)) = dropped.first() else { return 0 };
        let total = self.dropped.fetch_add(count, Ordering::Relaxed) + count;
        let report = self.reports.lock().unwrap_or_else(PoisonError::into_inner).note(count, now);
        if let Some(count) = report {
            let (kind, payload) = describe(first);
            tracing::warn!(count, total, kind, payload, "messages dropped: nobody subscribed to what they carry");
        }
        count
    }

    /// Gives something to every mailbox that wants it, by its route and its event.
    fn each(&self, wants: impl Fn(&Route, TypeId) -> bool, mut give: impl FnMut(&Mailbox)) {
        for (handler, mailbox) in
            self.handlers.iter().zip(&self.handling).filter(|(handler, _)| wants(&handler.route, handler.event))
        {
            if !self.ended.load(Ordering::SeqCst) {
                give(mailbox.get_or_init(|| self.open(handler)));
            }
        }
        self.list().iter().filter(|mailbox| wants(&mailbox.route, mailbox.event)).for_each(|mailbox| give(mailbox));
    }

    fn open(&self, handler: &Arc<HandlerSpec>) -> Arc<Mailbox> {
        let mailbox = handler.open(self.client.clone());
        if self.is_by_handling() {
            mailbox.set_handled();
        }
        mailbox
    }

    /// The mailboxes of extensions' handlers that have had something to do.
    fn handling(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.handling.iter().filter_map(OnceLock::get)
    }

    fn list(&self) -> Arc<Vec<Arc<Mailbox>>> {
        Arc::clone(&self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unclaimed(&self) -> MutexGuard<'_, Unclaimed> {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unclaimed {
    fn pop(&mut self) -> Option<Waiting> {
        let entry = self.queue.pop_front()?;
        self.bytes -= entry.0.stanza().byte_len();
        Some(entry)
    }
}

/// Keeps a burst of drops from being a burst of warnings.
#[derive(Default)]
struct Reports {
    last: Option<Instant>,
    unreported: u64,
}

impl Reports {
    /// So many were dropped; gives how many to report now, if it is time to.
    fn note(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.unreported += count;
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < REPORT_EVERY) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

/// Type and payload of a message: what it takes to subscribe to it, and nothing that was said.
fn describe(inbound: &Inbound) -> (String, String) {
    let stanza = inbound.stanza();
    let kind = stanza.stanza_type().unwrap_or("normal".into()).escape_debug().to_string();
    let payload = match stanza.child(ns::CLIENT, "body").or_else(|| stanza.children().next()) {
        Some(child) => format!("{{{}}}{}", child.ns(), child.name()).escape_debug().to_string(),
        None => "none".to_owned(),
    };
    (kind, payload)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::event::mailbox::Entry;
    use crate::xml::Frame;

    fn inbound(xml: &str) -> Inbound {
        Inbound::new(Frame::parse(xml).expect("XML").stanza().expect("a stanza"), 1, SystemTime::UNIX_EPOCH)
    }

    fn message(number: u64, text: &str) -> Inbound {
        let xml = format!("<message xmlns='jabber:client' from='a@b'><body>{text}</body></message>");
        Inbound::new(Frame::parse(&xml).expect("XML").stanza().expect("a stanza"), number, SystemTime::UNIX_EPOCH)
    }

    fn hub_of(lag: &Lag) -> Hub {
        let client = WeakClient::from_weak(Weak::new(), Arc::new("a@b".parse().expect("a JID")));
        Hub::new(client, [].into(), false, AckPolicy::TakenOver, lag)
    }

    /// Gives the hub messages of these numbers.
    fn deliver(hub: &Hub, numbers: std::ops::Range<u64>, text: &str, now: Instant) {
        for number in numbers {
            assert!(!hub.deliver_message(&message(number, text), now, || false), "it waits");
        }
    }

    /// The numbers of what waits, as its first subscriber gets it.
    fn waiting(hub: &Hub) -> Vec<u64> {
        let mailbox = Arc::new(Mailbox::new(Route::message(), TypeId::of::<()>(), 1000, usize::MAX));
        hub.add(&mailbox);
        let mut numbers = Vec::new();
        while let Some(Entry::Item(inbound, _)) = mailbox.next_for_handler() {
            numbers.push(inbound.number());
        }
        numbers
    }

    #[derive(Clone)]
    struct Said;

    impl Event for Said {
        fn route() -> Route {
            Route::emitted()
        }

        fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
            None
        }
    }

    #[test]
    fn an_extensions_handler_has_a_mailbox_from_its_first_item_on_and_none_after_the_end() {
        let client = || WeakClient::from_weak(Weak::new(), Arc::new("a@b".parse().expect("a JID")));
        let handler = Arc::new(HandlerSpec::new(|_: Said| async {}));
        let hub = || Hub::new(client(), [Arc::clone(&handler)].into(), false, AckPolicy::TakenOver, &Lag::default());
        let (one, other) = (hub(), hub());
        one.deliver_presence(&inbound("<presence xmlns='jabber:client' from='a@b/c'/>"));
        assert_eq!(one.handling().count(), 0);
        one.emit(Said);
        one.emit(Said);
        assert_eq!((one.handling().count(), other.handling().count()), (1, 0));
        let mailbox = one.handling().next().expect("it was made");
        assert!(mailbox.next_for_handler().is_some() && mailbox.next_for_handler().is_some());
        other.end();
        other.emit(Said);
        assert_eq!(other.handling().count(), 0);
    }

    #[test]
    fn of_151_messages_that_nobody_subscribed_to_the_oldest_is_dropped_and_counted() {
        let (hub, now) = (hub_of(&Lag::default()), Instant::now());
        deliver(&hub, 0..150, "hi", now);
        assert_eq!((hub.dropped(), hub.taken_over().drain()), (0, vec![]));
        deliver(&hub, 150..151, "hi", now);
        assert_eq!((hub.dropped(), hub.taken_over().drain()), (1, vec![0]), "what is dropped holds nothing up");
        assert_eq!(waiting(&hub), (1..151).collect::<Vec<_>>());
    }

    #[test]
    fn of_more_than_4_mib_that_nobody_subscribed_to_the_oldest_are_dropped_and_counted() {
        let (hub, now) = (hub_of(&Lag::default()), Instant::now());
        let mib = "x".repeat(1024 * 1024);
        deliver(&hub, 0..3, &mib, now);
        assert_eq!(hub.dropped(), 0);
        deliver(&hub, 3..6, &mib, now);
        assert_eq!((hub.dropped(), waiting(&hub)), (3, vec![3, 4, 5]));
        // A single one is kept, however large.
        let hub = hub_of(&Lag::default());
        deliver(&hub, 0..1, &"x".repeat(5 * 1024 * 1024), now);
        assert_eq!((hub.dropped(), waiting(&hub)), (0, vec![0]));
    }

    #[test]
    fn a_message_that_nobody_subscribed_to_for_8_s_is_dropped_and_counted() {
        let (hub, start) = (hub_of(&Lag::default()), Instant::now());
        let second = Duration::from_secs(1);
        deliver(&hub, 0..2, "hi", start);
        deliver(&hub, 2..3, "hi", start + second);
        assert_eq!(hub.unclaimed_deadline(), Some(start + 8 * second));
        assert_eq!(hub.expire_unclaimed(start + 8 * second - Duration::from_millis(1)), 0);
        assert_eq!(hub.expire_unclaimed(start + 8 * second), 2);
        assert_eq!((hub.dropped(), hub.unclaimed_deadline()), (2, Some(start + 9 * second)));
        assert_eq!(waiting(&hub), [2]);
    }

    #[test]
    fn the_default_mailbox_stays_within_the_lag_that_is_allowed() {
        let (hub, now) = (hub_of(&Lag::default().stanzas(20).time(Duration::from_secs(5))), Instant::now());
        deliver(&hub, 0..16, "hi", now);
        assert_eq!((hub.dropped(), hub.unclaimed_deadline()), (1, Some(now + Duration::from_secs(4))));
    }

    #[test]
    fn a_drop_is_reported_at_warn_level() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&log);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Written(Arc::clone(&writer)))
            .with_max_level(tracing::Level::WARN)
            .finish();
        let drop_one = || deliver(&hub_of(&Lag::default().stanzas(1)), 0..2, "secret", Instant::now());
        // Who comes by there first decides whether anybody listens, and that may be another test without a listener: it is asked anew.
        drop_one();
        tracing::subscriber::with_default(subscriber, || {
            tracing::callsite::rebuild_interest_cache();
            drop_one();
        });
        let log = String::from_utf8(log.lock().expect("the log").clone()).expect("text");
        assert!(log.contains("WARN") && log.contains("messages dropped") && log.contains("{jabber:client}body"), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }

    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("the log").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_burst_of_drops_is_reported_when_it_begins_and_then_now_and_then_with_every_drop_counted() {
        let start = Instant::now();
        let mut reports = Reports::default();
        assert_eq!(reports.note(1, start), Some(1));
        for millis in 1..1000 {
            assert_eq!(reports.note(1, start + Duration::from_millis(millis)), None);
        }
        assert_eq!(reports.note(2, start + REPORT_EVERY), Some(1001));
        assert_eq!(reports.note(1, start + REPORT_EVERY), None);
        assert_eq!(reports.note(1, start + 3 * REPORT_EVERY), Some(2));
    }

    #[test]
    fn a_report_names_type_and_payload_and_nothing_that_was_said() {
        for (inside, kind, payload) in [
            ("type='chat'><x xmlns='urn:x'/><body>secret</body>", "chat", "{jabber:client}body"),
            ("type='chat'><attention xmlns='urn:xmpp:attention:0'>secret</attention>", "chat", "{urn:xmpp:attention:0}attention"),
            (">", "normal", "none"),
        ] {
            let xml = format!("<message xmlns='jabber:client' from='a@b' {inside}</message>");
            assert_eq!(describe(&inbound(&xml)), (kind.to_owned(), payload.to_owned()));
        }
    }
}
