//! Bytes to stanza frames and back.
