//! A client that does what a test types.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::Mac as _;
use sha1::Digest as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use xmppkit::testing::Server;
use xmppkit::xml::{Frame, Framer, Limits, StreamItem};

/// Longer than any wait of a passing test.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

pub(crate) struct Client {
    pub(crate) socket: Box<dyn Socket>,
    framer: Framer,
    domain: String,
}

/// What the client read.
#[derive(Debug)]
pub(crate) enum Read {
    Header,
    Element(Frame),
    /// `</stream:stream>`
    Close,
    /// The end of the connection, and whether it was a reset.
    End {
        reset: bool,
    },
}

impl Client {
    /// To the STARTTLS port.
    pub(crate) async fn connect(server: &Server) -> Self {
        let tcp = TcpStream::connect(server.address()).await.unwrap();
        Self::over(tcp, server)
    }

    /// To the direct TLS port, handshake done.
    pub(crate) async fn connect_direct(server: &Server) -> Self {
        let tcp = TcpStream::connect(server.direct_tls_address()).await.unwrap();
        Self::over(handshake(server, tcp).await.unwrap(), server)
    }

    fn over(socket: impl Socket + 'static, server: &Server) -> Self {
        Self { socket: Box::new(socket), framer: Framer::new(Limits::default()), domain: server.domain().into() }
    }

    /// Connected, TLS started over STARTTLS, and the features after it read.
    pub(crate) async fn secured(server: &Server) -> (Self, Frame) {
        let mut client = Self::secured_with(server, &format!("<starttls xmlns='{TLS}'/>")).await;
        let features = client.open().await;
        (client, features)
    }

    /// Connected and TLS started by these words, with nothing said inside it.
    pub(crate) async fn secured_with(server: &Server, starttls: &str) -> Self {
        let tcp = TcpStream::connect(server.address()).await.unwrap();
        // The plain part by hand: the socket is needed back for TLS.
        let mut plain = Plain { tcp, framer: Framer::new(Limits::default()) };
        plain.tcp.write_all(header(server.domain()).as_bytes()).await.unwrap();
        assert!(matches!(plain.next().await, StreamItem::Open(_)));
        let StreamItem::Element(features) = plain.next().await else { panic!("no features") };
        assert!(features.child(TLS, "starttls").is_some(), "{}", features.to_standalone_xml());
        plain.tcp.write_all(starttls.as_bytes()).await.unwrap();
        let StreamItem::Element(proceed) = plain.next().await else { panic!("no proceed") };
        assert!(proceed.is(TLS, "proceed"));
        Self::over(handshake(server, plain.tcp).await.unwrap(), server)
    }

    /// Logged in by SCRAM-SHA-1 or what the server has, with this resource bound.
    pub(crate) async fn login(server: &Server, name: &str, password: &str, resource: &str) -> Self {
        let (mut client, features) = Self::secured(server).await;
        let mechanism = features.root().child(SASL, "mechanisms").unwrap().children().next().unwrap().text().into_owned();
        client.authenticate(&mechanism, name, password).await.unwrap();
        client.open().await;
        client.bind(resource).await;
        client
    }

    /// Logged in, roster asked for, presence sent and everything that came of it read.
    pub(crate) async fn online(server: &Server, name: &str, resource: &str) -> Self {
        let mut client = Self::login(server, name, "secret", resource).await;
        client.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>").await;
        client.sync().await;
        client
    }

    /// Opens a stream and reads header and features.
    pub(crate) async fn open(&mut self) -> Frame {
        self.framer.restart();
        let header = header(&self.domain);
        self.send(&header).await;
        assert!(matches!(self.next().await, Read::Header));
        self.element().await
    }

    pub(crate) async fn bind(&mut self, resource: &str) -> Frame {
        self.send(&format!("<iq type='set' id='bind'><bind xmlns='{BIND}'><resource>{resource}</resource></bind></iq>")).await;
        let reply = self.element().await;
        assert_eq!(reply.attr("id").as_deref(), Some("bind"));
        reply
    }

