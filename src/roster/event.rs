//! Subscription requests.

use std::fmt;

use jid::BareJid;
use xmpp_parsers::presence::{Presence, Type};

use crate::client::{Client, WeakClient};
use crate::error::{ErrorKind, Result};
use crate::event::{Event, Inbound, Route};
use crate::roster::{Rosters, service::RosterService};
use crate::xml::{Stanza, ns};

/// Somebody asks to see our presence (RFC 6121 §3.1.3).
///
/// An event: each request is reported once in the life of the client, however often the server repeats it. Until it is
/// answered, here or by the user's other device, or withdrawn, it is among
/// [`Roster::pending_requests`](crate::roster::Roster::pending_requests), also after a restart where the store is
/// persistent. A request that another device *denied* is not told to this one and stays until it is answered here too.
///
/// ```
/// # use xmppkit::{Client, roster::SubscriptionRequest};
/// # fn example(client: &Client) {
/// client
///     .on(|request: SubscriptionRequest| async move {
///         match request.from().domain().as_str() {
///             "example.org" => request.accept_and_subscribe().await,
///             _ => request.deny().await,
///         }
///     })
///     .detach();
/// # }
/// ```
#[derive(Clone)]
pub struct SubscriptionRequest {
    from: BareJid,
    stanza: Stanza,
    client: WeakClient,
}

impl SubscriptionRequest {
    /// The request in a presence stanza of type `subscribe`; none without a sender.
    pub(super) fn read(stanza: &Stanza, client: WeakClient) -> Option<Self> {
        Some(Self { from: stanza.from_jid()?.to_bare(), stanza: stanza.clone(), client })
    }

    /// Who asks.
    #[must_use]
    pub fn from(&self) -> &BareJid {
        &self.from
    }

    /// The name they give themselves (XEP-0172). Anybody can write anything there: show the address with it.
    #[must_use]
    pub fn nick(&self) -> Option<String> {
        self.stanza.child_text(ns::NICK, "nick").map(Into::into).filter(|nick: &String| !nick.is_empty())
    }

    /// What they say about the request.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.stanza.child_text(ns::CLIENT, "status").map(Into::into).filter(|text: &String| !text.is_empty())
    }

    /// The stanza as it came.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        &self.stanza
    }

    /// Lets them see our presence.
    ///
    /// # Errors
    /// [`ErrorKind::NotOnline`] without a session, and the request stays pending; [`ErrorKind::ClientClosed`] if the last
    /// handle to the client was dropped.
    pub async fn accept(&self) -> Result<()> {
        self.answer(Presence::subscribed()).await.map(drop)
    }

    /// Lets them see our presence, and asks to see theirs.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn accept_and_subscribe(&self) -> Result<()> {
        let client = self.answer(Presence::subscribed()).await?;
        client.roster().subscribe(&self.from).await
    }

    /// Refuses.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn deny(&self) -> Result<()> {
        self.answer(Presence::new(Type::Unsubscribed)).await.map(drop)
    }

    async fn answer(&self, answer: Presence) -> Result<Client> {
        let client = self.client.upgrade().ok_or(ErrorKind::ClientClosed)?;
        client.send_presence(answer.with_to(self.from.clone())).await?;
        if let Some(service) = client.ext::<RosterService>() {
            service.request_gone(&self.from, &client.ctx());
            service.save_requests(&client.ctx()).await;
        }
        Ok(client)
    }
}

impl Event for SubscriptionRequest {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}

impl fmt::Debug for SubscriptionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionRequest").field("from", &self.from.as_str()).finish_non_exhaustive()
    }
}

/// Requests have to be written to the store, or deleted there: heard by the extension itself.
#[derive(Clone, Debug)]
pub(super) struct RequestsToSave;

impl Event for RequestsToSave {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}
