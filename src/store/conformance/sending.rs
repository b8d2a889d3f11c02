//! The outbox, and the session.

use super::*;
use crate::error::{StanzaError, StanzaErrorType};
use crate::store::{
    ArchiveId, OutboxEntry, Receipt, SendFailure, SendStatus, SentUpdate, SessionRecord, StoredSession, StoredXml,
};

fn entry(id: &str) -> OutboxEntry {
    let xml = format!("<message xmlns='jabber:client' id='{id}'/>");
    OutboxEntry::new(id, Some(jid("romeo@montague.example/orchard")), xml, at(0))
}

async fn queue(account: &dyn AccountStore) -> Vec<String> {
    account.outbox(0, 1_000).await.expect("the outbox").into_iter().map(|entry| entry.id).collect()
}

async fn sent(account: &dyn AccountStore, id: &str) -> OutboxEntry {
    account.sent(id).await.expect("sent").expect("there is a record")
}

fn session(id: &str) -> SessionRecord {
    SessionRecord::new(id, "juliet@capulet.example/balcony".parse().expect("a full JID"))
}

pub(super) async fn the_outbox_keeps_its_order(setup: &Setup) {
    let account = setup.account().await;
    let mut batch = Batch::new().send(entry("m9").ephemeral());
    for n in (0..9).rev() {
        batch = batch.send(entry(&format!("m{n}")));
    }
    apply(&*account, batch).await;
    assert_eq!(queue(&*account).await, ["m9", "m8", "m7", "m6", "m5", "m4", "m3", "m2", "m1", "m0"]);
    let first = account.outbox(0, 3).await.expect("the outbox");
    assert!(first[0].place > 0 && first[0].place < first[1].place && first[1].place < first[2].place);
    let next = account.outbox(first[2].place, 2).await.expect("the outbox");
    assert_eq!(next.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["m6", "m5"]);
    let kept = &first[0];
    assert_eq!((kept.ephemeral, kept.number, kept.settled), (true, None, false));
    assert_eq!((kept.xml.clone(), kept.to.clone()), (entry("m9").xml, entry("m9").to));
    assert_eq!(kept.status.queued, Some(at(0)));
    assert!(!first[1].ephemeral);

    let batch = Batch::new()
        .update_sent(SentUpdate::new("m8").acked(at(1)))
        .forget_sent("m6")
        .forget_sent("nobody")
        .update_sent(SentUpdate::new("m7").written(Some(4), at(1)))
        .update_sent(SentUpdate::new("nobody").acked(at(1)))
        .send(entry("m10"));
    apply(&*account, batch).await;
    assert_eq!(queue(&*account).await, ["m9", "m7", "m5", "m4", "m3", "m2", "m1", "m0", "m10"]);
    assert_eq!(account.sent("m6").await.expect("sent"), None);
    assert_eq!(account.sent("nobody").await.expect("sent"), None);
    assert_eq!(sent(&*account, "m7").await.number, Some(4));
    // Without an address, and with what the sender's archive knew.
    let mut bare = OutboxEntry::new("m11", None, "<message xmlns='jabber:client'/>", at(3));
    bare.archive_after = Some(ArchiveId::new(bare_jid(), "a7"));
    apply(&*account, Batch::new().send(bare.clone())).await;
    let kept = sent(&*account, "m11").await;
    assert_eq!((kept.to.clone(), kept.archive_after.clone()), (None, bare.archive_after));
    let mut update = SentUpdate::new("m11");
    update.archive_after = Some(ArchiveId::new(bare_jid(), "a8"));
    apply(&*account, Batch::new().update_sent(update.clone()).update_sent(SentUpdate::new("m11"))).await;
    assert_eq!(sent(&*account, "m11").await.archive_after, update.archive_after);
    // When its session was cut is known until it is written again.
    let numbered = Batch::new().update_sent(SentUpdate::new("m11").written(Some(1), at(4)));
    apply(&*account, numbered.clone().update_sent(SentUpdate::new("m11").cut(at(5))).forget_numbers()).await;
    assert_eq!((sent(&*account, "m11").await.number, sent(&*account, "m11").await.cut), (None, Some(at(5))));
    apply(&*account, numbered).await;
    assert_eq!((sent(&*account, "m11").await.number, sent(&*account, "m11").await.cut), (Some(1), None));
}

fn bare_jid() -> BareJid {
    bare("juliet@capulet.example")
}

