//! How a domain's servers are found (R43, R53), with a DNS server of our own and connectors that note what is tried.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::RecordType;
use xmppkit::ErrorKind;
use xmppkit::connection::{Shared, TlsMode, connect};
use xmppkit::error::ConnectReason;

use super::dns_server::{DnsServer, Zone};
use super::nets::{Recorder, connect_error, generous, options, plain_options, refused_port, silent_listener};

#[tokio::test]
async fn both_services_are_one_set_ordered_by_priority() {
    let zone = Zone::new()
        .start_tls("example.org", 20, 5222, "c.example.org")
        .start_tls("example.org", 5, 5222, "a.example.org")
        .direct("example.org", 30, 5223, "d.example.org")
        .direct("example.org", 10, 443, "b.example.org")
        .address("a.example.org", "192.0.2.1")
        .address("b.example.org", "192.0.2.2")
        .address("c.example.org", "192.0.2.3")
        .address("d.example.org", "192.0.2.4");
    let dns = DnsServer::start(zone).await;
    let network = Recorder::new();
    let error = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap_err();
    let expected = ["a.example.org:5222", "b.example.org:443", "c.example.org:5222", "d.example.org:5223"];
    assert_eq!(network.hosts(), if cfg!(feature = "native-tls") { expected.to_vec() } else { vec![expected[0], expected[2]] });
    let e = connect_error(&error);
    assert_eq!(e.reason, ConnectReason::Refused);
    let named: Vec<_> = e.attempts.iter().map(|a| (a.target.as_str(), a.address.unwrap().ip().to_string())).collect();
    assert_eq!(named[0], ("a.example.org:5222", "192.0.2.1".to_owned()), "every attempt is named");
    assert_eq!(named.len(), network.targets().len());
    assert!(!dns.asked(RecordType::A).contains(&"example.org.".to_owned()), "no fallback where there are records");
}

#[tokio::test]
async fn a_server_that_answers_ends_the_search() {
    let zone = Zone::new()
        .start_tls("example.org", 1, 1, "a.example.org")
        .start_tls("example.org", 2, 2, "a.example.org")
        .start_tls("example.org", 3, 3, "a.example.org")
        .address("a.example.org", "192.0.2.1");
    let dns = DnsServer::start(zone).await;
    let network = Recorder::accepting(2);
    let connection = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap();
    assert_eq!(network.hosts(), ["a.example.org:1", "a.example.org:2"]);
    let info = connection.info();
    assert_eq!((info.target.as_str(), info.direct_tls, info.tls.is_some()), ("a.example.org:2", false, false));
    assert_eq!(info.address, Some("192.0.2.1:2".parse().unwrap()));
}

#[tokio::test]
async fn a_domain_without_records_is_its_own_server() {
    let dns = DnsServer::start(Zone::new().address("example.org", "192.0.2.1").address("example.org", "2001:db8::1")).await;
    let network = Recorder::new();
    let error = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap_err();
    let mut addresses: Vec<_> = network.targets().iter().map(|t| t.address.unwrap().to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["192.0.2.1:5222", "[2001:db8::1]:5222"]);
    assert_eq!(connect_error(&error).attempts.len(), 2, "the absence of records is no attempt: {error}");
    for asked in dns.questions() {
        let known = ["_xmpps-client._tcp.example.org.", "_xmpp-client._tcp.example.org.", "example.org."];
        assert!(known.contains(&asked.name.as_str()), "only absolute names are asked for, not {}", asked.name);
    }
}

#[tokio::test]
async fn an_unknown_domain_is_an_unknown_host() {
    let dns = DnsServer::start(Zone::new()).await;
    let network = Recorder::new();
    let error = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap_err();
    let e = connect_error(&error);
    assert_eq!((e.reason, e.attempts.len()), (ConnectReason::UnknownHost, 1), "{error}");
    assert_eq!(e.attempts[0].target, "example.org:5222");
    assert!(error.is_retryable() && network.targets().is_empty());
}

