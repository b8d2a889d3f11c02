//! The protocol core: one XMPP stream without sockets, clocks, tasks or randomness (RFC 6120).
//!
//! [`StreamCore`] is a state machine. What the network, the clock and the application do goes in as [`Input`]; what is to be
//! done comes out as [`Output`], and as bytes. So a login, a refused certificate, a deadline or a forged success is a table
//! test without a runtime, and the only code with sockets and timers is the driver's.
//!
//! Inside, from the bytes up:
//! - *Framing* lays the items of a stream (header, element, end) into bytes: a TCP stream, or messages by RFC 7395
//!   ([`Framing`]).
//! - *Phases* (plain, secured, authenticated, bound, closing) are types that consume themselves: what needs TLS cannot be
//!   reached without it.
//! - *Steps* negotiate features within a phase. A step says what the stream must and must not have achieved before it runs.
//! - The *session* matches replies to requests by id and sender, numbers what comes in, and keeps how far it was taken over.

mod alphabet;
mod config;
mod core;
mod ending;
mod io;
mod iq;
mod management;
mod numbers;
mod phase;
mod session;
mod step;
mod steps;
mod wire;

#[cfg(test)]
mod tests;

pub use self::alphabet::{Answer, Ask, AskId, BeforeAuth, Ended, Event, Input, Output, SeeOther};
pub use self::config::{CoreConfig, Deadlines, Framing, Role, TlsRule};
pub use self::core::StreamCore;
pub(crate) use self::ending::host_and_port;
pub use self::management::{Resumption, Suspended};
