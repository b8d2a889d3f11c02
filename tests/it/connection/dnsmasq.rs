//! One run against a DNS server that many home routers and distributions have.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use xmppkit::connection::connect;
use xmppkit::error::ConnectReason;

use super::nets::{Recorder, connect_error, options, refused_port};
use crate::support::{report, servers_required};

/// The running program; it ends when dropped.
struct Dnsmasq {
    child: Child,
    address: SocketAddr,
}

impl Dnsmasq {
    /// `None`: it is not installed.
    fn start(port: u16, records: &[&str]) -> Option<Self> {
        let program = ["dnsmasq", "/usr/sbin/dnsmasq"].into_iter().find(|program| {
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        })?;
        let mut child = Command::new(program)
            .args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file"])
            .args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1", "--local=/test/"])
            .arg(format!("--port={port}"))
            .args(records)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = log.by_ref().map_while(Result::ok).any(|line| line.contains("started, version"));
        assert!(started, "dnsmasq did not start: {:?}", child.wait());
        // Its log must not run into a closed pipe.
        std::thread::spawn(move || log.for_each(drop));
        Some(Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn dnsmasq_gives_services_aliases_and_negative_answers() {
    let records = [
        "--srv-host=_xmpp-client._tcp.chat.test,b.chat.test,5302,20,0",
        "--srv-host=_xmpp-client._tcp.chat.test,alias.chat.test,5301,10,0",
        "--cname=alias.chat.test,a.chat.test",
        "--host-record=a.chat.test,192.0.2.1,2001:db8::1",
        "--host-record=b.chat.test,192.0.2.2",
        "--host-record=plain.test,192.0.2.3",
        "--srv-host=_xmpp-client._tcp.closed.test",
    ];
    let Some(dns) = Dnsmasq::start(refused_port("127.0.0.1").await, &records) else {
        assert!(!servers_required(), "dnsmasq is not installed, and XMPPKIT_REQUIRE_SERVERS is set");
        return report("SKIPPED: dnsmasq is not installed");
    };
    let network = Recorder::accepting(5302);
    let connection = connect(&options("chat.test", dns.address).connector(network.clone())).await.unwrap();
    assert_eq!(connection.info().target, "b.chat.test:5302");
    assert_eq!(network.hosts(), ["alias.chat.test:5301", "b.chat.test:5302"]);
    let mut first: Vec<_> =
        network.targets().iter().filter(|t| t.port == 5301).map(|t| t.address.unwrap().ip().to_string()).collect();
    first.sort();
    assert_eq!(first, ["192.0.2.1", "2001:db8::1"]);

    let network = Recorder::accepting(5222);
    let connection = connect(&options("plain.test", dns.address).connector(network)).await.unwrap();
    assert_eq!(connection.info().target, "plain.test:5222");

    let error = connect(&options("closed.test", dns.address)).await.unwrap_err();
    assert_eq!(connect_error(&error).reason, ConnectReason::NoService);
    let error = connect(&options("unknown.test", dns.address)).await.unwrap_err();
    assert_eq!(connect_error(&error).reason, ConnectReason::UnknownHost);
}
