//! What all extensions together asked for, checked and put in order.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::future::BoxFuture;
use tokio::sync::Notify;

use crate::client::{Resolution, Unresolved};
use crate::error::{BuildError, ErrorKind, Result};
use crate::event::{HandlerSpec, Inbound, Route};
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
type DecoratePresence = Arc<dyn Fn(&mut xmpp_parsers::presence::Presence, &Ctx) + Send + Sync>;
/// Finds out what became of messages of a lost session.
type ResolveSent = Arc<dyn Fn(Vec<Unresolved>, Ctx) -> BoxFuture<'static, Result<Vec<(String, Resolution)>>> + Send + Sync>;
type Setting = (&'static str, TypeId, &'static str, Value);
type Value = Arc<dyn Any + Send + Sync>;

pub(crate) struct NamespaceSpec {
    pub(crate) extension: &'static str,
    pub(crate) namespace: Arc<str>,
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
    pub(crate) handlers: Vec<Arc<HandlerSpec>>,
    pub(crate) inbound: Vec<(&'static str, &'static str, Position, InboundStage)>,
    pub(crate) outbound: Vec<(&'static str, &'static str, Position, OutboundStage)>,
    pub(crate) presence: Vec<DecoratePresence>,
    pub(crate) resolvers: Vec<ResolveSent>,
    pub(crate) namespaces: Vec<NamespaceSpec>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) unroutable: Vec<(&'static str, &'static str)>,
}

/// One extension that is given to a client.
pub(crate) struct Entry {
    pub(crate) id: TypeId,
    name: &'static str,
    extension: Arc<dyn Extension>,
}

impl Entry {
    pub(crate) fn new<T: Extension>(extension: T) -> Self {
        Self { id: TypeId::of::<T>(), name: std::any::type_name::<T>(), extension: Arc::new(extension) }
    }
}

/// What the extensions of a client asked for, checked and put in order. Clients whose extensions
/// [register alike](Extension::registers_alike) share one.
pub(crate) struct Plan {
    /// The extensions in the order of their requirements.
    extensions: Vec<(TypeId, &'static str)>,
    pub(crate) declared: Declared,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) claims: Vec<Route>,
    pub(crate) handlers: Arc<[Arc<HandlerSpec>]>,
    pub(crate) inbound: Vec<InboundStage>,
    /// How many inbound stages see a message's wrapping.
    pub(crate) wrapped: usize,
    pub(crate) outbound: Vec<OutboundStage>,
    pub(crate) presence: Vec<DecoratePresence>,
    pub(crate) resolvers: Vec<ResolveSent>,
    pub(crate) namespaces: Vec<NamespaceSpec>,
    iqs: Vec<IqRoute>,
    /// The defaults.
    settings: HashMap<TypeId, Value>,
}

/// The plans of extensions that register alike, by their types, as long as a client goes by them.
static PLANS: Mutex<Vec<(Vec<TypeId>, Weak<Plan>)>> = Mutex::new(Vec::new());

impl Plan {
    /// The plan for these extensions, whose types all differ.
    fn of(entries: &[Entry]) -> Result<Arc<Self>> {
        if !entries.iter().all(|entry| entry.extension.registers_alike()) {
            return Self::build(entries).map(Arc::new);
        }
        let types: Vec<TypeId> = entries.iter().map(|entry| entry.id).collect();
        let known = |plans: &[(Vec<TypeId>, Weak<Self>)]| plans.iter().find(|(of, _)| *of == types)?.1.upgrade();
        if let Some(plan) = known(&plans()) {
            return Ok(plan);
        }
        // Without the lock, for this is code of the extensions.
        let plan = Arc::new(Self::build(entries)?);
        let mut plans = plans();
        if let Some(plan) = known(&plans) {
            return Ok(plan);
        }
        plans.retain(|(_, plan)| plan.strong_count() > 0);
        plans.push((types, Arc::downgrade(&plan)));
        Ok(plan)
    }

