//! Subscriptions: events as async streams.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use crate::client::{Client, WeakClient};
use crate::error::{ErrorKind, Result};
use crate::event::hub::Hold;
use crate::event::mailbox::{CAPACITY, CAPACITY_BYTES, Entry, Mailbox};
use crate::event::{Delivery, Durable, Event, Incoming, Logged};
use crate::store::Position;

/// A live subscription: a stream of what arrives from the moment it is made.
///
/// Made before [`connect`](Client::connect) it misses nothing. Its mailbox takes 1,024 items or 8 MiB. A subscriber that
/// reads more slowly than that makes the connection wait, once and at most 5 s, and is then cut off: it gets an
/// [`Incoming::Gap`] where items are missing, and new items once it has read half of what it has; [`healed`](Self::healed) spares
/// it that. Dropping the subscription ends it.
///
/// The stream ends when the client is closed, has failed for good, or its last handle was dropped, once everything that
/// had arrived was read. After a new [`connect`](Client::connect) the same subscription goes on.
#[must_use = "a subscription yields events only while it is polled"]
pub struct Subscription<E: Event> {
    mailbox: Arc<Mailbox>,
    client: WeakClient,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> Subscription<E> {
    pub(crate) fn new(client: &Client) -> Self {
        let mailbox = Arc::new(Mailbox::new(E::route(), TypeId::of::<E>(), CAPACITY, CAPACITY_BYTES));
        client.shared().hub.add(&mailbox);
        Self { mailbox, client: client.downgrade(), event: PhantomData }
    }

    /// The same events with a position in the store under this name, moved by acknowledging: what was not acknowledged
    /// comes again, after a restart too where the store is persistent (R21).
    ///
    /// A name that is new begins with what arrives from now on, and with what waited for its first subscriber.
    ///
    /// # Errors
    /// [`ErrorKind::SubscriptionInUse`](crate::ErrorKind::SubscriptionInUse) while the name is open;
    /// [`ErrorKind::Store`](crate::ErrorKind::Store); [`ErrorKind::ClientClosed`](crate::ErrorKind::ClientClosed).
    pub async fn durable(self, name: impl Into<String>) -> Result<Durable<E>> {
        Durable::open(self.client.clone(), &self.mailbox, name.into()).await
    }

    /// The same events read from the message log, beginning behind this position: what came since, and then what comes
    /// (D10). The position is that of an item seen earlier, [`Delivery::position`], or [`Position::START`] for all
    /// that the log has.
    ///
    /// ```
    /// # use futures::StreamExt;
    /// # use xmppkit::{Client, messaging::Messages, store::Position};
    /// # async fn example(client: &Client, last_shown: Position) {
    /// let mut missed = client.messages().from(last_shown).events();
    /// while let Some(message) = missed.next().await {
    ///     println!("{}: {}", message.from(), message.body().unwrap_or_default());
    /// }
    /// # }
    /// ```
    pub fn from(self, after: Position) -> Logged<E> {
        Logged::new(self.client.clone(), after)
    }

    /// The same events without the gaps of a slow subscriber (D12): they are read from the message log, where they wait
    /// until they are asked for. It begins with what waits in this subscription, or with what comes from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store); [`ErrorKind::ClientClosed`](crate::ErrorKind::ClientClosed).
    pub async fn healed(self) -> Result<Logged<E>> {
        let shared = self.client.shared().ok_or(ErrorKind::ClientClosed)?;
        let head = shared.store.feed_head().await?;
        drop(shared);
        let after = self.mailbox.first_position().map_or(head, |first| Position::new(first.get().saturating_sub(1)));
        Ok(self.from(after))
    }

    /// The short form: only the events. A gap is reported at warn level.
    pub fn events(self) -> Events<E> {
        Events { subscription: self, last: None }
    }
}

impl<E: Event> Stream for Subscription<E> {
    type Item = Incoming<E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming<E>>> {
        loop {
            match self.mailbox.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(entry)) => {
                    if let Some(incoming) = decode(entry, &self.client) {
                        return Poll::Ready(Some(incoming));
                    }
                }
            }
        }
    }
}

impl<E: Event> Drop for Subscription<E> {
    fn drop(&mut self) {
        if let Some(shared) = self.client.shared() {
            shared.hub.remove(&self.mailbox);
        }
    }
}

impl<E: Event> fmt::Debug for Subscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("event", &std::any::type_name::<E>()).finish_non_exhaustive()
    }
}

/// What a mailbox's entry is as an item of a subscription; `None` if it is no such event after all.
pub(crate) fn decode<E: Event>(entry: Entry, client: &WeakClient) -> Option<Incoming<E>> {
    match entry {
        Entry::Gap(gap) => Some(Incoming::Gap(gap)),
        Entry::Item(inbound, hold) => {
            E::from_inbound(&inbound, client).map(|event| Incoming::Item(Delivery::new(event, &inbound).held_by(hold)))
        }
        Entry::Value(value) => value.downcast_ref::<E>().map(|event| Incoming::Item(Delivery::emitted(event.clone()))),
    }
}

/// A subscription's events without the gaps, see [`Subscription::events`].
#[must_use = "a stream yields events only while it is polled"]
pub struct Events<E: Event> {
    subscription: Subscription<E>,
    /// What keeps the last event from counting as handled.
    last: Option<Arc<Hold>>,
}

impl<E: Event> Stream for Events<E> {
    type Item = E;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<E>> {
        self.last = None;
        loop {
            match Pin::new(&mut self.subscription).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Incoming::Item(item))) => {
                    let (event, hold) = item.into_parts();
                    self.last = hold;
                    return Poll::Ready(Some(event));
                }
                Poll::Ready(Some(Incoming::Gap(gap))) => {
                    tracing::warn!(?gap, event = std::any::type_name::<E>(), "a subscriber read too slowly; items are missing");
                }
            }
        }
    }
}

impl<E: Event> fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscription.fmt(f)
    }
}
