//! Sections 2, 5 and 5a: `users/{userId}/alpacaAccounts/sync`, what keeps a user from being synced.

mod clocks;
mod crowd;
mod fleet_guard;
mod reauth;
mod records;
mod writes;

use crate::answers::answer;
use crate::world::{World, timestamp};
use alpaca_pulse::sandbox::alpaca::Profile;
use alpaca_pulse::secret_manager::KeyVersion;
use alpaca_pulse::store::values::{integer, text, timestamp as time};
use alpaca_pulse::trouble::{History, LookSchedule, Plan, State, Trouble, plan};
use gcloud_sdk::google::firestore::v1::Document;
use jiff::{SignedDuration, Timestamp};
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

/// A user's record without its times, and those: `since` and `next_attempt_at`.
async fn record(world: &World, user: &str) -> (Json, Timestamp, Option<Timestamp>) {
    let mut record = world.trouble(user).await;
    let fields = record.as_object_mut().unwrap_or_else(|| panic!("{user} has a record"));
    let since = timestamp(&fields.remove("since").expect("a point in time"));
    let written = timestamp(&fields.remove("updated_at").expect("the server's time"));
    assert!(written >= since - MINUTE && written <= Timestamp::now() + MINUTE, "{written}");
    let next = fields.remove("next_attempt_at").expect("a field, if only null");
    let next = (!next.is_null()).then(|| timestamp(&next));
    (record, since, next)
}

/// What a record says besides its times.
fn says(state: &str, error: Option<&str>, rejections: i64, key_version: Option<&str>) -> Json {
    json!({"state": state, "error": error, "rejections": {"integer": rejections}, "key_version": key_version})
}

/// Users whose secrets are not looked at within the next four minutes, because their five minutes do not
/// turn: one in five.
fn nobody_looks_at_any_of(users: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let now = Timestamp::now();
    let schedule = LookSchedule { previous: Some(now), now: now + MINUTE * 4 };
    let rejected = History::Troubled(Trouble {
        state: State::NeedsReauth,
        error: None,
        since: now,
        rejections: 2,
        key_version: KeyVersion::parse("1"),
        next_attempt_at: Some(now + HOUR),
    });
    users.filter(move |user| plan(&rejected, user, &schedule) == Plan::Wait)
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
        ("rejections", integer(2)),
        ("key_version", text("1")),
        ("next_attempt_at", time(now + rest)),
        ("updated_at", time(now - HOUR)),
    ];
    world.put(&format!("users/{user}/alpacaAccounts/sync"), fields).await;
}

/// Users `good-0`, ... with an account in good order, and `bad-0`, ... whom Alpaca rejects.
async fn fleet(world: &World, rejected: usize, good: usize) {
    for number in 0..good {
        world.user(&format!("good-{number}")).await;
    }
    for number in 0..rejected {
        let user = format!("bad-{number}");
        world.user(&user).await;
        world.account(&user, Profile::Revoked);
    }
}
