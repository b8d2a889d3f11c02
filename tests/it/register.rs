//! Registrations made by the client, on the in-process server.

use std::time::Duration;

use xmppkit::client::{Client, ClientBuilder, Deadlines, State, TlsMode, Trust};
use xmppkit::error::{BuildError, ErrorKind, Phase, RegisterError, StanzaError, StanzaErrorType};
use xmppkit::jid::BareJid;
use xmppkit::prelude::*;
use xmppkit::register::{FieldKind, RegistrationService};
use xmppkit::testing::{Builder, Dialect, Field, Misbehaviour, Registration, Server};

use crate::common::{DOMAIN, PASSWORD, within};

/// A deadline that is meant to pass.
const SHORT: Duration = Duration::from_millis(50);

fn empty() -> Builder {
    Server::builder().domain(DOMAIN)
}

async fn start(registration: Registration) -> Server {
    empty().registration(registration).start().await.expect("a server")
}

fn newcomer(server: &Server) -> ClientBuilder {
    // Servers that misbehave do not say goodbye.
    crate::common::builder(server, "tybalt").deadlines(Deadlines::default().closing(SHORT))
}

async fn client(server: &Server) -> Client {
    newcomer(server).build().await.expect("a client")
}

fn tybalt() -> BareJid {
    "tybalt@example.org".parse().expect("a JID")
}

/// Registers, and gives what it failed with.
async fn refused(server: &Server) -> xmppkit::Error {
    let client = client(server).await;
    let error = within("a refusal", client.register().into_future()).await.expect_err("no account");
    assert!(client.state().is_stopped(), "nothing goes on in the background: {:?}", client.state());
    within("the end of the connection", server.wait_for(|server| server.connections() == 0)).await;
    error
}

#[track_caller]
fn reason(error: &xmppkit::Error) -> RegisterError {
    match error.kind() {
        ErrorKind::Register(reason) => reason.clone(),
        _ => panic!("not a reason of registration: {error:?}"),
    }
}

#[tokio::test]
async fn one_call_makes_the_account_and_logs_in_on_the_same_stream() {
    let ways = [Registration::Open, Registration::LegacyOnly, Registration::Form(Vec::new())];
    for dialect in Dialect::ALL {
        for way in &ways {
            let server = empty().dialect(dialect).registration(way.clone()).start().await.expect("a server");
            let client = client(&server).await;
            let register = client.register().field("email", "tybalt@example.net").field("name", "Tybalt");
            within("the account", register.into_future()).await.unwrap_or_else(|error| panic!("{dialect:?} {way:?}: {error}"));
            assert!(client.state().is_online());
            assert_eq!(server.accounts(), [tybalt()]);
            assert_eq!(server.counters().connections, 1, "{dialect:?} {way:?}");
            let session = server.sessions().pop().expect("a session");
            assert_eq!((session.jid.to_bare(), session.tls), (tybalt(), true));
            client.close().await;
            // The account is one like any other.
            client.connect().await.expect("online");
            client.close().await;
        }
    }
}

#[tokio::test]
async fn it_is_asked_for_also_where_it_is_not_announced() {
    let server = empty().differences(|d| d.announces_registration = false).start().await.expect("a server");
    let client = client(&server).await;
    within("the account", client.register().into_future()).await.expect("registered");
    client.close().await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_a_conflict() {
    let server = empty().account("tybalt", PASSWORD).start().await.expect("a server");
    let error = refused(&server).await;
    assert_eq!(reason(&error), RegisterError::Conflict);
    assert!(!error.is_retryable() && error.to_string().contains("already exists"), "{error}");
}

#[tokio::test]
async fn a_server_that_makes_no_accounts_says_so_in_its_own_way() {
    for (dialect, expected) in [
        (Dialect::Strict, RegisterError::NotOffered),
        (Dialect::Prosody, RegisterError::NotOffered),
        (Dialect::OldEjabberd, RegisterError::NotAllowed),
        (Dialect::Openfire, RegisterError::NotAllowed),
    ] {
        let server = empty().dialect(dialect).registration(Registration::Closed).start().await.expect("a server");
        assert_eq!(reason(&refused(&server).await), expected, "{dialect:?}");
    }
}

#[tokio::test]
async fn refusals_of_the_submission_keep_the_servers_words() {
    for (type_, condition, expected) in [
        (StanzaErrorType::Wait, "resource-constraint", RegisterError::TooSoon),
        (StanzaErrorType::Cancel, "not-allowed", RegisterError::NotAllowed),
        (StanzaErrorType::Auth, "forbidden", RegisterError::NotAllowed),
        (StanzaErrorType::Modify, "not-acceptable", RegisterError::NotAcceptable("so it is".into())),
    ] {
        let error = StanzaError::new(type_, condition).with_text("so it is");
        let server = empty().registration_error(error).start().await.expect("a server");
        let error = refused(&server).await;
        assert_eq!(reason(&error), expected);
        assert!(error.to_string().contains("so it is"), "{error}");
        assert_eq!(error.is_retryable(), expected == RegisterError::TooSoon, "{condition}");
        assert!(server.accounts().is_empty());
    }
    let server = empty().registration_error(StanzaError::new(StanzaErrorType::Wait, "internal-server-error"));
    let error = refused(&server.start().await.expect("a server")).await;
    assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "internal-server-error"), "{error}");
}

