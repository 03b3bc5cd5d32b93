//! The ledger of an execution, `ops/last_pulse/executions/{execution}`: its plan, and how far each of its
//! tasks has come.

use crate::execution::progress::Finished;
use crate::execution::shards::{Sample, Shards};
use crate::execution::silence::{self, Worth};
use crate::firestore::values::{
    Fields, array, entries, integer, items, map, string, text, time, whole_number,
};
use crate::limits::ramp::Ramp;
use crate::limits::usage::Used;
use crate::model::fleet_guard::{AtHost, Rejections};
use crate::model::ids::DocumentId;
use crate::model::outcome::{Code, Counts, PassStatus};
use gcloud_sdk::google::firestore::v1::Value;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// An execution whose ledger has not been touched for so long is dead.
const ALIVE_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How long a ledger is kept.
pub(crate) const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the ledger says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ledger {
    /// The plan: which task has which users.
    pub(crate) shards: Shards,
    /// When the first task claimed it.
    pub(crate) started_at: Timestamp,
    /// When a task last wrote it, by the server's clock.
    pub(crate) touched_at: Timestamp,
    /// When its last task came to rest.
    pub(crate) ended_at: Option<Timestamp>,
    /// What the pass was worth then.
    pub(crate) status: Option<PassStatus>,
    /// The other execution that was at work when this one was to start, so that it did not.
    pub(crate) skipped_for: Option<DocumentId>,
    /// The tasks that have arrived so far, by their index.
    pub(crate) tasks: BTreeMap<usize, TaskRecord>,
}

/// What one task has recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskRecord {
    /// What it is doing.
    pub(crate) state: TaskState,
    /// How far it has come.
    pub(crate) finished: Finished,
    /// What it has used, all attempts together.
    pub(crate) used: Used,
    /// How far the database is ramped up, and the writes of this task's busiest second at that; only with
    /// `--ramp-writes`.
    pub(crate) ramp: Option<(Ramp, u32)>,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Syncing users.
    Running,
    /// All its users are finished; what was learned from them is being recorded.
    Settling,
    /// Done.
    Completed,
    /// Told to stop, or out of time, before all its users were reached.
    Stopped,
    /// It could not read its users.
    Failed,
}

impl TaskState {
    const ALL: [Self; 5] = [Self::Running, Self::Settling, Self::Completed, Self::Stopped, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Settling => "settling",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more is to be expected of the task, unless it is tried again.
    #[must_use]
    pub(crate) fn is_at_rest(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped | Self::Failed)
    }
}

/// What a task that arrives has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// Its execution has begun: take part in it.
    Join,
    /// No execution is alive: make this one the current one.
    Claim,
    /// Another one is alive: leave.
    Busy,
}

/// Where an execution stands that finds this: its own ledger, whether it is the current one, and the
/// ledger of the current one if that is another.
#[must_use]
pub(crate) fn standing(
    own: Option<&Ledger>,
    is_current: bool,
    other: Option<&Ledger>,
    now: Timestamp,
) -> LeaseState {
    match (own, is_current, other) {
        (Some(_), true, _) => LeaseState::Join,
        (_, _, Some(other)) if other.is_alive(now) => LeaseState::Busy,
        _ => LeaseState::Claim,
    }
}

impl Ledger {
    /// Whether some task of it is at work, as far as can be told.
    #[must_use]
    pub(crate) fn is_alive(&self, now: Timestamp) -> bool {
        // A time in the future proves no more than one in the past.
        self.ended_at.is_none() && now.duration_since(self.touched_at).abs() <= ALIVE_FOR
    }

