//! What a server keeps (XEP-0441), and from when to when (XEP-0313 §5).

use std::time::SystemTime;

use jid::{BareJid, Jid};
use xmpp_parsers::mam_prefs::{DefaultPrefs, Prefs};

use crate::xml::{Node, ns, parse_datetime};

/// Of whom the server keeps messages in the account's archive (XEP-0441).
///
/// ```no_run
/// use xmppkit::archive::KeepByDefault;
/// use xmppkit::prelude::*;
///
/// # async fn run(client: Client) -> xmppkit::Result<()> {
/// let archive = client.archive().server();
/// let mut preferences = archive.preferences().await?;
/// preferences.default = KeepByDefault::Contacts;
/// preferences.never.push("confessor@example.net".parse()?);
/// let applied = archive.set_preferences(&preferences).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preferences {
    /// What holds for everybody else.
    pub default: KeepByDefault,
    /// Messages to and from these are always kept.
    pub always: Vec<Jid>,
    /// Messages to and from these are never kept.
    pub never: Vec<Jid>,
}

/// Whose messages are kept where nothing else is said (XEP-0441 §2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeepByDefault {
    /// Everybody's.
    Always,
    /// Nobody's. A catch-up then finds nothing, and messages may be missed.
    Never,
    /// Those of contacts in the roster.
    Contacts,
}

impl Preferences {
    /// These, with empty lists.
    #[must_use]
    pub fn new(default: KeepByDefault) -> Self {
        Self { default, always: Vec::new(), never: Vec::new() }
    }

    /// Whether messages to and from this address are kept; by default those of contacts may be.
    #[must_use]
    pub fn keeps(&self, jid: &BareJid, is_contact: bool) -> bool {
        let is_in = |list: &[Jid]| list.iter().any(|other| other.to_bare() == *jid);
        let by_default = match self.default {
            KeepByDefault::Always => true,
            KeepByDefault::Never => false,
            KeepByDefault::Contacts => is_contact,
        };
        !is_in(&self.never) && (by_default || is_in(&self.always))
    }

    pub(super) fn read(prefs: Node<'_>) -> Option<Self> {
        let default = match prefs.attr("default")?.as_ref() {
            "always" => KeepByDefault::Always,
            "never" => KeepByDefault::Never,
            "roster" => KeepByDefault::Contacts,
            _ => return None,
        };
        let list = |what: &str| {
            let jids = prefs.child(ns::MAM, what).into_iter().flat_map(Node::children);
            jids.filter(|child| child.is(ns::MAM, "jid")).filter_map(|jid| Jid::new(jid.text().trim()).ok()).collect()
        };
        Some(Self { default, always: list("always"), never: list("never") })
    }

    pub(super) fn to_payload(&self) -> Prefs {
        let default_ = match self.default {
            KeepByDefault::Always => DefaultPrefs::Always,
            KeepByDefault::Never => DefaultPrefs::Never,
            KeepByDefault::Contacts => DefaultPrefs::Roster,
        };
        Prefs { default_, always: self.always.clone(), never: self.never.clone() }
    }
}

/// The first and the last message of an archive (XEP-0313 §5); none where it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The oldest message.
    pub first: Option<ArchiveEnd>,
    /// The newest message.
    pub last: Option<ArchiveEnd>,
}

/// A message at the end of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveEnd {
    /// Its archive id.
    pub id: String,
    /// When it was sent.
    pub stamp: SystemTime,
}

impl Metadata {
    pub(super) fn read(metadata: Node<'_>) -> Self {
        let end = |what: &str| {
            let end = metadata.child(ns::MAM, what)?;
            Some(ArchiveEnd { id: end.attr("id")?.into_owned(), stamp: parse_datetime(&end.attr("timestamp")?)? })
        };
        Self { first: end("start"), last: end("end") }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::xml::Frame;

    #[test]
    fn preferences_are_read_as_they_are_written() {
        let mut preferences = Preferences::new(KeepByDefault::Contacts);
        preferences.always.push("romeo@montague.example".parse().expect("a JID"));
        preferences.never.push("nurse@capulet.example/x".parse().expect("a JID"));
        let xml = String::from(&minidom::Element::from(preferences.to_payload()));
        let frame = Frame::parse(&xml).expect("XML");
        assert_eq!(Preferences::read(frame.root()), Some(preferences));
        let other = Frame::parse("<prefs xmlns='urn:xmpp:mam:2' default='sometimes'/>").expect("XML");
        assert_eq!(Preferences::read(other.root()), None);
        let bare = Frame::parse("<prefs xmlns='urn:xmpp:mam:2' default='never'/>").expect("XML");
        assert_eq!(Preferences::read(bare.root()), Some(Preferences::new(KeepByDefault::Never)));
    }

    #[test]
    fn an_empty_archive_has_no_ends() {
        let read = |xml: &str| Metadata::read(Frame::parse(xml).expect("XML").root());
        assert_eq!(read("<metadata xmlns='urn:xmpp:mam:2'/>"), Metadata { first: None, last: None });
        let xml = "<metadata xmlns='urn:xmpp:mam:2'><start id='a' timestamp='1970-01-01T00:00:01Z'/><end id='b' timestamp='x'/></metadata>";
        let first = ArchiveEnd { id: "a".to_owned(), stamp: UNIX_EPOCH + Duration::from_secs(1) };
        assert_eq!(read(xml), Metadata { first: Some(first), last: None });
    }
}
