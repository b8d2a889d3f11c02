//! What came while the client was away, and what comes meanwhile.

use std::future::ready;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use xmppkit::archive::{ArchiveSettings, Archives, CatchUp, TimelineItem};
use xmppkit::client::{Client, ClientBuilder, State};
use xmppkit::event::{Durable, Incoming, Origin};
use xmppkit::messaging::{ChatMessage, Direction, Messages};
use xmppkit::store::{MemoryStore, Store};
use xmppkit::testing::{Cut, Dialect, Misbehaviour, Server, Target, Way};

use super::{ROMEO, bare, caught_up, log_of, say, settle, started, texts, with_store};
use crate::common::{builder, online, within};

fn with_pages(server: &Server, store: &Arc<MemoryStore>, size: usize) -> ClientBuilder {
    builder(server, "juliet").store(Arc::clone(store) as _).setting(ArchiveSettings::new().page_size(size))
}

/// Items of a durable subscription as they come: texts, and kinds of gaps.
async fn next(durable: &mut Durable<ChatMessage>) -> String {
    match within("an item", durable.next()).await {
        Some(Incoming::Item(item)) => {
            item.ack().await.expect("stored");
            item.body().unwrap_or_default().into_owned()
        }
        Some(Incoming::Gap(gap)) => format!("{:?}", gap.kind),
        other => panic!("{other:?}"),
    }
}

/// An account that was online once, with a durable subscription, and has been away since.
async fn away(dialect: Dialect) -> (Server, Arc<MemoryStore>) {
    let server = started(dialect).await;
    let store = Arc::new(MemoryStore::new());
    let client = with_store(&server, "juliet", &store).await;
    let mut durable = client.messages().durable("ui").await.expect("open");
    say(&server, ROMEO, client.jid().expect("bound"), "before", "");
    assert_eq!(next(&mut durable).await, "before");
    drop(durable);
    client.close().await;
    drop(client);
    within("the end of the session", server.wait_for(|s| s.sessions().is_empty())).await;
    (server, store)
}

#[tokio::test]
async fn what_came_while_away_reaches_every_subscriber_exactly_once() {
    for dialect in Dialect::ALL {
        let (server, store) = away(dialect).await;
        let juliet = bare(&server, "juliet");
        for n in 0..7 {
            say(&server, ROMEO, &juliet, &n.to_string(), "");
        }
        let client = with_pages(&server, &store, 3).build().await.expect("a client");
        let mut live = client.messages().events();
        let mut durable = client.messages().durable("ui").await.expect("open");
        client.connect().await.expect("online");
        let state = caught_up(&client).await;
        assert!(matches!(state, CatchUp::Complete | CatchUp::NoArchive), "{dialect:?}: {state:?}");
        say(&server, ROMEO, client.jid().expect("bound"), "after", "");
        for expected in ["0", "1", "2", "3", "4", "5", "6", "after"] {
            assert_eq!(next(&mut durable).await, expected, "{dialect:?}");
            assert_eq!(
                within("a message", live.next()).await.and_then(|m| m.body().map(String::from)).as_deref(),
                Some(expected)
            );
        }
        settle(&client).await;
        assert!(durable.next().now_or_never().is_none() && live.next().now_or_never().is_none(), "{dialect:?}: nothing twice");
        assert_eq!(server.offline_messages(&juliet), 0, "{dialect:?}");
        drop((durable, live));
        client.close().await;
        drop(client);

        // And the session after that has nothing to catch up with.
        let client = with_pages(&server, &store, 3).build().await.expect("a client");
        let mut durable = client.messages().durable("ui").await.expect("open");
        client.connect().await.expect("online");
        caught_up(&client).await;
        assert!(durable.next().now_or_never().is_none(), "{dialect:?}: nothing again");
        client.close().await;
    }
}

