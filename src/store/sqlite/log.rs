//! Changes of the message log, and which stanzas are copies of one message (R17).

use std::time::SystemTime;

use jid::Jid;
use rusqlite::{Connection, OptionalExtension as _};

use super::apply::{Writing, int};
use super::failure::Outcome;
use super::search;
use crate::store::encoding::{choice, from_bytes, micros, number_of, time, to_bytes};
use crate::store::{
    Appended, ArchiveId, Copies, Feed, GapRecord, IdentityKey, LogId, MessageFlags, NewMessage, Origin, Position, StoredXml,
};

const DELIVERED: i64 = 2;

pub(super) fn append(writing: &mut Writing<'_>, message: &NewMessage) -> Outcome<Appended> {
    if let Some(known) = known(writing, message)? {
        return merge(writing, known, message);
    }
    let record = &message.record;
    let conversation = conversation(writing, &record.conversation)?;
    let order = match message.order {
        Some(order) => order,
        None => {
            let sql = "SELECT max(ord) FROM message WHERE conversation = ?1";
            let last: Option<i64> = writing.statement(sql)?.query_row([conversation], |row| row.get(0))?;
            micros(record.stamp).max(last.map_or(i64::MIN, |last| last.saturating_add(1)))
        }
    };
    let position = (message.feed == Feed::Deliver).then(|| writing.next_position());
    let archive_ids = (!record.archive_ids.is_empty()).then(|| to_bytes(&record.archive_ids));
    let sql = "INSERT INTO message (account, conversation, ord, feed, position, copies, direction, kind, from_bare,
            from_resource, stanza_id, origin_id, archive_ids, stamp, received, flags, xml, text)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    writing.run(
        sql,
        rusqlite::params![
            writing.account,
            conversation,
            order,
            number_of(&message.feed),
            position,
            Copies::of(message.origin).bits(),
            number_of(&record.direction),
            number_of(&record.kind),
            record.from.as_ref().map(|from| from.to_bare().to_string()),
            record.from.as_deref().and_then(Jid::resource).map(|resource| resource.as_str()),
            record.id.as_deref(),
            record.origin_id.as_deref(),
            archive_ids,
            micros(record.stamp),
            micros(record.received),
            record.flags.bits(),
            record.xml.as_str(),
            record.text.as_deref(),
        ],
    )?;
    let id = writing.connection.last_insert_rowid();
    search::add(writing.connection, id, record.text.as_deref())?;
    let ids = [record.id.as_deref(), record.origin_id.as_deref()].into_iter().flatten();
    for known_as in ids.chain(record.archive_ids.iter().map(|archive_id| &*archive_id.id)) {
        refer(writing, conversation, known_as, id)?;
    }
    message.keys().iter().try_for_each(|key| learn(writing, id, key))?;
    Ok(appended(id, position, false))
}

fn appended(id: i64, position: Option<i64>, duplicate: bool) -> Appended {
    Appended::new(LogId::new(id.unsigned_abs()), position.map(|position| Position::new(position.unsigned_abs())), duplicate)
}

