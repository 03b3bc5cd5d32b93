//! How each user's sync ended, and what that makes of the whole pass.

use crate::model::past::Past;
use account_reader::documents::last_pulse;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use std::fmt;

/// The error codes of logs and documents. Other programs read them: never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    /// The secret or its version does not exist.
    KeysMissing,
    /// Permission denied on the secret.
    KeysForbidden,
    /// The newest version is disabled or destroyed.
    KeysDisabled,
    /// The payload is no key pair.
    KeysMalformed,
    /// Secret Manager is unreachable or overloaded, or its answer was damaged.
    KeysUnavailable,
    /// The user's id cannot name a secret.
    UserIdInvalid,
    /// A person named a user who has no document.
    UserUnknown,
    /// Alpaca answers 401 or 403.
    BrokerRejected,
    /// The account is not open yet and has no figures. Counts as skipped.
    AccountIncomplete,
    /// 429, and waiting as told did not help.
    BrokerRateLimited,
    /// Alpaca is unreachable, too slow, or answers 5xx.
    BrokerUnavailable,
    /// An answer that no snapshot can be made of.
    BrokerBadAnswer,
    /// An answer about another account than the one that these keys had.
    BrokerOtherAccount,
    /// Firestore is unreachable, contended, or too slow.
    StoreUnavailable,
    /// Firestore refuses: permission denied, invalid argument.
    StoreRejected,
    /// A bug: the user's task panicked.
    Internal,
}

impl Code {
    /// All of them.
    pub(crate) const ALL: [Self; 16] = [
        Self::KeysMissing,
        Self::KeysForbidden,
        Self::KeysDisabled,
        Self::KeysMalformed,
        Self::KeysUnavailable,
        Self::UserIdInvalid,
        Self::UserUnknown,
        Self::BrokerRejected,
        Self::AccountIncomplete,
        Self::BrokerRateLimited,
        Self::BrokerUnavailable,
        Self::BrokerBadAnswer,
        Self::BrokerOtherAccount,
        Self::StoreUnavailable,
        Self::StoreRejected,
        Self::Internal,
    ];

    /// The code as logs and documents spell it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::KeysMissing => "keys_missing",
            Self::KeysForbidden => "keys_forbidden",
            Self::KeysDisabled => "keys_disabled",
            Self::KeysMalformed => "keys_malformed",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UserIdInvalid => "user_id_invalid",
            Self::UserUnknown => "user_unknown",
            Self::BrokerRejected => "broker_rejected",
            Self::AccountIncomplete => "account_incomplete",
            Self::BrokerRateLimited => "broker_rate_limited",
            Self::BrokerUnavailable => "broker_unavailable",
            Self::BrokerBadAnswer => "broker_bad_answer",
            Self::BrokerOtherAccount => "broker_other_account",
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreRejected => "store_rejected",
            Self::Internal => "internal",
        }
    }

    /// Reads what [`Code::as_str`] wrote.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// Whose cause it is: ours, or a user's own, who has to connect, complete or wait for their account.
    /// Only what is ours makes figures count as stale and alerts fire.
    ///
    /// With rights per secret, one that a user never made looks like one that is forbidden; whether the user
    /// has `ever_synced` tells them apart.
    #[must_use]
    pub(crate) fn is_ours(self, ever_synced: bool) -> bool {
        match self {
            Self::KeysMissing
            | Self::KeysMalformed
            | Self::KeysDisabled
            | Self::UserIdInvalid
            // A person's typing error, in a run of their own.
            | Self::UserUnknown
            | Self::AccountIncomplete => false,
            Self::KeysForbidden => ever_synced,
            Self::KeysUnavailable
            | Self::BrokerRejected
            | Self::BrokerRateLimited
            | Self::BrokerUnavailable
            | Self::BrokerBadAnswer
            | Self::BrokerOtherAccount
            | Self::StoreUnavailable
            | Self::StoreRejected
            | Self::Internal => true,
        }
    }

    /// Whether there is nothing left that opens an account: as of a user who was deleted, whose keys are deleted,
    /// disabled or revoked with them. With rights per secret, one that is deleted looks like one that is forbidden.
    #[must_use]
    pub(crate) fn is_as_of_deleted(self) -> bool {
        matches!(self, Self::KeysMissing | Self::KeysForbidden | Self::KeysDisabled | Self::BrokerRejected)
    }

    /// Whether the failure is about getting the keys, for which the log has a line of its own.
    #[must_use]
    pub(crate) fn is_about_keys(self) -> bool {
        self.as_str().starts_with("keys_")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one user's sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A fresh snapshot is written (or, in a dry run, would have been).
    Synced,
    /// Nothing was to be done: switched off, or the account is not open yet.
    Skipped,
    /// Waiting for the user to reconnect their account.
    NeedsReauth,
    /// No snapshot, for this reason. The old one is untouched.
    Failed(Code),
}

