//! Extension protocols that need no module of their own, one file or folder each.
//!
//! | for | look at |
//! |---|---|
//! | what somebody is and can do, and what we say of ourselves | [`disco`] |
//! | what contacts' clients can do, without asking each | [`caps`] |
//! | whether somebody can be reached | [`ping`] |
//! | which program somebody runs | [`version`] |
//! | what time it is where somebody is | [`time`] |
//! | how long somebody has been away, idle, or up | [`last_activity`] |
//! | that nobody is looking just now | [`csi`] |
//! | to be notified while away | [`push`] |

pub mod caps;
pub mod carbons;
pub mod csi;
pub mod disco;
pub mod last_activity;
pub mod ping;
pub mod push;
pub mod time;
pub mod version;
