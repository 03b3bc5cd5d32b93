//! Whether what starts the job does so, and as often as the job wants it. Nothing is asked here.

use crate::commands::doctor::cloud_build::default_of;
use crate::commands::doctor::job::{differing, told};
use crate::commands::doctor::judge::{Judged, word};
use crate::commands::doctor::start::Changes;
use crate::model::suggested::argument;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::time::Duration;

/// A loop that died is replaced within this time, and the next one begins before the last one ends (docs/scale.md).
const LONGEST_GAP: Duration = Duration::from_mins(15);

/// More starts than that cost more than they are good for: each is billed for a minute.
const SHORTEST_GAP: Duration = Duration::from_mins(5);

/// For a loop.
const OF_A_LOOP: &str = "*/15 * * * *";

const DAY: u32 = 24 * 60;

/// The error of a caller that lacks a right.
const PERMISSION_DENIED: i64 = 7;

/// Which job it is to start.
pub(super) struct Started<'a> {
    /// `projects/{project}/locations/{region}/jobs/{job}`.
    pub(super) name: &'a str,
    /// By which gcloud finds the trigger, the job's own name first.
    pub(super) flags: &'a str,
    /// Whether it is a loop, if that is known.
    pub(super) is_loop: Option<bool>,
}

impl Started<'_> {
    fn part(&self, number: usize) -> &str {
        self.name.split('/').nth(number).unwrap_or_default()
    }

    fn uri(&self) -> String {
        format!("https://run.googleapis.com/v2/{}:run", self.name)
    }

    /// As what the trigger calls.
    fn account(&self) -> String {
        format!("{}@{}.iam.gserviceaccount.com", default_of("_SCHEDULER_ACCOUNT"), self.part(1))
    }

    fn schedule(&self) -> &'static str {
        if self.is_loop == Some(true) { OF_A_LOOP } else { default_of("_SCHEDULE") }
    }

    /// The command that makes the trigger, as `cloudbuild.yaml` does it.
    pub(super) fn creation(&self) -> String {
        let Self { flags, .. } = self;
        format!(
            "gcloud scheduler jobs create http {flags} --schedule={} --time-zone={} --http-method=POST --uri={} \
             --oauth-service-account-email={} --attempt-deadline={}",
            argument(self.schedule()),
            argument(default_of("_TIME_ZONE")),
            argument(&self.uri()),
            argument(&self.account()),
            argument(default_of("_ATTEMPT_DEADLINE"))
        )
    }

    /// Whether the schedule is one for the job; where it is not known what the job does, either way.
    fn suits(&self, schedule: &str) -> bool {
        let of_a_loop =
            || longest_gap(schedule).is_some_and(|gap| (SHORTEST_GAP..=LONGEST_GAP).contains(&gap));
        match self.is_loop {
            Some(true) => of_a_loop(),
            Some(false) => schedule == default_of("_SCHEDULE"),
            None => schedule == default_of("_SCHEDULE") || of_a_loop(),
        }
    }

    /// What is told of one that does not.
    fn unsuitable(&self, schedule: &str) -> String {
        match (self.is_loop, longest_gap(schedule)) {
            (Some(true), Some(gap)) if gap < SHORTEST_GAP => {
                format!(
                    "schedule is {schedule:?}, and each start is billed for a minute, while a loop is at work"
                )
            }
            (Some(true), _) => {
                format!("schedule is {schedule:?}, and a loop that dies is only replaced by the next start")
            }
            _ => format!("schedule is {schedule:?}"),
        }
    }
}

/// What starts the job.
pub(super) fn schedule(trigger: &Json, started: &Started<'_>) -> Judged {
    let flags = started.flags;
    let update = format!("gcloud scheduler jobs update http {flags}");
    let target = &trigger["httpTarget"];
    let state = word(trigger, "state");
    if state != "ENABLED" {
        let sentence = format!("The trigger in Cloud Scheduler is {state}: nothing starts the job.");
        return Judged::failed(sentence).mended_by(format!("gcloud scheduler jobs resume {flags}"));
    }
    if word(target, "uri") != started.uri() {
        let sentence = format!("The trigger calls {:?}, not the job.", word(target, "uri"));
        return Judged::failed(sentence).mended_by(format!("{update} --uri={}", argument(&started.uri())));
    }
    if target["oauthToken"].is_null() {
        let sentence = "The trigger shows no OAuth token, without which Cloud Run refuses its call.";
        let email = format!("{update} --oauth-service-account-email={}", argument(&started.account()));
        return Judged::failed(sentence).mended_by(email);
    }
    if let Some(code) = trigger["status"]["code"].as_i64().filter(|code| *code != 0) {
        return refused(code, word(&target["oauthToken"], "serviceAccountEmail"), started);
    }
    let settings = [
        ("attempt-deadline", "_ATTEMPT_DEADLINE", word(trigger, "attemptDeadline")),
        ("time-zone", "_TIME_ZONE", word(trigger, "timeZone")),
    ];
    let settings = settings.iter().filter_map(|(flag, name, value)| differing(flag, name, value));
    let own = word(trigger, "schedule");
    let schedule = (!started.suits(own))
        .then(|| (started.unsuitable(own), format!("--schedule={}", argument(started.schedule()))));
    let differing = settings.chain(schedule).map(|(what, flag)| (what, Changes::default().flag(flag)));
    let fine = match started.is_loop {
        Some(true) => "The trigger starts the job as often as a loop wants it.",
        _ => "The trigger starts the job as cloudbuild.yaml has it.",
    };
    told([fine, "Not as cloudbuild.yaml would set it"], differing.collect(), &update)
}

