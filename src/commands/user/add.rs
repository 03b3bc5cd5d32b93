//! `pulse user add`.

use crate::commands::failures::{LeadsOn, Stopped, unless_told};
use crate::commands::frame::{self, CheckState, Finding, Report, confirm};
use crate::config::Place;
use crate::config::user_args::UserAddArgs;
use crate::documents::user_changes::{ExistingUser, NewUser, completion, creation, keys_updated, membership};
use crate::firestore::write::Write;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::{Database, DocumentId, TenantId};
use crate::model::suggested::about;
use crate::services::desk::Desk;
use std::process::ExitCode;

pub(super) async fn run(args: &UserAddArgs) -> ExitCode {
    frame::run("user add", &args.operator, async |place, report| {
        let desk = Desk::at(place);
        if let Err(stopped) = unless_told(add((&desk, place), args, report)).await {
            stopped
                .tell(&LeadsOn::from_about("user add", args.user.as_str(), &args.as_typed(), place), report);
        }
        report.used(desk.used());
    })
    .await
}

async fn add(
    (desk, place): (&Desk<'_>, &Place),
    args: &UserAddArgs,
    report: &mut Report,
) -> Result<(), Stopped> {
    let (user, id) = (&args.user, DocumentId::of_existing(args.user.as_str()));
    report.field("user", &user.as_str());
    report.field("tenant", &args.tenant.as_ref().map(TenantId::as_str));
    let store = desk.store().await?;
    let existing = store.existing_user(&id, args.tenant.as_ref(), Deadline::after(USER_BUDGET)).await?;
    let writes = writes(args, store.database(), &id, &existing)?;
    report.field("is_new", &existing.profile.is_none());
    let [keys, look] =
        ["keys set", "explain"].map(|command| about(command, user.as_str(), &place.database.flags()));
    if writes.is_empty() {
        let sentence = format!("{user} is there already, and nothing was to be changed.");
        report.found(Finding::new(CheckState::Ok, "UserThere", sentence).mended_by(look));
        return Ok(());
    }
    let of = args.tenant.as_ref().map(|tenant| format!(", a member of tenant {tenant}")).unwrap_or_default();
    let is_new = existing.profile.is_none();
    let question = if is_new { "Add" } else { "Add what is missing of" };
    confirm(&format!("{question} {user}{of}?"), args.confirm).await?;
    store.commit(&writes, Deadline::after(USER_BUDGET)).await?;
    // Whether whoever was there has keys is not known here.
    report.found(match is_new {
        true => {
            let sentence = format!("{user} is added{of}. Keys are next:");
            Finding::new(CheckState::Ok, "UserAdded", sentence).mended_by(keys)
        }
        false => {
            let sentence = format!("{user} was there already{of}: what was missing is added.");
            Finding::new(CheckState::Ok, "UserCompleted", sentence).mended_by(look)
        }
    });
    Ok(())
}

/// What is missing; nothing that is there is changed.
fn writes(
    args: &UserAddArgs,
    database: &Database,
    id: &DocumentId,
    existing: &ExistingUser,
) -> Result<Vec<Write>, Stopped> {
    let new = NewUser {
        email: args.email.as_deref(),
        display_name: args.display_name.as_deref(),
        tenant: args.tenant.as_ref(),
    };
    let mut writes = Vec::new();
    match &existing.profile {
        None => writes.push(creation(database, id, &new)),
        Some(profile) => {
            let there = profile.tenant.as_deref();
            if let Some((wanted, there)) =
                new.tenant.map(TenantId::as_str).zip(there).filter(|(wanted, there)| wanted != there)
            {
                let sentence =
                    format!("{} is of tenant {there}, not of {wanted}: nothing was changed.", args.user);
                return Err(Stopped::failed("OtherTenant", sentence));
            }
            let missing = NewUser {
                email: new.email.filter(|_| profile.email.is_none()),
                display_name: new.display_name.filter(|_| profile.display_name.is_none()),
                tenant: new.tenant.filter(|_| there.is_none()),
            };
            writes.extend((!missing.is_empty()).then(|| completion(database, id, &missing)));
        }
    }
    let joins = args.tenant.as_ref().filter(|_| !existing.is_member);
    // A loop asks who has changed, and not who has become a member.
    writes.extend(joins.filter(|_| writes.is_empty()).map(|_| keys_updated(database, id)));
    writes.extend(joins.map(|tenant| membership(database, tenant, id)));
    Ok(writes)
}
