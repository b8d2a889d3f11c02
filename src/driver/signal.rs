//! Says that there may be something to do.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// A flag that one task waits for. What waits for it is no larger than a reference, so that a task may wait for many at no cost.
#[derive(Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    /// Wakes who waits, now or later.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Waits until it is raised, and lowers it. Cancel-safe. The last who polls is woken.
    pub(crate) async fn raised(&self) {
        poll_fn(|cx| self.poll_raised(cx)).await;
    }

    /// As [`raised`](Self::raised).
    pub(crate) fn poll_raised(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.raised.swap(false, Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // It may have been raised before the waker was there.
        if self.raised.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_is_raised_before_is_seen_once() {
        let signal = Signal::default();
        assert_eq!(signal.raised().now_or_never(), None);
        signal.raise();
        signal.raise();
        assert_eq!(signal.raised().now_or_never(), Some(()));
        assert_eq!(signal.raised().now_or_never(), None);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_although_another_has_waited_before() {
        let signal = Arc::new(Signal::default());
        assert_eq!(signal.raised().now_or_never(), None);
        let (waiting, other) = (Arc::clone(&signal), Arc::clone(&signal));
        let task = tokio::spawn(async move { waiting.raised().await });
        tokio::task::yield_now().await;
        other.raise();
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("it is woken").expect("it ends");
    }
}
