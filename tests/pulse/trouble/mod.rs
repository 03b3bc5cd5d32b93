//! Sections 2, 5 and 5a: `users/{userId}/alpacaAccounts/sync`, what keeps a user from being synced.

mod clocks;
mod crowd;
mod failing;
mod fleet_guard;
mod missing_keys;
mod past;
mod reauth;
mod records;
mod writes;

use crate::answers::answer;
use crate::world::{World, timestamp};
use alpaca_pulse::firestore::values::{integer, text, timestamp as time};
use gcloud_sdk::google::firestore::v1::Document;
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::{Value as Json, json};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// An answer with this status and nothing usable in it.
fn status(code: u16) -> Profile {
    answer(code, "no JSON")
}

async fn stored(world: &World, user: &str) -> Option<Document> {
    world.stored(&format!("users/{user}/alpacaAccounts/sync")).await
}

/// A user's record without its times and without what [`past`] tells, and two of the times: `since` and
/// `next_attempt_at`.
async fn record(world: &World, user: &str) -> (Json, Timestamp, Option<Timestamp>) {
    let mut record = world.trouble(user).await;
    let fields = record.as_object_mut().unwrap_or_else(|| panic!("{user} has a record"));
    let since = timestamp(&fields.remove("since").expect("a point in time"));
    let written = timestamp(&fields.remove("updated_at").expect("the server's time"));
    assert!(written >= since - MINUTE && written <= Timestamp::now() + MINUTE, "{written}");
    let next = fields.remove("next_attempt_at").map(|next| timestamp(&next));
    fields.retain(|field, _| !PAST.contains(&field.as_str()));
    (record, since, next)
}

const PAST: [&str; 3] = ["failing_since", "last_success_at", "last_success_key_version"];

/// How a user came into trouble: since when they fail, when they last did not, and by which keys.
async fn past(world: &World, user: &str) -> (Option<Timestamp>, Option<Timestamp>, Option<String>) {
    let record = world.trouble(user).await;
    let [since, last, version] = PAST.map(|field| record.get(field));
    let version = version.map(|version| version.as_str().expect("a text").to_owned());
    (since.map(timestamp), last.map(timestamp), version)
}

/// What a record says besides its times.
fn says(state: &str, error: Option<&str>, rejections: i64, key_version: Option<&str>) -> Json {
    let mut record = json!({"state": state, "rejections": {"integer": rejections}});
    for (field, text) in [("error", error), ("key_version", key_version)] {
        if let Some(text) = text {
            record[field] = json!(text);
        }
    }
    record
}

/// How often a secret is looked at while its keys are known to be rejected, in seconds.
const LOOK_EVERY: i64 = 300;

/// Users whose secrets are not looked at within the next four minutes, because their five minutes, which begin
/// for each at another moment, do not turn: one in five.
fn nobody_looks_at_any_of(users: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let now = Timestamp::now().as_second();
    users.filter(move |user| {
        let shift = i64::from(crc32c::crc32c(user.as_bytes())) % LOOK_EVERY;
        (now + shift) / LOOK_EVERY == (now + 240 + shift) / LOOK_EVERY
    })
}

/// One of them.
fn nobody_looks_at() -> String {
    let users = (0..1000).map(|number| format!("user-{number}"));
    nobody_looks_at_any_of(users).next().expect("one in five users waits through any four minutes")
}

/// A user whose first keys Alpaca rejected twice, and asks to leave alone for that much longer.
async fn needs_reauth(world: &World, user: &str, rest: SignedDuration) {
    world.user(user).await;
    world.account(user, Profile::Revoked);
    let now = Timestamp::now();
    let fields = [
        ("state", text("needs_reauth")),
        ("error", text("broker_rejected")),
        ("since", time(now - HOUR)),
        ("failing_since", time(now - HOUR - MINUTE)),
        ("rejections", integer(2)),
        ("key_version", text("1")),
        ("next_attempt_at", time(now + rest)),
        ("updated_at", time(now - HOUR)),
    ];
    world.put(&format!("users/{user}/alpacaAccounts/sync"), fields).await;
}

/// Users `good-0`, ... with an account in good order, and `bad-0`, ... whose keys Alpaca has never taken.
async fn fleet(world: &World, rejected: usize, good: usize) {
    for number in 0..good {
        world.user(&format!("good-{number}")).await;
    }
    for user in bad(rejected) {
        world.user(&user).await;
        world.account(&user, Profile::Revoked);
    }
}

fn bad(users: usize) -> impl Iterator<Item = String> {
    (0..users).map(|number| format!("bad-{number}"))
}
