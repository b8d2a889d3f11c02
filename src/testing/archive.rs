//! Archives of accounts (XEP-0313, XEP-0441): what is kept, and how it is asked for.

use std::collections::BTreeSet;

use jid::{BareJid, FullJid, Jid, NodePart};

use super::clock;
use super::iq::{Answer, Request, Scope};
use super::options::Misbehaviour;
use super::routing::{cancel, modify};
use super::state::{State, random_id};
use super::tree::{Element, ns};
use crate::error::{StanzaError, StanzaErrorType};

/// The archive of one account.
#[derive(Debug, Default)]
pub(super) struct Archive {
    items: Vec<Item>,
    preferences: Option<Element>,
}

#[derive(Debug, Clone)]
struct Item {
    id: String,
    /// In seconds since 1970.
    at: i64,
    stanza: Element,
    /// The other side.
    with: Jid,
}

/// What a query asks for.
#[derive(Debug, Default)]
struct Query {
    with: Option<Jid>,
    start: Option<String>,
    end: Option<String>,
    after_id: Option<String>,
    before_id: Option<String>,
    ids: Vec<String>,
    words: Option<String>,
    max: usize,
    after: Option<String>,
    before: Option<String>,
}

impl State {
    /// Keeps a message in the account's archive, if that is to be. Gives its id there.
    pub(super) fn archive(&mut self, account: &NodePart, stanza: &Element, with: &Jid) -> Option<String> {
        let is_hint = |e: &Element| e.ns() == ns::HINTS && matches!(e.name(), "no-store" | "no-permanent-store");
        let is_kept = matches!(stanza.get("type"), None | Some("chat" | "normal")) && stanza.find("body", ns::CLIENT).is_some();
        if !self.differences().archive || !is_kept || stanza.elements().any(is_hint) {
            return None;
        }
        let is_contact =
            || self.accounts.get(account).is_some_and(|a| a.roster.contacts().iter().any(|c| c.jid == with.to_bare()));
        let preferences = self.accounts.get(account)?.archive.preferences.as_ref();
        if preferences.is_some_and(|preferences| !is_wanted(preferences, with, is_contact)) {
            return None;
        }
        let at = clock::unix_now();
        let id = if self.differences().archive_ids_are_times {
            let last = self.accounts.get(account)?.archive.items.last().and_then(|item| item.id.parse().ok());
            clock::unix_micros().max(last.map_or(0, |last: u128| last + 1)).to_string()
        } else {
            random_id()
        };
        let item = Item { id: id.clone(), at, stanza: stanza.clone(), with: with.clone() };
        self.accounts.get_mut(account)?.archive.items.push(item);
        Some(id)
    }

    /// Keeps a message for the account it came to, and says in it under which id (XEP-0313 §3.5, XEP-0359 §5).
    pub(super) fn archive_incoming(&mut self, account: &NodePart, mut stanza: Element) -> Element {
        let by = self.bare(account);
        if self.differences().stanza_ids {
            let is_forged = |e: &Element| {
                e.is("stanza-id", ns::SID) && e.get("by").is_some_and(|given| Jid::new(given).is_ok_and(|given| given == by))
            };
            stanza.remove_children(is_forged);
        }
        let Some(Ok(with)) = stanza.get("from").map(Jid::new) else { return stanza };
        match self.archive(account, &stanza, &with) {
            Some(id) if self.differences().stanza_ids => stanza.child(stanza_id(&by, &id)),
            _ => stanza,
        }
    }

    /// Answers the queries that were left unanswered.
    pub(super) fn answer_archive(&mut self) {
        self.config.misbehaviours.retain(|misbehaviour| !matches!(misbehaviour, Misbehaviour::SilentArchive { .. }));
        for mut request in std::mem::take(&mut self.unanswered) {
            // The session may have been resumed on another connection since.
            request.session = FullJid::try_from(request.from.clone()).ok().and_then(|jid| self.session(&jid)).or(request.session);
            let answer = query(self, &request);
            self.answer_with(&request, answer);
        }
    }

