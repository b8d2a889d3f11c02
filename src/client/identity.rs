//! What makes two stanzas one message: the keys that every message is proposed with (R17).
//!
//! Stages may propose stronger ones before: the id an archive gave it, an occupant's.

use std::borrow::Cow;

use jid::{BareJid, Jid};

use crate::store::{IdentityKey, IdentityKeys, KeyLife, MessageKind, MessageRecord, NewMessage, Origin, with_content};
use crate::xml::{Stanza, bare_str, belongs_to};

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

/// A message that came, by whichever way, with the keys that stages proposed and its own.
pub(super) fn received(
    record: MessageRecord,
    origin: Origin,
    mut keys: IdentityKeys,
    life: KeyLife,
    account: &BareJid,
    stanza: &Stanza,
) -> NewMessage {
    let (sender, parts) = (stanza.from_jid().unwrap_or(account), Parts::of(&record));
    keys.extend(exact(life, account, stanza, sender, &parts));
    let is_later = may_be_later(life, &keys, &record);
    if !is_later {
        let to = stanza.to();
        let to = to.as_deref().map_or(Cow::Borrowed(""), |to| normal(to, account));
        keys.push(similar(life, stanza, sender, &to, &parts));
    }
    proposed(record, origin, keys, is_later)
}

/// A message that is sent here to this address, under this id. It has no sender's address yet: the record's is the session's, if there
/// is one.
pub(super) fn sent(record: MessageRecord, life: KeyLife, account: &BareJid, stanza: &Stanza, to: &Jid, id: &str) -> NewMessage {
    let (sender, parts) = (record.from.as_deref().unwrap_or(account), Parts::of(&record));
    let mut keys = IdentityKeys::from_iter([IdentityKey::own(id)]);
    keys.extend(exact(life, account, stanza, sender, &parts));
    let is_later = may_be_later(life, &keys, &record);
    // Without a session it is not known from which resource it will go.
    if !is_later && record.from.is_some() {
        keys.push(similar(life, stanza, sender, to.as_str(), &parts));
    }
    proposed(record, Origin::Live, keys, is_later)
}

/// Whether the similar key may be made once it is looked for: the log keeps all that it is made of as it is, and what somebody wrote is
/// known again by another key, too.
fn may_be_later(life: KeyLife, keys: &IdentityKeys, record: &MessageRecord) -> bool {
    // An address is normalised once more when it is read back: that may change it if it has other letters than these.
    let is_plain = |from: &Jid| from.as_str().is_ascii() && !bare_str(from).bytes().any(|b| b.is_ascii_uppercase());
    let keeps_sender = || record.from.as_deref().is_some_and(is_plain);
    let has_other = || keys.iter().any(IdentityKey::is_exact);
    life == KeyLife::InProcess && keeps_sender() && (record.text.is_none() || has_other())
}

fn proposed(record: MessageRecord, origin: Origin, keys: IdentityKeys, is_similar_later: bool) -> NewMessage {
    let mut message = NewMessage::new(record, origin);
    message.set_keys(keys);
    if is_similar_later {
        message.make_similar_later();
    }
    message
}

/// The key that alone proves a message to be the same, if it has one.
fn exact(life: KeyLife, account: &BareJid, stanza: &Stanza, sender: &Jid, parts: &Parts<'_>) -> Option<IdentityKey> {
    let origin =
        |sender: &str, id: &str| with_content(stanza, parts.body, |content| IdentityKey::origin_of(life, sender, id, content));
    match (parts.kind, parts.origin_id) {
        // A bounce carries back what was sent, its ids included.
        (MessageKind::Error, _) => None,
        // In a room everybody writes from the room's address.
        (MessageKind::Groupchat, Some(origin_id)) => Some(origin(sender.as_str(), origin_id)),
        (_, Some(origin_id)) => Some(origin(bare_str(sender), origin_id)),
        (_, None) if belongs_to(sender, account) => parts.id.filter(|id| is_ours(id)).map(IdentityKey::own),
        (_, None) => None,
    }
}

