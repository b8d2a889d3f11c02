//! The framer against an independent checked parser, rxml, on generated and mutated streams: same accept or reject, same
//! tree, however the bytes are cut.
//!
//! A run prints its seed. `XMPPKIT_DIFF_SEED` repeats it, `XMPPKIT_DIFF_DOCUMENTS` makes it longer.
//!
//! What differs by intention, and how it is taken out of the comparison:
//!
//! | construct | rxml 0.14 | the framer, and why | here |
//! |---|---|---|---|
//! | text between top-level elements | an event like any other | refused unless plain whitespace (RFC 6120 §11.7) | [`judge`] refuses it |
//! | CDATA sections and references between top-level elements | text | refused, they are no whitespace | [`judge`] refuses them |
//! | `xmlns:p=''`; `xml` and `xmlns` and their namespaces bound otherwise | accepted | refused (Namespaces in XML §3, §6.1) | [`judge`] refuses them |
//! | `xmlns` twice in one tag | the last counts | refused (XML 1.0 §3.1) | [`judge`] refuses it |
//! | whitespace before the root | only behind a declaration | accepted, but no declaration behind it (XML 1.0 §2.8) | [`judge`] skips it |
//! | a carriage return alone in an attribute value | refused | a line end (XML 1.0 §2.11) | [`judge`] replaces it |
//! | references to whitespace behind the root | accepted | refused (XML 1.0 §2.8) | [`judge`] refuses them |
//! | references of more than 64 bytes | accepted | refused, so that they need not be searched again | not generated |
//! | limits | on tokens | on elements | not reached |

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};

use rxml::error::EndOrError;
use rxml::parser::{Parse, WithOptions};
use rxml::{Event, Options, RawEvent};

use crate::xml::read::WalkItem;
use crate::xml::{Frame, Framer, Limits, Node, OutStanza, StreamItem, XmlError, ns};

/// The content namespaces of streams that there are.
const CONTENT: [&str; 3] = [ns::CLIENT, ns::COMPONENT_ACCEPT, ns::SERVER];

const DOCUMENTS: usize = 10_000;

#[test]
fn framer_and_rxml_accept_the_same_streams_and_see_the_same_trees() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = number("XMPPKIT_DIFF_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish()).max(1);
    let documents = number("XMPPKIT_DIFF_DOCUMENTS").map_or(DOCUMENTS, |n| n as usize);
    println!("XMPPKIT_DIFF_SEED={seed}");
    // Two halves, for two cores.
    let halves = [seed, seed ^ 0x9E37_79B9_7F4A_7C15];
    let accepted: usize = std::thread::scope(|scope| {
        let run = |seed| move || run(seed, documents / 2);
        let threads = halves.map(|seed| scope.spawn(run(seed)));
        threads.into_iter().map(|t| t.join().expect("a difference was found")).sum()
    });
    println!("{accepted} of {documents} documents accepted");
    assert!((documents / 5..=documents * 4 / 5).contains(&accepted), "{accepted} of {documents} accepted: no good mix");
}

