//! That every change comes back as it was, and that damage is an error. Its meaning is tested by a journal's conformance
//! (`examples/own_store.rs`).

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456 + 1_000_000 * seconds)
}

fn every_change() -> Batch {
    let juliet: BareJid = "juliet@capulet.example".parse().expect("a JID");
    let mut record = MessageRecord::new(juliet.clone(), Direction::Outgoing, "<message xmlns='jabber:client'/>", at(1));
    record.from = Some("romeo@montague.example/orchard".parse().expect("a JID"));
    (record.id, record.text, record.kind) = (Some("m1".into()), Some("今晚 <&>".into()), MessageKind::Groupchat);
    record.archive_ids = vec![ArchiveId::new(juliet.clone(), "a1"), ArchiveId::new(juliet.clone(), "a2")];
    let similar = IdentityKey::similar(None, None, "chat", None, "hi");
    let message = NewMessage::new(record, Origin::Carbon)
        .key(IdentityKey::own("m1"))
        .key(similar)
        .feed(Feed::Hold)
        .at(-5)
        .when_new(RowChange::put("urn:example", "row", [0, 255]))
        .when_new(RowChange::delete("urn:example", "other"));
    let mut gap = GapRecord::new(GapKind::CatchUpFailed);
    (gap.archive, gap.since) = (Some(juliet.clone()), Some(UNIX_EPOCH - Duration::from_micros(7)));
    let mut update = SentUpdate::new("m1").written(Some(3), at(2)).failed(SendFailure::Poison("policy-violation".into()), at(3));
    let mut error = StanzaError::new(StanzaErrorType::Modify, "not-acceptable").with_text("no");
    error.application = Some(("urn:example".to_owned(), "no".to_owned()));
    update.status.bounced = Some((error, at(4)));
    update.status.displayed = Some(Receipt::new("romeo@montague.example".parse().expect("a JID"), at(5)));
    let mut session = SessionRecord::new("s1", "juliet@capulet.example/balcony".parse().expect("a JID"));
    session.max = Some(Duration::from_millis(300_500));
    Batch::new()
        .append(message)
        .set_flags(LogId::new(u64::MAX), MessageFlags::READ, MessageFlags::from_bits(u32::MAX))
        .set_content(LogId::new(1), "<message/>", None)
        .remove_message(LogId::new(2))
        .prune(at(6))
        .release(None)
        .release(Some(juliet.clone().into()))
        .gap(gap)
        .fill_gap(Position::new(9))
        .acknowledge("ui", Position::new(1), vec![Position::new(3), Position::new(5)])
        .remove_cursor("ui")
        .archive_cursor(juliet.clone(), ArchiveCursor::new(Some("a9".to_owned()), at(7)))
        .remove_archive_cursor(juliet.clone())
        .send(OutboxEntry::new("m1", None, "<message/>", at(8)).ephemeral())
        .update_sent(update)
        .update_sent(SentUpdate::new("m2").failed(SendFailure::AccountGone, at(3)))
        .forget_sent("m1")
        .session(session, at(9))
        .handled(u32::MAX, vec![1, 2], at(10))
        .put_session_row("urn:example", "key", "value")
        .delete_session_row("urn:example", "key")
        .forget_numbers()
        .end_session()
        .replace_roster(Some(String::new()), vec![(juliet.clone(), "<item/>".into())])
        .put_contact(juliet.clone(), "<item/>", None)
        .remove_contact(juliet, Some("v1".to_owned()))
        .put_caps("sha-1 abc=", "<query/>", at(11))
        .put_credential("name", Secret::new([0, 1, 255]))
        .delete_credential("name")
        .put("urn:example", "key", "value")
        .delete("urn:example", "key")
        .delete_all("urn:example", "k")
        .schema("urn:example", 3)
        .and([Change::Unknown].into_iter().collect())
}

#[test]
fn every_change_comes_back_as_it_was() {
    let batch = every_change();
    let bytes = batch.to_bytes();
    let again = Batch::from_bytes(&bytes).expect("it is whole");
    assert_eq!(format!("{again:#?}"), format!("{batch:#?}"));
    assert_eq!(again.to_bytes(), bytes, "what Debug does not show, too");
    assert!(Batch::from_bytes(&Batch::new().to_bytes()).expect("it is whole").is_empty());
}

#[test]
fn what_is_damaged_is_an_error_and_never_more() {
    let bytes = every_change().to_bytes();
    let mut refused = 0;
    for length in 0..bytes.len() {
        refused += usize::from(Batch::from_bytes(&bytes[..length]).is_err());
        for damage in [0x01, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[length] ^= damage;
            // Some of it reads as something else; none of it panics, or takes much memory.
            drop(Batch::from_bytes(&damaged));
        }
    }
    assert!(refused > bytes.len() / 2, "{refused}");
    let kind = |bytes: &[u8]| Batch::from_bytes(bytes).expect_err("it cannot be read").kind().clone();
    assert_eq!(kind(&[]), ErrorKind::Store);
    assert_eq!(kind(&[FORMAT, 4, 1]), ErrorKind::Store);
    assert_eq!(kind(&[FORMAT + 1]), ErrorKind::StoreTooNew);
    assert_eq!(kind(&[FORMAT, 200]), ErrorKind::StoreTooNew, "a change of a later release");
}
