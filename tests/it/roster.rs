//! The roster on the in-process server: contacts, subscriptions, pushes, versions.

use std::sync::Arc;

use futures::StreamExt;
use xmppkit::client::{Client, WeakClient};
use xmppkit::error::ErrorKind;
use xmppkit::event::{Event, Inbound, Route};
use xmppkit::ext::{MAX_BEHIND, Observe, Observed, Watch};
use xmppkit::jid::BareJid;
use xmppkit::roster::{RosterChange, RosterState, Rosters, Subscription, SubscriptionRequest};
use xmppkit::store::MemoryStore;
use xmppkit::testing::{Builder, Contact, Cut, Dialect, Server, Target, Versioning};

use crate::common::{DOMAIN, builder, client, in_every_dialect, online, server, within};

in_every_dialect![
    a_request_is_answered_by_a_handler,
    subscriptions_end_from_either_side,
    a_push_from_somebody_else_changes_nothing,
    a_malformed_push_is_a_bad_request,
    a_request_is_still_there_after_a_restart_until_it_is_answered,
    a_repeated_request_is_reported_once_and_again_after_its_answer,
    a_request_answered_on_another_device_is_gone_here,
];

/// Follows the roster, as an application does, until it looks like this.
async fn until(what: &str, watch: &mut Watch<RosterState>, mut condition: impl FnMut(&RosterState) -> bool) -> RosterState {
    let mut picture = RosterState::default();
    within(what, async {
        loop {
            match watch.next().await.expect("the roster lives") {
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

/// Waits until the client's roster looks like this.
async fn settled(what: &str, client: &Client, condition: impl FnMut(&RosterState) -> bool) -> RosterState {
    until(what, &mut client.roster().watch(), condition).await
}

fn subscription(state: &RosterState, jid: &BareJid) -> Option<Subscription> {
    state.get(jid).map(xmppkit::roster::Contact::subscription)
}

fn condition(error: &xmppkit::Error) -> &str {
    match error.kind() {
        ErrorKind::Stanza(error) => &error.condition,
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn two_accounts_become_contacts_of_each_other() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let (romeo, juliet) = (online(&server, "romeo").await, client(&server, "juliet").await);
        let (r, j) = (romeo.account().clone(), juliet.account().clone());
        let mut requests = juliet.subscribe::<SubscriptionRequest>().events();
        juliet.connect().await.expect("online");

        let add = romeo.roster().add(j.clone()).name("Juliet").group("Capulets").nick("Romeo M.").text("It is I");
        add.await.expect("added");
        let request = within("the request", requests.next()).await.expect("an event");
        assert_eq!(request.from(), &r);
        assert_eq!((request.nick().as_deref(), request.text().as_deref()), (Some("Romeo M."), Some("It is I")));
        assert_eq!(juliet.roster().pending_requests().len(), 1);
        let asked = settled("the question to be noted", &romeo, |state| state.get(&j).is_some_and(|c| c.is_asked())).await;
        assert_eq!(subscription(&asked, &j), Some(Subscription::None));

        request.accept_and_subscribe().await.expect("accepted");
        settled("romeo to see juliet", &romeo, |state| subscription(state, &j) == Some(Subscription::To)).await;
        let back = within("her request", async {
            let mut watch = romeo.roster().watch();
            until("her request", &mut watch, |state| state.request(&j).is_some()).await
        });
        back.await.request(&j).expect("a request").accept().await.expect("accepted");

        for (client, other) in [(&romeo, &j), (&juliet, &r)] {
            let state = settled("both to see each other", client, |state| {
                subscription(state, other) == Some(Subscription::Both) && state.requests().len() == 0
            });
            assert!(!state.await.get(other).expect("a contact").is_asked());
        }
        let contact = romeo.roster().get(&j).expect("a contact");
        assert_eq!((contact.name(), contact.groups().collect::<Vec<_>>()), (Some("Juliet"), vec!["Capulets"]));
        romeo.close().await;
        juliet.close().await;
    }
}

async fn a_request_is_answered_by_a_handler(server: Builder) {
    let server = server.start().await.expect("a server");
    let juliet = client(&server, "juliet").await;
    juliet.on(|request: SubscriptionRequest| async move { request.deny().await }).detach();
    juliet.connect().await.expect("online");
    let romeo = online(&server, "romeo").await;
    let mut watch = romeo.roster().watch();
    romeo.roster().subscribe(juliet.account()).await.expect("asked");
    until("the question", &mut watch, |state| state.get(juliet.account()).is_some_and(|c| c.is_asked())).await;
    until("the denial", &mut watch, |state| state.get(juliet.account()).is_some_and(|c| !c.is_asked())).await;
    assert_eq!(romeo.roster().get(juliet.account()).expect("a contact").subscription(), Subscription::None);
    settled("the request to be gone", &juliet, |state| state.requests().len() == 0).await;
}

#[tokio::test]
async fn contacts_are_renamed_grouped_and_removed() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let (romeo, other) = (online(&server, "romeo").await, online(&server, "romeo").await);
        let nurse: BareJid = format!("nurse@{DOMAIN}").parse().expect("a JID");
        let roster = romeo.roster();

        roster.add(nurse.clone()).await.expect("added");
        assert_eq!(roster.get(&nurse).expect("there at once").name(), None);
        // One after the other, without waiting for a push: neither undoes the other.
        roster.rename(&nurse, "Nurse").await.expect("renamed");
        roster.set_groups(&nurse, ["Servants", "Friends"]).await.expect("grouped");
        roster.add(nurse.clone()).name("The nurse").await.expect("changed");
        let contact = roster.get(&nurse).expect("a contact");
        assert_eq!((contact.name(), contact.groups().collect::<Vec<_>>()), (Some("The nurse"), vec!["Friends", "Servants"]));
        let kept = server.roster(romeo.account());
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].name.as_deref(), kept[0].groups.len()), (Some("The nurse"), 2));
        let seen = settled("the other device to see it", &other, |state| {
            state.get(&nurse).is_some_and(|c| c.name() == Some("The nurse") && c.is_in_group("Friends"))
        });
        assert_eq!(seen.await.groups().into_iter().collect::<Vec<_>>(), ["Friends", "Servants"]);

        roster.rename(&nurse, "").await.expect("renamed");
        assert_eq!(roster.get(&nurse).expect("a contact").name(), None);
        roster.remove(&nurse).await.expect("removed");
        assert_eq!(roster.get(&nurse), None);
        settled("the other device to see it gone", &other, RosterState::is_empty).await;
        assert_eq!(condition(&roster.remove(&nurse).await.expect_err("gone")), "item-not-found");
        assert_eq!(condition(&roster.rename(&nurse, "x").await.expect_err("gone")), "item-not-found");
    }
}

