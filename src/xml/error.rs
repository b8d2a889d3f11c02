//! What can be wrong with XML, and with a payload in it.

use std::fmt;

use crate::error::{Error, ErrorKind, ProtocolError};

/// Input that is no acceptable XML: why, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct XmlError {
    /// The reason.
    pub kind: XmlErrorKind,
    /// Bytes from the start of the stream (or of the text) to the token that is wrong.
    pub offset: u64,
}

impl XmlError {
    pub(super) fn new(kind: XmlErrorKind, offset: u64) -> Self {
        Self { kind, offset }
    }

    /// The error when it was the server that sent this.
    pub(crate) fn received(self) -> Error {
        Error::new(ErrorKind::Protocol(self.kind.as_protocol())).with_context(self.to_string()).with_source(self)
    }
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl std::error::Error for XmlError {}

/// A text of ours, or of the application's, is [`ErrorKind::InvalidXml`]; what a server sends is [`ErrorKind::Protocol`], and not made here.
impl From<XmlError> for Error {
    fn from(error: XmlError) -> Self {
        Self::new(ErrorKind::InvalidXml).with_source(error)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $protocol:ident, $text:literal;)*) => {
        /// Why input is no acceptable XML: not well-formed (XML 1.0, Namespaces in XML 1.0), restricted by RFC 6120 §11.1,
        /// or beyond [`Limits`](super::Limits).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum XmlErrorKind {
            $($(#[$doc])* $name,)*
        }

        impl XmlErrorKind {
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What a stream that brings it is ended with.
            fn as_protocol(self) -> ProtocolError {
                match self {
                    $(Self::$name => ProtocolError::$protocol,)*
                }
            }
        }

        impl fmt::Display for XmlErrorKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

kinds! {
    /// Not UTF-8 (RFC 6120 §11.6).
    Utf8 => NotWellFormed, "bytes that are not UTF-8";
    /// A character that XML does not allow (XML 1.0 §2.2).
    Character => NotWellFormed, "a character that XML does not allow";
    /// Markup that fits no production of the grammar.
    Syntax => NotWellFormed, "malformed markup";
    /// An element or attribute name that is no qualified name (Namespaces in XML §4).
    Name => NotWellFormed, "a malformed name";
    /// An end tag that does not match the start tag.
    MismatchedTag => NotWellFormed, "an end tag that does not match its start tag";
    /// The same attribute twice, by its name or by namespace and local name.
    DuplicateAttribute => NotWellFormed, "a duplicate attribute";
    /// A prefix that is not declared.
    UndeclaredPrefix => NotWellFormed, "an undeclared namespace prefix";
    /// A declaration that Namespaces in XML §3 forbids: `xml` or `xmlns` bound otherwise, a prefix bound to nothing.
    NamespaceDeclaration => NotWellFormed, "a forbidden namespace declaration";
    /// `<` in an attribute value.
    LessThanInAttribute => NotWellFormed, "`<` in an attribute value";
    /// `]]>` in text.
    CdataEndInText => NotWellFormed, "`]]>` in text";
    /// A character reference that is malformed or names no XML character.
    CharacterReference => NotWellFormed, "a bad character reference";
    /// A reference to an entity other than the five predefined ones (RFC 6120 §11.1).
    Entity => RestrictedXml, "a reference to an entity that is not predefined";
    /// A comment (RFC 6120 §11.1).
    Comment => RestrictedXml, "a comment";
    /// A processing instruction (RFC 6120 §11.1).
    ProcessingInstruction => RestrictedXml, "a processing instruction";
    /// A document type declaration, its internal subset, or a markup declaration (RFC 6120 §11.1).
    Doctype => RestrictedXml, "a document type or markup declaration";
    /// An XML declaration that is malformed, or not at the very start.
    XmlDeclaration => NotWellFormed, "a malformed or misplaced XML declaration";
    /// An XML declaration that names another version than 1.0 (RFC 6120 §11.5).
    XmlVersion => RestrictedXml, "an XML version other than 1.0";
    /// An XML declaration that names another encoding than UTF-8 (RFC 6120 §11.6).
    Encoding => RestrictedXml, "an encoding other than UTF-8";
    /// Anything but whitespace between top-level elements (RFC 6120 §11.7).
    TextOutsideElement => NotWellFormed, "text between top-level elements";
    /// Something after the end of the stream or of the document.
    AfterEnd => NotWellFormed, "data after the end";
    /// The text ended in the middle of its element.
    Incomplete => NotWellFormed, "the end in the middle of an element";
    /// An element that is none of `message`, `presence` and `iq` where a stanza is wanted.
    NotAStanza => InvalidNamespace, "an element that is no stanza";
    /// A top-level element larger than [`Limits::max_stanza_bytes`](super::Limits::max_stanza_bytes).
    StanzaTooLarge => LimitExceeded, "a top-level element that is too large";
    /// Elements nested deeper than [`Limits::max_depth`](super::Limits::max_depth).
    TooDeep => LimitExceeded, "elements nested too deep";
    /// More attributes than [`Limits::max_attributes`](super::Limits::max_attributes).
    TooManyAttributes => LimitExceeded, "too many attributes";
    /// More direct children than [`Limits::max_children`](super::Limits::max_children).
    TooManyChildren => LimitExceeded, "too many direct children";
    /// More prefix declarations than [`Limits::max_prefixes`](super::Limits::max_prefixes).
    TooManyPrefixes => LimitExceeded, "too many prefix declarations";
    /// A name longer than [`Limits::max_name_bytes`](super::Limits::max_name_bytes).
    NameTooLong => LimitExceeded, "a name that is too long";
    /// A reference longer than 64 bytes.
    ReferenceTooLong => LimitExceeded, "a reference that is too long";
    /// More bytes pushed than [`Limits::max_buffered_bytes`](super::Limits::max_buffered_bytes) without taking items out.
    BufferFull => LimitExceeded, "more input than may be buffered";
}

/// A payload that does not have the shape its type asks for.
#[derive(Debug)]
#[non_exhaustive]
pub struct PayloadError {
    /// The payload's namespace; empty where nobody knows it, because the element was never whole.
    pub ns: String,
    /// The payload's element name.
    pub name: String,
    /// What the type's builder said.
    pub source: xso::error::Error,
}

impl PayloadError {
    pub(super) fn new(ns: impl Into<String>, name: impl Into<String>, source: xso::error::Error) -> Self {
        Self { ns: ns.into(), name: name.into(), source }
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", ErrorKind::Payload { ns: self.ns.clone(), name: self.name.clone() }, self.source)
    }
}

impl std::error::Error for PayloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<PayloadError> for Error {
    fn from(error: PayloadError) -> Self {
        let kind = ErrorKind::Payload { ns: error.ns.clone(), name: error.name.clone() };
        Self::new(kind).with_context(error.source.to_string()).with_source(error)
    }
}
