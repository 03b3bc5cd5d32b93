//! Section 4 on a terminal: what a person sees of a pass.

use crate::crowd::turn_of_a_crowd;
use crate::terminal::{plain, run_on_terminal};
use crate::world::{World, sandbox, secret_of};

const FAILING: [&str; 4] = ["user-0007", "user-1234", "user-2500", "user-4999"];

/// 5,000 users at 100 ms a call, of whom four fail for two causes.
async fn crowd() -> World {
    let world = sandbox().await;
    world.crowd(5000);
    for service in ["firestore/Commit", "secret-manager", "alpaca"] {
        world.fault(&format!("{service}:latency=100ms"));
    }
    world.sandbox.secrets().delete(&secret_of(FAILING[0]));
    for user in &FAILING[1..] {
        world.account(user, crate::answers::answer(200, r#"{"id": "a", "status": "ACTIVE"}"#));
    }
    world
}

/// What is left of a terminal's lines once others were drawn over them.
fn left(shown: &str) -> Vec<String> {
    let last_drawn = |line: &str| line.rsplit('\r').next().unwrap_or_default().to_owned();
    plain(&shown.lines().map(|line| format!("{}\n", last_drawn(line))).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_5000_users_the_four_who_fail_are_what_a_person_sees_at_the_end() {
    let _turn = turn_of_a_crowd().await;
    let world = crowd().await;
    for columns in [80, 160] {
        let mut command = world.command(&["--concurrency=512"]);
        let (exit, shown) = run_on_terminal(&mut command, columns).await;
        assert_eq!(exit, Some(0));
        let lines = left(&shown);
        assert!(lines.len() < 25, "they fit on a screen: {lines:#?}");
        for line in &lines {
            assert!(line.chars().count() <= columns.into() || line.contains("$ "), "at {columns}: {line:?}");
        }
        for user in FAILING {
            assert!(
                lines.iter().any(|line| line.contains(&format!("  {user}  "))),
                "a line of its own: {lines:#?}"
            );
        }
        let at = lines
            .iter()
            .position(|line| line.contains("Completed multi-tenant sync: 4996 successful, 4 errors"));
        let end = &lines[at.expect("a last line") + 1..];
        let told = end.join("\n");
        assert!(FAILING.iter().all(|user| told.contains(user)), "at the very end: {told}");
        for part in ["keys_missing: 1 user\n", "broker_bad_answer: 3 users\n"] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        let command = format!("  $ pulse keys set {} --project={}", FAILING[0], world.project);
        assert!(end.contains(&command), "{told}");
        assert!(!shown.contains("Successfully synced"), "no good news of single users");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_takes_long_says_how_far_it_is() {
    let world = sandbox().await;
    world.crowd(40);
    world.fault("alpaca:latency=400ms");
    world.fault("alpaca:error=503,user=user-0001");
    for columns in [80, 160] {
        let (_, shown) = run_on_terminal(&mut world.command(&["--concurrency=4"]), columns).await;
        let drawn: Vec<_> = shown.split("\r\x1b[K").filter(|line| line.contains(" users/s")).collect();
        assert!(drawn.len() > 3, "again and again: {shown:?}");
        assert!(drawn.iter().any(|line| line.contains("/40 users · ")), "the total: {drawn:?}");
        assert!(drawn.iter().all(|line| line.chars().count() < columns.into()), "{drawn:?}");
        assert!(
            !left(&shown).iter().any(|line| line.contains("users/s")),
            "nothing of it is left: {shown:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_pass_and_a_terminal_that_cannot_draw_have_no_progress() {
    let world = sandbox().await;
    world.user("ana").await;
    let short = run_on_terminal(&mut world.command(&[]), 80).await.1;
    assert!(!short.contains("users/s"), "{short:?}");
    world.fault("alpaca:latency=1500ms");
    let dumb = run_on_terminal(world.command(&[]).env("TERM", "dumb"), 80).await.1;
    assert!(
        !dumb.contains(['\x1b', '\r']) && dumb.contains("Completed multi-tenant sync: 1 successful"),
        "{dumb:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_every_line_gets_it() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("ben").await;
    world.sandbox.secrets().delete(&secret_of("ben"));
    let verbose = run_on_terminal(&mut world.command(&["-v"]), 80).await.1;
    for part in
        ["Successfully synced Alpaca account for user ana", "Could not retrieve Alpaca keys for user ben: "]
    {
        assert!(verbose.contains(part), "{part} is not in {verbose}");
    }
    let short = run_on_terminal(world.command(&[]).env("NO_COLOR", "1"), 80).await.1;
    assert!(short.contains("  ben  keys_missing  the user's to mend"), "{short}");
    assert!(!short.contains("user ana") && !short.contains("\x1b[3"), "{short:?}");
}

/// The short lines hide it, so the end has it, whatever the code is.
#[tokio::test(flavor = "multi_thread")]
async fn why_somebody_failed_is_told_at_the_end() {
    let world = sandbox().await;
    for user in ["ana", "ben"] {
        world.user(user).await;
    }
    world.fault("firestore/Commit:error=INVALID_ARGUMENT,user=ana");
    world.sandbox.secrets().delete(&secret_of("ben"));
    let shown = run_on_terminal(&mut world.command(&[]), 80).await.1;
    let told = left(&shown).join("\n");
    let end = told.split_once("keys_missing: 1 user\n").expect("a summary").1;
    for part in
        ["  secret alpaca-keys-ben has no version", "store_rejected: 1 user\n  ana\n  Firestore refused"]
    {
        assert!(end.contains(part), "{part} is not in {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_reads_critical() {
    let world = sandbox().await;
    world.fault("firestore:error=PERMISSION_DENIED");
    let (exit, shown) = run_on_terminal(&mut world.command(&[]), 80).await;
    assert_eq!(exit, Some(1));
    assert!(plain(&shown).iter().any(|line| line.contains("  CRITICAL  ")), "{shown}");
    let kept = world.pulse_with(&["--log-format=text"]).await;
    assert!(kept.stdout.lines().any(|line| line.contains(" CRITICAL ")), "{}", kept.stdout);
}
