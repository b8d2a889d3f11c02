//! Presence on the in-process server: per resource, our own, directed, resets.

use futures::StreamExt;
use xmppkit::client::Client;
use xmppkit::error::ErrorKind;
use xmppkit::ext::{Observe, Observed, Watch};
use xmppkit::jid::{BareJid, Jid};
use xmppkit::presence::{PresenceChange, PresenceState, PresenceUpdate, Presences, Show};
use xmppkit::testing::{Builder, Cut, Server, Target};

use crate::common::{builder, client, in_every_dialect, online, server, within};

in_every_dialect![
    contacts_are_seen_per_resource_and_the_best_first,
    updates_are_events_whose_picture_is_there_already,
    own_presence_is_told_again_in_each_session,
    a_client_that_is_unavailable_comes_online_unseen,
    a_client_without_initial_presence_says_what_the_application_chose,
    directed_presence_reaches_a_stranger_and_ends_with_us,
    a_lost_session_is_one_reset,
];

async fn until(what: &str, watch: &mut Watch<PresenceState>, mut condition: impl FnMut(&PresenceState) -> bool) -> PresenceState {
    let mut picture = PresenceState::default();
    within(what, async {
        loop {
            match watch.next().await.expect("presence lives") {
                Observed::Reset(state) => picture = state,
                Observed::Change(change) => picture.apply(&change),
                _ => {}
            }
            if condition(&picture) {
                return picture;
            }
        }
    })
    .await
}

async fn settled(what: &str, client: &Client, condition: impl FnMut(&PresenceState) -> bool) -> PresenceState {
    until(what, &mut client.presence().watch(), condition).await
}

async fn friends(server: Builder) -> Server {
    let server = server.start().await.expect("a server");
    server.befriend(&server.jid("romeo").expect("a JID"), &server.jid("juliet").expect("a JID"));
    server
}

async fn device(server: &Server, name: &str, resource: &str) -> Client {
    let client = builder(server, name).resource(resource).build().await.expect("a client");
    client.connect().await.expect("online");
    client
}

fn says(from: &str, to: impl std::fmt::Display, rest: &str) -> String {
    format!("<presence xmlns='jabber:client' from='{from}' to='{to}' {rest}</presence>")
}

async fn contacts_are_seen_per_resource_and_the_best_first(server: Builder) {
    let server = friends(server).await;
    let juliet = online(&server, "juliet").await;
    let romeo: BareJid = server.jid("romeo").expect("a JID");
    let mut watch = juliet.presence().watch();
    assert!(juliet.presence().best(&romeo).is_none());

    let phone = device(&server, "romeo", "phone").await;
    let laptop = device(&server, "romeo", "laptop").await;
    until("two resources", &mut watch, |state| state.of(&romeo).len() == 2).await;
    phone.presence().set(Show::Away).status("walking").status_in("it", "a passeggio").priority(5).await.expect("set");
    laptop.presence().set(Show::Chat).priority(-1).await.expect("set");
    let state = settled("both to say it", &juliet, |state| {
        state.of(&romeo).len() == 2 && state.of(&romeo)[0].priority() == 5 && state.of(&romeo)[1].priority() == -1
    })
    .await;
    let [best, other] = state.of(&romeo) else { panic!("two resources") };
    assert_eq!(best.jid(), &Jid::from(phone.jid().expect("bound")));
    assert_eq!((best.show(), best.status().as_deref()), (Show::Away, Some("walking")));
    assert_eq!(best.status_in("IT").as_deref(), Some("a passeggio"));
    assert_eq!((other.show(), other.status()), (Show::Chat, None));
    assert_eq!(juliet.presence().of(&romeo).len(), 2);

    // The priority stays; the words go with the next ones.
    phone.presence().available().await.expect("set");
    let state =
        settled("the phone to be back", &juliet, |state| state.best(&romeo).is_some_and(|r| r.show() == Show::Available)).await;
    let best = state.best(&romeo).expect("a resource");
    assert_eq!((best.priority(), best.status()), (5, None));

    phone.close().await;
    let state = settled("the phone to be gone", &juliet, |state| state.of(&romeo).len() == 1).await;
    assert_eq!(state.best(&romeo).expect("a resource").jid(), &Jid::from(laptop.jid().expect("bound")));
    laptop.close().await;
    settled("nobody", &juliet, |state| state.of(&romeo).is_empty()).await;
}

