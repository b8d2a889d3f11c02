//! [`OutStanza`]: a stanza on its way out, serialised once.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use jid::Jid;
use xmpp_parsers::{iq::Iq, message::Message, presence::Presence};
use xso::AsXml;

use super::error::{PayloadError, XmlError, XmlErrorKind};
use super::frame::Frame;
use super::limits::Limits;
use super::stanza::{Stanza, StanzaKind};
use super::write::{ElementWriter, escape_attr, root_name, write_by, write_element, write_message, write_node};
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
    /// The attributes that say something else than is written, because of what was escaped.
    escaped: Escaped,
    /// The receiver, once somebody asked, or where it is known.
    receiver: OnceLock<Option<Jid>>,
}

#[derive(Default)]
struct Escaped {
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
        Self::by(message.to.as_ref(), |text| write_message(text, message, ""))
    }

    /// Writes a stanza piece by piece, where it is small and always of one form, and no value is needed first. `write` begins
    /// behind the name and the receiver, so further attributes of the stanza come first.
    ///
    /// ```
    /// use xmppkit::xml::{OutStanza, StanzaKind, ns};
    /// let juliet = "juliet@capulet.example/balcony".parse()?;
    /// let receipt = OutStanza::written(StanzaKind::Message, Some(&juliet), |message| {
    ///     message.attribute("id", "r1")?;
    ///     message.start(ns::RECEIPTS, "received")?;
    ///     message.attribute("id", "m1")?;
    ///     message.end()
    /// })?;
    /// let mut out = Vec::new();
    /// receipt.write_to(&mut out, None);
    /// assert_eq!(
    ///     String::from_utf8(out)?,
    ///     "<message to='juliet@capulet.example/balcony' id='r1'><received xmlns='urn:xmpp:receipts' id='m1'/></message>"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `write`, and as [`message`](Self::message) if what it wrote is not well-formed.
    pub fn written(
        kind: StanzaKind,
        to: Option<&Jid>,
        write: impl FnOnce(&mut ElementWriter<'_>) -> Result<(), xso::error::Error>,
    ) -> Result<Self, Error> {
        Self::by(to, |text| {
            write_by(text, "", |writer| {
                writer.start(ns::CLIENT, kind.name())?;
                to.map_or(Ok(()), |to| writer.attribute("to", to.as_str()))?;
                write(writer)?;
                writer.end()
            })
        })
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
        Self::new(&text, OnceLock::new())
    }

    fn of<T: AsXml>(value: &T) -> Result<Self, Error> {
        Self::by(None, |text| write_element(text, value, ""))
    }

    fn by(to: Option<&Jid>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<Self, Error> {
        let mut text = Vec::with_capacity(512);
        write(&mut text)?;
        let receiver = to.map_or_else(OnceLock::new, |to| Some(to.clone()).into());
        Self::new(&text, receiver)
            .map_err(|e| PayloadError::new(ns::CLIENT, root_name(&text), xso::error::Error::text_parse_error(e)).into())
    }

    /// Checks what was written as if it had been received, so that no serialiser can break the stream.
    fn new(text: &[u8], receiver: OnceLock<Option<Jid>>) -> Result<Self, XmlError> {
        let text = simdutf8::basic::from_utf8(text).map_err(|_| XmlError::new(XmlErrorKind::Utf8, 0))?;
        let frame = standalone::parse(text, &unlimited())?;
        let stanza = frame.stanza().ok_or(XmlError::new(XmlErrorKind::NotAStanza, 0))?;
        let decoded = |value: Option<Cow<'_, str>>| match value {
            Some(Cow::Owned(value)) => Some(value.into_boxed_str()),
            _ => None,
        };
        let escaped = Escaped { id: decoded(stanza.id()), to: decoded(stanza.to()), stanza_type: decoded(stanza.stanza_type()) };
        Ok(Self(Arc::new(Inner { stanza, escaped, receiver })))
    }

    /// Message, presence or IQ.
    #[must_use]
    pub fn kind(&self) -> StanzaKind {
        self.0.stanza.kind()
    }

    /// The attribute `id`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        attribute(self.0.stanza.id(), &self.0.escaped.id)
    }

    /// The attribute `to`.
    #[must_use]
    pub fn to(&self) -> Option<&str> {
        attribute(self.0.stanza.to(), &self.0.escaped.to)
    }

    /// The receiver; none if there is none, or no valid JID (RFC 7622).
    #[must_use]
    pub fn to_jid(&self) -> Option<&Jid> {
        self.0.receiver.get_or_init(|| Jid::new(self.to()?).ok()).as_ref()
    }

    /// The attribute `type`.
    #[must_use]
    pub fn stanza_type(&self) -> Option<&str> {
        attribute(self.0.stanza.stanza_type(), &self.0.escaped.stanza_type)
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

/// An attribute as it stands in the stanza, or what it says where that is another thing.
fn attribute<'a>(written: Option<Cow<'a, str>>, escaped: &'a Option<Box<str>>) -> Option<&'a str> {
    match written? {
        Cow::Borrowed(value) => Some(value),
        Cow::Owned(_) => escaped.as_deref(),
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
