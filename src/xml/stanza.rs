//! [`Stanza`]: a message, presence or IQ, whole or inside another.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use jid::Jid;
use xso::FromXml;

use super::error::PayloadError;
use super::frame::{Frame, Header, NodeData};
use super::node::{Children, Node};
use super::scope::Span;
use super::{decode, ns, payload};
use crate::error::{StanzaError, StanzaErrorType};

/// Which of the three stanzas (RFC 6120 §8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StanzaKind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
}

impl StanzaKind {
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "presence" => Some(Self::Presence),
            "iq" => Some(Self::Iq),
            _ => None,
        }
    }

    /// The element's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }
}

/// A message, presence or IQ: a whole [`Frame`], or one inside a frame (a forwarded message), whose bytes it shares.
///
/// Cloning counts a reference.
///
/// ```
/// use xmppkit::xml::{Frame, ns};
/// use xmppkit::xmpp_parsers::delay::Delay;
///
/// let frame = Frame::parse(
///     "<message xmlns='jabber:client' from='juliet@capulet.example' to='juliet@capulet.example/balcony'>\
///        <received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
///          <delay xmlns='urn:xmpp:delay' stamp='2024-06-07T12:00:00Z'/>\
///          <message xmlns='jabber:client' from='romeo@montague.example/orchard'><body>Hi</body></message>\
///        </forwarded></received>\
///      </message>",
/// )?;
/// let carbon = frame.stanza().expect("a stanza");
/// let forwarded = carbon
///     .child(ns::CARBONS, "received")
///     .and_then(|received| received.child(ns::FORWARD, "forwarded"))
///     .expect("a forwarded stanza");
/// let delay = forwarded.child(ns::DELAY, "delay").expect("a delay");
/// let delay: Delay = delay.payload().expect("a well-formed delay");
/// assert_eq!(delay.stamp.0.to_rfc3339(), "2024-06-07T12:00:00+00:00");
///
/// let message = forwarded.child(ns::CLIENT, "message").and_then(|m| carbon.inner(m)).expect("a message");
/// assert_eq!(message.from().as_deref(), Some("romeo@montague.example/orchard"));
/// assert_eq!(message.child_text(ns::CLIENT, "body").as_deref(), Some("Hi"));
/// # Ok::<(), xmppkit::xml::XmlError>(())
/// ```
#[derive(Clone)]
pub struct Stanza {
    frame: Frame,
    data: NodeData,
    header: Header,
    kind: StanzaKind,
    /// The sender of an inner stanza, once somebody asked; that of a whole one is kept by its frame.
    sender: OnceLock<Option<Arc<Jid>>>,
    /// The children of an inner stanza, once they were looked up to be read more than once.
    children: Option<Arc<[NodeData]>>,
}

impl Stanza {
    pub(super) fn whole(frame: Frame, kind: StanzaKind) -> Self {
        let (data, header) = (frame.root_data(), frame.header());
        Self { frame, data, header, kind, sender: OnceLock::new(), children: None }
    }

    pub(super) fn inside(frame: Frame, data: NodeData, header: Header, kind: StanzaKind) -> Self {
        Self { frame, data, header, kind, sender: OnceLock::new(), children: None }
    }

    /// Looks up the children of an inner stanza, which are otherwise looked for each time; those of a whole one are known.
    pub(crate) fn index(&mut self) {
        if self.is_inner() && self.children.is_none() {
            let root = self.root();
            let (end, children) = (root.range().1, root.children().map(Node::data).collect());
            (self.data.end, self.children) = (end as u32, Some(children));
        }
    }

    /// Message, presence or IQ.
    #[must_use]
    pub fn kind(&self) -> StanzaKind {
        self.kind
    }

