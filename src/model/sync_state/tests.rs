//! The rules by which records follow on each other.

use super::*;

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
    previous: &PreviousState,
    code: Code,
    version: Option<&KeyVersion>,
    now: Timestamp,
) -> Option<SyncState> {
    after_failure(previous, Some(&known()), code, version, now)
}

fn after_rejected_pulse(
    previous: &PreviousState,
    version: &KeyVersion,
    guard: Guard,
    now: Timestamp,
) -> Option<SyncState> {
    after_rejection(previous, Some(&known()), version, guard, now)
}

/// The previous after that many rejected pulses in a row, one second apart.
fn rejected(times: i64) -> PreviousState {
    (0..times).fold(PreviousState::Clean, |previous, n| {
        troubled(after_rejected_pulse(&previous, &version(3), Guard::Off, at(n)))
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
fn the_states_are_the_documents_words() {
    let words = State::IN_TROUBLE.map(State::as_str);
    assert_eq!((words, State::Ok.as_str()), (["retrying", "needs_reauth", "incomplete"], "ok"));
}

#[test]
fn only_a_record_of_need_for_reauthentication_is_one() {
    for state in [State::Retrying, State::NeedsReauth, State::Incomplete, State::Ok] {
        let record = SyncState { state, ..rejected(2).record().expect("one").clone() };
        let previous = PreviousState::Troubled(record.clone());
        let expected = (state == State::NeedsReauth).then_some(&record);
        assert_eq!((previous.reauth(), previous.needs_reauth()), (expected, expected.is_some()), "{state:?}");
    }
    for previous in [PreviousState::Unknown, PreviousState::Clean] {
        assert_eq!((previous.record(), previous.needs_reauth(), previous.past()), (None, false, None));
    }
}

#[test]
fn each_failure_proves_the_keys_gone_others_taken_or_nothing() {
    // Without keys in hand, with the same, and with others.
    let (gone, taken, nothing) = ([false, false, false], [true, false, false], [true, true, false]);
    let table = [
        (Code::KeysMissing, gone),
        (Code::KeysForbidden, nothing),
        (Code::KeysDisabled, nothing),
        (Code::KeysMalformed, nothing),
        (Code::KeysUnavailable, nothing),
        (Code::UserIdInvalid, nothing),
        (Code::UserUnknown, nothing),
        (Code::BrokerRejected, nothing),
        (Code::AccountIncomplete, taken),
        (Code::BrokerRateLimited, nothing),
        (Code::BrokerUnavailable, nothing),
        (Code::BrokerBadAnswer, nothing),
        (Code::BrokerOtherAccount, taken),
        (Code::StoreUnavailable, taken),
        (Code::StoreRejected, taken),
        (Code::Internal, nothing),
    ];
    assert_eq!(table.map(|(code, _)| code), Code::ALL);
    for (code, stays) in table {
        for (version, stays) in [None, Some(version(3)), Some(version(4))].into_iter().zip(stays) {
            for (previous, expected) in [(rejected(2), stays), (rejected(1), false)] {
                let stayed = previous.stays_rejected(code, version.as_ref());
                assert_eq!(stayed, expected, "{code} {version:?} {previous:?}");
            }
        }
    }
}

#[test]
fn rejections_count_as_the_guard_has_it() {
    for (guard, before, counted) in [
        (Guard::Off, None, 1),
        (Guard::Off, Some(0), 1),
        (Guard::Off, Some(1), 2),
        (Guard::Off, Some(u32::MAX), u32::MAX),
        (Guard::Holds, None, 0),
        (Guard::Holds, Some(0), 0),
        (Guard::Holds, Some(1), 1),
        (Guard::Holds, Some(9), 1),
        (Guard::Over, None, 1),
        (Guard::Over, Some(0), 2),
        (Guard::Over, Some(1), 2),
        (Guard::Over, Some(2), 3),
        (Guard::Over, Some(u32::MAX), u32::MAX),
    ] {
        assert_eq!(rejections(before, guard), counted, "{guard:?} {before:?}");
    }
}

#[test]
fn a_newer_key_version_starts_over() {
    let new = after_rejected_pulse(&rejected(2), &version(4), Guard::Off, at(10)).expect("recorded");
    assert_eq!((new.state, new.rejections, new.since), (State::Retrying, 1, at(10)));
}

#[test]
fn another_failure_between_two_rejections_breaks_the_row() {
    let between = fails(&rejected(1), Code::BrokerUnavailable, Some(&version(3)), at(5)).expect("changed");
    assert_eq!(between.rejections, 0);
    let again =
        after_rejected_pulse(&troubled(Some(between)), &version(3), Guard::Off, at(6)).expect("recorded");
    assert_eq!((again.state, again.rejections), (State::Retrying, 1));
}

#[test]
fn a_failure_that_goes_on_is_not_written_again() {
    let first = fails(&PreviousState::Clean, Code::KeysMissing, None, at(0)).expect("new");
    assert_eq!((first.state, first.error, first.since), (State::Retrying, Some(Code::KeysMissing), at(0)));
    let previous = troubled(Some(first));
    assert_eq!(fails(&previous, Code::KeysMissing, None, at(60)), None);
    let other = fails(&previous, Code::KeysForbidden, None, at(60)).expect("another reason");
    assert_eq!(other.since, at(0), "still retrying since then");
}

#[test]
fn a_named_run_counts_no_rejection_and_leaves_users_who_have_to_reconnect_alone() {
    let named = |previous: &PreviousState, code, number| {
        after_named_failure(previous, Some(&known()), code, Some(&version(number)), at(9))
    };
    for previous in [PreviousState::Unknown, rejected(1), rejected(2), rejected(5)] {
        assert_eq!(named(&previous, Code::BrokerRejected, 3), None, "{previous:?}");
    }
    for code in [Code::BrokerRejected, Code::KeysMalformed, Code::BrokerUnavailable, Code::StoreRejected] {
        assert_eq!(named(&rejected(2), code, 4), None, "{code}");
    }
    assert_eq!(after_named_failure(&rejected(2), Some(&known()), Code::KeysMissing, None, at(9)), None);
    for previous in [PreviousState::Clean, rejected(1)] {
        let first = named(&previous, Code::BrokerRejected, 4).expect("news");
        assert_eq!(
            (first.state, first.error, first.rejections),
            (State::Retrying, Some(Code::BrokerRejected), 0)
        );
        let next =
            after_rejected_pulse(&troubled(Some(first)), &version(4), Guard::Off, at(60)).expect("recorded");
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
    assert_eq!((over.state, over.error, over.rejections, over.next_attempt_at), (State::Ok, None, 0, None));
    let last = LastSuccess { at: at(9), key_version: Some(version(3)) };
    assert_eq!((over.failing_since, over.last_success), (None, Some(last)));
    assert_eq!(after_success(&PreviousState::Clean, &version(3), at(9)), None);
    assert_eq!(after_success(&PreviousState::Unknown, &version(3), at(9)), None);
}

#[test]
fn since_when_a_user_fails_survives_whatever_they_fail_of() {
    let mut previous = PreviousState::Clean;
    for (second, code) in [
        (0, Code::KeysMissing),
        (60, Code::AccountIncomplete),
        (120, Code::BrokerUnavailable),
        (180, Code::KeysForbidden),
    ] {
        let past = previous.past().or_else(|| Some(previous.past_with(known().last_success, at(second))));
        let trouble = after_failure(&previous, past.as_ref(), code, Some(&version(3)), at(second));
        let trouble = trouble.expect("something changes");
        assert_eq!((trouble.failing_since, &trouble.last_success), (Some(at(0)), &known().last_success));
        previous = PreviousState::Troubled(trouble);
    }
    for second in [240, 300] {
        let trouble =
            after_rejection(&previous, previous.past().as_ref(), &version(3), Guard::Off, at(second));
        previous = troubled(trouble);
        assert_eq!(previous.past(), Some(known()));
    }
    assert!(previous.needs_reauth());
}

#[test]
fn a_record_without_its_past_is_completed_and_until_then_left_alone() {
    let old = |state, error| SyncState {
        failing_since: None,
        last_success: None,
        since: at(7),
        state,
        error: Some(error),
        ..rejected(2).record().expect("in trouble").clone()
    };
    for (state, error) in [
        (State::Retrying, Code::BrokerUnavailable),
        (State::Incomplete, Code::AccountIncomplete),
        (State::NeedsReauth, Code::BrokerRejected),
    ] {
        let old = old(state, error);
        let previous = PreviousState::Troubled(old.clone());
        assert_eq!((previous.lacks_past(), previous.past()), (true, None));
        for unread in [
            after_failure(&previous, None, Code::KeysMissing, None, at(60)),
            after_rejection(&previous, None, &version(3), Guard::Off, at(60)),
            completed(&previous, None),
        ] {
            assert_eq!(unread, None, "its since is all there is");
        }
        let past = previous.past_with(known().last_success, at(60));
        assert_eq!(past.failing_since, at(7));
        let whole = SyncState { failing_since: Some(at(7)), last_success: known().last_success, ..old };
        assert_eq!(completed(&previous, Some(&past)), Some(whole.clone()));
        let after = after_failure(&previous, Some(&past), error, Some(&version(3)), at(60));
        let after = after.or_else(|| completed(&previous, Some(&past))).expect("completed");
        assert_eq!((after.failing_since, after.since), (Some(at(7)), at(7)));
        let previous = PreviousState::Troubled(whole);
        assert_eq!((previous.lacks_past(), completed(&previous, Some(&past))), (false, None));
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
    let first = after_failure(&PreviousState::Clean, None, Code::StoreUnavailable, None, at(0)).expect("new");
    assert_eq!((first.since, first.failing_since, &first.last_success), (at(0), None, &None));
    let past = PreviousState::Troubled(first).past_with(None, at(60));
    assert_eq!(past, Past { failing_since: at(0), last_success: None });
}

#[test]
fn rejections_that_the_guard_holds_back_do_not_count_until_it_has_held_for_too_long() {
    let mut previous = PreviousState::Clean;
    for (guard, state, rejections) in [
        (Guard::Holds, State::Retrying, 0),
        (Guard::Off, State::Retrying, 1),
        (Guard::Holds, State::Retrying, 1),
        (Guard::Off, State::NeedsReauth, 2),
        (Guard::Off, State::NeedsReauth, 3),
    ] {
        let record = after_rejected_pulse(&previous, &version(3), guard, at(60));
        let record = record.or_else(|| previous.record().cloned()).expect("a record");
        assert_eq!((record.state, record.rejections), (state, rejections), "{guard:?}");
        previous = PreviousState::Troubled(record);
    }
    assert_eq!(
        after_rejected_pulse(&previous, &version(3), Guard::Holds, at(70)),
        None,
        "they are known to be rejected"
    );
    let held = troubled(after_rejected_pulse(&PreviousState::Clean, &version(3), Guard::Holds, at(0)));
    assert_eq!(after_rejected_pulse(&held, &version(3), Guard::Holds, at(60)), None, "nothing changes");
    let over = after_rejected_pulse(&held, &version(3), Guard::Over, at(60)).expect("changed");
    assert_eq!((over.state, over.rejections), (State::NeedsReauth, 2));
    assert_eq!(over.next_attempt_at, Some(at(60) + SignedDuration::from_mins(15)));
    let first = after_rejected_pulse(&PreviousState::Clean, &version(3), Guard::Over, at(60)).expect("new");
    assert_eq!((first.state, first.rejections), (State::Retrying, 1), "one proves little");
}

#[test]
fn a_previous_that_could_not_be_read_is_not_overwritten() {
    assert_eq!(fails(&PreviousState::Unknown, Code::KeysMissing, None, at(0)), None);
    assert_eq!(after_rejected_pulse(&PreviousState::Unknown, &version(3), Guard::Off, at(0)), None);
    assert!(!PreviousState::Unknown.lacks_past());
}

#[test]
fn trouble_that_begins_in_the_future_has_no_beginning() {
    let record =
        |since| SyncState { failing_since: Some(since), ..rejected(2).record().expect("one").clone() };
    for (since, expected) in
        [(Timestamp::MIN, true), (at(0), true), (at(3600), true), (at(3601), false), (Timestamp::MAX, false)]
    {
        let read = record(since).plausible_at(at(0));
        assert_eq!(read.failing_since, expected.then_some(since), "{since}");
    }
    let previous = PreviousState::Troubled(SyncState { since: Timestamp::MAX, ..record(Timestamp::MAX) });
    assert_eq!(previous.past_with(None, at(5)).failing_since, at(5));
}

#[test]
fn a_next_attempt_that_only_a_wrong_clock_can_have_written_is_due() {
    let day = 24 * 3600;
    for (next, expected) in [
        (Timestamp::MIN, true),
        (at(-day), true),
        (at(day), true),
        (at(day + 3600), true),
        (at(day + 3601), false),
        (at(3650 * day), false),
        (Timestamp::MAX, false),
    ] {
        let record = SyncState { next_attempt_at: Some(next), ..rejected(2).record().expect("one").clone() };
        assert_eq!(record.plausible_at(at(0)).next_attempt_at, expected.then_some(next), "{next}");
    }
}
