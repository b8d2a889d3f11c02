//! The roster: who the contacts are, who sees whose presence, and who asks to (RFC 6121 §2, §3).
//!
//! [`Client::roster`](Rosters::roster) gives a handle. The roster is fetched at each login before presence is sent, only
//! what changed where the server can tell (RFC 6121 §2.6), is kept in the client's store, and can be read offline.
//!
//! ```no_run
//! use futures::StreamExt;
//! use xmppkit::Client;
//! use xmppkit::ext::Observed;
//! use xmppkit::roster::{RosterChange, Rosters, SubscriptionRequest};
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("juliet@example.com".parse()?).password("secret").build().await?;
//! client.on(|request: SubscriptionRequest| async move { request.accept_and_subscribe().await }).detach();
//! client.connect().await?;
//!
//! for contact in client.roster().contacts() {
//!     println!("{} ({})", contact.name().unwrap_or(contact.jid().as_str()), contact.subscription());
//! }
//! client.roster().add("romeo@example.net".parse()?).name("Romeo").group("Friends").and_subscribe().await?;
//!
//! let mut roster = client.roster().watch();
//! while let Some(observed) = roster.next().await {
//!     match observed {
//!         Observed::Reset(state) => println!("{} contacts", state.len()),
//!         Observed::Change(RosterChange::Contact(contact)) => println!("changed: {}", contact.jid()),
//!         Observed::Change(RosterChange::Removed(jid)) => println!("gone: {jid}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod contact;
mod edit;
mod event;
mod service;
mod state;

use std::fmt;
use std::sync::Arc;

use jid::BareJid;
use xmpp_parsers::presence::{Presence, Type};

pub use answer::AnswerTo;
pub use contact::{Contact, Subscription};
pub use edit::{AddContact, Subscribe};
pub use event::SubscriptionRequest;
pub use service::RosterService;
pub use state::{RosterChange, RosterState};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
use crate::ext::{Observable, Watch};
use crate::xml::ns;

/// Gives clients their [`Roster`].
pub trait Rosters {
    /// The account's roster. If the extension was [removed](crate::client::ClientBuilder::without), the roster is empty and
    /// every call fails with [`ErrorKind::ExtensionMissing`].
    fn roster(&self) -> Roster;
}

impl Rosters for Client {
    fn roster(&self) -> Roster {
        Roster { client: self.clone(), service: self.ext() }
    }
}

/// A handle to the account's roster.
///
/// What it shows is what the server last said; before the first login, and offline, what the store kept. Calls that
/// change something ask the server and need a session; the change shows when the call returns.
///
/// # Errors
/// Every call that talks to the server fails with [`ErrorKind::NotOnline`] without a session, and with
/// [`ErrorKind::ExtensionMissing`] if the extension was removed. Calls that wait for the server's answer also fail with
/// [`ErrorKind::Stanza`] if it refuses, [`ErrorKind::RequestTimeout`] and [`ErrorKind::SessionLost`].
#[derive(Clone)]
pub struct Roster {
    client: Client,
    service: Option<Arc<RosterService>>,
}

impl Roster {
    /// The contacts, sorted by JID.
    #[must_use]
    pub fn contacts(&self) -> Vec<Contact> {
        self.state(|state| state.contacts().cloned().collect())
    }

    /// One contact.
    #[must_use]
    pub fn get(&self, jid: &BareJid) -> Option<Contact> {
        self.state(|state| state.get(jid).cloned())
    }

    /// The subscription requests that wait for an answer, sorted by JID.
    #[must_use]
    pub fn pending_requests(&self) -> Vec<SubscriptionRequest> {
        self.state(|state| state.requests().cloned().collect())
    }

    /// The roster as it is now, as a whole.
    #[must_use]
    pub fn snapshot(&self) -> RosterState {
        self.state(RosterState::clone)
    }

    /// The roster now, and then each change in order. Whoever falls too far
    /// [behind](crate::ext::MAX_BEHIND) gets the whole roster again.
    #[must_use]
    pub fn watch(&self) -> Watch<RosterState> {
        match &self.service {
            Some(service) => service.watch(),
            None => Observable::new(RosterState::default()).watch(),
        }
    }

