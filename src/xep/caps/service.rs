//! The capabilities extension: announces our own, finds out what others' mean.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use jid::{BareJid, Jid};
use xmpp_parsers::presence::{Presence, Type};
use xso::AsXml;

use crate::client::WeakClient;
use crate::error::{Error, Result};
use crate::event::{Event, Inbound, Route};
use crate::ext::{Ctx, Extension, Observable, Registrar, SingleFlight, Watch};
use crate::roster::RosterService;
use crate::store::{Batch, StoredXml};
use crate::xep::caps::hash::{self, SHA_1};
use crate::xep::caps::table::{Question, Seen, Table};
use crate::xep::caps::{CapsChange, CapsState};
use crate::xep::disco::{DiscoService, Info, InfoSource};
use crate::xml::{Frame, Stanza, ns, write_element};

/// Questions that are asked at the same time.
const AT_ONCE: usize = 4;
/// How many are asked what a hash stands for, before it is given up until somebody else announces it.
const MAX_TRIES: usize = 3;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest answer that is kept, in bytes.
const MAX_INFO_BYTES: usize = 64 * 1024;

/// The address that names the application in its capabilities (XEP-0115 §4): a web page of its own, by recommendation.
/// [Set](crate::client::ClientBuilder::setting) it for the application; the default is `urn:xmppkit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapsNode(Cow<'static, str>);

