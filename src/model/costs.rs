//! What a deployment costs a month, and what its settings would save.

use crate::model::prices::{ACCESSES, CPU_SECONDS, DAYS, GIB_SECONDS, LOG_GIB, READS, VERSIONS, WRITES};
use serde::Serialize;
use std::time::Duration;

/// Cloud Run bills no task for less.
const LEAST_BILLED: Duration = Duration::from_mins(1);

/// What the job's task has, as `cloudbuild.yaml` sets it.
const GIB_OF_A_TASK: f64 = 0.5;

/// A user's two lines, with what Cloud Logging adds.
const LOG_BYTES_OF_A_USER: f64 = 1_500.0;

/// What a pass reads and writes beside its users: its first task, and each further one.
const OF_A_PASS: (u64, u64) = (6, 5);
const OF_A_FURTHER_TASK: (u64, u64) = (6, 2);

/// Users whom one task reaches within a minute.
const USERS_OF_A_TASK: u64 = 50_000;

/// A loop as the docs set it up, and how long it keeps keys.
const USUAL_LOOP: Loop = Loop { length: Duration::from_mins(15), key_ttl: Duration::from_mins(10) };

/// How rare pulses are a saving that readers notice.
const RARER: Duration = Duration::from_mins(5);

/// Pulses in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loop {
    /// How long one runs.
    pub(crate) length: Duration,
    /// How long it keeps keys.
    pub(crate) key_ttl: Duration,
}

/// One pulse, and how often it comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Workload {
    pub(crate) users: u64,
    /// Those of them who are synced.
    pub(crate) synced: u64,
    pub(crate) every: Duration,
    pub(crate) repeats: Option<Loop>,
    pub(crate) tasks: u64,
    /// How long the pulse takes.
    pub(crate) duration: Duration,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Without a loop that keeps keys.
    pub(crate) accesses: u64,
    /// Users of whom there are lines.
    pub(crate) logged: u64,
    /// Versions of keys that are not destroyed.
    pub(crate) versions: u64,
}

/// What one service costs a month.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Item {
    pub(crate) service: &'static str,
    pub(crate) dollars: f64,
    pub(crate) amount: f64,
    pub(crate) unit: &'static str,
}

/// What a setting would save a month.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Saving {
    pub(crate) setting: &'static str,
    pub(crate) dollars: f64,
}

/// How many tasks a pulse over so many users takes to be done within a minute.
#[must_use]
pub(crate) fn usual_tasks(users: u64) -> u64 {
    users.div_ceil(USERS_OF_A_TASK).max(1)
}

impl Workload {
    /// So many users in good health, none of whom is a tenant's member, with their tenants' documents.
    #[must_use]
    pub(crate) fn expected(users: u64, every: Duration, tasks: u64) -> Self {
        let further = tasks.saturating_sub(1);
        let of_pass = |first: u64, each: u64| first.saturating_add(further.saturating_mul(each));
        let twice = users.saturating_mul(2);
        Self {
            users,
            synced: users,
            every,
            repeats: None,
            tasks,
            duration: LEAST_BILLED,
            reads: twice.saturating_add(of_pass(OF_A_PASS.0, OF_A_FURTHER_TASK.0)),
            writes: twice.saturating_add(of_pass(OF_A_PASS.1, OF_A_FURTHER_TASK.1)),
            accesses: users,
            logged: users,
            versions: users,
        }
    }

    /// What each service costs, largest first.
    #[must_use]
    pub(crate) fn bill(&self) -> Vec<Item> {
        let pulses = month().as_secs_f64() / self.every.as_secs_f64();
        let monthly = |number: u64| number as f64 * pulses;
        let [reads, writes] = [self.reads, self.writes].map(monthly);
        let accesses = monthly(self.accesses) * self.kept();
        let seconds = self.billed_seconds(pulses);
        let logs = monthly(self.logged) * LOG_BYTES_OF_A_USER / f64::from(1 << 30);
        let versions = self.versions as f64;
        let run = CPU_SECONDS.of(seconds) + GIB_SECONDS.of(seconds * GIB_OF_A_TASK);
        let item = |service, dollars, amount, unit| Item { service, dollars, amount, unit };
        let mut items = vec![
            item("Firestore reads", READS.of(reads), reads, "documents"),
            item("Firestore writes", WRITES.of(writes), writes, "documents"),
            item("Key accesses", ACCESSES.of(accesses), accesses, "accesses"),
            item("Stored keys", VERSIONS.of(versions), versions, "versions"),
            item("Cloud Run", run, seconds, "vCPU-seconds"),
            item("Logs", LOG_GIB.of(logs), logs, "GiB"),
        ];
        items.sort_by(|one, other| other.dollars.total_cmp(&one.dollars));
        items
    }

    /// All of it together.
    #[must_use]
    pub(crate) fn sum(&self) -> f64 {
        self.bill().iter().map(|item| item.dollars).sum()
    }

