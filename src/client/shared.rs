//! What all handles of one client share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use jid::{BareJid, FullJid, Jid};
use tokio::sync::mpsc;
use xmpp_parsers::message::Message;
use xmpp_parsers::presence::Presence;
use xso::AsXml;

use crate::auth::{Credentials, Secret};
use crate::client::builder::{Config, NextConnection};
use crate::client::login::LoginMemory;
use crate::client::outbox::Outbox;
use crate::client::request::Requests;
use crate::client::session::Left;
use crate::client::xml::XmlWatchers;
use crate::client::{Sent, WeakClient};
use crate::driver::{ConnectionInfo, Control, Drive, Outgoing, OutgoingSender, Procedure, State, Suspended, XmlSink};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{AckPolicy, Hub};
use crate::ext::{Ctx, Observable, Observe, OutboundDraft, Registry};
use crate::store::{AccountStore, Batch, Change, Direction, Feed, KeyLife, MessageKind, NewMessage, OutboxEntry, RowChange};
use crate::xml::{ElementWriter, Frame, OutStanza, Stanza, StanzaKind, bare_of, ns, write_element};

pub(crate) struct Shared {
    pub(crate) weak: Weak<Self>,
    pub(crate) account: Arc<BareJid>,
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) hub: Hub,
    pub(crate) state: Observable<State>,
    pub(crate) store: Arc<dyn AccountStore>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) requests: Requests,
    pub(crate) outbox: Outbox,
    pub(super) xml: XmlWatchers,
    pub(crate) handles: AtomicUsize,
    pub(super) spawner: Spawner,
    /// Messages pass the stages and are stored one batch at a time, whoever brings them.
    pub(super) intake: tokio::sync::Mutex<()>,
    /// Held while it is found out what became of messages: that goes on over a cut that the session survives.
    pub(super) resolving: tokio::sync::Mutex<()>,
    link: Mutex<Option<Link>>,
    session: Mutex<Session>,
    login: Mutex<LoginMemory>,
    unsaved: Mutex<Option<Batch>>,
    procedure: Mutex<Option<Procedure>>,
    /// What is kept outlives the process.
    pub(crate) persistent: bool,
    suspended: Mutex<Option<Box<Suspended>>>,
    /// An earlier process left a session, or messages, of which nothing was heard yet.
    restored: AtomicBool,
    /// That session had not come online.
    incomplete: AtomicBool,
    /// Up to this number its messages were delivered, though not all of them handled.
    delivered: AtomicU64,
    session_rows: Mutex<Batch>,
    failure: Mutex<Option<Error>>,
}

/// Namespaces of top-level elements that are the stream's own.
const RESERVED: [&str; 7] = [ns::CLIENT, ns::STREAM, ns::TLS, ns::SASL, ns::BIND, ns::SM, ns::SM2];

/// What the builder has made.
pub(super) struct Parts {
    pub(super) account: BareJid,
    pub(super) config: Config,
    pub(super) registry: Registry,
    pub(super) store: Arc<dyn AccountStore>,
    pub(super) persistent: bool,
    pub(super) ack_policy: AckPolicy,
    pub(super) xml_sink: Option<XmlSink>,
    pub(super) login: LoginMemory,
    pub(super) left: Left,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) spawner: Spawner,
}

/// Who polls the driver.
pub(super) enum Spawner {
    Runtime,
    External(Mutex<Option<mpsc::UnboundedSender<Drive>>>),
}

/// The way to the running driver.
pub(super) struct Link {
    pub(super) control: futures::channel::mpsc::UnboundedSender<Control>,
    pub(super) outgoing: OutgoingSender,
}

#[derive(Default)]
struct Session {
    jid: Option<FullJid>,
    features: Option<Frame>,
    connection: Option<ConnectionInfo>,
    mechanism: Option<String>,
    /// The largest stanza the server takes, by its word in this or the last session.
    stanza_limit: Option<usize>,
}

impl Observe for State {
    type Change = Self;

    fn apply(&mut self, change: &Self) {
        self.clone_from(change);
    }
}