#[tokio::test]
async fn what_arrives_while_older_messages_are_fetched_waits_for_them() {
    let (server, store) = away(Dialect::Strict).await;
    let juliet = bare(&server, "juliet");
    let sender = online(&server, "romeo").await;
    for n in 0..4 {
        say(&server, ROMEO, &juliet, &n.to_string(), "");
    }
    server.misbehave(Misbehaviour::SilentArchive { after: 1 });
    let client = with_pages(&server, &store, 2).build().await.expect("a client");
    let mut live = client.messages().events();
    let mut durable = client.messages().durable("ui").await.expect("open");
    client.connect().await.expect("online");
    within("the second page", server.wait_for(|s| s.unanswered_queries() == 1)).await;
    for expected in ["0", "1"] {
        assert_eq!(next(&mut durable).await, expected);
    }
    say(&server, ROMEO, client.jid().expect("bound"), "meanwhile", "id='m'");
    // A live subscription has it at once, a durable one in its turn. Offline storage has brought the others before.
    while within("the live one", live.next()).await.is_some_and(|message| message.body().as_deref() != Some("meanwhile")) {}
    client.chat(sender.account()).send("sent meanwhile").await.expect("accepted");
    settle(&client).await;
    assert!(durable.next().now_or_never().is_none(), "it waits");
    assert!(matches!(client.archive().catch_up().next().await, Some(xmppkit::ext::Observed::Reset(CatchUp::Running))));

    assert_eq!(server.answer_archive(), 1);
    for expected in ["2", "3", "meanwhile"] {
        assert_eq!(next(&mut durable).await, expected);
    }
    assert!(matches!(caught_up(&client).await, CatchUp::Complete));
    say(&server, ROMEO, client.jid().expect("bound"), "after", "");
    assert_eq!(next(&mut durable).await, "after");
    settle(&client).await;
    assert!(durable.next().now_or_never().is_none() && live.by_ref().map(|m| m.body().map(String::from)).next().await.is_some());
    let messages = client.archive().messages().with(&bare(&server, "romeo"));
    assert_eq!(texts(messages.forwards()).await, ["before", "0", "1", "2", "3", "meanwhile", "sent meanwhile", "after"]);
    client.close().await;
    sender.close().await;
}

#[tokio::test]
async fn a_session_that_is_resumed_goes_on_with_the_fetch_it_began() {
    let (server, store) = away(Dialect::Strict).await;
    let juliet = bare(&server, "juliet");
    for n in 0..4 {
        say(&server, ROMEO, &juliet, &n.to_string(), "");
    }
    server.misbehave(Misbehaviour::SilentArchive { after: 1 });
    let client = with_pages(&server, &store, 2).build().await.expect("a client");
    let mut durable = client.messages().durable("ui").await.expect("open");
    client.connect().await.expect("online");
    within("the second page", server.wait_for(|s| s.unanswered_queries() == 1)).await;
    for _ in 0..3 {
        let mut states = client.states().skip_while(|state| ready(matches!(state, State::Online { .. })));
        assert_eq!(server.cut(&juliet, Cut::Rst), 1);
        while !matches!(within("a state", states.next()).await, Some(State::Online { resumed: true, .. })) {}
        settle(&client).await;
        assert_eq!(server.unanswered_queries(), 1, "the answer still comes, and nothing is asked for twice");
    }
    assert_eq!(server.answer_archive(), 1);
    for expected in ["0", "1", "2", "3"] {
        assert_eq!(next(&mut durable).await, expected);
    }
    assert!(matches!(caught_up(&client).await, CatchUp::Complete));
    client.close().await;
}

/// ejabberd may bring what came during a cut in another order than it came in.
#[tokio::test]
async fn what_came_during_a_cut_is_in_the_order_of_the_archive() {
    in_the_order_of_the_archive(100, &[Misbehaviour::ReorderResent]).await;
}

/// A page that cannot be empty, for the message it was asked from is in the archive, is asked for again.
#[tokio::test]
async fn an_archive_that_seems_empty_is_asked_again() {
    in_the_order_of_the_archive(100, &[Misbehaviour::ReorderResent, Misbehaviour::EmptyPages]).await;
}

/// So is one that is empty although the page before it said that there is more.
#[tokio::test]
async fn an_archive_that_seems_to_end_before_its_end_is_asked_again() {
    in_the_order_of_the_archive(2, &[Misbehaviour::ReorderResent, Misbehaviour::EmptyPages]).await;
}

