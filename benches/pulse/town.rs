//! A sandbox in this process: healthy users, their neighbours, who are not, and passes over all of them.

use crate::Result;
use crate::cloud::{Counted, counted_at};
use crate::meter::{self, Used};
use crate::run::Bench;
use alpaca_pulse::firestore::values::{string, text, time, timestamp};
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Document, DocumentMask, Value, Write};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::seed::{SECRET_PREFIX, user_id};
use pulse_sandbox::{Options, Sandbox};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use tokio::runtime::{Builder, Runtime};

/// Writes of one commit.
const BATCH: usize = 500;

/// Users that keep a pass waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// All of them stored the same keys, whose limit always ends 14 s later.
    Limited,
    /// Secret Manager never answers.
    SilentSecret,
    /// Alpaca never answers.
    SilentAccount,
    /// There is no secret.
    Keyless,
}

impl Neighbours {
    /// What their ids end with.
    fn suffix(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::SilentSecret => "secret",
            Self::SilentAccount => "account",
            Self::Keyless => "keyless",
        }
    }

    /// What is wrong with them, unless they have no keys.
    pub(crate) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Limited => Some("alpaca:rate-limit=14s,user=shared"),
            Self::SilentSecret => Some("secret-manager:stall,user=*-secret"),
            Self::SilentAccount => Some("alpaca:stall,user=*-account"),
            Self::Keyless => None,
        }
    }

    fn keys(self, number: u32) -> Option<(String, Keys)> {
        let (owner, key_id) = match self {
            Self::Limited => ("shared".to_owned(), "PKSHARED".to_owned()),
            Self::SilentSecret | Self::SilentAccount => {
                let suffix = self.suffix();
                (format!("{number}-{suffix}"), format!("PK{suffix}{number}").to_uppercase())
            }
            Self::Keyless => return None,
        };
        Some((owner, Keys { key_id, secret_key: "not-a-real-secret".to_owned() }))
    }
}

/// The sandbox, and how many healthy users it has.
pub(crate) struct Town<'a> {
    bench: &'a Bench<'a>,
    sandbox: Sandbox,
    healthy: u32,
    /// Dropped last: the sandbox runs in it.
    runtime: Runtime,
}

/// A snapshot, as far as it says how old it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) updated_at: Timestamp,
    pub(crate) fresh_until: Timestamp,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    /// From the start of the process to the last commit of a healthy user's snapshot.
    pub(crate) healthy_s: f64,
    /// Healthy users without a snapshot of this pass.
    pub(crate) missed: usize,
    /// Those whose snapshot is no longer fresh.
    pub(crate) stale: usize,
    /// Everybody who has a snapshot of this pass.
    pub(crate) synced: usize,
    pub(crate) used: Used,
}

impl Pass {
    pub(crate) fn wall_s(&self) -> f64 {
        self.used.wall_us / 1e6
    }

    pub(crate) fn peak_mb(&self) -> f64 {
        self.used.peak_kib / 1024.0
    }
}

impl<'a> Town<'a> {
    /// Healthy users, who were all synced once.
    pub(crate) fn new(bench: &'a Bench<'a>, healthy: u32) -> Result<Self> {
        Self::prepared(bench, healthy, |_| Ok(()))
    }

    /// The same, of whom something was changed before that.
    pub(crate) fn prepared(
        bench: &'a Bench<'a>,
        healthy: u32,
        prepare: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let sandbox = runtime.block_on(Sandbox::start(Options { users: healthy, ..Options::default() }))?;
        let town = Self { bench, sandbox, healthy, runtime };
        prepare(&town)?;
        match town.pass()?.missed {
            0 => Ok(town),
            missed => Err(format!("{missed} healthy users were missed with nobody beside them").into()),
        }
    }

    pub(crate) fn bench(&self) -> &Bench<'a> {
        self.bench
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// How many users are healthy.
    pub(crate) fn healthy(&self) -> u32 {
        self.healthy
    }

    /// Adds neighbours, evenly among the healthy.
    pub(crate) fn add(&self, neighbours: Neighbours, count: u32) -> Result<()> {
        let mut writes = Vec::new();
        for number in 0..count {
            let id = self.neighbour(neighbours, number, count);
            writes.push(update(self.name(&format!("users/{id}")), [("locale", text("en-US"))]));
            if let Some((owner, keys)) = neighbours.keys(number) {
                let payload =
                    json!({"key_id": keys.key_id, "secret_key": keys.secret_key, "environment": "paper"});
                self.sandbox.secrets().add_version(&format!("{SECRET_PREFIX}{id}"), payload.to_string());
                self.sandbox.alpaca().register(&owner, keys, Profile::active());
            }
        }
        self.commit(writes)
    }

    /// What such users in trouble are remembered for began so long ago.
    pub(crate) fn age(&self, neighbours: Neighbours, count: u32, age: SignedDuration) -> Result<()> {
        let since = timestamp(Timestamp::now() - age);
        let write = |number| {
            let id = self.neighbour(neighbours, number, count);
            let name = self.name(&format!("users/{id}/alpacaAccounts/sync"));
            update(name, [("since", since.clone()), ("failing_since", since.clone())])
        };
        self.commit((0..count).map(write).collect())
    }

