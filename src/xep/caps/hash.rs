//! The verification string: how it is made, and when it vouches for an answer (XEP-0115 §5).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

use crate::xep::disco::Info;

/// The value of `hash` for the one algorithm that is mandatory.
pub(super) const SHA_1: &str = "sha-1";

/// The `ver` of this (XEP-0115 §5.1).
pub(super) fn ver(info: &Info) -> String {
    BASE64_STANDARD.encode(Sha1::new().chain_update(text(info)).finalize())
}

/// Whether `ver` is what this hashes to, and may be believed for all who announce it (XEP-0115 §5.4).
///
/// What is hashed has no unambiguous form: the same text can be read as other identities or features where separators stand
/// inside the parts (XEP-0115 §9.3). An answer with such parts vouches for nobody but who gave it.
pub(super) fn vouches(info: &Info, ver: &str) -> bool {
    !info.is_ill_formed() && is_unambiguous(info) && self::ver(info) == ver
}

fn text(info: &Info) -> String {
    let mut text = String::new();
    let mut add = |part: &str| {
        text.push_str(part);
        text.push('<');
    };
    for identity in info.identities() {
        let (lang, name) = (identity.lang.as_deref().unwrap_or_default(), identity.name.as_deref().unwrap_or_default());
        add(&format!("{}/{}/{lang}/{name}", identity.category, identity.type_));
    }
    info.features().iter().for_each(|feature| add(feature));
    for form in info.forms() {
        add(form.form_type());
        for (var, values) in form.fields() {
            add(var);
            values.iter().for_each(|value| add(value));
        }
    }
    text
}

fn is_unambiguous(info: &Info) -> bool {
    let plain = |part: &str| !part.contains('<');
    let word = |part: &str| plain(part) && !part.contains('/');
    info.identities().iter().all(|identity| {
        let (lang, name) = (identity.lang.as_deref().unwrap_or_default(), identity.name.as_deref().unwrap_or_default());
        // Without a type, an identity could be a feature that is an address.
        let named = !identity.category.is_empty() && !identity.type_.is_empty();
        named && word(&identity.category) && word(&identity.type_) && word(lang) && plain(name)
    }) && info.features().iter().all(|feature| plain(feature))
        && info.forms().iter().all(|form| {
            plain(form.form_type()) && form.fields().all(|(var, values)| plain(var) && values.iter().all(|value| plain(value)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Frame;

    fn read(children: &str) -> Info {
        let xml = format!("<query xmlns='http://jabber.org/protocol/disco#info'>{children}</query>");
        Info::read(Frame::parse(&xml).expect("XML").root())
    }

    const FEATURES: &str = "<feature var='http://jabber.org/protocol/muc'/><feature var='http://jabber.org/protocol/disco#info'/>\
         <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#items'/>";

    /// XEP-0115 §5.2.
    fn simple() -> String {
        format!("<identity category='client' name='Exodus 0.9.1' type='pc'/>{FEATURES}")
    }

    /// XEP-0115 §5.3, in another order.
    fn complex(form_type: &str) -> String {
        format!(
            "<x xmlns='jabber:x:data' type='result'>{form_type}\
             <field var='software'><value>Psi</value></field><field var='os'><value>Mac</value></field>\
             <field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field>\
             <field var='os_version'><value>10.5.1</value></field><field var='software_version'><value>0.11</value></field></x>\
             <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
             <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>{FEATURES}"
        )
    }

    const SOFTWARE: &str = "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>";
    const SIMPLE: &str = "QgayPKawpkPSDYmwT/WM94uAlu0=";
    const COMPLEX: &str = "q07IKJEyjvHSyhy//CH0CxmKi8w=";

    #[test]
    fn the_examples_of_the_specification_have_its_hashes() {
        assert_eq!(ver(&read(&simple())), SIMPLE);
        assert_eq!(ver(&read(&complex(SOFTWARE))), COMPLEX);
        assert!(vouches(&read(&simple()), SIMPLE) && vouches(&read(&complex(SOFTWARE)), COMPLEX));
        assert!(!vouches(&read(&simple()), COMPLEX) && !vouches(&read(&simple()), "qgayPKawpkPSDYmwT/WM94uAlu0="));
    }

    #[test]
    fn a_form_without_a_hidden_name_is_no_part_of_the_hash() {
        for form_type in ["", "<field var='FORM_TYPE'><value>urn:xmpp:dataforms:softwareinfo</value></field>"] {
            let info = read(&complex(form_type));
            assert!(info.forms().is_empty(), "what is not hashed must not be believed");
            let without = format!(
                "<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
                 <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>{FEATURES}"
            );
            assert!(vouches(&info, &ver(&read(&without))));
        }
    }

    #[test]
    fn an_escaped_separator_stays_one() {
        let info = read("<identity category='client' type='pc' name='a&amp;lt;b'/><feature var='urn:a'/>");
        assert_eq!(text(&info), "client/pc//a&lt;b<urn:a<");
    }

    #[test]
    fn an_ill_formed_answer_vouches_for_nothing() {
        let twice = "<feature var='http://jabber.org/protocol/muc'/>";
        let two_names = "<field var='FORM_TYPE' type='hidden'><value>urn:a</value><value>urn:b</value></field>";
        for children in [
            format!("{}{twice}", simple()),
            format!("{}<identity category='client' name='Exodus 0.9.1' type='pc'/>", simple()),
            format!("{}<x xmlns='jabber:x:data' type='result'>{two_names}</x>", simple()),
        ] {
            let info = read(&children);
            assert_eq!(ver(&info), SIMPLE, "only the repetition is wrong: {children}");
            assert!(!vouches(&info, SIMPLE), "{children}");
        }
        let info = read(&format!("{}<x xmlns='jabber:x:data' type='result'>{SOFTWARE}</x>", complex(SOFTWARE)));
        assert_eq!(info.forms().len(), 1);
        assert!(!vouches(&info, COMPLEX), "two forms of one name");
    }

    /// Each hashes to what the simple example does, and says something else.
    #[test]
    fn an_answer_that_can_be_read_in_two_ways_vouches_for_nothing() {
        let rest = "<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>\
                    <feature var='http://jabber.org/protocol/muc'/>";
        for children in [
            // A feature hidden in the identity's name.
            format!("<identity category='client' type='pc' name='Exodus 0.9.1&lt;http://jabber.org/protocol/caps'/>{rest}"),
            // A feature as an identity.
            format!(
                "<identity category='client' name='Exodus 0.9.1' type='pc'/>\
                 <identity category='http:' type='' xml:lang='jabber.org' name='protocol/caps'/>{rest}"
            ),
        ] {
            let info = read(&children);
            assert_eq!(ver(&info), SIMPLE, "{children}");
            assert!(!vouches(&info, SIMPLE), "{children}");
        }
        let honest = read("<identity category='client' type='pc' name='a/b'/>");
        let forged = read("<identity category='client/pc' type='' xml:lang='a' name='b'/>");
        assert_eq!(ver(&forged), ver(&honest));
        assert!(vouches(&honest, &ver(&honest)) && !vouches(&forged, &ver(&honest)));
    }
}
