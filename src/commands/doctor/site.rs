//! Who looks, at which job, and the commands that lead on from there.

use crate::commands::doctor::cloud_build::default_of;
use crate::config::Place;
use crate::config::doctor_args::{DoctorArgs, USUAL_JOB};
use crate::model::ids::DEFAULT_DATABASE;
use crate::model::suggested::argument;
use std::borrow::Cow;

/// What the job needs in Firestore.
pub(super) const WRITER: &str = "roles/datastore.user";

/// Where it is looked, and with whose rights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub(super) args: &'a DoctorArgs,
    pub(super) place: &'a Place,
    /// The job itself looks.
    pub(super) is_job: bool,
}

/// Whether what runs here is an execution of that job.
pub(super) fn is_job(job: &str, lookup: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| lookup(name).filter(|value| !value.is_empty());
    set("CLOUD_RUN_EXECUTION").is_some() && set("CLOUD_RUN_JOB").is_none_or(|own| own == job)
}

impl Site<'_> {
    pub(super) fn project(&self) -> Cow<'_, str> {
        argument(&self.place.database.project)
    }

    /// By which gcloud finds the job, and what starts it.
    pub(super) fn flags(&self) -> String {
        format!("{} --project={}", argument(&self.args.job), self.project())
    }

    /// What the job's log says of errors.
    pub(super) fn log(&self) -> String {
        let job = &self.args.job;
        let filter =
            format!("resource.type=\"cloud_run_job\" resource.labels.job_name=\"{job}\" severity>=ERROR");
        format!(
            "gcloud logging read {} --project={} --limit=5 --format='value(jsonPayload.message)'",
            argument(&filter),
            self.project()
        )
    }

    /// The command that looks with the job's own rights.
    pub(super) fn as_job(&self) -> Option<String> {
        let region = self.args.region.as_ref()?;
        let job = match self.args.job.as_str() {
            USUAL_JOB => String::new(),
            job => format!(",--job={job}"),
        };
        let database = match &*self.place.database.database {
            DEFAULT_DATABASE => String::new(),
            named => format!(",--database={named}"),
        };
        let args = format!("doctor,--region={region}{job}{database}");
        let flags = self.flags();
        let (region, args) = (argument(region), argument(&args));
        Some(format!("gcloud run jobs execute {flags} --region={region} --wait --args={args}"))
    }

    /// Who it is that lacks a right, to begin a sentence with.
    pub(super) fn who(&self) -> &'static str {
        if self.is_job { "The job" } else { "Whoever looks here" }
    }

    /// The command that gives whoever looks a right that they lack, and no more than docs/deploy.md does.
    pub(super) fn grant(&self, right: &str) -> String {
        let project = self.project();
        let (role, condition) = match (right.starts_with("secretmanager."), self.is_job) {
            (true, _) => ("roles/secretmanager.secretAccessor", of_secrets(&project)),
            (false, true) => (WRITER, "None".to_owned()),
            (false, false) => ("roles/datastore.viewer", "None".to_owned()),
        };
        let member = self.member();
        format!(
            "gcloud projects add-iam-policy-binding {project} --member={member} --role={role} --condition={condition}"
        )
    }

    /// Whoever looks, as a shell finds out.
    fn member(&self) -> String {
        match (self.is_job, &self.args.region) {
            (false, _) => "\"user:$(gcloud config get account)\"".to_owned(),
            (true, Some(region)) => format!(
                "\"serviceAccount:$(gcloud run jobs describe {} --region={} \
                 --format='value(spec.template.spec.template.spec.serviceAccountName)')\"",
                self.flags(),
                argument(region)
            ),
            (true, None) => {
                let (name, project) = (default_of("_SERVICE_ACCOUNT"), &self.place.database.project);
                argument(&format!("serviceAccount:{name}@{project}.iam.gserviceaccount.com")).into_owned()
            }
        }
    }
}

