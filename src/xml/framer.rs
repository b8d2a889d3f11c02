//! [`Framer`]: bytes of one XML stream in, its top-level elements out.

use std::fmt;
use std::sync::Arc;

use super::chars;
use super::checks::{Check, Checks};
use super::decode;
use super::error::{XmlError, XmlErrorKind as Kind};
use super::frame::{Frame, ns_str};
use super::limits::Limits;
use super::scan::{Scanner, Tag};
use super::scope::StreamScope;
use super::syntax::{self, Fail, Stop};

/// Splits the bytes of one XML stream (RFC 6120 §4) into its header, its top-level elements and its end, and checks them:
/// well-formedness (XML 1.0, Namespaces in XML 1.0), what RFC 6120 §11 forbids, and [`Limits`].
///
/// It is fed with [`push`](Self::push), in pieces of any size, and asked with [`next_item`](Self::next_item). What it
/// answers does not depend on how the bytes were cut into pieces.
///
/// ```
/// use xmppkit::xml::{Framer, Limits, StreamItem};
///
/// let mut framer = Framer::new(Limits::default());
/// framer.push(b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' ");
/// assert!(framer.next_item()?.is_none());
/// framer.push(b"from='example.org' version='1.0'><message><body>Hi</body></message>");
/// let Some(StreamItem::Open(header)) = framer.next_item()? else { panic!("no header") };
/// assert_eq!(header.from(), Some("example.org"));
/// let Some(StreamItem::Element(frame)) = framer.next_item()? else { panic!("no element") };
/// assert!(frame.stanza().is_some());
/// assert!(framer.next_item()?.is_none());
/// # Ok::<(), xmppkit::xml::XmlError>(())
/// ```
pub struct Framer {
    limits: Limits,
    checks: Checks,
    /// What was pushed and not yet taken out, from `start` on: UTF-8 whose characters XML allows.
    buf: String,
    start: usize,
    /// The offset of `buf` in the stream.
    base: u64,
    /// The start of a character whose other bytes have not come.
    partial: Partial,
    /// What is wrong with the bytes behind `buf`; they were not kept.
    poison: Option<Kind>,
    failed: Option<XmlError>,
    state: State,
    scanner: Scanner,
    scope: Arc<StreamScope>,
    root_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two streams: whitespace may come that still belongs to the one before.
    Restarted,
    /// Nothing was read: an XML declaration may come.
    Start,
    /// The header is to come.
    Prolog,
    /// Between top-level elements.
    Open,
    /// In a top-level element.
    Element,
    /// The header was an empty element.
    Closing,
    Closed,
}

