use super::*;
use crate::documents::written::Written;
use crate::firestore::values::double;
use crate::model::keys::Environment;
use crate::model::outcome::{Blame, Outcome};
use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use gcloud_sdk::google::firestore::v1::value::ValueType;
use proptest::collection::{btree_map, hash_map, vec};
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_623_400 + second).expect("in range")
}

fn ledger(states: &[Option<TaskState>]) -> Ledger {
    let record = |state| TaskRecord {
        state,
        finished: Finished::default(),
        used: Used::default(),
        unreached: None,
        ramp: None,
    };
    let tasks = states.iter().enumerate().filter_map(|(task, state)| Some((task, record((*state)?))));
    Ledger {
        shards: Shards::sorted(vec![DocumentId::of_existing("m"); states.len() - 1]),
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

#[test]
fn a_record_of_an_older_version_counts_without_what_it_did_not_know() {
    let mut record = ledger(&[Some(TaskState::Completed)]).tasks.remove(&0).expect("task 0");
    record.finished.counts.add(Outcome::Failed(Code::BrokerRejected));
    let known = record.clone();
    record.finished.counts.add_blame(Blame { is_ours: true, is_stale: true });
    *record.finished.rejections.at_mut(Environment::Live) = AtHost { accepted: 3, rejected: 1 };
    record.finished.measures.failing.count_since(at(0));
    let fields = |value: &Value| entries(value).expect("a map").clone();
    let mut stored = fields(&record.to_value());
    let mut counts = fields(&stored["counts"]);
    counts.retain(|name, _| !["ours", "stale"].contains(&name.as_str()));
    stored.insert("counts".into(), map(counts));
    let old = super::record([("asked", count(24)), ("rejected", count(5))]);
    for rejections in [Some(old), Some(text("many")), None] {
        stored.remove("rejections");
        stored.extend(rejections.map(|rejections| ("rejections".to_owned(), rejections)));
        stored.remove("measures");
        assert_eq!(TaskRecord::from_value(&map(stored.clone())), Some(known.clone()));
    }
}

#[test]
fn what_is_no_ledger_is_not_taken_for_one() {
    let whole = stored(&ledger(&[Some(TaskState::Running), None]));
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
    for begins in [text("k"), record([("task_x", text("k"))]), record([("task_1", text("a/b"))])] {
        let mut damaged = whole.clone();
        let splits = array(vec![text("m")]);
        damaged.insert("plan".into(), record([("splits", splits), ("begins_behind", begins)]));
        assert_eq!(Ledger::from_fields(&damaged), None, "a cursor would say nothing");
    }
}

#[test]
fn each_write_of_a_ledger_says_what_it_is_about_and_demands_what_it_is_based_on() {
    let database = Database::parse("p", "(default)").expect("legal");
    let id = |text: &str| DocumentId::of_existing(text);
    let (execution, other) = (id("pulse-x"), id("pulse-y"));
    let ledger = LedgerWrites { database: &database, execution: &execution };
    let shards = Shards::sorted(vec![id("m")]);
    let record = self::ledger(&[Some(TaskState::Running)]).tasks.remove(&0).expect("task 0");
    let begun = ["plan", "tasks", "started_at", "expires_at"];
    let (new, old) = (ConditionType::Exists(false), ConditionType::Exists(true));
    let ended = ExecutionEnd::At(at(9), PassStatus::Degraded);
    for (write, mask, removed, precondition) in [
        (ledger.begin(&shards, at(0), None), &begun[..], &[][..], new),
        (
            ledger.skip_for(&other, &shards, at(0)),
            &[&begun[..], &["ended_at", "skipped_for"]].concat(),
            &[],
            new,
        ),
        (ledger.touch(), &[], &[], old),
        (ledger.task(3, &record, ExecutionEnd::Unchanged), &["tasks.task_3"], &[], old),
        (
            ledger.task(3, &record, ExecutionEnd::Open),
            &["tasks.task_3", "ended_at", "status"],
            &["ended_at", "status"],
            old,
        ),
        (ledger.task(3, &record, ended), &["tasks.task_3", "ended_at", "status"], &[], old),
    ] {
        let Written { path, fields, mask: written, server_times, precondition: required } =
            Written::of(&write);
        assert_eq!(path, "ops/last_pulse/executions/pulse-x");
        assert_eq!(
            (written.iter().map(String::as_str).collect::<Vec<_>>(), server_times, required),
            (mask.to_vec(), vec!["touched_at".to_owned()], Some(precondition))
        );
        let has_value = |path: &&str| fields.contains_key(path.split('.').next().expect("a field"));
        let without: Vec<_> = mask.iter().copied().filter(|path| !has_value(path)).collect();
        assert_eq!(without, removed, "{mask:?}");
    }
}

#[test]
fn a_ledger_is_read_as_it_was_begun() {
    let database = Database::parse("p", "(default)").expect("legal");
    let (execution, other) = (DocumentId::of_existing("pulse-x"), DocumentId::of_existing("pulse-y"));
    let ledger = LedgerWrites { database: &database, execution: &execution };
    let begun = self::ledger(&[None, None]);
    for (write, ended_at, skipped_for) in [
        (ledger.begin(&begun.shards, at(0), Some(at(0))), None, None),
        (ledger.skip_for(&other, &begun.shards, at(0)), Some(at(0)), Some(other.clone())),
    ] {
        let mut fields = Written::of(&write).fields;
        assert_eq!(time(&fields["expires_at"]), Some(at(7 * 24 * 3600)));
        fields.insert("touched_at".into(), timestamp(at(10)));
        let expected = Ledger { ended_at, skipped_for, ..begun.clone() };
        assert_eq!(Ledger::from_fields(&fields), Some(expected));
    }
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
        reads in 0..MOST, writes in 0..MOST, unreached in proptest::option::of(0..MOST),
        ways in proptest::array::uniform17((0..MOST, 0..MOST)),
        failing in proptest::option::of((0..MOST, 0_i64..1_000_000)),
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
                measures: Measures {
                    way_times: WayTimes(ways.map(|(users, sum_ms)| Bucket { users, sum_ms })),
                    failing: failing
                        .map(|(count, first)| FailingLong { count, first: Some(at(first)) })
                        .unwrap_or_default(),
                },
            },
            used: Used { firestore_reads: reads, firestore_writes: writes, ..Used::default() },
            unreached,
            ramp: ramp.map(|(limit, since, busiest)| (Ramp { limit, since: at(since) }, busiest)),
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(integer),
        "\\PC{0,6}".prop_map(text),
        any::<f64>().prop_map(double),
        (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| Value {
            value_type: Some(ValueType::TimestampValue(gcloud_sdk::prost_types::Timestamp {
                seconds,
                nanos
            }))
        }),
    ];
    let name = prop_oneof![
        Just("splits".to_owned()),
        Just("begins_behind".to_owned()),
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
        begins_behind in btree_map(0_usize..11, any_id(), 0..3),
        ended in proptest::option::of(0_i64..1_000_000),
        status in proptest::sample::select(vec![None, Some(PassStatus::Ok), Some(PassStatus::Failed)]),
    ) {
        splits.sort();
        let ledger = Ledger {
            shards: Shards::new(splits).expect("in order").beginning_behind(begins_behind),
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
    ) {
        if let Some(ledger) = Ledger::from_fields(&fields) {
            prop_assert!(ledger.tasks.values().all(|record| record.finished.sample.stride > 0));
        }
    }
}
