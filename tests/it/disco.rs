//! Service discovery on the in-process server: what a client says it is, and what it learns of others.

use std::sync::Arc;

use xmppkit::client::Client;
use xmppkit::error::ErrorKind;
use xmppkit::ext::{Answer, BoxFuture, Ctx, Extension, IqRequest, Registrar};
use xmppkit::jid::{BareJid, Jid};
use xmppkit::testing::{Builder, Dialect, Server, Way};
use xmppkit::xep::caps::CapsService;
use xmppkit::xep::disco::{ClientIdentity, DiscoService, Discos, Info, InfoSource, Item};
use xmppkit::xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult, DiscoItemsQuery, DiscoItemsResult};
use xmppkit::xmpp_parsers::rsm::{First, SetResult};

use crate::common::{builder, in_every_dialect, online, server};

in_every_dialect![a_client_says_what_its_extensions_declare,];

struct Weather;

impl Extension for Weather {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.feature("urn:example:weather");
        reg.identity("automation", "command-list", "Forecasts");
        reg.node("urn:example:weather#stations", ["urn:example:station"]);
        reg.form_field("urn:example:weather#form", "scale", ["celsius", "kelvin"]);
    }
}

async fn info(asking: &Client, to: &Jid, node: Option<&str>) -> xmppkit::Result<DiscoInfoResult> {
    asking.iq_get(to.clone(), &DiscoInfoQuery { node: node.map(Into::into) }).await?.payload()
}

async fn items(asking: &Client, to: &Jid, node: Option<&str>) -> xmppkit::Result<DiscoItemsResult> {
    asking.iq_get(to.clone(), &DiscoItemsQuery { node: node.map(Into::into), rsm: None }).await?.payload()
}

async fn a_client_says_what_its_extensions_declare(server: Builder) {
    let server = server.start().await.expect("a server");
    let bot =
        builder(&server, "juliet").with(Weather).setting(ClientIdentity::new("bot", "Weather")).build().await.expect("a client");
    bot.connect().await.expect("online");
    let romeo = online(&server, "romeo").await;
    let (to, plain) = (Jid::from(bot.jid().expect("bound")), Jid::from(romeo.jid().expect("bound")));

    let said = info(&romeo, &to, None).await.expect("an answer");
    for feature in ["http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "urn:example:weather"] {
        assert!(said.features.contains(feature), "{feature}");
    }
    let identities: Vec<_> = said.identities.iter().map(|i| (i.category.as_str(), i.type_.as_str(), i.name.as_deref())).collect();
    assert_eq!(identities, [("automation", "command-list", Some("Forecasts")), ("client", "bot", Some("Weather"))]);
    let said = info(&romeo, &to, Some("urn:example:weather#stations")).await.expect("an answer");
    assert_eq!(said.node.as_deref(), Some("urn:example:weather#stations"));
    assert_eq!(said.features.into_iter().collect::<Vec<_>>(), ["urn:example:station"]);
    assert!(items(&romeo, &to, None).await.expect("an answer").items.is_empty());
    for error in [
        info(&romeo, &to, Some("nothing")).await.expect_err("no such node"),
        items(&romeo, &to, Some("nothing")).await.expect_err("no such node"),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "item-not-found"), "{error}");
    }

    let said = romeo.disco().info(to.clone()).fresh().await.expect("an answer");
    assert_eq!(*said, bot.disco().own().expect("an extension"));
    assert_eq!(said.form("urn:example:weather#form").expect("a form").values("scale"), ["celsius", "kelvin"]);
    let said = romeo.disco().info(to.clone()).node("urn:example:weather#stations").await.expect("an answer");
    assert!(said.supports("urn:example:station") && said.forms().is_empty());

    let said = info(&bot, &plain, None).await.expect("an answer");
    let identities: Vec<_> = said.identities.iter().map(|i| (i.category.as_str(), i.type_.as_str(), i.name.as_deref())).collect();
    assert_eq!(identities, [("client", "pc", Some("xmppkit"))]);
}

/// How many questions of service discovery an account's clients have asked.
fn asked(server: &Server, name: &str) -> usize {
    let jid = server.jid(name).expect("a JID");
    server.received(jid).iter().filter(|xml| xml.contains("type='get'") && xml.contains("disco#info")).count()
}