/// What a sync's end says of the job rather than of its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blame {
    /// The failure's cause is ours.
    pub(crate) is_ours: bool,
    /// And the user's figures are known to be too old for their readers.
    pub(crate) is_stale: bool,
}

impl Blame {
    /// The blame for an outcome, with what is known of how the user came into trouble. A user of whom
    /// nothing is known counts as one who has synced.
    #[must_use]
    pub(crate) fn of(outcome: Outcome, past: Option<&Past>, now: Timestamp) -> Self {
        let Outcome::Failed(code) = outcome else { return Self::default() };
        let is_ours = code.is_ours(past.is_none_or(|past| past.last_success.is_some()));
        Self { is_ours, is_stale: is_ours && past.is_some_and(|past| past.is_stale(now)) }
    }
}

/// The outcomes of one pass, counted. Always users = success + error + skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Users with a fresh snapshot.
    pub(crate) success: u64,
    /// Users left alone, those that need re-authentication included.
    pub(crate) skipped: u64,
    /// Users left alone because Alpaca rejects their keys.
    pub(crate) needs_reauth: u64,
    /// Users without a fresh snapshot, by reason.
    pub(crate) errors: BTreeMap<Code, u64>,
    /// Those of them whose cause is ours.
    pub(crate) ours: u64,
    /// Those of these whose figures are known to be too old for their readers.
    pub(crate) stale: u64,
}

/// The pass as a whole, for `ops/last_pulse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassStatus {
    /// Every user is fresh or rightly skipped.
    Ok,
    /// Some users failed.
    Degraded,
    /// The pass did not do its job: users could not be read, it was stopped, or nobody was synced.
    Failed,
}

impl PassStatus {
    /// The word used in `ops/last_pulse`.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => last_pulse::OK,
            Self::Degraded => last_pulse::DEGRADED,
            Self::Failed => last_pulse::FAILED,
        }
    }

    /// Reads what [`PassStatus::as_str`] wrote.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Ok, Self::Degraded, Self::Failed].into_iter().find(|status| status.as_str() == text)
    }
}

