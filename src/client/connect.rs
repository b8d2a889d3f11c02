//! Starting, waiting for a session, stopping.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::client::shared::{Link, Shared};
use crate::driver::{self, BeforeAuth, Control, Drive, Inbox, Mode, Procedure, State};
use crate::error::{Error, ErrorKind, Result};
use crate::ext::Observed;

/// The future of [`Client::connect`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct Connect<'a> {
    client: &'a Client,
    mode: Mode,
}

impl<'a> Connect<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, mode: Mode::FirstAttempt }
    }

    /// Waits through failures that may pass, until online or a final error.
    pub fn keep_trying(mut self) -> Self {
        self.mode = Mode::KeepTrying;
        self
    }
}

impl<'a> IntoFuture for Connect<'a> {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'a, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        let shared = Arc::clone(self.client.shared());
        Box::pin(async move {
            start(&shared, self.mode);
            online(&shared).await
        })
    }
}

/// Connects with a procedure before authentication: the door of account registration.
pub(crate) async fn connect_with<F, Fut>(client: &Client, procedure: F) -> Result<()>
where
    F: FnOnce(BeforeAuth) -> Fut + Send + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let shared = Arc::clone(client.shared());
    let procedure: Procedure = Box::new(move |before_auth| Box::pin(procedure(before_auth)));
    if !shared.state.get().is_stopped() {
        return Err(Error::new(ErrorKind::AlreadyRunning));
    }
    shared.set_procedure(Some(procedure));
    let _unless_begun = ForgetProcedure(&shared);
    start(&shared, Mode::FirstAttempt);
    online(&shared).await
}

/// A procedure that has not begun when its caller stops waiting must not happen on a later connection.
struct ForgetProcedure<'a>(&'a Shared);

impl Drop for ForgetProcedure<'_> {
    fn drop(&mut self) {
        self.0.set_procedure(None);
    }
}

/// Runs a driver; one that waits between two attempts waits no longer.
pub(crate) fn start(shared: &Arc<Shared>, mode: Mode) {
    let mut link = shared.link();
    if let Some(running) = &*link {
        if matches!(shared.state.get(), State::Waiting { .. }) {
            // A driver that has just ended says so itself.
            let _ = running.control.unbounded_send(Control::Hurry);
        }
        return;
    }
    let (control, control_receiver) = futures::channel::mpsc::unbounded();
    let (outgoing, outgoing_receiver) = driver::outgoing();
    *link = Some(Link { control, outgoing });
    shared.announce(State::Connecting { attempt: 1 });
    drop(link);
    let inbox = Inbox { control: control_receiver, outgoing: outgoing_receiver };
    let surface: Arc<dyn driver::Surface> = Arc::clone(shared) as Arc<dyn driver::Surface>;
    shared.spawn_driver(Box::pin(driver::run(surface, inbox, mode, shared.config.reconnect)));
}

/// Waits for the first session, or for the driver's end.
async fn online(shared: &Arc<Shared>) -> Result<()> {
    let mut states = shared.state.watch();
    while let Some(Observed::Reset(state) | Observed::Change(state)) = states.next().await {
        match state {
            State::Online { .. } => return Ok(()),
            State::Failed(error) | State::Offline { last: Some(error) } => return Err(error),
            State::Closed | State::Offline { last: None } => return Err(ErrorKind::ClientClosed.into()),
            State::Connecting { .. } | State::Suspended { .. } | State::Waiting { .. } => {}
        }
    }
    Err(ErrorKind::ClientClosed.into())
}

/// Orders the driver to stop, because of an error if there is one, and waits until it has.
pub(crate) async fn stop(shared: &Arc<Shared>, order: Control, failure: Option<Error>) {
    let mut states = {
        let link = shared.link();
        shared.set_failure(failure);
        let running = link.as_ref().is_some_and(|link| link.control.unbounded_send(order).is_ok());
        if !running {
            shared.announce(shared.stopped(State::Closed));
            return;
        }
        shared.state.watch()
    };
    while let Some(Observed::Reset(state) | Observed::Change(state)) = states.next().await {
        if state.is_stopped() {
            return;
        }
    }
}

/// The work of a client built with [`build_with_driver`](crate::client::ClientBuilder::build_with_driver): a future for
/// whoever spawns tasks in a way of their own. It ends when the client's last handle is dropped.
#[must_use = "the client does nothing unless its driver is polled"]
pub struct Driver {
    work: mpsc::UnboundedReceiver<Drive>,
    current: Option<Drive>,
}

impl Driver {
    pub(crate) fn new(work: mpsc::UnboundedReceiver<Drive>) -> Self {
        Self { work, current: None }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(current) = &mut self.current {
                ready!(current.as_mut().poll(cx));
                self.current = None;
            }
            match ready!(self.work.poll_recv(cx)) {
                Some(drive) => self.current = Some(drive),
                None => return Poll::Ready(()),
            }
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
