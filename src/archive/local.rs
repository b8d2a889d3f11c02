//! What the store has, read page by page.

use std::fmt;
use std::time::SystemTime;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use jid::Jid;

use super::message::{HistoryMessage, HistoryPage, TimelineItem};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::messaging::Direction;
use crate::store::{GapRecord, LoggedMessage, MessageFlags, MessageKind, MessageQuery, PageFrom, Place, Position};

/// Which messages of the log to read, made by [`Archive::messages`](super::Archive::messages). Nothing is read before one of
/// the calls that end it.
///
/// Only messages with something to read are given, unless [`everything`](Self::everything) is asked for: no receipts, no
/// errors.
///
/// ```no_run
/// use xmppkit::prelude::*;
///
/// # async fn run(client: Client, romeo: BareJid) -> xmppkit::Result<()> {
/// // The newest messages first, as far back as somebody cares to look.
/// let mut history = client.archive().messages().with(&romeo).text("balcony").backwards();
/// while let Some(message) = history.next().await {
///     let message = message?;
///     println!("{:?} {}", message.time(), message.body().unwrap_or_default());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "nothing is read before forwards(), backwards(), page() or timeline()"]
pub struct LocalQuery {
    client: Client,
    query: MessageQuery,
    after: Option<Place>,
    before: Option<Place>,
    everything: bool,
}

impl LocalQuery {
    pub(super) fn new(client: &Client) -> Self {
        let query = MessageQuery::new();
        Self { client: client.clone(), query, after: None, before: None, everything: false }
    }

    /// Only of the conversation with this contact, in this room, or with this occupant (a full JID).
    pub fn with(mut self, conversation: &Jid) -> Self {
        self.query = self.query.conversation(conversation.clone());
        self
    }

    /// Only those sent by this full JID, or from any resource of this bare JID.
    pub fn from(mut self, sender: &Jid) -> Self {
        self.query = self.query.sender(sender.clone());
        self
    }

