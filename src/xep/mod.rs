//! Extension protocols that need no module of their own, one file or folder each.

pub mod carbons;
pub mod disco;
