//! Changed passwords and deleted accounts, on the in-process server.

use std::sync::Arc;
use std::time::Duration;

use xmppkit::client::{Client, Milestone, Reconnect, Sent, State};
use xmppkit::error::{AuthError, ErrorKind, RegisterError, StanzaError, StanzaErrorType};
use xmppkit::prelude::*;
use xmppkit::register::RegistrationService;
use xmppkit::store::{MemoryStore, SendFailure, SqliteStore, Store};
use xmppkit::testing::{Cut, Dialect, Field, Server, Target, Way};

use crate::common::{Folder, PASSWORD, builder, client, online, server, within};

const NEW: &str = "b<tt>ry & staple";

#[track_caller]
fn reason(error: &xmppkit::Error) -> RegisterError {
    match error.kind() {
        ErrorKind::Register(reason) => reason.clone(),
        _ => panic!("not a reason of registration: {error:?}"),
    }
}

fn is_deleted(client: &Client) -> bool {
    matches!(client.state(), State::Failed(error) if *error.kind() == ErrorKind::AccountDeleted)
}

async fn logs_in(server: &Server, password: &str) -> bool {
    let client = builder(server, "romeo").password(password).build().await.expect("a client");
    let result = client.connect().await;
    client.close().await;
    match result {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), &ErrorKind::Auth(AuthError::NotAuthorized), "{error}");
            false
        }
    }
}

#[tokio::test]
async fn a_changed_password_is_the_one_that_logs_in_this_client_too() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let romeo = online(&server, "romeo").await;
        within("the change", romeo.change_password(NEW).into_future()).await.unwrap_or_else(|e| panic!("{dialect:?}: {e}"));
        assert!(romeo.state().is_online());
        assert!(!logs_in(&server, PASSWORD).await && logs_in(&server, NEW).await, "{dialect:?}");
        // The client itself goes on with it, also after a cut.
        let mut states = romeo.states();
        server.cut(Target::All, Cut::Rst);
        within("the cut", async { while states.next().await.is_some_and(|state| state.is_online()) {} }).await;
        within("online again", async { while !states.next().await.expect("a state").is_online() {} }).await;
        romeo.close().await;
        romeo.connect().await.expect("online with the new one");
        romeo.close().await;
    }
}

#[tokio::test]
async fn a_form_for_another_password_is_filled_in_or_given_back() {
    let form = [Field::new("x-mmn").label("Mother's maiden name").required(), Field::new("hint")];
    let server = server().owner_form(form).start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let error = romeo.change_password(NEW).await.expect_err("more is asked for");
    let RegisterError::FormRequired(form) = reason(&error) else { panic!("{error}") };
    assert!(form.field("x-mmn").is_some_and(|field| field.required) && error.to_string().contains("x-mmn"), "{error}");
    assert!(logs_in(&server, PASSWORD).await, "nothing has changed");

    romeo.change_password(NEW).field("x-mmn", "Montague").await.expect("changed");
    assert!(logs_in(&server, NEW).await && !logs_in(&server, PASSWORD).await);
    let submitted = server.received(romeo.account()).into_iter().rfind(|xml| xml.contains("x-mmn")).expect("a request");
    assert!(!submitted.contains("hint") && submitted.contains("old_password"), "{submitted}");

    let error = romeo.delete_account().await.expect_err("more is asked for");
    assert!(matches!(reason(&error), RegisterError::FormRequired(_)), "{error}");
    assert!(romeo.state().is_online());
    // The password that is asked for is the new one.
    within("the removal", romeo.delete_account().field("x-mmn", "Montague").into_future()).await.expect("deleted");
    assert!(is_deleted(&romeo) && !logs_in(&server, NEW).await);
}

