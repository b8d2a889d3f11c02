use super::*;
use crate::auth::{MechanismContext, SaslFactory, Step, Success};

const SHA1: &[&str] = &["SCRAM-SHA-1", "PLAIN"];
const ALL: &[&str] = &["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const ALL_PLUS: &[&str] =
    &["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn exporter() -> ChannelBinding {
    ChannelBinding::Exporter(vec![1; 32])
}

fn end_point() -> ChannelBinding {
    ChannelBinding::ServerEndPoint(vec![2; 32])
}

/// An offer to an account inside TLS, and what comes of it: the mechanism's name with the flag of its first message.
#[derive(Clone)]
struct Case {
    mechanisms: Vec<String>,
    types: Option<Vec<String>>,
    bindings: Vec<ChannelBinding>,
    sasl2: bool,
    tls: bool,
    pin: Pin,
    policy: Policy,
    credentials: Credentials,
    custom: Vec<Arc<dyn MechanismFactory>>,
}

impl Case {
    fn new(mechanisms: &[&str]) -> Self {
        Self {
            mechanisms: names(mechanisms),
            types: None,
            bindings: Vec::new(),
            sasl2: false,
            tls: true,
            pin: Pin::default(),
            policy: Policy::default(),
            credentials: Credentials::new("juliet", "secret"),
            custom: Vec::new(),
        }
    }

    fn types(mut self, types: &[&str]) -> Self {
        self.types = Some(names(types));
        self
    }

    fn bindings(mut self, bindings: &[ChannelBinding]) -> Self {
        self.bindings = bindings.to_vec();
        self
    }

    fn sasl2(mut self) -> Self {
        self.sasl2 = true;
        self
    }

    fn pin(mut self, scram: bool, channel_binding: bool) -> Self {
        self.pin = Pin::new(scram, channel_binding);
        self
    }

    fn certificate(mut self, binding: &ChannelBinding) -> Self {
        self.pin = self.pin.certificate(binding.data().to_vec());
        self
    }

    fn strict(mut self) -> Self {
        self.policy = self.policy.strict_channel_binding(true);
        self
    }

    fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn custom(mut self, factory: impl MechanismFactory + 'static) -> Self {
        self.custom.push(Arc::new(factory));
        self
    }

    fn select(&self) -> Result<Box<dyn Mechanism>, AuthError> {
        let facts = Facts::new(&self.mechanisms)
            .tls(self.tls)
            .bindings(&self.bindings)
            .binding_types(self.types.as_deref())
            .sasl2(self.sasl2)
            .pin(self.pin.clone());
        select(&facts, &self.policy, &self.credentials, &self.custom)
    }

    /// For example `SCRAM-SHA-1 y`.
    fn chosen(&self) -> Result<String, AuthError> {
        let mut mechanism = self.select()?;
        let Step::Send(first) = mechanism.start(&cx()) else { return Ok(mechanism.name().to_owned()) };
        let first = String::from_utf8_lossy(&first).into_owned();
        let flag = first.split(',').next().unwrap_or_default();
        Ok(if mechanism.name().starts_with("SCRAM") {
            format!("{} {flag}", mechanism.name())
        } else {
            mechanism.name().to_owned()
        })
    }

    /// What comes of the server's first message with these extensions.
    fn after_first(&self, extensions: &str) -> Step {
        let mut mechanism = self.select().unwrap();
        let Step::Send(first) = mechanism.start(&cx()) else { panic!() };
        let first = String::from_utf8(first).unwrap();
        let nonce = first.split(",r=").nth(1).unwrap();
        mechanism.challenge(format!("r={nonce}server,s=AAAA,i=4096{extensions}").as_bytes(), &cx())
    }

    fn no_mechanism(&self) -> AuthError {
        AuthError::NoMechanism { offered: self.mechanisms.clone() }
    }
}

fn cx() -> MechanismContext<'static> {
    MechanismContext::new([0; 24])
}

fn ok(chosen: &str) -> Result<String, AuthError> {
    Ok(chosen.to_owned())
}

#[test]
fn the_strongest_goes_first() {
    assert_eq!(Case::new(ALL).chosen(), ok("SCRAM-SHA-512 n"));
    assert_eq!(Case::new(&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]).chosen(), ok("SCRAM-SHA-256 n"));
    assert_eq!(Case::new(SHA1).chosen(), ok("SCRAM-SHA-1 n"));
    assert_eq!(Case::new(&["PLAIN", "DIGEST-MD5"]).chosen(), ok("PLAIN"));
    let bound = Case::new(ALL_PLUS).types(&["tls-exporter"]).bindings(&[exporter()]);
    assert_eq!(bound.chosen(), ok("SCRAM-SHA-512-PLUS p=tls-exporter"));
    // Channel binding before the stronger hash.
    let mixed = Case::new(&["SCRAM-SHA-512", "SCRAM-SHA-1-PLUS"]).types(&["tls-exporter"]).bindings(&[exporter()]);
    assert_eq!(mixed.chosen(), ok("SCRAM-SHA-1-PLUS p=tls-exporter"));
}

