//! What goes into the core and what comes out of it (D2).

use std::time::Duration;

use jid::FullJid;

use super::management::Resumption;
use crate::auth::{ChannelBinding, KeyRequest, ScramKeys, Success};
use crate::error::Error;
use crate::xml::{Frame, OutStanza, Stanza};

/// What the driver tells the core: what the network, the clock and the application did.
///
/// Every input is given to [`StreamCore::handle`](super::StreamCore::handle) together with the current time.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// The transport is open: the stream header may go out. Given once, first.
    Start,
    /// Bytes read from the transport. On a transport of messages (WebSocket) exactly one message.
    Bytes(&'a [u8]),
    /// The transport has ended, by the peer or by a fault: nothing can be read any more.
    Eof,
    /// The TLS handshake asked for by [`Output::StartTls`] has succeeded.
    TlsDone {
        /// Every channel binding the TLS backend can give for this connection; empty if none.
        bindings: Vec<ChannelBinding>,
    },
    /// The TLS handshake has failed; the core ends with this error.
    TlsFailed(Error),
    /// The moment of [`next_deadline`](super::StreamCore::next_deadline) has come. Given too early it does no harm.
    Timer,
    /// Sends a stanza. Outside a session [`Event::NotSent`] gives it back.
    Send {
        /// The caller's name for it.
        token: u64,
        /// The stanza.
        stanza: OutStanza,
    },
    /// Sends a top-level element that is no stanza, standing alone as XML. Outside a session nothing is sent.
    Nonza(String),
    /// Sends an IQ get or set and waits for its reply, which comes as [`Event::Reply`] with the same token.
    Request {
        /// The caller's name for it, not in use by another waiting request.
        token: u64,
        /// The IQ; it must have an `id` that was never used before on this session (R48).
        stanza: OutStanza,
        /// How long to wait for the reply; `None` takes the configured default.
        timeout: Option<Duration>,
    },
    /// Nobody waits for this request any more: its slot is freed and its reply will be ignored.
    Forget {
        /// The token of the request.
        token: u64,
    },
    /// Responsibility for the inbound stanza of this number has been taken over (R3); in any order.
    TakenOver(u64),
    /// The answer to an [`Ask`].
    Answer(AskId, Answer),
    /// The numbers of [`Event::Record`] up to this one are noted: what waited for that is written (R8).
    Recorded(u32),
    /// Says "I am still here" in the way of the transport (a space on TCP), where that is allowed now (R39).
    KeepAlive,
    /// Asks the server to acknowledge what it has (XEP-0198), which it answers if it is alive. Nothing on a stream that is not
    /// [managed](super::StreamCore::is_managed).
    AskForAck,
    /// Closes the stream in an orderly way; ends with [`Output::Closed`] in any case.
    Close,
}

/// What the core wants from the driver.
///
/// Bytes to be written do not come this way: after each batch of outputs, and always before it acts on [`StartTls`] or
/// [`Closed`], the driver writes what [`take_transmit`](super::StreamCore::take_transmit) gives.
///
/// [`StartTls`]: Self::StartTls
/// [`Closed`]: Self::Closed
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Start the TLS handshake now and answer with [`Input::TlsDone`] or [`Input::TlsFailed`]. Whatever was read from the
    /// transport and not yet given to the core must be discarded.
    StartTls,
    /// The core needs something it cannot have by itself; answered by [`Input::Answer`] with the same number. At most one
    /// question is open at a time; a question of an ended stream needs no answer.
    Ask(AskId, Ask),
    /// Something happened.
    Event(Event),
    /// The stream is over. Nothing comes after it, except refusals of requests that are still made.
    Closed(Ended),
}

/// The number of a question, to answer it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub(super) u64);

/// A question of the core.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ask {
    /// Run [`KeyRequest::derive`]; slow by design (PBKDF2), so off the async workers. Answer: [`Answer::Keys`].
    DeriveKeys(KeyRequest),
    /// That many bytes from a cryptographically secure source. Answer: [`Answer::Random`].
    Random(usize),
    /// What to do before authentication; asked only if the configuration wants such a phase (registration, R47). Answer:
    /// [`Answer::Iq`], [`Answer::Authenticate`] or [`Answer::Abort`].
    BeforeAuth(BeforeAuth),
}

/// Where the phase before authentication stands.
#[derive(Debug)]
#[non_exhaustive]
pub enum BeforeAuth {
    /// TLS is up, the features are known.
    Ready {
        /// The `<stream:features/>`.
        features: Frame,
    },
    /// The reply to the IQ sent last: of type `result` or `error`.
    Reply {
        /// The whole `<iq/>`.
        stanza: Stanza,
    },
}

