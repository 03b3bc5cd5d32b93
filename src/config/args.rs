//! The command line. Every flag has an environment variable; the flag wins.

use crate::config::choices::{Readers, TenantPath, UserLines};
use crate::config::cost_args::{COST_CODES, CostArgs};
use crate::config::doctor_args::{DOCTOR_CODES, DoctorArgs};
use crate::config::keys_args::KeysCommand;
use crate::config::migrate_args::MigrateCommand;
use crate::config::operator_args::{
    EXPLAIN_CODES, ExplainArgs, READ_CODES, ReadArgs, STATUS_CODES, StatusArgs, USERS_CODES, UsersArgs,
};
use crate::config::rate_limit::rate;
use crate::config::user_args::UserCommand;
use crate::limits::rate::SECRET_ACCESSES_PER_MINUTE;
use crate::model::equity_slot::EquitySlots;
use crate::telemetry::LogFormat;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use humantime::parse_duration;
use std::num::NonZeroU32;
use std::time::Duration;

/// Keeps a fresh snapshot of every user's Alpaca account in Firestore
#[derive(Debug, Parser)]
#[command(name = "pulse", version = env!("PULSE_VERSION"), arg_required_else_help = true, after_help = MORE)]
pub struct Cli {
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

const MORE: &str =
    "`pulse COMMAND -h` lists the flags of a command, `pulse COMMAND --help` tells all of them.";

const EXAMPLES_AND_CODES: &str = "\
Examples:
  pulse sync --project my-project --dry-run       all users, and nothing is written
  pulse sync --project my-project --user ana      one user, now
  pulse sync --where has_active_strategy=true     only those users
  pulse sync --every 60s --for 1h                 a loop in one process

Exit codes:
  0    the pass completed (some users may have failed: see the log and ops/last_pulse)
  1    the pass failed: it could not begin, users could not be read, nobody was synced (and somebody
       failed, or the last success is less than 24 h ago), or --deadline came before all users were
       reached; with --fail-on-error also if any user failed
  2    bad usage or configuration, nothing was touched
  3    with --dry-run --diff: something would change, or fails
  143  stopped by SIGTERM or SIGHUP after finishing what was in flight (130: by SIGINT)

Standard variables: FIRESTORE_EMULATOR_HOST, SECRET_MANAGER_EMULATOR_HOST (host:port),
APCA_API_BASE_URL, APCA_API_KEY_ID + APCA_API_SECRET_KEY + TENANT_ID (legacy single account),
PULSE_ALLOW_INSECURE_ENDPOINTS, CLOUD_RUN_*, RUST_LOG, NO_COLOR; for metrics
OTEL_EXPORTER_OTLP_ENDPOINT and the like, or PULSE_METRICS=gcp.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One pass over all users
    ///
    /// One pulse is one pass over all users: users (Firestore) -> keys (Secret Manager) -> account (Alpaca) ->
    /// snapshot (Firestore). Every flag has an environment variable; the flag wins.
    #[command(after_long_help = EXAMPLES_AND_CODES)]
    Sync(Box<SyncArgs>),
    /// How the last pulse went, who is failing since when, and how old the figures are
    #[command(after_long_help = STATUS_CODES)]
    Status(Box<StatusArgs>),
    /// One line a user: state, error, since when, the snapshot's age
    #[command(after_long_help = USERS_CODES)]
    Users(Box<UsersArgs>),
    /// One user's whole way, why they are fresh or not, and who has to act
    #[command(after_long_help = EXPLAIN_CODES)]
    Explain(Box<ExplainArgs>),
    /// What a reader may conclude from a user's snapshot, and whether an order may go out
    #[command(after_long_help = READ_CODES)]
    Read(Box<ReadArgs>),
    /// Whether the project is set up right: every cause, and the command that mends it
    #[command(after_long_help = DOCTOR_CODES)]
    Doctor(Box<DoctorArgs>),
    /// What a month costs by the list prices, and what each setting would save
    #[command(after_long_help = COST_CODES)]
    Cost(Box<CostArgs>),
    /// Try, store and list users' keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Add, pause, resume and remove users
    #[command(subcommand)]
    User(UserCommand),
    /// Serve a local cloud on loopback: a Firestore, a Secret Manager and an Alpaca
    #[cfg(feature = "sandbox")]
    Sandbox(pulse_sandbox::command::SandboxArgs),
    /// Run one pulse against a local cloud in this process, and show what it wrote
    #[cfg(feature = "sandbox")]
    Demo(DemoArgs),
    /// Move a database of the single-tenant layout to this one
    ///
    /// plan -> apply -> verify; rollback undoes all of it. docs/migrate.md has the whole way.
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Print the script by which a shell completes pulse's command line
    ///
    /// For bash: `source <(pulse completions bash)`.
    Completions {
        /// Whose script
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

#[cfg(feature = "sandbox")]
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DemoArgs {
    /// Show the log of the pass too
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

const WHICH_USERS: &str = "Which users";
const PACE: &str = "Pace";
const LOOP: &str = "Loop";
const OUTPUT: &str = "Output";
const WHERE: &str = "Where";

/// The options of one pass. A first line is what `-h` shows, in 100 columns with the flag and its default.
#[derive(Args, Clone, Debug)]
pub(crate) struct SyncArgs {
    /// Only this user, due or not (repeat for more)
    ///
    /// With the newest keys, whatever is known of the user. Runs beside a scheduled pulse, and leaves ops/last_pulse
    /// alone.
    ///
    /// [env: PULSE_USERS, with commas between the ids]
    #[arg(long = "user", value_name = "ID", help_heading = WHICH_USERS)]
    pub(crate) users: Vec<String>,

    /// Only users whose documents have this value (repeat for more)
    ///
    /// Such as has_active_strategy=true. The others cost nothing; of several conditions all must hold. Not with
    /// --user.
    ///
    /// [env: PULSE_WHERE, with commas between]
    #[arg(long = "where", value_name = "FIELD=VALUE", help_heading = WHICH_USERS)]
    pub(crate) conditions: Vec<String>,

    /// Users synced at the same time, 1 to 1024
    ///
    /// [env: PULSE_CONCURRENCY]
    #[arg(long, value_name = "N", env = "PULSE_CONCURRENCY", hide_env = true, default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = PACE)]
    pub(crate) concurrency: u16,

    /// Start the users evenly over this time, such as 40s
    ///
    /// Rather than as fast as possible.
    ///
    /// [env: PULSE_SPREAD]
    #[arg(long, value_name = "TIME", env = "PULSE_SPREAD", hide_env = true, value_parser = spread,
          help_heading = PACE)]
    pub(crate) spread: Option<Duration>,

    /// Be done this long after the start
    ///
    /// 10 s earlier no new user is started. Exits with 1 if users were not reached.
    ///
    /// [env: PULSE_DEADLINE]
    #[arg(long, value_name = "TIME", env = "PULSE_DEADLINE", hide_env = true, value_parser = deadline,
          help_heading = PACE)]
    pub(crate) deadline: Option<Duration>,

    /// Secrets accessed a minute by all tasks
    ///
    /// Google's quota is 90000.
    ///
    /// [env: PULSE_SECRET_ACCESSES_PER_MINUTE]
    #[arg(long, value_name = "N", env = "PULSE_SECRET_ACCESSES_PER_MINUTE", hide_env = true,
          default_value_t = SECRET_ACCESSES_PER_MINUTE, value_parser = rate, help_heading = PACE)]
    pub(crate) secret_accesses_per_minute: NonZeroU32,

    /// Calls to Alpaca a second by all tasks
    ///
    /// Over all users.
    ///
    /// [env: PULSE_ALPACA_CALLS_PER_SECOND]
    #[arg(long, value_name = "N", env = "PULSE_ALPACA_CALLS_PER_SECOND", hide_env = true, value_parser = rate,
          help_heading = PACE)]
    pub(crate) alpaca_calls_per_second: Option<NonZeroU32>,

    /// Documents written to Firestore a second by all tasks
    ///
    /// [env: PULSE_MAX_WRITES_PER_SECOND]
    #[arg(long, value_name = "N", env = "PULSE_MAX_WRITES_PER_SECOND", hide_env = true, value_parser = rate,
          help_heading = PACE)]
    pub(crate) max_writes_per_second: Option<NonZeroU32>,

    /// Write to a new database as Firestore asks for
    ///
    /// 500 documents a second at first, half as many more every 5 minutes.
    ///
    /// [env: PULSE_RAMP_WRITES]
    #[arg(long, env = "PULSE_RAMP_WRITES", hide_env = true, value_name = "BOOL", default_value = "false",
          hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch, help_heading = PACE)]
    pub(crate) ramp_writes: bool,

    /// Repeat the pulse so often, such as 60s (takes --for)
    ///
    /// In one process: the first at once, the others at whole multiples of this time. 1s to 24h.
    ///
    /// [env: PULSE_EVERY]
    #[arg(long, env = "PULSE_EVERY", hide_env = true, value_name = "TIME", value_parser = parse_duration,
          help_heading = LOOP)]
    pub(crate) every: Option<Duration>,

    /// How long to repeat it
    ///
    /// Up to 24h. No pulse starts once so much time has passed since the process started. The exit code is that of the
    /// last pulse. A loop that finds another one leaves, or takes over from it if it ends within 15 minutes.
    ///
    /// [env: PULSE_FOR]
    #[arg(long = "for", env = "PULSE_FOR", hide_env = true, value_name = "TIME", value_parser = parse_duration,
          help_heading = LOOP)]
    pub(crate) length: Option<Duration>,

    /// How long a user's keys are kept in memory
    ///
    /// With --every, 24h at most; a newer keys_updated_at ends it. 0s fetches them for every pulse, as --user does.
    ///
    /// [env: PULSE_KEY_TTL]
    #[arg(long, env = "PULSE_KEY_TTL", hide_env = true, value_name = "TIME", default_value = "1h",
          value_parser = parse_duration, help_heading = LOOP)]
    pub(crate) key_ttl: Duration,

    /// Age at which an unchanged snapshot is rewritten
    ///
    /// With --every: of an account that is as it was; 0s rewrites all. 180s by default, and less where --every is above
    /// 60s; with --readers fresh-until 15m, which is the most.
    ///
    /// [env: PULSE_REFRESH_UNCHANGED]
    #[arg(long, env = "PULSE_REFRESH_UNCHANGED", hide_env = true, value_name = "TIME",
          value_parser = parse_duration, help_heading = LOOP)]
    pub(crate) refresh_unchanged: Option<Duration>,

    /// What readers go by: 300s or fresh-until
    ///
    /// With --every. 300s: some call a snapshot of 300 s stale, whatever it says. fresh-until: all go by its
    /// fresh_until, so that an unchanged one may stand for up to 15 minutes.
    ///
    /// [env: PULSE_READERS]
    #[arg(long, env = "PULSE_READERS", hide_env = true, default_value = "300s", hide_possible_values = true,
          help_heading = LOOP)]
    pub(crate) readers: Readers,

    /// How long users are kept in memory
    ///
    /// With --every: between two readings of all users, one query a pulse asks who has changed, by keys_updated_at. 1h at
    /// most; 0s reads all users in every pulse, as does --where.
    ///
    /// [env: PULSE_USERS_TTL]
    #[arg(long, env = "PULSE_USERS_TTL", hide_env = true, value_name = "TIME", default_value = "10m",
          value_parser = parse_duration, help_heading = LOOP)]
    pub(crate) users_ttl: Duration,

    /// Most users kept in memory
    ///
    /// With more, all are read in every pulse.
    ///
    /// [env: PULSE_KEPT_USERS]
    #[arg(long, env = "PULSE_KEPT_USERS", hide_env = true, value_name = "N", default_value_t = 500_000,
          help_heading = LOOP)]
    pub(crate) kept_users: usize,

    /// Fetch and check everything, write nothing
    ///
    /// [env: PULSE_DRY_RUN]
    #[arg(long, env = "PULSE_DRY_RUN", hide_env = true, value_name = "BOOL", default_value = "false",
          hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch, help_heading = OUTPUT)]
    pub(crate) dry_run: bool,

    /// Say of each user what the dry run would change
    ///
    /// New, changed (each figure, old and new) or unchanged, at one read more a user. Exits with 3 if anything differs or
    /// fails, but as a Cloud Run job with 0.
    ///
    /// [env: PULSE_DIFF]
    #[arg(long, env = "PULSE_DIFF", hide_env = true, value_name = "BOOL", default_value = "false",
          hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch, help_heading = OUTPUT)]
    pub(crate) diff: bool,

    /// Also write tenants' documents
    ///
    /// That is tenants/{tenant}/accounts/primary: on, members (only of users with a tenant_id and membership) or off.
    ///
    /// [env: PULSE_LEGACY_TENANT_PATH]
    #[arg(long, env = "PULSE_LEGACY_TENANT_PATH", hide_env = true, default_value = "on",
          hide_possible_values = true, help_heading = OUTPUT)]
    pub(crate) legacy_tenant_path: TenantPath,

    /// Keep each user's equity once in 1m, 2m or 3m
    ///
    /// For 30 days, in alpacaAccounts/snapshot/equity_history below each user.
    ///
    /// [env: PULSE_EQUITY_HISTORY]
    #[arg(long, value_name = "TIME", env = "PULSE_EQUITY_HISTORY", hide_env = true, value_parser = equity_slots,
          help_heading = OUTPUT)]
    pub(crate) equity_history: Option<EquitySlots>,

    /// Keep Alpaca's whole answers in the snapshots
    ///
    /// In the field `raw`.
    ///
    /// [env: PULSE_STORE_RAW]
    #[arg(long, env = "PULSE_STORE_RAW", hide_env = true, value_name = "BOOL", default_value = "false",
          hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch, help_heading = OUTPUT)]
    pub(crate) store_raw: bool,

    /// Refuse another account under the same keys
    ///
    /// Reads each user's snapshot before a new one is written, and refuses another account under the same version of
    /// the keys (broker_other_account); without it only where there is a reason to suspect one.
    ///
    /// [env: PULSE_PIN_ACCOUNTS]
    #[arg(long, env = "PULSE_PIN_ACCOUNTS", hide_env = true, value_name = "BOOL", default_value = "false",
          hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch, help_heading = OUTPUT)]
    pub(crate) pin_accounts: bool,

    /// How to log: json, text or auto
    ///
    /// auto is text on a terminal, and JSON for Cloud Logging elsewhere.
    ///
    /// [env: PULSE_LOG_FORMAT]
    #[arg(long, env = "PULSE_LOG_FORMAT", hide_env = true, default_value = "auto", hide_possible_values = true,
          help_heading = OUTPUT)]
    pub(crate) log_format: LogFormat,

    /// Users' lines: all, changed, failed
    ///
    /// Which lines about single users are logged. changed: of users whose state has changed, and failures; failed:
    /// failures only. Warnings are always logged.
    ///
    /// [env: PULSE_USER_LINES]
    #[arg(long, env = "PULSE_USER_LINES", hide_env = true, default_value = "all", hide_possible_values = true,
          help_heading = OUTPUT)]
    pub(crate) user_lines: UserLines,

    /// On a terminal: every line about every user, whole
    ///
    /// Otherwise who fails has a short line, and nobody else.
    ///
    /// [env: PULSE_VERBOSE]
    #[arg(short, long, env = "PULSE_VERBOSE", hide_env = true, value_name = "BOOL", default_value = "false",
          hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch, help_heading = OUTPUT)]
    pub(crate) verbose: bool,

    /// Exit with 1 if any user failed
    ///
    /// [env: PULSE_FAIL_ON_ERROR]
    #[arg(long, env = "PULSE_FAIL_ON_ERROR", hide_env = true, value_name = "BOOL", default_value = "false",
          hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = switch, help_heading = OUTPUT)]
    pub(crate) fail_on_error: bool,

    /// Google Cloud project of the users and secrets
    ///
    /// [env: GCP_PROJECT, then GCLOUD_PROJECT, then GOOGLE_CLOUD_PROJECT]
    #[arg(long, value_name = "ID", help_heading = WHERE)]
    pub(crate) project: Option<String>,

    /// Firestore database
    ///
    /// [env: PULSE_DATABASE]
    #[arg(long, value_name = "ID", env = "PULSE_DATABASE", hide_env = true, default_value = "(default)",
          help_heading = WHERE)]
    pub(crate) database: String,
}

