//! Reading: the feed, single messages, and the small areas.

use std::sync::Arc;
use std::time::SystemTime;

use jid::{BareJid, Jid};
use rusqlite::{Connection, OptionalExtension as _};

use super::apply::{int, prefix_end, read_cursor};
use super::failure::Outcome;
use super::{log, sent};
use crate::store::encoding::{choice, damaged, from_bytes, time};
use crate::store::{
    ArchiveCursor, Conversation, Copies, Cursor, Direction, Feed, FeedItem, GapKind, GapRecord, LogId, LoggedMessage,
    MessageFlags, MessageRecord, Place, Position, Roster, Row, Secret, StoredJid, StoredSession, StoredText, StoredXml,
};

/// One account, being read.
pub(super) struct Reading<'a> {
    pub(super) connection: &'a Connection,
    pub(super) account: i64,
}

fn jid(text: String) -> Outcome<Jid> {
    Ok(text.parse().map_err(|_| damaged("a JID"))?)
}

fn bare(text: String) -> Outcome<BareJid> {
    Ok(text.parse().map_err(|_| damaged("a JID"))?)
}

fn position(number: i64) -> Position {
    Position::new(number.unsigned_abs())
}

fn maybe_time(micros: Option<i64>) -> Outcome<Option<SystemTime>> {
    Ok(micros.map(time).transpose()?)
}

