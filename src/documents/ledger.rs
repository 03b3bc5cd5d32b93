//! `ops/last_pulse/executions/{execution}`: the ledger of an execution, by which its tasks agree. Its plan, and how
//! far each of its tasks has come.

use crate::firestore::values::{
    Fields, array, entries, integer, items, map, string, text, time, timestamp, whole_number,
};
use crate::firestore::write::{FieldChange, Precondition, Write, merge_at};
use crate::firestore::{Store, StoreError};
use crate::limits::retry::Deadline;
use crate::model::failing::FailingLong;
use crate::model::fleet_guard::{AtHost, Rejections};
use crate::model::ids::{Database, DocumentId};
use crate::model::ledger::{ExecutionEnd, Finished, Ledger, TaskRecord, TaskState};
use crate::model::measures::{Bucket, Measures, WayTimes};
use crate::model::outcome::{Code, Counts, PassStatus};
use crate::model::ramp::Ramp;
use crate::model::shards::{Sample, Shards};
use crate::model::usage::Used;
use account_reader::documents::last_pulse::PATH;
use gcloud_sdk::google::firestore::v1::Value;
use jiff::{SignedDuration, Timestamp};

/// How long a ledger is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The field that says when a task last wrote the ledger; it gets the server's time of the commit.
const TOUCHED_AT: &str = "touched_at";

/// The field that says for which point in time a loop's pulse is.
const DUE_AT: &str = "due_at";

/// The field that says when the execution ended.
const ENDED_AT: &str = "ended_at";

/// The field that says what the pass was worth, once it has ended.
const STATUS: &str = "status";

/// The field that names the execution in the way.
const SKIPPED_FOR: &str = "skipped_for";

/// Field names that begin with a digit would have to be quoted in paths.
const TASK_PREFIX: &str = "task_";

/// The field of the plan that says behind which id a task begins.
const BEGINS_BEHIND: &str = "begins_behind";

/// More users than that is not a count but damage, and would overflow sums.
const MOST: u64 = 1 << 48;

/// Full name of an execution's ledger.
#[must_use]
pub(crate) fn ledger_name(database: &Database, execution: &DocumentId) -> String {
    database.document(format_args!("{PATH}/executions/{}", execution.as_str()))
}

impl Store {
    /// The ledgers of those executions, in the same order.
    pub(crate) async fn ledgers<const N: usize>(
        &self,
        executions: [Option<&DocumentId>; N],
        deadline: Deadline,
    ) -> Result<[Option<Ledger>; N], StoreError> {
        let names = executions.map(|execution| execution.map(|id| ledger_name(self.database(), id)));
        let mut wanted: Vec<_> = names.iter().flatten().cloned().collect();
        wanted.dedup();
        let found = self.found(wanted, None, deadline).await?;
        Ok(names.map(|name| Ledger::from_fields(&found.documents.get(&name?)?.fields)))
    }
}

/// The writes of an execution's ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LedgerWrites<'a> {
    /// Where it is.
    pub(crate) database: &'a Database,
    /// Whose it is.
    pub(crate) execution: &'a DocumentId,
}

impl LedgerWrites<'_> {
    /// Begins the ledger; only one of the execution's tasks can. A loop's says for which point in time it is.
    #[must_use]
    pub(crate) fn begin(self, shards: &Shards, now: Timestamp, due_at: Option<Timestamp>) -> Write {
        let mut fields = new_ledger(shards, now);
        fields.extend(due_at.map(|due_at| (DUE_AT, Some(timestamp(due_at).into()))));
        self.merge(&fields, &Precondition::Absent)
    }

    /// Shows that the execution is at work.
    #[must_use]
    pub(crate) fn touch(self) -> Write {
        self.merge(&[], &Precondition::Unchanged(None))
    }

    /// Says in a new ledger that the execution does not run, because `other` does.
    #[must_use]
    pub(crate) fn skip_for(self, other: &DocumentId, shards: &Shards, now: Timestamp) -> Write {
        let mut fields = new_ledger(shards, now);
        fields.push((ENDED_AT, Some(timestamp(now).into())));
        fields.push((SKIPPED_FOR, Some(other.as_str().into())));
        self.merge(&fields, &Precondition::Absent)
    }

    /// Brings a task's record up to date. The ledger must exist: half a ledger would be none.
    #[must_use]
    pub(crate) fn task(self, task: usize, record: &TaskRecord, end: ExecutionEnd) -> Write {
        let task = format!("tasks.{}", task_field(task));
        let mut changes = vec![(task.as_str(), Some(record.to_value().into()))];
        match end {
            ExecutionEnd::Open => changes.extend([(ENDED_AT, None), (STATUS, None)]),
            ExecutionEnd::Unchanged => {}
            ExecutionEnd::At(time, status) => changes
                .extend([(ENDED_AT, Some(timestamp(time).into())), (STATUS, Some(status.as_str().into()))]),
        }
        self.merge(&changes, &Precondition::Unchanged(None))
    }

    fn merge(self, changes: &[FieldChange<'_>], precondition: &Precondition) -> Write {
        merge_at(&ledger_name(self.database, self.execution), changes, TOUCHED_AT, precondition)
    }
}