impl Shared {
    pub(super) fn new(weak: Weak<Self>, parts: Parts) -> Self {
        let Left { suspended, complete, delivered, outbox: left } = parts.left;
        let restored = suspended.is_some() || !left.is_empty();
        let incomplete = suspended.is_some() && !complete;
        let outbox = Outbox::default();
        outbox.restore(left);
        let account = Arc::new(parts.account);
        let client = WeakClient::from_weak(weak.clone(), Arc::clone(&account));
        let hub = Hub::new(client, Arc::clone(&parts.registry.handlers), parts.persistent, parts.ack_policy, &parts.config.lag);
        Self {
            weak,
            account,
            config: parts.config,
            registry: parts.registry,
            hub,
            state: Observable::new(State::Offline { last: None }),
            store: parts.store,
            runtime: parts.runtime,
            requests: Requests::default(),
            outbox,
            xml: XmlWatchers::new(parts.xml_sink),
            handles: AtomicUsize::new(0),
            spawner: parts.spawner,
            intake: tokio::sync::Mutex::default(),
            resolving: tokio::sync::Mutex::default(),
            link: Mutex::default(),
            session: Mutex::default(),
            login: Mutex::new(parts.login),
            unsaved: Mutex::default(),
            procedure: Mutex::default(),
            persistent: parts.persistent,
            suspended: Mutex::new(suspended.map(Box::new)),
            restored: AtomicBool::new(restored),
            incomplete: AtomicBool::new(incomplete),
            delivered: AtomicU64::new(delivered),
            session_rows: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    pub(super) fn take_suspended_once(&self) -> Option<Suspended> {
        lock(&self.suspended).take().map(|suspended| *suspended)
    }

    pub(super) fn set_suspended(&self, suspended: Option<Suspended>) {
        *lock(&self.suspended) = suspended.map(Box::new);
    }

    /// Whether what an earlier process left has not been dealt with; asked once.
    pub(super) fn take_restored(&self) -> bool {
        self.restored.swap(false, Ordering::Relaxed)
    }

    /// Whether the session that an earlier process left lacks what its login would have fetched; asked once.
    pub(super) fn take_incomplete(&self) -> bool {
        self.incomplete.swap(false, Ordering::Relaxed)
    }

    /// Whether the message of this number was delivered by an earlier process, which the server was not told.
    pub(super) fn delivered_before(&self, number: u64) -> bool {
        number <= self.delivered.load(Ordering::Relaxed)
    }

    /// The session that an earlier process left is over.
    pub(super) fn forget_delivered(&self) {
        self.delivered.store(0, Ordering::Relaxed);
    }

    /// Changes a row that lives as long as the session, with the next count that is noted (R9).
    pub(crate) fn change_session_row(&self, row: RowChange) {
        if self.persistent {
            lock(&self.session_rows).push(Change::SessionRow(row));
        }
    }

    pub(super) fn take_session_rows(&self) -> Batch {
        std::mem::take(&mut *lock(&self.session_rows))
    }

    /// What the last login proved and the store does not know yet.
    pub(super) fn take_unsaved(&self) -> Option<Batch> {
        lock(&self.unsaved).take()
    }

    pub(super) fn set_unsaved(&self, batch: Option<Batch>) {
        if batch.is_some() {
            *lock(&self.unsaved) = batch;
        }
    }

    pub(crate) fn ctx(&self) -> Option<Ctx> {
        self.weak.upgrade().map(Ctx::new)
    }

    pub(crate) fn weak_client(&self) -> WeakClient {
        WeakClient::from_weak(self.weak.clone(), Arc::clone(&self.account))
    }

    pub(crate) fn bound_jid(&self) -> Option<FullJid> {
        lock(&self.session).jid.clone()
    }

    pub(crate) fn features(&self) -> Option<Frame> {
        lock(&self.session).features.clone()
    }

    pub(crate) fn connection_info(&self) -> Option<ConnectionInfo> {
        lock(&self.session).connection.clone()
    }

    pub(super) fn set_connection(&self, info: ConnectionInfo) {
        lock(&self.session).connection = Some(info);
    }

    pub(super) fn set_bound(&self, bound: Option<(FullJid, Frame)>) {
        let bound = bound.map(|(jid, features)| (jid, self.next_connection().connect.shared.one_of_features(features)));
        let mut session = lock(&self.session);
        if let Some((_, features)) = &bound {
            session.stanza_limit = super::limits::max_bytes(features);
        }
        (session.jid, session.features) = bound.unzip();
    }

    pub(crate) fn next_connection(&self) -> MutexGuard<'_, NextConnection> {
        lock(&self.config.next)
    }

    pub(super) fn set_password(&self, password: Secret) {
        let mut next = self.next_connection();
        let credentials = &next.core.credentials;
        let mut changed = Credentials::new(credentials.username(), password);
        if let Some(authzid) = credentials.authzid() {
            changed = changed.acting_as(authzid);
        }
        next.core.credentials = changed;
        drop(next);
        // Keys of the old password would log in although the new one may be wrong.
        self.change_login_memory(|memory| memory.keys = None);
    }

    pub(super) fn set_mechanism(&self, mechanism: &str) {
        lock(&self.session).mechanism = Some(mechanism.to_owned());
    }

    pub(super) fn mechanism(&self) -> Option<String> {
        lock(&self.session).mechanism.clone()
    }

    pub(super) fn login_memory(&self) -> LoginMemory {
        lock(&self.login).clone()
    }

    pub(super) fn change_login_memory<R>(&self, change: impl FnOnce(&mut LoginMemory) -> R) -> R {
        change(&mut lock(&self.login))
    }

    pub(super) fn set_procedure(&self, procedure: Option<Procedure>) {
        *lock(&self.procedure) = procedure;
    }

    pub(super) fn take_procedure_once(&self) -> Option<Procedure> {
        lock(&self.procedure).take()
    }

    /// Why the client is being stopped, if there is a reason. Under the lock of the link, as [`stopped`](Self::stopped).
    pub(super) fn set_failure(&self, failure: Option<Error>) {
        *lock(&self.failure) = failure;
    }

    /// The state the client stops in: failed, if it was stopped because of something.
    pub(super) fn stopped(&self, state: State) -> State {
        lock(&self.failure).take().map_or(state, State::Failed)
    }

    pub(super) fn link(&self) -> MutexGuard<'_, Option<Link>> {
        lock(&self.link)
    }

