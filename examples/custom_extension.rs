//! How to write an extension: a poll, with everything it needs from the library.
//!
//! One account holds a poll, and others vote in it and ask how it stands. It takes no more than the public API, by which the
//! built-in extensions are written as well: a payload of one's own, requests, an event, a state to watch that outlives the
//! program, a setting, and a method on the client.
//!
//! A crate of your own needs `xso = { version = "0.4", features = ["macros"] }` as well: the derive macros write `xso::…`.
//!
//! ```text
//! cargo run --example custom_extension
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use xmppkit::ErrorKind;
use xmppkit::client::{Sent, WeakClient};
use xmppkit::error::{StanzaError, StanzaErrorType};
use xmppkit::event::{Event, Inbound, Origin, Route};
use xmppkit::ext::{
    Answer, BoxFuture, Ctx, Extension, IqRequest, Observable, Observe, Observed, Position, Registrar, Watch, inbound,
};
use xmppkit::jid::FullJid;
use xmppkit::messaging::MessagingService;
use xmppkit::prelude::*;
use xmppkit::store::MemoryStore;
use xmppkit::testing::Server;
use xmppkit::xml::Stanza;
use xmppkit::xso::{AsXml, FromXml};

/// Whatever you invent has a namespace of your own: a URI that nobody else uses.
const NS: &str = "urn:example:poll";

// 1. The wire format. A derived struct is all it takes; a stanza gives it back with `payload::<Vote>()`.

/// `<vote xmlns='urn:example:poll' for='tea'/>`, in a message: I vote for this.
#[derive(FromXml, AsXml, Debug, Clone)]
#[xml(namespace = NS, name = "vote")]
struct Vote {
    #[xml(attribute = "for")]
    choice: String,
}

/// `<count xmlns='urn:example:poll' of='tea' votes='3'/>`, in a request: how many votes are there? The answer has the number.
#[derive(FromXml, AsXml, Debug, Clone)]
#[xml(namespace = NS, name = "count")]
struct Count {
    #[xml(attribute = "of")]
    choice: String,
    #[xml(attribute(default))]
    votes: Option<u32>,
}

// 2. An event: what applications subscribe to. The route says which stanzas may be one, and costs almost nothing; the event is
//    built when a subscriber takes it.

/// Somebody has voted.
#[derive(Debug, Clone)]
pub struct Voted {
    /// Who.
    pub by: BareJid,
    /// For what.
    pub choice: String,
}

impl Event for Voted {
    fn route() -> Route {
        Route::message().payload(NS, "vote")
    }

    fn from_inbound(inbound: &Inbound, _client: &WeakClient) -> Option<Self> {
        Self::read(inbound.stanza())
    }
}

impl Voted {
    /// The sender's address can be relied on, the server vouches for it. But an error brings back a vote of our own, in the
    /// name of whoever it did not reach.
    fn read(stanza: &Stanza) -> Option<Self> {
        if stanza.stanza_type().as_deref() == Some("error") {
            return None;
        }
        let vote: Vote = stanza.payload().ok()??;
        Some(Self { by: stanza.from_jid()?.to_bare(), choice: vote.choice })
    }
}

// 3. A state: what the events add up to. Whoever watches it gets the whole, and then each change.

/// Who has voted for what. A second vote replaces the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<BareJid, String>);

impl Tally {
    /// How many votes there are for this.
    #[must_use]
    pub fn votes(&self, choice: &str) -> u32 {
        self.0.values().map(|voted| u32::from(voted == choice)).sum()
    }
}

impl Observe for Tally {
    type Change = (BareJid, String);

    fn apply(&mut self, (voter, choice): &Self::Change) {
        self.0.insert(voter.clone(), choice.clone());
    }
}

// 4. A setting, which applications give to the builder. Its type is its name.

/// What can be voted for. Nothing unless set: then this account holds no poll.
#[derive(Debug, Default)]
pub struct Choices(pub Vec<String>);

// 5. The extension itself: its state, and what it asks of the library when the client is built.

/// The poll; add it with `Client::builder(..).with(Poll::default())`.
pub struct Poll {
    tally: Observable<Tally>,
}

impl Default for Poll {
    fn default() -> Self {
        Self { tally: Observable::new(Tally::default()) }
    }
}

impl Extension for Poll {
    fn register(&self, reg: &mut Registrar<'_>) {
        // Others find out by service discovery that this client knows about polls.
        reg.feature(NS);
        reg.setting(Choices::default());
        // Votes are sent as chat messages. Where somebody removed that extension, `build()` says that this one needs it.
        reg.requires::<MessagingService>();

        // The store keeps a row for each voter. A stage notes it, and it is written together with the message or not at all; a
        // second copy of the message writes none. After the last built-in stage the message is as it will be stored.
        reg.store_namespace(NS, 1, |_from, rows| Ok(rows));
        reg.inbound_stage("poll:count", Position::After(inbound::DERIVE), |draft, cx| {
            if let Some(vote) = counted(draft.stanza(), draft.origin(), cx) {
                draft.put(NS, vote.by.as_str(), vote.choice);
            }
        });

        // Then, before subscribers get the message, the state follows: it is never behind the events.
        let tally = self.tally.clone();
        reg.on_message(move |_: Vote, inbound, cx| {
            if let Some(vote) = counted(inbound.stanza(), inbound.origin(), cx) {
                tally.change((vote.by, vote.choice));
            }
        });

        // Requests have one handler; what it returns is the answer, and an error is an answer as well.
        let tally = self.tally.clone();
        reg.on_iq_get(move |request: IqRequest<Count>, cx: Ctx| {
            let tally = tally.clone();
            async move {
                let choice = request.into_payload().choice;
                if !is_choice(&cx, &choice) {
                    return Err(StanzaError::new(StanzaErrorType::Cancel, "item-not-found").into());
                }
                Answer::payload(&Count { votes: Some(tally.with(|tally| tally.votes(&choice))), choice })
            }
        });
    }

