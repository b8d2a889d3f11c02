//! Integration tests: one binary.

mod account;
mod archive;
mod caps;
mod carbons;
mod client;
mod common;
mod confirm;
mod connection;
mod dialects;
mod disco;
mod durable;
mod errors;
mod examples;
mod hostile;
mod main_job;
mod management;
mod messaging;
mod presence;
mod real_servers;
mod register;
mod roster;
mod suite;
mod support;
mod testing_server;
mod xep;
mod xml_traffic;
