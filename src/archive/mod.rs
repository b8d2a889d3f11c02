//! History: what the log of this client has, and what the archive of the server has (XEP-0313).
//!
//! [`client.archive()`](Archives::archive) is the way in.
//!
//! | for | call |
//! |---|---|
//! | reading what is here, also offline | [`messages`](Archive::messages): by contact, time, text, paged both ways; [`conversations`](Archive::conversations) |
//! | fetching what is not | [`server`](Archive::server), [`of`](Archive::of) a room: filters, both ways, fields, preferences, metadata; [`older`](ServerArchive::older) |
//! | what came while the client was away | nothing: it comes by itself |
//!
//! # Catching up
//!
//! Everything that was sent and received is in the log once, whichever way copies of it came: live, as a carbon, from offline
//! storage, from an archive (R17). At each fresh session the extension asks the account's archive for what it does not have yet,
//! from where it stopped the last time (R18), before presence is sent. What is new goes to subscribers as if it had arrived;
//! what arrives meanwhile waits, for [durable](crate::event::Durable) subscriptions, until everything older is there (R16). The
//! state is [`Archive::catch_up`].
//!
//! The first session of an account whose store is new only looks at the newest page, and takes it as history: nobody wants to be
//! told of the last hundred messages (R19). Where the server has no archive, offline storage is all there is; if a session was cut
//! off, a gap is noted (R20).
//!
//! ```no_run
//! use xmppkit::prelude::*;
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("juliet@example.org".parse()?).password("secret").build().await?;
//! // Offline: what earlier sessions left.
//! let mut conversations = client.archive().conversations();
//! while let Some(conversation) = conversations.next().await {
//!     let conversation = conversation?;
//!     println!("{} ({} unread)", conversation.jid, conversation.unread);
//! }
//! client.connect().await?;
//! // And what the server has of one of them.
//! let romeo = "romeo@example.net".parse::<BareJid>()?;
//! let mut older = client.archive().server().query().with(&romeo).backwards();
//! while let Some(message) = older.next().await {
//!     println!("{}", message?.body().unwrap_or_default());
//! }
//! # Ok(()) }
//! ```

mod by_time;
mod catch_up;
mod local;
mod message;
mod preferences;
mod resolve;
mod running;
mod server;
mod service;
mod wire;

use std::fmt;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use jid::{BareJid, Jid};

pub use catch_up::CatchUp;
pub use local::LocalQuery;
pub use message::{Conversation, HistoryMessage, HistoryPage, TimelineGap, TimelineItem};
pub use preferences::{ArchiveEnd, KeepByDefault, Metadata, Preferences};
pub use server::{ServerArchive, ServerQuery};
pub use service::{ArchiveService, ArchiveSettings};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::ext::{Observable, Watch};
use crate::store::{Batch, Direction, LogId, MessageFlags, MessageQuery, Place};

/// Gives clients their [`Archive`].
pub trait Archives {
    /// The history of this account. If the extension was [removed](crate::client::ClientBuilder::without), what the log has
    /// can still be read.
    fn archive(&self) -> Archive;
}

impl Archives for Client {
    fn archive(&self) -> Archive {
        Archive { client: self.clone() }
    }
}

/// A handle to the account's history.
#[derive(Clone)]
pub struct Archive {
    client: Client,
}

impl Archive {
    /// Reads what the log has, offline too; see [`LocalQuery`].
    pub fn messages(&self) -> LocalQuery {
        LocalQuery::new(&self.client)
    }

    /// The conversations that have something to read, that with the newest message first, read as they are asked for. The
    /// stream ends after an error: [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub fn conversations(&self) -> impl Stream<Item = Result<Conversation>> + Send + Unpin + 'static {
        const PAGE: usize = 50;
        let client = self.client.clone();
        let pages = stream::try_unfold(Some(None::<Place>), move |next| {
            let client = client.clone();
            async move {
                let Some(after) = next else { return Ok::<_, Error>(None) };
                let page = client.store().conversations(after, PAGE).await?;
                let next = page.last().filter(|_| page.len() == PAGE).map(|last| Some(last.newest.place()));
                let weak = client.downgrade();
                let read: Vec<_> = page.into_iter().filter_map(|found| Conversation::new(found, &weak).transpose()).collect();
                Ok(Some((read, next)))
            }
        });
        pages.map_ok(stream::iter).try_flatten().boxed()
    }

    /// A message of the log by its name there. `None` if it is not there (any more).
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn message(&self, id: LogId) -> Result<Option<HistoryMessage>> {
        match self.client.store().message(id).await? {
            Some(logged) => HistoryMessage::new(logged, &self.client.downgrade()),
            None => Ok(None),
        }
    }

    /// Marks the incoming messages of a conversation as read, up to this place, or all of them. Gives how many were not.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn mark_read(&self, conversation: &Jid, up_to: Option<Place>) -> Result<u64> {
        let unread = MessageQuery::new().conversation(conversation.clone()).direction(Direction::Incoming);
        let mut query = unread.without_flags(MessageFlags::READ).oldest();
        let mut count = 0;
        loop {
            let page = self.client.store().messages(&query).await?;
            let Some(last) = page.messages.last().map(|message| message.place()) else { return Ok(count) };
            let meant = page.messages.iter().take_while(|message| up_to.is_none_or(|up_to| message.place() <= up_to));
            let batch = meant
                .fold(Batch::new(), |batch, message| batch.set_flags(message.log_id, MessageFlags::READ, MessageFlags::NONE));
            let marked = batch.changes().len();
            count += page.messages.iter().take(marked).filter(|message| message.is_readable()).count() as u64;
            self.client.store().apply(batch).await?;
            if !page.more || marked < page.messages.len() {
                return Ok(count);
            }
            query = query.after(last);
        }
    }

    /// The archive of the account, on its server.
    pub fn server(&self) -> ServerArchive {
        ServerArchive::new(&self.client, None)
    }

    /// The archive of another address: a room's (XEP-0313 §3.3.2).
    pub fn of(&self, archive: &BareJid) -> ServerArchive {
        ServerArchive::new(&self.client, Some(archive.clone()))
    }

    /// How far the client has caught up with the account's archive, and then each change.
    ///
    /// ```no_run
    /// use xmppkit::archive::CatchUp;
    /// use xmppkit::prelude::*;
    ///
    /// # async fn run(client: Client) -> xmppkit::Result<()> {
    /// client.connect().await?;
    /// // Until everything that came while the client was away is there, or it is known that it cannot be.
    /// client.archive().catch_up().wait_for(|state| !matches!(state, CatchUp::Waiting | CatchUp::Running)).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn catch_up(&self) -> Watch<CatchUp> {
        match self.client.ext::<ArchiveService>() {
            Some(service) => service.watch(),
            None => Observable::new(CatchUp::Off).watch(),
        }
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("account", self.client.account()).finish_non_exhaustive()
    }
}
