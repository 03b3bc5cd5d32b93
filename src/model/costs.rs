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

/// Reads of a loop's pulse besides: who has changed.
const NEWER_QUERY: u64 = 1;

/// With more users a loop reads all of them in every pulse.
const MOST_KEPT: u64 = 500_000;

/// How often a loop that runs for longer is started, to replace one that died.
const STARTED_EVERY: Duration = Duration::from_mins(15);

/// Pulses in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loop {
    /// How long one runs.
    pub(crate) length: Duration,
    /// How long it keeps keys.
    pub(crate) key_ttl: Duration,
    /// How long it keeps users.
    pub(crate) users_ttl: Duration,
    /// How long an unchanged snapshot stands.
    pub(crate) refresh: Duration,
}

/// For whom tenants' documents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TenantDocuments {
    Everybody,
    Members,
    Nobody,
}

/// One pulse, and how often it comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Workload {
    pub(crate) users: u64,
    /// Those of them who are synced.
    pub(crate) synced: u64,
    /// Those of them who have a tenant, and a membership.
    pub(crate) members: u64,
    pub(crate) tenant_documents: TenantDocuments,
    /// How many accounts of a hundred are others at each pulse.
    pub(crate) moving: u64,
    pub(crate) every: Duration,
    pub(crate) repeats: Option<Loop>,
    pub(crate) tasks: u64,
    /// How long the pulse takes.
    pub(crate) duration: Duration,
    /// Without a loop.
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Without a loop that keeps keys.
    pub(crate) accesses: u64,
    /// Whether there are lines of users in good health.
    pub(crate) has_healthy_lines: bool,
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

/// How many tasks a pulse over so many users takes to be done within a minute.
#[must_use]
pub(crate) fn usual_tasks(users: u64) -> u64 {
    users.div_ceil(USERS_OF_A_TASK).max(1)
}

impl Workload {
    /// So many users in good health, none of whom is a tenant's member, with their tenants' documents.
    #[must_use]
    pub(crate) fn expected(users: u64, every: Duration, tasks: u64) -> Self {
        let workload = Self {
            users,
            synced: users,
            members: 0,
            tenant_documents: TenantDocuments::Nobody,
            moving: 30,
            every,
            repeats: None,
            tasks,
            duration: LEAST_BILLED,
            reads: 0,
            writes: 0,
            accesses: users,
            has_healthy_lines: true,
            versions: users,
        };
        let (of_pass, of_users) = (workload.of_passes(), (users, users));
        let (reads, writes) = (of_pass.0.saturating_add(of_users.0), of_pass.1.saturating_add(of_users.1));
        Self { reads, writes, ..workload }.with_tenants(0, TenantDocuments::Everybody)
    }

    /// The same with so many members, and with these tenants' documents.
    #[must_use]
    pub(crate) fn with_tenants(self, members: u64, tenant_documents: TenantDocuments) -> Self {
        let then = Self { members, tenant_documents, ..self };
        let [before, after] = [&self, &then].map(|workload| (workload.of_tenants(), workload.documents()));
        let moved =
            |number: u64, before: u64, after: u64| number.saturating_sub(before).saturating_add(after);
        Self {
            reads: moved(self.reads, before.0, after.0),
            writes: moved(self.writes, before.1, after.1),
            ..then
        }
    }