#[tokio::test]
async fn refusals_leave_account_password_and_session_as_they_were() {
    for (type_, condition, expected) in [
        (StanzaErrorType::Modify, "not-acceptable", RegisterError::NotAcceptable("so it is".into())),
        (StanzaErrorType::Modify, "bad-request", RegisterError::NotAcceptable("so it is".into())),
        (StanzaErrorType::Modify, "not-authorized", RegisterError::NotAllowed),
        (StanzaErrorType::Cancel, "not-allowed", RegisterError::NotAllowed),
        (StanzaErrorType::Auth, "forbidden", RegisterError::NotAllowed),
        (StanzaErrorType::Cancel, "feature-not-implemented", RegisterError::NotOffered),
        (StanzaErrorType::Cancel, "service-unavailable", RegisterError::NotOffered),
        (StanzaErrorType::Wait, "resource-constraint", RegisterError::TooSoon),
    ] {
        let error = StanzaError::new(type_, condition).with_text("so it is");
        let server = server().registration_error(error).start().await.expect("a server");
        let romeo = online(&server, "romeo").await;
        for error in [romeo.change_password(NEW).await.expect_err("refused"), romeo.delete_account().await.expect_err("refused")]
        {
            assert_eq!(reason(&error), expected, "{condition}");
            assert!(error.to_string().contains("so it is"), "{error}");
        }
        assert!(romeo.state().is_online());
        romeo.close().await;
        romeo.connect().await.expect("with the old password");
        romeo.close().await;
    }
    let error = StanzaError::new(StanzaErrorType::Cancel, "registration-required");
    let server = server().registration_error(error).start().await.expect("a server");
    let error = online(&server, "romeo").await.change_password(NEW).await.expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "registration-required"), "{error}");
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_client_says_so() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let store = Arc::new(MemoryStore::new());
        let romeo = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
        romeo.connect().await.expect("online");
        romeo.roster().add(server.jid("juliet").expect("a JID")).await.expect("added");
        within("the removal", romeo.delete_account().into_future()).await.unwrap_or_else(|e| panic!("{dialect:?}: {e}"));
        assert!(is_deleted(&romeo), "{dialect:?}: {:?}", romeo.state());
        assert_eq!(server.accounts(), [server.jid("juliet").expect("a JID")]);
        within("the end of the session", server.wait_for(|server| server.connections() == 0)).await;
        assert!(!logs_in(&server, PASSWORD).await);
        let error = romeo.connect().await.expect_err("nobody is there");
        assert_eq!(error.kind(), &ErrorKind::Auth(AuthError::NotAuthorized), "{error}");

        // What the store has stays until it is told otherwise.
        let account = romeo.account().clone();
        drop(romeo);
        let kept = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
        assert_eq!(kept.roster().contacts().len(), 1);
        drop(kept);
        store.delete_account(&account).await.expect("deleted");
        let again = builder(&server, "romeo").store(store).build().await.expect("a client");
        assert!(again.roster().contacts().is_empty());
    }
}

fn quick() -> Reconnect {
    Reconnect::default().base(Duration::from_millis(10))
}

/// Asks for the removal on a connection on which the server does not hear it, and then lets the server do something else.
async fn deleted_unheard(server: &Server, instead: impl FnOnce(&Server, &FullJid)) -> (Client, xmppkit::Result<()>) {
    let (asked, mut is_asked) = tokio::sync::mpsc::unbounded_channel();
    let romeo = builder(server, "romeo")
        .reconnect(quick())
        .xml_log(move |_, xml| {
            if xml.contains("<remove") {
                let _ = asked.send(());
            }
        })
        .build()
        .await
        .expect("a client");
    romeo.connect().await.expect("online");
    let jid = romeo.jid().expect("bound");
    server.stall(&jid, Way::FromClient);
    let deletion = tokio::spawn(romeo.delete_account().into_future());
    within("the request", is_asked.recv()).await.expect("it is sent");
    instead(server, &jid);
    let result = within("the call", deletion).await.expect("no panic");
    (romeo, result)
}

#[tokio::test]
async fn a_server_that_ends_the_stream_instead_of_answering_has_deleted_the_account() {
    let started = server().start().await.expect("a server");
    let (romeo, result) = deleted_unheard(&started, |server, jid| assert!(server.remove_account(&jid.to_bare()))).await;
    result.expect("the stream error says so");
    assert!(is_deleted(&romeo), "{:?}", romeo.state());

    let started = server().start().await.expect("a server");
    let without_a_word = |server: &Server, jid: &FullJid| {
        server.stall(jid, Way::ToClient);
        server.remove_account(&jid.to_bare());
        server.cut(Target::All, Cut::Fin);
    };
    let (romeo, result) = deleted_unheard(&started, without_a_word).await;
    result.expect("the next login says so");
    assert!(is_deleted(&romeo), "{:?}", romeo.state());
    assert_eq!(started.counters().logins, 1, "it has not come back");
}

