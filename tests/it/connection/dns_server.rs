//! A DNS server on loopback that answers as it is told, over UDP and TCP on one port.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// What is asked for, and over what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// With a final dot, lower case.
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) tcp: bool,
}

/// The names a server knows. What is not here does not exist.
#[derive(Debug, Default, Clone)]
pub(crate) struct Zone {
    records: HashMap<(String, RecordType), Vec<RData>>,
    /// Names whose questions of one kind, or of all kinds, are answered with a code.
    codes: HashMap<(String, Option<RecordType>), ResponseCode>,
    /// Names whose questions are not answered.
    silent: Vec<(String, Option<RecordType>)>,
    /// Whether an answer over UDP is empty and marked as truncated.
    truncates: bool,
    /// Whether an alias is answered without what it stands for.
    bare_aliases: bool,
}

impl Zone {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn add(mut self, name: &str, data: RData) -> Self {
        self.records.entry((key(name), data.record_type())).or_default().push(data);
        self
    }

    /// An A or AAAA record.
    pub(crate) fn address(self, name: &str, address: &str) -> Self {
        let data = match address.parse().unwrap() {
            std::net::IpAddr::V4(ip) => RData::A(A(ip)),
            std::net::IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        self.add(name, data)
    }

    pub(crate) fn alias(self, name: &str, target: &str) -> Self {
        self.add(name, RData::CNAME(CNAME(fqdn(target))))
    }

    /// A record of `_xmpp-client._tcp.domain`.
    pub(crate) fn start_tls(self, domain: &str, priority: u16, port: u16, target: &str) -> Self {
        self.srv(&format!("_xmpp-client._tcp.{domain}"), priority, port, target)
    }

    /// A record of `_xmpps-client._tcp.domain`.
    pub(crate) fn direct(self, domain: &str, priority: u16, port: u16, target: &str) -> Self {
        self.srv(&format!("_xmpps-client._tcp.{domain}"), priority, port, target)
    }

    pub(crate) fn srv(self, name: &str, priority: u16, port: u16, target: &str) -> Self {
        self.add(name, RData::SRV(SRV::new(priority, 1, port, fqdn(target))))
    }

    /// Answers questions for this name with a code; `None` stands for every kind.
    pub(crate) fn code(mut self, name: &str, kind: Option<RecordType>, code: ResponseCode) -> Self {
        self.codes.insert((key(name), kind), code);
        self
    }

    pub(crate) fn silent(mut self, name: &str, kind: Option<RecordType>) -> Self {
        self.silent.push((key(name), kind));
        self
    }

    pub(crate) fn truncating(mut self) -> Self {
        self.truncates = true;
        self
    }

    pub(crate) fn with_bare_aliases(mut self) -> Self {
        self.bare_aliases = true;
        self
    }

    /// The answer of a recursive server: aliases with what they stand for.
    fn answer(&self, name: &str, kind: RecordType) -> Vec<Record> {
        let mut name = name.to_owned();
        let mut answer = Vec::new();
        for _ in 0..8 {
            let record = |data: &RData| Record::from_rdata(fqdn(&name), 300, data.clone());
            if let Some(found) = self.records.get(&(name.clone(), kind)) {
                answer.extend(found.iter().map(record));
                break;
            }
            let Some(aliases) = self.records.get(&(name.clone(), RecordType::CNAME)) else { break };
            answer.extend(aliases.iter().map(record));
            match &aliases[0] {
                RData::CNAME(target) if !self.bare_aliases => name = target.0.to_ascii().to_lowercase(),
                _ => break,
            }
        }
        answer
    }

    fn exists(&self, name: &str) -> bool {
        self.records.keys().any(|(known, _)| known == name || known.ends_with(&format!(".{name}")))
    }
}

/// The running server; it ends when dropped.
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    questions: Arc<Mutex<Vec<Question>>>,
    task: JoinHandle<()>,
}

impl DnsServer {
    pub(crate) async fn start(zone: Zone) -> Self {
        let questions = Arc::new(Mutex::new(Vec::new()));
        let mut server = Server::new(Handler { zone, questions: questions.clone() });
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(60), 32);
        let task = tokio::spawn(async move {
            server.block_until_done().await.unwrap();
        });
        Self { address, questions, task }
    }

    /// Everything that was asked so far, in order.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.questions.lock().unwrap().clone()
    }

    /// What was asked of one kind, without repetitions.
    pub(crate) fn asked(&self, kind: RecordType) -> Vec<String> {
        let mut names = Vec::new();
        for question in self.questions() {
            if question.kind == kind && !names.contains(&question.name) {
                names.push(question.name);
            }
        }
        names
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The same port of UDP and TCP.
async fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

struct Handler {
    zone: Zone,
    questions: Arc<Mutex<Vec<Question>>>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut responses: R) -> ResponseInfo {
        let info = request.request_info().unwrap();
        let (name, kind) = (Name::from(info.query.name()).to_ascii().to_lowercase(), info.query.query_type());
        let tcp = request.protocol() == Protocol::Tcp;
        self.questions.lock().unwrap().push(Question { name: name.clone(), kind, tcp });
        let mut metadata = Metadata::response_from_request(info.metadata);
        metadata.recursion_available = true;
        if self.zone.silent.iter().any(|(n, k)| *n == name && k.is_none_or(|k| k == kind)) {
            return Header { metadata, counts: HeaderCounts::default() }.into();
        }
        let code = self.zone.codes.get(&(name.clone(), Some(kind))).or_else(|| self.zone.codes.get(&(name.clone(), None)));
        let mut answer = Vec::new();
        if let Some(code) = code {
            metadata.response_code = *code;
        } else if self.zone.truncates && !tcp {
            metadata.truncation = true;
        } else {
            answer = self.zone.answer(&name, kind);
            if answer.is_empty() && !self.zone.exists(&name) {
                metadata.response_code = ResponseCode::NXDomain;
            }
        }
        let none: [&Record; 0] = [];
        let response = MessageResponseBuilder::from_message_request(request).build(metadata, &answer, none, none, none);
        responses.send_response(response).await.unwrap()
    }
}

fn fqdn(name: &str) -> Name {
    let mut name = Name::from_str(name).unwrap();
    name.set_fqdn(true);
    name
}

/// Lower case, with a final dot.
fn key(name: &str) -> String {
    fqdn(name).to_ascii().to_lowercase()
}
