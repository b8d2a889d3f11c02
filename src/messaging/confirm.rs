//! Telling the sender of a message that it arrived (XEP-0184), or was displayed (XEP-0333).

use jid::{BareJid, Jid};
use xmpp_parsers::message::Message;
use xmpp_parsers::receipts::Received;

use super::{Confirm, MessageType, MessagingSettings, Origin};
use crate::client::WeakClient;
use crate::error::Result;
use crate::event::{Event, Inbound, Route};
use crate::ext::Ctx;
use crate::roster::RosterService;

/// A receipt has to be sent: heard by the extension itself.
#[derive(Clone, Debug)]
pub(super) struct ReceiptDue {
    to: Jid,
    id: String,
    message_type: MessageType,
}

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
        let (to, id) = (stanza.from_jid()?, stanza.id()?);
        let message_type = MessageType::from_attribute(stanza.stanza_type().as_deref());
        may_know(cx, &to.clone().into_bare()).then(|| Self { to: to.clone(), id: id.into_owned(), message_type })
    }

    pub(super) async fn send(self, cx: Ctx) -> Result<()> {
        let message = addressed(self.message_type, self.to).with_payload(Received { id: self.id });
        cx.client().send(message).await.map(drop)
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

/// A message of the type of the one it is about, so that it takes the same way.
pub(super) fn addressed(about: MessageType, to: Jid) -> Message {
    if about == MessageType::Chat { Message::chat(to) } else { Message::normal(to) }
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
            assert_eq!(due.map(|due| due.id), expected.then(|| "m".to_owned()), "{origin:?}");
        }
        let mut caught_up = Inbound::new(stanza.clone(), 1, SystemTime::UNIX_EPOCH);
        caught_up.replace(stanza, Origin::Archive);
        caught_up.set_position(crate::store::Position::new(1));
        assert!(ReceiptDue::for_message(&caught_up, &client.ctx()).is_some(), "it comes by the archive for the first time");
    }
}
