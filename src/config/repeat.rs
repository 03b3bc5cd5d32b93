//! `--every` and `--for`: the pulse repeated in one process.

use crate::config::choices::Readers;
use crate::config::freshness::{FOR_A_SLOW_PASS, LONGEST_REFRESH, OLDEST, usual_refresh};
use crate::model::past::READERS_CALL_STALE_AFTER;
use jiff::SignedDuration;
use std::num::NonZeroU32;
use std::time::Duration;

/// Shortest `--every`.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest `--every` and `--for`: the longest task that is generally available in Cloud Run.
const LONGEST: Duration = Duration::from_hours(24);

/// Longest `--key-ttl`.
const LONGEST_TTL: Duration = Duration::from_hours(24);

/// Longest `--users-ttl`.
const LONGEST_USERS_TTL: Duration = Duration::from_hours(1);

/// Why there cannot be a pulse so often.
pub(super) const EVERY_OUT_OF_RANGE: &str = "--every must be from 1s to 24h";

/// A loop as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopAsked {
    pub(super) every: Option<Duration>,
    pub(super) length: Option<Duration>,
    pub(super) key_ttl: Duration,
    pub(super) refresh_unchanged: Option<Duration>,
    pub(super) readers: Readers,
    pub(super) users_ttl: Duration,
    pub(super) kept_users: usize,
}

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
    /// What readers go by. `--readers`.
    pub(crate) readers: Readers,
    /// How long users are kept who were read in pages; zero: not at all. `--users-ttl`.
    pub(crate) users_ttl: Duration,
    /// Most users that are kept. `--kept-users`.
    pub(crate) kept_users: usize,
}

impl Repeat {
    /// What was asked for, if it was; adds what is wrong with it. Without `--every` the other times mean
    /// nothing, so that variables which are set for several jobs harm none of them.
    pub(super) fn parse(asked: &LoopAsked, tasks: NonZeroU32, wrong: &mut Vec<String>) -> Option<Self> {
        let (every, length) = match (asked.every, asked.length) {
            (Some(every), Some(length)) => (every, length),
            (None, None) => return None,
            _ => {
                wrong.push("--every and --for must be set together".into());
                return None;
            }
        };
        let (key_ttl, readers) = (asked.key_ttl, asked.readers);
        let refresh_unchanged = asked.refresh_unchanged.unwrap_or_else(|| usual_refresh(readers, every));
        let mut demand = |is_so: bool, reason: &str| {
            if !is_so {
                wrong.push(reason.to_owned());
            }
        };
        demand(is_interval(every), EVERY_OUT_OF_RANGE);
        demand(is_interval(length), "--for must be from 1s to 24h");
        demand(key_ttl <= LONGEST_TTL, "--key-ttl must be 24h at most");
        if !refresh_unchanged.is_zero() {
            demand_freshness(readers, every, refresh_unchanged, &mut demand);
        }
        demand(asked.users_ttl <= LONGEST_USERS_TTL, "--users-ttl must be 1h at most");
        demand(
            tasks.get() == 1,
            "--every repeats the pulse in one process, and there are several tasks (CLOUD_RUN_TASK_COUNT): \
             deploy the job with --tasks 1, or leave out --every and --for and let Cloud Scheduler start every \
             pulse",
        );
        let (users_ttl, kept_users) = (asked.users_ttl, asked.kept_users);
        Some(Self { every, length, key_ttl, refresh_unchanged, readers, users_ttl, kept_users })
    }

    /// How many pulses there are in the time.
    #[must_use]
    pub(crate) fn pulses(&self) -> u32 {
        let number = self.length.as_nanos().div_ceil(self.every.as_nanos().max(1));
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// How long a snapshot may stand as it is.
    #[must_use]
    pub(super) fn stands_for(&self) -> SignedDuration {
        let longest = self.refresh_unchanged.saturating_add(self.every).saturating_add(FOR_A_SLOW_PASS);
        match self.readers {
            Readers::Age => READERS_CALL_STALE_AFTER,
            Readers::FreshUntil => SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX),
        }
    }
}

/// Whether there can be a pulse so often, or a loop of that length.
#[must_use]
pub(super) fn is_interval(time: Duration) -> bool {
    (SHORTEST..=LONGEST).contains(&time)
}