/// An archive that gives ids and knows none of them is not asked for ever.
#[tokio::test]
async fn an_archive_that_never_knows_an_id_is_given_up() {
    for dialect in [Dialect::Strict, Dialect::OldEjabberd] {
        let (server, store) = away(dialect).await;
        let juliet = bare(&server, "juliet");
        (0..5).for_each(|n| say(&server, ROMEO, &juliet, &n.to_string(), ""));
        server.misbehave(Misbehaviour::ForgetArchiveIds);
        let client = with_pages(&server, &store, 2).build().await.expect("a client");
        client.connect().await.expect("online");
        let failed = within("an end", async {
            let mut states = client.archive().catch_up();
            loop {
                match states.next().await {
                    Some(
                        xmppkit::ext::Observed::Reset(CatchUp::Failed(error))
                        | xmppkit::ext::Observed::Change(CatchUp::Failed(error)),
                    ) => break error,
                    Some(_) => {}
                    None => panic!("the client is there"),
                }
            }
        });
        assert!(failed.await.to_string().contains("item-not-found"), "{dialect:?}");
        client.close().await;
    }
}

async fn in_the_order_of_the_archive(page_size: usize, misbehaviours: &[Misbehaviour]) {
    let (server, store) = away(Dialect::OldEjabberd).await;
    misbehaviours.iter().for_each(|misbehaviour| server.misbehave(misbehaviour.clone()));
    let client = with_pages(&server, &store, page_size).build().await.expect("a client");
    let mut durable = client.messages().durable("ui").await.expect("open");
    let mut live = client.messages().events();
    client.connect().await.expect("online");
    caught_up(&client).await;
    let jid = client.jid().expect("bound");
    for round in ["a", "b"] {
        let mut states = client.states().skip_while(|state| ready(matches!(state, State::Online { .. })));
        server.refuse_connections(true).await.expect("refused");
        assert_eq!(server.cut(&jid, Cut::Rst), 1);
        within("a state", states.next()).await;
        let texts = ["1", "2", "3"].map(|n| format!("{round}{n}"));
        texts.iter().for_each(|text| say(&server, ROMEO, &jid, text, ""));
        server.refuse_connections(false).await.expect("open");
        client.network_changed();
        let mut on_the_wire = Vec::new();
        while on_the_wire.len() < texts.len() {
            let message = within("a message", live.next()).await.expect("a message");
            on_the_wire.extend(message.body().map(String::from));
        }
        assert_ne!(on_the_wire, texts, "they come in another order");
        for text in &texts {
            assert_eq!(next(&mut durable).await, *text);
        }
        say(&server, ROMEO, &jid, "live", "");
        assert_eq!((next(&mut durable).await.as_str(), live.next().await.is_some()), ("live", true));
    }
    settle(&client).await;
    assert!(durable.next().now_or_never().is_none(), "nothing twice");
    client.close().await;
}

/// The same of a page of the archive: its results come in another order when the connection is cut while they come.
#[tokio::test]
async fn a_page_that_was_cut_is_in_the_order_of_the_archive() {
    let (server, store) = away(Dialect::OldEjabberd).await;
    let juliet = bare(&server, "juliet");
    let texts: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    texts.iter().for_each(|text| say(&server, ROMEO, &juliet, text, ""));
    server.misbehave(Misbehaviour::SilentArchive { after: 0 });
    let client = with_pages(&server, &store, 100).build().await.expect("a client");
    let mut durable = client.messages().durable("ui").await.expect("open");
    client.connect().await.expect("online");
    within("the query", server.wait_for(|s| s.unanswered_queries() == 1)).await;
    settle(&client).await;
    server.misbehave(Misbehaviour::ReorderResent);
    let mut states = client.states().skip_while(|state| ready(matches!(state, State::Online { .. })));
    server.cut_after(&juliet, Way::ToClient, 1_000, Cut::Rst);
    assert_eq!(server.answer_archive(), 1);
    while !matches!(within("a state", states.next()).await, Some(State::Online { resumed: true, .. })) {}
    for text in &texts {
        assert_eq!(next(&mut durable).await, *text);
    }
    assert!(matches!(caught_up(&client).await, CatchUp::Complete));
    client.close().await;
}

