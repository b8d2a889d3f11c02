//! The elements of an archive (XEP-0313, XEP-0059), written and read.

use std::collections::BTreeSet;
use std::time::SystemTime;

use jid::{BareJid, Jid};
use minidom::Element;
use xmpp_parsers::data_forms::{DataForm, DataFormType, Field, FieldType};
use xmpp_parsers::mam::{Query, QueryId};
use xmpp_parsers::rsm::SetQuery;

use crate::store::{ArchiveCursor, ArchiveId, StoredText};
use crate::xml::{Node, Stanza, format_datetime, ns, parse_datetime};

/// The fields for a search in the text of messages, the standardised one first (XEP-0431), then ejabberd's.
const TEXT_FIELDS: [&str; 2] = ["{urn:xmpp:fulltext:0}fulltext", "withtext"];

/// Which results: what goes into the form.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) with: Option<Jid>,
    pub(super) start: Option<SystemTime>,
    pub(super) end: Option<SystemTime>,
    pub(super) after_id: Option<String>,
    pub(super) before_id: Option<String>,
    pub(super) ids: Vec<String>,
    /// A field and the words.
    pub(super) text: Option<(&'static str, String)>,
    /// Whether messages of rooms are wanted too, where the archive can tell.
    pub(super) rooms: Option<bool>,
}

/// Which page of them (XEP-0059).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Paging {
    /// The first ones, or those behind this id.
    Forwards { after: Option<String> },
    /// The last ones, or those before this id.
    Backwards { before: Option<String> },
}

/// One result.
#[derive(Debug, Clone)]
pub(super) struct ArchiveResult {
    pub(super) id: String,
    pub(super) stamp: Option<SystemTime>,
    /// None where the archive keeps only that there was one.
    pub(super) message: Option<Stanza>,
}

/// The end of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fin {
    pub(super) complete: bool,
    pub(super) stable: bool,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

/// A query for a page of results.
pub(super) fn query(query_id: &str, filter: &Filter, paging: &Paging, max: usize) -> Query {
    let mut fields = Vec::new();
    let mut field = |var: &str, values: Vec<String>| {
        let mut field = Field::new(var, FieldType::TextSingle);
        field.values = values;
        fields.push(field);
    };
    if let Some(with) = &filter.with {
        field("with", vec![with.to_string()]);
    }
    if let Some(start) = filter.start {
        field("start", vec![format_datetime(start)]);
    }
    if let Some(end) = filter.end {
        field("end", vec![format_datetime(end)]);
    }
    if let Some(id) = &filter.after_id {
        field("after-id", vec![id.clone()]);
    }
    if let Some(id) = &filter.before_id {
        field("before-id", vec![id.clone()]);
    }
    if !filter.ids.is_empty() {
        field("ids", filter.ids.clone());
    }
    if let Some((var, words)) = &filter.text {
        field(var, vec![words.clone()]);
    }
    if let Some(rooms) = filter.rooms {
        field("include-groupchat", vec![rooms.to_string()]);
    }
    let form = (!fields.is_empty()).then(|| DataForm::new(DataFormType::Submit, ns::MAM, fields));
    let (after, before) = match paging {
        Paging::Forwards { after } => (after.clone(), None),
        Paging::Backwards { before } => (None, Some(before.clone().unwrap_or_default())),
    };
    let set = SetQuery { max: Some(max), after, before, index: None };
    Query { queryid: Some(QueryId(query_id.to_owned())), node: None, form, set: Some(set), flip_page: false }
}

/// An element of the archive's namespace without content: what asks for the form, the preferences, the metadata.
pub(super) fn empty(what: &str) -> Element {
    Element::bare(what, ns::MAM)
}

impl Filter {
    /// Whether it takes an archive of the extended kind (XEP-0313 §4.1.2).
    pub(super) fn is_extended(&self) -> bool {
        self.after_id.is_some() || self.before_id.is_some() || !self.ids.is_empty()
    }
}

