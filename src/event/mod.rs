//! What arrives, as typed values: events, their routes, subscriptions and handlers.
//!
//! An [`Event`] is a typed view of a stanza, or something an extension reports. Applications take events from a
//! [`Subscription`] (an async `Stream`) or give a closure to [`Client::on`](crate::client::Client::on). Third parties
//! define events of their own in the same way the built-in ones are defined:
//!
//! ```
//! use xmppkit::event::{Event, Inbound, Route};
//! use xmppkit::client::WeakClient;
//!
//! /// A request for attention (XEP-0224).
//! #[derive(Clone, Debug)]
//! struct Attention {
//!     from: Option<String>,
//! }
//!
//! impl Event for Attention {
//!     fn route() -> Route {
//!         Route::message()
//!             .payload("urn:xmpp:attention:0", "attention")
//!             .when(|inbound| inbound.stanza().stanza_type().as_deref() != Some("error"))
//!     }
//!
//!     fn from_inbound(inbound: &Inbound, _client: &WeakClient) -> Option<Self> {
//!         Some(Attention { from: inbound.stanza().from().map(Into::into) })
//!     }
//! }
//! ```

mod delivery;
mod durable;
mod handler;
mod hub;
mod inbound;
mod log_reader;
mod logged;
mod mailbox;
mod route;
mod subscription;

pub use delivery::{Delivery, Gap, GapKind, Incoming};
pub use durable::{Durable, DurableEvents, HandlerGaveUp};
pub use handler::{Handler, HandlerEvent, HandlerGuard, HandlerOutput};
pub use inbound::Inbound;
pub use logged::Logged;
pub use route::Route;
pub use subscription::{Events, Subscription};

/// The way a message took to get here.
pub use crate::store::Origin;

pub(crate) use handler::{HandlerSpec, register as register_handler};
pub use hub::AckPolicy;
pub(crate) use hub::Hub;

use crate::client::WeakClient;

/// Something an application can subscribe to.
///
/// An event is either a view of a stanza, or reported by an extension:
///
/// | | view of a message | view of a presence stanza | reported |
/// |---|---|---|---|
/// | choose it if | subscribers want what a message says | the same of presence | it is the outcome of several stanzas, of a request, of state |
/// | [`route`](Event::route) | [`Route::message()`] | [`Route::presence()`] | [`Route::emitted()`] |
/// | comes from | every message that takes the route | every presence stanza that takes the route | [`Ctx::emit`](crate::ext::Ctx::emit) |
/// | [`from_inbound`](Event::from_inbound) | once for each subscriber, when it takes the item, on its task | the same | never: return `None` |
/// | subscribed to too late | waits 8 s for its first subscriber | lost | lost |
/// | [durable](crate::event::Durable) | yes, if the log keeps the message | no: yields nothing | no: yields nothing |
///
/// Events are cloned for each subscriber, so they should be cheap to clone: hold the stanza, not copies of its parts.
pub trait Event: Clone + Send + Sync + 'static {
    /// Which stanzas may be this event.
    fn route() -> Route;

    /// Builds the event from a stanza that fits the route; `None` if it is none after all.
    ///
    /// Called when a subscriber takes the item, on the subscriber's task; on a durable subscription with what the log kept,
    /// perhaps in a later run of the program. So it depends on the stanza and not on the extension's state.
    ///
    /// `client` is for events that act, as [`ChatMessage::reply`](crate::messaging::ChatMessage::reply) does.
    fn from_inbound(inbound: &Inbound, client: &WeakClient) -> Option<Self>;
}

/// A stanza whose payload does not have the shape its specification asks for.
///
/// A payload that a route claims and that cannot be read is reported here; the stanza itself stays readable, and so does
/// everything else in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Malformed {
    /// The stanza as it came.
    pub stanza: crate::xml::Stanza,
    /// Which payload, and why.
    pub error: crate::error::Error,
}

impl Event for Malformed {
    fn route() -> Route {
        Route::emitted()
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        None
    }
}
