//! What is counted: a deployment that there is, by its last pulse, or one that there is not.

use crate::config::choices::{TenantPath, UserLines};
use crate::config::cost_args::CostSettings;
use crate::config::repeat::Repeat;
use crate::documents::pulse_view::PulseView;
use crate::model::costs::{Loop, TenantDocuments, Workload, usual_tasks};

/// So many users in good health. A loop is one process, however many they are.
#[must_use]
pub(super) fn as_estimated(settings: &CostSettings, users: u64) -> Workload {
    let CostSettings { args, repeat } = settings;
    let usual = || if repeat.is_some() { 1 } else { usual_tasks(users) };
    let expected = Workload::expected(users, args.every, args.tasks.map_or_else(usual, u64::from));
    as_asked(settings, expected, TenantPath::On)
}

/// What the last pulse used, for all that come. In a loop no pulse stands for the others, so of it only the users are
/// taken, and what they cost follows from the settings.
#[must_use]
pub(super) fn as_counted(
    settings: &CostSettings,
    PulseView { counts, used, duration, .. }: &PulseView,
) -> Workload {
    let (CostSettings { args, repeat }, users) = (settings, counts.users_count);
    let expected = Workload {
        synced: counts.success_count,
        duration: *duration,
        // The last pulse may be one that had them all.
        accesses: if repeat.is_some() { used.alpaca_calls } else { used.secret_accesses },
        ..Workload::expected(users, args.every, args.tasks.map_or(1, u64::from))
    };
    let writes_all = used.firestore_writes >= counts.success_count.saturating_mul(2);
    let found = match (repeat, writes_all) {
        (Some(_), _) | (None, true) => TenantPath::On,
        (None, false) => TenantPath::Off,
    };
    let asked = as_asked(settings, expected, found);
    match repeat {
        Some(_) => asked,
        None => Workload { reads: used.firestore_reads, writes: used.firestore_writes, ..asked },
    }
}

fn as_asked(CostSettings { args, repeat }: &CostSettings, workload: Workload, path: TenantPath) -> Workload {
    let documents = match args.legacy_tenant_path.unwrap_or(path) {
        TenantPath::On => TenantDocuments::Everybody,
        TenantPath::Members => TenantDocuments::Members,
        TenantPath::Off => TenantDocuments::Nobody,
    };
    Workload {
        repeats: repeat.as_ref().map(looped),
        versions: args.versions.unwrap_or(workload.versions),
        moving: args.moving,
        has_healthy_lines: args.user_lines == UserLines::All,
        ..workload.with_tenants(args.members.min(workload.users), documents)
    }
}

/// What of a loop is to be paid.
#[must_use]
pub(super) fn looped(Repeat { length, key_ttl, users_ttl, refresh_unchanged, .. }: &Repeat) -> Loop {
    Loop { length: *length, key_ttl: *key_ttl, users_ttl: *users_ttl, refresh: *refresh_unchanged }
}
