//! Files of every version open, and those of later versions do not.

use super::super::schema::{APPLICATION, STEPS, prepare};
use super::*;
use crate::store::{
    ArchiveId, Copies, Cursor, Feed, FeedItem, GapKind, IdentityKey, LogId, MessageFlags, MessageQuery, Position, Receipt,
    Secret, SendFailure,
};

/// A file of each version, with something in every table, as SQL. One that was released never changes.
const FIXTURES: &[&str] = &[include_str!("../fixtures/1.sql"), include_str!("../fixtures/2.sql")];

/// What the file is made of.
fn schema(connection: &Connection) -> Vec<String> {
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut statement = connection.prepare(sql).expect("it is SQL");
    let lines = statement.query_map([], |row| row.get::<_, String>(0)).expect("the schema");
    lines.map(|line| line.expect("a line")).collect()
}

fn version(connection: &Connection) -> i64 {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a number")
}

#[tokio::test]
async fn a_file_of_every_version_opens_and_reads_back() {
    assert_eq!(FIXTURES.len(), STEPS.len(), "each version has its fixture");
    let fresh = Folder::new();
    drop(open(&fresh).await);
    for (n, fixture) in FIXTURES.iter().enumerate() {
        let folder = Folder::new();
        let connection = Connection::open(folder.file()).expect("a file");
        connection.execute_batch(fixture).expect("the fixture is SQL");
        assert_eq!(version(&connection), n as i64 + 1);
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'message_text%'";
        let mut statement = connection.prepare(tables).expect("it is SQL");
        for table in statement.query_map([], |row| row.get::<_, String>(0)).expect("tables") {
            let table = table.expect("a name");
            let count = format!("SELECT count(*) FROM {table}");
            let rows: i64 = connection.query_row(&count, [], |row| row.get(0)).expect("a number");
            assert!(rows > 0, "there is nothing in {table}, version {}", n + 1);
        }
        drop(statement);
        drop(connection);
        let store = open(&folder).await;
        reads_back(&store).await;
        assert_eq!(schema(&raw(&folder)), schema(&raw(&fresh)), "version {} comes to the same schema", n + 1);
    }
}