#[test]
fn the_policy_orders_and_forbids() {
    let policy = |names: &[&str]| Case::new(ALL).policy(Policy::default().only(names.iter().copied())).chosen();
    assert_eq!(policy(&["SCRAM-SHA-1", "SCRAM-SHA-512"]), ok("SCRAM-SHA-1 n"));
    assert_eq!(policy(&["PLAIN"]), ok("PLAIN"));
    assert_eq!(policy(&["SCRAM-SHA-512-PLUS"]), Err(Case::new(ALL).no_mechanism()));
    assert_eq!(Case::new(ALL).policy(Policy::default().without("SCRAM-SHA-512")).chosen(), ok("SCRAM-SHA-256 n"));
    let plain_only = Case::new(&["PLAIN"]).policy(Policy::default().without("PLAIN"));
    assert_eq!(plain_only.chosen(), Err(plain_only.no_mechanism()));
}

#[test]
fn the_iteration_bounds_of_the_policy_reach_the_mechanism() {
    let case = Case::new(SHA1).policy(Policy::default().iterations(5000..=6000));
    assert_eq!(case.after_first(""), Step::Fail(AuthError::IterationsTooLow { asked: 4096, minimum: 5000 }));
}

#[test]
fn nothing_acceptable_names_what_was_offered() {
    for offered in [&["DIGEST-MD5", "X-FOO"][..], &[], &["ANONYMOUS"], &["scram-sha-1"]] {
        assert_eq!(Case::new(offered).chosen(), Err(Case::new(offered).no_mechanism()));
    }
    let mut nothing_given = Case::new(ALL);
    nothing_given.credentials = Credentials::without_password("juliet");
    assert_eq!(nothing_given.chosen(), Err(nothing_given.no_mechanism()));
}

#[test]
fn plain_is_for_tls_only() {
    let mut case = Case::new(&["PLAIN"]);
    case.tls = false;
    assert_eq!(case.chosen(), Err(case.no_mechanism()));
    // Not by an order of the application's own either, nor as its own mechanism.
    case.policy = Policy::default().only(["PLAIN"]);
    assert_eq!(case.chosen(), Err(case.no_mechanism()));
    assert_eq!(case.clone().custom(Own::new("PLAIN", 900).outside_tls()).chosen(), Err(case.no_mechanism()));
    let mut scram = Case::new(ALL);
    scram.tls = false;
    assert_eq!(scram.chosen(), ok("SCRAM-SHA-512 n"));
}

#[test]
fn credentials_that_cannot_be_used_end_the_choice() {
    let mut case = Case::new(ALL);
    case.credentials = Credentials::new("juliet", "a\u{7}b");
    assert_eq!(case.chosen(), Err(AuthError::InvalidCredentials), "PLAIN must not step in");
}

#[test]
fn anonymous_is_chosen_when_asked_for_and_only_then() {
    let mut case = Case::new(&["PLAIN", "SCRAM-SHA-1", "ANONYMOUS"]);
    assert_eq!(case.chosen(), ok("SCRAM-SHA-1 n"));
    case.credentials = Credentials::anonymous();
    let mut mechanism = case.select().unwrap();
    assert_eq!(mechanism.name(), "ANONYMOUS");
    assert_eq!(mechanism.start(&cx()), Step::Send(Vec::new()));
    assert_eq!(mechanism.success(None), Ok(Success::unverified()));
    case.mechanisms = names(ALL);
    assert_eq!(case.chosen(), Err(case.no_mechanism()), "an account must not be guessed");
}

// The table of R36, a test per row.

#[test]
fn row_0_without_a_binding_of_our_own_says_so() {
    for case in [Case::new(ALL), Case::new(ALL_PLUS), Case::new(ALL_PLUS).types(&["tls-exporter"]), Case::new(ALL).types(&["x"])]
    {
        for case in [case.clone(), case.clone().sasl2(), case.clone().strict(), case.strict().sasl2()] {
            assert_eq!(case.chosen(), ok("SCRAM-SHA-512 n"));
        }
    }
    // A binding without TLS is none, and neither is one that the policy never uses.
    let mut outside = Case::new(ALL_PLUS).types(&["tls-exporter"]).bindings(&[exporter()]);
    outside.tls = false;
    assert_eq!(outside.chosen(), ok("SCRAM-SHA-512 n"));
    let unused = Case::new(ALL_PLUS).bindings(&[exporter()]).policy(Policy::default().only(["SCRAM-SHA-256"]));
    assert_eq!(unused.sasl2().chosen(), ok("SCRAM-SHA-256 n"));
}