#[tokio::test]
async fn the_server_and_the_account_are_asked_once_a_session_by_however_many() {
    for announces_caps in [true, false] {
        for dialect in Dialect::ALL {
            let server = server().dialect(dialect).differences(|d| d.announces_caps = announces_caps).start().await;
            let server = server.expect("a server");
            let romeo = online(&server, "romeo").await;
            let disco = romeo.disco();
            let (one, other) = futures::join!(async { disco.server().await }, async { disco.server().await });
            let (one, other) = (one.expect("an answer"), other.expect("an answer"));
            assert!(one.is("server", "im") && one.supports("urn:xmpp:ping") && Arc::ptr_eq(&one, &other), "{dialect:?}");
            let (one, other) = futures::join!(async { disco.account().await }, async { disco.account().await });
            assert!(one.expect("an answer").is("account", "registered") && other.is_ok(), "{dialect:?}");
            disco.server().await.expect("known");
            disco.account().await.expect("known");
            assert!(disco.supports(romeo.account().clone(), "http://jabber.org/protocol/disco#info").await.expect("known"));
            // Both were asked when the client logged in, or join that question.
            assert_eq!(asked(&server, "romeo"), 2, "{dialect:?}, caps: {announces_caps}");
            disco.account().fresh().await.expect("an answer");
            assert_eq!(asked(&server, "romeo"), 3, "{dialect:?}");

            romeo.close().await;
            romeo.connect().await.expect("online");
            disco.server().await.expect("an answer");
            disco.account().await.expect("an answer");
            // What the server announces is known by its hash.
            assert_eq!(asked(&server, "romeo"), if announces_caps { 4 } else { 5 }, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn an_error_is_an_error() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let juliet = server.jid("juliet").expect("a JID");
    let nobody: Jid = "nobody@example.org/x".parse().expect("a JID");
    for error in [
        romeo.disco().info(juliet.clone()).await.expect_err("no contact"),
        romeo.disco().items(juliet).await.expect_err("no contact"),
        romeo.disco().supports(nobody, "urn:x").await.expect_err("nobody"),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "service-unavailable"), "{error}");
    }
    server.stall(romeo.account().clone(), Way::FromClient);
    let timeout = std::time::Duration::from_millis(50);
    let error = romeo.disco().server().fresh().timeout(timeout).await.expect_err("the network is dead");
    assert_eq!(*error.kind(), ErrorKind::RequestTimeout(timeout));
    let bare = builder(&server, "romeo").without::<DiscoService>().without::<CapsService>().build().await.expect("a client");
    bare.connect().await.expect("online");
    for error in [
        bare.disco().server().await.expect_err("removed"),
        bare.disco().items(server.jid("romeo").expect("a JID")).await.expect_err("removed"),
        bare.disco().own().expect_err("removed"),
    ] {
        assert!(matches!(error.kind(), ErrorKind::ExtensionMissing(_)), "{error}");
    }
}

/// Has 250 rooms and one whose address is none, and shows them page by page, or all at once.
struct Rooms {
    paged: bool,
}

impl Extension for Rooms {
    fn register(&self, reg: &mut Registrar<'_>) {
        let paged = self.paged;
        reg.on_iq_get(move |request: IqRequest<DiscoItemsQuery>, _: Ctx| async move {
            let DiscoItemsQuery { node, rsm } = request.into_payload();
            let rsm = rsm.filter(|_| paged);
            let from =
                rsm.as_ref().and_then(|set| set.after.as_ref()).map_or(0, |after| after.parse::<usize>().expect("ours") + 1);
            let max = rsm.as_ref().and_then(|set| set.max).unwrap_or(usize::MAX);
            let rooms: Vec<usize> = (from..250).take(max).collect();
            let item = |n: &usize| {
                let jid = format!("{n}@rooms.example").parse().expect("a JID");
                Item { jid, node: None, name: Some(format!("Room {n}")) }
            };
            let first = rooms.first().map(|n| First { index: Some(*n), item: n.to_string() });
            let rsm = rsm.map(|_| SetResult { first, last: rooms.last().map(usize::to_string), count: Some(250) });
            Answer::payload(&DiscoItemsResult { node, items: rooms.iter().map(item).collect(), rsm })
        });
    }
}

#[tokio::test]
async fn items_come_whole_whether_in_pages_or_at_once() {
    for (paged, questions) in [(true, 4), (false, 1)] {
        let server = server().start().await.expect("a server");
        let rooms = builder(&server, "juliet").without::<DiscoService>().without::<CapsService>().with(Rooms { paged });
        let rooms = rooms.build().await.expect("a client");
        rooms.connect().await.expect("online");
        let romeo = online(&server, "romeo").await;
        let to = rooms.jid().expect("bound");
        let items = romeo.disco().items(to.clone()).await.expect("an answer");
        let names: Vec<_> = items.iter().filter_map(|item| item.name.clone()).collect();
        assert_eq!(names, (0..250).map(|n| format!("Room {n}")).collect::<Vec<_>>());
        let asked = || server.received(romeo.account().clone()).iter().filter(|xml| xml.contains("disco#items")).count();
        assert_eq!(asked(), questions, "paged: {paged}");
        assert_eq!(romeo.disco().items(to.clone()).limit(120).await.expect("an answer").len(), 120);
        assert_eq!(romeo.disco().items(to).limit(0).await.expect("nothing to ask").len(), 0);
    }
}

/// Knows of one address what it is.
struct Oracle(Jid);

impl InfoSource for Oracle {
    fn info<'a>(&'a self, jid: &'a Jid, _: &'a Ctx) -> BoxFuture<'a, Option<Arc<Info>>> {
        let info = (*jid == self.0).then(|| Arc::new(Info::new([], ["urn:example:oracle".to_owned()], [])));
        Box::pin(std::future::ready(info))
    }
}

#[tokio::test]
async fn a_foreign_source_is_asked_first() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let delphi: Jid = "delphi.example".parse::<BareJid>().expect("a JID").into();
    romeo.ext::<DiscoService>().expect("an extension").add_source(Arc::new(Oracle(delphi.clone())));
    assert!(romeo.disco().supports(delphi.clone(), "urn:example:oracle").await.expect("known"));
    romeo.disco().info(delphi).fresh().await.expect_err("nobody there");
    romeo.disco().server().await.expect("others are asked as before");
}
