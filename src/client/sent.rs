//! The token of a message that was sent (R23).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jid::Jid;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::store::{SendFailure, SendStatus};

/// What became of one message: a record that fills up, not a line of states.
///
/// It need not be kept: the message goes its way without it.
#[derive(Clone)]
pub struct Sent {
    state: Arc<SentState>,
}

/// Something that can be waited for; see [`Sent::wait_for`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Milestone {
    /// Written to the connection.
    Written,
    /// Acknowledged by the server (XEP-0198).
    Acked,
    /// Reflected by its room (XEP-0045).
    Reflected,
    /// Received by a client of the recipient (XEP-0184), if that client says so; many do not, or not to everybody.
    Received,
    /// Displayed to the recipient (XEP-0333), if their client says so.
    Displayed,
}

impl Sent {
    pub(crate) fn new(state: Arc<SentState>) -> Self {
        Self { state }
    }

    /// The message's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// To whom it goes; `None` is the own account.
    #[must_use]
    pub fn to(&self) -> Option<&Jid> {
        self.state.to.as_ref()
    }

    /// The record as it stands.
    #[must_use]
    pub fn status(&self) -> SendStatus {
        self.state.lock().status.clone()
    }

    /// Waits until the record has this field. Cancel-safe. There is no deadline: put a timeout around it for what depends on
    /// others.
    ///
    /// # Errors
    /// What excludes it: the message was given up ([`ErrorKind::NotSent`]), or the client is gone
    /// ([`ErrorKind::ClientClosed`]). A bounce excludes nothing: another device may still have the message.
    pub async fn wait_for(&self, milestone: Milestone) -> Result<()> {
        loop {
            let changed = self.state.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let inner = self.state.lock();
                if reached(&inner.status, milestone) {
                    return Ok(());
                }
                if let Some((why, _)) = &inner.status.failed {
                    return Err(Error::new(ErrorKind::NotSent).with_context(failure(why)));
                }
                if inner.abandoned {
                    return Err(ErrorKind::ClientClosed.into());
                }
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("id", &self.state.id).field("status", &self.status()).finish()
    }
}

/// The record behind a token.
pub(crate) struct SentState {
    id: String,
    to: Option<Jid>,
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Inner {
    status: SendStatus,
    abandoned: bool,
}

impl SentState {
    pub(crate) fn new(id: String, to: Option<Jid>, status: SendStatus) -> Self {
        Self { id, to, inner: Mutex::new(Inner { status, abandoned: false }), changed: Notify::new() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn to(&self) -> Option<&Jid> {
        self.to.as_ref()
    }

    /// Whether it was ever handed to a connection.
    pub(crate) fn is_written(&self) -> bool {
        self.lock().status.written.is_some()
    }

    /// When it was first written, else when it was accepted.
    pub(crate) fn first_time(&self) -> Option<std::time::SystemTime> {
        let inner = self.lock();
        inner.status.written.or(inner.status.queued)
    }

    pub(crate) fn merge(&self, status: &SendStatus) {
        self.lock().status.merge(status);
        self.changed.notify_waiters();
    }

    /// The client is gone: nothing more will happen.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reached(status: &SendStatus, milestone: Milestone) -> bool {
    match milestone {
        Milestone::Written => status.written.is_some(),
        Milestone::Acked => status.acked.is_some(),
        Milestone::Reflected => status.reflected.is_some(),
        Milestone::Received => status.received.is_some(),
        Milestone::Displayed => status.displayed.is_some(),
    }
}

fn failure(why: &SendFailure) -> String {
    match why {
        SendFailure::TooLarge => "it is larger than the server accepts".to_owned(),
        SendFailure::Poison(condition) => format!("the server ended the stream over it with {condition}"),
        SendFailure::Withdrawn => "it was withdrawn".to_owned(),
        SendFailure::Ephemeral => "the session it belonged to was lost".to_owned(),
        SendFailure::AccountGone => "the account is gone".to_owned(),
        SendFailure::Refused(reason) => reason.clone(),
    }
}
