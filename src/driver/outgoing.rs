//! The way of stanzas from callers to the driver. It is bounded, so that backpressure lands on the callers, and has no memory of
//! its own while nothing is sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Semaphore;

use crate::driver::Outgoing;

/// How many stanzas callers may have in it before they wait.
const CAPACITY: usize = 64;

/// A caller's end.
#[derive(Clone)]
pub(crate) struct OutgoingSender(Arc<Channel>);

/// The driver's end.
pub(crate) struct OutgoingReceiver(Arc<Channel>);

struct Channel {
    queue: Mutex<Queue>,
    room: Semaphore,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Outgoing>,
    reader: Option<Waker>,
    closed: bool,
}

/// A new channel.
pub(crate) fn outgoing() -> (OutgoingSender, OutgoingReceiver) {
    let channel = Arc::new(Channel { queue: Mutex::default(), room: Semaphore::new(CAPACITY) });
    (OutgoingSender(Arc::clone(&channel)), OutgoingReceiver(channel))
}

impl OutgoingSender {
    /// Waits for room; `false` if the driver has ended. Cancel-safe: what is not sent is dropped.
    pub(crate) async fn hand_over(&self, outgoing: Outgoing) -> bool {
        let Ok(room) = self.0.room.acquire().await else { return false };
        let mut queue = self.0.lock();
        if queue.closed {
            return false;
        }
        // It is given back when the driver takes the stanza.
        room.forget();
        queue.items.push_back(outgoing);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }
}

impl OutgoingReceiver {
    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Outgoing {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next one, if there is one.
    pub(crate) fn take(&mut self) -> Option<Outgoing> {
        self.0.lock().take(&self.0.room)
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        let mut queue = self.0.lock();
        match queue.take(&self.0.room) {
            Some(outgoing) => Poll::Ready(outgoing),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for OutgoingReceiver {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closed = true;
        let left = std::mem::take(&mut queue.items);
        drop(queue);
        drop(left);
        self.0.room.close();
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, room: &Semaphore) -> Option<Outgoing> {
        let outgoing = self.items.pop_front()?;
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        room.add_permits(1);
        Some(outgoing)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn nonza(number: usize) -> Outgoing {
        Outgoing::Nonza(number.to_string())
    }

    #[test]
    fn a_caller_waits_while_it_is_full_and_goes_on_in_order() {
        let (sender, mut receiver) = outgoing();
        for number in 0..CAPACITY {
            assert_eq!(sender.hand_over(nonza(number)).now_or_never(), Some(true));
        }
        let mut waiting = Box::pin(sender.hand_over(nonza(CAPACITY)));
        assert_eq!((&mut waiting).now_or_never(), None);
        for number in 0..CAPACITY {
            let next = receiver.next().now_or_never().expect("one is there");
            assert!(matches!(next, Outgoing::Nonza(text) if text == number.to_string()));
        }
        assert_eq!(waiting.now_or_never(), Some(true));
        assert!(receiver.take().is_some() && receiver.take().is_none());
    }

    #[test]
    fn the_driver_is_woken_by_what_is_handed_over() {
        let (sender, mut receiver) = outgoing();
        let mut next = by_hand(async move { receiver.next().await });
        assert!(next.poll().is_pending());
        assert_eq!(sender.hand_over(nonza(1)).now_or_never(), Some(true));
        assert!(next.is_woken() && next.poll().is_ready());
    }

    #[test]
    fn nobody_waits_for_a_driver_that_has_ended() {
        let (sender, receiver) = outgoing();
        for number in 0..CAPACITY {
            assert_eq!(sender.hand_over(nonza(number)).now_or_never(), Some(true));
        }
        let mut waiting = Box::pin(sender.hand_over(nonza(CAPACITY)));
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(receiver);
        assert_eq!((waiting.now_or_never(), sender.hand_over(nonza(0)).now_or_never()), (Some(false), Some(false)));
    }

    /// A future that is polled by hand, and whether it was woken.
    struct Task<F> {
        future: std::pin::Pin<Box<F>>,
        woken: Arc<Flag>,
    }

    #[derive(Default)]
    struct Flag(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn by_hand<F: Future>(future: F) -> Task<F> {
        Task { future: Box::pin(future), woken: Arc::default() }
    }

    impl<F: Future> Task<F> {
        fn poll(&mut self) -> Poll<F::Output> {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.future.as_mut().poll(&mut Context::from_waker(&waker))
        }

        fn is_woken(&self) -> bool {
            self.woken.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }
}
