//! What the log keeps, and how it is read.

use super::*;
use crate::store::{ArchiveId, Copies, LogId, MessageFlags, MessageKind, MessageQuery, StoredXml};

async fn page(account: &dyn AccountStore, query: &MessageQuery) -> (Vec<String>, bool) {
    let page = account.messages(query).await.expect("a page");
    assert!(page.messages.len() <= query.limit, "a page has at most as many messages as it may");
    (texts(&page.messages).into_iter().map(str::to_owned).collect(), page.more)
}

/// All that matches, in timeline order.
async fn all(account: &dyn AccountStore, query: MessageQuery) -> Vec<String> {
    page(account, &query.limit(1_000)).await.0
}

pub(super) async fn a_message_keeps_every_field(setup: &Setup) {
    let account = setup.account().await;
    let mut full = record("<b>&amp;'\"\u{1F339} 玫瑰", 17);
    full.conversation = jid("garden@rooms.example/Roméo Montague").into();
    full.direction = Direction::Outgoing;
    full.from = Some(jid("juliet@capulet.example/balcony").into());
    full.id = Some("m'1".into());
    full.origin_id = Some("o\"1".into());
    full.archive_ids =
        vec![ArchiveId::new(bare("garden@rooms.example"), "a1"), ArchiveId::new(bare("juliet@capulet.example"), "b1")];
    full.received = at(18);
    full.flags = MessageFlags::STAMPED.union(MessageFlags::application(15).expect("a mark"));
    let bare_minimum =
        MessageRecord::new(bare("capulet.example"), Direction::Incoming, "<message xmlns='jabber:client'/>", at(19));

    for (record, origin) in [(full, Origin::Carbon), (bare_minimum, Origin::Offline)] {
        let appended = append(&*account, NewMessage::new(record.clone(), origin).at(-5)).await;
        let kept = account.message(appended.id).await.expect("message").expect("there");
        assert_eq!(*kept.record, record);
        assert_eq!((kept.log_id, kept.order, kept.position), (appended.id, -5, appended.position));
        assert_eq!((kept.copies, kept.status.is_none()), (Copies::of(origin), true));
    }
    let kinds = [MessageKind::Normal, MessageKind::Chat, MessageKind::Groupchat, MessageKind::Headline, MessageKind::Error];
    for kind in kinds {
        let mut record = record("kind", 0);
        record.kind = kind;
        let id = append(&*account, NewMessage::new(record, Origin::Archive)).await.id;
        assert_eq!(account.message(id).await.expect("message").expect("there").kind, kind);
    }
}

pub(super) async fn times_keep_their_microseconds(setup: &Setup) {
    let account = setup.account().await;
    for micros in [0, 1, 999_999, 1_000_001, 1_700_000_000_999_999] {
        let mut record = record("now", 0);
        record.stamp = UNIX_EPOCH + Duration::from_micros(micros);
        record.received = record.stamp + Duration::from_micros(1);
        let id = append(&*account, NewMessage::new(record.clone(), Origin::Live)).await.id;
        let kept = account.message(id).await.expect("message").expect("there");
        assert_eq!((kept.stamp, kept.received), (record.stamp, record.received));
    }
}

pub(super) async fn log_ids_and_positions_rise_and_are_not_used_again(setup: &Setup) {
    let mut last = (LogId::new(0), Position::START);
    for _ in 0..3 {
        let account = setup.account().await;
        for _ in 0..3 {
            let new = append(&*account, live("hello", 0)).await;
            let now = (new.id, new.position.expect("delivered"));
            assert!(now.0 > last.0 && now.1 > last.1, "{now:?} after {last:?}");
            assert_eq!(account.feed_head().await.expect("head"), now.1);
            // The newest is removed, and the next one takes neither its name nor its position.
            apply(&*account, Batch::new().remove_message(new.id)).await;
            assert_eq!(account.feed_head().await.expect("head"), now.1);
            last = now;
        }
        drop(account);
        if !setup.store().await.persistent() {
            return;
        }
    }
}

pub(super) async fn marks_are_set_and_cleared(setup: &Setup) {
    let account = setup.account().await;
    let (one, two) = (append(&*account, live("one", 0)).await.id, append(&*account, live("two", 0)).await.id);
    let own = MessageFlags::application(0).expect("a mark");
    apply(&*account, Batch::new().set_flags(one, MessageFlags::READ.union(own), MessageFlags::NONE)).await;
    let flags = async |id| account.message(id).await.expect("message").expect("there").flags;
    assert_eq!((flags(one).await, flags(two).await), (MessageFlags::READ.union(own), MessageFlags::NONE));
    apply(&*account, Batch::new().set_flags(one, MessageFlags::RETRACTED, own)).await;
    assert_eq!(flags(one).await, MessageFlags::READ.union(MessageFlags::RETRACTED));
    apply(&*account, Batch::new().set_flags(LogId::new(999_999_999), own, MessageFlags::NONE)).await;
}

