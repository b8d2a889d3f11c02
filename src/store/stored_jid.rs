//! An address that many messages share.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use jid::{BareJid, FullJid, Jid};

use crate::xml::SharedJid;

/// An address in a message of the log: a [`Jid`] that costs nothing to copy, since many messages have the same one.
///
/// ```
/// use xmppkit::jid::{BareJid, Jid};
/// use xmppkit::store::StoredJid;
///
/// let juliet: BareJid = "juliet@capulet.example".parse()?;
/// let stored = StoredJid::from(juliet.clone());
/// assert_eq!((stored.as_str(), stored.is_bare()), ("juliet@capulet.example", true));
/// assert_eq!(Jid::from(stored), Jid::from(juliet));
/// # Ok::<(), xmppkit::Error>(())
/// ```
#[derive(Clone)]
pub struct StoredJid(SharedJid);

impl Deref for StoredJid {
    type Target = Jid;

    fn deref(&self) -> &Jid {
        &self.0
    }
}

impl From<SharedJid> for StoredJid {
    fn from(jid: SharedJid) -> Self {
        Self(jid)
    }
}

impl From<Jid> for StoredJid {
    fn from(jid: Jid) -> Self {
        Self(jid.into())
    }
}

impl From<BareJid> for StoredJid {
    fn from(jid: BareJid) -> Self {
        Jid::from(jid).into()
    }
}

impl From<FullJid> for StoredJid {
    fn from(jid: FullJid) -> Self {
        Jid::from(jid).into()
    }
}

impl FromStr for StoredJid {
    type Err = jid::Error;

    fn from_str(text: &str) -> Result<Self, jid::Error> {
        text.parse::<Jid>().map(Self::from)
    }
}

impl From<StoredJid> for Jid {
    fn from(jid: StoredJid) -> Self {
        jid.0.into_jid()
    }
}

impl PartialEq for StoredJid {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for StoredJid {}

impl Hash for StoredJid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialEq<Jid> for StoredJid {
    fn eq(&self, other: &Jid) -> bool {
        **self == *other
    }
}

impl PartialEq<StoredJid> for Jid {
    fn eq(&self, other: &StoredJid) -> bool {
        *self == **other
    }
}

impl fmt::Display for StoredJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for StoredJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
