//! TLS by the operating system's library.
//!
//! native-tls gives no TLS version, no `tls-exporter`, no session resumption, and of a refused certificate only a text (D22, D27).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use native_tls::{Certificate, Protocol, TlsConnector};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::certificate::{self, Contents};
use super::host::Host;
use super::{ConnectOptions, TlsBackend, TlsBinding, TlsBindingKind, TlsInfo, TlsMode, Transport, Trust};
use crate::error::{CertificateErrorKind, Error, ErrorKind, Phase, Result, TlsError};

pub(super) use tokio_native_tls::TlsConnector as Connector;

/// The protocol's name in ALPN (XEP-0368 §"IANA Considerations").
const ALPN: &str = "xmpp-client";

/// Which configuration: one connector is made for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// What the library verifies against; `None` for nothing: pins are compared here, and a probe only looks.
    verify: Option<Trust>,
    /// Only on direct TLS (R45).
    alpn: bool,
    /// Not for IP literals (R43).
    sni: bool,
}

impl Key {
    /// Reads the system's certificates, so not for an async worker.
    pub(super) fn build(&self) -> Result<Connector> {
        let invalid = |error: native_tls::Error| Error::new(ErrorKind::Tls(TlsError::InvalidMaterial)).with_source(error);
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12)).use_sni(self.sni);
        if self.alpn {
            builder.request_alpns(&[ALPN]);
        }
        match &self.verify {
            Some(trust) => {
                builder.disable_built_in_roots(!trust.has_system());
                for der in trust.own_authorities() {
                    builder.add_root_certificate(Certificate::from_der(der).map_err(invalid)?);
                }
            }
            None => {
                // The roots would only take up memory.
                builder.disable_built_in_roots(true).danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
            }
        }
        builder.build().map(Connector::from).map_err(invalid)
    }
}

