//! Durable subscriptions: a position in the store, moved by acknowledging (D11, R21).

use std::any::type_name;
use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};

use crate::client::WeakClient;
use crate::error::{Error, ErrorKind, Result};
use crate::event::delivery::Acknowledge;
use crate::event::handler::call;
use crate::event::log_reader::{LogReader, Read, Reading, gap};
use crate::event::mailbox::Mailbox;
use crate::event::{Delivery, Event, HandlerGuard, HandlerOutput, Inbound, Incoming, Route};
use crate::ext::Ctx;
use crate::store::{Batch, Cursor, FeedItem, Position};

/// The delays before a handler that failed is called with the same item again.
const RETRIES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// A durable subscription: a stream of what the log has behind its position.
///
/// An item is done with when it is [acknowledged](Delivery::ack); dropped without that it comes again the next time the
/// name is opened, and is then marked [redelivered](Delivery::redelivered). Items may be acknowledged in any order; while
/// 1,024 are acknowledged above one that is not, the stream waits for that one.
///
/// Only what the log keeps comes this way: every message, except those that carry only a chat state and those that ask
/// not to be stored. The stream ends when the client is closed or has failed for good, once everything was read; after a
/// new `connect` the same value goes on.
#[must_use = "a subscription yields events only while it is polled"]
pub struct Durable<E: Event> {
    reading: Reading<Reader<E>>,
}

/// A handler of a durable subscription failed with an item four times; the item was acknowledged all the same.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandlerGaveUp {
    /// The subscription's name.
    pub name: String,
    /// The item's place in the log.
    pub position: Option<Position>,
    /// The handler's last error.
    pub error: Error,
}

impl Event for HandlerGaveUp {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}

impl<E: Event> Durable<E> {
    /// `live` is the subscription this one takes the place of: what waits there waits here.
    pub(crate) async fn open(client: WeakClient, live: &Mailbox, name: String) -> Result<Self> {
        let claim = Claim::new(client, name)?;
        let shared = claim.client.shared().ok_or(ErrorKind::ClientClosed)?;
        let known = shared.store.cursor(&claim.name).await?;
        let head = shared.store.feed_head().await?;
        let redelivered_through = if known.is_some() { head } else { Position::START };
        let cursor = match known {
            Some(cursor) => cursor,
            None => Cursor::new(live.first_position().map_or(head, |first| Position::new(first.get().saturating_sub(1)))),
        };
        let progress = Progress { read: cursor.through, cursor, open: BTreeSet::new(), waker: None };
        let ledger = Arc::new(Ledger { claim, progress: Mutex::new(progress) });
        let log = LogReader::new(ledger.claim.client.clone(), ledger.progress().read);
        Ok(Self { reading: Reading::new(Reader { ledger, log, redelivered_through }) })
    }

    /// The short form: only the events. Asking for the next one acknowledges the one before; a gap is reported at warn
    /// level.
    pub fn events(self) -> DurableEvents<E> {
        DurableEvents { subscription: self, last: None, ack: None }
    }

    /// Gives the items to a handler, one after another. When its future ends without error, the item is acknowledged; if
    /// it fails or panics, it is called again after 0.2, 1 and 5 s, then the item is acknowledged and [`HandlerGaveUp`]
    /// reported. Dropping the guard removes the handler: a call in progress is dropped, and its item comes again.
    pub fn on<F, Fut>(self, handler: F) -> HandlerGuard
    where
        F: Fn(E, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let Some(reader) = self.reading.into_reader() else { return HandlerGuard::new(|| ()) };
        let Some(shared) = reader.ledger.claim.client.shared() else { return HandlerGuard::new(|| ()) };
        reader.log.set_outlasting();
        let task = shared.runtime.spawn(handle(reader, handler));
        HandlerGuard::new(move || task.abort())
    }
}

/// A durable handler's task. It ends with the client.
async fn handle<E, F, Fut>(mut reader: Reader<E>, handler: F)
where
    E: Event,
    F: Fn(E, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send + 'static,
{
    let ledger = Arc::clone(&reader.ledger);
    while let Some(incoming) = reader.next().await {
        let Incoming::Item(item) = incoming else {
            tracing::warn!(event = type_name::<E>(), "items are missing");
            continue;
        };
        let mut delays = RETRIES.into_iter();
        let error = loop {
            let Some(cx) = ledger.claim.client.ctx() else { return };
            let Err(error) = call(|| handler((*item).clone(), cx)).await else { break None };
            let Some(delay) = delays.next() else { break Some(error) };
            tracing::warn!(%error, name = ledger.claim.name, ?delay, "a handler failed; it is called again");
            tokio::time::sleep(delay).await;
        };
        if let (Some(error), Some(cx)) = (error, ledger.claim.client.ctx()) {
            cx.emit(HandlerGaveUp { name: ledger.claim.name.clone(), position: item.position(), error });
        }
        if let Err(error) = item.ack().await {
            tracing::error!(%error, "an acknowledgement could not be stored; the item will come again");
        }
    }
}

impl<E: Event> Stream for Durable<E> {
    type Item = Incoming<E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming<E>>> {
        self.reading.poll_next_unpin(cx)
    }
}

impl<E: Event> fmt::Debug for Durable<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").field("event", &type_name::<E>()).finish_non_exhaustive()
    }
}

