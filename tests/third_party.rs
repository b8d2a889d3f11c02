//! Extensions written as a foreign crate would write them: only public items, every door there is (`tests/layering.rs` looks).
//!
//! What is not here has no public door yet: stream features, nonzas and inline children of the negotiation.
//!
//! Nothing is waited for without a deadline: requests and logins have their own, streams are read by [`next`].

#![allow(unused_qualifications, reason = "a foreign crate has only what xmppkit re-exports")]

#[path = "third_party/ledger.rs"]
mod ledger;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt};
use tokio::sync::Notify;
use xmppkit::archive::ArchiveSettings;
use xmppkit::client::{Client, State, TlsMode, Trust, WeakClient};
use xmppkit::error::{BuildError, ErrorKind, Result, StanzaErrorType};
use xmppkit::event::{Event, Inbound, Incoming, Malformed, Origin, Route};
use xmppkit::ext::{
    Answer, BoxFuture, Ctx, Extension, Fetched, Intake, IqRequest, Observable, Observe, Position, Registrar, SessionKind,
    inbound, outbound,
};
use xmppkit::jid::{BareJid, Jid};
use xmppkit::messaging::ChatMessage;
use xmppkit::minidom::Element;
use xmppkit::store::{ArchiveCursor, ArchiveId, Batch, Change, Feed, GapKind, GapRecord, IdentityKey, MemoryStore, Store};
use xmppkit::testing::Server;
use xmppkit::xml::{Frame, Stanza};
use xmppkit::xmpp_parsers::message::Message;
use xmppkit::xmpp_parsers::presence::Presence;
use xmppkit::xso::{AsXml, FromXml};

const NS: &str = "urn:example:dice";
const ROWS: &str = "urn:example:dice:rows";

/// A throw that is asked for, and the throw itself.
#[derive(FromXml, AsXml, Debug, Clone, PartialEq)]
#[xml(namespace = NS, name = "throw")]
struct Throw {
    #[xml(attribute)]
    sides: u32,
}

/// The rules of the game, by name and not by type: they are asked for and laid down.
fn rules(text: &str) -> Element {
    Element::builder("rules", NS).append(text).build()
}

/// What rides on messages.
#[derive(FromXml, AsXml, Debug, Clone)]
#[xml(namespace = NS, name = "luck")]
struct Luck {
    #[xml(attribute)]
    value: u32,
}

/// What rides on presence.
#[derive(FromXml, AsXml, Debug, Clone)]
#[xml(namespace = NS, name = "mood")]
struct Mood {
    #[xml(attribute)]
    value: u32,
}

/// A message that carries luck.
#[derive(Debug, Clone)]
struct Lucky {
    from: Option<Jid>,
    value: u32,
    cursed: bool,
}

impl Event for Lucky {
    fn route() -> Route {
        Route::message().payload(NS, "luck")
    }

    fn from_inbound(inbound: &Inbound, _client: &WeakClient) -> Option<Self> {
        let luck: Luck = inbound.stanza().payload().ok()??;
        let cursed = inbound.stanza().child(NS, "curse").is_some();
        Some(Self { from: inbound.stanza().from_jid().cloned(), value: luck.value, cursed })
    }
}

/// What players hand to one another; the extension sees to it alone unless somebody looks.
#[derive(Debug, Clone)]
struct Chip(String);

impl Event for Chip {
    fn route() -> Route {
        Route::message().payload(NS, "chip")
    }

    fn from_inbound(inbound: &Inbound, _client: &WeakClient) -> Option<Self> {
        inbound.stanza().child_text(NS, "chip").map(|text| Self(text.into_owned()))
    }
}

/// Reported by the extension, not read from a stanza.
#[derive(Debug, Clone, PartialEq)]
struct MoodSwing(u32);

impl Event for MoodSwing {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Moods(Vec<u32>);

impl Observe for Moods {
    type Change = u32;

    fn apply(&mut self, change: &u32) {
        self.0.push(*change);
    }
}

/// How lucky one is by default; applications may set another value.
#[derive(Debug, Clone, PartialEq)]
struct Luckiness(u32);

struct Base;

impl Extension for Base {
    fn register(&self, _: &mut Registrar<'_>) {}

    fn registers_alike(&self) -> bool {
        true
    }

    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { cx.ext::<Dice>().ok_or(ErrorKind::ExtensionMissing("Dice"))?.note("base: before presence") })
    }
}

