//! The readers in other languages, which have to pass the same cases.

#![allow(clippy::expect_used, reason = "all of this is test code, though not all of it is a test")]

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// How many cases a file has, as this program counts them.
fn count(file: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = fs::read_to_string(path).expect(file);
    let read: serde_json::Value = serde_json::from_str(&text).expect(file);
    read["cases"].as_array().expect("a list").len()
}

/// What a program writes when it has passed. `None` where there is no such program, which with `CI=true` is a failure.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).current_dir(workspace()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(env::var("CI").as_deref() != Ok("true"), "no {program} on a CI machine");
            eprintln!("skipped: no {program}");
            return None;
        }
        other => other.expect(program),
    };
    let text = [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream)).concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
    Some(text)
}

#[track_caller]
fn assert_passes_all_cases(program: &str, arguments: &[&str]) {
    let Some(text) = output_of(program, arguments) else { return };
    for file in ["snapshots.json", "decisions.json"] {
        let line = format!("{file}: {} cases", count(file));
        assert!(text.contains(&line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn the_reader_in_python_passes_the_same_cases() {
    assert_passes_all_cases("python3", &["-B", "examples/python/test_reader.py"]);
}

#[test]
fn the_reader_in_javascript_passes_the_same_cases() {
    assert_passes_all_cases("node", &["examples/web/reader.test.mjs"]);
}

/// An example that nobody reads to its end helps nobody.
#[test]
fn the_reader_in_python_is_short() {
    let text = fs::read_to_string(workspace().join("examples/python/reader.py")).expect("the reader");
    assert!(text.lines().count() < 150, "{} lines", text.lines().count());
}