    /// What each service costs, largest first.
    #[must_use]
    pub(crate) fn bill(&self) -> Vec<Item> {
        let pulses = month().as_secs_f64() / self.every.as_secs_f64();
        let reads = self.reads_of_a_pulse() * pulses;
        let writes = self.writes_of_a_pulse() * pulses;
        let keys_kept = self.repeats.map_or(1.0, |repeats| self.share(repeats, repeats.key_ttl));
        let accesses = self.accesses as f64 * pulses * keys_kept;
        let seconds = self.billed_seconds(pulses);
        let logged = if self.has_healthy_lines { self.users } else { self.users.saturating_sub(self.synced) };
        let logs = logged as f64 * pulses * LOG_BYTES_OF_A_USER / f64::from(1 << 30);
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

    /// Reads and writes of a pass beside its users.
    fn of_passes(&self) -> (u64, u64) {
        let further = self.tasks.saturating_sub(1);
        let of_all = |first: u64, each: u64| first.saturating_add(further.saturating_mul(each));
        (of_all(OF_A_PASS.0, OF_A_FURTHER_TASK.0), of_all(OF_A_PASS.1, OF_A_FURTHER_TASK.1))
    }

    /// Tenants' documents that are read, and written.
    fn documents(&self) -> u64 {
        match self.tenant_documents {
            TenantDocuments::Everybody => self.synced,
            TenantDocuments::Members => self.members.min(self.synced),
            TenantDocuments::Nobody => 0,
        }
    }

    /// Reads of tenants' documents and memberships.
    fn of_tenants(&self) -> u64 {
        let memberships = match self.tenant_documents {
            TenantDocuments::Nobody => 0,
            TenantDocuments::Everybody | TenantDocuments::Members => self.members,
        };
        self.documents().saturating_add(memberships)
    }

    fn reads_of_a_pulse(&self) -> f64 {
        let Some(repeats) = self.repeats else { return self.reads as f64 };
        let (of_pass, of_users) = (self.of_passes().0, self.users.saturating_add(self.of_tenants()));
        match self.users <= MOST_KEPT {
            true => {
                let pages = self.share(repeats, repeats.users_ttl);
                of_pass.saturating_add(NEWER_QUERY) as f64 + of_users as f64 * pages
            }
            false => of_pass as f64 + of_users as f64,
        }
    }

    fn writes_of_a_pulse(&self) -> f64 {
        let Some(repeats) = self.repeats else { return self.writes as f64 };
        let moving = self.moving.min(100) as f64 / 100.0;
        let written = moving + (1.0 - moving) * self.share(repeats, repeats.refresh);
        self.of_passes().1 as f64 + self.synced.saturating_add(self.documents()) as f64 * written
    }

    /// The part of a loop's pulses in which that is done what it then keeps for so long: in the first, and whenever the
    /// time is over.
    fn share(&self, Loop { length, .. }: Loop, kept_for: Duration) -> f64 {
        let in_pulses = |time: Duration| (time.as_secs_f64() / self.every.as_secs_f64()).ceil().max(1.0);
        let pulses = in_pulses(length);
        (pulses / in_pulses(kept_for)).ceil() / pulses
    }

    fn billed_seconds(&self, pulses: f64) -> f64 {
        let most = month().as_secs_f64();
        let of_a_task = match self.repeats {
            Some(Loop { length, .. }) => most + self.billed_for_starts(length),
            None => (self.duration.max(LEAST_BILLED).as_secs_f64() * pulses).min(most),
        };
        self.tasks as f64 * of_a_task
    }

    /// Starts that find the loop and leave it, and the one that waits for its end.
    fn billed_for_starts(&self, length: Duration) -> f64 {
        if length <= STARTED_EVERY {
            return 0.0;
        }
        let in_month = |time: Duration| month().as_secs_f64() / time.as_secs_f64();
        in_month(STARTED_EVERY) * LEAST_BILLED.as_secs_f64() + in_month(length) * STARTED_EVERY.as_secs_f64()
    }
}

fn month() -> Duration {
    Duration::from_hours(24 * DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    const USUAL_LOOP: Loop = Loop {
        length: Duration::from_mins(23 * 60 + 45),
        key_ttl: Duration::from_hours(1),
        users_ttl: Duration::from_mins(10),
        refresh: Duration::from_mins(3),
    };

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
    fn tenants_documents_are_read_and_written_for_whom_they_are() {
        let workload = Workload::expected(1_000, MINUTE, 1);
        for (documents, reads, writes) in [
            (TenantDocuments::Everybody, 2_131, 2_005),
            (TenantDocuments::Members, 1_256, 1_130),
            (TenantDocuments::Nobody, 1_006, 1_005),
        ] {
            let with = workload.with_tenants(125, documents);
            assert_eq!((with.reads, with.writes), (reads, writes), "{documents:?}");
        }
        let back =
            workload.with_tenants(125, TenantDocuments::Members).with_tenants(0, TenantDocuments::Everybody);
        assert_eq!(back, workload);
    }

    /// A loop of 10,000 users, every eighth with a tenant, of whose accounts 30 % move.
    #[test]
    fn a_loop_costs_what_its_settings_leave() {
        let looped = |refresh| Workload {
            repeats: Some(Loop { refresh, ..USUAL_LOOP }),
            has_healthy_lines: false,
            ..Workload::expected(10_000, MINUTE, 1).with_tenants(1_250, TenantDocuments::Members)
        };
        for (refresh, writes, most) in [(15 * MINUTE, 151.0, 260.0), (3 * MINUTE, 233.0, 330.0)] {
            let workload = looped(refresh);
            for (service, expected) in [
                ("Firestore reads", 15.9),
                ("Firestore writes", writes),
                ("Key accesses", 21.8),
                ("Stored keys", 599.6),
                ("Cloud Run", 47.8),
                ("Logs", 0.0),
            ] {
                let told = dollars(&workload, service);
                assert!((told - expected).abs() < 0.6, "{refresh:?} {service}: {told}");
            }
            let without_keys = workload.sum() - dollars(&workload, "Stored keys");
            assert!(without_keys <= most, "{refresh:?}: {without_keys}");
        }
    }

    #[test]
    fn what_is_kept_is_fetched_in_the_first_pulse_and_whenever_its_time_is_over() {
        let workload = Workload::expected(1, MINUTE, 1);
        for (length, kept_for, expected) in [
            (15, 10 * MINUTE, 2.0 / 15.0),
            (15, 15 * MINUTE, 1.0 / 15.0),
            (15, 60 * MINUTE, 1.0 / 15.0),
            (15, Duration::ZERO, 1.0),
            (1_425, 60 * MINUTE, 24.0 / 1_425.0),
            (1_440, Duration::from_secs(90), 0.5),
        ] {
            let repeats = Loop { length: length * MINUTE, ..USUAL_LOOP };
            let share = workload.share(repeats, kept_for);
            assert!((share - expected).abs() < 1e-9, "{length} {kept_for:?}: {share}");
        }
    }

    #[test]
    fn no_month_has_more_seconds_than_it_has() {
        let slow = Workload { duration: 5 * MINUTE, ..Workload::expected(1, MINUTE, 2) };
        let run = slow.bill().into_iter().find(|item| item.service == "Cloud Run").expect("it");
        assert!((run.amount - 2.0 * 2_592_000.0).abs() < 1.0);
    }
}
