use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::{Outbox, Resolution};
use crate::driver::Outgoing;
use crate::store::{ArchiveId, OutboxEntry, SendStatus, SentUpdate};
use crate::xml::OutStanza;

fn message(id: &str, to: &str) -> OutStanza {
    OutStanza::from_xml(&format!("<message xmlns='jabber:client' id='{id}' to='{to}'><body>{id}</body></message>")).expect("XML")
}

fn accept(outbox: &Outbox, id: &str) {
    outbox.add(id.to_owned(), message(id, "juliet@capulet.example"), false, SystemTime::now()).expect("accepted");
}

/// What an earlier process left: whether it was written, and under which number of its last session.
fn left(id: &str, written: bool, number: Option<u32>) -> OutboxEntry {
    let now = SystemTime::now();
    let to = "juliet@capulet.example";
    let xml = message(id, to).to_stanza().to_standalone_xml();
    let mut entry = OutboxEntry::new(id, to.parse().ok(), xml.as_str(), now);
    if written {
        entry.update(&SentUpdate::new(id).written(number, now));
    }
    entry
}

/// Writes all that waits; gives the ids.
fn write(outbox: &Outbox) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(Outgoing::Stanza { token, stanza }) = outbox.next() {
        outbox.written(token);
        ids.extend(stanza.to_stanza().id().map(|id| id.into_owned()));
    }
    ids
}

fn unresolved(outbox: &Outbox) -> Vec<String> {
    outbox.unresolved().into_iter().map(|message| message.id).collect()
}

fn status(outbox: &Outbox, id: &str) -> SendStatus {
    outbox.sent(id).expect("its token").status()
}

#[test]
fn a_later_cut_does_not_put_off_when_the_archive_can_tell() {
    let outbox = Outbox::default();
    outbox.set_managed(true);
    accept(&outbox, "1");
    write(&outbox);
    outbox.cut();
    outbox.session_lost(None);
    let cut = outbox.unresolved()[0].cut;
    assert!(cut.elapsed().is_ok_and(|age| age < Duration::from_secs(60)));
    outbox.cut();
    assert_eq!(outbox.unresolved()[0].cut, cut);
    outbox.resumed_at(0, SystemTime::now());
    assert_eq!(outbox.unresolved()[0].cut, cut);
}

#[test]
fn a_resumed_session_does_not_lend_its_cut_to_a_later_loss() {
    let outbox = Outbox::default();
    outbox.set_managed(true);
    outbox.cut();
    let resumed = SystemTime::now();
    outbox.resumed_at(0, resumed);
    accept(&outbox, "1");
    write(&outbox);
    outbox.session_lost(None);
    assert!(outbox.unresolved()[0].cut >= resumed);
}

#[test]
fn a_process_that_is_killed_does_not_put_off_when_the_archive_can_tell() {
    let outbox = Outbox::default();
    outbox.set_managed(true);
    accept(&outbox, "1");
    write(&outbox);
    let noted = outbox.session_lost(None);
    let cut = outbox.unresolved()[0].cut;
    assert_eq!((noted[0].id.as_str(), noted[0].cut), ("1", Some(cut)));

    // The next process dies as well, before it has found out; and so on.
    let mut entry = left("1", true, Some(7));
    entry.update(&noted[0]);
    entry.number = None;
    for _ in 0..2 {
        let outbox = Outbox::default();
        outbox.restore(vec![entry.clone()]);
        let noted = outbox.session_lost(None);
        assert_eq!((outbox.unresolved()[0].cut, noted[0].cut), (cut, Some(cut)));
    }
    let outbox = Outbox::default();
    outbox.restore(vec![entry.clone()]);
    outbox.resumed_at(0, SystemTime::now());
    assert_eq!(outbox.unresolved()[0].cut, cut);

    // Written again it is in a session that has its own end.
    entry.update(&SentUpdate::new("1").written(Some(3), SystemTime::now()));
    assert_eq!(entry.cut, None);
    let outbox = Outbox::default();
    outbox.restore(vec![entry]);
    outbox.session_lost(None);
    assert!(outbox.unresolved()[0].cut > cut);
}

