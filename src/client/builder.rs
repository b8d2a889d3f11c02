//! How a client is put together.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jid::{BareJid, ResourcePart};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::auth::{Credentials, MechanismFactory, Policy, Secret};
use crate::client::connect::Driver;
use crate::client::login::LoginMemory;
use crate::client::session::Left;
use crate::client::shared::{Parts, Shared, Spawner};
use crate::client::{Client, KeepAlive, Reconnect, Timeouts, TlsMode, Trust};
use crate::driver::{self, ConnectOptions, Connector, Control, CoreConfig, Deadlines, Lag, XmlDirection, XmlSink};
use crate::error::{BuildError, Error, ErrorKind, Result};
use crate::event::AckPolicy;
use crate::ext::{Entry, Extension, Registry};
use crate::store::{AccountStore, MemoryStore, Store};

/// Builds a [`Client`]; see [`Client::builder`]. Everything but the credentials has a default.
#[must_use = "a builder does nothing until build() is called"]
pub struct ClientBuilder {
    account: BareJid,
    password: Option<Secret>,
    mechanisms: Vec<Arc<dyn MechanismFactory>>,
    policy: Policy,
    resource: Option<String>,
    lang: Option<String>,
    connect: ConnectOptions,
    deadlines: Deadlines,
    reconnect: Reconnect,
    keep_alive: KeepAlive,
    login_step: Duration,
    lag: Lag,
    last_drop: LastDrop,
    max_stanza_bytes: Option<usize>,
    initial_presence: bool,
    xml_sink: Option<XmlSink>,
    ack_policy: AckPolicy,
    store: Option<Arc<dyn Store>>,
    extensions: Vec<Entry>,
    settings: Vec<(&'static str, TypeId, &'static str, Arc<dyn Any + Send + Sync>)>,
}

/// What becomes of the session when the last handle of a client is dropped; see [`ClientBuilder::on_last_drop`].
///
/// Either way it happens in the background, in bounded time, and every task of the client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LastDrop {
    /// As by [`Client::close`]: what was accepted is written, the session ends.
    #[default]
    Close,
    /// As by [`Client::suspend`]: the connection is dropped without closing the stream, and the session can be resumed where
    /// the server keeps it. For programs that end often and come back soon.
    Suspend,
}

impl LastDrop {
    pub(crate) fn order(self) -> Control {
        match self {
            Self::Close => Control::Close,
            Self::Suspend => Control::Suspend,
        }
    }
}

/// What a built client goes by.
pub(crate) struct Config {
    /// What the next connection goes by; it may be changed while the client lives.
    pub(crate) next: Mutex<NextConnection>,
    pub(crate) reconnect: Reconnect,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) login_step: Duration,
    pub(crate) lag: Lag,
    pub(crate) last_drop: LastDrop,
    /// Set by the application; otherwise it is as the server says.
    pub(crate) max_stanza_bytes: Option<usize>,
    pub(crate) initial_presence: bool,
}

/// How the next connection is made and logged in.
pub(crate) struct NextConnection {
    pub(crate) core: CoreConfig,
    pub(crate) connect: ConnectOptions,
}

impl ClientBuilder {
    pub(crate) fn new(account: BareJid) -> Self {
        let connect = ConnectOptions::new(account.domain().as_str());
        Self {
            account,
            password: None,
            mechanisms: Vec::new(),
            policy: Policy::default(),
            resource: None,
            lang: None,
            connect,
            deadlines: Deadlines::default(),
            reconnect: Reconnect::default(),
            keep_alive: KeepAlive::default(),
            login_step: Duration::from_secs(30),
            lag: Lag::default(),
            last_drop: LastDrop::default(),
            max_stanza_bytes: None,
            initial_presence: true,
            xml_sink: None,
            ack_policy: AckPolicy::default(),
            store: None,
            extensions: crate::builtin::extensions(),
            settings: Vec::new(),
        }
    }

    /// The account's password. It is kept in memory that is zeroed when the client ends, and never printed.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a SASL mechanism of the application's own; see [`MechanismFactory`].
    pub fn mechanism(mut self, mechanism: impl MechanismFactory + 'static) -> Self {
        self.mechanisms.push(Arc::new(mechanism));
        self
    }

    /// Which mechanisms are acceptable, and how strict their checks are.
    pub fn auth_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The resource to ask for (RFC 6120 §7.7). By default the server chooses, which is best: two clients that ask for
    /// the same one throw each other out.
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// The language of the account's user, for what servers say to people (RFC 6120 §4.7.4).
    pub fn lang(mut self, lang: impl Into<String>) -> Self {
        self.lang = Some(lang.into());
        self
    }