#[tokio::test]
async fn a_web_page_is_passed_on() {
    let url = "https://example.org/join";
    let server = start(Registration::OutOfBand(url.to_owned())).await;
    assert_eq!(reason(&refused(&server).await), RegisterError::OutOfBand(url.to_owned()));
}

#[tokio::test]
async fn a_form_that_asks_for_more_is_given_back_and_can_be_filled_in_beforehand() {
    let fields = vec![Field::new("email").label("E-mail").required(), Field::new("phone")];
    let server = start(Registration::Form(fields)).await;
    let RegisterError::FormRequired(form) = reason(&refused(&server).await) else { panic!("the form") };
    let names: Vec<_> = form.fields.iter().map(|field| (field.name.as_str(), field.kind, field.required)).collect();
    let expected = [
        ("FORM_TYPE", FieldKind::Hidden, false),
        ("username", FieldKind::Text, true),
        ("password", FieldKind::Secret, true),
        ("email", FieldKind::Text, true),
        ("phone", FieldKind::Text, false),
    ];
    assert_eq!(names, expected);
    assert!(server.accounts().is_empty());

    let client = client(&server).await;
    within("the account", client.register().field("email", "t@example.net").into_future()).await.expect("registered");
    assert!(client.state().is_online());
    client.close().await;
}

#[tokio::test]
async fn people_fill_in_the_form_while_the_connection_waits() {
    let server = start(Registration::Form(vec![Field::new("email").required()])).await;
    let client = client(&server).await;
    let form = within("the form", client.registration().into_future()).await.expect("a form");
    assert_eq!(form.form().title.as_deref(), Some("Creating a new account"));
    assert_eq!(form.missing().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["email"]);
    assert!(matches!(client.state(), State::Connecting { .. }), "{:?}", client.state());
    let form = form.field("email", "t@example.net").field("password", "another");
    assert_eq!(form.missing().count(), 0);
    assert!(!format!("{form:?}").contains(PASSWORD));
    within("the account", form.submit()).await.expect("registered");
    assert!(client.state().is_online());
    assert_eq!(server.counters().connections, 1);
    client.close().await;
}

#[tokio::test]
async fn a_captcha_is_passed_on_and_answered() {
    let server = start(Registration::Captcha { answer: "7nHL3".to_owned() }).await;
    let RegisterError::Captcha(form) = reason(&refused(&server).await) else { panic!("a captcha") };
    let picture = &form.field("ocr").expect("the question").media[0];
    assert_eq!(picture.mime_type, "image/png");
    assert!(picture.data.as_ref().is_some_and(|data| data.starts_with(b"\x89PNG")));

    let client = client(&server).await;
    let form = within("the form", client.registration().into_future()).await.expect("a form");
    let error = within("a refusal", form.field("ocr", "wrong").submit()).await.expect_err("no account");
    assert_eq!(reason(&error), RegisterError::NotAllowed);
    assert!(error.to_string().contains("CAPTCHA"), "{error}");

    let form = within("the form", client.registration().into_future()).await.expect("another form");
    within("the account", form.field("ocr", "7nHL3").submit()).await.expect("registered");
    assert!(client.state().is_online());
    client.close().await;
}

