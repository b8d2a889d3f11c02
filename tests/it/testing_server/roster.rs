use xmppkit::testing::{Contact, Dialect, Server, Subscription, Versioning};
use xmppkit::xml::Frame;

use super::client::{Client, condition};

const NS: &str = "jabber:iq:roster";

async fn start(dialect: Dialect) -> Server {
    Server::builder().dialect(dialect).domain("example.org").account("romeo", "secret").start().await.unwrap()
}

fn set(item: &str) -> String {
    format!("<query xmlns='{NS}'>{item}</query>")
}

/// Addresses and versions in a roster or a push, as `jid subscription name groups`.
fn items(frame: &Frame) -> Vec<String> {
    let Some(query) = frame.child(NS, "query") else { return Vec::new() };
    let of = |item: xmppkit::xml::Node<'_>| {
        let groups: Vec<_> = item.children().map(|g| g.text().into_owned()).collect();
        let attr = |name| item.attr(name).unwrap_or_default().into_owned();
        format!("{} {} {} {}", attr("jid"), attr("subscription"), attr("name"), groups.join("+")).trim_end().to_owned()
    };
    query.children().map(of).collect()
}

#[tokio::test]
async fn a_change_is_pushed_to_every_resource_that_asked_for_the_roster() {
    let server = start(Dialect::Strict).await;
    let mut one = Client::online(&server, "romeo", "one").await;
    let mut two = Client::online(&server, "romeo", "two").await;
    let mut uninterested = Client::login(&server, "romeo", "secret", "three").await;
    one.sync().await;

    let item = "<item jid='Juliet@example.org' name='J &amp; C' subscription='both'><group>Friends</group></item>";
    let (reply, before) = one.ask("set", &set(item)).await;
    assert_eq!(reply.attr("type").as_deref(), Some("result"));
    assert!(before.is_empty(), "in the strict dialect the result comes first");
    for client in [&mut one, &mut two] {
        let pushes = client.sync().await;
        let push = pushes.iter().find(|f| f.name() == "iq").unwrap();
        assert_eq!(items(push), ["juliet@example.org none J & C Friends"], "subscription is not the client's to set");
    }
    assert!(uninterested.sync().await.is_empty());

    let (roster, _) = two.ask("get", &set("")).await;
    assert_eq!(items(&roster), ["juliet@example.org none J & C Friends"]);
    let (reply, _) = two.ask("set", &set("<item jid='juliet@example.org' subscription='remove'/>")).await;
    assert_eq!(reply.attr("type").as_deref(), Some("result"));
    assert_eq!(items(&one.sync().await[0]), ["juliet@example.org remove"]);
    assert!(server.roster(&server.jid("romeo").unwrap()).is_empty());
}

#[tokio::test]
async fn wrong_roster_sets_are_refused() {
    let server = start(Dialect::Strict).await;
    let mut client = Client::online(&server, "romeo", "x").await;
    for (item, wanted) in [
        ("", "bad-request"),
        ("<item jid='a@b'/><item jid='c@d'/>", "bad-request"),
        ("<item jid='a@b/resource'/>", "bad-request"),
        ("<item name='nobody'/>", "bad-request"),
        ("<item jid='romeo@example.org'/>", "not-allowed"),
        ("<item jid='a@b' subscription='remove'/>", "item-not-found"),
        ("<item jid='a@b'><group/></item>", "not-acceptable"),
        ("<item jid='a@b'><group>x</group><group>x</group></item>", "bad-request"),
    ] {
        let (reply, _) = client.ask("set", &set(item)).await;
        assert_eq!(condition(&reply).as_deref(), Some(wanted), "{item}");
    }
    client.send(&format!("<iq type='get' id='other' to='juliet@example.org'>{}</iq>", set(""))).await;
    assert_eq!(condition(&client.until("other").await.0).as_deref(), Some("forbidden"));
}

#[tokio::test]
async fn an_old_version_is_answered_with_pushes_or_with_the_whole_roster() {
    for versioning in [Versioning::Pushes, Versioning::Whole, Versioning::Off] {
        let builder = Server::builder().domain("example.org").account("romeo", "secret");
        let server = builder.differences(|d| d.roster_versioning = versioning).start().await.unwrap();
        let romeo = server.jid("romeo").unwrap();
        let contact = |name: &str| Contact::new(server.jid(name).unwrap());
        server.add_contact(&romeo, contact("a"));
        server.add_contact(&romeo, contact("b").subscription(Subscription::Both).group("g"));

        let mut client = Client::login(&server, "romeo", "secret", "x").await;
        let (roster, _) = client.ask("get", &format!("<query xmlns='{NS}' ver=''/>")).await;
        assert_eq!(items(&roster), ["a@example.org none", "b@example.org both  g"]);
        let version = roster.child(NS, "query").unwrap().attr("ver").map(|v| v.into_owned());
        assert_eq!(version.is_some(), versioning != Versioning::Off);
        let ask = format!("<query xmlns='{NS}' ver='{}'/>", version.unwrap_or_default());

        let (unchanged, _) = client.ask("get", &ask).await;
        assert_eq!(unchanged.child(NS, "query").is_none(), versioning != Versioning::Off, "{versioning:?}");

        drop(client);
        server.add_contact(&romeo, contact("c"));
        let mut client = Client::login(&server, "romeo", "secret", "y").await;
        client.ask("set", &set("<item jid='a@example.org' subscription='remove'/>")).await;
        let (changed, _) = client.ask("get", &ask).await;
        let pushes: Vec<_> = client.sync().await.iter().flat_map(items).collect();
        if versioning == Versioning::Pushes {
            assert!(changed.child(NS, "query").is_none());
            assert_eq!(pushes, ["c@example.org none", "a@example.org remove"]);
        } else {
            assert_eq!(items(&changed), ["b@example.org both  g", "c@example.org none"]);
            assert!(pushes.is_empty());
        }
    }
}

