//! One connection's life: the core, the socket, and everything that waits for either.
//!
//! One file, because every wait is a branch of one `select` over the fields of one value, and what follows a branch is read beside it.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Sleep;

use crate::auth::{ChannelBinding, ScramKeys};
use crate::connection::{self, ConnectOptions, Connection, Particulars, TlsBindingKind};
use crate::driver::before_auth::{BeforeAuth, DriverEnds};
use crate::driver::carried::Carried;
use crate::driver::io::{Io, IoEvent, WRITE_HIGH};
use crate::driver::keep_alive::{Due, Pulse};
use crate::driver::lane::{Batch, Lane};
use crate::driver::task::{Control, Inbox, Outgoing};
use crate::driver::xml_log::XmlLog;
use crate::driver::{Handled, Numbered, Procedure, Resumed, Resuming, State, Surface};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::stream::{self, Answer, Ask, AskId, Ended, Input, Output, SeeOther, StreamCore, TlsRule};
use crate::xml::{OutStanza, StanzaKind, escape_attr};

/// How long the hooks may take that run before the stream is closed.
const CLOSING_HOOKS: Duration = Duration::from_secs(5);
/// How long the store may take with what was read last when the connection has ended.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// Unwritten bytes above which reading pauses: what is written then is answers, and a server that does not take them is
/// not read from either.
const WRITE_MAX: usize = 16 * WRITE_HIGH;
/// Requests of others that are answered at once; one more is refused with `resource-constraint`.
const MAX_JOBS: usize = 256;

/// Stanzas the server may leave unacknowledged before no more messages are sent.
const MAX_UNACKNOWLEDGED: usize = 1_000;

/// The token of our pings: nobody waits for their replies.
const PING: u64 = u64::MAX;

/// How a connection ended.
pub(super) enum End {
    /// The application closed it.
    Closed,
    /// The application suspended it.
    Suspended,
    /// The server asked to connect elsewhere.
    Redirected {
        /// Where to.
        other: SeeOther,
        /// When the session had come online, if it had.
        online_since: Option<Instant>,
    },
    /// With an error.
    Failed {
        error: Error,
        /// When the session had come online, if it had.
        online_since: Option<Instant>,
        /// Whether an account was registered on this stream and only the login failed.
        after_registration: bool,
        /// The server said so in a stream error of its own.
        by_server: bool,
        /// The session was resumed on this connection.
        resumed: bool,
    },
}

impl End {
    pub(super) fn failed(error: Error) -> Self {
        Self::Failed { error, online_since: None, after_registration: false, by_server: false, resumed: false }
    }
}

