//! The configuration of one pass: a pure function of the command line and the environment. One file for each concern.

pub(crate) mod args;
pub(crate) mod choices;
pub(crate) mod cost_args;
pub(crate) mod doctor_args;
mod endpoints;
mod error;
mod execution;
pub(crate) mod filter;
pub(crate) mod freshness;
pub(crate) mod keys_args;
mod legacy_account;
mod metrics;
pub(crate) mod migrate_args;
pub(crate) mod operator_args;
mod place;
mod rate_limit;
pub(crate) mod repeat;
mod selection;
mod times;
pub(crate) mod user_args;
pub(crate) mod variables;

pub(crate) use crate::config::endpoints::{AdminApi, Endpoints};
pub(crate) use crate::config::error::ConfigError;
pub(crate) use crate::config::execution::Execution;
pub(crate) use crate::config::legacy_account::LegacyAccount;
pub(crate) use crate::config::metrics::MetricsTarget;
pub(crate) use crate::config::place::Place;

use crate::config::args::SyncArgs;
use crate::config::choices::{TenantPath, UserLines};
use crate::config::error::keep;
use crate::config::filter::UserFilter;
use crate::config::repeat::{LoopAsked, Repeat};
use crate::limits::rate::{Budgets, SECRET_CALLS_PER_MINUTE};
use crate::model::equity_slot::EquitySlots;
use crate::model::ids::Database;
use crate::model::past::READERS_CALL_STALE_AFTER;
use crate::model::selection::Selection;
use jiff::SignedDuration;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// A configuration that can be run.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where users and secrets are. `--project` and `--database`.
    pub(crate) database: Database,
    /// Users synced at the same time. `--concurrency`.
    pub(crate) concurrency: NonZeroUsize,
    /// Who is synced. `--user`, else everybody.
    pub(crate) selection: Selection,
    /// Which of all users take part. `--where`.
    pub(crate) filter: UserFilter,
    /// The time over which the users are started, if not as fast as possible. `--spread`.
    pub(crate) spread: Option<Duration>,
    /// The time from the start in which the pass has to be done. `--deadline`.
    pub(crate) deadline: Option<Duration>,
    /// How fast the services may be called, by all tasks together.
    pub(crate) budgets: Budgets,
    /// Write nothing. `--dry-run`.
    pub(crate) dry_run: bool,
    /// Compare what is not written with what is stored. `--diff`.
    pub(crate) diff: bool,
    /// For whom the tenants' documents are written. `--legacy-tenant-path`.
    pub(crate) legacy_tenant_path: TenantPath,
    /// The slots in which each user's equity is kept, if it is. `--equity-history`.
    pub(crate) equity_history: Option<EquitySlots>,
    /// Keep whole answers. `--store-raw`.
    pub(crate) store_raw: bool,
    /// Which lines about single users are logged. `--user-lines`.
    pub(crate) user_lines: UserLines,
    /// Read each user's snapshot, to know their account. `--pin-accounts`.
    pub(crate) pin_accounts: bool,
    /// Replacements of the services' own addresses.
    pub(crate) endpoints: Endpoints,
    /// Who gets a pass's metrics, if anybody. `OTEL_EXPORTER_OTLP_ENDPOINT` and the like, `PULSE_METRICS`.
    pub(crate) metrics: Option<MetricsTarget>,
    /// The single account of old deployments. `APCA_API_KEY_ID` and `APCA_API_SECRET_KEY`.
    pub(crate) legacy_account: Option<Arc<LegacyAccount>>,
    /// How the pulse is repeated, if it is. `--every`, `--for`, `--key-ttl`, `--refresh-unchanged`, `--readers`.
    pub(crate) repeat: Option<Repeat>,
    /// Which run this is; of a loop, the first.
    pub(crate) execution: Execution,
}

impl Config {
    /// Checks everything and reports everything that is wrong at once. `environment` is what its variables are set
    /// to; one that is empty counts as not set.
    pub(crate) fn new(
        args: &SyncArgs,
        environment: impl Fn(&str) -> Option<String>,
        execution: Execution,
    ) -> Result<Self, ConfigError> {
        let lookup = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut wrong = Vec::new();
        let database = keep(&mut wrong, place::database((args.project.as_deref(), &args.database), &lookup));
        let selection = keep(&mut wrong, selection::selection(&args.users, &lookup));
        let filter = keep(&mut wrong, selection::filter(args, &lookup));
        wrong.extend(times::misfits(args).map(str::to_owned));
        wrong.extend(undone_diff(args).map(str::to_owned));
        let endpoints = Endpoints::from_lookup(&environment, &mut wrong);
        let metrics = keep(&mut wrong, MetricsTarget::from_lookup(lookup)).flatten();
        let legacy_account = keep(&mut wrong, LegacyAccount::from_lookup(&lookup)).flatten().map(Arc::new);
        let repeat = Repeat::parse(&loop_asked(args), execution.task_count, &mut wrong);
        let (Some(database), Some(selection), Some(filter), true) =
            (database, selection, filter, wrong.is_empty())
        else {
            return Err(ConfigError(wrong));
        };
        Ok(Self {
            database,
            concurrency: NonZeroUsize::new(args.concurrency.into()).unwrap_or(NonZeroUsize::MIN),
            selection,
            filter,
            spread: args.spread,
            deadline: args.deadline,
            budgets: budgets(args),
            dry_run: args.dry_run,
            diff: args.diff,
            legacy_tenant_path: args.legacy_tenant_path,
            equity_history: args.equity_history,
            store_raw: args.store_raw,
            user_lines: args.user_lines,
            pin_accounts: args.pin_accounts,
            endpoints,
            metrics,
            legacy_account,
            repeat,
            execution,
        })
    }

