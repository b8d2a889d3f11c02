//! Every way a login can fail: its kind, its phase, its deadline, and whether it is tried again (R15, C3).
//!
//! Each cause is met three times: once by `connect`, for the error it gives and the time that takes, and then under `start`,
//! where connections are counted: what stops makes one, what retries makes another one.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use xmppkit::client::{Client, ClientBuilder, Deadlines, Reconnect, State, Timeouts, TlsMode};
use xmppkit::connection::{Connector, Target, TcpConnector, Transport};
use xmppkit::error::{AuthError, Error, ErrorKind, Phase, StanzaError, StanzaErrorType, StreamError};
use xmppkit::register::Registers;
use xmppkit::testing::{CertificateKind, Field, Mechanism, Misbehaviour, Registration, Server};

use crate::common::{DOMAIN, builder, server, within};
use crate::connection::dns_server::{DnsServer, Zone};

/// The deadline of a phase in which the server says nothing.
const DEADLINE: Duration = Duration::from_millis(600);
/// What a loaded machine may add to it.
const SLACK: Duration = Duration::from_secs(12);
/// Every other deadline: what is found within [`SLACK`] was not found because one of these passed.
const NEVER: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Stops,
    Retries,
}

/// What is expected of one cause.
struct Row {
    cause: &'static str,
    /// The kind, as text: `Auth(NotAuthorized)`.
    kind: &'static str,
    /// The phase it is found in, where the kind names one.
    phase: Option<Phase>,
    /// The phase's deadline in seconds, by default, where the cause is found only when that passes; 0: it is found at once.
    deadline: u64,
    then: Then,
}

impl Row {
    fn registers(&self) -> bool {
        self.cause.contains("registration")
    }
}

const fn row(cause: &'static str, kind: &'static str, phase: Option<Phase>, deadline: u64, then: Then) -> Row {
    Row { cause, kind, phase, deadline, then }
}

