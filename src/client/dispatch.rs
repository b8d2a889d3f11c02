//! The surface the driver hands everything to: the lanes, the stages, the log, the hooks.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use jid::{BareJid, FullJid};

use crate::client::intake::Staged;
use crate::client::session::{COMPLETE, DELIVERED, SESSION_ROWS, record_of};
use crate::client::shared::Shared;
use crate::driver::{
    ConnectOptions, ConnectionInfo, CoreConfig, Handled, KeepAlive, Lag, Numbered, Outgoing, Procedure, Resumed, Resuming,
    Resumption, State, Surface, Suspended, TakenOver, XmlTraffic,
};
use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
use crate::event::Inbound;
use crate::ext::{Ctx, Extension, InboundDraft, IqKind, SessionKind, iq_reply};
use crate::store::{
    Batch, Direction, MessageFlags, MessageKind, MessageRecord, Origin, SendFailure, SentUpdate, StoredJid, StoredText,
};
use crate::xml::{Frame, OutStanza, Stanza, StanzaKind, ns, parse_datetime};

impl Surface for Shared {
    fn account(&self) -> &BareJid {
        &self.account
    }

    fn core_config(&self) -> CoreConfig {
        let memory = self.login_memory();
        let mut core = self.next_connection().core.clone();
        core.pin = memory.pin;
        core.cached_keys = memory.keys;
        core
    }

    fn keep_alive(&self) -> KeepAlive {
        self.config.keep_alive
    }

    fn lag(&self) -> Lag {
        self.config.lag
    }

    fn connect_options(&self) -> ConnectOptions {
        self.next_connection().connect.clone()
    }

    fn xml_is_watched(&self) -> bool {
        self.xml.is_watched()
    }

    fn xml(&self, traffic: XmlTraffic) {
        self.xml.show(&traffic);
    }

    fn take_procedure(&self) -> Option<Procedure> {
        self.take_procedure_once()
    }

    fn give_back_procedure(&self, procedure: Procedure) {
        self.set_procedure(Some(procedure));
    }

    fn state(&self, state: State) {
        let stopped = state.is_stopped();
        match &state {
            State::Online { .. } => tracing::info!("online"),
            // The driver has said it, with the reason.
            State::Waiting { .. } => {}
            state => tracing::debug!(?state, "connection state"),
        }
        {
            // Together, so that a start or stop that comes now sees both or neither.
            let mut link = self.link();
            let state = if stopped {
                *link = None;
                self.stopped(state)
            } else {
                state
            };
            self.announce(state);
        }
        if stopped {
            self.set_procedure(None);
            self.requests.fail_all();
        }
        if stopped && self.handles.load(std::sync::atomic::Ordering::Acquire) == 0 {
            self.end();
        }
    }

    fn abandoned(&self, error: Error) {
        if self.bound_jid().is_some() {
            self.session_lost(None);
        }
        Surface::state(self, State::Failed(error));
    }

    fn connected(&self, info: &ConnectionInfo) {
        self.set_connection(info.clone());
    }

    fn authenticated(&self, mechanism: &str, success: crate::auth::Success) {
        self.set_mechanism(mechanism);
        tracing::debug!(mechanism, channel_binding = ?success.channel_binding, "authenticated");
        let news = self.change_login_memory(|memory| memory.learn(success));
        self.set_unsaved(news);
    }

    fn keys_refused(&self) {
        self.change_login_memory(|memory| memory.keys = None);
    }

    fn take_suspended(&self) -> Option<Suspended> {
        self.take_suspended_once()
    }

    fn keep_suspended(&self, suspended: Suspended) {
        self.set_suspended(Some(suspended));
    }

