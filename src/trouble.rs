//! `users/{userId}/alpacaAccounts/sync`: what keeps a user from being synced, for the app that asks
//! them to reconnect, and for the next pulse.

use crate::outcome::Code;
use crate::secret_manager::KeyVersion;
use crate::store::values::{Fields, integer, null, string, text, time, timestamp, whole_number};
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
pub enum State {
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
    pub const IN_TROUBLE: [Self; 3] = [Self::Retrying, Self::NeedsReauth, Self::Incomplete];

    /// The word used in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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
pub struct Trouble {
    /// What the app shows.
    pub state: State,
    /// The last failure; none once the trouble is over.
    pub error: Option<Code>,
    /// When `state` began.
    pub since: Timestamp,
    /// Rejected pulses in a row, for `broker_rejected`.
    pub rejections: u32,
    /// The version of the keys that the failure is about, where it is about keys that were read.
    pub key_version: Option<KeyVersion>,
    /// Until then Alpaca is not asked again with that version.
    pub next_attempt_at: Option<Timestamp>,
}

/// What is known of a user's trouble before their journey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// It could not be read: whatever happens now is not recorded, so that nothing known is lost.
    Unknown,
    /// No trouble.
    Clean,
    /// In trouble.
    Troubled(Trouble),
}

impl History {
    fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Troubled(trouble) => Some(trouble),
            Self::Unknown | Self::Clean => None,
        }
    }

    /// Whether Alpaca's rejection of these keys is already an established fact.
    #[must_use]
    pub fn needs_reauth(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.state == State::NeedsReauth)
    }
}

impl History {
    /// Whether a failure leaves it at that Alpaca rejects the keys. It does not when it says more than
    /// that they could not be tried again: that they are gone, that they are others, or that Alpaca
    /// took them and something later failed.
    #[must_use]
    pub fn stays_rejected(&self, code: Code, version: Option<&KeyVersion>) -> bool {
        let Some(trouble) = self.trouble().filter(|trouble| trouble.state == State::NeedsReauth) else {
            return false;
        };
        let other_keys = version.is_some() && version != trouble.key_version.as_ref();
        let later =
            [Code::AccountIncomplete, Code::BrokerBadAnswer, Code::StoreUnavailable, Code::StoreRejected];
        let taken = version.is_some() && later.contains(&code);
        !(code == Code::KeysMissing || other_keys || taken)
    }
}

/// What this pulse does for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
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
pub struct LookSchedule {
    /// When the pulse before this one started. Without one, everybody is looked at.
    pub previous: Option<Timestamp>,
    /// When this pulse started.
    pub now: Timestamp,
}

impl LookSchedule {
    fn is_due(&self, user: &str) -> bool {
        let shift = i64::from(crc32c::crc32c(user.as_bytes())) % LOOK_EVERY_SECONDS;
        let slot = |time: Timestamp| (time.as_second() + shift).div_euclid(LOOK_EVERY_SECONDS);
        self.previous.is_none_or(|previous| slot(previous) != slot(self.now))
    }
}

/// What this pulse does for a user with that history.
#[must_use]
pub fn plan(history: &History, user: &str, schedule: &LookSchedule) -> Plan {
    let Some(trouble) = history.trouble().filter(|trouble| trouble.state == State::NeedsReauth) else {
        return Plan::Ask;
    };
    if trouble.next_attempt_at.is_none_or(|due| due <= schedule.now) {
        return Plan::Ask;
    }
    match &trouble.key_version {
        Some(version) if schedule.is_due(user) => Plan::AskUnless(version.clone()),
        Some(_) => Plan::Wait,
        None => Plan::Ask,
    }
}

/// The record after a success, where there is trouble to end.
#[must_use]
pub fn after_success(history: &History, version: &KeyVersion, now: Timestamp) -> Option<Trouble> {
    history.trouble().map(|_| Trouble {
        state: State::Ok,
        error: None,
        since: now,
        rejections: 0,
        key_version: Some(version.clone()),
        next_attempt_at: None,
    })
}

