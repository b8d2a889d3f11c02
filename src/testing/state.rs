//! Everything the server knows: accounts, connections, counters. One lock, never held over an await.
//!
//! A feature's behaviour stands in its own module as `impl State` or as a handler in the table of [`super::iq`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::archive::Archive;
use super::dialect::Differences;
use super::faults::{Change, Cut, Moment, Target, Way, Weather};
use super::iq::Request;
use super::management::{Expired, Managed};
use super::message::Stored;
use super::options::{Field, Misbehaviour, Registration};
use super::roster::Roster;
use super::scram::Keys;
use super::tree::Element;
use crate::error::{StanzaError, StreamError};
use jid::{BareJid, DomainPart, FullJid, Jid, NodePart};

/// How many received stanzas are kept for [`Server::received`](super::Server::received).
pub(super) const RECEIVED_KEPT: usize = 10_000;

/// A connection's number; it is never used again.
pub(super) type ConnectionId = u64;

/// What the tasks of one server share.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    /// Looks, or changes something nobody waits for.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one connection's task must not hide behind a second one here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes who waits for it.
    pub(super) fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let result = f(&mut self.lock());
        self.notify();
        result
    }

    pub(super) fn notify(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// What a test set, and may set again while the server runs.
pub(super) struct Config {
    pub(super) differences: Differences,
    pub(super) registration: Registration,
    pub(super) registration_error: Option<StanzaError>,
    pub(super) owner_form: Option<Vec<Field>>,
    pub(super) tls_offered: bool,
    pub(super) tls_required: bool,
    pub(super) misbehaviours: Vec<Misbehaviour>,
}

pub(super) struct State {
    pub(super) domain: DomainPart,
    pub(super) config: Config,
    pub(super) accounts: BTreeMap<NodePart, Account>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) weather: Weather,
    pub(super) totals: Totals,
    pub(super) received: VecDeque<Received>,
    /// When the server was made, in seconds since 1970.
    pub(super) started: i64,
    /// Sessions that can no longer be resumed, the oldest first.
    pub(super) expired: VecDeque<Expired>,
    /// Cuts that wait for their moment.
    pub(super) armed: Vec<(Moment, Cut)>,
    /// Queries of archives that a misbehaviour keeps from being answered.
    pub(super) unanswered: Vec<Request>,
    last_connection: ConnectionId,
}

/// An account.
pub(super) struct Account {
    pub(super) password: String,
    /// SCRAM keys by mechanism name and iterations; made at the first login that needs them.
    pub(super) keys: BTreeMap<(String, u32), Arc<Keys>>,
    pub(super) roster: Roster,
    /// Requests to subscribe to this account's presence that nobody answered yet, as they came.
    pub(super) requests: BTreeMap<BareJid, Element>,
    pub(super) offline: Vec<Stored>,
    pub(super) archive: Archive,
    /// Push services and their nodes that are to be notified, with the request as an XML document.
    pub(super) push: BTreeMap<(BareJid, String), String>,
    /// What was given at registration beside name and password.
    pub(super) registered: BTreeMap<String, String>,
    /// When its last resource left, in seconds since 1970, and what it said then.
    pub(super) left: Option<(i64, String)>,
}

impl Account {
    pub(super) fn new(password: &str) -> Self {
        Self {
            password: password.into(),
            keys: BTreeMap::new(),
            roster: Roster::default(),
            requests: BTreeMap::new(),
            offline: Vec::new(),
            archive: Archive::default(),
            push: BTreeMap::new(),
            registered: BTreeMap::new(),
            left: None,
        }
    }
}

/// An open connection, logged in or not; or a closed one whose session waits to be resumed.
pub(super) struct Connection {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) meter: Arc<Meter>,
    pub(super) tls: bool,
    pub(super) account: Option<NodePart>,
    pub(super) mechanism: Option<String>,
    pub(super) bound: Option<Bound>,
    pub(super) open: bool,
    /// Everything on it is swallowed ([`Cut::Drop`]).
    pub(super) lost: bool,
}

/// What a connection has once it bound a resource.
pub(super) struct Bound {
    pub(super) jid: FullJid,
    /// It asked for the roster, so it gets pushes.
    pub(super) interested: bool,
    /// Its last presence, while it is available.
    pub(super) presence: Option<Element>,
    pub(super) priority: i8,
    /// Whom it sent directed presence.
    pub(super) directed: BTreeSet<Jid>,
    /// Its stream management, once enabled.
    pub(super) managed: Option<RefCell<Managed>>,
    /// It wants copies of what the account's other clients send and get.
    pub(super) carbons: bool,
    /// How often it asked for messages of the archive.
    pub(super) archive_queries: usize,
    /// What it said of its state: whether nobody is looking.
    pub(super) client_states: Vec<bool>,
}

/// What a connection's task is told.
#[derive(Debug)]
pub(super) enum Command {
    Write(Vec<u8>),
    /// Ends the stream, with an error if there is one.
    Close(Option<StreamError>),
    Cut(Cut),
    /// Cuts when this many more bytes went this way.
    CutAfter(Way, usize, Cut),
    Weather(Change),
}

/// Traffic of one connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) stanzas_in: AtomicU64,
    pub(super) stanzas_out: AtomicU64,
}

