//! Authentication (RFC 6120 §6, RFC 4422): mechanisms, their choice, and what each needs from outside.
//!
//! Everything here is pure: random bytes, channel bindings and remembered values come in, bytes go out, and the one
//! expensive step (PBKDF2) is a value, [`KeyRequest`], that the caller runs where blocking is allowed.
//!
//! The way of one login: [`select`] picks a [`Mechanism`] from what the server offers, strongest first, under a
//! [`Policy`]; [`Mechanism::start`] and [`Mechanism::challenge`] say what to send; [`Mechanism::success`] decides whether
//! the server's success is believed, and gives what the next login should remember ([`Success`]).
//!
//! ```
//! use xmppkit::auth::{Credentials, Facts, MechanismContext, Policy, Step, select};
//!
//! let offered = ["SCRAM-SHA-1".to_owned(), "SCRAM-SHA-256".to_owned(), "PLAIN".to_owned()];
//! let facts = Facts::new(&offered).tls(true);
//! let credentials = Credentials::new("juliet", "r0m30myr0m30");
//! let mut mechanism = select(&facts, &Policy::default(), &credentials, &[])?;
//! assert_eq!(mechanism.name(), "SCRAM-SHA-256");
//!
//! // In a program these are fresh random bytes.
//! let cx = MechanismContext::new([7; 24]);
//! let Step::Send(first) = mechanism.start(&cx) else { panic!() };
//! assert!(first.starts_with(b"n,,n=juliet,r="));
//! # Ok::<(), xmppkit::error::AuthError>(())
//! ```

mod adapter;
mod credentials;
mod keys;
mod plain;
mod policy;
mod prep;
mod scram;
mod select;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub use self::adapter::{SaslAdapter, SaslFactory};
pub use self::credentials::{Credentials, Secret};
pub use self::keys::{KeyRequest, ScramHash, ScramKeys};
pub use self::plain::Plain;
pub use self::policy::Policy;
pub use self::scram::{Scram, ScramBinding};
pub use self::select::{ChannelBinding, Facts, MechanismFactory, Pin, select};
use crate::error::AuthError;

/// One SASL exchange, seen from the client.
///
/// A value serves one attempt. The caller carries the bytes: it sends what a [`Step`] says, hands each challenge in, and
/// asks [`success`](Self::success) before it believes that the login worked.
pub trait Mechanism: Send {
    /// The mechanism's registered name, for example `SCRAM-SHA-256`.
    fn name(&self) -> &str;

    /// Begins the exchange: [`Step::Send`] is the initial response, [`Step::ServerFirst`] means that there is none.
    fn start(&mut self, cx: &MechanismContext<'_>) -> Step;

    /// Takes a challenge (decoded) and gives the response.
    fn challenge(&mut self, data: &[u8], cx: &MechanismContext<'_>) -> Step;

    /// Takes the answer to [`Step::NeedKey`]. The default refuses it, for mechanisms that never ask.
    fn key(&mut self, keys: ScramKeys, cx: &MechanismContext<'_>) -> Step {
        let _ = (keys, cx);
        Step::Fail(AuthError::Malformed)
    }

    /// Takes the server's success with its additional data (decoded; `None` where there is none).
    ///
    /// # Errors
    /// A mechanism in which the server proves itself refuses a success that came before the proof
    /// ([`AuthError::SuccessBeforeProof`]) or with a wrong one ([`AuthError::WrongServerSignature`]); the connection must
    /// then be given up.
    fn success(&mut self, data: Option<&[u8]>) -> Result<Success, AuthError>;

    /// Whether this attempt used keys from an earlier login ([`MechanismContext::cached_keys`]) in the place of the
    /// password. On `not-authorized` they are then to be dropped and the password tried once (R34).
    fn used_cached_keys(&self) -> bool {
        false
    }
}

/// What the caller of a [`Mechanism`] is to do next.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Send this (encode it with [`encode`]; it may be empty): at the start as the initial response, later as the answer
    /// to the challenge.
    Send(Vec<u8>),
    /// Only at the start: there is no initial response, the server speaks first.
    ServerFirst,
    /// Run [`KeyRequest::derive`] where blocking is allowed and hand the result to [`Mechanism::key`].
    NeedKey(KeyRequest),
    /// The exchange is complete on this side: answer the challenge with an empty response and wait for success.
    Done {
        /// Whether the server has proved that it knows the credentials.
        verified: bool,
    },
    /// Give up: abort the exchange and report this.
    Fail(AuthError),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A PLAIN message is the password.
            Self::Send(data) => write!(f, "Send({} bytes)", data.len()),
            Self::ServerFirst => f.write_str("ServerFirst"),
            Self::NeedKey(request) => f.debug_tuple("NeedKey").field(request).finish(),
            Self::Done { verified } => f.debug_struct("Done").field("verified", verified).finish(),
            Self::Fail(error) => f.debug_tuple("Fail").field(error).finish(),
        }
    }
}

