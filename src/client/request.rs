//! IQ requests (lane 1).

use std::any::type_name;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, Either};
use tokio::sync::oneshot;
use xmpp_parsers::iq::Iq;
use xso::FromXml;

use crate::client::shared::Shared;
use crate::driver::{Control, Outgoing, Signal};
use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
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

    /// Sends the request and gives the reply also if it is an error: for what may stand beside the `<error/>`, a form for
    /// example. [`Reply::error`] tells.
    ///
    /// # Errors
    /// As awaiting the request itself, but for [`ErrorKind::Stanza`].
    pub async fn any_reply(self) -> Result<Reply> {
        self.run().await.map(|(reply, _)| reply)
    }

    /// The reply, and what was asked of whom.
    async fn run(self) -> Result<(Reply, String)> {
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
        let timeout = self.timeout.unwrap_or(self.shared.next_connection().core.request_timeout);
        let (token, receiver) = self.shared.requests.add(timeout);
        let slot = Slot { shared: &self.shared, token };
        let outgoing = self.shared.outgoing(Outgoing::Request { token, stanza, timeout: self.timeout });
        let result = answer(outgoing, receiver).await?;
        drop(slot);
        match result {
            Ok(Ok(stanza)) => Ok((Reply { stanza }, what)),
            Ok(Err(error)) => Err(error.with_context(what)),
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
        Box::pin(async move {
            let (reply, what) = self.run().await?;
            match reply.error() {
                Some(error) => Err(Error::new(ErrorKind::Stanza(error)).with_context(what)),
                None => Ok(reply),
            }
        })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Hands a request over and waits for its answer, which may come first: that there was no time to hand it over.
async fn answer(
    outgoing: impl Future<Output = Result<()>>,
    receiver: oneshot::Receiver<Result<Stanza>>,
) -> Result<Result<Result<Stanza>, oneshot::error::RecvError>> {
    tokio::pin!(outgoing);
    match futures::future::select(outgoing, receiver).await {
        Either::Left((handed_over, receiver)) => {
            handed_over?;
            Ok(receiver.await)
        }
        Either::Right((result, _)) => Ok(result),
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

/// The reply to a request: its result, unless it was asked for with [`Request::any_reply`].
#[derive(Debug, Clone)]
pub struct Reply {
    stanza: Stanza,
}

impl Reply {
    /// The whole IQ.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }

    /// The error, if the reply is one.
    #[must_use]
    pub fn error(&self) -> Option<StanzaError> {
        let is_error = self.stanza.stanza_type().as_deref() == Some("error");
        is_error.then(|| self.stanza.error().unwrap_or_else(|| StanzaError::new(StanzaErrorType::Cancel, "undefined-condition")))
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

/// The requests that wait for their reply. Until the driver takes one, which it does when there is room to write, its time
/// is kept here; then the core keeps it.
#[derive(Default)]
pub(crate) struct Requests {
    last: AtomicU64,
    table: Mutex<Table>,
    added: Signal,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<u64, Waiting>,
    /// Those the driver has not taken yet.
    deadlines: BTreeSet<(Instant, u64)>,
}

struct Waiting {
    sender: oneshot::Sender<Result<Stanza>>,
    timeout: Duration,
    deadline: Option<Instant>,
    begun: bool,
}

impl Requests {
    fn add(&self, timeout: Duration) -> (u64, oneshot::Receiver<Result<Stanza>>) {
        let token = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        let deadline = crate::driver::now().checked_add(timeout);
        let mut table = self.lock();
        table.deadlines.extend(deadline.map(|deadline| (deadline, token)));
        table.waiting.insert(token, Waiting { sender, timeout, deadline, begun: false });
        drop(table);
        self.added.raise();
        (token, receiver)
    }

    /// Waits until a request was added.
    pub(crate) fn poll_added(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.added.poll_raised(cx)
    }

    /// The driver takes a request; `false` if nobody waits for it any more.
    pub(crate) fn begin(&self, token: u64) -> bool {
        let mut table = self.lock();
        let Some(waiting) = table.waiting.get_mut(&token) else { return false };
        waiting.begun = true;
        if let Some(deadline) = waiting.deadline {
            table.deadlines.remove(&(deadline, token));
        }
        true
    }

    /// When the first request that was not taken has waited long enough.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.lock().deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Ends the requests whose time passed before the driver could take them.
    pub(crate) fn expire(&self, now: Instant) {
        loop {
            let mut table = self.lock();
            let Some(&(deadline, token)) = table.deadlines.first() else { return };
            if deadline > now {
                return;
            }
            let waiting = table.remove(token);
            drop(table);
            if let Some(Waiting { sender, timeout, .. }) = waiting {
                let _ = sender.send(Err(ErrorKind::RequestTimeout(timeout).into()));
            }
        }
    }

    /// The session is over: what was not sent in it is not sent in the next one.
    pub(crate) fn session_lost(&self) {
        let lost: Vec<Waiting> = {
            let mut table = self.lock();
            let tokens: Vec<u64> = table.waiting.iter().filter(|(_, waiting)| !waiting.begun).map(|(token, _)| *token).collect();
            tokens.into_iter().filter_map(|token| table.remove(token)).collect()
        };
        for waiting in lost {
            let _ = waiting.sender.send(Err(ErrorKind::SessionLost { sent: false }.into()));
        }
    }

    /// Hands a reply to whoever waits for it; a caller that has just gone away needs none.
    pub(crate) fn reply(&self, token: u64, result: Result<Stanza>) {
        let waiting = self.lock().remove(token);
        if let Some(waiting) = waiting {
            let _ = waiting.sender.send(result);
        }
    }

    /// Nobody will answer any more: the driver has ended with these requests still in its channel.
    pub(crate) fn fail_all(&self) {
        let table = std::mem::take(&mut *self.lock());
        for waiting in table.waiting.into_values() {
            let _ = waiting.sender.send(Err(ErrorKind::SessionLost { sent: false }.into()));
        }
    }

    fn remove(&self, token: u64) -> bool {
        self.lock().remove(token).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, token: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&token)?;
        if let Some(deadline) = waiting.deadline {
            self.deadlines.remove(&(deadline, token));
        }
        if self.waiting.is_empty() {
            // An idle connection keeps no room for requests.
            *self = Self::default();
        }
        Some(waiting)
    }
}