    fn managed(self: Arc<Self>, resumption: Option<Resumption>) -> BoxFuture<'static, ()> {
        self.outbox.set_managed(true);
        Box::pin(async move {
            let Some(resumption) = resumption.filter(|_| self.persistent) else { return };
            self.note("the session", Batch::new().session(record_of(resumption), SystemTime::now())).await;
        })
    }

    fn resumed(self: Arc<Self>, resumed: Resumed) -> Resuming {
        let Resumed { jid, features, h, acked } = resumed;
        self.set_bound(Some((jid, features)));
        self.outbox.set_managed(true);
        let now = SystemTime::now();
        let mut ids = self.outbox.acked(&acked, now);
        ids.extend(self.outbox.resumed_at(h, now));
        let noted: Option<BoxFuture<'static, ()>> = if self.take_restored() && self.persistent {
            let shared = Arc::clone(&self);
            let arrived = ids.into_iter().fold(Batch::new(), |batch, id| batch.update_sent(SentUpdate::new(id).acked(now)));
            Some(Box::pin(async move { shared.note("what an earlier process sent", arrived.forget_numbers()).await }))
        } else {
            self.note_acked(ids, now);
            None
        };
        let login: Option<BoxFuture<'static, ()>> = if self.take_incomplete() {
            self.forget_session();
            Some(Box::pin(async move { self.rebuild().await }))
        } else {
            None
        };
        Resuming { noted, login }
    }

    fn suspended(&self) {
        self.outbox.cut();
        let Some(cx) = self.ctx() else { return };
        for (name, extension) in self.registry.extensions().rev() {
            guard(name, || extension.suspended(&cx));
        }
    }

    fn acked(&self, tokens: Vec<u64>) {
        let now = SystemTime::now();
        let ids = self.outbox.acked(&tokens, now);
        self.note_acked(ids, now);
    }

    fn poisoned(&self, token: u64, condition: String) {
        let why = SendFailure::Poison(condition);
        if let Some(id) = self.outbox.fail(token, why.clone()) {
            self.note_soon(Batch::new().update_sent(SentUpdate::new(id).failed(why, SystemTime::now())));
        }
    }

    fn record(self: Arc<Self>, numbers: Vec<(u64, u32)>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let now = SystemTime::now();
            let archive_after = self.newest_in_archive().await;
            let updates = self.outbox.numbered(&numbers, archive_after.as_ref(), now);
            let batch = updates.into_iter().fold(Batch::new(), Batch::update_sent);
            self.note("the numbers of messages", batch).await;
        })
    }

    fn is_by_handling(&self) -> bool {
        self.hub.is_by_handling()
    }

    fn records(&self) -> bool {
        self.persistent
    }

    fn bound(self: Arc<Self>, jid: FullJid, features: Frame) -> BoxFuture<'static, ()> {
        self.set_bound(Some((jid, features)));
        self.outbox.set_managed(false);
        self.forget_delivered();
        if self.take_restored() {
            self.note_sent_soon(self.outbox.session_lost(None));
            self.forget_session();
        }
        Box::pin(async move {
            if let Some(news) = self.take_unsaved() {
                match tokio::time::timeout(self.config.login_step, self.write(news)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::error!(%error, "what the login proved could not be stored"),
                    Err(_) => tracing::error!("what the login proved could not be stored in time"),
                }
            }
            self.log_in().await;
        })
    }

    fn online(self: Arc<Self>, resumed: bool) -> Vec<BoxFuture<'static, ()>> {
        let kind = if resumed { SessionKind::Resumed } else { SessionKind::Fresh };
        let hook = |(name, extension): (&'static str, &Arc<dyn Extension>)| -> BoxFuture<'static, ()> {
            let (extension, shared) = (Arc::clone(extension), Arc::clone(&self));
            Box::pin(async move {
                let _alone = shared.registry.session_hook(name).await;
                let cx = Ctx::new(Arc::clone(&shared));
                match AssertUnwindSafe(extension.session(&cx, kind)).catch_unwind().await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(extension = name, %error, "an extension failed at the start of the session");
                    }
                    Err(_) => tracing::error!(extension = name, "an extension panicked at the start of the session"),
                }
            })
        };
        let begun = futures::future::join_all(self.registry.extensions().map(hook));
        let (resolving, shared) = (Arc::clone(&self), self);
        let complete = async move {
            begun.await;
            // Only now another process can go on with the session: before, what extensions fetch may be missing (R9).
            if shared.persistent && !resumed {
                let whole = Batch::new().put_session_row(SESSION_ROWS, COMPLETE, "1");
                shared.note("that the session is complete", whole).await;
            }
        };
        vec![Box::pin(complete), Box::pin(async move { resolving.resolve_sent().await })]
    }

    fn session_lost(&self, h: Option<u32>) {
        self.set_bound(None);
        self.take_incomplete();
        self.forget_delivered();
        self.note_sent_soon(self.outbox.session_lost(h));
        self.requests.session_lost();
        self.take_restored();
        self.forget_session();
    }

    fn closing(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let cx = Ctx::new(Arc::clone(&self));
            for (name, extension) in self.registry.extensions().rev() {
                match AssertUnwindSafe(async { extension.closing(&cx).await }).catch_unwind().await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(extension = name, %error, "an extension failed while closing"),
                    Err(_) => tracing::error!(extension = name, "an extension panicked while closing"),
                }
            }
            if self.persistent {
                self.note("the end of the session", Batch::new().end_session()).await;
            }
        })
    }

    fn request(self: Arc<Self>, request: Numbered) -> Option<BoxFuture<'static, ()>> {
        let stanza = request.stanza;
        let kind = if stanza.stanza_type().as_deref() == Some("get") { IqKind::Get } else { IqKind::Set };
        let call = self.registry.iq(kind, &stanza).cloned();
        Some(Box::pin(async move {
            let answer = match call {
                Some(call) => {
                    let run = async { call(stanza.clone(), Ctx::new(Arc::clone(&self))).await };
                    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
                        tracing::error!("the handler of a request panicked");
                        Err(StanzaError::new(StanzaErrorType::Wait, "internal-server-error").into())
                    })
                }
                None => Err(StanzaError::new(StanzaErrorType::Cancel, "service-unavailable").into()),
            };
            match iq_reply(&stanza, answer) {
                Some(Ok(reply)) => drop(self.outgoing(Outgoing::plain(reply)).await),
                Some(Err(error)) => tracing::warn!(%error, "a reply could not be written"),
                None => {}
            }
        }))
    }

    fn refuse(&self, request: &Stanza) -> Option<OutStanza> {
        iq_reply(request, Err(StanzaError::new(StanzaErrorType::Wait, "resource-constraint").into()))?.ok()
    }

    fn presence(&self, presence: Numbered) {
        let inbound = Inbound::new(presence.stanza, presence.seq, presence.received);
        self.consume(std::iter::once(&inbound));
        self.hub.deliver_presence(&inbound);
    }

    fn messages(self: Arc<Self>, messages: Vec<Numbered>, handled: Option<Handled>) -> BoxFuture<'static, Vec<u64>> {
        Box::pin(async move { self.take_messages(messages, handled).await })
    }

    fn next_message(&self) -> Option<Outgoing> {
        self.outbox.next()
    }

    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.outbox.poll_waiting(cx)
    }

    fn messages_taken(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.outbox.emptied().await })
    }

    fn written(&self, token: u64) {
        self.outbox.written(token);
    }

    fn begin_request(&self, token: u64) -> bool {
        self.requests.begin(token)
    }

    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.requests.poll_added(cx)
    }

    fn reply(&self, token: u64, result: Result<Stanza>) {
        self.requests.reply(token, result);
    }

    fn taken_over(&self) -> &TakenOver {
        self.hub.taken_over()
    }

    fn expire(&self) {
        let now = crate::driver::now();
        self.hub.expire_unclaimed(now);
        self.requests.expire(now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.hub.unclaimed_deadline().into_iter().chain(self.requests.next_deadline()).min()
    }

    fn cut_off_slow(&self) {
        let count = self.hub.cut_off_slow();
        tracing::warn!(count, "slow subscribers were cut off; each is told where its gap is");
    }
}

