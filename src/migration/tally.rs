//! What was found, counted, with a few examples of each kind.

use crate::migration::load::Judged;
use crate::migration::options::Options;
use crate::migration::reason::{Class, Reason};
use crate::migration::shown::lines;
use std::collections::BTreeMap;

/// Examples of each kind: enough to recognise it by.
const EXAMPLES: usize = 2;

/// An operation that is told by an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) source: String,
    pub(crate) target: Option<String>,
    /// What it changes.
    pub(crate) lines: Vec<String>,
}

/// Documents of one kind.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) count: u64,
    pub(crate) examples: Vec<Example>,
}

/// All documents by their kinds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    groups: BTreeMap<(Class, Reason), Group>,
}

impl Tally {
    pub(crate) fn add(&mut self, Judged { document, diff }: &Judged) {
        let group = self.groups.entry((diff.class(), diff.reason)).or_default();
        group.count += 1;
        if group.examples.len() < EXAMPLES {
            let lines = diff.change.as_ref().map(|change| lines(&document.fields, change));
            group.examples.push(Example {
                source: document.path.clone(),
                target: diff.target.clone(),
                lines: lines.unwrap_or_default(),
            });
        }
    }

    /// The kinds, in the order of their classes.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (Class, Reason, &Group)> {
        self.groups.iter().map(|((class, reason), group)| (*class, *reason, group))
    }

    /// How many are of a class.
    #[must_use]
    pub(crate) fn of(&self, class: Class) -> u64 {
        self.groups().filter(|(of, ..)| *of == class).map(|(.., group)| group.count).sum()
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn all(&self) -> u64 {
        self.groups.values().map(|group| group.count).sum()
    }

    /// How many wait for the operator.
    #[must_use]
    pub(crate) fn open(&self, options: &Options) -> u64 {
        self.count(|reason| options.is_open(reason))
    }

    /// How many of them hold keys.
    #[must_use]
    pub(crate) fn with_keys(&self) -> u64 {
        self.count(|reason| reason == Reason::KeysInside)
    }

    fn count(&self, is_meant: impl Fn(Reason) -> bool) -> u64 {
        self.groups().filter(|(_, reason, _)| is_meant(*reason)).map(|(.., group)| group.count).sum()
    }
}
