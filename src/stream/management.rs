//! Stream management (XEP-0198): what was sent and not acknowledged, what came and was taken over, and what of both is carried
//! from one connection to the next.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use jid::FullJid;

use super::alphabet::{Event, Output};
use super::iq::{IqTable, Own, Token};
use super::numbers::{Numbers, wrapped};
use crate::error::{Error, ErrorKind};
use crate::xml::{Frame, OutStanza, StanzaKind, escape_attr, ns};

/// Stanzas that are no messages and go unacknowledged before an acknowledgement is asked for.
const ASK_EVERY: u64 = 20;
/// How long anything else may go unacknowledged before that.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// How far the count last told to the server may lag before it is told without being asked: well below the 500 at which
/// Prosody gives the session up (R2).
const TELL_EVERY: u64 = 50;
/// How long a session is taken to be kept by a server that does not say: what servers do by default.
const DEFAULT_MAX: Duration = Duration::from_secs(300);

/// What a session is resumed by (XEP-0198 §5), in another process too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumption {
    /// The namespace that was agreed on.
    pub namespace: &'static str,
    /// The session's id: opaque.
    pub id: String,
    /// The address it is bound to.
    pub jid: FullJid,
    /// Where the server would like it to be resumed.
    pub location: Option<String>,
    /// For how long the server keeps it after a cut.
    pub max: Duration,
}

impl Resumption {
    /// A session by its id and address, as a store kept it. `None` for a namespace this release does not speak.
    #[must_use]
    pub fn new(namespace: &str, id: String, jid: FullJid, max: Option<Duration>) -> Option<Self> {
        let namespace = VERSIONS.into_iter().find(|known| *known == namespace)?;
        Some(Self { namespace, id, jid, location: None, max: max.unwrap_or(DEFAULT_MAX) })
    }
}

/// The versions of the protocol that are spoken, the best first. They differ in nothing that matters here.
const VERSIONS: [&str; 2] = [ns::SM, ns::SM2];

/// The version that these features offer.
pub(super) fn offered(features: &Frame) -> Option<&'static str> {
    VERSIONS.into_iter().find(|version| features.child(version, "sm").is_some())
}

/// A session that outlives its connection: given by [`StreamCore::suspend`](super::StreamCore::suspend), taken by the next
/// connection's [`CoreConfig::resume`](super::CoreConfig).
pub struct Suspended {
    pub(super) resumption: Resumption,
    pub(super) own: Own,
    pub(super) requests: IqTable,
    pub(super) numbers: Numbers,
    pub(super) outbound: Outbound,
    /// When the connection was cut; requests' deadlines stand still since (R6).
    pub(super) since: Instant,
    /// Up to which inbound stanza the server was told that all are taken over, when it was last asked for the session.
    pub(super) told: u64,
}

impl Suspended {
    /// A session that an earlier process had: its inbound count, and the numbers above it that were taken over (R3, R8). What it
    /// had sent is not in here; the server's count decides about it.
    #[must_use]
    pub fn restored(resumption: Resumption, h: u32, above: &[u32], now: Instant) -> Self {
        Self {
            own: Own::new(resumption.jid.clone()),
            resumption,
            requests: IqTable::default(),
            numbers: Numbers::restored(h, above),
            outbound: Outbound { lenient: true, ..Outbound::default() },
            since: now,
            told: u64::from(h),
        }
    }

    /// What it is resumed by.
    #[must_use]
    pub fn resumption(&self) -> &Resumption {
        &self.resumption
    }

