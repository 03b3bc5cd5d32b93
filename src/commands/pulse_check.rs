//! Whether the job comes round, and does its job.

use crate::commands::frame::{CheckState, Finding, grouped, in_words};
use crate::config::Place;
use crate::documents::pulse_view::PulseView;
use crate::model::outcome::PassStatus;
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
        let counts = &pulse.counts;
        match pulse.status {
            Some(PassStatus::Failed) => {
                let (users, errors) = (grouped(counts.users_count), grouped(counts.error_count));
                let sentence =
                    format!("The last pulse failed: it saw {users} users, and {errors} of them failed.");
                Finding::new(CheckState::Failed, "PulseFailed", sentence).mended_by(self.pulse("doctor"))
            }
            Some(PassStatus::Ok | PassStatus::Degraded) => {
                let sentence = format!("The last pulse synced {}.", users(counts.success_count));
                Finding::new(CheckState::Ok, "PulseWorked", sentence)
            }
            None => {
                let sentence = "ops/last_pulse does not say how the last pulse went.";
                Finding::new(CheckState::Unknown, "PulseUnclear", sentence)
            }
        }
    }
}

fn users(count: u64) -> String {
    if count == 1 { "1 user".into() } else { format!("{} users", grouped(count)) }
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
        let pulse =
            |age: i64, status| PulseView { at: Some(at(10_000 - age)), status, ..PulseView::default() };
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
    }
}
