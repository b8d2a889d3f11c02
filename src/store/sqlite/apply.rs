//! A batch, change by change, inside the transaction that the writing thread has begun.

use std::time::SystemTime;

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, params};

use super::failure::{Failure, Outcome};
use super::{log, sent};
use crate::error::ErrorKind;
use crate::store::encoding::{from_bytes, micros, to_bytes};
use crate::store::{Applied, ArchiveCursor, Batch, Change, Cursor, Position, RowChange, SessionRecord, StoredXml};

/// How many hashes of entity capabilities are kept for an account.
const MAX_CAPS: i64 = 5_000;

/// One account, being changed.
pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) account: i64,
    /// The highest position given so far.
    pub(super) head: i64,
}

pub(super) fn apply(connection: &Connection, account: i64, batch: &Batch) -> Outcome<Applied> {
    let head = head(connection, account)?;
    let mut writing = Writing { connection, account, head };
    let mut applied = Applied::default();
    for change in batch.changes() {
        writing.make(change, &mut applied)?;
    }
    if writing.head != head {
        writing.run("UPDATE account SET head = ?2 WHERE id = ?1", (account, writing.head))?;
    }
    applied.head = Position::new(writing.head.unsigned_abs());
    Ok(applied)
}

pub(super) fn head(connection: &Connection, account: i64) -> Outcome<i64> {
    Ok(connection.prepare_cached("SELECT head FROM account WHERE id = ?1")?.query_row([account], |row| row.get(0))?)
}

/// A number of ours as SQLite has it. None is ever so high, unless somebody makes it up: then it stands for none that exists.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The end of the keys that begin with this prefix, for `key >= prefix AND key < end`: the first text behind them all, or a
/// blob, which is behind every text.
pub(super) fn prefix_end(prefix: &str) -> Value {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // Surrogates are no characters.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Value::Text(characters.into_iter().collect());
        }
    }
    Value::Blob(Vec::new())
}

