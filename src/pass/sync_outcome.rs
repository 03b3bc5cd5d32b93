//! What became of one user.

use crate::model::key_version::KeyVersion;
use crate::model::keys::Environment;
use crate::model::outcome::{Code, Outcome};
use crate::model::past::Past;
use crate::pass::plan::LeftAlone;

/// What became of one user; what was done, written, logged and follows is listed at
/// [`sync_user`](crate::pass::sync_user::sync_user). What it leaves to the closing, the
/// [`Tally`](crate::pass::tally::Tally) keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyncOutcome {
    /// Alpaca was not asked, and nothing was written; [`LeftAlone`] says why.
    LeftAlone(LeftAlone),
    /// The snapshot was written (or would be, without a dry run). So were the tenant's document, where the rules allow
    /// it, and the end of the user's state, where there is one, unless a WARNING says otherwise.
    Synced(Environment),
    /// Alpaca gave the figures that the documents say already, and they are fresh enough: nothing was written, unless
    /// an entry of the equity history.
    Unchanged(Environment),
    /// There is no fresh snapshot. Recorded at once as far as the plan says
    /// ([`OnFailure`](crate::pass::plan::OnFailure)); but a rejection of a stored key, unless in a person's own run, is
    /// left to the closing: recorded when the pass closes, or in a later pass (see `Tally::defer`, `settle`, `up_to`).
    NoSnapshot(NoSnapshot),
    /// A bug: the user's task panicked. Left to the closing, as a rejection is.
    Panicked,
}

/// What a user counts as who has no fresh snapshot, and what was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoSnapshot {
    /// A failure, logged as ERROR. Or, logged as INFO: skipped, for an account that is not open yet; still in need of
    /// re-authentication, where that was known and nothing new was learned.
    pub(crate) counts_as: Outcome,
    /// What Alpaca said of the keys, where it did and where that counts: not in a person's own run, nor where the
    /// legacy account's are rejected, which have no version.
    pub(crate) key_verdict: Option<KeyVerdict>,
    /// Since when the user fails and when they last succeeded, where that was read before it was recorded.
    pub(crate) past: Option<Past>,
    /// What happened, for a person who watches: whoever reads the log has it there.
    pub(crate) why: Option<Box<Told>>,
}

/// What happened to one user who failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// In words.
    pub(crate) reason: String,
    /// Firestore refuses what is written of this user, whatever it does for others.
    pub(crate) is_one_documents: bool,
}

/// What Alpaca said of a user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyVerdict {
    /// This host took them.
    Accepted(Environment),
    /// This host rejected those of this version.
    Rejected(Environment, KeyVersion),
}

impl NoSnapshot {
    /// Whether it counts as a failure.
    #[must_use]
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self.counts_as, Outcome::Failed(_))
    }

    /// Whether it is not recorded at once, but when the pass closes.
    #[must_use]
    pub(crate) fn is_left_to_closing(&self) -> bool {
        matches!(self.key_verdict, Some(KeyVerdict::Rejected(..)))
    }
}

impl LeftAlone {
    /// What it counts as.
    #[must_use]
    pub(crate) fn counts_as(self) -> Outcome {
        match self {
            Self::Paused | Self::UnreadableSwitch | Self::WaitsForKeys | Self::Gone | Self::NotLookedAt => {
                Outcome::Skipped
            }
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
            Self::LeftAlone(reason) => reason.counts_as(),
            Self::Synced(_) | Self::Unchanged(_) => Outcome::Synced,
            Self::NoSnapshot(judged) => judged.counts_as,
            Self::Panicked => Outcome::Failed(Code::Internal),
        }
    }

    /// What happened to a user who failed, where a person watches.
    #[must_use]
    pub(crate) fn why(&self) -> Option<&Told> {
        match self {
            Self::NoSnapshot(NoSnapshot { why, .. }) => why.as_deref(),
            Self::LeftAlone(_) | Self::Synced(_) | Self::Unchanged(_) | Self::Panicked => None,
        }
    }

    /// What Alpaca said of the keys, and since when the user fails, as far as either was found out.
    #[must_use]
    pub(crate) fn into_findings(self) -> (Option<KeyVerdict>, Option<Past>) {
        match self {
            Self::Synced(host) | Self::Unchanged(host) => (Some(KeyVerdict::Accepted(host)), None),
            Self::NoSnapshot(NoSnapshot { key_verdict, past, counts_as: _, why: _ }) => (key_verdict, past),
            Self::LeftAlone(_) | Self::Panicked => (None, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_once_and_says_what_it_found_out() {
        let (host, version) = (Environment::Live, KeyVersion::parse("3").expect("a number"));
        let no_snapshot = |counts_as| {
            let key_verdict = Some(KeyVerdict::Rejected(host, version.clone()));
            SyncOutcome::NoSnapshot(NoSnapshot { counts_as, key_verdict, past: None, why: None })
        };
        let accepted = Some(KeyVerdict::Accepted(host));
        let rejected = Some(KeyVerdict::Rejected(host, version.clone()));
        let rejection = Outcome::Failed(Code::BrokerRejected);
        for (outcome, counts_as, key_verdict) in [
            (SyncOutcome::LeftAlone(LeftAlone::Paused), Outcome::Skipped, None),
            (SyncOutcome::LeftAlone(LeftAlone::UnreadableSwitch), Outcome::Skipped, None),
            (SyncOutcome::LeftAlone(LeftAlone::WaitsForReauth), Outcome::NeedsReauth, None),
            (SyncOutcome::LeftAlone(LeftAlone::WaitsForKeys), Outcome::Skipped, None),
            (SyncOutcome::LeftAlone(LeftAlone::Gone), Outcome::Skipped, None),
            (SyncOutcome::LeftAlone(LeftAlone::Missing), Outcome::Failed(Code::UserUnknown), None),
            (SyncOutcome::Synced(host), Outcome::Synced, accepted.clone()),
            (SyncOutcome::Unchanged(host), Outcome::Synced, accepted),
            (no_snapshot(rejection), rejection, rejected.clone()),
            (no_snapshot(Outcome::NeedsReauth), Outcome::NeedsReauth, rejected),
            (SyncOutcome::Panicked, Outcome::Failed(Code::Internal), None),
        ] {
            assert_eq!(outcome.counts_as(), counts_as, "{outcome:?}");
            assert_eq!(outcome.into_findings(), (key_verdict, None));
        }
    }
}
