//! The core itself: inputs in, outputs out, and which phase the stream is in.

use std::collections::VecDeque;
use std::time::Instant;

use jid::FullJid;

use super::alphabet::{Answer, AskId, Ended, Event, Input, Output, SeeOther};
use super::config::{CoreConfig, TlsRule};
use super::ending::{condition_of, stream_error};
use super::io::Io;
use super::management::Suspended;
use super::numbers::Numbers;
use super::phase::{Authenticated, Entry, Handshake, Level, Plain, PlainGrant, Secured};
use super::session::Session;
use super::step::{Flow, Negotiation};
use super::wire::Item;
use crate::error::{Error, ErrorKind, Phase, ProtocolError};
use crate::xml::{Frame, ns};

/// One XMPP stream as a state machine without sockets, clocks, tasks or randomness: from the stream header over TLS,
/// authentication and binding to a session, and to its end.
///
/// One value serves one connection; the next connection gets a new one. The driver
/// - gives every [`Input`] to [`handle`](Self::handle), with the time,
/// - then takes [`poll_output`](Self::poll_output) until it is `None`, and acts on what comes,
/// - writes what [`take_transmit`](Self::take_transmit) gives, before it starts TLS or ends the connection and before it
///   waits,
/// - and wakes up at [`next_deadline`](Self::next_deadline) with [`Input::Timer`].
///
/// ```
/// use std::time::Instant;
/// use xmppkit::auth::Credentials;
/// use xmppkit::jid::BareJid;
/// use xmppkit::stream::{CoreConfig, Input, StreamCore};
///
/// let account = BareJid::new("juliet@im.example.com")?;
/// let config = CoreConfig::new(account, Credentials::new("juliet", "r0m30myr0m30"));
/// let mut core = StreamCore::new(config, Instant::now())?;
///
/// core.handle(Input::Start, Instant::now());
/// assert!(core.poll_output().is_none());
/// let mut bytes = Vec::new();
/// assert!(core.take_transmit(&mut bytes));
/// assert!(bytes.starts_with(b"<?xml version='1.0'?><stream:stream "));
/// # Ok::<(), xmppkit::Error>(())
/// ```
pub struct StreamCore {
    io: Io,
    stage: Stage,
    /// The session that outlived its stream.
    left: Option<Box<Suspended>>,
}

enum Stage {
    Idle,
    Plain(Negotiation<Plain>),
    Handshake(Handshake),
    Secured(Negotiation<Secured>),
    Authenticated(Negotiation<Authenticated>),
    Bound(Box<Session>),
    /// Our side is closed. A session goes on receiving until the server's side is as well.
    Closing(Option<Box<Session>>),
    Ended,
}

impl StreamCore {
    /// A core that has not started.
    ///
    /// # Errors
    /// [`BuildError::InvalidOption`](crate::error::BuildError::InvalidOption) for a configuration that cannot work.
    pub fn new(config: CoreConfig, now: Instant) -> Result<Self, Error> {
        Self::start_with(config, None, now)
    }