    /// Whether others can see for a while yet that the execution is at work.
    #[must_use]
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now.duration_since(self.touched_at).abs() <= ALIVE_FOR / 2
    }

    /// Whether every task has come, and has come to rest.
    #[must_use]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.every_task(|record| record.state.is_at_rest())
    }

    /// Whether every task has finished its users, and the dashboards know.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        self.ended_at.is_some() && self.is_completed()
    }

    /// What the pass of an execution that has ended was worth.
    #[must_use]
    pub(crate) fn outcome(&self) -> PassStatus {
        // Older versions did not record it, and judged by the counts alone.
        self.status.unwrap_or_else(|| match self.is_completed() {
            true => self.sums().0.status(),
            false => PassStatus::Failed,
        })
    }

    /// What the pass of all tasks is worth at `now`, when `last_synced_at` is when a pass last synced anybody.
    #[must_use]
    pub(crate) fn worth(&self, last_synced_at: Option<Timestamp>, now: Timestamp) -> Worth {
        match self.is_completed() {
            true => silence::worth(&self.sums().0, last_synced_at, now),
            false => Worth { status: PassStatus::Failed, silence: None },
        }
    }

    /// Whether every task has finished all of its users.
    #[must_use]
    pub(crate) fn is_completed(&self) -> bool {
        self.every_task(|record| record.state == TaskState::Completed)
    }

    /// Whether every task but this one has finished its users.
    #[must_use]
    pub(crate) fn others_have_finished(&self, task: usize) -> bool {
        self.indices().all(|index| {
            index == task || self.tasks.get(&index).is_some_and(|record| record.state != TaskState::Running)
        })
    }

    /// What the fleet guard is to know of the tasks but this one.
    #[must_use]
    pub(crate) fn rejections_of_others(&self, task: usize) -> Rejections {
        let mut rejections = Rejections::default();
        for (_, record) in self.tasks.iter().filter(|(index, _)| **index != task) {
            rejections += record.finished.rejections;
        }
        rejections
    }

    /// The sums over all tasks, for `ops/last_pulse`.
    #[must_use]
    pub(crate) fn sums(&self) -> (Counts, Used) {
        let (mut counts, mut used) = (Counts::default(), Used::default());
        for record in self.tasks.values() {
            counts.add_all(&record.finished.counts);
            used = used + record.used;
        }
        (counts, used)
    }

    /// How far the database was ramped up, and how many writes a second it was shown at most.
    #[must_use]
    pub(crate) fn ramp(&self) -> Option<(Ramp, f64)> {
        let ramps: Vec<_> = self.tasks.values().filter_map(|record| record.ramp).collect();
        let ramp = ramps.iter().map(|(ramp, _)| *ramp).max_by_key(|ramp| ramp.limit)?;
        Some((ramp, ramps.iter().map(|(_, busiest)| f64::from(*busiest)).sum()))
    }

    /// The plan for an execution after this one.
    #[must_use]
    pub(crate) fn plan_next(&self, tasks: usize) -> Option<Shards> {
        // Who was not reached is in no sample, so half a pass would put the others' borders wrong.
        match (self.is_completed(), self.shards.tasks() == tasks) {
            (false, true) => Some(self.shards.clone()),
            _ => Shards::even(tasks, self.tasks.values().map(|record| &record.finished.sample)),
        }
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        0..self.shards.tasks()
    }

    fn every_task(&self, is_so: impl Fn(&TaskRecord) -> bool) -> bool {
        self.indices().all(|index| self.tasks.get(&index).is_some_and(&is_so))
    }

    /// Reads the document; `None` when it is no ledger that this version can work with.
    #[must_use]
    pub(crate) fn from_fields(fields: &Fields) -> Option<Self> {
        let plan = fields.get("plan").and_then(entries)?;
        let splits = ids(plan.get("splits")?)?;
        let tasks = fields.get("tasks").and_then(entries);
        let task = |(name, record): (&String, &Value)| {
            Some((name.strip_prefix(TASK_PREFIX)?.parse().ok()?, TaskRecord::from_value(record)?))
        };
        Some(Self {
            shards: Shards::new(splits)?,
            started_at: fields.get("started_at").and_then(time)?,
            touched_at: fields.get("touched_at").and_then(time)?,
            ended_at: fields.get("ended_at").and_then(time),
            status: fields.get(STATUS).and_then(string).and_then(PassStatus::parse),
            skipped_for: fields.get(SKIPPED_FOR).and_then(id),
            // One that another version wrote, say, must not make the execution look dead.
            tasks: tasks.into_iter().flatten().filter_map(task).collect(),
        })
    }
}

/// The field that says what the pass was worth, once it has ended.
pub(crate) const STATUS: &str = "status";

/// The field that names the execution in the way.
pub(crate) const SKIPPED_FOR: &str = "skipped_for";

/// Field names that begin with a digit would have to be quoted in paths.
const TASK_PREFIX: &str = "task_";

/// The name of a task's record among the `tasks`.
#[must_use]
pub(crate) fn task_field(task: usize) -> String {
    format!("{TASK_PREFIX}{task}")
}

/// The plan as it is stored.
#[must_use]
pub(crate) fn plan_value(shards: &Shards) -> Value {
    let splits = shards.splits().iter().map(|id| text(id.as_str())).collect();
    record([("tasks", count(shards.tasks() as u64)), ("splits", array(splits))])
}

