//! `cloudbuild.yaml` and the builds before it, `deploy/*.yaml`: their fields, and what their scripts do.

use crate::docs::{after, calls as docs_calls};
use crate::gcloud::{assert_understood, executions_kept};
use crate::image::build_image;
use crate::read;
use crate::shell::{Call, Cloud, new_directory};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// In their order.
const FILES: [&str; 4] = ["deploy/test.yaml", "deploy/image.yaml", "deploy/rules.yaml", "cloudbuild.yaml"];
const IMAGE: &str = FILES[1];
const DEPLOYMENT: &str = FILES[3];

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const ANOTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";
const REGISTRY: &str = "us-central1-docker.pkg.dev/a-project/pulse/pulse";

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
    machine_type: Option<String>,
}

impl Build {
    fn read(file: &str) -> Self {
        serde_saphyr::from_str(&read(file)).expect(file)
    }

    fn all() -> impl Iterator<Item = (&'static str, Self)> {
        FILES.into_iter().map(|file| (file, Self::read(file)))
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

fn digest_of(letter: &str) -> String {
    format!("an-image@sha256:{}", letter.repeat(64))
}

/// A cloud whose next build has the sources of that commit.
fn with_sources(commit: &str) -> Cloud {
    let cloud = Cloud::empty();
    set_sources(&cloud, commit);
    cloud
}

fn set_sources(cloud: &Cloud, commit: &str) {
    cloud.set("deploy/revision", &format!("{commit}\n"));
    for file in [
        "Dockerfile",
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "crates/account-reader/Cargo.toml",
        "crates/account-reader/src/lib.rs",
        "crates/sandbox/Cargo.toml",
        "src/main.rs",
    ] {
        cloud.set(file, &format!("{file} of {commit}"));
    }
}

/// Builds the image, as the docs do.
fn build(cloud: &Cloud, given: &[(&str, &str)]) -> Result<Vec<Call>, String> {
    let (a, b) = (digest_of("a"), digest_of("b"));
    let bases = [("_BUILD_IMAGE", a.as_str()), ("_RUNTIME_IMAGE", b.as_str())];
    Build::read(IMAGE).submit(cloud, &[&bases, given].concat())
}

/// All of it, with some substitutions of the deployment given.
fn deploy(cloud: &Cloud, commit: &str, given: &[(&str, &str)]) -> Vec<Call> {
    set_sources(cloud, commit);
    let region: Vec<_> = given.iter().filter(|(name, _)| *name == "_REGION").copied().collect();
    let mut calls = Build::read(FILES[0]).submit(cloud, &[]).expect("the tests");
    calls.extend(build(cloud, &region).expect("an image"));
    calls.extend(Build::read(FILES[2]).submit(cloud, &[]).expect("the rules"));
    calls.extend(
        Build::read(DEPLOYMENT).submit(cloud, &[&[("_TAG", commit)], given].concat()).expect("the job"),
    );
    calls
}

fn submit(given: &[(&str, &str)]) -> Vec<Call> {
    deploy(&Cloud::empty(), COMMIT, given)
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
fn they_go_from_tests_to_the_trigger() {
    let ids = |build: &Build| build.steps.iter().map(|step| step.id.clone()).collect::<Vec<_>>().join(" ");
    let steps: Vec<_> = Build::all().map(|(_, build)| ids(&build)).collect();
    assert_eq!(steps, ["test", "immutable image", "rules-and-indexes", "job trigger loop"]);
    for (file, build) in Build::all() {
        let options = &build.options;
        assert!(options.automap_substitutions && options.substitution_option == "ALLOW_LOOSE", "{file}");
        assert_eq!(options.logging, "CLOUD_LOGGING_ONLY", "{file}");
        let compiles = [FILES[0], IMAGE].contains(&file);
        assert_eq!(options.machine_type.as_deref(), compiles.then_some("E2_HIGHCPU_8"), "{file}");
        assert_eq!(build.timeout == "3600s", compiles, "{file}: {}", build.timeout);
    }
}

/// Cloud Build's own image for docker, which follows its machines, is the exception.
#[test]
fn every_steps_image_is_a_substitution_with_a_pinned_default_and_tests_run_on_the_one_that_builds() {
    for (file, build) in Build::all() {
        for step in build.steps {
            let name = step.name.strip_prefix("${").and_then(|name| name.strip_suffix('}')).expect(file);
            let image = &build.substitutions[name];
            let is_pinned =
                image.rsplit_once(':').is_some_and(|(_, tag)| tag.contains(|c: char| c.is_ascii_digit()));
            assert!(is_pinned || image == "gcr.io/cloud-builders/docker", "{image}");
            assert!(step.id != "test" || *image == build_image(), "{image}");
        }
    }
}

/// The docs look up the digest of each image that a build's defaults name by a tag.
#[test]
fn the_docs_give_every_image_by_its_digest() {
    let calls = docs_calls();
    let given = after(calls, "gcloud builds submit");
    let given: Vec<_> = given.iter().map(|build| build.join(" ")).collect();
    for (file, build) in Build::all() {
        let [command] =
            given.iter().filter(|command| command.contains(&format!("--config={file} "))).collect::<Vec<_>>()
                [..]
        else {
            panic!("not once: {file}")
        };
        for (name, default) in build.substitutions.iter().filter(|(name, _)| name.ends_with("_IMAGE")) {
            let image = default.split(':').next().unwrap_or(default);
            assert!(command.contains(&format!("{name}={image}")), "{name}: {command}");
            let (_, value) = command.split_once(&format!("{name}=")).expect("just seen");
            let (_, digest) = value.split_once('@').expect("a digest");
            assert!(digest.starts_with("sha256:"), "{name}: {command}");
        }
    }
}

#[test]
fn scripts_use_the_substitutions_that_are_declared() {
    for (file, build) in Build::all() {
        let used: String = build.steps.iter().map(|step| format!("{} {}", step.name, step.script)).collect();
        let names = used.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let used: BTreeSet<&str> = names.filter(|name| name.starts_with('_') && name.len() > 1).collect();
        let declared: BTreeSet<&str> = build.substitutions.keys().map(String::as_str).collect();
        assert_eq!(used, declared, "{file}");
    }
}

#[test]
fn gcloud_takes_every_command() {
    let cloud = Cloud::empty();
    cloud.set("loops", "pulse-x7k2p");
    let mut calls = deploy(&cloud, COMMIT, &[("_ENV", "A=1,B=2")]);
    calls.extend(deploy(&cloud, COMMIT, &[]));
    assert_understood(&calls);
}

#[test]
fn the_job_gets_all_its_settings() {
    let flags = flags(&submit(&[]), "gcloud run jobs deploy pulse");
    let image = flags["image"].clone();
    assert!(image.starts_with(&format!("{REGISTRY}@sha256:")), "{image}");
    let expected = [
        ("cpu", "1"),
        ("image", image.as_str()),
        ("max-retries", "1"),
        ("memory", "512Mi"),
        ("parallelism", "0"),
        ("project", "a-project"),
        ("region", "us-central1"),
        ("service-account", "pulse-job@a-project.iam.gserviceaccount.com"),
        (
            "set-env-vars",
            "GCP_PROJECT=a-project,PULSE_CONCURRENCY=64,PULSE_LEGACY_TENANT_PATH=on,PULSE_METRICS=",
        ),
        ("task-timeout", "5m"),
        ("tasks", "1"),
    ];
    assert_eq!(flags, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn a_substitution_reaches_the_job() {
    let given = [("_TASKS", "8"), ("_REGION", "europe-west1"), ("_METRICS", "gcp"), ("_ENV", "A=1,B=2")];
    let flags = flags(&submit(&given), "gcloud run jobs deploy pulse");
    assert_eq!(flags["tasks"], "8");
    assert_eq!(flags["region"], "europe-west1");
    assert!(flags["image"].starts_with("europe-west1-docker.pkg.dev/a-project/pulse/pulse@sha256:"));
    assert!(flags["set-env-vars"].ends_with("PULSE_METRICS=gcp,A=1,B=2"), "{flags:?}");
}

/// With `--oidc-...`, Google's API would refuse every call.
#[test]
fn the_trigger_starts_that_job_every_minute_with_an_oauth_token() {
    let flags = flags(&submit(&[]), "gcloud scheduler jobs create http pulse");
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
    let cloud = Cloud::empty();
    let first = deploy(&cloud, COMMIT, &[]);
    let second = deploy(&cloud, COMMIT, &[]);
    assert_eq!(
        outline(&first),
        [
            "cargo test",
            "gcloud artifacts repositories describe pulse",
            "docker pull",
            "docker build",
            "docker push",
            "npx",
            "gcloud artifacts docker tags list",
            "gcloud run jobs deploy pulse",
            "gcloud scheduler jobs describe pulse",
            "gcloud scheduler jobs create http pulse",
            "gcloud run jobs executions list",
        ]
    );
    assert_eq!(
        outline(&second),
        [
            "cargo test",
            "gcloud artifacts repositories describe pulse",
            "docker pull",
            "docker inspect",
            "npx",
            "gcloud artifacts docker tags list",
            "gcloud run jobs deploy pulse",
            "gcloud scheduler jobs describe pulse",
            "gcloud scheduler jobs update http pulse",
            "gcloud run jobs executions list",
        ]
    );
    for (once, again) in [
        ("gcloud run jobs deploy pulse", "gcloud run jobs deploy pulse"),
        ("gcloud scheduler jobs create http pulse", "gcloud scheduler jobs update http pulse"),
    ] {
        assert_eq!(flags(&first, once), flags(&second, again));
    }
    let third = deploy(&cloud, ANOTHER, &[]);
    assert!(outline(&third).contains(&"docker build".to_owned()));
    let image = |calls: &[Call]| flags(calls, "gcloud run jobs deploy pulse").remove("image");
    assert_ne!(image(&third), image(&second));
}

/// Loops are known by their variable; what has ended, and passes, which are over in a minute, are left alone.
#[test]
fn a_running_loop_is_cancelled_and_what_was_deployed_is_started_instead() {
    let cloud = Cloud::empty();
    cloud.set("loops", "pulse-x7k2p\npulse-b4q9s\n");
    let calls = deploy(&cloud, COMMIT, &[]);
    let ends = outline(&calls);
    assert_eq!(
        ends[ends.len() - 6..],
        [
            "gcloud run jobs executions list",
            "gcloud run jobs executions cancel pulse-x7k2p",
            "gcloud run jobs executions cancel pulse-b4q9s",
            "gcloud run jobs executions describe pulse-x7k2p",
            "gcloud run jobs executions describe pulse-b4q9s",
            "gcloud run jobs execute pulse",
        ]
    );
    let filter = &flags(&calls, "gcloud run jobs executions list")["filter"];
    if let Some(kept) = executions_kept(filter) {
        assert_eq!(kept, ["running loop"]);
    }
}

#[test]
fn what_was_deployed_is_started_when_the_loop_has_ended_also_by_itself() {
    for ends_at_look in ["1", "2", "30"] {
        let cloud = Cloud::empty();
        cloud.set("loops", "pulse-x7k2p");
        cloud.set("ended-by-itself", "");
        cloud.set("ends-at-look", ends_at_look);
        let calls = deploy(&cloud, COMMIT, &[]);
        let looks = after(&calls, "gcloud run jobs executions describe pulse-x7k2p").len();
        assert_eq!((looks.to_string().as_str(), after(&calls, "sleep").len()), (ends_at_look, looks - 1));
        assert_eq!(outline(&calls).last().map(String::as_str), Some("gcloud run jobs execute pulse"));
    }
}

#[test]
fn a_loop_that_does_not_end_is_no_successful_deployment() {
    let cloud = Cloud::empty();
    deploy(&cloud, COMMIT, &[]);
    cloud.set("loops", "pulse-x7k2p");
    cloud.set("ends-at-look", "31");
    let error = Build::read(DEPLOYMENT).submit(&cloud, &[("_TAG", COMMIT)]).expect_err("it still runs");
    assert!(error.starts_with("loop fails") && error.contains("cancel pulse-x7k2p by hand"), "{error}");
    assert_eq!(error.matches("\"describe\"").count(), 31, "thirty, and one of the trigger: {error}");
}

/// Beside a loop a start that leaves it is the newest execution, so none of these goes by what is newest.
#[test]
fn the_docs_end_whatever_runs_and_start_the_job_after_it() {
    let calls = docs_calls();
    let filters: BTreeSet<&str> = after(calls, "gcloud run jobs executions list")
        .into_iter()
        .filter_map(|list| list.iter().find_map(|word| word.strip_prefix("--filter=")))
        .collect();
    let [running] = filters.into_iter().collect::<Vec<_>>()[..] else { panic!("one filter for all") };
    if let Some(kept) = executions_kept(running) {
        assert_eq!(kept, ["running loop", "running pass"]);
    }
    let operate = read("docs/operate.md");
    for heading in ["Stop it, start it", "Roll back"] {
        let (_, section) = operate.split_once(&format!("\n## {heading}\n")).expect("the section");
        let section = section.split("\n## ").next().unwrap_or(section);
        let commands = ["executions list", "executions cancel", "jobs execute pulse"];
        let places = commands.map(|command| section.find(command).expect(command));
        assert!(places.is_sorted() && section.contains(running), "{heading}: {section}");
    }
}

/// The rules of another version than the one that is tested would be a surprise.
#[test]
fn the_docs_deploy_rules_with_the_same_tool() {
    let deployed = submit(&[]);
    let by_hand = docs_calls();
    let [[yes, deployed @ ..]] = &after(&deployed, "npx")[..] else { panic!("{deployed:?}") };
    assert_eq!(yes, "--yes");
    let [by_hand] = after(by_hand, "npx")[..] else { panic!("{by_hand:?}") };
    assert_eq!(deployed[..4], by_hand[..4]);
    assert_eq!(deployed[1..4], ["deploy", "--only", "firestore"]);
    assert!(deployed[0].starts_with("firebase-tools@1"), "{}", deployed[0]);
}

#[test]
fn the_image_is_built_from_the_given_bases_and_says_of_which_commit_it_is() {
    let calls = build(&with_sources(COMMIT), &[]).expect("an image");
    let [arguments] = after(&calls, "docker build")[..] else { panic!("{calls:?}") };
    assert!(arguments.contains(&format!("--build-arg=BUILD_IMAGE={}", digest_of("a"))), "{arguments:?}");
    assert!(arguments.contains(&format!("--build-arg=RUNTIME_IMAGE={}", digest_of("b"))), "{arguments:?}");
    assert!(
        arguments.contains(&format!("--label=org.opencontainers.image.revision={COMMIT}")),
        "{arguments:?}"
    );
    assert!(arguments.contains(&format!("--build-arg=PULSE_COMMIT={COMMIT}")), "{arguments:?}");
    assert!(arguments.contains(&format!("--tag={REGISTRY}:{COMMIT}")), "{arguments:?}");
}

#[test]
fn a_triggers_commit_is_the_tag() {
    let cloud = with_sources("$Format:%H$");
    let calls = build(&cloud, &[("COMMIT_SHA", COMMIT)]).expect("an image");
    assert_eq!(after(&calls, "docker push"), [[format!("{REGISTRY}:{COMMIT}")]]);
    let calls = Build::read(DEPLOYMENT).submit(&cloud, &[("COMMIT_SHA", COMMIT)]).expect("a deployment");
    assert!(flags(&calls, "gcloud run jobs deploy pulse")["image"].starts_with(REGISTRY));
}

/// What an upload of the working tree has in the file, and what somebody may have put there.
#[test]
fn sources_that_are_no_commit_become_no_image() {
    for revision in ["$Format:%H$", "", "latest", &COMMIT[..39], "main", &format!("{COMMIT}-dirty")] {
        let error = build(&with_sources(revision), &[]).expect_err("no commit");
        assert!(error.starts_with("image fails after ") && error.contains("git archive"), "{error}");
        assert!(!error.contains("[\"docker\""), "{error}");
    }
}

#[test]
fn base_images_are_only_taken_by_digest() {
    for base in ["", "rust:1.95.0-bookworm", "rust@sha256:abc", "rust"] {
        for name in ["_BUILD_IMAGE", "_RUNTIME_IMAGE"] {
            let error = build(&with_sources(COMMIT), &[(name, base)]).expect_err("no digest");
            assert!(error.contains("have to end in @sha256:") && !error.contains("[\"docker\""), "{error}");
        }
    }
}

/// The tag of an image that was built from something else is neither overwritten nor believed.
#[test]
fn a_tag_that_exists_is_only_used_for_what_it_was_built_from() {
    let tag = format!("pushed-{}", format!("{REGISTRY}:{COMMIT}").replace('/', "-"));
    let built = with_sources(COMMIT);
    build(&built, &[]).expect("an image");
    let labels = built.noted(&tag);
    for (case, found) in [
        ("no label at all", String::new()),
        ("the label of another commit", labels.replace(COMMIT, ANOTHER)),
        ("the commit's label alone", format!("org.opencontainers.image.revision={COMMIT} ")),
    ] {
        let cloud = with_sources(COMMIT);
        cloud.set(&tag, &found);
        let error = build(&cloud, &[]).expect_err(case);
        assert!(error.contains("Tags never move"), "{case}: {error}");
        assert_eq!(cloud.noted(&tag), found, "{case}");
    }
    let other_base = digest_of("c");
    build(&built, &[("_RUNTIME_IMAGE", &other_base)]).expect_err("another base image");
    built.set("src/main.rs", "something else");
    build(&built, &[]).expect_err("other sources under the same commit");
    assert_eq!(built.noted(&tag), labels);
}

#[test]
fn an_image_that_could_not_be_pulled_is_not_overwritten() {
    let cloud = with_sources(COMMIT);
    build(&cloud, &[]).expect("an image");
    cloud.set("away", "");
    let error = build(&cloud, &[]).expect_err("the tag exists");
    assert!(error.contains("\"docker\", \"push\""), "{error}");
}

#[test]
fn a_repository_whose_tags_can_move_is_not_used() {
    let cloud = with_sources(COMMIT);
    cloud.set("mutable", "");
    let error = build(&cloud, &[]).expect_err("tags can move");
    assert!(error.starts_with("immutable fails") && error.contains("repositories update pulse"), "{error}");
}

#[test]
fn without_a_commit_that_has_an_image_nothing_is_deployed() {
    for (tag, said) in [
        ("", "--substitutions=_TAG="),
        ("latest", "latest is no commit"),
        ("0123456", "0123456 is no commit"),
        (COMMIT, "There is no image of"),
    ] {
        let given = [("_TAG", tag), ("COMMIT_SHA", "")];
        let error = Build::read(DEPLOYMENT).submit(&Cloud::empty(), &given).expect_err("no image");
        assert!(error.starts_with("job fails") && error.contains(said), "{error}");
        assert!(!error.contains("\"deploy\""), "{error}");
    }
}

/// Whoever can act as the job can read every key.
#[test]
fn only_googles_own_tools_run_as_an_account_that_can_act_as_another() {
    let programs = |file: &str| -> BTreeSet<String> {
        let cloud = with_sources(COMMIT);
        build(&cloud, &[]).expect("an image");
        let calls = match file {
            IMAGE => build(&with_sources(COMMIT), &[]),
            _ => Build::read(file).submit(&cloud, &[("_TAG", COMMIT)]),
        };
        calls.expect(file).into_iter().map(|call| call[0].clone()).collect()
    };
    assert_eq!(
        FILES.map(programs).map(|programs| programs.into_iter().collect::<Vec<_>>().join(" ")),
        ["cargo", "docker gcloud", "npx", "gcloud"]
    );
    let calls = docs_calls();
    let account = |file: &str| {
        let builds = after(calls, "gcloud builds submit");
        let build = builds.iter().find(|build| build.contains(&format!("--config={file}"))).expect(file);
        let flag = build.iter().find_map(|word| word.strip_prefix("--service-account=")).expect("an account");
        flag.rsplit('/').next().unwrap_or(flag).to_owned()
    };
    let acting = after(calls, "gcloud iam service-accounts add-iam-policy-binding");
    let acting: BTreeSet<&str> = acting
        .iter()
        .flat_map(|grant| grant.iter().filter_map(|word| word.strip_prefix("--member=serviceAccount:")))
        .collect();
    assert_eq!(acting, [account(DEPLOYMENT).as_str()].into());
    let accounts = FILES.map(account);
    assert_eq!(accounts.iter().collect::<BTreeSet<_>>().len(), 4, "{accounts:?}");
}

/// The rights of each account that runs builds, as the docs grant them.
#[test]
fn the_accounts_that_run_builds_can_do_no_more_than_their_build() {
    let calls = docs_calls();
    let roles = |name: &str| -> String {
        let member = format!("--member=serviceAccount:{name}@my-project.iam.gserviceaccount.com");
        let grants = calls.iter().filter(|call| call.contains(&member));
        let roles = grants.filter_map(|call| call.iter().find_map(|word| word.strip_prefix("--role=roles/")));
        roles.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(roles("pulse-test"), "logging.logWriter storage.objectViewer");
    assert_eq!(roles("pulse-build"), "artifactregistry.writer logging.logWriter storage.objectViewer");
    let rules = "datastore.indexAdmin firebaserules.admin logging.logWriter serviceusage.serviceUsageConsumer storage.objectViewer";
    assert_eq!(roles("pulse-rules"), rules);
    let deploy = "artifactregistry.reader cloudscheduler.admin iam.serviceAccountUser logging.logWriter run.developer storage.objectViewer";
    assert_eq!(roles("pulse-deploy"), deploy);
}

/// What the docs upload names its commit, and has nothing that is not committed.
#[test]
fn an_archive_says_which_commit_it_is() {
    let directory = new_directory();
    fs::create_dir(directory.join("deploy")).expect("our own directory");
    for file in ["deploy/revision", "deploy/.gitattributes"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), directory.join(file)).expect(file);
    }
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").args(identity).args(arguments).current_dir(&directory).output();
        let output = output.expect("git runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "x"]);
    fs::write(directory.join("deploy/dirty"), "not committed").expect("our own directory");
    let commit = git(&["rev-parse", "HEAD"]);
    let archive = git(&["archive", "HEAD"]);
    let _ = fs::remove_dir_all(&directory);
    assert!(archive.contains(&commit) && !archive.contains("$Format") && !archive.contains("not committed"));
}

/// A failing step that went unnoticed would deploy what was not tested, or not pushed.
#[test]
fn every_script_stops_at_the_first_failure() {
    for step in Build::all().flat_map(|(_, build)| build.steps) {
        let beginning: Vec<&str> = step.script.lines().take(2).collect();
        assert_eq!(beginning, ["#!/usr/bin/env bash", "set -euo pipefail"], "{}", step.id);
    }
}

#[test]
fn the_docs_create_what_the_defaults_name() {
    let (substitutions, calls) = (Build::read(DEPLOYMENT).substitutions, docs_calls());
    let created: BTreeSet<&String> =
        after(calls, "gcloud iam service-accounts create").into_iter().map(|account| &account[0]).collect();
    assert!(created.contains(&substitutions["_SERVICE_ACCOUNT"]), "{created:?}");
    assert!(created.contains(&substitutions["_SCHEDULER_ACCOUNT"]), "{created:?}");
    let [repository] = after(calls, "gcloud artifacts repositories create")[..] else {
        panic!("one repository")
    };
    assert_eq!(repository[0], substitutions["_REPOSITORY"]);
    assert_eq!(repository[0], Build::read(IMAGE).substitutions["_REPOSITORY"]);
    assert!(repository.contains(&"--immutable-tags".to_owned()), "{repository:?}");
    let invoker = flags(calls, &format!("gcloud run jobs add-iam-policy-binding {}", substitutions["_JOB"]));
    assert_eq!(invoker["role"], "roles/run.invoker");
    let account =
        format!("serviceAccount:{}@my-project.iam.gserviceaccount.com", substitutions["_SCHEDULER_ACCOUNT"]);
    assert_eq!(invoker["member"], account);
}
