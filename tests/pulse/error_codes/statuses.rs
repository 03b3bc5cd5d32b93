//! Every status of Firestore for what is read of it: which of them are tried again, and what is made of them. For
//! commits, and for the other services, that is in the tables about them.

use super::{COMMIT, SYNC, row};
use crate::world::sandbox;
use futures::{StreamExt, stream};
use pulse_sandbox::call::Service;
use serde_json::json;

/// What may work in a moment.
const PASSING: [&str; 9] = [
    "error=CANCELLED",
    "error=UNKNOWN",
    "error=DEADLINE_EXCEEDED",
    "error=RESOURCE_EXHAUSTED",
    "error=ABORTED",
    "error=INTERNAL",
    "error=UNAVAILABLE",
    // Another token may be taken.
    "error=UNAUTHENTICATED",
    "garbage",
];

/// What would be the same again.
const FINAL: [&str; 8] = [
    "error=INVALID_ARGUMENT",
    "error=NOT_FOUND",
    "error=ALREADY_EXISTS",
    "error=PERMISSION_DENIED",
    "error=FAILED_PRECONDITION",
    "error=OUT_OF_RANGE",
    "error=UNIMPLEMENTED",
    "error=DATA_LOSS",
];

/// Worlds at the same time.
const AT_ONCE: usize = 4;

/// Checks every fault, with the code that it gets and how often a call that has it is sent.
async fn each_fault<F: Future<Output = ()>>(check: impl Fn(&'static str, &'static str, usize) -> F) {
    let passing = PASSING.map(|fault| (fault, "store_unavailable", 3));
    let last = FINAL.map(|fault| (fault, "store_rejected", 1));
    let all = passing.into_iter().chain(last).map(|(fault, code, attempts)| check(fault, code, attempts));
    stream::iter(all).buffer_unordered(AT_ONCE).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_whose_query_fails_are_not_taken_for_none_whatever_the_status() {
    each_fault(|fault, code, attempts| async move {
        let world = sandbox().await;
        world.user("ana").await;
        world.fault(&format!("firestore/RunQuery:{fault}"));
        let run = world.pulse().await;
        assert_eq!(run.exit, Some(1), "{fault}: {}", run.stdout);
        let last = run.entry("Failed multi-tenant sync: 0 successful, 0 errors");
        assert_eq!((&last["severity"], &last["error"]), (&json!("CRITICAL"), &json!(code)), "{fault}");
        // What may pass is tried twice more, after pauses.
        let attempts = if attempts > 1 { attempts + 2 } else { attempts };
        assert_eq!(world.user_queries().len(), attempts, "{fault}");
        assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 0, "{fault}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_cannot_be_read_fail_their_user_whatever_the_status() {
    each_fault(|fault, code, attempts| async move {
        let world = sandbox().await;
        world.user("ana").await;
        // The first such read is that of the last pulse.
        world.fault(&format!("firestore/BatchGetDocuments:{fault},skip=1"));
        let run = world.pulse().await;
        run.assert_completed("0 successful, 1 errors", 1);
        row(code, SYNC, COMMIT, 0).is_logged_for(&run, "ana");
        assert_eq!(world.snapshot_commits("ana"), 0, "{fault}");
        let second_lap = u64::from(code == "store_unavailable");
        // Once for the whole page, once for the user alone, once for when they last succeeded, and once for whose the
        // pulse is at the end.
        assert_eq!(world.faults_applied(), [4 * attempts as u64 + second_lap], "{fault}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_within_three_attempts_is_not_noticed() {
    let all = PASSING.map(|fault| async move {
        let world = sandbox().await;
        world.user("ana").await;
        for rpc in ["RunQuery", "BatchGetDocuments", "Commit"] {
            world.fault(&format!("firestore/{rpc}:{fault},times=2"));
        }
        world.pulse().await.assert_completed("1 successful, 0 errors", 0);
        assert_eq!(world.faults_applied(), [2, 2, 2], "{fault}");
    });
    stream::iter(all).buffer_unordered(AT_ONCE).collect().await
}
