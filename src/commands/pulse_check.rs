//! Whether pulses are recorded, and do their job.

use crate::commands::frame::{CheckState, Finding, counted, grouped, in_words};
use crate::config::Place;
use crate::documents::pulse_view::{PulseCounts, PulseView};
use crate::model::advice::log_of_code;
use crate::model::outcome::{Code, PassStatus};
use crate::model::suggested::{about, argument, sync_alone};
use jiff::{SignedDuration, Timestamp};

/// Where, when and by which measure it was looked.
#[derive(Clone, Debug)]
pub(crate) struct Looked<'a> {
    pub(crate) place: &'a Place,
    pub(crate) now: Timestamp,
    /// Age at which the last pulse is too old.
    pub(crate) stale: SignedDuration,
    /// Where the job is, if whoever looks has said so.
    pub(crate) region: Option<String>,
}

/// No pulse was ever recorded.
pub(crate) const PULSE_NEVER: &str = "PulseNever";

/// None was recorded for long.
const PULSE_LATE: &str = "PulseLate";

/// Why it may be that none is recorded: nothing in Firestore tells which.
pub(crate) const WHY_NONE: &str = "the job does not start, hangs, or may not write";

/// Whether that is why nothing is recorded of anybody any more.
#[must_use]
pub(crate) fn is_standstill(finding: &Finding) -> bool {
    [PULSE_NEVER, PULSE_LATE].contains(&finding.reason)
}

/// Where the job is, by the variable of `pulse doctor`.
#[must_use]
pub(crate) fn region(environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    environment("REGION").filter(|region| !region.is_empty())
}

impl Looked<'_> {
    /// A command of `pulse` for the same place.
    #[must_use]
    pub(crate) fn pulse(&self, command: &str) -> String {
        format!("pulse {command}{}", self.place.database.flags())
    }

    /// A command of `pulse` about a user.
    #[must_use]
    pub(crate) fn about(&self, command: &str, user: &str) -> String {
        about(command, user, &self.place.database.flags())
    }

    /// The command that syncs a user alone.
    #[must_use]
    pub(crate) fn sync_alone(&self, user: &str) -> String {
        sync_alone(user, &self.place.database.flags())
    }

    /// When the last pulse ended, and how.
    #[must_use]
    pub(crate) fn at_pulse(&self, pulse: Option<&PulseView>) -> Vec<Finding> {
        let Some((pulse, at)) = pulse.and_then(|pulse| Some((pulse, pulse.at?))) else {
            let sentence = "No pulse has ever been recorded in this database (ops/last_pulse): it is another one than \
                            the job's, or the job has never ended a pulse.";
            let never = Finding::new(CheckState::Failed, PULSE_NEVER, sentence);
            return vec![never.mended_by(self.pulse("doctor"))];
        };
        vec![self.lateness(at), self.failure(pulse)]
    }

    fn lateness(&self, at: Timestamp) -> Finding {
        let (age, limit) = (self.now.duration_since(at), in_words(self.stale));
        let ago = in_words(age);
        if age <= self.stale {
            return Finding::new(CheckState::Ok, "PulseOnTime", format!("The last pulse ended {ago} ago."));
        }
        let sentence = format!("No pulse has been recorded for {ago}, more than {limit}: {WHY_NONE}.");
        Finding::new(CheckState::Failed, PULSE_LATE, sentence).mended_by(self.executions())
    }

    /// The command that tells which executions of the job there were. Without a region, gcloud asks for it.
    fn executions(&self) -> String {
        let region = self.region.as_deref().map(|region| format!(" --region={}", argument(region)));
        format!(
            "gcloud run jobs executions list --job=pulse{} --project={} --limit=5",
            region.unwrap_or_default(),
            argument(&self.place.database.project)
        )
    }

    fn failure(&self, pulse: &PulseView) -> Finding {
        match pulse.status {
            Some(PassStatus::Failed) => {
                let Failed { why, act, mend } = why_failed(pulse);
                let more = if mend.is_none() { format!("; {act}") } else { String::new() };
                let sentence = format!("The last pulse failed: {why}{more}.");
                let found = Finding::new(CheckState::Failed, "PulseFailed", sentence);
                Finding { mend: mend.map(|command| self.pulse(&command)), ..found }
            }
            Some(PassStatus::Ok | PassStatus::Degraded) if pulse.counts.users_count == 0 => {
                let sentence = format!("The last pulse worked, and {NO_USERS}.");
                Finding::new(CheckState::Warning, "PulseWorked", sentence).mended_by(self.pulse("doctor"))
            }
            Some(PassStatus::Ok | PassStatus::Degraded) => self.worked(pulse),
            None => {
                let sentence = "ops/last_pulse does not say how the last pulse went.";
                Finding::new(CheckState::Unknown, "PulseUnclear", sentence)
            }
        }
    }
}