#[derive(Default)]
struct Dice {
    log: Mutex<Vec<String>>,
    moods: Option<Observable<Moods>>,
    handled: Arc<Notify>,
}

impl Dice {
    fn new() -> Self {
        Self { moods: Some(Observable::new(Moods::default())), ..Self::default() }
    }

    fn note(&self, what: impl Into<String>) -> Result<()> {
        self.log.lock().expect("log").push(what.into());
        Ok(())
    }

    fn noted(&self) -> Vec<String> {
        self.log.lock().expect("log").clone()
    }
}

impl Extension for Dice {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.requires::<Base>();
        reg.feature(NS);
        reg.identity("gaming", "dice", "Dice");
        reg.node("urn:example:dice#rules", ["urn:example:dice#fair"]);
        reg.form_field("urn:example:dice#form", "sides", ["6", "20"]);
        reg.pep_interest("urn:example:dice#throws");
        reg.setting(Luckiness(1));
        reg.store_namespace(ROWS, 2, |from, rows| {
            // Version 1 called it "throw".
            let rename = |(key, value)| (if from == 1 && key == "throw" { "last".to_owned() } else { key }, value);
            Ok(rows.into_iter().map(rename).collect())
        });

        reg.on_iq_get(|request: IqRequest<Throw>, _cx: Ctx| async move {
            if request.payload().sides == 0 {
                return Err(xmppkit::error::StanzaError::new(StanzaErrorType::Modify, "not-acceptable").into());
            }
            Answer::payload(&Throw { sides: request.payload().sides })
        });
        reg.on_iq_set(|request: IqRequest<Throw>, cx: Ctx| async move {
            cx.rows(ROWS).put("last", request.payload().sides.to_string()).await?;
            Ok(Answer::empty())
        });
        reg.on_iq_get_named(NS, "rules", |_request, cx: Ctx| async move {
            let kept = cx.rows(ROWS).get("rules").await?.unwrap_or_default();
            Ok(Answer::element(rules(&String::from_utf8_lossy(&kept))))
        });
        reg.on_iq_set_named(NS, "rules", |request, cx: Ctx| async move {
            let text = request.stanza().child_text(NS, "rules").unwrap_or_default().into_owned();
            cx.rows(ROWS).put("rules", text).await?;
            Ok(Answer::empty())
        });

        reg.inbound_stage("dice:derive", Position::After(inbound::DERIVE), |draft, _cx| {
            if let Ok(Some(luck)) = draft.stanza().payload::<Luck>() {
                if luck.value == 13 {
                    draft.discard("unlucky");
                }
                draft.put(ROWS, "luck", luck.value.to_string());
            }
            draft.remove_payload(NS, "curse");
        });
        reg.outbound_stage("dice:luck", Position::Before(outbound::ENCRYPT), |mut draft, cx| async move {
            let luckiness = cx.setting::<Luckiness>().map_or(0, |luckiness| luckiness.0);
            if draft.payload::<Luck>()?.is_none() {
                draft.add_payload(&Luck { value: luckiness })?;
            }
            Ok(draft)
        });
        // What is wished for is not told.
        let tells_a_wish = |message: &Stanza| message.child(NS, "wish").is_some();
        reg.outbound_stage_for("dice:wish", Position::After(outbound::ENCRYPT), tells_a_wish, |mut draft, _cx| async move {
            draft.message.payloads.retain(|payload| !payload.is("wish", NS));
            Ok(draft)
        });
        reg.own_presence(|presence: &mut Presence, _cx| {
            presence.payloads.extend(xmppkit::xso::transform(&Mood { value: 7 }));
        });
        reg.on_presence(|mood: Mood, _inbound, cx| {
            if let Some(dice) = cx.ext::<Self>()
                && let Some(moods) = &dice.moods
            {
                moods.change(mood.value);
            }
            cx.emit(MoodSwing(mood.value));
        });
        reg.on_message(|_luck: Luck, _inbound, cx| {
            if let Some(dice) = cx.ext::<Self>() {
                let _ = dice.note("looked at luck");
            }
        });
        reg.on_route(Route::message().payload(NS, "luck"), |_inbound, cx| {
            if let Some(dice) = cx.ext_ref::<Self>() {
                let _ = dice.note("saw the route");
            }
        });
        reg.claim(Chip::route());
        let handled = Arc::clone(&self.handled);
        reg.on(move |_lucky: Lucky, _cx: Ctx| {
            let handled = Arc::clone(&handled);
            async move { handled.notify_one() }
        });
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let last = cx.rows(ROWS).get("last").await?.map(|last| String::from_utf8_lossy(&last).into_owned());
            self.note(format!("opened, last throw {}", last.as_deref().unwrap_or("none")))
        })
    }

    fn before_presence<'a>(&'a self, _cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.note("before presence") })
    }

    fn session<'a>(&'a self, _cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.note(format!("session: {kind:?}")) })
    }

    fn session_lost(&self, _cx: &Ctx) {
        let _ = self.note("session lost");
    }

    fn closing<'a>(&'a self, _cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.note("closing") })
    }
}