async fn subscriptions_end_from_either_side(server: Builder) {
    let server = server.start().await.expect("a server");
    server.befriend(&server.jid("romeo").expect("a JID"), &server.jid("juliet").expect("a JID"));
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    assert_eq!(romeo.roster().get(juliet.account()).expect("a contact").subscription(), Subscription::Both);
    romeo.roster().unsubscribe(juliet.account()).await.expect("sent");
    settled("romeo no longer sees her", &romeo, |s| subscription(s, juliet.account()) == Some(Subscription::From)).await;
    settled("and she knows", &juliet, |s| subscription(s, romeo.account()) == Some(Subscription::To)).await;
    romeo.roster().cancel(juliet.account()).await.expect("sent");
    settled("she no longer sees him", &juliet, |s| subscription(s, romeo.account()) == Some(Subscription::None)).await;
}

#[tokio::test]
async fn an_approval_in_advance_answers_the_request() {
    let server = server().differences(|d| d.pre_approval = true).start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    juliet.roster().preapprove(romeo.account()).await.expect("sent");
    settled("the approval", &juliet, |s| s.get(romeo.account()).is_some_and(|c| c.is_approved())).await;
    romeo.roster().subscribe(juliet.account()).await.expect("asked");
    settled("romeo sees her", &romeo, |s| subscription(s, juliet.account()) == Some(Subscription::To)).await;
    assert!(juliet.roster().pending_requests().is_empty());
}

