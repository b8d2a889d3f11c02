//! Stanzas, and texts of them, as a store keeps them.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, ErrorKind, Result};
use crate::xml::{Frame, InStanza, Limits, Stanza};

/// A stanza (or a roster item, or what a hash of entity capabilities stands for) as a store keeps it: as standalone XML,
/// with every namespace and language it needs written out (R29), so it parses alone.
///
/// One made from a [`Stanza`] shares its bytes, and writes the text only when it is asked for. Cloning is a reference
/// count. `Debug` shows the length only, for it holds what people wrote.
///
/// ```
/// use xmppkit::store::StoredXml;
/// let kept = StoredXml::from("<message xmlns='jabber:client'><body>Hi</body></message>");
/// assert_eq!(kept.stanza()?.child_text("jabber:client", "body").as_deref(), Some("Hi"));
/// # Ok::<(), xmppkit::Error>(())
/// ```
#[derive(Clone)]
pub struct StoredXml(Repr);

#[derive(Clone)]
enum Repr {
    Text(Arc<str>),
    /// With its text, once somebody asked.
    Stanza(Stanza, OnceLock<Arc<str>>),
}

impl StoredXml {
    /// From standalone XML.
    pub fn new(xml: impl Into<Arc<str>>) -> Self {
        Self(Repr::Text(xml.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Text(text) => text,
            Repr::Stanza(stanza, text) => text.get_or_init(|| stanza.to_standalone_xml().into()),
        }
    }

    /// The text, in parts that follow one another.
    pub(super) fn parts(&self) -> [Cow<'_, str>; 3] {
        match &self.0 {
            Repr::Stanza(stanza, text) if text.get().is_none() => stanza.root().standalone_parts(),
            _ => [self.as_str().into(), "".into(), "".into()],
        }
    }

    /// The stanza it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Store`] if it is none: what was stored was damaged, or is no stanza.
    pub fn stanza(&self) -> Result<Stanza> {
        match &self.0 {
            Repr::Stanza(stanza, _) => Ok(stanza.clone()),
            Repr::Text(text) => {
                // Within its limits it was when it came: with fewer declarations of its own, and maybe inside of another.
                let limits = Limits {
                    max_stanza_bytes: usize::MAX,
                    max_attributes: u16::MAX,
                    max_children: u16::MAX,
                    max_prefixes: u16::MAX,
                    ..Limits::default()
                };
                let frame = Frame::parse_with(text, &limits).map_err(|error| Error::new(ErrorKind::Store).with_source(error))?;
                frame.stanza().ok_or_else(|| Error::new(ErrorKind::Store).with_context("what is kept is no stanza"))
            }
        }
    }

    /// Its length in bytes; of one made from a stanza, the length with which that came.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        match &self.0 {
            Repr::Text(text) => text.len(),
            Repr::Stanza(stanza, _) => stanza.byte_len(),
        }
    }
}

impl From<String> for StoredXml {
    fn from(xml: String) -> Self {
        Self::new(xml)
    }
}

impl From<&str> for StoredXml {
    fn from(xml: &str) -> Self {
        Self::new(xml)
    }
}

impl From<Stanza> for StoredXml {
    fn from(stanza: Stanza) -> Self {
        Self(Repr::Stanza(stanza, OnceLock::new()))
    }
}

impl From<&Stanza> for StoredXml {
    fn from(stanza: &Stanza) -> Self {
        stanza.clone().into()
    }
}

/// Equal are those with the same text.
impl PartialEq for StoredXml {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for StoredXml {}

impl fmt::Debug for StoredXml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredXml({} bytes)", self.byte_len())
    }
}

/// A text of a stanza as a store keeps it: an id, what a person wrote.
///
/// One that [stands in a stanza](Self::of) as it is, or that the stanza keeps decoded, shares the stanza's memory, and keeps it for as long
/// as it lives; `String::from` gives one that does not. It is a `str` to whoever reads it.
///
/// ```
/// use xmppkit::store::StoredText;
/// use xmppkit::xml::Frame;
/// let frame = Frame::parse("<message xmlns='jabber:client' id='m1'><body>a &amp; b</body></message>")?;
/// let stanza = frame.stanza().expect("a stanza");
/// let id = stanza.id().map(|id| StoredText::of(&stanza, id));
/// assert_eq!(id.as_deref(), Some("m1"));
/// assert_eq!(StoredText::from("m1"), "m1");
/// # Ok::<(), xmppkit::xml::XmlError>(())
/// ```
#[derive(Clone)]
pub struct StoredText(Text);

#[derive(Clone)]
enum Text {
    Own(String),
    Shared(InStanza),
}

