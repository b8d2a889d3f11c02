//! State that is watched: a snapshot, its changes in order, and a reset for whoever fell behind (D16, lane 4).

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::{Stream, StreamExt};

use crate::error::Result;

/// Changes a watcher may be behind before it gets a [`Observed::Reset`] instead; of a state that is
/// [larger](Observe::size), as many as that.
pub const MAX_BEHIND: usize = 64;

/// A state that an [`Observable`] can hold: it knows how a change alters it.
pub trait Observe: Clone + Send + 'static {
    /// One step from one value of the state to the next.
    type Change: Clone + Send + 'static;

    /// Takes the step.
    fn apply(&mut self, change: &Self::Change);

    /// Of how many parts it is, such as contacts: a watcher may be as many changes behind, so that whole states cost no more than
    /// the changes they stand for. Small by default.
    fn size(&self) -> usize {
        0
    }
}

/// What a watcher of an [`Observable`] sees.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed<S: Observe> {
    /// The whole state: the first item of every watch, after the state was replaced, and after falling more changes behind than
    /// [`MAX_BEHIND`] and than the state's [`size`](Observe::size).
    Reset(S),
    /// One change to the state seen last.
    Change(S::Change),
}

/// A value with watchers. Clones share the value.
///
/// Every watcher sees a [`Reset`](Observed::Reset) first and then each change in order, so that it can keep a picture of
/// its own that is never wrong; one that reads too slowly gets a reset, never a picture with holes.
///
/// ```
/// use futures::{FutureExt, StreamExt};
/// use xmppkit::ext::{Observable, Observe, Observed};
///
/// #[derive(Clone, Debug, Default, PartialEq, Eq)]
/// struct Unread(u32);
///
/// impl Observe for Unread {
///     type Change = i32;
///     fn apply(&mut self, change: &i32) {
///         self.0 = self.0.saturating_add_signed(*change);
///     }
/// }
///
/// let unread = Observable::new(Unread::default());
/// let mut watch = unread.watch();
/// unread.change(3);
/// assert_eq!(unread.get(), Unread(3));
/// assert_eq!(watch.next().now_or_never().flatten(), Some(Observed::Reset(Unread(0))));
/// assert_eq!(watch.next().now_or_never().flatten(), Some(Observed::Change(3)));
/// ```
pub struct Observable<S: Observe> {
    inner: Arc<Mutex<Inner<S>>>,
}

struct Inner<S: Observe> {
    state: S,
    watchers: Vec<Weak<Mutex<Queue<S>>>>,
}

struct Queue<S: Observe> {
    items: VecDeque<Observed<S>>,
    /// More changes were missed than are kept: the next item is the state as it is when it is asked for, so that a
    /// watcher nobody reads costs nothing any more, however large the state.
    behind: bool,
    waker: Option<Waker>,
    ended: bool,
}

