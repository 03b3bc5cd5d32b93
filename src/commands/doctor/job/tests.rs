use super::*;
use serde_json::json;

const UPDATE: &str = "gcloud run jobs update pulse";

fn a_job(change: impl FnOnce(&mut Json)) -> Judged {
    let mut task = json!({
        "containers": [{
            "env": [
                {"name": "GCP_PROJECT", "value": "p"},
                {"name": "PULSE_CONCURRENCY", "value": "64"},
                {"name": "PULSE_LEGACY_TENANT_PATH", "value": "on"},
            ],
            "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
        }],
        "maxRetries": 1, "timeout": "300s", "serviceAccount": "pulse-job@p.iam.gserviceaccount.com",
    });
    change(&mut task);
    let database = Database::parse("p", "(default)").expect("legal");
    job(&json!({"template": {"taskCount": 1, "template": task}}), &wanted(&database))
}

fn wanted(database: &Database) -> Wanted<'_> {
    Wanted {
        database,
        another: None,
        update: UPDATE,
        look: "pulse doctor --project=p",
        flags: "--project=p --region=r",
        now: Timestamp::UNIX_EPOCH,
        gap: Some(Duration::from_mins(15)),
        executions: &Json::Null,
    }
}

/// The same with those variables, and arguments if there are any.
fn started(args: &[&str], variables: &[(&str, &str)]) -> Judged {
    a_job(|task| {
        let container = &mut task["containers"][0];
        if !args.is_empty() {
            container["args"] = json!(args);
        }
        let env = container["env"].as_array_mut().expect("a list");
        for (name, value) in variables {
            env.retain(|set| set["name"] != *name);
            env.push(json!({"name": name, "value": value}));
        }
    })
}

#[test]
fn a_job_of_other_values_is_a_warning_and_one_of_another_project_is_broken() {
    assert_eq!(a_job(|_| {}).state, CheckState::Ok);
    let other = a_job(|task| task["timeout"] = json!("600s"));
    assert_eq!(
        (other.state, other.mend.as_deref()),
        (CheckState::Warning, Some("gcloud run jobs update pulse --task-timeout=5m"))
    );
    assert!(other.sentence.contains("task-timeout is \"600s\""), "{}", other.sentence);
    let more = a_job(|task| {
        task["containers"][0]["env"][1]["value"] = json!("256");
        task["containers"][0]["resources"]["limits"]["memory"] = json!("1Gi");
    });
    let mend = "gcloud run jobs update pulse --memory=512Mi --update-env-vars=PULSE_CONCURRENCY=64";
    assert_eq!(more.mend.as_deref(), Some(mend));
    assert_eq!(a_job(|task| task["containers"][0]["env"][0]["value"] = json!("q")).state, CheckState::Failed);
    assert_eq!(a_job(|task| *task = json!({})).state, CheckState::Failed);
}

/// What the job does is what its arguments and variables say.
#[test]
fn what_a_job_leaves_out_is_told_with_the_command_that_ends_it() {
    use CheckState::{Failed, Ok, Warning};
    for (args, variables, state, words, mend) in [
        (&["sync"][..], &[][..], Ok, "as cloudbuild.yaml", ""),
        (&[], &[("PULSE_DRY_RUN", "true")], Failed, "writes nothing", " --remove-env-vars=PULSE_DRY_RUN"),
        (&[], &[("PULSE_DRY_RUN", "false")], Ok, "", ""),
        (
            &["sync", "--dry-run", "--diff"],
            &[],
            Failed,
            "writes nothing, by its --dry-run",
            " --args=sync,--diff",
        ),
        (&["doctor", "--region=r"], &[], Failed, "runs `pulse doctor`", " --args=sync"),
        (&[], &[("GCP_PROJECT", ""), ("GCLOUD_PROJECT", "p")], Ok, "", ""),
        (
            &["sync", "--project=q"],
            &[],
            Failed,
            "project \"q\", by its --project",
            " --args=sync --update-env-vars=GCP_PROJECT=p",
        ),
        (
            &[],
            &[("FIRESTORE_EMULATOR_HOST", "h:1")],
            Failed,
            "instead of Google",
            " --remove-env-vars=FIRESTORE_EMULATOR_HOST",
        ),
        (
            &[],
            &[("PULSE_USERS", "ana,ben"), ("PULSE_WHERE", "a=1")],
            Warning,
            "PULSE_USERS is \"ana,ben\", so that only those users are synced, and ops/last_pulse is left alone, PULSE_WHERE",
            " --remove-env-vars=PULSE_USERS,PULSE_WHERE",
        ),
        (&["sync", "--where", "a=1"], &[], Warning, "only users who match", " --args=sync"),
        (&[], &[("PULSE_LOG_FORMAT", "text")], Warning, "no alert", " --remove-env-vars=PULSE_LOG_FORMAT"),
        (&[], &[("PULSE_LOG_FORMAT", "json")], Ok, "", ""),
        (
            &[],
            &[("APCA_API_BASE_URL", "https://x")],
            Warning,
            "all keys go to that host",
            " --remove-env-vars=APCA_API_BASE_URL",
        ),
        (&["sync", "--concurrency=8"], &[], Warning, "--concurrency is \"8\"", " --args=sync"),
        (&[], &[("PULSE_ALPACA_CALLS_PER_SECOND", "9"), ("PULSE_STORE_RAW", "on")], Ok, "", ""),
    ] {
        let judged = started(args, variables);
        assert_eq!(judged.state, state, "{args:?} {variables:?}: {}", judged.sentence);
        assert!(judged.sentence.contains(words), "{args:?} {variables:?}: {}", judged.sentence);
        let expected = (!mend.is_empty()).then(|| format!("{UPDATE}{mend}"));
        assert_eq!(judged.mend, expected, "{args:?} {variables:?}");
    }
}

