//! Questions to DNS: services and addresses (R53).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver as Hickory, ResolverBuilder, TokioResolver};

use super::{TlsMode, host::Host, srv::Server};
use crate::error::ConnectReason;

/// How long hickory waits for one round of name servers, so that a dead pair of them leaves time for others inside
/// [`Timeouts::resolve`](super::Timeouts::resolve).
const ROUND: Duration = Duration::from_secs(2);
/// Responses kept in the cache: a client asks for a handful of names.
const CACHE_SIZE: u64 = 256;
/// Records of one service that are used. More is an attack or a mistake.
const MAX_SERVERS: usize = 16;
/// How many aliases in a row are followed.
const MAX_ALIASES: usize = 8;

/// Whom to ask.
#[derive(Debug)]
pub(super) enum Resolver {
    /// DNS servers, from the system's configuration or from the application.
    Dns { resolver: Box<TokioResolver>, system: bool },
    /// The operating system's resolver: there is no configuration to read. It knows no services.
    OperatingSystem,
}

/// Why a question was not answered with what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// `UnknownHost`: there is no such name or it has no such records. `DnsFailed`: it is not known whether.
    pub(super) reason: ConnectReason,
    pub(super) text: String,
}

/// What DNS says of a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// No records: RFC 6120 §3.2.2 applies.
    Unspecified,
    /// Decidedly not offered: the only target is `.` (RFC 2782).
    NotOffered,
    /// These servers.
    Servers(Vec<Server>),
}

impl Resolver {
    /// Asks these servers, or the system's where the list is empty. Reads files, so not for an async worker.
    pub(super) fn new(nameservers: &[SocketAddr]) -> Self {
        if nameservers.is_empty() {
            return match Hickory::builder(TokioRuntimeProvider::default()) {
                Ok(builder) => Self::build(builder, true),
                Err(error) => {
                    tracing::debug!(%error, "no DNS configuration, using the operating system's resolver");
                    Self::OperatingSystem
                }
            };
        }
        let servers = nameservers.iter().map(|address| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = address.port());
            NameServerConfig::new(address.ip(), true, connections)
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Self::build(Hickory::builder_with_config(config, TokioRuntimeProvider::default()), false)
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>, system: bool) -> Self {
        let options = builder.options_mut();
        options.cache_size = CACHE_SIZE;
        options.timeout = options.timeout.min(ROUND);
        if !system {
            options.use_hosts_file = ResolveHosts::Never;
        }
        match builder.build() {
            Ok(resolver) => Self::Dns { resolver: Box::new(resolver), system },
            Err(error) => {
                tracing::warn!(%error, "no DNS resolver could be made, using the operating system's");
                Self::OperatingSystem
            }
        }
    }

    /// The servers of `_service._tcp.domain.`
    pub(super) async fn service(&self, service: &str, domain: &str, mode: TlsMode) -> Result<Service, Failure> {
        let Self::Dns { resolver, .. } = self else {
            return Err(Failure::unasked("the system has no DNS configuration"));
        };
        let mut name = absolute(&format!("{service}._tcp.{domain}"))?;
        for _ in 0..MAX_ALIASES {
            let error = match resolver.lookup(name.clone(), RecordType::SRV).await {
                Ok(lookup) => return Ok(read_service(lookup.answers().iter().map(|record| &record.data), mode)),
                Err(error) => error,
            };
            let NetError::Dns(DnsError::NoRecordsFound(none)) = &error else { return Err(error.into()) };
            // hickory takes an answer of an alias with its SRV records for a chain that goes on, and asks for the SRV records
            // of the SRV target. It shows by the name it asked last; then the alias is followed here.
            if *none.query.name() == name {
                return Ok(Service::Unspecified);
            }
            match resolver.lookup(name.clone(), RecordType::CNAME).await {
                Ok(lookup) => match lookup.answers().iter().find_map(|record| alias_of(&record.data)) {
                    Some(alias) => name = alias,
                    None => return Ok(Service::Unspecified),
                },
                Err(NetError::Dns(DnsError::NoRecordsFound(_))) => return Ok(Service::Unspecified),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::unasked("too many aliases"))
    }

    /// The addresses of a host: one future for each question, so that one that stays silent holds up no other.
    pub(super) fn addresses<'a>(&'a self, host: &'a Host) -> Lookups<'a> {
        let lookups = FuturesUnordered::new();
        match self {
            Self::Dns { resolver, system } if !(*system && host.is_local()) => {
                for (family, record_type) in [(Family::V6, RecordType::AAAA), (Family::V4, RecordType::A)] {
                    lookups.push(async move { (family, records(resolver, host, record_type).await) }.boxed());
                }
            }
            _ => lookups.push(async move { (Family::Both, operating_system(host).await) }.boxed()),
        }
        lookups
    }
}

/// The lookups of a host's addresses that are under way.
pub(super) type Lookups<'a> = FuturesUnordered<BoxFuture<'a, (Family, Result<Vec<IpAddr>, Failure>)>>;

/// What a lookup asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    Both,
}

impl Failure {
    fn unasked(text: &str) -> Self {
        Self { reason: ConnectReason::DnsFailed, text: text.to_owned() }
    }

