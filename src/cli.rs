//! The command line. Every flag has an environment variable; the flag wins.

use crate::pace::SECRET_ACCESSES_PER_MINUTE;
use clap::{Args, Parser, Subcommand, ValueEnum};
use humantime::parse_duration;
use std::num::NonZeroU32;
use std::time::Duration;

/// Keeps a fresh snapshot of every user's Alpaca account in Firestore.
///
/// One pulse is one pass over all users: users (Firestore) -> keys (Secret Manager) -> account
/// (Alpaca) -> snapshot (Firestore). `pulse` alone means `pulse sync`.
#[derive(Debug, Parser)]
#[command(name = "pulse", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; nothing means `sync`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `sync`, for `pulse` alone.
    #[command(flatten)]
    pub sync: SyncArgs,
}

const EXIT_CODES: &str = "Exit codes:
  0    the pass completed (some users may have failed: see the log and ops/last_pulse)
  1    the pass failed: users could not be read, nobody was synced (and somebody failed, or the last
       success is less than 24 h ago), or --deadline came before all users were reached
  2    bad usage or configuration, nothing was touched
  143  stopped by SIGTERM after finishing what was in flight (130: by SIGINT)

Standard variables: FIRESTORE_EMULATOR_HOST, SECRET_MANAGER_EMULATOR_HOST (host:port),
APCA_API_BASE_URL, APCA_API_KEY_ID + APCA_API_SECRET_KEY + TENANT_ID (legacy single account),
PULSE_ALLOW_INSECURE_ENDPOINTS, CLOUD_RUN_*, RUST_LOG, NO_COLOR.";

/// The commands of `pulse`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One pass over all users (the default)
    #[command(after_help = EXIT_CODES)]
    Sync(SyncArgs),
    /// Serve a local cloud on loopback: a Firestore, a Secret Manager and an Alpaca
    #[cfg(feature = "sandbox")]
    Sandbox(crate::sandbox::command::SandboxArgs),
    /// Run one pulse against a local cloud in this process, and show what it wrote
    #[cfg(feature = "sandbox")]
    Demo,
}

/// The options of one pass.
#[derive(Args, Clone, Debug)]
pub struct SyncArgs {
    /// Google Cloud project of the users and their secrets [env: GCP_PROJECT, then GCLOUD_PROJECT,
    /// then GOOGLE_CLOUD_PROJECT]
    #[arg(long, value_name = "ID")]
    pub project: Option<String>,

    /// Firestore database
    #[arg(long, value_name = "ID", env = "PULSE_DATABASE", default_value = "(default)")]
    pub database: String,

    /// Users synced at the same time, 1 to 1024
    #[arg(long, value_name = "N", env = "PULSE_CONCURRENCY", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,

    /// Sync only this user (repeat for more), with the newest keys, whatever is known of them; runs beside
    /// a scheduled pulse and leaves ops/last_pulse alone [env: PULSE_USERS=, with commas between the ids]
    #[arg(long = "user", value_name = "ID")]
    pub users: Vec<String>,

    /// Sync only the users whose documents have this value, such as has_active_strategy=true; the
    /// others cost nothing (repeat for more, all must hold; not with --user) [env: PULSE_WHERE=, with
    /// commas between]
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub conditions: Vec<String>,

    /// Start the users evenly over this time, such as 40s, rather than as fast as possible
    #[arg(long, value_name = "TIME", env = "PULSE_SPREAD", value_parser = spread)]
    pub spread: Option<Duration>,

    /// Be done this long after the start: 10 s earlier no new user is started. Exits with 1 if users
    /// were not reached
    #[arg(long, value_name = "TIME", env = "PULSE_DEADLINE", value_parser = deadline)]
    pub deadline: Option<Duration>,

    /// Secrets accessed a minute, by all tasks together; Google's quota is 90000
    #[arg(long, value_name = "N", env = "PULSE_SECRET_ACCESSES_PER_MINUTE", default_value_t = SECRET_ACCESSES_PER_MINUTE,
          value_parser = rate)]
    pub secret_accesses_per_minute: NonZeroU32,

    /// Calls to Alpaca a second, by all tasks together, over all users
    #[arg(long, value_name = "N", env = "PULSE_ALPACA_CALLS_PER_SECOND", value_parser = rate)]
    pub alpaca_calls_per_second: Option<NonZeroU32>,

    /// Documents written to Firestore a second, by all tasks together
    #[arg(long, value_name = "N", env = "PULSE_MAX_WRITES_PER_SECOND", value_parser = rate)]
    pub max_writes_per_second: Option<NonZeroU32>,

    /// Write to a new database as Firestore asks for: 500 documents a second at first, half as many
    /// more every 5 minutes
    #[arg(long, env = "PULSE_RAMP_WRITES", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub ramp_writes: bool,

    /// Fetch and check everything, write nothing
    #[arg(long, env = "PULSE_DRY_RUN", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub dry_run: bool,

    /// Also write tenants/{tenant}/accounts/primary
    #[arg(long, env = "PULSE_LEGACY_TENANT_PATH", default_value = "on")]
    pub legacy_tenant_path: OnOff,

    /// Keep Alpaca's whole answer in the snapshot's `raw` field
    #[arg(long, env = "PULSE_STORE_RAW", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub store_raw: bool,

    /// Repeat the pulse in one process, so often: from the start of one to the start of the next, such as 60s;
    /// takes --for
    #[arg(long, env = "PULSE_EVERY", value_name = "TIME", value_parser = parse_duration)]
    pub every: Option<Duration>,

    /// How long to repeat it: no pulse starts once so much time has passed since the process started. The exit
    /// code is that of the last pulse
    #[arg(long = "for", env = "PULSE_FOR", value_name = "TIME", value_parser = parse_duration)]
    pub length: Option<Duration>,

    /// With --every: how long a user's keys are kept in memory; 0s fetches them for every pulse, as --user does
    #[arg(long, env = "PULSE_KEY_TTL", value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub key_ttl: Duration,

    /// With --every: the age at which the snapshot of an unchanged account is rewritten; 0s rewrites all
    #[arg(long, env = "PULSE_REFRESH_UNCHANGED", value_name = "TIME", default_value = "120s",
          value_parser = parse_duration)]
    pub refresh_unchanged: Duration,

    /// How to log; auto is text on a terminal and JSON for Cloud Logging elsewhere
    #[arg(long, env = "PULSE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// Exit with 1 if any user failed
    #[arg(long, env = "PULSE_FAIL_ON_ERROR", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub fail_on_error: bool,
}

