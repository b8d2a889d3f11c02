//! From elements to typed values: builders of [`xso`] are fed events made from a frame's bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use rxml::parser::EventMetrics;
use rxml::{AttrMap, Event, Namespace, NcName, QName};
use xmpp_parsers::ns::DEFAULT_NS;
use xso::error::{Error as XsoError, FromEventsError};
use xso::fromxml::XmlNameMatcher;
use xso::{Context, FromEventsBuilder, FromXml};

use super::error::PayloadError;
use super::node::Node;
use super::ns;
use super::read::WalkItem;

/// The element names a payload type can be read from, for routing by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PayloadName {
    /// The namespace. The content namespace is `jabber:client`, as in [`Node::ns`].
    pub ns: Cow<'static, str>,
    /// The local name; `None` for every name of the namespace.
    pub name: Option<Cow<'static, str>>,
}

impl PayloadName {
    /// A name to route by.
    #[must_use]
    pub fn new(ns: impl Into<Cow<'static, str>>, name: Option<Cow<'static, str>>) -> Self {
        Self { ns: ns.into(), name }
    }

    /// What `T` can be read from; `None` if by its own account that is any element, so that it cannot be routed.
    ///
    /// ```
    /// use xmppkit::xml::PayloadName;
    /// use xmppkit::{minidom, xmpp_parsers::ping::Ping};
    ///
    /// let name = PayloadName::of::<Ping>().expect("a name");
    /// assert_eq!((&*name.ns, name.name.as_deref()), ("urn:xmpp:ping", Some("ping")));
    /// assert_eq!(PayloadName::of::<minidom::Element>(), None);
    /// ```
    #[must_use]
    pub fn of<T: FromXml>() -> Option<Self> {
        let ns = |ns: &'static str| if ns == DEFAULT_NS { ns::CLIENT } else { ns };
        match matcher::<T>() {
            XmlNameMatcher::Any => None,
            XmlNameMatcher::InNamespace(uri) => Some(Self::new(ns(uri), None)),
            XmlNameMatcher::Specific(uri, name) => Some(Self::new(ns(uri), Some(Cow::Borrowed(name)))),
        }
    }

    /// Whether the element has this name.
    #[must_use]
    pub fn matches(&self, node: Node<'_>) -> bool {
        self.name.as_deref().is_none_or(|name| node.name() == name) && node.has_ns(&self.ns)
    }
}

/// D6: the superset of two equal names loses the namespace (xso 0.4.0), `Specific(name, name)`; nothing real looks so.
fn matcher<T: FromXml>() -> XmlNameMatcher<'static> {
    match T::xml_name_matcher() {
        XmlNameMatcher::Specific(a, b) if a == b => XmlNameMatcher::Any,
        other => other,
    }
}

/// The element as a `T`, which it is to be.
pub(super) fn whole<T: FromXml>(node: Node<'_>) -> Result<T, PayloadError> {
    match build(node) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(error(node, XsoError::TypeMismatch)),
        Err(e) => Err(error(node, e)),
    }
}

/// The element as a `T`, if it has the name of one.
pub(super) fn if_matches<T: FromXml>(node: Node<'_>) -> Result<Option<T>, PayloadError> {
    let may_match = match matcher::<T>() {
        XmlNameMatcher::Any => true,
        XmlNameMatcher::InNamespace(uri) => bridged_is(node, uri),
        XmlNameMatcher::Specific(uri, name) => node.name() == name && bridged_is(node, uri),
    };
    if may_match { build(node).map_err(|e| error(node, e)) } else { Ok(None) }
}

/// The element as a tree.
pub(super) fn element(node: Node<'_>) -> minidom::Element {
    // minidom's builder takes every element; what stands here is for a future one that would not.
    build(node).ok().flatten().unwrap_or_else(|| minidom::Element::bare(node.name(), bridged(node).into_owned()))
}

fn error(node: Node<'_>, source: XsoError) -> PayloadError {
    PayloadError::new(node.ns(), node.name(), source)
}

/// D4: what xmpp-parsers calls the content namespace, whichever that build of it is for.
fn bridged(node: Node<'_>) -> Cow<'_, str> {
    if node.is_content() { Cow::Borrowed(DEFAULT_NS) } else { node.written_ns() }
}

fn bridged_is(node: Node<'_>, uri: &str) -> bool {
    if node.is_content() { uri == DEFAULT_NS } else { node.written_ns() == uri }
}

/// Feeds the element to `T`'s builder; `None` if it is no `T` by its name or attributes.
fn build<T: FromXml>(node: Node<'_>) -> Result<Option<T>, XsoError> {
    let mut walk = node.walk();
    walk.next();
    let (name, attrs) = head(node)?;
    let lang = walk.lang();
    let mut builder = match T::from_events(name, attrs, &Context::empty().with_language(lang.as_deref())) {
        Ok(builder) => builder,
        Err(FromEventsError::Mismatch { .. }) => return Ok(None),
        Err(FromEventsError::Invalid(e)) => return Err(e),
    };
    while let Some(item) = walk.next() {
        let event = match item {
            WalkItem::Start(node) => {
                let (name, attrs) = head(node)?;
                Event::StartElement(EventMetrics::zero(), name, attrs)
            }
            WalkItem::Text(text) => Event::Text(EventMetrics::zero(), text.into_owned()),
            WalkItem::End => Event::EndElement(EventMetrics::zero()),
        };
        let lang = walk.lang();
        if let Some(value) = builder.feed(event, &Context::empty().with_language(lang.as_deref()))? {
            return Ok(Some(value));
        }
    }
    Err(XsoError::Other("the type's builder wanted more than the whole element"))
}

fn head(node: Node<'_>) -> Result<(QName, AttrMap), XsoError> {
    let name = (namespace(bridged(node)), NcName::try_from(node.name())?);
    let mut attrs = AttrMap::new();
    for attr in node.attrs() {
        attrs.insert(namespace(attr.ns()), NcName::try_from(attr.name())?, attr.value().into_owned());
    }
    Ok((name, attrs))
}

fn namespace(uri: Cow<'_, str>) -> Namespace<'static> {
    match KNOWN.get(&*uri) {
        Some(known) => Namespace::from_str(known),
        None => Namespace::from(uri.into_owned()),
    }
}

/// Namespaces that need no allocation.
static KNOWN: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for ns in ns::KNOWN {
        known.insert(*ns, *ns);
    }
    known.insert(DEFAULT_NS, DEFAULT_NS);
    known.insert("", "");
    known
});