    /// Connects to this host and port instead of asking DNS. The certificate must still be for the account's domain.
    pub fn server(mut self, host: impl Into<String>, port: u16, mode: TlsMode) -> Self {
        self.connect = self.connect.host(host, port, mode);
        self
    }

    /// Asks these DNS servers instead of the system's.
    pub fn nameservers(mut self, servers: impl IntoIterator<Item = std::net::SocketAddr>) -> Self {
        self.connect = self.connect.nameservers(servers);
        self
    }

    /// Which certificates are accepted; by default those of the system's authorities.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.connect = self.connect.trust(trust);
        self
    }

    /// Allows a connection without TLS: everything on it can be read and changed by anybody on the way. For tests and
    /// closed networks only. The password itself is still never sent in the clear (PLAIN stays refused).
    pub fn dangerous_plaintext(mut self) -> Self {
        self.connect = self.connect.dangerous_plaintext();
        self
    }

    /// Opens byte streams in a way of the application's own: through a proxy, in a test.
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connect = self.connect.connector(connector);
        self
    }

    /// Shares resolver and TLS configuration with other clients.
    pub fn shared(mut self, shared: &driver::SharedNetwork) -> Self {
        self.connect = self.connect.shared(shared);
        self
    }

    /// How long the steps of making a connection may take.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.connect = self.connect.timeouts(timeouts);
        self
    }

    /// How long the phases of a login may take.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// How reconnecting is paced.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// How a dead connection is found out. By default the server is asked after 60 s of silence and given up 20 s later.
    pub fn keep_alive(mut self, keep_alive: KeepAlive) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// How long each extension's step before initial presence may take. Default 30 s.
    pub fn login_step_deadline(mut self, deadline: Duration) -> Self {
        self.login_step = deadline;
        self
    }

    /// The largest stanza that is sent, in bytes, whatever the server says. By default it is what the server of the current or
    /// last session takes (XEP-0478), and 256 KiB where it does not say (R7): a larger one would cost the stream.
    pub fn max_stanza_bytes(mut self, bytes: usize) -> Self {
        self.max_stanza_bytes = Some(bytes);
        self
    }

    /// How far acknowledging may lag behind reading, while messages wait for who is to take them (R2). See [`Lag`] for what
    /// servers put up with.
    pub fn lag(mut self, lag: Lag) -> Self {
        self.lag = lag;
        self
    }

    /// What happens to the session when the client's last handle is dropped. By default it is closed.
    pub fn on_last_drop(mut self, last_drop: LastDrop) -> Self {
        self.last_drop = last_drop;
        self
    }

    /// Comes online without sending presence: the account's contacts do not see it, and the server delivers no messages
    /// sent to the bare JID (RFC 6121 §4.2). Send presence with [`Client::send_presence`].
    pub fn without_initial_presence(mut self) -> Self {
        self.initial_presence = false;
        self
    }

    /// Shows everything that goes over the wire, one whole top-level element at a time, with passwords, tokens and SASL
    /// exchanges taken out. It is called on the connection's task, so it must not block.
    ///
    /// [`Client::watch_xml`] shows the same of a client that is built already, as a stream, and says what each piece is.
    ///
    /// ```
    /// # use xmppkit::Client;
    /// # fn example(account: xmppkit::jid::BareJid) {
    /// let builder = Client::builder(account).xml_log(|direction, xml| eprintln!("{direction}: {xml}"));
    /// # }
    /// ```
    pub fn xml_log(mut self, sink: impl Fn(XmlDirection, &str) + Send + Sync + 'static) -> Self {
        self.xml_sink = Some(Arc::new(sink));
        self
    }

    /// Where everything is kept that outlives a connection. By default in memory, bounded, and gone with the client.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// When a message counts as taken over, so that the server need not keep it any longer; see [`AckPolicy`].
    pub fn ack_policy(mut self, policy: AckPolicy) -> Self {
        self.ack_policy = policy;
        self
    }

    /// Adds an extension; see [`Extension`].
    pub fn with(mut self, extension: impl Extension) -> Self {
        self.extensions.push(Entry::new(extension));
        self
    }

    /// Removes an extension, a built-in one for example to put another in its place.
    pub fn without<T: Extension>(mut self) -> Self {
        self.extensions.retain(|entry| entry.id != TypeId::of::<T>());
        self
    }

    /// Gives a setting that an extension [declares](crate::ext::Registrar::setting).
    pub fn setting<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.settings.push(("", TypeId::of::<T>(), type_name::<T>(), Arc::new(value)));
        self
    }

    /// Builds the client: opens the account's store and registers the extensions. It is usable offline at once, and no
    /// task is spawned before [`Client::connect`] or [`Client::start`].
    ///
    /// # Errors
    /// [`ErrorKind::Build`] if the configuration or the extensions do not fit together; [`ErrorKind::StoreInUse`] where
    /// another client keeps the account's store open (one that is about to end, here or in another process, is waited for,
    /// for 2 s); [`ErrorKind::StoreTooOld`] and [`ErrorKind::StoreTooNew`];
    /// [`ErrorKind::Store`] if an extension could not read what it keeps;
    /// [`ErrorKind::NoRuntime`] outside a tokio runtime.
    pub async fn build(self) -> Result<Client> {
        // Boxed, for an application's own futures hold this one.
        Box::pin(self.build_with(Spawner::Runtime)).await
    }

    /// Builds the client and hands out its driver as a future, for applications that spawn tasks in a way of their own.
    /// Handlers still run as tasks of the tokio runtime `build_with_driver` is called in.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn build_with_driver(self) -> Result<(Client, Driver)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let client = Box::pin(self.build_with(Spawner::External(Mutex::new(Some(sender))))).await?;
        Ok((client, Driver::new(receiver)))
    }

    async fn build_with(mut self, spawner: Spawner) -> Result<Client> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::from(ErrorKind::NoRuntime))?;
        let core = self.core_config()?;
        let registry = Registry::build(self.extensions, self.settings)?;
        let config = Config {
            next: Mutex::new(NextConnection { core, connect: self.connect }),
            reconnect: self.reconnect,
            keep_alive: self.keep_alive,
            login_step: self.login_step,
            lag: self.lag,
            last_drop: self.last_drop,
            max_stanza_bytes: self.max_stanza_bytes,
            initial_presence: self.initial_presence,
        };
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        if store.version() < crate::store::VERSION {
            return Err(ErrorKind::StoreTooOld.into());
        }
        let account_store = open_account(&*store, &self.account).await?;
        for spec in &registry.namespaces {
            let rows = crate::store::ExtensionRows::new(Arc::clone(&account_store), Arc::clone(&spec.namespace));
            rows.migrate(spec.version, &spec.migrate).await?;
        }
        let parts = Parts {
            account: self.account,
            config,
            registry,
            login: LoginMemory::load(&*account_store).await?,
            left: if store.persistent() { Left::load(&*account_store).await? } else { Left::default() },
            store: account_store,
            persistent: store.persistent(),
            ack_policy: self.ack_policy,
            runtime,
            spawner,
            xml_sink: self.xml_sink,
        };
        let shared = Arc::new_cyclic(|weak| Shared::new(weak.clone(), parts));
        let client = Client::from_shared(shared);
        let cx = client.ctx();
        for (_, extension) in client.shared().registry.extensions() {
            extension.opened(&cx).await?;
        }
        Ok(client)
    }

    /// What the core is told; takes the secrets out of the builder.
    fn core_config(&mut self) -> Result<CoreConfig> {
        let invalid = |text: String| Error::from(ErrorKind::Build(BuildError::InvalidOption(text)));
        let account = &self.account;
        let Some(username) = account.node().map(|node| node.as_str()) else {
            return Err(invalid(format!("builder(): {account} names a domain, not an account")));
        };
        let credentials = match self.password.take() {
            Some(password) => Credentials::new(username, password),
            None if self.mechanisms.is_empty() => return Err(ErrorKind::Build(BuildError::NoCredentials).into()),
            None => Credentials::without_password(username),
        };
        let mut core = CoreConfig::new(account.clone(), credentials);
        if let Some(resource) = &self.resource {
            let resource = ResourcePart::new(resource).map_err(|error| invalid(format!("resource(): {error}")))?;
            core.resource = Some(resource.into_owned());
        }
        core.mechanisms = std::mem::take(&mut self.mechanisms);
        core.policy = self.policy.clone();
        core.lang = self.lang.take();
        core.deadlines = self.deadlines;
        core.tls = driver::tls_rule(&self.connect);
        Ok(core)
    }
}

/// Opens the account's store. A client whose last handle is dropped, or that was just closed, still has tasks to end and
/// then lets go of it: for such a one there is a short wait.
async fn open_account(store: &dyn Store, account: &BareJid) -> Result<Arc<dyn AccountStore>> {
    const PATIENCE: Duration = Duration::from_secs(2);
    const PAUSE: Duration = Duration::from_millis(10);
    let until = Instant::now() + PATIENCE;
    loop {
        match store.open_account(account).await {
            Err(error) if *error.kind() == ErrorKind::StoreInUse && Instant::now() < until => tokio::time::sleep(PAUSE).await,
            opened => return opened,
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("account", &self.account).finish_non_exhaustive()
    }
}
