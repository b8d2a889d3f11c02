//! [`Node`]: the cursor over a frame's elements.

use std::borrow::Cow;
use std::fmt;

use xso::FromXml;

use super::error::PayloadError;
use super::frame::{Frame, Header, NodeData};
use super::packed::Row;
use super::read::{Content, RawAttrs, Walk, next_content, next_markup, skip_content, skip_element, start_tag};
use super::scope::Span;
use super::stanza::{Stanza, StanzaKind};
use super::{content, decode, ns, payload, standalone};

/// An element inside a [`Frame`]: a cursor that is cheap to copy and decodes when asked.
///
/// ```
/// use xmppkit::xml::{Frame, ns};
///
/// let frame = Frame::parse(
///     "<message xmlns='jabber:client' xml:lang='en'>\
///        <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:example:mood'><item id='1'/></items></event>\
///      </message>",
/// )?;
/// let event = frame.child(ns::PUBSUB_EVENT, "event").expect("an event");
/// let items = event.child(ns::PUBSUB_EVENT, "items").expect("items");
/// assert_eq!(items.attr("node").as_deref(), Some("urn:example:mood"));
/// assert_eq!(items.children().count(), 1);
/// assert_eq!(items.lang().as_deref(), Some("en"));
/// # Ok::<(), xmppkit::xml::XmlError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Node<'a> {
    frame: &'a Frame,
    data: NodeData,
}

impl<'a> Node<'a> {
    pub(super) fn new(frame: &'a Frame, data: NodeData) -> Self {
        Self { frame, data }
    }

