//! Faults of the network, on demand (R55).

use std::time::Duration;

use jid::{BareJid, FullJid, Jid};

/// Which connections something is done to.
///
/// Made from any JID: a bare one means all resources of that account, a full one means that resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Every connection, logged in or not.
    All,
    /// Every connection that is logged in to this account.
    Account(BareJid),
    /// The connection that has bound this address.
    Session(FullJid),
}

impl From<BareJid> for Target {
    fn from(jid: BareJid) -> Self {
        Self::Account(jid)
    }
}

impl From<&BareJid> for Target {
    fn from(jid: &BareJid) -> Self {
        Self::Account(jid.clone())
    }
}

impl From<FullJid> for Target {
    fn from(jid: FullJid) -> Self {
        Self::Session(jid)
    }
}

impl From<&FullJid> for Target {
    fn from(jid: &FullJid) -> Self {
        Self::Session(jid.clone())
    }
}

impl From<&Jid> for Target {
    fn from(jid: &Jid) -> Self {
        match jid.try_as_full() {
            Ok(full) => Self::Session(full.clone()),
            Err(bare) => Self::Account(bare.clone()),
        }
    }
}

impl From<Jid> for Target {
    fn from(jid: Jid) -> Self {
        Self::from(&jid)
    }
}

/// How a connection is cut, always without `</stream:stream>` and without TLS's close_notify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cut {
    /// By a TCP reset. What was not sent yet is lost.
    Rst,
    /// By TCP's FIN: the client reads an end of file. What was not sent yet is lost.
    Fin,
    /// By FIN in one direction: the client reads an end of file, and the server goes on reading and acting on what it
    /// reads. The session stays.
    HalfClose,
    /// By nothing at all: from now on everything is swallowed, both ways, and the server does not notice that the client goes.
    /// The session stays until it is resumed, replaced, or given up. Unlike a [stall](super::Server::stall) it never ends.
    Drop,
}

/// A moment of a connection that is no moment of the clock; for [`Server::cut_at`](super::Server::cut_at).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Moment {
    /// In the TLS handshake: the client's first bytes of it were read.
    TlsHandshake,
    /// `<resume/>` was read and nothing done yet (XEP-0198 §5).
    ResumeRead,
    /// The session was taken over from its old connection, and the client was not told.
    ResumeDone,
    /// `<resumed/>` was sent, and none of the stanzas that are to follow.
    Resumed,
}

/// A way through a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// What the client sends.
    FromClient,
    /// What the server sends.
    ToClient,
    /// Both.
    Both,
}

impl Way {
    pub(super) fn has_inbound(self) -> bool {
        matches!(self, Self::FromClient | Self::Both)
    }

    pub(super) fn has_outbound(self) -> bool {
        matches!(self, Self::ToClient | Self::Both)
    }
}

/// The state of the network for one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) stall_in: bool,
    pub(super) stall_out: bool,
    pub(super) delay_in: Duration,
    pub(super) delay_out: Duration,
}

/// A change of [`Weather`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Stall(Way, bool),
    Delay(Way, Duration),
}

impl Weather {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Stall(way, on) => {
                if way.has_inbound() {
                    self.stall_in = on;
                }
                if way.has_outbound() {
                    self.stall_out = on;
                }
            }
            Change::Delay(way, delay) => {
                if way.has_inbound() {
                    self.delay_in = delay;
                }
                if way.has_outbound() {
                    self.delay_out = delay;
                }
            }
        }
    }
}
