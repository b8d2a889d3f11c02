//! From a domain to a byte stream: DNS, TCP and TLS.
//!
//! [`connect`] finds the servers of a domain by SRV (RFC 6120 §3.2, XEP-0368), races IPv4 and IPv6 (RFC 8305) and, for
//! direct TLS, ends with a verified TLS stream. Where the server is reached in plain text, [`start_tls`] upgrades the
//! connection after the STARTTLS negotiation, which is not done here. What is accepted as a certificate is a [`Trust`].

mod options;
mod shared;
mod transport;
mod trust;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use options::{ConnectOptions, ExplicitHost, Timeouts, TlsMode, TlsPolicy};
pub use shared::Shared;
pub use transport::{Connector, Target, TcpConnector, Transport};
pub use trust::Trust;

use crate::error::{ErrorKind, Result, TlsError};

/// Connects to the server of a domain.
///
/// The connection that comes back is either inside TLS already (`info().tls` is `Some`: direct TLS), or in plain text,
/// and then the stream must negotiate STARTTLS and call [`start_tls`].
///
/// Dropping the future gives up everything that was under way.
///
/// # Errors
/// [`ErrorKind::Connect`] with every attempt; [`ErrorKind::Certificate`] if a server with direct TLS showed a certificate
/// that is not accepted (no other server is tried then); [`ErrorKind::Tls`] and [`ErrorKind::Timeout`] with
/// [`Phase::TlsHandshake`](crate::error::Phase::TlsHandshake) if the last server with direct TLS got that far.
pub async fn connect(options: &ConnectOptions) -> Result<Connection> {
    let _ = options;
    Err(ErrorKind::Tls(TlsError::NoBackend).into())
}

/// Starts TLS on a connection in plain text, after the server's `<proceed/>` (RFC 6120 §5.4.2.3).
///
/// Nothing is buffered in a [`Connection`], so nothing that came before the handshake can be read after it; the caller must
/// drop what it has read itself.
///
/// # Errors
/// [`ErrorKind::Certificate`], [`ErrorKind::Tls`], or [`ErrorKind::Timeout`] with
/// [`Phase::TlsHandshake`](crate::error::Phase::TlsHandshake).
pub async fn start_tls(connection: Connection, options: &ConnectOptions) -> Result<Connection> {
    let _ = (connection, options);
    Err(ErrorKind::Tls(TlsError::NoBackend).into())
}

/// A byte stream to a server, and what is known about it.
pub struct Connection {
    stream: Box<dyn Transport>,
    info: ConnectionInfo,
}

impl Connection {
    /// A connection made elsewhere.
    #[must_use]
    pub fn new(stream: Box<dyn Transport>, info: ConnectionInfo) -> Self {
        Self { stream, info }
    }

    /// What is known about it.
    #[must_use]
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// The stream and the information, apart.
    #[must_use]
    pub fn into_parts(self) -> (Box<dyn Transport>, ConnectionInfo) {
        (self.stream, self.info)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("info", &self.info).finish_non_exhaustive()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What is known about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The host that was tried and its port, for people: `xmpp1.example.org:5222`.
    pub target: String,
    /// The server's address, unless the connector keeps it to itself.
    pub address: Option<SocketAddr>,
    /// Whether TLS started with the first byte (XEP-0368).
    pub direct_tls: bool,
    /// TLS, where it is in use.
    pub tls: Option<TlsInfo>,
}

impl ConnectionInfo {
    /// A connection in plain text to this target.
    #[must_use]
    pub fn new(target: impl Into<String>, address: Option<SocketAddr>) -> Self {
        Self { target: target.into(), address, direct_tls: false, tls: None }
    }
}

/// What is known about TLS on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// What does it.
    pub backend: TlsBackend,
    /// The version, where the backend tells (native-tls does not; it is 1.2 or higher).
    pub version: Option<TlsVersion>,
    /// The protocol the server chose by ALPN, if it answered.
    pub alpn: Option<Vec<u8>>,
    /// What the backend gives for channel binding, strongest first (RFC 5929, RFC 9266).
    pub bindings: Vec<TlsBinding>,
    /// The server's certificate (DER).
    pub peer_der: Vec<u8>,
    /// Its SHA-256, as [`Trust::pin`] takes it.
    pub fingerprint: [u8; 32],
    /// Whether it was accepted by a pin.
    pub pinned: bool,
}

/// Data for channel binding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsBinding {
    /// Its type.
    pub kind: TlsBindingKind,
    /// The data.
    pub data: Vec<u8>,
}

/// A type of channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsBindingKind {
    /// `tls-exporter` (RFC 9266).
    Exporter,
    /// `tls-server-end-point` (RFC 5929 §4).
    ServerEndPoint,
}

/// What does TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsBackend {
    /// The operating system's library: OpenSSL, SChannel or Secure Transport.
    NativeTls,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}
