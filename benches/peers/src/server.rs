//! A scripted server, in a process of its own: it logs everybody in and then sends what it was told to.
//!
//! SCRAM-SHA-1 with one password, in the clear or after STARTTLS; no stream management. What it prints on its first line is its
//! port; it serves until it is killed.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use sha1::Sha1;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use xmppkit::xml::{Frame, Framer, Limits, StreamItem, escape_attr, ns};

use crate::archive::Archive;
use crate::corpus;

pub(crate) const DOMAIN: &str = "capulet.example";
pub(crate) const PASSWORD: &str = "secret";
const SALT: &[u8] = b"salt of everybody";
const ITERATIONS: u32 = 4096;

/// What it does with those who are logged in.
pub(crate) struct Script {
    /// What it sends when they say that they are there; then it ends the stream.
    pub(crate) blast: Option<Vec<u8>>,
    /// How many contacts they have.
    pub(crate) contacts: usize,
    /// How many resources of contacts are there.
    pub(crate) resources: usize,
    pub(crate) archive: Option<Archive>,
}

/// Serves for ever. With a path, TLS is required, and the certificate is written there.
pub(crate) fn serve(script: Script, certificate: Option<&str>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let acceptor = certificate.map(acceptor);
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        println!("{}", listener.local_addr().expect("an address").port());
        let shared = Arc::new(Shared { script, salted: salted(), acceptor });
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("a socket");
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let mut connection = Connection { shared, secured: false, account: None, nonce: String::new(), bound: false };
                // Who has what it wants may go without a word.
                let _ = connection.talk(socket).await;
            });
        }
    });
}

fn acceptor(path: &str) -> TlsAcceptor {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([DOMAIN.to_owned()]).expect("a certificate");
    std::fs::write(path, cert.pem()).expect("the certificate's file");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}

struct Shared {
    script: Script,
    salted: [u8; 20],
    acceptor: Option<TlsAcceptor>,
}

struct Connection {
    shared: Arc<Shared>,
    secured: bool,
    account: Option<String>,
    /// What the client's first SASL message said, and what was answered.
    nonce: String,
    bound: bool,
}

/// What follows an element.
enum Next {
    Go,
    Restart,
    StartTls,
    Blast,
}

impl Connection {
    async fn talk(&mut self, mut socket: tokio::net::TcpStream) -> std::io::Result<()> {
        if !self.converse(&mut socket).await? {
            return Ok(());
        }
        let acceptor = self.shared.acceptor.clone().expect("TLS was offered");
        let mut socket = acceptor.accept(socket).await?;
        self.secured = true;
        self.converse(&mut socket).await.map(drop)
    }

    /// Answers until the stream ends; true where TLS is to start.
    async fn converse(&mut self, socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<bool> {
        let mut framer = Framer::new(Limits::default());
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = socket.read(&mut buffer).await?;
            if count == 0 {
                return Ok(false);
            }
            framer.push(&buffer[..count]);
            let mut out = String::new();
            let mut blast = false;
            loop {
                match framer.next_item().map_err(std::io::Error::other)? {
                    None => break,
                    Some(StreamItem::Open(_)) => self.open(&mut out),
                    Some(StreamItem::Element(element)) => match self.element(&element, &mut out) {
                        Next::Go => {}
                        Next::Restart => framer = Framer::new(Limits::default()),
                        Next::StartTls => {
                            socket.write_all(out.as_bytes()).await?;
                            return Ok(true);
                        }
                        Next::Blast => blast = true,
                    },
                    Some(_) => {
                        out.push_str("</stream:stream>");
                        socket.write_all(out.as_bytes()).await?;
                        socket.shutdown().await?;
                        return Ok(false);
                    }
                }
            }
            socket.write_all(out.as_bytes()).await?;
            socket.flush().await?;
            if blast {
                self.blast(socket).await?;
            }
        }
    }

