//! The extensions every client has unless they are removed: the one place that knows them all.

use crate::ext::Entry;

/// The built-in extensions.
pub(crate) fn extensions() -> Vec<Entry> {
    vec![Entry::new(crate::messaging::Messaging::new()), Entry::new(crate::register::Registration::new())]
}
