//! Tests of the layer as a whole.

mod corpus;
mod differential;
mod meaning;
