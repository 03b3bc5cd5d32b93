//! Whether the job comes round, and does its job.

use crate::commands::frame::{CheckState, Finding, counted, grouped, in_words};
use crate::config::Place;
use crate::documents::pulse_view::{PulseCounts, PulseView};
use crate::model::advice::log_of_code;
use crate::model::outcome::{Code, PassStatus};
use crate::model::suggested::{about, sync_alone};
use jiff::{SignedDuration, Timestamp};

/// Where, when and by which measure it was looked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked<'a> {
    pub(crate) place: &'a Place,
    pub(crate) now: Timestamp,
    /// Age at which the last pulse is too old.
    pub(crate) stale: SignedDuration,
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
            let sentence = "No pulse has ever ended in this database: ops/last_pulse says of none.";
            let never = Finding::new(CheckState::Failed, "PulseNever", sentence);
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
        let sentence =
            format!("The last pulse ended {ago} ago, more than {limit}: the job does not come round.");
        Finding::new(CheckState::Failed, "PulseLate", sentence).mended_by(self.pulse("doctor"))
    }

    fn failure(&self, pulse: &PulseView) -> Finding {
        match pulse.status {
            Some(PassStatus::Failed) => {
                let (why, mend) = why_failed(pulse);
                let found =
                    Finding::new(CheckState::Failed, "PulseFailed", format!("The last pulse failed: {why}."));
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

/// Why a pulse failed as a whole, as far as its numbers tell, and the command that leads on.
fn why_failed(pulse: &PulseView) -> (String, Option<String>) {
    let PulseCounts { users_count, error_count, skipped_count, needs_reauth_count, unreached_count, .. } =
        pulse.counts;
    let doctor = Some("doctor".to_owned());
    // Of the codes it has, the one of most.
    let codes = pulse.errors.iter().filter_map(|(code, count)| Some((*count, Code::parse(code)?)));
    let most = codes.max_by_key(|(count, _)| *count);
    if unreached_count > 0 {
        return (format!("{} not reached before the deadline", were(unreached_count)), doctor);
    }
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
        let looked = Looked { place: &place, now: at(10_000), stale: SignedDuration::from_secs(300) };
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
                let mend = (finding.state == CheckState::Failed).then_some("pulse doctor --project=p");
                assert_eq!(finding.mend.as_deref(), mend, "{}", finding.reason);
            }
        }
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
                PulseCounts { unreached_count: 7, ..counts(3, 1, 0) },
                vec![("keys_missing".to_owned(), 1)],
                "7 users were not reached before the deadline",
                Some("doctor"),
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
            let (told, leads_on) = why_failed(&pulse);
            assert!(told.contains(why), "{told}");
            assert_eq!(leads_on.as_deref(), mend, "{told}");
        }
        let stopped = PulseView { is_uncounted: true, ..PulseView::default() };
        assert!(why_failed(&stopped).0.contains("before any was done"));
    }
}
