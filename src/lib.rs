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
//! | what others are and can do | [`xep::disco`], [`xep::caps`] |
//! | ping, version, time, idle time | [`xep`] |
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
//! > A message that `send` accepted is never dropped silently and is never knowingly sent twice: it is sent until the server
//! > acknowledges it, always under the same `id` and origin-id, or its token says why not. After a resume it reaches the server
//! > exactly once. After a lost session a second copy is avoided wherever the server's counter (`<failed h>`) or an archive can
//! > tell; where neither can, it may be sent twice, the token says `resent_unverified`, and a receiving xmppkit drops the copy
//! > (same sender, same origin-id). Ephemeral messages (chat states, no-store) are not re-sent after a lost session.
//!
//! This needs a server that acknowledges (XEP-0198, as all common ones do); without, the token of a message says `written` and no
//! more. Over the end of the process it needs a store that outlives it (feature `sqlite`).
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
//! | `sqlite` | the [store] in an SQLite file, by the system's SQLite: 3.40 or newer, with FTS5 |
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
#[cfg(xmppkit_sabotage)]
mod sabotage;
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
