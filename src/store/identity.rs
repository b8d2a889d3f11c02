//! What makes two stanzas the same message (R17).

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use highway::{HighwayHash as _, HighwayHasher, Key};
use jid::{BareJid, Jid};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::log::{Copies, MessageKind, Origin};
use super::with_content;
use crate::xml::Stanza;

/// One proof that a stanza is a copy of a message, as R17 lists them.
///
/// [`NewMessage::keys`](super::NewMessage::keys) are those that apply, the strongest first. A store compares keys as bytes and
/// never looks inside; [`Batch::append`](super::Batch::append) has the rule. What a client itself proposes for [`origin`](Self::origin)
/// and [`similar`](Self::similar) is made of a content in a form of its own, and where the store is not
/// [persistent](super::Store::persistent) it is another digest, faster and of this process alone: such keys are not for making anew
/// to [find](super::AccountStore::find) a message by, as [`archive`](Self::archive) and [`own`](Self::own) are.
///
/// ```
/// use xmppkit::store::IdentityKey;
/// let me: xmppkit::jid::BareJid = "juliet@capulet.example".parse()?;
/// assert_eq!(IdentityKey::archive(&me, "28482-98726"), IdentityKey::archive(&me, "28482-98726"));
/// // One origin-id with two contents is two messages.
/// let romeo = "romeo@montague.example".parse()?;
/// assert_ne!(IdentityKey::origin(&romeo, "o1", "art thou"), IdentityKey::origin(&romeo, "o1", "banished"));
/// # Ok::<(), xmppkit::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityKey {
    digest: [u8; 16],
    exact: bool,
}

/// The keys of one message, the strongest first: a list that needs no memory of its own for the few that there nearly always are.
///
/// ```
/// use xmppkit::store::{IdentityKey, IdentityKeys};
/// let mut keys: IdentityKeys = [IdentityKey::own("1"), IdentityKey::own("2")].into_iter().collect();
/// keys.retain(|key| *key != IdentityKey::own("1"));
/// assert_eq!(*keys, [IdentityKey::own("2")]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityKeys(SmallVec<[IdentityKey; 3]>);

impl IdentityKeys {
    /// Adds a key behind the others.
    pub fn push(&mut self, key: IdentityKey) {
        self.0.push(key);
    }

    /// Leaves only those that are wanted.
    pub fn retain(&mut self, mut wanted: impl FnMut(&IdentityKey) -> bool) {
        self.0.retain(|key| wanted(key));
    }
}

impl Deref for IdentityKeys {
    type Target = [IdentityKey];

    fn deref(&self) -> &[IdentityKey] {
        &self.0
    }
}

impl DerefMut for IdentityKeys {
    fn deref_mut(&mut self) -> &mut [IdentityKey] {
        &mut self.0
    }
}

impl Extend<IdentityKey> for IdentityKeys {
    fn extend<I: IntoIterator<Item = IdentityKey>>(&mut self, keys: I) {
        self.0.extend(keys);
    }
}

impl FromIterator<IdentityKey> for IdentityKeys {
    fn from_iter<I: IntoIterator<Item = IdentityKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a IdentityKeys {
    type Item = &'a IdentityKey;
    type IntoIter = std::slice::Iter<'a, IdentityKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// How long keys are of use, which decides how they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyLife {
    /// In files: one digest for all processes.
    BeyondProcess,
    /// In this process: a hash under a key that nobody else knows (HighwayHash), which takes a third of the time.
    InProcess,
}

static PROCESS: LazyLock<Key> = LazyLock::new(|| {
    let random = RandomState::new();
    Key([0, 1, 2, 3].map(|n: u64| random.hash_one(n)))
});

impl IdentityKey {
    /// The largest difference of two stamps of which a [similar](Self::similar) key still speaks.
    pub const SIMILAR_WITHIN: Duration = Duration::from_secs(120);

    /// R17 (1): the id an archive gave the message (XEP-0313, XEP-0359). `by` is the own account or a room; the caller
    /// has checked that it announces archive ids.
    #[must_use]
    pub fn archive(by: &BareJid, id: &str) -> Self {
        Self::lasting(true, ["archive", by.as_str(), id].map(str::as_bytes))
    }

    /// R17 (2): the origin-id its sender gave it (XEP-0359). `sender` is the bare JID; in rooms the occupant-id, else
    /// the occupant JID. `content` is what makes two messages under one origin-id different (body, subject, payload
    /// text), without what relays add: two contents are two messages.
    #[must_use]
    pub fn origin(sender: &Jid, origin_id: &str, content: &str) -> Self {
        Self::origin_of(KeyLife::BeyondProcess, sender.as_str(), origin_id, content.as_bytes())
    }

    /// The same of an address that is normalised.
    pub(crate) fn origin_of(life: KeyLife, sender: &str, origin_id: &str, content: &[u8]) -> Self {
        Self::of(life, true, [b"origin", sender.as_bytes(), origin_id.as_bytes(), content])
    }

