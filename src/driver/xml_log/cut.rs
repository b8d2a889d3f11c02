//! Cuts one direction's bytes into whole elements and takes out what is secret.

use super::XmlKind;
use super::secrets::{REDACTED, Tag};
use crate::xml::{StanzaKind, ns};

/// The most bytes kept of an element that is not complete; the framer reads no larger one either.
const MAX_PIECE: usize = 16 << 20;

/// Follows the tags of one direction. It does not check well-formedness: that is the framer's matter, and a broken stream is
/// exactly what one wants to see.
#[derive(Default)]
pub(super) struct Cutter {
    /// What is complete of the piece, without its secrets.
    piece: Vec<u8>,
    /// What the piece is, once it has begun with a tag.
    kind: Option<XmlKind>,
    /// Markup that has begun with `<` and has not ended.
    markup: Vec<u8>,
    /// The quotation mark of the attribute value that a tag is in.
    quote: Option<u8>,
    /// How deep inside a top-level element the text is; 0 is between them.
    depth: usize,
    /// How deep inside a secret element; 0 is outside.
    secret: usize,
    /// Whether it was said already that here is something secret.
    hidden: bool,
    /// Inside a form's field whose values are secret.
    secret_field: bool,
    /// A piece was too large: nothing is shown any more.
    lost: bool,
}

impl Cutter {
    pub(super) fn pass(&mut self, bytes: &[u8], mut show: impl FnMut(XmlKind, String)) {
        for &byte in bytes {
            if self.lost {
                return;
            }
            if !self.markup.is_empty() {
                self.in_markup(byte, &mut show);
            } else if byte == b'<' {
                if self.depth == 0 && self.kind.is_none() {
                    self.end_of_text(&mut show);
                }
                self.markup.push(byte);
            } else {
                self.text(byte);
            }
            if self.piece.len() + self.markup.len() > MAX_PIECE {
                self.lost = true;
                self.markup.clear();
                self.piece.extend_from_slice("\u{2026}".as_bytes());
                self.emit(XmlKind::Fragment, &mut show);
            }
        }
        if self.depth == 0 && self.markup.is_empty() && self.kind.is_none() {
            self.end_of_text(&mut show);
        }
    }

    /// What is there of a piece that will not be completed. A tag that has begun is not shown: who knows what it says.
    pub(super) fn last_part(mut self) -> Option<String> {
        if self.piece.is_empty() && self.markup.is_empty() {
            return None;
        }
        self.piece.extend_from_slice("\u{2026}".as_bytes());
        Some(String::from_utf8_lossy(&self.piece).into_owned())
    }

    fn emit(&mut self, kind: XmlKind, show: &mut impl FnMut(XmlKind, String)) {
        let piece = std::mem::take(&mut self.piece);
        self.kind = None;
        show(kind, String::from_utf8_lossy(&piece).into_owned());
    }

    /// Text between elements ends with what was read, or before the next tag.
    fn end_of_text(&mut self, show: &mut impl FnMut(XmlKind, String)) {
        if !self.piece.is_empty() {
            let blank = self.piece.iter().all(u8::is_ascii_whitespace);
            self.emit(if blank { XmlKind::Whitespace } else { XmlKind::Fragment }, show);
        }
    }

    fn text(&mut self, byte: u8) {
        if self.secret == 0 {
            self.piece.push(byte);
        } else {
            self.hide();
        }
    }

    fn hide(&mut self) {
        if !std::mem::replace(&mut self.hidden, true) {
            self.piece.extend_from_slice(REDACTED);
        }
    }

    fn in_markup(&mut self, byte: u8, show: &mut impl FnMut(XmlKind, String)) {
        self.markup.push(byte);
        let markup = self.markup.as_slice();
        if matches!(markup, [b'<', b'!' | b'?', ..]) {
            let ended = match markup {
                [b'<', b'?', ..] => markup.len() > 3 && markup.ends_with(b"?>"),
                [b'<', b'!', b'-', b'-', ..] => markup.len() > 6 && markup.ends_with(b"-->"),
                _ if markup.starts_with(b"<![CDATA[") => markup.ends_with(b"]]>"),
                _ => byte == b'>',
            };
            if ended {
                self.end_of_other_markup();
            }
            return;
        }
        match (self.quote, byte) {
            (Some(quote), byte) if byte == quote => self.quote = None,
            (None, b'\'' | b'"') => self.quote = Some(byte),
            (None, b'>') => self.end_of_tag(show),
            _ => {}
        }
    }