    /// Until when the server keeps it.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.since.checked_add(self.resumption.max).unwrap_or(self.since)
    }

    /// Nobody waits for this request any more.
    pub fn forget(&mut self, token: u64) {
        self.requests.forget(Token::Driver(token));
    }

    /// The first stanza that is not acknowledged, with its token: the one to blame if a server ends stream after stream (R7).
    #[must_use]
    pub fn first_unacknowledged(&self) -> Option<(u64, &OutStanza)> {
        self.outbound.queue.front().map(|pending| (pending.token, &pending.stanza))
    }

    /// The token of the last message that is not acknowledged.
    #[must_use]
    pub fn last_message(&self) -> Option<u64> {
        self.outbound.queue.iter().rev().find(|pending| pending.is_message()).map(|pending| pending.token)
    }

    /// Takes the first unacknowledged stanza out; those after it move up (R7). The request it may have been fails.
    pub fn remove_first(&mut self) -> Vec<Output> {
        let Some(pending) = self.outbound.queue.pop_front() else { return Vec::new() };
        self.outbound.renumber();
        let mut out = Vec::new();
        if pending.is_request && self.requests.take_out(Token::Driver(pending.token)) {
            let result = Err(ErrorKind::SessionLost { sent: true }.into());
            out.push(Output::Event(Event::Reply { token: pending.token, result }));
        }
        out
    }

    /// How many inbound stanzas were numbered; the next session's numbers go on behind them.
    #[must_use]
    pub fn numbered(&self) -> u64 {
        self.numbers.highest()
    }

    /// The session is lost; `h` is how far the server had handled what was sent, if it says so (R10).
    #[must_use]
    pub fn lose(mut self, h: Option<u32>) -> Vec<Output> {
        let mut out = Vec::new();
        let acked = h.and_then(|h| self.outbound.acknowledged(h).ok()).unwrap_or_default();
        let unresolved = self.outbound.queue.iter().filter(|p| p.is_message()).map(|p| p.token).collect();
        for (token, sent) in self.requests.drain(0) {
            if let Token::Driver(token) = token {
                let result = Err(ErrorKind::SessionLost { sent }.into());
                out.push(Output::Event(Event::Reply { token, result }));
            }
        }
        out.push(Output::Event(Event::SessionLost { acked, unresolved, h }));
        out
    }

    /// Responsibility for an inbound stanza of its last connection has been taken over.
    pub(super) fn taken_over(&mut self, seq: u64) {
        self.numbers.taken_over(seq);
    }

    /// As [`StreamCore::handled_with`](super::StreamCore::handled_with).
    pub(super) fn handled_with(&self, seqs: &[u64]) -> (u32, Vec<u32>) {
        self.numbers.h_with(seqs)
    }

    /// `<resume/>`. More may be taken over until the answer comes; the server begins behind what this says.
    pub(super) fn request(&mut self) -> String {
        self.told = self.numbers.handled();
        format!(
            "<resume xmlns='{}' h='{}' previd='{}'/>",
            self.resumption.namespace,
            self.numbers.h(),
            escape_attr(&self.resumption.id)
        )
    }
}

impl fmt::Debug for Suspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspended")
            .field("jid", &self.resumption.jid)
            .field("unacknowledged", &self.outbound.queue.len())
            .finish_non_exhaustive()
    }
}

/// What was sent on a managed stream and is not acknowledged yet.
#[derive(Default)]
pub(super) struct Outbound {
    /// The number of the last stanza, counted without wrapping.
    sent: u64,
    /// The stanzas after the last acknowledged one: the first is number `sent - queue.len() + 1`.
    queue: VecDeque<Pending>,
    /// The number of the last stanza written to this connection.
    written: u64,
    /// Up to which number the driver has noted the numbers of messages, and was asked to.
    recorded: u64,
    asked_to_record: u64,
    /// The number of the last message.
    last_message: u64,
    /// When the acknowledgement that is being waited for was asked for.
    asked: Option<Instant>,
    /// The number up to which an acknowledgement was asked for.
    asked_for: u64,
    /// Since when something is unacknowledged that nobody asked about.
    unasked_since: Option<Instant>,
    /// The process that sent it is gone: the server's count is authoritative (R8).
    lenient: bool,
}

struct Pending {
    token: u64,
    stanza: OutStanza,
    is_request: bool,
    record: bool,
}

impl Pending {
    fn is_message(&self) -> bool {
        self.token != 0 && self.stanza.kind() == StanzaKind::Message
    }
}

/// A stanza that may be written now.
pub(super) struct Due {
    pub(super) stanza: OutStanza,
    /// The request it is, whose place among the bytes is now known.
    pub(super) request: Option<u64>,
}

