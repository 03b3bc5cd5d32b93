//! `--legacy-tenant-path`: for whom tenants' documents are written, and what is read for that.

use crate::world::{World, sandbox};
use alpaca_pulse::firestore::values::text;
use serde_json::json;

/// ana has no tenant, ben is a member of acme, cy says so and is not.
async fn world() -> World {
    let world = sandbox().await;
    world.user("ana").await;
    for user in ["ben", "cy"] {
        world.user_of_tenant(user, text("acme")).await;
    }
    world.membership("acme", "ben").await;
    world
}

async fn reads(world: &World) -> i64 {
    world.document("ops/last_pulse").await["firestore_reads"]["integer"].as_i64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_documents_are_written_for_everybody_for_members_or_for_nobody() {
    let mut numbers = Vec::new();
    for (path, tenants, refusals) in
        [("on", &["acme", "ana"][..], 1), ("members", &["acme"], 1), ("off", &[], 0)]
    {
        let world = world().await;
        // The first pass creates documents, which takes further reads.
        world.pulse_with(&["--legacy-tenant-path", path]).await;
        let run = world.pulse_in(&[("PULSE_LEGACY_TENANT_PATH", path)]).await;
        run.assert_completed("3 successful, 0 errors", 0);
        assert_eq!(world.tenants_with_account().await, tenants, "{path}");
        let refused = run.entries().iter().filter(|entry| entry["severity"] == "WARNING").count();
        assert_eq!(refused, refusals, "{path}: {}", run.stdout);
        for user in ["ana", "ben", "cy"] {
            assert_eq!(world.snapshot(user).await["user_id"], json!(user), "{path}");
        }
        numbers.push(reads(&world).await);
    }
    // ana's document; the one of acme and two memberships.
    let [on, members, off] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!((on - members, members - off), (1, 3), "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_writes_the_documents_of_members_alone_too() {
    let world = world().await;
    let args = ["--every", "1s", "--for", "1s", "--legacy-tenant-path", "members"];
    world.pulse_with(&args).await.assert_completed("3 successful, 0 errors", 0);
    assert_eq!(world.tenants_with_account().await, ["acme"]);
}
