//! `pulse migrate apply`.

use crate::commands::frame::{CheckState, Finding, Report, confirm, grouped, run};
use crate::commands::migrate::ground::{
    Changing, among, budgets, cannot, changing, ended_early, options, refuse, refuse_in, typed,
};
use crate::commands::migrate::progress::Progress;
use crate::config::Place;
use crate::config::migrate_args::ApplyArgs;
use crate::documents::migration::RunState;
use crate::migration::apply::{Applier, ApplyError, Outcome};
use crate::migration::load::{Judged, Loader};
use crate::migration::options::{Options, Stamp};
use crate::migration::tally::Tally;
use crate::services::desk::Desk;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Documents that are named of those that were not moved; `--json` names all.
const NAMED: usize = 5;

pub(super) async fn apply(args: &ApplyArgs) -> ExitCode {
    run("migrate apply", &args.operator, async |place: &Place, report: &mut Report| {
        let Some((plan, options)) = asked(args, report) else { return };
        let desk = Desk::with_budgets(place, &budgets(&args.pace));
        let Some(database) = changing(&desk, report).await else { return };
        if !may_begin(&database, &args.plan, report).await {
            return;
        }
        let question = format!("Move the documents of {} in project {}?", args.plan, place.database.project);
        if let Err(refused) = confirm(&question, args.confirm).await {
            report.found(Finding::new(CheckState::Failed, "NotConfirmed", sentence(&refused.to_string())));
            return report.exit_with(refused.exit_code());
        }
        let stop = Stop::on_signals().unwrap_or_default();
        let applied = move_all(&database, (plan, &options), &stop, report).await;
        conclude(applied, (args, &stop), report);
        report.used(desk.used());
    })
    .await
}

/// The plan, with the options that it stands for.
fn asked(args: &ApplyArgs, report: &mut Report) -> Option<(Stamp, Options)> {
    let options = options(&args.whose, report)?;
    let plan: Stamp = match args.plan.parse() {
        Ok(plan) => plan,
        Err(err) => {
            refuse(report, "NoPlan", format!("--plan {:?} is no plan's id: {err}.", args.plan));
            return None;
        }
    };
    if options.plan(plan.at) != plan {
        let sentence = "The plan stands for other options: give --owner, --owners and --leave-behind as they were given to `pulse migrate plan`.";
        refuse(report, "OtherOptions", sentence);
        return None;
    }
    Some((plan, options))
}

/// What was undone is not done again by the same plan: its journal is gone.
async fn may_begin(database: &Changing, plan: &str, report: &mut Report) -> bool {
    match database.run(plan).await {
        Ok(None) => true,
        Ok(Some(run)) => match run.state {
            None | Some(RunState::Applying | RunState::Applied) => true,
            Some(state) => {
                refuse_in(state, plan, report);
                false
            }
        },
        Err(err) => {
            cannot(report, &err);
            false
        }
    }
}

/// What became of all documents.
#[derive(Debug, Default)]
struct Applied {
    all: Tally,
    moved: u64,
    others: BTreeMap<&'static str, Others>,
}

/// Those that were not moved for one cause.
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

impl Applied {
    fn note(&mut self, judged: &Judged, outcome: Outcome, report: &mut Report) {
        let cause = match outcome {
            Outcome::Moved => return self.moved += 1,
            Outcome::Late => "late",
            Outcome::Changed => "changed",
            Outcome::Refused => "refused",
        };
        let path = &judged.document.path;
        self.others.entry(cause).or_default().add(path);
        report.item(&serde_json::json!({"source": path, "outcome": cause}));
    }
}

async fn move_all(
    database: &Changing,
    (plan, options): (Stamp, &Options),
    stop: &Stop,
    report: &mut Report,
) -> (Applied, Result<(), ApplyError>) {
    let id = plan.to_string();
    let mut applied = Applied::default();
    if let Err(err) = database.record(&id, RunState::Applying, None).await {
        return (applied, Err(err.into()));
    }
    report.begin_list("not_moved");
    let loader = Loader::new(database.reader.clone(), &options.owners);
    let applier = Applier {
        loader: &loader,
        writer: &database.writer,
        database: database.reader.database(),
        plan: &id,
        planned_at: plan.at,
        stop,
    };
    let mut progress = Progress::new("Moving");
    let walking = loader.walk(async |chunk| {
        chunk.iter().for_each(|judged| applied.all.add(judged));
        progress.at(applied.all.all());
        applier.apply(chunk, &mut |judged, outcome| applied.note(judged, outcome, report)).await
    });
    let walked = stop.run_until_stopped_for(DRAIN_LIMIT, walking).await;
    let mut ended = walked.unwrap_or(Err(ApplyError::Stopped));
    if ended.is_ok() {
        let recorded = database.record(&id, RunState::Applied, Some(applied.moved)).await;
        ended = recorded.map_err(ApplyError::from);
    }
    (applied, ended)
}

fn conclude(
    (applied, ended): (Applied, Result<(), ApplyError>),
    (args, stop): (&ApplyArgs, &Stop),
    report: &mut Report,
) {
    report.field("moved", &applied.moved);
    for (cause, others) in &applied.others {
        report.found(finding(cause, others));
    }
    let again = format!("pulse migrate apply --plan {}{}", args.plan, typed(&args.whose));
    match ended {
        Ok(()) => report.found(
            Finding::new(CheckState::Ok, "Applied", format!("{} changes were made.", grouped(applied.moved)))
                .mended_by(format!("pulse migrate verify{}", typed(&args.whose))),
        ),
        Err(err) => ended_early(&err, &grouped(applied.moved), (&again, stop), report),
    }
}

fn finding(cause: &str, others: &Others) -> Finding {
    let (reason, words) = match cause {
        "late" => (
            "WrittenLater",
            "were written after the plan, so an old writer still runs: stop it, and make a new plan",
        ),
        "changed" => ("ChangedMeanwhile", "were changed by somebody else at the same time: make a new plan"),
        _ => ("RefusedByFirestore", "are not taken by Firestore"),
    };
    let sentence = format!("{} {words}.", among(others.count, &others.named));
    Finding::new(CheckState::Failed, reason, sentence).mended_by("pulse migrate plan")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
