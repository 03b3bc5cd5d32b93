//! What `docs/operate.md` tells to type, block by block, in a bash on a terminal.

use crate::desk::TEN_MINUTES;
use crate::typed::Typed;
use crate::world::{Run, World, keys_of, sandbox, secret_of};
use alpaca_pulse::firestore::values::timestamp;
use jiff::Timestamp;
use pulse_sandbox::alpaca::{Keys, Profile};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;

/// Most commands that an incident may take.
const MOST: usize = 3;

/// Each has its commands run below.
const INCIDENTS: [&str; 11] = [
    "An old balance",
    "Many users fail",
    "How fresh is everybody",
    "Onboard a user",
    "Rotate a key",
    "Offboard a user",
    "Is it set up right",
    "What does it cost",
    "A fleet dry run",
    "A user who keeps failing",
    "A job that stopped",
];

fn doc(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file)).expect("a page")
}

/// The blocks of a language in a section.
fn blocks(text: &str, heading: &str, language: &str) -> Vec<String> {
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let opening = format!("```{language}\n");
    section.split(&opening).skip(1).filter_map(|block| Some(block.split("```").next()?.to_owned())).collect()
}

/// The commands of an incident's first block.
fn typed(heading: &str) -> String {
    let block = blocks(&doc("operate.md"), heading, "sh").swap_remove(0);
    let commands = block.lines().filter(|line| !line.trim().is_empty()).count();
    assert!((1..=MOST).contains(&commands), "{heading}: {commands} commands");
    block
}

/// The same with what a person has set besides, and the exit code of each command; `gcloud` says what it was asked.
fn asked(world: &World, heading: &str) -> String {
    let exports = world.sandbox.admin_exports();
    let exports: String = exports.iter().map(|(name, url)| format!("export {name}={url}\n")).collect();
    let commands: String =
        typed(heading).lines().map(|command| format!("{command}\necho \"exit $?\"\n")).collect();
    format!("export REGION=us-central1\n{exports}gcloud() {{ echo \"gcloud $*\"; }}\n{commands}")
}

/// The exit codes of the commands in what the terminal showed.
fn exits(shown: &str) -> Vec<&str> {
    shown.lines().filter_map(|line| line.trim_end().strip_prefix("exit ")).collect()
}

/// Whether a finding with that reason was told.
fn tells(shown: &str, reason: &str) -> bool {
    shown.contains(&format!(" {reason}: "))
}

fn new_keys(world: &World) {
    let keys = Keys { key_id: "PKNEW".into(), secret_key: "new-hush".into() };
    world.sandbox.alpaca().register("ana", keys, Profile::active());
}

const KEYS: [(&str, &str); 3] = [("Key id: ", "PKNEW"), ("Secret key: ", "new-hush"), ("[y/N] ", "y")];

