//! Mechanisms of the `sasl` crate, behind our own trait (D23).

use std::fmt;

use sasl::client::MechanismError;

use super::{Credentials, Facts, Mechanism, MechanismContext, MechanismFactory, Step, Success};
use crate::error::AuthError;

/// Makes a mechanism of the `sasl` crate usable here. It is trusted as it is: a success that it accepts is accepted.
///
/// ```
/// use sasl::client::mechanisms::Anonymous;
/// use xmppkit::auth::{Mechanism, MechanismContext, SaslAdapter, Step};
/// let mut mechanism = SaslAdapter::new(Anonymous::new()).client_first();
/// assert_eq!(mechanism.start(&MechanismContext::new([0; 24])), Step::Send(Vec::new()));
/// ```
pub struct SaslAdapter<M> {
    inner: M,
    client_first: bool,
}

impl<M: sasl::client::Mechanism + Send> SaslAdapter<M> {
    /// Wraps a mechanism. Where its initial response is empty, none is sent (the trait of `sasl` cannot tell "empty" from
    /// "none", and this is right for both, RFC 4422 §5 at the price of a round trip).
    #[must_use]
    pub fn new(inner: M) -> Self {
        Self { inner, client_first: false }
    }

    /// For mechanisms in which the client speaks first: an empty initial response is sent as such.
    #[must_use]
    pub fn client_first(mut self) -> Self {
        self.client_first = true;
        self
    }
}

impl<M: sasl::client::Mechanism + Send> Mechanism for SaslAdapter<M> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn start(&mut self, _cx: &MechanismContext<'_>) -> Step {
        let initial = self.inner.initial();
        if initial.is_empty() && !self.client_first { Step::ServerFirst } else { Step::Send(initial) }
    }

    fn challenge(&mut self, data: &[u8], _cx: &MechanismContext<'_>) -> Step {
        match self.inner.response(data) {
            Ok(response) => Step::Send(response),
            Err(error) => Step::Fail(map(&error)),
        }
    }

    fn success(&mut self, data: Option<&[u8]>) -> Result<Success, AuthError> {
        self.inner.success(data.unwrap_or_default()).map_err(|error| map(&error))?;
        Ok(Success::unverified())
    }
}

impl<M: sasl::client::Mechanism> fmt::Debug for SaslAdapter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslAdapter").field("mechanism", &self.inner.name()).finish_non_exhaustive()
    }
}

fn map(error: &MechanismError) -> AuthError {
    match error {
        MechanismError::AnonymousRequiresNoCredentials
        | MechanismError::PlainRequiresUsername
        | MechanismError::PlainRequiresPlaintextPassword
        | MechanismError::ScramRequiresUsername
        | MechanismError::ScramRequiresPassword => AuthError::InvalidCredentials,
        MechanismError::InvalidSignatureInSuccessResponse => AuthError::WrongServerSignature,
        MechanismError::NoSignatureInSuccessResponse => AuthError::SuccessBeforeProof,
        _ => AuthError::Malformed,
    }
}

/// A [`MechanismFactory`] for a mechanism of the `sasl` crate.
///
/// ```
/// use std::sync::Arc;
/// use xmppkit::auth::{MechanismFactory, SaslFactory};
/// # struct MyToken(String);
/// # impl sasl::client::Mechanism for MyToken {
/// #     fn name(&self) -> &str { "X-MY-TOKEN" }
/// #     fn from_credentials(_: sasl::common::Credentials) -> Result<Self, sasl::client::MechanismError> {
/// #         Err(sasl::client::MechanismError::InvalidState)
/// #     }
/// # }
/// let token = "a token".to_owned();
/// let factory: Arc<dyn MechanismFactory> =
///     Arc::new(SaslFactory::new("X-MY-TOKEN", 650, move |_credentials| Ok(MyToken(token.clone()))));
/// ```
pub struct SaslFactory<F> {
    name: String,
    strength: u16,
    make: F,
}

impl<F, M> SaslFactory<F>
where
    F: Fn(&Credentials) -> Result<M, AuthError> + Send + Sync,
    M: sasl::client::Mechanism + Send + 'static,
{
    /// A factory for the mechanism of this name and [strength](MechanismFactory::strength); `make` is called for each
    /// login.
    pub fn new(name: impl Into<String>, strength: u16, make: F) -> Self {
        Self { name: name.into(), strength, make }
    }
}

impl<F, M> MechanismFactory for SaslFactory<F>
where
    F: Fn(&Credentials) -> Result<M, AuthError> + Send + Sync,
    M: sasl::client::Mechanism + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn strength(&self) -> u16 {
        self.strength
    }

    fn create(&self, credentials: &Credentials, _facts: &Facts<'_>) -> Result<Box<dyn Mechanism>, AuthError> {
        Ok(Box::new(SaslAdapter::new((self.make)(credentials)?)))
    }
}

impl<F> fmt::Debug for SaslFactory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslFactory").field("name", &self.name).field("strength", &self.strength).finish_non_exhaustive()
    }
}
