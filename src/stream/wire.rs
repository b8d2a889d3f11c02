//! Framing (R28): how the items of a stream lie in bytes. The core sees items only.

use std::collections::VecDeque;

use crate::error::{Error, ErrorKind, ProtocolError};
use crate::xml::{Frame, Framer, Limits, OutStanza, StreamHeader, StreamItem, XmlError, escape_attr, ns};

use super::Framing;

/// What came in.
pub(super) enum Item {
    /// The server's stream header.
    Opened(Opened),
    /// A whole top-level element.
    Element(Frame),
    /// The server has closed its stream.
    Closed {
        /// Where it wants us to go instead (`see-other-uri`, RFC 7395 §3.6.1).
        elsewhere: Option<String>,
    },
}

/// What the core needs to know of the server's stream header.
pub(super) struct Opened {
    pub(super) version: Option<String>,
}

/// What our stream header says.
pub(super) struct Opening<'a> {
    pub(super) to: &'a str,
    pub(super) from: Option<&'a str>,
    pub(super) lang: Option<&'a str>,
}

/// One side of a stream in bytes: what was read and not yet looked at, and what is to be written.
pub(super) struct Wire {
    reader: Reader,
    out: Vec<u8>,
    /// On message transports: where each message in `out` ends.
    ends: VecDeque<usize>,
    /// How many bytes the driver has taken since the start. With `out.len()` it places every byte ever written.
    taken: u64,
    /// Whether our header was sent, and our side not closed since.
    is_open: bool,
}

enum Reader {
    Tcp(Box<Framer>),
    Messages { waiting: VecDeque<Vec<u8>>, limits: Limits },
}

impl Wire {
    pub(super) fn new(framing: Framing, limits: Limits) -> Self {
        let reader = match framing {
            // CoreConfig::check refuses BOSH before this.
            Framing::Tcp | Framing::Bosh => Reader::Tcp(Box::new(Framer::new(limits))),
            Framing::WebSocket => Reader::Messages { waiting: VecDeque::new(), limits },
        };
        Self { reader, out: Vec::new(), ends: VecDeque::new(), taken: 0, is_open: false }
    }

