//! Sessions that are cut in the middle of their login.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use tokio::sync::Notify;
use xmppkit::archive::ArchiveService;
use xmppkit::client::{Client, Milestone, State};
use xmppkit::ext::{BoxFuture, Ctx, Extension, Registrar, SessionKind};
use xmppkit::messaging::Messages as _;
use xmppkit::roster::Rosters as _;
use xmppkit::testing::{Cut, Misbehaviour, Server, Way};
use xmppkit::xmpp_parsers::ping::Ping;

use super::process::{Disk, Process};
use super::{online, quick, until};
use crate::common::{builder, server, within};

/// Stops the first login before its presence, where the server manages the stream already.
#[derive(Clone, Default)]
struct Gate {
    reached: Arc<Notify>,
    passed: Arc<AtomicBool>,
}

impl Extension for Gate {
    fn register(&self, _: &mut Registrar<'_>) {}

    fn before_presence<'a>(&'a self, cx: &'a Ctx) -> BoxFuture<'a, xmppkit::Result<()>> {
        Box::pin(async move {
            // The reply comes behind `<enabled/>`.
            cx.client().iq_get(None, &Ping).await?;
            if !self.passed.swap(true, Ordering::SeqCst) {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

/// The session that the server keeps for romeo, who is cut off and never came online.
fn is_kept(server: &Server) -> bool {
    let romeo = server.jid("romeo").expect("a JID");
    server.sessions().iter().any(|session| session.jid.to_bare() == romeo && !session.connected && !session.available)
}

#[tokio::test]
async fn a_session_that_is_cut_in_the_middle_of_its_login_is_not_resumed() {
    let server = server().start().await.expect("a server");
    let juliet = server.jid("juliet").expect("a JID");
    let gate = Gate::default();
    let romeo = quick(&server, "romeo").with(gate.clone()).build().await.expect("a client");
    server.befriend(romeo.account(), &juliet);
    let mut states = romeo.states();
    romeo.start();
    within("the middle of the login", gate.reached.notified()).await;
    assert_eq!(until(&mut states, "connecting").await, ["offline", "connecting"]);
    server.cut(romeo.account(), Cut::Rst);
    within("the server to keep the session", server.wait_for(is_kept)).await;
    assert_eq!(until(&mut states, "online").await, ["waiting", "connecting", "online"]);
    within("the presence", server.wait_online(romeo.account())).await;
    assert!(romeo.roster().get(&juliet).is_some());
    assert_eq!((server.counters().resumes, server.counters().failed_resumes), (0, 0));
    romeo.close().await;
}

/// What romeo leaves on his disk who was online once and got a message; another waits for him since.
async fn away(server: &Server, juliet: &Client) -> Disk {
    let romeo = server.jid("romeo").expect("a JID");
    // The first session of all takes what there is for history; this one is to catch up.
    let first = Process::new(builder(server, "romeo"), Disk::new()).await;
    let mut inbox = first.client.messages().durable("ui").await.expect("open");
    first.client.connect().await.expect("online");
    crate::archive::caught_up(&first.client).await;
    server.wait_online(&romeo).await;
    juliet.chat(&romeo).send("first").await.expect("accepted");
    let item = within("the first", inbox.next()).await.and_then(|item| item.item()).expect("an item");
    item.ack().await.expect("stored");
    drop((item, inbox));
    first.client.close().await;
    let disk = first.kill(server).await;
    juliet.chat(&romeo).send("while away").await.expect("accepted");
    within("the message", server.wait_for(|server| server.archived(&romeo).len() == 2)).await;
    disk
}

/// The session of the process that died goes on for the messages' sake, and what its login would have brought is fetched (R9).
#[tokio::test]
async fn a_process_that_dies_in_the_middle_of_its_login_leaves_a_session_that_is_built_up_anew() {
    let server = server().start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let romeo = server.jid("romeo").expect("a JID");
    let disk = away(&server, &juliet).await;
    server.befriend(&romeo, juliet.account());

    let gate = Gate::default();
    let killed = Process::new(builder(&server, "romeo").with(gate.clone()), disk).await;
    killed.client.start();
    within("the middle of the login", gate.reached.notified()).await;
    let disk = killed.kill(&server).await;
    assert!(is_kept(&server), "{:?}", server.sessions());

    let next = Process::new(builder(&server, "romeo"), disk).await;
    let mut inbox = next.client.messages().durable("ui").await.expect("open").events();
    next.client.connect().await.expect("online");
    assert!(matches!(next.client.state(), State::Online { resumed: false, .. }), "{:?}", next.client.state());
    assert_eq!((server.counters().resumes, server.counters().failed_resumes), (1, 0));
    within("the presence", server.wait_online(&romeo)).await;
    assert!(next.client.roster().get(juliet.account()).is_some());
    assert!(next.client.ext::<ArchiveService>().is_some());
    juliet.chat(&romeo).send("after").await.expect("accepted");
    for expected in ["while away", "after"] {
        let message = within("a message", inbox.next()).await.expect("a message");
        assert_eq!(message.body().as_deref(), Some(expected));
    }
    crate::archive::settle(&next.client).await;
    assert!(futures::FutureExt::now_or_never(inbox.next()).is_none(), "nothing twice");
    next.client.close().await;
    juliet.close().await;
}

/// What a process held back while it caught up comes before what arrives when the next one resumes its session (R16).
#[tokio::test]
async fn what_was_held_back_by_a_process_that_died_comes_before_what_arrives_at_the_resume() {
    let server = server().start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let romeo = server.jid("romeo").expect("a JID");
    let disk = away(&server, &juliet).await;

    server.misbehave(Misbehaviour::SilentArchive { after: 0 });
    let killed = Process::new(builder(&server, "romeo"), disk).await;
    let mut live = killed.client.messages().events();
    killed.client.start();
    within("the query", server.wait_for(|server| server.unanswered_queries() == 1)).await;
    within("the presence", server.wait_online(&romeo)).await;
    juliet.chat(&romeo).send("held back").await.expect("accepted");
    while within("the message", live.next()).await.is_some_and(|message| message.body().as_deref() != Some("held back")) {}
    drop(live);
    let disk = killed.kill(&server).await;
    assert!(server.sessions().iter().any(|session| session.jid.to_bare() == romeo), "the session is kept");
    server.behave();
    juliet.chat(&romeo).send("at the resume").await.expect("accepted");
    within("the message", server.wait_for(|server| server.archived(&romeo).len() == 4)).await;

    let next = Process::new(builder(&server, "romeo"), disk).await;
    let mut inbox = next.client.messages().durable("ui").await.expect("open").events();
    next.client.connect().await.expect("online");
    assert_eq!((server.counters().resumes, server.counters().failed_resumes), (1, 0));
    for expected in ["while away", "held back", "at the resume"] {
        let message = within("a message", inbox.next()).await.expect("a message");
        assert_eq!(message.body().as_deref(), Some(expected));
    }
    crate::archive::settle(&next.client).await;
    assert!(futures::FutureExt::now_or_never(inbox.next()).is_none(), "nothing twice");
    next.client.close().await;
    juliet.close().await;
}

/// Never ends what it does at the start of a session, so that another process may not go on as if all were there.
struct Busy;

impl Extension for Busy {
    fn register(&self, _: &mut Registrar<'_>) {}

    fn session<'a>(&'a self, _: &'a Ctx, _: SessionKind) -> BoxFuture<'a, xmppkit::Result<()>> {
        Box::pin(std::future::pending())
    }
}

/// The numbers of the first process say nothing about a session in which the second has sent something else (R8).
#[tokio::test]
async fn a_message_that_two_processes_died_over_is_sent_by_the_third() {
    let server = server().start().await.expect("a server");
    let juliet = online(&server, "juliet").await;
    let mut at_juliet = juliet.messages().events();
    let first = Process::new(quick(&server, "romeo").with(Busy), Disk::new()).await;
    first.client.connect().await.expect("online");
    server.wait_online(first.client.account()).await;
    server.stall(first.client.account(), Way::FromClient);
    let unread = first.client.chat(juliet.account()).send("unread").await.expect("accepted");
    within("the writing", unread.wait_for(Milestone::Written)).await.expect("written");
    drop(unread);
    let account = first.client.account().clone();
    // Who reads nothing does not notice either.
    let (disk, _) = futures::join!(first.kill(&server), async { server.cut(&account, Cut::Rst) });

    let gate = Gate::default();
    let second = Process::new(quick(&server, "romeo").with(gate.clone()), disk).await;
    second.client.start();
    within("the middle of the login", gate.reached.notified()).await;
    let disk = second.kill(&server).await;

    let third = Process::new(quick(&server, "romeo"), disk).await;
    third.client.connect().await.expect("online");
    let message = within("the message", at_juliet.next()).await.expect("a message");
    assert_eq!(message.body().as_deref(), Some("unread"));
    assert_eq!(server.counters().resumes, 2);
    third.client.close().await;
    juliet.close().await;
}
