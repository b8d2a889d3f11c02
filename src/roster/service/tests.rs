mod failing;
mod linear;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{FutureExt, StreamExt};
use jid::BareJid;

use failing::Failing;

use crate::client::Client;
use crate::error::ErrorKind;
use crate::ext::{Observe, Observed, Watch};
use crate::roster::contact::{ReadItem, read_item};
use crate::roster::{Contact, RosterChange, RosterService, RosterState, Rosters, Subscription, SubscriptionRequest};
use crate::store::{Batch, MemoryStore, Store};
use crate::xml::Frame;

fn jid(text: &str) -> BareJid {
    text.parse().unwrap()
}

fn contact(attributes: &str) -> Contact {
    let frame = Frame::parse(&format!("<item xmlns='jabber:iq:roster' {attributes}/>")).unwrap();
    match read_item(frame.root()) {
        Some(ReadItem::Is(contact)) => contact,
        other => panic!("{other:?}"),
    }
}

async fn offline(store: &Arc<MemoryStore>) -> Client {
    Client::builder(jid("juliet@example.org")).password("x").store(Arc::clone(store) as Arc<dyn Store>).build().await.unwrap()
}

async fn push(client: &Client, attributes: &str, items: &str) -> Result<(), String> {
    let xml = format!(
        "<iq xmlns='jabber:client' type='set' id='1'{attributes}><query xmlns='jabber:iq:roster' ver='v1'>{items}</query></iq>"
    );
    let stanza = Frame::parse(&xml).unwrap().stanza().unwrap();
    let service = client.ext::<RosterService>().unwrap();
    match service.push(&stanza, &client.ctx()).await {
        Ok(_) => Ok(()),
        Err(refusal) => Err(format!("{refusal:?}")),
    }
}

/// What the watcher sees now, without waiting.
fn seen(watch: &mut Watch<RosterState>) -> Vec<Observed<RosterState>> {
    std::iter::from_fn(|| watch.next().now_or_never().flatten()).collect()
}

