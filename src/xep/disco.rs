//! Service discovery (XEP-0030): tells whoever asks what this client is and can do.
//!
//! The answers are what the client's extensions [declare](crate::ext::Registrar::feature). What the client says it is can
//! be set:
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::xep::disco::ClientIdentity;
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("bot@example.com".parse()?)
//!     .password("secret")
//!     .setting(ClientIdentity::new("bot", "Weather"))
//!     .build()
//!     .await?;
//! # Ok(())
//! # }
//! ```

use std::borrow::Cow;

use xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult, DiscoItemsQuery, DiscoItemsResult, Identity};

use crate::error::{StanzaError, StanzaErrorType};
use crate::ext::{Answer, Ctx, Extension, IqRefusal, IqRequest, Registrar};
use crate::xml::ns;

/// What the client says it is: its identity of the category `client`.
/// [Set](crate::client::ClientBuilder::setting) it for the application; the default is type `pc`, named `xmppkit`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The type, from the registry: `pc`, `phone`, `bot`, `console`, `web` and others.
    pub type_: Cow<'static, str>,
    /// The application's name.
    pub name: Cow<'static, str>,
}

impl ClientIdentity {
    /// An identity of this type and name.
    pub fn new(type_: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>) -> Self {
        Self { type_: type_.into(), name: name.into() }
    }
}

impl Default for ClientIdentity {
    fn default() -> Self {
        Self::new("pc", "xmppkit")
    }
}

/// The extension that answers.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DiscoService;

impl DiscoService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Extension for DiscoService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.setting(ClientIdentity::default());
        reg.feature(ns::DISCO_INFO);
        reg.feature(ns::DISCO_ITEMS);
        reg.on_iq_get(|request: IqRequest<DiscoInfoQuery>, cx: Ctx| async move { info(request.into_payload().node, &cx) });
        reg.on_iq_get(|request: IqRequest<DiscoItemsQuery>, cx: Ctx| async move { items(request.into_payload().node, &cx) });
    }
}

fn info(node: Option<String>, cx: &Ctx) -> Result<Answer, IqRefusal> {
    let declared = cx.declared();
    let features = match &node {
        None => &declared.features,
        Some(node) => declared.nodes.get(node.as_str()).ok_or_else(no_such_node)?,
    };
    Answer::payload(&DiscoInfoResult {
        identities: identities(cx),
        features: features.iter().map(ToString::to_string).collect(),
        extensions: Vec::new(),
        node,
    })
}

/// What we are, ahead of what extensions declared beside it.
fn identities(cx: &Ctx) -> Vec<Identity> {
    let identity = |category: &str, type_: &str, name: &str| Identity {
        category: category.to_owned(),
        type_: type_.to_owned(),
        lang: None,
        name: Some(name.to_owned()),
    };
    let own = cx.setting::<ClientIdentity>().map(|own| identity("client", &own.type_, &own.name));
    let others = cx.declared().identities.iter().map(|other| identity(&other.category, &other.type_, &other.name));
    own.into_iter().chain(others).collect()
}

/// A client has no items; a node that does not exist has none to list either.
fn items(node: Option<String>, cx: &Ctx) -> Result<Answer, IqRefusal> {
    if node.as_deref().is_some_and(|node| !cx.declared().nodes.contains_key(node)) {
        return Err(no_such_node());
    }
    Answer::payload(&DiscoItemsResult { node, items: Vec::new(), rsm: None })
}

fn no_such_node() -> IqRefusal {
    StanzaError::new(StanzaErrorType::Cancel, "item-not-found").into()
}