impl CapsNode {
    /// This address.
    pub fn new(uri: impl Into<Cow<'static, str>>) -> Self {
        Self(uri.into())
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for CapsNode {
    fn default() -> Self {
        Self::new("urn:xmppkit")
    }
}

/// `<c/>` (XEP-0115 §4).
#[derive(AsXml, Debug, Clone)]
#[xml(namespace = ns::CAPS, name = "c")]
struct C {
    #[xml(attribute)]
    hash: String,
    #[xml(attribute)]
    node: String,
    #[xml(attribute)]
    ver: String,
}

/// The extension behind [`Client::caps`](crate::xep::caps::Capabilities::caps). It uses the [roster](RosterService), and requires
/// [service discovery](DiscoService), which answers from it.
///
/// Other extensions [require](Registrar::requires) it and reach it through [`Ctx::ext`].
pub struct CapsService {
    inner: Arc<Inner>,
}

struct Inner {
    state: Observable<CapsState>,
    /// Held whenever the state changes, so that both say the same.
    table: Mutex<Table>,
    flights: SingleFlight<Question, ()>,
    /// Our own `ver`.
    own: OnceLock<String>,
}

impl CapsService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            state: Observable::new(CapsState::default()),
            table: Mutex::default(),
            flights: SingleFlight::new(),
            own: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What an address is and can do, if it is known.
    #[must_use]
    pub fn get(&self, jid: &Jid) -> Option<Arc<Info>> {
        self.inner.state.with(|state| state.get(jid).cloned())
    }

    /// Everybody whose capabilities are known now, and then the changes.
    #[must_use]
    pub fn watch(&self) -> Watch<CapsState> {
        self.inner.state.watch()
    }

    pub(super) fn snapshot(&self) -> CapsState {
        self.inner.state.get()
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our own `ver`; extensions and settings do not change in a client's life.
    fn own(&self, cx: &Ctx) -> Option<&str> {
        if let Some(ver) = self.own.get() {
            return Some(ver);
        }
        let own = cx.ext::<DiscoService>()?.own(cx);
        Some(self.own.get_or_init(|| hash::ver(&own)))
    }

    /// Every available presence says what we can do (XEP-0115 §6.1).
    fn decorate(&self, presence: &mut Presence, cx: &Ctx) {
        if presence.type_ != Type::None || presence.payloads.iter().any(|payload| payload.is("c", ns::CAPS)) {
            return;
        }
        let (Some(ver), Some(node)) = (self.own(cx), cx.setting::<CapsNode>()) else { return };
        let c = C { hash: SHA_1.to_owned(), node: node.as_str().to_owned(), ver: ver.to_owned() };
        match xso::transform(&c) {
            Ok(c) => presence.payloads.push(c),
            Err(error) => tracing::error!(%error, "capabilities could not be written"),
        }
    }

    /// What a presence stanza announces.
    fn presence(&self, stanza: &Stanza, cx: &Ctx) {
        let Some(jid) = stanza.from_jid() else { return };
        if stanza.stanza_type().is_some() {
            // Gone; or an error, which carries back what we announced ourselves.
            let mut table = self.table();
            if table.remove(jid) {
                self.show(&table, jid);
            }
            return;
        }
        // A server may leave out what has not changed (XEP-0115 §8.4).
        let Some(seen) = stanza.child(ns::CAPS, "c").and_then(Seen::read) else { return };
        let bare = jid.clone().into_bare();
        let is_contact = bare == *cx.account() || cx.ext::<RosterService>().is_some_and(|roster| roster.contains(&bare));
        let unbidden = is_contact && !seen.is_legacy();
        let mut table = self.table();
        let question = self.announce(&mut table, jid, &bare, seen, is_contact).filter(|_| unbidden);
        let has_to_be_asked = question.is_some_and(|question| table.wait(question));
        drop(table);
        if has_to_be_asked {
            cx.emit(QuestionsWait);
        }
    }

    /// An address announces this; gives what there is to find out about it, if that is news.
    fn announce(&self, table: &mut Table, jid: &Jid, bare: &BareJid, seen: Seen<'_>, is_contact: bool) -> Option<Question> {
        let meaning = table.announce(jid, bare, seen, is_contact)?;
        let (known, question) = match meaning {
            Ok(info) => (Some(info), None),
            Err(question) => (None, Some(question)),
        };
        self.set_known(jid, known);
        question
    }

    /// Makes the state say of an address what the table does.
    fn show(&self, table: &Table, jid: &Jid) {
        self.set_known(jid, table.known(jid));
    }

    /// While the table is locked.
    fn set_known(&self, jid: &Jid, known: Option<Arc<Info>>) {
        self.state.update(|state| {
            let change = match known {
                Some(info) if state.get(jid) == Some(&info) => None,
                Some(info) => Some(CapsChange::Known(jid.clone(), info)),
                None => state.get(jid).map(|_| CapsChange::Unknown(jid.clone())),
            };
            ((), change)
        });
    }

    /// Asks one question after another, while there are any.
    async fn work(self: &Arc<Self>, cx: &Ctx) {
        loop {
            let next = self.table().next();
            let Some(question) = next else { return };
            self.find_out(question, None, cx).await;
        }
    }

    /// Finds an answer, once for all who want it; what comes of it is in the table.
    async fn find_out(self: &Arc<Self>, question: Question, first: Option<Jid>, cx: &Ctx) {
        let (inner, cx, asked) = (Arc::clone(self), cx.clone(), question.clone());
        let start = move || -> BoxFuture<'static, ()> {
            Box::pin(async move {
                match asked {
                    Question::Hash(ver) => inner.find_meaning(&ver, first, &cx).await,
                    Question::Of(jid) => drop(inner.ask(&jid, &cx).await),
                }
            })
        };
        self.flights.run(question, start).await;
    }

    /// What a hash stands for: by the store, or by those who announce it, one after another.
    async fn find_meaning(&self, ver: &str, mut first: Option<Jid>, cx: &Ctx) {
        if self.recall(ver, cx).await {
            return;
        }
        for _ in 0..MAX_TRIES {
            let candidate = first.take().or_else(|| self.table().candidate(ver));
            let Some(jid) = candidate else { return };
            let Some(info) = self.ask(&jid, cx).await else { continue };
            let vouched = self.table().meaning(ver).is_some_and(|meaning| Arc::ptr_eq(meaning, &info));
            if vouched {
                if let Err(error) = keep(ver, &info, cx).await {
                    tracing::warn!(%error, "what capabilities mean could not be stored");
                }
                return;
            }
            tracing::debug!(%jid, "capabilities are not what their hash says");
        }
    }

    /// Asks an address what it announces, and takes what it answers into the table.
    async fn ask(&self, jid: &Jid, cx: &Ctx) -> Option<Arc<Info>> {
        let announced = {
            let mut table = self.table();
            table.try_it(jid);
            table.announced(jid)?.clone()
        };
        let info = match DiscoService::ask(cx, jid, announced.query_node(), Some(ANSWER)).await {
            Ok(info) => info.shared(),
            Err(error) => {
                tracing::debug!(%error, "capabilities were not told");
                return None;
            }
        };
        if size(&info) > MAX_INFO_BYTES {
            tracing::debug!(%jid, "an answer about capabilities is too large to be kept");
            return None;
        }
        let mut table = self.table();
        for jid in table.answer(jid, &announced, Arc::clone(&info)) {
            self.show(&table, &jid);
        }
        Some(info)
    }

    /// Looks into the store, and believes it where the hash vouches for what it says.
    async fn recall(&self, ver: &str, cx: &Ctx) -> bool {
        if self.table().meaning(ver).is_some() {
            return true;
        }
        let stored = match cx.store().caps(&key(ver)).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "capabilities could not be read from the store");
                return false;
            }
        };
        let info = stored.and_then(|(xml, _)| Some(Info::read(Frame::parse(xml.as_str()).ok()?.root())));
        let Some(info) = info.filter(|info| hash::vouches(info, ver)) else { return false };
        self.learn(ver, info);
        true
    }

    fn learn(&self, ver: &str, info: Info) {
        let mut table = self.table();
        for jid in table.learn(ver, info.shared()) {
            self.show(&table, &jid);
        }
    }

    /// The server announces itself in its stream features (XEP-0115 §6.3).
    async fn server(&self, cx: &Ctx) {
        let Some(features) = cx.stream_features() else { return };
        let Some(seen) = features.child(ns::CAPS, "c").and_then(Seen::read) else { return };
        if seen.is_legacy() {
            return;
        }
        let server = BareJid::from_parts(None, cx.account().domain());
        let question = {
            let mut table = self.table();
            self.announce(&mut table, &server, &server, seen, true);
            table.question(&server)
        };
        if let Some(Question::Hash(ver)) = question {
            self.recall(&ver, cx).await;
        }
    }
}