impl TaskRecord {
    /// The record as it is stored.
    #[must_use]
    pub(crate) fn to_value(&self) -> Value {
        let Self { state, finished: Finished { cursor, counts, rejections, sample }, used, ramp } = self;
        let errors = counts.errors.iter().map(|(code, number)| (code.as_str().to_owned(), count(*number)));
        let mut fields = vec![
            ("state", text(state.as_str())),
            (
                "counts",
                record([
                    ("success", count(counts.success)),
                    ("skipped", count(counts.skipped)),
                    ("needs_reauth", count(counts.needs_reauth)),
                    ("errors", map(errors.collect())),
                    ("ours", count(counts.ours)),
                    ("stale", count(counts.stale)),
                ]),
            ),
            (
                "rejections",
                record(Rejections::HOSTS.map(|host| (host.as_str(), at_host(rejections.at(host))))),
            ),
            (
                "sample",
                record([
                    ("seen", count(sample.seen)),
                    ("stride", count(sample.stride)),
                    ("ids", array(sample.ids.iter().map(|id| text(id.as_str())).collect())),
                ]),
            ),
            (
                "used",
                record([
                    ("firestore_reads", count(used.firestore_reads)),
                    ("firestore_writes", count(used.firestore_writes)),
                    ("secret_accesses", count(used.secret_accesses)),
                    ("alpaca_calls", count(used.alpaca_calls)),
                ]),
            ),
        ];
        fields.extend(cursor.as_ref().map(|cursor| ("cursor", text(cursor.as_str()))));
        if let Some((ramp, busiest)) = ramp {
            fields.extend([("ramp", ramp.to_value()), ("busiest_second", integer((*busiest).into()))]);
        }
        record(fields)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let fields = entries(value)?;
        let part = |name| fields.get(name).and_then(entries);
        let state = fields.get("state").and_then(string)?;
        let (counts, sample, used) = (part("counts")?, part("sample")?, part("used")?);
        let error = |(code, number): (&String, &Value)| Some((Code::parse(code)?, counted(number)?));
        Some(Self {
            state: TaskState::ALL.into_iter().find(|known| known.as_str() == state)?,
            finished: Finished {
                cursor: match fields.get("cursor") {
                    Some(cursor) => Some(id(cursor)?),
                    None => None,
                },
                counts: Counts {
                    success: number(counts, "success")?,
                    skipped: number(counts, "skipped")?,
                    needs_reauth: number(counts, "needs_reauth")?,
                    errors: entries(counts.get("errors")?)?.iter().map(error).collect::<Option<_>>()?,
                    // Older versions did not count them.
                    ours: number(counts, "ours").unwrap_or_default(),
                    stale: number(counts, "stale").unwrap_or_default(),
                },
                rejections: part("rejections").map(rejections).unwrap_or_default(),
                sample: Sample {
                    seen: number(sample, "seen")?,
                    stride: number(sample, "stride").filter(|stride| *stride > 0)?,
                    ids: ids(sample.get("ids")?)?,
                },
            },
            used: Used {
                firestore_reads: number(used, "firestore_reads")?,
                firestore_writes: number(used, "firestore_writes")?,
                secret_accesses: number(used, "secret_accesses")?,
                alpaca_calls: number(used, "alpaca_calls")?,
            },
            // Nothing depends on it that would be worth losing the rest for.
            ramp: fields
                .get("ramp")
                .and_then(Ramp::from_value)
                .zip(number(fields, "busiest_second").and_then(|busiest| u32::try_from(busiest).ok())),
        })
    }
}

