//! Keeps the directions in which modules may depend on one another (D29, D30): every path of every file in src is resolved to
//! the top-level module it names, and looked up in one table.
//!
//! It is a scan of tokens, so comments and strings do not confuse it, and nested groups, inline paths, macros and
//! `super::super` do not escape it. What is compiled for tests only (`#[cfg(test)]`) is free to use anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[path = "layering/doors.rs"]
mod doors;
#[path = "layering/scan.rs"]
mod scan;
#[path = "layering/snippets.rs"]
mod snippets;

use scan::{Scan, Use, scan};

/// What each top-level module may name, beside itself and `error`. A module without a row is an error. Rows are in order:
/// apart from the surface, whose three modules may name one another, a module may only name what stands above it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("error", &[]),
    // Mistakes made on purpose, in builds for that alone.
    ("sabotage", &[]),
    ("xml", &[]),
    ("auth", &["xml"]),
    ("stream", &["sabotage", "xml", "auth"]),
    ("connection", &["xml"]),
    ("store", &["sabotage", "xml"]),
    ("driver", &["sabotage", "xml", "auth", "stream", "connection", "store"]),
    ("client", &["sabotage", "xml", "auth", "store", "driver", "event", "ext"]),
    ("event", &["xml", "auth", "store", "driver", "client", "ext"]),
    ("ext", &["xml", "auth", "store", "driver", "client", "event"]),
    ("roster", EXTENSION),
    ("presence", EXTENSION),
    ("messaging", EXTENSION),
    ("register", EXTENSION),
    ("archive", EXTENSION),
    ("xep", EXTENSION),
    // It must not share a state machine with `stream`, or one mistake would pass on both sides (D19).
    ("testing", &["xml", "store", "client", "event", "ext"]),
];

/// What an extension may name: the same for a built-in one and a foreign one. Of other extensions it may name those for which
/// it says `requires::<T>()` or `uses::<T>()`.
const EXTENSION: &[&str] = &["xml", "store", "client", "event", "ext"];

/// The built-in extensions; each member of `xep` is one.
const EXTENSIONS: &[&str] = &["roster", "presence", "messaging", "register", "archive", "xep"];

/// The in-process server may use what a server of somebody else could: public items only (D19).
const TESTING: &str = "testing";

/// Methods of other crates' types that the in-process server calls, whose names a `pub(crate)` method shares.
const TESTING_METHODS: &[&str] = &["digest", "load", "shutdown"];

/// The modules of ALLOWED that are one layer.
const SURFACE: &[&str] = &["client", "event", "ext"];

/// The list of the built-in extensions, and who alone may name it: a client has them unless they are removed. It names them
/// all, and nothing else but `ext`.
const LIST: (&str, &str) = ("builtin", "client");

/// They only re-export, so they may name everything, and nothing names them.
const FACADES: &[&str] = &["lib", "prelude"];

/// Built-in extensions that use what a foreign extension cannot: stream features, nonzas and inline children before their
/// interface is public (D33), by naming a lower layer or an item that is `pub(crate)`. This list may only become shorter.
const PRIVATE_DOOR: &[&str] = &["register"];

/// Modules without sockets, clocks, tasks and randomness: all of these come in from outside.
const PURE: &[&str] = &["xml", "auth", "stream"];

/// What pure modules must not name, as the start of a path; a trailing `*` stands for any end of a crate's name.
const BANNED: &[&str] = &[
    "tokio",
    "tokio_*",
    "futures",
    "futures_*",
    "getrandom",
    "rand",
    "hickory_*",
    "native_tls",
    "std::net",
    "std::fs",
    "std::process",
    "std::thread",
    "core::net",
];

/// Methods of the standard library whose names a `pub(crate)` method may share without being meant.
const STANDARD_METHODS: &[&str] = &[
    "new",
    "default",
    "from",
    "into",
    "get",
    "get_mut",
    "set",
    "insert",
    "remove",
    "push",
    "pop",
    "take",
    "replace",
    "len",
    "is_empty",
    "is_some",
    "is_none",
    "clear",
    "iter",
    "next",
    "clone",
    "contains",
    "extend",
    "drain",
    "retain",
    "entry",
    "keys",
    "values",
    "first",
    "last",
    "send",
    "recv",
    "lock",
    "read",
    "write",
    "poll",
    "wait",
    "spawn",
    "name",
    "kind",
    "as_ref",
    "as_str",
    "as_bytes",
    "to_string",
    "parse",
    "map",
    "join",
    "find",
    "min",
    "max",
    "update",
    "upgrade",
    "downgrade",
    "subscribe",
    "changed",
    "borrow",
    "id",
    "now",
    "load",
    "bytes",
];

#[test]
fn modules_name_only_what_the_table_allows() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    assert!(files.len() > 50, "src was not found");
    let found = check(&files);
    assert!(found.violations.is_empty(), "\n{}", found.violations.join("\n"));
}

