//! Sessions and messages that outlive the process, with a store on disk (R6, R8, R9).

use std::time::UNIX_EPOCH;

use futures::{FutureExt as _, StreamExt as _};
use xmppkit::client::{Client, Milestone, State};
use xmppkit::ext::Observed;
use xmppkit::messaging::{Messages as _, MessagingSettings};
use xmppkit::presence::{PresenceChange, Presences as _, Show};
use xmppkit::roster::Rosters as _;
use xmppkit::store::{OutboxEntry, Receipt};
use xmppkit::testing::{Misbehaviour, Server, Target};

use super::process::{Disk, Process};
use super::{online, quick};
use crate::common::{builder, server, within};

/// Romeo, whose contact juliet is away for a moment, and says so; he has seen it, and is killed.
async fn killed(server: &Server) -> (Disk, Client) {
    let juliet = online(server, "juliet").await;
    let romeo = Process::new(quick(server, "romeo"), Disk::new()).await;
    server.befriend(romeo.client.account(), juliet.account());
    romeo.client.connect().await.expect("online");
    juliet.presence().set(Show::Away).status("on the balcony").await.expect("sent");
    let mut watch = romeo.client.presence().watch();
    let seen = |client: &Client| client.presence().best(juliet.account()).is_some_and(|p| p.show() == Show::Away);
    within("her presence", async { while !seen(&romeo.client) && watch.next().await.is_some() {} }).await;
    // What came is noted with the next message at the latest.
    crate::archive::settle(&romeo.client).await;
    within("the count", server.wait_for(|server| server.sessions().iter().all(|session| session.unacknowledged == 0))).await;
    (romeo.kill(server).await, juliet)
}

/// What a client says of juliet: presence, its status, and whether it is stale.
fn picture(client: &Client, juliet: &Client) -> (Option<(Show, String)>, bool) {
    let state = client.presence().snapshot();
    let her = state.best(juliet.account()).map(|p| (p.show(), p.status().unwrap_or_default().into_owned()));
    (her, state.is_stale())
}