impl Shared {
    /// Lane 3: stages, one batch to the store, then the subscribers.
    async fn take_messages(&self, messages: Vec<Numbered>, handled: Option<Handled>) -> Vec<u64> {
        let Some(cx) = self.ctx() else { return Vec::new() };
        let _one_at_a_time = self.intake.lock().await;
        let mut taken = Vec::with_capacity(messages.len());
        let mut batch = Batch::with_room_for(messages.len() + 2);
        let mut ready = Vec::with_capacity(messages.len());
        let mut appended = 0;
        // Each step is taken with all of them before the next: what a step needs stays at hand.
        let draft = |message: Numbered| InboundDraft::new(Inbound::new(message.stanza, message.seq, message.received));
        let mut drafts: Vec<_> = messages.into_iter().map(draft).collect();
        self.run_stages(&mut drafts, &cx, 0);
        for draft in drafts {
            match self.staged(draft) {
                Staged::Discarded(inbound, changes) => {
                    taken.push(inbound.number());
                    batch.extend(changes);
                }
                Staged::Unlogged(inbound, changes) => {
                    batch.extend(changes);
                    ready.push((inbound, None));
                }
                Staged::Logged(inbound, message, changes) => {
                    ready.push((inbound, Some((appended, message.feed))));
                    batch.push(crate::store::Change::Append(message));
                    batch.extend(changes);
                    appended += 1;
                }
            }
        }
        if let Some(Handled { h, above, delivered }) = handled {
            batch = batch.and(self.take_session_rows()).handled(h, above, SystemTime::now());
            if self.is_by_handling() {
                batch = batch.put_session_row(SESSION_ROWS, DELIVERED, delivered.to_string());
            }
        }
        let applied = if batch.is_empty() { None } else { self.commit(batch).await };
        ready.retain_mut(|(inbound, index)| {
            let outcome = index.and_then(|(index, feed)| Some((applied.as_ref()?.appended.get(index)?, feed)));
            if let Some((outcome, feed)) = outcome {
                if let Some(position) = outcome.position {
                    inbound.set_position(position);
                }
                if !outcome.is_news(feed) {
                    // What the earlier process was not done with comes again.
                    if !(self.is_by_handling() && self.delivered_before(inbound.number())) {
                        tracing::debug!("a second copy of a message was dropped");
                        taken.push(inbound.number());
                        return false;
                    }
                    inbound.set_redelivered(true);
                }
            }
            true
        });
        self.consume(ready.iter().map(|(inbound, _)| inbound).filter(|inbound| !inbound.redelivered()));
        let now = crate::driver::now();
        for (inbound, _) in ready {
            let claimed = || self.registry.claims.iter().any(|route| route.matches(&inbound));
            if self.hub.deliver_message(&inbound, now, claimed) {
                taken.push(inbound.number());
            }
        }
        taken
    }

