//! A day of an operator: a pass a minute, each of which says what a real one did in the state that the world was in.

use crate::world::{Run, World};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{Document, Value, Write};
use jiff::{SignedDuration, Timestamp};
use pulse_sandbox::telemetry::Export;
use serde_json::Value as Json;
use tokio::process::Command;

/// As many as a commit takes.
const WRITES: usize = 500;

/// What a pass left behind.
pub(super) struct Pass {
    /// Its log.
    pub(super) lines: Vec<Json>,
    /// Whether Cloud Run calls its execution failed.
    pub(super) is_failed: bool,
    /// What the collector got of it.
    pub(super) export: Option<Export>,
}

impl Pass {
    /// A number of its last line about all users.
    pub(super) fn figure(&self, name: &str) -> f64 {
        let of_line = |line: &Json| line[name].as_f64();
        self.lines.iter().rev().find_map(of_line).unwrap_or_else(|| panic!("no {name} in {:#?}", self.lines))
    }
}

pub(super) struct Day {
    pub(super) world: World,
    pub(super) passes: Vec<Pass>,
    /// The pass that ended in each minute.
    pub(super) minutes: Vec<Option<usize>>,
}

impl Day {
    /// In a world whose users are as they have been for long.
    pub(super) async fn of(world: World) -> Self {
        let mut day = Self { world, passes: Vec::new(), minutes: Vec::new() };
        day.goes_on(90).await;
        day.minutes.clear();
        day
    }

    /// For so many minutes it goes on as a pass says now.
    pub(super) async fn goes_on(&mut self, minutes: usize) {
        let command = self.world.command(&[]);
        self.goes_on_by(command, minutes).await;
    }

    /// The same, by another command.
    pub(super) async fn goes_on_by(&mut self, mut command: Command, minutes: usize) {
        let run = Run::of(self.measured(&mut command)).await;
        let pass = self.take(&run);
        self.say(pass, minutes).await;
    }

    /// The command, with its metrics sent to this world's collector.
    pub(super) fn measured<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let endpoint = format!("http://{}", self.world.sandbox.address());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")
    }

    /// Takes what a run left behind.
    pub(super) fn take(&mut self, run: &Run) -> usize {
        let is_new = |export: &Export| !self.passes.iter().any(|pass| pass.export.as_ref() == Some(export));
        let export = self.world.sandbox.telemetry().taken().pop().filter(is_new);
        self.passes.push(Pass { lines: run.entries(), is_failed: run.exit != Some(0), export });
        self.passes.len() - 1
    }

    /// So many minutes in each of which a pass said that.
    pub(super) async fn say(&mut self, pass: usize, minutes: usize) {
        self.minutes.extend(vec![Some(pass); minutes]);
        self.grow_older(minutes).await;
    }

    /// So many minutes in which no pass ends.
    pub(super) async fn is_silent(&mut self, minutes: usize) {
        self.minutes.extend(vec![None; minutes]);
        self.grow_older(minutes).await;
    }

    /// Lets time pass in the world: all times in its documents are earlier by so much.
    async fn grow_older(&self, minutes: usize) {
        let by = SignedDuration::from_mins(minutes as i64);
        let database = format!("projects/{}/databases/(default)", self.world.project);
        let documents = self.world.sandbox.firestore().documents(&database).into_iter().map(|document| {
            let fields = document.fields.into_iter().map(|(name, value)| (name, older(value, by))).collect();
            Document { fields, create_time: None, update_time: None, ..document }
        });
        let write = |document| Write { operation: Some(Operation::Update(document)), ..Write::default() };
        let writes: Vec<Write> = documents.map(write).collect();
        for writes in writes.chunks(WRITES) {
            self.world.commit(writes.to_vec()).await;
        }
    }
}

fn older(mut value: Value, by: SignedDuration) -> Value {
    match &mut value.value_type {
        Some(ValueType::TimestampValue(time)) => time.seconds -= by.as_secs(),
        Some(ValueType::StringValue(text)) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = format!("{:.3}", time - by);
            }
        }
        Some(ValueType::MapValue(map)) => {
            let fields = std::mem::take(&mut map.fields);
            map.fields = fields.into_iter().map(|(name, value)| (name, older(value, by))).collect();
        }
        _ => {}
    }
    value
}
