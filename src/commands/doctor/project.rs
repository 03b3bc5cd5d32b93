//! What Google's admin APIs say of the project: each is asked, and judged.

use crate::commands::doctor::data::{deploy, enable};
use crate::commands::doctor::job::{self, Wanted};
use crate::commands::doctor::judge::{self, Judged};
use crate::commands::doctor::schedule::{self, Started};
use crate::commands::doctor::skipped::skip;
use crate::commands::frame::{CheckState, Finding};
use crate::config::doctor_args::{DoctorArgs, USUAL_JOB};
use crate::config::{AdminApi, Place};
use crate::model::suggested::argument;
use crate::services::admin::{Admin, AdminError};
use serde_json::Value as Json;

/// All of them, in the order in which they are told.
const CHECKS: [&str; 7] = ["Database", "Indexes", "Expiry", "Rules", "AuditLogs", "Job", "Schedule"];

/// Whom to ask, and about what.
pub(super) struct Project<'a> {
    pub(super) args: &'a DoctorArgs,
    pub(super) place: &'a Place,
    pub(super) admin: &'a Admin,
}

impl Project<'_> {
    /// All of them, because of the identity.
    pub(super) fn skipped() -> impl Iterator<Item = Finding> {
        CHECKS.into_iter().map(|check| skip(check, "Identity"))
    }

    pub(super) async fn look(&self) -> Vec<Finding> {
        let (database, (indexes, expiry), rules, audit_logs, (job, schedule)) = tokio::join!(
            self.database(),
            self.indexes_and_expiry(),
            self.rules(),
            self.audit_logs(),
            self.job_and_schedule(),
        );
        vec![database, indexes, expiry, rules, audit_logs, job, schedule]
    }

    async fn database(&self) -> Finding {
        let right = "datastore.databases.getMetadata";
        let create = format!(
            "gcloud firestore databases create --location=nam5 --project={}{}",
            argument(self.id()),
            self.named()
        );
        let another = format!(
            "gcloud firestore databases create --database=pulse --location=nam5 --project={}",
            argument(self.id())
        );
        let asked = self.get(AdminApi::Firestore, &self.database_path()).await;
        let judged = |answer: &Json| judge::database(answer, &another);
        self.finding("Database", asked, (right, &create), judged)
    }

    async fn indexes_and_expiry(&self) -> (Finding, Finding) {
        let (path, right) = (self.database_path(), "datastore.indexes.list");
        let mend = deploy("indexes", self.place);
        // All that differ from what a database has by itself.
        let overridden = "filter=indexConfig.usesAncestorConfig%3Dfalse%20OR%20ttlConfig%3A*&pageSize=1000";
        let fields = format!("{path}/collectionGroups/-/fields?{overridden}");
        let indexes = format!("{path}/collectionGroups/-/indexes?pageSize=1000");
        let (fields, indexes) =
            tokio::join!(self.get(AdminApi::Firestore, &fields), self.get(AdminApi::Firestore, &indexes));
        let fields = match fields {
            Ok(fields) => fields,
            Err(err) => {
                let unknown = self.finding("Indexes", Err(err), (right, &mend), judge::expiry);
                return (unknown, skip("Expiry", "Indexes"));
            }
        };
        let judged = |indexes: &Json| judge::indexes(&fields, indexes);
        let indexes = self.finding("Indexes", indexes, (right, &mend), judged);
        (indexes, self.finding("Expiry", Ok(fields), (right, &mend), judge::expiry))
    }

    async fn rules(&self) -> Finding {
        let (project, database) = (self.id(), &*self.place.database.database);
        let release = match database {
            "(default)" => "cloud.firestore".to_owned(),
            named => format!("cloud.firestore/{named}"),
        };
        let release = self.get(AdminApi::Rules, &format!("v1/projects/{project}/releases/{release}")).await;
        let ruleset = match release {
            Ok(release) => {
                let name = release["rulesetName"].as_str().unwrap_or_default().to_owned();
                self.get(AdminApi::Rules, &format!("v1/{name}")).await
            }
            Err(err) => Err(err),
        };
        let mend = deploy("rules", self.place);
        self.finding("Rules", ruleset, ("firebaserules.rulesets.get", &mend), judge::rules)
    }

    async fn audit_logs(&self) -> Finding {
        let (project, named) = (self.id(), argument(self.id()));
        let add = r#".auditConfigs += [{"service":"secretmanager.googleapis.com","auditLogConfigs":[{"logType":"DATA_READ"}]}]"#;
        let mend = format!(
            "gcloud projects get-iam-policy {named} --format=json | jq '{add}' > policy.json && gcloud projects \
             set-iam-policy {named} policy.json"
        );
        let asked = match self.is_replaced(AdminApi::Projects) {
            true => Err(AdminError::Replaced),
            false => self.admin.ask(AdminApi::Projects, &format!("v1/projects/{project}:getIamPolicy")).await,
        };
        self.finding("AuditLogs", asked, ("resourcemanager.projects.getIamPolicy", &mend), judge::audit_logs)
    }

    async fn job_and_schedule(&self) -> (Finding, Finding) {
        let jobs = format!("gcloud run jobs list --project={}", argument(self.id()));
        let Some(region) = &self.args.region else {
            let sentence = "Say where the job is: --region. This lists all jobs with their regions:";
            let unknown = Finding::new(CheckState::Unknown, "Job", sentence);
            return (unknown.mended_by(jobs), skip("Schedule", "Job"));
        };
        let name = format!("projects/{}/locations/{region}/jobs/{}", self.id(), self.args.job);
        let answer = self.get(AdminApi::Run, &format!("v2/{name}")).await;
        if let Err(AdminError::Missing) = answer {
            let sentence = format!(
                "There is no Cloud Run job {} in {region}: it is elsewhere, or is to be deployed (cloudbuild.yaml).",
                self.args.job
            );
            let missing = Finding::new(CheckState::Failed, "Job", sentence);
            return (missing.mended_by(jobs), skip("Schedule", "Job"));
        }
        let is_loop = answer.as_ref().ok().map(job::is_loop);
        let job = self.job(answer, region);
        (job, self.schedule(&name, region, is_loop).await)
    }

    fn job(&self, answer: Result<Json, AdminError>, region: &str) -> Finding {
        let update = format!("gcloud run jobs update {} --region={}", self.flags(), argument(region));
        let named = match self.args.job.as_str() {
            USUAL_JOB => String::new(),
            job => format!(" --job={}", argument(job)),
        };
        let look =
            format!("pulse doctor --project={} --region={}{named}", argument(self.id()), argument(region));
        let wanted = Wanted { database: &self.place.database, update: &update, look: &look };
        self.finding("Job", answer, ("run.jobs.get", ""), |job| job::job(job, &wanted))
    }

    async fn schedule(&self, name: &str, region: &str, is_loop: Option<bool>) -> Finding {
        let flags = format!("{} --location={}", self.flags(), argument(region));
        let started = Started { name, flags: &flags, is_loop };
        let asked = self.get(AdminApi::Scheduler, &format!("v1/{name}")).await;
        if let Err(AdminError::Missing) = asked {
            let sentence = "Nothing starts the job: it has no trigger in Cloud Scheduler of its name.";
            return Finding::new(CheckState::Failed, "Schedule", sentence).mended_by(started.creation());
        }
        let judged = |trigger: &Json| schedule::schedule(trigger, &started);
        self.finding("Schedule", asked, ("cloudscheduler.jobs.get", ""), judged)
    }

    /// By which gcloud finds the job, and what starts it.
    fn flags(&self) -> String {
        format!("{} --project={}", argument(&self.args.job), argument(self.id()))
    }

    fn id(&self) -> &str {
        &self.place.database.project
    }

    fn database_path(&self) -> String {
        format!("v1/projects/{}/databases/{}", self.id(), self.place.database.database)
    }

    fn named(&self) -> String {
        match &*self.place.database.database {
            "(default)" => String::new(),
            named => format!(" --database={}", argument(named)),
        }
    }

    /// An emulator has nothing to say of a project.
    fn is_replaced(&self, api: AdminApi) -> bool {
        let endpoints = &self.place.endpoints;
        endpoints.firestore.is_some() && endpoints.admin(api).is_none()
    }

    async fn get(&self, api: AdminApi, path: &str) -> Result<Json, AdminError> {
        match self.is_replaced(api) {
            true => Err(AdminError::Replaced),
            false => self.admin.get(api, path).await,
        }
    }

    /// What was answered, judged; or why it is not known, with the right that was needed.
    fn finding(
        &self,
        check: &'static str,
        asked: Result<Json, AdminError>,
        (right, mend): (&str, &str),
        judge: impl FnOnce(&Json) -> Judged,
    ) -> Finding {
        let unknown = |sentence: String| Finding::new(CheckState::Unknown, check, sentence);
        let judged = match asked {
            Ok(answer) => judge(&answer),
            Err(AdminError::Missing) => Judged::failed("It does not exist."),
            Err(AdminError::Replaced) => {
                return Finding::new(CheckState::Skipped, check, "An emulator has no such thing.");
            }
            Err(err @ AdminError::Denied(_)) => {
                return unknown(format!("The right {right} is missing: {err}."));
            }
            Err(err @ AdminError::Refused(_)) => {
                return unknown(format!("It could not be looked at, which takes the right {right}: {err}."));
            }
            Err(err @ AdminError::Disabled(api)) => {
                return unknown(format!("It could not be looked at: {err}."))
                    .mended_by(enable(api, self.place));
            }
            Err(err @ AdminError::Unanswered { .. }) => {
                return unknown(format!("It could not be looked at: {err}."));
            }
        };
        let Judged { state, sentence, mend: own } = judged;
        let mend =
            own.or_else(|| Some(mend.to_owned()).filter(|mend| state != CheckState::Ok && !mend.is_empty()));
        Finding { mend, ..Finding::new(state, check, sentence) }
    }
}