impl Counts {
    /// Counts one user more.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Synced => self.success += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::NeedsReauth => {
                self.skipped += 1;
                self.needs_reauth += 1;
            }
            Outcome::Failed(code) => *self.errors.entry(code).or_default() += 1,
        }
    }

    /// Counts the blame for one of them.
    pub(crate) fn add_blame(&mut self, blame: Blame) {
        self.ours += u64::from(blame.is_ours);
        self.stale += u64::from(blame.is_stale);
    }

    /// Counts one of them, who was counted like that, no more.
    pub(crate) fn take_back(&mut self, outcome: Outcome, blame: Blame) {
        match outcome {
            Outcome::Synced => self.success -= 1,
            Outcome::Skipped => self.skipped -= 1,
            Outcome::NeedsReauth => {
                self.skipped -= 1;
                self.needs_reauth -= 1;
            }
            Outcome::Failed(code) => {
                if let Entry::Occupied(mut count) = self.errors.entry(code) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
        }
        self.ours -= u64::from(blame.is_ours);
        self.stale -= u64::from(blame.is_stale);
    }

    /// Counts all users of another count more.
    pub(crate) fn add_all(&mut self, more: &Self) {
        self.success += more.success;
        self.skipped += more.skipped;
        self.needs_reauth += more.needs_reauth;
        self.ours += more.ours;
        self.stale += more.stale;
        for (code, count) in &more.errors {
            *self.errors.entry(*code).or_default() += count;
        }
    }

    /// Users without a fresh snapshot.
    #[must_use]
    pub(crate) fn error(&self) -> u64 {
        self.errors.values().sum()
    }

    /// All users of the pass.
    #[must_use]
    pub(crate) fn users(&self) -> u64 {
        self.success + self.error() + self.skipped
    }

    /// What a pass that reached all its users is worth.
    #[must_use]
    pub(crate) fn status(&self) -> PassStatus {
        match (self.success, self.error()) {
            (_, 0) => PassStatus::Ok,
            (0, _) => PassStatus::Failed,
            _ => PassStatus::Degraded,
        }
    }
}

impl fmt::Display for Counts {
    /// `1 successful, 0 errors`, and the skipped users when there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} successful, {} errors", self.success, self.error())?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::past::LastSuccess;

    fn counts(outcomes: &[Outcome]) -> Counts {
        let mut counts = Counts::default();
        outcomes.iter().for_each(|outcome| counts.add(*outcome));
        counts
    }

    #[test]
    fn what_is_taken_back_was_never_counted() {
        let blame = Blame { is_ours: true, is_stale: true };
        for outcome in [
            Outcome::Synced,
            Outcome::Skipped,
            Outcome::NeedsReauth,
            Outcome::Failed(Code::KeysMissing),
            Outcome::Failed(Code::BrokerUnavailable),
        ] {
            let before = counts(&[Outcome::Synced, Outcome::NeedsReauth, Outcome::Failed(Code::KeysMissing)]);
            let mut after = before.clone();
            after.add(outcome);
            after.add_blame(blame);
            assert_ne!(after, before);
            after.take_back(outcome, blame);
            assert_eq!(after, before, "{outcome:?}");
        }
    }

    #[test]
    fn every_user_is_counted_once() {
        let counts = counts(&[
            Outcome::Synced,
            Outcome::Skipped,
            Outcome::NeedsReauth,
            Outcome::Failed(Code::KeysMissing),
            Outcome::Failed(Code::Internal),
        ]);
        assert_eq!((counts.users(), counts.success, counts.error(), counts.skipped), (5, 1, 2, 2));
        assert_eq!(counts.needs_reauth, 1);
    }

    #[test]
    fn the_summary_names_skipped_users_only_when_there_are_any() {
        assert_eq!(counts(&[Outcome::Synced]).to_string(), "1 successful, 0 errors");
        let three = [Outcome::Skipped, Outcome::NeedsReauth, Outcome::Failed(Code::Internal)];
        assert_eq!(counts(&three).to_string(), "0 successful, 1 errors, 2 skipped");
    }

    #[test]
    fn a_pass_fails_only_when_nobody_was_synced_and_somebody_failed() {
        let failed = Outcome::Failed(Code::BrokerUnavailable);
        assert_eq!(counts(&[]).status(), PassStatus::Ok);
        assert_eq!(counts(&[Outcome::Skipped]).status(), PassStatus::Ok);
        assert_eq!(counts(&[Outcome::Synced]).status(), PassStatus::Ok);
        assert_eq!(counts(&[Outcome::Synced, failed]).status(), PassStatus::Degraded);
        assert_eq!(counts(&[Outcome::Skipped, failed]).status(), PassStatus::Failed);
    }

