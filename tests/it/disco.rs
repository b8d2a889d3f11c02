//! Service discovery on the in-process server: what a client says it is.

use xmppkit::client::Client;
use xmppkit::error::ErrorKind;
use xmppkit::ext::{Extension, Registrar};
use xmppkit::jid::Jid;
use xmppkit::testing::Builder;
use xmppkit::xep::disco::ClientIdentity;
use xmppkit::xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult, DiscoItemsQuery, DiscoItemsResult};

use crate::common::{builder, in_every_dialect, online};

in_every_dialect![a_client_says_what_its_extensions_declare,];

struct Weather;

impl Extension for Weather {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.feature("urn:example:weather");
        reg.identity("automation", "command-list", "Forecasts");
        reg.node("urn:example:weather#stations", ["urn:example:station"]);
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
    assert_eq!(identities, [("client", "bot", Some("Weather")), ("automation", "command-list", Some("Forecasts"))]);
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

    let said = info(&bot, &plain, None).await.expect("an answer");
    let identities: Vec<_> = said.identities.iter().map(|i| (i.category.as_str(), i.type_.as_str(), i.name.as_deref())).collect();
    assert_eq!(identities, [("client", "pc", Some("xmppkit"))]);
}