    /// What can be saved, most first, each by itself.
    #[must_use]
    pub(crate) fn savings(&self) -> Vec<Saving> {
        let sum = self.sum();
        let changed = [
            ("a loop: --every with --for=15m", self.in_a_loop()),
            ("--key-ttl=15m in that loop", self.with_keys_kept_longer()),
            ("a pulse every 5 minutes", Self { every: self.every.max(RARER), ..*self }),
            ("--legacy-tenant-path=off", self.without_tenants()),
            (
                "no log lines of healthy users",
                Self { logged: self.logged.saturating_sub(self.synced), ..*self },
            ),
            ("older keys destroyed", Self { versions: self.versions.min(self.users), ..*self }),
        ];
        let saving = |(setting, changed): (_, Self)| Saving { setting, dollars: sum - changed.sum() };
        let mut savings: Vec<_> = changed.into_iter().map(saving).collect();
        savings.retain(|saving| saving.dollars >= 0.005);
        savings.sort_by(|one, other| other.dollars.total_cmp(&one.dollars));
        savings
    }

    fn in_a_loop(&self) -> Self {
        Self { repeats: self.repeats.or(Some(USUAL_LOOP)), ..*self }
    }

    fn with_keys_kept_longer(&self) -> Self {
        let repeats =
            self.repeats.map(|repeats| Loop { key_ttl: repeats.key_ttl.max(USUAL_LOOP.length), ..repeats });
        Self { repeats, ..*self }
    }

    /// As far as the counts show that tenants' documents are written.
    fn without_tenants(&self) -> Self {
        if self.writes < self.synced.saturating_mul(2) {
            return *self;
        }
        let less = |number: u64| number.saturating_sub(self.synced);
        Self { reads: less(self.reads), writes: less(self.writes), ..*self }
    }

    /// The part of its pulses for which a user's keys are fetched.
    fn kept(&self) -> f64 {
        let Some(Loop { length, key_ttl }) = self.repeats else { return 1.0 };
        let pulses = (length.as_secs_f64() / self.every.as_secs_f64()).max(1.0);
        let fetches = length.as_secs_f64() / key_ttl.max(self.every).as_secs_f64();
        fetches.ceil().min(pulses) / pulses
    }

    fn billed_seconds(&self, pulses: f64) -> f64 {
        let most = month().as_secs_f64();
        let of_a_task = match self.repeats {
            Some(_) => most,
            None => (self.duration.max(LEAST_BILLED).as_secs_f64() * pulses).min(most),
        };
        self.tasks as f64 * of_a_task
    }
}

fn month() -> Duration {
    Duration::from_hours(24 * DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn dollars(workload: &Workload, service: &str) -> f64 {
        let bill = workload.bill();
        let found = bill.iter().find(|item| item.service == service).map(|item| item.dollars);
        (found.expect("a service") * 100.0).round() / 100.0
    }

    #[test]
    fn each_service_has_its_price_and_the_largest_comes_first() {
        let workload = Workload::expected(10_000, MINUTE, 1);
        for (service, expected) in [
            ("Firestore reads", 258.83),
            ("Firestore writes", 777.25),
            ("Key accesses", 1295.97),
            ("Stored keys", 599.64),
            ("Cloud Run", 44.03),
            ("Logs", 276.75),
        ] {
            let told = dollars(&workload, service);
            assert!((told - expected).abs() < 0.02, "{service}: {told}");
        }
        assert_eq!(workload.bill()[0].service, "Key accesses");
    }

    #[test]
    fn a_setting_saves_what_the_bill_is_less() {
        let workload = Workload::expected(10_000, MINUTE, 1);
        let saves = |workload: &Workload, setting: &str| {
            let savings = workload.savings();
            savings
                .iter()
                .find(|saving| saving.setting.contains(setting))
                .map(|saving| saving.dollars.round())
        };
        // 2 of 15 accesses, and Cloud Run as before.
        assert_eq!(saves(&workload, "a loop"), Some(1123.0));
        assert_eq!(saves(&workload, "legacy"), Some(518.0));
        assert_eq!(saves(&workload, "destroyed"), None, "there are none");
        let looped = Workload { repeats: Some(USUAL_LOOP), ..workload };
        assert_eq!((saves(&looped, "a loop"), saves(&looped, "key-ttl")), (None, Some(86.0)));
        let without = Workload { writes: 10_005, ..workload };
        assert_eq!(saves(&without, "legacy"), None, "it is off");
        let more = Workload { versions: 20_000, ..workload };
        assert_eq!(saves(&more, "destroyed"), Some(600.0));
    }

    #[test]
    fn no_month_has_more_seconds_than_it_has() {
        let slow = Workload { duration: 5 * MINUTE, ..Workload::expected(1, MINUTE, 2) };
        let run = slow.bill().into_iter().find(|item| item.service == "Cloud Run").expect("it");
        assert!((run.amount - 2.0 * 2_592_000.0).abs() < 1.0);
    }
}
