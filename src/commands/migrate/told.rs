//! How legacy documents and what becomes of them are told.

use crate::commands::frame::{Page, Report, grouped};
use crate::migration::diff::Action;
use crate::migration::load::Judged;
use crate::migration::options::Options;
use crate::migration::reason::Class;
use crate::migration::tally::{Example, Group, Tally};
use crate::telemetry::clean;
use serde::Serialize;
use std::collections::BTreeMap;

/// One document, in JSON.
#[derive(Serialize)]
pub(super) struct DocumentJson<'a> {
    source: &'a str,
    target: Option<&'a str>,
    class: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
}

impl<'a> DocumentJson<'a> {
    pub(super) fn of(Judged { document, diff }: &'a Judged) -> Self {
        let action = diff.change.as_ref().map(|change| match change.action {
            Action::Create(_) => "create",
            Action::Set(..) => "update",
            Action::Remove => "remove",
        });
        Self {
            source: &document.path,
            target: diff.target.as_deref(),
            class: diff.class().as_str(),
            reason: diff.reason.name(),
            field: diff.reason.field(),
            action,
        }
    }
}

/// How many are of each class, in JSON; those without any too.
pub(super) fn counts(tally: &Tally, report: &mut Report) {
    let counts: BTreeMap<&str, u64> =
        Class::ALL.into_iter().map(|class| (class.as_str(), tally.of(class))).collect();
    report.field("counts", &counts);
}

/// The kinds of documents, with their examples.
pub(super) fn groups(tally: &Tally, options: &Options, page: &mut Page) {
    for (class, reason, Group { count, examples }) in tally.groups() {
        page.gap();
        let given_up = if options.gives_up(reason) { " (left behind)" } else { "" };
        page.heading(&format!("{} {}{given_up}: {}", grouped(*count), class.as_str(), reason.words()));
        examples.iter().for_each(|one| example(one, page));
    }
}

fn example(Example { source, target, lines }: &Example, page: &mut Page) {
    let becomes = target.as_ref().filter(|target| *target != source);
    let becomes = becomes.map(|target| format!(" → {target}")).unwrap_or_default();
    page.line(&format!("  {}", clean(&format!("{source}{becomes}"))));
    for line in lines {
        page.line(&format!("    {}", clean(line)));
    }
}