#[tokio::test]
async fn messages_that_nobody_can_send_any_more_fail_with_the_account() {
    let server = server().start().await.expect("a server");
    let folder = Folder::new();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path().join("chat.db")).await.expect("a file"));
    let romeo = builder(&server, "romeo").store(Arc::clone(&store)).reconnect(quick()).build().await.expect("a client");
    let juliet = server.jid("juliet").expect("a JID");
    romeo.connect().await.expect("online");
    let arrived = romeo.chat(&juliet).send("It is the east").await.expect("accepted");
    within("the server", arrived.wait_for(Milestone::Acked)).await.expect("it arrives");
    // The server reads nothing from here on: one is written, the other waits for a connection.
    server.stall(romeo.account(), Way::Both);
    let written = romeo.chat(&juliet).send("and Juliet is the sun").await.expect("accepted");
    within("the socket", written.wait_for(Milestone::Written)).await.expect("it is written");
    let deletion = tokio::spawn(romeo.delete_account().into_future());
    server.remove_account(romeo.account());
    let mut states = romeo.states();
    server.cut(Target::All, Cut::Fin);
    within("the cut", async { while states.next().await.is_some_and(|state| state.is_online()) {} }).await;
    let queued = romeo.chat(&juliet).send("Arise").await.expect("accepted");
    within("the call", deletion).await.expect("no panic").expect("the next login says so");
    assert!(is_deleted(&romeo), "{:?}", romeo.state());

    let failure = |sent: &Sent| sent.status().failed.map(|(why, _)| why);
    assert_eq!(failure(&arrived), None);
    for (sent, was_written) in [(&written, true), (&queued, false)] {
        assert_eq!((failure(sent), sent.status().written.is_some()), (Some(SendFailure::AccountGone), was_written));
        let error = within("the token", sent.wait_for(Milestone::Acked)).await.expect_err("given up");
        assert!(*error.kind() == ErrorKind::NotSent && error.to_string().contains("the account is gone"), "{error}");
    }

    let error = romeo.chat(&juliet).send("Too late").await.expect_err("nobody sends it");
    assert_eq!(error.kind(), &ErrorKind::AccountDeleted);

    // And the next process has nothing to send.
    let ids = [written.id().to_owned(), queued.id().to_owned()];
    drop((romeo, states));
    let again = builder(&server, "romeo").store(store).build().await.expect("a client");
    for id in ids {
        let sent = again.find_sent(&id).await.expect("a store").expect("the record is kept");
        assert_eq!(failure(&sent), Some(SendFailure::AccountGone));
    }
    assert!(again.store().outbox(0, 10).await.expect("a page").is_empty());
}

#[tokio::test]
async fn a_connection_that_breaks_has_deleted_nothing() {
    // With stream management the request is sent again when the session goes on, and is then answered.
    let started = server().differences(|d| d.management.versions.clear()).start().await.expect("a server");
    let (romeo, result) = deleted_unheard(&started, |server, jid| assert_eq!(server.cut(jid, Cut::Rst), 1)).await;
    let error = result.expect_err("the account is there");
    assert_eq!(error.kind(), &ErrorKind::SessionLost { sent: true });
    assert!(romeo.state().is_online() && started.accounts().contains(romeo.account()));
    romeo.close().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_not() {
    let server = server().start().await.expect("a server");
    let romeo = client(&server, "romeo").await;
    assert_eq!(romeo.change_password(NEW).await.expect_err("offline").kind(), &ErrorKind::NotOnline);
    assert_eq!(romeo.delete_account().await.expect_err("offline").kind(), &ErrorKind::NotOnline);
    romeo.connect().await.expect("online");
    for bad in ["", "\u{1}"] {
        assert!(matches!(reason(&romeo.change_password(bad).await.expect_err("no password")), RegisterError::NotAcceptable(_)));
    }
    assert!(!format!("{:?}", romeo.change_password("hush").field("a", "hush")).contains("hush"));
    romeo.close().await;

    let without = builder(&server, "romeo").without::<RegistrationService>().build().await.expect("a client");
    without.connect().await.expect("online");
    for error in [without.change_password(NEW).await, without.delete_account().await] {
        assert!(matches!(error.expect_err("missing").kind(), ErrorKind::ExtensionMissing("RegistrationService")));
    }
    without.close().await;
    assert!(logs_in(&server, PASSWORD).await);
}

#[tokio::test]
async fn no_password_is_changed_without_tls() {
    let server = server().no_tls().start().await.expect("a server");
    let romeo = builder(&server, "romeo").dangerous_plaintext().build().await.expect("a client");
    romeo.connect().await.expect("online");
    for result in [romeo.change_password(NEW).await, romeo.delete_account().await] {
        assert!(matches!(result.expect_err("in the clear").kind(), ErrorKind::Tls(_)));
    }
    assert!(server.received(romeo.account()).iter().all(|stanza| !stanza.contains("jabber:iq:register")));
    romeo.close().await;
}

#[tokio::test]
async fn a_client_that_was_failed_says_why_and_can_be_started_again() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let why = || xmppkit::Error::from(ErrorKind::Other).with_context("enough");
    let enough = |state: State| matches!(state, State::Failed(error) if error.to_string().contains("enough"));
    let mut states = romeo.states();
    within("the end", romeo.fail(why())).await;
    assert!(enough(romeo.state()));
    within("the end of the connection", server.wait_for(|server| server.connections() == 0)).await;
    assert!(matches!(states.next().await, Some(State::Online { .. })));
    assert!(states.next().await.is_some_and(enough), "nothing else in between");
    romeo.connect().await.expect("online again");
    romeo.close().await;
    assert!(matches!(romeo.state(), State::Closed));
    romeo.fail(why()).await;
    assert!(enough(romeo.state()), "also one that does not run");
}
