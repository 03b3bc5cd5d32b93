use super::*;
use crate::model::sync_state::{State, SyncState};
use crate::services::request_id::RequestId;
use jiff::Timestamp;
use std::time::Duration;

fn version(number: &str) -> KeyVersion {
    KeyVersion::parse(number).expect("a number")
}

fn tried() -> Tried {
    Tried { environment: Environment::Live, version: Some(version("3")) }
}

fn broker(err: AlpacaError) -> Failure {
    Failure::of_broker(err, tried())
}

fn rejected() -> AlpacaError {
    AlpacaError::Rejected { status: 401, request: RequestId::default() }
}

fn too_late() -> Failure {
    broker(AlpacaError::TooLate(Duration::from_secs(1)))
}

fn secret() -> String {
    "alpaca-keys-ana".to_owned()
}

fn missing() -> Failure {
    SecretError::Missing { secret: secret() }.into()
}

fn another_account() -> Failure {
    Failure::KeysAccepted(Cause::OtherAccount(version("3")), tried())
}

fn store() -> StoreError {
    StoreError::Timeout
}

/// A user who has to reconnect since version 3 of the keys was rejected.
fn waiting() -> PreviousState {
    PreviousState::Troubled(SyncState {
        state: State::NeedsReauth,
        error: Some(Code::BrokerRejected),
        since: Timestamp::UNIX_EPOCH,
        failing_since: Some(Timestamp::UNIX_EPOCH),
        last_success: None,
        rejections: 2,
        key_version: Some(version("3")),
        next_attempt_at: None,
    })
}

#[test]
fn each_failure_has_its_code_and_says_what_is_known_of_the_keys() {
    let live = || Some(KeyVerdict::Accepted(Environment::Live));
    let incomplete = AlpacaError::Incomplete("SUBMITTED");
    for (failure, code, keys, key_verdict) in [
        (Failure::NotAsked(Cause::Id(InvalidId::NotASecretName)), Code::UserIdInvalid, None, None),
        (Failure::NotAsked(Cause::Store(store())), Code::StoreUnavailable, None, None),
        (missing(), Code::KeysMissing, None, None),
        (too_late(), Code::BrokerUnavailable, Some("3"), None),
        (
            broker(rejected()),
            Code::BrokerRejected,
            Some("3"),
            Some(KeyVerdict::Rejected(Environment::Live, version("3"))),
        ),
        (broker(incomplete), Code::AccountIncomplete, Some("3"), live()),
        (another_account(), Code::BrokerOtherAccount, Some("3"), live()),
        (Failure::KeysAccepted(Cause::Store(store()), tried()), Code::StoreUnavailable, Some("3"), live()),
    ] {
        assert_eq!(failure.code(), code);
        assert_eq!(failure.key_version().map(KeyVersion::as_str), keys, "{code}");
        assert_eq!(failure.key_verdict(), key_verdict, "{code}");
    }
}

#[test]
fn the_legacy_accounts_keys_have_no_version_that_could_be_rejected() {
    let failure = Failure::of_broker(rejected(), Tried { environment: Environment::Paper, version: None });
    let failed = failure.judged(&PreviousState::Unknown, OnFailure::Forget);
    let counts_as = Outcome::Failed(Code::BrokerRejected);
    assert_eq!(failed, NoSnapshot { counts_as, key_verdict: None, past: None, why: None });
    assert!(!failed.is_left_to_closing());
}

#[test]
fn what_a_failure_counts_as_depends_on_what_was_known_and_on_who_asked() {
    use OnFailure::{Record, RecordOwnRun};
    let incomplete = || broker(AlpacaError::Incomplete("SUBMITTED"));
    let failed = Outcome::Failed;
    for (failure, previous, on_failure, counts_as) in [
        (too_late(), PreviousState::Clean, Record, failed(Code::BrokerUnavailable)),
        (incomplete(), PreviousState::Clean, Record, Outcome::Skipped),
        (incomplete(), waiting(), RecordOwnRun, Outcome::Skipped),
        (broker(rejected()), PreviousState::Clean, Record, failed(Code::BrokerRejected)),
        (broker(rejected()), waiting(), Record, Outcome::NeedsReauth),
        (too_late(), waiting(), Record, Outcome::NeedsReauth),
        (missing(), waiting(), Record, failed(Code::KeysMissing)),
        (another_account(), waiting(), Record, failed(Code::BrokerOtherAccount)),
        // Who names a user wants to know.
        (broker(rejected()), waiting(), RecordOwnRun, failed(Code::BrokerRejected)),
        (too_late(), waiting(), RecordOwnRun, failed(Code::BrokerUnavailable)),
    ] {
        let code = failure.code();
        assert_eq!(failure.judged(&previous, on_failure).counts_as, counts_as, "{code} {on_failure:?}");
    }
}

#[test]
fn only_a_rejection_in_a_pass_over_all_users_waits_for_the_others() {
    for (failure, on_failure, waits) in [
        (broker(rejected()), OnFailure::Record, true),
        (broker(rejected()), OnFailure::RecordOwnRun, false),
        (too_late(), OnFailure::Record, false),
        (another_account(), OnFailure::Record, false),
        (missing(), OnFailure::Record, false),
    ] {
        let failed = failure.judged(&PreviousState::Clean, on_failure);
        assert_eq!(failed.is_left_to_closing(), waits, "{on_failure:?} {failed:?}");
        assert!(
            failed.key_verdict.is_none() || on_failure == OnFailure::Record,
            "nothing is proved by a person's run"
        );
    }
}

#[test]
fn the_reason_has_all_causes() {
    let id = Failure::NotAsked(Cause::Id(InvalidId::Slash));
    assert_eq!(id.reason(), "the id cannot name a secret: it contains a slash");
    assert_eq!(missing().reason(), "secret alpaca-keys-ana has no version: store the user's keys in it");
    assert!(another_account().reason().contains("for the same version 3 of the keys"));
}
