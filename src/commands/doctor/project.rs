//! What Google's admin APIs say of the project: each is asked, and judged.

use crate::commands::doctor::data::{FROM_A_CHECKOUT, deploy, enable};
use crate::commands::doctor::job::{self, Wanted};
use crate::commands::doctor::judge::{self, ANOTHER, Judged, word};
use crate::commands::doctor::schedule::{self, Started};
use crate::commands::doctor::site::Site;
use crate::commands::doctor::writes::{self, LastPulse, RIGHTS};
use crate::commands::frame::{CheckState, Finding};
use crate::commands::reading;
use crate::config::AdminApi;
use crate::config::doctor_args::USUAL_JOB;
use crate::model::suggested::argument;
use crate::services::admin::{Admin, AdminError};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::time::Duration;

/// All of them, in the order in which they are told.
const CHECKS: [&str; 8] =
    ["Database", "Indexes", "Expiry", "Rules", "AuditLogs", "Job", "Schedule", "Writes"];

/// Those of a database that the job can use.
const OF_THE_DATABASE: [&str; 3] = ["Indexes", "Expiry", "Rules"];

/// Whom to ask, and about what.
pub(super) struct Project<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) admin: &'a Admin,
    /// Unless Firestore did not say.
    pub(super) pulse: Option<LastPulse>,
}

/// What an API said.
type Answer = Result<Json, AdminError>;

/// The job, and what starts it.
struct Deployed {
    name: String,
    region: String,
    job: Answer,
    executions: Answer,
    trigger: Answer,
}

impl Deployed {
    /// The time between two starts, of a schedule that has one every day.
    fn gap(&self) -> Option<Duration> {
        schedule::gap(self.trigger.as_ref().ok())
    }
}