    /// Makes a state known. The lock of the link is held by whoever changes whether there is one.
    pub(super) fn announce(&self, state: State) {
        self.hub.pause(state.is_stopped());
        let online = state.is_online();
        self.state.change(state);
        if !online {
            self.outbox.offline();
        }
    }

    /// Orders something from the running driver; `false` if none is running.
    pub(crate) fn control(&self, order: Control) -> bool {
        self.link().as_ref().is_some_and(|link| link.control.unbounded_send(order).is_ok())
    }

    /// Hands a stanza to the running driver; waits while it is busy.
    pub(crate) async fn outgoing(&self, outgoing: Outgoing) -> Result<()> {
        let sender = self.link().as_ref().map(|link| link.outgoing.clone());
        match sender {
            Some(sender) if sender.hand_over(outgoing).await => Ok(()),
            _ => Err(ErrorKind::NotOnline.into()),
        }
    }

    pub(super) fn spawn_driver(&self, drive: Drive) {
        match &self.spawner {
            Spawner::Runtime => drop(self.runtime.spawn(drive)),
            Spawner::External(work) => {
                let work = lock(work).clone();
                if let Some(work) = work {
                    // A driver future that was dropped polls nothing, and the client fails with `Abandoned`.
                    let _ = work.send(drive);
                }
            }
        }
    }

    /// The last handle is gone: close (or suspend) in the background, end everything.
    pub(crate) fn last_handle_dropped(&self) {
        let running = self.control(self.config.last_drop.order());
        if let Spawner::External(work) = &self.spawner {
            lock(work).take();
        }
        if !running {
            self.end();
        }
    }

    /// No task is left: streams end, waiters learn it.
    pub(super) fn end(&self) {
        self.hub.end();
        self.outbox.close();
        self.xml.end();
    }

    /// An id that nobody can guess and that is never used again.
    #[allow(clippy::unused_self, reason = "a client's ids are its own matter")]
    pub(crate) fn new_id(&self) -> Result<String> {
        super::ids::random()
    }

    pub(crate) fn check_size(&self, size: usize) -> Result<()> {
        let announced = || lock(&self.session).stanza_limit;
        let limit = self.config.max_stanza_bytes.or_else(announced).unwrap_or(super::limits::UNKNOWN);
        if size > limit { Err(ErrorKind::StanzaTooLarge { size, limit }.into()) } else { Ok(()) }
    }

