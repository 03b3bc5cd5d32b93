//! A pass that synced nobody is never quietly fine: a wrong project or database, a filter with a typing
//! error, and users who all wait for something look alike.

use crate::config::Config;
use crate::model::outcome::{Counts, PassStatus};
use jiff::{SignedDuration, Timestamp};
use tracing::{error, warn};

/// Whoever was synced within this time is missed.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// What a pass that reached all users is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worth {
    /// For the dashboards and the exit code.
    pub(crate) status: PassStatus,
    /// What there is to say of it, if nobody was synced.
    pub(crate) silence: Option<Silence>,
}

/// Why a pass that synced nobody is worth a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// There are no users, and nobody was synced lately: perhaps the project is new.
    NoUsers,
    /// A pass synced somebody then, and that is not long ago.
    Sudden(Timestamp),
    /// When a pass last synced anybody could not be read.
    Unknown,
}

/// Judges a pass at `now` by its counts, and by when a pass last synced anybody.
#[must_use]
pub(crate) fn worth(counts: &Counts, last_synced_at: Option<Timestamp>, now: Timestamp) -> Worth {
    let silence = match last_synced_at {
        _ if counts.success > 0 => None,
        Some(at) if now.duration_since(at) < LATELY => Some(Silence::Sudden(at)),
        _ => (counts.users() == 0).then_some(Silence::NoUsers),
    };
    let status = match silence {
        Some(Silence::Sudden(_) | Silence::Unknown) => PassStatus::Failed,
        Some(Silence::NoUsers) | None => counts.status(),
    };
    Worth { status, silence }
}

/// Judges a pass that could not read when a pass last synced anybody: nobody must not be taken for never.
#[must_use]
pub(crate) fn worth_in_the_dark(counts: &Counts) -> Worth {
    match counts.success {
        0 => Worth { status: PassStatus::Failed, silence: Some(Silence::Unknown) },
        _ => Worth { status: counts.status(), silence: None },
    }
}

impl Silence {
    /// Says it, with all that can be checked.
    pub(crate) fn tell(self, counts: &Counts, config: &Config) {
        let (project, database) = (config.database.project.to_string(), config.database.database.to_string());
        let filter = (!config.filter.is_empty()).then(|| config.filter.to_string());
        let filtered = filter.as_ref().map(|filter| format!(", filter {filter}")).unwrap_or_default();
        let scope = config.scope();
        match self {
            Self::NoUsers => warn!(
                scope,
                project,
                database,
                filter,
                "There are no users to sync in project {project}, database {database}{filtered}: check that this is \
                 where they are"
            ),
            Self::Unknown => error!(
                severity = "CRITICAL",
                scope,
                project,
                database,
                filter,
                users_count = counts.users(),
                "Nobody was synced, and when somebody last was could not be read: found {} users in project {project}, \
                 database {database}{filtered}. Check the project, the database, the filter (--where), and sync_enabled \
                 of the users",
                counts.users(),
            ),
            Self::Sudden(at) => error!(
                severity = "CRITICAL",
                scope,
                project,
                database,
                filter,
                last_synced_at = format!("{at:.3}"),
                users_count = counts.users(),
                skipped_count = counts.skipped,
                needs_reauth_count = counts.needs_reauth,
                error_count = counts.error(),
                "Nobody was synced, and the last success is less than a day ago, at {at:.0}: found {} users, {} \
                 skipped ({} of them have to reconnect), {} failed, in project {project}, database \
                 {database}{filtered}. Check the project, the database, the filter (--where), and sync_enabled of the users",
                counts.users(),
                counts.skipped,
                counts.needs_reauth,
                counts.error(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{Code, Outcome};
    use PassStatus::{Degraded, Failed, Ok};

    fn ago(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH - SignedDuration::from_secs(seconds)
    }

    fn judged(outcomes: &[Outcome], last_synced_at: Option<Timestamp>) -> (PassStatus, Option<Silence>) {
        let mut counts = Counts::default();
        outcomes.iter().for_each(|outcome| counts.add(*outcome));
        let Worth { status, silence } = worth(&counts, last_synced_at, Timestamp::UNIX_EPOCH);
        (status, silence)
    }

    const SYNCED: Outcome = Outcome::Synced;
    const PAUSED: Outcome = Outcome::Skipped;
    const REAUTH: Outcome = Outcome::NeedsReauth;
    const FAILED: Outcome = Outcome::Failed(Code::KeysMissing);

    #[test]
    fn who_synced_anybody_is_judged_by_the_counts_alone() {
        for last in [None, Some(ago(60)), Some(ago(1_000_000))] {
            assert_eq!(judged(&[SYNCED], last), (Ok, None));
            assert_eq!(judged(&[SYNCED, PAUSED, REAUTH], last), (Ok, None));
            assert_eq!(judged(&[SYNCED, FAILED], last), (Degraded, None));
        }
    }

    #[test]
    fn nobody_synced_soon_after_a_success_is_a_failure_whatever_the_reason() {
        const DAY: i64 = 24 * 3600;
        let reasons: [&[Outcome]; 6] =
            [&[], &[PAUSED], &[REAUTH], &[FAILED], &[PAUSED, REAUTH], &[PAUSED, REAUTH, FAILED]];
        for outcomes in reasons {
            // A success in the future was written by a clock that was wrong, and is none that is long ago.
            for seconds in [-3600, 0, 1, DAY - 1] {
                let last = ago(seconds);
                assert_eq!(
                    judged(outcomes, Some(last)),
                    (Failed, Some(Silence::Sudden(last))),
                    "{outcomes:?} {seconds}"
                );
            }
        }
    }

    #[test]
    fn long_after_the_last_success_only_failures_and_a_database_without_users_are_told() {
        for last in [None, Some(ago(24 * 3600)), Some(ago(1_000_000_000))] {
            assert_eq!(judged(&[], last), (Ok, Some(Silence::NoUsers)));
            assert_eq!(judged(&[PAUSED], last), (Ok, None));
            assert_eq!(judged(&[REAUTH, PAUSED], last), (Ok, None));
            assert_eq!(judged(&[PAUSED, FAILED], last), (Failed, None));
        }
    }
}