    /// Adds a contact (RFC 6121 §2.3): awaited alone without name, groups and subscription. For a contact that is there
    /// already, it changes what is given.
    ///
    /// ```no_run
    /// # use xmppkit::{Client, roster::Rosters};
    /// # async fn example(client: Client) -> xmppkit::Result<()> {
    /// client.roster().add("romeo@example.net".parse()?).name("Romeo").group("Friends").and_subscribe().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn add(&self, jid: BareJid) -> AddContact {
        AddContact::new(self.clone(), jid)
    }

    /// Gives a contact another name; an empty one is none. Its groups stay.
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`] with `item-not-found` if it is no contact; see [`Roster`].
    pub async fn rename(&self, jid: &BareJid, name: &str) -> Result<()> {
        edit::change(self, jid, |contact| contact.with_name(name)).await
    }

    /// Puts a contact into these groups, and out of all others. Its name stays.
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`] with `item-not-found` if it is no contact; see [`Roster`].
    pub async fn set_groups(&self, jid: &BareJid, groups: impl IntoIterator<Item = impl Into<String>> + Send) -> Result<()> {
        let groups = groups.into_iter().map(Into::into).collect::<std::collections::BTreeSet<String>>();
        edit::change(self, jid, |contact| contact.with_groups(groups.clone())).await
    }

    /// Removes a contact; subscriptions in both directions end with it (RFC 6121 §2.5).
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`] with `item-not-found` if it is no contact, from most servers (ejabberd confirms); see
    /// [`Roster`].
    pub async fn remove(&self, jid: &BareJid) -> Result<()> {
        edit::remove(self, jid).await
    }

    /// Asks to see somebody's presence (RFC 6121 §3.1). Resolves when the request is on its way; until it is answered
    /// the contact [is asked](Contact::is_asked). Somebody who is no contact becomes one.
    pub fn subscribe(&self, jid: &BareJid) -> Subscribe {
        Subscribe::new(self.clone(), jid.clone())
    }

    /// No longer sees the contact's presence, or withdraws the request to (RFC 6121 §3.3).
    ///
    /// # Errors
    /// See [`Roster`].
    pub async fn unsubscribe(&self, jid: &BareJid) -> Result<()> {
        self.send(Presence::unsubscribe(), jid).await
    }

    /// No longer lets somebody see our presence: takes back an approval, also one given [in advance](Self::preapprove),
    /// or denies their request (RFC 6121 §3.2).
    ///
    /// # Errors
    /// See [`Roster`].
    pub async fn cancel(&self, jid: &BareJid) -> Result<()> {
        self.send(Presence::new(Type::Unsubscribed), jid).await?;
        self.answered(jid).await
    }

    /// Lets somebody see our presence before they ask (RFC 6121 §3.4). If they have asked, this accepts.
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`] with `feature-not-implemented` if they have not asked and the server cannot keep approvals;
    /// see [`Roster`].
    pub async fn preapprove(&self, jid: &BareJid) -> Result<()> {
        let asked = self.state(|state| state.request(jid).is_some());
        let features = self.client.stream_features().ok_or(ErrorKind::NotOnline)?;
        if !asked && features.child(ns::PRE_APPROVAL, "sub").is_none() {
            let error = StanzaError::new(StanzaErrorType::Cancel, "feature-not-implemented");
            return Err(Error::new(ErrorKind::Stanza(error)).with_context("the server does not support pre-approval"));
        }
        self.send(Presence::subscribed(), jid).await?;
        self.answered(jid).await
    }

    async fn send(&self, presence: Presence, to: &BareJid) -> Result<()> {
        self.service()?;
        self.client.send_presence(presence.with_to(to.clone())).await
    }

    async fn answered(&self, jid: &BareJid) -> Result<()> {
        let (service, cx) = (self.service()?, self.client.ctx());
        service.request_gone(jid, &cx);
        service.save_requests(&cx).await;
        Ok(())
    }

    fn service(&self) -> Result<&RosterService> {
        self.service.as_deref().ok_or_else(|| ErrorKind::ExtensionMissing("RosterService").into())
    }

    fn state<R>(&self, read: impl FnOnce(&RosterState) -> R) -> R {
        match &self.service {
            Some(service) => service.state().with(read),
            None => read(&RosterState::default()),
        }
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("account", self.client.account()).finish_non_exhaustive()
    }
}
