//! What goes over the wire, for people to read, with what is secret taken out.

use std::fmt;
use std::sync::Arc;

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

/// What is called with each piece of XML.
pub(crate) type XmlSink = Arc<dyn Fn(XmlDirection, &str) + Send + Sync>;

/// One connection's log: both directions, each with the place it is at.
pub(super) struct XmlLog {
    /// `None` after it panicked.
    sink: Option<XmlSink>,
    sent: Redactor,
    received: Redactor,
}

impl XmlLog {
    pub(super) fn new(sink: XmlSink) -> Self {
        Self { sink: Some(sink), sent: Redactor::default(), received: Redactor::default() }
    }

    pub(super) fn write(&mut self, direction: XmlDirection, bytes: &[u8]) {
        let Some(sink) = &self.sink else { return };
        let redactor = match direction {
            XmlDirection::Sent => &mut self.sent,
            XmlDirection::Received => &mut self.received,
        };
        let text = redactor.pass(bytes);
        if !text.is_empty() {
            let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink(direction, &text)));
            if shown.is_err() {
                tracing::error!("the XML log panicked; this connection is not shown any further");
                self.sink = None;
            }
        }
    }
}

/// Elements whose text is never shown: everything of a SASL exchange, and passwords.
const SECRET: &[&[u8]] = &[b"auth", b"challenge", b"response", b"success", b"password", b"initial-response", b"additional-data"];
/// The longest tag that is waited for.
const MAX_TAG: usize = 64 * 1024;

/// Follows the tags of one direction and takes out the text of secret elements. It does not check well-formedness: that
/// is the framer's matter, and a broken stream is exactly what one wants to see.
#[derive(Default)]
struct Redactor {
    /// The beginning of a tag whose end has not come yet.
    tag: Vec<u8>,
    quote: Option<u8>,
    /// How deep inside a secret element we are; 0 is outside.
    secret: usize,
    hidden: bool,
    /// Inside `<field var='password'>`, whose value is a secret.
    password_field: bool,
}

impl Redactor {
    fn pass(&mut self, bytes: &[u8]) -> String {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.tag.is_empty() {
                self.text(byte, &mut out);
            } else {
                self.in_tag(byte, &mut out);
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == b'<' {
            self.tag.push(byte);
        } else if self.secret == 0 {
            out.push(byte);
        } else if !self.hidden {
            self.hidden = true;
            out.extend_from_slice(b"[redacted]");
        }
    }

    fn in_tag(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.tag.push(byte);
        match (self.quote, byte) {
            (Some(quote), byte) if byte == quote => self.quote = None,
            (None, b'\'' | b'"') => self.quote = Some(byte),
            (None, b'>') => self.end_of_tag(out),
            _ if self.tag.len() > MAX_TAG => {
                self.tag.clear();
                self.quote = None;
                out.extend_from_slice("<\u{2026}".as_bytes());
            }
            _ => {}
        }
    }

    fn end_of_tag(&mut self, out: &mut Vec<u8>) {
        let tag = std::mem::take(&mut self.tag);
        let closing = tag.get(1) == Some(&b'/');
        let empty = tag.len() > 2 && tag[tag.len() - 2] == b'/';
        let name = local_name(&tag);
        if name == b"field" {
            self.password_field = !closing && !empty && is_password_field(&tag);
        }
        let secret = SECRET.contains(&name) || (self.password_field && name == b"value");
        if closing {
            self.secret = self.secret.saturating_sub(usize::from(self.secret > 0));
        } else if !empty && (self.secret > 0 || secret) {
            self.secret += 1;
            self.hidden = false;
        }
        out.extend_from_slice(&tag);
    }
}

fn local_name(tag: &[u8]) -> &[u8] {
    let name = tag.get(1..).unwrap_or_default();
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let end = name.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>')).unwrap_or(name.len());
    let name = &name[..end];
    name.iter().position(|byte| *byte == b':').map_or(name, |colon| &name[colon + 1..])
}

fn is_password_field(tag: &[u8]) -> bool {
    let tag = String::from_utf8_lossy(tag);
    let mut parts = tag.split("var=").skip(1);
    tag.contains("text-private") || parts.any(|value| value.trim_start_matches(['\'', '"']).starts_with("password"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(xml: &str) -> String {
        Redactor::default().pass(xml.as_bytes())
    }

    #[test]
    fn secrets_are_taken_out_wherever_the_bytes_are_cut() {
        let xml = "<stream:stream to='a>b'><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAc2VjcmV0</auth>\
                   <success>dj1z</success><iq id='1'><query><username>a</username><password>s&amp;cret</password></query></iq>\
                   <x><field var='username'><value>a</value></field><field type='text-private' var='pw'><value>hush</value></field></x>\
                   <message><body>hi</body></message>";
        let expected = "<stream:stream to='a>b'><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>[redacted]</auth>\
                   <success>[redacted]</success><iq id='1'><query><username>a</username><password>[redacted]</password></query></iq>\
                   <x><field var='username'><value>a</value></field><field type='text-private' var='pw'><value>[redacted]</value></field></x>\
                   <message><body>hi</body></message>";
        assert_eq!(redacted(xml), expected);
        for cut in 0..xml.len() {
            let mut redactor = Redactor::default();
            let (before, after) = xml.as_bytes().split_at(cut);
            assert_eq!(redactor.pass(before) + &redactor.pass(after), expected, "cut at {cut}");
        }
    }

    #[test]
    fn sasl2_is_redacted_below_the_first_level_and_what_follows_is_not() {
        let xml = "<authenticate mechanism='X'><initial-response>c2Vj</initial-response></authenticate>\
                   <success xmlns='urn:xmpp:sasl:2'><additional-data>dj0=</additional-data><authorization-identifier>a@b</authorization-identifier></success><a>b</a>";
        let shown = redacted(xml);
        assert!(!shown.contains("c2Vj") && !shown.contains("dj0="), "{shown}");
        assert!(shown.ends_with("</success><a>b</a>"), "{shown}");
    }

    #[test]
    fn empty_secret_elements_hide_nothing_that_follows() {
        assert_eq!(
            redacted("<success/><a>b</a><response></response><c>d</c>"),
            "<success/><a>b</a><response></response><c>d</c>"
        );
    }
}
