//! Stages: named steps every message passes on its way in and out (design: order for a message).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::BoxFuture;
use xmpp_parsers::message::Message;
use xso::{AsXml, FromXml};

use crate::error::{Error, Result};
use crate::event::{Inbound, Origin};
use crate::ext::Ctx;
use crate::store::{ArchiveId, Change, Feed, IdentityKey, IdentityKeys, RowChange};
use crate::xml::{Frame, Limits, OutStanza, Stanza, write_element};

/// The built-in inbound stages. Extensions add theirs before or after one of them.
///
/// Every message passes them in this order:
///
/// | stage | what it is for | what belongs there |
/// |---|---|---|
/// | [`UNWRAP`](inbound::UNWRAP) | takes the message out of a carbon or an archive's result | before it: what must see the wrapping |
/// | [`DECRYPT`](inbound::DECRYPT) | decrypts | before it: a filter that needs no plain text (by sender, by size) |
/// | [`IDENTIFY`](inbound::IDENTIFY) | proposes keys against second copies | before it: a filter or rewriter that needs the plain text |
/// | [`DERIVE`](inbound::DERIVE) | derives rows | after it: what counts or indexes, as it sees the message as it will be stored |
///
/// Messages that were read at once pass a stage one after another before the first of them comes to the next stage.
///
/// Whether the message is a second copy is found out after the last stage, at the commit. The names are there, and stages stand
/// by them, whether or not an extension of the client does that step.
pub mod inbound {
    /// Takes the message out of what it was wrapped in: carbons, archive results.
    pub const UNWRAP: &str = "unwrap";
    /// Decrypts.
    pub const DECRYPT: &str = "decrypt";
    /// Proposes the keys by which a second copy is recognised.
    pub const IDENTIFY: &str = "identify";
    /// Derives rows for the extensions' own areas of the store.
    pub const DERIVE: &str = "derive";

    pub(crate) const ALL: &[&str] = &[UNWRAP, DECRYPT, IDENTIFY, DERIVE];
}

/// The built-in outbound stages. Extensions add theirs before or after one of them.
///
/// Every message passes them in this order:
///
/// | stage | what it is for | what belongs there |
/// |---|---|---|
/// | [`DECORATE`](outbound::DECORATE) | adds what travels with the message | after it: a decorator, whose payload is to be encrypted too; a filter that refuses |
/// | [`ENCRYPT`](outbound::ENCRYPT) | encrypts | after it: what must stay readable on the way, as hints to servers |
///
/// What counts messages that were sent stands last, after `ENCRYPT`; but a message that passed every stage may still be refused
/// (too large, no room in the outbox), so count by its [token](crate::client::Sent) where that matters.
pub mod outbound {
    /// Adds what travels with the message: receipts asked for, ids.
    pub const DECORATE: &str = "decorate";
    /// Encrypts.
    pub const ENCRYPT: &str = "encrypt";

    pub(crate) const ALL: &[&str] = &[DECORATE, ENCRYPT];
}

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// Before the stage of this name.
    Before(&'static str),
    /// After the stage of this name, and after those that were added there earlier.
    After(&'static str),
}

/// A message on its way in, before it is stored and delivered.
///
/// Stages look at it and note what is to change; they write nothing themselves: what they note is committed together
/// with the message. A stage returns no error, for nobody is there to take it: it [discards](Self::discard) the message, or
/// leaves it as it is and reports an [event](Ctx::emit). One that panics is reported at error level and passed over.
#[derive(Debug)]
pub struct InboundDraft {
    inbound: Inbound,
    logged: Option<bool>,
    discarded: Option<&'static str>,
    notes: Notes,
}

/// What stages noted beside the message itself.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) keys: IdentityKeys,
    /// Made only if the message is new.
    pub(crate) rows: Vec<RowChange>,
    pub(crate) archive_ids: Vec<ArchiveId>,
    pub(crate) feed: Feed,
    /// Made whether or not it is.
    pub(crate) changes: Vec<Change>,
}

impl InboundDraft {
    pub(crate) fn new(inbound: Inbound) -> Self {
        let notes = Notes {
            keys: IdentityKeys::default(),
            rows: Vec::new(),
            archive_ids: Vec::new(),
            feed: Feed::Deliver,
            changes: Vec::new(),
        };
        Self { inbound, logged: None, discarded: None, notes }
    }