    /// A pass that begins a minute after the one before.
    pub(crate) fn pass(&self) -> Result<Pass> {
        self.watched_pass(|| ())
    }

    /// The same, watched while it runs.
    pub(crate) fn watched_pass(&self, watch: impl FnOnce()) -> Result<Pass> {
        let minute_ago = timestamp(Timestamp::now() - SignedDuration::from_mins(1));
        if self.sandbox.firestore().document(&self.name("ops/last_pulse")).is_some() {
            self.commit(vec![update(self.name("ops/last_pulse"), [("started_at", minute_ago)])])?;
        }
        let into = self.bench.file("town.json");
        let mut command = self.command(&into)?;
        command.stdout(Stdio::null());
        let start = Timestamp::now();
        let mut running = command.spawn()?;
        watch();
        running.wait()?;
        let used = meter::read(&into)?;
        match used.exit {
            Some(0 | 1) => Ok(self.judge(start, used)),
            exit => Err(format!("the pass ended with {exit:?}").into()),
        }
    }

    /// `pulse sync` in this town, which writes what it used to a file.
    pub(crate) fn command(&self, into: &Path) -> Result<Command> {
        Ok(self.lead(meter::metered(self.bench.args.pulse.as_os_str(), into)?))
    }

    /// The same, for who watches the process.
    pub(crate) fn unmetered(&self) -> Command {
        self.lead(Command::new(&self.bench.args.pulse))
    }

    fn lead(&self, mut command: Command) -> Command {
        command.env_clear().envs(self.sandbox.exports()).args(["sync", "--log-format", "json"]);
        command.stdin(Stdio::null());
        command
    }

    /// What the sandbox has counted so far.
    pub(crate) fn counted(&self) -> Result<Counted> {
        self.runtime.block_on(counted_at(&self.sandbox.address().to_string()))
    }

    /// Sets fields of users' documents.
    pub(crate) fn patch_users<const N: usize>(
        &self,
        users: impl Iterator<Item = String>,
        fields: [(&str, Value); N],
    ) -> Result<()> {
        let write = |user| update(self.name(&format!("users/{user}")), fields.clone());
        self.commit(users.map(write).collect())
    }

    fn judge(&self, start: Timestamp, used: Used) -> Pass {
        let written = self.written();
        let healthy = || (1..=self.healthy).map(|number| written.get(&user_id(number)).copied());
        let fresh = Timestamp::now() - SignedDuration::from_secs(300);
        let last = healthy().flatten().max().unwrap_or(start);
        Pass {
            healthy_s: last.duration_since(start).as_secs_f64(),
            missed: healthy().filter(|at| at.is_none_or(|at| at < start)).count(),
            stale: healthy().filter(|at| at.is_none_or(|at| at < fresh)).count(),
            synced: written.values().filter(|at| **at >= start).count(),
            used,
        }
    }

    /// When each user's snapshot was written.
    pub(crate) fn written(&self) -> HashMap<String, Timestamp> {
        self.snapshots().into_iter().map(|(user, shown)| (user, shown.updated_at)).collect()
    }

    /// Each user's snapshot.
    pub(crate) fn snapshots(&self) -> HashMap<String, Shown> {
        let documents = self.sandbox.firestore().documents(&self.database());
        let snapshot = |document: Document| {
            document.name.ends_with("/alpacaAccounts/snapshot").then_some(())?;
            let user = string(document.fields.get("user_id")?)?.to_owned();
            let at = |field| time(document.fields.get(field)?);
            Some((user, Shown { updated_at: at("updated_at")?, fresh_until: at("fresh_until")? }))
        };
        documents.into_iter().filter_map(snapshot).collect()
    }

    pub(crate) fn commit(&self, mut writes: Vec<Write>) -> Result<()> {
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().min(BATCH));
            self.sandbox.firestore().commit(&self.database(), std::mem::replace(&mut writes, rest))?;
        }
        Ok(())
    }

    fn neighbour(&self, neighbours: Neighbours, number: u32, count: u32) -> String {
        let beside = 1 + u64::from(number) * u64::from(self.healthy) / u64::from(count.max(1));
        let beside = user_id(u32::try_from(beside).unwrap_or(self.healthy));
        format!("{beside}-{number}-{}", neighbours.suffix())
    }

    fn database(&self) -> String {
        format!("projects/{}/databases/(default)", self.sandbox.project())
    }

    /// The name of the document at that path.
    pub(crate) fn name(&self, path: &str) -> String {
        format!("{}/documents/{path}", self.database())
    }
}

/// Sets those fields, and leaves the others alone.
pub(crate) fn update<const N: usize>(name: String, fields: [(&str, Value); N]) -> Write {
    let field_paths = fields.iter().map(|(field, _)| (*field).to_owned()).collect();
    let fields = fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
    Write {
        operation: Some(Operation::Update(Document { name, fields, ..Document::default() })),
        update_mask: Some(DocumentMask { field_paths }),
        ..Write::default()
    }
}