/// The result a message carries: its query id, and itself. None if it carries none.
pub(super) fn result(stanza: &Stanza) -> Option<(Option<String>, ArchiveResult)> {
    let result = stanza.child(ns::MAM, "result")?;
    let forwarded = result.child(ns::FORWARD, "forwarded");
    let message = forwarded.and_then(|forwarded| forwarded.child(ns::CLIENT, "message"));
    let delay = forwarded.and_then(|forwarded| forwarded.child(ns::DELAY, "delay"));
    let result = (
        result.attr("queryid").map(Into::into),
        ArchiveResult {
            id: result.attr("id").unwrap_or_default().into_owned(),
            stamp: delay.and_then(|delay| delay.attr("stamp")).and_then(|stamp| parse_datetime(&stamp)),
            message: message.and_then(|message| stanza.inner(message)),
        },
    );
    Some(result)
}

/// The end of a page; None if the reply has none.
pub(super) fn fin(reply: &Stanza) -> Option<Fin> {
    let fin = reply.child(ns::MAM, "fin")?;
    let is = |name: &str, value: [&str; 2]| fin.attr(name).is_some_and(|v| value.contains(&v.trim()));
    let set = fin.child(ns::RSM, "set");
    let id = |what: &str| {
        let id = set.and_then(|set| set.child(ns::RSM, what)).map(|node| node.text().into_owned());
        id.filter(|id| !id.is_empty())
    };
    Some(Fin {
        complete: is("complete", ["true", "1"]),
        stable: !is("stable", ["false", "0"]),
        first: id("first"),
        last: id("last"),
    })
}

/// The names of the fields that a form for queries has (XEP-0313 §4.1.5).
pub(super) fn form_fields(reply: &Stanza) -> BTreeSet<String> {
    let form = reply.child(ns::MAM, "query").and_then(|query| query.child(ns::DATA_FORMS, "x"));
    let fields = form.into_iter().flat_map(Node::children).filter(|child| child.is(ns::DATA_FORMS, "field"));
    fields.filter_map(|field| field.attr("var").map(String::from)).filter(|var| var != "FORM_TYPE").collect()
}

/// The field among these that takes a search for words.
pub(super) fn text_field(fields: &BTreeSet<String>) -> Option<&'static str> {
    TEXT_FIELDS.into_iter().find(|field| fields.contains(*field))
}

/// The id that the archive of this account gave a message, if exactly one is said to be (XEP-0359).
pub(super) fn own_stanza_id(stanza: &Stanza, account: &BareJid) -> Option<ArchiveId> {
    let by = |node: &Node<'_>| node.attr("by").and_then(|by| Jid::new(&by).ok()).is_some_and(|by| by == *account);
    let mut ids = stanza.children().filter(|child| child.is(ns::SID, "stanza-id")).filter(by);
    let id = ids.next()?.attr("id")?;
    ids.next().is_none().then(|| ArchiveId::new(account.clone(), StoredText::of(stanza, id)))
}

