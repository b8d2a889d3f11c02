//! Carbons (XEP-0280): copies of what the account's other clients send and receive.
//!
//! They are switched on at each fresh session where the server offers them, and come as messages like any other, with
//! [`Origin::Carbon`]. A carbon is believed only if the account itself sends it; others are discarded, and reported at warn
//! level, for that is how somebody puts words into a contact's mouth.
//!
//! A message that is not to be copied to the own other clients, nor to the receiver's, is sent with the payload
//! [`Private`](xmpp_parsers::carbons::Private); servers that heed only the hint of XEP-0334 get that as well:
//!
//! ```no_run
//! use xmppkit::prelude::*;
//! use xmppkit::xmpp_parsers::carbons::Private;
//!
//! # async fn run(client: Client) -> xmppkit::Result<()> {
//! client.chat(&"juliet@example.org".parse()?).send("For your eyes only").payload(&Private).await?;
//! # Ok(()) }
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use xmpp_parsers::carbons::{Disable, Enable};

use crate::client::{Client, Reply};
use crate::error::{ErrorKind, Result};
use crate::ext::{BoxFuture, Ctx, Extension, InboundDraft, Position, Registrar, SessionKind, inbound, outbound};
use crate::store::Origin;
use crate::xep::disco::{DiscoService, Discos};
use crate::xml::{Node, Stanza, ns, parse_datetime};

/// The extension's rows: whether the server offered carbons the last time.
const ROWS: &str = "xmppkit:carbons";
const OFFERED: &str = "offered";

/// Gives clients their [`Carbons`].
pub trait CarbonCopies {
    /// The carbons of this session.
    fn carbons(&self) -> Carbons;
}

impl CarbonCopies for Client {
    fn carbons(&self) -> Carbons {
        Carbons { client: self.clone() }
    }
}

/// A handle to the carbons of the session; see [the module](self).
#[derive(Clone)]
pub struct Carbons {
    client: Client,
}

