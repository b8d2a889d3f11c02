//! Accounts, and batches as wholes.

use super::*;
use crate::store::{
    ArchiveCursor, Change, Feed, GapKind, GapRecord, IdentityKey, LogId, MessageFlags, MessageQuery, OutboxEntry, RowChange,
    Secret, SentUpdate, SessionRecord, VERSION,
};

pub(super) async fn an_account_is_open_once(setup: &Setup) {
    let store = setup.store().await;
    let (juliet, romeo) = (bare("juliet@capulet.example"), bare("romeo@montague.example"));
    let account = store.open_account(&juliet).await.expect("the account opens");
    assert_eq!(account.account(), &juliet);
    assert_fails(store.open_account(&juliet).await, &ErrorKind::StoreInUse);
    // JIDs are compared normalised.
    assert_fails(store.open_account(&bare("Juliet@CAPULET.example")).await, &ErrorKind::StoreInUse);
    let other = store.open_account(&romeo).await.expect("another account opens beside it");
    assert_eq!(other.account(), &romeo);
    if store.persistent() {
        assert_fails(setup.store().await.open_account(&juliet).await, &ErrorKind::StoreInUse);
    }
    let clone = account.clone();
    drop(account);
    assert_fails(store.open_account(&juliet).await, &ErrorKind::StoreInUse);
    clone.roster().await.expect("an open account can be read");
    drop(clone);
    let again = store.open_account(&juliet).await.expect("it opens again once nobody holds it");
    // What is held outlives the store's value.
    drop(store);
    apply(&*again, Batch::new().put("urn:example", "row", "value")).await;
}

pub(super) async fn accounts_are_apart(setup: &Setup) {
    let store = setup.store().await;
    let juliet = open(&*store).await;
    let romeo = store.open_account(&bare("romeo@montague.example")).await.expect("the account opens");
    everything(&*juliet).await;
    assert_eq!(snapshot(&*romeo).await, Snapshot::default());
    let written = snapshot(&*juliet).await;
    apply(&*romeo, Batch::new().put("urn:example", "row", "his").append(live("his", 0)).end_session()).await;
    assert_eq!(snapshot(&*juliet).await, written);
}

pub(super) async fn an_account_can_be_deleted(setup: &Setup) {
    let store = setup.store().await;
    let (juliet, romeo) = (bare("juliet@capulet.example"), bare("romeo@montague.example"));
    assert!(store.accounts().await.expect("accounts").is_empty());
    let his = store.open_account(&romeo).await.expect("the account opens");
    apply(&*his, Batch::new().put("urn:example", "row", "his")).await;
    let hers = store.open_account(&juliet).await.expect("the account opens");
    everything(&*hers).await;
    assert_eq!(store.accounts().await.expect("accounts"), [juliet.clone(), romeo.clone()]);
    assert_fails(store.delete_account(&juliet).await, &ErrorKind::StoreInUse);
    drop(hers);
    store.delete_account(&juliet).await.expect("deleted");
    store.delete_account(&juliet).await.expect("deleting what is not there");
    assert_eq!(store.accounts().await.expect("accounts"), [romeo]);
    let hers = store.open_account(&juliet).await.expect("the account opens");
    assert_eq!(snapshot(&*hers).await, Snapshot::default());
    assert!(!append(&*hers, message_of_everything()).await.duplicate, "keys are deleted too");
    assert_eq!(his.extension_row("urn:example", "row").await.expect("row").as_deref(), Some(&b"his"[..]));
}

pub(super) async fn the_version_is_one_this_library_knows(setup: &Setup) {
    let version = setup.store().await.version();
    assert!((1..=VERSION).contains(&version), "version {version}");
}

pub(super) async fn everything_is_there_after_reopening(setup: &Setup) {
    let store = setup.store().await;
    if !store.persistent() {
        return;
    }
    let account = open(&*store).await;
    everything(&*account).await;
    let written = snapshot(&*account).await;
    drop((account, store));
    for _ in 0..2 {
        let account = setup.account().await;
        assert_eq!(snapshot(&*account).await, written);
        let copy = append(&*account, message_of_everything()).await;
        assert!(copy.duplicate, "keys are known after reopening");
    }
}