/// The message this is a copy of.
fn known(writing: &Writing<'_>, message: &NewMessage) -> Outcome<Option<i64>> {
    #[cfg(xmppkit_sabotage)]
    if crate::sabotage::is("no-dedup") {
        return Ok(None);
    }
    for key in &*message.keys() {
        let found = if key.is_exact() {
            find(writing.connection, writing.account, key)?
        } else {
            find_similar(writing, key, message.origin, message.record.stamp)?
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The message known under an exact key, also if it was removed.
pub(super) fn find(connection: &Connection, account: i64, key: &IdentityKey) -> Outcome<Option<i64>> {
    let sql = "SELECT message FROM identity WHERE account = ?1 AND key = ?2 AND exact = 1";
    Ok(connection.prepare_cached(sql)?.query_row((account, key.as_bytes()), |row| row.get(0)).optional()?)
}

fn find_similar(writing: &Writing<'_>, key: &IdentityKey, origin: Origin, stamp: SystemTime) -> Outcome<Option<i64>> {
    let sql = "SELECT identity.message, coalesce(message.copies, gone.copies), coalesce(message.stamp, gone.stamp)
        FROM identity LEFT JOIN message ON message.id = identity.message LEFT JOIN gone ON gone.message = identity.message
        WHERE identity.account = ?1 AND identity.key = ?2 AND identity.exact = 0 ORDER BY identity.message";
    let mut statement = writing.statement(sql)?;
    let mut rows = statement.query((writing.account, key.as_bytes()))?;
    while let Some(row) = rows.next()? {
        let copies = Copies::from_bits(row.get(1)?);
        if IdentityKey::similar_match(copies, time(row.get(2)?)?, origin, stamp) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// Notes a key. An exact one stays with the message it came with.
fn learn(writing: &Writing<'_>, id: i64, key: &IdentityKey) -> Outcome<()> {
    let sql = "INSERT OR IGNORE INTO identity (account, key, exact, message) SELECT ?1, ?2, ?3, ?4
        WHERE ?3 = 0 OR NOT EXISTS (SELECT 1 FROM identity WHERE account = ?1 AND key = ?2 AND exact = 1)";
    writing.run(sql, (writing.account, key.as_bytes(), key.is_exact(), id))?;
    Ok(())
}

/// A copy of a message that is known: takes from it what the message lacks.
fn merge(writing: &mut Writing<'_>, id: i64, copy: &NewMessage) -> Outcome<Appended> {
    copy.keys().iter().try_for_each(|key| learn(writing, id, key))?;
    let origin = Copies::of(copy.origin).bits();
    let sql = "SELECT conversation, feed, position, copies, origin_id, archive_ids, flags FROM message WHERE id = ?1";
    let found = writing.statement(sql)?.query_row([id], |row| {
        let (position, copies): (Option<i64>, u8) = (row.get(2)?, row.get(3)?);
        let (origin_id, archive_ids): (Option<String>, Option<Vec<u8>>) = (row.get(4)?, row.get(5)?);
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, position, copies, origin_id, archive_ids, row.get::<_, u32>(6)?))
    });
    let Some((conversation, feed, mut position, copies, mut origin_id, archive_ids, flags)) = found.optional()? else {
        writing.run("UPDATE gone SET copies = copies | ?2 WHERE message = ?1", (id, origin))?;
        return Ok(appended(id, None, true));
    };
    let mut ids: Vec<ArchiveId> = archive_ids.map(|ids| from_bytes(&ids)).transpose()?.unwrap_or_default();
    for archive_id in &copy.record.archive_ids {
        if !ids.contains(archive_id) {
            refer(writing, conversation, &archive_id.id, id)?;
            ids.push(archive_id.clone());
        }
    }
    if let (None, Some(new)) = (&origin_id, &copy.record.origin_id) {
        refer(writing, conversation, new, id)?;
        origin_id = Some(new.to_string());
    }
    let known = choice::<Feed>(u8::try_from(feed).unwrap_or(u8::MAX))?;
    let risen = feed.max(i64::from(number_of(&copy.feed)));
    if risen == DELIVERED && position.is_none() {
        position = Some(writing.next_position());
    }
    let flags = MessageFlags::from_bits(flags).union(copy.record.flags).bits();
    let sql = "UPDATE message SET feed = ?2, position = ?3, copies = ?4, origin_id = ?5, archive_ids = ?6, flags = ?7
        WHERE id = ?1";
    let archive_ids = (!ids.is_empty()).then(|| to_bytes(&ids));
    writing.run(sql, (id, risen, position, copies | origin, origin_id, archive_ids, flags))?;
    Ok(appended(id, position, true).known_as(known))
}

/// The row of a conversation, made if there is none.
fn conversation(writing: &Writing<'_>, jid: &Jid) -> Outcome<i64> {
    if let Some(found) = find_conversation(writing.connection, writing.account, jid)? {
        return Ok(found);
    }
    writing.run("INSERT INTO conversation (account, jid) VALUES (?1, ?2)", (writing.account, jid.as_str()))?;
    Ok(writing.connection.last_insert_rowid())
}

pub(super) fn find_conversation(connection: &Connection, account: i64, jid: &Jid) -> Outcome<Option<i64>> {
    let sql = "SELECT id FROM conversation WHERE account = ?1 AND jid = ?2";
    Ok(connection.prepare_cached(sql)?.query_row((account, jid.as_str()), |row| row.get(0)).optional()?)
}

fn refer(writing: &Writing<'_>, conversation: i64, id: &str, message: i64) -> Outcome<()> {
    let sql = "INSERT OR IGNORE INTO message_id (conversation, id, message) VALUES (?1, ?2, ?3)";
    writing.run(sql, (conversation, id, message))?;
    Ok(())
}

pub(super) fn set_content(writing: &Writing<'_>, id: LogId, xml: &StoredXml, text: Option<&str>) -> Outcome<()> {
    let id = int(id.get());
    let sql = "SELECT text FROM message WHERE id = ?1 AND account = ?2";
    let old = writing.statement(sql)?.query_row((id, writing.account), |row| row.get::<_, Option<String>>(0)).optional()?;
    let Some(old) = old else { return Ok(()) };
    search::remove(writing.connection, id, old.as_deref())?;
    search::add(writing.connection, id, text)?;
    writing.run("UPDATE message SET xml = ?2, text = ?3 WHERE id = ?1", (id, xml.as_str(), text))?;
    Ok(())
}

/// Removes a message, and gives its position in the feed.
pub(super) fn remove(writing: &Writing<'_>, id: LogId) -> Outcome<Option<i64>> {
    let id = int(id.get());
    let sql = "SELECT conversation, stanza_id, origin_id, archive_ids, text, position FROM message
        WHERE id = ?1 AND account = ?2";
    let found = writing.statement(sql)?.query_row((id, writing.account), |row| {
        let ids: [Option<String>; 2] = [row.get(1)?, row.get(2)?];
        Ok((row.get::<_, i64>(0)?, ids, row.get::<_, Option<Vec<u8>>>(3)?, row.get::<_, Option<String>>(4)?, row.get(5)?))
    });
    let Some((conversation, ids, archive_ids, text, position)) = found.optional()? else { return Ok(None) };
    let archive_ids: Vec<ArchiveId> = archive_ids.map(|ids| from_bytes(&ids)).transpose()?.unwrap_or_default();
    for known_as in ids.into_iter().flatten().chain(archive_ids.into_iter().map(|archive_id| archive_id.id.into())) {
        let sql = "DELETE FROM message_id WHERE conversation = ?1 AND id = ?2 AND message = ?3";
        writing.run(sql, (conversation, known_as, id))?;
    }
    search::remove(writing.connection, id, text.as_deref())?;
    let sql = "INSERT INTO gone (message, account, copies, stamp) SELECT id, account, copies, stamp FROM message WHERE id = ?1";
    writing.run(sql, [id])?;
    writing.run("DELETE FROM message WHERE id = ?1", [id])?;
    Ok(position)
}

/// Removes what is old, and notes what of it was in the feed as lost.
pub(super) fn prune(writing: &Writing<'_>, before: SystemTime) -> Outcome<()> {
    // Before this time, so the part of a microsecond counts.
    let before = micros_up(before);
    let sql = "SELECT id FROM message INDEXED BY message_by_received WHERE account = ?1 AND received < ?2 AND feed <> 1";
    let mut old: Vec<i64> = Vec::new();
    for id in writing.statement(sql)?.query_map((writing.account, before), |row| row.get(0))? {
        old.push(id?);
    }
    let mut pruned = Vec::new();
    for id in old {
        pruned.extend(remove(writing, LogId::new(id.unsigned_abs()))?);
    }
    pruned.sort_unstable();
    let (Some(first), Some(last)) = (pruned.first(), pruned.last()) else { return Ok(()) };
    let sql = "SELECT position FROM message WHERE account = ?1 AND position BETWEEN ?2 AND ?3
        UNION SELECT position FROM gap WHERE account = ?1 AND position BETWEEN ?2 AND ?3 ORDER BY 1";
    let mut kept: Vec<i64> = Vec::new();
    for position in writing.statement(sql)?.query_map((writing.account, first, last), |row| row.get(0))? {
        kept.push(position?);
    }
    // What has nothing left in between is one loss.
    let kept_before = |position: &i64| kept.partition_point(|kept| kept < position);
    for loss in pruned.chunk_by(|one, next| kept_before(one) == kept_before(next)) {
        let sql = "INSERT INTO lost (account, first, last) VALUES (?1, ?2, ?3)";
        writing.run(sql, (writing.account, loss.first(), loss.last()))?;
    }
    Ok(())
}

/// The microseconds of the first time that is this or later and is kept exactly.
pub(super) fn micros_up(at: SystemTime) -> i64 {
    let down = micros(at);
    match time(down) {
        Ok(kept) if kept < at => down.saturating_add(1),
        _ => down,
    }
}

pub(super) fn release(writing: &mut Writing<'_>, conversation: Option<&Jid>) -> Outcome<()> {
    let conversation = match conversation {
        None => None,
        Some(jid) => match find_conversation(writing.connection, writing.account, jid)? {
            None => return Ok(()),
            found => found,
        },
    };
    let sql = "SELECT id FROM message INDEXED BY message_held
        WHERE account = ?1 AND feed = 1 AND (?2 IS NULL OR conversation = ?2) ORDER BY id";
    let mut held: Vec<i64> = Vec::new();
    for id in writing.statement(sql)?.query_map((writing.account, conversation), |row| row.get(0))? {
        held.push(id?);
    }
    for id in held {
        let position = writing.next_position();
        writing.run("UPDATE message SET feed = ?2, position = ?3 WHERE id = ?1", (id, DELIVERED, position))?;
    }
    Ok(())
}

pub(super) fn gap(writing: &mut Writing<'_>, gap: &GapRecord) -> Outcome<Position> {
    let position = writing.next_position();
    let sql = "INSERT INTO gap (account, position, kind, conversation, archive, after_id, before_id, since, until)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let GapRecord { kind, conversation, archive, after, before, since, until } = gap;
    let conversation = conversation.as_ref().map(|jid| jid.as_str());
    let archive = archive.as_ref().map(|jid| jid.as_str());
    let (since, until) = (since.map(micros), until.map(micros));
    let values = (writing.account, position, kind.as_str(), conversation, archive, after, before, since, until);
    writing.run(sql, values)?;
    Ok(Position::new(position.unsigned_abs()))
}

/// Takes the texts of an account that is being deleted out of the search.
pub(super) fn forget_texts(connection: &Connection, account: i64) -> Outcome<()> {
    let mut statement = connection.prepare("SELECT id, text FROM message WHERE account = ?1 AND text IS NOT NULL")?;
    let mut rows = statement.query([account])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        search::remove(connection, row.get(0)?, Some(&text))?;
    }
    Ok(())
}