#[tokio::test]
async fn dialects_address_results_and_pushes_in_their_own_way() {
    let (bare, full) = (Some("romeo@example.org"), Some("romeo@example.org/x"));
    for (dialect, result_from, push_from, push_to, push_first, echo) in [
        (Dialect::Strict, bare, None, full, false, true),
        (Dialect::Prosody, None, None, None, false, false),
        (Dialect::OldEjabberd, bare, bare, full, true, true),
        (Dialect::Openfire, None, None, bare, true, true),
    ] {
        let server = start(dialect).await;
        let mut client = Client::online(&server, "romeo", "x").await;
        let (result, before) = client.ask("set", &set("<item jid='a@b'/>")).await;
        let pushed_after = client.sync().await;
        assert_eq!((before.len(), pushed_after.len()), if push_first { (1, 0) } else { (0, 1) }, "{dialect:?}");
        let push = before.into_iter().chain(pushed_after).next().unwrap();
        assert_eq!(result.attr("from").as_deref(), result_from, "{dialect:?}");
        assert_eq!(push.attr("from").as_deref(), push_from, "{dialect:?}");
        assert_eq!(push.attr("to").as_deref(), push_to, "{dialect:?}");
        let (error, _) = client.ask("get", "<query xmlns='urn:unknown'/>").await;
        assert_eq!(condition(&error).as_deref(), Some("service-unavailable"));
        assert_eq!(error.child("urn:unknown", "query").is_some(), echo, "{dialect:?}");
    }
}

#[tokio::test]
async fn the_server_answers_small_questions_and_refuses_the_unknown() {
    let server = start(Dialect::Strict).await;
    let mut client = Client::online(&server, "romeo", "x").await;
    client.send("<iq type='get' id='i' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>").await;
    let (info, _) = client.until("i").await;
    assert_eq!(info.attr("from").as_deref(), Some("example.org"));
    let query = info.child("http://jabber.org/protocol/disco#info", "query").unwrap();
    let features: Vec<_> = query.children().filter_map(|f| f.attr("var").map(|v| v.into_owned())).collect();
    for wanted in ["urn:xmpp:ping", "jabber:iq:roster", "jabber:iq:register", "http://jabber.org/protocol/disco#items"] {
        assert!(features.iter().any(|f| f == wanted), "{features:?}");
    }
    let (own, _) = client.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await;
    let identity = own.child("http://jabber.org/protocol/disco#info", "query").unwrap().children().next().unwrap();
    assert_eq!(identity.attr("category").as_deref(), Some("account"));
    client.send("<iq type='get' id='v' to='example.org'><query xmlns='jabber:iq:version'/></iq>").await;
    assert!(client.until("v").await.0.child("jabber:iq:version", "query").unwrap().child("jabber:iq:version", "name").is_some());
    client.send("<iq type='get' id='t' to='example.org'><time xmlns='urn:xmpp:time'/></iq>").await;
    let time = client.until("t").await.0.child("urn:xmpp:time", "time").unwrap().to_standalone_xml();
    assert!(time.contains("<tzo>+00:00</tzo>") && time.contains("Z</utc>"), "{time}");
    for (to, seconds) in [("example.org", true), ("romeo@example.org", true), ("juliet@example.org", false)] {
        client.send(&format!("<iq type='get' id='l' to='{to}'><query xmlns='jabber:iq:last'/></iq>")).await;
        let (reply, _) = client.until("l").await;
        let query = reply.child("jabber:iq:last", "query").filter(|query| query.attr("seconds").is_some());
        assert_eq!(query.is_some(), seconds, "{to}");
        if !seconds {
            assert_eq!(condition(&reply).as_deref(), Some("forbidden"), "{to}");
        }
    }
    for to in ["example.org", "nobody@example.org", "romeo@example.org/gone"] {
        client.send(&format!("<iq type='get' id='u' to='{to}'><x xmlns='urn:unknown'/></iq>")).await;
        assert_eq!(condition(&client.until("u").await.0).as_deref(), Some("service-unavailable"), "{to}");
    }
    for bad in ["<iq type='get'><a xmlns='x'/></iq>", "<iq type='what' id='1'/>", "<iq type='get' id='1'/>"] {
        client.send(bad).await;
        assert_eq!(condition(&client.sync().await[0]).as_deref(), Some("bad-request"), "{bad}");
    }
}
