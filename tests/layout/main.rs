//! The rooms of the house: imports go down and never in a circle, the sandbox knows nothing of the job, and files and
//! functions are small enough to read. What is wrong is named by its file and line.

#![allow(clippy::expect_used, reason = "all of this is test code, though not all of it is a test")]

mod imports;
mod sizes;
mod source;

use crate::source::Source;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file)
}

/// The files of the job, of its sandbox and of the reader.
static CRATES: LazyLock<[Vec<Source>; 3]> =
    LazyLock::new(|| ["src", "crates/sandbox/src", "crates/account-reader/src"].map(Source::all_below));

/// Fails with all faults, a line each.
#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn imports_go_down_from_room_to_room() {
    let [job, ..] = &*CRATES;
    assert_none(&imports::upward(job));
}

#[test]
fn no_modules_of_a_room_import_each_other_in_a_circle() {
    let [job, members @ ..] = &*CRATES;
    let of_members = members.iter().flat_map(|member| imports::circles(member, |_| None));
    assert_none(&imports::circles(job, imports::room).into_iter().chain(of_members).collect::<Vec<_>>());
}

#[test]
fn the_other_crates_never_name_the_job() {
    let [_, members @ ..] = &*CRATES;
    let faults = members.iter().flatten().flat_map(|source| imports::mentions(source, "alpaca_pulse"));
    assert_none(&faults.collect::<Vec<_>>());
    for member in ["sandbox", "account-reader"] {
        let manifest = read(&format!("crates/{member}/Cargo.toml"));
        let names: Vec<&str> = manifest.lines().filter(|line| line.contains("alpaca-pulse")).collect();
        assert_eq!(names, [format!("name = \"alpaca-pulse-{member}\"")]);
    }
}

/// Who only reads documents that another client got needs none of Google's crates.
#[test]
fn the_readers_core_names_no_client_of_firestore() {
    let manifest = read("crates/account-reader/Cargo.toml");
    let always = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    let lines = always.expect("its dependencies").lines();
    let google = ["firestore", "gcloud", "google", "tonic", "tokio"];
    let faults =
        lines.filter(|line| google.iter().any(|name| line.contains(name)) && !line.contains("optional"));
    assert_none(&faults.map(str::to_owned).collect::<Vec<_>>());
}

/// Nor does the job, which has a client of its own.
#[test]
fn the_job_is_built_without_the_readers_client() {
    for features in [&[][..], &["--no-default-features"]] {
        let arguments = ["tree", "--locked", "--package=alpaca-pulse", "--edges=normal", "--prefix=none"];
        let output = Command::new(env!("CARGO")).args(arguments).args(features).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).expect("text");
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&"gcloud-sdk") && !names.contains(&"firestore"), "{features:?}: {tree}");
    }
}

/// More than one would be parts of the sandbox that live in the job.
#[test]
fn the_job_takes_the_sandbox_as_one_optional_dependency() {
    assert_eq!(optional_dependencies(&read("Cargo.toml"), "sandbox"), ["dep:alpaca-pulse-sandbox"]);
}

fn optional_dependencies<'a>(manifest: &'a str, feature: &str) -> Vec<&'a str> {
    let value = manifest.lines().find_map(|line| line.strip_prefix(feature)?.trim_start().strip_prefix('='));
    let words = value.unwrap_or_default().split('"');
    words.filter(|word| word.starts_with("dep:")).collect()
}

#[test]
fn files_functions_and_argument_lists_are_short() {
    assert_none(&CRATES.iter().flat_map(|sources| sizes::too_large(sources)).collect::<Vec<_>>());
}

#[test]
fn most_functions_are_a_few_lines() {
    for sources in &*CRATES {
        let median = sizes::median(sources);
        assert!(median <= 8, "{}: half of the functions have more than {median} lines", sources[0].path);
    }
}

/// What happens to the users, and to one of them: read in one go.
#[test]
fn a_pass_and_one_users_way_fit_on_two_screens() {
    let [job, ..] = &*CRATES;
    let lines = sizes::lines_of(job, &["run_pass", "sync_user"]);
    assert_eq!(lines.len(), 2, "one of each: {lines:?}");
    assert!(lines.iter().map(|(_, lines)| lines).sum::<usize>() < 90, "{lines:?}");
}

#[test]
fn optional_dependencies_are_found() {
    let manifest = "[features]\ndefault = [\"a\"]\nb = [\"dep:x\", \"tokio/rt\", \"dep:y\"]\n";
    assert_eq!(optional_dependencies(manifest, "b"), ["dep:x", "dep:y"]);
}