fn record(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn count(number: u64) -> Value {
    integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn at_host(AtHost { accepted, rejected }: AtHost) -> Value {
    record([("accepted", count(accepted)), ("rejected", count(rejected))])
}

/// Older versions did not tell the hosts apart: theirs tell nothing about either.
fn rejections(fields: &Fields) -> Rejections {
    let mut rejections = Rejections::default();
    for host in Rejections::HOSTS {
        let Some(said) = fields.get(host.as_str()).and_then(entries) else { continue };
        let said = |name| number(said, name).unwrap_or_default();
        *rejections.at_mut(host) = AtHost { accepted: said("accepted"), rejected: said("rejected") };
    }
    rejections
}

/// More users than that is not a count but damage, and would overflow sums.
const MOST: u64 = 1 << 48;

fn counted(value: &Value) -> Option<u64> {
    whole_number(value).and_then(|number| u64::try_from(number).ok()).filter(|number| *number <= MOST)
}

fn number(fields: &Fields, name: &str) -> Option<u64> {
    fields.get(name).and_then(counted)
}

fn id(value: &Value) -> Option<DocumentId> {
    string(value).filter(|id| !id.is_empty() && !id.contains('/')).map(DocumentId::of_existing)
}

fn ids(value: &Value) -> Option<Vec<DocumentId>> {
    items(value)?.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::timestamp;
    use crate::model::keys::Environment;
    use crate::model::outcome::{Blame, Outcome};
    use gcloud_sdk::google::firestore::v1::value::ValueType;
    use proptest::collection::{btree_map, hash_map, vec};
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_623_400 + second).expect("in range")
    }

    fn split(text: &str) -> DocumentId {
        DocumentId::parse(text).expect("legal")
    }

    fn ledger(states: &[Option<TaskState>]) -> Ledger {
        let record =
            |state| TaskRecord { state, finished: Finished::default(), used: Used::default(), ramp: None };
        let tasks = states.iter().enumerate().filter_map(|(task, state)| Some((task, record((*state)?))));
        Ledger {
            shards: Shards::guessed(states.len()),
            started_at: at(0),
            touched_at: at(10),
            ended_at: None,
            status: None,
            skipped_for: None,
            tasks: tasks.collect(),
        }
    }

    fn stored(ledger: &Ledger) -> Fields {
        let tasks = ledger.tasks.iter().map(|(task, record)| (task_field(*task), record.to_value()));
        let mut fields = vec![
            ("plan", plan_value(&ledger.shards)),
            ("started_at", timestamp(ledger.started_at)),
            ("touched_at", timestamp(ledger.touched_at)),
            ("tasks", map(tasks.collect())),
        ];
        fields.extend(ledger.ended_at.map(|time| ("ended_at", timestamp(time))));
        fields.extend(ledger.status.map(|status| (STATUS, text(status.as_str()))));
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    const RUNNING: Option<TaskState> = Some(TaskState::Running);
    const COMPLETED: Option<TaskState> = Some(TaskState::Completed);

    #[test]
    fn another_execution_is_left_alone_while_it_is_alive() {
        let other = ledger(&[RUNNING, None]);
        for (now, expected) in
            [(10, LeaseState::Busy), (70, LeaseState::Busy), (71, LeaseState::Claim), (-50, LeaseState::Busy)]
        {
            assert_eq!(standing(None, false, Some(&other), at(now)), expected, "{now}");
            // One that was taken over meanwhile is in no better position.
            assert_eq!(standing(Some(&ledger(&[RUNNING])), false, Some(&other), at(now)), expected, "{now}");
        }
        assert_eq!(standing(None, false, Some(&other), at(-51)), LeaseState::Claim, "a clock that jumped");
        let ended = Ledger { ended_at: Some(at(11)), ..other };
        assert_eq!(standing(None, false, Some(&ended), at(12)), LeaseState::Claim);
        assert_eq!(standing(None, false, None, at(12)), LeaseState::Claim);
    }

    #[test]
    fn the_tasks_of_one_execution_join_it_however_long_it_takes() {
        let own = ledger(&[RUNNING, None]);
        assert_eq!(standing(Some(&own), true, None, at(100_000)), LeaseState::Join);
        assert_eq!(standing(None, true, None, at(0)), LeaseState::Claim, "its ledger was deleted");
    }

    #[test]
    fn the_last_task_is_the_one_that_finds_all_at_rest() {
        assert!(!ledger(&[COMPLETED, None]).is_at_rest());
        assert!(!ledger(&[COMPLETED, RUNNING]).is_at_rest());
        assert!(!ledger(&[COMPLETED, Some(TaskState::Settling)]).is_at_rest());
        assert!(ledger(&[COMPLETED, Some(TaskState::Stopped), Some(TaskState::Failed)]).is_at_rest());
        assert!(ledger(&[RUNNING, Some(TaskState::Settling), COMPLETED]).others_have_finished(0));
        assert!(!ledger(&[RUNNING, RUNNING]).others_have_finished(0));
        assert!(!ledger(&[RUNNING, None]).others_have_finished(0));
    }

    #[test]
    fn the_sums_are_of_all_tasks_and_the_pass_failed_when_one_did_not_complete() {
        let mut ledger = ledger(&[COMPLETED, COMPLETED]);
        for record in ledger.tasks.values_mut() {
            record.finished.counts.add(Outcome::Synced);
            record.finished.counts.add(Outcome::Failed(Code::KeysMissing));
            record.finished.rejections = rejected_live(2);
            record.finished.counts.add_blame(Blame { is_ours: true, is_stale: true });
            record.used.alpaca_calls = 3;
        }
        let (counts, used) = ledger.sums();
        assert_eq!((counts.success, counts.error(), used.alpaca_calls), (2, 2, 6));
        assert_eq!(ledger.outcome(), PassStatus::Degraded);
        assert_eq!((counts.ours, counts.stale), (2, 2));
        assert_eq!(ledger.rejections_of_others(1), rejected_live(2));
        ledger.tasks.get_mut(&0).expect("task 0").state = TaskState::Stopped;
        assert_eq!(ledger.outcome(), PassStatus::Failed);
    }

    #[test]
    fn what_the_pass_was_worth_at_its_end_is_not_judged_again() {
        let ended = Ledger { status: Some(PassStatus::Failed), ..ledger(&[COMPLETED]) };
        assert_eq!(ended.outcome(), PassStatus::Failed);
        assert_eq!(ledger(&[COMPLETED]).outcome(), PassStatus::Ok, "an older version left no word");
    }

    #[test]
    fn only_a_pass_that_every_task_completed_can_have_synced_nobody_unexpectedly() {
        let worth = |ledger: &Ledger| ledger.worth(Some(at(0)), at(60));
        let sudden = Some(silence::Silence::Sudden(at(0)));
        let both = ledger(&[COMPLETED, COMPLETED]);
        assert_eq!(worth(&both), Worth { status: PassStatus::Failed, silence: sudden });
        let stopped = ledger(&[COMPLETED, Some(TaskState::Stopped)]);
        assert_eq!(worth(&stopped), Worth { status: PassStatus::Failed, silence: None });
        let mut synced = both;
        synced.tasks.get_mut(&1).expect("task 1").finished.counts.add(Outcome::Synced);
        assert_eq!(worth(&synced), Worth { status: PassStatus::Ok, silence: None });
    }

    fn rejected_live(users: u64) -> Rejections {
        let mut rejections = Rejections::default();
        *rejections.at_mut(Environment::Live) = AtHost { accepted: 3, rejected: users };
        rejections
    }

    #[test]
    fn a_record_of_an_older_version_counts_without_what_it_did_not_know() {
        let mut record = ledger(&[COMPLETED]).tasks.remove(&0).expect("task 0");
        record.finished.counts.add(Outcome::Failed(Code::BrokerRejected));
        let known = record.clone();
        record.finished.counts.add_blame(Blame { is_ours: true, is_stale: true });
        record.finished.rejections = rejected_live(1);
        let fields = |value: &Value| entries(value).expect("a map").clone();
        let mut stored = fields(&record.to_value());
        let mut counts = fields(&stored["counts"]);
        counts.retain(|name, _| !["ours", "stale"].contains(&name.as_str()));
        stored.insert("counts".into(), map(counts));
        let old = super::record([("asked", count(24)), ("rejected", count(5))]);
        for rejections in [Some(old), Some(text("many")), None] {
            stored.remove("rejections");
            stored.extend(rejections.map(|rejections| ("rejections".to_owned(), rejections)));
            assert_eq!(TaskRecord::from_value(&map(stored.clone())), Some(known.clone()));
        }
    }

    #[test]
    fn what_all_tasks_have_shown_the_database_counts() {
        let mut ledger = ledger(&[COMPLETED, COMPLETED]);
        assert_eq!(ledger.ramp(), None);
        let ramp = Ramp { limit: 750, since: at(0) };
        ledger.tasks.values_mut().for_each(|record| record.ramp = Some((ramp, 300)));
        assert_eq!(ledger.ramp(), Some((ramp, 600.0)));
    }

    #[test]
    fn half_a_pass_teaches_no_new_borders() {
        let mut half = ledger(&[COMPLETED, Some(TaskState::Stopped)]);
        half.shards = Shards::new(vec![split("m")]).expect("in order");
        let sample = &mut half.tasks.get_mut(&0).expect("task 0").finished.sample;
        ["a", "b", "c"].iter().for_each(|id| sample.take(&split(id), 2));
        assert_eq!(half.plan_next(2), Some(half.shards.clone()));
        half.tasks.get_mut(&1).expect("task 1").state = TaskState::Completed;
        assert_eq!(half.plan_next(2).map(|shards| shards.splits().to_vec()), Some(vec![split("a")]));
    }

    #[test]
    fn what_is_no_ledger_is_not_taken_for_one() {
        let whole = stored(&ledger(&[RUNNING, None]));
        assert!(Ledger::from_fields(&whole).is_some());
        for field in ["plan", "started_at", "touched_at"] {
            let mut fields = whole.clone();
            fields.remove(field);
            assert_eq!(Ledger::from_fields(&fields), None, "without {field}");
        }
        let mut unsorted = whole.clone();
        let splits = array(vec![text("b"), text("a")]);
        unsorted.insert("plan".into(), record([("splits", splits)]));
        assert_eq!(Ledger::from_fields(&unsorted), None);
    }

    fn any_id() -> impl Strategy<Value = DocumentId> {
        "[a-zA-Z0-9é_.-]{1,8}".prop_map(|text| DocumentId::of_existing(&text))
    }

    prop_compose! {
        fn any_record()(
            state in proptest::sample::select(TaskState::ALL.to_vec()),
            cursor in proptest::option::of(any_id()),
            success in 0..MOST, skipped in 0..MOST, needs_reauth in 0..MOST, errors in 0..MOST,
            ours in 0..MOST, stale in 0..MOST, hosts in proptest::array::uniform2((0..MOST, 0..MOST)),
            seen in 0..MOST, stride in 1..MOST, ids in vec(any_id(), 0..20),
            reads in 0..MOST, writes in 0..MOST,
            ramp in proptest::option::of((500_u32.., 0_i64..1_000_000, any::<u32>())),
        ) -> TaskRecord {
            let mut rejections = Rejections::default();
            for (host, (accepted, rejected)) in Rejections::HOSTS.into_iter().zip(hosts) {
                *rejections.at_mut(host) = AtHost { accepted, rejected };
            }
            TaskRecord {
                state,
                finished: Finished {
                    cursor,
                    counts: Counts {
                        success, skipped, needs_reauth, errors: [(Code::KeysMissing, errors)].into(), ours, stale,
                    },
                    rejections,
                    sample: Sample { seen, stride, ids },
                },
                used: Used { firestore_reads: reads, firestore_writes: writes, ..Used::default() },
                ramp: ramp.map(|(limit, since, busiest)| (Ramp { limit, since: at(since) }, busiest)),
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(integer),
            "\\PC{0,6}".prop_map(text),
            any::<f64>().prop_map(crate::firestore::values::double),
            (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| Value {
                value_type: Some(ValueType::TimestampValue(gcloud_sdk::prost_types::Timestamp {
                    seconds,
                    nanos
                }))
            }),
        ];
        let name = prop_oneof![
            Just("splits".to_owned()),
            Just("task_0".to_owned()),
            Just("state".to_owned()),
            Just("sample".to_owned()),
            Just("counts".to_owned()),
            Just("ids".to_owned()),
            "\\PC{0,6}"
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(array),
                hash_map(name.clone(), inner, 0..6).prop_map(map),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_ledger_survives_being_stored(
            records in btree_map(0_usize..40, any_record(), 0..5),
            mut splits in vec(any_id(), 0..10),
            ended in proptest::option::of(0_i64..1_000_000),
            status in proptest::sample::select(vec![None, Some(PassStatus::Ok), Some(PassStatus::Failed)]),
        ) {
            splits.sort();
            let ledger = Ledger {
                shards: Shards::new(splits).expect("in order"),
                started_at: at(0),
                touched_at: at(1),
                ended_at: ended.map(at),
                status,
                skipped_for: None,
                tasks: records,
            };
            prop_assert_eq!(Ledger::from_fields(&stored(&ledger)), Some(ledger));
        }

        #[test]
        fn no_document_panics(
            fields in hash_map(
                prop_oneof![
                    Just("plan".to_owned()), Just("tasks".to_owned()), Just("started_at".to_owned()),
                    Just("touched_at".to_owned()), Just("ended_at".to_owned()), "\\PC{0,6}"
                ],
                any_value(),
                0..6,
            ),
            now in any::<i32>(),
        ) {
            if let Some(ledger) = Ledger::from_fields(&fields) {
                let now = Timestamp::from_second(now.into()).expect("in range");
                let _ = (ledger.is_alive(now), ledger.sums(), ledger.plan_next(3), ledger.is_at_rest());
            }
        }
    }
}