#[tokio::test]
async fn a_failing_service_lookup_falls_back_and_is_named() {
    let zone = Zone::new()
        .address("example.org", "192.0.2.1")
        .code("_xmpps-client._tcp.example.org", None, ResponseCode::ServFail)
        .code("_xmpp-client._tcp.example.org", None, ResponseCode::Refused);
    let dns = DnsServer::start(zone).await;
    let network = Recorder::new();
    let error = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap_err();
    assert_eq!(network.hosts(), ["example.org:5222"]);
    let e = connect_error(&error);
    assert_eq!(e.reason, ConnectReason::Refused);
    let failed: Vec<_> = e.attempts.iter().filter(|a| a.reason == ConnectReason::DnsFailed).map(|a| a.target.as_str()).collect();
    assert!(failed.contains(&"_xmpp-client._tcp.example.org"), "{error}");
    assert_eq!(failed.contains(&"_xmpps-client._tcp.example.org"), cfg!(feature = "native-tls"), "{error}");
}

#[tokio::test]
async fn one_failing_service_does_not_hide_the_other() {
    let zone = Zone::new()
        .code("_xmpps-client._tcp.example.org", None, ResponseCode::ServFail)
        .start_tls("example.org", 0, 5299, "a.example.org")
        .address("a.example.org", "192.0.2.1");
    let dns = DnsServer::start(zone).await;
    let network = Recorder::accepting(5299);
    let connection = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap();
    assert_eq!(connection.info().target, "a.example.org:5299");
}

#[tokio::test]
async fn silent_dns_falls_back_after_its_deadline_and_is_named() {
    let zone = Zone::new()
        .address("example.org", "192.0.2.1")
        .silent("_xmpps-client._tcp.example.org", None)
        .silent("_xmpp-client._tcp.example.org", None);
    let dns = DnsServer::start(zone).await;
    let network = Recorder::new();
    let timeouts = generous().resolve(Duration::from_millis(300));
    let began = Instant::now();
    let error = connect(&options("example.org", dns.address).timeouts(timeouts).connector(network.clone())).await.unwrap_err();
    assert!(began.elapsed() >= timeouts.resolve);
    assert_eq!(network.hosts(), ["example.org:5222"]);
    let e = connect_error(&error);
    assert!(e.attempts.iter().any(|a| a.target == "_xmpp-client._tcp.example.org" && a.reason == ConnectReason::DnsFailed));
}

