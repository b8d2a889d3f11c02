//! Every door that extensions have (R30) is used by the extensions of `tests/third_party.rs`, which are written as a foreign
//! crate writes them: a door nobody outside goes through may be one that nobody outside can go through.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

/// What an extension is given: the files whose public functions are the doors.
const DOORS: &[&str] = &["ext/", "store/extension.rs"];

/// Names of functions that are declared with these words before them.
fn declared(words: &[String], before: &[&str]) -> BTreeSet<String> {
    let named = words.windows(before.len() + 1).filter(|w| w[..before.len()].iter().eq(before));
    named.filter_map(|w| w.last().cloned()).filter(|name| name.starts_with(char::is_alphabetic)).collect()
}

/// The words and signs of a text, groups opened.
fn flat(text: &str) -> Vec<String> {
    fn walk(tokens: TokenStream, out: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    out.push("(".to_owned());
                    walk(group.stream(), out);
                    out.push(")".to_owned());
                }
                token => out.push(token.to_string()),
            }
        }
    }
    let mut out = Vec::new();
    walk(text.parse().expect("Rust"), &mut out);
    out
}

/// The public functions that this text declares, and the functions of the trait `Extension`.
fn doors(text: &str) -> BTreeSet<String> {
    let words = flat(text);
    let mut doors = declared(&words, &["pub", "fn"]);
    doors.extend(declared(&words, &["pub", "async", "fn"]));
    if words.windows(3).any(|w| w == ["pub", "trait", "Extension"]) {
        doors.extend(declared(&words, &["fn"]));
    }
    doors
}

/// The functions that this text calls, by a dot or a path, and those it implements.
fn used(text: &str) -> BTreeSet<String> {
    let words = flat(text);
    let mut used = declared(&words, &["."]);
    used.extend(declared(&words, &[":", ":"]));
    used.extend(declared(&words, &["fn"]));
    used
}

#[test]
fn foreign_extensions_use_every_door() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut tests) = (Vec::new(), Vec::new());
    super::collect(&root.join("src"), "", &mut sources);
    super::collect(&root.join("tests/third_party"), "", &mut tests);
    tests.push(("third_party.rs".to_owned(), std::fs::read_to_string(root.join("tests/third_party.rs")).expect("the tests")));
    let used: BTreeSet<_> = tests.iter().flat_map(|(_, text)| used(text)).collect();
    let mut count = 0;
    for (file, text) in sources.iter().filter(|(file, _)| DOORS.iter().any(|door| file.starts_with(door))) {
        let doors = doors(text);
        count += doors.len();
        let unused: Vec<_> = doors.difference(&used).collect();
        assert!(unused.is_empty(), "src/{file}: tests/third_party.rs does not use {unused:?}");
    }
    assert!(count > 80, "the doors were not found: {count}");
}

#[test]
fn a_door_is_found_and_only_calling_it_counts() {
    let text = "impl R { pub fn a(&mut self) {} pub async fn b() {} pub(crate) fn c() {} fn d() {} }";
    assert_eq!(Vec::from_iter(doors(text)), ["a", "b"]);
    assert_eq!(Vec::from_iter(doors("pub trait Extension { fn hook(&self) {} }")), ["hook"]);
    let text = "/// a\nlet a = 1; x.b::<A>(); C::c(); \".d\"; impl E { fn hook() {} }";
    assert_eq!(Vec::from_iter(used(text)), ["b", "c", "hook"]);
}