impl<S: Observe> Observable<S> {
    /// An observable of this state.
    pub fn new(state: S) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { state, watchers: Vec::new() })) }
    }

    /// The current state.
    pub fn get(&self) -> S {
        self.lock().state.clone()
    }

    /// Reads the current state in place. Do not call back into this observable from `read`.
    pub fn with<R>(&self, read: impl FnOnce(&S) -> R) -> R {
        read(&self.lock().state)
    }

    /// Applies one change and tells every watcher.
    pub fn change(&self, change: S::Change) {
        self.update(|_| ((), Some(change)));
    }

    /// Decides on a change while looking at the state, and applies it: nothing can come in between.
    pub fn update<R>(&self, decide: impl FnOnce(&S) -> (R, Option<S::Change>)) -> R {
        let mut wakers = Vec::new();
        let result = {
            let mut inner = self.lock();
            let (result, change) = decide(&inner.state);
            if let Some(change) = change {
                inner.state.apply(&change);
                inner.publish(&mut wakers, |_| Observed::Change(change.clone()));
            }
            result
        };
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// Replaces the state; watchers see a reset.
    pub fn reset(&self, state: S) {
        let mut wakers = Vec::new();
        {
            let mut inner = self.lock();
            inner.state = state;
            inner.publish(&mut wakers, |state| Observed::Reset(state.clone()));
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Watches the state from now on; the first item is the state as it is now.
    pub fn watch(&self) -> Watch<S> {
        let mut inner = self.lock();
        let items = VecDeque::from([Observed::Reset(inner.state.clone())]);
        let queue = Arc::new(Mutex::new(Queue { items, behind: false, waker: None, ended: false }));
        inner.watchers.push(Arc::downgrade(&queue));
        Watch { queue, observable: Arc::downgrade(&self.inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Observe> Inner<S> {
    fn publish(&mut self, wakers: &mut Vec<Waker>, item: impl Fn(&S) -> Observed<S>) {
        let state = &self.state;
        let most = state.size().max(MAX_BEHIND);
        self.watchers.retain(|watcher| {
            let Some(queue) = watcher.upgrade() else { return false };
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.items.len() >= most {
                queue.items = VecDeque::new();
                queue.behind = true;
            }
            if !queue.behind {
                queue.items.push_back(item(state));
            }
            wakers.extend(queue.waker.take());
            true
        });
    }
}

impl<S: Observe> Clone for Observable<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: Observe + fmt::Debug> fmt::Debug for Observable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observable").field(&self.lock().state).finish()
    }
}

impl<S: Observe> Drop for Inner<S> {
    fn drop(&mut self) {
        for queue in self.watchers.drain(..).filter_map(|watcher| watcher.upgrade()) {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut queue.behind) {
                queue.items.push_back(Observed::Reset(self.state.clone()));
            }
            queue.ended = true;
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
        }
    }
}

/// The stream [`Observable::watch`] gives. It ends when the observable is gone.
pub struct Watch<S: Observe> {
    queue: Arc<Mutex<Queue<S>>>,
    observable: Weak<Mutex<Inner<S>>>,
}

impl<S: Observe> Watch<S> {
    /// Waits until the state is as wanted, from the state as it is now through every change, and gives it.
    ///
    /// ```no_run
    /// # async fn example(client: xmppkit::Client, juliet: xmppkit::jid::BareJid) -> xmppkit::Result<()> {
    /// use xmppkit::prelude::*;
    /// client.presence().watch().wait_for(|presence| presence.best(&juliet).is_some()).await?;
    /// println!("she is there");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ClientClosed`](crate::ErrorKind::ClientClosed) if the observable is gone before, with the client that
    /// had it.
    pub async fn wait_for(self, mut wanted: impl FnMut(&S) -> bool) -> Result<S> {
        // What was read from this watch is not known any more; a new one begins with the whole.
        let mut watch = match self.observable.upgrade() {
            Some(inner) => Observable { inner }.watch(),
            None => self,
        };
        let mut state = None;
        while let Some(observed) = watch.next().await {
            match observed {
                Observed::Reset(whole) => state = Some(whole),
                Observed::Change(change) => state.iter_mut().for_each(|state: &mut S| state.apply(&change)),
            }
            if let Some(state) = state.take_if(|state| wanted(state)) {
                return Ok(state);
            }
        }
        Err(crate::error::ErrorKind::ClientClosed.into())
    }

    /// Takes the current state if too many changes were missed. The locks are taken in the order a change takes them.
    fn catch_up(&self) {
        if !self.queue.lock().unwrap_or_else(PoisonError::into_inner).behind {
            return;
        }
        // Without the observable its end has left the last state in the queue.
        let Some(observable) = self.observable.upgrade() else { return };
        let inner = observable.lock().unwrap_or_else(PoisonError::into_inner);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut queue.behind) {
            queue.items.push_back(Observed::Reset(inner.state.clone()));
        }
    }
}

impl<S: Observe> Stream for Watch<S> {
    type Item = Observed<S>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Observed<S>>> {
        self.catch_up();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<S: Observe> fmt::Debug for Watch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Sum(u64);

    impl Observe for Sum {
        type Change = u64;
        fn apply(&mut self, change: &u64) {
            self.0 += change;
        }
    }

    fn next(watch: &mut Watch<Sum>) -> Option<Observed<Sum>> {
        watch.next().now_or_never().flatten()
    }

    #[test]
    fn a_watcher_sees_every_change_in_order() {
        let sum = Observable::new(Sum(1));
        let mut watch = sum.watch();
        sum.change(2);
        sum.change(3);
        assert_eq!(next(&mut watch), Some(Observed::Reset(Sum(1))));
        assert_eq!(next(&mut watch), Some(Observed::Change(2)));
        assert_eq!(next(&mut watch), Some(Observed::Change(3)));
        assert_eq!(next(&mut watch), None);
    }

    #[test]
    fn a_watcher_that_falls_behind_gets_a_reset_and_then_changes_again() {
        let sum = Observable::new(Sum(0));
        let mut watch = sum.watch();
        for _ in 0..=MAX_BEHIND {
            sum.change(1);
        }
        let mut picture = Sum::default();
        while let Some(item) = next(&mut watch) {
            match item {
                Observed::Reset(state) => picture = state,
                Observed::Change(change) => picture.apply(&change),
            }
        }
        assert_eq!(picture, sum.get());
        sum.change(5);
        assert_eq!(next(&mut watch), Some(Observed::Change(5)));
    }

    /// Of many parts.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Parts(usize);

    impl Observe for Parts {
        type Change = ();
        fn apply(&mut self, (): &()) {}

        fn size(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn a_watcher_may_be_as_far_behind_as_the_state_is_large() {
        let parts = Observable::new(Parts(2 * MAX_BEHIND));
        let mut watch = parts.watch();
        let mut changes_after = |changes: usize| {
            assert_eq!(watch.next().now_or_never(), Some(Some(Observed::Reset(Parts(2 * MAX_BEHIND)))));
            (0..changes).for_each(|_| parts.change(()));
            std::iter::from_fn(|| watch.next().now_or_never().flatten()).filter(|item| *item == Observed::Change(())).count()
        };
        assert_eq!(changes_after(2 * MAX_BEHIND), 2 * MAX_BEHIND);
        parts.reset(Parts(2 * MAX_BEHIND));
        assert_eq!(changes_after(2 * MAX_BEHIND + 1), 0, "one more, and the whole stands for them");
    }

    /// Counts how often it was cloned.
    #[derive(Default)]
    struct Heavy(Arc<std::sync::atomic::AtomicUsize>);

    impl Clone for Heavy {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    impl Observe for Heavy {
        type Change = ();
        fn apply(&mut self, (): &()) {}
    }

    #[test]
    fn a_watcher_nobody_reads_costs_no_copy_of_the_state() {
        let heavy = Observable::new(Heavy::default());
        let mut watch = heavy.watch();
        for _ in 0..100 * MAX_BEHIND {
            heavy.change(());
        }
        let copies = |heavy: &Observable<Heavy>| heavy.with(|heavy| heavy.0.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(copies(&heavy), 1, "the first item of the watch");
        assert!(matches!(watch.next().now_or_never(), Some(Some(Observed::Reset(_)))));
        assert_eq!(copies(&heavy), 2);
        assert!(watch.next().now_or_never().is_none());
    }

    #[test]
    fn a_watcher_that_fell_behind_sees_the_last_state_of_an_observable_that_is_gone() {
        let sum = Observable::new(Sum(0));
        let mut watch = sum.watch();
        for _ in 0..=MAX_BEHIND {
            sum.change(1);
        }
        drop(sum);
        assert_eq!(watch.next().now_or_never(), Some(Some(Observed::Reset(Sum(MAX_BEHIND as u64 + 1)))));
        assert_eq!(watch.next().now_or_never(), Some(None));
    }

    #[test]
    fn waiting_sees_every_state_from_the_present_one_on() {
        fn now(waiting: impl Future<Output = Result<Sum>>) -> Option<Result<Sum, bool>> {
            let is_closed = |error: crate::error::Error| *error.kind() == crate::error::ErrorKind::ClientClosed;
            waiting.now_or_never().map(|result| result.map_err(is_closed))
        }
        let sum = Observable::new(Sum(1));
        let mut watch = sum.watch();
        assert!(next(&mut watch).is_some());
        sum.change(1);
        assert_eq!(now(watch.wait_for(|sum| sum.0 == 2)), Some(Ok(Sum(2))), "it is so already");

        let mut waiting = Box::pin(sum.watch().wait_for(|sum| sum.0 == 5));
        assert_eq!(now(waiting.as_mut()), None);
        sum.change(3);
        sum.change(3);
        assert_eq!(now(waiting), Some(Ok(Sum(5))), "and though it is no longer so");

        let mut in_vain = Box::pin(sum.watch().wait_for(|sum| sum.0 == 0));
        assert_eq!(now(in_vain.as_mut()), None);
        drop(sum);
        assert_eq!(now(in_vain), Some(Err(true)));
    }

    #[test]
    fn a_watch_ends_with_its_observable() {
        let sum = Observable::new(Sum(0));
        let mut watch = sum.watch();
        drop(sum);
        assert!(matches!(watch.next().now_or_never(), Some(Some(Observed::Reset(_)))));
        assert_eq!(watch.next().now_or_never(), Some(None));
    }
}
