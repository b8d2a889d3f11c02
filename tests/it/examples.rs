//! Every example, run as it is (D36): by its `run()`, so that nothing is linked twice.

#![allow(dead_code, unreachable_pub, reason = "each is a program of its own, with a `main` and its own idea of what is public")]

use futures::channel::oneshot;
use xmppkit::error::{CertificateError, CertificateErrorKind, ErrorKind, RegisterError};
use xmppkit::prelude::*;
use xmppkit::testing::{Field, Registration, Server};
use xmppkit::xmpp_parsers::ping::Ping;

use crate::common::{PASSWORD, online, server, within};
use crate::suite::Outcome;
use crate::support::{Failure, ServerUnderTest};

#[path = "../../examples/console_chat.rs"]
mod console_chat;
#[path = "../../examples/custom_extension.rs"]
mod custom_extension;
#[path = "../../examples/echo_bot.rs"]
mod echo_bot;
#[path = "../../examples/history.rs"]
mod history;
#[path = "../../examples/offline_reader.rs"]
mod offline_reader;
#[path = "../../examples/own_store.rs"]
mod own_store;
#[path = "../../examples/pin_a_certificate.rs"]
mod pin_a_certificate;
#[path = "../../examples/register_account.rs"]
mod register_account;
#[path = "../../examples/roster_watch.rs"]
mod roster_watch;
#[path = "../../examples/test_your_app.rs"]
mod test_your_app;
#[path = "../../examples/tour/main.rs"]
mod tour;
#[path = "../../examples/two_accounts.rs"]
mod two_accounts;
#[path = "../../examples/xml_console/main.rs"]
pub(crate) mod xml_console;

fn address(server: &Server) -> Option<(String, u16)> {
    Some((server.address().ip().to_string(), server.address().port()))
}

#[tokio::test]
async fn the_echo_bot_says_what_it_is_told_and_does_not_talk_to_itself() {
    let server = server().account("bot", PASSWORD).start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut at_romeo = romeo.messages().events();
    let bot = server.jid("bot").expect("a JID");
    // Before the bot is there, the message waits on the server.
    romeo.chat(&bot).send("Early").await.expect("accepted");
    within("the storage", server.wait_for(|server| server.offline_messages(&bot) == 1)).await;

    let (stop, stopped) = oneshot::channel::<()>();
    let options = echo_bot::Options {
        jid: bot.to_string(),
        password: PASSWORD.to_owned(),
        server: address(&server),
        ca: Some(server.ca_pem().to_vec()),
    };
    let running = tokio::spawn(echo_bot::run(options, async {
        let _ = stopped.await;
    }));
    for text in ["Early", "Hello", "World"] {
        if text != "Early" {
            romeo.chat(&bot).send(text).await.expect("accepted");
        }
        assert_eq!(within("the echo", at_romeo.next()).await.and_then(|m| m.body().map(String::from)).as_deref(), Some(text));
    }
    // What the bot's account says to itself it lets be: the next echo is that of the next message.
    let session = server.sessions().into_iter().find(|session| session.jid.to_bare() == bot).expect("the bot's session");
    let own = format!("<message xmlns='jabber:client' from='{bot}/phone' to='{}'><body>Note</body></message>", session.jid);
    server.route_stanza(&own).expect("routed");
    romeo.chat(&bot).send("Last").await.expect("accepted");
    assert_eq!(within("the echo", at_romeo.next()).await.and_then(|m| m.body().map(String::from)).as_deref(), Some("Last"));
    let said: Vec<String> = server.received(&bot).into_iter().filter(|stanza| stanza.starts_with("<message")).collect();
    assert_eq!(said.len(), 4, "{said:#?}");

    stop.send(()).expect("the bot is running");
    within("the end", running).await.expect("no panic").expect("no error");
    within("the end of the session", server.wait_for(|server| server.sessions().len() == 1)).await;
    romeo.close().await;
}