    // ---- reading

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        match &mut self.reader {
            Reader::Tcp(framer) => framer.push(bytes),
            Reader::Messages { waiting, .. } => waiting.push_back(bytes.to_vec()),
        }
    }

    /// What was read and is no item yet.
    pub(super) fn buffered(&self) -> Vec<u8> {
        match &self.reader {
            Reader::Tcp(framer) => framer.buffered(),
            Reader::Messages { waiting, .. } => waiting.iter().flatten().copied().collect(),
        }
    }

    /// The next item, or `None` until more was read.
    pub(super) fn next_item(&mut self) -> Result<Option<Item>, Error> {
        match &mut self.reader {
            Reader::Tcp(framer) => match framer.next_item().map_err(XmlError::received)? {
                None => Ok(None),
                Some(StreamItem::Open(header)) => opened_on_tcp(&header).map(|o| Some(Item::Opened(o))),
                Some(StreamItem::Element(frame)) => Ok(Some(Item::Element(frame))),
                Some(StreamItem::Close) => Ok(Some(Item::Closed { elsewhere: None })),
            },
            Reader::Messages { waiting, limits } => match waiting.pop_front() {
                None => Ok(None),
                Some(message) => read_message(&message, limits).map(Some),
            },
        }
    }

    /// Both streams end here without a word and new ones begin (RFC 6120 §4.3.3).
    pub(super) fn restart(&mut self) {
        if let Reader::Tcp(framer) = &mut self.reader {
            framer.restart_keeping_input();
        }
        self.is_open = false;
    }

    /// As [`restart`](Self::restart), and what was read before is dropped: it may have come from anybody.
    pub(super) fn restart_for_tls(&mut self) {
        match &mut self.reader {
            Reader::Tcp(framer) => framer.restart(),
            Reader::Messages { waiting, .. } => waiting.clear(),
        }
        self.is_open = false;
    }

    // ---- writing

    pub(super) fn open(&mut self, opening: &Opening<'_>) {
        let out = &mut self.out;
        let tcp = matches!(self.reader, Reader::Tcp(_));
        out.extend_from_slice(if tcp {
            b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        } else {
            b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'"
        });
        attribute(out, "to", opening.to);
        if let Some(from) = opening.from {
            attribute(out, "from", from);
        }
        if let Some(lang) = opening.lang {
            attribute(out, "xml:lang", lang);
        }
        attribute(out, "version", "1.0");
        out.extend_from_slice(if tcp { b">" } else { b"/>" });
        self.is_open = true;
        self.end_message();
    }

    /// Ends our stream, if it is open.
    pub(super) fn close(&mut self) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        self.out.extend_from_slice(match self.reader {
            Reader::Tcp(_) => b"</stream:stream>",
            Reader::Messages { .. } => b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
        });
        self.end_message();
    }

    /// A stream error of this condition and the end of our stream.
    pub(super) fn close_with_error(&mut self, condition: &str) {
        self.close_with(&format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"));
    }

    /// A stream error with this content and the end of our stream.
    pub(super) fn close_with(&mut self, error: &str) {
        if !self.is_open {
            return;
        }
        self.out.extend_from_slice(match self.reader {
            Reader::Tcp(_) => b"<stream:error>",
            Reader::Messages { .. } => b"<stream:error xmlns:stream='http://etherx.jabber.org/streams'>",
        });
        self.out.extend_from_slice(error.as_bytes());
        self.out.extend_from_slice(b"</stream:error>");
        self.end_message();
        self.close();
    }

    /// A stanza; nothing is said any more where our side is closed.
    pub(super) fn stanza(&mut self, stanza: &OutStanza) {
        if !self.is_open {
            return;
        }
        let declare = match self.reader {
            Reader::Tcp(_) => None,
            Reader::Messages { .. } => Some(ns::CLIENT),
        };
        stanza.write_to(&mut self.out, declare);
        self.end_message();
    }

    /// An element that declares its own namespace; as a [`stanza`](Self::stanza).
    pub(super) fn element(&mut self, xml: &str) {
        if !self.is_open {
            return;
        }
        self.out.extend_from_slice(xml.as_bytes());
        self.end_message();
    }

    /// Whitespace between stanzas (RFC 6120 §4.6.1); forbidden on WebSocket (RFC 7395 §3.8).
    pub(super) fn keep_alive(&mut self) {
        if matches!(self.reader, Reader::Tcp(_)) {
            self.out.push(b' ');
        }
    }

    /// Forgets what was not taken yet, and says nothing more on this stream.
    pub(super) fn discard(&mut self) {
        self.out.clear();
        self.ends.clear();
        self.is_open = false;
    }

    fn end_message(&mut self) {
        if matches!(self.reader, Reader::Messages { .. }) {
            self.ends.push_back(self.out.len());
        }
    }

    /// Where the next byte written will stand, counted from the first of the connection.
    pub(super) fn position(&self) -> u64 {
        self.taken + self.out.len() as u64
    }

    pub(super) fn take(&mut self, into: &mut Vec<u8>) -> bool {
        if self.out.is_empty() {
            return false;
        }
        match self.ends.pop_front() {
            None => {
                self.taken += self.out.len() as u64;
                if into.is_empty() {
                    // The usual case: no copy, and the driver's buffer comes back to be filled.
                    std::mem::swap(into, &mut self.out);
                } else {
                    into.append(&mut self.out);
                }
            }
            Some(end) => {
                into.extend(self.out.drain(..end));
                self.taken += end as u64;
                for later in &mut self.ends {
                    *later -= end;
                }
            }
        }
        true
    }
}

fn attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    out.extend_from_slice(escape_attr(value).as_bytes());
    out.push(b'\'');
}

fn opened_on_tcp(header: &StreamHeader) -> Result<Opened, Error> {
    if header.ns() != ns::STREAM || header.name() != "stream" || header.content_ns() != ns::CLIENT {
        return Err(ErrorKind::Protocol(ProtocolError::InvalidNamespace).into());
    }
    Ok(Opened { version: header.version().map(str::to_owned) })
}

/// One message of RFC 7395: a document of its own that begins with `<`.
fn read_message(message: &[u8], limits: &Limits) -> Result<Item, Error> {
    let malformed = || Error::from(ErrorKind::Protocol(ProtocolError::NotWellFormed));
    let text = std::str::from_utf8(message).map_err(|e| malformed().with_source(e))?;
    if !text.starts_with('<') {
        return Err(malformed());
    }
    let frame = Frame::parse_with(text, limits).map_err(XmlError::received)?;
    match frame.name() {
        "open" | "close" if frame.ns() != ns::FRAMING => Err(ErrorKind::Protocol(ProtocolError::InvalidNamespace).into()),
        "open" => Ok(Item::Opened(Opened { version: frame.attr("version").map(Into::into) })),
        "close" => Ok(Item::Closed { elsewhere: frame.attr("see-other-uri").map(Into::into) }),
        _ => Ok(Item::Element(frame)),
    }
}
