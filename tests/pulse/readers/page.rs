//! The page, in real Chromium under our rules, while `pulse` runs.

use super::tools::{node, root, skip, works};
use crate::live::in_time;
use crate::world::{Backend, Run, World};
use alpaca_pulse::firestore::values::{text, timestamp};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::Profile;
use serde_json::{Value as Json, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Chromium, by way of `examples/web/browser.mjs`.
struct Browser {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// `None` where there is none.
    async fn start() -> Option<Self> {
        if !node().await || !works("chromium", &["--version"]).await {
            skip("no Chromium, or no Node with Firebase (npm ci in examples/web)");
            return None;
        }
        let mut command = Command::new("node");
        command.arg("browser.mjs").current_dir(root().join("examples/web"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("node starts");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped")).lines();
        Some(Self { _process: process, input, output })
    }

    /// Sends a command, and returns the page's text.
    async fn does(&mut self, command: Json) -> String {
        self.input.write_all(format!("{command}\n").as_bytes()).await.expect("node reads");
        let line = in_time(self.output.next_line()).await.expect("text").expect("an answer");
        let answer: Json = serde_json::from_str(&line).expect("JSON");
        let hosts = answer["hosts"].as_array().unwrap_or_else(|| panic!("{command}: {line}"));
        assert!(hosts.iter().all(|host| host == "127.0.0.1" || host == "localhost"), "{hosts:?}");
        answer["text"].as_str().expect("a text").to_owned()
    }

    async fn open(&mut self, world: &World, user: &str, rest: &str) {
        let (project, emulator) = (&world.project, &world.firestore_host);
        let query = format!("project={project}&emulator={emulator}&user={user}{rest}");
        self.does(json!({ "open": query })).await;
    }

    /// Waits until the page shows all of that.
    async fn shows(&mut self, texts: &[&str]) -> String {
        let shown = |text: &&str| format!("document.body.innerText.includes({})", json!(text));
        let all: Vec<String> = texts.iter().map(shown).collect();
        self.does(json!({ "until": all.join(" && ") })).await
    }

    /// Waits until the page shows that, and no longer something else.
    async fn shows_no_more(&mut self, gone: &str, text: &str) {
        let [gone, text] =
            [gone, text].map(|text| format!("document.body.innerText.includes({})", json!(text)));
        self.does(json!({ "until": format!("!{gone} && {text}") })).await;
    }

    /// Ends Chromium and waits for it.
    async fn end(self) {
        let Self { _process: mut process, input, .. } = self;
        drop(input);
        in_time(process.wait()).await.expect("node ends");
    }
}

/// A world of the emulator in which our rules are in force.
pub(super) async fn ruled_world() -> Option<World> {
    let world = World::new(Backend::Emulator).await?;
    let url = format!("http://{}/emulator/v1/projects/{}:securityRules", world.firestore_host, world.project);
    let rules = include_str!("../../../firestore.rules");
    let body = json!({"rules": {"files": [{"name": "firestore.rules", "content": rules}]}}).to_string();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.put(url).header("content-type", "application/json").body(body).send().await;
    assert!(answer.expect("the emulator answers").status().is_success());
    Some(world)
}

const TRADE: &str = "\nTrade";
const TROUBLE: &str = "We are having trouble.";

#[tokio::test]
async fn a_user_sees_their_own_money_how_old_it_is_and_what_to_do() {
    let Some(world) = ruled_world().await else { return };
    let Some(mut browser) = Browser::start().await else { return };
    world.put("users/ana", []).await;
    browser.open(&world, "ana", "").await;
    browser.shows(&["Connect your Alpaca account.", "No trading: snapshot_missing"]).await;

    // The page stays open, and `pulse` runs.
    world.pulse().await;
    browser.shows(&["Connect your Alpaca account."]).await;
    world.connect("ana", Profile::onboarding());
    world.pulse().await;
    browser.shows(&["not open yet"]).await;

    world.account("ana", Profile::active());
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    let exact = world.snapshot("ana").await["exact"]["cash"].as_str().expect("a figure").to_owned();
    let cash: bigdecimal::BigDecimal = exact.parse().expect("a figure");
    let cash = format!("{} USD in cash", cash.normalized().to_plain_string());
    let text = browser.shows(&[&cash, " s ago", TRADE]).await;
    assert!(text.trim_start().starts_with(&cash), "a banner: {text}");
    browser.shows(&["\n2 s ago"]).await;

    world.fault("alpaca:error=503,user=ana");
    world.pulse().await;
    browser.shows(&[TROUBLE, &cash]).await;
    world.sandbox.faults().clear();
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    browser.shows_no_more(TROUBLE, TRADE).await;

    world.account("ana", Profile::Revoked);
    for _ in 0..2 {
        world.pulse().await;
    }
    browser.shows(&["Reconnect your account.", "No trading: needs_reauth"]).await;
    browser.end().await;
}

#[tokio::test]
async fn old_foreign_and_blocked_money_is_not_for_trading() {
    let Some(world) = ruled_world().await else { return };
    let Some(mut browser) = Browser::start().await else { return };
    let snapshot = "users/ana/alpacaAccounts/snapshot";
    world.user("ana").await;
    world.pulse().await;
    browser.open(&world, "ana", "").await;
    browser.shows(&[TRADE]).await;
    world.patch(snapshot, [("trading_blocked", alpaca_pulse::firestore::values::boolean(true))]).await;
    browser.shows(&["No trading: blocked"]).await;
    world.patch(snapshot, [("user_id", text("bob"))]).await;
    browser.shows(&["No trading: snapshot_malformed", TROUBLE]).await;
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    world.delete(snapshot).await;
    world.pulse().await;
    let fields = [("updated_at_iso", text(format!("{hour_ago:.3}"))), ("fresh_until", timestamp(hour_ago))];
    world.patch(snapshot, fields).await;
    browser.shows(&["No trading: snapshot_stale", TROUBLE, "360"]).await;
    browser.end().await;
}

#[tokio::test]
async fn a_tenants_money_is_shown_to_members_for_as_long_as_they_are() {
    let Some(world) = ruled_world().await else { return };
    let Some(mut browser) = Browser::start().await else { return };
    world.user_of_tenant("ana", text("acme")).await;
    browser.open(&world, "ana", "&tenant=acme").await;
    browser.shows(&["You have no access to this account."]).await;
    world.membership("acme", "ana").await;
    browser.shows(&["Connect your Alpaca account."]).await;
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    browser.shows(&[" USD in cash", " s ago"]).await;
    world.delete("tenants/acme/users/ana").await;
    browser.shows_no_more("USD", "You have no access to this account.").await;
    browser.end().await;
}

/// In Node, which has the same SDK.
#[tokio::test]
async fn the_sdk_does_under_our_rules_what_the_readers_rely_on() {
    let Some(world) = World::new(Backend::Emulator).await else { return };
    if !node().await {
        return skip("no Node with Firebase (npm ci in examples/web)");
    }
    let mut command = Command::new("node");
    command.arg("idioms.test.mjs").current_dir(root().join("examples/web"));
    command.env("FIRESTORE_EMULATOR_HOST", &world.firestore_host);
    let run = Run::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null())).await;
    assert_eq!(run.exit, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("pass 13\n"), "{}", run.stdout);
}