/// The last call was not taken.
fn refused(code: i64, account: &str, started: &Started<'_>) -> Judged {
    let sentence = format!(
        "Cloud Run refused the trigger's last call, with code {code}: look at the rights of its account."
    );
    let judged = Judged::failed(sentence);
    if code != PERMISSION_DENIED || account.is_empty() {
        return judged;
    }
    let (project, region, job) = (started.part(1), started.part(3), started.part(5));
    judged.mended_by(format!(
        "gcloud run jobs add-iam-policy-binding {} --project={} --region={} --member={} --role=roles/run.invoker",
        argument(job),
        argument(project),
        argument(region),
        argument(&format!("serviceAccount:{account}"))
    ))
}

/// The longest time between two starts of the job, every day; none of a schedule that is not for every day, or unreadable.
/// Without a trigger it is that of `cloudbuild.yaml`.
pub(super) fn gap(trigger: Option<&Json>) -> Option<Duration> {
    let schedule = trigger.map_or_else(|| default_of("_SCHEDULE"), |trigger| word(trigger, "schedule"));
    longest_gap(schedule).filter(|gap| *gap < Duration::from_hours(24))
}

/// The longest time between two starts, of a schedule for every day; a day and more of another. None where it is no such
/// schedule.
fn longest_gap(schedule: &str) -> Option<Duration> {
    if let Some(every) = schedule.trim().strip_prefix("every ") {
        return interval(every);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let [minute, hour, days @ ..] = fields.as_slice() else { return None };
    let (minutes, hours) = (numbers(minute, 60)?, numbers(hour, 24)?);
    if days.len() != 3 {
        return None;
    }
    if days.iter().any(|field| *field != "*") {
        return Some(Duration::from_hours(24));
    }
    let starts: Vec<u32> =
        hours.iter().flat_map(|hour| minutes.iter().map(move |minute| hour * 60 + minute)).collect();
    let next = starts.iter().skip(1).copied().chain(starts.first().map(|first| first + DAY));
    let longest = starts.iter().zip(next).map(|(start, next)| next - start).max()?;
    Some(Duration::from_mins(longest.into()))
}

/// As Cloud Scheduler takes it too: `15 minutes`.
fn interval(text: &str) -> Option<Duration> {
    let (number, unit) = text.trim().split_once(' ')?;
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "minutes" | "mins" | "minute" | "min" => Some(Duration::from_mins(number)),
        "hours" | "hour" => Some(Duration::from_hours(number)),
        _ => None,
    }
}

