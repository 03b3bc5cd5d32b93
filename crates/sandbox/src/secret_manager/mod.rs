//! A Secret Manager that answers as Google's REST API does.

mod list;
mod operation;
mod rest;
mod secret;

use super::answer::{self, Answer};
use super::seed::Population;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
pub(crate) use operation::Operation;
use operation::{Action, Page, VersionAction};
use rest::Refusal;
use secret::Secret;
pub use secret::VersionState;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// The secrets of one project.
///
/// The secrets of the seeded users are worked out when they are read, and kept only once something changes them, so
/// that a million of them cost nothing.
pub struct SecretManager {
    project: String,
    project_number: u64,
    population: Population,
    started: Timestamp,
    /// Everything that differs from the seed; `None` is a secret that was deleted.
    changed: RwLock<HashMap<String, Option<Secret>>>,
}

impl SecretManager {
    pub(super) fn new(project: &str, population: Population) -> Self {
        Self {
            project: project.to_owned(),
            // Google's project numbers have twelve digits; this one only has to look alike and stay the same.
            project_number: 100_000_000_000 + u64::from(crc32c::crc32c(project.as_bytes())),
            population,
            started: Timestamp::now(),
            changed: RwLock::default(),
        }
    }

    /// Adds a version, creating the secret if needed, and gives the version's number.
    pub fn add_version(&self, secret: &str, payload: impl Into<Bytes>) -> usize {
        let now = Timestamp::now();
        self.change(secret, |entry| entry.get_or_insert_with(|| Secret::new(now)).add(payload.into(), now))
    }

    /// Changes the state of a version (`latest` or a number); `false` if there is none, or it is destroyed already.
    pub fn set_state(&self, secret: &str, version: &str, state: VersionState) -> bool {
        self.change(secret, |entry| {
            entry.as_mut().is_some_and(|secret| {
                let number = secret.resolve(version);
                number.is_some_and(|number| secret.set_state(number, state, Timestamp::now()))
            })
        })
    }

    /// Deletes a secret with all its versions.
    pub fn delete(&self, secret: &str) {
        self.change(secret, |entry| *entry = None);
    }

    /// Answers every call for `secret` with PERMISSION_DENIED, or stops doing so; creates the secret if needed.
    pub fn forbid(&self, secret: &str, forbidden: bool) {
        let now = Timestamp::now();
        self.change(secret, |entry| entry.get_or_insert_with(|| Secret::new(now)).forbidden = forbidden);
    }

    /// Answers one request; `None` stands for a path that Secret Manager does not know.
    pub(super) fn answer(&self, operation: Option<&Operation>, body: &[u8]) -> Answer {
        let Some(operation) = operation else {
            return Refusal::not_found("Method not found.").answer();
        };
        self.perform(operation, body).unwrap_or_else(|refusal| refusal.answer())
    }

    /// The same where `latest` is not the newest version yet, but the one before.
    pub(super) fn answer_late(&self, operation: &Operation, body: &[u8]) -> Answer {
        let newest = |secret: Option<&Secret>| secret.and_then(|secret| secret.resolve("latest"));
        match self.read(operation.secret(), newest).unwrap_or_default() {
            newest @ 2.. => self.answer(Some(&operation.of_version(newest - 1)), body),
            _ => self.no_secret(operation.secret()).answer(),
        }
    }

    fn perform(&self, operation: &Operation, body: &[u8]) -> Result<Answer, Refusal> {
        let id = operation.secret();
        if !is_secret_id(id) && !matches!(operation.action(), Action::List(_)) {
            return Err(Refusal::invalid_argument(format!(
                "Secret ID [{id}] must match the pattern [a-zA-Z0-9_-]{{1,255}}."
            )));
        }
        let is_ours =
            operation.project() == self.project || operation.project() == self.project_number.to_string();
        let is_forbidden = !is_ours || self.read(id, |secret| secret.is_some_and(|secret| secret.forbidden));
        if is_forbidden {
            let (permission, resource) = (operation.permission(), operation.resource());
            return Err(Refusal::permission_denied(format!(
                "Permission '{permission}' denied for resource '{resource}' (or it may not exist)."
            )));
        }
        match operation.action() {
            Action::List(page) => self.list(page),
            Action::Create => self.create(id),
            Action::Get => self.read(id, |secret| {
                let secret = secret.ok_or_else(|| self.no_secret(id))?;
                Ok(answer::json(StatusCode::OK, &rest::secret(&self.name(id), secret.created)))
            }),
            Action::Delete => {
                self.change(id, |entry| entry.take().ok_or_else(|| self.no_secret(id)))?;
                Ok(answer::json(StatusCode::OK, &json!({})))
            }
            Action::AddVersion => self.add(id, body),
            Action::ListVersions(page) => self.list_versions(id, page),
            Action::Version(alias, VersionAction::Get) => self.get_version(id, alias),
            Action::Version(alias, VersionAction::Access) => self.access(id, alias),
            Action::Version(alias, VersionAction::Disable) => self.move_to(id, alias, VersionState::Disabled),
            Action::Version(alias, VersionAction::Enable) => self.move_to(id, alias, VersionState::Enabled),
            Action::Version(alias, VersionAction::Destroy) => {
                self.move_to(id, alias, VersionState::Destroyed)
            }
        }
    }

