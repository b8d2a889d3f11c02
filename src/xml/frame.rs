//! [`Frame`]: one top-level element that owns its bytes.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use xso::FromXml;

use super::error::{PayloadError, XmlError, XmlErrorKind};
use super::jids::SharedJid;
use super::limits::Limits;
use super::node::{Children, Node};
use super::packed::{self, Row};
use super::scan::Scanner;
use super::scope::{NsPlace, NsRef, Span, StreamScope};
use super::stanza::{Stanza, StanzaKind};
use super::{chars, decode, ns, spare, standalone};

/// A top-level element of a stream: a stanza, or what the stream itself is negotiated with.
///
/// A frame has been checked: it is well-formed, within limits, and holds nothing that RFC 6120 §11 forbids. It owns its
/// bytes, knows what the stream's header put into scope (namespaces, language), and means the same wherever it is taken.
/// Cloning counts a reference.
///
/// ```
/// use xmppkit::xml::{Frame, ns};
///
/// let frame = Frame::parse(
///     "<message xmlns='jabber:client' from='romeo@montague.example/orchard' type='chat'>\
///        <body>call me but love &amp; I&apos;ll be new baptized</body>\
///        <request xmlns='urn:xmpp:receipts'/>\
///      </message>",
/// )?;
/// assert_eq!(frame.attr("type").as_deref(), Some("chat"));
/// let body = frame.child(ns::CLIENT, "body").expect("a body");
/// assert_eq!(body.text(), "call me but love & I'll be new baptized");
/// assert!(frame.child("urn:xmpp:receipts", "request").is_some());
/// # Ok::<(), xmppkit::xml::XmlError>(())
/// ```
#[derive(Clone)]
pub struct Frame(
    /// Always there, but while it is dropped.
    Option<Arc<Inner>>,
);

/// How many children have room in a frame itself, beside one declared prefix. What is beyond stands behind the text, packed,
/// so that every frame is two pieces of memory, which the next one takes over.
const INLINE_CHILDREN: usize = 8;

#[derive(Clone)]
pub(super) struct Inner {
    /// The text, the packed children, the packed prefixes.
    buffer: String,
    text_len: u32,
    /// Where the packed children end.
    children_end: u32,
    /// None: nothing is in scope.
    scope: Option<Arc<StreamScope>>,
    root: NodeData,
    header: Header,
    kind: Option<StanzaKind>,
    /// Never spills.
    children: SmallVec<[NodeData; INLINE_CHILDREN]>,
    prefix: Option<Prefix>,
    /// The [`name_bit`]s of the children: most that are asked for are not there.
    names: u64,
    /// Whether a prefix stands in it that the stream's header declares.
    outer_prefix: bool,
    /// The sender, once somebody asked.
    sender: OnceLock<Option<SharedJid>>,
    /// The first text in it that is not what it means, with what it means, once somebody asked: nearly always the body, and those
    /// who read a message all ask for it.
    decoded: OnceLock<Decoded>,
}

#[derive(Clone)]
struct Decoded {
    /// Where it begins.
    at: u32,
    text: String,
}

/// The longest text that a frame keeps beside the one it came with.
const MAX_DECODED: usize = 16 * 1024;

/// The attributes every stanza is routed by (RFC 6120 §8.1), where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) from: Span,
    pub(super) to: Span,
    pub(super) id: Span,
    pub(super) kind: Span,
    /// Whether all of them mean what is written.
    is_plain: bool,
}

impl Header {
    pub(super) const EMPTY: Self = Self::new(Span::NONE, Span::NONE, Span::NONE, Span::NONE, true);

    const fn new(from: Span, to: Span, id: Span, kind: Span, is_plain: bool) -> Self {
        Self { from, to, id, kind, is_plain }
    }

    /// These attributes of an element in this text.
    pub(super) fn of([from, to, id, kind]: [Span; 4], text: &[u8]) -> Self {
        let is_plain = [from, to, id, kind].iter().all(|span| span.is_none() || decode::is_plain(span.of_bytes(text)));
        Self::new(from, to, id, kind, is_plain)
    }

    /// The value of one of them, decoded.
    pub(super) fn value<'t>(&self, span: Span, text: &'t str) -> Option<Cow<'t, str>> {
        if span.is_none() {
            return None;
        }
        let written = span.of(text);
        Some(if self.is_plain { Cow::Borrowed(written) } else { decode::attribute(written) })
    }
}

/// A prefix that an element inside the frame declares, and over which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) name: Span,
    pub(super) ns: NsRef,
}