/// The table.
const TABLE: &[Row] = &[
    row("wrong password", "Auth(NotAuthorized)", None, 0, Then::Stops),
    row("unknown host", "Connect(UnknownHost)", None, 0, Then::Retries),
    row("a name that is none", "Connect(InvalidName)", None, 0, Then::Stops),
    row("refused port", "Connect(Refused)", None, 0, Then::Retries),
    row("no TLS offered", "Tls(NotOffered)", None, 0, Then::Stops),
    row("STARTTLS refused", "Tls(StartTlsRefused)", None, 0, Then::Retries),
    row("garbage for TLS", "Tls(HandshakeFailed)", None, 0, Then::Retries),
    row("self-signed certificate", "Certificate(UnknownIssuer)", None, 0, Then::Stops),
    row("certificate for another name", "Certificate(WrongName)", None, 0, Then::Stops),
    row("expired certificate", "Certificate(Expired)", None, 0, Then::Stops),
    row("not the pinned certificate", "Certificate(NotPinned)", None, 0, Then::Stops),
    row("no common mechanism", "Auth(NoMechanism)", None, 0, Then::Stops),
    row("forged success", "Auth(SuccessBeforeProof)", None, 0, Then::Stops),
    row("wrong server signature", "Auth(WrongServerSignature)", None, 0, Then::Stops),
    row("wrong nonce", "Auth(WrongNonce)", None, 0, Then::Stops),
    row("malformed challenge", "Auth(Malformed)", None, 0, Then::Stops),
    row("iteration count too low", "Auth(IterationsTooLow)", None, 0, Then::Stops),
    row("iteration count too high", "Auth(IterationsTooHigh)", None, 0, Then::Stops),
    row("account-disabled", "Auth(AccountDisabled)", None, 0, Then::Stops),
    row("credentials-expired", "Auth(CredentialsExpired)", None, 0, Then::Stops),
    row("encryption-required", "Auth(EncryptionRequired)", None, 0, Then::Stops),
    row("invalid-authzid", "Auth(InvalidAuthzid)", None, 0, Then::Stops),
    row("temporary-auth-failure", "Auth(TemporaryFailure)", None, 0, Then::Retries),
    row("another SASL failure", "Auth(Refused \"mechanism-too-weak\")", None, 0, Then::Stops),
    row("registration conflict", "Register(Conflict)", None, 0, Then::Stops),
    row("registration not offered", "Register(NotOffered)", None, 0, Then::Stops),
    row("registration not allowed", "Register(NotAllowed)", None, 0, Then::Stops),
    row("registration elsewhere", "Register(OutOfBand)", None, 0, Then::Stops),
    row("registration wants more", "Register(FormRequired)", None, 0, Then::Stops),
    row("registration too soon", "Register(TooSoon)", None, 0, Then::Retries),
    row("silent at registration", "Timeout", Some(Phase::Register), 30, Then::Retries),
    row("closes at registration", "Register(Closed)", None, 0, Then::Retries),
    row("bind refused", "Bind(not-allowed)", None, 0, Then::Stops),
    row("another account bound", "Protocol(InvalidBinding)", None, 0, Then::Stops),
    row("silent after accept", "Timeout", Some(Phase::Header), 15, Then::Retries),
    row("silent instead of features", "Timeout", Some(Phase::Features), 15, Then::Retries),
    row("silent at STARTTLS", "Timeout", Some(Phase::StartTls), 15, Then::Retries),
    row("silent in the handshake", "Timeout", Some(Phase::TlsHandshake), 10, Then::Retries),
    row("silent at authentication", "Timeout", Some(Phase::Auth), 30, Then::Retries),
    row("silent at bind", "Timeout", Some(Phase::Bind), 20, Then::Retries),
    row("closes after accept", "Closed", Some(Phase::Header), 0, Then::Retries),
    row("closes instead of features", "Closed", Some(Phase::Features), 0, Then::Retries),
    row("closes at STARTTLS", "Closed", Some(Phase::StartTls), 0, Then::Retries),
    row("closes in the handshake", "Closed", Some(Phase::TlsHandshake), 0, Then::Retries),
    row("closes at authentication", "Closed", Some(Phase::Auth), 0, Then::Retries),
    row("closes at bind", "Closed", Some(Phase::Bind), 0, Then::Retries),
    row("host-unknown", "Stream(host-unknown)", None, 0, Then::Stops),
    row("not-authorized as a stream error", "Stream(not-authorized)", None, 0, Then::Stops),
    row("conflict", "Stream(conflict)", None, 0, Then::Stops),
    row("unsupported-version", "Stream(unsupported-version)", None, 0, Then::Stops),
    row("system-shutdown", "Stream(system-shutdown)", None, 0, Then::Retries),
    row("reset", "Stream(reset)", None, 0, Then::Retries),
    row("connection-timeout", "Stream(connection-timeout)", None, 0, Then::Retries),
    row("remote-connection-failed", "Stream(remote-connection-failed)", None, 0, Then::Retries),
    row("internal-server-error", "Stream(internal-server-error)", None, 0, Then::Retries),
    row("policy-violation", "Stream(policy-violation)", None, 0, Then::Retries),
    row("resource-constraint", "Stream(resource-constraint)", None, 0, Then::Retries),
    row("a condition nobody knows", "Stream(example-condition)", None, 0, Then::Retries),
    row("no XML", "Protocol(NotWellFormed)", None, 0, Then::Retries),
    row("a DTD", "Protocol(RestrictedXml)", None, 0, Then::Retries),
    row("another namespace", "Protocol(InvalidNamespace)", None, 0, Then::Stops),
    row("an old version", "Protocol(UnsupportedVersion)", None, 0, Then::Stops),
];

/// A cause that is about to happen.
struct Bench {
    _server: Server,
    /// What else must be there meanwhile.
    _others: Option<Box<dyn Any>>,
    client: ClientBuilder,
}