    /// Authenticates; `Err` has the condition of `<failure/>`.
    pub(crate) async fn authenticate(&mut self, mechanism: &str, name: &str, password: &str) -> Result<(), String> {
        if mechanism == "PLAIN" {
            self.auth(mechanism, &format!("\0{name}\0{password}")).await;
            return success(&self.element().await);
        }
        self.auth(mechanism, &format!("n,,n={name},r=clientnonce")).await;
        let challenge = self.element().await;
        if challenge.is(SASL, "failure") {
            return success(&challenge);
        }
        let challenge = sasl_text(&challenge);
        let (proof, signature) = scram(mechanism, name, password, &challenge);
        self.send(&format!("<response xmlns='{SASL}'>{}</response>", BASE64.encode(proof))).await;
        let mut answer = self.element().await;
        if answer.is(SASL, "challenge") {
            assert_eq!(sasl_text(&answer), signature);
            self.send(&format!("<response xmlns='{SASL}'/>")).await;
            answer = self.element().await;
        } else if answer.is(SASL, "success") {
            assert_eq!(sasl_text(&answer), signature);
        }
        success(&answer)
    }

    pub(crate) async fn auth(&mut self, mechanism: &str, initial: &str) {
        let data = BASE64.encode(initial);
        self.send(&format!("<auth xmlns='{SASL}' mechanism='{mechanism}'>{data}</auth>")).await;
    }

    pub(crate) async fn send(&mut self, xml: &str) {
        self.socket.write_all(xml.as_bytes()).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// The next item, whatever it is.
    pub(crate) async fn next(&mut self) -> Read {
        tokio::time::timeout(LONG, self.read()).await.expect("the server said nothing")
    }

    async fn read(&mut self) -> Read {
        let mut buffer = vec![0; 65_536];
        loop {
            match self.framer.next_item().expect("the server sends well-formed XML") {
                Some(StreamItem::Open(_)) => return Read::Header,
                Some(StreamItem::Element(frame)) => return Read::Element(frame),
                Some(StreamItem::Close) => return Read::Close,
                Some(_) => panic!("an item of a new kind"),
                None => {}
            }
            match self.socket.read(&mut buffer).await {
                Ok(0) => return Read::End { reset: false },
                Ok(n) => self.framer.push(&buffer[..n]),
                Err(e) => return Read::End { reset: e.kind() == std::io::ErrorKind::ConnectionReset },
            }
        }
    }

    /// The next element.
    pub(crate) async fn element(&mut self) -> Frame {
        match self.next().await {
            Read::Element(frame) => frame,
            other => panic!("wanted an element, got {other:?}"),
        }
    }

    /// The answer to an IQ without `to`, and what came before it.
    pub(crate) async fn ask(&mut self, kind: &str, payload: &str) -> (Frame, Vec<Frame>) {
        self.send(&format!("<iq type='{kind}' id='ask'>{payload}</iq>")).await;
        self.until("ask").await
    }

    /// Reads until the answer of this id.
    pub(crate) async fn until(&mut self, id: &str) -> (Frame, Vec<Frame>) {
        let mut before = Vec::new();
        loop {
            let frame = self.element().await;
            let answers = matches!(frame.attr("type").as_deref(), Some("result" | "error"));
            if frame.name() == "iq" && answers && frame.attr("id").as_deref() == Some(id) {
                return (frame, before);
            }
            before.push(frame);
        }
    }

    /// Everything the server had sent when it had handled all this client had sent.
    pub(crate) async fn sync(&mut self) -> Vec<Frame> {
        self.send(&format!("<iq type='get' id='sync' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>", self.domain)).await;
        self.until("sync").await.1
    }

    /// As [`sync`](Self::sync), the presence stanzas only: type (empty for available) and sender.
    pub(crate) async fn presences(&mut self) -> Vec<(String, String)> {
        let frames = self.sync().await;
        let of = |frame: &Frame, name: &str| frame.attr(name).unwrap_or_default().into_owned();
        frames.iter().filter(|f| f.name() == "presence").map(|f| (of(f, "type"), of(f, "from"))).collect()
    }

    /// The stream error the server ends the stream with.
    pub(crate) async fn stream_error(&mut self) -> String {
        loop {
            match self.next().await {
                Read::Element(frame) if frame.is("http://etherx.jabber.org/streams", "error") => {
                    let condition = frame.children().next().unwrap().name().to_owned();
                    assert!(matches!(self.next().await, Read::Close));
                    assert!(matches!(self.next().await, Read::End { reset: false }));
                    return condition;
                }
                Read::Element(_) | Read::Header => {}
                other => panic!("wanted a stream error, got {other:?}"),
            }
        }
    }
}

struct Plain {
    tcp: TcpStream,
    framer: Framer,
}

impl Plain {
    async fn next(&mut self) -> StreamItem {
        loop {
            if let Some(item) = self.framer.next_item().unwrap() {
                return item;
            }
            let mut buffer = vec![0; 4096];
            let n = self.tcp.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "the server closed");
            self.framer.push(&buffer[..n]);
        }
    }
}

