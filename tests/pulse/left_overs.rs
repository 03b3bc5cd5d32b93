//! What deleted users have left: who removes it, and who does not.

use crate::on_both;
use crate::world::{World, secret_of};
use alpaca_pulse::firestore::values::text;
use serde_json::Value as Json;

/// Users who are in trouble, for want of keys.
async fn in_trouble(world: &World, users: &[&str]) {
    for user in users {
        world.user(user).await;
        world.sandbox.secrets().delete(&secret_of(user));
    }
    world.user("mia").await;
    world.pulse().await.assert_completed(&format!("1 successful, {} errors", users.len()), 0);
}

/// Those of them of whose trouble there is a record.
async fn recorded<'a>(world: &World, users: &[&'a str]) -> Vec<&'a str> {
    let mut recorded = Vec::new();
    for user in users {
        if world.trouble(user).await != Json::Null {
            recorded.push(*user);
        }
    }
    recorded
}

const USERS: [&str; 4] = ["ana", "ben", "nora", "zoe"];
const REMOVED: &str = "Removed alpacaAccounts/sync of ";

on_both! {
    async fn a_complete_pass_removes_the_records_of_deleted_users(world) {
        in_trouble(&world, &USERS).await;
        // Before, between and behind those who are left.
        for user in ["ana", "nora", "zoe"] {
            world.delete(&format!("users/{user}")).await;
        }
        let run = world.pulse().await;
        run.assert_completed("1 successful, 1 errors", 0);
        assert_eq!(run.entry(REMOVED)["message"], format!("{REMOVED}3 users who are deleted"));
        assert_eq!(recorded(&world, &USERS).await, ["ben"]);
        assert!(!world.pulse().await.stdout.contains(REMOVED));
    }

    async fn who_does_not_meet_everybody_removes_nothing(world) {
        in_trouble(&world, &USERS).await;
        world.patch("users/mia", [("plan", text("pro"))]).await;
        world.delete("users/zoe").await;
        for args in [&["--where", "plan=pro"][..], &["--user", "mia"], &["--dry-run"]] {
            let run = world.pulse_with(args).await;
            assert!(!run.stdout.contains(REMOVED), "{args:?}: {}", run.stdout);
            assert_eq!(recorded(&world, &USERS).await, USERS, "{args:?}");
        }
        world.pulse().await.entry(REMOVED);
        assert_eq!(recorded(&world, &USERS).await, ["ana", "ben", "nora"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_could_not_read_the_users_removes_nothing() {
    let world = crate::world::sandbox().await;
    in_trouble(&world, &USERS).await;
    world.delete("users/ana").await;
    world.fault("firestore/RunQuery:error=PERMISSION_DENIED");
    let run = world.pulse().await;
    assert_eq!(run.exit, Some(1), "{}", run.stdout);
    assert_eq!(recorded(&world, &USERS).await, USERS);
}
