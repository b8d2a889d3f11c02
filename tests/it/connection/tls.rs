//! TLS and trust (R35, R43, R44, R45), against servers with any certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, date_time_ymd};
use sha2::{Digest, Sha256, Sha384};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::rustls;
use xmppkit::connection::{
    ConnectOptions, Connection, Connector, Shared, Target, TlsBackend, TlsBindingKind, TlsMode, Transport, Trust, connect,
    start_tls,
};
use xmppkit::error::{CertificateError, CertificateErrorKind, ConnectReason, ErrorKind, Phase, ProtocolError, TlsError};
use xmppkit::{Error, Result};

use super::dns_server::{DnsServer, Zone};
use super::nets::{Recorder, generous, options as dns_options, silent_listener};
use super::tls_server::{Authority, Identity, Opening, TlsServer, named, negotiate, self_signed};

const DOMAIN: &str = "example.org";

/// Reading the system's certificates takes OpenSSL a while, so it is done once for each configuration.
fn shared() -> &'static Shared {
    static SHARED: LazyLock<Shared> = LazyLock::new(Shared::new);
    &SHARED
}

/// Options for a server with direct TLS on loopback.
fn direct(domain: &str, server: &TlsServer, trust: Trust) -> ConnectOptions {
    ConnectOptions::new(domain).host("127.0.0.1", server.port, TlsMode::Direct).trust(trust).timeouts(generous()).shared(shared())
}

/// Options for a server with STARTTLS on loopback.
fn upgraded(domain: &str, server: &TlsServer, trust: Trust) -> ConnectOptions {
    ConnectOptions::new(domain)
        .host("127.0.0.1", server.port, TlsMode::StartTls)
        .trust(trust)
        .timeouts(generous())
        .shared(shared())
}

/// Connects, and upgrades where that is the mode.
async fn secure(options: &ConnectOptions) -> Result<Connection> {
    let mut connection = connect(options).await?;
    if connection.info().tls.is_some() {
        return Ok(connection);
    }
    negotiate(&mut connection).await?;
    start_tls(connection, options).await
}

/// Sends a word and gets it back.
async fn echo(connection: &mut Connection) {
    connection.write_all(b"hello").await.unwrap();
    connection.flush().await.unwrap();
    let mut back = [0; 5];
    connection.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

fn refused(error: &Error) -> &CertificateError {
    match error.kind() {
        ErrorKind::Certificate(e) => e,
        other => panic!("expected a certificate error, got {other:?}"),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[tokio::test]
async fn direct_tls_asks_for_the_domain_and_the_protocol() {
    let authority = Authority::new();
    let identity = authority.issue(&[DOMAIN]);
    let mut server = TlsServer::start(&identity, Opening::Direct).await;
    let mut connection = connect(&direct(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap())).await.unwrap();
    echo(&mut connection).await;
    let info = connection.info();
    assert!(info.direct_tls);
    assert_eq!(info.address, Some(SocketAddr::from(([127, 0, 0, 1], server.port))));
    let tls = info.tls.clone().unwrap();
    assert_eq!((tls.backend, tls.version, tls.pinned), (TlsBackend::NativeTls, None, false));
    assert_eq!(tls.alpn.as_deref(), Some(&b"xmpp-client"[..]));
    assert_eq!((tls.peer_der.as_slice(), tls.fingerprint), (identity.der.as_slice(), sha256(&identity.der)));
    drop(connection);
    let session = server.session().await;
    assert_eq!(session.sni.as_deref(), Some(DOMAIN));
    assert_eq!(session.alpn.as_deref(), Some(&b"xmpp-client"[..]));
}

#[tokio::test]
async fn a_server_that_knows_no_alpn_is_accepted() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority.issue(&[DOMAIN]), Opening::DirectWithoutAlpn).await;
    let mut connection = connect(&direct(DOMAIN, &server, Trust::only_ca(&authority.der).unwrap())).await.unwrap();
    echo(&mut connection).await;
    assert_eq!(connection.info().tls.as_ref().unwrap().alpn, None);
}

#[tokio::test]
async fn starttls_upgrades_without_alpn() {
    let authority = Authority::new();
    let mut server = TlsServer::start(&authority.issue(&[DOMAIN]), Opening::StartTls).await;
    let options = upgraded(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap());
    let mut connection = secure(&options).await.unwrap();
    echo(&mut connection).await;
    let info = connection.info().clone();
    assert!(!info.direct_tls);
    assert_eq!(info.tls.as_ref().unwrap().alpn, None);
    drop(connection);
    let session = server.session().await;
    assert_eq!((session.sni.as_deref(), session.alpn), (Some(DOMAIN), None));
    assert_eq!(session.secret, b"hello");
}

#[tokio::test]
async fn tls_1_2_is_enough() {
    let authority = Authority::new();
    let identity = authority.issue(&[DOMAIN]);
    let server = TlsServer::start_on("127.0.0.1", &identity, Opening::Direct, &[&rustls::version::TLS12]).await;
    let mut connection = connect(&direct(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap())).await.unwrap();
    echo(&mut connection).await;
}

#[tokio::test]
async fn nothing_in_plain_text_survives_the_handshake() {
    let authority = Authority::new();
    let mut server = TlsServer::start(&authority.issue(&[DOMAIN]), Opening::StartTlsInjecting).await;
    let options = upgraded(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap());
    // What the client did not read before the handshake meets the handshake, and that fails.
    let error = secure(&options).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Tls(TlsError::HandshakeFailed));
    assert!(!server.session().await.secured);
}

