//! Bad snippets, each of which must be caught, and good ones, which must pass.

use super::{PURE, check};

/// The violations in a tree of these files.
fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    check(&files).violations
}

#[test]
fn every_way_to_name_a_wrong_module_is_caught() {
    for (file, text, expected) in [
        ("xml/frame.rs", "use crate::driver::Task;", "xml must not use driver"),
        ("xml/frame.rs", "use crate::{error::Error, store::{Batch, Row}};", "crate::store::Batch"),
        ("xml/frame.rs", "use {crate::error::Error, super::super::auth};", "xml must not use auth"),
        ("xml/frame.rs", "pub use super::super::client::Client as C;", "xml must not use client"),
        ("xml/mod.rs", "use super::stream;", "xml must not use stream"),
        ("xml/mod.rs", "mod inner { fn f() { super::super::stream::go() } }", "xml must not use stream"),
        ("auth/mod.rs", "fn f(x: Vec<crate::stream::Core>) {}", "auth must not use stream"),
        ("auth/mod.rs", "fn f() { let _ = <crate::stream::Core as Default>::default(); }", "auth must not use stream"),
        ("auth/mod.rs", "#[derive(crate::client::Magic)] struct A;", "auth must not use client"),
        ("auth/mod.rs", "fn f() { assert!(matches!(x, crate::store::Row { .. })) }", "auth must not use store"),
        ("stream/core.rs", "macro_rules! m { () => { $crate::driver::go() } }", "stream must not use driver"),
        ("stream/core.rs", "fn f() { self::super::super::connection::connect() }", "stream must not use connection"),
        ("connection/dns.rs", "impl From<xmppkit::auth::Key> for X {}", "connection must not use auth"),
        ("store/mod.rs", "type C = dyn Fn(&crate::event::Route);", "store must not use event"),
        ("client/mod.rs", "use crate::roster::Roster;", "client must not use roster"),
        ("ext/mod.rs", "use crate::stream::Step;", "ext must not use stream"),
        ("event/mod.rs", "use crate::testing::Server;", "event must not use testing"),
        ("testing/mod.rs", "use crate::stream::Core;", "testing must not use stream"),
        ("roster/mod.rs", "use crate::driver::Task;", "roster must not use driver"),
        ("xep/ping.rs", "use super::super::stream::Core;", "xep::ping must not use stream"),
        ("client/mod.rs", "pub(crate) mod door { use super::super::stream::Core; }", "client must not use stream"),
        ("ext/mod.rs", "use crate::builtin::extensions;", "ext must not use builtin"),
        ("builtin.rs", "use crate::client::Client;", "builtin must not use client"),
        // Detours.
        ("xml/frame.rs", "use crate::Error;", "re-export"),
        ("xml/frame.rs", "use crate::prelude::Client;", "re-export"),
        ("driver/mod.rs", "use crate::*;", "names the crate's root"),
        ("driver/mod.rs", "use crate as root;", "names the crate's root"),
        ("driver/mod.rs", "use super::*;", "names the crate's root"),
        ("driver/mod.rs", "use super::{self as root};", "names the crate's root"),
        ("driver/mod.rs", "use crate::stream::*;", "a glob"),
        ("driver/mod.rs", "use crate::{stream::{*}};", "a glob"),
        ("xml/mod.rs", "#[path = \"../driver/mod.rs\"] mod task;", "#[path]"),
        ("mystery/mod.rs", "", "no row"),
        ("lib.rs", "pub fn f() {}", "only re-exports"),
        ("xml/mod.rs", "fn f( {", "src/xml/mod.rs"),
        // What is compiled for more than tests is not excused.
        ("xml/mod.rs", "#[cfg(any(test, feature = \"x\"))] use crate::driver::Task;", "xml must not use driver"),
        ("xml/mod.rs", "#[cfg(not(test))] mod a { use crate::driver::Task; }", "xml must not use driver"),
        ("xml/mod.rs", "#[cfg(test)] mod tests {} use crate::driver::Task;", "xml must not use driver"),
        ("xml/mod.rs", "struct S { #[cfg(test)] a: u8, b: crate::driver::Task }", "xml must not use driver"),
        ("xml/mod.rs", "#[cfg(test)] use a::{b}; use crate::driver::Task;", "xml must not use driver"),
    ] {
        let found = violations(&[(file, text)]);
        assert!(found.len() == 1 || expected.contains("store::Batch"), "{file}: {text}: {found:?}");
        assert!(found[0].contains(expected), "{file}: {text}: {found:?}");
    }
}