#[tokio::test]
async fn a_process_that_dies_while_it_catches_up_loses_nothing() {
    let (server, store) = away(Dialect::Strict).await;
    let juliet = bare(&server, "juliet");
    for n in 0..6 {
        say(&server, ROMEO, &juliet, &n.to_string(), "");
    }
    server.misbehave(Misbehaviour::SilentArchive { after: 1 });
    let (client, driver) = with_pages(&server, &store, 2).build_with_driver().await.expect("a client");
    let driver = tokio::spawn(driver);
    client.start();
    within("the second page", server.wait_for(|s| s.unanswered_queries() == 1)).await;
    let jid = server.sessions().first().expect("a session").jid.clone();
    within("the presence", server.wait_online(jid.clone())).await;
    // It has an id of the archive behind the hole; the cursor must not follow it.
    say(&server, ROMEO, &jid, "meanwhile", "");
    let mut seen = client.messages().events();
    say(&server, ROMEO, &jid, "seen", "");
    while within("the last one", seen.next()).await.is_some_and(|message| message.body().as_deref() != Some("seen")) {}
    // A store in memory keeps no session for another process.
    server.expire_sessions();
    driver.abort();
    drop((driver.await, seen, client));
    within("the end of the session", server.wait_for(|s| s.sessions().is_empty())).await;
    server.answer_archive();

    let client = with_pages(&server, &store, 2).build().await.expect("a client");
    let mut durable = client.messages().durable("ui").await.expect("open");
    client.connect().await.expect("online");
    for expected in ["0", "1", "2", "3", "4", "5", "meanwhile", "seen"] {
        assert_eq!(next(&mut durable).await, expected);
    }
    caught_up(&client).await;
    assert!(durable.next().now_or_never().is_none(), "nothing twice");
    client.close().await;
}

#[tokio::test]
async fn a_catch_up_that_fails_is_a_gap_until_a_later_one_fills_it() {
    let (server, store) = away(Dialect::Prosody).await;
    let juliet = bare(&server, "juliet");
    for n in 0..2 {
        say(&server, ROMEO, &juliet, &n.to_string(), "");
    }
    server.misbehave(Misbehaviour::RefuseArchive("internal-server-error".to_owned()));
    let client = with_pages(&server, &store, 2).build().await.expect("a client");
    let mut durable = client.messages().durable("ui").await.expect("open");
    client.connect().await.expect("online");
    let state = caught_up(&client).await;
    assert!(matches!(&state, CatchUp::Failed(error) if error.to_string().contains("internal-server-error")), "{state:?}");
    say(&server, ROMEO, client.jid().expect("bound"), "after", "");
    assert_eq!(next(&mut durable).await, "CatchUpFailed");
    assert_eq!(next(&mut durable).await, "after");
    let timeline = client.archive().messages().timeline().await.expect("read");
    let gaps = timeline.filter(|item| ready(matches!(item, Ok(TimelineItem::Gap(_))))).count().await;
    assert_eq!(gaps, 1);
    drop(durable);
    client.close().await;
    drop(client);

    server.behave();
    let client = with_pages(&server, &store, 2).build().await.expect("a client");
    let mut durable = client.messages().durable("ui").await.expect("open");
    client.connect().await.expect("online");
    assert_eq!((next(&mut durable).await, next(&mut durable).await), ("0".to_owned(), "1".to_owned()));
    assert!(matches!(caught_up(&client).await, CatchUp::Complete));
    assert_eq!(client.store().gaps().await.expect("read"), []);
    assert_eq!(log_of(&client).await, ["before", "0", "1", "after"], "each at its place");
    client.close().await;
}

