//! Messages between two clients, on the in-process server.

use futures::{FutureExt, StreamExt};
use xmppkit::archive::ArchiveService;
use xmppkit::client::{Client, Milestone};
use xmppkit::error::ErrorKind;
use xmppkit::event::Incoming;
use xmppkit::ext::Ctx;
use xmppkit::jid::FullJid;
use xmppkit::messaging::{
    Bounce, ChatMessage, ChatState, ChatStateEvent, Confirm, Direction, MessageType, Messages, MessagingService,
    MessagingSettings, Origin,
};
use xmppkit::testing::{Builder, Dialect, Server};
use xmppkit::xmpp_parsers::message::Message;
use xmppkit::xmpp_parsers::oob::Oob;
use xmppkit::xmpp_parsers::ping::Ping;
use xmppkit::xmpp_parsers::presence::Presence;
use xmppkit::xmpp_parsers::receipts::Received;

use crate::common::{DOMAIN, builder, client, in_every_dialect, online, server, within};

in_every_dialect![
    handlers_answer,
    a_conversation_is_locked_to_the_resource_that_wrote_until_presence_changes,
    a_reply_keeps_type_and_thread_and_goes_to_the_conversation,
    a_payload_without_a_body_goes_where_the_conversation_goes,
    an_error_counts_for_what_was_sent_there,
    an_error_unlocks_the_conversation,
    payloads_and_languages_travel,
    messages_accepted_offline_are_sent_in_order_when_online,
    a_note_to_oneself_arrives,
];

/// Two clients of the same server, both online.
async fn pair(server: &Server) -> (Client, Client) {
    (online(server, "romeo").await, online(server, "juliet").await)
}

fn jid(client: &Client) -> FullJid {
    client.jid().expect("bound")
}

async fn next(messages: &mut (impl futures::Stream<Item = ChatMessage> + Unpin)) -> ChatMessage {
    within("a message", messages.next()).await.expect("a message")
}

/// What a client has sent, when it is this many messages.
async fn sent_messages(server: &Server, from: &Client, count: usize) -> Vec<String> {
    let jid = jid(from);
    let messages = |server: &Server| -> Vec<String> {
        server.received(&jid).into_iter().filter(|stanza| stanza.starts_with("<message")).collect()
    };
    within("the messages", server.wait_for(|server| messages(server).len() >= count)).await;
    messages(server)
}

fn is_to(stanza: &str, to: impl std::fmt::Display) -> bool {
    let to = to.to_string();
    stanza.contains(&format!("to='{to}'")) || stanza.contains(&format!("to=\"{to}\""))
}

#[tokio::test]
async fn messages_go_both_ways_in_every_dialect() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let (romeo, juliet) = (client(&server, "romeo").await, client(&server, "juliet").await);
        let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
        romeo.connect().await.expect("online");
        juliet.connect().await.expect("online");

        romeo.chat(juliet.account()).send("But soft!").lang("en").subject("Balcony").thread("t1").await.expect("accepted");
        let message = next(&mut at_juliet).await;
        assert_eq!(
            (message.body().as_deref(), message.subject().as_deref()),
            (Some("But soft!"), Some("Balcony")),
            "{dialect:?}"
        );
        assert_eq!((message.body_in("en-GB").as_deref(), message.message_type()), (Some("But soft!"), MessageType::Chat));
        assert_eq!((message.direction(), message.origin()), (Direction::Incoming, Origin::Live));
        assert_eq!(*message.from(), jid(&romeo));
        assert_eq!(message.conversation(), *romeo.account());
        assert!(message.id().is_some() && message.id() == message.origin_id());

        message.reply("Ay me!").await.expect("accepted");
        let reply = next(&mut at_romeo).await;
        assert_eq!((reply.body().as_deref(), reply.thread().map(|thread| thread.id).as_deref()), (Some("Ay me!"), Some("t1")));
        assert_eq!(reply.to(), Some(jid(&romeo).into()), "{dialect:?}: a reply goes to where the message came from");
        romeo.close().await;
        juliet.close().await;
    }
}

