//! What all extensions together asked for, checked and put in order.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::client::{Resolution, Unresolved, WeakClient};
use crate::error::{BuildError, ErrorKind, Result};
use crate::event::{Hub, Inbound, Route};
use crate::ext::iq::{Answer, IqRefusal};
use crate::ext::stage::{self, InboundStage, OutboundStage, Position};
use crate::ext::{Ctx, Extension, Registrar};
use crate::store::Row;
use crate::xml::Stanza;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IqKind {
    Get,
    Set,
}

type IqCall = Arc<dyn Fn(Stanza, Ctx) -> BoxFuture<'static, Result<Answer, IqRefusal>> + Send + Sync>;

/// Who answers requests of this kind.
pub(crate) struct IqRoute {
    pub(crate) extension: &'static str,
    pub(crate) kind: IqKind,
    pub(crate) ns: String,
    /// None for every name of the namespace.
    pub(crate) name: Option<String>,
    pub(crate) call: IqCall,
}

type Look = Arc<dyn Fn(&Inbound, &Ctx) + Send + Sync>;

pub(crate) struct Consumer {
    pub(crate) route: Route,
    pub(crate) look: Look,
}

type Migrate = Box<dyn Fn(u32, Vec<Row>) -> Result<Vec<Row>> + Send + Sync>;
type InstallHandler = Box<dyn FnOnce(&WeakClient, &Hub, &tokio::runtime::Handle) + Send>;
type DecoratePresence = Arc<dyn Fn(&mut xmpp_parsers::presence::Presence, &Ctx) + Send + Sync>;
/// Finds out what became of messages of a lost session.
type ResolveSent = Arc<dyn Fn(Vec<Unresolved>, Ctx) -> BoxFuture<'static, Result<Vec<(String, Resolution)>>> + Send + Sync>;
type Setting = (&'static str, TypeId, &'static str, Arc<dyn Any + Send + Sync>);

pub(crate) struct NamespaceSpec {
    pub(crate) extension: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) version: u32,
    pub(crate) migrate: Migrate,
}

/// What the client says about itself (XEP-0030), from what the extensions declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declared {
    /// The features.
    pub features: BTreeSet<Cow<'static, str>>,
    /// The identities: category, type, name.
    pub identities: Vec<Identity>,
    /// Nodes and their features.
    pub nodes: BTreeMap<Cow<'static, str>, BTreeSet<Cow<'static, str>>>,
    /// Extended information (XEP-0128): by the form's `FORM_TYPE`, its fields and their values.
    pub forms: BTreeMap<Cow<'static, str>, FormFields>,
}

/// The fields of a form a client announces (XEP-0128), each with its values.
pub type FormFields = BTreeMap<Cow<'static, str>, Vec<Cow<'static, str>>>;

/// One identity a client announces (XEP-0030).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The category, for example `client`.
    pub category: Cow<'static, str>,
    /// The type within the category, for example `bot`.
    pub type_: Cow<'static, str>,
    /// A name for people.
    pub name: Cow<'static, str>,
}

impl Declared {
    pub(crate) fn identity(
        category: impl Into<Cow<'static, str>>,
        type_: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
    ) -> Identity {
        Identity { category: category.into(), type_: type_.into(), name: name.into() }
    }
}

/// What [`Registrar`] collects.
#[derive(Default)]
pub(crate) struct Drafts {
    pub(crate) requires: Vec<(&'static str, TypeId, &'static str)>,
    pub(crate) uses: Vec<(&'static str, TypeId)>,
    pub(crate) declared: Declared,
    pub(crate) iqs: Vec<IqRoute>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) claims: Vec<Route>,
    pub(crate) handlers: Vec<InstallHandler>,
    pub(crate) inbound: Vec<(&'static str, &'static str, Position, InboundStage)>,
    pub(crate) outbound: Vec<(&'static str, &'static str, Position, OutboundStage)>,
    pub(crate) presence: Vec<DecoratePresence>,
    pub(crate) resolvers: Vec<ResolveSent>,
    pub(crate) namespaces: Vec<NamespaceSpec>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) unroutable: Vec<(&'static str, &'static str)>,
}