/// The longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A wait that ends with a word instead of hanging.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// The next item of a stream that must not end.
async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    let what = std::any::type_name::<S::Item>();
    within(what, stream.next()).await.unwrap_or_else(|| panic!("the stream of {what} ended"))
}

async fn client(server: &Server, name: &str, luckiness: Option<u32>) -> Client {
    let account = format!("{name}@{}", server.domain()).parse().expect("a JID");
    let mut builder = Client::builder(account)
        .password("secret")
        .server(server.address().ip().to_string(), server.address().port(), TlsMode::StartTls)
        .trust(Trust::only_ca(server.ca_pem()).expect("the server's CA"))
        .with(Dice::new())
        .with(Base);
    if let Some(luckiness) = luckiness {
        builder = builder.setting(Luckiness(luckiness));
    }
    builder.build().await.expect("a client")
}

async fn server() -> Server {
    Server::builder()
        .domain("example.org")
        .account("romeo", "secret")
        .account("juliet", "secret")
        .start()
        .await
        .expect("a server")
}

#[tokio::test]
async fn a_foreign_extension_uses_every_door() {
    let server = server().await;
    let romeo = client(&server, "romeo", Some(6)).await;
    let juliet = client(&server, "juliet", None).await;
    let mut lucky = juliet.subscribe::<Lucky>();
    let mut swings = juliet.subscribe::<MoodSwing>().events();
    romeo.connect().await.expect("romeo is online");
    juliet.connect().await.expect("juliet is online");
    let (romeo_jid, juliet_jid) = (romeo.jid().expect("bound"), juliet.jid().expect("bound"));

    // requests: answered, refused, stored, unknown
    let reply = romeo.iq_get(Some(juliet_jid.clone().into()), &Throw { sides: 6 }).await.expect("an answer");
    assert_eq!(reply.payload::<Throw>().expect("a throw"), Throw { sides: 6 });
    let refused = romeo.iq_get(Some(juliet_jid.clone().into()), &Throw { sides: 0 }).await.expect_err("a refusal");
    assert!(matches!(refused.kind(), ErrorKind::Stanza(error) if error.condition == "not-acceptable"), "{refused}");
    romeo.iq_set(Some(juliet_jid.clone().into()), &Throw { sides: 20 }).await.expect("an answer");
    let dice = juliet.ext::<Dice>().expect("the extension");
    let last = juliet.store().extension_row(ROWS, "last").await.expect("a read");
    assert_eq!(last.as_deref(), Some(&b"20"[..]));
    assert_eq!(juliet.store().extension_schema(ROWS).await.expect("a read"), 2);
    romeo.iq_set(Some(juliet_jid.clone().into()), &rules("high wins")).await.expect("an answer");
    let reply = romeo.iq_get(Some(juliet_jid.clone().into()), &rules("")).await.expect("an answer");
    assert_eq!(reply.payload::<Element>().expect("an element").text(), "high wins");

    // messages: the outbound stage adds luck, the inbound one derives a row and drops the unlucky
    let unlucky = xmppkit::xso::transform(&Luck { value: 13 }).expect("an element");
    romeo.send(Message::chat(Some(juliet_jid.clone().into())).with_payloads(vec![unlucky])).await.expect("accepted");
    let curse = "<curse xmlns='urn:example:dice'/>".parse().expect("an element");
    let greeting = Message::chat(Some(juliet_jid.clone().into())).with_body("".into(), "hi".to_owned());
    romeo.send(greeting.with_payloads(vec![curse])).await.expect("accepted");
    let Incoming::Item(item) = next(&mut lucky).await else { panic!("no item") };
    assert!(!item.cursed);
    assert_eq!((item.from.clone(), item.value), (Some(romeo_jid.clone().into()), 6));
    assert_eq!(juliet.store().extension_row(ROWS, "luck").await.expect("a read").as_deref(), Some(&b"6"[..]));
    assert_eq!(dice.noted().iter().filter(|line| *line == "looked at luck").count(), 1);
    assert_eq!(dice.noted().iter().filter(|line| *line == "saw the route").count(), 1);
    within("the handler", dice.handled.notified()).await;

    // presence: ours is decorated, theirs is looked at, a state is kept, an event is emitted
    let mut presence = Presence::available();
    presence.to = Some(juliet_jid.clone().into());
    let mut moods = dice.moods.as_ref().expect("moods").watch();
    romeo.send_presence(presence).await.expect("sent");
    assert_eq!(next(&mut swings).await, MoodSwing(7));
    let _reset = next(&mut moods).await;
    assert!(dice.moods.as_ref().expect("moods").with(|moods| moods.0.contains(&7)));

    // what is declared
    assert!(juliet.declared().features.contains(NS));
    assert!(juliet.declared().features.contains("urn:example:dice#throws+notify"));
    assert!(juliet.declared().identities.iter().any(|identity| identity.category == "gaming"));
    assert!(juliet.declared().nodes.contains_key("urn:example:dice#rules"));
    assert_eq!(juliet.declared().forms["urn:example:dice#form"]["sides"], ["6", "20"]);

    // the hooks, in order
    juliet.close().await;
    assert!(matches!(juliet.state(), State::Closed));
    let noted: Vec<String> = dice.noted().into_iter().filter(|line| !line.contains("luck") && !line.contains("route")).collect();
    let opened = "opened, last throw none";
    assert_eq!(noted, [opened, "base: before presence", "before presence", "session: Fresh", "closing", "session lost"]);
    romeo.close().await;
}

