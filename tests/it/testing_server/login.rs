use std::time::Duration;

use tokio_rustls::rustls::CertificateError;
use xmppkit::testing::{CertificateKind, Dialect, Mechanism, ResourceConflict, Server};

use super::client::{Client, LONG, Read, TLS, certificate_error, condition, handshake, header};

async fn server() -> Server {
    Server::builder().domain("example.org").account("romeo", "secret").start().await.unwrap()
}

#[tokio::test]
async fn every_mechanism_logs_in_on_both_ports() {
    let server = server().await;
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let (mut starttls, _) = Client::secured(&server).await;
        let mut direct = Client::connect_direct(&server).await;
        let features = direct.open().await;
        assert!(features.child(TLS, "starttls").is_none());
        for client in [&mut starttls, &mut direct] {
            client.authenticate(mechanism, "romeo", "secret").await.unwrap();
            client.open().await;
        }
        starttls.bind("a").await;
        direct.bind("b").await;
        let sessions = server.sessions();
        let shown: Vec<_> = sessions.iter().map(|s| (s.jid.to_string(), s.mechanism.as_str(), s.tls)).collect();
        assert_eq!(shown, [("romeo@example.org/a".into(), mechanism, true), ("romeo@example.org/b".into(), mechanism, true)]);
        drop((starttls, direct));
        tokio::time::timeout(LONG, server.wait_for(|s| s.connections() == 0)).await.unwrap();
    }
    assert_eq!(server.counters().logins, 8);
}

#[tokio::test]
async fn every_dialect_logs_in_with_its_first_mechanism() {
    for dialect in Dialect::ALL {
        let server = Server::builder().dialect(dialect).domain("example.org").account("romeo", "secret").start().await.unwrap();
        let mut client = Client::online(&server, "romeo", "x").await;
        client.sync().await;
        assert!(server.sessions()[0].available, "{dialect:?}");
    }
}

#[tokio::test]
async fn a_signature_in_a_last_challenge_is_offered_on_demand() {
    let builder = Server::builder().domain("example.org").account("romeo", "secret");
    let server = builder.differences(|d| d.signature_in_challenge = true).start().await.unwrap();
    Client::login(&server, "romeo", "secret", "x").await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_told_alike_and_may_try_again() {
    let server = server().await;
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let (mut client, _) = Client::secured(&server).await;
        assert_eq!(client.authenticate(mechanism, "romeo", "wrong").await, Err("not-authorized".into()));
        assert_eq!(client.authenticate(mechanism, "nobody", "secret").await, Err("not-authorized".into()));
        assert_eq!(client.authenticate(mechanism, "romeo", "secret").await, Ok(()));
    }
}

#[tokio::test]
async fn too_many_failed_attempts_end_the_stream() {
    let builder = Server::builder().domain("example.org").differences(|d| d.auth_attempts = 2);
    let server = builder.start().await.unwrap();
    let (mut client, _) = Client::secured(&server).await;
    client.authenticate("PLAIN", "a", "b").await.unwrap_err();
    client.authenticate("PLAIN", "a", "b").await.unwrap_err();
    assert_eq!(client.stream_error().await, "policy-violation");
}

#[tokio::test]
async fn malformed_authentication_is_refused_by_its_own_condition() {
    let server = server().await;
    let (mut client, _) = Client::secured(&server).await;
    for (mechanism, message, wanted) in [
        ("SCRAM-SHA-1", "p=tls-exporter,,n=romeo,r=x", "malformed-request"),
        ("SCRAM-SHA-1", "n,a=juliet@example.org,n=romeo,r=x", "invalid-authzid"),
        ("PLAIN", "romeo", "malformed-request"),
        ("X-MADE-UP", "", "invalid-mechanism"),
    ] {
        client.auth(mechanism, message).await;
        let failure = client.element().await;
        assert_eq!(failure.children().next().unwrap().name(), wanted, "{mechanism} {message}");
    }
}

#[tokio::test]
async fn without_tls_nobody_logs_in_unless_the_server_has_none() {
    let server = server().await;
    let mut client = Client::connect(&server).await;
    let features = client.open().await;
    assert!(features.child(TLS, "starttls").unwrap().child(TLS, "required").is_some());
    assert!(features.child(super::client::SASL, "mechanisms").is_none());
    assert_eq!(client.authenticate("PLAIN", "romeo", "secret").await, Err("encryption-required".into()));

    let builder = Server::builder().domain("example.org").account("romeo", "secret").no_tls();
    let server = builder.start().await.unwrap();
    let mut client = Client::connect(&server).await;
    let features = client.open().await;
    assert!(features.child(TLS, "starttls").is_none());
    client.authenticate("SCRAM-SHA-256", "romeo", "secret").await.unwrap();
    client.open().await;
    client.bind("x").await;
    assert!(!server.sessions()[0].tls);
}

#[tokio::test]
async fn mechanisms_are_offered_as_asked_for() {
    let builder = Server::builder().mechanisms([Mechanism::Other("X-ONLY".into())]);
    let server = builder.start().await.unwrap();
    let (_, features) = Client::secured(&server).await;
    let offered: Vec<_> =
        features.child(super::client::SASL, "mechanisms").unwrap().children().map(|m| m.text().into_owned()).collect();
    assert_eq!(offered, ["X-ONLY"]);
}

