//! `pulse user pause` and `pulse user resume`.

use crate::commands::failures::{LeadsOn, Stopped, no_user, unless_told};
use crate::commands::frame::{self, CheckState, Finding, Report, confirm};
use crate::config::user_args::UserSwitchArgs;
use crate::documents::user_changes::switch;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::services::desk::Desk;
use std::process::ExitCode;

pub(super) async fn run(command: &'static str, args: &UserSwitchArgs, is_on: bool) -> ExitCode {
    frame::run(command, &args.operator, async |place, report| {
        let desk = Desk::at(place);
        if let Err(stopped) = unless_told(turn(&desk, args, is_on, report)).await {
            let next = LeadsOn::from_about(command, args.user.as_str(), args.confirm.as_typed(), place);
            stopped.tell(&next, report);
        }
        report.used(desk.used());
    })
    .await
}

async fn turn(
    desk: &Desk<'_>,
    args: &UserSwitchArgs,
    is_on: bool,
    report: &mut Report,
) -> Result<(), Stopped> {
    let user = &args.user;
    report.field("user", &user.as_str());
    let (store, id) = (desk.store().await?, DocumentId::of_existing(user.as_str()));
    let deadline = Deadline::after(USER_BUDGET);
    let Some((Some(known), _)) = store.named_users(std::slice::from_ref(&id), deadline).await?.pop() else {
        return Err(no_user(user.as_str(), store.database()));
    };
    let [question, sentence, already] = match is_on {
        true => ["Sync {} again?", "{} is synced again, from the next pulse on.", "{} is synced already."],
        false => ["Stop syncing {}?", "{} is paused, from the next pulse on.", "{} is paused already."],
    };
    let said = |text: &str| text.replace("{}", user.as_str());
    let reason = if is_on { "Resumed" } else { "Paused" };
    let is_said = if is_on { known.is_synced() } else { known.is_paused() };
    report.field("sync_enabled", &is_on);
    if is_said {
        report.found(Finding::new(CheckState::Ok, reason, said(already)));
        return Ok(());
    }
    confirm(&said(question), args.confirm).await?;
    store.commit(&[switch(store.database(), &id, is_on)], Deadline::after(USER_BUDGET)).await?;
    report.found(Finding::new(CheckState::Ok, reason, said(sentence)));
    Ok(())
}
