//! tokio-xmpp's side of what takes a connection.

use std::time::Duration;

use futures::StreamExt as _;
use tokio_xmpp::connect::DnsConfig;
use tokio_xmpp::jid::Jid;
use tokio_xmpp::parsers::carbons::{Received, Sent};
use tokio_xmpp::parsers::message::Message;
use tokio_xmpp::parsers::presence::{Presence, Type};
use tokio_xmpp::parsers::stanza::Stanza;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event};
use xmppkit::xml::ns;

use crate::measure::{cpu, report, resident_kb};
use crate::ours_online::runtime;
use crate::reading::tally::{Field, Tally};
use crate::server::{DOMAIN, PASSWORD};

fn client(user: &str, port: u16, tls: bool) -> Client {
    let jid = Jid::new(&format!("{user}@{DOMAIN}/balcony")).expect("a JID");
    let server = DnsConfig::addr(&format!("127.0.0.1:{port}"));
    if tls {
        Client::new_starttls(jid, PASSWORD, server, Timeouts::default())
    } else {
        Client::new_plaintext(jid, PASSWORD, server, Timeouts::default())
    }
}

/// Waits until the client is online, and says so.
async fn log_in(client: &mut Client) {
    loop {
        match client.next().await.expect("the client is there") {
            Event::Online { .. } => break,
            Event::Stanza(_) => {}
            Event::Disconnected(error) => panic!("{error}"),
        }
    }
    client.send_stanza(Presence::new(Type::None).into()).await.expect("a session");
}

/// The whole life of a client that is sent so many messages and presence stanzas.
pub(crate) fn whole(port: u16, tls: bool, messages: u64, presences: u64) {
    let tally = runtime().block_on(async {
        let mut client = client("juliet", port, tls);
        log_in(&mut client).await;
        let (mut read, mut seen) = (Tally::default(), Tally::default());
        while read.messages < messages || seen.presences < presences {
            match client.next().await.expect("the client is there") {
                Event::Stanza(Stanza::Message(message)) => {
                    read.messages += 1;
                    let message = unwrapped(message);
                    read.some(Field::From, message.from.as_ref().map(Jid::as_str));
                    read.some(Field::Body, message.bodies.into_values().next());
                }
                Event::Stanza(Stanza::Presence(presence)) => {
                    seen.presences += 1;
                    seen.some(Field::From, presence.from.as_ref().map(Jid::as_str));
                }
                Event::Stanza(Stanza::Iq(_)) => {}
                Event::Online { .. } => panic!("it was online"),
                Event::Disconnected(error) => panic!("{error}"),
            }
        }
        read.and(seen)
    });
    report(cpu().as_secs_f64(), tally);
    std::process::exit(0);
}

/// The message inside a carbon.
fn unwrapped(mut message: Message) -> Message {
    let Some(at) = message.payloads.iter().position(|payload| payload.has_ns(ns::CARBONS)) else { return message };
    let carbon = message.payloads.swap_remove(at);
    if carbon.name() == "sent" {
        Sent::try_from(carbon).expect("a carbon").forwarded.message
    } else {
        Received::try_from(carbon).expect("a carbon").forwarded.message
    }
}

/// So many clients in one process, logged in and idle: kilobytes for each.
pub(crate) fn idle(port: u16, count: usize) {
    let each = runtime().block_on(async {
        let login = async |number: usize| {
            let mut client = client(&format!("user{number}"), port, false);
            log_in(&mut client).await;
            client
        };
        let mut clients = Vec::with_capacity(count + 10);
        for number in 0..10 {
            clients.push(login(number).await);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = resident_kb();
        for number in 0..count {
            clients.push(login(10 + number).await);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        (resident_kb() - before) / count as f64
    });
    report(each, format_args!("connections={count}"));
    std::process::exit(0);
}
