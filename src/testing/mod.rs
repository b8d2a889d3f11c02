//! An in-process XMPP server for tests, with faults and dialects on demand.