/// What service discovery asks first.
struct Source(Arc<Inner>);

impl InfoSource for Source {
    fn info<'a>(&'a self, jid: &'a Jid, cx: &'a Ctx) -> BoxFuture<'a, Option<Arc<Info>>> {
        Box::pin(async move {
            if *jid == own_server(cx) {
                // It may be asked about before this extension has its turn at a login.
                self.0.server(cx).await;
            }
            let question = self.0.table().question(jid);
            if let Some(question) = question {
                self.0.find_out(question, Some(jid.clone()), cx).await;
            }
            self.0.table().known(jid)
        })
    }
}

impl Extension for CapsService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.uses::<RosterService>();
        reg.requires::<DiscoService>();
        reg.setting(CapsNode::default());
        reg.feature(ns::CAPS);
        reg.own_presence(|presence, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                service.inner.decorate(presence, cx);
            }
        });
        reg.on_route(Route::presence().when(says_who_is_there), |inbound, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                service.inner.presence(inbound.stanza(), cx);
            }
        });
        for _ in 0..AT_ONCE {
            reg.on(|_: QuestionsWait, cx: Ctx| async move {
                if let Some(service) = cx.ext::<Self>() {
                    service.inner.work(&cx).await;
                }
            });
        }
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (Some(disco), Some(node)) = (cx.ext::<DiscoService>(), cx.setting::<CapsNode>()) else { return Ok(()) };
            if let Some(ver) = self.inner.own(cx) {
                disco.add_alias(format!("{}#{ver}", node.as_str()));
                self.inner.table().set_own(ver, disco.own(cx).shared());
            }
            disco.add_source(Arc::new(Source(Arc::clone(&self.inner))));
            Ok(())
        })
    }

    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.inner.server(cx).await;
            Ok(())
        })
    }

    fn session_lost(&self, _: &Ctx) {
        let mut table = self.inner.table();
        table.clear();
        self.inner.flights.part();
        if self.inner.state.with(|state| state.iter().len() > 0) {
            self.inner.state.reset(CapsState::default());
        }
    }
}

impl Default for CapsService {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CapsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CapsService").field(&self.inner.state).finish()
    }
}

/// There are questions to be asked.
#[derive(Clone)]
struct QuestionsWait;

impl Event for QuestionsWait {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}

/// Whether a presence stanza says that somebody is there, or is not; not of the occupants of rooms.
fn says_who_is_there(inbound: &Inbound) -> bool {
    let stanza = inbound.stanza();
    matches!(stanza.stanza_type().as_deref(), None | Some("unavailable" | "error")) && stanza.child(ns::MUC_USER, "x").is_none()
}

fn own_server(cx: &Ctx) -> Jid {
    BareJid::from_parts(None, cx.account().domain()).into()
}

async fn keep(ver: &str, info: &Info, cx: &Ctx) -> Result<()> {
    let mut text = Vec::new();
    write_element(&mut text, &info.to_wire(None), "").map_err(Error::other)?;
    let text = String::from_utf8(text).map_err(Error::other)?;
    cx.store().apply(Batch::new().put_caps(key(ver), StoredXml::from(text), SystemTime::now())).await.map(drop)
}

/// The store's key: the algorithm and the hash.
fn key(ver: &str) -> String {
    format!("{SHA_1} {ver}")
}

/// About how many bytes it takes to keep it.
fn size(info: &Info) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let identities = info.identities().iter().map(|i| i.category.len() + i.type_.len() + length(&i.lang) + length(&i.name));
    let features = info.features().iter().map(String::len);
    let forms = info
        .forms()
        .iter()
        .flat_map(|form| form.fields().map(|(var, values)| var.len() + values.iter().map(String::len).sum::<usize>()));
    // Every part has a cost beside its text.
    identities.chain(features).chain(forms).map(|length| length + 24).sum()
}