/// What makes each cause happen.
async fn provoke(cause: &str) -> Bench {
    let start = |builder: xmppkit::testing::Builder| async move { builder.start().await.expect("a server") };
    let bad = |misbehaviour: Misbehaviour| start(server().misbehave(misbehaviour));
    let server = match cause {
        "no TLS offered" => bad(Misbehaviour::StripTls).await,
        "STARTTLS refused" => bad(Misbehaviour::RefuseStartTls).await,
        "garbage for TLS" => bad(Misbehaviour::TlsGarbage).await,
        "self-signed certificate" => start(server().certificate(CertificateKind::SelfSigned)).await,
        "certificate for another name" => start(server().certificate(CertificateKind::WrongName)).await,
        "expired certificate" => start(server().certificate(CertificateKind::Expired)).await,
        "no common mechanism" => start(server().mechanisms([Mechanism::Other("X-STRANGE".into())])).await,
        "forged success" => bad(Misbehaviour::ForgedSuccess).await,
        "wrong server signature" => bad(Misbehaviour::WrongServerSignature).await,
        "wrong nonce" => bad(Misbehaviour::WrongNonce).await,
        "malformed challenge" => bad(Misbehaviour::MalformedChallenge).await,
        "iteration count too low" => bad(Misbehaviour::IterationsTooLow).await,
        "iteration count too high" => bad(Misbehaviour::IterationsTooHigh).await,
        "account-disabled" | "credentials-expired" | "encryption-required" | "invalid-authzid" | "temporary-auth-failure" => {
            bad(Misbehaviour::AuthFailure(cause.into())).await
        }
        "another SASL failure" => bad(Misbehaviour::AuthFailure("mechanism-too-weak".into())).await,
        "registration not offered" => start(server().registration(Registration::Closed)).await,
        "registration not allowed" => {
            start(server().registration_error(StanzaError::new(StanzaErrorType::Cancel, "not-allowed"))).await
        }
        "registration elsewhere" => {
            start(server().registration(Registration::OutOfBand("https://example.org/join".into()))).await
        }
        "registration wants more" => start(server().registration(Registration::Form(vec![Field::new("email").required()]))).await,
        "registration too soon" => {
            start(server().registration_error(StanzaError::new(StanzaErrorType::Wait, "resource-constraint"))).await
        }
        "silent at registration" => bad(Misbehaviour::SilentIn(Phase::Register)).await,
        "closes at registration" => bad(Misbehaviour::CloseIn(Phase::Register)).await,
        "bind refused" => bad(Misbehaviour::RefuseBind("not-allowed".into())).await,
        "another account bound" => bad(Misbehaviour::BindOtherAccount).await,
        "silent after accept" => bad(Misbehaviour::SilentIn(Phase::Header)).await,
        "silent instead of features" => bad(Misbehaviour::SilentIn(Phase::Features)).await,
        "silent at STARTTLS" => bad(Misbehaviour::SilentIn(Phase::StartTls)).await,
        "silent in the handshake" => bad(Misbehaviour::SilentIn(Phase::TlsHandshake)).await,
        "silent at authentication" => bad(Misbehaviour::SilentIn(Phase::Auth)).await,
        "silent at bind" => bad(Misbehaviour::SilentIn(Phase::Bind)).await,
        "closes after accept" => bad(Misbehaviour::CloseIn(Phase::Header)).await,
        "closes instead of features" => bad(Misbehaviour::CloseIn(Phase::Features)).await,
        "closes at STARTTLS" => bad(Misbehaviour::CloseIn(Phase::StartTls)).await,
        "closes in the handshake" => bad(Misbehaviour::CloseIn(Phase::TlsHandshake)).await,
        "closes at authentication" => bad(Misbehaviour::CloseIn(Phase::Auth)).await,
        "closes at bind" => bad(Misbehaviour::CloseIn(Phase::Bind)).await,
        "not-authorized as a stream error" => bad(Misbehaviour::StreamErrorIn(Phase::Features, "not-authorized".into())).await,
        "a condition nobody knows" => bad(Misbehaviour::StreamErrorIn(Phase::Features, "example-condition".into())).await,
        "host-unknown"
        | "conflict"
        | "unsupported-version"
        | "system-shutdown"
        | "reset"
        | "connection-timeout"
        | "remote-connection-failed"
        | "internal-server-error"
        | "policy-violation"
        | "resource-constraint" => bad(Misbehaviour::StreamErrorIn(Phase::Features, cause.into())).await,
        "no XML" => bad(Misbehaviour::SendIn(Phase::Header, "HTTP/1.1 400 Bad Request\r\n\r\n".into())).await,
        "a DTD" => bad(Misbehaviour::SendIn(Phase::Header, "<?xml version='1.0'?><!DOCTYPE stream>".into())).await,
        "another namespace" => bad(Misbehaviour::SendIn(Phase::Header, header("jabber:server", "1.0"))).await,
        "an old version" => bad(Misbehaviour::SendIn(Phase::Header, header("jabber:client", "0.9"))).await,
        _ => start(server()).await,
    };
    let name = if cause.contains("registration") && cause != "registration conflict" { "mercutio" } else { "romeo" };
    let mut client = builder(&server, name);
    let mut others: Option<Box<dyn Any>> = None;
    match cause {
        "wrong password" => client = client.password("wrong"),
        "unknown host" => {
            let dns = DnsServer::start(Zone::new()).await;
            client = client.server("no-such-host.example", 5222, TlsMode::StartTls).nameservers([dns.address]);
            others = Some(Box::new(dns));
        }
        "a name that is none" => client = client.server("no such host", 5222, TlsMode::StartTls),
        "refused port" => {
            let (socket, port) = closed_port();
            client = client.server("127.0.0.1", port, TlsMode::StartTls);
            others = Some(Box::new(socket));
        }
        "not the pinned certificate" => client = client.trust(xmppkit::client::Trust::pin([7; 32])),
        _ => {}
    }
    Bench { _server: server, _others: others, client }
}

