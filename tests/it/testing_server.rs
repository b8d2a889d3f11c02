//! The in-process server, met by scripted clients that share no code with the library's own.

mod client;
mod faults;
mod login;
mod management;
mod messages;
mod misbehaviour;
mod presence;
mod registration;
mod roster;
