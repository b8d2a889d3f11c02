//! A connection, and what is known about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Target, Transport};

/// A byte stream to a server, and what is known about it.
pub struct Connection {
    pub(super) stream: Box<dyn Transport>,
    pub(super) info: ConnectionInfo,
    /// How to get there again; `None` if the connection was made elsewhere.
    pub(super) origin: Option<Target>,
}

impl Connection {
    /// A connection made elsewhere. If its certificate is refused, the error does not carry it: there is no way to ask again.
    #[must_use]
    pub fn new(stream: Box<dyn Transport>, info: ConnectionInfo) -> Self {
        Self { stream, info, origin: None }
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

/// All that there is of a connection beside its stream.
pub(crate) struct Particulars {
    info: ConnectionInfo,
    origin: Option<Target>,
}

impl Connection {
    /// The stream alone: what is read from and written to for a long time should be small.
    pub(crate) fn detach(self) -> (Box<dyn Transport>, Particulars) {
        (self.stream, Particulars { info: self.info, origin: self.origin })
    }

    /// The connection as it was before it was [detached](Self::detach).
    pub(crate) fn attach(stream: Box<dyn Transport>, particulars: Particulars) -> Self {
        Self { stream, info: particulars.info, origin: particulars.origin }
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
    /// Its SHA-256, as [`Trust::pin`](super::Trust::pin) takes it.
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
