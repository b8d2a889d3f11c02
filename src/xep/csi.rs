//! Client state indication (XEP-0352): a server that knows that nobody is looking holds back what can wait.
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::xep::csi::ClientStates;
//!
//! # async fn run(client: Client) -> xmppkit::Result<()> {
//! client.set_inactive(true).await?; // the screen went dark
//! client.set_inactive(false).await?; // somebody is looking again
//! # Ok(())
//! # }
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use xmpp_parsers::csi::{Active, Inactive};

use crate::client::Client;
use crate::error::{ErrorKind, Result};
use crate::ext::{Ctx, Extension, Registrar, SessionKind};
use crate::xml::ns;

/// Lets a client say whether somebody is looking.
pub trait ClientStates {
    /// Says that nobody is looking (`true`), or that somebody is again. It holds over reconnects: every session begins active
    /// (XEP-0352 §5), so `inactive` is said again after each login and each resume (R52). Where the server does not offer this,
    /// nothing is said. A server may let an inactive client wait for presence and chat states; messages come all the same.
    ///
    /// # Errors
    /// [`ErrorKind::ExtensionMissing`] if [`CsiService`] was removed. Being offline is no error.
    fn set_inactive(&self, inactive: bool) -> BoxFuture<'_, Result<()>>;

    /// What was said last; a new client is active.
    fn is_inactive(&self) -> bool;
}

impl ClientStates for Client {
    fn set_inactive(&self, inactive: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let service = self.ext::<CsiService>().ok_or(ErrorKind::ExtensionMissing("CsiService"))?;
            if service.inactive.swap(inactive, Ordering::Relaxed) != inactive && self.state().is_online() {
                say(inactive, &self.ctx()).await?;
            }
            Ok(())
        })
    }

    fn is_inactive(&self) -> bool {
        self.ext::<CsiService>().is_some_and(|service| service.inactive.load(Ordering::Relaxed))
    }
}

/// The extension behind [`ClientStates`].
#[derive(Debug, Default)]
pub struct CsiService {
    inactive: AtomicBool,
}

impl CsiService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Extension for CsiService {
    fn register(&self, _reg: &mut Registrar<'_>) {}

    fn registers_alike(&self) -> bool {
        true
    }

    fn session<'a>(&'a self, cx: &'a Ctx, _kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { if self.inactive.load(Ordering::Relaxed) { say(true, cx).await } else { Ok(()) } })
    }
}

async fn say(inactive: bool, cx: &Ctx) -> Result<()> {
    if cx.stream_features().is_none_or(|features| features.child(ns::CSI, "csi").is_none()) {
        return Ok(());
    }
    if inactive { cx.send_nonza(&Inactive).await } else { cx.send_nonza(&Active).await }
}