/// No snapshot that is in order becomes older than its readers take.
fn demand_freshness(
    readers: Readers,
    every: Duration,
    refresh: Duration,
    demand: &mut impl FnMut(bool, &str),
) {
    match readers {
        Readers::Age => demand(
            refresh.saturating_add(every) <= OLDEST,
            "--refresh-unchanged and --every must be 240s at most together, because readers call a snapshot of \
             300s stale: lower one of them, write every time with --refresh-unchanged 0s, or, once every reader goes \
             by fresh_until, set --readers fresh-until",
        ),
        Readers::FreshUntil => {
            demand(
                refresh <= LONGEST_REFRESH,
                "--refresh-unchanged must be 15m at most with --readers fresh-until: lower it",
            );
            demand(
                every <= OLDEST,
                "--every must be 240s at most with --readers fresh-until, because readers trust fresh_until only while \
                 ops/last_pulse is 300s old at most: lower it, or write every time with --refresh-unchanged 0s",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const ALONE: NonZeroU32 = NonZeroU32::MIN;

    fn usual() -> LoopAsked {
        LoopAsked {
            every: None,
            length: None,
            key_ttl: Duration::from_hours(1),
            refresh_unchanged: None,
            readers: Readers::Age,
            users_ttl: Duration::from_mins(10),
            kept_users: 500_000,
        }
    }

    /// `--every`, `--for`, `--key-ttl` and `--refresh-unchanged`, in seconds.
    fn args((every, length, key_ttl, refresh): (Option<u64>, Option<u64>, u64, u64)) -> LoopAsked {
        LoopAsked {
            every: every.map(seconds),
            length: length.map(seconds),
            key_ttl: seconds(key_ttl),
            refresh_unchanged: Some(seconds(refresh)),
            ..usual()
        }
    }

    /// What is wrong with these times.
    fn refusals(times: (Option<u64>, Option<u64>, u64, u64), tasks: NonZeroU32) -> Vec<String> {
        refusals_of(&args(times), tasks)
    }

    fn refusals_of(args: &LoopAsked, tasks: NonZeroU32) -> Vec<String> {
        let mut wrong = Vec::new();
        Repeat::parse(args, tasks, &mut wrong);
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
            ((Some(60), Some(86_400), 86_400, 120), 0, ""),
            ((Some(60), Some(86_401), 600, 120), 1, "--for"),
            ((Some(60), Some(840), 86_401, 120), 1, "--key-ttl"),
            ((Some(60), Some(840), 0, 180), 0, ""),
            ((Some(60), Some(840), 600, 181), 1, "--refresh-unchanged"),
            ((Some(600), Some(840), 600, 0), 0, ""),
            ((Some(600), Some(840), 600, 1), 1, "--readers fresh-until"),
            ((Some(u64::MAX), Some(u64::MAX), u64::MAX, u64::MAX), 4, "--every"),
        ] {
            let wrong = refusals(times, ALONE);
            assert_eq!(wrong.len(), number, "{times:?}: {wrong:?}");
            assert!(wrong.first().is_none_or(|reason| reason.contains(name)), "{times:?}: {wrong:?}");
        }
        for (seconds, number) in [(0, 0), (3_600, 0), (3_601, 1)] {
            let (every, length) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(840)));
            let args = LoopAsked { every, length, users_ttl: Duration::from_secs(seconds), ..usual() };
            let mut wrong = Vec::new();
            Repeat::parse(&args, ALONE, &mut wrong);
            assert_eq!(wrong.len(), number, "{seconds}: {wrong:?}");
        }
        let several = ALONE.saturating_add(1);
        let refused = refusals((Some(60), Some(840), 600, 120), several);
        assert!(refused.len() == 1 && refused[0].contains("--tasks 1"), "{refused:?}");
        assert!(refusals((None, None, 600, 120), several).is_empty());
    }

    #[test]
    fn readers_of_fresh_until_take_more_and_are_promised_what_is_kept() {
        for (every, refresh, number, name, promised) in [
            (60, 900, 0, "", 1020),
            (60, 901, 1, "--refresh-unchanged must be 15m at most", 1021),
            (240, 900, 0, "", 1200),
            (241, 900, 1, "--every must be 240s at most", 1201),
            (600, 0, 0, "", 660),
            (60, 120, 0, "", 240),
        ] {
            let by_age = args((Some(every), Some(840), 600, refresh));
            let args = LoopAsked { readers: Readers::FreshUntil, ..by_age };
            let wrong = refusals_of(&args, ALONE);
            assert_eq!(wrong.len(), number, "{every} {refresh}: {wrong:?}");
            assert!(wrong.first().is_none_or(|reason| reason.contains(name)), "{every} {refresh}: {wrong:?}");
            let promised_by = |args| {
                let repeat = Repeat::parse(args, ALONE, &mut Vec::new()).expect("a loop");
                repeat.stands_for().as_secs()
            };
            assert_eq!((promised_by(&args), promised_by(&by_age)), (promised, 300), "{every} {refresh}");
        }
    }

    #[test]
    fn unless_it_is_said_an_unchanged_snapshot_stands_for_three_minutes_or_as_long_as_readers_take() {
        for (every, by_age, by_fresh_until) in
            [(1, 180, 900), (60, 180, 900), (90, 150, 900), (240, 0, 900), (241, 0, 0), (600, 0, 0)]
        {
            for (readers, expected) in [(Readers::Age, by_age), (Readers::FreshUntil, by_fresh_until)] {
                let (every, length) = (Some(seconds(every)), Some(seconds(840)));
                let args = LoopAsked { every, length, readers, ..usual() };
                let mut wrong = Vec::new();
                let repeat = Repeat::parse(&args, ALONE, &mut wrong).expect("a loop");
                let found = (repeat.refresh_unchanged, wrong);
                assert_eq!(found, (seconds(expected), Vec::new()), "{every:?} {readers:?}");
            }
        }
    }

    #[test]
    fn a_pulse_that_begins_before_the_end_is_one_of_them() {
        for (every, length, expected) in
            [(60, 870, 15), (60, 900, 15), (60, 901, 16), (1, 1, 1), (600, 60, 1), (60, 85_500, 1_425)]
        {
            let args = args((Some(every), Some(length), 600, 0));
            let repeat = Repeat::parse(&args, ALONE, &mut Vec::new()).expect("a loop");
            assert_eq!(repeat.pulses(), expected, "{every} {length}");
        }
    }
}
