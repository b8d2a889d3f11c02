//! Who waits for whom, and what is committed together.

use std::sync::mpsc;

use super::*;
use crate::store::{IdentityKey, OutboxEntry};

/// Keeps the writing thread busy until the sender is dropped.
fn busy(store: &SqliteStore) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel::<()>();
    drop(store.threads.write(move |_| {
        let _ = receiver.recv();
        Ok(())
    }));
    sender
}

fn wal_pages(folder: &Folder) -> u64 {
    let wal = folder.path().join("chat.db-wal");
    // A header, then pages with one each.
    std::fs::metadata(wal).expect("the log").len() / (4_096 + 24)
}

#[tokio::test]
async fn batches_that_wait_are_committed_together() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    apply(&*account, Batch::new().put("urn:example", "row", "0")).await;
    let before = wal_pages(&folder);
    let working = busy(&store);
    let waiting: Vec<_> = (0..200).map(|n| account.apply(Batch::new().put("urn:example", "row", n.to_string()))).collect();
    drop(working);
    for one in waiting {
        one.await.expect("the batch is made");
    }
    // Each commit of its own would have written a page at least.
    let written = wal_pages(&folder) - before;
    assert!(written < 20, "{written} pages");
}

#[tokio::test]
async fn a_batch_that_fails_among_others_fails_alone() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    let working = busy(&store);
    let send = |id: &str| Batch::new().send(OutboxEntry::new(id, None, "<message xmlns='jabber:client'/>", at(0)));
    let row = |n: u32| Batch::new().put("urn:example", n.to_string(), "").append(message("romeo@montague.example", "x", 0));
    let waiting = [
        account.apply(row(1).and(send("m1"))),
        account.apply(row(2).and(send("m1"))),
        account.apply(row(3).and(send("m2"))),
        account.apply([crate::store::Change::Unknown].into_iter().collect()),
        account.apply(row(4)),
    ];
    drop(working);
    let mut made = Vec::new();
    for one in waiting {
        made.push(one.await.map(|applied| applied.head.get()).map_err(|error| error.kind().clone()));
    }
    let refused = Err(ErrorKind::DuplicateId("m1".to_owned()));
    assert_eq!(made, [Ok(1), refused, Ok(2), Err(ErrorKind::StoreTooOld), Ok(3)]);
    let rows = account.extension_rows("urn:example", "", None, 10).await.expect("rows");
    assert_eq!(rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["1", "3", "4"]);
    assert_eq!(account.outbox(0, 10).await.expect("the outbox").len(), 2);
}

#[tokio::test]
async fn reading_does_not_wait_for_writing() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    apply(&*account, Batch::new().put("urn:example", "row", "old")).await;
    let working = busy(&store);
    let waiting = account.apply(Batch::new().put("urn:example", "row", "new"));
    let read = account.extension_row("urn:example", "row").await.expect("row");
    assert_eq!(read.as_deref(), Some(&b"old"[..]));
    drop(working);
    waiting.await.expect("the batch is made");
    let read = account.extension_row("urn:example", "row").await.expect("row");
    assert_eq!(read.as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn what_was_given_to_the_store_is_written_although_everybody_has_left() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account_of = async |store: &SqliteStore| account(store).await;
    let account = account_of(&store).await;
    let working = busy(&store);
    drop(account.apply(Batch::new().put("urn:example", "row", "value")));
    // The account is not free before its last batch is written.
    drop(account);
    let other = open(&folder).await;
    let error = other.open_account(&juliet()).await.expect_err("it is still being written");
    assert_eq!(error.kind(), &ErrorKind::StoreInUse);
    drop(working);
    // Behind it in the same queue.
    let account = account_of(&store).await;
    assert!(account.extension_row("urn:example", "row").await.expect("row").is_some());
}

#[tokio::test]
async fn the_threads_end_with_the_last_handle() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    drop(store.clone());
    drop(store);
    apply(&*account, Batch::new().put("urn:example", "row", "value")).await;
    assert!(folder.path().join("chat.db-wal").exists());
    drop(account);
    folder.closed();
}

#[tokio::test]
async fn several_stores_write_to_one_file_at_once() {
    let folder = Folder::new();
    let names = ["juliet@capulet.example", "romeo@montague.example", "nurse@capulet.example"];
    let write = async |name: &str| {
        let store = open(&folder).await;
        let account = store.open_account(&name.parse().expect("a JID")).await.expect("the account opens");
        for n in 0..100 {
            let message = message("paris@verona.example", &format!("{name} {n}"), n);
            let applied = apply(&*account, Batch::new().append(message.key(IdentityKey::own(&n.to_string())))).await;
            assert_eq!((applied.head.get(), applied.appended[0].duplicate), (n + 1, false));
        }
        (store, account)
    };
    let open = futures::join!(write(names[0]), write(names[1]), write(names[2]));
    for (name, (_, account)) in names.iter().zip([&open.0, &open.1, &open.2]) {
        let found = account.messages(&crate::store::MessageQuery::new().limit(500)).await.expect("a page").messages;
        let texts: Vec<_> = found.iter().map(|message| message.text.clone().expect("text")).collect();
        assert_eq!(texts, (0..100).map(|n| format!("{name} {n}")).collect::<Vec<_>>());
    }
}