impl Carbons {
    /// Whether they are on in this session.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.client.ext::<CarbonsService>().is_some_and(|service| service.is_enabled())
    }

    /// Switches them on, until the session ends.
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`] if the server refuses, which it does where it has none; [`ErrorKind::ExtensionMissing`] without
    /// the extension; those of every request: [`ErrorKind::NotOnline`], [`ErrorKind::SessionLost`],
    /// [`ErrorKind::RequestTimeout`].
    pub async fn enable(&self) -> Result<()> {
        let service = self.service()?;
        self.client.iq_set(None, &Enable).await?;
        service.state().enabled = true;
        Ok(())
    }

    /// Switches them off, until the session ends.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub async fn disable(&self) -> Result<()> {
        let service = self.service()?;
        self.client.iq_set(None, &Disable).await?;
        service.state().enabled = false;
        Ok(())
    }

    fn service(&self) -> Result<Arc<CarbonsService>> {
        self.client.ext().ok_or_else(|| ErrorKind::ExtensionMissing("CarbonsService").into())
    }
}

impl fmt::Debug for Carbons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carbons").field("enabled", &self.is_enabled()).finish_non_exhaustive()
    }
}

/// How the extension behaves; give it to [`ClientBuilder::setting`](crate::client::ClientBuilder::setting).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CarbonSettings {
    /// Whether carbons are switched on at each fresh session. They are unless this is off.
    pub enable: bool,
}

impl CarbonSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { enable: true }
    }

    /// Whether carbons are switched on at each fresh session.
    #[must_use]
    pub fn enable(mut self, enable: bool) -> Self {
        self.enable = enable;
        self
    }
}

impl Default for CarbonSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// The extension behind [`Client::carbons`](CarbonCopies::carbons). Every client has it.
#[derive(Clone, Default)]
pub struct CarbonsService {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    enabled: bool,
    /// Whether the server offers them, as far as it was ever asked.
    offered: Option<bool>,
    /// It was not asked in this session yet.
    is_remembered: bool,
    /// The request that switches them on, sent before presence.
    pending: Option<BoxFuture<'static, Result<Reply>>>,
}

impl CarbonsService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether they are on in this session: the account's other clients then send and receive nothing unseen.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.state().enabled
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server whether it offers them (XEP-0280 §3).
    async fn learn(&self, cx: &Ctx) -> Result<bool> {
        let offered = offers_carbons(&cx.client()).await?;
        let before = {
            let mut state = self.state();
            state.is_remembered = false;
            state.offered.replace(offered)
        };
        if before != Some(offered) {
            cx.rows(ROWS).put(OFFERED, if offered { "yes" } else { "no" }).await?;
        }
        Ok(offered)
    }

    /// Sends the request; its answer is read when the client is online, so that it costs no round trip (R20).
    fn request(&self, cx: &Ctx) {
        let request = cx.client().iq_set(None, &Enable);
        let mut request: BoxFuture<'static, Result<Reply>> = request.into_future().boxed();
        if let Some(done) = (&mut request).now_or_never() {
            request = std::future::ready(done).boxed();
        }
        self.state().pending = Some(request);
    }

    async fn finish(&self) {
        let Some(request) = self.state().pending.take() else { return };
        match request.await {
            Ok(_) => self.state().enabled = true,
            Err(error) => tracing::warn!(%error, "carbons could not be switched on"),
        }
    }
}

async fn offers_carbons(client: &Client) -> Result<bool> {
    Ok(client.disco().server().await?.supports(ns::CARBONS))
}

impl Extension for CarbonsService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.uses::<DiscoService>();
        reg.setting(CarbonSettings::default());
        reg.store_namespace(ROWS, 1, |_, rows| Ok(rows));
        reg.inbound_stage("carbons:unwrap", Position::After(inbound::UNWRAP), unwrap);
        // After encryption, so that servers can read it.
        let looks_at = |message: &Stanza| message.child(ns::CARBONS, "private").is_some();
        reg.outbound_stage_for("carbons:private", Position::After(outbound::ENCRYPT), looks_at, |mut draft, _cx| async move {
            let payloads = &mut draft.message.payloads;
            let is_private = payloads.iter().any(|payload| payload.is("private", ns::CARBONS));
            if is_private && !payloads.iter().any(|payload| payload.is("no-copy", ns::HINTS)) {
                payloads.push(minidom::Element::bare("no-copy", ns::HINTS));
            }
            Ok(draft)
        });
    }

    fn registers_alike(&self) -> bool {
        true
    }

    fn opened<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let offered = cx.rows(ROWS).get(OFFERED).await?.map(|row| row == b"yes");
            let mut state = self.state();
            (state.offered, state.is_remembered) = (offered, offered.is_some());
            Ok(())
        })
    }

    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if !cx.setting::<CarbonSettings>().is_some_and(|settings| settings.enable) {
                return Ok(());
            }
            let remembered = self.state().offered;
            let offered = match remembered {
                Some(offered) => offered,
                None => self.learn(cx).await?,
            };
            if offered {
                self.request(cx);
            }
            Ok(())
        })
    }

    fn session<'a>(&'a self, cx: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.finish().await;
            let is_remembered = self.state().is_remembered;
            let wanted = cx.setting::<CarbonSettings>().is_some_and(|settings| settings.enable);
            // What was remembered may have changed: it is looked at again when nobody waits for it.
            if kind == SessionKind::Fresh && wanted && is_remembered && self.learn(cx).await? && !self.is_enabled() {
                self.request(cx);
                self.finish().await;
            }
            Ok(())
        })
    }

    fn session_lost(&self, _: &Ctx) {
        let mut state = self.state();
        state.enabled = false;
        state.is_remembered = state.offered.is_some();
        let pending = state.pending.take();
        drop(state);
        drop(pending);
    }
}

impl fmt::Debug for CarbonsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarbonsService").field("enabled", &self.is_enabled()).finish_non_exhaustive()
    }
}

/// Takes the message out of a carbon, if it is the account that sends it (XEP-0280 §11).
fn unwrap(draft: &mut InboundDraft, cx: &Ctx) {
    let stanza = draft.stanza();
    let is_carbon = |name| stanza.child(ns::CARBONS, name);
    let Some(carbon) = is_carbon("sent").or_else(|| is_carbon("received")) else { return };
    // In the content of an archive, or of offline storage, there are none.
    let is_from_account = stanza.from_jid().is_some_and(|from| from == cx.account()) && draft.origin() == Origin::Live;
    if !is_from_account {
        tracing::warn!(from = ?stanza.from(), origin = ?draft.origin(), "a forged carbon was discarded");
        return draft.discard("a carbon that the account did not send");
    }
    let (mut message, mut delay) = (None, None);
    for child in carbon.child(ns::FORWARD, "forwarded").into_iter().flat_map(Node::children) {
        match child.name() {
            "message" if child.has_ns(ns::CLIENT) => message = message.or(Some(child)),
            "delay" if child.has_ns(ns::DELAY) => delay = delay.or(Some(child)),
            _ => {}
        }
        // What follows takes a look at the whole message.
        if message.is_some() && delay.is_some() {
            break;
        }
    }
    let message: Option<Stanza> = message.and_then(|message| stanza.inner(message));
    let stamp = delay.and_then(|delay| delay.attr("stamp")).and_then(|stamp| parse_datetime(&stamp));
    match message {
        Some(message) => {
            draft.replace(message, Origin::Carbon);
            if let Some(stamp) = stamp {
                draft.set_stamp(stamp);
            }
        }
        None => draft.discard("a carbon without a message in it"),
    }
}
