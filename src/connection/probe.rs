//! A second look at a certificate that was refused.
//!
//! native-tls does not give the certificate of a handshake that failed, and without it an application could not show it to
//! its user and pin it (R44). So the server is connected to once more, this time accepting anything, only to read the
//! certificate: nothing is sent inside TLS, and the connection is dropped. Somebody on the way may show another certificate the
//! second time; that does no harm, for what the user agrees to is the fingerprint shown, and a pin accepts nothing else.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::host::Host;
use super::{ConnectOptions, Target, TlsMode, Transport, native};
use crate::xml::{self, Framer, Limits, StreamItem, ns};

/// The certificate (DER) the server at `target` shows, if it can be had in time.
pub(super) async fn certificate(target: &Target, host: &Host, mode: TlsMode, options: &ConnectOptions) -> Option<Vec<u8>> {
    let look = async {
        let mut stream = options.connector.connect(target.clone()).await.ok()?;
        if mode == TlsMode::StartTls {
            negotiate(&mut stream, &options.domain).await?;
        }
        native::look(stream, host, mode, options).await
    };
    // Connecting worked a moment ago, so one deadline is enough for everything.
    let deadline = options.timeouts.tls_handshake.max(Duration::from_secs(1));
    tokio::time::timeout(deadline, look).await.ok().flatten()
}

/// The shortest way to TLS on a stream (RFC 6120 §5.4.2). `None`: the server did not go along.
async fn negotiate(stream: &mut Box<dyn Transport>, domain: &str) -> Option<()> {
    let header = format!(
        "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='{}' xmlns:stream='{}'>",
        xml::escape_attr(domain),
        ns::CLIENT,
        ns::STREAM
    );
    stream.write_all(header.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let mut framer = Framer::new(Limits::default());
    loop {
        match framer.next_item().ok()? {
            Some(StreamItem::Element(frame)) if frame.is(ns::STREAM, "features") => {
                stream.write_all(format!("<starttls xmlns='{}'/>", ns::TLS).as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            Some(StreamItem::Element(frame)) if frame.is(ns::TLS, "proceed") => return Some(()),
            Some(StreamItem::Element(_) | StreamItem::Close) => return None,
            Some(_) => {}
            None => {
                let mut buffer = [0; 4096];
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => framer.push(&buffer[..n]),
                }
            }
        }
    }
}
