//! What hooks and handlers are given.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use jid::{BareJid, FullJid};
use xmpp_parsers::presence::Presence;
use xso::AsXml;

use crate::client::{Client, Sent, Shared};
use crate::error::Result;
use crate::event::Event;
use crate::ext::{Declared, Extension, Intake, TakenIn};
use crate::store::{AccountStore, Applied, Batch, ExtensionRows, RowChange, SentUpdate};
use crate::xml::Frame;

/// The client, as extensions and handlers see it while they are called.
///
/// A `Ctx` does not keep the client alive as a [`Client`] does: keep one only for the time of a call.
#[derive(Clone)]
pub struct Ctx {
    shared: Arc<Shared>,
}

impl Ctx {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A handle to the client: to send, to ask, to reach other extensions.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::from_shared(Arc::clone(&self.shared))
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &BareJid {
        &self.shared.account
    }

    /// The address of the current session, if there is one.
    #[must_use]
    pub fn jid(&self) -> Option<FullJid> {
        self.shared.bound_jid()
    }

    /// What the server offered for this session: its `<stream:features/>` as they were before binding (RFC 6120 §4.3.2).
    /// `None` without a session.
    #[must_use]
    pub fn stream_features(&self) -> Option<Frame> {
        self.shared.features()
    }

    /// Another extension of this client.
    #[must_use]
    pub fn ext<T: Extension>(&self) -> Option<Arc<T>> {
        self.shared.registry.extension::<T>()
    }

    /// As [`ext`](Self::ext), without a handle of its own: for what is called for every stanza.
    #[must_use]
    pub fn ext_ref<T: Extension>(&self) -> Option<&T> {
        self.shared.registry.extension_ref::<T>()
    }

    /// A setting an extension [declared](crate::ext::Registrar::setting): what the application gave, else the default.
    /// `None` if no extension of this client declares it, for example because its extension was removed; the extension that
    /// declares it always gets it.
    #[must_use]
    pub fn setting<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.shared.registry.setting::<T>()
    }

    /// What the client says about itself (XEP-0030).
    #[must_use]
    pub fn declared(&self) -> &Declared {
        &self.shared.registry.declared
    }

    /// Reports an event to everybody who subscribed to its type.
    pub fn emit<E: Event>(&self, event: E) {
        self.shared.hub.emit(event);
    }

    /// The rows of a namespace the extension [registered](crate::ext::Registrar::store_namespace).
    ///
    /// One that nobody registered is reported at warn level: it works, but its rows have no schema version and nothing keeps
    /// two extensions from writing to it.
    #[must_use]
    pub fn rows(&self, namespace: &str) -> ExtensionRows {
        let store = Arc::clone(&self.shared.store);
        match self.shared.registry.namespaces.iter().find(|spec| *spec.namespace == *namespace) {
            Some(spec) => ExtensionRows::new(store, Arc::clone(&spec.namespace)),
            None => {
                tracing::warn!(namespace, "no extension registered this namespace of the store");
                ExtensionRows::new(store, namespace)
            }
        }
    }

    /// Whether the store outlives the process ([`Store::persistent`](crate::store::Store::persistent)).
    #[must_use]
    pub fn outlives_the_process(&self) -> bool {
        self.shared.persistent
    }

    /// Keeps a row that lives as long as the session, where the store outlives the process: what only the server tells, and does
    /// not tell again to who resumes (R9). It is written together with the count of what was received, so that it is as old as
    /// that; read back with [`AccountStore::session_rows`]. Without such a store nothing is kept.
    pub fn put_session_row(&self, namespace: &str, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.shared.change_session_row(RowChange::put(namespace, key, value));
    }

    /// Deletes a row that [`put_session_row`](Self::put_session_row) keeps.
    pub fn delete_session_row(&self, namespace: &str, key: impl Into<String>) {
        self.shared.change_session_row(RowChange::delete(namespace, key));
    }

    /// The account's store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn AccountStore> {
        &self.shared.store
    }

    /// Writes to the store, and tells durable subscriptions that there may be something new for them: what releases
    /// messages or notes gaps goes through here.
    ///
    /// # Errors
    /// Those of [`AccountStore::apply`].
    pub async fn commit(&self, batch: Batch) -> Result<Applied> {
        self.shared.commit_and_tell(batch).await
    }

    /// Takes in messages that were fetched: each passes the inbound stages from [`UNWRAP`](crate::ext::inbound::UNWRAP) on,
    /// then all are stored in one transaction with [the changes](Intake::changes) that belong to them, and what is new is
    /// shown to the extensions that look at messages, and, where it is to be delivered, to subscribers. No other message
    /// passes the stages meanwhile.
    ///
    /// Where subscribers are slow it waits for them, at most 5 s; they are then cut off. Dropping the future leaves open
    /// whether anything was taken in.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the store fails: nothing was taken in.
    pub async fn take_in(&self, intake: Intake) -> Result<Vec<TakenIn>> {
        self.shared.take_in(intake).await
    }

    /// Sends a presence stanza, after every extension added what belongs into it.
    ///
    /// # Errors
    /// [`ErrorKind::NotOnline`](crate::ErrorKind::NotOnline) without a session.
    pub async fn send_presence(&self, presence: Presence) -> Result<()> {
        self.shared.send_presence(presence).await
    }

    /// Sends a top-level element that is no stanza (a nonza): what its protocol lets a client say beside stanzas. It does not
    /// count as a stanza (XEP-0198), and nothing tells whether it arrived.
    ///
    /// # Errors
    /// [`ErrorKind::NotOnline`](crate::ErrorKind::NotOnline) without a session; [`ErrorKind::Other`](crate::ErrorKind::Other) for a
    /// stanza, and for what belongs to the stream itself; [`ErrorKind::Payload`](crate::ErrorKind::Payload) if it cannot be written.
    pub async fn send_nonza<P: AsXml + Sync>(&self, nonza: &P) -> Result<()> {
        self.shared.send_nonza(nonza).await
    }

    /// The token of a message that was sent by this client and whose token somebody still holds.
    #[must_use]
    pub fn sent(&self, id: &str) -> Option<Sent> {
        self.shared.outbox.sent(id)
    }

    /// Notes what became of a message that was sent: a receipt, a marker, a bounce. A message that is not known is no
    /// error.
    pub fn update_sent(&self, update: &SentUpdate) {
        self.shared.update_sent(update);
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("account", &self.shared.account).finish_non_exhaustive()
    }
}
