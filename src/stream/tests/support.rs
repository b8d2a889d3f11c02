//! A bench for the core and a scripted server, both in memory. Nothing here reads a clock after the bench was made.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use jid::{BareJid, ResourcePart};
use sha2::Sha256;

use crate::auth::{Credentials, KeyRequest, Policy, ScramHash, Secret};
use crate::error::{Error, ErrorKind};
use crate::stream::{Answer, Ask, AskId, BeforeAuth, CoreConfig, Ended, Event, Framing, Input, Output, StreamCore, TlsRule};
use crate::xml::{OutStanza, Stanza};

pub(super) const DOMAIN: &str = "im.example.com";
pub(super) const ACCOUNT: &str = "juliet@im.example.com";
pub(super) const FULL: &str = "juliet@im.example.com/balcony";
pub(super) const PASSWORD: &str = "r0m30myr0m30";

/// The configuration of an account whose policy allows cheap key derivations.
pub(super) fn config() -> CoreConfig {
    let mut config = CoreConfig::new(BareJid::new(ACCOUNT).unwrap(), Credentials::new("juliet", PASSWORD));
    config.resource = Some(ResourcePart::new("balcony").unwrap().into_owned());
    config.policy = Policy::default().iterations(1..=100_000);
    config
}

pub(super) fn with(change: impl FnOnce(&mut CoreConfig)) -> CoreConfig {
    let mut config = config();
    change(&mut config);
    config
}

pub(super) fn direct_tls(config: &mut CoreConfig) {
    config.tls = TlsRule::AlreadySecured { bindings: Vec::new() };
}

pub(super) fn iq(xml: &str) -> OutStanza {
    OutStanza::from_xml(&xml.replacen("<iq ", "<iq xmlns='jabber:client' ", 1)).unwrap()
}

/// A core, its time, and what came out of it.
pub(super) struct Bench {
    pub(super) core: StreamCore,
    pub(super) now: Instant,
    /// Outputs not looked at yet.
    pub(super) out: Vec<Output>,
    /// Everything the core wrote; on message transports one entry per message.
    pub(super) sent: Vec<String>,
    /// Whether questions for randomness and keys, and the TLS handshake, are answered by the bench.
    pub(super) obliging: bool,
    direct_tls: bool,
}

impl Bench {
    pub(super) fn new(config: CoreConfig) -> Self {
        let now = Instant::now();
        let direct_tls = matches!(config.tls, TlsRule::AlreadySecured { .. });
        let core = StreamCore::new(config, now).unwrap();
        Self { core, now, out: Vec::new(), sent: Vec::new(), obliging: true, direct_tls }
    }

    /// A bench around a core that was made already, of this configuration.
    pub(super) fn around(core: StreamCore, now: Instant, config: &CoreConfig) -> Self {
        let direct_tls = matches!(config.tls, TlsRule::AlreadySecured { .. });
        Self { core, now, out: Vec::new(), sent: Vec::new(), obliging: true, direct_tls }
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.core.handle(input, self.now);
        self.drain();
    }

    pub(super) fn start(&mut self) {
        self.input(Input::Start);
    }

    pub(super) fn feed(&mut self, text: &str) {
        self.input(Input::Bytes(text.as_bytes()));
    }

    pub(super) fn after(&mut self, time: Duration) {
        self.now += time;
        self.input(Input::Timer);
    }

    pub(super) fn answer(&mut self, id: AskId, answer: Answer) {
        self.input(Input::Answer(id, answer));
    }