pub(super) async fn content_is_replaced(setup: &Setup) {
    let account = setup.account().await;
    let new = append(&*account, live("something rash", 0)).await;
    apply(&*account, Batch::new().set_content(new.id, "<message xmlns='jabber:client'/>", None)).await;
    let kept = account.message(new.id).await.expect("message").expect("there");
    assert_eq!((kept.xml.clone(), kept.text.as_deref()), (StoredXml::from("<message xmlns='jabber:client'/>"), None));
    assert_eq!((kept.position, kept.stamp), (new.position, at(0)));
    assert_eq!(all(&*account, MessageQuery::new().text("rash")).await, [""; 0], "what is gone is not found");
    apply(&*account, Batch::new().set_content(new.id, "<message xmlns='jabber:client'/>", Some("deciphered".into()))).await;
    assert_eq!(all(&*account, MessageQuery::new().text("cipher")).await, ["deciphered"]);
    apply(&*account, Batch::new().set_content(LogId::new(999_999_999), "<message xmlns='jabber:client'/>", None)).await;
}

pub(super) async fn pages_follow_the_timeline(setup: &Setup) {
    let account = setup.account().await;
    let (romeo, paris) = ("romeo@montague.example", "paris@verona.example");
    // Stored in another order than theirs; two have one key, and stand in the order they were stored.
    let messages =
        [(romeo, "r3", 30), (romeo, "r1", 10), (paris, "p2", 20), (romeo, "r4a", 40), (romeo, "r4b", 40), (paris, "p0", -9)];
    for (conversation, text, order) in messages {
        append(&*account, NewMessage::new(record_in(conversation, text, 0), Origin::Archive).at(order)).await;
    }
    let query = MessageQuery::new().limit(2);
    assert_eq!(page(&*account, &query).await, (vec!["r4a".into(), "r4b".into()], true));
    assert_eq!(page(&*account, &query.clone().oldest()).await, (vec!["p0".into(), "r1".into()], true));
    let in_romeos = query.conversation(jid(romeo));
    let newest = account.messages(&in_romeos).await.expect("a page");
    assert_eq!((texts(&newest.messages), newest.more), (vec!["r4a", "r4b"], true));
    let before = in_romeos.clone().before(newest.messages[0].place());
    assert_eq!(page(&*account, &before).await, (vec!["r1".into(), "r3".into()], false));
    let oldest = account.messages(&in_romeos.clone().oldest().limit(3)).await.expect("a page");
    assert_eq!((texts(&oldest.messages), oldest.more), (vec!["r1", "r3", "r4a"], true));
    let after = in_romeos.clone().after(oldest.messages[2].place());
    assert_eq!(page(&*account, &after).await, (vec!["r4b".into()], false));
    let after = in_romeos.after(newest.messages[1].place());
    assert_eq!(page(&*account, &after).await, (vec![], false));
    assert!(!page(&*account, &MessageQuery::new().limit(6)).await.1, "there is no more than all");
    assert_eq!(all(&*account, MessageQuery::new().conversation(jid("nobody@verona.example"))).await, [""; 0]);
}

pub(super) async fn a_page_continues_from_a_message_that_is_gone(setup: &Setup) {
    let account = setup.account().await;
    for n in 0..5 {
        append(&*account, live(&format!("message {n}"), n)).await;
    }
    let newest = account.messages(&MessageQuery::new().limit(2)).await.expect("a page");
    let place = newest.messages[0].place();
    apply(&*account, Batch::new().remove_message(place.id)).await;
    assert_eq!(page(&*account, &MessageQuery::new().limit(2).before(place)).await.0, ["message 1", "message 2"]);
    assert_eq!(page(&*account, &MessageQuery::new().limit(2).after(place)).await.0, ["message 4"]);
}

pub(super) async fn a_new_message_is_the_last_of_its_conversation(setup: &Setup) {
    let account = setup.account().await;
    // The clock is put back between two messages.
    let first = append(&*account, live("first", 1_000)).await;
    append(&*account, live("second", 0)).await;
    append(&*account, live("third", 0)).await;
    let other = append(&*account, NewMessage::new(record_in("paris@verona.example", "other", 500), Origin::Live)).await;
    let query = MessageQuery::new().conversation(jid("romeo@montague.example"));
    assert_eq!(all(&*account, query.clone()).await, ["first", "second", "third"]);
    append(&*account, live("later", 5_000)).await;
    assert_eq!(all(&*account, query).await, ["first", "second", "third", "later"]);
    // With a clock that goes right the key is the stamp's.
    for (id, seconds) in [(first.id, 1_000), (other.id, 500)] {
        let message = account.message(id).await.expect("message").expect("there");
        assert_eq!(message.order, crate::store::Place::order_of(at(seconds)));
    }
}

