//! The command line of `pulse cost`.

use crate::config::choices::{Readers, TenantPath, UserLines};
use crate::config::freshness::usual_refresh;
use crate::config::operator_args::OperatorArgs;
use clap::Args;
use humantime::parse_duration;
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

/// The longest time between pulses.
const MOST_BETWEEN: Duration = Duration::from_hours(24);

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
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = interval, help_heading = WORKLOAD)]
    pub(crate) every: Duration,

    /// In a loop that runs so long, such as 23h45m
    #[arg(long = "for", value_name = "TIME", value_parser = interval, help_heading = WORKLOAD)]
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
    /// Without it one, and with --users one for each 50,000 users.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000),
          help_heading = WORKLOAD)]
    pub(crate) tasks: Option<u64>,

    /// Versions of keys that are not destroyed
    ///
    /// Without it one a user. `pulse keys list` counts them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000_000_000),
          help_heading = WORKLOAD)]
    pub(crate) versions: Option<u64>,

    #[command(flatten)]
    pub(crate) common: OperatorArgs,
}

impl CostArgs {
    /// How long an unchanged snapshot stands in a loop.
    #[must_use]
    pub(crate) fn refresh(&self) -> Duration {
        self.refresh_unchanged.unwrap_or_else(|| usual_refresh(self.readers, self.every))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|err| format!("{err}: use a time such as 60s"))?;
    let is_usable = (Duration::from_secs(1)..=MOST_BETWEEN).contains(&time);
    is_usable.then_some(time).ok_or_else(|| "use a time from 1s to 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_second_to_a_day() {
        for (given, usable) in
            [("1s", true), ("24h", true), ("999ms", false), ("25h", false), ("60", false), ("", false)]
        {
            assert_eq!(interval(given).is_ok(), usable, "{given}");
        }
    }
}