#[tokio::test]
async fn dns_that_answers_nothing_at_all_has_failed() {
    let dns = DnsServer::start(Zone::new().silent("example.org", None).silent("_xmpp-client._tcp.example.org", None)).await;
    let timeouts = generous().resolve(Duration::from_millis(200));
    let error = connect(&options("example.org", dns.address).timeouts(timeouts)).await.unwrap_err();
    assert_eq!(connect_error(&error).reason, ConnectReason::DnsFailed, "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_silent_aaaa_lookup_delays_nothing() {
    let (listener, port) = silent_listener().await;
    let zone = Zone::new()
        .start_tls("example.org", 0, port, "a.example.org")
        .address("a.example.org", "127.0.0.1")
        .silent("a.example.org", Some(RecordType::AAAA));
    let dns = DnsServer::start(zone).await;
    // With all deadlines generous this would hang if the lookup were waited for.
    let connection = connect(&options("example.org", dns.address)).await.unwrap();
    assert_eq!(connection.info().address, Some(listener.local_addr().unwrap()));
}

#[tokio::test]
async fn a_service_whose_target_is_a_dot_is_not_offered() {
    let zone = Zone::new()
        .direct("example.org", 0, 0, ".")
        .start_tls("example.org", 0, 5222, "a.example.org")
        .address("a.example.org", "192.0.2.1");
    let dns = DnsServer::start(zone).await;
    let network = Recorder::accepting(5222);
    let connection = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap();
    assert_eq!(connection.info().target, "a.example.org:5222");
}

#[tokio::test]
async fn a_dot_for_every_service_is_an_error_without_fallback() {
    // XEP-0368: a domain that says so of one service uses SRV, so there is no fallback for the other either.
    for zone in [
        Zone::new().direct("example.org", 0, 0, ".").start_tls("example.org", 0, 0, "."),
        Zone::new().start_tls("example.org", 0, 0, "."),
    ] {
        let dns = DnsServer::start(zone.address("example.org", "192.0.2.1")).await;
        let network = Recorder::new();
        let error = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap_err();
        assert_eq!(connect_error(&error).reason, ConnectReason::NoService, "{error}");
        assert!(network.targets().is_empty() && dns.asked(RecordType::A).is_empty());
    }
}

#[tokio::test]
async fn aliases_are_followed_for_services_and_hosts() {
    let zone = || {
        Zone::new()
            .alias("_xmpp-client._tcp.example.org", "_xmpp-client._tcp.hoster.example")
            .alias("_xmpp-client._tcp.hoster.example", "_xmpp-client._tcp.farm.example")
            .start_tls("farm.example", 0, 5299, "a.farm.example")
            .alias("a.farm.example", "b.farm.example")
            .address("b.farm.example", "192.0.2.9")
    };
    for zone in [zone(), zone().with_bare_aliases()] {
        let dns = DnsServer::start(zone).await;
        let network = Recorder::accepting(5299);
        let connection = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap();
        assert_eq!(connection.info().address, Some("192.0.2.9:5299".parse().unwrap()));
    }
}

#[tokio::test]
async fn an_alias_to_nothing_is_no_service() {
    let zone =
        Zone::new().alias("_xmpp-client._tcp.example.org", "_xmpp-client._tcp.gone.example").address("example.org", "192.0.2.1");
    let dns = DnsServer::start(zone).await;
    let network = Recorder::accepting(5222);
    let connection = connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap();
    assert_eq!(connection.info().target, "example.org:5222");
}

#[tokio::test]
async fn aliases_in_a_circle_end() {
    let zone = Zone::new()
        .alias("_xmpp-client._tcp.example.org", "_xmpp-client._tcp.b.example")
        .alias("_xmpp-client._tcp.b.example", "_xmpp-client._tcp.example.org")
        .alias("example.org", "b.example")
        .alias("b.example", "example.org");
    let dns = DnsServer::start(zone).await;
    let error = connect(&options("example.org", dns.address)).await.unwrap_err();
    assert!(matches!(connect_error(&error).reason, ConnectReason::UnknownHost | ConnectReason::DnsFailed), "{error}");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let zone = Zone::new().start_tls("example.org", 0, 5299, "a.example.org").address("a.example.org", "192.0.2.1");
    let dns = DnsServer::start(zone.truncating()).await;
    let network = Recorder::accepting(5299);
    connect(&options("example.org", dns.address).connector(network.clone())).await.unwrap();
    let over_tcp: Vec<_> = dns.questions().into_iter().filter(|q| q.tcp).map(|q| q.name).collect();
    assert!(over_tcp.contains(&"_xmpp-client._tcp.example.org.".to_owned()), "{over_tcp:?}");
    assert!(over_tcp.contains(&"a.example.org.".to_owned()), "{over_tcp:?}");
}

#[tokio::test]
async fn international_domains_are_asked_for_by_a_labels() {
    let zone = Zone::new().start_tls("xn--mnchen-3ya.example", 0, 5299, "a.example").address("a.example", "192.0.2.1");
    let dns = DnsServer::start(zone).await;
    let network = Recorder::accepting(5299);
    connect(&options("münchen.example", dns.address).connector(network.clone())).await.unwrap();
    assert!(dns.asked(RecordType::SRV).contains(&"_xmpp-client._tcp.xn--mnchen-3ya.example.".to_owned()));
}

#[tokio::test]
async fn dns_is_not_asked_for_literals_and_localhost() {
    let dns = DnsServer::start(Zone::new()).await;
    for (domain, addresses) in [
        ("192.0.2.7", vec!["192.0.2.7:5222"]),
        ("[2001:db8::7]", vec!["[2001:db8::7]:5222"]),
        ("localhost", vec!["[::1]:5222", "127.0.0.1:5222"]),
        ("chat.localhost", vec!["[::1]:5222", "127.0.0.1:5222"]),
    ] {
        let network = Recorder::new();
        let error = connect(&options(domain, dns.address).connector(network.clone())).await.unwrap_err();
        assert_eq!(connect_error(&error).reason, ConnectReason::Refused);
        let tried: Vec<_> = network.targets().iter().map(|t| t.address.unwrap().to_string()).collect();
        assert_eq!(tried, addresses, "{domain}");
    }
    assert_eq!(dns.questions(), []);
}

#[tokio::test]
async fn a_domain_that_is_no_host_name_is_an_invalid_name_and_final() {
    for domain in ["no host", "", "127.1"] {
        let error = connect(&plain_options(domain)).await.unwrap_err();
        assert_eq!(connect_error(&error).reason, ConnectReason::InvalidName, "{domain:?}");
        assert!(!error.is_retryable());
    }
    let error = connect(&plain_options("example.org").host("no host", 1, TlsMode::StartTls)).await.unwrap_err();
    assert_eq!(connect_error(&error).reason, ConnectReason::InvalidName);
}

#[tokio::test]
async fn an_explicit_host_is_the_only_one_tried() {
    let zone = Zone::new().start_tls("example.org", 0, 1, "a.example.org").address("box.example.net", "192.0.2.5");
    let dns = DnsServer::start(zone).await;
    let network = Recorder::new();
    let options = options("example.org", dns.address).connector(network.clone());
    connect(&options.host("box.example.net", 15222, TlsMode::StartTls)).await.unwrap_err();
    assert_eq!(network.hosts(), ["box.example.net:15222"]);
    assert_eq!(dns.asked(RecordType::SRV), [""; 0]);
}

#[tokio::test]
async fn a_refused_port_is_named_with_its_address() {
    let port = refused_port("127.0.0.1").await;
    let options = plain_options("example.org").host("127.0.0.1", port, TlsMode::StartTls);
    let error = connect(&options).await.unwrap_err();
    let e = connect_error(&error);
    assert_eq!((e.reason, e.attempts.len()), (ConnectReason::Refused, 1));
    assert_eq!(e.attempts[0].address, Some(format!("127.0.0.1:{port}").parse().unwrap()));
    assert!(error.to_string().contains(&port.to_string()) && error.is_retryable());
}

#[tokio::test]
async fn dead_ipv6_does_not_keep_ipv4_waiting() {
    let (listener, port) = silent_listener().await;
    let zone = Zone::new()
        .start_tls("example.org", 0, port, "a.example.org")
        .address("a.example.org", "::1")
        .address("a.example.org", "127.0.0.1");
    let dns = DnsServer::start(zone).await;
    let connection = connect(&options("example.org", dns.address)).await.unwrap();
    assert_eq!(connection.info().address, Some(listener.local_addr().unwrap()));
}

#[tokio::test]
async fn the_total_deadline_names_what_was_under_way() {
    let network = Arc::new(Recorder { silent: true, ..Recorder::default() });
    let timeouts = generous().total(Duration::from_millis(100));
    let options = plain_options("192.0.2.1").timeouts(timeouts).connector(network);
    let error = connect(&options).await.unwrap_err();
    let e = connect_error(&error);
    assert_eq!((e.reason, e.attempts.len()), (ConnectReason::TimedOut, 1));
    assert_eq!(e.attempts[0].address, Some("192.0.2.1:5222".parse().unwrap()));
    assert!(error.is_timeout());
}

#[tokio::test]
async fn an_attempt_that_stays_silent_times_out() {
    let network = Arc::new(Recorder { silent: true, ..Recorder::default() });
    let timeouts = generous().attempt(Duration::from_millis(100));
    let options = plain_options("192.0.2.1").timeouts(timeouts).connector(network);
    let error = connect(&options).await.unwrap_err();
    assert_eq!(connect_error(&error).reason, ConnectReason::TimedOut);
}

#[tokio::test]
async fn a_connector_that_resolves_names_gets_names_and_dns_is_not_asked() {
    let dns = DnsServer::start(Zone::new().start_tls("example.org", 0, 1, "a.example.org")).await;
    let network = Arc::new(Recorder { resolves_names: true, ..Recorder::default() });
    let options = options("example.org", dns.address).connector(network.clone());
    connect(&options).await.unwrap_err();
    connect(&options.host("box.example.net", 443, TlsMode::StartTls)).await.unwrap_err();
    assert_eq!(network.hosts(), ["example.org:5222", "box.example.net:443"]);
    assert!(network.targets().iter().all(|target| target.address.is_none()));
    assert_eq!(dns.questions(), []);
}

#[tokio::test]
async fn a_shared_resolver_remembers_until_the_network_changes() {
    let zone = Zone::new().start_tls("example.org", 0, 5299, "a.example.org").address("a.example.org", "192.0.2.1");
    let dns = DnsServer::start(zone).await;
    let shared = Shared::new();
    let options = options("example.org", dns.address).connector(Recorder::accepting(5299)).shared(&shared);
    connect(&options).await.unwrap();
    let first = dns.questions().iter().filter(|q| q.kind == RecordType::SRV && q.name.starts_with("_xmpp-")).count();
    connect(&options.clone()).await.unwrap();
    let count = || dns.questions().iter().filter(|q| q.kind == RecordType::SRV && q.name.starts_with("_xmpp-")).count();
    assert_eq!((first, count()), (1, 1));
    shared.network_changed();
    connect(&options).await.unwrap();
    assert_eq!(count(), 2);
}

#[tokio::test]
async fn nothing_is_left_running_when_the_last_shared_value_goes() {
    let zone = Zone::new().start_tls("example.org", 0, 5299, "a.example.org").address("a.example.org", "192.0.2.1");
    // The answers come over TCP, so that the resolver holds a connection.
    let dns = DnsServer::start(zone.truncating()).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let options = options("example.org", dns.address).connector(Recorder::accepting(5299));
    connect(&options).await.unwrap();
    // One task serves the connection, one of the resolver holds it.
    assert!(metrics.num_alive_tasks() >= before + 2, "the resolver should have a task of its own");
    drop(options);
    tokio::time::timeout(Duration::from_secs(30), async {
        while metrics.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("tasks are left");
}

#[test]
fn outside_a_runtime_connecting_is_a_typed_error() {
    let error = futures::executor::block_on(connect(&plain_options("example.org"))).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NoRuntime);
}

#[test]
fn one_shared_value_serves_runtimes_one_after_another() {
    let shared = Shared::new();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let zone = Zone::new().start_tls("example.org", 0, 5299, "a.example.org").address("a.example.org", "192.0.2.1");
            let dns = DnsServer::start(zone).await;
            let options = options("example.org", dns.address).connector(Recorder::accepting(5299)).shared(&shared);
            connect(&options).await.unwrap();
        });
    }
}

#[test]
fn the_futures_are_send() {
    fn send<T: Send>(_: T) {}
    let options = plain_options("example.org");
    send(connect(&options));
    let connection: Option<xmppkit::connection::Connection> = None;
    send(async { xmppkit::connection::start_tls(connection?, &options).await.ok() });
}
