//! How many users a dry run would change (`--diff`), and in which fields.

use crate::documents::snapshot_diff::Difference;
use crate::model::outcome::Counts;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use tracing::info;

/// What was counted so far.
#[derive(Debug, Default)]
pub(crate) struct Differences(Mutex<Counted>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    new: u64,
    changed: u64,
    unchanged: u64,
    /// Of those who would be changed, how many in which field.
    fields: BTreeMap<String, u64>,
    /// Who could not be compared.
    failed: u64,
    skipped: u64,
}

impl Differences {
    /// One user more.
    pub(crate) fn add(&self, difference: &Difference) {
        self.with(|counted| counted.add(difference));
    }

    /// What became of all users, those included who could not be compared.
    pub(crate) fn close(&self, counts: &Counts) {
        self.with(|counted| (counted.failed, counted.skipped) = (counts.error(), counts.skipped));
    }

    /// Whether somebody has to look.
    #[must_use]
    pub(crate) fn are_some(&self) -> bool {
        self.with(|counted| counted.new + counted.changed + counted.failed > 0)
    }

    /// All in one line, and whether that is why the exit code is what it is.
    pub(crate) fn tell(&self, decides_exit: bool) {
        let counted = self.with(|counted| counted.clone());
        let Counted { new, changed, unchanged, failed, skipped, .. } = counted;
        let exit = if decides_exit { "; exits with 3, as not all are unchanged" } else { "" };
        info!(new, changed, unchanged, failed, skipped, "Compared with what is stored: {counted}{exit}");
    }

    fn with<T>(&self, look: impl FnOnce(&mut Counted) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counted {
    fn add(&mut self, difference: &Difference) {
        match difference {
            Difference::New => self.new += 1,
            Difference::Changed(fields) => {
                self.changed += 1;
                for field in fields {
                    *self.fields.entry(field.name().to_owned()).or_default() += 1;
                }
            }
            Difference::Unchanged => self.unchanged += 1,
        }
    }

    /// The rarest first: figures change for everybody, and a status for few.
    fn fields(&self) -> String {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(_, users)| **users);
        let shown = fields.iter().map(|(name, users)| format!("{name} of {users}"));
        shown.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { new, changed, unchanged, failed, skipped, .. } = self;
        write!(to, "{new} new, {changed} changed, {unchanged} unchanged")?;
        for (users, word) in [(failed, "failed"), (skipped, "skipped")] {
            if *users > 0 {
                write!(to, ", {users} {word}")?;
            }
        }
        if *changed > 0 { write!(to, "; changed are {}", self.fields()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{Code, Outcome};

    #[test]
    fn a_status_that_changes_is_not_hidden_by_figures_and_who_failed_is_counted() {
        let differences = Differences::default();
        let told = || differences.with(|counted| counted.to_string());
        assert_eq!((told().as_str(), differences.are_some()), ("0 new, 0 changed, 0 unchanged", false));
        differences.add(&Difference::Unchanged);
        assert!(!differences.are_some());
        for n in 0..39 {
            let fields: &[&str] = if n == 7 { &["status", "equity"] } else { &["equity"] };
            differences.add(&Difference::changed(fields));
        }
        let expected = "0 new, 39 changed, 1 unchanged; changed are status of 1, equity of 39";
        assert_eq!((told().as_str(), differences.are_some()), (expected, true));
        let mut counts = Counts::default();
        counts.add(Outcome::Failed(Code::KeysMissing));
        counts.add(Outcome::Skipped);
        let failing = Differences::default();
        failing.close(&counts);
        assert!(failing.are_some());
        let told = failing.with(|counted| counted.to_string());
        assert_eq!(told, "0 new, 0 changed, 0 unchanged, 1 failed, 1 skipped");
    }
}
