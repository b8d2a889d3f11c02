use xmppkit::error::{StanzaError, StanzaErrorType};
use xmppkit::testing::{Dialect, Field, Registration, Server};

use super::client::{Client, condition};

const NS: &str = "jabber:iq:register";

fn legacy(name: &str, password: &str) -> String {
    format!("<query xmlns='{NS}'><username>{name}</username><password>{password}</password></query>")
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields: String = fields.iter().map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>")).collect();
    format!("<query xmlns='{NS}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>")
}

async fn start(registration: Registration) -> Server {
    Server::builder().domain("example.org").registration(registration).start().await.unwrap()
}

#[tokio::test]
async fn an_account_is_made_either_way_and_logs_in_on_the_same_stream() {
    for (name, submission) in
        [("romeo", legacy("Romeo", "secret")), ("juliet", form(&[("username", "juliet"), ("password", "secret")]))]
    {
        let server = start(Registration::Open).await;
        let (mut client, features) = Client::secured(&server).await;
        assert!(features.child("http://jabber.org/features/iq-register", "register").is_some());
        let (asked, _) = client.ask("get", &format!("<query xmlns='{NS}'/>")).await;
        let query = asked.child(NS, "query").unwrap();
        assert!(query.child(NS, "username").is_some() && query.child("jabber:x:data", "x").is_some());
        let (reply, _) = client.ask("set", &submission).await;
        assert_eq!(reply.attr("type").as_deref(), Some("result"));
        assert_eq!(server.accounts(), [server.jid(name).unwrap()]);
        client.authenticate("SCRAM-SHA-256", name, "secret").await.unwrap();
        client.open().await;
        client.bind("x").await;
    }
}

