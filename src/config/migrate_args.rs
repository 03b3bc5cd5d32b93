//! What `pulse migrate` takes.

use crate::config::operator_args::{ConfirmArgs, OperatorArgs};
use crate::config::rate_limit::rate;
use crate::limits::rate::{SECRET_ACCESSES_PER_MINUTE, SECRET_CALLS_PER_MINUTE};
use clap::{Args, Subcommand, ValueEnum};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

const WHOSE: &str = "Whose";
const PACE: &str = "Pace";

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Show what would be moved, and write nothing
    ///
    /// Reads every legacy document at one point in time, says what becomes of each and why, what it would cost, and
    /// the id of the plan.
    Plan(PlanArgs),
    /// Do what a plan says
    ///
    /// Moves what existed when it was made. Whatever was written later is left and named: then an old writer still
    /// runs. No existing document is overwritten. Stopped or killed at any moment, it goes on when it is run again.
    Apply(ApplyArgs),
    /// Compare every legacy document with what has become of it
    ///
    /// At one point in time, with exit code 3 and a list where they differ.
    Verify(VerifyArgs),
    /// Undo a migration by its journal
    ///
    /// What somebody else has changed since is left and named.
    Rollback(ChangeArgs),
    /// Delete what is of the past, in two steps
    ///
    /// The first, after a verification that found nothing, deletes the legacy documents, and keeps them in the journal:
    /// --undo gives them back. The second, a day later, deletes the journal, and the keys of all users who were synced
    /// from Secret Manager since.
    Cleanup(Box<CleanupArgs>),
    /// Show the migrations there were, and how far they came
    Status(OperatorArgs),
}

/// What a plan stands for.
#[derive(Args, Clone, Debug)]
pub(crate) struct WhoseArgs {
    /// The user whose the single tenant's documents are
    ///
    /// Of documents that name neither a user nor a tenant but `local`. It is never guessed: without this they are
    /// ambiguous.
    #[arg(long, value_name = "UID", help_heading = WHOSE)]
    pub(crate) owner: Option<String>,

    /// A JSON file that says whose each tenant's documents are
    ///
    /// Such as {"acme": "uid-of-ana"}.
    #[arg(long, value_name = "FILE", help_heading = WHOSE)]
    pub(crate) owners: Option<PathBuf>,

    /// Give up documents of this class (repeat for more)
    ///
    /// They are not moved, no longer count as differences, and the clean-up deletes them with the rest: look at all of
    /// them first.
    #[arg(long, value_name = "CLASS", help_heading = WHOSE)]
    pub(crate) leave_behind: Vec<OpenClass>,
}

/// The classes of documents that wait for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OpenClass {
    /// Its target was changed since
    #[value(name = "newer_target")]
    NewerTarget,
    /// It is not known what belongs where
    Ambiguous,
    /// A field is not what its reader needs
    Malformed,
    /// It holds keys that nobody can move as they are, or that are in Secret Manager and no user was synced with yet: the last step of the clean-up deletes them
    Secret,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) whose: WhoseArgs,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) whose: WhoseArgs,
    #[command(flatten)]
    pub(crate) secrets: SecretPaceArgs,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

/// How fast Secret Manager may be called.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SecretPaceArgs {
    /// Secrets accessed a minute
    ///
    /// Google's quota is 90000.
    ///
    /// [env: PULSE_SECRET_ACCESSES_PER_MINUTE]
    #[arg(long, value_name = "N", env = "PULSE_SECRET_ACCESSES_PER_MINUTE", hide_env = true,
          default_value_t = SECRET_ACCESSES_PER_MINUTE, value_parser = rate, help_heading = PACE)]
    pub(crate) secret_accesses_per_minute: NonZeroU32,

    /// Lists of secrets' versions a minute, and as many changes of secrets
    ///
    /// Google's quota is 600 of each.
    #[arg(long, value_name = "N", default_value_t = SECRET_CALLS_PER_MINUTE, value_parser = rate,
          help_heading = PACE)]
    pub(crate) secret_calls_per_minute: NonZeroU32,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PaceArgs {
    /// Documents written a second
    #[arg(long, value_name = "N", help_heading = PACE)]
    pub(crate) max_writes_per_second: Option<NonZeroU32>,

    /// Write to a new database as Firestore asks for
    ///
    /// 500 documents a second at first, half as many more every 5 minutes.
    #[arg(long, help_heading = PACE)]
    pub(crate) ramp_writes: bool,

    #[command(flatten)]
    pub(crate) secrets: SecretPaceArgs,
}

/// Which migration is changed, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChangeArgs {
    /// The id that `pulse migrate plan` printed
    #[arg(long, value_name = "ID")]
    pub(crate) plan: String,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) whose: WhoseArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CleanupArgs {
    /// The id that a clean `pulse migrate verify` of the last hour printed
    #[arg(long, value_name = "ID", required_unless_present = "undo")]
    pub(crate) verified: Option<String>,

    /// Give the legacy documents back
    #[arg(long, conflicts_with = "verified")]
    pub(crate) undo: bool,

    /// How long the journal is kept at least, such as 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub(crate) after: Duration,

    #[command(flatten)]
    pub(crate) whose: WhoseArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}