async fn updates_are_events_whose_picture_is_there_already(server: Builder) {
    let server = friends(server).await;
    let juliet = client(&server, "juliet").await;
    let romeo: BareJid = server.jid("romeo").expect("a JID");
    let mut updates = juliet.subscribe::<PresenceUpdate>().events().filter({
        let romeo = romeo.clone();
        move |update| std::future::ready(update.from().to_bare() == romeo)
    });
    juliet.connect().await.expect("online");
    let phone = device(&server, "romeo", "phone").await;
    let update = within("romeo", updates.next()).await.expect("an event");
    assert!(update.is_available() && update.show() == Some(Show::Available));
    assert!(juliet.presence().best(&romeo).is_some());
    phone.presence().unavailable().status("good night").await.expect("sent");
    let update = within("his farewell", updates.next()).await.expect("an event");
    assert_eq!((update.is_available(), update.show(), update.status().as_deref()), (false, None, Some("good night")));
    assert!(juliet.presence().best(&romeo).is_none());
    assert!(phone.state().is_online());
    assert!(!phone.presence().own().is_available());
}

async fn own_presence_is_told_again_in_each_session(server: Builder) {
    let server = friends(server).await;
    let (romeo, juliet) = (client(&server, "romeo").await, online(&server, "juliet").await);
    // Before connecting: initial presence says it, and nothing else is sent.
    romeo.presence().set(Show::Dnd).status("fencing").priority(7).await.expect("kept");
    romeo.connect().await.expect("online");
    let busy = |state: &PresenceState| {
        state
            .best(romeo.account())
            .is_some_and(|r| r.show() == Show::Dnd && r.priority() == 7 && r.status().as_deref() == Some("fencing"))
    };
    settled("romeo to be busy", &juliet, busy).await;
    assert_eq!(presences_sent(&server, &romeo), 1);

    let mut states = romeo.states();
    let jid = romeo.jid().expect("bound");
    server.forget_sessions();
    server.cut(&jid, Cut::Rst);
    settled("romeo to be cut off", &juliet, |state| state.of(romeo.account()).is_empty()).await;
    within("offline", async { while states.next().await.is_some_and(|state| state.is_online()) {} }).await;
    within("online again", async { while !states.next().await.expect("a state").is_online() {} }).await;
    settled("romeo to be busy again", &juliet, busy).await;
    assert_ne!(romeo.jid(), Some(jid));
}

async fn a_client_that_is_unavailable_comes_online_unseen(server: Builder) {
    let server = friends(server).await;
    let (romeo, juliet) = (client(&server, "romeo").await, online(&server, "juliet").await);
    romeo.presence().unavailable().await.expect("kept");
    romeo.connect().await.expect("online");
    let session = |s: &Server| s.sessions().into_iter().find(|info| info.jid.to_bare() == *romeo.account()).expect("a session");
    assert!(session(&server).interested && !session(&server).available);
    assert_eq!(presences_sent(&server, &romeo), 0);
    romeo.presence().available().await.expect("sent");
    settled("romeo to be seen", &juliet, |state| state.best(romeo.account()).is_some()).await;
}

