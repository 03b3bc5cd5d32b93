//! `users/{userId}/alpacaAccounts/sync`: what keeps a user from being synced, for the app that asks
//! them to reconnect, and for the next pulse.

use crate::firestore::values::{Fields, integer, string, text, time, timestamp, whole_number};
use crate::model::fleet_guard::Guard;
use crate::model::key_version::KeyVersion;
use crate::model::outcome::Code;
use crate::model::past::{LastSuccess, Past};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::{SignedDuration, Timestamp};

/// Rejected pulses in a row, for one key version, that make a user need re-authentication: one 401
/// proves little.
const REJECTIONS_THAT_COUNT: u32 = 2;

/// Longest rest of rejected keys.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(24);

/// How far the clocks of two machines may be apart.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(1);

/// How often the secret of a user who needs re-authentication is looked at, in seconds.
const LOOK_EVERY_SECONDS: i64 = 300;

/// What the app shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Failing, and tried again at every pulse.
    Retrying,
    /// Alpaca rejects the keys: the user has to reconnect their account.
    NeedsReauth,
    /// The account is not open yet.
    Incomplete,
    /// The trouble is over.
    Ok,
}

impl State {
    /// The states of users in trouble, which the pass asks for.
    pub(crate) const IN_TROUBLE: [Self; 3] = [Self::Retrying, Self::NeedsReauth, Self::Incomplete];

    /// The word used in the document.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Retrying => "retrying",
            Self::NeedsReauth => "needs_reauth",
            Self::Incomplete => "incomplete",
            Self::Ok => "ok",
        }
    }
}

/// One such document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncState {
    /// What the app shows.
    pub(crate) state: State,
    /// The last failure; none once the trouble is over.
    pub(crate) error: Option<Code>,
    /// When `state` began.
    pub(crate) since: Timestamp,
    /// The first failure after the last success; none once the trouble is over, and as long as the snapshot
    /// that tells of the last success could not be read.
    pub(crate) failing_since: Option<Timestamp>,
    /// The last success; none for a user who never synced.
    pub(crate) last_success: Option<LastSuccess>,
    /// Rejected pulses in a row, for `broker_rejected`; those that the fleet guard holds back do not count.
    pub(crate) rejections: u32,
    /// The version of the keys that the failure is about, where it is about keys that were read.
    pub(crate) key_version: Option<KeyVersion>,
    /// Until then Alpaca is not asked again with that version.
    pub(crate) next_attempt_at: Option<Timestamp>,
}

/// What is known of a user's trouble before their journey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PreviousState {
    /// It could not be read: whatever happens now is not recorded, so that nothing known is lost.
    Unknown,
    /// No trouble.
    Clean,
    /// In trouble.
    Troubled(SyncState),
}

impl PreviousState {
    /// The record, if there is one.
    #[must_use]
    pub(crate) fn trouble(&self) -> Option<&SyncState> {
        match self {
            Self::Troubled(trouble) => Some(trouble),
            Self::Unknown | Self::Clean => None,
        }
    }

    /// How the user came into trouble, where it is known without their snapshot.
    #[must_use]
    pub(crate) fn past(&self) -> Option<Past> {
        let trouble = self.trouble()?;
        let failing_since = trouble.failing_since?;
        Some(Past { failing_since, last_success: trouble.last_success.clone() })
    }

    /// Whether the snapshot has to be read before a failure is recorded: nothing was recorded so far, or not
    /// all of it, by an older version or because the snapshot could not be read.
    #[must_use]
    pub(crate) fn lacks_past(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Clean => true,
            Self::Troubled(trouble) => trouble.failing_since.is_none(),
        }
    }

    /// The same once the snapshot is read, for a user who fails at `now`.
    #[must_use]
    pub(crate) fn past_with(&self, last_success: Option<LastSuccess>, now: Timestamp) -> Past {
        let failing_since = self.trouble().map_or(now, |trouble| trouble.since.min(now));
        Past { failing_since, last_success }
    }

    /// Whether Alpaca's rejection of these keys is already an established fact.
    #[must_use]
    pub(crate) fn needs_reauth(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.state == State::NeedsReauth)
    }
}

impl PreviousState {
    /// Whether a new record may take the place of what is there. One that lacks the beginning of the trouble
    /// stays until that is known: only its `since` tells it.
    fn can_be_replaced(&self, past: Option<&Past>) -> bool {
        match self {
            Self::Unknown => false,
            Self::Clean => true,
            Self::Troubled(_) => past.is_some(),
        }
    }

