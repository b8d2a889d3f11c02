//! What several clients may share.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dns::Resolver;
#[cfg(feature = "native-tls")]
use super::native::{Connector as TlsConnector, Key as TlsKey};
use crate::error::{Error, Result};

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
    resolvers: Mutex<HashMap<Vec<SocketAddr>, Arc<Resolver>>>,
    #[cfg(feature = "native-tls")]
    tls: Mutex<HashMap<TlsKey, TlsConnector>>,
}

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
    pub(super) async fn resolver(&self, nameservers: &[SocketAddr]) -> Result<Arc<Resolver>> {
        if let Some(resolver) = lock(&self.inner.resolvers).get(nameservers) {
            return Ok(resolver.clone());
        }
        let servers = nameservers.to_vec();
        let resolver = Arc::new(blocking(move || Resolver::new(&servers)).await?);
        keep(&self.inner.resolvers, nameservers.to_vec(), resolver.clone());
        Ok(resolver)
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
        if let Some(connector) = lock(&self.inner.tls).get(&key) {
            return Ok(connector.clone());
        }
        let connector = blocking({
            let key = key.clone();
            move || key.build()
        })
        .await??;
        keep(&self.inner.tls, key, connector.clone());
        Ok(connector)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("users", &Arc::strong_count(&self.inner)).finish_non_exhaustive()
    }
}

/// Files are read and parsed off the async workers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::other)
}

fn keep<K: std::hash::Hash + Eq, V>(map: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut map = lock(map);
    if map.len() >= KEPT {
        map.clear();
    }
    map.insert(key, value);
}

/// What is behind these locks is whole between any two statements, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
