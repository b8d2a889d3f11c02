//! A whole login by DNS: the client is told an account and nothing else, and finds its server by SRV (R53).

use hickory_server::proto::rr::RecordType;
use xmppkit::client::{Client, Trust};
use xmppkit::testing::Server;

use super::dns_server::{DnsServer, Zone};
use crate::common::{DOMAIN, PASSWORD, server};

/// The host in the records. The certificate is for the domain, not for it.
const HOST: &str = "xmpp.verona.example";

/// A client that is told no address and no port.
async fn client(server: &Server, dns: &DnsServer) -> Client {
    Client::builder(server.jid("romeo").expect("a JID"))
        .password(PASSWORD)
        .nameservers([dns.address])
        .trust(Trust::only_ca(server.ca_pem()).expect("the server's CA"))
        .build()
        .await
        .expect("a client")
}

async fn logs_in(server: &Server, zone: Zone, port: u16, direct_tls: bool) {
    let dns = DnsServer::start(zone.address(HOST, "127.0.0.1")).await;
    let client = client(server, &dns).await;
    client.connect().await.expect("online");
    assert_eq!(client.jid().map(|jid| jid.to_bare()), server.jid("romeo").ok());
    let info = client.connection_info().expect("a connection");
    assert_eq!((info.target.as_str(), info.direct_tls), (format!("{HOST}:{port}").as_str(), direct_tls));
    assert!(info.tls.is_some(), "encrypted either way");
    let asked = dns.asked(RecordType::SRV);
    for service in ["_xmpps-client", "_xmpp-client"] {
        assert!(asked.contains(&format!("{service}._tcp.{DOMAIN}.")), "{asked:?}");
    }
    client.close().await;
}

#[tokio::test]
async fn a_client_logs_in_at_the_host_of_the_record_for_direct_tls() {
    let server = server().start().await.expect("a server");
    let port = server.direct_tls_address().port();
    logs_in(&server, Zone::new().direct(DOMAIN, 1, port, HOST), port, true).await;
}

#[tokio::test]
async fn a_client_logs_in_at_the_host_of_the_record_for_starttls() {
    let server = server().start().await.expect("a server");
    let port = server.address().port();
    logs_in(&server, Zone::new().start_tls(DOMAIN, 1, port, HOST), port, false).await;
}

/// The record that comes first leads to nobody; the login goes to the next.
#[tokio::test]
async fn a_client_logs_in_at_the_next_record_where_the_first_leads_nowhere() {
    let server = server().start().await.expect("a server");
    let (port, refused) = (server.address().port(), super::nets::refused_port("127.0.0.1").await);
    let zone = Zone::new().direct(DOMAIN, 1, refused, HOST).start_tls(DOMAIN, 2, port, HOST);
    logs_in(&server, zone, port, false).await;
}
