//! Mistakes that are put in on purpose, to see that the soak finds them. This is there with `--cfg xmppkit_sabotage` only;
//! `XMPPKIT_SABOTAGE` says which is made.

use std::sync::OnceLock;

/// Whether this mistake is to be made.
pub(crate) fn is(mistake: &str) -> bool {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    WANTED.get_or_init(|| std::env::var("XMPPKIT_SABOTAGE").ok()).as_deref() == Some(mistake)
}