#[tokio::test]
async fn a_form_that_is_not_filled_in_closes_its_connection() {
    let server = start(Registration::Form(vec![Field::new("email").required()])).await;
    let client = client(&server).await;
    let states = client.states();
    let form = within("the form", client.registration().into_future()).await.expect("a form");
    drop(form);
    let failed = states.filter_map(async |state| if let State::Failed(error) = state { Some(error) } else { None });
    let error = within("the end", std::pin::pin!(failed).next()).await.expect("a state");
    assert_eq!(reason(&error), RegisterError::Abandoned);
    within("the end of the connection", server.wait_for(|server| server.connections() == 0)).await;

    let form = within("the form", client.registration().into_future()).await.expect("a form");
    let error = within("a refusal", form.submit()).await.expect_err("not filled in");
    assert!(matches!(reason(&error), RegisterError::FormRequired(_)), "{error}");
    within("the end of the connection", server.wait_for(|server| server.connections() == 0)).await;
}

#[tokio::test]
async fn a_server_that_closes_the_form_or_says_nothing_is_told_apart() {
    for misbehaviour in [
        Misbehaviour::CloseIn(Phase::Register),
        Misbehaviour::StreamErrorIn(Phase::Register, "not-authorized".to_owned()),
        Misbehaviour::StreamErrorIn(Phase::Register, "connection-timeout".to_owned()),
    ] {
        let server = empty().misbehave(misbehaviour.clone()).start().await.expect("a server");
        let error = refused(&server).await;
        assert_eq!(reason(&error), RegisterError::Closed, "{misbehaviour:?}");
        assert!(std::error::Error::source(&error).is_some());
    }
    let server = empty().misbehave(Misbehaviour::StreamErrorIn(Phase::Register, "policy-violation".to_owned()));
    let error = refused(&server.start().await.expect("a server")).await;
    assert!(matches!(error.kind(), ErrorKind::Stream(error) if error.condition == "policy-violation"), "{error}");

    let server = empty().misbehave(Misbehaviour::SilentIn(Phase::Register)).start().await.expect("a server");
    let deadlines = Deadlines::default().register(SHORT).closing(SHORT);
    let client = newcomer(&server).deadlines(deadlines).build().await.expect("a client");
    let error = within("a refusal", client.register().into_future()).await.expect_err("no account");
    assert!(matches!(error.kind(), ErrorKind::Timeout(Phase::Register)), "{error}");
}

#[tokio::test]
async fn a_form_may_not_lie_about_for_ever() {
    let server = start(Registration::Open).await;
    let deadlines = Deadlines::default().register_answer(SHORT).closing(SHORT);
    let client = newcomer(&server).deadlines(deadlines).build().await.expect("a client");
    let form = within("the form", client.registration().into_future()).await.expect("a form");
    within("the end of the connection", server.wait_for(|server| server.connections() == 0)).await;
    let error = within("a refusal", form.submit()).await.expect_err("too late");
    assert!(matches!(error.kind(), ErrorKind::Timeout(Phase::Register)), "{error}");

    // The same, where the server has had enough.
    let client = newcomer(&server).build().await.expect("a client");
    let form = within("the form", client.registration().into_future()).await.expect("a form");
    server.cut(xmppkit::testing::Target::All, xmppkit::testing::Cut::Fin);
    within("the end of the connection", server.wait_for(|server| server.connections() == 0)).await;
    let error = within("a refusal", form.submit()).await.expect_err("too late");
    assert_eq!(reason(&error), RegisterError::Closed);
}

