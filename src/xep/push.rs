//! Push notifications (XEP-0357): asks the server to notify a push service while the client is away.
//!
//! What a push service is called, and the node and secret it gives to an application, come from the application's own server.
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::xep::push::{Pushes, PushTarget};
//!
//! # async fn run(client: Client) -> xmppkit::Result<()> {
//! let target = PushTarget::new("push.example.org".parse()?).node("yxs32uqsflafdk3iuqo").secret("eruio234vzxc2kla-91");
//! client.push().enable(target).await?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use jid::BareJid;
use xmpp_parsers::data_forms::{DataForm, DataFormType, Field, FieldType};
use xmpp_parsers::push::{Disable, Enable};

use crate::client::Client;
use crate::error::{ErrorKind, Result};
use crate::ext::{Ctx, Extension, Registrar, SessionKind};

/// Where the targets are kept: the key is service and node, the value the `<enable/>`.
const TARGETS: &str = "xmppkit:push";
/// XEP-0357 §5: what is handed to the push service with every notification.
const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";

/// Gives clients their [`Push`].
pub trait Pushes {
    /// Push notifications of this account. If the extension was [removed](crate::client::ClientBuilder::without), every call
    /// fails with [`ErrorKind::ExtensionMissing`].
    fn push(&self) -> Push;
}

impl Pushes for Client {
    fn push(&self) -> Push {
        Push { client: self.clone() }
    }
}

/// Who is to be notified.
#[derive(Clone, PartialEq, Eq)]
pub struct PushTarget {
    service: BareJid,
    node: Option<String>,
    options: BTreeMap<String, String>,
}

impl PushTarget {
    /// This push service.
    #[must_use]
    pub fn new(service: BareJid) -> Self {
        Self { service, node: None, options: BTreeMap::new() }
    }

    /// The node that the application's server was given there.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// The secret by which the service knows that a notification is wanted.
    #[must_use]
    pub fn secret(self, secret: impl Into<String>) -> Self {
        self.option("secret", secret)
    }

    /// Another publish option that the service asks for.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    fn key(&self) -> String {
        key(&self.service, self.node.as_deref())
    }

    fn enable(&self) -> Enable {
        let field = |name: &str, type_: FieldType, value: &str| {
            let mut field = Field::new(name, type_);
            field.values = vec![value.to_owned()];
            field
        };
        let form = (!self.options.is_empty()).then(|| {
            let options = self.options.iter().map(|(name, value)| field(name, FieldType::TextSingle, value));
            DataForm::new(DataFormType::Submit, PUBLISH_OPTIONS, options.collect())
        });
        Enable { jid: self.service.clone(), node: self.node.clone(), form }
    }

    fn of(enable: Enable) -> Self {
        let fields =
            enable.form.into_iter().flat_map(|form| form.fields).filter(|field| field.var.as_deref() != Some("FORM_TYPE"));
        let options = fields.filter_map(|field| Some((field.var?, field.values.into_iter().next()?))).collect();
        Self { service: enable.jid, node: enable.node, options }
    }
}

/// Names the service and the node; secrets are kept out of logs.
impl fmt::Debug for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushTarget").field("service", &self.service).field("node", &self.node).finish_non_exhaustive()
    }
}

fn key(service: &BareJid, node: Option<&str>) -> String {
    format!("{service} {}", node.unwrap_or_default())
}

/// A handle to the account's push notifications.
///
/// # Errors
/// Calls fail with [`ErrorKind::Stanza`] if the server refuses (`service-unavailable` where it does not know push notifications),
/// [`ErrorKind::NotOnline`] without a session, [`ErrorKind::Store`] if the target cannot be kept, and
/// [`ErrorKind::ExtensionMissing`] if the extension was removed.
#[derive(Clone)]
pub struct Push {
    client: Client,
}

impl Push {
    /// Has the server notify this target while the client is away (XEP-0357 §5), from now on: the target is kept in the client's
    /// store and told to the server again in every new session (R52).
    ///
    /// # Errors
    /// See [`Push`].
    pub async fn enable(&self, target: PushTarget) -> Result<()> {
        let service = self.service()?;
        self.client.iq_set(None, &target.enable()).await?;
        service.keep(&self.client.ctx(), target).await
    }

    /// Has the server no longer notify this node of this service, or any of its nodes (XEP-0357 §6).
    ///
    /// # Errors
    /// See [`Push`].
    pub async fn disable(&self, service: &BareJid, node: Option<&str>) -> Result<()> {
        let kept = self.service()?;
        kept.forget(&self.client.ctx(), service, node).await?;
        self.client.iq_set(None, &Disable { jid: service.clone(), node: node.map(Into::into) }).await.map(drop)
    }

    /// The targets that are told to the server in every new session.
    #[must_use]
    pub fn targets(&self) -> Vec<PushTarget> {
        self.client.ext::<PushService>().map(|service| service.lock().values().cloned().collect()).unwrap_or_default()
    }

    fn service(&self) -> Result<Arc<PushService>> {
        self.client.ext::<PushService>().ok_or_else(|| ErrorKind::ExtensionMissing("PushService").into())
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("account", self.client.account()).finish_non_exhaustive()
    }
}

/// The extension behind [`Pushes`].
#[derive(Debug, Default)]
pub struct PushService {
    targets: Mutex<BTreeMap<String, PushTarget>>,
}

impl PushService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn keep(&self, cx: &Ctx, target: PushTarget) -> Result<()> {
        let key = target.key();
        let value: minidom::Element = target.enable().into();
        self.lock().insert(key.clone(), target);
        cx.rows(TARGETS).put(&key, String::from(&value)).await
    }

    async fn forget(&self, cx: &Ctx, service: &BareJid, node: Option<&str>) -> Result<()> {
        let gone: Vec<String> = {
            let mut targets = self.lock();
            let is_meant = |target: &PushTarget| target.service == *service && (node.is_none() || target.node.as_deref() == node);
            let gone = targets.iter().filter(|(_, target)| is_meant(target)).map(|(key, _)| key.clone()).collect();
            targets.retain(|_, target| !is_meant(target));
            gone
        };
        for key in gone {
            cx.rows(TARGETS).delete(&key).await?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PushTarget>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Extension for PushService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.store_namespace(TARGETS, 1, |_, rows| Ok(rows));
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for (key, value) in cx.rows(TARGETS).rows("").await? {
                let enable = String::from_utf8(value).ok().and_then(|xml| xml.parse::<minidom::Element>().ok());
                match enable.and_then(|element| Enable::try_from(element).ok()) {
                    Some(enable) => drop(self.lock().insert(key, PushTarget::of(enable))),
                    None => tracing::warn!(key, "a stored push target cannot be read"),
                }
            }
            Ok(())
        })
    }

    fn session<'a>(&'a self, cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if kind == SessionKind::Resumed {
                return Ok(());
            }
            let targets: Vec<PushTarget> = self.lock().values().cloned().collect();
            for target in targets {
                if let Err(error) = cx.client().iq_set(None, &target.enable()).await {
                    tracing::warn!(%error, service = %target.service, "push notifications could not be asked for");
                }
            }
            Ok(())
        })
    }
}