    async fn commit(&self, batch: Batch) -> Option<crate::store::Applied> {
        match self.write(batch).await {
            Ok(applied) => Some(applied),
            Err(error) => {
                tracing::error!(%error, "messages could not be stored; they are delivered without a copy in the log");
                None
            }
        }
    }

    /// Writes to the store; a panic in it is an error like another.
    pub(super) async fn write(&self, batch: Batch) -> Result<crate::store::Applied> {
        let write = AssertUnwindSafe(async { self.store.apply(batch).await }).catch_unwind().await;
        write.unwrap_or_else(|_| Err(Error::new(ErrorKind::Store).with_context("the store panicked")))
    }

    /// Sends messages through the stages from this one on.
    pub(super) fn run_stages(&self, drafts: &mut [InboundDraft], cx: &Ctx, first: usize) {
        for draft in &mut *drafts {
            if draft.origin() == Origin::Live && self.is_from_offline_storage(draft.stanza()) {
                draft.set_origin(Origin::Offline);
            }
        }
        for stage in self.registry.inbound.iter().skip(first) {
            for draft in drafts.iter_mut().filter(|draft| draft.discarded().is_none()) {
                guard("inbound stage", || stage(draft, cx));
            }
        }
    }

    /// Kept by our server while we were offline: it says so in a delay of its own (XEP-0160, XEP-0203).
    fn is_from_offline_storage(&self, stanza: &Stanza) -> bool {
        let domain = self.account.domain();
        // Nearly never is there one.
        stanza.child(ns::DELAY, "delay").is_some()
            && stanza
                .children()
                .filter(|child| child.is(ns::DELAY, "delay"))
                .any(|delay| delay.attr("from").is_some_and(|from| from == domain.as_str()))
    }