/// The extension as it was a release ago.
struct OldDice;

impl Extension for OldDice {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.store_namespace(ROWS, 1, |_from, rows| Ok(rows));
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { cx.rows(ROWS).put("throw", "5").await })
    }
}

#[tokio::test]
async fn rows_of_an_earlier_version_are_brought_to_this_one_before_the_extension_reads_them() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    drop(builder().store(Arc::clone(&store)).with(OldDice).build().await.expect("the old client"));
    let client = builder().store(Arc::clone(&store)).with(Base).with(Dice::new()).build().await.expect("the new client");
    assert_eq!(client.ext::<Dice>().expect("the extension").noted(), ["opened, last throw 5"]);
    assert_eq!(client.store().extension_row(ROWS, "throw").await.expect("a read"), None);
    assert_eq!(client.store().extension_schema(ROWS).await.expect("a read"), 2);
    drop(client);

    let newer = builder().store(store).with(OldDice).build().await.expect_err("rows of a later version");
    assert!(matches!(newer.kind(), ErrorKind::StoreTooNew), "{newer}");
}

#[tokio::test]
async fn what_an_extension_claims_does_not_wait_for_a_subscriber() {
    let server = server().await;
    let juliet = client(&server, "juliet", None).await;
    let mut lucky = juliet.subscribe::<Lucky>().events();
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    let send = |inside: String| {
        let xml = format!("<message from='mercutio@example.org' to='{jid}' type='chat'>{inside}</message>");
        server.send_stanza(jid.clone(), &xml).expect("delivered");
    };
    send(format!("<chip xmlns='{NS}'>claimed</chip>"));
    send(format!("<luck xmlns='{NS}' value='1'/>"));
    let _both_arrived = next(&mut lucky).await;
    let mut chips = juliet.subscribe::<Chip>().events();
    send(format!("<chip xmlns='{NS}'>asked for</chip>"));
    assert_eq!(next(&mut chips).await.0, "asked for");
    assert_eq!(juliet.dropped_messages(), 0);
    juliet.close().await;
}

