//! Ranges and names inside a frame's text, and what a stream's header puts into scope.

use std::sync::{Arc, LazyLock, OnceLock};

use jid::Jid;

use super::jids::{Jids, SharedJid};
use super::ns;

/// A range of bytes in a frame's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// No range: an attribute that is not there.
    pub(super) const NONE: Self = Self { start: u32::MAX, end: u32::MAX };

    /// Offsets are below `Limits`' hard maximum, so that they fit.
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn is_none(self) -> bool {
        self.start == u32::MAX
    }

    pub(super) fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }

    pub(super) fn of_bytes(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }
}

/// Where a namespace name stands: nowhere, in the frame's text, or among the bindings of the stream header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NsRef {
    at: u32,
    len: u32,
}

const ESCAPED: u32 = 1 << 31;
const CONTENT: u32 = 1 << 30;
const SCOPE: u32 = 1 << 29;
const LEN: u32 = SCOPE - 1;

/// Where an [`NsRef`] points.
pub(super) enum NsPlace {
    /// In no namespace.
    None,
    /// The namespace of the prefix `xml`.
    Xml,
    /// A binding of the stream header.
    Scope(usize),
    /// An attribute value in the frame's text; `escaped` if it must be decoded.
    Text { span: Span, escaped: bool },
}

impl NsRef {
    pub(super) const NONE: Self = Self { at: u32::MAX, len: 0 };
    pub(super) const XML: Self = Self { at: u32::MAX, len: 1 };

    pub(super) fn text(value: Span, escaped: bool, content: bool) -> Self {
        let flags = if escaped { ESCAPED } else { 0 } | if content { CONTENT } else { 0 };
        Self { at: value.start, len: (value.end - value.start) | flags }
    }

    pub(super) fn scope(index: usize, content: bool) -> Self {
        Self { at: index as u32, len: SCOPE | if content { CONTENT } else { 0 } }
    }

    pub(super) fn to_numbers(self) -> [u32; 2] {
        [self.at, self.len]
    }

    pub(super) fn of_numbers([at, len]: [u32; 2]) -> Self {
        Self { at, len }
    }

    /// Whether this is the stream's content namespace.
    pub(super) fn is_content(self) -> bool {
        self.len & CONTENT != 0
    }

    pub(super) fn place(self) -> NsPlace {
        match self {
            Self::NONE => NsPlace::None,
            Self::XML => NsPlace::Xml,
            Self { at, len } if len & SCOPE != 0 => NsPlace::Scope(at as usize),
            Self { at, len } => NsPlace::Text { span: Span { start: at, end: at + (len & LEN) }, escaped: len & ESCAPED != 0 },
        }
    }
}

static NOTHING: LazyLock<Arc<StreamScope>> = LazyLock::new(|| {
    let (content_ns, default) = (ns::CLIENT.into(), NsRef::NONE);
    let (inherited, jids) = (OnceLock::new(), Jids::default());
    Arc::new(StreamScope { content_ns, bindings: Vec::new(), lang: None, default, special_lens: SPECIAL_LENS, inherited, jids })
});

const SPECIAL_LENS: u64 = len_bit(0)
    | len_bit(ns::CLIENT.len())
    | len_bit(ns::SERVER.len())
    | len_bit(ns::COMPONENT_ACCEPT.len())
    | len_bit(ns::XML.len())
    | len_bit(ns::XMLNS.len());

/// The bit of a length; all from 63 on share one.
const fn len_bit(len: usize) -> u64 {
    1 << if len < 63 { len } else { 63 }
}

/// What the stream header puts into scope for every element of the stream.
#[derive(Debug)]
pub(super) struct StreamScope {
    content_ns: Box<str>,
    /// Prefix (empty for the default namespace) and namespace name, decoded.
    bindings: Vec<(Box<str>, Box<str>)>,
    lang: Option<Box<str>>,
    default: NsRef,
    /// A bit for each length that a namespace name with a meaning to the framer has.
    special_lens: u64,
    /// What an element of the stream that declares nothing takes from here, once one was to stand alone.
    inherited: OnceLock<Box<str>>,
    /// Who wrote on the stream, and to whom.
    jids: Jids,
}

