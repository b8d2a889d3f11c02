//! The main job, as cases of the suite: an account, contacts, presence, messages, through streams and through handlers.

use std::time::Duration;

use futures::{Stream, StreamExt};
use xmppkit::client::{Client, Milestone};
use xmppkit::error::{ErrorKind, RegisterError};
use xmppkit::event::{Incoming, Origin};
use xmppkit::ext::{Ctx, Observed};
use xmppkit::jid::BareJid;
use xmppkit::messaging::{Bounce, ChatMessage, Direction, Messages};
use xmppkit::presence::{Presences, Show};
use xmppkit::register::Registers;
use xmppkit::roster::{Rosters, Subscription, SubscriptionRequest};
use xmppkit::xmpp_parsers::roster::Roster;

use crate::suite::{Outcome, TOO_FEW, accounts, client};
use crate::support::{Account, Failure, ServerUnderTest};

/// The longest wait for something another client did.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| format!("waited in vain for {what}").into())
}

/// Reads a watched state until it is as wanted.
async fn until<S: xmppkit::ext::Observe>(
    what: &str,
    watch: impl Stream<Item = Observed<S>>,
    wanted: impl Fn() -> bool,
) -> Result<(), Failure> {
    tokio::pin!(watch);
    within(what, async {
        while !wanted() {
            if watch.next().await.is_none() {
                return;
            }
        }
    })
    .await
}

async fn online(server: &ServerUnderTest, account: &Account) -> Result<Client, Failure> {
    let client = client(server, account)?.build().await?;
    client.connect().await?;
    Ok(client)
}

fn bare(account: &Account) -> Result<BareJid, Failure> {
    Ok(account.jid().parse()?)
}

/// What a case that failed may have left is taken away, so that accounts that are given can be used by the next. Contacts
/// that were there before the run are none of these: with them the suite does not begin.
async fn forget(client: &Client, contact: &BareJid) -> Result<(), Failure> {
    if client.roster().get(contact).is_some() {
        client.roster().remove(contact).await?;
        until("the removal", client.roster().watch(), || client.roster().get(contact).is_none()).await?;
    }
    Ok(())
}

pub(crate) async fn registration_and_login_are_one_call(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    if !server.registers() {
        return Ok(Outcome::Skipped("accounts are given, not registered"));
    }
    let account = server.fresh_account();
    let first = client(server, &account)?.build().await?;
    first.register().await?;
    assert!(first.state().is_online());
    assert_eq!(first.jid().map(|jid| jid.to_bare().to_string()), Some(account.jid()));
    first.close().await;

    let again = client(server, &account)?.build().await?;
    let Err(error) = again.register().await else { return Err("one account was registered twice".into()) };
    assert_eq!(error.kind(), &ErrorKind::Register(RegisterError::Conflict), "{error}");
    // The account is there all the same.
    again.connect().await?;
    again.close().await;
    Ok(Outcome::Passed)
}

pub(crate) async fn a_contact_is_asked_accepts_and_is_seen_per_resource(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let (romeo_jid, juliet_jid) = (bare(&romeo)?, bare(&juliet)?);
    let phone = client(server, &juliet)?.build().await?;
    let mut requests = phone.subscribe::<SubscriptionRequest>().events();
    phone.connect().await?;
    let romeo = online(server, &romeo).await?;
    forget(&romeo, &juliet_jid).await?;
    forget(&phone, &romeo_jid).await?;

    romeo.roster().add(juliet_jid.clone()).name("Juliet").group("Capulets").and_subscribe().await?;
    let request = within("the request", requests.next()).await?.ok_or("no request")?;
    assert_eq!(request.from(), &romeo_jid);
    request.accept_and_subscribe().await?;

    // Both see one another: romeo accepts the request that came back, unless the server did.
    let mut back = romeo.subscribe::<SubscriptionRequest>().events();
    let request = match romeo.roster().pending_requests().into_iter().next() {
        Some(request) => request,
        None => within("the request back", back.next()).await?.ok_or("no request")?,
    };
    request.accept().await?;
    let both = || romeo.roster().get(&juliet_jid).is_some_and(|contact| contact.subscription() == Subscription::Both);
    until("the subscription", romeo.roster().watch(), both).await?;
    let contact = romeo.roster().get(&juliet_jid).ok_or("no contact")?;
    assert_eq!((contact.name(), contact.is_in_group("Capulets")), (Some("Juliet"), true));

    // A second resource, each with a presence of its own.
    let desk = online(server, &juliet).await?;
    desk.presence().set(Show::Away).status("at the desk").priority(1).await?;
    let seen = || {
        let resources = romeo.presence().of(&juliet_jid);
        resources.len() == 2 && resources.iter().any(|resource| resource.show() == Show::Away)
    };
    until("both resources", romeo.presence().watch(), seen).await?;
    let away = romeo.presence().of(&juliet_jid).into_iter().find(|resource| resource.show() == Show::Away).ok_or("gone")?;
    assert_eq!((away.status().as_deref(), away.priority()), (Some("at the desk"), 1));
    assert_eq!(romeo.presence().best(&juliet_jid).map(|best| best.jid().clone()), Some(desk.jid().ok_or("unbound")?.into()));
    desk.close().await;
    until("one resource", romeo.presence().watch(), || romeo.presence().of(&juliet_jid).len() == 1).await?;

    forget(&romeo, &juliet_jid).await?;
    forget(&phone, &romeo_jid).await?;
    romeo.close().await;
    phone.close().await;
    Ok(Outcome::Passed)
}