#[tokio::test]
async fn where_the_archive_forgot_the_last_message_the_time_is_asked_for_and_the_hole_is_marked() {
    for expired in [true, false] {
        let (server, store) = away(Dialect::Prosody).await;
        let juliet = bare(&server, "juliet");
        if !expired {
            // The archive lost its last message that is known here, and still has one that was before.
            let account = store.open_account(&juliet).await.expect("open");
            let mut cursor = account.archive_cursor(&juliet).await.expect("read").expect("a cursor");
            cursor.last = Some("an id that is gone".to_owned());
            account.apply(xmppkit::store::Batch::new().archive_cursor(juliet.clone(), cursor)).await.expect("stored");
        }
        for n in 0..5 {
            say(&server, ROMEO, &juliet, &n.to_string(), "");
        }
        if expired {
            server.expire_archive(&juliet, 3);
        }
        let client = with_pages(&server, &store, 2).build().await.expect("a client");
        let mut durable = client.messages().durable("ui").await.expect("open");
        client.connect().await.expect("online");
        assert!(matches!(caught_up(&client).await, CatchUp::Complete));
        let wanted: &[&str] = if expired { &["Expired", "2", "3", "4"] } else { &["0", "1", "2", "3", "4"] };
        for expected in wanted {
            assert_eq!(next(&mut durable).await, *expected);
        }
        assert!(durable.next().now_or_never().is_none());
        drop(durable);
        client.close().await;
    }
}

/// Where ids are times it is always the time that is asked for, and the last message that is known must be there.
#[tokio::test]
async fn an_archive_that_lacks_its_last_message_is_believed_in_the_end() {
    let (server, store) = away(Dialect::OldEjabberd).await;
    let juliet = bare(&server, "juliet");
    for n in 0..2 {
        say(&server, ROMEO, &juliet, &n.to_string(), "");
    }
    server.expire_archive(&juliet, 3);
    let client = with_pages(&server, &store, 100).build().await.expect("a client");
    let mut durable = client.messages().durable("ui").await.expect("open");
    client.connect().await.expect("online");
    assert!(matches!(caught_up(&client).await, CatchUp::Complete));
    // It has them in its offline storage as well.
    for expected in ["Expired", "0", "1"] {
        assert_eq!(next(&mut durable).await, expected);
    }
    client.close().await;
}

#[tokio::test]
async fn without_an_archive_a_session_that_was_cut_leaves_a_gap_and_one_that_was_closed_does_not() {
    let (server, store) = away(Dialect::Openfire).await;
    let client = with_store(&server, "juliet", &store).await;
    let mut durable = client.messages().durable("ui").await.expect("open");
    assert!(durable.next().now_or_never().is_none(), "the session before was closed");
    server.forget_sessions();
    server.cut(Target::All, Cut::Rst);
    assert_eq!(next(&mut durable).await, "NoArchive");
    let jid = within("the next session", async {
        client.archive().catch_up().wait_for(|state| matches!(state, CatchUp::NoArchive)).await.expect("a client");
        server.wait_online(client.account()).await;
        client.jid().expect("bound")
    })
    .await;
    say(&server, ROMEO, jid, "after", "");
    assert_eq!(next(&mut durable).await, "after");
    client.close().await;
}

#[tokio::test]
async fn the_first_session_of_all_takes_the_newest_page_as_history() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.differences().archive) {
        let server = started(dialect).await;
        let other = with_store(&server, "juliet", &Arc::default()).await;
        for n in 0..5 {
            say(&server, ROMEO, other.jid().expect("bound"), &n.to_string(), "");
        }
        settle(&other).await;
        let store = Arc::new(MemoryStore::new());
        let build = || builder(&server, "juliet").store(Arc::clone(&store) as _).setting(ArchiveSettings::new().first_page(2));
        let client = build().build().await.expect("a client");
        let mut live = client.messages().events();
        let mut durable = client.messages().durable("ui").await.expect("open");
        client.connect().await.expect("online");
        assert!(matches!(caught_up(&client).await, CatchUp::Complete));
        assert_eq!(log_of(&client).await, ["3", "4"], "{dialect:?}");
        assert!(live.next().now_or_never().is_none() && durable.next().now_or_never().is_none(), "{dialect:?}: no events");
        drop((live, durable));
        client.close().await;
        drop(client);
        say(&server, ROMEO, other.account(), "5", "");
        settle(&other).await;

        let client = build().build().await.expect("a client");
        let mut durable = client.messages().durable("ui").await.expect("open");
        client.connect().await.expect("online");
        assert_eq!(next(&mut durable).await, "5", "{dialect:?}");
        assert_eq!(log_of(&client).await, ["3", "4", "5"], "{dialect:?}");
        client.close().await;
        other.close().await;
    }
}