impl Default for SyncArgs {
    /// What `pulse sync` does with no variable set.
    fn default() -> Self {
        Self {
            users: Vec::new(),
            conditions: Vec::new(),
            concurrency: 64,
            spread: None,
            deadline: None,
            secret_accesses_per_minute: SECRET_ACCESSES_PER_MINUTE,
            alpaca_calls_per_second: None,
            max_writes_per_second: None,
            ramp_writes: false,
            every: None,
            length: None,
            key_ttl: Duration::from_hours(1),
            refresh_unchanged: None,
            readers: Readers::Age,
            users_ttl: Duration::from_mins(10),
            kept_users: 500_000,
            dry_run: false,
            diff: false,
            legacy_tenant_path: TenantPath::On,
            equity_history: None,
            store_raw: false,
            pin_accounts: false,
            log_format: LogFormat::Auto,
            user_lines: UserLines::All,
            verbose: false,
            fail_on_error: false,
            project: None,
            database: "(default)".into(),
        }
    }
}

/// A pass that spreads its users over more than this is not one that keeps them fresh.
const MAX_SPREAD: Duration = Duration::from_secs(60 * 60);

/// Longest that Cloud Run lets a task run.
const MAX_DEADLINE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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

fn spread(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), MAX_SPREAD)
}

fn deadline(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_secs(1), MAX_DEADLINE)
}

