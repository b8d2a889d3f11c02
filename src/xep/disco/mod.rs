//! Service discovery (XEP-0030): what others are and can do, and what this client says of itself.
//!
//! [`Client::disco`](Discos::disco) asks. What the server and the own account answer is kept for the session; what is known
//! by [capabilities](crate::xep::caps) is not asked for again.
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::xep::disco::{ClientIdentity, Discos};
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("bot@example.com".parse()?)
//!     .password("secret")
//!     .setting(ClientIdentity::new("bot", "Weather"))
//!     .build()
//!     .await?;
//! client.connect().await?;
//!
//! let server = client.disco().server().await?;
//! println!("archive: {}", server.supports("urn:xmpp:mam:2"));
//! for item in client.disco().items("example.com".parse::<xmppkit::jid::BareJid>()?).await? {
//!     let info = client.disco().info(item.jid.clone()).await?;
//!     println!("{}: a room service: {}", item.jid, info.is("conference", "text"));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is answered
//! Whoever asks this client is told what its extensions [declare](crate::ext::Registrar::feature), and what the client
//! [says it is](ClientIdentity).

mod info;
mod request;
mod service;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jid::{BareJid, Jid};

pub use info::{Info, InfoForm};
pub use request::{InfoRequest, ItemsRequest};
pub use service::{ClientIdentity, DiscoService, InfoSource};
pub use xmpp_parsers::disco::{Identity, Item};

use crate::client::Client;
use crate::error::{ErrorKind, Result};

/// Gives clients their [`Disco`].
pub trait Discos {
    /// Service discovery. If the extension was [removed](crate::client::ClientBuilder::without), every call fails with
    /// [`ErrorKind::ExtensionMissing`].
    fn disco(&self) -> Disco;
}

impl Discos for Client {
    fn disco(&self) -> Disco {
        Disco { client: self.clone(), service: self.ext() }
    }
}

/// A handle to service discovery.
///
/// # Errors
/// Every call that asks fails with [`ErrorKind::Stanza`] if it is answered with an error: `service-unavailable` of somebody
/// who is not there or does not say, `item-not-found` for a node that does not exist, and others. It fails with
/// [`ErrorKind::Payload`] if the answer is none, [`ErrorKind::RequestTimeout`], [`ErrorKind::NotOnline`] without a session,
/// [`ErrorKind::SessionLost`], and [`ErrorKind::ExtensionMissing`] if the extension was removed.
#[derive(Clone)]
pub struct Disco {
    client: Client,
    service: Option<Arc<DiscoService>>,
}

impl Disco {
    /// What somebody is and can do (XEP-0030 §3): a server, a service, an account, or a client by its full JID.
    ///
    /// It is asked for only where it is not known; see [`InfoRequest::fresh`].
    pub fn info(&self, jid: impl Into<Jid>) -> InfoRequest {
        InfoRequest::new(&self.client, self.service.clone(), jid.into())
    }

    /// What the account's own server is and can do.
    pub fn server(&self) -> InfoRequest {
        self.info(BareJid::from_parts(None, self.client.account().domain()))
    }

    /// What the own account is and can do: what the server does for it (personal eventing, an archive).
    pub fn account(&self) -> InfoRequest {
        self.info(self.client.account().clone())
    }

    /// Whether somebody supports a feature: short for [`info`](Self::info) and [`Info::supports`].
    ///
    /// ```no_run
    /// # use xmppkit::{Client, jid::FullJid, xep::disco::Discos};
    /// # async fn example(client: Client, juliet: FullJid) -> xmppkit::Result<()> {
    /// if client.disco().supports(juliet, "urn:xmpp:jingle:1").await? {
    ///     println!("she can be called");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Disco`].
    pub async fn supports(&self, jid: impl Into<Jid>, feature: &str) -> Result<bool> {
        let info = self.info(jid);
        Ok(info.await?.supports(feature))
    }

    /// The items of somebody (XEP-0030 §4): a server's services, a service's rooms, a node's nodes.
    pub fn items(&self, jid: impl Into<Jid>) -> ItemsRequest {
        ItemsRequest::new(&self.client, self.service.is_some(), jid.into())
    }

    /// What this client answers when it is asked.
    ///
    /// # Errors
    /// [`ErrorKind::ExtensionMissing`] if the extension was removed.
    pub fn own(&self) -> Result<Info> {
        let service = self.service.as_ref().ok_or(ErrorKind::ExtensionMissing("DiscoService"))?;
        Ok(service.own(&self.client.ctx()))
    }
}

impl fmt::Debug for Disco {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disco").field("account", self.client.account()).finish_non_exhaustive()
    }
}
