//! `pulse migrate rollback`.

use crate::commands::frame::{CheckState, Finding, Report, confirm, grouped, run};
use crate::commands::migrate::ground::{Changing, budgets, cannot, changing};
use crate::commands::migrate::progress::Progress;
use crate::config::Place;
use crate::config::migrate_args::RollbackArgs;
use crate::documents::migration::{Journal, RunState};
use crate::migration::apply::ApplyError;
use crate::migration::rollback::{Undoer, Undone};
use crate::services::desk::Desk;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use std::process::ExitCode;

/// Documents that are named of those that are left; `--json` names all.
const NAMED: usize = 5;

pub(super) async fn rollback(args: &RollbackArgs) -> ExitCode {
    run("migrate rollback", &args.operator, async |place: &Place, report: &mut Report| {
        let desk = Desk::with_budgets(place, &budgets(&args.pace));
        let Some(database) = changing(&desk, report).await else { return };
        match database.run(&args.plan).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                let sentence = "No migration has this id.";
                let finding = Finding::new(CheckState::Failed, "NoMigration", sentence);
                report.found(finding.mended_by("pulse migrate status"));
                return report.exit_with(2);
            }
            Err(err) => return cannot(report, &err),
        }
        let question = format!("Undo {} in project {}?", args.plan, place.database.project);
        if let Err(refused) = confirm(&question, args.confirm).await {
            report.found(Finding::new(CheckState::Failed, "NotConfirmed", format!("{refused}.")));
            return report.exit_with(refused.exit_code());
        }
        let stop = Stop::on_signals().unwrap_or_default();
        let (left, ended) = undo_all(&database, &args.plan, &stop, report).await;
        conclude(&left, ended, (args, &stop), report);
        report.used(desk.used());
    })
    .await
}

/// What became of the journal.
#[derive(Debug, Default)]
struct Left {
    undone: u64,
    changed: u64,
    named: Vec<String>,
}

impl Left {
    fn note(&mut self, target: &str, outcome: Undone, report: &mut Report) {
        let word = match outcome {
            Undone::Undone => return self.undone += 1,
            Undone::Changed => "changed",
            Undone::Unreadable => "unreadable",
        };
        self.changed += 1;
        if self.named.len() < NAMED {
            self.named.push(target.to_owned());
        }
        report.item(&serde_json::json!({"target": target, "outcome": word}));
    }
}

async fn undo_all(
    database: &Changing,
    plan: &str,
    stop: &Stop,
    report: &mut Report,
) -> (Left, Result<(), ApplyError>) {
    let mut left = Left::default();
    if let Err(err) = database.record(plan, RunState::RollingBack, None).await {
        return (left, Err(err.into()));
    }
    report.begin_list("left");
    let (reader, writer, journal) = (&database.reader, &database.writer, Journal::Applied);
    let undoer = Undoer { reader, writer, plan, journal, stop };
    let mut progress = Progress::new("Undoing");
    let undoing = undoer.undo(|target, outcome| {
        left.note(target, outcome, report);
        progress.at(left.undone);
    });
    let ended = stop.run_until_stopped_for(DRAIN_LIMIT, undoing).await;
    let mut ended = ended.unwrap_or(Err(ApplyError::Stopped));
    if ended.is_ok() {
        ended = database.record(plan, RunState::RolledBack, None).await.map_err(ApplyError::from);
    }
    (left, ended)
}

fn conclude(
    left: &Left,
    ended: Result<(), ApplyError>,
    (args, stop): (&RollbackArgs, &Stop),
    report: &mut Report,
) {
    report.field("undone", &left.undone);
    if left.changed > 0 {
        let more = if left.changed as usize > left.named.len() { ", …" } else { "" };
        let (count, named) = (grouped(left.changed), left.named.join(", "));
        let sentence = format!(
            "{count} documents were changed by somebody else since, and are left as they are ({named}{more})."
        );
        report.found(Finding::new(CheckState::Failed, "ChangedSince", sentence));
    }
    let undone = grouped(left.undone);
    let again = format!("pulse migrate rollback --plan {}", args.plan);
    match ended {
        Ok(()) => {
            report.found(Finding::new(
                CheckState::Ok,
                "RolledBack",
                format!("{undone} changes were undone."),
            ));
        }
        Err(ApplyError::Stopped) => {
            let sentence = format!("Stopped after {undone} changes: run it again to go on.");
            report.found(Finding::new(CheckState::Warning, "Stopped", sentence).mended_by(again));
            report.exit_with(stop.signal().map_or(1, |signal| signal.exit_code()));
        }
        Err(ApplyError::Store(err)) => {
            cannot(report, &err);
            let sentence = format!("{undone} changes were undone before: run it again to go on.");
            report.found(Finding::new(CheckState::Unknown, "Incomplete", sentence).mended_by(again));
        }
    }
}
