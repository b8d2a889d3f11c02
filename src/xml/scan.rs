//! The checking scanner: one top-level element, token by token, resumable at any byte.
//!
//! Its verdict on a token depends on that token's bytes alone and never on how they were cut into reads: text is judged as
//! far as it is there, a tag once its end is there. What is searched is remembered, so that a token which arrives byte by
//! byte is looked at a constant number of times per byte.

use super::chars::{self, CLASS, NAME, NAME_START, SPACE};
use super::decode;
use super::error::XmlErrorKind as Kind;
use super::frame::{Header, NodeData, Prefix};
use super::limits::Limits;
use super::ns;
use super::scope::{NsRef, Span, StreamScope};

/// What is wrong, and at which offset from the start of the element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fail {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

fn fail<T>(kind: Kind, at: usize) -> Result<T, Stop> {
    Err(Stop::Fail(Fail { kind, at }))
}

/// Why a token was not read.
enum Stop {
    /// It is not all there.
    More,
    Fail(Fail),
}

impl From<Fail> for Stop {
    fn from(fail: Fail) -> Self {
        Self::Fail(fail)
    }
}

/// References longer than this are refused, so that an endless `&#x000…` cannot be rescanned for ever.
const MAX_REFERENCE: usize = 64;

/// A start tag that was read; its attributes are in [`Scanner::attrs`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    name: QName,
    pub(super) end: usize,
    pub(super) empty: bool,
}

/// A qualified name: its range, and where its colon is (0: it has none).
#[derive(Debug, Clone, Copy)]
struct QName {
    start: usize,
    end: usize,
    colon: usize,
}

impl QName {
    fn full(self) -> Span {
        Span::new(self.start, self.end)
    }

    fn local(self) -> Span {
        Span::new(if self.colon == 0 { self.start } else { self.colon + 1 }, self.end)
    }

    fn prefix(self, bytes: &[u8]) -> &[u8] {
        if self.colon == 0 { b"" } else { &bytes[self.start..self.colon] }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Attr {
    name: QName,
    value: Span,
    /// Length, first and last byte of the name, for a quick comparison.
    key: u32,
    escaped: bool,
}

impl Attr {
    pub(super) fn name(self, text: &str) -> &str {
        self.name.full().of(text)
    }

    pub(super) fn value(self, text: &str) -> &str {
        self.value.of(text)
    }

    fn is(self, bytes: &[u8], name: &[u8]) -> bool {
        self.name.end - self.name.start == name.len() && &bytes[self.name.start..self.name.end] == name
    }
}

/// An element that is open.
#[derive(Debug, Clone, Copy)]
struct Open {
    name: Span,
    default: NsRef,
    lang: Span,
    /// How many prefix declarations there were before it.
    prefixes: u32,
}

#[derive(Debug)]
pub(super) struct Scanner {
    limits: Limits,
    /// Where the next token starts.
    pos: usize,
    /// How far that token has been searched for its end, and inside which quotation mark (0: none).
    searched: usize,
    quote: u8,
    stack: Vec<Open>,
    pub(super) attrs: Vec<Attr>,
    // What becomes the frame's index.
    pub(super) root: NodeData,
    pub(super) header: Header,
    pub(super) children: Vec<NodeData>,
    pub(super) prefixes: Vec<Prefix>,
}

impl Scanner {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            pos: 0,
            searched: 0,
            quote: 0,
            stack: Vec::new(),
            attrs: Vec::new(),
            root: NodeData::EMPTY,
            header: Header::EMPTY,
            children: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    /// Forgets everything, for the next element.
    pub(super) fn reset(&mut self) {
        self.pos = 0;
        self.searched = 0;
        self.quote = 0;
        self.stack.clear();
        self.attrs.clear();
        self.root = NodeData::EMPTY;
        self.header = Header::EMPTY;
        self.children.clear();
        self.prefixes.clear();
    }

    /// Reads on in an element whose `<` is the first byte of `text`, which holds what is there of it and perhaps more.
    /// Gives its length once it is complete; call [`reset`](Self::reset) then.
    pub(super) fn element(&mut self, text: &str, scope: &StreamScope) -> Result<Option<usize>, Fail> {
        let bytes = self.window(text);
        loop {
            match self.token(text, bytes, scope) {
                Ok(()) if self.stack.is_empty() => return Ok(Some(self.pos)),
                Ok(()) => {}
                Err(Stop::More) => return self.more(text, bytes).map(|()| None),
                Err(Stop::Fail(fail)) => return Err(fail),
            }
        }
    }

    /// Reads a start tag that stands alone, the stream header's: its `<` is the first byte of `text`.
    pub(super) fn header_tag(&mut self, text: &str) -> Result<Option<Tag>, Fail> {
        let bytes = self.window(text);
        match self.start_tag(text, bytes) {
            Ok(tag) => Ok(Some(tag)),
            Err(Stop::More) => self.more(text, bytes).map(|()| None),
            Err(Stop::Fail(fail)) => Err(fail),
        }
    }

    /// No token may reach beyond the size limit; cutting the text there makes the verdict independent of the reads.
    fn window<'t>(&self, text: &'t str) -> &'t [u8] {
        let bytes = text.as_bytes();
        &bytes[..bytes.len().min(self.limits.max_stanza_bytes)]
    }

