//! The checking scanner: one top-level element, token by token, resumable at any byte.
//!
//! Its verdict on a token depends on that token's bytes alone and never on how they were cut into reads: text is judged as
//! far as it is there, a tag once its end is there. What was searched is remembered, so that a token which arrives byte by
//! byte is looked at a constant number of times per byte.

mod meaning;

use super::chars;
use super::checks::{Check, Checks};
use super::error::XmlErrorKind as Kind;
use super::frame::{Header, NodeData, Prefix};
use super::limits::Limits;
use super::scope::{NsRef, Span, StreamScope};
use super::syntax::{Fail, Key, QName, Stop, fail, forbidden, get, is_qname, key, plain_attribute, qname, reference};

/// A start tag that was read; its attributes are in [`Scanner::attrs`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    name: QName,
    key: Key,
    pub(super) end: usize,
    pub(super) empty: bool,
}

impl Tag {
    /// The qualified name, as it is written.
    pub(super) fn name(self, text: &str) -> &str {
        self.name.full().of(text)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Attr {
    name: QName,
    value: Span,
    key: Key,
    /// Whether the value holds references.
    escaped: bool,
}

impl Attr {
    pub(super) fn name(self, text: &str) -> &str {
        self.name.full().of(text)
    }

    pub(super) fn value(self, text: &str) -> &str {
        self.value.of(text)
    }

    fn declares_prefix(self, bytes: &[u8]) -> bool {
        self.name.colon != 0 && self.name.prefix().of_bytes(bytes) == b"xmlns"
    }
}

const XMLNS: Key = key(b"xmlns");

/// An element that is open.
#[derive(Debug, Clone, Copy)]
struct Open {
    name: Span,
    key: Key,
    default: NsRef,
    lang: Span,
    /// How many prefix declarations there were before it.
    prefixes: u32,
}

/// How many children and prefixes there is room for between elements.
const KEPT: usize = 32;

#[derive(Debug)]
pub(super) struct Scanner {
    limits: Limits,
    checks: Checks,
    /// How many bytes were looked at, one as often as it was.
    #[cfg(test)]
    pub(super) work: usize,
    /// Where the next token starts.
    pos: usize,
    /// How far that token has been searched for its end (0: not at all), and inside which quotation mark that search stopped
    /// (0: in none).
    searched: usize,
    quote: u8,
    stack: Vec<Open>,
    /// The attributes of the start tag that was read last.
    pub(super) attrs: Vec<Attr>,
    /// Which of them is `xmlns`, if one is.
    xmlns: usize,
    /// How many of them have a prefix.
    prefixed: usize,
    /// A bit for each of their names, and whether two had the same one.
    seen: u64,
    maybe_duplicate: bool,
    // What becomes the frame's index.
    pub(super) root: NodeData,
    pub(super) header: Header,
    pub(super) children: Vec<NodeData>,
    pub(super) prefixes: Vec<Prefix>,
    /// Whether there is a prefix in it that the stream's header declares.
    pub(super) outer_prefix: bool,
}

impl Scanner {
    pub(super) fn new(limits: Limits, checks: Checks) -> Self {
        Self {
            limits,
            checks,
            #[cfg(test)]
            work: 0,
            pos: 0,
            searched: 0,
            quote: 0,
            stack: Vec::new(),
            attrs: Vec::new(),
            xmlns: usize::MAX,
            prefixed: 0,
            seen: 0,
            maybe_duplicate: false,
            root: NodeData::EMPTY,
            header: Header::EMPTY,
            children: Vec::new(),
            prefixes: Vec::new(),
            outer_prefix: false,
        }
    }

    /// Forgets what was read, for the next element.
    pub(super) fn reset(&mut self) {
        self.pos = 0;
        self.searched = 0;
        self.quote = 0;
        self.stack.clear();
        self.children.clear();
        self.prefixes.clear();
        self.outer_prefix = false;
        // A large element leaves no large memory behind.
        self.children.shrink_to(KEPT);
        self.prefixes.shrink_to(KEPT);
    }

    /// Gives back what it has for the next element; there is none to be read on.
    pub(super) fn give_back(&mut self) {
        (self.stack, self.attrs, self.children, self.prefixes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let of = |capacity: usize, size: usize| capacity * size;
        of(self.stack.capacity(), size_of::<Open>())
            + of(self.attrs.capacity(), size_of::<Attr>())
            + of(self.children.capacity(), size_of::<NodeData>())
            + of(self.prefixes.capacity(), size_of::<Prefix>())
    }

    /// Reads on in an element whose `<` is the first byte of `text`, which holds what is there of it and perhaps more.
    /// Gives its length once it is complete; call [`reset`](Self::reset) then.
    pub(super) fn element(&mut self, text: &str, scope: &StreamScope) -> Result<Option<usize>, Fail> {
        let bytes = self.window(text);
        loop {
            match self.token(text, bytes, scope) {
                Ok(()) if self.stack.is_empty() => return Ok(Some(self.pos)),
                Ok(()) => {}
                Err(Stop::More) => return self.more(text, bytes),
                Err(Stop::Fail(fail)) => return Err(fail),
            }
        }
    }

    /// Reads a start tag that stands alone, the stream header's: its `<` is the first byte of `text`.
    pub(super) fn header_tag(&mut self, text: &str) -> Result<Option<Tag>, Fail> {
        let bytes = self.window(text);
        match self.start_tag(text, bytes) {
            Ok(tag) => Ok(Some(tag)),
            Err(Stop::More) => self.more(text, bytes),
            Err(Stop::Fail(fail)) => Err(fail),
        }
    }

    /// Reads the end tag that `text` starts with, the stream's: gives its length once it is complete.
    pub(super) fn end_tag(&mut self, text: &str, name: &str) -> Result<Option<usize>, Fail> {
        let bytes = self.window(text);
        match self.end_tag_of(text, bytes, name.as_bytes()) {
            Ok(end) => Ok(Some(end)),
            Err(Stop::More) => self.more(text, bytes),
            Err(Stop::Fail(fail)) => Err(fail),
        }
    }

    /// No token may reach beyond the size limit; cutting the text there makes the verdict independent of the reads.
    fn window<'t>(&self, text: &'t str) -> &'t [u8] {
        let bytes = text.as_bytes();
        if self.checks.on(Check::StanzaBytes) { &bytes[..bytes.len().min(self.limits.max_stanza_bytes)] } else { bytes }
    }

    #[inline(always)]
    pub(super) fn looked_at(&mut self, bytes: usize) {
        #[cfg(test)]
        {
            self.work += bytes;
        }
        let _ = bytes;
    }

    fn more<T>(&self, text: &str, bytes: &[u8]) -> Result<Option<T>, Fail> {
        if text.len() > bytes.len() { Err(Fail::new(Kind::StanzaTooLarge, bytes.len())) } else { Ok(None) }
    }

    /// Reads the token at `pos` and moves `pos` behind it.
    #[inline(always)]
    fn token(&mut self, text: &str, bytes: &[u8], scope: &StreamScope) -> Result<(), Stop> {
        let p = self.pos;
        if get(bytes, p)? != b'<' {
            return self.text(bytes);
        }
        match get(bytes, p + 1)? {
            b'/' => self.close(text, bytes)?,
            b'!' | b'?' => self.special(bytes)?,
            _ => {
                let tag = self.start_tag(text, bytes)?;
                self.open(text, bytes, tag, scope)?;
                self.pos = tag.end;
            }
        }
        self.searched = 0;
        self.quote = 0;
        Ok(())
    }

    /// Text needs no index, so it is simply checked as far as it goes.
    fn text(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        loop {
            let Some(i) = next_in_text(&bytes[self.pos..]) else {
                self.looked_at(bytes.len() - self.pos);
                self.pos = bytes.len();
                return Err(Stop::More);
            };
            self.looked_at(i + 1);
            self.pos += i;
            match bytes[self.pos] {
                b'<' => return Ok(()),
                b'&' => self.pos = reference(bytes, self.pos, self.checks)?,
                _ => {
                    if get(bytes, self.pos + 1)? == b']'
                        && get(bytes, self.pos + 2)? == b'>'
                        && self.checks.on(Check::CdataEndInText)
                    {
                        return fail(Kind::CdataEndInText, self.pos);
                    }
                    self.pos += 1;
                }
            }
        }
    }

    /// `<!` or `<?`: a CDATA section, or what RFC 6120 §11.1 forbids.
    fn special(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        const OPEN: &[u8] = b"<![CDATA[";
        if !bytes[self.pos..].starts_with(OPEN) {
            self.pos = forbidden(bytes, self.pos, self.checks)?;
            return Ok(());
        }
        let start = self.pos + OPEN.len();
        let mut from = start.max(self.searched);
        while let Some(i) = memchr::memchr(b'>', &bytes[from..]) {
            let end = from + i;
            self.looked_at(i + 1);
            if end >= start + 2 && &bytes[end - 2..end] == b"]]" {
                self.pos = end + 1;
                return Ok(());
            }
            from = end + 1;
        }
        self.looked_at(bytes.len() - from);
        self.searched = bytes.len();
        Err(Stop::More)
    }

    #[inline(always)]
    fn close(&mut self, text: &str, bytes: &[u8]) -> Result<(), Stop> {
        let Some(open) = self.stack.last().copied() else { return fail(Kind::Syntax, self.pos) };
        self.pos = match short_end_tag(bytes, self.pos + 2, open) {
            Some(end) => end,
            None => self.end_tag_of(text, bytes, open.name.of_bytes(bytes))?,
        };
        self.stack.pop();
        let depth = self.stack.len();
        if depth == 1 {
            if let Some(child) = self.children.last_mut() {
                child.end = self.pos as u32;
            }
        } else if depth == 0 {
            self.root.end = self.pos as u32;
        }
        if self.prefixes.len() > open.prefixes as usize {
            self.end_prefixes(open.prefixes as usize, self.pos);
        }
        Ok(())
    }

    /// Reads the end tag at `pos`, which is to have this name, and gives the offset behind it.
    fn end_tag_of(&mut self, text: &str, bytes: &[u8], name: &[u8]) -> Result<usize, Stop> {
        let start = self.pos + 2;
        let end = start + name.len();
        if bytes.get(end) == Some(&b'>') && &bytes[start..end] == name {
            return Ok(end + 1);
        }
        self.odd_end_tag(text, bytes, name)
    }

    /// An end tag that holds whitespace, is not all there, or is wrong.
    #[cold]
    fn odd_end_tag(&mut self, text: &str, bytes: &[u8], name: &[u8]) -> Result<usize, Stop> {
        let start = self.pos + 2;
        let from = start.max(self.searched);
        self.looked_at(bytes.len().saturating_sub(from) + name.len());
        let Some(i) = memchr::memchr2(b'>', b'<', bytes.get(from..).unwrap_or_default()) else {
            self.searched = bytes.len();
            return Err(Stop::More);
        };
        let end = from + i;
        if bytes[end] == b'<' {
            return fail(Kind::Syntax, self.pos);
        }
        let written = text[start..end].trim_end_matches([' ', '\t', '\r', '\n']);
        if written.as_bytes() == name || !self.checks.on(Check::TagBalance) {
            return Ok(end + 1);
        }
        let kind = if is_qname(text, start, start + written.len()) { Kind::MismatchedTag } else { Kind::Name };
        fail(kind, self.pos)
    }

    /// The element that declared the prefixes from this one on ended here; those of its children have ended already.
    fn end_prefixes(&mut self, first: usize, end: usize) {
        for prefix in &mut self.prefixes[first..] {
            prefix.end = prefix.end.min(end as u32);
        }
    }

    /// Reads the start tag at `pos`, judged only once its end is there.
    #[inline(always)]
    fn start_tag(&mut self, text: &str, bytes: &[u8]) -> Result<Tag, Stop> {
        if self.searched == 0
            && let Ok(tag) = self.parse_start_tag(text, bytes)
        {
            self.looked_at(tag.end - self.pos);
            return Ok(tag);
        }
        self.odd_start_tag(text, bytes)
    }

    /// A start tag that is not all there, or is wrong.
    #[cold]
    fn odd_start_tag(&mut self, text: &str, bytes: &[u8]) -> Result<Tag, Stop> {
        if self.searched == 0 {
            // That was in vain, and is not tried again before all of the tag is there.
            self.looked_at(bytes.len() - self.pos);
        }
        if !self.find_tag_end(bytes) {
            return Err(Stop::More);
        }
        self.parse_start_tag(text, bytes).map_err(|stop| Stop::Fail(stop.or_syntax(self.pos)))
    }

    /// Looks on for the end of the tag at `pos`: `>` outside quotation marks, or a `<`, which no tag may hold.
    fn find_tag_end(&mut self, bytes: &[u8]) -> bool {
        let mut i = self.searched.max(self.pos + 1);
        while let Some(&b) = bytes.get(i) {
            i += 1;
            match b {
                b'<' if self.quote == 0 || self.checks.on(Check::LessThanInAttribute) => return true,
                b'>' if self.quote == 0 => return true,
                b'"' | b'\'' if self.quote == 0 => self.quote = b,
                _ if b == self.quote => self.quote = 0,
                _ => {}
            }
        }
        self.looked_at(i - self.searched.max(self.pos));
        self.searched = i;
        false
    }

    fn parse_start_tag(&mut self, text: &str, bytes: &[u8]) -> Result<Tag, Stop> {
        let (name, key) = self.qname(text, bytes, self.pos + 1)?;
        self.attrs.clear();
        self.xmlns = usize::MAX;
        self.prefixed = 0;
        self.seen = 0;
        self.maybe_duplicate = false;
        let mut i = name.end as usize;
        loop {
            i = self.plain_attributes(bytes, i);
            let spaced = chars::is_space(get(bytes, i)?);
            i = if spaced { skip_space(bytes, i + 1) } else { i };
            match get(bytes, i)? {
                b'>' => return Ok(Tag { name, key, end: i + 1, empty: false }),
                b'/' => {
                    return match get(bytes, i + 1)? {
                        b'>' => Ok(Tag { name, key, end: i + 2, empty: true }),
                        _ => fail(Kind::Syntax, i),
                    };
                }
                _ if !spaced && (i == name.end as usize || self.checks.on(Check::AttributeSpace)) => {
                    return fail(if i == name.end as usize { Kind::Name } else { Kind::Syntax }, i);
                }
                _ => i = self.attribute(text, bytes, i)?,
            }
        }
    }

    /// Reads as many attributes as are plain, and gives the offset behind them.
    #[inline(always)]
    fn plain_attributes(&mut self, bytes: &[u8], mut i: usize) -> usize {
        while let Some((name, key, start, end)) = plain_attribute(bytes, i)
            && self.attrs.len() < usize::from(self.limits.max_attributes)
            && name.len() <= usize::from(self.limits.max_name_bytes)
        {
            self.keep(Attr { name, value: Span::new(start, end), key, escaped: false });
            i = end + 1;
        }
        i
    }

    /// Reads the attribute at `i` and gives the offset behind it.
    fn attribute(&mut self, text: &str, bytes: &[u8], i: usize) -> Result<usize, Stop> {
        let (name, key) = self.qname(text, bytes, i)?;
        let mut i = name.end as usize;
        if bytes[i] != b'=' {
            i = skip_space(bytes, i);
            if get(bytes, i)? != b'=' {
                return fail(Kind::Syntax, i);
            }
        }
        i = skip_space(bytes, i + 1);
        let quote = get(bytes, i)?;
        if quote != b'"' && quote != b'\'' {
            return fail(Kind::Syntax, i);
        }
        let start = i + 1;
        let mut escaped = false;
        let mut from = start;
        let end = loop {
            let at = from + memchr::memchr3(quote, b'<', b'&', &bytes[from..]).ok_or(Stop::More)?;
            match bytes[at] {
                b'&' => {
                    escaped = true;
                    from = reference(bytes, at, self.checks)?;
                }
                b'<' if self.checks.on(Check::LessThanInAttribute) => return fail(Kind::LessThanInAttribute, at),
                b'<' => from = at + 1,
                _ => break at,
            }
        };
        if self.attrs.len() >= usize::from(self.limits.max_attributes) && self.checks.on(Check::Attributes) {
            return fail(Kind::TooManyAttributes, name.start as usize);
        }
        self.prefixed += usize::from(name.colon != 0);
        self.keep(Attr { name, value: Span::new(start, end), key, escaped });
        Ok(end + 1)
    }

    /// Keeps an attribute of the tag that is read. No branch here: which attribute comes when cannot be predicted.
    #[inline(always)]
    fn keep(&mut self, attr: Attr) {
        self.xmlns = if attr.key == XMLNS { self.attrs.len() } else { self.xmlns };
        // Names that differ rarely share a bit; those that are the same always do.
        let bit = 1u64 << (attr.key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58);
        self.maybe_duplicate |= self.seen & bit != 0;
        self.seen |= bit;
        self.attrs.push(attr);
    }

    #[inline(always)]
    fn qname(&self, text: &str, bytes: &[u8], start: usize) -> Result<(QName, Key), Stop> {
        let (name, key) = qname(text, bytes, start, self.checks)?;
        if name.len() > usize::from(self.limits.max_name_bytes) && self.checks.on(Check::NameBytes) {
            return fail(Kind::NameTooLong, start);
        }
        Ok((name, key))
    }
}

/// The end of the end tag whose name starts at `start`, if it is as nearly all are: a short name, the right one, and `>`.
/// The next byte of text that may have a meaning. Where references stand one behind another, a search by vectors takes longer to
/// begin than a look at what follows.
#[inline(always)]
fn next_in_text(text: &[u8]) -> Option<usize> {
    match text {
        [b'<' | b'&', ..] => Some(0),
        [first, b'<' | b'&', ..] if *first != b']' => Some(1),
        _ => memchr::memchr3(b'<', b'&', b']', text),
    }
}

#[inline(always)]
fn short_end_tag(bytes: &[u8], start: usize, open: Open) -> Option<usize> {
    let len = (open.name.end - open.name.start) as usize;
    let word = u64::from_le_bytes(*bytes.get(start..)?.first_chunk()?);
    let wanted = open.key | u64::from(b'>').checked_shl(8 * len as u32)?;
    let unused = 56u32.checked_sub(8 * len as u32)?;
    ((word ^ wanted) << unused == 0).then_some(start + len + 1)
}

#[inline(always)]
fn skip_space(bytes: &[u8], mut i: usize) -> usize {
    while bytes.get(i).is_some_and(|&b| chars::is_space(b)) {
        i += 1;
    }
    i
}
