//! What is heard of messages that were sent: receipts (XEP-0184), markers (XEP-0333), errors.

use std::sync::Mutex;

use jid::Jid;

use super::service::lock;
use super::state::Locks;
use super::wire::{self, MarkerKind};
use crate::client::{Sent, WeakClient};
use crate::error::Result;
use crate::event::{Event, Inbound, Route};
use crate::ext::Ctx;
use crate::store::{Receipt, SentUpdate};

/// News of a message that was sent. Of one that an earlier process sent it is heard by the extension itself, which looks for it in
/// the store.
#[derive(Clone, Debug)]
pub(super) struct News {
    from: Jid,
    update: SentUpdate,
}

impl News {
    /// What a receipt or a marker says.
    pub(super) fn of_progress(inbound: &Inbound, cx: &Ctx) -> Vec<Self> {
        let stanza = inbound.stanza();
        let receipt = wire::receipt(stanza).map(|id| (id, MarkerKind::Received));
        let marker = wire::marker(stanza).map(|marker| (marker.id, marker.kind));
        if receipt.is_none() && marker.is_none() {
            return Vec::new();
        }
        let Some(from) = stanza.from_jid() else { return Vec::new() };
        let at = wire::delay(stanza, cx.account()).map_or(inbound.received(), |delay| delay.stamp);
        let news = |(id, kind)| {
            let mut update = SentUpdate::new(id);
            let receipt = Some(Receipt::new(from.clone(), at));
            match kind {
                MarkerKind::Received => update.status.received = receipt,
                _ => update.status.displayed = receipt,
            }
            Self { from: from.clone(), update }
        };
        receipt.into_iter().chain(marker).map(news).collect()
    }

    /// What an error says.
    pub(super) fn of_bounce(inbound: &Inbound, cx: &Ctx) -> Option<Self> {
        let stanza = inbound.stanza();
        let (id, error) = (stanza.id()?, stanza.error()?);
        let from = match stanza.from() {
            Some(from) => Jid::new(&from).ok()?,
            None => cx.account().clone().into(),
        };
        let mut update = SentUpdate::new(id);
        update.status.bounced = Some((error, inbound.received()));
        Some(Self { from, update })
    }

    /// Notes it of the message it is about, if that is known.
    pub(super) fn tell(self, cx: &Ctx, locks: &Mutex<Locks>) {
        match cx.sent(&self.update.id) {
            Some(sent) => self.note(&sent, cx, locks),
            None if cx.outlives_the_process() => cx.emit(self),
            None => tracing::debug!(from = %self.from, "news of nothing that was sent were ignored"),
        }
    }

    /// Looks for the message among those of earlier processes.
    pub(super) async fn find(self, cx: Ctx, locks: &Mutex<Locks>) -> Result<()> {
        if let Some(sent) = cx.client().find_sent(&self.update.id).await? {
            self.note(&sent, &cx, locks);
        }
        Ok(())
    }

    fn note(&self, sent: &Sent, cx: &Ctx, locks: &Mutex<Locks>) {
        let is_bounce = self.update.status.bounced.is_some();
        if !(if is_bounce { self.may_bounce(sent, cx) } else { self.is_from_recipient(sent) }) {
            tracing::debug!(from = %self.from, "news of nothing that was sent there were ignored");
            return;
        }
        if let Some(to) = sent.to().filter(|_| is_bounce) {
            lock(locks).unlock(to);
        }
        cx.update_sent(&self.update);
    }

    /// Receipts and markers count only from whom the message was sent to (XEP-0184 §8).
    fn is_from_recipient(&self, sent: &Sent) -> bool {
        sent.to().is_some_and(|to| to.to_bare() == self.from.to_bare())
    }

    /// An error counts if it comes from where the message was sent to, or from a server on the way.
    fn may_bounce(&self, sent: &Sent, cx: &Ctx) -> bool {
        let is_server_of_recipient = sent
            .to()
            .is_some_and(|to| self.from.node().is_none() && self.from.resource().is_none() && self.from.domain() == to.domain());
        let is_own = self.from == *cx.account() || wire::is_server(&self.from, cx.account());
        sent.to().is_some() && (self.is_from_recipient(sent) || is_server_of_recipient || is_own)
    }
}

impl Event for News {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}
