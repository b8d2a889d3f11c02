//! Account registration, password change and removal (XEP-0077).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jid::{BareJid, NodePart};
use sha1::{Digest as _, Sha1};

use super::iq::{Answer, Request, Scope};
use super::options::{Field, Registration};
use super::routing::{cancel, modify};
use super::state::{Account, State};
use super::tree::{Element, ns};
use crate::error::{StanzaError, StanzaErrorType, StreamError};

/// A PNG of one pixel, the picture of the CAPTCHA.
const PIXEL: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0,
    0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0x60, 0, 0, 0, 2, 0, 1, 0x48, 0xaf, 0xa4,
    0x71, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// The forms of an account's owner (XEP-0077 §14.2).
const CANCEL: &str = "jabber:iq:register:cancel";
const CHANGE_PASSWORD: &str = "jabber:iq:register:changepassword";

const INSTRUCTIONS: &str = "Choose a username and password for use with this service.";

/// What a client submitted, by field name.
type Values = BTreeMap<String, String>;

/// Requests of a client that has logged in.
pub(super) fn handle(state: &mut State, request: &Request) -> Result<Answer, StanzaError> {
    if matches!(request.scope, Scope::Other(_)) {
        return Err(cancel("service-unavailable"));
    }
    let sender = request.from.to_bare();
    let account = state.local_account(&sender.clone().into()).ok_or_else(|| cancel("registration-required"))?;
    if !request.is_set {
        let query = Element::new("query", ns::REGISTER)
            .child(Element::new("registered", ns::REGISTER))
            .child(Element::with_text("username", ns::REGISTER, account.as_str()))
            .child(Element::new("password", ns::REGISTER));
        return Ok(Answer::Result(Some(query)));
    }
    if let Some(error) = &state.config.registration_error {
        return Err(error.clone());
    }
    let values = submitted(&request.payload);
    let mut remove = request.payload.find("remove", ns::REGISTER).is_some();
    if let Some(fields) = state.config.owner_form.clone() {
        let Some(x) = request.payload.find("x", ns::FORM) else {
            state.answer_with_form(request, owner_form(remove, &fields));
            return Ok(Answer::Sent);
        };
        remove = form_type(x).as_deref() == Some(CANCEL);
        let password = values.get(if remove { "password" } else { "old_password" });
        let known = state.accounts.get(&account).map(|found| &found.password);
        if password != known || fields.iter().any(|field| field.required && values.get(&field.var).is_none_or(String::is_empty)) {
            return Err(modify("not-acceptable").with_text("the form is not filled in"));
        }
    }
    if remove {
        // The result must go out before the stream that carries it ends.
        state.answer(request, None);
        state.remove_account(&account);
        return Ok(Answer::Sent);
    }
    let named = values.get("username").and_then(|name| NodePart::new(name).ok()).map(std::borrow::Cow::into_owned);
    if named.is_some_and(|name| name != account) {
        return Err(cancel("not-allowed"));
    }
    match values.get("password") {
        Some(password) if !password.is_empty() => {
            if let Some(found) = state.accounts.get_mut(&account) {
                found.password.clone_from(password);
                found.keys.clear();
            }
            Ok(Answer::Result(None))
        }
        _ => Err(modify("bad-request")),
    }
}

impl State {
    /// A registration request on a stream nobody has logged in to; gives the answer.
    pub(super) fn register_before_login(&mut self, iq: &Element, secure: bool) -> Element {
        let result = match iq.find("query", ns::REGISTER) {
            Some(query) => self.register(iq.get("type") == Some("set"), query, secure),
            None => Err(cancel("service-unavailable")),
        };
        match result {
            Ok(payload) => Element::new("iq", ns::CLIENT)
                .attr("type", "result")
                .maybe_attr("id", iq.get("id"))
                .maybe_attr("from", iq.get("to"))
                .children_from(payload),
            Err(error) => self.error_reply(iq, &error).maybe_attr("from", iq.get("to")),
        }
    }

