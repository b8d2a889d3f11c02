//! The grammar's small parts: names, references, declarations. Each judges what starts at an offset, as far as it is there.

use super::chars::{self, CLASS, NAME, NAME_START};
use super::checks::{Check, Checks};
use super::decode;
use super::error::XmlErrorKind as Kind;
use super::scope::Span;

/// What is wrong, and at which offset from the start of the element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fail {
    pub(super) kind: Kind,
    at: u32,
}

impl Fail {
    /// Offsets are below the hard maximum of `Limits`, so that they fit.
    pub(super) fn new(kind: Kind, at: usize) -> Self {
        Self { kind, at: at as u32 }
    }

    pub(super) fn at(self) -> usize {
        self.at as usize
    }
}

/// Why a token was not read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    /// It is not all there.
    More,
    /// It is wrong.
    Fail(Fail),
}

impl Stop {
    /// For a token whose end is known to be there.
    pub(super) fn or_syntax(self, at: usize) -> Fail {
        match self {
            Self::More => Fail::new(Kind::Syntax, at),
            Self::Fail(fail) => fail,
        }
    }
}

#[cold]
pub(super) fn fail<T>(kind: Kind, at: usize) -> Result<T, Stop> {
    Err(Stop::Fail(Fail::new(kind, at)))
}

#[inline(always)]
pub(super) fn get(bytes: &[u8], i: usize) -> Result<u8, Stop> {
    match bytes.get(i) {
        Some(&b) => Ok(b),
        None => Err(Stop::More),
    }
}

/// A qualified name: its range, and where its colon is (0: it has none; no name starts at offset 0).
#[derive(Debug, Clone, Copy)]
pub(super) struct QName {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) colon: u32,
}

impl QName {
    pub(super) fn full(self) -> Span {
        Span { start: self.start, end: self.end }
    }

    pub(super) fn local(self) -> Span {
        Span { start: if self.colon == 0 { self.start } else { self.colon + 1 }, end: self.end }
    }

    /// Empty if it has none.
    pub(super) fn prefix(self) -> Span {
        Span { start: self.start, end: if self.colon == 0 { self.start } else { self.colon } }
    }

    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A name in short: its first eight bytes, the first one lowest. Names of up to eight bytes differ in it if they differ.
pub(super) type Key = u64;

/// The key of a name.
pub(super) const fn key(name: &[u8]) -> Key {
    let mut key = 0;
    let mut i = 0;
    while i < name.len() && i < 8 {
        key |= (name[i] as u64) << (8 * i);
        i += 1;
    }
    key
}

/// The qualified name at `start` (Namespaces in XML §4), with its key.
#[inline(always)]
pub(super) fn qname(text: &str, bytes: &[u8], start: usize, checks: Checks) -> Result<(QName, Key), Stop> {
    if let Some(chunk) = bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let len = leading_lowercase(word);
        if len > 0 && len < 8 && matches!((word >> (8 * len)) as u8, b'=' | b'>' | b' ' | b'/') {
            return Ok((QName { start: start as u32, end: (start + len) as u32, colon: 0 }, low_bytes(word, len)));
        }
    }
    let name = any_qname(text, bytes, start, checks)?;
    Ok((name, key(&bytes[start..name.end as usize])))
}

/// An attribute as nearly all are: behind one space, its name up to six small letters, `=`, its value without references.
/// Gives the offset of the value and of its closing quotation mark. Whatever else stands there is `None` here.
#[inline(always)]
pub(super) fn plain_attribute(bytes: &[u8], i: usize) -> Option<(QName, Key, usize, usize)> {
    let (word, len, quote) = plain_name(bytes, i)?;
    let name = QName { start: (i + 1) as u32, end: (i + 1 + len) as u32, colon: 0 };
    let start = i + 1 + len + 2;
    let end = start + memchr::memchr3(quote, b'<', b'&', bytes.get(start..)?)?;
    (bytes[end] == quote).then_some((name, low_bytes(word, len), start, end))
}

