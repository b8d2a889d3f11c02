//! From typed values to bytes: escaping, and elements with as few declarations as they need.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use rxml::NcNameStr;
use smallvec::SmallVec;
use xmpp_parsers::message::Message;
use xmpp_parsers::ns::DEFAULT_NS;
use xso::{AsXml, AsXmlText as _, Item};

use super::error::{PayloadError, XmlErrorKind};
use super::node::Node;
use super::read::WalkItem;
use super::{chars, ns};
use crate::error::Error;

/// Text as it may stand between tags: `&`, `<`, `>` and carriage returns escaped.
///
/// Characters that XML does not allow are left as they are; [`write_element`] refuses them.
///
/// ```
/// assert_eq!(xmppkit::xml::escape_text("a < b & c"), "a &lt; b &amp; c");
/// ```
#[must_use]
pub fn escape_text(text: &str) -> Cow<'_, str> {
    escape(text, |b| match b {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\r' => Some("&#13;"),
        _ => None,
    })
}

/// A value as it may stand in an attribute, in either quotation mark: the five predefined entities, tabs and line ends
/// escaped.
///
/// Characters that XML does not allow are left as they are; [`write_element`] refuses them.
///
/// ```
/// assert_eq!(xmppkit::xml::escape_attr("Mr. O'Neil"), "Mr. O&apos;Neil");
/// ```
#[must_use]
pub fn escape_attr(value: &str) -> Cow<'_, str> {
    escape(value, |b| match b {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\'' => Some("&apos;"),
        b'"' => Some("&quot;"),
        b'\t' => Some("&#9;"),
        b'\n' => Some("&#10;"),
        b'\r' => Some("&#13;"),
        _ => None,
    })
}

