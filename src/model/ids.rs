//! The ids that end up in resource names. A value that exists is safe to put between slashes.

use crate::model::clean::clean;
use std::cmp::Ordering;
use std::fmt;

/// Why a text is refused as an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidId {
    /// No text at all.
    #[error("it is empty")]
    Empty,
    /// Longer than the service accepts.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// A separator would let the id name another document.
    #[error("it contains a slash")]
    Slash,
    /// `.`, `..` and `__…__` have a meaning of their own in Firestore.
    #[error("Firestore reserves it")]
    Reserved,
    /// Secret ids are letters, digits, `-` and `_` only.
    #[error("it has a character other than A-Z, a-z, 0-9, '-' and '_'")]
    NotASecretName,
    /// Project and database ids are lower-case letters, digits and a little punctuation.
    #[error("it has a character that no project or database id has")]
    NotAResourceName,
}

/// A Firestore document id: 1 to 1,500 bytes, no slash, not `.`, `..` or `__…__`
/// (Firestore's own limits). In Firestore's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DocumentId(Box<str>);

impl Ord for DocumentId {
    /// By UTF-8 bytes, after the numeric ids of databases that came from Datastore (`__id7__`).
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |id: &Self| id.0.strip_prefix("__id")?.strip_suffix("__")?.parse::<i64>().ok();
        match (number(self), number(other)) {
            (Some(one), Some(other)) => one.cmp(&other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for DocumentId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl DocumentId {
    /// Longest id that Firestore accepts, in bytes.
    const MAX_BYTES: usize = 1500;

    /// Refuses what could not be one segment of a document name.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidId> {
        let reserved = text == "." || text == ".." || (text.starts_with("__") && text.ends_with("__"));
        match text {
            "" => Err(InvalidId::Empty),
            _ if text.len() > Self::MAX_BYTES => Err(InvalidId::TooLong(Self::MAX_BYTES)),
            _ if text.contains('/') => Err(InvalidId::Slash),
            _ if reserved => Err(InvalidId::Reserved),
            _ => Ok(Self(text.into())),
        }
    }

    /// The last segment of a name that Firestore itself gave: whatever it is, it is an id.
    #[must_use]
    pub(crate) fn of_existing(document_name: &str) -> Self {
        Self(document_name.rsplit('/').next().unwrap_or_default().into())
    }

    /// The id with a number after it. Only too long can it be then, which Firestore says itself.
    #[must_use]
    pub(crate) fn numbered(&self, number: u32) -> Self {
        Self(format!("{}-{number}", self.0).into())
    }

    /// Whether it is that id, or that id with a number.
    #[must_use]
    pub(crate) fn is_one_of(&self, base: &Self) -> bool {
        let number = self.0.strip_prefix(&*base.0);
        let digits = number.and_then(|number| number.strip_prefix('-'));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        number == Some("") || digits.is_some_and(is_number)
    }

    /// Which of that id's numbers it has, if one; 1 for the id itself.
    #[must_use]
    pub(crate) fn number_of(&self, base: &Self) -> Option<u32> {
        let digits = self.0.strip_prefix(&*base.0).filter(|_| self.is_one_of(base))?;
        digits.strip_prefix('-').map_or(Some(1), |digits| digits.parse().ok())
    }

    /// The id as Firestore has it.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    /// For people and logs: what acts on a terminal is escaped, so that an id cannot forge a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clean(&self.0))
    }
}

/// A user whose Alpaca keys can have a secret: `alpaca-keys-{id}` must be a secret id of at most
/// 255 characters of `[A-Za-z0-9_-]`, which leaves 243 for the user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserId(Box<str>);

impl UserId {
    /// Longest user id whose secret id fits in Secret Manager's 255 characters.
    const MAX_BYTES: usize = 243;

    /// Refuses an id that cannot name a secret (code `user_id_invalid`).
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidId> {
        let names_a_secret = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        match text {
            "" => Err(InvalidId::Empty),
            _ if text.len() > Self::MAX_BYTES => Err(InvalidId::TooLong(Self::MAX_BYTES)),
            _ if !names_a_secret => Err(InvalidId::NotASecretName),
            _ => Ok(Self(text.into())),
        }
    }