#[tokio::test]
async fn an_account_is_registered_by_the_example() {
    let form = Registration::Form(vec![Field::new("email").label("E-mail").required()]);
    let server = Server::builder().domain("example.org").registration(form).start().await.expect("a server");
    let options = |fields| register_account::Options {
        jid: "tybalt@example.org".to_owned(),
        password: PASSWORD.to_owned(),
        fields,
        server: address(&server),
        ca: Some(server.ca_pem().to_vec()),
    };
    let error = within("a refusal", register_account::run(options(Vec::new()))).await.expect_err("the form is asked for");
    assert!(matches!(error.kind(), ErrorKind::Register(RegisterError::FormRequired(_))), "{error}");
    let advice = register_account::advice(&error).expect("advice");
    assert!(advice.contains("--field email=…  E-mail"), "{advice}");

    let fields = vec![("email".to_owned(), "t@example.net".to_owned())];
    let jid = within("the account", register_account::run(options(fields))).await.expect("registered");
    assert_eq!(jid.to_bare(), server.jid("tybalt").expect("a JID"));
    assert_eq!(server.accounts(), [jid.to_bare()]);
    within("the end of the session", server.wait_for(|server| server.sessions().is_empty())).await;
}

#[tokio::test]
async fn custom_extension_counts_a_vote_and_tells_the_count() {
    assert_eq!(within("the example", custom_extension::run()).await.expect("it runs"), 1);
}

#[tokio::test]
async fn test_your_app_passes_its_own_test() {
    within("the example", test_your_app::run()).await.expect("it runs");
}

#[tokio::test]
async fn pin_a_certificate_asks_once_and_goes_by_the_answer() {
    let (server, settings) = pin_a_certificate::self_signed_server().await.expect("a server");
    let refused = within("no", pin_a_certificate::run(settings.clone(), |_| false)).await.expect_err("refused");
    assert!(
        matches!(refused.kind(), ErrorKind::Certificate(refused)
            if refused.kind == CertificateErrorKind::UnknownIssuer && refused.names == [server.domain()]),
        "{refused}"
    );
    assert_eq!(server.counters().logins, 0);

    let asked = std::cell::Cell::new(0);
    let yes = |refused: &CertificateError| {
        asked.set(asked.get() + 1);
        refused.fingerprint == Some(server.certificate_fingerprint())
    };
    within("yes", pin_a_certificate::run(settings, yes)).await.expect("it runs");
    assert_eq!(asked.get(), 1);
    assert_eq!(server.counters().logins, 2);
}