fn escape(text: &str, with: impl Fn(u8) -> Option<&'static str>) -> Cow<'_, str> {
    // Without a way out of the loop it is made of vector instructions; nearly always there is nothing.
    let may_be = |b: u8| (b < 0x20) | (b == b'&') | (b == b'<') | (b == b'>') | (b == b'\'') | (b == b'"');
    if !text.bytes().fold(false, |special, b| special | may_be(b)) {
        return Cow::Borrowed(text);
    }
    let Some(first) = text.bytes().position(|b| with(b).is_some()) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    let mut done = 0;
    for (i, b) in text.bytes().enumerate().skip(first) {
        if let Some(escaped) = with(b) {
            out.push_str(&text[done..i]);
            out.push_str(escaped);
            done = i + 1;
        }
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Appends a typed value as one element, for a place where `content_ns` is the default namespace (`jabber:client` on a
/// client's stream; empty where nothing is in scope).
///
/// What xmpp-parsers calls the content namespace becomes `content_ns`, whichever kind of stream that crate was built for.
/// Elements in it that stand directly in the stream or in a stanza carry no declaration.
///
/// ```
/// use xmppkit::xml::{ns, write_element};
/// use xmppkit::xmpp_parsers::message::Message;
///
/// let mut out = Vec::new();
/// write_element(&mut out, &Message::chat(None).with_body("".into(), "1 < 2".into()), ns::CLIENT)?;
/// assert_eq!(out, b"<message type='chat'><body>1 &lt; 2</body></message>");
/// # Ok::<(), xmppkit::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::Payload`](crate::ErrorKind::Payload) if the value cannot be serialised, or holds a character that XML cannot
/// carry; `out` is then as it was.
pub fn write_element<T: AsXml>(out: &mut Vec<u8>, value: &T, content_ns: &str) -> Result<(), Error> {
    write_by(out, content_ns, |writer| writer.items(value))
}

/// What [`write_element`] does, for a message: by its fields, instead of item by item.
pub(super) fn write_message(out: &mut Vec<u8>, message: &Message, content_ns: &str) -> Result<(), Error> {
    write_by(out, content_ns, |writer| writer.message(message))
}

/// Appends the one element that `write` writes; `out` is as it was if it fails.
pub(super) fn write_by(
    out: &mut Vec<u8>,
    content_ns: &str,
    write: impl FnOnce(&mut ElementWriter<'_>) -> Result<(), xso::error::Error>,
) -> Result<(), Error> {
    let before = out.len();
    let mut writer = ElementWriter::new(out, content_ns);
    let result = write(&mut writer).and_then(|()| writer.finish());
    result.map_err(|source| {
        let name = root_name(&out[before..]);
        out.truncate(before);
        PayloadError::new("", name, source).into()
    })
}

/// The name of the element that was begun.
pub(super) fn root_name(text: &[u8]) -> String {
    let name = text.get(1..).and_then(|text| text.split(|b| b" />".contains(b)).next()).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Writes a node that was read, canonically: as [`write_element`] would have written it.
pub(super) fn write_node(out: &mut Vec<u8>, node: Node<'_>, content_ns: &str) -> Result<(), xso::error::Error> {
    let mut writer = ElementWriter::new(out, content_ns);
    for item in node.walk() {
        match item {
            WalkItem::Start(node) => {
                let ns = node.written_ns();
                writer.start_in(if node.is_content() { Ns::Content } else { Ns::Other(&ns) }, node.name())?;
                for attr in node.attrs() {
                    writer.attribute_in(&attr.ns(), attr.name(), &attr.value())?;
                }
            }
            WalkItem::Text(text) => writer.text(&text)?,
            WalkItem::End => writer.end()?,
        }
    }
    writer.finish()
}

/// A namespace as the writer sees it.
#[derive(Clone, Copy)]
enum Ns<'n> {
    Content,
    Other(&'n str),
}

impl<'n> Ns<'n> {
    fn bridged(ns: &'n str) -> Self {
        if ns == DEFAULT_NS || ns == ns::CLIENT { Self::Content } else { Self::Other(ns) }
    }
}

/// The default namespace at a place of what is written.
#[derive(Clone)]
enum Scope {
    None,
    Content,
    /// Where in `out` it was declared.
    Declared(Range<usize>),
}

/// Writes one element piece by piece, with as few declarations as it needs: see [`OutStanza::written`](super::OutStanza::written).
///
/// Names are written as they are given; whether all of it is well-formed is checked when it is whole.
pub struct ElementWriter<'o> {
    out: &'o mut Vec<u8>,
    begin: usize,
    content_ns: &'o str,
    /// The elements that are open: where in `out` their qualified name stands, and the default namespace around them.
    stack: SmallVec<[(Range<usize>, Scope); 4]>,
    default: Scope,
    /// Whether the start tag of the innermost is still open.
    in_head: bool,
    /// How many prefixes were made up.
    made_up: u32,
    /// The depth at which `xmlns:stream` was declared.
    stream_prefix: Option<usize>,
}

impl<'o> ElementWriter<'o> {
    fn new(out: &'o mut Vec<u8>, content_ns: &'o str) -> Self {
        let default = if content_ns.is_empty() { Scope::None } else { Scope::Content };
        let begin = out.len();
        Self { out, begin, content_ns, stack: SmallVec::new(), default, in_head: false, made_up: 0, stream_prefix: None }
    }

    /// Begins an element of this namespace and local name, inside the one that is open. What is in
    /// [`ns::CLIENT`](super::ns::CLIENT) is in the content namespace of the stream it goes out on.
    ///
    /// # Errors
    /// A second element beside the outermost.
    pub fn start(&mut self, ns: &str, name: &str) -> Result<(), xso::error::Error> {
        self.start_in(Ns::bridged(ns), name)
    }

    /// An attribute in no namespace, of the element that was begun last.
    ///
    /// # Errors
    /// A value with characters that XML does not allow; an attribute behind what is in the element.
    pub fn attribute(&mut self, name: &str, value: &str) -> Result<(), xso::error::Error> {
        self.attribute_in("", name, value)
    }

    fn start_in(&mut self, ns: Ns<'_>, name: &str) -> Result<(), xso::error::Error> {
        if self.stack.is_empty() && self.out.len() > self.begin {
            return Err(MISUSE);
        }
        self.head_end();
        self.out.push(b'<');
        let at = self.out.len();
        let around = self.default.clone();
        match ns {
            // Peers expect the prefix that RFC 6120 §4.8.5 speaks of.
            Ns::Other(ns::STREAM) => {
                self.push("stream:");
                self.push(name);
                self.stack.push((at..self.out.len(), around));
                if self.stream_prefix.is_none() {
                    self.stream_prefix = Some(self.stack.len());
                    self.declaration(" xmlns:stream='", ns::STREAM);
                }
            }
            ns => {
                self.push(name);
                self.stack.push((at..self.out.len(), around));
                if !self.is_default(ns) {
                    self.default = match ns {
                        Ns::Content => {
                            self.declaration(" xmlns='", if self.content_ns.is_empty() { ns::CLIENT } else { self.content_ns });
                            Scope::Content
                        }
                        Ns::Other("") => {
                            self.declaration(" xmlns='", "");
                            Scope::None
                        }
                        Ns::Other(uri) => Scope::Declared(self.declaration(" xmlns='", uri)),
                    };
                }
            }
        }
        self.in_head = true;
        Ok(())
    }

    fn items<T: AsXml>(&mut self, value: &T) -> Result<(), xso::error::Error> {
        for item in value.as_xml_iter()? {
            match item? {
                Item::XmlDeclaration(_) => {}
                Item::ElementHeadStart(ns, name) => self.start(&ns, name.as_str())?,
                Item::Attribute(ns, name, value) => self.attribute_in(&ns, name.as_str(), &value)?,
                // The head ends with what follows: `/>` if that is the foot.
                Item::ElementHeadEnd => {}
                Item::Text(text) => self.text(&text)?,
                Item::ElementFoot => self.end()?,
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<(), xso::error::Error> {
        // Every field by its name: one that is added is missed here by the compiler.
        let Message { from, to, id, type_, bodies, subjects, thread, payloads } = message;
        self.start_in(Ns::Content, "message")?;
        for (name, jid) in [("from", from), ("to", to)] {
            if let Some(jid) = jid {
                self.attribute(name, jid.as_str())?;
            }
        }
        if let Some(id) = id {
            self.attribute("id", &id.0)?;
        }
        if let Some(kind) = type_.as_optional_xml_text()? {
            self.attribute("type", &kind)?;
        }
        for (name, texts) in [("body", bodies), ("subject", subjects)] {
            for (lang, text) in texts {
                self.start_in(Ns::Content, name)?;
                if !lang.is_empty() {
                    self.attribute_in(ns::XML, "lang", lang)?;
                }
                self.text(text)?;
                self.end()?;
            }
        }
        if let Some(thread) = thread {
            self.items(thread)?;
        }
        payloads.iter().try_for_each(|payload| self.element(payload))?;
        self.end()
    }

    fn element(&mut self, element: &minidom::Element) -> Result<(), xso::error::Error> {
        let name = <&NcNameStr>::try_from(element.name())?;
        self.start(&element.ns(), name)?;
        for ((ns, name), value) in element.attrs().iter() {
            self.attribute_in(ns, name, value)?;
        }
        for node in element.nodes() {
            match node {
                minidom::Node::Element(element) => self.element(element)?,
                minidom::Node::Text(text) => self.text(text)?,
            }
        }
        self.end()
    }

    fn is_default(&self, ns: Ns<'_>) -> bool {
        match (&self.default, ns) {
            (Scope::Content, Ns::Content) | (Scope::None, Ns::Other("")) => true,
            (Scope::Declared(at), Ns::Other(uri)) => self.out[at.clone()] == *escape_attr(uri).as_bytes(),
            _ => false,
        }
    }

    /// Writes a declaration; gives where the namespace stands.
    fn declaration(&mut self, opening: &str, uri: &str) -> Range<usize> {
        self.push(opening);
        let start = self.out.len();
        self.push(&escape_attr(uri));
        let end = self.out.len();
        self.push("'");
        start..end
    }

    fn attribute_in(&mut self, ns: &str, name: &str, value: &str) -> Result<(), xso::error::Error> {
        if !self.in_head {
            return Err(MISUSE);
        }
        check(value)?;
        match ns {
            "" => self.push(" "),
            ns::XML => self.push(" xml:"),
            ns => {
                let prefix = format!("ns{}", self.made_up);
                self.made_up += 1;
                self.push(" xmlns:");
                self.push(&prefix);
                self.declaration("='", ns);
                self.push(" ");
                self.push(&prefix);
                self.push(":");
            }
        }
        self.push(name);
        self.push("='");
        self.push(&escape_attr(value));
        self.push("'");
        Ok(())
    }

    fn head_end(&mut self) {
        if std::mem::take(&mut self.in_head) {
            self.out.push(b'>');
        }
    }

    /// Text in the element that is open.
    ///
    /// # Errors
    /// Characters that XML does not allow; text outside of any element.
    pub fn text(&mut self, text: &str) -> Result<(), xso::error::Error> {
        if self.stack.is_empty() {
            return Err(MISUSE);
        }
        if text.is_empty() {
            return Ok(());
        }
        check(text)?;
        self.head_end();
        self.push(&escape_text(text));
        Ok(())
    }

    /// Ends the element that is open.
    ///
    /// # Errors
    /// None is open.
    pub fn end(&mut self) -> Result<(), xso::error::Error> {
        let (name, around) = self.stack.pop().ok_or(MISUSE)?;
        self.default = around;
        if self.stream_prefix == Some(self.stack.len() + 1) {
            self.stream_prefix = None;
        }
        if std::mem::take(&mut self.in_head) {
            self.push("/>");
        } else {
            self.push("</");
            self.out.extend_from_within(name);
            self.push(">");
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), xso::error::Error> {
        if self.stack.is_empty() && self.out.len() > self.begin { Ok(()) } else { Err(MISUSE) }
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

impl fmt::Debug for ElementWriter<'_> {
    /// Names its size; what it says is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ElementWriter({} bytes)", self.out.len() - self.begin)
    }
}

const MISUSE: xso::error::Error = xso::error::Error::Other("the type does not serialise to one element");

fn check(text: &str) -> Result<(), xso::error::Error> {
    if chars::clean_len(text) == text.len() { Ok(()) } else { Err(xso::error::Error::text_parse_error(CharacterError)) }
}

/// A text holds a character that XML does not allow.
#[derive(Debug)]
struct CharacterError;

impl fmt::Display for CharacterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        XmlErrorKind::Character.fmt(f)
    }
}

impl std::error::Error for CharacterError {}