    fn drain(&mut self) {
        loop {
            let mut reply = None;
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::StartTls if self.obliging => {
                        self.out.push(output);
                        reply = Some(Input::TlsDone { bindings: Vec::new() });
                    }
                    Output::Ask(id, Ask::Random(n)) if self.obliging => {
                        reply = Some(Input::Answer(id, Answer::Random((0..n).map(|i| i as u8).collect())));
                    }
                    Output::Ask(id, Ask::DeriveKeys(request)) if self.obliging => {
                        reply = Some(Input::Answer(id, Answer::Keys(request.derive())));
                    }
                    output => self.out.push(output),
                }
            }
            self.take();
            match reply {
                Some(input) => self.core.handle(input, self.now),
                None => return,
            }
        }
    }

    fn take(&mut self) {
        loop {
            let mut bytes = Vec::new();
            if !self.core.take_transmit(&mut bytes) {
                return;
            }
            self.sent.push(String::from_utf8(bytes).unwrap());
        }
    }

    /// What was written since this was asked last.
    pub(super) fn written(&mut self) -> String {
        std::mem::take(&mut self.sent).concat()
    }

    /// What came out since this was asked last, one line each.
    pub(super) fn lines(&mut self) -> Vec<String> {
        self.out.drain(..).map(|o| describe(&o)).collect()
    }

    /// Talks with the server until neither has anything left to say.
    pub(super) fn talk(&mut self, server: &mut Server) {
        server.secure |= self.direct_tls;
        let mut looked = 0;
        while looked < self.sent.len() {
            let message = self.sent[looked].clone();
            looked += 1;
            for reply in server.hear(&message) {
                self.feed(&reply);
            }
        }
    }

    pub(super) fn log_in(config: CoreConfig, server: &mut Server) -> Self {
        let mut bench = Self::new(config);
        bench.start();
        bench.talk(server);
        bench
    }

    /// A bench whose session has begun; nothing is left to look at.
    pub(super) fn online() -> Self {
        let mut bench = Self::log_in(with(direct_tls), &mut Server::new(Framing::Tcp));
        assert!(bench.core.is_bound(), "{:?}", bench.lines());
        bench.sent.clear();
        bench.out.clear();
        bench
    }

    /// How the stream ended, which must be the last thing that came out.
    pub(super) fn ended(&mut self) -> Ended {
        match self.out.pop() {
            Some(Output::Closed(ended)) => ended,
            other => panic!("not ended, but {:?} in {:?}", other.as_ref().map(describe), self.core.phase()),
        }
    }

    /// The kind of the error the stream ended with.
    pub(super) fn failure(&mut self) -> ErrorKind {
        match self.ended() {
            Ended::Failed(error) => error.kind().clone(),
            other => panic!("ended with {other:?}"),
        }
    }

    /// The replies that came, by token.
    pub(super) fn replies(&mut self) -> Vec<(u64, Result<Stanza, Error>)> {
        let mut replies = Vec::new();
        self.out.retain_mut(|output| match output {
            Output::Event(Event::Reply { token, result }) => {
                let empty = Err(ErrorKind::Other.into());
                replies.push((*token, std::mem::replace(result, empty)));
                false
            }
            _ => true,
        });
        replies
    }
}