#[test]
fn only_registration_uses_the_private_door() {
    assert_eq!(PRIVATE_DOOR, ["register"], "the list may only become shorter, and this line with it");
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    let found = check(&files);
    for module in PRIVATE_DOOR.iter().filter(|m| found.modules.contains(**m)) {
        assert!(found.doors.contains_key(*module), "{module} no longer uses the private door: take it off the list");
    }
}

#[test]
fn the_table_has_no_circles() {
    for (at, (module, allowed)) in ALLOWED.iter().enumerate() {
        for name in *allowed {
            let above = ALLOWED[..at].iter().any(|(m, _)| m == name);
            let together = SURFACE.contains(module) && SURFACE.contains(name);
            assert!(above || together, "{module} may use {name}, which does not stand above it");
        }
    }
}

/// What the scan of a whole tree found.
struct Found {
    violations: Vec<String>,
    modules: BTreeSet<String>,
    /// Extensions that use the private door, each with the first place where.
    doors: BTreeMap<String, String>,
}

/// Adds (path below src, text) of every Rust file.
fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn check(files: &[(String, String)]) -> Found {
    let mut scans: Vec<(&str, Scan)> = Vec::new();
    let mut violations = Vec::new();
    for (file, text) in files {
        match scan(text, &module_of(file)) {
            Ok(scan) => scans.push((file, scan)),
            Err(error) => violations.push(format!("src/{file}: {error}")),
        }
    }
    let tests: BTreeSet<Vec<String>> = scans.iter().flat_map(|(_, s)| s.test_modules.iter().cloned()).collect();
    scans.retain(|(file, _)| !tests.iter().any(|t| module_of(file).starts_with(t)));
    let known = Known::from(&scans);
    let mut doors = BTreeMap::new();
    for (file, scan) in &scans {
        let module = top(&module_of(file));
        if row(&module).is_none() && module != LIST.0 && !FACADES.contains(&module.as_str()) {
            violations.push(format!("src/{file}: the module {module} has no row in ALLOWED"));
            continue;
        }
        if FACADES.contains(&module.as_str()) {
            violations
                .extend(scan.items.iter().map(|(line, word)| format!("src/{file}:{line}: {module} only re-exports: `{word}`")));
            continue;
        }
        violations.extend(scan.hidden.iter().map(|line| format!("src/{file}:{line}: #[path] hides which module this is")));
        if PURE.contains(&module.as_str()) {
            violations.extend(scan.impure().map(|(line, what)| format!("src/{file}:{line}: {module} is pure, and uses {what}")));
        }
        for used in &scan.uses {
            let at = format!("src/{file}:{}", used.line);
            match known.judge(&module, used) {
                Verdict::Fine => {}
                Verdict::Door => drop(doors.entry(module.clone()).or_insert(at)),
                Verdict::Wrong(why) => violations.push(format!("{at}: {why}: {}", used.path.join("::"))),
            }
        }
        if uses_public_items_only(&module) {
            let functions = scan.associated.iter().filter(|(_, name)| name.starts_with(char::is_lowercase));
            for (line, name) in scan.members.iter().chain(functions).filter(|(_, name)| known.is_restricted(&module, name)) {
                let at = format!("src/{file}:{line}");
                if PRIVATE_DOOR.contains(&module.as_str()) {
                    doors.entry(module.clone()).or_insert(at);
                } else {
                    violations.push(format!("{at}: {module} uses `{name}`, which is not public"));
                }
            }
        }
    }
    Found { violations, modules: known.modules, doors }
}

/// What is known of the tree as a whole.
struct Known {
    modules: BTreeSet<String>,
    /// Macros exported at the crate's root, and the module each is defined in.
    macros: BTreeMap<String, String>,
    /// Outside extensions and the in-process server: paths of items that are `pub(crate)` or the like, and names of such functions and fields.
    restricted_paths: BTreeSet<Vec<String>>,
    restricted: BTreeSet<String>,
    /// Outside these: names of functions and fields that are not restricted.
    public: BTreeSet<String>,
    /// Names of functions and fields of each of these: (module, name).
    own: BTreeSet<(String, String)>,
    /// (extension, extension it requires).
    requires: BTreeSet<(String, String)>,
}

enum Verdict {
    Fine,
    Door,
    Wrong(String),
}