/// The answer to an [`Ask`]. One that does not fit the question ends the stream with an error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Ask::DeriveKeys`]: the keys.
    Keys(ScramKeys),
    /// To [`Ask::Random`]: exactly as many bytes as were asked for.
    Random(Vec<u8>),
    /// To [`Ask::BeforeAuth`]: send this IQ get or set; its reply comes as the next question.
    Iq(OutStanza),
    /// To [`Ask::BeforeAuth`]: go on and authenticate on this stream.
    Authenticate,
    /// To [`Ask::BeforeAuth`]: close the stream.
    Abort,
}

/// Something that happened on the stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The connection is encrypted. Not given on a dangerous plaintext connection.
    Secured,
    /// The server has accepted the credentials and, where the mechanism allows, proved that it knows them.
    Authenticated {
        /// The mechanism's name, for example `SCRAM-SHA-256`.
        mechanism: String,
        /// What the next login should remember: the pin and the keys.
        success: Success,
    },
    /// The server refused the keys that an earlier login left; they must be forgotten. The password is tried next (R34).
    KeysRefused,
    /// The session has begun: stanzas may be sent.
    Bound {
        /// The address the server gave.
        jid: FullJid,
        /// The `<stream:features/>` the server offered after authentication.
        features: Frame,
    },
    /// The server acknowledges what it handles from now on (XEP-0198), and keeps the session over a cut if it says how to
    /// resume it. After [`Bound`](Self::Bound), where the features offer it.
    Managed(Option<Resumption>),
    /// The server offered to acknowledge what it handles, and then refused.
    NotManaged,
    /// The session goes on with this connection. What was not acknowledged is written again.
    Resumed {
        /// The session's address.
        jid: FullJid,
        /// The `<stream:features/>` the server offered after authentication.
        features: Frame,
        /// The server's count. It decides about what an earlier process sent (R8).
        h: u32,
        /// Messages that the server turned out to have, by token.
        acked: Vec<u64>,
    },
    /// The session that was to be resumed is over; another one begins. Comes before [`Bound`](Self::Bound).
    SessionLost {
        /// Messages that the server had handled, by token (R10).
        acked: Vec<u64>,
        /// Messages of which nobody can tell, by token, in the order they were sent.
        unresolved: Vec<u64>,
        /// The server's last count, if it said one.
        h: Option<u32>,
    },
    /// The server has handled these messages, by token.
    Acked(Vec<u64>),
    /// Messages that are written once their numbers are noted, and [`Input::Recorded`] says so (R8): token and number, in
    /// order. Comes only where [`CoreConfig::record`](super::CoreConfig) asks for it.
    Record(Vec<(u64, u32)>),
    /// A stanza for the application. IQ replies do not come this way, nor IQ requests too broken to be answered by
    /// anything but `bad-request`, which the core does.
    Inbound {
        /// Its number; to be given back with [`Input::TakenOver`].
        seq: u64,
        /// The stanza.
        stanza: Stanza,
    },
    /// The core has dealt with the stanza of this number itself; to be given back with [`Input::TakenOver`]. Comes only where
    /// [`CoreConfig::record`](super::CoreConfig) asks for it: otherwise it counts as taken over at once.
    Done {
        /// Its number.
        seq: u64,
    },
    /// A top-level element that is no stanza, of a kind the core does not know.
    Nonza(Frame),
    /// The end of an [`Input::Request`]: the reply, of type `result` or `error`, or why there is none.
    Reply {
        /// The token of the request.
        token: u64,
        /// The whole `<iq/>`.
        result: Result<Stanza, Error>,
    },
    /// An [`Input::Send`] came before the session had begun or after it had ended; nothing was sent.
    NotSent {
        /// The token of the stanza.
        token: u64,
    },
}

/// How the stream ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// As asked for: both sides closed it.
    Clean,
    /// The server asks to connect elsewhere (`see-other-host`, RFC 6120 §4.9.3.19; `see-other-uri`, RFC 7395 §3.6.1). The
    /// new connection must be made under the same rules for TLS and with the same domain.
    SeeOther(SeeOther),
    /// With this error.
    Failed(Error),
}

/// Where the server asks to connect instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeeOther {
    /// A host, for the same kind of transport.
    Host {
        /// A domain name or an IP address (an IPv6 address without its brackets).
        host: String,
        /// The port; without one the name is resolved as a domain is.
        port: Option<u16>,
    },
    /// The URI of a WebSocket or BOSH endpoint.
    Uri(String),
}