async fn handlers_answer(server: Builder) {
    let server = server.start().await.expect("a server");
    let (romeo, juliet) = pair(&server).await;
    let mut at_romeo = romeo.messages().events();
    let answer = |message: ChatMessage, _cx: Ctx| async move {
        let text = format!("You said: {}", message.body().unwrap_or_default());
        message.reply(text).await
    };
    juliet.on(answer).detach();
    for text in ["one", "two", "three"] {
        romeo.chat(juliet.account()).send(text).await.expect("accepted");
    }
    for text in ["one", "two", "three"] {
        assert_eq!(next(&mut at_romeo).await.body().as_deref(), Some(&*format!("You said: {text}")));
    }
    romeo.close().await;
    juliet.close().await;
}

async fn a_conversation_is_locked_to_the_resource_that_wrote_until_presence_changes(server: Builder) {
    let server = server.start().await.expect("a server");
    // His receipts would be among what he sends.
    let quiet = MessagingSettings::new().confirm(Confirm::Nobody);
    let romeo = builder(&server, "romeo").setting(quiet).build().await.expect("a client");
    romeo.connect().await.expect("online");
    let juliet = online(&server, "juliet").await;
    server.befriend(romeo.account(), juliet.account());
    let mut at_romeo = romeo.messages().events();
    let chat = romeo.chat(juliet.account());

    chat.send("first").await.expect("accepted");
    juliet.chat(romeo.account()).send("I hear").await.expect("accepted");
    next(&mut at_romeo).await;
    assert_eq!(chat.address(), jid(&juliet));
    chat.send("second").await.expect("accepted");

    let mut away = Presence::available();
    away.set_status(String::new(), "away".to_owned());
    let mut presence = romeo.subscribe::<Seen>();
    juliet.send_presence(away).await.expect("sent");
    within("the presence", presence.next()).await;
    assert_eq!(chat.address(), *juliet.account());
    chat.send("third").await.expect("accepted");

    let sent = sent_messages(&server, &romeo, 3).await;
    assert!(is_to(&sent[0], juliet.account()) && is_to(&sent[1], jid(&juliet)) && is_to(&sent[2], juliet.account()), "{sent:#?}");
    assert!(sent.iter().all(|stanza| stanza.contains("chat")), "{sent:#?}");
    juliet.chat(romeo.account()).send("I am back").await.expect("accepted");
    next(&mut at_romeo).await;
    assert_eq!(chat.address(), jid(&juliet));
    romeo.close().await;
    assert_eq!(chat.address(), *juliet.account(), "the session is over");
    juliet.close().await;
}

/// Any presence of another account.
#[derive(Debug, Clone)]
struct Seen;

impl xmppkit::event::Event for Seen {
    fn route() -> xmppkit::event::Route {
        xmppkit::event::Route::presence().when(|inbound| inbound.stanza().from().is_some_and(|from| from.starts_with("juliet")))
    }

    fn from_inbound(_: &xmppkit::event::Inbound, _: &xmppkit::client::WeakClient) -> Option<Self> {
        Some(Self)
    }
}

async fn a_reply_keeps_type_and_thread_and_goes_to_the_conversation(server: Builder) {
    let server = server.start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut at_romeo = romeo.messages().events();
    let me = jid(&romeo);
    server
        .route_stanza(&format!(
            "<message from='juliet@example.org/balcony' to='{me}' xmlns='jabber:client'><body>Letter</body><thread parent='p'>t</thread></message>"
        ))
        .expect("routed");
    let message = next(&mut at_romeo).await;
    assert_eq!(message.message_type(), MessageType::Normal);
    message.reply("Answer").await.expect("accepted");
    let sent = sent_messages(&server, &romeo, 1).await.remove(0);
    assert!(is_to(&sent, "juliet@example.org/balcony") && !sent.contains("chat") && sent.contains("<thread parent="), "{sent}");
    assert!(!sent.contains("urn:xmpp:receipts"), "only chat messages ask for receipts: {sent}");
    romeo.close().await;
}