    /// The id as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant, the `{tenantId}` of `tenants/{tenantId}`: any document id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TenantId(DocumentId);

impl TenantId {
    /// Refuses what could not be one segment of a document name.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidId> {
        DocumentId::parse(text).map(Self)
    }

    /// The id as Firestore has it.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The one that is meant where none is named.
pub(crate) const DEFAULT_DATABASE: &str = "(default)";

/// The database that holds the users: `projects/{project}/databases/{database}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Database {
    /// The Google Cloud project, which also holds the secrets.
    pub(crate) project: Box<str>,
    /// The Firestore database, usually `(default)`.
    pub(crate) database: Box<str>,
}

impl Database {
    /// Refuses names that no project or database has.
    pub(crate) fn parse(project: &str, database: &str) -> Result<Self, InvalidId> {
        // A project id may carry a domain: `example.com:project`.
        Self::check(project, |b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))?;
        if database != DEFAULT_DATABASE {
            Self::check(database, |b| b.is_ascii_alphanumeric() || b == b'-')?;
        }
        Ok(Self { project: project.into(), database: database.into() })
    }

    fn check(text: &str, allowed: impl Fn(u8) -> bool) -> Result<(), InvalidId> {
        match text {
            "" => Err(InvalidId::Empty),
            _ if text.len() > 100 => Err(InvalidId::TooLong(100)),
            _ if !text.bytes().all(allowed) => Err(InvalidId::NotAResourceName),
            _ => Ok(()),
        }
    }

    /// Where it is, for a sentence about what is not there.
    #[must_use]
    pub(crate) fn in_words(&self) -> String {
        format!("database {} of project {}", self.database, self.project)
    }

    /// The flags by which another command looks at the same place, each after a space.
    #[must_use]
    pub(crate) fn flags(&self) -> String {
        let Self { project, database } = self;
        match &**database {
            DEFAULT_DATABASE => format!(" --project={project}"),
            database => format!(" --project={project} --database={database}"),
        }
    }

