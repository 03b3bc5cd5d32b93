//! What an answer of an admin API means. Nothing is asked here.

use crate::commands::doctor::cloud_build::default_of;
use crate::commands::frame::CheckState;
use humantime::parse_duration;
use serde_json::Value as Json;

const RULES: &str = include_str!("../../../firestore.rules");
const INDEXES: &str = include_str!("../../../firestore.indexes.json");

const SECRETS: &str = "secretmanager.googleapis.com";

/// How something stands, and its own way to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) state: CheckState,
    pub(super) sentence: String,
    pub(super) mend: Option<String>,
}

impl Judged {
    fn new(state: CheckState, sentence: impl Into<String>) -> Self {
        Self { state, sentence: sentence.into(), mend: None }
    }

    fn ok(sentence: &str) -> Self {
        Self::new(CheckState::Ok, sentence)
    }

    pub(super) fn failed(sentence: impl Into<String>) -> Self {
        Self::new(CheckState::Failed, sentence)
    }

    fn mended_by(self, command: String) -> Self {
        Self { mend: Some(command), ..self }
    }
}

/// `another` makes one of a name of its own.
pub(super) fn database(answer: &Json, another: &str) -> Judged {
    match answer["type"].as_str() {
        Some("FIRESTORE_NATIVE") => Judged::ok("The database is in native mode."),
        kind => {
            let kind = kind.unwrap_or("an unknown mode");
            Judged::failed(format!(
                "The database is in {kind}, and the job needs one in native mode: make one of another name, and set \
                 PULSE_DATABASE=pulse then, here and for the job."
            ))
            .mended_by(another.to_owned())
        }
    }
}

pub(super) fn rules(ruleset: &Json) -> Judged {
    let files = ruleset["source"]["files"].as_array().into_iter().flatten();
    let contents: Vec<_> = files.filter_map(|file| file["content"].as_str()).collect();
    match contents.as_slice() {
        [one] if one.trim() == RULES.trim() => Judged::ok("The security rules are those of firestore.rules."),
        _ => Judged::failed("The security rules are not those of firestore.rules, as this version has it."),
    }
}

/// The file's own, parsed.
fn file() -> Json {
    serde_json::from_str(INDEXES).unwrap_or_default()
}

fn items<'a>(of: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    of[name].as_array().into_iter().flatten()
}

fn word<'a>(of: &'a Json, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

/// Whether each index and exemption of the file is there, and ready.
pub(super) fn indexes(fields: &Json, indexes: &Json) -> Judged {
    let file = file();
    let overrides = items(&file, "fieldOverrides")
        .filter(|wanted| !has_override(fields, wanted))
        .map(|wanted| format!("{}.{}", word(wanted, "collectionGroup"), word(wanted, "fieldPath")));
    let composite = items(&file, "indexes").filter(|wanted| !has_index(indexes, wanted)).map(|wanted| {
        let fields: Vec<_> = items(wanted, "fields").map(|field| word(field, "fieldPath")).collect();
        format!("{} ({})", word(wanted, "collectionGroup"), fields.join(", "))
    });
    let missing: Vec<_> = composite.chain(overrides).collect();
    let more = if missing.len() > 3 { ", …" } else { "" };
    match missing.len() {
        0 => Judged::ok("The indexes and exemptions are those of firestore.indexes.json."),
        count => {
            let first = missing[..count.min(3)].join(", ");
            Judged::failed(format!(
                "{count} of firestore.indexes.json are not there, or not ready: {first}{more}."
            ))
        }
    }
}

fn has_override(fields: &Json, wanted: &Json) -> bool {
    let Some(found) = field(fields, wanted) else { return false };
    let there: Vec<_> = items(&found["indexConfig"], "indexes").collect();
    let is_there = |index: &Json| {
        there.iter().any(|there| {
            let order = items(there, "fields").next().map(|field| word(field, "order"));
            let is_same =
                word(there, "queryScope") == word(index, "queryScope") && order == Some(word(index, "order"));
            is_same && word(there, "state") == "READY"
        })
    };
    items(wanted, "indexes").count() == there.len() && items(wanted, "indexes").all(is_there)
}

