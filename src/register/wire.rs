//! Reading the server's form, and writing what is filled in (XEP-0077, XEP-0004).

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use base64::Engine as _;

use crate::error::{AccountForm, Error, ErrorKind, FieldKind, FormField, FormOption, Media, RegisterError, Result};
use crate::xml::{Node, OutStanza, Stanza, escape_attr, escape_text, ns};

/// Fields a form may have, and options, values and media a field may have.
const MAX_ITEMS: usize = 512;

const BOB: &str = "urn:xmpp:bob";
const MEDIA: &str = "urn:xmpp:media-element";
const CAPTCHA: &str = "urn:xmpp:captcha";

/// What a server wants, in the ways it offers: at least one.
#[derive(Debug)]
pub(super) struct Offer {
    /// The data form.
    form: Option<AccountForm>,
    /// The simple fields.
    legacy: Option<AccountForm>,
}

/// In which way an account is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Form,
    Legacy,
}

/// What whoever registers has to say, by field name.
pub(super) type Answers = BTreeMap<String, Vec<String>>;

/// What goes back, by field name.
pub(super) type Values<'a> = Vec<(&'a str, &'a [String])>;

/// The request for the form.
pub(super) fn get(id: &str, domain: &str) -> Result<OutStanza> {
    iq("get", id, domain, "")
}

/// The request that makes the account.
pub(super) fn set(id: &str, domain: &str, way: Way, values: &Values<'_>) -> Result<OutStanza> {
    iq("set", id, domain, &content(way, values))
}

/// The payload of a request of the account's owner.
pub(super) fn query(way: Way, values: &Values<'_>) -> Result<minidom::Element> {
    element(&content(way, values))
}

/// The payload that asks for the account's removal.
pub(super) fn remove() -> Result<minidom::Element> {
    element("<remove/>")
}

fn element(content: &str) -> Result<minidom::Element> {
    format!("<query xmlns='{}'>{content}</query>", ns::REGISTER).parse().map_err(|_| not_xml())
}

fn content(way: Way, values: &Values<'_>) -> String {
    let mut content = String::new();
    match way {
        Way::Form => {
            let _ = write!(content, "<x xmlns='{}' type='submit'>", ns::DATA_FORMS);
            for (name, values) in values {
                let _ = write!(content, "<field var='{}'>", escape_attr(name));
                for value in *values {
                    let _ = write!(content, "<value>{}</value>", escape_text(value));
                }
                content.push_str("</field>");
            }
            content.push_str("</x>");
        }
        Way::Legacy => {
            for (name, values) in values {
                let value = values.first().map(String::as_str).unwrap_or_default();
                // The name was the name of an element in the server's own form.
                let _ = write!(content, "<{name}>{}</{name}>", escape_text(value));
            }
        }
    }
    content
}

fn iq(kind: &str, id: &str, domain: &str, content: &str) -> Result<OutStanza> {
    let (domain, register) = (escape_attr(domain), ns::REGISTER);
    let xml = format!(
        "<iq xmlns='jabber:client' type='{kind}' id='{id}' to='{domain}'><query xmlns='{register}'>{content}</query></iq>"
    );
    // The parser's own error would blame the server.
    OutStanza::from_xml(&xml).map_err(|_| not_xml())
}

fn not_xml() -> Error {
    let text = "a value holds characters that XML cannot carry".to_owned();
    ErrorKind::Register(RegisterError::NotAcceptable(text)).into()
}

/// The form in an error that asks the account's owner for more (XEP-0077 §3.2, §3.3).
pub(super) fn form_in_error(reply: &Stanza) -> Result<Option<AccountForm>> {
    let Some(query) = reply.child(ns::REGISTER, "query") else { return Ok(None) };
    data_form(query).map(|x| read_form(x, query, reply.root())).transpose()
}

