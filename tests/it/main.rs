//! Integration tests: one binary.

mod connection;
mod real_servers;
mod suite;
mod support;
mod testing_server;