/// Why a handshake gave no connection.
#[derive(Debug)]
pub(super) enum Refused {
    /// The library refused the certificate, and does not give it.
    ByLibrary { kind: CertificateErrorKind, text: String, error: native_tls::Error },
    /// It was refused here, after the handshake.
    Here { kind: CertificateErrorKind, der: Vec<u8>, text: &'static str },
    /// On platforms that do not tell: the certificate or something else.
    Unclear(Error),
    /// Something else.
    Other(Error),
}

/// A handshake that ends with a certificate verified against `host`, or pinned; nothing was sent to the server before that.
pub(super) async fn handshake(
    stream: Box<dyn Transport>,
    host: &Host,
    mode: TlsMode,
    options: &ConnectOptions,
) -> Result<(Box<dyn Transport>, TlsInfo), Refused> {
    let pins = options.trust.pinned();
    let verify = pins.is_none().then(|| options.trust.clone());
    let (stream, info) = run(stream, host, mode, verify, options).await?;
    let Some(info) = info else {
        return Err(Refused::Other(failed("the server showed no certificate")));
    };
    match pins {
        Some(pins) if pins.contains(&info.fingerprint) => return Ok((stream, TlsInfo { pinned: true, ..info })),
        Some(_) => {
            return Err(Refused::Here { kind: CertificateErrorKind::NotPinned, der: info.peer_der, text: "" });
        }
        None => {}
    }
    // OpenSSL takes the subject's common name where there is no DNS name; R43 does not.
    match Contents::read(&info.peer_der) {
        Some(contents) if contents.is_for(host) => Ok((stream, info)),
        Some(_) => Err(Refused::Here {
            kind: CertificateErrorKind::WrongName { wanted: host.to_string() },
            der: info.peer_der,
            text: "the domain is not among its subject alternative names",
        }),
        None => Err(Refused::Here { kind: CertificateErrorKind::Other, der: info.peer_der, text: "it cannot be read" }),
    }
}

/// The certificate a server shows, whatever it is. Nothing is sent inside TLS, and the connection is dropped.
pub(super) async fn look(stream: Box<dyn Transport>, host: &Host, mode: TlsMode, options: &ConnectOptions) -> Option<Vec<u8>> {
    let (_, info) = run(stream, host, mode, None, options).await.ok()?;
    info.map(|info| info.peer_der)
}

async fn run(
    stream: Box<dyn Transport>,
    host: &Host,
    mode: TlsMode,
    verify: Option<Trust>,
    options: &ConnectOptions,
) -> Result<(Box<dyn Transport>, Option<TlsInfo>), Refused> {
    let key = Key { verify, alpn: mode == TlsMode::Direct, sni: matches!(host, Host::Name(_)) };
    let connector = options.shared.tls(key).await.map_err(Refused::Other)?;
    let ended = Arc::new(AtomicBool::new(false));
    let watched = Watched { inner: stream, ended: ended.clone() };
    let name = host.to_string();
    let stream = match tokio::time::timeout(options.timeouts.tls_handshake, connector.connect(&name, watched)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(explain(error, host, ended.load(Ordering::Relaxed))),
        Err(_) => return Err(Refused::Other(ErrorKind::Timeout(Phase::TlsHandshake).into())),
    };
    let info = describe(stream.get_ref()).map_err(|error| Refused::Other(failed(error)))?;
    Ok((Box::new(stream), info))
}

fn describe<S: io::Read + io::Write>(stream: &native_tls::TlsStream<S>) -> Result<Option<TlsInfo>, native_tls::Error> {
    let Some(certificate) = stream.peer_certificate()? else { return Ok(None) };
    let peer_der = certificate.to_der()?;
    // No binding is no reason to fail: a certificate signed by Ed25519 has none (R35).
    let end_point = stream.tls_server_end_point().ok().flatten();
    Ok(Some(TlsInfo {
        backend: TlsBackend::NativeTls,
        version: None,
        alpn: stream.negotiated_alpn().ok().flatten(),
        bindings: end_point.map(|data| TlsBinding { kind: TlsBindingKind::ServerEndPoint, data }).into_iter().collect(),
        fingerprint: certificate::fingerprint(&peer_der),
        peer_der,
        pinned: false,
    }))
}

/// Whether the library's texts are those of the table in [`certificate_kind`].
const TEXTS_ARE_KNOWN: bool = cfg!(not(any(target_os = "windows", target_vendor = "apple")));

fn explain(error: native_tls::Error, host: &Host, ended: bool) -> Refused {
    let text = error.to_string();
    if TEXTS_ARE_KNOWN && let Some(kind) = certificate_kind(&text, host) {
        return Refused::ByLibrary { kind, text: verdict(&text).to_owned(), error };
    }
    if ended {
        Refused::Other(Error::new(ErrorKind::Closed(Phase::TlsHandshake)).with_source(error))
    } else if TEXTS_ARE_KNOWN {
        Refused::Other(failed(error))
    } else {
        Refused::Unclear(failed(error))
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let source = source.into();
    Error::new(ErrorKind::Tls(TlsError::HandshakeFailed)).with_context(source.to_string()).with_source(source)
}

/// What OpenSSL says of a certificate it refuses: `…certificate verify failed… (self-signed certificate)`. The texts in
/// brackets are `X509_verify_cert_error_string`'s; those of OpenSSL 1.1, 3 and LibreSSL differ by hyphens and capitals (D22).
fn certificate_kind(text: &str, host: &Host) -> Option<CertificateErrorKind> {
    let text = text.to_ascii_lowercase().replace('-', " ");
    let says = |part: &&str| text.contains(*part);
    if !text.contains("certificate verify failed") {
        return None;
    }
    const NAME: &[&str] = &["hostname mismatch", "ip address mismatch"];
    const DATE: &[&str] = &["certificate has expired", "certificate is not yet valid"];
    const ISSUER: &[&str] = &[
        "self signed certificate",
        "unable to get issuer certificate",
        "unable to get local issuer certificate",
        "unable to verify the first certificate",
        // An authority of the same name with another key.
        "certificate signature failure",
        "certificate not trusted",
        "invalid ca certificate",
    ];
    Some(if NAME.iter().any(says) {
        CertificateErrorKind::WrongName { wanted: host.to_string() }
    } else if DATE.iter().any(says) {
        CertificateErrorKind::Expired
    } else if ISSUER.iter().any(says) {
        CertificateErrorKind::UnknownIssuer
    } else {
        CertificateErrorKind::Other
    })
}

/// The part of OpenSSL's text that is for people: what stands in the last brackets.
fn verdict(text: &str) -> &str {
    text.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or(text, |(verdict, _)| verdict)
}

/// A stream that remembers whether the other side ended it: from the library's error alone that cannot be told.
struct Watched {
    inner: Box<dyn Transport>,
    ended: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining() > 0);
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        match &result {
            Poll::Ready(Ok(())) if !room || buf.filled().len() > before => {}
            Poll::Ready(_) => self.ended.store(true, Ordering::Relaxed),
            Poll::Pending => {}
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        if matches!(result, Poll::Ready(Err(_))) {
            self.ended.store(true, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as `native_tls::Error` prints them: OpenSSL 1.1.1, 3.0 and LibreSSL.
    #[test]
    fn openssl_texts_have_their_kinds() {
        let wrong_name = CertificateErrorKind::WrongName { wanted: "example.org".into() };
        let v3 =
            "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:../ssl/statem/x.c:1883:";
        let v1 = "error:1416F086:SSL routines:tls_process_server_certificate:certificate verify failed:ssl/statem/x.c:1915:";
        for (text, kind) in [
            (format!("{v3} (self-signed certificate)"), CertificateErrorKind::UnknownIssuer),
            (format!("{v3} (self-signed certificate in certificate chain)"), CertificateErrorKind::UnknownIssuer),
            (format!("{v1} (self signed certificate)"), CertificateErrorKind::UnknownIssuer),
            (format!("{v1} (unable to get local issuer certificate)"), CertificateErrorKind::UnknownIssuer),
            (format!("{v1} (unable to verify the first certificate)"), CertificateErrorKind::UnknownIssuer),
            (format!("{v3} (certificate has expired)"), CertificateErrorKind::Expired),
            (format!("{v3} (certificate is not yet valid)"), CertificateErrorKind::Expired),
            (format!("{v3} (hostname mismatch)"), wrong_name.clone()),
            (format!("{v1} (Hostname mismatch)"), wrong_name.clone()),
            (format!("{v1} (IP address mismatch)"), wrong_name),
            (format!("{v3} (CA md too weak)"), CertificateErrorKind::Other),
            (v3.to_owned(), CertificateErrorKind::Other),
        ] {
            assert_eq!(certificate_kind(&text, &Host::Name("example.org".into())), Some(kind), "{text}");
        }
        assert_eq!(verdict(&format!("{v3} (self-signed certificate)")), "self-signed certificate");
        assert_eq!(verdict(v3), v3);
    }

    #[test]
    fn what_is_not_about_our_verification_is_no_certificate_error() {
        for text in [
            "error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../ssl/record/x.c:354:",
            "error:0A000412:SSL routines:ssl3_read_bytes:sslv3 alert bad certificate:../ssl/record/x.c:1586:SSL alert number 42",
            "error:0A000418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:../ssl/record/x.c:1586:SSL alert number 48",
            "unexpected EOF",
        ] {
            assert_eq!(certificate_kind(text, &Host::Name("example.org".into())), None, "{text}");
        }
    }
}
