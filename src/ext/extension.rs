//! The trait every extension implements.

use std::any::Any;
use std::future::ready;

use crate::error::Result;
use crate::ext::{BoxFuture, Ctx, Registrar};

/// Something that adds to a client: a protocol, a policy, an application's own behaviour.
///
/// One value belongs to one client: [`ClientBuilder::with`](crate::client::ClientBuilder::with) takes it. Applications
/// get at it with [`Client::ext`](crate::client::Client::ext), usually through a getter trait of the extension's own.
///
/// State belongs into the extension, behind a lock or in an [`Observable`](crate::ext::Observable). An extension keeps no
/// `Client`; hooks and handlers are given a [`Ctx`].
///
/// Hooks run on the connection's own task: they may await requests, and must not block. All have default bodies that do
/// nothing. Later versions may add hooks, with default bodies.
///
/// ```
/// use std::sync::Mutex;
/// use xmppkit::ext::{BoxFuture, Ctx, Extension, Registrar, SessionKind};
///
/// const ROWS: &str = "urn:example:logins";
///
/// /// Counts the logins of this account, over all runs of the program.
/// #[derive(Default)]
/// struct Logins(Mutex<u32>);
///
/// impl Extension for Logins {
///     fn register(&self, reg: &mut Registrar<'_>) {
///         reg.store_namespace(ROWS, 1, |_from, rows| Ok(rows));
///     }
///
///     fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, xmppkit::Result<()>> {
///         Box::pin(async move {
///             let kept = cx.rows(ROWS).get("count").await?.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
///             *self.0.lock().expect("nothing panics with it") = kept.unwrap_or_default();
///             Ok(())
///         })
///     }
///
///     fn session<'a>(&'a self, cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, xmppkit::Result<()>> {
///         Box::pin(async move {
///             if kind == SessionKind::Resumed {
///                 return Ok(());
///             }
///             let count = {
///                 let mut count = self.0.lock().expect("nothing panics with it");
///                 *count += 1;
///                 *count
///             };
///             cx.rows(ROWS).put("count", count.to_string()).await
///         })
///     }
/// }
/// ```
pub trait Extension: Any + Send + Sync {
    /// Says what the extension needs. Called once, when the client is built; conflicts and missing requirements make
    /// `build()` fail with [`ErrorKind::Build`](crate::ErrorKind::Build).
    fn register(&self, reg: &mut Registrar<'_>);

    /// Whether every value of this type registers the same, whatever is in it: then it is asked once, and clients with the same
    /// extensions share what it asked for, which spares memory where a process has many. What is registered must then keep
    /// nothing of `self`: handlers reach the extension of their own client by [`Ctx::ext`].
    ///
    /// By default each client asks anew. It is shared where all extensions of a client register alike, as the built-in ones do.
    fn registers_alike(&self) -> bool {
        false
    }

    /// Called once, when the client has been built and before `build()` returns: what the extension kept in the
    /// [store](Ctx::store) is read here, so that it is there while the client is offline. There is no session yet.
    ///
    /// Hooks run one after another, those of required extensions first. An error makes `build()` fail with it.
    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        let _ = cx;
        Box::pin(ready(Ok(())))
    }

    /// Called on a fresh session before initial presence is sent: what contacts' presence presupposes (the roster).
    ///
    /// Hooks run one after another, those of required extensions first, each with the builder's login step deadline
    /// (default 30 s). An error is reported at warn level and does not fail the login.
    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        let _ = cx;
        Box::pin(ready(Ok(())))
    }

    /// Called when the client has come online, concurrently with the other extensions' hooks. An error is reported at
    /// warn level. The hook is dropped when the session ends, and goes on over a cut that the session survives: then the call
    /// for the resumed session waits until it has returned.
    fn session<'a>(&'a self, cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        let _ = (cx, kind);
        Box::pin(ready(Ok(())))
    }

    /// Called when the connection was cut while the session can still be resumed: keep what is known, mark it stale.
    fn suspended(&self, cx: &Ctx) {
        let _ = cx;
    }

    /// Called when the session is lost or ended: what the server told in it is void.
    fn session_lost(&self, cx: &Ctx) {
        let _ = cx;
    }

    /// Called when the client is being closed, while the stream is still open, within the closing deadline.
    fn closing<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        let _ = cx;
        Box::pin(ready(Ok(())))
    }
}

/// How the client came online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionKind {
    /// With a new session: nothing the server told before holds.
    Fresh,
    /// With the session it had: the server kept everything (XEP-0198 §5).
    Resumed,
}
