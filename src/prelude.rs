//! What most programs need: `use xmppkit::prelude::*;`.
//!
//! The getter traits come in without their names, so that `client.roster()` works and nothing clashes.

pub use futures::StreamExt;
pub use jid::{BareJid, FullJid, Jid};

pub use crate::client::Client;
pub use crate::event::{Event, Incoming};
pub use crate::messaging::{ChatMessage, Messages as _};
pub use crate::presence::{PresenceUpdate, Presences as _, Show};
pub use crate::register::Registers as _;
pub use crate::roster::{Rosters as _, SubscriptionRequest};
