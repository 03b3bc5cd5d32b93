//! `docs/reference.md` has an example of each command's `--json`: it is what the command prints, but for times and names.

use super::TEN_MINUTES;
use crate::world::{World, sandbox, secret_of};
use alpaca_pulse::firestore::values::{text, timestamp};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

/// ana is fresh, ben has no keys, and Alpaca has not answered for cy for ten minutes.
async fn world() -> World {
    let world = sandbox().await;
    world.user_of_tenant("ana", text("acme")).await;
    world.membership("acme", "ana").await;
    for user in ["ben", "cy"] {
        world.user(user).await;
    }
    world.pulse().await;
    world.age_snapshot("cy", TEN_MINUTES).await;
    world.sandbox.secrets().delete(&secret_of("ben"));
    world.fault("alpaca:error=503,user=cy");
    world.pulse().await;
    let since = [("failing_since", timestamp(Timestamp::now() - TEN_MINUTES))];
    world.patch("users/cy/alpacaAccounts/sync", since).await;
    world.age_snapshot("ben", TEN_MINUTES).await;
    world
}

/// The same with whatever differs from run to run replaced.
fn usual(name: &str, json: Json, project: &str) -> Json {
    match json {
        Json::Object(fields) => {
            let usual = |(name, json): (String, Json)| (name.clone(), usual(&name, json, project));
            Json::Object(fields.into_iter().map(usual).collect::<Map<_, _>>())
        }
        Json::Array(items) => items.into_iter().map(|item| usual(name, item, project)).collect(),
        Json::Number(_) if name == "duration_ms" => json!(1234),
        Json::Number(age) if name.ends_with("_s") && name != "every_s" => {
            json!(if age.as_i64() < Some(300) { 12 } else { 612 })
        }
        Json::String(text) => Json::String(usual_text(name, &text.replace(project, "acme-prod"))),
        other => other,
    }
}

fn usual_text(name: &str, text: &str) -> String {
    match name {
        "execution" => "pulse-x7k2p".into(),
        "version" => "0.2.0+3918dca".into(),
        "external_account_id" => "1d9eed04-be39-4e01-9b84-a48ac5bbafcf".into(),
        _ if text.parse::<Timestamp>().is_ok() => "2026-01-05T14:30:00.123Z".into(),
        _ => {
            let words: Vec<_> = text.split(' ').collect();
            let unit = |n: usize| {
                words.get(n + 1).is_some_and(|unit| unit.trim_end_matches([',', ')', ';', '.']) == "s")
            };
            let word = |n: usize| {
                let digits = words[n].trim_start_matches('(');
                let is_age = unit(n) && digits.parse::<u64>().is_ok() && digits != "300";
                if is_age { words[n].replace(digits, "12") } else { words[n].to_owned() }
            };
            (0..words.len()).map(word).collect::<Vec<_>>().join(" ")
        }
    }
}

/// What stands below the command in the reference.
pub(crate) fn example(command: &str) -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference.md");
    let reference = std::fs::read_to_string(path).expect("the reference");
    let below = reference.split_once(&format!("`{command} --json`:\n\n```json\n"));
    let (_, below) = below.unwrap_or_else(|| panic!("no example of {command} in {path}"));
    let (block, _) = below.split_once("```").expect("an end");
    serde_json::from_str(block).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_of_the_reference_is_what_the_command_prints() {
    let world = world().await;
    for command in [
        "pulse status --all",
        "pulse users",
        "pulse explain cy --ask",
        "pulse explain ana",
        "pulse cost --users=1000",
        "pulse doctor --region=us-central1",
    ] {
        let args: Vec<_> = command.split(' ').skip(1).collect();
        let (object, _) = world.look(&args).await;
        let printed = usual("", object, &world.project);
        let pretty = serde_json::to_string_pretty(&printed).expect("JSON");
        assert_eq!(printed, example(command), "{command} prints:\n{pretty}");
    }
}
