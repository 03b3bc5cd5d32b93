//! Section 8: many tasks, overlapping runs, restarts.

mod order;
mod overlap;
mod resume;
mod shares;
mod silence;
mod takeover;

use crate::world::{Run, World};
use pulse_sandbox::call::Service;
use serde_json::Value as Json;
use tokio::process::Command;

/// One attempt of one task of an execution.
#[derive(Clone, Copy)]
struct Task<'a> {
    execution: &'a str,
    index: usize,
    count: usize,
    attempt: usize,
}

impl Task<'_> {
    fn of(self, mut command: Command) -> Command {
        command
            .env("CLOUD_RUN_EXECUTION", self.execution)
            .env("CLOUD_RUN_TASK_INDEX", self.index.to_string())
            .env("CLOUD_RUN_TASK_COUNT", self.count.to_string())
            .env("CLOUD_RUN_TASK_ATTEMPT", self.attempt.to_string());
        command
    }

    async fn run(self, world: &World, args: &[&str]) -> Run {
        Run::of(&mut self.of(world.command(args))).await
    }
}

/// The first attempt of the only task of an execution.
fn single(execution: &str) -> Task<'_> {
    Task { execution, index: 0, count: 1, attempt: 0 }
}

/// All tasks of an execution, started together.
async fn execute(world: &World, execution: &str, count: usize, args: &[&str]) -> Vec<Run> {
    let task = |index| Task { execution, index, count, attempt: 0 }.run(world, args);
    futures::future::join_all((0..count).map(task)).await
}

/// Ids that share a long prefix: the hardest case for a plan made without knowing them.
fn users(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("customer-of-the-broker-{number:05}")).collect()
}

/// How many users a run says it has synced.
#[track_caller]
fn synced(run: &Run) -> usize {
    let entry = run.entry("Completed multi-tenant sync: ");
    let message = entry["message"].as_str().expect("a text").to_owned();
    let number = message.trim_start_matches("Completed multi-tenant sync: ").split(' ').next();
    number.and_then(|number| number.parse().ok()).expect("a number")
}

fn account_calls(world: &World) -> usize {
    usize::try_from(world.calls(Service::Alpaca, "GetAccount")).expect("few")
}

fn ledger_of(execution: &str) -> String {
    format!("ops/last_pulse/executions/{execution}")
}

async fn ledger(world: &World, execution: &str) -> Json {
    world.document(&ledger_of(execution)).await
}

async fn last_pulse(world: &World) -> Json {
    world.document("ops/last_pulse").await
}

/// A count of `ops/last_pulse`.
async fn published(world: &World, field: &str) -> usize {
    let number = last_pulse(world).await[field]["integer"].as_u64();
    usize::try_from(number.expect("a whole number")).expect("few")
}