#[test]
fn sockets_clocks_tasks_and_randomness_are_caught_in_pure_modules() {
    for text in [
        "use tokio::net::TcpStream;",
        "use ::tokio;",
        "async fn f() { tokio::task::yield_now().await }",
        "use {std::fmt, futures::Stream};",
        "use futures_util::StreamExt as _;",
        "fn f() { getrandom::fill(&mut []) }",
        "use std::{fmt, net::{IpAddr}};",
        "fn f(a: std::net::IpAddr) {}",
        "use std::net;",
        "use std as s;",
        "use std::*;",
        "fn f() { std::time::Instant::now(); }",
        "use std::time::SystemTime as Clock; fn f() { Clock::now(); }",
        "fn f() { <std::time::Instant>::now(); }",
        "fn f(start: std::time::Instant) { start.elapsed(); }",
        "fn f() { std::thread::sleep(d) }",
    ] {
        for module in PURE {
            let found = violations(&[(&format!("{module}/mod.rs"), text)]);
            assert!(found.len() == 1 && found[0].contains("is pure"), "{text}: {found:?}");
        }
        let found = violations(&[("driver/mod.rs", text)]);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn an_extension_names_another_only_if_it_requires_it() {
    let imports = "use crate::roster::Roster;";
    let found = violations(&[("presence/mod.rs", imports)]);
    assert!(found.len() == 1 && found[0].contains("does not say that it requires roster"), "{found:?}");
    let requires = format!("{imports} fn register(reg: &mut Registrar) {{ reg.requires::<Roster>(); }}");
    assert_eq!(violations(&[("presence/mod.rs", &requires)]), [""; 0]);
    let uses = format!("{imports} fn register(reg: &mut Registrar) {{ reg.uses::<Roster>(); }}");
    assert_eq!(violations(&[("presence/mod.rs", &uses)]), [""; 0]);
    let in_full = "fn register(reg: &mut Registrar) { reg.requires::<crate::roster::Roster>(); }";
    assert_eq!(violations(&[("presence/mod.rs", imports), ("presence/service.rs", in_full)]), [""; 0]);
    assert_eq!(violations(&[("presence/mod.rs", "use crate::messaging::Log;"), ("presence/service.rs", in_full)]).len(), 1);
    assert_eq!(violations(&[("xep/caps.rs", "use super::disco::Disco;")]).len(), 1);
    assert_eq!(violations(&[("xep/caps.rs", "use super::disco::Disco; fn f() { r.requires::<Disco>() }")]), [""; 0]);
}

#[test]
fn what_only_built_ins_could_use_is_caught_and_counted() {
    let surface = (
        "ext/registrar.rs",
        "impl Registrar { pub(crate) fn step(&mut self) {} pub fn on_iq(&mut self) {} } pub(crate) struct Slot;",
    );
    for text in [
        "fn f(r: &mut R) { r.step() }",
        "fn f() { R::step(r) }",
        "use crate::ext::registrar::Slot;",
        "use crate::stream::Step;",
        "impl X { fn e() -> impl Y + use<> {} fn f(r: &mut R) { r.step() } }",
    ] {
        let found = violations(&[surface, ("roster/mod.rs", text)]);
        assert!(found.len() == 1, "{text}: {found:?}");
        let files = [surface, ("register/mod.rs", text)].map(|(f, t)| (f.to_owned(), t.to_owned()));
        let found = check(&files);
        assert_eq!((found.violations.len(), found.doors.len()), (0, 1), "{text}: {:?}", found.violations);
    }
    let hub = ("event/mod.rs", "mod hub; pub(crate) use hub::{Hub, Slot as S}; pub use hub::Route;");
    assert_eq!(violations(&[hub, ("roster/mod.rs", "use crate::event::{Hub, Route};")]).len(), 1);
    assert_eq!(violations(&[hub, ("client/mod.rs", "use crate::event::{Hub, Route};")]), [""; 0]);
    let files = [surface, ("register/mod.rs", "fn f(r: &mut R) { r.on_iq() }")].map(|(f, t)| (f.to_owned(), t.to_owned()));
    assert!(check(&files).doors.is_empty(), "a public method is no private door");
}

#[test]
fn the_in_process_server_uses_public_items_only() {
    let xml = ("xml/mod.rs", "pub(crate) struct Scanner; impl Frame { pub(crate) fn spans(&self) {} pub fn root(&self) {} }");
    for text in ["use crate::xml::Scanner;", "fn f(frame: &Frame) { frame.spans() }", "fn f() { Frame::spans(frame) }"] {
        let found = violations(&[xml, ("testing/mod.rs", text)]);
        assert!(found.len() == 1 && found[0].contains("not public"), "{text}: {found:?}");
    }
    let own = "use crate::xml::Frame; pub(super) fn spans() {} fn f(frame: &Frame) { frame.root(); spans() }";
    assert_eq!(violations(&[xml, ("testing/mod.rs", own)]), [""; 0]);
}

#[test]
fn what_is_allowed_passes() {
    for files in [
        &[("stream/core.rs", "use crate::auth::{Mechanism, scram}; use crate::xml::Frame; use crate::error::Error;")][..],
        &[("stream/core.rs", "use super::io::Input; use self::inner::X; mod inner { use super::*; use super::super::io; }")],
        &[("xml/mod.rs", "// use crate::driver::Task;\n/// [`crate::driver`]\nconst A: &str = \"crate::driver\";")],
        &[("xml/mod.rs", "use std::time::{Duration, Instant}; fn f(now: Instant) { g(cx.now, now) }")],
        &[("xml/mod.rs", "use tokioish::X; use crate::xml::{self, Frame}; pub(in crate::xml) fn f() {}")],
        &[
            ("client/mod.rs", "pub(crate) mod door { use super::handle::Client; } use crate::builtin::extensions;"),
            ("builtin.rs", "use crate::{ext::Entry, roster::Roster};"),
        ],
        // A name that is public somewhere, or the extension's own, says nothing.
        &[
            ("ext/mod.rs", "pub mod stages; struct D { pub(crate) stages: u8, pub(crate) waiting: u8 } pub(crate) fn made() {}"),
            ("event/mod.rs", "impl Route { pub const fn made() -> Self {} }"),
            (
                "roster/mod.rs",
                "use crate::ext::stages; struct E { waiting: u8 } fn f(e: E) { e.waiting; Route::made(); Kind::Made; }",
            ),
        ],
        // For tests only.
        &[("xml/mod.rs", "#[cfg(test)] mod tests { use crate::driver::Task; use tokio::spawn; }")],
        &[("xml/mod.rs", "#[cfg(test)] use crate::testing::Server; #[cfg(all(test, unix))] fn f() { crate::driver::go() }")],
        &[
            ("xml/mod.rs", "#[cfg(test)]\n#[allow(unused)]\npub(crate) mod tests;"),
            ("xml/tests/mod.rs", "mod a;"),
            ("xml/tests/a.rs", "use tokio::spawn;"),
        ],
        // A macro stands at the crate's root, and belongs to the module that defines it.
        &[("store/c.rs", "#[macro_export] macro_rules! conform { () => { $crate::store::go() } } fn f() { crate::conform!() }")],
        &[
            ("lib.rs", "pub mod xml; pub use crate::xml::*; #[cfg(doctest)] mod readme { struct R; }"),
            ("prelude.rs", "pub use crate::roster::R;"),
        ],
        &[("roster/mod.rs", "use crate::client::Client; use crate::ext::Extension; fn f(x: X) { x.len() }")],
    ] {
        let found = violations(files);
        assert!(found.is_empty(), "{files:?}: {found:?}");
    }
}
