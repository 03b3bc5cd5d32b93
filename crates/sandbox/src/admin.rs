//! What Google's admin APIs say of a project: of one that is set up as the docs say, or of one that is badly set up.

use super::answer::{self, Answer};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a healthy project has deployed.
const RULES: &str = include_str!("../../../firestore.rules");
const INDEXES: &str = include_str!("../../../firestore.indexes.json");

const RULESET: &str = "5f0c1a6e-2b7d-4c1e-9d50-1a2b3c4d5e6f";

const REGION: &str = "us-central1";

/// What whoever asks is asked about, and has in a project that is set up well.
const RIGHTS: [&str; 3] =
    ["datastore.entities.create", "datastore.entities.update", "datastore.entities.delete"];

/// The variables by which they are found, as gcloud names them.
pub(super) const OVERRIDES: [&str; 5] = [
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_FIRESTORE",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_FIREBASERULES",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER",
];

/// The admin side of the one project.
#[derive(Debug)]
pub struct Admin {
    project: String,
    is_bad: AtomicBool,
}

impl Admin {
    pub(super) fn new(project: &str) -> Self {
        Self { project: project.to_owned(), is_bad: AtomicBool::new(false) }
    }

    /// From now on every answer is that of a project in which everything is wrong.
    pub fn set_up_badly(&self) {
        self.is_bad.store(true, Ordering::Relaxed);
    }

    /// The name of the method that a path calls, if it is one of these.
    pub(super) fn method_name(method: &http::Method, path: &str) -> Option<&'static str> {
        let version = path.get(..4)?;
        let rest = path.strip_prefix("/v1/projects/").or_else(|| path.strip_prefix("/v2/projects/"))?;
        if method == http::Method::POST {
            return match rest.split_once(':').filter(|(project, _)| !project.contains('/'))?.1 {
                "getIamPolicy" => Some("GetIamPolicy"),
                "testIamPermissions" => Some("TestIamPermissions"),
                _ => None,
            };
        }
        let parts: Vec<_> = rest.split('/').skip(1).collect();
        match (version, parts.as_slice()) {
            ("/v1/", ["databases", _]) => Some("GetDatabase"),
            ("/v1/", ["databases", _, "collectionGroups", "-", "fields"]) => Some("ListFields"),
            ("/v1/", ["databases", _, "collectionGroups", "-", "indexes"]) => Some("ListIndexes"),
            ("/v1/", ["releases", ..]) => Some("GetRelease"),
            ("/v1/", ["rulesets", _]) => Some("GetRuleset"),
            ("/v1/", ["locations", _, "jobs", _]) => Some("GetSchedulerJob"),
            ("/v2/", ["locations", _, "jobs", _]) => Some("GetRunJob"),
            ("/v2/", ["locations", _, "jobs", _, "executions"]) => Some("ListExecutions"),
            _ => None,
        }
    }

    pub(super) fn answer(&self, method: &str, path: &str) -> Answer {
        let is_bad = self.is_bad.load(Ordering::Relaxed);
        match self.message(method, is_bad) {
            Some(message) if is_bad || !is_elsewhere(path) => answer::json(StatusCode::OK, &message),
            _ => not_found(),
        }
    }

    /// The message that a method answers with; its kind is listed at [`MESSAGES`].
    pub fn message(&self, method: &str, is_bad: bool) -> Option<Value> {
        let project = &self.project;
        let database = format!("projects/{project}/databases/(default)");
        let message = match method {
            "GetDatabase" => json!({
                "name": database,
                "uid": "0b2d1c5e-7f7b-4d0a-8f33-6f8b5f0e9a11",
                "locationId": "nam5",
                "type": if is_bad { "DATASTORE_MODE" } else { "FIRESTORE_NATIVE" },
                "concurrencyMode": "PESSIMISTIC",
                "etag": "IPHz1pSCioMDMPHz1pSCioMD",
            }),
            "ListFields" if is_bad => json!({"fields": []}),
            "ListFields" => json!({"fields": fields(&database)}),
            "ListIndexes" if is_bad => json!({}),
            "ListIndexes" => json!({"indexes": indexes(&database)}),
            "GetRelease" => json!({
                "name": format!("projects/{project}/releases/cloud.firestore"),
                "rulesetName": format!("projects/{project}/rulesets/{RULESET}"),
                "createTime": "2026-10-01T08:00:00.000000Z",
                "updateTime": "2026-11-20T08:00:00.000000Z",
            }),
            "GetRuleset" => {
                let open = "rules_version = '2';\nservice cloud.firestore {}\n";
                json!({
                    "name": format!("projects/{project}/rulesets/{RULESET}"),
                    "source": {"files": [{"name": "firestore.rules", "content": if is_bad { open } else { RULES }}]},
                    "createTime": "2026-11-20T08:00:00.000000Z",
                })
            }
            "GetIamPolicy" => policy(project, is_bad),
            "TestIamPermissions" if is_bad => json!({}),
            "TestIamPermissions" => json!({"permissions": RIGHTS}),
            "GetRunJob" => run_job(project, is_bad),
            "ListExecutions" => executions(project),
            "GetSchedulerJob" => scheduler_job(project, is_bad),
            _ => return None,
        };
        Some(message)
    }
}

