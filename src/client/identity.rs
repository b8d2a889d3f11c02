//! What makes two stanzas one message: the keys that every message is proposed with (R17).
//!
//! Stages may propose stronger ones before: the id an archive gave it, an occupant's.

use std::borrow::Cow;
use std::cell::Cell;

use jid::{BareJid, Jid};

use crate::store::{IdentityKey, IdentityKeys, KeyLife, MessageKind, MessageRecord};
use crate::xml::{Node, Stanza, bare_str, belongs_to, ns};

/// What a record of the log holds of its stanza already, and the keys are made of too.
struct Parts<'a> {
    kind: MessageKind,
    id: Option<&'a str>,
    origin_id: Option<&'a str>,
    body: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(record: &'a MessageRecord) -> Self {
        let (id, origin_id) = (record.id.as_deref(), record.origin_id.as_deref());
        Self { kind: record.kind, id, origin_id, body: record.text.as_deref() }
    }
}

/// Adds the keys of a message that came, by whichever way. `record` is what the log is to keep of it.
pub(super) fn received(keys: &mut IdentityKeys, life: KeyLife, account: &BareJid, stanza: &Stanza, record: &MessageRecord) {
    let to = stanza.to();
    let to = to.as_deref().map_or(Cow::Borrowed(""), |to| normal(to, account));
    propose(keys, life, account, stanza, stanza.from_jid().unwrap_or(account), &to, &Parts::of(record));
}

/// The keys of a message that is sent here to this address, under this id. It has no sender's address yet: the record's is the
/// session's, if there is one.
pub(super) fn sent(
    life: KeyLife,
    account: &BareJid,
    stanza: &Stanza,
    to: &Jid,
    record: &MessageRecord,
    id: &str,
) -> IdentityKeys {
    // Without a session it is not known from which resource it will go.
    let is_similar_known = record.from.is_some();
    let from = record.from.as_deref().unwrap_or(account);
    let mut keys = IdentityKeys::from_iter([IdentityKey::own(id)]);
    propose(&mut keys, life, account, stanza, from, to.as_str(), &Parts::of(record));
    keys.retain(|key| key.is_exact() || is_similar_known);
    keys
}

fn propose(
    keys: &mut IdentityKeys,
    life: KeyLife,
    account: &BareJid,
    stanza: &Stanza,
    sender: &Jid,
    to: &str,
    parts: &Parts<'_>,
) {
    let origin =
        |sender: &str, id: &str| with_content(stanza, parts.body, |content| IdentityKey::origin_of(life, sender, id, content));
    match (parts.kind, parts.origin_id) {
        // A bounce carries back what was sent, its ids included.
        (MessageKind::Error, _) => {}
        // In a room everybody writes from the room's address.
        (MessageKind::Groupchat, Some(origin_id)) => keys.push(origin(sender.as_str(), origin_id)),
        (_, Some(origin_id)) => keys.push(origin(bare_str(sender), origin_id)),
        (_, None) if belongs_to(sender, account) => keys.extend(parts.id.filter(|id| is_ours(id)).map(IdentityKey::own)),
        (_, None) => {}
    }
    let similar = |body: &[u8]| IdentityKey::similar_of(life, sender.as_str(), to, parts.kind.as_str(), parts.id, body);
    keys.push(match parts.body {
        Some(body) => similar(body.as_bytes()),
        None => with_content(stanza, None, similar),
    });
}

/// An address as [`Jid`] normalises it; empty if it is none. Nearly all are the account's own, and need no look at Unicode.
fn normal<'a>(address: &'a str, account: &BareJid) -> Cow<'a, str> {
    let rest = address.strip_prefix(account.as_str());
    let is_normal = rest.is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('/').is_some_and(|r| !r.is_empty() && r.len() < 1024 && r.bytes().all(|b| b.is_ascii_graphic()))
    });
    if is_normal { Cow::Borrowed(address) } else { Jid::new(address).map_or(Cow::Borrowed(""), |jid| jid.to_string().into()) }
}