#[tokio::test]
async fn a_server_that_keeps_no_approvals_is_not_asked_to() {
    let server = server().differences(|d| d.pre_approval = false).start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let romeo = server.jid("romeo").expect("a JID");
    assert_eq!(condition(&juliet.roster().preapprove(&romeo).await.expect_err("refused")), "feature-not-implemented");
    assert!(!server.received(juliet.account()).iter().any(|stanza| stanza.contains("subscribed")));
}

async fn a_push_from_somebody_else_changes_nothing(server: Builder) {
    let server = server.start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let jid = juliet.jid().expect("bound");
    let own = juliet.account().clone();
    let push = |from: &str, id: &str, contact: &str| {
        format!(
            "<iq xmlns='jabber:client' type='set' id='{id}' {from} to='{jid}'><query xmlns='jabber:iq:roster'>\
             <item jid='{contact}' subscription='both'/></query></iq>"
        )
    };
    let mut watch = juliet.roster().watch();
    let spoofs = [
        ("from='mercutio@example.org/street'".to_owned(), "s1"),
        (format!("from='{DOMAIN}'"), "s2"),
        (format!("from='{jid}'"), "s3"),
        ("from='juliet@example.org.evil.example'".to_owned(), "s4"),
        ("from='@@'".to_owned(), "s5"),
    ];
    for (from, id) in &spoofs {
        server.send_stanza(&jid, &push(from, id, "tybalt@example.org")).expect("sent");
    }
    server.send_stanza(&jid, &push("", "g1", "nurse@example.org")).expect("sent");
    server.send_stanza(&jid, &push(&format!("from='{}'", own.as_str().to_uppercase()), "g2", "friar@example.org")).expect("sent");
    let state = until("the real pushes", &mut watch, |state| state.len() == 2).await;
    assert!(state.get(&"tybalt@example.org".parse().expect("a JID")).is_none());

    let answers = |server: &Server| server.received(&jid).into_iter().filter(|xml| xml.starts_with("<iq")).collect::<Vec<_>>();
    let replied = |server: &Server, id: &str| answers(server).into_iter().find(|xml| xml.contains(&format!("id='{id}'")));
    within(
        "every answer",
        server.wait_for(|s| spoofs.iter().all(|(_, id)| replied(s, id).is_some()) && replied(s, "g2").is_some()),
    )
    .await;
    for (from, id) in &spoofs {
        let answer = replied(&server, id).expect("an answer");
        assert!(answer.contains("type='error'") && answer.contains("<service-unavailable"), "{from}: {answer}");
    }
    for id in ["g1", "g2"] {
        assert!(replied(&server, id).is_some_and(|answer| answer.contains("type='result'")), "{id}");
    }
}

async fn a_malformed_push_is_a_bad_request(server: Builder) {
    let server = server.start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let jid = juliet.jid().expect("bound");
    for (id, items) in [
        ("m1", ""),
        ("m2", "<item jid='a@b'/><item jid='c@d'/>"),
        ("m3", "<item/>"),
        ("m4", "<item jid='a@b/full'/>"),
        ("m5", "<item jid='@b'/>"),
    ] {
        let push = format!("<iq xmlns='jabber:client' type='set' id='{id}'><query xmlns='jabber:iq:roster'>{items}</query></iq>");
        server.send_stanza(&jid, &push).expect("sent");
        let refused = |xml: &String| xml.contains(&format!("id='{id}'")) && xml.contains("<bad-request");
        within(id, server.wait_for(|s| s.received(&jid).iter().any(refused))).await;
    }
    assert!(juliet.roster().contacts().is_empty());
}

