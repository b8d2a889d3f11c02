//! Which stanzas are copies of one message (R17).

use jid::Jid;

use super::*;
use crate::store::{ArchiveId, Copies, IdentityKey, MessageFlags};

fn archived(text: &str, seconds: i64) -> NewMessage {
    NewMessage::new(record(text, seconds), Origin::Archive)
}

fn archive_key(id: &str) -> IdentityKey {
    IdentityKey::archive(&bare("juliet@capulet.example"), id)
}

fn origin_key(sender: &str, id: &str, content: &str) -> IdentityKey {
    IdentityKey::origin(&jid(sender), id, content)
}

fn similar_key(body: &str) -> IdentityKey {
    let (from, to): (Jid, Jid) = (jid("romeo@montague.example/orchard"), jid("juliet@capulet.example/balcony"));
    IdentityKey::similar(Some(&from), Some(&to), "chat", None, body)
}

pub(super) async fn an_exact_key_proves_a_duplicate(setup: &Setup) {
    let account = setup.account().await;
    let keys = [archive_key("a1"), origin_key("romeo@montague.example", "o1", "hi"), IdentityKey::own("m1")];
    for (n, key) in keys.into_iter().enumerate() {
        let first = append(&*account, live(&format!("message {n}"), 0).key(key)).await;
        assert!(!first.duplicate, "a message under a new key is new");
        let second = append(&*account, archived("copy", 9_999).key(key)).await;
        assert!(second.duplicate, "key {n}");
        assert_eq!((second.id, second.position), (first.id, first.position));
        let found = account.find(&key).await.expect("find").expect("found by its key");
        assert_eq!((found.log_id, found.text.as_deref()), (first.id, Some(&*format!("message {n}"))));
    }
    assert_eq!(account.find(&archive_key("a2")).await.expect("find"), None);
    // Without a key nothing is a duplicate.
    assert!(!append(&*account, live("message 0", 0)).await.duplicate);
    assert_eq!(feed_texts(&*account, Position::START).await, ["message 0", "message 1", "message 2", "message 0"]);
}

pub(super) async fn another_sender_or_content_is_another_message(setup: &Setup) {
    let account = setup.account().await;
    append(&*account, live("meet me at nine", 0).key(origin_key("romeo@montague.example", "o1", "meet me at nine"))).await;
    // A third party replays the origin-id, and the sender uses it again for something else.
    let replayed = live("meet me at ten", 1).key(origin_key("paris@verona.example", "o1", "meet me at nine"));
    assert!(!append(&*account, replayed).await.duplicate, "an origin-id is its sender's");
    let again = live("come at once", 2).key(origin_key("romeo@montague.example", "o1", "come at once"));
    assert!(!append(&*account, again).await.duplicate, "one origin-id with two contents is two messages");
    let room = |name: &str| IdentityKey::archive(&bare(name), "a1");
    append(&*account, live("in the garden", 3).key(room("garden@rooms.example"))).await;
    assert!(!append(&*account, live("in the tomb", 4).key(room("tomb@rooms.example"))).await.duplicate, "an id is its archive's");
}

pub(super) async fn a_duplicate_adds_what_was_missing(setup: &Setup) {
    let account = setup.account().await;
    let own = bare("juliet@capulet.example");
    let key = IdentityKey::own("m1");
    let mut first = live("hello", 0).key(key);
    first.record.direction = Direction::Outgoing;
    first.record.id = Some("m1".into());
    first.record.flags = MessageFlags::ENCRYPTED;
    let id = append(&*account, first.clone()).await.id;

    let mut copy = NewMessage::new(record_in("paris@verona.example", "changed", 50), Origin::Archive).key(key);
    copy.record.archive_ids = vec![ArchiveId::new(own.clone(), "a1")];
    copy.record.origin_id = Some("o1".into());
    copy.record.flags = MessageFlags::READ;
    append(&*account, copy.clone()).await;
    copy.record.archive_ids = vec![ArchiveId::new(own.clone(), "a1"), ArchiveId::new(own.clone(), "a2")];
    copy.record.origin_id = Some("o2".into());
    append(&*account, copy).await;

    let kept = account.message(id).await.expect("message").expect("there");
    assert_eq!(kept.archive_ids, [ArchiveId::new(own.clone(), "a1"), ArchiveId::new(own, "a2")]);
    assert_eq!(kept.origin_id.as_deref(), Some("o1"));
    assert_eq!(kept.flags, MessageFlags::ENCRYPTED.union(MessageFlags::READ));
    assert_eq!(kept.copies, Copies::of(Origin::Live).with(Origin::Archive));
    // The rest stays as the first copy had it.
    let mut expected = first.record;
    (expected.archive_ids, expected.origin_id) = (kept.archive_ids.clone(), kept.origin_id.clone());
    expected.flags = kept.flags;
    assert_eq!(*kept.record, expected);
}

pub(super) async fn keys_learnt_from_a_duplicate_count(setup: &Setup) {
    let account = setup.account().await;
    let first = append(&*account, live("hello", 0).key(IdentityKey::own("m1"))).await;
    append(&*account, archived("hello", 0).key(archive_key("a1")).key(IdentityKey::own("m1"))).await;
    let found = account.find(&archive_key("a1")).await.expect("find").expect("found by the key the copy brought");
    assert_eq!(found.log_id, first.id);
    let third = append(&*account, archived("hello", 0).key(archive_key("a1"))).await;
    assert_eq!((third.duplicate, third.id), (true, first.id));
}

