//! Logins that must not work, and why they do not.

use super::support::*;
use crate::error::{AuthError, ErrorKind, Phase, ProtocolError, StreamError, TlsError};
use crate::stream::{Answer, Ask, Ended, Framing, Input, Output, SeeOther, TlsRule};

fn end_of(server: Server) -> (ErrorKind, String) {
    let mut server = server;
    let mut bench = Bench::log_in(with(direct_tls), &mut server);
    (bench.failure(), bench.written())
}

#[test]
fn stripped_tls_ends_the_stream_before_anything_secret_is_said() {
    for features in ["", SCRAM] {
        let mut server = Server::new(Framing::Tcp);
        server.plain = features.to_owned();
        let mut bench = Bench::log_in(config(), &mut server);
        assert_eq!(bench.failure(), ErrorKind::Tls(TlsError::NotOffered));
        let sent = bench.written();
        assert!(!sent.contains("<auth") && !sent.contains("juliet"), "{sent}");
        assert!(sent.ends_with("</stream:stream>"));
    }
}

#[test]
fn refused_starttls_has_its_own_error() {
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>";
    let mut bench = Bench::log_in(config(), &mut Server::new(Framing::Tcp).instead(Moment::StartTls, failure));
    assert_eq!(bench.failure(), ErrorKind::Tls(TlsError::StartTlsRefused));
}

#[test]
fn nothing_said_before_the_handshake_survives_it() {
    // Pipelined after <proceed/>, in the same read and in the next one: features an attacker would like us to believe.
    let injected = format!("{}<stream:features>{BIND}</stream:features>", header(2));
    let mut bench = Bench::new(config());
    bench.obliging = false;
    bench.start();
    bench.feed(&format!("{}<stream:features>{STARTTLS}</stream:features>", header(1)));
    bench.feed(&format!("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{injected}"));
    bench.feed(&injected);
    assert_eq!(bench.lines(), ["start tls"]);
    bench.input(Input::TlsDone { bindings: Vec::new() });
    assert_eq!(bench.lines(), ["secured"]);
    assert_eq!(bench.core.phase(), Phase::Header, "the new stream has to open by itself");
    let mut server = Server::new(Framing::Tcp);
    bench.obliging = true;
    bench.sent.drain(..bench.sent.len() - 1);
    server.secured = SCRAM.to_owned();
    server.hear("<starttls");
    bench.talk(&mut server);
    assert!(bench.core.is_bound(), "{:?}", bench.lines());
}