fn run(seed: u64, documents: usize) -> usize {
    let mut random = Random(seed | 1);
    let (mut accepted, mut bytes, mut longest) = (0, 0, 0);
    for i in 0..documents {
        let document = document(&mut random);
        bytes += document.len();
        longest = longest.max(document.len());
        let about = || format!("seed {seed}, document {i}: {:?}", String::from_utf8_lossy(&document));
        let whole = feed(&document, None);
        let ours = whole.1.as_ref().map(|_| tree(&whole.0));
        match (&ours, judge(&document)) {
            (Ok(ours), Ok(theirs)) => {
                assert_eq!(*ours, theirs, "another tree: {}", about());
                accepted += 1;
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("framer {ours:?}, rxml {theirs:?}: {}", about()),
        }
        // Alone, an element is content in the namespaces of streams that there are; a damaged header may have named another.
        let known = |content_ns: &str| content_ns.is_empty() || CONTENT.contains(&content_ns);
        let known = matches!(whole.0.first(), Some(StreamItem::Open(header)) if known(header.content_ns()));
        for item in whole.0.iter().filter(|_| known) {
            if let StreamItem::Element(frame) = item {
                survives_rewriting(frame, &mut random);
            }
        }
        let cuts: Vec<usize> = match document.len() {
            0..2 => Vec::new(),
            len @ 2..2000 => (1..len).collect(),
            len => (0..20).map(|_| 1 + random.below(len - 1)).collect(),
        };
        for cut in cuts {
            let parts = feed(&document, Some(cut));
            assert!(same(&whole, &parts), "cut at {cut}: {:?} and {:?}: {}", whole.1, parts.1, about());
        }
    }
    println!("{documents} documents, {bytes} bytes, the longest {longest}");
    accepted
}

/// What came out of a stream, and how it ended: whether it was closed.
type Outcome = (Vec<StreamItem>, Result<(), Option<XmlError>>);

fn feed(document: &[u8], cut: Option<usize>) -> Outcome {
    let mut framer = Framer::new(Limits::default());
    let mut items = Vec::new();
    let (first, second) = document.split_at(cut.unwrap_or(0));
    for part in [first, second] {
        framer.push(part);
        loop {
            match framer.next_item() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(e) => return (items, Err(Some(e))),
            }
        }
    }
    let closed = matches!(items.last(), Some(StreamItem::Close)) && !framer.has_buffered();
    (items, if closed { Ok(()) } else { Err(None) })
}

fn same(a: &Outcome, b: &Outcome) -> bool {
    let same_item = |(a, b): (&StreamItem, &StreamItem)| match (a, b) {
        (StreamItem::Open(a), StreamItem::Open(b)) => a.same_as(b),
        (StreamItem::Element(a), StreamItem::Element(b)) => a.same_as(b),
        (StreamItem::Close, StreamItem::Close) => true,
        _ => false,
    };
    a.1 == b.1 && a.0.len() == b.0.len() && a.0.iter().zip(&b.0).all(same_item)
}

/// The stream as one text that says what it means.
fn tree(items: &[StreamItem]) -> String {
    let mut out = String::new();
    for item in items {
        match item {
            StreamItem::Open(h) => {
                let attrs = [("from", h.from()), ("id", h.id()), ("lang", h.lang()), ("to", h.to()), ("version", h.version())];
                let attrs: Vec<_> = attrs.iter().filter_map(|(n, v)| v.map(|v| (n, v))).collect();
                let _ = writeln!(out, "{{{}}}{} {attrs:?}", h.ns(), h.name());
            }
            StreamItem::Element(frame) => {
                node_tree(&mut out, frame.root());
                out.push('\n');
            }
            StreamItem::Close => out.push_str("closed"),
        }
    }
    out
}

fn node_tree(out: &mut String, node: Node<'_>) {
    let attrs: BTreeMap<_, _> = node.attrs().map(|a| ((a.ns(), a.name()), a.value())).collect();
    let _ = write!(out, "({{{}}}{} {attrs:?} {:?}", node.ns(), node.name(), node.text());
    for child in node.children() {
        node_tree(out, child);
    }
    out.push(')');
}

/// An element means the same when it stands alone, and when it was written anew.
fn survives_rewriting(frame: &Frame, random: &mut Random) {
    let mut node = frame.root();
    for _ in 0..random.below(3) {
        let below = node.children().count();
        node = if below > 0 { node.children().nth(random.below(below)).unwrap_or(node) } else { node };
    }
    // What is inherited is written out: the language, which is compared as such.
    let means = |node: Node<'_>| {
        let mut out = format!("{:?} {{{}}}{} {:?}", node.lang(), node.ns(), node.name(), node.text());
        for attr in node.attrs().filter(|a| (&*a.ns(), a.name()) != (ns::XML, "lang")) {
            let _ = write!(out, " {{{}}}{}={:?}", attr.ns(), attr.name(), attr.value());
        }
        for child in node.children() {
            node_tree(&mut out, child);
        }
        out
    };
    let alone = node.to_standalone_xml();
    let read = Frame::parse(&alone).unwrap_or_else(|e| panic!("{e}: {alone}"));
    assert_eq!(means(read.root()), means(node), "{alone}");
    let said = |node: Node<'_>, text: Option<&str>| {
        let mut out = Vec::new();
        node.write_content(&mut out, text);
        out
    };
    assert_eq!(said(node, None), walked(node), "{alone}");
    assert_eq!(said(node, Some(&node.text())), walked(node), "{alone}");
    assert_eq!(said(read.root(), None), walked(node), "{alone}");
    if let Some(stanza) = node.stanza() {
        let written = OutStanza::from_stanza(&stanza).unwrap_or_else(|e| panic!("{e}: {alone}"));
        assert_eq!(means(written.to_stanza().root()), means(node), "{alone}");
    }
}

