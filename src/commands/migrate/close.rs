//! The second step of `pulse migrate cleanup`: for good.

use crate::commands::frame::{CheckState, Finding, Report, grouped, in_words};
use crate::commands::migrate::apply::Others;
use crate::commands::migrate::ground::{Changing, among, cannot, ended_early, typed};
use crate::config::migrate_args::CleanupArgs;
use crate::documents::legacy::key_collection;
use crate::documents::migration::{Journal, RunState, run_path};
use crate::firestore::StoreError;
use crate::migration::apply::ApplyError;
use crate::migration::cleanup::is_of_the_past;
use crate::migration::close::Closer;
use crate::migration::load::Loader;
use crate::migration::options::Options;
use crate::migration::reason::Class;
use crate::shutdown::{DRAIN_LIMIT, Stop};
use jiff::{SignedDuration, Timestamp};

/// Deletes the journal, and the keys of those who no longer need them.
pub(super) async fn close(
    args: &CleanupArgs,
    (database, options): (&Changing, &Options),
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
        let words = "[was|were] written again: stop whoever does. Nothing was deleted.";
        let sentence = among(written.count, &written.named, words);
        return report.found(Finding::new(CheckState::Failed, "WrittenAgain", sentence));
    }
    let is_given_up = options.left_behind.contains(&Class::Secret);
    report.begin_list("keys_left");
    let mut keys = Keys::default();
    let closer = Closer {
        reader: &database.reader,
        writer: &database.writer,
        plan: &args.change.plan,
        is_given_up,
        stop,
    };
    let closing = close_all(&closer, database, &mut keys, report);
    let closed = stop.run_until_stopped_for(DRAIN_LIMIT, closing).await;
    conclude((closed.unwrap_or(Err(ApplyError::Stopped)), &keys), (args, stop), report);
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

/// Documents with keys.
#[derive(Debug, Default)]
struct Keys {
    deleted: u64,
    /// No pulse has synced their users with a secret.
    left: Others,
}

async fn close_all(
    closer: &Closer<'_>,
    database: &Changing,
    keys: &mut Keys,
    report: &mut Report,
) -> Result<(), ApplyError> {
    database.record(closer.plan, RunState::Closing).await?;
    let note = |path: &str, is_gone| match is_gone {
        true => keys.deleted += 1,
        false => {
            keys.left.add(path);
            report.item(&path);
        }
    };
    closer.delete_keys(&key_collection(), note).await?;
    for journal in [Journal::Cleaned, Journal::Applied] {
        closer.delete_journal(journal).await?;
    }
    if keys.left.count == 0 {
        database.record(closer.plan, RunState::Closed).await?;
    }
    Ok(())
}

fn conclude(
    (closed, keys): (Result<(), ApplyError>, &Keys),
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
    let rotate = match keys.deleted {
        1 => "ask the user whose keys were in a document to rotate them at Alpaca".to_owned(),
        users => {
            format!("ask the {} users whose keys were in documents to rotate them at Alpaca", grouped(users))
        }
    };
    if keys.left.count > 0 {
        let words = "with keys [is|are] left, because no pulse has synced [its user|their users] from Secret Manager.";
        let left = among(keys.left.count, &keys.left.named, words);
        let sentence = format!("{left} The rest is deleted: {rotate}.");
        return report.found(Finding::new(CheckState::Failed, "KeysLeft", sentence).mended_by(again));
    }
    let sentence = format!("Nothing of before is left but in backups and point-in-time copies: {rotate}.");
    report.found(Finding::new(CheckState::Ok, "Closed", sentence));
}