pub(super) struct Session {
    surface: Arc<dyn Surface>,
    /// What STARTTLS needs, until the stream has an address.
    upgrade: Option<Box<(Particulars, ConnectOptions)>>,
    core: StreamCore,
    io: Option<Io>,
    log: XmlLog,
    timer: Option<(Instant, std::pin::Pin<Box<Sleep>>)>,
    keys: Option<(AskId, BoxFuture<'static, Result<ScramKeys, tokio::task::JoinError>>)>,
    procedure: Option<Procedure>,
    before_auth: Option<RunningProcedure>,
    registered: bool,
    login: Option<BoxFuture<'static, ()>>,
    /// Nothing is sent in a resumed session before it is noted.
    resuming: Option<Resuming>,
    /// Messages go out one at a time, each when the one before is acknowledged, until this one is.
    careful: Option<u64>,
    /// The login steps are over, and only what stream management makes of it is not known yet.
    logged_in: bool,
    /// The numbers of messages that are being noted; the last of them.
    recording: Option<Recording>,
    to_record: Vec<(u64, u32)>,
    jobs: FuturesUnordered<BoxFuture<'static, ()>>,
    closing: Option<BoxFuture<'static, ()>>,
    bound: bool,
    online_since: Option<Instant>,
    is_resumed: bool,
    lane: Box<Lane>,
    /// When something was read last, by the clock on the wall and by the one that only goes forward.
    read_at: (SystemTime, Instant),
    pulse: Pulse,
    /// Why the stream is being closed from this side, where that is an error.
    cause: Option<Error>,
    order: Option<Control>,
}

/// Numbers of messages that are being noted (R8).
struct Recording {
    last: u32,
    tokens: Vec<u64>,
    run: BoxFuture<'static, ()>,
}

struct RunningProcedure {
    ask: Option<AskId>,
    ends: DriverEnds,
    run: BoxFuture<'static, Result<()>>,
}

impl Session {
    pub(super) fn new(
        surface: Arc<dyn Surface>,
        options: ConnectOptions,
        connection: Connection,
        carried: &mut Carried,
    ) -> Result<Box<Self>> {
        let mut config = surface.core_config();
        config.record = surface.records();
        config.numbers_after = carried.numbered;
        let procedure = surface.take_procedure();
        config.before_auth = procedure.is_some();
        if let Some(tls) = &connection.info().tls {
            config.tls = TlsRule::AlreadySecured { bindings: bindings(tls) };
        }
        let core = match carried.suspended.take() {
            Some(suspended) => StreamCore::resuming(config, *suspended, now())?,
            None => StreamCore::new(config, now())?,
        };
        surface.connected(connection.info());
        let (stream, particulars) = connection.detach();
        let pulse = Pulse::new(surface.keep_alive(), now());
        Ok(Box::new(Self {
            surface,
            upgrade: Some(Box::new((particulars, options))),
            core,
            io: Some(Io::new(stream)),
            log: XmlLog::default(),
            timer: None,
            keys: None,
            procedure,
            before_auth: None,
            registered: false,
            login: None,
            resuming: None,
            careful: carried.careful(),
            logged_in: false,
            recording: None,
            to_record: Vec::new(),
            jobs: carried.jobs.take().unwrap_or_default(),
            closing: None,
            bound: false,
            online_since: None,
            is_resumed: false,
            lane: carried.lane.take().unwrap_or_default(),
            read_at: (SystemTime::now(), now()),
            pulse,
            cause: None,
            order: None,
        }))
    }

    /// Lives until the connection ends.
    pub(super) async fn live(mut self: Box<Self>, inbox: &mut Inbox, carried: &mut Carried) -> End {
        self.core.handle(Input::Start, now());
        let ended = loop {
            match self.outputs(inbox).await {
                Ok(()) => {}
                Err(ended) => break ended,
            }
            self.wait(inbox).await;
        };
        Box::pin(self.finish(ended, carried)).await
    }

