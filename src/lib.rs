//! xmppkit: an XMPP client library.
//!
//! ```no_run
//! use xmppkit::prelude::*;
//!
//! # async fn example() -> xmppkit::Result<()> {
//! let client = Client::builder("romeo@example.org".parse()?).password("secret").build().await?;
//! let mut messages = client.messages().events();
//! client.connect().await?;
//! client.chat(&"juliet@example.org".parse()?).send("Good morrow!").await?;
//! while let Some(message) = messages.next().await {
//!     println!("{}: {}", message.contact(), message.body().unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! | for | look at |
//! |---|---|
//! | a connection | [`Client`], [`client::ClientBuilder`], [`client::State`] |
//! | what arrives | [`event`]: [`event::Subscription`], [`event::Durable`], [`Client::on`] |
//! | an account | [`register`] |
//! | contacts and their presence | [`roster`], [`presence`] |
//! | messages | [`messaging`], copies of the account's other clients' in [`xep::carbons`] |
//! | history | [`archive`] |
//! | asking and ordering | [`Client::iq_get`], [`Client::iq_set`] |
//! | an extension of your own | [`ext`] |
//! | errors | [`Error`], [`ErrorKind`] |
//! | what outlives a connection | [`store`] |
//! | certificates and servers | [`connection`] |
//! | stanzas as bytes | [`xml`] |
//! | tests of your application | `testing` (feature `testing`) |
//!
//! # What is promised
//!
//! A message that arrived reaches every live subscription until the process ends, in order, and every
//! [durable](event::Durable) one until it is acknowledged; or the subscriber is told, in the stream, where items are missing.
//! The [connection state](client::State) says what is so. What cannot succeed is not retried. TLS is required and verified
//! against the JID's domain; the strongest mechanism is used and the server's own proof checked. Nothing from the network can
//! panic, and everything a peer controls has a limit.
//!
//! # Features
//!
//! `native-tls` (default): TLS by the operating system's library. `testing`: the in-process server. Without `native-tls`
//! there is no TLS, and only [`dangerous_plaintext`](client::ClientBuilder::dangerous_plaintext) connects.
//!
//! # Numbers
//!
//! Numbers such as R21, C7 and D12 name rules and decisions: R and C stand in `docs/protocol-rules.md`, D in
//! `docs/decisions.md` of the repository, each with its evidence.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod archive;
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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
