//! Integration tests: one binary.

mod client;
mod common;
mod connection;
mod disco;
mod durable;
mod errors;
mod presence;
mod real_servers;
mod roster;
mod suite;
mod support;
mod testing_server;
