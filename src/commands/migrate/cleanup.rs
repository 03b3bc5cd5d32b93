//! `pulse migrate cleanup`: the legacy documents, which can be given back, and on a later call what is left of them.

use crate::commands::failures::not_confirmed;
use crate::commands::frame::{CheckState, Finding, Report, confirm, run};
use crate::commands::migrate::close::close;
use crate::commands::migrate::ground::{
    Changing, Others, among, begun, budgets, cannot, changing, ended_early, now, numbered, options, refuse,
    refuse_in, typed, typed_place, typed_whose,
};
use crate::commands::migrate::progress::Progress;
use crate::commands::migrate::rollback::Undoing;
use crate::config::Place;
use crate::config::migrate_args::CleanupArgs;
use crate::documents::legacy::has_keys_below;
use crate::documents::migration::{Journal, RunState, Step};
use crate::firestore::StoreError;
use crate::firestore::reader::Reader;
use crate::migration::apply::{Applier, ApplyError, Outcome};
use crate::migration::below::siblings;
use crate::migration::cleanup::{Fate, fate};
use crate::migration::load::{Judged, Loader};
use crate::migration::options::{Options, Stamp};
use crate::migration::stored::Stored;
use crate::services::desk::Desk;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Old writers may have come back since.
const VERIFIED_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// Collections in which it is looked at the same time for what is below legacy documents.
const AT_ONCE: usize = 8;

pub(super) async fn cleanup(args: &CleanupArgs) -> ExitCode {
    run("migrate cleanup", &args.change.operator, async |place: &Place, report: &mut Report| {
        let desk = Desk::with_budgets(place, &budgets(&args.change.pace));
        let Some(database) = changing(&desk, report).await else { return };
        step(args, (place, &desk), &database, report).await;
        report.used(desk.used());
    })
    .await
}

