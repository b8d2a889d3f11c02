//! Stanzas as a store keeps them.

use std::fmt;
use std::sync::Arc;

/// A stanza as standalone XML: every namespace and language it needs is written out (R29), so it parses alone.
///
/// Cloning is a reference count. `Debug` shows the length only, for it holds what people wrote.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoredXml(Arc<str>);

impl StoredXml {
    /// From standalone XML.
    pub fn new(xml: impl Into<Arc<str>>) -> Self {
        Self(xml.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its length in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }
}

impl From<String> for StoredXml {
    fn from(xml: String) -> Self {
        Self::new(xml)
    }
}

impl From<&str> for StoredXml {
    fn from(xml: &str) -> Self {
        Self::new(xml)
    }
}

impl fmt::Debug for StoredXml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredXml({} bytes)", self.byte_len())
    }
}