    /// Whether a failure leaves it at that Alpaca rejects the keys. It does not when it says more than
    /// that they could not be tried again: that they are gone, that they are others, or that Alpaca
    /// took them and something later failed.
    #[must_use]
    pub(crate) fn stays_rejected(&self, code: Code, version: Option<&KeyVersion>) -> bool {
        let Some(trouble) = self.trouble().filter(|trouble| trouble.state == State::NeedsReauth) else {
            return false;
        };
        let other_keys = version.is_some() && version != trouble.key_version.as_ref();
        let later = [
            Code::AccountIncomplete,
            Code::BrokerBadAnswer,
            Code::BrokerOtherAccount,
            Code::StoreUnavailable,
            Code::StoreRejected,
        ];
        let taken = version.is_some() && later.contains(&code);
        !(code == Code::KeysMissing || other_keys || taken)
    }
}

/// What this pulse does for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyncPlan {
    /// Fetch the keys and ask Alpaca.
    Ask,
    /// Fetch the keys, and ask Alpaca only if they are others than this rejected version.
    AskUnless(KeyVersion),
    /// Nothing: Alpaca rejected the keys, and neither the next attempt nor the next look is due.
    Wait,
}

/// When the secrets of users who need re-authentication are looked at.
///
/// Every user has a slot of five minutes, shifted by a hash of their id so that not all are looked at
/// in the same pulse. A pulse looks if the user's slot has changed since the pulse before, which
/// needs no write and no memory, however irregular the pulses are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecheckSchedule {
    /// When the pulse before this one started. Without one, everybody is looked at.
    pub(crate) previous: Option<Timestamp>,
    /// When this pulse started.
    pub(crate) now: Timestamp,
}

impl RecheckSchedule {
    fn is_due(&self, user: &str) -> bool {
        let shift = i64::from(crc32c::crc32c(user.as_bytes())) % LOOK_EVERY_SECONDS;
        let slot = |time: Timestamp| (time.as_second() + shift).div_euclid(LOOK_EVERY_SECONDS);
        self.previous.is_none_or(|previous| slot(previous) != slot(self.now))
    }
}

/// What this pulse does for a user with that history.
#[must_use]
pub(crate) fn plan(history: &PreviousState, user: &str, schedule: &RecheckSchedule) -> SyncPlan {
    let Some(trouble) = history.trouble().filter(|trouble| trouble.state == State::NeedsReauth) else {
        return SyncPlan::Ask;
    };
    if trouble.next_attempt_at.is_none_or(|due| due <= schedule.now) {
        return SyncPlan::Ask;
    }
    match &trouble.key_version {
        Some(version) if schedule.is_due(user) => SyncPlan::AskUnless(version.clone()),
        Some(_) => SyncPlan::Wait,
        None => SyncPlan::Ask,
    }
}

/// The record after a success, where there is trouble to end.
#[must_use]
pub(crate) fn after_success(
    history: &PreviousState,
    version: &KeyVersion,
    now: Timestamp,
) -> Option<SyncState> {
    history.trouble().map(|_| SyncState {
        state: State::Ok,
        error: None,
        since: now,
        failing_since: None,
        last_success: Some(LastSuccess { at: now, key_version: Some(version.clone()) }),
        rejections: 0,
        key_version: Some(version.clone()),
        next_attempt_at: None,
    })
}

/// The record after a failure other than a rejection, or `None` when nothing in it changes.
///
/// `past` is what is known of how the user came into trouble, and `version` that of the keys that were
/// read, if they were.
#[must_use]
pub(crate) fn after_failure(
    history: &PreviousState,
    past: Option<&Past>,
    code: Code,
    version: Option<&KeyVersion>,
    now: Timestamp,
) -> Option<SyncState> {
    if !history.can_be_replaced(past) {
        return None;
    }
    if history.stays_rejected(code, version) {
        return completed(history, past);
    }
    let previous = history.trouble();
    let state = if code == Code::AccountIncomplete { State::Incomplete } else { State::Retrying };
    let trouble = SyncState {
        state,
        error: Some(code),
        since: since(previous, state, now),
        failing_since: past.map(|past| past.failing_since),
        last_success: past.and_then(|past| past.last_success.clone()),
        rejections: 0,
        key_version: version.cloned(),
        next_attempt_at: None,
    };
    (previous != Some(&trouble)).then_some(trouble)
}