    /// Initial presence, unless an extension made it one that says nothing: unavailable before ever being available.
    pub(super) async fn send_initial_presence(&self) -> Result<()> {
        let presence = self.decorated(Presence::available());
        if presence.type_ == xmpp_parsers::presence::Type::Unavailable { Ok(()) } else { self.send_decorated(&presence).await }
    }

    pub(crate) async fn send_presence(&self, presence: Presence) -> Result<()> {
        if self.bound_jid().is_none() {
            return Err(ErrorKind::NotOnline.into());
        }
        self.send_decorated(&self.decorated(presence)).await
    }

    fn decorated(&self, mut presence: Presence) -> Presence {
        if let Some(cx) = self.ctx() {
            for decorate in &self.registry.presence {
                super::dispatch::guard("presence decorator", || decorate(&mut presence, &cx));
            }
        }
        presence
    }

    async fn send_decorated(&self, presence: &Presence) -> Result<()> {
        let stanza = OutStanza::presence(presence)?;
        self.check_size(stanza.byte_len())?;
        self.outgoing(Outgoing::plain(stanza)).await
    }

    /// Sends an element that is no stanza, and none of those by which the stream itself is kept.
    pub(crate) async fn send_nonza<P: AsXml>(&self, element: &P) -> Result<()> {
        let mut text = Vec::new();
        write_element(&mut text, element, "")?;
        let text = String::from_utf8(text).map_err(Error::other)?;
        let frame = Frame::parse(&text)?;
        if RESERVED.contains(&&*frame.ns()) {
            let error = Error::new(ErrorKind::Other);
            return Err(error.with_context(format!("<{}> in {} is not an extension's to send", frame.name(), frame.ns())));
        }
        self.check_size(text.len())?;
        if self.bound_jid().is_none() {
            return Err(ErrorKind::NotOnline.into());
        }
        self.outgoing(Outgoing::Nonza(text)).await
    }

    /// Stages, log, outbox; see [`Client::send`](crate::client::Client::send).
    pub(crate) async fn send_message(&self, message: Message) -> Result<Sent> {
        let Some(cx) = self.ctx() else { return Err(ErrorKind::ClientClosed.into()) };
        self.check_account()?;
        let mut draft = OutboundDraft::new(message);
        let id = match &draft.message.id {
            Some(id) => id.0.clone(),
            None => self.new_id()?,
        };
        draft.message.id = Some(xmpp_parsers::message::Id(id.clone()));
        set_origin_id(&mut draft.message, &id);
        for stage in &self.registry.outbound {
            draft = (stage.step)(draft, cx.clone()).await?;
        }
        draft.message.id = Some(xmpp_parsers::message::Id(id.clone()));
        self.accept(id, OutStanza::message(&draft.message)?).await
    }

