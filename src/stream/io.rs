//! What every part of the core shares: the configuration, both directions of bytes, the outputs, and the phase's deadline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::alphabet::{Ask, AskId, Event, Output};
use super::config::{CoreConfig, SessionConfig};
use super::management::Suspended;
use super::wire::{Opening, Wire};

pub(super) struct Io {
    /// The configuration, until the stream has an address; the steps of the login have it too.
    pub(super) login: Option<Arc<CoreConfig>>,
    pub(super) config: SessionConfig,
    pub(super) wire: Wire,
    pub(super) out: VecDeque<Output>,
    /// The time of the input that is being handled.
    pub(super) now: Instant,
    /// When the present phase must be over.
    pub(super) deadline: Option<Instant>,
    /// The session that is to be resumed.
    pub(super) resume: Option<Box<Suspended>>,
    asked: u64,
    open_ask: Option<AskId>,
}

impl Io {
    pub(super) fn new(config: CoreConfig, resume: Option<Box<Suspended>>, now: Instant) -> Self {
        let wire = Wire::new(config.framing, config.limits);
        let login = Arc::new(config);
        let config = SessionConfig::of(&login);
        Self { login: Some(login), config, wire, out: VecDeque::new(), now, deadline: None, resume, asked: 0, open_ask: None }
    }

    /// The session that was to be resumed is over; new numbers go on behind its.
    pub(super) fn lose_session(&mut self, h: Option<u32>) {
        if let Some(suspended) = self.resume.take() {
            self.config.numbers_after = self.config.numbers_after.max(suspended.numbered());
            self.out.extend(suspended.lose(h));
        }
    }

    /// Sends our stream header. It names the account where that is wanted: never before the connection is as secure as it
    /// gets, for the account's name is nobody's business; and not while there may be no account yet (R47). Servers offer
    /// some features only to a stream that names its account.
    pub(super) fn open_stream(&mut self, secured: bool) {
        let Some(config) = self.login.clone() else { return };
        let from = match &config.account {
            Some(account) if secured && !config.before_auth => Some(account.as_str()),
            _ => None,
        };
        let opening = Opening { to: config.domain.as_str(), from, lang: config.lang.as_deref() };
        self.wire.open(&opening);
        self.wait(config.deadlines.header);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// Puts a question to the driver. While it is open the server is not to blame for the time that passes, so the phase
    /// has no deadline; a step that wants one calls [`wait`](Self::wait) after this.
    pub(super) fn ask(&mut self, ask: Ask) {
        self.asked += 1;
        let id = AskId(self.asked);
        self.open_ask = Some(id);
        self.deadline = None;
        self.out.push_back(Output::Ask(id, ask));
    }

    /// Whether this is the answer to the open question, which is closed by it.
    pub(super) fn close_ask(&mut self, id: AskId) -> bool {
        let fits = self.open_ask == Some(id);
        if fits {
            self.open_ask = None;
        }
        fits
    }

    /// Forgets the open question and the deadline: the phase is over.
    pub(super) fn end_phase(&mut self) {
        self.open_ask = None;
        self.deadline = None;
    }

    /// From now on the present phase may take this long.
    pub(super) fn wait(&mut self, limit: Duration) {
        self.deadline = self.now.checked_add(limit);
    }
}
