//! History on a real server: what came while away, the archive itself, and the account's other clients.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use xmppkit::archive::{ArchiveSettings, Archives, CatchUp, HistoryMessage};
use xmppkit::client::Client;
use xmppkit::error::ErrorKind;
use xmppkit::event::Incoming;
use xmppkit::jid::Jid;
use xmppkit::messaging::{ChatMessage, Direction, Messages};
use xmppkit::store::MemoryStore;
use xmppkit::xep::carbons::CarbonCopies;
use xmppkit::xmpp_parsers::ping::Ping;

use super::{Outcome, TOO_FEW, accounts, client};
use crate::support::{Account, Failure, ServerUnderTest};

/// The longest wait for something another client did.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| format!("waited in vain for {what}").into())
}

/// A client of this account with this store, not connected yet; pages are small, so that there are some.
async fn with_store(server: &ServerUnderTest, account: &Account, store: &Arc<MemoryStore>) -> Result<Client, Failure> {
    let builder = client(server, account)?.store(Arc::clone(store) as _).setting(ArchiveSettings::new().page_size(3));
    Ok(builder.build().await?)
}

async fn caught_up(client: &Client) -> Result<CatchUp, Failure> {
    let done = |state: &CatchUp| !matches!(state, CatchUp::Waiting | CatchUp::Running);
    Ok(within("the catch-up", client.archive().catch_up().wait_for(done)).await??)
}

/// The server has seen what was sent so far, and what it sent has arrived.
pub(super) async fn settle(client: &Client) -> Result<(), Failure> {
    let domain: Jid = client.account().domain().as_str().parse()?;
    for _ in 0..2 {
        client.iq_get(Some(domain.clone()), &Ping).await?;
    }
    Ok(())
}

/// What the texts of one run of a case begin with: accounts that are given have talked before, and archives keep it.
fn mark() -> Result<String, Failure> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros().to_string())
}

async fn texts(messages: impl futures::Stream<Item = xmppkit::Result<HistoryMessage>>) -> Result<Vec<String>, Failure> {
    let messages: Vec<_> = within("messages", messages.collect::<Vec<_>>()).await?;
    messages.into_iter().map(|message| Ok(message?.body().unwrap_or_default().into_owned())).collect()
}

/// Those of this run.
async fn texts_of(
    mark: &str,
    messages: impl futures::Stream<Item = xmppkit::Result<HistoryMessage>>,
) -> Result<Vec<String>, Failure> {
    Ok(texts(messages).await?.into_iter().filter(|text| text.starts_with(mark)).collect())
}

pub(super) async fn what_was_sent_while_away_comes_exactly_once_and_in_order(
    server: &ServerUnderTest,
) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let store = Arc::new(MemoryStore::new());
    let first = with_store(server, &juliet, &store).await?;
    drop(first.messages().durable("ui").await?);
    first.connect().await?;
    caught_up(&first).await?;
    settle(&first).await?;
    first.close().await;
    drop(first);

    let mark = mark()?;
    let expected: Vec<String> = (0..8).map(|n| format!("{mark} {n}")).collect();
    let sender = client(server, &romeo)?.build().await?;
    sender.connect().await?;
    for text in &expected {
        sender.chat(&juliet.jid().parse()?).send(text.as_str()).await?;
    }
    settle(&sender).await?;

    let second = with_store(server, &juliet, &store).await?;
    let mut durable = second.messages().durable("ui").await?;
    let mut live = second.messages().events();
    second.connect().await?;
    let state = caught_up(&second).await?;
    settle(&second).await?;
    sender.chat(second.account()).send(format!("{mark} last")).await?;
    let is_ours = |message: &ChatMessage| message.body().is_some_and(|body| body.starts_with(&mark));
    let last = format!("{mark} last");
    for (what, in_order) in [("durable", true), ("live", false)] {
        let mut seen = Vec::new();
        while seen.last() != Some(&last) {
            let message = match what {
                "durable" => match within("an item", durable.next()).await? {
                    Some(Incoming::Item(item)) => {
                        item.ack().await?;
                        item.into_inner()
                    }
                    other => return Err(format!("{other:?}").into()),
                },
                _ => within("a message", live.next()).await?.ok_or("the subscription ended")?,
            };
            if is_ours(&message) {
                seen.push(message.body().unwrap_or_default().into_owned());
            }
        }
        if !in_order {
            // Offline storage and the archive bring them in an order of their own.
            seen[..8].sort();
        }
        assert_eq!(seen[..8], expected, "{what}");
    }
    let from_romeo = second.archive().messages().with(sender.account()).text(mark.as_str());
    assert_eq!(texts(from_romeo.forwards()).await?.len(), 9, "each is in the log once");
    second.close().await;
    sender.close().await;
    match state {
        CatchUp::Complete => Ok(Outcome::Passed),
        CatchUp::NoArchive => Ok(Outcome::Skipped("no archive; offline storage alone brought them")),
        other => Err(format!("{other:?}").into()),
    }
}