/// Each method, and the API, version and message of gcloud's that its answer is.
pub const MESSAGES: [(&str, &str, &str, &str); 8] = [
    ("GetDatabase", "firestore", "v1", "GoogleFirestoreAdminV1Database"),
    ("ListFields", "firestore", "v1", "GoogleFirestoreAdminV1ListFieldsResponse"),
    ("ListIndexes", "firestore", "v1", "GoogleFirestoreAdminV1ListIndexesResponse"),
    ("GetIamPolicy", "cloudresourcemanager", "v1", "Policy"),
    ("TestIamPermissions", "cloudresourcemanager", "v1", "TestIamPermissionsResponse"),
    ("GetRunJob", "run", "v2", "GoogleCloudRunV2Job"),
    ("ListExecutions", "run", "v2", "GoogleCloudRunV2ListExecutionsResponse"),
    ("GetSchedulerJob", "cloudscheduler", "v1", "Job"),
];

fn is_elsewhere(path: &str) -> bool {
    path.split_once("/locations/").is_some_and(|(_, rest)| !rest.starts_with(REGION))
}

fn not_found() -> Answer {
    let error =
        json!({"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}});
    answer::json(StatusCode::NOT_FOUND, &error)
}

fn fields(database: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(INDEXES).unwrap_or_default();
    let overrides = file["fieldOverrides"].as_array().cloned().unwrap_or_default();
    let field = |of: &Value| {
        let (group, path) = (of["collectionGroup"].as_str()?, of["fieldPath"].as_str()?);
        let indexes = of["indexes"].as_array()?.iter().map(|index| {
            json!({
                "queryScope": index["queryScope"],
                "fields": [{"fieldPath": path, "order": index["order"]}],
                "state": "READY",
            })
        });
        let mut field = json!({
            "name": format!("{database}/collectionGroups/{group}/fields/{path}"),
            "indexConfig": {"indexes": indexes.collect::<Vec<_>>()},
        });
        if of["ttl"] == true {
            field["ttlConfig"] = json!({"state": "ACTIVE"});
        }
        Some(field)
    };
    overrides.iter().filter_map(field).collect()
}

fn indexes(database: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(INDEXES).unwrap_or_default();
    let indexes = file["indexes"].as_array().cloned().unwrap_or_default();
    let index = |(n, of): (usize, &Value)| {
        let mut fields = of["fields"].as_array()?.clone();
        let last = fields.last()?["order"].clone();
        fields.push(json!({"fieldPath": "__name__", "order": last}));
        Some(json!({
            "name": format!("{database}/collectionGroups/{}/indexes/CICAgO{n}", of["collectionGroup"].as_str()?),
            "queryScope": of["queryScope"],
            "fields": fields,
            "state": "READY",
        }))
    };
    indexes.iter().enumerate().filter_map(index).collect()
}

fn policy(project: &str, is_bad: bool) -> Value {
    let mut policy = json!({"version": 1, "etag": "BwYxM1p1x0I=", "bindings": [
        {"role": "roles/owner", "members": ["user:owner@example.com"]},
    ]});
    if !is_bad {
        if let Some(bindings) = policy["bindings"].as_array_mut() {
            let job = format!("serviceAccount:pulse-job@{project}.iam.gserviceaccount.com");
            bindings.push(json!({"role": "roles/datastore.user", "members": [job]}));
        }
        let of_reads = json!([{"logType": "DATA_READ"}]);
        policy["auditConfigs"] =
            json!([{"service": "secretmanager.googleapis.com", "auditLogConfigs": of_reads}]);
    }
    policy
}

fn run_job(project: &str, is_bad: bool) -> Value {
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let (of, timeout, tasks) = if is_bad { ("another", "600s", 3) } else { (project, "300s", 1) };
    json!({
        "name": format!("projects/{project}/locations/{REGION}/jobs/pulse"),
        "generation": "7",
        "launchStage": "GA",
        "latestCreatedExecution": {
            "name": "pulse-x7k2p",
            "createTime": "2026-11-20T08:00:00.000000Z",
            "completionTime": "2026-11-20T08:00:09.000000Z",
            "completionStatus": if is_bad { "EXECUTION_FAILED" } else { "EXECUTION_SUCCEEDED" },
        },
        "template": {
            "taskCount": tasks,
            "template": {
                "containers": [{
                    "image": format!("{REGION}-docker.pkg.dev/{project}/pulse/pulse@sha256:{}", "0a".repeat(32)),
                    "env": [
                        variable("GCP_PROJECT", of),
                        variable("PULSE_CONCURRENCY", "64"),
                        variable("PULSE_LEGACY_TENANT_PATH", "on"),
                    ],
                    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
                }],
                "maxRetries": 1,
                "timeout": timeout,
                "serviceAccount": format!("pulse-job@{project}.iam.gserviceaccount.com"),
            },
        },
    })
}

fn executions(project: &str) -> Value {
    let job = format!("projects/{project}/locations/{REGION}/jobs/pulse");
    json!({"executions": [{
        "name": format!("{job}/executions/pulse-x7k2p"),
        "job": "pulse",
        "createTime": "2026-11-20T08:00:00.000000Z",
        "startTime": "2026-11-20T08:00:02.000000Z",
        "completionTime": "2026-11-20T08:00:09.000000Z",
        "taskCount": 1,
    }]})
}

fn scheduler_job(project: &str, is_bad: bool) -> Value {
    json!({
        "name": format!("projects/{project}/locations/{REGION}/jobs/pulse"),
        "schedule": "* * * * *",
        "timeZone": "Etc/UTC",
        "state": if is_bad { "PAUSED" } else { "ENABLED" },
        "attemptDeadline": "30s",
        "httpTarget": {
            "uri": format!("https://run.googleapis.com/v2/projects/{project}/locations/{REGION}/jobs/pulse:run"),
            "httpMethod": "POST",
            "oauthToken": {
                "serviceAccountEmail": format!("pulse-scheduler@{project}.iam.gserviceaccount.com"),
                "scope": "https://www.googleapis.com/auth/cloud-platform",
            },
        },
    })
}