/// A message that carries an address (XEP-0066).
#[derive(Debug, Clone)]
struct Link(Oob);

impl xmppkit::event::Event for Link {
    fn route() -> xmppkit::event::Route {
        xmppkit::event::Route::message().payload("jabber:x:oob", "x")
    }

    fn from_inbound(inbound: &xmppkit::event::Inbound, _: &xmppkit::client::WeakClient) -> Option<Self> {
        inbound.stanza().payload().ok()?.map(Self)
    }
}

async fn a_payload_without_a_body_goes_where_the_conversation_goes(server: Builder) {
    let server = server.start().await.expect("a server");
    let (romeo, juliet) = pair(&server).await;
    let mut at_romeo = romeo.messages().events();
    let (mut links, mut at_juliet) = (juliet.subscribe::<Link>().events(), juliet.messages().events());
    let chat = romeo.chat(juliet.account());
    let link = Oob { url: "https://verona.example/".to_owned(), desc: None };

    chat.send_payload(&link).await.expect("accepted");
    assert_eq!(within("the link", links.next()).await.map(|link| link.0.url).as_deref(), Some("https://verona.example/"));
    juliet.chat(romeo.account()).send("Thanks").await.expect("accepted");
    next(&mut at_romeo).await;
    chat.send_payload(&link).thread("t1").await.expect("accepted");
    chat.send("That is all").await.expect("accepted");
    assert_eq!(next(&mut at_juliet).await.body().as_deref(), Some("That is all"), "without a body it is no chat message");

    let sent = sent_messages(&server, &romeo, 3).await;
    assert!(is_to(&sent[0], juliet.account()) && is_to(&sent[1], jid(&juliet)), "{sent:#?}");
    for stanza in &sent[..2] {
        assert!(stanza.contains("'chat'") || stanza.contains("\"chat\""), "{stanza}");
        assert!(
            stanza.contains("jabber:x:oob") && !stanza.contains("<body") && !stanza.contains("urn:xmpp:receipts"),
            "{stanza}"
        );
    }
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn a_thousand_messages_arrive_in_order() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = pair(&server).await;
    let mut stream = juliet.messages();
    let (handled, mut in_handler) = futures::channel::mpsc::unbounded();
    juliet
        .on(move |message: ChatMessage| {
            let text = message.body().unwrap_or_default().into_owned();
            let result = handled.unbounded_send(text);
            async move { result.map_err(xmppkit::Error::other) }
        })
        .detach();
    let chat = romeo.chat(juliet.account());
    let send = async {
        for i in 0..1000 {
            chat.send(i.to_string()).await.expect("accepted");
        }
    };
    let receive = async {
        for i in 0..1000 {
            match stream.next().await {
                Some(Incoming::Item(message)) => assert_eq!(message.body().as_deref(), Some(&*i.to_string())),
                other => panic!("at {i}: {other:?}"),
            }
        }
        for i in 0..1000 {
            assert_eq!(in_handler.next().await, Some(i.to_string()));
        }
    };
    within("a thousand messages", futures::future::join(send, receive)).await;
    assert_eq!(juliet.dropped_messages(), 0);
    romeo.close().await;
    juliet.close().await;
}

async fn an_error_counts_for_what_was_sent_there(server: Builder) {
    let server = server.start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut bounces = romeo.subscribe::<Bounce>().events();
    let sent = romeo.chat(&"nobody@example.org".parse().expect("a JID")).send("Hello?").await.expect("accepted");
    let bounce = within("the error", bounces.next()).await.expect("a bounce");
    assert_eq!((bounce.error().condition.as_str(), bounce.id().as_deref()), ("service-unavailable", Some(sent.id())));
    assert_eq!(bounce.sent().map(|token| token.id().to_owned()).as_deref(), Some(sent.id()));
    let (error, _) = sent.status().bounced.expect("bounced");
    assert_eq!(error.condition, "service-unavailable");
    assert!(sent.status().failed.is_none());
    romeo.close().await;
}

