//! Who may answer a request (R48), and when nobody does.

use std::time::Duration;

use super::support::*;
use crate::error::StanzaErrorType;
use crate::stream::Input;

fn ask(bench: &mut Bench, token: u64, id: &str, to: Option<&str>, timeout: Option<Duration>) {
    let to = to.map(|to| format!(" to='{to}'")).unwrap_or_default();
    let stanza = iq(&format!("<iq type='get' id='{id}'{to}><ping xmlns='urn:xmpp:ping'/></iq>"));
    bench.input(Input::Request { token, stanza, timeout });
}

fn reply(id: &str, from: Option<&str>) -> String {
    let from = from.map(|from| format!(" from='{from}'")).unwrap_or_default();
    format!("<iq type='result' id='{id}'{from}/>")
}

/// Every sender a reply may claim.
const SENDERS: [Option<&str>; 10] = [
    None,
    Some(ACCOUNT),
    Some(FULL),
    Some("juliet@im.example.com/other"),
    Some(DOMAIN),
    Some("im.example.com/x"),
    Some("romeo@im.example.com"),
    Some("romeo@example.net"),
    Some("romeo@example.net/orchard"),
    Some("example.net"),
];

/// R48, row by row: the request's `to`, and the senders that are believed. All others of the list are not.
#[test]
fn a_reply_counts_only_from_whom_it_was_asked() {
    let rows: [(Option<&str>, &[Option<&str>]); 8] = [
        (None, &[None, Some(ACCOUNT), Some(FULL), Some(DOMAIN)]),
        (Some(ACCOUNT), &[None, Some(ACCOUNT), Some(FULL)]),
        (Some(DOMAIN), &[None, Some(DOMAIN)]),
        (Some(FULL), &[Some(FULL)]),
        (Some("romeo@example.net/orchard"), &[Some("romeo@example.net/orchard")]),
        (Some("romeo@example.net"), &[Some("romeo@example.net")]),
        (Some("example.net"), &[Some("example.net")]),
        (Some("im.example.com/x"), &[Some("im.example.com/x")]),
    ];
    for (to, believed) in rows {
        for from in SENDERS {
            let mut bench = Bench::online();
            ask(&mut bench, 7, "id1", to, None);
            bench.feed(&reply("id1", from));
            let lines = bench.lines();
            if believed.contains(&from) {
                assert_eq!(lines.len(), 1, "to {to:?} from {from:?}");
                assert!(lines[0].starts_with("reply 7 <iq"), "{lines:?}");
                assert_eq!(bench.core.next_deadline(), None);
            } else {
                assert!(lines.is_empty(), "to {to:?} from {from:?}: {lines:?}");
                assert!(bench.core.next_deadline().is_some(), "the request stays pending");
                // The true answer still counts.
                bench.feed(&reply("id1", believed[believed.len() - 1]));
                assert_eq!(bench.lines().len(), 1, "to {to:?} after {from:?}");
            }
            assert_eq!(bench.core.lag(), 0, "the core takes replies over, believed or not");
        }
    }
}

#[test]
fn addresses_compare_normalised() {
    for (to, from) in [
        ("Romeo@Example.NET/Orchard", "romeo@example.net/Orchard"),
        ("romeo@example.net/Orchard", "ROMEO@EXAMPLE.NET/Orchard"),
        ("Juliet@IM.example.com", ACCOUNT),
        ("IM.EXAMPLE.COM", DOMAIN),
    ] {
        let mut bench = Bench::online();
        ask(&mut bench, 1, "i", Some(to), None);
        bench.feed(&reply("i", Some(from)));
        assert_eq!(bench.lines().len(), 1, "{to} / {from}");
    }
    let mut bench = Bench::online();
    ask(&mut bench, 1, "i", Some("romeo@example.net/Orchard"), None);
    bench.feed(&reply("i", Some("romeo@example.net/orchard")));
    assert!(bench.lines().is_empty(), "resources are case-sensitive");
}

#[test]
fn a_reply_without_a_readable_sender_or_id_is_ignored() {
    let mut bench = Bench::online();
    ask(&mut bench, 1, "i", None, None);
    for bad in
        ["<iq type='result' id='i' from='@'/>", "<iq type='result'/>", "<iq type='result' id='I'/>", "<iq type='error' id=''/>"]
    {
        bench.feed(bad);
        assert!(bench.lines().is_empty(), "{bad}");
    }
    assert_eq!(bench.written().matches("<iq").count(), 1, "replies are never answered");
    bench.feed(&reply("i", None));
    assert_eq!(bench.lines().len(), 1);
    bench.feed(&reply("i", None));
    assert!(bench.lines().is_empty(), "once");
}