    #[test]
    fn counts_add_up_number_by_number() {
        let part = |factor: u64| Counts {
            success: factor,
            skipped: 2 * factor,
            needs_reauth: 3 * factor,
            errors: [(Code::KeysMissing, 4 * factor), (Code::Internal, factor)].into(),
            ours: 5 * factor,
            stale: 6 * factor,
        };
        let mut sum = part(1);
        sum.add_all(&part(10));
        assert_eq!(sum, part(11));
        sum.add_all(&Counts { errors: [(Code::StoreRejected, 7)].into(), ..Counts::default() });
        assert_eq!((sum.errors[&Code::StoreRejected], sum.errors.len()), (7, 3));
        assert_eq!((sum.error(), sum.users()), (44 + 11 + 7, 11 + 22 + 44 + 11 + 7));
    }

    #[test]
    fn blame_is_counted_by_its_kind() {
        let mut counts = Counts::default();
        for (is_ours, is_stale) in [(true, true), (true, false), (true, false), (false, false)] {
            counts.add_blame(Blame { is_ours, is_stale });
        }
        assert_eq!((counts.ours, counts.stale), (3, 1));
    }

    #[test]
    fn a_failure_is_about_keys_where_they_could_not_be_got() {
        let about_keys: Vec<_> = Code::ALL.into_iter().filter(|code| code.is_about_keys()).collect();
        let expected = [
            Code::KeysMissing,
            Code::KeysForbidden,
            Code::KeysDisabled,
            Code::KeysMalformed,
            Code::KeysUnavailable,
        ];
        assert_eq!(about_keys, expected);
    }

    #[test]
    fn each_cause_is_the_users_own_or_ours() {
        let own = |ever_synced: bool| Code::ALL.into_iter().filter(move |code| !code.is_ours(ever_synced));
        let always = [
            Code::KeysMissing,
            Code::KeysDisabled,
            Code::KeysMalformed,
            Code::UserIdInvalid,
            Code::UserUnknown,
            Code::AccountIncomplete,
        ];
        assert_eq!(own(true).collect::<Vec<_>>(), always);
        let newcomers: Vec<_> = own(false).filter(|code| !always.contains(code)).collect();
        assert_eq!(newcomers, [Code::KeysForbidden]);
    }

    #[test]
    fn only_failures_of_ours_make_figures_stale() {
        let now = Timestamp::from_second(1_000).expect("in range");
        let past = |last: Option<i64>| Past {
            failing_since: now,
            last_success: last.map(|second| LastSuccess {
                at: Timestamp::from_second(second).expect("in range"),
                key_version: None,
            }),
        };
        let (old, fresh, never) = (Some(past(Some(0))), Some(past(Some(900))), Some(past(None)));
        let (forbidden, missing) = (Outcome::Failed(Code::KeysForbidden), Outcome::Failed(Code::KeysMissing));
        let unavailable = Outcome::Failed(Code::BrokerUnavailable);
        for (outcome, past, is_ours, is_stale) in [
            (unavailable, &old, true, true),
            (unavailable, &fresh, true, false),
            (unavailable, &never, true, false),
            (unavailable, &None, true, false),
            (forbidden, &old, true, true),
            (forbidden, &never, false, false),
            (forbidden, &None, true, false),
            (missing, &old, false, false),
            (Outcome::NeedsReauth, &old, false, false),
            (Outcome::Skipped, &old, false, false),
            (Outcome::Synced, &old, false, false),
        ] {
            let blame = Blame::of(outcome, past.as_ref(), now);
            assert_eq!(blame, Blame { is_ours, is_stale }, "{outcome:?} {past:?}");
        }
    }

    #[test]
    fn every_code_is_read_back() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
            assert_eq!(code.to_string(), code.as_str());
        }
        assert_eq!(Code::parse("keys"), None);
        for status in [PassStatus::Ok, PassStatus::Degraded, PassStatus::Failed] {
            assert_eq!(PassStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(PassStatus::parse(""), None);
    }
}
