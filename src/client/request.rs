//! IQ requests (lane 1).

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use xmpp_parsers::iq::Iq;
use xso::FromXml;

use crate::client::shared::Shared;
use crate::driver::{Control, Outgoing};
use crate::error::{Error, ErrorKind, Result};
use crate::xml::{OutStanza, Stanza};

/// A request that is sent when it is awaited; see [`Client::iq_get`](crate::client::Client::iq_get).
///
/// # Errors
/// [`ErrorKind::Stanza`] if it is answered with an error; [`ErrorKind::RequestTimeout`]; [`ErrorKind::SessionLost`] if the
/// session ends first; [`ErrorKind::NotOnline`] without a session. Dropping the future forgets the request; it may have
/// been sent.
#[must_use = "nothing is sent until it is awaited"]
pub struct Request {
    shared: Arc<Shared>,
    iq: Result<Iq>,
    timeout: Option<Duration>,
}

impl Request {
    pub(crate) fn new(shared: &Arc<Shared>, iq: Result<Iq>) -> Self {
        Self { shared: Arc::clone(shared), iq, timeout: None }
    }

    /// How long to wait for the reply; default 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<Reply> {
        let id = self.shared.new_id()?;
        let iq = match self.iq? {
            Iq::Get { from, to, payload, .. } => Iq::Get { from, to, id, payload },
            Iq::Set { from, to, payload, .. } => Iq::Set { from, to, id, payload },
            reply => reply,
        };
        let what = describe(&iq);
        let stanza = OutStanza::iq(&iq)?;
        self.shared.check_size(stanza.byte_len())?;
        if self.shared.bound_jid().is_none() {
            return Err(ErrorKind::NotOnline.into());
        }
        let (token, receiver) = self.shared.requests.add();
        let slot = Slot { shared: &self.shared, token };
        self.shared.outgoing(Outgoing::Request { token, stanza, timeout: self.timeout }).await?;
        let result = receiver.await;
        drop(slot);
        match result {
            Ok(result) => result.map(|stanza| Reply { stanza }).map_err(|error| error.with_context(what)),
            Err(_) => Err(ErrorKind::SessionLost { sent: true }.into()),
        }
    }
}

/// What was asked of whom, for an error's text.
fn describe(iq: &Iq) -> String {
    let (kind, to, payload) = match iq {
        Iq::Get { to, payload, .. } => ("get", to, Some(payload)),
        Iq::Set { to, payload, .. } => ("set", to, Some(payload)),
        Iq::Result { to, payload, .. } => ("result", to, payload.as_ref()),
        Iq::Error { to, payload, .. } => ("error", to, payload.as_ref()),
    };
    let to = to.as_ref().map_or("the own account".to_owned(), ToString::to_string);
    let payload = payload.map_or_else(String::new, |payload| format!(" <{} xmlns='{}'>", payload.name(), payload.ns()));
    format!("{kind}{payload} to {to}")
}

impl IntoFuture for Request {
    type Output = Result<Reply>;
    type IntoFuture = BoxFuture<'static, Result<Reply>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Frees the slot of a request nobody waits for any more.
struct Slot<'a> {
    shared: &'a Arc<Shared>,
    token: u64,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.shared.requests.remove(self.token) {
            self.shared.control(Control::Forget(self.token));
        }
    }
}

/// The result of a request.
#[derive(Debug, Clone)]
pub struct Reply {
    stanza: Stanza,
}

impl Reply {
    /// The whole IQ result.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }

    /// Its payload.
    ///
    /// # Errors
    /// [`ErrorKind::Payload`] if there is none of this type, or it does not have its shape.
    pub fn payload<T: FromXml>(&self) -> Result<T> {
        match self.stanza.payload::<T>() {
            Ok(Some(payload)) => Ok(payload),
            Ok(None) => {
                let kind = ErrorKind::Payload { ns: String::new(), name: String::new() };
                Err(Error::new(kind).with_context(format!("the reply has no {}", type_name::<T>())))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The requests that wait for their reply.
#[derive(Default)]
pub(crate) struct Requests {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Stanza>>>>,
}

impl Requests {
    fn add(&self) -> (u64, oneshot::Receiver<Result<Stanza>>) {
        let token = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(token, sender);
        (token, receiver)
    }

    /// Hands a reply to whoever waits for it; a caller that has just gone away needs none.
    pub(crate) fn reply(&self, token: u64, result: Result<Stanza>) {
        if let Some(sender) = self.lock().remove(&token) {
            let _ = sender.send(result);
        }
    }

    /// Nobody will answer any more: the driver has ended with these requests still in its channel.
    pub(crate) fn fail_all(&self) {
        for sender in std::mem::take(&mut *self.lock()).into_values() {
            let _ = sender.send(Err(ErrorKind::SessionLost { sent: false }.into()));
        }
    }

    fn remove(&self, token: u64) -> bool {
        self.lock().remove(&token).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<Stanza>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
