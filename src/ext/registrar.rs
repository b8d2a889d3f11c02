//! What an extension can ask for when the client is built (R30).

use std::any::{Any, TypeId, type_name};
use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use xso::FromXml;

use crate::client::{Resolution, Unresolved};
use crate::error::Result;
use crate::event::{Handler, HandlerSpec, Inbound, Route};
use crate::ext::iq::{Answer, IqRefusal, IqRequest};
use crate::ext::registry::{Consumer, Declared, Drafts, IqKind, IqRoute, NamespaceSpec};
use crate::ext::stage::{InboundDraft, OutboundDraft, OutboundStage, Position};
use crate::ext::{Ctx, Extension};
use crate::store::Row;
use crate::xml::{PayloadName, Stanza, StanzaKind};

/// Collects what one extension needs. Nothing here fails: conflicts and missing requirements of all extensions together
/// are found when the client is built, and `build()` reports the first that it finds.
pub struct Registrar<'a> {
    pub(crate) name: &'static str,
    pub(crate) drafts: &'a mut Drafts,
}

impl Registrar<'_> {
    /// This extension needs that one; its hooks run after that one's. Without it (built-in ones can be
    /// [removed](crate::client::ClientBuilder::without)) `build()` fails.
    pub fn requires<T: Extension>(&mut self) {
        self.drafts.requires.push((self.name, TypeId::of::<T>(), type_name::<T>()));
    }

    /// This extension uses that one where it is there: its hooks run after that one's, and it finds it with [`Ctx::ext`]. As
    /// [`requires`](Self::requires), but that `build()` does not fail without it.
    pub fn uses<T: Extension>(&mut self) {
        self.drafts.uses.push((self.name, TypeId::of::<T>()));
    }

    /// Announces a feature (XEP-0030).
    pub fn feature(&mut self, feature: impl Into<Cow<'static, str>>) {
        self.drafts.declared.features.insert(feature.into());
    }

    /// Announces an identity (XEP-0030): category and type from the registry, and a name for people.
    pub fn identity(
        &mut self,
        category: impl Into<Cow<'static, str>>,
        type_: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
    ) {
        self.drafts.declared.identities.push(Declared::identity(category, type_, name));
    }

    /// Announces a node: its features are told to whoever asks for that node (XEP-0030 §3.2).
    pub fn node<F: Into<Cow<'static, str>>>(
        &mut self,
        node: impl Into<Cow<'static, str>>,
        features: impl IntoIterator<Item = F>,
    ) {
        self.drafts.declared.nodes.insert(node.into(), features.into_iter().map(Into::into).collect());
    }

    /// Announces extended information (XEP-0128): a field of the form with this `FORM_TYPE`, and its values. Fields of one
    /// form may come from several extensions; a field that is announced twice has the values it was given last.
    pub fn form_field<V: Into<Cow<'static, str>>>(
        &mut self,
        form_type: impl Into<Cow<'static, str>>,
        var: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = V>,
    ) {
        let form = self.drafts.declared.forms.entry(form_type.into()).or_default();
        form.insert(var.into(), values.into_iter().map(Into::into).collect());
    }

    /// Asks for notifications of a personal eventing node: announces `node+notify` (XEP-0163 §4).
    pub fn pep_interest(&mut self, node: impl Into<Cow<'static, str>>) {
        let node: Cow<'static, str> = node.into();
        self.feature(format!("{node}+notify"));
    }

    /// Answers IQ requests of type `get` with this payload. One extension may claim a payload.
    pub fn on_iq_get<P, F, Fut>(&mut self, handler: F)
    where
        P: FromXml + Send + 'static,
        F: Fn(IqRequest<P>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, IqRefusal>> + Send + 'static,
    {
        self.on_iq(IqKind::Get, handler);
    }

    /// Answers IQ requests of type `set` with this payload. One extension may claim a payload.
    pub fn on_iq_set<P, F, Fut>(&mut self, handler: F)
    where
        P: FromXml + Send + 'static,
        F: Fn(IqRequest<P>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, IqRefusal>> + Send + 'static,
    {
        self.on_iq(IqKind::Set, handler);
    }

    /// Answers IQ requests of type `get` by namespace and name: for payloads without a type of their own.
    pub fn on_iq_get_named<F, Fut>(&mut self, ns: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>, handler: F)
    where
        F: Fn(IqRequest<()>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, IqRefusal>> + Send + 'static,
    {
        self.on_iq_named(IqKind::Get, ns.into(), name.into(), handler);
    }

    /// Answers IQ requests of type `set` by namespace and name: for payloads without a type of their own.
    pub fn on_iq_set_named<F, Fut>(&mut self, ns: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>, handler: F)
    where
        F: Fn(IqRequest<()>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, IqRefusal>> + Send + 'static,
    {
        self.on_iq_named(IqKind::Set, ns.into(), name.into(), handler);
    }

    /// Looks at every message that carries this payload, after it is stored and before subscribers get it: one message
    /// after another, in order of arrival. A payload that does not have its shape is reported as
    /// [`Malformed`](crate::event::Malformed).
    ///
    /// Not shown are second copies, messages that a [stage](Self::inbound_stage) discarded, and those of type `error`: these
    /// carry back what was sent (RFC 6120 §8.3.1), so their payloads do not speak for their sender.
    /// [`on_route`](Self::on_route) sees errors too.
    pub fn on_message<P, F>(&mut self, look: F)
    where
        P: FromXml + 'static,
        F: Fn(P, &Inbound, &Ctx) + Send + Sync + 'static,
    {
        self.on_payload(StanzaKind::Message, look);
    }

    /// Looks at every presence stanza that carries this payload, in order, as it is read. A payload that does not have
    /// its shape is reported as [`Malformed`](crate::event::Malformed). As with [`on_message`](Self::on_message), those of
    /// type `error` are not shown.
    pub fn on_presence<P, F>(&mut self, look: F)
    where
        P: FromXml + 'static,
        F: Fn(P, &Inbound, &Ctx) + Send + Sync + 'static,
    {
        self.on_payload(StanzaKind::Presence, look);
    }

    /// Looks at every stanza that takes this route, whatever it carries and of whatever type, errors included; otherwise as
    /// [`on_message`](Self::on_message) and [`on_presence`](Self::on_presence).
    pub fn on_route<F>(&mut self, route: Route, look: F)
    where
        F: Fn(&Inbound, &Ctx) + Send + Sync + 'static,
    {
        self.drafts.consumers.push(Consumer { route, look: Arc::new(look) });
    }

    /// Says that messages which take this route are dealt with by this extension: without a subscriber they do not wait for
    /// one, and are not reported as dropped.
    ///
    /// Claim only what is for the extension alone. What an application may yet subscribe to must stay unclaimed.
    pub fn claim(&mut self, route: Route) {
        self.drafts.claims.push(route);
    }

    /// Registers a handler for an event, as [`Client::on`](crate::client::Client::on) does: it has its own queue, and a
    /// slow one delays only itself.
    pub fn on<M: 'static, H: Handler<M>>(&mut self, handler: H) {
        self.drafts.handlers.push(Arc::new(HandlerSpec::new(handler)));
    }

    /// Adds a stage that every inbound message passes, those of type `error` too; see [`inbound`](crate::ext::inbound) for
    /// the built-in ones and their order. Names are global, among the stages of all extensions in this direction: begin
    /// yours with the extension's name (`"poll:count"`). A name that is taken makes `build()` fail.
    ///
    /// A stage is a pure function of the message and of a snapshot of its extension's state: it notes changes in the
    /// draft and writes nothing. It returns no error; see [`InboundDraft`].
    ///
    /// Stages run one at a time: a message passes all of them before the next one enters the first, in order of arrival.
    /// They run before the message is compared with the log, so they see second copies too; the rows they note of one are
    /// not written, and [`on_message`](Self::on_message) is not called. Messages that arrive together are committed
    /// together: all of them pass the stages first, then all are stored, and then `on_message` and the subscribers get them
    /// one by one. So a stage may see the second message before `on_message` saw the first: state that is changed in
    /// `on_message` may be that much behind in a stage. If the store fails (reported at error level), the messages are
    /// delivered all the same, and their rows are lost.
    pub fn inbound_stage<F>(&mut self, name: &'static str, position: Position, stage: F)
    where
        F: Fn(&mut InboundDraft, &Ctx) + Send + Sync + 'static,
    {
        self.drafts.inbound.push((self.name, name, position, Arc::new(stage)));
    }

    /// Adds a stage that every outbound message passes; see [`outbound`](crate::ext::outbound) for the built-in ones and
    /// their order. Names are global, as those of [inbound stages](Self::inbound_stage) are. An error fails the `send`.
    ///
    /// Stages run on the task that called `send`: one message passes them one after another, and messages that are sent at
    /// the same time pass them at the same time.
    pub fn outbound_stage<F, Fut>(&mut self, name: &'static str, position: Position, stage: F)
    where
        F: Fn(OutboundDraft, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<OutboundDraft>> + Send + 'static,
    {
        self.outbound_stage_for(name, position, |_| true, stage);
    }

    /// Adds an outbound stage that has nothing to do with most of the messages that are
    /// [written without a value](crate::client::Client::send_payload), and says of which it has: the others pass it unseen.
    /// Otherwise as [`outbound_stage`](Self::outbound_stage): a message that is sent as a value comes to it whatever it carries.
    ///
    /// If one stage is to see a message, all do.
    pub fn outbound_stage_for<F, Fut>(&mut self, name: &'static str, position: Position, looks_at: fn(&Stanza) -> bool, stage: F)
    where
        F: Fn(OutboundDraft, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<OutboundDraft>> + Send + 'static,
    {
        let stage = OutboundStage { step: Arc::new(move |draft, cx| Box::pin(stage(draft, cx))), looks_at };
        self.drafts.outbound.push((self.name, name, position, stage));
    }

    /// Adds to every presence of our own before it is sent (capabilities, avatars, idle time): broadcast, directed, and
    /// those that ask for or answer subscriptions, so look at its type. Initial presence that is made `unavailable` here
    /// is not sent at all.
    pub fn own_presence<F>(&mut self, decorate: F)
    where
        F: Fn(&mut xmpp_parsers::presence::Presence, &Ctx) + Send + Sync + 'static,
    {
        self.drafts.presence.push(Arc::new(decorate));
    }

    /// Finds out what became of messages that were sent in a session that is lost (R10 to R13): asked once per new session, after
    /// it came online, if there are such messages. The answer names each by its id; one that is left out, or
    /// [`Unknown`](crate::client::Resolution::Unknown), is left to the next who asked to be asked, and is sent again if nobody
    /// can tell. Until then newer messages to the same addresses wait, at most two minutes. Where the error is that the
    /// session is over, the next session asks again; with any other, nobody asked can tell.
    pub fn resolve_sent<F, Fut>(&mut self, resolve: F)
    where
        F: Fn(Vec<Unresolved>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<(String, Resolution)>>> + Send + 'static,
    {
        self.drafts.resolvers.push(Arc::new(move |unresolved, cx| Box::pin(resolve(unresolved, cx))));
    }

    /// Keeps [rows](Ctx::rows) in the store under a namespace of the extension's own, with their schema version.
    ///
    /// When the client is built and the rows are of an earlier version, `step` gets that version and all rows and returns
    /// what they shall be. Rows of a later version make `build()` fail with
    /// [`ErrorKind::StoreTooNew`](crate::ErrorKind::StoreTooNew).
    pub fn store_namespace<F>(&mut self, namespace: &'static str, version: u32, step: F)
    where
        F: Fn(u32, Vec<Row>) -> Result<Vec<Row>> + Send + Sync + 'static,
    {
        self.drafts.namespaces.push(NamespaceSpec {
            extension: self.name,
            namespace: namespace.into(),
            version,
            migrate: Box::new(step),
        });
    }

    /// Declares a setting with its default: applications set it with
    /// [`ClientBuilder::setting`](crate::client::ClientBuilder::setting), the extension reads it with [`Ctx::setting`].
    pub fn setting<T: Any + Send + Sync>(&mut self, default: T) {
        self.drafts.settings.push((self.name, TypeId::of::<T>(), type_name::<T>(), Arc::new(default)));
    }

    fn on_iq<P, F, Fut>(&mut self, kind: IqKind, handler: F)
    where
        P: FromXml + Send + 'static,
        F: Fn(IqRequest<P>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, IqRefusal>> + Send + 'static,
    {
        let Some(PayloadName { ns, name, .. }) = PayloadName::of::<P>() else {
            self.drafts.unroutable.push((self.name, type_name::<P>()));
            return;
        };
        let handler = Arc::new(handler);
        let call = move |stanza: Stanza, cx: Ctx| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                match stanza.payload::<P>() {
                    Ok(Some(payload)) => handler(IqRequest::new(stanza, payload), cx).await,
                    Ok(None) => Err(bad_request().into()),
                    Err(error) => {
                        tracing::debug!(%error, "a request's payload is malformed");
                        Err(bad_request().into())
                    }
                }
            }) as _
        };
        self.drafts.iqs.push(IqRoute {
            extension: self.name,
            kind,
            ns: ns.into_owned(),
            name: name.map(Cow::into_owned),
            call: Arc::new(call),
        });
    }

    fn on_iq_named<F, Fut>(&mut self, kind: IqKind, ns: Cow<'static, str>, name: Cow<'static, str>, handler: F)
    where
        F: Fn(IqRequest<()>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, IqRefusal>> + Send + 'static,
    {
        let call = move |stanza: Stanza, cx: Ctx| Box::pin(handler(IqRequest::new(stanza, ()), cx)) as _;
        self.drafts.iqs.push(IqRoute {
            extension: self.name,
            kind,
            ns: ns.into_owned(),
            name: Some(name.into_owned()),
            call: Arc::new(call),
        });
    }

    fn on_payload<P, F>(&mut self, kind: StanzaKind, look: F)
    where
        P: FromXml + 'static,
        F: Fn(P, &Inbound, &Ctx) + Send + Sync + 'static,
    {
        let Some(PayloadName { ns, name, .. }) = PayloadName::of::<P>() else {
            self.drafts.unroutable.push((self.name, type_name::<P>()));
            return;
        };
        let route = if kind == StanzaKind::Message { Route::message() } else { Route::presence() };
        let route = match name {
            Some(name) => route.payload(ns, name),
            None => route.payload_ns(ns),
        };
        // What an error carries back was ours, not its sender's.
        let route = route.when(|inbound| inbound.stanza().stanza_type().as_deref() != Some("error"));
        self.on_route(route, move |inbound, cx| {
            for payload in inbound.stanza().payloads::<P>() {
                match payload {
                    Ok(payload) => look(payload, inbound, cx),
                    Err(error) => cx.emit(crate::event::Malformed { stanza: inbound.stanza().clone(), error: error.into() }),
                }
            }
        });
    }
}

fn bad_request() -> crate::error::StanzaError {
    crate::error::StanzaError::new(crate::error::StanzaErrorType::Modify, "bad-request")
}
