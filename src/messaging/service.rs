//! What [`MessagingService`] does: it keeps what conversations remember, asks for receipts and sends them, and notes what is
//! heard of messages that were sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jid::{BareJid, Jid};
use xmpp_parsers::displayed_markers::Markable;
use xmpp_parsers::message;
use xmpp_parsers::receipts::Request;

use super::confirm::ReceiptDue;
use super::news::News;
use super::state::{Locks, States};
use super::wire::{self, ChatState};
use super::{MessageType, MessagingSettings, Origin};
use crate::event::{Inbound, Route};
use crate::ext::{Ctx, Extension, OutboundDraft, Position, Registrar, outbound};
use crate::roster::RosterService;
use crate::xml::{Stanza, belongs_to, ns};

/// One-to-one messages (RFC 6121 §5): the extension behind [`Messages`](super::Messages). Every client has it.
#[derive(Debug, Default)]
pub struct MessagingService {
    locks: Mutex<Locks>,
    states: Mutex<States>,
}

impl MessagingService {
    /// The extension.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where a message to this conversation goes now.
    pub(super) fn address(&self, conversation: &Jid) -> Jid {
        match conversation.try_as_full() {
            Ok(full) => full.clone().into(),
            Err(contact) => lock(&self.locks).address(contact),
        }
    }

    /// Whether the contact is to be told this chat state; it counts as told then.
    pub(super) fn may_tell(&self, contact: &BareJid, state: ChatState) -> bool {
        lock(&self.states).tell(contact, state)
    }
}

impl Extension for MessagingService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.uses::<RosterService>();
        reg.setting(MessagingSettings::default());
        for feature in [ns::RECEIPTS, ns::CHAT_MARKERS, ns::CHAT_STATES] {
            reg.feature(feature);
        }
        // It has to do with chat messages that have a body.
        let looks_at = |message: &Stanza| message.child(ns::CLIENT, "body").is_some();
        reg.outbound_stage_for("receipts", Position::After(outbound::DECORATE), looks_at, |draft, cx| {
            let service = cx.ext::<Self>();
            std::future::ready(Ok(match service {
                Some(service) => decorated(draft, &cx, &service.states),
                None => draft,
            }))
        });
        reg.on_route(Route::message(), |inbound, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                heard(inbound, cx, &service.locks, &service.states);
            }
        });
        reg.on(|due: ReceiptDue, cx: Ctx| due.send(cx));
        reg.on(|news: News, cx: Ctx| async move {
            match cx.ext::<Self>() {
                Some(service) => news.find(cx, &service.locks).await,
                None => Ok(()),
            }
        });
        reg.on_route(Route::presence(), |inbound, cx| {
            if let Some(service) = cx.ext_ref::<Self>() {
                presence_changed(inbound.stanza(), &service.locks);
            }
        });
        // What is about other messages concerns their tokens; an application that wants it all the same subscribes to it.
        reg.claim(Route::message().when(|inbound| {
            let stanza = inbound.stanza();
            let about_others = || {
                stanza.child(ns::CLIENT, "body").is_none()
                    && stanza
                        .children()
                        .any(|c| c.has_ns(ns::RECEIPTS) || c.has_ns(ns::CHAT_MARKERS) || c.has_ns(ns::CHAT_STATES))
            };
            is_error(stanza) || about_others()
        }));
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn session_lost(&self, _cx: &Ctx) {
        lock(&self.locks).clear();
        lock(&self.states).clear();
    }
}

/// What travels with a chat message: that its arrival (XEP-0184, R23) and its display (XEP-0333) be confirmed, and that
/// writing is over (XEP-0085). Never in rooms, never with a confirmation.
fn decorated(mut draft: OutboundDraft, cx: &Ctx, states: &Mutex<States>) -> OutboundDraft {
    let message = &mut draft.message;
    if message.type_ != message::MessageType::Chat || message.bodies.is_empty() {
        return draft;
    }
    let settings = cx.setting::<MessagingSettings>().map(|settings| (*settings).clone()).unwrap_or_default();
    let carries = |message: &message::Message, ns: &str| message.payloads.iter().any(|payload| payload.has_ns(ns));
    if settings.request_receipts && !carries(message, ns::RECEIPTS) {
        message.payloads.push(Request.into());
    }
    if settings.request_markers && !carries(message, ns::CHAT_MARKERS) {
        message.payloads.push(Markable.into());
    }
    if let Some(contact) = message.to.clone() {
        let mut states = lock(states);
        if settings.chat_states && !carries(message, ns::CHAT_STATES) && states.may_ride(&contact) {
            message.payloads.push(ChatState::Active.to_wire().into());
        }
        states.said(&contact, carries(message, ns::CHAT_STATES));
    }
    draft
}

fn heard(inbound: &Inbound, cx: &Ctx, locks: &Mutex<Locks>, states: &Mutex<States>) {
    let stanza = inbound.stanza();
    match MessageType::from_attribute(stanza.stanza_type().as_deref()) {
        MessageType::Error => News::of_bounce(inbound, cx).into_iter().for_each(|news| news.tell(cx, locks)),
        MessageType::Groupchat | MessageType::Headline => {}
        _ => {
            let carried = wire::Carried::by(stanza);
            if carried.progress {
                News::of_progress(inbound, cx).into_iter().for_each(|news| news.tell(cx, locks));
            }
            if carried.asks
                && let Some(due) = ReceiptDue::for_message(inbound, cx)
            {
                cx.emit(due);
            }
            // A resource that wrote before we came online may be gone.
            if inbound.origin() == Origin::Live
                && (carried.body || carried.state)
                && let Some(from) = stanza.from_jid().filter(|from| !belongs_to(from, cx.account()))
            {
                lock(states).heard(from, carried.state);
                if carried.body {
                    lock(locks).message(from);
                }
            }
        }
    }
}

fn presence_changed(stanza: &Stanza, locks: &Mutex<Locks>) {
    // Subscriptions and errors say nothing about a resource's presence.
    if !matches!(stanza.stanza_type().as_deref(), None | Some("unavailable")) {
        return;
    }
    if let Some(from) = stanza.from_jid() {
        lock(locks).unlock(from);
    }
}

pub(super) fn is_error(stanza: &Stanza) -> bool {
    stanza.stanza_type().as_deref() == Some("error")
}

pub(super) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