/// The name of such an attribute: it and what follows, its length, and the quotation mark.
#[inline(always)]
pub(super) fn plain_name(bytes: &[u8], i: usize) -> Option<(u64, usize, u8)> {
    let chunk = bytes.get(i..)?.first_chunk::<9>()?;
    let word = u64::from_le_bytes(*chunk.last_chunk()?);
    let len = leading_lowercase(word);
    if chunk[0] != b' ' || len == 0 || len > 6 {
        return None;
    }
    let [equals, quote] = ((word >> (8 * len)) as u16).to_le_bytes();
    ((equals == b'=') & ((quote == b'\'') | (quote == b'"'))).then_some((word, len, quote))
}

#[inline(always)]
fn low_bytes(word: u64, count: usize) -> u64 {
    word & ((1 << (8 * count)) - 1)
}

/// How many of the first bytes are small ASCII letters. For eight bytes at once, without a branch for each: where names end
/// is what a branch predictor cannot know.
#[inline(always)]
fn leading_lowercase(word: u64) -> usize {
    let low = word & !HIGH;
    let lowercase = at_least(low, b'a') & !at_least(low, b'z' + 1) & !word;
    ((!lowercase & HIGH).trailing_zeros() / 8) as usize
}

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * EACH;

/// Sets the high bit of each byte that is `x` or more; all of them are below 0x80.
#[inline(always)]
fn at_least(low: u64, x: u8) -> u64 {
    low + (0x80 - u64::from(x)) * EACH
}

fn any_qname(text: &str, bytes: &[u8], start: usize, checks: Checks) -> Result<QName, Stop> {
    let mut end = ncname(text, bytes, start, checks)?;
    let mut colon = 0;
    while bytes[end] == b':' {
        if colon != 0 && checks.on(Check::NameColon) {
            return fail(Kind::Name, start);
        }
        colon = end;
        end = ncname(text, bytes, end + 1, checks)?;
    }
    Ok(QName { start: start as u32, end: end as u32, colon: colon as u32 })
}

/// The end of the name without colon at `start`; there is a byte behind it.
fn ncname(text: &str, bytes: &[u8], start: usize, checks: Checks) -> Result<usize, Stop> {
    if CLASS[get(bytes, start)? as usize] & NAME_START == 0 {
        return odd_name(text, bytes, start, start, checks);
    }
    let mut i = start + 1;
    while let Some(chunk) = bytes.get(i..).and_then(|rest| rest.first_chunk::<8>()) {
        let letters = leading_letters(u64::from_le_bytes(*chunk));
        i += letters;
        if letters < 8 {
            break;
        }
    }
    loop {
        let b = get(bytes, i)?;
        if CLASS[b as usize] & NAME == 0 {
            return if b < 0x80 { Ok(i) } else { odd_name(text, bytes, start, i, checks) };
        }
        i += 1;
    }
}

/// How many of the first bytes are ASCII letters or hyphens.
#[inline(always)]
fn leading_letters(word: u64) -> usize {
    let low = word & !HIGH;
    let lower = low | (0x20 * EACH);
    let letter = at_least(lower, b'a') & !at_least(lower, b'z' + 1);
    let hyphen = at_least(low, b'-') & !at_least(low, b'-' + 1);
    let neither = !(letter | hyphen) | word;
    ((neither & HIGH).trailing_zeros() / 8) as usize
}

