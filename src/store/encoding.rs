//! A batch as bytes, for stores that keep what was done: a journal, a copy elsewhere.
//!
//! Numbers are little-endian and of fixed width, texts and bytes follow their length, and what is optional follows a byte that
//! says whether it is there. A time is its microseconds since 1970.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jid::{BareJid, FullJid, Jid};

use super::{
    ArchiveCursor, ArchiveId, Batch, Change, Direction, Feed, GapKind, GapRecord, IdentityKey, IdentityKeys, LogId, MessageFlags,
    MessageKind, MessageRecord, NewMessage, Origin, OutboxEntry, Place, Position, Receipt, RowChange, Secret, SendFailure,
    SendStatus, SentUpdate, SessionRecord, StoredJid, StoredText, StoredXml,
};
use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};

mod change;
#[cfg(test)]
mod tests;

/// The first byte of every encoded batch.
const FORMAT: u8 = 1;

impl Batch {
    /// The batch as bytes, from which [`from_bytes`](Self::from_bytes) makes it again, in this release and in later ones.
    ///
    /// Times are kept to the microsecond. Secrets are among the bytes as they are. Identity keys that a client made for a store that is
    /// not [persistent](super::Store::persistent) mean something in its process alone.
    ///
    /// ```
    /// use xmppkit::store::Batch;
    /// let batch = Batch::new().put("urn:example:app", "theme", "dark").forget_sent("m1");
    /// let again = Batch::from_bytes(&batch.to_bytes())?;
    /// assert_eq!(format!("{again:?}"), format!("{batch:?}"));
    /// # Ok::<(), xmppkit::Error>(())
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(vec![FORMAT]);
        for change in self.changes() {
            change.encode(&mut out);
        }
        out.0
    }

    /// The batch of these bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StoreTooNew`] if a later release wrote them and this one does not know all that is in them;
    /// [`ErrorKind::Store`] if they are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader(bytes);
        if input.u8()? != FORMAT {
            return Err(ErrorKind::StoreTooNew.into());
        }
        let mut batch = Self::new();
        while !input.0.is_empty() {
            batch.push(Change::decode(&mut input)?);
        }
        Ok(batch)
    }
}

/// The microseconds since 1970 of a time, negative before.
pub(super) fn micros(time: SystemTime) -> i64 {
    Place::order_of(time)
}

/// The time of [`micros`].
pub(super) fn time(micros: i64) -> Result<SystemTime> {
    let apart = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 { UNIX_EPOCH.checked_sub(apart) } else { UNIX_EPOCH.checked_add(apart) };
    time.ok_or_else(|| damaged("a time"))
}

pub(super) fn damaged(what: &'static str) -> Error {
    Error::new(ErrorKind::Store).with_context(format!("{what} that is kept cannot be read"))
}

/// A value as bytes, for a column of its own.
#[cfg(feature = "sqlite")]
pub(super) fn to_bytes(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    append(value, &mut out);
    out
}

/// The same behind other bytes.
pub(super) fn append(value: &impl Encode, bytes: &mut Vec<u8>) {
    let mut out = Writer(std::mem::take(bytes));
    value.encode(&mut out);
    *bytes = out.0;
}

/// The value of [`to_bytes`]. What a later release added at its end is not looked at.
pub(super) fn from_bytes<T: Encode>(bytes: &[u8]) -> Result<T> {
    T::decode(&mut Reader(bytes))
}

/// The number of a value that is one of few.
pub(super) fn number_of(choice: &impl Choice) -> u8 {
    choice.number()
}

/// The value of this number.
pub(super) fn choice<T: Choice>(number: u8) -> Result<T> {
    T::of_number(number)
}

/// A value that is one of few, each with a number that never changes.
pub(super) trait Choice: Sized {
    fn number(&self) -> u8;
    fn of_number(number: u8) -> Result<Self>;
}

/// What is written piece by piece.
pub(super) struct Writer(pub(super) Vec<u8>);

/// What is left to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// A value that has its form in bytes.
pub(super) trait Encode: Sized {
    fn encode(&self, out: &mut Writer);
    fn decode(input: &mut Reader<'_>) -> Result<Self>;
}

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        (bytes.len() as u64).encode(self);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| damaged("what is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| damaged("what is cut short"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(u64::decode(self)?).map_err(|_| damaged("a length"))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| damaged("a text"))
    }
}