pub(super) async fn a_batch_is_made_wholly_or_not_at_all(setup: &Setup) {
    let account = setup.account().await;
    everything(&*account).await;
    let before = snapshot(&*account).await;
    let ids: Vec<_> = before.messages.iter().map(|message| message.log_id).collect();
    let gap = before.gaps[0].0;
    // Every change there is, and then one that fails.
    let all = || {
        Batch::new()
            .append(live("new", 50).key(IdentityKey::own("new")).when_new(RowChange::put("urn:example", "derived", "1")))
            .append(
                NewMessage::new(record("copy", 50), Origin::Archive)
                    .key(IdentityKey::own("everything"))
                    .key(IdentityKey::own("k")),
            )
            .set_flags(ids[0], MessageFlags::RETRACTED, MessageFlags::READ)
            .set_content(ids[0], "<message xmlns='jabber:client'/>", None)
            .release(None)
            .remove_message(ids[1])
            .prune(at(9_999))
            .gap(GapRecord::new(GapKind::NoArchive))
            .fill_gap(gap)
            .acknowledge("ui", Position::new(9), vec![Position::new(99)])
            .acknowledge("new", Position::new(9), vec![])
            .remove_cursor("other")
            .archive_cursor(bare("juliet@capulet.example"), ArchiveCursor::new(Some("z".into()), at(60)))
            .remove_archive_cursor(bare("garden@rooms.example"))
            .send(OutboxEntry::new("fresh", None, "<message xmlns='jabber:client'/>", at(50)))
            .update_sent(SentUpdate::new("queued").acked(at(51)))
            .forget_sent("settled")
            .put_session_row("urn:example", "romeo", "gone")
            .delete_session_row("urn:example", "nurse")
            .handled(99, vec![], at(52))
            .put_contact(bare("paris@verona.example"), "<item xmlns='jabber:iq:roster'/>", Some("v9".into()))
            .remove_contact(bare("romeo@montague.example"), None)
            .put_caps("sha-1 xyz=", "<query xmlns='http://jabber.org/protocol/disco#info'/>", at(53))
            .put_credential("scram/x", Secret::new("changed"))
            .put_credential("another", Secret::new("new"))
            .delete_credential("user-agent-id")
            .put("urn:example", "row", "changed")
            .put("urn:example", "another", "row")
            .delete("urn:example", "other row")
            .delete_all("urn:example:2", "")
            .schema("urn:example", 9)
    };
    let endings = [
        ("an unknown change", Batch::from_iter([Change::Unknown]), ErrorKind::StoreTooOld),
        (
            "a used id",
            Batch::new().send(OutboxEntry::new("queued", None, "<message xmlns='jabber:client'/>", at(0))),
            // `all` has settled it.
            ErrorKind::DuplicateId("queued".to_owned()),
        ),
        (
            "too many positions",
            Batch::new().acknowledge("flood", Position::START, (1..=1_025).map(Position::new).collect()),
            ErrorKind::Store,
        ),
        (
            "an unknown change after the roster and the session",
            {
                let wipe = Batch::new().replace_roster(None, vec![]).end_session();
                wipe.and(Batch::from_iter([Change::Unknown]))
            },
            ErrorKind::StoreTooOld,
        ),
        (
            "an unknown change after a new session",
            {
                let fresh = SessionRecord::new("s9", "juliet@capulet.example/tomb".parse().expect("a full JID"));
                Batch::new().session(fresh, at(54)).and(Batch::from_iter([Change::Unknown]))
            },
            ErrorKind::StoreTooOld,
        ),
    ];
    for (what, ending, kind) in endings {
        assert_fails(account.apply(all().and(ending)).await, &kind);
        assert_eq!(snapshot(&*account).await, before, "after {what} nothing has changed");
        for key in [IdentityKey::own("new"), IdentityKey::own("k")] {
            assert_eq!(account.find(&key).await.expect("find"), None, "after {what} no key is known");
        }
    }
    // The same without the last change is made, wholly.
    apply(&*account, all()).await;
    let after = snapshot(&*account).await;
    assert_eq!(after.rows.len(), 3, "{:?}", after.rows);
    assert_eq!(after.outbox, ["fresh"]);
    assert_eq!(after.contacts, 1);
    assert_eq!(after.session.as_ref().map(|session| session.h), Some(99));
    let unchanged = after.areas().into_iter().zip(before.areas()).filter(|(after, before)| after == before);
    assert_eq!(unchanged.collect::<Vec<_>>(), [], "each area has changed");
}

pub(super) async fn an_unknown_change_is_refused(setup: &Setup) {
    let account = setup.account().await;
    let unknown = || Batch::from_iter([Change::Unknown]);
    let put = || Batch::new().put("urn:example", "row", "value");
    for batch in [unknown(), unknown().and(put()), put().and(unknown()), put().and(unknown()).and(put())] {
        assert_fails(account.apply(batch).await, &ErrorKind::StoreTooOld);
    }
    assert_eq!(snapshot(&*account).await, Snapshot::default());
    apply(&*account, put()).await;
    assert_eq!(account.extension_row("urn:example", "row").await.expect("row").as_deref(), Some(&b"value"[..]));
}