#[tokio::test]
async fn roster_and_presence_are_as_before_when_the_next_process_resumes_the_session() {
    let server = server().start().await.expect("a server");
    let (disk, juliet) = killed(&server).await;
    let before = Some((Show::Away, "on the balcony".to_owned()));
    let next = Process::new(quick(&server, "romeo"), disk).await;
    assert_eq!(picture(&next.client, &juliet), (before.clone(), true), "known and stale before it connects");
    assert!(next.client.roster().get(juliet.account()).is_some());
    let mut watch = next.client.presence().watch();
    let mut at_juliet = juliet.presence().watch();
    assert!(matches!(watch.next().now_or_never().flatten(), Some(Observed::Reset(_))), "the picture as it stands");
    at_juliet.next().now_or_never().flatten().expect("the picture as it stands");
    next.client.connect().await.expect("online");
    assert!(matches!(next.client.state(), State::Online { resumed: true, .. }), "{:?}", next.client.state());
    crate::archive::settle(&next.client).await;
    assert_eq!(picture(&next.client, &juliet), (before, false));
    assert!(next.client.roster().get(juliet.account()).is_some());
    let mut seen = Vec::new();
    while let Some(Some(change)) = watch.next().now_or_never() {
        seen.push(change);
    }
    let own = |jid: &jid::Jid| jid.to_bare() == *next.client.account();
    assert!(
        seen.iter().all(|change| match change {
            Observed::Change(PresenceChange::Stale(false)) => true,
            Observed::Change(PresenceChange::Available(presence)) => own(presence.jid()),
            _ => false,
        }),
        "nobody came or went: {seen:?}"
    );
    crate::archive::settle(&juliet).await;
    while let Some(Some(change)) = at_juliet.next().now_or_never() {
        assert!(matches!(change, Observed::Change(PresenceChange::Available(_))), "to her he never left: {change:?}");
    }
    next.client.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn presence_of_a_session_that_is_lost_meanwhile_is_reset() {
    let server = server().start().await.expect("a server");
    let (disk, juliet) = killed(&server).await;
    server.forget_sessions();
    juliet.close().await;
    within("her end", server.wait_for(|server| server.sessions().is_empty())).await;
    let next = Process::new(quick(&server, "romeo"), disk).await;
    assert!(matches!(picture(&next.client, &juliet), (Some(_), true)), "nobody knows yet");
    let mut watch = next.client.presence().watch();
    assert!(watch.next().now_or_never().flatten().is_some(), "the picture as it stands");
    next.client.connect().await.expect("online");
    assert!(matches!(next.client.state(), State::Online { resumed: false, .. }), "{:?}", next.client.state());
    let change = watch.next().now_or_never().flatten();
    assert!(matches!(&change, Some(Observed::Reset(state)) if state.best(juliet.account()).is_none()), "{change:?}");
    server.wait_online(Target::from(next.client.account())).await;
    crate::archive::settle(&next.client).await;
    assert_eq!(picture(&next.client, &juliet), (None, false));
    assert!(next.client.roster().get(juliet.account()).is_some(), "the roster stays");
    next.client.close().await;
}

/// What became of a message is known by its id to the next process, and what is told only then is added (R23).
#[tokio::test]
async fn the_record_of_a_message_goes_on_after_a_restart() {
    let server = server().start().await.expect("a server");
    let markers = |server: &Server| quick(server, "romeo").setting(MessagingSettings::new().request_markers(true));
    let romeo = Process::new(markers(&server), Disk::new()).await;
    let juliet = online(&server, "juliet").await;
    server.befriend(romeo.client.account(), juliet.account());
    romeo.client.connect().await.expect("online");
    let mut at_juliet = juliet.messages().events();
    let to_her = romeo.client.chat(juliet.account());
    let sent = to_her.send("read at once").await.expect("accepted");
    let read = within("the first", at_juliet.next()).await.expect("a message");
    within("the receipt", sent.wait_for(Milestone::Received)).await.expect("received");
    read.mark_displayed().await.expect("sent");
    within("the marker", sent.wait_for(Milestone::Displayed)).await.expect("displayed");
    let later = to_her.send("read later").await.expect("accepted");
    let message = within("the second", at_juliet.next()).await.expect("a message");
    within("the acknowledgement", later.wait_for(Milestone::Acked)).await.expect("acknowledged");
    let last = to_her.send("never mind").await.expect("accepted");
    within("the acknowledgement", last.wait_for(Milestone::Acked)).await.expect("acknowledged");
    let (first, second, third) = (sent.id().to_owned(), later.id().to_owned(), last.id().to_owned());
    let by_her = sent.status();
    drop((sent, later, last));
    crate::archive::settle(&romeo.client).await;
    let disk = romeo.kill(&server).await;
    message.mark_displayed().await.expect("sent");

    let romeo = Process::new(quick(&server, "romeo"), disk).await;
    let sent = romeo.client.find_sent(&first).await.expect("read").expect("known");
    let status = sent.status();
    // Stores keep microseconds.
    let told = |receipt: Option<Receipt>| receipt.map(|r| (r.by, r.at.duration_since(UNIX_EPOCH).expect("a time").as_micros()));
    assert!(by_her.received.is_some() && by_her.displayed.is_some());
    assert_eq!(told(status.received), told(by_her.received), "as it was");
    assert_eq!(told(status.displayed), told(by_her.displayed), "as it was");
    assert!(status.acked.is_some() && sent.to().is_some_and(|to| to.to_bare() == *juliet.account()));
    assert!(romeo.client.find_sent("nobody-knows").await.expect("read").is_none());
    // Nobody here has asked for it.
    let before = romeo.client.store().sent(&second).await.expect("read").expect("known").status;
    assert!(before.acked.is_some() && before.displayed.is_none() && before.bounced.is_none());
    romeo.client.connect().await.expect("online");
    let bounce = format!(
        "<message from='{}' to='{}' type='error' id='{third}'><error type='cancel'><gone \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
        juliet.account(),
        romeo.client.jid().expect("bound")
    );
    server.route_stanza(&bounce).expect("routed");
    within("the news", async {
        loop {
            let (second, third) = (romeo.client.store().sent(&second).await, romeo.client.store().sent(&third).await);
            let status = |entry: xmppkit::Result<Option<OutboxEntry>>| entry.expect("read").expect("known").status;
            if status(second).displayed.is_some() && status(third).bounced.is_some() {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let disk = romeo.kill(&server).await;
    let romeo = Process::new(quick(&server, "romeo"), disk).await;
    let later = romeo.client.find_sent(&second).await.expect("read").expect("known");
    assert_eq!(later.status().displayed.map(|receipt| receipt.by.to_bare()), Some(juliet.account().clone()));
    juliet.close().await;
}

/// R12: the archive is asked from the last id it was known to have before the message was written, whatever the clocks say; where
/// it has forgotten that, by time.
#[tokio::test]
async fn the_archive_tells_what_arrived_before_the_process_died() {
    for forgotten in [false, true] {
        let server = server().start().await.expect("a server");
        let romeo = Process::new(builder(&server, "romeo"), Disk::new()).await;
        let juliet = online(&server, "juliet").await;
        let mut at_juliet = juliet.messages().events();
        romeo.client.connect().await.expect("online");
        crate::archive::caught_up(&romeo.client).await;
        // From another contact: the newest message that the archive is known to have.
        let known =
            "<message from='mercutio@example.org/x' to='romeo@example.org' type='chat' id='k'><body>known</body></message>";
        let mut at_romeo = romeo.client.messages().events();
        server.wait_online(romeo.client.account()).await;
        server.route_stanza(known).expect("routed");
        within("the known one", at_romeo.next()).await.expect("a message");
        crate::archive::settle(&romeo.client).await;
        let newest = server.archived(romeo.client.account()).last().expect("a message").0.clone();
        server.misbehave(Misbehaviour::NeverAcknowledge);
        let sent = romeo.client.chat(juliet.account()).send("did it arrive?").await.expect("accepted");
        within("the message", at_juliet.next()).await.expect("a message");
        let id = sent.id().to_owned();
        let account = romeo.client.account().clone();
        let disk = romeo.kill(&server).await;
        server.behave();
        server.forget_sessions();
        if forgotten {
            server.expire_archive(&account, 1);
        }

        let romeo = Process::new(builder(&server, "romeo"), disk).await;
        romeo.client.connect().await.expect("online");
        let sent = romeo.client.find_sent(&id).await.expect("read").expect("known");
        within("the archive's word", sent.wait_for(Milestone::Acked)).await.expect("it has it");
        assert!(sent.status().resent_unverified.is_none());
        let about_her = |xml: &&String| xml.contains("urn:xmpp:mam:2") && xml.contains(juliet.account().as_str());
        let queries: Vec<String> = server.received(&account).iter().filter(about_her).cloned().collect();
        let by_id = |xml: &String| xml.contains("<after") && xml.contains(newest.as_str());
        assert!(by_id(&queries[0]) && !queries[0].contains("start"), "{queries:?}");
        assert_eq!(queries.iter().any(|xml| xml.contains("start")), forgotten, "{queries:?}");
        let copies = server.received(&account).iter().filter(|xml| xml.contains("did it arrive?")).count();
        assert_eq!(copies, 1, "it was not sent again");
        romeo.client.close().await;
        juliet.close().await;
    }
}