#[tokio::test]
async fn starttls_inside_tls_is_refused() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority.issue(&[DOMAIN]), Opening::Direct).await;
    let options = direct(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap());
    let error = start_tls(connect(&options).await.unwrap(), &options).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Protocol(ProtocolError::Unexpected(Phase::StartTls)));
}

/// Each bad certificate with the trust it meets and the kind it gives.
fn bad_certificates() -> Vec<(&'static str, Identity, Trust, CertificateErrorKind)> {
    let authority = Authority::called("The authority", &PKCS_ECDSA_P256_SHA256);
    let renewed = Authority::called("The authority", &PKCS_ECDSA_P256_SHA256);
    let trust = || Trust::only_ca(&authority.pem).unwrap();
    let wrong_name = || CertificateErrorKind::WrongName { wanted: DOMAIN.to_owned() };
    let dates = |from: i32, to: i32| {
        authority.issue_with(&[DOMAIN], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        })
    };
    let only_common_name = authority.issue_with(&[], |params| params.distinguished_name = named(DOMAIN));
    vec![
        ("selfsigned", self_signed(&[DOMAIN]), trust(), CertificateErrorKind::UnknownIssuer),
        ("foreign authority", Authority::new().issue(&[DOMAIN]), trust(), CertificateErrorKind::UnknownIssuer),
        ("authority of the same name", renewed.issue(&[DOMAIN]), trust(), CertificateErrorKind::UnknownIssuer),
        ("not in the system", authority.issue(&[DOMAIN]), Trust::system(), CertificateErrorKind::UnknownIssuer),
        ("wrongname", authority.issue(&["example.net"]), trust(), wrong_name()),
        ("name below", authority.issue(&["chat.example.org"]), trust(), wrong_name()),
        ("wildcard two levels up", authority.issue(&["*.org"]), trust(), wrong_name()),
        ("common name only", only_common_name, trust(), wrong_name()),
        ("expired", dates(2019, 2020), trust(), CertificateErrorKind::Expired),
        ("not yet valid", dates(2090, 2091), trust(), CertificateErrorKind::Expired),
    ]
}