pub(super) async fn a_query_takes_what_matches(setup: &Setup) {
    let account = setup.account().await;
    let mut batch = Batch::new();
    let table = [
        ("a", "romeo@montague.example", Some("romeo@montague.example/orchard"), MessageKind::Chat, MessageFlags::READ),
        ("b", "romeo@montague.example", Some("romeo@montague.example/home"), MessageKind::Headline, MessageFlags::NONE),
        ("c", "garden@rooms.example", Some("garden@rooms.example/Romeo"), MessageKind::Groupchat, MessageFlags::READ),
        ("d", "garden@rooms.example", Some("garden@rooms.example/Nurse"), MessageKind::Groupchat, MessageFlags::ENCRYPTED),
        ("e", "garden@rooms.example/Nurse", None, MessageKind::Chat, MessageFlags::READ.union(MessageFlags::ENCRYPTED)),
    ];
    for (n, (text, conversation, from, kind, flags)) in table.into_iter().enumerate() {
        let mut record = record_in(conversation, text, 10 * n as i64);
        (record.from, record.kind, record.flags) = (from.map(|from| jid(from).into()), kind, flags);
        if text == "d" {
            record.direction = Direction::Outgoing;
        }
        batch = batch.append(NewMessage::new(record, Origin::Live));
    }
    apply(&*account, batch).await;
    let query = MessageQuery::new;
    let table = [
        ("everything", query(), "abcde"),
        ("a contact", query().conversation(jid("romeo@montague.example")), "ab"),
        ("a room without its occupants", query().conversation(jid("garden@rooms.example")), "cd"),
        ("an occupant", query().conversation(jid("garden@rooms.example/Nurse")), "e"),
        ("any resource of a sender", query().sender(jid("romeo@montague.example")), "ab"),
        ("one resource of a sender", query().sender(jid("romeo@montague.example/home")), "b"),
        ("an occupant as sender", query().sender(jid("garden@rooms.example/Romeo")), "c"),
        ("any occupant as sender", query().sender(jid("garden@rooms.example")), "cd"),
        ("incoming", query().direction(Direction::Incoming), "abce"),
        ("outgoing", query().direction(Direction::Outgoing), "d"),
        ("a type", query().kinds([MessageKind::Headline]), "b"),
        ("types", query().kinds([MessageKind::Headline, MessageKind::Chat]), "abe"),
        ("from a time on", query().since(at(20)), "cde"),
        ("before a time", query().until(at(20)), "ab"),
        ("between times", query().since(at(10)).until(at(30)), "bc"),
        ("with a mark", query().with_flags(MessageFlags::READ), "ace"),
        ("with both marks", query().with_flags(MessageFlags::READ.union(MessageFlags::ENCRYPTED)), "e"),
        ("without a mark", query().without_flags(MessageFlags::READ), "bd"),
        ("without either mark", query().without_flags(MessageFlags::READ.union(MessageFlags::ENCRYPTED)), "b"),
        ("all together", query().since(at(5)).kinds([MessageKind::Groupchat]).without_flags(MessageFlags::READ), "d"),
    ];
    for (what, query, expected) in table {
        assert_eq!(all(&*account, query).await.concat(), expected, "{what}");
    }
    // A page is filled with what matches, not with what was looked at.
    let query = query().with_flags(MessageFlags::READ).limit(2);
    assert_eq!(page(&*account, &query).await, (vec!["c".into(), "e".into()], true));
    assert_eq!(page(&*account, &query.oldest()).await, (vec!["a".into(), "c".into()], true));
}

pub(super) async fn text_is_found_anywhere_in_a_word_in_any_case(setup: &Setup) {
    let account = setup.account().await;
    let messages = [
        "But soft! What light",
        "through yonder WINDOW breaks?",
        "今晚在花园见面",
        "罗密欧与朱丽叶",
        "100% of_it's \"quoted\" a*b",
        "Grüße aus ÖSTERREICH",
    ];
    for text in messages {
        append(&*account, live(text, 0)).await;
    }
    let mut silent = record("x", 0);
    silent.text = None;
    append(&*account, NewMessage::new(silent, Origin::Live)).await;
    let table: [(&str, &[usize]); 21] = [
        ("light", &[0]),
        ("igh", &[0]),
        ("LIGHT", &[0]),
        ("window", &[1]),
        ("light soft", &[0]),
        ("  what\tLIGHT ", &[0]),
        ("light window", &[]),
        ("花", &[2]),
        ("花园", &[2]),
        ("在花园", &[2]),
        ("与", &[3]),
        ("花叶", &[]),
        ("100%", &[4]),
        ("%", &[4]),
        ("of_it", &[4]),
        ("f_ of", &[4]),
        ("o%h", &[]),
        ("\"quoted\"", &[4]),
        ("a*b", &[4]),
        ("it's", &[4]),
        ("österreich GRÜSSE", &[]),
    ];
    for (words, expected) in table {
        let expected: Vec<_> = expected.iter().map(|n| messages[*n]).collect();
        assert_eq!(all(&*account, MessageQuery::new().text(words)).await, expected, "{words:?}");
    }
    assert_eq!(all(&*account, MessageQuery::new().text("österreich grüße")).await, [messages[5]]);
    assert_eq!(all(&*account, MessageQuery::new().text("  ")).await.len(), messages.len() + 1, "no word excludes nothing");
}

