//! The contract of a [`Store`] as tests (feature `testing`).
//!
//! [`store_conformance!`](crate::store_conformance) expands to one `#[test]` per case. It takes an expression that makes
//! *fresh, empty storage* and evaluates to a function that *opens* that storage; a case calls the function again where it
//! wants to see what outlived the store's value (only for stores that say they are
//! [persistent](Store::persistent)). Each case runs on a current-thread tokio runtime.
//!
//! ```
//! mod memory {
//!     xmppkit::store_conformance!({
//!         let store = xmppkit::store::MemoryStore::new();
//!         move || std::future::ready(store.clone())
//!     });
//! }
//! ```
//!
//! A store with settings for how much it keeps should also be run with small ones (a few hundred messages): what leaves a
//! log before a durable subscription read it is only then seen.
//!
//! A persistent store also has to keep its promise when its process is killed:
//! [`store_crash_conformance!`](crate::store_crash_conformance).

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use jid::{BareJid, Jid};

use super::{
    AccountStore, Appended, Applied, Batch, Direction, FeedItem, LoggedMessage, MessageRecord, NewMessage, Origin, Position,
    Store,
};
use crate::error::{ErrorKind, Result};

#[doc(hidden)]
pub mod cases;
pub mod crash;
mod feed;
mod identity;
mod log;
mod rows;
mod sending;
mod whole;

#[cfg(test)]
mod tests;

/// One fresh storage, as a case sees it.
pub struct Setup {
    open: Box<dyn Fn() -> LocalBoxFuture<'static, Arc<dyn Store>>>,
}

impl Setup {
    /// Storage that this function opens.
    pub fn new<O, F, S>(open: O) -> Self
    where
        O: Fn() -> F + 'static,
        F: Future<Output = S> + 'static,
        S: Store + 'static,
    {
        Self { open: Box::new(move || open().map(|store| Arc::new(store) as Arc<dyn Store>).boxed_local()) }
    }

    /// Opens the storage.
    async fn store(&self) -> Arc<dyn Store> {
        (self.open)().await
    }

    /// Opens the storage, and in it the account that most cases use.
    async fn account(&self) -> Arc<dyn AccountStore> {
        open(&*self.store().await).await
    }
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").finish_non_exhaustive()
    }
}

/// One case of the suite.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// What it asserts.
    pub name: &'static str,
    body: for<'a> fn(&'a Setup) -> LocalBoxFuture<'a, ()>,
}

impl Case {
    #[doc(hidden)]
    pub const fn new(name: &'static str, body: for<'a> fn(&'a Setup) -> LocalBoxFuture<'a, ()>) -> Self {
        Self { name, body }
    }

    /// Runs it; it panics where the store does not keep the contract.
    ///
    /// # Panics
    ///
    /// Where the store does not keep the contract, or there is a tokio runtime on this thread already.
    pub fn run(&self, setup: &Setup) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on((self.body)(setup));
    }
}