#[tokio::test]
async fn a_payload_of_the_wrong_shape_is_reported_and_costs_nothing_else() {
    let server = server().await;
    let juliet = client(&server, "juliet", None).await;
    let mut malformed = juliet.subscribe::<Malformed>().events();
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    server
        .send_stanza(
            jid.clone(),
            &format!("<message from='mercutio@example.org' to='{jid}'><luck xmlns='{NS}' value='much'/></message>"),
        )
        .expect("delivered");
    let event = next(&mut malformed).await;
    assert!(matches!(event.error.kind(), ErrorKind::Payload { ns, name } if ns == NS && name == "luck"), "{}", event.error);
    assert!(juliet.state().is_online());
    juliet.close().await;
}

#[tokio::test]
async fn what_an_error_carries_back_is_shown_only_to_who_looks_at_whole_stanzas() {
    let server = server().await;
    let juliet = client(&server, "juliet", None).await;
    let mut lucky = juliet.subscribe::<Lucky>().events();
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    let luck = format!("<luck xmlns='{NS}' value='1'/>");
    for (attributes, inside) in [
        (
            "type='error'",
            format!("{luck}<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"),
        ),
        ("type='chat'", luck),
    ] {
        let xml = format!("<message from='mercutio@example.org' to='{jid}' {attributes}>{inside}</message>");
        server.send_stanza(jid.clone(), &xml).expect("delivered");
        let _luck = next(&mut lucky).await;
    }
    let noted = juliet.ext::<Dice>().expect("the extension").noted();
    assert_eq!(noted.iter().filter(|line| *line == "saw the route").count(), 2);
    assert_eq!(noted.iter().filter(|line| *line == "looked at luck").count(), 1);
    juliet.close().await;
}

