//! To which address the next message of a conversation goes (RFC 6121 §5.1), as a pure reducer.

use std::collections::HashMap;

use jid::{BareJid, FullJid, Jid};

/// Conversations that are locked at once. Unlocking does no harm: a message to the bare JID arrives as well.
const MAX_LOCKS: usize = 4096;

/// The contacts' resources that conversations are locked to.
#[derive(Debug, Default)]
pub(super) struct Locks {
    locked: HashMap<BareJid, FullJid>,
}

impl Locks {
    /// A message of a conversation came from there: the conversation is locked to that resource; without a resource it is
    /// unlocked.
    pub(super) fn message(&mut self, from: Jid) {
        match from.try_into_full() {
            Ok(full) => {
                if self.locked.len() >= MAX_LOCKS && !self.locked.contains_key(&full.to_bare()) {
                    self.locked.clear();
                }
                self.locked.insert(full.to_bare(), full);
            }
            Err(bare) => self.unlock(&bare),
        }
    }

    /// A resource of this contact changed its presence, the one that is locked to or another; or it refused a message.
    pub(super) fn unlock(&mut self, contact: &BareJid) {
        self.locked.remove(contact);
    }

    /// The session is over: nobody's presence is known any more.
    pub(super) fn clear(&mut self) {
        self.locked.clear();
    }

    /// Where the next message to this contact goes.
    pub(super) fn address(&self, contact: &BareJid) -> Jid {
        match self.locked.get(contact) {
            Some(full) => full.clone().into(),
            None => contact.clone().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Message(&'static str),
        Presence(&'static str),
        Lost,
    }
    use Step::{Lost, Message, Presence};

    fn address_after(steps: &[Step]) -> String {
        let mut locks = Locks::default();
        for step in steps {
            match step {
                Message(from) => locks.message(Jid::new(from).unwrap()),
                Presence(from) => locks.unlock(&Jid::new(from).unwrap().to_bare()),
                Lost => locks.clear(),
            }
        }
        locks.address(&BareJid::new("juliet@example.com").unwrap()).to_string()
    }

    #[test]
    fn conversations_lock_and_unlock_as_the_rfc_says() {
        const BARE: &str = "juliet@example.com";
        const BALCONY: &str = "juliet@example.com/balcony";
        const CHAMBER: &str = "juliet@example.com/chamber";
        for (steps, expected) in [
            (&[][..], BARE),
            (&[Message(BALCONY)], BALCONY),
            (&[Message(BALCONY), Message(BALCONY)], BALCONY),
            (&[Message(BALCONY), Message(CHAMBER)], CHAMBER),
            (&[Message(BALCONY), Message(BARE)], BARE),
            (&[Message(BALCONY), Presence(BALCONY)], BARE),
            (&[Message(BALCONY), Presence(CHAMBER)], BARE),
            (&[Message(BALCONY), Presence(CHAMBER), Message(BALCONY)], BALCONY),
            (&[Message(BALCONY), Message("romeo@example.net/orchard")], BALCONY),
            (&[Message(BALCONY), Presence("romeo@example.net/orchard")], BALCONY),
            (&[Message(BALCONY), Lost], BARE),
            (&[Message("JULIET@example.com/balcony")], BALCONY),
        ] {
            assert_eq!(address_after(steps), expected);
        }
    }

    #[test]
    fn strangers_cannot_make_the_table_grow_without_bound() {
        let mut locks = Locks::default();
        for i in 0..3 * MAX_LOCKS {
            locks.message(Jid::new(&format!("spam{i}@example.net/x")).unwrap());
            assert!(locks.locked.len() <= MAX_LOCKS);
        }
        let last = BareJid::new(&format!("spam{}@example.net", 3 * MAX_LOCKS - 1)).unwrap();
        assert!(locks.address(&last).is_full(), "the latest conversation is locked");
    }
}
