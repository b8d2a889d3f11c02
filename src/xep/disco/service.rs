//! The service discovery extension: answers, and keeps what was answered.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use jid::Jid;
use xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult, DiscoItemsQuery, DiscoItemsResult, Identity};

use crate::error::{Result, StanzaError, StanzaErrorType};
use crate::ext::{Answer, Ctx, Extension, IqRefusal, IqRequest, Registrar, SingleFlight};
use crate::xep::disco::{Info, InfoForm};
use crate::xml::ns;

/// What the client says it is: its identity of the category `client`.
/// [Set](crate::client::ClientBuilder::setting) it for the application; the default is type `pc`, named `xmppkit`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The type, from the registry: `pc`, `phone`, `bot`, `console`, `web` and others.
    pub type_: Cow<'static, str>,
    /// The application's name.
    pub name: Cow<'static, str>,
}

impl ClientIdentity {
    /// An identity of this type and name.
    pub fn new(type_: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>) -> Self {
        Self { type_: type_.into(), name: name.into() }
    }
}

impl Default for ClientIdentity {
    fn default() -> Self {
        Self::new("pc", "xmppkit")
    }
}

/// Knows of some what they are without asking them for it, or by asking in a way of its own: capabilities in presence
/// (XEP-0115), for example. An extension [adds](DiscoService::add_source) it.
pub trait InfoSource: Send + Sync {
    /// What this address is and can do; `None` if this source does not know.
    fn info<'a>(&'a self, jid: &'a Jid, cx: &'a Ctx) -> BoxFuture<'a, Option<Arc<Info>>>;
}

/// The extension behind [`Client::disco`](crate::xep::disco::Discos::disco), which also answers.
///
/// Other extensions [require](Registrar::requires) it and reach it through [`Ctx::ext`].
#[derive(Default)]
pub struct DiscoService {
    /// Nodes that are answered as if none was asked for.
    aliases: Mutex<Vec<String>>,
    sources: Mutex<Vec<Arc<dyn InfoSource>>>,
    session: Arc<Mutex<Session>>,
    flights: SingleFlight<Jid, Result<Arc<Info>>>,
}

/// What the server and the own account answered in this session.
#[derive(Default)]
struct Session {
    /// Goes up with every session.
    number: u64,
    /// Of two at most.
    known: Vec<(Jid, Arc<Info>)>,
}

impl DiscoService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What this client answers when it is asked.
    #[must_use]
    pub fn own(&self, cx: &Ctx) -> Info {
        own(cx)
    }

    /// Answers who asks for this node as one who asks for none: for nodes that stand for the client as a whole.
    pub fn add_alias(&self, node: impl Into<String>) {
        let (mut aliases, node) = (lock(&self.aliases), node.into());
        if !aliases.contains(&node) {
            aliases.reserve_exact(1);
            aliases.push(node);
        }
    }

    /// Asks this source before anybody else is asked; sources are asked in the order in which they were added.
    pub fn add_source(&self, source: Arc<dyn InfoSource>) {
        lock(&self.sources).push(source);
    }

    /// What somebody is and can do: from a source, as it was answered in this session by the server and the own account, or
    /// as it is answered now.
    pub(super) async fn info(&self, jid: Jid, cx: &Ctx) -> Result<Arc<Info>> {
        let sources = lock(&self.sources).clone();
        for source in sources {
            if let Some(info) = source.info(&jid, cx).await {
                return Ok(info);
            }
        }
        let kept = jid.resource().is_none() && (jid == *cx.account() || is_own_server(&jid, cx));
        if !kept {
            return Self::ask(cx, &jid, None, None).await.map(Arc::new);
        }
        if let Some((_, info)) = lock(&self.session).known.iter().find(|(of, _)| *of == jid) {
            return Ok(Arc::clone(info));
        }
        let (cx, session, asked) = (cx.clone(), Arc::clone(&self.session), jid.clone());
        let start = move || -> BoxFuture<'static, Result<Arc<Info>>> {
            Box::pin(async move {
                let number = lock(&session).number;
                let info = Self::ask(&cx, &asked, None, None).await?.shared();
                let mut session = lock(&session);
                if session.number == number {
                    session.known.reserve_exact(1);
                    session.known.push((asked, Arc::clone(&info)));
                }
                Ok(info)
            })
        };
        let info = self.flights.run(jid, start).await;
        self.flights.sweep();
        info
    }
}

impl Extension for DiscoService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.setting(ClientIdentity::default());
        reg.feature(ns::DISCO_INFO);
        reg.feature(ns::DISCO_ITEMS);
        reg.on_iq_get(|request: IqRequest<DiscoInfoQuery>, cx: Ctx| async move {
            let node = request.into_payload().node;
            let aliases = cx.ext::<Self>();
            let alias = node.as_ref().zip(aliases).is_some_and(|(node, service)| lock(&service.aliases).contains(node));
            info(node, alias, &cx)
        });
        reg.on_iq_get(|request: IqRequest<DiscoItemsQuery>, cx: Ctx| async move { items(request.into_payload().node, &cx) });
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn session_lost(&self, _: &Ctx) {
        let mut session = lock(&self.session);
        session.number += 1;
        session.known = Vec::new();
        self.flights.part();
    }
}

impl fmt::Debug for DiscoService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoService").finish_non_exhaustive()
    }
}

fn info(node: Option<String>, alias: bool, cx: &Ctx) -> Result<Answer, IqRefusal> {
    let own = own(cx);
    match &node {
        Some(name) if !alias => {
            let features = cx.declared().nodes.get(name.as_str()).ok_or_else(no_such_node)?;
            Answer::payload(&DiscoInfoResult {
                identities: own.identities().to_vec(),
                features: features.iter().map(ToString::to_string).collect(),
                extensions: Vec::new(),
                node,
            })
        }
        _ => Answer::payload(&own.to_wire(node)),
    }
}

/// What we are, beside what extensions declared.
fn own(cx: &Ctx) -> Info {
    let identity = |category: &str, type_: &str, name: &str| Identity {
        category: category.to_owned(),
        type_: type_.to_owned(),
        lang: None,
        name: Some(name.to_owned()),
    };
    let declared = cx.declared();
    let own = cx.setting::<ClientIdentity>().map(|own| identity("client", &own.type_, &own.name));
    let others = declared.identities.iter().map(|other| identity(&other.category, &other.type_, &other.name));
    let forms = declared.forms.iter().map(|(form_type, fields)| {
        let field = |(var, values): (&Cow<'static, str>, &Vec<Cow<'static, str>>)| {
            (var.to_string(), values.iter().map(ToString::to_string).collect())
        };
        InfoForm::new(form_type.to_string(), fields.iter().map(field))
    });
    Info::new(own.into_iter().chain(others), declared.features.iter().map(ToString::to_string), forms)
}

/// A client has no items; a node that does not exist has none to list either.
fn items(node: Option<String>, cx: &Ctx) -> Result<Answer, IqRefusal> {
    if node.as_deref().is_some_and(|node| !cx.declared().nodes.contains_key(node)) {
        return Err(no_such_node());
    }
    Answer::payload(&DiscoItemsResult { node, items: Vec::new(), rsm: None })
}

fn no_such_node() -> IqRefusal {
    StanzaError::new(StanzaErrorType::Cancel, "item-not-found").into()
}

fn is_own_server(jid: &Jid, cx: &Ctx) -> bool {
    jid.node().is_none() && jid.domain() == cx.account().domain()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