fn error_from(from: &str, to: &FullJid, id: &str) -> String {
    format!(
        "<message xmlns='jabber:client' type='error' from='{from}' to='{to}' id='{id}'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
}

fn receipt_from(from: &str, to: &FullJid, id: &str) -> String {
    format!("<message xmlns='jabber:client' from='{from}' to='{to}'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>")
}

fn marker_from(from: &str, to: &FullJid, id: &str) -> String {
    format!(
        "<message xmlns='jabber:client' from='{from}' to='{to}'><displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/></message>"
    )
}

#[tokio::test]
async fn strangers_settle_nothing() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = pair(&server).await;
    let mut at_romeo = romeo.messages().events();
    let me = jid(&romeo);
    let sent = romeo.chat(juliet.account()).send("Hello?").await.expect("accepted");
    let id = sent.id();
    let mine = format!("{}/phone", romeo.account());
    for forged in [
        receipt_from("mercutio@example.org/x", &me, id),
        receipt_from("juliet@evil.example/balcony", &me, id),
        receipt_from(DOMAIN, &me, id),
        receipt_from(&mine, &me, id),
        marker_from("mercutio@example.org/x", &me, id),
        error_from("mercutio@example.org/x", &me, id),
        error_from("evil.example", &me, id),
        // An error that quotes a receipt is none.
        receipt_from("juliet@example.org/b", &me, id).replace("<message ", "<message type='error' "),
        receipt_from("juliet@example.org/b", &me, id).replace("<message ", "<message type='groupchat' "),
    ] {
        server.send_stanza(&me, &forged).expect("delivered");
    }
    // What comes after them has been looked at after them.
    server
        .send_stanza(
            &me,
            &format!("<message xmlns='jabber:client' from='juliet@example.org/b' to='{me}'><body>x</body></message>"),
        )
        .expect("delivered");
    next(&mut at_romeo).await;
    let status = sent.status();
    assert!(status.received.is_none() && status.displayed.is_none() && status.bounced.is_none(), "{status:?}");

    // From the recipient they count, whichever resource it is.
    server.send_stanza(&me, &receipt_from("juliet@example.org/b", &me, id)).expect("delivered");
    within("the receipt", sent.wait_for(Milestone::Received)).await.expect("received");
    server.send_stanza(&me, &marker_from("juliet@example.org/c", &me, id)).expect("delivered");
    within("the marker", sent.wait_for(Milestone::Displayed)).await.expect("displayed");
    let status = sent.status();
    assert_eq!(status.received.expect("received").by.to_string(), "juliet@example.org/b");
    assert_eq!(status.displayed.expect("displayed").by.to_string(), "juliet@example.org/c");
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn a_server_on_the_way_may_return_a_message() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut bounces = romeo.subscribe::<Bounce>().events();
    let me = jid(&romeo);
    let chat = romeo.chat(&server.jid("juliet").expect("a JID"));
    for from in ["from='juliet@example.org/balcony'", "from='example.org'", "from='romeo@example.org'", ""] {
        let sent = chat.send("Hello?").await.expect("accepted");
        let error = error_from("?", &me, sent.id()).replace("from='?'", from);
        server.send_stanza(&me, &error).expect("delivered");
        within("the error", bounces.next()).await.expect("a bounce");
        assert_eq!(sent.status().bounced.map(|(error, _)| error.condition).as_deref(), Some("item-not-found"), "{from}");
    }
    romeo.close().await;
}