    /// Carries out what the core wants until it wants nothing more.
    async fn outputs(&mut self, inbox: &mut Inbox) -> Result<(), Ended> {
        loop {
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Event(event) => self.event(event, inbox),
                    Output::Ask(id, ask) => self.ask(id, ask),
                    Output::StartTls => Box::pin(self.start_tls(inbox)).await?,
                    Output::Closed(ended) => {
                        self.transmit();
                        return Err(ended);
                    }
                }
            }
            self.transmit();
            if !self.dispatch() {
                return Ok(());
            }
        }
    }

    fn event(&mut self, event: stream::Event, inbox: &mut Inbox) {
        match event {
            stream::Event::Acked(tokens) => self.acked(tokens),
            stream::Event::Record(numbers) => self.to_record.extend(numbers),
            stream::Event::Done { seq } => self.lane.dealt_with(seq, now()),
            stream::Event::Managed(resumption) => {
                tracing::debug!(resumable = resumption.is_some(), "the server acknowledges what it handles");
                let noted = Arc::clone(&self.surface).managed(resumption);
                self.spawn(noted);
                self.come_online();
            }
            stream::Event::NotManaged => {
                tracing::debug!("the server offered stream management, and refused it");
                self.come_online();
            }
            stream::Event::Resumed { jid, features, h, acked } => {
                tracing::debug!(%jid, "resumed");
                self.upgrade = None;
                self.pulse.heard(now());
                self.no_longer_careful(&acked);
                let resuming = Arc::clone(&self.surface).resumed(Resumed { jid, features, h, acked });
                if resuming.noted.is_some() { self.resuming = Some(resuming) } else { self.resumed(resuming.login) }
            }
            stream::Event::SessionLost { acked, h, .. } => {
                self.jobs.clear();
                inbox.forget_stanzas();
                self.acked(acked);
                self.surface.session_lost(h);
            }
            stream::Event::Inbound { seq, stanza } => self.inbound(Numbered { seq, stanza, received: self.read_at.0 }),
            stream::Event::Reply { token, result } => self.surface.reply(token, result),
            stream::Event::Authenticated { mechanism, success } => self.surface.authenticated(&mechanism, success),
            stream::Event::KeysRefused => self.surface.keys_refused(),
            stream::Event::Bound { jid, features } => {
                tracing::debug!(%jid, "bound");
                self.upgrade = None;
                self.bound = true;
                self.pulse.heard(now());
                self.login = Some(Arc::clone(&self.surface).bound(jid, features));
            }
            stream::Event::Secured => tracing::debug!("the connection is encrypted"),
            stream::Event::Nonza(frame) => {
                tracing::debug!(name = frame.name(), ns = %frame.ns(), "an unknown top-level element was ignored");
            }
            stream::Event::NotSent { token } => tracing::debug!(token, "a stanza came too late to be sent"),
        }
    }

    /// A resumed session is noted.
    fn resumed(&mut self, login: Option<BoxFuture<'static, ()>>) {
        self.bound = true;
        match login {
            None => self.online(true),
            login => self.login = login,
        }
    }

    /// The server has these messages.
    fn acked(&mut self, tokens: Vec<u64>) {
        self.no_longer_careful(&tokens);
        self.surface.acked(tokens);
    }

    fn no_longer_careful(&mut self, acked: &[u64]) {
        if self.careful.is_some_and(|last| acked.iter().any(|token| *token >= last)) {
            self.careful = None;
        }
    }

    fn inbound(&mut self, inbound: Numbered) {
        let seq = inbound.seq;
        // Whoever is given it reads it while it is at hand, before much more has come.
        if let Some(io) = &mut self.io {
            io.make_way();
        }
        match inbound.stanza.kind() {
            StanzaKind::Iq => {
                if self.jobs.len() >= MAX_JOBS {
                    tracing::warn!("too many requests at once");
                    self.refuse(&inbound);
                    self.dealt_with(seq);
                } else if let Some(job) = Arc::clone(&self.surface).request(inbound) {
                    self.answer(seq, job);
                } else {
                    self.dealt_with(seq);
                }
            }
            StanzaKind::Presence => {
                self.surface.presence(inbound);
                self.dealt_with(seq);
            }
            _ => self.lane.add(inbound, self.read_at.1),
        }
    }

    /// A stanza is dealt with: it counts at once, or once that is noted (R8).
    fn dealt_with(&mut self, seq: u64) {
        if self.surface.records() {
            self.lane.dealt_with(seq, now());
        } else {
            self.core.handle(Input::TakenOver(seq), now());
        }
    }

    /// Answers a request. Where counts are noted, it counts when it is answered: what it changes is then in the store.
    fn answer(&mut self, seq: u64, job: BoxFuture<'static, ()>) {
        if !self.surface.records() {
            self.spawn(job);
            self.core.handle(Input::TakenOver(seq), now());
            return;
        }
        self.lane.add_request(seq, now());
        let surface = Arc::clone(&self.surface);
        self.spawn(Box::pin(async move {
            let _when_done = Answered { surface, seq };
            job.await;
        }));
    }

    /// Over the limit of lane 2.
    fn refuse(&mut self, request: &Numbered) {
        if let Some(stanza) = self.surface.refuse(&request.stanza) {
            self.core.handle(Input::Send { token: super::reply_token(), stanza }, now());
        }
    }

    /// Starts the next batch of messages; `true` if one was finished on the spot.
    fn dispatch(&mut self) -> bool {
        let Some(batch) = self.lane.next_batch(self.core.owes_ack(), now()) else { return false };
        #[cfg(xmppkit_sabotage)]
        if crate::sabotage::is("commit-after-ack") {
            self.taken_over(batch.seqs());
            self.transmit();
        }
        let mut run = self.commit(batch);
        match (&mut run).now_or_never() {
            Some(taken) => {
                self.taken_over(taken);
                true
            }
            None => {
                self.lane.running = Some(run);
                false
            }
        }
    }

    /// What a batch becomes: messages are stored and delivered, and where it is kept the count of them all is noted.
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Vec<u64>> {
        let by_handling = self.surface.is_by_handling();
        let seqs = if by_handling { batch.others.clone() } else { batch.seqs() };
        let records = self.surface.records();
        let handled = if records { self.handled_with(&seqs, &batch) } else { None };
        let others = batch.others;
        let messages = Arc::clone(&self.surface).messages(batch.messages, handled);
        let surface = Arc::clone(&self.surface);
        Box::pin(messages.map(move |taken| {
            if !(records && by_handling) {
                return taken.into_iter().chain(others).collect();
            }
            // They are noted with the next count.
            taken.into_iter().for_each(|number| surface.taken_over().add(number));
            others
        }))
    }

    fn handled_with(&self, seqs: &[u64], batch: &Batch) -> Option<Handled> {
        let (h, above) = self.core.handled_with(seqs)?;
        let (all, above_all) = self.core.handled_with(&batch.seqs())?;
        Some(Handled { h, above, delivered: above_all.last().copied().unwrap_or(all) })
    }

    fn taken_over(&mut self, numbers: Vec<u64>) {
        let now = now();
        for number in numbers {
            self.lane.taken_over(number);
            self.core.handle(Input::TakenOver(number), now);
        }
    }

    fn ask(&mut self, id: AskId, ask: Ask) {
        match ask {
            Ask::Random(count) => {
                let mut bytes = vec![0; count];
                let answer = match getrandom::fill(&mut bytes) {
                    Ok(()) => Answer::Random(bytes),
                    Err(error) => {
                        self.cause = Some(Error::new(ErrorKind::Io).with_context(format!("no random numbers: {error}")));
                        Answer::Abort
                    }
                };
                self.core.handle(Input::Answer(id, answer), now());
            }
            Ask::DeriveKeys(request) => {
                self.keys = Some((id, Box::pin(tokio::task::spawn_blocking(move || request.derive()))));
            }
            Ask::BeforeAuth(stream::BeforeAuth::Ready { .. }) => match self.procedure.take() {
                Some(procedure) => {
                    let (before_auth, ends) = BeforeAuth::new();
                    self.before_auth = Some(RunningProcedure { ask: Some(id), ends, run: procedure(before_auth) });
                }
                None => self.core.handle(Input::Answer(id, Answer::Authenticate), now()),
            },
            Ask::BeforeAuth(stream::BeforeAuth::Reply { stanza }) => {
                if let Some(running) = &mut self.before_auth {
                    running.ask = Some(id);
                    // One request at a time, so there is room; a procedure that has ended needs no reply.
                    let _ = running.ends.replies.try_send(stanza);
                }
            }
        }
    }

    async fn start_tls(&mut self, inbox: &mut Inbox) -> Result<(), Ended> {
        self.transmit();
        self.log.end(&*self.surface);
        let Some(mut io) = self.io.take() else { return Ok(()) };
        if let Err(error) = io.flush().await {
            return Err(Ended::Failed(error.into()));
        }
        let Some(upgrade) = self.upgrade.take() else { return Ok(()) };
        let (particulars, options) = *upgrade;
        let handshake = connection::start_tls(Connection::attach(io.into_stream(), particulars), &options);
        tokio::pin!(handshake);
        let result = loop {
            tokio::select! {
                biased;
                order = inbox.control.next() => match order {
                    Some(Control::Forget(_) | Control::Hurry) => {}
                    Some(order) => { self.order = Some(order); return Err(Ended::Clean) }
                    None => { self.order = Some(Control::Close); return Err(Ended::Clean) }
                },
                result = &mut handshake => break result,
            }
        };
        match result {
            Ok(connection) => {
                self.surface.connected(connection.info());
                let bindings = connection.info().tls.as_ref().map(bindings).unwrap_or_default();
                self.io = Some(Io::new(connection.detach().0));
                self.core.handle(Input::TlsDone { bindings }, now());
            }
            Err(error) => self.core.handle(Input::TlsFailed(error), now()),
        }
        Ok(())
    }

    /// Moves what the core wants written into the socket's buffer.
    fn transmit(&mut self) {
        let Some(io) = &mut self.io else { return };
        let before = io.out().len();
        while self.core.take_transmit(io.out()) {}
        self.log.sent(&io.out()[before..], &*self.surface);
    }

    /// Waits for the next thing to happen, and tells the core.
    async fn wait(&mut self, inbox: &mut Inbox) {
        let reading = !self.bound || self.lane.may_read(now());
        if !reading {
            // It is we who do not listen.
            self.pulse.heard(now());
        }
        let surface = Arc::clone(&self.surface);
        let unwritten = self.io.as_ref().map_or(0, Io::unwritten);
        self.record();
        let online = self.online_since.is_some();
        if self.careful.is_some() && online && self.core.unacknowledged() > 0 {
            self.core.handle(Input::AskForAck, now());
            self.transmit();
        }
        self.pulse.waits_since(self.core.asked_for_ack_since());
        self.arm();
        let reading = reading && unwritten < WRITE_MAX;
        // While the closing hooks run too: they have last words, and what was accepted before goes out before the end.
        let sending = self.bound && (self.order.is_none() || self.closing.is_some()) && unwritten < WRITE_HIGH;
        let acknowledged = self.core.unacknowledged() < self.most_unacknowledged() && self.recording.is_none();
        let Some(io) = &mut self.io else {
            self.core.handle(Input::Eof, now());
            return;
        };
        // Fair, so that a flood of what arrives holds up neither what is to be sent nor a deadline.
        tokio::select! {
            order = inbox.control.next() => self.control(order.unwrap_or(Control::Close)),
            keys = ended(self.keys.as_mut().map(|(_, run)| run)) => self.keys_derived(keys),
            ended = procedure(&mut self.before_auth) => self.procedure_step(ended),
            taken = ended(self.lane.running.as_mut()) => {
                self.lane.running = None;
                self.taken_over(taken);
            }
            () = surface.taken_over().gathered() => {
                let numbers = surface.taken_over().drain();
                if surface.records() {
                    numbers.into_iter().for_each(|number| self.lane.dealt_with(number, now()));
                } else {
                    self.taken_over(numbers);
                }
            }
            () = recorded(&mut self.recording) => {
                if let Some(Recording { last, tokens, .. }) = self.recording.take() {
                    self.core.handle(Input::Recorded(last), now());
                    self.transmit();
                    tokens.into_iter().for_each(|token| self.mark(token));
                }
            }
            () = ended(self.resuming.as_mut().and_then(|resuming| resuming.noted.as_mut())) => {
                let login = self.resuming.take().and_then(|resuming| resuming.login);
                self.resumed(login);
            }
            () = ended(self.login.as_mut()) => self.logged_in(),
            () = ended(self.closing.as_mut()) => {
                self.closing = None;
                while let Some(outgoing) = inbox.outgoing.take() {
                    self.send(outgoing);
                }
                self.core.handle(Input::Close, now());
            }
            Some(()) = self.jobs.next(), if !self.jobs.is_empty() => {}
            event = io.event(reading) => self.io_event(event),
            outgoing = inbox.outgoing.next(), if sending => self.send(outgoing),
            () = poll_fn(|cx| surface.poll_message(cx)), if sending && online && acknowledged => self.send_messages(),
            // Looks at the deadlines again; a request that can be sent comes through its channel.
            () = poll_fn(|cx| surface.poll_request(cx)), if !sending => {}
            () = tick(&mut self.timer) => self.tick(),
        }
    }

    fn io_event(&mut self, event: IoEvent) {
        let Some(io) = &mut self.io else { return };
        match event {
            IoEvent::Read(range) => {
                let now = now();
                self.pulse.heard(now);
                self.read_at = (SystemTime::now(), now);
                let bytes = io.bytes(&range);
                self.log.received(bytes, || self.core.buffered(), &*self.surface);
                self.core.handle(Input::Bytes(bytes), now);
            }
            IoEvent::Eof => self.core.handle(Input::Eof, now()),
            IoEvent::Failed(error) => {
                tracing::debug!(%error, "the connection broke");
                self.core.handle(Input::Eof, now());
            }
            IoEvent::Written => {
                while let Some(token) = io.next_written() {
                    self.surface.written(token);
                }
            }
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Stanza { token, stanza } => self.core.handle(Input::Send { token, stanza }, now()),
            Outgoing::Nonza(xml) => self.core.handle(Input::Nonza(xml), now()),
            Outgoing::Request { token, stanza, timeout } => {
                if self.surface.begin_request(token) {
                    self.core.handle(Input::Request { token, stanza, timeout }, now());
                }
            }
        }
    }

    /// Takes messages from the outbox while there is room.
    fn send_messages(&mut self) {
        let mut room = self.most_unacknowledged().saturating_sub(self.core.unacknowledged());
        let mut bytes = 0;
        while room > 0 && self.io.as_ref().is_some_and(|io| io.unwritten() + bytes < WRITE_HIGH) {
            let Some(Outgoing::Stanza { token, stanza }) = self.surface.next_message() else { return };
            // Where numbers are noted first, nothing is in the buffer yet.
            bytes += if self.surface.records() { stanza.byte_len() } else { 0 };
            room -= 1;
            self.core.handle(Input::Send { token, stanza }, now());
            if !self.surface.records() {
                self.transmit();
                self.mark(token);
            }
        }
    }

    fn most_unacknowledged(&self) -> usize {
        if self.careful.is_some() && self.core.is_managed() == Some(true) { 1 } else { MAX_UNACKNOWLEDGED }
    }

    /// What was written last holds this message.
    fn mark(&mut self, token: u64) {
        if let Some(io) = &mut self.io {
            io.mark(token);
        }
    }

    /// Begins to note the numbers of messages that wait to be written.
    fn record(&mut self) {
        if self.recording.is_some() || self.to_record.is_empty() {
            return;
        }
        let numbers = std::mem::take(&mut self.to_record);
        if let Some((_, last)) = numbers.last().copied() {
            let tokens = numbers.iter().map(|(token, _)| *token).collect();
            self.recording = Some(Recording { last, tokens, run: Arc::clone(&self.surface).record(numbers) });
        }
    }

    fn control(&mut self, order: Control) {
        match order {
            Control::Forget(token) => self.core.handle(Input::Forget { token }, now()),
            Control::Hurry => self.pulse.doubt(now()),
            Control::Suspend => {
                // Not closed, only left (R26).
                self.order = Some(Control::Suspend);
                self.core.handle(Input::Eof, now());
            }
            Control::Close if self.order.is_none() => {
                self.order = Some(Control::Close);
                if self.online_since.is_some() {
                    let hooks = Arc::clone(&self.surface).closing();
                    let taken = Arc::clone(&self.surface).messages_taken();
                    self.closing = Some(Box::pin(async move {
                        let last = futures::future::join(hooks, taken);
                        if tokio::time::timeout(CLOSING_HOOKS, last).await.is_err() {
                            tracing::warn!("closing hooks, or the last messages, took too long");
                        }
                    }));
                } else {
                    self.core.handle(Input::Close, now());
                }
            }
            Control::Close => {}
        }
    }

    fn keys_derived(&mut self, keys: Result<ScramKeys, tokio::task::JoinError>) {
        let Some((id, _)) = self.keys.take() else { return };
        match keys {
            Ok(keys) => self.core.handle(Input::Answer(id, Answer::Keys(keys)), now()),
            Err(error) => {
                self.cause = Some(Error::new(ErrorKind::Io).with_context("the key derivation was cancelled").with_source(error));
                self.core.handle(Input::Answer(id, Answer::Abort), now());
            }
        }
    }

    fn procedure_step(&mut self, step: ProcedureStep) {
        let Some(running) = &mut self.before_auth else { return };
        let Some(id) = running.ask.take() else {
            // It ended between a request and its reply.
            if let ProcedureStep::Ended(result) = step {
                self.cause = result.err();
                self.before_auth = None;
                self.core.handle(Input::Close, now());
            }
            return;
        };
        let answer = match step {
            ProcedureStep::Request(iq) => Answer::Iq(iq),
            ProcedureStep::Ended(Ok(())) => {
                tracing::debug!("the account is registered");
                self.before_auth = None;
                self.registered = true;
                Answer::Authenticate
            }
            ProcedureStep::Ended(Err(error)) => {
                self.before_auth = None;
                self.cause = Some(error);
                Answer::Abort
            }
        };
        self.core.handle(Input::Answer(id, answer), now());
    }

    fn logged_in(&mut self) {
        self.login = None;
        self.logged_in = true;
        self.come_online();
    }

    /// Online is who is logged in and knows what becomes of what is sent.
    fn come_online(&mut self) {
        if self.logged_in && self.online_since.is_none() && self.core.is_managed().is_some() {
            self.online(false);
        }
    }

    fn online(&mut self, resumed: bool) {
        (self.online_since, self.is_resumed) = (Some(now()), resumed);
        self.surface.state(State::Online { resumed });
        for job in Arc::clone(&self.surface).online(resumed) {
            self.spawn(job);
        }
    }

    fn spawn(&mut self, job: BoxFuture<'static, ()>) {
        self.jobs.push(Box::pin(AssertUnwindSafe(job).catch_unwind().map(|result| {
            if result.is_err() {
                tracing::error!("an extension panicked");
            }
        })));
    }

    /// Sets the timer to the next deadline, if that has changed.
    fn arm(&mut self) {
        let pulse = self.pulse.deadline().filter(|_| self.bound);
        let next = [self.core.next_deadline(), self.lane.deadline(), self.surface.next_deadline(), pulse];
        let next = next.into_iter().flatten().min();
        match (&mut self.timer, next) {
            // To wake too early does no harm, and spares a reset for everything that arrives.
            (Some((at, _)), Some(next)) if *at <= next => {}
            (Some((at, sleep)), Some(next)) => {
                *at = next;
                sleep.as_mut().reset(next.into());
            }
            (timer @ None, Some(next)) => *timer = Some((next, Box::pin(tokio::time::sleep_until(next.into())))),
            (timer, None) => *timer = None,
        }
    }

    fn tick(&mut self) {
        self.timer = None;
        let now = now();
        self.core.handle(Input::Timer, now);
        self.surface.expire();
        if self.lane.pause_is_over(now) {
            self.surface.cut_off_slow();
            for seq in self.lane.give_up_requests() {
                self.lane.taken_over(seq);
                self.lane.dealt_with(seq, now);
            }
        }
        if self.bound && self.closing.is_none() && self.order.is_none() {
            match self.pulse.due(now) {
                Due::Nothing => {}
                Due::Ask => self.ask_for_a_sign(),
                Due::GiveUp => {
                    self.cause = Some(ErrorKind::Timeout(Phase::Session).into());
                    self.core.handle(Input::Eof, now);
                }
            }
        }
    }

    /// The server has been silent: it is asked for an acknowledgement (XEP-0198) or by a ping (XEP-0199). Anything at all is an
    /// answer.
    fn ask_for_a_sign(&mut self) {
        if self.core.is_managed() == Some(true) {
            self.core.handle(Input::AskForAck, now());
            return;
        }
        let mut id = [0; 12];
        if getrandom::fill(&mut id).is_err() {
            return;
        }
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let domain = escape_attr(self.surface.account().domain().as_str()).into_owned();
        match OutStanza::from_xml(&format!(
            "<iq xmlns='jabber:client' type='get' id='{id}' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
        )) {
            Ok(stanza) => self.core.handle(Input::Request { token: PING, stanza, timeout: None }, now()),
            Err(error) => tracing::error!(%error, "a ping could not be written"),
        }
    }

    /// Brings to its end what was read; what that may wait for goes on meanwhile. Dropped before it is done, it leaves the rest in
    /// the lane.
    async fn deliver_last(&mut self) {
        loop {
            if self.lane.running.is_none() {
                let Some(batch) = self.lane.next_batch(true, now()) else { return };
                self.lane.running = Some(self.commit(batch));
            }
            let taken = tokio::select! {
                taken = ended(self.lane.running.as_mut()) => taken,
                Some(()) = self.jobs.next(), if !self.jobs.is_empty() => continue,
                () = ended(self.login.as_mut()) => {
                    self.login = None;
                    continue;
                }
            };
            self.lane.running = None;
            self.taken_over(taken);
        }
    }

    /// The connection is over: say the last words, release everything.
    async fn finish(mut self: Box<Self>, ended: Ended, carried: &mut Carried) -> End {
        self.log.end(&*self.surface);
        // Requests that were still waiting got their answer from the core's last outputs.
        while let Some(output) = self.core.poll_output() {
            if let Output::Event(event) = output {
                carried.event(event, &self.surface);
            }
        }
        let is_suspended = self.core.is_suspended() && !matches!(self.order, Some(Control::Close));
        // A session that may be resumed is not closed: the old connection is only dropped (R5).
        let last_words = self.io.as_ref().is_some_and(|io| io.unwritten() > 0) || !is_suspended;
        if let Some(mut io) = self.io.take().filter(|_| last_words && !matches!(self.order, Some(Control::Suspend))) {
            let goodbye = async {
                io.flush().await?;
                io.shutdown().await
            };
            if !matches!(tokio::time::timeout(Duration::from_secs(2), goodbye).await, Ok(Ok(()))) {
                tracing::debug!("the last words did not reach the server");
            }
            while let Some(token) = io.next_written() {
                self.surface.written(token);
            }
        }
        // What was read is delivered before the session is given up.
        if tokio::time::timeout(LAST_WRITES, self.deliver_last()).await.is_err() {
            // They are still in the lane; without another connection nobody brings them to their end.
            tracing::error!("messages that were read last are not stored yet: the store takes too long");
        }
        carried.numbered = self.core.numbered();
        if self.careful.is_none() {
            carried.not_careful();
        }
        let suspended = self.core.suspend().filter(|_| is_suspended);
        carried.lane = Some(self.lane);
        let is_entered = self.bound || self.resuming.is_some();
        match suspended {
            // Cut in the middle of its login it would go on without what the login brings: roster, presence, catch-up.
            Some(suspended) if is_entered && self.online_since.is_none() => {
                carried.suspended = Some(Box::new(suspended));
                carried.lose(&self.surface);
            }
            Some(suspended) => {
                carried.suspended = Some(Box::new(suspended));
                carried.jobs = Some(self.jobs);
                if self.online_since.is_some() {
                    self.surface.suspended();
                }
            }
            None if is_entered => self.surface.session_lost(None),
            None => {}
        }
        if let Some(procedure) = self.procedure.take() {
            self.surface.give_back_procedure(procedure);
        }
        match (self.order, ended) {
            (Some(Control::Suspend), _) => End::Suspended,
            (Some(_), _) => End::Closed,
            (None, Ended::SeeOther(other)) => End::Redirected { other, online_since: self.online_since },
            (None, Ended::Failed(error)) => {
                let error = self.cause.unwrap_or(error);
                let by_server = matches!(error.kind(), ErrorKind::Stream(_));
                let after_registration = self.registered && !self.bound;
                let (online_since, resumed) = (self.online_since, self.is_resumed);
                End::Failed { error, online_since, after_registration, by_server, resumed }
            }
            (None, Ended::Clean) => {
                let error = self.cause.unwrap_or_else(|| ErrorKind::Closed(Phase::Session).into());
                let (online_since, resumed) = (self.online_since, self.is_resumed);
                End::Failed { error, online_since, after_registration: false, by_server: false, resumed }
            }
        }
    }
}

