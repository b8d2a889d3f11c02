//! One host, many addresses: who answers first (RFC 8305).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::dns::{Failure, Family, Lookups};
use super::host::Host;
use super::{Connector, Target, Timeouts, Transport};
use crate::error::{Attempt, ConnectReason};

/// How long IPv4 addresses wait for the IPv6 ones (RFC 8305 §3, "Resolution Delay").
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long an attempt runs alone (RFC 8305 §5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one host and family that are tried. More is an attack or a mistake.
const MAX_ADDRESSES: usize = 8;

/// What was tried, and what is being tried; it survives the future that fills it.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) attempts: Vec<Attempt>,
    /// What has not ended yet.
    pub(super) under_way: Vec<(String, Option<SocketAddr>)>,
    /// Whether DNS failed to answer anything.
    pub(super) dns_failed: bool,
}

impl Log {
    pub(super) fn begin(&mut self, target: &str, address: Option<SocketAddr>) {
        self.under_way.push((target.to_owned(), address));
    }

    /// Takes something out of what is under way: it came to an end.
    pub(super) fn end(&mut self, target: &str, address: Option<SocketAddr>) {
        self.under_way.retain(|(t, a)| (t.as_str(), *a) != (target, address));
    }

    pub(super) fn fail(&mut self, target: &str, address: Option<SocketAddr>, reason: ConnectReason, text: impl Into<String>) {
        self.end(target, address);
        tracing::debug!(server = target, address = address.map(tracing::field::display), %reason, "attempt failed");
        self.attempts.push(Attempt::new(target, address, reason, text));
    }

    pub(super) fn dns(&mut self, question: &str, failure: Failure) {
        self.dns_failed |= failure.reason == ConnectReason::DnsFailed;
        self.fail(question, None, failure.reason, failure.text);
    }
}

/// Connects to the first address of `host` that answers. `None`: none did, and the log says why.
pub(super) async fn race(
    host: &Host,
    port: u16,
    lookups: Lookups<'_>,
    connector: &dyn Connector,
    timeouts: &Timeouts,
    log: &mut Log,
) -> Option<(Box<dyn Transport>, Target)> {
    let name = host.with_port(port);
    let mut race = Race { waiting: Waiting::default(), lookups, connections: FuturesUnordered::new() };
    let mut failures = Vec::new();
    let started = Instant::now();
    let lookup_deadline = started + timeouts.resolve;
    let mut next_start = started;
    log.begin(&name, None);
    loop {
        if race.lookups.is_empty() {
            log.end(&name, None);
            for failure in to_report(std::mem::take(&mut failures), race.waiting.added) {
                log.dns(&name, failure);
            }
            if race.waiting.is_empty() && race.connections.is_empty() {
                return None;
            }
        }
        let may_start = !race.waiting.is_empty();
        let delay = pin!(sleep_until(next_start));
        tokio::select! {
            biased;
            Some((target, result)) = race.connections.next(), if !race.connections.is_empty() => {
                let address = target.address;
                match result {
                    Ok(stream) => {
                        log.end(&name, address);
                        return Some((stream, target));
                    }
                    Err(error) => log.fail(&name, address, reason_of(&error), error.to_string()),
                }
                // A failure starts the next one at once (RFC 8305 §5).
                next_start = Instant::now();
            }
            answer = timeout_at(lookup_deadline, race.lookups.next()), if !race.lookups.is_empty() => {
                let mut v6_may_follow = false;
                match answer {
                    Ok(Some((family, Ok(addresses)))) => {
                        race.waiting.add(addresses);
                        v6_may_follow = family == Family::V4 && !race.lookups.is_empty();
                    }
                    Ok(Some((_, Err(failure)))) => failures.push(failure),
                    Ok(None) => {}
                    Err(_) => {
                        race.lookups.clear();
                        failures.push(Failure::timed_out(timeouts.resolve));
                    }
                }
                if race.waiting.taken == 0 {
                    next_start = Instant::now() + if v6_may_follow { RESOLUTION_DELAY } else { Duration::ZERO };
                }
            }
            () = delay, if may_start => {
                if let Some(address) = race.waiting.next() {
                    let target = Target { host: host.to_string(), port, address: Some(SocketAddr::new(address, port)) };
                    log.begin(&name, target.address);
                    race.connections.push(Box::pin(attempt(connector, target, timeouts.attempt)));
                    next_start = Instant::now() + ATTEMPT_DELAY;
                }
            }
        }
    }
}

/// The failed lookups that say something. That one family has no addresses says nothing if the other has some, or if it is not
/// known whether it has.
fn to_report(mut failures: Vec<Failure>, addresses: usize) -> Vec<Failure> {
    let unknown = |failure: &Failure| failure.reason == ConnectReason::UnknownHost;
    if addresses > 0 || !failures.iter().all(unknown) {
        failures.retain(|failure| !unknown(failure));
    }
    failures.dedup();
    failures
}

type Connecting<'a> = BoxFuture<'a, (Target, io::Result<Box<dyn Transport>>)>;

struct Race<'l, 'c> {
    waiting: Waiting,
    lookups: Lookups<'l>,
    connections: FuturesUnordered<Connecting<'c>>,
}

/// One attempt, with its deadline.
pub(super) async fn attempt(
    connector: &dyn Connector,
    target: Target,
    deadline: Duration,
) -> (Target, io::Result<Box<dyn Transport>>) {
    let result = match tokio::time::timeout(deadline, connector.connect(target.clone())).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {deadline:?}"))),
    };
    (target, result)
}

/// The reason of an attempt's failure.
pub(super) fn reason_of(error: &io::Error) -> ConnectReason {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => ConnectReason::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
            ConnectReason::Unreachable
        }
        ErrorKind::TimedOut => ConnectReason::TimedOut,
        ErrorKind::NotFound => ConnectReason::UnknownHost,
        _ => ConnectReason::Other,
    }
}

/// Addresses that wait for their turn: the families take turns, IPv6 first.
#[derive(Debug, Default)]
struct Waiting {
    v6: VecDeque<IpAddr>,
    v4: VecDeque<IpAddr>,
    v4_is_next: bool,
    /// How many had their turn.
    taken: usize,
    /// How many were ever here.
    added: usize,
}

impl Waiting {
    fn add(&mut self, addresses: Vec<IpAddr>) {
        for address in addresses {
            let family = if address.is_ipv6() { &mut self.v6 } else { &mut self.v4 };
            if family.len() < MAX_ADDRESSES && !family.contains(&address) {
                family.push_back(address);
                self.added += 1;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.v6.is_empty() && self.v4.is_empty()
    }

    fn next(&mut self) -> Option<IpAddr> {
        let v4_first = self.v4_is_next;
        let address = if v4_first {
            self.v4.pop_front().or_else(|| self.v6.pop_front())
        } else {
            self.v6.pop_front().or_else(|| self.v4.pop_front())
        }?;
        self.v4_is_next = address.is_ipv6();
        self.taken += 1;
        Some(address)
    }
}

#[cfg(test)]
mod tests;