    /// `projects/{project}/databases/{database}`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        format!("projects/{}/databases/{}", self.project, self.database)
    }

    /// The full name of a document from its path below the database's root.
    #[must_use]
    pub(crate) fn document(&self, path: fmt::Arguments<'_>) -> String {
        format!("projects/{}/databases/{}/documents/{path}", self.project, self.database)
    }

    /// The same, of a path whose two parts are around an id.
    #[must_use]
    pub(crate) fn document_around(&self, [before, behind]: [&str; 2], id: &str) -> String {
        self.document(format_args!("{before}{id}{behind}"))
    }

    /// The secret version that holds a user's keys: the path, never the payload.
    #[must_use]
    pub(crate) fn latest_keys(&self, user: &UserId) -> String {
        format!("projects/{}/secrets/alpaca-keys-{user}/versions/latest", self.project)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_user_id_is_what_a_secret_can_be_named_after() {
        let longest = "u".repeat(243);
        for id in ["u", "kJ3_-9", longest.as_str()] {
            assert_eq!(UserId::parse(id).expect(id).as_str(), id);
        }
        assert_eq!(UserId::parse(""), Err(InvalidId::Empty));
        assert_eq!(UserId::parse(&"u".repeat(244)), Err(InvalidId::TooLong(243)));
        for id in ["a/b", "a.b", "ana@example.com", "é", "a b", "a\n", "..", "a:access"] {
            assert_eq!(UserId::parse(id), Err(InvalidId::NotASecretName), "{id:?}");
        }
    }

    #[test]
    fn a_tenant_id_is_one_segment_of_a_document_name() {
        for id in ["acme", "a.b", "ana@example.com", "é", "_x_", "__a", "..."] {
            assert_eq!(TenantId::parse(id).expect(id).as_str(), id);
        }
        assert_eq!(TenantId::parse(""), Err(InvalidId::Empty));
        assert_eq!(TenantId::parse("a/b"), Err(InvalidId::Slash));
        assert!(TenantId::parse(&"é".repeat(750)).is_ok());
        for too_long in ["é".repeat(751), "u".repeat(1501)] {
            assert_eq!(TenantId::parse(&too_long), Err(InvalidId::TooLong(1500)));
        }
        for id in [".", "..", "__x__", "____"] {
            assert_eq!(TenantId::parse(id), Err(InvalidId::Reserved), "{id:?}");
        }
    }

    #[test]
    fn ids_sort_as_firestore_sorts_them() {
        let mut ids = ["b", "B", "é", "__id10__", "a", "__id9__", "__idx__"].map(DocumentId::of_existing);
        ids.sort();
        assert_eq!(
            ids.each_ref().map(DocumentId::as_str),
            ["__id9__", "__id10__", "B", "__idx__", "a", "b", "é"]
        );
    }

    #[test]
    fn an_id_with_control_characters_cannot_forge_a_log_line() {
        let id = DocumentId::parse("ana\nSuccessfully synced\u{1b}[2J").expect("a legal document id");
        assert_eq!(id.to_string(), "ana\\nSuccessfully synced\\u{1b}[2J");
        assert_eq!(DocumentId::of_existing("a\u{202e}b").to_string(), "a\\u{202e}b");
    }

    #[test]
    fn a_database_is_named_by_its_project() {
        let database = Database::parse("example.com:trading", "(default)").expect("legal");
        assert_eq!(
            database.document(format_args!("ops/last_pulse")),
            "projects/example.com:trading/databases/(default)/documents/ops/last_pulse"
        );
        for (project, name) in
            [("", "(default)"), ("a/b", "(default)"), ("p", ""), ("p", "a/b"), ("p", "(x)")]
        {
            assert!(Database::parse(project, name).is_err(), "{project:?} {name:?}");
        }
        let [longest, longer] = [100, 101].map(|length| "p".repeat(length));
        assert!(Database::parse(&longest, &longest).is_ok());
        assert_eq!(Database::parse(&longer, "d"), Err(InvalidId::TooLong(100)));
        assert_eq!(Database::parse("p", &longer), Err(InvalidId::TooLong(100)));
        assert_eq!(database.name(), "projects/example.com:trading/databases/(default)");
        let ana = UserId::parse("ana").expect("legal");
        let keys = "projects/example.com:trading/secrets/alpaca-keys-ana/versions/latest";
        assert_eq!(database.latest_keys(&ana), keys);
    }

    #[test]
    fn a_numbered_id_and_one_that_exists_are_taken_as_they_are() {
        let base = DocumentId::parse("pulse").expect("legal");
        assert_eq!(base.numbered(12).as_str(), "pulse-12");
        for (id, number) in [
            ("pulse", Some(1)),
            ("pulse-2", Some(2)),
            ("pulse-1425", Some(1_425)),
            ("pulse-99999999999", None),
            ("pulse-", None),
            ("pulse-2b", None),
            ("pulses", None),
            ("other-2", None),
        ] {
            assert_eq!(DocumentId::parse(id).expect("legal").number_of(&base), number, "{id}");
        }
        for (name, id) in [("p/d/users/ana", "ana"), ("users/__x__", "__x__"), ("ana", "ana"), ("", "")] {
            assert_eq!(DocumentId::of_existing(name).as_str(), id, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_id_ever_adds_a_segment_to_a_name(text in "\\PC{0,40}|[a-z_./-]{0,12}") {
            if let Ok(id) = TenantId::parse(&text) {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert!(!text.is_empty() && !text.contains('/') && text != "." && text != "..");
            }
            if let Ok(id) = UserId::parse(&text) {
                prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
                let secret = format!("alpaca-keys-{id}");
                prop_assert!(DocumentId::parse(&secret).is_ok());
            }
        }
    }
}
