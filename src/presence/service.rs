//! The presence extension: keeps everybody's, and our own.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures::future::BoxFuture;
use jid::{BareJid, Jid};
use xmpp_parsers::presence::{Presence as WirePresence, Priority, Type};

use crate::client::Client;
use crate::error::Result;
use crate::event::{Inbound, Route};
use crate::ext::{Ctx, Extension, Observable, Registrar, SessionKind, Watch};
use crate::presence::event::is_update;
use crate::presence::{OwnPresence, PresenceChange, PresenceState, ResourcePresence};
use crate::roster::RosterService;
use crate::xml::Frame;

/// Resources of one address that are kept.
const MAX_RESOURCES: usize = 64;
/// Addresses that are no contacts and whose presence is kept nevertheless.
const MAX_STRANGERS: usize = 1_000;
/// The largest presence stanza that is kept, in bytes.
const MAX_PRESENCE_BYTES: usize = 64 * 1024;
/// Addresses that are remembered as having been sent presence of their own.
const MAX_DIRECTED: usize = 10_000;

/// The session's rows (R9): under `from/` and a full JID the presence that came, under `to/` and a JID that we told we are there.
const ROWS: &str = "xmppkit:presence";

/// The extension behind [`Client::presence`](crate::presence::Presences::presence). It requires the
/// [roster](RosterService).
///
/// Other extensions [require](Registrar::requires) it and read it through [`Ctx::ext`].
pub struct PresenceService {
    state: Observable<PresenceState>,
    own: Mutex<Own>,
    strangers: Mutex<HashSet<BareJid>>,
    /// Whoever sends our presence to all: what is sent last is what was kept last.
    announcing: futures::lock::Mutex<()>,
    /// An earlier process had the session: whether the server has the last presence that it sent is not known.
    restored: AtomicBool,
}

#[derive(Default)]
struct Own {
    kept: OwnPresence,
    /// The application has said what it shall be.
    chosen: bool,
    /// What this session's contacts were told last.
    announced: Option<OwnPresence>,
    /// Whom this session told that we are available, beside contacts.
    directed: BTreeSet<Jid>,
}

impl Own {
    /// Presence of ours is sent (RFC 6121 §4.6): the server keeps the same list, and tells those on it when we leave.
    fn note_directed(&mut self, presence: &WirePresence, cx: &Ctx) {
        match (&presence.to, &presence.type_) {
            (Some(to), Type::None) if self.directed.len() < MAX_DIRECTED && self.directed.insert(to.clone()) => {
                cx.put_session_row(ROWS, format!("to/{to}"), "");
            }
            (Some(to), Type::Unavailable) => self.forget_directed(to, cx),
            (None, Type::Unavailable) => std::mem::take(&mut self.directed).iter().for_each(|to| self.forget_directed(to, cx)),
            _ => {}
        }
    }

    fn forget_directed(&mut self, to: &Jid, cx: &Ctx) {
        self.directed.remove(to);
        cx.delete_session_row(ROWS, format!("to/{to}"));
    }
}

