//! Cuts that a session survives.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use xmppkit::client::{Deadlines, KeepAlive, Milestone, State};
use xmppkit::error::{ErrorKind, Phase};
use xmppkit::ext::{BoxFuture, Ctx, Extension, Observed, Registrar, SessionKind};
use xmppkit::messaging::Messages as _;
use xmppkit::presence::{PresenceChange, Presences as _};
use xmppkit::testing::{Cut, Dialect, Misbehaviour, Moment, Target, Way};
use xmppkit::xmpp_parsers::ping::Ping;

use super::{nothing_more, online, quick, texts, until};
use crate::common::{server, within};

const AFTER_A_CUT: [&str; 4] = ["suspended", "waiting", "connecting", "online again"];

#[tokio::test]
async fn a_session_survives_every_kind_of_cut_in_every_dialect() {
    for dialect in Dialect::ALL {
        let server = server().dialect(dialect).start().await.expect("a server");
        let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
        let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
        let (jid, mut states) = (romeo.jid().expect("bound"), romeo.states());
        assert_eq!(until(&mut states, "online").await, ["online"]);
        for (number, how) in [Cut::Rst, Cut::Fin, Cut::HalfClose].into_iter().enumerate() {
            assert_eq!(server.cut(&jid, how), 1);
            assert_eq!(until(&mut states, "online again").await, AFTER_A_CUT, "{dialect:?}, {how:?}");
            assert_eq!((romeo.jid(), server.counters().resumes), (Some(jid.clone()), number as u64 + 1));
            romeo.chat(juliet.account()).send("to her").await.expect("accepted");
            juliet.chat(romeo.account()).send("to him").await.expect("accepted");
            assert_eq!(texts(&mut at_juliet, 1).await, ["to her"]);
            assert_eq!(texts(&mut at_romeo, 1).await, ["to him"]);
        }
        nothing_more(&romeo, &juliet, &mut at_juliet).await;
        nothing_more(&juliet, &romeo, &mut at_romeo).await;
        assert_eq!((server.counters().logins, server.counters().failed_resumes), (5, 0), "{dialect:?}");
        romeo.close().await;
        juliet.close().await;
    }
}

/// Neither FIN nor RST comes from a network that is gone.
#[tokio::test]
async fn a_network_that_is_gone_is_noticed_in_the_time_that_was_set() {
    let server = server().start().await.expect("a server");
    let pace = KeepAlive::new(Duration::from_millis(300), Duration::from_millis(500));
    let romeo = quick(&server, "romeo").keep_alive(pace).build().await.expect("a client");
    romeo.connect().await.expect("online");
    server.wait_online(romeo.account()).await;
    let (jid, mut states) = (romeo.jid().expect("bound"), romeo.states());
    until(&mut states, "online").await;
    for way in ["dropped", "stalled"] {
        let began = Instant::now();
        if way == "dropped" {
            server.cut(&jid, Cut::Drop)
        } else {
            server.stall(&jid, Way::Both)
        };
        assert_eq!(until(&mut states, "suspended").await, ["suspended"], "{way}");
        // Something may have come just before; what is noticed is noticed by a timer, on a machine that has other things to do.
        let took = began.elapsed();
        assert!((Duration::from_millis(700)..Duration::from_secs(5)).contains(&took), "{way}: {took:?}");
        let State::Waiting { cause, .. } = states.next().await.expect("a state") else { panic!("not waiting") };
        assert_eq!(cause.kind(), &ErrorKind::Timeout(Phase::Session), "{way}");
        assert_eq!(until(&mut states, "online again").await, ["connecting", "online again"], "{way}");
    }
    // What the old connection is told of the conflict is nobody's business (R5).
    within("the end of the old ones", server.wait_for(|server| server.connections() == 1)).await;
    romeo.iq_get(None, &Ping).await.expect("a pong");
    assert!(romeo.state().is_online());
    assert_eq!(romeo.jid(), Some(jid));
    romeo.close().await;
}

