//! What the tests of the client on the in-process server share.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use xmppkit::client::{Client, ClientBuilder, TlsMode, Trust};
use xmppkit::testing::{Builder, Dialect, Server};

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

/// A folder of its own, removed with everything in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xmppkit-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A wait that ends with a word instead of hanging.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Makes a test of each of these functions: it is given the builder of a server with two accounts, in one dialect after the
/// other (R57). For what a server has a part in; the client's own machinery is tested once.
macro_rules! in_every_dialect {
    ($($name:ident),* $(,)?) => {
        mod in_every_dialect {
            $(#[tokio::test]
            async fn $name() {
                crate::common::run_in_every_dialect(super::$name).await;
            })*
        }
    };
}
pub(crate) use in_every_dialect;

pub(crate) async fn run_in_every_dialect(test: impl AsyncFn(Builder)) {
    for dialect in Dialect::ALL {
        if let Err(panic) = AssertUnwindSafe(test(server().dialect(dialect))).catch_unwind().await {
            eprintln!("that was in the dialect {dialect:?}");
            resume_unwind(panic);
        }
    }
}