    /// The same for a message of payloads that `write` writes; see [`Client::send_payload`](crate::client::Client::send_payload).
    pub(crate) async fn send_payload(
        &self,
        to: &Jid,
        kind: MessageKind,
        write: impl FnOnce(&mut ElementWriter<'_>) -> Result<(), xso::error::Error>,
    ) -> Result<Sent> {
        self.check_account()?;
        let id = self.new_id()?;
        let stanza = OutStanza::written(StanzaKind::Message, Some(to), |message| {
            message.attribute("id", &id)?;
            if kind != MessageKind::Normal {
                message.attribute("type", kind.as_str())?;
            }
            write(message)?;
            message.start(ns::SID, "origin-id")?;
            message.attribute("id", &id)?;
            message.end()
        })?;
        let message = stanza.to_stanza();
        let is_looked_at = || self.registry.outbound.iter().any(|stage| (stage.looks_at)(&message));
        // What is not kept may be a chat state alone, which has no origin-id.
        if !super::dispatch::logged_by_default(&message) || is_looked_at() {
            return self.send_message(message.decode()?).await;
        }
        self.accept(id, stanza).await
    }

    fn check_account(&self) -> Result<()> {
        let is_deleted =
            self.state.with(|state| matches!(state, State::Failed(error) if *error.kind() == ErrorKind::AccountDeleted));
        if is_deleted { Err(ErrorKind::AccountDeleted.into()) } else { Ok(()) }
    }

    /// Log and outbox, for a message that passed the stages.
    async fn accept(&self, id: String, stanza: OutStanza) -> Result<Sent> {
        self.check_size(stanza.byte_len())?;
        let online = || self.state.with(State::is_online);
        // First room, then the log, then the queue: what is refused is not in the log.
        self.outbox.room_for(stanza.byte_len(), online).await?;
        let now = SystemTime::now();
        let sent = stanza.to_stanza();
        // Chat states and what is not to be stored are of no use later (R1).
        let ephemeral = !super::dispatch::logged_by_default(&sent);
        let mut batch = Batch::with_room_for(2);
        if let Some(to) = stanza.to_jid().filter(|_| !ephemeral) {
            batch.push(Change::Append(self.logged(&id, to, &sent, now)));
        }
        let logged = !batch.is_empty();
        if self.persistent {
            let entry = OutboxEntry::new(id.clone(), stanza.to_jid().cloned(), &sent, now);
            batch = batch.send(if ephemeral { entry.ephemeral() } else { entry });
        }
        if !batch.is_empty() {
            let applied = self.store.apply(batch).await?;
            if logged && applied.appended.first().is_some_and(|appended| appended.duplicate) {
                self.note_soon(Batch::new().forget_sent(id.as_str()));
                return Err(ErrorKind::DuplicateId(id).into());
            }
        }
        self.outbox.add(id, stanza, ephemeral, now)
    }

    /// How long the keys of messages are of use.
    pub(super) fn key_life(&self) -> KeyLife {
        if self.persistent { KeyLife::BeyondProcess } else { KeyLife::InProcess }
    }

    /// What the log gets of a message that is sent.
    fn logged(&self, id: &str, to: &Jid, sent: &Stanza, now: SystemTime) -> NewMessage {
        let mut record = super::dispatch::record(sent, bare_of(to).into(), Direction::Outgoing, now);
        record.from = self.bound_jid().map(Into::into);
        super::identity::sent(record, self.key_life(), &self.account, sent, to, id).feed(Feed::History)
    }
}

/// The origin-id (XEP-0359) is the message's id, whatever copies it passes through.
fn set_origin_id(message: &mut Message, id: &str) {
    message.payloads.retain(|payload| !payload.is("origin-id", ns::SID));
    let is_state = |payload: &minidom::Element| payload.has_ns(ns::CHAT_STATES);
    // What only tells a state holds nothing else (XEP-0085 §5.5), and servers then know not to keep it.
    if message.bodies.is_empty() && message.payloads.iter().any(is_state) && message.payloads.iter().all(is_state) {
        return;
    }
    message.payloads.push(xmpp_parsers::stanza_id::OriginId { id: id.to_owned() }.into());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        debug_assert_eq!(self.handles.load(Ordering::Relaxed), 0, "a handle outlived its client");
    }
}

#[cfg(test)]
mod tests {
    use xmpp_parsers::chatstates::ChatState;
    use xmpp_parsers::receipts::Received;

    use super::*;
    use crate::client::Client;
    use crate::driver::Outgoing;
    use crate::ext::{Extension, Position, Registrar, outbound};
    use crate::store::IdentityKey;

    /// Has receipts kept by servers, and lets none go to Paris.
    struct Censor;

    impl Extension for Censor {
        fn register(&self, reg: &mut Registrar<'_>) {
            reg.outbound_stage("censor", Position::After(outbound::DECORATE), |mut draft, _cx| async move {
                let is_receipt = draft.payload::<Received>()?.is_some();
                if is_receipt && draft.message.to.as_ref().is_some_and(|to| to.as_str().starts_with("paris@")) {
                    return Err(Error::other("not to him"));
                }
                if is_receipt {
                    draft.message.payloads.push(minidom::Element::bare("store", ns::HINTS));
                }
                Ok(draft)
            });
        }
    }

    async fn client(censored: bool) -> Client {
        let builder = Client::builder("romeo@montague.example".parse().expect("a JID")).password("secret");
        let builder = if censored { builder.with(Censor) } else { builder };
        builder.build().await.expect("a client")
    }

