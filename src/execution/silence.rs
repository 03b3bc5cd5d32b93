//! The line about a pass that synced nobody, which is never quietly fine: a wrong project or database, a filter with a
//! typing error, and users who all wait for something look alike.

use crate::config::Config;
use crate::model::outcome::Counts;
use jiff::Timestamp;
use tracing::{error, warn};

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
    /// At that time.
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

impl Silence {
    /// Says it, with all that can be checked.
    pub(crate) fn tell(self, counts: &Counts, config: &Config) {
        let searched = SearchedIn::of(config);
        match self {
            Self::NoUsers => searched.tell_no_users(),
            Self::Unknown => searched.tell_unknown(counts),
            Self::Sudden(at) => searched.tell_sudden(at, counts),
        }
    }
}

/// Where users were looked for.
struct SearchedIn {
    scope: &'static str,
    project: String,
    database: String,
    filter: Option<String>,
    /// For the end of a sentence.
    filtered: String,
}

impl SearchedIn {
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
    use LastSynced::{At, Never, NotAsked, Unreadable};
    use jiff::SignedDuration;

    fn ago(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH - SignedDuration::from_secs(seconds)
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