pub(super) async fn the_first_key_that_is_known_decides(setup: &Setup) {
    let account = setup.account().await;
    let one = append(&*account, live("one", 0).key(archive_key("a1"))).await;
    let two = append(&*account, live("two", 1).key(IdentityKey::own("m2"))).await;
    let copy =
        append(&*account, archived("?", 2).key(IdentityKey::own("m9")).key(IdentityKey::own("m2")).key(archive_key("a1"))).await;
    assert_eq!((copy.duplicate, copy.id), (true, two.id));
    // A key stays with the message it came with.
    let found = account.find(&archive_key("a1")).await.expect("find").expect("found");
    assert_eq!(found.log_id, one.id);
}

pub(super) async fn two_copies_in_one_batch_are_one_message(setup: &Setup) {
    let account = setup.account().await;
    let batch = Batch::new().append(live("one", 0).key(archive_key("a1"))).append(archived("one", 0).key(archive_key("a1")));
    let appended = apply(&*account, batch).await.appended;
    assert_eq!(appended.iter().map(|a| a.duplicate).collect::<Vec<_>>(), [false, true]);
    assert_eq!(appended[0].id, appended[1].id);
    assert_eq!(feed_texts(&*account, Position::START).await, ["one"]);
}

pub(super) async fn similar_is_the_same_only_between_live_and_archive(setup: &Setup) {
    use Origin::{Archive, Carbon, Live, Offline};
    let account = setup.account().await;
    let table = [
        (Live, Live, false),
        (Live, Carbon, false),
        (Live, Archive, true),
        (Live, Offline, true),
        (Carbon, Archive, true),
        (Carbon, Offline, true),
        (Archive, Archive, false),
        (Archive, Offline, false),
        (Offline, Offline, false),
        (Archive, Live, true),
        (Offline, Carbon, true),
    ];
    for (n, (first, second, same)) in table.into_iter().enumerate() {
        let body = format!("message {n}");
        append(&*account, NewMessage::new(record(&body, 0), first).key(similar_key(&body))).await;
        let copy = append(&*account, NewMessage::new(record(&body, 5), second).key(similar_key(&body))).await;
        assert_eq!(copy.duplicate, same, "{first:?}, then {second:?}");
    }
    let never = account.find(&similar_key("message 0")).await.expect("find");
    assert_eq!(never, None, "similarity alone finds nothing");
}

pub(super) async fn similar_is_the_same_only_within_two_minutes(setup: &Setup) {
    let account = setup.account().await;
    for (n, (seconds, same)) in [(120, true), (-120, true), (121, false), (-121, false)].into_iter().enumerate() {
        let body = format!("message {n}");
        append(&*account, live(&body, 0).key(similar_key(&body))).await;
        let copy = append(&*account, archived(&body, seconds).key(similar_key(&body))).await;
        assert_eq!(copy.duplicate, same, "{seconds} seconds apart");
    }
}

pub(super) async fn similar_messages_take_one_copy_each(setup: &Setup) {
    let account = setup.account().await;
    let first = append(&*account, live("ok", 0).key(similar_key("ok"))).await;
    let second = append(&*account, live("ok", 30).key(similar_key("ok"))).await;
    assert_ne!(first.id, second.id, "what comes live twice, without an id, is two messages");
    // The archive has both: each is a copy of another message, and a third is a message of its own.
    let mut copies = Vec::new();
    for (n, seconds) in [0, 30, 31].into_iter().enumerate() {
        let key = archive_key(&format!("a{n}"));
        copies.push(append(&*account, archived("ok", seconds).key(key).key(similar_key("ok"))).await);
    }
    assert_eq!(copies.iter().map(|c| c.duplicate).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!((copies[0].id, copies[1].id), (first.id, second.id));
}

pub(super) async fn a_removed_message_does_not_come_back(setup: &Setup) {
    let account = setup.account().await;
    let id = append(&*account, live("regret", 0).key(archive_key("a1"))).await.id;
    apply(&*account, Batch::new().remove_message(id)).await;
    assert_eq!(account.message(id).await.expect("message"), None);
    let copy = append(&*account, archived("regret", 0).key(archive_key("a1"))).await;
    assert_eq!((copy.duplicate, copy.id, copy.position), (true, id, None));
    assert_eq!(account.message(id).await.expect("message"), None);
    assert_eq!(account.find(&archive_key("a1")).await.expect("find"), None);
    assert_eq!(feed_texts(&*account, Position::START).await, [""; 0]);
}

pub(super) async fn rows_for_a_new_message_are_not_written_for_a_duplicate(setup: &Setup) {
    use crate::store::RowChange;
    let account = setup.account().await;
    let first = live("one", 0).key(archive_key("a1")).when_new(RowChange::put("urn:example:count", "unread", "1"));
    append(&*account, first).await;
    assert_eq!(account.extension_row("urn:example:count", "unread").await.expect("row").as_deref(), Some(&b"1"[..]));
    let copy = archived("one", 0)
        .key(archive_key("a1"))
        .when_new(RowChange::put("urn:example:count", "unread", "2"))
        .when_new(RowChange::put("urn:example:count", "other", "2"));
    append(&*account, copy).await;
    assert_eq!(account.extension_row("urn:example:count", "unread").await.expect("row").as_deref(), Some(&b"1"[..]));
    assert_eq!(account.extension_row("urn:example:count", "other").await.expect("row"), None);
}