#[tokio::test]
async fn history_exports_a_conversation_as_json_lines_from_the_server_and_the_store() {
    let mut out = Vec::new();
    assert_eq!(within("the export", history::show(&mut out)).await.expect("no error"), 4);
    let out = String::from_utf8(out).expect("text");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    for (line, part) in lines.iter().zip([
        r#""body":"Shall I hear more?""#,
        r#""body":"\"Wherefore\"\nart thou?""#,
        r#""way":"in","from":"romeo@example.org/"#,
        r#""way":"out","from":"juliet@example.org/"#,
    ]) {
        assert!(line.contains(part) && line.starts_with("{\"time\":\"2") && line.ends_with('}'), "{part} in {line}");
    }
    for (text, json) in [
        ("plain \u{e9} \u{1f600} /", "\"plain \u{e9} \u{1f600} /\""),
        ("\"\\\n\r\t", r#""\"\\\n\r\t""#),
        ("\u{0}\u{1f}\u{7f}\u{2028}", r#""\u0000\u001f\u007f\u2028""#),
    ] {
        assert_eq!(history::json_string(text), json);
    }
}

#[tokio::test]
async fn the_offline_reader_needs_no_connection() {
    let mut seen = Vec::new();
    within("the reader", offline_reader::show(|line| seen.push(line))).await.expect("no error");
    let expected = [
        "romeo@example.org (4 unread)",
        "  …",
        "  they: O that I were a glove",
        "  they: Good night!",
        "  me: A thousand times good night!",
        "night: Good night! in romeo@example.org",
        "night: A thousand times good night! in romeo@example.org",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_examples_that_need_a_server_show_themselves_on_one_inside() {
    within("the echo bot", echo_bot::show()).await.expect("no error");
    within("the registration", register_account::show()).await.expect("no error");
}

#[tokio::test]
async fn roster_watch_shows_the_roster_and_every_change() {
    let seen = within("the example", roster_watch::show()).await.expect("no error");
    let mut rest = seen.iter();
    for line in [
        "0 contacts",
        "Romeo asks to see our presence",
        "romeo@example.org is answered",
        "romeo@example.org Romeo (from) [Montagues]",
        "romeo@example.org is no contact any more",
    ] {
        assert!(rest.any(|seen| seen == line), "{line:?}, in this order, in {seen:#?}");
    }
    assert!(seen.iter().any(|line| line == "nurse@example.org - (none, asked) []"), "{seen:#?}");
}

#[tokio::test]
async fn roster_watch_does_what_it_is_told_and_says_what_it_finds() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = (server.jid("romeo").expect("a JID"), server.jid("juliet").expect("a JID"));
    server.befriend(&romeo, &juliet);
    let options = roster_watch::Options {
        jid: juliet.to_string(),
        password: PASSWORD.to_owned(),
        orders: vec![roster_watch::Order::Remove(romeo.clone())],
        server: address(&server),
        ca: Some(server.ca_pem().to_vec()),
    };
    let mut seen = Vec::new();
    let gone = server.wait_for(|server| server.roster(&juliet).is_empty());
    within("the example", roster_watch::run(options, gone, |line| seen.push(line))).await.expect("no error");
    within("the end of the session", server.wait_for(|server| server.sessions().is_empty())).await;
    assert!(server.roster(&romeo).iter().all(|contact| contact.subscription == xmppkit::testing::Subscription::None));
}

#[tokio::test]
async fn two_accounts_forward_from_one_to_the_other() {
    assert_eq!(within("the example", Box::pin(two_accounts::show())).await.expect("no error"), 2);
}

#[tokio::test]
async fn the_console_chat_shows_contacts_requests_presence_and_messages() {
    let seen = within("the chat", console_chat::show()).await.expect("no error");
    for line in [
        "online as romeo@example.org",
        "romeo@example.org asks to see your presence: /accept romeo@example.org or /deny romeo@example.org",
        "juliet@example.org (both)",
        "romeo@example.org: Lady, by yonder blessed moon I vow",
        "romeo@example.org is away under the balcony",
        "romeo@example.org  (both): away",
        "juliet@example.org is gone",
    ] {
        assert!(seen.iter().any(|seen| seen == line), "{line:?} in {seen:#?}");
    }
}

#[tokio::test]
async fn the_console_chat_says_what_it_could_not_do_and_goes_on() {
    let server = server().start().await.expect("a server");
    let options = console_chat::Options {
        jid: "mercutio@example.org".to_owned(),
        password: PASSWORD.to_owned(),
        register: true,
        server: address(&server),
        ca: Some(server.ca_pem().to_vec()),
    };
    let typed = ["Hello?", "/accept tybalt@example.org", "/msg @ Hello", "/dance", "/show sad", "/msg juliet@example.org Hello"];
    let mut seen = Vec::new();
    let typed = futures::stream::iter(typed.map(String::from));
    within("the chat", console_chat::run(options, typed, |line| seen.push(line))).await.expect("no error");
    for word in ["to whom?", "they have not asked", "/msg @ Hello:", "/dance: /msg JID", "/show sad: available"] {
        assert_eq!(seen.iter().filter(|line| line.contains(word)).count(), 1, "{word:?} in {seen:#?}");
    }
    let juliet = server.jid("juliet").expect("a JID");
    assert_eq!(server.offline_messages(&juliet), 1, "the last one was sent");
}

#[tokio::test]
async fn own_store_has_after_a_restart_what_was_not_acknowledged() {
    assert_eq!(within("the example", own_store::run()).await.expect("it runs"), ["It is the east"]);
}

/// The store of the example keeps the contract of a store.
mod journal {
    use std::rc::Rc;

    use super::own_store::JournalStore;
    use crate::common::Folder;

    xmppkit::store_conformance!({
        let folder = Rc::new(Folder::new());
        move || std::future::ready(JournalStore::new(folder.path()))
    });

    xmppkit::store_crash_conformance!(|folder: &std::path::Path| std::future::ready(JournalStore::new(folder)));
}

#[tokio::test]
async fn the_tour_needs_no_server() {
    tour::run_inside().await.expect("it is ok");
}

fn flags(line: &str) -> xmppkit::Result<Option<tour::Options>> {
    tour::options::flags(line.split_whitespace().map(String::from))
}

#[tokio::test]
async fn the_tour_goes_by_its_flags_and_leaves_nothing_behind() {
    let server = server().start().await.expect("a server");
    let accounts = server.accounts();
    let ca = std::env::temp_dir().join(format!("xmppkit-tour-{}.pem", std::process::id()));
    std::fs::write(&ca, server.ca_pem()).expect("a file");
    let common = format!("--domain example.org --ca {}", ca.display());
    let direct = format!("{common} --server {} --direct-tls --register", server.direct_tls_address());
    let given = format!("{common} --server {} --account romeo:horse --account juliet:a:b", server.address());
    let (direct, given) = (flags(&direct), flags(&given));
    std::fs::remove_file(&ca).expect("the file");

    tour::run(direct.expect("flags").expect("some")).await.expect("it is ok");
    assert_eq!((server.counters().logins, server.accounts()), (5, accounts.clone()));

    let given = given.expect("flags").expect("some");
    let error = tour::run(given.clone()).await.expect_err("other passwords");
    assert!(error.is_auth(), "{error}");
    server.add_account("romeo", "horse").expect("a name");
    server.add_account("juliet", "a:b").expect("a name");
    tour::run(given.clone()).await.expect("it is ok");
    assert_eq!(server.accounts(), accounts);
    assert!(accounts.iter().all(|account| server.roster(account).is_empty()));

    server.befriend(&accounts[0], &accounts[1]);
    let error = tour::run(given).await.expect_err("they are contacts");
    assert!(error.to_string().contains("contacts already"), "{error}");
    assert_eq!(server.roster(&accounts[0]).len(), 1, "and they remain so");
}

#[test]
fn flags_that_say_too_little_or_nothing_known_are_refused() {
    assert!(flags("").expect("no flags").is_none());
    for (line, word) in [
        ("--register", "--domain"),
        ("--domain example.org", "--register"),
        ("--domain example.org --account a:b", "twice"),
        ("--domain example.org --register --account a:b", "--register"),
        ("--domain example.org --account a --account b", "NAME:PASSWORD"),
        ("--server example.org --register", "HOST:PORT"),
        ("--domain example.org --register --direct-tls", "--server"),
        ("--domain example.org --register --ca", "--ca"),
        ("--domain example.org --register --pin 00:11", "64 hexadecimal digits"),
        ("--domain example.org --verbose", "--verbose"),
    ] {
        let error = flags(line).expect_err(line).to_string();
        assert!(error.contains(word), "{line}: {error}");
    }
    let options = flags("--server [::1]:5299 --register").expect("flags").expect("some");
    assert_eq!((options.domain.as_str(), options.server), ("::1", Some(("::1".to_owned(), 5299))));
}

#[tokio::test]
async fn the_xml_console_shows_itself() {
    let style = xml_console::pretty::Style { colour: false, width: 100 };
    let shown = within("the scene", xml_console::show_itself(style)).await.expect("it plays to the end");
    let place = |part: &str| shown.iter().position(|piece| piece.contains(part)).unwrap_or_else(|| panic!("{part}: {shown:#?}"));
    // From the first byte to the last, in order.
    let order = [
        "sent stream header",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-512'>[redacted]</auth>",
        "-- online as romeo@example.org/",
        "<iq id='console-1' type='get' to='example.org'>\n  <query xmlns='jabber:iq:version'/>\n</iq>",
        "    <name>xmppkit test server</name>\n",
        "-- not done: not acceptable as XML: an end tag that does not match its start tag",
        "  <body>My ears have not yet drunk</body>\n</message>",
        "<message\n    id='",
        "-- showing -iq",
        "sent end of stream\n</stream:stream>",
        "received end of stream\n</stream:stream>",
    ];
    let places: Vec<_> = order.iter().map(|part| place(part)).collect();
    assert!(places.is_sorted() && places.last() == Some(&(shown.len() - 1)), "{places:?}");
    assert!(!shown.iter().any(|piece| piece.contains("secret")));
}

#[test]
fn the_xml_console_shows_xml_indented_and_leaves_text_as_it_is() {
    let style = xml_console::pretty::Style { colour: false, width: 30 };
    let pretty = |xml: &str| xml_console::pretty::pretty(xml, style);
    for (xml, shown) in [
        ("<a><b/> <c x='1'><d></d></c>\n</a>", "<a>\n  <b/>\n  <c x='1'>\n    <d></d>\n  </c>\n</a>"),
        ("<m><body>one\n<b>two</b> three</body></m>", "<m>\n  <body>one\n<b>two</b> three</body>\n</m>"),
        ("<?xml version='1.0'?><s:s a='1'>", "<?xml version='1.0'?>\n<s:s a='1'>"),
        ("<message from=\"o'neill\" to='b>c' id='1234'/>", "<message\n    from=\"o'neill\"\n    to='b>c'\n    id='1234'/>"),
        ("<a><![CDATA[<x>]]></a></b>text", "<a><![CDATA[<x>]]></a>\n</b>\ntext"),
        ("<a b='\u{9b}2J'>\u{1b}[1m</a>", "<a b='\\u{9b}2J'>\\u{1b}[1m</a>"),
        ("<a><b", "<a>\n  <b"),
    ] {
        assert_eq!(pretty(xml), shown);
    }
    // What is not well-formed, and deeply nested, is shown somehow.
    pretty(&"<a>".repeat(100_000));
    let colours = xml_console::pretty::Style { colour: true, width: 30 };
    assert_eq!(xml_console::pretty::pretty("<a>[redacted]</a>", colours).matches("\u{1b}[31m[redacted]\u{1b}[0m").count(), 1);
}

#[tokio::test]
async fn the_xml_console_filters_by_direction_kind_address_namespace_and_text() {
    let server = server().start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    // The answer to it comes behind that to initial presence.
    juliet.iq_get(None, &Ping).await.expect("a pong");
    let mut traffic = juliet.watch_xml();
    juliet.send_raw("<message to='Romeo@example.org/garden' type='headline'><body>Hist!</body></message>").await.expect("sent");
    juliet.send_raw("<iq type='get' id='i' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>").await.expect("sent");
    let mut pieces = Vec::new();
    while !pieces.iter().any(|xml: &String| xml.contains("type='result'")) {
        let piece = within("traffic", traffic.next()).await.expect("a piece").expect("no gap");
        if piece.xml.contains("urn:xmpp:sm:3") {
            continue;
        }
        pieces.push(piece.xml.to_string());
        let fits = |words: &str| xml_console::filter::Filter::parse(words).expect(words).shows(&piece);
        let (sent, message) = (piece.direction == xmppkit::client::XmlDirection::Sent, piece.xml.starts_with("<message"));
        let ping = piece.xml.contains("<ping");
        for (words, shows) in [
            ("", true),
            ("sent", sent),
            ("received sent", true),
            ("-sent", !sent),
            ("message", message),
            ("message iq", true),
            ("message received", message && !sent),
            ("iq -received", ping),
            ("to=romeo@example.org", message && sent),
            ("with=romeo@example.org/garden", message),
            ("from=romeo@example.org", message && !sent),
            ("from=example.org", !sent && !message),
            ("ns=xmpp:ping", ping),
            ("text=hist", message),
            ("stream nonza space", false),
        ] {
            assert_eq!(fits(words), shows, "{words}: {}", piece.xml);
        }
    }
    assert!(pieces.len() >= 3, "{pieces:?}");
    for words in ["messages", "about=romeo", "-", "sent=1"] {
        assert!(xml_console::filter::Filter::parse(words).is_err(), "{words}");
    }
    juliet.close().await;
}

/// A case of the suite for real servers.
pub(crate) async fn the_tour_is_ok(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let account = |i: usize| server.accounts.get(i).map(|account| (account.name.clone(), account.password.clone()));
    let accounts = account(0).zip(account(1)).map(<[_; 2]>::from);
    if !server.registers() && accounts.is_none() {
        return crate::suite::TOO_FEW;
    }
    let domain = server.domain.clone();
    let address = Some((server.host.clone(), server.port));
    let trust = server.trust.for_client()?;
    tour::run(tour::Options { domain, server: address, tls: TlsMode::StartTls, trust, accounts }).await?;
    Ok(Outcome::Passed)
}
