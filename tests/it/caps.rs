//! Capabilities on the in-process server: announced, found out once, believed where they may be.

use std::sync::Arc;

use futures::StreamExt;
use xmppkit::client::{Client, ClientBuilder};
use xmppkit::ext::{Answer, Ctx, Extension, IqRequest, Observed, Registrar};
use xmppkit::jid::{FullJid, Jid};
use xmppkit::presence::Presences;
use xmppkit::store::{MemoryStore, Store};
use xmppkit::testing::{Dialect, Server};
use xmppkit::xep::caps::{Capabilities, CapsChange, CapsNode, CapsService, CapsState};
use xmppkit::xep::disco::{DiscoService, Discos};
use xmppkit::xml::Frame;
use xmppkit::xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult};

use crate::common::{builder, online, server, within};

const GAME: &str = "urn:example:game";

/// A program of its own, by what it can do.
struct Game;

impl Extension for Game {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.feature(GAME);
    }
}

async fn friends(dialect: Dialect) -> Server {
    let server = server().account("nurse", crate::common::PASSWORD).dialect(dialect).start().await.expect("a server");
    let jid = |name| server.jid(name).expect("a JID");
    for (one, other) in [("romeo", "juliet"), ("romeo", "nurse")] {
        server.befriend(&jid(one), &jid(other));
    }
    server
}

async fn connected(builder: ClientBuilder) -> Client {
    let client = builder.build().await.expect("a client");
    client.connect().await.expect("online");
    client
}

async fn game(server: &Server, name: &str) -> (Client, Jid) {
    let client = connected(builder(server, name).with(Game)).await;
    server.wait_online(client.account().clone()).await;
    let jid = client.jid().expect("bound").into();
    (client, jid)
}

async fn until(client: &Client, what: &str, wanted: impl FnMut(&CapsState) -> bool) -> CapsState {
    within(what, client.caps().watch().wait_for(wanted)).await.expect("the client lives")
}

/// The questions of service discovery an account asked, as node and addressee.
fn questions(server: &Server, name: &str) -> Vec<(String, String)> {
    let received = server.received(server.jid(name).expect("a JID"));
    let frames = received.iter().map(|xml| Frame::parse(xml).expect("XML"));
    let gets = frames.filter(|frame| frame.attr("type").as_deref() == Some("get"));
    gets.filter_map(|frame| {
        let query = frame.child("http://jabber.org/protocol/disco#info", "query")?;
        let text = |attribute: Option<std::borrow::Cow<'_, str>>| attribute.unwrap_or_default().into_owned();
        Some((text(query.attr("node")), text(frame.attr("to"))))
    })
    .collect()
}

/// What a client asks in every fresh session: what its account offers, and in the first one what the server announces.
async fn questions_of_a_login(client: &Client, is_first: bool) -> Vec<(String, String)> {
    client.disco().account().await.expect("an answer");
    // Without an address it is the account that is asked (RFC 6120 §8.1.2.1).
    let account = (String::new(), String::new());
    let features = client.stream_features().expect("online");
    let c = features.child("http://jabber.org/protocol/caps", "c").expect("announced");
    let attribute = |name: &str| c.attr(name).expect("it must have it").into_owned();
    let node = format!("{}#{}", attribute("node"), attribute("ver"));
    let server = is_first.then(|| (node, client.account().domain().to_string()));
    server.into_iter().chain([account]).collect()
}

/// Asserts what an account asked, in whatever order.
fn assert_questions(server: &Server, name: &str, wanted: &[&[(String, String)]]) {
    let (mut asked, mut wanted) = (questions(server, name), wanted.concat());
    asked.sort();
    wanted.sort();
    assert_eq!(asked, wanted);
}

/// The `<c/>` of the presence stanzas an account sent, as type, hash, node and ver.
fn announced(server: &Server, name: &str) -> Vec<(String, Option<[String; 3]>)> {
    let received = server.received(server.jid(name).expect("a JID"));
    let frames = received.iter().map(|xml| Frame::parse(xml).expect("XML")).filter(|frame| frame.name() == "presence");
    frames
        .map(|frame| {
            let c = frame.child("http://jabber.org/protocol/caps", "c");
            let attributes = c.map(|c| ["hash", "node", "ver"].map(|name| c.attr(name).unwrap_or_default().into_owned()));
            (frame.attr("type").unwrap_or_default().into_owned(), attributes)
        })
        .collect()
}

