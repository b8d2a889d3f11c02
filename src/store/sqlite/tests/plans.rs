//! That the indexes are used, as SQLite itself says (`EXPLAIN QUERY PLAN`).

use rusqlite::params_from_iter;

use super::super::page::{Asked, Source};
use super::super::search;
use super::*;
use crate::store::{LogId, MessageFlags, MessageKind, MessageQuery, Place};

fn plan(connection: &Connection, sql: &str, values: Vec<rusqlite::types::Value>) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is SQL");
    let lines = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).expect("a plan");
    lines.map(|line| line.expect("a line")).collect::<Vec<_>>().join("; ")
}

async fn prepared() -> (Folder, Connection) {
    let folder = Folder::new();
    drop(open(&folder).await);
    let connection = raw(&folder);
    (folder, connection)
}

#[tokio::test]
async fn words_of_any_length_go_through_the_index() {
    let (_folder, connection) = prepared().await;
    for words in ["花", "花园", "花园里", "w", "wi", "window", "今 花园"] {
        let query = MessageQuery::new().text(words);
        let asked = Asked { account: 1, conversation: None, query: &query, words: search::words(words) };
        let statement = asked.statement(Source::Words);
        let plan = plan(&connection, &statement.sql, statement.values);
        assert!(plan.contains("SCAN message_text VIRTUAL TABLE INDEX 0:M"), "{words}: {plan}");
        assert!(plan.contains("SEARCH message USING INTEGER PRIMARY KEY"), "{words}: {plan}");
        let statement = asked.statement(Source::WordsAlongTimeline);
        let plan = self::plan(&connection, &statement.sql, statement.values);
        assert!(plan.contains("SEARCH message USING INDEX message_by_account (account=?)"), "{words}: {plan}");
        assert!(plan.contains("SCAN message_text VIRTUAL TABLE INDEX 0:M"), "{words}: {plan}");
        assert!(!plan.contains("TEMP B-TREE FOR ORDER BY"), "{words}: {plan}");
    }
}

#[tokio::test]
async fn pages_go_along_an_index() {
    let (_folder, connection) = prepared().await;
    let romeo: jid::Jid = "romeo@montague.example".parse().expect("a JID");
    let occupant: jid::Jid = "garden@rooms.example/Romeo".parse().expect("a JID");
    let query = MessageQuery::new;
    let table = [
        ("all", query(), None, "COVERING INDEX message_by_account (account=?)"),
        ("a conversation", query(), Some(1), "COVERING INDEX message_by_conversation (conversation=?)"),
        ("its times", query().since(at(0)).until(at(9)), Some(1), "COVERING INDEX message_by_conversation (conversation=?)"),
        ("times", query().until(at(9)), None, "COVERING INDEX message_by_account (account=?)"),
        ("a sender", query().sender(romeo), None, "COVERING INDEX message_by_sender (account=? AND from_bare=?)"),
        ("an occupant", query().sender(occupant), None, "COVERING INDEX message_by_sender (account=? AND from_bare=?)"),
        ("marks", query().with_flags(MessageFlags::READ), Some(1), "INDEX message_by_conversation (conversation=?)"),
        ("types", query().kinds([MessageKind::Chat]), Some(1), "INDEX message_by_conversation (conversation=?)"),
    ];
    for (what, query, conversation, index) in table {
        let place = Place::new(5, LogId::new(7));
        for query in [query.clone(), query.clone().oldest(), query.clone().before(place), query.after(place)] {
            let asked = Asked { account: 1, conversation, query: &query, words: Vec::new() };
            let statement = asked.statement(Source::Timeline(usize::MAX));
            let plan = plan(&connection, &statement.sql, statement.values);
            // From a place on, the index is entered at that place.
            let index = match query.page {
                crate::store::PageFrom::Before(_) => format!("{} AND ord<?)", index.trim_end_matches(')')),
                crate::store::PageFrom::After(_) => format!("{} AND ord>?)", index.trim_end_matches(')')),
                _ => index.to_owned(),
            };
            assert!(plan.contains(&index) && !plan.contains("TEMP B-TREE"), "{what}, {:?}: {plan}", query.page);
        }
    }
    let short = query().since(at(0)).until(at(9));
    let statement = Asked { account: 1, conversation: None, query: &short, words: Vec::new() }.statement(Source::Stamps);
    let plan = plan(&connection, &statement.sql, statement.values);
    assert!(plan.contains("INDEX message_by_stamp (account=? AND stamp>? AND stamp<?)"), "{plan}");
}
