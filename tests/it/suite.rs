//! The suite that runs unchanged against every real server: the four the tests start, and any other that is named by
//! environment variables (docs/testing.md).

mod archive;
mod chat;
mod contacts;
mod owner;
mod resume;
mod services;
mod support_table;

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};

use xmpp_parsers::message::{Lang, Message};
use xmpp_parsers::roster::Roster;
use xmppkit::client::{Client, ClientBuilder, TlsMode, WeakClient};
use xmppkit::error::{AuthError, ErrorKind};
use xmppkit::event::{Event, Inbound, Route};
use xmppkit::messaging::Messages as _;
use xmppkit::roster::Rosters as _;

use self::archive::{
    preferences_and_metadata_are_told_or_typed_errors, the_log_is_what_the_archive_of_the_server_is,
    two_clients_of_one_account_see_the_same_conversation, what_was_sent_while_away_comes_exactly_once_and_in_order,
};
use self::chat::{
    a_conversation_is_locked_to_the_resource_that_replied, a_registration_form_is_filled_in_while_the_server_waits,
    messages_are_confirmed_both_ways, typing_is_told,
};
use self::contacts::{
    a_nickname_comes_with_a_request, a_request_waits_for_a_contact_who_is_away, an_approval_waits_for_its_request,
    directed_presence_ends_with_its_sender,
};
use self::owner::{a_deleted_account_is_gone, a_password_is_changed};
use self::resume::a_cut_session_goes_on_and_nothing_is_lost_or_comes_twice;
use self::services::{
    a_client_says_that_nobody_is_looking, a_contacts_capabilities_are_verified_and_known,
    push_notifications_are_switched_on_and_off, the_server_and_the_account_say_what_they_are,
    the_server_answers_ping_version_time_and_last_activity,
};
pub(crate) use self::support_table::add as add_to_support_table;
use crate::examples::the_tour_is_ok;
use crate::main_job::{
    a_chat_goes_both_ways_by_stream_and_by_handler, a_contact_is_asked_accepts_and_is_seen_per_resource,
    a_contact_is_renamed_regrouped_and_removed_on_every_client, a_message_sent_to_an_offline_account_is_there_at_the_next_login,
    a_roster_that_has_not_changed_is_not_sent_again, registration_and_login_are_one_call,
};
use crate::support::{Account, Failure, RawStream, ServerUnderTest, panic_text};

/// How long one case may take; the machine may be busy with a build.
const CASE: Duration = Duration::from_secs(120);
/// How many cases run at once where every case makes its own accounts.
const AT_ONCE: usize = 4;

/// One case, by name. It makes its accounts with [`ServerUnderTest::fresh_account`], or takes the first of those that are given
/// and leaves them as they were.
struct Case {
    name: &'static str,
    run: for<'a> fn(&'a ServerUnderTest) -> BoxFuture<'a, Result<Outcome, Failure>>,
}

/// What came of a case that did not fail.
pub(crate) enum Outcome {
    Passed,
    /// It does not apply to this server, and why.
    Skipped(&'static str),
}

/// A case is an `async fn(&ServerUnderTest) -> Result<Outcome, Failure>`; its name is the function's.
macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$(Case { name: stringify!($name), run: |server| $name(server).boxed() }),*] };
}

const CASES: &[Case] = cases![
    starttls_is_offered_and_then_mechanisms,
    direct_tls_offers_mechanisms,
    an_account_is_registered_once,
    a_login_by_starttls,
    a_login_by_direct_tls,
    a_login_in_the_second_domain,
    a_wrong_password_is_not_authorized_and_final,
    a_request_is_answered,
    messages_arrive_in_order,
    registration_and_login_are_one_call,
    a_registration_form_is_filled_in_while_the_server_waits,
    a_conversation_is_locked_to_the_resource_that_replied,
    a_contact_is_asked_accepts_and_is_seen_per_resource,
    a_contact_is_renamed_regrouped_and_removed_on_every_client,
    a_chat_goes_both_ways_by_stream_and_by_handler,
    a_message_sent_to_an_offline_account_is_there_at_the_next_login,
    a_roster_that_has_not_changed_is_not_sent_again,
    a_request_waits_for_a_contact_who_is_away,
    a_nickname_comes_with_a_request,
    an_approval_waits_for_its_request,
    directed_presence_ends_with_its_sender,
    messages_are_confirmed_both_ways,
    typing_is_told,
    a_password_is_changed,
    a_deleted_account_is_gone,
    a_cut_session_goes_on_and_nothing_is_lost_or_comes_twice,
    the_server_and_the_account_say_what_they_are,
    a_contacts_capabilities_are_verified_and_known,
    the_server_answers_ping_version_time_and_last_activity,
    a_client_says_that_nobody_is_looking,
    push_notifications_are_switched_on_and_off,
    the_tour_is_ok,
    what_was_sent_while_away_comes_exactly_once_and_in_order,
    the_log_is_what_the_archive_of_the_server_is,
    preferences_and_metadata_are_told_or_typed_errors,
    two_clients_of_one_account_see_the_same_conversation,
];

