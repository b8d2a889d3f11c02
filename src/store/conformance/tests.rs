//! The suite on the memory store, and broken stores that the suite must refuse.

use std::collections::BTreeSet;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::broken::{BrokenStore, Fault};
use super::{Case, Setup, cases};
use crate::store::MemoryStore;

mod broken;

mod memory {
    crate::store_conformance!({
        let store = crate::store::MemoryStore::new();
        move || std::future::ready(store.clone())
    });
}

mod small_memory {
    crate::store_conformance!({
        let store = crate::store::MemoryStore::new().max_messages(60).max_outbox(100, 1 << 20);
        move || std::future::ready(store.clone())
    });
}

mod tight_memory {
    crate::store_conformance!({
        let store = crate::store::MemoryStore::new().max_bytes(60 * 1_024).max_outbox(20, 1 << 20);
        move || std::future::ready(store.clone())
    });
}

/// Each way to be broken, and the case that must not pass with it.
const FAULTS: &[(Fault, Case)] = {
    use Fault::*;
    use cases::*;
    &[
        (SharesAnOpenAccount, an_account_is_open_once),
        (NeverReleases, an_account_is_open_once),
        (OneAccountForAll, accounts_are_apart),
        (DeletesNothing, an_account_can_be_deleted),
        (DeletesWhatIsOpen, an_account_can_be_deleted),
        (ClaimsAnotherVersion, the_version_is_one_this_library_knows),
        (ForgetsOnClosing, everything_is_there_after_reopening),
        (ForgetsOnClosing, log_ids_and_positions_rise_and_are_not_used_again),
        (ChangeByChange, a_batch_is_made_wholly_or_not_at_all),
        (ChangeByChange, an_unknown_change_is_refused),
        (ChangeByChange, an_id_is_sent_once),
        (ChangeByChange, a_cursor_is_bounded),
        (ChangeByChange, a_full_outbox_refuses),
        (ChangeByChange, a_schema_version_goes_with_its_rows),
        (SkipsTheUnknown, an_unknown_change_is_refused),
        (CallsItAnotherError, an_unknown_change_is_refused),
        (MadeWhenPolled, batches_are_made_in_the_order_of_the_calls),
        (HalfMadeWhenDropped, a_dropped_batch_is_made_wholly_or_not_at_all),
        (MadeBackwards, changes_of_one_batch_are_made_in_order),
        (DropsField(0), a_message_keeps_every_field),
        (DropsField(1), a_message_keeps_every_field),
        (DropsField(2), a_message_keeps_every_field),
        (DropsField(3), a_message_keeps_every_field),
        (DropsField(4), a_message_keeps_every_field),
        (DropsField(5), a_message_keeps_every_field),
        (DropsField(6), a_message_keeps_every_field),
        (DropsField(7), a_message_keeps_every_field),
        (DropsField(8), a_message_keeps_every_field),
        (WholeSeconds, times_keep_their_microseconds),
        (UsesIdsAgain, log_ids_and_positions_rise_and_are_not_used_again),
        (NeverMarks, marks_are_set_and_cleared),
        (ClearsAllMarks, marks_are_set_and_cleared),
        (KeepsContent, content_is_replaced),
        (KeepsText, content_is_replaced),
        (OrdersByArrival, pages_follow_the_timeline),
        (NewestFirst, pages_follow_the_timeline),
        (PageOverlaps, pages_follow_the_timeline),
        (AlwaysMore, pages_follow_the_timeline),
        (NeverMore, pages_follow_the_timeline),
        (PageNeedsItsMessage, a_page_continues_from_a_message_that_is_gone),
        (OrdersByStamp, a_new_message_is_the_last_of_its_conversation),
        (IgnoresFilter(0), a_query_takes_what_matches),
        (IgnoresFilter(1), a_query_takes_what_matches),
        (IgnoresFilter(2), a_query_takes_what_matches),
        (IgnoresFilter(3), a_query_takes_what_matches),
        (IgnoresFilter(4), a_query_takes_what_matches),
        (IgnoresFilter(5), a_query_takes_what_matches),
        (IgnoresFilter(6), a_query_takes_what_matches),
        (IgnoresFilter(7), a_query_takes_what_matches),
        (FiltersThePage, a_query_takes_what_matches),
        (FindsWholeWords, text_is_found_anywhere_in_a_word_in_any_case),
        (CaseMatters, text_is_found_anywhere_in_a_word_in_any_case),
        (FindsPhrases, text_is_found_anywhere_in_a_word_in_any_case),
        (WordsArePatterns, text_is_found_anywhere_in_a_word_in_any_case),
        (FindsIdsAnywhere, messages_are_found_by_id_in_their_conversation),
        (FindsOneKindOfId, messages_are_found_by_id_in_their_conversation),
        (ListsReceipts, conversations_come_with_their_newest_message),
        (ListsByName, conversations_come_with_their_newest_message),
        (NeverUnread, conversations_come_with_their_newest_message),
        (NoDuplicates, an_exact_key_proves_a_duplicate),
        (OneKeyForAll, another_sender_or_content_is_another_message),
        (CopyAddsNothing, a_duplicate_adds_what_was_missing),
        (CopyReplaces, a_duplicate_adds_what_was_missing),
        (OnlyFirstKey, keys_learnt_from_a_duplicate_count),
        (CopyTeachesNoKey, keys_learnt_from_a_duplicate_count),
        (LastKeyDecides, the_first_key_that_is_known_decides),
        (BatchIsBlindToItself, two_copies_in_one_batch_are_one_message),
        (SimilarIsEnough, similar_is_the_same_only_between_live_and_archive),
        (SimilarIsEnough, similar_is_the_same_only_within_two_minutes),
        (SimilarIsEnough, similar_messages_take_one_copy_each),
        (SimilarIsNothing, similar_is_the_same_only_between_live_and_archive),
        (RemovedComesBack, a_removed_message_does_not_come_back),
        (CountsCopies, rows_for_a_new_message_are_not_written_for_a_duplicate),
        (FeedsHistory, the_feed_gives_what_is_delivered_in_order),
        (FeedIgnoresItsStart, the_feed_gives_what_is_delivered_in_order),
        (FeedIgnoresItsLimit, the_feed_gives_what_is_delivered_in_order),
        (FeedBackwards, the_feed_gives_what_is_delivered_in_order),
        (HoldsNothing, held_messages_wait_for_their_release),
        (ReleasesAll, held_messages_wait_for_their_release),
        (ReleasesNothing, held_messages_wait_for_their_release),
        (NeverRaises, a_duplicate_raises_the_feed_and_never_lowers_it),
        (LowersTheFeed, a_duplicate_raises_the_feed_and_never_lowers_it),
        (NotesNoGap, a_gap_stands_in_the_feed_until_it_is_filled),
        (FillsNoGap, a_gap_stands_in_the_feed_until_it_is_filled),
        (RemovalIsALoss, removing_is_no_loss),
        (LosesInSilence, pruning_before_reading_is_a_loss),
        (LosesInSilence, what_leaves_the_log_unread_is_reported),
        (PrunesHeld, pruning_before_reading_is_a_loss),
        (PrunesNothing, pruning_before_reading_is_a_loss),
        (CursorMovesBack, a_cursor_never_moves_back),
        (CursorForgetsAbove, a_cursor_never_moves_back),
        (CursorOverflows, a_cursor_is_bounded),
        (OneArchive, an_archive_cursor_is_kept_for_each_archive),
        (OutboxBackwards, the_outbox_keeps_its_order),
        (ForgetsTheNumber, the_outbox_keeps_its_order),
        (NeverSettles, a_settled_message_keeps_its_record),
        (SettledIsForgotten, a_settled_message_keeps_its_record),
        (LastRecordWins, each_field_of_a_record_is_set_once),
        (SendsAnIdTwice, an_id_is_sent_once),
        (DropsWhenFull, a_full_outbox_refuses),
        (HidesTheRecord, a_logged_message_shows_what_became_of_it),
        (CountsNothing, the_session_keeps_its_count),
        (ForgetsWhatIsAbove, the_session_keeps_its_count),
        (SessionRowsStay, a_session_takes_its_rows_and_numbers_with_it),
        (NumbersStay, a_session_takes_its_rows_and_numbers_with_it),
        (NumbersStay, numbers_are_forgotten_and_nothing_else),
        (RosterOnlyGrows, the_roster_keeps_its_version),
        (RosterVersionStays, the_roster_keeps_its_version),
        (CapsIgnoreCase, capabilities_are_kept_by_key),
        (PrefixIsIgnored, credentials_are_kept_by_name),
        (NamespacesIgnoreCase, namespaces_are_apart),
        (RowsBackwards, rows_are_sorted_and_paged),
        (RowsIgnoreTheirLimit, rows_are_sorted_and_paged),
        (PrefixIsAPattern, rows_are_sorted_and_paged),
        (KeepsOnlyText, any_key_and_any_bytes_are_kept),
        (TrimsKeys, any_key_and_any_bytes_are_kept),
        (DeletesOneRow, rows_are_deleted_by_prefix),
        (DeletesTheSchema, rows_are_deleted_by_prefix),
        (SchemaAtOnce, a_schema_version_goes_with_its_rows),
        (ShortPages, rows_migrate_whole),
    ]
};

