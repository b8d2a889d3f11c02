//! SCRAM (RFC 5802, RFC 7677) with and without channel binding, and its downgrade protection (XEP-0474).

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use self::parse::{ServerFinal, ServerFirst};
use super::prep::prepare;
use super::{
    ChannelBinding, Credentials, KeyRequest, Mechanism, MechanismContext, Pin, ScramHash, ScramKeys, Secret, Step, Success,
};
use crate::error::AuthError;

/// What a SCRAM exchange tells the server about channel binding (RFC 5802 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScramBinding {
    /// `n`: this side has none.
    Unsupported,
    /// `y`: this side has one, and saw none offered. A server that did offer it refuses.
    NotOffered,
    /// `p`: the exchange is bound to this.
    Bound(ChannelBinding),
}

/// The SCRAM mechanisms: SHA-512, SHA-256 and SHA-1, each with and without channel binding (`-PLUS`).
///
/// Neither side sends the password; each proves that it knows it, and [`success`](Mechanism::success) accepts nothing
/// before the server's proof (R32). The server's messages are parsed strictly (R33).
pub struct Scram {
    hash: ScramHash,
    binding: ScramBinding,
    /// `n=` of the first message, escaped.
    username: String,
    /// `a=` with its comma-separated place, escaped; empty without.
    authzid: String,
    password: Secret,
    iterations: RangeInclusive<u32>,
    offer: Option<Offer>,
    state: State,
    used_cached_keys: bool,
}

enum State {
    Initial,
    FirstSent { nonce: String, first_bare: String },
    Deriving { salt: Vec<u8>, iterations: u32, pending: Pending },
    FinalSent { server_signature: Vec<u8>, keys: ScramKeys },
    Verified { server_signature: Vec<u8>, keys: ScramKeys },
    Over,
}

/// What the final message is made of, once there are keys.
struct Pending {
    first_bare: String,
    server_first: String,
    nonce: String,
}

impl Scram {
    /// An exchange for these credentials.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`] without a password, or where user name, password or the account to act as hold what
    /// SASLprep forbids (RFC 4013) or are empty.
    pub fn new(hash: ScramHash, binding: ScramBinding, credentials: &Credentials) -> Result<Self, AuthError> {
        let password = credentials.password().ok_or(AuthError::InvalidCredentials)?;
        let authzid = match credentials.authzid() {
            Some(authzid) => format!("a={}", saslname(authzid)?),
            None => String::new(),
        };
        Ok(Self {
            hash,
            binding,
            username: saslname(&prepare(credentials.username())?)?,
            authzid,
            password: Secret::new(prepare(password.expose())?),
            iterations: 4096..=1_000_000,
            offer: None,
            state: State::Initial,
            used_cached_keys: false,
        })
    }

    /// How many PBKDF2 iterations the server may ask for; 4096 to 1,000,000 unless set (R34).
    #[must_use]
    pub fn iterations(mut self, range: RangeInclusive<u32>) -> Self {
        self.iterations = range;
        self
    }

    /// Compares the server's hash of its offer with what arrived.
    pub(super) fn offer(mut self, offer: Offer) -> Self {
        self.offer = Some(offer);
        self
    }

    fn first(&mut self, nonce: String) -> Step {
        let first_bare = format!("n={},r={nonce}", self.username);
        let message = format!("{}{first_bare}", self.gs2_header());
        self.state = State::FirstSent { nonce, first_bare };
        Step::Send(message.into_bytes())
    }

    fn gs2_header(&self) -> String {
        match &self.binding {
            ScramBinding::Unsupported => format!("n,{},", self.authzid),
            ScramBinding::NotOffered => format!("y,{},", self.authzid),
            ScramBinding::Bound(binding) => format!("p={},{},", binding.name(), self.authzid),
        }
    }

    fn server_first(
        &mut self,
        data: &[u8],
        our_nonce: &str,
        first_bare: String,
        cached: Option<&ScramKeys>,
    ) -> Result<Step, AuthError> {
        let text = parse::text(data)?;
        let ServerFirst { nonce, salt, iterations, offer_hash } = parse::server_first(text)?;
        if !nonce.starts_with(our_nonce) || nonce.len() == our_nonce.len() {
            return Err(AuthError::WrongNonce);
        }
        let (minimum, maximum) = (*self.iterations.start(), *self.iterations.end());
        if iterations < minimum {
            return Err(AuthError::IterationsTooLow { asked: iterations, minimum });
        }
        if iterations > maximum {
            return Err(AuthError::IterationsTooHigh { asked: iterations, maximum });
        }
        if let Some(offer) = &self.offer {
            offer.check(self.hash, offer_hash.as_deref())?;
        }
        let pending = Pending { first_bare, server_first: text.to_owned(), nonce: nonce.to_owned() };
        match cached.filter(|keys| keys.fit(self.hash, &salt, iterations)) {
            Some(keys) => {
                self.used_cached_keys = true;
                Ok(self.client_final(keys.clone(), &pending))
            }
            None => {
                let request = KeyRequest::new(self.hash, salt.clone(), iterations, self.password.clone());
                self.state = State::Deriving { salt, iterations, pending };
                Ok(Step::NeedKey(request))
            }
        }
    }

    fn client_final(&mut self, keys: ScramKeys, pending: &Pending) -> Step {
        let Pending { first_bare, server_first, nonce } = pending;
        let mut binding_input = self.gs2_header().into_bytes();
        if let ScramBinding::Bound(binding) = &self.binding {
            binding_input.extend_from_slice(binding.data());
        }
        let without_proof = format!("c={},r={nonce}", BASE64.encode(binding_input));
        let auth_message = format!("{first_bare},{server_first},{without_proof}");

        let stored_key = Zeroizing::new(self.hash.digest(keys.client_key()));
        let mut proof = self.hash.hmac(&stored_key, auth_message.as_bytes());
        for (byte, key) in proof.iter_mut().zip(keys.client_key()) {
            *byte ^= key;
        }
        let message = format!("{without_proof},p={}", BASE64.encode(proof));
        let server_signature = self.hash.hmac(keys.server_key(), auth_message.as_bytes());
        self.state = State::FinalSent { server_signature, keys };
        Step::Send(message.into_bytes())
    }

