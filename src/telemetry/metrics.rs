//! What the metrics say of a finished pass: a pure function of its figures. Each series has the same labels from pass to
//! pass, so none is left standing at an old value: what did not happen is 0. No label is a user's.

use crate::model::measures::{BOUNDS_MS, WayTimes};
use crate::model::outcome::Code;
use crate::model::pass_figures::PassFigures;

/// How long users' ways took, from their start to the commit: a histogram.
pub(crate) const USER_DURATION: &str = "pulse_user_duration_seconds";

/// The code of users who did not fail.
const NO_CODE: &str = "none";

/// A number of a pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gauge {
    /// The metric's name.
    pub(crate) name: &'static str,
    /// Names and values.
    pub(crate) labels: Vec<(&'static str, &'static str)>,
    /// The number.
    pub(crate) value: f64,
}

/// All numbers of a pass but the histogram.
#[must_use]
pub(crate) fn gauges(figures: &PassFigures) -> Vec<Gauge> {
    let PassFigures { counts, measures, duration, ended_at, last_success, .. } = figures;
    let of_pass = [
        ("pulse_stale_users", counts.stale as f64),
        ("pulse_failing_users", measures.failing.count as f64),
        ("pulse_longest_failing_seconds", measures.failing.longest(*ended_at).as_secs_f64()),
        ("pulse_pass_duration_seconds", duration.as_secs_f64()),
    ];
    // 0 would be fifty years ago.
    let last_success = last_success.map(|at| ("pulse_last_success_timestamp_seconds", at.as_second() as f64));
    let alone = of_pass.into_iter().chain(last_success);
    let alone = alone.map(|(name, value)| Gauge { name, labels: Vec::new(), value });
    users(figures).chain(alone).chain(billed(figures)).collect()
}

/// Every user is in one of them.
fn users(figures: &PassFigures) -> impl Iterator<Item = Gauge> {
    let counts = &figures.counts;
    let others = [
        ("synced", counts.success),
        ("skipped", counts.skipped - counts.needs_reauth),
        ("needs_reauth", counts.needs_reauth),
    ];
    let others = others.into_iter().map(|(outcome, users)| (outcome, NO_CODE, users));
    let failed = Code::ALL.into_iter().map(|code| {
        let users = counts.errors.get(&code).copied().unwrap_or_default();
        ("failed", code.as_str(), users)
    });
    others.chain(failed).map(|(outcome, code, users)| Gauge {
        name: "pulse_users",
        labels: vec![("outcome", outcome), ("code", code)],
        value: users as f64,
    })
}

fn billed(figures: &PassFigures) -> impl Iterator<Item = Gauge> {
    let used = figures.used;
    let operations = [
        ("firestore", "read", used.firestore_reads),
        ("firestore", "write", used.firestore_writes),
        ("secret_manager", "access", used.secret_accesses),
    ];
    operations.into_iter().map(|(service, operation, times)| Gauge {
        name: "pulse_billed_operations",
        labels: vec![("service", service), ("operation", operation)],
        value: times as f64,
    })
}

/// The limits of the histogram's buckets, in seconds.
#[must_use]
pub(crate) fn bounds() -> Vec<f64> {
    BOUNDS_MS.iter().map(|millis| *millis as f64 / 1000.0).collect()
}

