//! IQs before authentication (R47): the one door of the negotiation that is not public yet (D33).

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::error::{ErrorKind, Phase, Result};
use crate::xml::{OutStanza, Stanza};

/// What is to happen between TLS and authentication. If it succeeds, authentication follows on the same stream.
pub(crate) type Procedure = Box<dyn FnOnce(BeforeAuth) -> BoxFuture<'static, Result<()>> + Send>;

/// What a [`Procedure`] works with.
pub(crate) struct BeforeAuth {
    requests: mpsc::Sender<OutStanza>,
    replies: mpsc::Receiver<Stanza>,
}

/// The driver's ends.
pub(super) struct DriverEnds {
    pub(super) requests: mpsc::Receiver<OutStanza>,
    pub(super) replies: mpsc::Sender<Stanza>,
}

impl BeforeAuth {
    pub(super) fn new() -> (Self, DriverEnds) {
        let (requests, driver_requests) = mpsc::channel(1);
        let (driver_replies, replies) = mpsc::channel(1);
        (Self { requests, replies }, DriverEnds { requests: driver_requests, replies: driver_replies })
    }

    /// Sends an IQ and waits for its result or error.
    pub(crate) async fn request(&mut self, iq: OutStanza) -> Result<Stanza> {
        let closed = || ErrorKind::Closed(Phase::Register);
        self.requests.send(iq).await.map_err(|_| closed())?;
        Ok(self.replies.recv().await.ok_or_else(closed)?)
    }
}
