//! What `docs/operate.md` tells to type, block by block, in a bash on a terminal.

use crate::typed::Typed;
use crate::world::{Run, World, keys_of, sandbox, secret_of};
use pulse_sandbox::alpaca::{Keys, Profile};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;

/// Most commands that an incident may take.
const MOST: usize = 3;

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

fn new_keys(world: &World) {
    let keys = Keys { key_id: "PKNEW".into(), secret_key: "new-hush".into() };
    world.sandbox.alpaca().register("ana", keys, Profile::active());
}

const KEYS: [(&str, &str); 3] = [("Key id: ", "PKNEW"), ("Secret key: ", "new-hush"), ("[y/N] ", "y")];

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
    assert!(shown.contains("no pulse has synced the user"), "none runs here: {shown}");
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
    let exports = world.sandbox.admin_exports();
    let exports: Vec<_> = exports.iter().map(|(name, url)| format!("export {name}={url}\n")).collect();
    // As the job it runs by the same command line.
    let gcloud = "gcloud() { pulse ${@: -1}; }\n";
    let gcloud = gcloud.replace("${@: -1}", r#"$(sed 's/--args=//; s/,/ /g' <<< "${@: -1}")"#);
    let script =
        format!("export REGION=us-central1\n{}{gcloud}{}", exports.concat(), typed("Is it set up right"));
    let Some(shown) = Typed::in_bash(&world, &script, &[]).await else { return };
    assert_eq!(shown.matches("Rules: ").count(), 2, "{shown}");
    assert!(shown.contains("gcloud scheduler jobs resume pulse"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_costs_is_asked() {
    let world = sandbox().await;
    world.crowd(20);
    world.pulse().await.assert_completed("20 successful, 0 errors", 0);
    let Some(shown) = Typed::in_bash(&world, &typed("What does it cost"), &[]).await else { return };
    assert!(shown.contains("MonthCounted") && shown.contains("KeysListed"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_tried_without_a_write() {
    let world = sandbox().await;
    world.crowd(20);
    let Some(shown) = Typed::in_bash(&world, &typed("A fleet dry run"), &[]).await else { return };
    assert!(shown.contains("Compared with what is stored: 20 new, 0 changed, 0 unchanged"), "{shown}");
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
