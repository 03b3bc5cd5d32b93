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
use crate::google::credentials::failure::{NoToken, TokenFailure, TokenServer};
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
            return [no_identity(&err)]
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

/// Who cannot be asked now may give a token all the same; on a machine outside Google Cloud nobody ever will.
fn no_identity(err: &NoToken) -> Finding {
    use TokenFailure as Failure;
    let sentence = format!("Google's credentials gave no token: {}.", Chain(err));
    let state = match err {
        NoToken::Refused {
            failure: Failure::Answered(500..) | Failure::Silent | Failure::Broken, ..
        }
        | NoToken::Refused { server: TokenServer::Named, failure: Failure::Unreachable } => {
            CheckState::Unknown
        }
        NoToken::Refused { .. } | NoToken::Unusable { .. } => CheckState::Failed,
    };
    let found = Finding::new(state, "Identity", sentence);
    match state {
        CheckState::Failed => found.mended_by("gcloud auth application-default login"),
        _ => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::google::credentials::failure::{Flaw, Location};

    #[test]
    fn a_token_server_that_could_not_be_asked_is_no_broken_identity() {
        let refused = |server, failure| NoToken::Refused { server, failure };
        let (own, named) = (TokenServer::Metadata, TokenServer::Named);
        let (failed, unknown) = (CheckState::Failed, CheckState::Unknown);
        for (err, expected) in [
            (NoToken::Unusable { place: Location::Variable, flaw: Flaw::NoJson }, failed),
            (refused(named, TokenFailure::Answered(400)), failed),
            (refused(own, TokenFailure::Answered(404)), failed),
            (refused(own, TokenFailure::Unreachable), failed),
            (refused(named, TokenFailure::NoToken), failed),
            (refused(named, TokenFailure::Answered(503)), unknown),
            (refused(named, TokenFailure::Unreachable), unknown),
            (refused(own, TokenFailure::Silent), unknown),
            (refused(own, TokenFailure::Broken), unknown),
        ] {
            let found = no_identity(&err);
            assert_eq!((found.state, found.mend.is_some()), (expected, expected == failed), "{err}");
        }
    }
}
