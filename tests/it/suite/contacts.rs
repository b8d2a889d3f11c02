//! Subscriptions and presence beyond the main job: asked while the other is away, ended from either side.

use futures::StreamExt as _;
use xmppkit::client::Client;
use xmppkit::error::ErrorKind;
use xmppkit::ext::{Observe, Observed};
use xmppkit::presence::{PresenceState, Presences, Show};
use xmppkit::roster::{Contact, RosterState, Rosters, Subscription, SubscriptionRequest};
use xmppkit::xmpp_parsers::roster::Roster as RosterQuery;

use super::{Outcome, TOO_FEW, accounts, client};
use crate::support::{Failure, ServerUnderTest};

/// Follows a state until it is like this.
async fn until<S: Observe + Default>(
    mut watch: xmppkit::ext::Watch<S>,
    mut condition: impl FnMut(&S) -> bool,
) -> Result<S, Failure> {
    let mut picture = S::default();
    while !condition(&picture) {
        match watch.next().await.ok_or("the state ended")? {
            Observed::Reset(state) => picture = state,
            Observed::Change(change) => picture.apply(&change),
            _ => {}
        }
    }
    Ok(picture)
}

async fn roster(client: &Client, condition: impl FnMut(&RosterState) -> bool) -> Result<RosterState, Failure> {
    until(client.roster().watch(), condition).await
}

async fn presence(client: &Client, condition: impl FnMut(&PresenceState) -> bool) -> Result<PresenceState, Failure> {
    until(client.presence().watch(), condition).await
}

pub(super) async fn a_request_waits_for_a_contact_who_is_away(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([one, other]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &one)?.build().await?, client(server, &other)?.build().await?);
    let (r, j) = (romeo.account().clone(), juliet.account().clone());
    romeo.connect().await?;

    // Asked while she is offline: the request waits for her at the server.
    romeo.presence().set(Show::Away).status("under the balcony").status_in("it", "sotto il balcone").priority(3).await?;
    romeo.roster().add(j.clone()).name("Juliet").group("Capulets").nick("Romeo").text("It is I").await?;
    roster(&romeo, |state| state.get(&j).is_some_and(Contact::is_asked)).await?;
    let mut requests = juliet.subscribe::<SubscriptionRequest>().events();
    juliet.connect().await?;
    let request = requests.next().await.ok_or("no request")?;
    assert_eq!((request.from(), request.text().as_deref()), (&r, Some("It is I")));
    // ejabberd keeps of a request that has to wait only its text.
    assert!(matches!(request.nick().as_deref(), None | Some("Romeo")), "{:?}", request.nick());
    request.accept_and_subscribe().await?;
    let back = roster(&romeo, |state| state.request(&j).is_some()).await?;
    back.request(&j).ok_or("no request")?.accept().await?;
    for (client, other) in [(&romeo, &j), (&juliet, &r)] {
        let state = roster(client, |state| state.get(other).is_some_and(|c| c.subscription() == Subscription::Both)).await?;
        assert_eq!(state.requests().len(), 0);
    }

    let state = presence(&juliet, |state| state.best(&r).is_some_and(|best| best.show() == Show::Away)).await?;
    let best = state.best(&r).ok_or("not there")?;
    assert_eq!((best.priority(), best.status_in("it").as_deref()), (3, Some("sotto il balcone")));
    let second = client(server, &one)?.build().await?;
    second.presence().set(Show::Chat).priority(-1).await?;
    second.connect().await?;
    let state = presence(&juliet, |state| state.of(&r).len() == 2).await?;
    let priorities: Vec<_> = state.of(&r).iter().map(|resource| resource.priority()).collect();
    assert_eq!(priorities, [3, -1]);

    second.close().await;
    presence(&juliet, |state| state.of(&r).len() == 1).await?;
    romeo.presence().unavailable().status("good night").await?;
    presence(&juliet, |state| state.of(&r).is_empty()).await?;
    romeo.presence().available().await?;
    presence(&romeo, |state| state.best(&j).is_some()).await?;

    juliet.roster().cancel(&r).await?;
    roster(&romeo, |state| state.get(&j).is_some_and(|c| c.subscription() == Subscription::From)).await?;
    presence(&romeo, |state| state.of(&j).is_empty()).await?;
    romeo.roster().remove(&j).await?;
    juliet.roster().remove(&r).await?;
    assert!(romeo.roster().get(&j).is_none() && juliet.roster().get(&r).is_none());
    // ejabberd confirms that who is no contact is none any more.
    if let Err(error) = romeo.roster().remove(&j).await {
        assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "item-not-found"), "{error}");
    }
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

