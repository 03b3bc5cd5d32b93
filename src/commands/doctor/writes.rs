//! Whether the job may write, without a write. Nothing is asked here.

use crate::commands::doctor::judge::{Judged, items, word};
use crate::commands::doctor::site::{Site, WRITER};
use crate::commands::frame::{CheckState, in_words};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;
use std::time::Duration;

/// What a pass needs to write.
pub(super) const RIGHTS: [&str; 3] =
    ["datastore.entities.create", "datastore.entities.update", "datastore.entities.delete"];

/// Google's own roles that have all of them.
const ROLES: [&str; 5] =
    [WRITER, "roles/datastore.owner", "roles/editor", "roles/owner", "roles/firebase.admin"];

/// A pulse that is no older is not late, however often there is one.
const PATIENCE: Duration = Duration::from_mins(5);

/// When the last pulse ended, as Firestore has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastPulse {
    pub(super) at: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// What it shows of writes, each with its age.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    /// There was none yet.
    Nothing,
    /// Not long ago one was written.
    Written(SignedDuration),
    /// One should have been, and was not.
    Late(SignedDuration),
}

impl LastPulse {
    /// `gap` is the time between two starts, of a schedule that has one.
    pub(super) fn shows(&self, gap: Option<Duration>) -> Shown {
        let Some(at) = self.at else { return Shown::Nothing };
        let age = self.now.duration_since(at);
        let is_late = |gap: Duration| Duration::try_from(age).unwrap_or_default() > PATIENCE.max(gap * 2);
        if gap.is_some_and(is_late) { Shown::Late(age) } else { Shown::Written(age) }
    }
}

/// What whoever asked may not.
pub(super) fn missing(answer: &Json) -> Vec<&'static str> {
    let has = |right: &&str| items(answer, "permissions").any(|has| has == *right);
    RIGHTS.into_iter().filter(|right| !has(right)).collect()
}

/// As the job itself, by what Google says of its own rights.
pub(super) fn of_the_job(missing: &[&str], shown: Shown, site: &Site<'_>) -> Judged {
    let lacks = || format!("The job lacks the right {} in the project", missing.join(", "));
    match (missing, shown) {
        ([], Shown::Late(age)) => untaken("The job has the rights to write", age, site),
        ([], _) => Judged::ok("The job may write."),
        ([..], Shown::Written(age)) => {
            let ago = in_words(age);
            let sentence = format!(
                "{}, and a pulse wrote {ago} ago: a condition may give it for this database, or it was taken away \
                 since. Whether it is refused now says its log:",
                lacks()
            );
            Judged::new(CheckState::Unknown, sentence).mended_by(site.log())
        }
        ([right, ..], _) => {
            Judged::failed(format!("{}: nothing is written.", lacks())).mended_by(site.grant(right))
        }
    }
}

/// As somebody else, by the roles that the project gives the job's account. Roles of its own making, conditions, groups,
/// folders and organisations give rights too, and are not seen from here.
pub(super) fn of_the_policy((policy, account): (&Json, &str), shown: Shown, site: &Site<'_>) -> Judged {
    let member = format!("serviceAccount:{account}");
    let is_its = |binding: &&Json| {
        binding["condition"].is_null() && items(binding, "members").any(|has| *has == *member)
    };
    let role = items(policy, "bindings")
        .filter(is_its)
        .map(|binding| word(binding, "role"))
        .find(|role| ROLES.contains(role));
    match (role, shown) {
        (Some(role), Shown::Late(age)) => untaken(&format!("The job's account has {role}"), age, site),
        (Some(role), _) => Judged::ok(&format!("The job's account may write: it has {role}.")),
        (None, _) => {
            let account = if account.is_empty() { "(Cloud Run's usual one)" } else { account };
            let sentence = format!(
                "The project's policy gives the job's account {account} no role of Google's by which it may write, such \
                 as {WRITER} ({}). A role of your own, a condition, a group or a folder may: as the job it is seen.",
                RIGHTS.join(", ")
            );
            Judged { mend: site.as_job(), ..Judged::new(CheckState::Unknown, sentence) }
        }
    }
}

/// There is the right, and no sign that Firestore takes what is written.
fn untaken(has: &str, age: SignedDuration, site: &Site<'_>) -> Judged {
    let ago = in_words(age);
    let sentence = format!(
        "{has}, and the last pulse ended {ago} ago: whether Firestore takes what it writes is not known. The job's log \
         says:"
    );
    Judged::new(CheckState::Unknown, sentence).mended_by(site.log())
}