#[tokio::test]
async fn every_bad_certificate_has_its_kind_and_can_be_shown_and_pinned() {
    for opening in [Opening::Direct, Opening::StartTls] {
        for (what, identity, trust, kind) in bad_certificates() {
            let what = format!("{what}, {opening:?}");
            let mut server = TlsServer::start(&identity, opening).await;
            let options = match opening {
                Opening::Direct => direct(DOMAIN, &server, trust),
                _ => upgraded(DOMAIN, &server, trust),
            };
            let error = secure(&options).await.unwrap_err();
            let e = refused(&error);
            assert_eq!(e.kind, kind, "{what}: {error}");
            assert!(!error.is_retryable(), "{what}");
            assert!(error.to_string().contains(&format!("127.0.0.1:{}", server.port)), "{what}: {error}");
            assert!(std::error::Error::source(&error).is_some() || e.text.contains("alternative names"), "{what}");
            assert_eq!(e.der.as_deref(), Some(identity.der.as_slice()), "{what}");
            assert_eq!(e.fingerprint, Some(sha256(&identity.der)), "{what}");
            assert!(e.not_before.unwrap() < e.not_after.unwrap() && !e.names.is_empty(), "{what}");
            // Neither the refused connection nor the second look sent anything inside TLS.
            assert_eq!(server.session().await.secret, b"", "{what}");

            let mut connection = secure(&options.trust(Trust::pin(e.fingerprint.unwrap()))).await.unwrap();
            echo(&mut connection).await;
            assert!(connection.info().tls.as_ref().unwrap().pinned, "{what}");
        }
    }
}

