//! The archive of a server, asked (XEP-0313).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use jid::{BareJid, Jid};

use super::message::HistoryMessage;
use super::preferences::{Metadata, Preferences};
use super::service::{ArchiveService, Page};
use super::wire::{self, Filter, Paging};
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::ext::{Fetched, Intake, TakenIn};
use crate::store::{ArchiveId, Batch, IdentityKey};
use crate::xml::ns;

/// The archive of the own account, or of another address, on its server. Made by
/// [`Archive::server`](super::Archive::server) and [`Archive::of`](super::Archive::of).
///
/// # Errors
/// Every call needs a session: [`ErrorKind::NotOnline`], [`ErrorKind::SessionLost`], [`ErrorKind::RequestTimeout`]; what the
/// server refuses is [`ErrorKind::Stanza`], with `item-not-found` for ids that the archive does not have (any more); what it
/// does not offer is [`ErrorKind::NotOffered`]; without the extension, [`ErrorKind::ExtensionMissing`].
#[derive(Clone)]
pub struct ServerArchive {
    client: Client,
    jid: Option<BareJid>,
}

impl ServerArchive {
    pub(super) fn new(client: &Client, jid: Option<BareJid>) -> Self {
        Self { client: client.clone(), jid: jid.filter(|jid| jid != client.account()) }
    }

    /// Asks for messages; see [`ServerQuery`].
    pub fn query(&self) -> ServerQuery {
        ServerQuery { archive: self.clone(), filter: Filter::default(), words: None, page_size: None }
    }

    /// Goes back in the account's archive from where the history in the log begins, the newest message first: what an
    /// application shows to whoever scrolls up. It is remembered how far that came, so that the next call, in a later session
    /// too, goes on there. Otherwise as [`ServerQuery::backwards`]; it ends at once where there is nothing older, and before a
    /// first session has looked at the archive.
    pub fn older(&self) -> impl Stream<Item = Result<HistoryMessage>> + Send + Unpin + 'static {
        let cursor = self.service().ok().and_then(|service| service.cursor()).filter(|_| self.jid.is_none());
        let before = cursor.filter(|cursor| !cursor.reached_start).and_then(|cursor| cursor.first);
        let paging = before.map(|before| Paging::Backwards { before: Some(before) });
        Run { query: self.query(), paging, begun: false, order: None, extends_history: true }.into_stream()
    }

    /// The names of the fields that a query may have (XEP-0313 §4.1.5): those of the specification, and the server's own.
    ///
    /// # Errors
    /// As [for all calls](Self#errors).
    pub async fn fields(&self) -> Result<BTreeSet<String>> {
        let reply = self.client.iq_get(self.to(), &wire::empty("query")).await?;
        Ok(wire::form_fields(reply.stanza()))
    }

    /// When the archive begins and ends (XEP-0313 §5). It is asked only where the archive says that it can tell.
    ///
    /// # Errors
    /// As [for all calls](Self#errors).
    pub async fn metadata(&self) -> Result<Metadata> {
        self.check_extended("metadata").await?;
        let reply = self.client.iq_get(self.to(), &wire::empty("metadata")).await?;
        let metadata = reply.stanza().child(ns::MAM, "metadata").ok_or_else(|| no_payload("metadata"))?;
        Ok(Metadata::read(metadata))
    }

    /// What the server keeps of the account's messages (XEP-0441).
    ///
    /// # Errors
    /// As [for all calls](Self#errors): servers that have no such preferences refuse with `feature-not-implemented` or
    /// `service-unavailable`.
    pub async fn preferences(&self) -> Result<Preferences> {
        let reply = self.client.iq_get(self.to(), &wire::empty("prefs")).await?;
        let read = reply.stanza().child(ns::MAM, "prefs").and_then(Preferences::read);
        read.ok_or_else(|| no_payload("prefs"))
    }

    /// Says what the server is to keep. Gives what it goes by from now on, which may be something else.
    ///
    /// # Errors
    /// As [for all calls](Self#errors); a server may refuse with `not-allowed` or `forbidden`.
    pub async fn set_preferences(&self, preferences: &Preferences) -> Result<Preferences> {
        let reply = self.client.iq_set(self.to(), &preferences.to_payload()).await?;
        let read = reply.stanza().child(ns::MAM, "prefs").and_then(Preferences::read);
        // Some servers only say that it is done.
        Ok(read.unwrap_or_else(|| preferences.clone()))
    }

    fn to(&self) -> Option<Jid> {
        self.jid.clone().map(Into::into)
    }

    fn address(&self) -> BareJid {
        self.jid.clone().unwrap_or_else(|| self.client.account().clone())
    }

    fn service(&self) -> Result<Arc<ArchiveService>> {
        self.client.ext().ok_or_else(|| ErrorKind::ExtensionMissing("ArchiveService").into())
    }

    async fn check_extended(&self, what: &str) -> Result<()> {
        let announced = self.service()?.announced_by(&self.client, self.jid.as_ref()).await?;
        if announced.extended { Ok(()) } else { Err(ErrorKind::NotOffered(format!("{what} of {}", self.address())).into()) }
    }
}