    /// The state as the last run of the program left it; there is no connection yet.
    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, xmppkit::Result<()>> {
        Box::pin(async move {
            let rows = cx.rows(NS).rows("").await?.into_iter();
            let vote = |(voter, choice): (String, Vec<u8>)| Some((voter.parse().ok()?, String::from_utf8(choice).ok()?));
            self.tally.reset(Tally(rows.filter_map(vote).collect()));
            Ok(())
        })
    }
}

/// The vote in this message, if it counts here: carbons and archives tell what was said elsewhere, or before.
fn counted(stanza: &Stanza, origin: Origin, cx: &Ctx) -> Option<Voted> {
    Voted::read(stanza).filter(|vote| matches!(origin, Origin::Live | Origin::Offline) && is_choice(cx, &vote.choice))
}

fn is_choice(cx: &Ctx, choice: &str) -> bool {
    cx.setting::<Choices>().is_some_and(|choices| choices.0.iter().any(|known| known == choice))
}

// 6. What applications call: a trait gives every client a handle, as `client.roster()` and `client.chat(..)` do.

/// Gives clients their polls.
pub trait Polls {
    /// The poll this account holds, and those of others.
    fn poll(&self) -> PollHandle;
}

impl Polls for Client {
    fn poll(&self) -> PollHandle {
        PollHandle { client: self.clone() }
    }
}

/// See [`Polls::poll`].
pub struct PollHandle {
    client: Client,
}

impl PollHandle {
    /// Votes in somebody's poll. The text is for those whose client knows nothing of polls.
    pub async fn vote(&self, holder: &BareJid, choice: &str) -> xmppkit::Result<Sent> {
        self.client.chat(holder).send(format!("I vote for {choice}.")).payload(&Vote { choice: choice.to_owned() }).await
    }

    /// Asks one of the holder's devices how many votes there are.
    pub async fn count(&self, holder: &FullJid, choice: &str) -> xmppkit::Result<u32> {
        let question = Count { choice: choice.to_owned(), votes: None };
        let reply = self.client.iq_get(Jid::from(holder.clone()), &question).await?;
        Ok(reply.payload::<Count>()?.votes.unwrap_or_default())
    }

    /// The votes in the poll this account holds: as they are now, and then each change.
    pub fn watch(&self) -> xmppkit::Result<Watch<Tally>> {
        let poll = self.client.ext::<Poll>().ok_or(ErrorKind::ExtensionMissing("Poll"))?;
        Ok(poll.tally.watch())
    }
}

/// Uses the extension between two clients; gives the votes for wine that are left in the store.
pub async fn run() -> xmppkit::Result<u32> {
    let server = Server::builder().account("friar", "secret").account("nurse", "secret").start().await?;
    let choices = || Choices(vec!["tea".to_owned(), "wine".to_owned()]);
    let store = Arc::new(MemoryStore::new());
    let friar = server.client("friar")?.with(Poll::default()).setting(choices()).store(store.clone()).build().await?;
    let nurse = server.client("nurse")?.with(Poll::default()).build().await?;

    // Subscribed first, then connected: nothing is missed.
    let mut voted = friar.subscribe::<Voted>().events();
    let mut tally = friar.poll().watch()?;
    friar.connect().await?;
    nurse.connect().await?;

    nurse.poll().vote(friar.account(), "wine").await?;
    if let Some(Voted { by, choice }) = voted.next().await {
        println!("{by} has voted for {choice}");
    }
    // First the state as it was when it was asked for, then the change.
    if let (Some(Observed::Reset(before)), Some(Observed::Change(_))) = (tally.next().await, tally.next().await) {
        println!("before, there were {} votes for wine", before.votes("wine"));
    }

    let holder = friar.jid().ok_or(ErrorKind::NotOnline)?;
    println!("asked, the friar's client says: {} for wine", nurse.poll().count(&holder, "wine").await?);
    if let Err(error) = nurse.poll().count(&holder, "poison").await {
        println!("asked about poison: {error}");
    }
    friar.close().await;
    nurse.close().await;

    // The next client with this store knows the votes before it is online.
    drop((friar, voted, tally));
    let friar = server.client("friar")?.with(Poll::default()).setting(choices()).store(store).build().await?;
    let Some(Observed::Reset(tally)) = friar.poll().watch()?.next().await else { return Ok(0) };
    println!("kept: {} for wine", tally.votes("wine"));
    Ok(tally.votes("wine"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> xmppkit::Result<()> {
    run().await.map(drop)
}
