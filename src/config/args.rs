//! The command line. Every flag has an environment variable; the flag wins.

use crate::limits::rate::SECRET_ACCESSES_PER_MINUTE;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use humantime::parse_duration;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

/// Keeps a fresh snapshot of every user's Alpaca account in Firestore.
///
/// One pulse is one pass over all users: users (Firestore) -> keys (Secret Manager) -> account
/// (Alpaca) -> snapshot (Firestore).
#[derive(Debug, Parser)]
#[command(name = "pulse", version, arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Whether the command serves a local cloud to other processes, and wants more than one thread for that.
    #[cfg(feature = "sandbox")]
    pub fn serves(&self) -> bool {
        matches!(self.command, Command::Sandbox(_))
    }
}

const EXIT_CODES: &str = "Exit codes:
  0    the pass completed (some users may have failed: see the log and ops/last_pulse)
  1    the pass failed: users could not be read, nobody was synced (and somebody failed, or the last
       success is less than 24 h ago), or --deadline came before all users were reached
  2    bad usage or configuration, nothing was touched
  143  stopped by SIGTERM or SIGHUP after finishing what was in flight (130: by SIGINT)

Standard variables: FIRESTORE_EMULATOR_HOST, SECRET_MANAGER_EMULATOR_HOST (host:port),
APCA_API_BASE_URL, APCA_API_KEY_ID + APCA_API_SECRET_KEY + TENANT_ID (legacy single account),
PULSE_ALLOW_INSECURE_ENDPOINTS, CLOUD_RUN_*, RUST_LOG, NO_COLOR.";

/// The commands of `pulse`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One pass over all users
    #[command(after_help = EXIT_CODES)]
    Sync(SyncArgs),
    /// Serve a local cloud on loopback: a Firestore, a Secret Manager and an Alpaca
    #[cfg(feature = "sandbox")]
    Sandbox(pulse_sandbox::command::SandboxArgs),
    /// Run one pulse against a local cloud in this process, and show what it wrote
    #[cfg(feature = "sandbox")]
    Demo,
}

/// The options of one pass.
#[derive(Args, Clone, Debug)]
pub(crate) struct SyncArgs {
    /// Google Cloud project of the users and their secrets [env: GCP_PROJECT, then GCLOUD_PROJECT,
    /// then GOOGLE_CLOUD_PROJECT]
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,

    /// Firestore database
    #[arg(long, value_name = "ID", env = "PULSE_DATABASE", default_value = "(default)")]
    pub(crate) database: String,

    /// Users synced at the same time, 1 to 1024
    #[arg(long, value_name = "N", env = "PULSE_CONCURRENCY", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,

    /// Sync only this user (repeat for more), with the newest keys, whatever is known of them; runs beside
    /// a scheduled pulse and leaves ops/last_pulse alone [env: PULSE_USERS=, with commas between the ids]
    #[arg(long = "user", value_name = "ID")]
    pub(crate) users: Vec<String>,

    /// Sync only the users whose documents have this value, such as has_active_strategy=true; the
    /// others cost nothing (repeat for more, all must hold; not with --user) [env: PULSE_WHERE=, with
    /// commas between]
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub(crate) conditions: Vec<String>,

    /// Start the users evenly over this time, such as 40s, rather than as fast as possible
    #[arg(long, value_name = "TIME", env = "PULSE_SPREAD", value_parser = spread)]
    pub(crate) spread: Option<Duration>,

    /// Be done this long after the start: 10 s earlier no new user is started. Exits with 1 if users
    /// were not reached
    #[arg(long, value_name = "TIME", env = "PULSE_DEADLINE", value_parser = deadline)]
    pub(crate) deadline: Option<Duration>,

