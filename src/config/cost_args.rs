//! The command line of `pulse cost`.

use crate::config::choices::{Readers, TenantPath, UserLines};
use crate::config::error::ConfigError;
use crate::config::operator_args::OperatorArgs;
use crate::config::repeat::{EVERY_OUT_OF_RANGE, LoopAsked, Repeat, is_interval};
use clap::Args;
use humantime::parse_duration;
use std::num::NonZeroU32;
use std::time::Duration;

const WORKLOAD: &str = "What is counted";

pub(crate) const COST_CODES: &str = "\
Examples:
  pulse cost                              this deployment, by its last pulse
  pulse cost --every=60s --for=23h45m     the same, in a loop
  pulse cost --users=10000 --every=5m     a deployment that there is not

Exit codes:
  0  told
  1  could not look
  2  bad usage or configuration";

/// As many users as `pulse sync` keeps, unless it says otherwise.
const USUALLY_KEPT: usize = 500_000;

/// What `pulse cost` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct CostArgs {
    /// Estimate it for so many users in good health
    ///
    /// Otherwise the counts of ops/last_pulse are taken, at one read. With this nothing is read.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000),
          help_heading = WORKLOAD)]
    pub(crate) users: Option<u64>,

    /// How often there is a pulse
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration, help_heading = WORKLOAD)]
    pub(crate) every: Duration,

    /// In a loop that runs so long, such as 23h45m
    ///
    /// With settings that `pulse sync` refuses there is no bill either.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, help_heading = WORKLOAD)]
    pub(crate) length: Option<Duration>,

    /// How long the loop keeps a user's keys
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration,
          help_heading = WORKLOAD)]
    pub(crate) key_ttl: Duration,

    /// How long the loop keeps the users
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration,
          help_heading = WORKLOAD)]
    pub(crate) users_ttl: Duration,

    /// Age at which the loop rewrites what has not changed
    ///
    /// Without it 180s, less where --every is above 60s, or 15m with --readers=fresh-until.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = WORKLOAD)]
    pub(crate) refresh_unchanged: Option<Duration>,

    /// What readers go by: 300s or fresh-until
    #[arg(long, value_name = "READERS", default_value = "300s", hide_possible_values = true,
          help_heading = WORKLOAD)]
    pub(crate) readers: Readers,

    /// Of 100 accounts those that change from pulse to pulse
    ///
    /// They are written at every pulse of a loop. While markets are closed hardly any does.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=100),
          help_heading = WORKLOAD)]
    pub(crate) moving: u64,

    /// Users who have a tenant, and a membership
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = WORKLOAD)]
    pub(crate) members: u64,

    /// Tenants' documents: on, members or off
    ///
    /// Without it what the last pulse wrote, and with --users on.
    #[arg(long, value_name = "WHOSE", hide_possible_values = true, help_heading = WORKLOAD)]
    pub(crate) legacy_tenant_path: Option<TenantPath>,

    /// Lines about single users: all, changed or failed
    #[arg(long, value_name = "LINES", default_value = "all", hide_possible_values = true,
          help_heading = WORKLOAD)]
    pub(crate) user_lines: UserLines,

    /// Tasks of the job
    ///
    /// Without it one, and with --users, but without --for, one for each 50,000 users.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000),
          help_heading = WORKLOAD)]
    pub(crate) tasks: Option<u32>,

    /// Versions of keys that are not destroyed
    ///
    /// Without it one a user. `pulse keys list` counts them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000_000_000),
          help_heading = WORKLOAD)]
    pub(crate) versions: Option<u64>,

    #[command(flatten)]
    pub(crate) common: OperatorArgs,
}

/// What `pulse cost` counts: only what `pulse sync` takes.
#[derive(Clone, Debug)]
pub(crate) struct CostSettings {
    /// As they were typed.
    pub(crate) args: CostArgs,
    /// How the pulse is repeated in one process, if it is.
    pub(crate) repeat: Option<Repeat>,
}