    /// The message as it stands.
    #[must_use]
    pub fn stanza(&self) -> &Stanza {
        self.inbound.stanza()
    }

    /// The way it came.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.inbound.origin()
    }

    /// Puts another message in its place: the one inside a carbon, the decrypted one.
    pub fn replace(&mut self, stanza: Stanza, origin: Origin) {
        self.inbound.replace(stanza, origin);
    }

    /// Takes out every child of this namespace and name (the content namespace is `jabber:client`, as in
    /// [`Node::ns`](crate::xml::Node::ns)): neither the log nor any subscriber sees them. `false` if there is none.
    ///
    /// The stanza is rebuilt without them; what it inherits from the stream (its language) is written out.
    pub fn remove_payload(&mut self, ns: &str, name: &str) -> bool {
        match without(self.stanza(), ns, name) {
            Some(stanza) => {
                self.inbound.replace(stanza, self.origin());
                true
            }
            None => false,
        }
    }

    /// Proposes a key: a message with an equal key in the log is the same message, and this copy is dropped (R17). Keys
    /// proposed first are stronger.
    pub fn add_key(&mut self, key: IdentityKey) {
        self.notes.keys.push(key);
    }

    /// Notes the id that an archive gave the message (XEP-0313). The caller has checked that the archive is whose it is
    /// said to be.
    pub fn add_archive_id(&mut self, id: ArchiveId) {
        self.notes.archive_ids.push(id);
    }

    /// Says when the message was sent, where that is said outside of it, by somebody to be believed: a carbon's `<delay/>`,
    /// an archive's.
    pub fn set_stamp(&mut self, stamp: SystemTime) {
        self.inbound.set_stamp(stamp);
    }

    /// When the message was read from the stream.
    #[must_use]
    pub fn received(&self) -> SystemTime {
        self.inbound.received()
    }

    /// Says whether durable subscriptions get the message now, or at their turn, or never (R16). Without this they get it
    /// now. Live subscriptions get it as it arrives in any case.
    ///
    /// Whoever holds messages back must [release](crate::store::Batch::release) them.
    pub fn set_feed(&mut self, feed: Feed) {
        self.notes.feed = feed;
    }

    /// Makes a change of any area in the transaction that stores the message, whether it is new or a second copy: how far
    /// an archive is known, for example.
    pub fn also(&mut self, change: Change) {
        self.notes.changes.push(change);
    }

    /// Writes a row of the extension's area together with the message: both are stored, or neither. Of a second copy of a
    /// message in the log no row is written. A message that is not kept in the log is not compared with any, so its rows are
    /// always written.
    pub fn put(&mut self, namespace: &str, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.notes.rows.push(RowChange::put(namespace, key, value));
    }

    /// Removes a row of the extension's area together with the message, as [`put`](Self::put) writes one.
    pub fn delete(&mut self, namespace: &str, key: impl Into<String>) {
        self.notes.rows.push(RowChange::delete(namespace, key));
    }

    /// Says whether the message is kept in the log. Without this every message is, except those that carry only a chat
    /// state and those that ask not to be stored.
    pub fn set_logged(&mut self, logged: bool) {
        self.logged = Some(logged);
    }

    /// Drops the message: it is neither stored nor delivered, and counts as taken over. Later stages, consumers and
    /// subscribers do not see it; the sender is told nothing. Rows that were noted so far are written, each time such a
    /// message comes: without a copy in the log there is nothing to compare it with.
    pub fn discard(&mut self, reason: &'static str) {
        self.discarded = Some(reason);
    }

    pub(crate) fn discarded(&self) -> Option<&'static str> {
        self.discarded
    }

    pub(crate) fn logged(&self) -> Option<bool> {
        self.logged
    }

    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.inbound.set_origin(origin);
    }

    pub(crate) fn into_parts(self) -> (Inbound, Notes) {
        (self.inbound, self.notes)
    }
}

/// A message on its way out, before it is serialised.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OutboundDraft {
    /// The message; its id is set and stays.
    pub message: Message,
}

impl OutboundDraft {
    pub(crate) fn new(message: Message) -> Self {
        Self { message }
    }

