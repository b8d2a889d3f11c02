//! Servers that break the protocol after login, flood, never read, and send clients elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use xmppkit::client::{Client, State};
use xmppkit::error::ErrorKind;
use xmppkit::ext::{Answer, Ctx, Extension, IqRequest, Registrar};
use xmppkit::jid::Jid;
use xmppkit::messaging::Messages as _;
use xmppkit::roster::Rosters as _;
use xmppkit::testing::{Target, Way};
use xmppkit::xmpp_parsers::ping::Ping;

use super::valve::{Through, Valve};
use super::{impatient, ping, quick, says};
use crate::common::{DOMAIN, PASSWORD, builder, online, server, within};

/// Waits for the end of this session and gives its cause.
async fn end(states: &mut (impl futures::Stream<Item = State> + Unpin), what: &str) -> xmppkit::Error {
    within(what, async {
        loop {
            match states.next().await.expect("a state") {
                State::Waiting { cause, .. } | State::Failed(cause) => return cause,
                _ => {}
            }
        }
    })
    .await
}

async fn next_session(states: &mut (impl futures::Stream<Item = State> + Unpin), what: &str) {
    within(what, async { while !states.next().await.expect("a state").is_online() {} }).await;
}

#[tokio::test]
async fn what_is_no_stream_ends_the_connection_with_an_error_and_the_next_one_works() {
    let server = server().start().await.expect("a server");
    let client = builder(&server, "romeo").reconnect(quick()).build().await.expect("a client");
    let mut states = client.states();
    client.connect().await.expect("online");
    next_session(&mut states, "the first session").await;
    let attributes: String = (0..100_000).map(|number| format!(" a{number}='x'")).collect();
    let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='2' version='1.0'>";
    for (what, bytes) in [
        ("broken tags", b"<message><body>hi</message>".to_vec()),
        ("no UTF-8", b"<message><body>\xff\xfe</body></message>".to_vec()),
        ("an entity", b"<message><body>&lol;</body></message>".to_vec()),
        ("a document type", b"<!DOCTYPE x [<!ENTITY lol 'lol'>]><message/>".to_vec()),
        ("a comment", b"<!-- hi -->".to_vec()),
        ("an instruction", b"<?php evil() ?>".to_vec()),
        ("a character XML has not", b"<message><body>&#0;</body></message>".to_vec()),
        ("text between stanzas", b"hello".to_vec()),
        ("depth", "<a>".repeat(100_000).into_bytes()),
        ("attributes", format!("<message{attributes}/>").into_bytes()),
        ("an attribute twice", b"<message to='a@b' to='c@d'/>".to_vec()),
        ("an unknown prefix", b"<message><x:y/></message>".to_vec()),
        ("a declaration", b"<?xml version='1.0'?>".to_vec()),
        ("the end, and more", b"</stream:stream><message/>".to_vec()),
        ("a new stream", format!("</stream:stream>{header}<message/>").into_bytes()),
    ] {
        assert_eq!(server.inject(Target::All, bytes), 1, "{what}");
        let cause = end(&mut states, what).await;
        let as_expected = matches!(cause.kind(), ErrorKind::Protocol(_) | ErrorKind::Closed(_));
        assert!(as_expected, "{what}: {cause}");
        next_session(&mut states, what).await;
    }
    ping(&client).await;
    client.close().await;
}

#[tokio::test]
async fn odd_stanzas_cost_nothing() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let me = client.jid().expect("bound");
    let mut texts = client.messages().events();
    let long = "x".repeat(100_000);
    for stanza in [
        "<message/>".to_owned(),
        "<message from=''><body>no sender</body></message>".to_owned(),
        "<message from='@@@'><body>no sender</body></message>".to_owned(),
        format!("<message from='{long}@example.org'><body>no sender</body></message>"),
        format!("<message id='{long}' type='{long}' from='romeo@example.org/{long}'/>"),
        "<message xmlns='' from='romeo@example.org/b'><body>nowhere</body></message>".to_owned(),
        "<presence type='garbage' from='romeo@example.org/b'/>".to_owned(),
        "<presence type='error' from='romeo@example.org/b'/>".to_owned(),
        "<presence from='@@@'><priority>1000</priority><show>maybe</show></presence>".to_owned(),
        "<presence type='subscribe' from='@@@'/>".to_owned(),
        format!("<presence type='subscribe' from='{me}'/>"),
        "<presence type='subscribed'/>".to_owned(),
        "<iq/>".to_owned(),
        "<iq type='get'/>".to_owned(),
        "<iq type='get' id='1'/>".to_owned(),
        "<iq type='get' id='2'><a xmlns='x'/><b xmlns='x'/></iq>".to_owned(),
        "<iq type='maybe' id='3'><a xmlns='x'/></iq>".to_owned(),
        "<iq type='result' id='4' from='@@@'/>".to_owned(),
        "<iq type='error' id='5'/>".to_owned(),
        "<iq type='set' id='6' from='mallory@example.org'><query xmlns='jabber:iq:roster'><item jid='m@x'/></query></iq>"
            .to_owned(),
        "<iq type='set' id='7' from='@@@'><query xmlns='jabber:iq:roster'><item jid='m@x'/></query></iq>".to_owned(),
        "<stream:features/>".to_owned(),
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
        "<stream:stream xmlns='jabber:client' id='2' version='1.0'/>".to_owned(),
        format!(
            "<message from='mallory@example.org'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                 <message xmlns='jabber:client' from='romeo@example.org/b' to='{me}'><body>forged</body></message></forwarded></received></message>"
        ),
    ] {
        assert_eq!(server.inject(Target::All, stanza.clone()), 1);
        ping(&client).await;
        assert!(client.state().is_online(), "{stanza}");
    }
    assert_eq!(client.roster().contacts().len(), 0);
    server.route_stanza(&says("romeo@example.org/b", &me, "sane")).expect("routed");
    let first = within("the message", texts.next()).await.expect("a message");
    assert_eq!(first.body().as_deref(), Some("sane"));
    client.close().await;
}

