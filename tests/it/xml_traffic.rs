//! What goes over the wire, shown; and stanzas that are sent as they are written.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use futures::StreamExt as _;
use xmppkit::client::{Client, XmlDirection, XmlKind, XmlTraffic, XmlWatch};
use xmppkit::error::ErrorKind;
use xmppkit::messaging::Messages as _;
use xmppkit::minidom::Element;
use xmppkit::register::Registers as _;
use xmppkit::testing::{Cut, Mechanism, Registration, Target};
use xmppkit::xml::StanzaKind;
use xmppkit::xmpp_parsers::message::{Id, Message};
use xmppkit::xmpp_parsers::ping::Ping;

use crate::common::{DOMAIN, builder, client, online, server, within};
use crate::examples::xml_console::pretty::{Style, pretty};

async fn next(traffic: &mut XmlWatch) -> XmlTraffic {
    within("a piece of XML", traffic.next()).await.expect("a client").expect("no gap")
}

async fn until(traffic: &mut XmlWatch, part: &str) -> XmlTraffic {
    loop {
        let piece = next(traffic).await;
        if piece.xml.contains(part) {
            return piece;
        }
    }
}

const PING: &str = "<iq type='get' id='raw-1' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>";

#[tokio::test]
async fn a_running_client_can_be_looked_at_even_in_the_middle_of_an_element() {
    // No question of the server's comes in between.
    let server = server().no_stream_management().start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    // The answer to it comes behind that to initial presence.
    juliet.iq_get(None, &Ping).await.expect("a pong");
    let mut messages = juliet.messages().events();
    let message = |text: &str| {
        format!("<message from='romeo@{DOMAIN}/b' type='chat'><password>hush</password><body>{text}</body></message>")
    };
    let (whole, half) = (message("whole"), message("half"));
    // What comes in one piece is read in one piece, the half message with the whole one.
    let at = half.find("sh</password>").expect("the middle");
    server.inject(Target::All, format!("{whole}{}", &half[..at]));
    within("a message", messages.next()).await.expect("a message");

    let mut traffic = juliet.watch_xml();
    server.inject(Target::All, format!("{} ", &half[at..]));
    let piece = next(&mut traffic).await;
    assert_eq!(*piece.xml, *half.replace("hush", "[redacted]"));
    assert_eq!((piece.direction, piece.kind), (XmlDirection::Received, XmlKind::Stanza(StanzaKind::Message)));
    assert!(!format!("{piece:?}").contains("half"), "what people say stays out of logs");
    assert_eq!(next(&mut traffic).await.kind, XmlKind::Whitespace);

    juliet.iq_get(None, &Ping).await.expect("a pong");
    let sent = next(&mut traffic).await;
    assert_eq!((sent.direction, sent.kind), (XmlDirection::Sent, XmlKind::Stanza(StanzaKind::Iq)));
    assert!(sent.xml.starts_with("<iq ") && sent.xml.ends_with("</iq>"), "{}", sent.xml);
    assert!(next(&mut traffic).await.at >= sent.at);

    // The same watch goes on in the next connection, and ends with the client.
    server.inject(Target::All, format!("{whole}<message><body>cut o"));
    until(&mut traffic, "whole").await;
    server.cut(Target::All, Cut::Fin);
    let cut_off = next(&mut traffic).await;
    assert_eq!((cut_off.kind, &*cut_off.xml), (XmlKind::Fragment, "<message><body>cut o\u{2026}"));
    juliet.close().await;
    juliet.connect().await.expect("online");
    assert_eq!(until(&mut traffic, "<stream:stream").await.kind, XmlKind::StreamOpen);
    juliet.close().await;
    drop((juliet, messages));
    let mut last = None;
    while let Some(piece) = within("the end", traffic.next()).await {
        last = piece.ok();
    }
    assert_eq!(last.map(|piece| piece.kind), Some(XmlKind::StreamClose));
}

#[tokio::test]
async fn a_raw_stanza_goes_out_as_it_is_written_and_its_reply_is_in_the_traffic() {
    let server = server().no_stream_management().start().await.expect("a server");
    let (juliet, romeo) = (online(&server, "juliet").await, online(&server, "romeo").await);
    juliet.iq_get(None, &Ping).await.expect("a pong");
    let mut to_romeo = romeo.messages().events();
    let mut traffic = juliet.watch_xml();
    juliet.send_raw(PING).await.expect("sent");
    assert_eq!(*next(&mut traffic).await.xml, *PING);
    let reply = next(&mut traffic).await;
    assert!(reply.xml.contains("type='result'") && reply.xml.contains("id='raw-1'"), "{}", reply.xml);

    let message =
        format!("<message to='romeo@{DOMAIN}' id='raw-2' type='chat'><body>a</body><x xmlns='urn:example:x'/></message>");
    juliet.send_raw(&message).await.expect("sent");
    let received = within("the message", to_romeo.next()).await.expect("a message");
    // The server gives it an id of its own.
    let sent = received.stanza().children().filter(|child| child.name() != "stanza-id");
    assert_eq!(sent.count(), 2, "no origin-id and no request for a receipt was added");
    assert_eq!(*until(&mut traffic, "raw-2").await.xml, *message);
    assert!(juliet.sent("raw-2").is_none());
    // Nor is it in the log: a message is logged under its id once, and this one still can be.
    let mut again = Message::chat(Some(romeo.account().clone().into()));
    again.id = Some(Id("raw-2".to_owned()));
    juliet.send(again.with_body("".into(), "b".into())).await.expect("accepted");
    juliet.close().await;
    romeo.close().await;
}