    /// Adds a payload to the message.
    ///
    /// # Errors
    /// [`ErrorKind::Other`](crate::ErrorKind::Other) if it cannot be serialised.
    pub fn add_payload<P: AsXml>(&mut self, payload: &P) -> Result<()> {
        self.message.payloads.push(xso::transform(payload).map_err(Error::other)?);
        Ok(())
    }

    /// The first payload that is a `P`, read as the receiver will read it; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Payload`](crate::ErrorKind::Payload) if a payload has the name of a `P` and not its shape, or the message
    /// cannot be serialised.
    pub fn payload<P: FromXml>(&self) -> Result<Option<P>> {
        Ok(OutStanza::message(&self.message)?.to_stanza().payload()?)
    }
}

/// The stanza without its children of this name; `None` if it has none.
fn without(stanza: &Stanza, ns: &str, name: &str) -> Option<Stanza> {
    stanza.child(ns, name)?;
    // Alone, it has its language with it.
    let mut element = read(&stanza.to_standalone_xml())?.root().to_element();
    let ns = if ns == crate::xml::ns::CLIENT { xmpp_parsers::ns::DEFAULT_NS } else { ns };
    while element.remove_child(name, ns).is_some() {}
    let mut text = Vec::new();
    write_element(&mut text, &element, "").ok()?;
    read(std::str::from_utf8(&text).ok()?)?.stanza()
}

/// Reads what was within its limits when it came, and may be written longer here.
fn read(xml: &str) -> Option<Frame> {
    let limits = Limits { max_stanza_bytes: usize::MAX, ..Limits::default() };
    Frame::parse_with(xml, &limits).ok()
}

pub(crate) type InboundStage = Arc<dyn Fn(&mut InboundDraft, &Ctx) + Send + Sync>;
type OutboundStep = Arc<dyn Fn(OutboundDraft, Ctx) -> BoxFuture<'static, Result<OutboundDraft>> + Send + Sync>;

pub(crate) struct OutboundStage {
    pub(crate) step: OutboundStep,
    /// Whether a message that is written already has to be read for it.
    pub(crate) looks_at: fn(&Stanza) -> bool,
}

/// Stages in order, and how many of them stand before the first built-in name.
pub(crate) type Ordered<S> = (Vec<S>, usize);

