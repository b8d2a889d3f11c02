//! What a peer may make us hold.

/// Bounds on what is read (RFC 6120 §13.12: an entity guards itself against oversized input). Passing one is an
/// [`XmlError`](super::XmlError) and ends the stream.
///
/// The defaults admit what servers really send to a client (a roster of many thousand contacts is one element of some
/// megabytes) and bound what a broken or hostile one can make a client hold.
///
/// ```
/// let mut limits = xmppkit::xml::Limits::default();
/// limits.max_stanza_bytes = 64 * 1024;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of one top-level element, tags included, and of a stream header. Default 16 MiB, at most 512 MiB.
    pub max_stanza_bytes: usize,
    /// The deepest nesting inside one top-level element, which itself is depth 1. Default 128.
    pub max_depth: u16,
    /// The most attributes of one element, namespace declarations included. Default 128.
    pub max_attributes: u16,
    /// The most direct children of one top-level element; deeper elements have no such limit. Default 4096.
    pub max_children: u16,
    /// The most prefix declarations (`xmlns:p='…'`) in one top-level element. Default 256.
    pub max_prefixes: u16,
    /// The most bytes of one element or attribute name. Default 1024.
    pub max_name_bytes: u16,
    /// The most bytes pushed and not yet taken out as items. Default 32 MiB.
    pub max_buffered_bytes: usize,
}

/// Offsets into a frame are 32 bits wide with three bits taken, so sizes stop here whatever is asked for.
const HARD_MAX: usize = 512 << 20;

impl Limits {
    pub(super) fn clamped(mut self) -> Self {
        self.max_stanza_bytes = self.max_stanza_bytes.min(HARD_MAX);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_stanza_bytes: 16 << 20,
            max_depth: 128,
            max_attributes: 128,
            max_children: 4096,
            max_prefixes: 256,
            max_name_bytes: 1024,
            max_buffered_bytes: 32 << 20,
        }
    }
}