    fn register(&mut self, is_set: bool, query: &Element, secure: bool) -> Result<Option<Element>, StanzaError> {
        if self.config.registration == Registration::Closed {
            return Err(cancel(&self.differences().registration_closed));
        }
        if self.config.tls_offered && self.config.tls_required && !secure {
            return Err(modify("policy-violation").with_text("Encryption is required"));
        }
        if !is_set {
            return Ok(Some(self.registration_query()));
        }
        if query.find("remove", ns::REGISTER).is_some() {
            return Err(StanzaError::new(StanzaErrorType::Auth, "registration-required"));
        }
        if let Some(error) = &self.config.registration_error {
            return Err(error.clone());
        }
        self.check_way(query)?;
        let values = submitted(query);
        self.check_challenge(&values)?;
        self.create(values).map(|()| None)
    }

    /// What a client is asked to fill in.
    fn registration_query(&self) -> Element {
        let differences = self.differences();
        let query = Element::new("query", ns::REGISTER);
        let instructions = |text: &str| Element::with_text("instructions", ns::REGISTER, text);
        let legacy = |query: Element| {
            let extra = differences.registration_extra_fields.iter().map(String::as_str);
            let fields = ["username", "password"].into_iter().chain(extra).map(|name| Element::new(name, ns::REGISTER));
            query.child(instructions(INSTRUCTIONS)).children_from(fields)
        };
        match &self.config.registration {
            Registration::Open if differences.registration_form => {
                let extra: Vec<_> = differences.registration_extra_fields.iter().map(Field::new).collect();
                legacy(query).child(form(ns::REGISTER, &extra))
            }
            Registration::Open | Registration::LegacyOnly | Registration::Closed => legacy(query),
            Registration::Form(fields) => query.child(instructions("Fill in the form.")).child(form(ns::REGISTER, fields)),
            Registration::OutOfBand(url) => {
                let oob = Element::new("x", ns::OOB).child(Element::with_text("url", ns::OOB, url));
                query.child(instructions("Register on our web page.")).child(oob)
            }
            Registration::Captcha { .. } => {
                let cid =
                    format!("sha1+{}@bob.xmpp.org", Sha1::digest(PIXEL).iter().map(|b| format!("{b:02x}")).collect::<String>());
                let picture =
                    Element::new("data", ns::BOB).attr("cid", cid.clone()).attr("type", "image/png").attr("max-age", "0");
                query
                    .child(instructions("Enter the text of the picture."))
                    .child(captcha_form(&cid))
                    .child(picture.text_node(&BASE64.encode(PIXEL)))
            }
        }
    }

    /// Whether accounts are made this way here: by legacy fields, by form.
    fn check_way(&self, query: &Element) -> Result<(), StanzaError> {
        let by_form = query.find("x", ns::FORM).is_some();
        match &self.config.registration {
            Registration::OutOfBand(_) => Err(cancel("not-allowed")),
            Registration::Form(_) | Registration::Captcha { .. } if !by_form => {
                Err(modify("not-acceptable").with_text("the form must be filled in"))
            }
            Registration::LegacyOnly if by_form => Err(modify("bad-request")),
            Registration::Open if by_form && !self.differences().registration_form => Err(modify("bad-request")),
            _ => Ok(()),
        }
    }