/// A name that starts at `start` and goes on at `i` with what is no ASCII name character.
#[cold]
fn odd_name(text: &str, bytes: &[u8], start: usize, mut i: usize, checks: Checks) -> Result<usize, Stop> {
    loop {
        let b = get(bytes, i)?;
        let wanted = if i == start { NAME_START } else { NAME };
        if CLASS[b as usize] & wanted != 0 {
            i += 1;
        } else if b >= 0x80 {
            // The size limit may have cut the text inside this character.
            let c = text[i..].chars().next().unwrap_or('\0');
            if i + c.len_utf8() > bytes.len() {
                return Err(Stop::More);
            }
            let check = if i == start { Check::NameStart } else { Check::NameCharacter };
            if !chars::is_name_char_beyond_ascii(c, i == start) && checks.on(check) {
                return fail(Kind::Name, start);
            }
            i += c.len_utf8();
        } else if i == start && checks.on(Check::NameStart) {
            return fail(Kind::Name, start);
        } else if i == start && CLASS[b as usize] & NAME != 0 {
            i += 1;
        } else {
            return Ok(i);
        }
    }
}

/// Whether exactly this range is a qualified name.
pub(super) fn is_qname(text: &str, start: usize, end: usize) -> bool {
    // The name's end must be visible: in an end tag something follows it.
    matches!(any_qname(text, text.as_bytes(), start, Checks::default()), Ok(name) if name.end as usize == end)
}

/// References longer than this are refused, so that an endless `&#x000…` cannot be searched again and again.
const MAX_REFERENCE: usize = 64;

/// The offset behind the reference at `i`.
#[inline]
pub(super) fn reference(bytes: &[u8], i: usize, checks: Checks) -> Result<usize, Stop> {
    if let Some(chunk) = bytes[i..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        for (reference, len) in
            [(key(b"&lt;"), 4), (key(b"&gt;"), 4), (key(b"&amp;"), 5), (key(b"&apos;"), 6), (key(b"&quot;"), 6)]
        {
            if word & ((1 << (8 * len)) - 1) == reference {
                return Ok(i + len);
            }
        }
    }
    any_reference(bytes, i, checks)
}

fn any_reference(bytes: &[u8], i: usize, checks: Checks) -> Result<usize, Stop> {
    let max = if checks.on(Check::ReferenceBytes) { MAX_REFERENCE } else { usize::MAX / 2 };
    let name = &bytes[i + 1..bytes.len().min(i + max)];
    let Some(len) = name.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'#') else {
        return if i + max <= bytes.len() { fail(Kind::ReferenceTooLong, i) } else { Err(Stop::More) };
    };
    let (name, end) = (&name[..len], i + 1 + len + 1);
    if name.is_empty() || (name[0] != b'#' && bytes[end - 1] != b';') || name.contains(&b'#') && name[0] != b'#' {
        let kind = if name.is_empty() { Kind::Syntax } else { Kind::Entity };
        return if checks.on(Check::Entity) { fail(kind, i) } else { Ok(end) };
    }
    if bytes[end - 1] == b';' && decode::reference(name).is_some() {
        return Ok(end);
    }
    let (kind, check) = match name {
        [b'#', ..] if bytes[end - 1] == b';' && decode::is_number(name) => (Kind::CharacterReference, Check::ReferencedCharacter),
        [b'#', ..] => (Kind::CharacterReference, Check::Reference),
        _ => (Kind::Entity, Check::Entity),
    };
    if checks.on(check) { fail(kind, i) } else { Ok(end) }
}

/// Judges the `<!…` or `<?…` at `p`, which is no CDATA section: nothing that starts so is allowed (RFC 6120 §11.1).
pub(super) fn forbidden(bytes: &[u8], p: usize, checks: Checks) -> Result<usize, Stop> {
    let rest = &bytes[p..];
    let undecided = |whole: &[u8]| rest.len() < whole.len() && whole.starts_with(rest);
    let (kind, check) = if undecided(b"<![CDATA[") || undecided(b"<!--") || undecided(b"<?xml ") {
        return Err(Stop::More);
    } else if rest.starts_with(b"<!--") {
        (Kind::Comment, Check::Comment)
    } else if rest.starts_with(b"<?xml") && chars::is_space(rest[5]) {
        (Kind::XmlDeclaration, Check::DeclarationPlace)
    } else if rest.starts_with(b"<?") {
        (Kind::ProcessingInstruction, Check::ProcessingInstruction)
    } else if rest.get(2).is_some_and(u8::is_ascii_alphabetic) {
        (Kind::Doctype, Check::Doctype)
    } else {
        (Kind::Syntax, Check::TagSyntax)
    };
    if checks.on(check) {
        return fail(kind, p);
    }
    memchr::memchr(b'>', rest).map(|i| p + i + 1).ok_or(Stop::More)
}

