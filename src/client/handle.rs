//! The handle applications hold.

use std::any::Any;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures::{Stream, StreamExt};
use jid::{BareJid, FullJid, Jid};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::message::Message;
use xmpp_parsers::presence::Presence;
use xso::AsXml;

use crate::auth::Secret;
use crate::client::connect::{self, Connect};
use crate::client::request::Request;
use crate::client::shared::Shared;
use crate::client::{ClientBuilder, Sent, Trust, XmlWatch};
use crate::driver::{ConnectionInfo, Control, Mode, Outgoing, State};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Handler, HandlerGuard, Subscription};
use crate::ext::{Ctx, Declared, Extension, Observed};
use crate::store::{AccountStore, MessageKind, SendFailure};
use crate::xml::{ElementWriter, Frame};

/// One account's client. Clones are handles to the same client.
///
/// Made by [`Client::builder`]. Subscribe first, then [`connect`](Self::connect): nothing that arrives is missed. When the
/// last handle is dropped, the session is closed in the background (or [otherwise](ClientBuilder::on_last_drop)) and every task
/// of the client ends.
///
/// ```no_run
/// use futures::StreamExt;
/// use xmppkit::{Client, messaging::Messages};
///
/// # async fn run() -> xmppkit::Result<()> {
/// let client = Client::builder("romeo@example.org".parse()?).password("secret").build().await?;
/// let mut messages = client.messages().events();
/// client.connect().await?;
/// while let Some(message) = messages.next().await {
///     println!("{:?}: {}", message.from(), message.body().unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// A builder for this account's client.
    pub fn builder(account: BareJid) -> ClientBuilder {
        ClientBuilder::new(account)
    }

    /// Connects and logs in; resolves when online: the roster is there, initial presence is sent. Sent, not processed: the
    /// server takes a moment to see it, and until then keeps messages to the account as offline messages.
    ///
    /// The future fails with a final error, or after one complete round of the domain's servers, and the client is then
    /// stopped; with [`keep_trying`](Connect::keep_trying) only with a final one. Once it was online, the client keeps
    /// itself connected until [`close`](Self::close), a final error, or the drop of the last handle. Dropping the future
    /// does not stop the client.
    pub fn connect(&self) -> Connect<'_> {
        Connect::new(self)
    }

    /// Begins to connect and returns at once; what comes of it is in the [state](Self::states). Keeps trying until a
    /// final error. Where the client waits between two attempts, the next one begins at once, as with
    /// [`connect`](Self::connect); otherwise nothing happens if it is running.
    pub fn start(&self) {
        connect::start(&self.shared, Mode::KeepTrying);
    }

    /// Ends the session in an orderly way and stops: messages that were accepted before are written first, and extensions
    /// say their last words. Resolves when the client has stopped; bounded by the closing deadlines (5 s for messages and
    /// extensions' hooks, then [`Deadlines::closing`](crate::client::Deadlines), then 5 s for the store). What could not be
    /// written stays in the outbox. A client that is not running is closed at once. Cancel-safe: the closing goes on.
    pub async fn close(&self) {
        connect::stop(&self.shared, Control::Close, None).await;
    }

    /// Ends the session as [`close`](Self::close) does, because of this error: the client is then
    /// [`Failed`](State::Failed) with it instead of closed. For what an extension or the application found out and no new
    /// attempt can help.
    ///
    /// With [`ErrorKind::AccountDeleted`], what is still in the outbox is given up: its tokens fail with
    /// [`SendFailure::AccountGone`]. Cancel-safe, but for the giving up.
    pub async fn fail(&self, error: Error) {
        let is_gone = *error.kind() == ErrorKind::AccountDeleted;
        connect::stop(&self.shared, Control::Close, Some(error)).await;
        if is_gone {
            self.shared.give_up_sending(&SendFailure::AccountGone).await;
        }
    }

    /// Drops the connection without ending the session, and stops. Where the server allows it (XEP-0198), the session
    /// can be resumed later. Cancel-safe.
    pub async fn suspend(&self) {
        connect::stop(&self.shared, Control::Suspend, None).await;
    }

    /// Says that the network has changed: names are resolved anew, and a wait between attempts ends at once.
    pub fn network_changed(&self) {
        self.shared.next_connection().connect.shared.network_changed();
        self.shared.control(Control::Hurry);
    }

    /// Logs in with another password from the next connection on: after
    /// [`AuthError::NotAuthorized`](crate::error::AuthError::NotAuthorized), for example, when the user was asked again.
    /// Everything else stays, subscriptions included; call [`connect`](Self::connect) again.
    pub fn set_password(&self, password: impl Into<Secret>) {
        self.shared.set_password(password.into());
    }

    /// Accepts other certificates from the next connection on: after [`ErrorKind::Certificate`](crate::ErrorKind::Certificate),
    /// for example, when the user has looked at the certificate and it is to be pinned.
    pub fn set_trust(&self, trust: Trust) {
        self.shared.next_connection().connect.trust = trust;
    }

    /// Where the connection stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state.get()
    }

    /// The connection state now, and then every transition in order.
    ///
    /// A reader more than 64 transitions behind goes on with the current one. The stream ends with the client.
    pub fn states(&self) -> impl Stream<Item = State> + Send + Unpin + 'static {
        self.shared.state.watch().map(|observed| match observed {
            Observed::Reset(state) | Observed::Change(state) => state,
        })
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &BareJid {
        &self.shared.account
    }

    /// The address of the current session, if there is one.
    #[must_use]
    pub fn jid(&self) -> Option<FullJid> {
        self.shared.bound_jid()
    }

    /// What the server offered for this session: its `<stream:features/>` as they were before binding (RFC 6120 §4.3.2).
    /// `None` without a session.
    #[must_use]
    pub fn stream_features(&self) -> Option<Frame> {
        self.shared.features()
    }

    /// What is known about the current or last connection: server, address, TLS.
    #[must_use]
    pub fn connection_info(&self) -> Option<ConnectionInfo> {
        self.shared.connection_info()
    }

    /// The SASL mechanism of the current or last login, for example `SCRAM-SHA-256-PLUS`.
    #[must_use]
    pub fn mechanism(&self) -> Option<String> {
        self.shared.mechanism()
    }

    /// Subscribes to an event: a stream of what arrives from now on.
    ///
    /// Its items are [`Incoming`](crate::event::Incoming): an event, or a gap where the subscriber was too slow;
    /// [`events`](Subscription::events) leaves the gaps out.
    ///
    /// ```
    /// # use futures::StreamExt;
    /// # use xmppkit::{Client, messaging::Bounce};
    /// # async fn example(client: &Client) {
    /// let mut bounces = client.subscribe::<Bounce>().events();
    /// while let Some(bounce) = bounces.next().await {
    ///     println!("came back: {}", bounce.error().condition);
    /// }
    /// # }
    /// ```
    pub fn subscribe<E: Event>(&self) -> Subscription<E> {
        Subscription::new(self)
    }

    /// Registers a handler for an event: a closure that takes the event, or the event and a [`Ctx`], and gives a future.
    ///
    /// Calls come one after another in order of arrival, on a task of their own; a slow handler delays only itself. An
    /// error is reported at warn level. Dropping the guard removes the handler; [`detach`](HandlerGuard::detach) keeps it
    /// for the client's life. A handler must not own a `Client` (the last handle would never be dropped): use the [`Ctx`].
    ///
    /// ```
    /// # use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// # use xmppkit::{Client, ext::Ctx, messaging::ChatMessage};
    /// # fn example(client: &Client) {
    /// client.on(|message: ChatMessage, _cx: Ctx| async move { message.reply("hi").await }).detach();
    ///
    /// // State is shared by cloning it into each call's future:
    /// let count = Arc::new(AtomicU32::new(0));
    /// let counter = client.on(move |_: ChatMessage| {
    ///     let count = Arc::clone(&count);
    ///     async move { count.fetch_add(1, Ordering::Relaxed); }
    /// });
    /// # drop(counter);
    /// # }
    /// ```
    pub fn on<M: 'static, H: Handler<M>>(&self, handler: H) -> HandlerGuard {
        crate::event::register_handler(self.downgrade(), &self.shared.hub, handler)
    }

    /// Sends a message. Resolves when it is accepted: it has its id, stands in the log and in the outbox, and will be
    /// sent in order, now or when the client is online. The token tells what becomes of it.
    ///
    /// A message without an id gets one; its origin-id (XEP-0359) is the same.
    ///
    /// # Errors
    /// [`ErrorKind::StanzaTooLarge`](crate::ErrorKind::StanzaTooLarge); [`ErrorKind::OutboxFull`](crate::ErrorKind::OutboxFull)
    /// while offline; [`ErrorKind::AccountDeleted`] once that was [done](crate::register::Registers::delete_account);
    /// [`ErrorKind::Store`](crate::ErrorKind::Store); whatever an outbound stage refuses it with.
    pub async fn send(&self, message: Message) -> Result<Sent> {
        self.shared.send_message(message).await
    }

    /// Sends a message that carries nothing but payloads, which `write` writes: receipts, markers and the like, of which there are
    /// many. It is the same as to [send](Self::send) a message with these payloads, without the cost of their values: such a value
    /// is made only if an outbound stage [is to see it](crate::ext::Registrar::outbound_stage_for).
    ///
    /// ```
    /// # use xmppkit::{Client, jid::Jid, store::MessageKind, xml::ns};
    /// # async fn example(client: &Client, juliet: &Jid) -> xmppkit::Result<()> {
    /// client
    ///     .send_payload(juliet, MessageKind::Chat, |message| {
    ///         message.start(ns::RECEIPTS, "received")?;
    ///         message.attribute("id", "m1")?;
    ///         message.end()
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send); [`ErrorKind::Payload`](crate::ErrorKind::Payload) if what is written is not well-formed.
    pub async fn send_payload(
        &self,
        to: &Jid,
        kind: MessageKind,
        write: impl FnOnce(&mut ElementWriter<'_>) -> Result<(), xso::error::Error> + Send,
    ) -> Result<Sent> {
        self.shared.send_payload(to, kind, write).await
    }

    /// The token of a message that was sent by this client and whose token somebody still holds.
    #[must_use]
    pub fn sent(&self, id: &str) -> Option<Sent> {
        self.shared.outbox.sent(id)
    }

    /// The token of a message that was sent, in this run of the program or, with a [store](Self::store) that outlives it, in an
    /// earlier one. `None` if nothing is known of it.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the store fails.
    pub async fn find_sent(&self, id: &str) -> Result<Option<Sent>> {
        self.shared.find_sent(id).await
    }

    /// Asks: an IQ of type `get` with this payload (RFC 6120 §8.2.3). `None` asks the own account.
    pub fn iq_get<P: AsXml>(&self, to: impl Into<Option<Jid>>, payload: &P) -> Request {
        let payload = xso::transform(payload).map_err(Error::other);
        Request::new(&self.shared, payload.map(|payload| Iq::Get { from: None, to: to.into(), id: String::new(), payload }))
    }

    /// Orders: an IQ of type `set` with this payload (RFC 6120 §8.2.3). `None` addresses the own account.
    pub fn iq_set<P: AsXml>(&self, to: impl Into<Option<Jid>>, payload: &P) -> Request {
        let payload = xso::transform(payload).map_err(Error::other);
        Request::new(&self.shared, payload.map(|payload| Iq::Set { from: None, to: to.into(), id: String::new(), payload }))
    }

    /// Sends a presence stanza, for example directed presence (RFC 6121 §4.6), after every extension added what belongs
    /// into it.
    ///
    /// # Errors
    /// [`ErrorKind::NotOnline`](crate::ErrorKind::NotOnline) without a session.
    pub async fn send_presence(&self, presence: Presence) -> Result<()> {
        self.shared.send_presence(presence).await
    }

    /// Sends a stanza that is written as XML: for a console, a test, a try-out. It takes the short way: nothing is added to
    /// it, no extension sees it, a message stands neither in the log nor in the outbox, and what presence it sends is not known
    /// to [`Presences`](crate::presence::Presences). The namespace `jabber:client` need not be declared; prefixes and CDATA
    /// sections are written in a simpler way that means the same.
    ///
    /// The reply to an IQ is seen in [`watch_xml`](Self::watch_xml) only. Who wants it as a value asks with
    /// [`iq_get`](Self::iq_get) or [`iq_set`](Self::iq_set), which take a `minidom::Element` as payload too.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidXml`](crate::ErrorKind::InvalidXml) unless it is exactly one well-formed stanza;
    /// [`ErrorKind::StanzaTooLarge`](crate::ErrorKind::StanzaTooLarge); [`ErrorKind::NotOnline`](crate::ErrorKind::NotOnline)
    /// without a session.
    pub async fn send_raw(&self, xml: &str) -> Result<()> {
        let stanza = super::xml::stanza(xml)?;
        self.shared.check_size(stanza.byte_len())?;
        if self.shared.bound_jid().is_none() {
            return Err(ErrorKind::NotOnline.into());
        }
        self.shared.outgoing(Outgoing::plain(stanza)).await
    }

    /// Everything that goes over the wire from now on, one whole top-level element at a time, with passwords, tokens and
    /// SASL exchanges taken out: for a debug console. While nobody watches it costs nothing.
    ///
    /// ```
    /// # use futures::StreamExt;
    /// # async fn example(client: &xmppkit::Client) {
    /// let mut traffic = client.watch_xml();
    /// while let Some(piece) = traffic.next().await {
    ///     match piece {
    ///         Ok(piece) => println!("{}: {}", piece.direction, piece.xml),
    ///         Err(gap) => println!("{} pieces are missing", gap.count.unwrap_or_default()),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn watch_xml(&self) -> XmlWatch {
        XmlWatch::new(&self.shared.xml, self.downgrade())
    }

    /// One of the client's extensions.
    #[must_use]
    pub fn ext<T: Extension>(&self) -> Option<Arc<T>> {
        self.shared.registry.extension::<T>()
    }

    /// A setting an extension [declared](crate::ext::Registrar::setting): what was given to the builder, else the default.
    /// `None` if no extension of this client declares it.
    #[must_use]
    pub fn setting<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.shared.registry.setting::<T>()
    }

    /// What the client says about itself (XEP-0030): what its extensions declared.
    #[must_use]
    pub fn declared(&self) -> &Declared {
        &self.shared.registry.declared
    }

    /// The account's store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn AccountStore> {
        &self.shared.store
    }

    /// How many messages were dropped because nobody subscribed to them in time (8 s after they came, or when more than
    /// 150 of them or 4 MiB waited, unless the builder was given another [`Lag`](crate::client::Lag)). The first drop is also reported at warn level, with what to subscribe to, and further
    /// ones at most every 10 s, with their number.
    #[must_use]
    pub fn dropped_messages(&self) -> u64 {
        self.shared.hub.dropped()
    }

    /// A handle that does not keep the client alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakClient {
        self.shared.weak_client()
    }

    /// A context, as handlers are given one.
    #[must_use]
    pub fn ctx(&self) -> Ctx {
        Ctx::new(Arc::clone(&self.shared))
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::from_shared(Arc::clone(&self.shared))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.last_handle_dropped();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("account", &self.shared.account).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A handle that does not keep the client alive: what extensions, events and long-lived values hold.
#[derive(Clone)]
pub struct WeakClient {
    shared: Weak<Shared>,
    account: Arc<BareJid>,
}

impl WeakClient {
    pub(crate) fn from_weak(shared: Weak<Shared>, account: Arc<BareJid>) -> Self {
        Self { shared, account }
    }

    /// The account; known also when the client is gone.
    #[must_use]
    pub fn account(&self) -> &BareJid {
        &self.account
    }

    /// The client, if a handle to it is left.
    #[must_use]
    pub fn upgrade(&self) -> Option<Client> {
        let shared = self.shared()?;
        (shared.handles.load(Ordering::Acquire) > 0).then(|| Client::from_shared(shared))
    }

    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.upgrade()
    }

    pub(crate) fn ctx(&self) -> Option<Ctx> {
        self.shared().map(Ctx::new)
    }
}

impl fmt::Debug for WeakClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakClient").finish_non_exhaustive()
    }
}