fn header(ns: &str, version: &str) -> String {
    format!(
        "<stream:stream xmlns='{ns}' xmlns:stream='http://etherx.jabber.org/streams' from='{DOMAIN}' id='1' version='{version}'>"
    )
}

/// A port that refuses, and that nobody else gets while the socket is held.
fn closed_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let port = socket.local_addr().expect("an address").port();
    (socket, port)
}

/// Counts the connections that are tried.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Connector for Counting {
    fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        TcpConnector.connect(target)
    }
}

/// A short deadline for the phase in which the server is to be silent, and no other.
fn deadlines(row: &Row) -> (Deadlines, Timeouts) {
    let mut deadlines = Deadlines::default().header(NEVER).features(NEVER).start_tls(NEVER).tls_handshake(NEVER);
    deadlines = deadlines.register(NEVER).auth(NEVER).bind(NEVER);
    let mut timeouts = Timeouts::default().resolve(NEVER).attempt(NEVER).tls_handshake(NEVER).total(NEVER);
    if let Some(phase) = row.phase.filter(|_| row.deadline > 0) {
        *deadline_of(phase, &mut deadlines, &mut timeouts) = DEADLINE;
    }
    (deadlines, timeouts)
}

fn deadline_of<'a>(phase: Phase, deadlines: &'a mut Deadlines, timeouts: &'a mut Timeouts) -> &'a mut Duration {
    match phase {
        Phase::Header => &mut deadlines.header,
        Phase::Features => &mut deadlines.features,
        Phase::StartTls => &mut deadlines.start_tls,
        Phase::TlsHandshake => &mut timeouts.tls_handshake,
        Phase::Register => &mut deadlines.register,
        Phase::Auth => &mut deadlines.auth,
        Phase::Bind => &mut deadlines.bind,
        other => panic!("{other:?} has no deadline of its own"),
    }
}

/// The kind as the table writes it, and the phase it names.
fn describe(error: &Error) -> (String, Option<Phase>) {
    match error.kind() {
        ErrorKind::Auth(AuthError::Refused(condition)) => (format!("Auth(Refused {condition:?})"), None),
        ErrorKind::Auth(auth) => (format!("Auth({})", first_word(&format!("{auth:?}"))), None),
        ErrorKind::Connect(connect) => (format!("Connect({:?})", connect.reason), None),
        ErrorKind::Tls(tls) => (format!("Tls({tls:?})"), None),
        ErrorKind::Certificate(certificate) => (format!("Certificate({})", first_word(&format!("{:?}", certificate.kind))), None),
        ErrorKind::Stream(StreamError { condition, .. }) => (format!("Stream({condition})"), None),
        ErrorKind::Register(register) => (format!("Register({})", first_word(&format!("{register:?}"))), None),
        ErrorKind::Bind(stanza) => (format!("Bind({})", stanza.condition), None),
        ErrorKind::Protocol(protocol) => (format!("Protocol({protocol:?})"), None),
        ErrorKind::Timeout(phase) => ("Timeout".into(), Some(*phase)),
        ErrorKind::Closed(phase) => ("Closed".into(), Some(*phase)),
        other => (format!("{other:?}"), None),
    }
}