#[tokio::test]
async fn every_available_presence_announces_what_is_answered() {
    let server = friends(Dialect::Strict).await;
    let juliet = connected(builder(&server, "juliet").with(Game).setting(CapsNode::new("https://chat.example/"))).await;
    let to = Jid::from(juliet.jid().expect("bound"));
    juliet.presence().send_to(server.jid("nurse").expect("a JID")).await.expect("sent");
    juliet.presence().unavailable().await.expect("sent");
    juliet.presence().available().await.expect("sent");
    let romeo = online(&server, "romeo").await;
    within("the presence", server.wait_for(|server| announced(server, "juliet").len() == 4)).await;

    let presences = announced(&server, "juliet");
    let types: Vec<_> = presences.iter().map(|(kind, c)| (kind.as_str(), c.is_some())).collect();
    assert_eq!(types, [("", true), ("", true), ("unavailable", false), ("", true)]);
    let [hash, node, ver] = presences[0].1.clone().expect("announced");
    assert_eq!((hash.as_str(), node.as_str()), ("sha-1", "https://chat.example/"));
    let said = romeo.disco().info(to.clone()).node(format!("{node}#{ver}")).await.expect("an answer");
    assert_eq!(*said, juliet.disco().own().expect("an extension"));
    assert!(said.supports(GAME) && said.supports("http://jabber.org/protocol/caps"));
    romeo.disco().info(to.clone()).node(format!("{node}#another")).await.expect_err("no such node");
    romeo.disco().items(to).node(format!("{node}#{ver}")).await.expect_err("it is no node for items (XEP-0115 §6.2)");
}

#[tokio::test]
async fn what_a_program_can_do_is_asked_once_and_never_again_with_a_store() {
    for dialect in Dialect::ALL {
        let server = friends(dialect).await;
        let (_juliet, j) = game(&server, "juliet").await;
        let (_nurse, n) = game(&server, "nurse").await;
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut asked = Vec::new();
        for is_first in [true, false] {
            let romeo = connected(builder(&server, "romeo").store(Arc::clone(&store))).await;
            let mut watch = romeo.caps().watch();
            let state = until(&romeo, "both", |state| [&j, &n].iter().all(|jid| state.get(jid).is_some())).await;
            for jid in [&j, &n] {
                assert!(state.get(jid).is_some_and(|info| info.supports(GAME) && info.is("client", "pc")), "{dialect:?}");
                assert!(romeo.disco().supports(jid.clone(), GAME).await.expect("known"), "{dialect:?}");
                assert_eq!(romeo.caps().get(jid), state.get(jid).cloned());
            }
            assert!(romeo.disco().server().await.expect("known").supports("urn:xmpp:ping"), "{dialect:?}");
            asked.extend(questions_of_a_login(&romeo, is_first).await);
            if is_first {
                // One of the two who play was asked, whichever came first.
                let of_the_game = |(_, to): &(String, String)| [&j, &n].iter().any(|jid| to == jid.as_str());
                asked.extend(questions(&server, "romeo").into_iter().find(of_the_game));
                assert_eq!(asked.len(), 3, "{dialect:?}: {asked:?}");
                assert_eq!(asked[2].0, format!("urn:xmppkit#{}", own_ver(&server, "juliet")), "{dialect:?}");
            }
            assert_questions(&server, "romeo", &[&asked]);
            assert!(matches!(watch.next().await, Some(Observed::Reset(_))));
            romeo.close().await;
            assert_eq!(romeo.caps().snapshot(), CapsState::default(), "the session is over");
        }
    }
}

