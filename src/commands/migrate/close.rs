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
use crate::migration::close::{Closer, Keys};
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
        let named = among(written.count, &written.named);
        let sentence = format!("{named} were written again: stop whoever does. Nothing was deleted.");
        return report.found(Finding::new(CheckState::Failed, "WrittenAgain", sentence));
    }
    let is_given_up = options.left_behind.contains(&Class::Secret);
    let closing = close_all((&args.plan, is_given_up), database, stop);
    let closed = stop.run_until_stopped_for(DRAIN_LIMIT, closing).await;
    conclude(closed.unwrap_or(Err(ApplyError::Stopped)), (args, stop), report);
}

/// For how long the journal is still kept.
async fn too_early(args: &CleanupArgs, database: &Changing) -> Result<Option<SignedDuration>, StoreError> {
    let run = database.run(&args.plan).await?.filter(|run| run.state == Some(RunState::Cleaned));
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

async fn close_all(
    (plan, is_given_up): (&str, bool),
    database: &Changing,
    stop: &Stop,
) -> Result<Keys, ApplyError> {
    database.record(plan, RunState::Closing, None).await?;
    let closer = Closer { reader: &database.reader, writer: &database.writer, plan, is_given_up, stop };
    let keys = closer.delete_keys(&key_collection()).await?;
    for journal in [Journal::Cleaned, Journal::Applied] {
        closer.delete_journal(journal).await?;
    }
    if keys.left.is_empty() {
        database.record(plan, RunState::Closed, None).await?;
    }
    Ok(keys)
}

fn conclude(closed: Result<Keys, ApplyError>, (args, stop): (&CleanupArgs, &Stop), report: &mut Report) {
    let verified = args.verified.as_deref().unwrap_or_default();
    let again = format!(
        "pulse migrate cleanup --plan {} --verified {verified}{}",
        args.plan,
        typed(&args.whose, &args.operator)
    );
    let keys = match closed {
        Ok(keys) => keys,
        Err(err) => return ended_early(&err, "Some", (&again, stop), report),
    };
    report.field("keys_deleted", &keys.deleted);
    report.field("keys_left", &keys.left);
    if !keys.left.is_empty() {
        let mut left = Others::default();
        keys.left.iter().for_each(|path| left.add(path));
        let sentence = format!(
            "{} with keys are left, because no pulse has synced their users from Secret Manager.",
            among(left.count, &left.named)
        );
        report.found(Finding::new(CheckState::Failed, "KeysLeft", sentence).mended_by(again));
    }
    let sentence = format!(
        "Nothing of before is left but in backups and point-in-time copies: ask the {} users whose keys were in documents to rotate them at Alpaca.",
        grouped(keys.deleted)
    );
    report.found(Finding::new(CheckState::Ok, "Closed", sentence));
}