fn first_word(text: &str) -> &str {
    text.split([' ', '(', '{']).next().unwrap_or(text)
}

async fn try_row(row: &Row) -> Result<(), String> {
    let bench = provoke(row.cause).await;
    let (deadlines, timeouts) = deadlines(row);
    let connections = Arc::new(Counting::default());
    let pace = Duration::from_millis(1);
    let client = bench.client.deadlines(deadlines).timeouts(timeouts).connector(Arc::clone(&connections) as Arc<dyn Connector>);
    let client = client.reconnect(Reconnect::default().base(pace).cap(pace).overload(pace));
    let client: Client = client.build().await.map_err(|error| error.to_string())?;

    let began = Instant::now();
    let error = one_attempt(row, &client).await?;
    let took = began.elapsed();
    let (kind, phase) = describe(&error);
    let then = match client.state() {
        State::Failed(_) => Then::Stops,
        State::Offline { last: Some(_), .. } => Then::Retries,
        other => return Err(format!("{}: ended in {other:?}", row.cause)),
    };
    let waited = took >= DEADLINE;
    if (kind.as_str(), phase, then) != (row.kind, row.phase, row.then) || (row.deadline > 0 && !waited) {
        return Err(format!("{}: {kind} {phase:?} {then:?} after {took:?}: {error}", row.cause));
    }
    if error.is_retryable() != (then == Then::Retries) {
        return Err(format!("{}: is_retryable() disagrees with what happened", row.cause));
    }

    let (then, made) = what_follows(row, &client, &connections).await?;
    let expected = match row.then {
        Then::Stops => connections_of_one_attempt(row),
        Then::Retries => 2 * connections_of_one_attempt(row),
    };
    if (then, made) != (row.then, expected) {
        return Err(format!("{}: {then:?} after {made} connections instead of {expected}", row.cause));
    }
    Ok(())
}

/// Connects or registers, which must fail within the row's deadline.
async fn one_attempt(row: &Row, client: &Client) -> Result<Error, String> {
    let limit = if row.deadline > 0 { DEADLINE + SLACK } else { SLACK };
    let attempt = if row.registers() { client.register().into_future() } else { client.connect().into_future() };
    match tokio::time::timeout(limit, attempt).await {
        Ok(Ok(())) => Err(format!("{}: it went online", row.cause)),
        Ok(Err(error)) => Ok(error),
        Err(_) => Err(format!("{}: no error within {limit:?}", row.cause)),
    }
}

/// What a client does that nobody stops, and how many connections that made: until it fails for good, or until a second
/// attempt has failed too. A registration is one attempt by itself, and again when it is asked for again.
async fn what_follows(row: &Row, client: &Client, connections: &Counting) -> Result<(Then, usize), String> {
    let before = connections.count();
    if row.registers() {
        let repeated = if row.then == Then::Retries { 2 } else { 1 };
        for _ in 0..repeated {
            one_attempt(row, client).await?;
        }
        return Ok((row.then, connections.count() - before));
    }
    client.start();
    let mut states = client.states();
    within(row.cause, async {
        while let Some(state) = states.next().await {
            match state {
                State::Failed(_) => return Ok((Then::Stops, connections.count() - before)),
                State::Connecting { attempt: 3, .. } => return Ok((Then::Retries, connections.count() - before)),
                _ => {}
            }
        }
        Err(format!("{}: the states ended", row.cause))
    })
    .await
}

/// A refused certificate is looked at once more, to be shown; a host without an address is not connected to.
fn connections_of_one_attempt(row: &Row) -> usize {
    match row.kind {
        "Connect(UnknownHost)" | "Connect(InvalidName)" => 0,
        "Certificate(UnknownIssuer)" | "Certificate(WrongName)" | "Certificate(Expired)" => 2,
        _ => 1,
    }
}

