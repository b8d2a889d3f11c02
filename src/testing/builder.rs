//! What is settled before a server starts.

use jid::{DomainPart, NodePart};

use super::dialect::{Dialect, Differences};
use super::options::{CertificateKind, Field, Mechanism, Misbehaviour, Registration};
use super::server::Server;
use super::state::{Account, Config, State};
use super::tls::Identity;
use crate::error::{Error, ErrorKind, Result, StanzaError};

/// Settings of a [`Server`] to be; [`start`](Self::start) makes it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    domain: String,
    differences: Differences,
    accounts: Vec<(String, String)>,
    certificate: CertificateKind,
    registration: Registration,
    registration_error: Option<StanzaError>,
    owner_form: Option<Vec<Field>>,
    tls_offered: bool,
    tls_required: bool,
    misbehaviours: Vec<Misbehaviour>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            domain: "localhost".into(),
            differences: Dialect::Strict.differences(),
            accounts: Vec::new(),
            certificate: CertificateKind::Good,
            registration: Registration::Open,
            registration_error: None,
            owner_form: None,
            tls_offered: true,
            tls_required: true,
            misbehaviours: Vec::new(),
        }
    }

    /// The domain the server serves, and its certificate is for: a name or an IP address. `localhost` unless set.
    ///
    /// The server listens on 127.0.0.1 whatever its domain; a client under test is told host and port.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// The kind of server to resemble, [`Dialect::Strict`] unless set. Replaces everything
    /// [`differences`](Self::differences), [`mechanisms`](Self::mechanisms), [`iterations`](Self::iterations) and
    /// [`max_stanza_bytes`](Self::max_stanza_bytes) set before.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.differences = dialect.differences();
        self
    }

    /// Changes single traits of the dialect.
    ///
    /// ```
    /// use xmppkit::testing::{Server, Versioning};
    /// let builder = Server::builder().differences(|d| d.roster_versioning = Versioning::Off);
    /// ```
    pub fn differences(mut self, change: impl FnOnce(&mut Differences)) -> Self {
        change(&mut self.differences);
        self
    }

    /// Adds an account: the part of its address before the `@`, and its password.
    pub fn account(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.accounts.push((name.into(), password.into()));
        self
    }

    /// The certificate the server shows, a good one unless set.
    pub fn certificate(mut self, kind: CertificateKind) -> Self {
        self.certificate = kind;
        self
    }

    /// Whether and how accounts can be registered, [`Registration::Open`] unless set.
    pub fn registration(mut self, registration: Registration) -> Self {
        self.registration = registration;
        self
    }

    /// Every submitted registration, change of a password and removal is refused with this error.
    pub fn registration_error(mut self, error: StanzaError) -> Self {
        self.registration_error = Some(error);
        self
    }

    /// Passwords are changed and accounts removed only by a data form, which comes in an error and asks for these fields
    /// beside user name and password (XEP-0077 §3.2, §3.3), the old one among them.
    pub fn owner_form(mut self, fields: impl IntoIterator<Item = Field>) -> Self {
        self.owner_form = Some(fields.into_iter().collect());
        self
    }

    /// The mechanisms offered, in this order, instead of the dialect's.
    pub fn mechanisms(mut self, mechanisms: impl IntoIterator<Item = Mechanism>) -> Self {
        self.differences.mechanisms = mechanisms.into_iter().collect();
        self
    }

    /// PBKDF2 iterations of SCRAM instead of the dialect's. The server computes them: in a debug build a hundred
    /// thousand take most of a second, once for each account and mechanism.
    pub fn iterations(mut self, iterations: u32) -> Self {
        self.differences.iterations = iterations.max(1);
        self
    }

    /// The largest stanza accepted, in bytes, instead of the dialect's; a larger one ends the stream with
    /// `policy-violation`.
    pub fn max_stanza_bytes(mut self, max: usize) -> Self {
        self.differences.max_stanza_bytes = max;
        self
    }

    /// Offers no stream management (XEP-0198).
    pub fn no_stream_management(mut self) -> Self {
        self.differences.management.versions.clear();
        self
    }

    /// For how long a session without a connection is kept, instead of the dialect's time; zero keeps none. Clients are told
    /// in whole seconds.
    pub fn resume_timeout(mut self, max: std::time::Duration) -> Self {
        self.differences.management.max = max;
        self
    }

    /// Offers no STARTTLS; clients log in without TLS. The direct TLS port stays.
    pub fn no_tls(mut self) -> Self {
        self.tls_offered = false;
        self
    }

    /// Whether clients must use TLS where it is offered; they must unless this is set to false.
    pub fn tls_required(mut self, required: bool) -> Self {
        self.tls_required = required;
        self
    }

    /// Adds a misbehaviour; it can be changed later by [`Server::misbehave`].
    pub fn misbehave(mut self, misbehaviour: Misbehaviour) -> Self {
        self.misbehaviours.push(misbehaviour);
        self
    }

    /// Starts the server on 127.0.0.1, on ports the kernel chooses.
    ///
    /// Its tasks run on the current runtime, and end when the [`Server`] is dropped.
    ///
    /// # Errors
    ///
    /// `InvalidJid` if the domain or an account's name is no part of an address, `NoRuntime` outside a tokio runtime,
    /// `Io` if the ports cannot be opened.
    pub async fn start(self) -> Result<Server> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ErrorKind::NoRuntime.into());
        }
        let domain = DomainPart::new(&self.domain)?.into_owned();
        let identity = Identity::new(domain.as_str(), self.certificate, self.differences.alpn)?;
        let config = Config {
            differences: self.differences,
            registration: self.registration,
            registration_error: self.registration_error,
            owner_form: self.owner_form,
            tls_offered: self.tls_offered,
            tls_required: self.tls_required,
            misbehaviours: self.misbehaviours,
        };
        let mut state = State::new(domain, config);
        for (name, password) in self.accounts {
            let node = NodePart::new(&name).map_err(Error::from)?.into_owned();
            state.accounts.insert(node, Account::new(&password));
        }
        Server::start(state, identity).await
    }
}
