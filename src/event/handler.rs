//! Handlers: closures in the place of streams (D12–D14, D34).

use std::any::{TypeId, type_name};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use crate::client::WeakClient;
use crate::error::{Error, ErrorKind, Result};
use crate::event::mailbox::{CAPACITY, CAPACITY_BYTES, Mailbox};
use crate::event::subscription::decode;
use crate::event::{Event, Incoming, Route};
use crate::ext::Ctx;

/// A closure that can handle events: `Fn(E) -> Future` or `Fn(E, Ctx) -> Future`, where `E` is an [`Event`] or
/// [`Incoming`] of one, and the future gives `()` or a [`Result`].
///
/// You call this trait through [`Client::on`](crate::client::Client::on); it is implemented for closures and cannot be implemented otherwise.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    label = "not `Fn(E) -> Future` or `Fn(E, Ctx) -> Future`",
    note = "a handler is a closure that takes an event or `Incoming` of one, by value, and optionally a `Ctx`",
    note = "its parameters need their types: `|message: ChatMessage, cx: Ctx| async move {{ … }}`",
    note = "it returns a future that is `Send` and gives `()` or `xmppkit::Result<_>`: is `async move` missing?"
)]
pub trait Handler<M>: sealed::Handler<M> {}

/// What a handler may take: an [`Event`], or [`Incoming`] of one to see gaps as well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing a handler can take",
    label = "neither an `Event` nor `Incoming` of one",
    note = "a handler's first parameter is a type that implements `Event`, by value, or `Incoming<E>` to see gaps as well",
    note = "a second parameter, if there is one, is `xmppkit::ext::Ctx`"
)]
pub trait HandlerEvent: sealed::HandlerEvent {}

/// What a handler's future may give: `()`, or a `Result` whose error is reported at warn level.
#[diagnostic::on_unimplemented(
    message = "a handler's future cannot give `{Self}`",
    label = "neither `()` nor `xmppkit::Result<_>`",
    note = "end the block with `;` to give `()`, or with `Ok(())`; other errors become one of this crate by `xmppkit::Error::other`"
)]
pub trait HandlerOutput: sealed::HandlerOutput {}

#[allow(unnameable_types, reason = "sealed: only closures are handlers")]
mod sealed {
    use super::{Ctx, Error, Event, Future, Incoming};

    #[diagnostic::on_unimplemented(
        message = "`{Self}` is nothing a handler can take",
        label = "neither an `Event` nor `Incoming` of one",
        note = "a handler's first parameter is a type that implements `Event`, by value, or `Incoming<E>` to see gaps as well",
        note = "a second parameter, if there is one, is `xmppkit::ext::Ctx`"
    )]
    pub trait HandlerEvent: Sized + Send + 'static {
        type Event: Event;
        fn from_incoming(incoming: Incoming<Self::Event>) -> Option<Self>;
    }

    #[diagnostic::on_unimplemented(
        message = "a handler's future cannot give `{Self}`",
        label = "neither `()` nor `xmppkit::Result<_>`",
        note = "end the block with `;` to give `()`, or with `Ok(())`; other errors become one of this crate by `xmppkit::Error::other`"
    )]
    pub trait HandlerOutput {
        fn into_result(self) -> Result<(), Error>;
    }

    #[diagnostic::on_unimplemented(
        message = "`{Self}` is no handler",
        label = "not `Fn(E) -> Future` or `Fn(E, Ctx) -> Future`",
        note = "a handler is a closure that takes an event or `Incoming` of one, by value, and optionally a `Ctx`",
        note = "its parameters need their types: `|message: ChatMessage, cx: Ctx| async move {{ … }}`",
        note = "it returns a future that is `Send` and gives `()` or `xmppkit::Result<_>`: is `async move` missing?"
    )]
    pub trait Handler<M>: Send + Sync + 'static {
        type Item: HandlerEvent;
        type Output: HandlerOutput;
        fn call(&self, item: Self::Item, cx: Ctx) -> impl Future<Output = Self::Output> + Send;
    }
}

impl<E: Event> sealed::HandlerEvent for E {
    type Event = E;

    fn from_incoming(incoming: Incoming<E>) -> Option<E> {
        match incoming {
            Incoming::Item(item) => Some(item.into_inner()),
            Incoming::Gap(gap) => {
                tracing::warn!(?gap, event = type_name::<E>(), "a handler was too slow; items are missing");
                None
            }
        }
    }
}

impl<E: Event> sealed::HandlerEvent for Incoming<E> {
    type Event = E;

    fn from_incoming(incoming: Self) -> Option<Self> {
        Some(incoming)
    }
}

impl<T: sealed::HandlerEvent> HandlerEvent for T {}

impl sealed::HandlerOutput for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl<T> sealed::HandlerOutput for Result<T, Error> {
    fn into_result(self) -> Result<()> {
        self.map(drop)
    }
}

