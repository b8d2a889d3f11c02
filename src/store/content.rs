//! What the sender of a message wrote (C11).

use std::cell::Cell;

use crate::xml::{Node, Stanza, ns};

thread_local! {
    /// Where contents are written, one after another.
    static CONTENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest content that the thread keeps room for.
const MAX_KEPT: usize = 64 * 1024;

/// Makes something of what the sender wrote (C11), in a form of its own: names, attributes and text of what is in the message,
/// without what relays add and archives take away. `body` is the text of the first body, decoded already.
pub(crate) fn with_content<T>(stanza: &Stanza, mut body: Option<&str>, make: impl FnOnce(&[u8]) -> T) -> T {
    let mut out = CONTENT.take();
    out.clear();
    for child in stanza.children().filter(|child| !is_on_the_way(*child)) {
        let text = if child.is(ns::CLIENT, "body") { body.take() } else { None };
        child.write_content(&mut out, text);
    }
    let made = make(&out);
    if out.capacity() <= MAX_KEPT {
        CONTENT.set(out);
    }
    made
}

/// Whether an element is added, or taken away, between the sender and whoever keeps the message.
fn is_on_the_way(child: Node<'_>) -> bool {
    match &*child.ns() {
        ns::DELAY | ns::SID | ns::HINTS | ns::CHAT_STATES | ns::CARBONS | ns::MUC_USER | "urn:xmpp:mam:tmp" => true,
        ns::RECEIPTS => child.name() == "request",
        ns::CHAT_MARKERS => child.name() == "markable",
        _ => false,
    }
}