fn new_ledger(shards: &Shards, now: Timestamp) -> Vec<FieldChange<'static>> {
    let expires_at = now.saturating_add(KEPT_FOR).unwrap_or(now);
    vec![
        ("plan", Some(plan_value(shards).into())),
        ("tasks", Some(map(Default::default()).into())),
        ("started_at", Some(timestamp(now).into())),
        ("expires_at", Some(timestamp(expires_at).into())),
    ]
}

/// The name of a task's record among the `tasks`.
fn task_field(task: usize) -> String {
    format!("{TASK_PREFIX}{task}")
}

fn task_of(field: &str) -> Option<usize> {
    field.strip_prefix(TASK_PREFIX)?.parse().ok()
}

fn plan_value(shards: &Shards) -> Value {
    let mut fields = vec![("tasks", count(shards.tasks() as u64)), ("splits", ids_value(shards.splits()))];
    let begins = shards.begins_behind().iter().map(|(task, id)| (task_field(*task), text(id.as_str())));
    if !shards.begins_behind().is_empty() {
        fields.push((BEGINS_BEHIND, map(begins.collect())));
    }
    record(fields)
}

fn shards(plan: &Fields) -> Option<Shards> {
    let begin = |(name, behind): (&String, &Value)| Some((task_of(name)?, id(behind)?));
    // Without one of them, a cursor would not say whom a task has left.
    let begins = plan
        .get(BEGINS_BEHIND)
        .map_or(Some(Default::default()), |begins| entries(begins)?.iter().map(begin).collect());
    Some(Shards::new(ids(plan.get("splits")?)?)?.beginning_behind(begins?))
}

impl Ledger {
    /// Reads the document; `None` when it is no ledger that this version can work with.
    #[must_use]
    pub(crate) fn from_fields(fields: &Fields) -> Option<Self> {
        let plan = fields.get("plan").and_then(entries)?;
        let tasks = fields.get("tasks").and_then(entries);
        let task =
            |(name, record): (&String, &Value)| Some((task_of(name)?, TaskRecord::from_value(record)?));
        Some(Self {
            shards: shards(plan)?,
            started_at: fields.get("started_at").and_then(time)?,
            touched_at: fields.get(TOUCHED_AT).and_then(time)?,
            ended_at: fields.get(ENDED_AT).and_then(time),
            status: fields.get(STATUS).and_then(string).and_then(PassStatus::parse),
            skipped_for: fields.get(SKIPPED_FOR).and_then(id),
            // One that another version wrote, say, must not make the execution look dead.
            tasks: tasks.into_iter().flatten().filter_map(task).collect(),
        })
    }
}

impl TaskState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Settling => "settling",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl TaskRecord {
    fn to_value(&self) -> Value {
        let Self { state, finished, used, unreached, ramp } = self;
        let Finished { cursor, counts, rejections, sample, measures } = finished;
        let mut fields = vec![
            ("state", text(state.as_str())),
            ("counts", counts_value(counts)),
            (
                "rejections",
                record(Rejections::HOSTS.map(|host| (host.as_str(), at_host(rejections.at(host))))),
            ),
            ("sample", sample_value(sample)),
            ("used", used_value(*used)),
            ("measures", measures_value(measures)),
        ];
        fields.extend(cursor.as_ref().map(|cursor| ("cursor", text(cursor.as_str()))));
        fields.extend(unreached.map(|unreached| ("unreached", count(unreached))));
        if let Some((ramp, busiest)) = ramp {
            fields.extend([("ramp", ramp.to_value()), ("busiest_second", integer((*busiest).into()))]);
        }
        record(fields)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let fields = entries(value)?;
        let part = |name| fields.get(name).and_then(entries);
        Some(Self {
            state: TaskState::parse(fields.get("state").and_then(string)?)?,
            finished: Finished {
                cursor: match fields.get("cursor") {
                    Some(cursor) => Some(id(cursor)?),
                    None => None,
                },
                counts: counts(part("counts")?)?,
                rejections: part("rejections").map(rejections).unwrap_or_default(),
                sample: sample(part("sample")?)?,
                // Older versions did not measure.
                measures: part("measures").map(measures).unwrap_or_default(),
            },
            used: used(part("used")?)?,
            unreached: number(fields, "unreached"),
            // Nothing depends on it that would be worth losing the rest for.
            ramp: fields
                .get("ramp")
                .and_then(Ramp::from_value)
                .zip(number(fields, "busiest_second").and_then(|busiest| u32::try_from(busiest).ok())),
        })
    }
}

