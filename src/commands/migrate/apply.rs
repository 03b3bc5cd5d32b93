//! `pulse migrate apply`.

use crate::commands::failures::not_confirmed;
use crate::commands::frame::{CheckState, Finding, Report, confirm, run};
use crate::commands::migrate::ground::{
    Changing, Others, alpaca, among, budgets, cannot, changing, ended_early, now, numbered, options, refuse,
    refuse_in, secrets, stamp, typed, typed_place, typed_whose, unknown_owners,
};
use crate::commands::migrate::keys::{KeyLook, KeyMove, KeysOutcome};
use crate::commands::migrate::progress::Progress;
use crate::config::Place;
use crate::config::migrate_args::ApplyArgs;
use crate::documents::migration::{RunState, Step};
use crate::firestore::StoreError;
use crate::migration::apply::{Applier, ApplyError, Outcome};
use crate::migration::load::{Judged, Loader};
use crate::migration::options::{Options, Stamp};
use crate::migration::reason::Class;
use crate::services::desk::Desk;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use std::collections::BTreeMap;
use std::process::ExitCode;

pub(super) async fn apply(args: &ApplyArgs) -> ExitCode {
    run("migrate apply", &args.change.operator, async |place: &Place, report: &mut Report| {
        let Some((plan, options)) = asked(args, place, report) else { return };
        let desk = Desk::with_budgets(place, &budgets(&args.change.pace));
        let Some(database) = changing(&desk, report).await else { return };
        if !may_begin(&database, (plan, &options), args, report).await {
            return;
        }
        let question =
            format!("Move the documents of {} in project {}?", args.change.plan, place.database.project);
        if let Err(refused) = confirm(&question, args.change.confirm).await {
            return not_confirmed(refused, report);
        }
        let stop = Stop::on_signals().unwrap_or_default();
        let typed = typed_whose(&args.whose);
        let moving = Moving { desk: &desk, database: &database, plan, options: &options, typed, stop: &stop };
        let applied = moving.all(report).await;
        let is_given_up = options.left_behind.contains(&Class::Secret);
        conclude(applied, (args, is_given_up, &stop), report);
        report.used(desk.used());
    })
    .await
}

/// The plan, with the options that it stands for.
fn asked(args: &ApplyArgs, place: &Place, report: &mut Report) -> Option<(Stamp, Options)> {
    let options = options(&args.whose, place, report)?;
    let plan = stamp(&args.change.plan, report)?;
    if options.plan(plan.at) != plan {
        let sentence = "The plan stands for other options: give --project, --database, --owner, --owners and --leave-behind as they were given to `pulse migrate plan`.";
        refuse(report, "OtherOptions", sentence);
        return None;
    }
    Some((plan, options))
}

/// What was undone is not done again by the same plan: its journal is gone.
async fn may_begin(
    database: &Changing,
    plan: (Stamp, &Options),
    args: &ApplyArgs,
    report: &mut Report,
) -> bool {
    let (id, place) = (&args.change.plan, typed_place(&args.change.operator));
    match obstacle(database, plan, id).await {
        Ok(None) => true,
        Ok(Some(Obstacle::State(state))) => {
            refuse_in(state, (id, &place), report);
            false
        }
        Ok(Some(Obstacle::Typed(finding))) => {
            refuse(report, finding.reason, finding.sentence);
            false
        }
        Err(err) => {
            cannot(report, &err);
            false
        }
    }
}

/// What keeps a plan from being applied.
enum Obstacle {
    State(RunState),
    Typed(Finding),
}

async fn obstacle(
    database: &Changing,
    (plan, options): (Stamp, &Options),
    id: &str,
) -> Result<Option<Obstacle>, StoreError> {
    let state = database.run(id).await?.and_then(|run| run.state);
    if let Some(state) = state.filter(|state| !matches!(state, RunState::Applying | RunState::Applied)) {
        return Ok(Some(Obstacle::State(state)));
    }
    if plan.at > now(&database.reader).await? {
        let sentence = "The plan's time is ahead of Firestore's: nobody has made it.";
        return Ok(Some(Obstacle::Typed(Finding::new(CheckState::Failed, "NoPlan", sentence))));
    }
    Ok(unknown_owners(&database.reader, &options.owners).await?.map(Obstacle::Typed))
}

