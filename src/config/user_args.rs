//! The command line of `pulse user`.

use crate::config::keys_args::{CODES, user};
use crate::config::operator_args::{ConfirmArgs, OperatorArgs};
use crate::model::ids::{TenantId, UserId};
use crate::model::suggested::argument;
use clap::{Args, Subcommand};

const USER: &str = "User";

/// `pulse user …`
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user: their document, and their membership of a tenant
    ///
    /// What exists already is kept, so it can be run again. Then store their keys: `pulse keys set USER`.
    #[command(after_long_help = CODES)]
    Add(UserAddArgs),
    /// Stop syncing a user: sync_enabled becomes false
    #[command(after_long_help = CODES)]
    Pause(UserSwitchArgs),
    /// Sync a user again
    #[command(after_long_help = CODES)]
    Resume(UserSwitchArgs),
    /// Delete a user, and all that pulse keeps of them
    ///
    /// Shows first what it will delete: snapshot, history, trouble, the tenant's document where it shows their account,
    /// membership, their document, and the secret with their keys. What other programs keep of the user stays, and is
    /// named. It can be run again after any failure.
    #[command(after_long_help = CODES)]
    Remove(UserRemoveArgs),
}

#[derive(Args, Debug)]
pub(crate) struct UserAddArgs {
    /// Their id: letters, digits, - and _
    #[arg(value_name = "USER", value_parser = user)]
    pub(crate) user: UserId,

    /// Their e-mail address
    #[arg(long, value_name = "ADDRESS", help_heading = USER)]
    pub(crate) email: Option<String>,

    /// Their name
    #[arg(long, value_name = "NAME", help_heading = USER)]
    pub(crate) display_name: Option<String>,

    /// The tenant that they become a member of
    #[arg(long, value_name = "ID", value_parser = tenant, help_heading = USER)]
    pub(crate) tenant: Option<TenantId>,

    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,

    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

impl UserAddArgs {
    /// Its own flags as they were typed, each after a space.
    #[must_use]
    pub(crate) fn as_typed(&self) -> String {
        let Self { email, display_name, tenant, confirm, .. } = self;
        let values = [
            ("--email", email.as_deref()),
            ("--display-name", display_name.as_deref()),
            ("--tenant", tenant.as_ref().map(TenantId::as_str)),
        ];
        flags(&values) + confirm.as_typed()
    }
}

/// Those flags that have a value, each after a space.
fn flags(values: &[(&str, Option<&str>)]) -> String {
    let typed = values.iter().filter_map(|(flag, value)| Some(format!(" {flag}={}", argument((*value)?))));
    typed.collect()
}

#[derive(Args, Debug)]
pub(crate) struct UserSwitchArgs {
    /// Who
    #[arg(value_name = "USER", value_parser = user)]
    pub(crate) user: UserId,

    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,

    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Args, Debug)]
pub(crate) struct UserRemoveArgs {
    /// Who
    #[arg(value_name = "USER", value_parser = user)]
    pub(crate) user: UserId,

    /// Their tenant, where their document does not say it (any more)
    #[arg(long, value_name = "ID", value_parser = tenant, help_heading = USER)]
    pub(crate) tenant: Option<TenantId>,

    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,

    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

impl UserRemoveArgs {
    /// Its own flags as they were typed, each after a space.
    #[must_use]
    pub(crate) fn as_typed(&self) -> String {
        flags(&[("--tenant", self.tenant.as_ref().map(TenantId::as_str))]) + self.confirm.as_typed()
    }
}

fn tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|err| err.to_string())
}
