//! The one task that owns a connection, and the reconnect loop around it.
//!
//! The driver joins the pure core ([`stream`](crate::stream)) with sockets, clocks and randomness
//! ([`connection`](crate::connection)). It knows nothing of extensions or subscriptions: what arrives it hands to a
//! [`Surface`], and what the surface wants it is told through an [`Inbox`].

mod backoff;
mod before_auth;
mod carried;
mod io;
mod keep_alive;
mod lane;
mod outgoing;
mod session;
mod signal;
mod state;
mod task;
mod xml_log;

pub use backoff::Reconnect;
pub use keep_alive::KeepAlive;
pub use lane::Lag;
pub use state::State;
pub use xml_log::{XmlDirection, XmlKind, XmlTraffic};

pub use crate::connection::{ConnectionInfo, Timeouts, TlsMode, Trust};
pub use crate::stream::Deadlines;

pub(crate) use before_auth::{BeforeAuth, Procedure};
pub(crate) use outgoing::{OutgoingSender, outgoing};
pub(crate) use signal::Signal;
pub(crate) use task::{Control, Drive, Inbox, Mode, Outgoing, now, run};

pub(crate) use xml_log::XmlSink;

pub(crate) use crate::connection::{ConnectOptions, Connector, Shared as SharedNetwork};
pub(crate) use crate::stream::{CoreConfig, Output, Resumption, Suspended};

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures::future::BoxFuture;
use jid::FullJid;

use crate::connection::TlsPolicy;
use crate::stream::TlsRule;
use crate::xml::{Frame, OutStanza, Stanza};

/// A stanza and the number it was read under.
pub(crate) struct Numbered {
    pub(crate) seq: u64,
    pub(crate) stanza: Stanza,
    pub(crate) received: SystemTime,
}

/// The inbound count of a session, and what is taken over above it (R3).
pub(crate) struct Handled {
    pub(crate) h: u32,
    pub(crate) above: Vec<u32>,
    /// The highest count of what is delivered with this, taken over or not.
    pub(crate) delivered: u32,
}

/// A session that goes on.
pub(crate) struct Resumed {
    pub(crate) jid: FullJid,
    pub(crate) features: Frame,
    /// The server's count.
    pub(crate) h: u32,
    /// Messages that it turned out to have.
    pub(crate) acked: Vec<u64>,
}

/// What is to be done before a resumed session is online.
pub(crate) struct Resuming {
    /// An earlier process had it: notes that its numbers are void, before anything else is sent (R8).
    pub(crate) noted: Option<BoxFuture<'static, ()>>,
    /// Not all that belongs to it was kept: builds up what is missing, as after [`bound`](Surface::bound).
    pub(crate) login: Option<BoxFuture<'static, ()>>,
}

