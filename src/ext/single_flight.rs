//! Work that several callers want at the same time, done once.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};

type Flight<T> = WeakShared<BoxFuture<'static, T>>;

/// Runs work by key: whoever asks for a key while its work is under way waits for the same result.
///
/// The work goes on as long as somebody waits for it, and is dropped with the last who does. A result is not kept.
///
/// ```
/// use futures::FutureExt;
/// use xmppkit::ext::SingleFlight;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let flights = SingleFlight::new();
/// let first = flights.run("key", || async { 1 }.boxed());
/// let second = flights.run("key", || async { 2 }.boxed());
/// assert_eq!(futures::join!(first, second), (1, 1));
/// assert_eq!(flights.run("key", || async { 3 }.boxed()).await, 3);
/// # });
/// ```
pub struct SingleFlight<K, T: Clone> {
    flights: Mutex<HashMap<K, Flight<T>>>,
}

impl<K: Eq + Hash, T: Clone + Send + Sync + 'static> SingleFlight<K, T> {
    /// Without any work.
    #[must_use]
    pub fn new() -> Self {
        Self { flights: Mutex::new(HashMap::new()) }
    }

    /// Joins the work for this key, or begins it with `start`. Nothing happens before the future is awaited.
    pub fn run(&self, key: K, start: impl FnOnce() -> BoxFuture<'static, T>) -> Shared<BoxFuture<'static, T>> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some());
        let flight = start().shared();
        flights.extend(flight.downgrade().map(|weak| (key, weak)));
        flight
    }

    /// Gives back the room of work that is done, for a client that is idle. Nothing else changes: what is done is never joined.
    pub fn sweep(&self) {
        let mut flights = self.lock();
        flights.retain(|_, flight| flight.upgrade().is_some());
        if flights.is_empty() {
            *flights = HashMap::new();
        }
    }

    /// Whoever asks from now on begins anew; those who wait go on waiting for what they asked for.
    pub fn part(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<T>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, T: Clone + Send + Sync + 'static> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T: Clone> fmt::Debug for SingleFlight<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::oneshot;

    use super::*;

    fn work(receiver: oneshot::Receiver<u8>) -> BoxFuture<'static, u8> {
        receiver.map(|result| result.unwrap_or_default()).boxed()
    }

    #[test]
    fn whoever_joins_gets_the_result_of_the_first_also_when_the_first_has_gone() {
        let flights = SingleFlight::new();
        let (sender, receiver) = oneshot::channel();
        let mut first = flights.run(1, || work(receiver));
        assert_eq!((&mut first).now_or_never(), None);
        let second = flights.run(1, || panic!("it is under way"));
        drop(first);
        sender.send(7).expect("somebody waits");
        assert_eq!(second.now_or_never(), Some(7));
    }

    #[test]
    fn work_nobody_waits_for_is_dropped_and_leaves_nothing() {
        let flights = SingleFlight::new();
        let (sender, receiver) = oneshot::channel::<u8>();
        drop(flights.run(1, || work(receiver)));
        assert!(sender.is_canceled());
        let other = flights.run(2, || async { 2 }.boxed());
        assert_eq!(flights.lock().len(), 1);
        assert_eq!(other.now_or_never(), Some(2));
    }

    #[test]
    fn after_a_parting_work_begins_anew() {
        let flights = SingleFlight::new();
        let (_sender, receiver) = oneshot::channel();
        let old = flights.run(1, || work(receiver));
        flights.part();
        assert_eq!(flights.run(1, || async { 2 }.boxed()).now_or_never(), Some(2));
        assert_eq!(old.now_or_never(), None);
    }
}
