//! What all of `pulse migrate` begins with: what the operator said, and a client of Firestore.

use crate::commands::frame::{CheckState, Finding, Report, grouped};
use crate::config::Place;
use crate::config::migrate_args::{OpenClass, PaceArgs, SecretPaceArgs, WhoseArgs};
use crate::config::operator_args::OperatorArgs;
use crate::documents::migration::{Run, RunState, Step, run_path};
use crate::firestore::reader::Reader;
use crate::firestore::{Store, StoreError};
use crate::limits::rate::Budgets;
use crate::limits::retry::Deadline;
use crate::migration::apply::ApplyError;
use crate::migration::options::{Options, Stamp};
use crate::migration::owners::Owners;
use crate::migration::reason::Class;
use crate::model::ids::DocumentId;
use crate::services::alpaca::Alpaca;
use crate::services::desk::Desk;
use crate::services::secret_manager::SecretManager;
use crate::services::writer::Writer;
use crate::shutdown::Stop;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// For saying how far a migration has come, all tries together.
const RECORD_BUDGET: Duration = Duration::from_secs(20);

/// How many are named of more; `--json` names all.
const NAMED: usize = 5;

/// Bad usage, see the contract's exit codes.
const USAGE: u8 = 2;

/// What the operator said; nothing, and told, where that cannot be used.
pub(super) fn options(args: &WhoseArgs, place: &Place, report: &mut Report) -> Option<Options> {
    let parsed = read(args).map(|options| Options { database: place.database.name(), ..options });
    parsed.map_err(|wrong| refuse(report, "OptionsUnusable", wrong)).ok()
}

/// Says that nothing was done, because of what was typed.
pub(super) fn refuse(report: &mut Report, reason: &'static str, sentence: impl Into<String>) {
    report.found(Finding::new(CheckState::Failed, reason, sentence));
    report.exit_with(USAGE);
}

fn read(args: &WhoseArgs) -> Result<Options, String> {
    let id = |text: &str| DocumentId::parse(text).map_err(|err| format!("{text:?} is no user's id: {err}."));
    let single = args.owner.as_deref().map(id).transpose()?;
    let named = args.owners.as_deref().map(by_tenant).transpose()?.unwrap_or_default();
    let of_tenants = named.iter().map(|(tenant, owner)| Ok((tenant.clone(), id(owner)?)));
    let of_tenants = of_tenants.collect::<Result<_, String>>()?;
    let left_behind = args.leave_behind.iter().map(|class| match class {
        OpenClass::NewerTarget => Class::NewerTarget,
        OpenClass::Ambiguous => Class::Ambiguous,
        OpenClass::Malformed => Class::Malformed,
        OpenClass::Secret => Class::Secret,
    });
    let owners = Owners { single, of_tenants };
    Ok(Options { owners, left_behind: left_behind.collect(), ..Options::default() })
}

fn by_tenant(file: &Path) -> Result<BTreeMap<String, String>, String> {
    let cannot = |err: &dyn Display| format!("The owners cannot be read from {}: {err}.", file.display());
    let text = std::fs::read_to_string(file).map_err(|err| cannot(&err))?;
    serde_json::from_str(&text).map_err(|err| cannot(&err))
}

/// Says that owners were named of whom no document says that they are users; nothing if there are none.
pub(super) async fn unknown_owners(reader: &Reader, owners: &Owners) -> Result<Option<Finding>, StoreError> {
    let named = owners.named();
    let name = |owner: &&str| reader.database().document(format_args!("users/{owner}"));
    let found = reader.existing(&named.iter().map(name).collect::<Vec<_>>()).await?;
    let mut unknown = Others::default();
    named.iter().filter(|owner| !found.contains(&name(owner))).for_each(|owner| unknown.add(owner));
    let more = if unknown.count as usize > unknown.named.len() { ", …" } else { "" };
    let words = "named as [owner|owners] [has|have] no document below `users`: is it what you meant? `pulse user add` makes one.";
    let sentence = format!("{}{more}, {}", unknown.named.join(", "), numbered(unknown.count, words));
    Ok((unknown.count > 0).then(|| Finding::new(CheckState::Failed, "OwnerUnknown", sentence)))
}

/// How late it is to Firestore.
pub(super) async fn now(reader: &Reader) -> Result<Timestamp, StoreError> {
    // Whatever is asked for: every answer has the time.
    Ok(reader.time(&run_path("none")).await?.unwrap_or_else(Timestamp::now))
}

/// What was typed, for the next command: the options that a plan stands for, and where to look.
pub(super) fn typed(whose: &WhoseArgs, operator: &OperatorArgs) -> String {
    typed_whose(whose) + &typed_place(operator)
}

/// Where to look, as it was typed.
pub(super) fn typed_place(operator: &OperatorArgs) -> String {
    let project = operator.project.iter().map(|project| format!(" --project {}", quoted(project)));
    let database = Some(&operator.database).filter(|database| *database != "(default)");
    project.chain(database.map(|database| format!(" --database {}", quoted(database)))).collect()
}

