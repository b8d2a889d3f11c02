//! A second look at a certificate that was refused.
//!
//! native-tls does not give the certificate of a handshake that failed, and without it an application could not show it to
//! its user and pin it (R44). So the server is connected to once more, this time accepting anything, only to read the
//! certificate: nothing is sent inside TLS, and the connection is dropped. Somebody on the way may show another certificate the
//! second time; that does no harm, for what the user agrees to is the fingerprint shown, and a pin accepts nothing else.

use std::time::Duration;

use super::host::Host;
use super::{ConnectOptions, Target, TlsMode, native};

/// The certificate (DER) the server at `target` shows, if it can be had in time.
pub(super) async fn certificate(target: &Target, host: &Host, mode: TlsMode, options: &ConnectOptions) -> Option<Vec<u8>> {
    let look = async {
        let stream = options.connector.connect(target.clone()).await.ok()?;
        if mode == TlsMode::StartTls {
            return None;
        }
        native::look(stream, host, mode, options).await
    };
    // Connecting worked a moment ago, so one deadline is enough for everything.
    let deadline = options.timeouts.tls_handshake.max(Duration::from_secs(1));
    tokio::time::timeout(deadline, look).await.ok().flatten()
}