    fn more(&self, text: &str, bytes: &[u8]) -> Result<(), Fail> {
        if text.len() > bytes.len() { Err(Fail { kind: Kind::StanzaTooLarge, at: bytes.len() }) } else { Ok(()) }
    }

    /// Reads the token at `pos` and moves `pos` behind it.
    fn token(&mut self, text: &str, bytes: &[u8], scope: &StreamScope) -> Result<(), Stop> {
        let p = self.pos;
        if get(bytes, p)? != b'<' {
            return self.text(bytes);
        }
        match get(bytes, p + 1)? {
            b'/' => self.close(text, bytes)?,
            b'!' => self.declaration(bytes)?,
            b'?' => return fail(Kind::ProcessingInstruction, p),
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
            let Some(i) = memchr::memchr3(b'<', b'&', b']', &bytes[self.pos..]) else {
                self.pos = bytes.len();
                return Err(Stop::More);
            };
            self.pos += i;
            match bytes[self.pos] {
                b'<' => return Ok(()),
                b'&' => self.pos = reference(bytes, self.pos)?,
                _ => {
                    if get(bytes, self.pos + 1)? == b']' && get(bytes, self.pos + 2)? == b'>' {
                        return fail(Kind::CdataEndInText, self.pos);
                    }
                    self.pos += 1;
                }
            }
        }
    }

    /// `<!`: a CDATA section, or what RFC 6120 §11.1 forbids.
    fn declaration(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        const OPEN: &[u8] = b"<![CDATA[";
        let p = self.pos;
        let start = p + OPEN.len();
        if bytes.len() < start || &bytes[p..start] != OPEN {
            return Err(declaration_kind(bytes, p));
        }
        if self.stack.is_empty() {
            return fail(Kind::TextOutsideElement, p);
        }
        let mut from = start.max(self.searched);
        while let Some(i) = memchr::memchr(b'>', &bytes[from..]) {
            let end = from + i;
            if end >= start + 2 && &bytes[end - 2..end] == b"]]" {
                self.pos = end + 1;
                return Ok(());
            }
            from = end + 1;
        }
        self.searched = bytes.len();
        Err(Stop::More)
    }

    fn close(&mut self, text: &str, bytes: &[u8]) -> Result<(), Stop> {
        let Some(open) = self.stack.last().copied() else { return fail(Kind::Syntax, self.pos) };
        self.pos = self.end_tag_of(text, bytes, open.name.of_bytes(bytes))?;
        self.stack.pop();
        self.ended(open);
        Ok(())
    }

    /// Reads the end tag that `text` starts with, the stream's: gives its length once it is complete.
    pub(super) fn end_tag(&mut self, text: &str, name: &str) -> Result<Option<usize>, Fail> {
        let bytes = self.window(text);
        match self.end_tag_of(text, bytes, name.as_bytes()) {
            Ok(end) => Ok(Some(end)),
            Err(Stop::More) => self.more(text, bytes).map(|()| None),
            Err(Stop::Fail(fail)) => Err(fail),
        }
    }

    /// Reads the end tag at `pos`, which is to have this name, and gives the offset behind it.
    fn end_tag_of(&mut self, text: &str, bytes: &[u8], name: &[u8]) -> Result<usize, Stop> {
        let p = self.pos;
        let start = p + 2;
        let simple_end = start + name.len();
        if bytes.get(simple_end) == Some(&b'>') && &bytes[start..simple_end] == name {
            return Ok(simple_end + 1);
        }
        let from = start.max(self.searched);
        let Some(i) = bytes.get(from..).and_then(|rest| memchr::memchr2(b'>', b'<', rest)) else {
            self.searched = bytes.len();
            return Err(Stop::More);
        };
        let end = from + i;
        if bytes[end] == b'<' {
            return fail(Kind::Syntax, p);
        }
        let written = text[start..end].trim_end_matches([' ', '\t', '\r', '\n']);
        if written.as_bytes() == name {
            return Ok(end + 1);
        }
        fail(if is_qname(text, start, start + written.len()) { Kind::MismatchedTag } else { Kind::Name }, p)
    }

