//! Extension protocols that need no module of their own, one file or folder each.

pub mod caps;
pub mod disco;
pub mod last_activity;
pub mod ping;
pub mod time;
pub mod version;
