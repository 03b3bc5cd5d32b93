//! `pulse doctor`: every check, fine, wrong, and not to be seen.

use super::{TEN_MINUTES, findings};
use crate::world::{Run, World, sandbox, secret_of};
use crate::wrong_clock::faketime;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use tokio::process::Command;

const CHECKS: [&str; 14] = [
    "Identity",
    "Firestore",
    "TroubleQuery",
    "Secrets",
    "Clock",
    "Database",
    "Indexes",
    "Expiry",
    "Rules",
    "AuditLogs",
    "Job",
    "Schedule",
    "Writes",
    "Alpaca",
];

fn command(world: &World, args: &[&str]) -> Command {
    let mut command = world.bare_command(&[&["doctor", "--json"], args].concat());
    command.envs(world.sandbox.admin_exports());
    command
}

async fn told(mut command: Command) -> (Json, Option<i32>) {
    let run = Run::of(&mut command).await;
    assert!(!run.stdout.contains("hush") && !run.stderr.contains("hush"), "no secret: {}", run.stdout);
    let object = serde_json::from_str(&run.stdout);
    (object.unwrap_or_else(|err| panic!("{err}: {}{}", run.stdout, run.stderr)), run.exit)
}

async fn examined(world: &World) -> (Json, Option<i32>) {
    told(command(world, &["--region=us-central1"])).await
}

fn states(object: &Json) -> BTreeMap<String, String> {
    findings(object).into_iter().collect()
}

/// That all checks are as they are in a healthy project, but these.
fn assert_all_but(object: &Json, others: &[(&str, &str)]) {
    let mut expected: BTreeMap<_, _> = CHECKS.map(|check| (check.to_owned(), "ok".to_owned())).into();
    expected.extend(others.iter().map(|(check, state)| ((*check).to_owned(), (*state).to_owned())));
    assert_eq!(states(object), expected, "{object:#}");
}

fn finding<'a>(object: &'a Json, check: &str) -> &'a Json {
    let mut findings = object["findings"].as_array().expect("a list").iter();
    findings.find(|finding| finding["reason"] == check).expect(check)
}