#[test]
fn the_list_at_the_top_has_every_incident_in_the_order_of_the_sections() {
    let text = doc("operate.md");
    let (_, table) = text.split_once("\n| what happened | section |\n|---|---|\n").expect("the list");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let listed: Vec<_> = rows.filter_map(|row| row.split(['[', ']']).nth(1)).collect();
    assert_eq!(listed, INCIDENTS);
    let sections = text.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(sections.take(INCIDENTS.len()).collect::<Vec<_>>(), INCIDENTS);
    for heading in INCIDENTS {
        assert!(typed(heading).contains("pulse "), "{heading}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_balance_is_explained_until_it_is_mended() {
    let world = sandbox().await;
    world.user("ana").await;
    world.user("zoe").await;
    world.pulse().await.assert_completed("2 successful, 0 errors", 0);
    world.account("ana", Profile::Revoked);
    for _ in 0..2 {
        world.pulse().await.assert_completed("1 successful, 1 errors", 0);
    }
    world.age_snapshot("ana", TEN_MINUTES).await;
    let script = asked(&world, "An old balance");
    let Some(shown) = Typed::in_bash(&world, &script, &[]).await else { return };
    assert!(tells(&shown, "NeedsReauth") && shown.contains("pulse keys set"), "{shown}");
    assert_eq!(exits(&shown), ["3"], "{shown}");
    world.account("ana", Profile::active());
    let shown = Typed::in_bash(&world, &script, &[]).await.expect("a terminal, as before");
    assert!(tells(&shown, "AskedKeysTaken"), "{shown}");
    world.pulse_with(&["--user", "ana"]).await.assert_completed("1 successful, 0 errors", 0);
    let shown = Typed::in_bash(&world, &script, &[]).await.expect("a terminal, as before");
    assert!(tells(&shown, "Fresh"), "{shown}");
    assert_eq!(exits(&shown), ["0"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_who_fail_are_led_back_to_one_cause() {
    let world = sandbox().await;
    world.crowd(20);
    world.user("ana").await;
    world.pulse().await.assert_completed("21 successful, 0 errors", 0);
    world.fault("alpaca:error=503");
    world.pulse().await;
    world.age_snapshot("ana", TEN_MINUTES).await;
    let Some(shown) = Typed::in_bash(&world, &asked(&world, "Many users fail"), &[]).await else { return };
    for reason in ["PulseFailed", "UsersStale", "BrokerUnavailable", "Alpaca"] {
        assert!(tells(&shown, reason), "{reason}: {shown}");
    }
    assert_eq!(exits(&shown), ["3", "3", "3"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_fresh_everybody_is_is_asked() {
    let world = sandbox().await;
    world.crowd(20);
    world.user("ana").await;
    world.pulse().await.assert_completed("21 successful, 0 errors", 0);
    world.age_snapshot("ana", TEN_MINUTES).await;
    let script = asked(&world, "How fresh is everybody");
    let Some(shown) = Typed::in_bash(&world, &script, &[]).await else { return };
    assert!(tells(&shown, "UsersStale") && shown.contains("p99"), "{shown}");
    let line = shown.lines().find(|line| line.starts_with("ana ")).expect("a line for each user");
    assert!(line.contains("10m"), "{line}");
    assert_eq!(exits(&shown), ["3", "0"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_keeps_failing_is_told_from_the_others() {
    let world = sandbox().await;
    world.crowd(20);
    world.user("ana").await;
    world.pulse().await.assert_completed("21 successful, 0 errors", 0);
    world.fault("alpaca:error=400,header=X-Request-ID: request-of-ana,user=ana");
    for _ in 0..5 {
        world.pulse().await.assert_completed("20 successful, 1 errors", 0);
    }
    world.age_snapshot("ana", TEN_MINUTES).await;
    let since = timestamp(Timestamp::now() - TEN_MINUTES);
    world.patch("users/ana/alpacaAccounts/sync", [("failing_since", since)]).await;
    let script = asked(&world, "A user who keeps failing");
    let Some(shown) = Typed::in_bash(&world, &script, &[]).await else { return };
    assert!(shown.contains("ana ") && !shown.contains("user-0001"), "the others are well: {shown}");
    assert!(tells(&shown, "BrokerBadAnswer") && shown.contains("broker_bad_answer"), "{shown}");
    assert!(shown.contains("request-of-ana"), "the dry run says what to send to Alpaca: {shown}");
    assert_eq!(exits(&shown), ["0", "3", "1"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stopped_is_led_back_to_what_starts_it() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    world.age_pulse(TEN_MINUTES).await;
    world.sandbox.admin().set_up_badly();
    let script = asked(&world, "A job that stopped");
    let Some(shown) = Typed::in_bash(&world, &script, &[]).await else { return };
    assert!(tells(&shown, "PulseLate") && tells(&shown, "Schedule"), "{shown}");
    assert!(shown.contains("gcloud scheduler jobs resume pulse"), "{shown}");
    let executions = "$ gcloud run jobs executions list --job=pulse --region=us-central1 --project=";
    assert!(shown.contains(executions), "as a finding's command: {shown}");
    assert_eq!(exits(&shown), ["3", "3", "0"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_onboarded() {
    let world = sandbox().await;
    new_keys(&world);
    let answers = [&[("[y/N] ", "y")], &KEYS[..]].concat();
    let Some(shown) = Typed::in_bash(&world, &typed("Onboard a user"), &answers).await else { return };
    assert!(shown.contains("PAPER") && !shown.contains("new-hush"), "{shown}");
    assert_eq!(world.snapshot("ana").await["key_version"], "1", "{shown}");
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_and_taken_back() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    new_keys(&world);
    let script =
        typed("Rotate a key").replace("--destroy-old", "--destroy-old --settled-for=100ms --wait-for=1s");
    let Some(shown) = Typed::in_bash(&world, &script, &KEYS).await else { return };
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert!(words.join(" ").contains("no pulse has synced the user"), "none runs here: {shown}");
    assert_eq!(world.snapshot("ana").await["key_version"], "2");
    let back = blocks(&doc("operate.md"), "Rotate a key", "sh")[1].replace("the-old-versions-number", "1");
    let address = world.sandbox.address();
    let gcloud = format!(
        "gcloud() {{ printf '%s' '{}'; }}\n",
        serde_json::json!({"key_id": keys_of("ana").0, "secret_key": keys_of("ana").1})
    );
    let shown = Typed::in_bash(&world, &format!("{gcloud}{back}"), &[]).await.expect("a terminal, as before");
    assert!(shown.contains("KeysStored"), "{address} {shown}");
    assert_eq!(world.snapshot("ana").await["key_version"], "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_offboarded() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let script = typed("Offboard a user");
    let Some(shown) = Typed::in_bash(&world, &script, &[("[y/N] ", "y")]).await else { return };
    assert!(shown.contains(&secret_of("ana")), "{shown}");
    let paths = ["users/ana", "users/ana/alpacaAccounts/snapshot", "tenants/ana/accounts/primary"];
    for path in paths {
        assert_eq!(world.document(path).await, Json::Null, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_it_is_set_up_right_is_asked() {
    let world = sandbox().await;
    world.user("ana").await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    world.sandbox.admin().set_up_badly();
    // As the job it runs by the same command line.
    let as_job = r#"gcloud() { pulse $(sed 's/--args=//; s/,/ /g' <<< "${@: -1}"); }"#;
    let script = asked(&world, "Is it set up right").replace(r#"gcloud() { echo "gcloud $*"; }"#, as_job);
    let Some(shown) = Typed::in_bash(&world, &script, &[]).await else { return };
    assert_eq!(shown.matches("Rules: ").count(), 2, "{shown}");
    assert!(shown.contains("gcloud scheduler jobs resume pulse"), "{shown}");
    assert_eq!(exits(&shown), ["3", "3"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_costs_is_asked() {
    let world = sandbox().await;
    world.crowd(20);
    world.pulse().await.assert_completed("20 successful, 0 errors", 0);
    let Some(shown) = Typed::in_bash(&world, &asked(&world, "What does it cost"), &[]).await else { return };
    assert!(tells(&shown, "MonthCounted") && tells(&shown, "KeysListed"), "{shown}");
    assert_eq!(exits(&shown), ["0", "0"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_tried_without_a_write() {
    let world = sandbox().await;
    world.crowd(20);
    let Some(shown) = Typed::in_bash(&world, &asked(&world, "A fleet dry run"), &[]).await else { return };
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let sum = "Compared with what is stored: 20 new, 0 changed, 0 unchanged; exits with 3";
    assert!(words.contains(sum), "{shown}");
    assert_eq!(exits(&shown), ["3"], "{shown}");
    assert_eq!(world.snapshot("user-0001").await, Json::Null);
}

/// The names of an object and of the objects in its lists.
fn names(object: &Json) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        names.insert(name.clone());
        let of_items = value.as_array().into_iter().flatten().filter(|_| name == "secrets");
        names.extend(of_items.flat_map(self::names).map(|inner| format!("{name}.{inner}")));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_reference_have_the_names_that_the_commands_print() {
    let world = sandbox().await;
    new_keys(&world);
    for heading in ["pulse keys and pulse user"] {
        let mut examples: Vec<Json> = blocks(&doc("reference.md"), heading, "json")
            .iter()
            .map(|example| serde_json::from_str(example).expect("an example is JSON"))
            .collect();
        // In an order in which each finds what it needs.
        let order = ["user add", "keys set", "keys check", "keys list", "user pause", "user remove"];
        examples.sort_by_key(|example| order.iter().position(|command| example["command"] == *command));
        assert_eq!(examples.len(), order.len());
        for (example, command) in examples.iter().zip(order) {
            let user: &[&str] = if command == "keys list" { &[] } else { &["ana", "--yes"] };
            let user = if command == "keys check" { &user[..1] } else { user };
            let args: Vec<&str> = command.split(' ').chain(user.iter().copied()).chain(["--json"]).collect();
            let run: Run = Typed::in_to(&world, &args, "PKNEW\nnew-hush\n").await;
            let printed: Json = serde_json::from_str(&run.stdout).expect("JSON");
            assert_eq!(names(example), names(&printed), "{command}");
        }
    }
}
