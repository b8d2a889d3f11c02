//! Which characters XML 1.0 allows where.

/// May start a name (XML 1.0 §2.3, ASCII part, without the colon).
pub(super) const NAME_START: u8 = 1;
/// May continue a name (ASCII part, without the colon).
pub(super) const NAME: u8 = 2;
/// Whitespace (XML 1.0 §2.3 `S`).
pub(super) const SPACE: u8 = 4;

/// Class bits of every byte; bytes of 0x80 and above have none and are looked at as characters.
pub(super) const CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut b = 0usize;
    while b < 128 {
        let c = b as u8;
        if c.is_ascii_alphabetic() || c == b'_' {
            table[b] = NAME_START | NAME;
        } else if c.is_ascii_digit() || c == b'-' || c == b'.' {
            table[b] = NAME;
        } else if c == b' ' || c == b'\t' || c == b'\n' || c == b'\r' {
            table[b] = SPACE;
        }
        b += 1;
    }
    table
};

pub(super) fn is_space(b: u8) -> bool {
    CLASS[b as usize] & SPACE != 0
}

/// Whether a character beyond ASCII may start a name (XML 1.0, fifth edition, §2.3).
fn is_name_start(c: char) -> bool {
    matches!(c,
        '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}'
        | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

/// Whether a character beyond ASCII may be in a name, at its start or later.
pub(super) fn is_name_char_beyond_ascii(c: char, start: bool) -> bool {
    is_name_start(c) || (!start && matches!(c, '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}'))
}

/// Whether XML allows this character at all (XML 1.0 §2.2 `Char`).
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// How many bytes of the text are before its first character that XML does not allow; all of them if there is none.
pub(super) fn clean_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let control = |b: u8| (b < 0x20) & (b != b'\t') & (b != b'\n') & (b != b'\r');
    // Branch-free passes over blocks, which the compiler turns into vector instructions: whether there is any byte below
    // 0x20, then whether one is more than whitespace.
    let suspect = |block: &[u8]| {
        block.iter().fold(0xFF, |least, &b| b.min(least)) < 0x20 && block.iter().fold(false, |any, &b| any | control(b))
    };
    let clean = bytes
        .chunks(64)
        .position(suspect)
        .map_or(bytes.len(), |i| bytes[i * 64..].iter().position(|&b| control(b)).map_or(bytes.len(), |k| i * 64 + k));
    memchr::memchr_iter(0xEF, &bytes[..clean]).find(|&i| is_noncharacter(bytes, i)).unwrap_or(clean)
}

/// Whether U+FFFE or U+FFFF stands there.
fn is_noncharacter(bytes: &[u8], i: usize) -> bool {
    bytes[i] == 0xEF && bytes.get(i + 1) == Some(&0xBF) && matches!(bytes.get(i + 2), Some(0xBE | 0xBF))
}

/// Whether there is a byte below 0x20: in clean text, a tab or a line end.
pub(super) fn has_control(bytes: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let control = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        !(((word & !HIGH) + 0x60 * EACH) | word) & HIGH
    };
    // Eight bytes at once; the last eight overlap those before.
    match bytes.last_chunk::<8>() {
        Some(last) => bytes.as_chunks::<8>().0.iter().fold(control(last), |any, word| any | control(word)) != 0,
        None => bytes.iter().any(|b| *b < 0x20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_len_agrees_with_the_definition_for_every_character() {
        for c in '\0'..=char::MAX {
            // Across the edge of a block too.
            for pad in if c < '\u{20}' || c > '\u{FFF0}' && c < '\u{10010}' { 60..65 } else { 62..63 } {
                let text = format!("{}{c}y", "x".repeat(pad));
                let expected = if is_char(c) { text.len() } else { pad };
                assert_eq!(clean_len(&text), expected, "U+{:04X} at {pad}", c as u32);
            }
        }
    }

    #[test]
    fn has_control_finds_each_at_every_place() {
        for len in 0..20 {
            for at in 0..len {
                for b in 0..=255u8 {
                    let mut bytes = vec![b' '; len];
                    bytes[at] = b;
                    assert_eq!(has_control(&bytes), b < 0x20, "{b:#x} at {at} of {len}");
                }
            }
        }
    }
}