fn equity_slots(text: &str) -> Result<EquitySlots, &'static str> {
    parse_duration(text).ok().and_then(EquitySlots::of).ok_or("use 1m, 2m or 3m")
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

    fn help_of(command: &str, is_long: bool) -> String {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let command = cli.find_subcommand_mut(command).expect("a command");
        let help = if is_long { command.render_long_help() } else { command.render_help() };
        help.to_string()
    }

    #[test]
    fn a_short_help_has_a_line_for_each_flag_in_groups() {
        let help = help_of("sync", false);
        let is_flag = |line: &&str| line.trim_start().starts_with('-');
        assert_eq!(help.lines().filter(is_flag).count(), 29, "{help}");
        let rest: Vec<&str> = help.lines().filter(|line| !is_flag(line) && !line.is_empty()).collect();
        let groups = ["Options:", "Which users:", "Pace:", "Loop:", "Output:", "Where:"];
        assert_eq!(rest[..2], ["One pass over all users", "Usage: pulse sync [OPTIONS]"], "{help}");
        assert_eq!(rest[2..], groups, "nothing is wrapped: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }

    #[test]
    fn the_list_of_commands_is_short_and_the_long_help_names_every_variable() {
        let listed = Cli::command().term_width(100).render_long_help().to_string();
        assert!(listed.lines().count() < 30 && !listed.contains("Exit codes"), "{listed}");
        let help = help_of("sync", true);
        let cli = Cli::command();
        let flags = cli.find_subcommand("sync").expect("a command").get_arguments();
        for variable in flags.filter_map(clap::Arg::get_env) {
            let shown = format!("[env: {}]", variable.display());
            assert!(help.contains(&shown), "{shown}: {help}");
        }
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
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
    fn an_equity_history_has_three_entries_in_ten_minutes_or_is_refused() {
        for (given, usable) in [
            ("1m", true),
            ("60s", true),
            ("2m", true),
            ("3m", true),
            ("4m", false),
            ("90s", false),
            ("0s", false),
            ("on", false),
            ("", false),
        ] {
            assert_eq!(sync(&[&format!("--equity-history={given}")]).is_ok(), usable, "{given}");
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

    /// What a command says of its own flags.
    fn as_typed(line: &str) -> String {
        let words = line.split(' ').map(|word| word.replace('_', " "));
        match Cli::try_parse_from(words).expect(line).command {
            Command::Keys(KeysCommand::Set(args)) => args.as_typed(),
            Command::User(UserCommand::Add(args)) => args.as_typed(),
            Command::User(UserCommand::Remove(args)) => args.as_typed(),
            Command::User(UserCommand::Pause(args)) => args.confirm.as_typed().to_owned(),
            _ => String::from("another command"),
        }
    }

    #[test]
    fn what_was_typed_can_be_typed_again() {
        for (line, expected) in [
            ("pulse keys set ana", ""),
            ("pulse keys set ana --yes --live --token", " --live --token --yes"),
            (
                "pulse keys set ana --paper --new-account --destroy-old",
                " --paper --new-account --destroy-old",
            ),
            ("pulse user add ana --display-name=It's_Ana -y", r" --display-name='It'\''s Ana' --yes"),
            ("pulse user add ana --email=a@b.c --tenant=acme", " --email=a@b.c --tenant=acme"),
            ("pulse user remove ana --tenant acme", " --tenant=acme"),
            ("pulse user pause ana -y", " --yes"),
        ] {
            assert_eq!(as_typed(line), expected, "{line}");
        }
    }
}
