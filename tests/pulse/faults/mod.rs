//! What goes wrong in production: connections that break, services that refuse, a process that is killed, a clock
//! that jumps. Whatever happens, nobody is lost, and nothing is half-written.

mod connections;
#[cfg(target_os = "linux")]
mod endurance;
mod stops;

use crate::live::in_time;
use crate::world::{Run, World, timestamp};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// What the tenant's document has of the snapshot.
const SHARED: [&str; 12] = [
    "broker",
    "user_id",
    "external_account_id",
    "status",
    "environment",
    "currency",
    "equity",
    "buying_power",
    "cash",
    "exact",
    "updated_at",
    "updated_at_iso",
];

/// Those of them that say when it was written.
const TIMES: [&str; 2] = ["updated_at", "updated_at_iso"];

const REFUSED_TENANT: &str = " without the document of tenant ";
const UNREAD_TENANT: &str = ": whose it is could not be read: ";

/// `user-0001`, `user-0002`, …
fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("user-{number:04}")).collect()
}

/// Demands that every snapshot is whole and the same as its tenant's document; returns the users who have one, and
/// when it was written. Only while no pass is running: it takes two looks.
async fn whole_snapshots(world: &World) -> BTreeMap<String, Timestamp> {
    whole_snapshots_after(world, &[]).await
}

/// The same after a run that may say of somebody that the tenant's document had to be left out, as it is where a
/// commit gets no answer in time.
async fn whole_snapshots_after(world: &World, log: &[Json]) -> BTreeMap<String, Timestamp> {
    let (accounts, tenants) = settled(world).await;
    // The tenant's document was refused, or whose it is could not be read.
    let (apart, unread) = (users_told_of(log, REFUSED_TENANT), users_told_of(log, UNREAD_TENANT));
    let user_of = |path: &str| {
        let path = path.strip_prefix("users/")?;
        Some(path.strip_suffix("/alpacaAccounts/snapshot")?.to_owned())
    };
    let mut written = BTreeMap::new();
    for (path, snapshot) in &accounts {
        let Some(user) = user_of(path) else { continue };
        for field in ["encrypted_key_path", "key_version"] {
            assert!(snapshot[field].is_string(), "{user}: no {field} in {snapshot}");
        }
        let tenant = tenants.get(&tenant_of(&user));
        let (is_apart, is_unread) = (apart.contains(&&*user), unread.contains(&&*user));
        let told: Vec<_> = log.iter().filter(|entry| entry["user_id"] == *user).collect();
        assert!(
            tenant.is_some() || is_apart || is_unread,
            "{user} has a snapshot, but no tenant's document: {told:#?}"
        );
        for field in SHARED {
            assert!(!snapshot[field].is_null(), "{user}: no {field} in {snapshot}");
            // Written apart, the two have been written at two times; unread, after an earlier answer, or by an earlier
            // attempt whose answer was lost.
            if let Some(tenant) = tenant.filter(|_| !(is_unread || is_apart && TIMES.contains(&field))) {
                assert_eq!(snapshot[field], tenant[field], "{user}: {field}");
            }
        }
        written.insert(user, timestamp(&snapshot["updated_at"]));
    }
    assert!(apart.len() <= written.len() / 10, "nearly all are written together, not these: {apart:?}");
    let has_tenant = |user: &&String| tenants.contains_key(&tenant_of(user));
    assert_eq!(
        tenants.len(),
        written.keys().filter(has_tenant).count(),
        "no tenant's document without a snapshot"
    );
    written
}

fn tenant_of(user: &str) -> String {
    format!("tenants/{user}/accounts/primary")
}

/// Of whom the log says that.
fn users_told_of<'a>(log: &'a [Json], words: &str) -> Vec<&'a str> {
    let says_so = |entry: &&Json| entry["message"].as_str().is_some_and(|text| text.contains(words));
    log.iter().filter(says_so).map(|entry| entry["user_id"].as_str().expect("a user")).collect()
}

/// The documents of users and of tenants once two looks agree: a commit whose connection was cut may still be on its
/// way when the pass is over, and come between the one and the other.
async fn settled(world: &World) -> (BTreeMap<String, Json>, BTreeMap<String, Json>) {
    let look = async || tokio::join!(world.group("alpacaAccounts"), world.group("accounts"));
    let settling = async {
        let mut before = look().await;
        loop {
            let now = look().await;
            if now == before {
                return now;
            }
            before = now;
        }
    };
    in_time(settling).await
}

/// The counts in the last line of a pass that came to its end: successful and failed.
#[track_caller]
fn completed(run: &Run) -> (usize, usize) {
    assert!(matches!(run.exit, Some(0 | 1)), "{:?}\n{}\n{}", run.exit, run.stdout, run.stderr);
    counts_of(&run.entry("Completed multi-tenant sync: "))
}

fn counts_of(summary: &Json) -> (usize, usize) {
    let message = summary["message"].as_str().expect("a message");
    let numbers = message.split_once(": ").expect("counts").1;
    let mut numbers = numbers.split(", ").map(|count| {
        let number = count.split(' ').next().expect("a number");
        number.parse().unwrap_or_else(|_| panic!("{number:?} is no number in {message:?}"))
    });
    (numbers.next().expect("successes"), numbers.next().expect("errors"))
}

/// The users of whom a line with this beginning is logged, in the order of the lines.
fn users_with<'a>(entries: &'a [Json], message: &str) -> Vec<&'a str> {
    let said = entries
        .iter()
        .filter(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)));
    said.map(|entry| entry["user_id"].as_str().expect("a user")).collect()
}
