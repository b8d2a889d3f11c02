//! From what stands in the bytes to what it means, and back: references, CDATA, line ends, whitespace.

use std::borrow::Cow;

use super::chars;

/// What a reference without its `&` and `;` stands for; `None` if it is none of the predefined entities and no character
/// reference to a character that XML allows.
pub(super) fn reference(name: &[u8]) -> Option<char> {
    match name {
        b"amp" => Some('&'),
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        [b'#', b'x', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    }
}

/// Whether this, a reference without its `&` and `;`, is a number, if not of a character that XML allows.
pub(super) fn is_number(name: &[u8]) -> bool {
    match name {
        [b'#', b'x', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit),
        [b'#', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for &d in digits {
        value = value.checked_mul(radix)?.checked_add((d as char).to_digit(radix)?)?;
    }
    char::from_u32(value).filter(|&c| chars::is_char(c))
}

/// Whether an attribute's value means what is written.
pub(super) fn is_plain(raw: &[u8]) -> bool {
    // Without a way out of the loop it is made of vector instructions.
    !raw.iter().fold(false, |special, &b| special | (b < 0x20) | (b == b'&'))
}

/// The value of an attribute (XML 1.0 §3.3.3): references decoded, each literal tab or line end one space.
pub(super) fn attribute(raw: &str) -> Cow<'_, str> {
    if is_plain(raw.as_bytes()) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(i) = rest.bytes().position(|b| b < 0x20 || b == b'&') {
        out.push_str(&rest[..i]);
        if rest.as_bytes()[i] == b'&' {
            rest = push_reference(&mut out, &rest[i..]);
        } else {
            out.push(' ');
            rest = &rest[i + line_end_len(&rest.as_bytes()[i..])..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Appends a run of text that holds no markup, references decoded and line ends normalised (XML 1.0 §2.11).
pub(super) fn push_text(out: &mut String, raw: &str) {
    let mut rest = raw;
    while let Some(i) = next_special(rest.as_bytes()) {
        // Often one stands behind another.
        if i > 0 {
            out.push_str(&rest[..i]);
        }
        if rest.as_bytes()[i] == b'&' {
            rest = push_reference(out, &rest[i..]);
        } else {
            out.push('\n');
            rest = &rest[i + line_end_len(&rest.as_bytes()[i..])..];
        }
    }
    out.push_str(rest);
}

/// The next byte of text that does not stand for itself. Where there is one, the next often follows it, or what follows it (code,
/// quotations): a search by vectors takes longer to begin than a look at those.
fn next_special(text: &[u8]) -> Option<usize> {
    match text {
        [b'&' | b'\r', ..] => Some(0),
        [_, b'&' | b'\r', ..] => Some(1),
        _ => memchr::memchr2(b'&', b'\r', text),
    }
}

/// Appends the inside of a CDATA section.
pub(super) fn push_cdata(out: &mut String, raw: &str) {
    let mut rest = raw;
    while let Some(i) = memchr::memchr(b'\r', rest.as_bytes()) {
        out.push_str(&rest[..i]);
        out.push('\n');
        rest = &rest[i + line_end_len(&rest.as_bytes()[i..])..];
    }
    out.push_str(rest);
}

/// A run of text that holds no markup.
pub(super) fn text(raw: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'&', b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    push_text(&mut out, raw);
    Cow::Owned(out)
}

/// Appends what the reference at the start of `raw` stands for, and gives back what follows it. The framer has checked it.
#[inline]
fn push_reference<'a>(out: &mut String, raw: &'a str) -> &'a str {
    let bytes = raw.as_bytes();
    let len = match bytes.first_chunk() {
        Some(b"&lt;") => {
            out.push('<');
            4
        }
        Some(b"&gt;") => {
            out.push('>');
            4
        }
        Some(b"&amp") if bytes[4..].starts_with(b";") => {
            out.push('&');
            5
        }
        Some(b"&quo") if bytes[4..].starts_with(b"t;") => {
            out.push('"');
            6
        }
        Some(b"&apo") if bytes[4..].starts_with(b"s;") => {
            out.push('\'');
            6
        }
        _ => return push_other_reference(out, raw),
    };
    &raw[len..]
}

#[inline(never)]
fn push_other_reference<'a>(out: &mut String, raw: &'a str) -> &'a str {
    // They are short: a search by vectors takes longer to begin than this to end.
    let Some(end) = raw.bytes().position(|byte| byte == b';') else { return "" };
    out.extend(reference(&raw.as_bytes()[1..end]));
    &raw[end + 1..]
}

fn line_end_len(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, piece by piece.
    fn slowly(mut raw: &str) -> String {
        let mut out = String::new();
        while let Some(c) = raw.chars().next() {
            raw = &raw[c.len_utf8()..];
            match c {
                '&' => {
                    let (name, rest) = raw.split_once(';').expect("a reference");
                    out.extend(reference(name.as_bytes()));
                    raw = rest;
                }
                '\r' => {
                    raw = raw.strip_prefix('\n').unwrap_or(raw);
                    out.push('\n');
                }
                c => out.push(c),
            }
        }
        out
    }

    #[test]
    fn text_is_decoded_wherever_in_it_something_stands() {
        let pieces = [
            "&lt;",
            "&gt;",
            "&amp;",
            "&quot;",
            "&apos;",
            "&#9;",
            "&#x1F600;",
            "\r",
            "\r\n",
            "\n",
            "a",
            "'",
            "%",
            "ü",
            "漢",
            "😀",
        ];
        for one in pieces {
            for other in pieces {
                for between in 0..20 {
                    for (before, after) in [("", ""), ("x", "y"), ("seven b", "é"), ("", "more than eight bytes")] {
                        let raw = format!("{before}{one}{}{other}{after}", "-".repeat(between));
                        assert_eq!(text(&raw), slowly(&raw), "{raw:?}");
                    }
                }
            }
        }
    }
}
