//! Logins that work, and what is said on the way.

use super::support::*;
use crate::auth::{ChannelBinding, KeyRequest, ScramHash, Secret};
use crate::error::{BuildError, ErrorKind};
use crate::stream::{Answer, Ask, CoreConfig, Event, Framing, Input, Output, Role, StreamCore, TlsRule};

/// Each row: a way to the server, and what comes out.
#[test]
fn a_login_passes_its_phases_in_order() {
    let scram = "authenticated by SCRAM-SHA-256, verified: true".to_owned();
    let bound = format!("bound {FULL}");
    let rows = [
        ("STARTTLS", with(|_| {}), vec!["start tls".to_owned(), "secured".to_owned(), scram.clone(), bound.clone()]),
        ("direct TLS", with(direct_tls), vec!["secured".to_owned(), scram.clone(), bound.clone()]),
        ("plaintext on purpose", with(|c| c.tls = TlsRule::DangerousPlaintext), vec![scram.clone(), bound.clone()]),
        (
            "secure WebSocket",
            with(|c| {
                direct_tls(c);
                c.framing = Framing::WebSocket;
            }),
            vec!["secured".to_owned(), scram.clone(), bound.clone()],
        ),
    ];
    for (name, config, expected) in rows {
        let mut server = Server::new(config.framing);
        if config.tls == TlsRule::DangerousPlaintext {
            server.plain = format!("{STARTTLS}{SCRAM}");
        }
        let mut bench = Bench::log_in(config, &mut server);
        assert_eq!(bench.lines(), expected, "{name}");
        assert!(bench.core.is_bound(), "{name}");
        assert_eq!(bench.core.jid().unwrap().as_str(), FULL, "{name}");
        assert_eq!(bench.core.next_deadline(), None, "{name}: a session has no phase deadline");
    }
}

#[test]
fn the_account_is_named_only_inside_tls_and_not_before_registration() {
    let headers = |config: CoreConfig| {
        let mut bench = Bench::log_in(config, &mut Server::new(Framing::Tcp));
        let sent = bench.written();
        let headers: Vec<_> =
            sent.match_indices("<stream:stream ").map(|(at, _)| sent[at..].split_once('>').unwrap().0.to_owned()).collect();
        for header in &headers {
            assert_eq!(attribute(header, "to"), DOMAIN);
            assert_eq!(attribute(header, "version"), "1.0");
        }
        headers.iter().map(|h| h.contains(&format!(" from='{ACCOUNT}'"))).collect::<Vec<_>>()
    };
    assert_eq!(headers(with(|_| {})), [false, true, true]);
    assert_eq!(headers(with(direct_tls)), [true, true]);
    let mut plain = Server::new(Framing::Tcp);
    plain.plain = SCRAM.to_owned();
    let mut bench = Bench::log_in(with(|c| c.tls = TlsRule::DangerousPlaintext), &mut plain);
    assert!(bench.core.is_bound() && !bench.written().contains(ACCOUNT));
}

#[test]
fn the_language_is_said_in_the_header_and_escaped() {
    let mut bench = Bench::new(with(|c| c.lang = Some("d'e".to_owned())));
    bench.start();
    let header = bench.written();
    assert!(header.contains(" xml:lang='d&apos;e'") || header.contains(" xml:lang='d&#39;e'"), "{header}");
}

