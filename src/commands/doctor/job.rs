//! Whether the job does what whoever looks takes it to do. Nothing is asked here.

use crate::commands::doctor::cloud_build::default_of;
use crate::commands::doctor::judge::{Judged, items, word};
use crate::commands::doctor::start::{Changes, Setting, Start};
use crate::commands::frame::{CheckState, in_words};
use crate::model::ids::{DEFAULT_DATABASE, Database};
use crate::model::suggested::argument;
use humantime::{format_duration, parse_duration};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::time::Duration;

/// Of a setting, so much is told.
const MOST_TOLD: usize = 60;

/// What stands in for Google where it is set, which no job in the cloud has.
const EMULATORS: [&str; 2] = ["FIRESTORE_EMULATOR_HOST", "SECRET_MANAGER_EMULATOR_HOST"];

/// What says which database it is for.
const DATABASE: &str = "PULSE_DATABASE";

/// So long an execution may take, however often there is one.
const PATIENCE: Duration = Duration::from_mins(5);

/// For a loop of a day (docs/scale.md).
const TIMEOUT_OF_A_LOOP: &str = "24h";

/// Which job it is, and what it should be for.
pub(super) struct Wanted<'a> {
    pub(super) database: &'a Database,
    /// The database that it needs, where that one is of no use.
    pub(super) another: Option<&'a str>,
    /// The command that changes the job.
    pub(super) update: &'a str,
    /// The command that looks at another database of the job's project, without naming it.
    pub(super) look: &'a str,
    /// By which gcloud finds an execution of it.
    pub(super) flags: &'a str,
    pub(super) now: Timestamp,
    /// The time between two starts, of a schedule that has one every day.
    pub(super) gap: Option<Duration>,
    /// The newest of its executions, as far as they could be listed.
    pub(super) executions: &'a Json,
}

/// The parts of an answer.
struct Job<'a> {
    start: Start<'a>,
    job: &'a Json,
    task: &'a Json,
    container: &'a Json,
}

/// What is not as it should be, and what would change that.
type Difference = (String, Changes);

impl<'a> Job<'a> {
    fn of(job: &'a Json) -> Self {
        let task = &job["template"]["template"];
        let container = &task["containers"][0];
        Self { start: Start::of(container), job, task, container }
    }

    fn tasks(&self) -> i64 {
        self.job["template"]["taskCount"].as_i64().unwrap_or_default()
    }

    fn timeout(&self) -> Option<Duration> {
        parse_duration(word(self.task, "timeout")).ok()
    }

    /// For how long it repeats the pulse, if it does; a time that cannot be read is none.
    fn length(&self) -> Option<Duration> {
        self.repeats()
            .then(|| self.start.setting("--for", "PULSE_FOR"))?
            .and_then(|set| parse_duration(&set.text).ok())
    }

    fn repeats(&self) -> bool {
        self.start.setting("--every", "PULSE_EVERY").is_some()
    }
}

/// Whether the job repeats the pulse in one process.
pub(super) fn is_loop(job: &Json) -> bool {
    Job::of(job).repeats()
}

/// The job against what it is for, and what `cloudbuild.yaml` sets. What keeps it from syncing anybody has failed, each by
/// itself and the root first; what leaves some out, or may be meant, is a warning.
pub(super) fn job(answer: &Json, wanted: &Wanted<'_>) -> Judged {
    let job = Job::of(answer);
    let broken =
        [of_command(&job), of_project(&job, wanted), of_emulator(&job), of_dry_run(&job), of_loop(&job)];
    if let Some((sentence, changes)) = broken.into_iter().flatten().next() {
        return Judged::failed(sentence).mended_by(format!("{}{}", wanted.update, changes.to_flags()));
    }
    let found = of_database(&job, wanted)
        .or_else(|| of_execution(answer, wanted.database))
        .or_else(|| of_running(&job, wanted));
    if let Some(found) = found {
        return found;
    }
    let differing: Vec<_> = selections(&job).into_iter().chain(settings(&job)).collect();
    told(
        ["The job is set up as cloudbuild.yaml does it.", "Not as cloudbuild.yaml would set it"],
        differing,
        wanted.update,
    )
}

/// Another command's job syncs nobody.
fn of_command(job: &Job<'_>) -> Option<Difference> {
    let command = job.start.command();
    let sentence = format!("The job runs `pulse {}` and syncs nobody.", shortened(command));
    (command != "sync").then(|| (sentence, Changes::default().start_with("sync")))
}

fn of_project(job: &Job<'_>, wanted: &Wanted<'_>) -> Option<Difference> {
    let Database { project, .. } = wanted.database;
    let others = ["GCP_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT"];
    let flag = job.start.setting("--project", others[0]);
    let set = flag.or_else(|| others.into_iter().find_map(|name| job.start.variable(name)));
    let name = set.as_ref().map_or(others[0], |set| set.name);
    let of = set.as_ref().map_or("", |set| set.text.as_str());
    let changes = match &set {
        Some(flag) if flag.name == "--project" => Changes::default().unset(flag, &job.start, false),
        _ => Changes::default(),
    };
    let (changes, needed) = of_its_database(job, wanted, changes.set(others[0], project));
    let sentence = format!("The job is for project {:?}, by its {name}{needed}.", shortened(of));
    (of != &**project).then_some((sentence, changes))
}