#[test]
fn what_an_earlier_process_could_not_find_out_is_found_out_and_not_sent_again() {
    let outbox = Outbox::default();
    // The first was written in a session that was lost before the one that is resumed now.
    outbox.restore(vec![left("1", true, None), left("2", true, Some(5)), left("3", true, Some(7)), left("4", false, None)]);
    let keep: Vec<_> = ["1", "2", "3", "4"].map(|id| outbox.sent(id).expect("its token")).into();
    assert_eq!(outbox.resumed_at(6, SystemTime::now()), ["2"]);
    outbox.set_managed(true);
    assert_eq!(unresolved(&outbox), ["1"]);
    assert_eq!(write(&outbox), [""; 0], "nothing to this address goes out before it is known what became of the first");
    accept(&outbox, "5");
    outbox.resolve(&HashMap::from([("1".to_owned(), Resolution::Arrived)]));
    assert_eq!(write(&outbox), ["3", "4", "5"]);
    assert!(keep[0].status().acked.is_some() && keep[0].status().resent_unverified.is_none());
}

#[test]
fn the_count_of_a_refusal_decides_about_an_earlier_process_too() {
    let outbox = Outbox::default();
    outbox.restore(vec![left("0", true, None), left("1", true, Some(5)), left("2", true, Some(7)), left("3", false, None)]);
    let keep: Vec<_> = ["0", "1", "2", "3"].map(|id| outbox.sent(id).expect("its token")).into();
    let noted = outbox.session_lost(Some(5));
    let settled: Vec<_> = noted.iter().filter(|update| update.settled).map(|update| update.id.as_str()).collect();
    assert_eq!(settled, ["1"]);
    let told: Vec<_> = outbox.unresolved().into_iter().map(|message| (message.id, message.counted)).collect();
    assert_eq!(told, [("0".to_owned(), false), ("2".to_owned(), true)]);
    // There is no archive.
    outbox.resolve(&HashMap::new());
    assert_eq!(write(&outbox), ["0", "2", "3"]);
    assert!(status(&outbox, "0").resent_unverified.is_some());
    assert!(status(&outbox, "2").resent_unverified.is_none(), "the server said that it had not come so far");
    drop(keep);
}

#[test]
fn counts_are_compared_modulo_two_to_the_power_of_32() {
    let outbox = Outbox::default();
    outbox.restore(vec![left("1", true, Some(u32::MAX)), left("2", true, Some(0)), left("3", true, Some(2))]);
    assert_eq!(outbox.resumed_at(1, SystemTime::now()), ["1", "2"]);
    assert_eq!(write(&outbox), ["3"]);
}

#[test]
fn the_archive_is_asked_from_what_it_had_before_the_first_writing() {
    let archive = |id: &str| ArchiveId::new("romeo@montague.example".parse().expect("a JID"), id);
    let outbox = Outbox::default();
    outbox.set_managed(true);
    accept(&outbox, "1");
    let Some(Outgoing::Stanza { token, .. }) = outbox.next() else { panic!("a message") };
    let noted = outbox.numbered(&[(token, 1)], Some(&archive("a")), SystemTime::now());
    assert_eq!((noted[0].number, noted[0].archive_after.clone()), (Some(1), Some(archive("a"))));
    outbox.written(token);
    outbox.session_lost(None);
    outbox.resolve(&HashMap::new());
    let Some(Outgoing::Stanza { token, .. }) = outbox.next() else { panic!("a message") };
    let noted = outbox.numbered(&[(token, 1)], Some(&archive("b")), SystemTime::now());
    assert_eq!(noted[0].archive_after, Some(archive("a")), "the first copy may stand before what is known now");
    outbox.session_lost(None);
    assert_eq!(outbox.unresolved()[0].archive_after, Some(archive("a")));
}

#[test]
fn what_nobody_asks_about_any_more_is_not_remembered() {
    let outbox = Outbox::default();
    let held =
        outbox.add("held".to_owned(), message("held", "juliet@capulet.example"), false, SystemTime::now()).expect("accepted");
    for n in 0..1_000 {
        accept(&outbox, &n.to_string());
        write(&outbox);
        assert!(outbox.lock().records.len() <= super::FEW);
    }
    assert_eq!(outbox.sent("held").expect("its token").status(), held.status());
    assert!(outbox.sent("5").is_none());
    // Those that are not sent yet are remembered, however many.
    (0..1_000).for_each(|n| accept(&outbox, &n.to_string()));
    assert!((0..1_000).all(|n| outbox.sent(&n.to_string()).is_some()));
}
