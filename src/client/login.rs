//! What one login leaves for the next (R34, R37).

use crate::auth::{Pin, ScramKeys, Success};
use crate::error::Result;
use crate::store::{AccountStore, Batch, Secret, credential};

/// The one TLS backend there is: what was bound with one says nothing about another (R37).
const BACKEND: &str = "native-tls";

/// Proof of what the server can do, kept in the store, and keys that spare a reconnect PBKDF2, kept in memory alone: in a
/// store they would outlive the password they were made from, and a wrong one would log in.
#[derive(Default, Clone)]
pub(super) struct LoginMemory {
    pub(super) pin: Pin,
    pub(super) keys: Option<ScramKeys>,
}

impl LoginMemory {
    pub(super) async fn load(store: &dyn AccountStore) -> Result<Self> {
        let scram = store.credential(credential::SCRAM_SEEN).await?.is_some();
        let binding = store.credential(&credential::channel_binding_seen(BACKEND)).await?.is_some();
        Ok(Self { pin: Pin::new(scram, binding), keys: None })
    }

    /// Takes in what a login proved; gives what is to be written, if that is news.
    pub(super) fn learn(&mut self, success: Success) -> Option<Batch> {
        let before = self.pin;
        self.pin = before.merge(success.pin);
        self.keys = success.keys;
        let mut batch = Batch::new();
        if self.pin.scram && !before.scram {
            batch = batch.put_credential(credential::SCRAM_SEEN, Secret::new("1"));
        }
        if self.pin.channel_binding && !before.channel_binding {
            batch = batch.put_credential(credential::channel_binding_seen(BACKEND), Secret::new("1"));
        }
        (!batch.is_empty()).then_some(batch)
    }
}
