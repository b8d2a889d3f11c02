//! Software version (XEP-0092): which program somebody runs, asked and answered.
//!
//! Whether a contact's program can do something is a question for [capabilities](crate::xep::caps), not for this.
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::roster::AnswerTo;
//! use xmppkit::xep::version::{SoftwareVersion, VersionSetting, Versions};
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let own = SoftwareVersion::new("Weather", "1.2");
//! let client = Client::builder("bot@example.com".parse()?)
//!     .password("secret")
//!     .setting(VersionSetting::new(own).answer(AnswerTo::Contacts))
//!     .build()
//!     .await?;
//! client.connect().await?;
//! let server = client.software_version("example.com".parse::<xmppkit::jid::BareJid>()?).await?;
//! println!("{} {}", server.name, server.version);
//! # Ok(())
//! # }
//! ```

use futures::future::BoxFuture;
use jid::Jid;
use xmpp_parsers::version::{VersionQuery, VersionResult};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
use crate::ext::{Answer, Ctx, Extension, IqRefusal, IqRequest, Registrar};
use crate::roster::{AnswerTo, RosterService};
use crate::xml::{Node, ns};

/// Lets clients ask for versions.
pub trait Versions {
    /// Asks which program somebody runs: a server or service, or a client by its full JID.
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`] if they do not say; [`ErrorKind::Payload`] if what they say has no name; the errors of every
    /// [request](Client::iq_get); [`ErrorKind::ExtensionMissing`] if the extension was
    /// [removed](crate::client::ClientBuilder::without).
    fn software_version(&self, jid: impl Into<Jid>) -> BoxFuture<'static, Result<SoftwareVersion>>;
}

impl Versions for Client {
    fn software_version(&self, jid: impl Into<Jid>) -> BoxFuture<'static, Result<SoftwareVersion>> {
        let request = self.ext::<VersionService>().map(|_| self.iq_get(jid.into(), &VersionQuery));
        Box::pin(async move {
            let request = request.ok_or(ErrorKind::ExtensionMissing("VersionService"))?;
            let reply = request.await?;
            let query = reply.stanza().child(ns::VERSION, "query");
            query.and_then(SoftwareVersion::read).ok_or_else(|| {
                let kind = ErrorKind::Payload { ns: ns::VERSION.to_owned(), name: "query".to_owned() };
                Error::new(kind).with_context("the reply names no program")
            })
        })
    }
}

/// A program and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftwareVersion {
    /// The program's name, for people.
    pub name: String,
    /// Its version; empty if it does not say.
    pub version: String,
    /// The operating system it runs on, if it says.
    pub os: Option<String>,
}

impl SoftwareVersion {
    /// This program in this version, which does not say where it runs.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), os: None }
    }

    /// The operating system it runs on. Users must be able to keep it to themselves (XEP-0092 §5).
    #[must_use]
    pub fn os(mut self, os: impl Into<String>) -> Self {
        self.os = Some(os.into());
        self
    }

    fn read(query: Node<'_>) -> Option<Self> {
        let text = |name| query.child(ns::VERSION, name).map(|child| child.text().into_owned());
        Some(Self { name: text("name")?, version: text("version").unwrap_or_default(), os: text("os") })
    }
}

/// What this client says of itself, and to whom. [Set](crate::client::ClientBuilder::setting) it for the application; the
/// default is xmppkit's own name and version, said to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionSetting {
    /// What is said.
    pub software: SoftwareVersion,
    /// To whom; others get `service-unavailable`.
    pub answer: AnswerTo,
}

impl VersionSetting {
    /// Says this to everybody.
    #[must_use]
    pub fn new(software: SoftwareVersion) -> Self {
        Self { software, answer: AnswerTo::Everybody }
    }

    /// Says it to these.
    #[must_use]
    pub fn answer(mut self, answer: AnswerTo) -> Self {
        self.answer = answer;
        self
    }
}

impl Default for VersionSetting {
    fn default() -> Self {
        Self::new(SoftwareVersion::new("xmppkit", env!("CARGO_PKG_VERSION")))
    }
}

/// The extension that answers, and lets clients ask. It uses the [roster](RosterService) to know who is a contact.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VersionService;

impl VersionService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Extension for VersionService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.uses::<RosterService>();
        reg.setting(VersionSetting::default());
        reg.feature(ns::VERSION);
        reg.on_iq_get(|request: IqRequest<VersionQuery>, cx: Ctx| async move { answer(request.from(), &cx) });
    }

    fn registers_alike(&self) -> bool {
        true
    }
}

fn answer(from: Option<Jid>, cx: &Ctx) -> Result<Answer, IqRefusal> {
    let setting = cx.setting::<VersionSetting>().filter(|setting| setting.answer.includes(from.as_ref(), cx));
    let Some(setting) = setting else {
        return Err(StanzaError::new(StanzaErrorType::Cancel, "service-unavailable").into());
    };
    let SoftwareVersion { name, version, os } = setting.software.clone();
    Answer::payload(&VersionResult { name, version, os })
}
