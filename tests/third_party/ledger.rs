//! A second foreign extension: what it keeps while its session is cut, resumed and lost, and what it is given meanwhile.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use xmppkit::archive::ArchiveService;
use xmppkit::client::{Client, ClientBuilder, Milestone, Reconnect, Resolution, State, XmlDirection};
use xmppkit::error::Result;
use xmppkit::event::Origin;
use xmppkit::ext::{
    Answer, BoxFuture, Ctx, Extension, Fetched, Intake, IqRequest, Observable, Position, Registrar, SessionKind, SingleFlight,
    inbound,
};
use xmppkit::jid::Jid;
use xmppkit::messaging::Messages as _;
use xmppkit::store::{ExtensionRows, Feed, Receipt, SentUpdate, SqliteStore};
use xmppkit::testing::{Cut, Misbehaviour, Server};
use xmppkit::xep::disco::Discos as _;
use xmppkit::xml::Frame;
use xmppkit::xmpp_parsers::ping::Ping;
use xmppkit::xmpp_parsers::presence::Presence;
use xmppkit::xso::{AsXml, FromXml};

use super::{Base, Moods, next, server, within};

const NS: &str = "urn:example:ledger";
const ROWS: &str = "urn:example:ledger:rows";

/// Asks for the balance with somebody; the answer is the same element.
#[derive(FromXml, AsXml, Debug, Clone, PartialEq)]
#[xml(namespace = NS, name = "balance")]
struct Balance {
    #[xml(attribute)]
    of: String,
}

/// What a client says to its server beside stanzas (XEP-0352 §4.2).
#[derive(AsXml)]
#[xml(namespace = "urn:xmpp:csi:0", name = "active")]
struct Active;

/// Keeps books.
#[derive(Default)]
struct Ledger {
    log: Mutex<Vec<String>>,
    /// What became of messages, by their ids; the others arrived.
    missing: Mutex<Vec<String>>,
    sums: Option<Observable<Moods>>,
    audits: SingleFlight<u8, u8>,
}

impl Ledger {
    fn new() -> Self {
        Self { sums: Some(Observable::new(Moods::default())), ..Self::default() }
    }

    fn note(&self, what: impl Into<String>) {
        self.log.lock().expect("log").push(what.into());
    }

    fn noted(&self) -> Vec<String> {
        self.log.lock().expect("log").clone()
    }

    fn sums(&self) -> &Observable<Moods> {
        self.sums.as_ref().expect("made with it")
    }
}

impl Extension for Ledger {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.uses::<Base>();
        reg.feature(NS);
        reg.form_field("urn:example:ledger#form", "currency", ["ducat", "florin"]);
        reg.store_namespace(ROWS, 1, |_from, rows| Ok(rows));
        reg.on_iq_get(|request: IqRequest<Balance>, _cx: Ctx| async move {
            let from = request.from().map(|from| from.to_bare().to_string());
            let Balance { of } = request.into_payload();
            Answer::payload(&Balance { of: format!("{of} with {}", from.unwrap_or_default()) })
        });
        reg.inbound_stage("ledger:open", Position::After(inbound::UNWRAP), |draft, _cx| {
            let letter = draft.stanza().child(NS, "letter").and_then(|letter| letter.children().next()?.stanza());
            if let Some(letter) = letter {
                draft.replace(letter, Origin::Carbon);
            }
        });
        reg.inbound_stage("ledger:strike", Position::After(inbound::DERIVE), |draft, _cx| {
            if draft.stanza().child(NS, "strike").is_some() {
                draft.delete(ROWS, "debt");
                draft.set_logged(false);
            }
        });
        reg.resolve_sent(|unresolved, cx: Ctx| async move {
            let Some(ledger) = cx.ext::<Self>() else { return Ok(Vec::new()) };
            let missing = ledger.missing.lock().expect("missing").clone();
            ledger.note(format!("{} unresolved", unresolved.len()));
            let answer = |id: &String| if missing.contains(id) { Resolution::Missing } else { Resolution::Arrived };
            Ok(unresolved.into_iter().map(|message| (message.id.clone(), answer(&message.id))).collect())
        });
    }

    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.note(if cx.ext::<Base>().is_some() { "after the base" } else { "without the base" });
            Ok(())
        })
    }

    fn session<'a>(&'a self, cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if kind == SessionKind::Fresh {
                cx.put_session_row(ROWS, "fresh", "1");
                cx.put_session_row(ROWS, "kept", "2");
            } else {
                cx.delete_session_row(ROWS, "fresh");
            }
            self.note(format!("session: {kind:?}"));
            Ok(())
        })
    }

    fn suspended(&self, cx: &Ctx) {
        self.note(format!("suspended, bound: {}", cx.jid().is_some()));
    }

    fn session_lost(&self, _cx: &Ctx) {
        self.note("session lost");
    }
}

/// A client that comes back at once. An archive could tell what became of messages, and so have the word before the ledger.
fn builder(server: &Server, name: &str) -> ClientBuilder {
    let pace = Reconnect::default().base(Duration::from_millis(10)).cap(Duration::from_millis(20));
    server.client(name).expect("a builder").reconnect(pace).without::<ArchiveService>()
}