/// Expands to one `#[test]` for each clause of the [`Store`](crate::store::Store) contract; see
/// [`store::conformance`](crate::store::conformance).
#[macro_export]
macro_rules! store_conformance {
    (@list $($then:tt)*) => {
        $crate::store_conformance! { @then $($then)* [
            // Accounts
            an_account_is_open_once
            accounts_are_apart
            an_account_can_be_deleted
            the_version_is_one_this_library_knows
            everything_is_there_after_reopening
            // Batches
            a_batch_is_made_wholly_or_not_at_all
            an_unknown_change_is_refused
            batches_are_made_in_the_order_of_the_calls
            a_dropped_batch_is_made_wholly_or_not_at_all
            changes_of_one_batch_are_made_in_order
            // The log
            a_message_keeps_every_field
            times_keep_their_microseconds
            log_ids_and_positions_rise_and_are_not_used_again
            marks_are_set_and_cleared
            content_is_replaced
            pages_follow_the_timeline
            a_page_continues_from_a_message_that_is_gone
            a_new_message_is_the_last_of_its_conversation
            a_query_takes_what_matches
            text_is_found_anywhere_in_a_word_in_any_case
            messages_are_found_by_id_in_their_conversation
            conversations_come_with_their_newest_message
            // Identity
            an_exact_key_proves_a_duplicate
            another_sender_or_content_is_another_message
            a_duplicate_adds_what_was_missing
            keys_learnt_from_a_duplicate_count
            the_first_key_that_is_known_decides
            two_copies_in_one_batch_are_one_message
            similar_is_the_same_only_between_live_and_archive
            similar_is_the_same_only_within_two_minutes
            similar_messages_take_one_copy_each
            a_removed_message_does_not_come_back
            rows_for_a_new_message_are_not_written_for_a_duplicate
            // The feed and its cursors
            the_feed_gives_what_is_delivered_in_order
            held_messages_wait_for_their_release
            a_duplicate_raises_the_feed_and_never_lowers_it
            a_gap_stands_in_the_feed_until_it_is_filled
            removing_is_no_loss
            pruning_before_reading_is_a_loss
            what_leaves_the_log_unread_is_reported
            a_cursor_never_moves_back
            a_cursor_is_bounded
            an_archive_cursor_is_kept_for_each_archive
            // Sending
            the_outbox_keeps_its_order
            a_settled_message_keeps_its_record
            each_field_of_a_record_is_set_once
            an_id_is_sent_once
            a_full_outbox_refuses
            a_logged_message_shows_what_became_of_it
            // Session, roster, capabilities, credentials
            the_session_keeps_its_count
            a_session_takes_its_rows_and_numbers_with_it
            numbers_are_forgotten_and_nothing_else
            the_roster_keeps_its_version
            capabilities_are_kept_by_key
            credentials_are_kept_by_name
            // Rows of extensions
            namespaces_are_apart
            rows_are_sorted_and_paged
            any_key_and_any_bytes_are_kept
            rows_are_deleted_by_prefix
            a_schema_version_goes_with_its_rows
            rows_migrate_whole
        ] }
    };
    (@then tests ($make:expr) [$($name:ident)*]) => {
        $(
            #[test]
            fn $name() {
                $crate::store::conformance::cases::$name.run(&$crate::store::conformance::Setup::new($make));
            }
        )*
    };
    (@then constants [$($name:ident)*]) => {
        $(
            #[allow(non_upper_case_globals)]
            pub const $name: Case = Case::new(stringify!($name), |setup| Box::pin(bodies::$name(setup)));
        )*
        /// Every case.
        pub const ALL: &[Case] = &[$($name),*];
    };
    ($make:expr $(,)?) => { $crate::store_conformance! { @list tests ($make) } };
}

/// Opens the account that most cases use.
async fn open(store: &dyn Store) -> Arc<dyn AccountStore> {
    store.open_account(&bare("juliet@capulet.example")).await.expect("the account opens")
}

/// Applies a batch that must succeed.
async fn apply(account: &dyn AccountStore, batch: Batch) -> Applied {
    account.apply(batch).await.expect("the batch is made")
}

/// Appends one message, and says what became of it.
async fn append(account: &dyn AccountStore, message: NewMessage) -> Appended {
    let applied = apply(account, Batch::new().append(message)).await;
    assert_eq!(applied.appended.len(), 1, "one append gives one answer");
    applied.appended[0]
}

fn assert_fails<T: std::fmt::Debug>(result: Result<T>, kind: &ErrorKind) {
    assert_eq!(result.expect_err("this must fail").kind(), kind);
}

/// A time, in seconds from an arbitrary one.
fn at(seconds: i64) -> SystemTime {
    let base = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let offset = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { base - offset } else { base + offset }
}

fn bare(jid: &str) -> BareJid {
    jid.parse().expect("a bare JID")
}

fn jid(jid: &str) -> Jid {
    jid.parse().expect("a JID")
}

/// A readable incoming message of Romeo's, recognised by its text.
fn record(text: &str, seconds: i64) -> MessageRecord {
    record_in("romeo@montague.example", text, seconds)
}

fn record_in(conversation: &str, text: &str, seconds: i64) -> MessageRecord {
    let xml = format!("<message xmlns='jabber:client'><body>{text}</body></message>");
    let mut record = MessageRecord::new(jid(conversation), Direction::Incoming, xml, at(seconds));
    record.text = Some(text.into());
    record
}

fn live(text: &str, seconds: i64) -> NewMessage {
    NewMessage::new(record(text, seconds), Origin::Live)
}

fn texts(messages: &[LoggedMessage]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_deref().unwrap_or("-")).collect()
}

/// The texts of the feed's messages, `gap` for a gap and `lost` for a loss.
async fn feed_texts(account: &dyn AccountStore, after: Position) -> Vec<String> {
    let items = account.feed(after, 1_000).await.expect("the feed is read");
    let positions: Vec<_> = items.iter().map(FeedItem::position).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "the feed is in the order of its positions: {positions:?}");
    assert!(positions.iter().all(|position| *position > after), "the feed is read behind {after:?}: {positions:?}");
    let text = |item: &FeedItem| match item {
        FeedItem::Message(message) => message.text.as_deref().unwrap_or_default().to_owned(),
        FeedItem::Gap { .. } => "gap".into(),
        FeedItem::Lost { .. } => "lost".to_owned(),
    };
    items.iter().map(text).collect()
}