enum ProcedureStep {
    Request(OutStanza),
    Ended(Result<()>),
}

/// The numbers are noted; pending for ever where none are being.
async fn recorded(recording: &mut Option<Recording>) {
    match recording {
        Some(recording) => (&mut recording.run).await,
        None => std::future::pending().await,
    }
}

/// A request is answered, or nobody will answer it: it counts (R8).
struct Answered {
    surface: Arc<dyn Surface>,
    seq: u64,
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.surface.taken_over().add(self.seq);
    }
}

/// The next step of a running procedure; pending for ever without one.
async fn procedure(running: &mut Option<RunningProcedure>) -> ProcedureStep {
    match running {
        Some(RunningProcedure { ends, run, .. }) => tokio::select! {
            biased;
            Some(iq) = ends.requests.recv() => ProcedureStep::Request(iq),
            result = run => ProcedureStep::Ended(result),
        },
        None => std::future::pending().await,
    }
}

/// The output of a future that may not be there; pending for ever without one.
async fn ended<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn tick(timer: &mut Option<(Instant, std::pin::Pin<Box<Sleep>>)>) {
    match timer {
        Some((_, sleep)) => sleep.await,
        None => std::future::pending().await,
    }
}

fn bindings(tls: &connection::TlsInfo) -> Vec<ChannelBinding> {
    let convert = |binding: &connection::TlsBinding| match binding.kind {
        TlsBindingKind::Exporter => ChannelBinding::Exporter(binding.data.clone()),
        TlsBindingKind::ServerEndPoint => ChannelBinding::ServerEndPoint(binding.data.clone()),
    };
    tls.bindings.iter().map(convert).collect()
}

pub(super) use super::task::now;

/// A random number for jitter; without a source of randomness, no jitter.
pub(super) fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|error| {
        tracing::warn!(%error, "no random numbers; reconnecting without jitter");
        u64::MAX
    })
}