fn field<'a>(fields: &'a Json, wanted: &Json) -> Option<&'a Json> {
    let end =
        format!("/collectionGroups/{}/fields/{}", word(wanted, "collectionGroup"), word(wanted, "fieldPath"));
    items(fields, "fields").find(|field| word(field, "name").ends_with(&end))
}

fn has_index(indexes: &Json, wanted: &Json) -> bool {
    let group = format!("/collectionGroups/{}/indexes/", word(wanted, "collectionGroup"));
    let order = |index: &Json| {
        let fields = items(index, "fields").filter(|field| word(field, "fieldPath") != "__name__");
        fields
            .map(|field| (word(field, "fieldPath").to_owned(), word(field, "order").to_owned()))
            .collect::<Vec<_>>()
    };
    items(indexes, "indexes").any(|there| {
        let is_same =
            word(there, "queryScope") == word(wanted, "queryScope") && order(there) == order(wanted);
        is_same && word(there, "name").contains(&group) && word(there, "state") == "READY"
    })
}

/// Whether old ledgers and entries are deleted.
pub(super) fn expiry(fields: &Json) -> Judged {
    let file = file();
    let wanted = items(&file, "fieldOverrides").filter(|wanted| wanted["ttl"] == true);
    let expires = |wanted: &&Json| {
        let state = field(fields, wanted).map(|field| word(&field["ttlConfig"], "state"));
        matches!(state, Some("ACTIVE" | "CREATING"))
    };
    let kept: Vec<_> =
        wanted.filter(|wanted| !expires(wanted)).map(|wanted| word(wanted, "collectionGroup")).collect();
    match kept.is_empty() {
        true => Judged::ok("Old ledgers and entries of the equity history are deleted."),
        false => Judged::failed(format!("Old documents are never deleted of: {}.", kept.join(", "))),
    }
}

/// Whether it is logged who reads keys.
pub(super) fn audit_logs(policy: &Json) -> Judged {
    let of_secrets = items(policy, "auditConfigs")
        .filter(|config| [SECRETS, "allServices"].contains(&word(config, "service")));
    let is_logged = of_secrets
        .flat_map(|config| items(config, "auditLogConfigs"))
        .any(|log| word(log, "logType") == "DATA_READ");
    match is_logged {
        true => Judged::ok("Who reads a secret is logged."),
        false => Judged::new(
            CheckState::Warning,
            "Who reads a secret is not logged: nobody could tell afterwards.",
        ),
    }
}

/// The job against what `cloudbuild.yaml` sets; `update` is the command that changes it.
pub(super) fn job(job: &Json, project: &str, update: &str) -> Judged {
    let task = &job["template"]["template"];
    let container = &task["containers"][0];
    let variable = |name: &str| {
        let set = items(container, "env").find(|variable| word(variable, "name") == name);
        set.map(|variable| word(variable, "value").to_owned()).unwrap_or_default()
    };
    let of = variable("GCP_PROJECT");
    if of != project {
        let sentence = format!("The job is for project {of:?}, by its GCP_PROJECT.");
        return Judged::failed(sentence)
            .mended_by(format!("{update} --update-env-vars=GCP_PROJECT={project}"));
    }
    let limits = &container["resources"]["limits"];
    let account = word(task, "serviceAccount").split('@').next().unwrap_or_default().to_owned();
    let count = |of: &Json| of.as_i64().unwrap_or_default().to_string();
    let settings = [
        ("tasks", "_TASKS", count(&job["template"]["taskCount"])),
        ("max-retries", "_MAX_RETRIES", count(&task["maxRetries"])),
        ("task-timeout", "_TASK_TIMEOUT", word(task, "timeout").to_owned()),
        ("cpu", "_CPU", word(limits, "cpu").to_owned()),
        ("memory", "_MEMORY", word(limits, "memory").to_owned()),
        ("service-account", "_SERVICE_ACCOUNT", account),
    ];
    let mut differing: Vec<_> =
        settings.iter().filter_map(|(flag, name, value)| differing(flag, name, value)).collect();
    for (name, default) in
        [("PULSE_CONCURRENCY", "_CONCURRENCY"), ("PULSE_LEGACY_TENANT_PATH", "_LEGACY_TENANT_PATH")]
    {
        let value = variable(name);
        let wanted = default_of(default);
        differing.extend(
            (value != wanted)
                .then(|| (format!("{name} is {value:?}"), format!("--update-env-vars={name}={wanted}"))),
        );
    }
    told("The job is set up as cloudbuild.yaml does it.", &differing, update)
}

