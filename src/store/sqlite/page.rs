//! Pages of the log, each by the index that fits what is asked.
//!
//! Whatever the index finds is compared with [`MessageQuery::matches`], so an index may only find too much. Where text is looked
//! for, the newest (or first) messages of the timeline are looked at before the index is asked: a common word fills the page at
//! once, however many thousand messages the index would list. Only then the search's index is asked, and how much it found
//! decides the rest: little is fetched and sorted, much is walked along the timeline.

use jid::Jid;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::apply::int;
use super::failure::Outcome;
use super::log::{find_conversation, micros_up};
use super::read::Reading;
use super::search;
use crate::store::encoding::number_of;
use crate::store::{LoggedMessage, MessagePage, MessageQuery, PageFrom};

/// How many messages of the timeline are compared with the words, beside twice the page, before the search's index is asked.
const LOOKED_AT: usize = 1_000;

/// Up to how many messages are fetched and sorted; more are walked to along the timeline.
const FEW: usize = 3_000;

/// Where candidates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The timeline of the conversation, the sender, or the account; so many of it.
    Timeline(usize),
    /// The messages of a short time.
    Stamps,
    /// What the search finds.
    Words,
    /// The timeline, and of it what the search finds.
    WordsAlongTimeline,
}

/// A query as SQL.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

pub(super) fn page(connection: &Connection, account: i64, query: &MessageQuery) -> Outcome<MessagePage> {
    let conversation = match &query.conversation {
        None => None,
        Some(jid) => match find_conversation(connection, account, jid)? {
            None => return Ok(MessagePage::new(Vec::new(), false)),
            found => found,
        },
    };
    let asked = Asked { account, conversation, query, words: query.text.as_deref().map(search::words).unwrap_or_default() };
    let mut messages = asked.find(connection)?;
    let more = messages.len() > query.limit;
    messages.truncate(query.limit);
    if asked.is_backwards() {
        messages.reverse();
    }
    Ok(MessagePage::new(messages, more))
}

/// What is asked, with what was looked up for it.
pub(super) struct Asked<'a> {
    pub(super) account: i64,
    pub(super) conversation: Option<i64>,
    pub(super) query: &'a MessageQuery,
    pub(super) words: Vec<String>,
}