/// What a stage and a consumer were told about the way of each message.
#[derive(Default)]
struct Ways(Arc<Mutex<Vec<(&'static str, Origin)>>>);

impl Extension for Ways {
    fn register(&self, reg: &mut Registrar<'_>) {
        let ways = Arc::clone(&self.0);
        reg.inbound_stage("ways", Position::Before(inbound::UNWRAP), move |draft, _cx| {
            ways.lock().expect("ways").push(("stage", draft.origin()));
        });
        let ways = Arc::clone(&self.0);
        reg.on_route(Route::message(), move |inbound, _cx| {
            ways.lock().expect("ways").push(("route", inbound.origin()));
        });
    }
}

#[tokio::test]
async fn a_stage_and_a_consumer_are_told_the_same_way_of_a_message() {
    let server = server().await;
    let ways = Ways::default();
    let seen = Arc::clone(&ways.0);
    let juliet = server.client("juliet").expect("a builder").with(ways).build().await.expect("a client");
    let mut messages = juliet.subscribe::<ChatMessage>().events();
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    let delay = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-02T03:04:05Z'/>";
    server
        .send_stanza(
            jid.clone(),
            &format!("<message from='a@example.org' to='{jid}' type='chat'><body>hi</body>{delay}</message>"),
        )
        .expect("delivered");
    let _message = next(&mut messages).await;
    assert_eq!(*seen.lock().expect("ways"), [("stage", Origin::Offline), ("route", Origin::Offline)]);
    juliet.close().await;
}

/// Holds back what arrives until a bundle of older messages was taken in.
#[derive(Default)]
struct Bundle(Arc<AtomicU32>);

impl Extension for Bundle {
    fn register(&self, reg: &mut Registrar<'_>) {
        let open = Arc::clone(&self.0);
        reg.inbound_stage("bundle:hold", Position::Before(inbound::IDENTIFY), move |draft, cx| {
            let by: BareJid = "bundles.example.org".parse().expect("a JID");
            if draft.origin() == Origin::Live && open.load(Ordering::SeqCst) == 0 {
                draft.set_feed(Feed::Hold);
                draft.set_stamp(draft.received());
                draft.add_archive_id(ArchiveId::new(by.clone(), "last"));
                draft.add_key(IdentityKey::archive(&by, "last"));
                let cursor = ArchiveCursor::new(Some("last".to_owned()), draft.received());
                draft.also(Change::ArchiveCursor(cx.account().clone(), cursor));
            }
        });
    }
}

#[tokio::test]
async fn messages_from_elsewhere_are_taken_in_before_what_arrived_meanwhile() {
    let server = server().await;
    let bundle = Bundle::default();
    let open = Arc::clone(&bundle.0);
    let builder = server.client("juliet").expect("a builder").with(bundle).setting(ArchiveSettings::new().catch_up(false));
    let juliet = builder.build().await.expect("a client");
    let mut durable = juliet.subscribe::<ChatMessage>().durable("ui").await.expect("open");
    let mut live = juliet.subscribe::<ChatMessage>().events();
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    let message =
        |text: &str| format!("<message xmlns='jabber:client' from='a@b' to='{jid}' type='chat'><body>{text}</body></message>");
    server.send_stanza(jid.clone(), &message("last")).expect("delivered");
    let arrived = live.next().await.expect("a message");
    assert_eq!(arrived.body().as_deref(), Some("last"));

    let by: BareJid = "bundles.example.org".parse().expect("a JID");
    let fetched = ["first", "second", "last"].map(|text| {
        let stanza = Frame::parse(&message(text)).expect("XML").stanza().expect("a stanza");
        Fetched::archived(stanza, ArchiveId::new(by.clone(), text), Some(SystemTime::UNIX_EPOCH))
    });
    let switched = Arc::clone(&open);
    let intake = fetched.into_iter().fold(Intake::new(), Intake::message);
    let changes = Batch::new().put("urn:example:bundle", "taken", "3").release(None);
    let intake = intake.feed(Feed::Deliver).changes(changes).committed(move || switched.store(1, Ordering::SeqCst));
    let taken = juliet.ctx().take_in(intake).await.expect("taken in");
    assert_eq!(taken.iter().map(|taken| taken.is_new).collect::<Vec<_>>(), [true, true, false]);
    assert!(taken.is_sorted_by_key(|taken| taken.order) && taken.iter().all(|taken| taken.log_id.is_some()), "{taken:?}");
    assert_eq!(open.load(Ordering::SeqCst), 1);
    for expected in ["first", "second", "last"] {
        let Some(Incoming::Item(item)) = durable.next().await else { panic!("no item") };
        assert_eq!(item.body().as_deref(), Some(expected));
    }
    for expected in ["first", "second"] {
        let message = live.next().await.expect("a message");
        assert_eq!((message.body().as_deref(), message.time()), (Some(expected), SystemTime::UNIX_EPOCH));
    }
    let kept = juliet.store().message(taken[0].log_id.expect("a name")).await.expect("read").expect("it is there");
    let again = ChatMessage::from_inbound(&Inbound::of_logged(&kept).expect("a stanza"), &juliet.downgrade()).expect("a message");
    assert_eq!((again.body().as_deref(), again.origin()), (Some("first"), Origin::Archive));

    // A gap, and what tells durable subscriptions of it.
    juliet.ctx().commit(Batch::new().gap(GapRecord::new(GapKind::NoArchive))).await.expect("stored");
    assert!(matches!(durable.next().await, Some(Incoming::Gap(_))));
    juliet.close().await;
}

fn builder() -> xmppkit::client::ClientBuilder {
    Client::builder("romeo@example.org".parse().expect("a JID")).password("secret")
}

fn refused(result: Result<Client>) -> BuildError {
    match result.expect_err("a refusal").kind() {
        ErrorKind::Build(error) => error.clone(),
        other => panic!("{other:?}"),
    }
}

struct Greedy;

impl Extension for Greedy {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.on_iq_get(|_request: IqRequest<Throw>, _cx| async move { Ok(Answer::empty()) });
    }
}

struct Vague;

impl Extension for Vague {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.on_iq_get(|_request: IqRequest<xmppkit::minidom::Element>, _cx| async move { Ok(Answer::empty()) });
    }
}

struct Lost;

impl Extension for Lost {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.inbound_stage("lost", Position::After("nowhere"), |_draft, _cx| {});
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_an_error_when_the_client_is_built() {
    assert!(matches!(refused(builder().with(Dice::new()).build().await), BuildError::MissingRequirement { .. }));
    assert!(matches!(refused(builder().with(Base).with(Dice::new()).with(Greedy).build().await), BuildError::Conflict { .. }));
    assert!(matches!(refused(builder().with(Base).with(Base).build().await), BuildError::DuplicateExtension(_)));
    assert!(matches!(refused(builder().with(Vague).build().await), BuildError::UnroutablePayload { .. }));
    assert!(matches!(refused(builder().with(Lost).build().await), BuildError::UnknownStage { .. }));
    assert!(matches!(refused(builder().setting(Luckiness(3)).build().await), BuildError::InvalidOption(_)));
    let _client =
        tokio::time::timeout(Duration::from_secs(5), builder().with(Base).with(Dice::new()).build()).await.expect("in time");
}
