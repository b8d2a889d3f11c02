use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use xmppkit::testing::{Cut, Server, Target, Way};

use super::client::{Client, LONG, Read};

/// Long enough to notice what should not be late, short enough to wait for what should not come.
const SHORT: Duration = Duration::from_millis(200);

async fn start() -> Server {
    let builder = Server::builder().domain("example.org");
    builder.account("romeo", "secret").account("juliet", "secret").start().await.unwrap()
}

const PING: &str = "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>";

#[tokio::test]
async fn a_reset_and_a_fin_are_told_apart() {
    let server = start().await;
    for (how, reset) in [(Cut::Rst, true), (Cut::Fin, false)] {
        let mut romeo = Client::online(&server, "romeo", "r").await;
        let mut juliet = Client::online(&server, "juliet", "j").await;
        assert_eq!(server.cut(server.jid("romeo").unwrap(), how), 1);
        match romeo.next().await {
            Read::End { reset: shown } => assert_eq!(shown, reset, "{how:?}"),
            other => panic!("{other:?}"),
        }
        timeout(LONG, server.wait_for(|s| s.sessions().len() == 1)).await.unwrap();
        juliet.sync().await;
    }
}

#[tokio::test]
async fn a_half_closed_session_goes_on_reading() {
    let server = start().await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let mut juliet = Client::online(&server, "juliet", "j").await;
    server.cut(server.jid("romeo").unwrap(), Cut::HalfClose);
    assert!(matches!(romeo.next().await, Read::End { reset: false }));
    romeo.send("<message type='chat' to='juliet@example.org/j'><body>still here</body></message>").await;
    assert_eq!(juliet.element().await.name(), "message");
    assert_eq!(server.sessions().len(), 2);
}

#[tokio::test]
async fn a_stalled_server_says_nothing_and_loses_nothing() {
    let server = start().await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let jid = server.sessions()[0].jid.clone();

    assert_eq!(server.stall(&jid, Way::ToClient), 1);
    romeo.send(PING).await;
    timeout(LONG, server.wait_for(|s| s.received(Target::All).last().is_some_and(|x| x.contains("id='p'")))).await.unwrap();
    assert!(timeout(SHORT, romeo.next()).await.is_err());
    server.resume(&jid, Way::ToClient);
    romeo.until("p").await;

    server.stall(&jid, Way::FromClient);
    let seen = server.received(&jid).len();
    romeo.send(PING).await;
    assert!(timeout(SHORT, server.wait_for(|s| s.received(Target::All).len() > seen)).await.is_err());
    server.resume(&jid, Way::FromClient);
    romeo.until("p").await;
}

#[tokio::test]
async fn a_stall_of_all_holds_for_connections_to_come() {
    let server = start().await;
    server.stall(Target::All, Way::Both);
    let mut client = Client::connect(&server).await;
    assert!(timeout(SHORT, client.open()).await.is_err());
    server.resume(Target::All, Way::Both);
    assert!(matches!(client.next().await, Read::Header));
}

#[tokio::test]
async fn a_connection_in_its_handshake_can_be_stalled_and_cut() {
    let server = start().await;
    server.stall(Target::All, Way::FromClient);
    let connecting = Client::connect_direct(&server);
    tokio::pin!(connecting);
    assert!(timeout(SHORT, &mut connecting).await.is_err());
    server.resume(Target::All, Way::FromClient);
    timeout(LONG, connecting).await.unwrap();

    let mut silent = tokio::net::TcpStream::connect(server.direct_tls_address()).await.unwrap();
    timeout(LONG, server.wait_for(|s| s.counters().connections == 2 && s.connections() == 1)).await.unwrap();
    assert_eq!(server.cut(Target::All, Cut::Fin), 1);
    timeout(LONG, server.wait_for(|s| s.connections() == 0)).await.unwrap();
    assert_eq!(timeout(LONG, silent.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn delays_hold_each_way_and_keep_the_order() {
    let server = start().await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let jid = server.sessions()[0].jid.clone();
    for way in [Way::ToClient, Way::FromClient] {
        server.delay(&jid, way, SHORT);
        let begin = Instant::now();
        romeo.send(PING).await;
        romeo.send(&PING.replace("'p'", "'q'")).await;
        let (_, before) = romeo.until("q").await;
        assert_eq!(before.len(), 1);
        assert!(begin.elapsed() >= SHORT, "{way:?}");
        server.delay(&jid, way, Duration::ZERO);
        romeo.sync().await;
    }
}

#[tokio::test]
async fn injected_bytes_arrive_between_stanzas_as_they_are() {
    let server = start().await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    assert_eq!(server.inject(Target::All, " \n<odd xmlns='urn:odd'/>"), 1);
    assert!(romeo.element().await.is("urn:odd", "odd"));
}

#[tokio::test]
async fn a_kick_ends_the_stream_with_its_condition() {
    let server = start().await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    assert_eq!(server.kick(server.jid("juliet").unwrap(), "reset"), 0);
    assert_eq!(server.kick(server.jid("romeo").unwrap(), "resource-constraint"), 1);
    assert!(server.sessions().is_empty());
    assert_eq!(romeo.stream_error().await, "resource-constraint");
}

#[tokio::test]
async fn refused_connections_leave_open_ones_alone() {
    let server = start().await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    server.refuse_connections(true).await.unwrap();
    for address in [server.address(), server.direct_tls_address()] {
        let error = tokio::net::TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    romeo.sync().await;
    server.refuse_connections(false).await.unwrap();
    Client::online(&server, "juliet", "j").await;
}

#[tokio::test]
async fn a_restart_keeps_ports_accounts_and_offline_messages() {
    let server = start().await;
    let juliet = server.jid("juliet").unwrap();
    let mut romeo = Client::online(&server, "romeo", "r").await;
    romeo.send("<message type='chat' to='juliet@example.org'><body>kept</body></message>").await;
    romeo.sync().await;
    let stopping = async {
        server.stop().await.unwrap();
        assert_eq!(server.connections(), 0);
        assert_eq!(
            tokio::net::TcpStream::connect(server.address()).await.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
    };
    let ((), error) = tokio::join!(stopping, romeo.stream_error());
    assert_eq!(error, "system-shutdown");
    server.restart().await.unwrap();
    assert_eq!(server.offline_messages(&juliet), 1);
    let mut client = Client::login(&server, "juliet", "secret", "j").await;
    client.send("<presence/>").await;
    assert!(client.sync().await.iter().any(|f| f.name() == "message"));
}

#[tokio::test]
async fn a_dropped_server_leaves_no_connection_and_no_task() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let server = start().await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let address = server.address();
    drop(server);
    assert!(matches!(romeo.next().await, Read::End { .. }));
    let gone = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, gone).await.expect("no task is left");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_silent_connection_is_kept_alive_with_blanks() {
    let builder = Server::builder().domain("example.org").account("romeo", "secret");
    let server = builder.differences(|d| d.whitespace_keepalive = Some(Duration::from_millis(20))).start().await.unwrap();
    let _romeo = Client::online(&server, "romeo", "r").await;
    let before = server.counters().traffic;
    timeout(LONG, server.wait_for(|s| s.counters().traffic.bytes_out >= before.bytes_out + 3)).await.unwrap();
    assert_eq!(server.counters().traffic.stanzas_out, before.stanzas_out);
}
