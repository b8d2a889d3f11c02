//! What the tests on real servers stand on: starting Prosody and ejabberd ([`Server`]), the common view of a server the suite
//! runs against ([`ServerUnderTest`]), and a raw stream that shares no code with the library ([`RawStream`]).
//!
//! docs/testing.md says how to point the suite at any other server.

mod breaker;
mod certs;
mod ejabberd;
mod prosody;
mod raw;
mod server;
mod target;

use std::any::Any;
use std::io::Write as _;

pub(crate) use breaker::Breaker;
pub(crate) use certs::Cert;
pub(crate) use raw::RawStream;
pub(crate) use server::{Kind, Registering, Server, StartError};
pub(crate) use target::{Account, ServerUnderTest, Trust};

/// What a test on a real server fails with: any error, or a text.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a panic says.
#[allow(dead_code, reason = "not every program that starts servers asks")]
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("something that is no text")
}

/// Tells a person something although the test may pass: the test harness holds back what `println!` prints, this it does not.
pub(crate) fn report(text: &str) {
    // Losing a report because stderr is closed is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether a server that is missing is a failure: CI sets `XMPPKIT_REQUIRE_SERVERS=1`.
pub(crate) fn servers_required() -> bool {
    std::env::var("XMPPKIT_REQUIRE_SERVERS").is_ok_and(|v| !v.is_empty() && v != "0")
}
