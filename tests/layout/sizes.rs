//! How long files, functions and argument lists are.

use crate::source::{Module, Source};
use proc_macro2::TokenStream;
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, File, ImplItemFn, Item, ItemFn, ItemMod, Meta, Signature, TraitItemFn};

const MAX_LINES_OF_A_FILE: usize = 400;
const MAX_LINES_OF_A_FUNCTION: usize = 45;
const MAX_ARGUMENTS: usize = 5;

/// A function outside tests. Blank lines, comments and attributes are not counted.
#[derive(Debug)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
    arguments: usize,
}

/// A file's functions and lines, without the tests within it.
#[derive(Debug)]
pub(crate) struct Measured {
    functions: Vec<Function>,
    lines: BTreeSet<usize>,
    modules_of_tests: Vec<Module>,
    own: Module,
}

impl Measured {
    pub(crate) fn of(file: &File, lines: BTreeSet<usize>, own: &Module) -> Self {
        let mut measured =
            Self { functions: Vec::new(), lines, modules_of_tests: Vec::new(), own: own.clone() };
        measured.visit_file(file);
        measured
    }

    fn add(&mut self, signature: &Signature, body: Option<&Block>) {
        let line = signature.span().start().line;
        let end = body.map_or(signature.span(), Spanned::span).end().line;
        let lines = self.lines.range(line..=end).count();
        let (name, arguments) = (signature.ident.to_string(), signature.inputs.len());
        self.functions.push(Function { name, line, lines, arguments });
    }
}

impl<'a> Visit<'a> for Measured {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(is_for_tests) {
            return visit::visit_item(self, item);
        }
        match item {
            Item::Mod(ItemMod { content: None, ident, .. }) => {
                self.modules_of_tests.push([&self.own[..], &[ident.to_string()]].concat());
            }
            _ => {
                let span = item.span();
                self.lines.retain(|line| !(span.start().line..=span.end().line).contains(line));
            }
        }
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        self.add(&item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        self.add(&item.sig, Some(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a TraitItemFn) {
        self.add(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    let is_test = |tokens: &TokenStream| tokens.to_string() == "test";
    attribute.path().is_ident("test")
        || attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, Meta::List(list) if is_test(&list.tokens))
}

/// The functions of each file, and none of those that only tests have.
fn functions(sources: &[Source]) -> impl Iterator<Item = (&Source, &Function)> {
    let for_tests: BTreeSet<&[String]> = sources
        .iter()
        .flat_map(|source| source.measured.modules_of_tests.iter().map(Vec::as_slice))
        .collect();
    let is_for_tests = move |source: &&Source| {
        (0..=source.module.len()).any(|length| for_tests.contains(&source.module[..length]))
    };
    let files = sources.iter().filter(move |source| !is_for_tests(source));
    files.flat_map(|source| source.measured.functions.iter().map(move |function| (source, function)))
}

/// Files, functions and argument lists over their limits.
pub(crate) fn too_large(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.measured.lines.len() > MAX_LINES_OF_A_FILE);
    let mut faults: Vec<String> = long
        .map(|Source { path, measured, .. }| format!("{path}: {} lines of code", measured.lines.len()))
        .collect();
    for (Source { path, .. }, Function { name, line, lines, arguments }) in functions(sources) {
        if *lines > MAX_LINES_OF_A_FUNCTION {
            faults.push(format!("{path}:{line}: {name} has {lines} lines"));
        }
        if *arguments > MAX_ARGUMENTS {
            faults.push(format!("{path}:{line}: {name} has {arguments} arguments"));
        }
    }
    faults
}

/// Half of the functions have no more lines than this.
pub(crate) fn median(sources: &[Source]) -> usize {
    let mut lines: Vec<usize> = functions(sources).map(|(_, function)| function.lines).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or_default()
}

/// The lines of the functions with these names.
pub(crate) fn lines_of<'a>(sources: &'a [Source], names: &[&str]) -> Vec<(&'a str, usize)> {
    let wanted = functions(sources).filter(|(_, function)| names.contains(&function.name.as_str()));
    wanted.map(|(_, function)| (function.name.as_str(), function.lines)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, arguments: usize, lines: usize) -> String {
        let arguments = (0..arguments).map(|n| format!("a{n}: u8")).collect::<Vec<_>>().join(", ");
        format!(
            "/// A\n#[must_use]\nfn {name}({arguments}) {{\n{}}}\n",
            "// B\n\n    c();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn what_is_too_large_is_named() {
        let long = function("long", 6, 46);
        let usual = function("usual", 5, 45);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function("many", 9, 500));
        let methods = format!("impl A {{\n fn m(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {{}}\n{usual}}}");
        let sources = [
            ("src/a.rs", format!("{usual}{long}{tests}")),
            ("src/b.rs", format!("{methods}\n#[cfg(test)]\nmod tests;\n#[test]\n{long}")),
            ("src/b/tests.rs", format!("{long}{}", "\nconst A: u8 = 1;".repeat(400))),
            ("src/c.rs", "const A: u8 = 1;\n".repeat(401)),
            ("src/d.rs", "const A: u8 = 1; // B\n// C\n\n".repeat(400)),
        ];
        let sources = sources.map(|(path, text)| Source::new(path, &text));
        let expected = [
            "src/b/tests.rs: 447 lines of code",
            "src/c.rs: 401 lines of code",
            "src/a.rs:136: long has 46 lines",
            "src/a.rs:136: long has 6 arguments",
            "src/b.rs:2: m has 6 arguments",
        ];
        assert_eq!(too_large(&sources), expected);
    }

    #[test]
    fn the_median_is_of_all_functions_outside_tests() {
        let text = [2, 3, 9].map(|lines| function("f", 0, lines)).concat();
        let sources = [Source::new("src/a.rs", &text), Source::new("src/b.rs", "#[test]\nfn t() {}")];
        assert_eq!(median(&sources), 3);
        assert_eq!(lines_of(&sources, &["f"]).len(), 3);
        assert!(lines_of(&sources, &["t"]).is_empty());
    }
}
