//! An XMPP server inside the test process, with faults and dialects on demand.
//!
//! It is made for the tests of applications: it listens on loopback, on ports of its own, behind TLS with a CA of its
//! own, and it needs nothing installed and no cleaning up. It speaks RFC 6120 and RFC 6121 (SCRAM and PLAIN, several
//! resources, rosters with versioning, subscriptions, presence, offline messages), XEP-0077 (registration), XEP-0012, XEP-0030,
//! XEP-0092, XEP-0115 (its own), XEP-0198 (stream management), XEP-0199, XEP-0202,
//! XEP-0203, XEP-0280, XEP-0313 with XEP-0441, XEP-0352, and XEP-0357 as far as clients see it. It does not talk to other servers.
//!
//! Turn it on for tests alone:
//!
//! ```toml
//! [dev-dependencies]
//! xmppkit = { version = "0.1", features = ["testing"] }
//! ```
//!
//! # A server for a test
//!
//! ```
//! use xmppkit::testing::{Cut, Server, Target};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let server = Server::builder().domain("example.org").account("romeo", "secret").start().await?;
//! assert_eq!(server.accounts(), [server.jid("romeo")?]);
//!
//! // The client under test: a builder that is set up for this server, or one of your own that is pointed at
//! // `server.address()` and trusts `server.ca_pem()`.
//! let romeo = server.client("romeo")?.build().await?;
//! romeo.connect().await?;
//! server.wait_online(romeo.account()).await; // its presence was sent; now the server has it
//! assert!(server.sessions().iter().any(|session| session.tls));
//! // And then:
//! // server.route_stanza("<message …/>")?;                    … somebody writes to it
//! // server.cut(Target::All, Cut::Rst);                       … its network fails
//! # let _ = (Target::All, Cut::Rst);
//! # Ok::<_, xmppkit::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What a test can do with it
//!
//! - **Play the other side** with [`Server::route_stanza`], from any address, and look at what the client sent with
//!   [`Server::received`], [`Server::roster`], [`Server::sessions`], [`Server::counters`].
//! - **Break the network** of one session or of all: [`cut`](Server::cut), [`stall`](Server::stall),
//!   [`delay`](Server::delay), [`cut_after`](Server::cut_after), [`cut_at`](Server::cut_at), [`inject`](Server::inject), [`kick`](Server::kick),
//!   [`refuse_connections`](Server::refuse_connections), [`stop`](Server::stop), [`restart`](Server::restart).
//! - **Lose sessions** that a client would resume: [`expire_sessions`](Server::expire_sessions),
//!   [`forget_sessions`](Server::forget_sessions).
//! - **Be a bad server**: a [`Misbehaviour`], a [`CertificateKind`], a [`Registration`] that says no.
//! - **Resemble a real server**: a [`Dialect`], whose [`Differences`] can also be changed one by one.
//!
//! `examples/test_your_app.rs` in the repository is the test of a small application from beginning to end.
//!
//! Nothing in it sleeps: [`Server::wait_for`] and [`Server::wait_online`] wait for events, and delays follow tokio's clock,
//! the paused one too.

mod archive;
mod builder;
mod carbons;
mod clock;
mod connection;
mod dialect;
mod disco;
mod faults;
mod features;
mod iq;
mod link;
mod listen;
mod management;
mod message;
mod mobile;
mod options;
mod presence;
mod registration;
mod roster;
mod routing;
mod sasl;
mod scram;
mod server;
mod sessions;
mod state;
mod subscription;
mod tls;
mod tree;

pub use self::builder::Builder;
pub use self::dialect::{
    Dialect, Differences, Management, MessageRouting, Overflow, Oversize, OwnFrom, PushTo, ResourceConflict, Versioning,
    WrongCount,
};
pub use self::faults::{Cut, Moment, Target, Way};
pub use self::options::{CertificateKind, Field, Mechanism, Misbehaviour, Registration};
pub use self::roster::{Contact, Subscription};
pub use self::server::Server;
pub use self::sessions::{Counters, SessionInfo, Traffic};
