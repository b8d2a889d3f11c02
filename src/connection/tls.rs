//! From a connection to a connection inside TLS, whatever the backend.

use super::host::Host;
use super::{ConnectOptions, Connection, TlsMode};
use crate::error::Result;

/// Whether this build can do TLS at all.
pub(super) const AVAILABLE: bool = cfg!(feature = "native-tls");

/// Upgrades a connection. A certificate that is refused comes with everything that can be found out about it.
#[cfg(feature = "native-tls")]
pub(super) async fn secure(connection: Connection, host: &Host, mode: TlsMode, options: &ConnectOptions) -> Result<Connection> {
    use super::native::{self, Refused};
    use super::{certificate, probe};
    use crate::error::{CertificateErrorKind, Error, ErrorKind};

    let Connection { stream, mut info, origin } = connection;
    let look_again = async || match &origin {
        Some(target) => probe::certificate(target, host, mode, options).await,
        None => None,
    };
    let refused = match native::handshake(stream, host, mode, options).await {
        Ok((stream, tls)) => {
            info.direct_tls = mode == TlsMode::Direct;
            info.tls = Some(tls);
            return Ok(Connection { stream, info, origin });
        }
        Err(refused) => refused,
    };
    let (kind, der, text): (CertificateErrorKind, _, _) = match refused {
        Refused::Other(error) => return Err(error),
        Refused::Certificate { kind, der: Some(der), text } => (kind, Some(der), text),
        Refused::Certificate { kind, der: None, text } => (kind, look_again().await, text),
        // That the same server shows a certificate to whoever accepts any says that the certificate was the trouble.
        Refused::Unclear(error) => match look_again().await {
            Some(der) => (certificate::guess(&der, host, std::time::SystemTime::now()), Some(der), error.to_string()),
            None => return Err(error),
        },
    };
    tracing::debug!(target = info.target, ?kind, "the certificate is refused");
    Err(Error::new(ErrorKind::Certificate(certificate::refused(kind, der, text))))
}

/// There is no TLS in this build.
#[cfg(not(feature = "native-tls"))]
pub(super) async fn secure(_: Connection, _: &Host, _: TlsMode, _: &ConnectOptions) -> Result<Connection> {
    Err(crate::error::ErrorKind::Tls(crate::error::TlsError::NoBackend).into())
}