#[tokio::test]
async fn a_second_login_with_nothing_changed_transfers_no_contact() {
    let server = server().start().await.expect("a server");
    let romeo = server.jid("romeo").expect("a JID");
    for n in 0..500 {
        let jid: BareJid = format!("contact-{n}@{DOMAIN}").parse().expect("a JID");
        server.add_contact(&romeo, Contact::new(jid).name(format!("Contact {n}")).group("All"));
    }
    let store = Arc::new(MemoryStore::new());
    let login = async || {
        let client = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
        let known = client.roster().contacts().len();
        client.connect().await.expect("online");
        let traffic = server.sessions().pop().expect("a session").traffic.bytes_out;
        let contacts = client.roster().contacts();
        client.close().await;
        drop(client);
        (known, contacts, traffic)
    };
    let (known, first, all) = login().await;
    assert_eq!((known, first.len()), (0, 500));
    let (known, second, unchanged) = login().await;
    assert_eq!(known, 500, "the roster is there before connecting");
    assert_eq!(first, second);
    let juliet = online(&server, "juliet").await;
    let nothing = server.sessions().pop().expect("a session").traffic.bytes_out;
    assert!(all > nothing + 500 * 50, "{all} bytes at the first login, {nothing} with an empty roster");
    assert!(unchanged < nothing + 100, "{unchanged} bytes at the second login, {nothing} with an empty roster");
    juliet.close().await;
    // The same within one process, after the connection was cut: only what changed comes.
    let client = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
    client.connect().await.expect("online");
    let mut states = client.states();
    server.forget_sessions();
    server.cut(Target::All, Cut::Rst);
    within("the cut", async { while states.next().await.is_some_and(|state| state.is_online()) {} }).await;
    server.add_contact(&romeo, Contact::new(format!("new@{DOMAIN}").parse().expect("a JID")));
    within("online again", async { while !states.next().await.expect("a state").is_online() {} }).await;
    let state = settled("the new contact", &client, |state| state.len() == 501).await;
    assert!(state.get(&format!("new@{DOMAIN}").parse().expect("a JID")).is_some());
    assert!(server.sessions().pop().expect("a session").traffic.bytes_out < nothing + 500);
}

#[tokio::test]
async fn a_changed_roster_is_the_same_whether_it_comes_whole_or_in_pushes() {
    for versioning in [Versioning::Off, Versioning::Whole, Versioning::Pushes] {
        let server = server().differences(|d| d.roster_versioning = versioning).start().await.expect("a server");
        let romeo = server.jid("romeo").expect("a JID");
        let jid = |name: &str| -> BareJid { format!("{name}@{DOMAIN}").parse().expect("a JID") };
        for name in ["a", "b", "c"] {
            server.add_contact(&romeo, Contact::new(jid(name)).name(name));
        }
        let store = Arc::new(MemoryStore::new());
        let first = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
        first.connect().await.expect("online");
        assert_eq!(first.roster().contacts().len(), 3, "{versioning:?}");
        first.close().await;
        drop(first);
        let other = online(&server, "romeo").await;
        other.roster().remove(&jid("a")).await.expect("removed");
        other.roster().rename(&jid("b"), "B").await.expect("renamed");
        other.roster().add(jid("d")).await.expect("added");

        let second = builder(&server, "romeo").store(store.clone()).build().await.expect("a client");
        assert_eq!(second.roster().contacts().len(), 3);
        second.connect().await.expect("online");
        let state = settled("the changes", &second, |state| state.get(&jid("d")).is_some()).await;
        let names: Vec<_> = state.contacts().map(|c| (c.jid().as_str().to_owned(), c.name().map(str::to_owned))).collect();
        let expected = [("b", Some("B")), ("c", Some("c")), ("d", None)];
        let expected: Vec<_> = expected.into_iter().map(|(n, name)| (jid(n).to_string(), name.map(str::to_owned))).collect();
        assert_eq!(names, expected, "{versioning:?}");
    }
}

