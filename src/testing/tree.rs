//! The server's own small XML tree: what it builds answers from and rewrites addresses in.

use std::fmt::Write as _;

/// Namespaces the server speaks.
pub(super) mod ns {
    pub(in crate::testing) const CLIENT: &str = "jabber:client";
    pub(in crate::testing) const STREAM: &str = "http://etherx.jabber.org/streams";
    pub(in crate::testing) const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
    pub(in crate::testing) const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
    pub(in crate::testing) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
    pub(in crate::testing) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
    pub(in crate::testing) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
    pub(in crate::testing) const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
    pub(in crate::testing) const ROSTER: &str = "jabber:iq:roster";
    pub(in crate::testing) const ROSTER_VER: &str = "urn:xmpp:features:rosterver";
    pub(in crate::testing) const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
    pub(in crate::testing) const REGISTER: &str = "jabber:iq:register";
    pub(in crate::testing) const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
    pub(in crate::testing) const LIMITS: &str = "urn:xmpp:stream-limits:0";
    pub(in crate::testing) const FORM: &str = "jabber:x:data";
    pub(in crate::testing) const OOB: &str = "jabber:x:oob";
    pub(in crate::testing) const CAPTCHA: &str = "urn:xmpp:captcha";
    pub(in crate::testing) const MEDIA: &str = "urn:xmpp:media-element";
    pub(in crate::testing) const BOB: &str = "urn:xmpp:bob";
    pub(in crate::testing) const DELAY: &str = "urn:xmpp:delay";
    pub(in crate::testing) const SID: &str = "urn:xmpp:sid:0";
    pub(in crate::testing) const MAM: &str = "urn:xmpp:mam:2";
    pub(in crate::testing) const MAM_EXTENDED: &str = "urn:xmpp:mam:2#extended";
    pub(in crate::testing) const RSM: &str = "http://jabber.org/protocol/rsm";
    pub(in crate::testing) const FORWARD: &str = "urn:xmpp:forward:0";
    pub(in crate::testing) const CARBONS: &str = "urn:xmpp:carbons:2";
    pub(in crate::testing) const HINTS: &str = "urn:xmpp:hints";
    pub(in crate::testing) const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
    pub(in crate::testing) const SM: &str = "urn:xmpp:sm:3";
    pub(in crate::testing) const SM2: &str = "urn:xmpp:sm:2";
    pub(in crate::testing) const PING: &str = "urn:xmpp:ping";
    pub(in crate::testing) const VERSION: &str = "jabber:iq:version";
    pub(in crate::testing) const CAPS: &str = "http://jabber.org/protocol/caps";
    pub(in crate::testing) const TIME: &str = "urn:xmpp:time";
    pub(in crate::testing) const CSI: &str = "urn:xmpp:csi:0";
    pub(in crate::testing) const PUSH: &str = "urn:xmpp:push:0";
    pub(in crate::testing) const LAST: &str = "jabber:iq:last";
    pub(in crate::testing) const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
    pub(in crate::testing) const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
    pub(in crate::testing) const XML: &str = "http://www.w3.org/XML/1998/namespace";
}