    fn create(&self, id: &str) -> Result<Answer, Refusal> {
        let name = self.name(id);
        self.change(id, |entry| {
            if entry.is_some() {
                return Err(Refusal::already_exists(format!("Secret [{name}] already exists.")));
            }
            let secret = entry.insert(Secret::new(Timestamp::now()));
            Ok(answer::json(StatusCode::OK, &rest::secret(&name, secret.created)))
        })
    }

    fn add(&self, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
        let payload = rest::read_payload(body)?;
        self.change(id, |entry| {
            let secret = entry.as_mut().ok_or_else(|| self.no_secret(id))?;
            let number = secret.add(payload.data, Timestamp::now());
            let version = secret.version(number).ok_or_else(|| self.no_version(id, "latest"))?;
            let mut added = rest::version(&self.version_name(id, number), version);
            if payload.has_checksum {
                added["clientSpecifiedPayloadChecksum"] = true.into();
            }
            Ok(answer::json(StatusCode::OK, &added))
        })
    }

    /// The newest first, and those of one moment by name.
    fn list(&self, page: &Page) -> Result<Answer, Refusal> {
        let changed = self.changed.read().unwrap_or_else(PoisonError::into_inner);
        let kept = changed.iter().filter_map(|(id, secret)| Some((id.clone(), secret.as_ref()?.created)));
        let seeded = self.population.secrets().filter(|id| !changed.contains_key(id));
        let mut ids: Vec<_> = kept.chain(seeded.map(|id| (id, self.started))).collect();
        drop(changed);
        ids.sort_by(|(a, created_a), (b, created_b)| created_b.cmp(created_a).then_with(|| a.cmp(b)));
        let secrets = ids.into_iter().map(|(id, created)| rest::secret(&self.name(&id), created));
        list::answer("secrets", secrets, page)
    }

    /// The newest first.
    fn list_versions(&self, id: &str, page: &Page) -> Result<Answer, Refusal> {
        self.read(id, |secret| {
            let secret = secret.ok_or_else(|| self.no_secret(id))?;
            let version = |(number, version)| rest::version(&self.version_name(id, number), version);
            list::answer("versions", secret.versions().map(version), page)
        })
    }

    fn get_version(&self, id: &str, alias: &str) -> Result<Answer, Refusal> {
        self.read(id, |secret| {
            let (number, version) = self.find(id, alias, secret)?;
            Ok(answer::json(StatusCode::OK, &rest::version(&self.version_name(id, number), version)))
        })
    }

    fn access(&self, id: &str, alias: &str) -> Result<Answer, Refusal> {
        self.read(id, |secret| {
            let (number, version) = self.find(id, alias, secret)?;
            let name = self.version_name(id, number);
            if version.state != VersionState::Enabled {
                let state = version.state.name();
                return Err(Refusal::failed_precondition(format!(
                    "Secret Version [{name}] is in {state} state."
                )));
            }
            Ok(answer::json(StatusCode::OK, &rest::accessed(&name, &version.payload)))
        })
    }

    fn move_to(&self, id: &str, alias: &str, state: VersionState) -> Result<Answer, Refusal> {
        self.change(id, |entry| {
            let (number, _) = self.find(id, alias, entry.as_ref())?;
            let name = self.version_name(id, number);
            let now = Timestamp::now();
            let changed = entry.as_mut().is_some_and(|secret| secret.set_state(number, state, now));
            if !changed {
                return Err(Refusal::failed_precondition(format!(
                    "Secret Version [{name}] is in DESTROYED state."
                )));
            }
            let (_, version) = self.find(id, alias, entry.as_ref())?;
            Ok(answer::json(StatusCode::OK, &rest::version(&name, version)))
        })
    }

