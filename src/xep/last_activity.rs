//! Last activity (XEP-0012): how long somebody has been away, or up; asked, and answered if the application wants it.
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::xep::last_activity::LastActivities;
//!
//! # async fn run(client: Client) -> xmppkit::Result<()> {
//! // The user has just pressed a key: contacts who ask are told how long ago that was.
//! client.last_activity().used_now()?;
//!
//! let juliet = "juliet@example.com".parse::<xmppkit::jid::BareJid>()?;
//! println!("she left {} s ago", client.last_activity().of(juliet).await?.ago.as_secs());
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jid::Jid;
use xso::{AsXml, FromXml};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
use crate::ext::{Answer, Ctx, Extension, IqRefusal, IqRequest, Registrar};
use crate::roster::{AnswerTo, RosterService};
use crate::xml::{Node, ns};

/// Gives clients their [`LastActivity`].
pub trait LastActivities {
    /// Last activity. If the extension was [removed](crate::client::ClientBuilder::without), every call fails with
    /// [`ErrorKind::ExtensionMissing`].
    fn last_activity(&self) -> LastActivity;
}

impl LastActivities for Client {
    fn last_activity(&self) -> LastActivity {
        LastActivity { client: self.clone(), service: self.ext() }
    }
}

/// A handle to last activity: others', and our own user's.
#[derive(Clone)]
pub struct LastActivity {
    client: Client,
    service: Option<Arc<LastActivityService>>,
}

/// When somebody was last active; see [`LastActivity::of`] for what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastActive {
    /// How long ago it was when they answered, in whole seconds.
    pub ago: Duration,
    /// What they said when they left, of one who is offline.
    pub status: Option<String>,
}

impl LastActivity {
    /// Asks. What it means depends on whom (XEP-0012 §2):
    ///
    /// - a bare JID: how long ago the contact left, as their server knows; zero if they are there;
    /// - a full JID: how long the user of that client has done nothing;
    /// - a server or service: for how long it has been running.
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`], with `forbidden` if we may not see their presence, with `service-unavailable` if they do not
    /// say; [`ErrorKind::Payload`] if the answer is none; the errors of every [request](Client::iq_get);
    /// [`ErrorKind::ExtensionMissing`] if the extension was removed.
    pub async fn of(&self, jid: impl Into<Jid>) -> Result<LastActive> {
        self.service()?;
        let request = self.client.iq_get(jid.into(), &Query { seconds: None });
        let reply = request.await?;
        reply.stanza().child(ns::LAST_ACTIVITY, "query").and_then(LastActive::read).ok_or_else(|| {
            let kind = ErrorKind::Payload { ns: ns::LAST_ACTIVITY.to_owned(), name: "query".to_owned() };
            Error::new(kind).with_context("the reply says no time")
        })
    }

    /// Says that the user does something with this client now. Who may see our presence is told how long ago that was, if
    /// they ask. An application that never says so does not answer.
    ///
    /// # Errors
    /// [`ErrorKind::ExtensionMissing`] if the extension was removed.
    pub fn used_now(&self) -> Result<()> {
        self.service()?.set_used(Some(Instant::now()));
        Ok(())
    }

    /// Says when the user last did something with this client, where that is known otherwise; `None` answers nobody from now
    /// on.
    ///
    /// # Errors
    /// [`ErrorKind::ExtensionMissing`] if the extension was removed.
    pub fn set_used(&self, used: Option<Instant>) -> Result<()> {
        self.service()?.set_used(used);
        Ok(())
    }

    fn service(&self) -> Result<&LastActivityService> {
        self.service.as_deref().ok_or_else(|| ErrorKind::ExtensionMissing("LastActivityService").into())
    }
}

impl fmt::Debug for LastActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastActivity").field("account", self.client.account()).finish_non_exhaustive()
    }
}

impl LastActive {
    fn read(query: Node<'_>) -> Option<Self> {
        let ago = Duration::from_secs(query.attr("seconds")?.trim().parse().ok()?);
        let status = query.text();
        Some(Self { ago, status: (!status.is_empty()).then(|| status.into_owned()) })
    }
}

/// To whom this client says when it was last used; others get `service-unavailable` (XEP-0012 §4).
/// [Set](crate::client::ClientBuilder::setting) it for the application. The default is contacts, and to answer
/// [everybody](AnswerTo::Everybody) would tell strangers that the user is there (XEP-0012 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LastActivitySetting {
    /// To whom.
    pub answer: AnswerTo,
}

impl LastActivitySetting {
    /// Says it to these.
    #[must_use]
    pub fn new(answer: AnswerTo) -> Self {
        Self { answer }
    }
}

/// `<query/>` (XEP-0012 §2).
#[derive(FromXml, AsXml, Debug, Clone)]
#[xml(namespace = ns::LAST_ACTIVITY, name = "query")]
struct Query {
    #[xml(attribute(default))]
    seconds: Option<u64>,
}

/// The extension behind [`Client::last_activity`](LastActivities::last_activity), which also answers. It uses the
/// [roster](RosterService) to know who is a contact.
#[derive(Debug, Default)]
pub struct LastActivityService {
    used: Mutex<Option<Instant>>,
}

impl LastActivityService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn set_used(&self, used: Option<Instant>) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = used;
    }
}

impl Extension for LastActivityService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.uses::<RosterService>();
        reg.setting(LastActivitySetting::default());
        reg.feature(ns::LAST_ACTIVITY);
        reg.on_iq_get(|request: IqRequest<Query>, cx: Ctx| async move {
            let service = cx.ext::<Self>();
            let used = service.and_then(|service| *service.used.lock().unwrap_or_else(PoisonError::into_inner));
            answer(request.from(), used, &cx)
        });
    }

    fn registers_alike(&self) -> bool {
        true
    }
}

fn answer(from: Option<Jid>, used: Option<Instant>, cx: &Ctx) -> Result<Answer, IqRefusal> {
    let told = cx.setting::<LastActivitySetting>().is_some_and(|setting| setting.answer.includes(from.as_ref(), cx));
    match used.filter(|_| told) {
        Some(used) => Answer::payload(&Query { seconds: Some(used.elapsed().as_secs()) }),
        None => Err(StanzaError::new(StanzaErrorType::Cancel, "service-unavailable").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Frame;

    #[test]
    fn answers_are_read() {
        let read = |xml: &str| LastActive::read(Frame::parse(xml).expect("XML").root());
        let active = |seconds, status: Option<&str>| {
            Some(LastActive { ago: Duration::from_secs(seconds), status: status.map(Into::into) })
        };
        assert_eq!(read("<query xmlns='jabber:iq:last' seconds='903'>Heading Home</query>"), active(903, Some("Heading Home")));
        assert_eq!(read("<query xmlns='jabber:iq:last' seconds='0'/>"), active(0, None));
        for attribute in ["", "seconds=''", "seconds='-1'", "seconds='soon'"] {
            assert_eq!(read(&format!("<query xmlns='jabber:iq:last' {attribute}/>")), None, "{attribute}");
        }
    }
}