pub(crate) async fn a_contact_is_renamed_regrouped_and_removed_on_every_client(
    server: &ServerUnderTest,
) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let juliet = bare(&juliet)?;
    let (phone, desk) = (online(server, &romeo).await?, online(server, &romeo).await?);
    forget(&phone, &juliet).await?;
    phone.roster().add(juliet.clone()).name("J.").await?;
    until("the contact", desk.roster().watch(), || desk.roster().get(&juliet).is_some()).await?;
    desk.roster().rename(&juliet, "Juliet <&> 朱丽叶").await?;
    let renamed = || phone.roster().get(&juliet).is_some_and(|contact| contact.name() == Some("Juliet <&> 朱丽叶"));
    until("the new name", phone.roster().watch(), renamed).await?;
    desk.roster().set_groups(&juliet, ["Verona", "R&D"]).await?;
    let grouped = || phone.roster().get(&juliet).is_some_and(|contact| contact.is_in_group("R&D") && contact.groups().len() == 2);
    until("the groups", phone.roster().watch(), grouped).await?;
    desk.roster().remove(&juliet).await?;
    until("the removal", phone.roster().watch(), || phone.roster().get(&juliet).is_none()).await?;
    phone.close().await;
    desk.close().await;
    Ok(Outcome::Passed)
}

pub(crate) async fn a_chat_goes_both_ways_by_stream_and_by_handler(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let (romeo_jid, juliet_jid) = (bare(&romeo)?, bare(&juliet)?);
    let juliet = client(server, &juliet)?.build().await?;
    juliet
        .on(|message: ChatMessage, _cx: Ctx| async move {
            let heard = message.body().unwrap_or_default().into_owned();
            message.reply(format!("I heard {heard}")).await
        })
        .detach();
    juliet.connect().await?;
    let romeo = client(server, &romeo)?.build().await?;
    let mut replies = romeo.messages();
    romeo.connect().await?;
    let sent = romeo.chat(&juliet_jid).send("a lark").await?;
    let Some(Incoming::Item(reply)) = within("the reply", replies.next()).await? else { return Err("no reply".into()) };
    assert_eq!(reply.body().as_deref(), Some("I heard a lark"));
    assert_eq!((reply.direction(), reply.conversation()), (Direction::Incoming, juliet_jid.clone().into()));
    assert_eq!(reply.from().to_bare(), juliet_jid);
    within("the token", sent.wait_for(Milestone::Written)).await??;

    // A message to nobody comes back, and its token knows.
    let nobody: BareJid = format!("nobody-{}", romeo_jid).parse()?;
    let mut bounces = romeo.subscribe::<Bounce>().events();
    let lost = romeo.chat(&nobody).send("hello?").await?;
    within("the bounce", bounces.next()).await?.ok_or("no bounce")?;
    assert!(lost.status().bounced.is_some());
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(crate) async fn a_message_sent_to_an_offline_account_is_there_at_the_next_login(
    server: &ServerUnderTest,
) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let romeo = online(server, &romeo).await?;
    let sent = romeo.chat(&bare(&juliet)?).send("read this later").await?;
    within("the token", sent.wait_for(Milestone::Written)).await??;
    // The server has worked it off once it answers what came after it.
    romeo.iq_get(None, &Roster { ver: None, items: Vec::new() }).await?;
    let juliet = client(server, &juliet)?.build().await?;
    let mut messages = juliet.messages();
    juliet.connect().await?;
    let Some(Incoming::Item(message)) = within("the message", messages.next()).await? else { return Err("none".into()) };
    assert_eq!((message.body().as_deref(), message.origin()), (Some("read this later"), Origin::Offline));
    assert!(message.delay().is_some());
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

/// The second login of a client whose store has the roster transfers none of it, where the server has versions.
pub(crate) async fn a_roster_that_has_not_changed_is_not_sent_again(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let juliet = bare(&juliet)?;
    let received = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let log = std::sync::Arc::clone(&received);
    let romeo = client(server, &romeo)?
        .xml_log(move |direction, xml| {
            if direction == xmppkit::client::XmlDirection::Received {
                log.lock().unwrap().push_str(xml);
            }
        })
        .build()
        .await?;
    romeo.connect().await?;
    forget(&romeo, &juliet).await?;
    romeo.roster().add(juliet.clone()).name("A name to look for").await?;
    until("the contact", romeo.roster().watch(), || romeo.roster().get(&juliet).is_some()).await?;
    romeo.close().await;
    received.lock().unwrap().clear();
    romeo.connect().await?;
    let versions = received.lock().unwrap().contains("urn:xmpp:features:rosterver");
    assert!(romeo.roster().get(&juliet).is_some_and(|contact| contact.name() == Some("A name to look for")));
    let sent_again = received.lock().unwrap().contains("A name to look for");
    assert!(!versions || !sent_again, "the server has versions and sent the roster again");
    forget(&romeo, &juliet).await?;
    romeo.close().await;
    Ok(if versions { Outcome::Passed } else { Outcome::Skipped("the server has no roster versions") })
}