    fn value(&self, span: Span) -> Option<Cow<'_, str>> {
        if span.is_none() { None } else { Some(decode::attribute(span.of(self.frame.inner_ref().text()))) }
    }

    /// The attribute `from`, as it was written.
    #[must_use]
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.value(self.header.from)
    }

    /// The attribute `to`, as it was written.
    #[must_use]
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.value(self.header.to)
    }

    /// The attribute `id`.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.value(self.header.id)
    }

    /// The attribute `type`, as it was written: what its absence means depends on the kind.
    #[must_use]
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        self.value(self.header.kind)
    }

    /// The sender; none if there is none, or no valid JID (RFC 7622). It is read once, for all clones of a whole stanza.
    #[must_use]
    pub fn from_jid(&self) -> Option<&Jid> {
        let sender = if self.is_inner() { &self.sender } else { self.frame.inner_ref().sender() };
        sender.get_or_init(|| self.frame.inner_ref().scope.sender(&self.from()?)).as_deref()
    }

    /// The receiver; none if there is none, or no valid JID (RFC 7622).
    #[must_use]
    pub fn to_jid(&self) -> Option<Jid> {
        Jid::new(&self.to()?).ok()
    }

    /// The language in force in the stanza (`xml:lang`, inherited where it has none of its own); none if undefined.
    #[must_use]
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        self.root().lang()
    }

    /// The stanza's element.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node::new(&self.frame, self.data)
    }

    /// The frame the stanza is in; the stanza itself unless it is an inner one.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Whether the stanza stands inside another element (a forwarded one does).
    #[must_use]
    pub fn is_inner(&self) -> bool {
        self.data.start != 0
    }

    /// The stanza's child elements: its payloads.
    #[must_use]
    pub fn children(&self) -> Children<'_> {
        match &self.children {
            Some(children) => Children::indexed(&self.frame, children, &[]),
            None => self.root().children(),
        }
    }

    /// The first child with this namespace and local name.
    #[must_use]
    pub fn child(&self, ns: &str, name: &str) -> Option<Node<'_>> {
        match &self.children {
            Some(children) => self.frame.find(children, ns, name),
            None => self.root().child(ns, name),
        }
    }

    /// The text of the first child with this namespace and local name.
    #[must_use]
    pub fn child_text(&self, ns: &str, name: &str) -> Option<Cow<'_, str>> {
        self.child(ns, name).map(Node::text)
    }

    /// The first child that is a `T`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if a child has the name of a `T` and not its shape.
    pub fn payload<T: FromXml>(&self) -> Result<Option<T>, PayloadError> {
        self.payloads().next().transpose()
    }

    /// Every child that is a `T`, or has its name and not its shape.
    pub fn payloads<T: FromXml>(&self) -> impl Iterator<Item = Result<T, PayloadError>> {
        self.children().filter_map(|child| payload::if_matches(child).transpose())
    }

    /// The first child with this namespace and local name as a tree, for types that have no other way in.
    #[must_use]
    pub fn payload_element(&self, ns: &str, name: &str) -> Option<minidom::Element> {
        self.child(ns, name).map(Node::to_element)
    }

    /// The whole stanza as a `T`, for example an `xmpp_parsers::message::Message`.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the stanza is no `T`.
    pub fn decode<T: FromXml>(&self) -> Result<T, PayloadError> {
        self.root().payload()
    }

    /// The stanza that `node` is, if it is one. It shares this stanza's bytes.
    #[must_use]
    pub fn inner(&self, node: Node<'_>) -> Option<Self> {
        node.stanza()
    }

    /// The stanza as text that means the same on its own: see [`Frame::to_standalone_xml`].
    #[must_use]
    pub fn to_standalone_xml(&self) -> String {
        self.root().to_standalone_xml()
    }

    /// The stanza's size in bytes, as it came.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        let (start, end) = self.root().range();
        end - start
    }

    /// What the `<error/>` child says (RFC 6120 §8.3), if there is one. A condition that is missing or not defined is
    /// `undefined-condition`; a type that is missing or unknown is `cancel`.
    #[must_use]
    pub fn error(&self) -> Option<StanzaError> {
        let element = self.child(ns::CLIENT, "error")?;
        let error_type = match element.attr("type").as_deref() {
            Some("auth") => StanzaErrorType::Auth,
            Some("continue") => StanzaErrorType::Continue,
            Some("modify") => StanzaErrorType::Modify,
            Some("wait") => StanzaErrorType::Wait,
            _ => StanzaErrorType::Cancel,
        };
        let mut error = StanzaError::new(error_type, "undefined-condition");
        let mut condition_seen = false;
        for child in element.children() {
            if !child.has_ns(ns::STANZA_ERRORS) {
                error.application.get_or_insert_with(|| (child.ns().into_owned(), child.name().to_owned()));
            } else if child.name() == "text" {
                error.text.get_or_insert_with(|| child.text().into_owned());
            } else if !condition_seen {
                condition_seen = true;
                child.name().clone_into(&mut error.condition);
            }
        }
        Some(error)
    }
}

impl fmt::Debug for Stanza {
    /// Names kind, type and size; what the stanza says is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stanza({} type={:?}, {} bytes)", self.kind.name(), self.stanza_type().unwrap_or_default(), self.byte_len())
    }
}