/// An element inside a frame: where it stands, and what is in scope there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeData {
    /// Its `<`.
    pub(super) start: u32,
    /// Its local name.
    pub(super) name: Span,
    /// Behind its start tag.
    pub(super) content: u32,
    /// Behind its end tag; 0 where that was not looked for. An element without content ends at `content`.
    pub(super) end: u32,
    pub(super) ns: NsRef,
    /// The default namespace inside.
    pub(super) default: NsRef,
    /// The `xml:lang` value in force inside; none: the stream's.
    pub(super) lang: Span,
}

impl Prefix {
    fn pack(self) -> [u32; 6] {
        let [at, len] = self.ns.to_numbers();
        [self.start, self.end, self.name.start, self.name.end, at, len]
    }

    fn unpack([start, end, name, name_end, at, len]: [u32; 6]) -> Self {
        Self { start, end, name: Span { start: name, end: name_end }, ns: NsRef::of_numbers([at, len]) }
    }
}

impl NodeData {
    fn pack(self) -> [u32; 11] {
        let ([ns, ns_len], [default, default_len]) = (self.ns.to_numbers(), self.default.to_numbers());
        let (name, lang) = (self.name, self.lang);
        [self.start, name.start, name.end, self.content, self.end, ns, ns_len, default, default_len, lang.start, lang.end]
    }

    fn unpack(numbers: [u32; 11]) -> Self {
        let [start, name, name_end, content, end, ns, ns_len, default, default_len, lang, lang_end] = numbers;
        Self {
            start,
            name: Span { start: name, end: name_end },
            content,
            end,
            ns: NsRef::of_numbers([ns, ns_len]),
            default: NsRef::of_numbers([default, default_len]),
            lang: Span { start: lang, end: lang_end },
        }
    }

    /// Takes the next of a frame's packed children.
    pub(super) fn next_packed(rows: &mut &[Row<11>]) -> Option<Self> {
        let (first, rest) = rows.split_first()?;
        *rows = rest;
        Some(Self::unpack(packed::read(first)))
    }

    pub(super) const EMPTY: Self = Self {
        start: 0,
        name: Span { start: 0, end: 0 },
        content: 0,
        end: 0,
        ns: NsRef::NONE,
        default: NsRef::NONE,
        lang: Span::NONE,
    };
}

impl Frame {
    /// Reads one element from text that stands alone, such as a store holds: within default [`Limits`].
    ///
    /// # Errors
    ///
    /// [`XmlError`] if the text is not exactly one acceptable element (an XML declaration may precede it, whitespace may
    /// surround it).
    pub fn parse(xml: &str) -> Result<Self, XmlError> {
        Self::parse_with(xml, &Limits::default())
    }

    /// [`parse`](Self::parse) within other limits. This is also how messages of transports are read that carry one
    /// element each (RFC 7395 §3.3).
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_with(xml: &str, limits: &Limits) -> Result<Self, XmlError> {
        standalone::parse(xml, limits)
    }

    /// Takes over what the scanner found in the element that is `text`.
    pub(super) fn new(text: &str, scanner: &Scanner, scope: &Arc<StreamScope>) -> Self {
        let (children, more_children) = scanner.children.split_at(scanner.children.len().min(INLINE_CHILDREN));
        let (prefix, more_prefixes) = match scanner.prefixes.split_first() {
            Some((first, more)) => (Some(*first), more),
            None => (None, &[][..]),
        };
        let children_end = text.len() + packed::len::<11>(more_children.len());
        let len = children_end + packed::len::<6>(more_prefixes.len());
        let mut frame = spare::take(len).unwrap_or_else(|| Arc::new(Inner::with_room(spare::room_for(len))));
        // It is referred to from nowhere else.
        let inner = Arc::make_mut(&mut frame);
        inner.buffer.push_str(text);
        more_children.iter().for_each(|child| packed::write(&mut inner.buffer, child.pack()));
        more_prefixes.iter().for_each(|prefix| packed::write(&mut inner.buffer, prefix.pack()));
        (inner.text_len, inner.children_end) = (text.len() as u32, children_end as u32);
        inner.scope = if scope.is_empty() { None } else { Some(Arc::clone(scope)) };
        (inner.root, inner.header) = (scanner.root, scanner.header);
        inner.kind = if scanner.root.ns.is_content() { StanzaKind::of_name(scanner.root.name.of(text)) } else { None };
        inner.children.clear();
        inner.children.extend_from_slice(children);
        inner.prefix = prefix;
        inner.names = scanner.children.iter().fold(0, |bits, child| bits | name_bit(child.name.of_bytes(text.as_bytes())));
        inner.outer_prefix = scanner.outer_prefix;
        Self(Some(frame))
    }

