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

/// When a pass last synced anybody, as far as a task was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastSynced {
    /// Then.
    At(Timestamp),
    /// Never yet.
    Never,
    /// It could not be read, and must not be taken for never.
    Unreadable,
    /// A run for named users does not ask: it proves nothing about the others.
    NotAsked,
}

impl From<Option<Timestamp>> for LastSynced {
    /// What a document says that was read.
    fn from(read: Option<Timestamp>) -> Self {
        read.map_or(Self::Never, Self::At)
    }
}

impl LastSynced {
    /// The time, if it is known.
    #[must_use]
    pub(super) fn known(self) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            Self::Never | Self::Unreadable | Self::NotAsked => None,
        }
    }

    /// The later of the two, where somebody was synced at that `time` too.
    #[must_use]
    pub(super) fn or_later(self, time: Option<Timestamp>) -> Self {
        self.known().max(time).map_or(self, Self::At)
    }
}

/// Judges a pass that reached all its users, at `now`.
#[must_use]
pub(crate) fn worth(counts: &Counts, last_synced: LastSynced, now: Timestamp) -> Worth {
    let silence = match last_synced {
        _ if counts.success > 0 => None,
        LastSynced::NotAsked => None,
        LastSynced::Unreadable => Some(Silence::Unknown),
        LastSynced::At(at) if now.duration_since(at) < LATELY => Some(Silence::Sudden(at)),
        LastSynced::At(_) | LastSynced::Never => (counts.users() == 0).then_some(Silence::NoUsers),
    };
    let status = match silence {
        Some(Silence::Sudden(_) | Silence::Unknown) => PassStatus::Failed,
        Some(Silence::NoUsers) | None => counts.status(),
    };
    Worth { status, silence }
}

impl Silence {
    /// Says it, with all that can be checked.
    pub(crate) fn tell(self, counts: &Counts, config: &Config) {
        let place = Place::of(config);
        match self {
            Self::NoUsers => place.tell_no_users(),
            Self::Unknown => place.tell_unknown(counts),
            Self::Sudden(at) => place.tell_sudden(at, counts),
        }
    }
}

/// Where users were looked for.
struct Place {
    scope: &'static str,
    project: String,
    database: String,
    filter: Option<String>,
    /// For the end of a sentence.
    filtered: String,
}

impl Place {
    fn of(config: &Config) -> Self {
        let filter = (!config.filter.is_empty()).then(|| config.filter.to_string());
        Self {
            scope: config.scope(),
            project: config.database.project.to_string(),
            database: config.database.database.to_string(),
            filtered: filter.as_ref().map(|filter| format!(", filter {filter}")).unwrap_or_default(),
            filter,
        }
    }

    fn tell_no_users(self) {
        let Self { scope, project, database, filter, filtered } = self;
        warn!(
            scope,
            project,
            database,
            filter,
            "There are no users to sync in project {project}, database {database}{filtered}: check that this is \
             where they are"
        );
    }

    fn tell_unknown(self, counts: &Counts) {
        let Self { scope, project, database, filter, filtered } = self;
        error!(
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
        );
    }

    fn tell_sudden(self, at: Timestamp, counts: &Counts) {
        let Self { scope, project, database, filter, filtered } = self;
        error!(
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
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{Code, Outcome};
    use LastSynced::{At, Never, NotAsked, Unreadable};
    use PassStatus::{Degraded, Failed, Ok};

    fn ago(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH - SignedDuration::from_secs(seconds)
    }

    fn judged(outcomes: &[Outcome], last_synced: LastSynced) -> (PassStatus, Option<Silence>) {
        let mut counts = Counts::default();
        outcomes.iter().for_each(|outcome| counts.add(*outcome));
        let Worth { status, silence } = worth(&counts, last_synced, Timestamp::UNIX_EPOCH);
        (status, silence)
    }

    const SYNCED: Outcome = Outcome::Synced;
    const PAUSED: Outcome = Outcome::Skipped;
    const REAUTH: Outcome = Outcome::NeedsReauth;
    const FAILED: Outcome = Outcome::Failed(Code::KeysMissing);

    #[test]
    fn who_synced_anybody_is_judged_by_the_counts_alone() {
        for last in [Never, Unreadable, NotAsked, At(ago(60)), At(ago(1_000_000))] {
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
                    judged(outcomes, At(last)),
                    (Failed, Some(Silence::Sudden(last))),
                    "{outcomes:?} {seconds}"
                );
            }
        }
    }

    #[test]
    fn long_after_the_last_success_only_failures_and_a_database_without_users_are_told() {
        for last in [Never, At(ago(24 * 3600)), At(ago(1_000_000_000))] {
            assert_eq!(judged(&[], last), (Ok, Some(Silence::NoUsers)));
            assert_eq!(judged(&[PAUSED], last), (Ok, None));
            assert_eq!(judged(&[REAUTH, PAUSED], last), (Ok, None));
            assert_eq!(judged(&[PAUSED, FAILED], last), (Failed, None));
        }
    }

    #[test]
    fn a_success_that_could_not_be_read_is_not_taken_for_none() {
        for outcomes in [&[][..], &[PAUSED], &[FAILED]] {
            assert_eq!(judged(outcomes, Unreadable), (Failed, Some(Silence::Unknown)), "{outcomes:?}");
        }
    }

    #[test]
    fn a_run_for_named_users_is_judged_by_them_alone() {
        for (outcomes, expected) in
            [(&[][..], Ok), (&[PAUSED], Ok), (&[FAILED], Failed), (&[FAILED, SYNCED], Degraded)]
        {
            assert_eq!(judged(outcomes, NotAsked), (expected, None), "{outcomes:?}");
        }
    }

    #[test]
    fn what_was_synced_later_counts() {
        let (early, late) = (ago(60), ago(1));
        for (known, also, expected) in [
            (At(early), Some(late), At(late)),
            (At(late), Some(early), At(late)),
            (At(late), None, At(late)),
            (Never, Some(early), At(early)),
            (Never, None, Never),
            (Unreadable, None, Unreadable),
        ] {
            assert_eq!(known.or_later(also), expected, "{known:?} {also:?}");
        }
        assert_eq!((LastSynced::from(None), LastSynced::from(Some(early))), (Never, At(early)));
        assert_eq!(
            [At(early), Never, Unreadable, NotAsked].map(LastSynced::known),
            [Some(early), None, None, None]
        );
    }
}