/// With its project its database changes too, and what is told of that.
fn of_its_database(job: &Job<'_>, wanted: &Wanted<'_>, changes: Changes) -> (Changes, String) {
    let needed = wanted.another.unwrap_or(&wanted.database.database);
    let own = job.start.setting("--database", DATABASE);
    if own.as_ref().map_or(DEFAULT_DATABASE, |set| set.text.as_str()) == needed {
        return (changes, String::new());
    }
    let changes = match own {
        Some(flag) if flag.name != DATABASE => changes.unset(&flag, &job.start, false),
        _ => changes,
    };
    (changes.set(DATABASE, needed), format!(", and it is to be for database {needed}"))
}

fn of_emulator(job: &Job<'_>) -> Option<Difference> {
    let set = EMULATORS.into_iter().find_map(|name| job.start.variable(name))?;
    let sentence = format!("The job asks {:?} instead of Google, by its {}.", shortened(&set.text), set.name);
    Some((sentence, Changes::default().unset(&set, &job.start, false)))
}

fn of_dry_run(job: &Job<'_>) -> Option<Difference> {
    let set = job.start.switch("--dry-run", "PULSE_DRY_RUN")?;
    let sentence = format!("The job writes nothing, by its {}: every pulse is a dry run.", set.name);
    Some((sentence, Changes::default().unset(&set, &job.start, true)))
}

/// What a loop refuses, and what ends it.
fn of_loop(job: &Job<'_>) -> Option<Difference> {
    let set = |flag, variable| job.start.setting(flag, variable);
    let told = |sentence: &str, changes| Some((sentence.to_owned(), changes));
    match (set("--every", "PULSE_EVERY"), set("--for", "PULSE_FOR")) {
        (None, None) => return None,
        (Some(_), Some(_)) => {}
        (Some(set), None) | (None, Some(set)) => {
            let sentence =
                format!("The job has {} alone of --every and --for: every start of it is refused.", set.name);
            return Some((sentence, Changes::default().unset(&set, &job.start, false)));
        }
    }
    if job.tasks() > 1 {
        let sentence = "The job has several tasks, and a loop is one process: every start is refused.";
        return told(sentence, Changes::default().flag("--tasks=1".to_owned()));
    }
    let (timeout, length) = (job.timeout()?, job.length()?);
    let [ends, lasts] = [timeout, length].map(format_duration);
    let sentence = format!("Cloud Run ends the loop after {ends}, and it is to last {lasts}.");
    let changes = Changes::default().flag(format!("--task-timeout={TIMEOUT_OF_A_LOOP}"));
    if timeout < length { Some((sentence, changes)) } else { None }
}

/// Then the two do not see the same users. Which is the right one, only a person knows.
fn of_database(job: &Job<'_>, Wanted { database, look, .. }: &Wanted<'_>) -> Option<Judged> {
    let own = job.start.setting("--database", DATABASE);
    let own = own.as_ref().map_or(DEFAULT_DATABASE, |set| set.text.as_str());
    if own == &*database.database {
        return None;
    }
    let sentence = format!(
        "The job is for database {}, and this looks at {}: what is said here of users and pulses is not said of the job's. \
         Look at the job's own, or set its PULSE_DATABASE.",
        shortened(own),
        database.database
    );
    Some(Judged::failed(sentence).mended_by(format!("{look} --database={}", argument(own))))
}

/// Whatever it is set up to do, it did not do it. One that was cancelled is somebody's wish.
fn of_execution(job: &Json, Database { project, .. }: &Database) -> Option<Judged> {
    let last = &job["latestCreatedExecution"];
    if word(last, "completionStatus") != "EXECUTION_FAILED" {
        return None;
    }
    let name = word(last, "name").rsplit('/').next().unwrap_or_default();
    let filter = format!("labels.\"run.googleapis.com/execution_name\"=\"{name}\" severity>=WARNING");
    let log = format!(
        "gcloud logging read {} --project={} --limit=10 --format='value(jsonPayload.message,textPayload)'",
        argument(&filter),
        argument(project)
    );
    let sentence = format!("The last execution of the job failed, {name}: its log says why.");
    Some(Judged::failed(sentence).mended_by(log))
}

