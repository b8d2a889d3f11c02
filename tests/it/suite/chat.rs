//! What the main job leaves out: a registration with the form in between, and where messages go.

use xmppkit::client::Milestone;
use xmppkit::messaging::{ChatState, ChatStateEvent, MessagingSettings};
use xmppkit::prelude::*;

use super::contacts::befriended;
use super::{Outcome, TOO_FEW, accounts, client};
use crate::support::{Failure, ServerUnderTest};

pub(super) async fn a_registration_form_is_filled_in_while_the_server_waits(
    server: &ServerUnderTest,
) -> Result<Outcome, Failure> {
    if !server.registers() {
        return Ok(Outcome::Skipped("accounts are given, not registered"));
    }
    let account = server.fresh_account();
    let client = client(server, &account)?.build().await?;
    let form = client.registration().await?;
    assert!(form.form().field("username").is_some() && form.missing().next().is_none(), "{form:?}");
    form.submit().await?;
    assert!(client.state().is_online());
    client.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn a_conversation_is_locked_to_the_resource_that_replied(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &romeo)?.build().await?, client(server, &juliet)?.build().await?);
    let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
    romeo.connect().await?;
    juliet.connect().await?;
    let ended = || Failure::from("the subscription ended");

    let chat = romeo.chat(juliet.account());
    assert_eq!(chat.address(), *juliet.account());
    chat.send("Art thou there?").thread("t1").await?;
    let question = at_juliet.next().await.ok_or_else(ended)?;
    assert_eq!(question.body().as_deref(), Some("Art thou there?"));
    question.reply("Ay me!").await?;
    let reply = at_romeo.next().await.ok_or_else(ended)?;
    assert_eq!((reply.body().as_deref(), reply.thread().map(|thread| thread.id).as_deref()), (Some("Ay me!"), Some("t1")));
    assert_eq!(chat.address(), *reply.from());
    chat.send("She speaks!").await?;
    let answer = at_juliet.next().await.ok_or_else(ended)?;
    assert_eq!((answer.body().as_deref(), answer.to()), (Some("She speaks!"), juliet.jid().map(Into::into)));
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn messages_are_confirmed_both_ways(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let settings = MessagingSettings::new().request_markers(true);
    let romeo = client(server, &romeo)?.setting(settings.clone()).build().await?;
    let juliet = client(server, &juliet)?.setting(settings).build().await?;
    let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
    befriended(&romeo, &juliet).await?;
    let sent = romeo.chat(juliet.account()).send("Art thou there?").await?;
    sent.wait_for(Milestone::Received).await?;
    assert_eq!(sent.status().received.map(|receipt| receipt.by), juliet.jid().map(Jid::from));
    let question = at_juliet.next().await.ok_or("the subscription ended")?;
    question.mark_displayed().await?.ok_or("it was markable")?;
    sent.wait_for(Milestone::Displayed).await?;
    assert_eq!(sent.status().displayed.map(|receipt| receipt.by), juliet.jid().map(Jid::from));

    let answer = question.reply("Ay me!").await?;
    answer.wait_for(Milestone::Received).await?;
    at_romeo.next().await.ok_or("the subscription ended")?.mark_displayed().await?.ok_or("it was markable")?;
    answer.wait_for(Milestone::Displayed).await?;
    assert!(sent.status().bounced.is_none() && answer.status().bounced.is_none());
    romeo.roster().remove(juliet.account()).await?;
    juliet.roster().remove(romeo.account()).await?;
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn typing_is_told(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &romeo)?.build().await?, client(server, &juliet)?.build().await?);
    let mut states = juliet.subscribe::<ChatStateEvent>().events();
    let mut offline = juliet.messages().events();
    befriended(&romeo, &juliet).await?;
    let chat = romeo.chat(juliet.account());
    for state in [ChatState::Composing, ChatState::Paused] {
        assert!(chat.send_state(state).await?);
        let told = states.next().await.ok_or("the subscription ended")?;
        assert_eq!((told.state, told.from.to_bare()), (state, romeo.account().clone()));
    }
    // Nobody is told later what somebody was doing.
    juliet.close().await;
    assert!(chat.send_state(ChatState::Composing).await?);
    chat.send("Good night").await?;
    juliet.connect().await?;
    let message = offline.next().await.ok_or("the subscription ended")?;
    assert_eq!(message.body().as_deref(), Some("Good night"));
    assert!(futures::FutureExt::now_or_never(states.next()).is_none());
    romeo.roster().remove(juliet.account()).await?;
    juliet.roster().remove(romeo.account()).await?;
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}
