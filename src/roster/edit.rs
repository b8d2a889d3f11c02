//! The calls that change the roster, as futures with options.

use std::collections::BTreeSet;
use std::fmt;
use std::future::IntoFuture;

use futures::future::BoxFuture;
use jid::BareJid;
use xmpp_parsers::nick::Nick;
use xmpp_parsers::presence::Presence;
use xmpp_parsers::roster::{Item, Roster as RosterQuery, Subscription as WireSubscription};

use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
use crate::roster::contact::Contact;
use crate::roster::{Roster, RosterService};

/// Adds a contact when it is awaited; see [`Roster::add`].
#[must_use = "nothing is sent until it is awaited"]
#[derive(Debug)]
pub struct AddContact {
    roster: Roster,
    jid: BareJid,
    name: Option<String>,
    groups: Option<BTreeSet<String>>,
    subscribe: Option<Ask>,
}

/// Asks to see somebody's presence when it is awaited; see [`Roster::subscribe`].
#[must_use = "nothing is sent until it is awaited"]
#[derive(Debug)]
pub struct Subscribe {
    roster: Roster,
    jid: BareJid,
    ask: Ask,
}

/// What a subscription request says.
#[derive(Default)]
struct Ask {
    nick: Option<String>,
    text: Option<String>,
}

impl AddContact {
    pub(super) fn new(roster: Roster, jid: BareJid) -> Self {
        Self { roster, jid, name: None, groups: None, subscribe: None }
    }

    /// The name the user gives the contact. Only the user's own devices see it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Puts the contact into this group; may be said several times. A contact that is there already leaves the groups it
    /// was in.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.get_or_insert_default().insert(group.into());
        self
    }

    /// Also asks to see the contact's presence (RFC 6121 §3.1).
    pub fn and_subscribe(mut self) -> Self {
        self.subscribe.get_or_insert_default();
        self
    }

    /// Asks as [`and_subscribe`](Self::and_subscribe) does, under this nickname of our own (XEP-0172).
    pub fn nick(mut self, nick: impl Into<String>) -> Self {
        self.subscribe.get_or_insert_default().nick = Some(nick.into());
        self
    }

    /// Asks as [`and_subscribe`](Self::and_subscribe) does, with these words to the contact.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.subscribe.get_or_insert_default().text = Some(text.into());
        self
    }

    async fn run(self) -> Result<()> {
        let Self { roster, jid, name, groups, subscribe } = self;
        let change = move |contact: Option<Contact>, jid: &BareJid| {
            let contact = contact.unwrap_or_else(|| Contact::new(jid.clone()));
            let contact = match &name {
                Some(name) => contact.with_name(name),
                None => contact,
            };
            match &groups {
                Some(groups) => contact.with_groups(groups.clone()),
                None => contact,
            }
        };
        set(&roster, &jid, |contact| Ok(change(contact, &jid))).await?;
        match subscribe {
            Some(ask) => ask.send(&roster, &jid).await,
            None => Ok(()),
        }
    }
}

impl Subscribe {
    pub(super) fn new(roster: Roster, jid: BareJid) -> Self {
        Self { roster, jid, ask: Ask::default() }
    }

    /// A nickname of our own that the contact may show (XEP-0172).
    pub fn nick(mut self, nick: impl Into<String>) -> Self {
        self.ask.nick = Some(nick.into());
        self
    }

    /// Words to the contact.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.ask.text = Some(text.into());
        self
    }
}

impl Ask {
    async fn send(self, roster: &Roster, jid: &BareJid) -> Result<()> {
        let mut presence = Presence::subscribe().with_to(jid.clone());
        if let Some(text) = self.text {
            presence.set_status("", text);
        }
        if let Some(nick) = self.nick {
            presence.payloads.push(Nick(nick).into());
        }
        roster.service()?;
        roster.client.send_presence(presence).await
    }
}

impl IntoFuture for AddContact {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.ask.send(&self.roster, &self.jid).await })
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").finish_non_exhaustive()
    }
}

/// Changes a contact that is in the roster.
pub(super) async fn change(roster: &Roster, jid: &BareJid, change: impl Fn(Contact) -> Contact) -> Result<()> {
    set(roster, jid, |contact| contact.map(&change).ok_or_else(no_contact)).await
}

/// Removes a contact (RFC 6121 §2.5).
pub(super) async fn remove(roster: &Roster, jid: &BareJid) -> Result<()> {
    let service = roster.service()?;
    let edit = service.edit(jid).await;
    let item = Item { subscription: WireSubscription::Remove, ..Contact::new(jid.clone()).to_item() };
    request(roster, item).await?;
    edit.done(|_| None);
    Ok(())
}

/// One roster set (RFC 6121 §2.1.5): the server is told the whole item, so the others wait.
async fn set(roster: &Roster, jid: &BareJid, change: impl Fn(Option<Contact>) -> Result<Contact>) -> Result<()> {
    let service: &RosterService = roster.service()?;
    let edit = service.edit(jid).await;
    request(roster, change(edit.contact())?.to_item()).await?;
    edit.done(|contact| change(contact).ok());
    Ok(())
}

async fn request(roster: &Roster, item: Item) -> Result<()> {
    roster.client.iq_set(None, &RosterQuery { ver: None, items: vec![item] }).await.map(drop)
}

fn no_contact() -> Error {
    ErrorKind::Stanza(StanzaError::new(StanzaErrorType::Cancel, "item-not-found")).into()
}