    /// A comment, CDATA section, processing instruction or declaration.
    fn end_of_other_markup(&mut self) {
        let markup = std::mem::take(&mut self.markup);
        if self.secret > 0 {
            self.hide();
            return;
        }
        self.piece.extend_from_slice(&markup);
        // The XML declaration is one piece with the header it precedes.
        self.kind = self.kind.or(Some(XmlKind::Fragment));
    }

    fn end_of_tag(&mut self, show: &mut impl FnMut(XmlKind, String)) {
        let markup = std::mem::take(&mut self.markup);
        let tag = Tag::new(&markup);
        let (is_end, is_empty) = (tag.is_end(), tag.is_empty());
        tag.write(&mut self.piece);
        if self.depth == 0 {
            if is_end {
                return self.emit(XmlKind::StreamClose, show);
            }
            if is_stream_header(&tag) {
                return self.emit(XmlKind::StreamOpen, show);
            }
            self.kind = Some(kind(&tag));
        }
        if tag.local_name() == b"field" {
            self.secret_field = !is_end && !is_empty && tag.is_secret_field();
        }
        if is_end {
            self.depth -= 1;
            self.secret = self.secret.saturating_sub(1);
        } else if !is_empty {
            self.depth += 1;
            if self.secret > 0 || tag.hides_its_text() || (self.secret_field && tag.local_name() == b"value") {
                self.secret += 1;
                self.hidden = false;
            }
        }
        if self.depth == 0 {
            (self.secret, self.secret_field) = (0, false);
            let kind = self.kind.unwrap_or(XmlKind::Fragment);
            self.emit(kind, show);
        }
    }
}

fn is_stream_header(tag: &Tag<'_>) -> bool {
    tag.local_name() == b"stream" && tag.attrs().any(|(name, value)| name.starts_with(b"xmlns") && value == ns::STREAM.as_bytes())
}