/// The options that a plan stands for, as they were typed.
pub(super) fn typed_whose(args: &WhoseArgs) -> String {
    let owner = args.owner.iter().map(|owner| format!(" --owner {}", quoted(owner)));
    let owners = args.owners.iter().map(|file| format!(" --owners {}", quoted(&file.display().to_string())));
    let left = args.leave_behind.iter().map(|class| match class {
        OpenClass::NewerTarget => " --leave-behind newer_target".to_owned(),
        OpenClass::Ambiguous => " --leave-behind ambiguous".to_owned(),
        OpenClass::Malformed => " --leave-behind malformed".to_owned(),
        OpenClass::Secret => " --leave-behind secret".to_owned(),
    });
    owner.chain(owners).chain(left).collect()
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./@".contains(&b));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Firestore, by which nothing can be written; nothing, and told, where it cannot be had.
pub(super) async fn reader(desk: &Desk<'_>, report: &mut Report) -> Option<Reader> {
    Some(Reader::new(store(desk, report).await?))
}

/// Firestore to be changed.
pub(super) struct Changing {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Firestore to be changed; nothing, and told, where it cannot be had.
pub(super) async fn changing(desk: &Desk<'_>, report: &mut Report) -> Option<Changing> {
    let store = store(desk, report).await?;
    let writer = Writer::new(false, &store, desk.limits());
    Some(Changing { reader: Reader::new(store), writer })
}

/// Secret Manager; nothing, and told, where it cannot be had.
pub(super) async fn secrets(desk: &Desk<'_>, report: &mut Report) -> Option<SecretManager> {
    let connected = desk.secrets().await;
    connected.map_err(|err| unknown(report, "SecretManagerUnavailable", &err)).ok()
}

/// Alpaca; nothing, and told, where it cannot be had.
pub(super) fn alpaca(desk: &Desk<'_>, report: &mut Report) -> Option<Alpaca> {
    desk.alpaca().map_err(|err| unknown(report, "AlpacaUnavailable", &err)).ok()
}

async fn store(desk: &Desk<'_>, report: &mut Report) -> Option<Arc<Store>> {
    let connected = desk.store().await;
    connected.map_err(|err| cannot(report, &err)).ok()
}

/// How fast documents may be written, and secrets looked at and changed.
pub(super) fn budgets(args: &PaceArgs) -> Budgets {
    Budgets {
        max_writes_per_second: args.max_writes_per_second,
        ramp_writes: args.ramp_writes,
        ..secret_budgets(&args.secrets)
    }
}

/// How fast secrets may be looked at.
pub(super) fn secret_budgets(args: &SecretPaceArgs) -> Budgets {
    Budgets {
        secret_accesses_per_minute: args.secret_accesses_per_minute,
        secret_calls_per_minute: args.secret_calls_per_minute,
        ..Budgets::default()
    }
}

impl Changing {
    /// The documents' own one of a migration, if it was begun.
    pub(super) async fn run(&self, plan: &str) -> Result<Option<Run>, StoreError> {
        let name = self.reader.database().document(format_args!("{}", run_path(plan)));
        let found = self.reader.found(&[name]).await?;
        Ok(found.documents.values().next().map(Run::of))
    }

    /// Says how far it has come.
    pub(super) async fn record<'a>(&self, plan: &str, step: impl Into<Step<'a>>) -> Result<(), StoreError> {
        let write = Run::write(self.reader.database(), plan, step.into());
        self.writer.commit(&[write], Deadline::after(RECORD_BUDGET).tried_to_the_end()).await
    }
}

/// Says that Firestore could not be asked, and with it nothing else known.
pub(super) fn cannot(report: &mut Report, err: &dyn std::error::Error) {
    unknown(report, "FirestoreUnavailable", err);
}

fn unknown(report: &mut Report, reason: &'static str, err: &dyn std::error::Error) {
    let sentence = format!("{}.", crate::telemetry::Chain(err));
    report.found(Finding::new(CheckState::Unknown, reason, sentence));
}

/// A plan's id; nothing, and told, where it is none.
pub(super) fn stamp(plan: &str, report: &mut Report) -> Option<Stamp> {
    let parsed = plan.parse::<Stamp>();
    parsed.map_err(|err| refuse(report, "NoPlan", format!("--plan {plan:?} is no plan's id: {err}."))).ok()
}

/// How far a migration has come that was begun; nothing, and told, where there is none.
pub(super) async fn begun(database: &Changing, plan: &str, report: &mut Report) -> Option<RunState> {
    stamp(plan, report)?;
    match database.run(plan).await {
        Ok(Some(Run { state: Some(state), .. })) => Some(state),
        Ok(_) => {
            let finding = Finding::new(CheckState::Failed, "NoMigration", "No migration has this id.");
            let flags = database.reader.database().flags();
            report.found(finding.mended_by(format!("pulse migrate status{flags}")));
            report.exit_with(USAGE);
            None
        }
        Err(err) => {
            cannot(report, &err);
            None
        }
    }
}

/// Says that a migration in that state is not for this command; with the place, as it was typed.
pub(super) fn refuse_in(state: RunState, (plan, place): (&str, &str), report: &mut Report) {
    let command = |command: String| Some(format!("pulse migrate {command}{place}"));
    let (sentence, mend) = match state {
        RunState::RollingBack => (
            "It is being rolled back, or that was stopped: roll it back to the end first.",
            command(format!("rollback --plan {plan}")),
        ),
        RunState::RolledBack => ("It was rolled back: make a new plan.", command("plan".to_owned())),
        RunState::Cleaning | RunState::Cleaned => (
            "The legacy documents were deleted: give them back first.",
            command(format!("cleanup --plan {plan} --undo")),
        ),
        RunState::Closing => (
            "The last step of the clean-up was begun: the journal is gone, or in part, and nothing can be given back.",
            command("status".to_owned()),
        ),
        RunState::Closed => ("It is over, and so is its journal: nothing can be given back.", None),
        RunState::Applying => ("It is not applied to the end: run `pulse migrate apply` again first.", None),
        RunState::Applied => ("It is applied, and nothing was deleted.", None),
    };
    let finding = Finding::new(CheckState::Failed, "NotInThisState", sentence);
    report.found(Finding { mend, ..finding });
}

/// A sentence about so many: `{}` is how many, and of `[one|more]` the first is for one.
pub(super) fn numbered(count: u64, sentence: &str) -> String {
    let mut rest = sentence;
    let mut told = String::new();
    while let Some((before, behind)) = rest.split_once('[')
        && let Some((choice, behind)) = behind.split_once(']')
        && let Some((one, more)) = choice.split_once('|')
    {
        told += before;
        told += if count == 1 { one } else { more };
        rest = behind;
    }
    (told + rest).replacen("{}", &grouped(count), 1)
}

/// Documents, or others by their names, of which one thing is to be told.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) count: u64,
    pub(super) named: Vec<String>,
}