/// What became of all documents.
#[derive(Debug, Default)]
struct Applied {
    seen: u64,
    moved: u64,
    keys_moved: u64,
    others: BTreeMap<&'static str, Others>,
    keys: KeysLeft,
}

/// The documents whose keys are not where they should be.
pub(super) type KeysLeft = BTreeMap<KeysOutcome, Others>;

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

    fn note_keys(&mut self, path: &str, outcome: KeysOutcome, report: &mut Report) {
        match outcome {
            KeysOutcome::Moved => self.keys_moved += 1,
            KeysOutcome::Same | KeysOutcome::Absent => {}
            left => {
                self.keys.entry(left).or_default().add(path);
                report.item(&serde_json::json!({"source": path, "outcome": left.as_str()}));
            }
        }
    }
}

/// What is moved, and by what.
struct Moving<'a> {
    desk: &'a Desk<'a>,
    database: &'a Changing,
    plan: Stamp,
    options: &'a Options,
    /// As they were typed.
    typed: String,
    stop: &'a Stop,
}

impl Moving<'_> {
    async fn all(&self, report: &mut Report) -> (Applied, Result<(), ApplyError>) {
        let mut applied = Applied::default();
        let ended = self.all_in(&mut applied, report).await;
        (applied, ended)
    }

    /// What was moved before it was stopped counts too.
    async fn all_in(&self, applied: &mut Applied, report: &mut Report) -> Result<(), ApplyError> {
        let id = self.plan.to_string();
        let before = self.database.run(&id).await?.map_or(0, |run| run.moved);
        let options = Some(self.typed.as_str());
        self.database.record(&id, Step { state: RunState::Applying, moved: None, options }).await?;
        let ended = self.stages(&id, applied, report).await;
        let state = match ended {
            Ok(()) => RunState::Applied,
            Err(ApplyError::Stopped) => RunState::Applying,
            Err(ApplyError::Store(_) | ApplyError::RolledBack) => return ended,
        };
        self.is_not_rolled_back(&id).await?;
        let moved = Some(before + applied.moved);
        let recorded = self.database.record(&id, Step { state, moved, options }).await;
        ended.and(recorded.map_err(ApplyError::from))
    }

    /// Somebody may begin to undo it while it goes on: another `apply` of the plan is no harm, a rollback is.
    async fn is_not_rolled_back(&self, id: &str) -> Result<(), ApplyError> {
        let state = self.database.run(id).await?.and_then(|run| run.state);
        match state {
            Some(RunState::RollingBack | RunState::RolledBack) => Err(ApplyError::RolledBack),
            _ => Ok(()),
        }
    }

    async fn stages(&self, id: &str, applied: &mut Applied, report: &mut Report) -> Result<(), ApplyError> {
        let clients = async { Some((secrets(self.desk, report).await?, alpaca(self.desk, report)?)) };
        let clients = clients.await;
        report.begin_list("not_moved");
        let documents = self.documents(id, applied, report);
        let moved = self.stop.run_until_stopped_for(DRAIN_LIMIT, documents).await;
        moved.unwrap_or(Err(ApplyError::Stopped))?;
        // It was told why there are none.
        let Some((secrets, alpaca)) = clients else { return Err(ApplyError::Stopped) };
        let look = KeyLook { reader: &self.database.reader, secrets: &secrets, alpaca: Some(&alpaca) };
        let keys = KeyMove { look, writer: &self.database.writer, plan: id, stop: self.stop };
        let moving = keys.all(|path, outcome| applied.note_keys(path, outcome, report));
        let moved = self.stop.run_until_stopped_for(DRAIN_LIMIT, moving).await;
        moved.unwrap_or(Err(ApplyError::Stopped))
    }

    async fn documents(
        &self,
        id: &str,
        applied: &mut Applied,
        report: &mut Report,
    ) -> Result<(), ApplyError> {
        let loader = Loader::new(self.database.reader.clone(), &self.options.owners);
        let applier = Applier {
            loader: &loader,
            writer: &self.database.writer,
            database: self.database.reader.database(),
            plan: id,
            planned_at: self.plan.at,
            stop: self.stop,
        };
        let mut progress = Progress::new("Moving");
        loader
            .walk(async |chunk| {
                self.is_not_rolled_back(id).await?;
                applied.seen += chunk.len() as u64;
                progress.at(applied.seen);
                applier.apply(chunk, &mut |judged, outcome| applied.note(judged, outcome, report)).await
            })
            .await
    }
}