impl Outbound {
    /// Numbers a stanza. If `record`, it is written only once its number was noted.
    pub(super) fn push(&mut self, token: u64, stanza: OutStanza, is_request: bool, record: bool, now: Instant) {
        self.sent += 1;
        let pending = Pending { token, stanza, is_request, record };
        if pending.is_message() {
            self.last_message = self.sent;
        }
        self.unasked_since.get_or_insert(now);
        self.queue.push_back(pending);
    }

    /// The next stanza to write, if there is one that may be.
    pub(super) fn next_due(&mut self) -> Option<Due> {
        let index = usize::try_from(self.written - self.acked()).ok()?;
        let pending = self.queue.get(index)?;
        if pending.record && self.written + 1 > self.recorded {
            return None;
        }
        self.written += 1;
        Some(Due { stanza: pending.stanza.clone(), request: pending.is_request.then_some(pending.token) })
    }

    /// The messages whose numbers are to be noted and were not asked for yet.
    pub(super) fn take_unrecorded(&mut self) -> Vec<(u64, u32)> {
        let first = self.acked() + 1;
        let from = self.asked_to_record.max(self.acked());
        self.asked_to_record = self.sent;
        let skip = usize::try_from(from - self.acked()).unwrap_or(usize::MAX);
        let numbered = self.queue.iter().zip(first..).skip(skip);
        numbered.filter(|(pending, _)| pending.record).map(|(pending, number)| (pending.token, wrapped(number))).collect()
    }

    /// Whether some message waits for its number to be noted.
    pub(super) fn waits_for_record(&self) -> bool {
        self.asked_to_record < self.sent && self.queue.back().is_some_and(|_| self.recorded < self.last_message)
    }

    /// The numbers up to that of this message were noted.
    pub(super) fn recorded(&mut self, number: u32) {
        let above = number.wrapping_sub(wrapped(self.acked()));
        let number = self.acked() + u64::from(above);
        if number <= self.sent {
            self.recorded = self.recorded.max(number);
        }
    }

    /// The server's count: gives the tokens of the messages that it acknowledges.
    pub(super) fn acknowledged(&mut self, h: u32) -> Result<Vec<u64>, TooHigh> {
        if std::mem::take(&mut self.lenient) {
            let base = u64::from(h);
            *self = Self { sent: base, written: base, recorded: base, asked_to_record: base, ..Self::default() };
            return Ok(Vec::new());
        }
        let more = h.wrapping_sub(wrapped(self.acked()));
        if more > u32::MAX / 2 {
            // Less than was acknowledged before: an old acknowledgement, or a server that forgot. What it had is not sent again.
            tracing::debug!(h, "the server's count went back");
            return Ok(Vec::new());
        }
        let count = more as usize;
        if count > self.queue.len() {
            return Err(TooHigh { h, sent: wrapped(self.sent) });
        }
        Ok(self.queue.drain(..count).filter(|pending| pending.is_message()).map(|pending| pending.token).collect())
    }

    /// An acknowledgement came.
    pub(super) fn answered(&mut self, now: Instant) {
        self.asked = None;
        self.unasked_since = (!self.queue.is_empty()).then_some(now);
    }

    /// Whether to ask for an acknowledgement now; if so, that is noted.
    pub(super) fn ask(&mut self, now: Instant, force: bool) -> bool {
        if self.asked.is_some() {
            return false;
        }
        let unasked = self.written - self.asked_for.clamp(self.acked(), self.written);
        let has_message =
            self.last_message > self.asked_for && self.last_message <= self.written && self.last_message > self.acked();
        let long = self.unasked_since.is_some_and(|since| now.saturating_duration_since(since) >= ASK_AFTER);
        let wanted = force || (unasked > 0 && (has_message || unasked >= ASK_EVERY || long));
        if wanted {
            self.asked = Some(now);
            self.asked_for = self.written;
            self.unasked_since = None;
        }
        wanted
    }

