//! The door for other ways to open a byte stream: proxies, tests, transports of an application's own.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream to a server: anything that reads and writes and can move between threads.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

impl fmt::Debug for dyn Transport + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

/// Where a [`Connector`] is to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The host: a name in ASCII form without a final dot, or an IP literal without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The address the host resolved to; `None` only if the connector [resolves names](Connector::resolves_names) itself.
    pub address: Option<SocketAddr>,
}

/// Opens byte streams. [`TcpConnector`] is the default; a proxy or a test brings its own.
///
/// ```
/// use futures::future::BoxFuture;
/// use std::{io, sync::Arc};
/// use xmppkit::connection::{ConnectOptions, Connector, Target, TcpConnector, Transport};
///
/// /// Counts on its way to TCP.
/// #[derive(Debug, Default)]
/// struct Counting(std::sync::atomic::AtomicUsize);
///
/// impl Connector for Counting {
///     fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
///         self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///         TcpConnector.connect(target)
///     }
/// }
/// let _ = ConnectOptions::new("example.org").connector(Arc::new(Counting::default()));
/// ```
pub trait Connector: fmt::Debug + Send + Sync {
    /// Opens a byte stream to the target.
    ///
    /// Several calls may be under way at once (RFC 8305); dropping the future gives its attempt up. The error's
    /// [kind](io::Error::kind) becomes the attempt's [reason](crate::error::ConnectReason).
    fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>>;

    /// Whether this connector looks names up itself, as a SOCKS proxy does. If so, DNS is never asked from here: targets
    /// come without an address, and without an [explicit host](super::ConnectOptions::host) the domain's port 5222 is the
    /// only target.
    fn resolves_names(&self) -> bool {
        false
    }
}

/// Plain TCP, without Nagle's delay.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        Box::pin(async move {
            let address = target.address.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no address"))?;
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Transport>)
        })
    }
}