/// Of each bucket with users in it their mean in seconds, which is within it, and how many they are: who counts each
/// mean so often has the histogram, its buckets and its sum.
pub(crate) fn means(times: &WayTimes) -> impl Iterator<Item = (f64, u64)> {
    let with_users = times.0.iter().filter(|bucket| bucket.users > 0);
    with_users.map(|bucket| (bucket.sum_ms as f64 / bucket.users as f64 / 1000.0, bucket.users))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::measures::{Measures, UserMeasures};
    use crate::model::outcome::{Blame, Counts, Outcome};
    use crate::model::usage::Used;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn quiet() -> PassFigures {
        PassFigures {
            counts: Counts::default(),
            measures: Measures::default(),
            used: Used::default(),
            duration: Duration::ZERO,
            ended_at: at(1_000),
            last_success: Some(at(900)),
        }
    }

    fn busy() -> PassFigures {
        let mut figures = quiet();
        let failed =
            [Code::BrokerUnavailable, Code::BrokerUnavailable, Code::KeysMissing].map(Outcome::Failed);
        let others = [Outcome::Synced, Outcome::NeedsReauth, Outcome::Skipped];
        others.into_iter().chain(failed).for_each(|outcome| figures.counts.add(outcome));
        figures.counts.add_blame(Blame { is_ours: true, is_stale: true });
        for since in [400, 100] {
            figures.measures.add(UserMeasures { took: None, failing_since: Some(at(since)) });
        }
        figures.used = Used { firestore_reads: 5, firestore_writes: 6, secret_accesses: 7, alpaca_calls: 8 };
        PassFigures { duration: Duration::from_millis(2_500), last_success: Some(at(1_000)), ..figures }
    }

    fn value(gauges: &[Gauge], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        gauges.iter().find(|gauge| gauge.name == name && gauge.labels == labels).map(|gauge| gauge.value)
    }

    #[test]
    fn each_number_is_in_its_series() {
        let gauges = gauges(&busy());
        for (name, labels, expected) in [
            ("pulse_users", &[("outcome", "synced"), ("code", "none")][..], 1.0),
            ("pulse_users", &[("outcome", "skipped"), ("code", "none")], 1.0),
            ("pulse_users", &[("outcome", "needs_reauth"), ("code", "none")], 1.0),
            ("pulse_users", &[("outcome", "failed"), ("code", "broker_unavailable")], 2.0),
            ("pulse_users", &[("outcome", "failed"), ("code", "keys_missing")], 1.0),
            ("pulse_users", &[("outcome", "failed"), ("code", "internal")], 0.0),
            ("pulse_stale_users", &[], 1.0),
            ("pulse_failing_users", &[], 2.0),
            ("pulse_longest_failing_seconds", &[], 900.0),
            ("pulse_pass_duration_seconds", &[], 2.5),
            ("pulse_last_success_timestamp_seconds", &[], 1_000.0),
            ("pulse_billed_operations", &[("service", "firestore"), ("operation", "read")], 5.0),
            ("pulse_billed_operations", &[("service", "firestore"), ("operation", "write")], 6.0),
            ("pulse_billed_operations", &[("service", "secret_manager"), ("operation", "access")], 7.0),
        ] {
            assert_eq!(value(&gauges, name, labels), Some(expected), "{name} {labels:?}");
        }
        let users = gauges.iter().filter(|gauge| gauge.name == "pulse_users").map(|gauge| gauge.value);
        assert_eq!(users.sum::<f64>(), 6.0, "everybody is in one of them");
    }

    #[test]
    fn every_pass_has_the_same_series_and_each_once() {
        let series = |figures: &PassFigures| -> BTreeSet<String> {
            gauges(figures).iter().map(|gauge| format!("{} {:?}", gauge.name, gauge.labels)).collect()
        };
        assert_eq!(series(&quiet()), series(&busy()));
        assert_eq!(gauges(&busy()).len(), series(&busy()).len());
        assert!(series(&busy()).len() < 200, "Google takes no more at once");
    }

    #[test]
    fn when_nobody_ever_synced_is_not_known_nothing_is_said_of_it() {
        let never = gauges(&PassFigures { last_success: None, ..quiet() });
        assert_eq!(value(&never, "pulse_last_success_timestamp_seconds", &[]), None);
    }

    proptest! {
        #[test]
        fn the_means_are_in_their_buckets_and_add_up(millis in proptest::collection::vec(0_u64..40_000, 0..200)) {
            let mut times = WayTimes::default();
            millis.iter().for_each(|millis| times.add(Duration::from_millis(*millis)));
            let buckets = times.0.iter().enumerate().filter(|(_, bucket)| bucket.users > 0);
            for ((bucket, counted), (mean, users)) in buckets.zip(means(&times)) {
                prop_assert_eq!(bounds().partition_point(|bound| *bound < mean), bucket);
                prop_assert_eq!(users, counted.users);
            }
            let sum: f64 = means(&times).map(|(mean, users)| mean * users as f64).sum();
            prop_assert!((sum - millis.iter().sum::<u64>() as f64 / 1000.0).abs() < 1e-6);
        }
    }
}