pub(super) async fn the_log_is_what_the_archive_of_the_server_is(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let (romeo, juliet) = (client(server, &romeo)?.build().await?, client(server, &juliet)?.build().await?);
    let mut at_juliet = juliet.messages().events();
    let mut at_romeo = romeo.messages().events();
    juliet.connect().await?;
    romeo.connect().await?;
    if !matches!(caught_up(&juliet).await?, CatchUp::Complete) {
        return Ok(Outcome::Skipped("no archive"));
    }
    let (begin, mark) = (SystemTime::now() - Duration::from_secs(60), mark()?);
    for n in 0..6 {
        romeo.chat(juliet.account()).send(format!("{mark} question {n}")).await?;
        let question = within("a question", at_juliet.next()).await?.ok_or("the subscription ended")?;
        question.reply(format!("{mark} answer {n}")).await?;
        within("an answer", at_romeo.next()).await?.ok_or("the subscription ended")?;
    }
    settle(&juliet).await?;
    let local = texts_of(&mark, juliet.archive().messages().with(romeo.account()).forwards()).await?;
    assert_eq!(local.len(), 12, "{local:?}");

    let archive = juliet.archive().server();
    let query = || archive.query().with(romeo.account()).start(begin).page_size(5);
    // Some servers write to their archive a moment after they deliver.
    let mut fetched = Vec::new();
    for _ in 0..50 {
        fetched = texts_of(&mark, query().forwards()).await?;
        if fetched.len() >= 12 {
            break;
        }
        settle(&juliet).await?;
    }
    assert_eq!(fetched, local);
    let mut backwards = texts_of(&mark, query().backwards()).await?;
    backwards.reverse();
    assert_eq!(backwards, local);
    let again = texts_of(&mark, juliet.archive().messages().with(romeo.account()).forwards()).await?;
    assert_eq!(again, local, "nothing is there twice");

    // From a known id on; an unknown one is refused, or (ejabberd, whose ids are times) nothing is behind it.
    let last: Vec<_> = juliet.archive().messages().with(romeo.account()).backwards().take(1).collect().await;
    let id = last.into_iter().next().ok_or("no message")??.archive_ids().first().map(|id| id.id.clone()).ok_or("no id")?;
    assert_eq!(texts(archive.query().after_id(&*id).forwards()).await?, [""; 0]);
    let unknown = within("an answer", archive.query().after_id("no-such-id").forwards().next()).await?;
    if let Some(Err(error)) = unknown {
        assert!(matches!(error.kind(), ErrorKind::Stanza(_)), "{error}");
    }
    let fields = archive.fields().await?;
    assert!(["with", "start", "end"].iter().all(|field| fields.contains(*field)), "{fields:?}");
    romeo.close().await;
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn preferences_and_metadata_are_told_or_typed_errors(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let juliet = client(server, &account)?.build().await?;
    juliet.connect().await?;
    if !matches!(caught_up(&juliet).await?, CatchUp::Complete) {
        return Ok(Outcome::Skipped("no archive"));
    }
    let archive = juliet.archive().server();
    match archive.metadata().await {
        Ok(metadata) => assert_eq!(metadata.first.is_some(), metadata.last.is_some(), "{metadata:?}"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::NotOffered(_)), "{error}"),
    }
    let before = match archive.preferences().await {
        Ok(before) => before,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Stanza(_)), "{error}");
            return Ok(Outcome::Skipped("no preferences"));
        }
    };
    let mut wanted = before.clone();
    let never: Jid = format!("nobody@{}", server.domain).parse()?;
    wanted.never.push(never.clone());
    archive.set_preferences(&wanted).await?;
    assert!(archive.preferences().await?.never.contains(&never));
    archive.set_preferences(&before).await?;
    assert_eq!(archive.preferences().await?, before);
    juliet.close().await;
    Ok(Outcome::Passed)
}

pub(super) async fn two_clients_of_one_account_see_the_same_conversation(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([romeo, juliet]) = accounts(server).await? else { return TOO_FEW };
    let (phone, desk) = (client(server, &juliet)?.build().await?, client(server, &juliet)?.build().await?);
    let romeo = client(server, &romeo)?.build().await?;
    let (mut on_phone, mut on_desk) = (phone.messages().events(), desk.messages().events());
    for client in [&phone, &desk, &romeo] {
        client.connect().await?;
        caught_up(client).await?;
        settle(client).await?;
    }
    if !phone.carbons().is_enabled() || !desk.carbons().is_enabled() {
        return Ok(Outcome::Skipped("no carbons"));
    }
    let (begin, mark) = (SystemTime::now() - Duration::from_secs(60), mark()?);
    let (both, from_the_desk) = (format!("{mark} Both?"), format!("{mark} From the desk"));
    romeo.chat(&juliet.jid().parse()?).send(both.as_str()).await?;
    for client in [&mut on_phone, &mut on_desk] {
        let message = within("the message", client.next()).await?.ok_or("the subscription ended")?;
        assert_eq!((message.body().as_deref(), message.direction()), (Some(both.as_str()), Direction::Incoming));
    }
    desk.chat(romeo.account()).send(from_the_desk.as_str()).await?;
    let message = within("the carbon", on_phone.next()).await?.ok_or("the subscription ended")?;
    assert_eq!((message.body().as_deref(), message.direction()), (Some(from_the_desk.as_str()), Direction::Outgoing));
    assert_eq!((message.contact(), message.origin()), (romeo.account().clone(), xmppkit::event::Origin::Carbon));
    settle(&phone).await?;
    settle(&desk).await?;
    let mut logs = Vec::new();
    for client in [&phone, &desk] {
        logs.push(texts_of(&mark, client.archive().messages().with(romeo.account()).forwards()).await?);
    }
    assert_eq!(logs, [[both.as_str(), &from_the_desk], [both.as_str(), &from_the_desk]]);
    // And once more from the archive.
    let archive = phone.archive().server().query().with(romeo.account()).start(begin).forwards();
    if let Ok(fetched) = texts_of(&mark, archive).await {
        assert!(fetched.iter().all(|text| logs[0].contains(text)), "{fetched:?} {:?}", logs[0]);
    }
    assert_eq!(texts_of(&mark, phone.archive().messages().with(romeo.account()).forwards()).await?, logs[0]);
    for client in [phone, desk, romeo] {
        client.close().await;
    }
    Ok(Outcome::Passed)
}