async fn a_request_is_still_there_after_a_restart_until_it_is_answered(server: Builder) {
    let server = server.start().await.expect("a server");
    let store = Arc::new(MemoryStore::new());
    let romeo = online(&server, "romeo").await;
    let first = builder(&server, "juliet").store(store.clone()).build().await.expect("a client");
    first.connect().await.expect("online");
    romeo.roster().subscribe(first.account()).text("again").await.expect("asked");
    settled("the request", &first, |state| state.requests().len() == 1).await;
    first.close().await;
    drop(first);

    let second = builder(&server, "juliet").store(store.clone()).build().await.expect("a client");
    let offline = second.roster().pending_requests();
    assert_eq!(offline.len(), 1, "kept while offline");
    assert_eq!((offline[0].from(), offline[0].text().as_deref()), (romeo.account(), Some("again")));
    assert!(matches!(offline[0].accept().await.expect_err("offline").kind(), ErrorKind::NotOnline));
    // The server repeats it at each login; the application hears of it once in each process.
    let mut requests = second.subscribe::<SubscriptionRequest>().events();
    second.connect().await.expect("online");
    let request = within("the repeated request", requests.next()).await.expect("an event");
    assert_eq!(second.roster().pending_requests().len(), 1);
    request.accept().await.expect("accepted");
    assert!(second.roster().pending_requests().is_empty());
    second.close().await;
    drop(second);
    let third = builder(&server, "juliet").store(store).build().await.expect("a client");
    assert!(third.roster().pending_requests().is_empty());
}

/// Any presence that asks.
#[derive(Clone, Debug)]
struct Asked;

impl Event for Asked {
    fn route() -> Route {
        Route::presence().when(|inbound| inbound.stanza().stanza_type().as_deref() == Some("subscribe"))
    }

    fn from_inbound(_: &Inbound, _: &WeakClient) -> Option<Self> {
        Some(Self)
    }
}

async fn a_repeated_request_is_reported_once_and_again_after_its_answer(server: Builder) {
    let server = server.start().await.expect("a server");
    let juliet = client(&server, "juliet").await;
    let mut requests = juliet.subscribe::<SubscriptionRequest>().events();
    let mut asked = juliet.subscribe::<Asked>().events();
    juliet.connect().await.expect("online");
    let jid = juliet.jid().expect("bound");
    let ask = |from: &str| {
        server
            .send_stanza(
                &jid,
                &format!("<presence xmlns='jabber:client' type='subscribe' from='{from}' to='{}'/>", juliet.account()),
            )
            .expect("sent");
    };
    for from in ["tybalt@example.org", "tybalt@example.org/full", "tybalt@example.org", "paris@example.org"] {
        ask(from);
        within("the stanza", asked.next()).await.expect("an event");
    }
    let first = within("tybalt", requests.next()).await.expect("an event");
    let second = within("paris", requests.next()).await.expect("an event");
    assert_eq!((first.from().as_str(), second.from().as_str()), ("tybalt@example.org", "paris@example.org"));
    assert_eq!(juliet.roster().pending_requests().len(), 2);
    first.deny().await.expect("denied");
    ask("tybalt@example.org");
    assert_eq!(within("tybalt again", requests.next()).await.expect("an event").from(), first.from());
    // Withdrawn by the one who asked.
    server
        .send_stanza(
            &jid,
            &format!("<presence xmlns='jabber:client' type='unsubscribe' from='paris@example.org' to='{}'/>", jid.to_bare()),
        )
        .expect("sent");
    settled("paris to be gone", &juliet, |state| state.request(second.from()).is_none()).await;
}

async fn a_request_answered_on_another_device_is_gone_here(server: Builder) {
    let server = server.start().await.expect("a server");
    let (phone, laptop) = (online(&server, "juliet").await, online(&server, "juliet").await);
    let romeo = online(&server, "romeo").await;
    romeo.roster().subscribe(phone.account()).await.expect("asked");
    settled("the phone", &phone, |state| state.requests().len() == 1).await;
    let state = settled("the laptop", &laptop, |state| state.requests().len() == 1).await;
    state.request(romeo.account()).expect("a request").accept().await.expect("accepted");
    settled("the phone to forget it", &phone, |state| state.requests().len() == 0).await;
}

