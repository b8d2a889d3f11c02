//! The choice of a mechanism: strongest first, channel binding by the table of R36, nothing weaker than before (R37).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use sasl::client::mechanisms::Anonymous;

use super::scram::{Offer, OfferRule, ScramBinding};
use super::{Credentials, Mechanism, Plain, Policy, SaslAdapter, Scram, ScramHash};
use crate::error::AuthError;

/// What a TLS connection can be bound to: a value both ends of the connection, and nobody in between, have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelBinding {
    /// `tls-server-end-point` (RFC 5929 §4): the hash of the server's certificate.
    ServerEndPoint(Vec<u8>),
    /// `tls-exporter` (RFC 9266): exported keying material of this very connection.
    Exporter(Vec<u8>),
}

impl ChannelBinding {
    /// The registered name of its type, for example `tls-exporter`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ServerEndPoint(_) => "tls-server-end-point",
            Self::Exporter(_) => "tls-exporter",
        }
    }

    /// The value.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Self::ServerEndPoint(data) | Self::Exporter(data) => data,
        }
    }

    /// XEP-0440 rule 7: whatever is stronger than the end-point goes before it.
    fn strength(&self) -> u8 {
        match self {
            Self::ServerEndPoint(_) => 1,
            Self::Exporter(_) => 2,
        }
    }
}

/// What an account's earlier logins proved, and what later ones must not fall below (R37). Kept per account, and
/// `channel_binding` per TLS backend as well, because not every backend can bind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Pin {
    /// The account logged in by SCRAM: PLAIN is refused from then on.
    pub scram: bool,
    /// The account logged in with some channel binding: logins without any are refused from then on, except on connections
    /// with the [`certificate`](Self::certificate).
    pub channel_binding: bool,
    /// The certificate that the account last logged in bound to, as `tls-server-end-point` has it (RFC 5929 §4). Whoever shows
    /// it in TLS has its key: that is all that this binding proves, so a login without any is as safe there.
    pub certificate: Option<Vec<u8>>,
}

impl Pin {
    /// A pin as it was kept, without a certificate.
    #[must_use]
    pub fn new(scram: bool, channel_binding: bool) -> Self {
        Self { scram, channel_binding, certificate: None }
    }

    /// With the certificate of the last login that was bound to one.
    #[must_use]
    pub fn certificate(mut self, end_point: Vec<u8>) -> Self {
        self.certificate = Some(end_point);
        self
    }

    /// This and what a later login proved; a pin never gets looser by this.
    #[must_use]
    pub fn merge(self, later: Self) -> Self {
        Self {
            scram: self.scram || later.scram,
            channel_binding: self.channel_binding || later.channel_binding,
            certificate: later.certificate.or(self.certificate),
        }
    }
}

/// What is known when a mechanism is chosen: the server's offer, the connection, and the account's past.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts<'a> {
    /// The names of all mechanisms the server offers, exactly as it gave them (XEP-0474 hashes them).
    pub mechanisms: &'a [String],
    /// The channel binding types the server announces (XEP-0440), exactly as it gave them; `None` without announcement.
    pub binding_types: Option<&'a [String]>,
    /// Whether this is the Extensible SASL Profile (XEP-0388), which is stricter about contradictory offers.
    pub sasl2: bool,
    /// Whether the connection is inside TLS.
    pub tls: bool,
    /// Every channel binding the connection has.
    pub bindings: &'a [ChannelBinding],
    /// What the account's earlier logins proved.
    pub pin: Pin,
}

impl<'a> Facts<'a> {
    /// An offer of these mechanisms by RFC 6120's SASL, outside TLS, to an account without a past.
    #[must_use]
    pub fn new(mechanisms: &'a [String]) -> Self {
        Self { mechanisms, binding_types: None, sasl2: false, tls: false, bindings: &[], pin: Pin::default() }
    }

    /// Whether the connection is inside TLS.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Every channel binding the connection has.
    #[must_use]
    pub fn bindings(mut self, bindings: &'a [ChannelBinding]) -> Self {
        self.bindings = bindings;
        self
    }

    /// The channel binding types the server announces (XEP-0440); `None` without announcement.
    #[must_use]
    pub fn binding_types(mut self, types: Option<&'a [String]>) -> Self {
        self.binding_types = types;
        self
    }

    /// Whether this is the Extensible SASL Profile (XEP-0388).
    #[must_use]
    pub fn sasl2(mut self, sasl2: bool) -> Self {
        self.sasl2 = sasl2;
        self
    }

