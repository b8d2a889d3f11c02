//! From a domain to a byte stream: DNS, TCP and TLS.
//!
//! [`connect`] finds the servers of a domain by SRV (RFC 6120 §3.2, XEP-0368), races IPv4 and IPv6 (RFC 8305) and, for
//! direct TLS, ends with a verified TLS stream. Where the server is reached in plain text, [`start_tls`] upgrades the
//! connection after the STARTTLS negotiation, which is not done here. What is accepted as a certificate is a [`Trust`].
//!
//! # What is tried, and in which order
//!
//! 1. An [explicit host](ConnectOptions::host), if there is one, and nothing else.
//! 2. For an IP literal and for `localhost`: port 5222 with STARTTLS; DNS is not asked (R43).
//! 3. The servers that `_xmpps-client._tcp` (direct TLS) and `_xmpp-client._tcp` (STARTTLS) name, as one set, by priority and
//!    weight (RFC 2782, XEP-0368). A service whose only target is `.` is not offered.
//! 4. Where neither service has a record, and also where DNS fails: the domain itself, port 5222 with STARTTLS
//!    (RFC 6120 §3.2.2).
//!
//! Each host's addresses are raced (RFC 8305): IPv6 first, the families in turn, a new attempt every 250 ms or as soon as one
//! fails. A server with direct TLS must also finish its handshake, else the next one is tried; only a refused certificate is
//! final. The error names every attempt.
//!
//! # Security
//!
//! The certificate must be for the domain of the JID, in a subject alternative name: neither a name from DNS nor the subject's
//! common name counts (R43). TLS is 1.2 or newer. With the backend native-tls there is no `tls-exporter` channel binding, no
//! session resumption, and the TLS version is not reported (D27).
//!
//! Everything here is cancel-safe: dropping a future closes what it had opened. All futures are `Send`.

#[cfg(feature = "native-tls")]
mod certificate;
mod dns;
mod establish;
mod host;
mod info;
#[cfg(feature = "native-tls")]
mod native;
mod options;
#[cfg(feature = "native-tls")]
mod probe;
mod race;
mod shared;
mod srv;
mod tls;
mod transport;
mod trust;

pub(crate) use info::Particulars;
pub use info::{Connection, ConnectionInfo, TlsBackend, TlsBinding, TlsBindingKind, TlsInfo, TlsVersion};
pub use options::{ConnectOptions, ExplicitHost, Timeouts, TlsMode, TlsPolicy};
pub use shared::Shared;
pub use transport::{Connector, Target, TcpConnector, Transport};
pub use trust::Trust;

use crate::error::{ErrorKind, Phase, ProtocolError, Result};

/// Connects to the server of a domain, as the [module](self) describes.
///
/// The connection that comes back is either inside TLS already (`info().tls` is `Some`: direct TLS), or in plain text,
/// and then the stream must negotiate STARTTLS and call [`start_tls`].
///
/// Cancel-safe: dropping the future gives up everything that was under way.
///
/// # Errors
/// - [`ErrorKind::Connect`] with every attempt that was made and the reason that says most. A deadline that passed is
///   [`ConnectReason::TimedOut`](crate::error::ConnectReason::TimedOut), DNS that stays silent
///   [`ConnectReason::DnsFailed`](crate::error::ConnectReason::DnsFailed).
/// - [`ErrorKind::Certificate`] if a server with direct TLS showed a certificate that is not accepted; no other server is tried.
/// - [`ErrorKind::Tls`], [`ErrorKind::Timeout`] or [`ErrorKind::Closed`] with [`Phase::TlsHandshake`] if no server could be
///   connected to and one with direct TLS got that far.
/// - [`TlsError::NoBackend`](crate::error::TlsError::NoBackend) if TLS is required and this build has none.
/// - [`ErrorKind::NoRuntime`] outside a tokio runtime.
///
/// ```no_run
/// use xmppkit::connection::{ConnectOptions, connect};
///
/// # async fn example() -> xmppkit::Result<()> {
/// let connection = connect(&ConnectOptions::new("example.org")).await?;
/// println!("connected to {}", connection.info().target);
/// # Ok(())
/// # }
/// ```
pub async fn connect(options: &ConnectOptions) -> Result<Connection> {
    in_runtime()?;
    Box::pin(establish::establish(options)).await
}

/// Starts TLS on a connection in plain text, after the server's `<proceed/>` (RFC 6120 §5.4.2.3).
///
/// Nothing is buffered in a [`Connection`], so nothing that came before the handshake can be read after it; the caller must
/// drop what it has read itself.
///
/// Cancel-safe in that dropping the future closes the connection.
///
/// # Errors
/// [`ErrorKind::Certificate`] if the certificate is not accepted; [`ErrorKind::Tls`]; [`ErrorKind::Timeout`] or
/// [`ErrorKind::Closed`] with [`Phase::TlsHandshake`]; [`ErrorKind::Protocol`] if the connection is inside TLS already
/// (XEP-0368 forbids STARTTLS there); [`ErrorKind::NoRuntime`] outside a tokio runtime.
pub async fn start_tls(connection: Connection, options: &ConnectOptions) -> Result<Connection> {
    in_runtime()?;
    if connection.info().tls.is_some() {
        return Err(ErrorKind::Protocol(ProtocolError::Unexpected(Phase::StartTls)).into());
    }
    let host = establish::domain_of(options)?;
    Box::pin(tls::secure(connection, &host, TlsMode::StartTls, options)).await
}

fn in_runtime() -> Result<()> {
    tokio::runtime::Handle::try_current().map(drop).map_err(|_| ErrorKind::NoRuntime.into())
}
