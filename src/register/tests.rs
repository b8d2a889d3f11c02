//! Forms read and filled in, refusals told apart.

use super::service::refusal;
use super::wire::{Answers, Offer, Way, fill, missing, set};
use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::xml::{Frame, Stanza};

fn iq(type_: &str, content: &str) -> Stanza {
    let xml = format!("<iq xmlns='jabber:client' type='{type_}' id='register-1' from='example.org'>{content}</iq>");
    Frame::parse(&xml).expect("XML").stanza().expect("a stanza")
}

fn offer(content: &str) -> Result<Offer> {
    Offer::read(&iq("result", &format!("<query xmlns='jabber:iq:register'>{content}</query>")))
}

fn answers(extra: &[(&str, &[&str])]) -> Answers {
    let all = [("username", &["romeo"][..]), ("password", &["a<b&c"][..])].into_iter().chain(extra.iter().copied());
    all.map(|(name, values)| (name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())).collect()
}

/// The whole way from the form to the request, as text.
fn submission(content: &str, extra: &[(&str, &[&str])]) -> Result<String> {
    let (offer, answers) = (offer(content)?, answers(extra));
    let (way, form) = offer.choose(&answers);
    Ok(set("register-2", "example.org", way, &fill(form, &answers)?)?.to_standalone_xml())
}

fn query(content: &str) -> String {
    format!(
        "<iq xmlns='jabber:client' type='set' id='register-2' to='example.org'><query xmlns='jabber:iq:register'>{content}</query></iq>"
    )
}

fn reason(result: Result<impl Sized>) -> RegisterError {
    match result.err().as_ref().map(Error::kind) {
        Some(ErrorKind::Register(reason)) => reason.clone(),
        other => panic!("not a refusal of the registration: {other:?}"),
    }
}

const LEGACY: &str = "<instructions>Choose.</instructions><username/><password/>";

/// A data form with user name and password, and these fields.
fn data_form(fields: &str) -> String {
    format!(
        "<x xmlns='jabber:x:data' type='form'><title>Account</title><instructions>One</instructions><instructions>Two</instructions>\
         <field type='hidden' var='FORM_TYPE'><value>jabber:iq:register</value></field>\
         <field type='text-single' var='username'><required/></field><field type='text-private' var='password'><required/></field>\
         {fields}</x>"
    )
}

#[test]
fn simple_fields_are_filled_in() {
    assert_eq!(
        submission(LEGACY, &[("email", &["unasked@example.org"])]).expect("filled"),
        query("<username>romeo</username><password>a&lt;b&amp;c</password>")
    );
    // What is only to be sent back goes back, and a default stays.
    assert_eq!(
        submission(&format!("{LEGACY}<key>k1</key><nick>r</nick><email/>"), &[("email", &["r@example.net"])]).expect("filled"),
        query(
            "<username>romeo</username><password>a&lt;b&amp;c</password><key>k1</key><nick>r</nick><email>r@example.net</email>"
        )
    );
}

#[test]
fn a_data_form_goes_before_the_simple_fields() {
    let fields = "<field type='fixed'><value>About you</value></field>\
                  <field var='lang' type='list-single'><option label='English'><value>en</value></option><value>en</value></field>\
                  <field var='bio' type='text-multi'/><field var='site'/>";
    assert_eq!(
        submission(&format!("{LEGACY}{}", data_form(fields)), &[("bio", &["first", "second"])]).expect("filled"),
        query(
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>jabber:iq:register</value></field>\
             <field var='username'><value>romeo</value></field><field var='password'><value>a&lt;b&amp;c</value></field>\
             <field var='lang'><value>en</value></field><field var='bio'><value>first</value><value>second</value></field></x>"
        )
    );
}

#[test]
fn the_simple_fields_serve_where_the_data_form_cannot_be_filled_in() {
    let form = data_form("<field var='public-key'><required/></field>");
    assert_eq!(
        submission(&format!("{LEGACY}{form}"), &[]).expect("filled"),
        query("<username>romeo</username><password>a&lt;b&amp;c</password>")
    );
    let offered = offer(&format!("{LEGACY}{form}")).expect("an offer");
    assert_eq!(offered.choose(&answers(&[("public-key", &["k"])])).0, Way::Form);
}

