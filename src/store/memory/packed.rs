//! What the log keeps of messages, as bytes that stand one after the other in few large pieces of memory: a message that is kept leaves
//! nothing scattered behind, and lets go of what it came in.

use std::collections::VecDeque;
use std::ops::Range;

use crate::store::encoding::{append, choice, from_bytes, number_of};
use crate::store::{MessageRecord, StoredJid};

/// About how large a piece becomes.
const PIECE: usize = 32 * 1024;

#[derive(Debug, Default)]
pub(super) struct Packed {
    pieces: VecDeque<Piece>,
    /// The number of the first piece.
    first: u32,
    /// Bytes of messages that are kept.
    live: usize,
    /// Bytes of the pieces that are there.
    all: usize,
}

#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// How many bytes of it are kept.
    live: usize,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    piece: u32,
    start: u32,
    len: u32,
}

impl Slot {
    pub(super) const NOTHING: Self = Self { piece: 0, start: 0, len: 0 };

    /// How many bytes it takes.
    pub(super) fn len(self) -> usize {
        self.len as usize
    }

    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len()
    }
}

impl Packed {
    /// Keeps of a message what the log keeps nowhere else.
    pub(super) fn put(&mut self, record: &MessageRecord) -> Slot {
        self.write(|bytes| pack(record, bytes))
    }

    /// Fills in what is kept of the message that stands there.
    pub(super) fn unpack_into(&self, slot: Slot, record: &mut MessageRecord) -> Option<()> {
        let unpacked = unpack(self.bytes(slot)?, record);
        if unpacked.is_none() {
            tracing::error!("a message in the log is not readable");
        }
        unpacked
    }

    /// Nobody needs it any more.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(piece) = self.index(slot).and_then(|index| self.pieces.get_mut(index)) else { return };
        piece.live -= slot.len();
        self.live -= slot.len();
        if piece.live == 0 {
            self.all -= piece.bytes.len();
            piece.bytes = Vec::new();
        }
        while self.pieces.len() > 1 && self.pieces.front().is_some_and(|piece| piece.live == 0) {
            self.pieces.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Whether most of the memory is held by few messages that are left of many.
    pub(super) fn is_sparse(&self) -> bool {
        self.all > 2 * self.live + 2 * PIECE
    }

    /// Takes over a message of another.
    pub(super) fn copy(&mut self, from: &Self, slot: Slot) -> Slot {
        self.write(|bytes| bytes.extend_from_slice(from.bytes(slot).unwrap_or_default()))
    }

    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Slot {
        match self.pieces.back_mut() {
            None => self.pieces.push_back(Piece::default()),
            // What it was written in is at hand, and memory to keep it in is far: it is taken there at once, and not word by word.
            Some(last) if last.bytes.len() >= PIECE / 8 * 7 => {
                let kept = last.bytes.as_slice().to_vec();
                let mut bytes = std::mem::replace(&mut last.bytes, kept);
                bytes.clear();
                // What one large message took is given back.
                bytes.shrink_to(2 * PIECE);
                self.pieces.push_back(Piece { bytes, live: 0 });
            }
            Some(_) => {}
        }
        let index = self.pieces.len() - 1;
        let piece = &mut self.pieces[index];
        let start = piece.bytes.len();
        write(&mut piece.bytes);
        let len = piece.bytes.len() - start;
        piece.live += len;
        self.live += len;
        self.all += len;
        // A piece is as large as one message more than it should be, and no stanza has 4 GiB; pieces may be numbered from the
        // start again, for there are never as many at once.
        Slot { piece: self.first.wrapping_add(index as u32), start: start as u32, len: len as u32 }
    }

    /// Where its piece stands.
    fn index(&self, slot: Slot) -> Option<usize> {
        let index = slot.piece.wrapping_sub(self.first) as usize;
        (index < self.pieces.len()).then_some(index)
    }

    fn bytes(&self, slot: Slot) -> Option<&[u8]> {
        self.pieces.get(self.index(slot)?)?.bytes.get(slot.range())
    }
}

/// How many texts a message has here: sender, id, origin-id, what is searched, the stanza. Archive ids stand behind them.
const TEXTS: usize = 5;
/// The length of a text that is not there.
const NONE: u32 = u32::MAX;

/// The kind, the lengths of the texts, and the texts.
fn pack(record: &MessageRecord, bytes: &mut Vec<u8>) {
    let xml = record.xml.parts();
    let texts =
        [record.from.as_ref().map(|jid| jid.as_str()), record.id.as_deref(), record.origin_id.as_deref(), record.text.as_deref()];
    let mut head = [0; 1 + 4 * TEXTS];
    head[0] = number_of(&record.kind);
    let lengths = texts.iter().map(|text| text.map_or(NONE, |text| text.len() as u32));
    let lengths = lengths.chain([xml.iter().map(|part| part.len() as u32).sum()]);
    for (place, length) in head[1..].chunks_exact_mut(4).zip(lengths) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    bytes.extend_from_slice(&head);
    texts.into_iter().flatten().for_each(|text| bytes.extend_from_slice(text.as_bytes()));
    xml.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    if !record.archive_ids.is_empty() {
        append(&record.archive_ids, bytes);
    }
}

/// Nothing if these are not the bytes of [`pack`].
fn unpack(bytes: &[u8], record: &mut MessageRecord) -> Option<()> {
    let (kind, rest) = bytes.split_first()?;
    let (lengths, mut rest) = rest.split_at_checked(4 * TEXTS)?;
    let mut lengths = lengths.as_chunks::<4>().0.iter().map(|length| u32::from_le_bytes(*length));
    let mut text = || {
        let length = lengths.next().filter(|length| *length != NONE)?;
        let (text, behind) = rest.split_at_checked(length as usize)?;
        rest = behind;
        std::str::from_utf8(text).ok()
    };
    record.kind = choice(*kind).ok()?;
    record.from = text().and_then(|jid| jid.parse::<StoredJid>().ok());
    record.id = text().map(Into::into);
    record.origin_id = text().map(Into::into);
    record.text = text().map(Into::into);
    record.xml = text()?.into();
    if !rest.is_empty() {
        record.archive_ids = from_bytes(rest).ok()?;
    }
    Some(())
}

#[cfg(test)]
impl Packed {
    /// The bytes of what is kept, and those that it holds.
    pub(super) fn sizes(&self) -> (usize, usize) {
        assert_eq!(self.all, self.pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>());
        assert_eq!(self.live, self.pieces.iter().map(|piece| piece.live).sum::<usize>());
        (self.live, self.all)
    }
}
