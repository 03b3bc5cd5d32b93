//! `pulse user remove`: everything of a user goes, in an order in which whatever breaks can be run again. First the user
//! is paused and loses their keys, so that no pulse writes anew; last go the membership and the document that say which
//! tenant was theirs, once somebody else has the tenant's document.

use crate::commands::failures::{LeadsOn, Stopped, unless_told};
use crate::commands::frame::{self, CheckState, Finding, Report, confirm};
use crate::commands::office::connect;
use crate::config::Place;
use crate::config::user_args::UserRemoveArgs;
use crate::documents::remains::Remains;
use crate::documents::user_changes::{keys_updated, switch};
use crate::firestore::StoreError;
use crate::firestore::write::Write;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::{Deadline, MAX_ATTEMPTS};
use crate::model::ids::DocumentId;
use crate::model::suggested::{about, sync_alone};
use crate::pass::own_run::{OwnRun, sync_now};
use crate::services::clients::Clients;
use crate::services::secret_changes::{SecretChangeError, secret_of};
use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Arc;

pub(super) async fn run(args: &UserRemoveArgs) -> ExitCode {
    frame::run("user remove", &args.operator, async |place, report| {
        if let Err(stopped) = begin(args, place, report).await {
            let next = LeadsOn::from_about("user remove", args.user.as_str(), &args.as_typed(), place);
            stopped.tell(&next, report);
        }
    })
    .await
}

async fn begin(args: &UserRemoveArgs, place: &Place, report: &mut Report) -> Result<(), Stopped> {
    let id = DocumentId::of_existing(args.user.as_str());
    let clients = unless_told(connect(place, &id)).await?;
    let removal =
        Removal { args, clients: &clients, id, flags: place.database.flags(), begun: Cell::default() };
    let removed = unless_told(removal.remove(report)).await;
    if removed.is_err() {
        report.found_all(removal.left_paused().into_iter().collect());
    }
    report.used(clients.usage.so_far());
    removed
}

struct Removal<'a> {
    args: &'a UserRemoveArgs,
    clients: &'a Arc<Clients>,
    id: DocumentId,
    /// By which another command works in the same place.
    flags: String,
    /// How far it may have come.
    begun: Cell<Begun>,
}

/// The parts of a removal, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Begun {
    #[default]
    Nothing,
    Pause,
    Keys,
    Figures,
    User,
}

impl Begun {
    /// How a user stands with whom it broke off there, and what comes of ending the pause.
    fn left(self) -> Option<[&'static str; 2]> {
        match self {
            Self::Nothing | Self::User => None,
            Self::Pause => Some(["is paused now, and nothing is deleted yet", "undoes it"]),
            Self::Keys => Some([
                "is paused now, and their keys may be deleted",
                "ends the pause, and `pulse keys set` stores keys anew where they are gone",
            ]),
            Self::Figures => Some([
                "is paused now, their keys are deleted, and their figures may be",
                "ends the pause, and `pulse keys set` stores keys anew",
            ]),
        }
    }
}

