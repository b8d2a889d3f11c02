//! xmppkit: an XMPP client library.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod auth;
mod builtin;
pub mod client;
pub mod connection;
mod driver;
pub mod error;
pub mod event;
pub mod ext;
pub mod messaging;
pub mod prelude;
pub mod presence;
pub mod register;
pub mod roster;
pub mod store;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod xep;
pub mod xml;

pub use crate::client::Client;
pub use crate::error::{Error, ErrorKind, Phase, Result};
pub use {jid, minidom, xmpp_parsers, xso};