    fn open(&self, out: &mut String) {
        out.push_str(corpus::HEADER);
        out.push_str("<stream:features>");
        if self.account.is_some() {
            out.push_str("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
        } else if self.shared.acceptor.is_some() && !self.secured {
            out.push_str("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>");
        } else {
            out.push_str("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism></mechanisms>");
        }
        out.push_str("</stream:features>");
    }

    fn element(&mut self, element: &Frame, out: &mut String) -> Next {
        match element.name() {
            "starttls" => {
                out.push_str("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                Next::StartTls
            }
            "auth" => {
                self.challenge(&sasl(element), out);
                Next::Go
            }
            "response" => {
                self.success(&sasl(element), out);
                Next::Restart
            }
            "iq" => {
                self.iq(element, out);
                Next::Go
            }
            "presence" if self.bound && element.attr("to").is_none() => {
                self.bound = false;
                write_resources(self.shared.script.resources, out);
                Next::Blast
            }
            _ => Next::Go,
        }
    }

    /// The server's first message (RFC 5802 §7).
    fn challenge(&mut self, first: &str, out: &mut String) {
        let bare = first.splitn(3, ',').nth(2).unwrap_or_default();
        let name = bare.split(',').find_map(|part| part.strip_prefix("n=")).unwrap_or_default();
        let nonce = bare.split(',').find_map(|part| part.strip_prefix("r=")).unwrap_or_default();
        let answer = format!("r={nonce}-server,s={},i={ITERATIONS}", BASE64.encode(SALT));
        self.nonce = format!("{bare},{answer}");
        self.account = Some(format!("{name}@{DOMAIN}"));
        let _ = write!(out, "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</challenge>", BASE64.encode(answer));
    }

    /// The server's signature; the client's proof is believed.
    fn success(&self, last: &str, out: &mut String) {
        let without_proof = last.rsplit_once(",p=").map_or(last, |(message, _)| message);
        let key = hmac(&self.shared.salted, b"Server Key");
        let signature = hmac(&key, format!("{},{without_proof}", self.nonce).as_bytes());
        let verifier = BASE64.encode(format!("v={}", BASE64.encode(signature)));
        let _ = write!(out, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{verifier}</success>");
    }

    fn iq(&mut self, iq: &Frame, out: &mut String) {
        if !matches!(iq.attr("type").as_deref(), Some("get" | "set")) {
            return;
        }
        let id = iq.attr("id").unwrap_or_default();
        let id = escape_attr(&id);
        let account = self.account.clone().unwrap_or_default();
        if let Some(query) = iq.child(ns::MAM, "query")
            && let Some(archive) = &self.shared.script.archive
        {
            return archive.answer(query, &id, &account, out);
        }
        let _ = write!(out, "<iq type='result' id='{id}'");
        if let Some(to) = iq.attr("to") {
            let _ = write!(out, " from='{}'", escape_attr(&to));
        }
        out.push('>');
        if iq.child(ns::BIND, "bind").is_some() {
            self.bound = true;
            let _ = write!(out, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{account}/balcony</jid></bind>");
        } else if iq.child(ns::ROSTER, "query").is_some() {
            out.push_str("<query xmlns='jabber:iq:roster'>");
            for contact in 0..self.shared.script.contacts {
                let _ = write!(
                    out,
                    "<item jid='contact{contact}@montague.example' name='Contact {contact}' subscription='both'>\
                     <group>Friends</group></item>"
                );
            }
            out.push_str("</query>");
        } else if iq.child(ns::DISCO_INFO, "query").is_some() {
            out.push_str("<query xmlns='http://jabber.org/protocol/disco#info'><identity category='account' type='registered'/>");
            out.push_str("<feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:carbons:2'/>");
            if self.shared.script.archive.is_some() {
                out.push_str("<feature var='urn:xmpp:mam:2'/><feature var='urn:xmpp:sid:0'/>");
            }
            out.push_str("</query>");
        }
        out.push_str("</iq>");
    }

    /// Sends everything, and takes what the client says meanwhile.
    async fn blast(&self, socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
        let Some(bytes) = &self.shared.script.blast else { return Ok(()) };
        let (mut reader, mut writer) = tokio::io::split(socket);
        let write = async {
            for part in bytes.chunks(256 * 1024) {
                writer.write_all(part).await?;
            }
            writer.flush().await
        };
        let read = async {
            let mut buffer = vec![0; 64 * 1024];
            while reader.read(&mut buffer).await? > 0 {}
            Ok(())
        };
        let (written, read) = futures::future::join(write, read).await;
        written.and(read)
    }
}

/// Presence of so many resources, three of each contact.
fn write_resources(resources: usize, out: &mut String) {
    for resource in 0..resources {
        let _ = write!(
            out,
            "<presence from='contact{}@montague.example/{}' to='juliet@{DOMAIN}/balcony'><show>away</show>\
             <priority>{}</priority></presence>",
            resource / 3,
            ["phone", "laptop", "tablet"][resource % 3],
            resource % 3,
        );
    }
}

/// What a SASL element says.
fn sasl(element: &Frame) -> String {
    let bytes = BASE64.decode(&*element.root().text()).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn salted() -> [u8; 20] {
    pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(PASSWORD.as_bytes(), SALT, ITERATIONS)
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