#[cfg(test)]
mod tests {
    use super::CheckState::{Failed, Ok, Unknown};
    use super::*;
    use crate::commands::doctor::site::at;
    use serde_json::json;

    const ACCOUNT: &str = "pulse-job@p.iam.gserviceaccount.com";

    fn judged(judge: impl FnOnce(&Site<'_>) -> Judged) -> Judged {
        at(("(default)", "pulse", Some("r")), true, judge)
    }

    fn minutes(minutes: i64) -> SignedDuration {
        SignedDuration::from_mins(minutes)
    }

    #[test]
    fn the_job_is_told_which_rights_it_lacks_as_far_as_no_pulse_shows_otherwise() {
        let (written, late) = (Shown::Written(minutes(1)), Shown::Late(minutes(6)));
        let (all, none) = (json!({"permissions": RIGHTS}), json!({}));
        let one = json!({"permissions": [RIGHTS[0], RIGHTS[2]]});
        let (log, grant) = ("gcloud logging read", "gcloud projects add-iam-policy-binding p");
        for (answer, shown, state, words, mend) in [
            (&all, written, Ok, "may write", ""),
            (&all, Shown::Nothing, Ok, "may write", ""),
            (&all, late, Unknown, "ended 6 min ago", log),
            (&none, late, Failed, "create, datastore.entities.update, datastore.entities.delete", grant),
            (&one, Shown::Nothing, Failed, "the right datastore.entities.update in", grant),
            (&one, written, Unknown, "wrote 60 s ago", log),
        ] {
            let told = judged(|site| of_the_job(&missing(answer), shown, site));
            assert_eq!(told.state, state, "{}", told.sentence);
            assert!(told.sentence.contains(words), "{}", told.sentence);
            let own = told.mend.unwrap_or_default();
            assert!(own.starts_with(mend) && own.is_empty() == mend.is_empty(), "{own}");
        }
    }

    #[test]
    fn only_a_role_that_is_the_accounts_own_and_of_googles_is_known_to_be_enough() {
        let (written, late) = (Shown::Written(minutes(1)), Shown::Late(minutes(6)));
        let binding = |role: &str, member: &str| json!({"role": role, "members": ["user:a@b.c", member]});
        let own = format!("serviceAccount:{ACCOUNT}");
        let mut conditional = binding(WRITER, &own);
        conditional["condition"] = json!({"expression": "resource.name == 'x'"});
        for (bindings, shown, state, mend) in [
            (json!([binding(WRITER, &own)]), written, Ok, ""),
            (json!([binding("roles/viewer", &own), binding("roles/editor", &own)]), Shown::Nothing, Ok, ""),
            (json!([binding(WRITER, &own)]), late, Unknown, "gcloud logging read"),
            (json!([binding("roles/datastore.viewer", &own)]), written, Unknown, "gcloud run jobs execute"),
            (json!([binding("projects/p/roles/own", &own)]), written, Unknown, "gcloud run jobs execute"),
            (json!([binding(WRITER, "serviceAccount:x@y")]), late, Unknown, "gcloud run jobs execute"),
            (json!([conditional]), written, Unknown, "gcloud run jobs execute"),
            (json!(null), written, Unknown, "gcloud run jobs execute"),
        ] {
            let policy = json!({"bindings": bindings});
            let told = judged(|site| of_the_policy((&policy, ACCOUNT), shown, site));
            assert_eq!(told.state, state, "{policy}: {}", told.sentence);
            assert!(told.mend.unwrap_or_default().starts_with(mend), "{policy}");
        }
    }

    #[test]
    fn a_pulse_is_late_by_what_starts_it() {
        let now = Timestamp::UNIX_EPOCH;
        let gap = |minutes| Some(Duration::from_mins(minutes));
        for (age, gap, is_late) in [
            (minutes(5), gap(1), false),
            (minutes(6), gap(1), true),
            (minutes(-6), gap(1), false),
            (minutes(30), gap(15), false),
            (minutes(31), gap(15), true),
            (minutes(9999), None, false),
        ] {
            let shown = LastPulse { at: Some(now - age), now }.shows(gap);
            assert_eq!(matches!(shown, Shown::Late(_)), is_late, "{age} {gap:?}");
        }
        assert!(matches!(LastPulse { at: None, now }.shows(gap(1)), Shown::Nothing));
    }
}