    /// An element ended at `pos`: its range is known now, and what it declared is out of scope.
    fn ended(&mut self, open: Open) {
        let end = self.pos as u32;
        for prefix in &mut self.prefixes[open.prefixes as usize..] {
            if prefix.end == u32::MAX {
                prefix.end = end;
            }
        }
        match self.stack.len() {
            0 => self.root.end = end,
            1 => {
                if let Some(child) = self.children.last_mut() {
                    child.end = end;
                }
            }
            _ => {}
        }
    }

    /// Reads the start tag at `pos`, judged only once its end is there.
    fn start_tag(&mut self, text: &str, bytes: &[u8]) -> Result<Tag, Stop> {
        if self.searched == 0 {
            match self.parse_start_tag(text, bytes) {
                Ok(tag) => return Ok(tag),
                Err(stop) => {
                    if self.find_tag_end(bytes) {
                        return Err(stop.or_syntax(self.pos));
                    }
                    return Err(Stop::More);
                }
            }
        }
        if !self.find_tag_end(bytes) {
            return Err(Stop::More);
        }
        self.parse_start_tag(text, bytes).map_err(|stop| stop.or_syntax(self.pos))
    }

    /// Looks on for the end of the tag at `pos`: `>` outside quotation marks, or a `<`, which no tag may hold.
    fn find_tag_end(&mut self, bytes: &[u8]) -> bool {
        let mut i = self.searched.max(self.pos + 1);
        while let Some(&b) = bytes.get(i) {
            i += 1;
            match b {
                b'<' => return true,
                b'>' if self.quote == 0 => return true,
                b'"' | b'\'' if self.quote == 0 => self.quote = b,
                _ if b == self.quote => self.quote = 0,
                _ => {}
            }
        }
        self.searched = i;
        false
    }

    fn parse_start_tag(&mut self, text: &str, bytes: &[u8]) -> Result<Tag, Stop> {
        let name = self.qname(text, bytes, self.pos + 1)?;
        self.attrs.clear();
        let mut i = name.end;
        loop {
            let spaced = CLASS[get(bytes, i)? as usize] & SPACE != 0;
            i = skip_space(bytes, i);
            match get(bytes, i)? {
                b'>' => return Ok(Tag { name, end: i + 1, empty: false }),
                b'/' => {
                    return match get(bytes, i + 1)? {
                        b'>' => Ok(Tag { name, end: i + 2, empty: true }),
                        _ => fail(Kind::Syntax, i),
                    };
                }
                _ if !spaced => return fail(if i == name.end { Kind::Name } else { Kind::Syntax }, i),
                _ => i = self.attribute(text, bytes, i)?,
            }
        }
    }