    fn build(entries: &[Entry]) -> Result<Self> {
        let mut drafts = Drafts::default();
        for entry in entries {
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
        Ok(Self {
            extensions,
            declared: drafts.declared,
            consumers: drafts.consumers,
            claims: drafts.claims,
            handlers: drafts.handlers.into(),
            inbound,
            wrapped,
            outbound,
            presence: drafts.presence,
            resolvers: drafts.resolvers,
            namespaces: drafts.namespaces,
            iqs: drafts.iqs,
            settings: defaults(drafts.settings)?,
        })
    }

    /// The handler that claimed the payload of this request.
    pub(crate) fn iq(&self, kind: IqKind, stanza: &Stanza) -> Option<&IqCall> {
        let payload = stanza.children().next()?;
        let of_ns = || self.iqs.iter().filter(|route| route.kind == kind && payload.has_ns(&route.ns));
        let exact = of_ns().find(|route| route.name.as_deref() == Some(payload.name()));
        exact.or_else(|| of_ns().find(|route| route.name.is_none())).map(|route| &route.call)
    }
}

fn plans() -> std::sync::MutexGuard<'static, Vec<(Vec<TypeId>, Weak<Plan>)>> {
    PLANS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The extensions of one client, and the plan they go by.
pub(crate) struct Registry {
    plan: Arc<Plan>,
    /// In the order of the plan.
    extensions: Box<[Arc<dyn Extension>]>,
    /// Those the application gave.
    settings: Vec<(TypeId, Value)>,
    hooks: SessionHooks,
}

impl Registry {
    /// Registers every extension; `settings` are those the application gave.
    pub(crate) fn build(mut entries: Vec<Entry>, given: Vec<Setting>) -> Result<Self> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = entries.iter().find(|entry| !seen.insert(entry.id)) {
            return Err(ErrorKind::Build(BuildError::DuplicateExtension(twice.name)).into());
        }
        let plan = Plan::of(&entries)?;
        entries.sort_by_key(|entry| plan.extensions.iter().position(|(id, _)| *id == entry.id));
        let mut settings: Vec<(TypeId, Value)> = Vec::new();
        for (_, id, name, value) in given {
            if !plan.settings.contains_key(&id) {
                let text = format!("setting(): no extension of this client declares {name}");
                return Err(ErrorKind::Build(BuildError::InvalidOption(text)).into());
            }
            settings.retain(|(other, _)| *other != id);
            settings.push((id, value));
        }
        let extensions = entries.into_iter().map(|entry| entry.extension).collect();
        Ok(Self { plan, extensions, settings, hooks: SessionHooks::default() })
    }

    /// The extensions in the order of their requirements, with their names.
    pub(crate) fn extensions(&self) -> impl DoubleEndedIterator<Item = (&'static str, &Arc<dyn Extension>)> + ExactSizeIterator {
        self.plan.extensions.iter().map(|(_, name)| *name).zip(&self.extensions)
    }

    pub(crate) fn extension<T: Extension>(&self) -> Option<Arc<T>> {
        let any: Value = Arc::clone(self.find::<T>()?) as Value;
        any.downcast::<T>().ok()
    }

    pub(crate) fn extension_ref<T: Extension>(&self) -> Option<&T> {
        let any: &dyn Any = &**self.find::<T>()?;
        any.downcast_ref::<T>()
    }

    fn find<T: Extension>(&self) -> Option<&Arc<dyn Extension>> {
        let at = self.plan.extensions.iter().position(|(id, _)| *id == TypeId::of::<T>())?;
        self.extensions.get(at)
    }

    pub(crate) fn setting<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let id = TypeId::of::<T>();
        let given = self.settings.iter().find(|(of, _)| *of == id).map(|(_, value)| value);
        Arc::clone(given.or_else(|| self.plan.settings.get(&id))?).downcast::<T>().ok()
    }

    /// Waits until no session hook of this extension runs; none begins before what this gives is dropped.
    pub(crate) async fn session_hook(&self, extension: &'static str) -> RunningHook<'_> {
        loop {
            let ended = self.hooks.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.hooks.begin(extension) {
                return RunningHook { hooks: &self.hooks, extension };
            }
            ended.await;
        }
    }
}

impl Deref for Registry {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.extensions().map(|(name, _)| name)).finish()
    }
}

/// The extensions whose session hook runs: it does not overlap itself.
#[derive(Default)]
struct SessionHooks {
    running: Mutex<Vec<&'static str>>,
    ended: Notify,
}

impl SessionHooks {
    /// `false` if it runs already.
    fn begin(&self, extension: &'static str) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !running.contains(&extension);
        if is_new {
            running.push(extension);
        }
        is_new
    }
}

/// A session hook that runs.
pub(crate) struct RunningHook<'a> {
    hooks: &'a SessionHooks,
    extension: &'static str,
}

impl Drop for RunningHook<'_> {
    fn drop(&mut self) {
        let mut running = self.hooks.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|other| *other != self.extension);
        if running.is_empty() {
            *running = Vec::new();
        }
        drop(running);
        self.hooks.ended.notify_waiters();
    }
}

