//! `pulse doctor`: whether the project is set up right.

mod cloud_build;
mod data;
mod job;
mod judge;
mod project;
mod schedule;
mod site;
mod start;
mod writes;

use crate::commands::doctor::project::Project;
use crate::commands::doctor::site::{Site, is_job};
use crate::commands::frame::{CheckState, Finding, run};
use crate::config::doctor_args::DoctorArgs;
use crate::config::variables::environment;
use crate::google::credentials::failure::{Location, NoToken, TokenFailure, TokenServer};
use crate::services::desk::Desk;
use crate::telemetry::Chain;
use std::process::ExitCode;

/// Looks at everything, tells, and exits with 3 where something is wrong.
pub(crate) async fn doctor(args: &DoctorArgs) -> ExitCode {
    run("doctor", &args.common, async |place, report| {
        let desk = Desk::at(place);
        let site = Site { args, place, is_job: is_job(&args.job, environment) };
        report.found_all(examine(&site, &desk).await);
        report.used(desk.used());
    })
    .await
}

async fn examine(site: &Site<'_>, desk: &Desk<'_>) -> Vec<Finding> {
    let alpaca = data::alpaca(desk).await;
    let identity = match desk.identity().await {
        Ok(identity) => identity,
        Err(err) => {
            let setting = Setting {
                names_file: environment(KEY_FILE).is_some_and(|path| !path.is_empty()),
                has_network: alpaca.state == CheckState::Ok,
            };
            return [no_identity(&err, setting)]
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
    let (of_data, pulse) = data::look(site, desk).await;
    findings.extend(of_data);
    match desk.admin(identity.as_ref()) {
        Ok(admin) => findings.extend(Project { site, admin: &admin, pulse }.look().await),
        Err(err) => findings.push(Finding::new(CheckState::Unknown, "Admin", format!("{}.", Chain(&err)))),
    }
    findings.push(alpaca);
    findings
}

/// The variable that names a file with credentials.
const KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// Where there was no token.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// The credentials are those of a file that a variable names.
    names_file: bool,
    /// Others than Google answer.
    has_network: bool,
}

/// Who cannot be asked now may give a token all the same; on a machine outside Google Cloud nobody ever will.
fn no_identity(err: &NoToken, setting: Setting) -> Finding {
    let told = format!("Google's credentials gave no token: {}.", Chain(err));
    let found = |state, more: &str| Finding::new(state, "Identity", format!("{told}{more}"));
    match (state_of(err, setting), variable(err, setting)) {
        (CheckState::Failed, Some(variable)) => {
            found(CheckState::Failed, &format!(" Correct what {variable} says, or unset it."))
                .mended_by(format!("unset {variable}"))
        }
        (CheckState::Failed, None) => {
            found(CheckState::Failed, "").mended_by("gcloud auth application-default login")
        }
        (state, _) if is_unreached(err) => found(state, " Check the network."),
        (state, _) => found(state, ""),
    }
}

/// The variable to which the credentials are due that do not work.
fn variable(err: &NoToken, setting: Setting) -> Option<&'static str> {
    match err {
        NoToken::Unusable { place: Location::QuotaProject, .. } => Some("GOOGLE_CLOUD_QUOTA_PROJECT"),
        NoToken::Unusable { place: Location::MetadataHost, .. } => Some("GCE_METADATA_HOST"),
        NoToken::Unusable { place: Location::Gcloud, .. } => None,
        NoToken::Unusable { place: Location::Variable, .. } => Some(KEY_FILE),
        NoToken::Refused { server: TokenServer::Named, .. } => setting.names_file.then_some(KEY_FILE),
        NoToken::Refused { server: TokenServer::Metadata, .. } => None,
    }
}

fn is_unreached(err: &NoToken) -> bool {
    let NoToken::Refused { failure, .. } = err else { return false };
    matches!(failure, TokenFailure::Unreachable | TokenFailure::Silent | TokenFailure::Broken)
}

fn state_of(err: &NoToken, setting: Setting) -> CheckState {
    use TokenFailure as Failure;
    match err {
        // Without a network nobody is reached, whoever it would be.
        NoToken::Refused { failure: Failure::Unreachable, .. } if !setting.has_network => CheckState::Unknown,
        NoToken::Refused {
            failure: Failure::Answered(500..) | Failure::Silent | Failure::Broken, ..
        }
        | NoToken::Refused { server: TokenServer::Named, failure: Failure::Unreachable } => {
            CheckState::Unknown
        }
        NoToken::Refused { .. } | NoToken::Unusable { .. } => CheckState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::google::credentials::failure::Flaw;

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
            let found = no_identity(&err, Setting { names_file: false, has_network: true });
            assert_eq!((found.state, found.mend.is_some()), (expected, expected == failed), "{err}");
        }
    }

    #[test]
    fn a_login_is_advised_only_where_it_helps() {
        let refused = |server, failure| NoToken::Refused { server, failure };
        let unusable = |place| NoToken::Unusable { place, flaw: Flaw::NoJson };
        let (own, named) = (TokenServer::Metadata, TokenServer::Named);
        let login = Some("gcloud auth application-default login");
        let unset = Some("unset GOOGLE_APPLICATION_CREDENTIALS");
        for (err, names_file, has_network, mend) in [
            (unusable(Location::Variable), true, true, unset),
            (unusable(Location::Gcloud), false, true, login),
            (unusable(Location::QuotaProject), false, true, Some("unset GOOGLE_CLOUD_QUOTA_PROJECT")),
            (unusable(Location::MetadataHost), false, true, Some("unset GCE_METADATA_HOST")),
            (refused(named, TokenFailure::Answered(400)), true, true, unset),
            (refused(named, TokenFailure::Answered(400)), false, true, login),
            (refused(named, TokenFailure::Unreachable), true, false, None),
            (refused(own, TokenFailure::Unreachable), false, true, login),
            (refused(own, TokenFailure::Unreachable), false, false, None),
        ] {
            let found = no_identity(&err, Setting { names_file, has_network });
            assert_eq!(found.mend.as_deref(), mend, "{err} {names_file} {has_network}");
            assert_eq!(found.sentence.contains("Check the network"), mend.is_none(), "{}", found.sentence);
        }
    }
}