/// Reads the XML declaration at the start of `text`, whose first bytes are `<?`, and gives its length (XML 1.0 §2.8,
/// RFC 6120 §11.5 and §11.6).
pub(super) fn xml_declaration(text: &str, checks: Checks) -> Result<usize, Stop> {
    const MAX: usize = 256;
    let bytes = text.as_bytes();
    let open = b"<?xml";
    if bytes.len() <= open.len() && open.starts_with(bytes) {
        return Err(Stop::More);
    }
    if !bytes.starts_with(open) || !chars::is_space(bytes[open.len()]) {
        return forbidden(bytes, 0, checks);
    }
    let Some(end) = bytes[..bytes.len().min(MAX)].windows(2).position(|w| w == b"?>") else {
        return if bytes.len() >= MAX { fail(Kind::XmlDeclaration, 0) } else { Err(Stop::More) };
    };
    match judge_declaration(&text[open.len()..end], checks) {
        Ok(()) => Ok(end + 2),
        Err(kind) => fail(kind, 0),
    }
}

fn judge_declaration(mut rest: &str, checks: Checks) -> Result<(), Kind> {
    match pseudo_attribute(&mut rest, "version") {
        None if checks.on(Check::DeclarationSyntax) => return Err(Kind::XmlDeclaration),
        Some(version) if version != "1.0" && checks.on(Check::Version) => return Err(Kind::XmlVersion),
        _ => {}
    }
    if let Some(encoding) = pseudo_attribute(&mut rest, "encoding")
        && !encoding.eq_ignore_ascii_case("utf-8")
        && checks.on(Check::Encoding)
    {
        return Err(Kind::Encoding);
    }
    let standalone = pseudo_attribute(&mut rest, "standalone");
    let legal = matches!(standalone, None | Some("yes" | "no")) && rest.bytes().all(chars::is_space);
    if legal || !checks.on(Check::DeclarationSyntax) { Ok(()) } else { Err(Kind::XmlDeclaration) }
}

/// Takes ` name = 'value'` from the front of `rest`, if that is what stands there.
fn pseudo_attribute<'t>(rest: &mut &'t str, name: &str) -> Option<&'t str> {
    let space: &[char] = &[' ', '\t', '\r', '\n'];
    let trimmed = rest.strip_prefix(space)?.trim_start_matches(space);
    let after = trimmed.strip_prefix(name)?.trim_start_matches(space).strip_prefix('=')?.trim_start_matches(space);
    let quote = after.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    let (value, after) = after[1..].split_once(quote)?;
    *rest = after;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_letters_agree_with_their_definition_at_every_place() {
        for b in 0..=255u8 {
            for at in 0..8 {
                let mut bytes = *b"aZ-mQzA-";
                bytes[at] = b;
                let expected = bytes.iter().position(|b| !b.is_ascii_alphabetic() && *b != b'-').unwrap_or(8);
                assert_eq!(leading_letters(u64::from_le_bytes(bytes)), expected, "{b:#x} at {at}");
                let mut bytes = *b"azmqqzab";
                bytes[at] = b;
                let expected = bytes.iter().position(|b| !b.is_ascii_lowercase()).unwrap_or(8);
                assert_eq!(leading_lowercase(u64::from_le_bytes(bytes)), expected, "{b:#x} at {at}");
            }
        }
    }
}