#[tokio::test]
async fn each_kind_of_certificate_fails_in_its_own_way() {
    for (kind, wanted) in [
        (CertificateKind::SelfSigned, "UnknownIssuer"),
        (CertificateKind::WrongName, "NotValidForName"),
        (CertificateKind::Expired, "Expired"),
    ] {
        let server = Server::builder().domain("example.org").certificate(kind).start().await.unwrap();
        let tcp = tokio::net::TcpStream::connect(server.direct_tls_address()).await.unwrap();
        let error = handshake(&server, tcp).await.err().unwrap();
        let shown = match certificate_error(&error).unwrap() {
            CertificateError::UnknownIssuer => "UnknownIssuer",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "NotValidForName",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "Expired",
            other => panic!("{other:?}"),
        };
        assert_eq!(shown, wanted, "{kind:?}");
    }
}

#[tokio::test]
async fn a_domain_may_be_an_ip_address() {
    let server = Server::builder().domain("127.0.0.1").account("romeo", "secret").start().await.unwrap();
    Client::login(&server, "romeo", "secret", "x").await;
}

#[tokio::test]
async fn wrong_headers_and_wrong_xml_end_the_stream_with_their_condition() {
    let server = server().await;
    let good = header("example.org");
    for (bytes, wanted) in [
        (header("elsewhere.example"), "host-unknown"),
        (good.replace("version='1.0'>", ">"), "unsupported-version"),
        (good.replace("jabber:client", "jabber:server"), "invalid-namespace"),
        (format!("{good}<message"), ""),
        (format!("{good}<a></b>"), "not-well-formed"),
        (format!("{good}<!-- no -->"), "restricted-xml"),
        (format!("{good}<what xmlns='urn:x'/>"), "unsupported-stanza-type"),
        (format!("{good}<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"), "not-authorized"),
    ] {
        let mut client = Client::connect(&server).await;
        client.send(&bytes).await;
        if wanted.is_empty() {
            // Nothing is wrong yet.
            assert!(matches!(client.next().await, Read::Header));
            client.element().await;
            continue;
        }
        assert_eq!(client.stream_error().await, wanted, "{bytes}");
    }
}

#[tokio::test]
async fn a_stanza_too_large_ends_the_stream_as_the_dialect_says() {
    for (dialect, applications) in [(Dialect::Strict, 1), (Dialect::OldEjabberd, 0)] {
        let builder = Server::builder().dialect(dialect).domain("example.org").account("romeo", "secret");
        let server = builder.max_stanza_bytes(10_000).start().await.unwrap();
        let mut client = Client::online(&server, "romeo", "x").await;
        client.send(&format!("<message to='romeo@example.org'><body>{}</body></message>", "x".repeat(9_000))).await;
        assert_eq!(client.sync().await.len(), 1, "below the limit it comes back");
        client.send(&format!("<message to='romeo@example.org'><body>{}</body></message>", "x".repeat(11_000))).await;
        let error = client.element().await;
        assert_eq!(error.children().next().unwrap().name(), "policy-violation");
        assert_eq!(error.children().filter(|c| c.ns() == "urn:xmpp:errors").count(), applications);
    }
}

#[tokio::test]
async fn a_client_may_not_speak_in_anothers_name() {
    let server = server().await;
    let mut client = Client::online(&server, "romeo", "x").await;
    client.send("<message from='juliet@example.org/y' to='romeo@example.org'/>").await;
    assert_eq!(client.stream_error().await, "invalid-from");
}

#[tokio::test]
async fn binding_a_taken_resource_follows_the_policy() {
    for policy in [ResourceConflict::ReplaceOld, ResourceConflict::RefuseNew, ResourceConflict::Rename] {
        let builder = Server::builder().domain("example.org").account("romeo", "secret");
        let server = builder.differences(|d| d.resource_conflict = policy).start().await.unwrap();
        let mut old = Client::login(&server, "romeo", "secret", "x").await;
        let (mut new, _) = Client::secured(&server).await;
        new.authenticate("PLAIN", "romeo", "secret").await.unwrap();
        new.open().await;
        let reply = new.bind("x").await;
        match policy {
            ResourceConflict::ReplaceOld => {
                assert_eq!(old.stream_error().await, "conflict");
                assert_eq!(server.sessions().len(), 1);
            }
            ResourceConflict::RefuseNew => assert_eq!(condition(&reply).as_deref(), Some("conflict")),
            _ => {
                assert_eq!(server.sessions().len(), 2);
                old.sync().await;
            }
        }
    }
}

#[tokio::test]
async fn nothing_sent_before_the_handshake_counts_after_it() {
    let server = server().await;
    // A header smuggled in behind <starttls/>, in the same packet: not the first words inside TLS.
    let smuggled = format!("<starttls xmlns='{TLS}'/>{}", header("example.org"));
    let mut client = Client::secured_with(&server, &smuggled).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), client.next()).await.is_err());
    client.open().await;
}

#[tokio::test]
async fn an_orderly_end_is_answered() {
    let server = server().await;
    let mut client = Client::online(&server, "romeo", "x").await;
    client.send("</stream:stream>").await;
    assert!(matches!(client.next().await, Read::Close));
    assert!(matches!(client.next().await, Read::End { reset: false }));
    assert!(server.sessions().is_empty());
}