    /// Shows stanzas to the extensions that look at their kind.
    pub(super) fn consume<'a>(&self, inbound: impl Iterator<Item = &'a Inbound> + Clone) {
        let Some(cx) = self.ctx() else { return };
        for consumer in &self.registry.consumers {
            for inbound in inbound.clone().filter(|inbound| consumer.route.matches(inbound)) {
                guard("consumer", || (consumer.look)(inbound, &cx));
            }
        }
    }
}

/// What the log keeps of a stanza.
pub(super) fn record(stanza: &Stanza, conversation: StoredJid, direction: Direction, at: SystemTime) -> MessageRecord {
    let mut record = MessageRecord::new(conversation, direction, stanza, at);
    record.kind = MessageKind::from_attribute(stanza.stanza_type().as_deref());
    record.from = stanza.sender().cloned().map(StoredJid::from);
    record.id = stanza.id().map(|id| StoredText::of(stanza, id));
    let (mut origin_id, mut body, mut delay) = (None, None, None);
    for child in stanza.children() {
        match child.name() {
            "origin-id" if child.has_ns(ns::SID) => origin_id = origin_id.or(Some(child)),
            "body" if child.has_ns(ns::CLIENT) => body = body.or(Some(child)),
            "delay" if child.has_ns(ns::DELAY) => delay = delay.or(Some(child)),
            _ => {}
        }
    }
    record.origin_id = origin_id.and_then(|child| child.attr("id")).map(|id| StoredText::of(stanza, id));
    record.text = body.map(|child| StoredText::of(stanza, child.text()));
    if let Some(stamp) = delay.and_then(|delay| delay.attr("stamp")).and_then(|stamp| parse_datetime(&stamp)) {
        record.stamp = stamp;
        record.flags = MessageFlags::STAMPED;
    }
    record
}

/// Every message is logged except those that carry only a chat state (XEP-0085) and those that ask not to be (XEP-0334).
pub(super) fn logged_by_default(stanza: &Stanza) -> bool {
    if stanza.kind() != StanzaKind::Message {
        return false;
    }
    // Wherever the hint stands.
    if ["no-store", "no-permanent-store"].into_iter().any(|hint| stanza.child(ns::HINTS, hint).is_some()) {
        return false;
    }
    let mut only_state = false;
    for child in stanza.children() {
        if child.has_ns(ns::CHAT_STATES) {
            only_state = true;
        } else if !child.is(ns::SID, "origin-id") && !child.is(ns::SID, "stanza-id") && !child.is(ns::CLIENT, "thread") {
            return true;
        }
    }
    !only_state
}

/// Runs a third party's synchronous code; a panic in it costs this call only.
pub(super) fn guard(name: &str, run: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
        tracing::error!(name, "an extension panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_to_be_stored_is_not_whatever_stands_before_the_hint() {
        let is_logged = |inside: &str| {
            let frame = Frame::parse(&format!("<message xmlns='jabber:client' type='chat'>{inside}</message>")).expect("XML");
            logged_by_default(&frame.stanza().expect("a stanza"))
        };
        let hint = |name: &str| format!("<{name} xmlns='urn:xmpp:hints'/>");
        let state = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
        let origin_id = "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>";
        assert!(is_logged("<body>hi</body>") && is_logged(&format!("<body>hi</body>{state}")) && is_logged(""));
        assert!(is_logged(&format!("<body>hi</body>{}{}", hint("no-copy"), hint("store"))));
        assert!(!is_logged(state) && !is_logged(&format!("{origin_id}{state}<thread>t</thread>")));
        for name in ["no-store", "no-permanent-store"] {
            assert!(!is_logged(&format!("<body>hi</body>{}", hint(name))), "{name} behind a body");
            assert!(!is_logged(&format!("{}<body>hi</body>", hint(name))), "{name} before a body");
            assert!(is_logged(&format!("<body>hi</body><{name} xmlns='urn:else'/>")), "{name} of somebody else");
        }
    }
}
