//! What must be refused, and for which reason: at least one case for every construct that RFC 6120 §11 forbids, for every
//! rule of well-formedness, and for every limit. And what must be accepted although it looks odd.

use crate::xml::checks::Check;
use crate::xml::{Frame, Framer, Limits, StreamItem, XmlError, XmlErrorKind as Kind};

pub(super) const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// What is fed: a whole stream, or what stands in one behind [`HEADER`].
#[derive(Clone, Copy)]
enum Input {
    Raw(&'static [u8]),
    In(&'static [u8]),
}
use Input::{In, Raw};

struct Case {
    kind: Kind,
    input: Input,
}

const fn case(kind: Kind, input: Input) -> Case {
    Case { kind, input }
}

#[rustfmt::skip]
const REFUSED: &[Case] = &[
    // RFC 6120 §11.1: comments.
    case(Kind::Comment, In(b"<a><!-- c --></a>")),
    case(Kind::Comment, In(b"<!-- c --><a/>")),
    case(Kind::Comment, Raw(b"<!-- c --><a/>")),
    case(Kind::Comment, Raw(b"<?xml version='1.0'?><!-- c --><a/>")),
    case(Kind::Comment, In(b"<!---->")),
    // RFC 6120 §11.1: processing instructions.
    case(Kind::ProcessingInstruction, In(b"<a><?p i?></a>")),
    case(Kind::ProcessingInstruction, In(b"<?p i?><a/>")),
    case(Kind::ProcessingInstruction, Raw(b"<?p i?><a/>")),
    case(Kind::ProcessingInstruction, Raw(b"<?xml-stylesheet href='x'?><a/>")),
    case(Kind::ProcessingInstruction, Raw(b"<?xml version='1.0'?><?p?><a/>")),
    // RFC 6120 §11.1: document type declarations, internal subsets, markup declarations.
    case(Kind::Doctype, Raw(b"<!DOCTYPE a><a/>")),
    case(Kind::Doctype, Raw(b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>")),
    case(Kind::Doctype, Raw(b"<?xml version='1.0'?>\n<!DOCTYPE a SYSTEM 'x'><a/>")),
    case(Kind::Doctype, In(b"<!DOCTYPE a><a/>")),
    case(Kind::Doctype, In(b"<a><!ENTITY e 'x'></a>")),
    case(Kind::Doctype, In(b"<!ELEMENT a ANY>")),
    case(Kind::Doctype, In(b"<a><!ATTLIST a b CDATA 'c'></a>")),
    // RFC 6120 §11.1: references to entities that are not predefined.
    case(Kind::Entity, In(b"<a>&nbsp;</a>")),
    case(Kind::Entity, In(b"<a b='&e;'/>")),
    case(Kind::Entity, In(b"<a>&Amp;</a>")),
    case(Kind::Entity, In(b"<a>&lt </a>")),
    case(Kind::Entity, In(b"<a>&e-1;</a>")),
    case(Kind::Syntax, In("<a>&é;</a>".as_bytes())),
    case(Kind::Syntax, In(b"<a>& b</a>")),
    case(Kind::Syntax, In(b"<a>&</a>")),
    case(Kind::Syntax, In(b"<a>&;</a>")),
    case(Kind::Syntax, In(b"<a b='&'/>")),
    // RFC 6120 §11.3: well-formedness. Tags.
    case(Kind::MismatchedTag, In(b"<a></b>")),
    case(Kind::MismatchedTag, In(b"<a><b></a></b>")),
    case(Kind::MismatchedTag, In(b"<a></aa>")),
    case(Kind::MismatchedTag, In(b"<aa></a>")),
    case(Kind::MismatchedTag, In(b"<p:a xmlns:p='urn:p'></a>")),
    case(Kind::MismatchedTag, In(b"<p:a xmlns:p='urn:p' xmlns:q='urn:p'></q:a>")),
    case(Kind::MismatchedTag, In(b"<a></stream:stream>")),
    case(Kind::MismatchedTag, In(b"</stream>")),
    case(Kind::MismatchedTag, In(b"</a>")),
    case(Kind::Syntax, Raw(b"</a>")),
    case(Kind::Name, In(b"<a></>")),
    case(Kind::Name, In(b"<a></ a>")),
    case(Kind::Name, In(b"<a></a b='1'>")),
    case(Kind::Syntax, In(b"<a></a<b>")),
    case(Kind::Name, In(b"<a <b/></a>")),
    case(Kind::Syntax, In(b"<a / ></a>")),
    case(Kind::Syntax, In(b"<a/b>")),
    case(Kind::Syntax, In(b"<a><![cdata[x]]></a>")),
    case(Kind::Syntax, In(b"<a><![CDATA x]]></a>")),
    case(Kind::Syntax, In(b"<a><!></a>")),
    case(Kind::Syntax, In(b"<a><!- c --></a>")),
    case(Kind::Syntax, Raw(b"<![IGNORE[x]]><a/>")),
    // Names (XML 1.0 §2.3, Namespaces in XML §4).
    case(Kind::Name, In(b"<1a/>")),
    case(Kind::Name, In(b"<-a/>")),
    case(Kind::Name, In(b"<.a/>")),
    case(Kind::Name, In(b"< a/>")),
    case(Kind::Name, In(b"<>")),
    case(Kind::Name, In(b"<a$/>")),
    case(Kind::Name, In(b"<a\"b\"/>")),
    case(Kind::Name, In(b"<:a/>")),
    case(Kind::Name, In(b"<a:/>")),
    case(Kind::Name, In(b"<a:b:c xmlns:a='urn:a'/>")),
    case(Kind::Name, In(b"<a:1 xmlns:a='urn:a'/>")),
    case(Kind::Name, In("<\u{B7}a/>".as_bytes())),
    case(Kind::Name, In("<\u{D7}/>".as_bytes())),
    case(Kind::Name, In("<a\u{D7}/>".as_bytes())),
    case(Kind::Name, In("<a\u{2003}b='1'/>".as_bytes())),
    case(Kind::Name, In("<a\u{F0000}/>".as_bytes())),
    case(Kind::Name, In(b"<a 1='x'/>")),
    case(Kind::Name, In(b"<a b:='x'/>")),
    case(Kind::Name, In(b"<a :b='x'/>")),
    case(Kind::Name, In(b"<a b:c:d='x' xmlns:b='urn:b'/>")),
    case(Kind::Name, In(b"<a ='x'/>")),
    // Attributes.
    case(Kind::Syntax, In(b"<a b/>")),
    case(Kind::Syntax, In(b"<a b>")),
    case(Kind::Syntax, In(b"<a b c='1'/>")),
    case(Kind::Syntax, In(b"<a b=c/>")),
    case(Kind::Syntax, In(b"<a b=/>")),
    case(Kind::Syntax, In(b"<a b='1'c='2'/>")),
    case(Kind::Syntax, In(b"<a b='1'' c='2'/><b/>")),
    case(Kind::Syntax, In(b"<a b~'1'/>")),
    case(Kind::LessThanInAttribute, In(b"<a b='<'/>")),
    case(Kind::LessThanInAttribute, In(b"<a b='x<y' c='2'/>")),
    case(Kind::DuplicateAttribute, In(b"<a b='1' b='2'/>")),
    case(Kind::DuplicateAttribute, In(b"<a b='1' c='2' bc='3' b=\"1\"/>")),
    case(Kind::DuplicateAttribute, In(b"<a xmlns='urn:a' xmlns='urn:a'/>")),
    case(Kind::DuplicateAttribute, In(b"<a xmlns:p='urn:a' xmlns:p='urn:b'/>")),
    case(Kind::DuplicateAttribute, In(b"<a xml:lang='en' xml:lang='de'/>")),
    case(Kind::DuplicateAttribute, Raw(b"<a b='1' b='2'>")),
    // ... also by expanded name (Namespaces in XML §6.3).
    case(Kind::DuplicateAttribute, In(b"<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>")),
    case(Kind::DuplicateAttribute, In(b"<a xmlns:p='urn:x' xmlns:q='urn&#58;x'><b p:b='1' c='' q:b='2'/></a>")),
    case(Kind::DuplicateAttribute, In(b"<a xmlns:s='http://etherx.jabber.org/streams' s:b='1' stream:b='2'/>")),
    case(Kind::DuplicateAttribute, In(b"<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:b='1' xml:b='2'/>")),
    // Prefixes.
    case(Kind::UndeclaredPrefix, In(b"<p:a/>")),
    case(Kind::UndeclaredPrefix, In(b"<a p:b='1'/>")),
    case(Kind::UndeclaredPrefix, In(b"<a><b xmlns:p='urn:p'/><p:c/></a>")),
    case(Kind::UndeclaredPrefix, In(b"<a><b xmlns:p='urn:p'></b><c p:d='1'/></a>")),
    case(Kind::UndeclaredPrefix, In(b"<a><b xmlns:p='urn:p'><c/></b><p:c/></a>")),
    case(Kind::UndeclaredPrefix, In(b"<a xmlns:p='urn:p'/><p:a/>")),
    case(Kind::UndeclaredPrefix, In(b"<xmlns:a/>")),
    case(Kind::UndeclaredPrefix, In(b"<Stream:a/>")),
    case(Kind::UndeclaredPrefix, Raw(b"<stream:stream xmlns='jabber:client'>")),
    case(Kind::UndeclaredPrefix, Raw(b"<a p:b='1'>")),
    // Declarations that Namespaces in XML §3 forbids.
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:p=''/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:xml='urn:x'/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:xml=''/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:p='http://www.w3.org/XML/1998/name&#115;pace'/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns='http://www.w3.org/XML/1998/namespace'/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:xmlns='urn:x'/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns:p='http://www.w3.org/2000/xmlns/'/>")),
    case(Kind::NamespaceDeclaration, In(b"<a xmlns='http://www.w3.org/2000/xmlns/'/>")),
    case(Kind::NamespaceDeclaration, Raw(b"<a xmlns:p=''>")),
    // Text.
    case(Kind::CdataEndInText, In(b"<a>x]]>y</a>")),
    case(Kind::CdataEndInText, In(b"<a>]]]]></a>")),
    case(Kind::CdataEndInText, In(b"<a><![CDATA[x]]>]]></a>")),
    case(Kind::CharacterReference, In(b"<a>&#0;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#x0;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#8;</a>")),
    case(Kind::CharacterReference, In(b"<a b='&#x1F;'/>")),
    case(Kind::CharacterReference, In(b"<a>&#xD800;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#xDFFF;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#xFFFE;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#65535;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#x110000;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#99999999999999999999;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#x;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#X41;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#4A;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#x4G;</a>")),
    case(Kind::CharacterReference, In(b"<a>&# 65;</a>")),
    case(Kind::CharacterReference, In(b"<a>&#65</a>")),
    // Characters (XML 1.0 §2.2).
    case(Kind::Character, In(b"<a>\0</a>")),
    case(Kind::Character, In(b"<a>\x08</a>")),
    case(Kind::Character, In(b"<a>\x0B</a>")),
    case(Kind::Character, In(b"<a>\x1F</a>")),
    case(Kind::Character, In(b"<a b='\x01'/>")),
    case(Kind::Character, In(b"<a><![CDATA[\x01]]></a>")),
    case(Kind::Character, In(b"<a\x01/>")),
    case(Kind::Character, In(b"\0")),
    case(Kind::Character, Raw(b"\0<a>")),
    case(Kind::Character, In(b"<a>\xEF\xBF\xBE</a>")),
    case(Kind::Character, In(b"<a b='\xEF\xBF\xBF'/>")),
    // RFC 6120 §11.6: UTF-8.
    case(Kind::Utf8, In(b"<a>\xFF</a>")),
    case(Kind::Utf8, In(b"<a>\xFE</a>")),
    case(Kind::Utf8, In(b"<a>\x80</a>")),
    case(Kind::Utf8, In(b"<a>\xC3</a>")),
    case(Kind::Utf8, In(b"<a>\xC0\x80</a>")),
    case(Kind::Utf8, In(b"<a>\xC1\xBF</a>")),
    case(Kind::Utf8, In(b"<a>\xE0\x9F\xBF</a>")),
    case(Kind::Utf8, In(b"<a>\xE2\x82</a>")),
    case(Kind::Utf8, In(b"<a>\xE2\x82\xE2</a>")),
    case(Kind::Utf8, In(b"<a>\xED\xA0\x80</a>")),
    case(Kind::Utf8, In(b"<a>\xED\xBF\xBF</a>")),
    case(Kind::Utf8, In(b"<a>\xF0\x8F\xBF\xBF</a>")),
    case(Kind::Utf8, In(b"<a>\xF0\x9F\x98</a>")),
    case(Kind::Utf8, In(b"<a>\xF4\x90\x80\x80</a>")),
    case(Kind::Utf8, In(b"<a>\xF5\x80\x80\x80</a>")),
    case(Kind::Utf8, In(b"<a b='\xE4'/>")),
    case(Kind::Utf8, In(b"<\xC4/>")),
    case(Kind::Utf8, Raw(b"\xFF\xFE<\0a\0>\0")),
    // RFC 6120 §11.5 and §11.6: the XML declaration.
    case(Kind::XmlVersion, Raw(b"<?xml version='1.1'?><a>")),
    case(Kind::XmlVersion, Raw(b"<?xml version='1'?><a>")),
    case(Kind::Encoding, Raw(b"<?xml version='1.0' encoding='ISO-8859-1'?><a>")),
    case(Kind::Encoding, Raw(b"<?xml version='1.0' encoding='UTF-16'?><a>")),
    case(Kind::XmlDeclaration, Raw(b" <?xml version='1.0'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"\n<?xml version='1.0'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version='1.0'?><?xml version='1.0'?><a>")),
    case(Kind::XmlDeclaration, In(b"<?xml version='1.0'?><a/>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml ?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml encoding='UTF-8'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml encoding='UTF-8' version='1.0'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version='1.0' standalone='yes' encoding='UTF-8'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version='1.0' standalone='maybe'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version='1.0'encoding='UTF-8'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version='1.0' x='y'?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version=1.0?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version='1.0\"?><a>")),
    case(Kind::XmlDeclaration, Raw(b"<?xml version='1.0' version='1.0'?><a>")),
    // RFC 6120 §11.7: only whitespace between top-level elements; and around the root.
    case(Kind::TextOutsideElement, In(b"x<a/>")),
    case(Kind::TextOutsideElement, In(b"<a/>x")),
    case(Kind::TextOutsideElement, In(b"<a/> \t\r\n x")),
    case(Kind::TextOutsideElement, In(b"&#32;<a/>")),
    case(Kind::TextOutsideElement, In(b"&lt;")),
    case(Kind::TextOutsideElement, In(b"<![CDATA[ ]]>")),
    case(Kind::TextOutsideElement, In(b"]]>")),
    case(Kind::TextOutsideElement, In("\u{A0}".as_bytes())),
    // ... where a byte order mark is a character like any other (RFC 6120 §11.6).
    case(Kind::TextOutsideElement, Raw("\u{FEFF}<a>".as_bytes())),
    case(Kind::TextOutsideElement, Raw("\u{FEFF}<?xml version='1.0'?><a>".as_bytes())),
    case(Kind::TextOutsideElement, Raw(b"x<a>")),
    case(Kind::TextOutsideElement, Raw(b"<?xml version='1.0'?>x<a>")),
    case(Kind::TextOutsideElement, Raw(b"<![CDATA[]]><a>")),
    case(Kind::AfterEnd, In(b"</stream:stream>x")),
    case(Kind::AfterEnd, In(b"</stream:stream><a/>")),
    case(Kind::AfterEnd, In(b"</stream:stream> <!-- c -->")),
    case(Kind::AfterEnd, In(b"</stream:stream></stream:stream>")),
    case(Kind::AfterEnd, Raw(b"<a/><a/>")),
];

/// Limits small enough to be passed by small input.
fn small() -> Limits {
    Limits {
        max_stanza_bytes: 200,
        max_depth: 4,
        max_attributes: 5,
        max_children: 4,
        max_prefixes: 3,
        max_name_bytes: 13,
        max_buffered_bytes: 1000,
    }
}

/// Under [`small`] limits: what passes each, by one.
#[rustfmt::skip]
fn beyond_limits() -> Vec<(Kind, Vec<u8>)> {
    let in_stream = |body: String| [HEADER, &body].concat().into_bytes();
    let filled = |len: usize| format!("<a>{}</a>", "x".repeat(len - 7));
    vec![
        (Kind::StanzaTooLarge, in_stream(filled(201))),
        (Kind::StanzaTooLarge, in_stream(format!("<a>{}", "x".repeat(300)))),
        (Kind::StanzaTooLarge, in_stream(format!("<a b='{}'/>", "x".repeat(200)))),
        (Kind::StanzaTooLarge, in_stream(format!("<a b='{}", "x".repeat(200)))),
        (Kind::StanzaTooLarge, in_stream(format!("<a><![CDATA[{}", "x".repeat(200)))),
        (Kind::StanzaTooLarge, in_stream(format!("<a></a{}", " ".repeat(200)))),
        (Kind::StanzaTooLarge, in_stream(format!("<a {}", " ".repeat(200)))),
        (Kind::StanzaTooLarge, in_stream(format!("<a><b>{}</b></a>", "<c/>y".repeat(50)))),
        (Kind::StanzaTooLarge, in_stream(format!("<a><b>{}", "é".repeat(100)))),
        (Kind::StanzaTooLarge, in_stream(format!("</stream:stream{}", " ".repeat(200)))),
        (Kind::StanzaTooLarge, format!("<a b='{}'>", "x".repeat(200)).into_bytes()),
        (Kind::TooDeep, in_stream("<a><b><c><d><e></e></d></c></b></a>".into())),
        (Kind::TooDeep, in_stream("<a><b><c><d><e/></d></c></b></a>".into())),
        (Kind::TooManyAttributes, in_stream("<a b='' c='' d='' e='' f='' g=''/>".into())),
        (Kind::TooManyAttributes, in_stream("<a b='' c='' d='' e='' xmlns='urn:f' xmlns:g='urn:g'/>".into())),
        (Kind::TooManyAttributes, b"<a b='' c='' d='' e='' f='' g=''>".to_vec()),
        (Kind::TooManyChildren, in_stream("<a><b/><c/><d></d><e/><f/></a>".into())),
        (Kind::TooManyPrefixes, in_stream("<a xmlns:b='b' xmlns:c='c'><d xmlns:b='d'/><e xmlns:e='e'/></a>".into())),
        (Kind::TooManyPrefixes, b"<a xmlns:b='b' xmlns:c='c' xmlns:d='d' xmlns:e='e'>".to_vec()),
        (Kind::NameTooLong, in_stream("<abcdefghijklmn/>".into())),
        (Kind::NameTooLong, in_stream("<a abcdefghijklmn='1'/>".into())),
        (Kind::NameTooLong, in_stream("<a xmlns:abcdefghijklmn='1'/>".into())),
        (Kind::NameTooLong, in_stream("<a ééééééé=''/>".into())),
        (Kind::ReferenceTooLong, in_stream(format!("<a>&#x{}41;</a>", "0".repeat(70)))),
        (Kind::ReferenceTooLong, in_stream(format!("<a b='&{};'/>", "x".repeat(70)))),
    ]
}

/// Under [`small`] limits: what reaches each.
fn at_limits() -> Vec<String> {
    let filled = |len: usize| format!("<a>{}</a>", "x".repeat(len - 7));
    [
        filled(200),
        format!("{0} {0}", filled(200)),
        "<a><b><c><d>x</d><d/></c></b></a>".into(),
        "<a b='' c='' d='' e='' f=''/>".into(),
        "<a><b/><c/><d></d>x<e><f/><f/><f/><f/><f/></e></a><a><b/><b/><b/><b/></a>".into(),
        "<a xmlns:b='b' xmlns:c='c'><d xmlns:b='d'/></a><a xmlns:b='b' xmlns:c='c'><d xmlns:b='d'/></a>".into(),
        "<abcdefghijklm abcdefghijklm=''/>".into(),
        format!("<a>&#x{}41;</a>", "0".repeat(58)),
    ]
    .map(|body| format!("{HEADER}{body}</stream:stream>"))
    .into()
}

#[rustfmt::skip]
const ACCEPTED: &[Input] = &[
    Raw(b"<?xml version='1.0'?><a></a>"),
    Raw(b"<?xml\tversion = \"1.0\"\nencoding\r=\r'utf-8' standalone='no' ?>\n<a/>\n"),
    Raw(b"<?xml version='1.0' standalone='yes'?><a/>"),
    Raw(b"\r\n\t <a/>"),
    Raw(b"<a xmlns='jabber:client'><b xmlns=''/></a \t\r\n>"),
    In(b" \t\r\n<a/> <b/>\n</stream:stream \n> \n"),
    In(b"<a ></a ><b\t/><c\nd\r=\t'1'\n/></stream:stream>"),
    In(b"<a b='>' c='/>' d=\"'\" e='\"'>></a></stream:stream>"),
    In(b"<a>]] ]> ] > &gt;]]&gt;</a></stream:stream>"),
    In(b"<a><![CDATA[]]]]><![CDATA[>]]><![CDATA[<b>&amp;]] >]]></a></stream:stream>"),
    In(b"<a>&#9;&#xA;&#13;&#x20;&#xD7FF;&#xE000;&#xFFFD;&#x10000;&#x10FFFF;&#000065;</a></stream:stream>"),
    In(b"<a b='&lt;&gt;&amp;&apos;&quot;&#60;'/></stream:stream>"),
    In(b"<_a-.1 b-.1='' _='' xmlns:_='urn:x' _:b-.1=''/></stream:stream>"),
    In("<é\u{B7}\u{300}名 \u{10000}='\u{10FFFF}\u{7F}\u{85}\u{FFFD}\u{FDD0}'>\u{FEFF}</é\u{B7}\u{300}名></stream:stream>".as_bytes()),
    In(b"<a xml:lang='en' xml:space='preserve' xmlns:xml='http://www.w3.org/XML/1998/namespace'/></stream:stream>"),
    In(b"<xml:a/></stream:stream>"),
    In(b"<xmlfoo xmlnsfoo='1'/></stream:stream>"),
    In(b"<a b='1' p:b='2' q:b='3' xmlns:p='urn:p' xmlns:q='urn:q'/></stream:stream>"),
    In(b"<p:a xmlns:p='urn:p'><p:a xmlns:p='urn:q' p:b='1' xmlns:q='urn:p' q:b='1'/></p:a></stream:stream>"),
    In(b"<a xmlns='urn&#58;x' xmlns:p='a b'/></stream:stream>"),
    In(b"<stream:features/><stream:error xmlns:stream='urn:other'/></stream:stream>"),
];

/// Everything that comes out of a stream, fed in pieces that end at these offsets.
fn feed(framer: &mut Framer, bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Result<Vec<StreamItem>, XmlError> {
    let mut items = Vec::new();
    let mut from = 0;
    for to in cuts.into_iter().chain([bytes.len()]) {
        framer.push(&bytes[from..to]);
        from = to;
        while let Some(item) = framer.next_item()? {
            items.push(item);
        }
    }
    Ok(items)
}

fn bytes_of(input: Input) -> Vec<u8> {
    match input {
        Raw(bytes) => bytes.to_vec(),
        In(bytes) => [HEADER.as_bytes(), bytes].concat(),
    }
}

/// How a refused case should end, and how it does, whole and byte by byte.
fn outcomes(limits: Limits, bytes: &[u8], disabled: Option<Check>) -> [Option<XmlError>; 2] {
    let framer = || Framer::with_check_disabled(limits, disabled);
    [feed(&mut framer(), bytes, []).err(), feed(&mut framer(), bytes, 1..bytes.len()).err()]
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The refused cases that are not refused for the right reason, with this check switched off.
pub(super) fn failing_cases(disabled: Option<Check>) -> Vec<String> {
    let cases = REFUSED.iter().map(|case| (case.kind, bytes_of(case.input), Limits::default()));
    let cases = cases.chain(beyond_limits().into_iter().map(|(kind, bytes)| (kind, bytes, small())));
    let mut failing = Vec::new();
    for (kind, bytes, limits) in cases {
        let outcomes = outcomes(limits, &bytes, disabled);
        if outcomes.map(|o| o.map(|e| e.kind)) != [Some(kind); 2] || outcomes[0] != outcomes[1] {
            failing.push(format!("{}: {kind:?} expected, got {outcomes:?}", show(&bytes)));
        }
    }
    if overfull(disabled) != Some(Kind::BufferFull) {
        failing.push("more than may be buffered".to_owned());
    }
    failing
}

/// How a stream ends of which more is pushed than may be buffered; what was pushed before comes out all the same. No case
/// like the others, for it is about how input is cut.
fn overfull(disabled: Option<Check>) -> Option<Kind> {
    let mut framer = Framer::with_check_disabled(small(), disabled);
    framer.push([HEADER, "<a/>"].concat().as_bytes());
    framer.push(&[b' '; 1000]);
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Element(_)))));
    framer.next_item().err().map(|error| error.kind)
}

#[test]
fn what_is_forbidden_is_refused_for_its_reason_whole_and_byte_by_byte() {
    let failing = failing_cases(None);
    assert!(failing.is_empty(), "{}", failing.join("\n"));
}

#[test]
fn every_error_kind_of_a_stream_has_a_case() {
    let beyond = beyond_limits();
    let elsewhere = [Kind::Incomplete, Kind::NotAStanza, Kind::BufferFull];
    for kind in Kind::ALL {
        let covered =
            REFUSED.iter().any(|c| c.kind == *kind) || beyond.iter().any(|(k, _)| k == kind) || elsewhere.contains(kind);
        assert!(covered, "{kind:?} has no case");
    }
}

#[test]
fn each_check_is_needed_switching_it_off_is_noticed() {
    for check in Check::ALL {
        assert!(!failing_cases(Some(*check)).is_empty(), "nothing notices that {check:?} is off");
    }
}

#[test]
fn what_is_odd_and_allowed_is_accepted_whole_and_byte_by_byte() {
    for input in ACCEPTED {
        let bytes = bytes_of(*input);
        for cuts in [0..0, 1..bytes.len()] {
            let mut framer = Framer::new(Limits::default());
            let items = feed(&mut framer, &bytes, cuts).unwrap_or_else(|e| panic!("{}: {e}", show(&bytes)));
            assert!(matches!(items.last(), Some(StreamItem::Close)), "{}", show(&bytes));
            assert!(!framer.has_buffered());
        }
    }
}

#[test]
fn what_reaches_a_limit_is_accepted() {
    for text in at_limits() {
        for cuts in [0..0, 1..text.len()] {
            let mut framer = Framer::new(small());
            let items = feed(&mut framer, text.as_bytes(), cuts).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(matches!(items.last(), Some(StreamItem::Close)), "{text}");
        }
    }
}

#[test]
fn more_than_may_be_buffered_is_refused_after_what_was() {
    assert_eq!(overfull(None), Some(Kind::BufferFull));
}

#[test]
fn a_text_is_refused_for_the_same_reasons_as_a_stream() {
    for (xml, kind) in [
        ("", Kind::Incomplete),
        (" \n", Kind::Incomplete),
        ("<", Kind::Incomplete),
        ("<a", Kind::Incomplete),
        ("<a>", Kind::Incomplete),
        ("<a b='", Kind::Incomplete),
        ("<a><b></b>", Kind::Incomplete),
        ("<a>x</a", Kind::Incomplete),
        ("<?xml version='1.0'?>", Kind::Incomplete),
        ("<?xml version='1.0'", Kind::Incomplete),
        ("<!", Kind::Incomplete),
        ("<?", Kind::Incomplete),
        ("<a/><b/>", Kind::AfterEnd),
        ("<a/>x", Kind::AfterEnd),
        ("<a/>\0", Kind::Character),
        ("<a>\u{1}</a>", Kind::Character),
        ("\u{FFFE}", Kind::Character),
        ("x", Kind::TextOutsideElement),
        ("\u{FEFF}<a/>", Kind::TextOutsideElement),
        ("</a>", Kind::Syntax),
        ("<!-- c --><a/>", Kind::Comment),
        ("<a><!-- c --></a>", Kind::Comment),
        ("<!DOCTYPE a><a/>", Kind::Doctype),
        ("<?p?><a/>", Kind::ProcessingInstruction),
        (" <?xml version='1.0'?><a/>", Kind::XmlDeclaration),
        ("<?xml version='1.0'?> <?xml version='1.0'?><a/>", Kind::XmlDeclaration),
        ("<?xml version='1.1'?><a/>", Kind::XmlVersion),
        ("<stream:features/>", Kind::UndeclaredPrefix),
        ("<a></b>", Kind::MismatchedTag),
    ] {
        assert_eq!(Frame::parse(xml).map(|_| ()).unwrap_err().kind, kind, "{xml}");
    }
    for xml in ["<a/>", " <a></a>\n", "<?xml version='1.0' encoding='UTF-8'?>\n<a/>"] {
        assert!(Frame::parse(xml).is_ok(), "{xml}");
    }
    for (kind, bytes) in beyond_limits() {
        let Some(xml) = std::str::from_utf8(&bytes).ok().and_then(|t| t.strip_prefix(HEADER)) else { continue };
        if !xml.starts_with("</") {
            assert_eq!(Frame::parse_with(xml, &small()).map(|_| ()).unwrap_err().kind, kind, "{xml}");
        }
    }
}

#[test]
fn an_error_comes_after_what_was_before_it_and_stays() {
    let mut framer = Framer::new(Limits::default());
    framer.push([HEADER, "<a/><b>\u{1}"].concat().as_bytes());
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Element(_)))));
    let error = framer.next_item().map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.offset), (Kind::Character, HEADER.len() as u64 + 7));
    framer.push(b"</b></stream:stream>");
    assert_eq!(framer.next_item().map(|_| ()), Err(error));
}

#[test]
fn restart_forgets_what_was_buffered() {
    let mut framer = Framer::new(Limits::default());
    framer.push([HEADER, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><injected/>\u{E9}"].concat().as_bytes());
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Element(_)))));
    assert!(framer.has_buffered());
    framer.restart();
    assert!(!framer.has_buffered());
    framer.push([HEADER, "<a/>"].concat().as_bytes());
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    let Ok(Some(StreamItem::Element(frame))) = framer.next_item() else { panic!("no element") };
    assert_eq!(frame.name(), "a");
    framer.push(b"\xC3");
    framer.restart();
    framer.push(HEADER.as_bytes());
    assert!(matches!(framer.next_item(), Ok(Some(StreamItem::Open(_)))));
}
