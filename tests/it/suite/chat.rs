//! What the main job leaves out: a registration with the form in between, and where messages go.

use xmppkit::prelude::*;

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