/// One line that says all that matters of an output.
pub(super) fn describe(output: &Output) -> String {
    match output {
        Output::StartTls => "start tls".to_owned(),
        Output::Ask(_, Ask::Random(n)) => format!("ask random {n}"),
        Output::Ask(_, Ask::DeriveKeys(_)) => "ask keys".to_owned(),
        Output::Ask(_, Ask::BeforeAuth(BeforeAuth::Ready { .. })) => "ask before-auth ready".to_owned(),
        Output::Ask(_, Ask::BeforeAuth(BeforeAuth::Reply { stanza })) => {
            format!("ask before-auth {}", stanza.to_standalone_xml())
        }
        Output::Event(Event::Secured) => "secured".to_owned(),
        Output::Event(Event::Authenticated { mechanism, success }) => {
            format!("authenticated by {mechanism}, verified: {}", success.verified)
        }
        Output::Event(Event::KeysRefused) => "keys refused".to_owned(),
        Output::Event(Event::Bound { jid, .. }) => format!("bound {jid}"),
        Output::Event(Event::Inbound { seq, stanza }) => format!("inbound {seq} {}", stanza.to_standalone_xml()),
        Output::Event(Event::Nonza(frame)) => format!("nonza {}", frame.to_standalone_xml()),
        Output::Event(Event::Reply { token, result: Ok(stanza) }) => format!("reply {token} {}", stanza.to_standalone_xml()),
        Output::Event(Event::Reply { token, result: Err(error) }) => format!("reply {token} {:?}", error.kind()),
        Output::Event(Event::Managed(Some(resumption))) => format!("managed, resumable by {}", resumption.id),
        Output::Event(Event::Managed(None)) => "managed".to_owned(),
        Output::Event(Event::NotManaged) => "not managed".to_owned(),
        Output::Event(Event::Resumed { jid, h, acked, .. }) => format!("resumed {jid}, h {h}, acked {acked:?}"),
        Output::Event(Event::SessionLost { acked, unresolved, h }) => {
            format!("session lost, h {h:?}, acked {acked:?}, unresolved {unresolved:?}")
        }
        Output::Event(Event::Acked(tokens)) => format!("acked {tokens:?}"),
        Output::Event(Event::Record(numbers)) => format!("record {numbers:?}"),
        Output::Event(Event::Done { seq }) => format!("done {seq}"),
        Output::Event(Event::NotSent { token }) => format!("not sent {token}"),
        Output::Closed(Ended::Clean) => "closed".to_owned(),
        Output::Closed(Ended::SeeOther(other)) => format!("closed: see {other:?}"),
        Output::Closed(Ended::Failed(error)) => format!("closed: {:?}", error.kind()),
    }
}

/// A server that reacts to what it hears. It knows nothing of the core; each field is something to do otherwise.
pub(super) struct Server {
    pub(super) framing: Framing,
    /// Features before TLS, before authentication and after it.
    pub(super) plain: String,
    pub(super) secured: String,
    pub(super) authenticated: String,
    pub(super) iterations: u32,
    /// What to say in the place of the answer that begins like this.
    pub(super) instead: Vec<(Moment, String)>,
    streams: u32,
    secure: bool,
    logged_in: bool,
    scram: Option<Scram>,
    /// Everything it said, one entry per chunk.
    pub(super) said: Vec<String>,
}

/// A moment at which the server may do something else than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Header,
    StartTls,
    Auth,
    Response,
    Bind,
    Close,
}

struct Scram {
    client_first_bare: String,
    server_first: String,
}

pub(super) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
pub(super) const SCRAM: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism>\
                                <mechanism>PLAIN</mechanism></mechanisms>";
pub(super) const BIND: &str = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";