#[test]
fn every_channel_binding_of_the_backend_reaches_the_choice_of_mechanism() {
    let mut bench = Bench::new(config());
    bench.obliging = false;
    bench.start();
    bench.feed(&format!("{}<stream:features>{STARTTLS}</stream:features>", header(1)));
    bench.feed("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(bench.lines(), ["start tls"]);
    let bindings = vec![ChannelBinding::ServerEndPoint(vec![1; 32]), ChannelBinding::Exporter(vec![2; 32])];
    bench.input(Input::TlsDone { bindings });
    bench.written();
    bench.feed(&format!(
        "{}<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism>\
         <mechanism>SCRAM-SHA-256-PLUS</mechanism></mechanisms><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>\
         <channel-binding type='tls-server-end-point'/></sasl-channel-binding></stream:features>",
        header(2)
    ));
    let Some(Output::Ask(id, Ask::Random(n))) = bench.out.pop() else { panic!("{:?}", bench.lines()) };
    bench.answer(id, Answer::Random(vec![7; n]));
    let auth = bench.written();
    assert_eq!(attribute(&auth, "mechanism"), "SCRAM-SHA-256-PLUS");
    assert!(decoded(&auth).starts_with("p=tls-server-end-point,,"), "{auth}");
}

#[test]
fn an_anonymous_login_has_the_address_the_server_gives() {
    let domain = jid::DomainPart::new(DOMAIN).unwrap().into_owned();
    let mut config = CoreConfig::anonymous(domain);
    direct_tls(&mut config);
    let mut server = Server::new(Framing::Tcp);
    server.secured =
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>".to_owned();
    let mut bench = Bench::log_in(config, &mut server);
    let sent = bench.written();
    assert!(sent.contains("mechanism='ANONYMOUS'>=</auth>"), "an empty initial response is a single equals sign: {sent}");
    assert!(!sent.contains("<resource>"));
    assert_eq!(bench.lines(), ["secured", "authenticated by ANONYMOUS, verified: false", &format!("bound {FULL}")]);
}

#[test]
fn a_server_may_prove_itself_in_a_last_challenge() {
    let mut server = Server::new(Framing::Tcp).inside_tls();
    let mut bench = Bench::new(with(direct_tls));
    bench.start();
    // R32: the proof comes as a challenge, an empty response follows, and then an empty success.
    while let Some(message) = (!bench.sent.is_empty()).then(|| bench.sent.remove(0)) {
        for reply in server.hear(&message) {
            if reply.starts_with("<success") {
                bench.feed(&reply.replace("success", "challenge"));
                assert_eq!(bench.written(), "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'></response>");
                bench.feed("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
            } else {
                bench.feed(&reply);
            }
        }
    }
    assert_eq!(bench.lines(), ["secured", "authenticated by SCRAM-SHA-256, verified: true", &format!("bound {FULL}")]);
}

#[test]
fn keys_of_an_earlier_login_spare_the_derivation() {
    let keys = KeyRequest::new(ScramHash::Sha256, b"salt".to_vec(), 2, Secret::new(PASSWORD)).derive();
    let mut bench = Bench::new(with(|c| {
        direct_tls(c);
        c.cached_keys = Some(keys);
    }));
    bench.obliging = false;
    bench.start();
    let mut server = Server::new(Framing::Tcp);
    bench.talk(&mut server);
    let Some(Output::Ask(id, Ask::Random(n))) = bench.out.pop() else { panic!() };
    bench.answer(id, Answer::Random(vec![1; n]));
    let auth = bench.sent.split_off(bench.sent.len() - 1).remove(0);
    bench.sent.clear();
    bench.feed(&server.hear(&auth)[0]);
    bench.talk(&mut server);
    // No question in between: the bench would not have answered one.
    assert_eq!(bench.lines(), ["secured", "authenticated by SCRAM-SHA-256, verified: true", &format!("bound {FULL}")]);
}

#[test]
fn refused_keys_are_dropped_and_the_password_is_tried_once() {
    let keys = KeyRequest::new(ScramHash::Sha256, b"salt".to_vec(), 2, Secret::new("the old password")).derive();
    let config = || {
        with(|c| {
            direct_tls(c);
            c.cached_keys = Some(keys.clone());
        })
    };
    let refusal = sasl_failure("not-authorized");
    let mut bench = Bench::log_in(config(), &mut Server::new(Framing::Tcp).instead(Moment::Response, refusal.clone()));
    assert_eq!(
        bench.lines(),
        ["secured", "keys refused", "authenticated by SCRAM-SHA-256, verified: true", &format!("bound {FULL}")]
    );
    assert_eq!(bench.written().matches("<auth ").count(), 2);

    let server = Server::new(Framing::Tcp).instead(Moment::Response, refusal.clone()).instead(Moment::Response, refusal);
    let mut bench = Bench::log_in(config(), &mut { server });
    assert_eq!(bench.failure(), ErrorKind::Auth(crate::error::AuthError::NotAuthorized));
    assert_eq!(bench.lines(), ["secured", "keys refused"]);
}

#[test]
fn nothing_is_sent_between_the_beginning_of_authentication_and_its_end() {
    let mut bench = Bench::new(with(direct_tls));
    bench.obliging = false;
    bench.start();
    bench.feed(&format!("{}<stream:features>{SCRAM}</stream:features>", header(1)));
    let Some(Output::Ask(id, Ask::Random(n))) = bench.out.pop() else { panic!() };
    bench.answer(id, Answer::Random(vec![1; n]));
    bench.written();
    bench.input(Input::KeepAlive);
    bench.input(Input::Send { token: 4, stanza: iq("<iq type='result' id='x'/>") });
    bench.input(Input::Request { token: 5, stanza: iq("<iq type='get' id='y'><a xmlns='b'/></iq>"), timeout: None });
    assert_eq!(bench.written(), "");
    assert_eq!(bench.lines(), ["secured", "not sent 4", "reply 5 NotOnline"]);
}

#[test]
fn a_legacy_session_is_asked_for_only_where_it_is_not_optional() {
    for (feature, asked) in [
        ("", false),
        ("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>", false),
        ("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", true),
    ] {
        let mut server = Server::new(Framing::Tcp);
        server.authenticated = format!("{BIND}{feature}");
        let mut bench = Bench::log_in(with(direct_tls), &mut server);
        assert!(bench.core.is_bound());
        let sent = bench.written();
        assert_eq!(sent.contains("xmpp-session"), asked, "{feature}");
        if asked {
            let mut refused = bench;
            refused.feed("<iq type='error' id='session-1'><error type='wait'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
            assert!(matches!(refused.failure(), ErrorKind::Bind(e) if e.condition == "internal-server-error"));
        }
    }
}

#[test]
fn a_resource_in_use_is_given_up_for_one_of_the_servers_choice() {
    let conflict = |n: u32| {
        format!(
            "<iq type='error' id='bind-{n}'><error type='modify'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
    };
    let mut server = Server::new(Framing::Tcp).instead(Moment::Bind, conflict(1));
    let mut bench = Bench::log_in(with(direct_tls), &mut server);
    assert!(bench.core.is_bound());
    let sent = bench.written();
    assert_eq!(sent.matches("<resource>balcony</resource>").count(), 1);
    assert_eq!(sent.matches("urn:ietf:params:xml:ns:xmpp-bind").count(), 2);

    let mut server = Server::new(Framing::Tcp).instead(Moment::Bind, conflict(1)).instead(Moment::Bind, conflict(2));
    let mut bench = Bench::log_in(with(direct_tls), &mut server);
    assert!(matches!(bench.failure(), ErrorKind::Bind(e) if e.condition == "conflict"));
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    type Change = fn(&mut CoreConfig);
    let rows: [(&str, Change); 4] = [
        ("framing", |c| c.framing = Framing::Bosh),
        ("role", |c| c.role = Role::Component),
        ("tls", |c| c.framing = Framing::WebSocket),
        ("before_auth", |c| {
            c.before_auth = true;
            c.tls = TlsRule::DangerousPlaintext;
        }),
    ];
    for (option, change) in rows {
        let error = StreamCore::new(with(change), std::time::Instant::now()).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Build(BuildError::InvalidOption(text)) if text.starts_with(option)),
            "{option}: {error}"
        );
    }
}

#[test]
fn the_features_after_authentication_come_with_the_address() {
    let mut server = Server::new(Framing::Tcp);
    server.authenticated = format!("{BIND}<ver xmlns='urn:xmpp:features:rosterver'/>");
    let bench = Bench::log_in(with(direct_tls), &mut server);
    let features = bench.out.iter().find_map(|o| match o {
        Output::Event(Event::Bound { features, .. }) => Some(features),
        _ => None,
    });
    assert!(features.unwrap().child("urn:xmpp:features:rosterver", "ver").is_some());
}