/// What the driver hands things to: implemented by the client.
pub(crate) trait Surface: Send + Sync + 'static {
    /// Whose connection it is, for traces.
    fn account(&self) -> &jid::BareJid;
    /// What the next connection's core is told.
    fn core_config(&self) -> CoreConfig;
    /// How a dead connection is found out.
    fn keep_alive(&self) -> KeepAlive;
    /// How far acknowledging may lag behind reading (R2).
    fn lag(&self) -> Lag;
    /// How the next connection is made.
    fn connect_options(&self) -> ConnectOptions;
    /// Whether anybody wants to see the XML: asked for each read and write.
    fn xml_is_watched(&self) -> bool;
    /// Shows a piece of XML.
    fn xml(&self, traffic: XmlTraffic);
    /// What is to happen before authentication, once.
    fn take_procedure(&self) -> Option<Procedure>;
    /// The connection ended before that could begin: it is to happen on the next one.
    fn give_back_procedure(&self, procedure: Procedure);

    /// The connection state has changed.
    fn state(&self, state: State);
    /// The driver ended without a state: what polled it was dropped, or it panicked.
    fn abandoned(&self, error: crate::error::Error);
    /// A connection is there and, if it is to be, encrypted.
    fn connected(&self, info: &ConnectionInfo);
    /// The server accepted the credentials.
    fn authenticated(&self, mechanism: &str, success: crate::auth::Success);
    /// The server refused cached keys.
    fn keys_refused(&self);
    /// A session has begun. The future does what comes before initial presence and sends it.
    fn bound(self: Arc<Self>, jid: FullJid, features: Frame) -> BoxFuture<'static, ()>;
    /// A session that can be resumed, of an earlier process or an earlier start.
    fn take_suspended(&self) -> Option<Suspended>;
    /// The client stops without ending its session: a later start may resume it.
    fn keep_suspended(&self, suspended: Suspended);
    /// The server acknowledges what it handles; with how to resume the session, if it keeps it. The future notes that.
    fn managed(self: Arc<Self>, resumption: Option<Resumption>) -> BoxFuture<'static, ()>;
    /// The session goes on with this connection.
    fn resumed(self: Arc<Self>, resumed: Resumed) -> Resuming;
    /// The connection is cut; the session can be resumed.
    fn suspended(&self);
    /// The server has these messages.
    fn acked(&self, tokens: Vec<u64>);
    /// The server ended stream after stream while this message was the first it had not acknowledged: it is given up (R7).
    fn poisoned(&self, token: u64, condition: String);
    /// Notes the numbers under which messages are about to be written (R8).
    fn record(self: Arc<Self>, numbers: Vec<(u64, u32)>) -> BoxFuture<'static, ()>;
    /// Whether messages may count as taken over later than they are stored.
    fn is_by_handling(&self) -> bool;
    /// Whether counts and numbers are noted, because the store outlives the process (R8).
    fn records(&self) -> bool;
    /// The client is online; the futures run until they or the session end.
    fn online(self: Arc<Self>, resumed: bool) -> Vec<BoxFuture<'static, ()>>;
    /// The session is over, for good; with how much of what was sent the server had handled, if it says so (R10).
    fn session_lost(&self, h: Option<u32>);
    /// The client is about to be closed; the stream is still open.
    fn closing(self: Arc<Self>) -> BoxFuture<'static, ()>;

    /// Lane 2: a request. The future answers it; `None` if it was answered already.
    fn request(self: Arc<Self>, request: Numbered) -> Option<BoxFuture<'static, ()>>;
    /// The answer to a request that is over the limit of lane 2.
    fn refuse(&self, request: &Stanza) -> Option<OutStanza>;
    /// Lane 4: presence, in order, at once.
    fn presence(&self, presence: Numbered);
    /// Lane 3: messages, in order, and the count that is noted with them (R8). Gives the numbers that are taken over already.
    fn messages(self: Arc<Self>, messages: Vec<Numbered>, handled: Option<Handled>) -> BoxFuture<'static, Vec<u64>>;

    /// The next message of the outbox, while online.
    fn next_message(&self) -> Option<Outgoing>;
    /// Waits until there may be a next message.
    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// Waits until no message waits for [`next_message`](Self::next_message).
    fn messages_taken(self: Arc<Self>) -> BoxFuture<'static, ()>;
    /// This message has been handed to the transport.
    fn written(&self, token: u64);
    /// A request is about to be sent; `false` if nobody waits for it any more.
    fn begin_request(&self, token: u64) -> bool;
    /// Waits until there may be another request with a deadline.
    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// A request's reply, or why there is none.
    fn reply(&self, token: u64, result: crate::error::Result<Stanza>);

    /// Numbers of stanzas that were held and are now taken over.
    fn taken_over(&self) -> &TakenOver;
    /// Drops what nobody subscribed to for too long, and ends requests that could not be begun in time; called when
    /// [`next_deadline`](Self::next_deadline) passes.
    fn expire(&self);
    /// When that is due next.
    fn next_deadline(&self) -> Option<std::time::Instant>;
    /// Cuts off whoever holds stanzas back: the bound of R2 was reached and the pause is over.
    fn cut_off_slow(&self);
}

/// Gathers the numbers of stanzas that are taken over after they were held.
#[derive(Default)]
pub(crate) struct TakenOver {
    numbers: std::sync::Mutex<Vec<u64>>,
    gathered: Signal,
}

impl TakenOver {
    pub(crate) fn add(&self, number: u64) {
        self.numbers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(number);
        self.gathered.raise();
    }

    pub(crate) fn drain(&self) -> Vec<u64> {
        std::mem::take(&mut *self.numbers.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Waits until there is something to collect. Cancel-safe.
    pub(crate) async fn gathered(&self) {
        self.gathered.raised().await;
    }
}

/// A reply stanza to a request is sent like any stanza that nobody waits for.
pub(crate) fn reply_token() -> u64 {
    0
}

impl Outgoing {
    /// A stanza nobody waits for.
    pub(crate) fn plain(stanza: OutStanza) -> Self {
        Self::Stanza { token: reply_token(), stanza }
    }
}

/// What the core asks of a connection that is made by these options.
pub(crate) fn tls_rule(options: &ConnectOptions) -> TlsRule {
    match options.tls {
        TlsPolicy::Required => TlsRule::Required,
        TlsPolicy::DangerousPlaintext => TlsRule::DangerousPlaintext,
    }
}
