//! Authentication (RFC 6120 §6): mechanisms, their choice, and the exchange.
