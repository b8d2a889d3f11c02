//! Carbons on the in-process server, in every dialect.

use futures::{FutureExt, StreamExt};
use xmppkit::event::Origin;
use xmppkit::messaging::{Direction, Messages};
use xmppkit::testing::{Dialect, Target};
use xmppkit::xep::carbons::{CarbonCopies, CarbonSettings};
use xmppkit::xmpp_parsers::carbons::Private;

use crate::archive::{ROMEO, bare, say, settle, started, with_store};
use crate::common::{builder, online, within};

#[tokio::test]
async fn what_one_client_sends_and_gets_the_other_has_as_well() {
    for dialect in Dialect::ALL {
        let server = started(dialect).await;
        let phone = with_store(&server, "juliet", &Default::default()).await;
        let desk = with_store(&server, "juliet", &Default::default()).await;
        let romeo = online(&server, "romeo").await;
        assert!(phone.carbons().is_enabled() && desk.carbons().is_enabled(), "{dialect:?}");
        let mut on_phone = phone.messages().events();
        desk.chat(romeo.account()).send("from the desk").await.expect("accepted");
        let copy = within("a carbon", on_phone.next()).await.expect("a message");
        assert_eq!((copy.body().as_deref(), copy.direction()), (Some("from the desk"), Direction::Outgoing), "{dialect:?}");
        assert_eq!(
            (copy.origin(), copy.contact(), copy.from()),
            (Origin::Carbon, romeo.account().clone(), &desk.jid().expect("bound").into())
        );
        say(&server, ROMEO, desk.jid().expect("bound"), "to the desk", "");
        let copy = within("a carbon", on_phone.next()).await.expect("a message");
        assert_eq!((copy.body().as_deref(), copy.direction()), (Some("to the desk"), Direction::Incoming), "{dialect:?}");
        assert_eq!((copy.origin(), copy.from()), (Origin::Carbon, &ROMEO.parse().expect("a JID")));

        // One for that client alone.
        desk.chat(romeo.account()).send("private").payload(&Private).await.expect("accepted");
        desk.chat(romeo.account()).send("public").await.expect("accepted");
        let copy = within("a carbon", on_phone.next()).await.expect("a message");
        assert_eq!(copy.body().as_deref(), Some("public"), "{dialect:?}");
        let sent = server.received(Target::Session(desk.jid().expect("bound")));
        let private = sent.iter().find(|xml| xml.contains("private")).expect("it was sent");
        assert!(private.contains("urn:xmpp:carbons:2") && private.contains("no-copy"), "{private}");

        phone.carbons().disable().await.expect("off");
        desk.chat(romeo.account()).send("unseen").await.expect("accepted");
        settle(&desk).await;
        settle(&phone).await;
        assert!(on_phone.next().now_or_never().is_none(), "{dialect:?}");
        phone.carbons().enable().await.expect("on");
        desk.chat(romeo.account()).send("seen").await.expect("accepted");
        let copy = within("a carbon", on_phone.next()).await.expect("a message");
        assert_eq!(copy.body().as_deref(), Some("seen"), "{dialect:?}");
        for client in [phone, desk, romeo] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn they_are_off_where_that_is_set_or_the_server_has_none() {
    for offered in [true, false] {
        let server = crate::common::server().differences(|d| d.carbons = offered).start().await.expect("a server");
        let client = builder(&server, "juliet").setting(CarbonSettings::new().enable(!offered)).build().await.expect("a client");
        client.connect().await.expect("online");
        settle(&client).await;
        assert!(!client.carbons().is_enabled());
        assert!(!server.received(client.account()).iter().any(|xml| xml.contains("urn:xmpp:carbons:2")));
        client.close().await;
        assert!(!client.carbons().is_enabled());
    }
}

#[tokio::test]
async fn a_carbon_that_somebody_else_sends_is_discarded() {
    let server = started(Dialect::Strict).await;
    let client = with_store(&server, "juliet", &Default::default()).await;
    let mut messages = client.messages().events();
    let juliet = bare(&server, "juliet");
    let carbon = |from: &str| {
        format!(
            "<message from='{from}' to='{juliet}' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded \
             xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{ROMEO}' to='{juliet}/x' type='chat'><body>from \
             {from}</body></message></forwarded></received></message>"
        )
    };
    for from in ["tybalt@example.org/home", "example.org", "juliet@example.org/other", "juliet@example.net"] {
        server.send_stanza(Target::All, &carbon(from)).expect("a stanza");
    }
    server.send_stanza(Target::All, &carbon("Juliet@example.org")).expect("a stanza");
    let message = within("the real one", messages.next()).await.expect("a message");
    assert_eq!(message.body().as_deref(), Some("from Juliet@example.org"));
    settle(&client).await;
    assert!(messages.next().now_or_never().is_none());
    client.close().await;
}