#[test]
fn an_error_reply_is_a_reply_with_all_that_is_in_it() {
    let mut bench = Bench::online();
    ask(&mut bench, 1, "i", None, None);
    bench.feed(
        "<iq type='error' id='i'><ping xmlns='urn:xmpp:ping'/><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         </error></iq>",
    );
    let (token, result) = bench.replies().remove(0);
    let reply = result.unwrap();
    let error = reply.error().unwrap();
    assert_eq!((token, error.condition.as_str(), error.error_type), (1, "item-not-found", StanzaErrorType::Cancel));
    assert!(reply.child("urn:xmpp:ping", "ping").is_some());

    ask(&mut bench, 2, "j", None, None);
    bench.feed("<iq type='error' id='j'/>");
    assert_eq!(bench.replies().remove(0).1.unwrap().stanza_type().as_deref(), Some("error"));
}

#[test]
fn requests_end_at_their_own_time() {
    let mut bench = Bench::online();
    let start = bench.now;
    let s = Duration::from_secs;
    ask(&mut bench, 1, "a", None, Some(s(30)));
    ask(&mut bench, 2, "b", None, Some(s(10)));
    ask(&mut bench, 3, "c", None, None);
    ask(&mut bench, 4, "d", None, Some(s(20)));
    assert_eq!(bench.core.next_deadline(), Some(start + s(10)));
    bench.feed(&reply("d", None));
    bench.lines();
    bench.after(s(9));
    assert!(bench.lines().is_empty());
    bench.after(s(1));
    assert_eq!(bench.lines(), ["reply 2 RequestTimeout(10s)"]);
    bench.feed(&reply("b", None));
    assert!(bench.lines().is_empty(), "too late");
    assert_eq!(bench.core.next_deadline(), Some(start + s(30)), "the answered one no longer counts");
    bench.after(s(100));
    assert_eq!(bench.lines(), ["reply 1 RequestTimeout(30s)", "reply 3 RequestTimeout(60s)"]);
    assert_eq!(bench.core.next_deadline(), None);
    assert!(bench.core.is_bound());
}

#[test]
fn a_forgotten_request_frees_its_slot() {
    let mut bench = Bench::online();
    ask(&mut bench, 1, "a", None, None);
    bench.input(Input::Forget { token: 1 });
    bench.input(Input::Forget { token: 1 });
    bench.input(Input::Forget { token: 99 });
    assert_eq!(bench.core.next_deadline(), None);
    bench.feed(&reply("a", None));
    bench.input(Input::Eof);
    assert_eq!(bench.lines().len(), 1, "only the end");
}

#[test]
fn requests_that_cannot_be_matched_are_not_sent() {
    let mut bench = Bench::online();
    ask(&mut bench, 1, "a", None, None);
    bench.written();
    let rows = [
        (2, "<iq type='get' id='a'><ping xmlns='urn:xmpp:ping'/></iq>"),
        (1, "<iq type='get' id='b'><ping xmlns='urn:xmpp:ping'/></iq>"),
        (3, "<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>"),
        (4, "<iq type='result' id='c'/>"),
        (5, "<iq type='get' id='d' to='@'><ping xmlns='urn:xmpp:ping'/></iq>"),
    ];
    for (token, xml) in rows {
        bench.input(Input::Request { token, stanza: iq(xml), timeout: None });
        let replies = bench.replies();
        assert!(matches!(&replies[..], [(t, Err(_))] if *t == token), "{xml}");
        assert_eq!(bench.written(), "", "{xml}");
    }
    bench.feed(&reply("a", None));
    assert!(bench.replies().remove(0).1.is_ok());
}

#[test]
fn a_timeout_beyond_the_clock_does_no_harm() {
    let mut bench = Bench::online();
    ask(&mut bench, 1, "a", None, Some(Duration::MAX));
    assert!(bench.core.next_deadline().is_some());
    bench.feed(&reply("a", None));
    assert!(bench.replies().remove(0).1.is_ok());
}
