use super::*;
use crate::model::equity_slot::EquitySlots;
use crate::model::ids::{DocumentId, TenantId};
use crate::model::keys::AlpacaKeys;
use crate::model::outcome::Code;
use crate::model::sync_state::{State, SyncState};
use crate::model::tenancy::{Primary, TenantLookup};
use crate::model::user::{TenantClaim, User};
use crate::pass::user_record::PageLookup;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn id(id: &str) -> DocumentId {
    DocumentId::of_existing(id)
}

fn version() -> KeyVersion {
    KeyVersion::parse("3").expect("a number")
}

fn record(name: &str, sync: Switch, previous: PreviousState) -> UserRecord {
    let user = User { id: id(name), tenant: TenantClaim::Own, sync, keys_updated_at: None, created_at: None };
    UserRecord::new(user, previous)
}

fn legacy() -> UserRecord {
    let keys = AlpacaKeys::new("PKTEST".into(), "hush".into(), None).expect("a key pair");
    let tenant = TenantId::parse("local").expect("legal");
    UserRecord::legacy(Arc::new(LegacyAccount { keys, tenant, id: id("legacy:local") }))
}

/// A record in that state whose next attempt is due after so many minutes, if Alpaca rejected the keys.
fn recorded(state: State, minutes: Option<i64>) -> PreviousState {
    PreviousState::Troubled(SyncState {
        state,
        error: Some(Code::BrokerRejected),
        since: NOW,
        failing_since: Some(NOW),
        last_success: None,
        rejections: 2,
        key_version: Some(version()),
        next_attempt_at: minutes.map(|minutes| NOW + SignedDuration::from_mins(minutes)),
    })
}

/// A record of a user who has had no keys for so many minutes.
fn without_keys(minutes: i64) -> PreviousState {
    let PreviousState::Troubled(record) = recorded(State::Retrying, None) else { panic!("in trouble") };
    let failing_since = Some(NOW - SignedDuration::from_mins(minutes));
    PreviousState::Troubled(SyncState { error: Some(Code::KeysMissing), failing_since, ..record })
}

fn rules(is_named: bool, previous: Option<Timestamp>) -> PassRules<'static> {
    let schedule = RecheckSchedule { previous, now: NOW };
    PassRules {
        tenant_path: TenantPath::On,
        schedule,
        is_named,
        remembers_writes: true,
        permits_writes: true,
        tenants: None,
        equity_slot: None,
    }
}

/// A pass over all users in which nobody's secret is due for a look: the one before was just now.
fn no_look() -> PassRules<'static> {
    rules(false, Some(NOW))
}

fn stored() -> Arc<StoredKeys> {
    let keys = AlpacaKeys::new("PKTEST".into(), "hush".into(), None).expect("a key pair");
    Arc::new(StoredKeys { keys, version: version() })
}