fn differing(flag: &str, name: &str, value: &str) -> Option<(String, String)> {
    let wanted = default_of(name);
    let is_same = value == wanted
        || matches!((parse_duration(value), parse_duration(wanted)), (Ok(one), Ok(other)) if one == other);
    (!is_same).then(|| (format!("{flag} is {value:?}"), format!("--{flag}={wanted}")))
}

/// Other values than the file's may be meant.
fn told(fine: &str, differing: &[(String, String)], update: &str) -> Judged {
    if differing.is_empty() {
        return Judged::ok(fine);
    }
    let (what, flags): (Vec<_>, Vec<_>) =
        differing.iter().map(|(what, flag)| (what.as_str(), flag.as_str())).unzip();
    let sentence = format!("Not as cloudbuild.yaml would set it, which may be meant: {}.", what.join(", "));
    Judged::new(CheckState::Warning, sentence).mended_by(format!("{update} {}", flags.join(" ")))
}

/// What starts the job of that name; `flags` name it to gcloud.
pub(super) fn schedule(trigger: &Json, job: &str, flags: &str) -> Judged {
    let update = format!("gcloud scheduler jobs update http {flags}");
    let uri = format!("https://run.googleapis.com/v2/{job}:run");
    let target = &trigger["httpTarget"];
    let state = word(trigger, "state");
    if state != "ENABLED" {
        let sentence = format!("The trigger in Cloud Scheduler is {state}: nothing starts the job.");
        return Judged::failed(sentence).mended_by(format!("gcloud scheduler jobs resume {flags}"));
    }
    if word(target, "uri") != uri {
        let sentence = format!("The trigger calls {:?}, not the job.", word(target, "uri"));
        return Judged::failed(sentence).mended_by(format!("{update} --uri={uri}"));
    }
    if target["oauthToken"].is_null() {
        let account = default_of("_SCHEDULER_ACCOUNT");
        let sentence = "The trigger shows no OAuth token, without which Cloud Run refuses its call.";
        let project = job.split('/').nth(1).unwrap_or_default();
        let email = format!("{account}@{project}.iam.gserviceaccount.com");
        return Judged::failed(sentence).mended_by(format!("{update} --oauth-service-account-email={email}"));
    }
    let refused = trigger["status"]["code"].as_i64().filter(|code| *code != 0);
    if let Some(code) = refused {
        return Judged::failed(format!(
            "Cloud Run refused the trigger's last call, with code {code}: look at the rights of its account."
        ));
    }
    let settings = [
        ("attempt-deadline", "_ATTEMPT_DEADLINE", word(trigger, "attemptDeadline")),
        ("time-zone", "_TIME_ZONE", word(trigger, "timeZone")),
    ];
    let mut differing: Vec<_> =
        settings.iter().filter_map(|(flag, name, value)| differing(flag, name, value)).collect();
    let (schedule, wanted) = (word(trigger, "schedule"), default_of("_SCHEDULE"));
    differing.extend(
        (schedule != wanted).then(|| (format!("schedule is {schedule:?}"), format!("--schedule='{wanted}'"))),
    );
    told("The trigger starts the job as cloudbuild.yaml has it.", &differing, &update)
}

