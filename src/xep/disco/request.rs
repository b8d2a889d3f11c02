//! What is asked, and how the answers are read.

use std::collections::HashSet;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jid::Jid;
use xmpp_parsers::disco::{DiscoInfoQuery, DiscoItemsQuery, Item};
use xmpp_parsers::rsm::SetQuery;

use crate::client::{Client, Reply, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::ext::Ctx;
use crate::xep::disco::{DiscoService, Info};
use crate::xml::{Node, ns};

/// Items asked for at a time (XEP-0059).
const PAGE: usize = 100;
/// Items taken where no other limit is set.
const MAX_ITEMS: usize = 10_000;

/// Asks what somebody is and can do, when it is awaited; see [`Disco::info`](crate::xep::disco::Disco::info).
#[must_use = "nothing is asked until it is awaited"]
pub struct InfoRequest {
    // Not a client: one that is dropped while it waits for an answer must not live until it comes.
    cx: Ctx,
    service: Option<Arc<DiscoService>>,
    jid: Jid,
    node: Option<String>,
    fresh: bool,
    timeout: Option<Duration>,
}

impl InfoRequest {
    pub(super) fn new(client: &Client, service: Option<Arc<DiscoService>>, jid: Jid) -> Self {
        Self { cx: client.ctx(), service, jid, node: None, fresh: false, timeout: None }
    }

    /// Asks about one of their nodes (XEP-0030 §3.2). It is always asked for.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Asks, though it may be known.
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// How long to wait in all; default as for every [request](Client::iq_get), and where a hash of
    /// [capabilities](crate::xep::caps) has to be looked into, longer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl IntoFuture for InfoRequest {
    type Output = Result<Arc<Info>>;
    type IntoFuture = BoxFuture<'static, Result<Arc<Info>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { cx, service, jid, node, fresh, timeout } = self;
            let service = service.ok_or(ErrorKind::ExtensionMissing("DiscoService"))?;
            if node.is_some() || fresh {
                return DiscoService::ask(&cx, &jid, node, timeout).await.map(Arc::new);
            }
            // Others may wait for the same answer, with more patience.
            let info = service.info(jid, &cx);
            match timeout {
                Some(timeout) => {
                    let late = |_| Err(ErrorKind::RequestTimeout(timeout).into());
                    tokio::time::timeout(timeout, info).await.unwrap_or_else(late)
                }
                None => info.await,
            }
        })
    }
}

impl fmt::Debug for InfoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InfoRequest").field("jid", &self.jid.as_str()).field("node", &self.node).finish_non_exhaustive()
    }
}

/// Asks for somebody's items, when it is awaited; see [`Disco::items`](crate::xep::disco::Disco::items).
///
/// Long lists come in pages (XEP-0059) where the other side makes them; the result has all of them, up to the limit. An
/// item whose address is no JID is left out.
#[must_use = "nothing is asked until it is awaited"]
pub struct ItemsRequest {
    cx: Ctx,
    present: bool,
    jid: Jid,
    node: Option<String>,
    limit: usize,
    timeout: Option<Duration>,
}

impl ItemsRequest {
    pub(super) fn new(client: &Client, present: bool, jid: Jid) -> Self {
        Self { cx: client.ctx(), present, jid, node: None, limit: MAX_ITEMS, timeout: None }
    }

    /// Asks for the items of one of their nodes (XEP-0030 §4.2).
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// How many items to take at most; default 10,000. What comes beyond is left out.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How long to wait for each page; default as for every [request](Client::iq_get).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<Vec<Item>> {
        if !self.present {
            return Err(ErrorKind::ExtensionMissing("DiscoService").into());
        }
        let mut items: Vec<Item> = Vec::new();
        let mut pages = HashSet::new();
        let mut after = None;
        while items.len() < self.limit {
            let max = Some(PAGE.min(self.limit - items.len()));
            let rsm = Some(SetQuery { max, after, before: None, index: None });
            let payload = DiscoItemsQuery { node: self.node.clone(), rsm };
            let reply = timed(self.cx.client().iq_get(address(&self.cx, &self.jid), &payload), self.timeout).await?;
            let query = payload_of(&reply, ns::DISCO_ITEMS)?;
            let before = items.len();
            items.extend(query.children().filter(|child| child.is(ns::DISCO_ITEMS, "item")).filter_map(read_item));
            // Without a last item everything was said; the same one again would go round in circles.
            let last =
                query.child(ns::RSM, "set").and_then(|set| set.child(ns::RSM, "last")).map(|last| last.text().into_owned());
            match last {
                Some(last) if items.len() > before && pages.insert(last.clone()) => after = Some(last),
                _ => break,
            }
        }
        items.truncate(self.limit);
        Ok(items)
    }
}

impl IntoFuture for ItemsRequest {
    type Output = Result<Vec<Item>>;
    type IntoFuture = BoxFuture<'static, Result<Vec<Item>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for ItemsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemsRequest").field("jid", &self.jid.as_str()).field("node", &self.node).finish_non_exhaustive()
    }
}

impl DiscoService {
    /// Asks, whatever is known.
    ///
    /// # Errors
    /// See [`Disco`](crate::xep::disco::Disco).
    pub async fn ask(cx: &Ctx, jid: &Jid, node: Option<String>, timeout: Option<Duration>) -> Result<Info> {
        let request = timed(cx.client().iq_get(address(cx, jid), &DiscoInfoQuery { node }), timeout);
        let reply = request.await?;
        payload_of(&reply, ns::DISCO_INFO).map(Info::read)
    }
}

/// The own account is addressed without an address (RFC 6120 §8.1.2.1).
fn address(cx: &Ctx, jid: &Jid) -> Option<Jid> {
    (*jid != *cx.account()).then(|| jid.clone())
}

fn timed(request: Request, timeout: Option<Duration>) -> Request {
    match timeout {
        Some(timeout) => request.timeout(timeout),
        None => request,
    }
}

fn payload_of<'a>(reply: &'a Reply, ns: &str) -> Result<Node<'a>> {
    reply.stanza().child(ns, "query").ok_or_else(|| {
        let kind = ErrorKind::Payload { ns: ns.to_owned(), name: "query".to_owned() };
        Error::new(kind).with_context("the reply has none")
    })
}

fn read_item(node: Node<'_>) -> Option<Item> {
    let jid = Jid::new(&node.attr("jid")?).ok()?;
    let text = |name| node.attr(name).map(std::borrow::Cow::into_owned);
    Some(Item { jid, node: text("node"), name: text("name") })
}