fn data_form(query: Node<'_>) -> Option<Node<'_>> {
    query.children().find(|x| x.is(ns::DATA_FORMS, "x") && x.attr("type").as_deref() == Some("form"))
}

impl Offer {
    /// Reads the answer to [`get`].
    pub(super) fn read(reply: &Stanza) -> Result<Self> {
        let Some(query) = reply.child(ns::REGISTER, "query") else {
            return Err(malformed("the answer holds no registration query"));
        };
        if query.child(ns::REGISTER, "registered").is_some() {
            return Err(ErrorKind::Register(RegisterError::Conflict).into());
        }
        let instructions =
            query.child(ns::REGISTER, "instructions").map(|node| node.text().trim().to_owned()).unwrap_or_default();
        let url = query.child(ns::OOB, "x").and_then(|x| x.child(ns::OOB, "url")).map(|url| url.text().trim().to_owned());
        let url = url.filter(|url| !url.is_empty());

        let mut form = data_form(query).map(|x| read_form(x, query, reply.root())).transpose()?;
        if let Some(form) = &mut form {
            form.url.clone_from(&url);
            if form.instructions.is_empty() {
                form.instructions.clone_from(&instructions);
            }
        }
        let fields = read_legacy(query)?;
        if form.is_none() && fields.is_empty() {
            return Err(ErrorKind::Register(match url {
                Some(url) => RegisterError::OutOfBand(url),
                None if !instructions.is_empty() => RegisterError::OutOfBand(instructions),
                None => RegisterError::NotOffered,
            })
            .into());
        }
        let legacy = (!fields.is_empty()).then_some(AccountForm { title: None, instructions, fields, url });
        Ok(Self { form, legacy })
    }

    /// The way to go with these answers: the data form goes before the simple fields (XEP-0077 §6), which serve where only
    /// they can be filled in. A question for people is not got round.
    pub(super) fn choose(&self, answers: &Answers) -> (Way, &AccountForm) {
        match (&self.form, &self.legacy) {
            (Some(form), Some(legacy))
                if !is_filled(form, answers, &NAMED) && !asks_for_people(form, answers) && is_filled(legacy, answers, &NAMED) =>
            {
                (Way::Legacy, legacy)
            }
            (Some(form), _) => (Way::Form, form),
            (None, Some(legacy)) => (Way::Legacy, legacy),
            // `read` makes no such offer.
            (None, None) => (Way::Legacy, &EMPTY),
        }
    }
}

const NAMED: [&str; 2] = ["username", "password"];

static EMPTY: AccountForm = AccountForm { title: None, instructions: String::new(), fields: Vec::new(), url: None };

/// What goes back to make an account; a form without a place for the name and the password makes none of ours.
pub(super) fn fill<'a>(form: &'a AccountForm, answers: &'a Answers) -> Result<Values<'a>> {
    fill_in(form, answers, &NAMED)
}

/// What goes back: answers where there are some, else what the form holds. An error if something is missing, or the form has
/// no place for one of the `needed`.
pub(super) fn fill_in<'a>(form: &'a AccountForm, answers: &'a Answers, needed: &[&str]) -> Result<Values<'a>> {
    if !is_filled(form, answers, needed) {
        let wanted = Box::new(form.clone());
        let for_people = asks_for_people(form, answers);
        let error = if for_people { RegisterError::Captcha(wanted) } else { RegisterError::FormRequired(wanted) };
        let names: Vec<_> = missing(form, answers).map(|field| field.name.as_str()).collect();
        let error = Error::new(ErrorKind::Register(error));
        return Err(if names.is_empty() { error } else { error.with_context(names.join(", ")) });
    }
    let fields = form.fields.iter().filter(|field| field.kind != FieldKind::Note);
    let values = fields.map(|field| (field.name.as_str(), answers.get(&field.name).unwrap_or(&field.values).as_slice()));
    Ok(values.filter(|(_, values)| !values.is_empty()).collect())
}

/// The fields that have to be filled in and are not.
pub(super) fn missing<'a>(form: &'a AccountForm, answers: &Answers) -> impl Iterator<Item = &'a FormField> {
    form.fields.iter().filter(move |field| {
        let needed = field.required && !matches!(field.kind, FieldKind::Note | FieldKind::Hidden);
        needed && answers.get(&field.name).unwrap_or(&field.values).iter().all(String::is_empty)
    })
}

/// Whether nothing is missing, and there is a place for each of the `needed`.
fn is_filled(form: &AccountForm, answers: &Answers, needed: &[&str]) -> bool {
    missing(form, answers).next().is_none() && needed.iter().all(|name| form.field(name).is_some())
}

/// Whether a question that is open is one for people: it shows a picture, or plays a sound.
fn asks_for_people(form: &AccountForm, answers: &Answers) -> bool {
    let is_captcha = form.field("FORM_TYPE").is_some_and(|field| field.values.iter().any(|value| value == CAPTCHA));
    missing(form, answers).any(|field| is_captcha || !field.media.is_empty())
}

