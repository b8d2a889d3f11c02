//! A TLS server on loopback with any certificate, and the authority that signs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SignatureAlgorithm,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
    pub(super) der: Vec<u8>,
}

/// A certificate with its key.
pub(super) struct Identity {
    pub(super) der: Vec<u8>,
    key: Vec<u8>,
}

impl Authority {
    /// An authority with a name of its own.
    pub(super) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        Self::called(&format!("Authority {}", COUNT.fetch_add(1, Ordering::Relaxed)), &PKCS_ECDSA_P256_SHA256)
    }

    pub(super) fn called(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named(name);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names; IP literals become IP names.
    pub(super) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    pub(super) fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(names);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { der: certificate.der().to_vec(), key: key.serialize_der() }
    }
}

/// A certificate that vouches for itself.
pub(super) fn self_signed(names: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = leaf(names).self_signed(&key).unwrap();
    Identity { der: certificate.der().to_vec(), key: key.serialize_der() }
}

fn leaf(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = named("Test server");
    params
}

pub(super) fn named(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

/// How a server opens a connection, and what it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// TLS from the first byte, answering ALPN.
    Direct,
    /// TLS from the first byte, knowing no ALPN.
    DirectWithoutAlpn,
    /// The stream header, features and STARTTLS.
    StartTls,
    /// The same, with an element in plain text behind `<proceed/>`.
    StartTlsInjecting,
    /// A stream header at once, as if this were no TLS port.
    PlainText,
    /// Closes as soon as the client has spoken.
    Closes,
}

/// What a server saw of one connection, when that is over.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The name the client asked for.
    pub(super) sni: Option<String>,
    /// The protocol agreed on.
    pub(super) alpn: Option<Vec<u8>>,
    /// Whether the handshake was finished.
    pub(super) secured: bool,
    /// What came in plain text.
    pub(super) plain: String,
    /// What came inside TLS.
    pub(super) secret: Vec<u8>,
}

/// The running server; it ends when dropped. What comes inside TLS is echoed.
pub(super) struct TlsServer {
    pub(super) port: u16,
    sessions: mpsc::UnboundedReceiver<Session>,
    task: JoinHandle<()>,
}

impl TlsServer {
    pub(super) async fn start(identity: &Identity, opening: Opening) -> Self {
        Self::start_on("127.0.0.1", identity, opening, rustls::DEFAULT_VERSIONS).await
    }

    pub(super) async fn start_on(
        address: &str,
        identity: &Identity,
        opening: Opening,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(identity.der.clone())],
                PrivateKeyDer::try_from(identity.key.clone()).unwrap(),
            )
            .unwrap();
        if opening != Opening::DirectWithoutAlpn {
            config.alpn_protocols = vec![b"xmpp-client".to_vec()];
        }
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (finished, sessions) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, finished) = (acceptor.clone(), finished.clone());
                tokio::spawn(async move {
                    let mut session = Session::default();
                    // A client that goes away in the middle is what many tests are about.
                    let _ = serve(socket, opening, acceptor, &mut session).await;
                    let _ = finished.send(session);
                });
            }
        });
        Self { port, sessions, task }
    }

    /// The next connection that is over.
    pub(super) async fn session(&mut self) -> Session {
        self.sessions.recv().await.unwrap()
    }

    /// How many connections have come to an end unseen.
    pub(super) fn unseen(&self) -> usize {
        self.sessions.len()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
    id='1' version='1.0'>";
const FEATURES: &str =
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

async fn serve(mut socket: TcpStream, opening: Opening, acceptor: TlsAcceptor, session: &mut Session) -> std::io::Result<()> {
    match opening {
        Opening::Direct | Opening::DirectWithoutAlpn => {}
        Opening::StartTls | Opening::StartTlsInjecting => {
            read_until(&mut socket, &mut session.plain, "xmlns:stream='http://etherx.jabber.org/streams'>").await?;
            socket.write_all(format!("{HEADER}{FEATURES}").as_bytes()).await?;
            read_until(&mut socket, &mut session.plain, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
            let injected = if opening == Opening::StartTlsInjecting { "<injected/>" } else { "" };
            socket.write_all(format!("{PROCEED}{injected}").as_bytes()).await?;
        }
        Opening::PlainText => {
            socket.write_all(HEADER.as_bytes()).await?;
            let _ = socket.read(&mut [0; 4096]).await?;
            return Ok(());
        }
        Opening::Closes => {
            let _ = socket.read(&mut [0; 4096]).await?;
            return Ok(());
        }
    }
    let mut stream = acceptor.accept(socket).await?;
    session.secured = true;
    session.sni = stream.get_ref().1.server_name().map(str::to_owned);
    session.alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => {
                session.secret.extend(&buffer[..n]);
                stream.write_all(&buffer[..n]).await?;
                stream.flush().await?;
            }
        }
    }
}

/// Reads byte by byte, so that nothing after the text is taken from the stream.
async fn read_until<S: AsyncRead + Unpin>(stream: &mut S, read: &mut String, end: &str) -> std::io::Result<()> {
    while !read.ends_with(end) {
        read.push(char::from(stream.read_u8().await?));
    }
    Ok(())
}

/// The client's part of STARTTLS up to `<proceed/>`, and not a byte further.
pub(super) async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> std::io::Result<()> {
    let header = "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams'>";
    stream.write_all(header.as_bytes()).await?;
    let mut read = String::new();
    read_until(stream, &mut read, FEATURES).await?;
    stream.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
    read_until(stream, &mut read, PROCEED).await
}
