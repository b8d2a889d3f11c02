//! What durable subscriptions read, and their cursors.

use super::*;
use crate::store::{ArchiveCursor, Cursor, Feed, GapKind, GapRecord, IdentityKey, LogId};

pub(super) async fn the_feed_gives_what_is_delivered_in_order(setup: &Setup) {
    let account = setup.account().await;
    assert_eq!(account.feed_head().await.expect("head"), Position::START);
    assert_eq!(account.feed(Position::START, 10).await.expect("feed"), []);
    let first = append(&*account, live("one", 90)).await;
    let history = append(&*account, live("long ago", 0).feed(Feed::History)).await;
    assert_eq!(history.position, None);
    let applied = apply(&*account, Batch::new().append(live("two", 10)).append(live("three", 50))).await;
    let positions: Vec<_> = [first].iter().chain(&applied.appended).map(|a| a.position.expect("delivered")).collect();
    assert!(positions.is_sorted_by(|a, b| a < b) && positions[0] > Position::START, "{positions:?}");
    assert_eq!(applied.head, positions[2]);
    assert_eq!(account.feed_head().await.expect("head"), positions[2]);

    assert_eq!(feed_texts(&*account, Position::START).await, ["one", "two", "three"]);
    assert_eq!(feed_texts(&*account, positions[0]).await, ["two", "three"]);
    let items = account.feed(positions[0], 1).await.expect("feed");
    assert!(matches!(&items[..], [FeedItem::Message(m)] if m.position == Some(positions[1]) && m.feed == Feed::Deliver));
    assert_eq!(feed_texts(&*account, positions[2]).await, [""; 0]);
    let kept = account.message(history.id).await.expect("message").expect("history is in the log");
    assert_eq!((kept.feed, kept.position), (Feed::History, None));
}

pub(super) async fn held_messages_wait_for_their_release(setup: &Setup) {
    let account = setup.account().await;
    let held = |conversation: &str, text: &str| NewMessage::new(record_in(conversation, text, 0), Origin::Live).feed(Feed::Hold);
    let (romeo, paris) = ("romeo@montague.example", "paris@verona.example");
    let batch = Batch::new()
        .append(held(romeo, "held 1"))
        .append(held(paris, "held 2"))
        .append(held(romeo, "held 3"))
        .append(live("live", 0))
        .append(live("long ago", 0).feed(Feed::History));
    let applied = apply(&*account, batch).await;
    assert_eq!(applied.appended[0].position, None);
    assert_eq!(feed_texts(&*account, Position::START).await, ["live"]);
    let waiting = account.message(applied.appended[0].id).await.expect("message").expect("held messages are in the log");
    assert_eq!((waiting.feed, waiting.position), (Feed::Hold, None));

    let head = applied.head;
    let applied = apply(&*account, Batch::new().append(live("caught up", 0)).release(Some(jid(romeo)))).await;
    assert!(applied.head > head);
    assert_eq!(feed_texts(&*account, Position::START).await, ["live", "caught up", "held 1", "held 3"]);
    apply(&*account, Batch::new().append(held(romeo, "held 4")).release(None)).await;
    let all = ["live", "caught up", "held 1", "held 3", "held 2", "held 4"];
    assert_eq!(feed_texts(&*account, Position::START).await, all);
    apply(&*account, Batch::new().release(None)).await;
    assert_eq!(feed_texts(&*account, Position::START).await, all, "a message is released once");
}

