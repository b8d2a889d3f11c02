//! Cuts: the session goes on, and nothing is lost or comes twice (XEP-0198).

use std::sync::Arc;
use std::time::Duration;

use xmppkit::client::{Milestone, Reconnect, State};
use xmppkit::prelude::*;

use super::archive::settle;
use super::{Outcome, TOO_FEW, accounts, client};
use crate::support::{Breaker, Failure, ServerUnderTest};

const MANAGED: &str = "urn:xmpp:sm:3";

pub(super) async fn a_cut_session_goes_on_and_nothing_is_lost_or_comes_twice(
    server: &ServerUnderTest,
) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let breaker = Breaker::default();
    let pace = Reconnect::default().base(Duration::from_millis(100));
    let romeo = client(server, &romeo)?.connector(Arc::new(breaker.clone())).reconnect(pace).build().await?;
    let juliet = client(server, &juliet)?.build().await?;
    let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
    let mut states = romeo.states();
    romeo.connect().await?;
    juliet.connect().await?;
    if romeo.stream_features().is_none_or(|features| features.child(MANAGED, "sm").is_none()) {
        return Ok(Outcome::Skipped("it has no stream management"));
    }
    let address = romeo.jid();
    let ended = || Failure::from("the subscription ended");
    let to_romeo = juliet.chat(romeo.account());
    let to_juliet = romeo.chat(juliet.account());

    for round in 0..3 {
        to_romeo.send(format!("{round}: before")).await?;
        let before = at_romeo.next().await.ok_or_else(ended)?;
        assert_eq!(before.body().as_deref(), Some(format!("{round}: before").as_str()));
        // Still on its way when the connection breaks, or not: it arrives once.
        let in_flight = to_juliet.send(format!("{round}: in flight")).await?;
        breaker.cut();
        while !matches!(states.next().await, Some(State::Suspended { .. })) {}
        assert_eq!(romeo.jid(), address, "the session is still there");
        for number in 0..3 {
            to_romeo.send(format!("{round}: {number}")).await?;
        }
        // ejabberd routes what is on its way to a session anew while that is resumed, behind what came later: it has these first.
        settle(&juliet).await?;
        let held = to_juliet.send(format!("{round}: held")).await?;
        breaker.mend();
        romeo.network_changed();
        loop {
            match states.next().await.ok_or_else(ended)? {
                State::Online { resumed, .. } => {
                    assert!(resumed, "the session was lost");
                    break;
                }
                State::Failed(error) => return Err(error.into()),
                _ => {}
            }
        }
        assert_eq!(romeo.jid(), address);
        for number in 0..3 {
            let message = at_romeo.next().await.ok_or_else(ended)?;
            assert_eq!(message.body().as_deref(), Some(format!("{round}: {number}").as_str()));
        }
        for expected in ["in flight", "held"] {
            let message = at_juliet.next().await.ok_or_else(ended)?;
            assert_eq!(message.body().as_deref(), Some(format!("{round}: {expected}").as_str()));
        }
        in_flight.wait_for(Milestone::Acked).await?;
        held.wait_for(Milestone::Acked).await?;
    }
    juliet.close().await;
    romeo.close().await;
    Ok(Outcome::Passed)
}