impl Known {
    fn from(scans: &[(&str, Scan)]) -> Self {
        let mut known = Self {
            modules: scans.iter().map(|(file, _)| top(&module_of(file))).collect(),
            macros: BTreeMap::new(),
            restricted_paths: BTreeSet::new(),
            restricted: BTreeSet::new(),
            public: BTreeSet::new(),
            own: BTreeSet::new(),
            requires: BTreeSet::new(),
        };
        for (file, scan) in scans {
            let module = top(&module_of(file));
            known.macros.extend(scan.macros.iter().map(|m| (m.clone(), module.clone())));
            if uses_public_items_only(&module) {
                let own = scan.declared.iter().chain(&scan.local).chain(&scan.restricted);
                known.own.extend(own.map(|name| (module.clone(), name.clone())));
            } else {
                known.restricted_paths.extend(scan.restricted_paths.iter().cloned());
                known.restricted.extend(scan.restricted.iter().cloned());
                known.public.extend(scan.declared.iter().cloned());
            }
            // `requires::<T>()` stands in the file that imports T, or names it in full.
            for used in scan.uses.iter().filter(|u| u.path.last().is_some_and(|n| scan.required.contains(n))) {
                known.requires.extend(resolve(used).filter(|p| !p.is_empty()).map(|p| (module.clone(), top(&p))));
            }
        }
        known
    }

    fn judge(&self, module: &str, used: &Use) -> Verdict {
        let Some(path) = resolve(used) else { return Verdict::Fine };
        let Some(first) = path.first() else { return Verdict::Wrong("names the crate's root".into()) };
        let target = match self.macros.get(first) {
            Some(home) => home.clone(),
            None => top(&path),
        };
        if target == module {
            return Verdict::Fine;
        }
        if FACADES.contains(&target.as_str()) || (!self.modules.contains(&target) && row(&target).is_none() && target != LIST.0) {
            return Verdict::Wrong("a re-export; name the module it is from".into());
        }
        if used.glob {
            return Verdict::Wrong("a glob hides what is used".into());
        }
        let listing = module == LIST.0 && (target == "ext" || is_extension(&target));
        if target == "error" || listing || (module == LIST.1 && target == LIST.0) {
            return Verdict::Fine;
        }
        if row(module).is_some_and(|allowed| allowed.contains(&target.as_str())) {
            let private = uses_public_items_only(module) && (1..=path.len()).any(|n| self.restricted_paths.contains(&path[..n]));
            return if !private { Verdict::Fine } else { Self::door(module, format!("{module} uses what is not public")) };
        }
        if is_extension(module) && is_extension(&target) {
            return match self.requires.contains(&(module.to_owned(), target.clone())) {
                true => Verdict::Fine,
                false => Verdict::Wrong(format!("{module} does not say that it requires {target}")),
            };
        }
        let wrong = format!("{module} must not use {target}");
        if is_extension(module) { Self::door(module, wrong) } else { Verdict::Wrong(wrong) }
    }

    fn door(module: &str, otherwise: String) -> Verdict {
        if PRIVATE_DOOR.contains(&module) { Verdict::Door } else { Verdict::Wrong(otherwise) }
    }

    /// Whether a function or field of this name, whose type is not known, can only be one that is not public: the name is
    /// public nowhere, and not the extension's own.
    fn is_restricted(&self, module: &str, name: &str) -> bool {
        let of_others: &[&str] = if module == TESTING { TESTING_METHODS } else { &[] };
        self.restricted.contains(name)
            && !self.public.contains(name)
            && !self.own.contains(&(module.to_owned(), name.to_owned()))
            && !STANDARD_METHODS.contains(&name)
            && !of_others.contains(&name)
    }
}

fn row(module: &str) -> Option<&'static [&'static str]> {
    let name = module.split("::").next().unwrap_or_default();
    ALLOWED.iter().find(|(m, _)| *m == name).map(|(_, allowed)| *allowed)
}

fn is_extension(module: &str) -> bool {
    EXTENSIONS.contains(&module.split("::").next().unwrap_or_default())
}

fn uses_public_items_only(module: &str) -> bool {
    is_extension(module) || module == TESTING
}

/// The module path of a file below src.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|s| *s != "lib").map(String::from).collect()
}

/// The module of the table that a path is in. Each member of `xep` is an extension of its own.
fn top(path: &[String]) -> String {
    match path {
        [] => "lib".to_owned(),
        [xep, member, ..] if xep == "xep" => format!("xep::{member}"),
        [first, ..] => first.clone(),
    }
}

/// The path from the crate's root, for a path that is relative to this crate; none for a path to another crate, or to a name
/// that is in scope.
fn resolve(used: &Use) -> Option<Vec<String>> {
    let mut base = match used.path.first()?.as_str() {
        "crate" | "xmppkit" => Vec::new(),
        "self" | "super" => used.module.clone(),
        _ => return None,
    };
    let mut rest = used.path.iter().peekable();
    while let Some(word) = rest.next_if(|w| matches!(w.as_str(), "crate" | "xmppkit" | "self" | "super")) {
        if word == "super" {
            base.pop();
        }
    }
    // `use crate::xml::{self}` names the module.
    base.extend(rest.filter(|w| *w != "self").cloned());
    Some(base)
}