/// One extension of a client.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
    pub(crate) extension: Arc<dyn Extension>,
    /// Held while its session hook runs, which does not overlap itself.
    pub(crate) hook: Arc<tokio::sync::Mutex<()>>,
}

impl Entry {
    pub(crate) fn new<T: Extension>(extension: T) -> Self {
        Self { id: TypeId::of::<T>(), name: std::any::type_name::<T>(), extension: Arc::new(extension), hook: Arc::default() }
    }
}

/// The extensions of a client in the order of their requirements, and everything they asked for.
pub(crate) struct Registry {
    pub(crate) extensions: Vec<Entry>,
    pub(crate) declared: Declared,
    pub(crate) consumers: Box<[Consumer]>,
    pub(crate) claims: Vec<Route>,
    pub(crate) inbound: Vec<InboundStage>,
    /// How many inbound stages see a message's wrapping.
    pub(crate) wrapped: usize,
    pub(crate) outbound: Vec<OutboundStage>,
    pub(crate) presence: Vec<DecoratePresence>,
    pub(crate) resolvers: Vec<ResolveSent>,
    pub(crate) namespaces: Vec<NamespaceSpec>,
    iqs: Box<[IqRoute]>,
    settings: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Registry {
    /// Registers every extension; `settings` are those the application gave.
    pub(crate) fn build(entries: Vec<Entry>, settings: Vec<Setting>) -> Result<(Self, Vec<InstallHandler>)> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = entries.iter().find(|entry| !seen.insert(entry.id)) {
            return Err(ErrorKind::Build(BuildError::DuplicateExtension(twice.name)).into());
        }
        let mut drafts = Drafts::default();
        for entry in &entries {
            entry.extension.register(&mut Registrar { name: entry.name, drafts: &mut drafts });
        }
        if let Some((extension, payload)) = drafts.unroutable.first() {
            return Err(ErrorKind::Build(BuildError::UnroutablePayload { extension, payload }).into());
        }
        let extensions = sort(entries, &drafts.requires, &drafts.uses)?;
        check_iqs(&drafts.iqs)?;
        let (inbound, wrapped) = order_stages(stage::inbound::ALL, drafts.inbound)?;
        let (outbound, _) = order_stages(stage::outbound::ALL, drafts.outbound)?;
        check_namespaces(&drafts.namespaces)?;
        let settings = settle(drafts.settings, settings)?;
        let registry = Self {
            extensions,
            declared: drafts.declared,
            consumers: drafts.consumers.into(),
            claims: drafts.claims,
            inbound,
            wrapped,
            outbound,
            presence: drafts.presence,
            resolvers: drafts.resolvers,
            namespaces: drafts.namespaces,
            iqs: drafts.iqs.into(),
            settings,
        };
        Ok((registry, drafts.handlers))
    }

    /// The handler that claimed the payload of this request.
    pub(crate) fn iq(&self, kind: IqKind, stanza: &Stanza) -> Option<&IqCall> {
        let payload = stanza.children().next()?;
        let of_ns = || self.iqs.iter().filter(|route| route.kind == kind && payload.has_ns(&route.ns));
        let exact = of_ns().find(|route| route.name.as_deref() == Some(payload.name()));
        exact.or_else(|| of_ns().find(|route| route.name.is_none())).map(|route| &route.call)
    }

    pub(crate) fn extension<T: Extension>(&self) -> Option<Arc<T>> {
        let entry = self.extensions.iter().find(|entry| entry.id == TypeId::of::<T>())?;
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(&entry.extension) as Arc<dyn Any + Send + Sync>;
        any.downcast::<T>().ok()
    }

    pub(crate) fn setting<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.settings.get(&TypeId::of::<T>())?).downcast::<T>().ok()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.extensions.iter().map(|entry| entry.name)).finish()
    }
}

