//! The commands of the docs: of each Markdown file in the project.

use crate::gcloud::assert_understood;
use crate::read;
use crate::shell::{Call, Cloud};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

/// Every Markdown file of the project, in the order of their names.
pub(crate) fn files() -> Vec<String> {
    let mut found = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut found);
    found.sort();
    found
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory of the project") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        let is_ours = !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str());
        if is_ours && entry.file_type().expect("a type").is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), found);
        } else if name.ends_with(".md") {
            found.push(format!("{prefix}{name}"));
        }
    }
}

/// All `sh` blocks of a file as one script, and its text without any blocks.
pub(crate) fn parts(text: &str) -> (String, String) {
    let (mut blocks, mut prose, mut language) = (String::new(), String::new(), None);
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, language.as_deref()) {
            (Some(name), None) => language = Some(name.to_owned()),
            (Some(_), Some(_)) => language = None,
            (None, Some("sh")) => blocks += &format!("{line}\n"),
            (None, Some(_)) if line.contains("gcloud ") => {
                let command = suggested(line);
                let command =
                    command.unwrap_or_else(|| panic!("a command that is not in an `sh` block: {line}"));
                blocks += &format!("{command}\n");
            }
            (None, Some(_)) => {}
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    (blocks, prose)
}

/// The command that a line of an answer in JSON suggests.
fn suggested(line: &str) -> Option<String> {
    let command = line.trim().strip_prefix("\"mend\": ")?;
    serde_json::from_str(command.trim_end_matches(',')).ok()
}

/// Files whose sentences, too, name commands of `pulse` to be typed as they stand.
const FOR_THE_NIGHT: [&str; 2] = ["README.md", "docs/operate.md"];

/// What a file's commands call, in their order, from an empty terminal: those in its blocks, then those of `gcloud` that
/// a sentence mentions, and those of `pulse` where they are meant to be typed.
fn calls_of(file: &str) -> Vec<Call> {
    let (blocks, prose) = parts(&read(file));
    let spans = prose.split('`').skip(1).step_by(2);
    let (mentioned, others): (Vec<&str>, Vec<&str>) = spans.partition(|span| span.starts_with("gcloud "));
    let is_typed = |span: &&str| span.starts_with("pulse ") && FOR_THE_NIGHT.contains(&file);
    let of_pulse: Vec<&str> = others.into_iter().filter(is_typed).collect();
    let script = format!("set -u\n{blocks}\n{}\n{}\ntrue", mentioned.join("\n"), of_pulse.join("\n"));
    let run = Cloud::empty().run(&script, &BTreeMap::new());
    assert!(run.succeeded, "{file}: {}", run.stderr);
    assert_eq!(run.stderr, "", "{file}: bash has something to say");

    let is_command = |line: &&str| !line.trim_start().starts_with('#');
    let written =
        blocks.lines().filter(is_command).map(|line| line.matches("gcloud ").count()).sum::<usize>();
    let called = run.calls.iter().filter(|call| call[0] == "gcloud").count();
    assert!(called >= written + mentioned.len(), "{file}: {written} commands, and {called} were called");
    run.calls
}

/// What the commands of all docs call, file by file.
pub(crate) fn calls() -> &'static [Call] {
    static CALLS: LazyLock<Vec<Call>> =
        LazyLock::new(|| files().iter().flat_map(|file| calls_of(file)).collect());
    &CALLS
}

/// What follows `prefix` in the calls that begin with it.
pub(crate) fn after<'a>(calls: &'a [Call], prefix: &str) -> Vec<&'a [String]> {
    let prefix: Vec<&str> = prefix.split(' ').collect();
    let rest = |call: &'a Call| call.starts_with_words(&prefix).then(|| &call[prefix.len()..]);
    calls.iter().filter_map(rest).collect()
}

/// Asserts that `pulse` knows the command and each flag of the calls that are its own.
pub(crate) fn assert_pulse_takes(calls: &[Call]) {
    let commands: BTreeSet<&[String]> = after(calls, "pulse").into_iter().collect();
    assert!(!commands.is_empty(), "no command of pulse was found");
    for command in commands {
        // What is wrong is told, and help only where nothing is.
        let pulse =
            Command::new(env!("CARGO_BIN_EXE_pulse")).args(command).arg("--help").env_clear().output();
        let run = pulse.expect("pulse runs");
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "pulse {}: {told}", command.join(" "));
    }
}

trait StartsWithWords {
    fn starts_with_words(&self, words: &[&str]) -> bool;
}

impl StartsWithWords for Call {
    fn starts_with_words(&self, words: &[&str]) -> bool {
        self.len() >= words.len() && self.iter().zip(words).all(|(word, expected)| word == expected)
    }
}

