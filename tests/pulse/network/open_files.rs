//! A process that may open few files.

use super::{through, users};
use crate::world::{Run, World, sandbox};
use tokio::process::Command;

/// A pass that may open so many files, and no more by itself.
async fn pulse(world: &World, limit: &str) -> Run {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!(r#"ulimit {limit} && exec "$0" "$@""#)]);
    Run::of(&mut through(shell, &world.command(&[]))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn few_open_files_make_a_pass_slow_and_not_empty() {
    let world = sandbox().await;
    world.users(&users(1500)).await;
    let run = pulse(&world, "-n 64").await;
    run.assert_completed("1500 successful, 0 errors", 0);
    let told = "6 users at once instead of 64: the process may have 64 files open (ulimit -n), and each user takes up to 6";
    let told: Vec<_> = run.entries().into_iter().filter(|entry| entry["message"] == told).collect();
    assert_eq!(told.len(), 1, "{}", run.stdout);
    assert_eq!(told[0]["severity"], "WARNING");
}

/// What a shell sets by itself is often the soft limit alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_may_be_raised_is_raised() {
    let world = sandbox().await;
    world.users(&users(300)).await;
    let run = pulse(&world, "-S -n 64").await;
    run.assert_completed("300 successful, 0 errors", 0);
    assert!(!run.stdout.contains("ulimit -n"), "{}", run.stdout);
}
