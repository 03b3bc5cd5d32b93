//! Section 10: from the single-tenant layout to the documents of today, and back.

mod clean_up;
mod generated;
mod guide;
mod interrupted;
mod keys;
mod others;
mod reference;
mod whole_way;

use crate::world::{Run, World};
use alpaca_pulse::firestore::values::{Fields, are_same};
use gcloud_sdk::google::firestore::v1::Document;
use gcloud_sdk::prost::Message;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// What the operator of the sandbox's legacy database says of it.
const WHOSE: [&str; 8] = [
    "--owner",
    "user-0001",
    "--leave-behind",
    "ambiguous",
    "--leave-behind",
    "malformed",
    // Of users without a document.
    "--leave-behind",
    "secret",
];

type Everything = BTreeMap<String, Fields>;

impl World {
    /// `pulse migrate` with these arguments, as JSON.
    pub(super) async fn migrate(&self, args: &[&str]) -> Run {
        Run::of(&mut self.migration(args)).await
    }

    fn migration(&self, args: &[&str]) -> tokio::process::Command {
        self.bare_command(&[&["migrate"], args, &["--json"]].concat())
    }

    /// The id of a plan of all that is there.
    async fn plan(&self, whose: &[&str]) -> String {
        let run = self.migrate(&[&["plan"], whose].concat()).await;
        json(&run)["plan_id"].as_str().unwrap_or_else(|| panic!("{run:?}")).to_owned()
    }

    /// Applies a plan.
    async fn apply(&self, plan: &str, whose: &[&str]) -> Run {
        self.migrate(&[&["apply", "--plan", plan, "--yes"], whose].concat()).await
    }

    /// The id of a verification that found nothing.
    async fn verified(&self, whose: &[&str]) -> String {
        let run = self.migrate(&[&["verify"], whose].concat()).await;
        json(&run)["verified"].as_str().unwrap_or_else(|| panic!("{run:?}")).to_owned()
    }

    async fn clean_up(&self, plan: &str, more: &[&str]) -> Run {
        self.migrate(&[&["cleanup", "--plan", plan, "--yes"], more].concat()).await
    }

    async fn roll_back(&self, plan: &str) -> Run {
        self.migrate(&["rollback", "--plan", plan, "--yes"]).await
    }
}

#[track_caller]
fn json(run: &Run) -> Json {
    serde_json::from_str(&run.stdout).unwrap_or_else(|err| panic!("{err}: {run:?}"))
}

/// The reasons of what was found, by the alphabet.
#[track_caller]
fn reasons(run: &Run) -> Vec<String> {
    let findings = json(run)["findings"].as_array().cloned().unwrap_or_default();
    let reason = |finding: &Json| finding["reason"].as_str().unwrap_or_default().to_owned();
    let mut reasons: Vec<String> = findings.iter().map(reason).collect();
    reasons.sort();
    reasons
}

/// How many changes an apply made.
#[track_caller]
fn changes(run: &Run) -> u64 {
    let of = |name: &str| json(run)[name].as_u64().expect("a number");
    of("moved") + of("keys_moved")
}

/// All but the migrations' own documents.
fn without_journal(mut all: Everything) -> Everything {
    all.retain(|path, _| !path.starts_with("ops/migrations/"));
    all
}

/// All that is stored, journals' bytes too, to be searched.
fn raw(all: &Everything) -> String {
    let encoded =
        |fields: &Fields| Document { fields: fields.clone(), ..Document::default() }.encode_to_vec();
    all.iter().map(|(path, fields)| path.clone() + &String::from_utf8_lossy(&encoded(fields))).collect()
}

/// Demands that both databases are the same to the last bit.
#[track_caller]
fn assert_same(one: &Everything, other: &Everything) {
    let differs = |path: &&String| match (one.get(*path), other.get(*path)) {
        (Some(one), Some(other)) => !are_same(one, other),
        _ => true,
    };
    let differing: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).filter(differs).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}