async fn a_client_without_initial_presence_says_what_the_application_chose(server: Builder) {
    let server = friends(server).await;
    let quiet = builder(&server, "romeo").without_initial_presence().build().await.expect("a client");
    quiet.connect().await.expect("online");
    // The session hooks have run when the client has answered a request sent after it came online.
    let jid = quiet.jid().expect("bound");
    let probe = format!(
        "<iq xmlns='jabber:client' type='get' id='p' to='{jid}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    );
    server.send_stanza(&jid, &probe).expect("sent");
    within("the answer", server.wait_for(|s| s.received(&jid).iter().any(|xml| xml.contains("id='p'")))).await;
    assert_eq!(presences_sent(&server, &quiet), 0);
    quiet.presence().set(Show::Xa).await.expect("sent");
    within("it", server.wait_for(|s| s.sessions().iter().any(|info| info.available))).await;
}

async fn directed_presence_reaches_a_stranger_and_ends_with_us(server: Builder) {
    let server = server.start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    romeo.presence().set(Show::Away).status("in the garden").await.expect("set");
    romeo.presence().send_to(juliet.account().clone()).await.expect("sent");
    let state = settled("romeo", &juliet, |state| state.best(romeo.account()).is_some()).await;
    let best = state.best(romeo.account()).expect("a resource");
    assert_eq!((best.show(), best.status().as_deref()), (Show::Away, Some("in the garden")));
    romeo.presence().send_to(juliet.jid().expect("bound")).show(Show::Chat).status("at her window").await.expect("sent");
    settled("him to chat", &juliet, |state| state.best(romeo.account()).is_some_and(|r| r.show() == Show::Chat)).await;
    assert_eq!(romeo.presence().own().show(), Show::Away);
    romeo.close().await;
    settled("him to be gone", &juliet, |state| state.of(romeo.account()).is_empty()).await;
    let error = romeo.presence().send_to(juliet.account().clone()).await.expect_err("offline");
    assert!(matches!(error.kind(), ErrorKind::NotOnline));
}

async fn a_lost_session_is_one_reset(server: Builder) {
    let server = friends(server).await;
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    settled("both", &juliet, |state| state.best(romeo.account()).is_some() && state.best(juliet.account()).is_some()).await;
    let mut watch = juliet.presence().watch();
    assert!(matches!(watch.next().await, Some(Observed::Reset(state)) if state.iter().len() == 2));
    server.forget_sessions();
    server.cut(Target::from(juliet.account()), Cut::Rst);
    let stale = within("a change", watch.next()).await;
    assert!(matches!(stale, Some(Observed::Change(PresenceChange::Stale(true)))), "{stale:?}");
    let reset = within("the reset", watch.next()).await;
    assert!(matches!(&reset, Some(Observed::Reset(state)) if *state == PresenceState::default()), "{reset:?}");
    let filled = until("both again", &mut watch, |state| state.iter().len() == 2).await;
    assert!(filled.best(romeo.account()).is_some());
}

#[tokio::test]
async fn a_bounced_presence_says_that_nobody_is_there() {
    let server = friends(server()).await;
    let juliet = client(&server, "juliet").await;
    let mut updates = juliet.subscribe::<PresenceUpdate>().events();
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    let send = |xml: String| server.send_stanza(&jid, &xml).expect("sent");
    for resource in ["a", "b"] {
        send(says(&format!("romeo@example.org/{resource}"), &jid, "><show>away</show>"));
    }
    let error =
        "type='error'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    let romeo: BareJid = "romeo@example.org".parse().expect("a JID");
    settled("both", &juliet, |state| state.of(&romeo).len() == 2).await;
    send(says("romeo@example.org/a", &jid, error));
    settled("one", &juliet, |state| state.of(&romeo).len() == 1).await;
    send(says("romeo@example.org", &jid, error));
    settled("none", &juliet, |state| state.of(&romeo).is_empty()).await;
    let bounced = within("the error", async {
        loop {
            if let Some(error) = updates.next().await.expect("an event").error() {
                return error;
            }
        }
    });
    assert_eq!(bounced.await.condition, "remote-server-not-found");
}

#[tokio::test]
async fn occupants_and_odd_presence_stay_out_of_the_picture() {
    let server = friends(server()).await;
    let juliet = online(&server, "juliet").await;
    let jid = juliet.jid().expect("bound");
    settled("her own", &juliet, |state| state.best(juliet.account()).is_some()).await;
    let mut watch = juliet.presence().watch();
    let send = |xml: String| server.send_stanza(&jid, &xml).expect("sent");
    send(says("room@conference.example.org/nick", &jid, "><x xmlns='http://jabber.org/protocol/muc#user'/>"));
    send(says("@@", &jid, ">"));
    send(says("probe@example.org/x", &jid, "type='probe'>"));
    send(says("odd@example.org/x", &jid, "type='nonsense'>"));
    send(says("romeo@example.org/x", &jid, "><show>online</show><priority>much</priority><status/>"));
    let romeo: BareJid = "romeo@example.org".parse().expect("a JID");
    let state = until("romeo", &mut watch, |state| state.best(&romeo).is_some()).await;
    let best = state.best(&romeo).expect("a resource");
    assert_eq!((best.show(), best.priority(), best.status()), (Show::Available, 0, None));
    let others: Vec<_> = state.iter().map(|(jid, _)| jid.as_str().to_owned()).filter(|jid| !jid.starts_with("juliet")).collect();
    assert_eq!(others, ["romeo@example.org"]);
    // Somebody who is not there cannot leave.
    send(says("ghost@example.org/x", &jid, "type='unavailable'>"));
    send(says("romeo@example.org/x", &jid, "type='unavailable'>"));
    let change = within("romeo to leave", watch.next()).await;
    assert!(matches!(change, Some(Observed::Change(PresenceChange::Unavailable(jid))) if jid.as_str() == "romeo@example.org/x"));
}

#[tokio::test]
async fn strangers_cannot_fill_the_picture() {
    let server = friends(server()).await;
    let juliet = online(&server, "juliet").await;
    let jid = juliet.jid().expect("bound");
    for n in 0..1_100 {
        server.send_stanza(&jid, &says(&format!("s{n}@spam.example/x"), &jid, ">")).expect("sent");
    }
    for n in 0..100 {
        server.send_stanza(&jid, &says(&format!("romeo@example.org/{n}"), &jid, ">")).expect("sent");
    }
    server.send_stanza(&jid, &says("romeo@example.org/0", &jid, "><show>xa</show>")).expect("sent");
    let romeo: BareJid = "romeo@example.org".parse().expect("a JID");
    let last = |state: &PresenceState| state.of(&romeo).iter().any(|r| r.show() == Show::Xa);
    let state = settled("the contact", &juliet, last).await;
    assert_eq!(state.of(&romeo).len(), 64);
    assert_eq!(state.iter().filter(|(jid, _)| jid.domain().as_str() == "spam.example").count(), 1_000);
}

/// How many presence stanzas without an address the client sent.
fn presences_sent(server: &Server, client: &Client) -> usize {
    server.received(client.account()).iter().filter(|xml| xml.starts_with("<presence") && !xml.contains(" to=")).count()
}