/// The next one should have begun long since, or a loop have ended, and it goes on. It may hang, and keeps all others from
/// their work: so the last one need not be it.
fn of_running(job: &Job<'_>, wanted: &Wanted<'_>) -> Option<Judged> {
    let Wanted { now, gap, flags, executions, .. } = wanted;
    let usual = match job.repeats() {
        true => job.length()? + PATIENCE,
        false => PATIENCE.max((*gap)?),
    };
    let all = items(executions, "executions").chain([&job.job["latestCreatedExecution"]]);
    let ages = all.filter(|execution| goes_on(execution)).filter_map(|execution| {
        let created: Timestamp = word(execution, "createTime").parse().ok()?;
        Some((now.duration_since(created), word(execution, "name")))
    });
    let (age, name) = ages.max()?;
    if Duration::try_from(age).unwrap_or_default() <= usual {
        return None;
    }
    let name = name.rsplit('/').next().unwrap_or_default();
    let sentence = format!(
        "Execution {name} began {} ago and goes on, and its time is {}: it may hang, and the others skip meanwhile. \
         Look at it, and end it:",
        in_words(age),
        format_duration(usual)
    );
    let of = |verb: &str| format!("gcloud run jobs executions {verb} {} {flags}", argument(name));
    let mend = format!("{} && {}", of("describe"), of("cancel"));
    Some(Judged::new(CheckState::Warning, sentence).mended_by(mend))
}

fn goes_on(execution: &Json) -> bool {
    let ended = ["EXECUTION_SUCCEEDED", "EXECUTION_FAILED", "EXECUTION_CANCELLED"];
    word(execution, "completionTime").is_empty() && !ended.contains(&word(execution, "completionStatus"))
}

/// Whom it leaves out, and what it says or asks otherwise.
fn selections(job: &Job<'_>) -> Vec<Difference> {
    let told = |set: Setting, what: &str| {
        let sentence = format!("{} is {:?}, so that {what}", set.name, shortened(&set.text));
        (sentence, Changes::default().unset(&set, &job.start, false))
    };
    let of = |flag, variable, what| job.start.setting(flag, variable).map(|set| told(set, what));
    let log_format = job.start.setting("--log-format", "PULSE_LOG_FORMAT").filter(|set| set.text == "text");
    [
        of("--user", "PULSE_USERS", "only those users are synced, and ops/last_pulse is left alone"),
        of("--where", "PULSE_WHERE", "only users who match are synced"),
        job.start.variable("APCA_API_BASE_URL").map(|set| told(set, "all keys go to that host")),
        log_format.map(|set| told(set, "no alert sees its lines")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What `cloudbuild.yaml` sets to something else.
fn settings(job: &Job<'_>) -> Vec<Difference> {
    let Job { task, container, .. } = job;
    let limits = &container["resources"]["limits"];
    let account = word(task, "serviceAccount").split('@').next().unwrap_or_default();
    let retries = task["maxRetries"].as_i64().unwrap_or_default().to_string();
    let tasks = job.tasks().to_string();
    let flags = [
        ("tasks", "_TASKS", tasks.as_str()),
        ("max-retries", "_MAX_RETRIES", retries.as_str()),
        // What a loop needs is looked at as such.
        (
            "task-timeout",
            "_TASK_TIMEOUT",
            if job.repeats() { default_of("_TASK_TIMEOUT") } else { word(task, "timeout") },
        ),
        ("cpu", "_CPU", word(limits, "cpu")),
        ("memory", "_MEMORY", word(limits, "memory")),
        ("service-account", "_SERVICE_ACCOUNT", account),
    ];
    let flags = flags.into_iter().filter_map(|(flag, name, value)| differing(flag, name, value));
    let of_flag = |(what, flag)| (what, Changes::default().flag(flag));
    let variables = [
        ("--concurrency", "PULSE_CONCURRENCY", "_CONCURRENCY"),
        ("--legacy-tenant-path", "PULSE_LEGACY_TENANT_PATH", "_LEGACY_TENANT_PATH"),
    ];
    let of_variable = |(flag, name, default): (&'static str, &'static str, &str)| {
        let wanted = default_of(default);
        let set = job.start.setting(flag, name).unwrap_or(Setting { text: String::new(), name });
        let changes = match set.name == flag {
            true => Changes::default().unset(&set, &job.start, false),
            false => Changes::default().set(name, wanted),
        };
        (set.text != wanted).then(|| (format!("{} is {:?}", set.name, shortened(&set.text)), changes))
    };
    flags.map(of_flag).chain(variables.into_iter().filter_map(of_variable)).collect()
}

/// A flag of gcloud's by which a value is another one than the file's.
pub(super) fn differing(flag: &str, name: &str, value: &str) -> Option<(String, String)> {
    let wanted = default_of(name);
    let is_same = value == wanted
        || matches!((parse_duration(value), parse_duration(wanted)), (Ok(one), Ok(other)) if one == other);
    (!is_same)
        .then(|| (format!("{flag} is {:?}", shortened(value)), format!("--{flag}={}", argument(wanted))))
}

/// Other values may be meant.
pub(super) fn told([fine, other]: [&str; 2], differing: Vec<Difference>, update: &str) -> Judged {
    if differing.is_empty() {
        return Judged::ok(fine);
    }
    let what: Vec<_> = differing.iter().map(|(what, _)| what.as_str()).collect();
    let sentence = format!("{other}, which may be meant: {}.", what.join(", "));
    let changes = differing.into_iter().map(|(_, changes)| changes).fold(Changes::default(), Changes::and);
    let judged = Judged::new(CheckState::Warning, sentence);
    if changes.is_empty() { judged } else { judged.mended_by(format!("{update}{}", changes.to_flags())) }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TOLD) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
