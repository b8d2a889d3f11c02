//! What a start tag means where it stands: namespaces, language, duplicates, and what goes into the frame's index.

use super::{Attr, Open, Scanner, Tag};
use crate::xml::checks::Check;
use crate::xml::error::XmlErrorKind as Kind;
use crate::xml::frame::{Header, NodeData, Prefix, ns_str};
use crate::xml::scope::{NsRef, Span, StreamScope};
use crate::xml::syntax::{Fail, Key, QName, Stop, fail, key};
use crate::xml::{chars, decode, ns};

impl Scanner {
    /// The start tag at `pos` is well-formed in itself; now what it means where it stands.
    #[inline(always)]
    pub(super) fn open(&mut self, text: &str, bytes: &[u8], tag: Tag, scope: &StreamScope) -> Result<(), Stop> {
        let p = self.pos;
        let depth = self.stack.len();
        if depth >= usize::from(self.limits.max_depth) && self.checks.on(Check::Depth) {
            return fail(Kind::TooDeep, p);
        }
        let (mut default, mut lang) = match self.stack.last() {
            Some(parent) => (parent.default, parent.lang),
            None => (scope.default_ns(), Span::NONE),
        };
        if self.maybe_duplicate {
            self.check_names(bytes)?;
        }
        if let Some(&xmlns) = self.attrs.get(self.xmlns) {
            default = self.declared(text, bytes, xmlns, scope)?;
        }
        let prefixes = self.prefixes.len();
        if self.prefixed > 0 {
            lang = self.prefixed_attributes(text, bytes, scope)?.unwrap_or(lang);
        }
        let ns = if tag.name.colon == 0 { default } else { self.resolve(text, tag.name, scope, Check::ElementPrefix)? };

        if depth <= 1 {
            let node = NodeData {
                start: p as u32,
                name: tag.name.local(),
                content: tag.end as u32,
                end: if tag.empty { tag.end as u32 } else { 0 },
                ns,
                default,
                lang,
            };
            if depth == 0 {
                self.root = node;
                self.header = self.header_of(bytes);
            } else {
                if self.children.len() >= usize::from(self.limits.max_children) && self.checks.on(Check::Children) {
                    return fail(Kind::TooManyChildren, p);
                }
                self.children.push(node);
            }
        }
        if !tag.empty {
            self.stack.push(Open { name: tag.name.full(), key: tag.key, default, lang, prefixes: prefixes as u32 });
        } else if self.prefixes.len() > prefixes {
            self.end_prefixes(prefixes, tag.end);
        }
        Ok(())
    }

    fn header_of(&self, bytes: &[u8]) -> Header {
        const FROM: Key = key(b"from");
        const TO: Key = key(b"to");
        const ID: Key = key(b"id");
        const TYPE: Key = key(b"type");
        let mut values = [Span::NONE; 4];
        for a in &self.attrs {
            // No branches: their order cannot be predicted.
            let or = |wanted: Key, kept: Span| if a.key == wanted { a.value } else { kept };
            values = [or(FROM, values[0]), or(TO, values[1]), or(ID, values[2]), or(TYPE, values[3])];
        }
        Header::of(values, bytes)
    }

    /// No attribute twice.
    #[cold]
    fn check_names(&self, bytes: &[u8]) -> Result<(), Stop> {
        for (k, a) in self.attrs.iter().enumerate() {
            let name = a.name.full().of_bytes(bytes);
            let same = |b: &Attr| a.key == b.key && b.name.full().of_bytes(bytes) == name;
            if self.attrs[..k].iter().any(same) && self.checks.on(Check::DuplicateName) {
                return fail(Kind::DuplicateAttribute, a.name.start as usize);
            }
        }
        Ok(())
    }

    /// What `xmlns='…'` declares.
    #[inline(always)]
    fn declared(&self, text: &str, bytes: &[u8], a: Attr, scope: &StreamScope) -> Result<NsRef, Stop> {
        let raw = a.value.of_bytes(bytes);
        if needs_decoding(a, raw) {
            return self.declared_uri(a, &decode::attribute(a.value(text)), true, scope);
        }
        // Few names mean anything here, and nearly no other is as long as one of them.
        if scope.may_be_special(raw.len()) {
            return self.declared_uri(a, a.value(text), false, scope);
        }
        Ok(NsRef::text(a.value, false, false))
    }

    fn declared_uri(&self, a: Attr, uri: &str, escaped: bool, scope: &StreamScope) -> Result<NsRef, Stop> {
        if (uri == ns::XML || uri == ns::XMLNS) && self.checks.on(Check::ReservedDefault) {
            return fail(Kind::NamespaceDeclaration, a.name.start as usize);
        }
        Ok(if uri.is_empty() { NsRef::NONE } else { NsRef::text(a.value, escaped, scope.is_content(uri)) })
    }