/// Notes who asks.
#[derive(Default)]
struct Asked(Arc<Mutex<Vec<Option<Jid>>>>);

impl Extension for Asked {
    fn register(&self, reg: &mut Registrar<'_>) {
        let asked = Arc::clone(&self.0);
        reg.on_iq_set_named("urn:example:command", "command", move |request: IqRequest<()>, _: Ctx| {
            asked.lock().expect("no panic").push(request.from());
            async { Ok(Answer::empty()) }
        });
    }
}

/// `None` means the own account, which may order things: a sender that is no JID must not look like it.
#[tokio::test]
async fn a_sender_that_is_no_jid_is_not_taken_for_the_own_account() {
    let server = server().start().await.expect("a server");
    let extension = Asked::default();
    let asked = Arc::clone(&extension.0);
    let client = builder(&server, "juliet").with(extension).build().await.expect("a client");
    client.connect().await.expect("online");
    let me = client.jid().expect("bound");
    server.inject(Target::All, "<iq type='set' id='c1' from='mallory@@evil'><command xmlns='urn:example:command'/></iq>");
    server.inject(Target::All, "<message from='mallory@@evil' type='chat'><body>psst</body></message>");
    ping(&client).await;
    assert_eq!(*asked.lock().expect("no panic"), []);
    let refused = |stanza: &String| stanza.contains("c1") && stanza.contains("service-unavailable");
    within("the refusal", server.wait_for(|server| server.received(&me).iter().any(refused))).await;
    let log = client.store().feed(xmppkit::store::Position::START, 10).await.expect("a read");
    assert_eq!(log.len(), 0, "{log:?}");
    client.close().await;
}

/// Small pieces of a large stanza are not scanned again and again.
#[tokio::test]
async fn a_large_stanza_in_small_pieces_is_read_in_linear_time() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let mut texts = client.messages().events();
    let began = Instant::now();
    server.inject(Target::All, "<message from='romeo@example.org/b' type='chat'><body>");
    for _ in 0..4_000 {
        server.inject(Target::All, "x&lt;".repeat(200));
        tokio::task::yield_now().await;
    }
    server.inject(Target::All, "</body></message>");
    let message = within("the message", texts.next()).await.expect("a message");
    assert_eq!(message.body().map(|body| body.len()), Some(1_600_000));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    client.close().await;
}

#[tokio::test]
async fn a_flood_holds_up_neither_requests_nor_the_end() {
    let server = server().start().await.expect("a server");
    let client = online(&server, "juliet").await;
    let me = client.jid().expect("bound");
    let mut flood = String::new();
    for number in 0..5_000 {
        flood += &format!(
            "<message from='m{number}@example.org/{number}' type='chat' to='{me}'><body>{number}</body></message>\
             <presence from='m{number}@example.org/{number}'/>\
             <presence type='subscribe' from='s{number}@example.org'/>\
             <presence from='romeo@example.org/{number}'/>\
             <iq type='get' id='f{number}' from='m{number}@example.org/x'><ping xmlns='urn:xmpp:ping'/></iq>\
             <iq type='result' id='f{number}'/>"
        );
    }
    server.inject(Target::All, flood);
    ping(&client).await;
    assert!(client.state().is_online());
    assert_eq!(client.roster().pending_requests().len(), 1_000);
    within("the end", client.close()).await;
}