    /// Secrets accessed a minute, by all tasks together; Google's quota is 90000
    #[arg(long, value_name = "N", env = "PULSE_SECRET_ACCESSES_PER_MINUTE", default_value_t = SECRET_ACCESSES_PER_MINUTE,
          value_parser = rate)]
    pub(crate) secret_accesses_per_minute: NonZeroU32,

    /// Calls to Alpaca a second, by all tasks together, over all users
    #[arg(long, value_name = "N", env = "PULSE_ALPACA_CALLS_PER_SECOND", value_parser = rate)]
    pub(crate) alpaca_calls_per_second: Option<NonZeroU32>,

    /// Documents written to Firestore a second, by all tasks together
    #[arg(long, value_name = "N", env = "PULSE_MAX_WRITES_PER_SECOND", value_parser = rate)]
    pub(crate) max_writes_per_second: Option<NonZeroU32>,

    /// Write to a new database as Firestore asks for: 500 documents a second at first, half as many
    /// more every 5 minutes
    #[arg(long, env = "PULSE_RAMP_WRITES", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub(crate) ramp_writes: bool,

    /// Fetch and check everything, write nothing
    #[arg(long, env = "PULSE_DRY_RUN", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub(crate) dry_run: bool,

    /// Also write tenants/{tenant}/accounts/primary
    #[arg(long, env = "PULSE_LEGACY_TENANT_PATH", default_value = "on")]
    pub(crate) legacy_tenant_path: OnOff,

    /// Keep Alpaca's whole answer in the snapshot's `raw` field
    #[arg(long, env = "PULSE_STORE_RAW", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub(crate) store_raw: bool,

    /// Read each user's snapshot before a new one is written, and refuse another account under the same
    /// version of the keys (broker_other_account); without it only where there is a reason to suspect one
    #[arg(long, env = "PULSE_PIN_ACCOUNTS", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub(crate) pin_accounts: bool,

    /// Repeat the pulse in one process, so often: from the start of one to the start of the next, such as 60s;
    /// takes --for
    #[arg(long, env = "PULSE_EVERY", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) every: Option<Duration>,

    /// How long to repeat it: no pulse starts once so much time has passed since the process started. The exit
    /// code is that of the last pulse
    #[arg(long = "for", env = "PULSE_FOR", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) length: Option<Duration>,

    /// With --every: how long a user's keys are kept in memory; 0s fetches them for every pulse, as --user does
    #[arg(long, env = "PULSE_KEY_TTL", value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub(crate) key_ttl: Duration,

    /// With --every: the age at which the snapshot of an unchanged account is rewritten; 0s rewrites all
    #[arg(long, env = "PULSE_REFRESH_UNCHANGED", value_name = "TIME", default_value = "120s",
          value_parser = parse_duration)]
    pub(crate) refresh_unchanged: Duration,

    /// How to log; auto is text on a terminal and JSON for Cloud Logging elsewhere
    #[arg(long, env = "PULSE_LOG_FORMAT", default_value = "auto")]
    pub(crate) log_format: LogFormat,

    /// Exit with 1 if any user failed
    #[arg(long, env = "PULSE_FAIL_ON_ERROR", value_name = "BOOL", default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub(crate) fail_on_error: bool,
}

impl Default for SyncArgs {
    /// What `pulse sync` does with no variable set.
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
            pin_accounts: false,
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
pub(crate) enum OnOff {
    /// Yes.
    On,
    /// No.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One object a line, in Cloud Logging's structured form.
    Json,
    /// For people.
    Text,
    /// Text on a terminal, JSON elsewhere.
    Auto,
}

impl LogFormat {
    /// The one that was asked for by a command line that cannot be used as a whole.
    #[must_use]
    pub(crate) fn asked_for(args: &[OsString], lookup: impl Fn(&str) -> Option<String>) -> Self {
        let args: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
        let apart = args.windows(2).find(|pair| pair[0] == "--log-format").map(|pair| pair[1]);
        let flag = args.iter().find_map(|arg| arg.strip_prefix("--log-format=")).or(apart);
        let asked = flag.map(str::to_owned).or_else(|| lookup("PULSE_LOG_FORMAT"));
        asked.and_then(|name| Self::from_str(&name, false).ok()).unwrap_or(Self::Auto)
    }