    /// Only those that went this way.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.query = self.query.direction(direction);
        self
    }

    /// Only those of these types.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = MessageKind>) -> Self {
        self.query = self.query.kinds(kinds);
        self
    }

    /// Only those sent at this time or later.
    pub fn since(mut self, since: SystemTime) -> Self {
        self.query = self.query.since(since);
        self
    }

    /// Only those sent before this time.
    pub fn until(mut self, until: SystemTime) -> Self {
        self.query = self.query.until(until);
        self
    }

    /// Only those whose text has each of these words (what stands between white space) in it, anywhere, in upper or lower
    /// case.
    pub fn text(mut self, words: impl Into<String>) -> Self {
        self.query = self.query.text(words);
        self
    }

    /// Only incoming ones that are not [read](HistoryMessage::is_read).
    pub fn unread(mut self) -> Self {
        self.query = self.query.direction(Direction::Incoming).without_flags(MessageFlags::READ);
        self
    }

    /// Only those behind this [place](HistoryMessage::place) in the timeline.
    pub fn after(mut self, place: Place) -> Self {
        self.after = Some(place);
        self
    }

    /// Only those before this [place](HistoryMessage::place) in the timeline.
    pub fn before(mut self, place: Place) -> Self {
        self.before = Some(place);
        self
    }

    /// Also what has nothing to read in it: receipts, markers, errors.
    pub fn everything(mut self) -> Self {
        self.everything = true;
        self
    }

    /// How many messages are read from the store at once. Default 50, at least 1.
    pub fn page_size(mut self, messages: usize) -> Self {
        self.query = self.query.limit(messages.max(1));
        self
    }

    /// The messages from the oldest to the newest, read as they are asked for. Messages that arrive meanwhile are among
    /// them if their place is not passed yet.
    ///
    /// The stream ends after an error: [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub fn forwards(self) -> impl Stream<Item = Result<HistoryMessage>> + Send + Unpin + 'static {
        self.read(false)
    }

    /// The messages from the newest to the oldest; otherwise as [`forwards`](Self::forwards).
    pub fn backwards(self) -> impl Stream<Item = Result<HistoryMessage>> + Send + Unpin + 'static {
        self.read(true)
    }

    /// One page, the oldest message first: that behind [`after`](Self::after), else that before [`before`](Self::before),
    /// else the newest.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn page(self) -> Result<HistoryPage> {
        let backwards = self.after.is_none();
        let wanted = self.query.limit;
        let mut messages: Vec<_> = self.read(backwards).take(wanted + 1).try_collect().await?;
        let more = messages.len() > wanted;
        messages.truncate(wanted);
        if backwards {
            messages.reverse();
        }
        Ok(HistoryPage { messages, more })
    }

    /// The messages from the oldest to the newest, with the gaps where messages may be missing (R16).
    ///
    /// ```no_run
    /// use xmppkit::archive::TimelineItem;
    /// use xmppkit::prelude::*;
    ///
    /// # async fn run(client: Client, romeo: BareJid) -> xmppkit::Result<()> {
    /// let mut timeline = client.archive().messages().with(&romeo).timeline().await?;
    /// while let Some(item) = timeline.next().await {
    ///     match item? {
    ///         TimelineItem::Message(message) => println!("{}", message.body().unwrap_or_default()),
    ///         TimelineItem::Gap(gap) => println!("… something may be missing here ({:?})", gap.kind),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn timeline(self) -> Result<impl Stream<Item = Result<TimelineItem>> + Send + Unpin + 'static> {
        let gaps = self.client.store().gaps().await?;
        let concerns = |gap: &GapRecord| {
            let (begin, end) = (gap.since, gap.until.or(gap.since));
            self.query.conversation.as_ref().is_none_or(|wanted| gap.conversation.as_ref().is_none_or(|jid| jid == wanted))
                && self.after.is_none_or(|after| end.is_none_or(|end| Place::order_of(end) >= after.order))
                && self.before.is_none_or(|before| begin.is_none_or(|begin| Place::order_of(begin) < before.order))
                && self.query.since.is_none_or(|since| end.is_none_or(|end| end >= since))
                && self.query.until.is_none_or(|until| begin.is_none_or(|begin| begin < until))
        };
        let mut gaps: Vec<_> = gaps.into_iter().filter(|(_, gap)| concerns(gap)).collect();
        gaps.sort_by_key(|(position, gap)| (gap.since.map(Place::order_of), *position));
        Ok(with_gaps(self.forwards(), gaps))
    }

    fn is_wanted(&self, message: &LoggedMessage) -> bool {
        self.everything || message.is_readable()
    }

    fn is_within(&self, message: &LoggedMessage) -> bool {
        let place = message.place();
        self.after.is_none_or(|after| place > after) && self.before.is_none_or(|before| place < before)
    }

    fn read(self, backwards: bool) -> BoxStream<'static, Result<HistoryMessage>> {
        let first = match (backwards, self.after, self.before) {
            (false, Some(after), _) => PageFrom::After(after),
            (false, None, _) => PageFrom::Oldest,
            (true, _, Some(before)) => PageFrom::Before(before),
            (true, _, None) => PageFrom::Newest,
        };
        let pages = stream::try_unfold(Some(first), move |next| {
            let this = self.clone();
            async move {
                let Some(from) = next else { return Ok::<_, Error>(None) };
                let mut query = this.query.clone();
                query.page = from;
                let mut page = this.client.store().messages(&query).await?;
                if backwards {
                    page.messages.reverse();
                }
                let last = page.messages.last().map(LoggedMessage::place);
                let is_past = page.messages.iter().any(|message| !this.is_within(message));
                let next = match last {
                    Some(place) if page.more && !is_past => {
                        Some(if backwards { PageFrom::Before(place) } else { PageFrom::After(place) })
                    }
                    _ => None,
                };
                let client = this.client.downgrade();
                let wanted = page.messages.into_iter().filter(|message| this.is_wanted(message) && this.is_within(message));
                let messages = wanted.filter_map(|message| HistoryMessage::new(message, &client).transpose());
                Ok(Some((messages.collect::<Vec<_>>(), next)))
            }
        });
        pages.map_ok(stream::iter).try_flatten().boxed()
    }
}

impl fmt::Debug for LocalQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalQuery").field("query", &self.query).finish_non_exhaustive()
    }
}

/// Puts each gap before the first message behind it.
fn with_gaps<S>(messages: S, gaps: Vec<(Position, GapRecord)>) -> BoxStream<'static, Result<TimelineItem>>
where
    S: Stream<Item = Result<HistoryMessage>> + Send + Unpin + 'static,
{
    let ended = stream::once(async { None });
    let messages = messages.map(Some).chain(ended);
    let items = messages.scan(gaps, |gaps, message| {
        let is_before = |gap: &(Position, GapRecord)| match &message {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(message)) => match gap.1.since {
                Some(since) => Place::order_of(since) < message.place().order,
                None => message.logged().position.is_some_and(|position| position > gap.0),
            },
        };
        let (here, later) = std::mem::take(gaps).into_iter().partition(is_before);
        *gaps = later;
        let here: Vec<_> = here;
        let mut items: Vec<_> = here.into_iter().map(|(_, gap)| Ok(TimelineItem::Gap(gap.into()))).collect();
        items.extend(message.map(|message| message.map(TimelineItem::Message)));
        std::future::ready(Some(stream::iter(items)))
    });
    items.flatten().boxed()
}