#[tokio::test]
async fn ten_thousand_contacts_are_one_reset_for_a_watcher() {
    let server = server().max_stanza_bytes(8 << 20).start().await.expect("a server");
    let romeo = server.jid("romeo").expect("a JID");
    for n in 0..10_000 {
        server.add_contact(&romeo, Contact::new(format!("c{n}@{DOMAIN}").parse().expect("a JID")).name(format!("Contact {n}")));
    }
    let client = client(&server, "romeo").await;
    let mut watch = client.roster().watch();
    client.connect().await.expect("online");
    assert!(matches!(watch.next().await, Some(Observed::Reset(state)) if state.is_empty()));
    assert!(matches!(watch.next().await, Some(Observed::Reset(state)) if state.len() == 10_000));
    // So large a state is not given again for so few changes.
    let other = online(&server, "romeo").await;
    let renamed = rename_too_many(&client, &other, 10_000).await;
    for contact in renamed {
        let change = within("the change", watch.next()).await;
        assert!(matches!(change, Some(Observed::Change(RosterChange::Contact(changed))) if *changed.jid() == contact));
    }
}

#[tokio::test]
async fn a_watcher_that_sleeps_through_too_much_sees_one_reset_and_then_changes() {
    let server = server().start().await.expect("a server");
    let romeo = server.jid("romeo").expect("a JID");
    for n in 0..10 {
        server.add_contact(&romeo, Contact::new(format!("c{n}@{DOMAIN}").parse().expect("a JID")));
    }
    let (client, other) = (online(&server, "romeo").await, online(&server, "romeo").await);
    let mut watch = client.roster().watch();
    assert!(matches!(watch.next().await, Some(Observed::Reset(state)) if state.len() == 10));
    let last = rename_too_many(&client, &other, 10).await.pop().expect("a contact");
    let reset = watch.next().await;
    assert!(
        matches!(reset, Some(Observed::Reset(state)) if state.get(&last).is_some_and(|c| c.name() == Some(&format!("renamed {MAX_BEHIND}"))))
    );
    other.roster().rename(&last, "again").await.expect("renamed");
    let change = within("the change", watch.next()).await;
    assert!(matches!(change, Some(Observed::Change(RosterChange::Contact(contact))) if contact.name() == Some("again")));
}

/// More changes than a watcher of a small roster may be behind, and the contacts that were changed, in order.
async fn rename_too_many(client: &Client, other: &Client, contacts: usize) -> Vec<BareJid> {
    let mut renamed = Vec::new();
    for n in 0..=MAX_BEHIND {
        let contact: BareJid = format!("c{}@{DOMAIN}", n % contacts).parse().expect("a JID");
        other.roster().rename(&contact, &format!("renamed {n}")).await.expect("renamed");
        renamed.push(contact);
    }
    let last = renamed.last().expect("a contact");
    let name = format!("renamed {MAX_BEHIND}");
    settled("all of it", client, |state| state.get(last).is_some_and(|contact| contact.name() == Some(&name))).await;
    renamed
}

#[tokio::test]
async fn without_the_extension_the_handle_says_so() {
    let server = server().start().await.expect("a server");
    let client = builder(&server, "romeo")
        .without::<xmppkit::roster::RosterService>()
        .without::<xmppkit::presence::PresenceService>()
        .without::<xmppkit::xep::caps::CapsService>()
        .without::<xmppkit::xep::version::VersionService>()
        .without::<xmppkit::xep::time::TimeService>()
        .without::<xmppkit::xep::last_activity::LastActivityService>()
        .build()
        .await
        .expect("a client");
    client.connect().await.expect("online");
    let juliet = server.jid("juliet").expect("a JID");
    assert!(client.roster().contacts().is_empty());
    let error = client.roster().add(juliet.clone()).await.expect_err("missing");
    assert!(matches!(error.kind(), ErrorKind::ExtensionMissing(_)), "{error}");
    let error = client.roster().subscribe(&juliet).await.expect_err("missing");
    assert!(matches!(error.kind(), ErrorKind::ExtensionMissing(_)), "{error}");
}