impl Default for SyncArgs {
    /// What `pulse` alone does with no variable set.
    fn default() -> Self {
        Self {
            project: None,
            database: "(default)".into(),
            concurrency: 64,
            users: Vec::new(),
            conditions: Vec::new(),
            spread: None,
            deadline: None,
            secret_accesses_per_minute: SECRET_ACCESSES_PER_MINUTE,
            alpaca_calls_per_second: None,
            max_writes_per_second: None,
            ramp_writes: false,
            dry_run: false,
            legacy_tenant_path: OnOff::On,
            store_raw: false,
            every: None,
            length: None,
            key_ttl: Duration::from_mins(10),
            refresh_unchanged: Duration::from_secs(120),
            log_format: LogFormat::Auto,
            fail_on_error: false,
        }
    }
}

/// Beyond what any of the services allows: whoever writes more has mistaken the unit.
const MAX_RATE: u32 = 10_000_000;

/// A pass that spreads its users over more than this is not one that keeps them fresh.
const MAX_SPREAD: Duration = Duration::from_secs(60 * 60);

/// Longest that Cloud Run lets a task run.
const MAX_DEADLINE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A switch that is spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Yes.
    On,
    /// No.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One object a line, in Cloud Logging's structured form.
    Json,
    /// For people.
    Text,
    /// Text on a terminal, JSON elsewhere.
    Auto,
}

/// A yes or no as people write it in environment variables; set to nothing means no.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("use true or false".into()),
    }
}

/// A limit: a whole number above 0.
fn rate(text: &str) -> Result<NonZeroU32, String> {
    let rate = text.parse().ok().filter(|rate: &NonZeroU32| rate.get() <= MAX_RATE);
    rate.ok_or_else(|| format!("use a whole number from 1 to {MAX_RATE}"))
}

fn spread(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), MAX_SPREAD)
}

fn deadline(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_secs(1), MAX_DEADLINE)
}

/// A time with its unit.
fn time(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|err| format!("{err}: use a time such as 40s"))?;
    if time < least || time > most {
        let [least, most] = [least, most].map(humantime::format_duration);
        return Err(format!("use a time from {least} to {most}"));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pulse_alone_means_pulse_sync() {
        let alone = Cli::try_parse_from(["pulse", "--user", "ana", "--user", "ben,cy"]).expect("usable");
        assert!(alone.command.is_none());
        assert_eq!(alone.sync.users, ["ana", "ben,cy"]);
        let sync = Cli::try_parse_from(["pulse", "sync", "--dry-run"]).expect("usable");
        assert!(matches!(sync.command, Some(Command::Sync(SyncArgs { dry_run: true, .. }))));
    }

    #[test]
    fn the_concurrency_is_bounded() {
        for (given, usable) in
            [("0", false), ("1", true), ("1024", true), ("1025", false), ("-1", false), ("x", false)]
        {
            let args = Cli::try_parse_from(["pulse", &format!("--concurrency={given}")]);
            assert_eq!(args.is_ok(), usable, "{given}");
        }
    }

    #[test]
    fn pulse_alone_has_the_defaults_of_the_command_line() {
        let parsed = Cli::try_parse_from(["pulse"]).expect("usable").sync;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", SyncArgs::default()));
    }

    #[test]
    fn limits_and_times_are_bounded() {
        let usable = |arg: &str| Cli::try_parse_from(["pulse", arg]).is_ok();
        for flag in ["secret-accesses-per-minute", "alpaca-calls-per-second", "max-writes-per-second"] {
            for (given, expected) in [
                ("1", true),
                ("10000000", true),
                ("10000001", false),
                ("0", false),
                ("-1", false),
                ("1.5", false),
                ("", false),
                ("many", false),
            ] {
                assert_eq!(usable(&format!("--{flag}={given}")), expected, "{flag} {given}");
            }
        }
        for (given, spread, deadline) in [
            ("40s", true, true),
            ("1m 30s", true, true),
            ("500ms", true, false),
            ("1h", true, true),
            ("61m", false, true),
            ("7days", false, true),
            ("8days", false, false),
            ("0s", false, false),
            ("0", false, false),
            ("-5s", false, false),
            ("40", false, false),
            ("", false, false),
            ("soon", false, false),
            ("99999999999999999999s", false, false),
        ] {
            assert_eq!(usable(&format!("--spread={given}")), spread, "spread {given}");
            assert_eq!(usable(&format!("--deadline={given}")), deadline, "deadline {given}");
        }
    }

    #[test]
    fn a_switch_takes_the_usual_words() {
        for (text, value) in
            [("1", true), ("TRUE", true), ("on", true), ("", false), ("0", false), ("No", false)]
        {
            assert_eq!(switch(text), Ok(value), "{text:?}");
        }
        assert!(switch("flase").is_err());
    }
}