impl Others {
    pub(super) fn add(&mut self, path: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(path.to_owned());
        }
    }
}

/// What is so of so many documents, of which some are named.
pub(super) fn among(count: u64, named: &[String], words: &str) -> String {
    let more = if count as usize > named.len() { ", …" } else { "" };
    let documents = numbered(count, "{} document[|s]");
    format!("{documents} ({}{more}) {}", named.join(", "), numbered(count, words))
}

/// Says why a command ended before all was done, and what goes on with it.
pub(super) fn ended_early(err: &ApplyError, done: u64, (again, stop): (&str, &Stop), report: &mut Report) {
    let (state, reason) = match err {
        ApplyError::Stopped => (CheckState::Warning, "Stopped"),
        ApplyError::Store(err) => {
            cannot(report, err);
            (CheckState::Unknown, "Incomplete")
        }
        ApplyError::RolledBack => {
            let words = "A rollback of this plan has begun. {} change[|s] [was|were] made before it was seen, of which it \
                         may have missed some: run `pulse migrate rollback` once more.";
            return report.found(Finding::new(
                CheckState::Failed,
                "RolledBackMeanwhile",
                numbered(done, words),
            ));
        }
    };
    let sentence = numbered(done, "{} change[|s] [was|were] made before: run it again to go on.");
    report.found(Finding::new(state, reason, sentence).mended_by(again));
    if let ApplyError::Stopped = err {
        report.exit_with(stop.signal().map_or(1, |signal| signal.exit_code()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_can_be_typed_again() {
        let args = WhoseArgs {
            owner: Some("ana@example.com".into()),
            owners: Some("my owners'.json".into()),
            leave_behind: vec![OpenClass::NewerTarget, OpenClass::Malformed],
        };
        let expected = " --owner ana@example.com --owners 'my owners'\\''.json' --leave-behind newer_target \
                        --leave-behind malformed";
        assert_eq!(typed_whose(&args), expected);
    }

    #[test]
    fn one_is_no_plural() {
        let words = "{} document[|s] [is|are] not moved, {}.";
        assert_eq!(numbered(1, words), "1 document is not moved, {}.");
        assert_eq!(numbered(0, words), "0 documents are not moved, {}.");
        assert_eq!(numbered(2000, words), "2,000 documents are not moved, {}.");
        assert_eq!(numbered(2, "no [choice, and ] none"), "no [choice, and ] none");
        let named = ["a".to_owned()];
        assert_eq!(among(1, &named, "[has|have] keys."), "1 document (a) has keys.");
        assert_eq!(among(2, &named, "[has|have] keys."), "2 documents (a, …) have keys.");
    }

    #[test]
    fn owners_that_are_no_users_are_refused() {
        let args = |owner: &str, owners: Option<&str>| WhoseArgs {
            owner: Some(owner.into()),
            owners: owners.map(Into::into),
            leave_behind: vec![],
        };
        assert!(read(&args("ana", None)).is_ok());
        for (owner, owners, part) in
            [("a/b", None, "\"a/b\" is no user's id"), ("ana", Some("/nowhere.json"), "/nowhere.json")]
        {
            let told = read(&args(owner, owners)).expect_err("refused");
            assert!(told.contains(part), "{told}");
        }
    }
}
