//! Under paused time: every moment is exact.

use std::collections::HashMap;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::*;

/// What an address does, and after how long.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Accepts(u64),
    Fails(u64, io::ErrorKind),
    Silent,
}

/// A network of addresses with fates; it notes when each attempt began.
#[derive(Debug)]
struct Network {
    fates: HashMap<IpAddr, Fate>,
    began: Instant,
    attempts: Mutex<Vec<(u128, IpAddr)>>,
}

impl Network {
    fn new(fates: &[(&str, Fate)]) -> Self {
        let fates = fates.iter().map(|(address, fate)| (address.parse().unwrap(), *fate)).collect();
        Self { fates, began: Instant::now(), attempts: Mutex::default() }
    }

    fn attempts(&self) -> Vec<(u128, String)> {
        self.attempts.lock().unwrap().iter().map(|(at, address)| (*at, address.to_string())).collect()
    }
}

impl Connector for Network {
    fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        async move {
            let address = target.address.unwrap().ip();
            self.attempts.lock().unwrap().push((self.began.elapsed().as_millis(), address));
            match self.fates[&address] {
                Fate::Accepts(after) => {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    Ok(Box::new(tokio::io::duplex(1).0) as Box<dyn Transport>)
                }
                Fate::Fails(after, kind) => {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    Err(kind.into())
                }
                Fate::Silent => std::future::pending().await,
            }
        }
        .boxed()
    }
}

type Answer = (u64, Family, Result<Vec<&'static str>, ConnectReason>);

fn lookups(answers: Vec<Answer>) -> Lookups<'static> {
    let lookups = FuturesUnordered::new();
    for (after, family, answer) in answers {
        lookups.push(
            async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                let answer = answer
                    .map(|list| list.iter().map(|a| a.parse().unwrap()).collect())
                    .map_err(|reason| Failure { reason, text: "as told".into() });
                (family, answer)
            }
            .boxed(),
        );
    }
    lookups
}

async fn run(network: &Network, answers: Vec<Answer>) -> (Option<String>, Log) {
    let mut log = Log::default();
    let host = Host::Name("chat.example".into());
    let won = race(&host, 5222, lookups(answers), network, &Timeouts::default(), &mut log).await;
    (won.map(|(_, target)| target.address.unwrap().ip().to_string()), log)
}

fn reasons(log: &Log) -> Vec<ConnectReason> {
    log.attempts.iter().map(|attempt| attempt.reason).collect()
}

