//! `pulse migrate verify`.

use crate::commands::frame::{CheckState, Finding, Report, grouped, run};
use crate::commands::migrate::ground::{cannot, options, reader, typed};
use crate::commands::migrate::plan::survey;
use crate::commands::migrate::told::{counts, groups};
use crate::config::Place;
use crate::config::migrate_args::PlanArgs;
use crate::migration::options::Options;
use crate::migration::reason::Class;
use crate::migration::tally::Tally;
use crate::services::desk::Desk;
use jiff::Timestamp;
use std::process::ExitCode;

pub(super) async fn verify(args: &PlanArgs) -> ExitCode {
    run("migrate verify", &args.operator, async |place: &Place, report: &mut Report| {
        let Some(options) = options(&args.whose, report) else { return };
        let desk = Desk::at(place);
        let Some(reader) = reader(&desk, report).await else { return };
        match survey(&reader, &options, report).await {
            Ok((at, tally)) => {
                counts(&tally, report);
                report.text(|page| groups(&tally, &options, page));
                conclude(at, &tally, (&options, &typed(&args.whose)), report);
            }
            Err(err) => cannot(report, &err),
        }
        report.used(desk.used());
    })
    .await
}

fn conclude(at: Timestamp, tally: &Tally, (options, typed): (&Options, &str), report: &mut Report) {
    let missing = tally.of(Class::Copy);
    if missing > 0 {
        let sentence = format!("{} documents are not moved.", grouped(missing));
        let finding = Finding::new(CheckState::Failed, "NotMoved", sentence);
        report.found(finding.mended_by(format!("pulse migrate plan{typed}")));
    }
    let open = tally.open(options);
    if open > 0 {
        let sentence = format!("{} documents are not what they should have become.", grouped(open));
        let finding = Finding::new(CheckState::Failed, "Different", sentence);
        report.found(finding.mended_by(format!("pulse migrate plan{typed}")));
    }
    if missing + open == 0 {
        let verified = options.verified(at).to_string();
        report.field("verified", &verified);
        let sentence = format!("All {} documents are what they should have become.", grouped(tally.all()));
        report.found(Finding::new(CheckState::Ok, "Verified", sentence));
    }
}
