//! Ping, version, time and last activity on the in-process server.

use std::time::{Duration, Instant, SystemTime};

use xmppkit::client::Client;
use xmppkit::error::{Error, ErrorKind};
use xmppkit::jid::{BareJid, Jid};
use xmppkit::presence::Presences;
use xmppkit::roster::AnswerTo;
use xmppkit::testing::{Dialect, Server};
use xmppkit::xep::last_activity::{LastActivities, LastActivityService, LastActivitySetting};
use xmppkit::xep::ping::{PingService, Pings};
use xmppkit::xep::time::{TimeService, TimeSetting, Times};
use xmppkit::xep::version::{SoftwareVersion, VersionService, VersionSetting, Versions};

use crate::common::{PASSWORD, builder, online, server, within};

/// Juliet is a contact who may see romeo's presence; the nurse is none.
async fn friends(dialect: Dialect) -> Server {
    let server = server().account("nurse", PASSWORD).dialect(dialect).start().await.expect("a server");
    server.befriend(&server.jid("romeo").expect("a JID"), &server.jid("juliet").expect("a JID"));
    server
}

fn condition(error: &Error) -> Option<&str> {
    match error.kind() {
        ErrorKind::Stanza(error) => Some(&error.condition),
        _ => None,
    }
}

fn domain(server: &Server) -> BareJid {
    server.domain().parse().expect("a JID")
}

