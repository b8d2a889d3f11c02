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
    use crate::error::{Error, ErrorKind};
    use std::error::Error as StdError;

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
    let (kind, der, text, source): (_, _, _, Option<Box<dyn StdError + Send + Sync>>) = match refused {
        Refused::Other(error) => return Err(error),
        Refused::Here { kind, der, text } => (kind, Some(der), text.to_owned(), None),
        Refused::ByLibrary { kind, text, error } => (kind, look_again().await, text, Some(error.into())),
        // That the same server shows a certificate to whoever accepts any says that the certificate was the trouble.
        Refused::Unclear(error) => match look_again().await {
            Some(der) => {
                let kind = certificate::guess(&der, host, std::time::SystemTime::now());
                (kind, Some(der), error.to_string(), Some(error.into()))
            }
            None => return Err(error),
        },
    };
    tracing::debug!(server = info.target, ?kind, "the certificate is refused");
    let error = Error::new(ErrorKind::Certificate(certificate::refused(kind, der, text)))
        .with_context(format!("{} showed it", info.target));
    Err(match source {
        Some(source) => error.with_source(source),
        None => error,
    })
}

/// There is no TLS in this build.
#[cfg(not(feature = "native-tls"))]
pub(super) async fn secure(_: Connection, _: &Host, _: TlsMode, _: &ConnectOptions) -> Result<Connection> {
    Err(crate::error::ErrorKind::Tls(crate::error::TlsError::NoBackend).into())
}