#[tokio::test]
async fn what_is_sent_while_suspended_arrives_once_and_in_order() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
    let mut states = romeo.states();
    server.stall(romeo.account(), Way::FromClient);
    let mut sent = Vec::new();
    for text in ["unread 1", "unread 2"] {
        sent.push(romeo.chat(juliet.account()).send(text).await.expect("accepted"));
    }
    within("the writing", sent[1].wait_for(Milestone::Written)).await.expect("written");
    server.refuse_connections(true).await.expect("refused");
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "suspended").await;
    for text in ["while away 1", "while away 2"] {
        sent.push(romeo.chat(juliet.account()).send(text).await.expect("accepted"));
        juliet.chat(romeo.account()).send(text).await.expect("accepted");
    }
    let queued = |server: &xmppkit::testing::Server| {
        server.sessions().iter().any(|session| !session.connected && session.unacknowledged >= 2)
    };
    within("the server to keep them", server.wait_for(queued)).await;
    server.refuse_connections(false).await.expect("open");
    romeo.network_changed();
    assert_eq!(texts(&mut at_juliet, 4).await, ["unread 1", "unread 2", "while away 1", "while away 2"]);
    assert_eq!(texts(&mut at_romeo, 2).await, ["while away 1", "while away 2"]);
    for token in &sent {
        within("the acknowledgement", token.wait_for(Milestone::Acked)).await.expect("acknowledged");
        assert!(token.status().resent_unverified.is_none(), "a resume loses nothing: {token:?}");
    }
    nothing_more(&romeo, &juliet, &mut at_juliet).await;
    nothing_more(&juliet, &romeo, &mut at_romeo).await;
    romeo.close().await;
    juliet.close().await;
}