pub(super) async fn batches_are_made_in_the_order_of_the_calls(setup: &Setup) {
    let account = setup.account().await;
    let pending: Vec<_> = (0..20)
        .map(|n| account.apply(Batch::new().put("urn:example", "row", n.to_string()).append(live(&n.to_string(), 0))))
        .collect();
    // The first call's future is awaited last.
    for apply in pending.into_iter().rev() {
        apply.await.expect("the batch is made");
    }
    assert_eq!(account.extension_row("urn:example", "row").await.expect("row").as_deref(), Some(&b"19"[..]));
    assert_eq!(feed_texts(&*account, Position::START).await, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub(super) async fn a_dropped_batch_is_made_wholly_or_not_at_all(setup: &Setup) {
    let account = setup.account().await;
    for polls in 0..3 {
        let batch = Batch::new().put("urn:example:1", "row", polls.to_string()).put("urn:example:2", "row", polls.to_string());
        let mut dropped = account.apply(batch.append(live("dropped", 0)).put("urn:example:3", "row", polls.to_string()));
        for _ in 0..polls {
            if futures::poll!(&mut dropped).is_ready() {
                break;
            }
        }
        drop(dropped);
        // The next batch is behind it, so what became of it is settled when that is made.
        let marker = append(&*account, live("marker", 0)).await;
        let mut made = Vec::new();
        for namespace in ["urn:example:1", "urn:example:2", "urn:example:3"] {
            made.push(account.extension_row(namespace, "row").await.expect("row") == Some(polls.to_string().into_bytes()));
        }
        let feed = feed_texts(&*account, Position::START).await;
        made.push(feed.len() > 1 && feed[feed.len() - 2] == "dropped");
        assert!(made.iter().all(|one| *one == made[0]), "after {polls} polls: {made:?}");
        let batch = Batch::new().remove_message(marker.id).remove_message(LogId::new(marker.id.get() - 1));
        apply(&*account, batch).await;
    }
}

pub(super) async fn changes_of_one_batch_are_made_in_order(setup: &Setup) {
    let account = setup.account().await;
    let applied = apply(&*account, Batch::new()).await;
    assert_eq!(applied, Applied::new(Position::START), "an empty batch is made, too");
    let batch = Batch::new()
        .put("urn:example", "a", "1")
        .delete("urn:example", "a")
        .put("urn:example", "b", "1")
        .delete_all("urn:example", "")
        .put("urn:example", "c", "1")
        .put("urn:example", "c", "2")
        .append(live("held", 0).feed(Feed::Hold))
        .append(live("delivered", 0))
        .release(None)
        .append(live("held for longer", 0).feed(Feed::Hold));
    apply(&*account, batch).await;
    let rows = account.extension_rows("urn:example", "", None, 10).await.expect("rows");
    assert_eq!(rows, [("c".to_owned(), b"2".to_vec())]);
    assert_eq!(feed_texts(&*account, Position::START).await, ["delivered", "held"]);
}

fn message_of_everything() -> NewMessage {
    let mut record = record("everything", 1);
    (record.id, record.flags) = (Some("e1".into()), MessageFlags::READ);
    NewMessage::new(record, Origin::Live).key(IdentityKey::own("everything"))
}

/// Writes something into every area.
async fn everything(account: &dyn AccountStore) {
    let session = SessionRecord::new("s1", "juliet@capulet.example/balcony".parse().expect("a full JID"));
    let mut cursor = ArchiveCursor::new(Some("a1".into()), at(3));
    cursor.reached_start = true;
    let batch = Batch::new()
        .append(message_of_everything())
        .append(live("to be removed", 2))
        .append(live("held", 3).feed(Feed::Hold))
        .gap(GapRecord::new(GapKind::CatchUpFailed))
        .append(NewMessage::new(record_in("garden@rooms.example", "history", 4), Origin::Archive).feed(Feed::History))
        .acknowledge("ui", Position::new(1), vec![Position::new(3)])
        .acknowledge("other", Position::new(2), vec![])
        .archive_cursor(bare("juliet@capulet.example"), cursor.clone())
        .archive_cursor(bare("garden@rooms.example"), cursor)
        .send(OutboxEntry::new("queued", None, "<message xmlns='jabber:client'/>", at(5)))
        .send(OutboxEntry::new("settled", None, "<message xmlns='jabber:client'/>", at(6)))
        .session(session, at(7))
        .update_sent(SentUpdate::new("queued").written(Some(3), at(8)))
        .update_sent(SentUpdate::new("settled").acked(at(8)))
        .handled(17, vec![19], at(9))
        .put_session_row("urn:example", "romeo", "here")
        .put_session_row("urn:example", "nurse", "here")
        .replace_roster(Some("v1".into()), vec![(bare("romeo@montague.example"), "<item xmlns='jabber:iq:roster'/>".into())])
        .put_caps("sha-1 abc=", "<query xmlns='http://jabber.org/protocol/disco#info'/>", at(10))
        .put_credential("user-agent-id", Secret::new("u1"))
        .put_credential("scram/x", Secret::new("k1"))
        .put("urn:example", "row", "value")
        .put("urn:example", "other row", "value")
        .put("urn:example:2", "row", "value")
        .schema("urn:example", 1);
    apply(account, batch).await;
}

/// Everything that can be read.
#[derive(Debug, Default, PartialEq)]
struct Snapshot {
    messages: Vec<LoggedMessage>,
    conversations: usize,
    feed: Vec<FeedItem>,
    head: Position,
    gaps: Vec<(Position, GapRecord)>,
    cursors: String,
    archives: [Option<ArchiveCursor>; 2],
    outbox: Vec<String>,
    sent: [Option<OutboxEntry>; 3],
    session: Option<crate::store::StoredSession>,
    session_rows: Vec<crate::store::Row>,
    roster: crate::store::Roster,
    contacts: usize,
    caps: [bool; 2],
    credentials: Vec<(String, Secret)>,
    rows: Vec<crate::store::Row>,
    other_rows: usize,
    schema: u32,
}

impl Snapshot {
    /// One text for each area, for comparing two.
    fn areas(&self) -> Vec<String> {
        let secrets: Vec<_> = self.credentials.iter().map(|(name, secret)| (name, secret.expose())).collect();
        vec![
            format!("messages {:?}", self.messages),
            format!("feed {:?} {:?}", self.feed, self.head),
            format!("gaps {:?}", self.gaps),
            format!("cursors {:?}", self.cursors),
            format!("archives {:?}", self.archives),
            format!("outbox {:?} {:?}", self.outbox, self.sent),
            format!("session {:?}", self.session),
            format!("session rows {:?}", self.session_rows),
            format!("roster {:?}", self.roster),
            format!("caps {:?}", self.caps),
            format!("credentials {secrets:?}"),
            format!("rows {:?}", self.rows),
            format!("other rows {:?}", self.other_rows),
            format!("schema {:?}", self.schema),
        ]
    }
}

async fn snapshot(account: &dyn AccountStore) -> Snapshot {
    const READ: &str = "everything can be read";
    Snapshot {
        messages: account.messages(&MessageQuery::new().limit(100)).await.expect(READ).messages,
        conversations: account.conversations(None, 100).await.expect(READ).len(),
        feed: account.feed(Position::START, 100).await.expect(READ),
        head: account.feed_head().await.expect(READ),
        gaps: account.gaps().await.expect(READ),
        cursors: {
            let cursors = account.cursors().await.expect(READ);
            if cursors.is_empty() { String::new() } else { format!("{cursors:?}") }
        },
        archives: [
            account.archive_cursor(&bare("juliet@capulet.example")).await.expect(READ),
            account.archive_cursor(&bare("garden@rooms.example")).await.expect(READ),
        ],
        outbox: account.outbox(0, 100).await.expect(READ).into_iter().map(|entry| entry.id).collect(),
        sent: [
            account.sent("queued").await.expect(READ),
            account.sent("settled").await.expect(READ),
            account.sent("fresh").await.expect(READ),
        ],
        session: account.session().await.expect(READ),
        session_rows: account.session_rows("urn:example", "").await.expect(READ),
        roster: account.roster().await.expect(READ),
        contacts: account.roster().await.expect(READ).items.len(),
        caps: [account.caps("sha-1 abc=").await.expect(READ).is_some(), account.caps("sha-1 xyz=").await.expect(READ).is_some()],
        credentials: account.credentials("").await.expect(READ),
        rows: account.extension_rows("urn:example", "", None, 100).await.expect(READ),
        other_rows: account.extension_rows("urn:example:2", "", None, 100).await.expect(READ).len(),
        schema: account.extension_schema("urn:example").await.expect(READ),
    }
}