#[tokio::test]
async fn history_goes_on_backwards_where_it_ended_the_last_time() {
    let server = started(Dialect::Strict).await;
    let other = with_store(&server, "juliet", &Arc::default()).await;
    for n in 0..9 {
        say(&server, ROMEO, other.jid().expect("bound"), &n.to_string(), "");
    }
    settle(&other).await;
    let store = Arc::new(MemoryStore::new());
    let settings = ArchiveSettings::new().first_page(2).page_size(2);
    let build = || builder(&server, "juliet").store(Arc::clone(&store) as _).setting(settings.clone());
    for (taken, wanted) in [(2, &["6", "5"][..]), (3, &["4", "3", "2"]), (9, &["0"]), (9, &[])] {
        let client = build().build().await.expect("a client");
        client.connect().await.expect("online");
        caught_up(&client).await;
        // The third page is fetched whole, and only half of it looked at.
        assert_eq!(texts(client.archive().server().older().take(taken)).await, wanted);
        client.close().await;
    }
    let client = build().build().await.expect("a client");
    let all: Vec<_> = (0..9).map(|n| n.to_string()).collect();
    assert_eq!(log_of(&client).await, all);
    other.close().await;
}

#[tokio::test]
async fn a_first_session_gets_what_waited_in_offline_storage_as_events() {
    for dialect in Dialect::ALL {
        let server = started(dialect).await;
        say(&server, ROMEO, bare(&server, "juliet"), "waiting", "");
        let client = builder(&server, "juliet").build().await.expect("a client");
        let mut live = client.messages().events();
        client.connect().await.expect("online");
        let message = within("the message", live.next()).await.expect("a message");
        assert_eq!((message.body().as_deref(), message.origin()), (Some("waiting"), Origin::Offline), "{dialect:?}");
        caught_up(&client).await;
        assert!(live.next().now_or_never().is_none(), "{dialect:?}");
        assert_eq!(log_of(&client).await, ["waiting"], "{dialect:?}");
        client.close().await;
    }
}

/// Where history ends is not known yet when the first session is cut: what came in it is no history.
#[tokio::test]
async fn what_comes_in_a_first_session_that_is_cut_at_once_is_no_history() {
    for new_process in [false, true] {
        // Where the archive is the only place that has it.
        let without_management = crate::common::server().differences(|differences| differences.management.versions.clear());
        let server = without_management.start().await.expect("a server");
        let juliet = bare(&server, "juliet");
        server.misbehave(Misbehaviour::SilentArchive { after: 0 });
        let store = Arc::new(MemoryStore::new());
        let build = || async { builder(&server, "juliet").store(Arc::clone(&store) as _).build_with_driver().await };
        let (first, driver) = build().await.expect("a client");
        let driver = tokio::spawn(driver);
        let durable = first.messages().durable("ui").await.expect("open");
        first.connect().await.expect("online");
        within("the query", server.wait_for(|s| s.unanswered_queries() == 1)).await;
        server.stall(&juliet, Way::ToClient);
        say(&server, ROMEO, first.jid().expect("bound"), "in the first session", "");
        let (client, mut durable, driver) = if new_process {
            driver.abort();
            drop((durable, first, driver.await));
            server.restart().await.expect("there again");
            server.answer_archive();
            let (client, driver) = build().await.expect("a client");
            let durable = client.messages().durable("ui").await.expect("open");
            client.start();
            (client, durable, tokio::spawn(driver))
        } else {
            server.restart().await.expect("there again");
            server.answer_archive();
            (first, durable, driver)
        };
        assert_eq!(next(&mut durable).await, "in the first session", "{new_process}");
        caught_up(&client).await;
        client.close().await;
        driver.abort();
    }
}