/// What a stream consists of.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamItem {
    /// The stream header: the root element's start tag.
    Open(StreamHeader),
    /// A top-level element.
    Element(Frame),
    /// The root element's end tag.
    Close,
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_checks(limits, Checks::default())
    }

    /// How many bytes were looked at or moved, one as often as it was.
    #[cfg(test)]
    pub(super) fn work(&self) -> usize {
        self.scanner.work
    }

    /// How many bytes of memory its buffers hold.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.buf.capacity() + self.scanner.held()
    }

    #[cfg(test)]
    pub(super) fn with_check_disabled(limits: Limits, check: Option<Check>) -> Self {
        Self::with_checks(limits, Checks::without(check))
    }

    fn with_checks(limits: Limits, checks: Checks) -> Self {
        let limits = limits.clamped();
        Self {
            limits,
            checks,
            buf: String::new(),
            start: 0,
            base: 0,
            partial: Partial::default(),
            poison: None,
            failed: None,
            state: State::Start,
            scanner: Scanner::new(limits, checks),
            scope: StreamScope::standalone(),
            root_name: String::new(),
        }
    }

    /// Adds bytes as they were read. What is wrong with them is said by [`next_item`](Self::next_item), after everything
    /// that came before.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.poison.is_some() || self.failed.is_some() {
            return;
        }
        self.compact();
        let buffered = self.buf.len() - self.start + bytes.len();
        if buffered > self.limits.max_buffered_bytes && self.checks.on(Check::BufferedBytes) {
            self.poison = Some(Kind::BufferFull);
            return;
        }
        let rest = match self.partial.complete(bytes) {
            Ok((character, rest)) => {
                if let Some(character) = character {
                    self.append(character.encode_utf8(&mut [0; 4]));
                }
                rest
            }
            Err(InvalidUtf8) => return self.invalid_utf8(bytes),
        };
        let whole = self.partial.cut(rest);
        match simdutf8::basic::from_utf8(whole) {
            Ok(text) => self.append(text),
            Err(_) => {
                if let Some(valid) = whole.utf8_chunks().next() {
                    self.append(valid.valid());
                }
                self.invalid_utf8(b"");
            }
        }
    }

    fn invalid_utf8(&mut self, rest: &[u8]) {
        if self.checks.on(Check::Utf8) {
            self.poison = self.poison.or(Some(Kind::Utf8));
        } else {
            self.partial = Partial::default();
            self.append(&String::from_utf8_lossy(rest));
        }
    }

    fn append(&mut self, text: &str) {
        if self.poison.is_some() {
            return;
        }
        let clean = if self.checks.on(Check::Character) { chars::clean_len(text) } else { text.len() };
        self.buf.push_str(&text[..clean]);
        if clean < text.len() {
            self.poison = Some(Kind::Character);
        }
    }

    /// Drops what was taken out, at a cost that the bytes dropped have paid for.
    fn compact(&mut self) {
        let kept = self.buf.len() - self.start;
        if self.start == 0 || kept > self.start.max(4096) {
            return;
        }
        self.scanner.looked_at(kept);
        self.buf.drain(..self.start);
        self.base += self.start as u64;
        self.start = 0;
    }

    /// The next part of the stream, or `None` if it is not complete yet.
    ///
    /// # Errors
    ///
    /// [`XmlError`] if the input is not acceptable: the stream is over then, and every further call says the same.
    pub fn next_item(&mut self) -> Result<Option<StreamItem>, XmlError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = match self.advance() {
            Ok(Some(item)) => return Ok(Some(item)),
            Ok(None) => match self.poison {
                None => {
                    // An idle connection gives its buffers back.
                    if self.start == self.buf.len() {
                        self.base += self.start as u64;
                        self.start = 0;
                        self.buf = String::new();
                        self.scanner.give_back();
                    }
                    return Ok(None);
                }
                Some(kind) => XmlError::new(kind, self.base + self.buf.len() as u64),
            },
            Err(fail) => XmlError::new(fail.kind, self.base + (self.start + fail.at()) as u64),
        };
        self.failed = Some(result);
        self.buf = String::new();
        self.start = 0;
        Err(result)
    }

    /// Starts over for a new stream on the same connection (RFC 6120 §4.3.3), and drops what was pushed and not yet taken
    /// out: nothing that came before TLS was negotiated counts after it.
    pub fn restart(&mut self) {
        *self = Self::with_checks(self.limits, self.checks);
    }

    /// Starts over for a new stream whose bytes may have come already: a restart that does not change who could have sent
    /// them (after SASL). Whitespace behind the old stream's last element is skipped.
    pub fn restart_keeping_input(&mut self) {
        self.state = State::Restarted;
        self.failed = None;
        self.scanner.reset();
        self.scope = StreamScope::standalone();
        self.root_name.clear();
    }

    /// Whether bytes were pushed that no item has used up.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        self.start < self.buf.len() || !self.partial.is_empty() || self.poison.is_some()
    }

    /// The bytes that were pushed and that no item has used up: the beginning of an element, for example.
    #[must_use]
    pub fn buffered(&self) -> Vec<u8> {
        [&self.buf.as_bytes()[self.start..], &self.partial.bytes[..self.partial.len]].concat()
    }

    fn advance(&mut self) -> Result<Option<StreamItem>, Fail> {
        match self.step() {
            Ok(item) => Ok(Some(item)),
            Err(Stop::More) => Ok(None),
            Err(Stop::Fail(fail)) => Err(fail),
        }
    }

    fn step(&mut self) -> Result<StreamItem, Stop> {
        loop {
            match self.state {
                State::Restarted => {
                    self.skip_space();
                    if self.start == self.buf.len() {
                        return Err(Stop::More);
                    }
                    self.state = State::Start;
                }
                State::Start => self.xml_declaration()?,
                State::Prolog => {
                    if self.at_tag()? {
                        return self.header();
                    }
                }
                State::Open => {
                    if self.at_tag()? {
                        self.state = State::Element;
                    } else if self.buf[self.start..].starts_with("</") {
                        return self.end_of_stream();
                    }
                }
                State::Element => {
                    let text = &self.buf[self.start..];
                    let len = self.scanner.element(text, &self.scope).map_err(Stop::Fail)?.ok_or(Stop::More)?;
                    let frame = Frame::new(&text[..len], &self.scanner, &self.scope);
                    self.scanner.reset();
                    self.start += len;
                    self.state = State::Open;
                    return Ok(StreamItem::Element(frame));
                }
                State::Closing => {
                    self.state = State::Closed;
                    return Ok(StreamItem::Close);
                }
                State::Closed => {
                    self.skip_space();
                    if self.start < self.buf.len() && self.checks.on(Check::AfterEnd) {
                        return syntax::fail(Kind::AfterEnd, 0);
                    }
                    return Err(Stop::More);
                }
            }
        }
    }

    fn skip_space(&mut self) {
        let bytes = &self.buf.as_bytes()[self.start..];
        self.start += bytes.iter().take_while(|&&b| chars::is_space(b)).count();
    }

    /// Skips whitespace between top-level elements and looks at what stands behind it: whether it is a start tag or else an
    /// end tag. Nothing else may be there.
    fn at_tag(&mut self) -> Result<bool, Stop> {
        self.skip_space();
        let text = &self.buf[self.start..];
        match text.as_bytes() {
            [] | [b'<'] => Err(Stop::More),
            [b'<', b'/', ..] if self.state == State::Prolog => syntax::fail(Kind::Syntax, 0),
            [b'<', b'/', ..] => Ok(false),
            [b'<', b'!' | b'?', ..] if !text.starts_with("<![CDATA[") => {
                self.start += syntax::forbidden(text.as_bytes(), 0, self.checks)?;
                self.at_tag()
            }
            [b'<', b, ..] if *b != b'!' => Ok(true),
            _ if self.checks.on(Check::TextOutsideElement) => syntax::fail(Kind::TextOutsideElement, 0),
            [_, rest @ ..] => {
                self.start += 1 + memchr::memchr(b'<', rest).ok_or(Stop::More)?;
                self.at_tag()
            }
        }
    }

    /// Reads the XML declaration, if one stands at the very start.
    fn xml_declaration(&mut self) -> Result<(), Stop> {
        let text = &self.buf[self.start..];
        match text.as_bytes() {
            [] | [b'<'] => return Err(Stop::More),
            [b'<', b'?', ..] => self.start += syntax::xml_declaration(text, self.checks)?,
            _ => {}
        }
        self.state = State::Prolog;
        Ok(())
    }

    fn header(&mut self) -> Result<StreamItem, Stop> {
        let text = &self.buf[self.start..];
        let tag = self.scanner.header_tag(text).map_err(Stop::Fail)?.ok_or(Stop::More)?;
        let scope = Arc::new(self.scanner.header_scope(text, tag).map_err(Stop::Fail)?);
        let header = StreamHeader::new(text, &self.scanner, scope.clone());
        self.root_name = tag.name(text).to_owned();
        self.scope = scope;
        self.finish_tag(tag);
        Ok(StreamItem::Open(header))
    }

    fn finish_tag(&mut self, tag: Tag) {
        self.scanner.reset();
        self.start += tag.end;
        self.state = if tag.empty { State::Closing } else { State::Open };
    }

    fn end_of_stream(&mut self) -> Result<StreamItem, Stop> {
        let len = self.scanner.end_tag(&self.buf[self.start..], &self.root_name).map_err(Stop::Fail)?.ok_or(Stop::More)?;
        self.scanner.reset();
        self.start += len;
        self.state = State::Closed;
        Ok(StreamItem::Close)
    }
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer")
            .field("state", &self.state)
            .field("buffered", &(self.buf.len() - self.start))
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// The first bytes of a character that a read has cut.
#[derive(Debug, Default)]
struct Partial {
    bytes: [u8; 4],
    len: usize,
}

