//! Transport connections: DNS, TCP, TLS and trust.