/// Connects two clients and makes their accounts contacts who see each other.
pub(super) async fn befriended(one: &Client, other: &Client) -> Result<(), Failure> {
    for client in [one, other] {
        client.connect().await?;
    }
    for (asks, accepts) in [(one, other), (other, one)] {
        asks.roster().add(accepts.account().clone()).and_subscribe().await?;
        let asked = roster(accepts, |state| state.request(asks.account()).is_some()).await?;
        asked.request(asks.account()).ok_or("no request")?.accept().await?;
        roster(asks, |state| state.get(accepts.account()).is_some_and(|contact| contact.subscription().includes_to())).await?;
    }
    for (client, other) in [(one, other), (other, one)] {
        roster(client, |state| state.get(other.account()).is_some_and(|c| c.subscription() == Subscription::Both)).await?;
    }
    Ok(())
}

pub(super) async fn a_nickname_comes_with_a_request(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([one, other]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &one)?.build().await?, client(server, &other)?.build().await?);
    let mut requests = juliet.subscribe::<SubscriptionRequest>().events();
    juliet.connect().await?;
    romeo.connect().await?;
    romeo.roster().subscribe(juliet.account()).nick("Roméo <&>").text("It is I").await?;
    let request = requests.next().await.ok_or("no request")?;
    assert_eq!((request.from(), request.nick().as_deref()), (romeo.account(), Some("Roméo <&>")));
    assert_eq!(request.text().as_deref(), Some("It is I"));
    request.deny().await?;
    roster(&romeo, |state| state.get(juliet.account()).is_none_or(|contact| !contact.is_asked())).await?;
    assert!(juliet.roster().pending_requests().is_empty());
    if romeo.roster().get(juliet.account()).is_some() {
        romeo.roster().remove(juliet.account()).await?;
    }
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn an_approval_waits_for_its_request(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([one, other]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &one)?.build().await?, client(server, &other)?.build().await?);
    let mut requests = juliet.subscribe::<SubscriptionRequest>().events();
    juliet.connect().await?;
    romeo.connect().await?;
    if let Err(error) = juliet.roster().preapprove(romeo.account()).await {
        assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "feature-not-implemented"), "{error}");
        return Ok(Outcome::Skipped("the server offers no pre-approval"));
    }
    // Prosody keeps the approval and does not show it; it has it when it answers what came after.
    juliet.iq_get(None, &RosterQuery { ver: None, items: Vec::new() }).await?;
    romeo.roster().subscribe(juliet.account()).await?;
    roster(&romeo, |state| state.get(juliet.account()).is_some_and(|c| c.subscription() == Subscription::To)).await?;
    roster(&juliet, |state| state.get(romeo.account()).is_some_and(|c| c.subscription() == Subscription::From)).await?;
    assert!(futures::FutureExt::now_or_never(requests.next()).is_none(), "she is not asked");
    presence(&romeo, |state| state.best(juliet.account()).is_some()).await?;
    juliet.roster().remove(romeo.account()).await?;
    romeo.roster().remove(juliet.account()).await?;
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn directed_presence_ends_with_its_sender(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([one, other]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &one)?.build().await?, client(server, &other)?.build().await?);
    let seen = |show: Show| {
        let romeo = romeo.account();
        move |state: &PresenceState| state.best(romeo).is_some_and(|best| best.show() == show)
    };
    juliet.connect().await?;
    // Her presence is there when the server answers what came after it.
    presence(&juliet, |state| state.best(juliet.account()).is_some()).await?;
    romeo.connect().await?;
    let to = juliet.jid().ok_or("unbound")?;
    romeo.presence().send_to(to.clone()).show(Show::Away).status("in the garden").await?;
    presence(&juliet, seen(Show::Away)).await?;
    assert_eq!(romeo.presence().directed(), [jid::Jid::from(to.clone())]);
    // Unavailable to her alone, and to all.
    romeo.presence().send_to(to.clone()).unavailable().await?;
    presence(&juliet, |state| state.of(romeo.account()).is_empty()).await?;
    romeo.presence().send_to(to.clone()).show(Show::Chat).await?;
    presence(&juliet, seen(Show::Chat)).await?;
    romeo.presence().unavailable().await?;
    presence(&juliet, |state| state.of(romeo.account()).is_empty()).await?;
    assert!(romeo.presence().directed().is_empty());
    // And when the session ends.
    romeo.presence().available().await?;
    romeo.presence().send_to(to).show(Show::Dnd).await?;
    presence(&juliet, seen(Show::Dnd)).await?;
    romeo.close().await;
    presence(&juliet, |state| state.of(romeo.account()).is_empty()).await?;
    juliet.close().await;
    Ok(Outcome::Passed)
}