/// Bytes that are no UTF-8.
struct InvalidUtf8;

impl Partial {
    fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Completes the character with the first of `bytes`; gives it, and what is left of them.
    fn complete<'b>(&mut self, bytes: &'b [u8]) -> Result<(Option<char>, &'b [u8]), InvalidUtf8> {
        let mut rest = bytes;
        while self.len > 0 {
            let Some((&b, after)) = rest.split_first() else { break };
            rest = after;
            self.bytes[self.len] = b;
            self.len += 1;
            match std::str::from_utf8(&self.bytes[..self.len]) {
                Ok(text) => {
                    self.len = 0;
                    return Ok((text.chars().next(), rest));
                }
                Err(e) if e.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {}
            }
        }
        Ok((None, rest))
    }

    /// Cuts off the start of a character at the end of `bytes` and keeps it.
    fn cut<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        for back in 1..=bytes.len().min(3) {
            let at = bytes.len() - back;
            let wanted = match bytes[at] {
                0xC0..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xFF => 4,
                0x80..=0xBF => continue,
                _ => break,
            };
            if wanted > back && matches!(std::str::from_utf8(&bytes[at..]), Err(e) if e.error_len().is_none()) {
                self.bytes[..back].copy_from_slice(&bytes[at..]);
                self.len = back;
                return &bytes[..at];
            }
            break;
        }
        bytes
    }
}

