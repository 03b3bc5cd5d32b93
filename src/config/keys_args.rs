//! The command line of `pulse keys`.

use crate::config::operator_args::{ConfirmArgs, OperatorArgs};
use crate::model::ids::{DocumentId, UserId};
use crate::model::keys::Environment;
use clap::{Args, Subcommand};
use humantime::parse_duration;
use std::convert::Infallible;
use std::time::Duration;

const KEYS: &str = "Keys";

pub(super) const CODES: &str = "\
Exit codes:
  0  done, or fine
  1  it could not be looked at or done: the finding has the command that leads on; or somebody said no
  2  bad usage or configuration, or nobody could be asked: nothing was changed
  3  found something to act on, and nothing was changed by guess
  143, 130  stopped by SIGTERM or SIGHUP, SIGINT: run it again";

/// `pulse keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Try a user's newest keys at Alpaca
    ///
    /// Says whether they are for paper or live, for which account, and whether the snapshot shows that account. One
    /// access to Secret Manager, one call to Alpaca, nothing is written.
    #[command(after_long_help = CODES)]
    Check(KeysCheckArgs),
    /// Store keys for a user: the first ones, or others than before
    ///
    /// Asks for them on the terminal, unseen, or reads them from stdin: the key id and the secret key on a line each, or
    /// the secret's JSON. They are tried at Alpaca before anything is stored, read back by the number of their version,
    /// and the user is synced by it. Broken off at any point it can be run again with the same keys, and goes on.
    #[command(after_long_help = CODES)]
    Set(Box<KeysSetArgs>),
    /// List all secrets with keys, their versions and what they cost
    ///
    /// And who has none, and which belong to nobody. Takes a minute for each 500 secrets, as Secret Manager answers 600
    /// such questions a minute.
    #[command(after_long_help = CODES)]
    List(KeysListArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KeysCheckArgs {
    /// Whose keys
    #[arg(value_name = "USER", value_parser = user)]
    pub(crate) user: UserId,

    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct KeysSetArgs {
    /// Whose keys
    // What is no id may be a key, and the parser would repeat it.
    #[arg(value_name = "USER")]
    pub(crate) user: String,

    /// They are of a paper account
    ///
    /// Without this and --live the keys say it themselves: a key id that starts with PK is of a paper account.
    #[arg(long, conflicts_with = "live", help_heading = KEYS)]
    pub(crate) paper: bool,

    /// They are of a live account: real money
    #[arg(long, help_heading = KEYS)]
    pub(crate) live: bool,

    /// It is an OAuth token, and not a key pair
    #[arg(long, help_heading = KEYS)]
    pub(crate) token: bool,

    /// They may be of another account than the user's snapshot shows
    #[arg(long, help_heading = KEYS)]
    pub(crate) new_account: bool,

    /// Wait until the new version is in use everywhere, and destroy the older ones
    ///
    /// Ten minutes at most: until Secret Manager has called it `latest` for five, and a pulse has synced the user by it.
    /// If it is not by then, nothing is destroyed.
    #[arg(long, help_heading = KEYS)]
    pub(crate) destroy_old: bool,

    /// How long `latest` has to be the new version
    // Of tests alone: whoever shortens it may lock the user out.
    #[arg(long, hide = true, default_value = "5m", value_parser = parse_duration)]
    pub(crate) settled_for: Duration,

    /// How long that is waited for
    #[arg(long, hide = true, default_value = "10m", value_parser = parse_duration)]
    pub(crate) wait_for: Duration,

    /// Whatever else is typed: it may be a key, and must not be repeated
    #[arg(hide = true, value_parser = unread, num_args = 0.., allow_hyphen_values = true)]
    pub(crate) more: Vec<Unread>,

    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,

    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

impl KeysSetArgs {
    /// Its own flags as they were typed, each after a space.
    #[must_use]
    pub(crate) fn as_typed(&self) -> String {
        let Self { paper, live, token, new_account, destroy_old, confirm, .. } = self;
        let flags = [
            (*paper, " --paper"),
            (*live, " --live"),
            (*token, " --token"),
            (*new_account, " --new-account"),
            (*destroy_old, " --destroy-old"),
        ];
        let typed = flags.into_iter().filter(|(is_typed, _)| *is_typed).map(|(_, flag)| flag);
        typed.chain([confirm.as_typed()]).collect()
    }

    /// The same, but for that change.
    #[must_use]
    pub(crate) fn as_typed_but(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut args = self.clone();
        change(&mut args);
        args.as_typed()
    }

    /// What the command line says of where the account is.
    #[must_use]
    pub(crate) fn environment(&self) -> Option<Environment> {
        match (self.paper, self.live) {
            (true, _) => Some(Environment::Paper),
            (false, true) => Some(Environment::Live),
            (false, false) => None,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct KeysListArgs {
    /// Only those whose newest version is older than this, such as 90d
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = KEYS)]
    pub(crate) older_than: Option<Duration>,

    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

/// An argument of which nothing is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread;

fn unread(_: &str) -> Result<Unread, Infallible> {
    Ok(Unread)
}

/// A user's id, which can name a document and a secret.
pub(crate) fn user(text: &str) -> Result<UserId, String> {
    DocumentId::parse(text).and_then(|_| UserId::parse(text)).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: KeysSetArgs,
    }

    #[test]
    fn whatever_is_changed_all_other_flags_stay_as_they_were_typed() {
        type Change = fn(&mut KeysSetArgs);
        let live: Change = |args| (args.paper, args.live) = (false, true);
        let new_account: Change = |args| args.new_account = true;
        let destroy_old: Change = |args| args.destroy_old = true;
        for (typed, change, expected) in [
            ("", live, " --live"),
            ("--token --paper --destroy-old --yes", live, " --live --token --destroy-old --yes"),
            ("--token --paper", new_account, " --paper --token --new-account"),
            ("--live --new-account", new_account, " --live --new-account"),
            ("--live --token -y", destroy_old, " --live --token --destroy-old --yes"),
            ("--destroy-old", destroy_old, " --destroy-old"),
        ] {
            let line = ["keys set", "ana"].into_iter().chain(typed.split_whitespace());
            let Line { args } = Line::try_parse_from(line).expect("a command line");
            assert_eq!(args.as_typed_but(change), expected, "{typed}");
        }
    }
}
