//! `pulse cost`: the table of the docs, and a real deployment's.

use super::findings;
use crate::world::{World, sandbox};
use serde_json::{Value as Json, json};
use std::path::Path;

/// The deployments of the docs' table: users, and the time between pulses.
const DEPLOYMENTS: [(u64, u64); 6] =
    [(100, 1), (100, 5), (10_000, 1), (10_000, 5), (1_000_000, 1), (1_000_000, 5)];

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits"));
    groups.collect::<Vec<_>>().join(",")
}

fn dollars(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        small if small < 9.995 => format!("{small:.2}"),
        large => grouped(large),
    }
}

fn number(json: &Json) -> f64 {
    json.as_f64().expect("a number")
}

/// The row of the docs' table that the command's answer makes.
fn row(told: &Json, minutes: u64) -> String {
    let services = told["services"].as_array().expect("a list");
    let service = |name: &str| services.iter().find(|service| service["service"] == name).expect(name);
    let cost = |name: &str| dollars(number(&service(name)["dollars"]));
    let savings = told["savings"].as_array().expect("a list");
    let of_tenants = savings.iter().find(|saving| saving["setting"] == "--legacy-tenant-path=off");
    let sum = number(&told["dollars"]);
    let rest = [
        cost("Firestore reads"),
        cost("Firestore writes"),
        cost("Key accesses"),
        cost("Stored keys"),
        cost("Cloud Run"),
        format!("{} ({} GiB)", cost("Logs"), grouped(number(&service("Logs")["amount"]))),
        format!("**{}**", dollars(sum)),
        dollars(sum - of_tenants.map_or(0.0, |saving| number(&saving["dollars"]))),
    ];
    format!("| {} | {minutes} min | {} |", grouped(number(&told["users"])), rest.join(" | "))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_the_docs_is_what_the_command_says() {
    let world = sandbox().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/costs.md");
    let page = std::fs::read_to_string(path).expect("the page");
    for (users, minutes) in DEPLOYMENTS {
        let (users, every) = (format!("--users={users}"), format!("--every={minutes}m"));
        let (told, exit) = world.look(&["cost", &users, &every]).await;
        assert_eq!((exit, &told["used"]["firestore_reads"]), (Some(0), &json!(0)), "nothing is read");
        let as_of = told["prices_as_of"].as_str().and_then(|as_of| as_of.split(", ").next()).expect("a date");
        assert!(page.contains(as_of), "{as_of}");
        let row = row(&told, minutes);
        assert!(page.contains(&row), "docs/costs.md lacks\n{row}");
    }
}

/// The rows of the docs' table of loops begin with the flags that make them.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_loops_is_what_the_command_says_and_the_goals_hold() {
    let world = sandbox().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/costs.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let mut rests = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| `--users=")) {
        let flags = row.split('`').nth(1).expect("flags");
        let (told, _) = world.look(&[&["cost"], &*flags.split(' ').collect::<Vec<_>>()].concat()).await;
        let services = told["services"].as_array().expect("a list");
        let cost = |name: &str| {
            number(&services.iter().find(|service| service["service"] == name).expect(name)["dollars"])
        };
        let (sum, keys) = (number(&told["dollars"]), cost("Stored keys"));
        let services = ["Firestore reads", "Firestore writes", "Key accesses", "Cloud Run", "Logs"];
        let costs = services.map(|name| dollars(cost(name))).join(" | ");
        let expected = format!("| `{flags}` | {costs} | {} | **{}** |", dollars(sum - keys), dollars(sum));
        assert_eq!(row, expected);
        rests.push(sum - keys);
    }
    let [.., by_age, by_promise] = rests[..] else { panic!("{rests:?}") };
    assert!(by_age <= 330.0 && by_promise <= 260.0, "{rests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_loop_only_the_users_are_counted() {
    let world = sandbox().await;
    world.crowd(50);
    world.pulse().await;
    let flags = ["--for=23h45m", "--moving=0", "--refresh-unchanged=3m", "--legacy-tenant-path=off"];
    let (counted, exit) = world.look(&[&["cost"], &flags[..]].concat()).await;
    let (estimated, _) = world.look(&[&["cost", "--users=50"], &flags[..]].concat()).await;
    assert_eq!((exit, &counted["services"]), (Some(0), &estimated["services"]));
    assert_eq!(counted["refresh_unchanged_s"], json!(180));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_counted_by_its_last_pulse() {
    let world = sandbox().await;
    let (told, exit) = world.look(&["cost"]).await;
    assert_eq!(findings(&told), [("NothingCounted".to_owned(), "unknown".to_owned())]);
    assert_eq!(exit, Some(1));
    world.crowd(50);
    world.pulse().await;
    let (told, exit) = world.look(&["cost", "--versions=60"]).await;
    let pulse = world.document("ops/last_pulse").await;
    assert_eq!((exit, &told["users"], &told["used"]["firestore_reads"]), (Some(0), &json!(50), &json!(1)));
    for (service, field) in [
        ("Firestore reads", "firestore_reads"),
        ("Firestore writes", "firestore_writes"),
        ("Key accesses", "secret_accesses"),
    ] {
        let services = told["services"].as_array().expect("a list");
        let amount =
            services.iter().find(|item| item["service"] == service).map(|item| number(&item["amount"]));
        assert_eq!(amount, Some(number(&pulse[field]["integer"]) * 43_200.0), "{service}");
    }
    let costs: Vec<_> =
        told["services"].as_array().expect("a list").iter().map(|item| number(&item["dollars"])).collect();
    assert!(costs.is_sorted_by(|one, other| one >= other), "largest first: {costs:?}");
    assert!(told["savings"][0]["setting"].is_string(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_read_makes_no_bill() {
    let world = sandbox().await;
    world.fault("firestore:error=PERMISSION_DENIED");
    let (told, exit) = world.look(&["cost"]).await;
    let expected = [("MonthCounted", "skipped"), ("FirestoreUnread", "unknown")];
    assert_eq!(findings(&told), expected.map(|(reason, state)| (reason.to_owned(), state.to_owned())));
    assert_eq!(exit, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_fits_a_terminal() {
    let world: World = sandbox().await;
    for columns in [80, 160] {
        let (exit, shown) = world.on_terminal(&["cost", "--users=1000000"], columns).await;
        assert_eq!(exit, Some(0));
        for line in crate::terminal::plain(&shown) {
            assert!(line.chars().count() <= columns.into(), "{line:?}");
        }
        assert!(shown.contains("Key accesses"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sync_refuses_is_refused_with_the_same_words() {
    let world = sandbox().await;
    for flags in [
        &["--every=60s", "--for=23h45m", "--refresh-unchanged=15m", "--users-ttl=5h"][..],
        &["--every=5m", "--for=25h", "--readers=fresh-until", "--refresh-unchanged=15m", "--key-ttl=48h"],
    ] {
        let (told, exit) = world.look(&[&["cost", "--users=10"], flags].concat()).await;
        assert_eq!((exit, findings(&told)), (Some(2), vec![("Configuration".into(), "failed".into())]));
        let sentence = told["findings"][0]["sentence"].as_str().expect("a text");
        let run = world.pulse_with(flags).await;
        assert_eq!(run.exit, Some(2), "{}", run.stdout);
        assert_eq!(run.entries()[0]["message"], sentence);
    }
    let (told, exit) = world.look(&["cost", "--users=10", "--members=11"]).await;
    assert_eq!((exit, findings(&told)), (Some(2), vec![("Configuration".into(), "failed".into())]));
}
