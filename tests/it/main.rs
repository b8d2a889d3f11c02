//! Integration tests: one binary.

mod client;
mod common;
mod connection;
mod durable;
mod errors;
mod real_servers;
mod suite;
mod support;
mod testing_server;
