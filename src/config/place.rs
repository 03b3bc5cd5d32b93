//! Which project, and by which addresses: all that a command for operators needs to know.

use crate::config::endpoints::Endpoints;
use crate::config::error::{ConfigError, keep};
use crate::config::operator_args::OperatorArgs;
use crate::model::ids::Database;

/// Where a command looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `--project` and `--database`.
    pub(crate) database: Database,
    /// Replacements of the services' own addresses.
    pub(crate) endpoints: Endpoints,
}

impl Place {
    /// Checks everything and reports everything that is wrong at once. `environment` is what its variables are set
    /// to; one that is empty counts as not set.
    pub(crate) fn new(
        args: &OperatorArgs,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let lookup = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut wrong = Vec::new();
        let named = (args.project.as_deref(), args.database.as_str());
        let database = keep(&mut wrong, database(named, &lookup));
        let endpoints = Endpoints::from_lookup(&environment, &mut wrong);
        match database.filter(|_| wrong.is_empty()) {
            Some(database) => Ok(Self { database, endpoints }),
            None => Err(ConfigError(wrong)),
        }
    }
}

/// The database that the flags, `--project` and `--database`, and the variables name.
pub(super) fn database(
    (project, database): (Option<&str>, &str),
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<Database, String> {
    let variables = || ["GCP_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT"].into_iter().find_map(lookup);
    let project = project.map(str::to_owned).or_else(variables);
    let project = project.ok_or("Missing GCP_PROJECT or GCLOUD_PROJECT environment variable")?;
    Database::parse(&project, database)
        .map_err(|err| format!("--project {project:?} and --database {database:?} name no database: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_database_and_the_addresses_and_all_that_is_wrong_is_told_at_once() {
        let args = |project: Option<&str>, database: &str| OperatorArgs {
            json: false,
            exit_code: false,
            project: project.map(str::to_owned),
            database: database.to_owned(),
        };
        let local = |name: &str| (name == "FIRESTORE_EMULATOR_HOST").then(|| "127.0.0.1:1".to_owned());
        let place = Place::new(&args(Some("p"), "d"), local).expect("a place");
        assert_eq!(place.database, Database::parse("p", "d").expect("legal"));
        assert_eq!(place.database.flags(), " --project=p --database=d");
        let usual = Place::new(&args(Some("p"), "(default)"), local).expect("a place");
        assert_eq!(usual.database.flags(), " --project=p");
        assert!(place.endpoints.firestore.is_some() && place.endpoints.alpaca.is_none());
        let far = |name: &str| (name == "APCA_API_BASE_URL").then(|| "http://example.com".to_owned());
        for (place, parts) in [
            (Place::new(&args(None, "d"), far), &["GCP_PROJECT", "APCA_API_BASE_URL"][..]),
            (Place::new(&args(Some("p/q"), "d"), |_| None), &["--project \"p/q\""]),
        ] {
            let told = place.expect_err("refused").to_string();
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
    }
}
