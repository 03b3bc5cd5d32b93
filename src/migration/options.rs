//! What the operator said of a migration, and the ids that stand for it.

use crate::migration::owners::Owners;
use crate::migration::reason::{Class, Reason};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// To the microsecond, as Firestore's own times.
const TIME: &str = "%Y%m%dT%H%M%S.%6fZ";

/// What the operator said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Whose the documents are that do not say it.
    pub(crate) owners: Owners,
    /// Classes of documents that are given up. `--leave-behind`.
    pub(crate) left_behind: BTreeSet<Class>,
    /// The database's full name: what was found in one is not there in another.
    pub(crate) database: String,
}

impl Options {
    /// The id of a plan with these options of what was there at a time.
    #[must_use]
    pub(crate) fn plan(&self, at: Timestamp) -> Stamp {
        self.stamp(at, "plan")
    }

    /// The id of a verification with these options, which found nothing at a time.
    #[must_use]
    pub(crate) fn verified(&self, at: Timestamp) -> Stamp {
        self.stamp(at, "verified")
    }

    /// Whether an id is one of a verification with these options.
    #[must_use]
    pub(crate) fn verified_at(&self, stamp: &Stamp) -> bool {
        self.verified(stamp.at) == *stamp
    }

    /// Whether documents are given up for that reason.
    #[must_use]
    pub(crate) fn gives_up(&self, reason: Reason) -> bool {
        self.left_behind.contains(&reason.class()) && reason.may_be_given_up()
    }

    /// Whether a document waits for the operator for that reason.
    #[must_use]
    pub(crate) fn is_open(&self, reason: Reason) -> bool {
        Class::OPEN.contains(&reason.class()) && !self.gives_up(reason)
    }

    fn stamp(&self, at: Timestamp, of: &str) -> Stamp {
        let Owners { single, of_tenants } = &self.owners;
        let mut said = vec![of, &self.database, single.as_ref().map_or("", |owner| owner.as_str())];
        said.extend(of_tenants.iter().flat_map(|(tenant, owner)| [tenant.as_str(), owner.as_str()]));
        said.push("");
        said.extend(self.left_behind.iter().map(|class| class.as_str()));
        // No id has a NUL next to nothing at all.
        Stamp { at, said: crc32c::crc32c(said.join("\0").as_bytes()) }
    }
}

/// An id that stands for options and a time, such as `20261129T092552.123456Z-1a2b3c4d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// What was there then.
    pub(crate) at: Timestamp,
    said: u32,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.at.strftime(TIME), self.said)
    }
}

/// Why a text is no such id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it looks like 20261129T092552.123456Z-1a2b3c4d")]
pub(crate) struct NoStamp;

impl FromStr for Stamp {
    type Err = NoStamp;

    fn from_str(text: &str) -> Result<Self, NoStamp> {
        let (time, said) = text.rsplit_once('-').ok_or(NoStamp)?;
        let civil = DateTime::strptime("%Y%m%dT%H%M%S%.fZ", time).map_err(|_| NoStamp)?;
        let at = civil.to_zoned(TimeZone::UTC).map_err(|_| NoStamp)?.timestamp();
        let stamp = Self { at, said: u32::from_str_radix(said, 16).map_err(|_| NoStamp)? };
        // It is a document's id too: there is one spelling.
        if stamp.to_string() == text { Ok(stamp) } else { Err(NoStamp) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::DocumentId;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn an_id_is_read_back_as_what_it_stands_for() {
        for time in ["2026-11-29T09:25:52.123456Z", "2026-11-29T09:25:52Z", "2026-01-01T00:00:00.000001Z"] {
            let plan = Options::default().plan(at(time));
            assert_eq!(plan.to_string().parse(), Ok(plan), "{plan}");
            assert!(DocumentId::parse(&plan.to_string()).is_ok());
        }
        let plan = Options::default().plan(at("2026-11-29T09:25:52.1Z")).to_string();
        assert!(plan.starts_with("20261129T092552.100000Z-"), "{plan}");
        let upper = plan.to_uppercase();
        let crc = plan.rsplit_once('-').expect("two parts").1;
        for wrong in ["", "x", "20261129T092552.1Z", "20261129T092552.100000Z-xyz", upper.as_str(), crc] {
            assert_eq!(wrong.parse::<Stamp>().ok().filter(|_| upper != plan), None, "{wrong}");
        }
    }

    #[test]
    fn other_options_have_another_id() {
        let id = |text: &str| DocumentId::of_existing(text);
        let owner = |owner| Owners { single: Some(id(owner)), ..Owners::default() };
        let by_tenant = Owners { of_tenants: [("ana".to_owned(), id("ben"))].into(), ..Owners::default() };
        let options = [
            Options::default(),
            Options { owners: owner("ana"), ..Options::default() },
            Options { owners: owner("ben"), ..Options::default() },
            Options { owners: by_tenant, ..Options::default() },
            Options { left_behind: [Class::Malformed].into(), ..Options::default() },
            Options { database: "projects/other/databases/d".into(), ..Options::default() },
            Options { left_behind: [Class::Ambiguous, Class::Malformed].into(), ..Options::default() },
        ];
        let now = at("2026-11-29T09:25:52Z");
        let ids: BTreeSet<_> = options
            .iter()
            .flat_map(|options| [options.plan(now), options.verified(now)])
            .map(|id| id.to_string())
            .collect();
        assert_eq!(ids.len(), 14);
    }
}
