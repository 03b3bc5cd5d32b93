//! `pulse keys set`.

use crate::commands::failures::{LeadsOn, Stopped, by_alpaca, no_user, unless_told};
use crate::commands::frame::{self, CheckState, Finding, Report, confirm};
use crate::commands::keys::destroy::Waiting;
use crate::commands::keys::store::{Shelf, Stored, kind_of};
use crate::commands::keys::typed::{can_be_typed, typed, unusable};
use crate::commands::office::connect;
use crate::config::Place;
use crate::config::keys_args::{self, KeysSetArgs};
use crate::documents::user_changes::keys_updated;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::account::Account;
use crate::model::ids::{DocumentId, UserId};
use crate::model::keys::Environment;
use crate::model::pin::Pin;
use crate::model::suggested::{about, sync_alone};
use crate::model::typed_keys::TypedKeys;
use crate::pass::own_run::{OwnRun, sync_now};
use crate::services::alpaca::AlpacaError;
use crate::services::clients::Clients;
use crate::services::secret_manager::StoredKeys;
use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Arc;

pub(super) async fn run(args: &KeysSetArgs) -> ExitCode {
    frame::run("keys set", &args.operator, async |place, report| {
        if let Err(stopped) = begin(args, place, report).await {
            stopped.tell(&LeadsOn::from_about("keys set", &args.user, &args.as_typed(), place), report);
        }
    })
    .await
}

async fn begin(args: &KeysSetArgs, place: &Place, report: &mut Report) -> Result<(), Stopped> {
    let unknown = |err| unusable(format!("That is no user's id: {err}."));
    let user = keys_args::user(&args.user).map_err(unknown)?;
    can_be_typed(args)?;
    report.field("user", &user.as_str());
    let id = DocumentId::of_existing(user.as_str());
    let clients = unless_told(connect(place, &id)).await?;
    let flags = place.database.flags();
    let setting =
        Setting { args, clients: &clients, user: &user, id: &id, flags, may_be_stored: Cell::default() };
    let set = unless_told(setting.set(report)).await;
    if set.is_err() && setting.may_be_stored.get() {
        let sentence = "The keys may be stored by now. If there were others before, pulses may still use those: leave \
                        them alone at Alpaca until the same command has run to its end.";
        report.found(Finding::new(CheckState::Warning, "OldKeysInUse", sentence));
    }
    report.used(clients.usage.so_far());
    set
}

struct Setting<'a> {
    args: &'a KeysSetArgs,
    clients: &'a Arc<Clients>,
    user: &'a UserId,
    id: &'a DocumentId,
    /// By which another command works in the same place.
    flags: String,
    /// Whether it has come so far that other keys than before may be stored.
    may_be_stored: Cell<bool>,
}

