//! What in XMPP is secret: by names, whatever the namespace; to hide too much is no harm.

use std::ops::Range;

/// Elements whose text is never shown, nor that of what is inside: everything of a SASL exchange (RFC 6120 §6, XEP-0388,
/// XEP-0480), passwords, digests of passwords (XEP-0078, XEP-0114), tokens.
const ELEMENTS: &[&[u8]] = &[
    b"auth",
    b"challenge",
    b"response",
    b"success",
    b"initial-response",
    b"additional-data",
    b"task-data",
    b"password",
    b"digest",
    b"handshake",
    b"secret",
    b"token",
];
/// Attributes whose value is never shown: tokens (XEP-0484, XEP-0401), passwords of relays and rooms (XEP-0215, XEP-0249).
const ATTRIBUTES: &[&[u8]] = &[b"token", b"password", b"secret"];
/// What the name of a form's field says about its value (XEP-0004).
const FIELDS: &[&str] = &["password", "passwd", "secret", "token"];
/// Headers of an upload that prove something (XEP-0363 §5).
const HEADERS: &[&str] = &["authorization", "cookie"];

pub(super) const REDACTED: &[u8] = b"[redacted]";

/// A start, end or empty-element tag.
pub(super) struct Tag<'a> {
    bytes: &'a [u8],
    attrs: Vec<(&'a [u8], Range<usize>)>,
}

impl<'a> Tag<'a> {
    /// `bytes` from `<` to `>`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, attrs: attributes(bytes) }
    }

    pub(super) fn is_end(&self) -> bool {
        self.bytes.get(1) == Some(&b'/')
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() > 2 && self.bytes[self.bytes.len() - 2] == b'/'
    }

    /// The name as it is written.
    pub(super) fn name(&self) -> &'a [u8] {
        let name = self.bytes.get(1..).unwrap_or_default();
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let end = name.iter().position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>')).unwrap_or(name.len());
        &name[..end]
    }

    pub(super) fn local_name(&self) -> &'a [u8] {
        local(self.name())
    }

    /// The values of its attributes, by name.
    pub(super) fn attrs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.attrs.iter().map(|(name, value)| (*name, &self.bytes[value.clone()]))
    }

    fn attr_contains(&self, name: &[u8], words: &[&str]) -> bool {
        let mut values = self.attrs().filter(|(n, _)| *n == name);
        values.any(|(_, value)| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            words.iter().any(|word| value.contains(word))
        })
    }

    /// Whether the text inside is secret.
    pub(super) fn hides_its_text(&self) -> bool {
        match self.local_name() {
            b"header" => self.attr_contains(b"name", HEADERS),
            name => ELEMENTS.contains(&name),
        }
    }

    /// Whether it is a form's field whose values are secret.
    pub(super) fn is_secret_field(&self) -> bool {
        self.local_name() == b"field" && (self.attr_contains(b"type", &["text-private"]) || self.attr_contains(b"var", FIELDS))
    }

    /// Appends the tag without the values of secret attributes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        for (name, value) in &self.attrs {
            if ATTRIBUTES.contains(&local(name)) && !value.is_empty() {
                out.extend_from_slice(&self.bytes[from..value.start]);
                out.extend_from_slice(REDACTED);
                from = value.end;
            }
        }
        out.extend_from_slice(&self.bytes[from..]);
    }
}

fn local(name: &[u8]) -> &[u8] {
    name.iter().position(|byte| *byte == b':').map_or(name, |colon| &name[colon + 1..])
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The attributes of a tag: names, and where the values stand without their quotes. What is malformed ends the list.
fn attributes(tag: &[u8]) -> Vec<(&[u8], Range<usize>)> {
    let mut attrs = Vec::new();
    let skip = |from: usize, what: fn(u8) -> bool| from + tag[from..].iter().take_while(|byte| what(**byte)).count();
    let mut at = skip(0, |byte| !is_space(byte));
    loop {
        let name = skip(at, is_space);
        let end = skip(name, |byte| !is_space(byte) && !matches!(byte, b'=' | b'>' | b'/'));
        let equals = skip(end, is_space);
        if end == name || tag.get(equals) != Some(&b'=') {
            return attrs;
        }
        let quote = skip(equals + 1, is_space);
        let Some(mark @ (b'\'' | b'"')) = tag.get(quote) else { return attrs };
        let Some(len) = tag[quote + 1..].iter().position(|byte| byte == mark) else { return attrs };
        attrs.push((&tag[name..end], quote + 1..quote + 1 + len));
        at = quote + 2 + len;
    }
}
