//! `pulse migrate verify`.

use crate::commands::frame::{CheckState, Finding, Report, grouped, run};
use crate::commands::migrate::apply::{KeysLeft, keys_findings};
use crate::commands::migrate::ground::{
    alpaca, cannot, numbered, options, reader, secret_budgets, secrets, typed,
};
use crate::commands::migrate::keys::{KeyLook, KeysOutcome};
use crate::commands::migrate::plan::{keys_inside, nothing_found, survey};
use crate::commands::migrate::told::{counts, groups};
use crate::config::Place;
use crate::config::migrate_args::VerifyArgs;
use crate::firestore::reader::Reader;
use crate::migration::options::Options;
use crate::migration::reason::Class;
use crate::migration::tally::Tally;
use crate::services::desk::Desk;
use jiff::Timestamp;
use std::process::ExitCode;

pub(super) async fn verify(args: &VerifyArgs) -> ExitCode {
    run("migrate verify", &args.operator, async |place: &Place, report: &mut Report| {
        let Some(options) = options(&args.whose, place, report) else { return };
        let desk = Desk::with_budgets(place, &secret_budgets(&args.secrets));
        let Some(reader) = reader(&desk, report).await else { return };
        match survey(&reader, &options, report).await {
            Ok((at, tally)) => {
                let Some(left) = keys(&desk, (&reader, &options), report).await else { return };
                counts(&tally, report);
                report.text(|page| groups(&tally, &options, page));
                report.found_all(nothing_found(&tally, place).into_iter().collect());
                conclude((at, &left), &tally, (&options, &typed(&args.whose, &args.operator)), report);
            }
            Err(err) => cannot(report, &err),
        }
        report.used(desk.used());
    })
    .await
}

/// Nothing, and told, where that could not be found out. Alpaca is only asked whether it refuses what is to be given up.
async fn keys(
    desk: &Desk<'_>,
    (reader, options): (&Reader, &Options),
    report: &mut Report,
) -> Option<KeysLeft> {
    let secrets = secrets(desk, report).await?;
    let alpaca = match options.left_behind.contains(&Class::Secret) {
        true => Some(alpaca(desk, report)?),
        false => None,
    };
    let mut left = KeysLeft::new();
    report.begin_list("keys_left");
    let look = KeyLook { reader, secrets: &secrets, alpaca: alpaca.as_ref() };
    let looked = look.all(|path, outcome| {
        if !matches!(outcome, KeysOutcome::Same | KeysOutcome::Absent) {
            left.entry(outcome).or_default().add(path);
            report.item(&serde_json::json!({"source": path, "outcome": outcome.as_str()}));
        }
    });
    match looked.await {
        Ok(()) => Some(left),
        Err(err) => {
            cannot(report, &err);
            None
        }
    }
}

fn conclude(
    (at, keys): (Timestamp, &KeysLeft),
    tally: &Tally,
    (options, typed): (&Options, &str),
    report: &mut Report,
) {
    let missing = tally.of(Class::Copy);
    if missing > 0 {
        let sentence = numbered(missing, "{} document[|s] [is|are] not moved.");
        let finding = Finding::new(CheckState::Failed, "NotMoved", sentence);
        report.found(finding.mended_by(format!("pulse migrate plan{typed}")));
    }
    let open = tally.open(options);
    report.found_all(keys_inside(tally, CheckState::Failed).into_iter().collect());
    let different = open - tally.with_keys();
    if different > 0 {
        let sentence = numbered(different, "{} document[|s] [is|are] not what [it|they] should have become.");
        let finding = Finding::new(CheckState::Failed, "Different", sentence);
        report.found(finding.mended_by(format!("pulse migrate plan{typed}")));
    }
    let is_given_up = options.left_behind.contains(&Class::Secret);
    report.found_all(keys_findings(keys, is_given_up));
    let are_keys_open = keys.keys().any(|outcome| !is_given_up || !outcome.may_be_given_up());
    if missing + open == 0 && !are_keys_open {
        let verified = options.verified(at).to_string();
        report.field("verified", &verified);
        let sentence = match tally.all() {
            1 => "The only document is what it should have become.".to_owned(),
            all => format!("All {} documents are what they should have become.", grouped(all)),
        };
        report.found(Finding::new(CheckState::Ok, "Verified", sentence));
    }
}
