//! The task: attempts, waits between them, and what the application orders meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tracing::Instrument as _;

use crate::connection::{self, ConnectOptions, TlsMode};
use crate::driver::backoff::{Backoff, Verdict};
use crate::driver::carried::Carried;
use crate::driver::outgoing::OutgoingReceiver;
use crate::driver::session::{self, End, Session};
use crate::driver::{Reconnect, State, Surface};
use crate::error::{Error, ErrorKind, Result, StreamError};
use crate::stream::SeeOther;
use crate::xml::OutStanza;

/// How often `see-other-host` is followed in a row.
const MAX_REDIRECTS: u32 = 5;

/// What the application orders.
#[derive(Debug)]
pub(crate) enum Control {
    /// End the session in an orderly way and stop.
    Close,
    /// Drop the connection without closing the stream and stop.
    Suspend,
    /// Do not wait any longer: the network has changed.
    Hurry,
    /// Nobody waits for this request any more.
    Forget(u64),
}

/// What is to be sent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Stanza { token: u64, stanza: OutStanza },
    Request { token: u64, stanza: OutStanza, timeout: Option<Duration> },
    Nonza(String),
}

/// What the driver is told through. Control is unbounded, for it must never be refused, and its channel has no memory of its own while
/// nothing is ordered; stanzas are bounded, so that backpressure lands on the callers.
pub(crate) struct Inbox {
    pub(crate) control: futures::channel::mpsc::UnboundedReceiver<Control>,
    pub(crate) outgoing: OutgoingReceiver,
}

impl Inbox {
    /// Drops stanzas that belong to a session that is lost. Requests stay: whoever waits for them is told by the surface.
    pub(crate) fn forget_stanzas(&mut self) {
        while self.outgoing.take().is_some() {}
    }
}

/// When to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// After the first attempt that failed, until one has succeeded (`connect`).
    FirstAttempt,
    /// Only at a final error (`start`).
    KeepTrying,
}

/// The driver as a future, for who spawns tasks differently.
pub(crate) type Drive = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs until closed, suspended, or failed.
pub(crate) fn run(surface: Arc<dyn Surface>, mut inbox: Inbox, mode: Mode, pace: Reconnect) -> impl Future<Output = ()> + Send {
    // Made now, so that it also speaks for a future that is never polled.
    let mut abandoned = Abandoned { surface: Some(surface) };
    async move {
        let Some(surface) = abandoned.surface.clone() else { return };
        let carried = Carried::new(surface.take_suspended(), surface.lag());
        let mut driver = Loop {
            mode,
            backoff: Backoff::new(pace),
            attempt: 0,
            announced: true,
            redirects: 0,
            other: None,
            location_tried: false,
            at_location: false,
            carried,
        };
        let span = tracing::info_span!("xmpp", account = %surface.account());
        let last = driver.run(&surface, &mut inbox).instrument(span.clone()).await;
        driver.leave(&last, &surface);
        drop(abandoned.surface.take());
        span.in_scope(|| surface.state(last));
    }
}

/// Says that the driver is gone where it cannot say so itself: nothing may look alive that is not.
struct Abandoned {
    surface: Option<Arc<dyn Surface>>,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some(surface) = self.surface.take() else { return };
        let error = Error::new(ErrorKind::Abandoned);
        let error = if std::thread::panicking() { error.with_context("it panicked") } else { error };
        tracing::error!(%error, account = %surface.account(), "the connection was abandoned");
        surface.abandoned(error);
    }
}

struct Loop {
    mode: Mode,
    backoff: Backoff,
    attempt: u32,
    announced: bool,
    redirects: u32,
    other: Option<(String, Option<u16>)>,
    /// Where the server would like the session to be resumed was tried already (XEP-0198 §5).
    location_tried: bool,
    /// This attempt goes there.
    at_location: bool,
    carried: Carried,
}

impl Loop {
    async fn run(&mut self, surface: &Arc<dyn Surface>, inbox: &mut Inbox) -> State {
        loop {
            self.attempt = self.attempt.saturating_add(1);
            // Whoever started the driver has said so for the first attempt, before it was polled.
            if !std::mem::take(&mut self.announced) {
                surface.state(State::Connecting { attempt: self.attempt });
            }
            self.lose_expired(surface, inbox);
            let span = tracing::debug_span!("connection", attempt = self.attempt);
            // Each stage stands alone, so that an idle connection keeps no room for the others.
            let end = match Box::pin(self.connect(surface, inbox)).instrument(span.clone()).await {
                Ok(session) => Box::pin(session.live(inbox, &mut self.carried)).instrument(span).await,
                Err(end) => end,
            };
            if let Some(state) = Box::pin(self.after(end, surface, inbox)).await {
                return state;
            }
        }
    }

    /// Makes one connection, from DNS on.
    async fn connect(&mut self, surface: &Arc<dyn Surface>, inbox: &mut Inbox) -> Result<Box<Session>, End> {
        let mut options = self.options(surface);
        let location = self.location();
        self.at_location = location.is_some();
        if let Some((host, port)) = location {
            tracing::debug!(%host, ?port, "the session is to be resumed there");
            options = options.host(host, port.unwrap_or(5222), TlsMode::StartTls);
        }
        tracing::debug!("connecting");
        let connecting = connection::connect(&options);
        let connection = interruptible(connecting, inbox, &mut self.carried, || None).await?.map_err(End::failed)?;
        self.lose_expired(surface, inbox);
        Session::new(Arc::clone(surface), options, connection, &mut self.carried).map_err(End::failed)
    }

    /// Where the session is to be resumed, for one attempt; the usual ways come after it.
    fn location(&mut self) -> Option<(String, Option<u16>)> {
        let location = self.carried.suspended.as_ref()?.resumption().location.as_deref()?;
        if std::mem::replace(&mut self.location_tried, true) {
            return None;
        }
        crate::stream::host_and_port(location)
    }

