//! Sections 5 and 6: one user's wait is nobody else's. Who waits holds no slot, who failed for something that passes has
//! another turn, and whoever answers nobody is hardly asked.
//!
//! Most of it shows in the order of calls. Where one user at a time is at work, the next one's call comes before the
//! waiting one's second only if the slot was given up.

mod crowded;
mod hints;
mod keyless;
mod limited_keys;
mod mute_alpaca;
mod probes;
mod second_lap;
mod silent_calls;

use crate::world::{Run, World, keys_of};
use pulse_sandbox::alpaca::Profile;
use pulse_sandbox::call::Service;
use serde_json::json;

const ONE_AT_A_TIME: [&str; 2] = ["--concurrency", "1"];

const SYNCED: &str = "Successfully synced Alpaca account for user ";
const FAILED: &str = "Failed to sync Alpaca account for user ";

/// `<prefix>-0001`, `<prefix>-0002`, …
fn names(prefix: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{prefix}-{number:04}")).collect()
}

/// Whom the calls of this method were for, in the order in which they came.
fn calls_for(world: &World, service: Service, method: &str) -> Vec<String> {
    let mut calls = world.sandbox.requests().received();
    calls.retain(|call| call.method.service() == service && call.method.name() == method);
    calls.into_iter().map(|call| call.user.expect("a user's call")).collect()
}

/// The users whose accounts were asked for, in the order of the calls.
fn accounts_asked_for(world: &World) -> Vec<String> {
    calls_for(world, Service::Alpaca, "GetAccount")
}

/// Where in the list the call with that number (from 1) for a user is.
#[track_caller]
fn place_of(calls: &[String], user: &str, number: usize) -> usize {
    let mut of_user = calls.iter().enumerate().filter(|(_, called)| *called == user);
    let place = of_user.nth(number - 1);
    place.unwrap_or_else(|| panic!("call {number} for {user} is not in {calls:?}")).0
}

/// The owner of the keys of [`share_keys`], as faults and calls name them.
const SHARED: &str = "pasted";

/// Gives users the same keys, in place of their own.
fn share_keys(world: &World, users: &[String]) {
    world.account(SHARED, Profile::active());
    let (key_id, secret_key) = keys_of(SHARED);
    let payload = json!({"key_id": key_id, "secret_key": secret_key, "environment": "paper"}).to_string();
    for user in users {
        world.store_payload(user, &payload);
    }
}

/// The users of whom a line with this beginning is logged, in the order of the lines.
fn users_with(run: &Run, message: &str) -> Vec<String> {
    let mut entries = run.entries();
    entries.retain(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)));
    entries.iter().map(|entry| entry["user_id"].as_str().expect("a user").to_owned()).collect()
}

/// The number of the first line, from 0, that starts so.
#[track_caller]
fn line_of(run: &Run, message: &str) -> usize {
    let starts_so =
        |entry: &serde_json::Value| entry["message"].as_str().is_some_and(|text| text.starts_with(message));
    run.entries().iter().position(starts_so).unwrap_or_else(|| panic!("{message:?} is not in {}", run.stdout))
}