impl Writing<'_> {
    pub(super) fn statement(&self, sql: &str) -> Outcome<CachedStatement<'_>> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    pub(super) fn run(&self, sql: &str, params: impl Params) -> Outcome<usize> {
        Ok(self.statement(sql)?.execute(params)?)
    }

    pub(super) fn next_position(&mut self) -> i64 {
        self.head += 1;
        self.head
    }

    fn make(&mut self, change: &Change, applied: &mut Applied) -> Outcome<()> {
        match change {
            Change::Append(message) => {
                let appended = log::append(self, message)?;
                applied.appended.push(appended);
                if !appended.duplicate {
                    message.when_new.iter().try_for_each(|row| self.change_row(row))?;
                }
            }
            Change::SetFlags { id, set, clear } => {
                let sql = "UPDATE message SET flags = (flags & ~?4) | ?3 WHERE id = ?1 AND account = ?2";
                self.run(sql, (int(id.get()), self.account, set.bits(), clear.bits()))?;
            }
            Change::SetContent { id, xml, text } => log::set_content(self, *id, xml, text.as_deref())?,
            Change::RemoveMessage(id) => drop(log::remove(self, *id)?),
            Change::Prune(before) => log::prune(self, *before)?,
            Change::Release(conversation) => log::release(self, conversation.as_ref())?,
            Change::Gap(gap) => applied.gaps.push(log::gap(self, gap)?),
            Change::FillGap(position) => {
                let sql = "DELETE FROM gap WHERE account = ?1 AND position = ?2";
                self.run(sql, (self.account, int(position.get())))?;
            }
            Change::Acknowledge { name, through, above } => self.acknowledge(name, *through, above)?,
            Change::RemoveCursor(name) => {
                self.run("DELETE FROM cursor WHERE account = ?1 AND name = ?2", (self.account, &**name))?;
            }
            Change::ArchiveCursor(archive, cursor) => self.archive_cursor(archive.as_str(), cursor)?,
            Change::RemoveArchiveCursor(archive) => {
                let sql = "DELETE FROM archive_cursor WHERE account = ?1 AND archive = ?2";
                self.run(sql, (self.account, archive.as_str()))?;
            }
            Change::Send(entry) => sent::send(self, entry)?,
            Change::UpdateSent(update) => sent::update(self, update)?,
            Change::ForgetSent(id) => {
                self.run("DELETE FROM sent WHERE account = ?1 AND id = ?2", (self.account, id))?;
            }
            Change::Session { record, now } => self.session(record, *now)?,
            Change::Handled { h, above, now } => {
                let sql = "UPDATE session SET h = ?2, above = ?3, last_contact = ?4 WHERE account = ?1";
                self.run(sql, (self.account, h, to_bytes(above), micros(*now)))?;
            }
            Change::SessionRow(RowChange { namespace, key, value: Some(value) }) => {
                let sql = "INSERT OR REPLACE INTO session_row (account, namespace, key, value) VALUES (?1, ?2, ?3, ?4)";
                self.run(sql, (self.account, &**namespace, key, value))?;
            }
            Change::SessionRow(RowChange { namespace, key, value: None }) => {
                let sql = "DELETE FROM session_row WHERE account = ?1 AND namespace = ?2 AND key = ?3";
                self.run(sql, (self.account, &**namespace, key))?;
            }
            Change::ForgetNumbers => self.forget_numbers()?,
            Change::EndSession => self.end_session()?,
            Change::ReplaceRoster { version, items } => {
                self.run("DELETE FROM contact WHERE account = ?1", [self.account])?;
                self.run("UPDATE account SET roster_version = ?2 WHERE id = ?1", (self.account, version))?;
                items.iter().try_for_each(|(jid, item)| self.put_contact(jid.as_str(), item))?;
            }
            Change::PutContact { jid, item, version } => {
                self.put_contact(jid.as_str(), item)?;
                self.roster_version(version.as_deref())?;
            }
            Change::RemoveContact { jid, version } => {
                self.run("DELETE FROM contact WHERE account = ?1 AND jid = ?2", (self.account, jid.as_str()))?;
                self.roster_version(version.as_deref())?;
            }
            Change::PutCaps { key, info, now } => self.put_caps(key, info, *now)?,
            Change::PutCredential { name, secret } => {
                let sql = "INSERT OR REPLACE INTO credential (account, name, secret) VALUES (?1, ?2, ?3)";
                self.run(sql, (self.account, name, secret.expose()))?;
            }
            Change::DeleteCredential(name) => {
                self.run("DELETE FROM credential WHERE account = ?1 AND name = ?2", (self.account, name))?;
            }
            Change::Row(row) => self.change_row(row)?,
            Change::DeleteRows { namespace, prefix } => {
                let sql = "DELETE FROM extension_row WHERE account = ?1 AND namespace = ?2 AND key >= ?3 AND key < ?4";
                self.run(sql, (self.account, &**namespace, prefix, prefix_end(prefix)))?;
            }
            Change::Schema { namespace, version } => {
                let sql = "INSERT OR REPLACE INTO extension_schema (account, namespace, version) VALUES (?1, ?2, ?3)";
                self.run(sql, (self.account, &**namespace, version))?;
            }
            Change::Unknown => return Err(ErrorKind::StoreTooOld.into()),
        }
        Ok(())
    }

    fn change_row(&self, row: &RowChange) -> Outcome<()> {
        let RowChange { namespace, key, value } = row;
        match value {
            Some(value) => {
                let sql = "INSERT OR REPLACE INTO extension_row (account, namespace, key, value) VALUES (?1, ?2, ?3, ?4)";
                self.run(sql, (self.account, &**namespace, key, value))?;
            }
            None => {
                let sql = "DELETE FROM extension_row WHERE account = ?1 AND namespace = ?2 AND key = ?3";
                self.run(sql, (self.account, &**namespace, key))?;
            }
        }
        Ok(())
    }

    fn acknowledge(&self, name: &str, through: Position, above: &[Position]) -> Outcome<()> {
        let mut known = cursor(self.connection, self.account, name)?.unwrap_or_default();
        known.acknowledge(through, above)?;
        let sql = "INSERT OR REPLACE INTO cursor (account, name, through, above) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, (self.account, name, int(known.through.get()), to_bytes(&known.above)))?;
        Ok(())
    }

    fn archive_cursor(&self, archive: &str, cursor: &ArchiveCursor) -> Outcome<()> {
        let sql = "INSERT OR REPLACE INTO archive_cursor (account, archive, last, first, reached_start, stamp)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let ArchiveCursor { last, first, reached_start, stamp } = cursor;
        self.run(sql, (self.account, archive, last, first, reached_start, micros(*stamp)))?;
        Ok(())
    }

    fn session(&self, record: &SessionRecord, now: SystemTime) -> Outcome<()> {
        self.end_session()?;
        let sql = "INSERT INTO session (account, record, h, above, last_contact) VALUES (?1, ?2, 0, ?3, ?4)";
        self.run(sql, (self.account, to_bytes(record), to_bytes(&Vec::<u32>::new()), micros(now)))?;
        Ok(())
    }

    fn end_session(&self) -> Outcome<()> {
        self.run("DELETE FROM session WHERE account = ?1", [self.account])?;
        self.run("DELETE FROM session_row WHERE account = ?1", [self.account])?;
        self.forget_numbers()
    }

    fn forget_numbers(&self) -> Outcome<()> {
        self.run("UPDATE sent SET number = NULL WHERE account = ?1 AND settled = 0 AND number IS NOT NULL", [self.account])?;
        Ok(())
    }

    fn put_contact(&self, jid: &str, item: &StoredXml) -> Outcome<()> {
        let sql = "INSERT OR REPLACE INTO contact (account, jid, item) VALUES (?1, ?2, ?3)";
        self.run(sql, (self.account, jid, item.as_str()))?;
        Ok(())
    }

    fn roster_version(&self, version: Option<&str>) -> Outcome<()> {
        if version.is_some() {
            self.run("UPDATE account SET roster_version = ?2 WHERE id = ?1", (self.account, version))?;
        }
        Ok(())
    }

    fn put_caps(&self, key: &str, info: &StoredXml, now: SystemTime) -> Outcome<()> {
        // A row that is replaced gets a new rowid, so rowids are in the order of age.
        let sql = "INSERT OR REPLACE INTO caps (account, key, info, learnt) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, (self.account, key, info.as_str(), micros(now)))?;
        let sql = "SELECT count(*) FROM caps WHERE account = ?1";
        let count: i64 = self.statement(sql)?.query_row([self.account], |row| row.get(0))?;
        if count > MAX_CAPS {
            let sql = "DELETE FROM caps WHERE rowid = (SELECT min(rowid) FROM caps WHERE account = ?1)";
            self.run(sql, [self.account])?;
        }
        Ok(())
    }
}

