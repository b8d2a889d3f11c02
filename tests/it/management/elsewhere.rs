//! Sessions that are to be resumed elsewhere (XEP-0198 §5), and clients that are sent elsewhere (`see-other-host`).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use xmppkit::client::{Client, State};
use xmppkit::connection::{Connector, Target, TcpConnector, Transport};
use xmppkit::error::{ErrorKind, TlsError};
use xmppkit::testing::{Cut, Misbehaviour, Server};

use super::{quick, until};
use crate::common::{DOMAIN, PASSWORD, server, within};

const ELSEWHERE: &str = "other.example.net:5333";

/// Knows where a name is; everything else is where its address says. Notes who was called.
#[derive(Debug, Default)]
struct Switchboard {
    known: Mutex<HashMap<String, SocketAddr>>,
    called: Mutex<Vec<String>>,
}

impl Switchboard {
    fn at(&self, address: SocketAddr) {
        self.known.lock().expect("no panic").insert(ELSEWHERE.to_owned(), address);
    }

    /// Who was called since this was asked last.
    fn called(&self) -> Vec<String> {
        std::mem::take(&mut *self.called.lock().expect("no panic"))
    }
}

impl Connector for Switchboard {
    fn connect<'a>(&'a self, mut target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        let name = format!("{}:{}", target.host, target.port);
        target.address = self.known.lock().expect("no panic").get(&name).copied().or_else(|| name.parse().ok());
        self.called.lock().expect("no panic").push(name);
        match target.address {
            Some(_) => TcpConnector.connect(target),
            None => Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) }),
        }
    }

    fn resolves_names(&self) -> bool {
        true
    }
}

async fn client(server: &Server, switchboard: &Arc<Switchboard>) -> Client {
    quick(server, "romeo").connector(Arc::clone(switchboard) as _).build().await.expect("a client")
}

/// A server of the same name that somebody else runs: romeo's password is right there.
async fn impostor(misbehaviour: Option<Misbehaviour>) -> Server {
    let builder = Server::builder().domain(DOMAIN).account("romeo", PASSWORD);
    misbehaviour
        .into_iter()
        .fold(builder, |builder, misbehaviour| builder.misbehave(misbehaviour))
        .start()
        .await
        .expect("a server")
}

#[tokio::test]
async fn a_session_is_resumed_where_the_server_wants_it_and_otherwise_where_it_was() {
    let server = server().differences(|d| d.management.location = Some(ELSEWHERE.to_owned())).start().await.expect("a server");
    let (forged, plain) = (impostor(None).await, impostor(Some(Misbehaviour::StripTls)).await);
    let switchboard = Arc::new(Switchboard::default());
    let romeo = client(&server, &switchboard).await;
    let mut states = romeo.states();
    romeo.connect().await.expect("online");
    until(&mut states, "online").await;
    let home = server.address().to_string();
    assert_eq!(switchboard.called(), [home.as_str()]);
    let home = home.as_str();
    // A certificate that nobody vouches for is looked at once more, to be shown.
    for (what, address, called) in [
        ("it is there", Some(server.address()), vec![ELSEWHERE]),
        ("nobody is there", None, vec![ELSEWHERE, home]),
        ("no TLS is there", Some(plain.address()), vec![ELSEWHERE, home]),
        ("somebody else is there", Some(forged.address()), vec![ELSEWHERE, ELSEWHERE, home]),
        ("it is there again", Some(server.address()), vec![ELSEWHERE]),
    ] {
        switchboard.known.lock().expect("no panic").clear();
        address.into_iter().for_each(|address| switchboard.at(address));
        let resumes = server.counters().resumes;
        server.cut(romeo.account(), Cut::Rst);
        within(what, async { while !states.next().await.is_some_and(|s| matches!(s, State::Online { resumed: true, .. })) {} })
            .await;
        assert_eq!(switchboard.called(), called, "{what}");
        assert_eq!(server.counters().resumes, resumes + 1, "{what}");
    }
    for other in [&forged, &plain] {
        assert_eq!(other.counters().logins, 0);
        let counters = other.counters();
        assert!(counters.traffic.stanzas_in <= counters.connections, "nothing but STARTTLS was said: {counters:?}");
    }
    romeo.close().await;
}

#[tokio::test]
async fn whoever_is_named_by_see_other_host_is_held_to_the_same_rules_and_learns_no_secret() {
    for (misbehaviour, certificate) in [(None, true), (Some(Misbehaviour::StripTls), false)] {
        let server = server().start().await.expect("a server");
        let other = impostor(misbehaviour).await;
        let switchboard = Arc::new(Switchboard::default());
        switchboard.at(other.address());
        let romeo = client(&server, &switchboard).await;
        let mut states = romeo.states();
        romeo.connect().await.expect("online");
        until(&mut states, "online").await;
        server.inject(
            romeo.account(),
            format!(
                "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{ELSEWHERE}</see-other-host>\
                 </stream:error></stream:stream>"
            ),
        );
        let error = within("the failure", async {
            loop {
                if let State::Failed(error) = states.next().await.expect("a state") {
                    return error;
                }
            }
        })
        .await;
        let as_expected = if certificate {
            matches!(error.kind(), ErrorKind::Certificate(_))
        } else {
            matches!(error.kind(), ErrorKind::Tls(TlsError::NotOffered))
        };
        assert!(as_expected, "{error}");
        assert!(switchboard.called().contains(&ELSEWHERE.to_owned()));
        assert_eq!(other.counters().logins, 0);
        let counters = other.counters();
        assert!(counters.traffic.stanzas_in <= counters.connections, "nothing but STARTTLS was said: {counters:?}");
    }
}
