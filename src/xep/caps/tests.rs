//! The table of who announces what, step by step.

use std::sync::Arc;

use jid::{BareJid, Jid};

use super::hash;
use super::table::{Announced, Question, Seen, Table};
use crate::xep::disco::Info;
use crate::xml::Frame;

fn c(attributes: &str) -> Option<Announced> {
    Seen::read(xml(attributes).root()).map(Announced::from)
}

fn xml(attributes: &str) -> Frame {
    Frame::parse(&format!("<c xmlns='http://jabber.org/protocol/caps' {attributes}/>")).expect("XML")
}

/// The address announces this; whether that is news.
fn says(table: &mut Table, jid: &Jid, attributes: &str, is_contact: bool) -> bool {
    let frame = xml(attributes);
    table.announce(jid, &jid.to_bare(), Seen::read(frame.root()).expect("a whole one"), is_contact).is_some()
}

/// The same of a hash.
fn announce(table: &mut Table, jid: &Jid, ver: &str, is_contact: bool) -> bool {
    says(table, jid, &of_hash(ver), is_contact)
}

fn of_hash(ver: &str) -> String {
    format!("hash='sha-1' node='urn:n' ver='{ver}'")
}

fn announces(ver: &str) -> Announced {
    c(&of_hash(ver)).expect("a whole one")
}

fn info(feature: &str) -> Arc<Info> {
    Arc::new(Info::new([], [feature.to_owned()], []))
}

fn jid(text: &str) -> Jid {
    Jid::new(text).expect("a JID")
}

#[test]
fn what_lacks_something_or_is_too_long_is_no_announcement() {
    for attributes in ["", "node='urn:n' hash='sha-1'", "ver='v' hash='sha-1'"] {
        assert_eq!(c(attributes), None, "{attributes}");
    }
    assert_eq!(c(&format!("node='{}' ver='v' hash='sha-1'", "n".repeat(1_024))), None);
    let query_node = |attributes| c(attributes).and_then(|c| c.query_node());
    assert_eq!(query_node("node='urn:n' ver='v' hash='sha-1'").as_deref(), Some("urn:n#v"));
    assert_eq!(query_node("node='urn:n' ver='1.0' ext='a b'"), None);
}

#[test]
fn a_verified_answer_is_believed_for_all_who_announce_the_hash() {
    let (mut table, info) = (Table::default(), info("urn:a"));
    let ver = hash::ver(&info);
    let (romeo, juliet, nurse) = (jid("romeo@a/x"), jid("juliet@b/x"), jid("nurse@b/x"));
    for (jid, ver) in [(&romeo, ver.as_str()), (&juliet, ver.as_str()), (&nurse, "other")] {
        assert!(announce(&mut table, jid, ver, true));
    }
    assert_eq!(table.question(&romeo), Some(Question::Hash(ver.clone())));
    let mut believed = table.answer(&romeo, &announces(&ver), Arc::clone(&info));
    believed.sort();
    assert_eq!(believed, [juliet.clone(), romeo]);
    assert_eq!((table.known(&juliet), table.known(&nurse)), (Some(info), None));
    assert_eq!(table.question(&juliet), None);
}

#[test]
fn an_answer_that_is_not_verified_is_believed_of_who_gave_it_while_they_announce_the_same() {
    for attributes in ["hash='sha-1' node='urn:n' ver='wrong='", "hash='sha-999' node='urn:n' ver='v'", "node='urn:n' ver='1.0'"]
    {
        let (mut table, announced) = (Table::default(), c(attributes).expect("a whole one"));
        let (romeo, juliet) = (jid("romeo@a/x"), jid("juliet@b/x"));
        says(&mut table, &romeo, attributes, true);
        says(&mut table, &juliet, attributes, true);
        assert_eq!(table.answer(&romeo, &announced, info("urn:a")), std::slice::from_ref(&romeo), "{attributes}");
        assert_eq!((table.known(&romeo), table.known(&juliet)), (Some(info("urn:a")), None), "{attributes}");

        assert!(announce(&mut table, &romeo, "new", true));
        assert_eq!(table.known(&romeo), None, "{attributes}");
        assert!(table.answer(&romeo, &announced, info("urn:a")).is_empty(), "it is what it announced before");
    }
}

#[test]
fn who_was_asked_in_vain_is_not_asked_again_and_another_is() {
    let mut table = Table::default();
    let (romeo, juliet) = (jid("romeo@a/x"), jid("juliet@b/x"));
    announce(&mut table, &romeo, "v", true);
    assert!(table.wait(Question::Hash("v".into())) && !table.wait(Question::Hash("v".into())));
    assert_eq!(table.next(), Some(Question::Hash("v".into())));
    table.try_it(&romeo);
    assert_eq!(table.candidate("v"), None);
    table.wait(Question::Hash("v".into()));
    assert_eq!(table.next(), None, "there is nobody to ask");
    announce(&mut table, &juliet, "v", true);
    assert_eq!(table.candidate("v"), Some(juliet));
    announce(&mut table, &romeo, "w", true);
    assert_eq!(table.candidate("w"), Some(romeo), "what it announces now was not asked for");
}

#[test]
fn a_question_of_somebody_who_is_gone_is_not_asked() {
    let mut table = Table::default();
    let romeo = jid("romeo@a/x");
    announce(&mut table, &romeo, "v", true);
    table.wait(Question::Hash("v".into()));
    assert!(table.remove(&romeo) && !table.remove(&romeo));
    assert_eq!(table.next(), None);
}

#[test]
fn nobody_can_make_the_table_grow_without_end() {
    let mut table = Table::default();
    let of_one = |n: usize| jid(&format!("romeo@a/{n}"));
    assert_eq!((0..100).filter(|n| announce(&mut table, &of_one(*n), "v", true)).count(), 64);
    assert!(announce(&mut table, &of_one(0), "w", true), "who is there may announce another thing");

    let stranger = |n: usize| jid(&format!("s{n}@b/x"));
    assert_eq!((0..1_100).filter(|n| announce(&mut table, &stranger(*n), "v", false)).count(), 1_000);
    assert!(announce(&mut table, &jid("contact@b/x"), "v", true));
    table.remove(&stranger(0));
    assert!(announce(&mut table, &stranger(1_099), "v", false), "there is room again");

    table.set_own("own", info("urn:own"));
    for n in 0..1_100 {
        table.learn(&n.to_string(), info("urn:a"));
    }
    assert!(table.meaning("99").is_none() && table.meaning("100").is_some());
    assert_eq!(table.meaning("own"), Some(&info("urn:own")), "our own stays");
    assert_eq!(
        (0..1_100).filter(|n| table.wait(Question::Of(stranger(*n)))).count(),
        1,
        "they wait for who was told of the first"
    );
    assert_eq!(std::iter::from_fn(|| table.next()).count(), 999, "of 1,000 that wait, one is about somebody who is gone");
    assert!(table.wait(Question::Of(stranger(1))), "whoever asks has found none");
}

#[test]
fn after_the_session_nobody_is_there_and_hashes_mean_what_they_did() {
    let mut table = Table::default();
    let server = Jid::from(BareJid::new("a").expect("a JID"));
    announce(&mut table, &server, "v", true);
    table.learn("v", info("urn:a"));
    table.clear();
    assert_eq!(table.known(&server), None);
    announce(&mut table, &server, "v", true);
    assert_eq!(table.known(&server), Some(info("urn:a")));
}
