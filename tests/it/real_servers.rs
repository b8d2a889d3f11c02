//! The suite on real servers, one test per server, and the certificates they serve.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;
use xmppkit::client::{Client, TlsMode};
use xmppkit::error::{CertificateErrorKind, ErrorKind, RegisterError};
use xmppkit::register::Registers;

use crate::suite;
use crate::support::{
    Cert, Kind, RawStream, Registering, Server, ServerUnderTest, StartError, Trust, panic_text, report, servers_required,
};

/// Starts the server; none, with a word about it, if it is missing and may be.
async fn start(kind: Kind) -> Option<Server> {
    match Server::start(kind).await {
        Ok(server) => Some(server),
        Err(StartError::Missing(why)) if servers_required() => panic!("{why}, and XMPPKIT_REQUIRE_SERVERS is set"),
        Err(StartError::Missing(why)) => {
            report(&format!("SKIPPED: {why}"));
            None
        }
        Err(StartError::Failed(error)) => panic!("{error}"),
    }
}

/// Runs the suite, and puts what it saw under this heading into the table of what servers support.
async fn run_suite(heading: &str, server: &ServerUnderTest) {
    let result = suite::run(server).await;
    report(&result.text());
    let in_table = suite::add_to_support_table(heading, server, &result).await;
    if let Some(failures) = result.failures() {
        panic!("{}:\n{failures}", server.name);
    }
    in_table.unwrap();
}

/// Everything on one server: starting takes longer than most of what is tried.
async fn everything_on(kind: Kind) {
    let Some(mut server) = start(kind).await else { return };
    let everything = async {
        run_suite(&kind.to_string(), &server.under_test()).await;
        accounts_survive_a_restart(&mut server).await;
        bad_certificates_are_served_and_refused(&mut server).await;
        refusals_of_a_registration_say_why(&mut server).await;
    };
    if let Err(panic) = AssertUnwindSafe(everything).catch_unwind().await {
        // What is wrong stands behind the server's log once more: the end of an output is what is read.
        report(&format!("{kind}, its log's end:\n{}\n{kind}: {}", server.log_tail(60), panic_text(&*panic)));
        drop(server);
        resume_unwind(panic);
    }
}

async fn accounts_survive_a_restart(server: &mut Server) {
    let ports = (server.c2s_port, server.direct_tls_port);
    server.register_account("stays", "secret").await.unwrap();
    server.stop().await;
    assert!(RawStream::connect(server.host, server.c2s_port, server.domain).await.is_err(), "it was stopped");
    server.start_again(Cert::Valid).await.unwrap();
    assert_eq!(ports, (server.c2s_port, server.direct_tls_port));
    let error = server.register_account("stays", "secret").await.unwrap_err().to_string();
    assert!(error.contains("conflict"), "{error}");
}

async fn bad_certificates_are_served_and_refused(server: &mut Server) {
    let wrong_name = CertificateErrorKind::WrongName { wanted: server.domain.to_owned() };
    for (cert, expected) in [
        (Cert::SelfSigned, Some(CertificateErrorKind::UnknownIssuer)),
        (Cert::WrongName, Some(wrong_name)),
        (Cert::Expired, Some(CertificateErrorKind::Expired)),
        (Cert::Valid, None),
    ] {
        server.start_again(cert).await.unwrap();
        let stream = RawStream::starttls(server.host, server.c2s_port, server.domain, &Trust::Unverified).await.unwrap();
        assert_eq!(stream.certificate(), Some(server.certificate()));
        for (port, mode) in [(server.c2s_port, TlsMode::StartTls), (server.direct_tls_port, TlsMode::Direct)] {
            let client = Client::builder(format!("stays@{}", server.domain).parse().unwrap())
                .password("secret")
                .server(server.host, port, mode)
                .trust(Trust::Ca(server.ca_pem.clone()).for_client().unwrap())
                .build()
                .await
                .unwrap();
            let kind = match client.connect().await {
                Ok(()) => None,
                Err(error) => match error.kind() {
                    ErrorKind::Certificate(certificate) => Some(certificate.kind.clone()),
                    _ => panic!("{cert:?}, {mode:?}: {error}"),
                },
            };
            assert_eq!(kind, expected, "{cert:?}, {mode:?}");
            client.close().await;
        }
    }
}

async fn refusals_of_a_registration_say_why(server: &mut Server) {
    async fn newcomer(server: &Server, name: &str, password: &str) -> Client {
        Client::builder(format!("{name}@{}", server.domain).parse().unwrap())
            .password(password)
            .server(server.host, server.c2s_port, TlsMode::StartTls)
            .trust(server.trust().for_client().unwrap())
            .build()
            .await
            .unwrap()
    }
    fn reason(error: xmppkit::Error) -> RegisterError {
        match error.kind() {
            ErrorKind::Register(reason) => reason.clone(),
            _ => panic!("{error}"),
        }
    }
    let good = "Nc7-sTill&waters'run+deep";

    server.start_registering(Registering::Limited).await.unwrap();
    let first = newcomer(server, "first", good).await;
    first.register().await.unwrap();
    first.close().await;
    let second = newcomer(server, "second", good).await;
    let error = second.register().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(reason(error), RegisterError::TooSoon);

    server.start_registering(Registering::Closed).await.unwrap();
    let expected = if server.kind.is_prosody() { RegisterError::NotOffered } else { RegisterError::NotAllowed };
    assert_eq!(reason(second.register().await.unwrap_err()), expected);

    // Debian 12 has no module for it.
    if server.kind == Kind::Prosody012 {
        return;
    }
    server.start_registering(Registering::Picky).await.unwrap();
    let weak = newcomer(server, "third", "aaaa").await;
    let RegisterError::NotAcceptable(text) = reason(weak.register().await.unwrap_err()) else { panic!("it was accepted") };
    assert!(text.to_lowercase().contains("password"), "{text}");
    first.connect().await.unwrap();
    assert!(matches!(reason(first.change_password("aaaa").await.unwrap_err()), RegisterError::NotAcceptable(_)));
    first.change_password("Another-1&only+Then'this").await.unwrap();
    first.close().await;
}

#[tokio::test]
async fn prosody_0_12() {
    everything_on(Kind::Prosody012).await;
}

#[tokio::test]
async fn ejabberd_23() {
    everything_on(Kind::Ejabberd23).await;
}

#[tokio::test]
async fn prosody_13() {
    everything_on(Kind::Prosody13).await;
}

#[tokio::test]
async fn ejabberd_24() {
    everything_on(Kind::Ejabberd24).await;
}

#[tokio::test]
async fn the_server_named_by_the_environment() {
    match ServerUnderTest::from_env() {
        Ok(Some(server)) => run_suite(&server.domain, &server).await,
        Ok(None) => report("no other server is named by XMPPKIT_SERVER_DOMAIN"),
        Err(error) => panic!("{error}"),
    }
}