#[tokio::test(start_paused = true)]
async fn ipv4_wins_a_quarter_of_a_second_after_silent_ipv6() {
    let network = Network::new(&[("2001:db8::1", Fate::Silent), ("192.0.2.1", Fate::Accepts(10))]);
    let (won, log) = run(&network, vec![(0, Family::V6, Ok(vec!["2001:db8::1"])), (0, Family::V4, Ok(vec!["192.0.2.1"]))]).await;
    assert_eq!(won.as_deref(), Some("192.0.2.1"));
    assert_eq!(network.attempts(), [(0, "2001:db8::1".into()), (250, "192.0.2.1".into())]);
    assert_eq!(network.began.elapsed().as_millis(), 260);
    assert!(log.attempts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_next_attempt_at_once() {
    let network = Network::new(&[
        ("2001:db8::1", Fate::Fails(5, io::ErrorKind::NetworkUnreachable)),
        ("192.0.2.1", Fate::Fails(5, io::ErrorKind::ConnectionRefused)),
        ("192.0.2.2", Fate::Accepts(0)),
    ]);
    let v4 = vec!["192.0.2.1", "192.0.2.2"];
    let (won, log) = run(&network, vec![(0, Family::V6, Ok(vec!["2001:db8::1"])), (0, Family::V4, Ok(v4))]).await;
    assert_eq!(won.as_deref(), Some("192.0.2.2"));
    assert_eq!(network.began.elapsed().as_millis(), 10);
    assert_eq!(reasons(&log), [ConnectReason::Unreachable, ConnectReason::Refused]);
    assert_eq!(log.under_way, []);
}

#[tokio::test(start_paused = true)]
async fn families_take_turns_and_ipv6_begins() {
    let addresses = ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"];
    let network = Network::new(&addresses.map(|address| (address, Fate::Silent)));
    let answers = vec![(0, Family::Both, Ok(vec!["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "192.0.2.1"]))];
    let (won, log) = run(&network, answers).await;
    assert_eq!(won, None);
    let expected = [(0, "2001:db8::1"), (250, "192.0.2.1"), (500, "2001:db8::2"), (750, "192.0.2.2")];
    assert_eq!(network.attempts(), expected.map(|(at, address)| (at, address.to_owned())));
    assert_eq!(reasons(&log), [ConnectReason::TimedOut; 4]);
    assert_eq!(network.began.elapsed(), Duration::from_millis(750) + Timeouts::default().attempt);
}

#[tokio::test(start_paused = true)]
async fn ipv4_answers_wait_a_moment_for_ipv6() {
    let network = || Network::new(&[("2001:db8::1", Fate::Accepts(0)), ("192.0.2.1", Fate::Accepts(0))]);
    let v4 = (0, Family::V4, Ok(vec!["192.0.2.1"]));
    let soon = network();
    assert_eq!(run(&soon, vec![v4.clone(), (40, Family::V6, Ok(vec!["2001:db8::1"]))]).await.0.as_deref(), Some("2001:db8::1"));
    assert_eq!(soon.began.elapsed().as_millis(), 40);
    let late = network();
    assert_eq!(run(&late, vec![v4.clone(), (4000, Family::V6, Ok(vec!["2001:db8::1"]))]).await.0.as_deref(), Some("192.0.2.1"));
    assert_eq!(late.began.elapsed().as_millis(), 50);
    let none = network();
    assert_eq!(run(&none, vec![v4, (20, Family::V6, Err(ConnectReason::UnknownHost))]).await.0.as_deref(), Some("192.0.2.1"));
    assert_eq!(none.began.elapsed().as_millis(), 20, "a negative answer ends the wait");
}

#[tokio::test(start_paused = true)]
async fn a_silent_lookup_holds_up_nothing_and_is_named_if_all_fails() {
    let network = Network::new(&[("192.0.2.1", Fate::Fails(0, io::ErrorKind::ConnectionRefused))]);
    let answers = vec![(0, Family::V4, Ok(vec!["192.0.2.1"])), (u64::MAX / 2, Family::V6, Ok(vec![]))];
    let (won, log) = run(&network, answers).await;
    assert_eq!(won, None);
    assert_eq!(network.attempts(), [(50, "192.0.2.1".to_owned())]);
    assert_eq!(reasons(&log), [ConnectReason::Refused, ConnectReason::DnsFailed]);
    assert!(log.dns_failed);
    assert_eq!(network.began.elapsed(), Timeouts::default().resolve);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_host_is_one_attempt() {
    let network = Network::new(&[]);
    let unknown = |family| (0, family, Err(ConnectReason::UnknownHost));
    let (_, log) = run(&network, vec![unknown(Family::V6), unknown(Family::V4)]).await;
    assert_eq!(reasons(&log), [ConnectReason::UnknownHost]);
    assert!(!log.dns_failed);
    let (_, log) = run(&network, vec![unknown(Family::V6), (0, Family::V4, Err(ConnectReason::DnsFailed))]).await;
    assert_eq!(reasons(&log), [ConnectReason::DnsFailed], "it is not known whether the host exists");
    assert!(log.dns_failed);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_eight_addresses_of_a_family_are_tried() {
    let many: Vec<String> = (0..50).map(|i| format!("192.0.2.{i}")).collect();
    let fates: Vec<_> = many.iter().map(|a| (a.as_str(), Fate::Fails(0, io::ErrorKind::ConnectionRefused))).collect();
    let network = Network::new(&fates);
    let list: Vec<&'static str> = many.iter().map(|a| &*a.clone().leak()).collect();
    let (won, log) = run(&network, vec![(0, Family::V4, Ok(list))]).await;
    assert_eq!((won, log.attempts.len()), (None, 8));
}