/// A stream header: the root element's start tag (RFC 6120 §4.7).
#[derive(Clone)]
pub struct StreamHeader(Arc<HeaderInner>);

#[cfg_attr(test, derive(PartialEq))]
struct HeaderInner {
    name: String,
    ns: String,
    from: Option<String>,
    to: Option<String>,
    id: Option<String>,
    version: Option<String>,
    scope: Arc<StreamScope>,
}

impl StreamHeader {
    #[cfg(test)]
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn new(text: &str, scanner: &Scanner, scope: Arc<StreamScope>) -> Self {
        let attr = |name: &str| {
            scanner.attrs.iter().find(|a| a.name(text) == name).map(|a| decode::attribute(a.value(text)).into_owned())
        };
        Self(Arc::new(HeaderInner {
            name: scanner.root.name.of(text).to_owned(),
            ns: ns_str(text, &scope, scanner.root.ns).into_owned(),
            from: attr("from"),
            to: attr("to"),
            id: attr("id"),
            version: attr("version"),
            scope,
        }))
    }

    /// The local name; `stream` if the peer speaks XMPP.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The namespace; [`ns::STREAM`](crate::xml::ns::STREAM) if the peer speaks XMPP.
    #[must_use]
    pub fn ns(&self) -> &str {
        &self.0.ns
    }

    /// The content namespace: what the header declares as default (RFC 6120 §4.8.3). Empty if it declares none.
    #[must_use]
    pub fn content_ns(&self) -> &str {
        self.0.scope.content_ns()
    }

    /// The attribute `from`.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        self.0.from.as_deref()
    }

    /// The attribute `to`.
    #[must_use]
    pub fn to(&self) -> Option<&str> {
        self.0.to.as_deref()
    }

    /// The attribute `id`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// The attribute `version`, as it was written.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    /// The attribute `xml:lang`: the language of everything in the stream that names no other.
    #[must_use]
    pub fn lang(&self) -> Option<&str> {
        self.0.scope.lang()
    }
}

impl fmt::Debug for StreamHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHeader")
            .field("name", &self.0.name)
            .field("ns", &self.0.ns)
            .field("content_ns", &self.content_ns())
            .field("from", &self.0.from)
            .field("to", &self.0.to)
            .field("id", &self.0.id)
            .field("version", &self.0.version)
            .field("lang", &self.lang())
            .finish()
    }
}
