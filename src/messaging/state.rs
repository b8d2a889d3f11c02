//! What conversations remember, as pure reducers: to which address the next message goes (RFC 6121 §5.1), and which chat
//! states may be sent (XEP-0085 §5).

use hashbrown::HashMap;
use jid::{BareJid, FullJid, Jid};

use super::ChatState;
use crate::xml::bare_str;

/// Conversations that are remembered at once. Unlocking does no harm: a message to the bare JID arrives as well.
const MAX_LOCKS: usize = 4096;

/// The contacts' resources that conversations are locked to.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// By the contact's bare JID.
    locked: HashMap<String, FullJid>,
}

impl Locks {
    /// A message of the contact's conversation came from there: the conversation is locked to that resource; without a resource
    /// it is unlocked.
    pub(super) fn message(&mut self, from: &Jid) {
        let contact = bare_str(from);
        let Ok(full) = from.try_as_full() else { return self.unlock(from) };
        match self.locked.get_mut(contact) {
            Some(locked) if locked == full => {}
            Some(locked) => *locked = full.clone(),
            None => {
                if self.locked.len() >= MAX_LOCKS {
                    self.locked.clear();
                }
                self.locked.insert(contact.to_owned(), full.clone());
            }
        }
    }

    /// A resource of this contact changed its presence, the one that is locked to or another; or it refused a message.
    pub(super) fn unlock(&mut self, contact: &Jid) {
        self.locked.remove(bare_str(contact));
    }

    /// The session is over: nobody's presence is known any more.
    pub(super) fn clear(&mut self) {
        self.locked.clear();
    }

    /// Where the next message to this contact goes.
    pub(super) fn address(&self, contact: &BareJid) -> Jid {
        match self.locked.get(contact.as_str()) {
            Some(full) => full.clone().into(),
            None => contact.clone().into(),
        }
    }
}

/// What is known of chat states in each conversation.
#[derive(Debug, Default)]
pub(super) struct States {
    /// By the contact's bare JID.
    known: HashMap<String, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the contact sends chat states; until a message says so, nobody knows.
    supported: Option<bool>,
    /// What the contact was told last.
    told: Option<ChatState>,
}

impl States {
    /// A message came from the contact: one with a state, or one without that had room for it.
    pub(super) fn heard(&mut self, contact: &Jid, has_state: bool) {
        self.of(contact, |known| known.supported = Some(has_state));
    }

    /// Whether a state may be sent in a message to the contact; who answers without one wants none (XEP-0085 §5.1).
    pub(super) fn may_ride(&self, contact: &Jid) -> bool {
        self.known.get(bare_str(contact)).is_none_or(|known| known.supported != Some(false))
    }

    /// A message with text goes to the contact, with or without `active`.
    pub(super) fn said(&mut self, contact: &Jid, active: bool) {
        self.of(contact, |known| known.told = active.then_some(ChatState::Active));
    }

    /// Notes that the contact is told this state, unless it may not be: who wants none, and nobody the same one twice
    /// (XEP-0085 §5.3).
    pub(super) fn tell(&mut self, contact: &Jid, state: ChatState) -> bool {
        self.of(contact, |known| {
            let news = known.supported != Some(false) && known.told != Some(state);
            if news {
                known.told = Some(state);
            }
            news
        })
    }

    /// The session is over.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    fn of<T>(&mut self, contact: &Jid, change: impl FnOnce(&mut Known) -> T) -> T {
        let contact = bare_str(contact);
        if let Some(known) = self.known.get_mut(contact) {
            return change(known);
        }
        if self.known.len() >= MAX_LOCKS {
            self.known.clear();
        }
        change(self.known.entry(contact.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_states_are_sent_as_the_specification_says() {
        use ChatState::{Active, Composing, Paused};
        let juliet = || Jid::new("juliet@example.com").unwrap();
        let mut states = States::default();
        // Whoever has not answered may be told; nobody the same twice in a row.
        assert!(states.may_ride(&juliet()) && states.tell(&juliet(), Composing));
        assert!(!states.tell(&juliet(), Composing) && states.tell(&juliet(), Paused) && states.tell(&juliet(), Composing));
        // A message is followed by the next composing, and its own `active` by nothing like it.
        states.said(&juliet(), true);
        assert!(!states.tell(&juliet(), Active) && states.tell(&juliet(), Composing));
        states.said(&juliet(), false);
        assert!(states.tell(&juliet(), Active));
        // An answer without a state ends it, one with a state begins it again.
        states.heard(&juliet(), false);
        assert!(!states.may_ride(&juliet()) && !states.tell(&juliet(), Composing));
        states.heard(&juliet(), true);
        assert!(states.may_ride(&juliet()) && states.tell(&juliet(), Composing));
        assert!(states.tell(&Jid::new("romeo@example.net").unwrap(), Composing), "each for itself");
        states.clear();
        assert!(states.tell(&juliet(), Composing));
        for i in 0..3 * MAX_LOCKS {
            states.heard(&Jid::new(&format!("spam{i}@example.net")).unwrap(), true);
            assert!(states.known.len() <= MAX_LOCKS);
        }
    }

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
                Message(from) => locks.message(&Jid::new(from).unwrap()),
                Presence(from) => locks.unlock(&Jid::new(from).unwrap()),
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
            let from = Jid::new(&format!("spam{i}@example.net/x")).unwrap();
            locks.message(&from);
            assert!(locks.locked.len() <= MAX_LOCKS);
        }
        let last = BareJid::new(&format!("spam{}@example.net", 3 * MAX_LOCKS - 1)).unwrap();
        assert!(locks.address(&last).is_full(), "the latest conversation is locked");
    }
}