    async fn receipt(client: &Client, to: &str) -> Result<Sent> {
        let write = |message: &mut ElementWriter<'_>| {
            message.start(ns::RECEIPTS, "received")?;
            message.attribute("id", "m'1")?;
            message.end()
        };
        client.send_payload(&to.parse().expect("a JID"), MessageKind::Chat, write).await
    }

    /// What goes out next, with the id by another name.
    fn next(client: &Client, id: &str) -> String {
        let shared = client.downgrade().shared().expect("the client is there");
        let Some(Outgoing::Stanza { stanza, .. }) = shared.outbox.next() else { panic!("nothing is in the outbox") };
        assert_eq!((stanza.id(), stanza.to_jid().map(Jid::as_str)), (Some(id), stanza.to()));
        let mut out = Vec::new();
        stanza.write_to(&mut out, None);
        String::from_utf8(out).expect("UTF-8").replace(id, "ID")
    }

    #[tokio::test]
    async fn what_is_sent_without_a_value_is_what_its_value_says() {
        let juliet = "juliet@capulet.example/balcony";
        for (censored, hint) in [(false, ""), (true, "<store xmlns='urn:xmpp:hints'/>")] {
            let client = client(censored).await;
            let message = Message::chat(juliet.parse::<Jid>().expect("a JID")).with_payload(Received { id: "m'1".to_owned() });
            for sent in [client.send(message).await, receipt(&client, juliet).await] {
                let sent = sent.expect("accepted");
                let expected = format!(
                    "<message to='{juliet}' id='ID' type='chat'><received xmlns='urn:xmpp:receipts' id='m&apos;1'/>\
                     <origin-id xmlns='urn:xmpp:sid:0' id='ID'/>{hint}</message>"
                );
                assert_eq!(next(&client, sent.id()), expected);
                assert_eq!(sent.to().map(Jid::as_str), Some(juliet));
                let logged = client.store().find(&IdentityKey::own(sent.id())).await.expect("a store").expect("it is in the log");
                let kept = expected.replacen(" to", " xmlns='jabber:client' to", 1);
                assert_eq!(logged.xml.as_str().replace(sent.id(), "ID"), kept);
                assert_eq!((logged.id.as_deref(), logged.origin_id.as_deref()), (Some(sent.id()), Some(sent.id())));
                assert_eq!((logged.conversation.as_str(), logged.kind), ("juliet@capulet.example", MessageKind::Chat));
            }
        }
    }

    #[tokio::test]
    async fn a_stage_refuses_what_is_sent_without_a_value() {
        let client = client(true).await;
        assert!(receipt(&client, "paris@verona.example/x").await.is_err());
        assert!(client.downgrade().shared().is_some_and(|shared| shared.outbox.next().is_none()));
    }

    #[tokio::test]
    async fn what_only_tells_a_state_has_no_other_id_and_is_not_kept() {
        let (client, juliet) = (client(false).await, "juliet@capulet.example".parse::<Jid>().expect("a JID"));
        let write = |message: &mut ElementWriter<'_>| {
            message.start(ns::CHAT_STATES, "paused")?;
            message.end()
        };
        let by_value = client.send(Message::chat(juliet.clone()).with_payload(ChatState::Paused)).await;
        for sent in [by_value, client.send_payload(&juliet, MessageKind::Chat, write).await] {
            let sent = sent.expect("accepted");
            let expected = "<message to='juliet@capulet.example' id='ID' type='chat'>\
                            <paused xmlns='http://jabber.org/protocol/chatstates'/></message>";
            assert_eq!(next(&client, sent.id()), expected);
            assert!(client.store().find(&IdentityKey::own(sent.id())).await.expect("a store").is_none());
        }
    }

    type Write = fn(&mut ElementWriter<'_>) -> Result<(), xso::error::Error>;

    #[tokio::test]
    async fn what_is_no_xml_is_not_sent() {
        let (client, juliet) = (client(false).await, "juliet@capulet.example".parse::<Jid>().expect("a JID"));
        let wrong: [Write; 6] = [
            |message| message.attribute("x y", "z"),
            |message| message.attribute("x", "\u{1}"),
            |message| message.text("\u{1}"),
            |message| message.start("urn:x", "a b='c' d"),
            |message| message.start("urn:x", "open"),
            |message| message.end(),
        ];
        for (number, write) in wrong.into_iter().enumerate() {
            let error = client.send_payload(&juliet, MessageKind::Normal, write).await.expect_err("it is not well-formed");
            assert!(error.to_string().starts_with("malformed payload <message"), "{number}: {error}");
            assert!(!error.to_string().contains("xmlns=''"), "{number}: {error}");
        }
        assert!(client.downgrade().shared().is_some_and(|shared| shared.outbox.next().is_none()));
    }
}
