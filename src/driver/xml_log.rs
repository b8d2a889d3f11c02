//! What goes over the wire, for people to read: whole elements, with what is secret taken out.

mod cut;
mod secrets;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::driver::Surface;
use crate::xml::StanzaKind;

use cut::Cutter;

/// Which way XML went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum XmlDirection {
    /// To the server.
    Sent,
    /// From the server.
    Received,
}

impl fmt::Display for XmlDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sent => "sent",
            Self::Received => "received",
        })
    }
}

/// What a piece of a stream's XML is (RFC 6120 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum XmlKind {
    /// The stream header: a start tag without its end.
    StreamOpen,
    /// The end of the stream.
    StreamClose,
    /// A message, presence or IQ.
    Stanza(StanzaKind),
    /// Another top-level element: features, errors, what TLS and SASL are negotiated with.
    Nonza,
    /// Whitespace between elements (RFC 6120 §4.6.1).
    Whitespace,
    /// What is no whole element: the connection ended within it, it is larger than 16 MiB, or it is no XML.
    Fragment,
}

/// A piece of what went over the wire: one top-level element, as it was written, with what is secret taken out.
///
/// `Debug` names direction, kind and size; the XML itself is in [`xml`](Self::xml).
#[derive(Clone)]
#[non_exhaustive]
pub struct XmlTraffic {
    /// Which way it went.
    pub direction: XmlDirection,
    /// When its last byte was read from the connection, or was given to it.
    pub at: SystemTime,
    /// What it is.
    pub kind: XmlKind,
    /// The XML. Prefixes that the stream header declares (`stream:`) are not declared in it.
    pub xml: Arc<str>,
}

impl fmt::Debug for XmlTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XmlTraffic({}, {:?}, {} bytes)", self.direction, self.kind, self.xml.len())
    }
}

/// What is called with each piece of XML.
pub(crate) type XmlSink = Arc<dyn Fn(XmlDirection, &str) + Send + Sync>;

/// One connection's log. A direction is followed while somebody looks on, and costs one atomic load per read or write
/// otherwise.
#[derive(Default)]
pub(super) struct XmlLog {
    sent: Option<Box<Cutter>>,
    received: Option<Box<Cutter>>,
}

impl XmlLog {
    /// Shows what is being written: always whole elements.
    pub(super) fn sent(&mut self, bytes: &[u8], surface: &dyn Surface) {
        if !surface.xml_is_watched() {
            self.sent = None;
        } else if !bytes.is_empty() {
            show(self.sent.get_or_insert_default(), XmlDirection::Sent, bytes, surface);
        }
    }

    /// Shows what was read. `buffered` is the beginning of an element that was read before, for who begins to look on now.
    pub(super) fn received(&mut self, bytes: &[u8], buffered: impl FnOnce() -> Vec<u8>, surface: &dyn Surface) {
        if !surface.xml_is_watched() {
            self.received = None;
            return;
        }
        let cutter = self.received.get_or_insert_with(|| {
            let mut cutter = Box::<Cutter>::default();
            show(&mut cutter, XmlDirection::Received, &buffered(), surface);
            cutter
        });
        show(cutter, XmlDirection::Received, bytes, surface);
    }

    /// Nothing more comes on this connection, or nothing that came counts any more: shows what is there of an element.
    pub(super) fn end(&mut self, surface: &dyn Surface) {
        for (direction, cutter) in [(XmlDirection::Sent, self.sent.take()), (XmlDirection::Received, self.received.take())] {
            if let Some(rest) = cutter.and_then(|cutter| cutter.last_part()).filter(|_| surface.xml_is_watched()) {
                surface.xml(piece(direction, XmlKind::Fragment, rest));
            }
        }
    }
}

fn show(cutter: &mut Cutter, direction: XmlDirection, bytes: &[u8], surface: &dyn Surface) {
    cutter.pass(bytes, |kind, xml| surface.xml(piece(direction, kind, xml)));
}

fn piece(direction: XmlDirection, kind: XmlKind, xml: String) -> XmlTraffic {
    XmlTraffic { direction, at: SystemTime::now(), kind, xml: xml.into() }
}