    /// Since when an acknowledgement is being waited for.
    pub(super) fn asked_since(&self) -> Option<Instant> {
        self.asked
    }

    /// When an acknowledgement is to be asked for at the latest.
    pub(super) fn next_question(&self) -> Option<Instant> {
        if self.asked.is_some() || self.written == self.asked_for.max(self.acked()) {
            return None;
        }
        self.unasked_since.map(|since| since + ASK_AFTER)
    }

    /// How many stanzas are not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.queue.len()
    }

    /// A new connection: all that is not acknowledged is written again.
    pub(super) fn restart(&mut self, now: Instant) {
        self.written = self.acked();
        self.asked_to_record = self.recorded.max(self.acked());
        self.asked = None;
        self.asked_for = self.acked();
        self.unasked_since = (!self.queue.is_empty()).then_some(now);
    }

    /// The first stanza was taken out: the numbers of those behind it are noted anew.
    fn renumber(&mut self) {
        self.sent -= 1;
        self.recorded = self.acked();
        self.asked_to_record = self.acked();
        self.last_message = self.last_message.saturating_sub(1);
    }

    fn acked(&self) -> u64 {
        self.sent - self.queue.len() as u64
    }
}

/// The server acknowledges more than it was sent (XEP-0198 §6).
#[derive(Debug)]
pub(super) struct TooHigh {
    pub(super) h: u32,
    pub(super) sent: u32,
}

impl TooHigh {
    /// The stream error for it, without the end of the stream.
    pub(super) fn stream_error(&self) -> String {
        format!(
            "<undefined-condition xmlns='{}'/><handled-count-too-high xmlns='{}' h='{}' send-count='{}'/>",
            ns::STREAM_ERRORS,
            ns::SM,
            self.h,
            self.sent
        )
    }
}

/// The count of what came, as it is told to the server.
#[derive(Default)]
pub(super) struct Told {
    told: u64,
    /// The server asked while stanzas were not taken over yet: when they are, it is told.
    owed: Option<u64>,
}

impl Told {
    /// Notes that the server was told this count.
    pub(super) fn tell(&mut self, numbers: &Numbers) -> u32 {
        self.told = numbers.handled();
        if self.owed.is_some_and(|owed| owed <= self.told) {
            self.owed = None;
        }
        numbers.h()
    }

    /// The server asked: it is told at once (R2), and again when all that had come by now is taken over.
    pub(super) fn asked(&mut self, numbers: &Numbers) -> u32 {
        if numbers.lag() > 0 {
            self.owed = Some(numbers.highest());
        }
        self.tell(numbers)
    }

    /// Whether the server asked, and is to be told more than it was.
    pub(super) fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// Whether the server is to be told without being asked.
    pub(super) fn is_due(&self, numbers: &Numbers) -> bool {
        numbers.handled() >= self.told + TELL_EVERY || self.owed.is_some_and(|owed| numbers.handled() >= owed)
    }
}

/// What a server says about a session it will keep.
pub(super) fn read_enabled(frame: &Frame, version: &'static str, jid: &FullJid) -> Option<Resumption> {
    let resume = frame.attr("resume").is_some_and(|value| matches!(value.trim(), "true" | "1"));
    let id = frame.attr("id").filter(|id| resume && !id.is_empty())?;
    let max = frame.attr("max").and_then(|max| max.trim().parse().ok()).map(Duration::from_secs);
    Some(Resumption {
        namespace: version,
        id: id.into_owned(),
        jid: jid.clone(),
        location: frame.attr("location").filter(|location| !location.is_empty()).map(Into::into),
        max: max.filter(|max| !max.is_zero()).unwrap_or(DEFAULT_MAX),
    })
}

/// A count as it goes over the wire; `None` if there is none, or it is no number of 32 bits.
pub(super) fn read_h(frame: &Frame) -> Option<u32> {
    frame.attr("h")?.trim().parse().ok()
}

/// What a stream error says when the counts cannot be brought together.
pub(super) fn broken_count() -> Error {
    ErrorKind::Protocol(crate::error::ProtocolError::Unexpected(crate::error::Phase::Session)).into()
}