impl fmt::Debug for ServerArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerArchive").field("jid", &self.address()).finish_non_exhaustive()
    }
}

/// Which messages of a server's archive to fetch. Nothing is asked before [`forwards`](Self::forwards) or
/// [`backwards`](Self::backwards), and then one page at a time, as the messages are taken.
///
/// What is fetched passes the stages of every extension and joins the log, where what is known already is not kept twice
/// (R17). It is history: no subscriber gets it as new.
///
/// ```no_run
/// use std::time::{Duration, SystemTime};
/// use xmppkit::prelude::*;
///
/// # async fn run(client: Client, romeo: BareJid) -> xmppkit::Result<()> {
/// let yesterday = SystemTime::now() - Duration::from_secs(86_400);
/// let mut fetched = client.archive().server().query().with(&romeo).start(yesterday).forwards();
/// while let Some(message) = fetched.next().await {
///     println!("{}", message?.body().unwrap_or_default());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "nothing is asked before forwards() or backwards()"]
pub struct ServerQuery {
    archive: ServerArchive,
    filter: Filter,
    words: Option<String>,
    page_size: Option<usize>,
}

impl ServerQuery {
    /// Only those to or from this address; a bare JID stands for its resources too. The own account's stands for what it
    /// sent to itself.
    pub fn with(mut self, jid: &Jid) -> Self {
        self.filter.with = Some(jid.clone());
        self
    }

    /// Only those from this time on.
    pub fn start(mut self, start: SystemTime) -> Self {
        self.filter.start = Some(start);
        self
    }

    /// Only those up to this time.
    pub fn end(mut self, end: SystemTime) -> Self {
        self.filter.end = Some(end);
        self
    }

    /// Only those behind the message of this archive id.
    pub fn after_id(mut self, id: impl Into<String>) -> Self {
        self.filter.after_id = Some(id.into());
        self
    }

    /// Only those before the message of this archive id.
    pub fn before_id(mut self, id: impl Into<String>) -> Self {
        self.filter.before_id = Some(id.into());
        self
    }

    /// Only those of these archive ids. If the archive lacks one of them, the query fails with `item-not-found`.
    pub fn ids<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.filter.ids = ids.into_iter().map(Into::into).collect();
        self
    }

    /// Only those in whose text the server finds these words; how it searches is its own matter. The form is asked first
    /// whether it can (XEP-0431).
    pub fn text(mut self, words: impl Into<String>) -> Self {
        self.words = Some(words.into());
        self
    }

    /// Whether messages of rooms in the account's own archive are wanted (XEP-0313 §4.1.4). Ask only where the
    /// [fields](ServerArchive::fields) have `include-groupchat`: others refuse the query.
    pub fn rooms(mut self, wanted: bool) -> Self {
        self.filter.rooms = Some(wanted);
        self
    }

    /// How many messages a page has; the server may send fewer. Default 100, at least 1.
    pub fn page_size(mut self, messages: usize) -> Self {
        self.page_size = Some(messages.max(1));
        self
    }

    /// The messages from the oldest to the newest. Dropping the stream ends the query.
    ///
    /// Those that the log does not keep, or no longer has because their user removed them, are left out. The stream ends
    /// after an error, one of [these](ServerArchive#errors) or of the store.
    pub fn forwards(self) -> impl Stream<Item = Result<HistoryMessage>> + Send + Unpin + 'static {
        self.run(false)
    }

    /// The messages from the newest to the oldest; otherwise as [`forwards`](Self::forwards).
    pub fn backwards(self) -> impl Stream<Item = Result<HistoryMessage>> + Send + Unpin + 'static {
        self.run(true)
    }

    fn run(mut self, backwards: bool) -> BoxStream<'static, Result<HistoryMessage>> {
        // What paging can say needs no field, and every server knows it.
        let paging = if backwards {
            Paging::Backwards { before: self.filter.before_id.take() }
        } else {
            Paging::Forwards { after: self.filter.after_id.take() }
        };
        Run { query: self, paging: Some(paging), begun: false, order: None, extends_history: false }.into_stream()
    }
}