    pub(super) fn frame(self) -> &'a Frame {
        self.frame
    }

    pub(super) fn data(self) -> NodeData {
        self.data
    }

    fn text_of_frame(self) -> &'a str {
        self.frame.inner_ref().text()
    }

    /// Whether it is the whole frame.
    pub(super) fn is_root(self) -> bool {
        self.data.start == self.frame.root_data().start
    }

    /// The local name.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.data.name.of(self.text_of_frame())
    }

    /// The name as it is written, with its prefix.
    pub(super) fn qname(self) -> &'a str {
        &self.text_of_frame()[self.data.start as usize + 1..self.data.name.end as usize]
    }

    /// The namespace; empty if the element is in none.
    ///
    /// What is in a content namespace (`jabber:client`, `jabber:component:accept`, `jabber:server`) is in `jabber:client`
    /// here, on whichever kind of stream it came, so that the same code reads all of them.
    #[must_use]
    pub fn ns(self) -> Cow<'a, str> {
        if self.data.ns.is_content() { Cow::Borrowed(ns::CLIENT) } else { self.written_ns() }
    }

    /// The namespace as it is declared.
    pub(super) fn written_ns(self) -> Cow<'a, str> {
        self.frame.inner_ref().ns_str(self.data.ns)
    }

    /// Whether the element is in the stream's content namespace.
    pub(super) fn is_content(self) -> bool {
        self.data.ns.is_content()
    }

    /// Whether the element has this namespace, by the name that [`ns`](Self::ns) gives, and this local name.
    #[must_use]
    pub fn is(self, ns: &str, name: &str) -> bool {
        self.name() == name && self.has_ns(ns)
    }

    /// Whether the element is in this namespace, by the name that [`ns`](Self::ns) gives.
    #[must_use]
    pub fn has_ns(self, ns: &str) -> bool {
        if self.data.ns.is_content() { ns == ns::CLIENT } else { self.written_ns() == ns }
    }

    /// The value of the attribute of this name that is in no namespace, decoded.
    #[must_use]
    pub fn attr(self, name: &str) -> Option<Cow<'a, str>> {
        self.raw_attrs().find(|(n, _)| *n == name && !n.contains(':')).map(|(_, raw)| decode::attribute(raw))
    }

    /// The value of the attribute with this namespace and local name, decoded.
    #[must_use]
    pub fn attr_ns(self, ns: &str, name: &str) -> Option<Cow<'a, str>> {
        self.attrs().find(|attr| attr.name() == name && attr.ns() == ns).map(|attr| attr.value())
    }

    /// The attributes, in the order they are written; namespace declarations are none.
    #[must_use]
    pub fn attrs(self) -> Attrs<'a> {
        Attrs { node: self, raw: self.raw_attrs() }
    }

    pub(super) fn raw_attrs(self) -> RawAttrs<'a> {
        RawAttrs { text: self.text_of_frame(), pos: self.data.name.end as usize }
    }

    /// The text directly inside, decoded: the text of child elements is not part of it.
    ///
    /// The first text of a frame that means something else than is written (`&amp;`) is kept with the frame, up to 16 KiB: a body is
    /// decoded once, however many read it.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        self.simple_text().unwrap_or_else(|| self.mixed_text())
    }

    /// The text of an element that has nothing else in it, as nearly all have that have any.
    pub(super) fn simple_text(self) -> Option<Cow<'a, str>> {
        let inner = self.frame.inner_ref();
        match inner.known_text(self.data.content) {
            Some(text) => Some(Cow::Borrowed(text)),
            None => self.run_of_text().map(|run| inner.decoded(run)),
        }
    }

    /// Whether the element has nothing but text in it, or nothing at all.
    pub(super) fn has_simple_text(self) -> bool {
        self.frame.inner_ref().known_text(self.data.content).is_some() || self.run_of_text().is_some()
    }

    fn run_of_text(self) -> Option<Span> {
        let start = self.data.content as usize;
        if self.is_empty_tag() {
            return Some(Span::new(start, start));
        }
        let bytes = self.text_of_frame().as_bytes();
        let end = next_markup(bytes, start);
        (bytes[end + 1] == b'/').then(|| Span::new(start, end))
    }

    fn mixed_text(self) -> Cow<'a, str> {
        let text = self.text_of_frame();
        let mut out = String::new();
        let mut pos = self.data.content as usize;
        loop {
            match next_content(text, pos) {
                Content::Text(run) => {
                    decode::push_text(&mut out, run.of(text));
                    pos = run.end as usize;
                }
                Content::Cdata { inner, end } => {
                    decode::push_cdata(&mut out, inner.of(text));
                    pos = end;
                }
                Content::Start => pos = skip_element(text.as_bytes(), pos),
                Content::End => return Cow::Owned(out),
            }
        }
    }

    /// The child elements.
    #[must_use]
    pub fn children(self) -> Children<'a> {
        if self.is_root() {
            return self.frame.children();
        }
        let pos = if self.is_empty_tag() { None } else { Some(self.data.content as usize) };
        Children(Inner::Scan { parent: self, pos, last: None })
    }

    /// The first child with this namespace and local name.
    #[must_use]
    pub fn child(self, ns: &str, name: &str) -> Option<Self> {
        if self.is_root() {
            return self.frame.child(ns, name);
        }
        self.children().find(|child| child.is(ns, name))
    }

    /// The language in force (`xml:lang`, inherited from ancestors and the stream's header); none if undefined.
    #[must_use]
    pub fn lang(self) -> Option<Cow<'a, str>> {
        lang_str(self.frame, self.data.lang)
    }

    /// The stanza that this element is, if it is one: a forwarded message, for example. It shares the frame's bytes.
    #[must_use]
    pub fn stanza(self) -> Option<Stanza> {
        if self.is_root() {
            return self.frame.stanza();
        }
        if !self.data.ns.is_content() {
            return None;
        }
        let kind = StanzaKind::of_name(self.name())?;
        Some(Stanza::inside(self.frame.clone(), self.data, self.header(), kind))
    }

    fn header(self) -> Header {
        let text = self.text_of_frame();
        let base = text.as_ptr() as usize;
        let [mut from, mut to, mut id, mut kind] = [Span::NONE; 4];
        for (name, raw) in self.raw_attrs() {
            let start = raw.as_ptr() as usize - base;
            let span = Span::new(start, start + raw.len());
            match name {
                "from" => from = span,
                "to" => to = span,
                "id" => id = span,
                "type" => kind = span,
                _ => {}
            }
        }
        Header::of([from, to, id, kind], text.as_bytes())
    }

    /// The element as text that means the same on its own: what it takes from its ancestors and the stream's header
    /// (namespaces, prefixes, language) is written out.
    #[must_use]
    pub fn to_standalone_xml(self) -> String {
        self.standalone_parts().concat()
    }

    /// The same in parts that follow one another.
    pub(crate) fn standalone_parts(self) -> [Cow<'a, str>; 3] {
        standalone::parts(self)
    }

    /// The element as a `T` of xmpp-parsers, or of an own type that derives `xso::FromXml`.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the element is no `T`.
    pub fn payload<T: FromXml>(self) -> Result<T, PayloadError> {
        payload::whole(self)
    }

    /// The element as a tree, for types that have no other way in.
    #[must_use]
    pub fn to_element(self) -> minidom::Element {
        payload::element(self)
    }

    /// Where the element stands in its frame's text.
    pub(super) fn range(self) -> (usize, usize) {
        let end = if self.data.end != 0 {
            self.data.end as usize
        } else {
            skip_content(self.text_of_frame().as_bytes(), self.data.content as usize)
        };
        (self.data.start as usize, end)
    }

    pub(super) fn is_empty_tag(self) -> bool {
        self.data.end == self.data.content
    }

    /// Appends what the element says, the same bytes whichever way it is written; `text` is its text if that is known already.
    pub(crate) fn write_content(self, out: &mut Vec<u8>, text: Option<&str>) {
        content::write(out, self, text);
    }

    /// Everything in the element in document order, in one pass.
    pub(super) fn walk(self) -> Walk<'a> {
        Walk::new(self)
    }
}