    /// The question was not answered in time.
    pub(super) fn timed_out(after: Duration) -> Self {
        Self { reason: ConnectReason::DnsFailed, text: format!("no answer within {after:?}") }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        let (reason, text) = match &error {
            NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError => {
                (ConnectReason::UnknownHost, "it has no addresses".to_owned())
            }
            NetError::Dns(DnsError::NoRecordsFound(none)) => (ConnectReason::UnknownHost, none.response_code.to_string()),
            NetError::Dns(DnsError::ResponseCode(code)) => (ConnectReason::DnsFailed, code.to_string()),
            _ => (ConnectReason::DnsFailed, error.to_string()),
        };
        Self { reason, text }
    }
}

/// A name that never meets a search domain.
fn absolute(name: &str) -> Result<Name, Failure> {
    let mut name = Name::from_ascii(name).map_err(|e| Failure::unasked(&e.to_string()))?;
    name.set_fqdn(true);
    Ok(name)
}

async fn records(resolver: &TokioResolver, host: &Host, record_type: RecordType) -> Result<Vec<IpAddr>, Failure> {
    let lookup = resolver.lookup(absolute(&host.to_string())?, record_type).await?;
    let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
    Ok(addresses.collect())
}

async fn operating_system(host: &Host) -> Result<Vec<IpAddr>, Failure> {
    match tokio::net::lookup_host((host.to_string(), 0)).await {
        Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
        Err(error) => {
            // getaddrinfo's codes (EAI_AGAIN, EAI_NONAME) survive in io::Error as text only.
            let text = error.to_string();
            let temporary = text.to_ascii_lowercase().contains("temporary");
            Err(Failure { reason: if temporary { ConnectReason::DnsFailed } else { ConnectReason::UnknownHost }, text })
        }
    }
}

fn alias_of(data: &RData) -> Option<Name> {
    match data {
        RData::CNAME(alias) => Some(alias.0.clone()),
        _ => None,
    }
}

fn read_service<'a>(records: impl Iterator<Item = &'a RData>, mode: TlsMode) -> Service {
    let mut any = false;
    let mut servers = Vec::new();
    for data in records {
        let RData::SRV(srv) = data else { continue };
        any = true;
        // Without the final dot, a target that is an address by mistake works, as it does with other resolvers. What is
        // no host at all could not be connected to; `.` is the one of them with a meaning.
        let Some(host) = Host::parse(srv.target.to_ascii().trim_end_matches('.')) else { continue };
        servers.push(Server { priority: srv.priority, weight: srv.weight, host, port: srv.port, mode });
    }
    servers.sort_by_key(|server| server.priority);
    servers.truncate(MAX_SERVERS);
    match (any, servers.is_empty()) {
        (false, _) => Service::Unspecified,
        (true, true) => Service::NotOffered,
        (true, false) => Service::Servers(servers),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use hickory_resolver::proto::rr::rdata::SRV;

    use super::*;

    fn srv(priority: u16, port: u16, target: &str) -> RData {
        RData::SRV(SRV::new(priority, 1, port, Name::from_ascii(target).unwrap()))
    }

    fn read(records: &[RData]) -> Service {
        read_service(records.iter(), TlsMode::Direct)
    }

    #[test]
    fn a_lone_dot_is_not_offered_and_beside_servers_it_is_nothing() {
        assert_eq!(read(&[]), Service::Unspecified);
        assert_eq!(read(&[srv(0, 0, ".")]), Service::NotOffered);
        let Service::Servers(servers) = read(&[srv(0, 0, "."), srv(0, 5223, "a.example.")]) else { panic!() };
        assert_eq!(servers.iter().map(|s| s.host.to_string()).collect::<Vec<_>>(), ["a.example"]);
    }

    #[test]
    fn an_address_as_target_is_taken_for_what_was_meant() {
        let Service::Servers(servers) = read(&[srv(0, 5223, "192.0.2.1.")]) else { panic!() };
        assert_eq!(servers[0].host, Host::Ip("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn of_too_many_servers_the_first_by_priority_stay() {
        let many: Vec<_> = (0..1000).map(|i| srv(1000 - i, i, "a.example.")).collect();
        let Service::Servers(servers) = read(&many) else { panic!() };
        assert_eq!(servers.len(), MAX_SERVERS);
        assert!(servers.iter().all(|server| usize::from(server.priority) <= MAX_SERVERS));
    }

    #[tokio::test]
    async fn without_a_dns_configuration_the_operating_system_is_asked() {
        let resolver = Resolver::OperatingSystem;
        let failure = resolver.service("_xmpp-client", "example.org", TlsMode::StartTls).await.unwrap_err();
        assert_eq!(failure.reason, ConnectReason::DnsFailed);
        // A name that needs neither DNS nor /etc/hosts, which a minimal system lacks.
        let host = Host::Name("127.0.0.1".to_owned());
        let (_, answer) = resolver.addresses(&host).next().await.unwrap();
        assert!(answer.unwrap().iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn the_systems_configuration_whatever_it_is_makes_a_resolver() {
        let resolver = Resolver::new(&[]);
        assert!(matches!(resolver, Resolver::OperatingSystem | Resolver::Dns { system: true, .. }));
    }
}