impl Asked<'_> {
    fn is_backwards(&self) -> bool {
        matches!(self.query.page, PageFrom::Newest | PageFrom::Before(_))
    }

    /// The messages of the page and one more, in the direction of the page.
    fn find(&self, connection: &Connection) -> Outcome<Vec<LoggedMessage>> {
        if self.words.is_empty() {
            let is_bounded = self.query.since.is_some() || self.query.until.is_some();
            let source = match is_bounded && self.few_stamps(connection)? {
                true => Source::Stamps,
                false => Source::Timeline(usize::MAX),
            };
            return Ok(self.gather(connection, source)?.0);
        }
        let looked_at = self.query.limit.saturating_mul(2).saturating_add(LOOKED_AT);
        let (found, candidates) = self.gather(connection, Source::Timeline(looked_at))?;
        if found.len() > self.query.limit || candidates < looked_at {
            return Ok(found);
        }
        let source = if self.few_texts(connection)? { Source::Words } else { Source::WordsAlongTimeline };
        Ok(self.gather(connection, source)?.0)
    }

    /// What matches of the candidates, and how many candidates there were.
    pub(super) fn gather(&self, connection: &Connection, source: Source) -> Outcome<(Vec<LoggedMessage>, usize)> {
        let Statement { sql, values } = self.statement(source);
        let reading = Reading { connection, account: self.account };
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let (mut found, mut candidates) = (Vec::new(), 0);
        while found.len() <= self.query.limit
            && let Some(row) = rows.next()?
        {
            candidates += 1;
            if !self.words.is_empty() {
                let text = row.get_ref(1)?.as_str().unwrap_or_default().to_lowercase();
                if !self.words.iter().all(|word| text.contains(word)) {
                    continue;
                }
            }
            found.extend(reading.message(row.get(0)?)?.filter(|message| self.query.matches(message)));
        }
        Ok((found, candidates))
    }

    /// Whether few messages are of the time that is asked for.
    fn few_stamps(&self, connection: &Connection) -> Outcome<bool> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM message INDEXED BY message_by_stamp
            WHERE account = ?1 AND stamp >= ?2 AND stamp < ?3 LIMIT ?4)";
        let (since, until) = self.times();
        let mut statement = connection.prepare_cached(sql)?;
        let count: i64 = statement.query_row((self.account, since, until, FEW as i64), |row| row.get(0))?;
        Ok(count < FEW as i64)
    }

    fn few_texts(&self, connection: &Connection) -> Outcome<bool> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM message_text WHERE message_text MATCH ?1 LIMIT ?2)";
        let mut statement = connection.prepare_cached(sql)?;
        let count: i64 = statement.query_row((search::expression(&self.words), FEW as i64), |row| row.get(0))?;
        Ok(count < FEW as i64)
    }

    fn times(&self) -> (i64, i64) {
        (self.query.since.map_or(i64::MIN, micros_up), self.query.until.map_or(i64::MAX, micros_up))
    }

    pub(super) fn statement(&self, source: Source) -> Statement {
        let (query, by_sender) = (self.query, self.query.sender.as_ref());
        let mut out = Statement { sql: String::from("SELECT message.id"), values: Vec::new() };
        if !self.words.is_empty() {
            out.sql.push_str(", text");
        }
        out.sql.push_str(match (source, self.conversation, by_sender) {
            (Source::Words, ..) => " FROM message_text CROSS JOIN message ON message.id = message_text.rowid",
            (Source::Stamps, ..) => " FROM message INDEXED BY message_by_stamp",
            (_, Some(_), _) => " FROM message INDEXED BY message_by_conversation",
            (_, None, Some(_)) => " FROM message INDEXED BY message_by_sender",
            (_, None, None) => " FROM message INDEXED BY message_by_account",
        });
        out.sql.push_str(" WHERE true");
        if source == Source::Words {
            out.and(" AND message_text MATCH ?", [search::expression(&self.words)]);
        }
        match self.conversation {
            // Where the conversation's timeline is not the way, the account's index may be.
            Some(conversation) if source != Source::Stamps => out.and(" AND conversation = ?", [conversation]),
            Some(conversation) => out.and(" AND account = ? AND conversation = ?", [self.account, conversation]),
            None => out.and(" AND account = ?", [self.account]),
        }
        self.filter(&mut out);
        let place = |place: crate::store::Place| [place.order, int(place.id.get())];
        match query.page {
            PageFrom::Before(before) => out.and(" AND (ord, id) < (?, ?)", place(before)),
            PageFrom::After(after) => out.and(" AND (ord, id) > (?, ?)", place(after)),
            PageFrom::Newest | PageFrom::Oldest => {}
        }
        if source == Source::WordsAlongTimeline {
            let found = " AND +message.id IN (SELECT rowid FROM message_text WHERE message_text MATCH ?)";
            out.and(found, [search::expression(&self.words)]);
        }
        out.sql.push_str(if self.is_backwards() { " ORDER BY ord DESC, id DESC" } else { " ORDER BY ord, id" });
        if let Source::Timeline(most) = source
            && most < usize::MAX
        {
            out.and(" LIMIT ?", [int(most as u64)]);
        }
        out
    }

    fn filter(&self, out: &mut Statement) {
        let query = self.query;
        if let Some(sender) = &query.sender {
            out.and(" AND from_bare = ?", [sender.to_bare().to_string()]);
            if let Some(resource) = Jid::resource(sender) {
                out.and(" AND from_resource = ?", [resource.as_str().to_owned()]);
            }
        }
        if query.since.is_some() || query.until.is_some() {
            let (since, until) = self.times();
            out.and(" AND stamp >= ? AND stamp < ?", [since, until]);
        }
        if let Some(direction) = query.direction {
            out.and(" AND direction = ?", [i64::from(number_of(&direction))]);
        }
        if !query.kinds.is_empty() {
            let kinds: Vec<String> = query.kinds.iter().map(|kind| number_of(kind).to_string()).collect();
            out.sql.push_str(&format!(" AND kind IN ({})", kinds.join(", ")));
        }
        let (with, without) = (query.with_flags.bits(), query.without_flags.bits());
        if with != 0 {
            out.and(" AND flags & ? = ?", [i64::from(with); 2]);
        }
        if without != 0 {
            out.and(" AND flags & ? = 0", [i64::from(without)]);
        }
        if !self.words.is_empty() {
            out.sql.push_str(" AND text IS NOT NULL");
        }
    }
}

impl Statement {
    fn and<V: Into<Value>, const N: usize>(&mut self, sql: &str, values: [V; N]) {
        self.sql.push_str(sql);
        self.values.extend(values.into_iter().map(Into::into));
    }
}
