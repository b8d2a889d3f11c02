//! What makes two stanzas one message: the keys that every message is proposed with (R17).
//!
//! Stages may propose stronger ones before: the id an archive gave it, an occupant's.

use std::borrow::Cow;

use jid::{BareJid, Jid};
use smallvec::SmallVec;

use crate::store::{IdentityKey, MessageKind};
use crate::xml::{Node, Stanza, bare_str, belongs_to, ns};

/// How deep into a message its content is looked at: each level is read once for every level above it.
const DEPTH: u8 = 16;

/// The keys of a message that came, by whichever way. `body` is its body, decoded already.
pub(super) fn received(account: &BareJid, stanza: &Stanza, body: Option<&str>) -> Vec<IdentityKey> {
    keys(account, stanza, stanza.from_jid().unwrap_or(account), body)
}

/// The keys of a message that is sent here, under this id. It has no sender's address yet: `from` is the session's, if there
/// is one.
pub(super) fn sent(account: &BareJid, stanza: &Stanza, from: Option<Jid>, id: &str) -> Vec<IdentityKey> {
    let mut keys = vec![IdentityKey::own(id)];
    // Without a session it is not known from which resource it will go.
    let is_similar_known = from.is_some();
    let sender = from.unwrap_or_else(|| account.clone().into());
    let body = stanza.child_text(ns::CLIENT, "body");
    keys.extend(
        self::keys(account, stanza, &sender, body.as_deref()).into_iter().filter(|key| key.is_exact() || is_similar_known),
    );
    keys
}

fn keys(account: &BareJid, stanza: &Stanza, sender: &Jid, body: Option<&str>) -> Vec<IdentityKey> {
    let mut keys = Vec::new();
    let kind = stanza.stanza_type();
    let kind = MessageKind::from_attribute(kind.as_deref());
    let origin_id = stanza.child(ns::SID, "origin-id").and_then(|child| child.attr("id"));
    let id = stanza.id();
    match (kind, &origin_id) {
        // A bounce carries back what was sent, its ids included.
        (MessageKind::Error, _) => {}
        // In a room everybody writes from the room's address.
        (MessageKind::Groupchat, Some(origin_id)) => keys.push(IdentityKey::origin(sender, origin_id, &content(stanza))),
        (_, Some(origin_id)) => keys.push(IdentityKey::origin_of(bare_str(sender), origin_id, &content(stanza))),
        (_, None) if belongs_to(sender, account) => keys.extend(id.as_deref().filter(|id| is_ours(id)).map(IdentityKey::own)),
        (_, None) => {}
    }
    let body = body.map_or_else(|| content(stanza).into(), Cow::Borrowed);
    let to = stanza.to();
    let to = to.as_deref().map_or(Cow::Borrowed(""), |to| normal(to, account));
    keys.push(IdentityKey::similar_of(sender.as_str(), &to, kind.as_str(), id.as_deref(), &body));
    keys
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

/// What the sender wrote (C11), in a form of its own: names, attributes and text of what is in the message, without what
/// relays add and archives take away.
fn content(stanza: &Stanza) -> String {
    let mut out = String::with_capacity(stanza.byte_len());
    stanza.children().filter(|child| !is_on_the_way(*child)).for_each(|child| write(&mut out, child, DEPTH));
    out
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

fn write(out: &mut String, node: Node<'_>, depth: u8) {
    // Control characters stand in no XML, so they separate.
    out.extend(["\u{1}", &node.ns(), " ", node.name()]);
    let mut attributes: SmallVec<[_; 4]> = node.attrs().filter(|a| a.ns() != ns::XML && a.ns() != ns::XMLNS).collect();
    attributes.sort_by(|a, b| (a.ns(), a.name()).cmp(&(b.ns(), b.name())));
    for attribute in attributes {
        out.extend(["\u{2}", &attribute.ns(), " ", attribute.name(), "=", &attribute.value()]);
    }
    out.push('\u{3}');
    if let Some(text) = node.simple_text() {
        out.push_str(&text);
    } else {
        out.push_str(&node.text());
        if depth > 0 {
            node.children().for_each(|child| write(out, child, depth - 1));
        }
    }
    out.push('\u{4}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Frame;

    fn keys_of(xml: &str) -> Vec<IdentityKey> {
        let stanza = Frame::parse(xml).expect("XML").stanza().expect("a stanza");
        let body = stanza.child_text(ns::CLIENT, "body");
        received(&"juliet@capulet.example".parse().expect("a JID"), &stanza, body.as_deref())
    }

    fn message(attributes: &str, inside: &str) -> Vec<IdentityKey> {
        keys_of(&format!("<message xmlns='jabber:client' type='chat' {attributes}>{inside}</message>"))
    }

    const ROMEO: &str = "from='romeo@montague.example/orchard' to='juliet@capulet.example/balcony' id='1'";
    const ORIGIN: &str = "<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>";

    fn exact(keys: &[IdentityKey]) -> Vec<IdentityKey> {
        keys.iter().copied().filter(IdentityKey::is_exact).collect()
    }

    /// They are in files that were written before.
    #[test]
    fn the_keys_of_a_message_stay_what_they_are() {
        let xml = "<message xmlns='jabber:client' type='chat' from='Romeo@montague.example./Orchard' to='juliet@capulet.example/balcony' \
                   id='1'><body xml:lang='en'>hi &amp; <![CDATA[<]]></body><x xmlns='urn:x' b='2' a='1'>t<y xmlns='urn:y'>u</y>v</x>\
                   <active xmlns='http://jabber.org/protocol/chatstates'/><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>";
        let texts: Vec<String> = keys_of(xml).iter().map(|key| format!("{key:?}")).collect();
        assert_eq!(texts, ["exact:cb8d5b90fa6c896fb4c232260bb8b537", "similar:ae0e3025d4ab4e198890e34cb040cc71"]);
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
        let kept = sent(&account, &stanza, Some(from), id);
        let own = format!("from='juliet@capulet.example/balcony' to='romeo@montague.example' id='{id}'");
        for copy in [message(&own, &inside), message(&own, "<body>hi</body>")] {
            assert!(exact(&copy).iter().any(|key| kept.contains(key)), "{copy:?}");
            assert!(copy.iter().any(|key| !key.is_exact() && kept.contains(key)));
        }
        assert!(sent(&account, &stanza, None, id).iter().all(IdentityKey::is_exact));
        // Another client of the account, which counts.
        let counted = message("from='juliet@capulet.example/desk' to='romeo@montague.example' id='1'", "<body>hi</body>");
        assert!(exact(&counted).is_empty());
    }
}
