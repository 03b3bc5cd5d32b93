//! Section 9: the commands by which an operator looks, at the wire.

mod answers;
mod asking;
mod cost;
mod doctor;
mod explain;
mod mends;
pub(crate) mod reference;
mod screens;
mod status;
mod users;

use crate::world::{Run, World};
use alpaca_pulse::firestore::values::{text, timestamp};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

impl World {
    /// An operator's command, whose answer is one JSON object whatever was found.
    async fn look(&self, args: &[&str]) -> (Json, Option<i32>) {
        let mut command = self.bare_command(&[args, &["--json"]].concat());
        let run = Run::of(command.envs(self.sandbox.admin_exports())).await;
        assert!(!run.stdout.contains("hush"), "no secret: {}", run.stdout);
        let object = serde_json::from_str(&run.stdout);
        let object: Json = object.unwrap_or_else(|err| panic!("{err}: {}{}", run.stdout, run.stderr));
        assert_eq!((&object["version"], &object["command"]), (&1.into(), &args[0].into()));
        assert_leads_on(&object, args);
        (object, run.exit)
    }

    /// The same as text.
    async fn told(&self, args: &[&str]) -> Run {
        let run = Run::of(&mut self.bare_command(args)).await;
        assert!(!run.stdout.contains("hush") && !run.stderr.contains("hush"), "no secret: {}", run.stdout);
        run
    }

    /// Makes a user's snapshot so old.
    pub(crate) async fn age_snapshot(&self, user: &str, age: SignedDuration) {
        let then = Timestamp::now() - age;
        let iso = format!("{:.3}", Timestamp::from_millisecond(then.as_millisecond()).expect("in range"));
        let until = timestamp(then + SignedDuration::from_mins(5));
        let fields = [("updated_at_iso", text(iso)), ("updated_at", timestamp(then)), ("fresh_until", until)];
        self.patch(&format!("users/{user}/alpacaAccounts/snapshot"), fields).await;
    }

    /// Makes the last pulse so old.
    pub(crate) async fn age_pulse(&self, age: SignedDuration) {
        self.patch("ops/last_pulse", [("timestamp", timestamp(Timestamp::now() - age))]).await;
    }
}

/// That no finding sends whoever typed that back to where they are.
fn assert_leads_on(object: &Json, args: &[&str]) {
    let is_place = |word: &&str| word.starts_with("--project=") || word.starts_with("--database=");
    let typed = [&["pulse"], args].concat();
    for finding in object["findings"].as_array().expect("a list") {
        let mend = finding["mend"].as_str().unwrap_or_default();
        let suggested: Vec<_> = mend.split(' ').filter(|word| !is_place(word)).collect();
        assert_ne!(suggested, typed, "{finding}");
    }
}

/// The states of the findings by their reasons.
fn findings(object: &Json) -> Vec<(String, String)> {
    let findings = object["findings"].as_array().expect("a list").iter();
    let word = |json: &'_ Json| json.as_str().expect("a word").to_owned();
    findings.map(|finding| (word(&finding["reason"]), word(&finding["state"]))).collect()
}

pub(crate) const TEN_MINUTES: SignedDuration = SignedDuration::from_mins(10);
