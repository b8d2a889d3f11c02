//! The suite for real servers, on the server inside the test process, in every dialect (R57).

use futures::StreamExt;
use xmppkit::testing::{Dialect, Server};

use crate::suite;
use crate::support::{ServerUnderTest, Trust, report};

#[tokio::test]
async fn the_suite_passes_in_every_dialect() {
    let reports: Vec<_> = futures::stream::iter(Dialect::ALL)
        .then(async |dialect| {
            let server = Server::builder().domain("example.org").dialect(dialect).start().await.expect("a server");
            let name = format!("the server inside the test, as {dialect:?}");
            let host = server.address().ip().to_string();
            let direct_tls = Some(server.direct_tls_address().port());
            let trust = Trust::Ca(String::from_utf8(server.ca_pem().to_vec()).expect("PEM"));
            let under_test =
                ServerUnderTest::with_registration(name, &host, server.address().port(), direct_tls, server.domain(), trust);
            let result = suite::run(&under_test).await;
            report(&result.text());
            result.failures()
        })
        .collect()
        .await;
    let failures: Vec<String> = reports.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
