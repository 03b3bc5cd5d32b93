//! Cloud Run's variables: which run of the job this is, and which of its tasks.

use crate::config::error::{ConfigError, keep};
use crate::limits::rate::Share;
use crate::model::ids::DocumentId;
use crate::telemetry::ExecutionLabel;
use jiff::Timestamp;
use std::num::NonZeroU32;

/// Most tasks of an execution: their records share a document.
const MAX_TASKS: u32 = 100;

/// Which run of the job this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Execution {
    /// `CLOUD_RUN_EXECUTION`, or a fresh id outside Cloud Run; after the first pulse of a loop with its number.
    pub(crate) id: DocumentId,
    /// The same without a number.
    base: DocumentId,
    /// `CLOUD_RUN_TASK_INDEX`: which of the tasks this is, from 0.
    pub(crate) task_index: u32,
    /// `CLOUD_RUN_TASK_COUNT`: how many tasks the execution has.
    pub(crate) task_count: NonZeroU32,
}

impl Execution {
    /// Reads Cloud Run's variables; what is not there gets its meaning outside Cloud Run.
    pub(crate) fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
        now: Timestamp,
    ) -> Result<Self, ConfigError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut wrong = Vec::new();
        let id = keep(&mut wrong, id(&lookup, now));
        let index = keep(&mut wrong, number(&lookup, "CLOUD_RUN_TASK_INDEX", 0));
        let count = keep(&mut wrong, number(&lookup, "CLOUD_RUN_TASK_COUNT", 1));
        let task = index.zip(count).and_then(|(index, count)| keep(&mut wrong, task(index, count)));
        match (id, task) {
            (Some(id), Some((task_index, task_count))) => {
                Ok(Self { base: id.clone(), id, task_index, task_count })
            }
            _ => Err(ConfigError(wrong)),
        }
    }

    /// What every line of the log says of it.
    #[must_use]
    pub(crate) fn label(&self) -> ExecutionLabel {
        ExecutionLabel::new(&self.id, self.task_index)
    }

    /// This task's part of what the execution may use.
    #[must_use]
    pub(crate) fn share(&self) -> Share {
        Share { task_index: self.task_index, task_count: self.task_count }
    }

    /// The execution of the pulse with this number in a loop, from 1.
    #[must_use]
    pub(crate) fn nth(&self, number: u32) -> Self {
        let id = if number > 1 { self.base.numbered(number) } else { self.base.clone() };
        Self { id, ..self.clone() }
    }

    /// Whether that is a pulse of the same loop. One process runs them one after the other.
    #[must_use]
    pub(crate) fn is_of_same_loop(&self, other: &DocumentId) -> bool {
        other.is_one_of(&self.base)
    }
}

/// `CLOUD_RUN_EXECUTION`, or an id that nobody else has.
fn id(lookup: &impl Fn(&str) -> Option<String>, now: Timestamp) -> Result<DocumentId, String> {
    let fresh = || format!("local-{}-{:08x}", now.as_second(), fastrand::u32(..));
    let id = lookup("CLOUD_RUN_EXECUTION").unwrap_or_else(fresh);
    DocumentId::parse(&id).map_err(|err| format!("CLOUD_RUN_EXECUTION {id:?} is no execution id: {err}"))
}

fn number(lookup: &impl Fn(&str) -> Option<String>, name: &str, default: u32) -> Result<u32, String> {
    lookup(name).map_or(Ok(default), |text| {
        text.parse().map_err(|_| format!("{name} {text:?} is no number of tasks"))
    })
}

/// Which of how many tasks.
fn task(index: u32, count: u32) -> Result<(u32, NonZeroU32), String> {
    let some = NonZeroU32::new(count).filter(|_| count <= MAX_TASKS && index < count);
    some.map(|count| (index, count)).ok_or_else(|| {
        format!(
            "CLOUD_RUN_TASK_INDEX {index} of CLOUD_RUN_TASK_COUNT {count}: there are 1 to {MAX_TASKS} tasks, counted \
             from 0"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_outside_cloud_run_gets_an_id_of_its_own() {
        let execution = |set: Option<&str>| {
            Execution::from_lookup(
                |name| (name == "CLOUD_RUN_EXECUTION").then(|| set.map(str::to_owned))?,
                Timestamp::UNIX_EPOCH,
            )
        };
        let named = execution(Some("pulse-x7k2p")).expect("usable");
        assert_eq!((named.id.as_str(), named.task_index, named.task_count.get()), ("pulse-x7k2p", 0, 1));
        assert_ne!(execution(None).expect("usable").id, execution(None).expect("usable").id);
        assert!(execution(Some("a/b")).is_err());
    }

    #[test]
    fn a_task_is_one_of_those_there_are() {
        for (index, count, usable) in [
            ("0", "1", true),
            ("3", "4", true),
            ("99", "100", true),
            ("4", "4", false),
            ("0", "0", false),
            ("0", "101", false),
            ("-1", "4", false),
            ("x", "4", false),
            ("0", "many", false),
            ("", "", true),
        ] {
            let lookup = |name: &str| match name {
                "CLOUD_RUN_TASK_INDEX" => Some(index.to_owned()),
                "CLOUD_RUN_TASK_COUNT" => Some(count.to_owned()),
                _ => None,
            };
            let execution = Execution::from_lookup(lookup, Timestamp::UNIX_EPOCH);
            assert_eq!(execution.is_ok(), usable, "{index} of {count}: {execution:?}");
        }
    }

    #[test]
    fn the_pulses_of_a_loop_are_numbered_from_the_second_on() {
        let lookup = |name: &str| (name == "CLOUD_RUN_EXECUTION").then(|| "pulse-x".to_owned());
        let first = Execution::from_lookup(lookup, Timestamp::UNIX_EPOCH).expect("usable");
        let ids = [1, 2, 3].map(|number| first.nth(number).id.to_string());
        assert_eq!(ids, ["pulse-x", "pulse-x-2", "pulse-x-3"]);
        assert_eq!(first.nth(3).nth(2).id.as_str(), "pulse-x-2", "not of one another");
        for (other, is_same) in [
            ("pulse-x", true),
            ("pulse-x-2", true),
            ("pulse-x-12", true),
            ("pulse-x-", false),
            ("pulse-x2", false),
            ("pulse-x-2a", false),
            ("pulse-x-2-2", false),
            ("pulse", false),
            ("pulse-y", false),
        ] {
            let other = DocumentId::parse(other).expect("legal");
            assert_eq!(first.nth(4).is_of_same_loop(&other), is_same, "{other}");
        }
    }
}
