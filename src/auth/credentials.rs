//! What an account logs in with.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret text, such as a password: wiped from memory when dropped, and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret over.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The text itself. Keep copies as short-lived as can be.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(secret: T) -> Self {
        Self::new(secret)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What an account logs in with: a user name with a password, nothing (ANONYMOUS), or only a name, where an
/// application's own mechanism has the rest.
///
/// ```
/// use xmppkit::auth::Credentials;
/// let credentials = Credentials::new("juliet", "r0m30myr0m30");
/// assert!(!format!("{credentials:?}").contains("r0m30"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    username: String,
    password: Option<Secret>,
    authzid: Option<String>,
    anonymous: bool,
}

impl Credentials {
    /// A user name (the local part of the account's JID, RFC 6120 §6.3.8) and its password.
    pub fn new(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { username: username.into(), password: Some(password.into()), authzid: None, anonymous: false }
    }

    /// A user name alone, for an application's own mechanism ([`MechanismFactory`](super::MechanismFactory)).
    pub fn without_password(username: impl Into<String>) -> Self {
        Self { username: username.into(), password: None, authzid: None, anonymous: false }
    }

    /// No account: the server gives a temporary one (ANONYMOUS, RFC 4505). Nothing else is then tried, and ANONYMOUS is
    /// never tried with other credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { username: String::new(), password: None, authzid: None, anonymous: true }
    }

    /// Acts as another account, where the server lets this one (RFC 6120 §6.3.8): its bare JID.
    #[must_use]
    pub fn acting_as(mut self, authzid: impl Into<String>) -> Self {
        self.authzid = Some(authzid.into());
        self
    }

    /// The user name; empty for anonymous ones.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, if there is one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The account to act as, if it is another.
    #[must_use]
    pub fn authzid(&self) -> Option<&str> {
        self.authzid.as_deref()
    }

    /// Whether these ask for a temporary account.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }
}