fn conclude(
    (applied, ended): (Applied, Result<(), ApplyError>),
    (args, keys_are_given_up, stop): (&ApplyArgs, bool, &Stop),
    report: &mut Report,
) {
    report.field("moved", &applied.moved);
    report.field("keys_moved", &applied.keys_moved);
    let replan = format!("pulse migrate plan{}", typed(&args.whose, &args.change.operator));
    for (cause, others) in &applied.others {
        report.found(finding(cause, others).mended_by(&replan));
    }
    report.found_all(keys_findings(&applied.keys, keys_are_given_up));
    let again = format!(
        "pulse migrate apply --plan {}{}",
        args.change.plan,
        typed(&args.whose, &args.change.operator)
    );
    let done = numbered(applied.moved, "{} change[|s] [was|were] made.");
    match ended {
        Ok(()) => report.found(
            Finding::new(CheckState::Ok, "Applied", done)
                .mended_by(format!("pulse migrate verify{}", typed(&args.whose, &args.change.operator))),
        ),
        Err(err) => ended_early(&err, applied.moved, (&again, stop), report),
    }
}

fn finding(cause: &str, others: &Others) -> Finding {
    let (reason, words) = match cause {
        "late" => (
            "WrittenLater",
            "[was|were] written after the plan, so an old writer still runs: stop it, and make a new plan.",
        ),
        "changed" => {
            ("ChangedMeanwhile", "[was|were] changed by somebody else at the same time: make a new plan.")
        }
        _ => ("RefusedByFirestore", "[is|are] not taken by Firestore."),
    };
    let sentence = among(others.count, &others.named, words);
    Finding::new(CheckState::Failed, reason, sentence)
}

/// What keeps keys from being moved. What is given up is told too.
pub(super) fn keys_findings(left: &KeysLeft, are_given_up: bool) -> Vec<Finding> {
    let finding = |(outcome, others): (&KeysOutcome, &Others)| {
        let finding = keys_finding(*outcome, others);
        let is_given_up = are_given_up && outcome.may_be_given_up();
        let state = if is_given_up { CheckState::Warning } else { finding.state };
        Finding { state, ..finding }
    };
    left.iter().map(finding).collect()
}

fn keys_finding(outcome: KeysOutcome, others: &Others) -> Finding {
    let (reason, words) = match outcome {
        KeysOutcome::NotThere => ("KeysNotMoved", "[holds|hold] keys that are not in Secret Manager."),
        KeysOutcome::OtherKeys => {
            ("OtherKeys", "[holds|hold] other keys than the secret's newest version, which stays.")
        }
        KeysOutcome::Malformed => {
            ("KeysMalformed", "[holds|hold] what are no keys, or the user's id can have no secret.")
        }
        KeysOutcome::UserUnknown => {
            ("UserUnknown", "[holds|hold] keys of users without a document: `pulse user add` makes one.")
        }
        KeysOutcome::Rejected => ("KeysRejected", "[holds|hold] keys that Alpaca does not take."),
        KeysOutcome::Moved | KeysOutcome::Same | KeysOutcome::Absent | KeysOutcome::Unknown => (
            "KeysNotAsked",
            "[holds|hold] keys of which Alpaca or Secret Manager could not be asked: run it again.",
        ),
    };
    let state = match outcome {
        KeysOutcome::Unknown => CheckState::Unknown,
        _ => CheckState::Failed,
    };
    Finding::new(state, reason, among(others.count, &others.named, words))
}
