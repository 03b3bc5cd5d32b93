//! `pulse doctor`: whether the project is set up right.

mod cloud_build;
mod data;
mod judge;
mod project;
mod skipped;

use crate::commands::doctor::project::Project;
use crate::commands::frame::{CheckState, Finding, run};
use crate::config::Place;
use crate::config::doctor_args::DoctorArgs;
use crate::services::desk::Desk;
use crate::telemetry::Chain;
use std::process::ExitCode;

/// Looks at everything, tells, and exits with 3 where something is wrong.
pub(crate) async fn doctor(args: &DoctorArgs) -> ExitCode {
    run("doctor", &args.common, async |place, report| {
        let desk = Desk::at(place);
        report.found_all(examine(args, place, &desk).await);
        report.used(desk.used());
    })
    .await
}

async fn examine(args: &DoctorArgs, place: &Place, desk: &Desk<'_>) -> Vec<Finding> {
    let alpaca = data::alpaca(desk).await;
    let identity = match desk.identity().await {
        Ok(identity) => identity,
        Err(err) => {
            let sentence = format!("Google's credentials gave no token: {}.", Chain(&err));
            let failed = Finding::new(CheckState::Failed, "Identity", sentence);
            let failed = failed.mended_by("gcloud auth application-default login");
            return [failed]
                .into_iter()
                .chain(data::skipped())
                .chain(Project::skipped())
                .chain([alpaca])
                .collect();
        }
    };
    let sentence = match identity {
        Some(_) => "Google's credentials gave a token.",
        None => "No token is needed: the services are stand-ins.",
    };
    let mut findings = vec![Finding::new(CheckState::Ok, "Identity", sentence)];
    findings.extend(data::look(place, desk).await);
    match desk.admin(identity.as_ref()) {
        Ok(admin) => findings.extend(Project { args, place, admin: &admin }.look().await),
        Err(err) => findings.push(Finding::new(CheckState::Unknown, "Admin", format!("{}.", Chain(&err)))),
    }
    findings.push(alpaca);
    findings
}