#[tokio::test]
async fn what_another_client_sent_while_away_comes_and_what_was_sent_here_does_not_come_again() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.differences().archive) {
        let (server, store) = away(dialect).await;
        let romeo = online(&server, "romeo").await;
        let client = with_store(&server, "juliet", &store).await;
        client.chat(romeo.account()).send("from here").await.expect("accepted");
        settle(&client).await;
        client.close().await;
        drop(client);
        let desk = online(&server, "juliet").await;
        desk.chat(romeo.account()).send("from the desk").await.expect("accepted");
        settle(&desk).await;

        let client = with_pages(&server, &store, 2).build().await.expect("a client");
        let mut durable = client.messages().durable("ui").await.expect("open");
        let mut live = client.messages().events();
        client.connect().await.expect("online");
        caught_up(&client).await;
        let message = within("a message", live.next()).await.expect("a message");
        assert_eq!((message.body().as_deref(), message.direction()), (Some("from the desk"), Direction::Outgoing));
        assert_eq!(next(&mut durable).await, "from the desk", "{dialect:?}");
        assert!(durable.next().now_or_never().is_none() && live.next().now_or_never().is_none(), "{dialect:?}");
        assert_eq!(log_of(&client).await, ["before", "from here", "from the desk"], "{dialect:?}");
        client.close().await;
        desk.close().await;
        romeo.close().await;
    }
}

/// What a client's session asked for, in its order.
fn asked(server: &Server, client: &Client) -> Vec<&'static str> {
    let jid = client.jid().expect("bound");
    let received = server.received(jid);
    let names = [
        ("disco#info", "disco"),
        ("<enable", "carbons"),
        ("urn:xmpp:mam:2", "archive"),
        ("jabber:iq:roster", "roster"),
        ("<presence", "presence"),
    ];
    received.iter().filter_map(|xml| names.iter().find(|(part, _)| xml.contains(part)).map(|(_, name)| *name)).collect()
}

#[tokio::test]
async fn a_later_login_asks_in_one_flight_for_carbons_archive_and_roster_and_sends_presence() {
    let (server, store) = away(Dialect::Strict).await;
    let client = with_store(&server, "juliet", &store).await;
    let asked_for = asked(&server, &client);
    assert_eq!(asked_for[..4], ["carbons", "roster", "archive", "presence"], "{asked_for:?}");
    assert!(asked_for[4..].contains(&"disco"), "what was remembered is looked at again: {asked_for:?}");
    client.close().await;
}

#[tokio::test]
async fn switched_off_nothing_is_asked_for() {
    let (server, store) = away(Dialect::Strict).await;
    let client = with_pages(&server, &store, 2).setting(ArchiveSettings::new().catch_up(false));
    // The setting given last counts.
    let client = client.build().await.expect("a client");
    client.connect().await.expect("online");
    assert!(matches!(caught_up(&client).await, CatchUp::Off));
    assert!(!asked(&server, &client).contains(&"archive"));
    client.close().await;
    assert!(store.accounts().await.expect("read").len() == 1);
}

#[tokio::test]
async fn live_ids_move_the_cursor_only_where_nothing_can_have_gone_by_unseen() {
    use xmppkit::xep::carbons::{CarbonCopies, CarbonSettings};
    for carbons in [true, false] {
        let (server, store) = away(Dialect::Strict).await;
        let client = builder(&server, "juliet").store(Arc::clone(&store) as _).setting(CarbonSettings::new().enable(carbons));
        let client = client.build().await.expect("a client");
        client.connect().await.expect("online");
        caught_up(&client).await;
        assert_eq!(client.carbons().is_enabled(), carbons);
        say(&server, ROMEO, client.jid().expect("bound"), "live", "");
        settle(&client).await;
        let juliet = client.account();
        let cursor = client.store().archive_cursor(juliet).await.expect("read").expect("a cursor");
        let ids: Vec<_> = server.archived(juliet).into_iter().map(|(id, _)| id).collect();
        assert_eq!(cursor.last.as_ref(), Some(&ids[if carbons { 1 } else { 0 }]));
        client.close().await;
    }
}