    /// The ids and stanzas of an account's archive, the oldest first.
    pub(super) fn archived(&self, account: &NodePart) -> Vec<(String, String)> {
        let items = self.accounts.get(account).map(|account| account.archive.items.as_slice()).unwrap_or_default();
        items.iter().map(|item| (item.id.clone(), item.stanza.to_document())).collect()
    }

    /// Forgets the oldest messages of an account's archive, as a server does that keeps them for a time.
    pub(super) fn expire_archive(&mut self, account: &NodePart, count: usize) {
        if let Some(account) = self.accounts.get_mut(account) {
            let count = count.min(account.archive.items.len());
            account.archive.items.drain(..count);
        }
    }
}

pub(super) fn stanza_id(by: &BareJid, id: &str) -> Element {
    Element::new("stanza-id", ns::SID).attr("by", by.as_str()).attr("id", id)
}

/// What an account's disco#info lists of its archive.
pub(super) fn features(state: &State) -> Vec<&'static str> {
    let differences = state.differences();
    let mut features = Vec::new();
    if differences.archive {
        features.push(ns::MAM);
    }
    if differences.archive && differences.archive_extended {
        features.push(ns::MAM_EXTENDED);
    }
    if differences.stanza_ids {
        features.push(ns::SID);
    }
    features
}

/// XEP-0441 §2.2: bare JIDs stand for their resources.
fn is_wanted(preferences: &Element, with: &Jid, is_contact: impl FnOnce() -> bool) -> bool {
    let lists = |what: &str| {
        let jids = preferences.find(what, ns::MAM).into_iter().flat_map(Element::elements).map(Element::text);
        jids.filter_map(|jid| Jid::new(&jid).ok()).any(|jid| jid == *with || (jid.is_bare() && jid == with.to_bare()))
    };
    match preferences.get("default") {
        _ if lists("always") => true,
        _ if lists("never") => false,
        Some("never") => false,
        Some("roster") => is_contact(),
        _ => true,
    }
}

/// `<query/>`: the form, or a page of results.
pub(super) fn query(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    let account = own(state, request)?;
    if !request.is_set {
        let field = |var: &str| Element::new("field", ns::FORM).attr("var", var).attr("type", "text-single");
        let form_type = Element::new("field", ns::FORM).attr("var", "FORM_TYPE").attr("type", "hidden");
        let form = Element::new("x", ns::FORM)
            .attr("type", "form")
            .child(form_type.child(Element::with_text("value", ns::FORM, ns::MAM)))
            .children_from(fields(state).iter().map(|var| field(var)));
        return Ok(Answer::Result(Some(Element::new("query", ns::MAM).child(form))));
    }
    let Some(session) = request.session else { return Err(cancel("service-unavailable")) };
    let asked = state.bound_mut(session).map_or(0, |bound| {
        bound.archive_queries += 1;
        bound.archive_queries
    });
    for misbehaviour in &state.config.misbehaviours {
        match misbehaviour {
            Misbehaviour::RefuseArchive(condition) => return Err(cancel(condition)),
            Misbehaviour::SilentArchive { after } if asked > *after => {
                state.unanswered.push(request.clone());
                return Ok(Answer::Sent);
            }
            _ => {}
        }
    }
    let query = read(state, &request.payload)?;
    let items = &state.accounts.get(&account).ok_or_else(|| cancel("item-not-found"))?.archive.items;
    let is_lost = asked.is_multiple_of(2) && state.config.misbehaviours.contains(&Misbehaviour::EmptyPages);
    if query.after.is_some() && state.config.misbehaviours.contains(&Misbehaviour::ForgetArchiveIds) {
        return Err(cancel("item-not-found"));
    }
    let (page, complete, index, count) =
        if is_lost { (Vec::new(), true, 0, 0) } else { select(items, &query, &state.bare(&account))? };
    let page: Vec<Item> = page.into_iter().cloned().collect();
    for item in &page {
        let delay = Element::new("delay", ns::DELAY).attr("stamp", clock::stamp(item.at));
        let forwarded = Element::new("forwarded", ns::FORWARD).child(delay).child(item.stanza.clone());
        let result = Element::new("result", ns::MAM)
            .maybe_attr("queryid", request.payload.get("queryid"))
            .attr("id", item.id.as_str())
            .child(forwarded);
        let message = Element::new("message", ns::CLIENT)
            .maybe_attr("from", state.own_from(&account))
            .attr("to", request.from.as_str())
            .child(result);
        state.send(session, &message);
    }
    let set = Element::new("set", ns::RSM);
    let set = match (page.first(), page.last()) {
        (Some(first), Some(last)) => set
            .child(Element::with_text("first", ns::RSM, &first.id).attr("index", index.to_string()))
            .child(Element::with_text("last", ns::RSM, &last.id)),
        _ => set,
    };
    let set = set.child(Element::with_text("count", ns::RSM, &count.to_string()));
    let fin = Element::new("fin", ns::MAM).maybe_attr("complete", complete.then_some("true")).child(set);
    Ok(Answer::Result(Some(fin)))
}

