//! The files of a crate, and the modules that they are.

use crate::imports::{self, Import};
use crate::sizes::Measured;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A module's names from the root of the crate, which has none.
pub(crate) type Module = Vec<String>;

/// One file, and what was found in it.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the project.
    pub(crate) path: String,
    pub(crate) module: Module,
    pub(crate) text: String,
    pub(crate) imports: Vec<Import>,
    pub(crate) measured: Measured,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (_, inner) = path.split_once("src/").expect("below src");
        let inner = inner.trim_end_matches(".rs").trim_end_matches("/mod");
        let is_root = inner == "lib" || inner == "main";
        let module = if is_root { Vec::new() } else { inner.split('/').map(str::to_owned).collect() };
        let tokens: TokenStream = text.parse().unwrap_or_else(|err| panic!("{path}: {err}"));
        let imports = imports::of(&tokens, &module);
        let lines = code_lines(&tokens);
        let file = syn::parse2(tokens).unwrap_or_else(|err| panic!("{path}: {err}"));
        let measured = Measured::of(&file, lines, &module);
        Self { path: path.to_owned(), module, text: text.to_owned(), imports, measured }
    }

    /// All files of a crate, in the order of their paths.
    pub(crate) fn all_below(directory: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        collect(&root.join(directory), &mut paths);
        paths.sort();
        let relative = |path: &str| {
            let path = path.strip_prefix(root.to_str().expect("UTF-8")).expect("below the root");
            path.trim_start_matches('/').to_owned()
        };
        paths.iter().map(|path| Self::new(&relative(path), &crate::read(path))).collect()
    }
}

fn collect(directory: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
}

/// The lines that have anything but comments.
pub(crate) fn code_lines(tokens: &TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    add_code_lines(tokens, &mut lines);
    lines
}

fn add_code_lines(tokens: &TokenStream, lines: &mut BTreeSet<usize>) {
    let mut rest = tokens.clone().into_iter().peekable();
    while let Some(token) = rest.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let is_inner = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == '!');
                let _ = rest.next_if(is_inner);
                if rest.next_if(|next| matches!(next, TokenTree::Group(group) if is_doc(group))).is_none() {
                    lines.insert(token.span().start().line);
                }
            }
            TokenTree::Group(group) => {
                lines.insert(group.span_open().start().line);
                add_code_lines(&group.stream(), lines);
                lines.insert(group.span_close().end().line);
            }
            // A text may have several.
            _ => lines.extend(token.span().start().line..=token.span().end().line),
        }
    }
}

/// What a doc comment is to the compiler.
fn is_doc(group: &Group) -> bool {
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(ident)) if ident == "doc")
}

#[test]
fn a_file_is_a_module() {
    let module = |path| Source::new(path, "").module.join("::");
    let modules =
        ["src/lib.rs", "src/main.rs", "src/pass/mod.rs", "src/pass/run.rs", "src/pass/run/tests.rs"];
    assert_eq!(modules.map(module), ["", "", "pass", "pass::run", "pass::run::tests"]);
    assert_eq!(module("crates/sandbox/src/firestore/mod.rs"), "firestore");
}

#[test]
fn comments_and_blank_lines_are_no_code() {
    let text = "//! A\n\n/// B\n#[must_use]\nfn a() {\n    // C\n    b(\"\n\n\");\n\n} // D\n/* E\nF */\n";
    assert_eq!(code_lines(&text.parse().expect("Rust")).into_iter().collect::<Vec<_>>(), [4, 5, 7, 8, 9, 11]);
}