    /// What the account's earlier logins proved.
    #[must_use]
    pub fn pin(mut self, pin: Pin) -> Self {
        self.pin = pin;
        self
    }

    fn offers(&self, name: &str) -> bool {
        self.mechanisms.iter().any(|offered| offered == name)
    }

    /// Whether a login here must be bound to the connection.
    fn must_bind(&self) -> bool {
        let is_pinned = |binding: &ChannelBinding| match binding {
            ChannelBinding::ServerEndPoint(end_point) => self.pin.certificate.as_ref() == Some(end_point),
            ChannelBinding::Exporter(_) => false,
        };
        self.pin.channel_binding && !self.bindings.iter().any(is_pinned)
    }
}

/// An application's own mechanism: asked for a value each time the server offers it and nothing stronger is there.
pub trait MechanismFactory: Send + Sync {
    /// The mechanism's registered name, for example `OAUTHBEARER`. A factory goes before a built-in of the same name.
    fn name(&self) -> &str;

    /// How strong it is, where the policy gives no order of its own. For comparison: PLAIN 100; SCRAM-SHA-1 200, -256 300,
    /// -512 400; SCRAM-SHA-1-PLUS 500, -256-PLUS 600, -512-PLUS 700.
    fn strength(&self) -> u16;

    /// Whether it may be used only inside TLS. `true` unless said otherwise; ignored for the name PLAIN.
    fn needs_tls(&self) -> bool {
        true
    }

    /// Whether it binds to the connection, so that it satisfies [`Pin::channel_binding`].
    fn binds_channel(&self, facts: &Facts<'_>) -> bool {
        let _ = facts;
        false
    }

    /// Makes a mechanism for one login.
    ///
    /// # Errors
    /// What ends the login, usually [`AuthError::InvalidCredentials`].
    fn create(&self, credentials: &Credentials, facts: &Facts<'_>) -> Result<Box<dyn Mechanism>, AuthError>;
}

/// Chooses the strongest mechanism that the server offers, the policy allows and the account's past does not forbid.
///
/// Anonymous credentials choose ANONYMOUS and nothing else; ANONYMOUS is never chosen otherwise. PLAIN is chosen only
/// inside TLS, and not where the server offers SCRAM.
///
/// # Errors
/// - [`AuthError::NoMechanism`]: nothing that is offered is acceptable.
/// - [`AuthError::Downgrade`]: only because the account used something stronger before.
/// - [`AuthError::ChannelBindingMismatch`]: the server's offer contradicts itself, or insists on a channel binding that
///   this connection does not have ([`Policy::strict_channel_binding`]).
/// - [`AuthError::InvalidCredentials`]: user name or password cannot be used (RFC 4013).
pub fn select(
    facts: &Facts<'_>,
    policy: &Policy,
    credentials: &Credentials,
    custom: &[Arc<dyn MechanismFactory>],
) -> Result<Box<dyn Mechanism>, AuthError> {
    if credentials.is_anonymous() {
        if facts.offers("ANONYMOUS") {
            return Ok(Box::new(SaslAdapter::new(Anonymous::new()).client_first()));
        }
        return Err(no_mechanism(facts));
    }

    let mut candidates = candidates(facts, policy, credentials, custom);
    // Stable: an application's own goes before a built-in of the same rank.
    candidates.sort_by_key(|&(rank, _)| std::cmp::Reverse(rank));

    let mut refusal = None;
    for (_, candidate) in candidates {
        let (plain, bound) = match &candidate {
            Candidate::Custom(factory) => (factory.name() == "PLAIN", factory.binds_channel(facts)),
            Candidate::Scram(_, choice) => (false, matches!(choice, Choice::Use(ScramBinding::Bound(_), _))),
            Candidate::Plain => (true, false),
        };
        if (plain && facts.pin.scram) || (!bound && facts.must_bind()) {
            refusal = Some(AuthError::Downgrade);
            continue;
        }
        match candidate {
            Candidate::Custom(factory) => return factory.create(credentials, facts),
            Candidate::Scram(_, Choice::Refuse) => return Err(AuthError::ChannelBindingMismatch),
            Candidate::Scram(hash, Choice::Use(binding, rule)) => {
                let offer = Offer::new(facts.mechanisms, facts.binding_types, rule);
                let scram = Scram::new(hash, binding, credentials)?.iterations(policy.iteration_bounds().clone()).offer(offer);
                return Ok(Box::new(scram));
            }
            Candidate::Plain => return Ok(Box::new(Plain::new(credentials)?)),
        }
    }
    Err(refusal.unwrap_or_else(|| no_mechanism(facts)))
}

enum Candidate<'a> {
    Custom(&'a dyn MechanismFactory),
    Scram(ScramHash, Choice),
    Plain,
}

/// What the table of R36 says about SCRAM on this offer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// With this flag, and this demand that the server prove its offer (XEP-0474).
    Use(ScramBinding, OfferRule),
    /// The offer contradicts itself: SCRAM must not go on, and nothing weaker may step in.
    Refuse,
}

