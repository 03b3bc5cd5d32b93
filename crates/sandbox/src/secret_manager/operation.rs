//! What a Secret Manager request asks for, read from its path.

use http::Method;

/// One request to Secret Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    project: String,
    /// Empty where it is about all of them.
    secret: String,
    action: Action,
}

/// What is done to the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List(Page),
    Create,
    Get,
    Delete,
    AddVersion,
    ListVersions(Page),
    /// Something done to the version with this number or alias.
    Version(String, VersionAction),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VersionAction {
    Get,
    Access,
    Disable,
    Enable,
    Destroy,
}

impl Operation {
    /// Reads a percent-decoded path such as `/v1/projects/p/secrets/s/versions/latest:access`; `None` is a path or
    /// an HTTP method that the sandbox does not know.
    pub(crate) fn parse(method: &Method, path: &str, query: Option<&str>) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix("/v1/projects/")?.split('/').collect();
        let is_get = method == Method::GET;
        let is_post = method == Method::POST;
        let (project, secret, action) = match segments[..] {
            [project, "secrets"] if is_get => (project, "", Action::List(Page::parse(query))),
            [project, "secrets"] if is_post => (project, secret_id(query?)?, Action::Create),
            [project, "secrets", last] => match last.split_once(':') {
                Some((secret, "addVersion")) if is_post => (project, secret, Action::AddVersion),
                None if is_get => (project, last, Action::Get),
                None if method == Method::DELETE => (project, last, Action::Delete),
                _ => return None,
            },
            [project, "secrets", secret, "versions"] if is_get => {
                (project, secret, Action::ListVersions(Page::parse(query)))
            }
            [project, "secrets", secret, "versions", last] => {
                let (version, action) = match last.split_once(':') {
                    None if is_get => (last, VersionAction::Get),
                    Some((version, "access")) if is_get => (version, VersionAction::Access),
                    Some((version, "disable")) if is_post => (version, VersionAction::Disable),
                    Some((version, "enable")) if is_post => (version, VersionAction::Enable),
                    Some((version, "destroy")) if is_post => (version, VersionAction::Destroy),
                    _ => return None,
                };
                (project, secret, Action::Version(version.to_owned(), action))
            }
            _ => return None,
        };
        Some(Self { project: project.to_owned(), secret: secret.to_owned(), action })
    }

    /// The same of another secret.
    pub(crate) fn of_secret(self, secret: String) -> Self {
        Self { secret, ..self }
    }

    /// Google's name of the method.
    pub(crate) fn method_name(&self) -> &'static str {
        match self.action {
            Action::List(_) => "ListSecrets",
            Action::Create => "CreateSecret",
            Action::Get => "GetSecret",
            Action::Delete => "DeleteSecret",
            Action::AddVersion => "AddSecretVersion",
            Action::ListVersions(_) => "ListSecretVersions",
            Action::Version(_, VersionAction::Get) => "GetSecretVersion",
            Action::Version(_, VersionAction::Access) => "AccessSecretVersion",
            Action::Version(_, VersionAction::Disable) => "DisableSecretVersion",
            Action::Version(_, VersionAction::Enable) => "EnableSecretVersion",
            Action::Version(_, VersionAction::Destroy) => "DestroySecretVersion",
        }
    }

    /// The IAM permission that the method needs.
    pub(super) fn permission(&self) -> &'static str {
        match self.action {
            Action::List(_) => "secretmanager.secrets.list",
            Action::Create => "secretmanager.secrets.create",
            Action::Get => "secretmanager.secrets.get",
            Action::Delete => "secretmanager.secrets.delete",
            Action::AddVersion => "secretmanager.versions.add",
            Action::ListVersions(_) => "secretmanager.versions.list",
            Action::Version(_, VersionAction::Get) => "secretmanager.versions.get",
            Action::Version(_, VersionAction::Access) => "secretmanager.versions.access",
            Action::Version(_, VersionAction::Disable) => "secretmanager.versions.disable",
            Action::Version(_, VersionAction::Enable) => "secretmanager.versions.enable",
            Action::Version(_, VersionAction::Destroy) => "secretmanager.versions.destroy",
        }
    }

    /// The resource as the request names it, as permission errors repeat it.
    pub(super) fn resource(&self) -> String {
        let Self { project, secret, action } = self;
        match action {
            Action::List(_) | Action::Create => format!("projects/{project}"),
            Action::Version(version, _) => format!("projects/{project}/secrets/{secret}/versions/{version}"),
            Action::Get | Action::Delete | Action::AddVersion | Action::ListVersions(_) => {
                format!("projects/{project}/secrets/{secret}")
            }
        }
    }

    /// Whether it asks for the version that is the newest.
    pub(crate) fn is_about_latest(&self) -> bool {
        matches!(&self.action, Action::Version(alias, _) if alias == "latest")
    }

    /// The same of the version with this number.
    pub(super) fn of_version(&self, number: usize) -> Self {
        let action = match &self.action {
            Action::Version(_, action) => Action::Version(number.to_string(), *action),
            other => other.clone(),
        };
        Self { action, ..self.clone() }
    }

    pub(super) fn project(&self) -> &str {
        &self.project
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(super) fn action(&self) -> &Action {
        &self.action
    }
}