    /// Whether both are the same text with the same index.
    #[cfg(test)]
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let (a, b) = (self.inner_ref(), other.inner_ref());
        (&a.buffer, a.text_len, a.children_end, a.root, a.header, a.kind, &a.children, a.prefix, a.names, a.outer_prefix)
            == (&b.buffer, b.text_len, b.children_end, b.root, b.header, b.kind, &b.children, b.prefix, b.names, b.outer_prefix)
    }

    pub(super) fn inner_ref(&self) -> &Inner {
        match &self.0 {
            Some(inner) => inner,
            None => unreachable!("a frame that was dropped"),
        }
    }

    pub(super) fn root_data(&self) -> NodeData {
        self.inner_ref().root
    }

    pub(super) fn header(&self) -> &Header {
        &self.inner_ref().header
    }

    /// The element itself.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node::new(self, self.inner_ref().root)
    }

    /// The element's local name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner_ref().root.name.of(self.inner_ref().text())
    }

    /// The element's namespace; empty if it is in none. See [`Node::ns`].
    #[must_use]
    pub fn ns(&self) -> Cow<'_, str> {
        self.root().ns()
    }

    /// Whether the element has this namespace and local name.
    #[must_use]
    pub fn is(&self, ns: &str, name: &str) -> bool {
        self.root().is(ns, name)
    }

    /// The value of the element's attribute of this name that is in no namespace, decoded.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<Cow<'_, str>> {
        self.root().attr(name)
    }

    /// The element's children, without text.
    #[must_use]
    pub fn children(&self) -> Children<'_> {
        Children::indexed(self, &self.inner_ref().children, self.inner_ref().packed_children())
    }

    /// The first child with this namespace and local name.
    #[must_use]
    pub fn child(&self, ns: &str, name: &str) -> Option<Node<'_>> {
        if self.inner_ref().names & name_bit(name.as_bytes()) == 0 {
            return None;
        }
        self.find(&self.inner_ref().children, ns, name).or_else(|| {
            let mut beyond = Children::indexed(self, &[], self.inner_ref().packed_children());
            beyond.find(|child| child.is(ns, name))
        })
    }

    /// The first of these nodes with this namespace and local name.
    pub(super) fn find(&self, nodes: &[NodeData], ns: &str, name: &str) -> Option<Node<'_>> {
        // Only what has the name is looked at as a node.
        let text = self.inner_ref().text().as_bytes();
        let mut named = nodes.iter().filter(|data| data.name.of_bytes(text) == name.as_bytes());
        named.find_map(|data| Some(Node::new(self, *data)).filter(|child| child.has_ns(ns)))
    }

    /// The size of the element in bytes, as it came.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.inner_ref().text_len as usize
    }

    /// The frame as a stanza, if it is one: `message`, `presence` or `iq` in the stream's content namespace.
    #[must_use]
    pub fn stanza(&self) -> Option<Stanza> {
        self.stanza_kind().map(|_| Stanza::whole(self.clone()))
    }

    /// Which stanza this frame is, if it is one.
    #[must_use]
    pub fn stanza_kind(&self) -> Option<StanzaKind> {
        self.inner_ref().kind
    }

    /// The stanza that `node` is, if it is one: a forwarded message, for example. It shares this frame's bytes.
    #[must_use]
    pub fn inner(&self, node: Node<'_>) -> Option<Stanza> {
        node.stanza()
    }

    /// The element as text that means the same on its own: what the stream's header put into scope is written out.
    #[must_use]
    pub fn to_standalone_xml(&self) -> String {
        self.root().to_standalone_xml()
    }

    /// The whole element as a `T`.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the element is no `T`.
    pub fn payload<T: FromXml>(&self) -> Result<T, PayloadError> {
        self.root().payload()
    }
}

impl Drop for Frame {
    /// The last that refers to it leaves its memory to the next frame.
    fn drop(&mut self) {
        let Some(mut inner) = self.0.take() else { return };
        // Two that go at once may both see the other: then it is given back.
        if Arc::strong_count(&inner) == 1
            && let Some(last) = Arc::get_mut(&mut inner)
        {
            last.clear();
            spare::keep(inner);
        }
    }
}

impl fmt::Debug for Frame {
    /// Names the element and its size; what it says is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame(<{} xmlns='{}'>, {} bytes)", self.name(), self.ns(), self.byte_len())
    }
}

/// One of 64 bits for a name, by its length and its ends.
fn name_bit(name: &[u8]) -> u64 {
    let ends = name.first().zip(name.last()).map_or(0, |(first, last)| u64::from(*first) | u64::from(*last) << 8);
    1 << ((ends | (name.len() as u64) << 16).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58)
}

impl Inner {
    /// Nothing yet, with room for a text of this length.
    fn with_room(room: usize) -> Self {
        Self {
            buffer: String::with_capacity(room),
            text_len: 0,
            children_end: 0,
            scope: None,
            root: NodeData::EMPTY,
            header: Header::EMPTY,
            kind: None,
            children: SmallVec::new(),
            prefix: None,
            names: 0,
            outer_prefix: false,
            sender: OnceLock::new(),
            decoded: OnceLock::new(),
        }
    }

