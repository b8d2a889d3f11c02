//! Ping (XEP-0199): whether somebody can be reached, and how long the way there and back takes. Pings are answered.
//!
//! That the client's own connection lives is looked after without this.
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::xep::ping::Pings;
//!
//! # async fn run(client: Client) -> xmppkit::Result<()> {
//! let pong = client.ping_server().await?;
//! println!("the server answered after {:?}", pong.time);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jid::{BareJid, Jid};
use xmpp_parsers::ping::Ping;

use crate::client::{Client, Request};
use crate::error::{ErrorKind, Result};
use crate::ext::{Answer, Ctx, Extension, IqRequest, Registrar};
use crate::xml::ns;

/// Lets clients ping.
pub trait Pings {
    /// Pings somebody: a server or service, or a client by its full JID. For another user's bare JID their server answers.
    ///
    /// # Errors
    /// Awaiting it fails with [`ErrorKind::RequestTimeout`]; with [`ErrorKind::Stanza`] if the answer does not show that they
    /// are there (see [`Pong::supported`]); with [`ErrorKind::NotOnline`] and [`ErrorKind::SessionLost`]; and with
    /// [`ErrorKind::ExtensionMissing`] if the extension was [removed](crate::client::ClientBuilder::without).
    fn ping(&self, jid: impl Into<Jid>) -> PingRequest;

    /// Pings the account's server. Errors as [`ping`](Self::ping).
    fn ping_server(&self) -> PingRequest;
}

impl Pings for Client {
    fn ping(&self, jid: impl Into<Jid>) -> PingRequest {
        PingRequest::new(self, jid.into())
    }

    fn ping_server(&self) -> PingRequest {
        PingRequest::new(self, BareJid::from_parts(None, self.account().domain()).into())
    }
}

/// The answer to a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pong {
    /// How long it took from asking to the answer.
    pub time: Duration,
    /// Whether they know pings. If not, their answer was an error that only somebody who is there gives:
    /// `feature-not-implemented`, or `service-unavailable` from a server or service. (With `service-unavailable` a server may
    /// also say that a user's client is not there, so of a user it is an error of the call.)
    pub supported: bool,
}

/// Pings, when it is awaited; see [`Pings::ping`].
#[must_use = "nothing is sent until it is awaited"]
pub struct PingRequest {
    request: Option<Request>,
    /// Whom the answer can only be from.
    is_host: bool,
}

impl PingRequest {
    fn new(client: &Client, jid: Jid) -> Self {
        let is_host = jid.node().is_none();
        let request = client.ext::<PingService>().map(|_| client.iq_get(jid, &Ping));
        Self { request, is_host }
    }

    /// How long to wait for the answer; default as for every [request](Client::iq_get).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request = self.request.map(|request| request.timeout(timeout));
        self
    }
}

impl IntoFuture for PingRequest {
    type Output = Result<Pong>;
    type IntoFuture = BoxFuture<'static, Result<Pong>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let request = self.request.ok_or(ErrorKind::ExtensionMissing("PingService"))?;
            let asked = Instant::now();
            let result = request.await;
            let time = asked.elapsed();
            match result {
                Ok(_) => Ok(Pong { time, supported: true }),
                Err(error) if shows_life(error.kind(), self.is_host) => Ok(Pong { time, supported: false }),
                Err(error) => Err(error),
            }
        })
    }
}

impl fmt::Debug for PingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PingRequest").field("request", &self.request).finish_non_exhaustive()
    }
}

fn shows_life(kind: &ErrorKind, is_host: bool) -> bool {
    let ErrorKind::Stanza(error) = kind else { return false };
    match error.condition.as_str() {
        "feature-not-implemented" => true,
        "service-unavailable" => is_host,
        _ => false,
    }
}

/// The extension that answers, and lets clients ping.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PingService;

impl PingService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Extension for PingService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.feature(ns::PING);
        reg.on_iq_get(|_: IqRequest<Ping>, _: Ctx| async { Ok(Answer::empty()) });
    }

    fn registers_alike(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{StanzaError, StanzaErrorType};

    #[test]
    fn some_errors_show_that_somebody_is_there() {
        let of = |condition: &str| ErrorKind::Stanza(StanzaError::new(StanzaErrorType::Cancel, condition));
        let table = [
            (of("feature-not-implemented"), true, true),
            (of("service-unavailable"), false, true),
            (of("remote-server-not-found"), false, false),
            (of("remote-server-timeout"), false, false),
            (of("item-not-found"), false, false),
            (ErrorKind::NotOnline, false, false),
        ];
        for (kind, of_a_user, of_a_host) in table {
            assert_eq!((shows_life(&kind, false), shows_life(&kind, true)), (of_a_user, of_a_host), "{kind}");
        }
    }
}
