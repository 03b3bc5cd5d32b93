//! `pulse migrate plan`.

use crate::commands::frame::{CheckState, Finding, Report, grouped, point, run};
use crate::commands::migrate::ground::{cannot, now, numbered, options, reader, typed, unknown_owners};
use crate::commands::migrate::progress::Progress;
use crate::commands::migrate::told::{DocumentJson, counts, groups};
use crate::config::Place;
use crate::config::migrate_args::PlanArgs;
use crate::firestore::StoreError;
use crate::firestore::reader::Reader;
use crate::migration::load::Loader;
use crate::migration::options::{Options, Stamp};
use crate::migration::reason::Class;
use crate::migration::tally::Tally;
use crate::model::ids::Database;
use crate::model::prices;
use crate::services::desk::Desk;
use jiff::Timestamp;
use std::process::ExitCode;

/// Documents written for each change: its own, and its entry in the journal.
const WRITES_OF_A_CHANGE: u64 = 2;

pub(super) async fn plan(args: &PlanArgs) -> ExitCode {
    run("migrate plan", &args.operator, async |place: &Place, report: &mut Report| {
        let Some(options) = options(&args.whose, place, report) else { return };
        let desk = Desk::at(place);
        let Some(reader) = reader(&desk, report).await else { return };
        match survey(&reader, &options, report).await {
            Ok((at, tally)) => {
                let plan = options.plan(at);
                report.field("plan_id", &plan.to_string());
                report.field("read_time", &at.to_string());
                tell(&tally, &options, desk.used().firestore_reads, report);
                let unknown = unknown(&reader, &options, report).await;
                report.found_all(unknown);
                report.found_all(nothing_found(&tally, place).into_iter().collect());
                conclude(&tally, &options, (plan, &typed(&args.whose, &args.operator)), report);
            }
            Err(err) => cannot(report, &err),
        }
        report.used(desk.used());
    })
    .await
}

/// What is to be known of the owners that were named.
async fn unknown(reader: &Reader, options: &Options, report: &mut Report) -> Vec<Finding> {
    match unknown_owners(reader, &options.owners).await {
        Ok(finding) => finding.map(|f| Finding { state: CheckState::Warning, ..f }).into_iter().collect(),
        Err(err) => {
            cannot(report, &err);
            Vec::new()
        }
    }
}

/// Says that there is nothing at all: it may be the wrong database.
pub(super) fn nothing_found(tally: &Tally, place: &Place) -> Option<Finding> {
    let Database { project, database } = &place.database;
    let sentence = format!(
        "No legacy document was found in database {database} of project {project}: is it the right one?"
    );
    (tally.all() == 0).then(|| Finding::new(CheckState::Warning, "NothingFound", sentence))
}

/// All legacy documents at one point in time, which is now.
pub(super) async fn survey(
    reader: &Reader,
    options: &Options,
    report: &mut Report,
) -> Result<(Timestamp, Tally), StoreError> {
    let at = now(reader).await?;
    let loader = Loader::new(reader.at(at), &options.owners);
    let mut tally = Tally::default();
    let mut progress = Progress::new("Reading");
    report.begin_list("documents");
    loader
        .walk(async |chunk| {
            for judged in &chunk {
                tally.add(judged);
                report.item(&DocumentJson::of(judged));
            }
            progress.at(tally.all());
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok((at, tally))
}

fn tell(tally: &Tally, options: &Options, reads: u64, report: &mut Report) {
    let writes = tally.of(Class::Copy) * WRITES_OF_A_CHANGE;
    let dollars = prices::firestore(reads, writes);
    counts(tally, report);
    let estimate = serde_json::json!({
        "reads": reads, "writes": writes, "usd": (dollars * 100.0).round() / 100.0, "prices_as_of": prices::AS_OF,
    });
    report.field("estimate", &estimate);
    report.text(|page| {
        groups(tally, options, page);
        page.gap();
        page.paragraph(&format!(
            "To apply it reads about {} and writes {}: ${dollars:.2} at list prices ({}).",
            numbered(reads, "{} document[|s]"),
            grouped(writes),
            prices::AS_OF
        ));
    });
}

/// Documents that hold keys where none belong.
pub(super) fn keys_inside(tally: &Tally, state: CheckState) -> Option<Finding> {
    let words = "{} document[|s] that [is|are] not there for keys [holds|hold] some, and [is|are] left as [it is|they are]: delete the fields with keys, which nothing gives up.";
    let count = tally.with_keys();
    (count > 0).then(|| Finding::new(state, "KeysInside", numbered(count, words)))
}

fn conclude(tally: &Tally, options: &Options, (plan, typed): (Stamp, &str), report: &mut Report) {
    if let Some(finding) = keys_inside(tally, CheckState::Warning) {
        report.found(finding);
    }
    let open = tally.open(options) - tally.with_keys();
    if open > 0 {
        let words = "{} document[|s] [is|are] not moved until you have seen to [it|them]: correct [it|them], name [its|their] owner[|s], or give [it|them] up by --leave-behind.";
        let sentence = numbered(open, words);
        report.found(Finding::new(CheckState::Warning, "DocumentsOpen", sentence));
    }
    let secrets = tally.of(Class::Secret);
    if secrets > 0 {
        let words =
            "{} document[|s] [holds|hold] keys, which `apply` moves to Secret Manager once Alpaca took them.";
        let sentence = numbered(secrets, words);
        report.found(Finding::new(CheckState::Ok, "KeysInFirestore", sentence));
    }
    let found = match tally.of(Class::Copy) {
        0 => Finding::new(CheckState::Ok, "NothingToMove", "There is nothing to move."),
        changes => Finding::new(
            CheckState::Ok,
            "PlanReady",
            format!("{}, of what was there at {}.", numbered(changes, "{} change[|s]"), point(plan.at)),
        )
        .mended_by(format!("pulse migrate apply --plan {plan}{typed}")),
    };
    report.found(found);
}