/// Puts the stages in order: the built-in names are fixed, the others stand where they asked to. `Err` names the stage
/// whose neighbour does not exist.
pub(crate) fn order<S>(
    builtin: &[&'static str],
    added: Vec<(&'static str, Position, S)>,
) -> Result<Ordered<S>, (&'static str, &'static str)> {
    let mut names: Vec<&'static str> = builtin.to_vec();
    // Who stands where it does because of whom.
    let mut leaders: BTreeMap<&'static str, &'static str> = BTreeMap::new();
    let mut stages: BTreeMap<&'static str, S> = BTreeMap::new();
    let mut waiting = added;
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut left = Vec::new();
        for (name, position, stage) in waiting {
            let neighbour = match position {
                Position::Before(neighbour) | Position::After(neighbour) => neighbour,
            };
            let Some(mut index) = names.iter().position(|other| *other == neighbour) else {
                left.push((name, position, stage));
                continue;
            };
            if matches!(position, Position::After(_)) {
                index += 1;
                while names.get(index).is_some_and(|other| follows(&leaders, other, neighbour)) {
                    index += 1;
                }
            }
            leaders.insert(name, neighbour);
            names.insert(index, name);
            stages.insert(name, stage);
        }
        if left.len() == before {
            let (name, Position::Before(neighbour) | Position::After(neighbour), _) = left.swap_remove(0);
            return Err((name, neighbour));
        }
        waiting = left;
    }
    let first = names.iter().take_while(|name| !builtin.contains(name)).count();
    Ok((names.iter().filter_map(|name| stages.remove(name)).collect(), first))
}

/// Whether a stage stands where it does because of this one, directly or through others.
fn follows(leaders: &BTreeMap<&'static str, &'static str>, stage: &str, leader: &str) -> bool {
    let mut leads = leaders.get(stage);
    while let Some(name) = leads {
        if *name == leader {
            return true;
        }
        leads = leaders.get(name);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(added: Vec<(&'static str, Position)>) -> Result<Vec<&'static str>, (&'static str, &'static str)> {
        let added = added.into_iter().map(|(name, position)| (name, position, name)).collect();
        order(inbound::ALL, added).map(|(names, _)| names)
    }

    #[test]
    fn it_is_known_which_stages_see_the_wrapping() {
        let stages = [("a", Position::Before("unwrap")), ("b", Position::Before("a")), ("c", Position::After("unwrap"))];
        let added = stages.into_iter().map(|(name, position)| (name, position, name)).collect();
        assert_eq!(order(inbound::ALL, added), Ok((vec!["b", "a", "c"], 2)));
    }

    #[test]
    fn stages_stand_where_they_asked_to() {
        let got = ordered(vec![
            ("late", Position::After("derive")),
            ("second", Position::After("unwrap")),
            ("between", Position::Before("second")),
            ("third", Position::After("unwrap")),
            ("first", Position::Before("unwrap")),
        ]);
        assert_eq!(got, Ok(vec!["first", "between", "second", "third", "late"]));
    }

    #[test]
    fn a_stage_may_name_one_that_is_added_later() {
        assert_eq!(ordered(vec![("b", Position::After("a")), ("a", Position::Before("decrypt"))]), Ok(vec!["a", "b"]));
    }

    #[test]
    fn a_neighbour_that_does_not_exist_is_named() {
        assert_eq!(ordered(vec![("a", Position::After("nowhere"))]), Err(("a", "nowhere")));
    }

    fn draft(xml: &str) -> InboundDraft {
        let stanza = Frame::parse(xml).expect("XML").stanza().expect("a stanza");
        InboundDraft::new(Inbound::new(stanza, 7, SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn a_payload_that_is_removed_takes_nothing_else_with_it() {
        let mut draft = draft(
            "<message xmlns='jabber:client' xmlns:x='urn:x' from='a@b/c' type='chat' xml:lang='de'>\
             <body>1 &lt; 2</body><x:spy n='1'/><body xml:lang='en'>b</body><keep xmlns='urn:x' x:a='v'>t<spy/></keep><x:spy n='2'/>\
             </message>",
        );
        assert!(draft.remove_payload("urn:x", "spy"));
        let stanza = draft.stanza();
        assert_eq!(stanza.children().map(|child| child.name()).collect::<Vec<_>>(), ["body", "body", "keep"]);
        assert_eq!((stanza.from().as_deref(), stanza.stanza_type().as_deref()), (Some("a@b/c"), Some("chat")));
        assert_eq!(
            (stanza.child_text(crate::xml::ns::CLIENT, "body").as_deref(), stanza.lang().as_deref()),
            (Some("1 < 2"), Some("de"))
        );
        let keep = stanza.child("urn:x", "keep").expect("what was not asked for");
        assert_eq!((keep.text().as_ref(), keep.attr_ns("urn:x", "a").as_deref()), ("t", Some("v")));
        assert!(keep.child("urn:x", "spy").is_some());
        assert_eq!(draft.inbound.number(), 7);

        assert!(draft.remove_payload(crate::xml::ns::CLIENT, "body"));
        assert!(draft.stanza().child(crate::xml::ns::CLIENT, "body").is_none());
        assert!(!draft.remove_payload("urn:x", "spy"));
    }

    #[test]
    fn a_payload_that_is_removed_leaves_the_language_of_what_was_around() {
        let frame = Frame::parse(
            "<wrap xmlns='urn:w' xml:lang='fr'><message xmlns='jabber:client'><body>a</body><spy xmlns='urn:x'/></message></wrap>",
        );
        let frame = frame.expect("XML");
        let inner = frame.root().children().next().and_then(|node| node.stanza()).expect("a stanza");
        let left = without(&inner, "urn:x", "spy").expect("one was there");
        assert_eq!(left.lang().as_deref(), Some("fr"));
        assert!(!left.is_inner());
    }

    #[test]
    fn an_outbound_payload_is_read_as_the_receiver_reads_it() {
        use xmpp_parsers::receipts::{Received, Request};
        let mut draft = OutboundDraft::new(Message::chat(None).with_body("".into(), "hi".to_owned()));
        assert!(draft.payload::<Received>().expect("well-formed").is_none());
        draft.add_payload(&Request).expect("serialised");
        draft.add_payload(&Received { id: "1".to_owned() }).expect("serialised");
        assert_eq!(draft.payload::<Received>().expect("well-formed").map(|received| received.id).as_deref(), Some("1"));
    }
}