/// Which of the two is the right one, nobody but the operator knows: so nothing is changed.
#[test]
fn a_job_of_another_database_is_not_what_is_looked_at() {
    for (args, variables, look) in [
        (&["sync", "--database=d"][..], &[][..], "--database=d"),
        (&[], &[("PULSE_DATABASE", "d")], "--database=d"),
        (&[], &[("PULSE_DATABASE", "$(ls)")], "--database='$(ls)'"),
    ] {
        let judged = started(args, variables);
        assert_eq!(judged.state, CheckState::Failed, "{variables:?}");
        assert_eq!(judged.mend, Some(format!("pulse doctor --project=p {look}")));
    }
    assert_eq!(started(&[], &[("PULSE_DATABASE", "(default)")]).state, CheckState::Ok);
}

#[test]
fn an_execution_that_failed_leads_to_its_log() {
    let database = Database::parse("p", "(default)").expect("legal");
    for (status, is_failed) in
        [("EXECUTION_SUCCEEDED", false), ("EXECUTION_FAILED", true), ("EXECUTION_RUNNING", false)]
    {
        let last = json!({"name": "projects/p/locations/r/jobs/pulse/executions/pulse-x7k2p", "completionStatus": status});
        let found = of_execution(&json!({"latestCreatedExecution": last}), &database);
        let mend = found.and_then(|found| found.mend);
        let log = "gcloud logging read 'labels.\"run.googleapis.com/execution_name\"=\"pulse-x7k2p\" severity>=WARNING' \
                   --project=p --limit=10 --format='value(jsonPayload.message,textPayload)'";
        assert_eq!(mend.as_deref(), is_failed.then_some(log), "{status}");
    }
}

/// With its project the job gets the database that is looked at, or the one that is to be made.
#[test]
fn a_job_of_another_project_gets_the_database_too() {
    for (args, variables, looked_at, another, flags) in [
        (&["sync"][..], json!([]), "(default)", None, " --update-env-vars=GCP_PROJECT=p"),
        (
            &["sync"],
            json!([]),
            "(default)",
            Some("pulse"),
            " --update-env-vars=GCP_PROJECT=p,PULSE_DATABASE=pulse",
        ),
        (&["sync"], json!([]), "named", None, " --update-env-vars=GCP_PROJECT=p,PULSE_DATABASE=named"),
        (
            &["sync", "--database=named"],
            json!([]),
            "(default)",
            None,
            " --args=sync --update-env-vars='GCP_PROJECT=p,PULSE_DATABASE=(default)'",
        ),
        (
            &["sync"],
            json!([{"name": "PULSE_DATABASE", "value": "named"}]),
            "named",
            None,
            " --update-env-vars=GCP_PROJECT=p",
        ),
    ] {
        let database = Database::parse("p", looked_at).expect("legal");
        let answer = json!({"template": {"template": {"containers": [{"args": args, "env": variables}]}}});
        let judged = job(&answer, &Wanted { another, ..wanted(&database) });
        assert_eq!(judged.mend, Some(format!("{UPDATE}{flags}")), "{args:?} {looked_at} {another:?}");
    }
}

