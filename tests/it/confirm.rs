//! Receipts, markers and chat states, on the in-process server.

use futures::StreamExt;
use xmppkit::archive::ArchiveService;
use xmppkit::client::{Client, Milestone};
use xmppkit::error::ErrorKind;
use xmppkit::messaging::{ChatState, ChatStateEvent, Confirm, MessagingService, MessagingSettings};
use xmppkit::prelude::*;
use xmppkit::testing::{Contact, Dialect, Server, Subscription};
use xmppkit::xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult};

use crate::common::{builder, client, online, server, within};

/// Two clients, contacts of each other, whose settings are these.
async fn contacts(server: &Server, settings: MessagingSettings) -> (Client, Client) {
    let (romeo, juliet) = (server.jid("romeo").expect("a JID"), server.jid("juliet").expect("a JID"));
    server.befriend(&romeo, &juliet);
    let mut clients = Vec::new();
    for name in ["romeo", "juliet"] {
        let client = builder(server, name).setting(settings.clone()).build().await.expect("a client");
        client.connect().await.expect("online");
        server.wait_online(client.account()).await;
        clients.push(client);
    }
    let juliet = clients.pop().expect("two");
    (clients.pop().expect("two"), juliet)
}

async fn next(messages: &mut (impl futures::Stream<Item = ChatMessage> + Unpin)) -> ChatMessage {
    within("a message", messages.next()).await.expect("a message")
}

/// The messages a client sent that hold this text.
fn sent(server: &Server, client: &Client, text: &str) -> Vec<String> {
    server.received(client.account()).into_iter().filter(|xml| xml.starts_with("<message") && xml.contains(text)).collect()
}

/// Waits for the receipt of `last`, and gives the ids of all that were sent until then.
async fn receipts_until(server: &Server, client: &Client, last: &str) -> Vec<String> {
    let last = format!("id='{last}'");
    within("the last receipt", server.wait_for(|server| sent(server, client, "<received").iter().any(|xml| xml.contains(&last))))
        .await;
    let id = |xml: String| {
        let from = xml.find("<received").expect("a receipt");
        let rest = &xml[from..];
        let at = rest.find(" id='").expect("an id") + 5;
        rest[at..].split('\'').next().unwrap_or_default().to_owned()
    };
    sent(server, client, "<received").into_iter().map(id).collect()
}

fn asks(attributes: &str, inside: &str) -> String {
    format!("<message xmlns='jabber:client' {attributes}><body>x</body><request xmlns='urn:xmpp:receipts'/>{inside}</message>")
}

#[tokio::test]
async fn contacts_are_told_that_a_message_arrived_in_every_dialect() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let (romeo, juliet) = contacts(&server, MessagingSettings::new()).await;
        for (from, to) in [(&romeo, &juliet), (&juliet, &romeo)] {
            let token = from.chat(to.account()).send("Art thou there?").await.expect("accepted");
            within("the receipt", token.wait_for(Milestone::Received)).await.expect("received");
            let received = token.status().received.expect("received");
            assert_eq!(received.by, Jid::from(to.jid().expect("bound")), "{dialect:?}");
            let receipts = sent(&server, to, "<received");
            assert_eq!(receipts.len(), 1, "{receipts:?}");
            assert!(!receipts[0].contains("<request") && !receipts[0].contains("<body"), "{receipts:?}");
            assert!(receipts[0].contains("'chat'") || receipts[0].contains("\"chat\""), "as the message: {receipts:?}");
        }
        romeo.close().await;
        juliet.close().await;
    }
}