    fn check_challenge(&self, values: &Values) -> Result<(), StanzaError> {
        match &self.config.registration {
            Registration::Captcha { answer } if values.get("ocr") != Some(answer) => {
                Err(cancel("not-allowed").with_text("The CAPTCHA verification has failed"))
            }
            Registration::Form(fields) => {
                let missing = |field: &&Field| field.required && values.get(&field.var).is_none_or(String::is_empty);
                match fields.iter().find(missing) {
                    Some(field) => Err(modify("not-acceptable").with_text(format!("{}: Required value missing", field.var))),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn create(&mut self, mut values: Values) -> Result<(), StanzaError> {
        let username = values.remove("username").filter(|name| !name.is_empty());
        let password = values.remove("password").filter(|password| !password.is_empty());
        let (Some(username), Some(password)) = (username, password) else {
            return Err(modify("not-acceptable").with_text("username and password are required"));
        };
        let node = match NodePart::new(&username) {
            Ok(node) => node.into_owned(),
            Err(_) => return Err(modify("jid-malformed")),
        };
        if self.accounts.contains_key(&node) {
            return Err(cancel("conflict").with_text("The requested username already exists."));
        }
        let mut account = Account::new(&password);
        account.registered = values;
        self.accounts.insert(node, account);
        Ok(())
    }

    /// Removes an account: its contacts lose their subscriptions, its sessions end (XEP-0077 §3.2).
    pub(super) fn remove_account(&mut self, account: &NodePart) -> bool {
        let Some(found) = self.accounts.get_mut(account) else { return false };
        let items: Vec<(BareJid, _)> = std::mem::take(&mut found.roster.items).into_iter().collect();
        for (contact, item) in &items {
            self.end_subscriptions(account, contact, item);
        }
        let sessions: Vec<_> =
            self.connections.iter().filter(|(_, c)| c.account.as_ref() == Some(account)).map(|(id, _)| *id).collect();
        for id in sessions {
            self.kick(id, StreamError::new("not-authorized", Some("the account was removed".into())));
        }
        self.accounts.remove(account).is_some()
    }
}

/// Values of a submission: of the form if there is one, else of the legacy fields.
fn submitted(query: &Element) -> Values {
    match query.find("x", ns::FORM) {
        Some(form) => form
            .elements()
            .filter(|e| e.is("field", ns::FORM))
            .filter_map(|field| Some((field.get("var")?.to_owned(), field.find_text("value", ns::FORM)?)))
            .filter(|(var, _)| var != "FORM_TYPE")
            .collect(),
        None => query.elements().filter(|e| e.ns() == ns::REGISTER).map(|e| (e.name().to_owned(), e.text())).collect(),
    }
}

fn form(form_type: &str, extra: &[Field]) -> Element {
    let hidden = form_field("FORM_TYPE", "hidden").child(Element::with_text("value", ns::FORM, form_type));
    let extra = extra.iter().map(|field| {
        let element = form_field(&field.var, "text-single").maybe_attr("label", field.label.clone());
        if field.required { required(element) } else { element }
    });
    Element::new("x", ns::FORM)
        .attr("type", "form")
        .child(Element::with_text("title", ns::FORM, "Creating a new account"))
        .child(Element::with_text("instructions", ns::FORM, INSTRUCTIONS))
        .child(hidden)
        .child(required(form_field("username", "text-single").attr("label", "Username")))
        .child(required(form_field("password", "text-private").attr("label", "Password")))
        .children_from(extra)
}

/// What an owner has to fill in to remove the account, or to change its password.
fn owner_form(remove: bool, extra: &[Field]) -> Element {
    let (form_type, old) = if remove { (CANCEL, None) } else { (CHANGE_PASSWORD, Some("old_password")) };
    form(form_type, extra).children_from(old.map(|name| required(form_field(name, "text-private"))))
}

fn form_type(form: &Element) -> Option<String> {
    let field = form.elements().find(|e| e.is("field", ns::FORM) && e.get("var") == Some("FORM_TYPE"))?;
    field.find_text("value", ns::FORM)
}

fn captcha_form(cid: &str) -> Element {
    let uri = Element::with_text("uri", ns::MEDIA, &format!("cid:{cid}")).attr("type", "image/png");
    let picture = Element::new("media", ns::MEDIA).attr("height", "1").attr("width", "1").child(uri);
    let question = required(form_field("ocr", "text-single").attr("label", "Enter the text you see")).child(picture);
    form(ns::CAPTCHA, &[]).child(question)
}

fn form_field(var: &str, kind: &str) -> Element {
    Element::new("field", ns::FORM).attr("var", var).attr("type", kind)
}

fn required(field: Element) -> Element {
    field.child(Element::new("required", ns::FORM))
}
