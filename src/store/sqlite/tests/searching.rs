//! The index finds what `MessageQuery::matches` takes, and nothing else.

use super::super::page::{Asked, Source};
use super::super::search;
use super::*;
use crate::store::MessageQuery;

/// Pieces of which texts and words are made: what is hard for tokenizers, for SQL, and for lower case.
const PIECES: &[&str] = &[
    "a",
    "b",
    "A",
    "ab",
    "light",
    "ß",
    "ẞ",
    "SS",
    "ı",
    "I",
    "İ",
    "i\u{307}",
    "Σ",
    "σ",
    "ς",
    "ΑΣ",
    "Ǆ",
    "花",
    "园",
    "花园",
    "今晚",
    "見",
    "한글",
    "ひ",
    "🌹",
    "👩‍🚀",
    "e\u{301}",
    "é",
    "\u{301}",
    "\"",
    "'",
    "*",
    "^",
    "(",
    ")",
    "AND",
    "OR",
    "NOT",
    "NEAR",
    ":",
    "-",
    "+",
    "%",
    "_",
    "\\",
    "{",
    "0",
    "00",
    "0000",
    "z",
    "\u{10FFFF}",
    "\u{FFFD}",
    "\u{200B}",
];

const SPACES: &[&str] = &[" ", "\n", "\t", "\u{A0}", "\u{3000}", "\u{2028}"];

fn text(random: &mut impl FnMut(usize) -> usize, most: usize) -> String {
    let mut text = String::new();
    for _ in 0..random(most + 1) {
        text.push_str(PIECES[random(PIECES.len())]);
        if random(4) == 0 {
            text.push_str(SPACES[random(SPACES.len())]);
        }
    }
    text
}

#[tokio::test]
async fn the_index_finds_exactly_what_matches() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    let mut random = random();
    let mut batch = Batch::new();
    for n in 0..400 {
        let conversation = ["romeo@montague.example", "nurse@capulet.example"][random(2)];
        // Stored in another order than the timeline's.
        let message = message(conversation, &text(&mut random, 12), n).at(random(1_000) as i64);
        batch = batch.append(message);
    }
    let appended = apply(&*account, batch).await.appended;
    // Texts that changed, and that are gone, are no longer found.
    let mut batch = Batch::new();
    for one in appended.iter().step_by(7) {
        let new = (random(3) > 0).then(|| text(&mut random, 6));
        batch = batch.set_content(one.id, "<message xmlns='jabber:client'/>", new.map(Into::into));
    }
    for one in appended.iter().step_by(11) {
        batch = batch.remove_message(one.id);
    }
    apply(&*account, batch).await;

    let all = account.messages(&MessageQuery::new().limit(1_000)).await.expect("a page").messages;
    let connection = raw(&folder);
    let mut found_something = 0;
    for round in 0..1_500 {
        let words = text(&mut random, 3);
        let query = MessageQuery::new().text(&*words).limit(1_000);
        let expected: Vec<_> = all.iter().filter(|message| query.matches(message)).map(|message| message.log_id).collect();
        found_something += usize::from(!expected.is_empty() && expected.len() < 100);
        let asked = Asked { account: 1, conversation: None, query: &query, words: search::words(&words) };
        if asked.words.is_empty() {
            continue;
        }
        for source in [Source::Timeline(usize::MAX), Source::Words, Source::WordsAlongTimeline] {
            let (mut found, candidates) = asked.gather(&connection, source).expect("a page");
            found.reverse();
            let found: Vec<_> = found.iter().map(|message| message.log_id).collect();
            assert_eq!(found, expected, "round {round}: {words:?} by {source:?}");
            if source != Source::Timeline(usize::MAX) {
                assert_eq!(candidates, expected.len(), "round {round}: the index found too much for {words:?}");
            }
        }
        let page = account.messages(&query).await.expect("a page").messages;
        assert_eq!(page.iter().map(|message| message.log_id).collect::<Vec<_>>(), expected, "round {round}: {words:?}");
    }
    assert!(found_something > 300, "{found_something}");
}

