//! The suite for real servers, on the server inside the test process: in every dialect (R57), at domains that are no names of
//! DNS, and with accounts that are given, as a server named by the environment has them.

use futures::StreamExt;
use xmppkit::testing::{Builder, CertificateKind, Dialect, Server};

use crate::suite;
use crate::support::{ServerUnderTest, Trust, report};

async fn start(builder: Builder) -> Server {
    builder.start().await.expect("a server")
}

/// The server as the suite sees it, with the certificate's authority trusted.
fn under_test(server: &Server, name: &str) -> ServerUnderTest {
    let host = server.address().ip().to_string();
    let direct_tls = Some(server.direct_tls_address().port());
    let trust = Trust::Ca(String::from_utf8(server.ca_pem().to_vec()).expect("PEM"));
    let name = format!("the server inside the test, {name}");
    ServerUnderTest::with_registration(name, &host, server.address().port(), direct_tls, server.domain(), trust)
}

/// What went wrong.
async fn failures(server: &ServerUnderTest) -> Option<String> {
    let result = suite::run(server).await;
    report(&result.text());
    result.failures()
}

#[tokio::test]
async fn the_suite_passes_in_every_dialect() {
    let reports: Vec<_> = futures::stream::iter(Dialect::ALL)
        .then(async |dialect| {
            let server = start(Server::builder().domain("example.org").dialect(dialect)).await;
            let strongest = match dialect {
                Dialect::Prosody | Dialect::Openfire => "SCRAM-SHA-1",
                _ => "SCRAM-SHA-512",
            };
            let heading = format!("as {dialect:?}");
            let server = under_test(&server, &heading).with_mechanism(strongest);
            let result = suite::run(&server).await;
            report(&result.text());
            let in_table = suite::add_to_support_table(&heading, &server, &result).await;
            result.failures().or_else(|| in_table.err().map(|error| error.to_string()))
        })
        .collect()
        .await;
    let failures: Vec<String> = reports.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The commonest first set-up: an Openfire on an address of the own network, with the certificate it made itself (R43, R44, R57).
#[tokio::test]
async fn the_suite_passes_at_an_address_with_a_self_signed_certificate_that_is_pinned() {
    let builder = Server::builder().domain("127.0.0.1").dialect(Dialect::Openfire).certificate(CertificateKind::SelfSigned);
    let server = start(builder).await;
    let pinned = ServerUnderTest { trust: Trust::Pin(server.certificate_fingerprint()), ..under_test(&server, "at 127.0.0.1") };
    assert_eq!(failures(&pinned).await, None);
}

#[tokio::test]
async fn the_suite_passes_at_localhost() {
    let server = start(Server::builder().domain("localhost")).await;
    assert_eq!(failures(&under_test(&server, "at localhost")).await, None);
}

#[tokio::test]
async fn a_client_logs_in_at_an_address_with_a_certificate_for_it() {
    let server = start(crate::common::server().domain("127.0.0.1")).await;
    let client = crate::common::online(&server, "romeo").await;
    assert_eq!(client.jid().map(|jid| jid.to_bare().to_string()).as_deref(), Some("romeo@127.0.0.1"));
    client.close().await;
}

/// A server on which nobody may register, named by variables as docs/testing.md says.
async fn given() -> (Server, ServerUnderTest) {
    let builder = Server::builder().domain("example.org").registration(xmppkit::testing::Registration::Closed);
    let accounts = [("romeo", "a:b"), ("juliet", "secret"), ("nurse", "secret")];
    let server = start(accounts.into_iter().fold(builder, |builder, (name, password)| builder.account(name, password))).await;
    let variable = |name: &str| match name {
        "DOMAIN" => Some(server.domain().to_owned()),
        "HOST" => Some(server.address().ip().to_string()),
        "PORT" => Some(server.address().port().to_string()),
        "DIRECT_TLS_PORT" => Some(server.direct_tls_address().port().to_string()),
        "PIN" => Some(server.certificate_fingerprint().map(|byte| format!("{byte:02X}")).join(":")),
        "ACCOUNTS" => Some(accounts.map(|(name, password)| format!("{name}:{password}")).join(" ")),
        _ => None,
    };
    let named = ServerUnderTest::from_variables(&variable).expect("variables that fit").expect("a server");
    (server, named)
}

#[tokio::test]
async fn with_given_accounts_the_suite_passes_and_leaves_no_contact() {
    let (server, named) = given().await;
    assert_eq!(failures(&named).await, None);
    for account in server.accounts() {
        assert!(server.roster(&account).is_empty(), "{account}: {:?}", server.roster(&account));
    }
    assert_eq!(failures(&named).await, None, "and again");
}

#[tokio::test]
async fn given_accounts_that_are_contacts_of_one_another_are_left_alone() {
    let (server, named) = given().await;
    let [juliet, nurse] = ["juliet", "nurse"].map(|name| server.jid(name).expect("a JID"));
    server.befriend(&juliet, &nurse);
    let failures = failures(&named).await.expect("a refusal");
    assert!(failures.contains("as a contact") && failures.lines().count() == 1, "{failures}");
    assert_eq!((server.roster(&juliet).len(), server.roster(&nurse).len()), (1, 1));
}
