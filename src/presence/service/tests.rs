//! What the hooks make of the picture: kept and stale while suspended, up to date again when resumed, reset when lost.

use std::sync::Arc;
use std::time::SystemTime;

use futures::{FutureExt, StreamExt};

use super::*;
use crate::ext::Observed;
use crate::presence::{Presences, Show};
use crate::xml::Frame;

async fn offline() -> (Client, Arc<PresenceService>, Ctx) {
    let account: BareJid = "juliet@example.com".parse().unwrap();
    let client = Client::builder(account).password("secret").build().await.unwrap();
    let (service, cx) = (client.ext::<PresenceService>().unwrap(), client.ctx());
    (client, service, cx)
}

fn comes(service: &PresenceService, cx: &Ctx, from: &str, attributes: &str) {
    let xml = format!("<presence xmlns='jabber:client' from='{from}' {attributes}/>");
    let stanza = Frame::parse(&xml).unwrap().stanza().unwrap();
    service.update(&Inbound::new(stanza, 1, SystemTime::UNIX_EPOCH), cx);
}

/// What a watcher sees next, in a word or two.
fn next(watch: &mut Watch<PresenceState>) -> Option<String> {
    Some(match watch.next().now_or_never()?? {
        Observed::Reset(state) => format!("reset to {}, stale {}", state.iter().len(), state.is_stale()),
        Observed::Change(PresenceChange::Available(resource)) => format!("{} is there", resource.jid()),
        Observed::Change(PresenceChange::Unavailable(jid)) => format!("{jid} is gone"),
        Observed::Change(PresenceChange::Stale(stale)) => format!("stale {stale}"),
    })
}

#[tokio::test]
async fn a_suspended_session_keeps_every_value_and_says_that_they_are_stale() {
    let (client, service, cx) = offline().await;
    let romeo: BareJid = "romeo@example.net".parse().unwrap();
    comes(&service, &cx, "romeo@example.net/orchard", "");
    let mut watch = client.presence().watch();
    assert_eq!(next(&mut watch).as_deref(), Some("reset to 1, stale false"));

    service.suspended(&cx);
    service.suspended(&cx);
    assert!(client.presence().snapshot().is_stale() && client.presence().best(&romeo).is_some());
    assert_eq!(next(&mut watch).as_deref(), Some("stale true"));
    assert_eq!(next(&mut watch), None, "said once");

    // What the server kept for us comes after the resume, and only that changes anything.
    service.session(&cx, SessionKind::Resumed).await.unwrap();
    assert_eq!(next(&mut watch).as_deref(), Some("stale false"));
    comes(&service, &cx, "romeo@example.net/orchard", "type='unavailable'");
    assert_eq!(next(&mut watch).as_deref(), Some("romeo@example.net/orchard is gone"));
    assert_eq!(next(&mut watch), None);
    assert!(!client.presence().snapshot().is_stale());
}

#[tokio::test]
async fn a_lost_session_is_one_reset_to_nothing_that_is_not_stale() {
    let (client, service, cx) = offline().await;
    for from in ["romeo@example.net/orchard", "romeo@example.net/street", "juliet@example.com/balcony"] {
        comes(&service, &cx, from, "");
    }
    service.suspended(&cx);
    let mut watch = client.presence().watch();
    assert_eq!(next(&mut watch).as_deref(), Some("reset to 2, stale true"));
    service.session_lost(&cx);
    service.session_lost(&cx);
    assert_eq!(next(&mut watch).as_deref(), Some("reset to 0, stale false"));
    assert_eq!(next(&mut watch), None);
}

#[tokio::test]
async fn what_was_chosen_while_suspended_is_told_after_the_resume_and_nothing_else() {
    let (client, service, cx) = offline().await;
    client.presence().set(Show::Away).await.unwrap();
    let kept = service.own();
    service.lock().announced = Some(kept);
    service.suspended(&cx);
    service.session(&cx, SessionKind::Resumed).await.expect("nothing to tell, so nothing is sent");

    service.suspended(&cx);
    client.presence().set(Show::Dnd).await.unwrap();
    // Without a connection the attempt shows itself by its error.
    let error = service.session(&cx, SessionKind::Resumed).await.expect_err("something is sent");
    assert_eq!(error.kind(), &crate::error::ErrorKind::NotOnline);
}

#[tokio::test]
async fn whom_presence_was_sent_to_is_known_until_they_or_all_are_told_otherwise() {
    let (client, service, cx) = offline().await;
    let directed = || client.presence().directed().iter().map(ToString::to_string).collect::<Vec<_>>();
    let send = |mut presence: WirePresence, to: Option<&str>| {
        presence.to = to.map(|to| to.parse().unwrap());
        service.decorate(&mut presence, &cx);
    };
    send(WirePresence::available(), None);
    send(WirePresence::subscribe(), Some("nurse@example.com"));
    for to in ["room@muc.example/juliet", "romeo@example.net", "room@muc.example/juliet"] {
        send(WirePresence::available(), Some(to));
    }
    assert_eq!(directed(), ["romeo@example.net", "room@muc.example/juliet"]);
    send(WirePresence::unavailable(), Some("romeo@example.net"));
    send(WirePresence::available(), None);
    assert_eq!(directed(), ["room@muc.example/juliet"]);
    service.suspended(&cx);
    assert_eq!(directed().len(), 1, "the server remembers too");
    send(WirePresence::unavailable(), None);
    assert!(directed().is_empty());
    send(WirePresence::available(), Some("romeo@example.net"));
    service.session_lost(&cx);
    assert!(directed().is_empty());
}