/// The step that is next.
async fn step(
    args: &CleanupArgs,
    (place, desk): (&Place, &Desk<'_>),
    database: &Changing,
    report: &mut Report,
) {
    let Some(state) = begun(database, &args.change.plan, report).await else { return };
    let Some(options) = options(&args.whose, place, report) else { return };
    let verified = match &args.verified {
        Some(id) => match verification(id, &options, database, report).await {
            Some(verified) => Some(verified),
            None => return,
        },
        None => None,
    };
    let project = &place.database.project;
    let question = match (state, verified) {
        (RunState::Cleaning | RunState::Cleaned, None) => {
            format!("Give the legacy documents back in project {project}?")
        }
        (RunState::Applied | RunState::Cleaning, Some(_)) => {
            format!("Delete the legacy documents in project {project}? --undo gives them back.")
        }
        (RunState::Cleaned | RunState::Closing, Some(_)) => {
            format!("Delete what is left of the legacy documents in project {project} for good?")
        }
        _ => {
            let place = typed_place(&args.change.operator);
            return refuse_in(state, (&args.change.plan, &place), report);
        }
    };
    if let Err(refused) = confirm(&question, args.change.confirm).await {
        return not_confirmed(refused, report);
    }
    let stop = Stop::on_signals().unwrap_or_default();
    match (state, verified) {
        (_, None) => give_back(args, (desk, database), &stop, report).await,
        (RunState::Applied | RunState::Cleaning, Some(at)) => {
            delete_legacy(args, (database, &options, at), &stop, report).await;
        }
        (_, Some(at)) => close(args, (desk, database), (&options, at), &stop, report).await,
    }
}

/// When nothing was found to differ; nothing, and told, where that is not known.
async fn verification(
    id: &str,
    options: &Options,
    database: &Changing,
    report: &mut Report,
) -> Option<Timestamp> {
    let verified: Stamp = match id.parse() {
        Ok(verified) if options.verified_at(&verified) => verified,
        _ => {
            let sentence = "--verified is not what `pulse migrate verify` printed with these options.";
            refuse(report, "NotVerified", sentence);
            return None;
        }
    };
    match now(&database.reader).await {
        Ok(now) if verified.at > now => {
            let sentence = "The verification's time is ahead of Firestore's: nobody has made it.";
            refuse(report, "NotVerified", sentence);
            None
        }
        Ok(now) if now.duration_since(verified.at) <= VERIFIED_WITHIN => Some(verified.at),
        Ok(_) => {
            let sentence = "The verification is more than an hour old: verify again.";
            refuse(report, "VerifiedTooLongAgo", sentence);
            None
        }
        Err(err) => {
            cannot(report, &err);
            None
        }
    }
}

async fn give_back(
    args: &CleanupArgs,
    (desk, database): (&Desk<'_>, &Changing),
    stop: &Stop,
    report: &mut Report,
) {
    let undoing = Undoing {
        desk,
        database,
        plan: &args.change.plan,
        journal: Journal::Cleaned,
        states: [RunState::Cleaning, RunState::Applied],
        again: format!(
            "pulse migrate cleanup --plan {} --undo{}",
            args.change.plan,
            typed_place(&args.change.operator)
        ),
    };
    undoing.undo(stop, report).await;
}

/// What became of the legacy documents.
#[derive(Debug, Default)]
struct Deleted {
    deleted: u64,
    /// Of them those below others.
    below: u64,
    later: Others,
    open: Others,
    keys: Others,
}

impl Deleted {
    fn note(&mut self, judged: &Judged, outcome: Outcome) {
        match outcome {
            Outcome::Moved => self.deleted += 1,
            Outcome::Late | Outcome::Changed => self.later.add(&judged.document.path),
            Outcome::Refused => self.open.add(&judged.document.path),
        }
    }

    /// Whether nothing was left.
    fn is_all(&self) -> bool {
        self.later.count + self.open.count + self.keys.count == 0
    }

    /// What was done, and what is next.
    fn told(&self, args: &CleanupArgs) -> Finding {
        let done = "{} legacy document[|s] [was|were] deleted, and the journal keeps [it|them].";
        let (state, next, command) = match self.is_all() {
            true => (
                CheckState::Ok,
                "Watch your programs for a day, then verify and clean up once more.",
                format!("cleanup --plan {} --undo{}", args.change.plan, typed_place(&args.change.operator)),
            ),
            false => (
                CheckState::Warning,
                "See to what is left, verify, and run this first step again.",
                format!("verify{}", typed(&args.whose, &args.change.operator)),
            ),
        };
        let sentence = format!("{} {next}", numbered(self.deleted, done));
        Finding::new(state, "Deleted", sentence).mended_by(format!("pulse migrate {command}"))
    }

    /// What was not deleted.
    fn left(&self) -> Vec<Finding> {
        let of = |others: &Others, reason, words| {
            let sentence = among(others.count, &others.named, words);
            Some(Finding::new(CheckState::Failed, reason, sentence)).filter(|_| others.count > 0)
        };
        let keys =
            "[holds|hold] keys below older documents, where none are looked for: delete [it|them] yourself.";
        let all = [
            of(
                &self.later,
                "WrittenLater",
                "[was|were] written since the verification: somebody still uses [it|them].",
            ),
            of(&self.open, "Different", "[is|are] not what [it|they] should have become: verify again."),
            of(&self.keys, "KeysBelow", keys),
        ];
        all.into_iter().flatten().collect()
    }
}

async fn delete_legacy(
    args: &CleanupArgs,
    legacy: (&Changing, &Options, Timestamp),
    stop: &Stop,
    report: &mut Report,
) {
    let mut deleted = Deleted::default();
    let ended = delete_all(args, legacy, stop, &mut deleted).await;
    report.field("deleted", &deleted.deleted);
    report.field("deleted_below", &deleted.below);
    deleted.left().into_iter().for_each(|finding| report.found(finding));
    match ended {
        Ok(()) => {
            report.found(deleted.told(args));
        }
        Err(err) => {
            let verified = args.verified.as_deref().unwrap_or_default();
            let again = format!(
                "pulse migrate cleanup --plan {} --verified {verified}{}",
                args.change.plan,
                typed(&args.whose, &args.change.operator)
            );
            ended_early(&err, deleted.deleted, (&again, stop), report);
        }
    }
}

async fn delete_all(
    args: &CleanupArgs,
    (database, options, verified): (&Changing, &Options, Timestamp),
    stop: &Stop,
    deleted: &mut Deleted,
) -> Result<(), ApplyError> {
    let typed = typed_whose(&args.whose);
    let step = Step { state: RunState::Cleaning, moved: None, options: Some(&typed) };
    database.record(&args.change.plan, step).await?;
    let loader = Loader::new(database.reader.clone(), &options.owners);
    let applier = Applier {
        loader: &loader,
        writer: &database.writer,
        database: database.reader.database(),
        plan: &args.change.plan,
        planned_at: verified,
        stop,
    };
    let deleting = Deleting { applier: &applier, reader: &database.reader, verified };
    let mut progress = Progress::new("Deleting");
    let walking = loader.walk_back(async |chunk| {
        let mut condemned = Vec::new();
        for judged in chunk {
            match fate(&judged, options, verified) {
                Fate::Delete => condemned.push(judged),
                Fate::Keep => {}
                Fate::WrittenLater => deleted.later.add(&judged.document.path),
                Fate::Open => deleted.open.add(&judged.document.path),
            }
        }
        deleting.all(condemned, deleted).await?;
        progress.at(deleted.deleted);
        Ok::<_, ApplyError>(())
    });
    let walked = stop.run_until_stopped_for(DRAIN_LIMIT, walking).await;
    walked.unwrap_or(Err(ApplyError::Stopped))?;
    // What was left is for this step once more.
    if !deleted.is_all() {
        return Ok(());
    }
    Ok(database.record(&args.change.plan, RunState::Cleaned).await?)
}

/// Deletes legacy documents.
struct Deleting<'a> {
    applier: &'a Applier<'a>,
    reader: &'a Reader,
    verified: Timestamp,
}

impl Deleting<'_> {
    /// What is below them goes first: nothing leads to it later, if this is stopped between.
    async fn all(&self, condemned: Vec<Judged>, deleted: &mut Deleted) -> Result<(), ApplyError> {
        let all = siblings(condemned.iter().map(|judged| judged.document.path.as_str()));
        let mut keep = BTreeSet::new();
        let mut begun = stream::iter(all)
            .map(async |siblings| {
                let first = siblings.page(self.reader, None).await?;
                Ok::<_, StoreError>((siblings, first))
            })
            .buffered(AT_ONCE);
        while let Some((siblings, mut page)) = begun.try_next().await? {
            loop {
                self.below(page.found, &mut keep, deleted).await?;
                let Some(after) = page.next else { break };
                page = siblings.page(self.reader, Some(&after)).await?;
            }
        }
        let empty = condemned.into_iter().filter(|judged| !keep.contains(&judged.document.path));
        self.applier.delete(empty.collect(), &mut |judged, outcome| deleted.note(judged, outcome)).await
    }

    /// Those above what is left are kept too.
    async fn below(
        &self,
        found: Vec<(String, Stored)>,
        keep: &mut BTreeSet<String>,
        deleted: &mut Deleted,
    ) -> Result<(), ApplyError> {
        let (mut above, mut condemned) = (BTreeMap::new(), Vec::new());
        for (legacy, document) in found {
            let others = match () {
                () if has_keys_below(&document.path, &document.fields) => &mut deleted.keys,
                () if document.updated_at > self.verified => &mut deleted.later,
                () => {
                    above.insert(document.path.clone(), legacy);
                    condemned.push(Judged::below(document));
                    continue;
                }
            };
            others.add(&document.path);
            keep.insert(legacy);
        }
        let mut note = |judged: &Judged, outcome| {
            deleted.note(judged, outcome);
            match outcome {
                Outcome::Moved => deleted.below += 1,
                _ => keep.extend(above.get(&judged.document.path).cloned()),
            }
        };
        self.applier.delete(condemned, &mut note).await
    }
}
