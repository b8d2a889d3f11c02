//! The roster extension: fetches, keeps, stores.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::lock::OwnedMutexGuard;
use jid::{BareJid, Jid};
use xmpp_parsers::roster::Roster as RosterQuery;

use crate::error::{Error, Result, StanzaError, StanzaErrorType};
use crate::event::{Inbound, Route};
use crate::ext::{Answer, Ctx, Extension, IqRefusal, IqRequest, Observable, Registrar, Watch};
use crate::roster::contact::{Contact, ReadItem, read_item};
use crate::roster::event::{RequestsToSave, SubscriptionRequest};
use crate::roster::state::{RosterChange, RosterState};
use crate::store::{Batch, StoredXml};
use crate::xml::{Frame, Node, Stanza, ns};

/// Where pending requests are kept: the key is who asks, the value the stanza.
const REQUESTS: &str = "xmppkit:roster:requests";
/// Requests that are kept at a time. What comes beyond is left to the server, which repeats it at the next login.
const MAX_REQUESTS: usize = 1_000;
/// The largest request that is kept, in bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The extension behind [`Client::roster`](crate::roster::Rosters::roster).
///
/// Other extensions [require](Registrar::requires) it and read it through [`Ctx::ext`].
pub struct RosterService {
    state: Observable<RosterState>,
    inner: Mutex<Inner>,
}

/// What is not for watchers. Its lock is held whenever the state changes, so that changes and the store's batches are in
/// one order.
#[derive(Default)]
struct Inner {
    version: Option<String>,
    /// A write failed: what the store has is older than the state, and its version must stay as old as it.
    behind: bool,
    /// Requests that were reported in this client's life and are not answered.
    announced: HashSet<BareJid>,
    /// Requests whose row in the store is not what the state says.
    unsaved: BTreeSet<BareJid>,
    edits: HashMap<BareJid, EditsOf>,
}

/// The user's own changes to one contact that are on their way.
#[derive(Default)]
struct EditsOf {
    waiting: usize,
    /// Pushes about the contact since the first of them began.
    pushes: u64,
    turn: Arc<futures::lock::Mutex<()>>,
}

