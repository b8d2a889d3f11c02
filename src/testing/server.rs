//! The handle a test holds.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jid::{BareJid, DomainPart, FullJid, Jid, NodePart};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::builder::Builder;
use super::faults::{Change, Cut, Moment, Target, Way};
use super::listen::{Acceptor, Order};
use super::management::Fate;
use super::options::{Misbehaviour, Registration};
use super::roster::Contact;
use super::sessions::{Counters, SessionInfo};
use super::state::{Account, Command, ConnectionId, Shared, State};
use super::tls::Identity;
use super::tree::{Element, ns};
use crate::client::{Client, ClientBuilder, TlsMode, Trust};
use crate::error::{Error, ErrorKind, Result, StreamError};
use crate::xml::Frame;

/// A running XMPP server on loopback; [the module](super) says what it can do.
///
/// It ends, with all connections, when it is dropped. Calls that do something to connections return as soon as the
/// connections' tasks are told; [`wait_for`](Self::wait_for) waits until it shows.
pub struct Server {
    shared: Arc<Shared>,
    identity: Arc<Identity>,
    domain: DomainPart,
    addresses: [SocketAddr; 2],
    orders: mpsc::UnboundedSender<Order>,
    acceptor: JoinHandle<()>,
}

impl Server {
    /// Settings for a new server.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) async fn start(state: State, identity: Identity) -> Result<Self> {
        let domain = state.domain.clone();
        let shared = Arc::new(Shared::new(state));
        let identity = Arc::new(identity);
        let acceptor = Acceptor::open(Arc::clone(&shared), Arc::clone(&identity))?;
        let addresses = acceptor.addresses();
        let (orders, receiver) = mpsc::unbounded_channel();
        let acceptor = tokio::spawn(acceptor.run(receiver));
        Ok(Self { shared, identity, domain, addresses, orders, acceptor })
    }

    /// Where clients connect in plain text, for STARTTLS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where clients connect with TLS from the first byte (XEP-0368).
    #[must_use]
    pub fn direct_tls_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// The domain the server serves.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.domain.as_str()
    }

    /// The certificate of this server's CA in PEM, for a client to trust.
    #[must_use]
    pub fn ca_pem(&self) -> &[u8] {
        self.identity.ca_pem.as_bytes()
    }

    /// The certificate of this server's CA in DER.
    #[must_use]
    pub fn ca_der(&self) -> &[u8] {
        &self.identity.ca_der
    }

    /// SHA-256 of the certificate the server shows, for a client to pin.
    #[must_use]
    pub fn certificate_fingerprint(&self) -> [u8; 32] {
        self.identity.fingerprint
    }

    /// The address of the account of this name, whether there is one or not.
    ///
    /// # Errors
    ///
    /// `InvalidJid` if the name is no part of an address.
    pub fn jid(&self, name: &str) -> Result<BareJid> {
        Ok(BareJid::from_parts(Some(&*NodePart::new(name).map_err(Error::from)?), &self.domain))
    }

    /// A builder for the client of the account of this name: it knows the account's password, where this server listens
    /// (for STARTTLS), and that the server's CA is to be trusted. All of it can be set anew.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let server = xmppkit::testing::Server::builder().account("romeo", "secret").start().await?;
    /// let romeo = server.client("romeo")?.build().await?;
    /// romeo.connect().await?;
    /// # Ok::<_, xmppkit::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidJid` if the name is no part of an address. An account that does not exist is no error here: the builder
    /// has no password then.
    pub fn client(&self, name: &str) -> Result<ClientBuilder> {
        let jid = self.jid(name)?;
        let password = {
            let state = self.shared.lock();
            jid.node().and_then(|node| state.accounts.get(node)).map(|account| account.password.clone())
        };
        let address = self.address();
        let builder = Client::builder(jid)
            .server(address.ip().to_string(), address.port(), TlsMode::StartTls)
            .trust(Trust::only_ca(self.ca_pem())?);
        Ok(match password {
            Some(password) => builder.password(password),
            None => builder,
        })
    }

    /// Adds an account, or gives an existing one this password; its sessions stay.
    ///
    /// # Errors
    ///
    /// `InvalidJid` if the name is no part of an address.
    pub fn add_account(&self, name: &str, password: &str) -> Result<BareJid> {
        let node = NodePart::new(name).map_err(Error::from)?.into_owned();
        Ok(self.shared.change(|state| {
            let account = state.accounts.entry(node.clone()).or_insert_with(|| Account::new(password));
            account.password = password.into();
            account.keys.clear();
            state.bare(&node)
        }))
    }

    /// Removes an account as its owner would: contacts lose their subscriptions, its sessions end with the stream
    /// error `not-authorized`. Says whether there was one.
    pub fn remove_account(&self, jid: &BareJid) -> bool {
        self.shared.change(|state| match state.local_account(&jid.clone().into()) {
            Some(account) => state.remove_account(&account),
            None => false,
        })
    }

    /// All accounts, in the order of their names.
    #[must_use]
    pub fn accounts(&self) -> Vec<BareJid> {
        let state = self.shared.lock();
        state.accounts.keys().map(|node| state.bare(node)).collect()
    }

    /// All sessions, the oldest connection first.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.lock().session_infos()
    }

    /// How many connections are open, logged in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.values().filter(|connection| connection.open).count()
    }

    /// Counters since the server was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters()
    }

    /// An account's roster, ordered by address; empty if there is no such account.
    #[must_use]
    pub fn roster(&self, jid: &BareJid) -> Vec<Contact> {
        let state = self.shared.lock();
        let account = state.local_account(&jid.clone().into()).and_then(|node| state.accounts.get(&node));
        account.map(|account| account.roster.contacts()).unwrap_or_default()
    }

    /// Puts a contact into an account's roster as it is, with roster pushes and without any presence. Says whether
    /// there is such an account.
    pub fn add_contact(&self, jid: &BareJid, contact: Contact) -> bool {
        self.shared.change(|state| match state.local_account(&jid.clone().into()) {
            Some(account) => {
                state.put_contact(&account, contact);
                true
            }
            None => false,
        })
    }

    /// Makes two accounts contacts of each other, subscribed both ways.
    pub fn befriend(&self, one: &BareJid, other: &BareJid) {
        self.add_contact(one, Contact::new(other.clone()).subscription(super::Subscription::Both));
        self.add_contact(other, Contact::new(one.clone()).subscription(super::Subscription::Both));
    }

    /// How many messages wait for an account to come online.
    #[must_use]
    pub fn offline_messages(&self, jid: &BareJid) -> usize {
        let state = self.shared.lock();
        let account = state.local_account(&jid.clone().into()).and_then(|node| state.accounts.get(&node));
        account.map_or(0, |account| account.offline.len())
    }

    /// The messages in an account's archive (XEP-0313), the oldest first: their ids there, and themselves as XML documents.
    #[must_use]
    pub fn archived(&self, jid: &BareJid) -> Vec<(String, String)> {
        let state = self.shared.lock();
        state.local_account(&jid.clone().into()).map(|account| state.archived(&account)).unwrap_or_default()
    }

    /// Who is to be notified while an account's clients are away (XEP-0357): each `<enable/>` as an XML document, sorted by
    /// service and node.
    #[must_use]
    pub fn push_targets(&self, jid: &BareJid) -> Vec<String> {
        let state = self.shared.lock();
        let account = state.local_account(&jid.clone().into()).and_then(|node| state.accounts.get(&node));
        account.map(|account| account.push.values().cloned().collect()).unwrap_or_default()
    }

    /// Ends [`SilentArchive`](Misbehaviour::SilentArchive), and answers what it left unanswered. Returns how many queries.
    pub fn answer_archive(&self) -> usize {
        self.shared.change(|state| {
            let count = state.unanswered.len();
            state.answer_archive();
            count
        })
    }

    /// How many queries of archives [`SilentArchive`](Misbehaviour::SilentArchive) keeps from being answered.
    #[must_use]
    pub fn unanswered_queries(&self) -> usize {
        self.shared.lock().unanswered.len()
    }

    /// Forgets the oldest messages in an account's archive, at most this many, as a server does that keeps them for a time.
    pub fn expire_archive(&self, jid: &BareJid, count: usize) {
        self.shared.change(|state| {
            if let Some(account) = state.local_account(&jid.clone().into()) {
                state.expire_archive(&account, count);
            }
        });
    }

    /// Waits until the condition holds; it is asked again after each change on the server. It has no deadline of its
    /// own: put `tokio::time::timeout` around it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let server = xmppkit::testing::Server::builder().start().await?;
    /// server.wait_for(|s| s.sessions().is_empty()).await;
    /// # Ok::<_, xmppkit::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn wait_for(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut changes = self.shared.changes();
        loop {
            changes.mark_unchanged();
            if condition(self) {
                return;
            }
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }

    /// Waits until a session of this account, or of this full JID, is available: the server has its presence, so that
    /// messages to the account reach it. A client is online as soon as it has *sent* its presence; what is
    /// [routed](Self::route_stanza) to it between the two goes to offline storage.
    ///
    /// It has no deadline of its own, as [`wait_for`](Self::wait_for).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let server = xmppkit::testing::Server::builder().account("romeo", "secret").start().await?;
    /// let romeo = server.client("romeo")?.build().await?;
    /// romeo.connect().await?;
    /// server.wait_online(romeo.account()).await;
    /// # Ok::<_, xmppkit::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn wait_online(&self, target: impl Into<Target>) {
        let target = target.into();
        let is_available = |state: &State| {
            state.matching(&target).into_iter().any(|id| state.bound(id).is_some_and(|bound| bound.presence.is_some()))
        };
        self.wait_for(|server| is_available(&server.shared.lock())).await;
    }

    /// The stanzas the target's clients have sent since they bound their resources, in order, as XML documents. Kept
    /// are the last 10,000 of all clients, those of sessions that ended included.
    #[must_use]
    pub fn received(&self, target: impl Into<Target>) -> Vec<String> {
        let target = target.into();
        let matches = |from: &FullJid| match &target {
            Target::All => true,
            Target::Account(jid) => from.to_bare() == *jid,
            Target::Session(jid) => from == jid,
        };
        self.shared.lock().received.iter().filter(|r| matches(&r.from)).map(|r| r.xml.clone()).collect()
    }

    /// Cuts connections. Returns how many.
    pub fn cut(&self, target: impl Into<Target>, how: Cut) -> usize {
        let target = target.into();
        if how == Cut::Drop {
            self.shared.change(|state| {
                for id in state.open(&target) {
                    if let Some(connection) = state.connections.get_mut(&id) {
                        connection.lost = true;
                    }
                }
            });
        }
        self.command(target, |_| Command::Cut(how))
    }

    /// Cuts connections when this many more bytes went this way, counted above TLS: in the middle of a stanza, for a stanza
    /// that is longer. Those bytes still arrive; with [`Way::Both`] the way that is through first counts. Returns how many it
    /// will cut.
    pub fn cut_after(&self, target: impl Into<Target>, way: Way, bytes: usize, how: Cut) -> usize {
        self.command(target.into(), |_| Command::CutAfter(way, bytes, how))
    }

    /// Cuts the next connection that comes to this moment; each call cuts one.
    pub fn cut_at(&self, moment: Moment, how: Cut) {
        self.shared.change(|state| state.armed.push((moment, how)));
    }

    /// Gives up all sessions as if their time were over: those without a connection at once, the others when their
    /// connections are cut. They cannot be resumed; servers that tell how far they had handled a lost session do so
    /// ([`Management::failed_tells_count`](super::Management)).
    pub fn expire_sessions(&self) {
        self.shared.change(|state| state.give_up_sessions(Fate::Expires));
    }

    /// Gives up all sessions and forgets that they were there, as a server does that was started anew: those without a
    /// connection at once, the others when their connections are cut. Their unacknowledged messages go to offline storage.
    pub fn forget_sessions(&self) {
        self.shared.change(|state| state.give_up_sessions(Fate::Forgotten));
    }

    /// Lets nothing through any more on this way, as a dead network does: no FIN, no RST. The kernel still
    /// takes what a client sends, until its buffers are full. Returns how many connections it stalled;
    /// [`Target::All`] stalls those to come too.
    pub fn stall(&self, target: impl Into<Target>, way: Way) -> usize {
        self.weather(target.into(), Change::Stall(way, true))
    }

    /// Ends a stall; what was held comes through, in order. Returns how many connections it was.
    pub fn resume(&self, target: impl Into<Target>, way: Way) -> usize {
        self.weather(target.into(), Change::Stall(way, false))
    }

    /// Delays everything on this way by this much, zero for not at all. Order is kept. Returns how many
    /// connections it delays; [`Target::All`] delays those to come too.
    pub fn delay(&self, target: impl Into<Target>, way: Way, delay: Duration) -> usize {
        self.weather(target.into(), Change::Delay(way, delay))
    }

    /// Sends these bytes to clients, whatever they are, between two stanzas. Returns how many got them.
    ///
    /// A client under stream management counts the stanzas among them, and the server does not: from then on it takes the
    /// client's acknowledgements as far as it can.
    pub fn inject(&self, target: impl Into<Target>, bytes: impl Into<Vec<u8>>) -> usize {
        let (bytes, target) = (bytes.into(), target.into());
        self.shared.change(|state| {
            for id in state.open(&target) {
                state.stop_counting(id);
            }
        });
        self.command(target, |_| Command::Write(bytes.clone()))
    }

    /// Ends streams with a stream error of this condition (RFC 6120 §4.9.3); the sessions are over at once. Returns
    /// how many.
    pub fn kick(&self, target: impl Into<Target>, condition: &str) -> usize {
        let target = target.into();
        self.shared.change(|state| {
            let ids = state.open(&target);
            for id in &ids {
                state.kick(*id, StreamError::new(condition, None));
            }
            ids.len()
        })
    }

    /// Sends a stanza to the target's bound sessions as it is, past all routing. Returns how many got it.
    ///
    /// # Errors
    ///
    /// `InvalidXml` if the text is no well-formed stanza; `xmlns='jabber:client'` may be left out.
    pub fn send_stanza(&self, target: impl Into<Target>, xml: &str) -> Result<usize> {
        let stanza = parse(xml)?;
        let target = target.into();
        Ok(self.shared.change(|state| {
            let mut ids = state.matching(&target);
            ids.retain(|id| state.bound(*id).is_some());
            for id in &ids {
                state.send(*id, &stanza);
            }
            ids.len()
        }))
    }

    /// Routes a stanza as if it had just arrived from another server: to the resources it is for, into offline
    /// storage, through the subscription rules. Its `from` may be any address, so that a test can play a contact
    /// without a second client.
    ///
    /// A message for a client that has just come online is stored until the server has the client's presence:
    /// [`wait_online`](Self::wait_online) first.
    ///
    /// # Errors
    ///
    /// `InvalidXml` if the text is no well-formed stanza (`xmlns='jabber:client'` may be left out), `InvalidJid` if `from` or `to` is missing
    /// or no address.
    pub fn route_stanza(&self, xml: &str) -> Result<()> {
        let stanza = parse(xml)?;
        let address = |name: &str| Jid::new(stanza.get(name).unwrap_or_default()).map_err(Error::from);
        let (_, to) = (address("from")?, address("to")?);
        self.shared.change(|state| state.route(stanza, &to));
        Ok(())
    }

    /// Adds a misbehaviour for connections and steps to come.
    pub fn misbehave(&self, misbehaviour: Misbehaviour) {
        self.shared.change(|state| state.config.misbehaviours.push(misbehaviour));
    }

    /// Ends all misbehaviour.
    pub fn behave(&self) {
        self.shared.change(|state| state.config.misbehaviours.clear());
    }

    /// Changes whether and how accounts can be registered.
    pub fn set_registration(&self, registration: Registration) {
        self.shared.change(|state| state.config.registration = registration);
    }

    /// Refuses new connections, as a port does where nothing listens, or takes them again. Open ones stay. Both hold
    /// when this returns.
    ///
    /// # Errors
    ///
    /// `Io` if the ports cannot be opened again.
    pub async fn refuse_connections(&self, refuse: bool) -> Result<()> {
        if refuse { self.order(Order::Refuse).await } else { Ok(self.order(Order::Listen).await??) }
    }

    /// Stops as a server does that is shut down: new connections are refused, open streams end with
    /// `system-shutdown`. Accounts, rosters and offline messages stay. When this returns all connections are gone.
    ///
    /// # Errors
    ///
    /// `Io` if the server's task is gone, which is a fault in the server.
    pub async fn stop(&self) -> Result<()> {
        self.order(Order::Stop).await
    }

    /// Stops if that was not done yet, and takes connections again, on the same ports.
    ///
    /// # Errors
    ///
    /// `Io` if the ports cannot be opened again.
    pub async fn restart(&self) -> Result<()> {
        self.order(Order::Stop).await?;
        Ok(self.order(Order::Listen).await??)
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T> {
        let (done, answer) = oneshot::channel();
        let gone = || Error::new(ErrorKind::Io).with_context("the test server's task is gone");
        self.orders.send(order(done)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    fn command(&self, target: Target, command: impl Fn(ConnectionId) -> Command) -> usize {
        self.shared.change(|state| {
            let ids = state.open(&target);
            for id in &ids {
                state.command(*id, command(*id));
            }
            ids.len()
        })
    }

    fn weather(&self, target: Target, change: Change) -> usize {
        if target == Target::All {
            self.shared.lock().weather.apply(change);
        }
        self.command(target, |_| Command::Weather(change))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The connections' tasks belong to the acceptor's.
        self.acceptor.abort();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("domain", &self.domain()).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// A stanza as a test writes it: `xmlns='jabber:client'` may be left out, as it is on a stream.
fn parse(xml: &str) -> Result<Element> {
    let mut frame = Frame::parse(xml)?;
    if frame.ns().is_empty() {
        let name = frame.name().len() + 1;
        frame = Frame::parse(&format!("{} xmlns='{}'{}", &xml.trim_start()[..name], ns::CLIENT, &xml.trim_start()[name..]))?;
    }
    let stanza = Element::from(&frame.root().to_element());
    match stanza.name() {
        "message" | "presence" | "iq" if stanza.ns() == ns::CLIENT => Ok(stanza),
        _ => Err(Error::new(ErrorKind::InvalidXml).with_context("not a stanza of jabber:client")),
    }
}