fn secret_id(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("secretId="))
}

/// Which part of a list is asked for, as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) size: String,
    pub(super) token: String,
    pub(super) filter: String,
}

impl Page {
    fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&');
        let find = |name: &str| {
            let value = pairs.clone().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            let spaced = value.unwrap_or_default().replace('+', " ");
            percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        Self { size: find("pageSize"), token: find("pageToken"), filter: find("filter") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(method: &str, path: &str) -> Option<&'static str> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let method = method.parse().unwrap();
        Operation::parse(&method, path, query).map(|operation| operation.method_name())
    }

    #[test]
    fn every_method_is_read_from_its_path() {
        for (method, path, name) in [
            ("GET", "/v1/projects/p/secrets?alt=json&pageSize=100", "ListSecrets"),
            ("POST", "/v1/projects/p/secrets?alt=json&secretId=s", "CreateSecret"),
            ("GET", "/v1/projects/p/secrets/s", "GetSecret"),
            ("DELETE", "/v1/projects/p/secrets/s", "DeleteSecret"),
            ("POST", "/v1/projects/p/secrets/s:addVersion?alt=json", "AddSecretVersion"),
            ("GET", "/v1/projects/p/secrets/s/versions/latest:access?alt=json", "AccessSecretVersion"),
            ("GET", "/v1/projects/p/secrets/s/versions?pageSize=0", "ListSecretVersions"),
            ("GET", "/v1/projects/p/secrets/s/versions/1", "GetSecretVersion"),
            ("POST", "/v1/projects/p/secrets/s/versions/1:disable", "DisableSecretVersion"),
            ("POST", "/v1/projects/p/secrets/s/versions/1:enable", "EnableSecretVersion"),
            ("POST", "/v1/projects/p/secrets/s/versions/1:destroy", "DestroySecretVersion"),
        ] {
            assert_eq!(name_of(method, path), Some(name), "{method} {path}");
        }
    }

    #[test]
    fn other_paths_and_methods_are_not_operations() {
        for (method, path) in [
            ("PUT", "/v1/projects/p/secrets"),
            ("POST", "/v1/projects/p/secrets"),
            ("POST", "/v1/projects/p/secrets/s/versions/1:access"),
            ("GET", "/v1/projects/p/secrets/s/versions/1:disable"),
            ("GET", "/v1/projects/p/secrets/s/a/b/c:access"),
            ("GET", "/v2/account"),
        ] {
            assert_eq!(name_of(method, path), None, "{method} {path}");
        }
    }
}
