//! What is read from an answer, as a table.

use super::*;
use crate::xml::Frame;

const NS: &str = "xmlns='http://jabber.org/protocol/disco#info'";

fn read(children: &str) -> Info {
    Info::read(Frame::parse(&format!("<query {NS}>{children}</query>")).expect("XML").root())
}

fn form(fields: &str) -> String {
    format!("<x xmlns='jabber:x:data' type='result'>{fields}</x>")
}

const FORM_TYPE: &str = "<field var='FORM_TYPE' type='hidden'><value>urn:f</value></field>";

#[test]
fn identities_features_and_forms_are_read_and_sorted() {
    let info = read(&format!(
        "<feature var='urn:b'/><identity category='conference' type='text' name='A room' xml:lang='en'/><feature var='urn:a'/>\
         <identity category='client' type='pc'/>{}",
        form(&format!(
            "{FORM_TYPE}<field var='n' type='text-multi'><value>2</value><value>1</value></field><field var='m'><value/></field>"
        ))
    ));
    assert_eq!(info.features(), ["urn:a", "urn:b"]);
    assert!(info.supports("urn:a") && info.supports("urn:b") && !info.supports("urn:"));
    assert!(info.is("conference", "text") && !info.is("conference", "pc"));
    let identities: Vec<_> = info.identities().iter().map(|i| (i.category.as_str(), i.lang.as_deref())).collect();
    assert_eq!(identities, [("client", None), ("conference", Some("en"))]);
    let form = info.form("urn:f").expect("a form");
    assert_eq!(
        (form.value("m"), form.value("n"), form.values("n")),
        (Some(""), None, ["1".to_owned(), "2".to_owned()].as_slice())
    );
    assert_eq!(form.fields().map(|(var, _)| var).collect::<Vec<_>>(), ["m", "n"]);
    assert!(!info.is_ill_formed());
}

#[test]
fn a_language_is_the_identitys_own() {
    let frame = Frame::parse(&format!("<query {NS} xml:lang='de'><identity category='client' type='pc' name='x'/></query>"));
    let info = Info::read(frame.expect("XML").root());
    assert_eq!(info.identities()[0].lang, None);
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let unnamed = form("<field var='n'><value>1</value></field>");
    let unhidden = form("<field var='FORM_TYPE'><value>urn:f</value></field><field var='n'><value>1</value></field>");
    let info = read(&format!(
        "<identity category='client'/><identity type='pc'/><feature/><feature xmlns='urn:other' var='urn:c'/>{unnamed}{unhidden}"
    ));
    assert_eq!(info, Info::default());
}

#[test]
fn an_answer_that_says_something_twice_is_ill_formed() {
    let named_twice = "<field var='FORM_TYPE' type='hidden'><value>urn:f</value><value>urn:g</value></field>";
    let same_twice = "<field var='FORM_TYPE' type='hidden'><value>urn:f</value><value>urn:f</value></field>";
    let table = [
        ("<identity category='client' type='pc' name='a'/><identity category='client' type='pc' name='a'/>".to_owned(), true),
        ("<identity category='client' type='pc' name='a'/><identity category='client' type='pc' name='b'/>".to_owned(), false),
        ("<identity category='client' type='pc'/><identity category='client' type='pc' name=''/>".to_owned(), true),
        ("<feature var='urn:a'/><feature var='urn:a'/>".to_owned(), true),
        (form(FORM_TYPE).repeat(2), true),
        (form(named_twice), true),
        (form(same_twice), false),
        (form("").repeat(2), false),
    ];
    for (children, ill_formed) in table {
        assert_eq!(read(&children).is_ill_formed(), ill_formed, "{children}");
    }
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let info = read(&format!(
        "<identity category='client' type='pc' name='&lt;a&gt;' xml:lang='el'/><feature var='urn:a'/>{}",
        form(&format!("{FORM_TYPE}<field var='n'><value>1</value><value>2</value></field>"))
    ));
    let mut text = Vec::new();
    crate::xml::write_element(&mut text, &info.to_wire(Some("n".into())), "").expect("written");
    let frame = Frame::parse(std::str::from_utf8(&text).expect("UTF-8")).expect("XML");
    assert_eq!(Info::read(frame.root()), info);
    assert_eq!(frame.attr("node").as_deref(), Some("n"));
}

#[test]
fn what_two_say_alike_is_kept_once_and_as_long_as_somebody_keeps_it() {
    let say = |feature: &str| read(&format!("<identity category='client' type='pc'/><feature var='{feature}'/>"));
    let first = say("urn:kept-once").shared();
    assert!(Arc::ptr_eq(&first, &say("urn:kept-once").shared()));
    assert!(!Arc::ptr_eq(&first, &say("urn:another").shared()));
    let weak = Arc::downgrade(&first);
    drop(first);
    assert!(weak.upgrade().is_none());
    assert_eq!(*say("urn:kept-once").shared(), say("urn:kept-once"));
}
