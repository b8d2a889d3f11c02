//! Reading the inside of a frame: attributes, content, whole elements.
//!
//! The text has been checked by the framer; that is what the slicing and the unchecked structure rely on.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::decode;
use super::frame::{Frame, NodeData};
use super::node::{Node, lang_str};
use super::scope::{NsRef, Span};
use super::syntax::plain_name;

/// The attributes of a start tag as written, declarations included.
#[derive(Clone)]
pub(super) struct RawAttrs<'a> {
    pub(super) text: &'a str,
    /// Behind the name, or behind an attribute; at the end of the tag once there are none left.
    pub(super) pos: usize,
}

impl<'a> Iterator for RawAttrs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let bytes = self.text.as_bytes();
        let (start, end, from, quote) = match plain_name(bytes, self.pos) {
            Some((_, len, quote)) => (self.pos + 1, self.pos + 1 + len, self.pos + len + 3, quote),
            None => {
                // In what has been checked nothing up to the space is anything but space.
                let start = skip(bytes, self.pos, |byte| byte <= b' ');
                self.pos = start;
                if matches!(bytes[start], b'>' | b'/') {
                    return None;
                }
                let end = skip(bytes, start, |byte| byte > b' ' && byte != b'=');
                let quote = skip(bytes, end, |byte| !matches!(byte, b'"' | b'\''));
                (start, end, quote + 1, bytes[quote])
            }
        };
        let to = from + memchr::memchr(quote, &bytes[from..]).unwrap_or(0);
        self.pos = to + 1;
        Some((&self.text[start..end], &self.text[from..to]))
    }
}

/// A piece of an element, in document order.
pub(super) enum WalkItem<'a> {
    Start(Node<'a>),
    Text(Cow<'a, str>),
    End,
}

/// Everything inside an element, the element's own start and end included.
pub(super) struct Walk<'a> {
    frame: &'a Frame,
    root: Option<Node<'a>>,
    pos: usize,
    /// The default namespace and language of the elements that are open.
    stack: SmallVec<[(NsRef, Span); 6]>,
    /// Whether the element that was started last has no content.
    empty: bool,
    lang: Span,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: Node<'a>) -> Self {
        Self { frame: root.frame(), root: Some(root), pos: 0, stack: SmallVec::new(), empty: false, lang: root.data().lang }
    }

    /// The language in force behind the item that came last.
    pub(super) fn lang(&self) -> Option<Cow<'a, str>> {
        lang_str(self.frame, self.lang)
    }

    fn start(&mut self, node: Node<'a>) -> WalkItem<'a> {
        self.stack.push((node.data().default, node.data().lang));
        self.lang = node.data().lang;
        self.empty = node.is_empty_tag();
        self.pos = node.data().content as usize;
        WalkItem::Start(node)
    }

    fn end(&mut self) -> WalkItem<'a> {
        self.stack.pop();
        if let Some((_, lang)) = self.stack.last() {
            self.lang = *lang;
        }
        WalkItem::End
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = WalkItem<'a>;

    fn next(&mut self) -> Option<WalkItem<'a>> {
        if let Some(root) = self.root.take() {
            return Some(self.start(root));
        }
        let (default, lang) = *self.stack.last()?;
        if std::mem::take(&mut self.empty) {
            return Some(self.end());
        }
        let text: &'a str = self.frame.inner_ref().text();
        Some(match next_content(text, self.pos) {
            Content::Text(run) => {
                self.pos = run.end as usize;
                WalkItem::Text(decode::text(run.of(text)))
            }
            Content::Cdata { inner, end } => {
                self.pos = end;
                let mut out = String::new();
                decode::push_cdata(&mut out, inner.of(text));
                WalkItem::Text(Cow::Owned(out))
            }
            Content::Start => {
                let data = start_tag(self.frame, self.pos, default, lang);
                self.start(Node::new(self.frame, data))
            }
            Content::End => {
                self.pos = end_of_end_tag(text.as_bytes(), self.pos);
                self.end()
            }
        })
    }
}

/// What stands at an offset inside an element.
pub(super) enum Content {
    Text(Span),
    Cdata { inner: Span, end: usize },
    Start,
    End,
}

pub(super) fn next_content(text: &str, pos: usize) -> Content {
    let bytes = text.as_bytes();
    let at = next_markup(bytes, pos);
    if at > pos {
        return Content::Text(Span::new(pos, at));
    }
    match bytes[at + 1] {
        b'/' => Content::End,
        b'!' => {
            let start = at + b"<![CDATA[".len();
            let end = end_of_cdata(bytes, start);
            Content::Cdata { inner: Span::new(start, end - 3), end }
        }
        _ => Content::Start,
    }
}