/// The record after any failure, rejections included, of a person's own run, or `None` when nothing in it
/// changes.
///
/// It is tried again within seconds, so that it proves nothing more than a pulse does: no rejection counts, and
/// users who have to reconnect stay so until Alpaca takes their keys.
#[must_use]
pub(crate) fn after_named_failure(
    history: &PreviousState,
    past: Option<&Past>,
    code: Code,
    version: Option<&KeyVersion>,
    now: Timestamp,
) -> Option<SyncState> {
    let is_known = history.trouble().is_some_and(|trouble| {
        trouble.error == Some(Code::BrokerRejected) && trouble.key_version.as_ref() == version
    });
    match code {
        Code::BrokerRejected if is_known => None,
        Code::AccountIncomplete => after_failure(history, past, code, version, now),
        _ if history.needs_reauth() => None,
        _ => after_failure(history, past, code, version, now),
    }
}

/// The record after Alpaca rejected the keys of that version, or `None` when nothing in it changes.
#[must_use]
pub(crate) fn after_rejection(
    history: &PreviousState,
    past: Option<&Past>,
    version: &KeyVersion,
    guard: Guard,
    now: Timestamp,
) -> Option<SyncState> {
    if !history.can_be_replaced(past) {
        return None;
    }
    let previous = history.trouble();
    let in_a_row = previous.filter(|trouble| {
        trouble.error == Some(Code::BrokerRejected) && trouble.key_version.as_ref() == Some(version)
    });
    // It proves nothing new about keys that are known to be rejected.
    if guard == Guard::Holds && in_a_row.is_some_and(|trouble| trouble.state == State::NeedsReauth) {
        return completed(history, past);
    }
    let rejections = rejections(in_a_row.map(|trouble| trouble.rejections), guard);
    let state = if rejections < REJECTIONS_THAT_COUNT { State::Retrying } else { State::NeedsReauth };
    let trouble = SyncState {
        state,
        error: Some(Code::BrokerRejected),
        since: since(previous, state, now),
        failing_since: past.map(|past| past.failing_since),
        last_success: past.and_then(|past| past.last_success.clone()),
        rejections,
        key_version: Some(version.clone()),
        next_attempt_at: (state == State::NeedsReauth).then(|| now + pause(rejections)),
    };
    (previous != Some(&trouble)).then_some(trouble)
}

/// The rejections in a row that count, with this one, after so many (`None`: the one before was no
/// rejection of these keys).
fn rejections(before: Option<u32>, guard: Guard) -> u32 {
    match (guard, before) {
        (Guard::Holds, before) => before.unwrap_or_default().min(REJECTIONS_THAT_COUNT - 1),
        (Guard::Off | Guard::Over, None) => 1,
        (Guard::Off, Some(before)) => before.saturating_add(1),
        // Those that were held back count after all.
        (Guard::Over, Some(before)) => before.saturating_add(1).max(REJECTIONS_THAT_COUNT),
    }
}

/// A record of an older version, or one that was written without the snapshot, with what it lacks.
#[must_use]
pub(crate) fn completed(history: &PreviousState, past: Option<&Past>) -> Option<SyncState> {
    let (trouble, past) = (history.trouble().filter(|_| history.lacks_past())?, past?);
    let (failing_since, last_success) = (Some(past.failing_since), past.last_success.clone());
    Some(SyncState { failing_since, last_success, ..trouble.clone() })
}

/// How long rejected keys rest: 15 min, 1 h, 6 h, then 24 h.
fn pause(rejections: u32) -> SignedDuration {
    match rejections.saturating_sub(REJECTIONS_THAT_COUNT) {
        0 => SignedDuration::from_mins(15),
        1 => SignedDuration::from_hours(1),
        2 => SignedDuration::from_hours(6),
        _ => LONGEST_REST,
    }
}

fn since(previous: Option<&SyncState>, state: State, now: Timestamp) -> Timestamp {
    previous.filter(|trouble| trouble.state == state).map_or(now, |trouble| trouble.since)
}

impl SyncState {
    /// The fields that the query for users in trouble selects.
    pub(crate) const FIELDS: [&str; 9] = [
        "state",
        "error",
        "since",
        "failing_since",
        "last_success_at",
        "last_success_key_version",
        "rejections",
        "key_version",
        "next_attempt_at",
    ];

