//! The scan: what one file's tokens tell of the paths, declarations and calls in it.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::BANNED;

/// Scans the text of a file, whose module path this is.
pub(super) fn scan(text: &str, module: &[String]) -> Result<Scan, proc_macro2::LexError> {
    let mut scan = Scan::default();
    scan.walk(&text.parse::<TokenStream>()?.into_iter().collect::<Vec<_>>(), module);
    Ok(scan)
}

/// A path as it was written.
pub(super) struct Use {
    pub(super) path: Vec<String>,
    pub(super) glob: bool,
    /// Whether it was given another name.
    pub(super) renamed: bool,
    pub(super) line: usize,
    /// The module it stands in, inline ones included.
    pub(super) module: Vec<String>,
}

/// What one file's tokens tell.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) uses: Vec<Use>,
    pub(super) test_modules: Vec<Vec<String>>,
    pub(super) macros: Vec<String>,
    /// Paths of items and re-exports that are `pub(crate)` or the like.
    pub(super) restricted_paths: BTreeSet<Vec<String>>,
    /// Names of functions and fields that are `pub(crate)` or the like.
    pub(super) restricted: BTreeSet<String>,
    /// Names of functions and fields that are public, or of a trait.
    pub(super) declared: BTreeSet<String>,
    /// Names before a colon: of fields, parameters, bindings.
    pub(super) local: BTreeSet<String>,
    /// Names that stand in `requires::<…>` or `uses::<…>`.
    pub(super) required: BTreeSet<String>,
    /// Names that follow a dot, and last names of longer paths, each with its line.
    pub(super) members: Vec<(usize, String)>,
    pub(super) associated: Vec<(usize, String)>,
    /// Lines with a `#[path]` attribute.
    pub(super) hidden: Vec<usize>,
    /// Items that are more than declarations of modules and re-exports, outside of any group.
    pub(super) items: Vec<(usize, String)>,
    depth: usize,
}

