//! What is acceptable, and in which order.

use std::ops::RangeInclusive;

/// Which mechanisms are acceptable, strongest first, and under which bounds.
///
/// The default: SCRAM with channel binding, SCRAM without, PLAIN (inside TLS only), each by falling strength of the hash.
///
/// ```
/// use xmppkit::auth::Policy;
///
/// // Never give the password away, not even inside TLS.
/// let no_plain = Policy::default().without("PLAIN");
///
/// // Only with channel binding, and only as the specifications have it.
/// let bound = Policy::default()
///     .only(["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS"])
///     .strict_channel_binding(true)
///     .iterations(10_000..=500_000);
/// # assert!(!no_plain.allows("PLAIN") && no_plain.allows("SCRAM-SHA-1"));
/// # assert!(!bound.allows("SCRAM-SHA-256"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    only: Option<Vec<String>>,
    without: Vec<String>,
    iterations: RangeInclusive<u32>,
    strict: bool,
}

impl Policy {
    /// Only these mechanisms, in this order of preference, by their registered names. An application's own mechanisms
    /// ([`MechanismFactory`](super::MechanismFactory)) have to be named too.
    #[must_use]
    pub fn only<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.only = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Never this mechanism.
    #[must_use]
    pub fn without(mut self, name: impl Into<String>) -> Self {
        self.without.push(name.into());
        self
    }

    /// How many PBKDF2 iterations a server may ask for; 4096 (RFC 7677 §4) to 1,000,000 unless set. Fewer make a password
    /// cheap to guess for whoever poses as the server; more are a way to keep this machine busy.
    #[must_use]
    pub fn iterations(mut self, range: RangeInclusive<u32>) -> Self {
        self.iterations = range;
        self
    }

    /// Whether channel binding follows XEP-0440 to the letter. Off by default, because servers in the field would then be
    /// out of reach. Off, three offers are accepted that the specification would have refused:
    ///
    /// - `-PLUS` mechanisms with only binding types this connection does not have (Prosody 13 for a TLS library without
    ///   exporter), and no hash by XEP-0474 to show that the offer is genuine: the login goes on without channel binding;
    /// - `-PLUS` mechanisms without any types, by RFC 6120's SASL (ejabberd 23.01): the same;
    /// - types without any `-PLUS` mechanism, by RFC 6120's SASL: the login goes on, telling the server that no channel
    ///   binding was offered, which a server that did offer it refuses.
    ///
    /// The risk is in the first two: somebody in the middle who *already broke TLS* (with a certificate this client
    /// accepts) can change the offer so that the channel binding that would have shown them up is not used. They still
    /// learn no password, as long as PLAIN is [excluded](Self::without) or the account once used SCRAM, and not at all
    /// where the account used channel binding before ([`Pin`](super::Pin)). On, all three are
    /// [`ChannelBindingMismatch`](crate::error::AuthError::ChannelBindingMismatch).
    #[must_use]
    pub fn strict_channel_binding(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Whether a mechanism of this name is acceptable.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.rank(name, 0).is_some()
    }

    /// Where this mechanism stands, the highest first; `strength` is what it has by itself.
    pub(super) fn rank(&self, name: &str, strength: u16) -> Option<usize> {
        if self.without.iter().any(|n| n == name) {
            return None;
        }
        match &self.only {
            None => Some(strength.into()),
            Some(names) => names.iter().position(|n| n == name).map(|at| names.len() - at),
        }
    }

    pub(super) fn iteration_bounds(&self) -> &RangeInclusive<u32> {
        &self.iterations
    }

    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { only: None, without: Vec::new(), iterations: 4096..=1_000_000, strict: false }
    }
}