/// Requirements, and what is used, first; otherwise in the order they were added.
fn sort(
    entries: &[Entry],
    requires: &[(&'static str, TypeId, &'static str)],
    uses: &[(&'static str, TypeId)],
) -> Result<Vec<(TypeId, &'static str)>> {
    for (extension, id, name) in requires {
        if !entries.iter().any(|entry| entry.id == *id) {
            return Err(ErrorKind::Build(BuildError::MissingRequirement { extension, requires: name }).into());
        }
    }
    let used = uses.iter().filter(|(_, id)| entries.iter().any(|entry| entry.id == *id)).copied();
    let first: Vec<(&'static str, TypeId)> = requires.iter().map(|(name, id, _)| (*name, *id)).chain(used).collect();
    let mut sorted: Vec<(TypeId, &'static str)> = Vec::with_capacity(entries.len());
    let mut waiting: Vec<(TypeId, &'static str)> = entries.iter().map(|entry| (entry.id, entry.name)).collect();
    while !waiting.is_empty() {
        let ready = |(_, name): &(TypeId, &'static str)| {
            first.iter().filter(|(other, _)| other == name).all(|(_, id)| sorted.iter().any(|(done, _)| done == id))
        };
        let Some(next) = waiting.iter().position(ready) else {
            return Err(ErrorKind::Build(BuildError::Cycle(waiting.into_iter().map(|(_, name)| name).collect())).into());
        };
        let extension = waiting.remove(next);
        sorted.push(extension);
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
        if let Some(first) = owners.insert(&spec.namespace, spec.extension) {
            let what = format!("store namespace {}", spec.namespace);
            return Err(ErrorKind::Build(BuildError::Conflict { what, first, second: spec.extension }).into());
        }
    }
    Ok(())
}

/// The settings that are declared, each by one extension.
fn defaults(declared: Vec<Setting>) -> Result<HashMap<TypeId, Value>> {
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
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    struct Setting(u8);

    /// Counts how often it is asked.
    struct Alike(Arc<Mutex<u32>>);

    impl Extension for Alike {
        fn register(&self, reg: &mut Registrar<'_>) {
            *self.0.lock().expect("a count") += 1;
            reg.setting(Setting(1));
            reg.feature("urn:alike");
        }

        fn registers_alike(&self) -> bool {
            true
        }
    }

    struct Other;

    impl Extension for Other {
        fn register(&self, _: &mut Registrar<'_>) {}
    }

    fn built(entries: Vec<Entry>, given: Vec<Setting>) -> Registry {
        let given = given.into_iter().map(|value| ("", TypeId::of::<Setting>(), "Setting", Arc::new(value) as Value)).collect();
        Registry::build(entries, given).expect("they fit together")
    }

    #[test]
    fn what_registers_alike_is_asked_once_and_each_client_has_its_own_extension_and_settings() {
        let (first, second) = (Arc::<Mutex<u32>>::default(), Arc::<Mutex<u32>>::default());
        let a = built(vec![Entry::new(Alike(Arc::clone(&first)))], vec![Setting(2), Setting(3)]);
        let b = built(vec![Entry::new(Alike(Arc::clone(&second)))], Vec::new());
        assert!(Arc::ptr_eq(&a.plan, &b.plan) && b.declared.features.contains("urn:alike"));
        assert_eq!((*first.lock().expect("a count"), *second.lock().expect("a count")), (1, 0));
        assert!(b.extension::<Alike>().is_some_and(|alike| Arc::ptr_eq(&alike.0, &second)));
        let setting = |registry: &Registry| registry.setting::<Setting>().map(|setting| setting.0);
        assert_eq!((setting(&a), setting(&b)), (Some(3), Some(1)), "the last that was given, and the default");
        drop((a, b));
        drop(built(vec![Entry::new(Alike(Arc::clone(&second)))], Vec::new()));
        assert_eq!(*second.lock().expect("a count"), 1, "the plan went with the last client");
    }

    #[test]
    fn beside_one_that_does_not_register_alike_each_client_asks_anew() {
        let count = Arc::<Mutex<u32>>::default();
        let entries = || vec![Entry::new(Other), Entry::new(Alike(Arc::clone(&count)))];
        let (a, b) = (built(entries(), Vec::new()), built(entries(), Vec::new()));
        assert!(!Arc::ptr_eq(&a.plan, &b.plan));
        assert_eq!(*count.lock().expect("a count"), 2);
    }

    #[test]
    fn a_session_hook_waits_for_itself_and_for_no_other() {
        let registry = built(vec![Entry::new(Other)], Vec::new());
        let running = registry.session_hook("a").now_or_never().expect("none runs");
        let mut next = Box::pin(registry.session_hook("a"));
        assert!((&mut next).now_or_never().is_none());
        assert!(registry.session_hook("b").now_or_never().is_some());
        drop(running);
        assert!(next.now_or_never().is_some());
    }
}