fn read_legacy(query: Node<'_>) -> Result<Vec<FormField>> {
    let mut fields: Vec<FormField> = Vec::new();
    let is_field = |child: &Node<'_>| child.has_ns(ns::REGISTER) && !matches!(child.name(), "instructions" | "remove");
    for child in query.children().filter(is_field) {
        if fields.iter().any(|field| field.name == child.name()) {
            continue;
        }
        if fields.len() == MAX_ITEMS {
            return Err(malformed("the form has too many fields"));
        }
        let kind = match child.name() {
            "password" => FieldKind::Secret,
            // A token that only has to go back (XEP-0077 §7).
            "key" => FieldKind::Hidden,
            _ => FieldKind::Text,
        };
        let mut field = FormField::new(child.name(), kind);
        // All that is asked for must be given (XEP-0077 §3.1).
        field.required = true;
        let value = child.text();
        if !value.is_empty() {
            field.values.push(value.into_owned());
        }
        fields.push(field);
    }
    Ok(fields)
}

fn read_form(x: Node<'_>, query: Node<'_>, reply: Node<'_>) -> Result<AccountForm> {
    let mut form = AccountForm::default();
    let mut names = HashSet::new();
    for child in x.children().filter(|child| child.has_ns(ns::DATA_FORMS)) {
        match child.name() {
            "title" => form.title = Some(child.text().trim().to_owned()),
            "instructions" => {
                if !form.instructions.is_empty() {
                    form.instructions.push('\n');
                }
                form.instructions.push_str(child.text().trim());
            }
            "field" => {
                let Some(field) = read_field(child, query, reply)? else { continue };
                if !field.name.is_empty() && !names.insert(field.name.clone()) {
                    continue;
                }
                if form.fields.len() == MAX_ITEMS {
                    return Err(malformed("the form has too many fields"));
                }
                form.fields.push(field);
            }
            _ => {}
        }
    }
    Ok(form)
}

/// A field; none if it cannot be filled in for want of a name.
fn read_field(node: Node<'_>, query: Node<'_>, reply: Node<'_>) -> Result<Option<FormField>> {
    let kind = match node.attr("type").as_deref() {
        Some("boolean") => FieldKind::Boolean,
        Some("fixed") => FieldKind::Note,
        Some("hidden") => FieldKind::Hidden,
        Some("jid-multi") => FieldKind::Jids,
        Some("jid-single") => FieldKind::Jid,
        Some("list-multi") => FieldKind::Choices,
        Some("list-single") => FieldKind::Choice,
        Some("text-multi") => FieldKind::Lines,
        Some("text-private") => FieldKind::Secret,
        _ => FieldKind::Text,
    };
    let name = node.attr("var").unwrap_or_default();
    if name.is_empty() && kind != FieldKind::Note {
        return Ok(None);
    }
    let mut field = FormField::new(name, kind);
    field.label = node.attr("label").map(Into::into);
    for child in node.children() {
        if child.is(ns::DATA_FORMS, "value") {
            field.values.push(child.text().into_owned());
        } else if child.is(ns::DATA_FORMS, "required") {
            field.required = true;
        } else if child.is(ns::DATA_FORMS, "desc") {
            field.description = Some(child.text().trim().to_owned());
        } else if child.is(ns::DATA_FORMS, "option") {
            let Some(value) = child.child(ns::DATA_FORMS, "value") else { continue };
            field.options.push(FormOption::new(value.text(), child.attr("label").map(Into::into)));
        } else if child.is(MEDIA, "media") {
            read_media(child, query, reply, &mut field.media);
        }
        if field.values.len() > MAX_ITEMS || field.options.len() > MAX_ITEMS || field.media.len() > MAX_ITEMS {
            return Err(malformed("a field of the form has too many values"));
        }
    }
    Ok(Some(field))
}

/// The media of one `<media/>`; data that came along is looked for in the query (as servers send it) and in the stanza.
fn read_media(media: Node<'_>, query: Node<'_>, reply: Node<'_>, into: &mut Vec<Media>) {
    let size = |name: &str| media.attr(name).and_then(|value| value.parse().ok());
    for uri in media.children().filter(|child| child.is(MEDIA, "uri")).take(MAX_ITEMS + 1) {
        let mut medium = Media::new(uri.text().trim(), uri.attr("type").unwrap_or_default());
        (medium.width, medium.height) = (size("width"), size("height"));
        medium.data = medium.uri.strip_prefix("cid:").and_then(|cid| {
            let is_it = |node: &Node<'_>| node.is(BOB, "data") && node.attr("cid").is_some_and(|other| other == cid);
            let node = query.children().chain(reply.children()).find(is_it)?;
            let text: String = node.text().split_ascii_whitespace().collect();
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        });
        into.push(medium);
    }
}

fn malformed(why: &'static str) -> Error {
    Error::new(ErrorKind::Payload { ns: ns::REGISTER.to_owned(), name: "query".to_owned() }).with_context(why)
}
