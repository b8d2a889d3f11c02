//! Comparing addresses without making new ones.

use jid::{BareJid, Jid};

/// Whether `jid` is this bare JID or one of its resources.
pub(crate) fn belongs_to(jid: &Jid, bare: &BareJid) -> bool {
    // A bare JID has no slash, so a prefix that ends at one is the bare part.
    match jid.as_str().strip_prefix(bare.as_str()) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The bare JID of an address. [`Jid::to_bare`] puts it together from its parts anew, at several times the cost.
pub(crate) fn bare_of(jid: &Jid) -> BareJid {
    jid.clone().into_bare()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_its_bare_part_alone() {
        let jids = ["a@b", "a@b/c", "a@b/c/a@b", "a@bc", "a@bc/d", "ab@b", "b", "b/a@b", "b/c", "a@b.c/d"];
        for bare in ["a@b", "b", "a@bc", "ab@b", "a@b.c"] {
            let bare: BareJid = bare.parse().expect("a JID");
            for jid in jids {
                let jid: Jid = jid.parse().expect("a JID");
                assert_eq!(belongs_to(&jid, &bare), jid.to_bare() == bare, "{jid} {bare}");
            }
        }
    }
}