/// What came of every case.
pub(crate) struct Report {
    server: String,
    lines: Vec<(&'static str, Duration, Result<Outcome, String>)>,
}

impl Report {
    /// The failed cases, as one text; none: all is well.
    pub(crate) fn failures(&self) -> Option<String> {
        let failed = self.lines.iter().filter_map(|(name, _, result)| Some(format!("{name}: {}", result.as_ref().err()?)));
        let failed: Vec<_> = failed.collect();
        (!failed.is_empty()).then(|| failed.join("\n"))
    }

    /// What came of one case, if it ran.
    fn outcome(&self, case: &str) -> Option<&Result<Outcome, String>> {
        self.lines.iter().find_map(|(name, _, result)| (*name == case).then_some(result))
    }

    /// One line per case.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}:\n", self.server);
        for (name, time, result) in &self.lines {
            let result = match result {
                Ok(Outcome::Passed) => "ok".to_owned(),
                Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
                Err(_) => "FAILED".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {:>6.2} s  {name}: {result}", time.as_secs_f64());
        }
        text
    }
}

/// Runs every case; with given accounts one after the other, since they share them, and none if the accounts are not as the
/// cases need them.
pub(crate) async fn run(server: &ServerUnderTest) -> Report {
    let start = Instant::now();
    if let Err(error) = given_accounts_are_strangers(server).await {
        let line = ("given_accounts_are_strangers", start.elapsed(), Err(error.to_string()));
        return Report { server: server.name.clone(), lines: vec![line] };
    }
    let at_once = if server.registers() { AT_ONCE } else { 1 };
    let lines = stream::iter(CASES).map(|case| run_case(case, server)).buffered(at_once).collect().await;
    Report { server: server.name.clone(), lines }
}

/// Cases make contacts of the accounts and end that again: what there was between them before would be lost.
async fn given_accounts_are_strangers(server: &ServerUnderTest) -> Result<(), Failure> {
    for account in &server.accounts {
        let client = client(server, account)?.build().await?;
        client.connect().await?;
        let known = |other: &&Account| other.jid().parse().is_ok_and(|jid| client.roster().get(&jid).is_some());
        if let Some(other) = server.accounts.iter().find(known) {
            return Err(format!(
                "{} has {} as a contact, and the cases would end that: give other accounts, or remove it",
                account.jid(),
                other.jid()
            )
            .into());
        }
        client.close().await;
    }
    Ok(())
}

async fn run_case(case: &Case, server: &ServerUnderTest) -> (&'static str, Duration, Result<Outcome, String>) {
    let start = Instant::now();
    let result = match tokio::time::timeout(CASE, AssertUnwindSafe((case.run)(server)).catch_unwind()).await {
        Ok(Ok(result)) => result.map_err(|e| e.to_string()),
        Ok(Err(panic)) => Err(format!("it panicked: {}", panic_text(&*panic))),
        Err(_) => Err(format!("not done after {} s", CASE.as_secs())),
    };
    (case.name, start.elapsed(), result)
}

async fn starttls_is_offered_and_then_mechanisms(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let mut stream = RawStream::starttls(&server.host, server.port, &server.domain, &server.trust).await?;
    let features = stream.open().await?;
    assert!(features.contains("<mechanism>SCRAM-SHA-1</mechanism>"), "{features}");
    Ok(Outcome::Passed)
}

async fn direct_tls_offers_mechanisms(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some(port) = server.direct_tls_port else { return Ok(Outcome::Skipped("no port for direct TLS is known")) };
    let mut stream = RawStream::direct_tls(&server.host, port, &server.domain, &server.trust).await?;
    let features = stream.open().await?;
    assert!(features.contains("<mechanism>SCRAM-SHA-1</mechanism>"), "{features}");
    Ok(Outcome::Passed)
}

async fn an_account_is_registered_once(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    if !server.registers() {
        return Ok(Outcome::Skipped("accounts are given, not registered"));
    }
    let account = server.fresh_account();
    for expected in ["", "conflict"] {
        let mut stream = RawStream::starttls(&server.host, server.port, &server.domain, &server.trust).await?;
        stream.open().await?;
        let error = stream.register(&account.name, &account.password).await.err().map_or(String::new(), |e| e.to_string());
        assert!(error.is_empty() == expected.is_empty() && error.contains(expected), "expected {expected:?}: {error:?}");
    }
    Ok(Outcome::Passed)
}

/// A client of this account, to be built.
pub(crate) fn client(server: &ServerUnderTest, account: &Account) -> Result<ClientBuilder, Failure> {
    let builder = Client::builder(account.jid().parse()?).password(account.password.as_str());
    Ok(builder.trust(server.trust.for_client()?).server(server.host.as_str(), server.port, TlsMode::StartTls))
}

/// Accounts to use: registered now, or the first of those that are given.
pub(crate) async fn accounts<const N: usize>(server: &ServerUnderTest) -> Result<Option<[Account; N]>, Failure> {
    if !server.registers() {
        let accounts = server.accounts.first_chunk::<N>().cloned();
        for account in accounts.iter().flatten() {
            take_what_waits(server, account).await?;
        }
        return Ok(accounts);
    }
    let accounts = std::array::from_fn(|_| server.fresh_account());
    for account in &accounts {
        register(server, account).await?;
    }
    Ok(Some(accounts))
}

/// Messages that another case, or an earlier run, left in offline storage are none of the case that begins.
async fn take_what_waits(server: &ServerUnderTest, account: &Account) -> Result<(), Failure> {
    let client = client(server, account)?.build().await?;
    let _reader = client.messages();
    client.connect().await?;
    // They come behind the presence that is sent at a login; with the second answer they have been taken, and acknowledged.
    for _ in 0..2 {
        client.iq_get(None, &Roster { ver: None, items: Vec::new() }).await?;
    }
    client.close().await;
    Ok(())
}

async fn register(server: &ServerUnderTest, account: &Account) -> Result<(), Failure> {
    let mut stream = RawStream::starttls(&server.host, server.port, &account.domain, &server.trust).await?;
    stream.open().await?;
    stream.register(&account.name, &account.password).await
}

pub(crate) const TOO_FEW: Result<Outcome, Failure> = Ok(Outcome::Skipped("too few accounts are given"));

async fn a_login_by_starttls(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let client = client(server, &account)?.resource("here").build().await?;
    client.connect().await?;
    let jid = client.jid().ok_or("online without an address")?;
    assert_eq!((jid.to_bare().to_string(), jid.resource().as_str()), (account.jid(), "here"));
    if let Some(expected) = server.mechanism {
        assert_eq!(client.mechanism().as_deref(), Some(expected));
    }
    client.close().await;
    Ok(Outcome::Passed)
}

async fn a_login_by_direct_tls(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some(port) = server.direct_tls_port else { return Ok(Outcome::Skipped("no port for direct TLS is known")) };
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let client = client(server, &account)?.server(server.host.as_str(), port, TlsMode::Direct).build().await?;
    client.connect().await?;
    if let Some(expected) = server.mechanism {
        assert_eq!(client.mechanism().as_deref(), Some(expected));
    }
    client.close().await;
    Ok(Outcome::Passed)
}

/// Where the tests set the server up, its two domains offer different mechanisms.
async fn a_login_in_the_second_domain(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some((domain, mechanism)) = server.second_domain.clone() else {
        return Ok(Outcome::Skipped("no second domain is known"));
    };
    let account = Account { domain, ..server.fresh_account() };
    register(server, &account).await?;
    let client = client(server, &account)?.build().await?;
    client.connect().await?;
    assert_eq!(client.mechanism().as_deref(), Some(mechanism));
    client.close().await;
    Ok(Outcome::Passed)
}

async fn a_wrong_password_is_not_authorized_and_final(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let client = client(server, &account)?.password("wrong").build().await?;
    // A server that came to retry would wait here until the case's time is up.
    let Err(error) = client.connect().keep_trying().await else { return Err("a wrong password was accepted".into()) };
    assert_eq!(error.kind(), &ErrorKind::Auth(AuthError::NotAuthorized), "{error}");
    assert!(client.state().is_stopped());
    Ok(Outcome::Passed)
}

async fn a_request_is_answered(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let client = client(server, &account)?.build().await?;
    client.connect().await?;
    let reply = client.iq_get(None, &Roster { ver: None, items: Vec::new() }).await?;
    let roster: Roster = reply.payload()?;
    assert!(!server.registers() || roster.items.is_empty(), "{roster:?}");
    client.close().await;
    Ok(Outcome::Passed)
}

/// A chat message's text.
#[derive(Clone)]
struct Text(String);

impl Event for Text {
    fn route() -> Route {
        Route::message().payload("jabber:client", "body")
    }

    fn from_inbound(inbound: &Inbound, _: &WeakClient) -> Option<Self> {
        Some(Self(inbound.stanza().child_text("jabber:client", "body")?.into_owned()))
    }
}

async fn messages_arrive_in_order(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([sender, receiver]) = accounts(server).await? else { return TOO_FEW };
    let receiving = client(server, &receiver)?.build().await?;
    let mut texts = receiving.subscribe::<Text>().events();
    receiving.connect().await?;
    let sending = client(server, &sender)?.build().await?;
    sending.connect().await?;
    let to = jid::Jid::from(receiving.jid().ok_or("online without an address")?);
    let expected: Vec<_> = (0..20).map(|n| format!("{n}: <&> é \u{1F600}")).collect();
    for text in &expected {
        let mut message = Message::chat(to.clone());
        message.bodies.insert(Lang::default(), text.clone());
        sending.send(message).await?;
    }
    for text in expected {
        let Some(arrived) = texts.next().await else { return Err("the subscription ended".into()) };
        assert_eq!(arrived.0, text);
    }
    sending.close().await;
    receiving.close().await;
    Ok(Outcome::Passed)
}