impl Meter {
    pub(super) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// What closed connections leave behind in the counters.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) connections: u64,
    pub(super) logins: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) stanzas_in: u64,
    pub(super) stanzas_out: u64,
    pub(super) resumes: u64,
    pub(super) failed_resumes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, meter: &Meter) {
        self.bytes_in += meter.bytes_in.load(Ordering::Relaxed);
        self.bytes_out += meter.bytes_out.load(Ordering::Relaxed);
        self.stanzas_in += meter.stanzas_in.load(Ordering::Relaxed);
        self.stanzas_out += meter.stanzas_out.load(Ordering::Relaxed);
    }
}

/// A stanza a bound client sent.
pub(super) struct Received {
    pub(super) from: FullJid,
    pub(super) xml: String,
}

impl State {
    pub(super) fn new(domain: DomainPart, config: Config) -> Self {
        Self {
            domain,
            config,
            accounts: BTreeMap::new(),
            connections: BTreeMap::new(),
            weather: Weather::default(),
            totals: Totals::default(),
            received: VecDeque::new(),
            started: super::clock::unix_now(),
            expired: VecDeque::new(),
            armed: Vec::new(),
            unanswered: Vec::new(),
            last_connection: 0,
        }
    }

    pub(super) fn differences(&self) -> &Differences {
        &self.config.differences
    }

    pub(super) fn bare(&self, account: &NodePart) -> BareJid {
        BareJid::from_parts(Some(account), &self.domain)
    }

    /// The account an address belongs to, if it is one of this server's.
    pub(super) fn local_account(&self, jid: &Jid) -> Option<NodePart> {
        let node = jid.node()?.to_owned();
        (jid.domain() == &*self.domain && self.accounts.contains_key(&node)).then_some(node)
    }

    pub(super) fn is_local(&self, jid: &Jid) -> bool {
        jid.domain() == &*self.domain
    }

    pub(super) fn connect(&mut self, commands: mpsc::UnboundedSender<Command>, meter: Arc<Meter>) -> ConnectionId {
        self.last_connection += 1;
        self.totals.connections += 1;
        let connection =
            Connection { commands, meter, tls: false, account: None, mechanism: None, bound: None, open: true, lost: false };
        self.connections.insert(self.last_connection, connection);
        self.last_connection
    }

    /// The connection is gone. Unless its session is kept, that ends, with unavailable presence to whom it concerns.
    pub(super) fn disconnect(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|connection| !connection.open) {
            return;
        }
        self.unbind(id);
        if let Some(connection) = self.connections.remove(&id) {
            self.totals.add(&connection.meter);
        }
    }

    /// The session is over while the connection may still live for a moment.
    pub(super) fn unbind(&mut self, id: ConnectionId) {
        self.leave(id);
        if let Some(bound) = self.connections.get_mut(&id).and_then(|connection| connection.bound.take()) {
            self.release(bound);
        }
    }

    /// Ends a session at once and its stream soon.
    pub(super) fn kick(&mut self, id: ConnectionId, error: StreamError) {
        self.unbind(id);
        self.command(id, Command::Close(Some(error)));
        if self.connections.get(&id).is_some_and(|connection| !connection.open) {
            self.connections.remove(&id);
        }
    }

    pub(super) fn command(&self, id: ConnectionId, command: Command) {
        if let Some(connection) = self.connections.get(&id) {
            // The receiver is gone only when the connection's task has ended, and then nobody is left to tell.
            let _ = connection.commands.send(command);
        }
    }

    pub(super) fn bound(&self, id: ConnectionId) -> Option<&Bound> {
        self.connections.get(&id)?.bound.as_ref()
    }

    pub(super) fn bound_mut(&mut self, id: ConnectionId) -> Option<&mut Bound> {
        self.connections.get_mut(&id)?.bound.as_mut()
    }

    /// The bound connections of an account, oldest first.
    pub(super) fn sessions_of(&self, account: &NodePart) -> impl Iterator<Item = (ConnectionId, &Bound)> {
        self.connections
            .iter()
            .filter(move |(_, c)| c.account.as_ref() == Some(account))
            .filter_map(|(id, c)| Some((*id, c.bound.as_ref()?)))
    }

    pub(super) fn session(&self, jid: &FullJid) -> Option<ConnectionId> {
        self.connections.iter().find(|(_, c)| c.bound.as_ref().is_some_and(|b| b.jid == *jid)).map(|(id, _)| *id)
    }

    pub(super) fn matching(&self, target: &Target) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, c)| match target {
                Target::All => true,
                Target::Account(jid) => c.account.as_ref().is_some_and(|node| self.bare(node) == *jid),
                Target::Session(jid) => c.bound.as_ref().is_some_and(|b| b.jid == *jid),
            })
            .map(|(id, _)| *id)
            .collect()
    }

    /// The matching connections that are open.
    pub(super) fn open(&self, target: &Target) -> Vec<ConnectionId> {
        let mut ids = self.matching(target);
        ids.retain(|id| self.connections.get(id).is_some_and(|connection| connection.open));
        ids
    }

    pub(super) fn note_received(&mut self, from: FullJid, xml: String) {
        if self.received.len() == RECEIVED_KEPT {
            self.received.pop_front();
        }
        self.received.push_back(Received { from, xml });
    }
}

/// Sixteen random bytes as letters and digits, for ids, nonces and resources.
pub(super) fn random_id() -> String {
    let mut bytes = [0; 16];
    // Only uniqueness matters here; an operating system without randomness fails in TLS long before.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
