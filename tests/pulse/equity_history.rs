//! Section 2: the equity history, which the platform's loss guards read.

use crate::answers::{answer, money};
use crate::live::{LOOK_INTERVAL, Live, in_time};
use crate::on_both;
use crate::refused_documents::fill;
use crate::world::{World, keys_of, timestamp};
use alpaca_pulse::firestore::values::{double, timestamp as time};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::{Keys, Profile};
use serde_json::{Value as Json, json};

const EVERY_MINUTE: [&str; 2] = ["--equity-history", "1m"];

/// An entry's id by the time that its slot begins.
fn slot_of(now: Timestamp) -> String {
    now.strftime("%Y%m%d%H%M").to_string()
}

fn path(user: &str, slot: &str) -> String {
    format!("users/{user}/alpacaAccounts/snapshot/equity_history/{slot}")
}

/// All entries, by their paths.
async fn entries(world: &World) -> Vec<(String, Json)> {
    world.group("equity_history").await.into_iter().collect()
}

/// Lets the pass that was last have begun then.
async fn last_pass_began(world: &World, at: Timestamp) {
    world.patch("ops/last_pulse", [("started_at", time(at))]).await;
}

/// One pass within a minute that the one before was in too; which one that is.
async fn another_pass_in_the_same_minute(world: &World) -> String {
    loop {
        let before = slot_of(Timestamp::now());
        last_pass_began(world, Timestamp::now()).await;
        world.pulse_with(&EVERY_MINUTE).await;
        if slot_of(Timestamp::now()) == before {
            return before;
        }
    }
}

/// The platform's rule: below three numbers with a time in ten minutes it guards nothing.
fn guards(entries: &[(String, Json)], now: Timestamp) -> bool {
    let is_recent = |entry: &Json| {
        entry["equity"].is_f64()
            && now.duration_since(timestamp(&entry["ts"])) <= SignedDuration::from_mins(10)
    };
    entries.iter().filter(|(_, entry)| is_recent(entry)).count() >= 3
}