/// The numbers that a field of cron stands for, of so many from 0.
fn numbers(field: &str, count: u32) -> Option<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: usize = step.parse().ok().filter(|step| *step > 0)?;
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, count - 1),
            Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
            None => {
                let only = range.parse().ok()?;
                (only, only)
            }
        };
        all.extend((first..=last.min(count - 1)).step_by(step));
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::frame::CheckState;
    use serde_json::json;

    const NAME: &str = "projects/p/locations/r/jobs/pulse";

    fn started(is_loop: Option<bool>) -> Started<'static> {
        Started { name: NAME, flags: "pulse --project=p --location=r", is_loop }
    }

    fn a_trigger(is_loop: Option<bool>, change: impl FnOnce(&mut Json)) -> Judged {
        let mut trigger = json!({
            "state": "ENABLED", "schedule": "* * * * *", "timeZone": "Etc/UTC", "attemptDeadline": "30s",
            "httpTarget": {
                "uri": "https://run.googleapis.com/v2/projects/p/locations/r/jobs/pulse:run",
                "oauthToken": {"serviceAccountEmail": "a@p.iam.gserviceaccount.com"},
            },
        });
        change(&mut trigger);
        schedule(&trigger, &started(is_loop))
    }

    #[test]
    fn a_trigger_that_starts_nothing_is_broken_and_another_rhythm_a_warning() {
        let once = Some(false);
        assert_eq!(a_trigger(once, |_| {}).state, CheckState::Ok);
        for (field, value, state, words) in [
            ("state", json!("PAUSED"), CheckState::Failed, "gcloud scheduler jobs resume pulse"),
            ("httpTarget", json!({"uri": "https://x"}), CheckState::Failed, "--uri=https://run"),
            ("schedule", json!("*/5 * * * *"), CheckState::Warning, "--schedule='* * * * *'"),
            ("attemptDeadline", json!("180s"), CheckState::Warning, "--attempt-deadline=30s"),
        ] {
            let judged = a_trigger(once, |trigger| trigger[field] = value);
            assert_eq!(judged.state, state, "{field}");
            assert!(judged.mend.expect("a command").contains(words), "{field}");
        }
        let tokenless = a_trigger(once, |trigger| trigger["httpTarget"]["oauthToken"] = Json::Null);
        let mend = "--oauth-service-account-email=pulse-scheduler@p.iam.gserviceaccount.com";
        assert!(tokenless.mend.is_some_and(|command| command.ends_with(mend)));
        let refused = a_trigger(once, |trigger| trigger["status"] = json!({"code": 7}));
        let mend = "gcloud run jobs add-iam-policy-binding pulse --project=p --region=r \
                    --member=serviceAccount:a@p.iam.gserviceaccount.com --role=roles/run.invoker";
        assert_eq!((refused.state, refused.mend.as_deref()), (CheckState::Failed, Some(mend)));
        assert_eq!(a_trigger(once, |trigger| trigger["status"] = json!({"code": 5})).mend, None);
        assert_eq!(a_trigger(once, |trigger| trigger["status"] = json!({})).state, CheckState::Ok);
    }

    #[test]
    fn a_loop_is_started_every_quarter_of_an_hour() {
        use CheckState::{Ok, Warning};
        for (schedule, of_a_loop, of_pulses, unknown) in [
            ("*/15 * * * *", Ok, Warning, Ok),
            ("0,15,30,45 * * * *", Ok, Warning, Ok),
            ("7/10 * * * *", Warning, Warning, Warning),
            ("*/10 * * * *", Ok, Warning, Ok),
            ("every 15 minutes", Ok, Warning, Ok),
            ("* * * * *", Warning, Ok, Ok),
            ("*/20 * * * *", Warning, Warning, Warning),
            ("0 * * * *", Warning, Warning, Warning),
            ("every 1 hours", Warning, Warning, Warning),
            ("*/15 8-18 * * *", Warning, Warning, Warning),
            ("*/15 * * * 1-5", Warning, Warning, Warning),
            ("whenever", Warning, Warning, Warning),
            ("", Warning, Warning, Warning),
        ] {
            for (is_loop, state) in [(Some(true), of_a_loop), (Some(false), of_pulses), (None, unknown)] {
                let judged = a_trigger(is_loop, |trigger| trigger["schedule"] = json!(schedule));
                assert_eq!(judged.state, state, "{schedule} {is_loop:?}");
                let wanted = if is_loop == Some(true) {
                    "--schedule='*/15 * * * *'"
                } else {
                    "--schedule='* * * * *'"
                };
                assert!(state == Ok || judged.mend.is_some_and(|mend| mend.ends_with(wanted)), "{schedule}");
            }
        }
    }

    #[test]
    fn a_trigger_is_made_as_cloudbuild_yaml_makes_it() {
        let made = "gcloud scheduler jobs create http pulse --project=p --location=r --schedule='*/15 * * * *' \
                    --time-zone=Etc/UTC --http-method=POST \
                    --uri=https://run.googleapis.com/v2/projects/p/locations/r/jobs/pulse:run \
                    --oauth-service-account-email=pulse-scheduler@p.iam.gserviceaccount.com --attempt-deadline=30s";
        assert_eq!(started(Some(true)).creation(), made);
    }

    #[test]
    fn the_longest_time_between_two_starts_is_that_of_the_day() {
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        for (schedule, gap) in [
            ("* * * * *", minutes(1)),
            ("5-59/15 * * * *", minutes(15)),
            ("0,10 * * * *", minutes(50)),
            ("0 0 * * *", minutes(24 * 60)),
            ("0 */6 * * *", minutes(6 * 60)),
            ("30 9,17 * * *", minutes(16 * 60)),
            ("every 2 hours", minutes(120)),
            ("every monday 09:00", None),
            ("*/0 * * * *", None),
            ("60 * * * *", None),
            ("* * * *", None),
            ("@hourly", None),
        ] {
            assert_eq!(longest_gap(schedule), gap, "{schedule}");
        }
    }
}