/// Whether an id is one of those that this library makes: 15 random bytes. An account's other clients may count from one
/// each time they start, so another id says nothing without the sender's origin-id beside it.
fn is_ours(id: &str) -> bool {
    id.len() == 20 && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

thread_local! {
    /// Where contents are written, one after another.
    static CONTENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest content that the thread keeps room for.
const MAX_KEPT: usize = 64 * 1024;

/// Makes something of what the sender wrote (C11), in a form of its own: names, attributes and text of what is in the message,
/// without what relays add and archives take away. `body` is the text of the first body, decoded already.
fn with_content<T>(stanza: &Stanza, mut body: Option<&str>, make: impl FnOnce(&[u8]) -> T) -> T {
    let mut out = CONTENT.take();
    out.clear();
    for child in stanza.children().filter(|child| !is_on_the_way(*child)) {
        let text = if child.is(ns::CLIENT, "body") { body.take() } else { None };
        child.write_content(&mut out, text);
    }
    let made = make(&out);
    if out.capacity() <= MAX_KEPT {
        CONTENT.set(out);
    }
    made
}

/// Whether an element is added, or taken away, between the sender and whoever keeps the message.
fn is_on_the_way(child: Node<'_>) -> bool {
    match &*child.ns() {
        ns::DELAY | ns::SID | ns::HINTS | ns::CHAT_STATES | ns::CARBONS | ns::MUC_USER | "urn:xmpp:mam:tmp" => true,
        ns::RECEIPTS => child.name() == "request",
        ns::CHAT_MARKERS => child.name() == "markable",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::client::dispatch::record;
    use crate::store::Direction;
    use crate::xml::Frame;

    fn recorded(stanza: &Stanza, direction: Direction) -> MessageRecord {
        record(stanza, "romeo@montague.example".parse().expect("a JID"), direction, SystemTime::UNIX_EPOCH)
    }

    fn keys_of(xml: &str) -> Vec<IdentityKey> {
        keys_for(KeyLife::BeyondProcess, xml)
    }

    fn keys_for(life: KeyLife, xml: &str) -> Vec<IdentityKey> {
        let stanza = Frame::parse(xml).expect("XML").stanza().expect("a stanza");
        let account = "juliet@capulet.example".parse().expect("a JID");
        let mut keys = IdentityKeys::default();
        received(&mut keys, life, &account, &stanza, &recorded(&stanza, Direction::Incoming));
        keys.to_vec()
    }

    fn message(attributes: &str, inside: &str) -> Vec<IdentityKey> {
        keys_of(&format!("<message xmlns='jabber:client' type='chat' {attributes}>{inside}</message>"))
    }

    const ROMEO: &str = "from='romeo@montague.example/orchard' to='juliet@capulet.example/balcony' id='1'";
    const ORIGIN: &str = "<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>";

    fn exact(keys: &[IdentityKey]) -> Vec<IdentityKey> {
        keys.iter().copied().filter(IdentityKey::is_exact).collect()
    }

    /// They are in files: with others, what was stored before is not recognised when an archive gives it again.
    #[test]
    fn the_keys_of_a_message_stay_what_they_are() {
        let xml = "<message xmlns='jabber:client' type='chat' from='Romeo@montague.example./Orchard' to='juliet@capulet.example/balcony' \
                   id='1'><body xml:lang='en'>hi &amp; <![CDATA[<]]></body><x xmlns='urn:x' b='2' a='1'>t<y xmlns='urn:y'>u</y>v</x>\
                   <active xmlns='http://jabber.org/protocol/chatstates'/><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>";
        let texts: Vec<String> = keys_of(xml).iter().map(|key| format!("{key:?}")).collect();
        assert_eq!(texts, ["exact:d0daa281a354a1b165ef17412d1e068c", "similar:ae0e3025d4ab4e198890e34cb040cc71"]);
    }

    #[test]
    fn keys_that_stay_in_the_process_are_as_different_as_those_in_files() {
        let contents = ["<body>hi</body>", "<body>ho</body>", "<body>hi</body><x xmlns='urn:x'/>", "<subject>hi</subject>"];
        let long = "x".repeat(1_000);
        let senders =
            [ROMEO.to_owned(), ROMEO.replace("orchard", "o"), ROMEO.replace("orchard", &long), ROMEO.replace("id='1'", "")];
        let messages: Vec<_> = senders
            .iter()
            .flat_map(|sender| {
                contents.map(|content| format!("<message xmlns='jabber:client' {sender}>{content}{ORIGIN}</message>"))
            })
            .collect();
        for one in &messages {
            for other in &messages {
                let alike =
                    |life| -> Vec<bool> { keys_for(life, one).iter().zip(keys_for(life, other)).map(|(a, b)| *a == b).collect() };
                assert_eq!(alike(KeyLife::InProcess), alike(KeyLife::BeyondProcess), "{one}\n{other}");
            }
            assert!(
                keys_for(KeyLife::InProcess, one).iter().zip(keys_of(one)).all(|(a, b)| *a != b && a.is_exact() == b.is_exact())
            );
        }
    }

    #[test]
    fn an_own_address_is_normal_without_a_look_at_unicode() {
        let account: BareJid = "juliet@capulet.example".parse().expect("a JID");
        for address in [
            "juliet@capulet.example",
            "juliet@capulet.example/balcony",
            "juliet@capulet.example/Bal-Cony~1/2@3",
            "juliet@capulet.example/two words",
            "juliet@capulet.example/\u{212b}",
            "juliet@capulet.example/",
            "juliet@capulet.example.org/x",
            "Juliet@capulet.example/x",
            "romeo@montague.example/x",
            "@",
        ] {
            let jid = Jid::new(address).map_or(String::new(), |jid| jid.to_string());
            assert_eq!(normal(address, &account), jid, "{address}");
        }
    }

    #[test]
    fn what_relays_add_and_archives_take_away_does_not_make_another_message() {
        let sent = message(
            ROMEO,
            &format!(
                "<body>hi</body><active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>{ORIGIN}"
            ),
        );
        let kept = message(
            "from='romeo@montague.example/orchard' to='juliet@capulet.example'",
            &format!(
                "{ORIGIN}<body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.example' id='a'/>\
                 <delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/><store xmlns='urn:xmpp:hints'/>"
            ),
        );
        assert_eq!(exact(&sent), exact(&kept));
        assert_eq!(exact(&sent).len(), 1);
    }

    #[test]
    fn another_sender_or_another_content_under_one_origin_id_is_another_message() {
        let first = exact(&message(ROMEO, &format!("<body>hi</body>{ORIGIN}")));
        let replayed = "from='paris@verona.example/x' to='juliet@capulet.example/balcony' id='1'";
        for other in [
            message(replayed, &format!("<body>hi</body>{ORIGIN}")),
            message(ROMEO, &format!("<body>ho</body>{ORIGIN}")),
            message(ROMEO, &format!("<subject>hi</subject>{ORIGIN}")),
            message(ROMEO, &format!("<body>hi</body><replace xmlns='urn:xmpp:message-correct:0' id='0'/>{ORIGIN}")),
            keys_of(&format!("<message xmlns='jabber:client' type='error' {ROMEO}><body>hi</body>{ORIGIN}</message>")),
        ] {
            assert!(exact(&other).iter().all(|key| !first.contains(key)), "{other:?}");
        }
    }

    #[test]
    fn attributes_and_prefixes_may_be_written_anew() {
        let one = message(ROMEO, &format!("<x xmlns='urn:x' b='2' a='1'><y>t</y></x>{ORIGIN}"));
        let two = message(ROMEO, &format!("<p:x xmlns:p='urn:x' a='1' b='2'><p:y>t</p:y></p:x>{ORIGIN}"));
        assert_eq!(exact(&one), exact(&two));
    }

    #[test]
    fn what_is_sent_here_is_known_when_it_comes_back_with_or_without_its_origin_id() {
        let (account, id) = ("juliet@capulet.example".parse::<BareJid>().expect("a JID"), "AAAAAAAAAAAAAAAAAAAA");
        let inside = format!("<body>hi</body><origin-id xmlns='urn:xmpp:sid:0' id='{id}'/>");
        let xml = format!("<message xmlns='jabber:client' type='chat' to='romeo@montague.example' id='{id}'>{inside}</message>");
        let stanza = Frame::parse(&xml).expect("XML").stanza().expect("a stanza");
        let from: Jid = "juliet@capulet.example/balcony".parse().expect("a JID");
        let mut record = recorded(&stanza, Direction::Outgoing);
        let to: Jid = "romeo@montague.example".parse().expect("a JID");
        assert!(sent(KeyLife::BeyondProcess, &account, &stanza, &to, &record, id).iter().all(IdentityKey::is_exact));
        record.from = Some(from.into());
        let kept = sent(KeyLife::BeyondProcess, &account, &stanza, &to, &record, id);
        let own = format!("from='juliet@capulet.example/balcony' to='romeo@montague.example' id='{id}'");
        for copy in [message(&own, &inside), message(&own, "<body>hi</body>")] {
            assert!(exact(&copy).iter().any(|key| kept.contains(key)), "{copy:?}");
            assert!(copy.iter().any(|key| !key.is_exact() && kept.contains(key)));
        }
        // Another client of the account, which counts.
        let counted = message("from='juliet@capulet.example/desk' to='romeo@montague.example' id='1'", "<body>hi</body>");
        assert!(exact(&counted).is_empty());
    }
}
