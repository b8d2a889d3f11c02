//! A raw client stream: bytes in, bytes out, and TLS by the system's library. It shares no code with the library under test,
//! so that a server's state can be known, and an account made, without it.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Failure, Trust};

/// How long a server may take for one answer; it may be starting, beside a build.
const ANSWER: Duration = Duration::from_secs(20);

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One client stream.
pub(crate) struct RawStream {
    io: Box<dyn Io>,
    domain: String,
    certificate: Option<Vec<u8>>,
}

impl RawStream {
    /// A TCP connection, on which nothing was said yet.
    pub(crate) async fn connect(host: &str, port: u16, domain: &str) -> Result<Self, Failure> {
        let tcp = timeout(ANSWER, TcpStream::connect((host, port))).await??;
        Ok(Self { io: Box::new(tcp), domain: domain.to_owned(), certificate: None })
    }

    /// A connection secured by STARTTLS (RFC 6120 §5), before the new stream is opened.
    pub(crate) async fn starttls(host: &str, port: u16, domain: &str, trust: &Trust) -> Result<Self, Failure> {
        let mut stream = Self::connect(host, port, domain).await?;
        let features = stream.open().await?;
        if !features.contains("urn:ietf:params:xml:ns:xmpp-tls") {
            return Err(format!("no STARTTLS offered: {features}").into());
        }
        stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
        stream.read_until(|text| text.contains("<proceed")).await?;
        stream.secure(trust).await
    }

    /// A connection secured from the first byte (XEP-0368), before the stream is opened.
    pub(crate) async fn direct_tls(host: &str, port: u16, domain: &str, trust: &Trust) -> Result<Self, Failure> {
        Self::connect(host, port, domain).await?.secure(trust).await
    }

    async fn secure(self, trust: &Trust) -> Result<Self, Failure> {
        let mut builder = native_tls::TlsConnector::builder();
        match trust {
            Trust::System => {}
            Trust::Ca(pem) => {
                builder.add_root_certificate(native_tls::Certificate::from_pem(pem.as_bytes())?);
            }
            Trust::Pin(_) | Trust::Unverified => {
                builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
            }
        }
        let connector = tokio_native_tls::TlsConnector::from(builder.build()?);
        let tls = timeout(ANSWER, connector.connect(&self.domain, self.io)).await??;
        let certificate = match tls.get_ref().peer_certificate()? {
            Some(certificate) => certificate.to_der()?,
            None => return Err("the server presented no certificate".into()),
        };
        if let Trust::Pin(pin) = trust
            && Sha256::digest(&certificate).as_slice() != pin
        {
            return Err("the server's certificate is not the pinned one".into());
        }
        Ok(Self { io: Box::new(tls), domain: self.domain, certificate: Some(certificate) })
    }

    /// The certificate the server presented (DER), once the connection is secured.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// Opens the stream, also after TLS, and returns the server's header and features as they came.
    pub(crate) async fn open(&mut self) -> Result<String, Failure> {
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            self.domain
        );
        self.send(&header).await?;
        self.read_until(|text| text.contains("</stream:features>") || text.contains("</stream:error>")).await
    }

    /// Makes an account (XEP-0077 §3.1) on a stream whose features were read.
    pub(crate) async fn register(&mut self, name: &str, password: &str) -> Result<(), Failure> {
        let request = format!(
            "<iq type='set' id='reg1'><query xmlns='jabber:iq:register'><username>{}</username><password>{}</password></query></iq>",
            escape(name),
            escape(password)
        );
        self.send(&request).await?;
        // An answer without a payload is one empty element, an error is not.
        let answer = self.read_until(|text| text.contains("<iq ") && (text.contains("</iq>") || text.contains("/>"))).await?;
        if answer.contains("type='result'") || answer.contains("type=\"result\"") {
            return Ok(());
        }
        Err(format!("registering {name} was refused: {answer}").into())
    }

    /// Writes this text.
    pub(crate) async fn send(&mut self, text: &str) -> Result<(), Failure> {
        self.io.write_all(text.as_bytes()).await?;
        Ok(self.io.flush().await?)
    }

    /// Reads until what came since the last call satisfies `enough`, and returns it.
    pub(crate) async fn read_until(&mut self, enough: impl Fn(&str) -> bool) -> Result<String, Failure> {
        let mut buffer = [0; 4096];
        let mut bytes = Vec::new();
        loop {
            match timeout(ANSWER, self.io.read(&mut buffer)).await {
                Ok(Ok(n)) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
                other => {
                    let why = match other {
                        Ok(Ok(_)) => "closed".to_owned(),
                        Ok(Err(e)) => e.to_string(),
                        Err(_) => format!("silent for {} s", ANSWER.as_secs()),
                    };
                    return Err(format!("{why}, after: {}", String::from_utf8_lossy(&bytes)).into());
                }
            }
            if let Ok(text) = std::str::from_utf8(&bytes)
                && enough(text)
            {
                return Ok(text.to_owned());
            }
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