#[test]
fn row_1_with_nothing_offered_says_that_nothing_was_seen() {
    let case = Case::new(ALL).bindings(&[exporter(), end_point()]);
    for case in [case.clone(), case.clone().sasl2(), case.clone().strict(), case.types(&[])] {
        assert_eq!(case.chosen(), ok("SCRAM-SHA-512 y"));
    }
}

#[test]
fn row_2_with_a_common_type_binds_to_the_strongest() {
    let case = |types: &[&str], bindings: &[ChannelBinding]| Case::new(ALL_PLUS).types(types).bindings(bindings);
    for sasl2 in [false, true] {
        let chosen = |mut case: Case| {
            case.sasl2 = sasl2;
            case.chosen()
        };
        let both = ["tls-server-end-point", "tls-unique", "tls-exporter"];
        assert_eq!(chosen(case(&both, &[end_point(), exporter()])), ok("SCRAM-SHA-512-PLUS p=tls-exporter"));
        assert_eq!(chosen(case(&both, &[exporter(), end_point()])), ok("SCRAM-SHA-512-PLUS p=tls-exporter"));
        assert_eq!(chosen(case(&both, &[end_point()])), ok("SCRAM-SHA-512-PLUS p=tls-server-end-point"));
        assert_eq!(
            chosen(case(&["tls-server-end-point"], &[exporter(), end_point()])),
            ok("SCRAM-SHA-512-PLUS p=tls-server-end-point")
        );
    }
}

#[test]
fn row_3_without_a_common_type_goes_on_unbound_unless_strict() {
    let case = Case::new(&["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"]).types(&["tls-exporter"]).bindings(&[end_point()]);
    // SHA-1 of the offer as the server makes it, by XEP-0474.
    let offer = "SCRAM-SHA-1\u{1e}SCRAM-SHA-1-PLUS\u{1f}tls-exporter";
    let hash = format!(",h={}", super::super::encode(&ScramHash::Sha1.digest(offer.as_bytes())));
    for case in [case.clone(), case.sasl2()] {
        assert_eq!(case.chosen(), ok("SCRAM-SHA-1 n"));
        assert!(matches!(case.after_first(&hash), Step::NeedKey(_)));
        assert!(matches!(case.after_first(""), Step::NeedKey(_)));
        assert_eq!(case.after_first(",h=AAAA"), Step::Fail(AuthError::Downgrade));
        let strict = case.strict();
        assert_eq!(strict.chosen(), ok("SCRAM-SHA-1 n"));
        assert!(matches!(strict.after_first(&hash), Step::NeedKey(_)));
        assert_eq!(strict.after_first(""), Step::Fail(AuthError::ChannelBindingMismatch));
        assert_eq!(strict.after_first(",h=AAAA"), Step::Fail(AuthError::Downgrade));
    }
}

#[test]
fn row_4_bindable_mechanisms_without_types_never_say_that_nothing_was_seen() {
    for case in [Case::new(ALL_PLUS), Case::new(ALL_PLUS).types(&[])] {
        let case = case.bindings(&[exporter(), end_point()]);
        assert_eq!(case.chosen(), ok("SCRAM-SHA-512 n"));
        assert_eq!(case.clone().strict().chosen(), Err(AuthError::ChannelBindingMismatch));
        assert_eq!(case.sasl2().chosen(), Err(AuthError::ChannelBindingMismatch));
    }
}

#[test]
fn row_5_types_without_bindable_mechanisms_are_for_the_server_to_refuse() {
    let case = Case::new(ALL).types(&["tls-exporter"]).bindings(&[exporter()]);
    assert_eq!(case.chosen(), ok("SCRAM-SHA-512 y"));
    assert_eq!(case.clone().strict().chosen(), Err(AuthError::ChannelBindingMismatch));
    assert_eq!(case.sasl2().chosen(), Err(AuthError::ChannelBindingMismatch));
}