#[test]
fn a_picture_made_of_changes_is_the_roster() {
    // The model is a list searched from the end; the seed is fixed, so that a failure can be seen again.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let mut state = RosterState::default();
    let mut model: Vec<(BareJid, Option<Contact>)> = Vec::new();
    for step in 0..2_000 {
        let address = jid(&format!("c{}@example.org", next(40)));
        let change = if next(4) == 0 {
            model.push((address.clone(), None));
            RosterChange::Removed(address)
        } else {
            let new = contact(&format!("jid='{address}' name='{step}'"));
            model.push((address, Some(new.clone())));
            RosterChange::Contact(new)
        };
        state.apply(&change);
    }
    let mut expected: Vec<Contact> = Vec::new();
    for n in 0..40 {
        let address = jid(&format!("c{n}@example.org"));
        expected.extend(model.iter().rev().find(|(jid, _)| *jid == address).and_then(|(_, contact)| contact.clone()));
    }
    expected.sort_by(|a, b| a.jid().cmp(b.jid()));
    assert_eq!(state.contacts().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(state.len(), expected.len());
}

#[tokio::test]
async fn a_push_is_believed_only_from_the_own_account() {
    let client = offline(&Arc::default()).await;
    let item = "<item jid='nurse@example.org'/>";
    for from in ["mallory@example.org", "example.org", "juliet@example.org/balcony", "juliet@example.com", "", "@"] {
        let refusal = push(&client, &format!(" from='{from}'"), item).await.unwrap_err();
        assert!(refusal.contains("service-unavailable"), "{from}: {refusal}");
        assert!(client.roster().contacts().is_empty(), "{from}");
    }
    // Also where it is malformed: a stranger learns nothing.
    assert!(push(&client, " from='mallory@example.org'", "").await.unwrap_err().contains("service-unavailable"));
    push(&client, "", item).await.unwrap();
    push(&client, " from='JULIET@example.org'", "<item jid='friar@example.org'/>").await.unwrap();
    assert_eq!(client.roster().contacts().len(), 2);
}

#[tokio::test]
async fn a_push_that_says_nothing_new_is_not_seen() {
    let client = offline(&Arc::default()).await;
    let mut watch = client.roster().watch();
    let item = "<item jid='nurse@example.org' name='Nurse' subscription='to'><group>Servants</group></item>";
    push(&client, "", item).await.unwrap();
    push(&client, "", item).await.unwrap();
    push(&client, "", "<item jid='ghost@example.org' subscription='remove'/>").await.unwrap();
    push(&client, "", "<item jid='nurse@example.org' subscription='remove'/>").await.unwrap();
    let seen = seen(&mut watch);
    let [Observed::Reset(_), Observed::Change(RosterChange::Contact(nurse)), Observed::Change(RosterChange::Removed(gone))] =
        &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!((nurse.subscription(), nurse.is_in_group("Servants")), (Subscription::To, true));
    assert_eq!(nurse.jid(), gone);
}

#[tokio::test]
async fn pushes_are_stored_and_there_before_the_next_login() {
    let store: Arc<MemoryStore> = Arc::default();
    let client = offline(&store).await;
    push(&client, "", "<item jid='nurse@example.org' name='N&amp;'><group>&lt;S&gt;</group><x xmlns='urn:more'/></item>")
        .await
        .unwrap();
    push(&client, "", "<item jid='friar@example.org'/>").await.unwrap();
    push(&client, "", "<item jid='friar@example.org' subscription='remove'/>").await.unwrap();
    assert_eq!(client.store().roster().await.unwrap().version.as_deref(), Some("v1"));
    let contacts = client.roster().contacts();
    drop(client);
    let client = offline(&store).await;
    assert_eq!(client.roster().contacts(), contacts);
    assert_eq!(client.roster().get(&jid("nurse@example.org")).unwrap().name(), Some("N&"));
    assert_eq!(client.ext::<RosterService>().unwrap().lock().version.as_deref(), Some("v1"));
}

#[tokio::test]
async fn a_stored_contact_that_cannot_be_read_makes_the_roster_come_anew() {
    let store: Arc<MemoryStore> = Arc::default();
    let account = store.open_account(&jid("juliet@example.org")).await.unwrap();
    let items = vec![(jid("a@b"), "<item xmlns='jabber:iq:roster' jid='a@b'/>".into()), (jid("c@d"), "rubbish".into())];
    account.apply(Batch::new().replace_roster(Some("v9".into()), items)).await.unwrap();
    drop(account);
    let client = offline(&store).await;
    assert_eq!(client.roster().contacts().len(), 1);
    assert_eq!(client.ext::<RosterService>().unwrap().lock().version, None);
}

#[tokio::test]
async fn a_whole_roster_is_a_reset_only_if_it_is_another_one() {
    let client = offline(&Arc::default()).await;
    let service = client.ext::<RosterService>().unwrap();
    let mut watch = client.roster().watch();
    let query = |items: &str| Frame::parse(&format!("<query xmlns='jabber:iq:roster' ver='v2'>{items}</query>")).unwrap();
    let two = "<item jid='a@b' subscription='both'/><item jid='c@d'/><item jid='@'/><item jid='e@f' subscription='remove'/>";
    for _ in 0..2 {
        service.replace(query(two).root(), &client.ctx()).await.unwrap();
    }
    service.replace(query("").root(), &client.ctx()).await.unwrap();
    let sizes: Vec<usize> = seen(&mut watch)
        .into_iter()
        .map(|item| match item {
            Observed::Reset(state) => state.len(),
            Observed::Change(change) => panic!("{change:?}"),
        })
        .collect();
    assert_eq!(sizes, [0, 2, 0]);
    assert!(client.store().roster().await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_own_change_shows_at_once_unless_a_push_has_said_more() {
    let client = offline(&Arc::default()).await;
    let service = client.ext::<RosterService>().unwrap();
    let nurse = jid("nurse@example.org");
    let named = |name: &'static str| {
        move |contact: Option<Contact>| Some(contact.unwrap_or_else(|| Contact::new(jid("nurse@example.org"))).with_name(name))
    };

    let edit = service.edit(&nurse).await;
    edit.done(named("mine"));
    assert_eq!(service.get(&nurse).unwrap().name(), Some("mine"));

    let edit = service.edit(&nurse).await;
    push(&client, "", "<item jid='nurse@example.org' name='theirs'/>").await.unwrap();
    edit.done(named("mine again"));
    assert_eq!(service.get(&nurse).unwrap().name(), Some("theirs"));

    // The next one waits for its turn, sees what the one before did, and a dropped one is in nobody's way.
    let edit = service.edit(&nurse).await;
    let mut waiting = Box::pin(service.edit(&nurse));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(Box::pin(service.edit(&nurse)));
    edit.done(named("first"));
    let second = waiting.await;
    assert_eq!(second.contact().unwrap().name(), Some("first"));
    second.done(|_| None);
    assert_eq!(service.get(&nurse), None);
    assert!(service.lock().edits.is_empty());
}

#[tokio::test]
async fn a_request_ends_when_a_push_says_that_it_was_accepted() {
    let client = offline(&Arc::default()).await;
    let service = client.ext::<RosterService>().unwrap();
    let stanza = Frame::parse("<presence xmlns='jabber:client' type='subscribe' from='romeo@example.net'/>").unwrap();
    let request = SubscriptionRequest::read(&stanza.stanza().unwrap(), client.downgrade()).unwrap();
    service.state().change(RosterChange::Request(request.clone()));
    push(&client, "", "<item jid='romeo@example.net' subscription='to'/>").await.unwrap();
    assert_eq!(client.roster().pending_requests().len(), 1);
    push(&client, "", "<item jid='romeo@example.net' subscription='both'/>").await.unwrap();
    assert_eq!(client.roster().pending_requests().len(), 0);
    assert!(matches!(request.accept().await.unwrap_err().kind(), ErrorKind::NotOnline));
    drop(client);
    assert!(matches!(request.accept().await.unwrap_err().kind(), ErrorKind::ClientClosed));
}

#[tokio::test]
async fn calls_without_a_session_say_so() {
    let client = offline(&Arc::default()).await;
    let (roster, romeo) = (client.roster(), jid("romeo@example.net"));
    let errors = [
        roster.add(romeo.clone()).await.unwrap_err(),
        roster.remove(&romeo).await.unwrap_err(),
        roster.subscribe(&romeo).await.unwrap_err(),
        roster.unsubscribe(&romeo).await.unwrap_err(),
        roster.cancel(&romeo).await.unwrap_err(),
        roster.preapprove(&romeo).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error.kind(), ErrorKind::NotOnline), "{error}");
    }
    assert!(roster.contacts().is_empty());
}