/// The secrets of keys, and no others.
fn of_secrets(project: &str) -> String {
    format!(
        "\"title=alpaca-keys,expression=resource.name.startsWith('projects/$(gcloud projects describe {project} \
         --format='value(projectNumber)')/secrets/alpaca-keys-')\""
    )
}

/// A place to look at, of project `p`.
#[cfg(test)]
pub(super) fn at<T>(
    (database, job, region): (&str, &str, Option<&str>),
    is_job: bool,
    of: impl FnOnce(&Site<'_>) -> T,
) -> T {
    use crate::config::Endpoints;
    use crate::config::operator_args::OperatorArgs;
    use crate::model::ids::Database;
    let common = OperatorArgs { json: false, exit_code: false, project: None, database: database.to_owned() };
    let args = DoctorArgs { region: region.map(ToOwned::to_owned), job: job.to_owned(), common };
    let database = Database::parse("p", database).expect("legal");
    let place = Place { database, endpoints: Endpoints::default() };
    of(&Site { args: &args, place: &place, is_job })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_given_to_whoever_lacks_it_and_no_more_of_it() {
        let begin = "gcloud projects add-iam-policy-binding p --member=";
        let secrets = "--role=roles/secretmanager.secretAccessor --condition=\"title=alpaca-keys,expression=\
                       resource.name.startsWith('projects/$(gcloud projects describe p \
                       --format='value(projectNumber)')/secrets/alpaca-keys-')\"";
        let [person, of_region, usual] = [
            "\"user:$(gcloud config get account)\"",
            "\"serviceAccount:$(gcloud run jobs describe pulse --project=p --region=r \
             --format='value(spec.template.spec.template.spec.serviceAccountName)')\"",
            "serviceAccount:pulse-job@p.iam.gserviceaccount.com",
        ];
        for (region, is_job, right, member, role) in [
            (Some("r"), false, "secretmanager.versions.access", person, secrets),
            (Some("r"), true, "secretmanager.versions.access", of_region, secrets),
            (None, true, "datastore.entities.get", usual, "--role=roles/datastore.user --condition=None"),
            (None, false, "datastore.entities.get", person, "--role=roles/datastore.viewer --condition=None"),
        ] {
            let granted = at(("(default)", USUAL_JOB, region), is_job, |site| site.grant(right));
            assert_eq!(granted, format!("{begin}{member} {role}"));
        }
    }

    #[test]
    fn the_log_and_the_look_are_those_of_the_one_job() {
        let log = "gcloud logging read 'resource.type=\"cloud_run_job\" resource.labels.job_name=\"trading\" \
                   severity>=ERROR' --project=p --limit=5 --format='value(jsonPayload.message)'";
        assert_eq!(at(("named", "trading", None), false, |site| site.log()), log);
        assert_eq!(at(("named", "trading", None), false, |site| site.as_job()), None);
        let look = "gcloud run jobs execute trading --project=p --region=r --wait \
                    --args=doctor,--region=r,--job=trading,--database=named";
        assert_eq!(at(("named", "trading", Some("r")), false, |site| site.as_job()).as_deref(), Some(look));
    }

    #[test]
    fn the_job_looks_only_where_it_is_the_one_that_is_looked_at() {
        for (variables, expected) in [
            (&[][..], false),
            (&[("CLOUD_RUN_EXECUTION", "")], false),
            (&[("CLOUD_RUN_EXECUTION", "x")], true),
            (&[("CLOUD_RUN_EXECUTION", "x"), ("CLOUD_RUN_JOB", "pulse")], true),
            (&[("CLOUD_RUN_EXECUTION", "x"), ("CLOUD_RUN_JOB", "other")], false),
        ] {
            let lookup = |name: &str| {
                let set = variables.iter().find(|(set, _)| *set == name);
                set.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(is_job("pulse", lookup), expected, "{variables:?}");
        }
    }
}