pub(super) async fn a_settled_message_keeps_its_record(setup: &Setup) {
    let account = setup.account().await;
    let written = SentUpdate::new("m1").written(Some(7), at(1));
    apply(&*account, Batch::new().send(entry("m1")).send(entry("m2")).update_sent(written)).await;
    let batch = Batch::new()
        .update_sent(SentUpdate::new("m1").acked(at(2)))
        .update_sent(SentUpdate::new("m2").failed(SendFailure::Withdrawn, at(3)));
    apply(&*account, batch).await;
    assert_eq!(queue(&*account).await, [""; 0]);
    let kept = sent(&*account, "m1").await;
    assert_eq!((kept.settled, kept.xml.clone(), kept.number), (true, None, None));
    assert_eq!((kept.status.written, kept.status.acked), (Some(at(1)), Some(at(2))));
    assert_eq!(sent(&*account, "m2").await.status.failed, Some((SendFailure::Withdrawn, at(3))));
    // What is settled is never sent again, but a receipt may still come.
    let mut late = SentUpdate::new("m1");
    late.status.received = Some(Receipt::new(jid("romeo@montague.example/orchard"), at(9)));
    apply(&*account, Batch::new().update_sent(late.clone())).await;
    let kept = sent(&*account, "m1").await;
    assert_eq!((kept.settled, &kept.status.received, kept.status.acked), (true, &late.status.received, Some(at(2))));
    assert_eq!(queue(&*account).await, [""; 0]);
}

