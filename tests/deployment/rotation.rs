//! What `docs/operate.md` tells to type to rotate a key, against a Secret Manager whose `latest` lags.

use crate::docs::section;
use crate::shell::{Cloud, Run};
use std::collections::BTreeMap;

const TYPED: &str = "PKNEW\nnew+secret/key\npaper\n";
const STORED: &str = r#"{"key_id":"PKNEW","secret_key":"new+secret/key","environment":"paper"}"#;

/// A user who was synced with the one version that there is.
fn with_one_version() -> Cloud {
    let cloud = Cloud::empty();
    cloud.set("version-1", "the old payload");
    cloud.set("snapshot", "1\n");
    cloud
}

/// Types all blocks up to the one that goes back.
fn rotate(cloud: &Cloud) -> Run {
    let blocks = section("docs/operate.md", "## Rotate a key");
    assert_eq!(blocks.len(), 4, "type in, store, destroy, go back");
    let script = format!("exec 0<<'END'\n{TYPED}END\nset -u\n{}", blocks[..3].concat());
    let environment = [("PROJECT", "p"), ("REGION", "r"), ("USER_ID", "ana")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let run = cloud.run(&script, &BTreeMap::from(environment));
    assert_eq!(run.stderr, "");
    assert_nothing_is_destroyed_too_early(&events(cloud));
    run
}

fn events(cloud: &Cloud) -> Vec<(String, u32)> {
    let parse = |line: &str| {
        let (what, version) = line.split_once(' ').expect("two words");
        (what.to_owned(), version.parse().expect("a number"))
    };
    cloud.noted("events").lines().map(parse).collect()
}

fn versions(events: &[(String, u32)], what: &str) -> Vec<u32> {
    events.iter().filter(|(name, _)| name == what).map(|(_, version)| *version).collect()
}

/// Before anything is destroyed, `latest` was the new version 30 times in a row, the last sync was by it, and the
/// snapshot was looked at after that.
fn assert_nothing_is_destroyed_too_early(events: &[(String, u32)]) {
    let Some(first) = events.iter().position(|(what, _)| what == "destroy") else { return };
    let before = &events[..first];
    let new = *versions(before, "add").last().expect("a new version");
    let latest = versions(before, "latest");
    assert!(latest.len() >= 30 && latest.iter().rev().take(30).all(|version| *version == new), "{latest:?}");
    let tail: Vec<_> = before.iter().rev().take(2).map(|(what, version)| (what.as_str(), *version)).collect();
    assert_eq!(tail, [("snapshot", new), ("sync", new)]);
    assert!(versions(&events[first..], "destroy").iter().all(|version| *version < new), "{events:?}");
}

fn destroyed(cloud: &Cloud) -> Vec<u32> {
    versions(&events(cloud), "destroy")
}

#[test]
fn the_new_version_is_stored_read_back_and_synced_before_the_old_one_goes() {
    let cloud = with_one_version();
    let run = rotate(&cloud);
    assert_eq!(cloud.noted("version-2"), STORED);
    assert!(
        run.stdout.contains("The new version is 2, and the snapshot was made with version 2."),
        "{}",
        run.stdout
    );
    assert_eq!(destroyed(&cloud), [1]);
    assert_eq!(versions(&events(&cloud), "sync"), [2, 2]);
}

#[test]
fn no_key_is_printed() {
    let run = rotate(&with_one_version());
    assert!(!run.stdout.contains("secret/key") && !run.stdout.contains("PKNEW"), "{}", run.stdout);
    let arguments = run.calls.concat().concat();
    assert!(!arguments.contains("secret/key") && !arguments.contains("PKNEW"), "{arguments}");
}

#[test]
fn a_latest_that_lags_is_waited_for_and_seen() {
    let cloud = with_one_version();
    cloud.set("latest", "ooooo");
    let run = rotate(&cloud);
    assert!(
        run.stdout.contains("The new version is 2, and the snapshot was made with version 1."),
        "{}",
        run.stdout
    );
    assert_eq!(destroyed(&cloud), [1]);
    assert_eq!(versions(&events(&cloud), "sync"), [1, 2]);
}

#[test]
fn a_latest_that_wavers_is_counted_from_its_last_old_answer() {
    for plan in ["nnnnno", "nonononono", &format!("{}o", "n".repeat(29)), &format!("{}onno", "n".repeat(25))]
    {
        let cloud = with_one_version();
        cloud.set("latest", plan);
        rotate(&cloud);
        assert_eq!(destroyed(&cloud), [1], "{plan}");
    }
}

#[test]
fn a_latest_that_stays_old_costs_no_version() {
    for plan in ["o*", "noo*", &format!("{}o*", "n".repeat(29))] {
        let cloud = with_one_version();
        cloud.set("latest", plan);
        let run = rotate(&cloud);
        assert_eq!(destroyed(&cloud), [0; 0], "{plan}");
        assert!(
            run.stdout.ends_with("'latest' is not version 2 for good. Nothing is destroyed.\n"),
            "{}",
            run.stdout
        );
    }
}

/// One for the first sync and 30 in a row; then the sync that decides gets the old one.
#[test]
fn a_last_sync_with_the_old_version_costs_no_version() {
    let cloud = with_one_version();
    cloud.set("latest", &format!("{}o", "n".repeat(31)));
    let run = rotate(&cloud);
    assert_eq!(destroyed(&cloud), [0; 0]);
    assert!(run.stdout.ends_with("not synced with version 2. Nothing is destroyed.\n"), "{}", run.stdout);
}

#[test]
fn a_new_key_that_does_not_work_costs_no_version() {
    let cloud = with_one_version();
    cloud.set("refused", "2");
    rotate(&cloud);
    assert_eq!(destroyed(&cloud), [0; 0]);
    assert_eq!(cloud.noted("snapshot"), "1\n");
}

#[test]
fn what_was_not_stored_as_typed_is_neither_synced_nor_trusted() {
    for fault in ["full", "torn"] {
        let cloud = with_one_version();
        cloud.set(fault, "");
        let run = rotate(&cloud);
        assert!(run.stdout.contains("not stored as typed"), "{fault}: {}", run.stdout);
        assert_eq!(versions(&events(&cloud), "sync"), [0; 0], "{fault}");
        assert_eq!(destroyed(&cloud), [0; 0], "{fault}");
    }
}

#[test]
fn every_older_version_goes_and_no_newer_one() {
    let cloud = with_one_version();
    for version in ["version-2", "version-3"] {
        cloud.set(version, "older");
    }
    cloud.set("destroyed", " 2 \n");
    rotate(&cloud);
    assert_eq!(destroyed(&cloud), [3, 1]);
}

#[test]
fn a_version_that_somebody_adds_meanwhile_stays() {
    let cloud = with_one_version();
    cloud.set("late", "");
    rotate(&cloud);
    assert_eq!(destroyed(&cloud), [1]);
}

#[test]
fn going_back_adds_the_old_payload_as_the_newest_version() {
    let cloud = with_one_version();
    cloud.set("refused", "2");
    rotate(&cloud);
    let back = section("docs/operate.md", "## Rotate a key")[3].replace("the-old-versions-number", "1");
    cloud.run(&back, &BTreeMap::from([("USER_ID".to_owned(), "ana".to_owned())]));
    assert_eq!(cloud.noted("version-3"), "the old payload\n");
}