impl RosterService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Observable::new(RosterState::default()), inner: Mutex::default() }
    }

    /// One contact.
    #[must_use]
    pub fn get(&self, jid: &BareJid) -> Option<Contact> {
        self.state.with(|state| state.get(jid).cloned())
    }

    /// Whether this address is a contact.
    #[must_use]
    pub fn contains(&self, jid: &BareJid) -> bool {
        self.state.with(|state| state.get(jid).is_some())
    }

    /// The roster now, and then its changes.
    #[must_use]
    pub fn watch(&self) -> Watch<RosterState> {
        self.state.watch()
    }

    pub(super) fn state(&self) -> &Observable<RosterState> {
        &self.state
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store kept from earlier sessions.
    async fn load(&self, cx: &Ctx) -> Result<()> {
        let stored = cx.store().roster().await?;
        let mut contacts = Vec::with_capacity(stored.items.len());
        let mut version = stored.version;
        for (jid, item) in stored.items {
            match Frame::parse(item.as_str()).ok().and_then(|frame| read_item(frame.root())) {
                Some(ReadItem::Is(contact)) => contacts.push(contact),
                _ => {
                    tracing::warn!(%jid, "a stored contact cannot be read; the roster is fetched anew");
                    version = None;
                }
            }
        }
        let mut requests = BTreeMap::new();
        for (key, value) in cx.rows(REQUESTS).rows("").await? {
            let xml = String::from_utf8(value).map_err(Error::other)?;
            let stanza = Frame::parse(&xml).ok().and_then(|frame| frame.stanza());
            match stanza.and_then(|stanza| SubscriptionRequest::read(&stanza, cx.client().downgrade())) {
                Some(request) => drop(requests.insert(request.from().clone(), request)),
                None => tracing::warn!(from = key, "a stored subscription request cannot be read"),
            }
        }
        let mut inner = self.lock();
        inner.version = version;
        self.state.reset(RosterState::new(contacts, requests));
        Ok(())
    }

    /// Asks the server for the roster, or for what changed in it (RFC 6121 §2.2, §2.6).
    async fn fetch(&self, cx: &Ctx) -> Result<()> {
        let versioning = cx.stream_features().is_some_and(|features| features.child(ns::ROSTER_VERSIONING, "ver").is_some());
        let ver = versioning.then(|| self.lock().version.clone().unwrap_or_default());
        let request = cx.client().iq_get(None, &RosterQuery { ver, items: Vec::new() });
        let reply = request.await?;
        // Without a query the roster is the one we have; what changed in it comes as pushes.
        let Some(query) = reply.stanza().child(ns::ROSTER, "query") else { return Ok(()) };
        self.replace(query, cx).await
    }

    async fn replace(&self, query: Node<'_>, cx: &Ctx) -> Result<()> {
        let version = query.attr("ver").map(String::from);
        let mut contacts = Vec::new();
        let mut items = Vec::new();
        for node in query.children().filter(|child| child.is(ns::ROSTER, "item")) {
            match read_item(node) {
                Some(ReadItem::Is(contact)) => {
                    items.push((contact.jid().clone(), StoredXml::from(node.to_standalone_xml())));
                    contacts.push(contact);
                }
                _ => tracing::warn!("the roster has an item without a valid address"),
            }
        }
        let stored = {
            let mut inner = self.lock();
            inner.version.clone_from(&version);
            let new = RosterState::new(contacts, self.state.with(RosterState::cloned_requests));
            let answered: Vec<BareJid> = new
                .requests()
                .map(SubscriptionRequest::from)
                .filter(|from| new.get(from).is_some_and(|contact| contact.subscription().includes_from()))
                .cloned()
                .collect();
            if !self.state.with(|state| state.has_contacts(&new)) {
                self.state.reset(new);
            }
            for jid in answered {
                self.drop_request(&mut inner, &jid);
            }
            cx.store().apply(Batch::new().replace_roster(version, items))
        };
        let stored = stored.await;
        {
            let mut inner = self.lock();
            inner.behind = stored.is_err();
            if inner.behind {
                inner.version = None;
            }
        }
        self.save_requests(cx).await;
        stored.map(drop)
    }

    /// A roster push (RFC 6121 §2.1.6, R49).
    async fn push(&self, stanza: &Stanza, cx: &Ctx) -> Result<Answer, IqRefusal> {
        if !is_from_own_account(stanza, cx.account()) {
            tracing::warn!(from = stanza.from().as_deref(), "a roster push from somebody else was refused");
            return Err(StanzaError::new(StanzaErrorType::Cancel, "service-unavailable").into());
        }
        let malformed = || IqRefusal::from(StanzaError::new(StanzaErrorType::Modify, "bad-request"));
        let query = stanza.child(ns::ROSTER, "query").ok_or_else(malformed)?;
        let mut items = query.children().filter(|child| child.is(ns::ROSTER, "item"));
        let (Some(node), None) = (items.next(), items.next()) else { return Err(malformed()) };
        let item = read_item(node).ok_or_else(malformed)?;
        let version = query.attr("ver").map(String::from);

        let stored = {
            let mut inner = self.lock();
            if let Some(edits) = inner.edits.get_mut(item.jid()) {
                edits.pushes += 1;
            }
            if let ReadItem::Is(contact) = &item
                && contact.subscription().includes_from()
            {
                self.drop_request(&mut inner, contact.jid());
            }
            if version.is_some() {
                inner.version.clone_from(&version);
            }
            // After a failed write the store's version must not say more than its contacts do.
            let version = version.filter(|_| !inner.behind);
            let batch = match &item {
                ReadItem::Is(contact) => Batch::new().put_contact(contact.jid().clone(), node.to_standalone_xml(), version),
                ReadItem::Removed(jid) => Batch::new().remove_contact(jid.clone(), version),
            };
            self.take(item);
            cx.store().apply(batch)
        };
        if let Err(error) = stored.await {
            tracing::warn!(%error, "a roster push could not be stored; the roster is fetched anew at the next login");
            let mut inner = self.lock();
            inner.behind = true;
            inner.version = None;
        }
        self.save_requests(cx).await;
        Ok(Answer::empty())
    }

    /// Makes the state say what the item says; watchers hear nothing where it says so already.
    fn take(&self, item: ReadItem) {
        self.state.update(|state| match item {
            ReadItem::Is(contact) => {
                let known = state.get(contact.jid()) == Some(&contact);
                ((), (!known).then_some(RosterChange::Contact(contact)))
            }
            ReadItem::Removed(jid) => {
                let known = state.get(&jid).is_some();
                ((), known.then_some(RosterChange::Removed(jid)))
            }
        });
    }

    /// Somebody asks to see our presence, or withdraws that (RFC 6121 §3.1.3, §3.3.3).
    fn subscription(&self, inbound: &Inbound, cx: &Ctx) {
        let stanza = inbound.stanza();
        let Some(request) = SubscriptionRequest::read(stanza, cx.client().downgrade()) else { return };
        let from = request.from().clone();
        if from == *cx.account() {
            return;
        }
        if stanza.stanza_type().as_deref() == Some("unsubscribe") {
            self.request_gone(&from, cx);
            return;
        }
        let mut inner = self.lock();
        let (known, room) = self.state.with(|state| (state.request(&from).is_some(), state.requests().len() < MAX_REQUESTS));
        if stanza.byte_len() > MAX_REQUEST_BYTES || !(known || room) {
            tracing::warn!(%from, "a subscription request was left to the server: it is too large, or too many wait");
            return;
        }
        if !known {
            inner.unsaved.insert(from.clone());
            self.state.change(RosterChange::Request(request.clone()));
        }
        let announce = inner.announced.insert(from);
        drop(inner);
        if announce {
            cx.emit(request);
        }
        cx.emit(RequestsToSave);
    }

    /// The request of this address waits no more.
    pub(super) fn request_gone(&self, from: &BareJid, cx: &Ctx) {
        self.drop_request(&mut self.lock(), from);
        cx.emit(RequestsToSave);
    }

    fn drop_request(&self, inner: &mut Inner, from: &BareJid) {
        inner.announced.remove(from);
        if self.state.with(|state| state.request(from).is_some()) {
            inner.unsaved.insert(from.clone());
            self.state.change(RosterChange::RequestGone(from.clone()));
        }
    }

    /// Makes the store's rows say what the state says. Calls write in the order they are made.
    pub(super) async fn save_requests(&self, cx: &Ctx) {
        let (saving, unsaved) = {
            let mut inner = self.lock();
            let unsaved = std::mem::take(&mut inner.unsaved);
            if unsaved.is_empty() {
                return;
            }
            let row = |batch: Batch, jid: &BareJid| match self.state.with(|state| state.request(jid).cloned()) {
                Some(request) => batch.put(REQUESTS, jid.as_str(), request.stanza().to_standalone_xml()),
                None => batch.delete(REQUESTS, jid.as_str()),
            };
            (cx.store().apply(unsaved.iter().fold(Batch::new(), row)), unsaved)
        };
        if let Err(error) = saving.await {
            tracing::warn!(%error, "subscription requests could not be stored");
            self.lock().unsaved.extend(unsaved);
        }
    }

    /// Begins a change of the user's own to a contact; waits for those before it, for a roster set says all of an item.
    pub(super) async fn edit(&self, jid: &BareJid) -> Edit<'_> {
        let (turn, pending) = {
            let mut inner = self.lock();
            let edits = inner.edits.entry(jid.clone()).or_default();
            edits.waiting += 1;
            (Arc::clone(&edits.turn), Pending { service: self, jid: jid.clone() })
        };
        let turn = turn.lock_owned().await;
        let pushes = self.lock().edits.get(jid).map_or(0, |edits| edits.pushes);
        Edit { pending, pushes, _turn: turn }
    }
}

