//! Presence: who is available on which device, and our own (RFC 6121 §4).
//!
//! [`Client::presence`](Presences::presence) gives a handle to the picture that everybody's presence adds up to, and to
//! our own presence, which is kept and told again in each new session.
//!
//! ```no_run
//! use futures::StreamExt;
//! use xmppkit::Client;
//! use xmppkit::ext::Observed;
//! use xmppkit::presence::{PresenceChange, Presences, Show};
//!
//! # async fn run(client: Client) -> xmppkit::Result<()> {
//! client.presence().set(Show::Away).status("at lunch").await?;
//!
//! let romeo = "romeo@example.net".parse()?;
//! match client.presence().best(&romeo) {
//!     Some(best) => println!("{}: {}", best.show(), best.status().unwrap_or_default()),
//!     None => println!("not there"),
//! }
//!
//! let mut presence = client.presence().watch();
//! while let Some(observed) = presence.next().await {
//!     match observed {
//!         Observed::Reset(state) => println!("{} are there", state.iter().len()),
//!         Observed::Change(PresenceChange::Available(resource)) => println!("{} is {}", resource.jid(), resource.show()),
//!         Observed::Change(PresenceChange::Unavailable(jid)) => println!("{jid} is gone"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is kept
//! The presence of contacts and of the user's own devices (this one among them, as the server tells it back), and of up
//! to 1,000 others who sent us theirs; up to 64 resources of each; not the occupants of rooms. Contacts who are not
//! available are not in the picture. It keeps its values while the session can still be resumed, and says that they may be
//! [stale](PresenceState::is_stale); when the session is lost it is reset to nothing once, and the next session fills it.

mod event;
mod own;
mod resource;
mod service;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jid::{BareJid, Jid};

pub use event::PresenceUpdate;
pub use own::{OwnPresence, SetPresence};
pub use resource::{ResourcePresence, Show};
pub use service::PresenceService;
pub use state::{PresenceChange, PresenceState};

use crate::client::Client;
use crate::error::{ErrorKind, Result};
use crate::ext::{Observable, Watch};

/// Gives clients their [`Presence`].
pub trait Presences {
    /// Everybody's presence, and our own. If the extension was [removed](crate::client::ClientBuilder::without), nobody is
    /// there and every call fails with [`ErrorKind::ExtensionMissing`].
    fn presence(&self) -> Presence;
}

impl Presences for Client {
    fn presence(&self) -> Presence {
        Presence { client: self.clone(), service: self.ext() }
    }
}

/// A handle to everybody's presence, and to our own.
#[derive(Clone)]
pub struct Presence {
    client: Client,
    service: Option<Arc<PresenceService>>,
}

impl Presence {
    /// The available resources of an address, the best first; none if it is not available, or not known to be.
    #[must_use]
    pub fn of(&self, jid: &BareJid) -> Vec<ResourcePresence> {
        self.service.as_ref().map(|service| service.of(jid)).unwrap_or_default()
    }

    /// The best resource of an address: the one with the highest priority, and among those the readiest to talk, and
    /// among those the one that spoke last.
    #[must_use]
    pub fn best(&self, jid: &BareJid) -> Option<ResourcePresence> {
        self.service.as_ref()?.best(jid)
    }

    /// Everybody's presence as it is now.
    #[must_use]
    pub fn snapshot(&self) -> PresenceState {
        self.service.as_ref().map(|service| service.state().get()).unwrap_or_default()
    }

    /// Everybody's presence now, and then each change in order. Whoever falls too far
    /// [behind](crate::ext::MAX_BEHIND) gets the whole picture again.
    #[must_use]
    pub fn watch(&self) -> Watch<PresenceState> {
        match &self.service {
            Some(service) => service.watch(),
            None => Observable::new(PresenceState::default()).watch(),
        }
    }

    /// Our own presence, as it is kept: told to contacts while online, and at the beginning of each session.
    #[must_use]
    pub fn own(&self) -> OwnPresence {
        self.service.as_ref().map(|service| service.own()).unwrap_or_default()
    }

    /// Says to all contacts that we are available like this, now or when the client is next online, and again in each new
    /// session. Words said earlier go; the priority stays unless a new one is given.
    ///
    /// ```no_run
    /// # use xmppkit::{Client, presence::{Presences, Show}};
    /// # async fn example(client: Client) -> xmppkit::Result<()> {
    /// client.presence().set(Show::Dnd).status("Wooing Juliet").status_in("cs", "Dvořím se Julii").priority(1).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Awaiting it fails with [`ErrorKind::ExtensionMissing`] if the extension was removed. What is kept is kept also if
    /// sending it fails.
    pub fn set(&self, show: Show) -> SetPresence {
        SetPresence::new(self.clone(), Some(show))
    }

    /// Says to all contacts that we are available: short for [`set`](Self::set) with [`Show::Available`].
    pub fn available(&self) -> SetPresence {
        self.set(Show::Available)
    }

    /// Says to all contacts that we are not available, and is online all the same: contacts do not see this client, and
    /// the server delivers no messages sent to the bare JID. Said before `connect`, the client comes online without
    /// presence. Errors as [`set`](Self::set).
    pub fn unavailable(&self) -> SetPresence {
        SetPresence::new(self.clone(), None)
    }

    /// Sends presence to one address that need be no contact (directed presence, RFC 6121 §4.6): what our own presence
    /// is, unless something else is said. The server tells them when we leave, and not what we say to all meanwhile; a new
    /// session does not repeat it.
    ///
    /// # Errors
    /// Awaiting it fails with [`ErrorKind::NotOnline`] without a session, and as [`set`](Self::set).
    pub fn send_to(&self, to: impl Into<Jid>) -> SetPresence {
        SetPresence::directed(self.clone(), to.into())
    }

    /// Whom this session told that we are available by sending it to them, beside contacts, sorted: those whom the server
    /// will tell that we are gone (RFC 6121 §4.6). None is left when the session is over, or after
    /// [`unavailable`](Self::unavailable).
    ///
    /// ```no_run
    /// # use xmppkit::prelude::*;
    /// # async fn run(client: Client) -> xmppkit::Result<()> {
    /// // They are not among those whom `set` tells; so each of them is told.
    /// client.presence().set(Show::Away).await?;
    /// for peer in client.presence().directed() {
    ///     client.presence().send_to(peer).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn directed(&self) -> Vec<Jid> {
        self.service.as_ref().map(|service| service.directed()).unwrap_or_default()
    }

    fn service(&self) -> Result<Arc<PresenceService>> {
        self.service.clone().ok_or_else(|| ErrorKind::ExtensionMissing("PresenceService").into())
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("account", self.client.account()).finish_non_exhaustive()
    }
}