async fn online(builder: ClientBuilder) -> (Client, Arc<Ledger>) {
    let client = builder.with(Ledger::new()).build().await.expect("a client");
    client.connect().await.expect("online");
    let ledger = client.ext::<Ledger>().expect("the extension");
    (client, ledger)
}

/// Cuts the client off, and waits until it is online again.
async fn cut(server: &Server, client: &Client) {
    let mut states = client.states();
    server.cut(client.account(), Cut::Rst);
    let mut was_cut = false;
    loop {
        match next(&mut states).await {
            State::Online { .. } if was_cut => return,
            State::Suspended { .. } | State::Waiting { .. } => was_cut = true,
            _ => {}
        }
    }
}

/// Waits until the rows that live as long as the session have these keys: they are written with the count of what arrives.
async fn session_rows(client: &Client, wanted: &[&str]) {
    within("the rows of the session", async {
        loop {
            client.iq_get(None, &Ping).await.expect("an answer");
            let rows = client.store().session_rows(ROWS, "").await.expect("a read");
            if rows.iter().map(|(key, _)| key.as_str()).eq(wanted.iter().copied()) {
                return;
            }
        }
    })
    .await;
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn hooks_and_rows_follow_a_session_through_a_cut_and_to_its_end() {
    let folder = Folder(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("third-party-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let store = SqliteStore::open(folder.0.join("ledger.db")).await.expect("a store");
    let server = server().await;
    let (romeo, ledger) = online(builder(&server, "romeo").store(Arc::new(store)).with(Base)).await;
    assert!(romeo.ctx().outlives_the_process());
    session_rows(&romeo, &["fresh", "kept"]).await;

    cut(&server, &romeo).await;
    session_rows(&romeo, &["kept"]).await;
    let until_then = ["after the base", "session: Fresh", "suspended, bound: true", "session: Resumed"];
    assert_eq!(ledger.noted(), until_then);

    server.forget_sessions();
    cut(&server, &romeo).await;
    session_rows(&romeo, &["fresh", "kept"]).await;
    let then = ["suspended, bound: true", "session lost", "after the base", "session: Fresh"];
    assert_eq!(ledger.noted()[4..], then);
    romeo.close().await;
}

#[tokio::test]
async fn an_extension_tells_what_became_of_messages_of_a_lost_session() {
    let server = server().await;
    let (romeo, ledger) = online(builder(&server, "romeo")).await;
    let juliet = builder(&server, "juliet").build().await.expect("a client");
    let mut at_juliet = juliet.messages().events();
    juliet.connect().await.expect("online");
    server.misbehave(Misbehaviour::NeverAcknowledge);
    let mut sent = Vec::new();
    for text in ["arrived", "missing"] {
        sent.push(romeo.chat(juliet.account()).send(text).await.expect("accepted"));
        assert_eq!(next(&mut at_juliet).await.body().as_deref(), Some(text));
    }
    ledger.missing.lock().expect("missing").push(sent[1].id().to_owned());
    server.forget_sessions();
    server.behave();
    cut(&server, &romeo).await;
    for token in &sent {
        within("the acknowledgement", token.wait_for(Milestone::Acked)).await.expect("acknowledged");
        assert_eq!(token.status().resent_unverified, None, "somebody could tell");
    }
    let went = |text: &str| server.received(romeo.account()).iter().filter(|xml| xml.contains(&format!("<body>{text}<"))).count();
    assert_eq!((went("arrived"), went("missing")), (1, 2));
    assert_eq!(ledger.noted().iter().filter(|line| *line == "2 unresolved").count(), 1);
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn an_extension_is_given_the_client_its_session_and_its_store() {
    let server = server().await;
    let (romeo, ledger) = online(builder(&server, "romeo")).await;
    let (juliet, _) = online(builder(&server, "juliet")).await;
    let cx = romeo.ctx();
    assert_eq!(ledger.noted()[0], "without the base");
    assert_eq!((cx.jid(), cx.client().jid(), cx.account()), (romeo.jid(), romeo.jid(), romeo.account()));
    assert!(cx.stream_features().is_some_and(|features| features.child("urn:xmpp:sm:3", "sm").is_some()));
    assert!(!cx.outlives_the_process() && cx.declared().features.contains(NS));

    // What is declared is what others are told; and who asks is told to who answers.
    let to = Jid::from(juliet.jid().expect("bound"));
    let info = romeo.disco().info(to.clone()).fresh().await.expect("an answer");
    assert_eq!(info.form("urn:example:ledger#form").expect("a form").values("currency"), ["ducat", "florin"]);
    let reply = romeo.iq_get(Some(to.clone()), &Balance { of: "grain".to_owned() }).await.expect("an answer");
    assert_eq!(reply.payload::<Balance>().expect("a balance").of, format!("grain with {}", romeo.account()));

    // What is sent by it.
    let mut wire = romeo.watch_xml();
    let mut presence = Presence::available();
    presence.to = Some(to.clone());
    cx.send_presence(presence).await.expect("sent");
    cx.send_nonza(&Active).await.expect("sent");
    for wanted in [format!("to='{to}'"), "<active xmlns='urn:xmpp:csi:0'/>".to_owned()] {
        let is_it = |xml: &str| xml.replace('"', "'").contains(&wanted);
        while !next(&mut wire).await.is_ok_and(|piece| piece.direction == XmlDirection::Sent && is_it(&piece.xml)) {}
    }
    let token = romeo.chat(juliet.account()).send("Paid").await.expect("accepted");
    assert!(cx.sent("unknown").is_none());
    assert_eq!(cx.sent(token.id()).map(|sent| sent.to().cloned()), Some(token.to().cloned()));
    let mut update = SentUpdate::new(token.id());
    update.status.received = Some(Receipt::new(juliet.account().clone().into(), SystemTime::UNIX_EPOCH));
    cx.update_sent(&update);
    within("the receipt", token.wait_for(Milestone::Received)).await.expect("noted");

    // Its rows, by the store and by a handle of their own.
    let rows = cx.rows(ROWS);
    assert_eq!(rows.namespace(), ROWS);
    rows.put("a", "1").await.expect("stored");
    rows.put("b", "2").await.expect("stored");
    rows.delete("a").await.expect("deleted");
    assert_eq!(rows.rows("").await.expect("read"), [("b".to_owned(), b"2".to_vec())]);
    let own = ExtensionRows::new(Arc::clone(cx.store()), ROWS);
    own.migrate(2, |from, rows| Ok(rows.into_iter().map(|(key, _)| (key, vec![from as u8])).collect())).await.expect("migrated");
    assert_eq!(rows.get("b").await.expect("read"), Some(vec![1]));
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn stages_open_letters_and_strike_out_rows_and_what_was_fetched_has_its_place() {
    let server = server().await;
    let (juliet, _) = online(builder(&server, "juliet")).await;
    let mut messages = juliet.messages().events();
    let (jid, cx) = (juliet.jid().expect("bound"), juliet.ctx());
    let message = |inside: &str| {
        format!("<message xmlns='jabber:client' from='mercutio@example.org/x' to='{jid}' type='chat'>{inside}</message>")
    };
    let arrives = |xml: &str| assert_eq!(server.send_stanza(jid.clone(), xml).expect("a stanza"), 1);
    arrives(&message(&format!("<letter xmlns='{NS}'>{}</letter>", message("<body>inside</body>"))));
    let opened = next(&mut messages).await;
    assert_eq!((opened.body().as_deref(), opened.origin()), (Some("inside"), Origin::Carbon));

    cx.rows(ROWS).put("debt", "3000").await.expect("stored");
    arrives(&message(&format!("<body>struck</body><strike xmlns='{NS}'/>")));
    assert_eq!(next(&mut messages).await.body().as_deref(), Some("struck"));
    assert_eq!(cx.rows(ROWS).get("debt").await.expect("read"), None);

    // Between what is there: a message of before, and one of after.
    let fetched = |text: &str| {
        let stanza = Frame::parse(&message(&format!("<body>{text}</body>"))).expect("XML").stanza().expect("a stanza");
        Fetched::new(stanza, Origin::Archive)
    };
    let first = cx.take_in(Intake::new().message(fetched("first"))).await.expect("taken in")[0];
    let last = cx.take_in(Intake::new().message(fetched("last")).after(Some(first.order))).await.expect("taken in")[0];
    let between = Intake::new().message(fetched("between")).after(Some(first.order)).before(Some(last.order));
    let between = cx.take_in(between.feed(Feed::History)).await.expect("taken in")[0];
    assert!(first.order < between.order && between.order < last.order, "{first:?} {between:?} {last:?}");
    let mut kept = juliet.store().message(between.log_id.expect("a name")).await.expect("read").into_iter();
    assert_eq!(kept.next().map(|message| message.xml.as_str().contains("between")), Some(true));
    juliet.close().await;
}

#[tokio::test]
async fn state_is_observed_and_work_is_shared() {
    let ledger = Ledger::new();
    let sums = ledger.sums();
    let mut watch = sums.watch();
    assert_eq!(sums.update(|sums| (sums.0.len(), Some(5))), 0);
    sums.change(6);
    assert_eq!(sums.get(), Moods(vec![5, 6]));
    within("both", sums.watch().wait_for(|sums| sums.0.len() == 2)).await.expect("they are there");
    sums.reset(Moods(vec![7]));
    let mut seen = Moods::default();
    while seen.0 != [7] {
        match next(&mut watch).await {
            xmppkit::ext::Observed::Reset(state) => seen = state,
            xmppkit::ext::Observed::Change(change) => xmppkit::ext::Observe::apply(&mut seen, &change),
            _ => {}
        }
    }

    let first = ledger.audits.run(1, || async { 1 }.boxed());
    let joined = ledger.audits.run(1, || async { 2 }.boxed());
    ledger.audits.part();
    let anew = ledger.audits.run(1, || async { 3 }.boxed());
    ledger.audits.sweep();
    assert_eq!(futures::join!(first, joined, anew), (1, 1, 3));
}