    fn succeed(&self, keys: ScramKeys) -> Success {
        let binding = match &self.binding {
            ScramBinding::Bound(binding) => Some(binding),
            _ => None,
        };
        let mut pin = Pin::new(true, binding.is_some());
        if let Some(ChannelBinding::ServerEndPoint(end_point)) = binding {
            pin = pin.certificate(end_point.clone());
        }
        Success { verified: true, pin, channel_binding: binding.map(ChannelBinding::name), keys: Some(keys) }
    }
}

/// Checks the server's final message against the signature it must have.
fn verify(data: &[u8], signature: &[u8]) -> Result<(), AuthError> {
    match parse::server_final(parse::text(data)?)? {
        ServerFinal::Verifier(theirs) if bool::from(theirs.ct_eq(signature)) => Ok(()),
        ServerFinal::Verifier(_) => Err(AuthError::WrongServerSignature),
        ServerFinal::Error(error) => Err(error),
    }
}

/// Escapes what goes into `n=` and `a=` (RFC 5802 §5.1).
fn saslname(text: &str) -> Result<String, AuthError> {
    if text.is_empty() || text.contains('\0') {
        return Err(AuthError::InvalidCredentials);
    }
    Ok(text.replace('=', "=3D").replace(',', "=2C"))
}

impl Mechanism for Scram {
    fn name(&self) -> &str {
        match self.binding {
            ScramBinding::Bound(_) => self.hash.mechanism_plus(),
            _ => self.hash.mechanism(),
        }
    }

    fn start(&mut self, cx: &MechanismContext<'_>) -> Step {
        match self.state {
            State::Initial => self.first(BASE64.encode(cx.random())),
            _ => self.fail(AuthError::Malformed),
        }
    }

    fn challenge(&mut self, data: &[u8], cx: &MechanismContext<'_>) -> Step {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::FirstSent { nonce, first_bare } => self.server_first(data, &nonce, first_bare, cx.keys()),
            State::FinalSent { server_signature, keys } => verify(data, &server_signature).map(|()| {
                self.state = State::Verified { server_signature, keys };
                Step::Done { verified: true }
            }),
            _ => Err(AuthError::Malformed),
        };
        step.unwrap_or_else(|error| self.fail(error))
    }

    fn key(&mut self, keys: ScramKeys, _cx: &MechanismContext<'_>) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Deriving { salt, iterations, pending } if keys.fit(self.hash, &salt, iterations) => {
                self.client_final(keys, &pending)
            }
            _ => self.fail(AuthError::Malformed),
        }
    }

    fn success(&mut self, data: Option<&[u8]>) -> Result<Success, AuthError> {
        let data = data.filter(|data| !data.is_empty());
        match (std::mem::replace(&mut self.state, State::Over), data) {
            (State::Verified { keys, .. }, None) => Ok(self.succeed(keys)),
            (State::FinalSent { server_signature, keys } | State::Verified { server_signature, keys }, Some(data)) => {
                verify(data, &server_signature)?;
                Ok(self.succeed(keys))
            }
            _ => Err(AuthError::SuccessBeforeProof),
        }
    }

    fn used_cached_keys(&self) -> bool {
        self.used_cached_keys
    }
}

impl Scram {
    fn fail(&mut self, error: AuthError) -> Step {
        self.state = State::Over;
        Step::Fail(error)
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Initial => "initial",
            State::FirstSent { .. } => "first message sent",
            State::Deriving { .. } => "deriving keys",
            State::FinalSent { .. } => "final message sent",
            State::Verified { .. } => "verified",
            State::Over => "over",
        };
        f.debug_struct("Scram")
            .field("name", &self.name())
            .field("username", &self.username)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// What the server offered, as it arrived, to be compared with the server's own hash of it (XEP-0474).
#[derive(Debug, Clone)]
pub(super) struct Offer {
    text: String,
    rule: OfferRule,
}

/// What a missing hash means. One that is there and differs fails always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfferRule {
    /// Nothing.
    Optional,
    /// The offer is odd, but goes through with a warning (C5).
    Warn,
    /// The offer is odd and unproved: refused.
    Required,
}

impl Offer {
    pub(super) fn new(mechanisms: &[String], binding_types: Option<&[String]>, rule: OfferRule) -> Self {
        let mut text = sorted(mechanisms);
        if let Some(types) = binding_types {
            text.push('\u{1f}');
            text.push_str(&sorted(types));
        }
        Self { text, rule }
    }

    fn check(&self, hash: ScramHash, theirs: Option<&str>) -> Result<(), AuthError> {
        match theirs {
            Some(theirs) if theirs == BASE64.encode(hash.digest(self.text.as_bytes())) => Ok(()),
            Some(_) => Err(AuthError::Downgrade),
            None if self.rule == OfferRule::Required => Err(AuthError::ChannelBindingMismatch),
            None => {
                if self.rule == OfferRule::Warn {
                    tracing::warn!(
                        "the server offers channel binding, but none this connection has, and does not prove its offer (XEP-0474); \
                         logging in without channel binding"
                    );
                }
                Ok(())
            }
        }
    }
}

/// Octet order, which is what `str` compares by.
fn sorted(names: &[String]) -> String {
    let mut names: Vec<_> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.join("\u{1e}")
}
