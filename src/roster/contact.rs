//! A contact, and how it is read from and written to the wire.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jid::{BareJid, Jid};
use xmpp_parsers::roster::{Ask, Group, Item, Subscription as WireSubscription};

use crate::xml::{Node, ns};

/// An entry of the roster (RFC 6121 §2.1.2), as the server keeps it. Cloning is a reference count.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    fields: Arc<Fields>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fields {
    jid: BareJid,
    name: Option<String>,
    groups: BTreeSet<String>,
    subscription: Subscription,
    ask: bool,
    approved: bool,
}

/// Who sees whose presence, as the roster's owner says it (RFC 6121 §2.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Subscription {
    /// Neither sees the other.
    #[default]
    None,
    /// We see the contact.
    To,
    /// The contact sees us.
    From,
    /// Both.
    Both,
}

impl Subscription {
    /// Whether we see the contact's presence.
    #[must_use]
    pub fn includes_to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// Whether the contact sees our presence.
    #[must_use]
    pub fn includes_from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    /// The value of an `<item/>`'s attribute; none for any but the four, which say no state.
    fn from_attribute(value: Option<&str>) -> Option<Self> {
        match value {
            None | Some("none") => Some(Self::None),
            Some("to") => Some(Self::To),
            Some("from") => Some(Self::From),
            Some("both") => Some(Self::Both),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Subscription {
    /// The word on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        })
    }
}

impl Contact {
    /// A contact without name, groups and subscriptions.
    pub(super) fn new(jid: BareJid) -> Self {
        let fields =
            Fields { jid, name: None, groups: BTreeSet::new(), subscription: Subscription::None, ask: false, approved: false };
        Self { fields: Arc::new(fields) }
    }

    /// The address.
    #[must_use]
    pub fn jid(&self) -> &BareJid {
        &self.fields.jid
    }

    /// The name the user gave the contact.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.fields.name.as_deref()
    }

    /// The groups the user put the contact into, sorted.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.groups.iter().map(String::as_str)
    }

    /// Whether the user put the contact into this group.
    #[must_use]
    pub fn is_in_group(&self, group: &str) -> bool {
        self.fields.groups.contains(group)
    }

    /// Who sees whose presence.
    #[must_use]
    pub fn subscription(&self) -> Subscription {
        self.fields.subscription
    }

    /// Whether the user has asked to see the contact's presence and waits for the answer (`ask`, RFC 6121 §2.1.2.2).
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.fields.ask
    }

    /// Whether the user has approved a subscription that the contact has not asked for yet (RFC 6121 §3.4). Prosody keeps
    /// such approvals and does not tell them.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.fields.approved
    }

    pub(super) fn with_name(mut self, name: &str) -> Self {
        Arc::make_mut(&mut self.fields).name = (!name.is_empty()).then(|| name.to_owned());
        self
    }

    pub(super) fn with_groups(mut self, groups: BTreeSet<String>) -> Self {
        Arc::make_mut(&mut self.fields).groups = groups;
        self
    }

    /// What is the user's to say in a roster set (RFC 6121 §2.1.5).
    pub(super) fn to_item(&self) -> Item {
        Item {
            jid: self.fields.jid.clone(),
            name: self.fields.name.clone(),
            subscription: WireSubscription::None,
            ask: Ask::None,
            groups: self.fields.groups.iter().cloned().map(Group).collect(),
            approved: None,
        }
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contact")
            .field("jid", &self.fields.jid.as_str())
            .field("subscription", &self.fields.subscription)
            .finish_non_exhaustive()
    }
}

/// What one `<item/>` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadItem {
    /// The contact is this.
    Is(Contact),
    /// The contact is gone.
    Removed(BareJid),
}

impl ReadItem {
    pub(super) fn jid(&self) -> &BareJid {
        match self {
            Self::Is(contact) => contact.jid(),
            Self::Removed(jid) => jid,
        }
    }
}

/// Reads an `<item/>`; none if it has no valid bare JID. A subscription state that is none of the known ones is ignored,
/// as RFC 6121 §2.1.2.5 says.
pub(super) fn read_item(node: Node<'_>) -> Option<ReadItem> {
    let jid = Jid::new(&node.attr("jid")?).ok()?.try_into_full().err()?;
    let subscription = node.attr("subscription");
    if subscription.as_deref() == Some("remove") {
        return Some(ReadItem::Removed(jid));
    }
    let groups = node.children().filter(|child| child.is(ns::ROSTER, "group")).map(|group| group.text().into_owned());
    let fields = Fields {
        jid,
        name: node.attr("name").filter(|name| !name.is_empty()).map(Into::into),
        groups: groups.filter(|group| !group.is_empty()).collect(),
        subscription: Subscription::from_attribute(subscription.as_deref()).unwrap_or_default(),
        ask: node.attr("ask").as_deref() == Some("subscribe"),
        approved: matches!(node.attr("approved").as_deref(), Some("true" | "1")),
    };
    Some(ReadItem::Is(Contact { fields: Arc::new(fields) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Frame;

    fn read(xml: &str) -> Option<ReadItem> {
        let frame = Frame::parse(xml).unwrap();
        read_item(frame.root())
    }

    #[test]
    fn an_item_is_read_with_everything_the_server_keeps() {
        let xml = "<item xmlns='jabber:iq:roster' jid='Romeo@Example.net' name='R&amp;J' subscription='to' ask='subscribe' \
                   approved='true'><group>Friends</group><group>Family</group><group/></item>";
        let Some(ReadItem::Is(contact)) = read(xml) else { panic!("not read") };
        assert_eq!(contact.jid().as_str(), "romeo@example.net");
        assert_eq!(contact.name(), Some("R&J"));
        assert_eq!(contact.groups().collect::<Vec<_>>(), ["Family", "Friends"]);
        assert_eq!(contact.subscription(), Subscription::To);
        assert!(contact.is_asked() && contact.is_approved());
    }

    #[test]
    fn a_subscription_is_written_as_it_is_read() {
        for word in ["none", "to", "from", "both"] {
            assert_eq!(Subscription::from_attribute(Some(word)).unwrap().to_string(), word);
        }
    }

    #[test]
    fn values_no_client_may_act_on_are_ignored() {
        let Some(ReadItem::Is(contact)) = read("<item xmlns='jabber:iq:roster' jid='a@b' subscription='ask' ask='unsubscribe'/>")
        else {
            panic!("not read")
        };
        assert_eq!((contact.subscription(), contact.is_asked()), (Subscription::None, false));
    }

    #[test]
    fn an_item_without_a_bare_jid_is_none() {
        for xml in [
            "<item xmlns='jabber:iq:roster'/>",
            "<item xmlns='jabber:iq:roster' jid=''/>",
            "<item xmlns='jabber:iq:roster' jid='a@b/c'/>",
            "<item xmlns='jabber:iq:roster' jid='@b'/>",
        ] {
            assert_eq!(read(xml), None, "{xml}");
        }
    }

    #[test]
    fn a_domain_may_be_a_contact() {
        assert!(matches!(read("<item xmlns='jabber:iq:roster' jid='gateway.example'/>"), Some(ReadItem::Is(_))));
    }
}