#[tokio::test]
async fn the_server_is_asked_in_every_dialect() {
    for dialect in Dialect::ALL {
        let server = friends(dialect).await;
        let romeo = online(&server, "romeo").await;
        let host = domain(&server);
        assert!(romeo.ping_server().await.expect("a pong").supported, "{dialect:?}");
        let version = romeo.software_version(host.clone()).await.expect("a version");
        assert_eq!((version.name, version.version), dialect.differences().software, "{dialect:?}");
        assert_eq!(version.os, None);
        let time = romeo.entity_time(host.clone()).await.expect("a time");
        let away = SystemTime::now().duration_since(time.time).unwrap_or_default();
        assert!(away < Duration::from_secs(60) && time.offset == 0, "{dialect:?}: {time:?}");
        let up = romeo.last_activity().of(host).await.expect("an uptime");
        assert!(up.ago < Duration::from_secs(60) && up.status.is_none(), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_ping_tells_who_is_there_from_who_is_not() {
    let server = friends(Dialect::Strict).await;
    let romeo = online(&server, "romeo").await;
    let juliet = online(&server, "juliet").await;
    let deaf = builder(&server, "nurse").without::<PingService>().build().await.expect("a client");
    deaf.connect().await.expect("online");
    let pong = romeo.ping(juliet.jid().expect("bound")).await.expect("a pong");
    assert!(pong.supported && pong.time > Duration::ZERO);
    // Of a user's client this says nothing: the server answers so if it is not there.
    let error = romeo.ping(deaf.jid().expect("bound")).await.expect_err("it is deaf");
    assert_eq!(condition(&error), Some("service-unavailable"));
    let nobody = "juliet@example.org/gone".parse::<Jid>().expect("a JID");
    assert_eq!(condition(&romeo.ping(nobody).await.expect_err("nobody")), Some("service-unavailable"));
    let error = deaf.ping_server().await.expect_err("removed");
    assert!(matches!(error.kind(), ErrorKind::ExtensionMissing(_)), "{error}");
}

/// What each asks romeo, and the condition of the error if it gets one.
async fn refused(asking: &Client, of: &Jid) -> [Option<String>; 3] {
    let error = |error: Option<Error>| error.map(|error| condition(&error).expect("a stanza error").to_owned());
    [
        error(asking.software_version(of.clone()).await.err()),
        error(asking.entity_time(of.clone()).await.err()),
        error(asking.last_activity().of(of.clone()).await.err()),
    ]
}

#[tokio::test]
async fn a_client_answers_whom_it_is_told_to() {
    let server = friends(Dialect::Strict).await;
    let juliet = online(&server, "juliet").await;
    let nurse = online(&server, "nurse").await;
    let other = online(&server, "romeo").await;
    for (answer, expected) in [
        (AnswerTo::Everybody, [false, false, false]),
        (AnswerTo::Contacts, [false, false, true]),
        (AnswerTo::Nobody, [true, true, true]),
    ] {
        let romeo = builder(&server, "romeo")
            .setting(VersionSetting::new(SoftwareVersion::new("Balcony", "1.2").os("Verona")).answer(answer))
            .setting(TimeSetting::new().zone(|| -210).answer(answer))
            .setting(LastActivitySetting::new(answer))
            .build()
            .await
            .expect("a client");
        romeo.connect().await.expect("online");
        let to = Jid::from(romeo.jid().expect("bound"));
        let unused = refused(&juliet, &to).await;
        assert_eq!(unused[2].as_deref(), Some("service-unavailable"), "nobody has used it");
        let used = Instant::now().checked_sub(Duration::from_secs(90)).expect("the machine runs longer");
        romeo.last_activity().set_used(Some(used)).expect("an extension");
        for (asking, expected) in [&other, &juliet, &nurse].into_iter().zip(expected) {
            for condition in refused(asking, &to).await {
                assert_eq!(condition.as_deref(), expected.then_some("service-unavailable"), "{answer:?}: {}", asking.account());
            }
        }
        if answer == AnswerTo::Contacts {
            let version = juliet.software_version(to.clone()).await.expect("a version");
            assert_eq!(version, SoftwareVersion::new("Balcony", "1.2").os("Verona"));
            assert_eq!(juliet.entity_time(to.clone()).await.expect("a time").offset, -210);
            let idle = juliet.last_activity().of(to.clone()).await.expect("idle").ago;
            assert!((90..150).contains(&idle.as_secs()), "{idle:?}");
            romeo.last_activity().used_now().expect("an extension");
            assert!(juliet.last_activity().of(to.clone()).await.expect("idle").ago < Duration::from_secs(60));
            romeo.last_activity().set_used(None).expect("an extension");
            assert_eq!(refused(&juliet, &to).await[2].as_deref(), Some("service-unavailable"));
        }
        romeo.close().await;
    }
}

#[tokio::test]
async fn by_default_contacts_are_told_the_time_and_everybody_the_version() {
    let server = friends(Dialect::Strict).await;
    let (romeo, juliet, nurse) =
        (online(&server, "romeo").await, online(&server, "juliet").await, online(&server, "nurse").await);
    let to = Jid::from(romeo.jid().expect("bound"));
    romeo.last_activity().used_now().expect("an extension");
    let denied = || Some("service-unavailable".to_owned());
    assert_eq!(refused(&juliet, &to).await, [None, None, None]);
    assert_eq!(refused(&nurse, &to).await, [None, denied(), denied()]);
    let version = nurse.software_version(to.clone()).await.expect("a version");
    assert_eq!(version, SoftwareVersion::new("xmppkit", env!("CARGO_PKG_VERSION")));
    assert_eq!(juliet.entity_time(to).await.expect("a time").offset, 0);
}

#[tokio::test]
async fn a_contact_who_left_said_something() {
    let server = friends(Dialect::Strict).await;
    let (romeo, juliet, nurse) =
        (online(&server, "romeo").await, online(&server, "juliet").await, online(&server, "nurse").await);
    server.wait_online(juliet.account().clone()).await;
    let j = juliet.account().clone();
    let active = romeo.last_activity().of(j.clone()).await.expect("she is there");
    assert_eq!((active.ago, active.status), (Duration::ZERO, None));
    juliet.presence().unavailable().status("Heading Home").await.expect("sent");
    juliet.close().await;
    within("her absence", romeo.presence().watch().wait_for(|state| state.of(&j).is_empty())).await.expect("the client lives");
    let active = romeo.last_activity().of(j.clone()).await.expect("she has left");
    assert_eq!((active.ago < Duration::from_secs(60), active.status.as_deref()), (true, Some("Heading Home")));
    assert_eq!(condition(&nurse.last_activity().of(j).await.expect_err("a stranger")), Some("forbidden"));
}

#[tokio::test]
async fn without_the_extensions_the_calls_say_so() {
    let server = friends(Dialect::Strict).await;
    let bare = builder(&server, "romeo").without::<VersionService>().without::<TimeService>().without::<LastActivityService>();
    let bare = bare.build().await.expect("a client");
    bare.connect().await.expect("online");
    let host = domain(&server);
    for error in [
        bare.software_version(host.clone()).await.expect_err("removed"),
        bare.entity_time(host.clone()).await.expect_err("removed"),
        bare.last_activity().of(host).await.expect_err("removed"),
        bare.last_activity().used_now().expect_err("removed"),
    ] {
        assert!(matches!(error.kind(), ErrorKind::ExtensionMissing(_)), "{error}");
    }
    let juliet = online(&server, "juliet").await;
    assert_eq!(
        refused(&juliet, &bare.jid().expect("bound").into()).await,
        ["service-unavailable"; 3].map(|condition| Some(condition.to_owned()))
    );
}
