//! Integration tests: one binary.

mod archive;
mod carbons;
mod client;
mod common;
mod connection;
mod dialects;
mod disco;
mod durable;
mod errors;
mod examples;
mod hostile;
mod main_job;
mod messaging;
mod presence;
mod real_servers;
mod register;
mod roster;
mod suite;
mod support;
mod testing_server;