#[tokio::test]
async fn nobody_else_learns_from_a_receipt_that_somebody_is_there() {
    let server = server().start().await.expect("a server");
    let (_romeo, juliet) = contacts(&server, MessagingSettings::new()).await;
    let jid = juliet.jid().expect("bound");
    // She sees him, and he does not see her.
    let paris: BareJid = "paris@example.org".parse().expect("a JID");
    server.add_contact(juliet.account(), Contact::new(paris.clone()).subscription(Subscription::To));
    juliet.roster().watch().wait_for(|roster| roster.get(&paris).is_some()).await.expect("a contact");
    let own = juliet.account();
    for (attributes, inside) in [
        ("type='chat' id='stranger' from='mercutio@example.org/x'", ""),
        ("type='chat' id='no-contact-sees' from='paris@example.org/x'", ""),
        ("type='error' id='error' from='romeo@example.org/x'", ""),
        ("type='groupchat' id='groupchat' from='romeo@example.org/x'", ""),
        ("type='headline' id='headline' from='romeo@example.org/x'", ""),
        ("type='chat' id='loop' from='romeo@example.org/x'", "<received xmlns='urn:xmpp:receipts' id='y'/>"),
        ("type='chat' from='romeo@example.org/x'", ""),
        ("type='chat' id='nobody'", ""),
    ] {
        server.send_stanza(&jid, &asks(attributes, inside)).expect("sent");
    }
    server.send_stanza(&jid, &asks(&format!("type='chat' id='own' from='{own}/phone'"), "")).expect("sent");
    let unasked = "<message xmlns='jabber:client' type='chat' id='unasked' from='romeo@example.org/x'><body>x</body></message>";
    server.send_stanza(&jid, unasked).expect("sent");
    server.send_stanza(&jid, &asks("id='last' from='romeo@example.org/x'", "")).expect("sent");
    assert_eq!(receipts_until(&server, &juliet, "last").await, ["last"]);
    let receipt = sent(&server, &juliet, "<received").remove(0);
    assert!(!receipt.contains("chat'"), "one of type normal for one of type normal: {receipt}");
}

#[tokio::test]
async fn whom_to_tell_is_a_setting() {
    for (confirm, expected) in [
        (Confirm::Everybody, &["stranger", "contact", "last"][..]),
        (Confirm::Contacts, &["contact", "last"]),
        (Confirm::Nobody, &[]),
    ] {
        let server = server().start().await.expect("a server");
        let (romeo, juliet) = contacts(&server, MessagingSettings::new().confirm(confirm)).await;
        let jid = juliet.jid().expect("bound");
        let mut at_juliet = juliet.messages().events();
        for (id, from) in [("stranger", "mercutio@example.org/x"), ("contact", "romeo@example.org/x")] {
            server.send_stanza(&jid, &asks(&format!("type='chat' id='{id}' from='{from}'"), "")).expect("sent");
            next(&mut at_juliet).await;
        }
        let last = asks("type='chat' id='last' from='romeo@example.org/x'", "<markable xmlns='urn:xmpp:chat-markers:0'/>");
        server.send_stanza(&jid, &last).expect("sent");
        let marked = next(&mut at_juliet).await.mark_displayed().await.expect("no error");
        assert_eq!(marked.is_some(), confirm != Confirm::Nobody, "{confirm:?}");
        if expected.is_empty() {
            // What is sent last comes after what would have been sent.
            juliet.chat(romeo.account()).send("Good night").await.expect("accepted");
            within("it", server.wait_for(|server| !sent(server, &juliet, "Good night").is_empty())).await;
            assert!(sent(&server, &juliet, "<received").is_empty());
        } else {
            assert_eq!(receipts_until(&server, &juliet, "last").await, expected, "{confirm:?}");
        }
    }
}

#[tokio::test]
async fn what_waited_is_confirmed_when_it_comes_and_a_second_copy_is_not() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = contacts(&server, MessagingSettings::new()).await;
    juliet.close().await;
    let token = romeo.chat(juliet.account()).send("Read this later").await.expect("accepted");
    within("the storage", server.wait_for(|server| server.offline_messages(juliet.account()) == 1)).await;
    assert!(token.status().received.is_none());
    juliet.connect().await.expect("online");
    within("the receipt", token.wait_for(Milestone::Received)).await.expect("received");

    let jid = juliet.jid().expect("bound");
    let twice = asks("type='chat' id='twice' from='romeo@example.org/x'", "<origin-id xmlns='urn:xmpp:sid:0' id='twice'/>");
    for stanza in [&twice, &twice, &asks("type='chat' id='last' from='romeo@example.org/x'", "")] {
        server.send_stanza(&jid, stanza).expect("sent");
    }
    assert_eq!(receipts_until(&server, &juliet, "last").await, [token.id(), "twice", "last"]);
}

