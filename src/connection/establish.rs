//! Which servers are tried, and what comes of it.

use futures::stream::FuturesUnordered;
use futures::{FutureExt, future};
use tokio::time::timeout;

use super::dns::{Failure, Family, Service};
use super::host::Host;
use super::race::{self, Log};
use super::srv::{self, Server};
use super::{ConnectOptions, Connection, ConnectionInfo, Target, TlsMode, TlsPolicy, Transport, tls};
use crate::error::{Attempt, ConnectError, ConnectReason, Error, ErrorKind, Phase, Result, TlsError};

/// STARTTLS where no SRV record says otherwise (RFC 6120 §3.2.2).
const DEFAULT_PORT: u16 = 5222;

/// The domain as a host.
pub(super) fn domain_of(options: &ConnectOptions) -> Result<Host> {
    Host::parse(&options.domain).ok_or_else(|| invalid_name(&options.domain))
}

/// Everything [`connect`](super::connect) does.
pub(super) async fn establish(options: &ConnectOptions) -> Result<Connection> {
    let mut log = Log::default();
    let result = match timeout(options.timeouts.total, run(options, &mut log)).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("gave up after {:?}", options.timeouts.total);
            for (target, address) in std::mem::take(&mut log.under_way) {
                log.fail(&target, address, ConnectReason::TimedOut, &*text);
            }
            let attempts = std::mem::take(&mut log.attempts);
            Err(ErrorKind::Connect(ConnectError::new(ConnectReason::TimedOut, attempts)).into())
        }
    };
    if log.dns_failed {
        options.shared.dns_failed(&options.nameservers);
    }
    result
}

async fn run(options: &ConnectOptions, log: &mut Log) -> Result<Connection> {
    if options.tls == TlsPolicy::Required && !tls::AVAILABLE {
        return Err(ErrorKind::Tls(TlsError::NoBackend).into());
    }
    let domain = domain_of(options)?;
    let mut tls_error: Option<Error> = None;
    for server in servers(options, &domain, log).await? {
        let Some((stream, target)) = open(options, &server, log).await? else { continue };
        let name = server.host.with_port(server.port);
        tracing::debug!(server = name, address = target.address.map(tracing::field::display), mode = ?server.mode, "connected");
        let address = target.address;
        let connection = Connection { stream, info: ConnectionInfo::new(name.clone(), address), origin: Some(target) };
        if server.mode == TlsMode::StartTls {
            return Ok(connection);
        }
        log.begin(&name, address);
        match tls::secure(connection, &domain, TlsMode::Direct, options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => match handshake_failure(&error) {
                Some((reason, text)) => {
                    log.fail(&name, address, reason, text);
                    tls_error.get_or_insert(error);
                }
                // A certificate that is not accepted, or one's own configuration: no other server makes it good.
                None => return Err(error),
            },
        }
    }
    let attempts = std::mem::take(&mut log.attempts);
    Err(match tls_error {
        // Whoever got as far as TLS says more than a port that refused.
        Some(error) => {
            let tried: Vec<_> = attempts.iter().map(ToString::to_string).collect();
            error.with_context(format!("tried {}", tried.join(", ")))
        }
        None => {
            let reason = most_telling(&attempts);
            ErrorKind::Connect(ConnectError::new(reason, attempts)).into()
        }
    })
}

/// The servers in the order in which they are to be tried.
async fn servers(options: &ConnectOptions, domain: &Host, log: &mut Log) -> Result<Vec<Server>> {
    if let Some(explicit) = &options.host {
        if explicit.mode == TlsMode::Direct && !tls::AVAILABLE {
            return Err(ErrorKind::Tls(TlsError::NoBackend).into());
        }
        let host = Host::parse(&explicit.host).ok_or_else(|| invalid_name(&explicit.host))?;
        return Ok(vec![Server::single(host, explicit.port, explicit.mode)]);
    }
    let fallback = vec![Server::single(domain.clone(), DEFAULT_PORT, TlsMode::StartTls)];
    let Host::Name(name) = domain else { return Ok(fallback) };
    if domain.fixed_addresses().is_some() || options.connector.resolves_names() {
        return Ok(fallback);
    }
    let mut services = vec![("_xmpp-client", TlsMode::StartTls)];
    if tls::AVAILABLE {
        services.insert(0, ("_xmpps-client", TlsMode::Direct));
    }
    let resolver = options.shared.resolver(&options.nameservers).await?;
    let asked: Vec<_> = services.iter().map(|(service, _)| format!("{service}._tcp.{name}")).collect();
    asked.iter().for_each(|question| log.begin(question, None));
    let deadline = options.timeouts.resolve;
    let answers = future::join_all(services.iter().map(|(service, mode)| {
        timeout(deadline, resolver.service(service, name, *mode))
            .map(move |answer| answer.unwrap_or_else(|_| Err(Failure::timed_out(deadline))))
    }))
    .await;
    let mut found = Vec::new();
    let mut specified = false;
    for (question, answer) in asked.iter().zip(answers) {
        match answer {
            Ok(Service::Servers(servers)) => {
                log.end(question, None);
                found.extend(servers);
            }
            Ok(Service::NotOffered) => {
                specified = true;
                log.fail(question, None, ConnectReason::NoService, "");
            }
            Ok(Service::Unspecified) => log.end(question, None),
            Err(failure) => log.dns(question, failure),
        }
    }
    // "Not offered" says that the domain uses SRV records, and then there is no fallback (XEP-0368 §"Implementation Notes").
    Ok(if found.is_empty() && !specified { fallback } else { srv::order(found, srv::random) })
}

