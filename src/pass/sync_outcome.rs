//! What became of one user.

use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::outcome::{Code, Outcome};
use crate::model::past::Past;
use crate::pass::plan::NotSynced;

/// What became of one user, and what follows from it. Whatever is written was written by then; what has to wait for
/// all users, [`crate::pass::tally::Tally`] keeps until the pass closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyncOutcome {
    /// Nothing was done for the user; [`NotSynced`] says why, and what it counts as.
    NotSynced(NotSynced),
    /// A fresh snapshot was written, with the end of the user's state where there was one. The tenant's document was
    /// written beside it, or refused by the rules: that costs the user nothing, and a log line says it at most.
    Synced(Environment),
    /// Alpaca gave the figures that the documents say already, and they are fresh enough: nothing was written. Counts
    /// as a success, as [`SyncOutcome::Synced`] does.
    Unchanged(Environment),
    /// There is no fresh snapshot. Logged, and recorded in `users/{userId}/alpacaAccounts/sync` as far as the plan
    /// says; a rejection of the keys is judged and recorded when the pass closes.
    Failed(Failed),
    /// A bug: the user's task panicked. Counts as failed (`internal`), and is recorded when the pass closes.
    Panicked,
}

/// How a user failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// A failure; skipped for an account that is not open yet; or still in need of re-authentication, where that was
    /// known and nothing new was learned.
    pub(crate) counts_as: Outcome,
    /// What Alpaca said of the keys, where it did and where that counts.
    pub(crate) verdict: Option<KeyVerdict>,
    /// How the user came into trouble, where that was found out on the way.
    pub(crate) past: Option<Past>,
}

/// What Alpaca said of a user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyVerdict {
    /// This host took them.
    Accepted(Environment),
    /// This host rejected those of this version.
    Rejected(Environment, KeyVersion),
}

impl Failed {
    /// Whether the record has to wait until the pass closes.
    #[must_use]
    pub(crate) fn is_judged_at_close(&self) -> bool {
        matches!(self.verdict, Some(KeyVerdict::Rejected(..)))
    }
}

impl NotSynced {
    /// What it counts as.
    #[must_use]
    pub(crate) fn counts_as(self) -> Outcome {
        match self {
            Self::Paused | Self::UnreadableSwitch => Outcome::Skipped,
            Self::WaitsForReauth => Outcome::NeedsReauth,
            Self::Missing => Outcome::Failed(Code::UserUnknown),
        }
    }
}

impl SyncOutcome {
    /// What it counts as.
    #[must_use]
    pub(crate) fn counts_as(&self) -> Outcome {
        match self {
            Self::NotSynced(reason) => reason.counts_as(),
            Self::Synced(_) | Self::Unchanged(_) => Outcome::Synced,
            Self::Failed(failed) => failed.counts_as,
            Self::Panicked => Outcome::Failed(Code::Internal),
        }
    }

    /// What Alpaca said of the keys, and how the user came into trouble, as far as either was found out.
    #[must_use]
    pub(crate) fn into_findings(self) -> (Option<KeyVerdict>, Option<Past>) {
        match self {
            Self::Synced(host) | Self::Unchanged(host) => (Some(KeyVerdict::Accepted(host)), None),
            Self::Failed(Failed { counts_as: _, verdict, past }) => (verdict, past),
            Self::NotSynced(_) | Self::Panicked => (None, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_once_and_says_what_it_found_out() {
        let (host, version) = (Environment::Live, KeyVersion::parse("3").expect("a number"));
        let failed = |counts_as| {
            let verdict = Some(KeyVerdict::Rejected(host, version.clone()));
            SyncOutcome::Failed(Failed { counts_as, verdict, past: None })
        };
        let accepted = Some(KeyVerdict::Accepted(host));
        let rejected = Some(KeyVerdict::Rejected(host, version.clone()));
        let rejection = Outcome::Failed(Code::BrokerRejected);
        for (outcome, counts_as, verdict) in [
            (SyncOutcome::NotSynced(NotSynced::Paused), Outcome::Skipped, None),
            (SyncOutcome::NotSynced(NotSynced::UnreadableSwitch), Outcome::Skipped, None),
            (SyncOutcome::NotSynced(NotSynced::WaitsForReauth), Outcome::NeedsReauth, None),
            (SyncOutcome::NotSynced(NotSynced::Missing), Outcome::Failed(Code::UserUnknown), None),
            (SyncOutcome::Synced(host), Outcome::Synced, accepted.clone()),
            (SyncOutcome::Unchanged(host), Outcome::Synced, accepted),
            (failed(rejection), rejection, rejected.clone()),
            (failed(Outcome::NeedsReauth), Outcome::NeedsReauth, rejected),
            (SyncOutcome::Panicked, Outcome::Failed(Code::Internal), None),
        ] {
            assert_eq!(outcome.counts_as(), counts_as, "{outcome:?}");
            assert_eq!(outcome.into_findings(), (verdict, None));
        }
    }
}