#[tokio::test]
async fn a_client_without_a_roster_tells_only_everybody() {
    let server = server().start().await.expect("a server");
    for (confirm, expected) in [(Confirm::Contacts, 0), (Confirm::Everybody, 1)] {
        let juliet = builder(&server, "juliet")
            .without::<xmppkit::presence::PresenceService>()
            .without::<xmppkit::roster::RosterService>()
            .setting(MessagingSettings::new().confirm(confirm))
            .build()
            .await
            .expect("a client");
        juliet.connect().await.expect("online");
        let jid = juliet.jid().expect("bound");
        let mut at_juliet = juliet.messages().events();
        server.send_stanza(&jid, &asks("type='chat' id='one' from='romeo@example.org/x'", "")).expect("sent");
        next(&mut at_juliet).await.reply("Yes").await.expect("accepted");
        within("the reply", server.wait_for(|server| !sent(server, &juliet, ">Yes<").is_empty())).await;
        let count = |server: &Server| sent(server, &juliet, "<received").len();
        within("the receipts", server.wait_for(|server| count(server) >= expected)).await;
        assert_eq!(count(&server), expected);
        juliet.close().await;
    }
}

#[tokio::test]
async fn a_reader_says_what_was_displayed_to_whoever_asked() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let (romeo, juliet) = contacts(&server, MessagingSettings::new().request_markers(true)).await;
        let mut at_juliet = juliet.messages().events();
        let token = romeo.chat(juliet.account()).send("Didst thou read it?").await.expect("accepted");
        let message = next(&mut at_juliet).await;
        assert!(message.is_markable());
        assert!(token.status().displayed.is_none());
        message.mark_displayed().await.expect("no error").expect("sent");
        within("the marker", token.wait_for(Milestone::Displayed)).await.expect("displayed");
        assert_eq!(token.status().displayed.expect("displayed").by, Jid::from(juliet.jid().expect("bound")), "{dialect:?}");
        let marker = sent(&server, &juliet, "<displayed").remove(0);
        assert!(!marker.contains("<markable") && !marker.contains("<request"), "{marker}");
        romeo.close().await;
        juliet.close().await;
    }
}

#[tokio::test]
async fn nothing_is_marked_that_is_not_asked_for_or_tells_a_stranger() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = contacts(&server, MessagingSettings::new()).await;
    let mut at_juliet = juliet.messages().events();
    let jid = juliet.jid().expect("bound");
    let markable = "<markable xmlns='urn:xmpp:chat-markers:0'/>";
    let own = format!("type='chat' id='own' from='{}/phone' to='romeo@example.org'", juliet.account());
    romeo.chat(juliet.account()).send("unasked").await.expect("accepted");
    assert!(next(&mut at_juliet).await.mark_displayed().await.expect("no error").is_none());
    for (attributes, inside) in [
        ("type='chat' id='stranger' from='mercutio@example.org/x'", markable),
        ("type='chat' from='romeo@example.org/x'", markable),
        (own.as_str(), markable),
        (
            "type='chat' id='loop' from='romeo@example.org/x'",
            "<markable xmlns='urn:xmpp:chat-markers:0'/><displayed xmlns='urn:xmpp:chat-markers:0' id='z'/>",
        ),
    ] {
        server.send_stanza(&jid, &asks(attributes, inside)).expect("sent");
        assert!(next(&mut at_juliet).await.mark_displayed().await.expect("no error").is_none(), "{attributes}");
    }
    server.send_stanza(&jid, &asks("type='chat' id='fine' from='romeo@example.org/x'", markable)).expect("sent");
    let fine = next(&mut at_juliet).await;
    let token = fine.mark_displayed().await.expect("no error").expect("sent");
    within("it", token.wait_for(Milestone::Written)).await.expect("written");
    within("it", server.wait_for(|server| sent(server, &juliet, "<displayed").len() == 1)).await;
    drop(at_juliet);
    juliet.close().await;
    drop(juliet);
    assert!(matches!(fine.mark_displayed().await.expect_err("gone").kind(), ErrorKind::ClientClosed));
}

