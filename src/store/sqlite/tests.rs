//! What is particular to the store in a file. The contract is tested by the conformance suite.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::error::ErrorKind;
use crate::store::{Applied, Batch, Direction, MessageRecord, NewMessage, Origin};

mod files;
mod folder;
mod migration;
mod plans;
mod searching;
mod threads;

use self::folder::Folder;

mod conformance {
    crate::store_conformance!({
        let folder = std::rc::Rc::new(super::Folder::new());
        move || {
            let folder = folder.clone();
            async move { crate::store::SqliteStore::open(folder.file()).await.expect("the file opens") }
        }
    });
}

mod crash {
    crate::store_crash_conformance!(|folder: &std::path::Path| {
        let path = folder.join("chat.db");
        async move { crate::store::SqliteStore::open(path).await.expect("the file opens") }
    });
}

fn juliet() -> BareJid {
    "juliet@capulet.example".parse().expect("a JID")
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn message(conversation: &str, text: &str, seconds: u64) -> NewMessage {
    let conversation: jid::Jid = conversation.parse().expect("a JID");
    let mut record = MessageRecord::new(conversation, Direction::Incoming, "<message xmlns='jabber:client'/>", at(seconds));
    record.text = Some(text.into());
    NewMessage::new(record, Origin::Live)
}

async fn open(folder: &Folder) -> SqliteStore {
    SqliteStore::open(folder.file()).await.expect("the file opens")
}

async fn account(store: &SqliteStore) -> Arc<dyn AccountStore> {
    store.open_account(&juliet()).await.expect("the account opens")
}

async fn apply(account: &dyn AccountStore, batch: Batch) -> Applied {
    account.apply(batch).await.expect("the batch is made")
}

/// A connection of the test's own.
fn raw(folder: &Folder) -> Connection {
    connection(&folder.file()).expect("the file opens")
}

/// The same numbers at each run.
fn random() -> impl FnMut(usize) -> usize {
    let mut seed = 0x5EED_u64;
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    }
}