/// An element that owns all of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    ns: String,
    attributes: Vec<Attribute>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    ns: String,
    name: String,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    pub(super) fn new(name: &str, ns: &str) -> Self {
        Self { name: name.into(), ns: ns.into(), attributes: Vec::new(), nodes: Vec::new() }
    }

    /// An element with text and nothing else.
    pub(super) fn with_text(name: &str, ns: &str, text: &str) -> Self {
        Self::new(name, ns).text_node(text)
    }

    /// With this attribute, which takes the place of an earlier value.
    pub(super) fn attr(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_attr(name, value);
        self
    }

    /// With this attribute, if there is a value.
    pub(super) fn maybe_attr(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    pub(super) fn child(mut self, child: Self) -> Self {
        self.nodes.push(Node::Element(child));
        self
    }

    pub(super) fn children_from(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }

    pub(super) fn text_node(mut self, text: &str) -> Self {
        self.nodes.push(Node::Text(text.into()));
        self
    }

    pub(super) fn set_attr(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|a| a.ns.is_empty() && a.name == name) {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(Attribute { ns: String::new(), name: name.into(), value }),
        }
    }

    pub(super) fn remove_children(&mut self, is_meant: impl Fn(&Self) -> bool) {
        self.nodes.retain(|node| !matches!(node, Node::Element(element) if is_meant(element)));
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn ns(&self) -> &str {
        &self.ns
    }

    pub(super) fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.ns.is_empty() && a.name == name).map(|a| a.value.as_str())
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    pub(super) fn find(&self, name: &str, ns: &str) -> Option<&Self> {
        self.elements().find(|e| e.is(name, ns))
    }

    /// The element's direct text.
    pub(super) fn text(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// The text of the first such child.
    pub(super) fn find_text(&self, name: &str, ns: &str) -> Option<String> {
        self.find(name, ns).map(Self::text)
    }

    /// As a top-level element of a stream whose default namespace is `jabber:client` and whose `stream` prefix is declared.
    pub(super) fn to_xml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, ns::CLIENT);
        out
    }

    /// As a document of its own.
    pub(super) fn to_document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, "");
        out
    }

    fn write(&self, out: &mut String, default_ns: &str) {
        // Only the stream's own elements carry a prefix: `stream:features` and `stream:error`.
        let prefix = if self.ns == ns::STREAM { "stream:" } else { "" };
        let inner_default = if prefix.is_empty() { self.ns.as_str() } else { default_ns };
        out.push('<');
        out.push_str(prefix);
        out.push_str(&self.name);
        if inner_default != default_ns {
            out.push_str(" xmlns='");
            escape(out, &self.ns);
            out.push('\'');
        }
        for (i, attribute) in self.attributes.iter().enumerate() {
            match attribute.ns.as_str() {
                "" => out.push(' '),
                ns::XML => out.push_str(" xml:"),
                other => {
                    let _ = write!(out, " xmlns:a{i}='");
                    escape(out, other);
                    let _ = write!(out, "' a{i}:");
                }
            }
            out.push_str(&attribute.name);
            out.push_str("='");
            escape(out, &attribute.value);
            out.push('\'');
        }
        if self.nodes.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.nodes {
            match node {
                Node::Element(element) => element.write(out, inner_default),
                Node::Text(text) => escape(out, text),
            }
        }
        out.push_str("</");
        out.push_str(prefix);
        out.push_str(&self.name);
        out.push('>');
    }
}

impl From<&minidom::Element> for Element {
    fn from(source: &minidom::Element) -> Self {
        Self {
            name: source.name().into(),
            ns: source.ns(),
            attributes: source
                .attrs()
                .iter()
                .map(|((ns, name), value)| Attribute { ns: ns.as_str().into(), name: name.as_str().into(), value: value.clone() })
                .collect(),
            nodes: source
                .nodes()
                .map(|node| match node {
                    minidom::Node::Element(element) => Node::Element(element.into()),
                    minidom::Node::Text(text) => Node::Text(text.clone()),
                })
                .collect(),
        }
    }
}

/// Escapes text for element content and for attribute values in either kind of quotes.
pub(super) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_and_attributes_survive_the_way_through_the_tree() {
        let xml = "<message xmlns='jabber:client' xml:lang='de' to='a@b'><body>1 &lt; 2 <b xmlns='x' xmlns:y='z' y:q='&quot;'>t</b> tail</body><n xmlns=''/></message>";
        let parsed: minidom::Element = xml.parse().unwrap();
        let tree = Element::from(&parsed);
        assert_eq!(tree.to_document().parse::<minidom::Element>().unwrap(), parsed);
        assert!(tree.to_xml().starts_with("<message "), "{}", tree.to_xml());
        assert!(!tree.to_xml().contains("jabber:client"));
    }
}