macro_rules! numbers {
    ($($number:ty)*) => { $(
        impl Encode for $number {
            fn encode(&self, out: &mut Writer) {
                out.0.extend_from_slice(&self.to_le_bytes());
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self> {
                Ok(Self::from_le_bytes(input.array()?))
            }
        }
    )* };
}
numbers! { u32 u64 i64 }

/// Those that are a text.
macro_rules! texts {
    ($($text:ty: $what:literal, $write:expr, $read:expr;)*) => { $(
        impl Encode for $text {
            fn encode(&self, out: &mut Writer) {
                let write: fn(&$text) -> &str = $write;
                out.text(write(self));
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self> {
                let read: fn(&str) -> Option<$text> = $read;
                read(input.text()?).ok_or_else(|| damaged($what))
            }
        }
    )* };
}
texts! {
    String: "a text", |text| text, |text| Some(text.to_owned());
    StoredText: "a text", |text| text, |text| Some(text.into());
    Arc<str>: "a text", |text| text, |text| Some(text.into());
    Jid: "a JID", |jid| jid.as_str(), |text| text.parse().ok();
    StoredJid: "a JID", |jid| jid.as_str(), |text| text.parse().ok();
    BareJid: "a JID", |jid| jid.as_str(), |text| text.parse().ok();
    FullJid: "a JID", |jid| jid.as_str(), |text| text.parse().ok();
    GapKind: "a gap's kind", |kind| kind.as_str(), GapKind::from_name;
    StanzaErrorType: "an error's type", error_type_name, error_type;
}

macro_rules! choices {
    ($($choice:ty: $what:literal, $($number:literal = $value:path)*;)*) => { $(
        impl Choice for $choice {
            fn number(&self) -> u8 {
                match self { $($value => $number,)* }
            }
            fn of_number(number: u8) -> Result<Self> {
                match number { $($number => Ok($value),)* _ => Err(damaged($what)) }
            }
        }
        impl Encode for $choice {
            fn encode(&self, out: &mut Writer) {
                out.u8(self.number());
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self> {
                Self::of_number(input.u8()?)
            }
        }
    )* };
}
choices! {
    Direction: "a direction", 0 = Direction::Incoming 1 = Direction::Outgoing;
    Origin: "an origin", 0 = Origin::Live 1 = Origin::Carbon 2 = Origin::Archive 3 = Origin::Offline;
    MessageKind: "a message's type", 0 = MessageKind::Normal 1 = MessageKind::Chat 2 = MessageKind::Groupchat
        3 = MessageKind::Headline 4 = MessageKind::Error;
    Feed: "a feed", 0 = Feed::History 1 = Feed::Hold 2 = Feed::Deliver;
}

impl Encode for StoredXml {
    fn encode(&self, out: &mut Writer) {
        let parts = self.parts();
        (parts.iter().map(|part| part.len() as u64).sum::<u64>()).encode(out);
        parts.iter().for_each(|part| out.0.extend_from_slice(part.as_bytes()));
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        input.text().map(Self::from)
    }
}

impl Encode for bool {
    fn encode(&self, out: &mut Writer) {
        out.u8(u8::from(*self));
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        match input.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(damaged("a choice")),
        }
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Writer) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        if bool::decode(input)? { T::decode(input).map(Some) } else { Ok(None) }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Writer) {
        encode_each(self, out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        let length = u64::decode(input)?;
        // No room is made before the items are there: the length may be damaged.
        (0..length).map(|_| T::decode(input)).collect()
    }
}

impl Encode for IdentityKeys {
    fn encode(&self, out: &mut Writer) {
        encode_each(self, out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        Ok(Vec::decode(input)?.into_iter().collect())
    }
}

fn encode_each<T: Encode>(items: &[T], out: &mut Writer) {
    (items.len() as u64).encode(out);
    items.iter().for_each(|item| item.encode(out));
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, out: &mut Writer) {
        self.0.encode(out);
        self.1.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

impl Encode for SystemTime {
    fn encode(&self, out: &mut Writer) {
        micros(*self).encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        time(i64::decode(input)?)
    }
}

impl Encode for Duration {
    fn encode(&self, out: &mut Writer) {
        u64::try_from(self.as_micros()).unwrap_or(u64::MAX).encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        u64::decode(input).map(Self::from_micros)
    }
}

/// A structure is its fields, one after the other.
macro_rules! fields {
    ($($name:ident: $($field:ident)*;)*) => { $(
        impl Encode for $name {
            fn encode(&self, out: &mut Writer) {
                let Self { $($field),* } = self;
                $($field.encode(out);)*
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self> {
                $(let $field = Encode::decode(input)?;)*
                Ok(Self { $($field),* })
            }
        }
    )* };
}
fields! {
    ArchiveId: by id;
    ArchiveCursor: last first reached_start stamp;
    GapRecord: kind conversation archive after before since until;
    MessageRecord: conversation direction kind from id origin_id archive_ids stamp received xml text flags;
    OutboxEntry: place id to xml ephemeral number archive_after cut settled status;
    Receipt: by at;
    SendStatus: queued written acked reflected received displayed bounced failed resent_unverified;
    SentUpdate: id number archive_after cut status settled;
    SessionRecord: id jid namespace location max;
    StanzaError: error_type condition text application;
}

impl Encode for NewMessage {
    fn encode(&self, out: &mut Writer) {
        self.record.encode(out);
        self.origin.encode(out);
        self.keys().encode(out);
        self.feed.encode(out);
        self.order.encode(out);
        self.when_new.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        let mut message = Self::new(Encode::decode(input)?, Encode::decode(input)?);
        message.set_keys(Encode::decode(input)?);
        (message.feed, message.order) = (Encode::decode(input)?, Encode::decode(input)?);
        message.when_new = Encode::decode(input)?;
        Ok(message)
    }
}

impl<T: Encode> Encode for Arc<T> {
    fn encode(&self, out: &mut Writer) {
        (**self).encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        T::decode(input).map(Self::new)
    }
}

impl<T: Encode> Encode for Box<T> {
    fn encode(&self, out: &mut Writer) {
        (**self).encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        T::decode(input).map(Self::new)
    }
}

/// Those that are a number in a coat.
macro_rules! wrapped {
    ($($name:ty: $number:ty, $write:expr, $read:expr;)*) => { $(
        impl Encode for $name {
            fn encode(&self, out: &mut Writer) {
                let write: fn(&$name) -> $number = $write;
                write(self).encode(out);
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self> {
                <$number>::decode(input).map($read)
            }
        }
    )* };
}
wrapped! {
    LogId: u64, |id| id.get(), LogId::new;
    Position: u64, |position| position.get(), Position::new;
    MessageFlags: u32, |flags| flags.bits(), MessageFlags::from_bits;
}

impl Encode for IdentityKey {
    fn encode(&self, out: &mut Writer) {
        out.0.extend_from_slice(self.as_bytes());
        self.is_exact().encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        Ok(Self::from_bytes(input.array()?, bool::decode(input)?))
    }
}

impl Encode for Secret {
    fn encode(&self, out: &mut Writer) {
        out.bytes(self.expose());
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        input.bytes().map(Self::new)
    }
}

impl Encode for RowChange {
    fn encode(&self, out: &mut Writer) {
        self.namespace.encode(out);
        self.key.encode(out);
        self.value.is_some().encode(out);
        if let Some(value) = &self.value {
            out.bytes(value);
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        let (namespace, key) = Encode::decode(input)?;
        let value = if bool::decode(input)? { Some(input.bytes()?.to_vec()) } else { None };
        Ok(Self { namespace, key, value })
    }
}

impl Encode for SendFailure {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::TooLarge => out.u8(0),
            Self::Withdrawn => out.u8(1),
            Self::Ephemeral => out.u8(2),
            Self::AccountGone => out.u8(3),
            Self::Poison(condition) => {
                out.u8(4);
                condition.encode(out);
            }
            Self::Refused(reason) => {
                out.u8(5);
                reason.encode(out);
            }
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        Ok(match input.u8()? {
            0 => Self::TooLarge,
            1 => Self::Withdrawn,
            2 => Self::Ephemeral,
            3 => Self::AccountGone,
            4 => Self::Poison(String::decode(input)?),
            5 => Self::Refused(String::decode(input)?),
            _ => return Err(damaged("a failure")),
        })
    }
}

fn error_type_name(error_type: &StanzaErrorType) -> &'static str {
    match error_type {
        StanzaErrorType::Auth => "auth",
        StanzaErrorType::Cancel => "cancel",
        StanzaErrorType::Continue => "continue",
        StanzaErrorType::Modify => "modify",
        StanzaErrorType::Wait => "wait",
    }
}

fn error_type(name: &str) -> Option<StanzaErrorType> {
    use StanzaErrorType::{Auth, Cancel, Continue, Modify, Wait};
    [Auth, Cancel, Continue, Modify, Wait].into_iter().find(|error_type| error_type_name(error_type) == name)
}