#[tokio::test]
async fn dialects_offer_the_form_or_only_the_fields() {
    for (dialect, has_form, has_email) in [
        (Dialect::Strict, true, false),
        (Dialect::Prosody, true, false),
        (Dialect::OldEjabberd, false, false),
        (Dialect::Openfire, true, true),
    ] {
        let server = Server::builder().dialect(dialect).start().await.unwrap();
        let (mut client, _) = Client::secured(&server).await;
        let (asked, _) = client.ask("get", &format!("<query xmlns='{NS}'/>")).await;
        let query = asked.child(NS, "query").unwrap();
        assert_eq!(query.child("jabber:x:data", "x").is_some(), has_form, "{dialect:?}");
        assert_eq!(query.child(NS, "email").is_some(), has_email, "{dialect:?}");
        let (reply, _) = client.ask("set", &legacy("romeo", "secret")).await;
        assert_eq!(reply.attr("type").as_deref(), Some("result"), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_taken_name_a_bad_name_and_a_missing_password_are_refused() {
    let server = start(Registration::Open).await;
    server.add_account("romeo", "x").unwrap();
    let (mut client, _) = Client::secured(&server).await;
    for (submission, wanted) in [
        (legacy("romeo", "secret"), "conflict"),
        (legacy("a b@c", "secret"), "jid-malformed"),
        (legacy("juliet", ""), "not-acceptable"),
        (format!("<query xmlns='{NS}'><remove/></query>"), "registration-required"),
    ] {
        let (reply, _) = client.ask("set", &submission).await;
        assert_eq!(condition(&reply).as_deref(), Some(wanted), "{submission}");
    }
    assert_eq!(server.accounts().len(), 1);
}

#[tokio::test]
async fn a_form_of_the_servers_own_must_be_filled_in() {
    let fields = vec![Field::new("invite").label("Invitation").required(), Field::new("nick")];
    let server = start(Registration::Form(fields)).await;
    let (mut client, _) = Client::secured(&server).await;
    let (asked, _) = client.ask("get", &format!("<query xmlns='{NS}'/>")).await;
    let query = asked.child(NS, "query").unwrap();
    assert!(query.child(NS, "username").is_none());
    let vars: Vec<_> =
        query.child("jabber:x:data", "x").unwrap().children().filter_map(|f| f.attr("var").map(|v| v.into_owned())).collect();
    assert_eq!(vars, ["FORM_TYPE", "username", "password", "invite", "nick"]);

    let name = [("username", "romeo"), ("password", "secret")];
    for (submission, wanted) in [(legacy("romeo", "secret"), Some("not-acceptable")), (form(&name), Some("not-acceptable"))] {
        let (reply, _) = client.ask("set", &submission).await;
        assert_eq!(condition(&reply).as_deref(), wanted, "{submission}");
    }
    let (reply, _) = client.ask("set", &form(&[name[0], name[1], ("invite", "42")])).await;
    assert_eq!(reply.attr("type").as_deref(), Some("result"));
}

#[tokio::test]
async fn out_of_band_and_captcha_give_what_a_client_has_to_show() {
    let server = start(Registration::OutOfBand("https://example.org/join".into())).await;
    let (mut client, _) = Client::secured(&server).await;
    let (asked, _) = client.ask("get", &format!("<query xmlns='{NS}'/>")).await;
    let url = asked.child(NS, "query").unwrap().child("jabber:x:oob", "x").unwrap().child("jabber:x:oob", "url").unwrap();
    assert_eq!(url.text(), "https://example.org/join");
    let (reply, _) = client.ask("set", &legacy("romeo", "secret")).await;
    assert_eq!(condition(&reply).as_deref(), Some("not-allowed"));

    server.set_registration(Registration::Captcha { answer: "7nHL3".into() });
    let (mut client, _) = Client::secured(&server).await;
    let (asked, _) = client.ask("get", &format!("<query xmlns='{NS}'/>")).await;
    let query = asked.child(NS, "query").unwrap();
    let picture = query.child("urn:xmpp:bob", "data").unwrap();
    let uri = format!("cid:{}", picture.attr("cid").unwrap());
    assert!(query.to_standalone_xml().contains(&format!(">{uri}<")), "the form points at the picture");
    for (answer, wanted) in [("wrong", "error"), ("7nHL3", "result")] {
        let (reply, _) = client.ask("set", &form(&[("username", "romeo"), ("password", "secret"), ("ocr", answer)])).await;
        assert_eq!(reply.attr("type").as_deref(), Some(wanted));
    }
}

#[tokio::test]
async fn a_server_that_is_closed_or_in_no_mood_says_so() {
    let server = start(Registration::Closed).await;
    let (mut client, features) = Client::secured(&server).await;
    assert!(features.child("http://jabber.org/features/iq-register", "register").is_none());
    let (reply, _) = client.ask("get", &format!("<query xmlns='{NS}'/>")).await;
    assert_eq!(condition(&reply).as_deref(), Some("service-unavailable"));

    let error = StanzaError::new(StanzaErrorType::Wait, "resource-constraint").with_text("later");
    let server = Server::builder().registration_error(error.clone()).start().await.unwrap();
    let (mut client, _) = Client::secured(&server).await;
    let (reply, _) = client.ask("set", &legacy("romeo", "secret")).await;
    assert_eq!(reply.stanza().unwrap().error(), Some(error));
    assert!(server.accounts().is_empty());
}

#[tokio::test]
async fn registration_needs_tls_where_login_does() {
    let server = start(Registration::Open).await;
    let mut client = Client::connect(&server).await;
    client.open().await;
    let (reply, _) = client.ask("set", &legacy("romeo", "secret")).await;
    assert_eq!(condition(&reply).as_deref(), Some("policy-violation"));
}

#[tokio::test]
async fn a_password_is_changed_and_an_account_removed() {
    let server =
        Server::builder().domain("example.org").account("romeo", "secret").account("juliet", "secret").start().await.unwrap();
    server.befriend(&server.jid("romeo").unwrap(), &server.jid("juliet").unwrap());
    let mut juliet = Client::online(&server, "juliet", "x").await;
    let mut romeo = Client::online(&server, "romeo", "x").await;
    assert_eq!(condition(&romeo.ask("set", &legacy("juliet", "stolen")).await.0).as_deref(), Some("not-allowed"));
    let (reply, _) = romeo.ask("set", &legacy("romeo", "new")).await;
    assert_eq!(reply.attr("type").as_deref(), Some("result"));
    let (mut second, _) = Client::secured(&server).await;
    second.authenticate("SCRAM-SHA-256", "romeo", "secret").await.unwrap_err();
    second.authenticate("SCRAM-SHA-256", "romeo", "new").await.unwrap();

    juliet.sync().await;
    let (reply, _) = romeo.ask("set", &format!("<query xmlns='{NS}'><remove/></query>")).await;
    assert_eq!(reply.attr("type").as_deref(), Some("result"));
    assert_eq!(romeo.stream_error().await, "not-authorized");
    assert_eq!(server.accounts(), [server.jid("juliet").unwrap()]);
    let seen = juliet.presences().await;
    for kind in ["unsubscribe", "unsubscribed"] {
        assert!(seen.contains(&(kind.into(), "romeo@example.org".into())), "{seen:?}");
    }
    assert!(seen.contains(&("unavailable".into(), "romeo@example.org/x".into())), "{seen:?}");
}
