//! Subscriptions that read the message log, without a name (D10, D12).

use std::any::type_name;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt as _};

use crate::client::WeakClient;
use crate::event::log_reader::{LogReader, Read, Reading, gap};
use crate::event::{Event, Incoming};
use crate::store::{FeedItem, Position};

/// A subscription that reads the message log, from a position on: what [`Subscription::from`](crate::event::Subscription::from)
/// and [`Subscription::healed`](crate::event::Subscription::healed) give.
///
/// It may read as slowly as it likes and misses nothing, for what it has not read waits in the log and holds nobody up. A gap
/// is where the log has one: what left a log in memory before it was read, or what no archive could tell.
///
/// Only what the log keeps comes this way: every message, except those that carry only a chat state and those that ask
/// not to be stored. There is nothing to acknowledge; for a position that outlives the value see
/// [`durable`](crate::event::Subscription::durable). The stream ends when the client is closed or has failed for good, once
/// everything was read; after a new `connect` the same value goes on.
#[must_use = "a subscription yields events only while it is polled"]
pub struct Logged<E: Event> {
    reading: Reading<LogReader<E>>,
}

impl<E: Event> Logged<E> {
    pub(crate) fn new(client: WeakClient, after: Position) -> Self {
        Self { reading: Reading::new(LogReader::new(client, after)) }
    }

    /// The short form: only the events. A gap is reported at warn level.
    pub fn events(self) -> impl Stream<Item = E> + Send + Unpin {
        self.filter_map(|incoming| {
            std::future::ready(match incoming {
                Incoming::Item(item) => Some(item.into_inner()),
                Incoming::Gap(gap) => {
                    tracing::warn!(?gap, event = type_name::<E>(), "items are missing");
                    None
                }
            })
        })
    }
}

impl<E: Event> Read for LogReader<E> {
    type Event = E;

    async fn next(&mut self) -> Option<Incoming<E>> {
        loop {
            let item = Self::next(self).await?;
            let incoming = match &item {
                FeedItem::Message(message) => self.delivery(message, false).map(Incoming::Item),
                _ => gap(&item).map(Incoming::Gap),
            };
            if incoming.is_some() {
                return incoming;
            }
        }
    }
}

impl<E: Event> Stream for Logged<E> {
    type Item = Incoming<E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming<E>>> {
        self.reading.poll_next_unpin(cx)
    }
}

impl<E: Event> fmt::Debug for Logged<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logged").field("event", &type_name::<E>()).finish_non_exhaustive()
    }
}