#[tokio::test]
async fn a_refused_certificate_tells_its_names_and_dates() {
    let authority = Authority::new();
    let identity = authority.issue_with(&["a.example.net", "192.0.2.1"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let server = TlsServer::start(&identity, Opening::Direct).await;
    let error = connect(&direct(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap())).await.unwrap_err();
    let e = refused(&error);
    assert_eq!(e.names, ["a.example.net", "192.0.2.1"]);
    let unix = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!((e.not_before, e.not_after), (unix(1_577_836_800), unix(1_609_459_200)));
}

#[tokio::test]
async fn a_pin_accepts_nothing_but_its_certificate() {
    let authority = Authority::new();
    let identity = authority.issue(&[DOMAIN]);
    for opening in [Opening::Direct, Opening::StartTls] {
        let mut server = TlsServer::start(&identity, opening).await;
        let trust = Trust::pins([sha256(b"another"), sha256(&authority.der)]);
        let options = if opening == Opening::Direct { direct } else { upgraded }(DOMAIN, &server, trust);
        let error = secure(&options).await.unwrap_err();
        let e = refused(&error);
        assert_eq!(e.kind, CertificateErrorKind::NotPinned);
        assert_eq!((e.fingerprint, e.names.as_slice()), (Some(sha256(&identity.der)), &[DOMAIN.to_owned()][..]));
        assert_eq!(server.session().await.secret, b"", "nothing is sent before the comparison");
        assert_eq!(server.unseen(), 0, "the certificate was at hand, so there is no second look");
    }
}

#[tokio::test]
async fn several_pins_cover_a_change_of_certificates() {
    let (present, next) = (self_signed(&[DOMAIN]), self_signed(&["whatever"]));
    let trust = Trust::pins([sha256(&present.der), sha256(&next.der)]);
    for identity in [present, next] {
        let server = TlsServer::start(&identity, Opening::Direct).await;
        connect(&direct(DOMAIN, &server, trust.clone())).await.unwrap();
    }
}

#[tokio::test]
async fn own_authorities_add_up() {
    let (one, two) = (Authority::new(), Authority::new());
    let both = format!("{}some text\n{}", one.pem, two.pem);
    for trust in [
        Trust::only_ca(both).unwrap(),
        Trust::only_ca(&one.der).unwrap().also_ca(&two.pem).unwrap(),
        Trust::system().also_ca(&one.pem).unwrap().also_ca(&two.der).unwrap(),
    ] {
        for authority in [&one, &two] {
            let server = TlsServer::start(&authority.issue(&[DOMAIN]), Opening::Direct).await;
            connect(&direct(DOMAIN, &server, trust.clone())).await.unwrap();
        }
    }
}

#[test]
fn what_is_no_certificate_is_no_authority() {
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----";
    let endless = "-----BEGIN CERTIFICATE-----\nAAAA";
    let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    for material in [broken, endless, other, key, ""] {
        let error = Trust::only_ca(material).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Tls(TlsError::InvalidMaterial), "{material}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn wildcards_stand_for_one_label() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority.issue(&["*.example.org"]), Opening::Direct).await;
    let trust = Trust::only_ca(&authority.pem).unwrap();
    connect(&direct("chat.example.org", &server, trust.clone())).await.unwrap();
    for domain in ["example.org", "a.b.example.org"] {
        let error = connect(&direct(domain, &server, trust.clone())).await.unwrap_err();
        assert_eq!(refused(&error).kind, CertificateErrorKind::WrongName { wanted: domain.to_owned() });
    }
}

#[tokio::test]
async fn names_of_other_kinds_do_not_disturb() {
    // id-on-xmppAddr, as XMPP servers put it into their certificates (RFC 6120 §13.7.1.4).
    let authority = Authority::new();
    let identity = authority.issue_with(&[DOMAIN], |params| {
        params.subject_alt_names.insert(0, SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], DOMAIN.to_owned().into())));
        params.subject_alt_names.push(SanType::Rfc822Name("a@example.org".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("xmpp:example.org".try_into().unwrap()));
    });
    let server = TlsServer::start(&identity, Opening::Direct).await;
    connect(&direct(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap())).await.unwrap();
}

#[tokio::test]
async fn an_ip_domain_needs_its_address_in_the_certificate_and_sends_no_name() {
    let authority = Authority::new();
    let trust = Trust::only_ca(&authority.pem).unwrap();
    for (domain, address) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::1", "::1")] {
        let identity = authority.issue(&[address]);
        let mut server = TlsServer::start_on(address, &identity, Opening::Direct, rustls::DEFAULT_VERSIONS).await;
        let options = direct(domain, &server, trust.clone()).host(address, server.port, TlsMode::Direct);
        let mut connection = connect(&options).await.unwrap();
        echo(&mut connection).await;
        drop(connection);
        assert_eq!(server.session().await.sni, None);
    }
    let server = TlsServer::start(&authority.issue(&["127.0.0.2", "localhost"]), Opening::Direct).await;
    let error = connect(&direct("127.0.0.1", &server, trust)).await.unwrap_err();
    assert_eq!(refused(&error).kind, CertificateErrorKind::WrongName { wanted: "127.0.0.1".to_owned() });
}

#[tokio::test]
async fn the_certificate_is_for_the_domain_and_never_for_the_server_dns_names() {
    let authority = Authority::new();
    let trust = Trust::only_ca(&authority.pem).unwrap();
    for (name, good) in [("xn--mnchen-3ya.example", true), ("server.hoster.example", false)] {
        let mut server = TlsServer::start(&authority.issue(&[name]), Opening::Direct).await;
        let zone = Zone::new()
            .direct("xn--mnchen-3ya.example", 0, server.port, "server.hoster.example")
            .address("server.hoster.example", "127.0.0.1");
        let dns = DnsServer::start(zone).await;
        let result = connect(&dns_options("münchen.example", dns.address).trust(trust.clone())).await;
        if good {
            drop(result.unwrap());
            assert_eq!(server.session().await.sni.as_deref(), Some("xn--mnchen-3ya.example"));
        } else {
            let wanted = "xn--mnchen-3ya.example".to_owned();
            assert_eq!(refused(&result.unwrap_err()).kind, CertificateErrorKind::WrongName { wanted });
        }
    }
}