/// `<metadata/>`: where the archive begins and ends.
pub(super) fn metadata(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    let account = own(state, request)?;
    if !state.differences().archive_extended || request.is_set {
        return Err(modify("bad-request"));
    }
    let items = state.accounts.get(&account).map(|account| account.archive.items.as_slice()).unwrap_or_default();
    let end = |what: &str, item: &Item| {
        Element::new(what, ns::MAM).attr("id", item.id.as_str()).attr("timestamp", clock::stamp(item.at))
    };
    let metadata = Element::new("metadata", ns::MAM)
        .children_from(items.first().map(|item| end("start", item)))
        .children_from(items.last().map(|item| end("end", item)));
    Ok(Answer::Result(Some(metadata)))
}

/// `<prefs/>`.
pub(super) fn preferences(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    let account = own(state, request)?;
    let account = state.accounts.get_mut(&account).ok_or_else(|| cancel("item-not-found"))?;
    if request.is_set {
        if !matches!(request.payload.get("default"), Some("always" | "never" | "roster")) {
            return Err(modify("bad-request"));
        }
        account.archive.preferences = Some(request.payload.clone());
    }
    let none = || {
        let lists = ["always", "never"].map(|list| Element::new(list, ns::MAM));
        Element::new("prefs", ns::MAM).attr("default", "always").children_from(lists)
    };
    Ok(Answer::Result(Some(account.archive.preferences.clone().unwrap_or_else(none))))
}

/// The account that is asked: its owner's alone.
fn own(state: &State, request: &Request) -> Result<NodePart, StanzaError> {
    match &request.scope {
        Scope::Own(account) if state.differences().archive => Ok(account.clone()),
        Scope::Other(Some(_)) if state.differences().archive => Err(StanzaError::new(StanzaErrorType::Auth, "forbidden")),
        _ => Err(cancel("service-unavailable")),
    }
}

fn fields(state: &State) -> Vec<&str> {
    let differences = state.differences();
    let mut fields = vec!["with", "start", "end"];
    if differences.archive_extended {
        fields.extend(["before-id", "after-id", "ids"]);
    }
    fields.extend(differences.archive_text_field.as_deref());
    fields
}