/// The answers to a flood of requests are not piled up for a server that does not take them: reading stops.
#[tokio::test]
async fn requests_are_not_read_faster_than_their_answers_are_taken() {
    const REQUESTS: usize = 20_000;
    let valve = Arc::new(Valve::default());
    let server = server().start().await.expect("a server");
    let client = builder(&server, "juliet")
        .deadlines(impatient())
        .connector(Arc::new(Through(Arc::clone(&valve))))
        .build()
        .await
        .expect("a client");
    client.connect().await.expect("online");
    valve.shut();
    let before = valve.read();
    let flood: String = (0..REQUESTS)
        .map(|number| format!("<iq type='get' id='flood{number}' from='m@example.org/x'><a xmlns='b'/></iq>"))
        .collect();
    let total = flood.len();
    server.inject(Target::All, flood);
    // While it reads on, it reads between one request that nobody answers and the next.
    let unanswered = async || {
        let error = client.iq_get(None, &Ping).timeout(Duration::from_millis(500)).await.expect_err("nothing is written");
        assert!(matches!(error.kind(), ErrorKind::RequestTimeout(_)), "{error}");
        valve.read() - before
    };
    let seen = within("a pause in reading", async {
        let mut seen = 0;
        loop {
            let read = unanswered().await;
            if read > 0 && read == seen {
                return seen;
            }
            seen = read;
        }
    })
    .await;
    assert!(seen < total, "everything was read, and its answers wait in memory");
    valve.open();
    ping(&client).await;
    within("the end", client.close()).await;
}

#[tokio::test]
async fn a_server_that_reads_nothing_and_says_nothing_cannot_hold_up_the_end() {
    let server = server().start().await.expect("a server");
    let client = builder(&server, "juliet").deadlines(impatient()).build().await.expect("a client");
    client.connect().await.expect("online");
    server.stall(Target::All, Way::Both);
    within("the end", client.close()).await;
    assert!(matches!(client.state(), State::Closed));
}

fn elsewhere(to: &str) -> String {
    format!(
        "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{to}</see-other-host></stream:error></stream:stream>"
    )
}

/// Once it was online, the client keeps itself connected.
#[tokio::test]
async fn a_session_sent_to_where_nobody_is_comes_back() {
    let server = server().start().await.expect("a server");
    let client = builder(&server, "juliet").reconnect(quick()).build().await.expect("a client");
    let mut states = client.states();
    client.connect().await.expect("online");
    next_session(&mut states, "the session").await;
    server.inject(Target::All, elsewhere("127.0.0.1:1"));
    next_session(&mut states, "the next session").await;
    client.close().await;
}

#[tokio::test]
async fn redirects_are_bounded_in_a_row_and_not_over_a_life() {
    let server = server().start().await.expect("a server");
    for (stable, followed) in [(Duration::ZERO, 8), (Duration::from_secs(3_600), 5)] {
        let mut pace = quick();
        pace.stable = stable;
        let client = builder(&server, "juliet").reconnect(pace).build().await.expect("a client");
        let mut states = client.states();
        client.connect().await.expect("online");
        next_session(&mut states, "the session").await;
        for _ in 0..followed {
            server.inject(Target::All, elsewhere(&server.address().to_string()));
            next_session(&mut states, "the next session").await;
        }
        if stable > Duration::ZERO {
            server.inject(Target::All, elsewhere(&server.address().to_string()));
            let cause = end(&mut states, "the end").await;
            assert!(matches!(cause.kind(), ErrorKind::Stream(error) if error.condition == "see-other-host"), "{cause}");
        }
        client.close().await;
    }
}

/// Accepts and closes at once, again and again.
#[tokio::test]
async fn a_server_that_closes_at_once_is_tried_at_the_pace_of_the_back_off() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    let mut pace = quick();
    pace.base = Duration::from_millis(1);
    pace.cap = Duration::from_millis(2);
    let account = format!("juliet@{DOMAIN}").parse().expect("a JID");
    let client = Client::builder(account)
        .password(PASSWORD)
        .server(address.ip().to_string(), address.port(), xmppkit::client::TlsMode::StartTls)
        .reconnect(pace)
        .build()
        .await
        .expect("a client");
    let mut states = client.states();
    client.start();
    let mut last = None;
    let mut waits = 0;
    while waits < 300 {
        let state = within("a state", states.next()).await.expect("a state");
        let kind = std::mem::discriminant(&state);
        assert_ne!(last.replace(kind), Some(kind), "{state:?} twice");
        assert!(
            matches!(state, State::Offline { last: None, .. } | State::Connecting { .. } | State::Waiting { .. }),
            "{state:?}"
        );
        waits += usize::from(matches!(state, State::Waiting { .. }));
    }
    within("the end", client.close()).await;
    assert!(accepted.load(Ordering::SeqCst) >= 300);
    accepting.abort();
}