/// What is remembered makes no difference.
#[cfg(test)]
impl PartialEq for StreamScope {
    fn eq(&self, other: &Self) -> bool {
        (&self.content_ns, &self.bindings, &self.lang, self.default, self.special_lens)
            == (&other.content_ns, &other.bindings, &other.lang, other.default, other.special_lens)
    }
}

impl StreamScope {
    /// `bindings` as declared by the header, the default namespace under the empty prefix.
    pub(super) fn new(bindings: Vec<(Box<str>, Box<str>)>, lang: Option<Box<str>>) -> Self {
        let default = bindings.iter().find(|(prefix, _)| prefix.is_empty()).map_or("", |(_, uri)| uri);
        // RFC 6120 §4.8.3: the content namespace may be bound to a prefix, with the stream namespace as default.
        let content_ns = if default == ns::STREAM { ns::CLIENT } else { default };
        let mut scope = Self {
            content_ns: content_ns.into(),
            bindings,
            lang,
            default: NsRef::NONE,
            special_lens: SPECIAL_LENS,
            inherited: OnceLock::new(),
            jids: Jids::default(),
        };
        scope.special_lens |= len_bit(scope.content_ns.len());
        scope.default = scope.resolve("").unwrap_or(NsRef::NONE);
        scope
    }

    /// For text that stands alone: nothing is in scope.
    pub(super) fn standalone() -> Arc<Self> {
        NOTHING.clone()
    }

    /// The same, by reference.
    pub(super) fn nothing() -> &'static Self {
        &NOTHING
    }

    /// Whether nothing is in scope.
    pub(super) fn is_empty(&self) -> bool {
        std::ptr::eq(self, Self::nothing())
    }

    pub(super) fn content_ns(&self) -> &str {
        &self.content_ns
    }

    pub(super) fn lang(&self) -> Option<&str> {
        self.lang.as_deref()
    }

    /// What an element that declares nothing takes from here, as declarations of its own.
    pub(super) fn inherited(&self, write: impl FnOnce() -> String) -> &str {
        self.inherited.get_or_init(|| write().into())
    }

    /// What a name without prefix means where no element declares a default namespace.
    pub(super) fn default_ns(&self) -> NsRef {
        self.default
    }

    /// Whether a namespace name of this length may be a content namespace, a reserved one, or none.
    pub(super) fn may_be_special(&self, len: usize) -> bool {
        self.special_lens & len_bit(len) != 0
    }

    /// Whether this is a content namespace: the stream's own, or that of another kind of stream, since stanzas are forwarded
    /// from one to the other.
    pub(super) fn is_content(&self, uri: &str) -> bool {
        uri == ns::CLIENT || uri == ns::COMPONENT_ACCEPT || uri == ns::SERVER || (uri == &*self.content_ns && !uri.is_empty())
    }

    /// What this prefix (empty: no prefix) means where no element declares it.
    pub(super) fn resolve(&self, prefix: &str) -> Option<NsRef> {
        match self.bindings.iter().position(|(p, _)| &**p == prefix) {
            Some(i) if self.bindings[i].1.is_empty() => Some(NsRef::NONE),
            Some(i) => Some(NsRef::scope(i, self.is_content(&self.bindings[i].1))),
            None if prefix.is_empty() => Some(NsRef::NONE),
            None => None,
        }
    }

    /// The JID that a stanza's sender or receiver is, if it is one.
    pub(super) fn address(&self, address: &str) -> Option<SharedJid> {
        // What stands alone is of no stream, and has this in common with everything that does.
        if self.bindings.is_empty() { Jid::new(address).ok().map(SharedJid::from) } else { self.jids.jid(address) }
    }

    pub(super) fn uri(&self, index: usize) -> &str {
        self.bindings.get(index).map_or("", |(_, uri)| uri)
    }
}