pub(super) fn cursor(connection: &Connection, account: i64, name: &str) -> Outcome<Option<Cursor>> {
    let sql = "SELECT through, above FROM cursor WHERE account = ?1 AND name = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row(params![account, name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.map(|(through, above)| read_cursor(through, above)).transpose()
}

pub(super) fn read_cursor(through: i64, above: Vec<u8>) -> Outcome<Cursor> {
    let mut cursor = Cursor::new(Position::new(through.unsigned_abs()));
    cursor.above = from_bytes(&above)?;
    Ok(cursor)
}

/// The row of this account, made if there is none.
pub(super) fn open_account(connection: &mut Connection, jid: &str) -> Outcome<i64> {
    let find = |connection: &Connection| {
        connection.query_row("SELECT id FROM account WHERE jid = ?1", [jid], |row| row.get(0)).optional()
    };
    if let Some(found) = find(connection)? {
        return Ok(found);
    }
    connection.execute("INSERT INTO account (jid) VALUES (?1)", [jid])?;
    find(connection)?.ok_or_else(|| Failure::refused("an account that was just made is gone"))
}

/// Deletes all that is kept of an account.
pub(super) fn delete_account(connection: &mut Connection, jid: &str) -> Outcome<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found = transaction.query_row("SELECT id FROM account WHERE jid = ?1", [jid], |row| row.get(0)).optional()?;
    let Some(account) = found else { return Ok(()) };
    log::forget_texts(&transaction, account)?;
    transaction
        .execute("DELETE FROM message_id WHERE conversation IN (SELECT id FROM conversation WHERE account = ?1)", [account])?;
    const TABLES: &[&str] = &[
        "conversation",
        "message",
        "identity",
        "gone",
        "gap",
        "lost",
        "cursor",
        "archive_cursor",
        "sent",
        "session",
        "session_row",
        "contact",
        "caps",
        "credential",
        "extension_row",
        "extension_schema",
    ];
    for table in TABLES {
        transaction.execute(&format!("DELETE FROM {table} WHERE account = ?1"), [account])?;
    }
    transaction.execute("DELETE FROM account WHERE id = ?1", [account])?;
    Ok(transaction.commit()?)
}