/// What is planned, in short.
fn planned(record: &UserRecord, is_kept: bool, rules: &PassRules<'_>) -> &'static str {
    let stored = stored();
    match decide(record, is_kept.then(|| Arc::downgrade(&stored)), rules) {
        SyncPlan::LeaveAlone(LeftAlone::Paused) => "paused",
        SyncPlan::LeaveAlone(LeftAlone::UnreadableSwitch) => "unreadable",
        SyncPlan::LeaveAlone(LeftAlone::WaitsForReauth) => "waits",
        SyncPlan::LeaveAlone(LeftAlone::WaitsForKeys) => "waits for keys",
        SyncPlan::LeaveAlone(LeftAlone::Missing) => "missing",
        SyncPlan::LeaveAlone(LeftAlone::Gone | LeftAlone::NotLookedAt) | SyncPlan::SetAside => "set aside",
        SyncPlan::Sync(SyncSteps { keys: Err(_), .. }) => "no secret",
        SyncPlan::Sync(SyncSteps { keys: Ok(source), .. }) => match source {
            KeySource::Kept(..) => "kept",
            KeySource::Newest(_) => "newest",
            KeySource::NewestUnless(_, rejected) => {
                assert_eq!(rejected, version());
                "newest unless"
            }
            KeySource::Configuration(_) => "configured",
        },
    }
}

#[test]
fn what_is_done_depends_on_the_previous_state_the_schedule_the_cache_and_who_was_named() {
    let look = rules(false, None);
    let named = rules(true, None);
    let waiting = || recorded(State::NeedsReauth, Some(15));
    for (previous, [without_look, with_look, by_name]) in [
        (PreviousState::Clean, ["newest"; 3]),
        (PreviousState::Unknown, ["newest"; 3]),
        (recorded(State::Retrying, None), ["newest"; 3]),
        (recorded(State::Incomplete, None), ["newest"; 3]),
        (recorded(State::NeedsReauth, Some(0)), ["newest"; 3]),
        (recorded(State::NeedsReauth, None), ["newest"; 3]),
        (waiting(), ["waits", "newest unless", "newest"]),
        (without_keys(61), ["waits for keys", "newest", "newest"]),
        (without_keys(60), ["newest"; 3]),
    ] {
        let user = record("ana", Switch::On, previous);
        assert_eq!(planned(&user, false, &no_look()), without_look, "{:?}", user.previous);
        assert_eq!(planned(&user, false, &look), with_look, "{:?}", user.previous);
        assert_eq!(planned(&user, false, &named), by_name, "{:?}", user.previous);
    }
    assert_eq!(planned(&record("ana", Switch::On, PreviousState::Clean), true, &look), "kept");
    // The cache has none of a user who waits; if it had, the secret would be looked at all the same.
    assert_eq!(planned(&record("ana", Switch::On, waiting()), true, &look), "newest unless");
}

#[test]
fn who_is_paused_missing_or_without_a_possible_secret_is_never_asked_about() {
    for is_named in [false, true] {
        let rules = rules(is_named, None);
        for previous in [PreviousState::Clean, PreviousState::Unknown, recorded(State::NeedsReauth, None)] {
            let user = |name, switch| record(name, switch, previous.clone());
            assert_eq!(planned(&user("ana", Switch::Off), true, &rules), "paused");
            assert_eq!(planned(&user("ana", Switch::Unreadable), true, &rules), "unreadable");
            assert_eq!(planned(&user("ana@example.com", Switch::Off), false, &rules), "paused");
            assert_eq!(planned(&user("ana@example.com", Switch::On), false, &rules), "no secret");
        }
        assert_eq!(planned(&UserRecord::missing(id("ana")), false, &rules), "missing");
        assert_eq!(planned(&legacy(), false, &rules), "configured");
    }
}

#[test]
fn a_user_is_started_when_all_calls_of_a_sync_that_ends_well_are_allowed() {
    let user = |name, previous| record(name, Switch::On, previous);
    let calls = |secret_accesses, alpaca_calls, writes| Permits { secret_accesses, alpaca_calls, writes };
    let look = rules(false, None);
    let stored = stored();
    for (record, is_kept, rules, expected) in [
        (user("ana", PreviousState::Clean), false, look, calls(1, 1, 1)),
        (user("ana", PreviousState::Clean), true, look, calls(0, 1, 1)),
        (
            user("ana", PreviousState::Clean),
            false,
            PassRules { permits_writes: false, ..look },
            calls(1, 1, 0),
        ),
        (user("ana", recorded(State::Retrying, None)), false, look, calls(1, 1, 2)),
        (user("ana", PreviousState::Unknown), false, look, calls(1, 1, 1)),
        // It nearly always ends with the secret.
        (user("ana", recorded(State::NeedsReauth, Some(15))), false, look, calls(1, 0, 0)),
        (user("ana", recorded(State::NeedsReauth, Some(15))), false, no_look(), Permits::NONE),
        (user("a.b", PreviousState::Clean), false, look, Permits::NONE),
        (self::record("ana", Switch::Off, PreviousState::Clean), true, look, Permits::NONE),
        (UserRecord::missing(id("ana")), false, rules(true, None), Permits::NONE),
        (legacy(), false, look, calls(0, 1, 1)),
    ] {
        let plan = decide(&record, is_kept.then(|| Arc::downgrade(&stored)), &rules);
        assert_eq!(plan.permits(), expected, "{record:?}");
    }
}

#[test]
fn who_turns_out_to_have_other_keys_waits_for_the_rest_of_the_calls() {
    let user = record("ana", Switch::On, recorded(State::NeedsReauth, Some(15)));
    let SyncPlan::Sync(steps) = decide(&user, None, &rules(false, None)) else { panic!("a look is due") };
    assert_eq!(steps.permits_with_keys(), Permits { secret_accesses: 0, alpaca_calls: 1, writes: 2 });
}

#[tokio::test(start_paused = true)]
async fn the_tenants_document_is_a_write_unless_it_is_known_to_be_refused() {
    let schedule = RecheckSchedule { previous: Some(NOW), now: NOW };
    let tenants = tenancy::Pass {
        schedule,
        takes_over: true,
        legacy_account: None,
        stands_for: SignedDuration::from_mins(5),
    };
    let rules = PassRules { tenants: Some(tenants), ..no_look() };
    let writes = |lookup: Option<TenantLookup>| {
        let mut user = record("ana", Switch::On, PreviousState::Clean);
        user.lookup = lookup.map(|lookup| PageLookup::read(lookup, Instant::now()));
        match decide(&user, None, &rules) {
            SyncPlan::Sync(steps) => steps.writes,
            SyncPlan::LeaveAlone(_) | SyncPlan::SetAside => panic!("nothing is in the way"),
        }
    };
    let owned_by = |owner: &str| {
        let primary = Primary { owner: Some(owner.to_owned()), ..Primary::default() };
        Some(TenantLookup { is_member: false, primary: Some(primary) })
    };
    assert_eq!(writes(None), 2, "what is not known yet may well be allowed");
    assert_eq!(writes(Some(TenantLookup::default())), 2, "and so may what has to be asked");
    assert_eq!((writes(owned_by("ana")), writes(owned_by("ben"))), (2, 1));
}

#[test]
fn only_a_user_without_a_state_may_be_left_as_they_are_and_only_in_a_loop_that_remembers() {
    let may_skip = |previous, remembers_writes| {
        let rules = PassRules { remembers_writes, ..rules(false, None) };
        match decide(&record("ana", Switch::On, previous), None, &rules) {
            SyncPlan::Sync(steps) => steps.may_skip_write,
            SyncPlan::LeaveAlone(_) | SyncPlan::SetAside => panic!("nothing is in the way"),
        }
    };
    assert!(may_skip(PreviousState::Clean, true) && !may_skip(PreviousState::Clean, false));
    assert!(!may_skip(PreviousState::Unknown, true) && !may_skip(recorded(State::Retrying, None), true));
}

#[test]
fn a_failure_is_recorded_unless_there_is_no_state_and_judged_unless_a_person_named_the_user() {
    let on_failure = |record: &UserRecord, is_named| match decide(record, None, &rules(is_named, None)) {
        SyncPlan::Sync(steps) => (steps.on_failure, steps.record_reserve()),
        SyncPlan::LeaveAlone(_) | SyncPlan::SetAside => panic!("nothing is in the way"),
    };
    let user = record("ana", Switch::On, PreviousState::Clean);
    assert_eq!(on_failure(&user, false), (OnFailure::Record, RECORD_RESERVE));
    assert_eq!(on_failure(&user, true), (OnFailure::RecordOwnRun, RECORD_RESERVE));
    assert_eq!(on_failure(&legacy(), false), (OnFailure::Forget, Duration::ZERO));
}

#[test]
fn an_entry_of_the_equity_history_is_a_write_more_for_users_who_lack_one() {
    let slots = EquitySlots::of(Duration::from_mins(1)).expect("such a length");
    let history = |previous| {
        let rules = rules(false, previous);
        PassRules { equity_slot: Some(slots.of_pass(&rules.schedule)), ..rules }
    };
    let steps = |record: &UserRecord, rules: &PassRules<'_>| match decide(record, None, rules) {
        SyncPlan::Sync(steps) => (steps.equity_slot.is_some(), steps.writes),
        plan @ (SyncPlan::LeaveAlone(_) | SyncPlan::SetAside) => panic!("{plan:?}"),
    };
    let [clean, troubled] = [PreviousState::Clean, recorded(State::Retrying, None)];
    let [clean, troubled] = [clean, troubled].map(|previous| record("ana", Switch::On, previous));
    let (new, same) = (history(None), history(Some(NOW)));
    assert_eq!((steps(&clean, &new), steps(&clean, &same)), ((true, 2), (false, 1)));
    assert_eq!((steps(&troubled, &new), steps(&troubled, &same)), ((true, 3), (true, 3)));
    assert_eq!((steps(&legacy(), &new), steps(&clean, &no_look())), ((false, 1), (false, 1)));
    assert_eq!(steps(&clean, &PassRules { permits_writes: false, ..new }), (true, 0));
}
