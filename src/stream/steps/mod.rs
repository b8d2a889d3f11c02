//! The negotiation steps there are.

pub(super) mod before_auth;
pub(super) mod bind;
pub(super) mod plaintext;
pub(super) mod resume;
pub(super) mod sasl;
pub(super) mod start_tls;