async fn world() -> World {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_set_up_as_the_docs_say_is_fine() {
    let world = world().await;
    let (object, exit) = examined(&world).await;
    assert_all_but(&object, &[]);
    assert_eq!((exit, &object["used"]["secret_accesses"]), (Some(0), &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_found_with_the_command_that_mends_it() {
    let world = world().await;
    world.sandbox.admin().set_up_badly();
    let (object, exit) = examined(&world).await;
    let wrong = [
        ("Database", "failed"),
        ("Indexes", "skipped"),
        ("Expiry", "skipped"),
        ("Rules", "skipped"),
        ("AuditLogs", "warning"),
        ("Job", "failed"),
        ("Schedule", "failed"),
        ("Writes", "unknown"),
    ];
    assert_all_but(&object, &wrong);
    assert_eq!(exit, Some(3));
    let project = &world.project;
    for (check, mend) in [
        (
            "Database",
            format!("gcloud firestore databases create --database=pulse --location=nam5 --project={project}"),
        ),
        (
            "Job",
            format!(
                "gcloud run jobs update pulse --project={project} --region=us-central1 \
                 --update-env-vars=GCP_PROJECT={project},PULSE_DATABASE=pulse"
            ),
        ),
        (
            "Schedule",
            format!("gcloud scheduler jobs resume pulse --project={project} --location=us-central1"),
        ),
        (
            "Writes",
            format!(
                "gcloud run jobs execute pulse --project={project} --region=us-central1 --wait \
                 --args=doctor,--region=us-central1"
            ),
        ),
    ] {
        assert_eq!(finding(&object, check)["mend"], mend, "{check}");
    }
    for check in ["Indexes", "Expiry", "Rules"] {
        assert_eq!(finding(&object, check)["sentence"], "Not checked, because of Database.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_deployed_is_found_with_the_command_and_where_it_works() {
    let world = world().await;
    for fault in [
        r#"admin/ListFields:body={"fields": []}"#,
        r#"admin/ListIndexes:body={}"#,
        r#"admin/GetRuleset:body={"source": {"files": []}}"#,
    ] {
        world.fault(fault);
    }
    let (object, exit) = examined(&world).await;
    assert_all_but(&object, &["Indexes", "Expiry", "Rules"].map(|check| (check, "failed")));
    assert_eq!(exit, Some(3));
    for (check, what) in [("Indexes", "indexes"), ("Expiry", "indexes"), ("Rules", "rules")] {
        let found = finding(&object, check);
        let mend = format!("npx firebase-tools deploy --only firestore:{what} --project={}", world.project);
        assert_eq!(found["mend"], mend, "{check}");
        assert!(found["sentence"].to_string().contains("In a checkout of pulse"), "{found}");
    }
}

/// A right that was lost stops the pulses, and nothing else tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_may_not_write_is_no_job_in_good_order() {
    let as_job = |world: &World| {
        let mut command = command(world, &["--region=us-central1"]);
        command.env("CLOUD_RUN_EXECUTION", "pulse-x");
        command
    };
    let world = world().await;
    world.age_pulse(TEN_MINUTES).await;
    world.fault("firestore/Commit:error=PERMISSION_DENIED");
    let (object, exit) = examined(&world).await;
    assert_all_but(&object, &[("Writes", "unknown")]);
    assert_eq!(exit, Some(1));
    let found = finding(&object, "Writes");
    let sentence = found["sentence"].to_string();
    assert!(sentence.contains("ended 10 min ago") && sentence.contains("is not known"), "{sentence}");
    assert!(found["mend"].to_string().contains("resource.labels.job_name"), "{found}");
    // What the job itself is told of its rights is certain.
    world.fault(r#"admin/TestIamPermissions:body={"permissions": ["datastore.entities.update"]}"#);
    let (object, _) = examined(&world).await;
    let looks = "Whoever looks here may not write (datastore.entities.create, datastore.entities.delete).";
    assert!(finding(&object, "Writes")["sentence"].to_string().contains(looks), "{object}");
    let object = object_of(&Run::of(&mut as_job(&world)).await);
    let found = finding(&object, "Writes");
    assert_eq!(found["state"], "failed", "{found}");
    let sentence = found["sentence"].to_string();
    assert!(sentence.contains("datastore.entities.create, datastore.entities.delete"), "{sentence}");
    let grant = format!("gcloud projects add-iam-policy-binding {} --member=", world.project);
    let mend = found["mend"].as_str().expect("a command");
    assert!(mend.starts_with(&grant) && mend.contains("--role=roles/datastore.user"), "{mend}");
}

/// The object, behind which a job's log goes on.
fn object_of(run: &Run) -> Json {
    let first = serde_json::Deserializer::from_str(&run.stdout).into_iter().next();
    first.and_then(Result::ok).unwrap_or_else(|| panic!("{}{}", run.stdout, run.stderr))
}

/// Every admin API's refusal is what cannot be seen, and why; what needs it is skipped.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_unknown_with_the_right_that_is_missing() {
    let policy = [("AuditLogs", "unknown"), ("Writes", "unknown")];
    let job = [("Job", "unknown"), ("Writes", "skipped")];
    for (method, right, others) in [
        ("GetDatabase", "datastore.databases.getMetadata", &[("Database", "unknown")][..]),
        ("ListFields", "datastore.indexes.list", &[("Indexes", "unknown"), ("Expiry", "skipped")]),
        ("ListIndexes", "datastore.indexes.list", &[("Indexes", "unknown")]),
        ("GetRelease", "firebaserules.rulesets.get", &[("Rules", "unknown")]),
        ("GetRuleset", "firebaserules.rulesets.get", &[("Rules", "unknown")]),
        ("GetIamPolicy", "resourcemanager.projects.getIamPolicy", &policy),
        ("GetRunJob", "run.jobs.get", &job),
        ("ListExecutions", "run.executions.list", &[("Job", "unknown")]),
        ("GetSchedulerJob", "cloudscheduler.jobs.get", &[("Schedule", "unknown")]),
    ] {
        for (fault, words) in [
            ("error=403,reason=IAM_PERMISSION_DENIED", right),
            ("error=403,reason=SERVICE_DISABLED", "is not enabled"),
            ("error=403,reason=SECURITY_POLICY_VIOLATED", "VPC Service Controls"),
            ("error=401", "did not say"),
            ("error=503", "did not say"),
        ] {
            let world = world().await;
            world.fault(&format!("admin/{method}:{fault}"));
            let (object, exit) = examined(&world).await;
            assert_all_but(&object, others);
            assert_eq!(exit, Some(1));
            for (check, _) in others.iter().filter(|(_, state)| *state == "unknown") {
                let sentence = finding(&object, check)["sentence"].to_string();
                assert!(sentence.contains(words), "{method} {fault}: {sentence}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_has_failed() {
    let elsewhere = world().await;
    let (object, exit) = told(command(&elsewhere, &["--region=europe-west1"])).await;
    assert_all_but(&object, &[("Job", "failed"), ("Schedule", "skipped"), ("Writes", "skipped")]);
    assert_eq!(exit, Some(3));
    let skipped = ["Indexes", "Expiry", "Rules"].map(|check| (check, "skipped"));
    let database = [&[("Database", "failed")], &skipped[..]].concat();
    for (method, others) in [
        ("GetDatabase", &database[..]),
        ("GetRelease", &[("Rules", "failed")]),
        ("GetSchedulerJob", &[("Schedule", "failed")]),
    ] {
        let world = world().await;
        world.fault(&format!("admin/{method}:error=404"));
        let (object, exit) = examined(&world).await;
        assert_all_but(&object, others);
        assert_eq!(exit, Some(3), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_region_the_job_is_unknown() {
    let world = world().await;
    let (object, exit) = told(command(&world, &[])).await;
    assert_all_but(&object, &[("Job", "unknown"), ("Schedule", "skipped"), ("Writes", "skipped")]);
    assert_eq!(exit, Some(1));
    let mut command = command(&world, &[]);
    command.env("REGION", "us-central1");
    assert_all_but(&told(command).await.0, &[]);
}

/// The job and its trigger as they are set up, with another start.
fn deployed(world: &World, variables: &[(&str, &str)], task_timeout: &str, schedule: &str) {
    let message = |method| world.sandbox.admin().message(method, false).expect("an answer");
    let mut job = message("GetRunJob");
    let task = &mut job["template"]["template"];
    task["timeout"] = task_timeout.into();
    let env = task["containers"][0]["env"].as_array_mut().expect("a list");
    env.extend(variables.iter().map(|(name, value)| json!({"name": name, "value": value})));
    let mut trigger = message("GetSchedulerJob");
    trigger["schedule"] = schedule.into();
    for (method, answer) in [("GetRunJob", job), ("GetSchedulerJob", trigger)] {
        let body = answer.to_string().replace('\\', "\\\\").replace(',', "\\,");
        world.fault(&format!("admin/{method}:body={body}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_job_does_is_what_its_variables_say() {
    let every = [("PULSE_EVERY", "60s"), ("PULSE_FOR", "23h45m")];
    let (minute, quarter) = ("* * * * *", "*/15 * * * *");
    for (variables, timeout, schedule, others) in [
        (&every[..], "86400s", quarter, &[][..]),
        (&every, "86400s", "0 * * * *", &[("Schedule", "warning")]),
        (&[("PULSE_DRY_RUN", "true")], "300s", minute, &[("Job", "failed")]),
        (&[("PULSE_WHERE", "active=true")], "300s", minute, &[("Job", "warning")]),
    ] {
        let world = world().await;
        deployed(&world, variables, timeout, schedule);
        assert_all_but(&examined(&world).await.0, others);
    }
    // One that goes on long after the next start.
    let running = world().await;
    let hanging = r#"{"name": "pulse-x7k2p"\, "createTime": "2026-11-20T08:00:00Z"}"#;
    running.fault(&format!("admin/ListExecutions:body={{\"executions\": [{hanging}]}}"));
    let (object, _) = examined(&running).await;
    assert_all_but(&object, &[("Job", "warning")]);
    assert!(
        finding(&object, "Job")["mend"].to_string().contains("executions cancel pulse-x7k2p"),
        "{object}"
    );
    // The operator's own flags go with what is suggested.
    let world = world().await;
    deployed(&world, &[("PULSE_DATABASE", "other")], "300s", minute);
    let (object, _) = told(command(&world, &["--region=us-central1", "--job=trading"])).await;
    let mend = format!(
        "pulse doctor --project={} --region=us-central1 --job=trading --database=other",
        world.project
    );
    assert_eq!(finding(&object, "Job")["mend"], mend);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_is_asked_for_nothing_that_it_has_not() {
    let world = world().await;
    let (object, exit) = told(world.bare_command(&["doctor", "--json", "--region=us-central1"])).await;
    let skipped = ["Database", "Indexes", "Expiry", "Rules", "AuditLogs", "Job", "Schedule", "Writes"];
    assert_all_but(&object, &skipped.map(|check| (check, "skipped")));
    assert_eq!(exit, Some(0));
}

/// The services that the job itself calls.
#[tokio::test(flavor = "multi_thread")]
async fn each_service_that_does_not_answer_is_the_cause_and_what_needs_it_is_skipped() {
    let of_firestore = ["TroubleQuery", "Secrets", "Clock", "Writes"].map(|check| (check, "skipped"));
    let with_firestore = |state| [[("Firestore", state)].as_slice(), &of_firestore].concat();
    for (fault, expected, code) in [
        ("firestore:error=PERMISSION_DENIED", with_firestore("unknown"), 1),
        ("firestore:error=NOT_FOUND", with_firestore("failed"), 3),
        (
            "firestore/RunQuery:error=FAILED_PRECONDITION,message=The query requires an index.",
            vec![("TroubleQuery", "failed"), ("Secrets", "failed")],
            3,
        ),
        (
            "firestore/RunQuery:error=PERMISSION_DENIED",
            vec![("TroubleQuery", "unknown"), ("Secrets", "unknown")],
            1,
        ),
        ("firestore/RunQuery:error=UNAVAILABLE", vec![("TroubleQuery", "failed"), ("Secrets", "failed")], 3),
        ("secret-manager:error=403,reason=IAM_PERMISSION_DENIED", vec![("Secrets", "unknown")], 1),
        ("secret-manager:error=500", vec![("Secrets", "failed")], 3),
        ("alpaca:error=503", vec![("Alpaca", "failed")], 3),
    ] {
        let world = world().await;
        world.fault(fault);
        let (object, exit) = examined(&world).await;
        assert_all_but(&object, &expected);
        assert_eq!(exit, Some(code), "{fault}");
        // What passes by itself is mended by no deployment.
        let has_mend = finding(&object, "TroubleQuery")["mend"].is_string();
        assert!(!(fault.ends_with("UNAVAILABLE") && has_mend), "{object}");
    }
}

/// Of the job alone: others in the project have errors too.
const JOBS_LOG: &str =
    "gcloud logging read 'resource.type=\"cloud_run_job\" resource.labels.job_name=\"pulse\" ";

/// Which right is missing is said where Google says that one is.
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_explained_as_far_as_google_does() {
    for (fault, check, words, mend) in [
        (
            "firestore:error=PERMISSION_DENIED,reason=SERVICE_DISABLED",
            "Firestore",
            "is not enabled",
            "gcloud services enable firestore.googleapis.com",
        ),
        (
            "firestore:error=PERMISSION_DENIED,reason=IAM_PERMISSION_DENIED",
            "Firestore",
            "lacks the right datastore.entities.get",
            "gcloud projects add-iam-policy-binding",
        ),
        ("firestore:error=PERMISSION_DENIED", "Firestore", "is not known", JOBS_LOG),
        (
            "secret-manager:error=403,reason=SERVICE_DISABLED",
            "Secrets",
            "is not enabled",
            "gcloud services enable secretmanager.googleapis.com",
        ),
        (
            "secret-manager:error=403,reason=IAM_PERMISSION_DENIED",
            "Secrets",
            "lacks the right secretmanager.versions.access",
            "gcloud projects add-iam-policy-binding",
        ),
        ("secret-manager:error=403", "Secrets", "is not known", JOBS_LOG),
        ("secret-manager:error=403,reason=SECURITY_POLICY_VIOLATED", "Secrets", "perimeter", ""),
        ("admin/GetDatabase:error=403", "Database", "why is not known", ""),
    ] {
        let world = world().await;
        world.fault(fault);
        let (object, _) = examined(&world).await;
        let found = finding(&object, check);
        let sentence = found["sentence"].to_string();
        assert_eq!(found["state"], "unknown", "{fault}: {found}");
        assert!(sentence.contains(words) && !sentence.contains("is missing"), "{fault}: {sentence}");
        let told = found["mend"].as_str().unwrap_or_default();
        assert!(told.starts_with(mend) && told.is_empty() == mend.is_empty(), "{fault}: {told}");
    }
}

/// A connection that breaks off is as good as none.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_break_off_or_answer_with_an_error_have_failed() {
    let edge = "alpaca:error=403,header=Content-Type: text/html,body=<html>Access denied</html>";
    for fault in ["alpaca:drop-before", "alpaca:error=500", edge] {
        let world = world().await;
        world.fault(fault);
        let (object, exit) = examined(&world).await;
        assert_all_but(&object, &[("Alpaca", "failed")]);
        assert_eq!(exit, Some(3), "{fault}");
        let sentence = finding(&object, "Alpaca")["sentence"].to_string();
        assert_eq!(sentence.contains("what answers is not Alpaca (403, HTML)"), fault == edge, "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_found() {
    let Some(library) = faketime() else { return };
    let world = world().await;
    let mut command = command(&world, &["--region=us-central1"]);
    command.env("LD_PRELOAD", library).env("FAKETIME", "+2h").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let (object, exit) = told(command).await;
    assert_all_but(&object, &[("Clock", "failed")]);
    assert_eq!(exit, Some(3));
    assert!(finding(&object, "Clock")["sentence"].to_string().contains("s ahead of Firestore's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_keys_is_no_fault_of_the_project() {
    let world = world().await;
    world.sandbox.secrets().delete(&secret_of("ana"));
    let (object, exit) = examined(&world).await;
    assert_all_but(&object, &[("Secrets", "warning")]);
    assert_eq!(exit, Some(0));
    let empty = sandbox().await;
    assert_all_but(&examined(&empty).await.0, &[("Secrets", "skipped")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_everything_of_googles_is_skipped() {
    let world = world().await;
    let mut command = command(&world, &["--region=us-central1"]);
    command
        .env_remove("FIRESTORE_EMULATOR_HOST")
        .env_remove("SECRET_MANAGER_EMULATOR_HOST")
        .env("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file");
    let (object, exit) = told(command).await;
    let skipped = CHECKS.iter().filter(|check| !["Identity", "Alpaca"].contains(check));
    let expected: Vec<_> = skipped.map(|check| (*check, "skipped")).chain([("Identity", "failed")]).collect();
    assert_all_but(&object, &expected);
    assert_eq!(exit, Some(3));
    let last = object["findings"].as_array().and_then(|all| all.last()).expect("a finding");
    assert_eq!(last["mend"], "unset GOOGLE_APPLICATION_CREDENTIALS");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_job_every_finding_is_a_line_of_the_log_and_what_is_wrong_a_warning() {
    let world = world().await;
    world.sandbox.admin().set_up_badly();
    let mut command = world.bare_command(&["doctor", "--region=us-central1"]);
    command.envs(world.sandbox.admin_exports()).env("CLOUD_RUN_EXECUTION", "pulse-x");
    let run = Run::of(&mut command).await;
    assert_eq!(run.exit, Some(0), "{}", run.stdout);
    let lines = run.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of the log"));
    let lines: Vec<Json> = lines.collect();
    for check in CHECKS {
        assert_eq!(lines.iter().filter(|line| line["reason"] == check).count(), 1, "{check}: {lines:#?}");
    }
    let severity =
        |check: &str| lines.iter().find(|line| line["reason"] == check).map(|line| &line["severity"]);
    for (check, expected) in [("Clock", "INFO"), ("Rules", "INFO"), ("Job", "WARNING")] {
        assert_eq!(severity(check), Some(&expected.into()), "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_fits_a_terminal() {
    let world = world().await;
    world.sandbox.admin().set_up_badly();
    for columns in [80, 160] {
        let mut command = world.bare_command(&["doctor", "--region=us-central1"]);
        command.envs(world.sandbox.admin_exports());
        let (exit, shown) = crate::terminal::run_on_terminal(&mut command, columns).await;
        assert_eq!(exit, Some(3), "{shown}");
        for line in crate::terminal::plain(&shown) {
            let is_command = line.trim_start().starts_with("$ ");
            assert!(is_command || line.chars().count() <= columns.into(), "{line:?}");
        }
    }
}
