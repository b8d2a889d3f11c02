//! xmppkit: an XMPP client library.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod auth;
pub mod connection;
pub mod error;
pub mod store;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod xml;

pub use crate::error::{Error, ErrorKind, Phase, Result};
pub use {jid, minidom, xmpp_parsers, xso};
