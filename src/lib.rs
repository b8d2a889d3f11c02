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
//! # When something does not work
//!
//! The library reports by `tracing`: with a subscriber installed (`tracing_subscriber::fmt()` and its `EnvFilter`),
//! `RUST_LOG=xmppkit=debug` tells each step of a connection, in a span that names the account. [`Client::watch_xml`] shows
//! the XML itself, as the example `xml_console` does. Neither holds passwords; traces hold no message bodies either.
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
//! | feature | |
//! |---|---|
//! | `native-tls` (default) | TLS by the operating system's library. Without it there is no TLS, and only [`dangerous_plaintext`](client::ClientBuilder::dangerous_plaintext) connects |
//! | `sqlite` | the [store](store) in an SQLite file, by the system's SQLite: 3.40 or newer, with FTS5 |
//! | `sqlite-bundled` | the same, with an SQLite of its own that is compiled from source (needs a C compiler) |
//! | `testing` | the in-process server, and the contract of a store as tests |
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