/// The cursor behind a page that continues this one.
pub(super) fn moved(cursor: &ArchiveCursor, last: Option<&str>, stamp: Option<SystemTime>) -> ArchiveCursor {
    let mut cursor = cursor.clone();
    if let Some(last) = last {
        cursor.last = Some(last.to_owned());
        cursor.first.get_or_insert_with(|| last.to_owned());
    }
    cursor.stamp = stamp.unwrap_or(cursor.stamp);
    cursor
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::xml::Frame;

    fn stanza(xml: &str) -> Stanza {
        Frame::parse(xml).expect("XML").stanza().expect("a stanza")
    }

    fn written(filter: &Filter, paging: &Paging) -> String {
        String::from(&Element::from(query("q1", filter, paging, 50))).replace('"', "'")
    }

    #[test]
    fn a_query_says_what_is_wanted_and_no_more() {
        let plain = written(&Filter::default(), &Paging::Forwards { after: None });
        assert!(plain.contains("queryid='q1'") && plain.contains("<max>50</max>"), "{plain}");
        assert!(!plain.contains("jabber:x:data") && !plain.contains("after") && !plain.contains("before"), "{plain}");
        let last = written(&Filter::default(), &Paging::Backwards { before: None });
        assert!(last.contains("<before/>") || last.contains("<before></before>"), "{last}");
        let filter = Filter {
            with: Some("romeo@montague.example".parse().expect("a JID")),
            start: Some(UNIX_EPOCH),
            end: Some(UNIX_EPOCH + Duration::from_micros(1)),
            ids: vec!["a".into(), "b".into()],
            text: Some(("withtext", "to be".into())),
            rooms: Some(false),
            ..Filter::default()
        };
        let full = written(&filter, &Paging::Forwards { after: Some("<7>".into()) });
        for part in [
            "<value>urn:xmpp:mam:2</value>",
            "<value>romeo@montague.example</value>",
            "<value>1970-01-01T00:00:00Z</value>",
            "<value>1970-01-01T00:00:00.000001Z</value>",
            "<value>a</value><value>b</value>",
            "var='withtext'",
            "<value>false</value>",
            "<after>&lt;7&gt;</after>",
        ] {
            assert!(full.contains(part), "{part} in {full}");
        }
    }

    #[test]
    fn a_result_is_read_and_what_is_missing_in_it_harms_nothing() {
        let xml = "<message xmlns='jabber:client'><result xmlns='urn:xmpp:mam:2' queryid='q' id='7'>\
                   <forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='1970-01-01T00:00:01Z'/>\
                   <message xmlns='jabber:client' from='a@b'><body>hi</body></message></forwarded></result></message>";
        let (query_id, read) = result(&stanza(xml)).expect("a result");
        assert_eq!((query_id.as_deref(), read.id.as_str()), (Some("q"), "7"));
        assert_eq!(read.stamp, Some(UNIX_EPOCH + Duration::from_secs(1)));
        assert_eq!(read.message.and_then(|m| m.child_text(ns::CLIENT, "body").map(|b| b.into_owned())).as_deref(), Some("hi"));
        let bare = stanza("<message xmlns='jabber:client'><result xmlns='urn:xmpp:mam:2' id='8'/></message>");
        let (query_id, read) = result(&bare).expect("a result");
        assert!(query_id.is_none() && read.message.is_none() && read.stamp.is_none());
        assert!(result(&stanza("<message xmlns='jabber:client'><body/></message>")).is_none());
    }

    #[test]
    fn the_end_of_a_page_is_read_in_both_ways_of_writing_a_boolean() {
        let read = |attributes: &str, set: &str| {
            let xml =
                format!("<fin xmlns='urn:xmpp:mam:2' {attributes}><set xmlns='http://jabber.org/protocol/rsm'>{set}</set></fin>");
            fin(&stanza(&format!("<iq xmlns='jabber:client' type='result' id='1'>{xml}</iq>"))).expect("an end")
        };
        for (attributes, complete, stable) in [
            ("", false, true),
            ("complete='true'", true, true),
            ("complete='1' stable='0'", true, false),
            ("stable='false'", false, false),
        ] {
            let fin = read(attributes, "<first index='0'>a</first><last>b</last>");
            assert_eq!((fin.complete, fin.stable), (complete, stable), "{attributes}");
            assert_eq!((fin.first.as_deref(), fin.last.as_deref()), (Some("a"), Some("b")));
        }
        assert_eq!(read("", "<count>0</count>").last, None);
        assert!(fin(&stanza("<iq xmlns='jabber:client' type='result' id='1'/>")).is_none());
    }

    #[test]
    fn of_two_ids_by_the_own_archive_none_is_believed() {
        let account: BareJid = "juliet@capulet.example".parse().expect("a JID");
        let read = |ids: &str| own_stanza_id(&stanza(&format!("<message xmlns='jabber:client'>{ids}</message>")), &account);
        let own = "<stanza-id xmlns='urn:xmpp:sid:0' by='Juliet@capulet.example' id='1'/>";
        let other = "<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@montague.example' id='2'/>";
        assert_eq!(read(&format!("{other}{own}")).map(|id| id.id).as_deref(), Some("1"));
        assert_eq!(read(other), None);
        assert_eq!(read(&format!("{own}{own}")), None);
    }
}
