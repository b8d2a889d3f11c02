//! Reading the log page by page.

use std::time::SystemTime;

use jid::Jid;

use super::{Direction, LoggedMessage, MessageFlags, MessageKind, Place};

/// Which messages, and which page of them. Without more it is the newest page of everything.
///
/// A page's messages are always in timeline order, the oldest first, whichever side it was asked from.
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// # use xmppkit::store::{AccountStore, MessageQuery};
/// # async fn page(store: &dyn AccountStore, romeo: xmppkit::jid::Jid) -> xmppkit::Result<()> {
/// let query = MessageQuery::new().conversation(romeo).text("balcony").limit(20);
/// let newest = store.messages(&query).await?;
/// if let Some(oldest) = newest.messages.first().filter(|_| newest.more) {
///     let older = store.messages(&query.before(oldest.place())).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MessageQuery {
    /// Only of this conversation.
    pub conversation: Option<Jid>,
    /// Only those sent by this full or occupant JID, or from any resource of this bare JID.
    pub sender: Option<Jid>,
    /// Only those that went this way.
    pub direction: Option<Direction>,
    /// Only those of these types; empty is all.
    pub kinds: Vec<MessageKind>,
    /// Only those whose stamp is this or later.
    pub since: Option<SystemTime>,
    /// Only those whose stamp is before this.
    pub until: Option<SystemTime>,
    /// Only those whose text has each of these words (what stands between white space) in it, anywhere, in upper or
    /// lower case.
    pub text: Option<String>,
    /// Only those with all of these marks.
    pub with_flags: MessageFlags,
    /// Only those with none of these marks.
    pub without_flags: MessageFlags,
    /// Which page.
    pub page: PageFrom,
    /// The most messages on the page.
    pub limit: usize,
}

/// From where a page is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PageFrom {
    /// The last ones.
    #[default]
    Newest,
    /// The first ones.
    Oldest,
    /// The last ones before this place.
    Before(Place),
    /// The first ones behind this place.
    After(Place),
}

impl MessageQuery {
    /// The newest 50 messages of everything.
    #[must_use]
    pub fn new() -> Self {
        Self {
            conversation: None,
            sender: None,
            direction: None,
            kinds: Vec::new(),
            since: None,
            until: None,
            text: None,
            with_flags: MessageFlags::NONE,
            without_flags: MessageFlags::NONE,
            page: PageFrom::Newest,
            limit: 50,
        }
    }

    /// Only of this conversation.
    #[must_use]
    pub fn conversation(mut self, conversation: impl Into<Jid>) -> Self {
        self.conversation = Some(conversation.into());
        self
    }

    /// Only those sent by this full or occupant JID, or from any resource of this bare JID.
    #[must_use]
    pub fn sender(mut self, sender: impl Into<Jid>) -> Self {
        self.sender = Some(sender.into());
        self
    }

    /// Only those that went this way.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// Only those of these types.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = MessageKind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// Only those whose stamp is this or later.
    #[must_use]
    pub fn since(mut self, since: SystemTime) -> Self {
        self.since = Some(since);
        self
    }

    /// Only those whose stamp is before this.
    #[must_use]
    pub fn until(mut self, until: SystemTime) -> Self {
        self.until = Some(until);
        self
    }

    /// Only those whose text has each of these words in it, anywhere, in upper or lower case.
    #[must_use]
    pub fn text(mut self, words: impl Into<String>) -> Self {
        self.text = Some(words.into());
        self
    }

    /// Only those with all of these marks.
    #[must_use]
    pub fn with_flags(mut self, flags: MessageFlags) -> Self {
        self.with_flags = flags;
        self
    }

    /// Only those with none of these marks.
    #[must_use]
    pub fn without_flags(mut self, flags: MessageFlags) -> Self {
        self.without_flags = flags;
        self
    }

    /// The first page.
    #[must_use]
    pub fn oldest(mut self) -> Self {
        self.page = PageFrom::Oldest;
        self
    }

    /// The page just before this place.
    #[must_use]
    pub fn before(mut self, place: Place) -> Self {
        self.page = PageFrom::Before(place);
        self
    }

    /// The page just behind this place.
    #[must_use]
    pub fn after(mut self, place: Place) -> Self {
        self.page = PageFrom::After(place);
        self
    }

    /// The most messages on the page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether a message fits, whatever the page: for stores that scan, and for those that check what an index found.
    #[must_use]
    pub fn matches(&self, message: &LoggedMessage) -> bool {
        self.conversation.as_ref().is_none_or(|c| *c == message.conversation)
            && self.direction.is_none_or(|d| d == message.direction)
            && (self.kinds.is_empty() || self.kinds.contains(&message.kind))
            && self.since.is_none_or(|t| message.stamp >= t)
            && self.until.is_none_or(|t| message.stamp < t)
            && message.flags.contains(self.with_flags)
            && message.flags.bits() & self.without_flags.bits() == 0
            && self.sender.as_ref().is_none_or(|wanted| {
                message.from.as_ref().is_some_and(|from| from == wanted || (wanted.is_bare() && from.to_bare() == *wanted))
            })
            && self.text.as_deref().is_none_or(|words| {
                let text = message.text.as_deref().unwrap_or_default().to_lowercase();
                words.split_whitespace().all(|word| text.contains(&word.to_lowercase()))
            })
    }
}

impl Default for MessageQuery {
    fn default() -> Self {
        Self::new()
    }
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MessagePage {
    /// In timeline order, the oldest first.
    pub messages: Vec<LoggedMessage>,
    /// Whether there are more in the direction the page was taken: older ones for `Newest` and `Before`, newer ones for
    /// `Oldest` and `After`.
    pub more: bool,
}

impl MessagePage {
    /// A page.
    #[must_use]
    pub fn new(messages: Vec<LoggedMessage>, more: bool) -> Self {
        Self { messages, more }
    }
}

/// A conversation that has [readable](super::MessageRecord::is_readable) messages in the log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Conversation {
    /// The other side, the room, or the occupant.
    pub jid: Jid,
    /// Its newest readable message.
    pub newest: LoggedMessage,
    /// How many readable incoming messages in it are not [read](MessageFlags::READ).
    pub unread: u64,
}

impl Conversation {
    /// A conversation.
    #[must_use]
    pub fn new(jid: Jid, newest: LoggedMessage, unread: u64) -> Self {
        Self { jid, newest, unread }
    }
}