impl Server {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            plain: STARTTLS.to_owned(),
            secured: SCRAM.to_owned(),
            authenticated: BIND.to_owned(),
            iterations: 2,
            instead: Vec::new(),
            streams: 0,
            secure: false,
            logged_in: false,
            scram: None,
            said: Vec::new(),
        }
    }

    /// The connection is inside TLS from the start.
    pub(super) fn inside_tls(mut self) -> Self {
        self.secure = true;
        self
    }

    pub(super) fn instead(mut self, moment: Moment, text: impl Into<String>) -> Self {
        self.instead.push((moment, text.into()));
        self
    }

    /// What it says to that; each entry is one chunk (one message).
    pub(super) fn hear(&mut self, text: &str) -> Vec<String> {
        let (moment, reply) = if text.contains("<stream:stream") || text.contains("<open ") {
            (Moment::Header, self.open())
        } else if text.contains("<starttls") {
            self.secure = true;
            (Moment::StartTls, vec!["<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned()])
        } else if text.contains("<auth ") {
            (Moment::Auth, vec![self.auth(text)])
        } else if text.contains("<response ") {
            self.logged_in = true;
            (Moment::Response, vec![self.success(text)])
        } else if text.contains("urn:ietf:params:xml:ns:xmpp-bind") {
            (Moment::Bind, vec![self.stanza(&bound(attribute(text, "id")))])
        } else if text.contains("</stream:stream>") {
            (Moment::Close, vec!["</stream:stream>".to_owned()])
        } else if text.contains("<close ") {
            (Moment::Close, vec!["<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>".to_owned()])
        } else {
            return Vec::new();
        };
        let reply = match self.instead.iter().position(|(m, _)| *m == moment) {
            Some(at) => vec![self.instead.remove(at).1],
            None => reply,
        };
        self.said.extend(reply.iter().cloned());
        reply
    }

    /// Puts a stanza, written for TCP, into the server's framing.
    pub(super) fn stanza(&self, xml: &str) -> String {
        match self.framing {
            Framing::WebSocket => xml.replacen("<iq ", "<iq xmlns='jabber:client' ", 1),
            _ => xml.to_owned(),
        }
    }

    fn open(&mut self) -> Vec<String> {
        self.streams += 1;
        let features = if self.logged_in {
            &self.authenticated
        } else if self.secure || self.streams > 1 {
            &self.secured
        } else {
            &self.plain
        };
        match self.framing {
            Framing::WebSocket => vec![
                format!(
                    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='s{}' from='{DOMAIN}' version='1.0'/>",
                    self.streams
                ),
                format!("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>{features}</stream:features>"),
            ],
            _ => vec![format!("{}<stream:features>{features}</stream:features>", header(self.streams))],
        }
    }

    fn auth(&mut self, text: &str) -> String {
        if attribute(text, "mechanism") != "SCRAM-SHA-256" {
            self.logged_in = true;
            return "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned();
        }
        let first = decoded(text);
        let bare = first.splitn(3, ',').nth(2).unwrap().to_owned();
        let nonce = bare.split_once("r=").unwrap().1;
        let server_first = format!("r={nonce}SERVER,s={},i={}", BASE64.encode("salt"), self.iterations);
        let challenge = sasl("challenge", &server_first);
        self.scram = Some(Scram { client_first_bare: bare, server_first });
        challenge
    }

    fn success(&mut self, text: &str) -> String {
        let Some(scram) = self.scram.take() else { return sasl("success", "") };
        let last = decoded(text);
        let without_proof = last.rsplit_once(",p=").unwrap().0;
        let message = format!("{},{},{without_proof}", scram.client_first_bare, scram.server_first);
        sasl("success", &format!("v={}", signature(PASSWORD, self.iterations, &message)))
    }
}

pub(super) fn header(number: u32) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='s{number}' \
         from='{DOMAIN}' version='1.0'>"
    )
}

pub(super) fn bound(id: &str) -> String {
    format!("<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{FULL}</jid></bind></iq>")
}

/// An element of SASL with this text inside, encoded.
pub(super) fn sasl(name: &str, text: &str) -> String {
    format!("<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</{name}>", BASE64.encode(text))
}

pub(super) fn sasl_failure(condition: &str) -> String {
    format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/><text>because</text></failure>")
}

pub(super) fn stream_error(condition: &str) -> String {
    format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
}

/// The server's signature in SCRAM-SHA-256 (RFC 5802 §3).
pub(super) fn signature(password: &str, iterations: u32, message: &str) -> String {
    let keys = KeyRequest::new(ScramHash::Sha256, b"salt".to_vec(), iterations, Secret::new(password)).derive();
    let mut mac = Hmac::<Sha256>::new_from_slice(keys.server_key()).unwrap();
    mac.update(message.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

pub(super) fn attribute<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!(" {name}='")).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split_once('\'').unwrap().0
}

/// The decoded text of the one element in `text`.
pub(super) fn decoded(text: &str) -> String {
    let inner = text.split_once('>').unwrap().1.split_once('<').unwrap().0;
    String::from_utf8(BASE64.decode(inner).unwrap()).unwrap()
}

/// A repeatable source of numbers (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`, which is not zero.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 32) as usize) % n
    }
}
