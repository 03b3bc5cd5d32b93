//! `cloudbuild.yaml`: its fields, and what its scripts do.

use crate::gcloud::assert_understood;
use crate::image::build_image;
use crate::read;
use crate::readme::{after, calls as readme_calls};
use crate::shell::{Call, Cloud};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    substitutions: BTreeMap<String, String>,
    steps: Vec<Step>,
    options: Options,
    timeout: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    id: String,
    name: String,
    script: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Options {
    automap_substitutions: bool,
    substitution_option: String,
    logging: String,
    machine_type: String,
}

impl Build {
    fn read() -> Self {
        serde_saphyr::from_str(&read("cloudbuild.yaml")).expect("a build")
    }

    /// Runs the steps one after the other, as Cloud Build does, with some substitutions given.
    fn submit(&self, cloud: &Cloud, given: &[(&str, &str)]) -> Result<Vec<Call>, String> {
        let mut environment = self.substitutions.clone();
        environment.insert("PROJECT_ID".into(), "a-project".into());
        environment.extend(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut calls = Vec::new();
        for step in &self.steps {
            let run = cloud.run(&step.script, &environment);
            calls.extend(run.calls);
            if !run.succeeded {
                return Err(format!("{} fails after {calls:?}: {}", step.id, run.stderr));
            }
        }
        Ok(calls)
    }
}

fn submit(given: &[(&str, &str)]) -> Vec<Call> {
    Build::read().submit(&Cloud::empty(), given).expect("a deployment")
}

/// `--name=value` of the one call that begins with `prefix`.
fn flags(calls: &[Call], prefix: &str) -> BTreeMap<String, String> {
    let [arguments] = after(calls, prefix)[..] else { panic!("not once: {prefix}: {calls:?}") };
    let flag = |word: &String| {
        let (name, value) = word.strip_prefix("--")?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    arguments.iter().filter_map(flag).collect()
}

/// What a step does, without its arguments.
fn outline(calls: &[Call]) -> Vec<String> {
    let words = |call: &Call| {
        let words = call.iter().take_while(|word| !word.starts_with('-') && !word.contains('/'));
        words.cloned().collect::<Vec<_>>().join(" ")
    };
    calls.iter().map(words).collect()
}

#[test]
fn it_goes_from_tests_to_the_trigger() {
    let build = Build::read();
    let ids: Vec<&str> = build.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["test", "image", "rules-and-indexes", "job", "trigger"]);
    assert_eq!(build.timeout, "3600s");
    let expected = Options {
        automap_substitutions: true,
        substitution_option: "ALLOW_LOOSE".into(),
        logging: "CLOUD_LOGGING_ONLY".into(),
        machine_type: "E2_HIGHCPU_8".into(),
    };
    assert_eq!(build.options, expected);
}

/// Cloud Build's own image for docker, which follows its machines, is the exception.
#[test]
fn every_image_is_pinned_and_tests_run_on_the_one_that_builds() {
    for step in Build::read().steps {
        let is_pinned =
            step.name.rsplit_once(':').is_some_and(|(_, tag)| tag.contains(|c: char| c.is_ascii_digit()));
        assert!(is_pinned || step.name == "gcr.io/cloud-builders/docker", "{}", step.name);
        assert!(step.id != "test" || step.name == build_image(), "{}", step.name);
    }
}

#[test]
fn scripts_use_the_substitutions_that_are_declared() {
    let build = Build::read();
    let scripts: String = build.steps.iter().map(|step| step.script.as_str()).collect();
    let names = scripts.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let used: BTreeSet<&str> = names.filter(|name| name.starts_with('_') && name.len() > 1).collect();
    let declared: BTreeSet<&str> = build.substitutions.keys().map(String::as_str).collect();
    assert_eq!(used, declared);
}

#[test]
fn gcloud_takes_every_command() {
    let (build, cloud) = (Build::read(), Cloud::empty());
    let mut calls =
        build.submit(&cloud, &[("_TAG", "abc"), ("_ENV", "A=1,B=2")]).expect("a first deployment");
    calls.extend(build.submit(&cloud, &[("_TAG", "abc")]).expect("a second one"));
    assert_understood(&calls);
}

#[test]
fn the_job_gets_all_its_settings() {
    let flags = flags(&submit(&[("_TAG", "abc")]), "gcloud run jobs deploy pulse");
    let expected = [
        ("cpu", "1"),
        ("image", "us-central1-docker.pkg.dev/a-project/pulse/pulse:abc"),
        ("max-retries", "1"),
        ("memory", "512Mi"),
        ("parallelism", "0"),
        ("project", "a-project"),
        ("region", "us-central1"),
        ("service-account", "pulse-job@a-project.iam.gserviceaccount.com"),
        ("set-env-vars", "GCP_PROJECT=a-project,PULSE_CONCURRENCY=64,PULSE_LEGACY_TENANT_PATH=on"),
        ("task-timeout", "5m"),
        ("tasks", "1"),
    ];
    assert_eq!(flags, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn a_substitution_reaches_the_job() {
    let given = [("_TAG", "abc"), ("_TASKS", "8"), ("_REGION", "europe-west1"), ("_ENV", "A=1,B=2")];
    let flags = flags(&submit(&given), "gcloud run jobs deploy pulse");
    assert_eq!(flags["tasks"], "8");
    assert_eq!(flags["region"], "europe-west1");
    assert_eq!(flags["image"], "europe-west1-docker.pkg.dev/a-project/pulse/pulse:abc");
    assert!(flags["set-env-vars"].ends_with("PULSE_LEGACY_TENANT_PATH=on,A=1,B=2"), "{flags:?}");
}

/// With `--oidc-...`, Google's API would refuse every call.
#[test]
fn the_trigger_starts_that_job_every_minute_with_an_oauth_token() {
    let flags = flags(&submit(&[("_TAG", "abc")]), "gcloud scheduler jobs create http pulse");
    let expected = [
        ("attempt-deadline", "30s"),
        ("http-method", "POST"),
        ("location", "us-central1"),
        ("oauth-service-account-email", "pulse-scheduler@a-project.iam.gserviceaccount.com"),
        ("project", "a-project"),
        ("schedule", "* * * * *"),
        ("time-zone", "Etc/UTC"),
        ("uri", "https://run.googleapis.com/v2/projects/a-project/locations/us-central1/jobs/pulse:run"),
    ];
    assert_eq!(flags, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn the_second_time_nothing_is_built_or_created() {
    let (build, cloud) = (Build::read(), Cloud::empty());
    let first = build.submit(&cloud, &[("_TAG", "abc")]).expect("a first deployment");
    let second = build.submit(&cloud, &[("_TAG", "abc")]).expect("a second one");
    assert_eq!(
        outline(&first),
        [
            "cargo test",
            "docker pull",
            "docker build",
            "docker push",
            "npx",
            "gcloud run jobs deploy pulse",
            "gcloud scheduler jobs describe pulse",
            "gcloud scheduler jobs create http pulse",
        ]
    );
    assert_eq!(
        outline(&second),
        [
            "cargo test",
            "docker pull",
            "npx",
            "gcloud run jobs deploy pulse",
            "gcloud scheduler jobs describe pulse",
            "gcloud scheduler jobs update http pulse",
        ]
    );
    for (once, again) in [
        ("gcloud run jobs deploy pulse", "gcloud run jobs deploy pulse"),
        ("gcloud scheduler jobs create http pulse", "gcloud scheduler jobs update http pulse"),
    ] {
        assert_eq!(flags(&first, once), flags(&second, again));
    }
    let third = build.submit(&cloud, &[("_TAG", "def")]).expect("another commit");
    assert!(outline(&third).contains(&"docker build".to_owned()));
}

/// The rules of another version than the one that is tested would be a surprise.
#[test]
fn the_readme_deploys_rules_with_the_same_tool() {
    let deployed = submit(&[("_TAG", "abc")]);
    let by_hand = readme_calls();
    let [[yes, deployed @ ..]] = &after(&deployed, "npx")[..] else { panic!("{deployed:?}") };
    assert_eq!(yes, "--yes");
    let [by_hand] = after(&by_hand, "npx")[..] else { panic!("{by_hand:?}") };
    assert_eq!(deployed[..4], by_hand[..4]);
    assert_eq!(deployed[1..4], ["deploy", "--only", "firestore"]);
    assert!(deployed[0].starts_with("firebase-tools@1"), "{}", deployed[0]);
}

#[test]
fn a_triggers_commit_is_the_tag_unless_another_is_given() {
    let image =
        |given: &[(&str, &str)]| flags(&submit(given), "gcloud run jobs deploy pulse").remove("image");
    let of = |tag: &str| Some(format!("us-central1-docker.pkg.dev/a-project/pulse/pulse:{tag}"));
    assert_eq!(image(&[("COMMIT_SHA", "c0ffee")]), of("c0ffee"));
    assert_eq!(image(&[("COMMIT_SHA", "c0ffee"), ("_TAG", "abc")]), of("abc"));
}

#[test]
fn without_a_commit_it_ends_before_it_begins() {
    for given in [&[][..], &[("COMMIT_SHA", "")]] {
        let error = Build::read().submit(&Cloud::empty(), given).expect_err("which commit?");
        assert!(
            error.starts_with("test fails after []") && error.contains("--substitutions=_TAG="),
            "{error}"
        );
    }
}

/// A failing step that went unnoticed would deploy what was not tested, or not pushed.
#[test]
fn every_script_stops_at_the_first_failure() {
    for step in Build::read().steps {
        let beginning: Vec<&str> = step.script.lines().take(2).collect();
        assert_eq!(beginning, ["#!/usr/bin/env bash", "set -euo pipefail"], "{}", step.id);
    }
}

#[test]
fn the_readme_creates_what_the_defaults_name() {
    let (substitutions, calls) = (Build::read().substitutions, readme_calls());
    let created: BTreeSet<&String> =
        after(&calls, "gcloud iam service-accounts create").into_iter().map(|account| &account[0]).collect();
    assert!(created.contains(&substitutions["_SERVICE_ACCOUNT"]), "{created:?}");
    assert!(created.contains(&substitutions["_SCHEDULER_ACCOUNT"]), "{created:?}");
    let [repository] = after(&calls, "gcloud artifacts repositories create")[..] else {
        panic!("one repository")
    };
    assert_eq!(repository[0], substitutions["_REPOSITORY"]);
    let invoker = flags(&calls, &format!("gcloud run jobs add-iam-policy-binding {}", substitutions["_JOB"]));
    assert_eq!(invoker["role"], "roles/run.invoker");
    let account =
        format!("serviceAccount:{}@my-project.iam.gserviceaccount.com", substitutions["_SCHEDULER_ACCOUNT"]);
    assert_eq!(invoker["member"], account);
}