/// What a top-level element is, by its start tag.
fn kind(tag: &Tag<'_>) -> XmlKind {
    let foreign = tag.attrs().any(|(name, value)| name == b"xmlns" && value != ns::CLIENT.as_bytes());
    let kinds = [StanzaKind::Message, StanzaKind::Presence, StanzaKind::Iq];
    match kinds.into_iter().find(|kind| tag.name() == kind.name().as_bytes()) {
        Some(kind) if !foreign => XmlKind::Stanza(kind),
        _ => XmlKind::Nonza,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(parts: &[&[u8]]) -> (Vec<(XmlKind, String)>, Option<String>) {
        let (mut cutter, mut pieces) = (Cutter::default(), Vec::new());
        for part in parts {
            cutter.pass(part, |kind, xml| pieces.push((kind, xml)));
        }
        (pieces, cutter.last_part())
    }

    fn redacted(xml: &str) -> String {
        let (pieces, rest) = cut(&[xml.as_bytes()]);
        pieces.into_iter().map(|(_, xml)| xml).chain(rest).collect()
    }

    const STREAM: &[(XmlKind, &str, &str)] = &[
        (
            XmlKind::StreamOpen,
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a>b'>",
            "",
        ),
        (XmlKind::Nonza, "<stream:features><m xmlns='x'>PLAIN</m></stream:features>", ""),
        (
            XmlKind::Nonza,
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAaHVzaA==</auth>",
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>[redacted]</auth>",
        ),
        (XmlKind::Nonza, "<s:success xmlns:s='z'>aHVzaA==</s:success>", "<s:success xmlns:s='z'>[redacted]</s:success>"),
        (XmlKind::StreamOpen, "<stream:stream xmlns:stream=\"http://etherx.jabber.org/streams\" xmlns=\"jabber:client\">", ""),
        (
            XmlKind::Stanza(StanzaKind::Iq),
            "<iq id='1'><query><username>a</username><password>hush&amp;</password></query></iq>",
            "<iq id='1'><query><username>a</username><password>[redacted]</password></query></iq>",
        ),
        (
            XmlKind::Stanza(StanzaKind::Iq),
            "<iq id='2'><query xmlns='jabber:iq:auth'><digest>hush</digest><x><![CDATA[<b>]]></x></query></iq>",
            "<iq id='2'><query xmlns='jabber:iq:auth'><digest>[redacted]</digest><x><![CDATA[<b>]]></x></query></iq>",
        ),
        (
            XmlKind::Stanza(StanzaKind::Iq),
            "<iq id='3'><x><field var='username'><value>a</value></field><field type='text-private' var='pw'><value>hush</value></field>\
             <field var = \"old_Password\"><value>hush</value></field><field var='email'><value>b</value></field></x></iq>",
            "<iq id='3'><x><field var='username'><value>a</value></field><field type='text-private' var='pw'><value>[redacted]</value></field>\
             <field var = \"old_Password\"><value>[redacted]</value></field><field var='email'><value>b</value></field></x></iq>",
        ),
        (
            XmlKind::Nonza,
            "<success xmlns='urn:xmpp:sasl:2'><additional-data>hush</additional-data><token xmlns='urn:xmpp:fast:0' token='hush' expiry='1'/></success>",
            "<success xmlns='urn:xmpp:sasl:2'><additional-data>[redacted]</additional-data><token xmlns='urn:xmpp:fast:0' token='[redacted]' expiry='1'/></success>",
        ),
        (
            XmlKind::Stanza(StanzaKind::Iq),
            "<iq><password><![CDATA[hu'sh]]>hush<!-- hush --><b c='d'/>hush</password><header name='Authorization'>hush</header></iq>",
            "<iq><password>[redacted]<b c='d'/></password><header name='Authorization'>[redacted]</header></iq>",
        ),
        (XmlKind::Whitespace, " \n", ""),
        (XmlKind::Stanza(StanzaKind::Message), "<message><body>Grüße, it's \"hi\" > all</body></message>", ""),
        (XmlKind::Stanza(StanzaKind::Presence), "<presence/>", ""),
        (XmlKind::Nonza, "<message xmlns='urn:else'/>", ""),
        (XmlKind::StreamClose, "</stream:stream>", ""),
    ];

    #[test]
    fn pieces_end_where_elements_do_and_hold_no_secret_wherever_the_bytes_are_cut() {
        let xml: String = STREAM.iter().map(|(_, xml, _)| *xml).collect();
        let shown = |shown: &str, xml: &str| if shown.is_empty() { xml.to_owned() } else { shown.to_owned() };
        let expected: Vec<_> = STREAM.iter().map(|(kind, xml, hidden)| (*kind, shown(hidden, xml))).collect();
        assert_eq!(cut(&[xml.as_bytes()]), (expected.clone(), None));
        let blank = xml.find(" \n").expect("the whitespace") + 1;
        for at in (0..xml.len()).filter(|at| *at != blank) {
            let (before, after) = xml.as_bytes().split_at(at);
            assert_eq!(cut(&[before, after]), (expected.clone(), None), "cut at {at}");
        }
        let single: Vec<&[u8]> = xml.as_bytes().chunks(1).collect();
        let (pieces, rest) = cut(&single);
        assert_eq!((pieces.len(), rest), (expected.len() + 1, None), "whitespace is shown as it comes");
    }

    #[test]
    fn what_is_cut_off_is_shown_without_the_tag_it_ends_in_and_without_its_secrets() {
        let xml = "<iq><password>hush<a token='hush' b='c'>hush</a></password></iq>";
        for end in 1..xml.len() {
            let (pieces, rest) = cut(&[&xml.as_bytes()[..end]]);
            let rest = rest.expect("something is missing");
            assert!(pieces.is_empty() && rest.ends_with('\u{2026}') && !rest.contains("hu"), "{rest}");
        }
        assert_eq!(redacted("<message><body>Good n"), "<message><body>Good n\u{2026}");
    }

    #[test]
    fn empty_secret_elements_hide_nothing_that_follows() {
        let xml = "<success/><a>b</a><response></response><c token=''>d</c><a><password/>e</a>";
        assert_eq!(redacted(xml), xml);
    }

    #[test]
    fn what_is_no_xml_is_shown_and_does_no_harm() {
        let (pieces, rest) = cut(&[b"HTTP/1.1 400 Bad Request\r\n<html></a></b></c><!DOCTYPE x><?pi?>", b"\xff<", b"!>>"]);
        assert_eq!(pieces[0], (XmlKind::Fragment, "HTTP/1.1 400 Bad Request\r\n".to_owned()));
        assert_eq!(pieces[1], (XmlKind::Nonza, "<html></a>".to_owned()));
        assert_eq!(pieces[2], (XmlKind::StreamClose, "</b>".to_owned()));
        let rest = rest.expect("what follows");
        assert!(rest.starts_with("<!DOCTYPE x><?pi?>\u{fffd}"), "{rest}");
    }

    #[test]
    fn a_piece_without_end_is_cut_off_and_the_secret_it_may_be_in_is_not_shown() {
        let (mut cutter, mut pieces) = (Cutter::default(), Vec::new());
        let part = [b'x'; 1 << 16];
        cutter.pass(b"<iq>", |kind, xml| pieces.push((kind, xml)));
        for _ in 0..300 {
            cutter.pass(&part, |kind, xml| pieces.push((kind, xml)));
        }
        cutter.pass(b"</iq><auth>hush</auth>", |kind, xml| pieces.push((kind, xml)));
        assert_eq!((pieces.len(), pieces[0].0), (1, XmlKind::Fragment));
        assert!(cutter.last_part().is_none());
    }
}