pub(crate) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub(crate) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub(crate) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

pub(crate) fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='{domain}' version='1.0'>"
    )
}

/// A TLS handshake that trusts the server's CA and nothing else.
pub(crate) async fn handshake(server: &Server, tcp: TcpStream) -> std::io::Result<impl Socket + 'static> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(server.ca_der().to_vec())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(server.domain().to_owned()).unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let shown = tls.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(<[u8; 32]>::from(sha2::Sha256::digest(&shown)), server.certificate_fingerprint());
    Ok(tls)
}

/// The certificate error of a handshake, if it is one.
pub(crate) fn certificate_error(error: &std::io::Error) -> Option<&rustls::CertificateError> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(e) => Some(e),
        _ => None,
    }
}

pub(crate) fn sasl_text(frame: &Frame) -> String {
    String::from_utf8(BASE64.decode(frame.root().text().as_bytes()).unwrap()).unwrap()
}

pub(crate) fn condition(frame: &Frame) -> Option<String> {
    assert_eq!(frame.attr("type").as_deref(), Some("error"), "{}", frame.to_standalone_xml());
    Some(frame.stanza()?.error()?.condition)
}

fn success(frame: &Frame) -> Result<(), String> {
    if frame.is(SASL, "success") { Ok(()) } else { Err(frame.children().next().map(|c| c.name().to_owned()).unwrap_or_default()) }
}

/// The client's final message and the server's one to come (RFC 5802 §3).
fn scram(mechanism: &str, name: &str, password: &str, challenge: &str) -> (String, String) {
    macro_rules! with {
        ($hash:ty, $len:literal) => {{
            let hmac = |key: &[u8], data: &str| {
                let mac = <hmac::Hmac<$hash> as hmac::Mac>::new_from_slice(key).unwrap();
                mac.chain_update(data).finalize().into_bytes().to_vec()
            };
            let field = |n: &str| challenge.split(',').find_map(|f| f.strip_prefix(n)).unwrap();
            let salt = BASE64.decode(field("s=")).unwrap();
            let salted = pbkdf2::pbkdf2_hmac_array::<$hash, $len>(password.as_bytes(), &salt, field("i=").parse().unwrap());
            let client_key = hmac(&salted, "Client Key");
            let without_proof = format!("c=biws,r={}", field("r="));
            let message = format!("n={name},r=clientnonce,{challenge},{without_proof}");
            let signature = hmac(&<$hash>::digest(&client_key), &message);
            let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
            let server = hmac(&hmac(&salted, "Server Key"), &message);
            (format!("{without_proof},p={}", BASE64.encode(proof)), format!("v={}", BASE64.encode(server)))
        }};
    }
    match mechanism {
        "SCRAM-SHA-1" => with!(sha1::Sha1, 20),
        "SCRAM-SHA-256" => with!(sha2::Sha256, 32),
        "SCRAM-SHA-512" => with!(sha2::Sha512, 64),
        other => panic!("no {other} here"),
    }
}