    /// Whether the log is JSON, with stdout on a terminal or not.
    #[must_use]
    pub(crate) fn is_json(self, on_terminal: bool) -> bool {
        self == Self::Json || self == Self::Auto && !on_terminal
    }
}

/// What is wrong with a command line, in one line.
#[must_use]
pub(crate) fn reason(err: &clap::Error) -> String {
    if err.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command was given: `pulse sync` runs one pass, and `pulse --help` lists all commands"
            .into();
    }
    let text = err.render().to_string();
    let about_it = text.split("\n\n").take_while(|part| !part.starts_with("For more information"));
    let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = about_it.map(|part| words(part.trim_start_matches("error: ")));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
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

    /// `pulse sync` with these arguments, as far as its options go.
    #[derive(Parser)]
    struct Sync {
        #[command(flatten)]
        args: SyncArgs,
    }

    fn sync(args: &[&str]) -> Result<SyncArgs, clap::Error> {
        Sync::try_parse_from(["sync"].iter().chain(args)).map(|sync| sync.args)
    }

    #[test]
    fn nothing_is_done_without_a_command() {
        for args in [&["pulse"][..], &["pulse", "--dry-run"], &["pulse", "--user", "ana"]] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
        let args = sync(&["--user", "ana", "--user", "ben,cy", "--dry-run"]).expect("usable");
        assert_eq!((args.users, args.dry_run), (vec!["ana".to_owned(), "ben,cy".to_owned()], true));
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        for (args, expected) in [
            (
                &["pulse"][..],
                "no command was given: `pulse sync` runs one pass, and `pulse --help` lists all commands",
            ),
            (&["pulse", "--dry-run"], "unexpected argument '--dry-run' found; Usage: pulse <COMMAND>"),
            (&["pulse", "frobnicate"], "unrecognized subcommand 'frobnicate'; Usage: pulse <COMMAND>"),
            (
                &["pulse", "sync", "--log-format", "xml"],
                "invalid value 'xml' for '--log-format <LOG_FORMAT>' [possible values: json, text, auto]",
            ),
            (
                &["pulse", "sync", "--concurrency=0"],
                "invalid value '0' for '--concurrency <N>': 0 is not in 1..=1024",
            ),
        ] {
            assert_eq!(reason(&Cli::try_parse_from(args).expect_err("unusable")), expected);
        }
    }

    #[test]
    fn the_log_format_is_known_of_a_command_line_that_is_not() {
        use LogFormat::{Auto, Json, Text};
        for (args, variable, expected) in [
            (&["pulse"][..], None, Auto),
            (&["pulse", "sync", "--log-format", "json"], Some("text"), Json),
            (&["pulse", "sync", "--log-format=text", "--frobnicate"], Some("json"), Text),
            (&["pulse", "sync", "--frobnicate"], Some("json"), Json),
            (&["pulse", "sync", "--log-format"], Some("text"), Text),
            (&["pulse", "sync", "--log-format", "xml"], None, Auto),
            (&["pulse", "sync"], Some("xml"), Auto),
        ] {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            let asked = LogFormat::asked_for(&args, |_| variable.map(str::to_owned));
            assert_eq!(asked, expected, "{args:?} {variable:?}");
        }
        assert!(Json.is_json(true) && Auto.is_json(false) && !Auto.is_json(true) && !Text.is_json(false));
    }

    #[test]
    fn the_concurrency_is_bounded() {
        for (given, usable) in
            [("0", false), ("1", true), ("1024", true), ("1025", false), ("-1", false), ("x", false)]
        {
            assert_eq!(sync(&[&format!("--concurrency={given}")]).is_ok(), usable, "{given}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        let parsed = sync(&[]).expect("usable");
        assert_eq!(format!("{parsed:?}"), format!("{:?}", SyncArgs::default()));
    }

    #[test]
    fn limits_and_times_are_bounded() {
        let usable = |arg: &str| sync(&[arg]).is_ok();
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