/// Requirements, and what is used, first; otherwise in the order they were added.
fn sort(
    entries: Vec<Entry>,
    requires: &[(&'static str, TypeId, &'static str)],
    uses: &[(&'static str, TypeId)],
) -> Result<Vec<Entry>> {
    for (extension, id, name) in requires {
        if !entries.iter().any(|entry| entry.id == *id) {
            return Err(ErrorKind::Build(BuildError::MissingRequirement { extension, requires: name }).into());
        }
    }
    let used = uses.iter().filter(|(_, id)| entries.iter().any(|entry| entry.id == *id)).copied();
    let first: Vec<(&'static str, TypeId)> = requires.iter().map(|(name, id, _)| (*name, *id)).chain(used).collect();
    let mut sorted: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut waiting = entries;
    while !waiting.is_empty() {
        let ready = |entry: &Entry| {
            first.iter().filter(|(name, _)| *name == entry.name).all(|(_, id)| sorted.iter().any(|done| done.id == *id))
        };
        let Some(next) = waiting.iter().position(ready) else {
            return Err(ErrorKind::Build(BuildError::Cycle(waiting.iter().map(|entry| entry.name).collect())).into());
        };
        let entry = waiting.remove(next);
        sorted.push(entry);
    }
    Ok(sorted)
}

/// No two may answer the same.
fn check_iqs(routes: &[IqRoute]) -> Result<()> {
    let mut claimed: HashMap<(IqKind, &str, Option<&str>), &'static str> = HashMap::new();
    for IqRoute { extension, kind, ns, name, .. } in routes {
        if let Some(first) = claimed.insert((*kind, ns, name.as_deref()), extension) {
            let kind = if *kind == IqKind::Get { "get" } else { "set" };
            let what = format!("iq {kind} {{{ns}}}{}", name.as_deref().unwrap_or("*"));
            return Err(ErrorKind::Build(BuildError::Conflict { what, first, second: extension }).into());
        }
    }
    Ok(())
}

fn order_stages<S>(
    builtin: &[&'static str],
    stages: Vec<(&'static str, &'static str, Position, S)>,
) -> Result<stage::Ordered<S>> {
    let mut owners: BTreeMap<&'static str, &'static str> = BTreeMap::new();
    let mut added = Vec::new();
    for (extension, name, position, stage) in stages {
        if let Some(first) = owners.insert(name, extension).or(builtin.contains(&name).then_some("xmppkit")) {
            return Err(ErrorKind::Build(BuildError::Conflict { what: format!("stage {name}"), first, second: extension }).into());
        }
        added.push((name, position, stage));
    }
    stage::order(builtin, added).map_err(|(name, neighbour)| {
        let extension = owners.get(name).copied().unwrap_or(name);
        ErrorKind::Build(BuildError::UnknownStage { extension, stage: neighbour.to_owned() }).into()
    })
}

fn check_namespaces(namespaces: &[NamespaceSpec]) -> Result<()> {
    let mut owners: BTreeMap<&str, &'static str> = BTreeMap::new();
    for spec in namespaces {
        if let Some(first) = owners.insert(spec.namespace, spec.extension) {
            let what = format!("store namespace {}", spec.namespace);
            return Err(ErrorKind::Build(BuildError::Conflict { what, first, second: spec.extension }).into());
        }
    }
    Ok(())
}

/// Defaults, overridden by what the application gave.
fn settle(declared: Vec<Setting>, given: Vec<Setting>) -> Result<HashMap<TypeId, Arc<dyn Any + Send + Sync>>> {
    let mut owners: HashMap<TypeId, &'static str> = HashMap::new();
    let mut settings = HashMap::new();
    for (extension, id, name, default) in declared {
        if let Some(first) = owners.insert(id, extension) {
            return Err(
                ErrorKind::Build(BuildError::Conflict { what: format!("setting {name}"), first, second: extension }).into()
            );
        }
        settings.insert(id, default);
    }
    for (_, id, name, value) in given {
        if settings.insert(id, value).is_none() {
            let text = format!("setting(): no extension of this client declares {name}");
            return Err(ErrorKind::Build(BuildError::InvalidOption(text)).into());
        }
    }
    Ok(settings)
}
