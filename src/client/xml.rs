//! Who looks on what goes over the wire, and what is sent as it was written.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use futures::task::AtomicWaker;

use crate::client::WeakClient;
use crate::driver::{XmlSink, XmlTraffic};
use crate::error::Result;
use crate::event::{Gap, GapKind};
use crate::xml::{Frame, OutStanza};

/// How many pieces wait for a reader that is slower than the connection, and how many bytes.
const CAPACITY: usize = 1024;
const CAPACITY_BYTES: usize = 4 << 20;

/// What goes over the wire, from [`Client::watch_xml`](crate::client::Client::watch_xml): a stream of [`XmlTraffic`], or of
/// a [`Gap`] where pieces are missing.
///
/// At most 1,024 pieces or 4 MiB wait. The connection does not wait for a slower reader: there will be a gap in its stream,
/// with the number of pieces it missed, and pieces again once it has read half of what it has. The stream goes on from
/// one connection to the next and ends with the client. Dropping it ends the watching.
#[must_use = "a stream yields nothing unless it is polled"]
pub struct XmlWatch {
    queue: Arc<Queue>,
    client: WeakClient,
}

impl XmlWatch {
    pub(super) fn new(watchers: &XmlWatchers, client: WeakClient) -> Self {
        let queue = Arc::new(Queue::default());
        watchers.lock().push(Arc::clone(&queue));
        watchers.watched.fetch_add(1, Ordering::Relaxed);
        Self { queue, client }
    }
}

impl Stream for XmlWatch {
    type Item = Result<XmlTraffic, Gap>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.waker.register(cx.waker());
        let mut waiting = self.queue.lock();
        match waiting.items.pop_front() {
            Some(Ok(traffic)) => {
                waiting.bytes -= traffic.xml.len();
                Poll::Ready(Some(Ok(traffic)))
            }
            Some(Err(missed)) => Poll::Ready(Some(Err(Gap::new(GapKind::Overflow, Some(missed))))),
            None if waiting.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for XmlWatch {
    fn drop(&mut self) {
        if let Some(shared) = self.client.shared() {
            shared.xml.lock().retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            shared.xml.watched.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for XmlWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XmlWatch").field("waiting", &self.queue.lock().items.len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Waiting {
    /// Pieces, and how many are missing in between.
    items: VecDeque<Result<XmlTraffic, u64>>,
    bytes: usize,
    ended: bool,
}

impl Queue {
    fn add(&self, traffic: &XmlTraffic) {
        self.lock().add(traffic);
        self.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, traffic: &XmlTraffic) {
        let full = |part| self.items.len() >= CAPACITY / part || self.bytes + traffic.xml.len() > CAPACITY_BYTES / part;
        let (full, half_full) = (full(1) && !self.items.is_empty(), full(2));
        match self.items.back_mut() {
            Some(Err(missed)) if half_full => *missed += 1,
            _ if full => self.items.push_back(Err(1)),
            _ => {
                self.bytes += traffic.xml.len();
                self.items.push_back(Ok(traffic.clone()));
            }
        }
    }
}

/// Everybody who looks on.
pub(super) struct XmlWatchers {
    sink: Option<XmlSink>,
    sink_panicked: AtomicBool,
    queues: Mutex<Vec<Arc<Queue>>>,
    /// How many look on.
    watched: AtomicUsize,
}

impl XmlWatchers {
    pub(super) fn new(sink: Option<XmlSink>) -> Self {
        let watched = AtomicUsize::new(usize::from(sink.is_some()));
        Self { sink, sink_panicked: AtomicBool::new(false), queues: Mutex::default(), watched }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed) > 0
    }

    pub(super) fn show(&self, traffic: &XmlTraffic) {
        for queue in self.lock().iter() {
            queue.add(traffic);
        }
        let Some(sink) = self.sink.as_ref().filter(|_| !self.sink_panicked.load(Ordering::Relaxed)) else { return };
        if std::panic::catch_unwind(AssertUnwindSafe(|| sink(traffic.direction, &traffic.xml))).is_err() {
            tracing::error!("the XML log panicked; it is not called any more");
            self.sink_panicked.store(true, Ordering::Relaxed);
            self.watched.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Nothing will go over the wire any more.
    pub(super) fn end(&self) {
        for queue in self.lock().iter() {
            queue.lock().ended = true;
            queue.waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stanza as it would stand in a stream, or on its own.
pub(super) fn stanza(xml: &str) -> Result<OutStanza> {
    let frame = Frame::parse(xml)?;
    let start = format!("<{}", frame.name());
    // In a stream its header has declared the namespace, so nobody writes it.
    let xml = match xml.split_once(&start).filter(|_| frame.ns().is_empty()) {
        Some((before, after)) => format!("{before}{start} xmlns='{}'{after}", crate::xml::ns::CLIENT),
        None => xml.to_owned(),
    };
    Ok(OutStanza::from_xml(&xml)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{XmlDirection, XmlKind};
    use crate::xml::XmlErrorKind;

    fn traffic(xml: &str) -> XmlTraffic {
        let at = std::time::SystemTime::UNIX_EPOCH;
        XmlTraffic { direction: XmlDirection::Sent, at, kind: XmlKind::Fragment, xml: xml.into() }
    }

    #[test]
    fn a_slow_reader_is_told_how_many_pieces_it_missed_where_it_missed_them() {
        let mut waiting = Waiting::default();
        for _ in 0..CAPACITY + 10 {
            waiting.add(&traffic("<a/>"));
        }
        assert_eq!((waiting.items.len(), waiting.items.back().and_then(|item| item.as_ref().err())), (CAPACITY + 1, Some(&10)));
        waiting.items.drain(..CAPACITY / 2 + 2);
        waiting.add(&traffic("<b/>"));
        assert_eq!(waiting.items.iter().rev().map(Result::is_ok).take(3).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn bytes_are_bounded_and_one_large_piece_is_shown() {
        let mut waiting = Waiting::default();
        let large = "x".repeat(CAPACITY_BYTES + 1);
        for _ in 0..3 {
            waiting.add(&traffic(&large));
        }
        assert_eq!(waiting.items.iter().map(|item| item.as_ref().err().copied()).collect::<Vec<_>>(), [None, Some(2)]);
        assert_eq!(waiting.bytes, large.len());
    }

    #[test]
    fn a_raw_stanza_is_checked_and_needs_no_namespace() {
        for xml in ["<presence/>", " <message to='a@b'><body/></message> ", "<?xml version='1.0'?><iq id='1' type='get'/>"] {
            assert!(stanza(xml).is_ok(), "{xml}");
        }
        assert!(stanza("<c:iq xmlns:c='jabber:client'/>").is_ok());
        let kind = |xml: &str| match std::error::Error::source(&stanza(xml).expect_err(xml)) {
            Some(source) => source.downcast_ref::<crate::xml::XmlError>().map(|error| error.kind),
            None => None,
        };
        assert_eq!(kind("<message></presence>"), Some(XmlErrorKind::MismatchedTag));
        assert_eq!(kind("<message/><message/>"), Some(XmlErrorKind::AfterEnd));
        assert_eq!(kind("</stream:stream>"), Some(XmlErrorKind::Syntax));
        assert_eq!(kind("<r xmlns='urn:xmpp:sm:3'/>"), Some(XmlErrorKind::NotAStanza));
        assert_eq!(kind("<message xmlns='urn:else'/>"), Some(XmlErrorKind::NotAStanza));
    }
}
