//! Telling the sender of a message that it arrived (XEP-0184), or was displayed (XEP-0333).

use jid::{BareJid, Jid};

use super::{Confirm, MessageType, MessagingSettings, Origin};
use crate::client::{Client, Sent, WeakClient};
use crate::error::Result;
use crate::event::{Event, Inbound, Route};
use crate::ext::Ctx;
use crate::roster::RosterService;
use crate::xml::{ElementWriter, Stanza, ns};

/// A receipt has to be sent for this message: heard by the extension itself.
#[derive(Clone, Debug)]
pub(super) struct ReceiptDue(Stanza);

impl ReceiptDue {
    /// The receipt that is due for a message that asks for one, if it is: its sender may know, and the message comes the first
    /// time, from its sender. Carbons are another device's to confirm; of what an archive gives only what is received by it, not
    /// history that is looked at (XEP-0184 §5.5).
    pub(super) fn for_message(inbound: &Inbound, cx: &Ctx) -> Option<Self> {
        let stanza = inbound.stanza();
        let received = match inbound.origin() {
            Origin::Live | Origin::Offline => true,
            Origin::Archive => inbound.position().is_some(),
            Origin::Carbon => false,
        };
        if !received {
            return None;
        }
        stanza.id()?;
        may_know(cx, &stanza.from_jid()?.clone().into_bare()).then(|| Self(stanza.clone()))
    }

    pub(super) async fn send(self, cx: Ctx) -> Result<()> {
        let Self(stanza) = &self;
        let (Some(to), Some(id)) = (stanza.from_jid(), stanza.id()) else { return Ok(()) };
        let about = MessageType::from_attribute(stanza.stanza_type().as_deref());
        confirm(&cx.client(), to, about, (ns::RECEIPTS, "received"), &id).await.map(drop)
    }
}

impl Event for ReceiptDue {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}

/// Whether this sender is told anything; the own account knows.
pub(super) fn may_know(cx: &Ctx, sender: &BareJid) -> bool {
    let confirm = cx.setting::<MessagingSettings>().map(|settings| settings.confirm).unwrap_or_default();
    sender != cx.account()
        && match confirm {
            Confirm::Nobody => false,
            Confirm::Contacts => {
                let contact = cx.ext::<RosterService>().and_then(|roster| roster.get(sender));
                contact.is_some_and(|contact| contact.subscription().includes_from())
            }
            Confirm::Everybody => true,
        }
}

/// Sends what confirms the message of this id: of the type of the one it is about, so that it takes the same way.
pub(super) async fn confirm(client: &Client, to: &Jid, about: MessageType, (ns, name): (&str, &str), id: &str) -> Result<Sent> {
    let kind = if about == MessageType::Chat { MessageType::Chat } else { MessageType::Normal };
    let write = |message: &mut ElementWriter<'_>| {
        message.start(ns, name)?;
        message.attribute("id", id)?;
        message.end()
    };
    client.send_payload(to, kind, write).await
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::client::Client;
    use crate::xml::Frame;

    #[tokio::test]
    async fn only_what_comes_the_first_time_and_from_its_sender_is_confirmed() {
        let settings = MessagingSettings::new().confirm(Confirm::Everybody);
        let account = "romeo@example.net".parse().unwrap();
        let client = Client::builder(account).password("secret").setting(settings).build().await.unwrap();
        let xml = "<message xmlns='jabber:client' type='chat' id='m' from='juliet@example.com/balcony'><body>Hi</body>\
                   <request xmlns='urn:xmpp:receipts'/></message>";
        let stanza = Frame::parse(xml).unwrap().stanza().unwrap();
        for (origin, expected) in
            [(Origin::Live, true), (Origin::Offline, true), (Origin::Carbon, false), (Origin::Archive, false)]
        {
            let mut inbound = Inbound::new(stanza.clone(), 1, SystemTime::UNIX_EPOCH);
            inbound.replace(stanza.clone(), origin);
            let due = ReceiptDue::for_message(&inbound, &client.ctx());
            assert_eq!(due.is_some(), expected, "{origin:?}");
        }
        let mut caught_up = Inbound::new(stanza.clone(), 1, SystemTime::UNIX_EPOCH);
        caught_up.replace(stanza, Origin::Archive);
        caught_up.set_position(crate::store::Position::new(1));
        assert!(ReceiptDue::for_message(&caught_up, &client.ctx()).is_some(), "it comes by the archive for the first time");
    }
}
