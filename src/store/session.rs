//! The session that may be resumed (XEP-0198, R8, R9), and the roster.

use std::time::{Duration, SystemTime};

use jid::{BareJid, FullJid};

use super::StoredXml;

/// What is needed to resume a session, and stays the same while it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The session's id (`<enabled id=…/>`).
    pub id: String,
    /// The JID it is bound to.
    pub jid: FullJid,
    /// The namespace of stream management that was agreed on.
    pub namespace: String,
    /// Where the server would like it to be resumed.
    pub location: Option<String>,
    /// For how long the server keeps it after a cut.
    pub max: Option<Duration>,
}

impl SessionRecord {
    /// A session by its id and JID; fill in the other fields.
    pub fn new(id: impl Into<String>, jid: FullJid) -> Self {
        Self { id: id.into(), jid, namespace: "urn:xmpp:sm:3".to_owned(), location: None, max: None }
    }
}

/// The session that is kept, with its inbound count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredSession {
    /// What stays the same.
    pub record: SessionRecord,
    /// The inbound count: all up to here is taken over (R2).
    pub h: u32,
    /// Inbound numbers above `h` that are taken over already (R3).
    pub above: Vec<u32>,
    /// When the server was last heard of; past this plus `max` no resume is tried (R8).
    pub last_contact: SystemTime,
}

impl StoredSession {
    /// A session that begins now.
    #[must_use]
    pub fn new(record: SessionRecord, now: SystemTime) -> Self {
        Self { record, h: 0, above: Vec::new(), last_contact: now }
    }
}

/// The roster as it was last known (RFC 6121 §2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Roster {
    /// Its version (RFC 6121 §2.6).
    pub version: Option<String>,
    /// The contacts, sorted by JID, each with its `<item/>` as standalone XML.
    pub items: Vec<(BareJid, StoredXml)>,
}

impl Roster {
    /// A roster of these contacts.
    #[must_use]
    pub fn new(version: Option<String>, items: Vec<(BareJid, StoredXml)>) -> Self {
        Self { version, items }
    }
}
