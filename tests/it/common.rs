//! What the tests of the client on the in-process server share.

use std::time::Duration;

use xmppkit::client::{Client, ClientBuilder, TlsMode, Trust};
use xmppkit::testing::{Builder, Server};

pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const PASSWORD: &str = "correct horse";

/// A server with two accounts.
pub(crate) fn server() -> Builder {
    Server::builder().domain(DOMAIN).account("romeo", PASSWORD).account("juliet", PASSWORD)
}

/// A builder for a client of one of its accounts.
pub(crate) fn builder(server: &Server, name: &str) -> ClientBuilder {
    let address = server.address();
    Client::builder(server.jid(name).expect("a JID"))
        .password(PASSWORD)
        .server(address.ip().to_string(), address.port(), TlsMode::StartTls)
        .trust(Trust::only_ca(server.ca_pem()).expect("the server's CA"))
}

pub(crate) async fn client(server: &Server, name: &str) -> Client {
    builder(server, name).build().await.expect("a client")
}

pub(crate) async fn online(server: &Server, name: &str) -> Client {
    let client = client(server, name).await;
    client.connect().await.expect("online");
    client
}

/// A wait that ends with a word instead of hanging.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