impl PresenceService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Observable::new(PresenceState::default()),
            own: Mutex::default(),
            strangers: Mutex::default(),
            announcing: futures::lock::Mutex::default(),
            restored: AtomicBool::new(false),
        }
    }

    /// The available resources of an address, the best first.
    #[must_use]
    pub fn of(&self, jid: &BareJid) -> Vec<ResourcePresence> {
        self.state.with(|state| state.of(jid).to_vec())
    }

    /// The best resource of an address.
    #[must_use]
    pub fn best(&self, jid: &BareJid) -> Option<ResourcePresence> {
        self.state.with(|state| state.best(jid).cloned())
    }

    /// Everybody's presence now, and then its changes.
    #[must_use]
    pub fn watch(&self) -> Watch<PresenceState> {
        self.state.watch()
    }

    /// Our own presence.
    #[must_use]
    pub fn own(&self) -> OwnPresence {
        self.lock().kept.clone()
    }

    /// Whom this session told that we are available, beside contacts, sorted.
    pub(super) fn directed(&self) -> Vec<Jid> {
        self.lock().directed.iter().cloned().collect()
    }

    pub(super) fn state(&self) -> &Observable<PresenceState> {
        &self.state
    }

    fn lock(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strangers(&self) -> MutexGuard<'_, HashSet<BareJid>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on our presence is this.
    pub(super) fn keep(&self, mut presence: OwnPresence, priority: Option<i8>) {
        let mut own = self.lock();
        presence.priority = priority.unwrap_or(own.kept.priority);
        own.kept = presence;
        own.chosen = true;
    }

    /// Tells contacts what is kept, if there is a session; otherwise the next one begins with it.
    pub(super) async fn announce_if_online(&self, client: &Client) -> Result<()> {
        let _turn = self.announcing.lock().await;
        // While logging in, initial presence tells; `session` looks whether it told the latest.
        if !client.state().is_online() {
            return Ok(());
        }
        self.announce(client).await
    }

    async fn announce(&self, client: &Client) -> Result<()> {
        let kept = self.own();
        client.send_presence(kept.to_wire(None)).await?;
        self.lock().announced = kept.available.then_some(kept);
        Ok(())
    }

    /// Initial presence says what is kept.
    fn decorate(&self, presence: &mut WirePresence, cx: &Ctx) {
        let says_nothing = presence.to.is_none()
            && presence.type_ == Type::None
            && presence.show.is_none()
            && presence.statuses.is_empty()
            && presence.priority == Priority(0);
        if says_nothing {
            let mut own = self.lock();
            own.kept.fill(presence);
            own.announced = own.kept.available.then(|| own.kept.clone());
        }
        self.lock().note_directed(presence, cx);
    }

    /// Takes a presence stanza into the picture.
    fn update(&self, inbound: &Inbound, cx: &Ctx) {
        let stanza = inbound.stanza();
        if stanza.stanza_type().is_some() {
            // Unavailable; or an error, which says that nobody is there to see our presence.
            let Some(jid) = stanza.from_jid() else { return };
            let bare = jid.clone().into_bare();
            let gone = |state: &PresenceState| {
                let mut gone = state.of(&bare).iter().filter(|resource| jid.is_bare() || resource.jid() == jid).peekable();
                let is_news = gone.peek().is_some();
                if cx.outlives_the_process() {
                    gone.for_each(|gone| cx.delete_session_row(ROWS, format!("from/{}", gone.jid())));
                }
                ((), is_news.then(|| PresenceChange::Unavailable(jid.clone())))
            };
            self.state.update(gone);
            if self.state.with(|state| state.of(&bare).is_empty()) {
                self.strangers().remove(&bare);
            }
            return;
        }
        let Some(presence) = ResourcePresence::read(stanza, inbound.received(), cx.account()) else { return };
        let room = self.state.with(|state| {
            let resources = state.of(presence.bare());
            resources.len() < MAX_RESOURCES || resources.iter().any(|resource| resource.jid() == presence.jid())
        });
        if stanza.byte_len() > MAX_PRESENCE_BYTES || !room || !self.admits(presence.bare(), cx) {
            tracing::debug!(from = %presence.jid(), "presence was left out: it is too large, or there is too much of it");
            return;
        }
        if cx.outlives_the_process() {
            cx.put_session_row(ROWS, format!("from/{}", presence.jid()), stanza.to_standalone_xml());
        }
        self.state.change(PresenceChange::Available(presence));
    }

    /// What an earlier process knew, if its session may go on: it is stale until that is decided.
    async fn restore(&self, cx: &Ctx) -> Result<()> {
        if cx.store().session().await?.is_none() {
            return Ok(());
        }
        for (key, value) in cx.store().session_rows(ROWS, "").await? {
            if let Some(to) = key.strip_prefix("to/") {
                self.lock().directed.extend(Jid::new(to).ok());
                continue;
            }
            let stanza = String::from_utf8(value).ok().and_then(|xml| Frame::parse(&xml).ok()?.stanza());
            let presence = stanza.and_then(|stanza| ResourcePresence::read(&stanza, SystemTime::now(), cx.account()));
            match presence {
                Some(presence) => self.state.change(PresenceChange::Available(presence)),
                None => tracing::warn!(key, "stored presence cannot be read"),
            }
        }
        self.set_stale(true);
        self.restored.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Contacts and ourselves always; of others, who can send us presence as they like, not too many.
    fn admits(&self, jid: &BareJid, cx: &Ctx) -> bool {
        if jid == cx.account() || cx.ext::<RosterService>().is_some_and(|roster| roster.contains(jid)) {
            return true;
        }
        let mut strangers = self.strangers();
        strangers.contains(jid) || (strangers.len() < MAX_STRANGERS && strangers.insert(jid.clone()))
    }

    fn set_stale(&self, stale: bool) {
        self.state.update(|state| ((), (state.is_stale() != stale).then_some(PresenceChange::Stale(stale))));
    }
}

impl Extension for PresenceService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.requires::<RosterService>();
        reg.on_route(Route::presence().when(is_update), |inbound, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                service.update(inbound, cx);
            }
        });
        reg.own_presence(|presence, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                service.decorate(presence, cx);
            }
        });
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.restore(cx))
    }

    fn session<'a>(&'a self, cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        self.set_stale(false);
        // R8: what the process before sent last may not have arrived.
        let again = self.restored.swap(false, Ordering::Relaxed) && kind == SessionKind::Resumed;
        Box::pin(async move {
            let _turn = self.announcing.lock().await;
            let behind = {
                let own = self.lock();
                again || own.chosen && own.announced.as_ref() != own.kept.available.then_some(&own.kept)
            };
            // Whatever was chosen while nobody could be told, is told now.
            if behind { self.announce(&cx.client()).await } else { Ok(()) }
        })
    }

    fn suspended(&self, _: &Ctx) {
        self.set_stale(true);
    }

    fn session_lost(&self, _: &Ctx) {
        self.restored.store(false, Ordering::Relaxed);
        {
            let mut own = self.lock();
            own.announced = None;
            own.directed.clear();
        }
        self.strangers().clear();
        if self.state.with(|state| *state != PresenceState::default()) {
            self.state.reset(PresenceState::default());
        }
    }
}

impl Default for PresenceService {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PresenceService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PresenceService").field(&self.state).finish()
    }
}

#[cfg(test)]
mod tests;