impl Reading<'_> {
    pub(super) fn message(&self, id: i64) -> Outcome<Option<LoggedMessage>> {
        let sql = "SELECT conversation.jid, ord, feed, position, copies, direction, kind, from_bare, from_resource, stanza_id,
                origin_id, archive_ids, stamp, received, flags, xml, text
            FROM message JOIN conversation ON conversation.id = message.conversation
            WHERE message.id = ?1 AND message.account = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((id, self.account))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let from = match (row.get::<_, Option<String>>(7)?, row.get::<_, Option<String>>(8)?) {
            (Some(bare), Some(resource)) => Some(jid(format!("{bare}/{resource}"))?),
            (Some(bare), None) => Some(jid(bare)?),
            _ => None,
        };
        let archive_ids: Option<Vec<u8>> = row.get(11)?;
        let mut record =
            MessageRecord::new(jid(row.get(0)?)?, choice(row.get(5)?)?, row.get::<_, String>(15)?, time(row.get(12)?)?);
        record.kind = choice(row.get(6)?)?;
        record.from = from.map(StoredJid::from);
        let text = |index| row.get::<_, Option<String>>(index).map(|text| text.map(StoredText::from));
        (record.id, record.origin_id) = (text(9)?, text(10)?);
        record.archive_ids = archive_ids.map(|ids| from_bytes(&ids)).transpose()?.unwrap_or_default();
        record.received = time(row.get(13)?)?;
        record.flags = MessageFlags::from_bits(row.get(14)?);
        record.text = text(16)?;
        let status = match (record.direction, &record.id) {
            (Direction::Outgoing, Some(id)) => sent::status(self.connection, self.account, id)?,
            _ => None,
        };
        let copies = Copies::from_bits(row.get(4)?);
        let mut message = LoggedMessage::new(LogId::new(id.unsigned_abs()), row.get(1)?, copies, Arc::new(record));
        message.feed = choice::<Feed>(row.get(2)?)?;
        message.position = row.get::<_, Option<i64>>(3)?.map(position);
        message.status = status;
        Ok(Some(message))
    }

    fn messages(&self, ids: Vec<i64>) -> Outcome<Vec<LoggedMessage>> {
        ids.into_iter().filter_map(|id| self.message(id).transpose()).collect()
    }

    pub(super) fn messages_with_id(&self, conversation: &Jid, id: &str) -> Outcome<Vec<LoggedMessage>> {
        let Some(conversation) = log::find_conversation(self.connection, self.account, conversation)? else {
            return Ok(Vec::new());
        };
        let sql = "SELECT message.id FROM message_id JOIN message ON message.id = message_id.message
            WHERE message_id.conversation = ?1 AND message_id.id = ?2 ORDER BY message.ord, message.id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let ids = statement.query_map((conversation, id), |row| row.get(0))?.collect::<Result<_, _>>()?;
        self.messages(ids)
    }

    pub(super) fn feed(&self, after: Position, limit: usize) -> Outcome<Vec<FeedItem>> {
        let (after, limit_int) = (int(after.get()), int(limit as u64));
        // The first of each kind: among them are the first of all.
        let sql = "SELECT id FROM message INDEXED BY message_by_position
            WHERE account = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let ids = statement.query_map((self.account, after, limit_int), |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut items: Vec<FeedItem> = self.messages(ids)?.into_iter().map(FeedItem::Message).collect();
        for (position, gap) in self.gaps(after, limit)? {
            items.push(FeedItem::Gap { position, gap });
        }
        let sql = "SELECT max(first, ?2 + 1), last FROM lost WHERE account = ?1 AND last > ?2 ORDER BY first LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        for loss in statement.query_map((self.account, after, limit_int), |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (first, last) = loss?;
            items.push(FeedItem::lost(position(first), position(last)));
        }
        items.sort_by_key(FeedItem::position);
        items.truncate(limit);
        // What was between two losses may be gone since: then they are one.
        items.dedup_by(|next, item| match (item, next) {
            (FeedItem::Lost { last, .. }, FeedItem::Lost { last: behind, .. }) => {
                *last = *behind;
                true
            }
            _ => false,
        });
        Ok(items)
    }

    pub(super) fn gaps(&self, after: i64, limit: usize) -> Outcome<Vec<(Position, GapRecord)>> {
        let sql = "SELECT position, kind, conversation, archive, after_id, before_id, since, until FROM gap
            WHERE account = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((self.account, after, int(limit as u64)))?;
        let mut gaps = Vec::new();
        while let Some(row) = rows.next()? {
            let kind = GapKind::from_name(&row.get::<_, String>(1)?).ok_or_else(|| damaged("a gap's kind"))?;
            let mut gap = GapRecord::new(kind);
            gap.conversation = row.get::<_, Option<String>>(2)?.map(jid).transpose()?;
            gap.archive = row.get::<_, Option<String>>(3)?.map(bare).transpose()?;
            (gap.after, gap.before) = (row.get(4)?, row.get(5)?);
            (gap.since, gap.until) = (maybe_time(row.get(6)?)?, maybe_time(row.get(7)?)?);
            gaps.push((position(row.get(0)?), gap));
        }
        Ok(gaps)
    }

    pub(super) fn conversations(&self, after: Option<Place>, limit: usize) -> Outcome<Vec<Conversation>> {
        let sql = "SELECT conversation.jid, newest.id,
                (SELECT count(*) FROM message INDEXED BY message_unread WHERE message.conversation = conversation.id
                    AND text IS NOT NULL AND kind <> 4 AND direction = 0 AND flags & 1 = 0)
            FROM conversation JOIN message AS newest ON newest.id = (
                SELECT id FROM message INDEXED BY message_readable WHERE message.conversation = conversation.id
                    AND text IS NOT NULL AND kind <> 4 ORDER BY ord DESC, id DESC LIMIT 1)
            WHERE conversation.account = ?1 AND (newest.ord, newest.id) < (?2, ?3)
            ORDER BY newest.ord DESC, newest.id DESC LIMIT ?4";
        // Without a place, one behind all.
        let (order, id) = after.map_or((i64::MAX, i64::MAX), |place| (place.order, int(place.id.get())));
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((self.account, order, id, int(limit as u64)))?;
        let mut conversations = Vec::new();
        while let Some(row) = rows.next()? {
            if let Some(newest) = self.message(row.get(1)?)? {
                let unread: i64 = row.get(2)?;
                conversations.push(Conversation::new(jid(row.get(0)?)?, newest, unread.unsigned_abs()));
            }
        }
        Ok(conversations)
    }

    pub(super) fn cursors(&self) -> Outcome<Vec<(String, Cursor)>> {
        let sql = "SELECT name, through, above FROM cursor WHERE account = ?1 ORDER BY name";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([self.account])?;
        let mut cursors = Vec::new();
        while let Some(row) = rows.next()? {
            cursors.push((row.get(0)?, read_cursor(row.get(1)?, row.get(2)?)?));
        }
        Ok(cursors)
    }

    pub(super) fn archive_cursor(&self, archive: &BareJid) -> Outcome<Option<ArchiveCursor>> {
        let sql = "SELECT last, first, reached_start, stamp FROM archive_cursor WHERE account = ?1 AND archive = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((self.account, archive.as_str()))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mut cursor = ArchiveCursor::new(row.get(0)?, time(row.get(3)?)?);
        (cursor.first, cursor.reached_start) = (row.get(1)?, row.get(2)?);
        Ok(Some(cursor))
    }

    pub(super) fn session(&self) -> Outcome<Option<StoredSession>> {
        let sql = "SELECT record, h, above, last_contact FROM session WHERE account = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([self.account])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (record, above): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(2)?);
        let mut session = StoredSession::new(from_bytes(&record)?, time(row.get(3)?)?);
        (session.h, session.above) = (row.get(1)?, from_bytes(&above)?);
        Ok(Some(session))
    }

    pub(super) fn roster(&self) -> Outcome<Roster> {
        let sql = "SELECT roster_version FROM account WHERE id = ?1";
        let version = self.connection.prepare_cached(sql)?.query_row([self.account], |row| row.get(0))?;
        let mut statement = self.connection.prepare_cached("SELECT jid, item FROM contact WHERE account = ?1")?;
        let mut rows = statement.query([self.account])?;
        let mut items = Vec::new();
        while let Some(row) = rows.next()? {
            items.push((bare(row.get(0)?)?, StoredXml::from(row.get::<_, String>(1)?)));
        }
        items.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Roster::new(version, items))
    }

    pub(super) fn caps(&self, key: &str) -> Outcome<Option<(StoredXml, SystemTime)>> {
        let sql = "SELECT info, learnt FROM caps WHERE account = ?1 AND key = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row((self.account, key), |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()?;
        Ok(found.map(|(info, learnt)| time(learnt).map(|learnt| (info.into(), learnt))).transpose()?)
    }

    pub(super) fn credential(&self, name: &str) -> Outcome<Option<Secret>> {
        let sql = "SELECT secret FROM credential WHERE account = ?1 AND name = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row((self.account, name), |row| row.get::<_, Vec<u8>>(0)).optional()?.map(Secret::new))
    }

    pub(super) fn credentials(&self, prefix: &str) -> Outcome<Vec<(String, Secret)>> {
        let sql = "SELECT name, secret FROM credential WHERE account = ?1 AND name >= ?2 AND name < ?3 ORDER BY name";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((self.account, prefix, prefix_end(prefix)), |row| {
            Ok((row.get(0)?, Secret::new(row.get::<_, Vec<u8>>(1)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn extension_row(&self, namespace: &str, key: &str) -> Outcome<Option<Vec<u8>>> {
        let sql = "SELECT value FROM extension_row WHERE account = ?1 AND namespace = ?2 AND key = ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row((self.account, namespace, key), |row| row.get(0)).optional()?)
    }

    pub(super) fn extension_rows(&self, namespace: &str, prefix: &str, after: Option<&str>, limit: usize) -> Outcome<Vec<Row>> {
        // From the prefix on, or from behind `after` where that is further.
        let (from, first) = match after {
            Some(after) if after >= prefix => (">", after),
            _ => (">=", prefix),
        };
        let sql = format!(
            "SELECT key, value FROM extension_row
            WHERE account = ?1 AND namespace = ?2 AND key {from} ?3 AND key < ?4 ORDER BY key LIMIT ?5"
        );
        self.rows(&sql, (self.account, namespace, first, prefix_end(prefix), int(limit as u64)))
    }

    pub(super) fn session_rows(&self, namespace: &str, prefix: &str) -> Outcome<Vec<Row>> {
        let sql = "SELECT key, value FROM session_row
            WHERE account = ?1 AND namespace = ?2 AND key >= ?3 AND key < ?4 ORDER BY key";
        self.rows(sql, (self.account, namespace, prefix, prefix_end(prefix)))
    }

    fn rows(&self, sql: &str, params: impl rusqlite::Params) -> Outcome<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn extension_schema(&self, namespace: &str) -> Outcome<u32> {
        let sql = "SELECT version FROM extension_schema WHERE account = ?1 AND namespace = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row((self.account, namespace), |row| row.get(0)).optional()?.unwrap_or(0))
    }
}