impl Setting<'_> {
    async fn set(&self, report: &mut Report) -> Result<(), Stopped> {
        self.is_a_user().await?;
        let typed = typed(self.args).await?;
        let (user, environment) = (self.user, typed.keys.environment());
        // What a pulse wrote while they were typed counts too.
        let pin = self.clients.store.pin(self.id, Deadline::after(USER_BUDGET)).await?;
        let account = self.tried(&typed, pin.as_ref()).await?;
        self.tell(&typed, account.as_ref(), report);
        self.same_account(account.as_ref(), pin.as_ref())?;
        let question = format!("Store these keys for {user} ({})?", environment.as_str().to_uppercase());
        confirm(&question, self.args.confirm).await?;
        let shelf = Shelf { secrets: &self.clients.secrets, database: self.clients.store.database(), user };
        self.may_be_stored.set(true);
        let stored = shelf.put(&typed.payload).await?;
        self.tell_stored(&stored, report);
        let mark = keys_updated(self.clients.store.database(), self.id);
        self.clients.store.commit(&[mark], Deadline::after(USER_BUDGET)).await?;
        let keys = Arc::new(StoredKeys { keys: typed.keys, version: stored.version });
        let is_synced = self.sync(&keys, report).await?;
        let written = self.clients.store.pin(self.id, Deadline::after(USER_BUDGET)).await?;
        let waiting = Waiting {
            shelf,
            store: &self.clients.store,
            id: self.id,
            version: &keys.version,
            again: self.again_with(|args| args.destroy_old = true),
            own_snapshot: written.and_then(|pin| pin.updated_at),
        };
        match (is_synced, self.args.destroy_old) {
            (true, true) => waiting.destroy_old(self.args, report).await,
            (true, false) => {
                waiting.tell_later("`latest` may go on to be an older one for a while", report).await
            }
            (false, _) => waiting.tell_later("the user is not synced by the new version", report).await,
        }
    }

    /// Whoever does not exist gets no keys, and nobody is asked for any.
    async fn is_a_user(&self) -> Result<(), Stopped> {
        let (store, user) = (&self.clients.store, self.user);
        let existing = store.existing_user(self.id, None, Deadline::after(USER_BUDGET)).await?;
        if existing.profile.is_some() {
            return Ok(());
        }
        // Whoever mistyped the id sees by the place, and by the question of that command, that it is another one.
        let mend = about("user add", user.as_str(), &self.flags);
        Err(no_user(user.as_str(), store.database()).mended_by(mend))
    }

    /// The account that the keys open; none, where it is not open yet.
    async fn tried(&self, typed: &TypedKeys, pin: Option<&Pin>) -> Result<Option<Account>, Stopped> {
        match self.clients.alpaca.account(&typed.keys, Deadline::after(USER_BUDGET)).await {
            Ok(answer) => Ok(Some(answer.account)),
            // Nobody can tell whether it is the account of before.
            Err(AlpacaError::Incomplete(_)) if pin.is_none() || self.args.new_account => Ok(None),
            Err(AlpacaError::Incomplete(status)) => {
                let sentence = format!(
                    "Alpaca takes the keys, but their account is not open yet ({status}), and the snapshot shows one \
                     that is: nothing was stored."
                );
                Err(Stopped::failed("OtherAccount", sentence).mended_by(self.with_new_account()))
            }
            Err(AlpacaError::Rejected { .. }) => Err(self.rejected(typed)),
            Err(err) => Err(by_alpaca(&err)),
        }
    }

    fn rejected(&self, typed: &TypedKeys) -> Stopped {
        let tried = typed.keys.environment();
        let other = match tried {
            Environment::Paper => Environment::Live,
            Environment::Live => Environment::Paper,
        };
        let [tried, of] = [tried, other].map(Environment::as_str);
        let sentence = format!(
            "Alpaca does not take these keys for {tried} trading: nothing was stored. If they are of a {of} account, \
             say so."
        );
        let again = self.again_with(|args| {
            (args.paper, args.live) = (other == Environment::Paper, other == Environment::Live);
        });
        Stopped::failed("KeysRejected", sentence).mended_by(again)
    }

    fn with_new_account(&self) -> String {
        self.again_with(|args| args.new_account = true)
    }

    /// The same command with all flags that were typed, but for that change.
    fn again_with(&self, change: impl FnOnce(&mut KeysSetArgs)) -> String {
        about("keys set", self.user.as_str(), &format!("{}{}", self.args.as_typed_but(change), self.flags))
    }

    fn tell(&self, typed: &TypedKeys, account: Option<&Account>, report: &mut Report) {
        let environment = typed.keys.environment();
        report.field("environment", &environment.as_str());
        report.field("kind", &kind_of(&typed.keys).0);
        report.field("account", &account.map(|account| &account.external_account_id));
        report.field("account_status", &account.map(|account| account.status.as_str()));
        report.text(|page| {
            page.pair("user", self.user.as_str());
            page.pair("environment", out_loud(environment));
            page.pair("kind", kind_of(&typed.keys).1);
            let account = account
                .map(|account| format!("{} ({})", account.external_account_id, account.status.as_str()));
            page.pair("account", account.as_deref().unwrap_or("not open yet"));
        });
    }

    fn same_account(&self, account: Option<&Account>, pin: Option<&Pin>) -> Result<(), Stopped> {
        let Some((account, pin)) = account.zip(pin) else { return Ok(()) };
        if self.args.new_account || account.external_account_id == pin.account {
            return Ok(());
        }
        let sentence = format!(
            "These keys open another account than the snapshot shows, which is {}: nothing was stored.",
            pin.account
        );
        Err(Stopped::failed("OtherAccount", sentence).mended_by(self.with_new_account()))
    }

    fn tell_stored(&self, Stored { version, was_there }: &Stored, report: &mut Report) {
        report.field("key_version", &version.as_str());
        report.field("was_stored_before", was_there);
        let sentence = match was_there {
            true => format!("They were stored already, as version {}.", version.as_str()),
            false => format!("They are stored as version {}, and read back by its number.", version.as_str()),
        };
        report.found(Finding::new(CheckState::Ok, "KeysStored", sentence));
    }

    /// Whether the snapshot is made with these keys.
    async fn sync(&self, keys: &Arc<StoredKeys>, report: &mut Report) -> Result<bool, Stopped> {
        let user = self.user;
        let run = sync_now(self.clients, self.id, Some(keys)).await?;
        report.field("is_synced", &(run == OwnRun::Synced));
        report.found(match run {
            OwnRun::Synced => {
                let sentence = format!("The snapshot is made with version {}.", keys.version.as_str());
                Finding::new(CheckState::Ok, "Synced", sentence)
            }
            OwnRun::Paused => Finding::new(
                CheckState::Warning,
                "Paused",
                "The user is paused, and is not synced until that ends.",
            )
            .mended_by(about("user resume", user.as_str(), &self.flags)),
            OwnRun::NotOpen => {
                let sentence = "The account is not open yet: the user is synced once it is.";
                Finding::new(CheckState::Warning, "AccountNotOpen", sentence)
            }
            OwnRun::Failed(code) => {
                let sentence = format!("The keys are stored, but the sync failed: {}.", code.as_str());
                Finding::new(CheckState::Failed, "SyncFailed", sentence)
                    .mended_by(sync_alone(user.as_str(), &self.flags))
            }
        });
        Ok(run == OwnRun::Synced)
    }
}

fn out_loud(environment: Environment) -> &'static str {
    match environment {
        Environment::Paper => "PAPER, play money",
        Environment::Live => "LIVE, real money",
    }
}