#[test]
fn gcloud_takes_every_command() {
    assert_understood(calls());
}

#[test]
fn pulse_takes_every_command() {
    assert_pulse_takes(calls());
}

#[test]
#[should_panic = "pulse status --region=us-central1: error"]
fn a_flag_that_pulse_does_not_know_is_found() {
    assert_pulse_takes(&[["pulse", "status", "--region=us-central1"].map(str::to_owned).into()]);
}

#[test]
fn a_role_on_the_project_is_never_one_that_owns_it() {
    let grants = after(calls(), "gcloud projects add-iam-policy-binding");
    let role =
        |grant: &[String]| grant.iter().find_map(|word| word.strip_prefix("--role=")).map(str::to_owned);
    let roles: BTreeSet<_> = grants.iter().map(|grant| role(grant).expect("a role")).collect();
    let expected = [
        "roles/cloudscheduler.admin",
        "roles/datastore.indexAdmin",
        "roles/datastore.user",
        "roles/firebaserules.admin",
        "roles/logging.logWriter",
        "roles/monitoring.metricWriter",
        "roles/run.developer",
        "roles/secretmanager.secretAccessor",
        "roles/serviceusage.serviceUsageConsumer",
    ];
    assert_eq!(roles, expected.map(str::to_owned).into());
}

/// gcloud asks, and without a terminal fails, when a policy has a condition and a further grant does not say.
#[test]
fn the_jobs_access_to_secrets_is_limited_and_every_other_grant_says_that_it_is_not() {
    for grant in after(calls(), "gcloud projects add-iam-policy-binding") {
        let condition = grant.iter().find_map(|word| word.strip_prefix("--condition=")).expect("a condition");
        if grant.iter().any(|word| word == "--role=roles/secretmanager.secretAccessor") {
            let limit = "expression=resource.name.startsWith('projects/1/secrets/alpaca-keys-')";
            assert_eq!(condition, format!("title=alpaca-keys,{limit}"));
        } else {
            assert_eq!(condition, "None", "{grant:?}");
        }
    }
}

/// Old documents go away however the policy got there.
#[test]
fn the_policies_on_old_documents_are_those_of_the_index_file() {
    let file: Json = serde_json::from_str(&read("firestore.indexes.json")).expect("JSON");
    let overrides = file["fieldOverrides"].as_array().expect("a list");
    let expiring = overrides.iter().filter(|entry| entry["ttl"] == true);
    let text = |entry: &Json, key: &str| entry[key].as_str().expect("a text").to_owned();
    let of_file: BTreeSet<_> =
        expiring.map(|entry| (text(entry, "fieldPath"), text(entry, "collectionGroup"))).collect();
    assert_eq!(of_file.len(), 2, "ledgers, and entries of the equity history");
    let updates = after(calls(), "gcloud firestore fields ttls update").into_iter().map(|update| {
        let [field, group, "--enable-ttl", "--async"] =
            update.iter().map(AsRef::as_ref).collect::<Vec<&str>>()[..]
        else {
            panic!("{update:?}")
        };
        (field.to_owned(), group.trim_start_matches("--collection-group=").to_owned())
    });
    assert_eq!(updates.collect::<BTreeSet<_>>(), of_file);
}

/// Lists of signals, and what is pending of them.
#[test]
fn the_queries_for_signals_have_their_indexes() {
    let file: Json = serde_json::from_str(&read("firestore.indexes.json")).expect("JSON");
    let field = |field: &Json| format!("{} {}", field["fieldPath"], field["order"]).replace('"', "");
    let of_one = |index: &Json| {
        assert_eq!(
            (&index["collectionGroup"], &index["queryScope"]),
            (&"tradingSignals".into(), &"COLLECTION".into())
        );
        index["fields"].as_array().expect("fields").iter().map(field).collect::<Vec<_>>().join(", ")
    };
    let indexes: Vec<String> = file["indexes"].as_array().expect("a list").iter().map(of_one).collect();
    let pending = "proposed_by ASCENDING, status ASCENDING, expires_at ASCENDING";
    assert_eq!(indexes, ["status ASCENDING, created_at DESCENDING", pending]);
}

#[test]
fn firebase_json_names_the_two_files() {
    let file: Json = serde_json::from_str(&read("firebase.json")).expect("JSON");
    let name = |key: &str| file["firestore"][key].as_str().expect("a path").to_owned();
    assert!(read(&name("rules")).starts_with("rules_version = '2';"));
    serde_json::from_str::<Json>(&read(&name("indexes"))).expect("JSON");
}
