//! Extension protocols that need no module of their own, one file or folder each.

pub mod csi;
pub mod carbons;
pub mod disco;
pub mod push;
