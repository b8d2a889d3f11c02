//! The outbox, and the records of what was sent.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::apply::{Writing, int};
use super::failure::Outcome;
use crate::error::ErrorKind;
use crate::store::encoding::{damaged, from_bytes, micros, time, to_bytes};
use crate::store::{OutboxEntry, SendStatus, SentUpdate, StoredXml};

const COLUMNS: &str = "place, id, recipient, xml, ephemeral, number, archive_after, settled, status, cut";

pub(super) fn send(writing: &Writing<'_>, entry: &OutboxEntry) -> Outcome<()> {
    let sql = "INSERT INTO sent (account, id, recipient, xml, ephemeral, number, archive_after, settled, status, cut)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9) ON CONFLICT (account, id) DO NOTHING";
    let xml = entry.xml.as_ref().map(StoredXml::as_str);
    let archive_after = entry.archive_after.as_ref().map(to_bytes);
    let recipient = entry.to.as_ref().map(|to| to.as_str());
    let status = to_bytes(&*entry.status);
    let cut = entry.cut.map(micros);
    let values = (writing.account, &entry.id, recipient, xml, entry.ephemeral, entry.number, archive_after, status, cut);
    match writing.run(sql, values)? {
        0 => Err(ErrorKind::DuplicateId(entry.id.clone()).into()),
        _ => Ok(()),
    }
}

pub(super) fn update(writing: &Writing<'_>, update: &SentUpdate) -> Outcome<()> {
    let Some(mut entry) = sent(writing.connection, writing.account, &update.id)? else { return Ok(()) };
    let had_xml = entry.xml.is_some();
    entry.update(update);
    let archive_after = entry.archive_after.as_ref().map(to_bytes);
    let sql = "UPDATE sent SET number = ?2, archive_after = ?3, settled = ?4, status = ?5, cut = ?6 WHERE place = ?1";
    let (status, cut) = (to_bytes(&*entry.status), entry.cut.map(micros));
    writing.run(sql, (int(entry.place), entry.number, archive_after, entry.settled, status, cut))?;
    if had_xml && entry.xml.is_none() {
        writing.run("UPDATE sent SET xml = NULL WHERE place = ?1", [int(entry.place)])?;
    }
    Ok(())
}

pub(super) fn sent(connection: &Connection, account: i64, id: &str) -> Outcome<Option<OutboxEntry>> {
    let sql = format!("SELECT {COLUMNS} FROM sent WHERE account = ?1 AND id = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((account, id))?;
    rows.next()?.map(read).transpose()
}

pub(super) fn status(connection: &Connection, account: i64, id: &str) -> Outcome<Option<Arc<SendStatus>>> {
    let mut statement = connection.prepare_cached("SELECT status FROM sent WHERE account = ?1 AND id = ?2")?;
    let found: Option<Vec<u8>> = statement.query_row((account, id), |row| row.get(0)).optional()?;
    Ok(found.map(|status| from_bytes(&status)).transpose()?.map(Arc::new))
}

pub(super) fn queued(connection: &Connection, account: i64, after: u64, limit: usize) -> Outcome<Vec<OutboxEntry>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM sent INDEXED BY sent_queued
        WHERE account = ?1 AND settled = 0 AND place > ?2 ORDER BY place LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((account, int(after), int(limit as u64)))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(read(row)?);
    }
    Ok(entries)
}

fn read(row: &Row<'_>) -> Outcome<OutboxEntry> {
    let recipient: Option<String> = row.get(2)?;
    let to = recipient.map(|to| to.parse().map_err(|_| damaged("a JID"))).transpose()?;
    let xml: Option<String> = row.get(3)?;
    let archive_after: Option<Vec<u8>> = row.get(6)?;
    let status: Vec<u8> = row.get(8)?;
    Ok(OutboxEntry {
        place: row.get::<_, i64>(0)?.unsigned_abs(),
        id: row.get(1)?,
        to,
        xml: xml.map(StoredXml::from),
        ephemeral: row.get(4)?,
        number: row.get(5)?,
        archive_after: archive_after.map(|id| from_bytes(&id)).transpose()?,
        cut: row.get::<_, Option<i64>>(9)?.map(time).transpose()?,
        settled: row.get(7)?,
        status: Arc::new(from_bytes(&status)?),
    })
}