async fn an_error_unlocks_the_conversation(server: Builder) {
    let server = server.start().await.expect("a server");
    let (romeo, juliet) = pair(&server).await;
    let mut at_romeo = romeo.messages().events();
    let mut bounces = romeo.subscribe::<Bounce>().events();
    juliet.chat(romeo.account()).send("I hear").await.expect("accepted");
    next(&mut at_romeo).await;
    let chat = romeo.chat(juliet.account());
    let address = chat.address();
    assert_eq!(address, jid(&juliet));
    let sent = chat.send("Hello?").await.expect("accepted");
    server.send_stanza(jid(&romeo), &error_from(address.as_str(), &jid(&romeo), sent.id())).expect("delivered");
    within("the error", bounces.next()).await.expect("a bounce");
    assert_eq!(chat.address(), *juliet.account());
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn chat_messages_ask_for_receipts_unless_that_is_turned_off() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let juliet = jid(&romeo).to_bare();
    let to = || Some(juliet.clone().into());
    let body = |message: Message| message.with_body("".into(), "x".to_owned());
    let received = Received { id: "r1".to_owned() };
    for message in [
        body(Message::chat(to())),
        body(Message::groupchat(to())),
        body(Message::normal(to())),
        Message::chat(to()),
        body(Message::chat(to())).with_payload(received),
    ] {
        romeo.send(message).await.expect("accepted");
    }
    let sent = sent_messages(&server, &romeo, 5).await;
    let asks: Vec<bool> = sent.iter().map(|stanza| stanza.contains("<request ")).collect();
    assert_eq!(asks, [true, false, false, false, false], "{sent:#?}");
    romeo.close().await;

    let quiet =
        builder(&server, "romeo").setting(MessagingSettings::new().request_receipts(false)).build().await.expect("a client");
    quiet.connect().await.expect("online");
    quiet.chat(&juliet).send("x").await.expect("accepted");
    let sent = sent_messages(&server, &quiet, 1).await;
    assert!(!sent[0].contains("urn:xmpp:receipts"), "{sent:#?}");
    quiet.close().await;
}

#[tokio::test]
async fn what_was_sent_while_offline_says_when() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let romeo = online(&server, "romeo").await;
        let juliet = client(&server, "juliet").await;
        let mut at_juliet = juliet.messages();
        let before = std::time::SystemTime::now() - std::time::Duration::from_secs(1);
        romeo.chat(juliet.account()).send("Good night").await.expect("accepted");
        within("the storage", server.wait_for(|server| server.offline_messages(juliet.account()) == 1)).await;
        juliet.connect().await.expect("online");
        let Some(Incoming::Item(message)) = within("the message", at_juliet.next()).await else { panic!("no item") };
        assert_eq!((message.body().as_deref(), message.origin()), (Some("Good night"), Origin::Offline), "{dialect:?}");
        assert_eq!(message.direction(), Direction::Incoming);
        let delay = message.delay().expect("a delay");
        assert_eq!(delay.from.map(|from| from.to_string()).as_deref(), Some(DOMAIN));
        assert!(delay.stamp >= before && message.time() == delay.stamp);
        // Whoever wrote it may have gone meanwhile.
        assert_eq!(juliet.chat(romeo.account()).address(), *romeo.account());
        romeo.close().await;
        juliet.close().await;
    }
}

#[tokio::test]
async fn receipts_and_states_need_no_subscriber() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let me = jid(&romeo);
    let state = format!(
        "<message xmlns='jabber:client' from='juliet@example.org/b' to='{me}'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    );
    for i in 0..100 {
        server.send_stanza(&me, &receipt_from("juliet@example.org/b", &me, &i.to_string())).expect("delivered");
        server.send_stanza(&me, &error_from("juliet@example.org/b", &me, &i.to_string())).expect("delivered");
        server.send_stanza(&me, &state).expect("delivered");
    }
    let body = state.replace("<active", "<body>wait for me</body><active");
    server.send_stanza(&me, &body).expect("delivered");
    // The reply comes after all of them.
    romeo.iq_get(Some(DOMAIN.parse().expect("a JID")), &Ping).await.expect("a pong");
    assert_eq!(romeo.dropped_messages(), 0);
    let mut messages = romeo.messages().events();
    assert_eq!(next(&mut messages).await.body().as_deref(), Some("wait for me"), "what an application may want waits for it");
    assert!(messages.next().now_or_never().is_none());
    romeo.close().await;
}

