//! Which module names which.

use crate::source::{Module, Source};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// From top to bottom. `main` is the root, which has `main.rs` and `lib.rs`.
const FLOORS: [&str; 15] = [
    "main",
    "commands",
    "migration",
    "pass",
    "execution",
    "services",
    "documents",
    "firestore",
    "google",
    "network",
    "config",
    "shutdown",
    "telemetry",
    "limits",
    "model",
];

/// A path, from the crate's root.
#[derive(Debug)]
pub(crate) struct Import {
    line: usize,
    to: Module,
    /// How many of the names have to be modules of the crate: without `crate` or `super`, another crate's path looks
    /// like one of a module below.
    least: usize,
}

/// Imports of a room above, and rooms that no floor has.
pub(crate) fn upward(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(|source| upward_of(source, &modules(sources))).collect()
}

fn upward_of(source: &Source, known: &BTreeSet<&Module>) -> Vec<String> {
    let own = room(&source.module).unwrap_or_else(|| FLOORS[0].to_owned());
    let Some(floor) = floor_of(&own) else {
        return vec![format!("{}: the room {own} is on no floor", source.path)];
    };
    let wrong = |import: &Import| {
        target(import, known)?;
        match floor_of(import.to.first().map_or(FLOORS[0], String::as_str)) {
            None => Some("is on no floor"),
            Some(other) if other < floor => Some("is above it"),
            Some(_) => None,
        }
    };
    let shown = |(import, why): (&Import, &str)| {
        format!("{}:{}: {own} uses {}, which {why}", source.path, import.line, import.to.join("::"))
    };
    let faults = source.imports.iter().filter_map(|import| wrong(import).map(|why| (import, why)));
    faults.map(shown).collect()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == room)
}

/// The first name of a module.
pub(crate) fn room(module: &Module) -> Option<String> {
    module.first().cloned()
}

/// Imports by which a module comes back to itself, among those that `room` puts together.
pub(crate) fn circles(sources: &[Source], room: impl Fn(&Module) -> Option<String>) -> Vec<String> {
    let known = modules(sources);
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    let mut places = Vec::new();
    for source in sources {
        for import in &source.imports {
            let Some(target) = target(import, &known) else { continue };
            if *target != source.module && room(target) == room(&source.module) {
                edges.entry(&source.module).or_default().insert(target);
                places.push((source, import.line, target));
            }
        }
    }
    let in_circle = places.into_iter().filter(|(source, _, target)| reaches(&edges, target, &source.module));
    let name = |module: &Module| if module.is_empty() { "the root".to_owned() } else { module.join("::") };
    let shown = |(source, line, target): (&Source, usize, &Module)| {
        let [own, other] = [&source.module, target].map(name);
        format!("{}:{line}: {own} uses {other}, which comes back to it", source.path)
    };
    let mut faults: Vec<String> = in_circle.map(shown).collect();
    faults.dedup();
    faults
}

fn reaches(edges: &BTreeMap<&Module, BTreeSet<&Module>>, from: &Module, to: &Module) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            open.extend(edges.get(module).into_iter().flatten());
        }
    }
    false
}

/// Where a name stands in a file's text.
pub(crate) fn mentions(source: &Source, name: &str) -> Vec<String> {
    let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(name));
    lines.map(|(index, _)| format!("{}:{}: names {name}", source.path, index + 1)).collect()
}

fn modules(sources: &[Source]) -> BTreeSet<&Module> {
    sources.iter().map(|source| &source.module).collect()
}

/// The file that has what is imported.
fn target<'a>(import: &Import, known: &BTreeSet<&'a Module>) -> Option<&'a Module> {
    (import.least..=import.to.len())
        .rev()
        .find_map(|length| known.get(&import.to[..length].to_vec()).copied())
}

/// The paths in a file's tokens.
pub(crate) fn of(tokens: &TokenStream, module: &Module) -> Vec<Import> {
    let mut found = Vec::new();
    walk(tokens, module, &mut found);
    found
}

/// Finds the paths in a module's tokens, macros' arguments included.
fn walk(tokens: &TokenStream, module: &Module, found: &mut Vec<Import>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..] if word == "mod" => {
                walk(&body.stream(), &[&module[..], &[name.to_string()]].concat(), found);
                at += 3;
            }
            [TokenTree::Ident(_), rest @ ..] if is_path_separator(rest) => {
                at += read_tree(&tokens[at..], &Vec::new(), module, found);
            }
            [TokenTree::Group(group), ..] => {
                walk(&group.stream(), module, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    matches!(tokens, [first, second, ..] if is_colon(first) && is_colon(second))
}

/// Reads a path, or several with the same beginning. Returns how many tokens it has.
fn read_tree(tokens: &[TokenTree], prefix: &[String], module: &Module, found: &mut Vec<Import>) -> usize {
    let (mut path, mut at, mut line) = (prefix.to_vec(), 0, 0);
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => {
                path.push(word.to_string());
                line = word.span().start().line;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let parts: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in parts.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
                    read_tree(part, &path, module, found);
                }
                return at + 1;
            }
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => line = star.span().start().line,
            _ => break,
        }
        at += 1;
        if !is_path_separator(&tokens[at..]) {
            break;
        }
        at += 2;
    }
    if line > 0 {
        found.push(resolved(&path, line, module));
    }
    at
}

