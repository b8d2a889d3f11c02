//! Extensions: what the library does beyond the stream, and what third parties add, by the same doors (R30, D31).
//!
//! An [`Extension`] is a value given to the builder. When the client is built, [`Extension::register`] says what it
//! needs: payloads it answers, stanzas it looks at, stages it adds, features it announces, rows it keeps. While the
//! client lives, its hooks are called with a [`Ctx`]. Nothing the built-in extensions use is closed to others, except
//! account registration's step before login.
//!
//! The derive macros of payloads write `xso::…`, so a crate of your own needs, beside this one:
//!
//! ```toml
//! xso = { version = "0.4", features = ["macros"] }
//! ```
//!
//! ```
//! use xmppkit::ext::{Answer, Ctx, Extension, IqRequest, Registrar};
//! use xmppkit::xso::{AsXml, FromXml};
//!
//! /// `<dice xmlns='urn:example:dice' sides='6'/>`: asks for a throw.
//! #[derive(FromXml, AsXml, Debug)]
//! #[xml(namespace = "urn:example:dice", name = "dice")]
//! struct Dice {
//!     #[xml(attribute)]
//!     sides: u8,
//! }
//!
//! struct DiceServer;
//!
//! impl Extension for DiceServer {
//!     fn register(&self, reg: &mut Registrar<'_>) {
//!         reg.feature("urn:example:dice");
//!         reg.on_iq_get(|request: IqRequest<Dice>, _cx: Ctx| async move {
//!             Answer::payload(&Dice { sides: request.payload().sides })
//!         });
//!     }
//! }
//! ```

mod context;
mod extension;
mod intake;
mod iq;
mod observable;
mod registrar;
mod registry;
mod single_flight;
mod stage;

/// What hooks return: `Box::pin(async move { … })`.
pub use futures::future::BoxFuture;

pub use context::Ctx;
pub use extension::{Extension, SessionKind};
pub use intake::{Fetched, Intake, TakenIn};
pub use iq::{Answer, IqRefusal, IqRequest};
pub use observable::{MAX_BEHIND, Observable, Observe, Observed, Watch};
pub use registrar::Registrar;
pub use single_flight::SingleFlight;
pub use stage::{InboundDraft, OutboundDraft, Position, inbound, outbound};

pub use registry::{Declared, FormFields, Identity};

pub(crate) use iq::reply as iq_reply;
pub(crate) use registry::{Entry, IqKind, Registry};
pub(crate) use stage::Notes;
