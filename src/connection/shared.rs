//! What several clients may share.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::dns::Resolver;
#[cfg(feature = "native-tls")]
use super::native::{Connector as TlsConnector, Key as TlsKey};
use crate::error::{Error, Result};
use crate::xml::Frame;

/// How many different sets of name servers, or TLS configurations, are kept. One is usual.
const KEPT: usize = 8;

/// The DNS resolver with its cache, and TLS configurations with their roots: expensive to make, cheap to share.
///
/// Clones share. Give one value to several clients and they resolve and load the system's certificates once (D34).
///
/// ```
/// use xmppkit::connection::{ConnectOptions, Shared};
///
/// let shared = Shared::new();
/// let work = ConnectOptions::new("work.example").shared(&shared);
/// let home = ConnectOptions::new("home.example").shared(&shared);
/// ```
#[derive(Clone, Default)]
pub struct Shared {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What servers offer at the end of a login: most clients of a process see the same.
    features: Mutex<Vec<Frame>>,
    resolvers: Cells<Vec<SocketAddr>, Arc<Resolver>>,
    #[cfg(feature = "native-tls")]
    tls: Cells<TlsKey, TlsConnector>,
}

/// Values that are made once, however many clients ask for them at the same time.
type Cells<K, V> = Mutex<HashMap<K, Arc<OnceCell<V>>>>;

impl Shared {
    /// A new, empty value: what is needed is made on first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The network changed: forgets what DNS said, and reads the system's DNS configuration again on the next connection.
    pub fn network_changed(&self) {
        lock(&self.inner.resolvers).clear();
    }

    /// The resolver that asks these servers, or the system's.
    /// The same stream features as one value for all clients.
    pub(crate) fn one_of_features(&self, features: Frame) -> Frame {
        let xml = features.root().to_standalone_xml();
        let mut kept = lock(&self.inner.features);
        if let Some(known) = kept.iter().find(|known| known.root().to_standalone_xml() == xml) {
            return known.clone();
        }
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(features.clone());
        features
    }

    pub(super) async fn resolver(&self, nameservers: &[SocketAddr]) -> Result<Arc<Resolver>> {
        let servers = nameservers.to_vec();
        once(&self.inner.resolvers, servers.clone(), move || Ok(Arc::new(Resolver::new(&servers)))).await
    }

    /// DNS did not answer. If it was asked by the system's configuration, that is read again next time: the network may
    /// have changed without a word.
    pub(super) fn dns_failed(&self, nameservers: &[SocketAddr]) {
        if nameservers.is_empty() {
            lock(&self.inner.resolvers).remove(nameservers);
        }
    }

    /// The TLS configuration of this key.
    #[cfg(feature = "native-tls")]
    pub(super) async fn tls(&self, key: TlsKey) -> Result<TlsConnector> {
        once(&self.inner.tls, key.clone(), move || key.build()).await
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("users", &Arc::strong_count(&self.inner)).finish_non_exhaustive()
    }
}

/// The value of this key, made if there is none: files are read and parsed for it, so off the async workers.
async fn once<K, V>(cells: &Cells<K, V>, key: K, make: impl FnOnce() -> Result<V> + Send + 'static) -> Result<V>
where
    K: Hash + Eq,
    V: Clone + Send + 'static,
{
    let cell = {
        let mut cells = lock(cells);
        if cells.len() >= KEPT && !cells.contains_key(&key) {
            cells.clear();
        }
        cells.entry(key).or_default().clone()
    };
    let value = cell.get_or_try_init(async || tokio::task::spawn_blocking(make).await.map_err(Error::other)?).await?;
    Ok(value.clone())
}

/// What is behind these locks is whole between any two statements, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_thousand_clients_at_once_make_one_value() {
        let (cells, made) = (Cells::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let made = made.clone();
            once(&cells, "key", move || Ok(made.fetch_add(1, Ordering::Relaxed)))
        };
        let values = futures::future::try_join_all((0..1000).map(|_| ask())).await.unwrap();
        assert_eq!((values.iter().max(), made.load(Ordering::Relaxed)), (Some(&0), 1));
    }

    #[test]
    fn the_features_of_many_clients_are_one_value_and_few_are_kept() {
        let features = |number: usize| Frame::parse(&format!("<features xmlns='urn:x'><f{number}/></features>")).unwrap();
        let shared = Shared::new();
        let is_same = |a: &Frame, b: &Frame| std::ptr::eq(a.root().name(), b.root().name());
        let first = shared.one_of_features(features(0));
        assert!(is_same(&first, &shared.one_of_features(features(0))));
        for number in 1..100 {
            assert!(shared.one_of_features(features(number)).child("urn:x", &format!("f{number}")).is_some());
        }
        assert!(lock(&shared.inner.features).len() <= KEPT);
        assert!(!is_same(&first, &shared.one_of_features(features(0))));
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let cells: Cells<&str, u8> = Cells::default();
        once(&cells, "key", || Err(Error::other("once"))).await.unwrap_err();
        assert_eq!(once(&cells, "key", || Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn only_a_few_values_are_kept() {
        let cells = Cells::default();
        for key in 0..100 {
            once(&cells, key, move || Ok(key)).await.unwrap();
        }
        assert!(lock(&cells).len() <= KEPT);
    }
}