pub(super) async fn each_field_of_a_record_is_set_once(setup: &Setup) {
    let account = setup.account().await;
    apply(&*account, Batch::new().send(entry("m1"))).await;
    let status = |seconds: i64| {
        let mut error = StanzaError::new(StanzaErrorType::Wait, "recipient-unavailable").with_text("he is <banished> & gone");
        error.application = Some(("urn:example".to_owned(), "banished".to_owned()));
        let receipt = |at| Some(Receipt::new(jid("romeo@montague.example/Mantua's"), at));
        let mut status = SendStatus::default();
        (status.written, status.acked, status.reflected) = (Some(at(seconds)), Some(at(seconds + 1)), Some(at(seconds + 2)));
        (status.received, status.displayed) = (receipt(at(seconds + 3)), receipt(at(seconds + 4)));
        status.bounced = Some((error, at(seconds + 5)));
        status.failed = Some((SendFailure::Poison("policy-violation".to_owned()), at(seconds + 6)));
        status.resent_unverified = Some(at(seconds + 7));
        status
    };
    let mut update = SentUpdate::new("m1");
    // One by one, each beside those before; then all again, later.
    let full = status(10);
    let parts: [fn(&mut SendStatus, &SendStatus); 8] = [
        |s, full| s.resent_unverified = full.resent_unverified,
        |s, full| s.failed = full.failed.clone(),
        |s, full| s.bounced = full.bounced.clone(),
        |s, full| s.displayed = full.displayed.clone(),
        |s, full| s.received = full.received.clone(),
        |s, full| s.reflected = full.reflected,
        |s, full| s.acked = full.acked,
        |s, full| s.written = full.written,
    ];
    let mut expected = SendStatus { queued: Some(at(0)), ..SendStatus::default() };
    for part in parts {
        update.status = SendStatus::default();
        part(&mut update.status, &full);
        part(&mut expected, &full);
        apply(&*account, Batch::new().update_sent(update.clone())).await;
        assert_eq!(*sent(&*account, "m1").await.status, expected);
    }
    update.status = status(500);
    update.status.queued = Some(at(500));
    apply(&*account, Batch::new().update_sent(update)).await;
    assert_eq!(*sent(&*account, "m1").await.status, expected);
    assert_eq!(queue(&*account).await, ["m1"], "a record does not settle a message by itself");

    for (n, why) in [
        SendFailure::TooLarge,
        SendFailure::Withdrawn,
        SendFailure::Ephemeral,
        SendFailure::AccountGone,
        SendFailure::Poison(String::new()),
        SendFailure::Refused("no keys for \"romeo\"".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("f{n}");
        apply(&*account, Batch::new().send(entry(&id)).update_sent(SentUpdate::new(&*id).failed(why.clone(), at(1)))).await;
        assert_eq!(sent(&*account, &id).await.status.failed, Some((why, at(1))));
    }
}

pub(super) async fn an_id_is_sent_once(setup: &Setup) {
    let account = setup.account().await;
    let duplicate = |id: &str| ErrorKind::DuplicateId(id.to_owned());
    apply(&*account, Batch::new().send(entry("m1")).send(entry("m2")).update_sent(SentUpdate::new("m2").acked(at(1)))).await;
    for id in ["m1", "m2"] {
        let batch = Batch::new().put("urn:example", "row", "value").send(entry("m3")).send(entry(id));
        assert_fails(account.apply(batch).await, &duplicate(id));
    }
    assert_fails(account.apply(Batch::new().send(entry("m4")).send(entry("m4"))).await, &duplicate("m4"));
    assert_eq!(queue(&*account).await, ["m1"]);
    assert_eq!(account.extension_row("urn:example", "row").await.expect("row"), None);
    apply(&*account, Batch::new().forget_sent("m1").send(entry("m1")).forget_sent("m2").send(entry("m2"))).await;
    assert_eq!(queue(&*account).await, ["m1", "m2"], "what was forgotten is new");
}

/// For stores that bound their outbox. A store that takes 5,000 messages of 10 kB is taken for one that has no bound.
pub(super) async fn a_full_outbox_refuses(setup: &Setup) {
    const ENOUGH: usize = 5_000;
    let account = setup.account().await;
    let padding = "x".repeat(10_000);
    let large = |id: String| {
        OutboxEntry::new(id, None, format!("<message xmlns='jabber:client'><body>{padding}</body></message>"), at(0))
    };
    let mut accepted = 0;
    let refused = loop {
        if accepted == ENOUGH {
            break None;
        }
        let batch = Batch::new().put("urn:example", "last", accepted.to_string()).send(large(format!("m{accepted}")));
        match account.apply(batch).await {
            Ok(_) => accepted += 1,
            Err(error) => break Some(error),
        }
    };
    let queued = account.outbox(0, usize::MAX).await.expect("the outbox");
    assert_eq!(queued.len(), accepted, "what was accepted is there, what was refused is not");
    let Some(error) = refused else { return };
    assert_eq!(error.kind(), &ErrorKind::OutboxFull);
    let last = account.extension_row("urn:example", "last").await.expect("row");
    assert_eq!(last.map(|value| String::from_utf8(value).expect("text")), accepted.checked_sub(1).map(|n| n.to_string()));
    // What leaves makes room, also in the same batch.
    let batch = Batch::new().update_sent(SentUpdate::new("m0").acked(at(1))).send(large("next".to_owned()));
    apply(&*account, batch).await;
    assert_fails(account.apply(Batch::new().send(large("next but one".to_owned()))).await, &ErrorKind::OutboxFull);
    apply(&*account, Batch::new().forget_sent("m1").send(large("next but one".to_owned()))).await;
}

pub(super) async fn a_logged_message_shows_what_became_of_it(setup: &Setup) {
    let account = setup.account().await;
    let mut own = record("mine", 0);
    (own.direction, own.id) = (Direction::Outgoing, Some("m1".into()));
    let mut theirs = record("theirs", 0);
    theirs.id = Some("m1".into());
    let batch = Batch::new()
        .append(NewMessage::new(own, Origin::Live))
        .append(NewMessage::new(theirs, Origin::Live))
        .send(entry("m1"))
        .update_sent(SentUpdate::new("m1").acked(at(5)));
    let applied = apply(&*account, batch).await;
    let own = account.message(applied.appended[0].id).await.expect("message").expect("there");
    assert_eq!(own.status.as_ref().and_then(|status| status.acked), Some(at(5)));
    let theirs = account.message(applied.appended[1].id).await.expect("message").expect("there");
    assert_eq!(theirs.status, None, "an id of somebody else's is not ours");
    let page = account.messages(&crate::store::MessageQuery::new()).await.expect("a page");
    assert_eq!(page.messages.iter().map(|m| m.status.is_some()).collect::<Vec<_>>(), [true, false]);
}

pub(super) async fn the_session_keeps_its_count(setup: &Setup) {
    let account = setup.account().await;
    assert_eq!(account.session().await.expect("session"), None);
    apply(&*account, Batch::new().handled(5, vec![7], at(1))).await;
    assert_eq!(account.session().await.expect("session"), None, "without a session nothing is counted");
    let mut record = session("s'1");
    record.location = Some("[2001:db8::1]:5222".to_owned());
    record.max = Some(Duration::from_secs(300));
    record.namespace = "urn:xmpp:sm:2".to_owned();
    apply(&*account, Batch::new().session(record.clone(), at(2))).await;
    assert_eq!(account.session().await.expect("session"), Some(StoredSession::new(record.clone(), at(2))));
    for (h, above, seconds) in [(u32::MAX, vec![1, 4], 3), (0, vec![], 4)] {
        apply(&*account, Batch::new().handled(h, above.clone(), at(seconds))).await;
        let mut expected = StoredSession::new(record.clone(), at(seconds));
        (expected.h, expected.above) = (h, above);
        assert_eq!(account.session().await.expect("session"), Some(expected));
    }
    apply(&*account, Batch::new().handled(9, vec![], at(5)).session(session("s2"), at(6))).await;
    assert_eq!(account.session().await.expect("session"), Some(StoredSession::new(session("s2"), at(6))));
    apply(&*account, Batch::new().end_session().end_session()).await;
    assert_eq!(account.session().await.expect("session"), None);
}

pub(super) async fn numbers_are_forgotten_and_nothing_else(setup: &Setup) {
    let account = setup.account().await;
    let begin = Batch::new().send(entry("m1")).send(entry("m2")).session(session("s1"), at(0));
    let numbers = [("m1", 1), ("m2", 2)];
    let numbered =
        numbers.into_iter().fold(begin, |batch, (id, n)| batch.update_sent(SentUpdate::new(id).written(Some(n), at(1))));
    apply(&*account, numbered.put_session_row("urn:example", "key", "value").handled(7, vec![9], at(2))).await;
    // In one batch with what is known to have arrived, and before another that numbers anew.
    apply(&*account, Batch::new().update_sent(SentUpdate::new("m1").acked(at(3))).forget_numbers()).await;
    let kept = sent(&*account, "m2").await;
    assert_eq!((kept.number, kept.settled, kept.status.written), (None, false, Some(at(1))));
    assert!(sent(&*account, "m1").await.settled);
    let session = account.session().await.expect("session").expect("the session stays");
    assert_eq!((session.h, session.above), (7, vec![9]));
    assert_eq!(account.session_rows("urn:example", "").await.expect("rows").len(), 1);
    apply(&*account, Batch::new().forget_numbers().update_sent(SentUpdate::new("m2").written(Some(8), at(4)))).await;
    assert_eq!(sent(&*account, "m2").await.number, Some(8));
}

pub(super) async fn a_session_takes_its_rows_and_numbers_with_it(setup: &Setup) {
    let account = setup.account().await;
    let (ns, other) = ("urn:example:presence", "urn:example:rooms");
    let rows = |n: u32| {
        Batch::new()
            .put_session_row(ns, "romeo@montague.example/orchard", "dnd")
            .put_session_row(ns, "nurse@capulet.example/hall", vec![0, 255])
            .put_session_row(other, "garden@rooms.example", "Juliet")
            .put(ns, "nickname", "Jule")
            .update_sent(SentUpdate::new("m1").written(Some(n), at(0)))
    };
    for (n, end) in [Batch::new().end_session(), Batch::new().session(session("s2"), at(1))].into_iter().enumerate() {
        let start = if n == 0 { Batch::new().send(entry("m1")) } else { Batch::new() };
        apply(&*account, start.session(session("s1"), at(0)).and(rows(n as u32))).await;
        let in_order = [("nurse@capulet.example/hall", vec![0, 255]), ("romeo@montague.example/orchard", b"dnd".to_vec())];
        let kept = account.session_rows(ns, "").await.expect("rows");
        assert_eq!(kept, in_order.map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(account.session_rows(ns, "nurse").await.expect("rows").len(), 1);
        assert_eq!(account.session_rows(other, "").await.expect("rows").len(), 1);
        assert_eq!(account.extension_rows(ns, "", None, 10).await.expect("rows").len(), 1, "the two kinds of rows are apart");
        assert_eq!(sent(&*account, "m1").await.number, Some(n as u32));
        apply(&*account, Batch::new().delete_session_row(ns, "nurse@capulet.example/hall").delete_session_row(ns, "x")).await;
        assert_eq!(account.session_rows(ns, "").await.expect("rows").len(), 1);

        apply(&*account, end).await;
        assert_eq!(account.session_rows(ns, "").await.expect("rows"), []);
        assert_eq!(account.session_rows(other, "").await.expect("rows"), []);
        let kept = sent(&*account, "m1").await;
        assert_eq!((kept.number, kept.settled, kept.status.written), (None, false, Some(at(0))));
        assert_eq!(kept.xml.as_ref().map(StoredXml::as_str), Some("<message xmlns='jabber:client' id='m1'/>"));
        assert_eq!(account.extension_row(ns, "nickname").await.expect("row").as_deref(), Some(&b"Jule"[..]));
    }
}
