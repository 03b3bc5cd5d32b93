//! What the docs say that can be checked: their links, and that the reference has every setting and every error code.

use crate::docs::{files, parts};
use crate::read;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

const REFERENCE: &str = "docs/reference.md";

/// A stranger reads no more than this.
const README_LINES: usize = 250;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file's headings, as written.
fn headings(text: &str) -> Vec<String> {
    let (_, prose) = parts(text);
    let heading =
        |line: &str| line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ').map(str::to_owned);
    prose.lines().filter_map(heading).collect()
}

/// What a link has to say behind `#`, as GitHub makes it of a heading: lower case, hyphens for blanks, nothing else but
/// letters and digits, and a number behind what was there before.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut seen, mut anchors) = (BTreeMap::new(), BTreeSet::new());
    for heading in headings(text) {
        let keep = |c: char| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then_some(c),
        };
        let anchor: String = heading.to_lowercase().chars().filter_map(keep).collect();
        let before = seen.entry(anchor.clone()).and_modify(|before| *before += 1).or_insert(0);
        anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
    }
    anchors
}

/// Where a text's links lead, code left out.
fn links(text: &str) -> Vec<String> {
    let (_, prose) = parts(text);
    let spans = prose.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let targets = spans.split("](").skip(1);
    targets.map(|rest| rest.split(')').next().unwrap_or(rest).to_owned()).collect()
}

/// The path from the project's root that a link in a file names.
fn resolve(file: &str, link: &str) -> PathBuf {
    let mut path = PathBuf::from(file);
    path.pop();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{file}: {link} leaves the project"),
            part => path.push(part),
        }
    }
    path
}

/// What is wrong with a link, in a file with that text.
fn complaint(file: &str, text: &str, link: &str) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { PathBuf::from(file) } else { resolve(file, path) };
    let there = match fs::read_to_string(root().join(&target)) {
        _ if path.is_empty() => text.to_owned(),
        Ok(there) => there,
        Err(_) if anchor.is_none() && root().join(&target).is_dir() => return None,
        Err(err) => return Some(format!("{file}: {link}: {err}")),
    };
    let is_there = anchor.is_none_or(|anchor| anchors(&there).contains(anchor));
    (!is_there).then(|| format!("{file}: {link}: no such heading"))
}

#[test]
fn every_link_leads_somewhere() {
    let mut complaints = Vec::new();
    for file in files() {
        let text = read(&file);
        complaints.extend(links(&text).iter().filter_map(|link| complaint(&file, &text, link)));
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "# One `word`, two\n# One `word`, two\n[a](#one-word-two) [b](#one-word-two-1) [c](../README.md) `[d](#no)`\n\
                [e](#one-word-two-2) [f](no.md) [g](../README.md#no) [h](reference.md#settings)\n```sh\n# [i](#no)\n```\n";
    let found: Vec<_> =
        links(text).into_iter().filter(|link| complaint("docs/x.md", text, link).is_some()).collect();
    assert_eq!(found, ["#one-word-two-2", "no.md", "../README.md#no"]);
}

/// What is not a link, in comments, messages and alerts: `docs/x.md, "Heading"`.
#[test]
fn every_heading_that_is_named_elsewhere_exists() {
    let mut sources = vec!["cloudbuild.yaml".to_owned(), "Dockerfile".to_owned(), ".ci/run".to_owned()];
    for directory in ["deploy", "src", "crates", "benches", "tests"] {
        add_sources(directory, &mut sources);
    }
    let mut named = 0;
    for source in sources {
        let text = read(&source).replace("\\\"", "\"").replace("\\n", "\n");
        for (before, after) in text.match_indices(".md, \"").map(|(at, sign)| text.split_at(at + sign.len()))
        {
            let name = before
                .trim_end_matches(", \"")
                .rsplit(|c: char| !(c.is_alphanumeric() || "./_-".contains(c)))
                .next();
            let (file, heading) = (name.unwrap_or_default(), after.split('"').next().unwrap_or_default());
            // This file's own examples.
            if source.ends_with("doc_facts.rs") {
                continue;
            }
            let headings = headings(&read(file));
            let is_there = headings
                .iter()
                .any(|known| known.trim_start_matches(|c: char| "0123456789. ".contains(c)) == heading);
            assert!(is_there, "{source}: {file} has no heading {heading:?}");
            named += 1;
        }
    }
    assert!(named >= 10, "only {named} were found");
}

/// All texts below a directory, if there is one.
fn add_sources(directory: &str, sources: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root().join(directory)) else { return };
    for entry in entries {
        let entry = entry.expect("an entry");
        let path = format!("{directory}/{}", entry.file_name().to_str().expect("a name"));
        if entry.file_type().expect("a type").is_dir() && !path.ends_with("node_modules") {
            add_sources(&path, sources);
        } else if [".rs", ".yaml", ".json", ".toml"].iter().any(|ending| path.ends_with(ending)) {
            sources.push(path);
        }
    }
}

#[test]
fn the_readme_is_for_a_stranger() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "{lines} lines, of {README_LINES}");
}

/// The section of the reference with that heading.
fn section(heading: &str) -> String {
    let text = read(REFERENCE);
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect(heading);
    section.split("\n## ").next().unwrap_or(section).to_owned()
}

