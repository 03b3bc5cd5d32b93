//! `docs/readers.md`: what it shows is what the tests beside this one run.

use super::tools::root;
use std::fs;

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect(file)
}

/// Lines without what they are indented by.
fn flat(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// The blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = text.split(fence.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or(part).to_owned()).collect()
}

#[test]
fn every_snippet_is_of_a_program_that_is_run() {
    let text = read("docs/readers.md");
    let mut found = 0;
    for (language, file) in [
        ("rust", "crates/account-reader/examples/backend.rs"),
        ("python", "examples/python/backend.py"),
        ("js", "examples/web/page.mjs"),
    ] {
        let program = flat(&read(file));
        for block in blocks(&text, language) {
            assert!(program.contains(&flat(&block)), "{file} has not:\n{block}");
            found += 1;
        }
    }
    let commands = blocks(&text, "sh").len();
    // Those are run by the tests of all docs, and have no output to compare.
    assert_eq!(text.matches("```").count(), 2 * (found + commands), "a block of another language");
    assert!(found >= 6, "{found}");
}

/// Two pages.
#[test]
fn it_is_short() {
    let lines = read("docs/readers.md").lines().count();
    assert!(lines <= 130, "{lines} lines");
}

/// The codes and banners are those of the code.
#[test]
fn every_code_and_banner_is_named() {
    let text = read("docs/readers.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let codes = read("crates/account-reader/src/decision.rs");
    let codes = codes.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    let codes: Vec<&str> = codes.filter_map(|(_, code)| code.strip_suffix("\",")).collect();
    assert_eq!(codes.len(), 14, "{codes:?}");
    let in_order = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    assert!(text.contains(&in_order), "{in_order}");
    let live = read("examples/web/live.mjs");
    let (_, banners) = live.split_once("BANNERS = {").expect("the banners");
    let banners = banners.split('}').next().unwrap_or(banners);
    let first = |line: &'_ str| Some(line.split('"').nth(1)?.split('.').next()?.to_owned());
    let first: Vec<String> = banners.lines().filter_map(first).collect();
    assert_eq!(first.len(), 5, "{first:?}");
    for sentence in &first {
        assert!(text.contains(&**sentence), "{sentence}");
    }
}