impl fmt::Debug for ServerQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerQuery").field("archive", &self.archive).field("filter", &self.filter).finish_non_exhaustive()
    }
}

/// A query that pages by itself.
struct Run {
    query: ServerQuery,
    /// The next page; none: there is no more.
    paging: Option<Paging>,
    begun: bool,
    /// The key in the timeline of the message next to the next page.
    order: Option<i64>,
    /// What it fetches joins the run of history that ends at the cursor, without a gap.
    extends_history: bool,
}

impl Run {
    fn into_stream(self) -> BoxStream<'static, Result<HistoryMessage>> {
        let pages = stream::try_unfold(self, |mut run| async move {
            let page = run.next_page().boxed().await?;
            Ok::<_, Error>(page.map(|page| (page.into_iter().map(Ok), run)))
        });
        pages.map_ok(stream::iter).try_flatten().boxed()
    }

    /// Fetches the next page, and takes it in; the messages in the order they are wanted.
    async fn next_page(&mut self) -> Result<Option<Vec<HistoryMessage>>> {
        let Some(paging) = self.paging.take() else { return Ok(None) };
        let archive = self.query.archive.clone();
        let service = archive.service()?;
        if !std::mem::replace(&mut self.begun, true) {
            self.prepare().await?;
            self.order = self.order_of_neighbour(&paging).await?;
        }
        let max = self.query.page_size.unwrap_or_else(|| service.page_size(&archive.client));
        let page = service.ask(&archive.client, archive.jid.as_ref(), &self.query.filter, &paging, max).await?;
        let (mut intake, backwards) = match &paging {
            Paging::Forwards { .. } => (Intake::new().after(self.order), false),
            Paging::Backwards { .. } => (Intake::new().before(self.order), true),
        };
        self.paging = page.next(&paging);
        let mut changes = Batch::new();
        if self.extends_history
            && let Some(cursor) = service.begun_earlier(&page)
        {
            changes = changes.archive_cursor(archive.address(), cursor.clone());
            intake = intake.committed(move || service.begin_earlier(cursor));
        }
        let taken = take_in(&archive.client, &archive.address(), page, intake, changes).await?;
        let edge = if backwards { taken.first() } else { taken.last() };
        self.order = edge.map(|taken| taken.order).or(self.order);
        let mut messages = Vec::with_capacity(taken.len());
        let weak = archive.client.downgrade();
        for id in taken.iter().filter_map(|taken| taken.log_id) {
            if let Some(logged) = archive.client.store().message(id).await? {
                messages.extend(HistoryMessage::new(logged, &weak)?);
            }
        }
        if backwards {
            messages.reverse();
        }
        Ok(Some(messages))
    }

    /// The key in the timeline of the message next to the first page, if it is known.
    async fn order_of_neighbour(&self, paging: &Paging) -> Result<Option<i64>> {
        let (Paging::Forwards { after: id } | Paging::Backwards { before: id }) = paging;
        let Some(id) = id else { return Ok(None) };
        let archive = &self.query.archive;
        let known = archive.client.store().find(&IdentityKey::archive(&archive.address(), id)).await?;
        Ok(known.map(|known| known.order))
    }

    /// What must be known before the first page is asked for.
    async fn prepare(&mut self) -> Result<()> {
        if self.query.filter.is_extended() {
            self.query.archive.check_extended("a query by ids").await?;
        }
        if let Some(words) = self.query.words.take() {
            let fields = self.query.archive.fields().await?;
            let field = wire::text_field(&fields);
            let field = field.ok_or_else(|| ErrorKind::NotOffered(format!("a search in {}", self.query.archive.address())))?;
            self.query.filter.text = Some((field, words));
        }
        Ok(())
    }
}

/// Takes a page into the log, with changes that belong to it.
pub(super) async fn take_in(
    client: &Client,
    archive: &BareJid,
    page: Page,
    intake: Intake,
    changes: Batch,
) -> Result<Vec<TakenIn>> {
    let fetched = page.results.into_iter().filter_map(|result| {
        let id = ArchiveId::new(archive.clone(), result.id);
        Some(Fetched::archived(result.message?, id, result.stamp))
    });
    client.ctx().take_in(fetched.fold(intake, Intake::message).changes(changes)).await
}

pub(super) fn no_payload(what: &str) -> Error {
    Error::new(ErrorKind::Payload { ns: ns::MAM.to_owned(), name: what.to_owned() }).with_context("the reply does not have it")
}