#[tokio::test]
async fn the_same_program_needs_no_question_and_who_leaves_is_no_longer_known() {
    let server = friends(Dialect::Strict).await;
    let romeo = online(&server, "romeo").await;
    let mut watch = romeo.caps().watch();
    let juliet = online(&server, "juliet").await;
    let j = Jid::from(juliet.jid().expect("bound"));
    until(&romeo, "juliet", |state| state.get(&j).is_some()).await;
    // It is what we are ourselves.
    let login = questions_of_a_login(&romeo, true).await;
    assert_questions(&server, "romeo", &[&login]);
    juliet.close().await;
    until(&romeo, "nobody", |state| state.get(&j).is_none()).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&false) {
        match within("changes", watch.next()).await.expect("the client lives") {
            Observed::Change(CapsChange::Known(jid, _)) if jid == j => seen.push(true),
            Observed::Change(CapsChange::Unknown(jid)) if jid == j => seen.push(false),
            _ => {}
        }
    }
    assert_eq!(seen, [true, false]);
}

/// Answers what it likes.
struct Liar(Vec<&'static str>);

impl Extension for Liar {
    fn register(&self, reg: &mut Registrar<'_>) {
        let features = self.0.clone();
        reg.on_iq_get(move |request: IqRequest<DiscoInfoQuery>, _: Ctx| {
            let features = features.clone();
            async move {
                Answer::payload(&DiscoInfoResult {
                    node: request.into_payload().node,
                    identities: Vec::new(),
                    features: features.into_iter().map(Into::into).collect(),
                    extensions: Vec::new(),
                })
            }
        });
    }
}

/// A client of this account that answers so; it sends no presence of its own.
async fn liar(server: &Server, name: &str, features: &[&'static str]) -> (Client, FullJid) {
    let builder = builder(server, name).without::<DiscoService>().without::<CapsService>().with(Liar(features.to_vec()));
    let client = connected(builder.without_initial_presence()).await;
    let jid = client.jid().expect("bound");
    (client, jid)
}

/// That client's presence comes to romeo.
fn announce(server: &Server, from: &FullJid, c: &str) {
    let to = server.jid("romeo").expect("a JID");
    let c = format!("<c xmlns='http://jabber.org/protocol/caps' {c}/>");
    server.route_stanza(&format!("<presence xmlns='jabber:client' from='{from}' to='{to}'>{c}</presence>")).expect("routed");
}

fn own_ver(server: &Server, name: &str) -> String {
    let presences = announced(server, name);
    let [_, _, ver] = presences.into_iter().find_map(|(_, c)| c).expect("announced");
    ver
}

#[tokio::test]
async fn a_wrong_answer_is_believed_of_nobody_else_and_another_is_asked() {
    let server = friends(Dialect::Strict).await;
    let (honest, _) = game(&server, "juliet").await;
    let ver = own_ver(&server, "juliet");
    honest.close().await;

    let romeo = online(&server, "romeo").await;
    server.wait_online(romeo.account().clone()).await;
    let (_liar, l) = liar(&server, "nurse", &["urn:example:lie"]).await;
    announce(&server, &l, &format!("hash='sha-1' node='urn:n' ver='{ver}'"));
    let state = until(&romeo, "the liar", |state| state.get(&l.clone().into()).is_some()).await;
    assert!(state.get(&l.clone().into()).is_some_and(|info| info.supports("urn:example:lie")), "it may say so of itself");
    let login = questions_of_a_login(&romeo, true).await;
    let of_the_liar = (format!("urn:n#{ver}"), l.to_string());
    assert_questions(&server, "romeo", &[&login, std::slice::from_ref(&of_the_liar)]);

    let (_juliet, j) = game(&server, "juliet").await;
    let state = until(&romeo, "juliet", |state| state.get(&j).is_some()).await;
    assert!(state.get(&j).is_some_and(|info| info.supports(GAME) && !info.supports("urn:example:lie")));
    // She was asked herself.
    assert_questions(&server, "romeo", &[&login, &[of_the_liar, (format!("urn:xmppkit#{ver}"), j.to_string())]]);
}

#[tokio::test]
async fn what_no_hash_vouches_for_is_believed_of_each_alone_and_not_stored() {
    let server = friends(Dialect::Strict).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let romeo = connected(builder(&server, "romeo").store(store)).await;
    server.wait_online(romeo.account().clone()).await;
    let (_one, one) = liar(&server, "nurse", &["urn:example:one"]).await;
    let (_other, other) = liar(&server, "juliet", &["urn:example:other"]).await;
    let asked = |server: &Server| questions(server, "romeo").iter().filter(|(node, _)| node == "urn:n#v").count();
    for (n, c) in ["hash='sha-999' node='urn:n' ver='v'", "hash='sha-1' node='urn:n' ver='v'"].into_iter().enumerate() {
        announce(&server, &one, c);
        announce(&server, &other, c);
        within("questions to both", server.wait_for(|server| asked(server) == 2 * (n + 1))).await;
        let state =
            until(&romeo, "both", |state| [&one, &other].iter().all(|jid| state.get(&Jid::from((*jid).clone())).is_some()));
        let state = state.await;
        for (jid, feature) in [(&one, "urn:example:one"), (&other, "urn:example:other")] {
            assert!(state.get(&jid.clone().into()).is_some_and(|info| info.supports(feature)), "{c}");
        }
    }
    assert!(romeo.store().caps("sha-1 v").await.expect("read").is_none());

    // The legacy format is asked about when the application asks, and without the node that stands for a part.
    announce(&server, &one, "node='urn:n' ver='1.0' ext='a'");
    until(&romeo, "the news", |state| state.get(&one.clone().into()).is_none()).await;
    assert!(romeo.disco().supports(one.clone(), "urn:example:one").await.expect("an answer"));
    assert_eq!(questions(&server, "romeo").last(), Some(&(String::new(), one.to_string())));
    assert!(romeo.caps().get(&one.into()).is_some());
}

#[tokio::test]
async fn strangers_are_not_asked_unbidden() {
    let server = friends(Dialect::Strict).await;
    let juliet = online(&server, "juliet").await;
    let nurse = connected(builder(&server, "nurse").with(Game)).await;
    server.wait_online(juliet.account().clone()).await;
    let n = Jid::from(nurse.jid().expect("bound"));
    nurse.presence().send_to(juliet.account().clone()).await.expect("sent");
    within("her presence", juliet.presence().watch().wait_for(|state| !state.of(&n.to_bare()).is_empty()))
        .await
        .expect("the client lives");
    // What would be asked would be asked before this.
    juliet.disco().account().fresh().await.expect("an answer");
    let login = [questions_of_a_login(&juliet, true).await, vec![(String::new(), String::new())]].concat();
    assert_questions(&server, "juliet", &[&login]);
    assert_eq!(juliet.caps().get(&n), None);

    assert!(juliet.disco().supports(n.clone(), GAME).await.expect("an answer"));
    let of_her = (format!("urn:xmppkit#{}", own_ver(&server, "nurse")), n.to_string());
    assert_questions(&server, "juliet", &[&login, &[of_her]]);
    assert!(juliet.caps().get(&n).is_some());
}

#[tokio::test]
async fn an_error_carries_back_our_own_capabilities_which_are_not_the_senders() {
    let server = friends(Dialect::Strict).await;
    let romeo = online(&server, "romeo").await;
    server.wait_online(romeo.account().clone()).await;
    let c = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:n' ver='v'/>";
    let error = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    let from = "juliet@example.org/gone";
    let mut updates = romeo.subscribe::<xmppkit::presence::PresenceUpdate>().events();
    server
        .route_stanza(&format!(
            "<presence xmlns='jabber:client' type='error' from='{from}' to='{}'>{c}{error}</presence>",
            romeo.account()
        ))
        .expect("routed");
    while within("the error", updates.next()).await.expect("the client lives").error().is_none() {}
    // What would be asked would be asked before this.
    romeo.disco().account().fresh().await.expect("an answer");
    let login = [questions_of_a_login(&romeo, true).await, vec![(String::new(), String::new())]].concat();
    assert_questions(&server, "romeo", &[&login]);
}

#[tokio::test]
async fn without_the_extension_nothing_is_announced_or_known() {
    let server = friends(Dialect::Strict).await;
    let (_juliet, j) = game(&server, "juliet").await;
    let romeo = connected(builder(&server, "romeo").without::<CapsService>()).await;
    server.wait_online(romeo.account().clone()).await;
    assert!(announced(&server, "romeo").iter().all(|(_, c)| c.is_none()));
    within("her presence", romeo.presence().watch().wait_for(|state| !state.of(&j.to_bare()).is_empty()))
        .await
        .expect("the client lives");
    assert_eq!(romeo.caps().get(&j), None);
    assert!(romeo.disco().supports(j, GAME).await.expect("asked"));
}