impl Looked<'_> {
    /// Whom Firestore refuses is on no record, so that only the pulse's numbers and the log tell of them.
    fn worked(&self, pulse: &PulseView) -> Finding {
        let synced = users(pulse.counts.success_count);
        let unwritten =
            UNRECORDED.into_iter().find_map(|code| Some((code, *pulse.errors.get(code.as_str())?)));
        let Some((code, count)) = unwritten else {
            return Finding::new(CheckState::Ok, "PulseWorked", format!("The last pulse synced {synced}."));
        };
        let whom = users(count);
        let sentence = format!(
            "The last pulse synced {synced}, and could not write for {whom} ({code}): the log names them."
        );
        let finding = Finding::new(CheckState::Warning, "PulseWorked", sentence);
        finding.mended_by(log_of_code(code, &self.place.database))
    }
}

/// What is found of a user for whom nothing can be written.
const UNRECORDED: [Code; 2] = [Code::StoreRejected, Code::StoreUnavailable];

const NO_USERS: &str = "it found no users: check --project, --database and --where of the job";

/// A pulse that failed as a whole.
pub(crate) struct Failed {
    /// What it did, as far as its numbers tell.
    pub(crate) why: String,
    /// What is to be done.
    pub(crate) act: &'static str,
    /// The command of `pulse` that leads on, where one does.
    mend: Option<String>,
}

/// Why a pulse failed, and what leads on.
pub(crate) fn why_failed(pulse: &PulseView) -> Failed {
    let PulseCounts { users_count, success_count, unreached_count, .. } = pulse.counts;
    if unreached_count == 0 {
        let (why, mend) = why_all_failed(pulse);
        return Failed { why, act: "the operator has to find out why", mend };
    }
    let (all, were) = (users(users_count + unreached_count), were(unreached_count));
    let why =
        format!("it synced {} of {all}, and {were} not reached before the deadline", grouped(success_count));
    let act = "the operator has to give it more time (--deadline), or more at once (--concurrency, tasks)";
    Failed { why, act, mend: None }
}

/// Why one failed that was not cut short, and the command that leads on.
fn why_all_failed(pulse: &PulseView) -> (String, Option<String>) {
    let PulseCounts { users_count, error_count, skipped_count, needs_reauth_count, .. } = pulse.counts;
    let doctor = Some("doctor".to_owned());
    // Of the codes it has, the one of most.
    let codes = pulse.errors.iter().filter_map(|(code, count)| Some((*count, Code::parse(code)?)));
    let most = codes.max_by_key(|(count, _)| *count);
    match (users_count, error_count, most) {
        (0, ..) if pulse.is_uncounted => {
            ("it could not read its users, or was stopped before any was done".to_owned(), doctor)
        }
        (0, ..) => (NO_USERS.to_owned(), doctor),
        (_, 0, _) => {
            let state = if needs_reauth_count * 2 > skipped_count { "needs_reauth" } else { "paused" };
            let why = format!("all of its {} skipped", were(skipped_count));
            (why, Some(format!("users --state={state}")))
        }
        (_, _, Some((count, code))) => {
            let (seen, failed) = (users(users_count), grouped(error_count));
            let why = format!("it saw {seen}, and {failed} of them failed, {} with {code}", grouped(count));
            // Who cannot be written for is not on record.
            let is_recorded = !UNRECORDED.contains(&code);
            (why, if is_recorded { Some(format!("users --error={code}")) } else { doctor })
        }
        (_, _, None) => {
            (format!("it saw {}, and {} of them failed", users(users_count), grouped(error_count)), doctor)
        }
    }
}

fn were(count: u64) -> String {
    format!("{} {}", users(count), if count == 1 { "was" } else { "were" })
}