    /// Lets go of everything but the room.
    fn clear(&mut self) {
        self.buffer.clear();
        self.scope = None;
        self.sender = OnceLock::new();
        self.decoded = OnceLock::new();
    }

    /// How many bytes its text has room for.
    pub(super) fn text_room(&self) -> usize {
        self.buffer.capacity()
    }

    pub(super) fn scope(&self) -> &StreamScope {
        match &self.scope {
            Some(scope) => scope,
            None => StreamScope::nothing(),
        }
    }

    pub(super) fn sender(&self) -> &OnceLock<Option<SharedJid>> {
        &self.sender
    }

    /// What the run of text that begins here means, if that has been found out and is kept.
    pub(super) fn known_text(&self, at: u32) -> Option<&str> {
        self.decoded.get().filter(|decoded| decoded.at == at).map(|decoded| &*decoded.text)
    }

    /// What a run of text means.
    pub(super) fn decoded(&self, run: Span) -> Cow<'_, str> {
        match decode::text(run.of(self.text())) {
            Cow::Owned(text) if text.len() <= MAX_DECODED => match self.decoded.set(Decoded { at: run.start, text }) {
                Ok(()) => Cow::Borrowed(self.kept_text()),
                // Another was asked for before.
                Err(late) => Cow::Owned(late.text),
            },
            text => text,
        }
    }

    /// The text that is kept beside the one it came with.
    pub(super) fn kept_text(&self) -> &str {
        self.decoded.get().map_or("", |decoded| &decoded.text)
    }

    /// Whether the part that begins here may have prefixes in it that are declared outside of it.
    pub(super) fn may_have_foreign_prefixes(&self, start: u32) -> bool {
        self.outer_prefix || self.prefixes().next().is_some_and(|first| first.start < start)
    }

    pub(super) fn text(&self) -> &str {
        &self.buffer[..self.text_len as usize]
    }

    fn packed_children(&self) -> &[Row<11>] {
        packed::rows(&self.buffer.as_bytes()[self.text_len as usize..self.children_end as usize])
    }

    /// The prefixes declared inside the frame, in the order they are declared.
    pub(super) fn prefixes(&self) -> impl DoubleEndedIterator<Item = Prefix> {
        let rows = packed::rows(&self.buffer.as_bytes()[self.children_end as usize..]);
        self.prefix.into_iter().chain(rows.iter().map(|row| Prefix::unpack(packed::read(row))))
    }

    pub(super) fn ns_str(&self, ns: NsRef) -> Cow<'_, str> {
        ns_str(self.text(), self.scope(), ns)
    }

    /// What a default namespace is that is declared by this value.
    pub(super) fn declared(&self, value: Span) -> NsRef {
        let raw = value.of(self.text());
        if !self.scope().may_be_special(raw.len()) && decode::is_plain(raw.as_bytes()) {
            return NsRef::text(value, false, false);
        }
        let uri = decode::attribute(raw);
        if uri.is_empty() {
            return NsRef::NONE;
        }
        NsRef::text(value, matches!(uri, Cow::Owned(_)), self.scope().is_content(&uri))
    }

    /// What a prefix means in the element that starts at `at`. The framer has checked that it is declared.
    pub(super) fn resolve_prefix(&self, at: u32, prefix: &str) -> NsRef {
        if prefix == "xml" {
            return NsRef::XML;
        }
        let declared = self.prefixes().rev().find(|p| p.start <= at && at < p.end && p.name.of(self.text()) == prefix);
        match declared {
            Some(p) => p.ns,
            None => self.scope().resolve(prefix).unwrap_or(NsRef::NONE),
        }
    }
}

/// The namespace name as it is written, decoded. For what others see, the content namespace has one name on all streams.
pub(super) fn ns_str<'t>(text: &'t str, scope: &'t StreamScope, ns: NsRef) -> Cow<'t, str> {
    match ns.place() {
        NsPlace::None => Cow::Borrowed(""),
        NsPlace::Xml => Cow::Borrowed(ns::XML),
        NsPlace::Scope(index) => Cow::Borrowed(scope.uri(index)),
        NsPlace::Text { span, escaped: false } => Cow::Borrowed(span.of(text)),
        NsPlace::Text { span, escaped: true } => decode::attribute(span.of(text)),
    }
}

/// The error of a text that should be one element.
pub(super) fn parse_error(kind: XmlErrorKind, at: usize) -> XmlError {
    XmlError::new(kind, at as u64)
}

/// Text given as `str` is UTF-8 already; what is left to check is that XML allows its characters.
pub(super) fn clean(xml: &str) -> &str {
    &xml[..chars::clean_len(xml)]
}