    /// Reads the attribute at `i` and gives the offset behind it.
    fn attribute(&mut self, text: &str, bytes: &[u8], i: usize) -> Result<usize, Stop> {
        let name = self.qname(text, bytes, i)?;
        let mut i = skip_space(bytes, name.end);
        if get(bytes, i)? != b'=' {
            return fail(Kind::Syntax, i);
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
                b'<' => return fail(Kind::LessThanInAttribute, at),
                b'&' => {
                    escaped = true;
                    from = reference(bytes, at)?;
                }
                _ => break at,
            }
        };
        if self.attrs.len() >= usize::from(self.limits.max_attributes) {
            return fail(Kind::TooManyAttributes, name.start);
        }
        let len = name.end - name.start;
        let key = (len as u32) << 16 | u32::from(bytes[name.start]) << 8 | u32::from(bytes[name.end - 1]);
        self.attrs.push(Attr { name, value: Span::new(start, end), key, escaped });
        Ok(end + 1)
    }

    fn qname(&self, text: &str, bytes: &[u8], start: usize) -> Result<QName, Stop> {
        let name = qname(text, bytes, start)?;
        if name.end - name.start > usize::from(self.limits.max_name_bytes) {
            return fail(Kind::NameTooLong, start);
        }
        Ok(name)
    }

    /// The start tag at `pos` is well-formed in itself; now what it means where it stands.
    fn open(&mut self, text: &str, bytes: &[u8], tag: Tag, scope: &StreamScope) -> Result<(), Stop> {
        let p = self.pos;
        let depth = self.stack.len();
        if depth >= usize::from(self.limits.max_depth) {
            return fail(Kind::TooDeep, p);
        }
        let (mut default, mut lang) = match self.stack.last() {
            Some(parent) => (parent.default, parent.lang),
            None => (scope.resolve("").unwrap_or(NsRef::NONE), Span::NONE),
        };
        let before = self.prefixes.len();
        let mut prefixed = 0usize;
        for k in 0..self.attrs.len() {
            let a = self.attrs[k];
            if a.name.colon == 0 {
                if a.is(bytes, b"xmlns") {
                    default = declared(text, a, scope)?;
                }
            } else if a.name.prefix(bytes) == b"xmlns" {
                self.declare_prefix(text, a, scope)?;
            } else {
                prefixed += 1;
                if a.is(bytes, b"xml:lang") {
                    lang = a.value;
                }
            }
        }
        self.check_duplicates(bytes)?;
        if prefixed > 0 {
            self.check_prefixed(text, bytes, scope, prefixed)?;
        }
        let ns = if tag.name.colon == 0 { default } else { self.resolve(text, bytes, tag.name, scope)? };

        if depth <= 1 {
            let node = NodeData {
                start: p as u32,
                name: tag.name.local(),
                content: tag.end as u32,
                end: if tag.empty { tag.end as u32 } else { 0 },
                ns,
                default,
                lang,
            };
            if depth == 0 {
                self.root = node;
                self.header = self.header_of(bytes);
            } else {
                if self.children.len() >= usize::from(self.limits.max_children) {
                    return fail(Kind::TooManyChildren, p);
                }
                self.children.push(node);
            }
        }
        if tag.empty {
            // What it declared ended with it.
            for prefix in &mut self.prefixes[before..] {
                prefix.end = tag.end as u32;
            }
        } else {
            self.stack.push(Open { name: tag.name.full(), default, lang, prefixes: before as u32 });
        }
        Ok(())
    }

    fn header_of(&self, bytes: &[u8]) -> Header {
        let mut header = Header::EMPTY;
        for a in &self.attrs {
            match a.name.full().of_bytes(bytes) {
                b"from" => header.from = a.value,
                b"to" => header.to = a.value,
                b"id" => header.id = a.value,
                b"type" => header.kind = a.value,
                _ => {}
            }
        }
        header
    }

    /// `xmlns:prefix='value'`.
    fn declare_prefix(&mut self, text: &str, a: Attr, scope: &StreamScope) -> Result<(), Stop> {
        let prefix = a.name.local();
        let value = declared_uri(text, a);
        let legal = match prefix.of(text) {
            "xmlns" => false,
            "xml" => value == ns::XML,
            _ => !value.is_empty() && value != ns::XML && value != ns::XMLNS,
        };
        if !legal {
            return fail(Kind::NamespaceDeclaration, a.name.start);
        }
        if self.prefixes.len() >= usize::from(self.limits.max_prefixes) {
            return fail(Kind::TooManyPrefixes, a.name.start);
        }
        let ns = NsRef::text(a.value, needs_decoding(text, a), scope.is_content(&value));
        self.prefixes.push(Prefix { start: self.pos as u32, end: u32::MAX, name: prefix, ns });
        Ok(())
    }

    fn check_duplicates(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let attrs = &self.attrs;
        for (k, a) in attrs.iter().enumerate() {
            for b in &attrs[..k] {
                if a.key == b.key && a.name.full().of_bytes(bytes) == b.name.full().of_bytes(bytes) {
                    return fail(Kind::DuplicateAttribute, a.name.start);
                }
            }
        }
        Ok(())
    }

    /// Prefixed attributes: every prefix declared, no two the same by namespace and local name.
    fn check_prefixed(&self, text: &str, bytes: &[u8], scope: &StreamScope, count: usize) -> Result<(), Stop> {
        let mut seen: Vec<(NsRef, Span)> = Vec::new();
        for a in &self.attrs {
            if a.name.colon == 0 || a.name.prefix(bytes) == b"xmlns" {
                continue;
            }
            let ns = self.resolve(text, bytes, a.name, scope)?;
            if count == 1 {
                return Ok(());
            }
            let local = a.name.local();
            for &(other, name) in &seen {
                if name.of(text) == local.of(text)
                    && super::frame::ns_str(text, scope, ns) == super::frame::ns_str(text, scope, other)
                {
                    return fail(Kind::DuplicateAttribute, a.name.start);
                }
            }
            seen.push((ns, local));
        }
        Ok(())
    }

    fn resolve(&self, text: &str, bytes: &[u8], name: QName, scope: &StreamScope) -> Result<NsRef, Stop> {
        let prefix = name.prefix(bytes);
        if prefix == b"xml" {
            return Ok(NsRef::XML);
        }
        for declared in self.prefixes.iter().rev() {
            if declared.end == u32::MAX && declared.name.of_bytes(bytes) == prefix {
                return Ok(declared.ns);
            }
        }
        scope.resolve(&text[name.start..name.colon]).ok_or(Stop::Fail(Fail { kind: Kind::UndeclaredPrefix, at: name.start }))
    }

    /// What a stream header that was read by [`header_tag`](Self::header_tag) declares: its bindings, default namespace
    /// under the empty prefix. Checks the tag as [`open`](Self::open) does.
    pub(super) fn header_scope(&mut self, text: &str, tag: Tag) -> Result<StreamScope, Fail> {
        let nothing = StreamScope::standalone(ns::CLIENT);
        match self.open(text, text.as_bytes(), Tag { empty: true, ..tag }, &nothing) {
            Ok(()) => {}
            Err(stop) => return Err(stop.or_syntax(0).into_fail(0)),
        }
        let mut bindings = Vec::new();
        let mut lang = None;
        for a in &self.attrs {
            let value = || decode::attribute(a.value(text)).into_owned().into_boxed_str();
            match a.name(text) {
                "xmlns" => bindings.push(("".into(), value())),
                "xml:lang" => lang = Some(value()).filter(|l| !l.is_empty()),
                name => {
                    if let Some(prefix) = name.strip_prefix("xmlns:") {
                        bindings.push((prefix.into(), value()));
                    }
                }
            }
        }
        Ok(StreamScope::new(bindings, lang))
    }
}