fn resolved(path: &[String], line: usize, module: &Module) -> Import {
    let path: Vec<String> = path.iter().filter(|word| *word != "self").cloned().collect();
    let ups = path.iter().take_while(|word| *word == "super").count();
    if path.first().is_some_and(|word| word == "crate") {
        return Import { line, to: path[1..].to_vec(), least: 0 };
    }
    let above = &module[..module.len().saturating_sub(ups)];
    let least = if ups > 0 { 0 } else { module.len() + 1 };
    let to = [above, &path[ups..]].concat();
    Import { line, least: least.min(to.len()), to }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(path, text)).collect()
    }

    fn paths(text: &str) -> Vec<(usize, String)> {
        let source = Source::new("src/pass/run.rs", text);
        source.imports.iter().map(|import| (import.line, import.to.join("::"))).collect()
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        for (text, expected) in [
            ("use crate::model::ids;", &[(1, "model::ids")][..]),
            ("use crate::{a::{self, B},\n c as d};", &[(1, "a"), (1, "a::B"), (2, "c")]),
            ("use super::*;\nuse super::super::shutdown::Stop;", &[(1, "pass"), (2, "shutdown::Stop")]),
            ("mod tests { use super::*; use super::super::x; }", &[(1, "pass::run"), (1, "pass::x")]),
            ("fn f() { g!(1, crate::a::B::<T>::new()) }", &[(1, "a::B")]),
            ("pub(crate) fn f(a: &crate::a::A) {}", &[(1, "a::A")]),
            ("// crate::a\n/// [`crate::b`] \nstruct S; // super::c", &[]),
            ("const TEXT: &str = \"crate::a\";", &[]),
        ] {
            let found = paths(text);
            let found: Vec<_> = found.iter().map(|(line, path)| (*line, path.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn an_import_that_goes_up_is_named() {
        let sources = house(&[
            ("src/lib.rs", "mod model; mod pass; use crate::pass::run;"),
            ("src/model/ids.rs", "use crate::model::user;\n\nuse crate::limits::rate::Budgets;"),
            ("src/limits/mod.rs", "use crate::model::ids;\nuse std::pass::A;"),
            ("src/pass/run.rs", "use super::super::cellar::B;"),
            ("src/attic/mod.rs", ""),
            ("src/shutdown.rs", "#[cfg(test)]\nmod tests { use crate::{telemetry, pass::run}; }"),
        ]);
        let expected = [
            "src/model/ids.rs:3: model uses limits::rate::Budgets, which is above it",
            "src/pass/run.rs:1: pass uses cellar::B, which is on no floor",
            "src/attic/mod.rs: the room attic is on no floor",
            "src/shutdown.rs:2: shutdown uses pass::run, which is above it",
        ];
        assert_eq!(upward(&sources), expected);
    }

    #[test]
    fn a_circle_is_named_by_all_its_imports() {
        let sources = house(&[
            ("src/pass/mod.rs", "mod a; mod b; use std::io;"),
            ("src/pass/a.rs", "use super::b::B;\nuse super::d;"),
            ("src/pass/b.rs", "use crate::pass::c::C;\n#[cfg(test)]\nmod tests { use super::*; }"),
            ("src/pass/c.rs", "use crate::pass::{d, a::A};"),
            ("src/pass/d.rs", "use crate::model::e;"),
            ("src/model/mod.rs", "use e::E;"),
            ("src/model/e.rs", "use super::E;\nuse crate::pass::a;"),
        ]);
        let expected = [
            "src/pass/a.rs:1: pass::a uses pass::b, which comes back to it",
            "src/pass/b.rs:1: pass::b uses pass::c, which comes back to it",
            "src/pass/c.rs:1: pass::c uses pass::a, which comes back to it",
            "src/model/mod.rs:1: model uses model::e, which comes back to it",
            "src/model/e.rs:1: model::e uses model, which comes back to it",
        ];
        assert_eq!(circles(&sources, room), expected);
        assert_eq!(circles(&sources, |_| None).len(), 9, "as one room");
    }

    #[test]
    fn a_name_is_found_by_its_line() {
        let source = Source::new("crates/sandbox/src/lib.rs", "//! A\nuse alpaca_pulse::B;");
        assert_eq!(mentions(&source, "alpaca_pulse"), ["crates/sandbox/src/lib.rs:2: names alpaca_pulse"]);
        assert!(mentions(&source, "alpaca_pulses").is_empty());
    }
}