#[cfg(test)]
mod tests {
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
        job(&json!({"template": {"taskCount": 1, "template": task}}), "p", UPDATE)
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
        assert_eq!(
            a_job(|task| task["containers"][0]["env"][0]["value"] = json!("q")).state,
            CheckState::Failed
        );
        assert_eq!(a_job(|task| *task = json!({})).state, CheckState::Failed);
    }

    fn a_trigger(change: impl FnOnce(&mut Json)) -> Judged {
        let mut trigger = json!({
            "state": "ENABLED", "schedule": "* * * * *", "timeZone": "Etc/UTC", "attemptDeadline": "30s",
            "httpTarget": {
                "uri": "https://run.googleapis.com/v2/projects/p/locations/r/jobs/pulse:run",
                "oauthToken": {"serviceAccountEmail": "a@p.iam.gserviceaccount.com"},
            },
        });
        change(&mut trigger);
        schedule(&trigger, "projects/p/locations/r/jobs/pulse", "pulse --location=r")
    }

    #[test]
    fn a_trigger_that_starts_nothing_is_broken_and_another_rhythm_a_warning() {
        assert_eq!(a_trigger(|_| {}).state, CheckState::Ok);
        for (field, value, state, words) in [
            ("state", json!("PAUSED"), CheckState::Failed, "gcloud scheduler jobs resume pulse"),
            ("httpTarget", json!({"uri": "https://x"}), CheckState::Failed, "--uri=https://run"),
            ("schedule", json!("*/5 * * * *"), CheckState::Warning, "--schedule='* * * * *'"),
            ("attemptDeadline", json!("180s"), CheckState::Warning, "--attempt-deadline=30s"),
        ] {
            let judged = a_trigger(|trigger| trigger[field] = value);
            assert_eq!(judged.state, state, "{field}");
            assert!(judged.mend.expect("a command").contains(words), "{field}");
        }
        let tokenless = a_trigger(|trigger| trigger["httpTarget"]["oauthToken"] = Json::Null);
        let mend = "--oauth-service-account-email=pulse-scheduler@p.iam.gserviceaccount.com";
        assert!(tokenless.mend.is_some_and(|command| command.ends_with(mend)));
        assert_eq!(a_trigger(|trigger| trigger["status"] = json!({"code": 7})).state, CheckState::Failed);
        assert_eq!(a_trigger(|trigger| trigger["status"] = json!({})).state, CheckState::Ok);
    }

    #[test]
    fn who_reads_secrets_is_logged_by_either_service() {
        let with = |service: &str, kind: &str| {
            audit_logs(
                &json!({"auditConfigs": [{"service": service, "auditLogConfigs": [{"logType": kind}]}]}),
            )
            .state
        };
        assert_eq!(with("allServices", "DATA_READ"), CheckState::Ok);
        assert_eq!(with(SECRETS, "DATA_READ"), CheckState::Ok);
        assert_eq!(with(SECRETS, "DATA_WRITE"), CheckState::Warning);
        assert_eq!(with("run.googleapis.com", "DATA_READ"), CheckState::Warning);
        assert_eq!(audit_logs(&json!({})).state, CheckState::Warning);
    }

    #[test]
    fn an_answer_that_says_nothing_is_no_good_one() {
        let nothing = json!({});
        for judged in [database(&nothing, ""), rules(&nothing), indexes(&nothing, &nothing), expiry(&nothing)]
        {
            assert_eq!(judged.state, CheckState::Failed, "{}", judged.sentence);
        }
    }

    #[test]
    fn an_index_that_is_being_built_is_not_there_yet() {
        let wanted = json!({"collectionGroup": "alpacaAccounts", "fieldPath": "state",
            "indexes": [{"order": "ASCENDING", "queryScope": "COLLECTION_GROUP"}]});
        let there = |state: &str, order: &str| {
            let index = json!({"queryScope": "COLLECTION_GROUP", "state": state,
                "fields": [{"fieldPath": "state", "order": order}]});
            let name = "projects/p/databases/(default)/collectionGroups/alpacaAccounts/fields/state";
            has_override(&json!({"fields": [{"name": name, "indexConfig": {"indexes": [index]}}]}), &wanted)
        };
        assert!(there("READY", "ASCENDING"));
        assert!(!there("CREATING", "ASCENDING") && !there("READY", "DESCENDING"));
    }
}