fn counts_value(counts: &Counts) -> Value {
    let errors = counts.errors.iter().map(|(code, number)| (code.as_str().to_owned(), count(*number)));
    record([
        ("success", count(counts.success)),
        ("skipped", count(counts.skipped)),
        ("needs_reauth", count(counts.needs_reauth)),
        ("errors", map(errors.collect())),
        ("ours", count(counts.ours)),
        ("stale", count(counts.stale)),
    ])
}

fn counts(fields: &Fields) -> Option<Counts> {
    let error = |(code, number): (&String, &Value)| Some((Code::parse(code)?, counted(number)?));
    Some(Counts {
        success: number(fields, "success")?,
        skipped: number(fields, "skipped")?,
        needs_reauth: number(fields, "needs_reauth")?,
        errors: entries(fields.get("errors")?)?.iter().map(error).collect::<Option<_>>()?,
        // Older versions did not count them.
        ours: number(fields, "ours").unwrap_or_default(),
        stale: number(fields, "stale").unwrap_or_default(),
    })
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

fn sample_value(sample: &Sample) -> Value {
    record([("seen", count(sample.seen)), ("stride", count(sample.stride)), ("ids", ids_value(&sample.ids))])
}

fn sample(fields: &Fields) -> Option<Sample> {
    Some(Sample {
        seen: number(fields, "seen")?,
        stride: number(fields, "stride").filter(|stride| *stride > 0)?,
        ids: ids(fields.get("ids")?)?,
    })
}

fn measures_value(Measures { way_times, failing }: &Measures) -> Value {
    let counts = |of: fn(&Bucket) -> u64| array(way_times.0.iter().map(|bucket| count(of(bucket))).collect());
    let mut fields = vec![
        ("way_users", counts(|bucket| bucket.users)),
        ("way_ms", counts(|bucket| bucket.sum_ms)),
        ("failing", count(failing.count)),
    ];
    fields.extend(failing.first.map(|first| ("failing_since", timestamp(first))));
    record(fields)
}

/// Nothing depends on them that would be worth losing the rest for.
fn measures(fields: &Fields) -> Measures {
    let first = fields.get("failing_since").and_then(time);
    let count = number(fields, "failing").filter(|_| first.is_some());
    Measures {
        way_times: way_times(fields).unwrap_or_default(),
        failing: count.map(|count| FailingLong { count, first }).unwrap_or_default(),
    }
}

/// As many as there are buckets, or another version has others.
fn way_times(fields: &Fields) -> Option<WayTimes> {
    let counts = |name| items(fields.get(name)?)?.iter().map(counted).collect::<Option<Vec<_>>>();
    let both = counts("way_users")?.into_iter().zip(counts("way_ms")?);
    let buckets: Vec<_> = both.map(|(users, sum_ms)| Bucket { users, sum_ms }).collect();
    Some(WayTimes(buckets.try_into().ok()?))
}

fn used_value(used: Used) -> Value {
    record([
        ("firestore_reads", count(used.firestore_reads)),
        ("firestore_writes", count(used.firestore_writes)),
        ("secret_accesses", count(used.secret_accesses)),
        ("alpaca_calls", count(used.alpaca_calls)),
    ])
}

fn used(fields: &Fields) -> Option<Used> {
    Some(Used {
        firestore_reads: number(fields, "firestore_reads")?,
        firestore_writes: number(fields, "firestore_writes")?,
        secret_accesses: number(fields, "secret_accesses")?,
        alpaca_calls: number(fields, "alpaca_calls")?,
    })
}

fn record(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn count(number: u64) -> Value {
    integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn counted(value: &Value) -> Option<u64> {
    whole_number(value).and_then(|number| u64::try_from(number).ok()).filter(|number| *number <= MOST)
}

fn number(fields: &Fields, name: &str) -> Option<u64> {
    fields.get(name).and_then(counted)
}

fn ids_value(ids: &[DocumentId]) -> Value {
    array(ids.iter().map(|id| text(id.as_str())).collect())
}

fn ids(value: &Value) -> Option<Vec<DocumentId>> {
    items(value)?.iter().map(id).collect()
}

fn id(value: &Value) -> Option<DocumentId> {
    string(value).filter(|id| !id.is_empty() && !id.contains('/')).map(DocumentId::of_existing)
}

#[cfg(test)]
mod tests;
