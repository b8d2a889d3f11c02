//! The keys of SCRAM (RFC 5802 §3): derived from the password at a price the server sets, and worth keeping.

use std::fmt;

use hmac::digest::{Digest, KeyInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Secret;

/// The hash function of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ScramHash {
    /// SHA-1 (RFC 5802).
    Sha1,
    /// SHA-256 (RFC 7677).
    Sha256,
    /// SHA-512.
    Sha512,
}

impl ScramHash {
    /// Every hash, strongest first.
    pub(super) const ALL: [Self; 3] = [Self::Sha512, Self::Sha256, Self::Sha1];

    /// The name of the mechanism without channel binding, for example `SCRAM-SHA-256`.
    #[must_use]
    pub fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The name of the mechanism with channel binding, for example `SCRAM-SHA-256-PLUS`.
    #[must_use]
    pub fn mechanism_plus(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1-PLUS",
            Self::Sha256 => "SCRAM-SHA-256-PLUS",
            Self::Sha512 => "SCRAM-SHA-512-PLUS",
        }
    }

    /// The length of its output, in bytes.
    #[must_use]
    pub fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// H(data).
    pub(super) fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    /// HMAC(key, data).
    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        fn run<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
            // HMAC takes keys of every length; the empty vector is never reached, and would fit no signature.
            let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return Vec::new() };
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha1 => run::<Hmac<Sha1>>(key, data),
            Self::Sha256 => run::<Hmac<Sha256>>(key, data),
            Self::Sha512 => run::<Hmac<Sha512>>(key, data),
        }
    }

    /// Hi(password, salt, iterations).
    fn pbkdf2(self, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![0; self.output_len()]);
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut out),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut out),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut out),
        }
        out
    }
}

/// A key derivation the server asked for. It takes milliseconds to seconds ([`Policy::iterations`](super::Policy::iterations)
/// bounds it), so it is a value that the driver runs where blocking is allowed (D2).
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRequest {
    hash: ScramHash,
    salt: Vec<u8>,
    iterations: u32,
    password: Secret,
}

impl KeyRequest {
    /// A derivation of keys from a password, which must have gone through SASLprep where the mechanism wants it.
    #[must_use]
    pub fn new(hash: ScramHash, salt: Vec<u8>, iterations: u32, password: Secret) -> Self {
        Self { hash, salt, iterations, password }
    }

    /// The hash function.
    #[must_use]
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// The salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// How many PBKDF2 iterations.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Derives the keys (RFC 5802 §3: `SaltedPassword`, `ClientKey`, `ServerKey`). Blocks for as long as it takes.
    #[must_use]
    pub fn derive(self) -> ScramKeys {
        let salted = self.hash.pbkdf2(self.password.expose().as_bytes(), &self.salt, self.iterations);
        ScramKeys {
            client_key: self.hash.hmac(&salted, b"Client Key"),
            server_key: self.hash.hmac(&salted, b"Server Key"),
            hash: self.hash,
            salt: self.salt,
            iterations: self.iterations,
        }
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest").field("hash", &self.hash).field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The keys that a password, a salt and an iteration count give. Whoever has them can log in, so they are kept as
/// carefully as the password; they are wiped from memory when dropped, and never printed.
///
/// A store keeps one value per account and hands it to the next login
/// ([`MechanismContext::cached_keys`](super::MechanismContext::cached_keys)).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ScramKeys {
    #[zeroize(skip)]
    hash: ScramHash,
    salt: Vec<u8>,
    iterations: u32,
    client_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl ScramKeys {
    /// Keys as they were kept. `None` where a key does not have the length of the hash's output.
    #[must_use]
    pub fn from_parts(hash: ScramHash, salt: Vec<u8>, iterations: u32, client_key: Vec<u8>, server_key: Vec<u8>) -> Option<Self> {
        let keys = Self { hash, salt, iterations, client_key, server_key };
        (keys.client_key.len() == hash.output_len() && keys.server_key.len() == hash.output_len()).then_some(keys)
    }

    /// The hash function.
    #[must_use]
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// The salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// How many PBKDF2 iterations.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// `ClientKey`: proves this side's knowledge of the password.
    #[must_use]
    pub fn client_key(&self) -> &[u8] {
        &self.client_key
    }

    /// `ServerKey`: checks the server's.
    #[must_use]
    pub fn server_key(&self) -> &[u8] {
        &self.server_key
    }

    /// Whether these are the keys for what the server asks.
    #[must_use]
    pub fn fit(&self, hash: ScramHash, salt: &[u8], iterations: u32) -> bool {
        self.hash == hash && self.iterations == iterations && self.salt == salt
    }
}

impl PartialEq for ScramKeys {
    fn eq(&self, other: &Self) -> bool {
        self.fit(other.hash, &other.salt, other.iterations)
            && bool::from(self.client_key.ct_eq(&other.client_key) & self.server_key.ct_eq(&other.server_key))
    }
}

impl Eq for ScramKeys {}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("hash", &self.hash).field("iterations", &self.iterations).finish_non_exhaustive()
    }
}