fn read(state: &State, payload: &Element) -> Result<Query, StanzaError> {
    let known: BTreeSet<&str> = fields(state).into_iter().collect();
    let mut query = Query { max: state.differences().archive_page_limit, ..Query::default() };
    let form = payload.find("x", ns::FORM).into_iter().flat_map(Element::elements);
    for field in form.filter(|field| field.is("field", ns::FORM)) {
        let Some(var) = field.get("var").filter(|var| *var != "FORM_TYPE") else { continue };
        if !known.contains(var) {
            return Err(cancel("feature-not-implemented"));
        }
        let values: Vec<String> = field.elements().filter(|e| e.is("value", ns::FORM)).map(Element::text).collect();
        let value = values.first().cloned();
        match var {
            "with" => query.with = Some(Jid::new(&value.unwrap_or_default()).map_err(|_| modify("jid-malformed"))?),
            "start" => query.start = value.map(comparable),
            "end" => query.end = value.map(comparable),
            "after-id" => query.after_id = value,
            "before-id" => query.before_id = value,
            "ids" => query.ids = values,
            _ => query.words = value,
        }
    }
    if let Some(set) = payload.find("set", ns::RSM) {
        let text = |name: &str| set.find_text(name, ns::RSM);
        if let Some(max) = text("max") {
            query.max = query.max.min(max.parse().map_err(|_| modify("bad-request"))?);
        }
        (query.after, query.before) = (text("after"), text("before"));
    }
    Ok(query)
}

/// Stamps are compared as text, to the second: all are in UTC.
fn comparable(stamp: String) -> String {
    stamp.get(..19).map(String::from).unwrap_or(stamp)
}

/// The page, whether it is the last in its direction, the index of its first item, and how many there are on all pages.
fn select<'a>(items: &'a [Item], query: &Query, own: &BareJid) -> Result<(Vec<&'a Item>, bool, usize, usize), StanzaError> {
    let exists = |id: &String| items.iter().any(|item| item.id == *id);
    let paging = query.after.iter().chain(query.before.iter().filter(|before| !before.is_empty()));
    if !query.ids.iter().chain(&query.after_id).chain(&query.before_id).chain(paging).all(exists) {
        return Err(cancel("item-not-found"));
    }
    let at = |id: &Option<String>| id.as_ref().and_then(|id| items.iter().position(|item| item.id == *id));
    let (after_id, before_id) = (at(&query.after_id), at(&query.before_id));
    let matching: Vec<(usize, &Item)> = items
        .iter()
        .enumerate()
        .filter(|(index, item)| {
            let stamp = comparable(clock::stamp(item.at));
            query.with.as_ref().is_none_or(|with| is_with(item, with, own))
                && query.start.as_ref().is_none_or(|start| stamp >= *start)
                && query.end.as_ref().is_none_or(|end| stamp <= *end)
                && after_id.is_none_or(|after| *index > after)
                && before_id.is_none_or(|before| *index < before)
                && (query.ids.is_empty() || query.ids.contains(&item.id))
                && query.words.as_ref().is_none_or(|words| {
                    let body = item.stanza.find_text("body", ns::CLIENT).unwrap_or_default().to_lowercase();
                    words.split_whitespace().all(|word| body.contains(&word.to_lowercase()))
                })
        })
        .collect();
    let (after, before) = (at(&query.after), at(&query.before));
    let inside: Vec<_> = matching
        .iter()
        .filter(|(index, _)| after.is_none_or(|after| *index > after) && before.is_none_or(|before| *index < before))
        .collect();
    let rest = inside.len().saturating_sub(query.max);
    let page = if query.before.is_some() { &inside[rest..] } else { &inside[..inside.len() - rest] };
    let index = page.first().and_then(|first| matching.iter().position(|item| item.0 == first.0)).unwrap_or(0);
    Ok((page.iter().map(|(_, item)| *item).collect(), rest == 0, index, matching.len()))
}

/// XEP-0313 §4.1.1: the own account stands for what it sent to itself.
fn is_with(item: &Item, with: &Jid, own: &BareJid) -> bool {
    if with.to_bare() == *own {
        return item.with.to_bare() == *own;
    }
    item.with == *with || (with.is_bare() && item.with.to_bare() == *with)
}
