//! `pulse migrate rollback`.

use crate::commands::failures::not_confirmed;
use crate::commands::frame::{CheckState, Finding, Report, confirm, run};
use crate::commands::migrate::ground::{
    self, Changing, Others, among, begun, budgets, cannot, changing, ended_early, numbered, refuse_in,
    typed_place,
};
use crate::commands::migrate::keys::{KeyLook, take_back};
use crate::commands::migrate::progress::Progress;
use crate::commands::migrate::status::runs;
use crate::config::Place;
use crate::config::migrate_args::ChangeArgs;
use crate::config::operator_args::OperatorArgs;
use crate::documents::migration::{Journal, Run, RunState};
use crate::firestore::StoreError;
use crate::migration::apply::ApplyError;
use crate::migration::options::Stamp;
use crate::migration::rollback::{UndoOutcome, Undoer};
use crate::services::desk::Desk;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use jiff::Timestamp;
use std::process::ExitCode;

pub(super) async fn rollback(args: &ChangeArgs) -> ExitCode {
    run("migrate rollback", &args.operator, async |place: &Place, report: &mut Report| {
        let desk = Desk::with_budgets(place, &budgets(&args.pace));
        let Some(database) = changing(&desk, report).await else { return };
        let Some(state) = begun(&database, &args.plan, report).await else { return };
        if matches!(state, RunState::Cleaning | RunState::Cleaned | RunState::Closing | RunState::Closed) {
            return refuse_in(state, (&args.plan, &typed_place(&args.operator)), report);
        }
        match deleter(&database, &args.plan).await {
            Ok(None) => {}
            Ok(Some(other)) => return refuse_because_of(&other, &args.operator, report),
            Err(err) => return cannot(report, &err),
        }
        let question = format!("Undo {} in project {}?", args.plan, place.database.project);
        if let Err(refused) = confirm(&question, args.confirm).await {
            return not_confirmed(refused, report);
        }
        let stop = Stop::on_signals().unwrap_or_default();
        let undoing = Undoing {
            desk: &desk,
            database: &database,
            plan: &args.plan,
            journal: Journal::Applied,
            states: [RunState::RollingBack, RunState::RolledBack],
            again: format!("pulse migrate rollback --plan {}{}", args.plan, typed_place(&args.operator)),
        };
        undoing.undo(&stop, report).await;
        report.used(desk.used());
    })
    .await
}

/// Another migration, whose clean-up may have deleted what this one's changes were made of.
async fn deleter(database: &Changing, plan: &str) -> Result<Option<Run>, StoreError> {
    let planned = plan.parse::<Stamp>().map_or(Timestamp::MIN, |plan| plan.at);
    let runs = runs(&database.reader).await?;
    Ok(runs.into_iter().find(|run| run.plan != plan && run.may_have_deleted_since(planned)))
}

fn refuse_because_of(other: &Run, operator: &OperatorArgs, report: &mut Report) {
    let plan = &other.plan;
    let sentence = format!(
        "The clean-up of {plan} has deleted older documents: what this plan made of them may be all that is left, and nothing was undone."
    );
    let finding = Finding::new(CheckState::Failed, "CleanedUpByAnother", sentence);
    let undo = format!("pulse migrate cleanup --plan {plan} --undo{}", typed_place(operator));
    let is_undoable = matches!(other.state, Some(RunState::Cleaning | RunState::Cleaned));
    report.found(if is_undoable { finding.mended_by(undo) } else { finding });
}

/// What became of the journal.
#[derive(Debug, Default)]
struct Left {
    undone: u64,
    changed: Others,
    /// Their legacy documents are gone.
    alone: Others,
    has_secrets: bool,
}

impl Left {
    fn note(&mut self, target: &str, outcome: UndoOutcome, report: &mut Report) {
        let word = match outcome {
            UndoOutcome::Done => return self.undone += 1,
            UndoOutcome::Changed => "changed",
            UndoOutcome::SourceGone => "source_gone",
            UndoOutcome::Unreadable => "unreadable",
            UndoOutcome::Secret => return self.has_secrets = true,
        };
        self.leave(target, word, report);
    }

    fn leave(&mut self, target: &str, word: &str, report: &mut Report) {
        let others = if word == "source_gone" { &mut self.alone } else { &mut self.changed };
        others.add(target);
        report.item(&serde_json::json!({"target": target, "outcome": word}));
    }
}

/// A journal that is being undone.
pub(super) struct Undoing<'a> {
    pub(super) desk: &'a Desk<'a>,
    pub(super) database: &'a Changing,
    pub(super) plan: &'a str,
    pub(super) journal: Journal,
    /// While it is, and when it was.
    pub(super) states: [RunState; 2],
    /// The command that goes on with it.
    pub(super) again: String,
}

impl Undoing<'_> {
    /// Undoes it, and tells what came of it.
    pub(super) async fn undo(&self, stop: &Stop, report: &mut Report) {
        let mut left = Left::default();
        let ended = self.undo_all(&mut left, stop, report).await;
        report.field("undone", &left.undone);
        self.conclude(&left, ended, stop, report);
    }

    async fn undo_all(&self, left: &mut Left, stop: &Stop, report: &mut Report) -> Result<(), ApplyError> {
        let [during, behind] = self.states;
        self.database.record(self.plan, during).await?;
        report.begin_list("left");
        let Changing { reader, writer } = self.database;
        let undoer = Undoer { reader, writer, plan: self.plan, journal: self.journal, stop };
        let mut progress = Progress::new("Undoing");
        let undoing = undoer.undo(|target, outcome| {
            left.note(target, outcome, report);
            progress.at(left.undone);
        });
        let ended = stop.run_until_stopped_for(DRAIN_LIMIT, undoing).await;
        ended.unwrap_or(Err(ApplyError::Stopped))?;
        self.take_back(&undoer, left, report).await?;
        Ok(self.database.record(self.plan, behind).await?)
    }

    /// Disables the secrets that were stored, when all else is undone. None is deleted.
    async fn take_back(
        &self,
        undoer: &Undoer<'_>,
        left: &mut Left,
        report: &mut Report,
    ) -> Result<(), ApplyError> {
        if !left.has_secrets {
            return Ok(());
        }
        let Some(manager) = ground::secrets(self.desk, report).await else { return Err(ApplyError::Stopped) };
        let look = KeyLook { reader: &self.database.reader, secrets: &manager, alpaca: None };
        undoer
            .secrets(async |secret| {
                match take_back(&look, &self.database.writer, &secret).await? {
                    true => left.undone += 1,
                    false => left.leave(&secret.source, "secret_changed", report),
                }
                Ok(())
            })
            .await
    }

    fn conclude(&self, left: &Left, ended: Result<(), ApplyError>, stop: &Stop, report: &mut Report) {
        for (others, reason, words) in [
            (
                &left.changed,
                "ChangedSince",
                "[was|were] changed by somebody else since, and [is|are] left as [it is|they are].",
            ),
            (
                &left.alone,
                "SourceGone",
                "[was|were] made of [a document that is|documents that are] gone, and [is|are] left: nothing else of [it|them] may be.",
            ),
        ] {
            if others.count > 0 {
                let sentence = among(others.count, &others.named, words);
                report.found(Finding::new(CheckState::Failed, reason, sentence));
            }
        }
        match ended {
            Ok(()) => {
                let sentence = numbered(left.undone, "{} change[|s] [was|were] undone.");
                report.found(Finding::new(CheckState::Ok, "RolledBack", sentence));
            }
            Err(err) => ended_early(&err, left.undone, (&self.again, stop), report),
        }
    }
}