pub(super) async fn a_duplicate_raises_the_feed_and_never_lowers_it(setup: &Setup) {
    let account = setup.account().await;
    let message = |n: usize, feed| live(&format!("message {n}"), 0).key(IdentityKey::own(&format!("m{n}"))).feed(feed);
    append(&*account, message(1, Feed::Hold)).await;
    append(&*account, message(2, Feed::Hold)).await;
    append(&*account, message(3, Feed::History)).await;
    append(&*account, message(4, Feed::History)).await;
    let delivered = append(&*account, message(5, Feed::Deliver)).await;
    // An archive's page comes, with copies of some of what is held.
    let raised = append(&*account, message(2, Feed::Deliver)).await;
    assert!(raised.duplicate && raised.position > delivered.position);
    assert_eq!((delivered.known_feed, raised.known_feed), (None, Some(Feed::Hold)), "what it was before the copy");
    append(&*account, message(3, Feed::Hold)).await;
    let news = append(&*account, message(4, Feed::Deliver)).await;
    assert!(news.duplicate && news.known_feed == Some(Feed::History) && news.is_news(Feed::Deliver));
    for feed in [Feed::Hold, Feed::History] {
        assert_eq!(append(&*account, message(5, feed)).await.position, delivered.position);
        assert_eq!(append(&*account, message(2, feed)).await.position, raised.position);
    }
    append(&*account, message(1, Feed::History)).await;
    assert_eq!(feed_texts(&*account, Position::START).await, ["message 5", "message 2", "message 4"]);
    apply(&*account, Batch::new().release(None)).await;
    assert_eq!(feed_texts(&*account, Position::START).await, ["message 5", "message 2", "message 4", "message 1", "message 3"]);
    let again = append(&*account, message(5, Feed::Deliver)).await;
    assert_eq!(again.position, delivered.position, "a position does not change");
}

pub(super) async fn a_gap_stands_in_the_feed_until_it_is_filled(setup: &Setup) {
    let account = setup.account().await;
    let mut gap = GapRecord::new(GapKind::Expired);
    gap.conversation = Some(jid("garden@rooms.example"));
    gap.archive = Some(bare("garden@rooms.example"));
    (gap.after, gap.before) = (Some("a1".to_owned()), Some("a9".to_owned()));
    (gap.since, gap.until) = (Some(at(1)), Some(at(2)));
    let batch = Batch::new().append(live("one", 0)).gap(gap.clone()).append(live("two", 0));
    let applied = apply(&*account, batch).await;
    assert_eq!(applied.gaps.len(), 1);
    let later = apply(&*account, Batch::new().gap(GapRecord::new(GapKind::NoArchive))).await;
    assert_eq!(later.head, later.gaps[0]);
    assert_eq!(feed_texts(&*account, Position::START).await, ["one", "gap", "two", "gap"]);
    let items = account.feed(Position::START, 2).await.expect("feed");
    assert_eq!(items[1], FeedItem::Gap { position: applied.gaps[0], gap: gap.clone() });
    let open = [(applied.gaps[0], gap), (later.gaps[0], GapRecord::new(GapKind::NoArchive))];
    assert_eq!(account.gaps().await.expect("gaps"), open);

    // A position that is a message's is no gap's.
    let message = items[0].position();
    apply(&*account, Batch::new().fill_gap(applied.gaps[0]).fill_gap(applied.gaps[0]).fill_gap(message)).await;
    assert_eq!(feed_texts(&*account, Position::START).await, ["one", "two", "gap"], "a filled gap is no loss");
    assert_eq!(account.gaps().await.expect("gaps").len(), 1);
}

pub(super) async fn removing_is_no_loss(setup: &Setup) {
    let account = setup.account().await;
    let applied = apply(&*account, Batch::new().append(live("one", 0)).append(live("two", 0)).append(live("three", 0))).await;
    let batch = Batch::new().remove_message(applied.appended[1].id).remove_message(LogId::new(999_999_999));
    apply(&*account, batch).await;
    assert_eq!(feed_texts(&*account, Position::START).await, ["one", "three"]);
    assert_eq!(account.feed_head().await.expect("head"), applied.head);
}

