//! [`Stanza`]: a message, presence or IQ, whole or inside another.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use jid::Jid;
use xso::FromXml;

use super::error::PayloadError;
use super::frame::{Frame, Header, NodeData};
use super::jids::SharedJid;
use super::node::{Children, Node};
use super::read::children_and_end;
use super::scope::Span;
use super::{ns, payload};
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
    /// Where it stands, if it is not the whole frame.
    part: Option<Arc<Part>>,
}

/// A stanza inside another.
struct Part {
    data: NodeData,
    header: Header,
    kind: StanzaKind,
    /// The sender, once somebody asked.
    sender: OnceLock<Option<SharedJid>>,
    /// Where it ends, and its children, once somebody asked.
    index: OnceLock<(u32, Box<[NodeData]>)>,
}

impl Part {
    fn index(&self, frame: &Frame) -> &(u32, Box<[NodeData]>) {
        self.index.get_or_init(|| {
            let (end, children) = children_and_end(Node::new(frame, self.data));
            (end as u32, children.as_slice().into())
        })
    }
}

impl Stanza {
    /// The stanza that a frame is, which has a kind.
    pub(super) fn whole(frame: Frame) -> Self {
        Self { frame, part: None }
    }

    pub(super) fn inside(frame: Frame, data: NodeData, header: Header, kind: StanzaKind) -> Self {
        let part = Part { data, header, kind, sender: OnceLock::new(), index: OnceLock::new() };
        Self { frame, part: Some(Arc::new(part)) }
    }

    /// Message, presence or IQ.
    #[must_use]
    pub fn kind(&self) -> StanzaKind {
        self.part.as_ref().map_or_else(|| self.frame.stanza_kind().unwrap_or(StanzaKind::Message), |part| part.kind)
    }

    fn header(&self) -> &Header {
        self.part.as_ref().map_or_else(|| self.frame.header(), |part| &part.header)
    }

    fn value(&self, which: impl FnOnce(&Header) -> Span) -> Option<Cow<'_, str>> {
        let header = self.header();
        header.value(which(header), self.frame.inner_ref().text())
    }

    /// The attribute `from`, as it was written.
    #[must_use]
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.value(|header| header.from)
    }

    /// The attribute `to`, as it was written.
    #[must_use]
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.value(|header| header.to)
    }

    /// The attribute `id`.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.value(|header| header.id)
    }

    /// The attribute `type`, as it was written: what its absence means depends on the kind.
    #[must_use]
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        self.value(|header| header.kind)
    }

    /// The sender; none if there is none, or no valid JID (RFC 7622). It is read once, for all clones.
    #[must_use]
    pub fn from_jid(&self) -> Option<&Jid> {
        self.sender().map(|sender| &**sender)
    }

    /// The same, to keep.
    pub(crate) fn sender(&self) -> Option<&SharedJid> {
        let sender = self.part.as_ref().map_or_else(|| self.frame.inner_ref().sender(), |part| &part.sender);
        sender.get_or_init(|| self.frame.inner_ref().scope().address(&self.from()?)).as_ref()
    }

    /// The receiver; none if there is none, or no valid JID (RFC 7622).
    #[must_use]
    pub fn to_jid(&self) -> Option<Jid> {
        self.frame.inner_ref().scope().address(&self.to()?).map(SharedJid::into_jid)
    }

    /// The language in force in the stanza (`xml:lang`, inherited where it has none of its own); none if undefined.
    #[must_use]
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        self.root().lang()
    }

    /// The stanza's element.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        match &self.part {
            Some(part) => {
                // Where it ends need not be looked for if it is known.
                let end = part.index.get().map_or(part.data.end, |(end, _)| *end);
                Node::new(&self.frame, NodeData { end, ..part.data })
            }
            None => self.frame.root(),
        }
    }

    /// The frame the stanza is in; the stanza itself unless it is an inner one.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Whether the stanza stands inside another element (a forwarded one does).
    #[must_use]
    pub fn is_inner(&self) -> bool {
        self.part.is_some()
    }

    /// The stanza's child elements: its payloads.
    #[must_use]
    pub fn children(&self) -> Children<'_> {
        match &self.part {
            Some(part) => Children::indexed(&self.frame, &part.index(&self.frame).1, &[]),
            None => self.frame.children(),
        }
    }

    /// The first child with this namespace and local name.
    #[must_use]
    pub fn child(&self, ns: &str, name: &str) -> Option<Node<'_>> {
        match &self.part {
            Some(part) => self.frame.find(&part.index(&self.frame).1, ns, name),
            None => self.frame.child(ns, name),
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

    /// A text that is borrowed from the stanza, shared with it; none if it stands elsewhere.
    pub(crate) fn share(&self, text: &str) -> Option<InStanza> {
        let whole = self.frame.inner_ref().text();
        let kept = self.frame.inner_ref().kept_text();
        if std::ptr::eq(text, kept) && !kept.is_empty() {
            return Some(InStanza { frame: self.frame.clone(), span: Span::NONE });
        }
        let start = (text.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start.checked_add(text.len())?;
        // What is at an address within the frame's text is a part of it.
        whole.get(start..end).map(|_| InStanza { frame: self.frame.clone(), span: Span::new(start, end) })
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

/// A text that stands in a stanza, and keeps it.
#[derive(Clone)]
pub(crate) struct InStanza {
    frame: Frame,
    /// None: it is the one that is kept beside the stanza's.
    span: Span,
}

impl InStanza {
    pub(crate) fn as_str(&self) -> &str {
        let inner = self.frame.inner_ref();
        if self.span.is_none() { inner.kept_text() } else { self.span.of(inner.text()) }
    }
}

impl fmt::Debug for Stanza {
    /// Names kind, type and size; what the stanza says is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stanza({} type={:?}, {} bytes)", self.kind().name(), self.stanza_type().unwrap_or_default(), self.byte_len())
    }
}
