//! `pulse keys check`.

use crate::commands::failures::{LeadsOn, Stopped, by_alpaca, by_secret, doctor, no_user};
use crate::commands::frame::{self, CheckState, Finding, Report};
use crate::commands::keys::store::kind_of;
use crate::config::Place;
use crate::config::keys_args::KeysCheckArgs;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::account::Account;
use crate::model::ids::{DocumentId, UserId};
use crate::model::key_version::KeyVersion;
use crate::model::pin::Pin;
use crate::model::suggested::{about, sync_alone};
use crate::services::alpaca::AlpacaError;
use crate::services::desk::Desk;
use crate::services::secret_manager::{SecretError, StoredKeys};
use std::process::ExitCode;

pub(super) async fn run(args: &KeysCheckArgs) -> ExitCode {
    frame::run("keys check", &args.operator, async |place, report| {
        let desk = Desk::at(place);
        if let Err(stopped) = check(&desk, &args.user, place, report).await {
            // Nothing was begun, and to look once more tells nothing new.
            stopped.tell(&LeadsOn::from(doctor(place), place), report);
        }
        report.used(desk.used());
    })
    .await
}

async fn check(desk: &Desk<'_>, user: &UserId, place: &Place, report: &mut Report) -> Result<(), Stopped> {
    let deadline = Deadline::after(USER_BUDGET);
    let stored = newest(desk, user, deadline).await?;
    let (version, environment) = (stored.version.as_str(), stored.keys.environment().as_str());
    report.field("user", &user.as_str());
    report.field("key_version", &version);
    report.field("environment", &environment);
    report.text(|page| {
        page.pair("user", user.as_str());
        page.pair("version", version);
        page.pair("environment", environment);
    });
    let flags = place.database.flags();
    let answer = desk.alpaca()?.account(&stored.keys, deadline).await;
    let account = answer
        .map_err(|err| match err {
            AlpacaError::Rejected { .. } => {
                by_alpaca(&err).mended_by(about("keys set", user.as_str(), &flags))
            }
            err => by_alpaca(&err),
        })?
        .account;
    report.field("kind", &kind_of(&stored.keys).0);
    report.field("account", &account.external_account_id);
    report.field("account_status", &account.status.as_str());
    report.text(|page| {
        page.pair("account", &format!("{} ({})", account.external_account_id, account.status.as_str()));
        page.pair("kind", kind_of(&stored.keys).1);
    });
    report.found(Finding::new(CheckState::Ok, "KeysWork", "Alpaca takes the keys."));
    let id = DocumentId::of_existing(user.as_str());
    let pin = desk.store().await?.pin(&id, Deadline::after(USER_BUDGET)).await?;
    if pin.is_none() && is_nobody(desk, user).await? {
        return Err(no_user(user.as_str(), &place.database));
    }
    report.found(compared_with(&account, pin.as_ref(), (&stored.version, user, &flags)));
    Ok(())
}

async fn newest(desk: &Desk<'_>, user: &UserId, deadline: Deadline) -> Result<StoredKeys, Stopped> {
    let place = desk.place();
    let secrets = desk.secrets().await?;
    match secrets.keys(&place.database, user, deadline).await {
        // Of somebody who does not exist nobody has to store keys.
        Err(SecretError::Missing { .. }) if matches!(is_nobody(desk, user).await, Ok(true)) => {
            Err(no_user(user.as_str(), &place.database))
        }
        stored => stored.map_err(|err| by_secret(user, &err, place)),
    }
}

async fn is_nobody(desk: &Desk<'_>, user: &UserId) -> Result<bool, Stopped> {
    let id = DocumentId::of_existing(user.as_str());
    let existing = desk.store().await?.existing_user(&id, None, Deadline::after(USER_BUDGET)).await?;
    Ok(existing.profile.is_none())
}

/// What that says of the snapshot, and the command that leads on.
fn compared_with(
    account: &Account,
    pin: Option<&Pin>,
    (version, user, flags): (&KeyVersion, &UserId, &str),
) -> Finding {
    let (state, reason, sentence) = compared(account, pin);
    let finding = Finding::new(state, reason, sentence);
    match pin {
        _ if state == CheckState::Ok => finding,
        // A pulse refuses another account under the same version.
        Some(pin) if pin.version == *version => {
            finding.mended_by(about("keys set", user.as_str(), &format!(" --new-account{flags}")))
        }
        _ => finding.mended_by(sync_alone(user.as_str(), flags)),
    }
}

/// Whether the snapshot shows the account that the keys open.
fn compared(account: &Account, pin: Option<&Pin>) -> (CheckState, &'static str, String) {
    match pin {
        None => {
            let sentence = "There is no snapshot yet to compare the account with.";
            (CheckState::Warning, "NoSnapshot", sentence.to_owned())
        }
        Some(pin) if pin.account == account.external_account_id => {
            (CheckState::Ok, "SameAccount", "It is the account that the snapshot shows.".to_owned())
        }
        Some(Pin { account, version, .. }) => {
            let version = version.as_str();
            let sentence =
                format!("The snapshot shows another account, {account}, made with version {version}.");
            (CheckState::Failed, "OtherAccount", sentence)
        }
    }
}
