//! `--every` and `--for`: the pulse repeated in one process.

use crate::config::args::SyncArgs;
use crate::config::execution::Execution;
use crate::model::past::READERS_CALL_STALE_AFTER;
use std::time::Duration;

/// Shortest `--every`.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest `--every` and `--for`: what Cloud Run lets a task take.
pub(crate) const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Longest `--key-ttl`.
const LONGEST_TTL: Duration = Duration::from_hours(24);

/// Longest `--users-ttl`.
const LONGEST_USERS_TTL: Duration = Duration::from_hours(1);

/// Left for a pass that is slow before readers call a snapshot stale.
const FOR_A_SLOW_PASS: Duration = Duration::from_secs(60);

/// Longest `--refresh-unchanged` and `--every` together. A snapshot may become that old before the pulse
/// begins that rewrites it.
const OLDEST: Duration = READERS_CALL_STALE_AFTER.unsigned_abs().saturating_sub(FOR_A_SLOW_PASS);

/// How the pulse is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// From the start of one pulse to that of the next. `--every`.
    pub(crate) every: Duration,
    /// From the start of the process until no new pulse starts. `--for`.
    pub(crate) length: Duration,
    /// How long keys are kept; zero: not at all. `--key-ttl`.
    pub(crate) key_ttl: Duration,
    /// The age at which the snapshot of an unchanged account is rewritten; zero: always. `--refresh-unchanged`.
    pub(crate) refresh_unchanged: Duration,
    /// How long users are kept who were read in pages; zero: not at all. `--users-ttl`.
    pub(crate) users_ttl: Duration,
    /// Most users that are kept. `--kept-users`.
    pub(crate) kept_users: usize,
}

impl Repeat {
    /// What was asked for, if it was; adds what is wrong with it. Without `--every` the other times mean
    /// nothing, so that variables which are set for several jobs harm none of them.
    pub(crate) fn from_args(args: &SyncArgs, execution: &Execution, wrong: &mut Vec<String>) -> Option<Self> {
        let (every, length) = match (args.every, args.length) {
            (Some(every), Some(length)) => (every, length),
            (None, None) => return None,
            _ => {
                wrong.push("--every and --for must be set together".into());
                return None;
            }
        };
        let (key_ttl, refresh_unchanged) = (args.key_ttl, args.refresh_unchanged);
        let mut demand = |is_so: bool, reason: &str| {
            if !is_so {
                wrong.push(reason.to_owned());
            }
        };
        demand((SHORTEST..=LONGEST).contains(&every), "--every must be from 1s to 7days");
        demand((SHORTEST..=LONGEST).contains(&length), "--for must be from 1s to 7days");
        demand(key_ttl <= LONGEST_TTL, "--key-ttl must be 24h at most");
        demand(args.users_ttl <= LONGEST_USERS_TTL, "--users-ttl must be 1h at most");
        demand(
            refresh_unchanged.is_zero() || refresh_unchanged.saturating_add(every) <= OLDEST,
            "--refresh-unchanged and --every must be 240s at most together, because readers call a snapshot of \
             300s stale: lower one of them, or write every time with --refresh-unchanged 0s",
        );
        demand(
            execution.task_count.get() == 1,
            "--every repeats the pulse in one process, and CLOUD_RUN_TASK_COUNT says that there are several: \
             deploy the job with --tasks 1, or leave out --every and --for and let Cloud Scheduler start every \
             pulse",
        );
        let (users_ttl, kept_users) = (args.users_ttl, args.kept_users);
        Some(Self { every, length, key_ttl, refresh_unchanged, users_ttl, kept_users })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn execution(tasks: &str) -> Execution {
        let lookup = |name: &str| (name == "CLOUD_RUN_TASK_COUNT").then(|| tasks.to_owned());
        Execution::from_lookup(lookup, Timestamp::UNIX_EPOCH).expect("usable")
    }

    /// What is wrong with these times, `--every`, `--for`, `--key-ttl` and `--refresh-unchanged`, in seconds.
    fn refusals(times: (Option<u64>, Option<u64>, u64, u64), tasks: &str) -> Vec<String> {
        let (every, length, key_ttl, refresh) = times;
        let args = SyncArgs {
            every: every.map(seconds),
            length: length.map(seconds),
            key_ttl: seconds(key_ttl),
            refresh_unchanged: seconds(refresh),
            ..SyncArgs::default()
        };
        let mut wrong = Vec::new();
        Repeat::from_args(&args, &execution(tasks), &mut wrong);
        wrong
    }

    #[test]
    fn times_that_make_no_sense_are_refused() {
        for (times, number, name) in [
            ((Some(60), Some(840), 600, 120), 0, ""),
            ((None, None, 999_999, 999), 0, "without effect"),
            ((Some(60), None, 600, 120), 1, "--for"),
            ((None, Some(60), 600, 120), 1, "--every"),
            ((Some(0), Some(840), 600, 120), 1, "--every"),
            ((Some(60), Some(0), 600, 120), 1, "--for"),
            ((Some(60), Some(604_801), 600, 120), 1, "--for"),
            ((Some(60), Some(840), 86_401, 120), 1, "--key-ttl"),
            ((Some(60), Some(840), 0, 180), 0, ""),
            ((Some(60), Some(840), 600, 181), 1, "--refresh-unchanged"),
            ((Some(600), Some(840), 600, 0), 0, ""),
            ((Some(u64::MAX), Some(u64::MAX), u64::MAX, u64::MAX), 4, "--every"),
        ] {
            let wrong = refusals(times, "1");
            assert_eq!(wrong.len(), number, "{times:?}: {wrong:?}");
            assert!(wrong.first().is_none_or(|reason| reason.contains(name)), "{times:?}: {wrong:?}");
        }
        for (seconds, number) in [(0, 0), (3_600, 0), (3_601, 1)] {
            let (every, length) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(840)));
            let args =
                SyncArgs { every, length, users_ttl: Duration::from_secs(seconds), ..SyncArgs::default() };
            let mut wrong = Vec::new();
            Repeat::from_args(&args, &execution("1"), &mut wrong);
            assert_eq!(wrong.len(), number, "{seconds}: {wrong:?}");
        }
        let several = refusals((Some(60), Some(840), 600, 120), "2");
        assert!(several.len() == 1 && several[0].contains("--tasks 1"), "{several:?}");
        assert!(refusals((None, None, 600, 120), "2").is_empty());
    }
}
