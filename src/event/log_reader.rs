//! Reading the message log as a subscription: page by page, and at its end waiting for more.

use std::any::{TypeId, type_name};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};

use crate::client::WeakClient;
use crate::event::mailbox::Mailbox;
use crate::event::{Delivery, Event, Gap, GapKind, Inbound, Incoming};
use crate::store::{self, FeedItem, LoggedMessage, Position};

/// Items read from the log at once.
const PAGE: usize = 64;

/// Reads the feed behind a position.
pub(super) struct LogReader<E: Event> {
    client: WeakClient,
    mailbox: Arc<Mailbox>,
    read: Position,
    page: VecDeque<FeedItem>,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> LogReader<E> {
    pub(super) fn new(client: WeakClient, after: Position) -> Self {
        let mailbox = Arc::new(Mailbox::new(E::route(), TypeId::of::<E>(), 1, 1));
        mailbox.set_log_reader();
        if let Some(shared) = client.shared() {
            shared.hub.add(&mailbox);
        }
        Self { client, mailbox, read: after, page: VecDeque::new(), event: PhantomData }
    }

    /// Reads on while the client is stopped: it may be started again.
    pub(super) fn set_outlasting(&self) {
        self.mailbox.set_outlasting();
    }

    /// The next item, waiting for one; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<FeedItem> {
        while self.page.is_empty() {
            let shared = self.client.shared()?;
            match shared.store.feed(self.read, PAGE).await {
                Ok(page) if !page.is_empty() => {
                    self.page = page.into();
                    break;
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, event = type_name::<E>(), "the log could not be read"),
            }
            drop(shared);
            if !poll_fn(|cx| self.mailbox.poll_news(cx)).await {
                return None;
            }
        }
        let item = self.page.pop_front()?;
        self.read = item.position();
        Some(item)
    }

    /// A logged message as an item, if it is such an event.
    pub(super) fn delivery(&self, message: &LoggedMessage, redelivered: bool) -> Option<Delivery<E>> {
        let mut inbound = Inbound::of_logged(message).ok()?;
        inbound.set_redelivered(redelivered);
        let event = E::route().matches(&inbound).then(|| E::from_inbound(&inbound, &self.client)).flatten()?;
        Some(Delivery::new(event, &inbound))
    }
}

impl<E: Event> Drop for LogReader<E> {
    fn drop(&mut self) {
        if let Some(shared) = self.client.shared() {
            shared.hub.remove(&self.mailbox);
        }
    }
}

/// Something that reads items one after another.
pub(super) trait Read: Send + 'static {
    type Event: Event;

    fn next(&mut self) -> impl Future<Output = Option<Incoming<Self::Event>>> + Send;
}

/// A reader as a stream. After an end it reads on when it is asked again.
pub(super) struct Reading<R: Read> {
    reader: Option<R>,
    next: Option<Next<R>>,
}

/// The reader on its way to the next item; it comes back with it.
type Next<R> = BoxFuture<'static, (R, Option<Incoming<<R as Read>::Event>>)>;

impl<R: Read> Reading<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: Some(reader), next: None }
    }

    /// The reader, unless it is on its way.
    pub(super) fn into_reader(self) -> Option<R> {
        self.reader
    }
}

// Nothing in it is pinned in place.
impl<R: Read> Unpin for Reading<R> {}

impl<R: Read> Stream for Reading<R> {
    type Item = Incoming<R::Event>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = match (&mut this.next, this.reader.take()) {
            (Some(next), _) => next,
            (empty, Some(mut reader)) => empty.insert(
                async move {
                    let item = reader.next().await;
                    (reader, item)
                }
                .boxed(),
            ),
            (None, None) => return Poll::Ready(None),
        };
        let (reader, item) = ready!(next.poll_unpin(cx));
        this.next = None;
        this.reader = Some(reader);
        Poll::Ready(item)
    }
}

/// A gap of the log, if the item is one.
pub(super) fn gap(item: &FeedItem) -> Option<Gap> {
    match item {
        FeedItem::Message(_) => None,
        FeedItem::Gap { gap, .. } => Some(Gap::new(gap_kind(gap.kind), None)),
        FeedItem::Lost { first, last, .. } => Some(Gap::new(GapKind::Retention, Some(last.get() - first.get() + 1))),
    }
}

fn gap_kind(kind: store::GapKind) -> GapKind {
    match kind {
        store::GapKind::Expired => GapKind::Expired,
        store::GapKind::CatchUpFailed => GapKind::CatchUpFailed,
        store::GapKind::NoArchive => GapKind::NoArchive,
    }
}
