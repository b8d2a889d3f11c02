//! Text search through an index, also for words of one, two and three Chinese characters, exactly as
//! [`MessageQuery::matches`](crate::store::MessageQuery::matches) has it.
//!
//! The index is FTS5's, over tokens that are made here. A text is lower-cased; each of its words (what stands between white
//! space) becomes the pairs of neighbouring characters, and its last character with nothing behind it: "abc" is ab bc c-. A word
//! that is looked for is the phrase of its pairs, which stands only where its characters follow one another; a single character
//! is the beginning of a token. A character is four digits, so that tokens are letters and digits whatever people write.

use rusqlite::Connection;

use super::failure::Outcome;

/// The most words, and characters of a word, that the index is asked for. The texts it finds are compared with all of them.
const MAX_WORDS: usize = 16;
const MAX_CHARACTERS: usize = 32;

/// What the index keeps of a text.
pub(super) fn tokens(text: &str) -> String {
    let lower = text.to_lowercase();
    let mut tokens = String::with_capacity(lower.len() * 9);
    for word in lower.split_whitespace() {
        let mut characters = word.chars().peekable();
        while let Some(character) = characters.next() {
            push_digits(&mut tokens, u32::from(character));
            push_digits(&mut tokens, characters.peek().map_or(0, |next| u32::from(*next)));
            tokens.push(' ');
        }
    }
    tokens
}

/// The words of a query, lower-cased.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

/// What FTS5 is asked for these words, of which there is at least one.
pub(super) fn expression(words: &[String]) -> String {
    let phrases = words.iter().take(MAX_WORDS).map(|word| {
        let characters: Vec<u32> = word.chars().take(MAX_CHARACTERS).map(u32::from).collect();
        let mut phrase = String::from("\"");
        if let [single] = characters[..] {
            push_digits(&mut phrase, single);
            return phrase + "\"*";
        }
        for pair in characters.windows(2) {
            pair.iter().for_each(|character| push_digits(&mut phrase, *character));
            phrase.push(' ');
        }
        phrase + "\""
    });
    phrases.collect::<Vec<_>>().join(" AND ")
}

pub(super) fn add(connection: &Connection, message: i64, text: Option<&str>) -> Outcome<()> {
    let tokens = text.map(tokens).unwrap_or_default();
    if !tokens.is_empty() {
        let sql = "INSERT INTO message_text (rowid, tokens) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute((message, tokens))?;
    }
    Ok(())
}

/// Takes out what [`add`] put in for the same text.
pub(super) fn remove(connection: &Connection, message: i64, text: Option<&str>) -> Outcome<()> {
    let tokens = text.map(tokens).unwrap_or_default();
    if !tokens.is_empty() {
        let sql = "INSERT INTO message_text (message_text, rowid, tokens) VALUES ('delete', ?1, ?2)";
        connection.prepare_cached(sql)?.execute((message, tokens))?;
    }
    Ok(())
}

/// Makes the index anew if it was made by another version of Unicode, whose lower case may be another.
pub(super) fn follow_unicode(connection: &mut Connection) -> Outcome<()> {
    let (major, minor, update) = char::UNICODE_VERSION;
    let current = format!("{major}.{minor}.{update}");
    let is_current = "SELECT count(*) FROM search WHERE unicode = ?1";
    if connection.query_row(is_current, [&current], |row| row.get::<_, i64>(0))? == 1 {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch("INSERT INTO message_text (message_text) VALUES ('delete-all'); DELETE FROM search;")?;
    transaction.execute("INSERT INTO search (unicode) VALUES (?1)", [&current])?;
    let mut texts = transaction.prepare("SELECT id, text FROM message WHERE text IS NOT NULL ORDER BY id")?;
    let mut rows = texts.query([])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        add(&transaction, row.get(0)?, Some(&text))?;
    }
    drop(rows);
    drop(texts);
    Ok(transaction.commit()?)
}

/// Four digits of base 36, which is enough for every character.
fn push_digits(out: &mut String, mut code: u32) {
    let mut digits = [0; 4];
    for digit in digits.iter_mut().rev() {
        *digit = code % 36;
        code /= 36;
    }
    out.extend(digits.iter().filter_map(|digit| char::from_digit(*digit, 36)));
}