#[tokio::test]
async fn the_end_point_binding_follows_the_signature_algorithm() {
    for (algorithm, expected) in [
        (&PKCS_ECDSA_P256_SHA256, Some((|der: &[u8]| Sha256::digest(der).to_vec()) as fn(&[u8]) -> Vec<u8>)),
        (&PKCS_ECDSA_P384_SHA384, Some(|der: &[u8]| Sha384::digest(der).to_vec())),
        (&PKCS_ED25519, None),
    ] {
        let authority = Authority::called("The authority", algorithm);
        let identity = authority.issue(&[DOMAIN]);
        let server = TlsServer::start(&identity, Opening::Direct).await;
        let connection = connect(&direct(DOMAIN, &server, Trust::only_ca(&authority.pem).unwrap())).await.unwrap();
        let bindings = &connection.info().tls.as_ref().unwrap().bindings;
        let found = bindings.iter().find(|b| b.kind == TlsBindingKind::ServerEndPoint).map(|b| b.data.clone());
        assert_eq!(found, expected.map(|hash| hash(&identity.der)));
        assert!(bindings.iter().all(|b| b.kind != TlsBindingKind::Exporter), "native-tls has none");
    }
}

#[tokio::test]
async fn a_refused_certificate_ends_the_search() {
    let authority = Authority::new();
    let bad = TlsServer::start(&self_signed(&[DOMAIN]), Opening::Direct).await;
    let good = TlsServer::start(&authority.issue(&[DOMAIN]), Opening::Direct).await;
    let zone = Zone::new()
        .direct(DOMAIN, 1, bad.port, "a.example.org")
        .direct(DOMAIN, 2, good.port, "a.example.org")
        .address("a.example.org", "127.0.0.1");
    let dns = DnsServer::start(zone).await;
    let options = dns_options(DOMAIN, dns.address).trust(Trust::only_ca(&authority.pem).unwrap());
    assert_eq!(refused(&connect(&options).await.unwrap_err()).kind, CertificateErrorKind::UnknownIssuer);
    assert_eq!(good.unseen(), 0);
}

#[tokio::test]
async fn a_server_whose_handshake_fails_is_passed_over() {
    let authority = Authority::new();
    let identity = authority.issue(&[DOMAIN]);
    let (_silent, silent) = silent_listener().await;
    let plain = TlsServer::start(&identity, Opening::PlainText).await;
    let closes = TlsServer::start(&identity, Opening::Closes).await;
    let good = TlsServer::start(&identity, Opening::Direct).await;
    let mut zone = Zone::new().address("a.example.org", "127.0.0.1");
    for (priority, port) in [(1, silent), (2, plain.port), (3, closes.port), (4, good.port)] {
        zone = zone.direct(DOMAIN, priority, port, "a.example.org");
    }
    let dns = DnsServer::start(zone).await;
    let timeouts = generous().tls_handshake(Duration::from_millis(500));
    let options = dns_options(DOMAIN, dns.address).trust(Trust::only_ca(&authority.pem).unwrap()).timeouts(timeouts);
    let mut connection = connect(&options).await.unwrap();
    echo(&mut connection).await;
    assert_eq!(connection.info().target, format!("a.example.org:{}", good.port));
}

