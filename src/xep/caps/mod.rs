//! Entity capabilities (XEP-0115): what contacts' clients can do, told by their presence, and what this client can do,
//! told by its own.
//!
//! Presence carries a hash of what a client is and can do. What a hash stands for is asked once, of whoever announces it,
//! verified, and kept in the store: most contacts use the same few programs, so most logins ask nobody. Only contacts and the
//! user's other devices are asked unbidden, for a question tells that we are online; others are when the application asks.
//!
//! [`Client::disco`](crate::xep::disco::Discos::disco) answers from what is known by this; [`Client::caps`](Capabilities::caps) says
//! what is known without asking anybody, and what becomes known.
//!
//! ```no_run
//! use futures::StreamExt;
//! use xmppkit::Client;
//! use xmppkit::ext::Observed;
//! use xmppkit::xep::caps::{CapsChange, CapsNode, Capabilities};
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("romeo@example.net".parse()?)
//!     .password("secret")
//!     .setting(CapsNode::new("https://chat.example/"))
//!     .build()
//!     .await?;
//! client.connect().await?;
//! let mut caps = client.caps().watch();
//! while let Some(observed) = caps.next().await {
//!     if let Observed::Change(CapsChange::Known(jid, info)) = observed {
//!         println!("{jid} can be called: {}", info.supports("urn:xmpp:jingle:1"));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is believed
//! An answer that its hash vouches for (XEP-0115 §5.4) is believed for everybody who announces the hash. Any other is
//! believed of the one who gave it, for as long as they announce the same: where the hash is wrong, of an algorithm other
//! than SHA-1, or missing (the legacy format, of which only the application's questions are asked).
//!
//! # What is kept
//! Up to 64 resources of each contact, of the own account, and of up to 1,000 others whose presence came; the meaning of up
//! to 1,000 hashes, and those the store keeps. Occupants of rooms are not kept.

mod hash;
mod service;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jid::Jid;

pub use service::{CapsNode, CapsService};
pub use state::{CapsChange, CapsState};

use crate::client::Client;
use crate::ext::{Observable, Watch};
use crate::xep::disco::Info;

/// Gives clients their [`Caps`].
pub trait Capabilities {
    /// What is known by capabilities. If the extension was [removed](crate::client::ClientBuilder::without), nothing is.
    fn caps(&self) -> Caps;
}

impl Capabilities for Client {
    fn caps(&self) -> Caps {
        Caps { client: self.clone(), service: self.ext() }
    }
}

/// A handle to what is known by capabilities. It asks nobody; [`Disco`](crate::xep::disco::Disco) does.
#[derive(Clone)]
pub struct Caps {
    client: Client,
    service: Option<Arc<CapsService>>,
}

impl Caps {
    /// What an address is and can do, if it is known: a full JID, or the account's server.
    #[must_use]
    pub fn get(&self, jid: &Jid) -> Option<Arc<Info>> {
        self.service.as_ref()?.get(jid)
    }

    /// Everybody whose capabilities are known, as it is now.
    #[must_use]
    pub fn snapshot(&self) -> CapsState {
        self.service.as_ref().map(|service| service.snapshot()).unwrap_or_default()
    }

    /// Everybody whose capabilities are known now, and then each change in order. Whoever falls too far
    /// [behind](crate::ext::MAX_BEHIND) gets the whole again.
    #[must_use]
    pub fn watch(&self) -> Watch<CapsState> {
        match &self.service {
            Some(service) => service.watch(),
            None => Observable::new(CapsState::default()).watch(),
        }
    }
}

impl fmt::Debug for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caps").field("account", self.client.account()).finish_non_exhaustive()
    }
}