    /// The fields as they are stored. What does not apply is removed, so that no old value stays behind.
    #[must_use]
    pub(crate) fn to_fields(&self) -> [(&'static str, Option<Value>); 9] {
        let Self { state, error, since, failing_since, last_success, .. } = self;
        let Self { rejections, key_version, next_attempt_at, .. } = self;
        let version = |version: &KeyVersion| text(version.as_str());
        let last_version = last_success.as_ref().and_then(|last| last.key_version.as_ref());
        [
            ("state", Some(text(state.as_str()))),
            ("error", error.map(|code| text(code.as_str()))),
            ("since", Some(timestamp(*since))),
            ("failing_since", failing_since.map(timestamp)),
            ("last_success_at", last_success.as_ref().map(|last| timestamp(last.at))),
            ("last_success_key_version", last_version.map(version)),
            ("rejections", Some(integer(i64::from(*rejections)))),
            ("key_version", key_version.as_ref().map(version)),
            ("next_attempt_at", next_attempt_at.map(timestamp)),
        ]
    }

    /// Reads the record of a user in trouble; `None` when its state is none of trouble. A next attempt
    /// farther away than keys ever rest was written by a clock that was wrong, and counts as due: the
    /// user must not wait for it. Neither does trouble begin in the future.
    #[must_use]
    pub(crate) fn from_fields(fields: &Fields, now: Timestamp) -> Option<Self> {
        let word = |field| fields.get(field).and_then(string);
        let version = |field| word(field).and_then(KeyVersion::parse);
        let moment = |field| fields.get(field).and_then(time);
        let state = State::IN_TROUBLE.into_iter().find(|state| word("state") == Some(state.as_str()))?;
        let rejections = fields.get("rejections").and_then(whole_number).and_then(|n| u32::try_from(n).ok());
        Some(Self {
            state,
            error: word("error").and_then(Code::parse),
            since: moment("since").unwrap_or(now),
            failing_since: moment("failing_since")
                .filter(|since| since.duration_since(now) <= CLOCK_TOLERANCE),
            last_success: moment("last_success_at")
                .map(|at| LastSuccess { at, key_version: version("last_success_key_version") }),
            rejections: rejections.unwrap_or_default(),
            key_version: version("key_version"),
            next_attempt_at: moment("next_attempt_at")
                .filter(|next| next.duration_since(now) <= LONGEST_REST + CLOCK_TOLERANCE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::arbitrary::any_fields;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn version(number: u32) -> KeyVersion {
        KeyVersion::parse(&number.to_string()).expect("a number")
    }

    fn troubled(trouble: Option<SyncState>) -> PreviousState {
        trouble.map_or(PreviousState::Clean, PreviousState::Troubled)
    }

    /// What the snapshots say of a user who failed first at second 0.
    fn known() -> Past {
        let last_success = Some(LastSuccess { at: at(-60), key_version: Some(version(3)) });
        Past { failing_since: at(0), last_success }
    }

    fn fails(
        history: &PreviousState,
        code: Code,
        version: Option<&KeyVersion>,
        now: Timestamp,
    ) -> Option<SyncState> {
        after_failure(history, Some(&known()), code, version, now)
    }

    fn is_rejected(
        history: &PreviousState,
        version: &KeyVersion,
        guard: Guard,
        now: Timestamp,
    ) -> Option<SyncState> {
        after_rejection(history, Some(&known()), version, guard, now)
    }

    /// The history after that many rejected pulses in a row, one second apart.
    fn rejected(times: i64) -> PreviousState {
        (0..times).fold(PreviousState::Clean, |history, n| {
            troubled(is_rejected(&history, &version(3), Guard::Off, at(n)))
        })
    }

    #[test]
    fn the_second_rejection_in_a_row_needs_reauthentication() {
        let first = rejected(1);
        assert!(matches!(
            &first,
            PreviousState::Troubled(SyncState {
                state: State::Retrying,
                rejections: 1,
                next_attempt_at: None,
                ..
            })
        ));
        assert_eq!(
            plan(&first, "ana", &RecheckSchedule { previous: Some(at(0)), now: at(60) }),
            SyncPlan::Ask
        );
        assert!(matches!(
            &rejected(2),
            PreviousState::Troubled(SyncState { state: State::NeedsReauth, rejections: 2, .. })
        ));
    }

    #[test]
    fn rejected_keys_rest_for_15_minutes_1_hour_6_hours_and_then_a_day_each() {
        let pauses: Vec<i64> = (2..7)
            .map(|times| match rejected(times) {
                PreviousState::Troubled(SyncState { next_attempt_at: Some(next), .. }) => {
                    next.as_second() - at(times - 1).as_second()
                }
                other => panic!("{other:?} has no next attempt"),
            })
            .collect();
        assert_eq!(pauses, [15 * 60, 3600, 6 * 3600, 24 * 3600, 24 * 3600]);
    }

    #[test]
    fn a_newer_key_version_starts_over() {
        let new = is_rejected(&rejected(2), &version(4), Guard::Off, at(10)).expect("recorded");
        assert_eq!((new.state, new.rejections, new.since), (State::Retrying, 1, at(10)));
    }

    #[test]
    fn another_failure_between_two_rejections_breaks_the_row() {
        let between =
            fails(&rejected(1), Code::BrokerUnavailable, Some(&version(3)), at(5)).expect("changed");
        assert_eq!(between.rejections, 0);
        let again = is_rejected(&troubled(Some(between)), &version(3), Guard::Off, at(6)).expect("recorded");
        assert_eq!((again.state, again.rejections), (State::Retrying, 1));
    }

    #[test]
    fn a_failure_that_goes_on_is_not_written_again() {
        let first = fails(&PreviousState::Clean, Code::KeysMissing, None, at(0)).expect("new");
        assert_eq!(
            (first.state, first.error, first.since),
            (State::Retrying, Some(Code::KeysMissing), at(0))
        );
        let history = troubled(Some(first));
        assert_eq!(fails(&history, Code::KeysMissing, None, at(60)), None);
        let other = fails(&history, Code::KeysForbidden, None, at(60)).expect("another reason");
        assert_eq!(other.since, at(0), "still retrying since then");
    }

    #[test]
    fn a_named_run_counts_no_rejection_and_leaves_users_who_have_to_reconnect_alone() {
        let named = |history: &PreviousState, code, number| {
            after_named_failure(history, Some(&known()), code, Some(&version(number)), at(9))
        };
        for history in [PreviousState::Unknown, rejected(1), rejected(2), rejected(5)] {
            assert_eq!(named(&history, Code::BrokerRejected, 3), None, "{history:?}");
        }
        for code in [Code::BrokerRejected, Code::KeysMalformed, Code::BrokerUnavailable, Code::StoreRejected]
        {
            assert_eq!(named(&rejected(2), code, 4), None, "{code}");
        }
        assert_eq!(after_named_failure(&rejected(2), Some(&known()), Code::KeysMissing, None, at(9)), None);
        for history in [PreviousState::Clean, rejected(1)] {
            let first = named(&history, Code::BrokerRejected, 4).expect("news");
            assert_eq!(
                (first.state, first.error, first.rejections),
                (State::Retrying, Some(Code::BrokerRejected), 0)
            );
            let next =
                is_rejected(&troubled(Some(first)), &version(4), Guard::Off, at(60)).expect("recorded");
            assert_eq!((next.state, next.rejections), (State::Retrying, 1), "the pulse's own is the first");
        }
        let open = named(&rejected(2), Code::AccountIncomplete, 3).expect("Alpaca takes them");
        assert_eq!(open.state, State::Incomplete);
    }

    #[test]
    fn an_account_that_is_not_open_yet_is_incomplete() {
        let trouble =
            fails(&rejected(2), Code::AccountIncomplete, Some(&version(3)), at(9)).expect("keys were taken");
        assert_eq!((trouble.state, trouble.since), (State::Incomplete, at(9)));
    }

    #[test]
    fn what_does_not_prove_the_keys_good_or_gone_leaves_reauthentication_in_force() {
        for code in [Code::BrokerUnavailable, Code::BrokerRateLimited] {
            assert_eq!(fails(&rejected(2), code, Some(&version(3)), at(9)), None, "{code}");
        }
        for code in [Code::KeysUnavailable, Code::KeysForbidden, Code::KeysDisabled, Code::StoreUnavailable] {
            assert_eq!(fails(&rejected(2), code, None, at(9)), None, "{code}");
        }
        for (code, version) in [
            (Code::KeysMissing, None),
            (Code::KeysMalformed, Some(version(4))),
            (Code::BrokerUnavailable, Some(version(4))),
            (Code::StoreUnavailable, Some(version(3))),
        ] {
            let trouble = fails(&rejected(2), code, version.as_ref(), at(9)).expect("news");
            assert_eq!((trouble.state, trouble.next_attempt_at), (State::Retrying, None), "{code}");
        }
    }

    #[test]
    fn success_ends_any_trouble_and_is_nothing_to_write_for_the_others() {
        let over = after_success(&rejected(5), &version(3), at(9)).expect("trouble ends");
        assert_eq!(
            (over.state, over.error, over.rejections, over.next_attempt_at),
            (State::Ok, None, 0, None)
        );
        let last = LastSuccess { at: at(9), key_version: Some(version(3)) };
        assert_eq!((over.failing_since, over.last_success), (None, Some(last)));
        assert_eq!(after_success(&PreviousState::Clean, &version(3), at(9)), None);
        assert_eq!(after_success(&PreviousState::Unknown, &version(3), at(9)), None);
    }

    fn stored(trouble: &SyncState) -> Fields {
        let fields = trouble.to_fields().into_iter();
        fields.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    #[test]
    fn since_when_a_user_fails_survives_whatever_they_fail_of() {
        let mut history = PreviousState::Clean;
        for (second, code) in [
            (0, Code::KeysMissing),
            (60, Code::AccountIncomplete),
            (120, Code::BrokerUnavailable),
            (180, Code::KeysForbidden),
        ] {
            let past = history.past().or_else(|| Some(history.past_with(known().last_success, at(second))));
            let trouble = after_failure(&history, past.as_ref(), code, Some(&version(3)), at(second));
            let trouble = trouble.expect("something changes");
            assert_eq!((trouble.failing_since, &trouble.last_success), (Some(at(0)), &known().last_success));
            history = PreviousState::Troubled(trouble);
        }
        for second in [240, 300] {
            let trouble =
                after_rejection(&history, history.past().as_ref(), &version(3), Guard::Off, at(second));
            history = troubled(trouble);
            assert_eq!(history.past(), Some(known()));
        }
        assert!(history.needs_reauth());
    }

    #[test]
    fn a_record_without_its_past_is_completed_and_until_then_left_alone() {
        let old = |state, error| SyncState {
            failing_since: None,
            last_success: None,
            since: at(7),
            state,
            error: Some(error),
            ..rejected(2).trouble().expect("in trouble").clone()
        };
        for (state, error) in [
            (State::Retrying, Code::BrokerUnavailable),
            (State::Incomplete, Code::AccountIncomplete),
            (State::NeedsReauth, Code::BrokerRejected),
        ] {
            let old = old(state, error);
            let history = PreviousState::Troubled(old.clone());
            assert_eq!((history.lacks_past(), history.past()), (true, None));
            for unread in [
                after_failure(&history, None, Code::KeysMissing, None, at(60)),
                after_rejection(&history, None, &version(3), Guard::Off, at(60)),
                completed(&history, None),
            ] {
                assert_eq!(unread, None, "its since is all there is");
            }
            let past = history.past_with(known().last_success, at(60));
            assert_eq!(past.failing_since, at(7));
            let whole = SyncState { failing_since: Some(at(7)), last_success: known().last_success, ..old };
            assert_eq!(completed(&history, Some(&past)), Some(whole.clone()));
            let after = after_failure(&history, Some(&past), error, Some(&version(3)), at(60));
            let after = after.or_else(|| completed(&history, Some(&past))).expect("completed");
            assert_eq!((after.failing_since, after.since), (Some(at(7)), at(7)));
            let history = PreviousState::Troubled(whole);
            assert_eq!((history.lacks_past(), completed(&history, Some(&past))), (false, None));
        }
        let rejected = PreviousState::Troubled(old(State::NeedsReauth, Code::BrokerRejected));
        let past = rejected.past_with(None, at(60));
        let still = after_failure(&rejected, Some(&past), Code::BrokerUnavailable, Some(&version(3)), at(60));
        assert_eq!(
            still.map(|still| (still.state, still.failing_since)),
            Some((State::NeedsReauth, Some(at(7))))
        );
    }

    #[test]
    fn trouble_that_begins_while_the_snapshot_cannot_be_read_is_recorded_without() {
        let first =
            after_failure(&PreviousState::Clean, None, Code::StoreUnavailable, None, at(0)).expect("new");
        assert_eq!((first.since, first.failing_since, &first.last_success), (at(0), None, &None));
        let past = PreviousState::Troubled(first).past_with(None, at(60));
        assert_eq!(past, Past { failing_since: at(0), last_success: None });
    }

    #[test]
    fn rejections_that_the_guard_holds_back_do_not_count_until_it_has_held_for_too_long() {
        let mut history = PreviousState::Clean;
        for (guard, state, rejections) in [
            (Guard::Holds, State::Retrying, 0),
            (Guard::Off, State::Retrying, 1),
            (Guard::Holds, State::Retrying, 1),
            (Guard::Off, State::NeedsReauth, 2),
            (Guard::Off, State::NeedsReauth, 3),
        ] {
            let record = is_rejected(&history, &version(3), guard, at(60));
            let record = record.or_else(|| history.trouble().cloned()).expect("a record");
            assert_eq!((record.state, record.rejections), (state, rejections), "{guard:?}");
            history = PreviousState::Troubled(record);
        }
        assert_eq!(
            is_rejected(&history, &version(3), Guard::Holds, at(70)),
            None,
            "they are known to be rejected"
        );
        let held = troubled(is_rejected(&PreviousState::Clean, &version(3), Guard::Holds, at(0)));
        assert_eq!(is_rejected(&held, &version(3), Guard::Holds, at(60)), None, "nothing changes");
        let over = is_rejected(&held, &version(3), Guard::Over, at(60)).expect("changed");
        assert_eq!((over.state, over.rejections), (State::NeedsReauth, 2));
        assert_eq!(over.next_attempt_at, Some(at(60) + SignedDuration::from_mins(15)));
        let first = is_rejected(&PreviousState::Clean, &version(3), Guard::Over, at(60)).expect("new");
        assert_eq!((first.state, first.rejections), (State::Retrying, 1), "one proves little");
    }

    #[test]
    fn trouble_that_begins_in_the_future_has_no_beginning() {
        let mut fields = stored(rejected(2).trouble().expect("in trouble"));
        for (since, expected) in [(at(3600), Some(at(3600))), (at(3601), None), (Timestamp::MAX, None)] {
            fields.insert("failing_since".into(), timestamp(since));
            let read = SyncState::from_fields(&fields, at(0)).expect("in trouble");
            assert_eq!(read.failing_since, expected, "{since}");
        }
        fields.insert("since".into(), timestamp(Timestamp::MAX));
        let history = troubled(SyncState::from_fields(&fields, at(0)));
        assert_eq!(history.past_with(None, at(5)).failing_since, at(5));
    }

    #[test]
    fn a_next_attempt_that_only_a_wrong_clock_can_have_written_is_due() {
        let read = |next: Timestamp| {
            let mut fields = stored(rejected(2).trouble().expect("in trouble"));
            fields.insert("next_attempt_at".into(), timestamp(next));
            SyncState::from_fields(&fields, at(0)).expect("in trouble").next_attempt_at
        };
        for next in [at(24 * 3600), at(25 * 3600), at(-24 * 3600), Timestamp::MIN] {
            assert_eq!(read(next), Some(next), "{next}");
        }
        for next in [at(25 * 3600 + 1), at(10 * 365 * 24 * 3600), Timestamp::MAX] {
            assert_eq!(read(next), None, "{next}");
        }
    }

    #[test]
    fn a_history_that_could_not_be_read_is_not_overwritten() {
        assert_eq!(fails(&PreviousState::Unknown, Code::KeysMissing, None, at(0)), None);
        assert_eq!(is_rejected(&PreviousState::Unknown, &version(3), Guard::Off, at(0)), None);
        assert!(!PreviousState::Unknown.lacks_past());
        assert_eq!(
            plan(&PreviousState::Unknown, "ana", &RecheckSchedule { previous: None, now: at(0) }),
            SyncPlan::Ask
        );
    }

    #[test]
    fn alpaca_is_asked_again_when_due_and_the_secret_looked_at_once_in_five_minutes() {
        let history = rejected(2);
        let mut looks = 0;
        for minute in 1..=20 {
            let schedule =
                RecheckSchedule { previous: Some(at(1 + 60 * (minute - 1))), now: at(1 + 60 * minute) };
            match plan(&history, "ana", &schedule) {
                SyncPlan::Ask => assert!(minute >= 15, "asked after {minute} minutes"),
                SyncPlan::AskUnless(rejected) => (looks, _) = (looks + 1, assert_eq!(rejected, version(3))),
                SyncPlan::Wait => assert!(minute < 15, "not asked after {minute} minutes"),
            }
        }
        assert!((2..=3).contains(&looks), "{looks} looks in 15 minutes");
    }

    proptest! {
        #[test]
        fn each_user_is_looked_at_exactly_once_in_five_minutes_of_pulses(user in "[a-zA-Z0-9]{1,28}", start in 0_i64..100_000) {
            let pulses = (0..5).map(|n| RecheckSchedule { previous: Some(at(start + 60 * n)), now: at(start + 60 * (n + 1)) });
            prop_assert_eq!(pulses.filter(|pulse| pulse.is_due(&user)).count(), 1);
        }

        #[test]
        fn whatever_a_record_says_its_user_is_asked_about_within_a_day_or_so(
            mut fields in any_fields(&SyncState::FIELDS), user in "[a-z]{1,8}", previous in prop::option::of(any::<i32>()),
            state in prop::sample::select(vec!["needs_reauth", "retrying", "incomplete"]),
            rests in prop::option::of((1_u32..9, -400_000_i64..400_000)),
        ) {
            fields.insert("state".into(), text(state));
            if let Some((number, next)) = rests {
                fields.insert("key_version".into(), text(version(number).as_str()));
                fields.insert("next_attempt_at".into(), timestamp(at(next)));
            }
            let previous = previous.map(|seconds| at(i64::from(seconds)));
            let known = troubled(SyncState::from_fields(&fields, at(0)));
            prop_assert!(known.trouble().is_some());
            let later = RecheckSchedule { previous, now: at(25 * 3600) };
            prop_assert_eq!(plan(&known, &user, &later), SyncPlan::Ask);
            let past = known.past().unwrap_or_else(|| known.past_with(None, at(0)));
            // Whatever happens then can be recorded, and keeps nobody for longer than a day.
            let records = [
                after_failure(&known, Some(&past), Code::BrokerUnavailable, Some(&version(3)), at(0)),
                after_rejection(&known, Some(&past), &version(3), Guard::Off, at(0)),
                after_rejection(&known, Some(&past), &version(3), Guard::Over, at(0)),
                after_success(&known, &version(3), at(0)),
            ];
            for record in records.into_iter().flatten() {
                prop_assert!(record.next_attempt_at.is_none_or(|next| next <= at(24 * 3600)));
            }
        }

        #[test]
        fn a_pulse_whose_clock_was_wrong_delays_no_look_by_more_than_five_minutes(
            user in "[a-zA-Z0-9]{1,28}", wrong in any::<i32>(), start in 0_i64..100_000,
        ) {
            let now = |n: i64| at(start + 60 * n);
            let wrong = RecheckSchedule { previous: Some(at(i64::from(wrong))), now: now(0) };
            let right = (1..=5).map(|n| RecheckSchedule { previous: Some(now(n - 1)), now: now(n) });
            prop_assert!(std::iter::once(wrong).chain(right).any(|pulse| pulse.is_due(&user)));
        }

        #[test]
        fn a_record_is_read_back_as_it_was_written(
            state in 0_usize..3, code in prop::option::of(0_usize..14), rejections in 0_u32..9,
            key in prop::option::of(0_u32..99), next in prop::option::of(0_i64..99),
            failing in prop::option::of(0_i64..99), last in prop::option::of((0_i64..99, prop::option::of(0_u32..99))),
        ) {
            let codes = [Code::KeysMissing, Code::BrokerRejected, Code::Internal];
            let trouble = SyncState {
                state: State::IN_TROUBLE[state], error: code.map(|n| codes[n % 3]), since: at(4), rejections,
                failing_since: failing.map(at),
                last_success: last.map(|(second, key)| LastSuccess { at: at(second), key_version: key.map(version) }),
                key_version: key.map(version), next_attempt_at: next.map(at),
            };
            prop_assert_eq!(trouble.to_fields().map(|(name, _)| name), SyncState::FIELDS);
            prop_assert_eq!(SyncState::from_fields(&stored(&trouble), at(0)), Some(trouble));
        }
    }
}
