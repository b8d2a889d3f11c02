//! What an element says, the same bytes whichever way it is written: for comparing copies that servers have written anew.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::decode;
use super::frame::Frame;
use super::node::Node;
use super::ns;
use super::read::{Content, RawAttrs, end_of_end_tag, name_end, next_content};
use super::scope::{NsRef, Span};

// Control characters stand in no XML, so they separate.
const ELEMENT: u8 = 1;
const ATTRIBUTE: u8 = 2;
const CONTENT: u8 = 3;
const END: u8 = 4;

/// Appends names, attributes and text of an element and of everything in it, in document order; attributes are sorted, and of those
/// with a reserved prefix (`xml:lang`) none. `text` is that of the element if it is known already.
pub(super) fn write(out: &mut Vec<u8>, node: Node<'_>, text: Option<&str>) {
    let data = node.data();
    let mut writer = Writer { frame: node.frame(), text: node.frame().inner_ref().text(), attributes: SmallVec::new() };
    let tag = writer.attributes(data.name.end as usize, data.default);
    writer.start(out, data.start as usize, data.ns, data.name.of(writer.text));
    match text {
        Some(text) if node.has_simple_text() => {
            out.extend_from_slice(text.as_bytes());
            out.push(END);
        }
        _ if tag.empty => out.push(END),
        _ => writer.content(out, tag.content, tag.default),
    }
}

struct Writer<'a> {
    frame: &'a Frame,
    text: &'a str,
    /// Names and values of the start tag that was read last, as they are written, without declarations.
    attributes: SmallVec<[(&'a str, &'a str); 4]>,
}

/// What a start tag says beside its name and its attributes.
struct Tag {
    default: NsRef,
    content: usize,
    empty: bool,
}

impl<'a> Writer<'a> {
    /// The inside of an element, and its end.
    fn content(&mut self, out: &mut Vec<u8>, mut pos: usize, default: NsRef) {
        let bytes = self.text.as_bytes();
        // The default namespaces of the elements that are open.
        let mut open: SmallVec<[NsRef; 8]> = SmallVec::new();
        let mut default = default;
        loop {
            match next_content(self.text, pos) {
                Content::Text(run) => {
                    out.extend_from_slice(decode::text(run.of(self.text)).as_bytes());
                    pos = run.end as usize;
                }
                Content::Cdata { inner, end } => {
                    let mut text = String::new();
                    decode::push_cdata(&mut text, inner.of(self.text));
                    out.extend_from_slice(text.as_bytes());
                    pos = end;
                }
                Content::Start => {
                    let (name_end, colon) = name_end(bytes, pos);
                    let tag = self.attributes(name_end, default);
                    let (ns, name) = match colon {
                        None => (tag.default, &self.text[pos + 1..name_end]),
                        Some(colon) => (self.prefix(pos, &self.text[pos + 1..colon]), &self.text[colon + 1..name_end]),
                    };
                    self.start(out, pos, ns, name);
                    pos = tag.content;
                    if tag.empty {
                        out.push(END);
                    } else {
                        open.push(default);
                        default = tag.default;
                    }
                }
                Content::End => {
                    out.push(END);
                    match open.pop() {
                        None => return,
                        Some(outer) => default = outer,
                    }
                    pos = end_of_end_tag(bytes, pos);
                }
            }
        }
    }

    /// Reads a start tag from behind its name on.
    fn attributes(&mut self, name_end: usize, default: NsRef) -> Tag {
        self.attributes.clear();
        let base = self.text.as_ptr() as usize;
        let mut raw = RawAttrs { text: self.text, pos: name_end };
        let mut tag = Tag { default, content: 0, empty: false };
        for (name, value) in raw.by_ref() {
            match name.strip_prefix("xml") {
                Some("ns") => {
                    let at = value.as_ptr() as usize - base;
                    tag.default = self.frame.inner_ref().declared(Span::new(at, at + value.len()));
                }
                Some(rest) if rest.starts_with(':') || rest.starts_with("ns:") => {}
                _ => self.attributes.push((name, value)),
            }
        }
        tag.empty = self.text.as_bytes()[raw.pos] == b'/';
        tag.content = raw.pos + if tag.empty { 2 } else { 1 };
        tag
    }

    /// With the attributes that were read last.
    fn start(&mut self, out: &mut Vec<u8>, at: usize, ns: NsRef, name: &str) {
        write_name(out, ELEMENT, &self.ns(ns), name);
        if self.attributes.iter().all(|(name, _)| !name.contains(':')) {
            // As nearly all are.
            self.attributes.sort_unstable_by_key(|(name, _)| *name);
            self.attributes.iter().for_each(|(name, value)| write_attribute(out, "", name, value));
        } else {
            let qualified = |(name, value): (&'a str, &'a str)| match name.split_once(':') {
                None => (Cow::Borrowed(""), name, value),
                Some((prefix, name)) => (self.frame.inner_ref().ns_str(self.prefix(at, prefix)), name, value),
            };
            let mut attributes: Vec<_> = self.attributes.iter().copied().map(qualified).collect();
            attributes.sort();
            attributes.into_iter().for_each(|(ns, name, value)| write_attribute(out, &ns, name, value));
        }
        out.push(CONTENT);
    }

    fn prefix(&self, at: usize, prefix: &str) -> NsRef {
        self.frame.inner_ref().resolve_prefix(at as u32, prefix)
    }

    /// The namespace by the name that [`Node::ns`] gives.
    fn ns(&self, ns: NsRef) -> Cow<'a, str> {
        if ns.is_content() { Cow::Borrowed(ns::CLIENT) } else { self.frame.inner_ref().ns_str(ns) }
    }
}

fn write_attribute(out: &mut Vec<u8>, ns: &str, name: &str, value: &str) {
    write_name(out, ATTRIBUTE, ns, name);
    out.push(b'=');
    out.extend_from_slice(decode::attribute(value).as_bytes());
}

fn write_name(out: &mut Vec<u8>, separator: u8, ns: &str, name: &str) {
    out.reserve(ns.len() + name.len() + 2);
    out.push(separator);
    out.extend_from_slice(ns.as_bytes());
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
}