#[tokio::test]
async fn what_is_no_stanza_too_large_or_offline_is_not_sent() {
    let server = server().start().await.expect("a server");
    let juliet = client(&server, "juliet").await;
    let error = juliet.send_raw("<presence/>").await.expect_err("offline");
    assert!(matches!(error.kind(), ErrorKind::NotOnline), "{error}");
    juliet.connect().await.expect("online");
    for xml in
        ["", "Hello", "</stream:stream>", "<presence/><presence/>", "<message><body></message>", "<r xmlns='urn:xmpp:sm:3'/>"]
    {
        let error = juliet.send_raw(xml).await.expect_err(xml);
        assert!(matches!(error.kind(), ErrorKind::InvalidXml) && !error.to_string().contains("server"), "{error}");
    }
    let large = format!("<message><body>{}</body></message>", "x".repeat(300_000));
    let error = juliet.send_raw(&large).await.expect_err("too large");
    assert!(matches!(error.kind(), ErrorKind::StanzaTooLarge { .. }), "{error}");
    juliet.iq_get(None, &Ping).await.expect("nothing of it disturbed the stream");
    juliet.close().await;
}

const OLD: &str = "s3cret-pa55word";
const NEW: &str = "n3w-s3cret-pa55word";

/// A whole life of an account: made, logged in to, its password changed in each way there is, logged in to again.
async fn live(client: &Client) {
    client.register().await.expect("registered");
    client.close().await;
    client.connect().await.expect("online");
    let change = |inner: &str| {
        let query = format!("<query xmlns='jabber:iq:register'>{inner}</query>");
        query.parse::<Element>().expect("XML")
    };
    let fields = change(&format!("<username>nurse</username><password>{NEW}</password>"));
    client.iq_set(None, &fields).await.expect("changed");
    let form = change(&format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>jabber:iq:register:changepassword</value></field>\
         <field var='username'><value>nurse</value></field><field var='old_password'><value>{OLD}</value></field>\
         <field type='text-private' var='password'><value>{NEW}</value></field></x>"
    ));
    client.iq_set(None, &form).await.expect("changed");
    let mut traffic = client.watch_xml();
    for (id, xml) in [
        (
            "auth",
            format!(
                "<query xmlns='jabber:iq:auth'><username>nurse</username><password>{OLD}</password><digest>{NEW}</digest></query>"
            ),
        ),
        (
            "prefix",
            format!(
                "<r:query xmlns:r='jabber:iq:register'><r:username>nurse</r:username><r:password><![CDATA[{NEW}]]></r:password></r:query>"
            ),
        ),
        ("fast", format!("<authenticate xmlns='urn:xmpp:sasl:2'><fast token='{NEW}' xmlns='urn:xmpp:fast:0'/></authenticate>")),
    ] {
        client.send_raw(&format!("<iq type='set' id='{id}'>{xml}</iq>")).await.expect("sent");
        until(&mut traffic, &format!("id='{id}'")).await;
    }
    client.send_raw(&format!("<presence to='room@{DOMAIN}/nurse'><x xmlns='http://jabber.org/protocol/muc'><password>{OLD}</password></x></presence>")).await.expect("sent");
    client.iq_get(None, &Ping).await.expect("a pong");
    client.close().await;
    client.set_password(NEW);
    client.connect().await.expect("online with the new one");
    client.close().await;
    client.set_password(OLD);
    client.connect().await.expect_err("the old one");
}

#[tokio::test]
async fn no_password_is_in_the_traffic_of_logins_registrations_and_changes_however_it_is_shown() {
    let style = Style { colour: false, width: 40 };
    for registration in [Registration::LegacyOnly, Registration::Form(Vec::new())] {
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha1] {
            let server = server().mechanisms([mechanism]).registration(registration.clone()).start().await.expect("a server");
            let log = Arc::new(Mutex::new(String::new()));
            let sink = Arc::clone(&log);
            let client =
                builder(&server, "nurse").password(OLD).xml_log(move |_, xml| sink.lock().expect("no panic").push_str(xml));
            let client = client.build().await.expect("a client");
            let traffic = client.watch_xml();
            Box::pin(live(&client)).await;
            drop(client);

            let pieces: Vec<_> = within("the end", traffic.map(|piece| piece.expect("no gap")).collect()).await;
            let mut shown = log.lock().expect("no panic").clone();
            for piece in &pieces {
                shown.push_str(&format!("{}\n{piece:?}\n{}\n", piece.xml, pretty(&piece.xml, style)));
            }
            let base64 = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
            for secret in [OLD, NEW] {
                for form in [secret.to_owned(), base64(secret.to_owned()), base64(format!("\0nurse\0{secret}"))] {
                    assert!(!shown.contains(&form), "{form} is in {:?}", pieces.iter().find(|piece| piece.xml.contains(&form)));
                }
            }
            for part in [
                "jabber:iq:auth",
                "changepassword",
                "token='[redacted]'",
                "<password>[redacted]</password>",
                "/nurse'",
                "mechanism='",
            ] {
                assert!(shown.contains(part), "{part} was not captured");
            }
        }
    }
}