pub(super) async fn messages_are_found_by_id_in_their_conversation(setup: &Setup) {
    let account = setup.account().await;
    let mut batch = Batch::new();
    for (text, conversation, order) in
        [("late", "garden@rooms.example", 9), ("early", "garden@rooms.example", 1), ("elsewhere", "romeo@montague.example", 5)]
    {
        let mut record = record_in(conversation, text, 0);
        record.id = Some("1".into());
        record.origin_id = Some(format!("origin of {text}").into());
        record.archive_ids = vec![ArchiveId::new(bare("garden@rooms.example"), format!("archive id of {text}"))];
        batch = batch.append(NewMessage::new(record, Origin::Live).at(order));
    }
    apply(&*account, batch).await;
    let garden = jid("garden@rooms.example");
    let table: [(&str, &[&str]); 5] = [
        ("1", &["early", "late"]),
        ("origin of late", &["late"]),
        ("archive id of early", &["early"]),
        ("origin of elsewhere", &[]),
        ("2", &[]),
    ];
    for (id, expected) in table {
        let found = account.messages_with_id(&garden, id).await.expect("messages");
        assert_eq!(texts(&found), expected, "{id:?}");
    }
}

pub(super) async fn conversations_come_with_their_newest_message(setup: &Setup) {
    let account = setup.account().await;
    let mut batch = Batch::new();
    let table = [
        ("romeo@montague.example", "r1", 10, Direction::Incoming, MessageKind::Chat),
        ("nurse@capulet.example", "n1", 20, Direction::Incoming, MessageKind::Chat),
        ("romeo@montague.example", "r2", 30, Direction::Outgoing, MessageKind::Chat),
        ("romeo@montague.example", "r3", 40, Direction::Incoming, MessageKind::Chat),
        ("paris@verona.example", "p1", 25, Direction::Outgoing, MessageKind::Chat),
        ("nurse@capulet.example", "a bounce", 50, Direction::Incoming, MessageKind::Error),
        ("tybalt@capulet.example", "only a bounce", 60, Direction::Incoming, MessageKind::Error),
    ];
    for (conversation, text, seconds, direction, kind) in table {
        let mut record = record_in(conversation, text, seconds);
        (record.direction, record.kind) = (direction, kind);
        batch = batch.append(NewMessage::new(record, Origin::Live));
    }
    let mut receipt = record_in("nurse@capulet.example", "", 70);
    receipt.text = None;
    let applied = apply(&*account, batch.append(NewMessage::new(receipt, Origin::Live))).await;

    let overview = async || {
        let conversations = account.conversations(None, 10).await.expect("conversations");
        conversations
            .iter()
            .map(|c| format!("{} {} {}", c.jid, texts(std::slice::from_ref(&c.newest))[0], c.unread))
            .collect::<Vec<_>>()
    };
    let all = ["romeo@montague.example r3 2", "paris@verona.example p1 0", "nurse@capulet.example n1 1"];
    assert_eq!(overview().await, all);
    let first = account.conversations(None, 1).await.expect("conversations");
    assert_eq!(first.len(), 1);
    let rest = account.conversations(Some(first[0].newest.place()), 10).await.expect("conversations");
    let names: Vec<_> = rest.iter().map(|c| c.jid.to_string()).collect();
    assert_eq!(names, ["paris@verona.example", "nurse@capulet.example"]);

    let id = |n: usize| applied.appended[n].id;
    let read = Batch::new().set_flags(id(0), MessageFlags::READ, MessageFlags::NONE).remove_message(id(3));
    apply(&*account, read.remove_message(id(4))).await;
    assert_eq!(overview().await, ["romeo@montague.example r2 0", "nurse@capulet.example n1 1"]);
    apply(&*account, Batch::new().set_flags(id(0), MessageFlags::NONE, MessageFlags::READ)).await;
    assert_eq!(overview().await[0], "romeo@montague.example r2 1");
}