/// A durable subscription's events without the gaps, see [`Durable::events`].
#[must_use = "a stream yields events only while it is polled"]
pub struct DurableEvents<E: Event> {
    subscription: Durable<E>,
    last: Option<Delivery<E>>,
    ack: Option<BoxFuture<'static, Result<()>>>,
}

// Nothing in it is pinned in place.
impl<E: Event> Unpin for DurableEvents<E> {}

impl<E: Event> Stream for DurableEvents<E> {
    type Item = E;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<E>> {
        let this = self.get_mut();
        if let Some(last) = this.last.take() {
            this.ack = Some(async move { last.ack().await }.boxed());
        }
        if let Some(ack) = &mut this.ack {
            if let Err(error) = std::task::ready!(ack.poll_unpin(cx)) {
                tracing::error!(%error, "an acknowledgement could not be stored; the item will come again");
            }
            this.ack = None;
        }
        loop {
            match std::task::ready!(this.subscription.poll_next_unpin(cx)) {
                None => return Poll::Ready(None),
                Some(Incoming::Item(item)) => {
                    let event = (*item).clone();
                    this.last = Some(item);
                    return Poll::Ready(Some(event));
                }
                Some(Incoming::Gap(gap)) => tracing::warn!(?gap, event = type_name::<E>(), "items are missing"),
            }
        }
    }
}

impl<E: Event> fmt::Debug for DurableEvents<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscription.fmt(f)
    }
}

/// Keeps a name from being opened twice.
struct Claim {
    client: WeakClient,
    name: String,
}

impl Claim {
    fn new(client: WeakClient, name: String) -> Result<Self> {
        let shared = client.shared().ok_or(ErrorKind::ClientClosed)?;
        let taken = !lock(&shared.hub.durable).insert(name.clone());
        if taken { Err(ErrorKind::SubscriptionInUse(name).into()) } else { Ok(Self { client, name }) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(shared) = self.client.shared() {
            lock(&shared.hub.durable).remove(&self.name);
        }
    }
}

/// Reads the log, and notes what is handed out.
struct Reader<E: Event> {
    ledger: Arc<Ledger>,
    log: LogReader<E>,
    redelivered_through: Position,
}

impl<E: Event> Read for Reader<E> {
    type Event = E;

    async fn next(&mut self) -> Option<Incoming<E>> {
        loop {
            poll_fn(|cx| self.ledger.poll_room(cx)).await;
            let item = self.log.next().await?;
            if let Some(incoming) = self.take(&item) {
                return Some(incoming);
            }
        }
    }
}

impl<E: Event> Reader<E> {
    fn take(&self, item: &FeedItem) -> Option<Incoming<E>> {
        let position = item.position();
        let FeedItem::Message(message) = item else {
            self.ledger.pass(position);
            return gap(item).map(Incoming::Gap);
        };
        if !self.ledger.begin(position) {
            return None;
        }
        match self.log.delivery(message, position <= self.redelivered_through) {
            Some(delivery) => Some(Incoming::Item(delivery.with_ack(Arc::clone(&self.ledger) as Arc<dyn Acknowledge>))),
            None => {
                self.ledger.pass(position);
                None
            }
        }
    }
}

/// What is acknowledged and what is not, shared with the items that were handed out.
struct Ledger {
    claim: Claim,
    progress: Mutex<Progress>,
}

struct Progress {
    cursor: Cursor,
    /// Everything up to here was read from the log.
    read: Position,
    /// Handed out and not acknowledged.
    open: BTreeSet<Position>,
    waker: Option<std::task::Waker>,
}

impl Ledger {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    /// Notes that this position is being handed out; `false` if it was acknowledged before.
    fn begin(&self, position: Position) -> bool {
        let mut progress = self.progress();
        progress.read = position;
        let new = !progress.cursor.contains(position);
        if new {
            progress.open.insert(position);
        }
        new
    }

    /// Nothing is to be acknowledged at this position.
    fn pass(&self, position: Position) {
        let mut progress = self.progress();
        progress.read = progress.read.max(position);
        progress.open.remove(&position);
    }

    /// Waits while too much is acknowledged above something that is not (D11).
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = self.progress();
        if progress.cursor.above.len() < Cursor::MAX_ABOVE {
            return Poll::Ready(());
        }
        progress.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Acknowledge for Ledger {
    fn acknowledge(&self, position: Position) -> BoxFuture<'_, Result<()>> {
        let batch = {
            let mut progress = self.progress();
            if !progress.open.remove(&position) {
                return Box::pin(std::future::ready(Ok(())));
            }
            let through = progress.open.first().map_or(progress.read, |first| Position::new(first.get() - 1));
            let above = if position > through { vec![position] } else { Vec::new() };
            if let Err(error) = progress.cursor.acknowledge(through, &above) {
                return Box::pin(std::future::ready(Err(error)));
            }
            if let Some(waker) = progress.waker.take() {
                waker.wake();
            }
            Batch::new().acknowledge(self.claim.name.as_str(), through, above)
        };
        let Some(shared) = self.claim.client.shared() else {
            return Box::pin(std::future::ready(Err(ErrorKind::ClientClosed.into())));
        };
        Box::pin(async move { shared.store.apply(batch).await.map(drop) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