#[tokio::test]
async fn every_cause_gives_its_own_error_within_its_deadline_and_stops_or_retries_as_the_table_says() {
    let wrong: Vec<String> =
        futures::stream::iter(TABLE).map(try_row).buffer_unordered(6).filter_map(|result| async { result.err() }).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The deadlines that the table lists are those a client has that was told none. Each is met in simulated time: the core's in
/// `src/stream/tests/deadlines.rs`, that of the handshake in `tests/it/connection/tls.rs`. Here a shorter one is met with a socket.
#[test]
fn the_deadlines_of_the_table_are_the_defaults() {
    let (mut deadlines, mut timeouts) = (Deadlines::default(), Timeouts::default());
    for row in TABLE.iter().filter(|row| row.deadline > 0) {
        let phase = row.phase.expect("a phase");
        let default = *deadline_of(phase, &mut deadlines, &mut timeouts);
        assert_eq!(default, Duration::from_secs(row.deadline), "{}", row.cause);
    }
}

#[test]
fn no_two_causes_share_kind_and_reason() {
    let mut seen = BTreeMap::new();
    for row in TABLE {
        if let Some(other) = seen.insert((row.kind, row.phase.map(|phase| format!("{phase:?}"))), row.cause) {
            panic!("{} and {other} give the same error {}", row.cause, row.kind);
        }
    }
}

/// A wrong password is not tried again and again: one connection, one attempt.
#[tokio::test]
async fn a_final_error_is_not_retried_even_with_start() {
    let server = server().start().await.expect("a server");
    let client = builder(&server, "romeo").password("wrong").build().await.expect("a client");
    let mut states = client.states();
    client.start();
    let failed = within("the failure", async {
        loop {
            if let Some(State::Failed(error)) = states.next().await {
                return error;
            }
        }
    })
    .await;
    assert!(failed.is_auth(), "{failed}");
    assert_eq!(server.counters().connections, 1);
}

/// The stream errors of the table, on a stream that was online.
#[tokio::test]
async fn what_ends_a_session_stops_or_is_tried_again_as_the_table_says() {
    let pace = Duration::from_millis(1);
    let pace = Reconnect::default().base(pace).cap(pace).overload(pace);
    let conditions = TABLE.iter().filter_map(|row| Some((row.kind.strip_prefix("Stream(")?.strip_suffix(')')?, row.then)));
    for (condition, expected) in conditions {
        let server = server().start().await.expect("a server");
        let client = builder(&server, "romeo").reconnect(pace).build().await.expect("a client");
        client.connect().await.expect("online");
        let mut states = client.states();
        assert_eq!(server.kick(client.account(), condition), 1);
        let (then, error) = within(condition, async {
            loop {
                match states.next().await.expect("a state") {
                    State::Waiting { cause, .. } => return (Then::Retries, cause),
                    State::Failed(error) => return (Then::Stops, error),
                    _ => {}
                }
            }
        })
        .await;
        assert_eq!(then, expected, "{condition}");
        assert!(matches!(error.kind(), ErrorKind::Stream(error) if error.condition == condition), "{condition}: {error}");
        if then == Then::Retries {
            within(condition, async { while !states.next().await.is_some_and(|state| state.is_online()) {} }).await;
        }
        client.close().await;
    }
}

#[tokio::test]
async fn an_overload_waits_longer_and_stops_when_it_ends_three_short_sessions() {
    let overload = Duration::from_secs(3600);
    let pace = Reconnect::default().base(Duration::from_millis(1)).cap(Duration::from_millis(1)).overload(overload);
    for condition in ["policy-violation", "resource-constraint"] {
        // Without stream management nothing is suspected of having caused it (R7).
        let server = server().no_stream_management().start().await.expect("a server");
        let client = builder(&server, "romeo").reconnect(pace).build().await.expect("a client");
        client.connect().await.expect("online");
        let mut states = client.states();
        assert!(states.next().await.is_some_and(|state| state.is_online()));
        for _ in 0..2 {
            server.kick(client.account(), condition);
            let Some(State::Waiting { until, .. }) = within(condition, states.next()).await else { panic!("it does not wait") };
            assert!(until.saturating_duration_since(Instant::now()) > overload / 2, "{condition}: the wait is long");
            client.network_changed();
            within(condition, async { while !states.next().await.is_some_and(|state| state.is_online()) {} }).await;
        }
        server.kick(client.account(), condition);
        let Some(State::Failed(error)) = within(condition, states.next()).await else { panic!("it goes on") };
        assert!(matches!(error.kind(), ErrorKind::Stream(error) if error.condition == condition), "{error}");
        assert_eq!(server.counters().connections, 3, "{condition}");
    }
}
