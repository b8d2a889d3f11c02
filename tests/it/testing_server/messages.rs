use xmppkit::testing::{Dialect, Server};
use xmppkit::xml::Frame;

use super::client::{Client, condition};

async fn start(dialect: Dialect) -> Server {
    let builder = Server::builder().dialect(dialect).domain("example.org");
    builder.account("romeo", "secret").account("juliet", "secret").start().await.unwrap()
}

fn bodies(frames: &[Frame]) -> Vec<String> {
    let messages = frames.iter().filter(|f| f.name() == "message");
    messages.filter_map(|f| Some(f.child("jabber:client", "body")?.text().into_owned())).collect()
}

fn chat(to: &str, body: &str) -> String {
    format!("<message type='chat' id='m' to='{to}'><body>{body}</body></message>")
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent_and_from_whom() {
    let server = start(Dialect::Strict).await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let mut juliet = Client::online(&server, "juliet", "j").await;
    romeo
        .send("<message xml:lang='de' type='chat' id='1' to='juliet@example.org/j'><body>a &lt; b</body><x xmlns='urn:x' y='&quot;'>t<z/>u</x></message>")
        .await;
    romeo.sync().await;
    let got = juliet.sync().await.remove(0);
    assert_eq!(got.attr("from").as_deref(), Some("romeo@example.org/r"));
    assert_eq!(got.attr("to").as_deref(), Some("juliet@example.org/j"));
    assert_eq!(got.stanza().unwrap().lang().as_deref(), Some("de"));
    assert_eq!(bodies(std::slice::from_ref(&got)), ["a < b"]);
    let payload = got.child("urn:x", "x").unwrap();
    assert_eq!((payload.attr("y").as_deref(), payload.text().as_ref(), payload.children().count()), (Some("\""), "tu", 1));
}

#[tokio::test]
async fn a_message_to_the_bare_jid_goes_where_the_dialect_says() {
    for (dialect, wanted) in [
        (Dialect::Strict, [true, true, true, false]),
        (Dialect::Prosody, [true, true, false, false]),
        (Dialect::OldEjabberd, [true, true, false, false]),
        (Dialect::Openfire, [false, true, false, false]),
    ] {
        let server = start(dialect).await;
        let mut clients = Vec::new();
        for (resource, priority) in [("a", 5), ("b", 5), ("c", 0), ("d", -1)] {
            let mut client = Client::login(&server, "juliet", "secret", resource).await;
            client.send(&format!("<presence><priority>{priority}</priority></presence>")).await;
            client.sync().await;
            clients.push(client);
        }
        let mut romeo = Client::online(&server, "romeo", "r").await;
        romeo.send(&chat("juliet@example.org", "hi")).await;
        romeo.sync().await;
        for (client, wanted) in clients.iter_mut().zip(wanted) {
            assert_eq!(bodies(&client.sync().await).len(), usize::from(wanted), "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn messages_wait_for_an_account_that_is_offline() {
    for dialect in Dialect::ALL {
        let server = start(dialect).await;
        let juliet_jid = server.jid("juliet").unwrap();
        let mut romeo = Client::online(&server, "romeo", "r").await;
        romeo.send(&chat("juliet@example.org", "one")).await;
        romeo.send(&chat("juliet@example.org/gone", "two")).await;
        romeo.send("<message to='juliet@example.org'><body>three</body></message>").await;
        romeo.send("<message type='headline' to='juliet@example.org'><body>lost</body></message>").await;
        romeo.send("<message type='chat' to='juliet@example.org'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>").await;
        let private = "<message type='chat' to='juliet@example.org'><body>off</body><no-store xmlns='urn:xmpp:hints'/></message>";
        romeo.send(private).await;
        assert!(bodies(&romeo.sync().await).is_empty(), "nothing bounces");
        assert_eq!(server.offline_messages(&juliet_jid), 3);

        let mut juliet = Client::login(&server, "juliet", "secret", "j").await;
        juliet.send("<presence><priority>-1</priority></presence>").await;
        assert!(bodies(&juliet.sync().await).is_empty(), "a negative priority wants no messages");
        juliet.send("<presence/>").await;
        let frames = juliet.sync().await;
        assert_eq!(bodies(&frames), ["one", "two", "three"]);
        let delay = frames.iter().find_map(|f| f.child("urn:xmpp:delay", "delay")).unwrap();
        assert_eq!(delay.attr("from").as_deref(), Some("example.org"));
        assert!(delay.attr("stamp").unwrap().ends_with('Z'));
        assert_eq!(!delay.text().is_empty(), dialect == Dialect::OldEjabberd);
        assert_eq!(server.offline_messages(&juliet_jid), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_delivered_comes_back() {
    let server = start(Dialect::Strict).await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    for (to, kind, wanted) in [
        ("nobody@example.org", "chat", "service-unavailable"),
        ("juliet@example.org", "groupchat", "service-unavailable"),
        ("juliet@example.org/gone", "normal", "service-unavailable"),
        ("juliet@elsewhere.example", "chat", "remote-server-not-found"),
        ("ju liet@example.org", "chat", "jid-malformed"),
    ] {
        romeo.send(&format!("<message type='{kind}' id='m' to='{to}'><body>x</body></message>")).await;
        let frames = romeo.sync().await;
        assert_eq!(condition(&frames[0]).as_deref(), Some(wanted), "{to}");
        assert_eq!(frames[0].attr("from").as_deref(), Some(to));
    }
    romeo.send("<message type='error' to='nobody@example.org'/>").await;
    assert!(romeo.sync().await.is_empty(), "an error is never answered");
}

#[tokio::test]
async fn iqs_go_between_resources_and_come_back() {
    let server = start(Dialect::Strict).await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let mut juliet = Client::online(&server, "juliet", "j").await;
    romeo.send("<iq type='get' id='7' to='juliet@example.org/j'><query xmlns='urn:any'/></iq>").await;
    romeo.sync().await;
    let request = juliet.sync().await.remove(0);
    assert_eq!(request.attr("from").as_deref(), Some("romeo@example.org/r"));
    juliet.send("<iq type='result' id='7' to='romeo@example.org/r'/>").await;
    juliet.sync().await;
    let result = romeo.sync().await.remove(0);
    assert_eq!((result.attr("from").as_deref(), result.attr("id").as_deref()), (Some("juliet@example.org/j"), Some("7")));
}

#[tokio::test]
async fn what_clients_send_and_what_is_sent_to_them_can_be_looked_at() {
    let server = start(Dialect::Strict).await;
    let mut romeo = Client::online(&server, "romeo", "r").await;
    let before = server.counters().traffic;
    romeo.send(&chat("romeo@example.org", "to myself")).await;
    romeo.sync().await;
    let (after, own) = (server.counters().traffic, server.sessions()[0].traffic);
    assert_eq!((after.stanzas_in - before.stanzas_in, after.stanzas_out - before.stanzas_out), (2, 2));
    assert!(after.bytes_in > before.bytes_in && own.bytes_out <= after.bytes_out);
    let jid = server.sessions()[0].jid.clone();
    assert!(server.received(&jid).iter().any(|xml| xml.contains("to myself")));
    assert_eq!(server.send_stanza(&jid, "<message xmlns='jabber:client'><body>raw</body></message>").unwrap(), 1);
    assert_eq!(bodies(&romeo.sync().await), ["raw"]);
    server.send_stanza(&jid, "<message").unwrap_err();
}