#[test]
fn a_hash_that_differs_fails_in_every_row() {
    let ours = [exporter()];
    for case in [
        Case::new(ALL_PLUS),
        Case::new(ALL).bindings(&ours),
        Case::new(ALL_PLUS).types(&["tls-exporter"]).bindings(&ours),
        Case::new(ALL_PLUS).types(&["tls-unique"]).bindings(&ours),
        Case::new(ALL_PLUS).bindings(&ours),
        Case::new(ALL).types(&["tls-exporter"]).bindings(&ours),
    ] {
        assert_eq!(case.after_first(",h=AAAA"), Step::Fail(AuthError::Downgrade), "{:?}", case.chosen());
        assert!(matches!(case.after_first(""), Step::NeedKey(_)));
    }
}

#[test]
fn plain_does_not_step_in_where_scram_insists_on_a_binding_we_lack() {
    let offered = &["SCRAM-SHA-256-PLUS", "PLAIN"];
    let lacking = Err(AuthError::ChannelBindingMismatch);
    assert_eq!(Case::new(offered).chosen(), lacking);
    assert_eq!(Case::new(offered).types(&["tls-unique"]).bindings(&[exporter()]).chosen(), lacking);
    assert_eq!(Case::new(offered).bindings(&[exporter()]).chosen(), lacking);
    // Where the application wants PLAIN and no channel binding, it gets it.
    assert_eq!(Case::new(offered).policy(Policy::default().only(["PLAIN"])).chosen(), ok("PLAIN"));
}

// Pins: R37, C4.

#[test]
fn after_scram_plain_is_a_downgrade() {
    assert_eq!(Case::new(&["PLAIN"]).pin(true, false).chosen(), Err(AuthError::Downgrade));
    assert_eq!(Case::new(&["PLAIN"]).pin(true, false).custom(Own::new("PLAIN", 900)).chosen(), Err(AuthError::Downgrade));
    assert_eq!(Case::new(SHA1).pin(true, false).chosen(), ok("SCRAM-SHA-1 n"), "a weaker hash is none");
    let chosen_plain = Case::new(ALL).pin(true, false).policy(Policy::default().only(["PLAIN"]));
    assert_eq!(chosen_plain.chosen(), Err(AuthError::Downgrade));
}

#[test]
fn after_channel_binding_its_absence_is_a_downgrade_in_every_row() {
    let ours = [exporter()];
    for case in [
        Case::new(ALL_PLUS).types(&["tls-exporter"]),
        Case::new(ALL).bindings(&ours),
        Case::new(ALL_PLUS).types(&["tls-unique"]).bindings(&ours),
        Case::new(ALL_PLUS).bindings(&ours),
        Case::new(ALL).types(&["tls-exporter"]).bindings(&ours),
        Case::new(&["PLAIN"]).bindings(&ours),
    ] {
        for case in [case.clone(), case.sasl2()] {
            assert_eq!(case.pin(true, true).chosen(), Err(AuthError::Downgrade));
        }
    }
    // Another type or hash than last time is none: what is pinned is "some channel binding".
    let other = Case::new(&["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"]).types(&["tls-server-end-point"]).bindings(&[end_point()]);
    assert_eq!(other.pin(true, true).chosen(), ok("SCRAM-SHA-1-PLUS p=tls-server-end-point"));
}

/// Prosody 13 with `tls_server_end_point_hash = "auto"` offers the end point to the first client after its start alone.
#[test]
fn the_certificate_of_a_bound_login_does_without_a_binding_and_another_does_not() {
    let other = ChannelBinding::ServerEndPoint(vec![1; 32]);
    for offered in [SHA1, ALL] {
        let case = |bindings: &[ChannelBinding]| Case::new(offered).bindings(bindings).pin(true, true).certificate(&end_point());
        let is_scram = |chosen: Result<String, AuthError>| chosen.is_ok_and(|chosen| chosen.starts_with("SCRAM-SHA-"));
        assert!(is_scram(case(&[end_point()]).chosen()));
        assert!(is_scram(case(&[exporter(), end_point()]).chosen()));
        assert_eq!(
            case(std::slice::from_ref(&other)).chosen(),
            Err(AuthError::Downgrade),
            "a certificate that nobody vouched for"
        );
        assert_eq!(case(&[]).chosen(), Err(AuthError::Downgrade));
        let data = ChannelBinding::Exporter(end_point().data().to_vec());
        assert_eq!(case(&[data]).chosen(), Err(AuthError::Downgrade), "no certificate");
    }
    let plain = Case::new(&["PLAIN"]).bindings(&[end_point()]).pin(true, true).certificate(&end_point());
    assert_eq!(plain.chosen(), Err(AuthError::Downgrade), "SCRAM is pinned all the same");
}