    /// Whether this is a pass over all users, rather than over some that a person named.
    #[must_use]
    pub(crate) fn takes_everybody(&self) -> bool {
        matches!(self.selection, Selection::Round(_))
    }

    /// How long a snapshot may stand as it is: that is what its `fresh_until` promises.
    #[must_use]
    pub(crate) fn stands_for(&self) -> SignedDuration {
        self.repeat.as_ref().map_or(READERS_CALL_STALE_AFTER, Repeat::stands_for)
    }

    /// What kind of pass it is, for those who count the passes in the log: a person's own run proves
    /// nothing about the schedule.
    #[must_use]
    pub(crate) fn scope(&self) -> &'static str {
        match (self.dry_run, self.takes_everybody()) {
            (true, _) => "dry run",
            (false, true) => "all users",
            (false, false) => "named users",
        }
    }
}

/// Why nothing could be compared, if so.
fn undone_diff(args: &SyncArgs) -> Option<&'static str> {
    let is_usable = !args.diff || (args.dry_run && args.every.is_none());
    (!is_usable).then_some("--diff says what a dry run would change: it takes --dry-run, and no --every")
}

fn loop_asked(args: &SyncArgs) -> LoopAsked {
    LoopAsked {
        every: args.every,
        length: args.length,
        key_ttl: args.key_ttl,
        refresh_unchanged: args.refresh_unchanged,
        readers: args.readers,
        users_ttl: args.users_ttl,
        kept_users: args.kept_users,
    }
}

fn budgets(args: &SyncArgs) -> Budgets {
    Budgets {
        secret_accesses_per_minute: args.secret_accesses_per_minute,
        secret_calls_per_minute: SECRET_CALLS_PER_MINUTE,
        alpaca_calls_per_second: args.alpaca_calls_per_second,
        max_writes_per_second: args.max_writes_per_second,
        ramp_writes: args.ramp_writes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use jiff::Timestamp;

    /// `pulse sync`, as far as its options go.
    #[derive(Parser)]
    struct Sync {
        #[command(flatten)]
        args: SyncArgs,
    }

    fn config(flags: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let Sync { args } = Sync::parse_from(["sync"].iter().chain(flags));
        let lookup =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Config::new(&args, lookup, Execution::from_lookup(lookup, Timestamp::UNIX_EPOCH)?)
    }

    fn refusal(flags: &[&str], variables: &[(&str, &str)]) -> String {
        config(flags, variables).expect_err("refused").to_string()
    }

    #[test]
    fn the_project_comes_from_the_flag_or_the_first_variable_set() {
        let all = [("GOOGLE_CLOUD_PROJECT", "c"), ("GCLOUD_PROJECT", "b"), ("GCP_PROJECT", "a")];
        let project =
            |flags: &[&str], set: &[_]| config(flags, set).expect("usable").database.project.to_string();
        assert_eq!(project(&["--project", "flag"], &all), "flag");
        assert_eq!([project(&[], &all), project(&[], &all[..2]), project(&[], &all[..1])], ["a", "b", "c"]);
        assert_eq!(refusal(&[], &[]), "Missing GCP_PROJECT or GCLOUD_PROJECT environment variable");
        assert_eq!(
            refusal(&[], &[("GCP_PROJECT", "")]),
            "Missing GCP_PROJECT or GCLOUD_PROJECT environment variable"
        );
    }

    #[test]
    fn everything_that_is_wrong_is_reported_at_once() {
        let message = refusal(
            &["--user", "a/b"],
            &[("APCA_API_KEY_ID", "PK1"), ("APCA_API_BASE_URL", "http://example.com")],
        );
        for part in ["GCP_PROJECT", "--user", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn each_concern_has_its_part_in_the_whole() {
        let project = ("GCP_PROJECT", "p");
        let fits = |flags: &[&str]| config(flags, &[project]).is_ok();
        assert!(fits(&["--spread=40s", "--deadline=50s"]) && !fits(&["--spread=41s", "--deadline=50s"]));
        let named = config(&["--user", "ana"], &[project]).expect("usable");
        assert!(!named.takes_everybody() && config(&[], &[project]).expect("usable").takes_everybody());
        let keys = [project, ("APCA_API_KEY_ID", "PK1"), ("APCA_API_SECRET_KEY", "hush")];
        assert!(config(&[], &keys).expect("usable").legacy_account.is_some());
        assert_eq!(
            config(&["--where", "a=1"], &[project]).map(|config| config.filter),
            Ok(UserFilter::parse("a=1").expect("usable"))
        );
    }

    #[test]
    fn a_persons_own_run_is_told_from_a_scheduled_one() {
        for (flags, scope) in [
            (&[][..], "all users"),
            (&["--user", "ana"], "named users"),
            (&["--dry-run"], "dry run"),
            (&["--user", "ana", "--dry-run"], "dry run"),
        ] {
            assert_eq!(config(flags, &[("GCP_PROJECT", "p")]).expect("usable").scope(), scope, "{flags:?}");
        }
    }
}
