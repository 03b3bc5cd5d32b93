//! `pulse migrate verify`.

use crate::commands::frame::{CheckState, Finding, Report, grouped, run};
use crate::commands::migrate::apply::{Others, keys_finding};
use crate::commands::migrate::ground::{cannot, numbered, options, reader, secret_budgets, secrets, typed};
use crate::commands::migrate::keys::{KeyLook, KeysOutcome};
use crate::commands::migrate::plan::survey;
use crate::commands::migrate::told::{counts, groups};
use crate::config::Place;
use crate::config::migrate_args::VerifyArgs;
use crate::firestore::reader::Reader;
use crate::migration::options::Options;
use crate::migration::reason::Class;
use crate::migration::tally::Tally;
use crate::services::desk::Desk;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::process::ExitCode;

pub(super) async fn verify(args: &VerifyArgs) -> ExitCode {
    run("migrate verify", &args.operator, async |place: &Place, report: &mut Report| {
        let Some(options) = options(&args.whose, report) else { return };
        let desk = Desk::with_budgets(place, &secret_budgets(&args.secrets));
        let Some(reader) = reader(&desk, report).await else { return };
        match survey(&reader, &options, report).await {
            Ok((at, tally)) => {
                let Some(left) = keys(&desk, &reader, report).await else { return };
                counts(&tally, report);
                report.text(|page| groups(&tally, &options, page));
                conclude((at, &left), &tally, (&options, &typed(&args.whose, &args.operator)), report);
            }
            Err(err) => cannot(report, &err),
        }
        report.used(desk.used());
    })
    .await
}

/// The documents whose keys are not where they should be, by the word of JSON.
type KeysLeft = BTreeMap<&'static str, Others>;

/// Nothing, and told, where that could not be found out.
async fn keys(desk: &Desk<'_>, reader: &Reader, report: &mut Report) -> Option<KeysLeft> {
    let secrets = secrets(desk, report).await?;
    let mut left = KeysLeft::new();
    report.begin_list("keys_left");
    let look = KeyLook { reader, secrets: &secrets };
    let looked = look.all(|path, outcome| {
        if !matches!(outcome, KeysOutcome::Same | KeysOutcome::Absent) {
            left.entry(outcome.as_str()).or_default().add(path);
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
    if open > 0 {
        let sentence = numbered(open, "{} document[|s] [is|are] not what [it|they] should have become.");
        let finding = Finding::new(CheckState::Failed, "Different", sentence);
        report.found(finding.mended_by(format!("pulse migrate plan{typed}")));
    }
    let is_given_up = options.left_behind.contains(&Class::Secret);
    if !is_given_up {
        keys.iter().for_each(|(word, others)| report.found(keys_finding(word, others)));
    }
    if missing + open == 0 && (keys.is_empty() || is_given_up) {
        let verified = options.verified(at).to_string();
        report.field("verified", &verified);
        let sentence = match tally.all() {
            1 => "The only document is what it should have become.".to_owned(),
            all => format!("All {} documents are what they should have become.", grouped(all)),
        };
        report.found(Finding::new(CheckState::Ok, "Verified", sentence));
    }
}