impl fmt::Debug for Node<'_> {
    /// Names the element; what it says is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node(<{} xmlns='{}'>)", self.name(), self.ns())
    }
}

pub(super) fn lang_str(frame: &Frame, lang: Span) -> Option<Cow<'_, str>> {
    let inner = frame.inner_ref();
    let value = if lang.is_none() { Cow::Borrowed(inner.scope().lang()?) } else { decode::attribute(lang.of(inner.text())) };
    // An empty value says that the language is undefined (XML 1.0 §2.12).
    Some(value).filter(|v| !v.is_empty())
}

/// An attribute of a [`Node`].
#[derive(Clone, Copy)]
pub struct Attr<'a> {
    node: Node<'a>,
    qname: &'a str,
    raw: &'a str,
}

impl<'a> Attr<'a> {
    /// The local name.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.qname.split_once(':').map_or(self.qname, |(_, local)| local)
    }

    /// The namespace; empty for an attribute without prefix, which is in none.
    #[must_use]
    pub fn ns(self) -> Cow<'a, str> {
        match self.qname.split_once(':') {
            None => Cow::Borrowed(""),
            Some((prefix, _)) => {
                let inner = self.node.frame.inner_ref();
                inner.ns_str(inner.resolve_prefix(self.node.data.start, prefix))
            }
        }
    }

    /// The value, decoded.
    #[must_use]
    pub fn value(self) -> Cow<'a, str> {
        decode::attribute(self.raw)
    }
}

impl fmt::Debug for Attr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attr({})", self.qname)
    }
}

/// Iterator over a node's attributes, from [`Node::attrs`].
#[derive(Clone)]
pub struct Attrs<'a> {
    node: Node<'a>,
    raw: RawAttrs<'a>,
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let (qname, raw) = self.raw.by_ref().find(|(name, _)| *name != "xmlns" && !name.starts_with("xmlns:"))?;
        Some(Attr { node: self.node, qname, raw })
    }
}

impl fmt::Debug for Attrs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// Iterator over child elements, from [`Node::children`].
#[derive(Clone)]
pub struct Children<'a>(Inner<'a>);

#[derive(Clone)]
enum Inner<'a> {
    Indexed { frame: &'a Frame, rest: std::slice::Iter<'a, NodeData>, packed: &'a [Row<11>] },
    Scan { parent: Node<'a>, pos: Option<usize>, last: Option<NodeData> },
}

impl<'a> Children<'a> {
    pub(super) fn indexed(frame: &'a Frame, children: &'a [NodeData], packed: &'a [Row<11>]) -> Self {
        Self(Inner::Indexed { frame, rest: children.iter(), packed })
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        match &mut self.0 {
            Inner::Indexed { frame, rest, packed } => {
                let child = rest.next().copied().or_else(|| NodeData::next_packed(packed))?;
                Some(Node::new(frame, child))
            }
            Inner::Scan { parent, pos, last } => {
                let text = parent.text_of_frame();
                let mut at = (*pos)?;
                if let Some(last) = last.take() {
                    at = Node::new(parent.frame, last).range().1;
                }
                loop {
                    match next_content(text, at) {
                        Content::Text(run) => at = run.end as usize,
                        Content::Cdata { end, .. } => at = end,
                        Content::End => {
                            *pos = None;
                            return None;
                        }
                        Content::Start => {
                            let data = start_tag(parent.frame, at, parent.data.default, parent.data.lang);
                            *pos = Some(at);
                            *last = Some(data);
                            return Some(Node::new(parent.frame, data));
                        }
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Children<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