impl Removal<'_> {
    /// What a removal that broke off has done to the user, and what undoes it.
    fn left_paused(&self) -> Option<Finding> {
        let user = &self.args.user;
        let [left, undone] = self.begun.get().left()?;
        let sentence = format!("{user} {left}. If it was the wrong user, this {undone}.");
        let mend = about("user resume", user.as_str(), &self.flags);
        Some(Finding::new(CheckState::Warning, "LeftPaused", sentence).mended_by(mend))
    }

    async fn remove(&self, report: &mut Report) -> Result<(), Stopped> {
        let user = &self.args.user;
        let remains = self.remains().await?;
        self.is_of_no_other_tenant(&remains)?;
        let has_secret = self.has_secret().await?;
        let listed = self.listed(&remains, has_secret);
        report.field("user", &user.as_str());
        report.field("deletes", &listed);
        report.field("stays", &remains.others);
        report.field("heir", &remains.heir.as_ref().map(DocumentId::as_str));
        if listed.is_empty() {
            let place = &self.clients.store.database().in_words();
            let sentence =
                format!("Nothing of {user} is in {place}: removed already, or another id or project.");
            report.found(Finding::new(CheckState::Ok, "NothingLeft", sentence));
            self.tell_others(&remains, report);
            return Ok(());
        }
        report.text(|page| {
            page.heading(&format!("Everything of {user} is deleted for good:"));
            listed.iter().for_each(|what| page.line(&format!("  {what}")));
            self.heir_in_words(&remains).iter().for_each(|text| page.paragraph(text));
        });
        confirm(&format!("Delete all of this of {user}?"), self.args.confirm).await?;
        let remains = self.delete(&remains).await?;
        self.inherit(&remains, report).await?;
        self.begun.set(Begun::User);
        self.commit(remains.deletions_of_user(self.clients.store.database(), &self.id)).await?;
        self.look_again().await?;
        let sentence = format!(
            "{user} is removed. A pulse that was at work may write a snapshot once more: run this again in a minute to \
             be sure."
        );
        report.found(Finding::new(CheckState::Ok, "UserRemoved", sentence));
        self.tell_others(&remains, report);
        Ok(())
    }

    /// Only one tenant is looked at, and the document that names it goes last.
    fn is_of_no_other_tenant(&self, Remains { claimed, .. }: &Remains) -> Result<(), Stopped> {
        let user = &self.args.user;
        match (claimed, &self.args.tenant) {
            (Some(claimed), Some(given)) if claimed != given => {
                // Their removal would be no mend: nobody has asked for that.
                let sentence = format!(
                    "{user} is of tenant {claimed}, not of {given}: nothing was deleted. What {given} has of somebody is \
                     deleted once they are removed themselves."
                );
                let mend = about("explain", user.as_str(), &self.flags);
                Err(Stopped::failed("OtherTenant", sentence).mended_by(mend))
            }
            _ => Ok(()),
        }
    }

    fn listed(&self, remains: &Remains, has_secret: bool) -> Vec<String> {
        let id = &self.id;
        let Remains { user, snapshot, history, sync, primaries, membership, owned, .. } = remains;
        let of_user = [
            (*snapshot, format!("users/{id}/alpacaAccounts/snapshot")),
            (*history, format!("users/{id}/alpacaAccounts/snapshot/equity_history/*")),
            (*sync, format!("users/{id}/alpacaAccounts/sync")),
        ];
        let mut listed: Vec<String> =
            of_user.into_iter().filter(|(is_there, _)| *is_there).map(|(_, what)| what).collect();
        listed.extend(primaries.iter().map(|primary| format!("tenants/{}/accounts/primary", primary.tenant)));
        listed.extend(owned.iter().map(|tenant| format!("tenants/{tenant}: owner_uid, which names {id}")));
        listed.extend(membership.iter().map(|tenant| format!("tenants/{tenant}/users/{id}")));
        listed.extend(user.then(|| format!("users/{id}")));
        listed.extend(has_secret.then(|| format!("secret {} with all versions", secret_of(&self.args.user))));
        listed
    }

    /// Who gets the tenant's document.
    fn heir_in_words(&self, remains: &Remains) -> Option<String> {
        let tenant = remains.bequeathed(&self.id)?;
        Some(match &remains.heir {
            Some(heir) => format!("The document of tenant {tenant} falls to {heir}."),
            None => format!("Tenant {tenant} has no other member, and no document then."),
        })
    }

    async fn remains(&self) -> Result<Remains, Stopped> {
        let deadline = Deadline::after(USER_BUDGET);
        Ok(self.clients.store.remains(&self.id, self.args.tenant.as_ref(), deadline).await?)
    }

    async fn has_secret(&self) -> Result<bool, Stopped> {
        let Clients { secrets, store, .. } = &**self.clients;
        match secrets.versions(store.database(), &self.args.user, Deadline::after(USER_BUDGET)).await {
            Ok(_) => Ok(true),
            Err(SecretChangeError::Missing) => Ok(false),
            Err(err) => Err(err.into()),
        }
    }

    /// Deletes all of it; what there was when no pulse wrote any more.
    async fn delete(&self, remains: &Remains) -> Result<Remains, Stopped> {
        let Clients { secrets, store, .. } = &**self.clients;
        let database = store.database();
        if remains.user {
            self.begun.set(Begun::Pause);
            self.commit(vec![switch(database, &self.id, false)]).await?;
        }
        // Who has no document is not paused, and cannot be resumed.
        let begin = |part| self.begun.set(if remains.user { part } else { Begun::Nothing });
        begin(Begun::Keys);
        secrets.delete_secret(database, &self.args.user, Deadline::after(USER_BUDGET)).await?;
        begin(Begun::Figures);
        self.delete_history().await?;
        let remains = self.remains().await?;
        self.delete_figures(&remains).await?;
        Ok(remains)
    }

    /// Deletes what shows the user's money. A pulse that had begun before the pause may write the tenant's document
    /// between the look and the deletion, and a deletion whose answer was lost is met again: then what there is by now
    /// decides.
    async fn delete_figures(&self, remains: &Remains) -> Result<(), Stopped> {
        let store = &self.clients.store;
        let mut deletions = remains.deletions_of_figures(store.database(), &self.id);
        for attempt in 1.. {
            if deletions.is_empty() {
                break;
            }
            match store.commit(&deletions, Deadline::after(USER_BUDGET)).await {
                Err(StoreError::Conflict(_)) if attempt < MAX_ATTEMPTS => {
                    deletions = self.remains().await?.deletions_of_figures(store.database(), &self.id);
                }
                done => return Ok(done.map(drop)?),
            }
        }
        Ok(())
    }

    async fn delete_history(&self) -> Result<(), Stopped> {
        while self.clients.store.delete_some_history(&self.id, Deadline::after(USER_BUDGET)).await? > 0 {}
        Ok(())
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), Stopped> {
        if !writes.is_empty() {
            self.clients.store.commit(&writes, Deadline::after(USER_BUDGET)).await?;
        }
        Ok(())
    }

    /// The tenant's document is the next member's at once, and not only when a pulse has come.
    async fn inherit(&self, remains: &Remains, report: &mut Report) -> Result<(), Stopped> {
        let Some(tenant) = remains.bequeathed(&self.id) else { return Ok(()) };
        let Some(heir) = &remains.heir else {
            let sentence = format!("Tenant {tenant} has no other member, and no document now.");
            report.found(Finding::new(CheckState::Ok, "TenantEmpty", sentence));
            return Ok(());
        };
        // A loop learns of it so.
        self.commit(vec![keys_updated(self.clients.store.database(), heir)]).await?;
        report.found(match sync_now(self.clients, heir, None).await? {
            OwnRun::Synced => {
                let sentence = format!("The document of tenant {tenant} shows the account of {heir} now.");
                Finding::new(CheckState::Ok, "HandedOver", sentence)
            }
            OwnRun::Paused => {
                let sentence = format!(
                    "Tenant {tenant} has no document now: {heir}, to whom it falls, is paused, as is whoever else is a \
                     member. It comes with the next pulse that syncs one of them."
                );
                // Somebody has paused them, and knows why.
                Finding::new(CheckState::Warning, "HandOverWaits", sentence)
            }
            OwnRun::NotOpen | OwnRun::Failed(_) => {
                let sentence = format!(
                    "Tenant {tenant} has no document now: {heir}, to whom it falls, could not be synced. It comes with \
                     the next pulse that syncs a member."
                );
                let mend = sync_alone(heir.as_str(), &self.flags);
                Finding::new(CheckState::Warning, "HandOverWaits", sentence).mended_by(mend)
            }
        });
        Ok(())
    }

    /// A sync that had begun before the user was paused may have ended after their documents were deleted.
    async fn look_again(&self) -> Result<(), Stopped> {
        let again = self.remains().await?;
        if again.is_nothing() {
            return Ok(());
        }
        self.delete_history().await?;
        self.delete_figures(&again).await
    }

    fn tell_others(&self, Remains { others, .. }: &Remains, report: &mut Report) {
        if !others.is_empty() {
            let below: Vec<String> = others.iter().map(|id| format!("users/{}/{id}", self.id)).collect();
            let sentence = format!("What other programs keep of the user stays: {}.", below.join(", "));
            report.found(Finding::new(CheckState::Warning, "OtherDataStays", sentence));
        }
    }
}