    fn find<'a>(
        &self,
        id: &str,
        alias: &str,
        secret: Option<&'a Secret>,
    ) -> Result<(usize, &'a secret::Version), Refusal> {
        let secret = secret.ok_or_else(|| self.no_secret(id))?;
        let missing = || {
            if alias == "latest" { self.no_secret(id) } else { self.no_version(id, alias) }
        };
        let number = secret.resolve(alias).ok_or_else(missing)?;
        Ok((number, secret.version(number).ok_or_else(missing)?))
    }

    fn no_secret(&self, id: &str) -> Refusal {
        Refusal::not_found(format!("Secret [{}] not found or has no versions.", self.name(id)))
    }

    fn no_version(&self, id: &str, alias: &str) -> Refusal {
        Refusal::not_found(format!("Secret Version [{}/versions/{alias}] not found.", self.name(id)))
    }

    fn name(&self, id: &str) -> String {
        format!("projects/{}/secrets/{id}", self.project_number)
    }

    fn version_name(&self, id: &str, number: usize) -> String {
        format!("{}/versions/{number}", self.name(id))
    }

    fn read<T>(&self, id: &str, look: impl FnOnce(Option<&Secret>) -> T) -> T {
        let changed = self.changed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = changed.get(id) {
            return look(secret.as_ref());
        }
        drop(changed);
        look(self.seeded(id).as_ref())
    }

    fn change<T>(&self, id: &str, act: impl FnOnce(&mut Option<Secret>) -> T) -> T {
        let mut changed = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        act(changed.entry(id.to_owned()).or_insert_with(|| self.seeded(id)))
    }

    /// The secret that the seed gives to `id`.
    fn seeded(&self, id: &str) -> Option<Secret> {
        let seed = self.population.secret(id)?;
        let mut secret = Secret::new(self.started);
        let number = secret.add(seed.payload, self.started);
        if seed.is_disabled {
            secret.set_state(number, VersionState::Disabled, self.started);
        }
        Some(secret)
    }
}

