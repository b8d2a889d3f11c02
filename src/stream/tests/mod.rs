//! Table tests of the whole core: no runtime, no socket, no clock.

mod closing;
mod deadlines;
mod framing;
mod garbage;
mod login;
mod management;
mod matching;
mod model;
mod refusals;
mod registration;
mod session;
mod steps;
mod support;