impl Tag {
    /// The qualified name, as it is written.
    pub(super) fn name(self, text: &str) -> &str {
        self.name.full().of(text)
    }
}

impl Stop {
    fn or_syntax(self, at: usize) -> Self {
        match self {
            Self::More => Self::Fail(Fail { kind: Kind::Syntax, at }),
            fail @ Self::Fail(_) => fail,
        }
    }

    fn into_fail(self, at: usize) -> Fail {
        match self {
            Self::More => Fail { kind: Kind::Syntax, at },
            Self::Fail(fail) => fail,
        }
    }
}

fn get(bytes: &[u8], i: usize) -> Result<u8, Stop> {
    bytes.get(i).copied().ok_or(Stop::More)
}

fn skip_space(bytes: &[u8], mut i: usize) -> usize {
    while bytes.get(i).is_some_and(|&b| chars::is_space(b)) {
        i += 1;
    }
    i
}

/// The value of `xmlns='…'`.
fn declared(text: &str, a: Attr, scope: &StreamScope) -> Result<NsRef, Stop> {
    let value = declared_uri(text, a);
    if value == ns::XML || value == ns::XMLNS {
        return fail(Kind::NamespaceDeclaration, a.name.start);
    }
    if value.is_empty() {
        return Ok(NsRef::NONE);
    }
    Ok(NsRef::text(a.value, needs_decoding(text, a), scope.is_content(&value)))
}

fn declared_uri(text: &str, a: Attr) -> std::borrow::Cow<'_, str> {
    decode::attribute(a.value(text))
}

fn needs_decoding(text: &str, a: Attr) -> bool {
    a.escaped || a.value(text).bytes().any(|b| b < 0x20)
}

/// A qualified name at `start` (Namespaces in XML §4).
fn qname(text: &str, bytes: &[u8], start: usize) -> Result<QName, Stop> {
    let mut i = ncname(text, bytes, start)?;
    let mut colon = 0;
    if get(bytes, i)? == b':' {
        colon = i;
        i = ncname(text, bytes, i + 1)?;
        if get(bytes, i)? == b':' {
            return fail(Kind::Name, start);
        }
    }
    Ok(QName { start, end: i, colon })
}

/// The end of the name without colon at `start`.
fn ncname(text: &str, bytes: &[u8], start: usize) -> Result<usize, Stop> {
    let mut i = start;
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
            if !chars::is_name_char_beyond_ascii(c, i == start) {
                return fail(Kind::Name, start);
            }
            i += c.len_utf8();
        } else if i == start {
            return fail(Kind::Name, start);
        } else {
            return Ok(i);
        }
    }
}