on_both! {
    async fn the_first_good_answer_of_a_slot_is_kept_in_the_snapshots_own_commit(world) {
        world.user("ana").await;
        world.connect("ana", money("123346.110"));
        let began = Timestamp::now();
        world.pulse_with(&EVERY_MINUTE).await.assert_completed("1 successful, 0 errors", 0);
        let kept = entries(&world).await;
        let [(name, entry)] = &kept[..] else { panic!("one entry: {kept:?}") };
        let slots = [began, Timestamp::now()].map(|now| path("ana", &slot_of(now)));
        assert!(slots.contains(name), "{name}");
        let [ts, expires_at] = ["ts", "expires_at"].map(|field| timestamp(&entry[field]));
        assert_eq!(entry.as_object().map(serde_json::Map::len), Some(3), "{entry}");
        assert_eq!(entry["equity"], json!(123_346.11));
        assert_eq!(expires_at.duration_since(ts), SignedDuration::from_hours(30 * 24));
        assert_eq!(world.snapshot("ana").await["updated_at_iso"], format!("{ts:.3}"), "when Alpaca answered");
        let commit = async |path: &str| world.stored(path).await.expect("written").update_time;
        assert_eq!(commit(name).await, commit("users/ana/alpacaAccounts/snapshot").await);

        world.account("ana", money("2"));
        let slot = another_pass_in_the_same_minute(&world).await;
        assert_eq!(world.snapshot("ana").await["equity"], json!(2.0));
        let first = kept.iter().find(|(name, _)| *name == path("ana", &slot));
        if let Some((name, first)) = first {
            assert_eq!(&world.document(name).await, first, "the first one stays");
        }

        last_pass_began(&world, Timestamp::now() - SignedDuration::from_secs(61)).await;
        world.pulse_with(&EVERY_MINUTE).await.assert_completed("1 successful, 0 errors", 0);
        let newest = entries(&world).await.pop().expect("at least one").1;
        assert_eq!(newest["equity"], json!(2.0), "in another slot, as far as is known");
    }

    async fn the_platforms_loss_guard_works_on_it(world) {
        world.user("ana").await;
        world.pulse_with(&EVERY_MINUTE).await.assert_completed("1 successful, 0 errors", 0);
        let (_, entry) = entries(&world).await.remove(0);
        assert!(!guards(&entries(&world).await, Timestamp::now()));
        // As the passes of the minutes before would have left it, to the letter.
        for minutes in [1, 2] {
            let ago = SignedDuration::from_mins(minutes);
            let [ts, expires_at] = ["ts", "expires_at"].map(|field| timestamp(&entry[field]) - ago);
            let equity = double(entry["equity"].as_f64().expect("a number"));
            let fields = [("ts", time(ts)), ("equity", equity), ("expires_at", time(expires_at))];
            world.put(&path("ana", &slot_of(ts)), fields).await;
        }
        assert!(guards(&entries(&world).await, Timestamp::now()));
        assert!(!guards(&entries(&world).await, Timestamp::now() + SignedDuration::from_mins(11)));
    }

    async fn whoever_failed_before_gets_their_entry_with_the_first_good_answer(world) {
        world.user("ana").await;
        world.account("ana", answer(503, ""));
        world.pulse_with(&EVERY_MINUTE).await.assert_completed("0 successful, 1 errors", 1);
        assert_eq!(entries(&world).await, []);
        world.account("ana", money("1"));
        let slot = another_pass_in_the_same_minute(&world).await;
        assert_eq!(world.document(&path("ana", &slot)).await["equity"], json!(1.0));
    }

    async fn nothing_is_kept_unless_asked_for_nor_by_a_persons_own_or_a_dry_run_nor_of_the_legacy_account(world) {
        let (key_id, secret_key) = keys_of("legacy");
        let keys = Keys { key_id: key_id.clone(), secret_key: secret_key.clone() };
        world.sandbox.alpaca().register("legacy", keys, Profile::active());
        let legacy = [("APCA_API_KEY_ID", key_id.as_str()), ("APCA_API_SECRET_KEY", &secret_key)];
        world.pulse_with_in(&EVERY_MINUTE, &legacy).await.assert_completed("1 successful, 0 errors", 0);
        world.user("ana").await;
        for args in [&[][..], &["--equity-history", "1m", "--user", "ana"], &["--equity-history", "1m", "--dry-run"]] {
            world.pulse_with(args).await.assert_completed("1 successful, 0 errors", 0);
        }
        assert_eq!(entries(&world).await, []);
    }

    async fn an_entry_that_is_refused_costs_nothing_else(world) {
        for user in ["ana", "ben"] {
            world.user(user).await;
            // This minute's, and the next one's, if that comes meanwhile.
            for minutes in [0, 1] {
                fill(&world, &path(user, &slot_of(Timestamp::now() + SignedDuration::from_mins(minutes))), []).await;
            }
        }
        let run = world.pulse_with(&[&EVERY_MINUTE[..], &["--legacy-tenant-path", "on"]].concat()).await;
        run.assert_completed("2 successful, 0 errors", 0);
        for user in ["ana", "ben"] {
            let told = run.entry(&format!("Could not write the equity history of user {user}: "));
            assert_eq!((&told["severity"], &told["error"]), (&json!("WARNING"), &json!("store_rejected")));
            assert!(world.snapshot(user).await["equity"].is_f64() && world.primary(user).await["equity"].is_f64());
        }
        let run = world.pulse_with(&[&EVERY_MINUTE[..], &["--legacy-tenant-path", "off"]].concat()).await;
        run.assert_completed("2 successful, 0 errors", 0);
    }

    async fn a_snapshot_that_is_left_as_it_is_gets_its_entry_all_the_same(world) {
        world.user("ana").await;
        world.account("ana", money("1"));
        let args = ["--every", "1s", "--for", "1h", "--refresh-unchanged", "200s", "--equity-history", "1m"];
        let mut running = Live::start(world.command(&args));
        running.until("Completed multi-tenant sync: ", 1).await;
        let committed = async |path: &str| {
            let time = world.stored(path).await.expect("written").update_time.expect("a time");
            (time.seconds, time.nanos)
        };
        let snapshot = committed("users/ana/alpacaAccounts/snapshot").await;
        in_time(async {
            loop {
                // Between two passes, sooner or later.
                last_pass_began(&world, Timestamp::now() - SignedDuration::from_secs(61)).await;
                let (newest, _) = entries(&world).await.pop().expect("one at least");
                if committed(&newest).await > snapshot {
                    break;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
        running.signal("TERM");
        running.end().await;
        assert_eq!(committed("users/ana/alpacaAccounts/snapshot").await, snapshot, "it says the same");
    }
    async fn nobody_who_is_gone_gets_an_entry_beside_a_snapshot_that_is_left_as_it_is(world) {
        world.user("ana").await;
        world.account("ana", money("1"));
        let args = ["--every", "1s", "--for", "1h", "--users-ttl", "1h", "--refresh-unchanged", "200s"];
        let mut running = Live::start(world.command(&[&args[..], &EVERY_MINUTE].concat()));
        running.until("Completed multi-tenant sync: ", 2).await;
        for gone in ["users/ana", "tenants/ana/accounts/primary", "users/ana/alpacaAccounts/snapshot"] {
            world.delete(gone).await;
        }
        for (entry, _) in entries(&world).await {
            world.delete(&entry).await;
        }
        let new_slots = async {
            loop {
                // Between two passes, sooner or later.
                last_pass_began(&world, Timestamp::now() - SignedDuration::from_secs(61)).await;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = running.until("Skipped Alpaca account for user ana: the user was deleted meanwhile", 1) => {}
            () = new_slots => {}
        }
        running.signal("TERM");
        running.end().await;
        assert_eq!(entries(&world).await, []);
    }
}
