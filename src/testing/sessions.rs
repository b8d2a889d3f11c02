//! Resource binding (RFC 6120 §7) and what can be told of sessions.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use jid::{FullJid, ResourcePart};

use super::dialect::ResourceConflict;
use super::options::Misbehaviour;
use super::routing::{cancel, modify};
use super::state::{Bound, Connection, ConnectionId, State, random_id};
use super::tree::{Element, ns};
use crate::error::{StanzaError, StreamError};

/// A session of the server: a client that has logged in and bound a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The address it has bound.
    pub jid: FullJid,
    /// The SASL mechanism it logged in with.
    pub mechanism: String,
    /// Whether its connection is inside TLS.
    pub tls: bool,
    /// Whether it has asked for the roster, so that it gets roster pushes.
    pub interested: bool,
    /// Whether it has sent available presence.
    pub available: bool,
    /// The priority of its presence; 0 while it is not available.
    pub priority: i8,
    /// Whether its connection is open. One that is not is kept by stream management, until it is resumed or its time is over.
    pub connected: bool,
    /// How many stanzas to the client wait for its acknowledgement (XEP-0198); 0 without stream management.
    pub unacknowledged: usize,
    /// How many stanzas from the client were taken that it was not told of.
    pub unreported: u32,
    /// What the client said of its state so far (XEP-0352): whether nobody is looking.
    pub client_states: Vec<bool>,
    /// Its traffic so far, over its present connection.
    pub traffic: Traffic,
}

/// What went over a connection, or over all of them. Bytes are counted above TLS; stanzas include the elements of the
/// negotiation on the way in, and the server's stanzas alone on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Elements from clients.
    pub stanzas_in: u64,
    /// Stanzas to clients.
    pub stanzas_out: u64,
}

/// Counters of a server since it was made; they never go back, not by a restart either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that were accepted.
    pub connections: u64,
    /// Successful authentications.
    pub logins: u64,
    /// Sessions that were resumed (XEP-0198 §5).
    pub resumes: u64,
    /// Resumptions that were refused.
    pub failed_resumes: u64,
    /// The traffic of all connections, closed ones included.
    pub traffic: Traffic,
}

fn traffic(connection: &Connection) -> Traffic {
    let meter = &connection.meter;
    Traffic {
        bytes_in: meter.bytes_in.load(Ordering::Relaxed),
        bytes_out: meter.bytes_out.load(Ordering::Relaxed),
        stanzas_in: meter.stanzas_in.load(Ordering::Relaxed),
        stanzas_out: meter.stanzas_out.load(Ordering::Relaxed),
    }
}

impl State {
    pub(super) fn session_infos(&self) -> Vec<SessionInfo> {
        let info = |connection: &Connection| {
            let bound = connection.bound.as_ref()?;
            let managed = bound.managed.as_ref().map(|managed| managed.borrow());
            Some(SessionInfo {
                jid: bound.jid.clone(),
                mechanism: connection.mechanism.clone().unwrap_or_default(),
                tls: connection.tls,
                interested: bound.interested,
                available: bound.presence.is_some(),
                priority: if bound.presence.is_some() { bound.priority } else { 0 },
                connected: connection.open,
                unacknowledged: managed.as_ref().map_or(0, |managed| managed.unacknowledged()),
                unreported: managed.as_ref().map_or(0, |managed| managed.untold()),
                client_states: bound.client_states.clone(),
                traffic: traffic(connection),
            })
        };
        self.connections.values().filter_map(info).collect()
    }

    pub(super) fn counters(&self) -> Counters {
        let totals = &self.totals;
        let closed = Traffic {
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            stanzas_in: totals.stanzas_in,
            stanzas_out: totals.stanzas_out,
        };
        let sum = self.connections.values().map(traffic).fold(closed, |a, b| Traffic {
            bytes_in: a.bytes_in + b.bytes_in,
            bytes_out: a.bytes_out + b.bytes_out,
            stanzas_in: a.stanzas_in + b.stanzas_in,
            stanzas_out: a.stanzas_out + b.stanzas_out,
        });
        Counters {
            connections: totals.connections,
            logins: totals.logins,
            resumes: totals.resumes,
            failed_resumes: totals.failed_resumes,
            traffic: sum,
        }
    }

    /// Answers a bind request of a connection that has logged in, and says whether it is bound now.
    pub(super) fn bind(&mut self, id: ConnectionId, iq: &Element) -> (Element, bool) {
        match self.try_bind(id, iq) {
            Ok(jid) => {
                let bind = Element::new("bind", ns::BIND);
                let bind = match self.shown_address(&jid) {
                    Some(shown) => bind.child(Element::with_text("jid", ns::BIND, &shown)),
                    None => bind,
                };
                let reply = Element::new("iq", ns::CLIENT).attr("type", "result").maybe_attr("id", iq.get("id")).child(bind);
                (reply, true)
            }
            Err(error) => (self.error_reply(iq, &error), false),
        }
    }

    fn try_bind(&mut self, id: ConnectionId, iq: &Element) -> Result<FullJid, StanzaError> {
        let refused = self.config.misbehaviours.iter().find_map(|m| match m {
            Misbehaviour::RefuseBind(condition) => Some(cancel(condition)),
            _ => None,
        });
        if let Some(error) = refused {
            return Err(error);
        }
        if iq.get("type") != Some("set") || iq.get("id").is_none() {
            return Err(modify("bad-request"));
        }
        let account = self.connections.get(&id).and_then(|c| c.account.clone()).ok_or_else(|| cancel("not-allowed"))?;
        let asked = iq.find("bind", ns::BIND).and_then(|bind| bind.find_text("resource", ns::BIND));
        let asked = asked.filter(|resource| !resource.is_empty()).unwrap_or_else(random_id);
        let resource = ResourcePart::new(&asked).map_err(|_| modify("bad-request"))?.into_owned();

        let mut jid = self.bare(&account).with_resource(&resource);
        if let Some(old) = self.session(&jid) {
            match self.differences().resource_conflict {
                ResourceConflict::ReplaceOld => {
                    self.kick(old, StreamError::new("conflict", Some("Replaced by new connection".into())));
                }
                ResourceConflict::RefuseNew => return Err(cancel("conflict")),
                ResourceConflict::Rename => {
                    let other = ResourcePart::new(&random_id()).map_err(|_| cancel("conflict"))?.into_owned();
                    jid = self.bare(&account).with_resource(&other);
                }
            }
        }
        let bound = Bound {
            jid: jid.clone(),
            interested: false,
            presence: None,
            priority: 0,
            directed: BTreeSet::new(),
            carbons: false,
            archive_queries: 0,
            client_states: Vec::new(),
            managed: None,
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.bound = Some(bound);
        }
        Ok(jid)
    }

    /// The address told to the client.
    fn shown_address(&self, jid: &FullJid) -> Option<String> {
        let misbehaviours = &self.config.misbehaviours;
        if misbehaviours.contains(&Misbehaviour::BindNothing) {
            None
        } else if misbehaviours.contains(&Misbehaviour::BindOtherAccount) {
            Some(format!("somebody-else@{}/{}", self.domain, jid.resource()))
        } else {
            Some(jid.to_string())
        }
    }
}
