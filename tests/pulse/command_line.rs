//! Section 3: flags, their variables, and exit codes.

use crate::answers::answer;
use crate::on_both;
use crate::world::{Env, Run, World, fields_of, off, sandbox, secret_of};
use alpaca_pulse::firestore::values::{Fields, text};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::{Value as Json, json};

/// How a refusal ends: exit code 2, and nothing touched.
pub(crate) fn assert_refused(world: &World, run: &Run) {
    assert_eq!(run.exit, Some(2), "{}{}", run.stdout, run.stderr);
    for (service, method) in [
        (Service::Firestore, "RunQuery"),
        (Service::Firestore, "BatchGetDocuments"),
        (Service::Firestore, "Commit"),
        (Service::SecretManager, "AccessSecretVersion"),
        (Service::Alpaca, "GetAccount"),
    ] {
        assert_eq!(world.calls(service, method), 0, "{method} is not called");
    }
}

/// Nobody's money is touched by a name that was typed to see what it is.
#[tokio::test(flavor = "multi_thread")]
async fn pulse_alone_explains_itself_and_touches_nothing() {
    let world = sandbox().await;
    world.crowd(1);
    let run = Run::of(world.bare_command(&[]).env("PULSE_USERS", "user-0001")).await;
    assert_refused(&world, &run);
    for word in ["Usage: pulse <COMMAND>", "sync", "One pass over all users", "--help"] {
        assert!(run.stderr.contains(word), "{word} is not in:\n{}", run.stderr);
    }
    assert!(!run.stderr.contains("--concurrency"), "it is short:\n{}", run.stderr);
    assert_eq!(run.entry("no command was given")["severity"], "ERROR");
    for args in [&["--dry-run"][..], &["--user", "user-0001"]] {
        let run = Run::of(&mut world.bare_command(args)).await;
        assert_refused(&world, &run);
        assert!(run.stderr.contains("Usage: pulse <COMMAND>"), "a command is missing: {}", run.stderr);
        let entry = run.entry(&format!("unexpected argument '{}' found", args[0]));
        assert_eq!(entry["severity"], "ERROR");
    }
    let run = world.pulse_with(&["sync"]).await;
    run.assert_completed("1 successful, 0 errors", 0);
}

// Who is synced.

