//! One account's areas, and the batch that changes them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use jid::BareJid;

use super::Limits;
use super::log::Log;
use super::outbox::Outbox;
use super::small::SmallMap;
use crate::error::{ErrorKind, Result};
use crate::store::{
    Applied, ArchiveCursor, Batch, Change, Cursor, NewMessage, Roster, Row, RowChange, Secret, StoredSession, StoredXml,
};

/// How many hashes of entity capabilities are kept.
const MAX_CAPS: usize = 1_000;

#[derive(Debug)]
pub(super) struct Areas {
    pub(super) log: Log,
    pub(super) outbox: Outbox,
    pub(super) cursors: BTreeMap<Arc<str>, Cursor>,
    pub(super) archives: BTreeMap<BareJid, ArchiveCursor>,
    pub(super) session: Option<StoredSession>,
    pub(super) session_rows: Rows,
    roster_version: Option<String>,
    contacts: BTreeMap<BareJid, StoredXml>,
    pub(super) caps: BTreeMap<String, (StoredXml, SystemTime)>,
    caps_age: VecDeque<String>,
    pub(super) credentials: SmallMap<String, Secret>,
    pub(super) rows: Rows,
    pub(super) schemas: SmallMap<Arc<str>, u32>,
}

impl Areas {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            log: Log::new(limits.log_messages, limits.log_bytes),
            outbox: Outbox::new(limits.outbox_messages, limits.outbox_bytes, limits.log_messages),
            cursors: BTreeMap::new(),
            archives: BTreeMap::new(),
            session: None,
            session_rows: Rows::default(),
            roster_version: None,
            contacts: BTreeMap::new(),
            caps: BTreeMap::new(),
            caps_age: VecDeque::new(),
            credentials: SmallMap::default(),
            rows: Rows::default(),
            schemas: SmallMap::default(),
        }
    }

    /// Checks everything that can fail, then changes everything: so a batch is made wholly or not at all.
    pub(super) fn apply(&mut self, batch: Batch) -> Result<Applied> {
        self.check(batch.changes())?;
        self.log.expect(batch.changes());
        let mut applied = Applied::default();
        if batch.changes().len() > 1 {
            applied.appended.reserve(batch.changes().len());
        }
        for change in &mut batch.into_changes_as_they_are() {
            match change {
                Change::Append(message) => self.append(message, &mut applied),
                other => self.make(std::mem::replace(other, Change::Unknown), &mut applied),
            }
        }
        self.log.retain_within_bounds();
        applied.head = self.log.head();
        Ok(applied)
    }

    fn check(&self, changes: &[Change]) -> Result<()> {
        let mut outbox = self.outbox.trial();
        let mut cursors: HashMap<&str, Cursor> = HashMap::new();
        for change in changes {
            match change {
                Change::Unknown => return Err(ErrorKind::StoreTooOld.into()),
                Change::Send(entry) => outbox.send(entry)?,
                Change::UpdateSent(update) if update.settled => outbox.leave(&update.id, false),
                Change::ForgetSent(id) => outbox.leave(id, true),
                Change::RemoveCursor(name) => {
                    cursors.insert(name, Cursor::default());
                }
                Change::Acknowledge { name, through, above } => {
                    let cursor = cursors.entry(name).or_insert_with(|| self.cursors.get(name).cloned().unwrap_or_default());
                    cursor.acknowledge(*through, above)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn append(&mut self, message: &mut NewMessage, applied: &mut Applied) {
        let (appended, when_new) = self.log.append(message);
        applied.appended.push(appended);
        for row in when_new {
            self.rows.change(row);
        }
    }

    fn make(&mut self, change: Change, applied: &mut Applied) {
        match change {
            Change::SetFlags { id, set, clear } => {
                self.log.set_flags(id, set, clear);
            }
            Change::SetContent { id, xml, text } => self.log.set_content(id, xml, text),
            Change::RemoveMessage(id) => self.log.remove(id),
            Change::Prune(before) => self.log.prune(before),
            Change::Release(conversation) => self.log.release(conversation.as_ref()),
            Change::Gap(gap) => applied.gaps.push(self.log.gap(*gap)),
            Change::FillGap(position) => self.log.fill_gap(position),
            Change::Acknowledge { name, through, above } => {
                // `check` has seen that it fits.
                let _ = self.cursors.entry(name).or_default().acknowledge(through, &above);
            }
            Change::RemoveCursor(name) => drop(self.cursors.remove(&name)),
            Change::ArchiveCursor(archive, cursor) => drop(self.archives.insert(archive, cursor)),
            Change::RemoveArchiveCursor(archive) => drop(self.archives.remove(&archive)),
            Change::Send(entry) => self.outbox.send(*entry),
            Change::UpdateSent(update) => self.outbox.update(&update),
            Change::ForgetSent(id) => self.outbox.forget(&id),
            Change::Session { record, now } => {
                self.end_session();
                self.session = Some(StoredSession::new(*record, now));
            }
            Change::Handled { h, above, now } => {
                if let Some(session) = &mut self.session {
                    (session.h, session.above, session.last_contact) = (h, above, now);
                }
            }
            Change::SessionRow(row) => self.session_rows.change(row),
            Change::ForgetNumbers => self.outbox.clear_numbers(),
            Change::EndSession => self.end_session(),
            Change::ReplaceRoster { version, items } => {
                (self.roster_version, self.contacts) = (version, items.into_iter().collect());
            }
            Change::PutContact { jid, item, version } => {
                self.contacts.insert(jid, item);
                self.roster_version = version.or(self.roster_version.take());
            }
            Change::RemoveContact { jid, version } => {
                self.contacts.remove(&jid);
                self.roster_version = version.or(self.roster_version.take());
            }
            Change::PutCaps { key, info, now } => self.put_caps(key, info, now),
            Change::PutCredential { name, secret } => self.credentials.insert(name, secret),
            Change::DeleteCredential(name) => self.credentials.remove(&name),
            Change::Row(row) => self.rows.change(row),
            Change::DeleteRows { namespace, prefix } => self.rows.delete(&namespace, &prefix),
            Change::Schema { namespace, version } => self.schemas.insert(namespace, version),
            // `apply` has made the one, and `check` has refused the other.
            Change::Append(_) | Change::Unknown => {}
        }
    }

    pub(super) fn roster(&self) -> Roster {
        let items = self.contacts.iter().map(|(jid, item)| (jid.clone(), item.clone())).collect();
        Roster::new(self.roster_version.clone(), items)
    }

    fn end_session(&mut self) {
        self.session = None;
        self.session_rows = Rows::default();
        self.outbox.clear_numbers();
    }

    fn put_caps(&mut self, key: String, info: StoredXml, now: SystemTime) {
        if self.caps.insert(key.clone(), (info, now)).is_none() {
            self.caps_age.push_back(key);
        }
        if self.caps_age.len() > MAX_CAPS
            && let Some(oldest) = self.caps_age.pop_front()
        {
            self.caps.remove(&oldest);
        }
    }
}

/// Keyed rows in namespaces.
#[derive(Debug, Default)]
pub(super) struct Rows(SmallMap<Arc<str>, Namespace>);

type Namespace = SmallMap<Box<str>, Box<[u8]>>;

impl Rows {
    pub(super) fn get(&self, namespace: &str, key: &str) -> Option<Vec<u8>> {
        self.0.get(namespace)?.get(key).map(|value| value.to_vec())
    }

    pub(super) fn page(&self, namespace: &str, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Row> {
        let Some(rows) = self.0.get(namespace) else { return Vec::new() };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        rows.range(from)
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.to_string(), value.to_vec()))
            .collect()
    }

    fn change(&mut self, row: RowChange) {
        let rows = self.0.get_mut(&*row.namespace);
        match (row.value, rows) {
            (Some(value), Some(rows)) => rows.insert(row.key.into(), value.into()),
            (Some(value), None) => {
                let mut rows = SmallMap::default();
                rows.insert(row.key.into(), value.into());
                self.0.insert(row.namespace, rows);
            }
            (None, rows) => rows.into_iter().for_each(|rows| rows.remove(&*row.key)),
        }
    }

    fn delete(&mut self, namespace: &str, prefix: &str) {
        if let Some(rows) = self.0.get_mut(namespace) {
            rows.retain(|key| !key.starts_with(prefix));
        }
    }
}
