//! Stages: named steps every message passes on its way in and out (design: order for a message).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use xmpp_parsers::message::Message;

use crate::error::Result;
use crate::event::{Inbound, Origin};
use crate::ext::Ctx;
use crate::store::{IdentityKey, RowChange};
use crate::xml::Stanza;

/// The built-in inbound stages, in their order. Extensions add theirs before or after one of them.
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

/// The built-in outbound stages, in their order. Extensions add theirs before or after one of them.
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
/// with the message.
#[derive(Debug)]
pub struct InboundDraft {
    inbound: Inbound,
    logged: Option<bool>,
    discarded: Option<&'static str>,
    keys: Vec<IdentityKey>,
    rows: Vec<RowChange>,
}

impl InboundDraft {
    pub(crate) fn new(inbound: Inbound) -> Self {
        Self { inbound, logged: None, discarded: None, keys: Vec::new(), rows: Vec::new() }
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

    /// Proposes a key: a message with an equal key in the log is the same message, and this copy is dropped (R17). Keys
    /// proposed first are stronger.
    pub fn add_key(&mut self, key: IdentityKey) {
        self.keys.push(key);
    }

    /// Writes a row of the extension's area together with the message.
    pub fn put(&mut self, namespace: &str, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.rows.push(RowChange::put(namespace, key, value));
    }

    /// Removes a row of the extension's area together with the commit of the message.
    pub fn delete(&mut self, namespace: &str, key: impl Into<String>) {
        self.rows.push(RowChange::delete(namespace, key));
    }

    /// Says whether the message is kept in the log. Without this every message is, except those that carry only a chat
    /// state and those that ask not to be stored.
    pub fn set_logged(&mut self, logged: bool) {
        self.logged = Some(logged);
    }

    /// Drops the message: it is neither stored nor delivered. Later stages do not see it; rows noted so far are written.
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

    pub(crate) fn into_parts(self) -> (Inbound, Vec<IdentityKey>, Vec<RowChange>) {
        (self.inbound, self.keys, self.rows)
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
}

pub(crate) type InboundStage = Arc<dyn Fn(&mut InboundDraft, &Ctx) + Send + Sync>;
pub(crate) type OutboundStage = Arc<dyn Fn(OutboundDraft, Ctx) -> BoxFuture<'static, Result<OutboundDraft>> + Send + Sync>;

/// Puts the stages in order: the built-in names are fixed, the others stand where they asked to. `Err` names the stage
/// whose neighbour does not exist.
pub(crate) fn order<S>(
    builtin: &[&'static str],
    added: Vec<(&'static str, Position, S)>,
) -> Result<Vec<S>, (&'static str, &'static str)> {
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
    Ok(names.iter().filter_map(|name| stages.remove(name)).collect())
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
        order(inbound::ALL, added.into_iter().map(|(name, position)| (name, position, name)).collect())
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
}
