//! What outlives a connection: one trait, one atomic batch.
