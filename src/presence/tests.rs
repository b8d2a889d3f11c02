use std::time::{Duration, SystemTime};

use jid::{BareJid, Jid};

use crate::ext::Observe;
use crate::presence::{OwnPresence, PresenceChange, PresenceState, ResourcePresence, Show};
use crate::xml::Frame;

fn bare(text: &str) -> BareJid {
    text.parse().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn presence(from: &str, inside: &str, received: SystemTime) -> ResourcePresence {
    let xml = format!("<presence xmlns='jabber:client' xml:lang='en' from='{from}'>{inside}</presence>");
    ResourcePresence::read(&Frame::parse(&xml).unwrap().stanza().unwrap(), received, &bare("juliet@example.com")).unwrap()
}

#[test]
fn the_own_accounts_resources_are_told_from_those_of_others() {
    assert!(presence("Juliet@example.com/balcony", "", at(0)).is_own());
    assert!(!presence("romeo@example.net/orchard", "", at(0)).is_own());
}

#[test]
fn how_available_somebody_is_is_written_as_on_the_wire() {
    for (show, word) in
        [(Show::Chat, "chat"), (Show::Available, "available"), (Show::Away, "away"), (Show::Xa, "xa"), (Show::Dnd, "dnd")]
    {
        assert_eq!(format!("{show}|{show:10}|"), format!("{word}|{word:10}|"));
    }
}

#[test]
fn everything_a_presence_says_is_read() {
    let presence = presence(
        "romeo@example.net/orchard",
        "<show> dnd </show><status>Wooing Juliet</status><status xml:lang='cs'>Dvo\u{159}\u{ed}m se Julii</status>\
         <priority> 1 </priority><delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:21Z'/>",
        at(100),
    );
    assert_eq!(presence.jid().as_str(), "romeo@example.net/orchard");
    assert_eq!((presence.show(), presence.priority()), (Show::Dnd, 1));
    assert_eq!(presence.since(), at(1));
    assert_eq!(presence.status().as_deref(), Some("Wooing Juliet"));
    assert_eq!(presence.status_in("CS").as_deref(), Some("Dvo\u{159}\u{ed}m se Julii"));
    assert_eq!(presence.status_in("en").as_deref(), Some("Wooing Juliet"));
    assert_eq!(presence.status_in("de"), None);
    let langs: Vec<_> = presence.statuses().map(|(lang, _)| lang.map(String::from)).collect();
    assert_eq!(langs, [Some("en".to_owned()), Some("cs".to_owned())]);
}

#[test]
fn what_is_no_show_priority_or_stamp_says_nothing() {
    for priority in ["", "128", "-129", "high", "1.5"] {
        let inside =
            format!("<show>online</show><priority>{priority}</priority><delay xmlns='urn:xmpp:delay' stamp='yesterday'/>");
        let presence = presence("a@b/c", &inside, at(5));
        assert_eq!((presence.show(), presence.priority(), presence.since()), (Show::Available, 0, at(5)), "{priority}");
    }
    assert_eq!(presence("a@b/c", "<priority>-128</priority>", at(0)).priority(), -128);
    // Nobody has sent it after it was received.
    assert_eq!(presence("a@b/c", "<delay xmlns='urn:xmpp:delay' stamp='2099-01-01T00:00:00Z'/>", at(5)).since(), at(5));
}

#[test]
fn the_best_resource_has_the_highest_priority_then_talks_most_readily_then_spoke_last() {
    let order = [
        presence("a@b/1", "<priority>5</priority><show>dnd</show>", at(0)),
        presence("a@b/2", "<show>chat</show>", at(0)),
        presence("a@b/3", "", at(9)),
        presence("a@b/4", "", at(8)),
        presence("a@b/5", "<show>away</show>", at(99)),
        presence("a@b/6", "<show>xa</show>", at(99)),
        presence("a@b/7", "<show>dnd</show>", at(99)),
        presence("a@b/8", "<priority>-1</priority><show>chat</show>", at(99)),
    ];
    for rotation in 0..order.len() {
        let mut state = PresenceState::default();
        for n in 0..order.len() {
            state.apply(&PresenceChange::Available(order[(n + rotation) % order.len()].clone()));
        }
        let got: Vec<_> = state.of(&bare("a@b")).iter().map(|resource| resource.jid().to_string()).collect();
        let expected: Vec<_> = order.iter().map(|resource| resource.jid().to_string()).collect();
        assert_eq!(got, expected, "rotated by {rotation}");
    }
}

#[test]
fn a_picture_made_of_changes_is_sorted_and_has_each_resource_once() {
    let seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = seed;
    let mut next = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let shows = ["", "<show>chat</show>", "<show>away</show>", "<show>xa</show>", "<show>dnd</show>"];
    let mut state = PresenceState::default();
    let mut model: Vec<ResourcePresence> = Vec::new();
    for step in 0..3_000 {
        let address = format!("c{}@example.org", next(5));
        let full = format!("{address}/{}", next(6));
        match next(8) {
            0 => {
                let jid: Jid = address.parse().unwrap();
                model.retain(|resource| resource.jid().to_bare() != jid.to_bare());
                state.apply(&PresenceChange::Unavailable(jid));
            }
            1 | 2 => {
                let jid: Jid = full.parse().unwrap();
                model.retain(|resource| *resource.jid() != jid);
                state.apply(&PresenceChange::Unavailable(jid));
            }
            _ => {
                let inside = format!("{}<priority>{}</priority>", shows[next(5) as usize], i64::try_from(next(7)).unwrap() - 3);
                let new = presence(&full, &inside, at(next(20)));
                model.retain(|resource| resource.jid() != new.jid());
                model.push(new.clone());
                state.apply(&PresenceChange::Available(new));
            }
        }
        model.sort();
        for n in 0..5 {
            let address = bare(&format!("c{n}@example.org"));
            let expected: Vec<_> = model.iter().filter(|resource| resource.jid().to_bare() == address).cloned().collect();
            assert_eq!(state.of(&address), expected, "step {step} of seed {seed}");
        }
        let available = model.iter().map(|resource| resource.jid().to_bare()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(state.iter().map(|(jid, _)| jid.clone()).collect::<Vec<_>>(), available.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_gateway_has_presence_without_a_resource() {
    let mut state = PresenceState::default();
    state.apply(&PresenceChange::Available(presence("gateway.example", "", at(0))));
    assert_eq!(state.best(&bare("gateway.example")).unwrap().jid().as_str(), "gateway.example");
    state.apply(&PresenceChange::Unavailable("gateway.example".parse().unwrap()));
    assert_eq!(state, PresenceState::default());
}

#[test]
fn staleness_keeps_every_value() {
    let mut state = PresenceState::default();
    state.apply(&PresenceChange::Available(presence("a@b/c", "", at(0))));
    state.apply(&PresenceChange::Stale(true));
    assert!(state.is_stale() && state.best(&bare("a@b")).is_some());
    state.apply(&PresenceChange::Stale(false));
    assert!(!state.is_stale() && state.best(&bare("a@b")).is_some());
}

#[test]
fn unavailable_presence_says_neither_show_nor_priority() {
    let mut own = OwnPresence::default();
    (own.available, own.priority) = (false, 5);
    let wire = own.to_wire(None);
    assert_eq!(wire.show, None);
    assert_eq!(wire.priority.0, 0);
}