#[tokio::test]
async fn typing_is_told() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut states = romeo.subscribe::<ChatStateEvent>().events();
    let me = jid(&romeo);
    for state in ["composing", "paused"] {
        let stanza = format!(
            "<message xmlns='jabber:client' type='chat' from='juliet@example.org/b' to='{me}'><{state} xmlns='http://jabber.org/protocol/chatstates'/></message>"
        );
        server.route_stanza(&stanza).expect("routed");
    }
    let first = within("a state", states.next()).await.expect("a state");
    assert_eq!((first.from.to_string().as_str(), first.state), ("juliet@example.org/b", ChatState::Composing));
    assert_eq!(within("a state", states.next()).await.map(|event| event.state), Some(ChatState::Paused));
    romeo.close().await;
}

async fn payloads_and_languages_travel(server: Builder) {
    let server = server.start().await.expect("a server");
    let (romeo, juliet) = pair(&server).await;
    let mut at_juliet = juliet.messages().events();
    let link = Oob { url: "https://example.org/".to_owned(), desc: None };
    romeo
        .chat(juliet.account())
        .send("Wherefore art thou, Romeo?")
        .lang("en")
        .body_in("cs", "Pročež jsi ty, Romeo?")
        .payload(&link)
        .await
        .expect("accepted");
    let message = next(&mut at_juliet).await;
    assert_eq!(message.body_in("cs").as_deref(), Some("Pročež jsi ty, Romeo?"));
    assert_eq!(message.body_in("en").as_deref(), Some("Wherefore art thou, Romeo?"));
    assert_eq!(message.bodies().count(), 2);
    assert_eq!(message.payload::<Oob>().expect("well-formed").expect("there").url, link.url);
    assert!(message.receipt_requested());
    romeo.close().await;
    juliet.close().await;
}

async fn messages_accepted_offline_are_sent_in_order_when_online(server: Builder) {
    let server = server.start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let mut at_juliet = juliet.messages().events();
    let romeo = client(&server, "romeo").await;
    let mut tokens = Vec::new();
    for i in 0..10 {
        tokens.push(romeo.chat(juliet.account()).send(i.to_string()).await.expect("accepted"));
    }
    assert!(tokens.iter().all(|token| token.status().written.is_none()));
    romeo.connect().await.expect("online");
    for i in 0..10 {
        assert_eq!(next(&mut at_juliet).await.body().as_deref(), Some(&*i.to_string()));
    }
    within("the last one written", tokens[9].wait_for(Milestone::Written)).await.expect("written");
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn without_the_extension_or_the_client_nothing_is_sent() {
    let server = server().start().await.expect("a server");
    let bare =
        builder(&server, "romeo").without::<ArchiveService>().without::<MessagingService>().build().await.expect("a client");
    let juliet = server.jid("juliet").expect("a JID");
    let error = bare.chat(&juliet).send("x").await.expect_err("missing");
    assert!(matches!(error.kind(), ErrorKind::ExtensionMissing("MessagingService")), "{error}");
    assert_eq!(bare.chat(&juliet).address(), juliet);

    let romeo = client(&server, "romeo2").await;
    let chat = romeo.chat(&juliet);
    drop(romeo);
    let error = chat.send("x").await.expect_err("gone");
    assert!(matches!(error.kind(), ErrorKind::ClientClosed), "{error}");
}

async fn a_note_to_oneself_arrives(server: Builder) {
    let server = server.start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut at_romeo = romeo.messages().events();
    romeo.chat(romeo.account()).send("Remember").await.expect("accepted");
    let note = next(&mut at_romeo).await;
    assert_eq!((note.direction(), note.conversation()), (Direction::Outgoing, romeo.account().clone().into()));
    assert_eq!(romeo.chat(romeo.account()).address(), *romeo.account(), "one's own resources lock nothing");
    romeo.close().await;
}
