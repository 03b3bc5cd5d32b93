//! The command line of `pulse cost`.

use crate::config::operator_args::OperatorArgs;
use clap::Args;
use humantime::parse_duration;
use std::time::Duration;

const WORKLOAD: &str = "What is counted";

pub(crate) const COST_CODES: &str = "\
Examples:
  pulse cost                              this deployment, by its last pulse
  pulse cost --every=60s --for=15m        the same, in a loop
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

    /// In a loop that runs so long, such as 15m
    #[arg(long = "for", value_name = "TIME", value_parser = interval, help_heading = WORKLOAD)]
    pub(crate) length: Option<Duration>,

    /// How long the loop keeps a user's keys
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration,
          help_heading = WORKLOAD)]
    pub(crate) key_ttl: Duration,

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
