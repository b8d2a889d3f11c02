//! What is particular to the memory store: its bounds. The contract is tested by the conformance suite.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jid::Jid;

use super::areas::Areas;
use super::{Limits, MemoryStore};
use crate::store::{
    Batch, Direction, Feed, FeedItem, GapKind, GapRecord, IdentityKey, LogId, MessageFlags, MessageRecord, NewMessage, Origin,
    OutboxEntry, Position, SentUpdate, Store,
};

fn areas(messages: usize, bytes: usize) -> Areas {
    Areas::new(Limits { log_messages: messages, log_bytes: bytes, outbox_messages: 10, outbox_bytes: 1 << 20 })
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn message(peer: u64, length: usize, seconds: u64) -> NewMessage {
    let peer: Jid = format!("peer{peer}@montague.example").parse().expect("a JID");
    let mut record = MessageRecord::new(peer, Direction::Incoming, "x".repeat(length), at(seconds));
    record.text = Some(String::new().into());
    NewMessage::new(record, Origin::Live)
}

fn apply(areas: &mut Areas, batch: Batch) -> crate::store::Applied {
    areas.apply(batch).expect("the batch is made")
}

#[test]
fn the_oldest_messages_make_room_by_count_and_by_bytes() {
    let mut by_count = areas(3, usize::MAX);
    let mut by_bytes = areas(100, 40_000);
    for n in 0..10 {
        apply(&mut by_count, Batch::new().append(message(n, 10, n)));
        apply(&mut by_bytes, Batch::new().append(message(n, 10_000, n)));
    }
    for areas in [&by_count, &by_bytes] {
        let items = areas.log.feed(Position::START, 100, &areas.outbox);
        assert_eq!(items.len(), 4, "{items:?}");
        assert_eq!(items[0], FeedItem::lost(Position::new(1), Position::new(7)), "one range for all that left");
        areas.log.check();
    }
}

#[test]
fn few_messages_that_are_left_of_many_do_not_hold_the_memory_of_all() {
    let mut areas = areas(10_000, usize::MAX);
    for n in 0..5_000 {
        apply(&mut areas, Batch::new().append(message(n % 3, 1_000, n)));
    }
    areas.log.check();
    assert!(areas.log.packed().1 > 5_000_000, "{:?}", areas.log.packed());
    let read = |areas: &Areas, n: u64| areas.log.get(LogId::new(n), &areas.outbox).expect("it is there");
    let kept = read(&areas, 4_001);
    // One of each piece of memory is left, and something was changed.
    let gone = (1..=5_000).filter(|n| n % 40 != 1).fold(Batch::new(), |batch, n| batch.remove_message(LogId::new(n)));
    apply(&mut areas, gone.set_content(LogId::new(41), "y".repeat(2_000), None));
    areas.log.check();
    let (live, held) = areas.log.packed();
    assert!(live < 200_000 && held < 2 * live + 200_000, "{live} {held}");
    assert_eq!(read(&areas, 4_001), kept);
    assert_eq!(read(&areas, 41).xml.as_str().len(), 2_000);
    (1..=5_000).for_each(|n| drop(apply(&mut areas, Batch::new().remove_message(LogId::new(n)))));
    areas.log.check();
    assert_eq!(areas.log.packed(), (0, 0));
    // And it goes on.
    let id = apply(&mut areas, Batch::new().append(message(0, 10, 0))).appended[0].id;
    assert_eq!(read(&areas, id.get()).xml.as_str().len(), 10);
}

#[test]
fn one_message_larger_than_the_log_is_lost_and_reported() {
    let mut areas = areas(100, 5_000);
    apply(&mut areas, Batch::new().append(message(1, 10, 0)));
    let applied = apply(&mut areas, Batch::new().append(message(1, 10_000, 0)));
    let items = areas.log.feed(Position::START, 100, &areas.outbox);
    assert_eq!(items, [FeedItem::lost(Position::new(1), applied.head)]);
}

#[test]
fn gaps_are_bounded_like_messages() {
    let mut areas = areas(3, usize::MAX);
    for _ in 0..10 {
        apply(&mut areas, Batch::new().gap(GapRecord::new(GapKind::NoArchive)));
    }
    assert_eq!(areas.log.gaps().len(), 3);
    assert_eq!(areas.log.feed(Position::START, 1, &areas.outbox), [FeedItem::lost(Position::new(1), Position::new(7))]);
}

#[test]
fn keys_outlive_their_messages_for_a_while_and_are_then_forgotten() {
    let mut areas = areas(10, usize::MAX);
    let key = |n: u64| IdentityKey::own(&n.to_string());
    for n in 0..1_000 {
        apply(&mut areas, Batch::new().append(message(0, 1, n).key(key(n)).key(similar(n))));
    }
    assert_eq!(areas.log.known_keys(), 20, "those of 10 in the log, and 10 that left it");
    assert!(apply(&mut areas, Batch::new().append(message(0, 1, 0).key(key(985)))).appended[0].duplicate);
    assert!(!apply(&mut areas, Batch::new().append(message(0, 1, 0).key(key(5)))).appended[0].duplicate);
}

#[test]
fn what_is_similar_is_found_also_after_nobody_looked_for_it_for_long() {
    let mut areas = areas(10, usize::MAX);
    let is_copy = |areas: &mut Areas, n: u64, origin: Origin, stamp: u64| {
        let copy = NewMessage::new(message(0, 1, stamp).record, origin).key(similar(n));
        let appended = apply(areas, Batch::new().append(copy)).appended[0];
        areas.log.check();
        appended.duplicate
    };
    for round in 0..3 {
        let first = round * 10_000;
        for n in first..first + 100 {
            apply(&mut areas, Batch::new().append(message(0, 1, 1_000 * n).key(similar(n))));
        }
        assert_eq!(areas.log.known_keys(), 0, "what comes live is similar to nothing");
        // One that is in the log, one that left it, and one that nobody knows any more.
        for (n, known) in [(95, true), (85, true), (75, false)].map(|(n, known)| (first + n, known)) {
            assert_eq!(is_copy(&mut areas, n, Origin::Archive, 1_000 * n), known, "{n}");
        }
        // It was a copy once: a second one is a second message. And what comes live is a copy of what the archive had.
        assert!(!is_copy(&mut areas, first + 95, Origin::Archive, 1_000 * (first + 95)));
        assert!(is_copy(&mut areas, first + 75, Origin::Live, 1_000 * (first + 75) + 60));
        assert!(areas.log.known_keys() > 10, "they are looked for now");
    }
}

/// A message whose similar key is not made yet, with an exact one if it is given its number.
fn unmade(n: u64, exact: Option<u64>, origin: Origin) -> NewMessage {
    let mut record = message(0, 0, 1_000 * n).record;
    record.xml = "<message xmlns='jabber:client' to='juliet@capulet.example'/>".into();
    record.from = Some("peer0@montague.example/orchard".parse().expect("a JID"));
    record.text = Some(n.to_string().into());
    let mut message = NewMessage::new(record, origin);
    message.set_keys(exact.map(|exact| IdentityKey::own(&exact.to_string())).into_iter().collect());
    message.make_similar_later();
    message
}

#[test]
fn a_key_that_is_not_made_counts_as_long_as_the_message_is_there() {
    let mut areas = areas(10, usize::MAX);
    let append = |areas: &mut Areas, message: NewMessage| {
        let appended = apply(areas, Batch::new().append(message)).appended[0];
        areas.log.check();
        appended
    };
    let live: Vec<_> = (0..20).map(|n| append(&mut areas, unmade(n, Some(n), Origin::Live)).id).collect();
    assert_eq!(areas.log.known_keys(), 20, "those that are exact");
    let other = "<message xmlns='jabber:client' to='juliet@capulet.example/balcony'/>";
    apply(&mut areas, Batch::new().remove_message(live[12]).set_content(live[13], other, Some("changed".into())));
    areas.log.check();
    let mut is_copy = |n: u64, exact: Option<u64>| {
        let appended = append(&mut areas, unmade(n, exact, Origin::Archive));
        appended.duplicate && appended.id == live[n as usize]
    };
    // In the log, removed, and changed since.
    for n in [19, 12, 13] {
        assert!(is_copy(n, None), "{n}");
    }
    // One that left the log before anybody looked is known by its exact key alone.
    assert!(!is_copy(5, None) && is_copy(6, Some(6)));
    // One that leaves it now stays known.
    for n in 20..32 {
        append(&mut areas, unmade(n, Some(n), Origin::Live));
    }
    assert!(areas.log.get(live[19], &areas.outbox).is_none());
    let appended = append(&mut areas, unmade(19, None, Origin::Offline));
    assert_eq!((appended.duplicate, appended.id), (true, live[19]));
}

fn similar(n: u64) -> IdentityKey {
    IdentityKey::similar(None, None, "chat", None, &n.to_string())
}

#[test]
fn records_of_settled_messages_and_capabilities_are_bounded() {
    let mut areas = areas(10, usize::MAX);
    for n in 0..2_000 {
        let id = format!("m{n}");
        let send = Batch::new().send(OutboxEntry::new(&*id, None, "<message/>", at(n)));
        apply(&mut areas, send.update_sent(SentUpdate::new(id).acked(at(n))).put_caps(n.to_string(), "<query/>", at(n)));
    }
    assert_eq!((0..2_000).filter(|n| areas.outbox.get(&format!("m{n}")).is_some()).count(), 10);
    assert!(areas.outbox.get("m1999").is_some());
    assert_eq!(areas.caps.len(), 1_000);
    assert!(areas.caps.contains_key("1999"));
}

#[test]
fn accounts_last_as_long_as_the_store() {
    futures::executor::block_on(async {
        let store = MemoryStore::new();
        let jid = "juliet@capulet.example".parse().expect("a JID");
        let account = store.open_account(&jid).await.expect("opens");
        account.apply(Batch::new().put("urn:example", "row", "value")).await.expect("is made");
        drop(account);
        let account = store.clone().open_account(&jid).await.expect("opens again");
        assert!(account.extension_row("urn:example", "row").await.expect("row").is_some());
    });
}

/// Many random changes of a small log, with its books checked after each.
#[test]
fn the_books_of_the_log_are_right_whatever_happens() {
    let mut seed = 0x5EED_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut areas = areas(20, 30_000);
    let mut read = Position::START;
    let mut delivered = 0_u64;
    for step in 0..20_000 {
        let known = LogId::new(random(areas.log.head().get() + 10));
        let mark = [MessageFlags::READ, MessageFlags::NONE];
        let batch = match random(12) {
            0..=4 => {
                let feed = [Feed::Deliver, Feed::Deliver, Feed::Hold, Feed::History][random(4) as usize];
                let exact = random(300);
                let message = if random(4) == 0 {
                    unmade(step / 20, Some(exact), [Origin::Live, Origin::Archive][random(2) as usize])
                } else {
                    let key = IdentityKey::own(&exact.to_string());
                    message(random(4), random(3_000) as usize, step).key(key).key(similar(random(9)))
                };
                Batch::new().append(message.feed(feed))
            }
            5 => Batch::new().release(None),
            6 => Batch::new().remove_message(known),
            7 => Batch::new().gap(GapRecord::new(GapKind::Expired)),
            8 => Batch::new().fill_gap(Position::new(known.get())),
            9 => Batch::new().set_flags(known, mark[random(2) as usize], mark[random(2) as usize]),
            10 => Batch::new().set_content(known, "y".repeat(random(2_000) as usize), None),
            _ if random(20) == 0 => Batch::new().prune(at(step.saturating_sub(random(40)))),
            _ => Batch::new(),
        };
        apply(&mut areas, batch);
        areas.log.check();
        // A reader that comes by now and then meets rising positions, and everything up to the head.
        if random(7) == 0 {
            for item in areas.log.feed(read, 5, &areas.outbox) {
                assert!(item.position() > read, "step {step}: {item:?} behind {read:?}");
                if let FeedItem::Lost { first, last } = &item {
                    assert!(*first > read && first <= last, "step {step}: {item:?} behind {read:?}");
                }
                read = item.position();
                delivered += 1;
            }
        }
    }
    assert!(delivered > 2_000, "{delivered}");
}