#[tokio::test]
async fn more_and_longer_words_than_the_index_is_asked_for_are_looked_at_as_well() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    let words: Vec<String> = (0..40).map(|n| format!("word{n}x")).collect();
    let long = "花".repeat(100);
    apply(&*account, Batch::new().append(message("romeo@montague.example", &format!("{} {long}", words.join(" ")), 0))).await;
    let connection = raw(&folder);
    for (text, count) in [
        (words.join(" "), 1),
        (format!("{} missing", words.join(" ")), 0),
        (long.clone(), 1),
        (format!("{long}花"), 0),
        (format!("{long}月"), 0),
    ] {
        let query = MessageQuery::new().text(&*text);
        for source in [Source::Words, Source::WordsAlongTimeline] {
            let asked = Asked { account: 1, conversation: None, query: &query, words: search::words(&text) };
            assert_eq!(asked.gather(&connection, source).expect("a page").0.len(), count, "{text} by {source:?}");
        }
    }
}

/// A page is the same whichever way it was found, and filters and pages hold in a search.
#[tokio::test]
async fn a_search_is_paged_whether_the_word_is_rare_or_common() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    for group in 0..40 {
        let mut batch = Batch::new();
        for n in 0..100 {
            let number = group * 100 + n;
            let rare = if number % 400 == 3 { "罕" } else { "" };
            // Common, but only in what is old.
            let old = if number < 3_500 { "旧" } else { "" };
            let conversation = if number % 2 == 0 { "romeo@montague.example" } else { "nurse@capulet.example" };
            batch = batch.append(message(conversation, &format!("{number} 今晚 {rare} {old}"), number));
        }
        apply(&*account, batch).await;
    }
    let number = |text: &str| text.split(' ').next().map(str::to_owned).expect("a number");
    for (word, conversation, expected) in [
        ("今", None, (0..4_000).collect::<Vec<u64>>()),
        ("罕", None, (0..4_000).filter(|n| n % 400 == 3).collect()),
        ("旧", None, (0..3_500).collect()),
        ("旧", Some("romeo@montague.example"), (0..3_500).filter(|n| n % 2 == 0).collect()),
        ("罕 旧", Some("nurse@capulet.example"), (0..3_500).filter(|n| n % 400 == 3).collect()),
    ] {
        let mut query = MessageQuery::new().text(word).limit(7);
        query.conversation = conversation.map(|jid| jid.parse().expect("a JID"));
        let mut backwards = Vec::new();
        let mut next = query.clone();
        for _ in 0..5 {
            let page = account.messages(&next).await.expect("a page");
            let texts: Vec<_> = page.messages.iter().map(|message| number(message.text.as_deref().expect("text"))).collect();
            backwards.splice(0..0, texts);
            assert_eq!(page.more, backwards.len() < expected.len(), "{word}");
            let Some(first) = page.messages.first().filter(|_| page.more) else { break };
            next = query.clone().before(first.place());
        }
        let expected: Vec<String> = expected.iter().map(u64::to_string).collect();
        assert_eq!(backwards, expected[expected.len() - backwards.len()..], "{word}");
        let oldest = account.messages(&query.clone().oldest()).await.expect("a page").messages;
        let texts: Vec<_> = oldest.iter().map(|message| number(message.text.as_deref().expect("text"))).collect();
        assert_eq!(texts, expected[..texts.len()], "{word}");
    }
}

#[tokio::test]
async fn an_index_made_by_another_unicode_is_made_anew() {
    let folder = Folder::new();
    let account_of = async |store: &SqliteStore| account(store).await;
    let store = open(&folder).await;
    let account = account_of(&store).await;
    let batch = Batch::new().append(message("romeo@montague.example", "今晚 window", 0));
    apply(&*account, batch.append(message("romeo@montague.example", "花园", 1))).await;
    drop((account, store));
    let connection = raw(&folder);
    let spoil = "INSERT INTO message_text (message_text) VALUES ('delete-all'); UPDATE search SET unicode = '1.1.0';";
    connection.execute_batch(spoil).expect("spoilt");

    let store = open(&folder).await;
    let _account = account_of(&store).await;
    for words in ["今", "晚", "花园", "indo"] {
        let query = MessageQuery::new().text(words);
        let asked = Asked { account: 1, conversation: None, query: &query, words: search::words(words) };
        assert_eq!(asked.gather(&connection, Source::Words).expect("a page").0.len(), 1, "{words}");
    }
}