impl StoredText {
    /// What the stanza says somewhere: shared with it if it is borrowed from it.
    #[must_use]
    pub fn of(stanza: &Stanza, text: Cow<'_, str>) -> Self {
        Self(match text {
            Cow::Owned(own) => Text::Own(own),
            Cow::Borrowed(text) => stanza.share(text).map_or_else(|| Text::Own(text.to_owned()), Text::Shared),
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Own(text) => text,
            Text::Shared(text) => text.as_str(),
        }
    }
}

impl Deref for StoredText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for StoredText {
    fn from(text: String) -> Self {
        Self(Text::Own(text))
    }
}

impl From<&str> for StoredText {
    fn from(text: &str) -> Self {
        Self(Text::Own(text.to_owned()))
    }
}

impl From<StoredText> for String {
    fn from(text: StoredText) -> Self {
        match text.0 {
            Text::Own(own) => own,
            Text::Shared(text) => text.as_str().to_owned(),
        }
    }
}

impl PartialEq for StoredText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for StoredText {}

impl Hash for StoredText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for StoredText {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for StoredText {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for StoredText {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl fmt::Display for StoredText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for StoredText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shared_only_with_the_stanza_it_stands_in() {
        let xml = "<message xmlns='jabber:client' id='m1'><body>one</body><subject>a &amp; b</subject><thread>c &amp; d</thread></message>";
        let stanza = received(xml);
        let other = received("<message xmlns='jabber:client' id='m2'/>");
        let of = |text: Option<Cow<'_, str>>| StoredText::of(&stanza, text.expect("it is there"));
        let is_shared = |text: &StoredText| matches!(text.0, Text::Shared(_));
        let (id, body) = (of(stanza.id()), of(stanza.child_text("jabber:client", "body")));
        assert!(is_shared(&id) && is_shared(&body));
        // One that means something else than what is written is kept with the stanza, the first that is asked for.
        let [subject, thread] = ["subject", "thread"].map(|name| of(stanza.child_text("jabber:client", name)));
        let alien = of(other.id());
        assert!(is_shared(&subject) && !is_shared(&thread) && !is_shared(&alien) && !is_shared(&of(Some("own".into()))));
        drop((stanza, other));
        assert_eq!([&*id, &body, &subject, &thread, &alien], ["m1", "one", "a & b", "c & d", "m2"]);
        assert_eq!((id.clone(), String::from(id)), (StoredText::from("m1"), "m1".to_owned()));
    }

    fn received(xml: &str) -> Stanza {
        Frame::parse(xml).expect("well-formed").stanza().expect("a stanza")
    }

    #[test]
    fn a_stanza_and_its_text_are_kept_alike() {
        let stanza = received("<message xmlns='jabber:client' id='m1'><body>Hi &amp; bye</body></message>");
        let kept = StoredXml::from(&stanza);
        assert_eq!(kept.as_str(), stanza.to_standalone_xml());
        let text = StoredXml::from(stanza.to_standalone_xml());
        assert_eq!(kept, text);
        assert_eq!(text.stanza().expect("parses").id().as_deref(), Some("m1"));
        assert_eq!(kept.stanza().expect("is one").id().as_deref(), Some("m1"));
    }

    #[test]
    fn the_length_stays_when_the_text_is_written() {
        let outer =
            "<message xmlns='jabber:client' xml:lang='en'><x xmlns='urn:example'><message xmlns='jabber:client'/></x></message>";
        let outer = received(outer);
        let inner = outer.child("urn:example", "x").and_then(|x| x.child("jabber:client", "message")).expect("there");
        let kept = StoredXml::from(outer.inner(inner).expect("a stanza"));
        let before = kept.byte_len();
        assert!(kept.as_str().len() > before, "the language was written out: {}", kept.as_str());
        assert_eq!(kept.byte_len(), before);
    }

    #[test]
    fn what_is_no_stanza_is_a_store_error() {
        for damaged in ["", "<message", "<item xmlns='jabber:iq:roster'/>", "<message xmlns='jabber:client'/><x/>"] {
            assert_eq!(StoredXml::from(damaged).stanza().expect_err(damaged).kind(), &ErrorKind::Store);
        }
    }

    #[test]
    fn what_was_let_in_by_a_larger_limit_is_readable() {
        let large = format!("<message xmlns='jabber:client'><body>{}</body></message>", "x".repeat(17 << 20));
        assert!(Frame::parse(&large).is_err(), "it is larger than the default");
        assert!(StoredXml::from(large).stanza().is_ok());
        let attributes: String = (0..127).map(|n| format!(" a{n}='1'")).collect();
        let many = format!("<message xmlns='jabber:client' xml:lang='en'{attributes}>{}</message>", "<x/>".repeat(5_000));
        assert!(Frame::parse(&many).is_err(), "inside of another element it may be more");
        assert!(StoredXml::from(many).stanza().is_ok());
    }

    #[test]
    fn debug_keeps_the_words_out() {
        let kept = StoredXml::from("<message xmlns='jabber:client'><body>secret</body></message>");
        assert_eq!(format!("{kept:?}"), "StoredXml(60 bytes)");
    }
}