/// The first two columns of each row of a table whose first one begins with `prefix`.
fn rows(section: &str, prefix: &str) -> Vec<String> {
    let row = |line: &str| {
        let line = line.replace("\\|", "/");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.get(1)?.starts_with(prefix).then(|| cells[1..3].join(" "))
    };
    section.lines().filter_map(row).collect()
}

/// The words of a text that look like a flag.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

/// The words of a text that look like a variable: upper case, with an underscore, and not `<WHAT_A_FLAG_TAKES>`.
fn variables(text: &str) -> BTreeSet<String> {
    let is_separator = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words = text.split_inclusive(is_separator).filter(|word| !word.ends_with('>'));
    let is_variable =
        |word: &&str| word.contains('_') && word.chars().all(|c| c == '_' || c.is_ascii_uppercase());
    words.map(|word| word.trim_end_matches(is_separator)).filter(is_variable).map(str::to_owned).collect()
}

fn help() -> String {
    let pulse = Command::new(env!("CARGO_BIN_EXE_pulse")).args(["sync", "--help"]).env_clear().output();
    String::from_utf8(pulse.expect("pulse runs").stdout).expect("text")
}

/// Those that a line of the help begins with.
fn flags_of_help(help: &str) -> BTreeSet<String> {
    let begins = |line: &str| {
        let line = line.trim_start();
        let line = line.split_once(", --").map_or(line.to_owned(), |(_, long)| format!("--{long}"));
        line.starts_with("--").then(|| line.split([' ', '=', '[']).next().unwrap_or_default().to_owned())
    };
    help.lines().filter_map(begins).filter(|flag| flag != "--help").collect()
}

#[test]
fn the_reference_has_every_flag_and_variable_of_the_help_and_no_other() {
    let (help, settings) = (help(), section("Settings"));
    let table = rows(&settings, "`--").join("\n");
    assert!(flags_of_help(&help).len() > 15, "{help}");
    assert_eq!(flags(&table), flags_of_help(&help));

    let (told, known) = (variables(&help), variables(&settings));
    assert!(told.len() > 25, "{told:?}");
    // `CLOUD_RUN_*` stands for several.
    let is_known = |name: &&String| {
        known.contains(*name) || known.iter().any(|known| name.ends_with('_') && known.starts_with(*name))
    };
    assert_eq!(told.iter().find(|name| !is_known(name)), None, "the reference lacks it");
    assert_eq!(variables(&table).difference(&told).next(), None, "the help lacks it");
}

/// The codes as the code spells them: `Self::Name => "code"`.
fn codes() -> BTreeSet<String> {
    let mut sources = Vec::new();
    add_sources("src", &mut sources);
    let texts: Vec<String> =
        sources.iter().map(|file| read(file)).filter(|text| text.contains("enum Code {")).collect();
    let [text] = &texts[..] else { panic!("one file has the codes, not {}", texts.len()) };
    let code = |line: &str| {
        let (name, code) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
        name.chars().all(char::is_alphanumeric).then(|| code.trim_end_matches("\",").to_owned())
    };
    let (_, spelling) = text.split_once("fn as_str").expect("how they are spelled");
    spelling.lines().take_while(|line| *line != "    }").filter_map(code).collect()
}

#[test]
fn the_reference_has_every_error_code_and_no_other() {
    let codes = codes();
    assert!(codes.len() >= 16 && codes.contains("keys_missing") && codes.contains("internal"), "{codes:?}");
    let told: BTreeSet<String> = rows(&section("Error codes"), "`")
        .iter()
        .filter_map(|row| row.split('`').nth(1).map(str::to_owned))
        .collect();
    assert_eq!(told, codes);
}

/// Whether it is written like the reason of a finding.
fn is_reason(span: &&str) -> bool {
    span.starts_with(|c: char| c.is_ascii_uppercase())
        && span.chars().all(|c| c.is_ascii_alphabetic())
        && span.chars().any(|c| c.is_ascii_lowercase())
}

#[test]
fn every_finding_that_the_operators_page_explains_is_told_by_a_command() {
    let (_, prose) = parts(&read("docs/operate.md"));
    let reasons: BTreeSet<&str> = prose.split('`').skip(1).step_by(2).filter(is_reason).collect();
    assert!(reasons.len() > 40, "{reasons:?}");
    let mut sources = Vec::new();
    add_sources("src", &mut sources);
    let code: String = sources.iter().map(|file| read(file)).collect();
    let unknown: Vec<_> = reasons.iter().filter(|reason| !code.contains(&format!("\"{reason}\""))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// A change starts where CONTRIBUTING.md says.
#[test]
fn every_place_that_the_contributing_page_names_exists() {
    let text = read("CONTRIBUTING.md");
    let (_, prose) = parts(&text);
    let is_place = |span: &&str| {
        ["src/", "crates/", "tests/", "deploy/", "benches/"].iter().any(|room| span.starts_with(room))
            && !span.contains('*')
    };
    let places: Vec<&str> = prose.split('`').skip(1).step_by(2).filter(is_place).collect();
    assert!(places.len() > 20, "{places:?}");
    for place in places {
        assert!(root().join(place).exists(), "there is no {place}");
    }
}