pub(super) async fn pruning_before_reading_is_a_loss(setup: &Setup) {
    let account = setup.account().await;
    let batch = Batch::new()
        .append(live("old 1", 0).key(IdentityKey::own("m1")))
        .append(live("old 2", 1))
        .append(live("old but held", 0).feed(Feed::Hold))
        .append(live("old and history", 0).feed(Feed::History))
        .append(live("new", 2));
    let applied = apply(&*account, batch).await;
    let position = |n: usize| applied.appended[n].position.expect("delivered");
    apply(&*account, Batch::new().prune(at(2))).await;
    assert_eq!(feed_texts(&*account, Position::START).await, ["lost", "new"]);
    match &account.feed(Position::START, 1).await.expect("feed")[..] {
        [FeedItem::Lost { first, last }] => {
            assert!(*first <= position(0) && *last >= position(1) && *last < position(4), "{first:?} to {last:?}");
        }
        other => panic!("a loss comes first: {other:?}"),
    }
    assert_eq!(feed_texts(&*account, position(0)).await, ["lost", "new"]);
    assert_eq!(feed_texts(&*account, position(1)).await, ["new"], "what was read before is not lost");
    for (n, there) in [(0, false), (1, false), (2, true), (3, false), (4, true)] {
        let message = account.message(applied.appended[n].id).await.expect("message");
        assert_eq!(message.is_some(), there, "message {n}");
    }
    assert!(append(&*account, live("old 1", 0).key(IdentityKey::own("m1"))).await.duplicate);
    apply(&*account, Batch::new().release(None)).await;
    assert_eq!(feed_texts(&*account, Position::START).await, ["lost", "new", "old but held"]);
}

/// For stores that bound their log: appends until the first message leaves it. A store that keeps the last 20,000
/// messages is taken for one that has no bound.
pub(super) async fn what_leaves_the_log_unread_is_reported(setup: &Setup) {
    const ENOUGH: usize = 20_000;
    let account = setup.account().await;
    let held = append(&*account, live("held", 0).feed(Feed::Hold)).await;
    let first = append(&*account, live("one", 0)).await;
    let second = append(&*account, live("two", 0)).await;
    let mut appended = Vec::new();
    while is_there(&*account, second.id).await {
        if appended.len() >= ENOUGH {
            return;
        }
        let (head, was_there) = (account.feed_head().await.expect("head"), is_there(&*account, held.id).await);
        let batch = (0..50).map(|_| live("more", 0)).fold(Batch::new(), Batch::append);
        appended.extend(apply(&*account, batch).await.appended);
        if was_there && !is_there(&*account, held.id).await {
            // It had no position, so a reader who has read everything has not read it: the loss is in front of him.
            let items = account.feed(head, usize::MAX).await.expect("feed");
            assert!(items.iter().any(|item| matches!(item, FeedItem::Lost { .. })), "a held message left in silence");
        }
    }
    let (first, second) = (first.position.expect("delivered"), second.position.expect("delivered"));
    // Every reader behind whom something left is told so before anything newer; those that had read it are not.
    for after in [Position::START, first] {
        match account.feed(after, 1).await.expect("feed").first() {
            Some(FeedItem::Lost { first, last }) => assert!(*first > after && *last >= second, "{first:?} to {last:?}"),
            other => panic!("a reader at {after:?} is told what it lost, not {other:?}"),
        }
    }
    let head = account.feed_head().await.expect("head");
    assert_eq!(account.feed(head, 10).await.expect("feed"), []);
    // Nothing is missing without being reported: message, loss or gap, each position is accounted for.
    let items = account.feed(Position::START, usize::MAX).await.expect("feed");
    for position in appended.iter().filter_map(|a| a.position) {
        let accounted = items.iter().any(|item| match item {
            FeedItem::Lost { first, last } => (*first..=*last).contains(&position),
            item => item.position() == position,
        });
        assert!(accounted, "{position:?} is neither there nor lost");
    }
}

async fn is_there(account: &dyn AccountStore, id: LogId) -> bool {
    account.message(id).await.expect("message").is_some()
}

