use std::sync::{Arc, Mutex};

use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::*;

fn cx() -> MechanismContext<'static> {
    MechanismContext::new([0; 24])
}

fn credentials() -> Credentials {
    Credentials::new("user", "pencil")
}

/// One exchange with everything the server says, as in the RFCs' examples.
struct Vector {
    hash: ScramHash,
    nonce: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

const VECTORS: [Vector; 3] = [
    // RFC 5802 §5
    Vector {
        hash: ScramHash::Sha1,
        nonce: "fyko+d2lbbFgONRv9qkxdawL",
        server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    // RFC 7677 §3
    Vector {
        hash: ScramHash::Sha256,
        nonce: "rOprNGfwEbeRWgbNEkqO",
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
    // No RFC has one: computed with Python's hashlib and hmac.
    Vector {
        hash: ScramHash::Sha512,
        nonce: "rOprNGfwEbeRWgbNEkqO",
        server_first: "r=rOprNGfwEbeRWgbNEkqO02431b08-2f0c-4bad-a4e6-95c0320c3b65,\
                       s=Yin2FuHTt/M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO02431b08-2f0c-4bad-a4e6-95c0320c3b65,\
                       p=tY63mRPhzskZXIp9P8ljr0O6qaxZdFoGDMLIHEMInODjOmFMAZw0aOCDrbsN6oc7NpUWADVqgO94MSNLwOrcgA==",
        server_final: "v=6LruPz5NP78ZNVaFeWZ7mvkfEfFOif5AKiASCigavJphJi9O6eH+sA/nfNiUhJY7VDcOFm7u6Un2iiEF096USg==",
    },
];

const SHA1: &Vector = &VECTORS[0];

fn scram(vector: &Vector) -> Scram {
    Scram::new(vector.hash, ScramBinding::Unsupported, &credentials()).unwrap()
}

/// An exchange that has sent its first message and waits for the server's.
fn started(vector: &Vector) -> Scram {
    let mut scram = scram(vector);
    scram.first(vector.nonce.to_owned());
    scram
}

/// An exchange that has sent its proof and waits for the server's.
fn proved(vector: &Vector) -> Scram {
    let mut scram = started(vector);
    let Step::NeedKey(request) = scram.challenge(vector.server_first.as_bytes(), &cx()) else { panic!("no key asked for") };
    assert_eq!(scram.key(request.derive(), &cx()), Step::Send(vector.client_final.into()));
    scram
}

/// What comes of a server's first message.
fn answer(server_first: &str) -> Step {
    started(SHA1).challenge(server_first.as_bytes(), &cx())
}

#[test]
fn the_vectors_come_out_with_the_signature_in_the_success() {
    for vector in &VECTORS {
        let mut scram = scram(vector);
        assert_eq!(scram.name(), vector.hash.mechanism());
        let Step::Send(first) = scram.first(vector.nonce.to_owned()) else { panic!() };
        assert_eq!(first, format!("n,,n=user,r={}", vector.nonce).into_bytes());
        let mut scram = proved(vector);
        let success = scram.success(Some(vector.server_final.as_bytes())).unwrap();
        assert!(success.verified && success.pin == Pin::new(true, false) && success.channel_binding.is_none());
    }
}

#[test]
fn the_signature_in_the_last_challenge_counts_as_well() {
    for vector in &VECTORS {
        let mut scram = proved(vector);
        assert_eq!(scram.challenge(vector.server_final.as_bytes(), &cx()), Step::Done { verified: true });
        assert!(scram.success(None).unwrap().verified);

        let mut scram = proved(vector);
        scram.challenge(vector.server_final.as_bytes(), &cx());
        assert!(scram.success(Some(b"")).unwrap().verified);

        let mut scram = proved(vector);
        scram.challenge(vector.server_final.as_bytes(), &cx());
        assert!(scram.success(Some(vector.server_final.as_bytes())).unwrap().verified);

        let mut scram = proved(vector);
        scram.challenge(vector.server_final.as_bytes(), &cx());
        assert_eq!(scram.success(Some(b"v=AAAA")), Err(AuthError::WrongServerSignature));
    }
}

#[test]
fn success_before_the_proof_is_refused_in_every_state() {
    let before = AuthError::SuccessBeforeProof;
    assert_eq!(scram(SHA1).success(None).unwrap_err(), before);
    assert_eq!(started(SHA1).success(None).unwrap_err(), before);
    assert_eq!(started(SHA1).success(Some(SHA1.server_final.as_bytes())).unwrap_err(), before);
    let mut deriving = started(SHA1);
    deriving.challenge(SHA1.server_first.as_bytes(), &cx());
    assert_eq!(deriving.success(Some(SHA1.server_final.as_bytes())).unwrap_err(), before);
    assert_eq!(proved(SHA1).success(None).unwrap_err(), before);
    assert_eq!(proved(SHA1).success(Some(b"")).unwrap_err(), before);
    let mut failed = proved(SHA1);
    failed.challenge(b"v=AAAA", &cx());
    assert_eq!(failed.success(None).unwrap_err(), before);
}

#[test]
fn a_wrong_signature_is_refused_whatever_its_length() {
    for wrong in ["v=rmF9pqV8S7suAoZWja4dJRkFsKU=", "v=rmF9pqV8S7suAoZWja4dJRkFsA==", "v=cm1G", VECTORS[1].server_final] {
        assert_eq!(proved(SHA1).success(Some(wrong.as_bytes())), Err(AuthError::WrongServerSignature), "{wrong}");
        assert_eq!(proved(SHA1).challenge(wrong.as_bytes(), &cx()), Step::Fail(AuthError::WrongServerSignature), "{wrong}");
    }
}

#[test]
fn the_user_name_is_prepared_and_escaped_and_the_binding_is_signed() {
    // Computed with Python's hashlib and hmac.
    let binding = ScramBinding::Bound(ChannelBinding::Exporter((0..32).collect()));
    let credentials = Credentials::new("us=er,x", "p\u{e9}ncil\u{2168}").acting_as("j,uliet@example.org");
    let mut scram = Scram::new(ScramHash::Sha256, binding, &credentials).unwrap();
    assert_eq!(scram.name(), "SCRAM-SHA-256-PLUS");
    let first = "p=tls-exporter,a=j=2Culiet@example.org,n=us=3Der=2Cx,r=rOprNGfwEbeRWgbNEkqO";
    assert_eq!(scram.first("rOprNGfwEbeRWgbNEkqO".to_owned()), Step::Send(first.into()));
    let Step::NeedKey(request) = scram.challenge(b"r=rOprNGfwEbeRWgbNEkqOXYZ,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", &cx()) else {
        panic!()
    };
    let last = "c=cD10bHMtZXhwb3J0ZXIsYT1qPTJDdWxpZXRAZXhhbXBsZS5vcmcsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,\
                r=rOprNGfwEbeRWgbNEkqOXYZ,p=X+TOnPdyRer3pG46dag3fd8UFRvVnTz64lvZGKKPLOc=";
    assert_eq!(scram.key(request.derive(), &cx()), Step::Send(last.into()));
    let success = scram.success(Some(b"v=OK51ggOtB688+Pv7kIJ/4KbdlYt26VanYVOKsbKdZyI=")).unwrap();
    assert_eq!((success.pin, success.channel_binding), (Pin::new(true, true), Some("tls-exporter")));
}

#[test]
fn the_certificate_that_was_bound_is_pinned() {
    let binding = ScramBinding::Bound(ChannelBinding::ServerEndPoint(vec![1, 2, 3]));
    let mut scram = Scram::new(ScramHash::Sha256, binding, &credentials()).unwrap();
    scram.first("x".to_owned());
    let server_first = "r=xy,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let Step::NeedKey(request) = scram.challenge(server_first.as_bytes(), &cx()) else { panic!() };
    let keys = request.derive();
    let Step::Send(last) = scram.key(keys.clone(), &cx()) else { panic!() };
    let last = String::from_utf8(last).unwrap();
    let (without_proof, _) = last.rsplit_once(",p=").unwrap();
    let auth_message = format!("n=user,r=x,{server_first},{without_proof}");
    let signature = BASE64.encode(ScramHash::Sha256.hmac(keys.server_key(), auth_message.as_bytes()));
    let success = scram.success(Some(format!("v={signature}").as_bytes())).unwrap();
    assert_eq!(success.pin, Pin::new(true, true).certificate(vec![1, 2, 3]));
}

#[test]
fn each_binding_has_its_flag() {
    let end_point = ScramBinding::Bound(ChannelBinding::ServerEndPoint(vec![1]));
    for (binding, flag) in
        [(ScramBinding::Unsupported, "n,,"), (ScramBinding::NotOffered, "y,,"), (end_point, "p=tls-server-end-point,,")]
    {
        let mut scram = Scram::new(ScramHash::Sha1, binding, &credentials()).unwrap();
        assert_eq!(scram.first("x".to_owned()), Step::Send(format!("{flag}n=user,r=x").into()));
    }
}

#[test]
fn the_nonce_is_made_of_the_random_bytes_given() {
    let mut one = scram(SHA1);
    assert_eq!(one.start(&MechanismContext::new([0xff; 24])), Step::Send(format!("n,,n=user,r={}", "/".repeat(32)).into()));
    assert_eq!(one.start(&cx()), Step::Fail(AuthError::Malformed), "a value serves one attempt");
}

#[test]
fn credentials_that_cannot_be_prepared_are_refused() {
    for (username, password) in
        [("user", "pen\u{7}cil"), ("us\u{7}er", "pencil"), ("", "pencil"), ("user", ""), ("user", "\u{ad}")]
    {
        let credentials = Credentials::new(username, password);
        let refused = Scram::new(ScramHash::Sha1, ScramBinding::Unsupported, &credentials).unwrap_err();
        assert_eq!(refused, AuthError::InvalidCredentials, "{username:?} {password:?}");
    }
    for credentials in [Credentials::without_password("user"), credentials().acting_as(""), credentials().acting_as("a\0")] {
        assert!(Scram::new(ScramHash::Sha1, ScramBinding::Unsupported, &credentials).is_err(), "{credentials:?}");
    }
}

#[test]
fn a_nonce_that_does_not_extend_ours_is_refused() {
    for nonce in ["fyko+d2lbbFgONRv9qkxdawL", "Xyko+d2lbbFgONRv9qkxdawL3rfc", "fyko+d2lbbFgONRv9qkxdaw", "3rfcNHYJ"] {
        assert_eq!(answer(&format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096")), Step::Fail(AuthError::WrongNonce), "{nonce}");
    }
}

#[test]
fn a_first_message_out_of_the_grammar_is_malformed() {
    let nonce = "r=fyko+d2lbbFgONRv9qkxdawLserver";
    let good = format!("{nonce},s=QSXCR+Q6sek8bf92,i=4096");
    assert!(matches!(answer(&good), Step::NeedKey(_)));
    let salt = BASE64.encode(vec![7; 1025]);
    for bad in [
        String::new(),
        nonce.to_owned(),
        format!("{nonce},s=QSXCR+Q6sek8bf92"),
        // order
        format!("s=QSXCR+Q6sek8bf92,{nonce},i=4096"),
        format!("{nonce},i=4096,s=QSXCR+Q6sek8bf92"),
        format!("x=1,{good}"),
        // duplicates and attributes out of their place
        format!("{good},i=4096"),
        format!("{good},{nonce}"),
        format!("{good},v=AAAA"),
        format!("{good},e=other-error"),
        format!("{good},x=1,x=2"),
        // mandatory extensions
        format!("m=foo,{good}"),
        format!("{good},m=foo"),
        // values
        format!("{good},x="),
        format!("{good},x"),
        format!("{good},"),
        format!("{good},1=2"),
        format!("{good},xy=2"),
        format!("{good},\u{e9}=2"),
        good.replace("i=4096", "i="),
        good.replace("i=4096", "i=0"),
        good.replace("i=4096", "i=04096"),
        good.replace("i=4096", "i=+4096"),
        good.replace("i=4096", "i=-1"),
        good.replace("i=4096", "i=4096 "),
        good.replace("i=4096", "I=4096"),
        good.replace("server", "ser ver"),
        good.replace("server", "serv\u{e9}r"),
        good.replace("server", &"x".repeat(1024)),
        // base64
        good.replace("QSXCR+Q6sek8bf92", ""),
        good.replace("QSXCR+Q6sek8bf92", "QSXCR+Q6sek8bf9"),
        good.replace("QSXCR+Q6sek8bf92", "QSXCR+Q6sek8bf92="),
        good.replace("QSXCR+Q6sek8bf92", "QSXCR-Q6sek8bf92"),
        good.replace("QSXCR+Q6sek8bf92", "QSXCR+Q6 sek8bf92"),
        good.replace("QSXCR+Q6sek8bf92", "QSX="),
        good.replace("QSXCR+Q6sek8bf92", "QSW="),
        good.replace("QSXCR+Q6sek8bf92", &salt),
        format!("{good},x={}", "y".repeat(8 * 1024)),
        format!("{good},x=\0"),
    ] {
        assert_eq!(answer(&bad), Step::Fail(AuthError::Malformed), "{bad:?}");
    }
    let mut scram = started(SHA1);
    assert_eq!(scram.challenge(b"r=\xff,s=AAAA,i=4096", &cx()), Step::Fail(AuthError::Malformed));
}

#[test]
fn unknown_optional_extensions_are_ignored_and_signed() {
    let mut scram = started(SHA1);
    let step = scram.challenge(format!("{},x=1,y=a=b,Z=\u{e9}", SHA1.server_first).as_bytes(), &cx());
    let Step::NeedKey(request) = step else { panic!("{step:?}") };
    let Step::Send(last) = scram.key(request.derive(), &cx()) else { panic!() };
    assert_ne!(last, SHA1.client_final.as_bytes(), "the proof covers the whole first message");
}

#[test]
fn iterations_outside_the_bounds_are_refused_with_both_numbers() {
    let ask = |scram: Scram, n: &str| {
        let mut scram = scram;
        scram.first(SHA1.nonce.to_owned());
        scram.challenge(SHA1.server_first.replace("4096", n).as_bytes(), &cx())
    };
    let low = |asked, minimum| Step::Fail(AuthError::IterationsTooLow { asked, minimum });
    let high = |asked, maximum| Step::Fail(AuthError::IterationsTooHigh { asked, maximum });
    assert_eq!(ask(scram(SHA1), "1"), low(1, 4096));
    assert_eq!(ask(scram(SHA1), "4095"), low(4095, 4096));
    assert!(matches!(ask(scram(SHA1), "1000000"), Step::NeedKey(_)));
    assert_eq!(ask(scram(SHA1), "1000001"), high(1_000_001, 1_000_000));
    assert_eq!(ask(scram(SHA1), "99999999999999999999999"), high(u32::MAX, 1_000_000));
    assert_eq!(ask(scram(SHA1).iterations(10_000..=20_000), "9999"), low(9999, 10_000));
    assert_eq!(ask(scram(SHA1).iterations(10_000..=20_000), "20001"), high(20_001, 20_000));
    assert!(matches!(ask(scram(SHA1).iterations(1..=2), "1"), Step::NeedKey(_)));
}

#[test]
fn a_server_error_says_what_the_caller_can_do() {
    for (value, error) in [
        ("invalid-proof", AuthError::NotAuthorized),
        ("unknown-user", AuthError::NotAuthorized),
        ("invalid-username-encoding", AuthError::InvalidCredentials),
        ("channel-bindings-dont-match", AuthError::ChannelBindingMismatch),
        ("unsupported-channel-binding-type", AuthError::ChannelBindingMismatch),
        ("channel-binding-not-supported", AuthError::ChannelBindingMismatch),
        ("server-does-support-channel-binding", AuthError::Downgrade),
        ("no-resources", AuthError::TemporaryFailure),
        ("other-error", AuthError::Refused("other-error".to_owned())),
        ("something-new", AuthError::Refused("something-new".to_owned())),
    ] {
        let message = format!("e={value}");
        assert_eq!(answer(&message), Step::Fail(error.clone()));
        assert_eq!(proved(SHA1).challenge(message.as_bytes(), &cx()), Step::Fail(error.clone()));
        assert_eq!(proved(SHA1).success(Some(message.as_bytes())), Err(error));
    }
}

#[test]
fn a_final_message_out_of_the_grammar_is_malformed() {
    let good = SHA1.server_final;
    for bad in ["", "v=", "v", "x=1", "e=", "v=rmF9", "V=rmF9pqV8S7suAoZWja4dJRkFsKQ="] {
        // An empty last challenge is no proof either.
        let expected = if bad == "v=rmF9" { AuthError::WrongServerSignature } else { AuthError::Malformed };
        assert_eq!(proved(SHA1).challenge(bad.as_bytes(), &cx()), Step::Fail(expected), "{bad}");
    }
    for bad in [format!("{good}="), format!("x=1,{good}"), format!("{good},v=AAAA"), format!("{good},m=1"), format!("{good},")] {
        assert_eq!(proved(SHA1).challenge(bad.as_bytes(), &cx()), Step::Fail(AuthError::Malformed), "{bad}");
    }
    assert_eq!(proved(SHA1).challenge(format!("{good},x=1").as_bytes(), &cx()), Step::Done { verified: true });
}

#[test]
fn a_challenge_too_many_ends_the_exchange() {
    let mut scram = proved(SHA1);
    scram.challenge(SHA1.server_final.as_bytes(), &cx());
    assert_eq!(scram.challenge(SHA1.server_final.as_bytes(), &cx()), Step::Fail(AuthError::Malformed));
    assert_eq!(scram.success(None), Err(AuthError::SuccessBeforeProof));

    let mut deriving = started(SHA1);
    let Step::NeedKey(request) = deriving.challenge(SHA1.server_first.as_bytes(), &cx()) else { panic!() };
    assert_eq!(deriving.challenge(b"", &cx()), Step::Fail(AuthError::Malformed));
    assert_eq!(deriving.key(request.derive(), &cx()), Step::Fail(AuthError::Malformed), "a late key changes nothing");
}

#[test]
fn keys_that_were_not_asked_for_are_refused() {
    let keys = |salt: &[u8], iterations| KeyRequest::new(ScramHash::Sha1, salt.to_vec(), iterations, "pencil".into()).derive();
    let mut scram = started(SHA1);
    scram.challenge(SHA1.server_first.as_bytes(), &cx());
    assert_eq!(scram.key(keys(b"other", 4096), &cx()), Step::Fail(AuthError::Malformed));
    assert_eq!(started(SHA1).key(keys(b"any", 1), &cx()), Step::Fail(AuthError::Malformed));
}

#[test]
fn the_keys_of_one_login_spare_the_next_its_derivation() {
    let keys = proved(SHA1).success(Some(SHA1.server_final.as_bytes())).unwrap().keys.unwrap();
    let kept = ScramKeys::from_parts(
        keys.hash(),
        keys.salt().to_vec(),
        keys.iterations(),
        keys.client_key().to_vec(),
        keys.server_key().to_vec(),
    )
    .unwrap();
    assert_eq!(kept, keys);

    let cached = cx().cached_keys(Some(&kept));
    let mut scram = started(SHA1);
    assert!(!scram.used_cached_keys());
    assert_eq!(scram.challenge(SHA1.server_first.as_bytes(), &cached), Step::Send(SHA1.client_final.into()));
    assert!(scram.used_cached_keys());
    assert_eq!(scram.success(Some(SHA1.server_final.as_bytes())).unwrap().keys, Some(kept.clone()));

    // Another salt, count or hash: derived anew.
    for changed in [SHA1.server_first.replace("QSXC", "QSXD"), SHA1.server_first.replace("4096", "4097")] {
        let mut scram = started(SHA1);
        assert!(matches!(scram.challenge(changed.as_bytes(), &cached), Step::NeedKey(_)));
        assert!(!scram.used_cached_keys());
    }
    let mut other = Scram::new(ScramHash::Sha256, ScramBinding::Unsupported, &credentials()).unwrap();
    other.first(SHA1.nonce.to_owned());
    assert!(matches!(other.challenge(SHA1.server_first.as_bytes(), &cached), Step::NeedKey(_)));
    // Cached keys do not lift the bounds.
    let mut bounded = scram_with_bounds(5000..=6000);
    assert!(matches!(bounded.challenge(SHA1.server_first.as_bytes(), &cached), Step::Fail(AuthError::IterationsTooLow { .. })));
}

fn scram_with_bounds(range: RangeInclusive<u32>) -> Scram {
    let mut scram = scram(SHA1).iterations(range);
    scram.first(SHA1.nonce.to_owned());
    scram
}

#[test]
fn kept_keys_of_a_wrong_length_are_no_keys() {
    assert!(ScramKeys::from_parts(ScramHash::Sha256, vec![1], 4096, vec![0; 20], vec![0; 32]).is_none());
    assert!(ScramKeys::from_parts(ScramHash::Sha256, vec![1], 4096, vec![0; 32], vec![0; 33]).is_none());
    assert!(ScramKeys::from_parts(ScramHash::Sha256, vec![1], 4096, vec![0; 32], vec![0; 32]).is_some());
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn with_offer(offer: Offer, extension: &str) -> Step {
    let mut scram = scram(SHA1).offer(offer);
    scram.first(SHA1.nonce.to_owned());
    scram.challenge(format!("{}{extension}", SHA1.server_first).as_bytes(), &cx())
}

#[test]
fn the_hash_of_the_offer_is_that_of_xep_0474() {
    // The XEP's example, given here in another order.
    let mechanisms = names(&["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"]);
    let types = names(&["tls-server-end-point", "tls-exporter"]);
    let hash = ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=";
    for rule in [OfferRule::Optional, OfferRule::Warn, OfferRule::Required] {
        assert!(matches!(with_offer(Offer::new(&mechanisms, Some(&types), rule), hash), Step::NeedKey(_)));
        // Whatever was added, taken away or changed on the way shows, under every rule.
        for (mechanisms, types) in [
            (names(&["SCRAM-SHA-1"]), Some(types.clone())),
            (names(&["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "PLAIN"]), Some(types.clone())),
            (mechanisms.clone(), Some(names(&["tls-exporter"]))),
            (mechanisms.clone(), Some(names(&["tls-exporter", "tls-unique"]))),
            (mechanisms.clone(), Some(Vec::new())),
            (mechanisms.clone(), None),
        ] {
            let offer = Offer::new(&mechanisms, types.as_deref(), rule);
            assert_eq!(with_offer(offer, hash), Step::Fail(AuthError::Downgrade), "{mechanisms:?} {types:?}");
        }
        assert_eq!(with_offer(Offer::new(&mechanisms, Some(&types), rule), ",h=x"), Step::Fail(AuthError::Downgrade));
    }
}

#[test]
fn a_missing_hash_of_the_offer_matters_only_where_it_is_required() {
    let offer = |rule| Offer::new(&names(&["SCRAM-SHA-1"]), None, rule);
    assert!(matches!(with_offer(offer(OfferRule::Optional), ""), Step::NeedKey(_)));
    assert_eq!(with_offer(offer(OfferRule::Required), ""), Step::Fail(AuthError::ChannelBindingMismatch));

    let (step, log) = logged(|| with_offer(offer(OfferRule::Warn), ""));
    assert!(matches!(step, Step::NeedKey(_)));
    assert!(log.contains("WARN") && log.contains("channel binding"), "{log}");
}

/// What the closure gives, and what it logged.
fn logged<T>(run: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let result = tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

#[test]
fn nothing_prints_a_secret() {
    let credentials = Credentials::new("user", "pencil-secret");
    let mut scram = Scram::new(ScramHash::Sha1, ScramBinding::Unsupported, &credentials).unwrap();
    let mut printed = format!("{credentials:?} {scram:?}");
    scram.first(SHA1.nonce.to_owned());
    let step = scram.challenge(SHA1.server_first.as_bytes(), &cx());
    printed += &format!("{step:?} {scram:?}");
    let Step::NeedKey(request) = step else { panic!() };
    let keys = request.derive();
    printed += &format!("{keys:?} {:?}", cx().cached_keys(Some(&keys)));
    let client_key = format!("{:?}", keys.client_key());
    printed += &format!("{:?} {scram:?}", scram.key(keys, &cx()));
    assert!(!printed.contains("pencil") && !printed.contains(&client_key[1..client_key.len() - 1]), "{printed}");
}

#[test]
fn secrets_are_wiped() {
    fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    wiped_on_drop::<Secret>();
    wiped_on_drop::<ScramKeys>();
    let mut secret = Secret::new("pencil");
    secret.zeroize();
    assert_eq!(secret.expose(), "");
}

/// A small generator, seeded, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A few changes: bytes replaced, removed, doubled, cut off; attributes swapped or repeated.
    fn mutate(&mut self, message: &str) -> Vec<u8> {
        let mut bytes = message.as_bytes().to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 if !bytes.is_empty() => bytes[at] = *b",=+/rsivehm0\0\xff".get(self.below(14)).unwrap(),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.truncate(at),
                4 => bytes.insert(at, self.next() as u8),
                _ => {
                    let mut parts: Vec<_> = bytes.split(|b| *b == b',').map(<[u8]>::to_vec).collect();
                    let (a, b) = (self.below(parts.len()), self.below(parts.len()));
                    if self.below(2) == 0 {
                        parts.swap(a, b);
                    } else {
                        let copy = parts[a].clone();
                        parts.insert(b, copy);
                    }
                    bytes = parts.join(&b',');
                }
            }
        }
        bytes
    }
}

#[test]
fn no_message_panics_or_passes_for_a_proof() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let keys = KeyRequest::new(ScramHash::Sha1, BASE64.decode("QSXCR+Q6sek8bf92").unwrap(), 4096, "pencil".into()).derive();
    let cached = cx().cached_keys(Some(&keys));
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut scram = started(SHA1);
        let first = random.mutate(SHA1.server_first);
        match scram.challenge(&first, &cached) {
            Step::Fail(_) => {
                refused += 1;
                assert_eq!(scram.success(Some(SHA1.server_final.as_bytes())), Err(AuthError::SuccessBeforeProof));
            }
            Step::Send(_) | Step::NeedKey(_) => {
                accepted += 1;
                assert!(first.starts_with(b"r=fyko+d2lbbFgONRv9qkxdawL"), "round {round}");
            }
            step => panic!("round {round}: {step:?}"),
        }
        let mut scram = started(SHA1);
        assert!(matches!(scram.challenge(SHA1.server_first.as_bytes(), &cached), Step::Send(_)));
        let last = random.mutate(SHA1.server_final);
        // Only extensions may be added to the proof.
        let proof = last == SHA1.server_final.as_bytes() || last.starts_with(format!("{},", SHA1.server_final).as_bytes());
        match random.below(2) {
            0 => assert!(scram.success(Some(&last)).is_err() || proof, "round {round}: {last:?}"),
            _ => assert!(!matches!(scram.challenge(&last, &cx()), Step::Done { .. }) || proof, "round {round}: {last:?}"),
        }
    }
    assert!(accepted > 500 && refused > 500, "accepted {accepted}, refused {refused}");
}