/// What an element says, item by item.
fn walked(node: Node<'_>) -> Vec<u8> {
    let mut out = String::new();
    for item in node.walk() {
        match item {
            WalkItem::Start(node) => {
                let mut attrs: Vec<_> = node.attrs().filter(|a| a.ns() != ns::XML).collect();
                attrs.sort_by_key(|a| (a.ns(), a.name()));
                let _ = write!(out, "\u{1}{} {}", node.ns(), node.name());
                for a in attrs {
                    let _ = write!(out, "\u{2}{} {}={}", a.ns(), a.name(), a.value());
                }
                out.push('\u{3}');
            }
            WalkItem::Text(text) => out.push_str(&text),
            WalkItem::End => out.push('\u{4}'),
        }
    }
    out.into_bytes()
}

/// What rxml says of the stream, with the module's table applied.
fn judge(document: &[u8]) -> Result<String, String> {
    let options = Options { max_token_length: 1 << 20, ..Options::default() };
    let start = document.iter().position(|b| !b" \t\r\n".contains(b)).unwrap_or(document.len());
    if start > 0 && document[start..].starts_with(b"<?xml") {
        return Err("a declaration that is not at the start".into());
    }
    let mut document = document[start..].to_vec();
    for i in 0..document.len() {
        if document[i] == b'\r' && document.get(i + 1) != Some(&b'\n') {
            document[i] = b'\n';
        }
    }
    let document = &document[..];
    judge_declarations(document, &options)?;
    let mut parser = rxml::Parser::with_options(options);
    let mut rest = document;
    let mut out = String::new();
    let mut content_ns = None;
    // The elements that are open below the root: their children and their text so far.
    let mut open: Vec<(String, String, String)> = Vec::new();
    let mut depth = 0usize;
    loop {
        let before = rest.len();
        let event = match parser.parse(&mut rest, true) {
            Ok(Some(event)) => event,
            Ok(None) => return if depth == 0 { Ok(out) } else { Err("not closed".into()) },
            Err(EndOrError::NeedMoreData) => return Err("not complete".into()),
            Err(EndOrError::Error(e)) => return Err(e.to_string()),
        };
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (ns, name), attrs) => {
                depth += 1;
                let named = attrs.iter().map(|((ns, name), value)| ((ns.as_str(), name.as_str()), value.as_str()));
                if depth == 1 {
                    content_ns = Some(content_ns_of(document));
                    let known = |(ns, name): &(&str, &str)| {
                        (ns.is_empty() && ["from", "id", "to", "version"].contains(name)) || (*ns == ns::XML && *name == "lang")
                    };
                    let kept: BTreeMap<_, _> = named.filter(|(n, _)| known(n)).map(|((_, n), v)| (n, v)).collect();
                    let kept: Vec<_> = kept.into_iter().filter(|(n, v)| *n != "lang" || !v.is_empty()).collect();
                    let _ = writeln!(out, "{{{ns}}}{name} {kept:?}");
                } else {
                    let content = !ns.is_empty() && (CONTENT.contains(&&*ns) || Some(&*ns) == content_ns.as_deref());
                    let ns = if content { ns::CLIENT } else { &*ns };
                    let attrs: BTreeMap<_, _> = named.collect();
                    open.push((format!("({{{ns}}}{name} {attrs:?} "), String::new(), String::new()));
                }
            }
            Event::Text(metrics, text) => match open.last_mut() {
                Some((_, own, _)) => own.push_str(&text),
                None => {
                    // Nothing has been read ahead: the event's bytes are the last ones consumed.
                    let end = document.len() - rest.len();
                    let raw = &document[end.saturating_sub(metrics.len().max(before - rest.len()))..end];
                    if !text.trim_matches([' ', '\t', '\r', '\n']).is_empty() || raw.iter().any(|b| b"&[".contains(b)) {
                        return Err("text between elements".into());
                    }
                }
            },
            Event::EndElement(_) => {
                depth -= 1;
                match open.pop() {
                    Some((head, own, children)) => {
                        let element = format!("{head}{own:?}{children})");
                        match open.last_mut() {
                            Some((_, _, siblings)) => siblings.push_str(&element),
                            None => {
                                out.push_str(&element);
                                out.push('\n');
                            }
                        }
                    }
                    None => {
                        if !rest.iter().all(|b| b" \t\r\n".contains(b)) {
                            return Err("something behind the root".into());
                        }
                        out.push_str("closed");
                    }
                }
            }
        }
    }
}

