//! The command line. Every flag has an environment variable; the flag wins.

use clap::{Args, Parser, Subcommand, ValueEnum};
use humantime::parse_duration;
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
  1    the pass failed: users could not be read, or no user was synced and at least one failed
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

    /// Sync only this user (repeat for more); runs beside a scheduled pulse and leaves ops/last_pulse
    /// alone [env: PULSE_USERS=, with commas between the ids]
    #[arg(long = "user", value_name = "ID")]
    pub users: Vec<String>,

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

    /// With --every: how long a user's keys are kept in memory; 0s fetches them for every pulse
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
    fn a_switch_takes_the_usual_words() {
        for (text, value) in
            [("1", true), ("TRUE", true), ("on", true), ("", false), ("0", false), ("No", false)]
        {
            assert_eq!(switch(text), Ok(value), "{text:?}");
        }
        assert!(switch("flase").is_err());
    }
}