/// A change of the user's own to a contact, while the server is asked to make it.
pub(super) struct Edit<'a> {
    pending: Pending<'a>,
    pushes: u64,
    _turn: OwnedMutexGuard<()>,
}

struct Pending<'a> {
    service: &'a RosterService,
    jid: BareJid,
}

impl Edit<'_> {
    /// The contact as it stands; a new one if there is none.
    pub(super) fn contact(&self) -> Option<Contact> {
        self.pending.service.get(&self.pending.jid)
    }

    /// The server has made the change: it shows at once. If a push came meanwhile, that says it, and perhaps more.
    pub(super) fn done(self, change: impl FnOnce(Option<Contact>) -> Option<Contact>) {
        let Pending { service, jid } = &self.pending;
        let inner = service.lock();
        if inner.edits.get(jid).is_some_and(|edits| edits.pushes == self.pushes) {
            let item = match change(service.get(jid)) {
                Some(contact) => ReadItem::Is(contact),
                None => ReadItem::Removed(jid.clone()),
            };
            service.take(item);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut inner = self.service.lock();
        if let Some(edits) = inner.edits.get_mut(&self.jid) {
            edits.waiting -= 1;
            if edits.waiting == 0 {
                inner.edits.remove(&self.jid);
            }
        }
    }
}

impl Extension for RosterService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.store_namespace(REQUESTS, 1, |_, rows| Ok(rows));
        reg.on_iq_set_named(ns::ROSTER, "query", |request: IqRequest<()>, cx: Ctx| async move {
            match cx.ext::<Self>() {
                Some(service) => service.push(request.stanza(), &cx).await,
                None => Err(StanzaError::new(StanzaErrorType::Cancel, "service-unavailable").into()),
            }
        });
        reg.on_route(Route::presence().when(is_subscription), |inbound, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                service.subscription(inbound, cx);
            }
        });
        reg.on(|_: RequestsToSave, cx: Ctx| async move {
            if let Some(service) = cx.ext::<Self>() {
                service.save_requests(&cx).await;
            }
        });
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.load(cx))
    }

    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.fetch(cx))
    }
}

impl Default for RosterService {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RosterService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RosterService").field(&self.state).finish()
    }
}

fn is_subscription(inbound: &Inbound) -> bool {
    matches!(inbound.stanza().stanza_type().as_deref(), Some("subscribe" | "unsubscribe"))
}

/// Whether the own account says this: no sender at all, or its bare JID (R49), compared normalised. A sender that is no
/// JID is somebody else.
fn is_from_own_account(stanza: &Stanza, account: &BareJid) -> bool {
    match stanza.from() {
        None => true,
        Some(from) => Jid::new(&from).is_ok_and(|from| from.try_into_full().is_err_and(|bare| bare == *account)),
    }
}

#[cfg(test)]
mod tests;