on_both! {
    async fn a_first_pass_over_no_users_is_a_success(world) {
        world.pulse().await.assert_completed("0 successful, 0 errors", 0);
        let last_pulse = world.document("ops/last_pulse").await;
        assert_eq!((&last_pulse["status"], &last_pulse["users_count"]), (&json!("ok"), &json!({"integer": 0})));
    }

    async fn only_named_users_are_synced(world) {
        let everybody = ["ana", "ben", "cy", "dan"];
        for user in everybody {
            world.user(user).await;
        }
        let cases: [(&[&str], Env<'_>, &[&str]); 5] = [
            (&["--user", "ana"], &[], &["ana"]),
            (&["--user", "ana", "--user=cy"], &[], &["ana", "cy"]),
            (&["sync", "--user", "ana,ben, cy,ana"], &[], &["ana", "ben", "cy"]),
            (&[], &[("PULSE_USERS", "ben,dan")], &["ben", "dan"]),
            (&["--user", "ana"], &[("PULSE_USERS", "ben,dan")], &["ana"]),
        ];
        for (args, env, synced) in cases {
            for user in everybody {
                world.delete(&format!("users/{user}/alpacaAccounts/snapshot")).await;
            }
            let run = world.pulse_with_in(args, env).await;
            run.assert_completed(&format!("{} successful, 0 errors", synced.len()), 0);
            for user in everybody {
                let expected = synced.contains(&user);
                assert_eq!(world.snapshot(user).await != Json::Null, expected, "{args:?} {env:?}: {user}");
            }
        }
    }

    async fn a_user_who_switched_the_sync_off_is_skipped(world) {
        world.user("ana").await;
        world.put("users/ana", [("sync_enabled", off())]).await;
        let run = world.pulse().await;
        run.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        assert!(run.says("Skipped Alpaca account for user ana: sync_enabled is false"));
    }
}

// What is written.

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_checks_everything_and_writes_nothing() {
    let cases: [(&[&str], Env<'_>); 4] = [
        (&["--dry-run"], &[]),
        (&["--dry-run=true"], &[("PULSE_DRY_RUN", "0")]),
        (&[], &[("PULSE_DRY_RUN", "1")]),
        (&[], &[("PULSE_DRY_RUN", "true")]),
    ];
    for (args, env) in cases {
        let world = sandbox().await;
        world.crowd(2);
        for (user, profile) in [("user-0003", Profile::Revoked), ("user-0004", Profile::onboarding())] {
            world.put_all("(default)", [(format!("users/{user}"), Fields::new())]);
            world.connect(user, profile);
        }
        let run = world.pulse_with_in(args, env).await;
        run.assert_completed("2 successful, 1 errors, 1 skipped", 0);
        assert!(
            run.says("Would have synced Alpaca account for user user-0001 (dry run)"),
            "{args:?} {env:?}"
        );
        assert!(!run.stdout.contains("Successfully synced"), "{}", run.stdout);
        assert_eq!(world.calls(Service::Alpaca, "GetAccount"), 4, "everybody is asked about");
        assert_eq!(world.calls(Service::Firestore, "Commit"), 0, "{args:?} {env:?}");
    }
}

on_both! {
    async fn a_dry_run_can_be_switched_off_again(world) {
        world.user("ana").await;
        let cases: [(&[&str], Env<'_>); 3] = [
            (&["--dry-run=false"], &[("PULSE_DRY_RUN", "1")]),
            (&[], &[("PULSE_DRY_RUN", "false")]),
            (&[], &[("PULSE_DRY_RUN", "")]),
        ];
        for (args, env) in cases {
            world.delete("users/ana/alpacaAccounts/snapshot").await;
            world.pulse_with_in(args, env).await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(world.snapshot("ana").await["status"], "ACTIVE", "{args:?} {env:?}");
        }
    }

    async fn the_whole_answer_is_stored_on_demand_and_removed_without(world) {
        let account = json!({
            "id": "1d9eed04", "status": "ACTIVE", "currency": "USD", "equity": "1.10", "buying_power": "2", "cash": "3",
            "multiplier": "2", "trading_blocked": false, "user_configurations": null, "nested": {"list": ["a", 1.5]},
        });
        world.user("ana").await;
        world.connect("ana", answer(200, account.to_string()));
        let cases: [(&[&str], Env<'_>, &Json); 6] = [
            (&["--store-raw"], &[], &account),
            (&[], &[], &Json::Null),
            (&[], &[("PULSE_STORE_RAW", "yes")], &account),
            (&["--store-raw=false"], &[("PULSE_STORE_RAW", "1")], &Json::Null),
            (&["--store-raw=true"], &[("PULSE_STORE_RAW", "0")], &account),
            (&[], &[("PULSE_STORE_RAW", "0")], &Json::Null),
        ];
        for (args, env, raw) in cases {
            world.pulse_with_in(args, env).await.assert_completed("1 successful, 0 errors", 0);
            let snapshot = world.snapshot("ana").await;
            assert_eq!(&snapshot["raw"], raw, "{args:?} {env:?}");
            assert_eq!(snapshot.get("raw").is_some(), !raw.is_null(), "{args:?} {env:?}");
        }
    }

    async fn the_tenants_document_can_be_left_out(world) {
        world.user("ana").await;
        let cases: [(&[&str], Env<'_>, bool); 4] = [
            (&["--legacy-tenant-path", "off"], &[], false),
            (&[], &[("PULSE_LEGACY_TENANT_PATH", "off")], false),
            (&["--legacy-tenant-path=on"], &[("PULSE_LEGACY_TENANT_PATH", "off")], true),
            (&[], &[], true),
        ];
        for (args, env, written) in cases {
            world.delete("tenants/ana/accounts/primary").await;
            world.pulse_with_in(args, env).await.assert_completed("1 successful, 0 errors", 0);
            assert_eq!(world.primary("ana").await != Json::Null, written, "{args:?} {env:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_is_read_and_written() {
    let cases: [(&[&str], Env<'_>); 3] = [
        (&["--database", "other"], &[]),
        (&[], &[("PULSE_DATABASE", "other")]),
        (&["--database=other"], &[("PULSE_DATABASE", "third")]),
    ];
    for (args, env) in cases {
        let world = sandbox().await;
        world.user("ana").await;
        world.put_all("other", [("users/ben".to_owned(), fields_of([("display_name", text("Ben"))]))]);
        world.connect("ben", Profile::active());
        world.pulse_with_in(args, env).await.assert_completed("1 successful, 0 errors", 0);
        let database = format!("projects/{}/databases/other", world.project);
        let written = world.sandbox.firestore().documents(&database);
        let mut names: Vec<_> =
            written.iter().filter_map(|document| document.name.strip_prefix(&database)).collect();
        let ledger = names.iter().position(|name| name.starts_with("/documents/ops/last_pulse/executions/"));
        names.remove(ledger.expect("the ledger"));
        assert_eq!(
            names,
            [
                "/documents/ops/current_pulse",
                "/documents/ops/last_pulse",
                "/documents/tenants/ben/accounts/primary",
                "/documents/users/ben",
                "/documents/users/ben/alpacaAccounts/snapshot",
            ],
            "{args:?} {env:?}"
        );
        assert_eq!(world.snapshot("ana").await, Json::Null, "{args:?} {env:?}");
    }
}

// Exit codes.

on_both! {
    async fn failed_users_fail_the_run_on_demand(world) {
        world.user("ana").await;
        world.user("ben").await;
        world.sandbox.secrets().delete(&secret_of("ben"));
        let cases: [(&[&str], Env<'_>, i32); 5] = [
            (&[], &[], 0),
            (&["--fail-on-error"], &[], 1),
            (&[], &[("PULSE_FAIL_ON_ERROR", "1")], 1),
            (&["--fail-on-error=false"], &[("PULSE_FAIL_ON_ERROR", "1")], 0),
            (&["--fail-on-error=true"], &[("PULSE_FAIL_ON_ERROR", "0")], 1),
        ];
        for (args, env, exit) in cases {
            world.pulse_with_in(args, env).await.assert_completed("1 successful, 1 errors", exit);
        }
        world.delete("users/ben").await;
        world.pulse_with(&["--fail-on-error"]).await.assert_completed("1 successful, 0 errors", 0);
    }

    async fn a_pass_in_which_nobody_is_synced_fails_only_if_somebody_failed(world) {
        world.user("ana").await;
        world.connect("ana", Profile::onboarding());
        world.pulse().await.assert_completed("0 successful, 0 errors, 1 skipped", 0);
        world.user("ben").await;
        world.sandbox.secrets().delete(&secret_of("ben"));
        world.pulse().await.assert_completed("0 successful, 1 errors, 1 skipped", 1);
        assert_eq!(world.document("ops/last_pulse").await["status"], "failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_usage_touches_nothing() {
    let cases: [(&[&str], Env<'_>); 38] = [
        (&["--frobnicate"], &[]),
        (&["frobnicate"], &[]),
        (&["sync", "extra"], &[]),
        (&["--concurrency", "0"], &[]),
        (&["--concurrency", "1025"], &[]),
        (&["--concurrency", "many"], &[]),
        (&[], &[("PULSE_CONCURRENCY", "0")]),
        (&["--legacy-tenant-path", "maybe"], &[]),
        (&[], &[("PULSE_LEGACY_TENANT_PATH", "maybe")]),
        (&["--log-format", "xml"], &[]),
        (&[], &[("PULSE_LOG_FORMAT", "xml")]),
        (&[], &[("PULSE_DRY_RUN", "perhaps")]),
        (&[], &[("PULSE_STORE_RAW", "perhaps")]),
        (&[], &[("PULSE_FAIL_ON_ERROR", "perhaps")]),
        (&["--secret-accesses-per-minute", "0"], &[]),
        (&[], &[("PULSE_SECRET_ACCESSES_PER_MINUTE", "-1")]),
        (&["--alpaca-calls-per-second", "0"], &[]),
        (&[], &[("PULSE_ALPACA_CALLS_PER_SECOND", "1.5")]),
        (&["--max-writes-per-second", "0"], &[]),
        (&[], &[("PULSE_MAX_WRITES_PER_SECOND", "4294967296")]),
        (&[], &[("PULSE_RAMP_WRITES", "perhaps")]),
        (&["--spread", "40"], &[]),
        (&["--spread", "0s"], &[]),
        (&[], &[("PULSE_SPREAD", "2h")]),
        (&["--deadline=-5s"], &[]),
        (&["--deadline", "0s"], &[]),
        (&[], &[("PULSE_DEADLINE", "30days")]),
        (&["--spread", "50s", "--deadline", "50s"], &[]),
        (&["--where", "active"], &[]),
        (&[], &[("PULSE_WHERE", "active")]),
        (&["--user", "a/b"], &[]),
        (&["--database", "a/b"], &[]),
        (&["--project", "a/b"], &[]),
        (&[], &[("CLOUD_RUN_TASK_COUNT", "101")]),
        (&[], &[("CLOUD_RUN_TASK_INDEX", "4"), ("CLOUD_RUN_TASK_COUNT", "4")]),
        (&[], &[("CLOUD_RUN_EXECUTION", "a/b")]),
        (&[], &[("APCA_API_KEY_ID", "PK1")]),
        (&[], &[("APCA_API_SECRET_KEY", "hush")]),
    ];
    let world = sandbox().await;
    world.crowd(1);
    for (args, env) in cases {
        let run = world.pulse_with_in(args, env).await;
        assert_refused(&world, &run);
        assert!(!format!("{}{}", run.stdout, run.stderr).is_empty(), "{args:?} {env:?} is explained");
    }
}

/// Whoever reads the log of the job learns why it did nothing; whoever typed it reads stderr.
#[tokio::test(flavor = "multi_thread")]
async fn bad_usage_is_a_line_of_a_json_log_too() {
    let world = sandbox().await;
    let cases: [(&[&str], Env<'_>, &str); 6] = [
        (&["--frobnicate"], &[], "unexpected argument '--frobnicate' found"),
        (
            &["--concurrency", "0"],
            &[("PULSE_LOG_FORMAT", "json")],
            "invalid value '0' for '--concurrency <N>'",
        ),
        (&[], &[("PULSE_SPREAD", "2h")], "invalid value '2h' for '--spread <TIME>'"),
        (&["--log-format", "xml"], &[], "invalid value 'xml' for '--log-format <LOG_FORMAT>'"),
        (
            &["--log-format=json", "extra"],
            &[("PULSE_LOG_FORMAT", "text")],
            "unexpected argument 'extra' found",
        ),
        (&["frobnicate"], &[], "unrecognized subcommand 'frobnicate'"),
    ];
    for (args, env, message) in cases {
        let named = [("CLOUD_RUN_EXECUTION", "pulse-x7k2p"), ("APCA_API_SECRET_KEY", "hush-hush")];
        let run = world.pulse_with_in(args, &[env, &named].concat()).await;
        assert_refused(&world, &run);
        assert_eq!(run.entries().len(), 1, "{}", run.stdout);
        let entry = run.entry(message);
        assert_eq!((&entry["severity"], &entry["execution"]), (&json!("ERROR"), &json!("pulse-x7k2p")));
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(message), "{}", run.stderr);
        assert!(!run.stdout.contains("hush") && !run.stderr.contains("hush"), "{}{}", run.stdout, run.stderr);
    }
    let cases: [(&[&str], Env<'_>); 4] = [
        (&["--frobnicate"], &[("PULSE_LOG_FORMAT", "text")]),
        (&["--log-format=text", "--frobnicate"], &[("PULSE_LOG_FORMAT", "json")]),
        (&["sandbox", "--frobnicate"], &[]),
        (&["demo", "--frobnicate"], &[]),
    ];
    for (args, env) in cases {
        let run = world.pulse_with_in(args, env).await;
        assert_refused(&world, &run);
        assert_eq!(run.stdout, "", "{args:?} {env:?}");
        assert!(run.stderr.contains("unexpected argument '--frobnicate' found"), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_concurrency_is_1_to_1024() {
    let world = sandbox().await;
    world.crowd(3);
    let cases: [(&[&str], Env<'_>); 4] = [
        (&["--concurrency", "1"], &[]),
        (&["--concurrency=1024"], &[]),
        (&[], &[("PULSE_CONCURRENCY", "1024")]),
        (&["--concurrency", "2"], &[("PULSE_CONCURRENCY", "0x2")]),
    ];
    for (args, env) in cases {
        world.pulse_with_in(args, env).await.assert_completed("3 successful, 0 errors", 0);
    }
}

// Project and endpoints.

#[tokio::test(flavor = "multi_thread")]
async fn the_project_is_the_flag_or_the_first_variable_set() {
    const ELSEWHERE: &str = "elsewhere";
    let world = sandbox().await;
    world.crowd(1);
    let project = world.project.clone();
    let here = project.as_str();
    let flag = ["--project", here];
    let cases: [(&[&str], [&str; 3]); 5] = [
        (&flag, [ELSEWHERE; 3]),
        (&[], [here, ELSEWHERE, ELSEWHERE]),
        (&[], ["", here, ELSEWHERE]),
        (&[], ["", "", here]),
        (&flag, [""; 3]),
    ];
    for (args, values) in cases {
        let names = ["GCP_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT"];
        let env: Vec<_> = names.into_iter().zip(values).collect();
        world.pulse_with_in(args, &env).await.assert_completed("1 successful, 0 errors", 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_project_is_explained_to_the_letter() {
    let world = sandbox().await;
    let run = Run::of(world.command(&[]).env_remove("GCP_PROJECT")).await;
    assert_refused(&world, &run);
    let entry = run.entry("Missing GCP_PROJECT or GCLOUD_PROJECT environment variable");
    assert_eq!(entry["message"], "Missing GCP_PROJECT or GCLOUD_PROJECT environment variable");
    assert_eq!(entry["severity"], "ERROR");
}

/// 0.0.0.0 is not loopback, and yet leads to this machine.
#[tokio::test(flavor = "multi_thread")]
async fn plain_http_beyond_loopback_is_refused_unless_it_is_allowed() {
    let world = sandbox().await;
    world.crowd(1);
    let outside = format!("0.0.0.0:{}", world.sandbox.address().port());
    let variables = [
        ("FIRESTORE_EMULATOR_HOST", outside.clone()),
        ("SECRET_MANAGER_EMULATOR_HOST", outside.clone()),
        ("APCA_API_BASE_URL", format!("http://{outside}")),
    ];
    for (name, value) in &variables {
        let run = world.pulse_in(&[(name, value)]).await;
        assert_refused(&world, &run);
        assert_eq!(run.entry(name)["severity"], "ERROR", "{name} is named");
    }
    for allowed in ["0", "", "no"] {
        let env =
            [("APCA_API_BASE_URL", variables[2].1.as_str()), ("PULSE_ALLOW_INSECURE_ENDPOINTS", allowed)];
        assert_refused(&world, &world.pulse_in(&env).await);
    }
    let mut env: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    env.push(("PULSE_ALLOW_INSECURE_ENDPOINTS", "1"));
    world.pulse_in(&env).await.assert_completed("1 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_reported_at_once() {
    let world = sandbox().await;
    let env = [("GCP_PROJECT", ""), ("APCA_API_KEY_ID", "PK1"), ("APCA_API_BASE_URL", "http://example.com")];
    let run = world.pulse_with_in(&["--user", "a/b"], &env).await;
    assert_refused(&world, &run);
    for part in ["GCP_PROJECT", "--user", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"] {
        assert!(run.stdout.contains(part), "{part} is not in {}", run.stdout);
    }
}

// Help.

#[tokio::test(flavor = "multi_thread")]
async fn help_names_every_flag_variable_and_exit_code() {
    let world = sandbox().await;
    for args in [&["sync", "--help"][..], &["help", "sync"]] {
        let run = world.pulse_with(args).await;
        assert_eq!(run.exit, Some(0), "{}", run.stderr);
        for word in [
            "--project",
            "GCP_PROJECT",
            "GCLOUD_PROJECT",
            "GOOGLE_CLOUD_PROJECT",
            "--database",
            "PULSE_DATABASE",
            "(default)",
            "--concurrency",
            "PULSE_CONCURRENCY",
            "64",
            "1024",
            "--user",
            "PULSE_USERS",
            "--dry-run",
            "PULSE_DRY_RUN",
            "--legacy-tenant-path",
            "PULSE_LEGACY_TENANT_PATH",
            "--store-raw",
            "PULSE_STORE_RAW",
            "--log-format",
            "PULSE_LOG_FORMAT",
            "--fail-on-error",
            "PULSE_FAIL_ON_ERROR",
            "--verbose",
            "PULSE_VERBOSE",
            "--where",
            "PULSE_WHERE",
            "--spread",
            "PULSE_SPREAD",
            "--deadline",
            "PULSE_DEADLINE",
            "--secret-accesses-per-minute",
            "PULSE_SECRET_ACCESSES_PER_MINUTE",
            "80000",
            "--alpaca-calls-per-second",
            "PULSE_ALPACA_CALLS_PER_SECOND",
            "--max-writes-per-second",
            "PULSE_MAX_WRITES_PER_SECOND",
            "--ramp-writes",
            "PULSE_RAMP_WRITES",
            "FIRESTORE_EMULATOR_HOST",
            "SECRET_MANAGER_EMULATOR_HOST",
            "APCA_API_BASE_URL",
            "APCA_API_KEY_ID",
            "APCA_API_SECRET_KEY",
            "TENANT_ID",
            "PULSE_ALLOW_INSECURE_ENDPOINTS",
            "CLOUD_RUN_",
            "RUST_LOG",
            "NO_COLOR",
            "0    the pass completed",
            "1    the pass failed",
            "2    bad usage",
            "143  stopped by SIGTERM",
            "130",
        ] {
            assert!(run.stdout.contains(word), "{word} is not in the output of {args:?}:\n{}", run.stdout);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_shown() {
    let world = sandbox().await;
    let run = Run::of(&mut world.bare_command(&["--version"])).await;
    assert_eq!((run.exit, run.stdout), (Some(0), format!("pulse {}\n", env!("PULSE_VERSION"))));
    let commit =
        env!("PULSE_VERSION").strip_prefix(env!("CARGO_PKG_VERSION")).expect("the package's version");
    let is_short = |commit: &str| commit.len() == 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(commit.is_empty() || commit.strip_prefix('+').is_some_and(is_short), "{commit}");
}

/// Bash is where tests run; the other shells' scripts are there, and name the commands.
#[tokio::test(flavor = "multi_thread")]
async fn shells_complete_the_command_line() {
    let world = sandbox().await;
    let mut scripts = Vec::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = Run::of(&mut world.bare_command(&["completions", shell])).await;
        assert_eq!((run.exit, run.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(run.stdout.contains("sync") && run.stdout.contains("dry-run"), "{shell}: {}", run.stdout);
        scripts.push(run.stdout);
    }
    let bash =
        |script: &str| std::process::Command::new("bash").args(["-c", script]).output().expect("bash runs");
    assert!(bash(&format!("bash -n <<'END'\n{}\nEND", scripts[0])).status.success());
    for (words, expected) in [("pulse sy", "sync"), ("pulse sync --dry", "--dry-run")] {
        let words: Vec<&str> = words.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let completed = bash(&format!(
            "{}\nCOMP_WORDS=({}); COMP_CWORD={}; _pulse pulse '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
            scripts[0],
            words.join(" "),
            words.len() - 1,
        ));
        assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), expected, "{words:?}");
    }
    let wrong = Run::of(&mut world.bare_command(&["completions", "tcl"])).await;
    assert_eq!((wrong.exit, wrong.stdout.as_str()), (Some(2), ""), "no line of a log in a script");
}

/// Help must not show what the variables are set to: it ends up in tickets and build logs.
#[tokio::test(flavor = "multi_thread")]
async fn help_does_not_show_the_legacy_keys() {
    let world = sandbox().await;
    let run = world
        .pulse_with_in(&["--help"], &[("APCA_API_SECRET_KEY", "hush-hush"), ("APCA_API_KEY_ID", "PKHUSH")])
        .await;
    assert!(!run.stdout.contains("hush-hush") && !run.stdout.contains("PKHUSH"), "{}", run.stdout);
}