#[tokio::test]
async fn each_failure_of_the_handshake_has_its_kind_and_names_the_server() {
    let identity = self_signed(&[DOMAIN]);
    let (_silent, silent) = silent_listener().await;
    let plain = TlsServer::start(&identity, Opening::PlainText).await;
    let closes = TlsServer::start(&identity, Opening::Closes).await;
    let timeouts = generous().tls_handshake(Duration::from_millis(300));
    for (port, kind) in [
        (silent, ErrorKind::Timeout(Phase::TlsHandshake)),
        (plain.port, ErrorKind::Tls(TlsError::HandshakeFailed)),
        (closes.port, ErrorKind::Closed(Phase::TlsHandshake)),
    ] {
        let options = ConnectOptions::new(DOMAIN).host("127.0.0.1", port, TlsMode::Direct).timeouts(timeouts).shared(shared());
        let error = connect(&options).await.unwrap_err();
        assert_eq!(error.kind(), &kind);
        assert!(error.is_retryable() && error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_failed_says_more_than_a_port_that_refused() {
    let closes = TlsServer::start(&self_signed(&[DOMAIN]), Opening::Closes).await;
    let refused = super::nets::refused_port("127.0.0.1").await;
    let zone = Zone::new()
        .direct(DOMAIN, 1, closes.port, "a.example.org")
        .start_tls(DOMAIN, 2, refused, "a.example.org")
        .address("a.example.org", "127.0.0.1");
    let dns = DnsServer::start(zone).await;
    let error = connect(&dns_options(DOMAIN, dns.address)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Closed(Phase::TlsHandshake));
    let text = error.to_string();
    assert!(text.contains(&closes.port.to_string()) && text.contains(&refused.to_string()), "every attempt is named: {text}");
}

#[tokio::test]
async fn a_certificate_of_a_stream_made_elsewhere_is_refused_without_a_second_look() {
    let server = TlsServer::start(&self_signed(&[DOMAIN]), Opening::StartTls).await;
    let options = upgraded(DOMAIN, &server, Trust::system());
    let (stream, info) = connect(&options).await.unwrap().into_parts();
    let mut connection = Connection::new(stream, info);
    negotiate(&mut connection).await.unwrap();
    let error = start_tls(connection, &options).await.unwrap_err();
    assert_eq!((&refused(&error).kind, &refused(&error).der), (&CertificateErrorKind::UnknownIssuer, &None));
}

#[tokio::test]
async fn plain_text_is_left_to_the_stream() {
    let options = ConnectOptions::new("192.0.2.1").dangerous_plaintext().connector(Recorder::accepting(5222));
    let connection = connect(&options).await.unwrap();
    assert!(connection.info().tls.is_none());
    let options = ConnectOptions::new("192.0.2.1").dangerous_plaintext().connector(Recorder::new());
    let error = connect(&options).await.unwrap_err();
    assert_eq!(super::nets::connect_error(&error).reason, ConnectReason::Refused);
}

#[tokio::test]
async fn dropping_the_future_closes_what_it_had_opened() {
    let (listener, port) = silent_listener().await;
    let options = ConnectOptions::new(DOMAIN).host("127.0.0.1", port, TlsMode::Direct).timeouts(generous()).shared(shared());
    let connecting = tokio::spawn(async move { connect(&options).await.map(drop) });
    let (mut socket, _) = listener.accept().await.unwrap();
    // The client is in the middle of its handshake when it has said hello.
    socket.read_u8().await.unwrap();
    connecting.abort();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    assert!(connecting.await.unwrap_err().is_cancelled());
}

/// Opens streams whose other end stays open and says nothing.
#[derive(Debug, Default)]
struct Silent(Mutex<Vec<DuplexStream>>);

impl Connector for Silent {
    fn connect<'a>(&'a self, _: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.lock().unwrap().push(theirs);
        async { Ok(Box::new(ours) as Box<dyn Transport>) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_without_an_answer_is_given_up_after_10_s() {
    for mode in [TlsMode::Direct, TlsMode::StartTls] {
        let options = ConnectOptions::new(DOMAIN).host("192.0.2.1", 5223, mode).connector(Arc::new(Silent::default()));
        let began = tokio::time::Instant::now();
        let error = match connect(&options).await {
            Ok(connection) => start_tls(connection, &options).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), &ErrorKind::Timeout(Phase::TlsHandshake));
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(10) && took < Duration::from_millis(10_010), "{mode:?}: {took:?}");
    }
}