impl Scan {
    fn walk(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(tokens, at, module);
        }
    }

    /// Reads what begins at `at` and returns where the next thing begins.
    fn step(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        if let Some(attribute) = attribute(tokens, at) {
            return self.attribute(tokens, at, attribute, module);
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                self.group(group, module);
                at + 1
            }
            TokenTree::Ident(_) => self.word(tokens, at, module),
            TokenTree::Punct(p) if p.as_char() == '.' => {
                if let Some(name) = word(tokens.get(at + 1)) {
                    self.requires(&name, &tokens[at + 2..]);
                    self.members.push((line(&tokens[at]), name));
                    return at + 2;
                }
                at + 1
            }
            // A path that goes on after `<…>`, or begins with `::`.
            TokenTree::Punct(_) if colons(tokens, at) => match tokens.get(at + 2) {
                Some(TokenTree::Ident(_)) => self.path(tokens, at + 2, module, true),
                _ => at + 2,
            },
            _ => at + 1,
        }
    }

    fn group(&mut self, group: &Group, module: &[String]) {
        self.depth += 1;
        self.walk(&group.stream().into_iter().collect::<Vec<_>>(), module);
        self.depth -= 1;
    }

    /// An attribute at `at`, with `#` and perhaps `!` before its brackets.
    fn attribute(&mut self, tokens: &[TokenTree], at: usize, (group, end): (Group, usize), module: &[String]) -> usize {
        let inner: Vec<_> = group.stream().into_iter().collect();
        match word(inner.first()).as_deref() {
            Some("cfg") if only_for_tests(&inner) => return self.skip_item(tokens, end, module),
            Some("path") => self.hidden.push(line(&tokens[at])),
            Some("macro_export") => {
                let name = tokens[end..].windows(3).find(|w| word(Some(&w[0])).as_deref() == Some("macro_rules"));
                self.macros.extend(name.and_then(|w| word(Some(&w[2]))));
            }
            _ => self.group(&group, module),
        }
        end
    }

    /// Passes over what an attribute like `#[cfg(test)]` stands before.
    fn skip_item(&mut self, tokens: &[TokenTree], mut at: usize, module: &[String]) -> usize {
        while let Some((_, end)) = attribute(tokens, at) {
            at = end;
        }
        let begin = at;
        let item = [
            "pub",
            "mod",
            "fn",
            "use",
            "struct",
            "enum",
            "impl",
            "trait",
            "const",
            "static",
            "type",
            "async",
            "extern",
            "macro_rules",
        ];
        let is_item = word(tokens.get(at)).is_some_and(|w| item.contains(&w.as_str()));
        let mut to_semicolon = false;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Punct(p) if p.as_char() == ';' => break,
                TokenTree::Punct(p) if p.as_char() == ',' && !is_item => break,
                TokenTree::Group(g) if g.delimiter() == Delimiter::Brace && !to_semicolon => break,
                TokenTree::Ident(i) if i == "use" || i == "static" => to_semicolon = true,
                // Of a function that is const its body is the end.
                TokenTree::Ident(i) if i == "const" && word(tokens.get(at)).as_deref() != Some("fn") => to_semicolon = true,
                _ => {}
            }
        }
        let words: Vec<_> = tokens[begin..at].iter().collect();
        if let Some(mod_at) = words.iter().position(|t| word(Some(t)).as_deref() == Some("mod"))
            && let Some(name) = word(words.get(mod_at + 1).copied())
        {
            self.test_modules.push(module.iter().cloned().chain([name]).collect());
        }
        at
    }

    fn word(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        let name = word(tokens.get(at)).unwrap_or_default();
        let next = word(tokens.get(at + 1));
        if self.depth == 0
            && ["fn", "struct", "enum", "impl", "trait", "static", "const", "type", "union"].contains(&name.as_str())
        {
            self.items.push((line(&tokens[at]), name.clone()));
        }
        match (name.as_str(), next) {
            // `use<>` in a type says what it captures.
            ("use", None) if matches!(tokens.get(at + 1), Some(TokenTree::Punct(p)) if p.as_char() == '<') => at + 1,
            ("use", _) => {
                let end = tokens[at..].iter().position(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ';'));
                let end = end.map_or(tokens.len(), |n| at + n);
                self.use_tree(&tokens[at + 1..end], &[], module);
                end
            }
            ("mod", Some(inner)) => match tokens.get(at + 2) {
                Some(TokenTree::Group(group)) => {
                    let path: Vec<_> = module.iter().cloned().chain([inner]).collect();
                    self.group(group, &path);
                    at + 3
                }
                _ => at + 2,
            },
            ("pub", next) => self.visibility(tokens, at, next, module),
            ("fn", Some(name)) => {
                // Without `pub(crate)`, which `visibility` reads: public, or of a trait, or not to be reached.
                self.declared.insert(name);
                at + 2
            }
            _ if colons(tokens, at + 1) => self.path(tokens, at, module, false),
            _ if matches!(tokens.get(at + 1), Some(TokenTree::Punct(p)) if p.as_char() == ':') => {
                self.local.insert(name);
                at + 2
            }
            _ => at + 1,
        }
    }

    /// Notes what stands in `requires::<…>` and `uses::<…>`.
    fn requires(&mut self, method: &str, rest: &[TokenTree]) {
        if matches!(method, "requires" | "uses") && colons(rest, 0) {
            let inner = rest[2..].iter().take_while(|t| !matches!(t, TokenTree::Punct(p) if p.as_char() == '>'));
            self.required.extend(inner.filter_map(|t| word(Some(t))));
        }
    }

    /// `pub`, `pub(crate)` and what they stand before.
    fn visibility(&mut self, tokens: &[TokenTree], at: usize, open: Option<String>, module: &[String]) -> usize {
        if let Some(name) = open {
            // Of a field this is the name; of an item it is a keyword, which does no harm.
            self.declared.insert(name);
            return at + 1;
        }
        let Some(TokenTree::Group(_)) = tokens.get(at + 1) else { return at + 1 };
        let mut at = at + 2;
        let qualifier = |at: usize, words: &[&str]| word(tokens.get(at)).is_some_and(|w| words.contains(&w.as_str()));
        while qualifier(at, &["async", "const", "unsafe", "extern"]) && qualifier(at + 1, &["async", "unsafe", "extern", "fn"]) {
            at += 1;
        }
        let Some(first) = word(tokens.get(at)) else { return at };
        let name = word(tokens.get(at + 1));
        let path = |name: String| module.iter().cloned().chain([name]).collect();
        match first.as_str() {
            "use" => {
                let before = self.uses.len();
                let end = self.word(tokens, at, module);
                let leaves = self.uses[before..].iter().filter(|leaf| !leaf.glob && !leaf.renamed);
                self.restricted_paths.extend(leaves.filter_map(|leaf| leaf.path.last().cloned()).map(path));
                end
            }
            "fn" => {
                self.restricted.extend(name.clone());
                self.restricted_paths.extend(name.map(path));
                at + 2
            }
            "struct" | "enum" | "trait" | "type" | "const" | "static" => {
                self.restricted_paths.extend(name.map(path));
                at + 2
            }
            // What is in it stands in a module of its own.
            "mod" => {
                self.restricted_paths.extend(name.map(path));
                at
            }
            _ => {
                self.restricted.insert(first);
                at + 1
            }
        }
    }

    /// A path outside `use`, whose first word is at `at`.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize, module: &[String], goes_on: bool) -> usize {
        let begin = line(&tokens[at]);
        let mut path = Vec::new();
        while let Some(name) = word(tokens.get(at)) {
            path.push(name);
            at += 1;
            if !colons(tokens, at) {
                break;
            }
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(_)) => at += 2,
                // A group of paths, in a macro's argument.
                Some(TokenTree::Group(group)) => {
                    self.use_tree(&[TokenTree::Group(group.clone())], &path, module);
                    return at + 3;
                }
                _ => break,
            }
        }
        if let [_, .., last] = path.as_slice() {
            self.associated.push((begin, last.clone()));
        } else if goes_on {
            self.associated.extend(path.last().map(|n| (begin, n.clone())));
        }
        self.uses.push(Use { path, glob: false, renamed: false, line: begin, module: module.to_vec() });
        at
    }

    fn use_tree(&mut self, tokens: &[TokenTree], prefix: &[String], module: &[String]) {
        for tree in tokens.split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ',')) {
            let mut path = prefix.to_vec();
            let (mut glob, mut renamed, mut nested) = (false, false, false);
            let Some(first) = tree.first() else { continue };
            for token in tree {
                match token {
                    TokenTree::Ident(i) if i == "as" => {
                        renamed = true;
                        break;
                    }
                    TokenTree::Ident(i) => path.push(i.to_string()),
                    TokenTree::Punct(p) if p.as_char() == '*' => glob = true,
                    TokenTree::Group(group) => {
                        nested = true;
                        self.use_tree(&group.stream().into_iter().collect::<Vec<_>>(), &path, module);
                    }
                    _ => {}
                }
            }
            if !nested {
                self.uses.push(Use { path, glob, renamed, line: line(first), module: module.to_vec() });
            }
        }
    }

    /// What a pure module must not use, with the lines.
    pub(super) fn impure(&self) -> impl Iterator<Item = (usize, String)> {
        let banned = self.uses.iter().filter_map(|used| {
            let path = used.path.join("::");
            let ban = BANNED.iter().find(|ban| match ban.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => path == **ban || path.starts_with(&format!("{ban}::")),
            });
            let hides = used.path == ["std"] && used.renamed || path == "std" && used.glob;
            (ban.is_some() || hides).then_some((used.line, path))
        });
        // `Instant::now`, under whatever name; `elapsed` reads the same clock.
        let now = self.associated.iter().filter(|(_, name)| name == "now");
        let elapsed = self.members.iter().filter(|(_, name)| name == "elapsed");
        banned.chain(now.chain(elapsed).cloned())
    }
}

/// The brackets of an attribute that begins at `at`, and where it ends.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<(Group, usize)> {
    let punct = |at: usize, c: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
    if !punct(at, '#') {
        return None;
    }
    let end = if punct(at + 1, '!') { at + 2 } else { at + 1 };
    match tokens.get(end) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => Some((group.clone(), end + 1)),
        _ => None,
    }
}

/// Whether `cfg(…)` is `cfg(test)` or `cfg(all(test, …))`.
fn only_for_tests(cfg: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(group)) = cfg.get(1) else { return false };
    let inner: Vec<_> = group.stream().into_iter().collect();
    match word(inner.first()).as_deref() {
        Some("test" | "doctest") => inner.len() == 1,
        Some("all") => match inner.get(1) {
            Some(TokenTree::Group(all)) => all.stream().into_iter().any(|t| word(Some(&t)).as_deref() == Some("test")),
            _ => false,
        },
        _ => false,
    }
}

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(at) && colon(at + 1)
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
