//! [`OutStanza`]: a stanza on its way out, serialised once.

use std::fmt;
use std::sync::Arc;

use xmpp_parsers::{iq::Iq, message::Message, presence::Presence};
use xso::AsXml;

use super::error::{PayloadError, XmlError, XmlErrorKind};
use super::frame::Frame;
use super::limits::Limits;
use super::stanza::{Stanza, StanzaKind};
use super::write::{escape_attr, write_element, write_message, write_node};
use super::{ns, standalone};
use crate::error::Error;

/// A stanza serialised once, independent of the stream it goes out on. Cloning counts a reference.
///
/// ```
/// use xmppkit::xml::{OutStanza, ns};
/// use xmppkit::xmpp_parsers::message::Message;
///
/// let message = Message::chat(Some("juliet@capulet.example".parse()?)).with_body("".into(), "Hi".into());
/// let stanza = OutStanza::message(&message)?;
///
/// // In a TCP stream the header has declared the namespace; a WebSocket message stands alone (RFC 7395 §3.3).
/// let (mut tcp, mut websocket) = (Vec::new(), Vec::new());
/// stanza.write_to(&mut tcp, None);
/// stanza.write_to(&mut websocket, Some(ns::CLIENT));
/// assert_eq!(tcp, b"<message to='juliet@capulet.example' type='chat'><body>Hi</body></message>");
/// assert!(websocket.starts_with(b"<message xmlns='jabber:client' to="));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct OutStanza(Arc<Inner>);

struct Inner {
    /// The stanza standing alone: `<kind xmlns='jabber:client'` and the rest.
    stanza: Stanza,
    id: Option<Box<str>>,
    to: Option<Box<str>>,
    stanza_type: Option<Box<str>>,
}

const DECLARATION: &str = " xmlns='jabber:client'";

impl OutStanza {
    /// Serialises a message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Payload`](crate::ErrorKind::Payload) if it holds what XML cannot carry.
    pub fn message(message: &Message) -> Result<Self, Error> {
        Self::by(|text| write_message(text, message, ""))
    }

    /// Serialises a presence.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message).
    pub fn presence(presence: &Presence) -> Result<Self, Error> {
        Self::of(presence)
    }

    /// Serialises an IQ.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message).
    pub fn iq(iq: &Iq) -> Result<Self, Error> {
        Self::of(iq)
    }

    /// Takes a stanza as text, in the content namespace of a client, component or server stream.
    ///
    /// # Errors
    ///
    /// [`XmlError`] as [`Frame::parse`], and [`XmlErrorKind::NotAStanza`] if it is another element.
    pub fn from_xml(xml: &str) -> Result<Self, XmlError> {
        Self::rewrite(&Frame::parse(xml)?)
    }

    /// Takes a stanza that was received, an inner one too. The language it inherited there is written out.
    ///
    /// # Errors
    ///
    /// [`XmlError`] if rewriting it would pass a limit.
    pub fn from_stanza(stanza: &Stanza) -> Result<Self, XmlError> {
        Self::rewrite(&standalone::parse(&stanza.to_standalone_xml(), &unlimited())?)
    }

    fn rewrite(frame: &Frame) -> Result<Self, XmlError> {
        let mut text = Vec::with_capacity(frame.byte_len() + DECLARATION.len());
        // A node that was read holds nothing that cannot be written.
        write_node(&mut text, frame.root(), "").map_err(|_| XmlError::new(XmlErrorKind::Syntax, 0))?;
        Self::new(&text)
    }

    fn of<T: AsXml>(value: &T) -> Result<Self, Error> {
        Self::by(|text| write_element(text, value, ""))
    }

    fn by(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<Self, Error> {
        let mut text = Vec::with_capacity(512);
        write(&mut text)?;
        Self::new(&text).map_err(|e| PayloadError::new(ns::CLIENT, "", xso::error::Error::text_parse_error(e)).into())
    }

    /// Checks what was written as if it had been received, so that no serialiser can break the stream.
    fn new(text: &[u8]) -> Result<Self, XmlError> {
        let text = simdutf8::basic::from_utf8(text).map_err(|_| XmlError::new(XmlErrorKind::Utf8, 0))?;
        let frame = standalone::parse(text, &unlimited())?;
        let stanza = frame.stanza().ok_or(XmlError::new(XmlErrorKind::NotAStanza, 0))?;
        let own = |value: Option<std::borrow::Cow<'_, str>>| value.map(|v| v.into_owned().into_boxed_str());
        let (id, to, stanza_type) = (own(stanza.id()), own(stanza.to()), own(stanza.stanza_type()));
        Ok(Self(Arc::new(Inner { stanza, id, to, stanza_type })))
    }

    /// Message, presence or IQ.
    #[must_use]
    pub fn kind(&self) -> StanzaKind {
        self.0.stanza.kind()
    }

    /// The attribute `id`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// The attribute `to`.
    #[must_use]
    pub fn to(&self) -> Option<&str> {
        self.0.to.as_deref()
    }

    /// The attribute `type`.
    #[must_use]
    pub fn stanza_type(&self) -> Option<&str> {
        self.0.stanza_type.as_deref()
    }

    /// Whether this is the same value, not one that says the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The size in bytes, as it goes out where no namespace must be declared.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.text().len() - DECLARATION.len()
    }

    /// Appends the stanza. `declare`: the content namespace to declare on it, where the transport's frames stand alone;
    /// `None` in a TCP stream, whose header has declared it.
    pub fn write_to(&self, out: &mut Vec<u8>, declare: Option<&str>) {
        let text = self.text();
        // `new` wrote `<kind xmlns='jabber:client'`.
        let (name, rest) = text.split_at(1 + self.kind().name().len());
        out.reserve(text.len());
        out.extend_from_slice(name.as_bytes());
        if let Some(ns) = declare {
            out.extend_from_slice(b" xmlns='");
            out.extend_from_slice(escape_attr(ns).as_bytes());
            out.push(b'\'');
        }
        out.extend_from_slice(&rest.as_bytes()[DECLARATION.len()..]);
    }

    /// The stanza as text that stands alone, as a store keeps it.
    #[must_use]
    pub fn to_standalone_xml(&self) -> String {
        self.text().to_owned()
    }

    /// The stanza as one that can be read.
    #[must_use]
    pub fn to_stanza(&self) -> Stanza {
        self.0.stanza.clone()
    }

    fn text(&self) -> &str {
        self.0.stanza.frame().inner_ref().text()
    }
}

/// What is sent is not bounded here: the server says how much it takes (R7).
fn unlimited() -> Limits {
    Limits { max_stanza_bytes: usize::MAX, ..Limits::default() }
}

impl fmt::Debug for OutStanza {
    /// Names kind, type and size; what the stanza says is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind().name();
        write!(f, "OutStanza({kind} type={:?}, {} bytes)", self.stanza_type().unwrap_or_default(), self.byte_len())
    }
}
