//! Comparing addresses without making new ones.

use jid::{BareJid, Jid};

/// An address without its resource, as [`Jid::to_bare`] would write it.
///
/// ```
/// use xmppkit::xml::bare_str;
/// assert_eq!(bare_str(&"juliet@capulet.example/balcony".parse()?), "juliet@capulet.example");
/// # Ok::<(), xmppkit::Error>(())
/// ```
#[must_use]
pub fn bare_str(jid: &Jid) -> &str {
    // Not by the slash: a domain that was written with a dot at its end may stand in a full JID with it, and in no bare one.
    let node = jid.node().map_or(0, |node| node.as_str().len() + 1);
    &jid.as_str()[..node + jid.domain().as_str().len()]
}

/// Whether `jid` is this bare JID or one of its resources.
///
/// ```
/// use xmppkit::xml::belongs_to;
/// let juliet = "juliet@capulet.example".parse()?;
/// assert!(belongs_to(&"juliet@capulet.example/balcony".parse()?, &juliet));
/// assert!(!belongs_to(&"romeo@montague.example".parse()?, &juliet));
/// # Ok::<(), xmppkit::Error>(())
/// ```
#[must_use]
pub fn belongs_to(jid: &Jid, bare: &BareJid) -> bool {
    bare_str(jid) == bare.as_str()
}

/// The bare JID of an address. [`Jid::to_bare`] puts it together from its parts anew.
pub(crate) fn bare_of(jid: &Jid) -> BareJid {
    jid.clone().into_bare()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_its_bare_part_alone() {
        let jids =
            ["a@b", "a@b/c", "a@b/c/a@b", "a@bc", "a@bc/d", "ab@b", "b", "b/a@b", "b/c", "a@b.c/d", "a@b./c", "b./c", "A@b./c"];
        for bare in ["a@b", "b", "a@bc", "ab@b", "a@b.c"] {
            let bare: BareJid = bare.parse().expect("a JID");
            for jid in jids {
                let jid: Jid = jid.parse().expect("a JID");
                assert_eq!(belongs_to(&jid, &bare), jid.to_bare() == bare, "{jid} {bare}");
                assert_eq!(bare_of(&jid), jid.to_bare());
                assert_eq!(bare_str(&jid), jid.to_bare().as_str());
            }
        }
    }
}