fn users(count: u64) -> String {
    counted(count, ["user", "users"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoints;
    use crate::model::ids::Database;

    #[test]
    fn a_pulse_is_late_or_failed_or_neither() {
        let database = Database::parse("p", "(default)").expect("legal");
        let place = Place { database, endpoints: Endpoints::default() };
        let at = |second| Timestamp::from_second(second).expect("in range");
        let looked =
            Looked { place: &place, now: at(10_000), stale: SignedDuration::from_secs(300), region: None };
        let counts = PulseCounts { users_count: 1, error_count: 1, ..PulseCounts::default() };
        let pulse = |age: i64, status| PulseView {
            at: Some(at(10_000 - age)),
            status,
            counts,
            ..PulseView::default()
        };
        for (pulse, expected) in [
            (None, &["PulseNever"][..]),
            (Some(PulseView::default()), &["PulseNever"]),
            (Some(pulse(300, Some(PassStatus::Ok))), &["PulseOnTime", "PulseWorked"]),
            (Some(pulse(301, Some(PassStatus::Degraded))), &["PulseLate", "PulseWorked"]),
            (Some(pulse(-5, Some(PassStatus::Failed))), &["PulseOnTime", "PulseFailed"]),
            (Some(pulse(0, None)), &["PulseOnTime", "PulseUnclear"]),
        ] {
            let findings = looked.at_pulse(pulse.as_ref());
            let reasons: Vec<_> = findings.iter().map(|finding| finding.reason).collect();
            assert_eq!(reasons, expected);
            for finding in findings {
                let mend = match finding.reason {
                    "PulseLate" => Some("gcloud run jobs executions list --job=pulse --project=p --limit=5"),
                    _ => (finding.state == CheckState::Failed).then_some("pulse doctor --project=p"),
                };
                assert_eq!(finding.mend.as_deref(), mend, "{}", finding.reason);
                assert!(!finding.sentence.contains("come round"), "a guess: {}", finding.sentence);
            }
        }
        let there = Looked { region: Some("us-central1".into()), ..looked.clone() };
        let late = there.at_pulse(Some(&pulse(720, Some(PassStatus::Ok)))).swap_remove(0);
        let sentence = "No pulse has been recorded for 12 min, more than 5 min: the job does not start, hangs, or may not \
                        write.";
        let mend = "gcloud run jobs executions list --job=pulse --region=us-central1 --project=p --limit=5";
        assert_eq!((late.sentence.as_str(), late.mend.as_deref()), (sentence, Some(mend)));
        let unwritten = [("store_rejected".to_owned(), 2)].into_iter().collect();
        let unwritten = PulseView { errors: unwritten, ..pulse(0, Some(PassStatus::Degraded)) };
        let log = "gcloud logging read 'jsonPayload.error=\"store_rejected\" severity>=ERROR' --project=p --limit=5 \
                   --format='value(jsonPayload.message)'";
        let found = &looked.at_pulse(Some(&unwritten))[1];
        assert_eq!((found.state, found.mend.as_deref()), (CheckState::Warning, Some(log)));
        let nobody = PulseView { counts: PulseCounts::default(), ..pulse(0, Some(PassStatus::Ok)) };
        assert_eq!(looked.at_pulse(Some(&nobody))[1].state, CheckState::Warning);
    }

    #[test]
    fn a_pulse_that_failed_says_why_and_what_leads_on() {
        let counts = |users_count, error_count, skipped_count| PulseCounts {
            users_count,
            error_count,
            skipped_count,
            ..PulseCounts::default()
        };
        let two = [("keys_missing".to_owned(), 2), ("broker_unavailable".to_owned(), 6)];
        for (counts, errors, why, mend) in [
            (counts(0, 0, 0), vec![], "it found no users", Some("doctor")),
            (counts(5, 0, 5), vec![], "all of its 5 users were skipped", Some("users --state=paused")),
            (
                PulseCounts { needs_reauth_count: 1, ..counts(1, 0, 1) },
                vec![],
                "all of its 1 user was skipped",
                Some("users --state=needs_reauth"),
            ),
            (
                PulseCounts { unreached_count: 7, success_count: 2, ..counts(3, 1, 0) },
                vec![("keys_missing".to_owned(), 1)],
                "it synced 2 of 10 users, and 7 users were not reached before the deadline",
                None,
            ),
            (
                counts(9, 8, 1),
                two.to_vec(),
                "it saw 9 users, and 8 of them failed, 6 with broker_unavailable",
                Some("users --error=broker_unavailable"),
            ),
            (counts(1, 1, 0), vec![("store_rejected".to_owned(), 1)], "with store_rejected", Some("doctor")),
            (counts(1, 1, 0), vec![("$(x)".to_owned(), 1)], "and 1 of them failed", Some("doctor")),
        ] {
            let pulse = PulseView { counts, errors: errors.into_iter().collect(), ..PulseView::default() };
            let Failed { why: told, act, mend: leads_on } = why_failed(&pulse);
            assert!(told.contains(why), "{told}");
            assert_eq!(leads_on.as_deref(), mend, "{told}");
            assert_eq!(act.contains("--deadline"), mend.is_none(), "{act}");
        }
        let stopped = PulseView { is_uncounted: true, ..PulseView::default() };
        assert!(why_failed(&stopped).why.contains("before any was done"));
    }
}
