//! The second step of `pulse migrate cleanup`: for good.

use crate::commands::frame::{CheckState, Finding, Report, grouped, in_words};
use crate::commands::migrate::apply::{KeysLeft, keys_findings};
use crate::commands::migrate::ground::{
    Changing, Others, alpaca, among, cannot, ended_early, secrets, typed,
};
use crate::commands::migrate::keys::{KeyLook, KeysOutcome};
use crate::commands::migrate::status::runs;
use crate::config::migrate_args::CleanupArgs;
use crate::documents::migration::{Journal, RunState, run_path};
use crate::firestore::StoreError;
use crate::migration::apply::ApplyError;
use crate::migration::cleanup::is_of_the_past;
use crate::migration::close::Closer;
use crate::migration::load::Loader;
use crate::migration::options::Options;
use crate::migration::reason::Class;
use crate::migration::stored::Stored;
use crate::model::ids::DocumentId;
use crate::services::desk::Desk;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};

/// Documents with keys that are looked at, and deleted, at the same time.
const AT_ONCE: usize = 8;

/// Deletes the journal, and the keys of those who no longer need them, after a verification of that time.
pub(super) async fn close(
    args: &CleanupArgs,
    (desk, database): (&Desk<'_>, &Changing),
    (options, verified): (&Options, Timestamp),
    stop: &Stop,
    report: &mut Report,
) {
    match too_early(args, database).await {
        Ok(None) => {}
        Ok(Some(left)) => {
            let sentence = format!("The journal is kept for {} more.", in_words(left));
            return report.found(Finding::new(CheckState::Failed, "TooEarly", sentence));
        }
        Err(err) => return cannot(report, &err),
    }
    let written = match written_again(database, options).await {
        Ok(written) => written,
        Err(err) => return cannot(report, &err),
    };
    if written.count > 0 {
        let words = "[was|were] written again: stop whoever does, and delete [it|them], or give the rest back by --undo. Nothing was deleted.";
        let sentence = among(written.count, &written.named, words);
        return report.found(Finding::new(CheckState::Failed, "WrittenAgain", sentence));
    }
    let (Some(secrets), Some(alpaca)) = (secrets(desk, report).await, alpaca(desk, report)) else { return };
    report.begin_list("keys_left");
    let mut keys = Keys::default();
    let plan = &args.change.plan;
    let closing = Closing {
        look: KeyLook { reader: &database.reader, secrets: &secrets, alpaca: Some(&alpaca) },
        closer: Closer { reader: &database.reader, writer: &database.writer, plan, stop },
        database,
        are_keys_given_up: options.left_behind.contains(&Class::Secret),
        verified,
    };
    let closed = stop.run_until_stopped_for(DRAIN_LIMIT, closing.all(&mut keys, report)).await;
    conclude((closed.unwrap_or(Err(ApplyError::Stopped)), &keys), &closing, (args, stop), report);
}

/// For how long the journal is still kept.
async fn too_early(args: &CleanupArgs, database: &Changing) -> Result<Option<SignedDuration>, StoreError> {
    let run = database.run(&args.change.plan).await?.filter(|run| run.state == Some(RunState::Cleaned));
    let Some(since) = run.and_then(|run| run.updated_at) else { return Ok(None) };
    let now = database.reader.time(&run_path("none")).await?.unwrap_or_else(Timestamp::now);
    let kept = SignedDuration::try_from(args.after).unwrap_or(SignedDuration::MAX);
    let left = kept.saturating_sub(now.duration_since(since));
    Ok(Some(left).filter(|left| left.is_positive()))
}

async fn written_again(database: &Changing, options: &Options) -> Result<Others, StoreError> {
    let mut written = Others::default();
    let loader = Loader::new(database.reader.clone(), &options.owners);
    loader
        .walk(async |chunk| {
            let paths = chunk.iter().map(|judged| judged.document.path.as_str());
            paths.filter(|path| is_of_the_past(path)).for_each(|path| written.add(path));
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok(written)
}

/// What became of documents with keys, and of journals.
#[derive(Debug, Default)]
struct Keys {
    deleted: u64,
    /// Of them those that had some.
    had_some: u64,
    /// No pulse has synced their users with the secret.
    unsynced: Others,
    /// Their keys are not in Secret Manager.
    left: KeysLeft,
    /// Written since the verification.
    later: Others,
    /// Plans of other migrations, whose journals are left.
    journals: Vec<String>,
}

impl Keys {
    fn note(&mut self, document: &Stored, outcome: KeysOutcome, fate: KeysFate) {
        let path = &document.path;
        match (fate, outcome) {
            (KeysFate::Gone, KeysOutcome::Absent) => self.deleted += 1,
            (KeysFate::Gone, _) => (self.deleted, self.had_some) = (self.deleted + 1, self.had_some + 1),
            (KeysFate::WrittenLater, _) => self.later.add(path),
            (KeysFate::Left, KeysOutcome::Same) => self.unsynced.add(path),
            (KeysFate::Left, outcome) => self.left.entry(outcome).or_default().add(path),
        }
    }

    fn are_gone(&self) -> bool {
        self.unsynced.count + self.later.count == 0 && self.left.is_empty()
    }
}

/// What becomes of a document with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeysFate {
    Gone,
    /// It is still needed.
    Left,
    /// Somebody has stored keys there since the verification.
    WrittenLater,
}

/// The last step.
struct Closing<'a> {
    look: KeyLook<'a>,
    closer: Closer<'a>,
    database: &'a Changing,
    are_keys_given_up: bool,
    verified: Timestamp,
}

impl Closing<'_> {
    async fn all(&self, keys: &mut Keys, report: &mut Report) -> Result<(), ApplyError> {
        self.database.record(self.closer.plan, RunState::Closing).await?;
        self.delete_keys(keys, report).await?;
        for journal in [Journal::Cleaned, Journal::Applied] {
            self.closer.delete_journal(journal).await?;
        }
        self.end_others(keys).await?;
        if keys.are_gone() {
            self.database.record(self.closer.plan, RunState::Closed).await?;
        }
        Ok(())
    }

    /// Ends the migrations of earlier plans, which can no longer be undone. Others have journals of their own.
    async fn end_others(&self, keys: &mut Keys) -> Result<(), ApplyError> {
        let plan = self.closer.plan;
        for run in runs(&self.database.reader).await?.into_iter().filter(|run| run.plan != plan) {
            if run.ends_with(plan) {
                let closer = Closer { plan: &run.plan, ..self.closer };
                for journal in [Journal::Cleaned, Journal::Applied] {
                    closer.delete_journal(journal).await?;
                }
                self.database.record(&run.plan, RunState::Closed).await?;
            } else if run.state != Some(RunState::Closed) {
                keys.journals.push(run.plan);
            }
        }
        Ok(())
    }

    /// Deletes the documents with keys, as far as they are no longer needed. Of these there is no journal.
    async fn delete_keys(&self, keys: &mut Keys, report: &mut Report) -> Result<(), ApplyError> {
        let mut after = None;
        loop {
            let (of_users, is_last) = self.look.chunk(&mut after).await?;
            let documents = of_users.into_iter().flat_map(|(user, documents)| {
                documents.into_iter().map(move |document| (user.clone(), document))
            });
            let deleting = stream::iter(documents).map(async |(user, document)| {
                let (outcome, fate) = self.delete(&user, &document).await?;
                Ok::<_, ApplyError>((document, outcome, fate))
            });
            let mut deleting = deleting.buffer_unordered(AT_ONCE);
            while let Some((document, outcome, fate)) = deleting.try_next().await? {
                keys.note(&document, outcome, fate);
                if fate != KeysFate::Gone {
                    report.item(&document.path);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn delete(
        &self,
        user: &DocumentId,
        document: &Stored,
    ) -> Result<(KeysOutcome, KeysFate), ApplyError> {
        let outcome = self.look.standing(user, document).await?;
        let is_useless = match outcome {
            KeysOutcome::Absent => true,
            KeysOutcome::Same => self.are_keys_given_up || self.closer.is_synced(user).await?,
            outcome => self.are_keys_given_up && outcome.may_be_given_up(),
        };
        let fate = match () {
            () if !is_useless => KeysFate::Left,
            () if document.updated_at > self.verified => KeysFate::WrittenLater,
            () if self.closer.delete(document).await? => KeysFate::Gone,
            () => KeysFate::WrittenLater,
        };
        Ok((outcome, fate))
    }
}

fn conclude(
    (closed, keys): (Result<(), ApplyError>, &Keys),
    closing: &Closing<'_>,
    (args, stop): (&CleanupArgs, &Stop),
    report: &mut Report,
) {
    let verified = args.verified.as_deref().unwrap_or_default();
    let again = format!(
        "pulse migrate cleanup --plan {} --verified {verified}{}",
        args.change.plan,
        typed(&args.whose, &args.change.operator)
    );
    report.field("keys_deleted", &keys.deleted);
    if let Err(err) = closed {
        return ended_early(&err, keys.deleted, (&again, stop), report);
    }
    if !keys.journals.is_empty() {
        let others = keys.journals.join(", ");
        let sentence =
            format!("What was there before is still in the journals of {others}: clean up with them too.");
        report.found(Finding::new(CheckState::Warning, "OtherJournals", sentence));
    }
    if keys.are_gone() {
        let of = if keys.journals.is_empty() { "before" } else { "this migration" };
        let rotate = rotate(keys);
        let sentence = format!("Nothing of {of} is left but in backups and point-in-time copies: {rotate}.");
        return report.found(Finding::new(CheckState::Ok, "Closed", sentence));
    }
    report.found_all(keys_findings(&keys.left, closing.are_keys_given_up));
    report.found_all(keys_left(keys, again));
}

/// Which keys are to be replaced.
fn rotate(keys: &Keys) -> String {
    match keys.had_some {
        0 => "there were no keys in documents".to_owned(),
        1 => "ask the user whose keys were in a document to rotate them at Alpaca".to_owned(),
        more => {
            let documents = grouped(more);
            format!("ask the users whose keys were in {documents} documents to rotate them at Alpaca")
        }
    }
}

/// Why documents with keys are left beside those whose keys are not in Secret Manager.
fn keys_left(keys: &Keys, again: String) -> Vec<Finding> {
    let later = (keys.later.count > 0).then(|| {
        let words = "with keys [was|were] written since the verification: verify again.";
        let sentence = among(keys.later.count, &keys.later.named, words);
        Finding::new(CheckState::Failed, "WrittenLater", sentence)
    });
    let words =
        "with keys [is|are] left, because no pulse has synced [its user|their users] from Secret Manager.";
    let left = match keys.unsynced.count {
        0 => "Some documents with keys are left.".to_owned(),
        count => among(count, &keys.unsynced.named, words),
    };
    let sentence = format!("{left} The rest is deleted: {}.", rotate(keys));
    let left = Finding::new(CheckState::Failed, "KeysLeft", sentence).mended_by(again);
    later.into_iter().chain([left]).collect()
}
