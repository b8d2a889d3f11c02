//! Tests of the layer as a whole.

mod allocations;
mod corpus;
mod differential;
mod linear;
mod meaning;
mod payloads;
mod stanzas;
mod writing;