#[test]
fn a_failed_handshake_ends_with_its_error_and_nothing_more_is_said() {
    let mut bench = Bench::new(config());
    bench.obliging = false;
    bench.start();
    bench.feed(&format!("{}<stream:features>{STARTTLS}</stream:features>", header(1)));
    bench.feed("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    bench.written();
    bench.input(Input::TlsFailed(ErrorKind::Tls(TlsError::HandshakeFailed).into()));
    assert_eq!(bench.failure(), ErrorKind::Tls(TlsError::HandshakeFailed));
    assert_eq!(bench.written(), "");
}

#[test]
fn plain_is_refused_without_tls_even_on_a_dangerous_connection() {
    let plain = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>";
    let mut server = Server::new(Framing::Tcp);
    server.plain = plain.to_owned();
    let mut bench = Bench::log_in(with(|c| c.tls = TlsRule::DangerousPlaintext), &mut server);
    assert_eq!(bench.failure(), ErrorKind::Auth(AuthError::NoMechanism { offered: vec!["PLAIN".to_owned()] }));
    assert!(!bench.written().contains("<auth"));

    let mut server = Server::new(Framing::Tcp);
    server.secured = plain.to_owned();
    let mut bench = Bench::log_in(with(direct_tls), &mut server);
    assert!(bench.core.is_bound(), "inside TLS it may: {:?}", bench.lines());
}

#[test]
fn a_server_that_wants_tls_on_a_dangerous_connection_is_told_apart() {
    let mut bench = Bench::log_in(with(|c| c.tls = TlsRule::DangerousPlaintext), &mut Server::new(Framing::Tcp));
    assert_eq!(bench.failure(), ErrorKind::Auth(AuthError::EncryptionRequired));
}

#[test]
fn a_server_without_a_mechanism_or_without_an_acceptable_one() {
    for (features, offered) in [
        ("", vec![]),
        (
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>X-A</mechanism><mechanism>DIGEST-MD5</mechanism></mechanisms>",
            vec!["X-A".to_owned(), "DIGEST-MD5".to_owned()],
        ),
    ] {
        let mut server = Server::new(Framing::Tcp);
        server.secured = features.to_owned();
        assert_eq!(end_of(server).0, ErrorKind::Auth(AuthError::NoMechanism { offered }));
    }
}

/// R15: what each condition means, and whether it stops or retries.
#[test]
fn each_sasl_failure_has_its_error() {
    let rows = [
        ("not-authorized", AuthError::NotAuthorized, false),
        ("account-disabled", AuthError::AccountDisabled, false),
        ("credentials-expired", AuthError::CredentialsExpired, false),
        ("encryption-required", AuthError::EncryptionRequired, false),
        ("invalid-authzid", AuthError::InvalidAuthzid, false),
        ("temporary-auth-failure", AuthError::TemporaryFailure, true),
        ("aborted", AuthError::Refused("aborted".to_owned()), false),
        ("incorrect-encoding", AuthError::Refused("incorrect-encoding".to_owned()), false),
        ("invalid-mechanism", AuthError::Refused("invalid-mechanism".to_owned()), false),
        ("malformed-request", AuthError::Refused("malformed-request".to_owned()), false),
        ("mechanism-too-weak", AuthError::Refused("mechanism-too-weak".to_owned()), false),
        ("something-new", AuthError::Refused("something-new".to_owned()), false),
    ];
    for (condition, expected, retried) in rows {
        for moment in [Moment::Auth, Moment::Response] {
            let mut server = Server::new(Framing::Tcp).instead(moment, sasl_failure(condition));
            let mut bench = Bench::log_in(with(direct_tls), &mut server);
            let Ended::Failed(error) = bench.ended() else { panic!("{condition}") };
            assert_eq!(*error.kind(), ErrorKind::Auth(expected.clone()), "{condition}");
            assert_eq!(error.is_retryable(), retried, "{condition}");
            assert!(error.to_string().ends_with("because"), "the server's text is kept: {error}");
            assert!(bench.written().ends_with("</stream:stream>"));
        }
    }
}

#[test]
fn success_is_believed_only_with_the_servers_proof() {
    let wrong = sasl("success", &format!("v={}", signature("another password", 2, "n=juliet,r=x")));
    let rows = [
        (
            "forged at once",
            Moment::Auth,
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
            AuthError::SuccessBeforeProof,
        ),
        (
            "forged late",
            Moment::Response,
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
            AuthError::SuccessBeforeProof,
        ),
        (
            "empty data",
            Moment::Response,
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</success>".to_owned(),
            AuthError::SuccessBeforeProof,
        ),
        ("wrong signature", Moment::Response, wrong.clone(), AuthError::WrongServerSignature),
        (
            "wrong signature as a challenge",
            Moment::Response,
            wrong.replace("success", "challenge"),
            AuthError::WrongServerSignature,
        ),
        (
            "no base64",
            Moment::Response,
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj0 x</success>".to_owned(),
            AuthError::Malformed,
        ),
        (
            "no base64 in a challenge",
            Moment::Auth,
            "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>!</challenge>".to_owned(),
            AuthError::Malformed,
        ),
        ("no SCRAM", Moment::Auth, sasl("challenge", "hello"), AuthError::Malformed),
        ("another nonce", Moment::Auth, sasl("challenge", "r=evil,s=c2FsdA==,i=4096"), AuthError::WrongNonce),
    ];
    for (name, moment, reply, expected) in rows {
        let (failure, sent) = end_of(Server::new(Framing::Tcp).instead(moment, reply));
        assert_eq!(failure, ErrorKind::Auth(expected), "{name}");
        assert!(!sent.contains("xmpp-bind"), "{name}");
        assert!(sent.ends_with("</stream:stream>"), "{name}");
    }
}

#[test]
fn iteration_counts_outside_the_policy_cost_nothing() {
    for (iterations, expected) in [
        (4095, AuthError::IterationsTooLow { asked: 4095, minimum: 4096 }),
        (1_000_001, AuthError::IterationsTooHigh { asked: 1_000_001, maximum: 1_000_000 }),
    ] {
        let mut server = Server::new(Framing::Tcp);
        server.iterations = iterations;
        let mut bench = Bench::log_in(
            with(|c| {
                direct_tls(c);
                c.policy = crate::auth::Policy::default();
            }),
            &mut server,
        );
        assert_eq!(bench.failure(), ErrorKind::Auth(expected));
        assert!(bench.written().contains("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"));
    }
}

#[test]
fn stream_errors_end_the_stream_in_every_phase() {
    let error = |condition: &str| stream_error(condition);
    for moment in [Moment::StartTls, Moment::Auth, Moment::Response, Moment::Bind] {
        let mut bench = Bench::log_in(config(), &mut Server::new(Framing::Tcp).instead(moment, error("system-shutdown")));
        assert_eq!(bench.failure(), ErrorKind::Stream(StreamError::new("system-shutdown", None)), "{moment:?}");
    }
    let opening = format!("{}{}", header(1), error("host-unknown"));
    let mut bench = Bench::log_in(config(), &mut Server::new(Framing::Tcp).instead(Moment::Header, opening));
    assert_eq!(bench.failure(), ErrorKind::Stream(StreamError::new("host-unknown", None)));
    assert!(bench.written().ends_with("</stream:stream>"));
}

#[test]
fn the_text_of_a_stream_error_is_kept() {
    let mut bench = Bench::online();
    bench.feed(
        "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Too many unacked stanzas</text></stream:error>",
    );
    let expected = StreamError::new("policy-violation", Some("Too many unacked stanzas".to_owned()));
    assert_eq!(bench.failure(), ErrorKind::Stream(expected));
    assert_eq!(bench.written(), "</stream:stream>");
}

#[test]
fn a_redirection_carries_where_to_go() {
    let redirect = "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:db8::1]:5223</see-other-host></stream:error>";
    let server = Server::new(Framing::Tcp).instead(Moment::Header, format!("{}{redirect}", header(1)));
    let mut bench = Bench::log_in(config(), &mut { server });
    match bench.ended() {
        Ended::SeeOther(other) => assert_eq!(other, SeeOther::Host { host: "2001:db8::1".to_owned(), port: Some(5223) }),
        other => panic!("{other:?}"),
    }
    let nowhere = redirect.replace("[2001:db8::1]:5223", "");
    let server = Server::new(Framing::Tcp).instead(Moment::Header, format!("{}{nowhere}", header(1)));
    assert!(
        matches!(Bench::log_in(config(), &mut { server }).failure(), ErrorKind::Stream(e) if e.condition == "see-other-host")
    );
}

/// What the server does wrong, the error here, and the stream error it is told.
#[test]
fn protocol_violations_are_told_to_the_server() {
    use ProtocolError::*;
    let ns = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
    let rows = [
        ("no version", Moment::Header, format!("<stream:stream {ns} id='1'>"), UnsupportedVersion, "unsupported-version"),
        ("version 0.9", Moment::Header, format!("<stream:stream {ns} version='0.9'>"), UnsupportedVersion, "unsupported-version"),
        (
            "nonsense for a version",
            Moment::Header,
            format!("<stream:stream {ns} version='x'>"),
            UnsupportedVersion,
            "unsupported-version",
        ),
        (
            "the namespace of servers",
            Moment::Header,
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>".to_owned(),
            InvalidNamespace,
            "invalid-namespace",
        ),
        (
            "a stream of something else",
            Moment::Header,
            "<stream:stream xmlns='jabber:client' xmlns:stream='urn:other' version='1.0'>".to_owned(),
            InvalidNamespace,
            "invalid-namespace",
        ),
        ("no XML", Moment::Header, "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(), NotWellFormed, "not-well-formed"),
        ("a DTD", Moment::Header, "<!DOCTYPE x>".to_owned(), RestrictedXml, "restricted-xml"),
        ("a mismatched tag", Moment::Auth, "<challenge></success>".to_owned(), NotWellFormed, "not-well-formed"),
        ("a stanza for features", Moment::Header, format!("{}<message/>", header(1)), Unexpected(Phase::Features), "bad-format"),
        ("features for a challenge", Moment::Auth, "<stream:features/>".to_owned(), Unexpected(Phase::Auth), "bad-format"),
        ("a message for a challenge", Moment::Auth, "<message/>".to_owned(), Unexpected(Phase::Auth), "bad-format"),
        (
            "success for a binding",
            Moment::Bind,
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
            Unexpected(Phase::Bind),
            "bad-format",
        ),
        (
            "a request for a binding",
            Moment::Bind,
            "<iq type='get' id='bind-1'/>".to_owned(),
            Unexpected(Phase::Bind),
            "bad-format",
        ),
        ("no address", Moment::Bind, "<iq type='result' id='bind-1'/>".to_owned(), InvalidBinding, "undefined-condition"),
        ("a bare address", Moment::Bind, bound("bind-1").replace(FULL, ACCOUNT), InvalidBinding, "undefined-condition"),
        (
            "an address elsewhere",
            Moment::Bind,
            bound("bind-1").replace(FULL, "juliet@other.example/x"),
            InvalidBinding,
            "undefined-condition",
        ),
        (
            "the address of another account",
            Moment::Bind,
            bound("bind-1").replace(FULL, "mallory@im.example.com/x"),
            InvalidBinding,
            "undefined-condition",
        ),
    ];
    for (name, moment, reply, expected, condition) in rows {
        let (failure, sent) = end_of(Server::new(Framing::Tcp).instead(moment, reply));
        assert_eq!(failure, ErrorKind::Protocol(expected), "{name}");
        let told =
            format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>");
        assert!(sent.ends_with(&told), "{name}: {sent}");
    }
}

#[test]
fn a_limit_passed_is_a_policy_violation() {
    let mut bench = Bench::log_in(
        with(|c| {
            direct_tls(c);
            c.limits.max_stanza_bytes = 2000;
        }),
        &mut Server::new(Framing::Tcp),
    );
    bench.written();
    bench.feed(&format!("<message><body>{}</body></message>", "x".repeat(3000)));
    assert_eq!(bench.failure(), ErrorKind::Protocol(ProtocolError::LimitExceeded));
    assert!(bench.written().contains("<policy-violation "));
}

#[test]
fn a_server_without_resource_binding() {
    let mut server = Server::new(Framing::Tcp);
    server.authenticated = String::new();
    assert_eq!(end_of(server).0, ErrorKind::Protocol(ProtocolError::InvalidBinding));
}

#[test]
fn a_refused_binding_has_the_servers_error() {
    let refusal = "<iq type='error' id='bind-1'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
    let (failure, _) = end_of(Server::new(Framing::Tcp).instead(Moment::Bind, refusal));
    assert!(matches!(failure, ErrorKind::Bind(e) if e.condition == "resource-constraint"));
}

#[test]
fn only_the_server_itself_can_answer_the_binding() {
    let answer = |from: &str| bound("bind-1").replacen("<iq ", &format!("<iq from='{from}' "), 1);
    for (from, believed) in
        [(DOMAIN, true), ("IM.Example.COM", true), (ACCOUNT, false), ("romeo@example.net", false), ("@@", false)]
    {
        let mut bench = Bench::log_in(with(direct_tls), &mut Server::new(Framing::Tcp).instead(Moment::Bind, answer(from)));
        assert_eq!(bench.core.is_bound(), believed, "{from}");
        if !believed {
            assert_eq!(bench.core.phase(), Phase::Bind, "the request stays pending");
            bench.feed(&bound("bind-2"));
            assert_eq!(bench.core.phase(), Phase::Bind, "so it does for another id");
            bench.feed(&bound("bind-1"));
            assert!(bench.core.is_bound());
        }
    }
}

#[test]
fn an_answer_that_does_not_fit_the_question_ends_the_stream() {
    let mut bench = Bench::new(with(direct_tls));
    bench.obliging = false;
    bench.start();
    bench.feed(&format!("{}<stream:features>{SCRAM}</stream:features>", header(1)));
    let Some(Output::Ask(id, Ask::Random(_))) = bench.out.pop() else { panic!() };
    bench.answer(id, Answer::Random(vec![0; 3]));
    assert_eq!(bench.failure(), ErrorKind::Other);
}