#[test]
fn an_upgrade_is_always_accepted() {
    let case = Case::new(ALL_PLUS).types(&["tls-exporter"]).bindings(&[exporter()]);
    assert_eq!(case.pin(true, false).chosen(), ok("SCRAM-SHA-512-PLUS p=tls-exporter"));
    assert_eq!(Pin::new(true, false).merge(Pin::new(false, true)), Pin::new(true, true));
    assert_eq!(Pin::default().merge(Pin::default()), Pin::default());
}

// Mechanisms of applications.

/// A mechanism as an application writes one.
#[derive(Clone)]
struct Own {
    name: &'static str,
    strength: u16,
    needs_tls: bool,
    binds: bool,
}

impl Own {
    fn new(name: &'static str, strength: u16) -> Self {
        Self { name, strength, needs_tls: true, binds: false }
    }

    fn outside_tls(mut self) -> Self {
        self.needs_tls = false;
        self
    }

    fn binding(mut self) -> Self {
        self.binds = true;
        self
    }
}

impl MechanismFactory for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn strength(&self) -> u16 {
        self.strength
    }

    fn needs_tls(&self) -> bool {
        self.needs_tls
    }

    fn binds_channel(&self, _facts: &Facts<'_>) -> bool {
        self.binds
    }

    fn create(&self, _credentials: &Credentials, _facts: &Facts<'_>) -> Result<Box<dyn Mechanism>, AuthError> {
        Ok(Box::new(Running(self.name)))
    }
}

struct Running(&'static str);

impl Mechanism for Running {
    fn name(&self) -> &str {
        self.0
    }

    fn start(&mut self, _cx: &MechanismContext<'_>) -> Step {
        Step::ServerFirst
    }

    fn challenge(&mut self, _data: &[u8], _cx: &MechanismContext<'_>) -> Step {
        Step::Done { verified: false }
    }

    fn success(&mut self, _data: Option<&[u8]>) -> Result<Success, AuthError> {
        Ok(Success::unverified())
    }
}

#[test]
fn an_own_mechanism_stands_where_its_strength_puts_it() {
    let offered = &["PLAIN", "SCRAM-SHA-1", "X-OWN"];
    assert_eq!(Case::new(offered).custom(Own::new("X-OWN", 250)).chosen(), ok("X-OWN"));
    assert_eq!(Case::new(offered).custom(Own::new("X-OWN", 150)).chosen(), ok("SCRAM-SHA-1 n"));
    assert_eq!(Case::new(&["PLAIN"]).custom(Own::new("X-OWN", 150)).chosen(), ok("PLAIN"), "only where it is offered");
    let named = Case::new(offered).custom(Own::new("X-OWN", 150)).policy(Policy::default().only(["X-OWN", "SCRAM-SHA-1"]));
    assert_eq!(named.chosen(), ok("X-OWN"));
    let mut alone = Case::new(offered).custom(Own::new("X-OWN", 1));
    alone.credentials = Credentials::without_password("juliet");
    assert_eq!(alone.chosen(), ok("X-OWN"));
}

#[test]
fn an_own_mechanism_goes_before_a_built_in_of_its_name() {
    assert_eq!(Case::new(SHA1).custom(Own::new("SCRAM-SHA-1", 200)).chosen(), ok("SCRAM-SHA-1"));
}

#[test]
fn an_own_mechanism_is_for_tls_unless_it_says_otherwise() {
    let mut case = Case::new(&["X-OWN"]).custom(Own::new("X-OWN", 150));
    case.tls = false;
    assert_eq!(case.chosen(), Err(case.no_mechanism()));
    assert_eq!(case.clone().custom(Own::new("X-OWN", 150).outside_tls()).chosen(), ok("X-OWN"));
}

#[test]
fn an_own_mechanism_satisfies_the_pin_only_if_it_binds() {
    let case = Case::new(&["X-OWN"]).pin(true, true);
    assert_eq!(case.clone().custom(Own::new("X-OWN", 150)).chosen(), Err(AuthError::Downgrade));
    assert_eq!(case.custom(Own::new("X-OWN", 150).binding()).chosen(), ok("X-OWN"));
}

#[test]
fn a_mechanism_of_the_sasl_crate_is_chosen_like_any_other() {
    let factory = SaslFactory::new("ANONYMOUS", 900, |_: &Credentials| Ok(Anonymous::new()));
    let mut mechanism = Case::new(&["PLAIN", "ANONYMOUS"]).custom(factory).select().unwrap();
    assert_eq!(mechanism.name(), "ANONYMOUS");
    assert_eq!(mechanism.start(&cx()), Step::ServerFirst);
    assert_eq!(mechanism.challenge(b"", &cx()), Step::Send(Vec::new()));
}