impl Project<'_> {
    /// All of them, because of the identity.
    pub(super) fn skipped() -> impl Iterator<Item = Finding> {
        CHECKS.into_iter().map(|check| reading::skipped(check, "Identity"))
    }

    pub(super) async fn look(&self) -> Vec<Finding> {
        let (database, (indexes, expiry), rules, policy, rights, deployed) = tokio::join!(
            self.database(),
            self.indexes_and_expiry(),
            self.rules(),
            self.policy(),
            self.rights(),
            self.deployed(),
        );
        let another = database.as_ref().ok().filter(|answer| !judge::is_usable(answer)).map(|_| ANOTHER);
        let database = self.of_database(database);
        let of_database = match database.state {
            CheckState::Failed => OF_THE_DATABASE.map(|check| reading::skipped(check, "Database")),
            _ => [indexes, expiry, rules],
        };
        let writes = self.writes(&policy, rights, deployed.as_ref());
        let (job, schedule) = self.job_and_schedule(deployed, another);
        let audit_logs = self.audit_logs(policy);
        [database].into_iter().chain(of_database).chain([audit_logs, job, schedule, writes]).collect()
    }

    async fn database(&self) -> Answer {
        self.get(AdminApi::Firestore, &self.database_path()).await
    }

    fn of_database(&self, asked: Answer) -> Finding {
        let right = "datastore.databases.getMetadata";
        let project = self.site.project();
        let create =
            format!("gcloud firestore databases create --location=nam5 --project={project}{}", self.named());
        let another = format!(
            "gcloud firestore databases create --database={ANOTHER} --location=nam5 --project={project}"
        );
        let judged = |answer: &Json| judge::database(answer, &another);
        self.finding("Database", asked, (right, &create), judged)
    }

    async fn indexes_and_expiry(&self) -> (Finding, Finding) {
        let (path, right) = (self.database_path(), "datastore.indexes.list");
        let mend = deploy("indexes", self.site.place);
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
                return (unknown, reading::skipped("Expiry", "Indexes"));
            }
        };
        let judged = |indexes: &Json| judge::indexes(&fields, indexes);
        let indexes = self.finding("Indexes", indexes, (right, &mend), judged);
        let expiry = self.finding("Expiry", Ok(fields), (right, &mend), judge::expiry);
        (from_a_checkout(indexes), from_a_checkout(expiry))
    }

    async fn rules(&self) -> Finding {
        let (project, database) = (self.id(), &*self.site.place.database.database);
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
        let mend = deploy("rules", self.site.place);
        from_a_checkout(self.finding("Rules", ruleset, ("firebaserules.rulesets.get", &mend), judge::rules))
    }

    /// Who has which role, and what is logged.
    async fn policy(&self) -> Answer {
        self.ask("getIamPolicy", &json!({})).await
    }

    /// What whoever looks may do.
    async fn rights(&self) -> Answer {
        self.ask("testIamPermissions", &json!({"permissions": RIGHTS})).await
    }

    fn audit_logs(&self, policy: Answer) -> Finding {
        let named = self.site.project();
        let add = r#".auditConfigs += [{"service":"secretmanager.googleapis.com","auditLogConfigs":[{"logType":"DATA_READ"}]}]"#;
        let mend = format!(
            "gcloud projects get-iam-policy {named} --format=json | jq '{add}' > policy.json && gcloud projects \
             set-iam-policy {named} policy.json"
        );
        self.finding("AuditLogs", policy, (GET_POLICY, &mend), judge::audit_logs)
    }

    /// The job's own rights as the job, else those that the policy gives its account: whoever looks needs none to write.
    fn writes(&self, policy: &Answer, rights: Answer, deployed: Option<&Deployed>) -> Finding {
        let check = "Writes";
        let Some(pulse) = self.pulse else { return reading::skipped(check, "Firestore") };
        let gap = deployed.map_or_else(|| schedule::gap(None), Deployed::gap);
        let shown = pulse.shows(gap);
        if self.site.is_job {
            let judged = |answer: &Json| writes::of_the_job(&writes::missing(answer), shown, self.site);
            return self.finding(check, rights, (TEST_RIGHTS, ""), judged);
        }
        let found = match (deployed.map(|deployed| &deployed.job), policy) {
            (Some(Err(AdminError::Replaced)), _) => return self.unseen(check, &AdminError::Replaced, ""),
            (None | Some(Err(_)), _) => return reading::skipped(check, "Job"),
            (Some(Ok(_)), Err(err)) => self.unseen(check, err, GET_POLICY),
            (Some(Ok(job)), Ok(policy)) => {
                let account = word(&job["template"]["template"], "serviceAccount");
                told(check, writes::of_the_policy((policy, account), shown, self.site))
            }
        };
        self.with_whoever_looks(found, &rights)
    }

    /// What they may not is no fault of the project: they need it for `pulse keys` and `pulse user` alone.
    fn with_whoever_looks(&self, found: Finding, rights: &Answer) -> Finding {
        let missing = rights.as_ref().map(writes::missing).unwrap_or_default();
        let mend =
            found.mend.clone().or_else(|| self.site.as_job().filter(|_| found.state == CheckState::Unknown));
        let sentence = match missing.is_empty() {
            true => found.sentence,
            false => format!("Whoever looks here may not write ({}). {}", missing.join(", "), found.sentence),
        };
        Finding { sentence, mend, ..found }
    }

    async fn deployed(&self) -> Option<Deployed> {
        let region = self.site.args.region.clone()?;
        let name = format!("projects/{}/locations/{region}/jobs/{}", self.id(), self.site.args.job);
        let [job, executions, trigger] =
            [format!("v2/{name}"), format!("v2/{name}/executions?pageSize=100"), format!("v1/{name}")];
        let (job, executions, trigger) = tokio::join!(
            self.get(AdminApi::Run, &job),
            self.get(AdminApi::Run, &executions),
            self.get(AdminApi::Scheduler, &trigger),
        );
        Some(Deployed { name, region, job, executions, trigger })
    }

    /// `another` is the database that the job needs, where it cannot be this one.
    fn job_and_schedule(&self, deployed: Option<Deployed>, another: Option<&str>) -> (Finding, Finding) {
        let jobs = format!("gcloud run jobs list --project={}", self.site.project());
        let Some(deployed) = deployed else {
            let sentence = "Say where the job is: --region. This lists all jobs with their regions:";
            let unknown = Finding::new(CheckState::Unknown, "Job", sentence);
            return (unknown.mended_by(jobs), reading::skipped("Schedule", "Job"));
        };
        let gap = deployed.gap();
        let Deployed { name, region, job, executions, trigger } = deployed;
        if let Err(AdminError::Missing) = job {
            let sentence = format!(
                "There is no Cloud Run job {} in {region}: it is elsewhere, or is to be deployed (cloudbuild.yaml).",
                self.site.args.job
            );
            let missing = Finding::new(CheckState::Failed, "Job", sentence);
            return (missing.mended_by(jobs), reading::skipped("Schedule", "Job"));
        }
        let is_loop = job.as_ref().ok().map(job::is_loop);
        let schedule = self.schedule(trigger, (&name, &region), is_loop);
        let job = self.job((job, executions), &region, (another, gap));
        (job, schedule)
    }

    fn job(
        &self,
        (answer, executions): (Answer, Answer),
        region: &str,
        (another, gap): (Option<&str>, Option<Duration>),
    ) -> Finding {
        let flags = format!("--project={} --region={}", self.site.project(), argument(region));
        let update = format!("gcloud run jobs update {} {flags}", argument(&self.site.args.job));
        let named = match self.site.args.job.as_str() {
            USUAL_JOB => String::new(),
            job => format!(" --job={}", argument(job)),
        };
        let wanted = Wanted {
            database: &self.site.place.database,
            another,
            update: &update,
            look: &format!("pulse doctor {flags}{named}"),
            flags: &flags,
            now: self.pulse.map_or_else(Timestamp::now, |pulse| pulse.now),
            gap,
            executions: executions.as_ref().unwrap_or(&Json::Null),
        };
        let found = self.finding("Job", answer, ("run.jobs.get", ""), |job| job::job(job, &wanted));
        match executions {
            Err(err) if found.state == CheckState::Ok => self.unseen("Job", &err, "run.executions.list"),
            _ => found,
        }
    }

    fn schedule(&self, asked: Answer, (name, region): (&str, &str), is_loop: Option<bool>) -> Finding {
        let flags = format!("{} --location={}", self.site.flags(), argument(region));
        let started = Started { name, flags: &flags, is_loop };
        if let Err(AdminError::Missing) = asked {
            let sentence = "Nothing starts the job: it has no trigger in Cloud Scheduler of its name.";
            return Finding::new(CheckState::Failed, "Schedule", sentence).mended_by(started.creation());
        }
        let judged = |trigger: &Json| schedule::schedule(trigger, &started);
        self.finding("Schedule", asked, ("cloudscheduler.jobs.get", ""), judged)
    }

    fn id(&self) -> &str {
        &self.site.place.database.project
    }

    fn database_path(&self) -> String {
        format!("v1/projects/{}/databases/{}", self.id(), self.site.place.database.database)
    }

    fn named(&self) -> String {
        match &*self.site.place.database.database {
            "(default)" => String::new(),
            named => format!(" --database={}", argument(named)),
        }
    }

    /// An emulator has nothing to say of a project.
    fn is_replaced(&self, api: AdminApi) -> bool {
        let endpoints = &self.site.place.endpoints;
        endpoints.firestore.is_some() && endpoints.admin(api).is_none()
    }

    async fn get(&self, api: AdminApi, path: &str) -> Answer {
        match self.is_replaced(api) {
            true => Err(AdminError::Replaced),
            false => self.admin.get(api, path).await,
        }
    }

    /// What the project itself is asked for.
    async fn ask(&self, method: &str, body: &Json) -> Answer {
        let api = AdminApi::Projects;
        match self.is_replaced(api) {
            true => Err(AdminError::Replaced),
            false => self.admin.ask(api, &format!("v1/projects/{}:{method}", self.id()), body).await,
        }
    }

    /// What was answered, judged; or why it is not known, with the right that was needed.
    fn finding(
        &self,
        check: &'static str,
        asked: Answer,
        (right, mend): (&str, &str),
        judge: impl FnOnce(&Json) -> Judged,
    ) -> Finding {
        let judged = match asked {
            Ok(answer) => judge(&answer),
            Err(AdminError::Missing) => Judged::failed("It does not exist."),
            Err(err) => return self.unseen(check, &err, right),
        };
        let found = told(check, judged);
        let usual = (found.state != CheckState::Ok && !mend.is_empty()).then(|| mend.to_owned());
        Finding { mend: found.mend.or(usual), ..found }
    }

    /// Why it is not known, with the right that was needed.
    fn unseen(&self, check: &'static str, err: &AdminError, right: &str) -> Finding {
        let unknown = |sentence: String| Finding::new(CheckState::Unknown, check, sentence);
        match err {
            AdminError::Replaced => {
                Finding::new(CheckState::Skipped, check, "An emulator has no such thing.")
            }
            AdminError::Denied(_) => unknown(format!("The right {right} is missing: {err}.")),
            AdminError::Refused(_) => {
                unknown(format!("It could not be looked at, which takes the right {right}: {err}."))
            }
            AdminError::Disabled(api) => {
                unknown(format!("It could not be looked at: {err}.")).mended_by(enable(api, self.site.place))
            }
            AdminError::Missing | AdminError::Unanswered { .. } => {
                unknown(format!("It could not be looked at: {err}."))
            }
        }
    }
}

/// The right to see who has which.
const GET_POLICY: &str = "resourcemanager.projects.getIamPolicy";

/// The right to see the project, which is all that asking for one's own rights may take.
const TEST_RIGHTS: &str = "resourcemanager.projects.get";

fn told(check: &'static str, Judged { state, sentence, mend }: Judged) -> Finding {
    Finding { mend, ..Finding::new(state, check, sentence) }
}

/// Says where the command works that deploys what is not as in the files.
fn from_a_checkout(found: Finding) -> Finding {
    match found.state {
        CheckState::Failed => Finding { sentence: format!("{} {FROM_A_CHECKOUT}", found.sentence), ..found },
        _ => found,
    }
}
