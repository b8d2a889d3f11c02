//! The client: its handle, how it is built, how it is connected and closed.

mod builder;
mod connect;
mod dispatch;
mod handle;
mod identity;
mod ids;
mod intake;
mod limits;
mod login;
mod outbox;
mod request;
mod sent;
mod session;
mod shared;
mod xml;

pub use builder::{ClientBuilder, LastDrop};
pub use connect::{Connect, Driver};
pub use handle::{Client, WeakClient};
pub use outbox::{Resolution, Unresolved};
pub use request::{Reply, Request};
pub use sent::{Milestone, Sent};
pub use xml::XmlWatch;

pub use crate::driver::{
    ConnectionInfo, Deadlines, KeepAlive, Lag, Reconnect, State, Timeouts, TlsMode, Trust, XmlDirection, XmlKind, XmlTraffic,
};

pub(crate) use shared::Shared;

/// The one door that is not public yet (D33): what happens before authentication.
pub(crate) mod door {
    pub(crate) use super::connect::connect_with;
    pub(crate) use crate::driver::BeforeAuth;

    /// What the client logs in with.
    pub(crate) fn credentials(client: &super::Client) -> crate::auth::Credentials {
        client.shared().next_connection().core.credentials.clone()
    }
}