#[test]
fn what_is_missing_is_named() {
    let RegisterError::FormRequired(form) = reason(submission(&format!("{LEGACY}<email/><phone/>"), &[("phone", &["1"])])) else {
        panic!("the form is asked for");
    };
    assert_eq!(missing(&form, &answers(&[])).map(|field| field.name.as_str()).collect::<Vec<_>>(), ["email", "phone"]);
    assert_eq!(form.instructions, "Choose.");

    let form = data_form("<field var='email' label='E-mail'><desc>Yours</desc><required/></field>");
    let error = submission(&form, &[("email", &[""])]);
    let text = error.as_ref().err().map(Error::to_string).unwrap_or_default();
    assert!(text.ends_with(": email"), "{text}");
    let RegisterError::FormRequired(form) = reason(error) else { panic!("the form is asked for") };
    let email = form.field("email").expect("the field");
    assert_eq!((email.label.as_deref(), email.description.as_deref(), email.required), (Some("E-mail"), Some("Yours"), true));
    assert_eq!((form.title.as_deref(), form.instructions.as_str()), (Some("Account"), "One\nTwo"));
}

#[test]
fn a_question_for_people_is_passed_on_with_its_picture() {
    let field = "<field var='ocr' label='Enter the text'><required/><media xmlns='urn:xmpp:media-element' height='80' width='290'>\
                 <uri type='image/png'>cid:sha1+abc@bob.xmpp.org</uri><uri type='image/jpeg'> https://example.org/c.jpg </uri></media></field>";
    let data = "<data xmlns='urn:xmpp:bob' cid='sha1+abc@bob.xmpp.org' type='image/png'>iVBO\nRw==</data>";
    let content = format!("{LEGACY}{}{data}", data_form(field));
    let RegisterError::Captcha(form) = reason(submission(&content, &[])) else { panic!("a question for people") };
    let [inline, remote] = form.field("ocr").expect("the question").media.as_slice() else { panic!("two media") };
    assert_eq!((inline.mime_type.as_str(), inline.data.as_deref()), ("image/png", Some(&b"\x89PNG"[..])));
    assert_eq!((inline.width, inline.height), (Some(290), Some(80)));
    assert_eq!((remote.uri.as_str(), remote.data.as_ref()), ("https://example.org/c.jpg", None));

    let answered = submission(&content, &[("ocr", &["7nHL3"])]).expect("filled");
    assert!(answered.contains("<field var='ocr'><value>7nHL3</value></field>"), "{answered}");
}

#[test]
fn a_server_may_send_people_elsewhere() {
    let url = "<x xmlns='jabber:x:oob'><url> https://example.org/join </url></x>";
    assert_eq!(
        reason(offer(&format!("<instructions>Visit us</instructions>{url}"))),
        RegisterError::OutOfBand("https://example.org/join".into())
    );
    assert_eq!(reason(offer(url)), RegisterError::OutOfBand("https://example.org/join".into()));
    assert_eq!(reason(offer("<instructions>Write to us</instructions>")), RegisterError::OutOfBand("Write to us".into()));
    assert_eq!(reason(offer("")), RegisterError::NotOffered);
    // Beside fields it is an alternative.
    let offered = offer(&format!("{LEGACY}{url}")).expect("an offer");
    assert_eq!(offered.choose(&answers(&[])).1.url.as_deref(), Some("https://example.org/join"));
    assert_eq!(reason(offer("<registered/><username>romeo</username>")), RegisterError::Conflict);
}

