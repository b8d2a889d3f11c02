//! Integration tests: one binary.

mod real_servers;
mod suite;
mod support;
mod connection;