fn similar(life: KeyLife, stanza: &Stanza, sender: &Jid, to: &str, parts: &Parts<'_>) -> IdentityKey {
    IdentityKey::similar_in(life, stanza, sender.as_str(), to, parts.kind, parts.id, parts.body)
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::client::dispatch::record;
    use crate::store::{Batch, Change, Direction, MemoryStore, Store as _};
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
        let record = recorded(&stanza, Direction::Incoming);
        let keys = received(record, Origin::Live, IdentityKeys::default(), life, &account, &stanza).keys().into_owned();
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
    fn a_key_that_is_made_later_is_the_one_that_is_made_at_once() {
        let account: BareJid = "juliet@capulet.example".parse().expect("a JID");
        let receipt = "<received xmlns='urn:xmpp:receipts' id='m1'/>";
        // With what else is in it, and whether it waits.
        let cases = [
            (ROMEO, format!("<body>a &amp; b</body>{ORIGIN}"), true),
            (ROMEO, "<body>hi</body>".to_owned(), false),
            (ROMEO, receipt.to_owned(), true),
            ("from='Romeo@montague.example./Orchard' to='juliet@capulet.example/two words'", receipt.to_owned(), true),
            ("from='romeo@montague.example/orchard' to='@' id='&lt;1'", format!("<body>hi</body>{ORIGIN}"), true),
            ("from='romeo@montague.example/orchard' type='groupchat'", format!("<subject>hi</subject>{ORIGIN}"), true),
            ("to='juliet@capulet.example'", receipt.to_owned(), false),
            ("from='x\u{1d2c}y@montague.example/o' to='juliet@capulet.example'", receipt.to_owned(), false),
        ];
        for (attributes, inside, waits) in cases {
            let xml = format!("<message xmlns='jabber:client' {attributes}>{inside}</message>");
            let stanza = Frame::parse(&xml).expect("XML").stanza().expect("a stanza");
            let record = recorded(&stanza, Direction::Incoming);
            let (sender, parts) = (stanza.from_jid().unwrap_or(&account), Parts::of(&record));
            let to = stanza.to().map(|to| normal(&to, &account).into_owned()).unwrap_or_default();
            let at_once = similar(KeyLife::InProcess, &stanza, sender, &to, &parts);
            let message = received(record.clone(), Origin::Live, IdentityKeys::default(), KeyLife::InProcess, &account, &stanza);
            assert_eq!(message.is_similar_unmade(), waits, "{xml}");
            assert_eq!(message.keys().last(), Some(&at_once), "{xml}");
            let batch = Batch::from_bytes(&Batch::new().append(message.clone()).to_bytes()).expect("it is one");
            assert!(matches!(batch.changes(), [Change::Append(read)] if read.keys() == message.keys()), "{xml}");
            // A store may keep something else than it was given.
            let mut changes = Batch::new().append(message).into_changes();
            let [Change::Append(message)] = &mut changes[..] else { panic!("{changes:?}") };
            assert!(!message.is_similar_unmade());
            message.record.xml = "sealed".into();
            assert_eq!(message.keys().last(), Some(&at_once), "{xml}");
        }
    }

    /// Of many copies, by whichever way, with and without ids and text, of few messages; some are removed or changed on the way.
    #[tokio::test]
    async fn what_is_made_later_finds_the_copies_that_what_is_made_at_once_finds() {
        let account: BareJid = "juliet@capulet.example".parse().expect("a JID");
        let stores = [(); 2].map(|()| MemoryStore::new().max_messages(2_000));
        let [at_once, later] = [&stores[0], &stores[1]].map(|store| store.open_account(&account));
        let (at_once, later) = (at_once.await.expect("opens"), later.await.expect("opens"));
        let mut seed = 0x5EED_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut copies, mut unmade) = (0, 0);
        for step in 0..13_500 {
            // At first all come live, for so long that nobody looks for what is similar any more; then copies of the last of them.
            let (round, step) = (step / 4_500, step % 4_500);
            let only_live = step < 3_000;
            let origins = [Origin::Live, Origin::Carbon, Origin::Archive, Origin::Offline];
            let origin = origins[random(if only_live { 2 } else { 4 }) as usize];
            let n = 10_000 * round + if only_live { step + random(3) } else { 2_400 + random(600) };
            let id = if random(2) == 0 { format!(" id='{n}'") } else { String::new() };
            let text = if random(3) == 0 { "<received xmlns='urn:xmpp:receipts' id='m'/>" } else { "<body>hi</body>" };
            let origin_id = if random(2) == 0 { format!("<origin-id xmlns='urn:xmpp:sid:0' id='{n}'/>") } else { String::new() };
            let xml = format!(
                "<message xmlns='jabber:client' type='chat' from='romeo@montague.example/{}' to='{account}'{id}>{text}{origin_id}</message>",
                n % 3
            );
            let stanza = Frame::parse(&xml).expect("XML").stanza().expect("a stanza");
            let mut record = recorded(&stanza, Direction::Incoming);
            record.stamp += Duration::from_secs(300 * n + random(200));
            let archived = (random(4) == 0).then(|| IdentityKey::archive(&account, &n.to_string()));
            let propose = |life| {
                let message = received(record.clone(), origin, archived.into_iter().collect(), life, &account, &stanza);
                Batch::new().append(message)
            };
            let [one, other] = [KeyLife::BeyondProcess, KeyLife::InProcess].map(propose);
            unmade += usize::from(matches!(other.changes(), [Change::Append(message)] if message.is_similar_unmade()));
            let [one, other] = [at_once.apply(one), later.apply(other)];
            let (one, other) = (one.await.expect("is applied"), other.await.expect("is applied"));
            assert_eq!(one.appended, other.appended, "round {round}, step {step}: {origin:?} {xml}");
            copies += usize::from(one.appended[0].duplicate);
            let change = match random(20) {
                0 => Batch::new().remove_message(one.appended[0].id),
                1 => Batch::new().set_content(one.appended[0].id, "<message xmlns='jabber:client'/>", Some("other".into())),
                _ => continue,
            };
            for store in [&at_once, &later] {
                store.apply(change.clone()).await.expect("is applied");
            }
        }
        assert!(copies > 1_000 && unmade > 1_000, "{copies} {unmade}");
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
        let sent = |record: &MessageRecord| {
            let message = sent(record.clone(), KeyLife::BeyondProcess, &account, &stanza, &to, id);
            message.keys().into_owned()
        };
        assert!(sent(&record).iter().all(IdentityKey::is_exact));
        record.from = Some(from.into());
        let kept = sent(&record);
        let own = format!("from='juliet@capulet.example/balcony' to='romeo@montague.example' id='{id}'");
        for copy in [message(&own, &inside), message(&own, "<body>hi</body>")] {
            assert!(exact(&copy).iter().any(|key| kept.contains(key)), "{copy:?}");
            assert!(copy.iter().any(|key| !key.is_exact() && kept.contains(key)));
        }
        // Also where its key is made later.
        let later = super::sent(record.clone(), KeyLife::InProcess, &account, &stanza, &to, id);
        assert!(later.is_similar_unmade());
        let copy = keys_for(KeyLife::InProcess, &format!("<message xmlns='jabber:client' type='chat' {own}>{inside}</message>"));
        assert_eq!(later.keys().last(), copy.last());
        // Another client of the account, which counts.
        let counted = message("from='juliet@capulet.example/desk' to='romeo@montague.example' id='1'", "<body>hi</body>");
        assert!(exact(&counted).is_empty());
    }
}
