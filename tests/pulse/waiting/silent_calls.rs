//! Calls without an answer: they free their slots, within bounds.

use super::mute_alpaca::{Answers, MuteAlpaca};
use super::{ONE_AT_A_TIME, SYNCED, accounts_asked_for, line_of, place_of, users_with};
use crate::live::Live;
use crate::world::{World, sandbox};
use pulse_sandbox::call::Service;

/// How often the call that stalls was made.
type Calls = fn(&World, &str) -> usize;

/// Of whichever service: the next user is synced while the first call is still waited for.
#[tokio::test(flavor = "multi_thread")]
async fn whose_call_has_no_answer_lets_the_next_one_work() {
    let cases: [(&str, Calls); 4] = [
        ("secret-manager:stall", |world, user| world.secret_accesses(user)),
        ("alpaca:stall", |world, user| world.account_calls(user)),
        ("alpaca:slow=1s", |world, user| world.account_calls(user)),
        ("firestore/Commit:stall", |world, user| world.snapshot_commits(user)),
    ];
    futures::future::join_all(cases.map(|(fault, calls)| async move {
        let world = sandbox().await;
        let ids = world.crowd(2);
        world.fault(&format!("{fault},user={}", ids[0]));
        let mut running = Live::start(world.command(&ONE_AT_A_TIME));
        running.until(&format!("{SYNCED}{}", ids[1]), 1).await;
        assert_eq!(calls(&world, &ids[0]), 1, "{fault}");
        world.sandbox.faults().clear();
        let run = running.end().await;
        run.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(users_with(&run, SYNCED), [ids[1].clone(), ids[0].clone()], "{fault}");
    }))
    .await;
}

/// What is slow is not lost: the slot is taken again, and nothing is asked twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_late_is_taken_all_the_same() {
    for (service, method) in
        [("secret-manager", "AccessSecretVersion"), ("alpaca", "GetAccount"), ("firestore", "Commit")]
    {
        let world = sandbox().await;
        let ids = world.crowd(2);
        world.fault(&format!("{service}/{method}:latency=4s,user={},times=1", ids[0]));
        let run = world.pulse_with(&ONE_AT_A_TIME).await;
        run.assert_completed("2 successful, 0 errors", 0);
        assert_eq!(users_with(&run, SYNCED), [ids[1].clone(), ids[0].clone()], "{service}");
        assert_eq!(accounts_asked_for(&world).len(), 2, "{service}");
        assert_eq!((world.secret_accesses(&ids[0]), world.snapshot_commits(&ids[0])), (1, 1), "{service}");
        assert_eq!(world.faults_applied(), [1]);
    }
}

/// Four for each user at work, and those keep their own slots.
#[tokio::test(flavor = "multi_thread")]
async fn there_are_at_most_four_such_calls_for_each_user_at_work() {
    for (concurrency, bound) in [(1, 5), (2, 10)] {
        let world = sandbox().await;
        let alpaca = MuteAlpaca::start(bound, Answers::Later).await;
        world.crowd(bound + 5);
        let running = Live::start(alpaca.command(&world, &["--concurrency", &concurrency.to_string()]));
        let asked = alpaca.first_has_given_up().await;
        // Who gives up makes room for another, who may be quicker than the end of the connection.
        assert!((bound..=bound + concurrency).contains(&asked), "--concurrency {concurrency}: {asked}");
        let run = running.end().await;
        run.assert_completed(&format!("{} successful, 0 errors", bound + 5), 0);
    }
}

/// One who stalls in the first lap costs another service's users nothing either: the order is that of who is ready.
#[tokio::test(flavor = "multi_thread")]
async fn users_who_stall_one_after_the_other_are_no_queue() {
    let world = sandbox().await;
    let ids = world.crowd(3);
    for user in &ids[..2] {
        world.fault(&format!("alpaca:stall,times=1,user={user}"));
    }
    let run = world.pulse_with(&ONE_AT_A_TIME).await;
    run.assert_completed("3 successful, 0 errors", 0);
    let asked = accounts_asked_for(&world);
    assert_eq!(asked[..3], ids[..], "all of them before anybody's second");
    for user in &ids[..2] {
        assert!(place_of(&asked, user, 2) > 2, "{asked:?}");
    }
    assert_eq!(users_with(&run, SYNCED)[0], ids[2]);
    assert!(line_of(&run, &format!("{SYNCED}{}", ids[2])) < line_of(&run, &format!("{SYNCED}{}", ids[0])));
    assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), 3);
}
