//! Elements outside a stream: read from text of their own, and written so that they can be.

use std::borrow::Cow;

use super::chars;
use super::checks::Checks;
use super::error::{XmlError, XmlErrorKind as Kind};
use super::frame::{Frame, clean, parse_error};
use super::limits::Limits;
use super::node::Node;
use super::read::WalkItem;
use super::scan::Scanner;
use super::scope::{NsPlace, Span, StreamScope};
use super::syntax::{self, Stop};
use super::write::escape_attr;

pub(super) fn parse(xml: &str, limits: &Limits) -> Result<Frame, XmlError> {
    let text = clean(xml);
    // Where the text stops being clean, that is what is wrong, unless something before it is.
    let ended = |at: usize, otherwise: Kind| {
        let kind = if text.len() < xml.len() { Kind::Character } else { otherwise };
        parse_error(kind, if text.len() < xml.len() { text.len() } else { at })
    };
    let mut start = 0;
    if text.starts_with("<?") {
        match syntax::xml_declaration(text, Checks::default()) {
            Ok(len) => start = len,
            Err(Stop::More) => return Err(ended(text.len(), Kind::Incomplete)),
            Err(Stop::Fail(fail)) => return Err(parse_error(fail.kind, fail.at())),
        }
    }
    start += text[start..].bytes().take_while(|&b| chars::is_space(b)).count();
    let rest = &text[start..];
    match rest.as_bytes() {
        [] => return Err(ended(start, Kind::Incomplete)),
        [b'<', b'/', ..] => return Err(parse_error(Kind::Syntax, start)),
        [b'<', ..] if rest.starts_with("<![CDATA[") => return Err(parse_error(Kind::TextOutsideElement, start)),
        [b'<', ..] => {}
        _ => return Err(parse_error(Kind::TextOutsideElement, start)),
    }

    let scope = StreamScope::standalone();
    let mut scanner = Scanner::new(limits.clamped(), Checks::default());
    let len = scanner.element(rest, &scope).map_err(|fail| parse_error(fail.kind, start + fail.at()))?;
    let len = len.ok_or_else(|| ended(text.len(), Kind::Incomplete))?;
    if let Some(i) = rest[len..].bytes().position(|b| !chars::is_space(b)) {
        return Err(parse_error(Kind::AfterEnd, start + len + i));
    }
    if text.len() < xml.len() {
        return Err(parse_error(Kind::Character, text.len()));
    }
    Ok(Frame::new(&rest[..len], &scanner, &scope))
}

/// The element with everything written out that it takes from outside: default namespace, prefixes, language. In parts: its
/// beginning, what is declared in addition, and the rest.
pub(super) fn parts(node: Node<'_>) -> [Cow<'_, str>; 3] {
    let inner = node.frame().inner_ref();
    let data = node.data();
    let (start, end) = node.range();
    let raw = &inner.text()[start..end];

    // Whether they stand in its own start tag.
    let is_own = |span: Span| (data.start..data.content).contains(&span.start);
    let has_lang = is_own(data.lang);
    let has_ns = match data.default.place() {
        NsPlace::None => true,
        NsPlace::Text { span, .. } => is_own(span),
        NsPlace::Xml | NsPlace::Scope(_) => false,
    };
    let prefixes = foreign_prefixes(node);
    // As nearly all are that come on a stream.
    let takes_all_from_stream = !has_ns && !has_lang && prefixes.is_empty() && node.is_root();
    let write = || {
        let mut declarations = String::new();
        let mut declare = |name: &str, prefix: &str, value: &str| {
            declarations.extend([" ", name, prefix, "='", &escape_attr(value), "'"]);
        };
        if !has_ns {
            declare("xmlns", "", &inner.ns_str(data.default));
        }
        for (prefix, uri) in &prefixes {
            declare("xmlns:", prefix, uri);
        }
        if !has_lang && let Some(lang) = node.lang() {
            declare("xml:lang", "", &lang);
        }
        declarations
    };
    let declarations = if takes_all_from_stream { inner.scope().inherited(write).into() } else { Cow::Owned(write()) };
    // Behind the qualified name, which ends where the local name does.
    let at = data.name.end as usize - start;
    [raw[..at].into(), declarations, raw[at..].into()]
}

/// The prefixes used inside the element and declared outside of it, with what they mean.
fn foreign_prefixes<'a>(node: Node<'a>) -> Vec<(&'a str, Cow<'a, str>)> {
    let inner = node.frame().inner_ref();
    let start = node.data().start as usize;
    let mut found: Vec<(&'a str, Cow<'a, str>)> = Vec::new();
    if !inner.may_have_foreign_prefixes(start as u32) {
        return found;
    }
    let mut look = |at: u32, qname: &'a str| {
        let Some((prefix, _)) = qname.split_once(':') else { return };
        if prefix == "xml" || prefix == "xmlns" || found.iter().any(|(p, _)| *p == prefix) {
            return;
        }
        let declared_inside = inner
            .prefixes()
            .any(|p| p.start as usize >= start && p.start <= at && at < p.end && p.name.of(inner.text()) == prefix);
        if !declared_inside {
            found.push((prefix, inner.ns_str(inner.resolve_prefix(start as u32, prefix))));
        }
    };
    for item in node.walk() {
        if let WalkItem::Start(element) = item {
            look(element.data().start, element.qname());
            for (name, _) in element.raw_attrs() {
                look(element.data().start, name);
            }
        }
    }
    found
}
