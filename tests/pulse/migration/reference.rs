//! `docs/reference.md` has an example of each command's `--json`: it is what the command prints, but for times and names.

use super::json;
use crate::desk::reference::example;
use crate::world::{World, keys_of, sandbox, secret_of};
use alpaca_pulse::firestore::values::{integer, text};
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

const OWNER: [&str; 4] = ["--owner", "ana", "--leave-behind", "malformed"];

/// Signals of which one is malformed, and ana's keys in a document.
async fn world() -> World {
    let world = sandbox().await;
    world.user("ana").await;
    world.sandbox.secrets().delete(&secret_of("ana"));
    let (key_id, secret_key) = keys_of("ana");
    let keys = [("key_id", text(key_id)), ("secret_key", text(secret_key))];
    world.put("users/ana/secrets/alpaca", keys).await;
    let at_noon = || ("timestamp", text("2025-01-05T12:00:00Z"));
    world.put("tradingSignals/s1", [("ticker", text("SPY")), at_noon()]).await;
    world.put("tradingSignals/s2", [("ticker", integer(7)), at_noon()]).await;
    world.put("alpacaAccounts/snapshot", [("equity", text("1"))]).await;
    world
}

/// The same with whatever differs from run to run replaced.
fn usual(json: Json, names: &[(String, &str)]) -> Json {
    match json {
        Json::Object(fields) => {
            let usual = |(name, json): (String, Json)| (name, usual(json, names));
            Json::Object(fields.into_iter().map(usual).collect::<Map<_, _>>())
        }
        Json::Array(items) => items.into_iter().map(|item| usual(item, names)).collect(),
        Json::String(text) if text.parse::<Timestamp>().is_ok() => "2026-01-05T14:30:00.123Z".into(),
        Json::String(text) => {
            names.iter().fold(text, |text, (name, usual)| text.replace(name.as_str(), usual)).into()
        }
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_of_the_reference_is_what_the_command_prints() {
    const PLAN: &str = "20260105T143000.123456Z-1a2b3c4d";
    let world = world().await;
    let mut names = vec![(world.project.clone(), "acme-prod")];
    let planned = world.migrate(&[&["plan"][..], &OWNER].concat()).await;
    let plan = json(&planned)["plan_id"].as_str().expect("an id").to_owned();
    let read: Timestamp =
        json(&planned)["read_time"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    names.push((plan.clone(), PLAN));
    names.push((read.strftime("%Y-%m-%d %H:%M:%SZ").to_string(), "2026-01-05 14:30:00Z"));
    let applied = world.apply(&plan, &OWNER).await;
    let verified = world.migrate(&[&["verify"][..], &OWNER].concat()).await;
    names.push((
        json(&verified)["verified"].as_str().expect("an id").to_owned(),
        "20260105T143000.123456Z-5e6f7a8b",
    ));
    let status = world.migrate(&["status"]).await;
    let owner = OWNER.join(" ");
    let mut differing = String::new();
    for (command, run) in [
        (format!("plan {owner}"), planned),
        (format!("apply --plan {PLAN} {owner} --yes"), applied),
        (format!("verify {owner}"), verified),
        ("status".to_owned(), status),
    ] {
        let printed = usual(json(&run), &names);
        if printed != example(&format!("pulse migrate {command}")) {
            differing += &format!(
                "pulse migrate {command} prints:\n{}\n",
                serde_json::to_string_pretty(&printed).expect("JSON")
            );
        }
    }
    assert!(differing.is_empty(), "{differing}");
}
