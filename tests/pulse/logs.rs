//! Section 4: the log, line by line.

use crate::answers::answer;
use crate::on_both;
use crate::world::{Env, Run, World, off, secret_of};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

const LABELS: &str = "logging.googleapis.com/labels";

const ESCAPE: char = '\u{1b}';

/// A user for each way to end: synced, keys missing, answer bad, switched off.
async fn one_of_each(world: &World) {
    for user in ["ana", "ben", "cy", "dan"] {
        world.user(user).await;
    }
    world.sandbox.secrets().delete(&secret_of("ben"));
    world.connect("cy", answer(200, "not json"));
    world.put("users/dan", [("sync_enabled", off())]).await;
}

/// The messages about one user, in the order they were logged.
fn messages_about(run: &Run, user: &str) -> Vec<String> {
    let mut entries = run.entries();
    entries.retain(|entry| entry["user_id"] == user);
    let message = |entry: &Json| entry["message"].as_str().expect("a text").to_owned();
    entries.iter().map(message).collect()
}

on_both! {
    async fn every_message_is_as_promised_to_the_letter(world) {
        one_of_each(&world).await;
        let run = world.pulse().await;
        assert_eq!(messages_about(&run, "ana"), [
            "Syncing Alpaca account for user ana",
            "Successfully synced Alpaca account for user ana",
        ]);
        assert_eq!(messages_about(&run, "ben"), [
            "Syncing Alpaca account for user ben",
            "Could not retrieve Alpaca keys for user ben: secret alpaca-keys-ben has no version: \
             store the user's keys in it",
        ]);
        let cy = messages_about(&run, "cy");
        assert_eq!((cy.len(), &*cy[0]), (2, "Syncing Alpaca account for user cy"));
        assert!(cy[1].starts_with("Failed to sync Alpaca account for user cy: Alpaca's answer cannot be used"));
        assert_eq!(messages_about(&run, "dan"), ["Skipped Alpaca account for user dan: sync_enabled is false"]);
        let last = run.entries().pop().expect("a last line");
        assert_eq!(last["message"], "Completed multi-tenant sync: 1 successful, 2 errors, 1 skipped");
        assert_eq!(run.stderr, "");
    }

    async fn every_line_is_an_entry_of_cloud_logging(world) {
        one_of_each(&world).await;
        let before = Timestamp::now();
        let run = world.pulse().await;
        let entries = run.entries();
        assert_eq!(entries.len(), 8, "{}", run.stdout);
        for entry in &entries {
            assert!(["INFO", "WARNING", "ERROR"].contains(&entry["severity"].as_str().expect("a text")), "{entry}");
            assert!(entry["message"].is_string(), "{entry}");
            let time: Timestamp = entry["time"].as_str().expect("a text").parse().expect("RFC 3339");
            assert!(before <= time && time <= Timestamp::now(), "{entry}");
            let labels = entry[LABELS].as_object().expect("labels");
            assert!(labels.values().all(Json::is_string), "{entry}");
            assert_eq!((&labels["execution"], &labels["task_index"]), (&entry["execution"], &json!("0")));
            assert_eq!(labels.get("user_id"), entry.get("user_id"), "{entry}");
        }
    }

    async fn the_fields_of_each_line_are_there(world) {
        one_of_each(&world).await;
        let run = world.pulse().await;
        let synced = run.entry("Successfully synced Alpaca account for user ana");
        assert_eq!((&synced["user_id"], &synced["tenant_id"]), (&json!("ana"), &json!("ana")));
        assert_eq!(synced["severity"], "INFO");
        for (message, error) in [
            ("Could not retrieve Alpaca keys for user ben", "keys_missing"),
            ("Failed to sync Alpaca account for user cy", "broker_bad_answer"),
        ] {
            let failed = run.entry(message);
            assert_eq!((&failed["error"], &failed["severity"]), (&json!(error), &json!("ERROR")));
            assert!(failed["duration_ms"].is_u64(), "{failed}");
        }
        for message in ["Successfully synced", "Completed multi-tenant sync"] {
            assert!(run.entry(message)["duration_ms"].is_u64(), "{message}");
        }
    }

    async fn the_last_line_has_every_number_by_the_name_of_ops_last_pulse(world) {
        one_of_each(&world).await;
        let run = world.pulse().await;
        let (line, document) = (run.entry("Completed multi-tenant sync: "), world.document("ops/last_pulse").await);
        for name in ["success", "error", "skipped", "needs_reauth", "users"].map(|name| format!("{name}_count")) {
            assert_eq!(line[&name], document[&name]["integer"], "{name}");
        }
        for name in ["secret_accesses", "alpaca_calls"] {
            assert_eq!(line[name], document[name]["integer"], "{name}");
        }
        assert_eq!(line["errors"], json!({"broker_bad_answer": 1, "keys_missing": 1}));
        let percentiles = ["p50_ms", "p95_ms", "p99_ms"].map(|name| line[name].as_u64().expect("a number"));
        assert!(percentiles[0] > 0 && percentiles.is_sorted(), "{percentiles:?}");
        // The line comes before what is left to be recorded.
        for name in ["firestore_reads", "firestore_writes"] {
            let [so_far, all] = [&line[name], &document[name]["integer"]].map(|number| number.as_u64().expect("a number"));
            assert!(0 < so_far && so_far <= all, "{name}: {so_far} of {all}");
        }
        let facts = ["status", "scope"].map(|name| line[name].clone());
        assert_eq!(facts, [json!("degraded"), json!("all users")]);
        for (args, status, scope) in [
            (&["--user", "ana"][..], "ok", "named users"), (&["--user", "ben"], "failed", "named users"),
            (&["--user", "ana,ben"], "degraded", "named users"), (&["--dry-run"], "degraded", "dry run"),
        ] {
            let line = world.pulse_with(args).await.entry("Completed multi-tenant sync: ");
            assert_eq!(["status", "scope"].map(|name| line[name].clone()), [json!(status), json!(scope)], "{args:?}");
            assert!(line["users_count"].is_u64() && line["alpaca_calls"].is_u64(), "{line}");
        }
    }

    async fn cloud_runs_execution_and_task_are_on_every_line(world) {
        one_of_each(&world).await;
        let env = [("CLOUD_RUN_EXECUTION", "pulse-x7k2p"), ("CLOUD_RUN_TASK_INDEX", "0"), ("CLOUD_RUN_TASK_COUNT", "1")];
        let run = world.pulse_in(&env).await;
        for entry in run.entries() {
            assert_eq!((&entry["execution"], &entry["task_index"]), (&json!("pulse-x7k2p"), &json!(0)));
            let labels = &entry[LABELS];
            assert_eq!((&labels["execution"], &labels["task_index"]), (&json!("pulse-x7k2p"), &json!("0")));
        }
        assert_eq!(world.document("ops/last_pulse").await["execution"], "pulse-x7k2p");
    }

    async fn a_run_outside_cloud_run_has_an_execution_of_its_own(world) {
        let (first, second) = (world.pulse().await, world.pulse().await);
        let execution = |run: &Run| run.entries()[0]["execution"].as_str().expect("a text").to_owned();
        assert!(!execution(&first).is_empty());
        assert_ne!(execution(&first), execution(&second));
    }

    /// Firestore takes almost any text as an id, and anybody may sign up.
    async fn a_line_break_in_a_users_id_forges_no_line(world) {
        let id = "ana\n{\"severity\":\"CRITICAL\",\"message\":\"forged\"}\r\u{1b}[2J\u{2028}";
        world.put(&format!("users/{id}"), []).await;
        world.user("zoe").await;
        let run = world.pulse().await;
        run.assert_completed("1 successful, 1 errors", 0);
        assert!(run.entries().iter().all(|entry| entry["message"] != "forged"), "{}", run.stdout);
        let failed = run.entry("Failed to sync Alpaca account for user ana\\n{\"severity\"");
        assert_eq!((&failed["user_id"], &failed["error"]), (&json!(id), &json!("user_id_invalid")));
        let text = world.pulse_with(&["--log-format", "text"]).await.stdout;
        assert!(!text.lines().any(|line| line.starts_with('{')), "{text}");
        assert!(!text.contains([ESCAPE, '\r']), "{text}");
    }

    async fn the_text_format_is_for_people_and_has_no_colours_off_a_terminal(world) {
        one_of_each(&world).await;
        let cases: [(&[&str], Env<'_>); 4] = [
            (&["--log-format", "text"], &[]),
            (&["--log-format=text"], &[("PULSE_LOG_FORMAT", "json"), ("NO_COLOR", "1")]),
            (&[], &[("PULSE_LOG_FORMAT", "text")]),
            (&["sync"], &[("PULSE_LOG_FORMAT", "text"), ("NO_COLOR", ""), ("TERM", "xterm-256color")]),
        ];
        for (args, env) in cases {
            let run = world.pulse_with_in(args, env).await;
            for message in [
                "Successfully synced Alpaca account for user ana",
                "Could not retrieve Alpaca keys for user ben",
                "Completed multi-tenant sync: 1 successful, 2 errors, 1 skipped",
            ] {
                assert!(run.stdout.contains(message), "{args:?} {env:?}:\n{}", run.stdout);
            }
            assert!(!run.stdout.contains(ESCAPE), "{args:?} {env:?}:\n{}", run.stdout);
            assert_eq!(run.stdout.lines().count(), 8, "{args:?} {env:?}:\n{}", run.stdout);
        }
    }

    async fn json_is_the_format_off_a_terminal(world) {
        world.user("ana").await;
        let cases: [(&[&str], Env<'_>); 4] = [
            (&[], &[]),
            (&["--log-format", "auto"], &[("PULSE_LOG_FORMAT", "text")]),
            (&["--log-format=json"], &[]),
            (&[], &[("PULSE_LOG_FORMAT", "json")]),
        ];
        for (args, env) in cases {
            let run = world.pulse_with_in(args, env).await;
            assert_eq!(run.entries().len(), 3, "{args:?} {env:?}:\n{}", run.stdout);
        }
    }

    async fn the_filter_is_rust_logs_own(world) {
        world.user("ana").await;
        let of = async |filter| world.pulse_in(&[("RUST_LOG", filter)]).await;
        assert_eq!(of("off").await.stdout, "");
        assert_eq!(of("error").await.stdout, "");
        assert!(of("trace").await.entries().len() > 10, "one object a line at every level");
        let usual = of("no/such=filter=").await;
        assert_eq!(usual.entry("RUST_LOG is ignored: ")["severity"], "WARNING");
        usual.assert_completed("1 successful, 0 errors", 0);
    }
}
