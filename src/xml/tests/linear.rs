//! However input is cut, the work it makes grows with its size and not faster: counted in bytes looked at, not in time. And
//! it leaves little behind.

use super::corpus::HEADER;
use crate::xml::{Framer, Limits};

/// Streams of about `n` bytes, each with another token that is long or frequent.
fn shapes(n: usize) -> Vec<(&'static str, String)> {
    let x = |count: usize| "x".repeat(count);
    let element = |inside: String| format!("<a>{inside}</a>");
    vec![
        ("a long text", element(x(n))),
        ("a text of brackets", element("] ]".repeat(n / 3))),
        ("a text of references", element("&amp;&#x41;".repeat(n / 11))),
        ("a long CDATA section", element(format!("<![CDATA[{}]]>", "x]>".repeat(n / 3)))),
        ("many CDATA sections", element("<![CDATA[x]]>".repeat(n / 13))),
        ("a long attribute value", format!("<a b='{}'/>", x(n))),
        ("a value of references", format!("<a b='{}'/>", "&lt;".repeat(n / 4))),
        ("a value of quotation marks", format!("<a b='{}'/>", "\">".repeat(n / 2))),
        ("a tag full of space", format!("<a {}/>", " ".repeat(n))),
        ("an end tag full of space", format!("<a></a{}>", " ".repeat(n))),
        ("small children", element(element("<b/>".repeat(n / 4)))),
        ("children with text", element(element("<b>x</b>".repeat(n / 8)))),
        ("children with attributes", element(element("<b c='d' e='f' g='h'/>".repeat(n / 22)))),
        ("small elements", "<a/>".repeat(n / 4)),
        ("space between elements", " ".repeat(n)),
        ("characters of four bytes", element("😀".repeat(n / 4))),
    ]
}

fn work(text: &str, piece: usize) -> usize {
    let mut framer = Framer::new(Limits::default());
    for piece in [HEADER, text, "</stream:stream>"].concat().as_bytes().chunks(piece) {
        framer.push(piece);
        while framer.next_item().unwrap_or_else(|e| panic!("{e}: {}…", &text[..40])).is_some() {}
    }
    framer.work()
}

#[test]
fn work_grows_with_the_input_and_not_faster() {
    const N: usize = 40_000;
    for ((shape, small), (_, large)) in shapes(N).into_iter().zip(shapes(2 * N)) {
        for piece in [1, 7, 4096] {
            let (once, twice) = (work(&small, piece), work(&large, piece));
            assert!(once <= 6 * small.len() + 4096, "{shape}, {piece} at once: {once} looks at {} bytes", small.len());
            assert!(twice <= 2 * once + once / 5 + 4096, "{shape}, {piece} at once: {once}, twice the input {twice}");
        }
    }
}

#[test]
fn a_backlog_is_taken_out_without_being_moved_each_time() {
    let mut framer = Framer::new(Limits::default());
    framer.push(HEADER.as_bytes());
    framer.push("<a>xxxxxxxxxxxxxxxxxxxxxxxxxx</a>".repeat(10_000).as_bytes());
    let mut items = 0;
    while framer.next_item().expect("well-formed").is_some() {
        items += 1;
        framer.push(b" ");
    }
    assert_eq!(items, 10_001);
    assert!(framer.work() < 5 * 33 * 10_000, "{}", framer.work());
}

#[test]
fn an_idle_framer_holds_no_memory_whatever_came_before() {
    let mut framer = Framer::new(Limits::default());
    framer.push(HEADER.as_bytes());
    framer.push(format!("<a>{}<b>{}</b></a>\n", "<c/>".repeat(4000), "x".repeat(1 << 20)).as_bytes());
    while framer.next_item().expect("well-formed").is_some() {}
    assert_eq!(framer.held(), 0);
}