#[tokio::test]
async fn after_a_failed_write_the_store_never_claims_more_than_it_has() {
    let store: Arc<MemoryStore> = Arc::default();
    let broken = Arc::new(AtomicBool::new(false));
    let failing = Arc::new(Failing { inner: store, broken: Arc::clone(&broken) });
    let builder = Client::builder(jid("juliet@example.org")).password("x");
    let client = builder.store(failing as Arc<dyn Store>).build().await.unwrap();
    let service = client.ext::<RosterService>().unwrap();
    let stored = async || client.store().roster().await.unwrap();
    push(&client, "", "<item jid='a@b'/>").await.unwrap();
    assert_eq!(stored().await.version.as_deref(), Some("v1"));

    broken.store(true, Ordering::Relaxed);
    push(&client, "", "<item jid='lost@b'/>").await.unwrap();
    broken.store(false, Ordering::Relaxed);
    let later = "<query xmlns='jabber:iq:roster' ver='v3'><item jid='c@d'/></query>";
    let xml = format!("<iq xmlns='jabber:client' type='set' id='1'>{later}</iq>");
    service.push(&Frame::parse(&xml).unwrap().stanza().unwrap(), &client.ctx()).await.unwrap();
    // It has a@b and c@d, as of v1: whoever reads it asks the server for everything since, lost@b among it.
    assert_eq!((stored().await.items.len(), stored().await.version.as_deref()), (2, Some("v1")));
    assert_eq!(client.roster().contacts().len(), 3);

    // A whole roster makes up for it.
    let whole = "<query xmlns='jabber:iq:roster' ver='v4'><item jid='a@b'/><item jid='c@d'/><item jid='lost@b'/></query>";
    service.replace(Frame::parse(whole).unwrap().root(), &client.ctx()).await.unwrap();
    assert_eq!((stored().await.items.len(), stored().await.version.as_deref()), (3, Some("v4")));
    push(&client, "", "<item jid='e@f'/>").await.unwrap();
    assert_eq!(stored().await.version.as_deref(), Some("v1"));
}