impl<T: sealed::HandlerOutput> HandlerOutput for T {}

impl<F, Fut, E> sealed::Handler<(E,)> for F
where
    F: Fn(E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send,
    E: HandlerEvent,
{
    type Item = E;
    type Output = Fut::Output;

    fn call(&self, item: E, _: Ctx) -> impl Future<Output = Fut::Output> + Send {
        self(item)
    }
}

impl<F, Fut, E> sealed::Handler<(E, Ctx)> for F
where
    F: Fn(E, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send,
    E: HandlerEvent,
{
    type Item = E;
    type Output = Fut::Output;

    fn call(&self, item: E, cx: Ctx) -> impl Future<Output = Fut::Output> + Send {
        self(item, cx)
    }
}

impl<M, H: sealed::Handler<M>> Handler<M> for H {}

/// Keeps a handler registered; dropping it removes the handler, and the call in progress is the last.
#[must_use = "dropping the guard removes the handler; call detach() to keep it for the client's life"]
pub struct HandlerGuard {
    remove: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl HandlerGuard {
    pub(crate) fn new(remove: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { remove: Some(Box::new(remove)) }
    }

    /// Leaves the handler registered for as long as the client lives.
    pub fn detach(mut self) {
        self.remove = None;
    }
}

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        if let Some(remove) = self.remove.take() {
            remove();
        }
    }
}

impl fmt::Debug for HandlerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerGuard").finish_non_exhaustive()
    }
}

/// Calls a handler; a panic in it is an error like another.
pub(crate) async fn call<Fut: Future<Output: HandlerOutput>>(handler: impl FnOnce() -> Fut) -> Result<()> {
    let caught = AssertUnwindSafe(async { sealed::HandlerOutput::into_result(handler().await) }).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(Error::new(ErrorKind::Other).with_context("a handler panicked")))
}

/// A handler, and what it handles: what there is of it before anything came for it.
pub(crate) struct HandlerSpec {
    pub(crate) route: Route,
    pub(crate) event: TypeId,
    spawn: Spawn,
}

/// Spawns a handler's task.
type Spawn = Box<dyn Fn(&tokio::runtime::Handle, Arc<Mailbox>, WeakClient) + Send + Sync>;

impl HandlerSpec {
    pub(crate) fn new<M: 'static, H: Handler<M>>(handler: H) -> Self {
        type EventOf<M, H> = <<H as sealed::Handler<M>>::Item as sealed::HandlerEvent>::Event;
        let handler = Arc::new(handler);
        Self {
            route: <EventOf<M, H> as Event>::route(),
            event: TypeId::of::<EventOf<M, H>>(),
            spawn: Box::new(move |runtime, mailbox, client| drop(runtime.spawn(run(mailbox, client, Arc::clone(&handler))))),
        }
    }

    /// A mailbox for this handler. Its calls come one after another in order of arrival; a slow handler delays only itself.
    pub(crate) fn open(self: &Arc<Self>, client: WeakClient) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::new(self.route.clone(), self.event, CAPACITY, CAPACITY_BYTES));
        let (spec, weak) = (Arc::clone(self), Arc::downgrade(&mailbox));
        mailbox.set_handler(Arc::new(move || {
            if let (Some(mailbox), Some(shared)) = (weak.upgrade(), client.shared()) {
                (spec.spawn)(&shared.runtime, mailbox, client.clone());
            }
        }));
        mailbox
    }
}

/// Registers a handler.
pub(crate) fn register<M: 'static, H: Handler<M>>(client: WeakClient, hub: &crate::event::Hub, handler: H) -> HandlerGuard {
    let mailbox = Arc::new(HandlerSpec::new(handler)).open(client.clone());
    hub.add(&mailbox);
    HandlerGuard::new(move || {
        if let Some(shared) = client.shared() {
            shared.hub.remove(&mailbox);
        }
    })
}

/// A handler's task: lives while there is something to handle (D34).
async fn run<M, H: Handler<M>>(mailbox: Arc<Mailbox>, client: WeakClient, handler: Arc<H>) {
    while let Some(entry) = mailbox.next_for_handler() {
        // The event's own code runs here too, and this task must go on.
        let _until_handled = entry.hold();
        let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| decode(entry, &client)));
        let Ok(decoded) = decoded else {
            tracing::error!(event = type_name::<H::Item>(), "an event panicked while it was read from a stanza");
            continue;
        };
        let Some(item) = decoded.and_then(<H::Item as sealed::HandlerEvent>::from_incoming) else { continue };
        let Some(cx) = client.ctx() else { return };
        if let Err(error) = call(|| handler.call(item, cx)).await {
            tracing::warn!(%error, handler = type_name::<H>(), "a handler failed");
        }
    }
}
