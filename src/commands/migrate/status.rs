//! `pulse migrate status`.

use crate::commands::frame::{CheckState, Column, Finding, Report, Table, grouped, point, run};
use crate::commands::migrate::ground::{cannot, reader, typed_place};
use crate::config::Place;
use crate::config::operator_args::OperatorArgs;
use crate::documents::migration::{RUNS, Run, RunState};
use crate::firestore::StoreError;
use crate::firestore::reader::{Chunk, Reader};
use crate::services::desk::Desk;
use std::process::ExitCode;

const COLUMNS: [Column; 4] = [
    Column { title: "PLAN", rank: 0 },
    Column { title: "STATE", rank: 0 },
    Column { title: "MOVED", rank: 1 },
    Column { title: "LAST", rank: 2 },
];

pub(super) async fn status(args: &OperatorArgs) -> ExitCode {
    run("migrate status", args, async |place: &Place, report: &mut Report| {
        let desk = Desk::at(place);
        let Some(reader) = reader(&desk, report).await else { return };
        match runs(&reader).await {
            Ok(runs) => tell(&runs, &typed_place(args), report),
            Err(err) => cannot(report, &err),
        }
        report.used(desk.used());
    })
    .await
}

/// All migrations there were.
pub(super) async fn runs(reader: &Reader) -> Result<Vec<Run>, StoreError> {
    let mut runs: Vec<Run> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let Chunk { documents, is_last } = reader.chunk(&RUNS, after.as_deref(), None).await?;
        runs.extend(documents.iter().map(Run::of));
        after = documents.last().map(|document| document.name.clone()).or(after);
        if is_last {
            return Ok(runs);
        }
    }
}

fn tell(runs: &[Run], place: &str, report: &mut Report) {
    report.begin_list("migrations");
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    for Run { plan, state, moved, updated_at, .. } in runs {
        let (state, updated_at) = (state.map(RunState::as_str), updated_at.map(|time| time.to_string()));
        let of = serde_json::json!({"plan": plan, "state": state, "moved": moved, "updated_at": updated_at});
        report.item(&of);
    }
    if runs.is_empty() {
        let none = Finding::new(CheckState::Ok, "NoMigration", "Nothing was migrated.");
        return report.found(none.mended_by(format!("pulse migrate plan{place}")));
    }
    report.text(|page| Table::new(&COLUMNS).rows(page, &rows));
    runs.iter().filter_map(|run| next(run, place)).for_each(|finding| report.found(finding));
}

/// What goes on with a migration that is not at rest.
fn next(Run { plan, state, options, .. }: &Run, place: &str) -> Option<Finding> {
    const AGAIN: &str = "run it again to go on";
    const VERIFY: &str = "verify, and clean up again with the id that this prints";
    let (reason, go_on, command) = match (*state)? {
        RunState::Applying => ("Applying", AGAIN, format!("apply --plan {plan}{options}{place}")),
        RunState::RollingBack => ("RollingBack", AGAIN, format!("rollback --plan {plan}{place}")),
        RunState::Cleaning => ("Cleaning", VERIFY, format!("verify{options}{place}")),
        RunState::Closing => ("Closing", VERIFY, format!("verify{options}{place}")),
        RunState::Applied | RunState::RolledBack | RunState::Cleaned | RunState::Closed => return None,
    };
    let sentence = format!("{plan} is under way, or was stopped: {go_on}.");
    Some(Finding::new(CheckState::Warning, reason, sentence).mended_by(format!("pulse migrate {command}")))
}

fn row(run: &Run) -> Vec<String> {
    let state = run.state.map_or("unknown", RunState::as_str).to_owned();
    vec![run.plan.clone(), state, grouped(run.moved), run.updated_at.map(point).unwrap_or_default()]
}