/// What all fixtures hold.
async fn reads_back(store: &SqliteStore) {
    let romeo: jid::Jid = "romeo@montague.example".parse().expect("a JID");
    assert_eq!(store.accounts().await.expect("accounts"), [juliet()]);
    let account = account(store).await;
    let all = account.messages(&MessageQuery::new()).await.expect("a page").messages;
    let texts: Vec<_> = all.iter().map(|message| message.text.as_deref().unwrap_or("-")).collect();
    assert_eq!(texts, ["But soft, what light", "今晚在花园见面", "held"]);
    let first = &all[0];
    assert_eq!((first.log_id, first.position, first.feed), (LogId::new(1), Some(Position::new(1)), Feed::Deliver));
    assert_eq!(first.record.from, Some("romeo@montague.example/orchard".parse().expect("a JID")));
    assert_eq!((first.id.as_deref(), first.origin_id.as_deref()), (Some("m1"), Some("o1")));
    assert_eq!(first.archive_ids, [ArchiveId::new(juliet(), "a1")]);
    assert_eq!((first.stamp, first.received, first.flags), (at(1), at(2), MessageFlags::READ));
    assert_eq!(first.copies, Copies::of(Origin::Live).with(Origin::Archive));
    assert_eq!(first.xml.as_str(), "<message xmlns='jabber:client' id='m1'/>");
    assert_eq!((all[1].direction, all[2].feed), (Direction::Outgoing, Feed::Hold));
    assert!(all[1].status.as_ref().expect("it was sent").received.is_some());
    for (id, found) in [("m1", 1), ("o1", 1), ("a1", 1), ("own1", 1), ("gone", 0)] {
        assert_eq!(account.messages_with_id(&romeo, id).await.expect("messages").len(), found, "{id}");
    }
    for (words, found) in [("花园", 1), ("LIGHT", 1), ("晚", 1), ("gone", 0)] {
        assert_eq!(account.messages(&MessageQuery::new().text(words)).await.expect("a page").messages.len(), found, "{words}");
    }
    let feed = account.feed(Position::START, 10).await.expect("feed");
    assert!(matches!(&feed[..], [FeedItem::Message(_), FeedItem::Lost { .. }, FeedItem::Message(_), FeedItem::Gap { .. }]));
    assert_eq!(account.feed_head().await.expect("head"), Position::new(4));
    assert_eq!(account.gaps().await.expect("gaps")[0].1.kind, GapKind::Expired);
    let mut cursor = Cursor::new(Position::new(1));
    cursor.above = vec![Position::new(3)];
    assert_eq!(account.cursors().await.expect("cursors"), [("ui".to_owned(), cursor)]);
    let archive = account.archive_cursor(&juliet()).await.expect("cursor").expect("there");
    assert_eq!((archive.last.as_deref(), archive.first.as_deref(), archive.reached_start), (Some("a9"), Some("a1"), true));
    let sent = account.sent("own1").await.expect("sent").expect("a record");
    assert_eq!(sent.status.received, Some(Receipt::new("romeo@montague.example/orchard".parse().expect("a JID"), at(9))));
    let failed = account.sent("own2").await.expect("sent").expect("a record");
    assert_eq!(failed.status.failed, Some((SendFailure::Refused("no keys".to_owned()), at(9))));
    assert_eq!(account.outbox(0, 9).await.expect("the outbox").len(), 1);
    let session = account.session().await.expect("session").expect("there");
    assert_eq!((&*session.record.id, session.h, session.above, session.last_contact), ("s1", 17, vec![19], at(8)));
    assert_eq!(account.session_rows("urn:example", "").await.expect("rows"), [("romeo".to_owned(), b"here".to_vec())]);
    let roster = account.roster().await.expect("the roster");
    assert_eq!((roster.version.as_deref(), roster.items.len()), (Some("v1"), 1));
    assert!(account.caps("sha-1 abc=").await.expect("caps").is_some());
    assert_eq!(account.credential("user-agent-id").await.expect("credential"), Some(Secret::new("u1")));
    assert_eq!(account.extension_row("urn:example", "row").await.expect("row").as_deref(), Some(&b"value"[..]));
    assert_eq!(account.extension_schema("urn:example").await.expect("schema"), 3);
    assert_eq!(account.conversations(None, 9).await.expect("conversations")[0].unread, 1);
    // Keys are known, also that of a message that was removed; and ids go on behind it.
    for (key, id) in [("k1", 1), ("gone", 3)] {
        let copy = message("romeo@montague.example", "copy", 0).key(IdentityKey::own(key));
        let copy = apply(&*account, Batch::new().append(copy)).await.appended[0];
        assert_eq!((copy.duplicate, copy.id), (true, LogId::new(id)), "{key}");
    }
    let new = apply(&*account, Batch::new().append(message("romeo@montague.example", "new", 20))).await.appended[0];
    assert_eq!((new.id, new.position), (LogId::new(5), Some(Position::new(5))));
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused_and_left_alone() {
    let folder = Folder::new();
    drop(open(&folder).await);
    folder.closed();
    let connection = raw(&folder);
    connection.execute_batch(&format!("PRAGMA user_version = {}", STEPS.len() + 1)).expect("a later version");
    drop(connection);
    let before = std::fs::read(folder.file()).expect("the file");
    let error = SqliteStore::open(folder.file()).await.expect_err("it is too new");
    assert_eq!(error.kind(), &ErrorKind::StoreTooNew);
    assert!(error.to_string().contains("chat.db"), "{error}");
    assert!(std::fs::read(folder.file()).expect("the file") == before);
}

#[test]
fn a_step_that_fails_leaves_the_version_before() {
    let folder = Folder::new();
    let mut connection = Connection::open(folder.file()).expect("a file");
    let first = STEPS[0];
    prepare(&mut connection, &[first]).expect("version 1");
    connection.execute_batch("INSERT INTO account (jid) VALUES ('juliet@capulet.example')").expect("an account");
    let broken = "CREATE TABLE note (text TEXT); INSERT INTO nothing VALUES (1);";
    prepare(&mut connection, &[first, "ALTER TABLE account ADD COLUMN colour TEXT;", broken]).expect_err("it fails");
    assert_eq!(version(&connection), 1);
    assert!(!schema(&connection).concat().contains("colour"), "all steps are one");
    let steps = [first, "ALTER TABLE account ADD COLUMN colour TEXT;", "UPDATE account SET colour = 'red';"];
    prepare(&mut connection, &steps).expect("version 3");
    let row: (String, String) =
        connection.query_row("SELECT jid, colour FROM account", [], |row| Ok((row.get(0)?, row.get(1)?))).expect("a row");
    assert_eq!((version(&connection), row), (3, ("juliet@capulet.example".to_owned(), "red".to_owned())));
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).expect("a number");
    assert_eq!(application, APPLICATION);
    prepare(&mut connection, &steps).expect("there is nothing to do");
}
