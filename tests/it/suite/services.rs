//! What the server and others say of themselves: service discovery, capabilities, ping, version, time, last activity.

use std::time::{Duration, SystemTime};

use xmppkit::error::ErrorKind;
use xmppkit::ext::{Extension, Registrar};
use xmppkit::jid::{BareJid, Jid};
use xmppkit::prelude::*;
use xmppkit::presence::PresenceState;
use xmppkit::xep::push::PushTarget;

use super::{Outcome, TOO_FEW, accounts, client};
use crate::support::{Failure, ServerUnderTest};

const CAPS: &str = "http://jabber.org/protocol/caps";
const CSI: &str = "urn:xmpp:csi:0";
const PUSH: &str = "urn:xmpp:push:0";

pub(super) async fn the_server_and_the_account_say_what_they_are(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let client = client(server, &account)?.build().await?;
    client.connect().await?;
    let host: BareJid = server.domain.parse()?;
    let info = client.disco().server().await?;
    assert!(info.is("server", "im") && info.supports("http://jabber.org/protocol/disco#info"), "{info:?}");
    let own = client.disco().account().await?;
    assert!(own.is("account", "registered"), "{own:?}");
    for item in client.disco().items(host.clone()).limit(50).await? {
        assert!(!item.jid.domain().is_empty());
    }
    // What it announces in its stream features is the hash of what it says.
    let features = client.stream_features().ok_or("online without features")?;
    if let Some(c) = features.child(CAPS, "c") {
        let key = format!("sha-1 {}", c.attr("ver").ok_or("no hash")?);
        assert!(client.store().caps(&key).await?.is_some(), "{key}: {info:?}");
        assert_eq!(client.caps().get(&host.into()), Some(info));
    }
    client.close().await;
    Ok(Outcome::Passed)
}

/// A program of its own, by what it can do.
struct Game;

impl Extension for Game {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.feature("urn:example:game");
        reg.form_field("urn:example:game#form", "boards", ["9x9", "19x19"]);
    }
}

pub(super) async fn a_contacts_capabilities_are_verified_and_known(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([one, other]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &one)?.build().await?, client(server, &other)?.with(Game).build().await?);
    juliet.on(|request: SubscriptionRequest| async move { request.accept_and_subscribe().await }).detach();
    romeo.on(|request: SubscriptionRequest| async move { request.accept().await }).detach();
    romeo.connect().await?;
    juliet.connect().await?;
    let (r, j) = (romeo.jid().ok_or("no address")?, juliet.jid().ok_or("no address")?);
    romeo.roster().add(juliet.account().clone()).and_subscribe().await?;
    let is_known = |client: &Client, jid: &Jid| {
        client.caps().watch().wait_for({
            let jid = jid.clone();
            move |state| state.get(&jid).is_some()
        })
    };
    is_known(&romeo, &j.clone().into()).await?;
    is_known(&juliet, &r.clone().into()).await?;
    let info = romeo.disco().info(j.clone()).await?;
    assert!(info.supports("urn:example:game"), "{info:?}");
    assert_eq!(info.form("urn:example:game#form").ok_or("no form")?.values("boards"), ["19x19", "9x9"]);
    assert_eq!(*info, juliet.disco().own()?);
    assert!(!juliet.disco().supports(r.clone(), "urn:example:game").await?);
    let presence = romeo.presence().best(juliet.account()).ok_or("she is not there")?;
    let c = presence.stanza().child(CAPS, "c").ok_or("not announced")?;
    let key = format!("sha-1 {}", c.attr("ver").ok_or("no hash")?);
    assert!(romeo.store().caps(&key).await?.is_some(), "it is verified");

    // And what contacts tell each other by their servers.
    assert!(romeo.ping(j.clone()).await?.supported);
    assert_eq!(romeo.software_version(j.clone()).await?.name, "xmppkit");
    assert_eq!(romeo.entity_time(j.clone()).await?.offset, 0);
    juliet.last_activity().used_now()?;
    assert!(romeo.last_activity().of(j).await?.ago < Duration::from_secs(60));

    romeo.roster().remove(juliet.account()).await?;
    juliet.roster().remove(romeo.account()).await?;
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn the_server_answers_ping_version_time_and_last_activity(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let client = client(server, &account)?.build().await?;
    client.connect().await?;
    let host: BareJid = server.domain.parse()?;
    let info = client.disco().server().await?;
    let pong = client.ping_server().await?;
    assert_eq!(pong.supported, info.supports("urn:xmpp:ping"));
    let mut offered = 0;
    if info.supports("jabber:iq:version") {
        offered += 1;
        let version = client.software_version(host.clone()).await?;
        assert!(!version.name.is_empty() && !version.version.is_empty(), "{version:?}");
    }
    if info.supports("urn:xmpp:time") {
        offered += 1;
        let time = client.entity_time(host.clone()).await?;
        let now = SystemTime::now();
        let apart = now.duration_since(time.time).or_else(|_| time.time.duration_since(now))?;
        // A server that is not on this machine may have another clock.
        assert!(!server.registers() || apart < Duration::from_secs(600), "{time:?}");
    }
    if info.supports("jabber:iq:last") {
        offered += 1;
        client.last_activity().of(host).await?;
    }
    client.close().await;
    Ok(if offered > 0 { Outcome::Passed } else { Outcome::Skipped("it offers none but ping") })
}

/// A server that knows that nobody is looking may let what can wait do so; it comes when somebody looks again.
pub(super) async fn a_client_says_that_nobody_is_looking(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &romeo)?.build().await?, client(server, &juliet)?.build().await?);
    let mut at_juliet = juliet.messages().events();
    romeo.connect().await?;
    juliet.connect().await?;
    if juliet.stream_features().is_none_or(|features| features.child(CSI, "csi").is_none()) {
        return Ok(Outcome::Skipped("it does not offer client states"));
    }
    let address = juliet.jid().ok_or("not bound")?;
    for inactive in [true, false] {
        juliet.set_inactive(inactive).await?;
        juliet.ping_server().await?;
        romeo.presence().send_to(address.clone()).status(format!("inactive: {inactive}")).await?;
        romeo.chat(juliet.account()).send("Wake up!").await?;
        let message = at_juliet.next().await.ok_or("the subscription ended")?;
        assert_eq!(message.body().as_deref(), Some("Wake up!"));
    }
    let expected = "inactive: false";
    let seen = |state: &PresenceState| state.best(romeo.account()).is_some_and(|p| p.status().as_deref() == Some(expected));
    juliet.presence().watch().wait_for(seen).await?;
    juliet.close().await;
    romeo.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn push_notifications_are_switched_on_and_off(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let client = client(server, &account)?.build().await?;
    client.connect().await?;
    let service: BareJid = "push.invalid".parse()?;
    let target = PushTarget::new(service.clone()).node("n1").secret("s1");
    let offered = client.disco().account().await?.supports(PUSH) || client.disco().server().await?.supports(PUSH);
    match client.push().enable(target.clone()).await {
        Ok(()) => assert_eq!(client.push().targets(), [target]),
        Err(error) if !offered && matches!(error.kind(), ErrorKind::Stanza(_)) => {
            client.close().await;
            return Ok(Outcome::Skipped("it does not offer push notifications"));
        }
        Err(error) => return Err(error.into()),
    }
    client.push().disable(&service, Some("n1")).await?;
    assert_eq!(client.push().targets(), []);
    client.close().await;
    Ok(Outcome::Passed)
}