#[test]
fn hostile_forms_make_no_account_and_cost_no_memory() {
    // No place for name or password: whatever was made, it would not be ours.
    for content in ["<password/>", "<username/>", "<email/>", "<x xmlns='jabber:x:data' type='form'/>"] {
        assert!(matches!(reason(submission(content, &[("email", &["x"])])), RegisterError::FormRequired(_)), "{content}");
    }
    // Forms of other types are none.
    for type_ in ["submit", "result", "cancel", ""] {
        let content = format!("{LEGACY}<x xmlns='jabber:x:data' type='{type_}'><field var='evil'><required/></field></x>");
        assert_eq!(
            submission(&content, &[]).expect("filled"),
            query("<username>romeo</username><password>a&lt;b&amp;c</password>")
        );
    }
    // Fields without a name, fields twice, types nobody knows.
    let fields = "<field><required/></field><field var='username' type='hidden'><value>admin</value></field>\
                  <field var='a&apos;&lt;' type='odd'><value/></field>";
    let filled = submission(&data_form(fields), &[]).expect("filled");
    assert!(filled.contains("<field var='username'><value>romeo</value></field>") && !filled.contains("admin"), "{filled}");
    assert!(filled.contains("<field var='a&apos;&lt;'><value"), "{filled}");
    // Too much of anything.
    let many = |item: &str| item.repeat(600);
    let numbered: String = (0..600).map(|i| format!("<field var='f{i}'/>")).collect();
    let elements: String = (0..600).map(|i| format!("<f{i}/>")).collect();
    for content in [
        data_form(&numbered),
        elements,
        data_form(&format!("<field var='o'>{}</field>", many("<option><value>x</value></option>"))),
        data_form(&format!("<field var='v'>{}</field>", many("<value>x</value>"))),
        data_form(&format!(
            "<field var='m'><media xmlns='urn:xmpp:media-element'>{}</media></field>",
            many("<uri type='a/b'>x</uri>")
        )),
    ] {
        let error = offer(&content).expect_err("too much");
        assert!(matches!(error.kind(), ErrorKind::Payload { name, .. } if name == "query"), "{error}");
    }
    // No query at all.
    assert!(matches!(Offer::read(&iq("result", "")).map_err(|e| e.kind().clone()), Err(ErrorKind::Payload { .. })));
}

#[test]
fn values_that_xml_cannot_carry_are_refused_here() {
    let RegisterError::NotAcceptable(text) = reason(submission(&format!("{LEGACY}<email/>"), &[("email", &["a\u{1}b"])])) else {
        panic!("not acceptable");
    };
    assert!(text.contains("XML"), "{text}");
}

#[test]
fn each_refusal_has_its_reason() {
    let refused = |type_: &str, condition: &str, text: &str| {
        let stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";
        let text = if text.is_empty() { String::new() } else { format!("<text xmlns='{stanzas}'>{text}</text>") };
        refusal(&iq("error", &format!("<error type='{type_}'><{condition} xmlns='{stanzas}'/>{text}</error>")))
            .expect("a refusal")
    };
    let not_acceptable = |text: &str| RegisterError::NotAcceptable(text.to_owned());
    for (type_, condition, text, expected) in [
        ("cancel", "conflict", "", RegisterError::Conflict),
        ("cancel", "service-unavailable", "", RegisterError::NotOffered),
        ("cancel", "feature-not-implemented", "", RegisterError::NotOffered),
        ("cancel", "not-allowed", "Failed CAPTCHA", RegisterError::NotAllowed),
        ("auth", "forbidden", "", RegisterError::NotAllowed),
        ("modify", "policy-violation", "", RegisterError::NotAllowed),
        ("wait", "resource-constraint", "", RegisterError::TooSoon),
        ("cancel", "resource-constraint", "", RegisterError::TooSoon),
        ("wait", "policy-violation", "", RegisterError::TooSoon),
        ("wait", "not-acceptable", "", RegisterError::TooSoon),
        ("modify", "not-acceptable", "Too weak", not_acceptable("Too weak")),
        ("modify", "not-acceptable", "", not_acceptable("not-acceptable")),
        ("modify", "jid-malformed", "", not_acceptable("jid-malformed")),
        ("modify", "bad-request", "", not_acceptable("bad-request")),
    ] {
        let error = refused(type_, condition, text);
        assert_eq!(*error.kind(), ErrorKind::Register(expected), "{type_} {condition}");
        assert!(error.to_string().contains(text), "the server's words are kept: {error}");
    }
    let unknown = refused("wait", "internal-server-error", "");
    assert!(matches!(unknown.kind(), ErrorKind::Stanza(error) if error.condition == "internal-server-error"), "{unknown}");
    assert!(refusal(&iq("result", "")).is_none());
    assert!(refusal(&iq("error", "")).is_some(), "an error that says nothing is one");
}