/// Notes which hooks are called.
#[derive(Default)]
struct Hooks(Arc<Mutex<Vec<&'static str>>>);

impl Hooks {
    fn note(&self, what: &'static str) {
        self.0.lock().expect("no panic").push(what);
    }
}

impl Extension for Hooks {
    fn register(&self, _: &mut Registrar<'_>) {}

    fn before_presence<'a>(&'a self, _: &'a Ctx) -> BoxFuture<'a, xmppkit::Result<()>> {
        self.note("before presence");
        Box::pin(async { Ok(()) })
    }

    fn session<'a>(&'a self, _: &'a Ctx, kind: SessionKind) -> BoxFuture<'a, xmppkit::Result<()>> {
        self.note(if kind == SessionKind::Resumed { "resumed" } else { "fresh" });
        Box::pin(async { Ok(()) })
    }

    fn suspended(&self, _: &Ctx) {
        self.note("suspended");
    }

    fn session_lost(&self, _: &Ctx) {
        self.note("lost");
    }
}

#[tokio::test]
async fn contacts_do_not_flap_and_extensions_are_told_which_cut_it_was() {
    let server = server().start().await.expect("a server");
    let hooks = Hooks::default();
    let called = Arc::clone(&hooks.0);
    let juliet = online(&server, "juliet").await;
    server.befriend(&server.jid("romeo").expect("a JID"), juliet.account());
    let romeo = quick(&server, "romeo").with(hooks).build().await.expect("a client");
    let mut states = romeo.states();
    romeo.connect().await.expect("online");
    server.wait_online(romeo.account()).await;
    for (one, other) in [(&romeo, &juliet), (&juliet, &romeo)] {
        let mut watch = one.presence().watch();
        let both = || [one, other].iter().all(|client| one.presence().best(client.account()).is_some());
        within("both to be seen", async { while watch.next().await.is_some() && !both() {} }).await;
    }
    let (mut seen_by_juliet, mut seen_by_romeo) = (juliet.presence().watch(), romeo.presence().watch());
    // The first item is the picture as it stands.
    assert!(seen_by_juliet.next().now_or_never().flatten().is_some() && seen_by_romeo.next().now_or_never().flatten().is_some());
    until(&mut states, "online").await;
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online again").await;
    romeo.iq_get(None, &Ping).await.expect("a pong");
    juliet.iq_get(None, &Ping).await.expect("a pong");
    assert!(seen_by_juliet.next().now_or_never().is_none(), "to her he never left");
    for stale in [true, false] {
        let change = seen_by_romeo.next().now_or_never().flatten();
        assert!(matches!(&change, Some(Observed::Change(PresenceChange::Stale(is))) if *is == stale), "{change:?}");
    }
    let change = seen_by_romeo.next().now_or_never();
    assert!(change.is_none(), "to him nobody left: {change:?}");

    server.forget_sessions();
    server.cut(romeo.account(), Cut::Rst);
    until(&mut states, "online").await;
    within("the hook", async {
        while called.lock().expect("no panic").len() < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let expected = ["before presence", "fresh", "suspended", "resumed", "suspended", "lost", "before presence", "fresh"];
    assert_eq!(*called.lock().expect("no panic"), expected);
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn a_request_that_waits_over_a_cut_is_answered() {
    let server = server().start().await.expect("a server");
    let romeo = online(&server, "romeo").await;
    let mut states = romeo.states();
    let domain = server.domain().parse::<jid::Jid>().expect("a JID");
    for way in [Way::FromClient, Way::ToClient] {
        server.stall(romeo.account(), way);
        let seen = server.received(romeo.account()).len();
        let waiting = tokio::spawn(romeo.iq_get(domain.clone(), &Ping).into_future());
        if way == Way::ToClient {
            within("the request", server.wait_for(|server| server.received(romeo.account()).len() > seen)).await;
        }
        server.cut(romeo.account(), Cut::Rst);
        within("the reply", waiting).await.expect("no panic").expect("a pong");
        until(&mut states, "online again").await;
    }
    assert_eq!(server.counters().failed_resumes, 0);
    romeo.close().await;
}

#[tokio::test]
async fn suspending_and_connecting_again_resumes_the_session() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    let mut at_romeo = romeo.messages().events();
    let jid = romeo.jid();
    within("the end", romeo.suspend()).await;
    assert!(matches!(romeo.state(), State::Offline { .. }));
    within("the server's side", server.wait_for(|server| server.connections() == 1)).await;
    assert_eq!(server.sessions().len(), 2, "the session waits");
    juliet.chat(romeo.account()).send("are you there?").await.expect("accepted");
    romeo.connect().await.expect("online");
    assert!(matches!(romeo.state(), State::Online { resumed: true, .. }), "{:?}", romeo.state());
    assert_eq!(romeo.jid(), jid);
    assert_eq!(texts(&mut at_romeo, 1).await, ["are you there?"]);
    nothing_more(&juliet, &romeo, &mut at_romeo).await;
    within("the end", romeo.close()).await;
    within("the server's side", server.wait_for(|server| server.sessions().len() == 1)).await;
    romeo.connect().await.expect("online");
    assert!(matches!(romeo.state(), State::Online { resumed: false, .. }), "what was closed is over");
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_stanza_or_of_the_resume_costs_nothing() {
    let server = server().start().await.expect("a server");
    let (romeo, juliet) = (online(&server, "romeo").await, online(&server, "juliet").await);
    let (mut at_romeo, mut at_juliet) = (romeo.messages().events(), juliet.messages().events());
    let mut states = romeo.states();
    until(&mut states, "online").await;
    let exchange = async |number: &str| {
        romeo.chat(juliet.account()).send(number).await.expect("accepted");
        juliet.chat(romeo.account()).send(number).await.expect("accepted");
    };
    for (number, way) in [("1", Way::FromClient), ("2", Way::ToClient), ("3", Way::Both)] {
        server.cut_after(romeo.account(), way, 120, Cut::Rst);
        exchange(number).await;
        until(&mut states, "online again").await;
        assert_eq!((texts(&mut at_romeo, 1).await, texts(&mut at_juliet, 1).await), (vec![number.into()], vec![number.into()]));
    }
    let moments = [Moment::TlsHandshake, Moment::ResumeRead, Moment::ResumeDone, Moment::Resumed];
    for (number, moment) in ["4", "5", "6", "7"].into_iter().zip(moments) {
        server.cut_at(moment, Cut::Fin);
        server.cut(romeo.account(), Cut::Rst);
        exchange(number).await;
        let resumes = server.counters().resumes;
        until(&mut states, "online again").await;
        if moment == Moment::Resumed {
            until(&mut states, "online again").await;
        }
        assert_eq!(
            (texts(&mut at_romeo, 1).await, texts(&mut at_juliet, 1).await),
            (vec![number.into()], vec![number.into()]),
            "{moment:?}"
        );
        assert!(server.counters().resumes > resumes, "{moment:?}");
    }
    nothing_more(&romeo, &juliet, &mut at_juliet).await;
    nothing_more(&juliet, &romeo, &mut at_romeo).await;
    assert_eq!(server.counters().failed_resumes, 0);
    romeo.close().await;
    juliet.close().await;
}

#[tokio::test]
async fn a_server_that_never_acknowledges_is_left_and_comes_back_to() {
    let server = server().start().await.expect("a server");
    let mut deadlines = Deadlines::default();
    deadlines.ack = Duration::from_millis(300);
    let romeo = quick(&server, "romeo").deadlines(deadlines).build().await.expect("a client");
    romeo.connect().await.expect("online");
    let juliet = online(&server, "juliet").await;
    let mut at_juliet = juliet.messages().events();
    let mut states = romeo.states();
    until(&mut states, "online").await;
    server.misbehave(Misbehaviour::NeverAcknowledge);
    let sent = romeo.chat(juliet.account()).send("heard?").await.expect("accepted");
    until(&mut states, "suspended").await;
    let State::Waiting { cause, .. } = states.next().await.expect("a state") else { panic!("not waiting") };
    assert_eq!(cause.kind(), &ErrorKind::Timeout(Phase::Session));
    server.behave();
    within("the acknowledgement", sent.wait_for(Milestone::Acked)).await.expect("the resume says so");
    assert_eq!(texts(&mut at_juliet, 1).await, ["heard?"]);
    nothing_more(&romeo, &juliet, &mut at_juliet).await;
    assert_eq!(server.cut(Target::All, Cut::Fin), 2);
    romeo.close().await;
    juliet.close().await;
}