fn is_qname(text: &str, start: usize, end: usize) -> bool {
    matches!(qname(text, text.as_bytes(), start), Ok(name) if name.end == end)
}

/// The offset behind the reference at `i`.
fn reference(bytes: &[u8], i: usize) -> Result<usize, Stop> {
    let name = &bytes[i + 1..bytes.len().min(i + MAX_REFERENCE)];
    let Some(len) = name.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'#') else {
        return if i + MAX_REFERENCE <= bytes.len() { fail(Kind::ReferenceTooLong, i) } else { Err(Stop::More) };
    };
    let kind = if name.first() == Some(&b'#') { Kind::CharacterReference } else { Kind::Entity };
    if name[len] == b';' && decode::reference(&name[..len]).is_some() {
        return Ok(i + 1 + len + 1);
    }
    // An entity's name may hold more than letters and digits; what is no reference at all is bad syntax.
    match kind {
        Kind::Entity if len == 0 => fail(Kind::Syntax, i),
        kind => fail(kind, i),
    }
}

/// Which forbidden thing between top-level elements starts with this `<!` or `<?`; `None` if that cannot be told yet.
pub(super) fn forbidden(text: &str) -> Option<Kind> {
    let bytes = text.as_bytes();
    if bytes.starts_with(b"<![CDATA[") {
        return Some(Kind::TextOutsideElement);
    }
    if bytes.starts_with(b"<!") {
        return match declaration_kind(bytes, 0) {
            Stop::More => None,
            Stop::Fail(fail) => Some(fail.kind),
        };
    }
    match bytes.strip_prefix(b"<?xml") {
        Some([]) => None,
        Some([b, ..]) if chars::is_space(*b) => Some(Kind::XmlDeclaration),
        None if b"<?xml".starts_with(bytes) => None,
        _ => Some(Kind::ProcessingInstruction),
    }
}

/// `<!` that starts no CDATA section, or not all of it is there.
fn declaration_kind(bytes: &[u8], p: usize) -> Stop {
    let rest = &bytes[p..];
    let kind = if rest.len() < 9 && b"<![CDATA[".starts_with(rest) || rest.len() < 4 && b"<!--".starts_with(rest) {
        return Stop::More;
    } else if rest.starts_with(b"<!--") {
        Kind::Comment
    } else if rest.get(2).is_some_and(u8::is_ascii_alphabetic) {
        Kind::Doctype
    } else {
        Kind::Syntax
    };
    Stop::Fail(Fail { kind, at: p })
}

/// What stands at the start of a stream or document that is neither whitespace nor an element.
pub(super) enum Prolog {
    /// An XML declaration of this many bytes.
    Declaration(usize),
    More,
}

/// Reads the XML declaration at the start of `text`, whose first bytes are `<?` (XML 1.0 §2.8, RFC 6120 §11.5 and §11.6).
pub(super) fn xml_declaration(text: &str) -> Result<Prolog, Fail> {
    const MAX: usize = 256;
    let bytes = text.as_bytes();
    let open = b"<?xml";
    if bytes.len() <= open.len() {
        return if open.starts_with(bytes) { Ok(Prolog::More) } else { Err(Fail { kind: Kind::ProcessingInstruction, at: 0 }) };
    }
    if !bytes.starts_with(open) || !chars::is_space(bytes[open.len()]) {
        return Err(Fail { kind: Kind::ProcessingInstruction, at: 0 });
    }
    let Some(end) = bytes[..bytes.len().min(MAX)].windows(2).position(|w| w == b"?>") else {
        return if bytes.len() >= MAX { Err(Fail { kind: Kind::XmlDeclaration, at: 0 }) } else { Ok(Prolog::More) };
    };
    let malformed = Fail { kind: Kind::XmlDeclaration, at: 0 };
    let mut rest = &text[open.len()..end];
    let version = pseudo_attribute(&mut rest, "version").ok_or(malformed)?;
    if version != "1.0" {
        return Err(Fail { kind: Kind::XmlVersion, at: 0 });
    }
    if let Some(encoding) = pseudo_attribute(&mut rest, "encoding")
        && !encoding.eq_ignore_ascii_case("utf-8")
    {
        return Err(Fail { kind: Kind::Encoding, at: 0 });
    }
    if let Some(standalone) = pseudo_attribute(&mut rest, "standalone")
        && standalone != "yes"
        && standalone != "no"
    {
        return Err(malformed);
    }
    if rest.bytes().all(chars::is_space) { Ok(Prolog::Declaration(end + 2)) } else { Err(malformed) }
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