/// A byte stream to one server; `None` if there is none, and the log says why.
async fn open(options: &ConnectOptions, server: &Server, log: &mut Log) -> Result<Option<(Box<dyn Transport>, Target)>> {
    let connector = &*options.connector;
    let Server { host, port, .. } = server;
    if connector.resolves_names() {
        let name = host.with_port(*port);
        log.begin(&name, None);
        let target = Target { host: host.to_string(), port: *port, address: None };
        let (target, result) = race::attempt(connector, target, options.timeouts.attempt).await;
        return Ok(match result {
            Ok(stream) => {
                log.end(&name, None);
                Some((stream, target))
            }
            Err(error) => {
                log.fail(&name, None, race::reason_of(&error), error.to_string());
                None
            }
        });
    }
    if let Some(addresses) = host.fixed_addresses() {
        let lookups = FuturesUnordered::new();
        lookups.push(future::ready((Family::Both, Ok(addresses))).boxed());
        return Ok(race::race(host, *port, lookups, connector, &options.timeouts, log).await);
    }
    let resolver = options.shared.resolver(&options.nameservers).await?;
    Ok(race::race(host, *port, resolver.addresses(host), connector, &options.timeouts, log).await)
}

fn invalid_name(name: &str) -> Error {
    let attempt = Attempt::new(name, None, ConnectReason::InvalidName, "");
    ErrorKind::Connect(ConnectError::new(ConnectReason::InvalidName, vec![attempt])).into()
}

/// What a failed handshake with direct TLS is in the list of attempts; `None` if it ends the list.
fn handshake_failure(error: &Error) -> Option<(ConnectReason, String)> {
    let reason = match error.kind() {
        ErrorKind::Timeout(Phase::TlsHandshake) => ConnectReason::TimedOut,
        ErrorKind::Tls(TlsError::HandshakeFailed) | ErrorKind::Closed(Phase::TlsHandshake) => ConnectReason::Other,
        _ => return None,
    };
    Some((reason, error.to_string()))
}

/// The reason that says most: what got furthest, and what a person can act on.
fn most_telling(attempts: &[Attempt]) -> ConnectReason {
    const ORDER: [ConnectReason; 7] = [
        ConnectReason::Refused,
        ConnectReason::TimedOut,
        ConnectReason::Other,
        ConnectReason::Unreachable,
        ConnectReason::NoService,
        ConnectReason::UnknownHost,
        ConnectReason::DnsFailed,
    ];
    let made = |reason: &ConnectReason| attempts.iter().any(|attempt| attempt.reason == *reason);
    ORDER.into_iter().find(made).unwrap_or(ConnectReason::Other)
}

#[cfg(all(test, not(feature = "native-tls")))]
mod tests {
    use std::io;
    use std::sync::Arc;

    use futures::future::BoxFuture;

    use super::*;
    use crate::connection::Connector;

    #[derive(Debug)]
    struct Untouched;

    impl Connector for Untouched {
        fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
            panic!("{target:?} was tried");
        }
    }

    #[tokio::test]
    async fn without_a_backend_tls_is_refused_before_anything_is_tried() {
        let required = ConnectOptions::new("192.0.2.1").connector(Arc::new(Untouched));
        let direct = required.clone().dangerous_plaintext().host("192.0.2.1", 5223, TlsMode::Direct);
        for options in [required, direct] {
            let error = establish(&options).await.expect_err("there is no TLS");
            assert_eq!(error.kind(), &ErrorKind::Tls(TlsError::NoBackend));
        }
    }
}