/// The record after a failure other than a rejection, or `None` when nothing in it changes.
///
/// `version` is that of the keys that were read, if they were.
#[must_use]
pub fn after_failure(
    history: &History,
    code: Code,
    version: Option<&KeyVersion>,
    now: Timestamp,
) -> Option<Trouble> {
    if *history == History::Unknown || history.stays_rejected(code, version) {
        return None;
    }
    let previous = history.trouble();
    let state = if code == Code::AccountIncomplete { State::Incomplete } else { State::Retrying };
    let trouble = Trouble {
        state,
        error: Some(code),
        since: since(previous, state, now),
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
pub fn after_named_failure(
    history: &History,
    code: Code,
    version: Option<&KeyVersion>,
    now: Timestamp,
) -> Option<Trouble> {
    let is_known = history.trouble().is_some_and(|trouble| {
        trouble.error == Some(Code::BrokerRejected) && trouble.key_version.as_ref() == version
    });
    match code {
        Code::BrokerRejected if is_known => None,
        Code::AccountIncomplete => after_failure(history, code, version, now),
        _ if history.needs_reauth() => None,
        _ => after_failure(history, code, version, now),
    }
}

/// The record after Alpaca rejected the keys of that version.
#[must_use]
pub fn after_rejection(history: &History, version: &KeyVersion, now: Timestamp) -> Option<Trouble> {
    if *history == History::Unknown {
        return None;
    }
    let previous = history.trouble();
    let in_a_row = previous.filter(|trouble| {
        trouble.error == Some(Code::BrokerRejected) && trouble.key_version.as_ref() == Some(version)
    });
    let rejections = in_a_row.map_or(1, |trouble| trouble.rejections.saturating_add(1));
    let state = if rejections < REJECTIONS_THAT_COUNT { State::Retrying } else { State::NeedsReauth };
    Some(Trouble {
        state,
        error: Some(Code::BrokerRejected),
        since: since(previous, state, now),
        rejections,
        key_version: Some(version.clone()),
        next_attempt_at: (state == State::NeedsReauth).then(|| now + pause(rejections)),
    })
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

fn since(previous: Option<&Trouble>, state: State, now: Timestamp) -> Timestamp {
    previous.filter(|trouble| trouble.state == state).map_or(now, |trouble| trouble.since)
}

/// Whether so many rejections at once are the provider's fault or ours rather than the users': more
/// than 20 % of those asked, and at least 5.
#[must_use]
pub fn is_fleet_wide(rejected: u64, asked: u64) -> bool {
    rejected >= 5 && rejected.saturating_mul(5) > asked
}

impl Trouble {
    /// The fields that the query for users in trouble selects.
    pub const FIELDS: [&str; 6] = ["state", "error", "since", "rejections", "key_version", "next_attempt_at"];

    /// The fields as they are stored. What does not apply is null, so that no old value stays behind.
    #[must_use]
    pub fn to_fields(&self) -> [(&'static str, Value); 6] {
        let Self { state, error, since, rejections, key_version, next_attempt_at } = self;
        [
            ("state", text(state.as_str())),
            ("error", error.map_or_else(null, |code| text(code.as_str()))),
            ("since", timestamp(*since)),
            ("rejections", integer(i64::from(*rejections))),
            ("key_version", key_version.as_ref().map_or_else(null, |version| text(version.as_str()))),
            ("next_attempt_at", next_attempt_at.map_or_else(null, timestamp)),
        ]
    }

    /// Reads the record of a user in trouble; `None` when its state is none of trouble. A next attempt
    /// farther away than keys ever rest was written by a clock that was wrong, and counts as due: the
    /// user must not wait for it.
    #[must_use]
    pub fn from_fields(fields: &Fields, now: Timestamp) -> Option<Self> {
        let word = |field| fields.get(field).and_then(string);
        let state = State::IN_TROUBLE.into_iter().find(|state| word("state") == Some(state.as_str()))?;
        let rejections = fields.get("rejections").and_then(whole_number).and_then(|n| u32::try_from(n).ok());
        Some(Self {
            state,
            error: word("error").and_then(Code::parse),
            since: fields.get("since").and_then(time).unwrap_or(now),
            rejections: rejections.unwrap_or_default(),
            key_version: word("key_version").and_then(KeyVersion::parse),
            next_attempt_at: fields
                .get("next_attempt_at")
                .and_then(time)
                .filter(|next| next.duration_since(now) <= LONGEST_REST + CLOCK_TOLERANCE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::values::arbitrary::any_fields;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn version(number: u32) -> KeyVersion {
        KeyVersion::parse(&number.to_string()).expect("a number")
    }

    fn troubled(trouble: Option<Trouble>) -> History {
        trouble.map_or(History::Clean, History::Troubled)
    }

    /// The history after that many rejected pulses in a row, one second apart.
    fn rejected(times: i64) -> History {
        (0..times).fold(History::Clean, |history, n| troubled(after_rejection(&history, &version(3), at(n))))
    }

    #[test]
    fn the_second_rejection_in_a_row_needs_reauthentication() {
        let first = rejected(1);
        assert!(matches!(
            &first,
            History::Troubled(Trouble { state: State::Retrying, rejections: 1, next_attempt_at: None, .. })
        ));
        assert_eq!(plan(&first, "ana", &LookSchedule { previous: Some(at(0)), now: at(60) }), Plan::Ask);
        assert!(matches!(
            &rejected(2),
            History::Troubled(Trouble { state: State::NeedsReauth, rejections: 2, .. })
        ));
    }

    #[test]
    fn rejected_keys_rest_for_15_minutes_1_hour_6_hours_and_then_a_day_each() {
        let pauses: Vec<i64> = (2..7)
            .map(|times| match rejected(times) {
                History::Troubled(Trouble { next_attempt_at: Some(next), .. }) => {
                    next.as_second() - at(times - 1).as_second()
                }
                other => panic!("{other:?} has no next attempt"),
            })
            .collect();
        assert_eq!(pauses, [15 * 60, 3600, 6 * 3600, 24 * 3600, 24 * 3600]);
    }

    #[test]
    fn a_newer_key_version_starts_over() {
        let new = after_rejection(&rejected(2), &version(4), at(10)).expect("recorded");
        assert_eq!((new.state, new.rejections, new.since), (State::Retrying, 1, at(10)));
    }

    #[test]
    fn another_failure_between_two_rejections_breaks_the_row() {
        let between =
            after_failure(&rejected(1), Code::BrokerUnavailable, Some(&version(3)), at(5)).expect("changed");
        assert_eq!(between.rejections, 0);
        let again = after_rejection(&troubled(Some(between)), &version(3), at(6)).expect("recorded");
        assert_eq!((again.state, again.rejections), (State::Retrying, 1));
    }

    #[test]
    fn a_failure_that_goes_on_is_not_written_again() {
        let first = after_failure(&History::Clean, Code::KeysMissing, None, at(0)).expect("new");
        assert_eq!(
            (first.state, first.error, first.since),
            (State::Retrying, Some(Code::KeysMissing), at(0))
        );
        let history = troubled(Some(first));
        assert_eq!(after_failure(&history, Code::KeysMissing, None, at(60)), None);
        let other = after_failure(&history, Code::KeysForbidden, None, at(60)).expect("another reason");
        assert_eq!(other.since, at(0), "still retrying since then");
    }

    #[test]
    fn a_named_run_counts_no_rejection_and_leaves_users_who_have_to_reconnect_alone() {
        let named = |history: &History, code, number| {
            after_named_failure(history, code, Some(&version(number)), at(9))
        };
        for history in [History::Unknown, rejected(1), rejected(2), rejected(5)] {
            assert_eq!(named(&history, Code::BrokerRejected, 3), None, "{history:?}");
        }
        for code in [Code::BrokerRejected, Code::KeysMalformed, Code::BrokerUnavailable, Code::StoreRejected]
        {
            assert_eq!(named(&rejected(2), code, 4), None, "{code}");
        }
        assert_eq!(after_named_failure(&rejected(2), Code::KeysMissing, None, at(9)), None);
        for history in [History::Clean, rejected(1)] {
            let first = named(&history, Code::BrokerRejected, 4).expect("news");
            assert_eq!(
                (first.state, first.error, first.rejections),
                (State::Retrying, Some(Code::BrokerRejected), 0)
            );
            let next = after_rejection(&troubled(Some(first)), &version(4), at(60)).expect("recorded");
            assert_eq!((next.state, next.rejections), (State::Retrying, 1), "the pulse's own is the first");
        }
        let open = named(&rejected(2), Code::AccountIncomplete, 3).expect("Alpaca takes them");
        assert_eq!(open.state, State::Incomplete);
    }

    #[test]
    fn an_account_that_is_not_open_yet_is_incomplete() {
        let trouble = after_failure(&rejected(2), Code::AccountIncomplete, Some(&version(3)), at(9))
            .expect("keys were taken");
        assert_eq!((trouble.state, trouble.since), (State::Incomplete, at(9)));
    }

    #[test]
    fn what_does_not_prove_the_keys_good_or_gone_leaves_reauthentication_in_force() {
        for code in [Code::BrokerUnavailable, Code::BrokerRateLimited] {
            assert_eq!(after_failure(&rejected(2), code, Some(&version(3)), at(9)), None, "{code}");
        }
        for code in [Code::KeysUnavailable, Code::KeysForbidden, Code::KeysDisabled, Code::StoreUnavailable] {
            assert_eq!(after_failure(&rejected(2), code, None, at(9)), None, "{code}");
        }
        for (code, version) in [
            (Code::KeysMissing, None),
            (Code::KeysMalformed, Some(version(4))),
            (Code::BrokerUnavailable, Some(version(4))),
            (Code::StoreUnavailable, Some(version(3))),
        ] {
            let trouble = after_failure(&rejected(2), code, version.as_ref(), at(9)).expect("news");
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
        assert_eq!(after_success(&History::Clean, &version(3), at(9)), None);
        assert_eq!(after_success(&History::Unknown, &version(3), at(9)), None);
    }

    #[test]
    fn a_next_attempt_that_only_a_wrong_clock_can_have_written_is_due() {
        let read = |next: Timestamp| {
            let written = rejected(2).trouble().expect("in trouble").to_fields();
            let mut fields = Fields::from_iter(written.map(|(name, value)| (name.to_owned(), value)));
            fields.insert("next_attempt_at".into(), timestamp(next));
            Trouble::from_fields(&fields, at(0)).expect("in trouble").next_attempt_at
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
        assert_eq!(after_failure(&History::Unknown, Code::KeysMissing, None, at(0)), None);
        assert_eq!(after_rejection(&History::Unknown, &version(3), at(0)), None);
        assert_eq!(plan(&History::Unknown, "ana", &LookSchedule { previous: None, now: at(0) }), Plan::Ask);
    }

    #[test]
    fn alpaca_is_asked_again_when_due_and_the_secret_looked_at_once_in_five_minutes() {
        let history = rejected(2);
        let mut looks = 0;
        for minute in 1..=20 {
            let schedule =
                LookSchedule { previous: Some(at(1 + 60 * (minute - 1))), now: at(1 + 60 * minute) };
            match plan(&history, "ana", &schedule) {
                Plan::Ask => assert!(minute >= 15, "asked after {minute} minutes"),
                Plan::AskUnless(rejected) => (looks, _) = (looks + 1, assert_eq!(rejected, version(3))),
                Plan::Wait => assert!(minute < 15, "not asked after {minute} minutes"),
            }
        }
        assert!((2..=3).contains(&looks), "{looks} looks in 15 minutes");
    }

    #[test]
    fn the_fleet_guard_needs_more_than_a_fifth_and_at_least_five() {
        for (rejected, asked, fleet_wide) in [
            (4, 4, false),
            (5, 5, true),
            (5, 24, true),
            (5, 25, false),
            (20, 100, false),
            (21, 100, true),
            (0, 0, false),
        ] {
            assert_eq!(is_fleet_wide(rejected, asked), fleet_wide, "{rejected} of {asked}");
        }
    }

    proptest! {
        #[test]
        fn each_user_is_looked_at_exactly_once_in_five_minutes_of_pulses(user in "[a-zA-Z0-9]{1,28}", start in 0_i64..100_000) {
            let pulses = (0..5).map(|n| LookSchedule { previous: Some(at(start + 60 * n)), now: at(start + 60 * (n + 1)) });
            prop_assert_eq!(pulses.filter(|pulse| pulse.is_due(&user)).count(), 1);
        }

        #[test]
        fn whatever_a_record_says_its_user_is_asked_about_within_a_day_or_so(
            mut fields in any_fields(&Trouble::FIELDS), user in "[a-z]{1,8}", previous in prop::option::of(any::<i32>()),
            state in prop::sample::select(vec!["needs_reauth", "retrying", "incomplete"]),
            rests in prop::option::of((1_u32..9, -400_000_i64..400_000)),
        ) {
            fields.insert("state".into(), text(state));
            if let Some((number, next)) = rests {
                fields.insert("key_version".into(), text(version(number).as_str()));
                fields.insert("next_attempt_at".into(), timestamp(at(next)));
            }
            let previous = previous.map(|seconds| at(i64::from(seconds)));
            let known = troubled(Trouble::from_fields(&fields, at(0)));
            prop_assert!(known.trouble().is_some());
            let later = LookSchedule { previous, now: at(25 * 3600) };
            prop_assert_eq!(plan(&known, &user, &later), Plan::Ask);
            // Whatever happens then can be recorded, and keeps nobody for longer than a day.
            let records = [
                after_failure(&known, Code::BrokerUnavailable, Some(&version(3)), at(0)),
                after_rejection(&known, &version(3), at(0)),
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
            let wrong = LookSchedule { previous: Some(at(i64::from(wrong))), now: now(0) };
            let right = (1..=5).map(|n| LookSchedule { previous: Some(now(n - 1)), now: now(n) });
            prop_assert!(std::iter::once(wrong).chain(right).any(|pulse| pulse.is_due(&user)));
        }

        #[test]
        fn a_record_is_read_back_as_it_was_written(
            state in 0_usize..3, code in prop::option::of(0_usize..14), rejections in 0_u32..9,
            key in prop::option::of(0_u32..99), next in prop::option::of(0_i64..99),
        ) {
            let codes = [Code::KeysMissing, Code::BrokerRejected, Code::Internal];
            let trouble = Trouble {
                state: State::IN_TROUBLE[state], error: code.map(|n| codes[n % 3]), since: at(4), rejections,
                key_version: key.map(version), next_attempt_at: next.map(at),
            };
            prop_assert_eq!(trouble.to_fields().map(|(name, _)| name), Trouble::FIELDS);
            let fields = trouble.to_fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            prop_assert_eq!(Trouble::from_fields(&fields, at(0)), Some(trouble));
        }
    }
}
