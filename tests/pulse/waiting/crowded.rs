//! Those who wait are bounded: eight for each user at work.

use super::{
    FAILED, ONE_AT_A_TIME, SHARED, SYNCED, accounts_asked_for, names, place_of, share_keys, users_with,
};
use crate::world::sandbox;
use serde_json::json;

/// Beyond the bound they fail at once, and go back into no queue.
#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_users_of_limited_keys_fail_as_rate_limited() {
    let world = sandbox().await;
    let limited = names("limited", 12);
    world.users(&limited).await;
    share_keys(&world, &limited);
    world.user("zoe").await;
    world.fault("alpaca:error=429,header=Retry-After: 9,user=pasted,times=1");
    let run = world.pulse_with(&ONE_AT_A_TIME).await;
    run.assert_completed("9 successful, 4 errors", 0);
    let (waited, crowded) = limited.split_at(8);
    assert_eq!(users_with(&run, FAILED), crowded, "as they come");
    for user in crowded {
        let entry = run.entry(&format!("{FAILED}{user}: "));
        assert_eq!(entry["error"], "broker_rate_limited");
        assert!(
            entry["message"].as_str().is_some_and(|text| text.contains("too many users wait already")),
            "{entry}"
        );
        assert_eq!(world.trouble(user).await["error"], "broker_rate_limited");
    }
    let mut synced = users_with(&run, SYNCED);
    assert_eq!(synced.remove(0), "zoe", "who need not wait does not");
    synced.sort();
    assert_eq!(synced, waited);
    let asked = accounts_asked_for(&world);
    assert_eq!(asked.iter().filter(|user| *user == SHARED).count(), 1 + waited.len(), "{asked:?}");
}

/// What failed them passes, so they have the other turn.
#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_users_of_a_service_that_asks_to_wait_have_another_turn() {
    let world = sandbox().await;
    let ids = names("user", 12);
    world.users(&ids).await;
    world.user("zoe").await;
    world.fault("alpaca:error=503,header=Retry-After: 9,times=12");
    let run = world.pulse_with(&ONE_AT_A_TIME).await;
    run.assert_completed("13 successful, 0 errors", 0);
    let asked = accounts_asked_for(&world);
    assert_eq!(asked.len(), 12 + 13);
    let (first, second) = asked.split_at(13);
    assert_eq!(first, [&ids[..], &["zoe".to_owned()]].concat(), "nobody keeps the next one waiting");
    for crowded in &ids[8..] {
        for waited in &ids[..8] {
            let (waited, crowded) = (waited.to_string(), crowded.to_string());
            assert!(place_of(second, &waited, 1) < place_of(second, &crowded, 1), "{second:?}");
        }
        assert_eq!(world.trouble(crowded).await, json!(null));
    }
}