    /// R17 (2) where a room gives occupants an id (XEP-0421).
    #[must_use]
    pub fn occupant_origin(room: &BareJid, occupant_id: &str, origin_id: &str, content: &str) -> Self {
        Self::lasting(true, ["occupant", room.as_str(), occupant_id, origin_id, content].map(str::as_bytes))
    }

    /// R17 (3): our own message, by the `id` we gave it.
    #[must_use]
    pub fn own(id: &str) -> Self {
        Self::lasting(true, ["own", id].map(str::as_bytes))
    }

    /// R17 (4): same full `from` and `to`, type, `id` and body. It holds only between a live copy and an archive or
    /// offline copy, with stamps within [`SIMILAR_WITHIN`](Self::SIMILAR_WITHIN); see [`similar_match`](Self::similar_match).
    #[must_use]
    pub fn similar(from: Option<&Jid>, to: Option<&Jid>, message_type: &str, id: Option<&str>, body: &str) -> Self {
        Self::similar_of(
            KeyLife::BeyondProcess,
            from.map_or("", |jid| jid.as_str()),
            to.map_or("", |jid| jid.as_str()),
            message_type,
            id,
            body.as_bytes(),
        )
    }

    /// The same of addresses that are normalised, and empty where there is none.
    fn similar_of(life: KeyLife, from: &str, to: &str, message_type: &str, id: Option<&str>, body: &[u8]) -> Self {
        let given = if id.is_some() { "id" } else { "none" };
        let words = ["similar", from, to, message_type, given, id.unwrap_or("")];
        Self::of(life, false, words.map(str::as_bytes).into_iter().chain([body]))
    }

    /// The same of a message: without text it is what else it says that counts.
    pub(crate) fn similar_in(
        life: KeyLife,
        stanza: &Stanza,
        from: &str,
        to: &str,
        kind: MessageKind,
        id: Option<&str>,
        text: Option<&str>,
    ) -> Self {
        let of = |body: &[u8]| Self::similar_of(life, from, to, kind.as_str(), id, body);
        match text {
            Some(text) => of(text.as_bytes()),
            None => with_content(stanza, None, of),
        }
    }

    /// The key from the bytes of [`as_bytes`](Self::as_bytes) and the answer of [`is_exact`](Self::is_exact), for
    /// stores.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16], exact: bool) -> Self {
        Self { digest: bytes, exact }
    }

    /// What a store keeps and compares.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.digest
    }

    /// Whether an equal key alone proves the same message (R17 1 to 3). Otherwise
    /// [`similar_match`](Self::similar_match) must hold as well.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether two stanzas with equal similar keys are copies of one message (R17 4): their stamps are close, one came
    /// live and the other from an archive or offline storage, and the message was not already seen from there (a second
    /// copy of that kind is a second message).
    #[must_use]
    pub fn similar_match(known: Copies, known_stamp: SystemTime, origin: Origin, stamp: SystemTime) -> bool {
        let apart = stamp.duration_since(known_stamp).unwrap_or_else(|e| e.duration());
        let live = Copies::of(Origin::Live).with(Origin::Carbon);
        let other_side = if live.contains(origin) { Copies::kept_elsewhere() } else { live };
        apart <= Self::SIMILAR_WITHIN && known.intersects(other_side) && !known.contains(origin)
    }

    fn lasting<'a>(exact: bool, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::of(KeyLife::BeyondProcess, exact, parts)
    }

    fn of<'a>(life: KeyLife, exact: bool, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = [0; 16];
        match life {
            KeyLife::BeyondProcess => {
                let mut hash = Sha256::new();
                with_lengths(parts, |bytes| hash.update(bytes));
                digest.copy_from_slice(&hash.finalize()[..16]);
            }
            KeyLife::InProcess => {
                let mut hash = HighwayHasher::new(*PROCESS);
                with_lengths(parts, |bytes| hash.append(bytes));
                let [low, high] = hash.finalize128();
                digest[..8].copy_from_slice(&low.to_le_bytes());
                digest[8..].copy_from_slice(&high.to_le_bytes());
            }
        }
        Self { digest, exact }
    }
}

/// Parts with their lengths before them, so that no two lists of parts are the same bytes: the small ones together, since a hash takes
/// long to begin with each.
fn with_lengths<'a>(parts: impl IntoIterator<Item = &'a [u8]>, mut take: impl FnMut(&[u8])) {
    let mut bytes = [0; 256];
    let mut len = 0;
    for part in parts {
        if bytes.len() - len < 8 {
            take(&bytes[..len]);
            len = 0;
        }
        bytes[len..len + 8].copy_from_slice(&(part.len() as u64).to_le_bytes());
        len += 8;
        if let Some(room) = bytes[len..].get_mut(..part.len()) {
            room.copy_from_slice(part);
            len += part.len();
        } else {
            take(&bytes[..len]);
            take(part);
            len = 0;
        }
    }
    take(&bytes[..len]);
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.exact { "exact:" } else { "similar:" })?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