#[tokio::test]
async fn hostile_answers_end_the_registration_with_a_word() {
    let iq = |content: &str| format!("<iq type='result' id='register-1' from='{DOMAIN}'>{content}</iq>");
    let query = |content: &str| iq(&format!("<query xmlns='jabber:iq:register'>{content}</query>"));
    let fields: String = (0..600).map(|i| format!("<field var='f{i}'/>")).collect();
    for (answer, expected) in [
        (iq(""), "payload"),
        (iq("<query xmlns='jabber:iq:auth'/>"), "payload"),
        (query(&format!("<x xmlns='jabber:x:data' type='form'>{fields}</x>")), "payload"),
        (query(""), "not offered"),
        (query("<registered/>"), "conflict"),
        (query("<x xmlns='jabber:x:data' type='form'/>"), "form"),
        (query("<email/>"), "form"),
        ("<message/>".to_owned(), "protocol"),
        (format!("<iq type='get' id='register-1' from='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>"), "protocol"),
        ("<iq a='b' a='b'/>".to_owned(), "protocol"),
    ] {
        let server = empty().misbehave(Misbehaviour::SendIn(Phase::Register, answer.clone())).start().await.expect("a server");
        let error = refused(&server).await;
        let kind = match error.kind() {
            ErrorKind::Payload { .. } => "payload",
            ErrorKind::Protocol(_) => "protocol",
            ErrorKind::Register(RegisterError::NotOffered) => "not offered",
            ErrorKind::Register(RegisterError::Conflict) => "conflict",
            ErrorKind::Register(RegisterError::FormRequired(_)) => "form",
            _ => "another",
        };
        assert_eq!(kind, expected, "{answer:.100}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_from_somebody_else_or_to_something_else_is_none() {
    let spoofed = "<iq type='result' id='register-1' from='evil.example'><query xmlns='jabber:iq:register'><registered/></query></iq>\
                   <iq type='result' id='register-9'><query xmlns='jabber:iq:register'><registered/></query></iq>\
                   <iq type='error' id='register-1'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
    let server = empty().misbehave(Misbehaviour::SendIn(Phase::Register, spoofed.to_owned())).start().await.expect("a server");
    assert_eq!(reason(&refused(&server).await), RegisterError::NotAllowed, "the third one counts");
}

#[tokio::test]
async fn there_is_no_registration_without_tls() {
    let server = empty().no_tls().start().await.expect("a server");
    assert!(matches!(refused(&server).await.kind(), ErrorKind::Tls(_)));
    let plain = newcomer(&server).dangerous_plaintext().build().await.expect("a client");
    let error = within("a refusal", plain.register().into_future()).await.expect_err("no account");
    assert!(matches!(error.kind(), ErrorKind::Build(BuildError::InvalidOption(text)) if text.contains("TLS")), "{error}");
    assert!(server.accounts().is_empty());
}

#[tokio::test]
async fn a_running_client_registers_nothing() {
    let server = empty().account("tybalt", PASSWORD).start().await.expect("a server");
    let client = client(&server).await;
    client.connect().await.expect("online");
    assert!(matches!(client.register().await.expect_err("running").kind(), ErrorKind::AlreadyRunning));
    assert!(matches!(client.registration().await.expect_err("running").kind(), ErrorKind::AlreadyRunning));
    assert!(client.state().is_online());
    client.close().await;
}

#[tokio::test]
async fn a_client_without_the_extension_registers_nothing() {
    let server = start(Registration::Open).await;
    let client = newcomer(&server).without::<RegistrationService>().build().await.expect("a client");
    assert!(matches!(client.register().await.expect_err("missing").kind(), ErrorKind::ExtensionMissing("RegistrationService")));
    assert!(matches!(
        client.registration().await.expect_err("missing").kind(),
        ErrorKind::ExtensionMissing("RegistrationService")
    ));
    assert_eq!(server.counters().connections, 0);
}

#[tokio::test]
async fn a_failed_registration_can_be_tried_again() {
    let server = empty().account("tybalt", PASSWORD).start().await.expect("a server");
    let client = client(&server).await;
    assert_eq!(reason(&client.register().await.expect_err("taken")), RegisterError::Conflict);
    assert!(server.remove_account(&tybalt()));
    within("the account", client.register().into_future()).await.expect("registered");
    client.close().await;
}

#[tokio::test]
async fn a_server_may_ask_to_register_elsewhere() {
    let there = start(Registration::Open).await;
    let error = format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='{DOMAIN}' id='x' version='1.0'>\
         <stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{}</see-other-host></stream:error></stream:stream>",
        there.address()
    );
    let here = empty().misbehave(Misbehaviour::SendIn(Phase::Header, error)).start().await.expect("a server");
    let address = here.address();
    let client = Client::builder(tybalt())
        .password(PASSWORD)
        .server(address.ip().to_string(), address.port(), TlsMode::StartTls)
        .trust(Trust::only_ca(there.ca_pem()).expect("the other server's CA"))
        .build()
        .await
        .expect("a client");
    within("the account", client.register().into_future()).await.expect("registered");
    assert_eq!(there.accounts(), [tybalt()]);
    client.close().await;
}

#[tokio::test]
async fn registration_works_on_a_connection_that_is_encrypted_from_the_start() {
    let server = start(Registration::Open).await;
    let address = server.direct_tls_address();
    let client =
        newcomer(&server).server(address.ip().to_string(), address.port(), TlsMode::Direct).build().await.expect("a client");
    within("the account", client.register().into_future()).await.expect("registered");
    client.close().await;
}