pub(super) async fn a_cursor_never_moves_back(setup: &Setup) {
    let account = setup.account().await;
    assert_eq!(account.cursor("ui").await.expect("cursor"), None);
    let p = Position::new;
    let moves: [(u64, &[u64], u64, &[u64]); 6] = [
        (5, &[9, 7, 7], 5, &[7, 9]),
        (3, &[8], 5, &[7, 8, 9]),
        (6, &[], 6, &[7, 8, 9]),
        (8, &[2], 8, &[9]),
        (0, &[12], 8, &[9, 12]),
        (20, &[], 20, &[]),
    ];
    for (through, above, kept_through, kept_above) in moves {
        let above: Vec<_> = above.iter().copied().map(p).collect();
        apply(&*account, Batch::new().acknowledge("ui", p(through), above)).await;
        let mut expected = Cursor::new(p(kept_through));
        expected.above = kept_above.iter().copied().map(p).collect();
        assert_eq!(account.cursor("ui").await.expect("cursor"), Some(expected));
    }
    apply(&*account, Batch::new().acknowledge("archiver", p(4), Vec::new()).acknowledge("z", Position::START, Vec::new())).await;
    let names: Vec<_> = account.cursors().await.expect("cursors").into_iter().map(|(name, c)| (name, c.through)).collect();
    assert_eq!(names, [("archiver".to_owned(), p(4)), ("ui".to_owned(), p(20)), ("z".to_owned(), Position::START)]);
    apply(&*account, Batch::new().remove_cursor("ui").remove_cursor("nobody")).await;
    assert_eq!(account.cursor("ui").await.expect("cursor"), None);
    apply(&*account, Batch::new().acknowledge("ui", p(2), Vec::new())).await;
    assert_eq!(account.cursor("ui").await.expect("cursor"), Some(Cursor::new(p(2))), "a new one begins anew");
}

pub(super) async fn a_cursor_is_bounded(setup: &Setup) {
    let account = setup.account().await;
    let most: Vec<_> = (0..Cursor::MAX_ABOVE as u64).map(|n| Position::new(10 + 2 * n)).collect();
    apply(&*account, Batch::new().acknowledge("ui", Position::new(1), most.clone())).await;
    let kept = account.cursor("ui").await.expect("cursor").expect("there");
    assert_eq!(kept.above, most);
    let one_more = Batch::new().put("urn:example", "row", "value").acknowledge("ui", Position::new(1), vec![Position::new(11)]);
    assert_fails(account.apply(one_more).await, &ErrorKind::Store);
    assert_eq!(account.cursor("ui").await.expect("cursor"), Some(kept));
    assert_eq!(account.extension_row("urn:example", "row").await.expect("row"), None);
    // Within one batch as well: the prefix makes room, a fresh cursor has all of it.
    let batch = Batch::new().acknowledge("ui", Position::new(10), vec![Position::new(11)]).remove_cursor("ui").acknowledge(
        "ui",
        Position::new(1),
        most,
    );
    apply(&*account, batch).await;
    let batch =
        Batch::new().acknowledge("ui", Position::new(1), vec![Position::new(3)]).acknowledge("ui", Position::new(10), vec![]);
    assert_fails(account.apply(batch).await, &ErrorKind::Store);
}

pub(super) async fn an_archive_cursor_is_kept_for_each_archive(setup: &Setup) {
    let account = setup.account().await;
    let (own, room) = (bare("juliet@capulet.example"), bare("garden@rooms.example"));
    assert_eq!(account.archive_cursor(&own).await.expect("cursor"), None);
    let mut cursor = ArchiveCursor::new(Some("a9".to_owned()), at(9));
    cursor.first = Some("a1".to_owned());
    cursor.reached_start = true;
    let empty = ArchiveCursor::new(None, at(0));
    apply(&*account, Batch::new().archive_cursor(own.clone(), cursor.clone()).archive_cursor(room.clone(), empty.clone())).await;
    assert_eq!(account.archive_cursor(&own).await.expect("cursor"), Some(cursor.clone()));
    assert_eq!(account.archive_cursor(&room).await.expect("cursor"), Some(empty));
    cursor.last = Some("a10".to_owned());
    apply(&*account, Batch::new().archive_cursor(own.clone(), cursor.clone()).remove_archive_cursor(room.clone())).await;
    assert_eq!(account.archive_cursor(&own).await.expect("cursor"), Some(cursor));
    assert_eq!(account.archive_cursor(&room).await.expect("cursor"), None);
}