/// What a login that worked leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Success {
    /// Whether the server proved that it knows the credentials.
    pub verified: bool,
    /// What this login proved the server able to do; [merge](Pin::merge) it into the account's pin.
    pub pin: Pin,
    /// The channel binding type that was used, for example `tls-exporter`.
    pub channel_binding: Option<&'static str>,
    /// Keys that spare the next login the PBKDF2 run ([`MechanismContext::cached_keys`]).
    pub keys: Option<ScramKeys>,
}

impl Success {
    /// A success in which the server proved nothing and nothing is to be remembered.
    #[must_use]
    pub fn unverified() -> Self {
        Self::default()
    }
}

/// How many random bytes an exchange is given ([`MechanismContext::new`]).
pub const RANDOM_BYTES: usize = 24;

/// What a mechanism is given from outside while it runs.
#[derive(Clone)]
#[non_exhaustive]
pub struct MechanismContext<'a> {
    random: [u8; RANDOM_BYTES],
    cached_keys: Option<&'a ScramKeys>,
}

impl<'a> MechanismContext<'a> {
    /// A context with random bytes that were never used before; they become the nonce.
    #[must_use]
    pub fn new(random: [u8; RANDOM_BYTES]) -> Self {
        Self { random, cached_keys: None }
    }

    /// Adds the keys an earlier login left ([`Success::keys`]). They are used only where the server asks for the same
    /// hash, salt and iteration count.
    #[must_use]
    pub fn cached_keys(mut self, keys: Option<&'a ScramKeys>) -> Self {
        self.cached_keys = keys;
        self
    }

    /// The random bytes.
    #[must_use]
    pub fn random(&self) -> &[u8; RANDOM_BYTES] {
        &self.random
    }

    /// The keys an earlier login left.
    #[must_use]
    pub fn keys(&self) -> Option<&'a ScramKeys> {
        self.cached_keys
    }
}

impl fmt::Debug for MechanismContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MechanismContext").field("cached_keys", &self.cached_keys).finish_non_exhaustive()
    }
}

/// Encodes what a mechanism sends, for `<auth/>` and `<response/>`: base64, and `=` for an empty initial response
/// (RFC 6120 §6.4.2).
///
/// ```
/// # use xmppkit::auth::encode;
/// assert_eq!(encode(b"n,,"), "biws");
/// assert_eq!(encode(b""), "=");
/// ```
#[must_use]
pub fn encode(data: &[u8]) -> String {
    if data.is_empty() { "=".to_owned() } else { BASE64.encode(data) }
}

/// Decodes the text of a `<challenge/>` or of the data in a `<success/>`: strict base64 (RFC 6120 §13.9.1 forbids to skip
/// foreign characters), empty or `=` for empty data.
///
/// # Errors
/// [`AuthError::Malformed`] where the text is not base64.
pub fn decode(text: &str) -> Result<Vec<u8>, AuthError> {
    match text {
        "" | "=" => Ok(Vec::new()),
        text => BASE64.decode(text).map_err(|_| AuthError::Malformed),
    }
}

/// What a SASL `<failure/>` with this condition means (RFC 6120 §6.5).
#[must_use]
pub fn refusal(condition: &str) -> AuthError {
    match condition {
        "not-authorized" => AuthError::NotAuthorized,
        "account-disabled" => AuthError::AccountDisabled,
        "credentials-expired" => AuthError::CredentialsExpired,
        "encryption-required" => AuthError::EncryptionRequired,
        "invalid-authzid" => AuthError::InvalidAuthzid,
        "temporary-auth-failure" => AuthError::TemporaryFailure,
        other => AuthError::Refused(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_survive_and_what_is_not_base64_is_refused() {
        for data in [&b""[..], b"a", b"ab", b"abc", b"\0\xff"] {
            assert_eq!(decode(&encode(data)).as_deref(), Ok(data));
        }
        assert_eq!(decode("").as_deref(), Ok(&b""[..]));
        for bad in ["YQ", "YQ=", "YR==", "Y Q==", "YQ==\n", "YQ==YQ==", "==", "\u{e9}"] {
            assert_eq!(decode(bad), Err(AuthError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn each_failure_condition_has_its_error() {
        for (condition, error) in [
            ("not-authorized", AuthError::NotAuthorized),
            ("account-disabled", AuthError::AccountDisabled),
            ("credentials-expired", AuthError::CredentialsExpired),
            ("encryption-required", AuthError::EncryptionRequired),
            ("invalid-authzid", AuthError::InvalidAuthzid),
            ("temporary-auth-failure", AuthError::TemporaryFailure),
            ("malformed-request", AuthError::Refused("malformed-request".to_owned())),
            ("something-new", AuthError::Refused("something-new".to_owned())),
        ] {
            assert_eq!(refusal(condition), error);
        }
    }
}