fn is_secret_id(id: &str) -> bool {
    (1..=255).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn ask(manager: &SecretManager, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let operation = Operation::parse(&method.parse().unwrap(), path, query);
        let answer = manager.answer(operation.as_ref(), body.as_bytes());
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
    }

    fn manager() -> SecretManager {
        SecretManager::new("p", Population::default())
    }

    fn access(manager: &SecretManager, secret: &str, version: &str) -> (u16, Value) {
        ask(manager, "GET", &format!("/v1/projects/p/secrets/{secret}/versions/{version}:access"), "")
    }

    fn error(code: u16, status: &str, message: &str) -> (u16, Value) {
        (code, json!({"error": {"code": code, "message": message, "status": status}}))
    }

    #[test]
    fn a_version_is_accessed_with_its_number_and_checksum() {
        let manager = manager();
        manager.add_version("s", "old");
        manager.add_version("s", "new?>");
        let number = manager.project_number;
        let expected = json!({
            "name": format!("projects/{number}/secrets/s/versions/2"),
            "payload": {"data": "bmV3Pz4=", "dataCrc32c": crc32c::crc32c(b"new?>").to_string()},
        });
        assert_eq!(access(&manager, "s", "latest"), (200, expected.clone()));
        assert_eq!(access(&manager, "s", "2"), (200, expected));
    }

    #[test]
    fn a_missing_secret_or_version_is_not_found() {
        let manager = manager();
        let number = manager.project_number;
        let message = format!("Secret [projects/{number}/secrets/s] not found or has no versions.");
        assert_eq!(access(&manager, "s", "latest"), error(404, "NOT_FOUND", &message));
        manager.add_version("s", "x");
        let message = format!("Secret Version [projects/{number}/secrets/s/versions/7] not found.");
        assert_eq!(access(&manager, "s", "7"), error(404, "NOT_FOUND", &message));
        manager.delete("s");
        assert_eq!(access(&manager, "s", "1").0, 404);
    }

    #[test]
    fn a_disabled_latest_version_does_not_fall_back_to_an_older_one() {
        let manager = manager();
        manager.add_version("s", "old");
        manager.add_version("s", "new");
        let name = format!("projects/{}/secrets/s/versions/2", manager.project_number);
        for state in [VersionState::Disabled, VersionState::Destroyed] {
            assert!(manager.set_state("s", "latest", state));
            let message = format!("Secret Version [{name}] is in {} state.", state.name());
            assert_eq!(access(&manager, "s", "latest"), error(400, "FAILED_PRECONDITION", &message));
        }
        assert_eq!(access(&manager, "s", "1").0, 200);
    }

    #[test]
    fn a_forbidden_secret_and_another_project_are_denied_as_if_missing() {
        let manager = manager();
        manager.add_version("s", "x");
        manager.forbid("s", true);
        let denied = |project: &str| {
            let resource = format!("projects/{project}/secrets/s/versions/latest");
            let message = format!(
                "Permission 'secretmanager.versions.access' denied for resource '{resource}' (or it may not exist)."
            );
            let (status, mut body) = error(403, "PERMISSION_DENIED", &message);
            body["error"]["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "iam.googleapis.com",
            }]);
            (status, body)
        };
        assert_eq!(access(&manager, "s", "latest"), denied("p"));
        manager.forbid("s", false);
        assert_eq!(access(&manager, "s", "latest").0, 200);
        let elsewhere = ask(&manager, "GET", "/v1/projects/q/secrets/s/versions/latest:access", "");
        assert_eq!(elsewhere, denied("q"));
    }

    #[test]
    fn keys_are_rotated_over_rest() {
        let manager = manager();
        let secrets = "/v1/projects/p/secrets";
        assert_eq!(ask(&manager, "POST", &format!("{secrets}?secretId=s"), "{}").0, 200);
        assert_eq!(ask(&manager, "POST", &format!("{secrets}?secretId=s"), "{}").0, 409);
        let (status, added) =
            ask(&manager, "POST", &format!("{secrets}/s:addVersion"), r#"{"payload":{"data":"YWJj"}}"#);
        assert_eq!((status, &added["state"]), (200, &json!("ENABLED")));
        for (verb, state) in [("disable", "DISABLED"), ("enable", "ENABLED"), ("destroy", "DESTROYED")] {
            let (status, moved) = ask(&manager, "POST", &format!("{secrets}/s/versions/1:{verb}"), "{}");
            assert_eq!((status, &moved["state"]), (200, &json!(state)));
        }
        assert_eq!(ask(&manager, "POST", &format!("{secrets}/s/versions/1:enable"), "{}").0, 400);
        assert_eq!(ask(&manager, "GET", &format!("{secrets}/s/versions/1"), "").1["state"], "DESTROYED");
        assert_eq!(ask(&manager, "DELETE", &format!("{secrets}/s"), "").0, 200);
        assert_eq!(ask(&manager, "GET", &format!("{secrets}/s"), "").0, 404);
    }

    #[test]
    fn secrets_and_versions_are_listed_with_the_newest_first() {
        let manager = SecretManager::new("p", Population::new(2, false));
        manager.add_version("other", "x");
        manager.add_version("alpaca-keys-user-0001", "newer");
        manager.delete("alpaca-keys-user-0002");
        assert!(manager.set_state("alpaca-keys-user-0001", "1", VersionState::Destroyed));
        let names = |answer: Value, list: &str| -> Vec<String> {
            let items = answer[list].as_array().cloned().unwrap_or_default();
            let name = |item: &Value| item["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            items.iter().map(name).collect()
        };
        let secrets = "/v1/projects/p/secrets";
        let all = ask(&manager, "GET", &format!("{secrets}?pageSize=9"), "").1;
        assert_eq!(names(all, "secrets"), ["other", "alpaca-keys-user-0001"]);
        let keys = ask(&manager, "GET", &format!("{secrets}?filter=name%3Aalpaca-keys"), "").1;
        assert_eq!(names(keys, "secrets"), ["alpaca-keys-user-0001"]);
        let path = format!("{secrets}/alpaca-keys-user-0001/versions");
        let versions = ask(&manager, "GET", &path, "").1;
        assert_eq!(versions["versions"][1]["state"], "DESTROYED");
        assert!(versions["versions"][1]["destroyTime"].is_string(), "{versions}");
        assert_eq!(names(versions, "versions"), ["2", "1"]);
        assert_eq!(ask(&manager, "GET", "/v1/projects/q/secrets", "").0, 403);
        assert_eq!(ask(&manager, "GET", &format!("{secrets}/none/versions"), "").0, 404);
    }

    #[test]
    fn a_late_latest_is_the_version_before() {
        let manager = manager();
        let path = "/v1/projects/p/secrets/s/versions/latest:access";
        let late = || {
            let answer = manager.answer_late(&Operation::parse(&http::Method::GET, path, None).unwrap(), b"");
            (answer.status().as_u16(), String::from_utf8(answer.into_body().to_vec()).unwrap())
        };
        assert_eq!(late().0, 404);
        manager.add_version("s", "first");
        assert_eq!(late().0, 404, "as if there were none yet");
        manager.add_version("s", "second");
        let (status, body) = late();
        assert!(status == 200 && body.contains("/secrets/s/versions/1\""), "{body}");
        assert!(
            access(&manager, "s", "2").1["name"].as_str().unwrap().ends_with("/2"),
            "by number it is there"
        );
    }

    #[test]
    fn odd_requests_are_refused() {
        let manager = manager();
        assert_eq!(ask(&manager, "POST", "/v1/projects/p/secrets?secretId=a.b", "{}").0, 400);
        assert_eq!(ask(&manager, "POST", "/v1/projects/p/secrets/s:addVersion", "{}").0, 400);
        assert_eq!(ask(&manager, "GET", "/v1/projects/p/topics", "").0, 404);
    }
}