    /// `xmlns:p='…'` and `p:name='…'`: declarations legal, prefixes declared, no two attributes the same by namespace and
    /// local name. Gives the value of `xml:lang`.
    #[cold]
    fn prefixed_attributes(&mut self, text: &str, bytes: &[u8], scope: &StreamScope) -> Result<Option<Span>, Stop> {
        for k in 0..self.attrs.len() {
            if self.attrs[k].declares_prefix(bytes) {
                self.declare_prefix(text, self.attrs[k], scope)?;
            }
        }
        let mut lang = None;
        let mut seen: Vec<(NsRef, Span)> = Vec::new();
        for k in 0..self.attrs.len() {
            let a = self.attrs[k];
            if a.name.colon == 0 || a.declares_prefix(bytes) {
                continue;
            }
            let ns = self.resolve(text, a.name, scope, Check::AttributePrefix)?;
            let local = a.name.local();
            let same = |(other, name): &(NsRef, Span)| {
                name.of(text) == local.of(text) && ns_str(text, scope, ns) == ns_str(text, scope, *other)
            };
            if seen.iter().any(same) && self.checks.on(Check::DuplicateExpandedName) {
                return fail(Kind::DuplicateAttribute, a.name.start as usize);
            }
            if ns == NsRef::XML && local.of(text) == "lang" {
                lang = Some(a.value);
            }
            seen.push((ns, local));
        }
        Ok(lang)
    }

    fn declare_prefix(&mut self, text: &str, a: Attr, scope: &StreamScope) -> Result<(), Stop> {
        let prefix = a.name.local();
        let uri = decode::attribute(a.value(text));
        let reserved = match prefix.of(text) {
            "xmlns" => true,
            "xml" => uri != ns::XML,
            _ => uri == ns::XML || uri == ns::XMLNS,
        };
        if reserved && self.checks.on(Check::ReservedPrefix) || uri.is_empty() && self.checks.on(Check::EmptyPrefix) {
            return fail(Kind::NamespaceDeclaration, a.name.start as usize);
        }
        if self.prefixes.len() >= usize::from(self.limits.max_prefixes) && self.checks.on(Check::Prefixes) {
            return fail(Kind::TooManyPrefixes, a.name.start as usize);
        }
        let ns = NsRef::text(a.value, needs_decoding(a, a.value.of_bytes(text.as_bytes())), scope.is_content(&uri));
        self.prefixes.push(Prefix { start: self.pos as u32, end: u32::MAX, name: prefix, ns });
        Ok(())
    }

    /// What the prefix of this name means where it stands.
    #[cold]
    fn resolve(&mut self, text: &str, name: QName, scope: &StreamScope, check: Check) -> Result<NsRef, Stop> {
        let prefix = name.prefix().of(text);
        if prefix == "xml" {
            return Ok(NsRef::XML);
        }
        let open = self.prefixes.iter().rev().find(|p| p.end == u32::MAX && p.name.of(text) == prefix);
        let open = open.map(|p| p.ns);
        self.outer_prefix |= open.is_none();
        match open.or_else(|| scope.resolve(prefix)) {
            Some(ns) => Ok(ns),
            None if self.checks.on(check) => fail(Kind::UndeclaredPrefix, name.start as usize),
            None => Ok(NsRef::NONE),
        }
    }

    /// What a stream header that was read by [`header_tag`](Self::header_tag) puts into scope. Checks the tag's meaning as
    /// that of any other.
    pub(in crate::xml) fn header_scope(&mut self, text: &str, tag: Tag) -> Result<StreamScope, Fail> {
        let nothing = StreamScope::standalone();
        self.open(text, text.as_bytes(), Tag { empty: true, ..tag }, &nothing).map_err(|stop| stop.or_syntax(0))?;
        let mut bindings = Vec::new();
        let mut lang = None;
        for a in &self.attrs {
            let value = || decode::attribute(a.value(text)).into_owned().into_boxed_str();
            match a.name(text) {
                "xmlns" => bindings.push(("".into(), value())),
                "xml:lang" => lang = Some(value()).filter(|l| !l.is_empty()),
                name => {
                    if let Some(prefix) = name.strip_prefix("xmlns:") {
                        bindings.push((prefix.into(), value()));
                    }
                }
            }
        }
        Ok(StreamScope::new(bindings, lang))
    }
}

/// Whether an attribute's value means something else than its bytes: it holds references, tabs or line ends.
fn needs_decoding(a: Attr, raw: &[u8]) -> bool {
    a.escaped || chars::has_control(raw)
}