/// The content namespace the root declares, read with rxml's lower layer.
fn content_ns_of(document: &[u8]) -> String {
    let mut parser = rxml::RawParser::new();
    let mut rest = document;
    let mut default = String::new();
    while let Ok(Some(event)) = parser.parse(&mut rest, true) {
        match event {
            RawEvent::Attribute(_, (None, name), value) if name == "xmlns" => default = value,
            RawEvent::ElementHeadClose(_) => break,
            _ => {}
        }
    }
    if default == ns::STREAM { ns::CLIENT.to_owned() } else { default }
}

/// The rules on declarations that rxml leaves to others.
fn judge_declarations(document: &[u8], options: &Options) -> Result<(), String> {
    let mut parser = rxml::RawParser::with_options(options.clone());
    let mut rest = document;
    let mut default_seen = false;
    while let Ok(Some(event)) = parser.parse(&mut rest, true) {
        match event {
            RawEvent::ElementHeadOpen(..) => default_seen = false,
            RawEvent::Attribute(_, (prefix, name), uri) => {
                let reserved = uri == ns::XML || uri == ns::XMLNS;
                let default = prefix.is_none() && name == "xmlns";
                let illegal = match prefix.as_ref().map(|p| p.as_str()) {
                    Some("xmlns") if name == "xml" => uri != ns::XML,
                    Some("xmlns") => name == "xmlns" || uri.is_empty() || reserved,
                    None if default => reserved || default_seen,
                    _ => false,
                };
                if illegal {
                    return Err("an illegal declaration".into());
                }
                default_seen |= default;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A stream, as a rule well-formed, of which every second is then damaged.
fn document(random: &mut Random) -> Vec<u8> {
    let mut generator = Generator { random, out: String::new(), prefixes: Vec::new() };
    generator.stream();
    let mut bytes = std::mem::take(&mut generator.out).into_bytes();
    if !random.one_in(2) {
        for _ in 0..1 + random.below(2) {
            mutate(random, &mut bytes);
        }
    }
    bytes
}

struct Generator<'r> {
    random: &'r mut Random,
    out: String,
    prefixes: Vec<&'static str>,
}

const NAMES: &[&str] = &[
    "message",
    "presence",
    "iq",
    "body",
    "a",
    "b",
    "x-1",
    "_u.v",
    "é",
    "名前",
    "stanza-id",
    "a-very-long-element-name",
    "A1",
    "p\u{B7}",
];
const ATTRIBUTES: &[&str] =
    &["from", "to", "id", "type", "a", "b", "stamp", "xml:lang", "xml:space", "é", "max-bytes", "p:a", "q:a", "p:b"];
const URIS: &[&str] = &[
    "jabber:client",
    "urn:x",
    "urn:y",
    "urn:x",
    "http://etherx.jabber.org/streams",
    "jabber:component:accept",
    "urn&#58;x",
    "a b",
    "é",
];
const TEXTS: &[&str] = &[
    "x",
    " ",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "hello world",
    "&amp;",
    "&lt;",
    "&gt;",
    "&apos;",
    "&quot;",
    "&#65;",
    "&#x1F600;",
    "&#10;",
    "&#13;",
    "]]",
    "]",
    ">",
    "é",
    "名",
    "😀",
    "\u{FEFF}",
    "\u{FFFD}",
    "'",
    "\"",
    "/",
    "=",
    "?",
    "!",
    "-",
    "lorem ipsum dolor sit amet, consectetur",
];

impl Generator<'_> {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn space(&mut self) {
        let space = self.random.pick(&["", "", "", " ", "\n", "\r\n\t "]);
        self.push(space);
    }

    fn stream(&mut self) {
        // Short headers, as a rule: every byte of them is cut at.
        let declaration = self.random.pick(&[
            "",
            "",
            "",
            "",
            "",
            "<?xml version='1.0'?>",
            "<?xml version=\"1.0\" encoding='UTF-8'?>",
            "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n",
        ]);
        self.push(declaration);
        self.space();
        let (open, close, prefix) = match self.random.below(12) {
            0 => ("<stream xmlns='http://etherx.jabber.org/streams' xmlns:p='jabber:client'", "</stream>", Some("p")),
            1 => ("<s:s xmlns='jabber:component:accept' xmlns:s='http://etherx.jabber.org/streams'", "</s:s>", None),
            2 => (
                "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'",
                "</stream:stream>",
                Some("stream"),
            ),
            3 | 4 => ("<s xmlns:q=\"urn:x\" xml:lang='de'", "</s >", Some("q")),
            5 => ("<s", "</s>", None),
            6 | 7 => ("<p:s xmlns='jabber:client' xmlns:p='urn:p'", "</p:s>", Some("p")),
            _ => ("<s xmlns='jabber:client'", "</s>", None),
        };
        self.push(open);
        self.prefixes.extend(prefix);
        let rest = self.random.pick(&[
            "",
            "",
            "",
            "",
            " from='a.b' version='1.0'",
            " id='&amp;1'\n",
            " xml:lang='' to=\"x\"",
            " xml:lang='en'",
        ]);
        self.push(if rest.contains("lang") && open.contains("lang") { "" } else { rest });
        self.push(">");
        // Short streams, as a rule, for the same reason; now and then one of some kilobytes.
        let elements = if self.random.one_in(400) { 40 } else { self.random.below(3) };
        for _ in 0..elements {
            self.space();
            self.element(0);
        }
        self.space();
        self.push(close);
        self.space();
    }

    fn element(&mut self, depth: usize) {
        let in_scope = self.prefixes.len();
        let mut tag = String::new();
        let mut declared = Vec::new();
        if self.random.one_in(3) {
            let _ = write!(tag, " xmlns={}", self.quoted_uri());
        }
        if self.random.one_in(8) {
            let prefix = ["p", "q"][self.random.below(2)];
            declared.push(prefix);
            let _ = write!(tag, " xmlns:{prefix}={}", self.quoted_uri());
        }
        self.prefixes.extend(declared);
        let mut used: Vec<&str> = Vec::new();
        for _ in 0..self.random.below(4) {
            let name = self.random.pick(ATTRIBUTES);
            let legal = match name.split_once(':') {
                Some(("xml", _)) | None => true,
                Some((prefix, _)) => self.prefixes.contains(&prefix),
            };
            // Now and then a prefix that nobody declared, or the same name twice.
            if (legal && !used.contains(&name)) || self.random.one_in(60) {
                used.push(name);
                let value = self.value();
                let space = self.random.pick(&["", "", "", " ", "\n"]);
                let _ = write!(tag, " {name}{space}={space}{value}");
            }
        }
        let mut name = self.random.pick(NAMES).to_owned();
        if self.random.one_in(6) && !self.prefixes.is_empty() {
            let prefix = self.prefixes[self.random.below(self.prefixes.len())];
            name = format!("{prefix}:{name}");
        }
        let space = self.random.pick(&["", "", "", " ", "\n"]);
        if self.random.one_in(3) {
            let _ = write!(self.out, "<{name}{tag}{space}/>");
        } else {
            let _ = write!(self.out, "<{name}{tag}{space}>");
            for _ in 0..self.random.below(3) {
                if depth < 3 && self.random.one_in(3) {
                    self.element(depth + 1);
                } else if self.random.one_in(8) {
                    let inside = self.random.pick(&["", "<&>", "]]", "]] >", "x\r\ny", "é]"]);
                    let _ = write!(self.out, "<![CDATA[{inside}]]>");
                } else {
                    let text = self.random.pick(TEXTS);
                    // `>` behind `]]` is for the mutations to find.
                    self.push(if text == ">" && self.out.ends_with(']') { "&gt;" } else { text });
                }
            }
            let _ = write!(self.out, "</{name}{space}>");
        }
        self.prefixes.truncate(in_scope);
    }

    fn quoted_uri(&mut self) -> String {
        let uri = self.random.pick(URIS);
        if self.random.one_in(2) { format!("'{uri}'") } else { format!("\"{uri}\"") }
    }

    fn value(&mut self) -> String {
        let quote = if self.random.one_in(2) { '\'' } else { '"' };
        let mut out = String::from(quote);
        for _ in 0..self.random.below(3) {
            out.push_str(self.random.pick(TEXTS));
        }
        let mut inside = out.split_off(1).replace(quote, "&#x27;");
        if quote == '"' {
            inside = inside.replace("&#x27;", "&#34;");
        }
        out.push_str(&inside);
        out.push(quote);
        out
    }
}

/// Damages a document somewhere: bytes, tokens, or what stands where.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    const TOKENS: &[&str] = &[
        "<",
        ">",
        "&",
        ";",
        "'",
        "\"",
        "=",
        "/",
        "/>",
        "</",
        "]]>",
        "]",
        ":",
        " ",
        "\n",
        "!",
        "?",
        "-",
        "#",
        "x",
        "0",
        "é",
        "\u{FFFE}",
        "\u{1}",
        "<!-- c -->",
        "<?p i?>",
        "<?xml version='1.0'?>",
        "<!DOCTYPE a>",
        "<![CDATA[",
        "]]>",
        "<![CDATA[ ]]>",
        "&amp;",
        "&lt;",
        "&nbsp;",
        "&#0;",
        "&#x1F;",
        "&#xD800;",
        "&#x41;",
        "&#x20;",
        "<b/>",
        "<b>",
        "</b>",
        "</a>",
        "<p:b/>",
        " a='1'",
        " a='1' a='2'",
        " p:a='1'",
        " xmlns='urn:x'",
        " xmlns:p='urn:x'",
        " xmlns:p=''",
        " xmlns=''",
        " xmlns:xml='urn:x'",
        " xmlns:q='http://www.w3.org/XML/1998/namespace'",
        "xmlns",
        "xml:",
        "a:b:c",
        "x",
    ];
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(9) {
        0 => drop(bytes.remove(at)),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.insert(at, random.next() as u8),
        3 => {
            let to = (at + 1 + random.below(12)).min(bytes.len());
            drop(bytes.drain(at..to));
        }
        4 => {
            let to = (at + 1 + random.below(12)).min(bytes.len());
            let copy = bytes[at..to].to_vec();
            let into = random.below(bytes.len());
            drop(bytes.splice(into..into, copy));
        }
        5 => bytes.truncate(at),
        6 => {
            let other = random.below(bytes.len());
            bytes.swap(at, other);
        }
        _ => {
            // Mostly where it could do harm: at a tag's edge.
            let edge = bytes[at..].iter().position(|b| b"<>' /".contains(b)).map_or(at, |i| at + i + random.below(2));
            let token = random.pick(TOKENS).bytes();
            drop(bytes.splice(edge..edge, token));
        }
    }
}

/// Xorshift: a run is its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }
}