#[tokio::test]
async fn typing_is_sent_as_it_changes_and_alone() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = contacts(&server, MessagingSettings::new()).await;
    let mut states = juliet.subscribe::<ChatStateEvent>().events();
    let chat = romeo.chat(juliet.account());
    for (state, expected) in [
        (ChatState::Composing, true),
        (ChatState::Composing, false),
        (ChatState::Paused, true),
        (ChatState::Inactive, true),
        (ChatState::Gone, true),
        (ChatState::Active, true),
    ] {
        assert_eq!(chat.send_state(state).await.expect("no error"), expected, "{state:?}");
        if expected {
            let event = within("the state", states.next()).await.expect("an event");
            assert_eq!((event.state, event.from), (state, romeo.jid().expect("bound").into()));
        }
    }
    let stanza = sent(&server, &romeo, "<composing").remove(0);
    assert!(!stanza.contains("origin-id") && !stanza.contains("<body") && !stanza.contains("receipts"), "{stanza}");
    // It goes where the conversation goes.
    let mut at_romeo = romeo.messages().events();
    juliet.chat(romeo.account()).send("I see").payload(&Active).await.expect("accepted");
    next(&mut at_romeo).await;
    assert!(chat.send_state(ChatState::Composing).await.expect("no error"));
    let to = juliet.jid().expect("bound");
    within("it", server.wait_for(|server| sent(server, &romeo, "<composing").iter().any(|xml| xml.contains(to.as_str())))).await;
}

/// What a peer's message carries that sends chat states.
#[derive(xmppkit::xso::AsXml)]
#[xml(namespace = "http://jabber.org/protocol/chatstates", name = "active")]
struct Active;

#[tokio::test]
async fn who_answers_without_chat_states_is_told_none() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = contacts(&server, MessagingSettings::new().chat_states(true)).await;
    let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
    let chat = romeo.chat(juliet.account());
    chat.send("Art thou there?").await.expect("accepted");
    assert_eq!(next(&mut at_juliet).await.chat_state(), Some(ChatState::Active));
    server.send_stanza(romeo.jid().expect("bound"), &asks("type='chat' id='a' from='juliet@example.org/old'", "")).expect("sent");
    next(&mut at_romeo).await;
    assert!(!chat.send_state(ChatState::Composing).await.expect("no error"));
    chat.send("Then I shall be plain").await.expect("accepted");
    within("it", server.wait_for(|server| !sent(server, &romeo, "plain").is_empty())).await;
    assert!(!sent(&server, &romeo, "plain")[0].contains("chatstates"));
    // Her other client knows them.
    juliet.chat(romeo.account()).send("I am here").await.expect("accepted");
    next(&mut at_romeo).await;
    assert!(chat.send_state(ChatState::Composing).await.expect("no error"));

    romeo.close().await;
    assert!(!chat.send_state(ChatState::Composing).await.expect("no error"), "who is offline does not type later");
    let without =
        builder(&server, "romeo").without::<MessagingService>().without::<ArchiveService>().build().await.expect("a client");
    let error = without.chat(juliet.account()).send_state(ChatState::Gone).await.expect_err("missing");
    assert!(matches!(error.kind(), ErrorKind::ExtensionMissing("MessagingService")), "{error}");
}

#[tokio::test]
async fn a_client_says_what_it_understands() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, client(&server, "juliet").await);
    juliet.connect().await.expect("online");
    let query = DiscoInfoQuery { node: None };
    let to = Jid::from(juliet.jid().expect("bound"));
    let said = romeo.iq_get(to, &query).await.expect("an answer");
    let said: DiscoInfoResult = said.payload().expect("disco");
    for feature in ["urn:xmpp:receipts", "urn:xmpp:chat-markers:0", "http://jabber.org/protocol/chatstates"] {
        assert!(said.features.contains(feature), "{feature}");
    }
}
