//! Who is told what is not for everybody.

use jid::Jid;

use crate::ext::Ctx;
use crate::roster::RosterService;

/// Whose questions are answered: for extensions that tell others about this client or its user, as a part of their settings.
///
/// An extension that asks it requires the [roster](RosterService).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AnswerTo {
    /// Everybody's.
    Everybody,
    /// Those of contacts who may see our presence, of the user's other devices, and of the account's server.
    #[default]
    Contacts,
    /// Nobody's.
    Nobody,
}

impl AnswerTo {
    /// Whether somebody who asks is answered; `None` is the own account, as in [`IqRequest::from`](crate::ext::IqRequest::from).
    #[must_use]
    pub fn includes(self, from: Option<&Jid>, cx: &Ctx) -> bool {
        match (self, from) {
            (Self::Everybody, _) | (Self::Contacts, None) => true,
            (Self::Nobody, _) => false,
            (Self::Contacts, Some(from)) => {
                let bare = from.to_bare();
                let is_own_server = from.node().is_none() && from.domain() == cx.account().domain();
                let may_see_presence = || {
                    let contact = cx.ext::<RosterService>().and_then(|roster| roster.get(&bare));
                    contact.is_some_and(|contact| contact.subscription().includes_from())
                };
                bare == *cx.account() || is_own_server || may_see_presence()
            }
        }
    }
}