impl CostSettings {
    /// The settings, or everything that is wrong with them, in the words of `pulse sync`.
    pub(crate) fn parse(args: CostArgs) -> Result<Self, ConfigError> {
        let mut wrong = Vec::new();
        if args.users.is_some_and(|users| args.members > users) {
            wrong.push("--members must be --users at most: they are some of them".to_owned());
        }
        let repeat = match args.length {
            Some(_) => Repeat::parse(&args.loop_asked(), args.task_count(), &mut wrong),
            None if is_interval(args.every) => None,
            None => {
                wrong.push(EVERY_OUT_OF_RANGE.to_owned());
                None
            }
        };
        ConfigError::unless_none(wrong)?;
        Ok(Self { args, repeat })
    }
}

impl CostArgs {
    /// The loop as `pulse sync` has it.
    fn loop_asked(&self) -> LoopAsked {
        LoopAsked {
            every: Some(self.every),
            length: self.length,
            key_ttl: self.key_ttl,
            refresh_unchanged: self.refresh_unchanged,
            readers: self.readers,
            users_ttl: self.users_ttl,
            kept_users: USUALLY_KEPT,
        }
    }

    fn task_count(&self) -> NonZeroU32 {
        self.tasks.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// `pulse cost`, as far as its options go.
    #[derive(Parser)]
    struct Cost {
        #[command(flatten)]
        args: CostArgs,
    }

    fn parsed(flags: &str) -> Result<CostSettings, ConfigError> {
        let Cost { args } = Cost::parse_from(["cost"].into_iter().chain(flags.split_whitespace()));
        CostSettings::parse(args)
    }

    #[test]
    fn what_sync_refuses_has_no_price() {
        for (flags, reason) in [
            ("", ""),
            ("--every=24h", ""),
            ("--every=999ms", "--every must be from 1s to 24h"),
            ("--every=25h", "--every must be from 1s to 24h"),
            ("--every=25h --for=25h", "--every must be from 1s to 24h; --for must be from 1s to 24h"),
            ("--for=23h45m", ""),
            ("--every=5m --for=23h45m", ""),
            (
                "--every=5m --for=23h45m --refresh-unchanged=15m --readers=fresh-until",
                "--every must be 240s at most",
            ),
            (
                "--for=23h45m --refresh-unchanged=15m",
                "--refresh-unchanged and --every must be 240s at most together",
            ),
            ("--for=23h45m --refresh-unchanged=15m --readers=fresh-until", ""),
            ("--for=23h45m --users-ttl=1h --key-ttl=24h", ""),
            ("--for=23h45m --users-ttl=5h", "--users-ttl must be 1h at most"),
            ("--for=23h45m --key-ttl=48h", "--key-ttl must be 24h at most"),
            ("--for=23h45m --tasks=1", ""),
            ("--for=23h45m --tasks=5", "--every repeats the pulse in one process"),
            ("--tasks=5", ""),
            // They mean nothing without a loop, as to `sync`.
            ("--users-ttl=5h --key-ttl=48h --refresh-unchanged=15m", ""),
            ("--users=10 --members=10", ""),
            ("--members=10", ""),
            ("--users=10 --members=11", "--members must be --users at most"),
            (
                "--users=10 --members=11 --every=25h",
                "--members must be --users at most: they are some of them; --every",
            ),
        ] {
            let refusal = parsed(flags).err().map(|err| err.to_string()).unwrap_or_default();
            assert!(
                refusal.starts_with(reason) && refusal.is_empty() == reason.is_empty(),
                "{flags}: {refusal}"
            );
        }
    }

    #[test]
    fn an_unchanged_snapshot_stands_as_long_as_it_does_in_sync() {
        for (flags, seconds) in [
            ("--for=1h", Some(180)),
            ("--for=1h --every=90s", Some(150)),
            ("--for=1h --every=5m", Some(0)),
            ("--for=1h --readers=fresh-until", Some(900)),
            ("--for=1h --refresh-unchanged=1m", Some(60)),
            ("--refresh-unchanged=1m", None),
        ] {
            let repeat = parsed(flags).expect("usable").repeat;
            assert_eq!(repeat.map(|repeat| repeat.refresh_unchanged.as_secs()), seconds, "{flags}");
        }
    }
}
