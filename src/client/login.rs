//! What one login leaves for the next (R34, R37).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::auth::{Pin, ScramKeys, Success};
use crate::error::Result;
use crate::store::{AccountStore, Batch, Secret, credential};

/// The one TLS backend there is: what was bound with one says nothing about another (R37).
const BACKEND: &str = "native-tls";
/// What stands before the certificate in the mark that there was a channel binding.
const CERTIFICATE: &str = "tls-server-end-point ";

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
        let binding = store.credential(&credential::channel_binding_seen(BACKEND)).await?;
        let mut pin = Pin::new(scram, binding.is_some());
        pin.certificate = binding.and_then(|seen| BASE64.decode(seen.expose().strip_prefix(CERTIFICATE.as_bytes())?).ok());
        Ok(Self { pin, keys: None })
    }

    /// Takes in what a login proved; gives what is to be written, if that is news.
    pub(super) fn learn(&mut self, success: Success) -> Option<Batch> {
        let before = std::mem::take(&mut self.pin);
        self.pin = before.clone().merge(success.pin);
        self.keys = success.keys;
        let mut batch = Batch::new();
        if self.pin.scram && !before.scram {
            batch = batch.put_credential(credential::SCRAM_SEEN, Secret::new("1"));
        }
        if (self.pin.channel_binding, &self.pin.certificate) != (before.channel_binding, &before.certificate) {
            let certificate = self.pin.certificate.as_ref();
            let seen = certificate.map_or("1".to_owned(), |end_point| format!("{CERTIFICATE}{}", BASE64.encode(end_point)));
            batch = batch.put_credential(credential::channel_binding_seen(BACKEND), Secret::new(seen));
        }
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Store};

    #[tokio::test]
    async fn what_a_login_proved_is_there_in_the_next_process() {
        let account: jid::BareJid = "juliet@capulet.example".parse().expect("a JID");
        let store = MemoryStore::new();
        let kept = store.open_account(&account).await.expect("an account");
        let proved = |pin: Pin| Success { pin, ..Success::unverified() };
        for (pin, is_news) in [
            (Pin::new(true, false), true),
            (Pin::new(true, true), true),
            (Pin::new(true, true).certificate(vec![0, 255]), true),
            (Pin::new(true, true).certificate(vec![0, 255]), false),
            // A renewed certificate, and a login that needed no binding.
            (Pin::new(true, true).certificate(vec![7; 32]), true),
            (Pin::new(true, false), false),
        ] {
            let mut memory = LoginMemory::load(&*kept).await.expect("loaded");
            let news = memory.learn(proved(pin.clone()));
            assert_eq!(news.is_some(), is_news, "{pin:?}");
            if let Some(news) = news {
                kept.apply(news).await.expect("written");
            }
            let next = LoginMemory::load(&*kept).await.expect("loaded");
            assert_eq!(next.pin, memory.pin);
        }
        assert_eq!(LoginMemory::load(&*kept).await.expect("loaded").pin, Pin::new(true, true).certificate(vec![7; 32]));
    }
}