    /// Past its time the session is lost, and no resume is tried (R8).
    fn lose_expired(&mut self, surface: &Arc<dyn Surface>, inbox: &mut Inbox) {
        if self.carried.until().is_some_and(|until| until <= now()) {
            tracing::debug!("the session can no longer be resumed");
            inbox.forget_stanzas();
            self.carried.lose(surface);
        }
    }

    /// The driver ends in this state. A session that is only left stays for a later start.
    fn leave(&mut self, last: &State, surface: &Arc<dyn Surface>) {
        match (last, self.carried.suspended.take()) {
            (State::Offline { .. }, Some(suspended)) => surface.keep_suspended(*suspended),
            (_, suspended) => {
                self.carried.suspended = suspended;
                self.carried.lose(surface);
            }
        }
    }

    /// Decides what follows an end; `Some` is the state the driver ends in.
    async fn after(&mut self, end: End, surface: &Arc<dyn Surface>, inbox: &mut Inbox) -> Option<State> {
        let by_server = matches!(&end, End::Failed { by_server: true, .. });
        let (error, online_since, fresh_start, resumed) = match end {
            End::Closed => return Some(State::Closed),
            End::Suspended => return Some(State::Offline { last: None }),
            End::Redirected { other: SeeOther::Host { host, port }, online_since } => {
                if let Some(since) = online_since {
                    self.attempt = 0;
                    self.mode = Mode::KeepTrying;
                    if self.backoff.is_stable(now().saturating_duration_since(since)) {
                        self.redirects = 0;
                    }
                }
                self.redirects += 1;
                if self.redirects <= MAX_REDIRECTS {
                    tracing::debug!(%host, ?port, "the server asks to connect elsewhere");
                    self.other = Some((host, port));
                    return None;
                }
                (too_many_redirects(), None, false, false)
            }
            End::Redirected { .. } => (too_many_redirects(), None, false, false),
            End::Failed { error, online_since, after_registration, resumed, .. } => {
                (error, online_since, after_registration, resumed)
            }
        };
        self.other = None;
        if self.at_location && online_since.is_none() {
            tracing::debug!(%error, "the session could not be resumed there; the usual ways are tried");
            return None;
        }
        if online_since.is_some() {
            self.attempt = 0;
            self.redirects = 0;
            self.location_tried = false;
            self.mode = Mode::KeepTrying;
        }
        if fresh_start {
            // R47: after a registration whose login failed on the same stream, for whatever reason, log in on a new one.
            return None;
        }
        if online_since.is_some_and(|since| self.backoff.is_stable(now().saturating_duration_since(since))) {
            self.carried.acquit();
        }
        if let ErrorKind::Stream(stream) = error.kind()
            && by_server
            && self.carried.blame(&stream.condition, surface)
        {
            self.backoff.forget_overload();
        }
        let now = now();
        let Verdict::Retry(delay) = self.backoff.decide(&error, online_since, resumed, now, session::random_u64()) else {
            if self.mode == Mode::KeepTrying {
                // No call may be there that gives the error to somebody.
                tracing::warn!(%error, "disconnected; to try again is of no use");
            }
            return Some(State::Failed(error));
        };
        if self.mode == Mode::FirstAttempt {
            return Some(State::Offline { last: Some(error) });
        }
        tracing::info!(%error, ?delay, "disconnected; trying again");
        if let Some(until) = self.carried.until().filter(|_| online_since.is_some()) {
            surface.state(State::Suspended { until });
        }
        surface.state(State::Waiting { until: now + delay, cause: error });
        self.wait(now + delay, surface, inbox).await
    }

    /// Waits for the next attempt, answering what is ordered meanwhile.
    async fn wait(&mut self, end: Instant, surface: &Arc<dyn Surface>, inbox: &mut Inbox) -> Option<State> {
        loop {
            // The session's time may be over before.
            let next = self.carried.until().map_or(end, |until| until.min(end));
            let sleep = tokio::time::sleep_until(next.into());
            match interruptible(sleep, inbox, &mut self.carried, || Some(())).await {
                Ok(()) if next < end && now() >= next => self.lose_expired(surface, inbox),
                Ok(()) => return None,
                Err(End::Suspended) => return Some(State::Offline { last: None }),
                Err(_) => return Some(State::Closed),
            }
        }
    }

    fn options(&self, surface: &Arc<dyn Surface>) -> ConnectOptions {
        let options = surface.connect_options();
        match &self.other {
            // The certificate is still verified against the domain of the JID.
            Some((host, port)) => options.host(host.clone(), port.unwrap_or(5222), TlsMode::StartTls),
            None => options,
        }
    }
}

/// Runs a future until it ends or the application wants to stop. Requests meanwhile wait in the channel. `hurried` is what
/// the future's output becomes when there is to be no more waiting; `None` goes on.
async fn interruptible<F: Future>(
    future: F,
    inbox: &mut Inbox,
    carried: &mut Carried,
    hurried: fn() -> Option<F::Output>,
) -> Result<F::Output, End> {
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            order = inbox.control.next() => match order {
                Some(Control::Close) | None => return Err(End::Closed),
                Some(Control::Suspend) => return Err(End::Suspended),
                Some(Control::Hurry) => if let Some(output) = hurried() { return Ok(output) },
                Some(Control::Forget(token)) => carried.forget(token),
            },
            output = &mut future => return Ok(output),
        }
    }
}

fn too_many_redirects() -> Error {
    ErrorKind::Stream(StreamError::new("see-other-host", Some("too many redirects".to_owned()))).into()
}

/// The clock of the runtime, so that tests can pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
