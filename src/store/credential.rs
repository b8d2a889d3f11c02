//! Secrets: what an account store keeps so that a login is shorter and cannot be downgraded.
//!
//! The store sees names and bytes. The functions here make the names, so that all that look for a secret agree on them.

use std::fmt;

use zeroize::Zeroizing;

/// The user-agent id (UUID version 4) of XEP-0388. It belongs to the opened account store, so that two clients never share one (R42).
pub const USER_AGENT_ID: &str = "user-agent-id";

/// There once SCRAM succeeded: PLAIN is then a downgrade (R37, C4).
pub const SCRAM_SEEN: &str = "seen/scram";

/// What the names of all cached SCRAM keys begin with; they are dropped on `not-authorized` (R34).
pub const SCRAM_KEYS: &str = "scram/";

/// What the names of all FAST tokens begin with (R40).
pub const FAST_TOKENS: &str = "fast/";

/// The name of the SCRAM keys cached for this hash (`SHA-256`), salt and iteration count (R34).
#[must_use]
pub fn scram_keys(hash: &str, salt: &[u8], iterations: u32) -> String {
    use base64::Engine as _;
    format!("{SCRAM_KEYS}{hash}/{iterations}/{}", base64::engine::general_purpose::STANDARD.encode(salt))
}

/// The name of the mark that this TLS backend once logged in with channel binding, and with what certificate (R37, C4).
#[must_use]
pub fn channel_binding_seen(backend: &str) -> String {
    format!("seen/channel-binding/{backend}")
}

/// The name of the FAST token for this mechanism (R40).
#[must_use]
pub fn fast_token(mechanism: &str) -> String {
    format!("{FAST_TOKENS}{mechanism}")
}

/// The name of the remembered SASL2 and FAST features of this domain (R38).
#[must_use]
pub fn features(domain: &str) -> String {
    format!("features/{domain}")
}

/// Bytes that are zeroed when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for use and for storing.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
