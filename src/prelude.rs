//! What most programs need: `use xmppkit::prelude::*;`.
//!
//! The getter traits come in without their names, so that `client.roster()` works and nothing clashes. [`StreamExt`] is that
//! of the crate `futures`: for `next()` on everything that is a stream a program need not depend on `futures` itself.

pub use futures::StreamExt;
pub use jid::{BareJid, FullJid, Jid};

pub use crate::archive::Archives as _;
pub use crate::client::{Client, Milestone, State, TlsMode, Trust};
pub use crate::event::{Event, Incoming};
pub use crate::ext::Observed;
pub use crate::messaging::{ChatMessage, Direction, Messages as _};
pub use crate::presence::{PresenceChange, PresenceUpdate, Presences as _, Show};
pub use crate::register::Registers as _;
pub use crate::roster::{RosterChange, Rosters as _, SubscriptionRequest};
pub use crate::xep::caps::Capabilities as _;
pub use crate::xep::carbons::CarbonCopies as _;
pub use crate::xep::csi::ClientStates as _;
pub use crate::xep::disco::Discos as _;
pub use crate::xep::last_activity::LastActivities as _;
pub use crate::xep::ping::Pings as _;
pub use crate::xep::push::Pushes as _;
pub use crate::xep::time::Times as _;
pub use crate::xep::version::Versions as _;