fn setup(fault: Option<Fault>) -> Setup {
    let memory = MemoryStore::new().max_messages(60).max_outbox(100, 1 << 20);
    let store = BrokenStore::new(memory, fault);
    Setup::new(move || ready(store.reopen()))
}

fn passes(case: &Case, fault: Option<Fault>) -> bool {
    catch_unwind(AssertUnwindSafe(|| case.run(&setup(fault)))).is_ok()
}

#[test]
fn what_breaks_a_store_without_breaking_it_passes() {
    for case in cases::ALL {
        assert!(passes(case, None), "{}", case.name);
    }
}

#[test]
fn a_broken_store_is_refused() {
    let missed: Vec<_> = FAULTS.iter().filter(|(fault, case)| passes(case, Some(*fault))).collect();
    assert!(missed.is_empty(), "these passed: {missed:#?}");
}

#[test]
fn each_case_refuses_something() {
    let refusing: BTreeSet<_> = FAULTS.iter().map(|(_, case)| case.name).collect();
    let hollow: Vec<_> = cases::ALL.iter().map(|case| case.name).filter(|name| !refusing.contains(name)).collect();
    assert_eq!(hollow, [""; 0]);
}

#[test]
fn a_store_that_says_applied_too_early_is_refused_when_its_process_is_killed() {
    let name = concat!(module_path!(), "::a_store_that_says_applied_too_early_is_refused_when_its_process_is_killed");
    let forgets = |_: &std::path::Path| ready(BrokenStore::new(MemoryStore::new(), None));
    assert!(catch_unwind(|| super::crash::run(name, forgets)).is_err());
}
