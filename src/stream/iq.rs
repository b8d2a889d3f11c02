//! Requests that wait for their reply, and who may answer them (R48).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jid::{BareJid, DomainRef, FullJid, Jid};

/// Our own addresses, against which senders are compared.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) full: FullJid,
    pub(super) bare: BareJid,
}

impl Own {
    pub(super) fn new(full: FullJid) -> Self {
        let bare = full.to_bare();
        Self { full, bare }
    }
}

/// Whom a request went to, as R48 tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addressee {
    /// No `to`: our own account, on whose behalf the server answers.
    Account,
    /// Our own bare JID, named.
    OwnBare,
    /// The server's domain.
    Domain,
    /// Anybody else, our own full JID included.
    Other(Jid),
}

impl Addressee {
    pub(super) fn new(to: Option<Jid>, own: &Own) -> Self {
        match to {
            None => Self::Account,
            Some(to) if to == own.bare => Self::OwnBare,
            Some(to) if is_domain(&to, own.bare.domain()) => Self::Domain,
            Some(to) => Self::Other(to),
        }
    }

    /// Whether a reply from there answers the request: R48, row by row. JIDs compare normalised (C9).
    pub(super) fn may_be_answered_by(&self, from: Option<&Jid>, own: &Own) -> bool {
        let Some(from) = from else {
            return !matches!(self, Self::Other(_));
        };
        let is_own = *from == own.bare || *from == own.full;
        match self {
            Self::Account => is_own || is_domain(from, own.bare.domain()),
            Self::OwnBare => is_own,
            Self::Domain => is_domain(from, own.bare.domain()),
            Self::Other(to) => from == to,
        }
    }
}

/// Whether an address is this domain itself.
pub(super) fn is_domain(jid: &Jid, domain: &DomainRef) -> bool {
    jid.node().is_none() && jid.resource().is_none() && jid.domain() == domain
}

/// The requests that wait. A reply is found by its `id`; the next deadline is the first of an ordered set, so that no timer
/// is armed per request.
#[derive(Debug, Default)]
pub(super) struct IqTable {
    by_id: HashMap<Arc<str>, Waiting>,
    by_token: HashMap<Token, Arc<str>>,
    deadlines: BTreeSet<(Instant, Token)>,
}

/// Who waits: a caller of the driver's, or the core itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Token {
    Driver(u64),
    /// The legacy session request (RFC 3921 §3).
    LegacySession,
}

/// The end of a request that is not written yet.
pub(super) const NOT_WRITTEN: u64 = u64::MAX;

#[derive(Debug)]
struct Waiting {
    token: Token,
    addressee: Addressee,
    deadline: Instant,
    timeout: Duration,
    /// Where the request ends among the bytes of the connection; written once the driver has taken that many.
    end: u64,
}

impl IqTable {
    /// Whether a request may be entered: neither its id nor its token is in use.
    pub(super) fn is_free(&self, token: Token, id: &str) -> bool {
        !self.by_id.contains_key(id) && !self.by_token.contains_key(&token)
    }

    /// Enters a request that [is free](Self::is_free) and ends at this byte of the connection.
    pub(super) fn insert(&mut self, token: Token, id: &str, addressee: Addressee, now: Instant, timeout: Duration, end: u64) {
        let id: Arc<str> = id.into();
        // A timeout beyond what the clock can express waits for a century.
        let deadline = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400));
        self.deadlines.insert((deadline, token));
        self.by_token.insert(token, Arc::clone(&id));
        self.by_id.insert(id, Waiting { token, addressee, deadline, timeout, end });
    }

    /// Takes out the request that this reply answers, if it answers one.
    pub(super) fn answer(&mut self, id: &str, from: Option<&Jid>, own: &Own) -> Option<Token> {
        let waiting = self.by_id.get(id)?;
        if !waiting.addressee.may_be_answered_by(from, own) {
            return None;
        }
        let token = waiting.token;
        self.remove(token);
        Some(token)
    }

    /// The request that was entered before it was written now ends at this byte of the connection.
    pub(super) fn wrote(&mut self, token: Token, end: u64) {
        if let Some(waiting) = self.by_token.get(&token).and_then(|id| self.by_id.get_mut(id)) {
            waiting.end = end;
        }
    }

    /// The connection is cut: what the driver had not taken was not written.
    pub(super) fn cut(&mut self, taken: u64) {
        for waiting in self.by_id.values_mut() {
            waiting.end = if waiting.end <= taken { 0 } else { NOT_WRITTEN };
        }
    }

    /// Time stood still for so long (R6).
    pub(super) fn postpone(&mut self, by: Duration) {
        self.deadlines.clear();
        for waiting in self.by_id.values_mut() {
            waiting.deadline = waiting.deadline.checked_add(by).unwrap_or(waiting.deadline);
            self.deadlines.insert((waiting.deadline, waiting.token));
        }
    }

    pub(super) fn forget(&mut self, token: Token) {
        self.remove(token);
    }

    /// Takes out a request whose time is over, and says how long it waited.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(Token, Duration)> {
        let &(deadline, token) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.remove(token).map(|waiting| (token, waiting.timeout))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Empties the table: every request with whether it was written, the driver having taken this many bytes; in the order
    /// in which they were made.
    pub(super) fn drain(&mut self, taken: u64) -> Vec<(Token, bool)> {
        self.by_token.clear();
        self.deadlines.clear();
        let mut all: Vec<_> = self.by_id.drain().map(|(_, w)| (w.end, w.token)).collect();
        all.sort_unstable();
        all.into_iter().map(|(end, token)| (token, end <= taken)).collect()
    }

    /// Takes out a request, whatever its state; `false` if it was not there.
    pub(super) fn take_out(&mut self, token: Token) -> bool {
        self.remove(token).is_some()
    }

    fn remove(&mut self, token: Token) -> Option<Waiting> {
        let id = self.by_token.remove(&token)?;
        let waiting = self.by_id.remove(&id)?;
        self.deadlines.remove(&(waiting.deadline, token));
        if self.by_id.is_empty() {
            // An idle connection keeps no room for requests.
            *self = Self::default();
        }
        Some(waiting)
    }
}
