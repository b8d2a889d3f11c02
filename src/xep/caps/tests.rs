//! The table of who announces what, step by step.

use std::sync::Arc;

use jid::{BareJid, Jid};

use super::hash;
use super::table::{Announced, Question, Table};
use crate::xep::disco::Info;
use crate::xml::Frame;

fn c(attributes: &str) -> Option<Announced> {
    Announced::read(Frame::parse(&format!("<c xmlns='http://jabber.org/protocol/caps' {attributes}/>")).expect("XML").root())
}

fn announces(ver: &str) -> Announced {
    c(&format!("hash='sha-1' node='urn:n' ver='{ver}'")).expect("a whole one")
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
        assert!(table.announce(jid, announces(ver), true));
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
        table.announce(&romeo, announced.clone(), true);
        table.announce(&juliet, announced.clone(), true);
        assert_eq!(table.answer(&romeo, &announced, info("urn:a")), std::slice::from_ref(&romeo), "{attributes}");
        assert_eq!((table.known(&romeo), table.known(&juliet)), (Some(info("urn:a")), None), "{attributes}");

        assert!(table.announce(&romeo, announces("new"), true));
        assert_eq!(table.known(&romeo), None, "{attributes}");
        assert!(table.answer(&romeo, &announced, info("urn:a")).is_empty(), "it is what it announced before");
    }
}

#[test]
fn who_was_asked_in_vain_is_not_asked_again_and_another_is() {
    let mut table = Table::default();
    let (romeo, juliet) = (jid("romeo@a/x"), jid("juliet@b/x"));
    table.announce(&romeo, announces("v"), true);
    assert!(table.wait(Question::Hash("v".into())) && !table.wait(Question::Hash("v".into())));
    assert_eq!(table.next(), Some(Question::Hash("v".into())));
    table.try_it(&romeo);
    assert_eq!(table.candidate("v"), None);
    table.wait(Question::Hash("v".into()));
    assert_eq!(table.next(), None, "there is nobody to ask");
    table.announce(&juliet, announces("v"), true);
    assert_eq!(table.candidate("v"), Some(juliet));
    table.announce(&romeo, announces("w"), true);
    assert_eq!(table.candidate("w"), Some(romeo), "what it announces now was not asked for");
}

#[test]
fn a_question_of_somebody_who_is_gone_is_not_asked() {
    let mut table = Table::default();
    let romeo = jid("romeo@a/x");
    table.announce(&romeo, announces("v"), true);
    table.wait(Question::Hash("v".into()));
    assert!(table.remove(&romeo) && !table.remove(&romeo));
    assert_eq!(table.next(), None);
}

#[test]
fn nobody_can_make_the_table_grow_without_end() {
    let mut table = Table::default();
    let of_one = |n: usize| jid(&format!("romeo@a/{n}"));
    assert_eq!((0..100).filter(|n| table.announce(&of_one(*n), announces("v"), true)).count(), 64);
    assert!(table.announce(&of_one(0), announces("w"), true), "who is there may announce another thing");

    let stranger = |n: usize| jid(&format!("s{n}@b/x"));
    assert_eq!((0..1_100).filter(|n| table.announce(&stranger(*n), announces("v"), false)).count(), 1_000);
    assert!(table.announce(&jid("contact@b/x"), announces("v"), true));
    table.remove(&stranger(0));
    assert!(table.announce(&stranger(1_099), announces("v"), false), "there is room again");

    for n in 0..1_100 {
        table.learn(&n.to_string(), info("urn:a"));
    }
    assert!(table.meaning("99").is_none() && table.meaning("100").is_some());
    assert_eq!((0..1_100).filter(|n| table.wait(Question::Of(stranger(*n)))).count(), 1_000);
}

#[test]
fn after_the_session_nobody_is_there_and_hashes_mean_what_they_did() {
    let mut table = Table::default();
    let server = Jid::from(BareJid::new("a").expect("a JID"));
    table.announce(&server, announces("v"), true);
    table.learn("v", info("urn:a"));
    table.clear();
    assert_eq!(table.known(&server), None);
    table.announce(&server, announces("v"), true);
    assert_eq!(table.known(&server), Some(info("urn:a")));
}
