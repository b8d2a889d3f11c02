//! Connectors and listeners for tests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use xmppkit::connection::{ConnectOptions, Connector, Target, Timeouts, Transport};
use xmppkit::error::{ConnectError, ErrorKind};

/// Refuses every connection (or accepts those to one port) and notes the targets in order.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) targets: Mutex<Vec<Target>>,
    pub(super) accepts: Option<u16>,
    pub(super) resolves_names: bool,
    pub(super) silent: bool,
}

impl Recorder {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn accepting(port: u16) -> Arc<Self> {
        Arc::new(Self { accepts: Some(port), ..Self::default() })
    }

    /// `host:port` of each target, without repetitions next to one another.
    pub(super) fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<_> = self.targets().iter().map(|target| format!("{}:{}", target.host, target.port)).collect();
        hosts.dedup();
        hosts
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        self.targets.lock().unwrap().clone()
    }
}

impl Connector for Recorder {
    fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        async move {
            let port = target.port;
            self.targets.lock().unwrap().push(target);
            if self.silent {
                std::future::pending::<()>().await;
            }
            if self.accepts == Some(port) {
                return Ok(Box::new(tokio::io::duplex(64).0) as Box<dyn Transport>);
            }
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        .boxed()
    }

    fn resolves_names(&self) -> bool {
        self.resolves_names
    }
}

/// Options that ask only this DNS server.
pub(super) fn options(domain: &str, nameserver: SocketAddr) -> ConnectOptions {
    plain_options(domain).nameservers([nameserver]).timeouts(generous())
}

/// Options under which every build connects.
pub(super) fn plain_options(domain: &str) -> ConnectOptions {
    let options = ConnectOptions::new(domain);
    if cfg!(feature = "native-tls") { options } else { options.dangerous_plaintext() }
}

/// Deadlines that no healthy test meets.
pub(super) fn generous() -> Timeouts {
    let long = Duration::from_secs(30);
    Timeouts::default().resolve(long).attempt(long).tls_handshake(long).total(4 * long)
}

/// The attempts of a failed connection.
pub(super) fn connect_error(error: &xmppkit::Error) -> &ConnectError {
    match error.kind() {
        ErrorKind::Connect(e) => e,
        other => panic!("expected a connect error, got {other:?}"),
    }
}

/// A listener on loopback that accepts and stays silent.
pub(super) async fn silent_listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port on loopback that nothing listens on.
pub(super) async fn refused_port(address: &str) -> u16 {
    let ip: IpAddr = address.parse().unwrap();
    TcpListener::bind((ip, 0)).await.unwrap().local_addr().unwrap().port()
}