#[test]
fn an_execution_that_goes_on_beyond_its_time_is_told_with_what_ends_it() {
    let database = Database::parse("p", "(default)").expect("legal");
    let mend = "gcloud run jobs executions describe pulse-x7k2p --project=p --region=r && \
                gcloud run jobs executions cancel pulse-x7k2p --project=p --region=r";
    let of_a_loop = ["sync", "--every=60s", "--for=1h"];
    let (quarter, day) = (Some(Duration::from_mins(15)), None);
    for (args, status, minutes, gap, is_told) in [
        (&["sync"][..], "EXECUTION_RUNNING", 16, quarter, true),
        (&["sync"], "EXECUTION_PENDING", 16, quarter, true),
        (&["sync"], "", 16, quarter, true),
        (&["sync"], "EXECUTION_CANCELLED", 16, quarter, false),
        (&["sync"], "EXECUTION_SUCCEEDED", 16, quarter, false),
        (&["sync"], "EXECUTION_RUNNING", 15, quarter, false),
        (&["sync"], "EXECUTION_RUNNING", 5, Some(Duration::from_mins(1)), false),
        (&["sync"], "EXECUTION_RUNNING", 6, Some(Duration::from_mins(1)), true),
        (&["sync"], "EXECUTION_RUNNING", 600, day, false),
        (&of_a_loop, "EXECUTION_RUNNING", 65, quarter, false),
        (&of_a_loop, "EXECUTION_RUNNING", 66, quarter, true),
    ] {
        let last = json!({
            "name": "projects/p/locations/r/jobs/pulse/executions/pulse-x7k2p",
            "createTime": "1970-01-01T00:00:00.000000Z",
            "completionStatus": status,
        });
        let template = json!({"template": {"containers": [{"args": args}]}});
        let answer = json!({"latestCreatedExecution": last, "template": template});
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes);
        let told = of_running(&Job::of(&answer), &Wanted { now, gap, ..wanted(&database) });
        assert!(told.as_ref().is_none_or(|told| told.state == CheckState::Warning));
        let mend_told = told.and_then(|told| told.mend);
        assert_eq!(mend_told.as_deref(), is_told.then_some(mend), "{args:?} {status} {minutes}");
        // Behind others that had nothing to do.
        let newer = json!({"name": "newer", "createTime": "1970-01-01T00:00:01Z", "completionTime": "1970-01-01T00:00:02Z"});
        let executions = json!({"executions": [newer, answer["latestCreatedExecution"]]});
        let listed = Wanted { now, gap, executions: &executions, ..wanted(&database) };
        let answer = json!({"latestCreatedExecution": newer, "template": answer["template"]});
        let told = of_running(&Job::of(&answer), &listed);
        assert_eq!(told.and_then(|told| told.mend).as_deref(), is_told.then_some(mend), "{args:?} {status}");
    }
}

#[test]
fn a_loop_is_well_if_it_may_last_and_each_start_of_another_is_refused() {
    let every = ("PULSE_EVERY", "60s");
    let length = ("PULSE_FOR", "23h45m");
    for (timeout, variables, mend) in [
        ("86400s", &[every, length][..], None),
        ("300s", &[every, length], Some(" --task-timeout=24h")),
        ("86400s", &[every], Some(" --remove-env-vars=PULSE_EVERY")),
        ("86400s", &[length], Some(" --remove-env-vars=PULSE_FOR")),
        ("300s", &[every, ("PULSE_FOR", "4m")], None),
    ] {
        let judged = a_job(|task| {
            task["timeout"] = json!(timeout);
            let env = task["containers"][0]["env"].as_array_mut().expect("a list");
            env.extend(variables.iter().map(|(name, value)| json!({"name": name, "value": value})));
        });
        let state = if mend.is_some() { CheckState::Failed } else { CheckState::Ok };
        assert_eq!(
            (judged.state, judged.mend),
            (state, mend.map(|mend| format!("{UPDATE}{mend}"))),
            "{variables:?}"
        );
    }
    let several = json!({"template": {"taskCount": 3, "template": {"timeout": "86400s", "containers": [
        {"args": ["sync", "--every=60s", "--for", "1h"]},
    ]}}});
    assert!(is_loop(&several) && !is_loop(&json!({})));
    assert!(of_loop(&Job::of(&several)).expect("refused").0.contains("several tasks"));
}