fn candidates<'a>(
    facts: &Facts<'_>,
    policy: &Policy,
    credentials: &Credentials,
    custom: &'a [Arc<dyn MechanismFactory>],
) -> Vec<(usize, Candidate<'a>)> {
    let mut found = Vec::new();
    let ranked = |name: &str, strength| if facts.offers(name) { policy.rank(name, strength) } else { None };

    for factory in custom {
        let tls_is_enough = facts.tls || !(factory.needs_tls() || factory.name() == "PLAIN");
        if let Some(rank) = ranked(factory.name(), factory.strength()).filter(|_| tls_is_enough) {
            found.push((rank, Candidate::Custom(factory.as_ref())));
        }
    }
    if credentials.password().is_none() {
        return found;
    }

    let choice = channel_binding(facts, policy);
    let mut unusable = None;
    let mut usable = false;
    for (step, hash) in (0..).step_by(100).zip(ScramHash::ALL.into_iter().rev()) {
        let plus = ranked(hash.mechanism_plus(), 500 + step);
        let bare = ranked(hash.mechanism(), 200 + step);
        let rank = match choice {
            Choice::Use(ScramBinding::Bound(_), _) => plus,
            Choice::Use(..) => bare,
            Choice::Refuse => plus.or(bare),
        };
        if let Some(rank) = rank {
            found.push((rank, Candidate::Scram(hash, choice.clone())));
            usable = true;
        }
        unusable = unusable.max(plus.map(|rank| (rank, hash)));
    }
    if let Some((rank, hash)) = unusable.filter(|_| !usable) {
        // The server has SCRAM, but insists on a channel binding that we lack. PLAIN must not step in.
        found.push((rank, Candidate::Scram(hash, Choice::Refuse)));
    }
    if let Some(rank) = ranked("PLAIN", 100).filter(|_| facts.tls) {
        found.push((rank, Candidate::Plain));
    }
    found
}

/// The table of R36, row by row.
fn channel_binding(facts: &Facts<'_>, policy: &Policy) -> Choice {
    let allowed = |hash: &ScramHash| policy.allows(hash.mechanism_plus());
    let bindings = if facts.tls && ScramHash::ALL.iter().any(allowed) { facts.bindings } else { &[] };
    let plus = facts.mechanisms.iter().any(|name| name.ends_with("-PLUS"));
    let types = facts.binding_types.unwrap_or_default();
    let strict = facts.sasl2 || policy.is_strict();

    if bindings.is_empty() {
        return Choice::Use(ScramBinding::Unsupported, OfferRule::Optional); // row 0
    }
    match (plus, !types.is_empty()) {
        (false, false) => Choice::Use(ScramBinding::NotOffered, OfferRule::Optional), // row 1
        (true, true) => {
            let common = bindings.iter().filter(|b| types.iter().any(|t| t == b.name())).max_by_key(|b| b.strength());
            let offered = ScramHash::ALL.iter().any(|hash| allowed(hash) && facts.offers(hash.mechanism_plus()));
            match common.filter(|_| offered) {
                Some(binding) => Choice::Use(ScramBinding::Bound(binding.clone()), OfferRule::Optional), // row 2
                None if policy.is_strict() => Choice::Use(ScramBinding::Unsupported, OfferRule::Required), // row 3
                None => Choice::Use(ScramBinding::Unsupported, OfferRule::Warn),
            }
        }
        (true, false) | (false, true) if strict => Choice::Refuse, // rows 4 and 5 by XEP-0440
        (true, false) => Choice::Use(ScramBinding::Unsupported, OfferRule::Optional), // row 4, RFC 6120's SASL
        (false, true) => Choice::Use(ScramBinding::NotOffered, OfferRule::Optional), // row 5, RFC 6120's SASL
    }
}

fn no_mechanism(facts: &Facts<'_>) -> AuthError {
    AuthError::NoMechanism { offered: facts.mechanisms.to_vec() }
}