/// Reads the start tag at `start`, in an element with this default namespace and language.
pub(super) fn start_tag(frame: &Frame, start: usize, default: NsRef, lang: Span) -> NodeData {
    let inner = frame.inner_ref();
    let text: &str = inner.text();
    let bytes = text.as_bytes();
    let (mut default, mut lang) = (default, lang);
    let (end, colon) = name_end(bytes, start);
    let base = text.as_ptr() as usize;
    let mut attrs = RawAttrs { text, pos: end };
    for (name, raw) in attrs.by_ref() {
        let at = raw.as_ptr() as usize - base;
        let value = Span::new(at, at + raw.len());
        if name == "xmlns" {
            default = inner.declared(value);
        } else if name == "xml:lang" {
            lang = value;
        }
    }
    let empty = bytes[attrs.pos] == b'/';
    let content = attrs.pos + if empty { 2 } else { 1 };
    let (name, ns) = match colon {
        None => (Span::new(start + 1, end), default),
        Some(colon) => (Span::new(colon + 1, end), inner.resolve_prefix(start as u32, &text[start + 1..colon])),
    };
    NodeData {
        start: start as u32,
        name,
        content: content as u32,
        end: if empty { content as u32 } else { 0 },
        ns,
        default,
        lang,
    }
}

/// Behind the name of the start tag at `start`, and where the colon in it stands.
pub(super) fn name_end(bytes: &[u8], start: usize) -> (usize, Option<usize>) {
    let mut colon = None;
    let mut end = start + 1;
    while bytes[end] > b' ' && !matches!(bytes[end], b'>' | b'/') {
        if bytes[end] == b':' {
            colon = Some(end);
        }
        end += 1;
    }
    (end, colon)
}

/// Where an element ends, and its child elements, whose ends are known then: in one pass.
pub(super) fn children_and_end(node: Node<'_>) -> (usize, SmallVec<[NodeData; 8]>) {
    let (frame, data, mut children) = (node.frame(), node.data(), SmallVec::new());
    let text: &str = frame.inner_ref().text();
    let mut at = data.content as usize;
    if node.is_empty_tag() {
        return (at, children);
    }
    loop {
        match next_content(text, at) {
            Content::Text(run) => at = run.end as usize,
            Content::Cdata { end, .. } => at = end,
            Content::End => return (end_of_end_tag(text.as_bytes(), at), children),
            Content::Start => {
                let mut child = start_tag(frame, at, data.default, data.lang);
                at = Node::new(frame, child).range().1;
                child.end = at as u32;
                children.push(child);
            }
        }
    }
}

fn skip(bytes: &[u8], mut i: usize, goes_on: impl Fn(u8) -> bool) -> usize {
    while goes_on(bytes[i]) {
        i += 1;
    }
    i
}

/// The next `<` at or behind `pos`. In an element there always is one.
pub(super) fn next_markup(bytes: &[u8], pos: usize) -> usize {
    pos + memchr::memchr(b'<', &bytes[pos..]).unwrap_or(0)
}

fn end_of_cdata(bytes: &[u8], start: usize) -> usize {
    start + memchr::memmem::find(&bytes[start..], b"]]>").unwrap_or(0) + 3
}

pub(super) fn end_of_end_tag(bytes: &[u8], at: usize) -> usize {
    at + memchr::memchr(b'>', &bytes[at..]).unwrap_or(0) + 1
}

/// Behind the start tag at `at`, and whether it has no content. `>` may stand in attribute values.
fn end_of_start_tag(bytes: &[u8], at: usize) -> (usize, bool) {
    let mut i = at + 1;
    while let Some(next) = memchr::memchr3(b'>', b'"', b'\'', &bytes[i..]) {
        let found = i + next;
        if bytes[found] == b'>' {
            return (found + 1, bytes[found - 1] == b'/');
        }
        i = found + 1;
        i += memchr::memchr(bytes[found], &bytes[i..]).unwrap_or(0) + 1;
    }
    (bytes.len(), true)
}

/// Behind the element whose `<` is at `at`.
pub(super) fn skip_element(bytes: &[u8], at: usize) -> usize {
    let (content, empty) = end_of_start_tag(bytes, at);
    if empty { content } else { skip_content(bytes, content) }
}

/// Behind the end tag of the element whose content starts at `pos`.
pub(super) fn skip_content(bytes: &[u8], mut pos: usize) -> usize {
    let mut depth = 1usize;
    loop {
        let at = next_markup(bytes, pos);
        match bytes[at + 1] {
            b'/' => {
                pos = end_of_end_tag(bytes, at);
                depth -= 1;
                if depth == 0 {
                    return pos;
                }
            }
            b'!' => pos = end_of_cdata(bytes, at + b"<![CDATA[".len()),
            _ => {
                let (end, empty) = end_of_start_tag(bytes, at);
                pos = end;
                depth += usize::from(!empty);
            }
        }
    }
}