    /// A core that begins by resuming this session (XEP-0198 §5), and binds a new one if the server no longer has it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn resuming(config: CoreConfig, suspended: Suspended, now: Instant) -> Result<Self, Error> {
        Self::start_with(config, Some(Box::new(suspended)), now)
    }

    fn start_with(config: CoreConfig, resume: Option<Box<Suspended>>, now: Instant) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { io: Io::new(config, resume, now), stage: Stage::Idle, left: None })
    }

    /// Takes what happened, at this time.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.io.now = self.io.now.max(now);
        match input {
            Input::Bytes(bytes) => {
                // Before the start there is no stream, after the end it does not matter; and what comes between `<proceed/>`
                // and TLS was said by anybody on the way, so it must not be there later (RFC 6120 §5.4.3.3).
                if !matches!(self.stage, Stage::Idle | Stage::Handshake(_) | Stage::Ended) {
                    self.io.wire.receive(bytes);
                }
            }
            Input::Send { token, stanza } => match &mut self.stage {
                Stage::Bound(session) => session.send(token, &stanza, &mut self.io),
                _ => self.io.event(Event::NotSent { token }),
            },
            Input::Request { token, stanza, timeout } => match &mut self.stage {
                Stage::Bound(session) => session.request(token, &stanza, timeout, &mut self.io),
                Stage::Closing(Some(_)) => {
                    let result = Err(ErrorKind::SessionLost { sent: false }.into());
                    self.io.event(Event::Reply { token, result });
                }
                _ => self.io.event(Event::Reply { token, result: Err(ErrorKind::NotOnline.into()) }),
            },
            Input::Forget { token } => {
                if let Some(session) = self.session_mut() {
                    session.forget(token);
                }
            }
            Input::TakenOver(seq) => {
                if let Stage::Bound(session) | Stage::Closing(Some(session)) = &mut self.stage {
                    session.taken_over(seq, &mut self.io);
                } else if let Some(suspended) = self.left.as_mut().or(self.io.resume.as_mut()) {
                    suspended.taken_over(seq);
                }
            }
            Input::Nonza(xml) => {
                if matches!(self.stage, Stage::Bound(_)) {
                    self.io.wire.element(&xml);
                }
            }
            Input::Recorded(number) => {
                if let Stage::Bound(session) = &mut self.stage {
                    session.recorded(number, &mut self.io);
                }
            }
            Input::AskForAck => {
                if let Stage::Bound(session) = &mut self.stage {
                    session.ask_for_ack(true, &mut self.io);
                }
            }
            Input::KeepAlive => {
                if matches!(self.stage, Stage::Bound(_)) {
                    self.io.wire.keep_alive();
                }
            }
            input => self.turn(input),
        }
    }

    /// Takes what may change the phase. It happens after everything that was read before it, so that it does not matter
    /// how far the outputs were polled.
    fn turn(&mut self, input: Input<'_>) {
        while self.read_item() {}
        match input {
            Input::Start => self.start(),
            Input::Eof => self.eof(),
            Input::TlsDone { bindings } => self.tls_done(bindings),
            Input::TlsFailed(error) if matches!(self.stage, Stage::Handshake(_)) => self.fail(error),
            Input::Timer => self.timer(),
            Input::Answer(id, answer) => self.answer(id, answer),
            Input::Close => self.close(),
            _ => {}
        }
    }

    /// The next output, or `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.io.out.pop_front() {
                return Some(output);
            }
            if self.read_item() {
                continue;
            }
            // There is no room for outputs between two reads, so that an idle stream has none.
            self.io.out = VecDeque::new();
            let Stage::Bound(session) = &mut self.stage else { return None };
            return session.take_unrecorded().map(Output::Event);
        }
    }

    /// Appends bytes to be written to the transport and says whether there were any. On a byte stream these are all there
    /// are; if `out` was empty the core keeps its allocation to fill it again. On a transport of messages each call gives
    /// exactly one.
    pub fn take_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if let Stage::Bound(session) = &mut self.stage {
            session.ask_for_ack(false, &mut self.io);
        }
        self.io.wire.take(out)
    }

    /// The bytes that were read and are no whole item yet, for who begins to look on.
    #[must_use]
    pub fn buffered(&self) -> Vec<u8> {
        self.io.wire.buffered()
    }

    /// When to wake the core with [`Input::Timer`]; `None` for never. It may move with every input; a driver whose timer is
    /// set for an earlier moment can leave it at that, for waking too early does no harm.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let requests = self.session().and_then(|session| session.next_deadline(self.io.config.ack));
        match (self.io.deadline, requests) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Where the stream stands; [`Phase::Closing`] also after its end.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Idle => Phase::Header,
            Stage::Plain(n) => n.phase(),
            Stage::Handshake(_) => Phase::TlsHandshake,
            Stage::Secured(n) => n.phase(),
            Stage::Authenticated(n) => n.phase(),
            Stage::Bound(_) => Phase::Session,
            Stage::Closing(_) | Stage::Ended => Phase::Closing,
        }
    }

    /// Whether stanzas can be sent now.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        matches!(self.stage, Stage::Bound(_))
    }

    /// The address the server gave, while there is a session.
    #[must_use]
    pub fn jid(&self) -> Option<&FullJid> {
        self.session().map(|s| &s.own().full)
    }

    /// How many inbound stanzas were taken over without a gap: the number of the last one before the first that was not
    /// (R3). The core itself takes over what it does not pass on.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.session().map_or(0, |s| s.numbers().handled())
    }

    /// How far [`handled`](Self::handled) is behind what was read, in stanzas (R2).
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.session().map_or(0, |s| s.numbers().lag())
    }

    /// The server's count for what was taken over so far and these stanzas, and the numbers above it (R3): what a store keeps
    /// before the server is told (R8). `None` on a session that cannot be resumed.
    #[must_use]
    pub fn handled_with(&self, seqs: &[u64]) -> Option<(u32, Vec<u32>)> {
        if let Some(session) = self.session() {
            return session.is_resumable().then(|| session.numbers().h_with(seqs));
        }
        self.left.as_ref().or(self.io.resume.as_ref()).map(|suspended| suspended.handled_with(seqs))
    }

    /// The highest number that an inbound stanza has got.
    #[must_use]
    pub fn numbered(&self) -> u64 {
        match (self.session(), &self.left) {
            (Some(session), _) => session.numbers().highest(),
            (None, Some(left)) => left.numbered(),
            (None, None) => self.io.config.numbers_after,
        }
    }

    /// Whether the server acknowledges what it handles (XEP-0198); `None` while that is being agreed on.
    #[must_use]
    pub fn is_managed(&self) -> Option<bool> {
        self.session().map_or(Some(false), Session::is_managed)
    }

    /// Since when an acknowledgement is being waited for.
    #[must_use]
    pub fn asked_for_ack_since(&self) -> Option<Instant> {
        self.session().and_then(|session| session.outbound().asked_since())
    }

    /// Whether the server asked how far its stanzas were taken over, and was told less than had come by then (R2).
    #[must_use]
    pub fn owes_ack(&self) -> bool {
        self.session().is_some_and(Session::owes_ack)
    }

    /// How many stanzas the server has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.session().map_or(0, |session| session.outbound().unacknowledged())
    }

    /// Whether there is a session for another connection to resume.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.left.is_some() || self.io.resume.is_some()
    }

    /// Takes the session that outlived its stream: it was cut, not closed, and the server keeps it for a while. Also one that
    /// was to be resumed and was not yet. To be asked after [`Output::Closed`].
    pub fn suspend(&mut self) -> Option<Suspended> {
        self.left.take().or_else(|| self.io.resume.take()).map(|suspended| *suspended)
    }

    #[cfg(test)]
    pub(super) fn queued_outputs(&self) -> usize {
        self.io.out.len()
    }

    fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Bound(session) | Stage::Closing(Some(session)) => Some(session),
            _ => None,
        }
    }

    fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Bound(session) | Stage::Closing(Some(session)) => Some(session),
            _ => None,
        }
    }

    // ---- what the driver says

    fn start(&mut self) {
        if !matches!(self.stage, Stage::Idle) {
            return;
        }
        let io = &mut self.io;
        let Some(config) = io.login.clone() else { return };
        self.stage = match &config.tls {
            TlsRule::AlreadySecured { bindings } => {
                let level = Secured::by_transport(bindings.clone());
                io.event(Event::Secured);
                io.open_stream(true);
                Stage::Secured(Negotiation::opened(level, io))
            }
            TlsRule::Required | TlsRule::DangerousPlaintext => {
                io.open_stream(false);
                Stage::Plain(Negotiation::opened(Plain::new(), io))
            }
        };
    }

    fn tls_done(&mut self, bindings: Vec<crate::auth::ChannelBinding>) {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Handshake(handshake) => {
                self.io.end_phase();
                self.io.event(Event::Secured);
                self.io.open_stream(true);
                self.stage = Stage::Secured(Negotiation::opened(handshake.done(bindings), &self.io));
            }
            other => self.stage = other,
        }
    }

    fn answer(&mut self, id: AskId, answer: Answer) {
        if !self.io.close_ask(id) {
            return;
        }
        self.io.deadline = None;
        let result = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Plain(n) => n.answer(answer, &mut self.io).and_then(|f| self.follow(f, Stage::Plain, Self::after_plain)),
            Stage::Secured(n) => n.answer(answer, &mut self.io).and_then(|f| self.follow(f, Stage::Secured, Self::after_secured)),
            Stage::Authenticated(n) => {
                n.answer(answer, &mut self.io).and_then(|f| self.follow(f, Stage::Authenticated, Self::after_authenticated))
            }
            other => {
                self.stage = other;
                Ok(())
            }
        };
        if let Err(error) = result {
            self.fail(error);
        }
    }

    fn timer(&mut self) {
        if self.io.deadline.is_some_and(|deadline| deadline <= self.io.now) {
            self.fail(ErrorKind::Timeout(self.phase()).into());
            return;
        }
        let (Stage::Bound(session) | Stage::Closing(Some(session))) = &mut self.stage else { return };
        if let Err(error) = session.expire(&mut self.io) {
            self.fail(error);
        }
    }

    fn eof(&mut self) {
        if matches!(self.stage, Stage::Ended) {
            return;
        }
        // Nobody is there to read what was not written yet, and it must not count as sent.
        self.io.wire.discard();
        let error = ErrorKind::Closed(self.phase());
        self.finish(Ended::Failed(error.into()));
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            // There is no stream yet, or none any more.
            Stage::Idle | Stage::Handshake(_) => self.finish(Ended::Clean),
            ended @ (Stage::Closing(_) | Stage::Ended) => self.stage = ended,
            open => {
                let session = match open {
                    Stage::Bound(session) => Some(session),
                    _ => None,
                };
                let mut session = session;
                self.io.end_phase();
                if let Some(session) = &mut session {
                    session.tell_last(&mut self.io);
                }
                self.io.wire.close();
                self.io.wait(self.io.config.closing);
                self.stage = Stage::Closing(session);
            }
        }
    }

    // ---- what the server says

    /// Reads one item and acts on it; false if there is none to read now.
    fn read_item(&mut self) -> bool {
        if matches!(self.stage, Stage::Idle | Stage::Handshake(_) | Stage::Ended) {
            return false;
        }
        let result = match self.io.wire.next_item() {
            Ok(None) => return false,
            Ok(Some(Item::Closed { elsewhere })) => {
                self.closed_by_server(elsewhere);
                Ok(())
            }
            Ok(Some(Item::Element(frame))) => self.element(frame),
            Ok(Some(opened @ Item::Opened(_))) => self.negotiate(opened),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.fail(error);
        }
        true
    }

    fn element(&mut self, frame: Frame) -> Result<(), Error> {
        if let Stage::Bound(session) | Stage::Closing(Some(session)) = &mut self.stage
            && let Some(stanza) = frame.stanza()
        {
            return session.stanza(stanza, &mut self.io);
        }
        if frame.is(ns::STREAM, "error") {
            self.io.wire.close();
            self.finish(stream_error(&frame));
            return Ok(());
        }
        match &mut self.stage {
            Stage::Bound(session) => {
                if !session.nonza(&frame, &mut self.io)? {
                    self.io.event(Event::Nonza(frame));
                }
            }
            // Our side is closed: there is nothing left to negotiate.
            Stage::Closing(_) => {}
            _ => return self.negotiate(Item::Element(frame)),
        }
        Ok(())
    }

    fn negotiate(&mut self, item: Item) -> Result<(), Error> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Plain(n) => n.item(item, &mut self.io).and_then(|f| self.follow(f, Stage::Plain, Self::after_plain)),
            Stage::Secured(n) => n.item(item, &mut self.io).and_then(|f| self.follow(f, Stage::Secured, Self::after_secured)),
            Stage::Authenticated(n) => {
                n.item(item, &mut self.io).and_then(|f| self.follow(f, Stage::Authenticated, Self::after_authenticated))
            }
            Stage::Closing(session) => {
                // A header that comes late, to a stream that is closed already.
                self.stage = Stage::Closing(session);
                Ok(())
            }
            other => {
                self.stage = other;
                Err(ErrorKind::Protocol(ProtocolError::Unexpected(self.phase())).into())
            }
        }
    }

    fn closed_by_server(&mut self, elsewhere: Option<String>) {
        let ended = match (elsewhere, &self.stage) {
            (Some(uri), _) => Ended::SeeOther(SeeOther::Uri(uri)),
            (None, Stage::Closing(_)) => Ended::Clean,
            (None, _) => Ended::Failed(ErrorKind::Closed(self.phase()).into()),
        };
        self.io.wire.close();
        self.finish(ended);
    }

    // ---- from phase to phase

    fn follow<L: Level>(
        &mut self,
        flow: Flow<L>,
        stay: impl FnOnce(Negotiation<L>) -> Stage,
        next: impl FnOnce(&mut Self, L, L::Grant, Frame) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match flow {
            Flow::Stay(negotiation) => {
                self.stage = stay(negotiation);
                Ok(())
            }
            Flow::Next(level, grant, features) => {
                self.io.end_phase();
                next(self, level, grant, features)
            }
            Flow::Close(negotiation) => {
                self.stage = stay(negotiation);
                self.close();
                Ok(())
            }
        }
    }

    fn after_plain(&mut self, level: Plain, grant: PlainGrant, features: Frame) -> Result<(), Error> {
        match grant {
            PlainGrant::Tls(proceed) => {
                self.io.wire.restart_for_tls();
                if let Some(config) = self.io.login.clone() {
                    self.io.wait(config.deadlines.tls_handshake);
                }
                self.io.out.push_back(Output::StartTls);
                self.stage = Stage::Handshake(level.handshake(proceed));
                Ok(())
            }
            PlainGrant::InTheOpen(on_purpose) => {
                let flow = Negotiation::continued(level.in_the_open(on_purpose), features, &mut self.io)?;
                self.follow(flow, Stage::Secured, Self::after_secured)
            }
        }
    }

    fn after_secured(&mut self, level: Secured, proof: super::steps::sasl::Proof, _features: Frame) -> Result<(), Error> {
        self.io.wire.restart();
        self.io.open_stream(level.is_encrypted());
        self.stage = Stage::Authenticated(Negotiation::opened(level.authenticated(proof), &self.io));
        Ok(())
    }

    fn after_authenticated(&mut self, level: Authenticated, entry: Entry, features: Frame) -> Result<(), Error> {
        self.io.login = None;
        match entry {
            Entry::Bound(jid) => {
                self.io.lose_session(None);
                let numbers = Numbers::after(self.io.config.numbers_after);
                let mut session = Box::new(level.bound(jid, numbers));
                session.begin(features, &mut self.io)?;
                self.stage = Stage::Bound(session);
            }
            Entry::Resumed { suspended, h } => {
                let suspended_for = self.io.now.saturating_duration_since(suspended.since);
                let mut session = Box::new(level.resumed(*suspended));
                let result = session.go_on(h, suspended_for, features, &mut self.io);
                self.stage = Stage::Bound(session);
                result?;
            }
        }
        Ok(())
    }

    // ---- the end

    fn fail(&mut self, error: Error) {
        match condition_of(&error) {
            Some(condition) => self.io.wire.close_with_error(condition),
            None => self.io.wire.close(),
        }
        self.finish(Ended::Failed(error));
    }

    /// Ends everything. What is in the write buffer now the driver will still write.
    fn finish(&mut self, ended: Ended) {
        self.io.end_phase();
        let written = self.io.wire.position();
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Bound(session) if session.is_resumable() && !matches!(ended, Ended::SeeOther(_)) => {
                self.left = session.suspend(written, self.io.now).map(Box::new);
            }
            Stage::Bound(mut session) | Stage::Closing(Some(mut session)) => session.end(written, &mut self.io.out),
            _ => {}
        }
        self.io.out.push_back(Output::Closed(ended));
    }
}

impl std::fmt::Debug for StreamCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamCore").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
